/* Where a record goes: names, keys, timestamps, and what Kafka would not take. */
#include "ingest_fixture.h"

#define PLACED "/events/shop.order.placed"

static void test_names__that_are_not_dotted__refused_with_the_reason(void **state)
{
    static const struct {
        const char *name, *why;
    } rows[] = {
        {"shop.order", "fewer than three parts"}, {"a.b.c.d", "more than three parts"},
        {"shop..placed", "an empty part"},        {"shop.order.", "an empty part"},
        {"Shop.order.placed", "small letter"},    {"shop.order.pla_ced", "other characters"},
        {"shop.order.1st", "small letter"},       {"orders", "fewer than three parts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/events/%s", rows[i].name);
        struct http_answer answer = post(*state, path, "{}");
        assert_answer(rows[i].name, &answer, 403, "topic-forbidden");
        if (!strstr(member(&answer, "detail"), rows[i].why)) {
            fail_msg("%s: %s", rows[i].name, member(&answer, "detail"));
        }
        http_answer_free(&answer);
    }
    struct http_answer answer = post(*state, "/events/shop.order.unknown", "{}");
    assert_answer("a good name that is none", &answer, 404, "topic-unknown");
    http_answer_free(&answer);
}

static void test_topics__that_workers_keep__refused_though_all_are_allowed(void **state)
{
    static const char *const paths[] = {"/events/millrace.a.status", "/events/a.b.c-changelog",
                                        "/events/a.b.c-repartition"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct http_answer answer = post(*state, paths[i], "{}");
        assert_answer(paths[i], &answer, 403, "topic-forbidden");
        http_answer_free(&answer);
    }
}

static void test_key__of_several_parts__all_or_none(void **state)
{
    struct http_answer answer = post(*state, PLACED, "{\"shop\":\"b\\u00e9\",\"order\":17}");
    assert_answer("two parts", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(*state, "shop.order.placed", answer.json);
    assert_sv("b\xC3\xA9|17", record_key(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
    answer = post(*state, PLACED, "{\"shop\":\"b\"}");
    assert_answer("one of two", &answer, 201, "stored");
    record = record_of(*state, "shop.order.placed", answer.json);
    assert_null(record->key);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static int64_t timestamp_stored(const struct fixture *fixture, const char *path, const char *body)
{
    struct http_answer answer = post(fixture, path, body);
    assert_answer(path, &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(fixture, "shop.order.placed", answer.json);
    rd_kafka_timestamp_type_t type;
    const int64_t ms = rd_kafka_message_timestamp(record, &type);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
    return ms;
}

static void assert_about(int64_t wanted_ms, int64_t got_ms)
{
    if (llabs(wanted_ms - got_ms) > 20000) { /* the request's own time is in between */
        fail_msg("%lld, expected about %lld", (long long)got_ms, (long long)wanted_ms);
    }
}

static void test_timestamp__of_the_event_or_said__within_the_window(void **state)
{
    const int64_t now_ms = clock_now_ms();
    char body[128], path[128], iso[TIMESTAMP_TEXT_BYTES];
    (void)snprintf(body, sizeof body, "{\"at\":%lld}", (long long)now_ms - 60000);
    assert_int_equal(now_ms - 60000, timestamp_stored(*state, PLACED, body));
    (void)snprintf(body, sizeof body, "{\"at\":%lld}", (long long)now_ms / 1000 - 60);
    assert_int_equal((now_ms / 1000 - 60) * 1000, timestamp_stored(*state, PLACED, body));
    timestamp_format_iso8601(now_ms - 5000, iso);
    (void)snprintf(body, sizeof body, "{\"at\":\"%s\"}", iso);
    assert_int_equal(now_ms - 5000, timestamp_stored(*state, PLACED, body));
    (void)snprintf(body, sizeof body, "{\"at\":\"%.23s123456+00:00\"}", iso); /* nanoseconds */
    assert_int_equal(now_ms - 5000, timestamp_stored(*state, PLACED, body));
    (void)snprintf(path, sizeof path, PLACED "?timestamp=%lld", (long long)now_ms - 7000);
    assert_int_equal(now_ms - 7000, timestamp_stored(*state, path, body)); /* what is said wins */
    assert_about(now_ms, timestamp_stored(*state, PLACED, "{\"at\":\"noon\"}"));
    assert_about(now_ms - 3600000, timestamp_stored(*state, PLACED, "{\"at\":1000}"));
    assert_about(now_ms + 60000, timestamp_stored(*state, PLACED, "{\"at\":99999999999999}"));
    const struct fixture *fixture = *state;
    struct http_answer answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
    assert_non_null(strstr(answer.body, "millrace_ingest_timestamps_clamped_total 2\n"));
    http_answer_free(&answer);
}

static void test_record__that_kafka_would_refuse__refused_here(void **state)
{
    struct http_answer answer =
        post(*state, "/events/shop.product.state", "[{\"id\":\"p-1\"},{\"name\":\"x\"}]");
    assert_int_equal(207, answer.status);
    json_t *error = json_object_get(result_at(&answer, 1), "error");
    assert_string_equal("key-missing", json_string_value(json_object_get(error, "code")));
    http_answer_free(&answer);
    answer = post(*state, "/events/shop.product.state?key=p-2", "{\"name\":\"x\"}");
    assert_answer("a key from the query", &answer, 201, "stored");
    http_answer_free(&answer);

    char body[1100];
    (void)snprintf(body, sizeof body, "{\"a\":\"%0900d\"}", 0);
    answer = post(*state, "/events/shop.note.written", body);
    assert_answer("larger than the topic takes", &answer, 413, "record-too-large");
    http_answer_free(&answer);
    (void)snprintf(body, sizeof body, "{\"a\":\"%0500d\"}", 0);
    answer = post(*state, "/events/shop.note.written", body);
    assert_answer("not larger", &answer, 201, "stored");
    http_answer_free(&answer);
}

static int start(void **state)
{
    static const char *const topics[] = {"shop.order.placed", "shop.product.state",
                                         "shop.note.written", NULL};
    static const char *const more[] = {"--topics.allow=*",
                                       "--topics.naming=dotted",
                                       "--topics.file=" MILLRACE_SOURCE_DIR
                                       "/tests/component/ingest-api/topics.json",
                                       "--timestamps.past.max=1h",
                                       "--timestamps.future.max=1m",
                                       NULL};
    return fixture_start(state, topics, more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names__that_are_not_dotted__refused_with_the_reason),
        cmocka_unit_test(test_topics__that_workers_keep__refused_though_all_are_allowed),
        cmocka_unit_test(test_key__of_several_parts__all_or_none),
        cmocka_unit_test(test_timestamp__of_the_event_or_said__within_the_window),
        cmocka_unit_test(test_record__that_kafka_would_refuse__refused_here),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop);
}
