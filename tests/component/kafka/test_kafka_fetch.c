/* The records of a consumer that hands out batches are those that were produced, which are known by their places,
 * and those of a consumer that does not: from every place, across seeks and pauses, by the mock cluster, which
 * answers a fetch with one batch. What else a broker may answer: test_kafka_fetch_wire.c. */
#include "batches_fixture.h"
#include "core/clock.h"
#include "fetch_read.h"
#include "transactions_fixture.h"

#define SMALL 300 /* bytes of a key, a value, a header */

static const int64_t from_start[MADE_LOG_PARTITIONS];

struct log_fixture {
    struct mock_kafka mock;
    struct made_log log;
    struct made_record random;
};

static void mock_start(struct log_fixture *fixture, uint64_t seed)
{
    *fixture = (struct log_fixture){.mock = mock_kafka_start(1), .random = {.state = seed}};
    mock_kafka_topic(&fixture->mock, "orders", MADE_LOG_PARTITIONS);
}

static void log_start(struct log_fixture *fixture, const char *codec, size_t bytes_max)
{
    rd_kafka_conf_t *conf = batches_conf(&fixture->mock, KAFKA_ROLE_PRODUCER_BULK);
    batches_set(conf, "compression.codec", codec);
    made_log_open(&fixture->log, conf, "orders", bytes_max);
}

static void fixture_start(struct log_fixture *fixture, const char *codec, size_t bytes_max,
                          uint64_t seed)
{
    mock_start(fixture, seed);
    log_start(fixture, codec, bytes_max);
}

static void fixture_stop(struct log_fixture *fixture)
{
    made_log_close(&fixture->log);
    mock_kafka_stop(&fixture->mock);
}

/* To every partition. */
static void fixture_fill(struct log_fixture *fixture, size_t batches, size_t records_max)
{
    for (size_t i = 0; i < batches; i++) {
        for (int32_t p = 0; p < MADE_LOG_PARTITIONS; p++) {
            size_t most = made_below(&fixture->random, 4) == 0 ? 2 : records_max;
            made_log_add(&fixture->log, p, 1 + (int32_t)made_below(&fixture->random, most));
        }
    }
    made_log_flush(&fixture->log);
}

static void read_start(struct log_fixture *fixture, struct fetch_read *read)
{
    fetch_read_open(read, kafka_read_conf(&fixture->mock.config, KAFKA_READS_VERIFIED),
                    &fixture->log);
}

/* --- what was produced --------------------------------------------------------------------------------- */

/* A message of a consumer that hands out records is one. */
static void expect_single(const struct kafka_record *expected, rd_kafka_message_t *message)
{
    struct kafka_fetch fetch = {0};
    struct kafka_record_view view;
    int64_t offset = message->offset;
    kafka_fetch_open(&fetch, message);
    assert_int_equal(0, fetch.batch.count);
    assert_true(kafka_fetch_next(&fetch, &view));
    expect_record_view(expected, &view);
    assert_true(view.offset == offset);
    assert_int_equal(0, view.header_count);
    assert_false(kafka_fetch_next(&fetch, &view));
    assert_false(fetch.is_broken);
    kafka_fetch_close(&fetch);
}

/* A consumer that hands out records gives the same ones. */
static void expect_singles(struct log_fixture *fixture)
{
    struct kafka_read plain =
        kafka_read_all(&fixture->mock.config, "orders", MADE_LOG_PARTITIONS, KAFKA_READS_VERIFIED);
    int64_t next[MADE_LOG_PARTITIONS] = {0};
    struct made_record made;
    for (size_t i = 0; i < plain.count; i++) {
        int32_t partition = plain.messages[i]->partition;
        assert_true(plain.messages[i]->offset == next[partition]);
        made_log_record(&fixture->log, &made, partition, next[partition]++);
        expect_message(&made.record, plain.messages[i]);
        expect_single(&made.record, plain.messages[i]);
    }
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
        assert_true(next[i] == fixture->log.of[i].end);
    }
    plain.count = 0; /* they have been destroyed */
    kafka_read_end(&plain);
}

static void expect_all(struct log_fixture *fixture)
{
    struct fetch_read read;
    read_start(fixture, &read);
    fetch_read_assign(&read, from_start);
    fetch_read_all(&read);
    fetch_read_close(&read);
    expect_singles(fixture);
}

static void test_fetch__of_every_codec__is_what_was_produced(void **state)
{
    (void)state;
    static const char *const codecs[] = {"none", "gzip", "zstd", "lz4", "snappy"};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct log_fixture fixture;
        fixture_start(&fixture, codecs[i], SMALL, 1 + i);
        print_message("%s\n", codecs[i]);
        fixture_fill(&fixture, 15, 400);
        fixture_fill(&fixture, 15, 3);
        expect_all(&fixture);
        fixture_stop(&fixture);
    }
}

static void test_fetch__of_large_records__is_what_was_produced(void **state)
{
    (void)state;
    static const char *const codecs[] = {"none", "zstd"};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct log_fixture fixture;
        fixture_start(&fixture, codecs[i], MADE_BYTES_MAX, 10 + i);
        fixture_fill(&fixture, 20, 60);
        expect_all(&fixture);
        fixture_stop(&fixture);
    }
}

/* Until a batch fits, each fetch asks for more. */
static void test_fetch__of_more_than_is_asked_for__is_what_was_produced(void **state)
{
    (void)state;
    struct log_fixture fixture;
    struct fetch_read read;
    fixture_start(&fixture, "lz4", SMALL, 20);
    fixture_fill(&fixture, 20, 200);
    rd_kafka_conf_t *conf = kafka_read_conf(&fixture.mock.config, KAFKA_READS_VERIFIED);
    batches_set(conf, "fetch.message.max.bytes", "100");
    batches_set(conf, "queued.min.messages", "1");
    fetch_read_open(&read, conf, &fixture.log);
    fetch_read_assign(&read, from_start);
    fetch_read_all(&read);
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

/* --- from where ------------------------------------------------------------------------------------------ */

/* The first, the last, each between them, and the end: nothing before it, all that follows. */
static void test_fetch__from_every_offset__begins_there(void **state)
{
    (void)state;
    struct log_fixture fixture;
    struct fetch_read read;
    fixture_start(&fixture, "none", SMALL, 30);
    fixture_fill(&fixture, 8, 20);
    read_start(&fixture, &read);
    bool is_left = true;
    for (int64_t at = 0; is_left; at++) {
        int64_t offsets[MADE_LOG_PARTITIONS];
        is_left = false;
        for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
            int64_t end = fixture.log.of[i].end;
            offsets[i] = at < end ? at : end;
            is_left |= at < end;
        }
        fetch_read_assign(&read, offsets);
        fetch_read_all(&read);
    }
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

/* A batch's first, its last, one between them; any; or the end. */
static int64_t random_place(struct log_fixture *fixture, int32_t partition)
{
    struct made_record *random = &fixture->random;
    const struct made_partition *of = &fixture->log.of[partition];
    const struct made_batch *batch = &of->batches[made_below(random, of->batch_count)];
    switch (made_below(random, 8)) {
    case 0:
        return of->end;
    case 1:
    case 2:
        return batch->base;
    case 3:
        return batch->base + batch->count - 1;
    default:
        return batch->base + (int64_t)made_below(random, (size_t)batch->count);
    }
}

struct moves {
    struct log_fixture fixture;
    struct fetch_read read;
    rd_kafka_queue_t *queue;
    bool is_paused[MADE_LOG_PARTITIONS];
};

static void moves_start(struct moves *moves, uint64_t seed)
{
    *moves = (struct moves){0};
    fixture_start(&moves->fixture, "lz4", SMALL, seed);
    fixture_fill(&moves->fixture, 60, 30);
    read_start(&moves->fixture, &moves->read);
    moves->queue = rd_kafka_queue_get_consumer(moves->read.consumer);
    fetch_read_assign(&moves->read, from_start);
}

static void moves_stop(struct moves *moves)
{
    rd_kafka_queue_destroy(moves->queue);
    fetch_read_close(&moves->read);
    fixture_stop(&moves->fixture);
}

static void move_seek(struct moves *moves)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
        if (!moves->is_paused[i] && made_below(&moves->fixture.random, 2)) {
            int64_t to = random_place(&moves->fixture, i);
            rd_kafka_topic_partition_list_add(list, "orders", i)->offset = to;
            moves->read.next[i] = to;
            moves->read.is_at_end[i] = false;
        }
    }
    if (list->cnt) {
        no_error(rd_kafka_seek_partitions(moves->read.consumer, list, KAFKA_READ_MS));
    }
    for (int i = 0; i < list->cnt; i++) {
        assert_int_equal(0, list->elems[i].err);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* Those that are not, or those that are. */
static void move_pause(struct moves *moves, bool pauses)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
        if (moves->is_paused[i] != pauses && made_below(&moves->fixture.random, 2)) {
            rd_kafka_topic_partition_list_add(list, "orders", i);
            moves->is_paused[i] = pauses;
        }
    }
    if (list->cnt) {
        assert_int_equal(0, pauses ? rd_kafka_pause_partitions(moves->read.consumer, list)
                                   : rd_kafka_resume_partitions(moves->read.consumer, list));
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* Some of what waits, as a worker takes it. */
static void move_read(struct moves *moves)
{
    rd_kafka_message_t *taken[10];
    size_t most = 1 + made_below(&moves->fixture.random, ARRAY_LEN(taken));
    int wait_ms = made_below(&moves->fixture.random, 4) ? 2 : 0;
    ssize_t count = rd_kafka_consume_batch_queue(moves->queue, wait_ms, taken, most);
    for (ssize_t i = 0; i < count; i++) {
        bool is_event = taken[i]->err && taken[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (is_event) {
            rd_kafka_message_destroy(taken[i]);
            continue;
        }
        assert_false(moves->is_paused[taken[i]->partition]);
        fetch_read_take(&moves->read, taken[i]);
    }
}

/* The rest is read to the end. */
static void moves_finish(struct moves *moves)
{
    while (moves->is_paused[0] || moves->is_paused[1] || moves->is_paused[2]) {
        move_pause(moves, false);
    }
    fetch_read_all(&moves->read);
}

static void test_fetch__sought_at_random__is_what_follows_there(void **state)
{
    (void)state;
    struct moves moves;
    moves_start(&moves, 40);
    for (int i = 0; i < TEST_RUNS(500); i++) {
        for (size_t reads = made_below(&moves.fixture.random, 4); reads-- > 0;) {
            move_read(&moves);
        }
        move_seek(&moves);
    }
    moves_finish(&moves);
    moves_stop(&moves);
}

/* A resumed partition that was at its end tells of it again. */
static void test_fetch__paused_and_resumed_at_random__is_all_once(void **state)
{
    (void)state;
    struct moves moves;
    moves_start(&moves, 50);
    for (int round = 0; round < TEST_RUNS(20); round++) {
        fetch_read_assign(&moves.read, from_start);
        for (int i = 0; i < 60; i++) {
            move_pause(&moves, made_below(&moves.fixture.random, 2));
            move_read(&moves);
        }
        moves_finish(&moves);
    }
    moves_stop(&moves);
}

static void test_fetch__sought_paused_and_resumed_at_random__is_what_follows(void **state)
{
    (void)state;
    struct moves moves;
    moves_start(&moves, 80);
    for (int i = 0; i < TEST_RUNS(1000); i++) {
        switch (made_below(&moves.fixture.random, 6)) {
        case 0:
            move_seek(&moves);
            break;
        case 1:
            move_pause(&moves, true);
            break;
        case 2:
            move_pause(&moves, false);
            break;
        default:
            move_read(&moves);
            break;
        }
    }
    moves_finish(&moves);
    moves_stop(&moves);
}

/* --- what is no batch of records ------------------------------------------------------------------------- */

static void transactions_fill(struct batches_fixture *fixture)
{
    no_error(rd_kafka_init_transactions(fixture->client, BATCHES_DEADLINE_MS));
    for (size_t round = 0; round < 20; round++) {
        transaction_begin(fixture);
        kafka_batches_limit(fixture->batches, 1 << 20, 1 + (int32_t)round);
        transaction_add(fixture, 10 + round * 7);
        batches_flush(fixture); /* the broker has those that are aborted */
        round % 3 == 1 ? transaction_abort(fixture) : transaction_commit(fixture);
    }
}

/* The records of every message are those of as many messages of the plain consumer. */
static void expect_as_plain(const struct kafka_read *plain, rd_kafka_message_t *message, size_t *at)
{
    struct kafka_fetch fetch = {0};
    struct kafka_record_view view;
    kafka_fetch_open(&fetch, message);
    while (kafka_fetch_next(&fetch, &view)) {
        while (*at < plain->count && plain->messages[*at]->partition < message->partition) {
            ++*at;
        }
        assert_true(*at < plain->count);
        rd_kafka_message_t *expected = plain->messages[(*at)++];
        assert_int_equal(expected->partition, message->partition);
        assert_true(expected->offset == view.offset);
        assert_true(rd_kafka_message_timestamp(expected, NULL) == view.timestamp_ms);
        expect_view(sv_of(expected->key, expected->key_len), view.key);
        expect_view(sv_of(expected->payload, expected->len), view.value);
    }
    assert_false(fetch.is_broken);
    kafka_fetch_close(&fetch);
}

/* One partition, to its end, which is told behind the last mark. */
static void expect_partition_as_plain(const struct kafka_read *plain, rd_kafka_t *consumer,
                                      int32_t partition, int64_t end)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, "orders", partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(0, rd_kafka_assign(consumer, one));
    rd_kafka_topic_partition_list_destroy(one);
    size_t at = 0, records = 0;
    while (at < plain->count && plain->messages[at]->partition < partition) {
        at++;
    }
    for (size_t i = at; i < plain->count && plain->messages[i]->partition == partition; i++) {
        records++;
    }
    size_t last = at + records;
    rd_kafka_message_t *message;
    while (!(message = fetch_read_await(consumer))->err) {
        expect_as_plain(plain, message, &at);
    }
    assert_int_equal(RD_KAFKA_RESP_ERR__PARTITION_EOF, message->err);
    assert_int_equal(last, at);
    assert_true(message->offset == end);
    assert_true(end > (int64_t)records); /* marks there are */
    rd_kafka_message_destroy(message);
}

static void test_fetch__of_transactions__has_no_mark_for_a_record(void **state)
{
    (void)state;
    struct batches_fixture fixture;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", MADE_LOG_PARTITIONS);
    batches_fixture_start(&fixture, transactions_conf(&mock), "orders", MADE_LOG_PARTITIONS);
    transactions_fill(&fixture);
    struct kafka_read plain =
        kafka_read_all(&mock.config, "orders", MADE_LOG_PARTITIONS, KAFKA_READS_WITH_MARKS);
    rd_kafka_conf_t *conf = kafka_read_conf(&mock.config, KAFKA_READS_WITH_MARKS);
    rd_kafka_conf_set_fetch_records(conf);
    rd_kafka_t *consumer = kafka_read_consumer(conf);
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
        int64_t first, end;
        assert_int_equal(0, rd_kafka_query_watermark_offsets(consumer, "orders", i, &first, &end,
                                                             KAFKA_READ_MS));
        expect_partition_as_plain(&plain, consumer, i, end);
    }
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    kafka_read_end(&plain);
    batches_fixture_stop(&fixture);
    mock_kafka_stop(&mock);
}

/* --- bytes that are no records ---------------------------------------------------------------------------- */

/* What is wrong with a batch, of records that were right otherwise. */
enum fault { FAULT_NONE, FAULT_CUT, FAULT_BYTE, FAULT_NOISE, FAULT_PLACE, FAULT_FAR, FAULTS };

#define FAULTY_RECORDS_MAX 8 /* the mock cluster refuses more records than bytes could be */

struct faulty {
    enum fault fault;
    int64_t good;    /* records that come before it */
    bool is_certain; /* that it is seen; else one byte may be as good as another */
};

static char *noise_of(struct made_record *random, size_t bytes)
{
    char *noise = malloc(bytes);
    assert_non_null(noise);
    for (size_t i = 0; i < bytes; i++) {
        noise[i] = (char)made_next(random);
    }
    return noise;
}

/* How many records end by then. */
static int32_t records_before(const struct made_log *log, int32_t count, size_t bytes)
{
    while (count > 0) {
        struct kafka_records records = made_log_next(log, 0, count);
        free(records.bytes);
        if (records.size <= bytes) {
            break;
        }
        count--;
    }
    return count;
}

static bool is_border(const struct made_log *log, int32_t before, size_t bytes)
{
    struct kafka_records records = made_log_next(log, 0, before);
    free(records.bytes);
    return records.size == bytes;
}

static struct faulty faulty_cut(struct log_fixture *fixture, struct kafka_records *records)
{
    records->size = 1 + made_below(&fixture->random, records->size - 1);
    int32_t before = records_before(&fixture->log, records->count, records->size);
    return (struct faulty){FAULT_CUT, before, !is_border(&fixture->log, before, records->size)};
}

static struct faulty faulty_byte(struct log_fixture *fixture, struct kafka_records *records)
{
    size_t at = made_below(&fixture->random, records->size);
    records->bytes[at] = (char)(records->bytes[at] ^ (1 << made_below(&fixture->random, 8)));
    return (struct faulty){FAULT_BYTE, records_before(&fixture->log, records->count, at), false};
}

static struct faulty faulty_noise(struct log_fixture *fixture, struct kafka_records *records)
{
    free(records->bytes);
    records->size = 1 + made_below(&fixture->random, 300);
    records->bytes = noise_of(&fixture->random, records->size);
    return (struct faulty){FAULT_NOISE, 0, false};
}

/* The last record says that it lies outside of the batch. */
static struct faulty faulty_place(struct log_fixture *fixture, struct kafka_records *records)
{
    const int32_t places[] = {records->count, -1, INT32_MAX - 1, INT32_MIN, -1000};
    struct kafka_records moved = made_log_next(&fixture->log, 0, records->count - 1);
    struct made_record made;
    made_log_record(&fixture->log, &made, 0, fixture->log.of[0].end + records->count - 1);
    moved.bytes = realloc(moved.bytes, moved.size + kafka_record_bytes_max(&made.record));
    assert_non_null(moved.bytes);
    moved.count = places[made_below(&fixture->random, ARRAY_LEN(places))];
    kafka_records_add(&moved, &made.record);
    free(records->bytes);
    records->bytes = moved.bytes;
    records->size = moved.size;
    return (struct faulty){FAULT_PLACE, records->count - 1, true};
}

/* So far that a sum would pass any bound. */
static struct faulty faulty_far(struct kafka_records *records)
{
    static const char far[] = "\x1e\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1\1\1\0";
    records->bytes = realloc(records->bytes, records->size + sizeof far - 1);
    assert_non_null(records->bytes);
    memcpy(records->bytes + records->size, far, sizeof far - 1);
    records->size += sizeof far - 1;
    return (struct faulty){FAULT_FAR, records->count, true};
}

static struct faulty faulty_add(struct log_fixture *fixture)
{
    int32_t count = 2 + (int32_t)made_below(&fixture->random, FAULTY_RECORDS_MAX - 1);
    struct kafka_records records = made_log_next(&fixture->log, 0, count);
    struct faulty faulty = {FAULT_NONE, count, false};
    switch ((enum fault)made_below(&fixture->random, FAULTS)) {
    case FAULT_NONE:
        break;
    case FAULT_CUT:
        faulty = faulty_cut(fixture, &records);
        break;
    case FAULT_BYTE:
        faulty = faulty_byte(fixture, &records);
        break;
    case FAULT_NOISE:
        faulty = faulty_noise(fixture, &records);
        break;
    case FAULT_PLACE:
        faulty = faulty_place(fixture, &records);
        break;
    case FAULT_FAR:
    case FAULTS:
        faulty = faulty_far(&records);
        break;
    }
    made_log_send(&fixture->log, 0, &records);
    made_log_note(&fixture->log, 0, count);
    return faulty;
}

static void expect_inside(struct strview view, const struct kafka_fetch *fetch)
{
    const char *bytes = fetch->batch.bytes;
    assert_true(!view.ptr ||
                (view.ptr >= bytes && view.ptr + view.len <= bytes + fetch->batch.size));
}

static void expect_view_inside(struct kafka_record_view *view, const struct kafka_fetch *fetch)
{
    struct kafka_header header;
    assert_in_range(view->offset, fetch->batch.base_offset, fetch->message->offset);
    expect_inside(view->key, fetch);
    expect_inside(view->value, fetch);
    for (size_t i = 0; i < view->header_count; i++) {
        assert_true(kafka_header_read(&view->headers, &header));
        expect_inside(header.name, fetch);
        expect_inside(header.value, fetch);
    }
}

/* Takes the message. */
static void expect_faulty(const struct made_log *log, const struct faulty *faulty,
                          rd_kafka_message_t *message)
{
    struct kafka_fetch fetch = {0};
    struct kafka_record_view view;
    struct made_record made;
    int64_t good = 0;
    kafka_fetch_open(&fetch, message);
    while (kafka_fetch_next(&fetch, &view)) {
        if (good < faulty->good) {
            assert_true(view.offset == fetch.batch.base_offset + good);
            made_log_record(log, &made, 0, view.offset);
            expect_record_view(&made.record, &view);
            expect_view_headers(&made.record, &view);
            good++;
        } else {
            assert_false(faulty->is_certain);
        }
        expect_view_inside(&view, &fetch);
    }
    assert_true(good == faulty->good);
    assert_true(fetch.is_broken || !faulty->is_certain);
    assert_true(!fetch.is_broken || faulty->fault != FAULT_NONE);
    assert_false(kafka_fetch_next(&fetch, &view));
    kafka_fetch_close(&fetch);
}

static void faults_round(const char *codec, uint64_t seed)
{
    struct log_fixture fixture;
    struct fetch_read read;
    struct faulty faulty[MADE_LOG_BATCHES_MAX];
    fixture_start(&fixture, codec, SMALL, seed);
    for (size_t i = 0; i < ARRAY_LEN(faulty); i++) {
        faulty[i] = faulty_add(&fixture);
    }
    made_log_flush(&fixture.log);
    read_start(&fixture, &read);
    fetch_read_assign(&read, from_start);
    for (size_t i = 0; i < ARRAY_LEN(faulty);) {
        rd_kafka_message_t *message = fetch_read_await(read.consumer);
        if (message->err) { /* the ends of the empty ones */
            assert_int_equal(RD_KAFKA_RESP_ERR__PARTITION_EOF, message->err);
            rd_kafka_message_destroy(message);
            continue;
        }
        const struct made_batch *batch = &fixture.log.of[0].batches[i];
        assert_true(message->offset == batch->base + batch->count - 1);
        expect_faulty(&fixture.log, &faulty[i++], message);
    }
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

static void test_fetch__of_what_is_no_record__ends_there(void **state)
{
    (void)state;
    static const char *const codecs[] = {"none", "lz4"};
    for (uint64_t seed = 100; seed < 100 + TEST_RUNS(20); seed++) {
        faults_round(codecs[seed % 2], seed);
    }
}

/* --- older formats --------------------------------------------------------------------------------------- */

/* To a broker before 0.11 librdkafka writes format v1, a record at a time. */
static void old_fill(struct log_fixture *fixture, int64_t records)
{
    char why[256];
    struct made_record made;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    batches_set(conf, "bootstrap.servers", fixture->mock.config.bootstrap_servers);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(client);
    for (int64_t i = 0; i < records; i++) {
        made_log_record(&fixture->log, &made, 0, i);
        assert_int_equal(
            0, rd_kafka_producev(client, RD_KAFKA_V_TOPIC("orders"), RD_KAFKA_V_PARTITION(0),
                                 RD_KAFKA_V_KEY(made.record.key.ptr, made.record.key.len),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)made.record.value.ptr,
                                                  made.record.value.len),
                                 RD_KAFKA_V_TIMESTAMP(made.record.timestamp_ms), RD_KAFKA_V_END));
    }
    assert_int_equal(0, rd_kafka_flush(client, MADE_LOG_MS));
    rd_kafka_destroy(client);
}

static void test_fetch__of_an_older_format__is_a_record_a_message(void **state)
{
    (void)state;
    struct log_fixture fixture;
    struct fetch_read read;
    struct made_record made;
    mock_start(&fixture, 60);
    fixture.log.bytes_max = SMALL;
    assert_int_equal(0, rd_kafka_mock_set_apiversion(fixture.mock.cluster, 0, 0, 2));
    old_fill(&fixture, 100);
    assert_int_equal(0, rd_kafka_mock_set_apiversion(fixture.mock.cluster, 0, 0, 10));
    log_start(&fixture, "none", SMALL); /* a client asks for versions with each connection */
    fixture.log.of[0].end = 100;        /* what follows is as ever */
    fixture_fill(&fixture, 5, 20);
    read_start(&fixture, &read);
    fetch_read_assign(&read, from_start);
    while (read.next[0] < 100) {
        rd_kafka_message_t *message = fetch_read_await(read.consumer);
        if (message->partition != 0) {
            fetch_read_take(&read, message);
            continue;
        }
        made_log_record(&fixture.log, &made, 0, read.next[0]++);
        expect_single(&made.record, message);
    }
    fetch_read_all(&read);
    fetch_read_close(&read);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch__of_every_codec__is_what_was_produced),
        cmocka_unit_test(test_fetch__of_large_records__is_what_was_produced),
        cmocka_unit_test(test_fetch__of_more_than_is_asked_for__is_what_was_produced),
        cmocka_unit_test(test_fetch__from_every_offset__begins_there),
        cmocka_unit_test(test_fetch__sought_at_random__is_what_follows_there),
        cmocka_unit_test(test_fetch__paused_and_resumed_at_random__is_all_once),
        cmocka_unit_test(test_fetch__sought_paused_and_resumed_at_random__is_what_follows),
        cmocka_unit_test(test_fetch__of_transactions__has_no_mark_for_a_record),
        cmocka_unit_test(test_fetch__of_what_is_no_record__ends_there),
        cmocka_unit_test(test_fetch__of_an_older_format__is_a_record_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
