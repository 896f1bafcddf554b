#include "history_writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "finder.h"
#include "history_topic.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "row_marker.h"

#define BATCH_MAX        1000
#define POLL_MS          50
#define FETCH_WAIT_MS    100
#define REVIEW_PERIOD_US 1000000
#define RETRY_US_MIN     250000
#define RETRY_US_MAX     10000000

enum { WRITTEN, EXPIRED, LAG, UP, ERRORS };
static struct metric families[] = {
    [WRITTEN] = {"millrace_query_history_stored_total", METRIC_COUNTER,
                 "Records written to PostgreSQL, tombstones too.", "topic"},
    [EXPIRED] = {"millrace_query_history_stored_expired_total", METRIC_COUNTER,
                 "Rows deleted in PostgreSQL as older than query.history.postgres.retention, or of "
                 "a topic made anew.",
                 "topic"},
    [LAG] = {"millrace_query_history_stored_lag_records", METRIC_GAUGE,
             "Records in Kafka that are not in PostgreSQL yet, at the replica that writes the "
             "topic; steady growth: the database is too slow, or away.",
             "topic"},
    [UP] = {"millrace_query_history_store_up", METRIC_GAUGE,
            "1 while there is a session with PostgreSQL, else 0: what only it holds is not "
            "answered; see the log for history_store_away.",
            NULL},
    [ERRORS] = {"millrace_query_history_store_errors_total", METRIC_COUNTER,
                "Sessions with PostgreSQL that failed or could not begin.", NULL},
};
METRICS_TABLE(families)

struct history_writer {
    struct history_store_params params;
    struct history_shared *shared;
    struct history_topic *topics;
    struct strview *names; /* the finder's */
    size_t topic_count;
    struct finder *finder;
    struct kafka_tail *tail;
    struct frame_maker maker;
    struct row_marker *marker;
    struct history_session session;
    int64_t review_due_us, retry_due_us, retry_us;
    struct metric_series *up, *errors;
    bool is_running;
    pthread_t thread;
};

/* --- a session ----------------------------------------------------------------------------------------- */

static void topic_release(struct history_writer *writer, struct history_topic *topic)
{
    for (size_t p = 0; topic->is_mine && p < topic->count; p++) {
        kafka_tail_remove(writer->tail, topic->name.ptr, (int32_t)p);
    }
    history_batch_reset(&topic->batch);
    topic->batch_records = 0;
    topic->is_mine = false;
    topic->id = 0;
}

/* What is under way is undone, or done: the next session finds out by the positions. */
static void session_end(struct history_writer *writer, enum err err, const struct err_info *info)
{
    if (!atomic_load(&writer->shared->is_ending)) {
        log_event(LOG_WARN, "history_store_away", err_detail(err, info),
                  KV("retry_ms", writer->retry_us / 1000));
        metric_add(writer->errors, 1);
    }
    atomic_store(&writer->shared->is_away, true);
    metric_set(writer->up, 0);
    pg_close(TAKE(writer->session.pg));
    for (size_t i = 0; i < writer->topic_count; i++) {
        topic_release(writer, &writer->topics[i]);
    }
    writer->retry_due_us = clock_mono_us() + writer->retry_us;
    writer->retry_us = writer->retry_us * 2 < RETRY_US_MAX ? writer->retry_us * 2 : RETRY_US_MAX;
}

static void session_try(struct history_writer *writer)
{
    struct err_info info = {0};
    int64_t deadline_us = clock_mono_us() + writer->session.timeout_ms * 1000;
    enum err e = pg_open(&writer->shared->pg, deadline_us, &writer->session.pg, &info);
    e = e ? e : history_tables_begin(&writer->session, &info);
    if (e) {
        session_end(writer, e, &info);
        return;
    }
    log_event(LOG_INFO, "history_store_here", "PostgreSQL keeps the histories",
              KV("topics", writer->topic_count));
    atomic_store(&writer->shared->is_away, false);
    metric_set(writer->up, 1);
    writer->review_due_us = 0;
}

/* --- topics ---------------------------------------------------------------------------------------------- */

static void topic_remade(struct history_writer *writer, struct history_topic *topic, uint32_t epoch)
{
    topic_release(writer, topic);
    topic->count = topic->whole = 0;
    topic->epoch = epoch;
    topic->is_begun = topic->is_told = topic->is_torn = false;
}

static void partition_found(struct history_writer *writer, struct history_topic *topic,
                            const struct finder_found *found)
{
    CHECK((size_t)found->partition == topic->count);
    topic_release(writer, topic); /* it is taken up again with all of its partitions */
    topic->partitions =
        must_realloc(topic->partitions, (topic->count + 1) * sizeof *topic->partitions);
    topic->partitions[topic->count++] =
        (struct history_partition){.low = found->low, .next = -1, .read = -1, .cut_at = -1};
    topic->whole = (size_t)found->partition_count;
    topic->epoch = found->epoch;
    topic->is_begun = false;
}

static void found_take(struct history_writer *writer)
{
    struct finder_found found;
    while (finder_take(writer->finder, &found)) {
        struct history_topic *topic = &writer->topics[found.topic];
        if (found.partition == FINDER_REMADE) {
            topic_remade(writer, topic, found.epoch);
        } else if (found.partition != FINDER_MISSING) {
            partition_found(writer, topic, &found);
        }
        writer->review_due_us = 0;
    }
}

static enum err topic_read(struct history_writer *writer, struct history_topic *topic,
                           struct err_info *info)
{
    struct kafka_position *positions = must_alloc(topic->count * sizeof *positions);
    for (size_t p = 0; p < topic->count; p++) {
        struct history_partition *partition = &topic->partitions[p];
        partition->read = partition->next;
        positions[p] = (struct kafka_position){topic->name.ptr, (int32_t)p, partition->next};
    }
    enum err e = kafka_tail_add(writer->tail, positions, topic->count, info);
    free(positions);
    topic->is_mine = !e;
    return e;
}

static enum err topic_claim(struct history_writer *writer, struct history_topic *topic,
                            struct err_info *info)
{
    bool is_locked = false;
    enum err e = history_topic_claim(&writer->session, topic, &is_locked, info);
    if (e || !is_locked) {
        return e;
    }
    log_event(LOG_INFO, "history_store_writes", "this replica writes the topic's history",
              KV("topic", topic->name), KV("partitions", topic->count));
    return topic_read(writer, topic, info);
}

/* --- reading Kafka ---------------------------------------------------------------------------------------- */

static struct history_topic *topic_named(struct history_writer *writer, const char *name)
{
    for (size_t i = 0; i < writer->topic_count; i++) {
        if (strcmp(writer->topics[i].name.ptr, name) == 0) {
            return &writer->topics[i];
        }
    }
    return NULL;
}

/* Retention has passed what was to be read, or the log is shorter than what is written of it. */
static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct history_topic *topic = topic_named(context, at->topic);
    if (!topic || !topic->is_mine || (size_t)at->partition >= topic->count) {
        return;
    }
    struct history_partition *partition = &topic->partitions[at->partition];
    log_event(LOG_WARN, "history_store_gap", "the history in PostgreSQL is missing records",
              KV("topic", topic->name), KV("partition", at->partition), KV("from", from),
              KV("to", to));
    topic->is_torn = true;
    partition->read = at->offset;
    if (at->offset < to) {
        partition->cut_at = at->offset;
    }
}

static void message_take(struct history_writer *writer, const rd_kafka_message_t *message)
{
    struct history_topic *topic = topic_named(writer, rd_kafka_topic_name(message->rkt));
    CHECK(topic && topic->is_mine && (size_t)message->partition < topic->count);
    struct history_partition *partition = &topic->partitions[message->partition];
    if (message->offset < partition->read) {
        return; /* fetched before it was assigned anew */
    }
    partition->read = message->offset + 1;
    struct frame *frame = frame_of_message(&writer->maker, message, 0, (struct strview){0}, 0);
    struct row_mark mark = {0};
    if (frame->kind == FRAME_RECORD) {
        mark = row_marker_mark(writer->marker, frame);
    }
    history_batch_add(&topic->batch, &mark, frame);
    frame_unref(frame);
    topic->batch_records++;
}

/* Past transaction markers and holes, too. */
static void positions_settle(struct history_writer *writer, struct history_topic *topic)
{
    int64_t lag = 0;
    for (size_t p = 0; p < topic->count; p++) {
        int64_t next, end;
        struct history_partition *partition = &topic->partitions[p];
        kafka_tail_position(writer->tail, topic->name.ptr, (int32_t)p, &next, &end);
        partition->read = next > partition->read ? next : partition->read;
        lag += end > partition->read ? end - partition->read : 0;
    }
    metric_set(topic->lag, (double)lag);
}

static enum err records_write(struct history_writer *writer, struct err_info *info)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    /* The batch call waits until it has all it may take: it is not to be asked before there is something. */
    struct pollfd records = {.fd = kafka_tail_fd(writer->tail), .events = POLLIN};
    (void)poll(&records, 1, POLL_MS);
    size_t count = kafka_tail_poll(writer->tail, messages, BATCH_MAX, 0);
    for (size_t i = 0; i < count; i++) {
        message_take(writer, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < writer->topic_count && !e && writer->session.pg; i++) {
        struct history_topic *topic = &writer->topics[i];
        if (topic->is_mine) {
            positions_settle(writer, topic);
            e = history_topic_has_news(topic) ? history_topic_write(&writer->session, topic, info)
                                              : ERR_OK;
        }
    }
    return e;
}

/* --- now and then ------------------------------------------------------------------------------------------- */

static enum err topic_review(struct history_writer *writer, struct history_topic *topic,
                             bool *ret_has_more, struct err_info *info)
{
    enum err e = ERR_OK;
    if (topic->id == 0) {
        e = history_topic_register(&writer->session, topic, info);
    }
    if (e || topic->id == 0) {
        return e;
    }
    if (!topic->is_mine) {
        e = topic_claim(writer, topic, info);
    }
    return e ? e : history_topic_review(&writer->session, topic, ret_has_more, info);
}

static enum err topics_review(struct history_writer *writer, struct err_info *info)
{
    bool has_more = false;
    enum err e = ERR_OK;
    for (size_t i = 0; i < writer->topic_count && !e; i++) {
        struct history_topic *topic = &writer->topics[i];
        if (topic->whole && topic->count == topic->whole) {
            e = topic_review(writer, topic, &has_more, info);
        }
    }
    writer->retry_us = e ? writer->retry_us : RETRY_US_MIN;
    writer->review_due_us = has_more ? 0 : clock_mono_us() + REVIEW_PERIOD_US;
    return e;
}

static void *writer_run(void *context)
{
    struct history_writer *writer = context;
    while (!atomic_load(&writer->shared->is_ending)) {
        struct err_info info = {0};
        found_take(writer);
        if (!writer->session.pg && clock_mono_us() >= writer->retry_due_us) {
            session_try(writer);
        }
        enum err e = records_write(writer, &info);
        if (!e && writer->session.pg && clock_mono_us() >= writer->review_due_us) {
            e = topics_review(writer, &info);
        }
        if (e) {
            session_end(writer, e, &info);
        }
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------- */

void history_writer_free(struct history_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->is_running) {
        CHECK(pthread_join(writer->thread, NULL) == 0);
    }
    finder_stop(writer->finder);
    for (size_t i = 0; i < writer->topic_count; i++) {
        history_batch_reset(&writer->topics[i].batch);
        free(writer->topics[i].partitions);
    }
    pg_close(writer->session.pg);
    kafka_tail_free(writer->tail);
    frame_maker_free(&writer->maker);
    row_marker_free(writer->marker);
    pg_params_free(&writer->session.values);
    free(writer->topics);
    free(writer->names);
    free(writer);
}

static void topics_take(struct history_writer *writer)
{
    const struct history_store_params *params = &writer->params;
    writer->topics = must_alloc((params->topic_count + 1) * sizeof *writer->topics);
    writer->names = must_alloc((params->topic_count + 1) * sizeof *writer->names);
    for (size_t i = 0; i < params->topic_count; i++) {
        if (params->history[i]) {
            struct history_topic *topic = &writer->topics[writer->topic_count];
            const char *name = params->topics[i].ptr;
            *topic = (struct history_topic){.name = params->topics[i],
                                            .history = params->history[i],
                                            .written = METRIC(families[WRITTEN], name),
                                            .expired = METRIC(families[EXPIRED], name),
                                            .lag = METRIC(families[LAG], name),
                                            .floor_ms = INT64_MIN};
            history_batch_init(&topic->batch);
            writer->names[writer->topic_count++] = params->topics[i];
        }
    }
}

enum err history_writer_start(const struct history_store_params *params,
                              struct history_shared *shared, struct history_writer **ret,
                              struct err_info *info)
{
    struct history_writer *writer = must_alloc(sizeof *writer);
    writer->params = *params;
    writer->shared = shared;
    writer->retry_us = RETRY_US_MIN;
    writer->session.timeout_ms = params->config->timeout_ms;
    writer->session.retention_ms = params->config->retention_ms;
    writer->up = METRIC(families[UP], NULL);
    writer->errors = METRIC(families[ERRORS], NULL);
    pg_params_init(&writer->session.values);
    frame_maker_init(&writer->maker, NULL);
    topics_take(writer);
    const struct kafka_tail_params tail = {.config = params->kafka,
                                           .fetch_wait_ms = FETCH_WAIT_MS,
                                           .on_gap = on_gap,
                                           .context = writer,
                                           .label = "history"};
    enum err e = row_marker_new(params->window_start, params->window_end, &writer->marker, info);
    e = e ? e : kafka_tail_new(&tail, &writer->tail, info);
    e = e ? e
          : finder_start(params->kafka, writer->names, writer->topic_count, &writer->finder, info);
    if (e) {
        history_writer_free(writer);
        return e;
    }
    CHECK(pthread_create(&writer->thread, NULL, writer_run, writer) == 0);
    writer->is_running = true;
    *ret = writer;
    return ERR_OK;
}
