#include "ingest_worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "ingest_event.h"
#include "ingest_once.h"
#include "ingest_rejects.h"
#include "ingest_spool.h"
#include "json/json_scan.h"

#define TOPICS_MAX           10000 /* below 2^16: a result says its topic in 16 bits */
#define TOPIC_NAME_BYTES_MAX 249
#define OVERFLOW_SUFFIX      ".overflow"
#define NODES_MAX            (1u << 22)
#define METADATA_PERIOD_MS   200
#define STOP_FLUSH_MS        1000
#define STOP_HASTY_FLUSH_MS  5000 /* nobody waits, but they were accepted */

enum {
    INGEST_EVENTS,
    INGEST_BYTES,
    INGEST_ACK,
    INGEST_HASTY,
    INGEST_CLAMPED,
    INGEST_REJECTS,
    INGEST_OVERFLOW,
    INGEST_REQUESTS,
    INGEST_INFLIGHT,
    INGEST_WAITING
};

static struct metric ingest_metrics[] = {
    [INGEST_EVENTS] = {"millrace_ingest_events_total", METRIC_COUNTER,
                       "Events by outcome; invalid rises: a producer or a schema changed; failed "
                       "rises: look at Kafka.",
                       "topic,outcome"},
    [INGEST_BYTES] = {"millrace_ingest_event_bytes_total", METRIC_COUNTER,
                      "Bytes of events handed to Kafka.", NULL},
    [INGEST_ACK] = {"millrace_ingest_ack_seconds", METRIC_HISTOGRAM,
                    "From the whole request to the last acknowledgement of its events.", NULL},
    [INGEST_HASTY] = {"millrace_ingest_hasty_total", METRIC_COUNTER,
                      "Accepted (hasty) events by what became of them; failed: they are lost, look "
                      "at Kafka.",
                      "outcome"},
    [INGEST_CLAMPED] = {"millrace_ingest_timestamps_clamped_total", METRIC_COUNTER,
                        "Events whose timestamp was moved to the edge of the window around now; "
                        "rising: a producer's clock is wrong.",
                        NULL},
    [INGEST_REJECTS] =
        {"millrace_ingest_rejects_total", METRIC_COUNTER,
         "Rejected events sent to rejects.topic, by what became of them; failed: does "
         "the topic exist?",
         "outcome"},
    [INGEST_OVERFLOW] = {"millrace_ingest_overflow_total", METRIC_COUNTER,
                         "Events of hot keys that went to an overflow topic.", NULL},
    [INGEST_REQUESTS] =
        {"millrace_ingest_requests_total", METRIC_COUNTER,
         "Requests whose events were looked at, by format and by what became of all "
         "of them; partial: not the same of each.",
         "format,outcome"},
    [INGEST_INFLIGHT] = {"millrace_ingest_inflight_bytes", METRIC_GAUGE,
                         "Bytes of events on their way to Kafka; near events.inflight.bytes.max "
                         "requests get 503: look at Kafka, or add replicas.",
                         "worker"},
    [INGEST_WAITING] = {"millrace_ingest_oldest_unacknowledged_seconds", METRIC_GAUGE,
                        "Age of the oldest event that Kafka has not acknowledged; some seconds: a "
                        "broker or a partition is in trouble.",
                        "worker"},
};
METRICS_TABLE(ingest_metrics)

/* --- worker ----------------------------------------------------------------------------------- */

/* Nobody waits for these. */
static void ingest_on_hasty_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct ingest_worker *worker = context;
    int64_t counts[2][2] = {0}; /* rejects or not, failed or not */
    for (size_t i = 0; i < count; i++) {
        const bool is_reject = reports[i].opaque == NULL, is_failed = reports[i].err != ERR_OK;
        worker->inflight_bytes -= reports[i].value_bytes;
        if (is_failed && worker->spool && ingest_spool_keeps_hasty(worker->spool, &reports[i])) {
            continue; /* its end is told by the spool's metrics */
        }
        counts[is_reject][is_failed] += (int64_t)reports[i].count;
        if (is_failed && !is_reject) {
            ingest_reject_lost(worker, &reports[i]);
        }
    }
    worker->hasty_since_us = kafka_producer_outstanding(worker->hasty) ? clock_mono_us() : 0;
    metric_add(worker->hasty_stored, counts[false][false]);
    metric_add(worker->hasty_failed, counts[false][true]);
    metric_add(worker->rejects_stored, counts[true][false]);
    metric_add(worker->rejects_failed, counts[true][true]);
}

static void ingest_on_hasty_readable(void *context, uint32_t events)
{
    (void)events;
    struct ingest_worker *worker = context;
    kafka_producer_serve(worker->hasty);
}

static void ingest_on_readable(void *context, uint32_t events)
{
    (void)events;
    struct ingest_worker *worker = context;
    kafka_producer_serve(worker->producer);
    if (worker->spool) {
        ingest_spool_settle(worker->spool);
    }
}

/* For /health and the gauges: since when the oldest event waits, hasty or not. */
static void tell_waiting(struct ingest_worker *worker)
{
    int64_t since_us = ingest_batch_oldest_us(worker, 0);
    if (worker->hasty_since_us && (!since_us || worker->hasty_since_us < since_us)) {
        since_us = worker->hasty_since_us;
    }
    atomic_store(&worker->ingest->waiting_since_us[http_worker_index(worker->http)], since_us);
    metric_set(worker->waiting_seconds,
               since_us ? (double)(clock_mono_us() - since_us) / 1e6 : 0.0);
    metric_set(worker->inflight, (double)worker->inflight_bytes);
}

/* Serves events that come without a report, and tells readiness whether metadata is there, or the
 * spool in its place. */
static void ingest_on_tick(void *context)
{
    struct ingest_worker *worker = context;
    kafka_producer_serve(worker->producer);
    if (worker->hasty) {
        kafka_producer_serve(worker->hasty);
    }
    tell_waiting(worker);
    bool takes_events = kafka_producer_has_metadata(worker->producer) ||
                        (worker->spool && ingest_spool_is_on(worker->spool));
    if (!worker->is_ready && takes_events) {
        worker->is_ready = true;
        atomic_fetch_add(&worker->ingest->workers_ready, 1);
    }
}

static enum err producer_start(struct ingest_worker *worker, enum kafka_role role,
                               struct kafka_producer **ret, struct err_info *info)
{
    const bool is_hasty = role == KAFKA_ROLE_PRODUCER_HASTY;
    char label[32];
    (void)snprintf(label, sizeof label, "ingest-%s%u", is_hasty ? "hasty-" : "",
                   http_worker_index(worker->http));
    const struct kafka_producer_params params = {
        .config = &worker->ingest->kafka,
        .role = role,
        .on_reports = is_hasty ? ingest_on_hasty_reports : ingest_batch_on_reports,
        .context = worker,
        .label = label,
        .directory = worker->ingest->directory,
    };
    return kafka_producer_new(&params, ret, info);
}

enum err ingest_worker_need_hasty(struct ingest_worker *worker, struct err_info *info)
{
    if (worker->hasty) {
        return ERR_OK;
    }
    enum err e = producer_start(worker, KAFKA_ROLE_PRODUCER_HASTY, &worker->hasty, info);
    if (!e) {
        worker->hasty_watch = http_worker_watch(worker->http, kafka_producer_fd(worker->hasty),
                                                EPOLLIN, ingest_on_hasty_readable, worker);
    }
    return e;
}

enum err ingest_worker_admit(const struct ingest_worker *worker, struct err_info *info)
{
    const size_t bytes_max = (size_t)worker->ingest->config.inflight_bytes_max;
    return worker->inflight_bytes <= bytes_max
               ? ERR_OK
               : err_set(info, ERR_OVERLOADED,
                         "%zu bytes of events wait for Kafka, more than events.inflight.bytes.max",
                         worker->inflight_bytes);
}

enum err ingest_worker_start(struct http_worker *http_worker, void *context, void **ret_state)
{
    struct ingest *ingest = context;
    struct ingest_worker *worker = must_alloc(sizeof *worker);
    worker->ingest = ingest;
    worker->http = http_worker;
    CHECK(http_worker_index(http_worker) < INGEST_WORKERS_MAX);
    atomic_fetch_add(&ingest->workers, 1);
    worker->access = access_view_new(ingest->access);
    worker->scanner = json_scanner_new((uint32_t)ingest->config.depth_max, NODES_MAX);
    worker->checker = schema_checker_new();
    worker->schema_errors =
        must_alloc((size_t)ingest->config.schema_errors_max * sizeof *worker->schema_errors);
    worker->reading = ingest_reading_new(worker);
    if (ingest->config.overflow_rate) {
        worker->overflow = ingest_overflow_new((uint32_t)ingest->config.overflow_rate);
    }
    worker->rules = ingest->topics;
    worker->topics = hash_map_new(sizeof(struct ingest_topic_state *), TOPICS_MAX);
    worker->ack_seconds = METRIC(ingest_metrics[INGEST_ACK], NULL);
    worker->event_bytes = METRIC(ingest_metrics[INGEST_BYTES], NULL);
    char index[16];
    (void)snprintf(index, sizeof index, "%u", http_worker_index(http_worker));
    worker->inflight = METRIC(ingest_metrics[INGEST_INFLIGHT], index);
    worker->waiting_seconds = METRIC(ingest_metrics[INGEST_WAITING], index);
    worker->overflowed = METRIC(ingest_metrics[INGEST_OVERFLOW], NULL);
    worker->rejects_stored = METRIC(ingest_metrics[INGEST_REJECTS], "stored");
    worker->rejects_failed = METRIC(ingest_metrics[INGEST_REJECTS], "failed");
    worker->clamped = METRIC(ingest_metrics[INGEST_CLAMPED], NULL);
    worker->hasty_stored = METRIC(ingest_metrics[INGEST_HASTY], "stored");
    worker->hasty_failed = METRIC(ingest_metrics[INGEST_HASTY], "failed");
    struct err_info info = {0};
    enum err e = producer_start(worker, KAFKA_ROLE_PRODUCER_ACKED, &worker->producer, &info);
    if (!e && ingest->config.rejects_topic[0]) {
        e = ingest_worker_need_hasty(worker, &info);
    }
    if (e) {
        service_fail(ingest->service, e, &info);
        ingest_worker_stop(worker);
        return e;
    }
    worker->watch = http_worker_watch(http_worker, kafka_producer_fd(worker->producer), EPOLLIN,
                                      ingest_on_readable, worker);
    worker->once = ingest_once_port_open(ingest->once, worker, http_worker);
    http_worker_every(http_worker, METADATA_PERIOD_MS, ingest_on_tick, worker);
    worker->spool = ingest_spool_start(worker, http_worker);
    *ret_state = worker;
    return ERR_OK;
}

static void producer_stop(struct kafka_producer *producer, struct http_watch *watch,
                          int64_t flush_ms)
{
    if (watch) {
        http_watch_close(watch);
    }
    if (producer && kafka_producer_flush(producer, flush_ms)) {
        log_event(LOG_WARN, "unacknowledged", "records were given up at the end",
                  KV("count", kafka_producer_outstanding(producer)));
    }
    kafka_producer_free(producer);
}

void ingest_worker_stop(void *state)
{
    struct ingest_worker *worker = state;
    worker->is_stopping = true;
    /* Only records whose request has timed out can be left; they were answered as unknown. */
    producer_stop(worker->producer, worker->watch, STOP_FLUSH_MS);
    producer_stop(worker->hasty, worker->hasty_watch, STOP_HASTY_FLUSH_MS);
    ingest_spool_stop(worker->spool);
    ingest_once_port_close(worker->once); /* the last reports have settled their keyed requests */
    ingest_batches_free(&worker->batches);
    for (size_t i = 0; i < hash_map_count(worker->topics); i++) {
        struct ingest_topic_state **slot = hash_map_value_at(worker->topics, i);
        free((*slot)->name);
        free((*slot)->accepted);
        free(*slot);
    }
    hash_map_free(worker->topics);
    ingest_overflow_free(worker->overflow);
    access_view_free(worker->access);
    json_scanner_free(worker->scanner);
    schema_checker_free(worker->checker);
    free(worker->schema_errors);
    ingest_reading_free(worker->reading);
    free(worker);
}

const struct ingest_requests *ingest_worker_requests(struct ingest_worker *worker,
                                                     const struct ingest_format *format)
{
    struct ingest_requests *requests = worker->requests;
    while (requests->format && requests->format != format) {
        requests++;
        CHECK(requests < worker->requests + INGEST_FORMATS_MAX);
    }
    for (int i = 0; !requests->format && i < INGEST_WHOLES; i++) {
        requests->wholes[i] =
            METRIC(ingest_metrics[INGEST_REQUESTS], format->name,
                   i == INGEST_PARTIAL ? "partial" : ingest_outcome_name((enum ingest_outcome)i));
    }
    requests->format = format;
    return requests;
}

/* --- topics ----------------------------------------------------------------------------------- */

static enum err topic_exists(struct ingest_worker *worker, const char *name,
                             struct kafka_topic_facts *ret, struct err_info *info)
{
    enum err e = kafka_producer_topic(worker->producer, name, ret);
    if (e == ERR_TOPIC_UNKNOWN) {
        return err_set(info, e, "the topic \"%s\" does not exist", name);
    }
    return e;
}

/* A topic's name holds nothing that JSON escapes. */
static char *accepted_text(struct strview topic)
{
    static const char format[] = "{\"status\":\"accepted\",\"topic\":\"%.*s\"}";
    char *text = must_alloc(sizeof format + topic.len);
    (void)snprintf(text, sizeof format + topic.len, format, SV_ARG(topic)); /* fits */
    return text;
}

/* NULL: too many. */
static struct ingest_topic_state *topic_state_add(struct ingest_worker *worker, struct strview name)
{
    struct ingest_topic_state **slot = hash_map_get_or_add(worker->topics, name, NULL);
    if (!slot) {
        return NULL;
    }
    struct ingest_topic_state *state = must_alloc(sizeof *state);
    state->name = must_alloc(name.len + 1);
    memcpy(state->name, name.ptr, name.len);
    state->accepted = accepted_text(name);
    state->index = (uint16_t)(hash_map_count(worker->topics) - 1);
    state->is_once_required = ingest_once_is_required(worker->ingest->once, state->name);
    for (size_t i = 0; i < INGEST_OUTCOMES; i++) {
        state->outcomes[i] = METRIC(ingest_metrics[INGEST_EVENTS], state->name,
                                    ingest_outcome_name((enum ingest_outcome)i));
    }
    *slot = state;
    return state;
}

/* The name is one that a client may write to. */
static enum err topic_find(struct ingest_worker *worker, struct strview name,
                           struct ingest_topic_state **ret, struct err_info *info)
{
    char text[TOPIC_NAME_BYTES_MAX + 1];
    if (name.len >= sizeof text) {
        return err_set(info, ERR_TOPIC_FORBIDDEN, "a topic name has at most %d characters",
                       TOPIC_NAME_BYTES_MAX);
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    enum err e = ERR_OK;
    struct ingest_topic rules;
    struct ingest_topic_state **slot = hash_map_find(worker->topics, name);
    struct ingest_topic_state *state = slot ? *slot : NULL;
    struct kafka_topic_facts facts = state ? state->facts : (struct kafka_topic_facts){0};
    if (!state || !state->is_open) {
        e = ingest_topics_find(worker->rules, text, &rules, info);
    }
    if (!e) {
        e = topic_exists(worker, text, &facts, info); /* a topic may have been deleted */
        if (e == ERR_KAFKA_UNAVAILABLE && worker->spool && ingest_spool_is_on(worker->spool)) {
            e = ERR_OK; /* found out when the event is replayed */
        }
    }
    if (e) {
        return e;
    }
    state = state ? state : topic_state_add(worker, name);
    if (!state) {
        return err_set(info, ERR_OVERLOADED, "more than %d topics in use", TOPICS_MAX);
    }
    if (!state->is_open) {
        state->rules = rules;
        state->is_open = true;
    }
    state->facts = facts;
    *ret = state;
    return ERR_OK;
}

enum err ingest_worker_topic(struct ingest_worker *worker, const struct access_principal *principal,
                             struct strview name, const struct ingest_topic_state **ret,
                             struct err_info *info)
{
    const uint64_t generation = kafka_producer_topics_generation(worker->producer);
    struct ingest_topic_state *topic = worker->last.topic;
    enum err e = access_permit(principal, ACCESS_WRITE, name, info);
    if (!e &&
        (!topic || worker->last.generation != generation || !sv_equal(sv(topic->name), name))) {
        e = topic_find(worker, name, &topic, info);
    }
    if (!e) {
        worker->last.topic = topic->facts.partitions ? topic : NULL; /* known, not spooled unseen */
        worker->last.generation = generation;
        *ret = topic;
    }
    return e;
}

/* Which topics are open does not change without a restart, only what holds for them. */
void ingest_worker_take_rules(struct ingest_worker *worker, const struct ingest_topics *rules)
{
    worker->rules = rules;
    for (size_t i = 0; i < hash_map_count(worker->topics); i++) {
        struct ingest_topic_state *state =
            *(struct ingest_topic_state **)hash_map_value_at(worker->topics, i);
        if (state->is_open) {
            struct err_info info;
            CHECK(ingest_topics_find(rules, state->name, &state->rules, &info) == ERR_OK);
        }
    }
}

/* Not the client's to name: neither its rights nor topics.allow are asked. */
const struct ingest_topic_state *ingest_worker_overflow(struct ingest_worker *worker,
                                                        const struct ingest_topic_state *topic)
{
    char name[TOPIC_NAME_BYTES_MAX + sizeof OVERFLOW_SUFFIX];
    struct kafka_topic_facts facts;
    const int len = snprintf(name, sizeof name, "%s" OVERFLOW_SUFFIX, topic->name);
    if (len > TOPIC_NAME_BYTES_MAX || kafka_producer_topic(worker->producer, name, &facts)) {
        return NULL;
    }
    struct ingest_topic_state **slot = hash_map_find(worker->topics, sv(name));
    return slot ? *slot : topic_state_add(worker, sv(name));
}

const struct ingest_topic_state *ingest_worker_topic_at(const struct ingest_worker *worker,
                                                        uint16_t index)
{
    return *(struct ingest_topic_state **)hash_map_value_at(worker->topics, index);
}
