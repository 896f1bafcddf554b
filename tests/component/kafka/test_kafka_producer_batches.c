/* What becomes of a producer's records, which are batches before librdkafka has them. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_US      60000000
#define DEADLINE_MS      60000
#define FOREVER_MS       "600000" /* nothing is sent for its age */
#define PARTITIONS_MAX   128
#define FAILED_MAX       1000
#define STORED_MAX       5000
#define PRODUCE          0    /* Kafka's API key */
#define MOCK_APPENDED_MS 1234 /* the mock's topics have the time of appending, and it is that */

struct told {
    void *opaque; /* of what is sent by send_numbers */
    size_t stored, stored_reports, failed;
    size_t value_bytes;
    int64_t first_failed_us, last_failed_us;
    struct stored {
        size_t count;
        int32_t partition;
        int64_t offset, timestamp_ms;
        void *opaque;
    } reports[STORED_MAX];
    /* What kafka_report_record says of those that failed. */
    struct failed {
        enum err err;
        bool may_be_stored;
        int32_t partition;
        int64_t timestamp_ms;
        char topic[16], key[16], value[16], header[16];
        size_t header_count;
        void *opaque;
    } list[FAILED_MAX];
};

static void text_of(char text[16], struct strview view)
{
    (void)snprintf(text, 16, "%.*s", view.ptr ? (int)view.len : 6, view.ptr ? view.ptr : "(null)");
}

static void failed_note(struct told *told, const struct kafka_report *report)
{
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    assert_int_equal(1, report->count);
    assert_true(told->failed < FAILED_MAX);
    kafka_report_record(report, headers, &record);
    assert_ptr_equal(report->opaque, record.opaque);
    assert_true(sv_equal(report->value, record.value));
    struct failed *failed = &told->list[told->failed];
    *failed = (struct failed){.err = report->err,
                              .may_be_stored = report->may_be_stored,
                              .partition = record.partition,
                              .timestamp_ms = record.timestamp_ms,
                              .header_count = record.header_count,
                              .opaque = record.opaque};
    text_of(failed->topic, sv(record.topic));
    text_of(failed->key, record.key);
    text_of(failed->value, record.value);
    if (record.header_count) {
        assert_true(sv_equal(SV("h"), record.headers[0].name));
        text_of(failed->header, record.headers[0].value);
    }
}

static void stored_note(struct told *told, const struct kafka_report *report)
{
    assert_true(told->stored_reports < STORED_MAX);
    told->stored += report->count;
    told->reports[told->stored_reports++] = (struct stored){.count = report->count,
                                                            .partition = report->partition,
                                                            .offset = report->offset,
                                                            .timestamp_ms = report->timestamp_ms,
                                                            .opaque = report->opaque};
}

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct told *told = context;
    for (size_t i = 0; i < count; i++) {
        told->value_bytes += reports[i].value_bytes;
        if (reports[i].err) {
            failed_note(told, &reports[i]);
            told->last_failed_us = clock_mono_us();
            told->first_failed_us = told->failed++ ? told->first_failed_us : told->last_failed_us;
        } else {
            stored_note(told, &reports[i]);
        }
    }
}

struct fixture {
    struct mock_kafka mock;
    struct config_pair pairs[4];
    struct kafka_producer *producer;
    struct told told;
};

static void set(struct fixture *fixture, const char *name, const char *value)
{
    struct config_passthrough *extra = &fixture->mock.config.extra;
    extra->pairs = fixture->pairs;
    extra->pairs[extra->count++] = (struct config_pair){name, value};
}

static void producer_start(struct fixture *fixture)
{
    const struct kafka_producer_params params = {.config = &fixture->mock.config,
                                                 .role = KAFKA_ROLE_PRODUCER_HASTY,
                                                 .on_reports = on_reports,
                                                 .context = &fixture->told,
                                                 .label = "batches"};
    struct err_info info = {0};
    if (kafka_producer_new(&params, &fixture->producer, &info)) {
        fail_msg("%s", info.text);
    }
}

static void serve(struct fixture *fixture)
{
    struct pollfd wait = {.fd = kafka_producer_fd(fixture->producer), .events = POLLIN};
    (void)poll(&wait, 1, 1000);
    if (wait.revents) {
        kafka_producer_serve(fixture->producer);
    }
}

/* Until a first record has been stored: the client knows the topic. */
static void await_known(struct fixture *fixture, const char *topic)
{
    const struct kafka_record record = {.topic = topic, .partition = 0, .value = SV("first")};
    assert_err(ERR_OK, kafka_producer_await_metadata(fixture->producer, DEADLINE_MS, NULL));
    assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, NULL));
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(1, fixture->told.stored);
    fixture->told = (struct told){0};
}

/* One broker, the topic "orders" of so many partitions, and a producer that knows it. */
static struct fixture *start(int partitions, const char *linger_ms)
{
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", partitions);
    set(fixture, "linger.ms", linger_ms);
    set(fixture, "statistics.interval.ms", "0"); /* would wake the owner as well */
    producer_start(fixture);
    await_known(fixture, "orders");
    return fixture;
}

static void stop(struct fixture *fixture)
{
    kafka_producer_free(fixture->producer);
    mock_kafka_stop(&fixture->mock);
    free(fixture);
}

/* Values "0", "1", ... from `from` on, each with its number in its timestamp and as its header. */
static void send_numbers(struct fixture *fixture, const char *key, int32_t partition, int from,
                         int count)
{
    for (int i = from; i < from + count; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", i);
        const struct kafka_header header = {SV("h"), sv(number)};
        const struct kafka_record record = {.topic = "orders",
                                            .partition = partition,
                                            .key = key ? sv(key) : (struct strview){0},
                                            .value = sv(number),
                                            .timestamp_ms = 1700000000000 + i,
                                            .headers = &header,
                                            .header_count = 1,
                                            .opaque = fixture->told.opaque};
        assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, NULL));
    }
}

/* All records of a topic, of one partition after the other in no order, to on_record. */
static void read_all(struct fixture *fixture, const char *topic, int partitions,
                     void (*on_record)(void *context, const rd_kafka_message_t *record),
                     void *context)
{
    struct kafka_tail *tail = NULL;
    struct err_info info = {0};
    struct kafka_position from[PARTITIONS_MAX];
    for (int i = 0; i < partitions; i++) {
        from[i] = (struct kafka_position){topic, i, KAFKA_EARLIEST};
    }
    const struct kafka_config config = {.bootstrap_servers =
                                            fixture->mock.config.bootstrap_servers};
    assert_err(ERR_OK,
               kafka_tail_new(&(struct kafka_tail_params){.config = &config, .label = "tail"},
                              &tail, &info));
    assert_err(ERR_OK, kafka_tail_add(tail, from, (size_t)partitions, &info));
    assert_err(ERR_OK, kafka_tail_mark_end(tail, DEADLINE_MS, &info));
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (!kafka_tail_is_caught_up(tail)) {
        rd_kafka_message_t *message;
        assert_true(clock_mono_us() < deadline_us);
        if (kafka_tail_poll(tail, &message, 1, 100)) {
            on_record(context, message);
            rd_kafka_message_destroy(message);
        }
    }
    kafka_tail_free(tail);
}

/* --- what is stored ---------------------------------------------------------------------------------------- */

/* Nobody flushes, and nothing but the descriptor says that there is something to do. */
static void test_linger__is_kept_by_the_descriptor(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, "50");
    for (int round = 1; round <= 3; round++) {
        send_numbers(fixture, "k", -1, 0, 100);
        assert_int_equal(100, kafka_producer_outstanding(fixture->producer));
        const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
        while (kafka_producer_outstanding(fixture->producer) && clock_mono_us() < deadline_us) {
            serve(fixture);
        }
        assert_int_equal(round * 100, fixture->told.stored);
    }
    stop(fixture);
}

static void test_batch__stored__is_one_report(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    for (int i = 0; i < 1000; i++) {
        const struct kafka_record record = {
            .topic = "orders", .partition = -1, .key = SV("k"), .value = SV("12345")};
        assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, NULL));
    }
    assert_int_equal(1000, kafka_producer_outstanding(fixture->producer));
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(1000, fixture->told.stored);
    assert_int_equal(1, fixture->told.stored_reports);
    assert_int_equal(5000, fixture->told.value_bytes);
    assert_int_equal(0, kafka_producer_outstanding(fixture->producer));
    stop(fixture);
}

/* Keys and their murmur2 as Kafka's own test of it says them. */
static const struct {
    const char *key;
    int32_t murmur2;
} keys[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"abc", 479470107},
};

struct found {
    int next[ARRAY_LEN(keys)];
    size_t without_key, tombstones;
};

static void on_found(void *context, const rd_kafka_message_t *record)
{
    struct found *found = context;
    if (record->len == strlen("first") && memcmp(record->payload, "first", record->len) == 0) {
        return;
    }
    if (!record->key) {
        found->without_key++;
        return;
    }
    const struct strview key = {record->key, record->key_len};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!sv_equal(key, sv(keys[i].key))) {
            continue;
        }
        char number[16];
        rd_kafka_headers_t *headers;
        const void *value;
        size_t bytes;
        assert_int_equal((keys[i].murmur2 & INT32_MAX) % 7, record->partition);
        if (!record->payload) {
            found->tombstones++;
            return;
        }
        (void)snprintf(number, sizeof number, "%d", found->next[i]++);
        assert_sv(number, ((struct strview){record->payload, record->len}));
        assert_int_equal(0, rd_kafka_message_headers(record, &headers));
        assert_int_equal(1, rd_kafka_header_cnt(headers));
        assert_int_equal(0, rd_kafka_header_get_last(headers, "h", &value, &bytes));
        assert_sv(number, ((struct strview){value, bytes}));
        rd_kafka_timestamp_type_t type;
        assert_int_equal(1700000000000 + found->next[i] - 1,
                         rd_kafka_message_timestamp(record, &type));
        return;
    }
    fail_msg("a key that nobody sent");
}

/* Each key's records are where other clients put them, in their order, as they were sent. */
static void test_keys__land_where_murmur2_says__in_order(void **state)
{
    (void)state;
    struct fixture *fixture = start(7, "20");
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            send_numbers(fixture, keys[i].key, -1, round * 10, 10);
        }
        send_numbers(fixture, NULL, -1, 0, 1);
        send_numbers(fixture, "", -1, 0, 1); /* an empty key is none */
        kafka_producer_serve(fixture->producer);
    }
    const struct kafka_record tombstone = {.topic = "orders", .partition = -1, .key = SV("abc")};
    assert_err(ERR_OK, kafka_producer_send(fixture->producer, &tombstone, NULL));
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    struct found found = {0};
    read_all(fixture, "orders", 7, on_found, &found);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(200, found.next[i]);
    }
    assert_int_equal(40, found.without_key);
    assert_int_equal(1, found.tombstones);
    stop(fixture);
}

static void count_one(void *context, const rd_kafka_message_t *record)
{
    (void)record;
    size_t *count = context;
    (*count)++;
}

static void test_many_topics__each_has_its_own(void **state)
{
    (void)state;
    struct fixture *fixture = start(3, "20");
    char name[16];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "topic-%d", i);
        mock_kafka_topic(&fixture->mock, name, 3);
    }
    for (int i = 0; i < 20 * 30; i++) {
        const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
        (void)snprintf(name, sizeof name, "topic-%d", i % 20);
        const struct kafka_record record = {
            .topic = name, .partition = i / 20 % 3, .value = sv(name)};
        while (kafka_producer_send(fixture->producer, &record, NULL)) { /* made just now */
            assert_true(clock_mono_us() < deadline_us);
            serve(fixture);
        }
    }
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(20 * 30, fixture->told.stored);
    for (int i = 0; i < 20; i++) {
        size_t count = 0;
        (void)snprintf(name, sizeof name, "topic-%d", i);
        read_all(fixture, name, 3, count_one, &count);
        assert_int_equal(30, count);
    }
    stop(fixture);
}

/* Of one batch: each has its own report, with its own offset and time, in the order of sending. */
static void test_opaques__mixed__each_record_is_told(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    rd_kafka_mock_start_request_tracking(fixture->mock.cluster);
    for (int i = 0; i < 300; i++) {
        fixture->told.opaque = (void *)(uintptr_t)(i / 2);
        send_numbers(fixture, "k", 0, i, 1);
    }
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(1, mock_kafka_requests(&fixture->mock, PRODUCE));
    assert_int_equal(300, fixture->told.stored_reports);
    for (int i = 0; i < 300; i++) {
        const struct stored *stored = &fixture->told.reports[i];
        assert_int_equal(1, stored->count);
        assert_ptr_equal((void *)(uintptr_t)(i / 2), stored->opaque);
        assert_int_equal(1 + i, stored->offset);
        assert_int_equal(MOCK_APPENDED_MS, stored->timestamp_ms);
    }
    stop(fixture);
}

/* What of a random lot is told, against what is there: a record's value says its number, and that its opaque. */
struct lot {
    struct told *told;
    size_t found;
};

static void *opaque_of_number(unsigned number)
{
    return (void *)(uintptr_t)(number / 200 % 2 ? 1 : number); /* runs of the same, and others */
}

static void on_lot_record(void *context, const rd_kafka_message_t *record)
{
    struct lot *lot = context;
    const struct stored *teller = NULL;
    if (record->offset == 0 && record->partition == 0) {
        return; /* what made the topic known */
    }
    for (size_t i = 0; i < lot->told->stored_reports; i++) {
        const struct stored *stored = &lot->told->reports[i];
        if (stored->partition == record->partition && stored->offset <= record->offset &&
            record->offset < stored->offset + (int64_t)stored->count) {
            assert_null(teller); /* told once */
            teller = stored;
        }
    }
    assert_non_null(teller);
    char text[16];
    text_of(text, (struct strview){record->payload, record->len});
    assert_ptr_equal(opaque_of_number((unsigned)strtoul(text, NULL, 10)), teller->opaque);
    lot->found++;
}

static void test_opaques__at_random__are_told_of_their_records(void **state)
{
    (void)state;
    enum { COUNT = 4000, PARTITIONS = 3 };
    struct fixture *fixture = start(PARTITIONS, "1");
    uint32_t random = 1;
    for (int i = 0; i < COUNT; i++) {
        random = random * 1664525 + 1013904223;
        fixture->told.opaque = opaque_of_number((unsigned)i);
        send_numbers(fixture, NULL, (int32_t)((random >> 8) % PARTITIONS), i, 1);
        if ((random >> 16) % 50 == 0) {
            assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
        }
    }
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(COUNT, fixture->told.stored);
    assert_true(fixture->told.stored_reports < 3 * COUNT / 4); /* some are of many */
    struct lot lot = {.told = &fixture->told};
    read_all(fixture, "orders", PARTITIONS, on_lot_record, &lot);
    assert_int_equal(COUNT, lot.found);
    stop(fixture);
}

/* One is librdkafka's and cannot be sent: what has lingered since waits for its end, and goes as one. */
static void test_batch_under_way__what_follows__is_one_batch(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, "1");
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    send_numbers(fixture, "k", 0, 0, 1);
    for (int i = 0; i < 10; i++) {
        assert_err(ERR_DRAIN_TIMEOUT, kafka_producer_flush(fixture->producer, 5));
        send_numbers(fixture, "k", 0, 1 + i * 20, 20);
    }
    rd_kafka_mock_start_request_tracking(fixture->mock.cluster);
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(201, fixture->told.stored);
    assert_int_equal(2, mock_kafka_requests(&fixture->mock, PRODUCE));
    stop(fixture);
}

/* Behind one batch and before another partition's: neither waits for the other's broker, or for its report. */
static void test_batch_under_way__other_partitions__do_not_wait(void **state)
{
    (void)state;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(2);
    mock_kafka_topic(&fixture->mock, "orders", 2);
    rd_kafka_mock_partition_set_leader(fixture->mock.cluster, "orders", 0, 1);
    rd_kafka_mock_partition_set_leader(fixture->mock.cluster, "orders", 1, 2);
    set(fixture, "linger.ms", "1");
    producer_start(fixture);
    await_known(fixture, "orders");
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    send_numbers(fixture, NULL, 0, 0, 1);
    assert_err(ERR_DRAIN_TIMEOUT, kafka_producer_flush(fixture->producer, 20));
    send_numbers(fixture, NULL, 0, 1, 1); /* open, and older than what comes */
    for (int i = 0; i < 10; i++) {
        send_numbers(fixture, NULL, 1, i, 10);
        const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
        while (fixture->told.stored < (size_t)(i + 1) * 10) {
            assert_true(clock_mono_us() < deadline_us);
            serve(fixture);
        }
    }
    assert_int_equal(2, kafka_producer_outstanding(fixture->producer));
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(102, fixture->told.stored);
    stop(fixture);
}

/* --- what is not ------------------------------------------------------------------------------------------- */

static void assert_failed(const struct fixture *fixture, size_t index, int number)
{
    const struct failed *failed = &fixture->told.list[index];
    char text[16];
    (void)snprintf(text, sizeof text, "%d", number);
    assert_string_equal("orders", failed->topic);
    assert_string_equal("k", failed->key);
    assert_string_equal(text, failed->value);
    assert_string_equal(text, failed->header);
    assert_int_equal(1, failed->header_count);
    assert_int_equal(1700000000000 + number, failed->timestamp_ms);
    assert_ptr_equal(fixture->told.opaque, failed->opaque);
    assert_int_equal(0, failed->partition);
    assert_false(failed->may_be_stored);
}

static void test_batch__refused__is_told_record_by_record(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    rd_kafka_mock_push_request_errors(fixture->mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    fixture->told.opaque = (void *)3;
    send_numbers(fixture, "k", -1, 0, 100);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(100, fixture->told.failed);
    assert_int_equal(0, fixture->told.stored);
    for (int i = 0; i < 100; i++) {
        assert_failed(fixture, (size_t)i, i);
        assert_int_equal(ERR_TOPIC_FORBIDDEN, fixture->told.list[i].err);
    }
    stop(fixture);
}

/* Some are librdkafka's already, some are still open: all are told once, the oldest first, and none is
 * sent later. */
static void test_recall__gives_all_back_in_order(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    send_numbers(fixture, "k", -1, 0, 50);
    assert_err(ERR_DRAIN_TIMEOUT, kafka_producer_flush(fixture->producer, 50)); /* hands over */
    send_numbers(fixture, "k", -1, 50, 50);
    kafka_producer_recall(fixture->producer);
    assert_int_equal(0, kafka_producer_outstanding(fixture->producer));
    assert_int_equal(100, fixture->told.failed);
    for (int i = 0; i < 100; i++) {
        assert_failed(fixture, (size_t)i, i);
        assert_true(err_is_retriable(fixture->told.list[i].err));
    }
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    send_numbers(fixture, "k", -1, 100, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    size_t count = 0;
    read_all(fixture, "orders", 1, count_one, &count);
    assert_int_equal(2, count); /* the one that made the topic known, and the last */
    stop(fixture);
}

/* The second waits for the first's end, and then not for another message.timeout.ms: that counts from when
 * it was sent here. */
static void test_timeout__counts_from_when_a_batch_was_opened(void **state)
{
    (void)state;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", 1);
    set(fixture, "linger.ms", "1");
    set(fixture, "message.timeout.ms", "6000");
    producer_start(fixture);
    await_known(fixture, "orders");
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    send_numbers(fixture, "k", 0, 0, 1);
    assert_err(ERR_DRAIN_TIMEOUT, kafka_producer_flush(fixture->producer, 20));
    send_numbers(fixture, "k", 0, 1, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(2, fixture->told.failed);
    assert_int_equal(ERR_KAFKA_TIMEOUT, fixture->told.list[1].err);
    assert_false(fixture->told.list[1].may_be_stored);
    /* librdkafka looks once a second. */
    assert_true(fixture->told.last_failed_us - fixture->told.first_failed_us < 5500000);
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    stop(fixture);
}

static void test_free__reports_what_is_open(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    send_numbers(fixture, "k", -1, 0, 30);
    kafka_producer_free(TAKE(fixture->producer));
    assert_int_equal(30, fixture->told.failed);
    for (int i = 0; i < 30; i++) {
        assert_failed(fixture, (size_t)i, i);
    }
    stop(fixture);
}

static void test_fatal__what_is_open_fails__and_the_next_is_stored(void **state)
{
    (void)state;
    struct fixture *fixture = start(1, FOREVER_MS);
    rd_kafka_mock_push_request_errors(fixture->mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    send_numbers(fixture, "k", -1, 0, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(1, fixture->told.failed);
    send_numbers(fixture, "k", -1, 1, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(1, fixture->told.stored);
    stop(fixture);
}

static void test_send__what_is_known_locally__is_refused_locally(void **state)
{
    (void)state;
    struct fixture *fixture = start(4, FOREVER_MS);
    static char large[1 << 20];
    const struct {
        enum err err;
        struct kafka_record record;
    } rows[] = {
        {ERR_TOPIC_UNKNOWN, {.topic = "ordres", .partition = -1, .value = SV("{}")}},
        {ERR_PARTITION_UNKNOWN, {.topic = "orders", .partition = 4, .value = SV("{}")}},
        {ERR_RECORD_TOO_LARGE,
         {.topic = "orders", .partition = -1, .value = sv_of(large, sizeof large)}},
        {ERR_LIMIT, {.topic = "orders", .partition = -1, .header_count = KAFKA_HEADERS_MAX + 1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info info = {0};
        assert_err(rows[i].err, kafka_producer_send(fixture->producer, &rows[i].record, &info));
    }
    assert_int_equal(0, kafka_producer_outstanding(fixture->producer));
    stop(fixture);
}

/* --- Kafka is away ----------------------------------------------------------------------------------------- */

/* The bound holds at once; when there is room again all that was taken is sent, by its age alone. */
static void fill_the_queue(const char *kbytes)
{
    const size_t bound = strtoul(kbytes, NULL, 10) * 1024;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", 1);
    set(fixture, "linger.ms", "20");
    set(fixture, "queue.buffering.max.kbytes", kbytes);
    producer_start(fixture);
    await_known(fixture, "orders");
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    static char value[4000];
    const struct kafka_record record = {
        .topic = "orders", .partition = 0, .value = sv_of(value, sizeof value)};
    size_t taken = 0;
    struct err_info info = {0};
    enum err e;
    while (!(e = kafka_producer_send(fixture->producer, &record, &info))) {
        taken++;
        assert_true(taken < 1000);
        kafka_producer_serve(fixture->producer);
    }
    assert_int_equal(ERR_QUEUE_FULL, e);
    assert_true(taken * sizeof value > bound / 2);
    assert_true(taken * sizeof value < 2 * bound); /* with what is open */
    const int64_t lingered_us = clock_mono_us() + 100000;
    do { /* what is open waits as well */
        serve(fixture);
    } while (clock_mono_us() < lingered_us);
    assert_int_equal(taken, kafka_producer_outstanding(fixture->producer));
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (kafka_producer_outstanding(fixture->producer)) {
        assert_true(clock_mono_us() < deadline_us);
        serve(fixture);
    }
    assert_int_equal(taken, fixture->told.stored);
    assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, &info));
    stop(fixture);
}

static void test_queue_full__at_once__and_all_is_sent_later(void **state)
{
    (void)state;
    fill_the_queue("1024");
    fill_the_queue("64"); /* less than a batch might have */
}

/* Records count, not the batches that they are in. */
static void test_queue_full__of_records__at_once(void **state)
{
    (void)state;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", 1);
    set(fixture, "linger.ms", "1");
    set(fixture, "queue.buffering.max.messages", "20");
    producer_start(fixture);
    await_known(fixture, "orders");
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    send_numbers(fixture, "k", 0, 0, 20);
    const struct kafka_record record = {.topic = "orders", .partition = 0, .value = SV("one")};
    struct err_info info = {0};
    assert_err(ERR_QUEUE_FULL, kafka_producer_send(fixture->producer, &record, &info));
    assert_int_equal(20, kafka_producer_outstanding(fixture->producer));
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, &info));
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(21, fixture->told.stored);
    stop(fixture);
}

static void on_numbered(void *context, const rd_kafka_message_t *record)
{
    int *next = context;
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (*next)++);
    assert_sv(number, ((struct strview){record->payload, record->len}));
}

/* Nothing is known of the topic: records wait, and what comes when it is known does not overtake them. */
static void test_topic_not_known_yet__waits_in_order(void **state)
{
    (void)state;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", 5);
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    set(fixture, "linger.ms", "20");
    producer_start(fixture);
    send_numbers(fixture, "k", -1, 0, 100);
    assert_int_equal(100, kafka_producer_outstanding(fixture->producer));
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1);
    int sent = 100;
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (fixture->told.stored < 200) {
        assert_true(clock_mono_us() < deadline_us);
        send_numbers(fixture, "k", -1, sent++, 1);
        serve(fixture);
    }
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(sent, fixture->told.stored);
    int next = 0;
    read_all(fixture, "orders", 5, on_numbered, &next);
    assert_int_equal(sent, next);
    stop(fixture);
}

static void test_topic_not_known_yet__recalled__with_its_opaques(void **state)
{
    (void)state;
    struct fixture *fixture = must_alloc(sizeof *fixture);
    fixture->mock = mock_kafka_start(1);
    mock_kafka_topic(&fixture->mock, "orders", 1);
    rd_kafka_mock_broker_set_down(fixture->mock.cluster, 1);
    set(fixture, "linger.ms", "20");
    producer_start(fixture);
    fixture->told.opaque = (void *)2;
    send_numbers(fixture, "k", 0, 0, 20);
    kafka_producer_recall(fixture->producer);
    assert_int_equal(20, fixture->told.failed);
    for (int i = 0; i < 20; i++) {
        assert_ptr_equal((void *)2, fixture->told.list[i].opaque);
        assert_int_equal(1, fixture->told.list[i].header_count);
    }
    rd_kafka_mock_broker_set_up(fixture->mock.cluster, 1); /* or stopping it takes its time */
    stop(fixture);
}

/* --- memory ------------------------------------------------------------------------------------------------ */

static size_t allocated(void)
{
    const struct mallinfo2 info = mallinfo2(); /* of a sanitizer: zeros */
    return info.uordblks + info.hblkhd;
}

/* A burst fills a hundred batches; what is kept for the next one is a few. */
static void test_burst__its_memory_is_given_back(void **state)
{
    (void)state;
    enum { BURST = 100, EACH = 200 };
    struct fixture *fixture = start(BURST, FOREVER_MS);
    static const char value[1000] = {0}; /* the broker has it compressed */
    const size_t before = allocated();
    for (int i = 0; i < BURST * EACH; i++) {
        const struct kafka_record record = {
            .topic = "orders", .partition = i % BURST, .value = sv_of(value, sizeof value)};
        assert_err(ERR_OK, kafka_producer_send(fixture->producer, &record, NULL));
    }
    const size_t full = allocated();
    assert_err(ERR_OK, kafka_producer_flush(fixture->producer, DEADLINE_MS));
    assert_int_equal(BURST * EACH, fixture->told.stored);
    assert_true(!full || full - before > BURST * EACH * sizeof value);
    assert_true(allocated() < before + (8 << 20));
    stop(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linger__is_kept_by_the_descriptor),
        cmocka_unit_test(test_batch__stored__is_one_report),
        cmocka_unit_test(test_keys__land_where_murmur2_says__in_order),
        cmocka_unit_test(test_many_topics__each_has_its_own),
        cmocka_unit_test(test_opaques__mixed__each_record_is_told),
        cmocka_unit_test(test_opaques__at_random__are_told_of_their_records),
        cmocka_unit_test(test_batch_under_way__what_follows__is_one_batch),
        cmocka_unit_test(test_batch_under_way__other_partitions__do_not_wait),
        cmocka_unit_test(test_batch__refused__is_told_record_by_record),
        cmocka_unit_test(test_recall__gives_all_back_in_order),
        cmocka_unit_test(test_timeout__counts_from_when_a_batch_was_opened),
        cmocka_unit_test(test_free__reports_what_is_open),
        cmocka_unit_test(test_fatal__what_is_open_fails__and_the_next_is_stored),
        cmocka_unit_test(test_send__what_is_known_locally__is_refused_locally),
        cmocka_unit_test(test_queue_full__at_once__and_all_is_sent_later),
        cmocka_unit_test(test_queue_full__of_records__at_once),
        cmocka_unit_test(test_topic_not_known_yet__waits_in_order),
        cmocka_unit_test(test_topic_not_known_yet__recalled__with_its_opaques),
        cmocka_unit_test(test_burst__its_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
