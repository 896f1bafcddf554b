/* worker_standby.h - state of partitions that others have, kept near for when they come to this worker.
 *
 * WHAT     a thread of the worker's own follows changelogs of partitions that none of its worker threads has,
 *          committed records alone, each into a task that processes nothing. When the partition comes,
 *          the worker thread takes that task, with the offsets up to which its changelogs are in it, and
 *          restores from there: what is left is what came since the last fetch.
 * WHICH    where rebalances are eager the group gives partitions by ranges of their numbers, to members in
 *          the order of their names, so that one that goes moves what its neighbours have by at most
 *          what one has: one more on each side of its own than the worker has itself, nearest first.
 *          Otherwise, and for a worker that has none, all.
 * EXACT    what is taken is as a restore would have it that began at offset 0 and has come so far: the same
 *          records in the same order, by position. It is not used, and all is read, when a changelog was made
 *          anew or does not have the place, when a record could not be read, or when it was behind for longer
 *          than tombstones are kept.
 * DISK     with state.dir it fills and hands over the partition's copies, too: one owner at a time.
 * COST     memory: up to state.standby.bytes, past it the furthest are left out, and what one more client
 *          fetches ahead; network: those changelogs once more; CPU: what fetches has the lowest priority, and what
 *          is not fetched is not applied. The thread itself has everybody's: worker threads wait for it when
 *          they take something, and it lets them go first: 500 records at most, or a second where a
 *          partition is begun just then.
 * THREADS  own and take, give, begin: any; start and stop by one owner.
 */
#pragma once

#include "core/buf.h"
#include "kafka/kafka_config.h"
#include "stream/task.h"
#include "worker/worker_local.h"
#include "worker/worker_metrics.h"
#include "worker/worker_plan.h"

#define STANDBYS_TOLD      500
#define STANDBY_TEXT_BYTES (64 * 1024)

struct worker_standby;

struct worker_standby_params {
    const struct kafka_config *kafka;
    const struct pipeline *pipeline;
    const struct worker_plan *plan;
    const struct worker_metrics *metrics;
    struct worker_local *local; /* NULL: nothing is kept on disk */
    int64_t bytes_max;
    bool is_ranged; /* partitions move by ranges */
};

/* All outlive it. NULL: it could not be started, which is logged; the worker goes on without. */
struct worker_standby *worker_standby_start(const struct worker_standby_params *params);
/* NULL is a no-op, of all that follow. */
void worker_standby_stop(struct worker_standby *standby);
/* Once it is known which partitions are the worker's: nothing is followed before. */
void worker_standby_begin(struct worker_standby *standby);
/* Up to where a changelog was followed, and which making of it. */
struct standby_place {
    int64_t offset;
    uint32_t epoch;
};
/* The partition is the worker's from here on. What was followed of it, the caller's now, or NULL; then
 * `copies` and `places`, by store, are those of its stores. Without tables: stream_task_use. */
struct stream_task *worker_standby_take(struct worker_standby *standby, unsigned stage,
                                        int32_t partition, struct local_copy **copies,
                                        struct standby_place *places);
/* It is not the worker's any more. */
void worker_standby_give(struct worker_standby *standby, unsigned stage, int32_t partition);
/* How near each partition of a stage is to the worker's own; -1: it is not followed. */
void worker_standby_rank(const bool *owned, int32_t count, bool is_ranged, int64_t *ret_ranks);
/* Members of a JSON object: what is followed, and how far behind. */
MUST_CHECK enum err worker_standby_text(struct worker_standby *standby, struct buf *out);
