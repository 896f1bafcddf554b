/* fixture.h - a server of ours in the test's process, and a client that speaks raw bytes.
 * Waits have a time-out of CLIENT_WAIT_S and await an event; nothing sleeps. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/clock.h"
#include "http/http.h"
#include "metrics/metrics.h"
#include "test.h"

#define CLIENT_WAIT_S 60
#define HELD_MAX      4096
#define LONG_MS       600000 /* longer than a test may take */
#define SHORT_MS      60

/* --- server ------------------------------------------------------------------------------------
 */

/* One a worker. What the handlers defer is answered when the watch of `bell` fires, as a producer's
 * delivery reports would. */
struct bench {
    struct http_worker *worker;
    int bell;
    struct http_watch *bell_watch;
    struct http_request *held[HELD_MAX];
    unsigned held_count;
    struct http_stream stream;
    struct http_watch *stream_watch;
};

struct fixture {
    struct http_server *server;
    struct http_config config;
    uint16_t port;
    struct bench *benches[8];
    _Atomic int deferred; /* requests that were ever held */
    _Atomic int abandoned;
    _Atomic int drained;           /* drain hooks called */
    _Atomic int stopped;           /* stop hooks called */
    _Atomic int streams;           /* open */
    _Atomic unsigned seen_workers; /* bit a worker that ran a handler */
    int gate;                      /* eventfd: what GET /gate waits for, and with it its worker */
    _Atomic int at_gate;           /* requests that ever stood there */
};

static struct fixture fixture; /* one server at a time */

static inline void seen(struct http_request *request)
{
    fixture.seen_workers |= 1u << http_worker_index(http_request_worker(request));
}

static inline void handle_hello(struct http_request *request)
{
    seen(request);
    http_reply_bytes(request, 200, "text/plain", SV("hello"));
}

static inline void handle_echo(struct http_request *request)
{
    const struct strview body = http_request_body(request);
    /* The slack is readable: the sanitizer would say if it were not. */
    volatile char last = body.ptr ? body.ptr[body.len + BUF_SLACK - 1] : 0;
    (void)last;
    http_reply_header(request, "X-Name", http_request_param(request, "name"));
    http_reply_bytes(request, 200, "text/plain", body);
}

static inline const char *on_abandon(void *opaque)
{
    struct http_request **slot = opaque;
    *slot = NULL;
    fixture.abandoned++;
    return NULL;
}

static inline struct bench *hold(struct http_request *request)
{
    struct bench *bench = http_worker_state(http_request_worker(request));
    CHECK(bench->held_count < HELD_MAX);
    struct http_request **slot = &bench->held[bench->held_count++];
    *slot = request;
    http_request_defer(request, on_abandon, slot);
    fixture.deferred++;
    return bench;
}

static inline void handle_hold(struct http_request *request)
{
    hold(request);
}

static inline void bell_ring(int bell)
{
    const uint64_t one = 1;
    CHECK(write(bell, &one, sizeof one) == sizeof one);
}

static inline void handle_defer(struct http_request *request)
{
    bell_ring(hold(request)->bell);
}

/* One of two texts that repeat. */
static inline void handle_text(struct http_request *request)
{
    const char *name = http_request_param(request, "name");
    if (strcmp(name, "more") == 0) {
        http_reply_header(request, "X-More", "yes");
    }
    const bool is_second = strcmp(name, "second") == 0;
    http_reply_bytes(request, is_second ? 203 : 202, is_second ? "text/html" : "text/plain",
                     is_second ? SV("the second") : SV("first"));
}

static inline void handle_big(struct http_request *request)
{
    static char big[4 << 20];
    memset(big, 'b', sizeof big);
    http_reply_bytes(request, 200, "application/octet-stream", sv_of(big, sizeof big));
}

static inline void handle_forget(struct http_request *request)
{
    (void)request; /* a defect in a handler */
}

static inline void stream_end(struct bench *bench)
{
    if (bench->stream_watch) {
        http_watch_close(bench->stream_watch);
        bench->stream_watch = NULL;
        http_stream_close(&bench->stream);
        fixture.streams--;
    }
}

static inline void on_stream_ready(void *context, uint32_t events)
{
    (void)events;
    struct bench *bench = context;
    char bytes[64];
    const ssize_t count = recv(bench->stream.fd, bytes, sizeof bytes, 0);
    if (count == 0 || bytes[0] == 'q') {
        stream_end(bench);
    } else if (count > 0) {
        (void)!send(bench->stream.fd, bytes, (size_t)count, MSG_NOSIGNAL);
    }
}

static inline void handle_stream(struct http_request *request)
{
    struct bench *bench = http_worker_state(http_request_worker(request));
    http_request_take_stream(request, &bench->stream);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:ok\n\n";
    CHECK(send(bench->stream.fd, head, sizeof head - 1, MSG_NOSIGNAL) == sizeof head - 1);
    bench->stream_watch =
        http_worker_watch(bench->worker, bench->stream.fd, EPOLLIN, on_stream_ready, bench);
    fixture.streams++;
}

static inline void handle_file(struct http_request *request)
{
    static const struct embedded_file file = {"x.txt",  "text/plain",
                                              "\"v1\"", (const unsigned char *)"plain text",
                                              10,       (const unsigned char *)"zipped",
                                              6};
    http_reply_file(request, &file);
}

static inline void handle_about(struct http_request *request)
{
    json_t *about = json_object();
    json_object_set_new(about, "id", json_string(http_request_id(request)));
    json_object_set_new(about, "client", json_string(http_request_client(request)));
    const struct strview type = http_request_media_type(request);
    json_object_set_new(about, "type", json_stringn(type.ptr, type.len));
    const char *query = http_request_query(request, "q");
    json_object_set_new(about, "q", query ? json_string(query) : json_null());
    http_reply_json(request, 200, about);
}

/* While its worker waits here, the test says what it shall find in the sockets after it. */
static inline void handle_gate(struct http_request *request)
{
    uint64_t rings;
    fixture.at_gate++;
    CHECK(read(fixture.gate, &rings, sizeof rings) == sizeof rings);
    http_reply_bytes(request, 200, "text/plain", SV("gate"));
}

static const struct http_route routes[] = {
    {HTTP_GET, "/gate", handle_gate},         {HTTP_GET, "/hello", handle_hello},
    {HTTP_POST, "/echo/{name}", handle_echo}, {HTTP_PUT, "/echo/{name}", handle_echo},
    {HTTP_POST, "/defer", handle_defer},      {HTTP_POST, "/hold", handle_hold},
    {HTTP_GET, "/big", handle_big},           {HTTP_GET, "/forget", handle_forget},
    {HTTP_GET, "/stream", handle_stream},     {HTTP_GET, "/file", handle_file},
    {HTTP_GET, "/about", handle_about},       {HTTP_POST, "/text/{name}", handle_text},
};
static const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};

static inline void on_bell(void *context, uint32_t events)
{
    (void)events;
    struct bench *bench = context;
    uint64_t rings;
    CHECK(read(bench->bell, &rings, sizeof rings) == sizeof rings);
    for (unsigned i = 0; i < bench->held_count; i++) {
        if (bench->held[i]) {
            http_reply_bytes(bench->held[i], 201, "text/plain", SV("later"));
        }
    }
    bench->held_count = 0;
}

static inline enum err bench_start(struct http_worker *worker, void *context, void **ret)
{
    (void)context;
    struct bench *bench = must_alloc(sizeof *bench);
    bench->worker = worker;
    bench->bell = eventfd(0, EFD_NONBLOCK);
    bench->bell_watch = http_worker_watch(worker, bench->bell, EPOLLIN, on_bell, bench);
    fixture.benches[http_worker_index(worker)] = bench;
    *ret = bench;
    return bench->bell_watch ? ERR_OK : ERR_IO;
}

static inline void bench_drain(void *state)
{
    (void)state;
    fixture.drained++;
}

static inline void bench_stop(void *state)
{
    struct bench *bench = state;
    fixture.stopped++;
    stream_end(bench);
    http_watch_close(bench->bell_watch);
    close(bench->bell);
    free(bench);
}

/* Its limits of time are met by no machine that is merely slow: a test of one of them makes that one short. */
static inline struct http_config config_default(void)
{
    return (struct http_config){.host = "127.0.0.1",
                                .threads = 1,
                                .connections_max = 5000,
                                .body_bytes_max = 256 << 10,
                                .streamed_bytes_max = 64 << 20,
                                .streamed_timeout_ms = LONG_MS,
                                .inflight_bytes_max = 16 << 20,
                                .header_timeout_ms = LONG_MS,
                                .body_timeout_ms = LONG_MS,
                                .idle_timeout_ms = LONG_MS,
                                .request_timeout_ms = LONG_MS,
                                .head_bytes_max = 16384,
                                .cors_origins = "http://good.example, http://other.example"};
}

/* More routes than the fixture's own, and another hook; set before a server is started. */
static struct http_route_set more_routes;
static enum err (*bench_start_hook)(struct http_worker *worker, void *context,
                                    void **ret) = bench_start;

static inline void server_start(const struct http_config *config)
{
    fixture = (struct fixture){.config = *config, .gate = eventfd(0, EFD_CLOEXEC)};
    const struct http_route_set sets[] = {set, more_routes};
    const struct http_server_params params = {
        .config = &fixture.config,
        .sets = sets,
        .set_count = more_routes.count ? 2 : 1,
        .hooks = {.start = bench_start_hook, .drain = bench_drain, .stop = bench_stop}};
    struct err_info info = {0};
    assert_err(ERR_OK, http_server_start(&params, &fixture.server, &info));
    fixture.port = http_server_port(fixture.server);
}

static inline void server_stop(void)
{
    http_server_stop(fixture.server);
    fixture.server = NULL;
    if (fixture.gate) {
        close(fixture.gate);
    }
}

/* Waits for another thread to bring a counter to a value; the deadline only ends a failed test. */
static inline void await_count(const _Atomic int *counter, int wanted)
{
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    while (*counter != wanted) {
        if (clock_mono_us() > until_us) {
            fail_msg("%d instead of %d", *counter, wanted);
        }
        sched_yield();
    }
}

/* The value of a series as /metrics would show it; 0 when it is not there. */
static inline double metric_read(const char *series)
{
    CLEANUP(buf_free) struct buf text = {0};
    buf_init(&text, 4 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    const char *found = strstr(text.data, series);
    return found ? strtod(found + strlen(series), NULL) : 0;
}

/* --- client
 * --------------------------------------------------------------------------------------- */

static inline int client_open(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = CLIENT_WAIT_S};
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fixture.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    assert_int_equal(0, setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    assert_int_equal(0, connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static inline void client_send(int fd, const char *bytes, size_t len)
{
    while (len) {
        const ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0) {
            return; /* the server has closed: the answer tells why */
        }
        bytes += sent;
        len -= (size_t)sent;
    }
}

static inline void client_say(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

struct answer {
    int status; /* 0: the connection ended without one */
    size_t body_bytes;
    bool is_closed; /* set by answer_read_to_end */
    char head[4096];
    char body[16384]; /* the first bytes of it */
};

static inline bool answer_byte(int fd, struct answer *answer, size_t *len)
{
    if (*len + 1 >= sizeof answer->head || recv(fd, answer->head + *len, 1, 0) != 1) {
        return false;
    }
    answer->head[++*len] = '\0';
    return true;
}

static inline const char *answer_field(const struct answer *answer, const char *name)
{
    static _Thread_local char value[512];
    char key[128];
    snprintf(key, sizeof key, "\r\n%s: ", name);
    const char *at = strstr(answer->head, key);
    if (!at) {
        return NULL;
    }
    at += strlen(key);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static inline void answer_body(int fd, struct answer *answer, size_t bytes)
{
    char chunk[16384];
    while (answer->body_bytes < bytes) {
        const size_t left = bytes - answer->body_bytes;
        const ssize_t count = recv(fd, chunk, left < sizeof chunk ? left : sizeof chunk, 0);
        if (count <= 0) {
            return;
        }
        const size_t room = answer->body_bytes < sizeof answer->body - 1
                                ? sizeof answer->body - 1 - answer->body_bytes
                                : 0;
        memcpy(answer->body + answer->body_bytes, chunk,
               (size_t)count < room ? (size_t)count : room);
        answer->body_bytes += (size_t)count;
    }
}

/* One answer, its body as long as Content-Length says (none to a HEAD). */
static inline struct answer answer_read_of(int fd, bool is_head)
{
    struct answer answer = {0};
    size_t len = 0;
    while (!strstr(answer.head, "\r\n\r\n")) {
        if (!answer_byte(fd, &answer, &len)) {
            return answer;
        }
    }
    answer.status = atoi(answer.head + strlen("HTTP/1.1 "));
    const char *length = answer_field(&answer, "Content-Length");
    if (length && !is_head) {
        answer_body(fd, &answer, strtoul(length, NULL, 10));
    }
    return answer;
}

static inline struct answer answer_read(int fd)
{
    return answer_read_of(fd, false);
}

/* Nothing more comes: the peer closes (or resets) without another byte. */
static inline void assert_closed(int fd)
{
    char byte;
    const ssize_t count = recv(fd, &byte, 1, 0);
    if (count > 0 || (count < 0 && errno == EAGAIN)) {
        fail_msg("%s", count > 0 ? "more bytes came" : "the connection stays open");
    }
}

static inline struct answer ask(const char *request)
{
    const int fd = client_open();
    client_say(fd, request);
    const struct answer answer = answer_read_of(fd, strncmp(request, "HEAD", 4) == 0);
    close(fd);
    return answer;
}

#define H "Host: test\r\n"
