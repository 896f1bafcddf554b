/* worker_fixture.h - a worker on librdkafka's mock cluster, which injects any error into any request.
 * The mock isolates transactions only in part and forgets the offsets sent in them, so that what is
 * asserted here is what the worker does; that nothing is doubled is asserted on real Kafka. */
#pragma once

#include <jansson.h>
#include <librdkafka/rdkafka_records.h>
#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "metrics/metrics.h"
#include "worker/worker.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_US 90000000
#define RECORDS     200
#define PARTITIONS  4

enum request { PRODUCE = 0, ADD_PARTITIONS = 24, ADD_OFFSETS = 25, END_TXN = 26, TXN_OFFSETS = 28 };

struct fixture {
    struct mock_kafka mock;
    struct pipeline *pipeline;
    char name[32]; /* of the pipeline: each test has series of its own */
    struct worker_config config;
    enum err fatal;
    size_t reported;
    struct kafka_producer *feeder;
    struct kafka_tail *tail;
    size_t read;
    char last[256]; /* value read last */
};

static inline void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* --- fixture --------------------------------------------------------------------------------------------- */

static inline void on_fatal(void *context, enum err err, const struct err_info *info)
{
    struct fixture *f = context;
    print_error("fatal: %s\n", info->text);
    __atomic_store_n(&f->fatal, err, __ATOMIC_SEQ_CST);
}

static inline void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct fixture *f = context;
    for (size_t i = 0; i < count; i++) {
        assert_err(ERR_OK, reports[i].err);
    }
    f->reported += count;
}

static inline void pipeline_make(struct fixture *f, const char *text)
{
    static int number;
    if (!f->name[0]) {
        (void)snprintf(f->name, sizeof f->name, "p%d", number++);
    }
    static struct pipeline_errors errors;
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    (void)json_object_set_new(document, "name", json_string(f->name));
    errors.count = 0;
    if (pipeline_compile(document, "test.json", PIPELINE_OVERRIDES_NONE, &f->pipeline, &errors)) {
        fail_msg("%s", errors.items[0].text);
    }
    json_decref(document);
}

static inline void tail_all(struct fixture *f, const char *topic, int partitions)
{
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_tail_new(
                           &(struct kafka_tail_params){.config = &f->mock.config, .label = "check"},
                           &f->tail, &info));
    for (int p = 0; p < partitions; p++) {
        struct kafka_position start = {topic, p, KAFKA_EARLIEST};
        assert_err(ERR_OK, kafka_tail_add(f->tail, &start, 1, &info));
    }
}

/* The mock makes no topics when it is asked to: those of the pipeline's own are there before. */
static inline void topics_make(struct fixture *f)
{
    static const char *const wide[] = {"in", "left", "right", "out", "copy"};
    static const char *const narrow[] = {"rows", "dlq", "late"};
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        mock_kafka_topic(&f->mock, wide[i], PARTITIONS);
    }
    for (size_t i = 0; i < ARRAY_LEN(narrow); i++) {
        mock_kafka_topic(&f->mock, narrow[i], 1);
    }
    for (size_t i = 0; i < pipeline_topic_count(f->pipeline); i++) {
        enum stream_target target = pipeline_topic_target(f->pipeline, i);
        if (target == STREAM_CHANGELOG || target == STREAM_REPARTITION || target == STREAM_RETRY) {
            mock_kafka_topic(&f->mock, pipeline_topic_name(f->pipeline, i), PARTITIONS);
        }
    }
}

/* What a test would wait for: every rebalance of the mock but the first takes a second less than a
 * session, whoever has joined, and the end of a partition is told once a fetch has waited. */
static struct config_pair quick_pairs[] = {
    {"session.timeout.ms", "2000"}, {"heartbeat.interval.ms", "100"}, {"fetch.wait.max.ms", "50"}};

/* Where one worker is started, once, there is no such rebalance, unless its session ends because it was not
 * run for so long: it has one that does not. */
static struct config_pair lone_pairs[] = {
    {"session.timeout.ms", "60000"}, {"heartbeat.interval.ms", "100"}, {"fetch.wait.max.ms", "50"}};

static inline void fixture_start(struct fixture *f, const char *pipeline, const char *guarantee)
{
    *f = (struct fixture){0};
    f->mock = mock_kafka_start(1);
    f->mock.config.extra.pairs = quick_pairs;
    f->mock.config.extra.count = ARRAY_LEN(quick_pairs);
    pipeline_make(f, pipeline);
    topics_make(f);
    f->config = (struct worker_config){.guarantee = guarantee,
                                       .threads = 1,
                                       .commit_interval_ms = 50,
                                       .commit_bytes = 1 << 20,
                                       .instance_id = "one",
                                       .purge_interval_ms = 30000,
                                       .offsets_lost = "fail",
                                       .state_lost = "fail",
                                       .rebalance = "eager"};
    struct err_info info = {0};
    assert_err(ERR_OK,
               kafka_producer_new(&(struct kafka_producer_params){.config = &f->mock.config,
                                                                  .role = KAFKA_ROLE_PRODUCER_ACKED,
                                                                  .on_reports = on_reports,
                                                                  .context = f,
                                                                  .label = "feeder"},
                                  &f->feeder, &info));
    struct kafka_topic_facts ignored;
    while (kafka_producer_topic(f->feeder, "in", &ignored) == ERR_KAFKA_UNAVAILABLE) {
        pause_ms(5);
    }
    tail_all(f, "out", PARTITIONS);
}

static inline void fixture_stop(struct fixture *f)
{
    kafka_tail_free(f->tail);
    kafka_producer_free(f->feeder);
    pipeline_free(f->pipeline);
    mock_kafka_stop(&f->mock);
}

static inline struct worker *worker_of(struct fixture *f, const char *instance)
{
    static struct worker_config config; /* outlives the call; same but for the instance */
    struct worker_config *own = instance ? &config : &f->config;
    if (instance) {
        config = f->config;
        config.instance_id = instance;
    }
    struct worker *worker = NULL;
    struct err_info info = {0};
    if (worker_start(&(struct worker_params){.config = own,
                                             .kafka = &f->mock.config,
                                             .pipeline = f->pipeline,
                                             .on_fatal = on_fatal,
                                             .context = f},
                     &worker, &info)) {
        fail_msg("%s", info.text);
    }
    return worker;
}

/* The only one of a test, started once. */
static inline struct worker *lone_worker_of(struct fixture *f)
{
    bool is_quick = f->mock.config.extra.pairs == quick_pairs;
    f->mock.config.extra.pairs = is_quick ? lone_pairs : f->mock.config.extra.pairs;
    return worker_of(f, NULL);
}

/* --- driving it ------------------------------------------------------------------------------------------ */

static inline void feed(struct fixture *f, const char *topic, const char *key, const char *value)
{
    struct err_info info = {0};
    struct kafka_header header = {SV("traceparent"), SV("t-1")};
    struct kafka_record record = {.topic = topic,
                                  .partition = -1,
                                  .key = sv(key),
                                  .value = sv(value),
                                  .headers = &header,
                                  .header_count = 1};
    enum err e = kafka_producer_send(f->feeder, &record, &info);
    if (e) {
        fail_msg("%s", info.text);
    }
}

static inline void feed_rows(struct fixture *f)
{
    feed(f, "rows", "a", "{\"name\":\"Anton\"}");
    feed(f, "rows", "b", "{\"name\":\"Berta\"}");
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}

static inline void feed_records(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16], value[128];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)snprintf(value, sizeof value, "{\"id\":\"%c\",\"n\":%d,\"t\":1700000000000}",
                       i % 2 ? 'a' : 'b', i + 1);
        feed(f, "in", key, value);
    }
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}

/* A batch of two records of which the second is none: its length goes beyond the batch. */
static inline void feed_unreadable(struct fixture *f, const char *topic)
{
    char why[256], bytes[256];
    const struct kafka_record record = {.value = SV("{\"id\":\"a\",\"n\":1,\"t\":1700000000000}"),
                                        .timestamp_ms = 1700000000000};
    struct kafka_records records = {.bytes = bytes};
    CHECK(2 * kafka_record_bytes_max(&record) < sizeof bytes);
    kafka_records_add(&records, &record);
    size_t first = records.size;
    kafka_records_add(&records, &record);
    bytes[first] += 2;
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_conf_new(&f->mock.config, KAFKA_ROLE_PRODUCER_BULK, &conf, &info));
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(client);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    const rd_kafka_records_t given = {records.bytes, records.size, records.count,
                                      records.first_timestamp_ms, records.max_timestamp_ms};
    assert_int_equal(0, rd_kafka_produce_records(handle, 0, &given, NULL));
    assert_int_equal(0, rd_kafka_flush(client, 20000));
    rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(client);
}

static inline double metric_of(const struct fixture *f, const char *family, const char *more)
{
    char line[160];
    (void)snprintf(line, sizeof line, "millrace_pipeline_%s{pipeline=\"%s\"%s} ", family, f->name,
                   more);
    struct buf text;
    buf_init(&text, 4 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    const char *found = memmem(text.data, text.len, line, strlen(line));
    double value = found ? strtod(found + strlen(line), NULL) : 0;
    buf_free(&text);
    return value;
}

/* The deadline is the next step's: what is slow, sanitized and on a busy machine, goes on. */
static inline void await_metric(const struct fixture *f, const char *family, const char *more,
                                double least)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    double value = metric_of(f, family, more), before = value;
    while (value < least) {
        deadline_us = value > before ? clock_mono_us() + DEADLINE_US : deadline_us;
        if (clock_mono_us() > deadline_us) {
            fail_msg("%s stays at %g, below %g", family, value, least);
        }
        pause_ms(10);
        before = value;
        value = metric_of(f, family, more);
    }
}

static inline void await_ready(struct worker *worker, const char *wanted)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    char text[128] = "";
    while (!worker_is_ready(worker, text, sizeof text) || (wanted && strcmp(text, wanted) != 0)) {
        if (clock_mono_us() > deadline_us) {
            fail_msg("not ready: %s", text);
        }
        pause_ms(10);
    }
}

static inline void await_fatal(const struct fixture *f)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (!__atomic_load_n(&f->fatal, __ATOMIC_SEQ_CST) && clock_mono_us() < deadline_us) {
        pause_ms(10);
    }
}

/* Reads the output until `count` records were seen in all, and none after them. */
static inline void read_output(struct fixture *f, size_t count)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (f->read < count) {
        rd_kafka_message_t *messages[100];
        size_t left = count - f->read;
        size_t max = left < ARRAY_LEN(messages) ? left : ARRAY_LEN(messages);
        size_t got = kafka_tail_poll(f->tail, messages, max, 20);
        for (size_t i = 0; i < got; i++) {
            (void)snprintf(f->last, sizeof f->last, "%.*s", (int)messages[i]->len,
                           (const char *)messages[i]->payload);
            rd_kafka_message_destroy(messages[i]);
        }
        f->read += got;
        deadline_us = got > 0 ? clock_mono_us() + DEADLINE_US : deadline_us;
        if (clock_mono_us() > deadline_us) {
            fail_msg("%zu of %zu records came, the last one is %s", f->read, count, f->last);
        }
    }
}

/* How many records are left of what there is now. */
static inline size_t tail_count_left(struct kafka_tail *tail)
{
    struct err_info info = {0};
    size_t count = 0;
    assert_err(ERR_OK, kafka_tail_mark_end(tail, 20000, &info));
    while (!kafka_tail_is_caught_up(tail)) {
        rd_kafka_message_t *messages[100];
        size_t got = kafka_tail_poll(tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            rd_kafka_message_destroy(messages[i]);
        }
        count += got;
    }
    return count;
}

/* Reads the output until a record has this value, and none after it. */
static inline void await_output(struct fixture *f, const char *value)
{
    while (strcmp(f->last, value) != 0) {
        read_output(f, f->read + 1);
    }
}

static inline void inject(struct fixture *f, enum request request, rd_kafka_resp_err_t code)
{
    rd_kafka_mock_push_request_errors(f->mock.cluster, request, 1, code);
}

static inline void run_and_expect(struct fixture *f, size_t outputs, int aborts, int rebuilds)
{
    struct worker *worker = lone_worker_of(f);
    await_metric(f, "records_in_total", "", RECORDS);
    read_output(f, outputs);
    assert_int_equal(RECORDS, (int)metric_of(f, "records_in_total", ""));
    assert_int_equal(aborts, (int)metric_of(f, "aborts_total", ""));
    assert_int_equal(rebuilds, (int)metric_of(f, "producer_rebuilds_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

/* The pipeline on another cluster, whose topics have two partitions each, but for one that has three:
 * the service ends with the configuration's fault. */
static inline void expect_partitions_refused(struct fixture *f, const char *const *topics,
                                             size_t count, const char *odd_topic)
{
    struct mock_kafka other = mock_kafka_start(1);
    for (size_t i = 0; i < count; i++) {
        mock_kafka_topic(&other, topics[i], 2);
    }
    mock_kafka_topic(&other, odd_topic, 3);
    struct kafka_config config = f->mock.config;
    f->mock.config.bootstrap_servers = other.config.bootstrap_servers;
    struct worker *worker = worker_of(f, NULL);
    await_fatal(f);
    assert_err(ERR_CONFIG, f->fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    f->mock.config = config;
    mock_kafka_stop(&other);
}

/* --- pipelines of several topics -------------------------------------------------------------------------- */

#define SOURCE(topic)                                                                              \
    "{\"topic\": \"" topic                                                                         \
    "\", \"timestamp\": {\"field\": \"/t\", \"format\": \"epoch-ms\", \"future_max\": \"10d\"}}"
#define COUNT                                                                                      \
    "{\"aggregate\": {\"by\": \"/id\", \"window\": {\"tumbling\": \"1h\", \"grace\": \"1h\"},"     \
    " \"store\": {\"name\": \"windows\"}, \"emit\": [\"update\"],"                                 \
    " \"result\": {\"id\": \"key\", \"count\": \"count\"}}}"
#define SIDES "\"dead_letter\": {\"topic\": \"dlq\"}, \"late\": {\"topic\": \"late\"}"

#define BOTH "{\"left\": " SOURCE("left") ", \"right\": " SOURCE("right") "}"

/* Records of two topics meet in a store; `out` shows in which order they were taken. */
#define MERGE                                                                                      \
    "{\"sources\": " BOTH ", \"flows\": {"                                                         \
    "  \"shown\": {\"from\": [\"left\", \"right\"], \"output\": {\"topic\": \"out\"}},"            \
    "  \"counts\": {\"from\": [\"left\", \"right\"], \"steps\": [" COUNT "],"                      \
    "               \"output\": {\"topic\": \"copy\"}}}, " SIDES "}"

#define START_MS 1700000000000

static inline void feed_timed(struct fixture *f, const char *topic, const char *key,
                              int64_t time_ms)
{
    char value[128];
    (void)snprintf(value, sizeof value, "{\"id\":\"%s\",\"t\":%lld}", key, (long long)time_ms);
    feed(f, topic, key, value);
}

/* Of eight keys, each with every time. */
static inline void feed_times(struct fixture *f, const char *topic, int count, int64_t first_ms,
                              int64_t step_ms)
{
    for (int i = 0; i < count; i++) {
        char key[2] = {(char)('a' + i % 8), '\0'};
        feed_timed(f, topic, key, START_MS + first_ms + i * step_ms);
    }
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}
