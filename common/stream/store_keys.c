/* A key and its cells, in order of (time, minor). */
#include "stream/store_inside.h"

#define MAP_BYTES 64 /* a key's place in the hash map, about */

size_t key_cost(struct strview bytes)
{
    return slab_block_bytes(sizeof(struct store_key)) + bytes.len + MAP_BYTES;
}

struct store_key *key_get(struct store *store, struct strview bytes)
{
    struct store_key **place = hash_map_get_or_add(store->keys, bytes, NULL);
    if (place && !*place) {
        struct store_key *key = store_take(store, sizeof *key);
        *key = (struct store_key){.bytes = hash_map_key_of(place)};
        key->cells = (struct store_row){(char *)key->own, 0, 0, KEY_CELLS_OWN};
        store->used_bytes += bytes.len + MAP_BYTES;
        *place = key;
    }
    return place ? *place : NULL;
}

struct store_key *store_key_find(const struct store *store, struct strview key)
{
    struct store_key **found = hash_map_find(store->keys, key);
    return found ? *found : NULL;
}

void key_free(struct store *store, struct store_key *key)
{
    if (key->cells.items != (char *)key->own) {
        slab_free(&store->slab, key->cells.items, key->cells.capacity * sizeof(void *));
    }
    store->used_bytes -= key->bytes.len + MAP_BYTES;
    store_give(store, key, sizeof *key);
}

void key_drop_empty(struct store *store, struct store_key *key)
{
    if (key->cells.count == 0) {
        struct strview bytes = key->bytes; /* the map's, until it is removed there */
        key_free(store, key);
        (void)hash_map_remove(store->keys, bytes); /* it is there */
    }
}

static bool is_before(const struct store_cell *cell, int64_t time_ms, int64_t minor)
{
    return cell->time_ms != time_ms ? cell->time_ms < time_ms : cell->minor < minor;
}

/* From behind: events come more or less in order. */
size_t key_place(const struct store_key *key, int64_t time_ms, int64_t minor)
{
    struct store_cell *const *cells = key_cells(key);
    size_t low = 0, high = key->cells.count;
    if (high > 0 && is_before(cells[high - 1], time_ms, minor)) {
        return high;
    }
    if (high > 1 && is_before(cells[high - 2], time_ms, minor)) {
        return high - 1;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_before(cells[middle], time_ms, minor)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct store_cell *key_cell(const struct store_key *key, int64_t time_ms, int64_t minor)
{
    size_t place = key_place(key, time_ms, minor);
    if (place == key->cells.count) {
        return NULL;
    }
    struct store_cell *cell = key_cells(key)[place];
    return cell->time_ms == time_ms && cell->minor == minor ? cell : NULL;
}

struct store_range store_range(const struct store_key *key, int64_t from_ms, int64_t to_ms)
{
    if (!key || from_ms > to_ms) {
        return (struct store_range){NULL, NULL};
    }
    struct store_cell *const *cells = key_cells(key);
    size_t end = key_place(key, to_ms, INT64_MAX);
    end += end < key->cells.count && cells[end]->time_ms == to_ms; /* its minor is INT64_MAX */
    return (struct store_range){cells + key_place(key, from_ms, INT64_MIN), cells + end};
}

void key_attach(struct store *store, struct store_cell *cell)
{
    struct store_key *key = cell->key;
    size_t place = key_place(key, cell->time_ms, cell->minor);
    store_row_reserve(&key->cells, &store->slab, key->own, sizeof(void *));
    *(struct store_cell **)store_row_open(&key->cells, place, sizeof(void *)) = cell;
}

/* While an abort puts moved cells back, two may stand at one place: it is found by its address. */
void key_detach(struct store_cell *cell)
{
    struct store_key *key = cell->key;
    size_t place = key_place(key, cell->time_ms, cell->minor);
    while (key_cells(key)[place] != cell) {
        place++;
        CHECK(place < key->cells.count);
    }
    store_row_close(&key->cells, place, sizeof(void *));
}
