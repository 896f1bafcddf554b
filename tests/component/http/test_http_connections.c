/* What comes over a connection, however it comes: byte by byte, many requests at once, half closed,
 * reset, behind a blank line, and while no descriptor is left. */
#define _GNU_SOURCE /* memmem */
#include <pthread.h>
#include <sys/resource.h>

#include "fixture.h"
#include "http/http_wire.h" /* how many fields there may be */
#include "log/log.h"

#define HELLO  "GET /hello HTTP/1.1\r\n" H "\r\n"
#define HOLD   "POST /hold HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"
#define ECHO_1 "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n1"

/* --- routes that count ---------------------------------------------------------------------------- */

static _Atomic int counts; /* requests of /count */

static void handle_count(struct http_request *request)
{
    counts++;
    http_reply_bytes(request, 200, "text/plain", sv(http_request_param(request, "name")));
}

static void handle_counted(struct http_request *request)
{
    char text[32];
    snprintf(text, sizeof text, "%d", counts);
    http_reply_bytes(request, 200, "text/plain", sv(text));
}

static const struct http_route count_routes[] = {
    {HTTP_GET, "/count/{name}", handle_count},
    {HTTP_GET, "/counted", handle_counted},
};

static int start(void **state)
{
    (void)state;
    counts = 0;
    more_routes = (struct http_route_set){count_routes, ARRAY_LEN(count_routes), NULL};
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

/* The worker stands before the gate until the test rings for it. */
static void gate_close(int fd)
{
    const int before = fixture.at_gate;
    client_say(fd, "GET /gate HTTP/1.1\r\n" H "\r\n");
    await_count(&fixture.at_gate, before + 1);
}

static void gate_open(int fd)
{
    bell_ring(fixture.gate);
    assert_string_equal("gate", answer_read(fd).body);
}

/* --- however it comes --------------------------------------------------------------------------- */

static void test_http__requests_byte_by_byte__are_answered(void **state)
{
    (void)state;
    static const char both[] =
        ECHO_1 HELLO "POST /echo/n HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                     "2;a=b\r\nab\r\n0\r\nA: b\r\n\r\n" HELLO;
    const int fd = client_open();
    for (const char *at = both; *at; at++) {
        client_send(fd, at, 1);
    }
    assert_string_equal("1", answer_read(fd).body);
    assert_string_equal("hello", answer_read(fd).body);
    assert_string_equal("ab", answer_read(fd).body);
    assert_string_equal("hello", answer_read(fd).body);
    close(fd);
}

/* Each cut of two requests in one: what comes first is there alone, since the next request of another
 * connection is answered in between. */
static void test_http__two_requests_cut_anywhere__are_answered(void **state)
{
    (void)state;
    static const char both[] = ECHO_1 HELLO;
    const int fd = client_open(), other = client_open();
    for (size_t cut = 1; cut < sizeof both - 1; cut++) {
        client_send(fd, both, cut);
        client_say(other, HELLO);
        assert_int_equal(200, answer_read(other).status);
        client_say(fd, both + cut);
        assert_string_equal("1", answer_read(fd).body);
        assert_string_equal("hello", answer_read(fd).body);
    }
    close(fd);
    close(other);
}

static void test_http__many_requests_at_once__leave_others_their_turn(void **state)
{
    (void)state;
    enum { REQUESTS = 200 };
    static char text[REQUESTS * 64];
    size_t len = 0;
    for (int i = 0; i < REQUESTS; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "GET /count/%d HTTP/1.1\r\n" H "\r\n", i);
    }
    const int gate = client_open(), many = client_open(), other = client_open();
    client_say(other, HELLO);
    assert_int_equal(200, answer_read(other).status); /* all three are accepted */
    gate_close(gate);
    client_send(many, text, len);
    client_say(other, "GET /counted HTTP/1.1\r\n" H "\r\n");
    gate_open(gate);
    const struct answer counted = answer_read(other);
    assert_int_equal(200, counted.status);
    assert_true(strtol(counted.body, NULL, 10) <
                REQUESTS / 2); /* it did not wait for all of them */
    for (int i = 0; i < REQUESTS; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d", i);
        assert_string_equal(wanted, answer_read(many).body);
    }
    assert_int_equal(REQUESTS, counts);
    client_say(many, HELLO);
    assert_int_equal(200, answer_read(many).status);
    close(gate);
    close(many);
    close(other);
}

struct sender {
    int fd;
    struct strview text;
};

static void *sender_run(void *context)
{
    const struct sender *sender = context;
    client_send(sender->fd, sender->text.ptr, sender->text.len);
    return NULL;
}

/* More than is read at once, so that heads lie across what two reads bring. */
static void test_http__more_requests_than_one_read_holds__are_answered_in_order(void **state)
{
    (void)state;
    enum { REQUESTS = 1500, FILL = 57 };
    static char text[REQUESTS * 128];
    size_t len = 0;
    for (int i = 0; i < REQUESTS; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "GET /count/%d HTTP/1.1\r\n" H "X-Fill: %0*d\r\n\r\n", i,
                                1 + i % FILL, 0);
    }
    struct sender sender = {client_open(), sv_of(text, len)};
    pthread_t thread; /* who sends while answers are read */
    assert_int_equal(0, pthread_create(&thread, NULL, sender_run, &sender));
    for (int i = 0; i < REQUESTS; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d", i);
        assert_string_equal(wanted, answer_read(sender.fd).body);
    }
    assert_int_equal(0, pthread_join(thread, NULL));
    close(sender.fd);
}

static void test_http__blank_lines_before_a_request__are_ignored(void **state)
{
    (void)state;
    const int fd = client_open();
    client_say(fd, "\r\n" HELLO);
    assert_string_equal("hello", answer_read(fd).body);
    client_say(fd, "\r\n\r\n\r\n" ECHO_1 "\r\n" HELLO "\r\n");
    assert_string_equal("1", answer_read(fd).body);
    assert_string_equal("hello", answer_read(fd).body);
    for (const char *at = "\r\n\r\n" HELLO; *at; at++) {
        client_send(fd, at, 1);
    }
    assert_string_equal("hello", answer_read(fd).body);
    client_say(fd, "\n" HELLO); /* but no other white space */
    assert_int_equal(400, answer_read(fd).status);
    assert_closed(fd);
    close(fd);
}

static void test_http__chunk_extensions_and_trailers__are_ignored(void **state)
{
    (void)state;
    const int fd = client_open();
    for (int i = 0; i < 3; i++) {
        client_say(
            fd, "POST /echo/n HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                "3;a;b=\"c; d\"\r\nabc\r\n00A;x\r\n0123456789\r\n0;last\r\n"
                "Content-Length: 500\r\nTransfer-Encoding: chunked\r\nHost: other\r\n\r\n" HELLO);
        const struct answer answer = answer_read(fd);
        assert_int_equal(200, answer.status);
        assert_string_equal("abc0123456789", answer.body);
        assert_string_equal("hello", answer_read(fd).body);
    }
    close(fd);
}

/* --- how long it lasts -------------------------------------------------------------------------- */

static void test_http__connection_field__says_whether_there_is_another_request(void **state)
{
    (void)state;
    static const struct {
        const char *label, *request;
        bool is_kept;
        const char *says; /* Connection of the answer; NULL: none */
    } rows[] = {
        {"1.1", "GET /hello HTTP/1.1\r\n" H "\r\n", true, NULL},
        {"1.1, close", "GET /hello HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false, "close"},
        {"1.1, Close among others", "GET /hello HTTP/1.1\r\n" H "Connection: te,\tClose\r\n\r\n",
         false, "close"},
        {"1.1, close in a second field",
         "GET /hello HTTP/1.1\r\n" H "Connection: te\r\nConnection: close\r\n\r\n", false, "close"},
        {"1.1, both", "GET /hello HTTP/1.1\r\n" H "Connection: keep-alive, close\r\n\r\n", false,
         "close"},
        {"1.1, not quite close", "GET /hello HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", true,
         NULL},
        {"1.0", "GET /hello HTTP/1.0\r\n\r\n", false, "close"},
        {"1.0, keep-alive", "GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true,
         "keep-alive"},
        {"1.0, both", "GET /hello HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false,
         "close"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int fd = client_open();
        char text[512];
        print_message("%s\n", rows[i].label);
        snprintf(text, sizeof text, "%s" HELLO, rows[i].request); /* at once: it is pipelined */
        client_say(fd, text);
        const struct answer answer = answer_read(fd);
        assert_string_equal("hello", answer.body);
        const char *says = answer_field(&answer, "Connection");
        assert_true(rows[i].says ? says && strcmp(rows[i].says, says) == 0 : !says);
        if (rows[i].is_kept) {
            assert_string_equal("hello", answer_read(fd).body);
        } else {
            assert_closed(fd);
        }
        close(fd);
    }
}

static void test_http__half_closed_connection__gets_its_answers_and_then_the_end(void **state)
{
    (void)state;
    const int before = fixture.deferred, abandoned = fixture.abandoned;
    const int fd = client_open();
    client_say(fd, HELLO ECHO_1 HELLO);
    assert_int_equal(0, shutdown(fd, SHUT_WR));
    assert_string_equal("hello", answer_read(fd).body);
    assert_string_equal("1", answer_read(fd).body);
    assert_string_equal("hello", answer_read(fd).body);
    assert_closed(fd);
    close(fd);

    const int deferred = client_open();
    client_say(deferred, HOLD);
    assert_int_equal(0, shutdown(deferred, SHUT_WR));
    await_count(&fixture.deferred, before + 1);
    assert_int_equal(200, ask(HELLO).status); /* the end has been seen */
    bell_ring(fixture.benches[0]->bell);
    assert_string_equal("later", answer_read(deferred).body);
    assert_closed(deferred);
    close(deferred);
    assert_int_equal(abandoned, fixture.abandoned);

    const int large = client_open();
    client_say(large, "GET /big HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(0, shutdown(large, SHUT_WR));
    assert_int_equal(200, ask(HELLO).status);
    assert_int_equal(4 << 20, answer_read(large).body_bytes);
    assert_closed(large);
    close(large);
}

static void test_http__half_a_request_and_the_end__is_no_request(void **state)
{
    (void)state;
    const int before = fixture.deferred;
    static const char request[] = "POST /hold HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nx";
    for (size_t len = 0; len < sizeof request; len++) {
        const int fd = client_open();
        client_send(fd, request, len);
        assert_int_equal(0, shutdown(fd, SHUT_WR));
        assert_int_equal(0, answer_read(fd).status);
        close(fd);
    }
    assert_int_equal(before, fixture.deferred);
}

/* Closing it makes the kernel send a reset. */
static void client_reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    close(fd);
}

static void test_http__reset_while_deferred__abandons_at_once(void **state)
{
    (void)state;
    const int before = fixture.deferred, abandoned = fixture.abandoned;
    static const char *const behind[] = {"", HELLO, "half a li"};
    for (int i = 0; i < (int)ARRAY_LEN(behind); i++) {
        const int fd = client_open();
        client_say(fd, HOLD);
        await_count(&fixture.deferred, before + i + 1);
        client_say(fd, behind[i]);
        client_reset(fd);
        await_count(&fixture.abandoned, abandoned + i + 1); /* the deadline is LONG_MS */
    }
    bell_ring(fixture.benches[0]->bell); /* nothing is left to be answered */
    assert_int_equal(200, ask(HELLO).status);
}

static void test_http__reset_amid_an_answer__hurts_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        const int fd = client_open();
        char byte;
        client_say(fd, "GET /big HTTP/1.1\r\n" H "\r\n" HELLO);
        assert_int_equal(1, recv(fd, &byte, 1, 0));
        client_reset(fd);
    }
    assert_int_equal(200, ask(HELLO).status);
}

static void test_http__request_behind_a_deferred_one__waits_its_turn(void **state)
{
    (void)state;
    const int before = fixture.deferred;
    const int fd = client_open();
    for (int i = 0; i < 3; i++) {
        client_say(fd, i ? HOLD HELLO "POST /echo/n HTTP/1.1\r\n" H : HOLD);
        await_count(&fixture.deferred, before + i + 1);
        if (i == 0) { /* or only now that the other is known to wait */
            client_say(fd, HELLO "POST /echo/n HTTP/1.1\r\n" H);
        }
        assert_int_equal(200, ask(HELLO).status);
        char byte;
        assert_int_equal(-1, recv(fd, &byte, 1, MSG_DONTWAIT));
        bell_ring(fixture.benches[0]->bell);
        assert_string_equal("later", answer_read(fd).body);
        assert_string_equal("hello", answer_read(fd).body);
        client_say(fd, "Content-Length: 2\r\n\r\nok");
        assert_string_equal("ok", answer_read(fd).body);
    }
    close(fd);
}

/* --- bounds of a head --------------------------------------------------------------------------- */

static void test_http__fields__as_many_as_may_be_and_one_more(void **state)
{
    (void)state;
    for (int count = HTTP_FIELDS_MAX - 1; count <= HTTP_FIELDS_MAX + 2; count++) {
        static char text[8192];
        size_t len = (size_t)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\n" H);
        for (int i = 1; i < count; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "X-%d: %d\r\n", i, i);
        }
        snprintf(text + len, sizeof text - len, "\r\n" HELLO);
        const int fd = client_open();
        client_say(fd, text);
        assert_int_equal(count <= HTTP_FIELDS_MAX ? 200 : 431, answer_read(fd).status);
        if (count <= HTTP_FIELDS_MAX) {
            assert_int_equal(200, answer_read(fd).status);
        } else {
            assert_closed(fd);
        }
        close(fd);
    }
}

static void test_http__head__as_long_as_it_may_be_and_one_byte_more(void **state)
{
    (void)state;
    static char text[32768];
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        for (size_t more = 0; more < 2; more++) {
            const size_t wanted = (size_t)fixture.config.head_bytes_max + more;
            size_t len = (size_t)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\n" H "X: ");
            memset(text + len, 'x', wanted - len - 4);
            snprintf(text + wanted - 4, sizeof text - wanted + 4, "\r\n\r\n" HELLO);
            const int fd = client_open();
            const size_t alone = by_bytes ? wanted : 0; /* a byte each */
            for (size_t i = 0; i < alone; i++) {
                client_send(fd, text + i, 1);
            }
            client_say(fd, text + alone);
            assert_int_equal(more ? 431 : 200, answer_read(fd).status);
            if (more) {
                assert_closed(fd);
            } else {
                assert_int_equal(200, answer_read(fd).status);
            }
            close(fd);
        }
    }
}

/* --- no descriptor is left ---------------------------------------------------------------------- */

enum { FILLERS = 4096 };
static int fillers[FILLERS];
static int filler_count;

static void descriptors_take(void)
{
    int fd;
    while (filler_count < FILLERS && (fd = dup(fixture.gate)) >= 0) {
        fillers[filler_count++] = fd;
    }
    assert_true(filler_count > 0 && filler_count < FILLERS);
    assert_int_equal(EMFILE, errno);
}

static void descriptors_give_back(void)
{
    while (filler_count > 0) {
        close(fillers[--filler_count]);
    }
}

static _Atomic int accept_failures; /* lines that say so */

static void on_line(void *context, struct strview line)
{
    (void)context;
    accept_failures += memmem(line.ptr, line.len, "http_accept_failed", 18) ? 1 : 0;
}

/* Set and taken back while no other thread logs. */
static int start_captured(void **state)
{
    accept_failures = 0;
    log_capture(on_line, NULL);
    return start(state);
}

static int stop_captured(void **state)
{
    stop(state);
    log_capture(NULL, NULL);
    return 0;
}

static int client_unconnected(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = CLIENT_WAIT_S};
    assert_true(fd >= 0);
    assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    return fd;
}

/* Without a descriptor of the test's own: who connects had its before. */
static void client_connect(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fixture.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(0, connect(fd, (struct sockaddr *)&address, sizeof address));
    client_say(fd, HELLO);
}

static void test_http__no_descriptor_left__connections_wait_until_one_is(void **state)
{
    (void)state;
    enum { CLIENTS = 20 };
    int clients[CLIENTS];
    struct rlimit before;
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
    const int known = client_open();
    client_say(known, HELLO);
    assert_int_equal(200, answer_read(known).status);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_unconnected();
    }
    const struct rlimit low = {.rlim_cur = 256, .rlim_max = before.rlim_max};
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &low));
    const int64_t since_us = clock_mono_us();
    descriptors_take();
    for (int i = 0; i < CLIENTS; i++) {
        client_connect(clients[i]);
    }
    while (accept_failures < 6) { /* it tries again, now and then; and serves whom it has */
        client_say(known, HELLO);
        assert_int_equal(200, answer_read(known).status);
        assert_true(clock_mono_us() - since_us < CLIENT_WAIT_S * 1000000LL);
    }
    const int failures = accept_failures;
    const int64_t passed_ms = (clock_mono_us() - since_us) / 1000;
    char byte;
    assert_int_equal(-1, recv(clients[0], &byte, 1, MSG_DONTWAIT));
    descriptors_give_back();
    for (int i = 0; i < CLIENTS; i++) {
        assert_string_equal("hello", answer_read(clients[i]).body);
        close(clients[i]);
    }
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
    close(known);
    /* The first, one that was due before, and then no more than one in 250 ms: it does not spin. */
    assert_true(failures <= 3 + passed_ms / 250);
    assert_int_equal(200, ask(HELLO).status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http__requests_byte_by_byte__are_answered),
        cmocka_unit_test(test_http__two_requests_cut_anywhere__are_answered),
        cmocka_unit_test(test_http__many_requests_at_once__leave_others_their_turn),
        cmocka_unit_test(test_http__more_requests_than_one_read_holds__are_answered_in_order),
        cmocka_unit_test(test_http__blank_lines_before_a_request__are_ignored),
        cmocka_unit_test(test_http__chunk_extensions_and_trailers__are_ignored),
        cmocka_unit_test(test_http__connection_field__says_whether_there_is_another_request),
        cmocka_unit_test(test_http__half_closed_connection__gets_its_answers_and_then_the_end),
        cmocka_unit_test(test_http__half_a_request_and_the_end__is_no_request),
        cmocka_unit_test(test_http__reset_while_deferred__abandons_at_once),
        cmocka_unit_test(test_http__reset_amid_an_answer__hurts_nobody),
        cmocka_unit_test(test_http__request_behind_a_deferred_one__waits_its_turn),
        cmocka_unit_test(test_http__fields__as_many_as_may_be_and_one_more),
        cmocka_unit_test(test_http__head__as_long_as_it_may_be_and_one_byte_more),
    };
    const struct CMUnitTest captured[] = {
        cmocka_unit_test(test_http__no_descriptor_left__connections_wait_until_one_is)};
    const int failed = cmocka_run_group_tests(tests, start, stop);
    return failed + cmocka_run_group_tests(captured, start_captured, stop_captured);
}
