#include "worker/worker_metrics.h"

#include <stdio.h>

enum {
    RECORDS_IN,
    RECORDS_OUT,
    DEAD_LETTERS,
    SKIPPED,
    WAITS,
    JOINED,
    WINDOWS_CLOSED,
    FILTERED,
    LATE,
    FLOW,
    DROPPED,
    COMMITS,
    ABORTS,
    COMMIT_SECONDS,
    BATCH_RECORDS,
    REBUILDS,
    REBALANCES,
    RESTORED,
    LOCAL_ROWS,
    LOCAL_ERRORS,
    SPILL_ERRORS,
    SPILL_WRITTEN,
    SPILL_READ,
    STANDBY_PARTITIONS,
    STANDBY_LAG,
    STANDBY_BYTES,
    STANDBY_RECORDS,
    STANDBY_TAKEN,
    PAUSED,
    LAST_COMMIT,
    TABLE_REJECTS,
    STATUS,
    BUSY,
    LAG,
    LAG_SECONDS,
    WATERMARK,
    RESTORE_LEFT,
    STATE_BYTES,
    STATE_KEYS,
    WINDOWS_OPEN,
    SPILLED,
    FAMILIES
};

static const double batch_bounds[] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 0};

#define FAMILY(index, name_, type_, labels_, help_)                                                \
    [index] = {.name = "millrace_pipeline_" name_,                                                 \
               .type = METRIC_##type_,                                                             \
               .labels = (labels_),                                                                \
               .help = (help_)}
static struct metric families[FAMILIES] = {
    FAMILY(RECORDS_IN, "records_in_total", COUNTER, "pipeline",
           "Source records whose results are committed"),
    FAMILY(RECORDS_OUT, "records_out_total", COUNTER, "pipeline,target",
           "Committed records written, by target: output, changelog, repartition, retry, "
           "dead_letter, late"),
    FAMILY(
        DEAD_LETTERS, "dead_letters_total", COUNTER, "pipeline,reason",
        "Source records that failed, by reason; rising: look at the dead-letter topic's headers"),
    FAMILY(SKIPPED, "skipped_total", COUNTER, "pipeline,reason",
           "Source records that failed and are nowhere, since the pipeline's `errors` say so"),
    FAMILY(WAITS, "waits_total", COUNTER, "pipeline",
           "Tries after which a record waits where it is (`retry.in_place`); rising with a lag: "
           "look for what it waits for"),
    FAMILY(JOINED, "joined_total", COUNTER, "pipeline", "Records that found their table row"),
    FAMILY(WINDOWS_CLOSED, "windows_closed_total", COUNTER, "pipeline",
           "Windows × keys that gave their final result"),
    FAMILY(FILTERED, "filtered_total", COUNTER, "pipeline",
           "Records that the pipeline's filters and branches left out"),
    FAMILY(LATE, "late_total", COUNTER, "pipeline",
           "Records that came after their window had closed; rising: producers are late, or the "
           "grace is short"),
    FAMILY(
        FLOW, "flow_records_total", COUNTER, "pipeline,where,outcome",
        "Committed records where they pass: in, of a segment of the pipeline; filtered, rejected "
        "or late, of a step at which they ended"),
    FAMILY(DROPPED, "dropped_total", COUNTER, "pipeline",
           "Fetched records left to the partition's next owner, or read again after an abort"),
    FAMILY(COMMITS, "commits_total", COUNTER, "pipeline",
           "Commits; none for a minute with lag above 0: the worker is stuck"),
    FAMILY(ABORTS, "aborts_total", COUNTER, "pipeline",
           "Commits that failed and were done again; more than a few: see the log and the brokers"),
    FAMILY(COMMIT_SECONDS, "commit_seconds", HISTOGRAM, "pipeline",
           "Time of a commit, flush included; rising: brokers slow"),
    {.name = "millrace_pipeline_batch_records",
     .type = METRIC_HISTOGRAM,
     .labels = "pipeline",
     .bounds = batch_bounds,
     .help = "Records taken in one turn of the loop; always at the top: the worker is saturated"},
    FAMILY(REBUILDS, "producer_rebuilds_total", COUNTER, "pipeline",
           "Producers replaced because they were fenced, timed out or of unknown outcome"),
    FAMILY(REBALANCES, "rebalances_total", COUNTER, "pipeline",
           "Assignments received; more than 3 in 10 minutes: members come and go"),
    FAMILY(RESTORED, "restored_records_total", COUNTER, "pipeline", "Changelog records read back"),
    FAMILY(LOCAL_ROWS, "local_state_rows_total", COUNTER, "pipeline",
           "Rows of state read back from local disk (state.dir)"),
    FAMILY(LOCAL_ERRORS, "local_state_errors_total", COUNTER, "pipeline",
           "Failures of the copy of the state on local disk; the worker goes on without, the next "
           "start reads more of the changelog: look for a full disk"),
    FAMILY(SPILL_ERRORS, "spilled_state_errors_total", COUNTER, "pipeline",
           "Failures of the disk with the state that is too much for memory (state.memory): what "
           "cannot be written stays in memory, what cannot be read ends the worker; look for a "
           "full disk"),
    FAMILY(SPILL_WRITTEN, "spilled_written_total", COUNTER, "pipeline",
           "Windows × keys that were written to disk, to make room in memory"),
    FAMILY(SPILL_READ, "spilled_read_total", COUNTER, "pipeline",
           "Windows × keys that were read back because an event came for them; rising with the "
           "records: what is in use is more than state.memory"),
    FAMILY(STANDBY_PARTITIONS, "standby_partitions", GAUGE, "pipeline",
           "Partitions of others whose state is followed (state.standby); below what others have "
           "nearby: state.standby.bytes is reached, or a changelog cannot be read"),
    FAMILY(STANDBY_LAG, "standby_lag_records", GAUGE, "pipeline",
           "Changelog offsets that are still to be followed: so much would be read at a takeover"),
    FAMILY(STANDBY_BYTES, "standby_state_bytes", GAUGE, "pipeline",
           "Memory of the state that is followed"),
    FAMILY(STANDBY_RECORDS, "standby_records_total", COUNTER, "pipeline",
           "Changelog records, and rows on local disk, that were followed"),
    FAMILY(STANDBY_TAKEN, "standby_taken_total", COUNTER, "pipeline",
           "Tasks that went on from what was followed"),
    FAMILY(PAUSED, "paused", GAUGE, "pipeline",
           "1 while the pipeline stands still because it was paused, or for a savepoint; lag grows "
           "meanwhile: resume it"),
    FAMILY(LAST_COMMIT, "last_commit_timestamp_seconds", GAUGE, "pipeline",
           "Wall clock of the last commit"),
    FAMILY(TABLE_REJECTS, "table_rejects_total", COUNTER, "pipeline",
           "Table rows that cannot be used; rising: see the log for the topic"),
    FAMILY(STATUS, "status_records_total", COUNTER, "pipeline,outcome",
           "Records for the status topic: sent, or lost; lost rising: the job view takes this "
           "worker for dead, see the log"),
    FAMILY(BUSY, "busy_ratio", GAUGE, "pipeline,thread",
           "Share of the last second in which the thread did not wait for records; near 1 with a "
           "growing lag: add threads or replicas"),
    FAMILY(LAG_SECONDS, "lag_seconds", GAUGE, "pipeline,topic,partition",
           "Age of the record that was read last, while there are more; rising: add threads or "
           "replicas"),
    FAMILY(LAG, "lag_records", GAUGE, "pipeline,topic,partition",
           "Offsets between the position and the end of a source partition; rising: add threads or "
           "replicas"),
    FAMILY(WATERMARK, "watermark_seconds", GAUGE, "pipeline,stage,partition",
           "Event time up to which windows are complete, Unix epoch"),
    FAMILY(RESTORE_LEFT, "restore_left_records", GAUGE, "pipeline,stage,partition",
           "Changelog offsets still to be read before the task starts"),
    FAMILY(STATE_BYTES, "state_bytes", GAUGE, "pipeline,stage,partition", "Memory of the state"),
    FAMILY(STATE_KEYS, "state_keys", GAUGE, "pipeline,stage,partition", "Keys in the state"),
    FAMILY(WINDOWS_OPEN, "windows_open", GAUGE, "pipeline,stage,partition", "Windows × keys held"),
    FAMILY(SPILLED, "state_spilled", GAUGE, "pipeline,stage,partition",
           "Windows × keys of those that are on disk alone (state.memory)"),
};
METRICS_TABLE(families)

void worker_metrics_open(struct worker_metrics *m, const char *pipeline)
{
    static const char *const targets[STREAM_TARGETS] = {
        [STREAM_OUTPUT] = "output",
        [STREAM_CHANGELOG] = "changelog",
        [STREAM_REPARTITION] = "repartition",
        [STREAM_DEAD_LETTER] = "dead_letter",
        [STREAM_LATE] = "late",
        [STREAM_RETRY] = "retry",
        [STREAM_SKIPPED] = NULL, /* it is not written */
    };
    *m = (struct worker_metrics){
        .pipeline = pipeline,
        .records_in = METRIC(families[RECORDS_IN], pipeline),
        .joined = METRIC(families[JOINED], pipeline),
        .windows_closed = METRIC(families[WINDOWS_CLOSED], pipeline),
        .filtered = METRIC(families[FILTERED], pipeline),
        .late = METRIC(families[LATE], pipeline),
        .waits = METRIC(families[WAITS], pipeline),
        .dropped = METRIC(families[DROPPED], pipeline),
        .commits = METRIC(families[COMMITS], pipeline),
        .aborts = METRIC(families[ABORTS], pipeline),
        .commit_seconds = METRIC(families[COMMIT_SECONDS], pipeline),
        .batch_records = METRIC(families[BATCH_RECORDS], pipeline),
        .producer_rebuilds = METRIC(families[REBUILDS], pipeline),
        .rebalances = METRIC(families[REBALANCES], pipeline),
        .restored_records = METRIC(families[RESTORED], pipeline),
        .local_rows = METRIC(families[LOCAL_ROWS], pipeline),
        .local_errors = METRIC(families[LOCAL_ERRORS], pipeline),
        .spill_errors = METRIC(families[SPILL_ERRORS], pipeline),
        .spill_written = METRIC(families[SPILL_WRITTEN], pipeline),
        .spill_read = METRIC(families[SPILL_READ], pipeline),
        .standby_partitions = METRIC(families[STANDBY_PARTITIONS], pipeline),
        .standby_lag = METRIC(families[STANDBY_LAG], pipeline),
        .standby_bytes = METRIC(families[STANDBY_BYTES], pipeline),
        .standby_records = METRIC(families[STANDBY_RECORDS], pipeline),
        .standby_taken = METRIC(families[STANDBY_TAKEN], pipeline),
        .paused = METRIC(families[PAUSED], pipeline),
        .last_commit = METRIC(families[LAST_COMMIT], pipeline),
        .table_rejects = METRIC(families[TABLE_REJECTS], pipeline),
        .status_sent = METRIC(families[STATUS], pipeline, "sent"),
        .status_lost = METRIC(families[STATUS], pipeline, "lost"),
    };
    for (int i = 0; i < STREAM_TARGETS && targets[i]; i++) {
        m->records_out[i] = METRIC(families[RECORDS_OUT], pipeline, targets[i]);
    }
}

void worker_metrics_refusals(struct worker_metrics *m, enum err reason, int64_t dead_letters,
                             int64_t skipped)
{
    if (dead_letters > 0) {
        metric_add(METRIC(families[DEAD_LETTERS], m->pipeline, err_name(reason)), dead_letters);
    }
    if (skipped > 0) {
        metric_add(METRIC(families[SKIPPED], m->pipeline, err_name(reason)), skipped);
    }
}

struct task_metrics worker_metrics_task(const char *pipeline, unsigned stage, int32_t partition)
{
    char stage_text[16], number[16];
    (void)snprintf(stage_text, sizeof stage_text, "%u", stage);
    (void)snprintf(number, sizeof number, "%d", partition);
    return (struct task_metrics){
        .watermark = METRIC(families[WATERMARK], pipeline, stage_text, number),
        .restore_left = METRIC(families[RESTORE_LEFT], pipeline, stage_text, number),
        .state_bytes = METRIC(families[STATE_BYTES], pipeline, stage_text, number),
        .state_keys = METRIC(families[STATE_KEYS], pipeline, stage_text, number),
        .windows_open = METRIC(families[WINDOWS_OPEN], pipeline, stage_text, number),
        .spilled = METRIC(families[SPILLED], pipeline, stage_text, number),
    };
}

void worker_metrics_lag(const char *pipeline, const char *topic, int32_t partition,
                        struct metric_series **ret_records, struct metric_series **ret_seconds)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", partition);
    *ret_records = METRIC(families[LAG], pipeline, topic, number);
    *ret_seconds = METRIC(families[LAG_SECONDS], pipeline, topic, number);
}

struct metric_series *worker_metrics_flow(const char *pipeline, const char *where,
                                          const char *outcome)
{
    return METRIC(families[FLOW], pipeline, where, outcome);
}

struct metric_series *worker_metrics_busy(const char *pipeline, int thread)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", thread);
    return METRIC(families[BUSY], pipeline, number);
}
