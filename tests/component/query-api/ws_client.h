/* ws_client.h - a client of query-api's WebSocket. What it hears is kept as lines, a message each, as a
 * client of NDJSON would see it; of the subscription "s", records of site_produce_orders are checked for
 * order. */
#pragma once

#include "http/websocket.h"
#include "query_under_test.h"
#include "websocket_frames.h"

#define WS_TEXT  (FRAME_FINAL | 1)
#define WS_CLOSE (FRAME_FINAL | 8)
#define WS_PING  (FRAME_FINAL | 9)

struct ws {
    struct client *client; /* its socket, raw bytes, and counts of records */
    struct buf text;       /* messages, each with a line end before and behind it */
    size_t taken;          /* of client->raw */
    uint16_t close_code;   /* 0: no close has come */
    bool answers_pings;
    struct websocket_codec *codec; /* made when a compressed message comes */
    int packed;                    /* messages that were compressed */
};

static inline void ws_say_frame(struct ws *ws, uint8_t first, const char *payload)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    frame_append(&out, first, sv(payload));
    (void)!send(ws->client->fd, out.data, out.len, MSG_NOSIGNAL);
    buf_free(&out);
}

static inline void ws_say(struct ws *ws, const char *message)
{
    ws_say_frame(ws, WS_TEXT, message);
}

static inline void ws_take(struct ws *ws, const struct server_frame *frame);

static inline void ws_unpack(struct ws *ws, const struct server_frame *frame)
{
    struct buf message;
    struct server_frame plain = {.first = WS_TEXT};
    ws->codec = ws->codec ? ws->codec : websocket_codec_new();
    ws->packed++;
    buf_init(&message, 1 << 20);
    assert_err(ERR_OK, buf_append_view(&message, frame->payload));
    assert_err(ERR_OK, websocket_inflate(ws->codec, &message, 1 << 20, &plain.payload));
    ws_take(ws, &plain);
    buf_free(&message);
}

static inline void ws_take(struct ws *ws, const struct server_frame *frame)
{
    if (frame->first == WS_CLOSE) {
        ws->close_code = server_frame_code(frame);
    } else if (frame->first == WS_PING && ws->answers_pings) {
        ws_say_frame(ws, FRAME_FINAL | 10, "");
    } else if (frame->first == (WS_TEXT | FRAME_RSV1)) {
        ws_unpack(ws, frame);
    } else if (frame->first == WS_TEXT) {
        size_t at = ws->text.len;
        text_append(&ws->text, frame->payload.ptr, frame->payload.len);
        assert_err(ERR_OK, buf_append(&ws->text, "", 1)); /* for strstr */
        const char *line = ws->text.data + at, *value = strstr(line, "\"value\":{\"n\":");
        if (value && strncmp(line, "{\"subscription\":\"s\",", 20) == 0) {
            client_take_record(ws->client, value);
        }
        ws->text.data[ws->text.len - 1] = '\n';
    }
}

/* Reads what comes within the time; false: nothing came, or the end. */
static inline bool ws_read(struct ws *ws, int timeout_ms)
{
    struct client *client = ws->client;
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    if (client->is_closed || poll(&wait, 1, timeout_ms) <= 0) {
        return false;
    }
    assert_err(ERR_OK, buf_reserve(&client->raw, 65536));
    ssize_t got = recv(client->fd, client->raw.data + client->raw.len, 65536, 0);
    client->is_closed = got <= 0;
    client->raw.len += got > 0 ? (size_t)got : 0;
    if (!client->head_len) {
        client_take_head(client);
        ws->taken = client->head_len;
    }
    struct strview rest = {client->raw.data + ws->taken, client->raw.len - ws->taken};
    struct server_frame frame = {0};
    while (client->head_len && server_frame_take(&rest, &frame)) {
        ws_take(ws, &frame);
    }
    ws->taken = client->raw.len - rest.len;
    return got > 0;
}

static inline bool ws_has(const struct ws *ws, const char *text)
{
    return memmem(ws->text.data, ws->text.len, text, strlen(text)) != NULL;
}

static inline void ws_await_text(struct ws *ws, const char *text)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (!ws_has(ws, text)) {
        if (!ws_read(ws, 1000) && (ws->client->is_closed || clock_mono_us() > deadline_us)) {
            fail_msg("no \"%s\" in \"%.*s\"", text, SV_ARG(buf_view(&ws->text)));
        }
    }
}

/* The last of what was said. */
static inline const char *ws_end(struct ws *ws)
{
    assert_err(ERR_OK, buf_append(&ws->text, "", 1));
    return ws->text.data + (ws->text.len > 300 ? ws->text.len - 300 : 0);
}

/* Also the next time, what came up to now does not count. */
static inline void ws_forget(struct ws *ws)
{
    buf_reset(&ws->text);
    assert_err(ERR_OK, buf_append(&ws->text, "\n", 1));
}

static inline void ws_await_records(struct ws *ws, int count)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (ws->client->records < count) {
        if (!ws_read(ws, 1000) && (ws->client->is_closed || clock_mono_us() > deadline_us)) {
            fail_msg("%d records of %d, then \"%s\"", ws->client->records, count, ws_end(ws));
        }
    }
    assert_int_equal(count, ws->client->records);
}

/* Waits for the server's close, answers it, and for the end of the connection. */
static inline void ws_await_close(struct ws *ws, uint16_t code)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    bool is_answered = false;
    while (!ws->client->is_closed) {
        assert_true(clock_mono_us() < deadline_us);
        (void)ws_read(ws, 1000);
        if (ws->close_code && !is_answered) {
            is_answered = true;
            ws_say_frame(ws, WS_CLOSE, "\x03\xE8");
        }
    }
    assert_int_equal(code, ws->close_code);
}

/* receive_bytes 0: the kernel's own. */
static inline struct ws *ws_open_as(const struct site *site, const char *target,
                                    const char *headers, int receive_bytes)
{
    struct ws *ws = must_alloc(sizeof *ws);
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "GET %s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "%s\r\n",
                   target, headers ? headers : "");
    ws->client = client_open_with(site, request, receive_bytes);
    ws->answers_pings = true;
    buf_init(&ws->text, 1 << 28);
    ws_forget(ws);
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (!ws->client->head_len) {
        assert_true(ws_read(ws, 1000) || clock_mono_us() < deadline_us);
    }
    return ws;
}

static inline struct ws *ws_connect(const struct site *site)
{
    struct ws *ws = ws_open_as(site, "/ws", "Sec-WebSocket-Protocol: millrace.v1\r\n", 0);
    assert_memory_equal("HTTP/1.1 101 ", ws->client->raw.data, 13);
    expect_in(ws->client->raw.data, "Sec-WebSocket-Protocol: millrace.v1\r\n");
    return ws;
}

static inline void ws_disconnect(struct ws *ws)
{
    client_close(ws->client);
    websocket_codec_free(ws->codec);
    buf_free(&ws->text);
    free(ws);
}
