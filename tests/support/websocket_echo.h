/* websocket_echo.h - a server's end that says again what it hears: for tests of the WebSocket in
 * common/http, by ours and by strangers (tests/autobahn). One worker's. */
#pragma once

#include <stdlib.h>

#include "core/clock.h"
#include "http/http_websocket.h"

#define ECHO_SOCKETS_MAX 64

struct echo;

struct echo_socket {
    struct echo *echo;
    struct http_websocket *websocket;
    size_t index;
};

struct echo {
    struct http_websocket_config config;
    struct websocket_codec *codec;
    struct echo_socket *sockets[ECHO_SOCKETS_MAX];
    size_t count;
    _Atomic int64_t ahead_ms; /* the clock of ticks goes so far before the real one */
    _Atomic int open, ended;
    _Atomic int ends[HTTP_WEBSOCKET_CLOSED + 1]; /* by reason */
    _Atomic int last_code;
};

static inline void echo_on_message(void *context, bool is_text, struct strview message)
{
    struct echo_socket *socket = context;
    struct buf *out = http_websocket_out(socket->websocket);
    enum websocket_opcode opcode = is_text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY;
    int window_bits = http_websocket_window_bits(socket->websocket);
    if (sv_equal(message, SV("close me"))) {
        http_websocket_close(socket->websocket, WEBSOCKET_TRY_LATER, SV("as you wish"));
        return;
    }
    if (!window_bits) {
        CHECK(websocket_append(out, opcode, message) == ERR_OK);
        return;
    }
    char head[WEBSOCKET_HEAD_MAX];
    struct buf packed;
    buf_init(&packed, 1 << 30);
    CHECK(websocket_deflate(socket->echo->codec, window_bits, message, &packed) == ERR_OK);
    size_t len = websocket_head(head, opcode, true, packed.len);
    CHECK(buf_append(out, head, len) == ERR_OK);
    CHECK(buf_append_view(out, buf_view(&packed)) == ERR_OK);
    buf_free(&packed);
}

static inline bool echo_on_room(void *context, struct buf *out)
{
    (void)context, (void)out;
    return false;
}

static inline void echo_on_end(void *context, enum http_websocket_end why, uint16_t code,
                               struct strview reason)
{
    (void)reason;
    struct echo_socket *socket = context;
    struct echo *echo = socket->echo;
    echo->sockets[socket->index] = echo->sockets[--echo->count];
    echo->sockets[socket->index]->index = socket->index;
    echo->last_code = code;
    echo->ends[why]++;
    echo->open--;
    echo->ended++;
    free(socket);
}

static inline void echo_tick(void *context)
{
    struct echo *echo = context;
    for (size_t i = echo->count; i > 0; i--) {
        http_websocket_tick(echo->sockets[i - 1]->websocket,
                            clock_mono_us() + echo->ahead_ms * 1000);
    }
}

static inline void echo_handle(struct http_request *request, struct echo *echo)
{
    static const struct http_websocket_hooks hooks = {
        .on_message = echo_on_message, .on_room = echo_on_room, .on_end = echo_on_end};
    CHECK(echo->count < ECHO_SOCKETS_MAX);
    struct echo_socket *socket = must_alloc(sizeof *socket);
    const struct http_websocket_params params = {
        .config = &echo->config, .hooks = &hooks, .context = socket, .codec = echo->codec};
    struct err_info info = {0};
    *socket = (struct echo_socket){.echo = echo, .index = echo->count};
    enum err e = http_websocket_accept(request, &params, &socket->websocket, &info);
    if (e) {
        free(socket);
        http_reply_err(request, e, &info);
        return;
    }
    CHECK(socket->websocket != NULL);
    echo->sockets[echo->count++] = socket;
    echo->open++;
    http_websocket_pump(socket->websocket, false);
}

static inline void echo_drain(struct echo *echo)
{
    for (size_t i = echo->count; i > 0; i--) {
        struct http_websocket *websocket = echo->sockets[i - 1]->websocket;
        http_websocket_close(websocket, WEBSOCKET_GOING_AWAY, SV("draining"));
        http_websocket_pump(websocket, false);
    }
}

static inline void echo_stop(struct echo *echo)
{
    while (echo->count > 0) {
        struct echo_socket *socket = echo->sockets[--echo->count];
        http_websocket_cut(socket->websocket);
        free(socket);
    }
    websocket_codec_free(echo->codec);
    echo->codec = NULL;
}
