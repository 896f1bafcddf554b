#include "stream_fixture.h"

static const char PIPELINE[] =
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
    "\"tables\":{\"t\":{\"topic\":\"rows\",\"rows_max\":2}},"
    "\"steps\":[{\"join\":{\"table\":\"t\",\"on\":\"/k\",\"set\":{\"n\":\"/name\"}}}],"
    "\"output\":{\"topic\":\"out\"}}";

static enum err apply(struct fixture *f, const char *key, const char *value, struct err_info *info)
{
    return stream_table_apply(f->tables[0], sv(key), value ? sv(value) : (struct strview){NULL, 0},
                              0, info);
}

/* What the join makes of {"k":key}: the output, or the dead letter's code. */
static void assert_joined(struct fixture *f, const char *key, const char *want)
{
    char event[64];
    (void)snprintf(event, sizeof event, "{\"k\":\"%s\"}", key);
    fixture_forget(f);
    fixture_process(f, event);
    const struct kept *out = &f->kept[0];
    assert_string_equal(
        want, out->target == STREAM_OUTPUT ? out->value : kept_header(out, "millrace-error-code"));
}

static void test_table_apply__insert_replace_delete(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE);
    assert_err(ERR_OK, apply(&f, "a", "{\"name\":\"one\"}", NULL));
    assert_joined(&f, "a", "{\"k\":\"a\",\"n\":\"one\"}");
    size_t bytes = stream_table_bytes(f.tables[0]);
    assert_err(ERR_OK, apply(&f, "a", "{\"x\":0,\"name\":{\"much\":\"longer\"}}", NULL));
    assert_joined(&f, "a", "{\"k\":\"a\",\"n\":{\"much\":\"longer\"}}");
    assert_true(stream_table_bytes(f.tables[0]) > bytes);
    assert_int_equal(1, stream_table_rows(f.tables[0]));
    assert_err(ERR_OK, apply(&f, "a", NULL, NULL));
    assert_err(ERR_OK, apply(&f, "a", NULL, NULL));
    assert_joined(&f, "a", "reference-missing");
    assert_int_equal(0, stream_table_rows(f.tables[0]));
    fixture_stop(&f);
}

static void test_table_apply__unusable_row__takes_the_old_one_out_too(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum err err;
    } rows[] = {
        {"{\"name\":", ERR_JSON_SYNTAX},
        {"{\"nam\":1}", ERR_FIELD_MISSING},
        {"[1]", ERR_JSON_SHAPE},
        {"", ERR_BODY_EMPTY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct err_info info = {0};
        fixture_start(&f, PIPELINE);
        assert_err(ERR_OK, apply(&f, "a", "{\"name\":1}", NULL));
        assert_err(rows[i].err, apply(&f, "a", rows[i].value, &info));
        assert_joined(&f, "a", "reference-missing");
        assert_err(ERR_OK, apply(&f, "a", "{\"name\":2}", NULL));
        assert_joined(&f, "a", "{\"k\":\"a\",\"n\":2}");
        fixture_stop(&f);
    }
}

static void test_table_apply__full__refuses_new_rows_only(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    fixture_start(&f, PIPELINE);
    assert_err(ERR_OK, apply(&f, "a", "{\"name\":1}", NULL));
    assert_err(ERR_OK, apply(&f, "b", "{\"name\":1}", NULL));
    assert_err(ERR_LIMIT, apply(&f, "c", "{\"name\":1}", &info));
    assert_non_null(strstr(info.text, "more than 2 rows"));
    assert_err(ERR_OK, apply(&f, "b", "{\"name\":2}", NULL));
    assert_err(ERR_OK, apply(&f, "a", NULL, NULL));
    assert_err(ERR_OK, apply(&f, "c", "{\"name\":3}", NULL));
    assert_joined(&f, "b", "{\"k\":\"b\",\"n\":2}");
    assert_joined(&f, "c", "{\"k\":\"c\",\"n\":3}");
    fixture_stop(&f);
}

static void test_table_apply__null_key__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    fixture_start(&f, PIPELINE);
    assert_err(ERR_FIELD_MISSING, stream_table_apply(f.tables[0], (struct strview){NULL, 0},
                                                     SV("{\"name\":1}"), 0, &info));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_apply__insert_replace_delete),
        cmocka_unit_test(test_table_apply__unusable_row__takes_the_old_one_out_too),
        cmocka_unit_test(test_table_apply__full__refuses_new_rows_only),
        cmocka_unit_test(test_table_apply__null_key__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
