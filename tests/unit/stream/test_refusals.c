/* What becomes of what is refused: by its class, and by how often it may be tried again. */
#include "stream_fixture.h"

#define PIPELINE(more)                                                                             \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"t\"}},"               \
    "\"tables\":{\"rows\":{\"topic\":\"rows\"}},\"steps\":["                                       \
    "{\"validate\":{\"schema\":{\"required\":[\"id\"]}}},{\"require\":{\"field\":\"n\",\">\":0}}," \
    "{\"join\":{\"table\":\"rows\",\"on\":\"id\",\"set\":{\"name\":\"name\"}}}],"                  \
    "\"output\":{\"topic\":\"out\"}" more "}"
#define WAITS ",\"retry\":{\"in_place\":[\"100ms\",\"1s\"],\"delays\":[\"10s\"]}"
#define GOOD  "{\"id\":\"a\",\"n\":1,\"t\":1700000000000}"

struct refused {
    const char *value, *class, *place;
};
static const struct refused refused[] = {
    {"{", "deserialize", "/source"},
    {NULL, "deserialize", "/source"},
    {"{\"id\":\"a\",\"n\":1}", "deserialize", "/source/timestamp"},
    {"{\"n\":1,\"t\":1700000000000}", "validate", "/steps/0/validate"},
    {"{\"id\":\"a\",\"n\":0,\"t\":1700000000000}", "validate", "/steps/1/require"},
    {GOOD, "process", "/steps/2/join"},
};

static enum err process(struct fixture *f, const char *value, unsigned tries, struct err_info *info)
{
    const struct stream_record record = {.partition = 3,
                                         .offset = 41,
                                         .timestamp_ms = 1700000000000,
                                         .tries = tries,
                                         .key = SV("k"),
                                         .value = value ? sv(value) : (struct strview){0}};
    return stream_task_process(f->task, &record, &f->sink, info);
}

static void test_refused__by_default__is_a_dead_letter_of_its_class(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE(""));
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        fixture_forget(&f);
        assert_err(ERR_OK, process(&f, refused[i].value, 0, NULL));
        assert_int_equal(1, f.kept_count);
        assert_int_equal(STREAM_DEAD_LETTER, f.kept[0].target);
        assert_string_equal(refused[i].class, kept_header(&f.kept[0], "millrace-error-class"));
        assert_string_equal(refused[i].place, kept_header(&f.kept[0], "millrace-step"));
        char at[64];
        (void)snprintf(at, sizeof at, "at p%s", refused[i].place);
        assert_string_equal(at, kept_header(&f.kept[0], "__streams.errors.stacktrace"));
    }
    fixture_stop(&f);
}

static void test_skip__is_told_and_goes_nowhere(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE(",\"errors\":{\"deserialize\":\"skip\",\"validate\":\"skip\","
                               "\"process\":\"skip\"}"));
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        fixture_forget(&f);
        assert_err(ERR_OK, process(&f, refused[i].value, 0, NULL));
        assert_int_equal(1, f.kept_count);
        assert_int_equal(STREAM_SKIPPED, f.kept[0].target);
        assert_string_equal(refused[i].class, kept_header(&f.kept[0], "millrace-error-class"));
    }
    assert_int_equal(ARRAY_LEN(refused), stream_task_stats(f.task).skipped);
    assert_int_equal(0, stream_task_stats(f.task).dead_lettered);
    fixture_stop(&f);
}

/* Each class alone: the others are dead letters. */
static void test_fail__names_the_record(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char text[1024];
        struct fixture f;
        (void)snprintf(text, sizeof text, "%.*s,\"errors\":{\"%s\":\"fail\"}}",
                       (int)strlen(PIPELINE("")) - 1, PIPELINE(""), refused[i].class);
        fixture_start(&f, text);
        for (size_t n = 0; n < ARRAY_LEN(refused); n++) {
            struct err_info info = {0};
            bool is_one = strcmp(refused[n].class, refused[i].class) == 0;
            assert_err(is_one ? ERR_RECORD_REFUSED : ERR_OK,
                       process(&f, refused[n].value, 0, &info));
            if (is_one) {
                assert_non_null(strstr(info.text, "in [3] @ 41 is refused at "));
                assert_non_null(strstr(info.text, refused[n].place));
            }
            stream_task_aborted(f.task);
        }
        fixture_stop(&f);
    }
}

static void test_in_place__waits__then_goes_through_topics(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    fixture_start(&f, PIPELINE(WAITS));
    assert_true(pipeline_stage_waits(f.pipeline, 0));
    assert_int_equal(100, pipeline_wait_ms(f.pipeline, 0));
    assert_int_equal(1000, pipeline_wait_ms(f.pipeline, 1));
    for (unsigned tries = 0; tries < 2; tries++) {
        assert_err(ERR_RECORD_WAITS, process(&f, GOOD, tries, &info));
        assert_non_null(strstr(info.text, "in [3] @ 41 is refused at /steps/2/join"));
        assert_int_equal(0, f.kept_count);
        stream_task_aborted(f.task);
    }
    assert_err(ERR_OK, process(&f, GOOD, 2, &info));
    assert_int_equal(1, f.kept_count);
    assert_string_equal("in.retry.1", f.kept[0].topic);
    assert_int_equal(1, stream_task_stats(f.task).records);
    fixture_stop(&f);
}

static void test_in_place__comes_right__comes_out(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE(WAITS));
    assert_err(ERR_RECORD_WAITS, process(&f, GOOD, 0, NULL));
    stream_task_aborted(f.task);
    assert_err(ERR_OK,
               stream_table_apply(f.tables[0], SV("a"), SV("{\"name\":\"Anton\"}"), 0, NULL));
    assert_err(ERR_OK, process(&f, GOOD, 1, NULL));
    assert_string_equal("out", f.kept[0].topic);
    fixture_stop(&f);
}

/* What cannot pass does not hold up anything. */
static void test_in_place__for_other_reasons__does_not_wait(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE(WAITS));
    for (size_t i = 0; i + 1 < ARRAY_LEN(refused); i++) {
        fixture_forget(&f);
        assert_err(ERR_OK, process(&f, refused[i].value, 0, NULL));
        assert_int_equal(STREAM_DEAD_LETTER, f.kept[0].target);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused__by_default__is_a_dead_letter_of_its_class),
        cmocka_unit_test(test_skip__is_told_and_goes_nowhere),
        cmocka_unit_test(test_fail__names_the_record),
        cmocka_unit_test(test_in_place__waits__then_goes_through_topics),
        cmocka_unit_test(test_in_place__comes_right__comes_out),
        cmocka_unit_test(test_in_place__for_other_reasons__does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
