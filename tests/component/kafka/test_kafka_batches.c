/* What a producer's batches are given is what its topic holds: by librdkafka, as scripts/deps mends it, whose
 * mock cluster verifies sequence numbers of transactions, and whose consumer verifies checksums. */
#include "batches_fixture.h"
#include "core/clock.h"

#define PARTITIONS    4
#define LARGEST_BYTES 1000000 /* message.max.bytes */

static void fixture_start_extra(struct batches_fixture *fixture, struct mock_kafka *mock,
                                struct config_pair *extra, size_t extra_count)
{
    *mock = mock_kafka_start(1);
    mock->config.extra = (struct config_passthrough){.pairs = extra, .count = extra_count};
    mock_kafka_topic(mock, "orders", PARTITIONS);
    batches_fixture_start(fixture, batches_conf(mock, KAFKA_ROLE_PRODUCER_BULK), "orders",
                          PARTITIONS);
}

static void fixture_start(struct batches_fixture *fixture, struct mock_kafka *mock)
{
    fixture_start_extra(fixture, mock, NULL, 0);
}

static void fixture_stop(struct batches_fixture *fixture, struct mock_kafka *mock)
{
    batches_fixture_stop(fixture);
    mock_kafka_stop(mock);
}

static void expect_all_stored(const struct batches_fixture *fixture, const struct mock_kafka *mock)
{
    assert_int_equal(batches_expected_count(fixture), fixture->stored);
    assert_int_equal(0, fixture->failed);
    batches_expect_stored(fixture, mock);
}

static size_t produce_requests(const struct mock_kafka *mock)
{
    return mock_kafka_requests(mock, 0 /* Produce */);
}

/* --- what is added is what is read ------------------------------------------------------------------------ */

static void test_kafka_batches__of_every_codec__are_what_was_added(void **state)
{
    (void)state;
    static const char *const codecs[] = {"none", "lz4", "zstd", "gzip", "snappy"};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct config_pair extra[] = {{.name = "compression.codec", .value = codecs[i]}};
        struct batches_fixture fixture;
        struct mock_kafka mock;
        fixture_start_extra(&fixture, &mock, extra, ARRAY_LEN(extra));
        for (size_t turn = 0; turn < 20; turn++) { /* batches of few records and of many */
            batches_add_next(&fixture, fixture.expected, 1 + turn * turn);
            batches_send_all(&fixture);
        }
        batches_flush(&fixture);
        print_message("%s\n", codecs[i]);
        expect_all_stored(&fixture, &mock);
        fixture_stop(&fixture, &mock);
    }
}

/* Records that fill many batches, which are sent when they are full. */
static void test_kafka_batches__more_than_one_holds__are_what_was_added(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    fixture.bytes_max = MADE_BYTES_MAX;
    rd_kafka_mock_start_request_tracking(mock.cluster);
    batches_add_next(&fixture, fixture.expected, 3000);
    batches_flush(&fixture);
    assert_true(produce_requests(&mock) > PARTITIONS);
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_limit__of_records__is_kept(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (int32_t records = 1; records <= 3; records++) {
        kafka_batches_limit(fixture.batches, 1 << 30, records);
        batches_add_next(&fixture, fixture.expected, 100);
        batches_flush(&fixture);
    }
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_limit__of_one_record__is_one_a_batch(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    kafka_batches_limit(fixture.batches, 1 << 30, 1);
    batches_add_next(&fixture, fixture.expected, 50);
    batches_flush(&fixture);
    assert_int_equal(50, kafka_batches_opened(fixture.batches));
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_limit__of_bytes__is_kept_but_for_what_is_larger(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (int64_t bytes = 1; bytes <= 10000; bytes *= 10) {
        kafka_batches_limit(fixture.batches, bytes, 1000);
        batches_add_next(&fixture, fixture.expected, 50);
        batches_flush(&fixture);
    }
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* --- sizes ------------------------------------------------------------------------------------------------------ */

static struct kafka_record record_of(char *value, size_t bytes)
{
    return (struct kafka_record){
        .key = SV("key"), .value = sv_of(value, bytes), .timestamp_ms = MADE_TIME_MS};
}

static size_t value_bytes_most(void)
{
    struct kafka_record none = {.key = SV("key")};
    return LARGEST_BYTES - 512 - kafka_record_bytes_max(&none);
}

static void test_kafka_batches_add__as_large_as_may_be__is_stored(void **state)
{
    static const char *const codecs[] = {"none", "lz4", "zstd", "gzip", "snappy"};
    (void)state;
    size_t bytes = value_bytes_most();
    char *value = malloc(bytes + 1);
    uint64_t noise = 1;
    for (size_t i = 0; i <= bytes; i++) { /* what no codec makes smaller */
        noise = noise * 6364136223846793005ULL + 1442695040888963407ULL;
        value[i] = (char)(noise >> 56);
    }
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct config_pair extra[] = {{.name = "compression.codec", .value = codecs[i]}};
        struct batches_fixture fixture;
        struct mock_kafka mock;
        fixture_start_extra(&fixture, &mock, extra, ARRAY_LEN(extra));
        struct kafka_record too_large = record_of(value, bytes + 1),
                            largest = record_of(value, bytes);
        struct kafka_record small = record_of(value, 10);
        assert_int_equal(0, batches_add_waiting(&fixture, &small, 0));
        assert_int_equal(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                         batches_add_waiting(&fixture, &too_large, 0));
        assert_int_equal(0, batches_add_waiting(&fixture, &largest, 0));
        assert_int_equal(0, batches_add_waiting(&fixture, &small, 0));
        batches_flush(&fixture);
        assert_int_equal(3, fixture.stored);
        assert_int_equal(0, fixture.failed);
        struct kafka_read read =
            kafka_read_all(&mock.config, "orders", PARTITIONS, KAFKA_READS_VERIFIED);
        assert_int_equal(3, read.count);
        expect_message(&small, read.messages[0]);
        expect_message(&largest, read.messages[1]);
        expect_message(&small, read.messages[2]);
        kafka_read_end(&read);
        fixture_stop(&fixture, &mock);
    }
    free(value);
}

/* A broker that takes less than the client does: its report names the batch, and nothing is sent for ever. */
static void test_kafka_batches__refused_as_too_large__are_reported_as_failed(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    rd_kafka_mock_push_request_errors(mock.cluster, 0, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    struct kafka_record record = {.key = SV("k"), .value = SV("v"), .timestamp_ms = MADE_TIME_MS};
    for (int i = 0; i < 7; i++) {
        assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
    }
    batches_flush(&fixture);
    assert_int_equal(7, fixture.failed);
    assert_int_equal(0, fixture.stored);
    assert_int_equal(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, fixture.code);
    fixture_stop(&fixture, &mock);
}

/* --- partitions ------------------------------------------------------------------------------------------------- */

static void test_kafka_batches_add__partition__is_that_of_record_by_record(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    char key[16];
    for (int i = 0; i < 200; i++) {
        int bytes = snprintf(key, sizeof key, "key-%d", i);
        struct kafka_record record = {.partition = -1,
                                      .key = sv_of(key, (size_t)bytes),
                                      .value = SV("batch"),
                                      .timestamp_ms = MADE_TIME_MS};
        assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
        batches_flush(&fixture);
        assert_int_equal(0, rd_kafka_producev(fixture.client, RD_KAFKA_V_TOPIC("orders"),
                                              RD_KAFKA_V_KEY(key, (size_t)bytes), RD_KAFKA_V_END));
        assert_int_equal(0, rd_kafka_flush(fixture.client, BATCHES_DEADLINE_MS));
    }
    struct kafka_read read =
        kafka_read_all(&mock.config, "orders", PARTITIONS, KAFKA_READS_VERIFIED);
    assert_int_equal(400, read.count);
    for (size_t i = 0; i < read.count; i += 2) {
        const rd_kafka_message_t *batch = read.messages[i], *single = read.messages[i + 1];
        assert_int_equal(batch->partition, single->partition);
        assert_int_equal(5, batch->len);
        assert_int_equal(0, single->len);
        expect_view(sv_of(batch->key, batch->key_len), sv_of(single->key, single->key_len));
    }
    kafka_read_end(&read);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_add__part_of_a_key_or_a_partition__decides(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (int32_t i = 0; i < 400; i++) {
        char key[32];
        int bytes = snprintf(key, sizeof key, "%d|%d", i / 10, i);
        int part = snprintf(NULL, 0, "%d", i / 10);
        struct kafka_record record = {.partition = i % 2 ? i % PARTITIONS : -1,
                                      .key = sv_of(key, (size_t)bytes),
                                      .timestamp_ms = MADE_TIME_MS + i};
        assert_int_equal(0, batches_add_waiting(&fixture, &record, (size_t)part));
    }
    batches_flush(&fixture);
    struct kafka_read read =
        kafka_read_all(&mock.config, "orders", PARTITIONS, KAFKA_READS_VERIFIED);
    assert_int_equal(400, read.count);
    for (size_t i = 0; i < read.count; i++) {
        const rd_kafka_message_t *message = read.messages[i];
        int32_t number = (int32_t)(rd_kafka_message_timestamp(message, NULL) - MADE_TIME_MS);
        const char *end = memchr(message->key, '|', message->key_len);
        assert_int_equal(number % 2 ? number % PARTITIONS
                                    : rd_kafka_msg_partitioner_murmur2(
                                          fixture.topic, message->key,
                                          (size_t)(end - (const char *)message->key), PARTITIONS,
                                          NULL, NULL),
                         message->partition);
    }
    kafka_read_end(&read);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_add__partition_that_is_none__is_refused(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    struct kafka_record record = {.partition = PARTITIONS, .value = SV("v"), .timestamp_ms = 1};
    assert_int_equal(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                     batches_add_waiting(&fixture, &record, 0));
    batches_add_next(&fixture, fixture.expected, 100);
    batches_flush(&fixture);
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* Those of a batch stay together; each batch may go anywhere. */
static void test_kafka_batches_add__no_key__fills_one_batch_after_the_other(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    rd_kafka_mock_start_request_tracking(mock.cluster);
    for (int i = 0; i < 500; i++) {
        struct kafka_record record = {
            .partition = -1, .value = SV("v"), .timestamp_ms = MADE_TIME_MS + i};
        assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
        if (i % 50 == 49) {
            batches_flush(&fixture);
        }
    }
    assert_int_equal(10, produce_requests(&mock));
    struct kafka_read read =
        kafka_read_all(&mock.config, "orders", PARTITIONS, KAFKA_READS_VERIFIED);
    assert_int_equal(500, read.count);
    bool seen[500] = {false};
    for (size_t i = 0; i < read.count; i++) {
        const rd_kafka_message_t *message = read.messages[i];
        int64_t number = rd_kafka_message_timestamp(message, NULL) - MADE_TIME_MS;
        assert_in_range(number, 0, 499);
        assert_false(seen[number]);
        seen[number] = true;
        assert_null(message->key);
        assert_true(number % 50 == message->offset % 50);
    }
    kafka_read_end(&read);
    fixture_stop(&fixture, &mock);
}

/* --- what is not known, not sent, or taken back --------------------------------------------------------- */

static void test_kafka_batches_add__topic_not_looked_up_yet__is_told_to_wait(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", PARTITIONS);
    assert_int_equal(0, rd_kafka_mock_broker_set_down(mock.cluster, 1));
    batches_fixture_start(&fixture, batches_conf(&mock, KAFKA_ROLE_PRODUCER_BULK), "orders",
                          PARTITIONS);
    struct kafka_record record = {.partition = 0, .value = SV("v"), .timestamp_ms = 1};
    assert_int_equal(RD_KAFKA_RESP_ERR__WAIT_CACHE,
                     kafka_batches_add(fixture.batches, 0, &record, 0));
    assert_int_equal(0, rd_kafka_mock_broker_set_up(mock.cluster, 1));
    batches_add_next(&fixture, fixture.expected, 100);
    batches_flush(&fixture);
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_add__topic_that_does_not_exist__is_refused(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    struct batches_fixture fixture;
    rd_kafka_mock_topic_set_error(mock.cluster, "none", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    rd_kafka_conf_t *conf = batches_conf(&mock, KAFKA_ROLE_PRODUCER_BULK);
    batches_set(conf, "topic.metadata.propagation.max.ms", "0");
    batches_fixture_start(&fixture, conf, "none", 1);
    struct kafka_record record = {.partition = -1, .value = SV("v"), .timestamp_ms = 1};
    assert_int_equal(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, batches_add_waiting(&fixture, &record, 0));
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_drop__open_ones__are_never_sent(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (int turn = 0; turn < 20; turn++) {
        uint64_t first = fixture.next;
        batches_add_next(&fixture, fixture.open, 200);
        kafka_batches_drop(fixture.batches);
        fixture.next = turn % 2 ? first : fixture.next; /* again, or others */
        batches_add_next(&fixture, fixture.expected, 200);
        batches_flush(&fixture);
        if (turn % 3 == 0) {
            kafka_batches_reset(fixture.batches);
        }
    }
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

static void test_kafka_batches_send_older__those_opened_since__stay_open(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    struct kafka_record record = {.partition = 0, .value = SV("v"), .timestamp_ms = 1};
    assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
    int64_t between_us = clock_mono_us() + 1;
    while (clock_mono_us() <= between_us) {
    }
    record.partition = 1;
    assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
    assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
    assert_int_equal(0, kafka_batches_send_older(fixture.batches, between_us));
    assert_int_equal(0, rd_kafka_flush(fixture.client, BATCHES_DEADLINE_MS));
    assert_int_equal(1, fixture.stored);
    batches_flush(&fixture);
    assert_int_equal(3, fixture.stored);
    fixture_stop(&fixture, &mock);
}

/* What librdkafka may not hold more of is not sent and not lost: it stays open until there is room. */
static void test_kafka_batches__queue_full__stay_open(void **state)
{
    (void)state;
    struct config_pair extra[] = {{.name = "queue.buffering.max.messages", .value = "2"}};
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start_extra(&fixture, &mock, extra, ARRAY_LEN(extra));
    batches_add_next(&fixture, fixture.expected, 100);
    assert_int_equal(RD_KAFKA_RESP_ERR__QUEUE_FULL, kafka_batches_send(fixture.batches));
    batches_add_next(&fixture, fixture.expected, 100);
    batches_flush(&fixture);
    expect_all_stored(&fixture, &mock);
    fixture_stop(&fixture, &mock);
}

/* --- beside librdkafka's own way ------------------------------------------------------------------------- */

static void test_kafka_batches__among_single_records__keep_their_places(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock;
    fixture_start(&fixture, &mock);
    for (int turn = 0; turn < 400; turn++) {
        char value[24];
        int bytes = snprintf(value, sizeof value, "%d", turn);
        struct kafka_record record = {.value = sv_of(value, (size_t)bytes),
                                      .timestamp_ms = MADE_TIME_MS};
        if (turn / 7 % 2) {
            assert_int_equal(0, batches_add_waiting(&fixture, &record, 0));
            batches_send_all(&fixture);
        } else {
            assert_int_equal(0, rd_kafka_producev(
                                    fixture.client, RD_KAFKA_V_TOPIC("orders"),
                                    RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(value, (size_t)bytes),
                                    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
        }
    }
    batches_flush(&fixture);
    assert_int_equal(400, fixture.stored);
    struct kafka_read read =
        kafka_read_all(&mock.config, "orders", PARTITIONS, KAFKA_READS_VERIFIED);
    assert_int_equal(400, read.count);
    for (size_t i = 0; i < read.count; i++) {
        char value[24];
        (void)snprintf(value, sizeof value, "%zu", i);
        expect_view(sv(value), sv_of(read.messages[i]->payload, read.messages[i]->len));
    }
    kafka_read_end(&read);
    fixture_stop(&fixture, &mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kafka_batches__of_every_codec__are_what_was_added),
        cmocka_unit_test(test_kafka_batches__more_than_one_holds__are_what_was_added),
        cmocka_unit_test(test_kafka_batches_limit__of_records__is_kept),
        cmocka_unit_test(test_kafka_batches_limit__of_one_record__is_one_a_batch),
        cmocka_unit_test(test_kafka_batches_limit__of_bytes__is_kept_but_for_what_is_larger),
        cmocka_unit_test(test_kafka_batches_add__as_large_as_may_be__is_stored),
        cmocka_unit_test(test_kafka_batches__refused_as_too_large__are_reported_as_failed),
        cmocka_unit_test(test_kafka_batches_add__partition__is_that_of_record_by_record),
        cmocka_unit_test(test_kafka_batches_add__part_of_a_key_or_a_partition__decides),
        cmocka_unit_test(test_kafka_batches_add__partition_that_is_none__is_refused),
        cmocka_unit_test(test_kafka_batches_add__no_key__fills_one_batch_after_the_other),
        cmocka_unit_test(test_kafka_batches_add__topic_not_looked_up_yet__is_told_to_wait),
        cmocka_unit_test(test_kafka_batches_add__topic_that_does_not_exist__is_refused),
        cmocka_unit_test(test_kafka_batches_drop__open_ones__are_never_sent),
        cmocka_unit_test(test_kafka_batches_send_older__those_opened_since__stay_open),
        cmocka_unit_test(test_kafka_batches__queue_full__stay_open),
        cmocka_unit_test(test_kafka_batches__among_single_records__keep_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
