#include "reader.h"

#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "cursor.h"
#include "finder.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "query_metrics.h"

#define BATCH_MAX        2000
#define POLL_MS          50
#define GATHER_US_MAX    50000
#define ASSIGN_MAX       1024 /* partitions at once */
#define REVIEW_PERIOD_US 100000
#define CUT_WAIT_US      15000000 /* several looks of the finder */

struct topic {
    struct strview name;
    int64_t *next; /* by partition: what is in the frames' ids */
    int64_t *goal; /* the partitions' ends when they were found */
    struct frame_start *starts;
    int32_t partition_count, capacity;
    bool is_live;
    bool is_told; /* what the shards know is up to date */
    uint32_t epoch;
    int64_t cut_us; /* since when the log has been shorter than what was read of it; 0: it is not */
    struct buf cursor;
    atomic_int state; /* enum reader_topic */
    _Atomic int64_t lag;
    int64_t evicted; /* from its history, as counted */
};

/* A partition that was let go of: what it waits for, and where it goes on. */
struct held {
    size_t topic;
    int32_t partition;
    int64_t offset;
    uint32_t schema;
};

struct reader {
    struct reader_params params;
    struct kafka_tail *tail;
    struct finder *finder;
    struct topic *topics;
    size_t topic_count;
    struct frame_maker maker;
    struct held *held;
    size_t held_count, held_capacity;
    struct frame **batch;
    size_t batch_count, batch_capacity;
    int64_t published_us;         /* the last batch */
    const rd_kafka_topic_t *memo; /* the last message's topic */
    size_t memo_topic;
    int64_t review_due_us;
    _Atomic int64_t as_of_ms;
    atomic_bool is_stopping;
    bool is_running;
    pthread_t thread;
};

/* --- handing over ------------------------------------------------------------------------------------ */

static struct strview value_of(const rd_kafka_message_t *message)
{
    return sv_of(message->payload, message->payload ? message->len : 0);
}

static void batch_add(struct reader *reader, struct frame *frame)
{
    if (reader->batch_count == reader->batch_capacity) {
        reader->batch_capacity = reader->batch_capacity ? reader->batch_capacity * 2 : 256;
        reader->batch = must_realloc(reader->batch, reader->batch_capacity * sizeof *reader->batch);
    }
    reader->batch[reader->batch_count++] = frame;
}

/* Latest values first: who is told of an event finds it there. */
static void batch_to_latest(struct reader *reader)
{
    for (size_t i = 0; i < reader->batch_count;) {
        size_t topic = reader->batch[i]->topic, end = i + 1;
        while (end < reader->batch_count && reader->batch[end]->topic == topic) {
            end++;
        }
        latest_apply(reader->params.latest[topic], &reader->batch[i], end - i,
                     reader->batch[end - 1]->cursor);
        if (reader->params.history[topic]) {
            history_apply(reader->params.history[topic], &reader->batch[i], end - i,
                          reader->batch[end - 1]->cursor, clock_now_ms());
        }
        i = end;
    }
}

static void batch_publish(struct reader *reader)
{
    if (reader->batch_count == 0) {
        return;
    }
    batch_to_latest(reader);
    unsigned shards = (unsigned)reader->params.shard_count;
    for (size_t i = 0; i < reader->batch_count; i++) {
        frame_ref(reader->batch[i], shards);
    }
    for (size_t s = 0; s < reader->params.shard_count; s++) {
        shard_publish(reader->params.shards[s], reader->batch, reader->batch_count);
    }
    for (size_t i = 0; i < reader->batch_count; i++) {
        frame_unref(reader->batch[i]);
    }
    reader->batch_count = 0;
    reader->published_us = clock_mono_us();
}

static void cursor_make(struct topic *topic)
{
    buf_reset(&topic->cursor);
    cursor_append(&topic->cursor, topic->name, topic->next, topic->partition_count, topic->epoch);
}

static void state_publish(struct reader *reader, size_t index)
{
    struct topic *topic = &reader->topics[index];
    size_t count = (size_t)topic->partition_count;
    struct frame_state *state = must_alloc(sizeof *state + count * sizeof state->partitions[0]);
    state->epoch = topic->epoch;
    state->is_live = topic->is_live;
    state->partition_count = topic->partition_count;
    for (size_t p = 0; p < count; p++) {
        state->partitions[p] = topic->starts[p];
        state->partitions[p].next = topic->next[p];
    }
    cursor_make(topic);
    batch_add(reader, frame_state_new((uint16_t)index, state, buf_view(&topic->cursor)));
    free(state);
    topic->is_told = true;
}

/* --- topics -------------------------------------------------------------------------------------------- */

static void topic_grow(struct topic *topic, int32_t count)
{
    if (count > topic->capacity) {
        topic->next = must_realloc(topic->next, (size_t)count * sizeof *topic->next);
        topic->goal = must_realloc(topic->goal, (size_t)count * sizeof *topic->goal);
        topic->starts = must_realloc(topic->starts, (size_t)count * sizeof *topic->starts);
        topic->capacity = count;
    }
}

static void partition_add(struct reader *reader, const struct finder_found *found)
{
    struct topic *topic = &reader->topics[found->topic];
    CHECK(found->partition == topic->partition_count);
    topic_grow(topic, found->partition_count);
    int64_t load = reader->params.load_records;
    int64_t start = load == 0 || found->high - found->low <= load ? found->low : found->high - load;
    topic->starts[found->partition] =
        (struct frame_start){.start = start, .is_begin = start == found->low};
    topic->next[found->partition] = start;
    topic->goal[found->partition] = found->high;
    topic->partition_count++;
    atomic_fetch_add(&topic->lag, found->high - start); /* until the next review knows better */
    topic->epoch = found->epoch;
    topic->is_told = false;
}

static void held_forget(struct reader *reader, size_t topic)
{
    size_t kept = 0;
    for (size_t i = 0; i < reader->held_count; i++) {
        if (reader->held[i].topic != topic) {
            reader->held[kept++] = reader->held[i];
        }
    }
    reader->held_count = kept;
}

/* It was deleted and created again: nothing that was read is of it. The shards are told first, so that
 * no client takes what comes for what comes next. */
static void topic_remade(struct reader *reader, const struct finder_found *found)
{
    struct topic *topic = &reader->topics[found->topic];
    log_event(LOG_WARN, "topic_remade", "deleted and created again: it is read from its beginning",
              KV("topic", topic->name));
    for (int32_t p = 0; p < topic->partition_count; p++) {
        kafka_tail_remove(reader->tail, topic->name.ptr, p);
    }
    held_forget(reader, found->topic);
    topic->partition_count = topic->capacity = 0;
    topic->is_live = false;
    topic->epoch = found->epoch;
    topic->cut_us = 0;
    atomic_store(&topic->state, READER_LOADING);
    latest_clear(reader->params.latest[found->topic]);
    state_publish(reader, found->topic);
    batch_publish(reader);
}

/* In one go: librdkafka begins to fetch at once, and what is added later waits behind that. */
static void partitions_assign(struct reader *reader, struct kafka_position *positions, size_t count)
{
    struct err_info info = {0};
    enum err e = kafka_tail_add(reader->tail, positions, count, &info);
    if (e) {
        reader->params.on_failure(reader->params.context, e, &info);
    }
}

static bool is_held(const struct reader *reader, size_t topic, int32_t partition)
{
    for (size_t i = 0; i < reader->held_count; i++) {
        if (reader->held[i].topic == topic && reader->held[i].partition == partition) {
            return true;
        }
    }
    return false;
}

/* What was fetched behind the record is fetched again when its time has come. */
static void partition_hold(struct reader *reader, size_t topic, const rd_kafka_message_t *message)
{
    if (reader->held_count == reader->held_capacity) {
        reader->held_capacity = reader->held_capacity ? reader->held_capacity * 2 : 8;
        reader->held = must_realloc(reader->held, reader->held_capacity * sizeof *reader->held);
    }
    reader->held[reader->held_count++] = (struct held){topic, message->partition, message->offset,
                                                       avro_value_schema(value_of(message))};
    kafka_tail_remove(reader->tail, reader->topics[topic].name.ptr, message->partition);
    reader->memo = NULL; /* what it points to may go */
}

/* Those whose schema has come, or does not come. */
static void held_review(struct reader *reader)
{
    struct kafka_position positions[ASSIGN_MAX];
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < reader->held_count; i++) {
        const struct held *held = &reader->held[i];
        if (count == ASSIGN_MAX || avro_values_lack(reader->params.avro, held->schema)) {
            reader->held[kept++] = *held;
        } else {
            positions[count++] = (struct kafka_position){reader->topics[held->topic].name.ptr,
                                                         held->partition, held->offset};
        }
    }
    reader->held_count = kept;
    if (count) {
        partitions_assign(reader, positions, count);
    }
}

static void topics_take_found(struct reader *reader)
{
    struct kafka_position positions[ASSIGN_MAX];
    size_t count = 0;
    struct finder_found found;
    while (count < ASSIGN_MAX && finder_take(reader->finder, &found)) {
        struct topic *topic = &reader->topics[found.topic];
        if (found.partition == FINDER_MISSING) {
            atomic_store(&topic->state, READER_MISSING);
            continue;
        }
        if (found.partition == FINDER_REMADE) {
            topic_remade(reader, &found);
            continue;
        }
        if (topic->partition_count == 0) {
            atomic_store(&topic->state, READER_LOADING);
        }
        partition_add(reader, &found);
        positions[count++] =
            (struct kafka_position){topic->name.ptr, found.partition, topic->next[found.partition]};
    }
    if (count) {
        partitions_assign(reader, positions, count);
    }
}

/* What was in Kafka when the partitions were found has been read. */
static bool topic_is_caught_up(const struct topic *topic)
{
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] < topic->goal[p]) {
            return false;
        }
    }
    return topic->partition_count == topic->capacity;
}

/* Lag, and positions past transaction markers and holes. */
static void topic_review_positions(const struct reader *reader, size_t index)
{
    struct topic *topic = &reader->topics[index];
    int64_t lag = 0;
    for (int32_t p = 0; p < topic->partition_count; p++) {
        int64_t next, end;
        kafka_tail_position(reader->tail, topic->name.ptr, p, &next, &end);
        lag += next >= 0 && end > next ? end - next : 0;
        if (next > topic->next[p]) {
            topic->next[p] = next;
            topic->is_told = false;
        }
    }
    atomic_store(&topic->lag, lag);
    metric_set(reader->params.metrics[index].lag, (double)lag);
}

/* A topic made anew is found by its epoch before long. A log that was cut otherwise (an unclean leader)
 * may hold other records where some were read: beginning again is the one way that is certainly right. */
static void topic_review_cut(const struct reader *reader, const struct topic *topic)
{
    if (clock_mono_us() - topic->cut_us > CUT_WAIT_US) {
        struct err_info info = {0};
        (void)err_set(&info, ERR_STATE, "the log of %s has become shorter than what was read of it",
                      topic->name.ptr);
        reader->params.on_failure(reader->params.context, ERR_STATE, &info);
    }
}

static void history_review(struct reader *reader, size_t index)
{
    const struct query_topic_metrics *metrics = &reader->params.metrics[index];
    struct topic *topic = &reader->topics[index];
    history_expire(reader->params.history[index], clock_now_ms());
    struct history_stats stats = history_stats(reader->params.history[index]);
    metric_set(metrics->history_rows, (double)stats.rows);
    metric_set(metrics->history_bytes, (double)stats.bytes);
    metric_add(metrics->history_evicted, stats.evicted - topic->evicted);
    topic->evicted = stats.evicted;
}

static void topics_review(struct reader *reader)
{
    for (size_t i = 0; i < reader->topic_count; i++) {
        struct topic *topic = &reader->topics[i];
        if (topic->partition_count == 0) {
            continue;
        }
        if (topic->cut_us) {
            topic_review_cut(reader, topic);
            continue;
        }
        topic_review_positions(reader, i);
        if (!topic->is_live && topic_is_caught_up(topic)) {
            topic->is_live = true;
            topic->is_told = false;
            log_event(LOG_INFO, "topic_live", "what Kafka holds has been read",
                      KV("topic", topic->name), KV("partitions", topic->partition_count));
        }
        if (!topic->is_told) {
            state_publish(reader, i);
        }
        metric_set(reader->params.metrics[i].keys, (double)latest_count(reader->params.latest[i]));
        if (reader->params.history[i]) {
            history_review(reader, i);
        }
    }
    batch_publish(reader);
    for (size_t i = 0; i < reader->topic_count; i++) {
        if (reader->topics[i].is_live) {
            atomic_store(&reader->topics[i].state, READER_LIVE);
        }
    }
    reader->review_due_us = clock_mono_us() + REVIEW_PERIOD_US;
}

static struct topic *topic_find(struct reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->topic_count; i++) {
        if (strcmp(reader->topics[i].name.ptr, name) == 0) {
            return &reader->topics[i];
        }
    }
    return NULL;
}

/* The reader itself has lost records: its clients are told in their order. */
static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct reader *reader = context;
    struct topic *topic = topic_find(reader, at->topic);
    if (!topic || topic->cut_us || at->partition >= topic->partition_count) {
        return;
    }
    if (at->offset < to) { /* the log ends before where we were */
        log_event(LOG_WARN, "topic_cut", "the log is shorter than what was read of it",
                  KV("topic", topic->name), KV("partition", at->partition), KV("end", at->offset));
        topic->cut_us = clock_mono_us();
        return;
    }
    topic->next[at->partition] = to;
    cursor_make(topic);
    const struct frame_gap gap = {(uint16_t)(topic - reader->topics), topic->name, at->partition,
                                  from, to};
    batch_add(reader, frame_gap_new(&reader->maker, &gap, buf_view(&topic->cursor)));
}

/* --- records --------------------------------------------------------------------------------------------- */

static size_t topic_of(struct reader *reader, const rd_kafka_message_t *message)
{
    if (message->rkt != reader->memo) {
        const char *name = rd_kafka_topic_name(message->rkt);
        size_t i = 0;
        while (strcmp(reader->topics[i].name.ptr, name) != 0) {
            i++;
            CHECK(i < reader->topic_count); /* only these were assigned */
        }
        reader->memo = message->rkt;
        reader->memo_topic = i;
    }
    return reader->memo_topic;
}

static void message_take(struct reader *reader, const rd_kafka_message_t *message, int64_t now_us)
{
    size_t index = topic_of(reader, message);
    struct topic *topic = &reader->topics[index];
    if (topic->cut_us) { /* nobody knows what they are */
        return;
    }
    /* Of a partition that is held already, too: all the schemas that it needs are asked for at once. */
    const bool lacks = avro_reader_lacks(&reader->maker.avro, index, value_of(message));
    if (reader->held_count && is_held(reader, index, message->partition)) {
        return;
    }
    if (lacks) {
        partition_hold(reader, index, message);
        return;
    }
    if (!topic->is_told) { /* the shards must know the partition before its first record */
        state_publish(reader, index);
    }
    topic->next[message->partition] = message->offset + 1;
    cursor_make(topic);
    batch_add(reader, frame_of_message(&reader->maker, message, (uint16_t)index,
                                       buf_view(&topic->cursor), now_us));
    metric_add(reader->params.metrics[index].records, 1);
}

/* A batch goes out no earlier than twice the time after the one before that its slowest worker took to hand
 * that out: streams take half of a worker's time at most, and the more there are the more goes out in
 * one write. A few streams get each record at once. */
static int64_t gather_ms(const struct reader *reader)
{
    int64_t busy_us = 0;
    for (size_t s = 0; s < reader->params.shard_count; s++) {
        int64_t took_us = shard_busy_us(reader->params.shards[s]);
        busy_us = took_us > busy_us ? took_us : busy_us;
    }
    const int64_t apart_us = busy_us * 2 < GATHER_US_MAX ? busy_us * 2 : GATHER_US_MAX;
    const int64_t left_us = reader->published_us + apart_us - clock_mono_us();
    return left_us > 0 ? (left_us + 999) / 1000 : 0;
}

static void records_read(struct reader *reader)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    /* The batch call waits until it has all it may take: it is not to be asked before there is something. */
    struct pollfd records = {.fd = kafka_tail_fd(reader->tail), .events = POLLIN};
    (void)poll(&records, 1, POLL_MS);
    size_t count = kafka_tail_poll(reader->tail, messages, BATCH_MAX, gather_ms(reader));
    int64_t now_us = clock_mono_us();
    for (size_t i = 0; i < count; i++) {
        message_take(reader, messages[i], now_us);
        rd_kafka_message_destroy(messages[i]);
    }
    atomic_store(&reader->as_of_ms, clock_now_ms());
    batch_publish(reader);
}

static void *reader_run(void *context)
{
    struct reader *reader = context;
    while (!atomic_load(&reader->is_stopping)) {
        topics_take_found(reader);
        held_review(reader);
        records_read(reader);
        if (clock_mono_us() >= reader->review_due_us) {
            topics_review(reader);
        }
    }
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

void reader_free(struct reader *reader)
{
    if (!reader) {
        return;
    }
    kafka_tail_free(reader->tail);
    frame_maker_free(&reader->maker);
    for (size_t i = 0; i < reader->topic_count; i++) {
        free(reader->topics[i].next);
        free(reader->topics[i].goal);
        free(reader->topics[i].starts);
        buf_free(&reader->topics[i].cursor);
    }
    free(reader->topics);
    free(reader->held);
    free(reader->batch);
    free(reader);
}

struct reader *reader_new(const struct strview *topics, size_t topic_count)
{
    struct reader *reader = must_alloc(sizeof *reader);
    reader->topic_count = topic_count;
    reader->topics = must_alloc(topic_count * sizeof *reader->topics);
    for (size_t i = 0; i < topic_count; i++) {
        struct topic *topic = &reader->topics[i];
        topic->name = topics[i];
        buf_init(&topic->cursor, CURSOR_BYTES_MAX);
    }
    return reader;
}

enum err reader_start(struct reader *reader, const struct reader_params *params,
                      struct err_info *info)
{
    reader->params = *params;
    frame_maker_init(&reader->maker, params->avro);
    const struct kafka_tail_params tail = {
        .config = params->kafka, .on_gap = on_gap, .context = reader, .label = "reader"};
    enum err e = kafka_tail_new(&tail, &reader->tail, info);
    if (!e) {
        e = finder_start(params->kafka, params->topics, reader->topic_count, &reader->finder, info);
    }
    if (!e) {
        CHECK(pthread_create(&reader->thread, NULL, reader_run, reader) == 0);
        reader->is_running = true;
    }
    return e;
}

void reader_stop(struct reader *reader)
{
    if (!reader || !reader->is_running) {
        return;
    }
    atomic_store(&reader->is_stopping, true);
    for (size_t i = 0; i < reader->params.shard_count; i++) {
        shard_release(reader->params.shards[i]); /* it may wait for room there */
    }
    CHECK(pthread_join(reader->thread, NULL) == 0);
    reader->is_running = false;
    finder_stop(TAKE(reader->finder));
}

enum reader_topic reader_topic_state(const struct reader *reader, size_t topic)
{
    return (enum reader_topic)atomic_load(&reader->topics[topic].state);
}

int64_t reader_topic_lag(const struct reader *reader, size_t topic)
{
    return atomic_load(&reader->topics[topic].lag);
}

int64_t reader_as_of_ms(const struct reader *reader)
{
    return atomic_load(&reader->as_of_ms);
}
