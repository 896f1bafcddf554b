/* sink.h - what the parts of sink share.
 *
 * MAP      main.c       order of start and stop
 *          sink.c       configuration, start-up, readiness, metrics
 *          sink_loop.c  the thread that reads Kafka and commits to the file
 *          sink_file.c  the file that holds each record once
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "kafka/kafka_tail.h"
#include "metrics/metrics.h"
#include "service/service.h"
#include "sink_file.h"

#define SINK_TOPICS_MAX       64
#define SINK_RECORD_BYTES_MAX ((size_t)128 << 20) /* more than any broker takes */

struct sink_config {
    struct config_list topics;
    const char *file;
    const char *fsync;
    int64_t rotate_bytes;
    int64_t commit_interval_ms;
    int64_t commit_bytes;
};

struct sink {
    struct service *service;
    struct sink_config config;
    struct kafka_config kafka;
    struct sink_file *file;
    struct kafka_tail *tail;
    pthread_t thread;
    bool is_running;
    atomic_bool is_stopping;
    /* For readiness; written by the loop. */
    atomic_bool has_partitions;
    atomic_bool is_failing;
    struct metric_series *records, *skipped, *bytes, *commits, *failures, *lag;
};

MUST_CHECK enum err sink_begin(struct sink *sink, int argc, char **argv,
                               enum config_action *ret_action);
MUST_CHECK enum err sink_start(struct sink *sink, struct err_info *info);
/* Commits what was read; ERR_DRAIN_TIMEOUT when that was not possible in time. */
enum err sink_stop(struct sink *sink);

/* The thread's function; sink_stop makes it end. */
void *sink_loop(void *sink);
