/* Keys on disk with all of their cells:
 *
 *     0xff | key                  →  the cells, in order: head, next offset of each input, value
 *     time, 8, big-endian | key   →  nothing: the key has cells of this time
 *
 * A key is in memory with all of its cells or on disk with all of them. So who asks for a range of a key
 * asks nothing more of the disk once the key is here, however the cells moved, came and went meanwhile.
 * Rows of a key that is in memory are not looked at, and are put right when it leaves, by what its row then
 * says: nobody keeps account of them before. Rows of times are the way from a time to its keys, in the
 * order of results; where there is no order of time, there are none. They are read a page at a time, and
 * nothing is read while a cell is shown. */
#include <stdlib.h>

#include "stream/store_spill_inside.h"

#define PAGE_ROWS_MAX   1024
#define PAGE_BYTES_MAX  ((size_t)256 << 10)
#define ALIGN           16
#define KEY_BYTE        0xff /* no time begins so */
#define KEY_BYTE_SECOND 0xfe /* of the second of two stores with one disk */

/* Before each cell in a key's row; offsets and value follow, each to the next ALIGN. */
struct row_cell {
    int64_t time_ms, minor;
    uint64_t bytes;
    uint64_t unused;
};

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct strview key_row(const struct store *store, struct strview key)
{
    struct store_spill *spill = store->spill;
    unsigned char first = store->config.is_second ? KEY_BYTE_SECOND : KEY_BYTE;
    buf_reset(&spill->key);
    CHECK(!buf_append(&spill->key, &first, 1) && !buf_append_view(&spill->key, key));
    return buf_view(&spill->key);
}

static bool has_times(const struct store *store)
{
    return store->config.bucket_ms > 0;
}

/* --- a key's row --------------------------------------------------------------------------------*/

/* Into spill->lent.value; *ret_found. */
static enum err row_get(struct store *store, struct strview key, bool *ret_found,
                        struct err_info *info)
{
    struct store_spill *spill = store->spill;
    buf_reset(&spill->lent.value); /* to where its parts are aligned */
    enum err e = spill->disk.get(spill->disk.context, key_row(store, key), &spill->lent.value,
                                 ret_found, info);
    spill->is_lost = e || spill->is_lost;
    return e;
}

/* The row's cell at *at, which goes on to the next one; NULL: that was the last. */
static struct row_cell *row_next(const struct store *store, size_t *at, const void **ret_offsets,
                                 void **ret_value)
{
    const struct buf *row = &store->spill->lent.value;
    if (*at >= row->len) {
        return NULL;
    }
    struct row_cell *cell = (struct row_cell *)(void *)(row->data + *at);
    size_t offsets_at = *at + sizeof *cell;
    size_t value_at = offsets_at + aligned(spill_offsets_bytes(store));
    CHECK(value_at <= row->len && cell->bytes <= row->len - value_at);
    *ret_offsets = row->data + offsets_at;
    *ret_value = row->data + value_at;
    *at = value_at + aligned(cell->bytes);
    return cell;
}

static void row_append(struct buf *row, const void *bytes, size_t len)
{
    static const char zeros[ALIGN] = {0};
    CHECK((len == 0 || !buf_append(row, bytes, len)) &&
          !buf_append(row, zeros, aligned(len) - len));
}

static void row_add(const struct store *store, struct buf *row, const struct store_cell *cell)
{
    const struct row_cell head = {
        .time_ms = cell->time_ms, .minor = cell->minor, .bytes = cell->bytes};
    row_append(row, &head, sizeof head);
    row_append(row, cell->next_offsets, spill_offsets_bytes(store));
    row_append(row, cell->value, cell->bytes);
}

/* The key that is away, with its cells, for as long as nothing else is read. */
static enum err key_lend(struct store *store, struct strview key, struct err_info *info)
{
    struct spill_lent *lent = &store->spill->lent;
    bool is_found;
    enum err e = row_get(store, key, &is_found, info);
    size_t count = 0, at = 0;
    const void *offsets;
    void *value;
    while (!e && row_next(store, &at, &offsets, &value)) {
        count++;
    }
    buf_reset(&lent->cells);
    buf_reset(&lent->places);
    CHECK(!buf_reserve(&lent->cells, count * store->head_bytes + ALIGN) &&
          !buf_reserve(&lent->places, count * sizeof(void *) + ALIGN));
    lent->key = (struct store_key){.bytes = key};
    lent->key.cells = (struct store_row){lent->places.data, 0, (uint32_t)count, (uint32_t)count};
    at = 0;
    for (size_t i = 0; i < count; i++) {
        const struct row_cell *row = row_next(store, &at, &offsets, &value);
        struct store_cell *cell =
            (struct store_cell *)(void *)(lent->cells.data + i * store->head_bytes);
        *cell = (struct store_cell){.key = &lent->key,
                                    .time_ms = row->time_ms,
                                    .minor = row->minor,
                                    .value = value,
                                    .bytes = (uint32_t)row->bytes,
                                    .is_stored = true,
                                    .is_away = true};
        memcpy(cell->next_offsets, offsets, spill_offsets_bytes(store));
        key_cells(&lent->key)[i] = cell;
    }
    return e;
}

/* --- coming back --------------------------------------------------------------------------------*/

static enum err key_load(struct store *store, struct strview key, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    const struct row_cell *row;
    const void *offsets;
    void *value;
    struct store_cell *cell = NULL;
    for (size_t at = 0; (row = row_next(store, &at, &offsets, &value));) {
        enum err e =
            cell_load(store, key, row->time_ms, row->minor, row->bytes, false, &cell, info);
        if (e) {
            return e;
        }
        memcpy(cell->next_offsets, offsets, spill_offsets_bytes(store));
        if (row->bytes > 0) {
            memcpy(cell->value, value, row->bytes);
        }
        spill_away_change(store, row->time_ms, -1);
        spill->stats.read++;
        if (row->time_ms <= spill->removed_ms) {
            store_remove(store, cell);
        }
    }
    if (cell) {
        cell->key->has_row = cell->key->is_row_same = true;
        store->away_keys--;
    }
    return ERR_OK;
}

enum err store_recall_key(struct store *store, struct strview key, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    bool is_found;
    if (!spill || spill->is_lost) {
        return spill ? spill_lost(spill, info) : ERR_OK;
    }
    if (store->away_keys == 0 || store_key_find(store, key)) {
        return ERR_OK;
    }
    enum err e = row_get(store, key, &is_found, info);
    return e || !is_found ? e : key_load(store, key, info);
}

static enum err keys_recall(struct store *store, struct strview key, int64_t time_ms,
                            struct store_cell **ret, struct err_info *info)
{
    enum err e = store_recall_key(store, key, info);
    *ret = e ? NULL : store_find(store, key, time_ms, 0);
    return e;
}

/* --- pages of rows of times ---------------------------------------------------------------------*/

static struct strview row_owner(struct strview row)
{
    return sv_of(row.ptr + SPILL_TIME_BYTES, row.len - SPILL_TIME_BYTES);
}

struct page {
    struct store *store;
    size_t rows;
    bool is_full;
};

static enum err on_row(void *context, struct strview row, struct strview value)
{
    struct page *page = context;
    struct buf *out = &page->store->spill->page;
    size_t len = row.len;
    (void)value;
    if (store_key_find(page->store, row_owner(row))) {
        return ERR_OK; /* memory counts */
    }
    page->is_full = page->rows == PAGE_ROWS_MAX || out->len > PAGE_BYTES_MAX;
    if (page->is_full) {
        return ERR_LIMIT;
    }
    page->rows++;
    CHECK(!buf_append(out, &len, sizeof len) && !buf_append_view(out, row));
    return ERR_OK;
}

/* The next rows of keys that are away, from spill->from up to a time, into spill->page. */
static enum err page_read(struct store *store, int64_t to_ms, struct page *ret,
                          struct err_info *info)
{
    struct store_spill *spill = store->spill;
    const struct store_disk_reader reader = {on_row, ret};
    *ret = (struct page){.store = store};
    buf_reset(&spill->page);
    enum err e =
        spill->disk.read(spill->disk.context, buf_view(&spill->from),
                         spill_row_key(store, &spill->end, to_ms < INT64_MAX ? to_ms + 1 : to_ms,
                                       (struct strview){"", 0}),
                         &reader, info);
    if (ret->is_full) {
        return ERR_OK;
    }
    spill->is_lost = e || spill->is_lost;
    return e;
}

/* The row at *at, which goes on; false: that was the last. */
static bool page_next(const struct buf *page, size_t *at, struct strview *ret_row)
{
    size_t len;
    if (*at == page->len) {
        return false;
    }
    memcpy(&len, page->data + *at, sizeof len);
    *ret_row = sv_of(page->data + *at + sizeof len, len);
    *at += sizeof len + len;
    return true;
}

/* The next page begins behind the row. */
static void page_begin_behind(struct store_spill *spill, struct strview row)
{
    buf_reset(&spill->from);
    CHECK(!buf_append_view(&spill->from, row) && !buf_append(&spill->from, "", 1));
}

/* Calls for each row of a key that is away, with from_ms <= time <= to_ms. It may read and write. */
struct row_call {
    enum err (*on_row)(void *context, struct strview row);
    void *context;
};

static enum err rows_each(struct store *store, int64_t from_ms, int64_t to_ms,
                          const struct row_call *call, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    struct page page = {.is_full = true};
    enum err e = ERR_OK;
    (void)spill_row_key(store, &spill->from, from_ms, (struct strview){"", 0});
    while (!e && page.is_full) {
        struct strview row;
        e = page_read(store, to_ms, &page, info);
        for (size_t at = 0; !e && page_next(&spill->page, &at, &row);) {
            page_begin_behind(spill, row);
            e = call->on_row(call->context, row);
        }
    }
    return e;
}

/* Whether cells of these times are away, as far as that is counted; *from_ms is where they can begin. */
static bool has_away(const struct store *store, int64_t *from_ms, int64_t to_ms)
{
    const struct store_spill *spill = store->spill;
    size_t place = spill_time_place(spill, *from_ms < 0 ? 0 : spill_time_of(store, *from_ms));
    if (place == spill->times.count || spill_times(spill)[place].time_ms > to_ms) {
        return false;
    }
    int64_t first_ms = spill_times(spill)[place].time_ms;
    *from_ms = first_ms > *from_ms ? first_ms : *from_ms;
    return true;
}

/* --- looking ------------------------------------------------------------------------------------*/

static enum err on_first(void *context, struct strview row, struct strview value)
{
    struct page *page = context;
    if (store_key_find(page->store, row_owner(row))) {
        return ERR_OK;
    }
    (void)value;
    page->is_full = true;
    page->store->spill->next_ms = spill_row_time(row);
    return ERR_LIMIT;
}

static int64_t keys_next_ms(struct store *store, int64_t from_ms, int64_t limit_ms)
{
    struct store_spill *spill = store->spill;
    if (spill->is_lost) {
        return from_ms;
    }
    if (!spill->has_next || spill->next_from_ms != from_ms) {
        struct page page = {.store = store};
        const struct store_disk_reader reader = {on_first, &page};
        struct strview none = {"", 0};
        spill->next_ms = INT64_MAX;
        enum err e =
            spill->disk.read(spill->disk.context, spill_row_key(store, &spill->from, from_ms, none),
                             spill_row_key(store, &spill->end, limit_ms, none), &reader, NULL);
        spill->next_from_ms = from_ms;
        spill->has_next = page.is_full;
        spill->is_lost = e && !page.is_full;
        if (spill->is_lost) {
            return from_ms;
        }
    }
    return spill->next_ms < limit_ms ? spill->next_ms : limit_ms;
}

struct visit {
    struct store *store;
    const struct store_visitor *visitor;
    struct store_cell *const *cells; /* in memory */
    size_t at, count;
    int64_t from_ms, to_ms;
    struct err_info *info;
};

static enum err visit_cell(const struct visit *visit, struct store_cell *cell)
{
    return visit->visitor->on_cell(visit->visitor->context, cell);
}

/* Those in memory that come before this place. */
static enum err visit_here(struct visit *visit, int64_t time_ms, struct strview key)
{
    enum err e = ERR_OK;
    for (; !e && visit->at < visit->count; visit->at++) {
        struct store_cell *cell = visit->cells[visit->at];
        if (cell->time_ms > time_ms ||
            (cell->time_ms == time_ms && store_disk_order(store_cell_key(cell), key) > 0)) {
            break;
        }
        e = visit_cell(visit, cell);
    }
    return e;
}

static enum err visit_row(void *context, struct strview row)
{
    struct visit *visit = context;
    int64_t time_ms = spill_row_time(row);
    enum err e = visit_here(visit, time_ms, row_owner(row));
    e = e ? e : key_lend(visit->store, row_owner(row), visit->info);
    if (e) {
        return e;
    }
    struct store_range range = store_range(&visit->store->spill->lent.key, time_ms, time_ms);
    for (struct store_cell *cell; !e && (cell = store_next(&range));) {
        e = visit_cell(visit, cell);
    }
    return e;
}

static enum err keys_visit(struct store *store, int64_t from_ms, int64_t to_ms,
                           const struct store_visitor *visitor, struct err_info *info)
{
    struct visit visit = {.store = store, .visitor = visitor, .info = info};
    const struct row_call call = {visit_row, &visit};
    int64_t away_ms = store->spill->removed_ms < from_ms ? from_ms : store->spill->removed_ms + 1;
    visit.cells = store_between(store, from_ms, to_ms, &visit.count);
    enum err e =
        has_away(store, &away_ms, to_ms) ? rows_each(store, away_ms, to_ms, &call, info) : ERR_OK;
    for (; !e && visit.at < visit.count; visit.at++) {
        e = visit_cell(&visit, visit.cells[visit.at]);
    }
    return e;
}

/* --- key by key ---------------------------------------------------------------------------------*/

/* The next keys that are away and have cells in a range, in order: the smallest of all of its times. */
struct key_page {
    struct store *store;
    struct strview keys[PAGE_ROWS_MAX];
    size_t count;
    struct arena bytes;
    struct buf after; /* they come behind this one, unless it is empty: no key is */
};

static enum err on_key_row(void *context, struct strview row, struct strview value)
{
    struct key_page *page = context;
    struct strview key = row_owner(row);
    size_t low = 0, high = page->count;
    (void)value;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store_disk_order(page->keys[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == PAGE_ROWS_MAX) {
        return ERR_LIMIT; /* so are all behind it */
    }
    if (store_key_find(page->store, key) || (low < page->count && sv_equal(page->keys[low], key))) {
        return ERR_OK;
    }
    page->count -= page->count == PAGE_ROWS_MAX;
    memmove(page->keys + low + 1, page->keys + low, (page->count - low) * sizeof *page->keys);
    page->keys[low] = arena_copy(&page->bytes, key);
    page->count++;
    return ERR_OK;
}

static enum err key_page_read(struct key_page *page, const struct visit *range,
                              struct err_info *info)
{
    struct store_spill *spill = page->store->spill;
    size_t place = spill_time_place(spill, range->from_ms);
    enum err e = ERR_OK;
    page->count = 0;
    arena_reset(&page->bytes);
    for (; !e && place < spill->times.count && spill_times(spill)[place].time_ms <= range->to_ms;
         place++) {
        const struct store_disk_reader reader = {on_key_row, page};
        int64_t time_ms = spill_times(spill)[place].time_ms;
        page_begin_behind(spill,
                          spill_row_key(page->store, &spill->key, time_ms, buf_view(&page->after)));
        spill->from.len -= page->after.len == 0;
        e = spill->disk.read(
            spill->disk.context, buf_view(&spill->from),
            spill_row_key(page->store, &spill->end, time_ms + 1, (struct strview){"", 0}), &reader,
            info);
        if (e == ERR_LIMIT && page->count == PAGE_ROWS_MAX) {
            e = ERR_OK;
        }
    }
    spill->is_lost = e || spill->is_lost;
    return e;
}

static enum err visit_keys_here(struct visit *visit, struct strview before)
{
    enum err e = ERR_OK;
    for (; !e && visit->at < visit->count; visit->at++) {
        struct store_cell *cell = visit->cells[visit->at];
        if (before.ptr && store_disk_order(store_cell_key(cell), before) > 0) {
            break;
        }
        if (visit->at == 0 || visit->cells[visit->at - 1]->key != cell->key) {
            e = visit_cell(visit, cell); /* the first of its key */
        }
    }
    return e;
}

static enum err visit_key_page(struct visit *visit, const struct key_page *page)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < page->count; i++) {
        e = visit_keys_here(visit, page->keys[i]);
        e = e ? e : key_lend(visit->store, page->keys[i], visit->info);
        struct store_range range =
            store_range(e ? NULL : &visit->store->spill->lent.key, visit->from_ms, visit->to_ms);
        struct store_cell *cell = store_next(&range);
        e = cell ? visit_cell(visit, cell) : e;
    }
    return e;
}

static int key_order(const void *left, const void *right)
{
    const struct store_cell *a = *(struct store_cell *const *)left;
    const struct store_cell *b = *(struct store_cell *const *)right;
    int order = store_disk_order(store_cell_key(a), store_cell_key(b));
    return order ? order : (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

enum err store_visit_keys(struct store *store, int64_t from_ms, int64_t to_ms,
                          const struct store_visitor *visitor, struct err_info *info)
{
    struct visit visit = {
        .store = store, .visitor = visitor, .info = info, .from_ms = from_ms, .to_ms = to_ms};
    enum err e = spill_lost(store->spill, info);
    if (e) {
        return e;
    }
    visit.cells = store_between(store, from_ms, to_ms, &visit.count);
    if (visit.count > 0) {
        qsort(store->selected.items, visit.count, sizeof(void *), key_order);
    }
    if (has_away(store, &from_ms, to_ms)) {
        struct key_page *page = must_alloc(sizeof *page);
        page->store = store;
        page->count = PAGE_ROWS_MAX;
        arena_init(&page->bytes, SIZE_MAX);
        buf_init(&page->after, SPILL_ROW_BYTES_MAX);
        while (!e && page->count == PAGE_ROWS_MAX) {
            e = key_page_read(page, &visit, info);
            e = e ? e : visit_key_page(&visit, page);
            buf_reset(&page->after);
            CHECK(page->count == 0 || !buf_append_view(&page->after, page->keys[page->count - 1]));
        }
        arena_free(&page->bytes);
        buf_free(&page->after);
        free(page);
    }
    return e ? e : visit_keys_here(&visit, (struct strview){NULL, 0});
}

/* --- leaving ------------------------------------------------------------------------------------*/

static size_t keys_leaving_add(struct store *store, struct store_key *key)
{
    size_t bytes = key_cost(key->bytes);
    bool leaves = true;
    for (size_t i = 0; i < key->cells.count; i++) {
        struct store_cell *cell = key_cells(key)[i];
        leaves &= cell->is_stored && !cell->is_recent && !cell->is_held;
        cell->is_recent = false;
        bytes += spill_cell_cost(store, cell);
    }
    if (leaves) {
        *(struct store_key **)store_list_push(&store->spill->leaving, sizeof(void *)) = key;
    }
    return leaves ? bytes : 0;
}

static void time_put(const struct store *store, int64_t time_ms, struct strview key, bool is_there)
{
    struct store_spill *spill = store->spill;
    spill->disk.put(spill->disk.context, spill_row_key(store, &spill->key, time_ms, key),
                    is_there ? (struct strview){"", 0} : (struct strview){NULL, 0});
}

/* Rows of times that the key's row has and the key has not; all of them, if it has no cells any more. */
static enum err times_forget(struct store *store, const struct store_key *key, bool is_gone,
                             struct err_info *info)
{
    bool is_found;
    enum err e =
        key->has_row && has_times(store) ? row_get(store, key->bytes, &is_found, info) : ERR_OK;
    if (e || !key->has_row || !has_times(store)) {
        return e;
    }
    const struct row_cell *row;
    const void *offsets;
    void *value;
    for (size_t at = 0; (row = row_next(store, &at, &offsets, &value));) {
        struct store_range range = store_range(is_gone ? NULL : key, row->time_ms, row->time_ms);
        if (!store_next(&range)) {
            time_put(store, row->time_ms, key->bytes, false);
        }
    }
    return ERR_OK;
}

static enum err key_put(struct store *store, const struct store_key *key, struct err_info *info)
{
    struct store_spill *spill = store->spill;
    enum err e = times_forget(store, key, false, info);
    buf_reset(&spill->row);
    for (size_t i = 0; !e && i < key->cells.count; i++) {
        const struct store_cell *cell = key_cells(key)[i];
        row_add(store, &spill->row, cell);
        if (has_times(store)) {
            time_put(store, cell->time_ms, key->bytes, true);
        }
    }
    if (!e) {
        spill->disk.put(spill->disk.context, key_row(store, key->bytes), buf_view(&spill->row));
    }
    return e;
}

static enum err keys_leaving_put(struct store *store, size_t *ret_written, struct err_info *info)
{
    struct store_key **keys = store->spill->leaving.items;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < store->spill->leaving.count; i++) {
        if (!keys[i]->has_row || !keys[i]->is_row_same) {
            e = key_put(store, keys[i], info);
            *ret_written += keys[i]->cells.count;
        }
    }
    return e;
}

static void keys_leaving_go(struct store *store)
{
    struct store_key **keys = store->spill->leaving.items;
    for (size_t i = 0; i < store->spill->leaving.count; i++) {
        for (size_t left = keys[i]->cells.count; left-- > 0;) { /* the key goes with the last */
            struct store_cell *cell = key_cells(keys[i])[left];
            int64_t time_ms = cell->time_ms;
            cell_delete(store, cell);
            spill_away_change(store, time_ms, 1);
        }
        store->away_keys++;
    }
}

/* --- with the cycle -----------------------------------------------------------------------------*/

static enum err key_forget(struct store *store, const struct store_key *key, bool *ret_is_held)
{
    enum err e = times_forget(store, key, true, NULL);
    if (!e && key->has_row) {
        struct store_spill *spill = store->spill;
        spill->disk.put(spill->disk.context, key_row(store, key->bytes), (struct strview){NULL, 0});
        *ret_is_held = true;
    }
    return e;
}

/* Its rows go with its last cell: that is seen when the first of its cells comes. */
static enum err keys_committing(struct store *store, struct store_cell *cell, bool *ret_is_held)
{
    struct store_key *key = cell->key;
    key->is_row_same = false;
    if (!key->has_row || !cell->is_removed || key_cells(key)[0] != cell) {
        return ERR_OK;
    }
    struct store_range range = store_range(key, INT64_MIN, INT64_MAX);
    return store_next(&range) ? ERR_OK : key_forget(store, key, ret_is_held);
}

/* What of the key is not younger than removed_ms. */
static enum err away_forget(void *context, struct strview row)
{
    struct store *store = context;
    struct store_spill *spill = store->spill;
    struct strview key = row_owner(row);
    enum err e = key_lend(store, key, NULL);
    const struct store_key *owner = &spill->lent.key;
    if (e || owner->cells.count == 0) {
        return e; /* it went with an earlier row of the key */
    }
    buf_reset(&spill->row);
    for (size_t i = 0; i < owner->cells.count; i++) {
        const struct store_cell *cell = key_cells(owner)[i];
        if (cell->time_ms > spill->removed_ms) {
            row_add(store, &spill->row, cell);
            continue;
        }
        time_put(store, cell->time_ms, key, false);
        spill_away_change(store, cell->time_ms, -1);
    }
    store->away_keys -= spill->row.len == 0;
    spill->disk.put(spill->disk.context, key_row(store, key),
                    spill->row.len > 0 ? buf_view(&spill->row) : (struct strview){NULL, 0});
    return spill->disk.write(spill->disk.context, NULL);
}

/* Row by row: what is in memory has rows, too, of which it says itself when they go. */
static enum err keys_forget_away(struct store *store, bool *ret_is_held)
{
    struct store_spill *spill = store->spill;
    const struct row_call call = {away_forget, store};
    enum err e = *ret_is_held ? spill->disk.write(spill->disk.context, NULL) : ERR_OK;
    *ret_is_held = false;
    if (e || spill->times.count == 0 || spill_times(spill)[0].time_ms > spill->removed_ms) {
        return e;
    }
    return rows_each(store, spill_times(spill)[0].time_ms, spill->removed_ms, &call, NULL);
}

static enum err keys_unloading(struct store *store, struct store_cell *cell, bool *ret_is_held)
{
    cell->key->is_row_same = false;
    return cell->key->cells.count == 1 ? key_forget(store, cell->key, ret_is_held) : ERR_OK;
}

const struct spill_way spill_keys = {
    .leaving_add = keys_leaving_add,
    .leaving_put = keys_leaving_put,
    .leaving_go = keys_leaving_go,
    .recall = keys_recall,
    .visit = keys_visit,
    .next_ms = keys_next_ms,
    .committing = keys_committing,
    .forget_away = keys_forget_away,
    .unloading = keys_unloading,
};
