/* Batches in transactions: what was committed is stored, once, in order; what was aborted at most once. That
 * the latter is not read is the marks' doing, which the mock cluster does not tell. It refuses sequence numbers that skip, and takes those that were there for duplicates. */
#include "transactions_fixture.h"

#define PARTITIONS 4
#define ROUNDS     30

enum request { PRODUCE = 0, ADD_PARTITIONS = 24, END_TRANSACTION = 26 }; /* Kafka's API keys */

static void fixture_start(struct batches_fixture *fixture, struct mock_kafka *mock)
{
    *mock = mock_kafka_start(1);
    mock_kafka_topic(mock, "orders", PARTITIONS);
    batches_fixture_start(fixture, transactions_conf(mock), "orders", PARTITIONS);
    fixture->reads = KAFKA_READS_WITH_MARKS;
    no_error(rd_kafka_init_transactions(fixture->client, BATCHES_DEADLINE_MS));
}

static void fixture_stop(struct batches_fixture *fixture, struct mock_kafka *mock)
{
    batches_fixture_stop(fixture);
    mock_kafka_stop(mock);
}

static int64_t end_of_partition(const struct batches_fixture *fixture, int32_t partition)
{
    int64_t first, end;
    assert_int_equal(0, rd_kafka_query_watermark_offsets(fixture->client, "orders", partition,
                                                         &first, &end, BATCHES_DEADLINE_MS));
    return end;
}

/* --- */

static void test_transactions__committed_and_aborted__the_former_are_read(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (size_t round = 0; round < ROUNDS; round++) {
        transaction_begin(&fixture);
        transaction_add(&fixture, 1 + round * 17 % 200);
        batches_flush(&fixture); /* the broker has those that are aborted */
        transaction_add(&fixture, round * 7 % 50);
        round % 3 == 1 ? transaction_abort(&fixture) : transaction_commit(&fixture);
    }
    assert_int_equal(0, fixture.failed);
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* A transaction is aborted at any moment: nothing of it, some, or all is with the broker, and what waits is
 * purged. What comes after is taken for new, by the same client if it may be used on. */
static bool purging_round(struct batches_fixture *fixture, struct mock_kafka *mock, size_t round)
{
    transaction_begin(fixture);
    kafka_batches_limit(fixture->batches, 1 << 20, 1 + (int32_t)(round % 5));
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, 1, 3);
    transaction_add_if_taken(fixture, 30);
    round % 3 ? transaction_flush(fixture) : batches_send_all(fixture);
    transaction_add_if_taken(fixture, 100);
    batches_send_all(fixture);
    for (size_t i = 0; i < round % 8; i++) {
        (void)rd_kafka_poll(fixture->client, 1);
    }
    transaction_abort(fixture);
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, 1, 0);
    return fixture->in_doubt > 0;
}

static void test_transactions__batches_purged_between__are_stored_once(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    int replaced = 0, refused = 0;
    fixture_start(&fixture, &mock);
    for (size_t round = 0; round < 2 * ROUNDS; round++) {
        if (purging_round(&fixture, &mock, round)) {
            transactions_client_replace(&fixture, &mock);
            replaced++;
        }
        transaction_commit_again(&fixture, 20, &refused);
    }
    print_message("%" PRId64 " purged, %d clients replaced, %d commits refused\n", fixture.failed,
                  replaced, refused);
    assert_true(fixture.failed > 0);
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* What no request was made of is purged: the next transaction begins as if it had not been. */
static void test_transaction__purged_before_any_request__leaves_no_gap(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    transaction_begin(&fixture);
    transaction_add(&fixture, 100);
    transaction_commit(&fixture);
    int64_t end = end_of_partition(&fixture, 0);
    for (int round = 0; round < 5; round++) {
        transaction_begin(&fixture);
        /* The coordinator does not know the partitions by then: nothing may be sent. */
        rd_kafka_mock_push_request_errors(
            mock.cluster, ADD_PARTITIONS, 3, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
            RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS);
        transaction_add(&fixture, 100);
        batches_send_all(&fixture);
        transaction_abort(&fixture);
        rd_kafka_mock_clear_request_errors(mock.cluster, ADD_PARTITIONS);
    }
    assert_true(end_of_partition(&fixture, 0) >= end);
    transaction_begin(&fixture);
    transaction_add(&fixture, 100);
    transaction_commit(&fixture);
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* A partition that a transaction has no batch of yet is told to the coordinator before one is sent; and again
 * in the next. */
static void test_transactions__partition_by_partition__are_each_announced(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    struct made_record made;
    for (int32_t round = 0; round < 3 * PARTITIONS; round++) {
        transaction_begin(&fixture);
        for (int32_t k = 0; k <= round % PARTITIONS; k++, fixture.next++) {
            made_record(&made, fixture.next, fixture.bytes_max);
            made.record.partition = (round + k) % PARTITIONS;
            assert_int_equal(0, batches_add_waiting(&fixture, &made.record, 0));
            batches_note(fixture.open, made.record.partition, fixture.next);
            batches_flush(&fixture);
        }
        round % 4 == 3 ? transaction_abort(&fixture) : transaction_commit(&fixture);
    }
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* Outside of a transaction, and after it has failed, a record is refused and nothing changes. */
static void test_transaction__none_or_failed__takes_no_record(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    struct kafka_record record = {.partition = 0, .value = SV("v"), .timestamp_ms = 1};
    assert_int_equal(RD_KAFKA_RESP_ERR__STATE, batches_add_waiting(&fixture, &record, 0));
    transaction_begin(&fixture);
    rd_kafka_mock_push_request_errors(mock.cluster, ADD_PARTITIONS, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
    rd_kafka_resp_err_t code;
    int64_t deadline_us = clock_mono_us() + BATCHES_DEADLINE_MS * 1000;
    do { /* until the refusal is known, every other partition may be opened */
        (void)rd_kafka_poll(fixture.client, 1);
        code = kafka_batches_send(fixture.batches);
        code = code ? code : batches_add_waiting(&fixture, &record, 0);
    } while (!code && clock_mono_us() < deadline_us);
    assert_int_equal(RD_KAFKA_RESP_ERR__STATE, code);
    transaction_abort(&fixture);
    assert_int_equal(0, fixture.stored);
    transaction_begin(&fixture);
    transaction_add(&fixture, 100);
    transaction_commit(&fixture);
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* --- random ones ------------------------------------------------------------------------------------------- */

static void random_round(struct batches_fixture *fixture, struct mock_kafka *mock,
                         struct made_record *random)
{
    transaction_begin(fixture);
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, 1, (int)made_below(random, 4) * 3);
    for (size_t part = made_below(random, 6); part-- > 0;) {
        kafka_batches_limit(fixture->batches, 1 + (int64_t)made_below(random, 100000),
                            1 + (int32_t)made_below(random, 40));
        transaction_add_if_taken(fixture, made_below(random, 60));
        switch (made_below(random, 4)) {
        case 0:
            batches_send_all(fixture);
            break;
        case 1:
            transaction_flush(fixture);
            break;
        default:
            break;
        }
    }
    if (made_below(random, 2) == 0 || !transaction_try_commit(fixture)) {
        transaction_abort(fixture);
    }
    if (fixture->in_doubt > 0) {
        transactions_client_replace(fixture, mock);
    }
}

static void test_transactions__random__are_stored_once(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    struct made_record random = {.state = 20};
    fixture_start(&fixture, &mock);
    for (int round = 0; round < TEST_RUNS(200); round++) {
        random_round(&fixture, &mock, &random);
    }
    (void)rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 0);
    batches_expect_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transactions__committed_and_aborted__the_former_are_read),
        cmocka_unit_test(test_transactions__batches_purged_between__are_stored_once),
        cmocka_unit_test(test_transaction__purged_before_any_request__leaves_no_gap),
        cmocka_unit_test(test_transactions__partition_by_partition__are_each_announced),
        cmocka_unit_test(test_transaction__none_or_failed__takes_no_record),
        cmocka_unit_test(test_transactions__random__are_stored_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
