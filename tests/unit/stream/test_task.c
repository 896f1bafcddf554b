/* Stateless pipelines: what goes on, what goes to the dead letters, with which bytes and headers. */
#include "stream_fixture.h"

#define ORDER                                                                                      \
    "{\"order_id\":\"o-1\",\"user_id\":\"u-1\",\"product_id\":\"prod-1\",\"amount\":12.50,"        \
    "\"timestamp\":1700000000000}"

static void start_orders(struct fixture *f)
{
    fixture_load(f, "orders.json");
    assert_err(ERR_OK, stream_table_apply(f->tables[0], SV("prod-1"),
                                          SV("{\"product_id\":\"prod-1\",\"name\":\"Mill\","
                                             "\"category\":\"tools\"}"),
                                          0, NULL));
}

static void test_orders__good__own_bytes_and_the_row(void **state)
{
    (void)state;
    struct fixture f;
    start_orders(&f);
    fixture_process(&f, ORDER);
    assert_int_equal(1, f.kept_count);
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("{\"order_id\":\"o-1\",\"user_id\":\"u-1\",\"product_id\":\"prod-1\","
                        "\"amount\":12.50,\"timestamp\":1700000000000,\"product_name\":\"Mill\","
                        "\"category\":\"tools\"}",
                        out->value);
    assert_string_equal("prod-1", out->key);
    assert_string_equal("processed-orders", out->topic);
    assert_int_equal(1700000000000, out->timestamp_ms);
    assert_true(out->has_source);
    assert_int_equal(0, out->header_count);
    struct stream_task_stats stats = stream_task_stats(f.task);
    assert_int_equal(1, stats.outputs);
    assert_int_equal(1, stats.joined);
    assert_int_equal(1700000000000, stats.watermark_ms);
    fixture_stop(&f);
}

static void test_orders__bad__dead_letter_with_original_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *label, *value, *code, *step, *message;
    } rows[] = {
        {"not JSON", "{\"order_id\":", "json-syntax", "/source", ""},
        {"empty", "", "body-empty", "/source", ""},
        {"not UTF-8", "{\"order_id\":\"\xff\"}", "json-encoding", "/source", ""},
        {"an array", "[1]", "json-shape", "/source", "not a JSON object"},
        {"no timestamp", "{\"order_id\":\"o\"}", "field-missing", "/source/timestamp",
         "timestamp is missing"},
        {"a field is missing",
         "{\"order_id\":\"o\",\"user_id\":\"u\",\"amount\":1,\"timestamp\":1700000000}",
         "schema-mismatch", "/steps/0/validate", "product_id"},
        {"amount 0",
         "{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-1\",\"amount\":0,"
         "\"timestamp\":1700000000}",
         "condition", "/steps/1/require", "amount > 0 does not hold: amount is 0"},
        {"unknown product",
         "{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-9\",\"amount\":1,"
         "\"timestamp\":1700000000}",
         "reference-missing", "/steps/2/join",
         "the table \"products\" has no row for product_id \"prod-9\""},
        {"two hours ahead of its record",
         "{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-1\",\"amount\":1,"
         "\"timestamp\":1700007200}",
         "timestamp", "/source/timestamp", "past the record's own timestamp"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        start_orders(&f);
        f.next_offset = 77;
        fixture_process(&f, rows[i].value);
        assert_int_equal(1, f.kept_count);
        const struct kept *dead = &f.kept[0];
        const char *message = kept_header(dead, "__streams.errors.message");
        if (dead->target != STREAM_DEAD_LETTER ||
            strcmp(rows[i].code, kept_header(dead, "millrace-error-code")) != 0 ||
            strcmp(rows[i].step, kept_header(dead, "millrace-step")) != 0 ||
            !strstr(message, rows[i].message) || !*message) {
            fail_msg("%s: %s at %s: %s", rows[i].label, kept_header(dead, "millrace-error-code"),
                     kept_header(dead, "millrace-step"), message);
        }
        assert_string_equal(rows[i].code, kept_header(dead, "__streams.errors.exception"));
        assert_string_equal("orders", kept_header(dead, "__streams.errors.topic"));
        assert_string_equal("3", kept_header(dead, "__streams.errors.partition"));
        assert_string_equal("77", kept_header(dead, "__streams.errors.offset"));
        assert_string_equal("orders", kept_header(dead, "millrace-pipeline"));
        assert_string_equal("orders.dlq", dead->topic);
        assert_string_equal("k", dead->key);
        assert_string_equal(rows[i].value, dead->value);
        assert_int_equal(1700000000000, dead->timestamp_ms);
        assert_true(dead->has_source);
        assert_int_equal(1, stream_task_stats(f.task).dead_lettered);
        assert_int_equal(INT64_MIN, stream_task_stats(f.task).watermark_ms);
        fixture_stop(&f);
    }
}

static void test_orders__tombstone__is_a_dead_letter(void **state)
{
    (void)state;
    struct fixture f;
    start_orders(&f);
    fixture_process(&f, NULL);
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_false(dead->has_value);
    assert_string_equal("body-empty", kept_header(dead, "millrace-error-code"));
    fixture_stop(&f);
}

static void test_join__no_row_yet__table_catches_up(void **state)
{
    (void)state;
    struct fixture f;
    start_orders(&f);
    f.refresh_key = "prod-9";
    f.refresh_value = "{\"name\":\"New\",\"category\":\"c\"}";
    fixture_process(&f, "{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-9\","
                        "\"amount\":1,\"timestamp\":1700000000}");
    assert_int_equal(1, f.refreshes);
    const char *value = fixture_out(&f, STREAM_OUTPUT, 0)->value;
    assert_non_null(strstr(value, ",\"product_name\":\"New\",\"category\":\"c\"}"));
    /* A sink that always says "it is newer now" does not keep the task busy for ever. */
    fixture_process(&f, "{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-10\","
                        "\"amount\":1,\"timestamp\":1700000000}");
    assert_int_equal(2, f.refreshes);
    assert_int_equal(1, fixture_count(&f, STREAM_DEAD_LETTER));
    assert_int_equal(1, stream_task_stats(f.task).joined);
    fixture_stop(&f);
}

static void test_join__event_brings_the_member__ours_counts(void **state)
{
    (void)state;
    struct fixture f;
    start_orders(&f);
    fixture_process(&f, "{\"category\":\"mine\",\"order_id\":\"o\",\"user_id\":\"u\","
                        "\"product_id\":\"prod-1\",\"amount\":1,\"timestamp\":1700000000}");
    assert_string_equal("{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"prod-1\","
                        "\"amount\":1,\"timestamp\":1700000000,\"product_name\":\"Mill\","
                        "\"category\":\"tools\"}",
                        fixture_out(&f, STREAM_OUTPUT, 0)->value);
    fixture_stop(&f);
}

static const char TWO_JOINS[] =
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
    "\"tables\":{\"users\":{\"topic\":\"users\"},\"cities\":{\"topic\":\"cities\"}},"
    "\"steps\":["
    "{\"join\":{\"table\":\"users\",\"on\":\"/user\",\"set\":{\"city\":\"/address/city\"}}},"
    "{\"filter\":{\"field\":\"/city\",\"!=\":\"Nowhere\"}},"
    "{\"join\":{\"table\":\"cities\",\"on\":\"/"
    "city\",\"set\":{\"zip\":\"zip\",\"tags\":\"tags\"}}},"
    "{\"require\":{\"field\":\"/zip\",\">\":1000}}],"
    "\"output\":{\"topic\":\"out\",\"key\":\"/zip\"}}";

static void test_join__later_steps__read_what_it_set(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, TWO_JOINS);
    static const char *const rows[][3] = {
        {"0", "7", "{\"address\":{\"city\":\"L\\u00e9on\"}}"},
        {"0", "n", "{\"address\":{\"city\":\"Nowhere\"}}"},
        {"1", "L\xc3\xa9on", "{\"zip\":24001,\"tags\":[1,{\"a\":null}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_err(ERR_OK, stream_table_apply(f.tables[rows[i][0][0] - '0'], sv(rows[i][1]),
                                              sv(rows[i][2]), 0, NULL));
    }
    fixture_process(&f, " {\"user\":7, \"x\":1} ");
    fixture_process(&f, "{\"user\":\"n\"}");
    fixture_process(&f, "{}");
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("{\"user\":7, \"x\":1,\"city\":\"L\\u00e9on\",\"zip\":24001,"
                        "\"tags\":[1,{\"a\":null}]}",
                        out->value);
    assert_string_equal("24001", out->key);
    assert_int_equal(1700000000000, out->timestamp_ms); /* the record's own */
    assert_int_equal(1, stream_task_stats(f.task).filtered);
    assert_string_equal("field-missing",
                        kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0), "millrace-error-code"));
    assert_string_equal("in.dlq", fixture_out(&f, STREAM_DEAD_LETTER, 0)->topic);
    fixture_stop(&f);
}

static void test_output_key__cannot_be_made__dead_letter(void **state)
{
    (void)state;
    static const struct {
        const char *value, *code;
    } rows[] = {{"{}", "field-missing"},
                {"{\"k\":null}", "field-type"},
                {"{\"k\":[]}", "field-type"},
                {"{\"k\":\"\"}", "field-type"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        fixture_start(&f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
                          "\"output\":{\"topic\":\"out\",\"key\":\"k\"}}");
        fixture_process(&f, rows[i].value);
        const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
        assert_string_equal(rows[i].code, kept_header(dead, "millrace-error-code"));
        assert_string_equal("/output", kept_header(dead, "millrace-step"));
        fixture_stop(&f);
    }
}

static void test_process__no_steps__passes_on_as_it_is(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
                      "\"output\":{\"topic\":\"out\"}}");
    fixture_process(&f, "\n{ \"a\" : 1 }\n");
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("\n{ \"a\" : 1 }\n", out->value);
    assert_string_equal("k", out->key);
    assert_int_equal(0, pipeline_store_count(f.pipeline));
    assert_int_equal(2, pipeline_topic_count(f.pipeline));
    fixture_stop(&f);
}

static void test_process__emit_fails__is_told_and_aborted(void **state)
{
    (void)state;
    struct fixture f;
    start_orders(&f);
    f.fail_at = 0;
    struct stream_record record = {.value = SV(ORDER), .timestamp_ms = 1700000000000};
    assert_err(ERR_QUEUE_FULL, fixture_process_record(&f, &record));
    assert_true(stream_task_wants_commit(f.task));
    stream_task_aborted(f.task);
    assert_int_equal(0, stream_task_stats(f.task).records);
    assert_false(stream_task_wants_commit(f.task));
    fixture_stop(&f);
}

static void test_metadata__stateless__carries_time(void **state)
{
    (void)state;
    struct fixture f;
    char metadata[STREAM_METADATA_BYTES];
    start_orders(&f);
    (void)stream_task_metadata(f.task, 0, metadata);
    assert_string_equal("m2 - -", metadata);
    fixture_process(&f, ORDER);
    (void)stream_task_metadata(f.task, 0, metadata);
    assert_string_equal("m2 1700000000000 1700000000000", metadata);
    fixture_new_task(&f);
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, metadata, NULL));
    assert_int_equal(1700000000000, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders__good__own_bytes_and_the_row),
        cmocka_unit_test(test_orders__bad__dead_letter_with_original_and_reason),
        cmocka_unit_test(test_orders__tombstone__is_a_dead_letter),
        cmocka_unit_test(test_join__no_row_yet__table_catches_up),
        cmocka_unit_test(test_join__event_brings_the_member__ours_counts),
        cmocka_unit_test(test_join__later_steps__read_what_it_set),
        cmocka_unit_test(test_output_key__cannot_be_made__dead_letter),
        cmocka_unit_test(test_process__no_steps__passes_on_as_it_is),
        cmocka_unit_test(test_process__emit_fails__is_told_and_aborted),
        cmocka_unit_test(test_metadata__stateless__carries_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
