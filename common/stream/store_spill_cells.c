/* Each cell by itself on disk:
 *
 *     time, 8, big-endian | key  →  next offset of each input, 8 | value
 *
 * So what is of one time lies together, in the order of results: a window that closes is walked through, and
 * its rows go as one range. A row goes with its cell. */
#include "stream/store_spill_inside.h"

static struct store_cell *cell_here(const struct store *store, struct strview key, int64_t time_ms)
{
    const struct store_key *owner = store_key_find(store, key);
    return owner ? key_cell(owner, time_ms, 0) : NULL;
}

static void count_change(struct store *store, int64_t time_ms, ptrdiff_t change)
{
    spill_away_change(store, time_ms, change);
    if (store->config.bucket_ms == 0) { /* a key has one cell */
        store->away_keys += (size_t)change;
    }
}

/* --- coming back --------------------------------------------------------------------------------*/

/* Out of spill->row. Bounds are not looked at: the store has it already. */
static enum err row_load(struct store *store, struct strview key, int64_t time_ms,
                         struct store_cell **ret, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    size_t head = spill_offsets_bytes(store);
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
    count_change(store, time_ms, -1);
    spill->stats.read++;
    return ERR_OK;
}

static enum err cells_recall(struct store *store, struct strview key, int64_t time_ms,
                             struct store_cell **ret, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    if (!spill_time_find(store, time_ms) || time_ms <= spill->removed_ms ||
        cell_here(store, key, time_ms)) {
        return ERR_OK;
    }
    bool is_found;
    buf_reset(&spill->row);
    enum err e =
        spill->disk.get(spill->disk.context, spill_row_key(store, &spill->key, time_ms, key),
                        &spill->row, &is_found, info);
    spill->is_lost = e != ERR_OK;
    return e || !is_found ? e : row_load(store, key, time_ms, ret, info);
}

/* --- looking ------------------------------------------------------------------------------------*/

static int64_t cells_next_ms(struct store *store, int64_t from_ms, int64_t limit_ms)
{
    (void)store;
    return from_ms < limit_ms ? from_ms : limit_ms; /* it is counted, so there is one */
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
    struct spill_lent *lent = &visit->store->spill->lent;
    size_t head = spill_offsets_bytes(visit->store);
    buf_reset(&lent->cells);
    buf_reset(&lent->value); /* to where its parts are aligned */
    CHECK(value.len >= head && !buf_append(&lent->value, value.ptr + head, value.len - head) &&
          !buf_reserve(&lent->cells, visit->store->head_bytes));
    lent->key = (struct store_key){.bytes = key};
    struct store_cell *cell = (struct store_cell *)(void *)lent->cells.data;
    *cell = (struct store_cell){.key = &lent->key,
                                .time_ms = visit->time_ms,
                                .value = lent->value.data,
                                .bytes = (uint32_t)(value.len - head),
                                .is_stored = true,
                                .is_away = true};
    memcpy(cell->next_offsets, value.ptr, head);
    return visit_cell(visit, cell);
}

static enum err on_row(void *context, struct strview row, struct strview value)
{
    struct visit *visit = context;
    struct strview key = sv_of(row.ptr + SPILL_TIME_BYTES, row.len - SPILL_TIME_BYTES);
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

static enum err visit_time(struct visit *visit, struct err_info *info)
{
    struct store_spill *spill = visit->store->spill;
    int64_t time_ms = visit->time_ms;
    enum err e = ERR_OK;
    visit->at = 0;
    visit->cells = store_between(visit->store, time_ms, time_ms, &visit->count);
    if (spill_time_find(visit->store, time_ms) && time_ms > spill->removed_ms) {
        const struct store_disk_reader reader = {on_row, visit};
        struct strview none = {"", 0};
        e = spill->disk.read(
            spill->disk.context, spill_row_key(visit->store, &spill->key, time_ms, none),
            spill_row_key(visit->store, &spill->end, time_ms + 1, none), &reader, info);
        spill->is_lost = e && !visit->e;
    }
    while (!e && visit->at < visit->count) {
        e = visit_cell(visit, visit->cells[visit->at++]);
    }
    return e;
}

static enum err cells_visit(struct store *store, int64_t from_ms, int64_t to_ms,
                            const struct store_visitor *visitor, struct err_info *info)
{
    struct visit visit = {.store = store, .visitor = visitor};
    enum err e = ERR_OK;
    for (int64_t time_ms = store_next_ms(store, from_ms);
         !e && time_ms <= to_ms && time_ms < INT64_MAX;
         time_ms = store_next_ms(store, time_ms + 1)) {
        visit.time_ms = time_ms;
        e = visit_time(&visit, info);
    }
    return e;
}

/* --- leaving ------------------------------------------------------------------------------------*/

static size_t cells_leaving_add(struct store *store, struct store_key *key)
{
    struct store_spill *spill = store->spill;
    size_t bytes = 0;
    for (size_t i = 0; i < key->cells.count; i++) {
        struct store_cell *cell = key_cells(key)[i];
        if (cell->is_recent) {
            cell->is_recent = false;
        } else if (cell->is_stored && cell->minor == 0) {
            *(struct store_cell **)store_list_push(&spill->leaving, sizeof(void *)) = cell;
            bytes += spill_cell_cost(store, cell);
            bytes += key->cells.count == 1 ? key_cost(key->bytes) : 0;
        }
    }
    return bytes;
}

static struct strview row_value(struct store *store, const struct store_cell *cell)
{
    struct buf *row = &store->spill->row;
    buf_reset(row);
    CHECK(!buf_append(row, cell->next_offsets, spill_offsets_bytes(store)) &&
          !buf_append(row, cell->value, cell->bytes));
    return buf_view(row);
}

static enum err cells_leaving_put(struct store *store, size_t *ret_written, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    struct store_cell **cells = spill->leaving.items;
    (void)info;
    for (size_t i = 0; i < spill->leaving.count; i++) {
        if (!cells[i]->has_row || !cells[i]->is_row_same) {
            struct strview key =
                spill_row_key(store, &spill->key, cells[i]->time_ms, store_cell_key(cells[i]));
            spill->disk.put(spill->disk.context, key, row_value(store, cells[i]));
            *ret_written += 1;
        }
    }
    return ERR_OK;
}

static void cells_leaving_go(struct store *store)
{
    struct store_cell **cells = store->spill->leaving.items;
    for (size_t i = 0; i < store->spill->leaving.count; i++) {
        int64_t time_ms = cells[i]->time_ms;
        cell_delete(store, cells[i]);
        count_change(store, time_ms, 1);
    }
}

/* --- with the cycle -----------------------------------------------------------------------------*/

static enum err row_forget(struct store *store, struct store_cell *cell, bool *ret_is_held)
{
    struct store_spill *spill = store->spill;
    if (cell->has_row) {
        spill->disk.put(spill->disk.context,
                        spill_row_key(store, &spill->key, cell->time_ms, store_cell_key(cell)),
                        (struct strview){NULL, 0});
        *ret_is_held = true;
    }
    return ERR_OK;
}

static enum err cells_committing(struct store *store, struct store_cell *cell, bool *ret_is_held)
{
    cell->is_row_same = false;
    return cell->is_removed ? row_forget(store, cell, ret_is_held) : ERR_OK;
}

static enum err cells_forget_away(struct store *store, bool *ret_is_held)
{
    struct store_spill *spill = store->spill;
    while (spill->times.count > 0 && spill_times(spill)[0].time_ms <= spill->removed_ms) {
        struct spill_time time = spill_times(spill)[0];
        struct strview none = {"", 0};
        spill->disk.clear(spill->disk.context,
                          spill_row_key(store, &spill->key, time.time_ms, none));
        count_change(store, time.time_ms, -(ptrdiff_t)time.count);
        *ret_is_held = true;
    }
    return ERR_OK;
}

const struct spill_way spill_cells = {
    .leaving_add = cells_leaving_add,
    .leaving_put = cells_leaving_put,
    .leaving_go = cells_leaving_go,
    .recall = cells_recall,
    .visit = cells_visit,
    .next_ms = cells_next_ms,
    .committing = cells_committing,
    .forget_away = cells_forget_away,
    .unloading = row_forget,
};
