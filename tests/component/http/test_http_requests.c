/* Requests that go well, deferred ones, and what handlers get to see. */
#include "fixture.h"
#include "http/http_head.h" /* how long an id may be */

static int start(void **state)
{
    (void)state;
    const struct http_config config = config_default();
    server_start(&config);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

static void test_http__keep_alive__answers_one_after_the_other(void **state)
{
    (void)state;
    const int fd = client_open();
    for (int i = 0; i < 100; i++) {
        client_say(fd, i % 2 ? "GET /hello HTTP/1.1\r\n" H "\r\n"
                             : "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
        const struct answer answer = answer_read(fd);
        assert_int_equal(200, answer.status);
        assert_string_equal(i % 2 ? "hello" : "abc", answer.body);
    }
    close(fd);
}

static struct answer text_ask(int fd, const char *name, const char *fields)
{
    char text[256];
    snprintf(text, sizeof text, "POST /text/%s HTTP/1.1\r\n" H "%sContent-Length: 1\r\n\r\n1", name,
             fields);
    client_say(fd, text);
    return answer_read(fd);
}

static void test_http__answers_in_a_row__have_heads_of_their_own(void **state)
{
    (void)state;
    static const struct {
        const char *label, *name, *fields;
        int status;
        const char *id, *type, *body, *origin, *more; /* NULL: made by us; not there */
    } rows[] = {
        {"made", "first", "", 202, NULL, "text/plain", "first", NULL, NULL},
        {"kept", "first", "", 202, NULL, "text/plain", "first", NULL, NULL},
        {"taken", "first", "X-Request-Id: r-1\r\n", 202, "r-1", "text/plain", "first", NULL, NULL},
        {"longer", "first", "X-Request-Id: request-22\r\n", 202, "request-22", "text/plain",
         "first", NULL, NULL},
        {"other text", "second", "", 203, NULL, "text/html", "the second", NULL, NULL},
        {"and back", "first", "X-Request-Id: r-3\r\n", 202, "r-3", "text/plain", "first", NULL,
         NULL},
        {"with more", "more", "X-Request-Id: r-4\r\n", 202, "r-4", "text/plain", "first", NULL,
         "yes"},
        {"from a page", "first", "Origin: http://good.example\r\n", 202, NULL, "text/plain",
         "first", "http://good.example", NULL},
        {"plain again", "first", "X-Request-Id: r-5\r\n", 202, "r-5", "text/plain", "first", NULL,
         NULL},
    };
    char last[HTTP_REQUEST_ID_MAX + 1] = "";
    const int fd = client_open();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct answer answer = text_ask(fd, rows[i].name, rows[i].fields);
        print_message("%s\n", rows[i].label);
        assert_int_equal(rows[i].status, answer.status);
        assert_string_equal(rows[i].body, answer.body);
        assert_string_equal(rows[i].type, answer_field(&answer, "Content-Type"));
        const char *id = answer_field(&answer, "X-Request-Id");
        assert_non_null(id);
        if (rows[i].id) {
            assert_string_equal(rows[i].id, id);
        } else {
            assert_int_equal(16, strlen(id));
            assert_string_not_equal(last, id);
            snprintf(last, sizeof last, "%.16s", id);
        }
        assert_null(strstr(strstr(answer.head, "X-Request-Id") + 1, "X-Request-Id"));
        const char *origin = answer_field(&answer, "Access-Control-Allow-Origin");
        assert_true(rows[i].origin ? origin && strcmp(rows[i].origin, origin) == 0 : !origin);
        const char *more = answer_field(&answer, "X-More");
        assert_true(rows[i].more ? more && strcmp(rows[i].more, more) == 0 : !more);
    }
    close(fd);
}

static void test_http__pipelined_requests__are_answered_in_order(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "POST /echo/a HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n1"
                   "POST /defer HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"
                   "POST /echo/b HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n2");
    assert_string_equal("1", answer_read(fd).body);
    assert_string_equal("later", answer_read(fd).body);
    assert_string_equal("2", answer_read(fd).body);
    close(fd);
}

static void test_http__body_in_pieces_and_chunks__arrives_whole(void **state)
{
    (void)state;
    const int fd = client_open();
    static const char chunked[] = "POST /echo/n HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    for (const char *at = chunked; *at; at++) {
        client_send(fd, at, 1);
    }
    const struct answer answer = answer_read(fd);
    assert_int_equal(200, answer.status);
    assert_string_equal("abcd", answer.body);

    const size_t bytes = 200000; /* more than is read at once */
    char *body = must_alloc(bytes);
    memset(body, 'x', bytes);
    client_say(fd, "PUT /echo/n HTTP/1.1\r\n" H "Content-Length: 200000\r\n\r\n");
    client_send(fd, body, bytes);
    const struct answer large = answer_read(fd);
    assert_int_equal(200, large.status);
    assert_int_equal(bytes, large.body_bytes);
    free(body);
    close(fd);
}

static void test_http__thousand_deferred_at_once__all_are_answered(void **state)
{
    (void)state;
    enum { CLIENTS = 1000 };
    static int fds[CLIENTS];
    const int before = fixture.deferred;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = round ? fds[i] : client_open();
            client_say(fds[i], "POST /hold HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
        }
        await_count(&fixture.deferred, before + (round + 1) * CLIENTS);
        bell_ring(fixture.benches[0]->bell);
        for (int i = 0; i < CLIENTS; i++) {
            const struct answer answer = answer_read(fds[i]);
            assert_int_equal(201, answer.status);
            assert_string_equal("later", answer.body);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        close(fds[i]);
    }
    assert_int_equal(0, fixture.abandoned);
}

static void test_http__thousand_idle_connections__leave_room_for_others(void **state)
{
    (void)state;
    static int fds[1000];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = client_open();
    }
    assert_int_equal(200, ask("GET /hello HTTP/1.1\r\n" H "\r\n").status);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        client_say(fds[i], "GET /hello HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(200, answer_read(fds[i]).status);
        close(fds[i]);
    }
}

static void test_http__client_gone_while_deferred__hurts_nobody(void **state)
{
    (void)state;
    const int before = fixture.deferred;
    const int fd = client_open();
    client_say(fd, "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    await_count(&fixture.deferred, before + 1);
    close(fd);
    bell_ring(fixture.benches[0]->bell);
    assert_int_equal(200, ask("GET /hello HTTP/1.1\r\n" H "\r\n").status);
}

static void test_http__large_answer__comes_whole_to_a_slow_reader(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "GET /big HTTP/1.1\r\n" H "\r\n");
    const struct answer answer = answer_read(fd);
    assert_int_equal(200, answer.status);
    assert_int_equal(4 << 20, answer.body_bytes);
    client_say(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, answer_read(fd).status);
    close(fd);
}

static void test_http__head_and_options__are_answered_by_the_core(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "HEAD /hello HTTP/1.1\r\n" H "\r\n");
    struct answer answer = answer_read_of(fd, true);
    assert_int_equal(200, answer.status);
    assert_string_equal("5", answer_field(&answer, "Content-Length"));
    client_say(fd, "OPTIONS /echo/n HTTP/1.1\r\n" H "\r\n"); /* in step: no body came before */
    answer = answer_read(fd);
    assert_int_equal(204, answer.status);
    assert_string_equal("POST, PUT, OPTIONS", answer_field(&answer, "Allow"));
    assert_null(answer_field(&answer, "Access-Control-Allow-Methods"));
    close(fd);
}

static void test_http__cors__only_for_the_origins_named(void **state)
{
    (void)state;
    struct answer answer = ask("GET /hello HTTP/1.1\r\n" H "Origin: http://good.example\r\n\r\n");
    assert_string_equal("http://good.example",
                        answer_field(&answer, "Access-Control-Allow-Origin"));
    assert_string_equal("Origin", answer_field(&answer, "Vary"));
    answer = ask("GET /hello HTTP/1.1\r\n" H "Origin: http://evil.example\r\n\r\n");
    assert_int_equal(200, answer.status);
    assert_null(answer_field(&answer, "Access-Control-Allow-Origin"));
    answer = ask("OPTIONS /echo/x HTTP/1.1\r\n" H "Origin: http://other.example\r\n"
                 "Access-Control-Request-Method: POST\r\n\r\n");
    assert_int_equal(204, answer.status);
    assert_string_equal("POST, PUT, OPTIONS",
                        answer_field(&answer, "Access-Control-Allow-Methods"));
    assert_non_null(strstr(answer_field(&answer, "Access-Control-Allow-Headers"), "last-event-id"));
    answer = ask("GET /nope HTTP/1.1\r\n" H "Origin: http://good.example\r\n\r\n");
    assert_int_equal(404, answer.status);
    assert_non_null(answer_field(&answer, "Access-Control-Allow-Origin"));
}

static void test_http__request_id__is_taken_or_made(void **state)
{
    (void)state;
    struct answer answer = ask("GET /about HTTP/1.1\r\n" H "X-Request-Id: abc-123\r\n\r\n");
    assert_string_equal("abc-123", answer_field(&answer, "X-Request-Id"));
    assert_non_null(strstr(answer.body, "\"id\":\"abc-123\""));
    answer = ask("GET /about HTTP/1.1\r\n" H "X-Request-Id: a b\r\n\r\n");
    assert_int_equal(16, strlen(answer_field(&answer, "X-Request-Id")));
    const struct answer second = ask("GET /about HTTP/1.1\r\n" H "\r\n");
    assert_null(strstr(second.body, answer_field(&answer, "X-Request-Id")));
}

static void test_http__accessors__tell_what_was_sent(void **state)
{
    (void)state;
    const struct answer answer = ask("GET /about?q=a%20b+c&x HTTP/1.1\r\n" H
                                     "Content-Type: Text/PLAIN; charset=utf-8\r\n\r\n");
    assert_non_null(strstr(answer.body, "\"client\":\"127.0.0.1\""));
    assert_non_null(strstr(answer.body, "\"type\":\"text/plain\""));
    assert_non_null(strstr(answer.body, "\"q\":\"a b c\""));
    const struct answer named =
        ask("POST /echo/%61%2fb HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    assert_string_equal("a/b", answer_field(&named, "X-Name"));
    const struct answer absolute = ask("GET http://test/hello HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, absolute.status);
}

static void test_http__file__etag_and_gzip(void **state)
{
    (void)state;
    struct answer answer = ask("GET /file HTTP/1.1\r\n" H "\r\n");
    assert_string_equal("plain text", answer.body);
    assert_string_equal("\"v1\"", answer_field(&answer, "ETag"));
    answer = ask("GET /file HTTP/1.1\r\n" H "Accept-Encoding: gzip\r\n\r\n");
    assert_string_equal("zipped", answer.body);
    assert_string_equal("gzip", answer_field(&answer, "Content-Encoding"));
    const int fd = client_open();
    client_say(fd, "GET /file HTTP/1.1\r\n" H "If-None-Match: \"v1\"\r\n\r\n");
    assert_int_equal(304, answer_read_of(fd, true).status);
    close(fd);
}

static void test_http__expect_continue__is_told_to_go_on(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd,
               "POST /echo/n HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(100, answer_read(fd).status);
    client_say(fd, "ok");
    assert_string_equal("ok", answer_read(fd).body);
    client_say(fd, "POST /nope HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(404, answer_read(fd).status); /* not 100: the body need not come */
    close(fd);
}

static void test_http__http_10__is_answered_and_closed(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "GET /hello HTTP/1.0\r\n\r\n");
    assert_int_equal(200, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
}

static void test_http__handler_that_does_nothing__is_a_500(void **state)
{
    (void)state;
    assert_int_equal(500, ask("GET /forget HTTP/1.1\r\n" H "\r\n").status);
}

static void test_http__stream__outlives_its_request(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, answer_read(fd).status);
    char got[16] = "";
    assert_int_equal(5, recv(fd, got, 5, MSG_WAITALL));
    assert_string_equal(":ok\n\n", got);
    assert_int_equal(200, ask("GET /hello HTTP/1.1\r\n" H "\r\n").status);
    for (int i = 0; i < 50; i++) {
        client_say(fd, "ping");
        assert_int_equal(4, recv(fd, got, 4, MSG_WAITALL));
        assert_memory_equal("ping", got, 4);
    }
    client_say(fd, "q"); /* the server ends it */
    assert_closed(fd);
    close(fd);
    await_count(&fixture.streams, 0);

    const int second = client_open(); /* the client ends it */
    client_say(second, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, answer_read(second).status);
    close(second);
    await_count(&fixture.streams, 0);
}

static void test_http__requests__are_counted(void **state)
{
    (void)state;
    static const char series[] =
        "millrace_http_requests_total{route=\"/echo/{name}\",method=\"PUT\",status=\"2xx\"} ";
    const double before = metric_read(series);
    const double seconds =
        metric_read("millrace_http_request_seconds_count{route=\"/echo/{name}\"} ");
    const int fd = client_open();
    for (int i = 0; i < 3; i++) { /* the third answer proves that the first two are counted */
        client_say(fd, "PUT /echo/n HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
        assert_int_equal(200, answer_read(fd).status);
    }
    close(fd);
    assert_true(metric_read(series) >= before + 2);
    assert_true(metric_read("millrace_http_request_seconds_count{route=\"/echo/{name}\"} ") >=
                seconds + 2);
}

static void test_http__stream_at_stop__is_closed(void **state)
{
    start(state);
    const int fd = client_open();
    client_say(fd, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, answer_read(fd).status);
    server_stop();
    char got[5];
    assert_int_equal(5, recv(fd, got, sizeof got, MSG_WAITALL));
    assert_closed(fd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http__keep_alive__answers_one_after_the_other),
        cmocka_unit_test(test_http__answers_in_a_row__have_heads_of_their_own),
        cmocka_unit_test(test_http__pipelined_requests__are_answered_in_order),
        cmocka_unit_test(test_http__body_in_pieces_and_chunks__arrives_whole),
        cmocka_unit_test(test_http__thousand_deferred_at_once__all_are_answered),
        cmocka_unit_test(test_http__thousand_idle_connections__leave_room_for_others),
        cmocka_unit_test(test_http__client_gone_while_deferred__hurts_nobody),
        cmocka_unit_test(test_http__large_answer__comes_whole_to_a_slow_reader),
        cmocka_unit_test(test_http__head_and_options__are_answered_by_the_core),
        cmocka_unit_test(test_http__cors__only_for_the_origins_named),
        cmocka_unit_test(test_http__request_id__is_taken_or_made),
        cmocka_unit_test(test_http__accessors__tell_what_was_sent),
        cmocka_unit_test(test_http__file__etag_and_gzip),
        cmocka_unit_test(test_http__expect_continue__is_told_to_go_on),
        cmocka_unit_test(test_http__http_10__is_answered_and_closed),
        cmocka_unit_test(test_http__handler_that_does_nothing__is_a_500),
        cmocka_unit_test(test_http__stream__outlives_its_request),
        cmocka_unit_test(test_http__requests__are_counted),
    };
    const struct CMUnitTest stops[] = {cmocka_unit_test(test_http__stream_at_stop__is_closed)};
    const int failed = cmocka_run_group_tests(tests, start, stop);
    return failed + cmocka_run_group_tests(stops, NULL, NULL);
}
