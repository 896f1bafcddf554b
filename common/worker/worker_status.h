/* worker_status.h - tells who looks at the job how it is: the worker's records in the status topic.
 *
 * WHAT     a thread and a plain producer of the worker's own write to a compacted topic, every
 *          status.interval: one record a worker thread, and now and then one for the worker (what it
 *          runs). Keys are `<pipeline>/<instance>` and `<pipeline>/<instance>/<thread>`; a clean end
 *          deletes them, so that what stays and is silent has died. The values are JSON (docs/jobs.md).
 *          The topic is made when it is missing.
 * NEVER    in the way: nothing of it is in the transaction, a worker thread only leaves its text here
 *          (a copy under a lock, once a second), and whatever goes wrong is said once in the log. What
 *          Kafka does not take is not kept.
 * BOUNDS   at most two beats wait for Kafka; a text is at most STATUS_TEXT_BYTES.
 * THREADS  start and stop by one owner; worker_status_put by any thread, before stop.
 */
#pragma once

#include "core/strview.h"
#include "kafka/kafka_config.h"
#include "metrics/metrics.h"
#include "stream/pipeline.h"

#define STATUS_TEXT_BYTES (512 * 1024) /* a record's limit is 1 MiB as a rule */

struct worker_status;

struct worker_status_params {
    const struct kafka_config *kafka;
    const char *topic;
    int64_t interval_ms;
    const struct pipeline *pipeline;
    const char *instance; /* copied */
    const char *guarantee;
    int thread_count;
    struct metric_series *sent, *lost; /* records */
};

DEALLOC(free) struct worker_status *worker_status_start(const struct worker_status_params *params);
/* What the thread says from now on: members of a JSON object, without the braces. */
void worker_status_put(struct worker_status *status, int thread, struct strview members);
/* The same of the worker as a whole. */
void worker_status_put_whole(struct worker_status *status, struct strview members);
/* is_clean: the records are deleted; otherwise what was put last stays. NULL is a no-op. */
void worker_status_stop(struct worker_status *status, bool is_clean, int64_t timeout_ms);
