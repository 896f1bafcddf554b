/* worker_metrics.h - what a worker tells Prometheus. Added to once a batch or once a commit. */
#pragma once

#include "core/err.h"
#include "metrics/metrics.h"
#include "stream/pipeline.h"

/* One per worker, shared by its threads (the series are atomics). */
struct worker_metrics {
    const char *pipeline;
    struct metric_series *records_in;
    struct metric_series *records_out[STREAM_TARGETS];
    struct metric_series *joined;
    struct metric_series *windows_closed;
    struct metric_series *filtered;
    struct metric_series *late;
    struct metric_series *waits;
    struct metric_series *dropped;
    struct metric_series *commits;
    struct metric_series *aborts;
    struct metric_series *commit_seconds;
    struct metric_series *batch_records;
    struct metric_series *producer_rebuilds;
    struct metric_series *rebalances;
    struct metric_series *restored_records, *local_rows, *local_errors;
    struct metric_series *spill_errors, *spill_written, *spill_read;
    struct metric_series *standby_partitions, *standby_lag, *standby_bytes, *standby_records,
        *standby_taken;
    struct metric_series *paused;
    struct metric_series *last_commit;
    struct metric_series *table_rejects;
    struct metric_series *status_sent, *status_lost;
};

/* Gauges of one task. */
struct task_metrics {
    struct metric_series *watermark, *restore_left, *state_bytes, *state_keys, *windows_open,
        *spilled;
};

void worker_metrics_open(struct worker_metrics *metrics, const char *pipeline);
void worker_metrics_refusals(struct worker_metrics *metrics, enum err reason, int64_t dead_letters,
                             int64_t skipped);
struct task_metrics worker_metrics_task(const char *pipeline, unsigned stage, int32_t partition);
void worker_metrics_lag(const char *pipeline, const char *topic, int32_t partition,
                        struct metric_series **ret_records, struct metric_series **ret_seconds);
/* where: a segment's name or a step's place; outcome: what became of the records there. */
struct metric_series *worker_metrics_flow(const char *pipeline, const char *where,
                                          const char *outcome);
struct metric_series *worker_metrics_busy(const char *pipeline, int thread);
