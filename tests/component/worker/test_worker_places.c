/* Tasks of several inputs: where each goes on after a restart, a loss, a rebalance. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

static const char *const merge_text = MERGE;

/* One of the topics alone, in the same group. */
static const char *const left_text = "{\"sources\": {\"left\": " SOURCE(
    "left") "}, \"flows\": {"
            "  \"shown\": {\"from\": \"left\", \"output\": {\"topic\": \"out\"}}}, "
            "\"dead_letter\": {\"topic\": \"dlq\"}}";

static void test_restart__state_of_two_inputs__comes_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "at_least_once"); /* the mock keeps these offsets */
    feed_times(&f, "left", RECORDS, 0, 2);
    feed_times(&f, "right", RECORDS, 1, 2);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));

    worker = worker_of(&f, NULL);
    await_ready(worker, "8 source partitions");
    assert_true(metric_of(&f, "restored_records_total", "") >= 8); /* one a key */
    feed_times(&f, "right", 8, 10000, 1);
    await_metric(&f, "records_in_total", "", 2 * RECORDS + 8);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(2 * RECORDS + 8, (int)metric_of(&f, "records_in_total", ""));
    kafka_tail_free(f.tail);
    tail_all(&f, "copy", PARTITIONS);
    size_t last = 0; /* each key counts on: 25 of each topic before, one after */
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (last < 8) {
        rd_kafka_message_t *messages[100];
        size_t got = kafka_tail_poll(f.tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            last += memmem(messages[i]->payload, messages[i]->len, "\"count\":51}", 11) != NULL;
            rd_kafka_message_destroy(messages[i]);
        }
        assert_true(clock_mono_us() < deadline_us);
    }
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* The mock keeps 5 MB a partition: what was committed has gone from its log. */
static void feed_beyond_retention(struct fixture *f)
{
    static char value[100000];
    int len =
        snprintf(value, sizeof value, "{\"id\":\"a\",\"t\":%lld,\"pad\":\"", (long long)START_MS);
    memset(value + len, 'x', sizeof value - (size_t)len);
    memcpy(value + sizeof value - 3, "\"}", 3);
    for (int i = 0; i < 120; i++) {
        feed(f, "left", "a", value);
    }
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}

static void test_offsets_lost__fails_or_goes_on_from_the_oldest(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "at_least_once"); /* the mock keeps these offsets */
    feed_times(&f, "left", 8, 0, 1);
    feed_times(&f, "right", 8, 0, 1);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", 16);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    feed_beyond_retention(&f);

    worker = worker_of(&f, NULL);
    await_fatal(&f);
    assert_err(ERR_STATE, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));

    f.fatal = ERR_OK;
    f.config.offsets_lost = "earliest";
    worker = worker_of(&f, NULL);
    feed_times(&f, "right", 8, 1, 1);
    await_metric(&f, "records_in_total", "", 16 + 8 + 20);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_true(metric_of(&f, "records_in_total", "") < 16 + 8 + 120);
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_order__batch_that_cannot_be_read__ends_the_worker(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "at_least_once");
    feed_times(&f, "left", 8, 0, 1);
    feed_times(&f, "right", 8, 0, 1);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", 16);
    feed_unreadable(&f, "left");
    await_fatal(&f);
    assert_err(ERR_STATE, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* A member with another pipeline file takes two of left's partitions: who has right's alone must not
 * go on without them, and does when it gets them back. */
static void test_assignment__in_part__is_held_until_complete(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, merge_text, "at_least_once"); /* the mock keeps these offsets */
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "8 source partitions");
    struct pipeline *both = f.pipeline;
    pipeline_make(&f, left_text);
    struct pipeline *left_alone = f.pipeline;
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "6 source partitions");
    feed_times(&f, "right", RECORDS, 0, 1);
    assert_true(metric_of(&f, "records_in_total", "") < RECORDS);
    assert_err(ERR_OK, worker_stop(second, 20000));
    await_ready(first, "8 source partitions");
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_err(ERR_OK, f.fatal);
    pipeline_free(left_alone);
    f.pipeline = both;
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart__state_of_two_inputs__comes_back),
        cmocka_unit_test(test_offsets_lost__fails_or_goes_on_from_the_oldest),
        cmocka_unit_test(test_order__batch_that_cannot_be_read__ends_the_worker),
        cmocka_unit_test(test_assignment__in_part__is_held_until_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
