/* aggregate_step.h - the aggregate step from inside: what its files share. Private to them.
 *
 * WHAT     aggregate_step_compile.c reads the file, step_aggregate.c has the common cycle; a kind of
 *          windows (a row in the former's table, a file window_<kind>.c) says which cells an event goes into, and what is put
 *          out of them, and when. aggregate_cells.c does to cells what all kinds need.
 */
#pragma once

#include "stream/aggregate.h"
#include "stream/kept_state.h"

struct window_kind;

struct aggregate_step {
    struct aggregate aggregate;
    const struct window_kind *window;
    uint16_t by;
    char *by_text;
    int64_t size_ms;
    int64_t advance_ms; /* hopping: from a window's start to the next one's */
    int64_t slice_ms;   /* a cell holds so much of time; divides size and advance */
    int64_t grace_ms;
    int64_t lateness_ms; /* how long after its final a window is kept for corrections */
    int64_t count;       /* of events that make a window */
    int64_t every_ms;    /* 0: no periodic results */
    bool has_pending;    /* states note that they changed since they were last shown … */
    size_t pending_at;   /* … there */
    bool every_by_clock;
    bool emits_updates;
    bool emits_finals;
    bool has_windowed_key;
    bool drops_late;
    bool goes_by_clock;          /* an event happened when it is processed */
    bool is_of_table;            /* window_none.c: what comes in are changes of rows */
    const struct fields *fields; /* of its segment */
    bool is_moving;              /* windows lie where events are */
    int64_t bucket_ms;           /* of the store; 0: slice_ms */
    int64_t end_more_ms;         /* window_session.c: what is shown of a session's end beyond it */
    size_t own_at;               /* of what is the window kind's own in a state */
    struct kept_config kept;
};

struct aggregate_state {
    struct kept_state kept;
    const struct aggregate_step *step;
    int64_t closed_ms;            /* event time up to which windows have had their finals */
    int64_t closing_ms;           /* the same, if the commit under way succeeds */
    int64_t shown_ms;             /* when changes were last put out, by the clock … */
    int64_t showing_ms;           /* … if the commit under way succeeds */
    struct buf key, value;        /* of the result being made */
    struct buf merged;            /* a state made of several cells */
    void *empty;                  /* one to which nothing was added */
    struct aggregate_event event; /* being added */
    uint64_t updates, finals,
        closed; /* put out, some while records were processed; for the stats */
    struct window_list {
        struct window_place {
            struct store_cell *cell; /* one of the key's */
            int64_t start_ms;
        } *items;
        size_t count, capacity;
    } list; /* window_slices.c: what is to be put out */
    struct note_list {
        struct note {
            struct store_cell *cell;
            size_t begin, len; /* in `showed`; len 0: it showed nothing */
        } *items;
        size_t count, capacity;
    } notes; /* window_none.c: what groups showed that changed since the last commit */
    struct buf showed;
    struct json_scanner *scanner; /* of rows that were */
    struct stream_value *old_slots;
    struct cell_list {
        struct store_cell **items;
        size_t count, capacity;
    } full;                /* window_count.c: windows that had their final in an earlier commit;
             * window_session.c: sessions that are in another and have no tombstone yet */
    struct cell_list redo; /* window_session.c: whose records an aborted cycle wrote … */
    struct buf voided;     /* … and keys of records of sessions that then were no more */
};

/* Where results go. */
struct aggregate_way {
    const struct step_way *way;
    struct err_info *info;
    int64_t watermark_ms; /* as the step sees it */
};

enum result_kind {
    RESULT_UPDATE,
    RESULT_FINAL,
    RESULT_CORRECTION, /* of a final, by a late event */
};

/* Of windows whose place changes as events come: the changelog knows their cells by something that
 * does not. */
struct window_identity {
    int64_t (*id)(const struct aggregate_step *step, const struct store_cell *cell);
    struct store_cell *(*find)(const struct aggregate_state *state, struct strview key, int64_t id);
    /* Where a state of this id, checked but for what is the kind's own, belongs. False: nowhere. */
    bool (*place)(const struct aggregate_step *step, struct totals *totals, int64_t id,
                  struct store_cell *ret);
    /* What stands before the state in the record, and what it says once the record is read. */
    enum err (*put_head)(const struct aggregate_state *state, const struct store_cell *cell,
                         struct buf *out);
    bool (*take_head)(struct aggregate_state *state, struct strview key, struct strview *bytes);
};

struct window_kind {
    const char *name;           /* the member of "window" that asks for it */
    const char *const *members; /* of "window", all of them */
    enum changelog_kind changelog;
    /* The members into the step; *ret_layout, what tells its states from others'. */
    void (*compile)(struct program_builder *builder, const struct spec *window,
                    struct aggregate_step *step);
    bool is_timed;    /* "grace", "allowed_lateness" and "time" mean something */
    bool has_finals;  /* windows end */
    size_t own_bytes; /* in each state, for the kind itself; a multiple of 16 */
    const struct window_identity *identity; /* NULL: a cell's time */
    /* The event, with its key, into its cells. */
    enum step_verdict (*run)(struct aggregate_state *state, struct step_run *run,
                             struct strview key);
    /* Results, changelog records and what goes from the store. */
    enum err (*before_commit)(struct aggregate_state *state, const struct step_commit *commit);
    /* The commit succeeded, the store does not know yet; NULL: nothing. */
    void (*committing)(struct aggregate_state *state);
    /* It was aborted; NULL: nothing. */
    void (*aborting)(struct aggregate_state *state);
    /* Whether windows wait to be closed. */
    bool (*is_due)(const struct aggregate_state *state, int64_t watermark_ms);
    /* What is asked of its cells can be asked of a disk (store.h); NULL: no. */
    bool (*can_spill)(const struct aggregate_step *step);
    bool (*goes_whole)(const struct aggregate_step *step); /* the store's; NULL: cell by cell */
    /* Whether a cell can be there. */
    bool (*has_cell)(const struct aggregate_step *step, int64_t time_ms, int64_t minor);
    /* A cell came from the changelog; NULL: nothing. */
    void (*restored)(struct aggregate_state *state, struct store_cell *cell);
    /* It is about to go again; NULL: nothing. */
    void (*unloading)(struct aggregate_state *state, struct store_cell *cell);
};

/* Whatever the step says. */
static inline bool window_any(const struct aggregate_step *step)
{
    (void)step;
    return true;
}

extern const struct window_kind window_tumbling, window_hopping, window_sliding, window_session,
    window_count, window_none;

static inline struct totals *cell_totals(const struct store_cell *cell)
{
    return cell->value;
}

/* --- aggregate_step_compile.c -------------------------------------------------------------------*/

void *aggregate_step_compile(struct program_builder *builder, const struct spec *spec);
extern const struct step_state_kind aggregate_state_kind; /* step_aggregate.c */

/* A cell that is listed stays in memory. */
static inline void aggregate_list(struct cell_list *list, struct store_cell *cell)
{
    cell->is_held = true;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 64;
        list->items = must_realloc(list->items, list->capacity * sizeof(void *));
    }
    list->items[list->count++] = cell;
}

static inline void aggregate_unlist(struct cell_list *list, struct store_cell *cell)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        list->items[kept] = list->items[i];
        kept += list->items[i] != cell;
    }
    list->count = kept;
    cell->is_held = false;
}

/* --- window_none.c ------------------------------------------------------------------------------*/

/* Takes the row that was from its group. An error is STEP_FAIL's. */
MUST_CHECK enum err aggregate_take_back(struct aggregate_state *state, struct step_run *run);

/* --- aggregate_cells.c --------------------------------------------------------------------------*/

/* Of a cell that is not in memory: store_recall's. An error is STEP_FAIL's. */
MUST_CHECK enum err aggregate_recall(struct aggregate_state *state, struct step_run *run,
                                     struct strview key, int64_t time_ms,
                                     struct store_cell **ret_cell);
/* Adds the event to the cell of the key; *ret_cell is where, once it is there. */
enum step_verdict aggregate_put(struct aggregate_state *state, struct step_run *run,
                                struct strview key, int64_t time_ms, struct store_cell **ret_cell);
/* The same to this cell, which does not hold it yet; *cell NULL: a new one, at this place. */
enum step_verdict aggregate_put_to(struct aggregate_state *state, struct step_run *run,
                                   struct strview key, const struct store_cell *place,
                                   struct store_cell **cell);
/* Room for so many bytes in the cell, to be changed; NULL: run->reason says why not. */
struct totals *aggregate_open(struct aggregate_state *state, struct step_run *run,
                              struct store_cell *cell, size_t bytes);
/* Whether the cell, restored from what was written before a crash, holds the event already. */
bool aggregate_is_replayed(const struct aggregate_state *state, const struct store_cell *cell,
                           const struct step_run *run);
/* Reads the event: false, and a verdict of its own. */
bool aggregate_read_event(struct aggregate_state *state, struct step_run *run, int64_t event_ms);

/* due_ms: when a final was due, in event time. */
MUST_CHECK enum err aggregate_emit(struct aggregate_state *state, const struct aggregate_way *way,
                                   enum result_kind kind, const struct totals *totals,
                                   const struct aggregate_window *window, int64_t due_ms);
/* What was put out under this window's key is no more; does nothing where results have the group's. */
MUST_CHECK enum err aggregate_retract(struct aggregate_state *state,
                                      const struct aggregate_way *way,
                                      const struct aggregate_window *window);
/* The cell as it is now to the changelog. */
MUST_CHECK enum err aggregate_keep(struct aggregate_state *state, const struct step_commit *commit,
                                   struct store_cell *cell);
/* A tombstone for it, if it is there. */
MUST_CHECK enum err aggregate_forget(struct aggregate_state *state,
                                     const struct step_commit *commit,
                                     const struct store_cell *cell);
/* Removes the cell, with its tombstone. */
MUST_CHECK enum err aggregate_drop(struct aggregate_state *state, const struct step_commit *commit,
                                   struct store_cell *cell);

/* Whether periodic results are due: once in every_ms, by event time or by the clock. */
bool aggregate_is_time(const struct aggregate_state *state, const struct step_commit *commit);
static inline bool *aggregate_pending(const struct aggregate_step *step, struct totals *totals)
{
    return (bool *)((unsigned char *)totals + step->pending_at);
}
