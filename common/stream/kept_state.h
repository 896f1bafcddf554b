/* kept_state.h - what a step keeps in a store, and the store's changelog. Private to this room.
 *
 * WHAT     a store, or two that share a changelog, with the commit cycle: at a commit one record per
 *          changed cell, its value or a tombstone; then what changed is committed or put back. A row
 *          of a step's state kind names these functions as they are; where a step has more to do at
 *          one of them, its own does that and calls this one.
 * PLACE    a step's state begins with it: the functions that take `void *` are given the state.
 * TIME     a cell goes with the commit after the one that brought event time keep_ms past it: at
 *          least once, records that come again find all that they found the first time.
 * ORDER    values go to the changelog before tombstones, so that what is cut off by a crash (at least
 *          once) may be there twice but is not gone.
 */
#pragma once

#include "stream/changelog.h"
#include "stream/program.h"
#include "stream/store.h"

#define KEPT_STORES_MAX 2

/* What a step was compiled to of it. */
struct kept_config {
    struct store_config store; /* of each */
    struct changelog_format format;
    bool has_two;
    bool can_spill; /* they may be given a disk: the step asks for cells as store.h says */
    int64_t mark;   /* of two: set in the minor of the second one's records */
    bool is_timed;  /* cells go by their time: */
    int64_t keep_ms[KEPT_STORES_MAX];
    /* What cells read from a changelog can be. */
    size_t key_bytes_max, bytes_min, bytes_max;
    bool (*is_cell)(int64_t time_ms, int64_t minor, struct strview bytes); /* NULL: all of those */
};

struct kept_state {
    const struct kept_config *config;
    union {
        struct store *store; /* where there is one */
        struct store *stores[KEPT_STORES_MAX];
    };
    bool has_disk;                              /* of the store; else nothing is to be recalled */
    int64_t time_ms;                            /* event time at the last commit */
    int64_t next_time_ms;                       /* the same, if the one under way succeeds */
    int64_t next_offsets[CHANGELOG_INPUTS_MAX]; /* what cells then hold, if the format has inputs */
    struct buf key, value;                      /* of one record */
};

void kept_state_init(struct kept_state *kept, const struct kept_config *config);
void kept_state_deinit(struct kept_state *kept);

/* --- for a state kind's row ---------------------------------------------------------------------*/

/* A state that is nothing but this; config: what builder_add_state was given as the step. */
void *kept_state_new(const void *config);
void kept_state_free(void *state);
MUST_CHECK enum err kept_state_before_commit(void *state, const struct step_commit *commit);
void kept_state_committed(void *state);
void kept_state_aborted(void *state);
MUST_CHECK enum err kept_state_restore(void *state, struct strview record_key, struct strview value,
                                       struct err_info *info);
bool kept_state_wants_commit(const void *state, int64_t watermark_ms, int64_t now_ms);
void kept_state_restore_time(void *state, int64_t watermark_ms);
void kept_state_stats(const void *state, struct stream_task_stats *stats);

/* --- for a task ---------------------------------------------------------------------------------*/

/* Of one that can: store_spill, and at any time after it store_spill_limit. */
void kept_state_spill(void *state, const struct store_disk *disk, size_t bytes_max);
void kept_state_limit(void *state, size_t bytes_max);

/* --- for a step that writes its cells itself ----------------------------------------------------*/

/* In place of kept_state_before_commit. */
void kept_state_begin(struct kept_state *kept, const struct step_commit *commit);
/* The head of the cell's record into kept->value, for the cell's bytes to be put behind it. */
MUST_CHECK enum err kept_state_head(struct kept_state *kept, const struct step_commit *commit,
                                    const struct store_cell *cell);
/* A record, value ptr NULL: a tombstone. */
struct kept_place {
    struct strview key;
    int64_t time_ms, minor; /* the cell's, or what the changelog knows it by */
    int64_t timestamp_ms;   /* the record's */
};
MUST_CHECK enum err kept_state_emit(struct kept_state *kept, const struct step_commit *commit,
                                    const struct kept_place *place, struct strview value);
