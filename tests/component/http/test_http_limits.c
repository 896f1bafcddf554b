/* What is refused, what runs out of time, and how a server ends. */
#include "fixture.h"

#define NEXT "GET /hello HTTP/1.1\r\n" H "\r\n" /* must never be answered after a refusal */

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

static int start_default(void **state)
{
    (void)state;
    const struct http_config config = config_default();
    server_start(&config);
    return 0;
}

/* --- refusals ------------------------------------------------------------------------------------
 */

#define CHUNKED "POST /echo/n HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define POST    "POST /echo/n HTTP/1.1\r\n" H
#define BODY    "\r\n\r\nhello"

static const struct smuggle {
    const char *label;
    struct strview bytes;
} corpus[] = {
    {"CL and TE", SV(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"TE and CL", SV(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")},
    {"CL 5 and 3", SV(POST "Content-Length: 5\r\nContent-Length: 3" BODY)},
    {"CL 5 twice", SV(POST "Content-Length: 5\r\nContent-Length: 5" BODY)},
    {"CL list", SV(POST "Content-Length: 5, 5" BODY)},
    {"CL +5", SV(POST "Content-Length: +5" BODY)},
    {"CL -1", SV(POST "Content-Length: -1" BODY)},
    {"CL 0x5", SV(POST "Content-Length: 0x5" BODY)},
    {"CL 23 digits", SV(POST "Content-Length: 99999999999999999999999" BODY)},
    {"TE xchunked", SV(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")},
    {"TE chunked, identity", SV(POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")},
    {"TE gzip, chunked", SV(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")},
    {"two TE",
     SV(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"TE with a space before the colon",
     SV(POST "Transfer-Encoding : chunked\r\nContent-Length: 5" BODY)},
    {"TE in HTTP/1.0",
     SV("POST /echo/n HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"NUL in a value", SV(POST "X: a\0b\r\nContent-Length: 5" BODY)},
    {"line feeds only", SV("GET /hello HTTP/1.1\nHost: test\n\n")},
    {"a line feed after one field", SV("GET /hello HTTP/1.1\r\n"
                                       "Host: test\nX: y\r\n\r\n")},
    {"TE on a folded line", SV(POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n")},
    {"CL on two lines", SV(POST "Content-Length: 1\r\n 0\r\n\r\n0123456789")},
    {"folded CL beside TE",
     SV(POST "Transfer-Encoding: chunked\r\nContent-Length:\r\n 5\r\n\r\n0\r\n\r\n")},
    {"bare CR in a value", SV(POST "X: a\rb\r\nContent-Length: 5" BODY)},
    {"chunk size 0x5", SV(CHUNKED "0x5\r\nhello\r\n0\r\n\r\n")},
    {"chunk size +5", SV(CHUNKED "+5\r\nhello\r\n0\r\n\r\n")},
    {"chunk size past 64 bits", SV(CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n")},
    {"chunk data without CRLF", SV(CHUNKED "5\r\nhelloX\r\n0\r\n\r\n")},
    {"no Host", SV("GET /hello HTTP/1.1\r\n\r\n")},
    {"two Hosts", SV("GET /hello HTTP/1.1\r\n" H H "\r\n")},
    {"bad Host", SV("GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n")},
    {"HTTP/0.9", SV("GET /hello\r\n\r\n")},
    {"HTTP/1.1x", SV("GET /hello HTTP/1.1x\r\n" H "\r\n")},
    {"HTTP/2.0", SV("GET /hello HTTP/2.0\r\n" H "\r\n")},
    {"space in the target", SV("GET /hel lo HTTP/1.1\r\n" H "\r\n")},
    {"header without a colon", SV(POST "nonsense\r\nContent-Length: 5" BODY)},
    {"empty header name", SV(POST ": x\r\nContent-Length: 5" BODY)},
    {"empty header name hides a request", SV("POST /echo/n HTTP/1.1\r\n" H ":\r\n" NEXT)},
    {"encoded NUL in the path", SV("GET /hello%00 HTTP/1.1\r\n" H "\r\n")},
    {"encoded NUL in the query", SV("GET /hello?a=%00 HTTP/1.1\r\n" H "\r\n")},
    {"absolute form, other Host", SV("GET http://other/hello HTTP/1.1\r\n" H "\r\n")},
    {"no path", SV("GET hello HTTP/1.1\r\n" H "\r\n")},
};

static void test_http__ambiguous_requests__are_refused_and_the_connection_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        const int fd = client_open();
        client_send(fd, corpus[i].bytes.ptr, corpus[i].bytes.len);
        client_say(fd, NEXT);
        const struct answer answer = answer_read(fd);
        const int status = answer.status;
        if (status && status != 400 && status != 413 && status != 431 && status != 505) {
            fail_msg("%s: %d", corpus[i].label, status);
        }
        const struct answer after = answer_read(fd);
        if (after.status) {
            fail_msg("%s: the request behind it was answered with %d", corpus[i].label,
                     after.status);
        }
        close(fd);
    }
}

static void test_http__heads_too_large__are_refused(void **state)
{
    (void)state;
    static char head[1 << 20];
    const size_t prefix = (size_t)snprintf(head, sizeof head, "GET /hello HTTP/1.1\r\n" H "X: ");
    memset(head + prefix, 'x', sizeof head - prefix);
    int fd = client_open();
    client_send(fd, head, 40000);
    assert_int_equal(431, answer_read(fd).status);
    close(fd);

    memcpy(head, "GET /", 5);
    memset(head + 5, 'x', sizeof head - 5);
    fd = client_open();
    client_send(fd, head, sizeof head);
    const int status = answer_read(fd).status;
    assert_true(status == 414 || status == 431 || status == 0);
    close(fd);

    fd = client_open(); /* a head that is short enough, with a path that is not */
    client_send(fd, head, 3000);
    client_say(fd, " HTTP/1.1\r\n" H "\r\n" NEXT);
    assert_int_equal(431, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
}

static void test_http__unknown_path_and_method__keep_the_connection(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "POST /nope HTTP/1.1\r\n" H "Content-Length: 5" BODY);
    struct answer answer = answer_read(fd);
    assert_int_equal(404, answer.status);
    assert_string_equal("application/problem+json", answer_field(&answer, "Content-Type"));
    assert_non_null(strstr(answer.body, "\"code\":\"not-found\""));
    assert_non_null(strstr(answer.body, "\"instance\":\"/nope\""));
    assert_non_null(strstr(answer.body, answer_field(&answer, "X-Request-Id")));
    client_say(fd, "DELETE /echo/n HTTP/1.1\r\n" H "\r\n");
    answer = answer_read(fd);
    assert_int_equal(405, answer.status);
    assert_string_equal("POST, PUT, OPTIONS", answer_field(&answer, "Allow"));
    client_say(fd, "BREW /echo/n HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(405, answer_read(fd).status);
    client_say(fd, "GET /echo/../hello HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(404, answer_read(fd).status);
    client_say(fd, "GET //hello HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(404, answer_read(fd).status);
    client_say(fd, NEXT);
    assert_int_equal(200, answer_read(fd).status);
    close(fd);
}

static void test_http__body_too_large__is_told_although_the_client_goes_on_sending(void **state)
{
    (void)state;
    static char body[2 << 20];
    memset(body, '1', sizeof body);
    int fd = client_open();
    client_say(fd, POST "Content-Length: 2097152\r\n\r\n");
    client_send(fd, body, sizeof body);
    struct answer answer = answer_read(fd);
    assert_int_equal(413, answer.status);
    assert_non_null(strstr(answer.body, "body-too-large"));
    assert_closed(fd);
    close(fd);

    fd = client_open();
    client_say(fd, CHUNKED "200000\r\n");
    client_send(fd, body, sizeof body);
    client_say(fd, "\r\n0\r\n\r\n" NEXT);
    answer = answer_read(fd);
    assert_int_equal(413, answer.status);
    assert_closed(fd);
    close(fd);
}

static int start_small(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.inflight_bytes_max = 100000;
    config.connections_max = 8;
    server_start(&config);
    return 0;
}

static void test_http__too_many_bytes_in_flight__503_until_there_is_room(void **state)
{
    (void)state;
    static char body[90000];
    memset(body, '1', sizeof body);
    const int holder = client_open();
    client_say(holder, "POST /hold HTTP/1.1\r\n" H "Content-Length: 90000\r\n\r\n");
    client_send(holder, body, sizeof body);
    await_count(&fixture.deferred, 1);

    int fd = client_open();
    client_say(fd, POST "Content-Length: 20000\r\n\r\n");
    client_send(fd, body, 20000);
    struct answer answer = answer_read(fd); /* small enough to be read and dropped */
    assert_int_equal(503, answer.status);
    assert_string_equal("1", answer_field(&answer, "Retry-After"));
    assert_non_null(strstr(answer.body, "\"retryable\":true"));
    client_say(fd, CHUNKED "4e20\r\n");
    client_send(fd, body, 20000);
    assert_int_equal(503, answer_read(fd).status);
    assert_closed(fd);
    close(fd);

    bell_ring(fixture.benches[0]->bell);
    assert_int_equal(201, answer_read(holder).status);
    client_say(holder, NEXT); /* its answer proves that the first request is over */
    assert_int_equal(200, answer_read(holder).status);
    close(holder);
    fd = client_open();
    client_say(fd, POST "Content-Length: 90000\r\n\r\n");
    client_send(fd, body, sizeof body);
    assert_int_equal(200, answer_read(fd).status);
    close(fd);
}

static void test_http__too_many_connections__are_closed(void **state)
{
    (void)state;
    int fds[8];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = client_open();
        client_say(fds[i], NEXT);
        assert_int_equal(200, answer_read(fds[i]).status);
    }
    const double before = metric_read("millrace_http_refused_total{reason=\"connections\"} ");
    const int fd = client_open();
    assert_closed(fd);
    close(fd);
    assert_true(metric_read("millrace_http_refused_total{reason=\"connections\"} ") > before);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
}

/* --- time
 * ------------------------------------------------------------------------------------------ */

/* One limit at a time: what else a test does has all the time it needs. */
static int start_short(int64_t *limit_ms, const struct http_config *config)
{
    *limit_ms = SHORT_MS;
    server_start(config);
    return 0;
}

static int start_short_head(void **state)
{
    (void)state;
    struct http_config config = config_default();
    return start_short(&config.header_timeout_ms, &config);
}

static int start_short_body(void **state)
{
    (void)state;
    struct http_config config = config_default();
    return start_short(&config.body_timeout_ms, &config);
}

static int start_short_idle(void **state)
{
    (void)state;
    struct http_config config = config_default();
    return start_short(&config.idle_timeout_ms, &config);
}

static int start_short_deadline(void **state)
{
    (void)state;
    struct http_config config = config_default();
    return start_short(&config.request_timeout_ms, &config);
}

static void test_http__slow_head__is_cut(void **state)
{
    (void)state;
    const int silent = client_open();
    const int drip = client_open();
    client_say(drip, "GET /hello HTTP/1.1\r\nHo");
    assert_closed(silent);
    assert_closed(drip);
    close(silent);
    close(drip);
}

/* A byte now and then keeps an inactivity limit from ever being reached; the limit is absolute. */
static void test_http__slow_loris__is_cut_although_bytes_keep_coming(void **state)
{
    (void)state;
    const int fd = client_open();
    const struct timeval step = {.tv_usec = 10000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &step, sizeof step);
    client_say(fd, "GET /hello HTTP/1.1\r\n" H "X: ");
    char byte;
    ssize_t count = -1;
    errno = EAGAIN;
    for (int i = 0; i < 1000 && count < 0 && errno == EAGAIN; i++) {
        client_say(fd, "x");
        count = recv(fd, &byte, 1, 0);
    }
    assert_false(count < 0 && errno == EAGAIN);
    close(fd);
}

static void test_http__slow_body__is_answered_with_408(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, POST "Content-Length: 10\r\n\r\nabc");
    const struct answer answer = answer_read(fd);
    assert_int_equal(408, answer.status);
    assert_string_equal("close", answer_field(&answer, "Connection"));
    assert_closed(fd);
    close(fd);
}

static void test_http__idle_connection__is_closed(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, NEXT);
    assert_int_equal(200, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
}

static void test_http__deadline_of_a_deferred_request__abandons_and_answers(void **state)
{
    (void)state;
    const int before = fixture.abandoned;
    const int fd = client_open();
    client_say(fd, "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    const struct answer answer = answer_read(fd);
    assert_int_equal(503, answer.status);
    assert_non_null(answer_field(&answer, "Retry-After"));
    assert_int_equal(before + 1, fixture.abandoned);
    client_say(fd, NEXT);
    assert_int_equal(200, answer_read(fd).status); /* the connection is as good as before */
    close(fd);
}

static void test_http__reader_that_takes_nothing__is_cut(void **state)
{
    (void)state;
    const double before = metric_read("millrace_http_refused_total{reason=\"slow-reader\"} ");
    const int fd = client_open();
    const int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_say(fd, "GET /big HTTP/1.1\r\n" H "\r\n");
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    while (metric_read("millrace_http_refused_total{reason=\"slow-reader\"} ") <= before) {
        assert_true(clock_mono_us() < until_us);
        sched_yield();
    }
    close(fd);
}

/* --- the end
 * ----------------------------------------------------------------------------------------- */

static void test_http__leave__serves_everything_and_closes_after_the_answer(void **state)
{
    (void)state;
    const int idle = client_open();
    client_say(idle, NEXT);
    assert_int_equal(200, answer_read(idle).status);
    const int holder = client_open();
    client_say(holder, "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    await_count(&fixture.deferred, 1);

    http_server_leave(fixture.server);
    client_say(idle, "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab");
    const struct answer last = answer_read(idle);
    assert_int_equal(200, last.status);
    assert_string_equal("close", answer_field(&last, "Connection"));
    assert_closed(idle);
    assert_int_equal(200, ask(NEXT).status); /* a new connection is taken */
    bell_ring(fixture.benches[0]->bell);
    assert_int_equal(201, answer_read(holder).status);
    assert_closed(holder);
    assert_int_equal(0, fixture.drained); /* streams have not been told */
    close(idle);
    close(holder);
}

static void test_http__drain__refuses_new_work_and_waits_for_the_old(void **state)
{
    (void)state;
    const int idle = client_open();
    client_say(idle, NEXT);
    assert_int_equal(200, answer_read(idle).status);
    const int holder = client_open();
    client_say(holder, "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    await_count(&fixture.deferred, 1);

    assert_false(http_server_drain(fixture.server, 20)); /* holder is still there */
    await_count(&fixture.drained, 1);
    assert_closed(idle);
    const int fd = client_open();
    client_say(fd, "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab");
    const struct answer refused = answer_read(fd);
    assert_int_equal(503, refused.status);
    assert_non_null(strstr(refused.body, "draining"));
    assert_closed(fd);
    const struct answer health = ask(NEXT); /* GET is served: health and metrics are */
    assert_int_equal(200, health.status);
    assert_string_equal("close", answer_field(&health, "Connection"));

    bell_ring(fixture.benches[0]->bell);
    assert_int_equal(201, answer_read(holder).status);
    assert_closed(holder);
    assert_true(http_server_drain(fixture.server, CLIENT_WAIT_S * 1000));
    assert_int_equal(1, fixture.drained);
    close(idle);
    close(holder);
    close(fd);
}

static void test_http__stop__answers_what_is_left(void **state)
{
    (void)state;
    enum { CLIENTS = 100 };
    const struct http_config config = config_default();
    server_start(&config);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_open();
        client_say(fds[i], "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    }
    const int stream = client_open();
    client_say(stream, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, answer_read(stream).status);
    await_count(&fixture.deferred, CLIENTS);
    server_stop();
    assert_int_equal(CLIENTS, fixture.abandoned);
    assert_int_equal(1, fixture.drained);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(503, answer_read(fds[i]).status);
        assert_closed(fds[i]);
        close(fds[i]);
    }
    char head[8];
    assert_int_equal(5, recv(stream, head, 5, MSG_WAITALL)); /* ":ok" and then the end */
    assert_closed(stream);
    close(stream);
}

static void test_http__two_workers_on_port_0__share_it(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.threads = 2;
    server_start(&config);
    assert_true(fixture.port != 0);
    for (int i = 0; i < 400 && fixture.seen_workers != 3; i++) {
        assert_int_equal(200, ask(NEXT).status);
    }
    assert_int_equal(3, fixture.seen_workers);
    server_stop();
}

static void test_http__port_in_use__is_an_error_that_names_it(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.threads = 2;
    server_start(&config);
    config.port = fixture.port;
    const struct http_server_params params = {.config = &config, .sets = &set, .set_count = 1};
    struct http_server *second = NULL;
    struct err_info info = {0};
    char port[8];
    snprintf(port, sizeof port, "%d", (int)fixture.port);
    assert_err(ERR_IO, http_server_start(&params, &second, &info));
    assert_non_null(strstr(info.text, port));
    config.threads = 1;
    assert_err(ERR_IO, http_server_start(&params, &second, &info));
    server_stop();
}

static enum err hook_fails(struct http_worker *worker, void *context, void **ret)
{
    (void)context, (void)ret;
    return http_worker_index(worker) ? ERR_KAFKA_UNAVAILABLE : ERR_OK;
}

static void test_http__start_hook_that_fails__fails_the_start(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.threads = 3;
    const struct http_server_params params = {
        .config = &config, .sets = &set, .set_count = 1, .hooks = {.start = hook_fails}};
    struct http_server *server = NULL;
    struct err_info info = {0};
    assert_err(ERR_KAFKA_UNAVAILABLE, http_server_start(&params, &server, &info));
    assert_null(server);
    assert_true(strlen(info.text) > 0);
}

int main(void)
{
#define WITH(start, test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        WITH(start_default, test_http__ambiguous_requests__are_refused_and_the_connection_ends),
        WITH(start_default, test_http__heads_too_large__are_refused),
        WITH(start_default, test_http__unknown_path_and_method__keep_the_connection),
        WITH(start_default, test_http__body_too_large__is_told_although_the_client_goes_on_sending),
        WITH(start_small, test_http__too_many_bytes_in_flight__503_until_there_is_room),
        WITH(start_small, test_http__too_many_connections__are_closed),
        WITH(start_short_head, test_http__slow_head__is_cut),
        WITH(start_short_head, test_http__slow_loris__is_cut_although_bytes_keep_coming),
        WITH(start_short_body, test_http__slow_body__is_answered_with_408),
        WITH(start_short_idle, test_http__idle_connection__is_closed),
        WITH(start_short_deadline, test_http__deadline_of_a_deferred_request__abandons_and_answers),
        WITH(start_short_deadline, test_http__reader_that_takes_nothing__is_cut),
        WITH(start_default, test_http__leave__serves_everything_and_closes_after_the_answer),
        WITH(start_default, test_http__drain__refuses_new_work_and_waits_for_the_old),
        cmocka_unit_test(test_http__stop__answers_what_is_left),
        cmocka_unit_test(test_http__two_workers_on_port_0__share_it),
        cmocka_unit_test(test_http__port_in_use__is_an_error_that_names_it),
        cmocka_unit_test(test_http__start_hook_that_fails__fails_the_start),
    };
#undef WITH
    return cmocka_run_group_tests(tests, NULL, NULL);
}
