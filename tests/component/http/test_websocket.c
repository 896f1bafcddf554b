/* A WebSocket on the server's loop: the handshake, a conversation, every end. The other side is raw bytes;
 * the Autobahn testsuite asks for more (tests/autobahn). */
#include <poll.h>

#include "fixture.h"
#include "websocket_echo.h"
#include "websocket_frames.h"

#define TEXT  (FRAME_FINAL | WEBSOCKET_TEXT)
#define CLOSE (FRAME_FINAL | WEBSOCKET_CLOSE)
#define PING  (FRAME_FINAL | WEBSOCKET_PING)
#define PONG  (FRAME_FINAL | WEBSOCKET_PONG)

#define TICK_MS 20
#define UPGRADE                                                                                    \
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define REQUEST "GET /echo HTTP/1.1\r\n" H UPGRADE KEY

/* --- server ----------------------------------------------------------------------------------- */

static struct echo echo;

static void handle_socket(struct http_request *request)
{
    echo_handle(request, &echo);
}

static const struct http_route echo_routes[] = {{HTTP_GET, "/echo", handle_socket}};

static enum err echo_bench_start(struct http_worker *worker, void *context, void **ret)
{
    http_worker_every(worker, TICK_MS, echo_tick, &echo);
    return bench_start(worker, context, ret);
}

static void on_drain(void *state)
{
    bench_drain(state);
    echo_drain(&echo);
}

static void on_stop(void *state)
{
    echo_stop(&echo);
    bench_stop(state);
}

static int start(void **state)
{
    (void)state;
    echo = (struct echo){.config = {.message_bytes_max = 1 << 20,
                                    .ping_ms = 3600000,
                                    .pong_timeout_ms = 10000,
                                    .stall_timeout_ms = 30000,
                                    .origins = "https://good.example, http://other.example",
                                    .protocol = "echo.v1"},
                         .codec = websocket_codec_new()};
    fixture = (struct fixture){.config = config_default()};
    const struct http_route_set sets[] = {{echo_routes, ARRAY_LEN(echo_routes), NULL}};
    const struct http_server_params params = {
        .config = &fixture.config,
        .sets = sets,
        .set_count = 1,
        .hooks = {.start = echo_bench_start, .drain = on_drain, .stop = on_stop}};
    struct err_info info = {0};
    assert_err(ERR_OK, http_server_start(&params, &fixture.server, &info));
    fixture.port = http_server_port(fixture.server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

/* --- client ----------------------------------------------------------------------------------- */

static struct buf said; /* frames to send */
static struct buf got;  /* what has come and is not taken */

static int open_with(const char *fields, struct answer *ret)
{
    int fd = client_open();
    buf_free(&said);
    buf_free(&got);
    buf_init(&said, 64 << 20);
    buf_init(&got, 64 << 20);
    client_say(fd, REQUEST);
    client_say(fd, fields);
    client_say(fd, "\r\n");
    *ret = answer_read(fd);
    return fd;
}

static int open_socket(void)
{
    struct answer answer;
    int fd = open_with("", &answer);
    assert_int_equal(101, answer.status);
    return fd;
}

static void say_frames(int fd)
{
    client_send(fd, said.data, said.len);
    buf_reset(&said);
}

static void say(int fd, uint8_t first, const char *payload)
{
    frame_append(&said, first, sv(payload));
    say_frames(fd);
}

/* The next frame, whose payload is good until the one after it; false: the connection has ended. */
static bool frame_read(int fd, struct server_frame *ret)
{
    static size_t taken;
    if (taken && taken <= got.len) {
        memmove(got.data, got.data + taken, got.len - taken);
        got.len -= taken;
    }
    taken = 0;
    for (;;) {
        struct strview rest = buf_view(&got);
        if (server_frame_take(&rest, ret)) {
            taken = got.len - rest.len;
            return true;
        }
        char bytes[65536];
        ssize_t count = recv(fd, bytes, sizeof bytes, 0);
        if (count <= 0) {
            assert_true(count == 0 || errno != EAGAIN);
            return false;
        }
        assert_err(ERR_OK, buf_append(&got, bytes, (size_t)count));
    }
}

static void expect(int fd, uint8_t first, const char *payload)
{
    struct server_frame frame = {0};
    assert_true(frame_read(fd, &frame));
    assert_int_equal(first, frame.first);
    assert_sv(payload, frame.payload);
}

static void expect_close(int fd, uint16_t code)
{
    struct server_frame frame = {0};
    assert_true(frame_read(fd, &frame));
    assert_int_equal(CLOSE, frame.first);
    assert_int_equal(code, server_frame_code(&frame));
}

static void expect_end(int fd)
{
    struct server_frame frame;
    assert_false(frame_read(fd, &frame));
    close(fd);
}

/* --- the handshake ---------------------------------------------------------------------------- */

static void test_handshake__example_of_the_rfc(void **state)
{
    (void)state;
    struct answer answer;
    int fd = open_with("", &answer);
    assert_int_equal(101, answer.status);
    assert_string_equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
                        answer_field(&answer, "Sec-WebSocket-Accept"));
    assert_string_equal("websocket", answer_field(&answer, "Upgrade"));
    assert_string_equal("Upgrade", answer_field(&answer, "Connection"));
    assert_null(answer_field(&answer, "Sec-WebSocket-Protocol"));
    assert_null(answer_field(&answer, "Sec-WebSocket-Extensions"));
    assert_null(answer_field(&answer, "Content-Length"));
    close(fd);
}

static void test_handshake__protocol_and_extension__are_agreed_on(void **state)
{
    (void)state;
    struct answer answer;
    int fd = open_with("Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: echo.v1, x\r\n"
                       "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
                       &answer);
    assert_int_equal(101, answer.status);
    assert_string_equal("echo.v1", answer_field(&answer, "Sec-WebSocket-Protocol"));
    assert_string_equal("permessage-deflate; server_no_context_takeover; "
                        "client_no_context_takeover",
                        answer_field(&answer, "Sec-WebSocket-Extensions"));
    close(fd);
}

static void test_handshake__requests_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *label, *request;
        int status;
        const char *field, *value;
    } rows[] = {
        {"no upgrade", "GET /echo HTTP/1.1\r\n" H "\r\n", 426, "Upgrade", "websocket"},
        {"HEAD", "HEAD /echo HTTP/1.1\r\n" H UPGRADE KEY "\r\n", 426, "Upgrade", "websocket"},
        {"another upgrade",
         "GET /echo HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY "\r\n", 426,
         "Upgrade", "websocket"},
        {"no Connection", "GET /echo HTTP/1.1\r\n" H "Upgrade: websocket\r\n" KEY "\r\n", 426,
         "Upgrade", "websocket"},
        {"another version",
         "GET /echo HTTP/1.1\r\n" H "Upgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 8\r\n" KEY "\r\n",
         426, "Sec-WebSocket-Version", "13"},
        {"no key", "GET /echo HTTP/1.1\r\n" H UPGRADE "\r\n", 400, NULL, NULL},
        {"a short key",
         "GET /echo HTTP/1.1\r\n" H UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n", 400,
         NULL, NULL},
        {"another protocol",
         "GET /echo HTTP/1.1\r\n" H UPGRADE KEY "Sec-WebSocket-Protocol: chat\r\n\r\n", 400, NULL,
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct answer answer = ask(rows[i].request);
        const char *value = rows[i].field ? answer_field(&answer, rows[i].field) : NULL;
        if (answer.status != rows[i].status ||
            (rows[i].field && (!value || strcmp(value, rows[i].value) != 0))) {
            fail_msg("%s: %d, %s", rows[i].label, answer.status, value ? value : "-");
        }
    }
}

static void test_handshake__origins__own_host_and_those_of_the_list(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        int status;
    } rows[] = {
        {"http://test", 101},          {"https://TEST", 101},        {"https://good.example", 101},
        {"http://other.example", 101}, {"http://good.example", 403}, {"http://test:8080", 403},
        {"http://test.evil", 403},     {"http://evil/test", 403},    {"null", 403}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char fields[128];
        struct answer answer;
        (void)snprintf(fields, sizeof fields, "Origin: %s\r\n", rows[i].origin);
        int fd = open_with(fields, &answer);
        if (answer.status != rows[i].status) {
            fail_msg("%s: %d", rows[i].origin, answer.status);
        }
        close(fd);
    }
}

/* --- a conversation --------------------------------------------------------------------------- */

static void test_messages__of_any_length__come_back(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536, 1 << 20};
    int fd = open_socket();
    char *text = must_alloc(1 << 20);
    memset(text, 'x', 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct server_frame frame = {0};
        frame_append(&said, TEXT, sv_of(text, lengths[i]));
        say_frames(fd);
        assert_true(frame_read(fd, &frame));
        assert_int_equal(TEXT, frame.first);
        assert_true(sv_equal(sv_of(text, lengths[i]), frame.payload));
    }
    free(text);
    close(fd);
}

static void test_messages__in_single_bytes__with_pings_between(void **state)
{
    (void)state;
    int fd = open_socket();
    frame_append(&said, WEBSOCKET_TEXT, SV("on"));
    frame_append(&said, PING, SV("there?"));
    frame_append(&said, FRAME_FINAL | WEBSOCKET_CONTINUATION, SV("e"));
    for (size_t i = 0; i < said.len; i++) {
        client_send(fd, said.data + i, 1);
    }
    expect(fd, PONG, "there?");
    expect(fd, TEXT, "one");
    close(fd);
}

static void test_messages__compressed__come_back_compressed(void **state)
{
    (void)state;
    struct websocket_codec *codec = websocket_codec_new();
    struct answer answer;
    struct buf packed;
    struct strview text = SV("again and again and again and again and again");
    int fd = open_with("Sec-WebSocket-Extensions: permessage-deflate\r\n", &answer);
    buf_init(&packed, 1 << 16);
    assert_err(ERR_OK, websocket_deflate(codec, WEBSOCKET_WINDOW_MAX, text, &packed));
    for (int i = 0; i < 3; i++) {
        struct server_frame frame = {0};
        struct strview back;
        frame_append(&said, FRAME_RSV1 | TEXT, buf_view(&packed));
        say_frames(fd);
        assert_true(frame_read(fd, &frame));
        assert_int_equal(FRAME_RSV1 | TEXT, frame.first);
        assert_true(frame.payload.len < text.len);
        struct buf message;
        buf_init(&message, 1 << 16);
        assert_err(ERR_OK, buf_append_view(&message, frame.payload));
        assert_err(ERR_OK, websocket_inflate(codec, &message, 1 << 16, &back));
        assert_true(sv_equal(text, back));
        buf_free(&message);
    }
    buf_free(&packed);
    websocket_codec_free(codec);
    close(fd);
}

/* Who does not take answers asks no more questions, and gets every answer later. */
static void test_messages__more_than_the_client_takes__all_come_in_the_end(void **state)
{
    (void)state;
    int fd = open_socket();
    static char text[10000];
    size_t asked = 0, at = 0;
    memset(text, 'x', sizeof text);
    frame_append(&said, TEXT, sv_of(text, sizeof text));
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    while (asked < 20000 && poll(&room, 1, 300) == 1) { /* until it is read no more */
        ssize_t sent = send(fd, said.data + at, said.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        asked += at == said.len;
        at = at == said.len ? 0 : at;
    }
    assert_true(asked > 10 && asked < 20000);
    for (size_t i = 0; i < asked; i++) {
        struct server_frame frame = {0};
        assert_true(frame_read(fd, &frame));
        assert_int_equal(sizeof text, frame.payload.len);
    }
    close(fd);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void test_close__by_the_client__is_answered_with_its_code(void **state)
{
    (void)state;
    int fd = open_socket();
    say(fd, CLOSE,
        "\x0F\xA1"
        "bye");
    expect_close(fd, 4001);
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_GONE], 1);
    assert_int_equal(4001, echo.last_code);
    fd = open_socket();
    say(fd, CLOSE, "");
    expect_close(fd, WEBSOCKET_NO_CODE);
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_GONE], 2);
}

static void test_close__by_the_server__waits_for_the_clients(void **state)
{
    (void)state;
    int fd = open_socket();
    say(fd, TEXT, "close me");
    say(fd, TEXT, "not answered");
    expect_close(fd, WEBSOCKET_TRY_LATER);
    assert_int_equal(0, echo.ended);
    say(fd, CLOSE, "\x03\xF5");
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_CLOSED], 1);
    assert_int_equal(WEBSOCKET_TRY_LATER, echo.last_code);
}

static void test_close__that_is_not_answered__ends_after_a_while(void **state)
{
    (void)state;
    int fd = open_socket();
    say(fd, TEXT, "close me");
    expect_close(fd, WEBSOCKET_TRY_LATER);
    echo.ahead_ms = 2500;
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_CLOSED], 1);
}

static void test_failure__is_told_however_much_follows(void **state)
{
    (void)state;
    static char much[200000];
    int fd = open_socket();
    frame_append(&said, TEXT, SV("good"));
    frame_append(&said, FRAME_FINAL | 3, SV("bad"));
    frame_append(&said, TEXT, sv_of(much, sizeof much));
    say_frames(fd);
    expect(fd, TEXT, "good");
    expect_close(fd, WEBSOCKET_PROTOCOL_ERROR);
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_FAILED], 1);
}

static void test_failure__message_past_the_bound(void **state)
{
    (void)state;
    int fd = open_socket();
    client_send(fd, "\x82\xFF\x00\x00\x00\x00\x00\x10\x00\x01zzzz", 14);
    expect_close(fd, WEBSOCKET_TOO_BIG);
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_FAILED], 1);
}

static void test_peer_that_vanishes__is_noticed(void **state)
{
    (void)state;
    int fd = open_socket();
    close(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_GONE], 1);
    fd = open_socket();
    const struct linger reset = {.l_onoff = 1};
    assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    close(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_GONE], 2);
}

static int start_pinging(void **state)
{
    start(state);
    echo.config.ping_ms = 50;
    return 0;
}

static void test_silent_peer__is_pinged__and_cut_without_a_pong(void **state)
{
    (void)state;
    int fd = open_socket();
    for (int i = 0; i < 3; i++) {
        expect(fd, PING, "");
        say(fd, PONG, "");
    }
    expect(fd, PING, "");
    assert_int_equal(0, echo.ended);
    echo.ahead_ms = 11000;
    expect_end(fd);
    await_count(&echo.ends[HTTP_WEBSOCKET_SILENT], 1);
}

static void test_peer_that_takes_nothing__is_cut(void **state)
{
    (void)state;
    int fd = open_socket(), small = 4096;
    static char text[1 << 20];
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    frame_append(&said, FRAME_FINAL | WEBSOCKET_BINARY, sv_of(text, sizeof text));
    echo.ahead_ms = 31000;
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    for (size_t at = 0; echo.ends[HTTP_WEBSOCKET_STALLED] == 0;) { /* more than any buffers hold */
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        (void)poll(&room, 1, 10);
        ssize_t sent = send(fd, said.data + at, said.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        at = sent > 0 ? (at + (size_t)sent) % said.len : at;
        assert_true(clock_mono_us() < until_us);
    }
    close(fd);
}

static void test_drain__closes_all__and_waits_for_them(void **state)
{
    (void)state;
    int first = open_socket(), second = open_socket();
    await_count(&echo.open, 2);
    say(second, CLOSE, "\x03\xE8");
    expect_close(second, WEBSOCKET_NORMAL);
    expect_end(second);
    assert_false(http_server_drain(fixture.server, 200));
    expect_close(first, WEBSOCKET_GOING_AWAY);
    say(first, CLOSE, "\x03\xE9");
    expect_end(first);
    assert_true(http_server_drain(fixture.server, 20000));
    assert_int_equal(2, echo.ended);
}

static void test_metrics__say_101(void **state)
{
    (void)state;
    int fd = open_socket();
    say(fd, CLOSE, "");
    expect_close(fd, WEBSOCKET_NO_CODE);
    expect_end(fd);
    assert_true(metric_read("millrace_http_requests_total{route=\"/echo\",method=\"GET\","
                            "status=\"1xx\"} ") > 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        CASE(test_handshake__example_of_the_rfc),
        CASE(test_handshake__protocol_and_extension__are_agreed_on),
        CASE(test_handshake__requests_that_are_none),
        CASE(test_handshake__origins__own_host_and_those_of_the_list),
        CASE(test_messages__of_any_length__come_back),
        CASE(test_messages__in_single_bytes__with_pings_between),
        CASE(test_messages__compressed__come_back_compressed),
        CASE(test_messages__more_than_the_client_takes__all_come_in_the_end),
        CASE(test_close__by_the_client__is_answered_with_its_code),
        CASE(test_close__by_the_server__waits_for_the_clients),
        CASE(test_close__that_is_not_answered__ends_after_a_while),
        CASE(test_failure__is_told_however_much_follows),
        CASE(test_failure__message_past_the_bound),
        CASE(test_peer_that_vanishes__is_noticed),
        cmocka_unit_test_setup_teardown(test_silent_peer__is_pinged__and_cut_without_a_pong,
                                        start_pinging, stop),
        CASE(test_peer_that_takes_nothing__is_cut),
        CASE(test_drain__closes_all__and_waits_for_them),
        CASE(test_metrics__say_101),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
