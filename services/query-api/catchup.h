/* catchup.h - records that have left the rings, read from Kafka for one client at a time.
 *
 * WHAT     a job is a client's positions; a few threads serve all jobs in turn, each with a Kafka
 *          reader of its own. What a job has for its client waits in a bounded queue; a job whose
 *          queue is full gives its thread up to a job that waits, and gets in line again when the
 *          client has taken some. So no slow client holds up another.
 * ORDER    items of a job: first CATCHUP_POSITION for every partition, the gaps that were found, and
 *          CATCHUP_RESOLVED; then frames, gaps and positions as they come, until the client ends the
 *          job (it has joined the rings) or CATCHUP_FAILED.
 * BOUNDS   catchup_config. Past jobs_max catchup_submit returns NULL.
 * THREADS  catchup_new and _free by the main thread; a job's functions by its client's thread.
 */
#pragma once

#include "frame.h"
#include "kafka/kafka_config.h"

struct catchup;
struct catchup_job;

struct catchup_config {
    const struct kafka_config *kafka;
    const struct avro_values *avro; /* NULL: no topic is Avro */
    int64_t threads;
    int64_t jobs_max;
    int64_t queue_bytes_max; /* a job's */
};

struct catchup_position {
    const char *topic;
    uint16_t topic_index; /* frames carry it */
    uint32_t reading_index;
    int32_t partition;
    int64_t next; /* CURSOR_EARLIEST, a time, or to be checked against the log's end */
};

enum catchup_kind {
    CATCHUP_FRAME,
    CATCHUP_POSITION, /* all before `to` has been handed out or is no record */
    CATCHUP_GAP,      /* [from, to) cannot be had any more */
    CATCHUP_RESOLVED, /* every position is known, and every gap before them has been told */
    CATCHUP_FAILED,
};

struct catchup_item {
    enum catchup_kind kind;
    struct frame *frame; /* the receiver's */
    uint32_t reading_index;
    int32_t partition;
    int64_t from, to;
};

struct catchup_params {
    const struct catchup_position *positions; /* copied */
    size_t count;
    void (*on_items)(void *context); /* any thread: the queue is no longer empty */
    void *context;                   /* lives as long as the catchup */
};

void catchup_free(struct catchup *catchup); /* NULL is a no-op; every job has been ended before */
MUST_CHECK enum err catchup_new(const struct catchup_config *config, struct catchup **ret,
                                struct err_info *info);
struct catchup_job *catchup_submit(struct catchup *catchup, const struct catchup_params *params);
/* False when there is none now. */
bool catchup_take(struct catchup_job *job, struct catchup_item *ret);
void catchup_end(struct catchup_job *job); /* NULL is a no-op */
