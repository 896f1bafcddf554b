/* batches_fixture.h - a producer of batches, what it was given, and whether that is what a topic holds. */
#pragma once

#include "kafka/kafka_batches.h"
#include "kafka/kafka_topics.h"
#include "kafka_read.h"
#include "made_record.h"
#include "mock_kafka.h"
#include "test.h"

#define BATCHES_DEADLINE_MS    60000
#define BATCHES_PARTITIONS_MAX 8
#define BATCHES_NUMBERS_MAX    40000
#define BATCHES_MAY_MISS       (1ULL << 63) /* with a number: it was given up, and is there or not */

/* The numbers of records (made_record.h) by partition, in the order in which they were added. */
struct numbers {
    size_t count;
    uint64_t of[BATCHES_NUMBERS_MAX];
};

struct batches_fixture {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    struct kafka_batches *batches;
    const char *name;
    int32_t partitions;
    size_t bytes_max; /* of a key, a value, a header */
    uint64_t next;    /* record's number */
    int64_t stored, failed;
    int64_t in_doubt; /* of those that failed: a broker may have them */
    enum kafka_reads reads;
    rd_kafka_resp_err_t code; /* of what failed */
    struct numbers *expected; /* by partition */
    struct numbers *open;     /* of the transaction that is under way */
};

static inline void batches_on_report(rd_kafka_t *client, const rd_kafka_message_t *message,
                                     void *context)
{
    (void)client;
    struct batches_fixture *fixture = context;
    const struct kafka_batch *batch = message->_private;
    int64_t records = batch ? batch->records.count : 1;
    *(message->err ? &fixture->failed : &fixture->stored) += records;
    if (message->err &&
        rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED) {
        fixture->in_doubt += records;
    }
    fixture->code = message->err ? message->err : fixture->code;
    if (batch) {
        assert_ptr_equal(batch->records.bytes, message->payload);
        assert_int_equal(batch->records.size, message->len);
        assert_int_equal(batch->partition, message->partition);
    }
}

static inline rd_kafka_conf_t *batches_conf(const struct mock_kafka *mock, enum kafka_role role)
{
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    if (kafka_conf_new(&mock->config, role, &conf, &info)) {
        fail_msg("%s", info.text);
    }
    return conf;
}

static inline void batches_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_conf_set(conf, name, value, &info));
}

/* Takes the configuration. */
static inline void batches_client_open(struct batches_fixture *fixture, rd_kafka_conf_t *conf)
{
    char why[256];
    rd_kafka_conf_set_opaque(conf, fixture);
    rd_kafka_conf_set_dr_msg_cb(conf, batches_on_report);
    fixture->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(fixture->client);
    fixture->topic = rd_kafka_topic_new(fixture->client, fixture->name, NULL);
    fixture->batches = kafka_batches_new(fixture->client);
    assert_int_equal(0, kafka_batches_topic(fixture->batches, fixture->topic));
}

static inline void batches_client_close(struct batches_fixture *fixture)
{
    rd_kafka_topic_destroy(fixture->topic);
    rd_kafka_destroy(fixture->client);
    kafka_batches_free(fixture->batches);
}

/* Takes the configuration. */
static inline void batches_fixture_start(struct batches_fixture *fixture, rd_kafka_conf_t *conf,
                                         const char *topic, int32_t partitions)
{
    *fixture = (struct batches_fixture){
        .name = topic, .partitions = partitions, .bytes_max = 300, .next = 1};
    fixture->expected = calloc(BATCHES_PARTITIONS_MAX, sizeof *fixture->expected);
    fixture->open = calloc(BATCHES_PARTITIONS_MAX, sizeof *fixture->open);
    batches_client_open(fixture, conf);
}

static inline void batches_fixture_stop(struct batches_fixture *fixture)
{
    batches_client_close(fixture);
    free(fixture->expected);
    free(fixture->open);
}

static inline void batches_note(struct numbers *numbers, int32_t partition, uint64_t number)
{
    assert_in_range(partition, 0, BATCHES_PARTITIONS_MAX - 1);
    struct numbers *of = &numbers[partition];
    assert_true(of->count < BATCHES_NUMBERS_MAX);
    of->of[of->count++] = number;
}

/* Until it is taken, or is refused by what will not change. */
static inline rd_kafka_resp_err_t batches_add_waiting(struct batches_fixture *fixture,
                                                      const struct kafka_record *record,
                                                      size_t partition_bytes)
{
    int64_t deadline_us = clock_mono_us() + BATCHES_DEADLINE_MS * 1000;
    rd_kafka_resp_err_t code;
    while ((code = kafka_batches_add(fixture->batches, 0, record, partition_bytes)) ==
               RD_KAFKA_RESP_ERR__WAIT_CACHE ||
           code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        int32_t count;
        assert_true(clock_mono_us() < deadline_us);
        if (kafka_topic_partitions(fixture->client, fixture->name, 500, &count, NULL)) {
            (void)rd_kafka_poll(fixture->client, 10);
        }
        (void)rd_kafka_poll(fixture->client, 1);
    }
    return code;
}

/* To the partition that librdkafka's own partitioner says. Without a key: partition 0, so that it is known. */
static inline int32_t batches_partition(const struct batches_fixture *fixture,
                                        const struct kafka_record *record)
{
    return record->key.ptr
               ? rd_kafka_msg_partitioner_murmur2(fixture->topic, record->key.ptr, record->key.len,
                                                  fixture->partitions, NULL, NULL)
               : 0;
}

/* The next records, whose places are noted in `numbers`, up to the first that is refused. */
static inline rd_kafka_resp_err_t batches_try_next(struct batches_fixture *fixture,
                                                   struct numbers *numbers, size_t count)
{
    struct made_record made;
    for (size_t i = 0; i < count; i++, fixture->next++) {
        made_record(&made, fixture->next, fixture->bytes_max);
        made.record.partition = made.record.key.ptr ? -1 : 0;
        rd_kafka_resp_err_t code = batches_add_waiting(fixture, &made.record, 0);
        if (code) {
            return code;
        }
        batches_note(numbers, batches_partition(fixture, &made.record), fixture->next);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static inline void batches_add_next(struct batches_fixture *fixture, struct numbers *numbers,
                                    size_t count)
{
    assert_int_equal(0, batches_try_next(fixture, numbers, count));
}

static inline void batches_send_all(struct batches_fixture *fixture)
{
    int64_t deadline_us = clock_mono_us() + BATCHES_DEADLINE_MS * 1000;
    while (kafka_batches_send(fixture->batches) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        assert_true(clock_mono_us() < deadline_us);
        (void)rd_kafka_poll(fixture->client, 10);
    }
}

static inline void batches_flush(struct batches_fixture *fixture)
{
    batches_send_all(fixture);
    assert_int_equal(0, rd_kafka_flush(fixture->client, BATCHES_DEADLINE_MS));
}

/* --- what the topic holds ------------------------------------------------------------------------------- */

static inline void expect_message_headers(const struct kafka_record *expected,
                                          const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t code = rd_kafka_message_headers(message, &headers);
    if (expected->header_count == 0) {
        assert_int_equal(RD_KAFKA_RESP_ERR__NOENT, code);
        return;
    }
    assert_int_equal(0, code);
    assert_int_equal(expected->header_count, rd_kafka_header_cnt(headers));
    for (size_t i = 0; i < expected->header_count; i++) {
        const char *name;
        const void *value;
        size_t bytes;
        assert_int_equal(0, rd_kafka_header_get_all(headers, i, &name, &value, &bytes));
        expect_view(expected->headers[i].name, sv(name));
        expect_view(expected->headers[i].value, sv_of(value, bytes));
    }
}

static inline void expect_message(const struct kafka_record *expected,
                                  const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    expect_view(expected->key, sv_of(message->key, message->key_len));
    expect_view(expected->value, sv_of(message->payload, message->len));
    assert_true(expected->timestamp_ms == rd_kafka_message_timestamp(message, &type));
    assert_int_equal(RD_KAFKA_TIMESTAMP_CREATE_TIME, type);
    expect_message_headers(expected, message);
}

/* The place of the message that is read behind those from `at` on that may be missing. */
static inline size_t numbers_find(const struct numbers *numbers, size_t at, int64_t time_ms)
{
    while (at < numbers->count && numbers->of[at] & BATCHES_MAY_MISS &&
           made_time_ms(numbers->of[at] & ~BATCHES_MAY_MISS) != time_ms) {
        at++;
    }
    return at;
}

/* Every record that is expected, once, in order; no other. */
static inline void expect_read(const struct batches_fixture *fixture, const struct kafka_read *read)
{
    size_t at[BATCHES_PARTITIONS_MAX] = {0};
    struct made_record made;
    for (size_t i = 0; i < read->count; i++) {
        const rd_kafka_message_t *message = read->messages[i];
        const struct numbers *numbers = &fixture->expected[message->partition];
        size_t index = numbers_find(numbers, at[message->partition],
                                    rd_kafka_message_timestamp(message, NULL));
        if (index >= numbers->count) {
            fail_msg("partition %d has a record that is not among its %zu", message->partition,
                     numbers->count);
        }
        made_record(&made, numbers->of[index] & ~BATCHES_MAY_MISS, fixture->bytes_max);
        expect_message(&made.record, message);
        at[message->partition] = index + 1;
    }
    for (int32_t i = 0; i < fixture->partitions; i++) { /* no time is that of the end */
        assert_int_equal(fixture->expected[i].count, numbers_find(&fixture->expected[i], at[i], 0));
    }
}

static inline void batches_expect_stored(const struct batches_fixture *fixture,
                                         const struct mock_kafka *mock)
{
    struct kafka_read read =
        kafka_read_all(&mock->config, fixture->name, fixture->partitions, fixture->reads);
    expect_read(fixture, &read);
    kafka_read_end(&read);
}

static inline int64_t batches_expected_count(const struct batches_fixture *fixture)
{
    size_t count = 0;
    for (int32_t i = 0; i < fixture->partitions; i++) {
        count += fixture->expected[i].count;
    }
    return (int64_t)count;
}
