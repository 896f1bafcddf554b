#include "ingest_pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "ingest_answer.h"
#include "json/json_file.h"

#define TOPICS_MAX         10000
#define NODES_MAX          (1u << 22)
#define METADATA_PERIOD_MS 200
#define STOP_FLUSH_MS      1000
#define RESULTS_KEPT       64 /* a larger array is not kept for reuse */

enum { INGEST_EVENTS, INGEST_BYTES, INGEST_ACK };

static const char *const outcome_names[INGEST_OUTCOMES] = {"stored", "invalid", "failed"};

static struct metric ingest_metrics[] = {
    [INGEST_EVENTS] = {"millrace_ingest_events_total", METRIC_COUNTER,
                       "Events by outcome; invalid rises: a producer or a schema changed; failed "
                       "rises: look at Kafka.",
                       "topic,outcome"},
    [INGEST_BYTES] = {"millrace_ingest_event_bytes_total", METRIC_COUNTER,
                      "Bytes of events handed to Kafka.", NULL},
    [INGEST_ACK] = {"millrace_ingest_ack_seconds", METRIC_HISTOGRAM,
                    "From the whole request to the last acknowledgement of its events.", NULL},
};
METRICS_TABLE(ingest_metrics)

/* --- worker ----------------------------------------------------------------------------------- */

static void result_fill(struct ingest_result *result, const struct kafka_report *report)
{
    struct ingest_pending *pending = result->pending;
    result->err = report->err;
    result->partition = report->partition;
    result->offset = report->offset;
    result->timestamp_ms = report->timestamp_ms;
    if (report->err && pending->request) {
        struct err_info info = {0};
        (void)err_set(&info, report->err, "%s%s", report->reason,
                      report->may_be_stored ? "; Kafka may have stored it all the same" : "");
        result->problem = http_problem_json(pending->request, report->err, &info);
    }
}

static void ingest_on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        struct ingest_result *result = reports[i].opaque;
        struct ingest_pending *pending = result->pending;
        result_fill(result, &reports[i]);
        CHECK(pending->outstanding > 0);
        if (--pending->outstanding > 0) {
            continue;
        }
        if (pending->request) {
            ingest_answer(pending);
        } else {
            ingest_pending_give(pending); /* the client had its 503 at the deadline */
        }
    }
}

static void ingest_on_readable(void *context, uint32_t events)
{
    (void)events;
    struct ingest_worker *worker = context;
    kafka_producer_serve(worker->producer);
}

/* Serves events that come without a report, and tells readiness whether metadata is there. */
static void ingest_on_tick(void *context)
{
    struct ingest_worker *worker = context;
    kafka_producer_serve(worker->producer);
    if (!worker->is_ready && kafka_producer_has_metadata(worker->producer)) {
        worker->is_ready = true;
        atomic_fetch_add(&worker->ingest->workers_ready, 1);
    }
}

enum err ingest_worker_start(struct http_worker *http_worker, void *context, void **ret_state)
{
    struct ingest *ingest = context;
    struct ingest_worker *worker = must_alloc(sizeof *worker);
    worker->ingest = ingest;
    atomic_fetch_add(&ingest->workers, 1);
    worker->scanner = json_scanner_new((uint32_t)ingest->config.depth_max, NODES_MAX);
    worker->schema_errors =
        must_alloc((size_t)ingest->config.schema_errors_max * sizeof *worker->schema_errors);
    worker->topics = hash_map_new(sizeof(struct ingest_topic_state *), TOPICS_MAX);
    worker->ack_seconds = METRIC(ingest_metrics[INGEST_ACK], NULL);
    worker->event_bytes = METRIC(ingest_metrics[INGEST_BYTES], NULL);
    char label[32];
    (void)snprintf(label, sizeof label, "ingest-%u", http_worker_index(http_worker));
    const struct kafka_producer_params params = {
        .config = &ingest->kafka,
        .role = KAFKA_ROLE_PRODUCER_ACKED,
        .on_reports = ingest_on_reports,
        .context = worker,
        .label = label,
    };
    struct err_info info = {0};
    enum err e = kafka_producer_new(&params, &worker->producer, &info);
    if (e) {
        service_fail(ingest->service, e, &info);
        ingest_worker_stop(worker);
        return e;
    }
    worker->watch = http_worker_watch(http_worker, kafka_producer_fd(worker->producer), EPOLLIN,
                                      ingest_on_readable, worker);
    http_worker_every(http_worker, METADATA_PERIOD_MS, ingest_on_tick, worker);
    *ret_state = worker;
    return ERR_OK;
}

void ingest_worker_stop(void *state)
{
    struct ingest_worker *worker = state;
    if (worker->watch) {
        http_watch_close(worker->watch);
    }
    if (worker->producer) {
        /* Only records whose request has timed out can be left; they were answered as unknown. */
        if (kafka_producer_flush(worker->producer, STOP_FLUSH_MS)) {
            log_event(LOG_WARN, "unacknowledged", "records were given up at the end",
                      KV("count", kafka_producer_outstanding(worker->producer)));
        }
        kafka_producer_free(worker->producer);
    }
    while (worker->free_list) {
        struct ingest_pending *next = worker->free_list->next_free;
        free(worker->free_list->results);
        free(worker->free_list);
        worker->free_list = next;
    }
    for (size_t i = 0; i < hash_map_count(worker->topics); i++) {
        struct ingest_topic_state **slot = hash_map_value_at(worker->topics, i);
        free((*slot)->name);
        free(*slot);
    }
    hash_map_free(worker->topics);
    json_scanner_free(worker->scanner);
    free(worker->schema_errors);
    free(worker);
}

/* --- topics ----------------------------------------------------------------------------------- */

static enum err topic_exists(struct ingest_worker *worker, const char *name, struct err_info *info)
{
    int32_t partitions;
    enum err e = kafka_producer_topic(worker->producer, name, &partitions);
    if (e == ERR_TOPIC_UNKNOWN) {
        return err_set(info, e, "the topic \"%s\" does not exist", name);
    }
    return e;
}

static struct ingest_topic_state *topic_state_new(const char *name,
                                                  const struct ingest_topic *rules)
{
    struct ingest_topic_state *state = must_alloc(sizeof *state);
    state->name = must_strdup(name);
    state->rules = *rules;
    for (size_t i = 0; i < INGEST_OUTCOMES; i++) {
        state->outcomes[i] = METRIC(ingest_metrics[INGEST_EVENTS], name, outcome_names[i]);
    }
    return state;
}

enum err ingest_worker_topic(struct ingest_worker *worker, const char *name,
                             const struct ingest_topic_state **ret, struct err_info *info)
{
    struct ingest_topic rules;
    struct ingest_topic_state **slot = hash_map_find(worker->topics, sv(name));
    enum err e = slot ? ERR_OK : ingest_topics_find(worker->ingest->topics, name, &rules, info);
    if (!e) {
        e = topic_exists(worker, name, info); /* each time: a topic may be deleted */
    }
    if (e) {
        return e;
    }
    if (!slot) {
        slot = hash_map_get_or_add(worker->topics, sv(name), NULL);
        if (!slot) {
            return err_set(info, ERR_OVERLOADED, "more than %d topics in use", TOPICS_MAX);
        }
        *slot = topic_state_new(name, &rules);
    }
    *ret = *slot;
    return ERR_OK;
}

/* --- pending requests ------------------------------------------------------------------------- */

struct ingest_pending *ingest_pending_take(struct ingest_worker *worker,
                                           struct http_request *request, size_t count)
{
    struct ingest_pending *pending = worker->free_list;
    if (pending) {
        worker->free_list = pending->next_free;
    } else {
        pending = must_alloc(sizeof *pending);
    }
    if (pending->capacity < count) {
        pending->results = must_realloc(pending->results, count * sizeof *pending->results);
        pending->capacity = count;
    }
    memset(pending->results, 0, count * sizeof *pending->results);
    pending->worker = worker;
    pending->request = request;
    pending->count = count;
    pending->outstanding = 0;
    pending->started_us = clock_mono_us();
    for (size_t i = 0; i < count; i++) {
        pending->results[i].pending = pending;
    }
    return pending;
}

void ingest_pending_give(struct ingest_pending *pending)
{
    struct ingest_worker *worker = pending->worker;
    for (size_t i = 0; i < pending->count; i++) {
        json_decrefp(&pending->results[i].problem);
    }
    if (pending->capacity > RESULTS_KEPT) {
        free(pending->results);
        pending->results = NULL;
        pending->capacity = 0;
    }
    pending->count = 0;
    pending->next_free = worker->free_list;
    worker->free_list = pending;
}
