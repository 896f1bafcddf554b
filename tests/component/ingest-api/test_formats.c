/* The bodies that POST /events/{topic} takes, and what of them is in Kafka afterwards. */
#include "ingest_fixture.h"

#define LINES_TYPE      "Content-Type: application/x-ndjson"
#define CLOUDEVENT_TYPE "Content-Type: application/cloudevents+json"
#define CLOUDEVENTS     "Content-Type: application/cloudevents-batch+json; charset=utf-8"
#define BINARY          "ce-specversion: 1.0\nce-id: 17\nce-source: /mill\nce-type: wheel.turned\n"

static void assert_header(const rd_kafka_message_t *record, const char *name, const char *value)
{
    const struct strview got = record_header(record, name);
    if (!got.ptr || !sv_equal(got, sv(value))) {
        fail_msg("%s: \"%.*s\", expected \"%s\"", name, SV_ARG(got), value);
    }
}

static size_t header_count(const rd_kafka_message_t *record)
{
    rd_kafka_headers_t *headers;
    return rd_kafka_message_headers(record, &headers) ? 0 : rd_kafka_header_cnt(headers);
}

static void test_beacon__json_in_text_plain__stored(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/clicks", "Content-Type: text/plain;charset=UTF-8", "{\"a\":1}");
    assert_answer("beacon", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(*state, "clicks", answer.json);
    assert_sv("{\"a\":1}", record_value(record));
    assert_int_equal(0, header_count(record)); /* JSON is what a record is that does not say */
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

/* --- JSON Lines -------------------------------------------------------------------------------- */

static void test_lines__all_good__one_result_a_line_and_its_own_bytes(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/clicks", LINES_TYPE, "{\"a\": 1}\r\n\n  \n{\"a\":2}\n{\"a\":3}");
    assert_answer("lines", &answer, 201, "");
    assert_int_equal(3, number(answer.json, "stored"));
    assert_int_equal(3, json_array_size(json_object_get(answer.json, "results")));
    rd_kafka_message_t *record = record_of(*state, "clicks", result_at(&answer, 0));
    assert_sv("{\"a\": 1}", record_value(record));
    rd_kafka_message_destroy(record);
    assert_int_equal(number(result_at(&answer, 0), "offset") + 2,
                     number(result_at(&answer, 2), "offset"));
    http_answer_free(&answer);
}

static void test_lines__one_malformed__only_it_fails_and_says_where(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/orders", LINES_TYPE,
                ORDER("l1", "1") "\n{\"a\":\n" ORDER("l2", "\"2\"") "\n7\n"
                                                                    "\n" ORDER("l3", "3"));
    assert_int_equal(207, answer.status);
    static const struct {
        const char *status, *code, *detail;
    } rows[] = {
        {"stored", NULL, NULL},
        {"invalid", "json-syntax", "line 2: byte "},
        {"invalid", "schema-mismatch", "/amount"},
        {"invalid", "json-shape", "line 4: "},
        {"stored", NULL, NULL},
    };
    assert_int_equal(ARRAY_LEN(rows), json_array_size(json_object_get(answer.json, "results")));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const json_t *result = result_at(&answer, i), *error = json_object_get(result, "error");
        assert_string_equal(rows[i].status, json_string_value(json_object_get(result, "status")));
        if (rows[i].code) {
            assert_string_equal(rows[i].code, json_string_value(json_object_get(error, "code")));
            assert_non_null(
                strstr(json_string_value(json_object_get(error, "detail")), rows[i].detail));
            assert_true(json_is_false(json_object_get(result, "retryable")));
        }
    }
    http_answer_free(&answer);
}

static void test_lines__none_good_or_none_at_all__4xx(void **state)
{
    struct http_answer answer = post_as(*state, "/events/clicks", LINES_TYPE, "{\n{\n");
    assert_answer("malformed", &answer, 400, "json-syntax");
    assert_int_equal(2, json_array_size(json_object_get(answer.json, "errors")));
    http_answer_free(&answer);
    answer = post_as(*state, "/events/clicks", LINES_TYPE, "\n \n");
    assert_answer("blank", &answer, 400, "body-empty");
    http_answer_free(&answer);
}

/* More than a body that is collected may be: it is read while it arrives. */
static void test_lines__a_large_body__all_stored_in_order(void **state)
{
    enum { LINES = 12000 };
    char *body = malloc(LINES * 64);
    size_t bytes = 0;
    for (int i = 0; i < LINES; i++) {
        bytes += (size_t)sprintf(body + bytes, "{\"n\":%d,\"pad\":\"%.*s\"}\n", i, i % 31,
                                 "................................");
    }
    const struct fixture *fixture = *state;
    struct http_answer answer =
        http_call(fixture->port, "/events/clicks", body, bytes - 1, LINES_TYPE);
    assert_answer("large", &answer, 201, "");
    assert_int_equal(LINES, number(answer.json, "stored"));
    assert_int_equal(LINES, json_array_size(json_object_get(answer.json, "results")));
    const json_int_t first = number(result_at(&answer, 0), "offset");
    for (size_t i = 0; i < LINES; i++) {
        assert_int_equal(first + (json_int_t)i, number(result_at(&answer, i), "offset"));
    }
    rd_kafka_message_t *record = record_of(fixture, "clicks", result_at(&answer, 11969));
    assert_sv("{\"n\":11969,\"pad\":\"...\"}", record_value(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);

    body[0] = '['; /* the first line is not an object */
    answer = post_as(fixture, "/events/clicks", LINES_TYPE "\nPrefer: return=minimal", body);
    assert_int_equal(207, answer.status);
    assert_int_equal(LINES - 1, number(answer.json, "stored"));
    assert_int_equal(1, json_array_size(json_object_get(answer.json, "results")));
    assert_int_equal(0, number(result_at(&answer, 0), "index"));
    assert_string_equal("return=minimal", answer.preference);
    http_answer_free(&answer);
    free(body);
}

static void test_lines__one_too_long_or_too_many__told(void **state)
{
    enum { LONG = 70000, MANY = 20010 };
    const struct fixture *fixture = *state;
    char *body = malloc(3 * LONG);
    const size_t head = (size_t)sprintf(body, "{\"a\":1}\n{\"a\":\"");
    memset(body + head, 'x', LONG);
    strcpy(body + head + LONG, "\"}\n{\"a\":3}\n");
    struct http_answer answer = post_as(fixture, "/events/clicks", LINES_TYPE, body);
    assert_int_equal(207, answer.status);
    assert_int_equal(2, number(answer.json, "stored"));
    const json_t *error = json_object_get(result_at(&answer, 1), "error");
    assert_string_equal("record-too-large", json_string_value(json_object_get(error, "code")));
    assert_non_null(strstr(json_string_value(json_object_get(error, "detail")), "line 2: "));
    http_answer_free(&answer);

    for (size_t i = 0; i < MANY; i++) {
        memcpy(body + 3 * i, "{}\n", 4);
    }
    answer = post_as(fixture, "/events/clicks", LINES_TYPE, body);
    assert_answer("too many", &answer, 413, "batch-too-large");
    assert_int_equal(20000, number(answer.json, "stored"));
    assert_int_equal(0, number(answer.json, "failed"));
    http_answer_free(&answer);
    body[3 * 20000] = '\n'; /* as many as may be, and blank lines */
    body[3 * 20000 + 1] = '\0';
    answer = post_as(fixture, "/events/clicks", LINES_TYPE, body);
    assert_answer("just not too many", &answer, 201, "");
    http_answer_free(&answer);
    free(body);
}

/* --- hasty ------------------------------------------------------------------------------------- */

static void test_hasty__accepted_at_once_and_stored_afterwards(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer before = post(fixture, "/events/clicks", "{}");
    const json_int_t next = number(before.json, "offset") + 1;
    http_answer_free(&before);
    struct http_answer answer = post(fixture, "/events/clicks?hasty", "{\"hasty\":1}");
    assert_answer("hasty", &answer, 202, "accepted");
    assert_string_equal("", answer.preference); /* no Prefer was sent */
    http_answer_free(&answer);
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, next);
    assert_sv("{\"hasty\":1}", record_value(record));
    rd_kafka_message_destroy(record);

    answer = post_as(fixture, "/events/orders", JSON_TYPE "\nPrefer: wait=5, respond-async",
                     "[" ORDER("hs1", "1") ",{}]");
    assert_int_equal(207, answer.status);
    assert_int_equal(1, number(answer.json, "accepted"));
    assert_string_equal("respond-async", answer.preference);
    assert_string_equal("accepted",
                        json_string_value(json_object_get(result_at(&answer, 0), "status")));
    assert_string_equal("invalid",
                        json_string_value(json_object_get(result_at(&answer, 1), "status")));
    http_answer_free(&answer);
    answer = post(fixture, "/events/orders?hasty=true", "{}");
    assert_answer("what is known to be wrong is told all the same", &answer, 422,
                  "schema-mismatch");
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks?hasty=false", "{}");
    assert_answer("not hasty", &answer, 201, "stored");
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks?hasty=no", "{}");
    assert_answer("neither", &answer, 400, "request-param");
    http_answer_free(&answer);
}

/* --- CloudEvents ------------------------------------------------------------------------------- */

static void test_cloudevent__structured__own_bytes_headers_and_key(void **state)
{
    static const char event[] =
        "{\"specversion\":\"1.0\", \"id\":\"a\\u00e9\",\"source\":\"/s\",\"type\":\"t\","
        "\"time\":\"2026-01-02T03:04:05Z\",\"partitionkey\":\"k-7\",\"count\":3,\"flag\":true,"
        "\"nothing\":null,\"datacontenttype\":\"application/json\",\"data\":" ORDER("c1", "5") "}";
    struct http_answer answer = post_as(*state, "/events/orders", CLOUDEVENT_TYPE, event);
    assert_answer("structured", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(*state, "orders", answer.json);
    assert_sv(event, record_value(record));
    assert_sv("k-7", record_key(record));
    assert_header(record, "content-type", "application/cloudevents+json; charset=UTF-8");
    assert_header(record, "ce_specversion", "1.0");
    assert_header(record, "ce_id", "a\xC3\xA9");
    assert_header(record, "ce_time", "2026-01-02T03:04:05Z");
    assert_header(record, "ce_partitionkey", "k-7");
    assert_header(record, "ce_count", "3");
    assert_header(record, "ce_flag", "true");
    assert_null(record_header(record, "ce_nothing").ptr);
    assert_null(record_header(record, "ce_datacontenttype").ptr);
    assert_null(record_header(record, "ce_data").ptr);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

#define CE(more) "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"" more "}"

static void test_cloudevent__what_is_wrong__is_told(void **state)
{
    static const struct {
        const char *label, *topic, *body;
        long status;
        const char *word;
    } rows[] = {
        {"no data, no schema", "clicks", CE(""), 201, "stored"},
        {"data is anything", "clicks", CE(",\"data\":[1,2]"), 201, "stored"},
        {"binary data", "clicks", CE(",\"data_base64\":\"AAE=\""), 201, "stored"},
        {"binary data with an escape", "clicks", CE(",\"data_base64\":\"AA\\/=\""), 400,
         "cloudevent"},
        {"binary data of escapes", "clicks", CE(",\"data_base64\":\"\\/\\u002f8=\""), 201,
         "stored"},
        {"binary data that is none", "clicks", CE(",\"data_base64\":7"), 400, "cloudevent"},
        {"no binary data", "clicks", CE(",\"data_base64\":null"), 201, "stored"},
        {"both data", "clicks", CE(",\"data\":1,\"data_base64\":\"AAE=\""), 400, "cloudevent"},
        {"name", "clicks", CE(",\"Upper\":\"x\""), 400, "cloudevent"},
        {"attribute is an object", "clicks", CE(",\"ext\":{}"), 400, "cloudevent"},
        {"time", "clicks", CE(",\"time\":\"noon\""), 400, "cloudevent"},
        {"subject is a number", "clicks", CE(",\"subject\":3"), 400, "cloudevent"},
        {"id missing", "clicks", "{\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"t\"}", 400,
         "cloudevent"},
        {"id empty", "clicks",
         "{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}", 400,
         "cloudevent"},
        {"version", "clicks",
         "{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}", 400,
         "cloudevent"},
        {"version is a number", "clicks",
         "{\"specversion\":1.0,\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}", 400, "cloudevent"},
        {"an array", "clicks", "[]", 400, "cloudevent"},
        {"malformed", "clicks", "{", 400, "json-syntax"},
        {"data fails the schema", "orders", CE(",\"data\":{\"order_id\":\"x\"}"), 422,
         "schema-mismatch"},
        {"no data for the schema", "orders", CE(""), 422, "schema-mismatch"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/events/%s", rows[i].topic);
        struct http_answer answer = post_as(*state, path, CLOUDEVENT_TYPE, rows[i].body);
        assert_answer(rows[i].label, &answer, rows[i].status, rows[i].word);
        http_answer_free(&answer);
    }
}

static void test_cloudevents__batch__a_record_each(void **state)
{
    struct http_answer answer = post_as(*state, "/events/clicks", CLOUDEVENTS,
                                        "[" CE(",\"data\":1") "," CE(",\"data\":2") "]");
    assert_answer("batch", &answer, 201, "");
    assert_int_equal(2, number(answer.json, "stored"));
    rd_kafka_message_t *record = record_of(*state, "clicks", result_at(&answer, 1));
    assert_sv(CE(",\"data\":2"), record_value(record));
    assert_header(record, "ce_source", "/s");
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);

    answer = post_as(*state, "/events/clicks", CLOUDEVENTS, "[" CE("") ",{\"id\":\"x\"}]");
    assert_int_equal(207, answer.status);
    http_answer_free(&answer);
    answer = post_as(*state, "/events/clicks", CLOUDEVENTS, "[]");
    assert_answer("an empty batch", &answer, 201, "");
    http_answer_free(&answer);
    answer = post_as(*state, "/events/clicks", CLOUDEVENTS, CE(""));
    assert_answer("no batch", &answer, 400, "json-shape");
    http_answer_free(&answer);
}

static void test_cloudevent__binary__data_is_the_value(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer answer =
        http_call(fixture->port, "/events/clicks", "\x00\xFF\x01", 3,
                  BINARY "Content-Type: application/octet-stream\nce-partitionkey: k%20%C3%A9\n"
                         "ce-subject: \"quoted \\\" once%2525\"\nCE-MyExt: x%zz");
    assert_answer("binary", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(fixture, "clicks", answer.json);
    assert_int_equal(3, record->len);
    assert_memory_equal("\x00\xFF\x01", record->payload, 3);
    assert_sv("k \xC3\xA9", record_key(record));
    assert_header(record, "content-type", "application/octet-stream");
    assert_header(record, "ce_id", "17");
    assert_header(record, "ce_subject", "quoted \" once%25");
    assert_header(record, "ce_myext", "x%zz");
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static void test_cloudevent__binary_json__checked_and_keyed_by_the_topic(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/orders", BINARY JSON_TYPE, ORDER("b-9", "5"));
    assert_answer("binary JSON", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(*state, "orders", answer.json);
    assert_sv("b-9", record_key(record));
    assert_header(record, "content-type", "application/json");
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static void test_cloudevent__binary__what_is_wrong__is_told(void **state)
{
    static const struct {
        const char *label, *topic, *headers, *body;
        long status;
        const char *word;
    } rows[] = {
        {"empty data", "clicks", BINARY "Content-Type: text/csv", "", 201, "stored"},
        {"datacontenttype", "clicks", BINARY JSON_TYPE "\nce-datacontenttype: a/b", "{}", 400,
         "cloudevent"},
        {"overlong UTF-8", "clicks", BINARY JSON_TYPE "\nce-subject: %C0%A0", "{}", 400,
         "cloudevent"},
        {"no version", "clicks", "ce-id: 1\nce-source: /s\nce-type: t\n" JSON_TYPE, "{}", 400,
         "cloudevent"},
        {"wrong version", "clicks",
         "ce-specversion: 0.2\nce-id: 1\nce-source: /s\nce-type: t\n" JSON_TYPE, "{}", 400,
         "cloudevent"},
        {"name", "clicks", BINARY JSON_TYPE "\nce-a_b: 1", "{}", 400, "cloudevent"},
        {"malformed JSON", "clicks", BINARY JSON_TYPE, "{", 400, "json-syntax"},
        {"opaque where a schema is", "orders", BINARY "Content-Type: image/png", "x", 422,
         "schema-mismatch"},
        {"fails the schema", "orders", BINARY JSON_TYPE, "{}", 422, "schema-mismatch"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/events/%s", rows[i].topic);
        struct http_answer answer = post_as(*state, path, rows[i].headers, rows[i].body);
        assert_answer(rows[i].label, &answer, rows[i].status, rows[i].word);
        http_answer_free(&answer);
    }
}

/* --- what the head says ------------------------------------------------------------------------ */

static void test_head__key_timestamp_and_headers__are_the_records(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/orders",
                JSON_TYPE "\nX-Kafka-Key: from-head\nX-Kafka-Timestamp: 1795242600123\n"
                          "X-Request-Id: r-1\n"
                          "X-Kafka-Header-Source: mill\ntraceparent: 00-1-2-01\ntracestate: a=b",
                ORDER("h1", "1"));
    assert_answer("head", &answer, 201, "stored");
    rd_kafka_message_t *record = record_of(*state, "orders", answer.json);
    rd_kafka_timestamp_type_t type;
    assert_sv("from-head", record_key(record));
    assert_int_equal(1795242600123, rd_kafka_message_timestamp(record, &type));
    assert_header(record, "source", "mill");
    assert_header(record, "traceparent", "00-1-2-01");
    assert_header(record, "tracestate", "a=b");
    assert_header(record, "millrace-request-id", "r-1");
    assert_non_null(record_header(record, "millrace-ingest-time").ptr);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);

    answer = post_as(*state, "/events/orders?key=from-query", JSON_TYPE "\nX-Kafka-Key: from-head",
                     ORDER("h2", "1"));
    record = record_of(*state, "orders", answer.json);
    assert_sv("from-query", record_key(record));
    assert_int_equal(0, header_count(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);

    answer = post_as(*state, "/events/clicks", JSON_TYPE "\nX-Kafka-Header-Millrace-Request-Id: x",
                     "{}");
    assert_answer("a name of ours", &answer, 400, "request-param");
    http_answer_free(&answer);
}

static void test_head__many_fields__bounded(void **state)
{
    char headers[4096] = JSON_TYPE;
    for (int i = 0; i < 17; i++) {
        (void)snprintf(headers + strlen(headers), 64, "\nX-Kafka-Header-H%d: v", i);
    }
    struct http_answer answer = post_as(*state, "/events/clicks", headers, "{}");
    assert_answer("headers", &answer, 400, "request-param");
    http_answer_free(&answer);
    (void)snprintf(headers, sizeof headers, JSON_TYPE);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(headers + strlen(headers), 64, "\ntraceparent: 0%d", i);
    }
    answer = post_as(*state, "/events/clicks", headers, "{}");
    assert_answer("traceparent again and again", &answer, 201, "stored");
    http_answer_free(&answer);
    (void)snprintf(headers, sizeof headers, BINARY JSON_TYPE);
    for (int i = 0; i < 60; i++) {
        (void)snprintf(headers + strlen(headers), 64, "\nce-a%d: v", i);
    }
    answer = post_as(*state, "/events/clicks", headers, "{}");
    assert_answer("attributes", &answer, 400, "cloudevent");
    http_answer_free(&answer);
}

static void test_headers__all__on_each_record_with_the_time_it_came(void **state)
{
    struct http_answer answer =
        post_as(*state, "/events/clicks", LINES_TYPE "\nX-Kafka-Header-Source: mill", "{\"a\": 1}");
    rd_kafka_message_t *record = record_of(*state, "clicks", result_at(&answer, 0));
    rd_kafka_timestamp_type_t type;
    char time[24];
    (void)snprintf(time, sizeof time, "%lld", (long long)rd_kafka_message_timestamp(record, &type));
    assert_int_equal(4, header_count(record));
    assert_header(record, "source", "mill");
    assert_header(record, "content-type", "application/json");
    assert_int_equal(16, record_header(record, "millrace-request-id").len);
    assert_true(strcmp(record_header(record, "millrace-ingest-time").ptr, time) <= 0);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static int start(void **state)
{
    return fixture_start(state, NULL, NULL);
}

static int start_with_all_headers(void **state)
{
    const char *const flags[] = {"--events.headers.all=true", NULL};
    return fixture_start(state, NULL, flags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beacon__json_in_text_plain__stored),
        cmocka_unit_test(test_lines__all_good__one_result_a_line_and_its_own_bytes),
        cmocka_unit_test(test_lines__one_malformed__only_it_fails_and_says_where),
        cmocka_unit_test(test_lines__none_good_or_none_at_all__4xx),
        cmocka_unit_test(test_lines__a_large_body__all_stored_in_order),
        cmocka_unit_test(test_lines__one_too_long_or_too_many__told),
        cmocka_unit_test(test_hasty__accepted_at_once_and_stored_afterwards),
        cmocka_unit_test(test_cloudevent__structured__own_bytes_headers_and_key),
        cmocka_unit_test(test_cloudevent__what_is_wrong__is_told),
        cmocka_unit_test(test_cloudevents__batch__a_record_each),
        cmocka_unit_test(test_cloudevent__binary__data_is_the_value),
        cmocka_unit_test(test_cloudevent__binary_json__checked_and_keyed_by_the_topic),
        cmocka_unit_test(test_cloudevent__binary__what_is_wrong__is_told),
        cmocka_unit_test(test_head__key_timestamp_and_headers__are_the_records),
        cmocka_unit_test(test_head__many_fields__bounded),
    };
    const struct CMUnitTest all_headers[] = {
        cmocka_unit_test(test_headers__all__on_each_record_with_the_time_it_came),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop) +
           cmocka_run_group_tests(all_headers, start_with_all_headers, fixture_stop);
}
