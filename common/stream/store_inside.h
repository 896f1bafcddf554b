/* store_inside.h - how a store is made: what store.c, store_keys.c and store_buckets.c share.
 *
 *     keys     hash map: bytes → key, which has a row of its cells in order of (time, minor)
 *     buckets  a row of runs of bucket_ms in order, each with the list of its cells
 *     dirty    cells in the order of their first change; values, moves: what abort puts back
 *
 * With a disk (store_spill.c) what did not change lately may be there instead.
 * Keys, cells, values and rows come from one slab; copies from an arena that a commit empties. */
#pragma once

#include "core/arena.h"
#include "core/hash_map.h"
#include "core/slab.h"
#include "stream/store.h"
#include "stream/store_row.h"

#define KEY_CELLS_OWN 2 /* most keys have no more: the one that is filled and one that closes */

struct store_key {
    struct strview bytes;   /* the map's */
    struct store_row cells; /* of struct store_cell * */
    struct store_cell *own[KEY_CELLS_OWN];
    bool has_row;     /* of a store whose keys go to disk whole: there is one … */
    bool is_row_same; /* … and it says what the key's cells do, as committed */
};

struct store_bucket {
    int64_t number; /* time / bucket_ms */
    struct store_cell *first;
    int64_t first_ms;    /* no cell is older … */
    bool is_first_exact; /* … and one is just as old and was not removed */
};

struct store_value {
    struct store_cell *cell;
    void *copy;
    uint32_t bytes;
};

/* An array that grows by doubling. */
struct store_list {
    void *items;
    size_t count, capacity;
};

struct store_spill;

struct store {
    struct store_config config;
    struct hash_map *keys;
    struct slab slab;
    size_t used_bytes; /* what bytes_max bounds */
    size_t head_bytes; /* of a cell, up to where its value is if it has a fixed size */
    size_t cell_count;
    struct store_row buckets;   /* of struct store_bucket */
    struct store_list dirty;    /* of struct store_cell * */
    struct store_list values;   /* of struct store_value */
    struct store_list moves;    /* of struct store_move */
    struct store_list selected; /* of struct store_cell *: store_between's answer */
    struct arena copies;
    struct store_spill *spill; /* NULL: all is in memory */
    size_t away_keys; /* keys that have no cell in memory, where that is known: see store.h */
};

/* Room for one more at the end of the list; returns it. */
static inline void *store_list_push(struct store_list *list, size_t item_bytes)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 8;
        list->items = must_realloc(list->items, list->capacity * item_bytes);
    }
    return (char *)list->items + list->count++ * item_bytes;
}

static inline void *store_take(struct store *store, size_t bytes)
{
    store->used_bytes += slab_block_bytes(bytes);
    return slab_alloc(&store->slab, bytes);
}

static inline void store_give(struct store *store, void *block, size_t bytes)
{
    if (block) {
        store->used_bytes -= slab_block_bytes(bytes);
        slab_free(&store->slab, block, bytes);
    }
}

/* --- store.c ------------------------------------------------------------------------------------*/

/* store_load's, with or without the bounds. */
MUST_CHECK enum err cell_load(struct store *store, struct strview key, int64_t time_ms,
                              int64_t minor, size_t bytes, bool is_bounded, struct store_cell **ret,
                              struct err_info *info);
/* And its key, if it has no other. */
void cell_delete(struct store *store, struct store_cell *cell);

/* --- store_spill.c ------------------------------------------------------------------------------*/

void spill_free(struct store_spill *spill); /* NULL is a no-op */
/* store_next_ms of what is on disk alone, if it is before limit_ms; else that. */
int64_t spill_next_ms(struct store *store, int64_t from_ms, int64_t limit_ms);
/* Before the store forgets what changed. */
void spill_committing(struct store *store);
void spill_aborting(struct store *store);
/* Nothing is provisional: cells leave until memory is within its bound. */
void spill_make_room(struct store *store);
/* Before a cell is loaded: there is room, and it is not on disk alone. */
MUST_CHECK enum err spill_loading(struct store *store, struct strview key, int64_t time_ms,
                                  struct err_info *info);
void spill_loaded(struct store_cell *cell);
void spill_unloading(struct store *store, struct store_cell *cell);

/* --- store_keys.c -------------------------------------------------------------------------------*/

/* NULL: keys_max. */
struct store_key *key_get(struct store *store, struct strview bytes);
/* What key_get of a new one would take. */
size_t key_cost(struct strview bytes);
/* A key without cells goes. */
void key_drop_empty(struct store *store, struct store_key *key);
void key_free(struct store *store, struct store_key *key); /* all but its place in the map */
/* Index of the first cell that is not before (time, minor). */
size_t key_place(const struct store_key *key, int64_t time_ms, int64_t minor);
static inline struct store_cell **key_cells(const struct store_key *key)
{
    return (struct store_cell **)(void *)key->cells.items + key->cells.first;
}
/* Removed ones too; NULL when absent. */
struct store_cell *key_cell(const struct store_key *key, int64_t time_ms, int64_t minor);
void key_attach(struct store *store, struct store_cell *cell);
void key_detach(struct store_cell *cell);

/* --- store_buckets.c ----------------------------------------------------------------------------*/

void bucket_attach(struct store *store, struct store_cell *cell);
void bucket_detach(struct store *store, struct store_cell *cell);
/* It was removed, or came back. */
void bucket_changed(struct store *store, const struct store_cell *cell);
