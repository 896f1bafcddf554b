/* jobs.h - how the pipelines are, by what their workers tell in the status topic.
 *
 * WHAT     a thread reads the topic (query.status.topic), from its beginning, into a board
 *          (jobs_board.h); answers are made of that when they are asked for. A topic that is not
 *          there is looked for again and again; then nobody has told anything.
 * FRESH    who is silent is told apart from a Kafka that is: an instance is lost when Kafka answers and
 *          the instance does not.
 * BOUNDS   query.status.records.max, query.status.bytes, query.status.keep.
 * THREADS  answers by any thread, with a lock that is held while one is made: those who ask for jobs
 *          wait for each other, and the thread that reads for them.
 */
#pragma once

#include <jansson.h>

#include "core/buf.h"
#include "kafka/kafka_config.h"

struct jobs;

struct jobs_config {
    const char *topic; /* "": none is read */
    int64_t keep_ms, records_max, bytes_max;
};
extern const struct config_option jobs_options[];
extern const size_t jobs_options_count;

void jobs_stop(struct jobs *jobs); /* NULL is a no-op; the thread ends, answers are made on */
void jobs_free(struct jobs *jobs); /* NULL is a no-op; stopped before */
/* config and kafka outlive it. */
MUST_CHECK enum err jobs_start(const struct jobs_config *config, const struct kafka_config *kafka,
                               struct jobs **ret, struct err_info *info);

#define JOBS_ETAG_BYTES 24

/* `{"as_of":…,"items":[…]}` and the tag of what is in it. ERR_NOT_FOUND: no topic is read;
 * ERR_NOT_READY: it has not been read yet. */
MUST_CHECK enum err jobs_list(struct jobs *jobs, struct buf *body, char etag[JOBS_ETAG_BYTES],
                              struct err_info *info);
/* ERR_JOB_UNKNOWN: nobody has told of it; *ret_near: names that are like it, a new reference. */
MUST_CHECK enum err jobs_show(struct jobs *jobs, const char *pipeline, struct buf *body,
                              char etag[JOBS_ETAG_BYTES], json_t **ret_near, struct err_info *info);
