/* What brokers refuse for what it is: found out, a dead letter, and never an endless circle. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

#define ALONE_BYTES "16" /* a batch.size that no record is smaller than */

static const char *const copy_text =
    "{\"source\": " SOURCE("in") ", \"output\": {\"topic\": \"out\"},"
                                 " \"dead_letter\": {\"topic\": \"dlq\"}}";

/* The first record is refused so often, each time in a request of its own. The mock forgets what was
 * committed in a transaction: after a new producer all is done again, the first record as well. */
static void expect_one_dead_letter(struct fixture *f, rd_kafka_resp_err_t code, const char *reason,
                                   int times)
{
    feed(f, "in", "first", "{\"id\":\"a\",\"n\":0,\"t\":1700000000000}");
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
    for (int i = 0; i < times; i++) {
        inject(f, PRODUCE, code);
    }
    struct worker *worker = lone_worker_of(f);
    await_metric(f, "dead_letters_total", reason, 1);
    feed_records(f, RECORDS);
    await_metric(f, "records_in_total", "", RECORDS + 1);
    double letters = metric_of(f, "records_out_total", ",target=\"dead_letter\"");
    assert_true(letters == metric_of(f, "dead_letters_total", reason));
    assert_true(letters + metric_of(f, "records_out_total", ",target=\"output\"") ==
                metric_of(f, "records_in_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

/* Refused alone: it is known at once. */
static void test_refused__too_large__is_a_dead_letter(void **state)
{
    (void)state;
    static struct config_pair pairs[] = {{"batch.size", ALONE_BYTES}};
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    f.mock.config.extra.pairs = pairs;
    f.mock.config.extra.count = ARRAY_LEN(pairs);
    expect_one_dead_letter(&f, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ",reason=\"record-too-large\"",
                           1);
    fixture_stop(&f);
}

/* It may have been another one of its batch: looked for one by one. */
static void expect_rejected(const char *guarantee)
{
    struct fixture f;
    fixture_start(&f, copy_text, guarantee);
    expect_one_dead_letter(&f, RD_KAFKA_RESP_ERR_INVALID_RECORD, ",reason=\"kafka-rejected\"", 2);
    fixture_stop(&f);
}

static void test_refused__invalid__is_a_dead_letter(void **state)
{
    (void)state;
    expect_rejected("exactly_once");
}

static void test_refused__invalid_at_least_once__is_a_dead_letter(void **state)
{
    (void)state;
    expect_rejected("at_least_once");
}

static void test_refused__no_right_to_the_topic__is_fatal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    for (int i = 0; i < 20; i++) {
        inject(&f, ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    }
    feed_records(&f, 1);
    struct worker *worker = lone_worker_of(&f);
    await_fatal(&f);
    assert_err(ERR_TOPIC_FORBIDDEN, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused__too_large__is_a_dead_letter),
        cmocka_unit_test(test_refused__invalid__is_a_dead_letter),
        cmocka_unit_test(test_refused__invalid_at_least_once__is_a_dead_letter),
        cmocka_unit_test(test_refused__no_right_to_the_topic__is_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
