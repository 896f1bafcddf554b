#include "stream/window_store.h"

#include <stdlib.h>

#include "core/hash_map.h"

struct window_key {
    struct window_cell **cells; /* in order of start */
    size_t cell_count;
    size_t cell_capacity;
    size_t len;
    char bytes[];
};

struct window {
    int64_t start_ms;
    struct window_cell *first;
    size_t cell_count;
};

struct cell_chunk {
    struct cell_chunk *next;
    alignas(16) unsigned char memory[];
};

struct window_store {
    struct window_store_config config;
    struct hash_map *keys; /* bytes → struct window_key * */
    size_t key_bytes;      /* held by window_keys */
    size_t cell_stride;
    size_t cell_count;
    struct window_cell *free_cells; /* through next */
    struct cell_chunk *chunks;
    size_t chunk_count;
    struct window *windows; /* in order of start */
    size_t window_count;
    size_t window_capacity;
    size_t expiring; /* the first so many go with the next commit */
    struct window_cell **dirty;
    size_t dirty_count;
    size_t dirty_capacity;
    struct window_cell **sorted; /* of window_store_cells */
    size_t sorted_capacity;
};

#define CHUNK_CELLS 128

struct window_store *window_store_new(const struct window_store_config *config)
{
    CHECK(config->totals_bytes > 0 && config->totals_bytes % 16 == 0);
    struct window_store *store = must_alloc(sizeof *store);
    store->config = *config;
    store->keys = hash_map_new(sizeof(struct window_key *), config->keys_max);
    store->cell_stride = sizeof(struct window_cell) + 2 * config->totals_bytes;
    return store;
}

static void key_free(struct window_key *key)
{
    free(key->cells);
    free(key);
}

void window_store_free(struct window_store *store)
{
    if (!store) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(store->keys); i++) {
        key_free(*(struct window_key **)hash_map_value_at(store->keys, i));
    }
    hash_map_free(store->keys);
    while (store->chunks) {
        struct cell_chunk *next = store->chunks->next;
        free(store->chunks);
        store->chunks = next;
    }
    free(store->windows);
    free(store->dirty);
    free(store->sorted);
    free(store);
}

struct strview window_cell_key(const struct window_cell *cell)
{
    return sv_of(cell->key->bytes, cell->key->len);
}

/* Makes room for one more element; capacities double. */
static void *grow(void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity ? *capacity * 2 : 8;
    return must_realloc(items, *capacity * item_bytes);
}

/* --- a key and its cells ------------------------------------------------------------------------*/

/* Where the cell of this start is or would be. From behind: events come more or less in order. */
static size_t key_place(const struct window_key *key, int64_t start_ms)
{
    size_t low = 0, high = key->cell_count;
    if (high > 0 && key->cells[high - 1]->start_ms <= start_ms) {
        return key->cells[high - 1]->start_ms == start_ms ? high - 1 : high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (key->cells[middle]->start_ms < start_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static inline struct window_cell *key_cell(const struct window_key *key, int64_t start_ms)
{
    size_t place = key_place(key, start_ms);
    bool is_there = place < key->cell_count && key->cells[place]->start_ms == start_ms;
    return is_there ? key->cells[place] : NULL;
}

static void key_insert(struct window_key *key, struct window_cell *cell)
{
    size_t place = key_place(key, cell->start_ms);
    key->cells = grow(key->cells, key->cell_count, &key->cell_capacity, sizeof(void *));
    memmove(&key->cells[place + 1], &key->cells[place], (key->cell_count - place) * sizeof(void *));
    key->cells[place] = cell;
    key->cell_count++;
}

/* A key without cells goes too. */
static void key_remove(struct window_store *store, struct window_cell *cell)
{
    struct window_key *key = cell->key;
    size_t place = key_place(key, cell->start_ms);
    CHECK(key->cells[place] == cell);
    key->cell_count--;
    memmove(&key->cells[place], &key->cells[place + 1], (key->cell_count - place) * sizeof(void *));
    if (key->cell_count == 0) {
        store->key_bytes -= sizeof *key + key->len;
        (void)hash_map_remove(store->keys, sv_of(key->bytes, key->len)); /* it is there */
        key_free(key);
    }
}

static struct window_key *key_get(struct window_store *store, struct strview bytes)
{
    struct window_key **place = hash_map_get_or_add(store->keys, bytes, NULL);
    if (!place) {
        return NULL;
    }
    if (!*place) {
        struct window_key *key = must_alloc(sizeof *key + bytes.len);
        key->len = bytes.len;
        memcpy(key->bytes, bytes.ptr, bytes.len);
        store->key_bytes += sizeof *key + bytes.len;
        *place = key;
    }
    return *place;
}

/* --- windows and their cells --------------------------------------------------------------------*/

static size_t window_place(const struct window_store *store, int64_t start_ms)
{
    size_t low = 0, high = store->window_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->windows[middle].start_ms < start_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void window_link(struct window_store *store, struct window_cell *cell)
{
    size_t place = window_place(store, cell->start_ms);
    if (place == store->window_count || store->windows[place].start_ms != cell->start_ms) {
        store->windows = grow(store->windows, store->window_count, &store->window_capacity,
                              sizeof *store->windows);
        memmove(&store->windows[place + 1], &store->windows[place],
                (store->window_count - place) * sizeof *store->windows);
        store->windows[place] = (struct window){.start_ms = cell->start_ms};
        store->window_count++;
    }
    struct window *window = &store->windows[place];
    cell->previous = NULL;
    cell->next = window->first;
    if (cell->next) {
        cell->next->previous = cell;
    }
    window->first = cell;
    window->cell_count++;
}

/* A window without cells goes too. */
static void window_unlink(struct window_store *store, struct window_cell *cell)
{
    size_t place = window_place(store, cell->start_ms);
    struct window *window = &store->windows[place];
    if (cell->previous) {
        cell->previous->next = cell->next;
    } else {
        window->first = cell->next;
    }
    if (cell->next) {
        cell->next->previous = cell->previous;
    }
    window->cell_count--;
    if (window->cell_count == 0) {
        store->window_count--;
        memmove(window, window + 1, (store->window_count - place) * sizeof *window);
    }
}

/* --- cells ----------------------------------------------------------------------------------- */

static struct window_cell *cell_take(struct window_store *store)
{
    if (!store->free_cells) {
        struct cell_chunk *chunk = must_alloc(sizeof *chunk + CHUNK_CELLS * store->cell_stride);
        chunk->next = store->chunks;
        store->chunks = chunk;
        store->chunk_count++;
        for (size_t i = 0; i < CHUNK_CELLS; i++) {
            struct window_cell *cell =
                (struct window_cell *)(void *)(chunk->memory + i * store->cell_stride);
            cell->next = store->free_cells;
            store->free_cells = cell;
        }
    }
    struct window_cell *cell = store->free_cells;
    store->free_cells = cell->next;
    memset(cell, 0, store->cell_stride);
    store->cell_count++;
    return cell;
}

static void cell_remove(struct window_store *store, struct window_cell *cell)
{
    window_unlink(store, cell);
    key_remove(store, cell);
    cell->next = store->free_cells;
    store->free_cells = cell;
    store->cell_count--;
}

struct window_cell *window_store_find(const struct window_store *store, struct strview key,
                                      int64_t start_ms)
{
    struct window_key **found = hash_map_find(store->keys, key);
    return found ? key_cell(*found, start_ms) : NULL;
}

static enum err cell_add(struct window_store *store, struct strview key, int64_t start_ms,
                         struct window_cell **ret, struct err_info *info)
{
    if (store->cell_count >= store->config.cells_max) {
        return err_set(info, ERR_LIMIT, "the window store is full: windows_max is %zu",
                       store->config.cells_max);
    }
    struct window_key *owner = key_get(store, key);
    if (!owner) {
        return err_set(info, ERR_LIMIT, "the window store is full: keys_max is %zu",
                       store->config.keys_max);
    }
    struct window_cell *cell = cell_take(store);
    cell->key = owner;
    cell->start_ms = start_ms;
    cell->is_new = true;
    key_insert(owner, cell);
    window_link(store, cell);
    *ret = cell;
    return ERR_OK;
}

enum err window_store_get(struct window_store *store, struct strview key, int64_t start_ms,
                          struct window_cell **ret, struct err_info *info)
{
    struct window_cell *cell = window_store_find(store, key, start_ms);
    if (!cell) {
        return cell_add(store, key, start_ms, ret, info);
    }
    *ret = cell;
    return ERR_OK;
}

static unsigned char *cell_committed(const struct window_store *store, struct window_cell *cell)
{
    return cell->totals + store->config.totals_bytes;
}

void *window_store_edit(struct window_store *store, struct window_cell *cell)
{
    if (!cell->is_dirty) {
        memcpy(cell_committed(store, cell), cell->totals, store->config.totals_bytes);
        cell->is_dirty = true;
        store->dirty =
            grow(store->dirty, store->dirty_count, &store->dirty_capacity, sizeof(void *));
        store->dirty[store->dirty_count++] = cell;
    }
    return cell->totals;
}

void *window_store_load(struct window_store *store, struct window_cell *cell, int64_t next_offset)
{
    (void)store;
    CHECK(!cell->is_dirty);
    cell->is_new = false;
    cell->is_stored = true;
    cell->next_offset = next_offset;
    return cell->totals;
}

void window_store_remove(struct window_store *store, struct window_cell *cell)
{
    CHECK(!cell->is_dirty);
    cell_remove(store, cell);
}

size_t window_store_dirty_count(const struct window_store *store)
{
    return store->dirty_count;
}

struct window_cell *window_store_dirty(const struct window_store *store, size_t index)
{
    CHECK(index < store->dirty_count);
    return store->dirty[index];
}

size_t window_store_window_count(const struct window_store *store)
{
    return store->window_count;
}

int64_t window_store_window_start(const struct window_store *store, size_t window)
{
    CHECK(window < store->window_count);
    return store->windows[window].start_ms;
}

static int cell_compare(const void *left, const void *right)
{
    const struct window_key *a = (*(struct window_cell *const *)left)->key;
    const struct window_key *b = (*(struct window_cell *const *)right)->key;
    int order = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

struct window_cell *const *window_store_cells(struct window_store *store, size_t window,
                                              size_t *ret_count)
{
    CHECK(window < store->window_count);
    size_t count = 0;
    for (struct window_cell *cell = store->windows[window].first; cell; cell = cell->next) {
        store->sorted = grow(store->sorted, count, &store->sorted_capacity, sizeof(void *));
        store->sorted[count++] = cell;
    }
    qsort(store->sorted, count, sizeof(void *), cell_compare);
    *ret_count = count;
    return store->sorted;
}

void window_store_expire(struct window_store *store, size_t windows)
{
    CHECK(windows <= store->window_count);
    store->expiring = windows;
}

void window_store_commit(struct window_store *store, int64_t next_offset)
{
    for (size_t i = 0; i < store->dirty_count; i++) {
        struct window_cell *cell = store->dirty[i];
        cell->is_new = false;
        cell->is_dirty = false;
        cell->is_stored |= cell->is_being_stored;
        cell->is_being_stored = false;
        if (next_offset > cell->next_offset) { /* a replay may not have caught up yet */
            cell->next_offset = next_offset;
        }
    }
    store->dirty_count = 0;
    /* From the last, so that each removal moves nothing but what stays. */
    for (; store->expiring > 0; store->expiring--) {
        struct window_cell *cell = store->windows[store->expiring - 1].first;
        for (struct window_cell *next; cell; cell = next) {
            next = cell->next;
            cell_remove(store, cell);
        }
    }
}

void window_store_abort(struct window_store *store)
{
    for (size_t i = 0; i < store->dirty_count; i++) {
        struct window_cell *cell = store->dirty[i];
        if (cell->is_new) {
            cell_remove(store, cell);
            continue;
        }
        memcpy(cell->totals, cell_committed(store, cell), store->config.totals_bytes);
        cell->is_dirty = false;
        cell->is_being_stored = false;
    }
    store->dirty_count = 0;
    store->expiring = 0;
}

size_t window_store_key_count(const struct window_store *store)
{
    return hash_map_count(store->keys);
}

size_t window_store_cell_count(const struct window_store *store)
{
    return store->cell_count;
}

size_t window_store_bytes(const struct window_store *store)
{
    return sizeof *store + hash_map_bytes(store->keys) + store->key_bytes +
           store->chunk_count * (sizeof(struct cell_chunk) + CHUNK_CELLS * store->cell_stride) +
           store->window_capacity * sizeof *store->windows +
           (store->dirty_capacity + store->sorted_capacity) * sizeof(void *);
}
