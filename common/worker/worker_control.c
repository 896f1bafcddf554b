#include "worker/worker_control.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"

#define ASK_MS        2000
#define ENSURE_MS     3000
#define TRIES_MAX     3   /* of making the topic, where Kafka answers and does not make it */
#define LOOK_SOON_MS  250 /* until the topic is there and read */
#define LOOK_MS       15000
#define RECORDS_BATCH 100
#define REPLICATION   3
#define SEND_MS       10000

struct worker_control {
    struct worker_control_params params;
    char pause_key[CONTROL_KEY_BYTES], hold_key[CONTROL_KEY_BYTES];
    pthread_t thread;
    int stop_fd; /* eventfd, readable from stop on */
    struct kafka_tail *tail;
    /* The thread's own. */
    bool is_there, is_marked, is_told;
    int tries;
    /* What was heard. */
    atomic_bool is_known, is_paused;
    _Atomic int64_t held_until_ms;
};

static const char *pause_key(const char *pipeline, char key[CONTROL_KEY_BYTES])
{
    (void)snprintf(key, CONTROL_KEY_BYTES, "%s", pipeline);
    return key;
}

static const char *hold_key(const char *pipeline, char key[CONTROL_KEY_BYTES])
{
    (void)snprintf(key, CONTROL_KEY_BYTES, "%s/hold", pipeline);
    return key;
}

/* --- the topic ------------------------------------------------------------------------------------------- */

/* Small segments: every worker that starts reads it from its beginning. */
static const struct config_pair topic_settings[] = {
    {"cleanup.policy", "compact"},
    {"segment.bytes", "1048576"},
    {"min.cleanable.dirty.ratio", "0.1"},
};

static enum err topic_ensure(const struct worker_control_params *params, struct err_info *info)
{
    enum kafka_topic_state state = KAFKA_TOPIC_EXISTS;
    enum err e =
        kafka_topic_ensure(params->kafka,
                           &(struct kafka_topic_spec){.name = params->topic,
                                                      .partitions = 1,
                                                      .replication = REPLICATION,
                                                      .config = topic_settings,
                                                      .config_count = ARRAY_LEN(topic_settings)},
                           ENSURE_MS, &state, info);
    if (!e && state == KAFKA_TOPIC_CREATED) {
        log_event(LOG_INFO, "topic_created", "the control topic was made",
                  KV("topic", params->topic));
    }
    return e;
}

/* --- what is heard --------------------------------------------------------------------------------------- */

/* The member of the record's value; 0 where it has none. */
static int64_t number_of(const rd_kafka_message_t *message, const char *name)
{
    json_t *value = message->payload ? json_loadb(message->payload, message->len, 0, NULL) : NULL;
    const json_t *member = json_object_get(value, name);
    int64_t number = json_is_true(member) ? 1 : json_integer_value(member);
    json_decrefp(&value);
    return number;
}

static void record_take(struct worker_control *control, const rd_kafka_message_t *message)
{
    struct strview key = sv_of(message->key, message->key_len);
    if (sv_equal(key, sv(control->pause_key))) {
        bool is_paused = number_of(message, "paused") != 0;
        if (is_paused != atomic_exchange(&control->is_paused, is_paused)) {
            log_event(LOG_INFO, is_paused ? "pipeline_paused" : "pipeline_resumed",
                      is_paused ? "the pipeline is to stand still until it is resumed"
                                : "the pipeline is to go on",
                      KV("pipeline", control->params.pipeline));
        }
    } else if (sv_equal(key, sv(control->hold_key))) {
        atomic_store(&control->held_until_ms, number_of(message, "until"));
    }
}

static void records_take(struct worker_control *control)
{
    rd_kafka_message_t *messages[RECORDS_BATCH];
    size_t count = kafka_tail_poll(control->tail, messages, RECORDS_BATCH, 0);
    for (size_t i = 0; i < count; i++) {
        record_take(control, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    if (control->is_marked && kafka_tail_is_caught_up(control->tail)) {
        atomic_store(&control->is_known, true);
    }
}

/* What keeps from reading what is there is waited for. Only where nothing is there, and nothing can be
 * made, nobody can have said anything. */
static void topic_look(struct worker_control *control)
{
    const struct worker_control_params *params = &control->params;
    struct err_info info = {0};
    int32_t count = 0;
    if (control->is_marked) {
        return;
    }
    enum err e = kafka_topic_partitions(kafka_tail_client(control->tail), params->topic, ASK_MS,
                                        &count, &info);
    if (e == ERR_TOPIC_UNKNOWN) {
        e = topic_ensure(params, &info);
        if (e && (!err_is_retriable(e) || ++control->tries >= TRIES_MAX)) {
            atomic_store(&control->is_known, true);
        }
    }
    if (!e && !control->is_there) {
        struct kafka_position start = {params->topic, 0, KAFKA_EARLIEST};
        e = kafka_tail_add(control->tail, &start, 1, &info);
        control->is_there = !e;
    }
    e = e ? e : kafka_tail_mark_end(control->tail, ASK_MS, &info);
    control->is_marked = !e;
    if (e && !control->is_told) {
        log_event(LOG_WARN, "control_unheard", "the pipeline cannot be paused: it is not heard",
                  KV("why", err_detail(e, &info)), KV("topic", params->topic),
                  KV("err", err_name(e)));
        control->is_told = true;
    }
}

static void *control_run(void *context)
{
    struct worker_control *control = context;
    int64_t look_us = 0;
    struct pollfd fds[] = {
        {.fd = control->stop_fd, .events = POLLIN},
        {.fd = kafka_tail_fd(control->tail), .events = POLLIN},
    };
    do {
        if (clock_mono_us() >= look_us) {
            topic_look(control);
            bool is_soon = !atomic_load(&control->is_known);
            look_us = clock_mono_us() + (is_soon ? LOOK_SOON_MS : LOOK_MS) * 1000;
        }
        int64_t left_us = look_us - clock_mono_us();
        (void)poll(fds, ARRAY_LEN(fds), left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
        records_take(control);
    } while (!(fds[0].revents & POLLIN));
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------- */

static void control_free(struct worker_control *control)
{
    kafka_tail_free(control->tail);
    if (control->stop_fd >= 0) {
        (void)close(control->stop_fd);
    }
    free(control);
}

enum err worker_control_start(const struct worker_control_params *params,
                              struct worker_control **ret, struct err_info *info)
{
    struct worker_control *control = must_alloc(sizeof *control);
    control->params = *params;
    (void)pause_key(params->pipeline, control->pause_key);
    (void)hold_key(params->pipeline, control->hold_key);
    control->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err e =
        kafka_tail_new(&(struct kafka_tail_params){.config = params->kafka, .label = "control"},
                       &control->tail, info);
    int code = e ? 0
               : control->stop_fd < 0
                   ? errno
                   : pthread_create(&control->thread, NULL, control_run, control);
    if (e || code) {
        control_free(control);
        return e ? e
                 : err_set(info, ERR_INTERNAL, "starting the control thread: %s", strerror(code));
    }
    *ret = control;
    return ERR_OK;
}

void worker_control_stop(struct worker_control *control)
{
    if (control) {
        static const uint64_t one = 1;
        (void)!write(control->stop_fd, &one, sizeof one); /* an eventfd at 0 takes it */
        CHECK(pthread_join(control->thread, NULL) == 0);
        control_free(control);
    }
}

bool worker_control_is_known(const struct worker_control *control)
{
    return !control || atomic_load_explicit(&control->is_known, memory_order_acquire);
}

bool worker_control_is_paused(const struct worker_control *control)
{
    if (!control) {
        return false;
    }
    int64_t until_ms = atomic_load_explicit(&control->held_until_ms, memory_order_relaxed);
    return atomic_load_explicit(&control->is_paused, memory_order_relaxed) ||
           (until_ms > 0 && clock_now_ms() < until_ms);
}

/* --- wishes ------------------------------------------------------------------------------------------------- */

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    enum err *ret = context;
    for (size_t i = 0; i < count; i++) {
        *ret = reports[i].err;
    }
}

static enum err record_send(struct kafka_producer *producer, const struct kafka_record *record,
                            const enum err *reported, struct err_info *info)
{
    enum err e = kafka_producer_await_metadata(producer, SEND_MS, info);
    e = e ? e : kafka_producer_send(producer, record, info);
    e = e ? e : kafka_producer_flush(producer, SEND_MS);
    e = e ? e : *reported;
    return e && info && !info->text[0]
               ? err_set(info, e, "topic %s: %s", record->topic, err_title(e))
               : e;
}

void worker_control_record(const char *pipeline, const struct control_wish *wish,
                           char key[CONTROL_KEY_BYTES], char value[CONTROL_VALUE_BYTES])
{
    if (wish->is_hold) {
        (void)hold_key(pipeline, key);
        (void)snprintf(value, CONTROL_VALUE_BYTES, "{\"v\":1,\"until\":%" PRId64 "}",
                       wish->until_ms);
    } else {
        (void)pause_key(pipeline, key);
        (void)snprintf(value, CONTROL_VALUE_BYTES, "{\"v\":1,\"paused\":%s,\"at\":%" PRId64 "}",
                       wish->is_paused ? "true" : "false", clock_now_ms());
    }
}

enum err worker_control_wish(const struct worker_control_params *params,
                             const struct control_wish *wish, struct err_info *info)
{
    char key[CONTROL_KEY_BYTES], value[CONTROL_VALUE_BYTES];
    enum err reported = ERR_OK;
    struct kafka_producer *producer = NULL;
    worker_control_record(params->pipeline, wish, key, value);
    const struct kafka_record record = {
        .topic = params->topic, .partition = 0, .key = sv(key), .value = sv(value)};
    enum err e = topic_ensure(params, info);
    e = e ? e
          : kafka_producer_new(&(struct kafka_producer_params){.config = params->kafka,
                                                               .role = KAFKA_ROLE_PRODUCER_ACKED,
                                                               .on_reports = on_reports,
                                                               .context = &reported,
                                                               .label = "control"},
                               &producer, info);
    e = e ? e : record_send(producer, &record, &reported, info);
    kafka_producer_free(producer);
    return e;
}
