/* ingest_pending.h - records on their way to Kafka, one HTTP worker's share of them.
 *
 * WHAT     a worker owns a producer, a scanner and the requests that wait for delivery reports. A
 *          pending request has one result per event, in request order; it is answered when the last
 *          report is in, and outlives the request when that ends first (deadline).
 * THREADS  everything here belongs to the worker's thread; reports come back on it (decision D1).
 * COST     pending requests are reused: no allocation after warm-up for single events.
 */
#pragma once

#include <jansson.h>

#include "core/hash_map.h"
#include "ingest.h"
#include "json/json_scan.h"
#include "kafka/kafka_producer.h"
#include "metrics/metrics.h"

#define INGEST_SCHEMA_ERRORS_MAX 64

struct ingest_pending;

struct ingest_result {
    struct ingest_pending *pending;
    enum err err;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    json_t *problem; /* owned; for an event that was refused or failed, else NULL */
};

enum ingest_outcome { INGEST_STORED, INGEST_INVALID, INGEST_FAILED, INGEST_OUTCOMES };

/* What a worker knows about a topic: made at its first event, kept as long as the worker. */
struct ingest_topic_state {
    char *name;
    struct ingest_topic rules;
    struct metric_series *outcomes[INGEST_OUTCOMES];
};

struct ingest_worker {
    struct ingest *ingest;
    bool is_ready; /* counted in ingest->workers_ready */
    struct kafka_producer *producer;
    struct http_watch *watch;
    struct json_scanner *scanner;
    struct schema_error *schema_errors; /* room for one event's; too large for the stack, which is
                                         * zeroed at each call */
    struct hash_map *topics;            /* name → struct ingest_topic_state * */
    struct ingest_pending *free_list;
    struct metric_series *ack_seconds;
    struct metric_series *event_bytes;
};

struct ingest_pending {
    struct ingest_worker *worker;
    struct http_request *request; /* NULL once the request has ended without us */
    const struct ingest_topic_state *topic;
    bool is_single; /* the body was one event, not an array */
    size_t count;
    size_t outstanding; /* records without a report */
    int64_t started_us;
    struct ingest_result *results; /* count of capacity */
    size_t capacity;
    struct ingest_pending *next_free;
};

/* http_worker_hooks */
enum err ingest_worker_start(struct http_worker *worker, void *context, void **ret_state);
void ingest_worker_stop(void *state);

/* The topic's state, once its rules allow it and the cluster has it. */
MUST_CHECK enum err ingest_worker_topic(struct ingest_worker *worker, const char *name,
                                        const struct ingest_topic_state **ret,
                                        struct err_info *info);

/* A pending request with `count` zeroed results. */
struct ingest_pending *ingest_pending_take(struct ingest_worker *worker,
                                           struct http_request *request, size_t count);
/* Back to the worker; frees what the results own. */
void ingest_pending_give(struct ingest_pending *pending);
