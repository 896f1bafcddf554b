/* Requests with an Idempotency-Key: told again, in progress, another request, and what becomes of a
 * request whose answer came before its end. */
#include <pthread.h>

#include "ingest_fixture.h"
#include "once_record.h"

#define TOPIC       "ingest-api.idempotency"
#define OTHER_TOPIC "other.idempotency"
#define LATE_MS     3000 /* when Kafka answers: long after who asked it was told that it had not */

static struct http_answer post_key(const struct fixture *fixture, const char *path, const char *key,
                                   const char *body)
{
    char headers[512];
    (void)snprintf(headers, sizeof headers, JSON_TYPE "\nIdempotency-Key: %s", key);
    return post_as(fixture, path, headers, body);
}

/* The next offset of clicks, which has one partition: what was produced in between shows. */
static json_int_t clicks_end(const struct fixture *fixture)
{
    struct http_answer answer = post(fixture, "/events/clicks", "{\"end\":true}");
    assert_answer("end", &answer, 201, "stored");
    const json_int_t offset = number(answer.json, "offset");
    http_answer_free(&answer);
    return offset + 1;
}

static void assert_same(const struct http_answer *first, const struct http_answer *again)
{
    assert_int_equal(first->status, again->status);
    assert_string_equal("", first->replayed);
    assert_string_equal("true", again->replayed);
    assert_string_equal(first->body, again->body);
    assert_string_equal(first->content_type, again->content_type);
}

static void test_key__same_request_again__same_answer_nothing_produced(void **state)
{
    struct fixture *fixture = *state;
    struct http_answer first = post_key(fixture, "/events/clicks", "\"a-1\"", "{\"n\":1}");
    assert_answer("first", &first, 201, "stored");
    const json_int_t end = clicks_end(fixture);
    static const char *const keys[] = {"\"a-1\"", "a-1", " a-1 "};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct http_answer again = post_key(fixture, "/events/clicks", keys[i], "{\"n\":1}");
        assert_same(&first, &again);
        http_answer_free(&again);
    }
    assert_int_equal(end + 1, clicks_end(fixture));
    http_answer_free(&first);
}

static void test_key__every_record__says_which_event_it_is(void **state)
{
    struct fixture *fixture = *state;
    struct http_answer answer = post_key(fixture, "/events/clicks", "ids", "[{\"n\":1},{\"n\":2}]");
    assert_int_equal(201, answer.status);
    char ids[2][64];
    for (size_t i = 0; i < 2; i++) {
        rd_kafka_message_t *record = record_of(fixture, "clicks", result_at(&answer, i));
        const struct strview id = record_header(record, "millrace-idempotency-key");
        assert_int_equal(INGEST_ONCE_EVENT_BYTES, id.len);
        (void)snprintf(ids[i], sizeof ids[i], "%.*s", SV_ARG(id));
        rd_kafka_message_destroy(record);
    }
    assert_memory_equal(ids[0], ids[1], 33);
    assert_string_equal("00000000", ids[0] + 33);
    assert_string_equal("00000001", ids[1] + 33);
    http_answer_free(&answer);
}

/* Some stored, some invalid: final, so the whole of it is told again, errors and all. */
static void test_key__mixed_results__told_again(void **state)
{
    struct fixture *fixture = *state;
    static const char body[] = "[" ORDER("m1", "1") ",{\"order_id\":\"x\"},7," ORDER("m2", "2") "]";
    struct http_answer first = post_key(fixture, "/events/orders", "mixed", body);
    assert_int_equal(207, first.status);
    struct http_answer again = post_key(fixture, "/events/orders", "mixed", body);
    assert_same(&first, &again);
    http_answer_free(&first);
    http_answer_free(&again);
}

/* Accepted is as final as stored: a hasty event is not sent a second time. */
static void test_key__hasty__told_again_and_stored_once(void **state)
{
    struct fixture *fixture = *state;
    const json_int_t before = clicks_end(fixture);
    struct http_answer first = post_key(fixture, "/events/clicks?hasty", "h-1", "{\"h\":1}");
    assert_answer("first", &first, 202, "accepted");
    struct http_answer again = post_key(fixture, "/events/clicks?hasty", "h-1", "{\"h\":1}");
    assert_same(&first, &again);
    http_answer_free(&first);
    http_answer_free(&again);
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, before);
    assert_sv("{\"h\":1}", record_value(record));
    assert_int_equal(INGEST_ONCE_EVENT_BYTES,
                     record_header(record, "millrace-idempotency-key").len);
    rd_kafka_message_destroy(record);
    assert_int_equal(before + 2, clicks_end(fixture)); /* it and the question for the end */
}

static void test_key__another_request__422(void **state)
{
    struct fixture *fixture = *state;
    struct http_answer answer = post_key(fixture, "/events/clicks", "b-1", "{\"n\":1}");
    assert_answer("first", &answer, 201, "stored");
    http_answer_free(&answer);
    static const struct {
        const char *label, *path, *body, *more;
    } rows[] = {
        {"body", "/events/clicks", "{\"n\":2}", ""},
        {"record key", "/events/clicks?key=k", "{\"n\":1}", ""},
        {"record key in a field", "/events/clicks", "{\"n\":1}", "\nX-Kafka-Key: k"},
        {"record header", "/events/clicks", "{\"n\":1}", "\nX-Kafka-Header-A: b"},
        {"hasty", "/events/clicks?hasty", "{\"n\":1}", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char headers[512];
        (void)snprintf(headers, sizeof headers, JSON_TYPE "\nIdempotency-Key: b-1%s", rows[i].more);
        answer = post_as(fixture, rows[i].path, headers, rows[i].body);
        assert_answer(rows[i].label, &answer, 422, "idempotency-mismatch");
        http_answer_free(&answer);
    }
    /* Another topic is another scope. */
    answer = post_key(fixture, "/events/orders", "b-1", ORDER("b1", "1"));
    assert_answer("other topic", &answer, 201, "stored");
    http_answer_free(&answer);
}

static void test_key__not_valid__400(void **state)
{
    struct fixture *fixture = *state;
    static const char *const keys[] = {"\"open", "\"a\" b", "a,b", "\"\"", "a\\b"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct http_answer answer = post_key(fixture, "/events/clicks", keys[i], "{}");
        assert_answer(keys[i], &answer, 400, "idempotency-key");
        http_answer_free(&answer);
    }
    struct http_answer answer = post_as(fixture, "/events/clicks",
                                        JSON_TYPE "\nIdempotency-Key: a\nIdempotency-Key: b", "{}");
    assert_answer("two", &answer, 400, "idempotency-key");
    http_answer_free(&answer);
}

/* Nothing was stored: the key is free for the mended request. */
static void test_key__nothing_stored__key_is_free(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *body, *code;
        long status;
    } rows[] = {
        {"{\"order_id\":", "json-syntax", 400},
        {"{\"order_id\":\"x\"}", "schema-mismatch", 422},
        {"[{},{}]", "schema-mismatch", 422},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer answer = post_key(fixture, "/events/orders", "free", rows[i].body);
        assert_answer(rows[i].body, &answer, rows[i].status, rows[i].code);
        assert_string_equal("", answer.replayed);
        http_answer_free(&answer);
    }
    struct http_answer answer = post_key(fixture, "/events/orders", "free", ORDER("free", "1"));
    assert_answer("mended", &answer, 201, "stored");
    http_answer_free(&answer);
}

/* Lines are collected when there is a key, and known again. */
static void test_key__lines__told_again(void **state)
{
    struct fixture *fixture = *state;
    static const char headers[] = "Content-Type: application/x-ndjson\nIdempotency-Key: lines";
    struct http_answer first =
        post_as(fixture, "/events/clicks", headers, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    struct http_answer again =
        post_as(fixture, "/events/clicks", headers, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_int_equal(201, first.status);
    assert_same(&first, &again);
    http_answer_free(&first);
    http_answer_free(&again);
}

/* Kafka refused some for now: the retry stores what is missing and nothing twice. */
static void test_key__kafka_away__retry_is_processed(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(0, rd_kafka_mock_broker_set_down(fixture->kafka.cluster, 1));
    struct http_answer answer = post_key(fixture, "/events/clicks", "away", "{\"n\":1}");
    assert_int_equal(503, answer.status);
    assert_true(atoi(answer.retry_after) >= 1);
    http_answer_free(&answer);
    assert_int_equal(0, rd_kafka_mock_broker_set_up(fixture->kafka.cluster, 1));
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    do {
        http_answer_free(&answer);
        answer = post_key(fixture, "/events/clicks", "away", "{\"n\":1}");
        assert_true(clock_mono_us() < deadline_us);
    } while (answer.status != 201);
    assert_string_equal("", answer.replayed);
    struct http_answer again = post_key(fixture, "/events/clicks", "away", "{\"n\":1}");
    assert_same(&answer, &again);
    http_answer_free(&answer);
    http_answer_free(&again);
}

static void test_key__required__400_without(void **state)
{
    struct fixture *fixture = *state;
    struct http_answer answer = post(fixture, "/events/payments", "{}");
    assert_answer("without", &answer, 400, "idempotency-key");
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/payments", "Content-Type: application/x-ndjson", "{}\n{}\n");
    assert_answer("lines without", &answer, 400, "idempotency-key");
    http_answer_free(&answer);
    answer = post_key(fixture, "/events/payments", "p-1", "{}");
    assert_answer("with", &answer, 201, "stored");
    http_answer_free(&answer);
}

/* The answer came at the deadline, before Kafka's: 409 until the end is known, and then the end. */
static void test_key__late_report__409_then_the_true_outcome(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(0, rd_kafka_mock_broker_set_rtt(fixture->kafka.cluster, 1, LATE_MS));
    const int64_t begun_us = clock_mono_us();
    struct http_answer answer = post_key(fixture, "/events/clicks", "late", "{\"n\":1}");
    assert_answer("deadline", &answer, 503, "kafka-timeout");
    assert_non_null(strstr(answer.body, "same Idempotency-Key"));
    http_answer_free(&answer);
    answer = post_key(fixture, "/events/clicks", "late", "{\"n\":1}");
    if (clock_mono_us() - begun_us < LATE_MS * 1000) { /* else Kafka may have answered */
        assert_answer("in progress", &answer, 409, "idempotency-in-progress");
        assert_true(atoi(answer.retry_after) >= 1);
    }
    assert_int_equal(0, rd_kafka_mock_broker_set_rtt(fixture->kafka.cluster, 1, 0));
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (answer.status == 409) {
        http_answer_free(&answer);
        answer = post_key(fixture, "/events/clicks", "late", "{\"n\":1}");
        assert_true(clock_mono_us() < deadline_us);
    }
    assert_answer("outcome", &answer, 201, "stored");
    assert_string_equal("true", answer.replayed);
    assert_int_equal(number(answer.json, "offset") + 1, partition_end(fixture, "clicks", 0));
    http_answer_free(&answer);
}

/* --- CloudEvents that come twice ------------------------------------------------------------------- */

static void test_dedup__source_and_id_again__duplicate_with_the_first_ones_place(void **state)
{
    struct fixture *fixture = *state;
    static const char event[] = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/a\",\"type\":"
                                "\"t\",\"data\":{}}";
    static const char structured[] = "Content-Type: application/cloudevents+json";
    static const char binary[] =
        JSON_TYPE "\nce-specversion: 1.0\nce-id: 1\nce-source: /a\nce-type: t";
    struct http_answer first = post_as(fixture, "/events/clicks", structured, event);
    assert_answer("first", &first, 201, "stored");
    static const struct {
        const char *label, *headers, *body;
    } rows[] = {{"structured", structured, event}, {"binary", binary, "{\"other\":true}"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer again =
            post_as(fixture, "/events/clicks", rows[i].headers, rows[i].body);
        assert_answer(rows[i].label, &again, 200, "duplicate");
        assert_int_equal(number(first.json, "offset"), number(again.json, "offset"));
        assert_int_equal(number(first.json, "partition"), number(again.json, "partition"));
        http_answer_free(&again);
    }
    assert_int_equal(number(first.json, "offset") + 2, clicks_end(fixture));
    http_answer_free(&first);
    /* Another topic, another source, another id: not the same event. */
    static const char *const others[] = {"ce-id: 2\nce-source: /a", "ce-id: 1\nce-source: /b"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        char headers[256];
        (void)snprintf(headers, sizeof headers, JSON_TYPE "\nce-specversion: 1.0\nce-type: t\n%s",
                       others[i]);
        struct http_answer answer = post_as(fixture, "/events/clicks", headers, "{}");
        assert_answer(others[i], &answer, 201, "stored");
        http_answer_free(&answer);
    }
}

#define EVENT(id) "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/c\",\"type\":\"t\"}"

/* Twice in one batch: the second is not told to be stored while the first is on its way. */
static void test_dedup__first_on_its_way__fails_for_now(void **state)
{
    struct fixture *fixture = *state;
    static const char batch[] = "Content-Type: application/cloudevents-batch+json";
    struct http_answer answer =
        post_as(fixture, "/events/clicks", batch, "[" EVENT("1") "," EVENT("2") "," EVENT("1") "]");
    assert_int_equal(207, answer.status);
    static const char *const statuses[] = {"stored", "stored", "failed"};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        assert_string_equal(statuses[i],
                            json_string_value(json_object_get(result_at(&answer, i), "status")));
    }
    assert_true(json_is_true(json_object_get(result_at(&answer, 2), "retryable")));
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/clicks", batch, "[" EVENT("1") "," EVENT("3") "]");
    assert_int_equal(201, answer.status);
    assert_string_equal("duplicate",
                        json_string_value(json_object_get(result_at(&answer, 0), "status")));
    assert_string_equal("stored",
                        json_string_value(json_object_get(result_at(&answer, 1), "status")));
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/clicks", batch, "[" EVENT("1") "," EVENT("3") "]");
    assert_int_equal(200, answer.status);
    http_answer_free(&answer);
}

/* A first that failed is as if never sent. */
static void test_dedup__first_failed__stored_when_it_comes_again(void **state)
{
    struct fixture *fixture = *state;
    rd_kafka_mock_push_request_errors(fixture->kafka.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    static const char headers[] = "Content-Type: application/cloudevents+json";
    struct http_answer answer = post_as(fixture, "/events/clicks", headers, EVENT("failed"));
    assert_int_equal(502, answer.status);
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/clicks", headers, EVENT("failed"));
    assert_answer("again", &answer, 201, "stored");
    http_answer_free(&answer);
    answer = post_as(fixture, "/events/clicks", headers, EVENT("failed"));
    assert_answer("third", &answer, 200, "duplicate");
    http_answer_free(&answer);
}

/* --- replicas ------------------------------------------------------------------------------------ */

struct pair {
    struct fixture *one, *two;
};

static const char *const log_flags[] = {"--idempotency.topic=" TOPIC, NULL};

static int start_pair(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    void *one;
    static const char *const topics[] = {TOPIC, OTHER_TOPIC, NULL};
    int e = fixture_start(&one, topics, log_flags);
    pair->one = one;
    pair->two = calloc(1, sizeof *pair->two);
    pair->two->kafka = pair->one->kafka;
    e = e ? e : fixture_serve(pair->two, log_flags);
    *state = pair;
    return e;
}

static int stop_pair(void **state)
{
    struct pair *pair = *state;
    int e = fixture_end(pair->two);
    void *one = pair->one;
    e = fixture_stop(&one) | e;
    free(pair->two);
    free(pair);
    return e;
}

/* Until the replica is done with others' claims: its answer to the request. */
static struct http_answer post_until_known(const struct fixture *fixture, const char *key,
                                           const char *body)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (;;) {
        struct http_answer answer = post_key(fixture, "/events/clicks", key, body);
        if (answer.status != 409) {
            return answer;
        }
        http_answer_free(&answer);
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void test_replicas__retry_at_the_other__same_answer(void **state)
{
    struct pair *pair = *state;
    struct http_answer first = post_key(pair->one, "/events/clicks", "r-1", "{\"n\":1}");
    assert_answer("first", &first, 201, "stored");
    struct http_answer again = post_until_known(pair->two, "r-1", "{\"n\":1}");
    assert_same(&first, &again);
    http_answer_free(&again);
    again = post_key(pair->two, "/events/clicks", "r-1", "{\"n\":2}");
    assert_answer("other request", &again, 422, "idempotency-mismatch");
    http_answer_free(&first);
    http_answer_free(&again);
}

static void test_replicas__nothing_stored__key_is_free_at_the_other(void **state)
{
    struct pair *pair = *state;
    struct http_answer answer = post_key(pair->one, "/events/clicks", "r-2", "{\"n\":");
    assert_answer("malformed", &answer, 400, "json-syntax");
    http_answer_free(&answer);
    answer = post_until_known(pair->two, "r-2", "{\"n\":1}");
    assert_answer("mended", &answer, 201, "stored");
    assert_string_equal("", answer.replayed);
    http_answer_free(&answer);
}

struct racer {
    pthread_t thread;
    const struct fixture *fixture;
    const char *key;
    struct http_answer answer;
};

static void *race(void *context)
{
    struct racer *racer = context;
    racer->answer = post_key(racer->fixture, "/events/clicks", racer->key, "{\"race\":true}");
    return NULL;
}

/* The same request at both at the same time, many times: one record each time. */
static void test_replicas__at_the_same_time__stored_once(void **state)
{
    struct pair *pair = *state;
    json_int_t end = clicks_end(pair->one);
    for (int round = 0; round < TEST_RUNS(20) + 2; round++) {
        char key[32];
        (void)snprintf(key, sizeof key, "race-%d", round);
        struct racer racers[4];
        for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
            racers[i] = (struct racer){.fixture = i % 2 ? pair->one : pair->two, .key = key};
            assert_int_equal(0, pthread_create(&racers[i].thread, NULL, race, &racers[i]));
        }
        for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
            (void)pthread_join(racers[i].thread, NULL);
            const long status = racers[i].answer.status;
            if (status != 201 && status != 409) {
                fail_msg("%ld %s", status, racers[i].answer.body);
            }
            if (status == 201) {
                assert_int_equal(end, number(racers[i].answer.json, "offset"));
            }
            http_answer_free(&racers[i].answer);
        }
        assert_int_equal(end + 2, clicks_end(pair->one));
        end += 2;
    }
}

/* What a replica that starts later reads: everything. */
static void test_replicas__started_later__knows(void **state)
{
    struct pair *pair = *state;
    struct http_answer first = post_key(pair->one, "/events/clicks", "r-3", "{\"n\":1}");
    assert_answer("first", &first, 201, "stored");
    struct fixture *three = calloc(1, sizeof *three);
    three->kafka = pair->one->kafka;
    assert_int_equal(0, fixture_serve(three, log_flags));
    struct http_answer again = post_until_known(three, "r-3", "{\"n\":1}");
    assert_same(&first, &again);
    http_answer_free(&first);
    http_answer_free(&again);
    assert_int_equal(0, fixture_end(three));
    free(three);
}

/* The claim of a process that has died, as it left it: that of another site, under another name. */
static void claim_copy(const struct fixture *from, const struct fixture *to, const char *topic)
{
    rd_kafka_message_t *claim = record_at(from, OTHER_TOPIC, 0, 0);
    char value[ONCE_RECORD_HEAD_BYTES];
    assert_int_equal(sizeof value, claim->len);
    memcpy(value, claim->payload, sizeof value);
    value[20] ^= 1;                                          /* owner */
    memcpy(value + 60, "\1\0\0\0\0\0\0\0", sizeof(int64_t)); /* lease: 1 ms */
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(RD_KAFKA_CONF_OK,
                     rd_kafka_conf_set(conf, "bootstrap.servers",
                                       to->kafka.config.bootstrap_servers, why, sizeof why));
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_int_equal(0,
                     rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
                                       RD_KAFKA_V_KEY(claim->key, claim->key_len),
                                       RD_KAFKA_V_VALUE(value, sizeof value),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
    assert_int_equal(0, rd_kafka_flush(producer, 20000));
    rd_kafka_destroy(producer);
    rd_kafka_message_destroy(claim);
}

/* As assert_same, but for the timestamps, which the mock cluster does not keep. */
static void assert_same_places(const struct http_answer *first, const struct http_answer *again)
{
    assert_int_equal(first->status, again->status);
    assert_string_equal("true", again->replayed);
    for (size_t i = 0; i < json_array_size(json_object_get(first->json, "results")); i++) {
        assert_int_equal(number(result_at(first, i), "offset"),
                         number(result_at(again, i), "offset"));
    }
}

/* A replica died between Kafka's acknowledgement and its answer: the retry finds what it stored. */
static void test_replicas__one_died_at_work__stored_once(void **state)
{
    struct pair *pair = *state;
    static const char *const flags[] = {"--idempotency.topic=" OTHER_TOPIC, NULL};
    static const char body[] = "[{\"n\":1},{\"n\":2},{\"n\":3}]";
    struct fixture *dead = calloc(1, sizeof *dead);
    dead->kafka = pair->one->kafka;
    assert_int_equal(0, fixture_serve(dead, flags));
    struct http_answer first = post_key(dead, "/events/clicks", "dead", body);
    assert_int_equal(201, first.status);
    claim_copy(dead, pair->one, TOPIC);
    const json_int_t end = clicks_end(pair->one);
    /* The log has one partition: what comes back from it now comes after the dead one's claim. */
    struct http_answer answer = post_key(pair->one, "/events/clicks", "behind", "{}");
    assert_answer("behind", &answer, 201, "stored");
    http_answer_free(&answer);
    answer = post_until_known(pair->one, "dead", body);
    assert_same_places(&first, &answer);
    http_answer_free(&answer);
    assert_int_equal(end + 2, clicks_end(pair->one));
    answer = post_until_known(pair->two, "dead", body);
    assert_same_places(&first, &answer);
    http_answer_free(&first);
    http_answer_free(&answer);
    assert_int_equal(0, fixture_end(dead));
    free(dead);
}

static int start(void **state)
{
    static const char *const topics[] = {"payments", NULL};
    static const char *const flags[] = {"--topics.allow=*",
                                        "--idempotency.required=payments, pay.*", NULL};
    return fixture_start(state, topics, flags);
}

static int start_dedup(void **state)
{
    static const char *const flags[] = {"--dedup.window=1m", NULL};
    return fixture_start(state, NULL, flags);
}

static int start_impatient(void **state)
{
    static const char *const flags[] = {"--http.request.timeout=4s",
                                        "--kafka.message.timeout.ms=1500", NULL};
    return fixture_start(state, NULL, flags);
}

static int start_late(void **state)
{
    static const char *const flags[] = {"--http.request.timeout=500ms",
                                        "--kafka.message.timeout.ms=30000", NULL};
    return fixture_start(state, NULL, flags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key__same_request_again__same_answer_nothing_produced),
        cmocka_unit_test(test_key__every_record__says_which_event_it_is),
        cmocka_unit_test(test_key__mixed_results__told_again),
        cmocka_unit_test(test_key__hasty__told_again_and_stored_once),
        cmocka_unit_test(test_key__another_request__422),
        cmocka_unit_test(test_key__not_valid__400),
        cmocka_unit_test(test_key__nothing_stored__key_is_free),
        cmocka_unit_test(test_key__lines__told_again),
        cmocka_unit_test(test_key__required__400_without),
    };
    const struct CMUnitTest impatient[] = {
        cmocka_unit_test(test_key__kafka_away__retry_is_processed),
    };
    const struct CMUnitTest late[] = {
        cmocka_unit_test(test_key__late_report__409_then_the_true_outcome),
    };
    const struct CMUnitTest dedup[] = {
        cmocka_unit_test(test_dedup__source_and_id_again__duplicate_with_the_first_ones_place),
        cmocka_unit_test(test_dedup__first_on_its_way__fails_for_now),
        cmocka_unit_test(test_dedup__first_failed__stored_when_it_comes_again),
    };
    const struct CMUnitTest replicas[] = {
        cmocka_unit_test(test_replicas__retry_at_the_other__same_answer),
        cmocka_unit_test(test_replicas__nothing_stored__key_is_free_at_the_other),
        cmocka_unit_test(test_replicas__at_the_same_time__stored_once),
        cmocka_unit_test(test_replicas__started_later__knows),
        cmocka_unit_test(test_replicas__one_died_at_work__stored_once),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop) +
           cmocka_run_group_tests(impatient, start_impatient, fixture_stop) +
           cmocka_run_group_tests(dedup, start_dedup, fixture_stop) +
           cmocka_run_group_tests(late, start_late, fixture_stop) +
           cmocka_run_group_tests(replicas, start_pair, stop_pair);
}
