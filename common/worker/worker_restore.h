/* worker_restore.h - reads changelog partitions back, beside the poll loop.
 *
 * WHAT     every store has a changelog topic, by the store's index; its partitions are read from
 *          their start, or where there is a copy on local disk (worker_local.h): first its rows, then
 *          the changelog from its place on. A partition is done when its position has reached the log's end as it was when the
 *          restore began: by position, so that transaction markers, aborted records and compacted
 *          holes at the tail do not keep it waiting.
 * FOLLOW   one that only follows never is done: what it has read up to some place is released, and
 *          another restore goes on from there (worker_standby.h).
 * THREADS  one owner.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_config.h"
#include "stream/task.h"
#include "worker/worker_local.h"

struct worker_restore;

struct worker_restore_handlers {
    enum err (*on_record)(void *context, unsigned store, int32_t partition, struct strview key,
                          struct strview value, struct err_info *info);
    void (*on_done)(void *context, unsigned store, int32_t partition);
    /* The copy could not be read, or, of one that follows, the log went on without it; the copy is empty
     * now. What was handed over of the partition is to be thrown away, and the partition removed. */
    void (*on_copy_lost)(void *context, unsigned store, int32_t partition);
    void *context;
};

void worker_restore_free(struct worker_restore *restore);
MUST_CHECK enum err worker_restore_new(const struct kafka_config *kafka,
                                       const struct pipeline *pipeline, const char *label,
                                       bool is_following, struct worker_restore **ret,
                                       struct err_info *info);
/* copy: outlives the partition's restore, and is as new as the state when it is done; NULL: none.
 * place: where worker_restore_has was asked for, and what is below it is in state and copy; -1: nothing is. */
MUST_CHECK enum err worker_restore_add(struct worker_restore *restore, unsigned store,
                                       int32_t partition, struct local_copy *copy, int64_t place,
                                       struct err_info *info);
/* Whether the changelog has the place (still); otherwise that is logged as `event`. */
bool worker_restore_has(struct worker_restore *restore, unsigned store, int32_t partition,
                        int64_t place, const char *event);
/* As remove; the place below which all was handed over, and put into the copy. -1: there is none yet. */
int64_t worker_restore_release(struct worker_restore *restore, unsigned store, int32_t partition);
/* Or none. */
void worker_restore_remove(struct worker_restore *restore, unsigned store, int32_t partition);
bool worker_restore_is_busy(const struct worker_restore *restore);
int worker_restore_fd(const struct worker_restore *restore); /* -1: no stores */
struct worker_restore_counts {
    size_t records, rows; /* of changelogs, of copies */
    bool has_more;        /* rows, for which there is no event */
};
/* Hands over what waits, then the partitions that are done. An error is on_record's. One that follows
 * hands over a little at a time. */
MUST_CHECK enum err worker_restore_step(struct worker_restore *restore,
                                        const struct worker_restore_handlers *handlers,
                                        struct worker_restore_counts *ret, struct err_info *info);
/* Where the changelog of a store ends by now; -1: it is not known. */
int64_t worker_restore_end(struct worker_restore *restore, unsigned store, int32_t partition);
rd_kafka_t *worker_restore_client(const struct worker_restore *restore); /* NULL: no stores */
/* Below `next` all was handed over, `end` is as of the last fetch; -1: not known. */
void worker_restore_place(const struct worker_restore *restore, unsigned store, int32_t partition,
                          int64_t *ret_next, int64_t *ret_end);
/* Of a changelog that is being read; both 0 while its end is not known. */
void worker_restore_progress(const struct worker_restore *restore, unsigned store,
                             int32_t partition, int64_t *ret_position, int64_t *ret_end);
