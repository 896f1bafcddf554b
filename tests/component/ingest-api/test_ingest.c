/* ingest-api in this process, against librdkafka's mock cluster: statuses, shapes, and what happens
 * when Kafka does not take a record. */
#include "ingest_fixture.h"

static void test_post__one_good_order__stored_with_partition_and_offset(void **state)
{
    struct http_answer answer = post(*state, "/events/orders", ORDER("a", "10.5"));
    assert_int_equal(201, answer.status);
    assert_string_equal("stored", member(&answer, "status"));
    assert_string_equal("orders", member(&answer, "topic"));
    assert_true(json_is_integer(json_object_get(answer.json, "partition")));
    assert_true(json_integer_value(json_object_get(answer.json, "offset")) >= 0);
    assert_true(json_integer_value(json_object_get(answer.json, "timestamp")) > 0);
    http_answer_free(&answer);
}

static void test_post__same_key__same_partition(void **state)
{
    struct http_answer first = post(*state, "/events/orders", ORDER("same", "1"));
    struct http_answer second = post(*state, "/events/orders", ORDER("same", "2"));
    assert_int_equal(json_integer_value(json_object_get(first.json, "partition")),
                     json_integer_value(json_object_get(second.json, "partition")));
    assert_int_equal(json_integer_value(json_object_get(first.json, "offset")) + 1,
                     json_integer_value(json_object_get(second.json, "offset")));
    http_answer_free(&first);
    http_answer_free(&second);
}

static void test_post__what_is_wrong__is_told(void **state)
{
    static const struct {
        const char *label, *path, *body, *header;
        long status;
        const char *code;
    } rows[] = {
        {"empty", "/events/orders", "", JSON_TYPE, 400, "body-empty"},
        {"malformed", "/events/orders", "{\"order_id\":", JSON_TYPE, 400, "json-syntax"},
        {"trailing text", "/events/orders", "{} x", JSON_TYPE, 400, "json-syntax"},
        {"not utf-8", "/events/orders", "{\"a\":\"\xFF\"}", JSON_TYPE, 400, "json-encoding"},
        {"a number", "/events/orders", "17", JSON_TYPE, 400, "json-shape"},
        {"no event", "/events/orders", "[]", JSON_TYPE, 400, "json-shape"},
        {"no events", "/events/orders", "[1, 2]", JSON_TYPE, 422, "schema-mismatch"},
        {"misses fields", "/events/orders", "{\"order_id\":\"a\"}", JSON_TYPE, 422,
         "schema-mismatch"},
        {"all of a batch", "/events/orders", "[{\"order_id\":\"a\"},{}]", JSON_TYPE, 422,
         "schema-mismatch"},
        {"wrong type", "/events/orders", ORDER("a", "\"10\""), JSON_TYPE, 422, "schema-mismatch"},
        {"topic not open", "/events/secrets", "{}", JSON_TYPE, 403, "topic-forbidden"},
        {"not a topic name", "/events/a%2Fb", "{}", JSON_TYPE, 403, "topic-forbidden"},
        {"topic unknown", "/events/gone", "{}", JSON_TYPE, 404, "topic-unknown"},
        {"path unknown", "/nowhere", "{}", JSON_TYPE, 404, "not-found"},
        {"media type", "/events/orders", "a=b", "Content-Type: text/csv", 415, "media-type"},
        {"coding", "/events/orders", "{}", "Content-Encoding: br", 415, "content-coding"},
        {"not its coding", "/events/orders", "{}", "Content-Encoding: gzip", 400, "body-coding"},
        {"partition", "/events/clicks?partition=x", "{}", JSON_TYPE, 400, "request-param"},
        {"partition with a sign", "/events/clicks?partition=%2B0", "{}", JSON_TYPE, 400,
         "request-param"},
        {"partition out of range", "/events/clicks?partition=7", "{}", JSON_TYPE, 404,
         "partition-unknown"},
        {"timestamp", "/events/clicks?timestamp=noon", "{}", JSON_TYPE, 400, "request-param"},
        {"timestamp in hexadecimal", "/events/clicks?timestamp=0x10", "{}", JSON_TYPE, 400,
         "request-param"},
        {"no timestamp", "/events/clicks?timestamp=", "{}", JSON_TYPE, 400, "request-param"},
        {"timestamp of the head, where another wins", "/events/clicks?timestamp=1", "{}",
         JSON_TYPE "\nX-Kafka-Timestamp: noon", 400, "request-param"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct fixture *fixture = *state;
        struct http_answer answer = http_call(fixture->port, rows[i].path, rows[i].body,
                                              strlen(rows[i].body), rows[i].header);
        if (answer.status != rows[i].status || strcmp(member(&answer, "code"), rows[i].code) != 0) {
            fail_msg("%s: %ld %s", rows[i].label, answer.status, answer.body);
        }
        assert_int_equal(answer.status, json_integer_value(json_object_get(answer.json, "status")));
        assert_true(strncmp(answer.content_type, "application/problem+json", 24) == 0);
        assert_true(member(&answer, "request_id")[0]);
        http_answer_free(&answer);
    }
}

static void test_post__deep_nesting__is_refused_quickly(void **state)
{
    char body[60000];
    memset(body, '[', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    struct http_answer answer = post(*state, "/events/clicks", body);
    assert_int_equal(400, answer.status);
    assert_string_equal("json-too-deep", member(&answer, "code"));
    http_answer_free(&answer);
}

static void test_post__batch__one_result_an_event_in_order(void **state)
{
    struct http_answer answer =
        post(*state, "/events/orders", "[" ORDER("b1", "1") "," ORDER("b2", "2") "]");
    assert_int_equal(201, answer.status);
    assert_int_equal(2, json_integer_value(json_object_get(answer.json, "stored")));
    assert_int_equal(2, json_array_size(json_object_get(answer.json, "results")));
    http_answer_free(&answer);

    answer = post(*state, "/events/orders",
                  "[" ORDER("b3", "3") ",{\"order_id\":\"x\"},7," ORDER("b4", "4") "]");
    assert_int_equal(207, answer.status);
    json_t *results = json_object_get(answer.json, "results");
    static const char *const statuses[] = {"stored", "invalid", "invalid", "stored"};
    assert_int_equal(ARRAY_LEN(statuses), json_array_size(results));
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        json_t *result = json_array_get(results, i);
        assert_string_equal(statuses[i], json_string_value(json_object_get(result, "status")));
        assert_true(i == 0 || i == 3 || json_is_false(json_object_get(result, "retryable")));
    }
    json_t *error = json_object_get(json_array_get(results, 1), "error");
    assert_string_equal("schema-mismatch", json_string_value(json_object_get(error, "code")));
    json_t *errors = json_object_get(error, "errors");
    assert_string_equal("",
                        json_string_value(json_object_get(json_array_get(errors, 0), "pointer")));
    http_answer_free(&answer);

    answer = post(*state, "/events/orders", "[" ORDER("b5", "\"1\"") "," ORDER("b6", "\"2\"") "]");
    assert_answer("all of them", &answer, 422, "schema-mismatch");
    errors = json_object_get(answer.json, "errors");
    assert_string_equal("/1/amount",
                        json_string_value(json_object_get(json_array_get(errors, 1), "pointer")));
    http_answer_free(&answer);
}

static void test_post__too_many_or_too_large__413(void **state)
{
    char many[1024] = "[";
    for (int i = 0; i < 101; i++) {
        strcat(many, i ? ",{}" : "{}");
    }
    strcat(many, "]");
    struct http_answer answer = post(*state, "/events/clicks", many);
    assert_int_equal(413, answer.status);
    assert_string_equal("batch-too-large", member(&answer, "code"));
    http_answer_free(&answer);

    char *large = malloc(70000);
    memset(large, ' ', 69999);
    large[69999] = '\0';
    answer = post(*state, "/events/clicks", large);
    assert_int_equal(413, answer.status);
    http_answer_free(&answer);
    free(large);
}

/* A broker that refuses the record: the answer says so, never a 2xx. */
static void test_post__kafka_refuses__no_2xx(void **state)
{
    struct fixture *fixture = *state;
    rd_kafka_mock_push_request_errors(fixture->kafka.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    struct http_answer answer = post(fixture, "/events/clicks", "{}");
    assert_answer("invalid", &answer, 502, "kafka-rejected");
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks", "{}");
    assert_int_equal(201, answer.status);
    http_answer_free(&answer);
}

/* Too large was the batch; whether a record was is not known before Kafka has told how much the topic takes.
 * The mock cluster never tells, and of a topic that is used for the first time it has only just been
 * asked. */
static void test_post__batch_too_large__may_be_sent_again(void **state)
{
    struct fixture *fixture = *state;
    rd_kafka_mock_push_request_errors(fixture->kafka.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    struct http_answer answer = post(fixture, "/events/fresh", "{}");
    assert_answer("too large", &answer, 503, "kafka-batch-refused");
    assert_true(json_is_true(json_object_get(answer.json, "retryable")));
    assert_true(atoi(answer.retry_after) >= 1);
    http_answer_free(&answer);
    answer = post(fixture, "/events/fresh", "{}");
    assert_int_equal(201, answer.status);
    http_answer_free(&answer);
}

static const char *acks_reason(const struct http_answer *health)
{
    size_t index;
    json_t *check;
    json_array_foreach(json_object_get(health->json, "checks"), index, check)
    {
        if (strcmp(json_string_value(json_object_get(check, "name")), "acks") == 0) {
            return json_string_value(json_object_get(check, "reason"));
        }
    }
    return "";
}

/* Ready all the while; the text is told within a tick of the worker. */
static void await_acks(unsigned port, const char *text)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (bool is_told = false; !is_told;) {
        struct http_answer answer = http_call(port, "/health/ready", NULL, 0, NULL);
        assert_int_equal(200, answer.status);
        is_told = strstr(acks_reason(&answer), text) != NULL;
        http_answer_free(&answer);
        assert_true(clock_mono_us() < deadline_us);
    }
}

/* Kafka answers late: /health tells how long the oldest event waits, and stays well. */
static void test_health__an_event_waits__its_age_is_told(void **state)
{
    struct fixture *fixture = *state;
    await_acks(fixture->port, "nothing waits");
    assert_int_equal(0, rd_kafka_mock_broker_set_down(fixture->kafka.cluster, 1));
    struct http_answer answer = post(fixture, "/events/clicks?hasty", "{}");
    assert_answer("hasty", &answer, 202, "accepted");
    http_answer_free(&answer);
    await_acks(fixture->port, "has waited for");
    assert_int_equal(0, rd_kafka_mock_broker_set_up(fixture->kafka.cluster, 1));
    answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
    assert_non_null(strstr(
        answer.body, "millrace_ingest_requests_total{format=\"json\",outcome=\"accepted\"} 1\n"));
    assert_non_null(strstr(answer.body, "millrace_ingest_inflight_bytes{worker=\"0\"}"));
    http_answer_free(&answer);
}

/* The broker is gone: 503 within the message time-out, Retry-After, and back to 201 afterwards. */
static void test_post__kafka_away__503_then_well_again(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(0, rd_kafka_mock_broker_set_down(fixture->kafka.cluster, 1));
    struct http_answer answer = post(fixture, "/events/clicks", "{}");
    assert_int_equal(503, answer.status);
    assert_true(json_is_true(json_object_get(answer.json, "retryable")));
    assert_true(atoi(answer.retry_after) >= 1);
    http_answer_free(&answer);
    assert_int_equal(0, rd_kafka_mock_broker_set_up(fixture->kafka.cluster, 1));
    int64_t deadline_us = clock_mono_us() + WAIT_US;
    do {
        http_answer_free(&answer);
        answer = post(fixture, "/events/clicks", "{}");
        assert_true(clock_mono_us() < deadline_us);
    } while (answer.status != 201);
    http_answer_free(&answer);
}

static void test_common_routes__answer(void **state)
{
    const struct fixture *fixture = *state;
    static const struct {
        const char *path, *type;
    } rows[] = {
        {"/health", "application/json"},       {"/health/live", "application/json"},
        {"/health/ready", "application/json"}, {"/metrics", "text/plain"},
        {"/openapi.json", "application/json"}, {"/docs", "text/html"},
        {"/version", "application/json"},      {"/problems/queue-full", "application/json"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer answer = http_call(fixture->port, rows[i].path, NULL, 0, NULL);
        if (answer.status != 200 ||
            strncmp(answer.content_type, rows[i].type, strlen(rows[i].type)) != 0) {
            fail_msg("%s: %ld %s", rows[i].path, answer.status, answer.content_type);
        }
        http_answer_free(&answer);
    }
    struct http_answer answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
    assert_non_null(strstr(answer.body, "millrace_ingest_events_total{topic=\"orders\","
                                        "outcome=\"stored\"}"));
    http_answer_free(&answer);
}

static int start(void **state)
{
    return fixture_start(state, (const char *const[]){"fresh", NULL},
                         (const char *const[]){"--topics.allow=orders,clicks,gone,fresh", NULL});
}

static int start_impatient(void **state)
{
    return fixture_start(state, NULL,
                         (const char *const[]){"--http.request.timeout=4s",
                                               "--kafka.message.timeout.ms=1500", NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post__one_good_order__stored_with_partition_and_offset),
        cmocka_unit_test(test_post__same_key__same_partition),
        cmocka_unit_test(test_post__what_is_wrong__is_told),
        cmocka_unit_test(test_post__deep_nesting__is_refused_quickly),
        cmocka_unit_test(test_post__batch__one_result_an_event_in_order),
        cmocka_unit_test(test_post__too_many_or_too_large__413),
        cmocka_unit_test(test_post__kafka_refuses__no_2xx),
        cmocka_unit_test(test_post__batch_too_large__may_be_sent_again),
        cmocka_unit_test(test_health__an_event_waits__its_age_is_told),
        cmocka_unit_test(test_common_routes__answer),
    };
    const struct CMUnitTest impatient[] = {
        cmocka_unit_test(test_post__kafka_away__503_then_well_again),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop) +
           cmocka_run_group_tests(impatient, start_impatient, fixture_stop);
}
