/* window_store.h - what is counted so far, per key and window, provisional until committed.
 *
 * WHAT     cells: one per (key, window start), each with totals of a fixed size that the owner
 *          gives meaning. A cell that is edited keeps a copy of its committed totals beside it and
 *          is put on the dirty list: commit forgets the copies, abort puts them back and removes
 *          the cells that were new. So neither ever touches what did not change.
 * LAYOUT   keys are interned (hash map); a key owns its cells in order of window start, the newest
 *          last, which is the one that nearly every event wants; windows stand in order of start,
 *          each with the list of its cells, so that closing looks at what closes and nothing else.
 * BOUNDS   keys_max, cells_max: past them ERR_LIMIT, nothing is evicted.
 * OWNS     keys, cells. A cell stays where it is until it is removed.
 * THREADS  one owner.
 * COST     edit of a key's newest cell: one hash lookup, O(1); of another: log₂ of the key's open
 *          windows more. No allocation but for new keys and, while the store grows, cells.
 */
#pragma once

#include <stdalign.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/err.h"
#include "core/strview.h"

struct window_store;
struct window_key;

struct window_cell {
    struct window_key *key;
    int64_t start_ms;
    int64_t next_offset; /* just past the last record that its committed totals hold */
    struct window_cell *next, *previous; /* in its window */
    bool is_new;                         /* not committed yet */
    bool is_dirty;                       /* edited since the last commit */
    bool is_stored;                      /* the changelog has it … */
    bool is_being_stored;                /* … or will, if the commit under way succeeds */
    alignas(16) unsigned char totals[];  /* present ones, then the copy of the committed ones */
};

struct window_store_config {
    size_t totals_bytes;
    size_t keys_max;
    size_t cells_max;
};

void window_store_free(struct window_store *store); /* NULL is a no-op */
DEALLOC(window_store_free)
struct window_store *window_store_new(const struct window_store_config *config);

struct strview window_cell_key(const struct window_cell *cell);

/* NULL when absent. */
struct window_cell *window_store_find(const struct window_store *store, struct strview key,
                                      int64_t start_ms);
/* The cell, added with zeroed totals when it was absent: a new one must be edited, or loaded. */
MUST_CHECK enum err window_store_get(struct window_store *store, struct strview key,
                                     int64_t start_ms, struct window_cell **ret,
                                     struct err_info *info);
/* Its totals, to be changed; provisional until window_store_commit. */
void *window_store_edit(struct window_store *store, struct window_cell *cell);
/* From the changelog: its totals, to be filled; committed and stored at once. */
void *window_store_load(struct window_store *store, struct window_cell *cell, int64_t next_offset);
/* From the changelog: the cell is gone. It must not be dirty. */
void window_store_remove(struct window_store *store, struct window_cell *cell);

/* Cells edited since the last commit, in the order of their first edit. */
size_t window_store_dirty_count(const struct window_store *store);
struct window_cell *window_store_dirty(const struct window_store *store, size_t index);

/* Windows in order of start. */
size_t window_store_window_count(const struct window_store *store);
int64_t window_store_window_start(const struct window_store *store, size_t window);
/* The window's cells in order of their keys' bytes; borrowed until the next call. */
struct window_cell *const *window_store_cells(struct window_store *store, size_t window,
                                              size_t *ret_count);
/* The first `windows` of them go with the next commit (an abort keeps them). */
void window_store_expire(struct window_store *store, size_t windows);

/* next_offset: just past the last record processed. */
void window_store_commit(struct window_store *store, int64_t next_offset);
void window_store_abort(struct window_store *store);

size_t window_store_key_count(const struct window_store *store);
size_t window_store_cell_count(const struct window_store *store);
size_t window_store_bytes(const struct window_store *store); /* memory held */
