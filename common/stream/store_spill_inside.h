/* store_spill_inside.h - what the ways to a store's disk share: store_spill.c, and one of
 * store_spill_cells.c (each cell by itself) and store_spill_keys.c (keys with all of their cells). */
#pragma once

#include "stream/store_inside.h"

#define SPILL_TIME_BYTES    8
#define SPILL_ROW_BYTES_MAX (SIZE_MAX / 4) /* of what was bounded in memory */
/* Times are less. Of two stores with one disk the second one's rows have it set. */
#define SPILL_SECOND_BIT ((int64_t)1 << 61)

struct spill_time {
    int64_t time_ms; /* begin of the run, where keys go whole: see spill_time_of */
    size_t count;    /* cells on disk alone */
};

/* A key on disk, while it is looked at. */
struct spill_lent {
    struct store_key key;
    struct buf cells, places; /* its cells, each head_bytes long, and where they are */
    struct buf value;         /* what they have: rows are read into it */
};

struct store_spill {
    struct store_disk disk;
    size_t bytes_max;
    struct store_list times;   /* of struct spill_time, in order */
    int64_t removed_ms;        /* what is away up to here goes with the next commit */
    size_t hand;               /* the key to look at next */
    struct store_list leaving; /* of struct store_cell *, or of struct store_key * */
    struct buf key, end, row;  /* of one row; the end of a range of them */
    struct buf page, from;     /* rows that were read at once, and where the next ones begin */
    struct spill_lent lent;
    bool is_lost; /* what is on disk cannot be relied on any more */
    /* The answer of spill_next_ms, until something leaves or comes back. */
    bool has_next;
    int64_t next_from_ms, next_ms;
    struct store_spill_stats stats;
};

/* --- store_spill.c ------------------------------------------------------------------------------*/

enum err spill_lost(const struct store_spill *spill, struct err_info *info);
static inline struct spill_time *spill_times(const struct store_spill *spill)
{
    return spill->times.items;
}
/* Where a time is counted. */
int64_t spill_time_of(const struct store *store, int64_t time_ms);
/* Of the first one that is not before it. */
size_t spill_time_place(const struct store_spill *spill, int64_t time_ms);
/* NULL: no cell of this time is on disk alone. */
struct spill_time *spill_time_find(const struct store *store, int64_t time_ms);
/* How many cells more of this time, or less, are on disk alone: the store still has them. */
void spill_away_change(struct store *store, int64_t time_ms, ptrdiff_t change);
/* The time as a row's key begins with it, and the key behind it; in the buffer. Past all times: the end of
 * the store's. */
struct strview spill_row_key(const struct store *store, struct buf *out, int64_t time_ms,
                             struct strview key);
int64_t spill_row_time(struct strview row);
/* What one cell more or less is in memory, about. */
size_t spill_cell_cost(const struct store *store, const struct store_cell *cell);
static inline size_t spill_offsets_bytes(const struct store *store)
{
    return store->config.inputs * sizeof(int64_t);
}

/* --- store_spill_cells.c, store_spill_keys.c ------------------------------------------------------*/

/* Each of the two ways. */
struct spill_way {
    /* What of the key may leave, into spill->leaving; how many bytes that makes. */
    size_t (*leaving_add)(struct store *store, struct store_key *key);
    /* Its rows, held; how many of them. */
    enum err (*leaving_put)(struct store *store, size_t *ret_written, struct err_info *info);
    void (*leaving_go)(struct store *store);
    enum err (*recall)(struct store *store, struct strview key, int64_t time_ms,
                       struct store_cell **ret, struct err_info *info);
    enum err (*visit)(struct store *store, int64_t from_ms, int64_t to_ms,
                      const struct store_visitor *visitor, struct err_info *info);
    int64_t (*next_ms)(struct store *store, int64_t from_ms, int64_t limit_ms);
    /* At a commit: of a changed cell; and of what is away up to removed_ms. *ret_is_held: rows are to be
     * written. */
    enum err (*committing)(struct store *store, struct store_cell *cell, bool *ret_is_held);
    enum err (*forget_away)(struct store *store, bool *ret_is_held);
    enum err (*unloading)(struct store *store, struct store_cell *cell, bool *ret_is_held);
};

extern const struct spill_way spill_cells, spill_keys;
