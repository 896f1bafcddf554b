/* What a client sees is exactly the log from where it began, or a gap that is told: random records,
 * holes, retention, evictions, new partitions, cut connections and catch-ups against plain lists. */
#define _GNU_SOURCE /* memmem */

#include "frames.h"
#include "http/websocket.h"
#include "reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define TOPICS         2
#define PARTITIONS_MAX 4
#define RECORDS_MAX    4000
#define STEPS          600
#define SEEDS          TEST_RUNS(1000)

static const struct strview names[TOPICS] = {SV("orders"), SV("product-metrics")};

/* --- the world: Kafka's log, and the reader before it -------------------------------------------------- */

struct log {
    int64_t offsets[RECORDS_MAX]; /* of records; what lies between is no record */
    size_t count;
    int64_t begin, end; /* of the log */
};

struct world {
    uint64_t random;
    struct log logs[TOPICS][PARTITIONS_MAX];
    int32_t partition_count[TOPICS];
    uint32_t epochs[TOPICS];
    int64_t next[TOPICS][PARTITIONS_MAX]; /* the reader's */
    struct frame_maker maker;
    struct ring rings[TOPICS];
    struct selector_machine *selectors;
    struct websocket_codec *codec;
    struct buf scratch;
    struct reading_source source;
};

static uint64_t roll(struct world *world, uint64_t sides)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % sides;
}

/* Index of the first record at or after the offset. */
static size_t log_find(const struct log *log, int64_t offset)
{
    size_t i = 0;
    while (i < log->count && log->offsets[i] < offset) {
        i++;
    }
    return i;
}

static void cursor_text(const struct world *world, size_t topic, struct buf *text)
{
    buf_init(text, 4096);
    cursor_append(text, names[topic], world->next[topic], world->partition_count[topic],
                  world->epochs[topic]);
}

static struct frame *make_frame(struct world *world, size_t topic, int32_t partition,
                                int64_t offset, struct strview cursor)
{
    char value[400];
    /* One in four is large enough to be worth compressing. */
    int len = snprintf(value, sizeof value, "{\"t\":%zu,\"p\":%d,\"o\":%lld,\"text\":\"%0*d\"}",
                       topic, partition, (long long)offset, offset % 4 == 3 ? 300 : 1, 0);
    const struct frame_record record = {.topic = (uint16_t)topic,
                                        .topic_name = names[topic],
                                        .partition = partition,
                                        .offset = offset,
                                        .value = sv_of(value, (size_t)len),
                                        .cursor = cursor};
    return frame_new(&world->maker, &record);
}

static void publish_state(struct world *world, size_t topic)
{
    union {
        struct frame_state state;
        char bytes[sizeof(struct frame_state) + PARTITIONS_MAX * sizeof(struct frame_start)];
    } room = {0};
    room.state.is_live = true;
    room.state.epoch = world->epochs[topic];
    room.state.partition_count = world->partition_count[topic];
    for (int32_t p = 0; p < world->partition_count[topic]; p++) {
        int64_t begin = world->logs[topic][p].begin;
        room.state.partitions[p] =
            (struct frame_start){.start = begin, .next = world->next[topic][p], .is_begin = true};
    }
    struct buf cursor;
    cursor_text(world, topic, &cursor);
    ring_take(&world->rings[topic],
              frame_state_new((uint16_t)topic, &room.state, buf_view(&cursor)));
    buf_free(&cursor);
}

static void append_record(struct world *world)
{
    size_t topic = roll(world, TOPICS);
    struct log *log = &world->logs[topic][roll(world, (uint64_t)world->partition_count[topic])];
    if (log->count < RECORDS_MAX) {
        log->end += (int64_t)(roll(world, 4) == 0 ? roll(world, 3) : 0); /* a hole */
        log->offsets[log->count++] = log->end++;
        log->end += (int64_t)(roll(world, 4) == 0); /* a transaction marker */
    }
}

/* The reader takes one record or passes a hole. */
static void read_one(struct world *world)
{
    size_t topic = roll(world, TOPICS);
    int32_t partition = (int32_t)roll(world, (uint64_t)world->partition_count[topic]);
    const struct log *log = &world->logs[topic][partition];
    int64_t *next = &world->next[topic][partition];
    size_t i = log_find(log, *next);
    if (i == log->count) {
        *next = log->end;
        publish_state(world, topic);
        return;
    }
    *next = log->offsets[i] + 1;
    struct buf cursor;
    cursor_text(world, topic, &cursor);
    ring_take(&world->rings[topic],
              make_frame(world, topic, partition, log->offsets[i], buf_view(&cursor)));
    buf_free(&cursor);
}

/* Retention passes what the reader has read. */
static void expire(struct world *world)
{
    size_t topic = roll(world, TOPICS);
    int32_t partition = (int32_t)roll(world, (uint64_t)world->partition_count[topic]);
    struct log *log = &world->logs[topic][partition];
    int64_t to = log->begin + (int64_t)roll(world, 20);
    log->begin = to < world->next[topic][partition] ? to : log->begin;
}

static void grow(struct world *world)
{
    size_t topic = roll(world, TOPICS);
    if (world->partition_count[topic] < PARTITIONS_MAX) {
        world->partition_count[topic]++;
        publish_state(world, topic);
    }
}

static void world_turn(struct world *world)
{
    static void (*const turns[])(struct world *) = {append_record, append_record, append_record,
                                                    read_one,      read_one,      read_one,
                                                    read_one,      expire};
    if (roll(world, 200) == 0) {
        grow(world);
    } else {
        turns[roll(world, ARRAY_LEN(turns))](world);
    }
}

/* --- a client ------------------------------------------------------------------------------------------- */

struct client {
    struct world *world;
    struct reading *reading;
    bool is_envelope, is_multi, is_filtered, is_lines, is_patient, is_gzip;
    z_stream inflate;
    struct buf text; /* of one chunk, inflated */
    bool has_ended;  /* the gzip has, and its checksum was right */
    struct buf wire; /* since the connection began */
    size_t parsed;
    bool has_id;
    int64_t seen[TOPICS][PARTITIONS_MAX]; /* all before it was seen or told as a gap; -1: any */
    char id[512];                         /* the last one received whole */
    size_t records, gaps, losts, catchups, shareds, rendereds, fallbacks, left_shared;
};

/* What the filter asks for. */
static bool is_wanted(const struct client *client, int64_t offset)
{
    return !client->is_filtered || offset % 3 == 0;
}

/* Index of the first record at or after the offset that the client wants. */
static size_t wanted_find(const struct client *client, const struct log *log, int64_t offset)
{
    size_t i = log_find(log, offset);
    while (i < log->count && !is_wanted(client, log->offsets[i])) {
        i++;
    }
    return i;
}

static void check_id(struct client *client, const char *text, size_t len)
{
    struct cursor cursor = {0};
    struct err_info info = {0};
    assert_err(ERR_OK, cursor_parse(sv_of(text, len), names, TOPICS, &cursor, &info));
    for (size_t i = 0; i < cursor.count; i++) {
        const struct cursor_position *at = &cursor.positions[i];
        int64_t *seen = &client->seen[at->topic][at->partition];
        const struct log *log = &client->world->logs[at->topic][at->partition];
        if (*seen >= 0) {
            assert_true(at->next >= *seen);
            size_t record = wanted_find(client, log, *seen);
            if (record < log->count && log->offsets[record] < at->next) {
                fail_msg("the id %.*s passes record %zu-%d@%lld unseen", (int)len, text,
                         (size_t)at->topic, at->partition, (long long)log->offsets[record]);
            }
        }
        *seen = at->next;
    }
    cursor_free(&cursor);
    assert_true(len < sizeof client->id);
    memcpy(client->id, text, len);
    client->id[len] = '\0';
    client->has_id = true;
}

static void check_record(struct client *client, const char *text)
{
    size_t topic;
    int partition;
    long long offset;
    assert_int_equal(3,
                     sscanf(text, "{\"t\":%zu,\"p\":%d,\"o\":%lld", &topic, &partition, &offset));
    const struct log *log = &client->world->logs[topic][partition];
    int64_t *seen = &client->seen[topic][partition];
    assert_true(*seen >= 0); /* an id came before */
    size_t expected = wanted_find(client, log, *seen);
    if (expected == log->count || log->offsets[expected] != offset) {
        fail_msg("%zu-%d@%lld, expected the first at or after %lld", topic, partition, offset,
                 (long long)*seen);
    }
    *seen = offset + 1;
    client->records++;
}

static void check_gap(struct client *client, const char *text)
{
    char name[64];
    int partition;
    long long from, to;
    assert_int_equal(4, sscanf(text,
                               "{\"topic\":\"%63[^\"]\",\"partition\":%d,\"from\":%lld,\"to\":%lld",
                               name, &partition, &from, &to));
    size_t topic = strcmp(name, "orders") == 0 ? 0 : 1;
    const struct log *log = &client->world->logs[topic][partition];
    int64_t seen = client->seen[topic][partition];
    assert_true(to <= log->begin); /* it is true */
    /* What is no record, or not wanted, may have been passed meanwhile. */
    size_t wanted = wanted_find(client, log, seen);
    assert_true(from >= seen && (wanted == log->count || log->offsets[wanted] >= from));
    client->seen[topic][partition] = to;
    client->gaps++;
}

/* One event, without the framing. */
static void check_event(struct client *client, const char *event, size_t len)
{
    const char *end = event + len;
    const char *id_mark = client->is_lines ? "\"id\":\"" : "id: ";
    const char *gap_mark = client->is_lines ? "{\"event\":\"gap\"" : "event: gap";
    const char *id = memmem(event, len, id_mark, strlen(id_mark));
    const char *data = memmem(event, len, "{\"t\":", 5);
    bool is_gap = len > strlen(gap_mark) && memcmp(event, gap_mark, strlen(gap_mark)) == 0;
    assert_true(end[-1] == '\n' && (!client->is_lines || (event[0] == '{' && end[-2] == '}')));
    if (data) {
        check_record(client, data);
    }
    if (is_gap) {
        check_gap(client, memmem(event, len, "{\"topic\":", 9));
    }
    if (id) {
        id += strlen(id_mark);
        check_id(client, id, strcspn(id, "\"\n"));
    }
}

/* What the chunk says, which ends at a byte of its own. */
static struct strview chunk_inflate(struct client *client, const char *bytes, size_t len)
{
    z_stream *stream = &client->inflate;
    buf_reset(&client->text);
    assert_err(ERR_OK, buf_reserve(&client->text, 4096));
    stream->next_in = (z_const Bytef *)(uintptr_t)bytes;
    stream->avail_in = (uInt)len;
    stream->next_out = (Bytef *)client->text.data;
    stream->avail_out = 4096;
    int result = inflate(stream, Z_SYNC_FLUSH);
    assert_true(result == Z_OK || result == Z_STREAM_END);
    assert_int_equal(0, stream->avail_in);
    client->has_ended = result == Z_STREAM_END;
    return sv_of(client->text.data, 4096 - stream->avail_out);
}

static void check_chunk(struct client *client, const char *bytes, size_t len)
{
    struct strview event = client->is_gzip ? chunk_inflate(client, bytes, len) : sv_of(bytes, len);
    if (event.len > 0) { /* a gzip's beginning and end say nothing */
        check_event(client, event.ptr, event.len);
    }
}

static void parse(struct client *client, size_t limit)
{
    while (client->parsed + SSE_CHUNK_HEAD <= limit) {
        const char *chunk = client->wire.data + client->parsed;
        size_t bytes = strtoul(chunk, NULL, 16);
        if (client->parsed + SSE_CHUNK_HEAD + bytes + 2 > limit) {
            return;
        }
        assert_memory_equal(chunk + 8, "\r\n", 2);
        assert_memory_equal(chunk + SSE_CHUNK_HEAD + bytes, "\r\n", 2);
        check_chunk(client, chunk + SSE_CHUNK_HEAD, bytes);
        client->parsed += SSE_CHUNK_HEAD + bytes + 2;
    }
}

static void mark_any(struct client *client)
{
    for (size_t t = 0; t < TOPICS; t++) {
        for (int32_t p = 0; p < PARTITIONS_MAX; p++) {
            /* A partition that comes later is read from its beginning. */
            client->seen[t][p] = p < client->world->partition_count[t] ? -1 : 0;
        }
    }
}

/* After a cut only what was received whole counts; ids say where to go on. */
static void resume_from_id(struct client *client)
{
    struct cursor cursor = {0};
    int64_t before[TOPICS][PARTITIONS_MAX];
    memcpy(before, client->seen, sizeof before);
    assert_err(ERR_OK, cursor_parse(sv(client->id), names, TOPICS, &cursor, NULL));
    for (size_t i = 0; i < cursor.count; i++) {
        const struct cursor_position *at = &cursor.positions[i];
        /* A gap comes before the id that passes it: cut in between, it is told again. */
        assert_true(at->next == before[at->topic][at->partition] ||
                    before[at->topic][at->partition] <=
                        client->world->logs[at->topic][at->partition].begin);
        client->seen[at->topic][at->partition] = at->next;
    }
    cursor_free(&cursor);
}

static void connect_client(struct client *client)
{
    struct world *world = client->world;
    client->reading = reading_new((const uint16_t[]){0, 1}, client->is_multi ? TOPICS : 1);
    client->reading->is_envelope = client->is_envelope;
    client->reading->format = client->is_lines ? READING_LINES : READING_SSE;
    client->reading->is_gzip = client->is_gzip;
    assert_int_equal(Z_OK, inflateReset(&client->inflate));
    client->has_ended = false;
    if (client->is_filtered) {
        assert_err(ERR_OK, filter_new(NULL, "o % 3 == 0", &client->reading->filter, NULL));
    }
    buf_reset(&client->wire);
    client->parsed = 0;
    reading_append_greeting(client->reading, &world->source, 2000, &client->wire);
    struct cursor cursor = {0};
    struct reading_start start = {.asked = &cursor,
                                  .from = roll(world, 2) ? CURSOR_EARLIEST : CURSOR_LATEST,
                                  .rewind = roll(world, 4) ? 0 : (int64_t)roll(world, 8)};
    if (client->has_id) {
        resume_from_id(client);
        assert_err(ERR_OK, cursor_parse(sv(client->id), names, client->reading->topic_count,
                                        &cursor, NULL));
    } else {
        mark_any(client);
    }
    assert_true(reading_begin(client->reading, &world->source, &start));
    cursor_free(&cursor);
    if (client->reading->mode == READING_CATCHUP) {
        client->catchups++;
    } else {
        client->reading->has_begun = true;
        reading_append_event(client->reading, &world->source, NULL, (struct strview){0},
                             &client->wire);
    }
}

static void disconnect(struct client *client)
{
    /* The last event may have been cut anywhere. */
    size_t left = client->wire.len - client->parsed;
    parse(client, client->parsed + (left ? roll(client->world, left + 1) : 0));
    reading_free(client->reading);
    client->reading = NULL;
}

/* What the catch-up job does, one small step at a time. */
static void catchup_step(struct client *client)
{
    struct world *world = client->world;
    struct reading *reading = client->reading;
    for (uint32_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            int64_t begin = world->logs[topic->topic][p].begin;
            if (topic->next[p] == CURSOR_EARLIEST) {
                reading_move(reading, i, p, begin);
            } else if (topic->next[p] < begin) {
                const struct frame_gap gap = {topic->topic, names[topic->topic], p, topic->next[p],
                                              begin};
                reading_move(reading, i, p, begin);
                struct buf text;
                buf_init(&text, 4096);
                frame_append_gap(&text, &gap);
                reading_append_event(reading, &world->source, "gap", buf_view(&text),
                                     &client->wire);
                buf_free(&text);
            }
        }
    }
    if (!reading->has_begun) {
        reading->has_begun = true;
        reading_append_event(reading, &world->source, NULL, (struct strview){0}, &client->wire);
    }
    if (reading_join(reading, &world->source)) {
        return;
    }
    uint32_t index = (uint32_t)roll(world, reading->topic_count);
    struct reading_topic *topic = &reading->topics[index];
    int32_t p = (int32_t)roll(world, (uint64_t)topic->partition_count);
    const struct log *log = &world->logs[topic->topic][p];
    size_t i = log_find(log, topic->next[p]);
    if (i == log->count) {
        reading_move(reading, index, p, log->end > topic->next[p] ? log->end : topic->next[p]);
    } else {
        struct frame *frame =
            make_frame(world, topic->topic, p, log->offsets[i], (struct strview){0});
        reading_take(reading, &world->source, frame, &client->wire);
        frame_unref(frame);
    }
}

static bool rendered_step(struct client *client)
{
    const size_t before = client->wire.len;
    enum reading_result result = reading_fill_shared(client->reading, &client->world->source,
                                                     1 + roll(client->world, 400), &client->wire);
    client->rendereds += client->wire.len > before;
    return result != READING_LOST;
}

static bool shared_step(struct client *client)
{
    if (reading_is_rendered(client->reading)) {
        return rendered_step(client);
    }
    struct iovec parts[8];
    size_t count;
    if (reading_gather(client->reading, &client->world->source, parts, 1 + roll(client->world, 8),
                       &count) == READING_LOST) {
        return false;
    }
    client->shareds += count;
    for (size_t i = 0; i < count; i++) {
        assert_err(ERR_OK, buf_append(&client->wire, parts[i].iov_base, parts[i].iov_len));
    }
    reading_advance(client->reading, count);
    return true;
}

/* False: what comes next has left the ring. */
static bool client_step(struct client *client)
{
    const struct reading_source *source = &client->world->source;
    bool is_here = true;
    switch (client->reading->mode) {
    case READING_CATCHUP:
        catchup_step(client);
        break;
    case READING_COPY:
        is_here = reading_fill(client->reading, source, 1 + roll(client->world, 400),
                               &client->wire) != READING_LOST;
        break;
    case READING_SHARED:
        is_here = shared_step(client);
        break;
    case READING_WAITING:
    case READING_SNAPSHOT:
        fail();
    }
    if (is_here && roll(client->world, 16) == 0) {
        reading_append_heartbeat(client->reading, source, &client->wire);
    }
    return is_here;
}

/* One that was at the head once is too slow and is cut, unless it asked for Kafka's help. */
static bool fall_back(struct client *client)
{
    struct reading *reading = client->reading;
    if (reading->mode != READING_COPY || (reading->has_caught_up && !client->is_patient)) {
        return false;
    }
    reading_fall_back(reading);
    return true;
}

/* Now and then it is not served for a while, as one is whose socket takes no more. */
static void stop_for_a_while(struct client *client)
{
    if (client->is_patient && client->reading && roll(client->world, 20) == 0) {
        if (client->reading->mode == READING_SHARED) {
            reading_leave_shared(client->reading, &client->world->source);
            client->left_shared += client->reading->mode == READING_COPY;
        }
        for (uint64_t i = roll(client->world, 60); i > 0; i--) {
            world_turn(client->world);
        }
    }
}

static void client_turn(struct client *client)
{
    if (!client->reading) {
        connect_client(client);
    }
    if (!client_step(client)) {
        if (fall_back(client)) {
            client->fallbacks++;
            return;
        }
        client->losts++;
        disconnect(client);
    } else if (roll(client->world, 12) == 0) {
        disconnect(client);
    } else {
        parse(client, client->wire.len);
    }
}

/* --- the test ------------------------------------------------------------------------------------------------ */

/* The reader and the client get all there is. */
static void finish(struct client *client)
{
    struct world *world = client->world;
    for (size_t i = 0; i < 20000; i++) {
        read_one(world);
        if (!client->reading) {
            connect_client(client);
        }
        if (!client_step(client)) {
            if (!fall_back(client)) {
                disconnect(client);
            }
        } else {
            parse(client, client->wire.len);
        }
    }
    for (size_t t = 0; t < (client->is_multi ? TOPICS : 1); t++) {
        for (int32_t p = 0; p < world->partition_count[t]; p++) {
            assert_int_equal(world->logs[t][p].end, world->next[t][p]);
            size_t missing = wanted_find(client, &world->logs[t][p], client->seen[t][p]);
            if (missing < world->logs[t][p].count) {
                fail_msg("%zu-%d@%lld was never seen", t, p,
                         (long long)world->logs[t][p].offsets[missing]);
            }
        }
    }
}

static void end(struct client *client)
{
    if (client->reading) {
        reading_append_end(client->reading, &client->wire);
        parse(client, client->wire.len - strlen("0\r\n\r\n"));
        assert_true(client->has_ended == client->is_gzip);
    }
}

struct totals {
    size_t records, gaps, losts, catchups, shareds, rendereds, fallbacks, left_shared;
};

static void run(uint64_t seed, struct totals *totals)
{
    struct world *world = must_alloc(sizeof *world);
    world->random = seed;
    frame_maker_init(&world->maker, NULL);
    world->selectors = selector_machine_new();
    world->codec = websocket_codec_new();
    buf_init(&world->scratch, 1 << 16);
    world->source = (struct reading_source){world->rings, names, world->selectors, world->codec,
                                            &world->scratch};
    for (size_t t = 0; t < TOPICS; t++) {
        ring_init(&world->rings[t], 400 + roll(world, 8000)); /* from one frame to some twenty */
        world->partition_count[t] = 1 + (int32_t)roll(world, PARTITIONS_MAX);
        publish_state(world, t);
    }
    struct client client = {.world = world,
                            .is_envelope = roll(world, 2),
                            .is_multi = roll(world, 2),
                            .is_filtered = roll(world, 4) == 0,
                            .is_lines = roll(world, 4) == 0,
                            .is_patient = roll(world, 4) == 0,
                            .is_gzip = roll(world, 2)};
    buf_init(&client.wire, 1 << 24);
    buf_init(&client.text, 4096);
    assert_int_equal(Z_OK, inflateInit2(&client.inflate, 15 + 16));
    for (size_t step = 0; step < STEPS; step++) {
        for (uint64_t i = roll(world, 12); i > 0; i--) {
            world_turn(world);
        }
        client_turn(&client);
        stop_for_a_while(&client);
    }
    finish(&client);
    end(&client);
    totals->records += client.records;
    totals->gaps += client.gaps;
    totals->losts += client.losts;
    totals->catchups += client.catchups;
    totals->shareds += client.shareds;
    totals->rendereds += client.rendereds;
    totals->fallbacks += client.fallbacks;
    totals->left_shared += client.left_shared;
    reading_free(client.reading);
    buf_free(&client.wire);
    buf_free(&client.text);
    assert_int_equal(Z_OK, inflateEnd(&client.inflate));
    for (size_t t = 0; t < TOPICS; t++) {
        ring_free(&world->rings[t]);
    }
    frame_maker_free(&world->maker);
    selector_machine_free(world->selectors);
    websocket_codec_free(world->codec);
    buf_free(&world->scratch);
    free(world);
}

static void test_reading__random_histories__exactly_the_log_or_a_gap(void **state)
{
    (void)state;
    struct totals totals = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(seed, &totals);
    }
    print_message("records %zu, shared %zu, in gzip %zu, catch-ups %zu, fallen back %zu, lost %zu, "
                  "gaps %zu\n",
                  totals.records, totals.shareds, totals.rendereds, totals.catchups,
                  totals.fallbacks, totals.losts, totals.gaps);
    /* Every way was gone. */
    assert_true(totals.records > 1000 && totals.shareds > 1000 && totals.rendereds > 100);
    assert_true(totals.catchups > 100 && totals.losts > 3 && totals.gaps > 10);
    assert_true(totals.fallbacks > 10 && totals.left_shared > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading__random_histories__exactly_the_log_or_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
