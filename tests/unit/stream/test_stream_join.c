/* Joins of two streams against a naive recount, through whatever can happen to a task. What each
 * kind puts out for which records: tests/stream/joins/. */
#include "world.h"

#define RECORDS_MAX 120
#define KEYS        4
#define DELAY_MS    100

struct shape {
    const char *type;
    bool left_is_outer, right_is_outer, is_eager;
    int64_t before_ms, after_ms, grace_ms;
};

struct event {
    bool is_right;
    int64_t key, time_ms;
    bool is_late, is_matched;
};

/* What has to come out: left and right by number, -1: nothing. */
struct pair {
    int left, right;
    int64_t time_ms;
    size_t seen;
};

struct oracle {
    size_t event_count;
    struct event events[RECORDS_MAX];
    size_t pair_count;
    struct pair pairs[RECORDS_MAX * RECORDS_MAX / 2];
    size_t late_count;
};

static size_t make_records(struct random *random, struct world_record *records)
{
    size_t count = (size_t)(1 + random_below(random, RECORDS_MAX));
    int64_t now_ms = 10000, offsets[2] = {0, 0};
    for (size_t i = 0; i < count; i++) {
        now_ms += random_below(random, random_below(random, 30) ? 60 : 3000);
        unsigned source = (unsigned)random_below(random, 2);
        records[i] = (struct world_record){.source = source, .offset = offsets[source]++};
        (void)snprintf(records[i].value, sizeof records[i].value,
                       "{\"k\":%" PRId64 ",\"id\":%zu,\"t\":%" PRId64 "}",
                       random_below(random, KEYS), i, now_ms - random_below(random, 700));
    }
    return count;
}

static void add_pair(struct oracle *o, int left, int right, int64_t time_ms)
{
    assert_true(o->pair_count < ARRAY_LEN(o->pairs));
    o->pairs[o->pair_count++] = (struct pair){left, right, time_ms, 0};
}

static bool is_pair(const struct shape *shape, const struct event *a, const struct event *b)
{
    const struct event *left = a->is_right ? b : a, *right = a->is_right ? a : b;
    return a->is_right != b->is_right && a->key == b->key &&
           right->time_ms >= left->time_ms - shape->before_ms &&
           right->time_ms <= left->time_ms + shape->after_ms;
}

static void recount_event(const struct shape *shape, struct oracle *o, size_t i)
{
    struct event *own = &o->events[i];
    for (size_t j = 0; j < i; j++) {
        struct event *other = &o->events[j];
        if (!other->is_late && is_pair(shape, own, other)) {
            add_pair(o, (int)(own->is_right ? j : i), (int)(own->is_right ? i : j),
                     own->time_ms > other->time_ms ? own->time_ms : other->time_ms);
            own->is_matched = other->is_matched = true;
        }
    }
    bool is_outer = own->is_right ? shape->right_is_outer : shape->left_is_outer;
    if (shape->is_eager && is_outer && !own->is_matched) {
        add_pair(o, own->is_right ? -1 : (int)i, own->is_right ? (int)i : -1, own->time_ms);
    }
}

static int64_t watermark_of(const int64_t newest_ms[2])
{
    int64_t lower = newest_ms[0] < newest_ms[1] ? newest_ms[0] : newest_ms[1];
    return lower == INT64_MIN ? INT64_MIN : lower - DELAY_MS;
}

static int64_t keep_ms(const struct shape *shape, const struct event *event)
{
    int64_t ahead_ms = event->is_right ? shape->before_ms : shape->after_ms;
    return (ahead_ms > 0 ? ahead_ms : 0) + shape->grace_ms;
}

/* By what docs/semantics.md says alone. */
static void recount(const struct shape *shape, const struct world_record *records, size_t count,
                    struct oracle *o)
{
    int64_t newest_ms[2] = {INT64_MIN, INT64_MIN}, watermark_ms = INT64_MIN;
    o->event_count = count;
    o->pair_count = o->late_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct event *own = &o->events[i];
        *own = (struct event){.is_right = records[i].source == 1};
        assert_int_equal(2, sscanf(records[i].value, "{\"k\":%" SCNd64 ",\"id\":%*d,\"t\":%" SCNd64,
                                   &own->key, &own->time_ms));
        own->is_late = watermark_ms != INT64_MIN && own->time_ms + shape->grace_ms < watermark_ms;
        o->late_count += own->is_late;
        if (!own->is_late) {
            recount_event(shape, o, i);
            int64_t *newest = &newest_ms[records[i].source];
            *newest = own->time_ms > *newest ? own->time_ms : *newest;
            int64_t now_ms = watermark_of(newest_ms);
            watermark_ms = now_ms > watermark_ms ? now_ms : watermark_ms;
        }
    }
    for (size_t i = 0; i < count && !shape->is_eager; i++) {
        struct event *own = &o->events[i];
        bool is_outer = own->is_right ? shape->right_is_outer : shape->left_is_outer;
        if (is_outer && !own->is_late && !own->is_matched && watermark_ms != INT64_MIN &&
            own->time_ms + keep_ms(shape, own) < watermark_ms) {
            add_pair(o, own->is_right ? -1 : (int)i, own->is_right ? (int)i : -1, own->time_ms);
        }
    }
}

static int id_in(const char *value, const char *member)
{
    const char *at = strstr(value, member);
    int id = -1;
    assert_non_null(at);
    return sscanf(at + strlen(member), "{\"k\":%*d,\"id\":%d", &id) == 1 ? id : -1;
}

static void check_output(const struct world *w, struct oracle *o, uint64_t seed)
{
    size_t late = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        const struct written *written = &w->log[i];
        late += written->target == STREAM_LATE;
        if (written->target != STREAM_OUTPUT) {
            assert_int_not_equal(STREAM_DEAD_LETTER, written->target);
            continue;
        }
        int left = id_in(written->value, "\"l\":"), right = id_in(written->value, "\"r\":");
        size_t p = 0;
        while (p < o->pair_count && (o->pairs[p].left != left || o->pairs[p].right != right)) {
            p++;
        }
        if (p == o->pair_count || o->pairs[p].time_ms != written->timestamp_ms) {
            fail_msg("seed %" PRIu64 ": %s at %" PRId64 " is nothing that has to come out", seed,
                     written->value, written->timestamp_ms);
        }
        o->pairs[p].seen++;
    }
    for (size_t p = 0; p < o->pair_count; p++) {
        if (o->pairs[p].seen == 0 || (w->is_exactly_once && o->pairs[p].seen > 1)) {
            fail_msg("seed %" PRIu64 ": the pair of %d and %d came out %zu times", seed,
                     o->pairs[p].left, o->pairs[p].right, o->pairs[p].seen);
        }
    }
    assert_true(w->is_exactly_once ? late == o->late_count : late >= o->late_count);
}

static const char *pipeline_of(const struct shape *shape)
{
    static char text[1200];
    (void)snprintf(
        text, sizeof text,
        "{\"name\":\"j\",\"sources\":{"
        "\"l\":{\"topic\":\"l\",\"timestamp\":{\"field\":\"/t\",\"format\":\"epoch-ms\"},"
        "\"watermark\":{\"delay\":\"%dms\"}},"
        "\"r\":{\"topic\":\"r\",\"timestamp\":{\"field\":\"/t\",\"format\":\"epoch-ms\"},"
        "\"watermark\":{\"delay\":\"%dms\"}}},"
        "\"flows\":{\"j\":{\"from\":\"l\",\"steps\":[{\"join\":{\"stream\":\"r\",\"on\":\"/k\","
        "\"type\":\"%s\",%s\"within\":{\"before\":\"%s%" PRId64 "ms\",\"after\":\"%s%" PRId64
        "ms\"},\"grace\":\"%" PRId64 "ms\",\"as\":{\"left\":\"l\",\"right\":\"r\"}}}],"
        "\"output\":{\"topic\":\"o\"}}}}",
        DELAY_MS, DELAY_MS, shape->type, shape->is_eager ? "\"unmatched\":\"eager\"," : "",
        shape->before_ms < 0 ? "-" : "",
        shape->before_ms < 0 ? -shape->before_ms : shape->before_ms, shape->after_ms < 0 ? "-" : "",
        shape->after_ms < 0 ? -shape->after_ms : shape->after_ms, shape->grace_ms);
    return text;
}

static struct shape make_shape(struct random *random)
{
    static const char *const types[] = {"inner", "left", "right", "outer"};
    int64_t type = random_below(random, 4);
    struct shape shape = {.type = types[type],
                          .left_is_outer = type == 1 || type == 3,
                          .right_is_outer = type == 2 || type == 3,
                          .is_eager = type > 0 && random_below(random, 3) == 0,
                          .before_ms = random_below(random, 600) - 100,
                          .grace_ms = random_below(random, 400)};
    shape.after_ms = random_below(random, 600) - (shape.before_ms > 100 ? 100 : 0);
    if (shape.before_ms + shape.after_ms < 0) {
        shape.after_ms = -shape.before_ms;
    }
    return shape;
}

static void test_stream_join__whatever_happens__is_what_the_recount_says(void **state)
{
    (void)state;
    static struct world_record records[RECORDS_MAX];
    static struct oracle oracle;
    struct world w;
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&w);
    for (uint64_t run = 0; run < (only ? 1 : TEST_RUNS(2000)); run++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : run * 7919 + 1;
        struct random random = {seed};
        const struct shape shape = make_shape(&random);
        w.record_count = make_records(&random, records);
        w.records = records;
        /* Eagerly and at least once, what was alone may have met somebody when it comes again. */
        w.is_exactly_once = shape.is_eager || random_below(&random, 2);
        world_draw_disks(&w, seed);
        world_run(&w, pipeline_of(&shape), seed);
        recount(&shape, records, w.record_count, &oracle);
        check_output(&w, &oracle, seed);
    }
    world_close(&w);
}

static void compile_fails(const char *join, const char *told)
{
    char text[1024];
    static struct pipeline_errors errors;
    struct pipeline *pipeline = NULL;
    struct err_info info = {0};
    CLEANUP(json_decrefp) json_t *document = NULL;
    (void)snprintf(text, sizeof text,
                   "{\"name\":\"j\",\"sources\":{\"l\":{\"topic\":\"l\"},\"r\":{\"topic\":\"r\"}},"
                   "\"flows\":{\"j\":{\"from\":\"l\",\"steps\":[{\"join\":%s}],"
                   "\"output\":{\"topic\":\"o\"}}}}",
                   join);
    assert_err(ERR_OK, json_text_load(sv(text), "test.json", &document, &info));
    assert_err(ERR_CONFIG, pipeline_compile(document, "test.json", PIPELINE_OVERRIDES_NONE,
                                            &pipeline, &errors));
    if (!strstr(errors.items[0].text, told)) {
        fail_msg("\"%s\" does not say \"%s\"", errors.items[0].text, told);
    }
}

static void test_stream_join_compile__what_cannot_be__is_told(void **state)
{
    (void)state;
    compile_fails("{\"stream\":\"x\",\"on\":\"/k\",\"within\":\"1s\",\"set\":{\"a\":\"/a\"}}",
                  "/flows/j/steps/0/join/stream: ");
    compile_fails("{\"stream\":\"r\",\"on\":\"/k\",\"within\":\"1s\"}",
                  "either \"set\" or \"as\" is needed");
    compile_fails(
        "{\"stream\":\"r\",\"on\":\"/k\",\"within\":{\"before\":\"-2s\",\"after\":\"1s\"},"
        "\"set\":{\"a\":\"/a\"}}",
        "/join/within: no time");
    compile_fails("{\"stream\":\"r\",\"on\":\"/k\",\"within\":\"1s\",\"type\":\"outer\","
                  "\"set\":{\"a\":\"/a\"}}",
                  "use \"as\"");
    compile_fails("{\"stream\":\"r\",\"on\":\"/k\",\"within\":\"1s\",\"unmatched\":\"eager\","
                  "\"set\":{\"a\":\"/a\"}}",
                  "an inner join puts out nothing");
    compile_fails("{\"stream\":\"r\",\"on\":\"/k\",\"within\":\"1s\",\"as\":{\"left\":\"a\","
                  "\"right\":\"a\"}}",
                  "both sides have the name");
    compile_fails("{\"stream\":\"r\",\"within\":\"1s\",\"set\":{\"a\":\"/a\"}}", "/join");
    compile_fails("{\"stream\":\"r\",\"on\":\"/k\",\"within\":\"soon\",\"set\":{\"a\":\"/a\"}}",
                  "/join/within");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_join_compile__what_cannot_be__is_told),
        cmocka_unit_test(test_stream_join__whatever_happens__is_what_the_recount_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
