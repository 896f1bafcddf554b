/* A worker on librdkafka's mock cluster, which injects any error into any request. The mock isolates
 * transactions only in part and forgets the offsets sent in them, so that what is asserted here is
 * what the worker does; that nothing is doubled is asserted on real Kafka. */
#define _GNU_SOURCE /* memmem */

#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "metrics/metrics.h"
#include "worker/worker.h"
#include "mock_kafka.h"
#include "test.h"

/* Longer than the mock waits for a member that does not rejoin (max.poll.interval.ms, 60 s). */
#define DEADLINE_US 90000000
#define RECORDS     200
#define PARTITIONS  4

enum request { PRODUCE = 0, ADD_PARTITIONS = 24, ADD_OFFSETS = 25, END_TXN = 26, TXN_OFFSETS = 28 };

static const char *const enrich_text =
    "{\"source\": {\"topic\": \"in\"}, \"tables\": {\"rows\": {\"topic\": \"rows\"}},"
    " \"steps\": [{\"require\": {\"field\": \"/n\", \">\": 0}},"
    "  {\"join\": {\"table\": \"rows\", \"on\": \"/id\", \"set\": {\"name\": \"/name\"}}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/id\"}, \"dead_letter\": {\"topic\": \"dlq\"}}";

static const char *const count_text =
    "{\"source\": {\"topic\": \"in\","
    "   \"timestamp\": {\"field\": \"/t\", \"format\": \"epoch-ms\"}},"
    " \"steps\": [{\"aggregate\": {\"by\": \"/id\", \"window\": {\"tumbling\": \"1h\", \"grace\": "
    "\"1h\"},"
    "   \"store\": {\"name\": \"windows\"}, \"emit\": [\"update\"],"
    "   \"result\": {\"id\": \"key\", \"count\": \"count\"}}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/id\"}, \"dead_letter\": {\"topic\": \"dlq\"},"
    " \"late\": {\"topic\": \"late\"}}";

/* %s: a file. */
static const char *const scripted_text =
    "{\"source\": {\"topic\": \"in\"}, \"tables\": {\"rows\": {\"file\": \"%s\", \"key\": "
    "\"/id\"}},"
    " \"steps\": [{\"set\": {\"items\": {\"array\": [\"/n\", {\"expr\": \"n * 10\"}]}}},"
    "  {\"flat_map\": {\"each\": \"/items\", \"as\": \"item\", \"keep\": [\"id\"]}},"
    "  {\"join\": {\"table\": \"rows\", \"on\": \"/id\", \"set\": {\"name\": \"/name\"}}},"
    "  {\"lua\": {\"script\": \"function process(e) e.item = e.item + 1 return e end\"}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/name\"}, \"dead_letter\": {\"topic\": \"dlq\"}}";

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

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* --- fixture --------------------------------------------------------------------------------------------- */

static void on_fatal(void *context, enum err err, const struct err_info *info)
{
    struct fixture *f = context;
    print_error("fatal: %s\n", info->text);
    __atomic_store_n(&f->fatal, err, __ATOMIC_SEQ_CST);
}

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct fixture *f = context;
    for (size_t i = 0; i < count; i++) {
        assert_err(ERR_OK, reports[i].err);
    }
    f->reported += count;
}

static void pipeline_make(struct fixture *f, const char *text)
{
    static int number;
    (void)snprintf(f->name, sizeof f->name, "p%d", number++);
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

static void tail_all(struct fixture *f, const char *topic, int partitions)
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

static void fixture_start(struct fixture *f, const char *pipeline, const char *guarantee)
{
    *f = (struct fixture){0};
    f->mock = mock_kafka_start(1);
    const char *const topics[] = {"in", "out"};
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        mock_kafka_topic(&f->mock, topics[i], PARTITIONS);
    }
    mock_kafka_topic(&f->mock, "rows", 1);
    mock_kafka_topic(&f->mock, "dlq", 1);
    mock_kafka_topic(&f->mock, "late", 1);
    pipeline_make(f, pipeline);
    char changelog[64];
    (void)snprintf(changelog, sizeof changelog, "%s-windows-changelog", f->name);
    mock_kafka_topic(&f->mock, changelog, PARTITIONS);
    f->config = (struct worker_config){.guarantee = guarantee,
                                       .threads = 1,
                                       .commit_interval_ms = 50,
                                       .commit_bytes = 1 << 20,
                                       .instance_id = "one",
                                       .offsets_lost = "fail"};
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

static void fixture_stop(struct fixture *f)
{
    kafka_tail_free(f->tail);
    kafka_producer_free(f->feeder);
    pipeline_free(f->pipeline);
    mock_kafka_stop(&f->mock);
}

static struct worker *worker_of(struct fixture *f, const char *instance)
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

/* --- driving it ------------------------------------------------------------------------------------------ */

static void feed(struct fixture *f, const char *topic, const char *key, const char *value)
{
    struct err_info info = {0};
    struct kafka_header header = {"traceparent", SV("t-1")};
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

static void feed_rows(struct fixture *f)
{
    feed(f, "rows", "a", "{\"name\":\"Anton\"}");
    feed(f, "rows", "b", "{\"name\":\"Berta\"}");
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}

static void feed_records(struct fixture *f, int count)
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

static double metric_of(const struct fixture *f, const char *family, const char *more)
{
    char line[160];
    (void)snprintf(line, sizeof line, "millrace_pipeline_%s{pipeline=\"%s\"%s} ", family, f->name,
                   more);
    struct buf text;
    buf_init(&text, 4 << 20);
    assert_err(ERR_OK, metrics_render(&text));
    const char *found = memmem(text.data, text.len, line, strlen(line));
    double value = found ? strtod(found + strlen(line), NULL) : 0;
    buf_free(&text);
    return value;
}

static void await_metric(const struct fixture *f, const char *family, const char *more,
                         double least)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (metric_of(f, family, more) < least) {
        if (clock_mono_us() > deadline_us) {
            fail_msg("%s stays at %g, below %g", family, metric_of(f, family, more), least);
        }
        pause_ms(10);
    }
}

static void await_ready(struct worker *worker, const char *wanted)
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

/* Reads the output until at least `count` records were seen in all. */
static void read_output(struct fixture *f, size_t count)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (f->read < count && clock_mono_us() < deadline_us) {
        rd_kafka_message_t *messages[100];
        size_t got = kafka_tail_poll(f->tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            (void)snprintf(f->last, sizeof f->last, "%.*s", (int)messages[i]->len,
                           (const char *)messages[i]->payload);
            rd_kafka_message_destroy(messages[i]);
        }
        f->read += got;
    }
    assert_true(f->read >= count);
}

static void inject(struct fixture *f, enum request request, rd_kafka_resp_err_t code)
{
    rd_kafka_mock_push_request_errors(f->mock.cluster, request, 1, code);
}

/* --- tests ----------------------------------------------------------------------------------------------- */

static void run_and_expect(struct fixture *f, size_t outputs, int aborts, int rebuilds)
{
    struct worker *worker = worker_of(f, NULL);
    await_metric(f, "records_in_total", "", RECORDS);
    read_output(f, outputs);
    assert_int_equal(RECORDS, (int)metric_of(f, "records_in_total", ""));
    assert_int_equal(aborts, (int)metric_of(f, "aborts_total", ""));
    assert_int_equal(rebuilds, (int)metric_of(f, "producer_rebuilds_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

static void test_process__each_record_once__with_row_and_headers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    run_and_expect(&f, RECORDS, 0, 0);
    assert_non_null(strstr(f.last, "\"name\":"));
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    fixture_stop(&f);
}

static void test_process__bad_records__are_dead_letters_and_the_flow_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed(&f, "in", "x", "not json");
    feed(&f, "in", "x", "{\"id\":\"a\",\"n\":0}");
    feed(&f, "in", "x", "{\"id\":\"nobody\",\"n\":1}");
    feed_records(&f, RECORDS - 3);
    run_and_expect(&f, RECORDS - 3, 0, 0);
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"json-syntax\""));
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"condition\""));
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"reference-missing\""));
    fixture_stop(&f);
}

static void test_join__row_published_after_loading__is_found(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    struct worker *worker = worker_of(&f, NULL);
    await_ready(worker, "4 source partitions");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "joined_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* A pipeline whose only table is a file's has no topic to read before it is ready, and one whose steps
 * make more records than they are given puts them all out. */
static void test_process__table_of_a_file_and_scripts__no_topic_is_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/millrace-worker-XXXXXX", text[1024];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char rows[] =
        "{\"id\":\"a\",\"name\":\"Anton\"}\n{\"id\":\"b\",\"name\":\"Berta\"}\n";
    assert_int_equal(sizeof rows - 1, write(fd, rows, sizeof rows - 1));
    (void)close(fd);
    (void)snprintf(text, sizeof text, scripted_text, path);
    fixture_start(&f, text, "exactly_once");
    assert_int_equal(0, unlink(path)); /* it was read when the pipeline was */
    feed(&f, "in", "x", "{\"id\":\"nobody\",\"n\":1}");
    feed_records(&f, RECORDS - 1);
    run_and_expect(&f, 2 * (RECORDS - 1), 0, 0);
    assert_non_null(strstr(f.last, "\"name\":"));
    assert_int_equal(2 * (RECORDS - 1),
                     (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    assert_int_equal(2, (int)metric_of(&f, "dead_letters_total", ",reason=\"reference-missing\""));
    fixture_stop(&f);
}

/* An error that the broker calls final for this transaction: aborted, read again. */
static void test_commit__group_refuses_offsets__is_aborted_and_done_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
    run_and_expect(&f, RECORDS, 1, 0);
    fixture_stop(&f);
}

static void test_commit__coordinator_is_busy__is_called_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, ADD_OFFSETS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS);
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    run_and_expect(&f, RECORDS, 0, 0);
    fixture_stop(&f);
}

static void test_commit__producer_fenced__is_rebuilt_without_a_restart(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    run_and_expect(&f, RECORDS, 1, 1);
    fixture_stop(&f);
}

static void test_commit__not_authorized__is_treated_as_fatal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    run_and_expect(&f, RECORDS, 1, 1);
    fixture_stop(&f);
}

static void test_broker__down_and_up__work_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS / 2);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", RECORDS / 2);
    rd_kafka_mock_broker_set_down(f.mock.cluster, 1);
    pause_ms(500);
    rd_kafka_mock_broker_set_up(f.mock.cluster, 1);
    feed_records(&f, RECORDS / 2);
    await_metric(&f, "records_in_total", "", RECORDS);
    await_ready(worker, NULL);
    assert_err(ERR_OK, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

static void test_rebalance__second_member__shares_and_hands_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "at_least_once"); /* the mock keeps these offsets */
    feed_rows(&f);
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "4 source partitions");
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "2 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_err(ERR_OK, worker_stop(second, 20000));
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_restart__state_comes_back_from_the_changelog(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, count_text, "at_least_once");
    feed_records(&f, RECORDS);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));

    worker = worker_of(&f, NULL);
    await_ready(worker, "4 source partitions");
    assert_true(metric_of(&f, "restored_records_total", "") >= PARTITIONS);
    double before = metric_of(&f, "records_out_total", ",target=\"output\"");
    feed(&f, "in", "k0", "{\"id\":\"a\",\"n\":1,\"t\":1700000000000}");
    assert_err(ERR_OK, kafka_producer_flush(f.feeder, 20000));
    await_metric(&f, "records_in_total", "", RECORDS + 1);
    assert_int_equal((int)before + 1,
                     (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    read_output(&f, (size_t)before + 1);
    assert_null(strstr(f.last, "\"count\":1}")); /* counts on, not anew */
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_topics__missing__are_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    struct mock_kafka empty = mock_kafka_start(1);
    struct kafka_config config = f.mock.config;
    f.mock.config = empty.config;
    struct worker *worker = worker_of(&f, NULL);
    char text[128];
    assert_false(worker_is_ready(worker, text, sizeof text));
    const char *const topics[] = {"in", "out", "dlq", "rows"};
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        mock_kafka_topic(&empty, topics[i], 1);
    }
    await_ready(worker, "1 source partitions");
    assert_err(ERR_OK, worker_stop(worker, 20000));
    f.mock.config = config;
    mock_kafka_stop(&empty);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__each_record_once__with_row_and_headers),
        cmocka_unit_test(test_process__bad_records__are_dead_letters_and_the_flow_goes_on),
        cmocka_unit_test(test_join__row_published_after_loading__is_found),
        cmocka_unit_test(test_process__table_of_a_file_and_scripts__no_topic_is_waited_for),
        cmocka_unit_test(test_commit__group_refuses_offsets__is_aborted_and_done_again),
        cmocka_unit_test(test_commit__coordinator_is_busy__is_called_again),
        cmocka_unit_test(test_commit__producer_fenced__is_rebuilt_without_a_restart),
        cmocka_unit_test(test_commit__not_authorized__is_treated_as_fatal),
        cmocka_unit_test(test_broker__down_and_up__work_goes_on),
        cmocka_unit_test(test_rebalance__second_member__shares_and_hands_back),
        cmocka_unit_test(test_restart__state_comes_back_from_the_changelog),
        cmocka_unit_test(test_topics__missing__are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
