/* Batches of random counts while leaders move, requests fail and answers are lost: what is acknowledged or
 * committed is stored, every record once, in the order in which it was added.
 *
 * The mock verifies sequence numbers only of transactions, and takes only the last request's repetition for
 * one: where an answer is lost, or nothing verifies, one request at a time is under way. */
#include "transactions_fixture.h"

#define BROKERS    3
#define PARTITIONS 3
#define PRODUCE    0 /* Kafka's API key */

static size_t below(struct made_record *random, size_t limit)
{
    return made_below(random, limit);
}

/* Nothing of the request that is answered so is stored. */
static rd_kafka_resp_err_t any_error(struct made_record *random)
{
    static const rd_kafka_resp_err_t errors[] = {
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR__TRANSPORT,
    };
    return errors[below(random, ARRAY_LEN(errors))];
}

static void any_fault(struct mock_kafka *mock, struct made_record *random)
{
    int32_t broker = 1 + (int32_t)below(random, BROKERS);
    int rtt_ms = (int)below(random, 8);
    switch (below(random, 4)) {
    case 0:
        rd_kafka_mock_broker_push_request_error_rtts(mock->cluster, broker, PRODUCE, 1,
                                                     any_error(random), rtt_ms);
        break;
    case 1:
        rd_kafka_mock_broker_push_request_error_rtts(
            mock->cluster, broker, PRODUCE, 2, any_error(random), rtt_ms, any_error(random), 0);
        break;
    case 2:
        (void)rd_kafka_mock_partition_set_leader(mock->cluster, "orders",
                                                 (int)below(random, PARTITIONS), broker);
        break;
    default:
        (void)rd_kafka_mock_broker_set_rtt(mock->cluster, broker, rtt_ms);
        break;
    }
}

static void faults_end(struct mock_kafka *mock)
{
    rd_kafka_mock_clear_request_errors(mock->cluster, PRODUCE);
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, -1, 0);
}

static void any_limit(struct batches_fixture *fixture, struct made_record *random)
{
    kafka_batches_limit(fixture->batches, 1 + (int64_t)below(random, 30000),
                        1 + (int32_t)below(random, 50));
}

/* --- acknowledged one by one ------------------------------------------------------------------------------ */

/* The next record as one of librdkafka's own, behind the batches that are open. */
static void single_add(struct batches_fixture *fixture)
{
    struct made_record made;
    made_record(&made, fixture->next, fixture->bytes_max);
    const struct kafka_record *record = &made.record;
    int32_t partition = batches_partition(fixture, record);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const struct kafka_header *header = &record->headers[i];
        assert_int_equal(0,
                         rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len,
                                             header->value.ptr, (ssize_t)header->value.len));
    }
    batches_send_all(fixture);
    assert_int_equal(
        0, rd_kafka_producev(
               fixture->client, RD_KAFKA_V_RKT(fixture->topic), RD_KAFKA_V_PARTITION(partition),
               RD_KAFKA_V_KEY(record->key.ptr, record->key.len),
               RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value.ptr, record->value.len),
               RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
               RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END));
    batches_note(fixture->expected, partition, fixture->next++);
}

static void test_batches__faults__are_stored_once_and_in_order(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct made_record random = {.state = 1};
    struct mock_kafka mock = mock_kafka_start(BROKERS);
    mock_kafka_topic(&mock, "orders", PARTITIONS);
    rd_kafka_conf_t *conf = batches_conf(&mock, KAFKA_ROLE_PRODUCER_ACKED);
    batches_set(conf, "max.in.flight", "1");
    batches_fixture_start(&fixture, conf, "orders", PARTITIONS);
    for (int turn = 0; turn < TEST_RUNS(200); turn++) {
        any_fault(&mock, &random);
        any_limit(&fixture, &random);
        batches_add_next(&fixture, fixture.expected, below(&random, 60));
        if (below(&random, 3) == 0) {
            single_add(&fixture);
        }
        batches_send_all(&fixture);
        (void)rd_kafka_poll(fixture.client, (int)below(&random, 4));
    }
    faults_end(&mock);
    batches_flush(&fixture);
    assert_int_equal(0, fixture.failed);
    assert_int_equal(batches_expected_count(&fixture), fixture.stored);
    batches_expect_stored(&fixture, &mock);
    batches_fixture_stop(&fixture);
    mock_kafka_stop(&mock);
}

/* --- in transactions --------------------------------------------------------------------------------------- */

static void transactions_start(struct batches_fixture *fixture, struct mock_kafka *mock,
                               const char *in_flight)
{
    *mock = mock_kafka_start(BROKERS);
    mock_kafka_topic(mock, "orders", PARTITIONS);
    assert_int_equal(0, rd_kafka_mock_coordinator_set(mock->cluster, "transaction", "test", 1));
    rd_kafka_conf_t *conf = transactions_conf(mock);
    batches_set(conf, "max.in.flight", in_flight);
    batches_fixture_start(fixture, conf, "orders", PARTITIONS);
    fixture->reads = KAFKA_READS_WITH_MARKS;
    no_error(rd_kafka_init_transactions(fixture->client, BATCHES_DEADLINE_MS));
}

static void transactions_stop(struct batches_fixture *fixture, struct mock_kafka *mock, int aborted)
{
    print_message("%d of the transactions were aborted\n", aborted);
    batches_expect_stored(fixture, mock);
    batches_fixture_stop(fixture);
    mock_kafka_stop(mock);
}

/* Several requests are under way when one fails: those behind it are refused, and the transaction is. */
static void test_transactions__faults__are_stored_once_and_in_order(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct made_record random = {.state = 2};
    struct mock_kafka mock;
    int aborted = 0;
    transactions_start(&fixture, &mock, "5");
    for (int turn = 0; turn < TEST_RUNS(50); turn++) {
        transaction_begin(&fixture);
        for (size_t part = below(&random, 5); part-- > 0;) {
            any_fault(&mock, &random);
            any_limit(&fixture, &random);
            transaction_add_if_taken(&fixture, below(&random, 100));
            batches_send_all(&fixture);
            (void)rd_kafka_poll(fixture.client, (int)below(&random, 4));
        }
        if (!transaction_try_commit(&fixture)) {
            transaction_abort(&fixture);
            aborted++;
        }
        if (fixture.in_doubt > 0) {
            transactions_client_replace(&fixture, &mock);
        }
    }
    faults_end(&mock);
    transaction_commit_again(&fixture, 100, &aborted);
    transactions_stop(&fixture, &mock, aborted);
}

/* A broker has what was sent, and its answer does not come: it is sent again, and stored once. */
static void broker_lost(struct batches_fixture *fixture, struct mock_kafka *mock,
                        struct made_record *random)
{
    int32_t broker = 2 + (int32_t)below(random, BROKERS - 1);
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, broker, 1000);
    transaction_add_if_taken(fixture, 1 + below(random, 50));
    batches_send_all(fixture);
    (void)rd_kafka_poll(fixture->client, (int)below(random, 10));
    assert_int_equal(0, rd_kafka_mock_broker_set_down(mock->cluster, broker));
    (void)rd_kafka_mock_broker_set_rtt(mock->cluster, broker, 0);
    if (below(random, 2)) {
        for (int i = 0; i < PARTITIONS; i++) {
            (void)rd_kafka_mock_partition_set_leader(mock->cluster, "orders", i, 5 - broker);
        }
    }
    (void)rd_kafka_poll(fixture->client, (int)below(random, 10));
    assert_int_equal(0, rd_kafka_mock_broker_set_up(mock->cluster, broker));
}

static void test_transactions__answers_lost__are_stored_once_and_in_order(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct made_record random = {.state = 3};
    struct mock_kafka mock;
    int aborted = 0;
    transactions_start(&fixture, &mock, "1");
    for (int turn = 0; turn < TEST_RUNS(20); turn++) {
        for (int i = 0; i < PARTITIONS; i++) {
            (void)rd_kafka_mock_partition_set_leader(mock.cluster, "orders", i,
                                                     2 + (int32_t)below(&random, BROKERS - 1));
        }
        transaction_begin(&fixture);
        any_limit(&fixture, &random);
        transaction_add_if_taken(&fixture, below(&random, 100));
        broker_lost(&fixture, &mock, &random);
        transaction_add_if_taken(&fixture, below(&random, 100));
        if (!transaction_try_commit(&fixture)) {
            transaction_abort(&fixture);
            aborted++;
        }
        if (fixture.in_doubt > 0) {
            transactions_client_replace(&fixture, &mock);
        }
    }
    transaction_commit_again(&fixture, 100, &aborted);
    transactions_stop(&fixture, &mock, aborted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches__faults__are_stored_once_and_in_order),
        cmocka_unit_test(test_transactions__faults__are_stored_once_and_in_order),
        cmocka_unit_test(test_transactions__answers_lost__are_stored_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
