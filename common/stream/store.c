#include "stream/store.h"

#include <stdlib.h>

#include "stream/store_inside.h"

/* --- life ---------------------------------------------------------------------------------------*/

struct store *store_new(const struct store_config *config)
{
    CHECK(config->value_bytes % 16 == 0 && config->bucket_ms >= 0);
    struct store *store = must_alloc(sizeof *store);
    store->config = *config;
    store->keys =
        hash_map_new(sizeof(struct store_key *), UINT32_MAX / 2 - 1); /* see check_limits */
    store->head_bytes = sizeof(struct store_cell) + config->inputs * sizeof(int64_t);
    store->head_bytes = (store->head_bytes + 15) & ~(size_t)15;
    arena_init(&store->copies, SIZE_MAX); /* of what bytes_max bounds */
    return store;
}

static void cell_free(struct store *store, struct store_cell *cell)
{
    if (store->config.value_bytes == 0 && cell->bytes > 0) {
        store_give(store, cell->value, cell->bytes);
    }
    store_give(store, cell, store->head_bytes + store->config.value_bytes);
    store->cell_count--;
}

void store_free(struct store *store)
{
    if (!store) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(store->keys); i++) {
        struct store_key *key = *(struct store_key **)hash_map_value_at(store->keys, i);
        for (size_t c = 0; c < key->cells.count; c++) {
            cell_free(store, key_cells(key)[c]);
        }
        key_free(store, key);
    }
    hash_map_free(store->keys);
    spill_free(store->spill);
    slab_free(&store->slab, store->buckets.items,
              store->buckets.capacity * sizeof(struct store_bucket));
    slab_stop(&store->slab);
    arena_free(&store->copies);
    free(store->dirty.items);
    free(store->values.items);
    free(store->moves.items);
    free(store->selected.items);
    free(store);
}

struct strview store_cell_key(const struct store_cell *cell)
{
    return cell->key->bytes;
}

/* --- adding -------------------------------------------------------------------------------------*/

static inline enum err check_bytes(const struct store *store, size_t more, struct err_info *info)
{
    return more <= store->config.bytes_max && store->used_bytes <= store->config.bytes_max - more
               ? ERR_OK
               : err_set(info, ERR_LIMIT, "the store is full: bytes_max is %zu",
                         store->config.bytes_max);
}

static inline enum err check_limits(const struct store *store, struct strview key, bool is_new_key,
                                    struct err_info *info)
{
    const struct store_config *config = &store->config;
    if (store->cell_count >= config->cells_max) {
        return err_set(info, ERR_LIMIT, "the store is full: %s is %zu", config->cells_max_name,
                       config->cells_max);
    }
    if (is_new_key && hash_map_count(store->keys) + store->away_keys >= config->keys_max) {
        return err_set(info, ERR_LIMIT, "the store is full: keys_max is %zu", config->keys_max);
    }
    size_t more = slab_block_bytes(store->head_bytes + config->value_bytes);
    return check_bytes(store, more + (is_new_key ? key_cost(key) : 0), info);
}

/* owner NULL: the key is new. */
static struct store_cell *cell_add(struct store *store, struct store_key *owner, struct strview key,
                                   int64_t time_ms, int64_t minor)
{
    owner = owner ? owner : key_get(store, key);
    CHECK(owner); /* the map has a place for more than memory has */
    size_t bytes = store->head_bytes + store->config.value_bytes;
    struct store_cell *cell = store_take(store, bytes);
    memset(cell, 0, bytes);
    cell->key = owner;
    cell->time_ms = time_ms;
    cell->minor = minor;
    cell->bytes = (uint32_t)store->config.value_bytes;
    cell->value = cell->bytes ? (char *)cell + store->head_bytes : NULL;
    store->cell_count++;
    key_attach(store, cell);
    bucket_attach(store, cell);
    return cell;
}

struct store_cell *store_find(const struct store *store, struct strview key, int64_t time_ms,
                              int64_t minor)
{
    const struct store_key *owner = store_key_find(store, key);
    struct store_cell *cell = owner ? key_cell(owner, time_ms, minor) : NULL;
    return cell && !cell->is_removed ? cell : NULL;
}

static enum err cell_add_new(struct store *store, struct store_key *owner, struct strview key,
                             int64_t time_ms, int64_t minor, struct store_cell **ret,
                             struct err_info *info)
{
    enum err e = check_limits(store, key, !owner, info);
    if (!e) {
        *ret = cell_add(store, owner, key, time_ms, minor);
        (*ret)->is_new = true;
        (*ret)->is_copied = true;
        store_touch(store, *ret);
    }
    return e;
}

/* Removed in this cycle and wanted again: it starts anew. */
static void cell_revive(struct store *store, struct store_cell *cell)
{
    (void)store_edit(store, cell);
    if (store->config.value_bytes) {
        memset(cell->value, 0, cell->bytes);
    } else if (cell->bytes > 0) {
        store_give(store, cell->value, cell->bytes);
        cell->value = NULL;
        cell->bytes = 0;
    }
    cell->is_removed = false;
    bucket_changed(store, cell);
}

enum err store_get(struct store *store, struct strview key, int64_t time_ms, int64_t minor,
                   struct store_cell **ret, struct err_info *info)
{
    struct store_key *owner = store_key_find(store, key);
    struct store_cell *cell = owner ? key_cell(owner, time_ms, minor) : NULL;
    if (!cell) {
        return cell_add_new(store, owner, key, time_ms, minor, ret, info);
    }
    if (cell->is_removed) {
        cell_revive(store, cell);
    }
    *ret = cell;
    return ERR_OK;
}

enum err store_add(struct store *store, struct strview key, int64_t time_ms,
                   struct store_cell **ret, struct err_info *info)
{
    struct store_key *owner = store_key_find(store, key);
    size_t end = owner ? key_place(owner, time_ms, UINT32_MAX) : 0;
    int64_t minor = 0;
    if (end > 0 && key_cells(owner)[end - 1]->time_ms == time_ms) {
        minor = key_cells(owner)[end - 1]->minor + 1;
        if (minor >= UINT32_MAX) {
            return err_set(info, ERR_LIMIT, "the store is full: no more cells of one time");
        }
    }
    return cell_add_new(store, owner, key, time_ms, minor, ret, info);
}

/* --- changing -----------------------------------------------------------------------------------*/

void store_touch(struct store *store, struct store_cell *cell)
{
    if (!cell->is_dirty) {
        cell->is_dirty = true;
        *(struct store_cell **)store_list_push(&store->dirty, sizeof(void *)) = cell;
    }
}

static void cell_copy(struct store *store, struct store_cell *cell)
{
    struct store_value *value = store_list_push(&store->values, sizeof *value);
    *value = (struct store_value){cell, NULL, cell->bytes};
    if (cell->bytes > 0) {
        value->copy = arena_alloc(&store->copies, cell->bytes);
        CHECK(value->copy); /* the arena has no bound */
        memcpy(value->copy, cell->value, cell->bytes);
    }
    cell->is_copied = true;
    store_touch(store, cell);
}

void *store_edit(struct store *store, struct store_cell *cell)
{
    if (!cell->is_copied) {
        cell_copy(store, cell);
    }
    return cell->value;
}

/* Another size; there is room for it. What is added is zero. */
static void cell_resize(struct store *store, struct store_cell *cell, size_t bytes)
{
    size_t old = cell->bytes;
    if (old == 0 || bytes == 0 || slab_block_bytes(old) != slab_block_bytes(bytes)) {
        char *value = bytes ? store_take(store, bytes) : NULL;
        size_t kept = old < bytes ? old : bytes;
        if (kept > 0) {
            memcpy(value, cell->value, kept);
        }
        if (old > 0) {
            store_give(store, cell->value, old);
        }
        cell->value = value;
    }
    if (bytes > old) {
        memset((char *)cell->value + old, 0, bytes - old);
    }
    cell->bytes = (uint32_t)bytes;
}

static enum err check_value(const struct store *store, const struct store_cell *cell, size_t bytes,
                            struct err_info *info)
{
    if (bytes > UINT32_MAX / 2) {
        return err_set(info, ERR_LIMIT, "a value of %zu bytes is too large for a store", bytes);
    }
    return bytes > cell->bytes ? check_bytes(store, slab_block_bytes(bytes), info) : ERR_OK;
}

enum err store_grow(struct store *store, struct store_cell *cell, size_t bytes, void **ret,
                    struct err_info *info)
{
    CHECK(store->config.value_bytes == 0);
    enum err e = check_value(store, cell, bytes, info);
    if (e) {
        return e;
    }
    (void)store_edit(store, cell); /* the copy is wanted */
    cell_resize(store, cell, bytes);
    *ret = cell->value;
    return ERR_OK;
}

static void cell_place(struct store *store, struct store_cell *cell, int64_t time_ms, int64_t minor)
{
    cell->time_ms = time_ms;
    cell->minor = minor;
    key_attach(store, cell);
    bucket_attach(store, cell);
}

void store_move(struct store *store, struct store_cell *cell, int64_t time_ms, int64_t minor)
{
    if (cell->time_ms == time_ms && cell->minor == minor) {
        return;
    }
    CHECK(!cell->is_removed && !key_cell(cell->key, time_ms, minor));
    if (!cell->is_new && !cell->is_moved) {
        *(struct store_move *)store_list_push(&store->moves, sizeof(struct store_move)) =
            (struct store_move){cell, cell->time_ms, cell->minor};
        cell->is_moved = true;
    }
    store_touch(store, cell);
    key_detach(cell);
    bucket_detach(store, cell);
    cell_place(store, cell, time_ms, minor);
}

void store_remove(struct store *store, struct store_cell *cell)
{
    CHECK(!cell->is_removed);
    cell->is_removed = true;
    store_touch(store, cell);
    bucket_changed(store, cell);
}

/* --- the cycle's end ----------------------------------------------------------------------------*/

static struct store_cell **dirty_cells(const struct store *store)
{
    return store->dirty.items;
}

size_t store_dirty_count(const struct store *store)
{
    return store->dirty.count;
}

struct store_cell *store_dirty(const struct store *store, size_t index)
{
    CHECK(index < store->dirty.count);
    return dirty_cells(store)[index];
}

size_t store_move_count(const struct store *store)
{
    return store->moves.count;
}

const struct store_move *store_move_at(const struct store *store, size_t index)
{
    CHECK(index < store->moves.count);
    return (const struct store_move *)store->moves.items + index;
}

void cell_delete(struct store *store, struct store_cell *cell)
{
    struct store_key *key = cell->key;
    key_detach(cell);
    bucket_detach(store, cell);
    cell_free(store, cell);
    key_drop_empty(store, key);
}

static void cell_settle(struct store_cell *cell)
{
    cell->is_new = cell->is_dirty = cell->is_copied = cell->is_moved = cell->is_removed = false;
    cell->is_being_stored = false;
}

static void cycle_end(struct store *store)
{
    store->dirty.count = store->values.count = store->moves.count = 0;
    arena_reset(&store->copies);
    if (store->spill) {
        spill_make_room(store);
    }
}

void store_commit(struct store *store, const int64_t *next_offsets)
{
    if (store->spill) {
        spill_committing(store);
    }
    for (size_t i = 0; i < store->dirty.count; i++) {
        struct store_cell *cell = dirty_cells(store)[i];
        if (cell->is_removed) {
            cell_delete(store, cell);
            continue;
        }
        cell->is_stored |= cell->is_being_stored;
        for (unsigned input = 0; input < store->config.inputs; input++) {
            if (next_offsets[input] > cell->next_offsets[input]) {
                cell->next_offsets[input] = next_offsets[input]; /* a replay may be behind it */
            }
        }
        cell_settle(cell);
    }
    cycle_end(store);
}

/* Moved cells are all taken out before any is put back, so that none meets another on its way; and
 * back before what is new goes, so that no key is without cells that will have some. */
static void abort_moves(struct store *store)
{
    const struct store_move *moves = store->moves.items;
    for (size_t i = 0; i < store->moves.count; i++) {
        key_detach(moves[i].cell);
        bucket_detach(store, moves[i].cell);
    }
    for (size_t i = 0; i < store->moves.count; i++) {
        cell_place(store, moves[i].cell, moves[i].time_ms, moves[i].minor);
    }
}

static void abort_values(struct store *store)
{
    const struct store_value *values = store->values.items;
    for (size_t i = 0; i < store->values.count; i++) {
        struct store_cell *cell = values[i].cell;
        if (cell->bytes != values[i].bytes) {
            cell_resize(store, cell, values[i].bytes);
        }
        if (values[i].bytes > 0) {
            memcpy(cell->value, values[i].copy, values[i].bytes);
        }
    }
}

void store_abort(struct store *store)
{
    if (store->spill) {
        spill_aborting(store);
    }
    abort_moves(store);
    abort_values(store);
    for (size_t i = 0; i < store->dirty.count; i++) {
        struct store_cell *cell = dirty_cells(store)[i];
        if (cell->is_new) {
            cell_delete(store, cell);
            continue;
        }
        bool was_removed = cell->is_removed;
        cell_settle(cell);
        if (was_removed) {
            bucket_changed(store, cell);
        }
    }
    cycle_end(store);
}

/* --- restoring ----------------------------------------------------------------------------------*/

enum err cell_load(struct store *store, struct strview key, int64_t time_ms, int64_t minor,
                   size_t bytes, bool is_bounded, struct store_cell **ret, struct err_info *info)
{
    CHECK(store->config.value_bytes == 0 || bytes == store->config.value_bytes);
    struct store_key *owner = store_key_find(store, key);
    struct store_cell *cell = owner ? key_cell(owner, time_ms, minor) : NULL;
    bool is_new = !cell;
    enum err e = is_new && is_bounded ? check_limits(store, key, !owner, info) : ERR_OK;
    if (e) {
        return e;
    }
    cell = cell ? cell : cell_add(store, owner, key, time_ms, minor);
    e = is_bounded ? check_value(store, cell, bytes, info) : ERR_OK;
    if (e && is_new) {
        cell_delete(store, cell);
    }
    if (e) {
        return e;
    }
    if (cell->bytes != bytes) {
        cell_resize(store, cell, bytes);
    }
    cell->is_stored = true;
    *ret = cell;
    return ERR_OK;
}

enum err store_load(struct store *store, struct strview key, int64_t time_ms, int64_t minor,
                    size_t bytes, struct store_cell **ret, struct err_info *info)
{
    CHECK(store->dirty.count == 0);
    enum err e = store->spill ? spill_loading(store, key, time_ms, info) : ERR_OK;
    e = e ? e : cell_load(store, key, time_ms, minor, bytes, true, ret, info);
    if (!e && store->spill) {
        spill_loaded(*ret);
    }
    return e;
}

void store_unload(struct store *store, struct store_cell *cell)
{
    CHECK(!cell->is_dirty);
    if (store->spill) {
        spill_unloading(store, cell);
    }
    cell_delete(store, cell);
}

size_t store_key_count(const struct store *store)
{
    return hash_map_count(store->keys) + store->away_keys;
}

size_t store_cell_count(const struct store *store)
{
    return store->cell_count;
}

static size_t list_bytes(const struct store_list *list, size_t item_bytes)
{
    return list->capacity * item_bytes;
}

size_t store_bytes(const struct store *store)
{
    return sizeof *store + hash_map_bytes(store->keys) + store->slab.bytes_held +
           list_bytes(&store->dirty, sizeof(void *)) +
           list_bytes(&store->values, sizeof(struct store_value)) +
           list_bytes(&store->moves, sizeof(struct store_move)) +
           list_bytes(&store->selected, sizeof(void *));
}
