#include "once_log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "once_record.h"

#define BATCH_MAX        1000
#define TURN_MS          200
#define TOPIC_TIMEOUT_MS 5000
#define RETRY_MS         500
#define PARTITIONS_MAX   1024
#define RECORD_BYTES_MAX ((size_t)1 << 20)
#define SEGMENTS         24 /* a window in so many, so that retention is not much longer than it */

/* A record on its way. */
struct writing {
    struct writing *next;
    struct once_ticket ticket;
    enum once_kind kind;
    size_t key_bytes, value_bytes;
    char bytes[]; /* key, value */
};

struct once_log {
    struct once_log_params params;
    struct kafka_producer *producer;
    struct kafka_tail *tail; /* NULL: the topic is not there yet */
    bool is_loaded;
    pthread_t thread;
    int wake_fd;
    atomic_bool is_stopping;
    int64_t flush_ms;
    pthread_mutex_t lock; /* of what follows; the last one taken */
    struct writing *first, **end;
};

/* --- writing ------------------------------------------------------------------------------------ */

void once_log_write(struct once_log *log, const struct once_record *record,
                    const struct once_ticket *ticket)
{
    struct buf value;
    buf_init(&value, RECORD_BYTES_MAX);
    CHECK(once_record_write(record, &value) == ERR_OK); /* outcomes are bounded below that */
    struct writing *writing = must_alloc(sizeof *writing + record->key.len + value.len);
    writing->ticket = *ticket;
    writing->kind = record->kind;
    writing->key_bytes = record->key.len;
    writing->value_bytes = value.len;
    memcpy(writing->bytes, record->key.ptr, record->key.len);
    memcpy(writing->bytes + record->key.len, value.data, value.len);
    buf_free(&value);
    (void)pthread_mutex_lock(&log->lock);
    *log->end = writing;
    log->end = &writing->next;
    (void)pthread_mutex_unlock(&log->lock);
    static const uint64_t one = 1;
    (void)!write(log->wake_fd, &one, sizeof one);
}

static void writing_failed(struct once_log *log, struct writing *writing, const char *why)
{
    log_event(LOG_WARN, "idempotency_log_unwritten", "a record of the claim log was not written",
              KV("topic", log->params.topic), KV("reason", why));
    log->params.on_unwritten(log->params.context, &writing->ticket, writing->kind);
}

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct once_log *log = context;
    for (size_t i = 0; i < count; i++) {
        struct writing *writing = reports[i].opaque;
        if (reports[i].err) {
            writing_failed(log, writing, reports[i].reason);
        }
        free(writing);
    }
}

static void writings_send(struct once_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    struct writing *next = TAKE(log->first);
    log->end = &log->first;
    (void)pthread_mutex_unlock(&log->lock);
    while (next) {
        struct writing *writing = next;
        next = writing->next;
        const struct kafka_record record = {
            .topic = log->params.topic,
            .partition = -1,
            .key = {writing->bytes, writing->key_bytes},
            .value = {writing->bytes + writing->key_bytes, writing->value_bytes},
            .opaque = writing,
        };
        struct err_info info = {0};
        if (kafka_producer_send(log->producer, &record, &info)) {
            writing_failed(log, writing, info.text);
            free(writing);
        }
    }
}

/* --- reading ------------------------------------------------------------------------------------ */

static void message_take(struct once_log *log, const rd_kafka_message_t *message)
{
    struct once_record record;
    rd_kafka_timestamp_type_t type;
    if (!once_record_read(sv_of(message->key, message->key_len),
                          sv_of(message->payload, message->len), &record)) {
        log_event(LOG_WARN, "idempotency_log_unreadable", "a record of the claim log is skipped",
                  KV("topic", log->params.topic), KV("partition", message->partition),
                  KV("offset", message->offset));
        return;
    }
    log->params.on_record(log->params.context, &record, message->offset,
                          rd_kafka_message_timestamp(message, &type));
}

static void records_read(struct once_log *log)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    const size_t count = kafka_tail_poll(log->tail, messages, BATCH_MAX, 0);
    for (size_t i = 0; i < count; i++) {
        message_take(log, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    if (!log->is_loaded && kafka_tail_is_caught_up(log->tail)) {
        log->is_loaded = true;
        log->params.on_loaded(log->params.context);
    }
}

/* --- the topic ---------------------------------------------------------------------------------- */

static enum err topic_ensure(struct once_log *log, struct err_info *info)
{
    char retention[24], segment[24];
    const int64_t window_ms = log->params.window_ms;
    (void)snprintf(retention, sizeof retention, "%lld", (long long)window_ms);
    (void)snprintf(segment, sizeof segment, "%lld",
                   (long long)(window_ms / SEGMENTS < 60000 ? 60000 : window_ms / SEGMENTS));
    /* Not compacted: of a key's records compaction would keep the last, which may be a claim that
     * lost, without the outcome that it lost to. */
    const struct config_pair config[] = {
        {"cleanup.policy", "delete"}, {"retention.ms", retention}, {"segment.ms", segment}};
    const struct kafka_topic_spec spec = {
        .name = log->params.topic,
        .partitions = (int32_t)log->params.partitions,
        .replication = (int32_t)log->params.replication,
        .config = config,
        .config_count = ARRAY_LEN(config),
    };
    enum kafka_topic_state state;
    return kafka_topic_ensure(log->params.kafka, &spec, TOPIC_TIMEOUT_MS, &state, info);
}

static enum err tail_open(struct once_log *log, struct kafka_tail **ret, struct err_info *info)
{
    const struct kafka_tail_params params = {
        .config = log->params.kafka, .read_uncommitted = true, .label = "idempotency"};
    struct kafka_position positions[PARTITIONS_MAX];
    struct kafka_tail *tail = NULL;
    int32_t count = 0;
    enum err e = kafka_tail_new(&params, &tail, info);
    if (!e) {
        e = kafka_topic_partitions(kafka_tail_client(tail), log->params.topic, TOPIC_TIMEOUT_MS,
                                   &count, info);
    }
    if (!e && count > PARTITIONS_MAX) {
        e = err_set(info, ERR_LIMIT, "topic %s has %d partitions, at most %d are read",
                    log->params.topic, count, PARTITIONS_MAX);
    }
    for (int32_t p = 0; p < count && !e; p++) {
        positions[p] = (struct kafka_position){log->params.topic, p, KAFKA_EARLIEST};
    }
    if (!e) {
        e = kafka_tail_add(tail, positions, (size_t)count, info);
    }
    if (!e) {
        e = kafka_tail_mark_end(tail, TOPIC_TIMEOUT_MS, info);
    }
    if (e) {
        kafka_tail_free(tail);
        return e;
    }
    *ret = tail;
    return ERR_OK;
}

static void wait_ms(const struct once_log *log, int64_t ms)
{
    struct pollfd wake = {.fd = log->wake_fd, .events = POLLIN};
    (void)poll(&wake, 1, (int)ms);
}

static void topic_open(struct once_log *log)
{
    struct err_info info = {0};
    enum err e = topic_ensure(log, &info);
    if (!e) {
        e = tail_open(log, &log->tail, &info);
    }
    if (e) {
        log_event(LOG_WARN, "idempotency_log_unavailable", info.text,
                  KV("topic", log->params.topic), KV("error", err_name(e)));
        wait_ms(log, RETRY_MS);
    }
}

/* --- the thread --------------------------------------------------------------------------------- */

static void turn(struct once_log *log)
{
    struct pollfd fds[] = {
        {.fd = log->wake_fd, .events = POLLIN},
        {.fd = kafka_producer_fd(log->producer), .events = POLLIN},
        {.fd = kafka_tail_fd(log->tail), .events = POLLIN},
    };
    (void)poll(fds, ARRAY_LEN(fds), TURN_MS);
    uint64_t ignored;
    (void)!read(log->wake_fd, &ignored, sizeof ignored);
    writings_send(log);
    kafka_producer_serve(log->producer);
    records_read(log);
}

static void *log_run(void *context)
{
    struct once_log *log = context;
    while (!atomic_load(&log->is_stopping)) {
        if (log->tail) {
            turn(log);
        } else {
            topic_open(log);
        }
    }
    writings_send(log);
    if (kafka_producer_flush(log->producer, log->flush_ms)) {
        log_event(LOG_WARN, "idempotency_log_unwritten", "records were given up at the end",
                  KV("count", kafka_producer_outstanding(log->producer)));
    }
    return NULL;
}

enum err once_log_start(const struct once_log_params *params, struct once_log **ret,
                        struct err_info *info)
{
    struct once_log *log = must_alloc(sizeof *log);
    log->params = *params;
    log->end = &log->first;
    (void)pthread_mutex_init(&log->lock, NULL);
    const struct kafka_producer_params producer = {
        .config = params->kafka,
        .role = KAFKA_ROLE_PRODUCER_ACKED,
        .on_reports = on_reports,
        .context = log,
        .label = "idempotency",
        .directory = params->directory,
    };
    log->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err e = log->wake_fd < 0 ? err_set(info, ERR_IO, "eventfd: %s", strerror(errno)) : ERR_OK;
    if (!e) {
        e = kafka_producer_new(&producer, &log->producer, info);
    }
    if (e) {
        if (log->wake_fd >= 0) {
            (void)close(log->wake_fd);
        }
        (void)pthread_mutex_destroy(&log->lock);
        free(log);
        return e;
    }
    *ret = log; /* the callbacks may use it */
    CHECK(pthread_create(&log->thread, NULL, log_run, log) == 0);
    return ERR_OK;
}

void once_log_stop(struct once_log *log, int64_t flush_ms)
{
    if (!log) {
        return;
    }
    static const uint64_t one = 1;
    log->flush_ms = flush_ms;
    atomic_store(&log->is_stopping, true);
    (void)!write(log->wake_fd, &one, sizeof one);
    CHECK(pthread_join(log->thread, NULL) == 0);
    kafka_producer_free(log->producer);
    kafka_tail_free(log->tail);
    (void)close(log->wake_fd);
    (void)pthread_mutex_destroy(&log->lock);
    free(log);
}
