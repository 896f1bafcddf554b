/* What several partitions have for a broker goes as one request, and each of them has its own answer. It is the library
 * that is tested, as scripts/deps adds to it (scripts/librdkafka/rdkafka_joined.c). */
#include "batches_fixture.h"
#include "core/clock.h"

#define PARTITIONS  8
#define PRODUCE     0 /* Kafka's API key */
#define DEADLINE_MS 60000
#define MANY        400 /* records: some for each partition */
#define LARGE       200000
#define AWAY_MS     600000 /* an answer that nobody waits for */

struct joined {
    struct batches_fixture batches;
    struct mock_kafka mock;
    bool is_away; /* the client has lost its broker */
};

static void on_error(rd_kafka_t *client, int code, const char *reason, void *context)
{
    (void)client;
    (void)reason;
    struct batches_fixture *batches = context;
    struct joined *joined = (struct joined *)batches; /* its first member */
    joined->is_away |= code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
}

static void start(struct joined *joined, int16_t version, const char *codec)
{
    joined->mock = mock_kafka_start(1);
    mock_kafka_topic(&joined->mock, "orders", PARTITIONS);
    assert_int_equal(0, rd_kafka_mock_set_apiversion(joined->mock.cluster, PRODUCE, 3, version));
    rd_kafka_conf_t *conf = batches_conf(&joined->mock, KAFKA_ROLE_PRODUCER_BULK);
    batches_set(conf, "linger.ms", "0"); /* what is handed over is old enough */
    batches_set(conf, "compression.codec", codec);
    rd_kafka_conf_set_error_cb(conf, on_error);
    batches_fixture_start(&joined->batches, conf, "orders", PARTITIONS);
    batches_add_next(&joined->batches, joined->batches.expected, MANY);
    batches_flush(&joined->batches); /* each partition's first is acknowledged */
    rd_kafka_mock_start_request_tracking(joined->mock.cluster);
}

static void stop(struct joined *joined)
{
    batches_fixture_stop(&joined->batches);
    mock_kafka_stop(&joined->mock);
}

static size_t requests(const struct joined *joined)
{
    return mock_kafka_requests(&joined->mock, PRODUCE);
}

/* So that all that is handed over until the broker is back is there when it is. */
static void broker_leaves(struct joined *joined)
{
    const int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    joined->is_away = false;
    assert_int_equal(0, rd_kafka_mock_broker_set_down(joined->mock.cluster, 1));
    while (!joined->is_away) {
        assert_true(clock_mono_us() < deadline_us);
        (void)rd_kafka_poll(joined->batches.client, 10);
    }
}

static void broker_returns(struct joined *joined)
{
    assert_int_equal(0, rd_kafka_mock_broker_set_up(joined->mock.cluster, 1));
}

/* Batches of all partitions, each a request that waits to be sent. */
static void send_at_once(struct joined *joined)
{
    broker_leaves(joined);
    batches_add_next(&joined->batches, joined->batches.expected, MANY);
    batches_send_all(&joined->batches);
    broker_returns(joined);
}

static void expect_all_stored(const struct joined *joined)
{
    assert_int_equal(batches_expected_count(&joined->batches), joined->batches.stored);
    assert_int_equal(0, joined->batches.failed);
    batches_expect_stored(&joined->batches, &joined->mock);
}

static void test_joined__of_every_version__are_one_request(void **state)
{
    (void)state;
    static const int16_t versions[] = {3, 4, 6, 7, 8, 9, 10}; /* the mock's 5 lacks a field */
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct joined joined;
        start(&joined, versions[i], i % 2 ? "none" : "lz4");
        send_at_once(&joined);
        batches_flush(&joined.batches);
        print_message("version %d\n", versions[i]);
        assert_int_equal(1, requests(&joined));
        expect_all_stored(&joined);
        stop(&joined);
    }
}

/* One broker's; what others lead does not wait for it. */
static void test_joined__of_several_brokers__are_one_request_each(void **state)
{
    (void)state;
    struct joined joined;
    start(&joined, 10, "lz4");
    int32_t second = 2;
    assert_int_equal(0, rd_kafka_mock_broker_add(joined.mock.cluster, second));
    for (int32_t partition = 0; partition < PARTITIONS; partition += 2) {
        assert_int_equal(0, rd_kafka_mock_partition_set_leader(joined.mock.cluster, "orders",
                                                               partition, second));
    }
    for (int turn = 0; turn < 20; turn++) {
        batches_add_next(&joined.batches, joined.batches.expected, MANY);
        batches_flush(&joined.batches);
    }
    assert_in_range(requests(&joined), 20, 20 * PARTITIONS - 1);
    expect_all_stored(&joined);
    stop(&joined);
}

static void test_joined__one_refused_for_now__is_sent_again_alone(void **state)
{
    (void)state;
    for (int16_t version = 7; version <= 10; version++) {
        struct joined joined;
        start(&joined, version, "lz4");
        rd_kafka_mock_partition_push_request_errors(joined.mock.cluster, "orders", 3, PRODUCE, 1,
                                                    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
        send_at_once(&joined);
        batches_flush(&joined.batches);
        assert_int_equal(2, requests(&joined));
        expect_all_stored(&joined);
        stop(&joined);
    }
}

static void test_joined__one_refused_for_good__fails_alone(void **state)
{
    (void)state;
    struct joined joined;
    start(&joined, 10, "lz4");
    const int64_t before = (int64_t)joined.batches.expected[5].count;
    rd_kafka_mock_partition_push_request_errors(joined.mock.cluster, "orders", 5, PRODUCE, 1,
                                                RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    send_at_once(&joined);
    batches_flush(&joined.batches);
    const int64_t refused = (int64_t)joined.batches.expected[5].count - before;
    assert_int_equal(1, requests(&joined));
    assert_int_equal(refused, joined.batches.failed);
    assert_int_equal(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, joined.batches.code);
    joined.batches.expected[5].count = (size_t)before;
    assert_int_equal(batches_expected_count(&joined.batches), joined.batches.stored);
    batches_expect_stored(&joined.batches, &joined.mock);
    stop(&joined);
}

static void test_joined__never_answered__are_sent_again(void **state)
{
    (void)state;
    struct joined joined;
    start(&joined, 10, "lz4");
    rd_kafka_mock_push_request_errors(joined.mock.cluster, PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR__TRANSPORT);
    send_at_once(&joined);
    batches_flush(&joined.batches);
    assert_in_range(requests(&joined), 2, 1 + PARTITIONS);
    expect_all_stored(&joined);
    stop(&joined);
}

/* More than 1 MiB is not held up for all of it. */
static void test_joined__large__are_several_requests(void **state)
{
    (void)state;
    static char value[LARGE];
    struct joined joined;
    start(&joined, 10, "none");
    const int64_t before = joined.batches.stored;
    broker_leaves(&joined);
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        const struct kafka_record record = {
            .partition = partition, .value = sv_of(value, sizeof value), .timestamp_ms = 1};
        assert_int_equal(0, kafka_batches_add(joined.batches.batches, 0, &record, 0));
    }
    batches_send_all(&joined.batches);
    broker_returns(&joined);
    batches_flush(&joined.batches);
    assert_int_equal(2, requests(&joined)); /* five of them, and three */
    assert_int_equal(PARTITIONS, joined.batches.stored - before);
    stop(&joined);
}

/* All of it has been sent, and none is answered yet. */
static void send_unanswered(struct joined *joined)
{
    assert_int_equal(
        0, rd_kafka_mock_broker_push_request_error_rtts(joined->mock.cluster, 1, PRODUCE, 1,
                                                        RD_KAFKA_RESP_ERR_NO_ERROR, AWAY_MS));
    send_at_once(joined);
    const int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    while (!requests(joined)) {
        assert_true(clock_mono_us() < deadline_us);
        (void)rd_kafka_poll(joined->batches.client, 1);
    }
}

/* And is told to have failed, but not that it is not stored. */
static void give_up(struct joined *joined)
{
    const int64_t stored_before = joined->batches.stored;
    assert_int_equal(0, rd_kafka_purge(joined->batches.client,
                                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT));
    assert_int_equal(0, rd_kafka_flush(joined->batches.client, DEADLINE_MS));
    assert_int_equal(stored_before, joined->batches.stored);
    assert_int_equal(MANY, joined->batches.failed);
    assert_int_equal(MANY, joined->batches.in_doubt);
}

static void test_joined__given_up_under_way__are_in_doubt(void **state)
{
    (void)state;
    struct joined joined;
    start(&joined, 10, "lz4");
    send_unanswered(&joined);
    give_up(&joined);
    assert_int_equal(RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, joined.batches.code);
    stop(&joined);
}

/* They wait to be sent again; the broker may have what it was sent before it went. */
static void test_joined__given_up_when_the_broker_has_gone__are_in_doubt(void **state)
{
    (void)state;
    struct joined joined;
    start(&joined, 10, "lz4");
    send_unanswered(&joined);
    broker_leaves(&joined);
    give_up(&joined);
    assert_int_equal(RD_KAFKA_RESP_ERR__PURGE_QUEUE, joined.batches.code);
    stop(&joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joined__of_every_version__are_one_request),
        cmocka_unit_test(test_joined__of_several_brokers__are_one_request_each),
        cmocka_unit_test(test_joined__one_refused_for_now__is_sent_again_alone),
        cmocka_unit_test(test_joined__one_refused_for_good__fails_alone),
        cmocka_unit_test(test_joined__never_answered__are_sent_again),
        cmocka_unit_test(test_joined__large__are_several_requests),
        cmocka_unit_test(test_joined__given_up_under_way__are_in_doubt),
        cmocka_unit_test(test_joined__given_up_when_the_broker_has_gone__are_in_doubt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
