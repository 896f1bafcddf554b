/* What is not taken goes to the topic of rejects; events of hot keys to the topic's overflow. */
#include "ingest_fixture.h"

static void assert_reject(const struct fixture *fixture, int64_t offset, const char *bytes,
                          const char *code, const char *topic)
{
    rd_kafka_message_t *record = record_at(fixture, "rejects", 0, offset);
    assert_sv(bytes, record_value(record));
    assert_sv(code, record_header(record, "millrace-error-code"));
    assert_sv(topic, record_header(record, "__streams.errors.topic"));
    assert_true(record_header(record, "__streams.errors.message").len > 0);
    rd_kafka_message_destroy(record);
}

static void test_rejects__each_with_its_bytes_and_reason(void **state)
{
    const struct fixture *fixture = *state;
    struct http_answer answer = post_as(fixture, "/events/orders", JSON_TYPE "\nX-Request-Id: r-17",
                                        "[" ORDER("r1", "1") ", {\"order_id\": \"r2\"}, 7]");
    assert_int_equal(207, answer.status);
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/clicks", "Content-Type: application/jsonl", "{\"a\":\n{}\n");
    assert_int_equal(207, answer.status);
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks", "{\"whole\":");
    assert_answer("a whole body", &answer, 400, "json-syntax");
    http_answer_free(&answer);
    answer = post(fixture, "/v1/events", "{\"meta\":{\"stream\":\"clicks\"}}");
    assert_int_equal(201, answer.status); /* nothing rejected */
    http_answer_free(&answer);

    rd_kafka_message_t *record = record_at(fixture, "rejects", 0, 0);
    assert_sv("r-17", record_header(record, "millrace-request-id"));
    assert_true(record_header(record, "millrace-error-pointers").ptr != NULL);
    rd_kafka_message_destroy(record);
    assert_reject(fixture, 0, "{\"order_id\": \"r2\"}", "schema-mismatch", "orders");
    assert_reject(fixture, 1, "7", "json-shape", "orders");
    assert_reject(fixture, 2, "{\"a\":", "json-syntax", "clicks");
    assert_reject(fixture, 3, "{\"whole\":", "json-syntax", "clicks");
}

/* Kafka refuses a hasty event: nobody can be told, so it is kept. */
static void test_rejects__a_hasty_event_that_kafka_refuses__kept(void **state)
{
    const struct fixture *fixture = *state;
    rd_kafka_mock_push_request_errors(fixture->kafka.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    struct http_answer answer = post(fixture, "/events/clicks?hasty", "{\"lost\":1}");
    assert_answer("hasty", &answer, 202, "accepted");
    http_answer_free(&answer);
    assert_reject(fixture, 4, "{\"lost\":1}", "record-too-large", "clicks");
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (bool is_counted = false; !is_counted;) { /* the reject's own report is still to come */
        answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
        is_counted = strstr(answer.body, "millrace_ingest_hasty_total{outcome=\"failed\"} 1\n") &&
                     strstr(answer.body, "millrace_ingest_rejects_total{outcome=\"stored\"} 5\n");
        http_answer_free(&answer);
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void test_overflow__a_hot_key__goes_aside_and_the_others_stay(void **state)
{
    char body[4096] = "[";
    for (int i = 0; i < 60; i++) { /* within one second, by one request's clock */
        (void)snprintf(body + strlen(body), 32, "%s{}", i ? "," : "");
    }
    strcat(body, "]");
    struct http_answer answer = post(*state, "/events/clicks?key=hot", body);
    assert_answer("hot", &answer, 201, "");
    const struct fixture *fixture = *state;
    rd_kafka_message_t *record = record_of(fixture, "clicks.overflow", result_at(&answer, 59));
    assert_sv("hot", record_key(record));
    assert_int_equal(9, record->offset); /* 50 a second stay, ten went aside */
    rd_kafka_message_destroy(record);
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks?key=cold", "{}");
    assert_string_equal("clicks", member(&answer, "topic"));
    http_answer_free(&answer);
    answer = post(fixture, "/events/clicks.overflow", "{}");
    assert_answer("not open to clients, though in use", &answer, 403, "topic-forbidden");
    http_answer_free(&answer);
    answer = post(fixture, "/events/orders?key=hot", "[" ORDER("o1", "1") "]");
    assert_answer("a topic without an overflow", &answer, 201, "");
    http_answer_free(&answer);
}

static int start(void **state)
{
    static const char *const topics[] = {"rejects", "clicks.overflow", NULL};
    static const char *const more[] = {"--rejects.topic=rejects", "--overflow.rate=50",
                                       "--http.threads=1", /* rejects in order of requests */
                                       NULL};
    return fixture_start(state, topics, more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rejects__each_with_its_bytes_and_reason),
        cmocka_unit_test(test_rejects__a_hasty_event_that_kafka_refuses__kept),
        cmocka_unit_test(test_overflow__a_hot_key__goes_aside_and_the_others_stay),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop);
}
