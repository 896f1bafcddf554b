/* The other APIs: the REST proxies' POST /topics/{topic} and EventGate's POST /v1/events; and schemas
 * that events name themselves. */
#include "ingest_fixture.h"

#define REST_JSON   "Content-Type: application/vnd.kafka.json.v2+json"
#define REST_BINARY "Content-Type: application/vnd.kafka.binary.v2+json"
#define REST_TEXT   "Content-Type: application/vnd.kafka.text.v2+json"
#define REST_ANSWER "application/vnd.kafka.v2+json"

static json_t *offset_at(const struct http_answer *answer, size_t index)
{
    return json_array_get(json_object_get(answer->json, "offsets"), index);
}

/* --- REST proxies ------------------------------------------------------------------------------ */

static void test_rest__json_records__keys_values_headers(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer answer =
        post_as(fixture, "/topics/clicks", REST_JSON,
                "{\"records\":[{\"key\":\"k\",\"value\":{\"a\": 1},\"partition\":0,"
                "\"timestamp\":1795242600123,\"headers\":[{\"key\":\"h\",\"value\":\"bWlsbA==\"},"
                "{\"key\":\"empty\",\"value\":null}]},{\"value\":[1,2]},{\"key\":{\"id\":1},"
                "\"value\":null}]}");
    assert_int_equal(200, answer.status);
    assert_string_equal(REST_ANSWER, answer.content_type);
    assert_int_equal(3, json_array_size(json_object_get(answer.json, "offsets")));
    assert_true(json_is_null(json_object_get(answer.json, "key_schema_id")));
    rd_kafka_message_t *record = record_of(fixture, "clicks", offset_at(&answer, 0));
    rd_kafka_timestamp_type_t type;
    assert_sv("\"k\"", record_key(record));
    assert_sv("{\"a\": 1}", record_value(record));
    assert_sv("mill", record_header(record, "h"));
    assert_int_equal(1795242600123, rd_kafka_message_timestamp(record, &type));
    rd_kafka_message_destroy(record);
    record = record_of(fixture, "clicks", offset_at(&answer, 1));
    assert_sv("[1,2]", record_value(record));
    assert_null(record->key);
    rd_kafka_message_destroy(record);
    record = record_of(fixture, "clicks", offset_at(&answer, 2));
    assert_null(record->payload); /* a tombstone */
    assert_sv("{\"id\":1}", record_key(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static void test_rest__binary_and_text__decoded(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer answer = post_as(fixture, "/topics/clicks", REST_BINARY,
                                        "{\"records\":[{\"key\":\"a2V5\",\"value\":\"AP8B\"}]}");
    assert_int_equal(200, answer.status);
    rd_kafka_message_t *record = record_of(fixture, "clicks", offset_at(&answer, 0));
    assert_sv("key", record_key(record));
    assert_int_equal(3, record->len);
    assert_memory_equal("\x00\xFF\x01", record->payload, 3);
    assert_null(record_header(record, "content-type").ptr);
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
    answer = post_as(fixture, "/topics/clicks/partitions/0", REST_TEXT,
                     "{\"records\":[{\"key\":\"k\\u00e9\",\"value\":\"a\\tb\"}]}");
    assert_int_equal(200, answer.status);
    record = record_of(fixture, "clicks", offset_at(&answer, 0));
    assert_sv("k\xC3\xA9", record_key(record));
    assert_sv("a\tb", record_value(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
}

static void test_rest__some_wrong__207_and_error_codes(void **state)
{
    struct http_answer answer =
        post_as(*state, "/topics/clicks", REST_BINARY,
                "{\"records\":[{\"value\":\"AA==\"},{\"value\":\"*\"},{\"value\":\"AA==\","
                "\"partition\":9},{\"value\":\"AA==\",\"partition\":-1},7,{\"value\":5},"
                "{\"partition\":0.5},{\"partition\":1e-40},{\"partition\":0.0,\"timestamp\":1e3},"
                "{\"timestamp\":253402300800000},{\"timestamp\":\"1\"},"
                "{\"headers\":[{\"key\":\"millrace-request-id\",\"value\":\"AA==\"}]}]}");
    static const int codes[] = {0, 422, 40402, 422, 422, 422, 422, 422, 0, 422, 422, 422};
    assert_int_equal(207, answer.status);
    assert_int_equal(ARRAY_LEN(codes), json_array_size(json_object_get(answer.json, "offsets")));
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        assert_int_equal(codes[i], number(offset_at(&answer, i), "error_code"));
        assert_true(!codes[i] || json_is_string(json_object_get(offset_at(&answer, i), "message")));
    }
    http_answer_free(&answer);
}

static void test_rest__refused__its_error_shape(void **state)
{
    static const struct {
        const char *label, *path, *type, *body;
        long status;
        int code;
    } rows[] = {
        {"topic unknown", "/topics/gone", REST_JSON, "{\"records\":[{\"value\":1}]}", 404, 40401},
        {"not open", "/topics/secrets", REST_JSON, "{\"records\":[{\"value\":1}]}", 403, 40301},
        {"partition of the path", "/topics/clicks/partitions/7", REST_JSON,
         "{\"records\":[{\"value\":1}]}", 404, 40402},
        {"one partition in the path, another in the record", "/topics/clicks/partitions/0",
         REST_JSON, "{\"records\":[{\"value\":1,\"partition\":1}]}", 422, 422},
        {"media type", "/topics/clicks", "Content-Type: application/vnd.kafka.avro.v2+json",
         "{\"records\":[{\"value\":1}]}", 415, 415},
        {"malformed", "/topics/clicks", REST_JSON, "{", 400, 400},
        {"no records", "/topics/clicks", REST_JSON, "{}", 422, 422},
        {"empty", "/topics/clicks", REST_JSON, "{\"records\":[]}", 422, 422},
        {"schema", "/topics/orders", REST_JSON, "{\"records\":[{\"value\":{}}]}", 422, 422},
        {"binary where a schema is", "/topics/orders", REST_BINARY,
         "{\"records\":[{\"value\":\"AA==\"}]}", 422, 422},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer answer = post_as(*state, rows[i].path, rows[i].type, rows[i].body);
        if (answer.status != rows[i].status || number(answer.json, "error_code") != rows[i].code ||
            strcmp(answer.content_type, REST_ANSWER) != 0) {
            fail_msg("%s: %ld %s %s", rows[i].label, answer.status, answer.content_type,
                     answer.body);
        }
        http_answer_free(&answer);
    }
}

/* --- EventGate --------------------------------------------------------------------------------- */

#define CLICK(more) "{\"meta\":{\"stream\":\"clicks\"},\"$schema\":\"/click/2\"" more "}"

static void test_eventgate__all_good__201_or_202_without_a_body(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer last = post(fixture, "/events/clicks", "{}");
    struct http_answer answer = post(fixture, "/v1/events", CLICK(",\"page\":\"/\""));
    assert_int_equal(201, answer.status);
    assert_int_equal(0, answer.bytes);
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, number(last.json, "offset") + 1);
    assert_sv(CLICK(",\"page\":\"/\""), record_value(record));
    rd_kafka_message_destroy(record);
    http_answer_free(&last);
    http_answer_free(&answer);
    answer = post_as(fixture, "/v1/events?hasty=true", "Content-Type: text/plain",
                     "[" CLICK(",\"page\":\"/a\"") "]");
    assert_int_equal(202, answer.status);
    http_answer_free(&answer);
}

static void test_eventgate__some_wrong__207_with_the_events(void **state)
{
    struct http_answer answer = post(
        *state, "/v1/events",
        "[" CLICK(",\"page\":\"/\"") "," CLICK(
            ",\"page\":7") ",{\"meta\":{}},"
                           "{\"meta\":{\"stream\":\"secrets\"}},{\"meta\":{\"stream\":\"clicks\"},"
                           "\"$schema\":\"/none/1\"}]");
    assert_int_equal(207, answer.status);
    json_t *invalid = json_object_get(answer.json, "invalid");
    assert_int_equal(4, json_array_size(invalid));
    assert_int_equal(0, json_array_size(json_object_get(answer.json, "error")));
    json_t *first = json_array_get(invalid, 0), *context = json_object_get(first, "context");
    assert_string_equal("invalid", json_string_value(json_object_get(first, "status")));
    assert_int_equal(7, number(json_object_get(first, "event"), "page"));
    assert_string_equal(
        "/page", json_string_value(json_object_get(
                     json_array_get(json_object_get(context, "errors"), 0), "instancePath")));
    assert_true(json_is_string(json_object_get(context, "errorsText")));
    http_answer_free(&answer);
    answer = post(*state, "/v1/events", "{\"meta\":{\"stream\":\"gone\"}}");
    assert_int_equal(400, answer.status);
    assert_int_equal(1, json_array_size(json_object_get(answer.json, "invalid")));
    http_answer_free(&answer);
    answer = post(*state, "/v1/events", "{");
    assert_answer("malformed", &answer, 400, "json-syntax");
    http_answer_free(&answer);
}

/* --- schemas by name --------------------------------------------------------------------------- */

static void test_schema__named_by_the_event__checked_besides_the_topics(void **state)
{
    static const struct {
        const char *label, *topic, *type, *body;
        long status;
        const char *word;
    } rows[] = {
        {"named, good", "clicks", JSON_TYPE, "{\"$schema\":\"/click/2\",\"page\":\"/\"}", 201,
         "stored"},
        {"named, bad", "clicks", JSON_TYPE, "{\"$schema\":\"/click/2\"}", 422, "schema-mismatch"},
        {"unknown", "clicks", JSON_TYPE, "{\"$schema\":\"/click/3\"}", 422, "schema-unknown"},
        {"not a string", "clicks", JSON_TYPE, "{\"$schema\":3}", 422, "schema-unknown"},
        {"a lax one does not loosen the topic's", "orders", JSON_TYPE,
         "{\"$schema\":\"/click/2\",\"page\":\"/\"}", 422, "schema-mismatch"},
        {"the topic's own", "orders", JSON_TYPE,
         "{\"$schema\":\"https://mill.example/orders/1#\",\"order_id\":\"a\",\"amount\":1}", 201,
         "stored"},
        {"dataschema", "clicks", "Content-Type: application/cloudevents+json",
         "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\","
         "\"dataschema\":\"/click/2\",\"data\":{}}",
         422, "schema-mismatch"},
        {"dataschema in the head", "clicks",
         JSON_TYPE "\nce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\n"
                   "ce-dataschema: /click/2",
         "{\"page\":\"/\"}", 201, "stored"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/events/%s", rows[i].topic);
        struct http_answer answer = post_as(*state, path, rows[i].type, rows[i].body);
        assert_answer(rows[i].label, &answer, rows[i].status, rows[i].word);
        http_answer_free(&answer);
    }
}

static int start(void **state)
{
    static const char *const more[] = {
        "--schemas.dir=" MILLRACE_SOURCE_DIR "/tests/component/ingest-api/schemas", NULL};
    return fixture_start(state, NULL, more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest__json_records__keys_values_headers),
        cmocka_unit_test(test_rest__binary_and_text__decoded),
        cmocka_unit_test(test_rest__some_wrong__207_and_error_codes),
        cmocka_unit_test(test_rest__refused__its_error_shape),
        cmocka_unit_test(test_eventgate__all_good__201_or_202_without_a_body),
        cmocka_unit_test(test_eventgate__some_wrong__207_with_the_events),
        cmocka_unit_test(test_schema__named_by_the_event__checked_besides_the_topics),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop);
}
