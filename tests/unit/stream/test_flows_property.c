/* A pipeline of two sources, branches, a rekey and an aggregate of results, on two partitions, through
 * random commits, aborts, failing writes and crashes, exactly once. Whatever happens, each event is
 * counted once on its way or is late once: what comes out is held against the input as a whole. */
#define _GNU_SOURCE /* memmem */
#include "random.h"
#include "stream/senders.h"
#include "stream_fixture.h"

#define RUNS        TEST_RUNS(400)
#define EVENTS_MAX  120
#define PARTITIONS  2
#define TOPICS_MAX  16
#define STAGES_MAX  2
#define SOURCES_MAX 3
#define OPEN_MAX    4096

static const char PIPELINE[] =
    "{\"name\":\"p\",\"late\":{\"topic\":\"late\"},"
    "\"sources\":{"
    "\"a\":{\"topic\":\"a\",\"timestamp\":{\"field\":\"t\",\"format\":\"epoch-ms\"}},"
    "\"b\":{\"topic\":\"b\",\"timestamp\":{\"field\":\"t\",\"format\":\"epoch-ms\"},"
    "\"watermark\":{\"delay\":\"300ms\"}}},"
    "\"flows\":{"
    "\"all\":{\"from\":[\"a\",\"b\"],\"steps\":["
    "{\"filter\":{\"field\":\"v\",\">\":0}},"
    "{\"branch\":[{\"name\":\"users\",\"when\":{\"field\":\"u\",\"exists\":true}},"
    "{\"name\":\"rest\"}]}]},"
    "\"users\":{\"from\":\"all.users\",\"steps\":[{\"rekey\":{\"key\":\"u\"}},"
    "{\"aggregate\":{\"by\":\"u\",\"window\":{\"tumbling\":\"100ms\",\"grace\":\"200ms\"},"
    "\"store\":{\"name\":\"inner\"},\"emit\":[\"final\"],"
    "\"result\":{\"u\":\"key\",\"n\":\"count\",\"v\":{\"sum\":\"v\"}}}},"
    "{\"aggregate\":{\"by\":\"u\",\"window\":{\"tumbling\":\"300ms\"},"
    "\"store\":{\"name\":\"outer\"},\"emit\":[\"final\"],"
    "\"result\":{\"u\":\"key\",\"n\":{\"sum\":\"n\"},\"v\":{\"sum\":\"v\"}}}}],"
    "\"output\":{\"topic\":\"users-out\"}},"
    "\"copy\":{\"from\":[\"all.rest\",\"all.users\"],\"output\":{\"topic\":\"copy-out\"}},"
    "\"keys\":{\"from\":\"all.rest\",\"steps\":["
    "{\"aggregate\":{\"by\":\"k\",\"window\":{\"tumbling\":\"100ms\",\"grace\":\"50ms\"},"
    "\"store\":{\"name\":\"keys\"},\"emit\":[\"final\"],"
    "\"result\":{\"k\":\"key\",\"n\":\"count\",\"v\":{\"sum\":\"v\"}}}}],"
    "\"output\":{\"topic\":\"keys-out\"}}}}";

/* --- Kafka, played ------------------------------------------------------------------------------*/

struct message {
    int64_t timestamp_ms;
    size_t key_len, value_len;
    bool has_value;
    char key[48], value[192], sender[SENDER_TEXT_BYTES];
};

struct partition {
    size_t count;
    struct message *messages;
};

struct topic {
    char name[64];
    struct partition partitions[PARTITIONS];
};

struct open_write {
    size_t topic, partition;
    struct message message;
};

struct place { /* of one source in one partition */
    int64_t position, committed;
    char metadata[STREAM_METADATA_BYTES];
};

struct world {
    struct random random;
    struct pipeline *pipeline;
    size_t topic_count;
    struct topic topics[TOPICS_MAX];
    struct stream_task *tasks[STAGES_MAX][PARTITIONS];
    struct place places[SOURCES_MAX][PARTITIONS];
    struct stream_sink sink;
    int64_t fail_after; /* negative: never */
    size_t open_count;
    struct open_write open[OPEN_MAX];
};

static size_t topic_of(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->topic_count; i++) {
        if (strcmp(w->topics[i].name, name) == 0) {
            return i;
        }
    }
    assert_true(w->topic_count < TOPICS_MAX);
    (void)snprintf(w->topics[w->topic_count].name, sizeof w->topics[0].name, "%s", name);
    return w->topic_count++;
}

static void append(struct partition *partition, const struct message *message)
{
    partition->messages =
        realloc(partition->messages, (partition->count + 1) * sizeof *partition->messages);
    partition->messages[partition->count++] = *message;
}

/* By the key's last byte, so that tests choose. */
static size_t partition_by(const char *key, size_t len)
{
    return len ? (unsigned char)key[len - 1] % PARTITIONS : 0;
}

static enum err world_emit(void *context, const struct stream_out *out)
{
    struct world *w = context;
    if (w->fail_after >= 0 && w->fail_after-- == 0) {
        return ERR_QUEUE_FULL;
    }
    assert_true(w->open_count < OPEN_MAX);
    struct open_write *open = &w->open[w->open_count++];
    struct message *message = &open->message;
    *message = (struct message){.timestamp_ms = out->timestamp_ms,
                                .key_len = out->key.len,
                                .value_len = out->value.len,
                                .has_value = out->value.ptr != NULL};
    assert_true(out->key.len < sizeof message->key && out->value.len < sizeof message->value);
    memcpy(message->key, out->key.len ? out->key.ptr : "", out->key.len);
    memcpy(message->value, out->value.len ? out->value.ptr : "", out->value.len);
    for (size_t i = 0; i < out->header_count; i++) {
        if (strcmp(out->headers[i].name, STREAM_SENDER_HEADER) == 0) {
            (void)snprintf(message->sender, sizeof message->sender, "%.*s",
                           SV_ARG(out->headers[i].value));
        }
    }
    open->topic = topic_of(w, pipeline_topic_name(w->pipeline, out->topic));
    open->partition =
        out->partition >= 0 ? (size_t)out->partition : partition_by(message->key, message->key_len);
    return ERR_OK;
}

/* --- a worker -----------------------------------------------------------------------------------*/

static void task_restore(struct world *w, unsigned stage, int32_t number)
{
    struct stream_task *task = stream_task_new(w->pipeline, stage, NULL, number);
    stream_task_free(w->tasks[stage][number]);
    w->tasks[stage][number] = task;
    for (unsigned s = 0; s < pipeline_source_count(w->pipeline); s++) {
        if (pipeline_source_stage(w->pipeline, s) == stage) {
            struct place *place = &w->places[s][number];
            place->position = place->committed;
            assert_err(ERR_OK, stream_task_restore_metadata(task, s, place->metadata, NULL));
        }
    }
    for (size_t store = 0; store < pipeline_store_count(w->pipeline); store++) {
        size_t topic = topic_of(w, pipeline_store_changelog(w->pipeline, store));
        const struct partition *log = &w->topics[topic].partitions[number];
        for (size_t i = 0; pipeline_store_stage(w->pipeline, store) == stage && i < log->count;
             i++) {
            const struct message *m = &log->messages[i];
            struct strview value =
                m->has_value ? sv_of(m->value, m->value_len) : (struct strview){NULL, 0};
            assert_err(ERR_OK,
                       stream_task_restore(task, store, sv_of(m->key, m->key_len), value, NULL));
        }
    }
}

static void world_crash(struct world *w)
{
    w->open_count = 0;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            task_restore(w, stage, p);
        }
    }
}

static void world_abort(struct world *w)
{
    w->open_count = 0;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            stream_task_aborted(w->tasks[stage][p]);
        }
    }
    for (size_t s = 0; s < pipeline_source_count(w->pipeline); s++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            w->places[s][p].position = w->places[s][p].committed;
        }
    }
}

/* Some records of one source's partition. */
static void world_process(struct world *w)
{
    unsigned source =
        (unsigned)random_below(&w->random, (int64_t)pipeline_source_count(w->pipeline));
    size_t number = (size_t)random_below(&w->random, PARTITIONS);
    struct place *place = &w->places[source][number];
    size_t topic = topic_of(w, pipeline_source_topic(w->pipeline, source));
    const struct partition *log = &w->topics[topic].partitions[number];
    struct stream_task *task = w->tasks[pipeline_source_stage(w->pipeline, source)][number];
    int64_t count = 1 + random_below(&w->random, 8);
    for (; count > 0 && place->position < (int64_t)log->count; count--) {
        const struct message *m = &log->messages[place->position];
        struct stream_record record = {.source = source,
                                       .partition = (int32_t)number,
                                       .offset = place->position,
                                       .timestamp_ms = m->timestamp_ms,
                                       .key = sv_of(m->key, m->key_len),
                                       .value = sv_of(m->value, m->value_len),
                                       .note = sv(m->sender)};
        if (stream_task_process(task, &record, &w->sink, NULL)) {
            world_abort(w);
            return;
        }
        place->position++;
    }
}

static void world_commit(struct world *w)
{
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            if (stream_task_before_commit(w->tasks[stage][p], &w->sink, NULL)) {
                world_abort(w);
                return;
            }
        }
    }
    for (unsigned s = 0; s < pipeline_source_count(w->pipeline); s++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            struct place *place = &w->places[s][p];
            place->committed = place->position;
            (void)stream_task_metadata(w->tasks[pipeline_source_stage(w->pipeline, s)][p], s,
                                       place->metadata);
        }
    }
    for (size_t i = 0; i < w->open_count; i++) {
        append(&w->topics[w->open[i].topic].partitions[w->open[i].partition], &w->open[i].message);
    }
    w->open_count = 0;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            stream_task_committed(w->tasks[stage][p]);
        }
    }
}

static bool is_anything_left(struct world *w)
{
    for (unsigned s = 0; s < pipeline_source_count(w->pipeline); s++) {
        size_t topic = topic_of(w, pipeline_source_topic(w->pipeline, s));
        for (size_t p = 0; p < PARTITIONS; p++) {
            unsigned stage = pipeline_source_stage(w->pipeline, s);
            if (w->places[s][p].committed < (int64_t)w->topics[topic].partitions[p].count ||
                stream_task_wants_commit(w->tasks[stage][p])) {
                return true;
            }
        }
    }
    return false;
}

static void world_run(struct world *w)
{
    while (is_anything_left(w)) {
        w->fail_after = random_below(&w->random, 12) ? -1 : random_below(&w->random, 12);
        switch (random_below(&w->random, 16)) {
        case 0:
            world_abort(w);
            break;
        case 1:
            world_crash(w);
            break;
        case 2:
            world_commit(w);
            world_crash(w);
            break;
        case 3:
        case 4:
        case 5:
            world_commit(w);
            break;
        default:
            world_process(w);
            break;
        }
    }
}

/* --- the input ----------------------------------------------------------------------------------*/

struct sums {
    int64_t events, value;
};

struct expected {
    struct sums users, rest;
};

static void put(struct world *w, const char *topic, const char *key, const char *value)
{
    struct message message = {
        .timestamp_ms = -1, .has_value = true, .key_len = strlen(key), .value_len = strlen(value)};
    memcpy(message.key, key, message.key_len);
    memcpy(message.value, value, message.value_len);
    size_t partition = partition_by(key, message.key_len);
    append(&w->topics[topic_of(w, topic)].partitions[partition], &message);
}

static void sums_add(struct sums *sums, int64_t value)
{
    sums->events++;
    sums->value += value;
}

static void put_event(struct world *w, struct expected *expected, int64_t now_ms)
{
    char key[16], user[32] = "", text[128];
    int64_t value = random_below(&w->random, 20); /* one in twenty is filtered */
    bool is_user = random_below(&w->random, 2) == 0;
    int64_t time_ms = now_ms - random_below(&w->random, 400);
    (void)snprintf(key, sizeof key, "k%" PRId64, random_below(&w->random, 4));
    if (is_user) {
        (void)snprintf(user, sizeof user, ",\"u\":\"u%" PRId64 "\"", random_below(&w->random, 4));
    }
    (void)snprintf(text, sizeof text, "{\"k\":\"%s\",\"t\":%" PRId64 ",\"v\":%" PRId64 "%s}", key,
                   time_ms < 0 ? 0 : time_ms, value, user);
    put(w, random_below(&w->random, 2) ? "a" : "b", key, text);
    if (value > 0) {
        sums_add(is_user ? &expected->users : &expected->rest, value);
    }
}

/* Ends all windows: an event in the far future for each partition of each topic, then one more, since
 * the pipeline's own topic must hear of it in both of its partitions. */
static void put_ends(struct world *w)
{
    for (int key = 0; key < PARTITIONS; key++) {
        for (int user = 0; user < PARTITIONS; user++) {
            for (int topic = 0; topic < 2; topic++) {
                char name[8], text[128];
                (void)snprintf(name, sizeof name, "end%d", key);
                (void)snprintf(text, sizeof text,
                               "{\"k\":\"end%d\",\"t\":%d,\"v\":1,\"u\":\"end%d\"}", key,
                               10000000 + user, user);
                put(w, topic ? "a" : "b", name, text);
            }
        }
    }
}

static void input_make(struct world *w, struct expected *expected)
{
    int64_t count = 1 + random_below(&w->random, EVENTS_MAX), now_ms = 1000;
    *expected = (struct expected){0};
    for (int64_t i = 0; i < count; i++) {
        now_ms += random_below(&w->random, random_below(&w->random, 20) ? 40 : 2000);
        put_event(w, expected, now_ms);
    }
    put_ends(w);
}

/* --- the outcome --------------------------------------------------------------------------------*/

static int64_t number_of(const struct message *m, const char *name)
{
    char text[sizeof m->value + 1], pattern[16];
    memcpy(text, m->value, m->value_len);
    text[m->value_len] = '\0';
    (void)snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(text, pattern);
    return at ? strtoll(at + strlen(pattern), NULL, 10) : 0;
}

static bool has_text(const struct message *m, const char *text)
{
    return memmem(m->value, m->value_len, text, strlen(text)) != NULL;
}

/* What the topic's records count, those of the end left out. counted_by NULL: each is one event. */
static struct sums sums_of(struct world *w, const char *topic, const char *counted_by,
                           const char *having)
{
    struct sums sums = {0};
    const struct topic *found = &w->topics[topic_of(w, topic)];
    for (size_t p = 0; p < PARTITIONS; p++) {
        for (size_t i = 0; i < found->partitions[p].count; i++) {
            const struct message *m = &found->partitions[p].messages[i];
            bool has = !having || has_text(m, having);
            if (!has_text(m, "\"end") && has) {
                sums.events += counted_by ? number_of(m, counted_by) : 1;
                sums.value += number_of(m, "v");
            }
        }
    }
    return sums;
}

static void expect_sums(const char *what, uint64_t seed, struct sums want, struct sums got,
                        struct sums late)
{
    if (want.events != got.events + late.events || want.value != got.value + late.value) {
        fail_msg("seed %" PRIu64 ": %s: %" PRId64 " events of %" PRId64 " went in; %" PRId64
                 " of %" PRId64 " came out, %" PRId64 " of %" PRId64 " late",
                 seed, what, want.events, want.value, got.events, got.value, late.events,
                 late.value);
    }
}

static void world_open(struct world *w, const char *pipeline, uint64_t seed)
{
    w->random = (struct random){seed};
    w->topic_count = w->open_count = 0;
    memset(w->topics, 0, sizeof w->topics);
    memset(w->tasks, 0, sizeof w->tasks);
    memset(w->places, 0, sizeof w->places);
    w->sink = (struct stream_sink){.emit = world_emit, .context = w};
    w->pipeline = fixture_compile(pipeline, PIPELINE_OVERRIDES_NONE);
    world_crash(w); /* the first start is a restart with nothing */
}

static void world_close(struct world *w)
{
    for (size_t stage = 0; stage < STAGES_MAX; stage++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            stream_task_free(w->tasks[stage][p]);
        }
    }
    for (size_t t = 0; t < w->topic_count; t++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            free(w->topics[t].partitions[p].messages);
        }
    }
    pipeline_free(w->pipeline);
}

static void run_one(struct world *w, uint64_t seed)
{
    struct expected expected;
    world_open(w, PIPELINE, seed);
    input_make(w, &expected);
    world_run(w);

    /* A late event of a user has its "u"; a late result has its "n", and there must be none. */
    struct sums none = {0};
    struct sums late_users = sums_of(w, "late", NULL, "\"u\":");
    struct sums late_all = sums_of(w, "late", NULL, NULL);
    struct sums late_keys = {late_all.events - late_users.events,
                             late_all.value - late_users.value};
    assert_int_equal(0, sums_of(w, "late", NULL, "\"n\":").events);
    expect_sums("users", seed, expected.users, sums_of(w, "users-out", "n", NULL), late_users);
    expect_sums("keys", seed, expected.rest, sums_of(w, "keys-out", "n", NULL), late_keys);
    expect_sums("copy", seed,
                (struct sums){expected.users.events + expected.rest.events,
                              expected.users.value + expected.rest.value},
                sums_of(w, "copy-out", NULL, NULL), none);
    world_close(w);
}

/* --- partitions that are far apart --------------------------------------------------------------*/

static const char FAR[] =
    "{\"name\":\"p\",\"late\":{\"topic\":\"late\"},"
    "\"source\":{\"topic\":\"a\",\"timestamp\":{\"field\":\"t\",\"format\":\"epoch-ms\"}},"
    "\"steps\":[{\"rekey\":{\"key\":\"u\",\"watermark\":{\"skew\":\"7d\"}}},"
    "{\"aggregate\":{\"by\":\"u\",\"window\":{\"tumbling\":\"100ms\"},"
    "\"store\":{\"name\":\"s\"},\"emit\":[\"final\"],"
    "\"result\":{\"u\":\"key\",\"n\":\"count\",\"v\":{\"sum\":\"v\"}}}}],"
    "\"output\":{\"topic\":\"users-out\"}}";

static void put_far(struct world *w, int partition, const char *user, int64_t time_ms)
{
    char key[8], text[128];
    (void)snprintf(key, sizeof key, "k%d", partition);
    (void)snprintf(text, sizeof text, "{\"t\":%" PRId64 ",\"v\":1,\"u\":\"%s\"}", time_ms, user);
    put(w, "a", key, text);
}

/* Each partition's events are in order, whoever is read first and however far: nothing is late, since
 * each partition of the topic behind has heard of both. */
static void run_far(struct world *w, uint64_t seed)
{
    int64_t sent = 0;
    char user[8];
    world_open(w, FAR, seed);
    for (int p = 0; p < PARTITIONS; p++) {
        put_far(w, p, "end0", 0);
        put_far(w, p, "end1", 0);
    }
    world_run(w);
    for (int p = 0; p < PARTITIONS; p++) {
        int64_t now_ms = 0;
        for (int64_t left = random_below(&w->random, EVENTS_MAX); left > 0; left--) {
            now_ms += random_below(&w->random, random_below(&w->random, 20) ? 40 : 5000);
            (void)snprintf(user, sizeof user, "u%" PRId64, random_below(&w->random, 4));
            put_far(w, p, user, now_ms);
            sent++;
        }
        put_far(w, p, "end0", 10000000);
        put_far(w, p, "end1", 10000000);
    }
    world_run(w);
    expect_sums("users", seed, (struct sums){sent, sent}, sums_of(w, "users-out", "n", NULL),
                (struct sums){0});
    assert_int_equal(0, sums_of(w, "late", NULL, NULL).events);
    world_close(w);
}

static void test_rekey__partitions_far_apart__nothing_is_late(void **state)
{
    (void)state;
    static struct world world;
    for (uint64_t run = 0; run < RUNS; run++) {
        run_far(&world, run * 6151 + 1);
    }
}

static void test_flows__whatever_happens__each_event_counts_once(void **state)
{
    (void)state;
    static struct world world;
    const char *seed = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    if (seed) {
        run_one(&world, strtoull(seed, NULL, 10));
    }
    for (uint64_t run = 0; !seed && run < RUNS; run++) {
        run_one(&world, run * 7919 + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flows__whatever_happens__each_event_counts_once),
        cmocka_unit_test(test_rekey__partitions_far_apart__nothing_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
