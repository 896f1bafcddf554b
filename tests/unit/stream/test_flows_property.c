/* A pipeline of two sources, branches, a rekey and an aggregate of results, on two partitions, through
 * random commits, aborts, failing writes and crashes, exactly once. Whatever happens, each event is
 * counted once on its way or is late once: what comes out is held against the input as a whole. */
#include "world.h"

#define RUNS        TEST_RUNS(400)
#define EVENTS_MAX  120
#define RECORDS_MAX (5 * EVENTS_MAX) /* ends and repartitioned ones among them */
#define PARTITIONS  2

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

/* --- the input ----------------------------------------------------------------------------------*/

struct sums {
    int64_t events, value;
};

struct expected {
    struct sums users, rest;
};

/* source: "a" or "b", in the file's order. */
static void put(struct world *w, unsigned source, const char *key, const char *value)
{
    struct world_record record = {.source = source, .partition = world_partition(w, sv(key))};
    (void)snprintf(record.value, sizeof record.value, "%s", value);
    world_insert(w, record);
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
    put(w, (unsigned)random_below(&w->random, 2), key, text);
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
            for (unsigned source = 0; source < 2; source++) {
                char name[8], text[128];
                (void)snprintf(name, sizeof name, "end%d", key);
                (void)snprintf(text, sizeof text,
                               "{\"k\":\"end%d\",\"t\":%d,\"v\":1,\"u\":\"end%d\"}", key,
                               10000000 + user, user);
                put(w, source, name, text);
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

static int64_t number_of(const char *value, const char *name)
{
    char pattern[16];
    (void)snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(value, pattern);
    return at ? strtoll(at + strlen(pattern), NULL, 10) : 0;
}

/* What the topic's records count, those of the end left out. counted_by NULL: each is one event. */
static struct sums sums_of(const struct world *w, const char *topic, const char *counted_by,
                           const char *having)
{
    struct sums sums = {0};
    for (size_t i = 0; i < w->log_count; i++) {
        const char *value = w->log[i].value;
        bool is_its = strcmp(pipeline_topic_name(w->pipeline, w->log[i].topic), topic) == 0;
        if (is_its && !strstr(value, "\"end") && (!having || strstr(value, having))) {
            sums.events += counted_by ? number_of(value, counted_by) : 1;
            sums.value += number_of(value, "v");
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

static void flows_open(struct world *w)
{
    static struct world_record records[RECORDS_MAX];
    world_open(w);
    w->records = records;
    w->record_capacity = ARRAY_LEN(records);
    w->partitions = PARTITIONS;
    w->is_exactly_once = true;
}

static void run_one(struct world *w, uint64_t seed)
{
    struct expected expected;
    w->record_count = 0;
    world_draw_disks(w, seed);
    world_start(w, PIPELINE, seed);
    input_make(w, &expected);
    world_go(w);

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
    world_stop(w);
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
    put(w, 0, key, text);
}

/* Each partition's events are in order, whoever is read first and however far: nothing is late, since
 * each partition of the topic behind has heard of both. */
static void run_far(struct world *w, uint64_t seed)
{
    int64_t sent = 0;
    char user[8];
    w->record_count = 0;
    world_draw_disks(w, seed);
    world_start(w, FAR, seed);
    for (int p = 0; p < PARTITIONS; p++) {
        put_far(w, p, "end0", 0);
        put_far(w, p, "end1", 0);
    }
    world_go(w);
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
    world_go(w);
    expect_sums("users", seed, (struct sums){sent, sent}, sums_of(w, "users-out", "n", NULL),
                (struct sums){0});
    assert_int_equal(0, sums_of(w, "late", NULL, NULL).events);
    world_stop(w);
}

static void test_rekey__partitions_far_apart__nothing_is_late(void **state)
{
    (void)state;
    struct world world;
    flows_open(&world);
    for (uint64_t run = 0; run < RUNS; run++) {
        run_far(&world, run * 6151 + 1);
    }
    world_close(&world);
}

static void test_flows__whatever_happens__each_event_counts_once(void **state)
{
    (void)state;
    struct world world;
    const char *seed = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    flows_open(&world);
    if (seed) {
        run_one(&world, strtoull(seed, NULL, 10));
    }
    for (uint64_t run = 0; !seed && run < RUNS; run++) {
        run_one(&world, run * 7919 + 1);
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flows__whatever_happens__each_event_counts_once),
        cmocka_unit_test(test_rekey__partitions_far_apart__nothing_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
