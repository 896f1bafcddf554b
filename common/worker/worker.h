/* worker.h - runs a pipeline on Kafka: the driver of common/stream.
 *
 * WHAT     N threads, each with a consumer, a producer, its own copies of the reference tables and
 *          the tasks of its source partitions. README.md has the vocabulary and invariants.
 * PROMISE  exactly_once: results, state, dead letters and offsets of a record are visible together
 *          or not at all. at_least_once: offsets are committed after results are acknowledged.
 * BOUNDS   batch 10,000 records; prefetch and produce queues in bytes (common/kafka); a commit at
 *          the latest after commit.interval, commit.records or commit.bytes.
 * THREADS  worker_is_ready from any thread; the rest from one owner.
 * ERRORS   what Kafka may recover from is waited for (not ready, logged); only a configuration that
 *          cannot work, a fenced instance or a lost position calls on_fatal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "kafka/kafka_config.h"
#include "stream/pipeline.h"

struct worker_config {
    const char *pipeline_file;
    const char *guarantee; /* exactly_once | at_least_once */
    int64_t threads;
    int64_t commit_interval_ms;
    int64_t commit_records; /* 0: by guarantee */
    int64_t commit_bytes;
    const char *instance_id; /* "": host name and HTTP port */
    int64_t input_wait_ms;
    int64_t purge_interval_ms;
    const char *offsets_lost;  /* fail | earliest */
    const char *state_dir;     /* "": nothing is kept on disk */
    int64_t state_memory;      /* bytes; 0: all of the state is in memory */
    const char *state_standby; /* off | on; NULL: off */
    int64_t state_standby_bytes;
    const char *status_topic;  /* "" or NULL: nobody is told */
    const char *control_topic; /* "" or NULL: nobody pauses it */
    int64_t savepoint_hold_ms;
    const char *savepoint_dir; /* "" or NULL: none is taken for others */
    bool savepoint_replace;
    const char *state_store, *state_key;
    int64_t savepoint_restore_ms;
    int64_t status_interval_ms;
    const char *state_lost; /* fail | empty */
    const char *rebalance;  /* eager | cooperative | broker */
};
extern const struct config_option worker_options[];
extern const size_t worker_options_count;

struct worker_params {
    const struct worker_config *config;
    const struct kafka_config *kafka;
    const struct pipeline *pipeline;
    uint16_t http_port;  /* part of the default instance id; 0: the process id instead */
    const char *release; /* told in savepoints */
    /* From a worker thread: the worker cannot go on. */
    void (*on_fatal)(void *context, enum err err, const struct err_info *info);
    void *context;
};

struct worker;

/* Whether the configuration can be right at all, as far as can be told without Kafka: for --check, and
 * before a start. */
MUST_CHECK enum err worker_check(const struct worker_config *config,
                                 const struct kafka_config *kafka, const struct pipeline *pipeline,
                                 struct err_info *info);
/* Threads run from here on; Kafka need not be there yet. */
MUST_CHECK enum err worker_start(const struct worker_params *params, struct worker **ret,
                                 struct err_info *info);
/* Finishes the batch, commits, leaves the group. ERR_DRAIN_TIMEOUT: not in time; what was not
 * committed is done again by the next owner. Frees the worker either way. */
MUST_CHECK enum err worker_stop(struct worker *worker, int64_t timeout_ms);

/* A service_check: assigned (or idle because others have all partitions), restored, tables loaded. */
bool worker_is_ready(void *worker, char *text, size_t text_bytes);
