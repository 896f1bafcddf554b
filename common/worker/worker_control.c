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
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "worker/worker_saving.h"

#define ASK_MS         2000
#define ENSURE_MS      3000
#define TRIES_MAX      3   /* of making the topic, where Kafka answers and does not make it */
#define LOOK_SOON_MS   250 /* until the topic is there and read */
#define LOOK_MS        15000
#define SAVING_LOOK_MS 100 /* while a savepoint waits for who takes it */
#define RECORDS_BATCH  100
#define REPLICATION    3
#define SEND_MS        10000

enum control_key { KEY_PAUSE, KEY_HOLD, KEY_SAVEPOINT, KEY_TOLD, CONTROL_KEYS };

struct worker_control {
    struct worker_control_params params;
    char keys[CONTROL_KEYS][CONTROL_KEY_BYTES];
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

static void key_make(enum control_key which, const char *pipeline, char key[CONTROL_KEY_BYTES])
{
    static const char *const ends[] = {
        [KEY_PAUSE] = "",
        [KEY_HOLD] = "/hold",
        [KEY_SAVEPOINT] = "/savepoint",
        [KEY_TOLD] = "/savepoint/told",
    };
    (void)snprintf(key, CONTROL_KEY_BYTES, "%s%s", pipeline, ends[which]);
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

static void pause_take(struct worker_control *control, bool is_paused)
{
    if (is_paused != atomic_exchange(&control->is_paused, is_paused)) {
        log_event(LOG_INFO, is_paused ? "pipeline_paused" : "pipeline_resumed",
                  is_paused ? "the pipeline is to stand still until it is resumed"
                            : "the pipeline is to go on",
                  KV("pipeline", control->params.pipeline));
    }
}

/* A value that is none says that nothing is wanted. */
static void wish_take(struct worker_control *control, enum control_key which, json_t *value)
{
    switch (which) {
    case KEY_PAUSE:
        pause_take(control, json_is_true(json_object_get(value, "paused")));
        break;
    case KEY_HOLD:
        atomic_store(&control->held_until_ms, json_integer_value(json_object_get(value, "until")));
        break;
    case KEY_SAVEPOINT:
        worker_saving_ask(control->params.saving, value);
        break;
    case KEY_TOLD:
        worker_saving_hear(control->params.saving, value);
        break;
    case CONTROL_KEYS: /* another pipeline's */
        break;
    }
}

static void record_take(struct worker_control *control, const rd_kafka_message_t *message)
{
    struct strview key = sv_of(message->key, message->key_len);
    enum control_key which = KEY_PAUSE;
    while (which < CONTROL_KEYS && !sv_equal(key, sv(control->keys[which]))) {
        which++;
    }
    json_t *value = which < CONTROL_KEYS && message->payload
                        ? json_loadb(message->payload, message->len, 0, NULL)
                        : NULL;
    wish_take(control, which, value);
    json_decrefp(&value);
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

static int wait_ms(const struct worker_control *control, int64_t look_us)
{
    int64_t left_us = look_us - clock_mono_us();
    int64_t left_ms = left_us > 0 ? (left_us + 999) / 1000 : 0;
    bool is_short = worker_saving_is_waiting(control->params.saving) && left_ms > SAVING_LOOK_MS;
    return is_short ? SAVING_LOOK_MS : (int)left_ms;
}

static void *control_run(void *context)
{
    struct worker_control *control = context;
    int64_t look_us = 0;
    struct pollfd fds[] = {
        {.fd = control->stop_fd, .events = POLLIN},
        {.fd = kafka_tail_fd(control->tail), .events = POLLIN},
        {.fd = worker_saving_fd(control->params.saving), .events = POLLIN}, /* -1 is passed over */
    };
    do {
        if (clock_mono_us() >= look_us) {
            topic_look(control);
            bool is_soon = !atomic_load(&control->is_known);
            look_us = clock_mono_us() + (is_soon ? LOOK_SOON_MS : LOOK_MS) * 1000;
        }
        (void)poll(fds, ARRAY_LEN(fds), wait_ms(control, look_us));
        records_take(control);
        if (atomic_load(&control->is_known)) {
            worker_saving_step(control->params.saving);
        }
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
    for (enum control_key i = 0; i < CONTROL_KEYS; i++) {
        key_make(i, params->pipeline, control->keys[i]);
    }
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

static const char name_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

bool worker_control_name_is_usable(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < CONTROL_NAME_BYTES && strspn(name, name_characters) == length;
}

void worker_control_name(int64_t now_ms, const char *id, char name[CONTROL_NAME_BYTES])
{
    time_t now = (time_t)(now_ms / 1000);
    struct tm parts;
    size_t length = strftime(name, CONTROL_NAME_BYTES, "%Y%m%dT%H%M%SZ-", gmtime_r(&now, &parts));
    (void)snprintf(name + length, CONTROL_NAME_BYTES - length, "%s", id);
    for (char *c = name + length; *(c += strspn(c, name_characters)) != '\0'; c++) {
        *c = '-';
    }
}

void worker_control_record(const char *pipeline, const struct control_wish *wish,
                           char key[CONTROL_KEY_BYTES], char value[CONTROL_VALUE_BYTES])
{
    if (wish->savepoint) {
        CHECK(worker_control_name_is_usable(wish->savepoint));
        key_make(KEY_SAVEPOINT, pipeline, key);
        (void)snprintf(value, CONTROL_VALUE_BYTES,
                       "{\"v\":1,\"name\":\"%s\",\"at\":%" PRId64 ",\"until\":%" PRId64 "}",
                       wish->savepoint, clock_now_ms(), wish->until_ms);
    } else if (wish->is_hold) {
        key_make(KEY_HOLD, pipeline, key);
        (void)snprintf(value, CONTROL_VALUE_BYTES, "{\"v\":1,\"until\":%" PRId64 "}",
                       wish->until_ms);
    } else {
        key_make(KEY_PAUSE, pipeline, key);
        (void)snprintf(value, CONTROL_VALUE_BYTES, "{\"v\":1,\"paused\":%s,\"at\":%" PRId64 "}",
                       wish->is_paused ? "true" : "false", clock_now_ms());
    }
}

static enum err record_put(const struct worker_control_params *params, const char *key,
                           const char *value, struct err_info *info)
{
    enum err reported = ERR_OK;
    struct kafka_producer *producer = NULL;
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

enum err worker_control_wish(const struct worker_control_params *params,
                             const struct control_wish *wish, struct err_info *info)
{
    char key[CONTROL_KEY_BYTES], value[CONTROL_VALUE_BYTES];
    worker_control_record(params->pipeline, wish, key, value);
    return record_put(params, key, value, info);
}

enum err worker_control_tell(const struct worker_control_params *params, const char *value,
                             struct err_info *info)
{
    char key[CONTROL_KEY_BYTES];
    key_make(KEY_TOLD, params->pipeline, key);
    return record_put(params, key, value, info);
}
