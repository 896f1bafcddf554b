/* Tables that know what was, left joins, and tables of files. */
#include <unistd.h>

#include "stream_fixture.h"

#define HISTORY                                                                                    \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"                                               \
    "\"tables\":{\"t\":{\"topic\":\"rows\",\"history\":\"10s\",\"rows_max\":3}},"                  \
    "\"steps\":[{\"join\":{\"table\":\"t\",\"on\":\"/k\",\"as_of\":true,\"type\":\"%s\",\"set\":"  \
    "{\"n\":\"/n\"}}}],\"output\":{\"topic\":\"out\"}}"

static void start(struct fixture *f, const char *type)
{
    char text[1024];
    (void)snprintf(text, sizeof text, HISTORY, type);
    fixture_start(f, text);
}

/* value NULL: deletes. */
static enum err apply(struct fixture *f, const char *key, const char *value, int64_t timestamp_ms)
{
    return stream_table_apply(f->tables[0], sv(key), value ? sv(value) : (struct strview){NULL, 0},
                              timestamp_ms, NULL);
}

/* What the row with the key "a" was then: its member n, or "none". */
static const char *as_of(struct fixture *f, int64_t at_ms)
{
    static char out[64];
    fixture_forget(f);
    fixture_process_at(f, at_ms, "{\"k\":\"a\"}");
    if (fixture_count(f, STREAM_DEAD_LETTER) > 0) {
        const struct kept *letter = fixture_out(f, STREAM_DEAD_LETTER, 0);
        assert_string_equal("reference-missing", kept_header(letter, "millrace-error-code"));
        return "none";
    }
    const char *value = fixture_out(f, STREAM_OUTPUT, 0)->value;
    (void)snprintf(out, sizeof out, "%.*s", (int)strlen(value) - 14, value + 13);
    return out;
}

static void test_table_history__rows_are_as_they_were(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "inner");
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":1}", 1000));
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":3}", 3000));
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":2}", 2000)); /* late, and in its place */
    assert_err(ERR_OK, apply(&f, "a", NULL, 4000));
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":5}", 5000));
    static const struct {
        int64_t at_ms;
        const char *n;
    } rows[] = {{999, "none"},  {1000, "1"}, {1999, "1"},   {2000, "2"},
                {2999, "2"},    {3000, "3"}, {3999, "3"},   {4000, "none"},
                {4999, "none"}, {5000, "5"}, {1000000, "5"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(rows[i].n, as_of(&f, rows[i].at_ms));
    }
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":22}", 2000)); /* the same time: the later record */
    assert_string_equal("22", as_of(&f, 2500));
    assert_err(ERR_FIELD_MISSING, apply(&f, "a", "{\"x\":0}", 6000)); /* no row from then on */
    assert_string_equal("none", as_of(&f, 6000));
    assert_string_equal("5", as_of(&f, 5999));
    fixture_stop(&f);
}

static void test_table_history__what_ended_before_it_is_let_go(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "inner");
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":1}", 1000));
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":2}", 2000));
    size_t bytes = stream_table_bytes(f.tables[0]);
    assert_err(ERR_OK, apply(&f, "b", "{\"n\":0}", 13000)); /* time is the table's, not the row's */
    assert_string_equal("1", as_of(&f, 1500));              /* let go when the row changes */
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":3}", 13000));
    assert_string_equal("none", as_of(&f, 1999));
    assert_string_equal("2", as_of(&f, 2000)); /* valid when the history begins, at 3000 */
    assert_string_equal("3", as_of(&f, 13000));
    assert_err(ERR_OK, apply(&f, "a", NULL, 30000));
    assert_int_equal(1, stream_table_rows(f.tables[0]));
    assert_err(ERR_OK, apply(&f, "b", NULL, 50000));
    assert_err(ERR_OK, apply(&f, "a", NULL, 61000));
    assert_int_equal(0, stream_table_rows(f.tables[0]));
    assert_true(stream_table_bytes(f.tables[0]) < bytes * 2);
    fixture_stop(&f);
}

/* Keys that come and go do not fill the table: that they are gone is let go, too. */
static void test_table_history__keys_come_and_go__memory_stays(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"tables\":{\"t\":{\"topic\":\"rows\","
            "\"history\":\"10s\",\"rows_max\":20000}},\"output\":{\"topic\":\"out\"}}");
    for (int64_t i = 0; i < 200000; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "%lld", (long long)i);
        assert_err(ERR_OK, apply(&f, key, "{\"n\":1}", i * 10));
        assert_err(ERR_OK, apply(&f, key, NULL, i * 10 + 5));
        assert_int_equal(0, stream_table_rows(f.tables[0]));
    }
    fixture_stop(&f);
}

static void test_table_history__bounds(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "inner");
    for (int64_t i = 0; i < 3000; i++) {
        char value[32];
        (void)snprintf(value, sizeof value, "{\"n\":%lld}", (long long)i);
        assert_err(ERR_OK, apply(&f, "a", value, 1000 + i));
    }
    assert_string_equal("2999", as_of(&f, 3999));
    assert_string_equal("2000", as_of(&f, 3000)); /* 1000 are kept */
    assert_string_equal("none", as_of(&f, 2999));
    assert_err(ERR_OK, apply(&f, "b", "{\"n\":0}", 1000));
    assert_err(ERR_OK, apply(&f, "c", "{\"n\":0}", 1000));
    assert_err(ERR_LIMIT, apply(&f, "d", "{\"n\":0}", 1000));
    assert_err(ERR_OK, apply(&f, "b", "{\"n\":1}", 4000));
    assert_int_equal(3, stream_table_rows(f.tables[0]));
    fixture_stop(&f);
}

/* Random changes in a random order against a naive log of them. */
static void test_table_history__random__as_a_naive_log(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct {
            int64_t at_ms;
            int n; /* -1: deleted */
        } log[40];
        struct fixture f;
        srand(seed);
        start(&f, "inner");
        size_t count = 0;
        int64_t newest_ms = 0;
        for (; count < ARRAY_LEN(log); count++) {
            char value[32];
            log[count].at_ms = newest_ms - 3000 + rand() % 4000;
            log[count].at_ms = log[count].at_ms < 0 ? 0 : log[count].at_ms;
            log[count].n = rand() % 4 == 0 ? -1 : (int)count;
            newest_ms = log[count].at_ms > newest_ms ? log[count].at_ms : newest_ms;
            (void)snprintf(value, sizeof value, "{\"n\":%d}", log[count].n);
            assert_err(ERR_OK, apply(&f, "a", log[count].n < 0 ? NULL : value, log[count].at_ms));
            int64_t asked_ms = newest_ms - rand() % 9000; /* within the history of 10 s */
            asked_ms = asked_ms < 0 ? 0 : asked_ms;
            int64_t best_ms = -1;
            char want[16] = "none";
            for (size_t i = 0; i <= count; i++) {
                if (log[i].at_ms <= asked_ms && log[i].at_ms >= best_ms) {
                    best_ms = log[i].at_ms;
                    (void)snprintf(want, sizeof want, log[i].n < 0 ? "none" : "%d", log[i].n);
                }
            }
            const char *got = as_of(&f, asked_ms);
            if (strcmp(got, want) != 0) {
                fail_msg("seed %u, change %zu, at %lld: %s, not %s", seed, count,
                         (long long)asked_ms, got, want);
            }
        }
        fixture_stop(&f);
    }
}

static void test_join_left__no_row__members_are_null(void **state)
{
    (void)state;
    static const struct {
        const char *event, *result;
    } rows[] = {
        {"{\"k\":\"a\",\"n\":\"own\"}", "{\"k\":\"a\",\"n\":7}"},
        {"{\"k\":\"b\"}", "{\"k\":\"b\",\"n\":null}"},
        {"{\"k\":\"b\",\"n\":\"own\"}", "{\"k\":\"b\",\"n\":null}"},
        {"{\"k\":null}", "{\"k\":null,\"n\":null}"},
        {"{}", "{\"n\":null}"},
        {"{\"k\":{}}", "field-type"},
    };
    struct fixture f;
    start(&f, "left");
    assert_err(ERR_OK, apply(&f, "a", "{\"n\":7}", 0));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fixture_forget(&f);
        fixture_process(&f, rows[i].event);
        const struct kept *out = &f.kept[0];
        assert_string_equal(rows[i].result, out->target == STREAM_OUTPUT
                                                ? out->value
                                                : kept_header(out, "millrace-error-code"));
    }
    assert_int_equal(1, stream_task_stats(f.task).joined);
    f.refresh_key = "c"; /* it is looked for in the topic first, as for an inner join */
    f.refresh_value = "{\"n\":8}";
    fixture_forget(&f);
    fixture_process(&f, "{\"k\":\"c\"}");
    assert_string_equal("{\"k\":\"c\",\"n\":8}", fixture_out(&f, STREAM_OUTPUT, 0)->value);
    fixture_stop(&f);
}

/* --- of a file ----------------------------------------------------------------------------------*/

static char path[] = "/tmp/millrace-table-XXXXXX";

static enum err compile_with(const char *rows, struct pipeline **ret,
                             struct pipeline_errors *errors)
{
    char text[1024];
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(rows, file) >= 0);
    assert_int_equal(0, fclose(file));
    (void)snprintf(
        text, sizeof text,
        "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"tables\":{\"t\":{\"file\":\"%s\","
        "\"key\":\"/id\"}},\"steps\":[{\"join\":{\"table\":\"t\",\"on\":\"/k\",\"set\":{\"n\":"
        "\"/name\"}}}],\"output\":{\"topic\":\"out\"}}",
        path);
    CLEANUP(json_decrefp) json_t *document = NULL;
    assert_err(ERR_OK, json_text_load(sv(text), "f.json", &document, NULL));
    return pipeline_compile(document, "f.json", PIPELINE_OVERRIDES_NONE, ret, errors);
}

static void test_table_file__rows_are_joined(void **state)
{
    (void)state;
    static const char *const files[] = {
        "[{\"id\":\"a\",\"name\":1},{\"id\":7,\"name\":\"x\"},{\"id\":\"\\u00fc\",\"name\":null}]",
        "{\"id\":\"a\",\"name\":1}\r\n\n  "
        "{\"id\":7,\"name\":\"x\"}\n{\"id\":\"\\u00fc\",\"name\":null}",
    };
    static struct pipeline_errors errors;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct fixture f;
        struct pipeline *pipeline = NULL;
        assert_err(ERR_OK, compile_with(files[i], &pipeline, &errors));
        fixture_take(&f, pipeline);
        assert_null(pipeline_table_topic(pipeline, 0));
        assert_int_equal(3, stream_table_rows(f.tables[0]));
        fixture_process(&f, "{\"k\":\"a\"}");
        fixture_process(&f, "{\"k\":7}");
        fixture_process(&f, "{\"k\":\"ü\"}");
        f.refresh_key = "b";
        f.refresh_value = "{\"name\":1}";
        fixture_process(&f, "{\"k\":\"b\"}");
        assert_int_equal(0, f.refreshes); /* there is nothing to bring it up to */
        assert_string_equal("{\"k\":\"a\",\"n\":1}", fixture_out(&f, STREAM_OUTPUT, 0)->value);
        assert_string_equal("{\"k\":7,\"n\":\"x\"}", fixture_out(&f, STREAM_OUTPUT, 1)->value);
        assert_string_equal("{\"k\":\"ü\",\"n\":null}", fixture_out(&f, STREAM_OUTPUT, 2)->value);
        assert_int_equal(1, fixture_count(&f, STREAM_DEAD_LETTER));
        fixture_stop(&f);
    }
}

static void test_table_file__mistakes_are_named_with_their_row(void **state)
{
    (void)state;
    static const struct {
        const char *rows, *reason;
    } files[] = {
        {"[{\"id\":\"a\",\"name\":1},{\"name\":1}]", ": row 2: it has no key"},
        {"[{\"id\":\"a\",\"name\":1},{\"id\":null,\"name\":1}]", ": row 2: its key is neither"},
        {"[{\"id\":\"a\",\"name\":1},7]", ": row 2: not an object"},
        {"{\"id\":\"a\",\"name\":1}\n{\"id\":", ": row 2: byte"},
        {"[{\"id\":\"a\",\"name\":1},", ": byte"},
        {"{\"id\":\"a\",\"name\":1}\n{\"id\":\"b\"}", ": row 2: table \"t\": a row without /name"},
        {"{\"id\":\"a\",\"name\":1}\n{\"id\":\"a\",\"name\":2}",
         ": row 2: another row has its key"},
    };
    static struct pipeline_errors errors;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct pipeline *pipeline = NULL;
        assert_true(compile_with(files[i].rows, &pipeline, &errors) != ERR_OK);
        if (!strstr(errors.items[0].text, files[i].reason) ||
            strcmp(errors.items[0].pointer, "/tables/t/file") != 0) {
            fail_msg("%s: %s", files[i].rows, errors.items[0].text);
        }
    }
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0) {
        return 1;
    }
    (void)close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_history__rows_are_as_they_were),
        cmocka_unit_test(test_table_history__what_ended_before_it_is_let_go),
        cmocka_unit_test(test_table_history__keys_come_and_go__memory_stays),
        cmocka_unit_test(test_table_history__bounds),
        cmocka_unit_test(test_table_history__random__as_a_naive_log),
        cmocka_unit_test(test_join_left__no_row__members_are_null),
        cmocka_unit_test(test_table_file__rows_are_joined),
        cmocka_unit_test(test_table_file__mistakes_are_named_with_their_row),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
