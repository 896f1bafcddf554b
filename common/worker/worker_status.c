#include "worker/worker_status.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "stream/explain.h"

#define VALUE_BYTES_MAX (2 * STATUS_TEXT_BYTES - 4096) /* Kafka's as a rule, but for head and key */
#define KEY_BYTES       640
#define WORKER_BEATS                                                                               \
    15 /* of all beats one has the worker's record again: the topic may be another */
#define BEATS_WAITING   2 /* behind them nothing is sent until Kafka has taken some */
#define ENSURE_MS       3000
#define ENSURE_AGAIN_US 15000000
#define REPLICATION     3
#define FLUSH_MS_MAX    2000

struct worker_status {
    struct worker_status_params params;
    pthread_t thread;
    int stop_fd; /* eventfd, readable from stop on */
    atomic_bool is_stopping;
    bool is_clean;      /* as the rest of what stop says: written before is_stopping */
    int64_t timeout_ms; /* for the last records */
    int64_t run;        /* when it began, Unix epoch: tells a process from the one before it */
    char instance[200];
    char prefix[KEY_BYTES - 16];
    struct kafka_producer *producer;
    struct buf value, topology;
    int64_t ensured_us, beats;
    bool is_failing; /* said in the log */
    struct status_slot {
        pthread_mutex_t lock; /* guards text */
        struct buf text;
        atomic_bool is_new;
    } slots[]; /* by thread; the last one is the worker's */
};

/* --- what a thread leaves ------------------------------------------------------------------------------ */

void worker_status_put(struct worker_status *status, int thread, struct strview members)
{
    if (!status || members.len > STATUS_TEXT_BYTES) {
        return;
    }
    struct status_slot *slot = &status->slots[thread];
    (void)pthread_mutex_lock(&slot->lock);
    buf_reset(&slot->text);
    CHECK(buf_append_view(&slot->text, members) == ERR_OK); /* its bound was looked at */
    (void)pthread_mutex_unlock(&slot->lock);
    atomic_store(&slot->is_new, true);
}

void worker_status_put_whole(struct worker_status *status, struct strview members)
{
    if (status) {
        worker_status_put(status, status->params.thread_count, members);
    }
}

/* --- records --------------------------------------------------------------------------------------------- */

/* Once for each time that it goes wrong. */
static void failure_tell(struct worker_status *status, enum err e, const char *why)
{
    if (!status->is_failing) {
        log_event(LOG_WARN, "status_not_told",
                  "the job view does not hear of this worker; its work goes on", KV("why", why),
                  KV("topic", status->params.topic), KV("err", err_name(e)));
    }
    status->is_failing = true;
}

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct worker_status *status = context;
    for (size_t i = 0; i < count; i++) {
        metric_add(reports[i].err ? status->params.lost : status->params.sent,
                   (int64_t)reports[i].count);
        if (reports[i].err) {
            failure_tell(status, reports[i].err, reports[i].reason);
        } else {
            status->is_failing = false;
        }
    }
}

static void record_send(struct worker_status *status, const char *key, struct strview value)
{
    struct err_info info = {0};
    enum err e = kafka_producer_send(
        status->producer,
        &(struct kafka_record){
            .topic = status->params.topic, .partition = -1, .key = sv(key), .value = value},
        &info);
    if (e) {
        metric_add(status->params.lost, 1);
        failure_tell(status, e, err_detail(e, &info));
    }
}

static const char *thread_key(const struct worker_status *status, int thread, char key[KEY_BYTES])
{
    (void)snprintf(key, KEY_BYTES, "%s/%d", status->prefix, thread);
    return key;
}

/* What every record begins with. */
static enum err value_begin(struct worker_status *status)
{
    const struct worker_status_params *params = &status->params;
    struct buf *value = &status->value;
    buf_reset(value);
    enum err e = buf_printf(value, "{\"v\":1,\"pipeline\":");
    e = e ? e : buf_append_json_string(value, sv(pipeline_name(params->pipeline)));
    e = e ? e : buf_printf(value, ",\"instance\":");
    e = e ? e : buf_append_json_string(value, sv(status->instance));
    return e ? e
             : buf_printf(value, ",\"run\":%" PRId64 ",\"at\":%" PRId64 ",\"interval_ms\":%" PRId64,
                          status->run, clock_now_ms(), params->interval_ms);
}

/* What was put last, if anything was. */
static enum err slot_append(struct worker_status *status, int index)
{
    struct status_slot *slot = &status->slots[index];
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&slot->lock);
    if (slot->text.len > 0) {
        e = buf_append(&status->value, ",", 1);
        e = e ? e : buf_append_view(&status->value, buf_view(&slot->text));
    }
    (void)pthread_mutex_unlock(&slot->lock);
    return e;
}

static void thread_send(struct worker_status *status, int thread)
{
    char key[KEY_BYTES];
    enum err e = value_begin(status);
    e = e ? e : buf_printf(&status->value, ",\"thread\":%d", thread);
    e = e ? e : slot_append(status, thread);
    e = e ? e : buf_append(&status->value, "}", 1);
    CHECK(e == ERR_OK); /* every part has its bound */
    record_send(status, thread_key(status, thread, key), buf_view(&status->value));
}

static void worker_send(struct worker_status *status)
{
    const struct worker_status_params *params = &status->params;
    atomic_store(&status->slots[params->thread_count].is_new, false); /* it is read behind this */
    enum err e = value_begin(status);
    e = e ? e
          : buf_printf(&status->value,
                       ",\"hash\":\"%016" PRIx64 "\",\"guarantee\":\"%s\",\"threads\":%d,"
                       "\"topology\":",
                       pipeline_hash(params->pipeline), params->guarantee, params->thread_count);
    e = e ? e : buf_append_view(&status->value, buf_view(&status->topology));
    e = e ? e : slot_append(status, params->thread_count);
    e = e ? e : buf_append(&status->value, "}", 1);
    CHECK(e == ERR_OK);
    record_send(status, status->prefix, buf_view(&status->value));
}

/* --- the topic ------------------------------------------------------------------------------------------- */

/* Dead instances that nobody deletes are gone after a day; small segments, since only closed ones are
 * compacted, and every reader begins at the beginning. */
static const struct config_pair topic_settings[] = {
    {"cleanup.policy", "compact,delete"}, {"retention.ms", "86400000"},
    {"segment.bytes", "4194304"},         {"segment.ms", "3600000"},
    {"min.cleanable.dirty.ratio", "0.1"}, {"delete.retention.ms", "3600000"},
};

/* Made when it is missing; whether it is there. */
static bool topic_is_there(struct worker_status *status)
{
    struct kafka_topic_facts facts;
    enum err e = kafka_producer_topic(status->producer, status->params.topic, &facts);
    int64_t now_us = clock_mono_us();
    if (e != ERR_TOPIC_UNKNOWN || now_us - status->ensured_us < ENSURE_AGAIN_US) {
        return e == ERR_OK;
    }
    status->ensured_us = now_us;
    struct err_info info = {0};
    enum kafka_topic_state state = KAFKA_TOPIC_EXISTS;
    e = kafka_topic_ensure(status->params.kafka,
                           &(struct kafka_topic_spec){.name = status->params.topic,
                                                      .partitions = 1,
                                                      .replication = REPLICATION,
                                                      .config = topic_settings,
                                                      .config_count = ARRAY_LEN(topic_settings)},
                           ENSURE_MS, &state, &info);
    if (e) {
        failure_tell(status, e, err_detail(e, &info));
    } else if (state == KAFKA_TOPIC_CREATED) {
        log_event(LOG_INFO, "topic_created", "the status topic was made",
                  KV("topic", status->params.topic));
    }
    return false; /* the producer is told of it by itself */
}

/* --- the thread -------------------------------------------------------------------------------------------- */

static void beat(struct worker_status *status)
{
    size_t records = (size_t)status->params.thread_count + 1;
    kafka_producer_serve(status->producer);
    if (!topic_is_there(status) ||
        kafka_producer_outstanding(status->producer) > BEATS_WAITING * records) {
        return;
    }
    if (status->beats++ % WORKER_BEATS == 0 ||
        atomic_load(&status->slots[status->params.thread_count].is_new)) {
        worker_send(status);
    }
    for (int i = 0; i < status->params.thread_count; i++) {
        thread_send(status, i);
    }
}

static void last_beat(struct worker_status *status)
{
    char key[KEY_BYTES];
    static const struct strview tombstone = {NULL, 0};
    struct kafka_topic_facts facts;
    if (kafka_producer_topic(status->producer, status->params.topic, &facts)) {
        return; /* nobody has heard of this worker */
    }
    for (int i = 0; i < status->params.thread_count; i++) {
        if (status->is_clean) {
            record_send(status, thread_key(status, i, key), tombstone);
        } else {
            thread_send(status, i);
        }
    }
    if (status->is_clean) {
        record_send(status, status->prefix, tombstone);
    }
    int64_t timeout_ms = status->timeout_ms < FLUSH_MS_MAX ? status->timeout_ms : FLUSH_MS_MAX;
    enum err e = kafka_producer_flush(status->producer, timeout_ms);
    if (e) {
        failure_tell(status, e, "the last records were not acknowledged in time");
    }
}

static void serve_until(struct worker_status *status, int64_t until_us)
{
    for (int64_t left_us = 1; left_us > 0 && !atomic_load(&status->is_stopping);) {
        struct pollfd fds[] = {
            {.fd = status->stop_fd, .events = POLLIN},
            {.fd = kafka_producer_fd(status->producer), .events = POLLIN},
        };
        left_us = until_us - clock_mono_us();
        (void)poll(fds, ARRAY_LEN(fds), left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
        kafka_producer_serve(status->producer);
    }
}

/* The producer learns of the cluster first: the first beat is not to be an interval late. */
static void *status_run(void *context)
{
    struct worker_status *status = context;
    struct err_info info = {0};
    const struct kafka_producer_params params = {
        .config = status->params.kafka,
        .role = KAFKA_ROLE_PRODUCER_ACKED,
        .on_reports = on_reports,
        .context = status,
        .label = "status",
    };
    enum err e = kafka_producer_new(&params, &status->producer, &info);
    if (e) {
        failure_tell(status, e, err_detail(e, &info));
        return NULL;
    }
    while (!atomic_load(&status->is_stopping)) {
        int64_t began_us = clock_mono_us();
        bool is_late = status->beats == 0 && !kafka_producer_has_metadata(status->producer);
        beat(status);
        serve_until(status, began_us + (is_late ? 50000 : status->params.interval_ms * 1000));
    }
    last_beat(status);
    kafka_producer_free(status->producer);
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static void status_free(struct worker_status *status)
{
    for (int i = 0; i <= status->params.thread_count; i++) {
        buf_free(&status->slots[i].text);
        (void)pthread_mutex_destroy(&status->slots[i].lock);
    }
    buf_free(&status->value);
    buf_free(&status->topology);
    (void)close(status->stop_fd);
    free(status);
}

struct worker_status *worker_status_start(const struct worker_status_params *params)
{
    struct worker_status *status =
        must_alloc(sizeof *status + ((size_t)params->thread_count + 1) * sizeof *status->slots);
    status->params = *params;
    status->run = clock_now_ms();
    status->ensured_us = -ENSURE_AGAIN_US;
    (void)snprintf(status->instance, sizeof status->instance, "%s", params->instance);
    (void)snprintf(status->prefix, sizeof status->prefix, "%.250s/%s",
                   pipeline_name(params->pipeline), status->instance);
    buf_init(&status->value, VALUE_BYTES_MAX);
    buf_init(&status->topology, STATUS_TEXT_BYTES);
    if (pipeline_explain(params->pipeline, EXPLAIN_JSON, &status->topology)) {
        buf_reset(&status->topology);
        CHECK(buf_append(&status->topology, "null", 4) == ERR_OK); /* too large to be told */
    }
    for (int i = 0; i <= params->thread_count; i++) {
        CHECK(pthread_mutex_init(&status->slots[i].lock, NULL) == 0);
        buf_init(&status->slots[i].text, STATUS_TEXT_BYTES);
    }
    for (int i = 0; i < params->thread_count; i++) {
        worker_status_put(status, i, SV("\"told\":0,\"state\":\"starting\",\"tasks\":[]"));
    }
    status->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int code =
        status->stop_fd < 0 ? errno : pthread_create(&status->thread, NULL, status_run, status);
    if (code) {
        failure_tell(status, ERR_INTERNAL, strerror(code));
        status_free(status);
        return NULL;
    }
    return status;
}

void worker_status_stop(struct worker_status *status, bool is_clean, int64_t timeout_ms)
{
    if (!status) {
        return;
    }
    status->is_clean = is_clean;
    status->timeout_ms = timeout_ms > 0 ? timeout_ms : 0;
    atomic_store(&status->is_stopping, true);
    static const uint64_t one = 1;
    (void)!write(status->stop_fd, &one, sizeof one); /* an eventfd at 0 takes it */
    CHECK(pthread_join(status->thread, NULL) == 0);
    status_free(status);
}
