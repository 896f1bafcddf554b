/* Bodies: their content codings, and taken in pieces as they arrive. */
#include <zlib.h>
#include <zstd.h>

#include "http/http_internal.h" /* what is in flight */
#include "pieces.h"

/* Refuses some before the body, leaves the rest to be collected. */
static void open_guarded(struct http_request *request)
{
    if (http_request_query(request, "no")) {
        http_reply_err(request, ERR_TOPIC_FORBIDDEN, NULL);
    }
}

static const struct http_route piece_routes[] = {
    {HTTP_POST, "/pieces", handle_never, open_pieces},
    {HTTP_POST, "/guarded", handle_hello, open_guarded},
};

static int start_with(const struct http_config *config)
{
    memset(&seen_pieces, 0, sizeof seen_pieces);
    more_routes = (struct http_route_set){piece_routes, ARRAY_LEN(piece_routes), NULL};
    bench_start_hook = pieces_bench_start;
    server_start(config);
    return 0;
}

static int start(void **state)
{
    (void)state;
    const struct http_config config = config_default();
    return start_with(&config);
}

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

/* --- coded bodies ------------------------------------------------------------------------------- */

#define TEXT_BYTES  200000
#define CODED_BYTES (TEXT_BYTES * 2)

static char text[TEXT_BYTES + 1], coded[CODED_BYTES];

static void text_fill(size_t bytes)
{
    uint32_t x = 7;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (char)('a' + (x >> 28));
    }
}

static size_t zlib_encode(const void *bytes, size_t len, int window_bits)
{
    z_stream stream = {0};
    CHECK(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)len;
    stream.next_out = (Bytef *)coded;
    stream.avail_out = CODED_BYTES;
    CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    (void)deflateEnd(&stream);
    return CODED_BYTES - stream.avail_out;
}

static size_t encode(const char *coding, const void *bytes, size_t len)
{
    if (strcmp(coding, "zstd") == 0) {
        return ZSTD_compress(coded, CODED_BYTES, bytes, len, 19);
    }
    return zlib_encode(bytes, len, strcmp(coding, "gzip") == 0 ? 31 : 15);
}

/* Sends `len` bytes as a body in `step`s, chunked or of known length. */
static void post(int fd, const char *target, const char *fields, const char *bytes, size_t len,
                 size_t step)
{
    char head[512];
    if (!step) {
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" H "%sContent-Length: %zu\r\n\r\n",
                 target, fields, len);
        client_say(fd, head);
        client_send(fd, bytes, len);
        return;
    }
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" H "%sTransfer-Encoding: chunked\r\n\r\n",
             target, fields);
    client_say(fd, head);
    for (size_t at = 0; at < len; at += step) {
        const size_t chunk = len - at < step ? len - at : step;
        snprintf(head, sizeof head, "%zx\r\n", chunk);
        client_say(fd, head);
        client_send(fd, bytes + at, chunk);
        client_say(fd, "\r\n");
    }
    client_say(fd, "0\r\n\r\n");
}

/* A refused request ends just after its answer has gone. */
static void await_nothing_in_flight(void)
{
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    while (fixture.server->inflight_bytes != 0) {
        assert_true(clock_mono_us() < until_us);
        sched_yield();
    }
}

static const char *const codings[] = {"gzip", "deflate", "zstd"};

static void test_http__coded_body__reaches_the_handler_decoded(void **state)
{
    (void)state;
    static const size_t steps[] = {0, 3, 1000};
    const int fd = client_open();
    for (size_t i = 0; i < ARRAY_LEN(codings) * ARRAY_LEN(steps); i++) {
        const char *coding = codings[i % ARRAY_LEN(codings)];
        const size_t step = steps[i / ARRAY_LEN(codings)];
        const size_t len = step == 3 ? 2000 : TEXT_BYTES;
        char field[64];
        text_fill(len);
        snprintf(field, sizeof field, "Content-Encoding: %s\r\n", coding);
        post(fd, "/echo/n", field, coded, encode(coding, text, len), step);
        const struct answer answer = answer_read(fd);
        assert_int_equal(200, answer.status);
        assert_int_equal(len, answer.body_bytes);
        assert_memory_equal(text, answer.body, len < 8192 ? len : 8192);
    }
    close(fd);
}

static void test_http__unknown_coding__415_says_what_is_known(void **state)
{
    (void)state;
    static const char *const fields[] = {"Content-Encoding: br\r\n",
                                         "Content-Encoding: gzip, gzip\r\n",
                                         "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"};
    const int fd = client_open(); /* small: the connection stays */
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        post(fd, "/echo/n", fields[i], "abc", 3, 0);
        const struct answer answer = answer_read(fd);
        assert_int_equal(415, answer.status);
        assert_string_equal("gzip, deflate, zstd, identity",
                            answer_field(&answer, "Accept-Encoding"));
        assert_non_null(strstr(answer.body, "\"code\":\"content-coding\""));
    }
    post(fd, "/echo/n", fields[0], "abc", 3, 3); /* of unknown length: it does not */
    const struct answer answer = answer_read(fd);
    assert_int_equal(415, answer.status);
    assert_non_null(answer_field(&answer, "Accept-Encoding"));
    assert_closed(fd);
    close(fd);
}

static void test_http__coded_body_that_is_wrong__400(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        char field[64];
        snprintf(field, sizeof field, "Content-Encoding: %s\r\n", codings[i]);
        text_fill(1000);
        const size_t len = encode(codings[i], text, 1000);
        int fd = client_open();
        post(fd, "/echo/n", field, coded, len - 1, 0); /* its end is missing: the next can follow */
        struct answer answer = answer_read(fd);
        assert_int_equal(400, answer.status);
        assert_non_null(strstr(answer.body, "\"code\":\"body-coding\""));
        post(fd, "/echo/n", field, "not coded", 9, 0);
        answer = answer_read(fd);
        assert_int_equal(400, answer.status);
        assert_non_null(strstr(answer.body, codings[i]));
        assert_closed(fd);
        close(fd);
    }
}

/* 200 KiB that would be 200 MB: the worker inflates no more than the cap and a step. */
static void test_http__bomb__stops_at_the_cap(void **state)
{
    (void)state;
    static char zeros[64 << 20];
    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        char field[64];
        snprintf(field, sizeof field, "Content-Encoding: %s\r\n", codings[i]);
        const size_t len = encode(codings[i], zeros, sizeof zeros);
        for (size_t step = 0; step <= 50000; step += 50000) {
            const int fd = client_open();
            post(fd, "/echo/n", field, coded, len, step);
            const struct answer answer = answer_read(fd);
            assert_int_equal(413, answer.status);
            assert_closed(fd);
            close(fd);
        }
    }
    await_nothing_in_flight();
}

/* Decoded bytes and decoders are in flight as well. */
static void test_http__coded_bodies_in_flight__503_until_there_is_room(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.inflight_bytes_max = 300000;
    start_with(&config);
    text_fill(TEXT_BYTES);
    memset(text, 'a', TEXT_BYTES);
    const size_t len = encode("gzip", text, TEXT_BYTES);
    const int holder = client_open();
    post(holder, "/hold", "Content-Encoding: gzip\r\n", coded, len, 0);
    await_count(&fixture.deferred, 1);
    assert_true(fixture.server->inflight_bytes >= TEXT_BYTES);
    const int fd = client_open();
    post(fd, "/echo/n", "Content-Encoding: gzip\r\n", coded, len, 0);
    const struct answer answer = answer_read(fd);
    assert_int_equal(503, answer.status);
    assert_string_equal("1", answer_field(&answer, "Retry-After"));
    close(fd);
    server_stop();
    close(holder);
}

/* --- bodies in pieces --------------------------------------------------------------------------- */

static void assert_counts(const struct answer *answer, int status, size_t len)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, "%zu %llu", len, (unsigned long long)sum_of(0, text, len));
    assert_int_equal(status, answer->status);
    assert_string_equal(wanted, answer->body);
}

static void test_http__pieces__all_come_in_order(void **state)
{
    (void)state;
    static const char *const targets[] = {"/pieces", "/pieces?pause"};
    static const size_t steps[] = {0, 1, 900, 50000};
    const int fd = client_open();
    for (size_t i = 0; i < ARRAY_LEN(targets) * ARRAY_LEN(steps); i++) {
        const size_t step = steps[i / ARRAY_LEN(targets)];
        const size_t len = step == 1 ? 300 : TEXT_BYTES;
        text_fill(len);
        post(fd, targets[i % ARRAY_LEN(targets)], "", text, len, step);
        const struct answer answer = answer_read(fd);
        assert_counts(&answer, 200, len);
        for (size_t c = 0; c < ARRAY_LEN(codings); c++) {
            char field[64];
            snprintf(field, sizeof field, "Content-Encoding: %s\r\n", codings[c]);
            post(fd, targets[i % ARRAY_LEN(targets)], field, coded, encode(codings[c], text, len),
                 step);
            const struct answer decoded = answer_read(fd);
            assert_counts(&decoded, 200, len);
        }
    }
    assert_true(seen_pieces.pieces_bytes_max <= 16384);
    assert_int_equal(seen_pieces.opened, seen_pieces.ended);
    close(fd);
}

/* Longer than a collected body may be, highly compressed, paused at every piece. */
static void test_http__pieces__more_than_a_collected_body_may_have(void **state)
{
    (void)state;
    static char zeros[8 << 20];
    const int fd = client_open();
    post(fd, "/pieces?pause", "Content-Encoding: gzip\r\n", coded,
         encode("gzip", zeros, sizeof zeros), 0);
    const struct answer answer = answer_read(fd);
    assert_int_equal(200, answer.status);
    assert_int_equal(sizeof zeros, strtoull(answer.body, NULL, 10));
    post(fd, "/pieces", "", zeros, sizeof zeros, 0);
    assert_int_equal(200, answer_read(fd).status);
    await_nothing_in_flight();
    close(fd);
}

static void test_http__pieces_of_no_body__end_at_once(void **state)
{
    (void)state;
    const int fd = client_open();
    post(fd, "/pieces", "", "", 0, 0);
    struct answer answer = answer_read(fd);
    assert_counts(&answer, 200, 0);
    post(fd, "/pieces", "", "", 0, 1);
    answer = answer_read(fd);
    assert_counts(&answer, 200, 0);
    close(fd);
}

static void test_http__paused_reader__slows_the_client_down(void **state)
{
    (void)state;
    static char bytes[64 << 10];
    const int fd = client_open();
    const struct timeval limit = {.tv_usec = 200000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    client_say(fd, "POST /pieces?hold HTTP/1.1\r\n" H "Content-Length: 60000000\r\n\r\n");
    size_t sent = 0;
    ssize_t count = 0;
    while (sent < 60000000 && (count = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0) {
        sent += (size_t)count;
    }
    await_count(&seen_pieces.held, 1);
    assert_true(count < 0); /* the kernel's buffers are full: nobody reads */
    assert_int_equal(1, seen_pieces.pieces);
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    bell_ring(fixture.benches[0]->bell);
    while (sent < 60000000) {
        const size_t left = 60000000 - sent;
        count = send(fd, bytes, left < sizeof bytes ? left : sizeof bytes, MSG_NOSIGNAL);
        sent += count > 0 ? (size_t)count : 0;
        assert_true(clock_mono_us() < until_us);
    }
    const struct answer answer = answer_read(fd);
    assert_int_equal(200, answer.status);
    assert_int_equal(60000000, strtoull(answer.body, NULL, 10));
    close(fd);
}

static void test_http__client_gone_amid_pieces__is_told(void **state)
{
    (void)state;
    int fd = client_open();
    client_say(fd, "POST /pieces HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\nabc");
    await_count(&seen_pieces.pieces, 1);
    close(fd);
    await_count(&seen_pieces.gone, 1);
    fd = client_open(); /* while paused: noticed when it goes on */
    client_say(fd, "POST /pieces?hold HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\nabc");
    await_count(&seen_pieces.held, 1);
    close(fd);
    bell_ring(fixture.benches[0]->bell);
    await_count(&seen_pieces.gone, 2);
    assert_int_equal(0, seen_pieces.failed + seen_pieces.ended);
}

static void test_http__early_answer__comes_while_the_client_sends(void **state)
{
    (void)state;
    text_fill(TEXT_BYTES);
    for (size_t step = 0; step <= 1000; step += 1000) {
        const int fd = client_open();
        post(fd, "/pieces?early=50000", "", text, TEXT_BYTES, step);
        const struct answer answer = answer_read(fd);
        assert_int_equal(422, answer.status);
        assert_string_equal("close", answer_field(&answer, "Connection"));
        assert_true(strtoull(answer.body, NULL, 10) >= 50000);
        assert_closed(fd);
        close(fd);
    }
    assert_int_equal(0, seen_pieces.ended + seen_pieces.failed + seen_pieces.gone);
}

static void test_http__pieces_beyond_the_cap__413(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.streamed_bytes_max = 100000;
    start_with(&config);
    text_fill(TEXT_BYTES);
    int fd = client_open(); /* known beforehand: the reader hears of it, and nothing else */
    post(fd, "/pieces", "", text, TEXT_BYTES, 0);
    assert_int_equal(413, answer_read(fd).status);
    close(fd);
    assert_int_equal(0, seen_pieces.pieces);
    assert_int_equal(1, seen_pieces.failed);
    fd = client_open();
    post(fd, "/pieces", "", text, TEXT_BYTES, 5000);
    assert_int_equal(413, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
    assert_int_equal(2, seen_pieces.failed);
    fd = client_open(); /* the reader answers in its own way, later */
    post(fd, "/pieces?defer", "", text, TEXT_BYTES, 5000);
    const struct answer answer = answer_read(fd);
    assert_int_equal(422, answer.status);
    assert_true(strtoull(answer.body, NULL, 10) <= 100000);
    assert_closed(fd);
    close(fd);
    server_stop();
}

static void test_http__pieces_that_are_not_their_coding__400(void **state)
{
    (void)state;
    text_fill(TEXT_BYTES);
    const size_t len = encode("gzip", text, TEXT_BYTES);
    int fd = client_open();
    coded[len / 2] ^= 0x55;
    post(fd, "/pieces", "Content-Encoding: gzip\r\n", coded, len, 0);
    assert_int_equal(400, answer_read(fd).status);
    close(fd);
    fd = client_open();
    coded[len / 2] ^= 0x55;
    post(fd, "/pieces?defer", "Content-Encoding: gzip\r\n", coded, len - 4, 0);
    struct answer answer = answer_read(fd);
    assert_counts(&answer, 422, TEXT_BYTES); /* its end is wrong: the connection is not */
    post(fd, "/pieces", "", text, 5, 0);
    answer = answer_read(fd);
    assert_counts(&answer, 200, 5);
    close(fd);
    assert_int_equal(2, seen_pieces.failed);
}

/* One limit at a time: what else a test does has all the time it needs. */
static int start_short_stall(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.body_timeout_ms = SHORT_MS;
    return start_with(&config);
}

static int start_short_in_all(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.streamed_timeout_ms = SHORT_MS;
    return start_with(&config);
}

static int start_short_deadline(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.request_timeout_ms = SHORT_MS;
    return start_with(&config);
}

static void test_http__pieces_that_stall__408(void **state)
{
    (void)state;
    static const char *const targets[] = {"/pieces", "/pieces?defer"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char head[128];
        const int fd = client_open();
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc",
                 targets[i]);
        client_say(fd, head);
        const struct answer answer = answer_read(fd);
        assert_int_equal(i ? 422 : 408, answer.status);
        assert_string_equal("close", answer_field(&answer, "Connection"));
        assert_closed(fd);
        close(fd);
    }
    assert_int_equal(2, seen_pieces.failed);
}

/* A byte now and then is no stall, which has all the time; the time in all is bounded too. */
static void test_http__pieces_that_drip__408(void **state)
{
    (void)state;
    const int fd = client_open();
    const struct timeval step = {.tv_usec = 10000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &step, sizeof step);
    client_say(fd, "POST /pieces HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\n");
    char byte = 0;
    ssize_t count = -1;
    errno = EAGAIN;
    for (int i = 0; i < 2000 && count < 0 && errno == EAGAIN; i++) {
        client_say(fd, "x");
        count = recv(fd, &byte, 1, 0);
    }
    assert_int_equal(1, count);
    assert_int_equal('H', byte);
    assert_int_equal(1, seen_pieces.failed);
    close(fd);
}

static void test_http__reader_paused_for_too_long__503(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    const int fd = client_open();
    client_say(fd, "POST /pieces?hold HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n");
    client_send(fd, bytes, sizeof bytes);
    const struct answer answer = answer_read(fd);
    assert_int_equal(503, answer.status);
    assert_non_null(answer_field(&answer, "Retry-After"));
    assert_closed(fd);
    close(fd);
    assert_int_equal(1, seen_pieces.failed);
}

static void test_http__stop_amid_pieces__every_reader_is_told(void **state)
{
    start(state);
    const int paused = client_open(), waiting = client_open();
    client_say(waiting, "POST /pieces HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    await_count(&seen_pieces.pieces, 1);
    client_say(paused, "POST /pieces?hold HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    await_count(&seen_pieces.held, 1);
    server_stop();
    assert_int_equal(503, answer_read(paused).status);
    assert_closed(waiting);
    assert_int_equal(1, seen_pieces.failed);
    assert_int_equal(1, seen_pieces.gone);
    close(paused);
    close(waiting);
}

static void test_http__open_that_answers__keeps_the_connection_of_a_small_body(void **state)
{
    (void)state;
    int fd = client_open();
    post(fd, "/guarded", "", "abc", 3, 0);
    assert_int_equal(200, answer_read(fd).status);
    post(fd, "/guarded?no", "", "abc", 3, 0);
    assert_int_equal(403, answer_read(fd).status);
    post(fd, "/guarded?no", "", "", 0, 0);
    assert_int_equal(403, answer_read(fd).status);
    post(fd, "/guarded", "", "abc", 3, 0);
    assert_int_equal(200, answer_read(fd).status);
    post(fd, "/guarded?no", "", text, TEXT_BYTES, 0);
    const struct answer answer = answer_read(fd);
    assert_int_equal(403, answer.status);
    assert_string_equal("close", answer_field(&answer, "Connection"));
    assert_closed(fd);
    close(fd);
    fd = client_open(); /* not 100: the body need not come */
    client_say(fd, "POST /guarded?no HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
                   "Content-Length: 3\r\n\r\n");
    assert_int_equal(403, answer_read(fd).status);
    close(fd);
    fd = client_open();
    post(fd, "/guarded?no", "", "abc", 3, 3);
    assert_int_equal(403, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
}

static void test_http__open_that_answers__body_that_never_comes_is_one_408(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "POST /guarded?no HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    const struct answer answer = answer_read(fd);
    assert_int_equal(408, answer.status);
    assert_non_null(strstr(answer.body, "body-timeout"));
    assert_closed(fd);
    close(fd);
}

int main(void)
{
#define WITH(start, test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        WITH(start, test_http__coded_body__reaches_the_handler_decoded),
        WITH(start, test_http__unknown_coding__415_says_what_is_known),
        WITH(start, test_http__coded_body_that_is_wrong__400),
        WITH(start, test_http__bomb__stops_at_the_cap),
        cmocka_unit_test(test_http__coded_bodies_in_flight__503_until_there_is_room),
        WITH(start, test_http__pieces__all_come_in_order),
        WITH(start, test_http__pieces__more_than_a_collected_body_may_have),
        WITH(start, test_http__pieces_of_no_body__end_at_once),
        WITH(start, test_http__paused_reader__slows_the_client_down),
        WITH(start, test_http__client_gone_amid_pieces__is_told),
        WITH(start, test_http__early_answer__comes_while_the_client_sends),
        cmocka_unit_test(test_http__pieces_beyond_the_cap__413),
        WITH(start, test_http__pieces_that_are_not_their_coding__400),
        WITH(start_short_stall, test_http__pieces_that_stall__408),
        WITH(start_short_in_all, test_http__pieces_that_drip__408),
        WITH(start_short_deadline, test_http__reader_paused_for_too_long__503),
        cmocka_unit_test(test_http__stop_amid_pieces__every_reader_is_told),
        WITH(start, test_http__open_that_answers__keeps_the_connection_of_a_small_body),
        WITH(start_short_stall, test_http__open_that_answers__body_that_never_comes_is_one_408),
    };
#undef WITH
    return cmocka_run_group_tests(tests, NULL, NULL);
}
