/* savepoint_task.h - takes a savepoint of a pipeline, and brings a pipeline back to one.
 *
 * TAKE     while the pipeline runs, by a process of its own, or one of its workers on a thread of its own
 *          (worker_saving.h): whoever it is needs nothing but Kafka for it. Changelogs are
 *          copied as they grow. Then the pipeline is held (worker_control.h) for as long as it takes to
 *          copy the rest, and let go. That it stood still is not believed but seen: what is committed and
 *          where the logs end is asked before the rest is read and again behind it, and only when nothing
 *          has moved is it one moment of the whole pipeline. Otherwise it is looked at again, until
 *          savepoint.hold is over.
 * RESTORE  into a pipeline that does not run. Everything is looked at before anything is written: each byte,
 *          whether the pipeline fits, whether this release can load each record. Then one transaction has
 *          the state, what waited, and the offsets: a restore that is killed has done nothing, and can be
 *          done again. Workers may be as many or as few as wanted afterwards: what is kept belongs to
 *          partitions.
 * REFUSES  a group with members, state or offsets that are there already (unless savepoint.replace), a
 *          source that has other partitions, or not the offsets any more.
 * BOUNDS   taking holds the keys of one partition in memory, and on disk twice its changelog; restoring holds
 *          the state, for as long as its transaction (savepoint.restore.timeout).
 * THREADS  each call is one owner's, and blocks until it is done.
 */
#pragma once

#include "worker/savepoint.h"
#include "worker/worker.h"

/* How far it is, and of what. */
enum savepoint_phase {
    SAVEPOINT_COPYING, /* changelogs, while the pipeline runs */
    SAVEPOINT_HOLDING, /* the rest, while it stands still */
    SAVEPOINT_WRITING, /* what stays of it */
    SAVEPOINT_DONE,
};

struct savepoint_part { /* of a topic of the pipeline's own */
    const char *topic;
    int32_t partition;
    int64_t position, end;   /* of a changelog: read up to, of; -1: not known */
    uint64_t records, bytes; /* DONE: of its file */
};

struct savepoint_progress {
    enum savepoint_phase phase;
    size_t part_count;
    const struct savepoint_part *parts;
};

/* For whoever looks on, of the thread that takes it; both may be NULL. */
struct savepoint_watch {
    void (*on_progress)(void *context, const struct savepoint_progress *progress);
    bool (*is_given_up)(void *context); /* ERR_DRAINING, and nothing is left of it */
    void *context;
};

struct savepoint_params {
    const struct worker_config *config;
    const struct kafka_config *kafka;
    const struct pipeline *pipeline;
    const char *release;
    const char *dir;
    struct savepoint_watch watch; /* of one that is taken */
};

struct savepoint_told {
    uint64_t records, bytes;
    int64_t held_ms; /* how long the pipeline stood still for it */
};

/* What to tell of the state of a savepoint, or of the changelogs as they are ("live"), as lines of JSON. */
struct savepoint_question {
    const char *what; /* a savepoint's folder, or "live" */
    const char
        *store; /* the changelog or the store's own name: its rows; "": all stores, how many rows */
    const char *key; /* "": every key's; what the step's key is as text */
};

MUST_CHECK enum err savepoint_take(const struct savepoint_params *params,
                                   struct savepoint_told *ret, struct err_info *info);
MUST_CHECK enum err savepoint_show(const struct savepoint_params *params,
                                   const struct savepoint_question *question, FILE *out,
                                   struct err_info *info);
MUST_CHECK enum err savepoint_restore(const struct savepoint_params *params,
                                      struct savepoint_told *ret, struct err_info *info);
