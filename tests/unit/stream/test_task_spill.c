/* Tasks whose state is larger than the memory they may have, through random disorder, commits, aborts,
 * failing writes, crashes and rebalances: what they write is, record by record, what tasks write that have
 * all in memory. That those are right is held against a recount in test_task_property.c. */
#include "world.h"

#define RUNS       TEST_RUNS(2000)
#define EVENTS_MAX 200
#define KEYS       16

/* The step, or steps, of each; {}: a window's size and grace; <>: some time. */
static const char *const SHAPES[] = {
    "{\"aggregate\":{\"by\":\"/k\",\"window\":{},"
    "\"store\":{\"name\":\"s\"},\"result\":{\"start\":{\"window\":\"start\"},\"k\":\"key\","
    "\"n\":\"count\",\"sum\":{\"sum\":\"/v\"},\"min\":{\"min\":\"/v\"}}}}",
    /* Cells of many sizes, and keys of results that say which window. */
    "{\"aggregate\":{\"by\":\"/k\",\"window\":{},"
    "\"emit\":[\"final\"],\"key\":\"windowed\",\"store\":{\"name\":\"s\"},"
    "\"result\":{\"k\":\"key\",\"all\":{\"list\":{\"field\":\"/v\","
    "\"max\":5,\"over\":\"truncate\"}},"
    "\"vs\":{\"distinct\":{\"field\":\"/v\",\"max\":9,\"over\":\"truncate\"}}}}}",
    "{\"aggregate\":{\"by\":\"/k\",\"window\":{},"
    "\"emit\":[\"update\"],\"store\":{\"name\":\"s\"},\"result\":{\"k\":\"key\",\"n\":\"count\"}}}",
    "{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"s\"},\"result\":{\"k\":\"key\","
    "\"n\":\"count\",\"sum\":{\"sum\":\"/v\"},\"last\":{\"last\":\"/g\"}}}}",
    /* Of a table: rows are taken back from the group that they were in. */
    "{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"s\"},\"result\":{\"k\":\"key\","
    "\"n\":\"count\",\"g\":{\"last\":\"/g\"}}}},"
    "{\"aggregate\":{\"by\":\"/g\",\"store\":{\"name\":\"t\"},\"result\":{\"g\":\"key\","
    "\"rows\":\"count\",\"n\":{\"sum\":\"/n\"},"
    "\"ns\":{\"set\":{\"field\":\"/n\",\"max\":20,\"over\":\"truncate\"}}}}}",
    /* Ranges of a key are asked for. What a cycle of sessions writes depends on where the one before it
     * was cut off, so that they are held against their recount alone (test_sessions.c). */
    "{\"aggregate\":{\"by\":\"/k\",\"window\":{\"count\":4},\"store\":{\"name\":\"s\"},"
    "\"result\":{\"k\":\"key\",\"n\":\"count\",\"all\":{\"list\":{\"field\":\"/v\",\"max\":9,"
    "\"over\":\"truncate\"}}}}}",
    "{\"dedup\":{\"by\":[\"/k\"],\"ttl\":<>,\"store\":{\"name\":\"s\"}}}",
    "{\"suppress\":{\"by\":[\"/k\"],\"for\":<>,\"store\":{\"name\":\"s\"}}}",
};

struct scenario {
    struct random random;
    char pipeline[2048];
    bool is_exactly_once;
    bool
        expires; /* what goes by its time goes from memory first: the changelog's order is another */
    size_t event_count;
    struct world_record records[EVENTS_MAX];
};

static void scenario_make(struct scenario *s, uint64_t seed)
{
    *s = (struct scenario){.random = {seed}, .event_count = EVENTS_MAX};
    char window[128] = "";
    int64_t size_ms = 1 + random_below(&s->random, 1000);
    struct strview shape = sv(SHAPES[random_below(&s->random, ARRAY_LEN(SHAPES))]);
    const char *window_at = strstr(shape.ptr, "{}"), *time_at = strstr(shape.ptr, "<>");
    const char *gap = window_at ? window_at : time_at, *end = shape.ptr + shape.len;
    bool is_timed = gap != NULL, is_tumbling = random_below(&s->random, 2);
    s->expires = time_at != NULL;
    if (time_at) {
        (void)snprintf(window, sizeof window, "\"%" PRId64 "ms\"", size_ms);
    } else if (is_timed) {
        int64_t advance_ms = size_ms / (1 + random_below(&s->random, 6)) + 1;
        char advance[64] = "";
        if (!is_tumbling) {
            (void)snprintf(advance, sizeof advance, ",\"advance\":\"%" PRId64 "ms\"",
                           advance_ms < size_ms ? advance_ms : size_ms);
        }
        (void)snprintf(
            window, sizeof window, "{\"%s\":\"%" PRId64 "ms\"%s,\"grace\":\"%" PRId64 "ms\"}",
            is_tumbling ? "tumbling" : "hopping", size_ms, advance, random_below(&s->random, 1500));
    }
    (void)snprintf(s->pipeline, sizeof s->pipeline,
                   "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\","
                   "\"format\":\"epoch-ms\"}},\"steps\":[%.*s%s%s],\"output\":{\"topic\":\"out\"}}",
                   (int)((is_timed ? gap : end) - shape.ptr), shape.ptr, window,
                   is_timed ? gap + 2 : "");
    s->is_exactly_once = !window_at || random_below(&s->random, 3) > 0;
    int64_t now_ms = 0;
    for (size_t i = 0; i < s->event_count; i++) {
        bool jumps = random_below(&s->random, 40) == 0;
        now_ms += random_below(&s->random, jumps ? size_ms * 20 : size_ms / 8 + 2);
        int64_t time_ms = now_ms - random_below(&s->random, size_ms * 2);
        s->records[i].offset = (int64_t)i;
        (void)snprintf(s->records[i].value, sizeof s->records[i].value,
                       "{\"k\":\"key-%d\",\"g\":\"group-%d\",\"t\":%" PRId64 ",\"v\":%d%s",
                       (int)random_below(&s->random, KEYS), (int)random_below(&s->random, 5),
                       time_ms < 0 ? 0 : time_ms, (int)random_below(&s->random, 1000),
                       random_below(&s->random, 20) ? "}" : "");
    }
}

static void run(struct world *w, struct scenario *s, uint64_t seed, bool has_disks,
                size_t memory_bytes)
{
    w->records = s->records;
    w->record_count = s->event_count;
    w->is_exactly_once = s->is_exactly_once;
    w->has_disks = has_disks;
    w->memory_bytes = memory_bytes;
    world_run(w, s->pipeline, seed);
}

static void expect_written(const struct written *want, const struct written *got, size_t at,
                           uint64_t seed)
{
    bool is_same = want->target == got->target && want->topic == got->topic &&
                   want->partition == got->partition && want->has_value == got->has_value &&
                   want->is_final == got->is_final && want->timestamp_ms == got->timestamp_ms &&
                   sv_equal(sv_of(want->key, want->key_len), sv_of(got->key, got->key_len)) &&
                   sv_equal(sv_of(want->value, want->value_len), sv_of(got->value, got->value_len));
    if (!is_same) {
        fail_msg("seed %" PRIu64 ": record %zu is %d %.*s, not %d %.*s", seed, at, got->target,
                 (int)got->value_len, got->value, want->target, (int)want->value_len, want->value);
    }
}

/* The next one that is no changelog record. */
static size_t output_next(const struct world *w, size_t at)
{
    while (at < w->log_count && w->log[at].target == STREAM_CHANGELOG) {
        at++;
    }
    return at;
}

static int written_order(const void *left, const void *right)
{
    const struct written *a = *(const struct written *const *)left;
    const struct written *b = *(const struct written *const *)right;
    int order = store_disk_order(sv_of(a->key, a->key_len), sv_of(b->key, b->key_len));
    return order ? order : (a > b) - (a < b);
}

/* The changelog, in order of keys, then as it was written. */
static size_t changelog_sort(const struct world *w, const struct written **ret)
{
    size_t count = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target == STREAM_CHANGELOG) {
            ret[count++] = &w->log[i];
        }
    }
    qsort(ret, count, sizeof *ret, written_order);
    return count;
}

/* The same results in the same order, and the same changelog of each cell. */
static void expect_outcome(const struct world *whole, const struct world *spilled, uint64_t seed)
{
    static const struct written *want[WORLD_LOG_MAX], *got[WORLD_LOG_MAX];
    size_t at = output_next(whole, 0), spilled_at = output_next(spilled, 0);
    while (at < whole->log_count && spilled_at < spilled->log_count) {
        expect_written(&whole->log[at], &spilled->log[spilled_at], at, seed);
        at = output_next(whole, at + 1);
        spilled_at = output_next(spilled, spilled_at + 1);
    }
    size_t count = changelog_sort(whole, want), spilled_count = changelog_sort(spilled, got);
    for (size_t i = 0; i < count && i < spilled_count; i++) {
        expect_written(want[i], got[i], i, seed);
    }
    assert_int_equal(count, spilled_count);
}

static void expect_same(const struct world *whole, const struct world *spilled, uint64_t seed)
{
    for (size_t at = 0; at < whole->log_count && at < spilled->log_count; at++) {
        expect_written(&whole->log[at], &spilled->log[at], at, seed);
    }
}

static void test_task__state_larger_than_memory__writes_the_same(void **state)
{
    (void)state;
    static struct world whole, spilled;
    static struct scenario scenario;
    static const size_t bounds[] = {0, 1000, 2000, 4000};
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&whole);
    world_open(&spilled);
    for (uint64_t i = 0; i < (only ? 1 : RUNS); i++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : i * 7919 + 1;
        scenario_make(&scenario, seed);
        run(&whole, &scenario, seed, false, 0);
        run(&spilled, &scenario, seed, true, bounds[seed % ARRAY_LEN(bounds)]);
        if (scenario.expires) {
            expect_outcome(&whole, &spilled, seed);
        } else {
            expect_same(&whole, &spilled, seed);
        }
        assert_int_equal(whole.log_count, spilled.log_count);
    }
    assert_true(only ||
                (spilled.spilled > 10 * RUNS && spilled.recalled > RUNS)); /* about something */
    world_close(&whole);
    world_close(&spilled);
}

/* Nothing goes on with state that cannot be had: what was committed is in the changelog. */
static void test_task__disk_cannot_be_read__says_so_and_has_written_nothing(void **state)
{
    (void)state;
    static struct world w;
    static struct scenario scenario;
    world_open(&w);
    scenario = (struct scenario){.event_count = 2, .is_exactly_once = true};
    (void)snprintf(scenario.pipeline, sizeof scenario.pipeline,
                   "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[%s],"
                   "\"output\":{\"topic\":\"out\"}}",
                   SHAPES[3]);
    for (int i = 0; i < 2; i++) {
        scenario.records[i].offset = i;
        (void)snprintf(scenario.records[i].value, sizeof scenario.records[i].value,
                       "{\"k\":\"key\",\"g\":\"g\",\"v\":1}");
    }
    w.records = scenario.records;
    w.record_count = 2;
    w.is_exactly_once = true;
    w.has_disks = true;
    world_start(&w, scenario.pipeline, 1);
    w.fail_after = -1;
    struct stream_record record = {.value = sv(scenario.records[0].value), .timestamp_ms = 1};
    struct err_info info = {0};
    assert_err(ERR_OK, stream_task_process(w.tasks[0][0], &record, &w.sink, &info));
    world_commit(&w);
    world_commit(&w);
    assert_int_equal(1, stream_task_stats(w.tasks[0][0]).spilled);
    w.disks[0][0].fails_read = true;
    record.offset = 1;
    assert_err(ERR_STATE, stream_task_process(w.tasks[0][0], &record, &w.sink, &info));
    assert_non_null(strstr(info.text, "the disk is gone"));
    assert_int_equal(0, w.open_count);
    world_abort(&w);
    w.disks[0][0].fails_read = false;
    assert_err(ERR_STATE, stream_task_process(w.tasks[0][0], &record, &w.sink, &info));
    world_abort(&w);
    world_stop(&w);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task__state_larger_than_memory__writes_the_same),
        cmocka_unit_test(test_task__disk_cannot_be_read__says_so_and_has_written_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
