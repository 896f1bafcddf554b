/* The sink's loop: find partitions, read, append, commit when due. */
#include <poll.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "sink.h"

#define BATCH_MAX              1000
#define POLL_MS                100
#define TOPICS_PERIOD_US       5000000
#define TOPICS_FIRST_PERIOD_US 250000
#define METADATA_TIMEOUT_MS    5000
#define RETRY_US               1000000

struct loop {
    struct sink *sink;
    int32_t partitions[SINK_TOPICS_MAX]; /* already read of each topic */
    int64_t topics_due_us;
    int64_t commit_due_us;
    int64_t retry_us; /* a failed commit is not tried again before this */
};

/* --- topics: those that exist are read; the others, and new partitions, are looked for again -- */

static enum err partitions_add(struct loop *loop, size_t topic, int32_t count,
                               struct err_info *info)
{
    struct sink *sink = loop->sink;
    for (int32_t p = loop->partitions[topic]; p < count; p++) {
        int64_t next = sink_file_position(sink->file, sink->config.topics.items[topic], p);
        const struct kafka_position position = {sink->config.topics.items[topic], p,
                                                next >= 0 ? next : KAFKA_EARLIEST};
        enum err e = kafka_tail_add(sink->tail, &position, 1, info);
        if (e) {
            return e;
        }
        loop->partitions[topic] = p + 1;
    }
    return ERR_OK;
}

static void topics_look(struct loop *loop)
{
    struct sink *sink = loop->sink;
    bool is_complete = true;
    for (size_t i = 0; i < sink->config.topics.count; i++) {
        struct err_info info = {0};
        int32_t count = 0;
        enum err e =
            kafka_topic_partitions(kafka_tail_client(sink->tail), sink->config.topics.items[i],
                                   METADATA_TIMEOUT_MS, &count, &info);
        e = e ? e : partitions_add(loop, i, count, &info);
        if (e) {
            is_complete = false;
            log_event(LOG_DEBUG, "topic_missing", err_detail(e, &info),
                      KV("topic", sink->config.topics.items[i]));
        }
    }
    if (is_complete) {
        atomic_store(&sink->has_partitions, true);
    }
    bool is_ready = atomic_load(&sink->has_partitions);
    loop->topics_due_us = clock_mono_us() + (is_ready ? TOPICS_PERIOD_US : TOPICS_FIRST_PERIOD_US);
}

/* --- commit ----------------------------------------------------------------------------------- */

static void lag_publish(const struct loop *loop)
{
    int64_t lag = 0;
    for (size_t i = 0; i < loop->sink->config.topics.count; i++) {
        for (int32_t p = 0; p < loop->partitions[i]; p++) {
            int64_t next, end;
            kafka_tail_position(loop->sink->tail, loop->sink->config.topics.items[i], p, &next,
                                &end);
            lag += next >= 0 && end > next ? end - next : 0;
        }
    }
    metric_set(loop->sink->lag, (double)lag);
}

static void commit(struct loop *loop)
{
    struct sink *sink = loop->sink;
    struct err_info info = {0};
    size_t bytes = sink_file_pending_bytes(sink->file);
    enum err e = sink_file_commit(sink->file, &info);
    int64_t now_us = clock_mono_us();
    loop->commit_due_us = now_us + sink->config.commit_interval_ms * 1000;
    atomic_store(&sink->is_failing, e != ERR_OK);
    if (e) {
        /* Nothing is lost: the records stay in memory and no more are read. */
        metric_add(sink->failures, 1);
        loop->retry_us = now_us + RETRY_US;
        log_event(LOG_ERROR, "commit_failed", err_detail(e, &info), KV("file", sink->config.file));
        return;
    }
    loop->retry_us = 0;
    metric_add(sink->commits, 1);
    metric_add(sink->bytes, (int64_t)bytes);
    lag_publish(loop);
}

static bool is_full(const struct sink *sink)
{
    return sink_file_pending_bytes(sink->file) >= (size_t)sink->config.commit_bytes;
}

static bool is_commit_due(const struct loop *loop)
{
    const struct sink *sink = loop->sink;
    int64_t now_us = clock_mono_us();
    return sink_file_is_dirty(sink->file) && now_us >= loop->retry_us &&
           (is_full(sink) || now_us >= loop->commit_due_us);
}

/* Whether to go on trying: until a stop is asked for, and then as long as the drain time lasts. */
static bool may_wait(const struct sink *sink)
{
    return !atomic_load(&sink->is_stopping) || service_drain_left_ms(sink->service) > 0;
}

static void commit_or_wait(struct loop *loop)
{
    if (clock_mono_us() >= loop->retry_us) {
        commit(loop);
    } else {
        (void)poll(NULL, 0, POLL_MS); /* cut short by nothing; the loop looks at the time */
    }
}

/* --- records ---------------------------------------------------------------------------------- */

static void record_take(struct loop *loop, const rd_kafka_message_t *message)
{
    struct sink *sink = loop->sink;
    const struct sink_position position = {rd_kafka_topic_name(message->rkt), message->partition,
                                           message->offset + 1};
    if (!message->payload) {
        sink_file_skip(sink->file, &position);
        metric_add(sink->skipped, 1);
        return;
    }
    /* There is room: nothing is taken while commit_bytes or more are pending. */
    CHECK(sink_file_append(sink->file, &position, sv_of(message->payload, message->len)) == ERR_OK);
    metric_add(sink->records, 1);
}

static void records_read(struct loop *loop)
{
    struct sink *sink = loop->sink;
    rd_kafka_message_t *messages[BATCH_MAX];
    size_t count = kafka_tail_poll(sink->tail, messages, BATCH_MAX, POLL_MS);
    if (count && !sink_file_is_dirty(sink->file)) {
        loop->commit_due_us = clock_mono_us() + sink->config.commit_interval_ms * 1000;
    }
    for (size_t i = 0; i < count; i++) {
        while (is_full(sink) && may_wait(sink)) {
            commit_or_wait(loop);
        }
        if (!is_full(sink)) { /* else: given up at the end of the drain; read again next time */
            record_take(loop, messages[i]);
        }
        rd_kafka_message_destroy(messages[i]);
    }
}

void *sink_loop(void *context)
{
    struct loop loop = {.sink = context};
    while (!atomic_load(&loop.sink->is_stopping)) {
        if (clock_mono_us() >= loop.topics_due_us) {
            topics_look(&loop);
        }
        records_read(&loop);
        if (is_commit_due(&loop)) {
            commit(&loop);
        }
    }
    while (sink_file_is_dirty(loop.sink->file) && may_wait(loop.sink)) {
        commit_or_wait(&loop);
    }
    return NULL;
}
