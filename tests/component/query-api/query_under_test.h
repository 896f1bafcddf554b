/* query_under_test.h - query-api in this process, a mock Kafka beside it, and clients on sockets. */
#pragma once

#define SITE_DEADLINE_MS 60000

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "metrics/metrics.h"
#include "mock_kafka.h"
#include "query.h"
#include "test.h"

/* librdkafka 2.15.1 loses a reference to a client's queue when a broker cannot list groups, as the mock
 * cannot (rd_kafka_ListGroupsRequest): one queue a client, once. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:rd_kafka_q_new0";
}

/* --- the service ------------------------------------------------------------------------------------- */

struct site {
    struct mock_kafka mock;
    struct query query;
    rd_kafka_t *producer;
    uint16_t port;
};

static inline void site_await(bool (*is_done)(void *context), void *context, const char *what)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (!is_done(context)) {
        if (clock_mono_us() > deadline_us) {
            fail_msg("timed out waiting for %s", what);
        }
        (void)poll(NULL, 0, 2); /* state without an event to wait for */
    }
}

static inline bool site_is_loaded(void *context)
{
    struct site *site = context;
    bool is_loaded = true;
    for (size_t i = 0; i < site->query.topic_count; i++) {
        enum reader_topic state = reader_topic_state(site->query.reader, i);
        is_loaded = is_loaded && (state == READER_LIVE || state == READER_MISSING);
    }
    return is_loaded;
}

/* options: "--key=value" …, ended by NULL. */
static inline void site_open(struct site *site, const char *const *options)
{
    char bootstrap[256];
    char *argv[32] = {(char *)(uintptr_t)"query-api", bootstrap};
    int argc = 2;
    (void)snprintf(bootstrap, sizeof bootstrap, "--kafka.bootstrap.servers=%s",
                   site->mock.config.bootstrap_servers);
    static const char *const common[] = {"--http.port=0",
                                         "--http.threads=2",
                                         "--log.level=error",
                                         "--sse.drain.spread=0",
                                         "--query.topics=orders,product-metrics,late",
                                         NULL};
    const char *const *lists[] = {common, options};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; lists[l] && lists[l][i]; i++) {
            argv[argc++] = (char *)(uintptr_t)lists[l][i];
        }
    }
    struct err_info info = {0};
    enum config_action action;
    assert_err(ERR_OK, query_begin(&site->query, argc, argv, &action));
    assert_int_equal(CONFIG_RUN, action);
    assert_err(ERR_OK, query_start(&site->query, &info));
    site->port = http_server_port(service_http(site->query.service));
    site_await(site_is_loaded, site, "the topics to be read");
}

static inline struct site *site_start(const char *const *options)
{
    struct site *site = must_alloc(sizeof *site);
    site->mock = mock_kafka_start(1);
    mock_kafka_topic(&site->mock, "orders", 3);
    mock_kafka_topic(&site->mock, "product-metrics", 2);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    CHECK(rd_kafka_conf_set(conf, "bootstrap.servers", site->mock.config.bootstrap_servers, why,
                            sizeof why) == RD_KAFKA_CONF_OK);
    CHECK(rd_kafka_conf_set(conf, "linger.ms", "1", why, sizeof why) == RD_KAFKA_CONF_OK);
    site->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    CHECK(site->producer);
    site_open(site, options);
    return site;
}

static inline void site_close(struct site *site)
{
    struct err_info info = {0};
    query_stop(&site->query);
    service_drain(site->query.service);
    query_settle(&site->query);
    assert_int_equal(0, service_end(site->query.service, ERR_OK, &info));
    query_free(&site->query);
}

static inline void site_stop(struct site *site)
{
    site_close(site);
    rd_kafka_destroy(site->producer);
    mock_kafka_stop(&site->mock);
    free(site);
}

/* value NULL: a tombstone. Waits for nothing: site_flush does. */
static inline void site_produce(struct site *site, const char *topic, int32_t partition,
                                const char *key, const char *value)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    rd_kafka_resp_err_t code;
    bool is_early; /* the queue is full, or a topic just made is not known with all it has */
    do {
        code = rd_kafka_producev(
            site->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
            RD_KAFKA_V_VALUE((char *)(uintptr_t)value, value ? strlen(value) : 0),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        is_early =
            code == RD_KAFKA_RESP_ERR__QUEUE_FULL || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
        (void)rd_kafka_poll(site->producer, is_early ? 100 : 0);
    } while (is_early && clock_mono_us() < deadline_us);
    assert_int_equal(0, code);
}

static inline void site_flush(struct site *site)
{
    assert_int_equal(0, rd_kafka_flush(site->producer, SITE_DEADLINE_MS));
}

/* Records {"n":first} … over the three partitions of orders, in turn; padded to about `bytes`. */
static inline void site_produce_orders(struct site *site, int first, int count, size_t bytes)
{
    char *value = must_alloc(bytes + 64);
    for (int n = first; n < first + count; n++) {
        int len = snprintf(value, 64, "{\"n\":%d,\"pad\":\"", n);
        memset(value + len, 'x', bytes);
        (void)snprintf(value + (size_t)len + bytes, 8, "\"}");
        site_produce(site, "orders", n % 3, "k", value);
    }
    free(value);
    site_flush(site);
}

static inline double site_metric(const char *line_start)
{
    struct buf text;
    buf_init(&text, 1 << 22);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    double value = -1;
    size_t len = strlen(line_start);
    for (const char *at = text.data; (at = strstr(at, line_start)) != NULL; at++) {
        if (at == text.data || at[-1] == '\n') {
            value = strtod(at + len, NULL);
        }
    }
    buf_free(&text);
    return value;
}

/* --- clients -------------------------------------------------------------------------------------------- */

#define PARTITIONS 3

struct client {
    int fd;
    struct buf raw;  /* as received */
    struct buf text; /* the head and the body without chunk framing */
    size_t parsed;   /* of raw */
    size_t head_len; /* 0: not complete yet */
    bool is_chunked, is_ended /* by the last chunk */, is_closed;
    size_t looked; /* of text: events looked at */
    bool is_probe; /* its records count for nothing: what it waits for is a position */
    int records;
    int64_t next[PARTITIONS]; /* of orders, by what was received */
    int last_n[PARTITIONS];
    char id[512], event[32]; /* the last ones */
};

static inline int site_connect(const struct site *site, int receive_bytes)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (receive_bytes) {
        assert_int_equal(
            0, setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes));
    }
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(site->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(0, connect(fd, (const struct sockaddr *)&address, sizeof address));
    return fd;
}

/* target and, optionally, more header lines, each with its line end. */
static inline struct client *client_open_with(const struct site *site, const char *request,
                                              int receive_bytes)
{
    struct client *client = must_alloc(sizeof *client);
    client->fd = site_connect(site, receive_bytes);
    buf_init(&client->raw, 1 << 28);
    buf_init(&client->text, 1 << 28);
    assert_int_equal(strlen(request), send(client->fd, request, strlen(request), MSG_NOSIGNAL));
    return client;
}

static inline struct client *client_open(const struct site *site, const char *target,
                                         const char *headers)
{
    char request[4096];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target,
                   headers ? headers : "");
    return client_open_with(site, request, 0);
}

static inline void client_close(struct client *client)
{
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
    buf_free(&client->raw);
    buf_free(&client->text);
    free(client);
}

/* Epochs differ from run to run: tests see a stream's ids without them; test_remade.c is about them. */
static inline void text_append(struct buf *text, const char *bytes, size_t len)
{
    const char *end = bytes + len, *mark;
    while ((mark = memmem(bytes, (size_t)(end - bytes), ",e=", 3)) != NULL && end - mark >= 11) {
        assert_err(ERR_OK, buf_append(text, bytes, (size_t)(mark - bytes)));
        bytes = mark + 11;
    }
    assert_err(ERR_OK, buf_append(text, bytes, (size_t)(end - bytes)));
}

static inline void client_take_head(struct client *client)
{
    const char *end = memmem(client->raw.data, client->raw.len, "\r\n\r\n", 4);
    if (end) {
        client->head_len = (size_t)(end - client->raw.data) + 4;
        client->parsed = client->head_len;
        assert_err(ERR_OK, buf_append(&client->text, client->raw.data, client->head_len));
        client->looked = client->text.len;
        client->is_chunked =
            memmem(client->raw.data, client->head_len, "Transfer-Encoding: chunked", 26) != NULL;
    }
}

static inline void client_take_body(struct client *client)
{
    while (client->is_chunked && !client->is_ended) {
        const char *at = client->raw.data + client->parsed;
        size_t left = client->raw.len - client->parsed;
        const char *line = memmem(at, left, "\r\n", 2);
        if (!line) {
            return;
        }
        size_t bytes = strtoul(at, NULL, 16), head = (size_t)(line - at) + 2;
        if (left < head + bytes + 2) {
            return;
        }
        text_append(&client->text, at + head, bytes);
        client->parsed += head + bytes + 2;
        client->is_ended = bytes == 0;
    }
    if (!client->is_chunked) {
        assert_err(ERR_OK, buf_append(&client->text, client->raw.data + client->parsed,
                                      client->raw.len - client->parsed));
        client->parsed = client->raw.len;
    }
}

/* Checks order within each partition: no record twice, none left out. */
static inline void client_take_record(struct client *client, const char *data)
{
    int n = atoi(strstr(data, "\"n\":") + 4), p = n % PARTITIONS;
    if (client->last_n[p] && n != client->last_n[p] + PARTITIONS) {
        fail_msg("record %d came after %d", n, client->last_n[p]);
    }
    client->last_n[p] = n;
    client->records++;
}

static inline void client_take_event(struct client *client, char *event)
{
    client->event[0] = '\0';
    for (char *line = strtok(event, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "id: ", 4) == 0) {
            (void)snprintf(client->id, sizeof client->id, "%s", line + 4);
        } else if (strncmp(line, "event: ", 7) == 0) {
            (void)snprintf(client->event, sizeof client->event, "%s", line + 7);
        } else if (!client->is_probe && strncmp(line, "data: {\"n\":", 11) == 0) {
            client_take_record(client, line + 6);
        }
    }
}

static inline void client_take_events(struct client *client)
{
    const char *end;
    while (client->head_len &&
           (end = memmem(client->text.data + client->looked, client->text.len - client->looked,
                         "\n\n", 2)) != NULL) {
        size_t len = (size_t)(end - client->text.data) - client->looked + 1;
        char *event = must_alloc(len + 1);
        memcpy(event, client->text.data + client->looked, len);
        client->looked += len + 1;
        client_take_event(client, event);
        free(event);
    }
}

/* Reads what comes within the time; false: nothing came, or the end. */
static inline bool client_read(struct client *client, int timeout_ms)
{
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    if (client->is_closed || poll(&wait, 1, timeout_ms) <= 0) {
        return false;
    }
    assert_err(ERR_OK, buf_reserve(&client->raw, 65536));
    ssize_t got = recv(client->fd, client->raw.data + client->raw.len, 65536, 0);
    if (got <= 0) {
        client->is_closed = true;
        return false;
    }
    client->raw.len += (size_t)got;
    if (!client->head_len) {
        client_take_head(client);
    }
    if (client->head_len) {
        client_take_body(client);
        client_take_events(client);
    }
    return true;
}

static inline void client_await_records(struct client *client, int count)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (client->records < count) {
        if (!client_read(client, 1000) && (client->is_closed || clock_mono_us() > deadline_us)) {
            fail_msg("%d records of %d, then %s; last event \"%s\", id %s", client->records, count,
                     client->is_closed ? "the end" : "nothing", client->event, client->id);
        }
    }
    assert_int_equal(count, client->records);
}

/* Whether the answer's body has it, or the line end before it. The head holds a random id, in which any
 * few letters may be. */
static inline bool client_has_text(const struct client *client, const char *text)
{
    size_t head = client->head_len - 1;
    return client->head_len > 0 &&
           memmem(client->text.data + head, client->text.len - head, text, strlen(text)) != NULL;
}

static inline void client_await_text(struct client *client, const char *text)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (!client->text.len || !memmem(client->text.data, client->text.len, text, strlen(text))) {
        if (!client_read(client, 1000) && (client->is_closed || clock_mono_us() > deadline_us)) {
            fail_msg("no \"%s\" in \"%.*s\"", text, SV_ARG(buf_view(&client->raw)));
        }
    }
}

static inline void client_await_end(struct client *client)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (!client->is_closed) {
        assert_true(clock_mono_us() < deadline_us);
        (void)client_read(client, 1000);
    }
}

/* With one worker: it has all that was produced, `cursor` is the position after it. */
static inline void site_await_read(const struct site *site, const char *cursor)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    bool is_read = false;
    while (!is_read) {
        assert_true(clock_mono_us() < deadline_us);
        struct client *probe = client_open(site, "/events/orders", NULL);
        probe->is_probe = true;
        client_await_text(probe, "\nid: ");
        is_read = strcmp(probe->id, cursor) == 0;
        client_close(probe);
    }
}

/* A request with an answer that ends; the text is the caller's. */
static inline char *site_get(const struct site *site, const char *target, const char *headers)
{
    char more[2048];
    (void)snprintf(more, sizeof more, "%.1900sConnection: close\r\n", headers ? headers : "");
    struct client *client = client_open(site, target, more);
    client_await_end(client);
    char *text = must_alloc(client->text.len + 1);
    memcpy(text, client->text.data, client->text.len);
    client_close(client);
    return text;
}

static inline void expect_in(const char *text, const char *wanted)
{
    if (!strstr(text, wanted)) {
        fail_msg("no \"%s\" in:\n%s", wanted, text);
    }
}
