/* Pipelines of several topics and stages: what is read in which order, and where it goes. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

static const char *const merge_text = MERGE;
static const char *const rekey_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"counts\": {\"from\": \"in\", \"steps\": [{\"rekey\": {\"key\": \"/id\"}}, " COUNT
          "],"
          "               \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

/* Reads `count` records of the output; each partition's times must rise. */
static void require_order(struct fixture *f, size_t count)
{
    int64_t last_ms[PARTITIONS] = {0}, deadline_us = clock_mono_us() + DEADLINE_US;
    for (size_t seen = 0; seen < count;) {
        rd_kafka_message_t *messages[100];
        size_t got = kafka_tail_poll(f->tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            const char *time = memmem(messages[i]->payload, messages[i]->len, "\"t\":", 4);
            assert_non_null(time);
            int64_t time_ms = strtoll(time + 4, NULL, 10);
            assert_true(time_ms > last_ms[messages[i]->partition]);
            last_ms[messages[i]->partition] = time_ms;
            rd_kafka_message_destroy(messages[i]);
        }
        seen += got;
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void merge_and_expect(struct fixture *f, int aborts, int rebuilds)
{
    feed_times(f, "left", RECORDS, 0, 2);
    feed_times(f, "right", RECORDS, 1, 2);
    struct worker *worker = lone_worker_of(f);
    await_metric(f, "records_in_total", "", 2 * RECORDS);
    assert_int_equal(2 * RECORDS, (int)metric_of(f, "records_in_total", ""));
    assert_int_equal(aborts, (int)metric_of(f, "aborts_total", ""));
    assert_int_equal(rebuilds, (int)metric_of(f, "producer_rebuilds_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

static void test_merge__two_topics__are_taken_lowest_time_first(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    merge_and_expect(&f, 0, 0);
    require_order(&f, 2 * RECORDS);
    fixture_stop(&f);
}

static void test_merge__commit_refused__is_done_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
    merge_and_expect(&f, 1, 0);
    fixture_stop(&f);
}

static void test_merge__producer_fenced__goes_on_from_all_places(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    merge_and_expect(&f, 1, 1);
    fixture_stop(&f);
}

static void test_merge__silent_topic__is_passed_over(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    struct worker *worker = lone_worker_of(&f);
    await_ready(worker, "8 source partitions");
    feed_times(&f, "left", RECORDS, 0, 1);
    await_metric(&f, "records_in_total", "", RECORDS);
    feed_times(&f, "left", RECORDS, RECORDS, 1);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* The silent topic is waited for; a record of it that comes in time goes before younger ones. */
static void test_merge__input_wait__lets_late_producers_in(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    f.config.input_wait_ms = 3600000;
    struct worker *worker = lone_worker_of(&f);
    await_ready(worker, "8 source partitions");
    feed_times(&f, "left", 80, 1000, 10); /* 1000 … 1790 */
    feed_times(&f, "right", 80, 5, 20);   /* 5 … 1585, each key to 1445 at least */
    await_metric(&f, "records_in_total", "", 80 + 44);
    require_order(&f, 80 + 44);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_true(metric_of(&f, "records_in_total", "") < 160); /* the youngest still wait */
    fixture_stop(&f);
}

static void test_rekey__goes_through_the_pipelines_own_topic(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, rekey_text, "exactly_once");
    f.config.purge_interval_ms = 1; /* which the mock cannot do: it goes on without */
    feed_records(&f, RECORDS);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    await_ready(worker, "8 source partitions");
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_out_total", ",target=\"repartition\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    read_output(&f, 2); /* ids */
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_copartition__counts_differ__is_fatal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "exactly_once");
    static const char *const topics[] = {"left", "out", "copy", "dlq", "late"};
    expect_partitions_refused(&f, topics, ARRAY_LEN(topics), "right");
    fixture_stop(&f);
}

/* librdkafka 2.15.1 leaks a queue of a client that ends while a DeleteRecords request is under way,
 * and the mock answers none: 192 bytes once a process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:rd_kafka_q_new0\n";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__two_topics__are_taken_lowest_time_first),
        cmocka_unit_test(test_merge__commit_refused__is_done_again),
        cmocka_unit_test(test_merge__producer_fenced__goes_on_from_all_places),
        cmocka_unit_test(test_merge__silent_topic__is_passed_over),
        cmocka_unit_test(test_merge__input_wait__lets_late_producers_in),
        cmocka_unit_test(test_rekey__goes_through_the_pipelines_own_topic),
        cmocka_unit_test(test_copartition__counts_differ__is_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
