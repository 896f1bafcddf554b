/* Cells for which there is no room in memory: which ones go to disk, and how they come back.
 *
 *     memory   what changed since the last commit, what changed lately, what the disk does not take
 *     disk     time, 8, big-endian | key  →  next offset of each input, 8 | value
 *
 * What is in memory counts: a row of a cell that is there is not looked at, be it older or the same. It
 * stays, so that a cell that comes and goes without a change is not written again; and it goes with its
 * cell. So commits and aborts know nothing of the disk: all that they touch is in memory, and only
 * between cycles does a committed cell leave. Of each time it is known how many cells are on disk alone:
 * where there are none, it is not asked.
 *
 * Who leaves is found by a hand that goes round the keys: a cell that a commit changed since it last
 * came by has one turn more. Nothing is noted for that when an event comes. */
#include <stdlib.h>

#include "stream/store_inside.h"

#define LEAVE_MAX     1024 /* cells that are written to disk at once */
#define LEAVE_PART    8    /* so much of the bound is free again afterwards */
#define TIME_BYTES    8
#define ROW_BYTES_MAX (SIZE_MAX / 4) /* of what was bounded in memory */

struct spill_time {
    int64_t time_ms;
    size_t count;    /* cells on disk alone */
    bool is_removed; /* they go with the next commit */
};

struct store_spill {
    struct store_disk disk;
    size_t bytes_max;
    struct store_list times;   /* of struct spill_time, in order */
    size_t hand;               /* the key to look at next */
    struct store_list leaving; /* of struct store_cell * */
    struct buf key, row;
    struct store_cell *lent; /* a cell on disk, while it is looked at; its value: */
    struct buf value;
    bool is_lost; /* what is on disk cannot be relied on any more */
    struct store_spill_stats stats;
};

void store_spill(struct store *store, const struct store_disk *disk, size_t bytes_max)
{
    struct store_spill *spill = must_alloc(sizeof *spill);
    CHECK(!store->spill && store->dirty.count == 0);
    spill->disk = *disk;
    spill->lent = must_alloc(store->head_bytes);
    buf_init(&spill->key, ROW_BYTES_MAX);
    buf_init(&spill->row, ROW_BYTES_MAX);
    buf_init(&spill->value, ROW_BYTES_MAX);
    store->spill = spill;
    store_spill_limit(store, bytes_max);
}

void spill_free(struct store_spill *spill)
{
    if (spill) {
        free(spill->times.items);
        free(spill->leaving.items);
        free(spill->lent);
        buf_free(&spill->key);
        buf_free(&spill->row);
        buf_free(&spill->value);
        free(spill);
    }
}

struct store_spill_stats store_spill_stats(const struct store *store)
{
    return store->spill ? store->spill->stats : (struct store_spill_stats){0};
}

static enum err lost_tell(const struct store_spill *spill, struct err_info *info)
{
    return spill->is_lost ? err_set(info, ERR_STATE, "state on disk cannot be relied on any more")
                          : ERR_OK;
}

/* --- how many are where -------------------------------------------------------------------------*/

static struct spill_time *times_of(const struct store_spill *spill)
{
    return spill->times.items;
}

static size_t time_place(const struct store_spill *spill, int64_t time_ms)
{
    size_t low = 0, high = spill->times.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (times_of(spill)[middle].time_ms < time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* NULL: no cell of this time is on disk alone. */
static struct spill_time *time_find(const struct store_spill *spill, int64_t time_ms)
{
    size_t place = time_place(spill, time_ms);
    bool is_it = place < spill->times.count && times_of(spill)[place].time_ms == time_ms;
    return is_it ? &times_of(spill)[place] : NULL;
}

/* How many cells more of this time, or less, are on disk alone: the store still has them. */
static void away_change(struct store *store, int64_t time_ms, ptrdiff_t change)
{
    struct store_spill *spill = store->spill;
    size_t place = time_place(spill, time_ms);
    if (!time_find(spill, time_ms)) {
        (void)store_list_push(&spill->times, sizeof(struct spill_time));
        struct spill_time *at = &times_of(spill)[place];
        memmove(at + 1, at, (spill->times.count - 1 - place) * sizeof *at);
        *at = (struct spill_time){.time_ms = time_ms};
    }
    struct spill_time *time = &times_of(spill)[place];
    time->count += (size_t)change;
    spill->stats.cells += (uint64_t)change;
    store->cell_count += (size_t)change;
    if (store->config.bucket_ms == 0) { /* a key has one cell */
        store->away_keys += (size_t)change;
    }
    if (time->count == 0) {
        spill->times.count--;
        memmove(time, time + 1, (spill->times.count - place) * sizeof *time);
    }
}

int64_t spill_next_ms(const struct store_spill *spill, int64_t from_ms)
{
    size_t place = time_place(spill, from_ms);
    while (place < spill->times.count && times_of(spill)[place].is_removed) {
        place++;
    }
    return place < spill->times.count ? times_of(spill)[place].time_ms : INT64_MAX;
}

/* --- rows ---------------------------------------------------------------------------------------*/

static struct strview row_key(struct store_spill *spill, int64_t time_ms, struct strview key)
{
    char time[TIME_BYTES];
    for (size_t i = 0; i < TIME_BYTES; i++) {
        time[i] = (char)(unsigned char)((uint64_t)time_ms >> (8 * (TIME_BYTES - 1 - i)));
    }
    buf_reset(&spill->key);
    CHECK(!buf_append(&spill->key, time, TIME_BYTES) && !buf_append_view(&spill->key, key));
    return buf_view(&spill->key);
}

static size_t offsets_bytes(const struct store *store)
{
    return store->config.inputs * sizeof(int64_t);
}

static struct strview row_value(struct store *store, const struct store_cell *cell)
{
    struct buf *row = &store->spill->row;
    buf_reset(row);
    CHECK(!buf_append(row, cell->next_offsets, offsets_bytes(store)) &&
          !buf_append(row, cell->value, cell->bytes));
    return buf_view(row);
}

static struct store_cell *cell_here(const struct store *store, struct strview key, int64_t time_ms)
{
    const struct store_key *owner = store_key_find(store, key);
    return owner ? key_cell(owner, time_ms, 0) : NULL;
}

/* --- coming back --------------------------------------------------------------------------------*/

/* Out of spill->row. Bounds are not looked at: the store has it already. */
static enum err row_load(struct store *store, struct strview key, int64_t time_ms,
                         struct store_cell **ret, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    size_t head = offsets_bytes(store);
    CHECK(spill->row.len >= head);
    enum err e = cell_load(store, key, time_ms, 0, spill->row.len - head, false, ret, info);
    if (e) {
        return e;
    }
    struct store_cell *cell = *ret;
    memcpy(cell->next_offsets, spill->row.data, head);
    if (cell->bytes > 0) {
        memcpy(cell->value, spill->row.data + head, cell->bytes);
    }
    cell->has_row = cell->is_row_same = true;
    away_change(store, time_ms, -1);
    spill->stats.read++;
    return ERR_OK;
}

enum err store_recall(struct store *store, struct strview key, int64_t time_ms,
                      struct store_cell **ret, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    *ret = NULL;
    if (!spill) {
        return ERR_OK;
    }
    const struct spill_time *time = time_find(spill, time_ms);
    if (spill->is_lost) {
        return lost_tell(spill, info);
    }
    if (!time || time->is_removed || cell_here(store, key, time_ms)) {
        return ERR_OK;
    }
    bool is_found;
    buf_reset(&spill->row);
    enum err e = spill->disk.get(spill->disk.context, row_key(spill, time_ms, key), &spill->row,
                                 &is_found, info);
    spill->is_lost = e != ERR_OK;
    return e || !is_found ? e : row_load(store, key, time_ms, ret, info);
}

struct visit {
    struct store *store;
    int64_t time_ms;
    const struct store_visitor *visitor;
    struct store_cell *const *cells; /* in memory */
    size_t at, count;
    enum err e; /* of on_cell */
};

static enum err visit_cell(struct visit *visit, struct store_cell *cell)
{
    visit->e = visit->visitor->on_cell(visit->visitor->context, cell);
    return visit->e;
}

static enum err visit_row(struct visit *visit, struct strview key, struct strview value)
{
    struct store_spill *spill = visit->store->spill;
    size_t head = offsets_bytes(visit->store);
    struct store_key owner = {.bytes = key};
    struct store_cell *cell = spill->lent;
    buf_reset(&spill->value); /* to where its parts are aligned */
    CHECK(value.len >= head && !buf_append(&spill->value, value.ptr + head, value.len - head));
    *cell = (struct store_cell){.key = &owner,
                                .time_ms = visit->time_ms,
                                .value = spill->value.data,
                                .bytes = (uint32_t)(value.len - head),
                                .is_stored = true,
                                .is_away = true};
    memcpy(cell->next_offsets, value.ptr, head);
    return visit_cell(visit, cell);
}

static enum err on_row(void *context, struct strview row, struct strview value)
{
    struct visit *visit = context;
    struct strview key = sv_of(row.ptr + TIME_BYTES, row.len - TIME_BYTES);
    enum err e = ERR_OK;
    if (cell_here(visit->store, key, visit->time_ms)) {
        return ERR_OK; /* it has its turn, or was removed */
    }
    while (!e && visit->at < visit->count &&
           store_disk_order(store_cell_key(visit->cells[visit->at]), key) < 0) {
        e = visit_cell(visit, visit->cells[visit->at++]);
    }
    return e ? e : visit_row(visit, key, value);
}

enum err store_visit(struct store *store, int64_t time_ms, const struct store_visitor *visitor,
                     struct err_info *info)
{
    struct store_spill *spill = store->spill;
    const struct spill_time *time = time_find(spill, time_ms);
    struct visit visit = {.store = store, .time_ms = time_ms, .visitor = visitor};
    visit.cells = store_between(store, time_ms, time_ms, &visit.count);
    enum err e = lost_tell(spill, info);
    if (!e && time && !time->is_removed) {
        const struct store_disk_reader reader = {on_row, &visit};
        struct strview none = {"", 0};
        e = spill->disk.read(spill->disk.context, row_key(spill, time_ms, none), &reader, info);
        spill->is_lost = e && !visit.e;
    }
    while (!e && visit.at < visit.count) {
        e = visit_cell(&visit, visit.cells[visit.at++]);
    }
    return e;
}

void store_remove_away(struct store *store, int64_t time_ms)
{
    struct spill_time *time = time_find(store->spill, time_ms);
    if (time) {
        time->is_removed = true;
    }
}

/* --- leaving ------------------------------------------------------------------------------------*/

/* What one cell more or less is in memory, about. */
static size_t cell_cost(const struct store *store, const struct store_cell *cell)
{
    size_t own =
        store->config.value_bytes == 0 && cell->bytes > 0 ? slab_block_bytes(cell->bytes) : 0;
    bool is_last = cell->key->cells.count == 1;
    return slab_block_bytes(store->head_bytes + store->config.value_bytes) + own +
           (is_last ? key_cost(cell->key->bytes) : 0);
}

/* Of the key that the hand is at; how many bytes that makes. */
static size_t leaving_add(struct store *store, const struct store_key *key)
{
    size_t bytes = 0;
    for (size_t i = 0; i < key->cells.count; i++) {
        struct store_cell *cell = key_cells(key)[i];
        if (cell->is_recent) {
            cell->is_recent = false;
        } else if (cell->is_stored && cell->minor == 0) {
            *(struct store_cell **)store_list_push(&store->spill->leaving, sizeof(void *)) = cell;
            bytes += cell_cost(store, cell);
        }
    }
    return bytes;
}

/* One time round at most, so that no cell is there twice. */
static void leaving_find(struct store *store, size_t bytes)
{
    struct store_spill *spill = store->spill;
    size_t keys = hash_map_count(store->keys), found = 0;
    spill->leaving.count = 0;
    for (size_t i = 0; i < keys && found < bytes && spill->leaving.count < LEAVE_MAX; i++) {
        spill->hand = spill->hand < keys ? spill->hand : 0;
        found +=
            leaving_add(store, *(struct store_key **)hash_map_value_at(store->keys, spill->hand));
        spill->hand++;
    }
}

static enum err leaving_write(struct store *store)
{
    struct store_spill *spill = store->spill;
    struct store_cell **cells = spill->leaving.items;
    size_t written = 0;
    for (size_t i = 0; i < spill->leaving.count; i++) {
        if (!cells[i]->has_row || !cells[i]->is_row_same) {
            struct strview key = row_key(spill, cells[i]->time_ms, store_cell_key(cells[i]));
            spill->disk.put(spill->disk.context, key, row_value(store, cells[i]));
            written++;
        }
    }
    enum err e = written > 0 ? spill->disk.write(spill->disk.context, NULL) : ERR_OK;
    spill->stats.written += e ? 0 : written;
    return e;
}

/* After it the memory held is within the bound, or nothing can leave, or the disk takes nothing: it is
 * tried again after the next commit. */
void spill_make_room(struct store *store)
{
    struct store_spill *spill = store->spill;
    CHECK(store->dirty.count == 0);
    if (store->used_bytes <= spill->bytes_max) {
        return;
    }
    size_t goal = spill->bytes_max - spill->bytes_max / LEAVE_PART;
    for (int idle = 0; store->used_bytes > goal && idle < 2;) {
        leaving_find(store, store->used_bytes - goal);
        if (leaving_write(store)) {
            return;
        }
        struct store_cell **cells = spill->leaving.items;
        for (size_t i = 0; i < spill->leaving.count; i++) {
            int64_t time_ms = cells[i]->time_ms;
            cell_delete(store, cells[i]);
            away_change(store, time_ms, 1);
        }
        idle =
            spill->leaving.count > 0 ? 0 : idle + 1; /* the first time round may find all recent */
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
static void row_forget(struct store *store, const struct store_cell *cell)
{
    struct store_spill *spill = store->spill;
    spill->disk.put(spill->disk.context, row_key(spill, cell->time_ms, store_cell_key(cell)),
                    (struct strview){NULL, 0});
}

static void rows_settle(struct store_spill *spill)
{
    spill->is_lost = spill->disk.write(spill->disk.context, NULL) || spill->is_lost;
}

static size_t removed_forget(struct store *store)
{
    struct store_spill *spill = store->spill;
    size_t forgotten = 0;
    for (size_t i = spill->times.count; i-- > 0;) {
        struct spill_time time = times_of(spill)[i];
        if (time.is_removed) {
            struct strview none = {"", 0};
            spill->disk.clear(spill->disk.context, row_key(spill, time.time_ms, none));
            away_change(store, time.time_ms, -(ptrdiff_t)time.count);
            forgotten++;
        }
    }
    return forgotten;
}

void spill_committing(struct store *store)
{
    size_t forgotten = 0;
    for (size_t i = 0; i < store_dirty_count(store); i++) {
        struct store_cell *cell = store_dirty(store, i);
        if (!cell->is_removed) {
            cell->is_recent = true;
            cell->is_row_same = false;
        } else if (cell->has_row) {
            row_forget(store, cell);
            forgotten++;
        }
    }
    if (forgotten + removed_forget(store) > 0) {
        rows_settle(store->spill);
    }
}

void spill_aborting(struct store *store)
{
    for (size_t i = 0; i < store->spill->times.count; i++) {
        times_of(store->spill)[i].is_removed = false;
    }
}

enum err spill_loading(struct store *store, struct strview key, int64_t time_ms,
                       struct err_info *info)
{
    struct store_cell *cell;
    spill_make_room(store);
    enum err e = store_recall(store, key, time_ms, &cell, info);
    cell = e ? NULL : cell_here(store, key, time_ms);
    if (cell) {
        cell->is_row_same = false;
    }
    return e;
}

void spill_unloading(struct store *store, const struct store_cell *cell)
{
    if (cell->has_row) {
        row_forget(store, cell);
        rows_settle(store->spill);
    }
}
