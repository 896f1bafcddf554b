#include "world.h"

#define PIPELINE(BY, MORE)                                                                         \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\",\"format\":"     \
    "\"epoch-ms\"},\"watermark\":{\"delay\":\"100ms\"}},\"steps\":[{\"dedup\":{\"by\":" BY         \
    ",\"ttl\":\"1s\"" MORE "}}],\"output\":{\"topic\":\"out\"}}"

static void process(struct fixture *f, const char *id, int64_t time_ms)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"id\":%s,\"t\":%" PRId64 "}", id, time_ms);
    fixture_process(f, text);
}

/* "5000 6000": event times of what passed. */
static void assert_passed(const struct fixture *f, const char *expected)
{
    char text[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < fixture_count(f, STREAM_OUTPUT); i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%" PRId64, i ? " " : "",
                                fixture_out(f, STREAM_OUTPUT, i)->timestamp_ms);
    }
    assert_string_equal(expected, text);
}

static void test_dedup__the_first_within_ttl_passes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    process(&f, "\"a\"", 5000);
    process(&f, "\"a\"", 5000);
    process(&f, "\"a\"", 5999);
    process(&f, "\"b\"", 5001);
    process(&f, "\"a\"", 6000); /* as far away as ttl */
    process(&f, "\"a\"", 6500);
    assert_passed(&f, "5000 5001 6000");
    assert_int_equal(3, stream_task_stats(f.task).filtered);
    fixture_stop(&f);
}

static void test_dedup__out_of_order__is_judged_by_event_times(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    process(&f, "\"a\"", 5000);
    process(&f, "\"a\"", 4001); /* before it, within ttl */
    process(&f, "\"a\"", 4000); /* … as far away as ttl */
    process(&f, "\"a\"", 6050);
    process(&f, "\"a\"", 5049); /* near neither 5000, 4000 … but near 5000 */
    assert_passed(&f, "5000 4000 6050");
    fixture_stop(&f);
}

static void test_dedup__what_event_time_has_passed_by_ttl__is_forgotten(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    process(&f, "\"a\"", 5000);
    process(&f, "\"x\"", 6099); /* the watermark is 5999 */
    process(&f, "\"a\"", 5000);
    process(&f, "\"x2\"", 6100); /* 6000 */
    process(&f, "\"a\"", 5000);
    assert_passed(&f, "5000 6099 6100 5000");
    fixture_commit(&f);
    assert_int_equal(3, stream_task_stats(f.task).keys);
    process(&f, "\"x3\"", 7200);
    fixture_commit(&f); /* at this one event time is past it, with the next it goes */
    assert_true(stream_task_wants_commit(f.task));
    fixture_forget(&f);
    fixture_commit(&f);
    assert_false(stream_task_wants_commit(f.task));
    assert_int_equal(1, stream_task_stats(f.task).keys);
    for (size_t i = 0; i < f.kept_count; i++) {
        assert_int_equal(STREAM_CHANGELOG, f.kept[i].target);
        assert_false(f.kept[i].has_value);
    }
    fixture_stop(&f);
}

static void test_dedup__an_abort__forgets_what_passed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    process(&f, "\"a\"", 5000);
    stream_task_aborted(f.task);
    process(&f, "\"a\"", 5000);
    fixture_commit(&f);
    process(&f, "\"a\"", 5000);
    assert_passed(&f, "5000 5000");
    fixture_stop(&f);
}

static void test_dedup__the_key__tells_types_and_fields_apart(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const rows[] = {
        "{\"a\":\"x\",\"b\":1,\"t\":5000}",          "{\"a\":\"x\",\"b\":\"1\",\"t\":5001}",
        "{\"a\":\"x\\\",1\",\"b\":\"\",\"t\":5002}", /* dead: empty */
        "{\"a\":\"\\u0078\",\"b\":1,\"t\":5003}",    /* the same as the first */
        "{\"a\":\"x,1\",\"b\":1,\"t\":5004}",        "{\"a\":\"x\",\"b\":1.0,\"t\":5005}",
    };
    fixture_start(&f, PIPELINE("[\"/a\",\"b\"]", ""));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fixture_process(&f, rows[i]);
    }
    assert_passed(&f, "5000 5001 5004 5005");
    assert_int_equal(1, fixture_count(&f, STREAM_DEAD_LETTER));
    fixture_stop(&f);
}

static void test_dedup__a_key_that_is_none__is_dead_lettered(void **state)
{
    (void)state;
    static const struct {
        const char *id, *code, *message;
    } rows[] = {
        {"null", "field-type", "id is null: a string or a number is needed"},
        {"{}", "field-type", "id is an object: a string or a number is needed"},
        {"\"\"", "field-type", "id is empty"},
    };
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        process(&f, rows[i].id, 5000);
        const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, i);
        assert_string_equal(rows[i].code, kept_header(dead, "millrace-error-code"));
        assert_string_equal(rows[i].message, kept_header(dead, "__streams.errors.message"));
        assert_string_equal("/steps/0/dedup", kept_header(dead, "millrace-step"));
    }
    fixture_process(&f, "{\"t\":5000}");
    assert_string_equal("field-missing",
                        kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 3), "millrace-error-code"));
    fixture_stop(&f);
}

static void test_dedup__past_keys_max__is_dead_lettered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ",\"store\":{\"name\":\"ids\",\"keys_max\":2}"));
    process(&f, "1", 5000);
    process(&f, "2", 5000);
    process(&f, "3", 5000);
    process(&f, "1", 5000);
    assert_passed(&f, "5000 5000");
    assert_string_equal(
        "the store is full: keys_max is 2",
        kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0), "__streams.errors.message"));
    fixture_commit(&f);
    assert_string_equal("p-ids-changelog", fixture_out(&f, STREAM_CHANGELOG, 0)->topic);
    fixture_stop(&f);
}

static void test_dedup_restore__what_is_none_of_its_cells__is_refused(void **state)
{
    (void)state;
    static const struct {
        struct strview key, value;
    } rows[] = {
        {SV("short"), SV("")},
        {SV("a\0\0\0\0\0\0\0\1\0\0\0\0"), SV("\2\0\0\0\0")},
        {SV("a\xff\0\0\0\0\0\0\1\0\0\0\0"), SV("")},
        {SV("a\x7f\0\0\0\0\0\0\1\0\0\0\0"), {NULL, 0}},
    };
    struct fixture f;
    fixture_start(&f, PIPELINE("\"/id\"", ""));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info info = {0};
        assert_err(ERR_STATE, stream_task_restore(f.task, 0, rows[i].key, rows[i].value, &info));
        assert_true(info.text[0] != '\0');
    }
    process(&f, "\"a\"", 5000);
    fixture_commit(&f);
    const struct kept *record = fixture_out(&f, STREAM_CHANGELOG, 0);
    fixture_new_task(&f);
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, sv_of(record->key, record->key_len),
                                              sv_of(record->value, record->value_len - 1), NULL));
    assert_err(ERR_OK, stream_task_restore(f.task, 0, sv_of(record->key, record->key_len),
                                           sv_of(record->value, record->value_len), NULL));
    fixture_forget(&f);
    process(&f, "\"a\"", 5000);
    assert_int_equal(0, fixture_count(&f, STREAM_OUTPUT));
    fixture_stop(&f);
}

/* --- against a naive recount --------------------------------------------------------------------*/

#define RECORDS_MAX 200

static size_t make_records(struct random *random, struct world_record *records)
{
    size_t count = (size_t)(1 + random_below(random, RECORDS_MAX));
    int64_t now_ms = 10000;
    for (size_t i = 0; i < count; i++) {
        now_ms += random_below(random, random_below(random, 30) ? 80 : 3000);
        records[i] = (struct world_record){.offset = (int64_t)i};
        (void)snprintf(records[i].value, sizeof records[i].value,
                       "{\"id\":%" PRId64 ",\"t\":%" PRId64 "}", random_below(random, 6),
                       now_ms - random_below(random, 1200));
    }
    return count;
}

/* Whether each record passes, by what is said in docs/pipelines.md alone. */
static void recount(const struct world_record *records, size_t count, bool *passes)
{
    int64_t watermark_ms = INT64_MIN;
    int64_t times[RECORDS_MAX], forgotten_ms = INT64_MIN;
    int ids[RECORDS_MAX];
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(2,
                         sscanf(records[i].value, "{\"id\":%d,\"t\":%" SCNd64, &ids[i], &times[i]));
        forgotten_ms = watermark_ms == INT64_MIN ? INT64_MIN : watermark_ms - 1000;
        passes[i] = true;
        for (size_t j = 0; j < i; j++) {
            int64_t apart_ms = times[i] > times[j] ? times[i] - times[j] : times[j] - times[i];
            if (passes[j] && ids[j] == ids[i] && apart_ms < 1000 && times[j] > forgotten_ms) {
                passes[i] = false;
            }
        }
        watermark_ms = times[i] - 100 > watermark_ms ? times[i] - 100 : watermark_ms;
    }
}

static void check_output(const struct world *w, const bool *passes, uint64_t seed)
{
    size_t seen[RECORDS_MAX] = {0};
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target == STREAM_OUTPUT) {
            size_t record;
            memcpy(&record, w->log[i].key, sizeof record);
            seen[record]++;
        }
    }
    for (size_t i = 0; i < w->record_count; i++) {
        bool is_right = passes[i] ? seen[i] > 0 : seen[i] == 0;
        if (!is_right || (w->is_exactly_once && seen[i] > 1)) {
            fail_msg("seed %" PRIu64 ": record %zu, %s, passed %zu times", seed, i,
                     w->records[i].value, seen[i]);
        }
    }
}

static void test_dedup__whatever_happens__is_what_the_recount_says(void **state)
{
    (void)state;
    static struct world_record records[RECORDS_MAX];
    bool passes[RECORDS_MAX];
    struct world w;
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&w);
    for (uint64_t run = 0; run < (only ? 1 : TEST_RUNS(2000)); run++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : run * 7919 + 1;
        struct random random = {seed};
        w.record_count = make_records(&random, records);
        w.records = records;
        w.is_exactly_once = random_below(&random, 2);
        world_draw_disks(&w, seed);
        world_run(&w, PIPELINE("\"/id\"", ""), seed);
        recount(records, w.record_count, passes);
        check_output(&w, passes, seed);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dedup__the_first_within_ttl_passes),
        cmocka_unit_test(test_dedup__out_of_order__is_judged_by_event_times),
        cmocka_unit_test(test_dedup__what_event_time_has_passed_by_ttl__is_forgotten),
        cmocka_unit_test(test_dedup__an_abort__forgets_what_passed),
        cmocka_unit_test(test_dedup__the_key__tells_types_and_fields_apart),
        cmocka_unit_test(test_dedup__a_key_that_is_none__is_dead_lettered),
        cmocka_unit_test(test_dedup__past_keys_max__is_dead_lettered),
        cmocka_unit_test(test_dedup_restore__what_is_none_of_its_cells__is_refused),
        cmocka_unit_test(test_dedup__whatever_happens__is_what_the_recount_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
