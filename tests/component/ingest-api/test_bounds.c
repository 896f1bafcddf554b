/* What bounds a worker's memory: bytes on their way to Kafka, lines that are ahead of their reports, bodies
 * that break off. One worker, so that its figures are all there is. */
#include "ingest_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_TYPE "Content-Type: application/x-ndjson"
#define LINES      20000 /* events.streamed.max of the fixture */
#define LINE_BYTES 1000  /* without its end */

static int start_with(void **state, const char *limit)
{
    return fixture_start(
        state, NULL,
        (const char *const[]){"--http.threads=1", "--kafka.message.timeout.ms=60000", limit, NULL});
}

static int start(void **state)
{
    return start_with(state, NULL);
}

static int start_short_body(void **state)
{
    return start_with(state, "--http.body.timeout=2s");
}

static int start_small(void **state)
{
    return start_with(state, "--events.inflight.bytes.max=64KiB");
}

static void broker_down(const struct fixture *fixture)
{
    assert_int_equal(0, rd_kafka_mock_broker_set_down(fixture->kafka.cluster, 1));
}

static void broker_up(const struct fixture *fixture)
{
    assert_int_equal(0, rd_kafka_mock_broker_set_up(fixture->kafka.cluster, 1));
}

/* The gauge, which the worker sets a few times a second. */
static double inflight_bytes(const struct fixture *fixture)
{
    static const char name[] = "\nmillrace_ingest_inflight_bytes{worker=\"0\"} ";
    struct http_answer answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
    const char *at = strstr(answer.body, name);
    assert_non_null(at);
    const double value = strtod(at + sizeof name - 1, NULL);
    http_answer_free(&answer);
    return value;
}

static void await_nothing_in_flight(const struct fixture *fixture)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (inflight_bytes(fixture) != 0) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 20);
    }
}

/* Again while it is 503, or a line of it is. */
static struct http_answer post_until(const struct fixture *fixture, const char *type,
                                     const char *body, long status)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (;;) {
        struct http_answer answer = post_as(fixture, "/events/clicks", type, body);
        if (answer.status == status || clock_mono_us() > deadline_us) {
            assert_int_equal(status, answer.status);
            return answer;
        }
        http_answer_free(&answer);
        (void)poll(NULL, 0, 20);
    }
}

/* The first two records of clicks. */
static void assert_stored(const struct fixture *fixture, const char *first, const char *second)
{
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, 0);
    assert_sv(first, record_value(record));
    rd_kafka_message_destroy(record);
    record = rd_kafka_consumer_poll(fixture->reader, 20000);
    assert_non_null(record);
    assert_sv(second, record_value(record));
    rd_kafka_message_destroy(record);
}

static int connect_to(const struct fixture *fixture)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)fixture->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(0, connect(fd, (const struct sockaddr *)&address, sizeof address));
    return fd;
}

/* As much as goes without waiting. */
static size_t send_some(int fd, struct strview text)
{
    size_t sent = 0;
    while (sent < text.len) {
        const ssize_t n = send(fd, text.ptr + sent, text.len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(EAGAIN, errno);
            break;
        }
        sent += (size_t)n;
    }
    return sent;
}

static void send_all(int fd, struct strview text)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (size_t sent = 0; sent < text.len;) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        (void)poll(&wait, 1, 1000);
        sent += send_some(fd, (struct strview){text.ptr + sent, text.len - sent});
        assert_true(clock_mono_us() < deadline_us);
    }
}

/* Until the server closes. */
static void read_to_end(int fd, struct buf *answer)
{
    char bytes[65536];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;) {
        assert_err(ERR_OK, buf_append(answer, bytes, (size_t)n));
    }
}

static char *lines_new(void)
{
    char *lines = malloc((size_t)LINES * (LINE_BYTES + 1) + 1);
    for (size_t i = 0; i < LINES; i++) {
        (void)sprintf(lines + i * (LINE_BYTES + 1), "{\"n\":\"%06zu\",\"pad\":\"%0*d\"}\n", i,
                      LINE_BYTES - 23, 0);
    }
    return lines;
}

/* Kafka takes nothing: reading stops, TCP holds the client, and memory stays where it is; then all goes
 * on by itself. */
static void test_lines__far_ahead_of_their_reports__are_not_read(void **state)
{
    enum { AHEAD_MAX = 8192, PIECE_MAX = 256 };
    const struct fixture *fixture = *state;
    char *lines = lines_new(), head[256];
    const struct strview body = {lines, (size_t)LINES * (LINE_BYTES + 1)};
    (void)snprintf(head, sizeof head,
                   "POST /events/clicks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" LINES_TYPE
                   "\r\nContent-Length: %zu\r\n\r\n",
                   body.len);
    broker_down(fixture);
    const int fd = connect_to(fixture);
    send_all(fd, sv(head));
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    size_t sent = 0;
    for (double before = -1, now = 0; now < AHEAD_MAX * (double)LINE_BYTES || now != before;) {
        before = now;
        sent += send_some(fd, (struct strview){body.ptr + sent, body.len - sent});
        (void)poll(NULL, 0, 300); /* longer than the gauge is old */
        now = inflight_bytes(fixture);
        assert_true(now < (AHEAD_MAX + PIECE_MAX) * (double)LINE_BYTES);
        assert_true(clock_mono_us() < deadline_us);
    }
    assert_true(sent < body.len);
    broker_up(fixture);
    send_all(fd, (struct strview){body.ptr + sent, body.len - sent});
    struct buf answer;
    buf_init(&answer, 16 << 20);
    read_to_end(fd, &answer);
    assert_err(ERR_OK, buf_append(&answer, "", 1));
    assert_non_null(strstr(answer.data, "HTTP/1.1 201 "));
    assert_non_null(strstr(answer.data, "{\"stored\":20000,\"failed\":0,"));
    await_nothing_in_flight(fixture);
    buf_free(&answer);
    (void)close(fd);
    free(lines);
}

/* A client that goes in the middle of a line: the lines before are in Kafka, and nothing is kept. The
 * beginnings of lines that these clients leave behind are more than a worker would ever keep. */
static void test_lines__clients_gone_in_the_middle__leave_nothing_behind(void **state)
{
    enum { CLIENTS = 1200, BEGUN_BYTES = 60000 };
    const struct fixture *fixture = *state;
    char *begun = malloc(BEGUN_BYTES + 512);
    const int head = sprintf(begun,
                             "POST /events/clicks HTTP/1.1\r\nHost: a\r\n" LINES_TYPE
                             "\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n{\"a\":1}\n{\"a\":2}\n\"",
                             BEGUN_BYTES + 17 + 100);
    memset(begun + head, 'x', BEGUN_BYTES);
    for (int i = 0; i < CLIENTS; i++) {
        const int fd = connect_to(fixture);
        send_all(fd, (struct strview){begun, (size_t)head + BEGUN_BYTES});
        if (i == 0) {
            assert_stored(fixture, "{\"a\":1}", "{\"a\":2}");
        }
        (void)close(fd);
    }
    begun[head] = '"';
    begun[head + BEGUN_BYTES] = '\0';
    char *whole = malloc(BEGUN_BYTES + 64);
    (void)sprintf(whole, "{\"a\":%.*s\"}\n{\"a\":3}", BEGUN_BYTES - 100, begun + head);
    struct http_answer answer = post_until(fixture, LINES_TYPE, whole, 201);
    assert_int_equal(2, number(answer.json, "stored"));
    http_answer_free(&answer);
    await_nothing_in_flight(fixture);
    free(whole);
    free(begun);
}

/* Accepted events that Kafka does not take fill the bound; past it nobody's are taken, until there is
 * room again. */
static void test_bytes_on_their_way__past_the_bound__503(void **state)
{
    enum { BYTES = 40000 };
    const struct fixture *fixture = *state;
    char *body = malloc(BYTES + 1);
    (void)snprintf(body, BYTES + 1, "{\"pad\":\"%0*d\"}", BYTES - 10, 0);
    broker_down(fixture);
    for (int i = 0; i < 2; i++) {
        struct http_answer answer = post(fixture, "/events/clicks?hasty", body);
        assert_answer("room", &answer, 202, "accepted");
        http_answer_free(&answer);
    }
    static const char *const paths[] = {"/events/clicks?hasty", "/events/clicks"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct http_answer answer = post(fixture, paths[i], "{}");
        assert_answer(paths[i], &answer, 503, "overloaded");
        assert_true(json_is_true(json_object_get(answer.json, "retryable")));
        assert_true(atoi(answer.retry_after) >= 1);
        http_answer_free(&answer);
    }
    struct http_answer answer = post_as(fixture, "/events/clicks", LINES_TYPE, "{}\n{}\n");
    assert_answer("lines", &answer, 503, "overloaded");
    http_answer_free(&answer);
    broker_up(fixture);
    answer = post_until(fixture, JSON_TYPE, "{}", 201);
    assert_int_equal(2, number(answer.json, "offset")); /* behind the two that were accepted */
    http_answer_free(&answer);
    free(body);
}

#define TEST(f, start) cmocka_unit_test_setup_teardown(f, start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines__far_ahead_of_their_reports__are_not_read, start),
        TEST(test_lines__clients_gone_in_the_middle__leave_nothing_behind, start_short_body),
        TEST(test_bytes_on_their_way__past_the_bound__503, start_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
