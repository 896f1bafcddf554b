/* Cells for which there is no room in memory: which ones go to disk, and how they come back.
 *
 *     memory   what changed since the last commit, what changed lately, what the disk does not take
 *     disk     cell by cell (store_spill_cells.c), or keys with all of their cells (store_spill_keys.c)
 *
 * What is in memory counts: a row of what is there is not looked at, be it older or the same. It stays, so
 * that what comes and goes without a change is not written again. So commits and aborts know nothing of the
 * disk: all that they touch is in memory, and only between cycles does what is committed leave. Of each time
 * it is known how many cells are on disk alone: where there are none, it is not asked.
 *
 * Who leaves is found by a hand that goes round the keys: what a commit changed since it last came by has
 * one turn more. Nothing is noted for that when an event comes. */
#include <stdlib.h>

#include "stream/store_spill_inside.h"

#define LEAVE_MAX  1024 /* cells that are written to disk at once, about */
#define LEAVE_PART 8    /* so much of the bound is free again afterwards */

static const struct spill_way *way_of(const struct store *store)
{
    return store->config.goes_whole ? &spill_keys : &spill_cells;
}

void store_spill(struct store *store, const struct store_disk *disk, size_t bytes_max)
{
    struct store_spill *spill = must_alloc(sizeof *spill);
    CHECK(!store->spill && store->dirty.count == 0);
    struct buf *const bufs[] = {&spill->key,        &spill->end,        &spill->row,
                                &spill->page,       &spill->from,       &spill->lent.cells,
                                &spill->lent.value, &spill->lent.places};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        buf_init(bufs[i], SPILL_ROW_BYTES_MAX);
    }
    spill->disk = *disk;
    spill->removed_ms = INT64_MIN;
    store->spill = spill;
    store_spill_limit(store, bytes_max);
}

void spill_free(struct store_spill *spill)
{
    if (spill) {
        free(spill->times.items);
        free(spill->leaving.items);
        buf_free(&spill->key);
        buf_free(&spill->end);
        buf_free(&spill->row);
        buf_free(&spill->page);
        buf_free(&spill->from);
        buf_free(&spill->lent.cells);
        buf_free(&spill->lent.places);
        buf_free(&spill->lent.value);
        free(spill);
    }
}

struct store_spill_stats store_spill_stats(const struct store *store)
{
    return store->spill ? store->spill->stats : (struct store_spill_stats){0};
}

enum err spill_lost(const struct store_spill *spill, struct err_info *info)
{
    return spill->is_lost ? err_set(info, ERR_STATE, "state on disk cannot be relied on any more")
                          : ERR_OK;
}

/* --- how many are where -------------------------------------------------------------------------*/

/* Where keys go whole, cells may have a time each: runs of bucket_ms are counted. */
int64_t spill_time_of(const struct store *store, int64_t time_ms)
{
    int64_t bucket_ms = store->config.bucket_ms;
    if (bucket_ms == 0) {
        return 0;
    }
    return store->config.goes_whole ? time_ms - time_ms % bucket_ms : time_ms;
}

size_t spill_time_place(const struct store_spill *spill, int64_t time_ms)
{
    size_t low = 0, high = spill->times.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (spill_times(spill)[middle].time_ms < time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct spill_time *spill_time_find(const struct store *store, int64_t time_ms)
{
    const struct store_spill *spill = store->spill;
    int64_t counted_ms = spill_time_of(store, time_ms);
    size_t place = spill_time_place(spill, counted_ms);
    bool is_it = place < spill->times.count && spill_times(spill)[place].time_ms == counted_ms;
    return is_it ? &spill_times(spill)[place] : NULL;
}

void spill_away_change(struct store *store, int64_t time_ms, ptrdiff_t change)
{
    struct store_spill *spill = store->spill;
    int64_t counted_ms = spill_time_of(store, time_ms);
    size_t place = spill_time_place(spill, counted_ms);
    if (!spill_time_find(store, time_ms)) {
        (void)store_list_push(&spill->times, sizeof(struct spill_time));
        struct spill_time *at = &spill_times(spill)[place];
        memmove(at + 1, at, (spill->times.count - 1 - place) * sizeof *at);
        *at = (struct spill_time){.time_ms = counted_ms};
    }
    struct spill_time *time = &spill_times(spill)[place];
    time->count += (size_t)change;
    spill->stats.cells += (uint64_t)change;
    store->cell_count += (size_t)change;
    spill->has_next = false;
    if (time->count == 0) {
        spill->times.count--;
        memmove(time, time + 1, (spill->times.count - place) * sizeof *time);
    }
}

/* What was lost says that something is there: who then looks is told. */
int64_t spill_next_ms(struct store *store, int64_t from_ms, int64_t limit_ms)
{
    struct store_spill *spill = store->spill;
    if (spill->removed_ms >= from_ms) {
        from_ms = spill->removed_ms + 1;
    }
    size_t place = spill_time_place(spill, from_ms < 0 ? 0 : spill_time_of(store, from_ms));
    if (place == spill->times.count || spill_times(spill)[place].time_ms >= limit_ms) {
        return limit_ms;
    }
    int64_t first_ms = spill_times(spill)[place].time_ms;
    return way_of(store)->next_ms(store, first_ms > from_ms ? first_ms : from_ms, limit_ms);
}

void store_remove_away(struct store *store, int64_t to_ms)
{
    struct store_spill *spill = store->spill;
    if (to_ms > spill->removed_ms) {
        spill->removed_ms = to_ms;
        spill->has_next = false;
    }
}

/* --- rows ---------------------------------------------------------------------------------------*/

struct strview spill_row_key(const struct store *store, struct buf *out, int64_t time_ms,
                             struct strview key)
{
    char time[SPILL_TIME_BYTES];
    time_ms = time_ms < SPILL_SECOND_BIT ? time_ms : SPILL_SECOND_BIT - 1;
    time_ms |= store->config.is_second ? SPILL_SECOND_BIT : 0;
    for (size_t i = 0; i < SPILL_TIME_BYTES; i++) {
        time[i] = (char)(unsigned char)((uint64_t)time_ms >> (8 * (SPILL_TIME_BYTES - 1 - i)));
    }
    buf_reset(out);
    CHECK(!buf_append(out, time, SPILL_TIME_BYTES) && !buf_append_view(out, key));
    return buf_view(out);
}

int64_t spill_row_time(struct strview row)
{
    uint64_t time_ms = 0;
    CHECK(row.len >= SPILL_TIME_BYTES);
    for (size_t i = 0; i < SPILL_TIME_BYTES; i++) {
        time_ms = time_ms << 8 | (unsigned char)row.ptr[i];
    }
    return (int64_t)time_ms & (SPILL_SECOND_BIT - 1);
}

/* --- coming back --------------------------------------------------------------------------------*/

enum err store_recall(struct store *store, struct strview key, int64_t time_ms,
                      struct store_cell **ret, struct err_info *info)
{
    *ret = NULL;
    if (!store->spill) {
        return ERR_OK;
    }
    enum err e = spill_lost(store->spill, info);
    return e ? e : way_of(store)->recall(store, key, time_ms, ret, info);
}

enum err store_visit(struct store *store, int64_t from_ms, int64_t to_ms,
                     const struct store_visitor *visitor, struct err_info *info)
{
    size_t count;
    if (store->spill) {
        enum err e = spill_lost(store->spill, info);
        return e ? e : way_of(store)->visit(store, from_ms, to_ms, visitor, info);
    }
    struct store_cell *const *cells = store_between(store, from_ms, to_ms, &count);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && !e; i++) {
        e = visitor->on_cell(visitor->context, cells[i]);
    }
    return e;
}

/* --- leaving ------------------------------------------------------------------------------------*/

size_t spill_cell_cost(const struct store *store, const struct store_cell *cell)
{
    size_t own =
        store->config.value_bytes == 0 && cell->bytes > 0 ? slab_block_bytes(cell->bytes) : 0;
    return slab_block_bytes(store->head_bytes + store->config.value_bytes) + own;
}

/* One time round at most, so that nothing is there twice. */
static void leaving_find(struct store *store, size_t bytes)
{
    struct store_spill *spill = store->spill;
    size_t keys = hash_map_count(store->keys), found = 0;
    spill->leaving.count = 0;
    for (size_t i = 0; i < keys && found < bytes && spill->leaving.count < LEAVE_MAX; i++) {
        spill->hand = spill->hand < keys ? spill->hand : 0;
        struct store_key *key = *(struct store_key **)hash_map_value_at(store->keys, spill->hand);
        found += way_of(store)->leaving_add(store, key);
        spill->hand++;
    }
}

/* False: nothing of it may go. */
static bool leaving_write(struct store *store)
{
    struct store_spill *spill = store->spill;
    size_t written = 0;
    enum err e = way_of(store)->leaving_put(store, &written, NULL);
    spill->is_lost = e || spill->is_lost;
    if (written > 0 && spill->disk.write(spill->disk.context, NULL)) {
        return false;
    }
    spill->stats.written += written;
    return !e;
}

/* After it the memory held is within the bound, or nothing can leave, or the disk takes nothing: it is
 * tried again after the next commit. */
void spill_make_room(struct store *store)
{
    struct store_spill *spill = store->spill;
    CHECK(store->dirty.count == 0);
    if (store->used_bytes <= spill->bytes_max || spill->is_lost) {
        return;
    }
    size_t goal = spill->bytes_max - spill->bytes_max / LEAVE_PART;
    for (int idle = 0; store->used_bytes > goal && idle < 2;) {
        leaving_find(store, store->used_bytes - goal);
        if (!leaving_write(store)) {
            return;
        }
        idle =
            spill->leaving.count > 0 ? 0 : idle + 1; /* the first time round may find all recent */
        way_of(store)->leaving_go(store);
    }
}

void store_spill_limit(struct store *store, size_t bytes_max)
{
    store->spill->bytes_max = bytes_max;
    if (store->dirty.count == 0) { /* else after the commit */
        spill_make_room(store);
    }
}

/* --- with the cycle -----------------------------------------------------------------------------*/

/* A row that should go and does not would come back. */
static void rows_settle(struct store_spill *spill, enum err e, bool is_held)
{
    bool is_written = !is_held || !spill->disk.write(spill->disk.context, NULL);
    spill->is_lost = e || !is_written || spill->is_lost;
}

void spill_committing(struct store *store)
{
    const struct spill_way *way = way_of(store);
    struct store_spill *spill = store->spill;
    bool is_held = false;
    enum err e = ERR_OK;
    for (size_t i = 0; i < store_dirty_count(store) && !e; i++) {
        struct store_cell *cell = store_dirty(store, i);
        cell->is_recent = true;
        e = way->committing(store, cell, &is_held);
    }
    if (!e && spill->removed_ms > INT64_MIN) {
        e = way->forget_away(store, &is_held);
    }
    spill->removed_ms = INT64_MIN;
    spill->has_next = false;
    rows_settle(spill, e, is_held);
}

void spill_aborting(struct store *store)
{
    store->spill->removed_ms = INT64_MIN;
    store->spill->has_next = false;
}

enum err spill_loading(struct store *store, struct strview key, int64_t time_ms,
                       struct err_info *info)
{
    struct store_cell *cell;
    spill_make_room(store);
    return store_recall(store, key, time_ms, &cell, info);
}

void spill_loaded(struct store_cell *cell)
{
    cell->is_row_same = cell->key->is_row_same = false;
}

void spill_unloading(struct store *store, struct store_cell *cell)
{
    bool is_held = false;
    enum err e = way_of(store)->unloading(store, cell, &is_held);
    rows_settle(store->spill, e, is_held);
}
