/* Tasks whose state is larger than the memory they may have, through random disorder, commits, aborts,
 * failing writes, crashes and rebalances: what they write is, record by record, what tasks write that have
 * all in memory. That those are right is held against a recount in test_task_property.c. */
#include "world.h"

#define RUNS       TEST_RUNS(2000)
#define EVENTS_MAX 200
#define KEYS       16

/* The step, or steps, of each; {}: a window's size and grace. */
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
};

struct scenario {
    struct random random;
    char pipeline[2048];
    bool is_exactly_once;
    size_t event_count;
    struct world_record records[EVENTS_MAX];
};

static void scenario_make(struct scenario *s, uint64_t seed)
{
    *s = (struct scenario){.random = {seed}, .event_count = EVENTS_MAX};
    char window[64] = "";
    int64_t size_ms = 1 + random_below(&s->random, 1000);
    struct strview shape = sv(SHAPES[random_below(&s->random, ARRAY_LEN(SHAPES))]);
    const char *gap = strstr(shape.ptr, "{}"), *end = shape.ptr + shape.len;
    bool is_timed = gap != NULL;
    if (is_timed) {
        (void)snprintf(window, sizeof window,
                       "{\"tumbling\":\"%" PRId64 "ms\",\"grace\":\"%" PRId64 "ms\"}", size_ms,
                       random_below(&s->random, 1500));
    }
    (void)snprintf(s->pipeline, sizeof s->pipeline,
                   "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\","
                   "\"format\":\"epoch-ms\"}},\"steps\":[%.*s%s%s],\"output\":{\"topic\":\"out\"}}",
                   (int)((is_timed ? gap : end) - shape.ptr), shape.ptr, window,
                   is_timed ? gap + 2 : "");
    s->is_exactly_once = !is_timed || random_below(&s->random, 3) > 0;
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
        for (size_t at = 0; at < whole.log_count && at < spilled.log_count; at++) {
            expect_written(&whole.log[at], &spilled.log[at], at, seed);
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
