/* When a cycle is committed, what is done when nobody knows whether it was, and what is refused before
 * anything runs. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

#define MANY       3000    /* more than a cycle that is committed early may have */
#define NEVER_MS   3000000 /* longer than any test */
#define FOREVER_MS "7000000"
#define SILENCE_MS 60000 /* a broker that says nothing for so long is given up before */

static const char *const copy_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"copy\": {\"from\": \"in\", \"output\": {\"topic\": \"out\"}}}, "
          "\"dead_letter\": {\"topic\": \"dlq\"}}";

static void properties_set(struct fixture *f, struct config_pair *pairs, size_t count)
{
    f->mock.config.extra.prefix = "kafka.";
    f->mock.config.extra.pairs = pairs;
    f->mock.config.extra.count = count;
}

/* --- when it is due ---------------------------------------------------------------------------------------- */

/* By the interval nothing would be committed before the test is given up. All records lie ready: they
 * come in few batches, which does not make the cycles longer. */
static void expect_committed_by(int64_t records, int64_t bytes, int commits)
{
    static struct config_pair forever[] = {{"transaction.timeout.ms", FOREVER_MS}};
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    properties_set(&f, forever, ARRAY_LEN(forever));
    f.config.commit_interval_ms = NEVER_MS;
    f.config.commit_records = records;
    f.config.commit_bytes = bytes;
    feed_records(&f, MANY);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", MANY);
    assert_true(metric_of(&f, "commits_total", "") >= commits);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_commit__enough_records__is_due(void **state)
{
    (void)state;
    expect_committed_by(100, 1 << 30, MANY / 100);
}

static void test_commit__enough_bytes__is_due(void **state)
{
    (void)state;
    expect_committed_by(10000000, 10000, MANY * 30 / 10000); /* a record has more than 30 */
}

/* --- an outcome that is not known ---------------------------------------------------------------------------- */

/* The first request that ends a transaction is not answered while anybody waits for it. */
static void expect_replaced_when_silent(struct fixture *f)
{
    static struct config_pair short_ones[] = {{"transaction.timeout.ms", "6000"},
                                              {"message.timeout.ms", "6000"},
                                              {"socket.timeout.ms", "6000"},
                                              {"connections.max.idle.ms", "0"}};
    properties_set(f, short_ones, ARRAY_LEN(short_ones));
    feed_records(f, RECORDS);
    (void)rd_kafka_mock_broker_push_request_error_rtts(f->mock.cluster, 1, END_TXN, 1,
                                                       RD_KAFKA_RESP_ERR_NO_ERROR, SILENCE_MS);
    struct worker *worker = worker_of(f, NULL);
    await_metric(f, "records_in_total", "", RECORDS);
    read_output(f, RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(f, "records_in_total", ""));
    assert_int_equal(1, (int)metric_of(f, "aborts_total", ""));
    assert_int_equal(1, (int)metric_of(f, "producer_rebuilds_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

static void test_commit__not_answered__producer_is_replaced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    expect_replaced_when_silent(&f);
    fixture_stop(&f);
}

static void test_abort__not_answered__producer_is_replaced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
    expect_replaced_when_silent(&f);
    fixture_stop(&f);
}

/* Records whose requests time out wait to be sent again when the transaction is given up. */
static void test_abort__of_records_that_may_be_stored__producer_is_replaced(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t second[] = {RD_KAFKA_RESP_ERR_NO_ERROR,
                                                 RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION};
    rd_kafka_resp_err_t timed_out[20];
    struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(timed_out); i++) {
        timed_out[i] = RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
    }
    fixture_start(&f, copy_text, "exactly_once");
    feed_records(&f, RECORDS);
    rd_kafka_mock_push_request_errors_array(f.mock.cluster, PRODUCE, ARRAY_LEN(timed_out),
                                            timed_out);
    rd_kafka_mock_push_request_errors_array(f.mock.cluster, TXN_OFFSETS, ARRAY_LEN(second), second);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "producer_rebuilds_total", "", 1);
    read_output(&f, RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* --- what cannot be right -------------------------------------------------------------------------------------- */

static void expect_refused(struct fixture *f, struct config_pair *pairs, size_t count,
                           const char *word)
{
    struct err_info info = {0};
    properties_set(f, pairs, count);
    assert_err(ERR_CONFIG, worker_check(&f->config, &f->mock.config, f->pipeline, &info));
    assert_non_null(strstr(info.text, word));
}

static void test_check__times_beyond_the_transactions__are_refused(void **state)
{
    (void)state;
    struct config_pair two_seconds[] = {{"transaction.timeout.ms", "2000"},
                                        {"socket.timeout.ms", "1500"},
                                        {"message.timeout.ms", "1500"}};
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    expect_refused(&f, two_seconds, 1, "kafka.message.timeout.ms");
    f.config.commit_interval_ms = 1001;
    expect_refused(&f, two_seconds, ARRAY_LEN(two_seconds), "commit.interval");
    f.config.commit_interval_ms = 1000;
    struct err_info info = {0};
    assert_err(ERR_OK, worker_check(&f.config, &f.mock.config, f.pipeline, &info));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit__enough_records__is_due),
        cmocka_unit_test(test_commit__enough_bytes__is_due),
        cmocka_unit_test(test_commit__not_answered__producer_is_replaced),
        cmocka_unit_test(test_abort__not_answered__producer_is_replaced),
        cmocka_unit_test(test_abort__of_records_that_may_be_stored__producer_is_replaced),
        cmocka_unit_test(test_check__times_beyond_the_transactions__are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
