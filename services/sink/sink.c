#include "sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct config_option sink_options[] = {
    CONFIG_ROW(struct sink_config, topics, "sink.topics", LIST, "product-metrics", 1,
               SINK_TOPICS_MAX, "Topics to write."),
    CONFIG_ROW(struct sink_config, file, "sink.file", STRING, "output/metrics.json", 0, 0,
               "JSON Lines file to append to; its state lies beside it in <file>.state."),
    CONFIG_CHOICE_ROW(struct sink_config, fsync, "sink.fsync", "commit", "commit|never",
                      "commit: a power loss costs nothing; never: the file may be re-read from an "
                      "older state."),
    CONFIG_ROW(struct sink_config, rotate_bytes, "sink.rotate.bytes", SIZE, "0", 0, 1e15,
               "Size at which the file is renamed to <file>.<n> and a new one begins; 0: never."),
    CONFIG_ROW(struct sink_config, commit_interval_ms, "sink.commit.interval", DURATION, "500ms", 1,
               60000, "Longest time a record waits in memory."),
    CONFIG_ROW(struct sink_config, commit_bytes, "sink.commit.bytes", SIZE, "4MiB", 4096, 1 << 28,
               "Most bytes that wait in memory."),
};

static const struct config_default sink_defaults[] = {{"http.port", "8084"}, {0}};

enum { SINK_RECORDS, SINK_SKIPPED, SINK_BYTES, SINK_COMMITS, SINK_FAILURES, SINK_LAG };

static struct metric sink_metrics[] = {
    [SINK_RECORDS] = {"millrace_sink_records_total", METRIC_COUNTER, "Records written.", NULL},
    [SINK_SKIPPED] = {"millrace_sink_skipped_total", METRIC_COUNTER,
                      "Records without a value (tombstones), which have no line.", NULL},
    [SINK_BYTES] = {"millrace_sink_bytes_total", METRIC_COUNTER, "Bytes written.", NULL},
    [SINK_COMMITS] = {"millrace_sink_commits_total", METRIC_COUNTER, "Commits to the file.", NULL},
    [SINK_FAILURES] = {"millrace_sink_failures_total", METRIC_COUNTER,
                       "Commits that failed and are tried again; look at the disk.", NULL},
    [SINK_LAG] = {"millrace_sink_lag_records", METRIC_GAUGE,
                  "Records in Kafka that are not in the file yet; steady growth: the disk is too "
                  "slow.",
                  NULL},
};
METRICS_TABLE(sink_metrics)

enum err sink_begin(struct sink *sink, int argc, char **argv, enum config_action *ret_action)
{
    sink->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Sink", sink_options, ARRAY_LEN(sink_options), &sink->config},
        {"Kafka", kafka_options, kafka_options_count, &sink->kafka},
    };
    static struct service_params params = {
        .name = "sink",
        .summary = "Writes topics to a JSON Lines file, each record once.",
        .section_count = ARRAY_LEN(sections),
        .defaults = sink_defaults,
        .openapi = openapi_files,
    };
    params.sections = sections;
    params.passthrough = &sink->kafka.extra;
    return service_begin(&params, argc, argv, &sink->service, ret_action);
}

static bool sink_check_kafka(void *context, char *text, size_t text_bytes)
{
    const struct sink *sink = context;
    bool is_ready = atomic_load(&sink->has_partitions);
    (void)snprintf(text, text_bytes, "%s", is_ready ? "" : "topics not found yet");
    return is_ready;
}

static bool sink_check_file(void *context, char *text, size_t text_bytes)
{
    const struct sink *sink = context;
    bool is_failing = atomic_load(&sink->is_failing);
    (void)snprintf(text, text_bytes, "%s%s", sink->config.file,
                   is_failing ? ": cannot be written" : "");
    return !is_failing;
}

static void metrics_start(struct sink *sink)
{
    struct metric_series **const series[] = {
        [SINK_RECORDS] = &sink->records,   [SINK_SKIPPED] = &sink->skipped,
        [SINK_BYTES] = &sink->bytes,       [SINK_COMMITS] = &sink->commits,
        [SINK_FAILURES] = &sink->failures, [SINK_LAG] = &sink->lag,
    };
    for (size_t i = 0; i < ARRAY_LEN(series); i++) {
        *series[i] = METRIC(sink_metrics[i], NULL);
    }
}

static enum err tail_start(struct sink *sink, struct err_info *info)
{
    const struct kafka_tail_params params = {.config = &sink->kafka, .label = "sink"};
    return kafka_tail_new(&params, &sink->tail, info);
}

enum err sink_start(struct sink *sink, struct err_info *info)
{
    const struct sink_file_params params = {
        .path = sink->config.file,
        .is_synced = strcmp(sink->config.fsync, "commit") == 0,
        .rotate_bytes = sink->config.rotate_bytes,
        .pending_bytes_max = (size_t)sink->config.commit_bytes + SINK_RECORD_BYTES_MAX,
    };
    metrics_start(sink);
    service_add_check(sink->service, &(struct service_check){"kafka", sink_check_kafka, sink});
    service_add_check(sink->service, &(struct service_check){"file", sink_check_file, sink});
    enum err e = sink_file_open(&params, &sink->file, info);
    e = e ? e : tail_start(sink, info);
    e = e ? e : service_listen(sink->service, NULL, NULL, info);
    if (!e) {
        CHECK(pthread_create(&sink->thread, NULL, sink_loop, sink) == 0);
        sink->is_running = true;
    }
    return e;
}

enum err sink_stop(struct sink *sink)
{
    enum err e = ERR_OK;
    if (sink->is_running) {
        atomic_store(&sink->is_stopping, true);
        CHECK(pthread_join(sink->thread, NULL) == 0);
        e = sink_file_is_dirty(sink->file) ? ERR_DRAIN_TIMEOUT : ERR_OK;
    }
    kafka_tail_free(sink->tail);
    sink_file_free(sink->file);
    return e;
}
