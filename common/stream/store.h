/* store.h - what a step remembers, by key and time, provisional until committed.
 *
 * WHAT     cells. A cell is a key's bytes, a time, a number that tells cells of one time apart
 *          (`minor`: a sequence number, the start of a session, or 0), and a value: a flat run of
 *          bytes without pointers, to which the owner gives meaning, of one size for all cells or
 *          each its own. A key has its cells in order of (time, minor). The store has all cells in
 *          order of time, if it is told how finely (bucket_ms), for what closes and expires.
 * CYCLE    get, add, edit, grow, move and remove are provisional. At the first change of a committed
 *          cell a copy of it is put aside: commit forgets the copies, abort puts them back and takes
 *          away what is new. Neither ever touches what did not change. A cell that was removed is
 *          in no answer from then on, and in memory until the commit.
 * BOUNDS   keys_max, cells_max, bytes_max (of keys, cells and values): past them ERR_LIMIT with the
 *          limit's name, and nothing has changed. Nothing is evicted.
 * DISK     a store that is given one (store_disk.h) keeps in memory what changed since the last commit
 *          and, up to a bound of its own, what changed lately; other cells are on disk alone. They are
 *          counted as if they were here, but for bytes_max. store_find, store_get, store_add,
 *          store_range and store_between know of what is in memory: store_recall or store_recall_key
 *          comes before them, store_visit instead. In one of two ways:
 *          - cell by cell: for who asks for a cell by its key and time, and for all of one time. Cells
 *            have no minor and do not move. keys_max counts keys in memory where a key may have
 *            several cells.
 *          - goes_whole, a key with all of its cells: for who asks for ranges of a key.
 * OWNS     keys, cells, values. A cell stays where it is until a commit or an abort takes it away;
 *          its value until it grows. A key stays as long as it has cells.
 * THREADS  one owner.
 * COST     get and edit of a key's newest cell: one hash lookup; of another: log₂ of the key's cells
 *          more. Taking away the oldest moves nothing. No allocation in steady state: memory of
 *          what went is used again.
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"
#include "core/err.h"
#include "core/strview.h"
#include "stream/store_disk.h"

struct store;
struct store_key;

struct store_cell {
    struct store_key *key;
    int64_t time_ms;
    int64_t minor;
    void *value;              /* 16-byte aligned; changed only through store_edit and store_grow */
    uint32_t bytes;           /* of the value */
    bool is_new : 1;          /* not committed yet */
    bool is_dirty : 1;        /* changed since the last commit */
    bool is_copied : 1;       /* its value may be changed: there is a copy, or it is new */
    bool is_moved : 1;        /* it was committed under another time or minor */
    bool is_removed : 1;      /* gone with the next commit */
    bool is_stored : 1;       /* the changelog has it … */
    bool is_being_stored : 1; /* … or will, if the commit under way succeeds: see changelog.h */
    bool is_recent : 1;       /* of a store with a disk: a commit changed it lately */
    bool has_row : 1;         /* there is a row of it on disk … */
    bool is_row_same : 1;     /* … and it says what the cell does, as committed */
    bool is_away : 1;         /* it is on disk alone: store_visit's, for the call */
    bool is_held : 1;         /* its owner's: it has its address, and the key does not leave */
    struct store_cell *next, *previous; /* in its bucket */
    /* Per input: just past the last record that its committed value holds; 0: it holds none. */
    int64_t next_offsets[];
};

struct store_config {
    size_t value_bytes; /* of every cell, a multiple of 16; 0: each its own, none at first */
    unsigned inputs;    /* next_offsets of a cell */
    int64_t bucket_ms;  /* cells of one bucket lie unsorted until asked for; 0: no order of time */
    size_t keys_max;
    size_t cells_max;
    const char *cells_max_name; /* what the pipeline file calls it, for the error */
    size_t bytes_max;
    bool goes_whole; /* with a disk: a key is there, or in memory, with all its cells */
    bool is_second;  /* of two stores that have one disk */
};

void store_free(struct store *store); /* NULL is a no-op */
DEALLOC(store_free) struct store *store_new(const struct store_config *config);

struct strview store_cell_key(const struct store_cell *cell);
/* NULL when there is none. */
struct store_key *store_key_find(const struct store *store, struct strview key);
struct store_cell *store_find(const struct store *store, struct strview key, int64_t time_ms,
                              int64_t minor);

/* --- changing, provisionally -------------------------------------------------------------------*/

/* The cell, added when there was none. What is new is dirty, its value zero. */
MUST_CHECK enum err store_get(struct store *store, struct strview key, int64_t time_ms,
                              int64_t minor, struct store_cell **ret, struct err_info *info);
/* A further cell of this time, with the first free minor behind the others. */
MUST_CHECK enum err store_add(struct store *store, struct strview key, int64_t time_ms,
                              struct store_cell **ret, struct err_info *info);
/* Its value, to be changed. */
void *store_edit(struct store *store, struct store_cell *cell);
/* The same with another size; what is added is zero. Of a store whose cells have each their own. */
MUST_CHECK enum err store_grow(struct store *store, struct store_cell *cell, size_t bytes,
                               void **ret, struct err_info *info);
/* Dirty, but the value stays as it is. */
void store_touch(struct store *store, struct store_cell *cell);
/* Puts it under another time and minor, where no cell is, not even a removed one. */
void store_move(struct store *store, struct store_cell *cell, int64_t time_ms, int64_t minor);
void store_remove(struct store *store, struct store_cell *cell);

/* --- with a disk --------------------------------------------------------------------------------*/

/* Before anything is in it, or between cycles. bytes_max: of keys, cells and values in memory, between
 * cycles; what the disk does not take stays. */
void store_spill(struct store *store, const struct store_disk *disk, size_t bytes_max);
void store_spill_limit(struct store *store, size_t bytes_max);
/* Of a cell that store_find does not know: brings it back if it is on disk alone, else *ret is NULL.
 * ERR_STATE: the disk failed, and so has the store. Without a disk there is none. */
MUST_CHECK enum err store_recall(struct store *store, struct strview key, int64_t time_ms,
                                 struct store_cell **ret, struct err_info *info);
/* With goes_whole. All cells of the key, if they are on disk alone; the same errors. */
MUST_CHECK enum err store_recall_key(struct store *store, struct strview key,
                                     struct err_info *info);
/* Without a disk, too. All cells with from_ms <= time <= to_ms, in store_between's order, those that are
 * away for the call, and not to be changed. on_cell may remove those that are here; its first error ends it. ERR_STATE as
 * well. */
struct store_visitor {
    enum err (*on_cell)(void *context, struct store_cell *cell);
    void *context;
};
MUST_CHECK enum err store_visit(struct store *store, int64_t from_ms, int64_t to_ms,
                                const struct store_visitor *visitor, struct err_info *info);
/* With goes_whole, of a store whose cells have times that are multiples of bucket_ms. The first cell of
 * each key in the range, in order of the keys' bytes; a key that is away has all of its cells for the
 * call. */
MUST_CHECK enum err store_visit_keys(struct store *store, int64_t from_ms, int64_t to_ms,
                                     const struct store_visitor *visitor, struct err_info *info);
/* Provisional, as store_remove: all cells up to the time that are away. Those that are here are removed
 * one by one. */
void store_remove_away(struct store *store, int64_t to_ms);
struct store_spill_stats {
    uint64_t cells;         /* away */
    uint64_t written, read; /* rows, so far */
};
struct store_spill_stats store_spill_stats(const struct store *store);

/* --- looking ------------------------------------------------------------------------------------*/

/* Cells of one key, from_ms <= time <= to_ms, in order. key NULL: none. Until the store's next
 * get, add, move, commit or abort:
 *
 *     struct store_range range = store_range(key, from_ms, to_ms);
 *     while ((cell = store_next(&range))) { … }                                                  */
struct store_range {
    struct store_cell *const *at, *const *end;
};

struct store_range store_range(const struct store_key *key, int64_t from_ms, int64_t to_ms);
static inline struct store_cell *store_next(struct store_range *range)
{
    while (range->at < range->end) {
        struct store_cell *cell = *range->at++;
        if (!cell->is_removed) {
            return cell;
        }
    }
    return NULL;
}

/* The same with removed cells among them. */
static inline struct store_cell *store_next_any(struct store_range *range)
{
    return range->at < range->end ? *range->at++ : NULL;
}

/* With bucket_ms. All cells with from_ms <= time <= to_ms, in order of time, then of the key's
 * bytes, then of minor; borrowed until the next call. */
struct store_cell *const *store_between(struct store *store, int64_t from_ms, int64_t to_ms,
                                        size_t *ret_count);
/* With bucket_ms. Time of the oldest cell; INT64_MAX: there is none. */
int64_t store_first_ms(struct store *store);
/* With bucket_ms. Of the oldest one that is not older than this. */
int64_t store_next_ms(struct store *store, int64_t from_ms);

/* Changed cells, removed ones among them, in the order of their first change. */
size_t store_dirty_count(const struct store *store);
struct store_cell *store_dirty(const struct store *store, size_t index);
/* Moved cells and where they were. */
struct store_move {
    struct store_cell *cell;
    int64_t time_ms, minor; /* committed */
};
size_t store_move_count(const struct store *store);
const struct store_move *store_move_at(const struct store *store, size_t index);

/* --- the cycle's end, and restoring -------------------------------------------------------------*/

/* Cells that changed hold what is before next_offsets (per input). */
void store_commit(struct store *store, const int64_t *next_offsets);
void store_abort(struct store *store);

/* A committed cell as the changelog has it, with room for a value of so many bytes: the caller fills
 * value and next_offsets. Nothing is provisional meanwhile. */
MUST_CHECK enum err store_load(struct store *store, struct strview key, int64_t time_ms,
                               int64_t minor, size_t bytes, struct store_cell **ret,
                               struct err_info *info);
/* The changelog says that it is gone. */
void store_unload(struct store *store, struct store_cell *cell);

size_t store_key_count(const struct store *store);
size_t store_cell_count(const struct store *store);
size_t store_bytes(const struct store *store); /* memory held */
