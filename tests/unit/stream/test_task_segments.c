/* Steps behind steps that make records: what an aggregate puts out is read like any event. */
#include "stream_fixture.h"

#define AGGREGATE(store, by, window, result)                                                       \
    "{\"aggregate\":{\"by\":\"" by "\",\"window\":{" window "},\"store\":{\"name\":\"" store       \
    "\"},\"emit\":[\"final\"],\"result\":{" result "}}}"
#define HEAD                                                                                       \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\","                \
    "\"format\":\"epoch-ms\"}},"

static void event(struct fixture *f, const char *key, int64_t time_ms, int value)
{
    char text[128];
    (void)snprintf(text, sizeof text, "{\"k\":\"%s\",\"t\":%" PRId64 ",\"v\":%d}", key, time_ms,
                   value);
    fixture_process_at(f, -1, text);
}

static void test_steps_behind_an_aggregate__read_its_results(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, HEAD
                  "\"steps\":[" AGGREGATE("s", "/k", "\"tumbling\":\"10s\"",
                                          "\"who\":\"key\",\"n\":\"count\",\"end\":{\"window\":"
                                          "\"end\"}") ",{\"filter\":{\"field\":\"/n\",\">\":1}},"
                                                      "{\"require\":{\"field\":\"/"
                                                      "who\",\"!=\":\"x\"}}],"
                                                      "\"output\":{\"topic\":\"out\",\"key\":\"/"
                                                      "end\"}}");
    event(&f, "a", 1000, 1);
    event(&f, "b", 2000, 1);
    event(&f, "b", 3000, 1);
    event(&f, "x", 4000, 1);
    event(&f, "x", 5000, 1);
    event(&f, "z", 10000, 1);
    fixture_commit(&f);
    assert_int_equal(1, fixture_count(&f, STREAM_OUTPUT));
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("{\"who\":\"b\",\"n\":2,\"end\":10000}", out->value);
    assert_string_equal("10000", out->key);
    assert_int_equal(3000, out->timestamp_ms);
    assert_string_equal("final", kept_header(out, "millrace-result"));
    /* A result that is refused has no origin: it goes as it is. */
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("{\"who\":\"x\",\"n\":2,\"end\":10000}", dead->value);
    assert_string_equal("x", dead->key);
    assert_false(dead->has_source);
    assert_string_equal("/steps/2/require", kept_header(dead, "millrace-step"));
    assert_string_equal("", kept_header(dead, "__streams.errors.offset"));
    assert_int_equal(1, stream_task_stats(f.task).filtered);
    assert_int_equal(1, stream_task_stats(f.task).outputs);
    fixture_stop(&f);
}

static void counter_is(const struct fixture *f, uint64_t count, const char *name,
                       enum pipeline_outcome outcome)
{
    for (size_t i = 0; i < pipeline_counter_count(f->pipeline); i++) {
        struct pipeline_counter counter = pipeline_counter_at(f->pipeline, i);
        if (counter.outcome == outcome && strcmp(counter.name, name) == 0) {
            assert_int_equal(count, stream_task_counts(f->task)[i]);
            return;
        }
    }
    fail_msg("no counter of %s", name);
}

/* What came, and where it ended: of commits alone. */
static void test_counters__say_where_records_end(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, HEAD "\"steps\":[{\"filter\":{\"field\":\"/v\",\">\":1}},"
                           "{\"require\":{\"field\":\"/k\",\"!=\":\"x\"}}],"
                           "\"output\":{\"topic\":\"out\"}}");
    const char *segment = pipeline_counter_at(f.pipeline, 0).name;
    event(&f, "a", 1000, 1);
    event(&f, "b", 1000, 2);
    event(&f, "x", 1000, 2);
    counter_is(&f, 0, segment, PIPELINE_IN);
    fixture_commit(&f);
    event(&f, "a", 1000, 1);
    stream_task_aborted(f.task);
    event(&f, "x", 1000, 2);
    fixture_commit(&f);
    counter_is(&f, 4, segment, PIPELINE_IN);
    counter_is(&f, 1, "/steps/0/filter", PIPELINE_FILTERED);
    counter_is(&f, 0, "/steps/0/filter", PIPELINE_REJECTED);
    counter_is(&f, 2, "/steps/1/require", PIPELINE_REJECTED);
    fixture_stop(&f);
}

/* Seconds into three seconds. The outer window waits for the inner one's grace; whatever commits come
 * in between, its final says the same. */
static const char CHAIN[] = HEAD "\"steps\":[" AGGREGATE(
    "inner", "/k", "\"tumbling\":\"1s\",\"grace\":\"2s\"",
    "\"k\":\"key\",\"v\":{\"sum\":\"/v\"}") "," AGGREGATE("outer", "/k", "\"tumbling\":\"3s\"",
                                                          "\"k\":\"key\",\"n\":\"count\",\"v\":{"
                                                          "\"sum\":\"/v\"}") "],\"output\":{"
                                                                             "\"topic\":\"out\"}}";

static const struct {
    int64_t time_ms;
    int value;
} CHAIN_EVENTS[] = {{100, 1},   {1100, 2},  {2900, 4},   {900, 8},    {4200, 16},
                    {2999, 32}, {4999, 64}, {3100, 128}, {9000, 256}, {20000, 512}};

static void test_aggregate_of_results__commits_make_no_difference(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile(CHAIN, PIPELINE_OVERRIDES_NONE);
    for (unsigned commits = 0; commits < 1U << ARRAY_LEN(CHAIN_EVENTS); commits++) {
        struct fixture f;
        fixture_take(&f, pipeline);
        for (size_t i = 0; i < ARRAY_LEN(CHAIN_EVENTS); i++) {
            event(&f, "a", CHAIN_EVENTS[i].time_ms, CHAIN_EVENTS[i].value);
            if (commits & 1U << i) {
                fixture_commit(&f);
            }
        }
        fixture_commit(&f);
        assert_int_equal(0, fixture_count(&f, STREAM_LATE));
        assert_int_equal(3, fixture_count(&f, STREAM_OUTPUT));
        assert_string_equal("{\"k\":\"a\",\"n\":3,\"v\":47}",
                            fixture_out(&f, STREAM_OUTPUT, 0)->value);
        assert_string_equal("{\"k\":\"a\",\"n\":2,\"v\":208}",
                            fixture_out(&f, STREAM_OUTPUT, 1)->value);
        assert_string_equal("{\"k\":\"a\",\"n\":1,\"v\":256}",
                            fixture_out(&f, STREAM_OUTPUT, 2)->value);
        assert_int_equal(2999, fixture_out(&f, STREAM_OUTPUT, 0)->timestamp_ms);
        f.pipeline = NULL;
        stream_task_free(f.task);
        free(f.kept);
    }
    pipeline_free(pipeline);
}

static void test_stores__each_has_its_changelog(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, CHAIN);
    assert_int_equal(2, pipeline_store_count(f.pipeline));
    assert_string_equal("p-inner-changelog", pipeline_store_changelog(f.pipeline, 0));
    assert_string_equal("p-outer-changelog", pipeline_store_changelog(f.pipeline, 1));
    assert_int_equal(0, pipeline_store_stage(f.pipeline, 1));
    assert_int_equal(-1, pipeline_store_retention_ms(f.pipeline, 1));
    assert_int_equal(1, pipeline_source_count(f.pipeline));
    assert_int_equal(1, pipeline_stage_count(f.pipeline));
    assert_false(pipeline_stage_is_copartitioned(f.pipeline, 0));
    event(&f, "a", 100, 1);
    event(&f, "a", 3100, 1); /* the first second closes and is a row of the outer store */
    fixture_commit(&f);
    bool has_outer = false;
    for (size_t i = 0; i < f.kept_count; i++) {
        has_outer |= strcmp(f.kept[i].topic, "p-outer-changelog") == 0;
    }
    assert_true(has_outer);
    fixture_stop(&f);
}

static void test_task_time__is_the_events(void **state)
{
    (void)state;
    struct fixture f;
    int64_t ms = 0;
    fixture_start(&f, CHAIN);
    struct stream_record record = {.value = SV("{\"t\":1234}"), .timestamp_ms = 9};
    assert_err(ERR_OK, stream_task_time(f.task, &record, &ms));
    assert_int_equal(1234, ms);
    record.value = SV("{}");
    assert_err(ERR_FIELD_MISSING, stream_task_time(f.task, &record, &ms));
    assert_int_equal(0, stream_task_stats(f.task).records);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_behind_an_aggregate__read_its_results),
        cmocka_unit_test(test_counters__say_where_records_end),
        cmocka_unit_test(test_aggregate_of_results__commits_make_no_difference),
        cmocka_unit_test(test_stores__each_has_its_changelog),
        cmocka_unit_test(test_task_time__is_the_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
