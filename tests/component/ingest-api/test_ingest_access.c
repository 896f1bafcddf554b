/* Who may write: 401, 403, 429 and 201 by API key and by token, at the head and for bodies in pieces;
 * reload; what must not be in the log. */
#include <unistd.h>

#include "access/access_key.h"
#include "core/buf.h"
#include "ingest_fixture.h"
#include "log/log.h"
#include "tokens.h"

#define LINES_TYPE "Content-Type: application/x-ndjson"

static char keys_path[] = "/tmp/millrace-keys-XXXXXX", jwks_path[] = "/tmp/millrace-jwks-XXXXXX";
static char key[ACCESS_KEY_BYTES + 1], slow_key[ACCESS_KEY_BYTES + 1];
static struct signer signer;
static struct buf log_text;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* its writers: the server's threads */

static void on_line(void *context, struct strview line)
{
    (void)context;
    (void)pthread_mutex_lock(&log_lock);
    CHECK(buf_append_view(&log_text, line) == ERR_OK);
    (void)pthread_mutex_unlock(&log_lock);
}

static void keys_write(const char *topic)
{
    json_t *slow = key_entry_new(slow_key, "write", "clicks");
    json_object_set_new(slow, "rate", json_pack("{s:i}", "events", 2));
    json_t *root = json_pack("{s:[o,o]}", "keys", key_entry_new(key, "write", topic), slow);
    CHECK(json_dump_file(root, keys_path, 0) == 0);
    json_decref(root);
}

static int start(void **state)
{
    CHECK(close(mkstemp(keys_path)) == 0 && close(mkstemp(jwks_path)) == 0);
    CHECK(access_key_make(key) && access_key_make(slow_key));
    signer = signer_new("EC", "P-256", "one");
    json_t *jwks = json_pack("{s:[o]}", "keys", signer_jwk(&signer, "ES256"));
    CHECK(json_dump_file(jwks, jwks_path, 0) == 0);
    json_decref(jwks);
    keys_write("clicks");
    buf_init(&log_text, 16 << 20);
    log_capture(on_line, NULL);
    char keys_flag[64], jwks_flag[64];
    (void)snprintf(keys_flag, sizeof keys_flag, "--access.keys.file=%s", keys_path);
    (void)snprintf(jwks_flag, sizeof jwks_flag, "--access.jwks.file=%s", jwks_path);
    const char *const more[] = {"--access.mode=on",
                                keys_flag,
                                jwks_flag,
                                "--access.jwt.issuer=https://issuer",
                                "--access.jwt.audience=millrace",
                                "--log.level=debug",
                                NULL};
    return fixture_start(state, NULL, more);
}

static int stop(void **state)
{
    const int code = fixture_stop(state);
    log_capture(NULL, NULL);
    buf_free(&log_text);
    signer_free(&signer);
    (void)unlink(keys_path);
    (void)unlink(jwks_path);
    return code;
}

static struct http_answer post_key(const struct fixture *fixture, const char *path,
                                   const char *with_key, const char *type, const char *body)
{
    char headers[256];
    (void)snprintf(headers, sizeof headers, "%s\nX-Api-Key: %s", type, with_key);
    return post_as(fixture, path, headers, body);
}

static char *token_new(const char *scope, int64_t seconds)
{
    char claims[512];
    (void)snprintf(claims, sizeof claims,
                   "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"till\",\"exp\":%lld,"
                   "\"scope\":\"%s\"}",
                   (long long)(clock_now_ms() / 1000 + seconds), scope);
    return signer_token(&signer, "ES256", claims);
}

static struct http_answer post_token(const struct fixture *fixture, const char *path,
                                     const char *token, const char *body)
{
    char headers[4096];
    (void)snprintf(headers, sizeof headers, JSON_TYPE "\nAuthorization: Bearer %s", token);
    return post_as(fixture, path, headers, body);
}

/* An Idempotency-Key is its principal's: another one with the same key and request has an answer of its own,
 * and who may not write is not told what became of somebody's request. */
static void test_idempotency_key__is_the_principals(void **state)
{
#define ONCE "\nIdempotency-Key: mine"
    const struct fixture *fixture = *state;
    struct http_answer first = post_key(fixture, "/events/clicks", key, JSON_TYPE ONCE, "{}");
    assert_answer("first", &first, 201, "stored");
    struct http_answer other = post_key(fixture, "/events/clicks", slow_key, JSON_TYPE ONCE, "{}");
    assert_answer("other", &other, 201, "stored");
    assert_string_equal("", other.replayed);
    assert_int_equal(number(first.json, "offset") + 1, number(other.json, "offset"));
    struct http_answer again = post_key(fixture, "/events/clicks", key, JSON_TYPE ONCE, "{}");
    assert_answer("again", &again, 201, "stored");
    assert_string_equal("true", again.replayed);
    assert_string_equal(first.body, again.body);
    http_answer_free(&again);
    again = post_as(fixture, "/events/clicks", JSON_TYPE ONCE, "{}");
    assert_answer("nobody", &again, 401, "unauthenticated");
    assert_string_equal("", again.replayed);
    http_answer_free(&again);
    again = post_key(fixture, "/events/orders", key, JSON_TYPE ONCE, "{}");
    assert_answer("no right", &again, 403, "forbidden");
    http_answer_free(&again);
    http_answer_free(&other);
    http_answer_free(&first);
#undef ONCE
}

static void test_post__nobody__401_with_a_challenge(void **state)
{
    struct http_answer answer = post(*state, "/events/clicks", "{}");
    assert_answer("nobody", &answer, 401, "unauthenticated");
    assert_string_equal("Bearer realm=\"millrace\"", answer.www_authenticate);
    assert_true(strncmp(answer.content_type, "application/problem+json", 24) == 0);
    http_answer_free(&answer);
    answer = post_as(*state, "/events/clicks", LINES_TYPE, "{}\n{}\n");
    assert_answer("nobody's lines", &answer, 401, "unauthenticated");
    assert_string_equal("Bearer realm=\"millrace\"", answer.www_authenticate);
    http_answer_free(&answer);
}

/* Whatever else is wrong, and whether or not the topic exists, a stranger learns nothing of it. */
static void test_post__nobody__401_before_anything_else(void **state)
{
    static const char *const paths[] = {"/events/gone", "/events/secrets", "/events/a%2Fb",
                                        "/events/clicks?partition=x"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct http_answer answer = post(*state, paths[i], "{");
        assert_answer(paths[i], &answer, 401, "unauthenticated");
        http_answer_free(&answer);
    }
}

static void test_post__key__201_where_it_has_the_right(void **state)
{
    struct http_answer answer = post_key(*state, "/events/clicks", key, JSON_TYPE, "{}");
    assert_answer("one", &answer, 201, "stored");
    http_answer_free(&answer);
    answer = post_key(*state, "/events/clicks", key, LINES_TYPE, "{}\n{}\n");
    assert_int_equal(201, answer.status);
    assert_int_equal(2, number(answer.json, "stored"));
    http_answer_free(&answer);
    answer = post_key(*state, "/events/orders", key, JSON_TYPE, ORDER("a", "1"));
    assert_answer("no right", &answer, 403, "forbidden");
    http_answer_free(&answer);
    answer = post_key(*state, "/events/orders", key, LINES_TYPE, ORDER("a", "1"));
    assert_answer("no right for lines", &answer, 403, "forbidden");
    http_answer_free(&answer);
    answer = post_key(*state, "/events/nowhere", key, JSON_TYPE, "{}");
    assert_answer("a topic that is not there is forbidden too", &answer, 403, "forbidden");
    http_answer_free(&answer);
}

static void test_post__token__201_403_401(void **state)
{
    char *good = token_new("write:clicks read:*", 600), *old = token_new("write:clicks", -600);
    for (int i = 0; i < 4; i++) {
        struct http_answer answer = post_token(*state, "/events/clicks", good, "{}");
        assert_answer("good", &answer, 201, "stored");
        http_answer_free(&answer);
    }
    struct http_answer answer = post_token(*state, "/events/orders", good, ORDER("a", "1"));
    assert_answer("no right", &answer, 403, "forbidden");
    assert_non_null(strstr(answer.www_authenticate, "insufficient_scope"));
    http_answer_free(&answer);
    answer = post_token(*state, "/events/clicks", old, "{}");
    assert_answer("expired", &answer, 401, "unauthenticated");
    assert_non_null(strstr(answer.www_authenticate, "invalid_token"));
    assert_non_null(strstr(answer.www_authenticate, "expired"));
    http_answer_free(&answer);
    good[strlen(good) - 8] ^= 1;
    answer = post_token(*state, "/events/clicks", good, "{}");
    assert_answer("forged", &answer, 401, "unauthenticated");
    http_answer_free(&answer);
    free(good);
    free(old);
}

static void test_post__rate__429_with_retry_after(void **state)
{
    struct http_answer answer =
        post_key(*state, "/events/clicks", slow_key, JSON_TYPE, "[{},{},{},{},{},{},{},{}]");
    assert_int_equal(201, answer.status); /* a batch passes, and is paid off */
    http_answer_free(&answer);
    answer = post_key(*state, "/events/clicks", slow_key, JSON_TYPE, "{}");
    assert_answer("too soon", &answer, 429, "rate-limited");
    assert_in_range(strtol(answer.retry_after, NULL, 10), 1, 4);
    assert_true(json_is_true(json_object_get(answer.json, "retryable")));
    http_answer_free(&answer);
    answer = post_key(*state, "/events/clicks", slow_key, LINES_TYPE, "{}\n");
    assert_answer("too soon for lines", &answer, 429, "rate-limited");
    http_answer_free(&answer);
    answer = post_key(*state, "/events/clicks", key, JSON_TYPE, "{}");
    assert_answer("another's", &answer, 201, "stored");
    http_answer_free(&answer);
}

/* The other APIs' ways to a topic are asked the same; where events name their topics, each is. */
static void test_other_apis__the_right__is_asked_for_each_topic(void **state)
{
    static const char rest_type[] = "Content-Type: application/vnd.kafka.json.v2+json";
    static const char records[] = "{\"records\":[{\"value\":{}}]}";
    struct http_answer answer = post_as(*state, "/topics/clicks", rest_type, records);
    assert_int_equal(401, answer.status);
    assert_int_equal(40101, number(answer.json, "error_code"));
    assert_non_null(strstr(answer.www_authenticate, "Bearer"));
    http_answer_free(&answer);
    answer = post_key(*state, "/topics/clicks", key, rest_type, records);
    assert_int_equal(200, answer.status);
    http_answer_free(&answer);
    answer = post_key(*state, "/topics/orders/partitions/0", key, rest_type, records);
    assert_int_equal(403, answer.status);
    assert_int_equal(40301, number(answer.json, "error_code"));
    http_answer_free(&answer);

    answer = post(*state, "/v1/events", "{\"meta\":{\"stream\":\"clicks\"}}");
    assert_int_equal(401, answer.status);
    http_answer_free(&answer);
    answer = post_key(*state, "/v1/events", key, JSON_TYPE,
                      "[{\"meta\":{\"stream\":\"clicks\"}},{\"meta\":{\"stream\":\"orders\"}}]");
    assert_int_equal(207, answer.status);
    assert_non_null(strstr(answer.body, "has not the right to write"));
    http_answer_free(&answer);
}

static void test_common_routes__nobody__are_open(void **state)
{
    const struct fixture *fixture = *state;
    static const char *const paths[] = {"/health", "/health/ready", "/metrics", "/openapi.json",
                                        "/docs"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct http_answer answer = http_call(fixture->port, paths[i], NULL, 0, NULL);
        assert_int_equal(200, answer.status);
        http_answer_free(&answer);
    }
    struct http_answer answer = http_call(fixture->port, "/health", NULL, 0, NULL);
    assert_non_null(strstr(answer.body, "2 API keys, 1 keys for tokens"));
    http_answer_free(&answer);
}

static void test_reload__rights_change__for_the_next_request(void **state)
{
    struct fixture *fixture = *state;
    struct err_info info = {0};
    keys_write("orders");
    assert_err(ERR_OK, access_reload(fixture->ingest.access, &info));
    struct http_answer answer = post_key(fixture, "/events/clicks", key, JSON_TYPE, "{}");
    assert_answer("taken away", &answer, 403, "forbidden");
    http_answer_free(&answer);
    answer = post_key(fixture, "/events/orders", key, JSON_TYPE, ORDER("a", "1"));
    assert_answer("given", &answer, 201, "stored");
    http_answer_free(&answer);

    FILE *file = fopen(keys_path, "w");
    assert_true(file && fputs("{\"keys\":[{}]}", file) >= 0 && fclose(file) == 0);
    assert_err(ERR_CONFIG, access_reload(fixture->ingest.access, &info));
    answer = post_key(fixture, "/events/orders", key, JSON_TYPE, ORDER("b", "1"));
    assert_answer("as before", &answer, 201, "stored");
    http_answer_free(&answer);
    keys_write("clicks");
    assert_err(ERR_OK, access_reload(fixture->ingest.access, &info));
}

/* After all of the above, with everything logged. */
static void test_log__holds_no_secret(void **state)
{
    (void)state;
    char *token = token_new("canary", 600);
    struct http_answer answer = post_token(*state, "/events/clicks", token, "{}");
    assert_int_equal(403, answer.status);
    http_answer_free(&answer);
    (void)pthread_mutex_lock(&log_lock);
    assert_err(ERR_OK, buf_append(&log_text, "", 1));
    assert_non_null(strstr(log_text.data, "access_refused"));
    assert_null(strstr(log_text.data, key + 16));
    assert_null(strstr(log_text.data, slow_key + 16));
    assert_null(strstr(log_text.data, strrchr(token, '.') + 1));
    token[60] = '\0'; /* header, and the beginning of the claims */
    assert_null(strstr(log_text.data, token + 30));
    (void)pthread_mutex_unlock(&log_lock);
    free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post__nobody__401_with_a_challenge),
        cmocka_unit_test(test_idempotency_key__is_the_principals),
        cmocka_unit_test(test_post__nobody__401_before_anything_else),
        cmocka_unit_test(test_post__key__201_where_it_has_the_right),
        cmocka_unit_test(test_post__token__201_403_401),
        cmocka_unit_test(test_post__rate__429_with_retry_after),
        cmocka_unit_test(test_other_apis__the_right__is_asked_for_each_topic),
        cmocka_unit_test(test_common_routes__nobody__are_open),
        cmocka_unit_test(test_reload__rights_change__for_the_next_request),
        cmocka_unit_test(test_log__holds_no_secret),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
