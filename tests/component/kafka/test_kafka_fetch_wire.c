/* What no producer of ours writes and a broker may answer with: several batches, the last of them cut anywhere,
 * what compaction has left, the broker's own times, bytes that have changed. The consumer that hands out batches
 * gives the same records as the one that does not. Which transactions were aborted the mock cluster does not tell. */
#include "fetch_read.h"
#include "wire_batch.h"

#define TOPIC "orders"

struct wire_fixture {
    struct mock_kafka mock;
    struct made_log log; /* of partition 0; without a client */
    struct wire wire;    /* what is sent next */
    int fd;
};

static void fixture_start(struct wire_fixture *fixture)
{
    *fixture = (struct wire_fixture){.mock = mock_kafka_start(1),
                                     .log = {.name = TOPIC, .bytes_max = 300}};
    mock_kafka_topic(&fixture->mock, TOPIC, MADE_LOG_PARTITIONS);
    fixture->fd = wire_connect(&fixture->mock);
}

static void fixture_stop(struct wire_fixture *fixture)
{
    (void)close(fixture->fd);
    mock_kafka_stop(&fixture->mock);
}

static void fixture_send(struct wire_fixture *fixture)
{
    wire_produce(fixture->fd, TOPIC, &fixture->wire);
    fixture->wire.size = 0;
}

/* The next records behind what is sent, and are noted. */
static void wire_records(struct wire_fixture *fixture, int32_t count, struct wire_batch batch)
{
    struct kafka_records records = made_log_next(&fixture->log, 0, count);
    batch.base = fixture->log.of[0].end;
    batch.last_delta = count - 1;
    batch.base_ms = records.first_timestamp_ms;
    batch.max_ms = batch.max_ms ? batch.max_ms : records.max_timestamp_ms;
    batch.count = count;
    batch.records = kafka_records_all(&records);
    wire_batch_add(&fixture->wire, &batch);
    free(records.bytes);
    made_log_note(&fixture->log, 0, count);
}

static void read_start(struct wire_fixture *fixture, struct fetch_read *read, int64_t from)
{
    const int64_t offsets[MADE_LOG_PARTITIONS] = {from};
    fetch_read_open(read, kafka_read_conf(&fixture->mock.config, KAFKA_READS_VERIFIED),
                    &fixture->log);
    fetch_read_assign(read, offsets);
}

/* What is noted is what comes, once. */
static void expect_all(struct wire_fixture *fixture, int64_t from)
{
    struct fetch_read read;
    read_start(fixture, &read, from);
    fetch_read_all(&read);
    fetch_read_close(&read);
}

static void expect_all_plain(struct wire_fixture *fixture)
{
    struct kafka_read plain =
        kafka_read_all(&fixture->mock.config, TOPIC, MADE_LOG_PARTITIONS, KAFKA_READS_VERIFIED);
    assert_int_equal(fixture->log.of[0].end, plain.count);
    for (size_t i = 0; i < plain.count; i++) {
        assert_true(plain.messages[i]->offset == (int64_t)i);
    }
    kafka_read_end(&plain);
}

/* --- more than one batch ---------------------------------------------------------------------------------- */

static void test_fetch__of_several_batches__is_all_of_them(void **state)
{
    (void)state;
    struct wire_fixture fixture;
    fixture_start(&fixture);
    for (int32_t i = 1; i < 20; i++) {
        wire_records(&fixture, i, (struct wire_batch){0});
        struct wire first = fixture.wire;
        wire_records(&fixture, 5, (struct wire_batch){0});
        struct wire both = fixture.wire;
        fixture_send(&fixture); /* for who asks for the first's */
        fixture.wire.size = 0;
        wire_view(&fixture.wire, sv_of(both.bytes + first.size, both.size - first.size));
        fixture_send(&fixture); /* for who asks for the second's */
    }
    expect_all_plain(&fixture);
    for (int64_t from = 0; from < 40; from++) {
        expect_all(&fixture, from);
    }
    fixture_stop(&fixture);
}

/* The rest comes with the next, and nothing twice. */
static void test_fetch__cut_at_any_byte__is_all_once(void **state)
{
    (void)state;
    struct wire_fixture fixture;
    size_t cut = 0, last = 1;
    fixture_start(&fixture);
    for (int32_t round = 0; cut < last && round < MADE_LOG_BATCHES_MAX / 2; round++) {
        wire_records(&fixture, 1 + round % 3, (struct wire_batch){0});
        size_t whole = fixture.wire.size;
        wire_records(&fixture, 2, (struct wire_batch){0});
        struct wire both = fixture.wire;
        last = both.size - whole;
        cut = (size_t)round * (last > 90 ? 3 : 1) % last;
        fixture.wire.size = whole + cut;
        fixture_send(&fixture);
        wire_view(&fixture.wire, sv_of(both.bytes + whole, last));
        fixture_send(&fixture);
    }
    expect_all_plain(&fixture);
    expect_all(&fixture, 0);
    fixture_stop(&fixture);
}

/* --- times ------------------------------------------------------------------------------------------------ */

static void expect_append_time(struct wire_fixture *fixture, rd_kafka_message_t *message)
{
    struct kafka_fetch fetch = {0};
    struct kafka_record_view view;
    struct made_record made;
    kafka_fetch_open(&fetch, message);
    for (int64_t i = 0; i < 7; i++) {
        assert_true(kafka_fetch_next(&fetch, &view));
        assert_true(view.offset == fetch.batch.base_offset + i);
        assert_true(view.timestamp_ms == 123456789);
        made_log_record(&fixture->log, &made, 0, view.offset);
        expect_view(made.record.value, view.value);
    }
    assert_false(kafka_fetch_next(&fetch, &view));
    assert_false(fetch.is_broken);
    kafka_fetch_close(&fetch);
}

static void test_fetch__of_append_time__has_it_for_every_record(void **state)
{
    (void)state;
    struct wire_fixture fixture;
    struct fetch_read read;
    fixture_start(&fixture);
    wire_records(&fixture, 7,
                 (struct wire_batch){.attributes = WIRE_APPEND_TIME, .max_ms = 123456789});
    fixture_send(&fixture);
    wire_records(&fixture, 3, (struct wire_batch){0}); /* and its producer's again */
    fixture_send(&fixture);
    read_start(&fixture, &read, 0);
    rd_kafka_message_t *message;
    while ((message = fetch_read_await(read.consumer))->err) { /* the empty ones' ends */
        assert_true(message->partition > 0);
        fetch_read_take(&read, message);
    }
    expect_append_time(&fixture, message);
    read.next[0] = 7;
    fetch_read_all(&read);
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

/* --- what compaction has left ----------------------------------------------------------------------------- */

#define SPAN 9 /* offsets of a batch, as many as its header's count says to the mock cluster */

/* Of a batch's offsets those in `kept`, a bit each. */
static void wire_compacted(struct wire_fixture *fixture, unsigned kept)
{
    struct kafka_records records = {.bytes = malloc(WIRE_BYTES_MAX)};
    struct made_record made;
    const int64_t base = fixture->log.of[0].end;
    made_log_record(&fixture->log, &made, 0, base);
    records.first_timestamp_ms = made.record.timestamp_ms;
    for (int32_t i = 0; i < SPAN; i++) {
        made_log_record(&fixture->log, &made, 0, base + i);
        records.count = i;
        if (kept >> i & 1) {
            kafka_records_add(&records, &made.record);
        }
    }
    /* Where the first is gone its time may stay what the others' are told against. */
    wire_batch_add(&fixture->wire, &(struct wire_batch){.base = base,
                                                        .last_delta = SPAN - 1,
                                                        .base_ms = records.first_timestamp_ms,
                                                        .max_ms = records.first_timestamp_ms,
                                                        .count = SPAN,
                                                        .records = kafka_records_all(&records)});
    free(records.bytes);
    made_log_note(&fixture->log, 0, SPAN);
}

/* The kept ones from there on, and the position behind the batch even when there is none. */
static void expect_kept(struct wire_fixture *fixture, unsigned kept, int64_t base, int64_t from)
{
    struct fetch_read read;
    struct made_record made;
    struct kafka_record_view view;
    rd_kafka_message_t *message;
    read_start(fixture, &read, from);
    do {
        message = fetch_read_await(read.consumer);
    } while (message->err);
    struct kafka_fetch fetch = {0};
    assert_true(message->offset == base + SPAN - 1);
    kafka_fetch_open(&fetch, message);
    for (int64_t offset = from; offset < base + SPAN; offset++) {
        if (kept >> (offset - base) & 1) {
            assert_true(kafka_fetch_next(&fetch, &view));
            assert_true(view.offset == offset);
            made_log_record(&fixture->log, &made, 0, offset);
            expect_record_view(&made.record, &view);
        }
    }
    assert_false(kafka_fetch_next(&fetch, &view));
    assert_false(fetch.is_broken);
    kafka_fetch_close(&fetch);
    assert_true(fetch_read_position(read.consumer, TOPIC, 0) == base + SPAN);
    read.next[0] = base + SPAN;
    fetch_read_all(&read);
    fetch_read_close(&read);
}

static void test_fetch__of_what_compaction_left__is_that(void **state)
{
    (void)state;
    static const unsigned kept[] = {0x1FF, 0x001, 0x100, 0x010, 0x0AA, 0x155, 0x183};
    struct wire_fixture fixture;
    fixture_start(&fixture);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        int64_t base = fixture.log.of[0].end;
        wire_compacted(&fixture, kept[i]);
        fixture_send(&fixture);
        for (int64_t from = base; from < base + SPAN; from++) {
            expect_kept(&fixture, kept[i], base, from);
        }
    }
    fixture_stop(&fixture);
}

/* A batch of nothing: no message, and what is behind it comes; at the end too. */
static void test_fetch__of_a_batch_without_records__goes_on_behind_it(void **state)
{
    (void)state;
    struct wire_fixture fixture;
    struct fetch_read read;
    fixture_start(&fixture);
    for (int round = 0; round < 3; round++) {
        wire_batch_add(&fixture.wire, &(struct wire_batch){.last_delta = 4, .count = 5});
        fixture_send(&fixture);
    }
    fixture.log.of[0].end = 15;
    wire_records(&fixture, 4, (struct wire_batch){0});
    fixture_send(&fixture);
    wire_batch_add(&fixture.wire, &(struct wire_batch){.last_delta = 4, .count = 5});
    fixture_send(&fixture);
    read_start(&fixture, &read, 3);
    read.next[0] = 15;
    rd_kafka_message_t *message;
    while ((message = fetch_read_await(read.consumer))->partition != 0) {
        fetch_read_take(&read, message);
    }
    assert_false(message->err);
    fetch_read_take(&read, message);
    read.next[0] = fixture.log.of[0].end = 24;
    fetch_read_all(&read);
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

/* --- bytes that have changed ------------------------------------------------------------------------------ */

/* librdkafka stays before it, and tells again with every fetch: whoever wants to go on says so. */
static void test_fetch__checksum_is_wrong__is_an_event_and_no_batch(void **state)
{
    (void)state;
    struct wire_fixture fixture;
    struct fetch_read read;
    rd_kafka_message_t *message;
    fixture_start(&fixture);
    wire_records(&fixture, 3, (struct wire_batch){0});
    fixture_send(&fixture);
    wire_records(&fixture, 5, (struct wire_batch){.is_spoilt = true});
    fixture_send(&fixture);
    wire_records(&fixture, 4, (struct wire_batch){0});
    fixture_send(&fixture);
    read_start(&fixture, &read, 0);
    for (int told = 0; told < 3;) {
        message = fetch_read_await(read.consumer);
        if (message->err == RD_KAFKA_RESP_ERR__BAD_MSG) {
            assert_true(message->offset == 3 && read.next[0] == 3);
            told++;
            rd_kafka_message_destroy(message);
            continue;
        }
        fetch_read_take(&read, message);
    }
    fetch_read_close(&read);
    expect_all(&fixture, 8);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch__of_several_batches__is_all_of_them),
        cmocka_unit_test(test_fetch__cut_at_any_byte__is_all_once),
        cmocka_unit_test(test_fetch__of_append_time__has_it_for_every_record),
        cmocka_unit_test(test_fetch__of_what_compaction_left__is_that),
        cmocka_unit_test(test_fetch__of_a_batch_without_records__goes_on_behind_it),
        cmocka_unit_test(test_fetch__checksum_is_wrong__is_an_event_and_no_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
