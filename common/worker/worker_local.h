/* worker_local.h - a copy of the stores on this machine's disk, so that a restart need not read whole
 * changelogs.
 *
 * WHAT     state.dir/<pipeline> is a RocksDB. A local copy is one partition of one changelog in it: the
 *          records that a compaction would leave, and a place: everything below that offset is in them.
 *          A restore takes the rows, then the changelog from the place on. State in memory is what
 *          works; a copy is only ever written to, from the records that go into the changelog.
 * EXACT    records of a cycle are held until it is known to be committed, then written in one batch. The
 *          place is moved between cycles, to where the log then ends, and written behind them: so it is
 *          never ahead of the rows. Rows that are ahead of it do no harm: reading the log's records once
 *          more, in order, ends at the same state. So nothing depends on when the process is killed,
 *          nor on a sync: after a power cut an older copy is there, with its own place.
 * ORDER    rows come back by their keys, not as they were written. Where that would say something else (a
 *          session's record takes up another session's), no copy is kept: pipeline_store_is_any_order.
 * STALE    a copy is not used, but made anew from the whole changelog, when the topic was made anew, the
 *          log does not have its place (any more), or it is older than LOCAL_AGE_MAX_MS: past the
 *          changelog's delete.retention.ms, tombstones that it has not seen may be gone.
 * ERRORS   what cannot be written is told and counted, and the place stays where it is: the worker goes
 *          on, and the next start reads more of the changelog. A disk counts as full while it still has
 *          free_bytes_min (worker_rocksdb.h). What cannot be read is told, and the whole folder made
 *          anew.
 * BOUNDS   in memory: a cycle's changelog records (commit.bytes), two write buffers of 16 MiB, a cache
 *          of RocksDB's default size.
 * THREADS  worker_local: any; a copy: one owner.
 */
#pragma once

#include "core/strview.h"
#include "core/err.h"
#include "metrics/metrics.h"

#define LOCAL_AGE_MAX_MS ((int64_t)12 * 3600 * 1000) /* half of delete.retention.ms' default */

struct worker_local;
struct local_copy;

struct worker_local_params {
    const char *dir;         /* state.dir */
    const char *pipeline;    /* name: the folder in it */
    uint64_t free_bytes_min; /* ROCKSDB_FREE_BYTES_MIN but in tests */
    struct metric_series *errors;
};

/* ERR_CONFIG: the folder cannot be used, or another process uses it; RocksDB is not installed. */
MUST_CHECK enum err worker_local_open(const struct worker_local_params *params,
                                      struct worker_local **ret, struct err_info *info);
void worker_local_free(struct worker_local *local); /* NULL is a no-op */

/* --- one partition of a changelog ---------------------------------------------------------------*/

/* changelog: outlives the copy. epoch: of the topic, kafka_topic_epoch's. */
struct local_copy *local_copy_new(struct worker_local *local, const char *changelog,
                                  int32_t partition, uint32_t epoch);
void local_copy_free(struct local_copy *copy); /* what is held is dropped; NULL is a no-op */

/* Where the changelog is to be read from once the rows are; -1: there is nothing that can be used. */
int64_t local_copy_find(struct local_copy *copy, int64_t now_ms);
/* Nothing is in it: the changelog is read from its start. */
void local_copy_clear(struct local_copy *copy);

struct local_reader {
    enum err (*on_row)(void *context, struct strview key, struct strview value,
                       struct err_info *info);
    void *context;
};
/* The rows, at most `max` more of them. *ret_is_end: there are no others. ERR_STATE: they cannot be
 * read, the folder was made anew; another error is on_row's. After an error: local_copy_clear. */
MUST_CHECK enum err local_copy_read(struct local_copy *copy, size_t max,
                                    const struct local_reader *reader, bool *ret_is_end,
                                    struct err_info *info);

/* A record of the changelog, value ptr NULL: a tombstone. Held until it is settled. */
void local_copy_put(struct local_copy *copy, struct strview key, struct strview value);
size_t local_copy_held(const struct local_copy *copy); /* bytes */
void local_copy_settle(struct local_copy *copy, bool is_committed);
/* All below `next` was put and settled. Held by nobody: written at once. */
void local_copy_place(struct local_copy *copy, int64_t next, int64_t now_ms);
/* Whether a place would tell anything. */
bool local_copy_wants_place(const struct local_copy *copy, int64_t now_ms);
