#define _GNU_SOURCE /* EPOLLRDHUP */

#include "http/http_websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "http/http_internal.h"

#define RECEIVE_BYTES    16384 /* a TLS record: none is left behind in the session */
#define RECEIVES_MAX     4     /* of one turn */
#define ROUNDS_MAX       16    /* of one turn */
#define READ_PAUSE_BYTES ((size_t)256 << 10)
#define OUT_BYTES_MAX    ((size_t)1 << 30) /* several times what any broker takes as a record */
#define OUT_KEPT_BYTES   512               /* of an idle client's buffer */
#define CLOSE_TIMEOUT_US 2000000

struct http_websocket {
    const struct http_websocket_config *config;
    const struct http_websocket_hooks *hooks;
    void *context;
    struct http_stream http;
    struct http_watch *watch;
    uint32_t watched;
    struct websocket_reader reader;
    struct buf out;
    size_t sent;        /* of out */
    int64_t written;    /* since it began */
    int64_t heard_us;   /* the peer said something */
    int64_t pinged_us;  /* 0: not since it was heard */
    int64_t blocked_us; /* since when its socket takes nothing; 0: it does */
    int64_t close_us;   /* since when we wait for its close; 0: we do not */
    int window_bits;
    bool is_closing;     /* a close is in `out`, or was */
    bool is_peer_closed; /* its close has come */
    bool is_finished;    /* no more can be sent */
    enum http_websocket_end end;
    uint16_t end_code;
    char end_reason[WEBSOCKET_CONTROL_MAX];
    uint8_t end_reason_len;
};

/* --- the end ---------------------------------------------------------------------------------- */

void http_websocket_cut(struct http_websocket *socket)
{
    if (!socket) {
        return;
    }
    if (socket->watch) {
        http_watch_close(socket->watch);
    }
    http_stream_close(&socket->http);
    websocket_reader_deinit(&socket->reader);
    buf_free(&socket->out);
    free(socket);
}

static void end(struct http_websocket *socket, enum http_websocket_end why)
{
    if (socket->is_closing && why == HTTP_WEBSOCKET_GONE) {
        why = socket->end; /* as it was to be */
    }
    socket->hooks->on_end(socket->context, why, socket->end_code,
                          sv_of(socket->end_reason, socket->end_reason_len));
    http_websocket_cut(socket);
}

static void note_end(struct http_websocket *socket, enum http_websocket_end why, uint16_t code,
                     struct strview reason)
{
    socket->end = why;
    socket->end_code = code;
    socket->end_reason_len =
        (uint8_t)(reason.len < sizeof socket->end_reason ? reason.len : sizeof socket->end_reason);
    if (socket->end_reason_len) {
        memcpy(socket->end_reason, reason.ptr, socket->end_reason_len);
    }
}

static void append_close(struct http_websocket *socket, uint16_t code, struct strview reason)
{
    socket->is_closing = true;
    /* Fails only where more than OUT_BYTES_MAX wait: then the connection ends without. */
    (void)!websocket_append_close(&socket->out, code, reason);
}

void http_websocket_close(struct http_websocket *socket, uint16_t code, struct strview reason)
{
    if (!socket->is_closing) {
        note_end(socket, HTTP_WEBSOCKET_CLOSED, code, reason);
        append_close(socket, code, reason);
    }
}

/* --- receiving -------------------------------------------------------------------------------- */

static size_t backlog(const struct http_websocket *socket)
{
    return socket->out.len - socket->sent;
}

static void got_close(struct http_websocket *socket, const struct websocket_data *data)
{
    socket->is_peer_closed = true;
    if (!socket->is_closing) {
        note_end(socket, HTTP_WEBSOCKET_GONE, data->code, data->bytes);
        append_close(socket, data->code, (struct strview){0});
    }
}

static void failed(struct http_websocket *socket, const struct websocket_data *data)
{
    if (!socket->is_closing) {
        append_close(socket, data->code, data->bytes);
    }
    note_end(socket, HTTP_WEBSOCKET_FAILED, data->code, data->bytes);
}

static void take_event(struct http_websocket *socket, enum websocket_event event,
                       const struct websocket_data *data)
{
    switch (event) {
    case WEBSOCKET_GOT_TEXT:
    case WEBSOCKET_GOT_BINARY:
        if (!socket->is_closing) {
            socket->hooks->on_message(socket->context, event == WEBSOCKET_GOT_TEXT, data->bytes);
        }
        break;
    case WEBSOCKET_GOT_PING:
        if (!socket->is_closing) { /* as append_close */
            (void)!websocket_append(&socket->out, WEBSOCKET_PONG, data->bytes);
        }
        break;
    case WEBSOCKET_GOT_CLOSE:
        got_close(socket, data);
        break;
    case WEBSOCKET_FAILED:
        failed(socket, data);
        break;
    case WEBSOCKET_GOT_PONG: /* that it was heard is all that counts */
    case WEBSOCKET_MORE:
        break;
    }
}

static void take_bytes(struct http_websocket *socket, struct strview bytes)
{
    struct websocket_data data;
    enum websocket_event event;
    do {
        event = websocket_read(&socket->reader, &bytes, &data);
        take_event(socket, event, &data);
    } while (event != WEBSOCKET_MORE);
}

/* False: the peer has gone. */
static bool receive(struct http_websocket *socket)
{
    char bytes[RECEIVE_BYTES];
    for (int i = 0; i < RECEIVES_MAX && backlog(socket) <= READ_PAUSE_BYTES; i++) {
        ssize_t count = http_stream_recv(&socket->http, bytes, sizeof bytes);
        if (count <= 0) {
            return count < 0 && (errno == EAGAIN || errno == EINTR);
        }
        socket->heard_us = clock_mono_us();
        socket->pinged_us = 0;
        take_bytes(socket, sv_of(bytes, (size_t)count));
    }
    return true;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void watch_for(struct http_websocket *socket, bool is_room_wanted)
{
    uint32_t wanted = EPOLLRDHUP | (is_room_wanted ? EPOLLOUT : 0) |
                      (backlog(socket) <= READ_PAUSE_BYTES ? EPOLLIN : 0);
    if (wanted != socket->watched) {
        socket->watched = wanted;
        http_watch_events(socket->watch, wanted);
    }
}

enum outcome { SENT, BLOCKED, LOST };

static enum outcome flush(struct http_websocket *socket)
{
    while (backlog(socket) > 0 || http_stream_is_pending(&socket->http)) {
        struct iovec rest = {socket->out.data + socket->sent, backlog(socket)};
        ssize_t sent = http_stream_send(&socket->http, &rest, rest.iov_len ? 1 : 0);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return errno == EAGAIN ? BLOCKED : LOST;
        }
        socket->sent += (size_t)sent;
        socket->written += sent;
        socket->blocked_us = 0;
    }
    buf_reset(&socket->out);
    socket->sent = 0;
    return SENT;
}

/* Our close is in the socket. False: the connection is over. */
static bool await_close(struct http_websocket *socket)
{
    if (socket->is_peer_closed) {
        return false;
    }
    if (!socket->close_us) {
        socket->close_us = clock_mono_us();
    }
    if (socket->end == HTTP_WEBSOCKET_FAILED && !socket->is_finished) {
        /* Nothing it says can be read any more; its end can. A close of the socket now would reset
         * the connection, and ours might be lost with it. */
        socket->is_finished = true;
        http_stream_finish(&socket->http);
    }
    watch_for(socket, false);
    return true;
}

static void rest(struct http_websocket *socket)
{
    watch_for(socket, false);
    if (socket->out.capacity > OUT_KEPT_BYTES) {
        buf_free(&socket->out);
    }
}

static void blocked(struct http_websocket *socket)
{
    socket->blocked_us = socket->blocked_us ? socket->blocked_us : clock_mono_us();
    watch_for(socket, true);
    if (!socket->is_closing && socket->hooks->on_blocked) {
        socket->hooks->on_blocked(socket->context);
    }
}

void http_websocket_pump(struct http_websocket *socket, bool is_burst)
{
    for (int round = 0; round < ROUNDS_MAX || is_burst; round++) {
        switch (flush(socket)) {
        case LOST:
            end(socket, HTTP_WEBSOCKET_GONE);
            return;
        case BLOCKED:
            blocked(socket);
            return;
        case SENT:
            break;
        }
        if (socket->is_closing) {
            if (!await_close(socket)) {
                end(socket, HTTP_WEBSOCKET_GONE);
            }
            return;
        }
        if (!socket->hooks->on_room(socket->context, &socket->out) && backlog(socket) == 0) {
            rest(socket);
            return;
        }
    }
    watch_for(socket, true); /* the socket is ready: the next turn goes on */
}

static void on_ready(void *context, uint32_t events)
{
    struct http_websocket *socket = context;
    bool is_here =
        events & EPOLLIN ? receive(socket) : !(events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP));
    if (is_here) {
        http_websocket_pump(socket, false);
    } else {
        end(socket, HTTP_WEBSOCKET_GONE);
    }
}

void http_websocket_tick(struct http_websocket *socket, int64_t now_us)
{
    const struct http_websocket_config *config = socket->config;
    if (socket->close_us && now_us - socket->close_us > CLOSE_TIMEOUT_US) {
        end(socket, HTTP_WEBSOCKET_GONE);
    } else if (socket->blocked_us) {
        int64_t timeout_us =
            socket->is_closing ? CLOSE_TIMEOUT_US : config->stall_timeout_ms * 1000;
        if (now_us - socket->blocked_us > timeout_us) {
            end(socket, HTTP_WEBSOCKET_STALLED);
        }
    } else if (socket->pinged_us) {
        if (now_us - socket->pinged_us > config->pong_timeout_ms * 1000) {
            end(socket, HTTP_WEBSOCKET_SILENT);
        }
    } else if (!socket->is_closing && now_us - socket->heard_us > config->ping_ms * 1000) {
        socket->pinged_us = now_us;
        (void)!websocket_append(&socket->out, WEBSOCKET_PING, SV("")); /* as append_close */
        http_websocket_pump(socket, false);
    }
}

/* --- for the owner ---------------------------------------------------------------------------- */

int http_websocket_fd(const struct http_websocket *socket)
{
    return socket->http.fd;
}

int64_t http_websocket_written(const struct http_websocket *socket)
{
    return socket->written;
}

int http_websocket_window_bits(const struct http_websocket *socket)
{
    return socket->window_bits;
}

struct buf *http_websocket_out(struct http_websocket *socket)
{
    return &socket->out;
}

bool http_websocket_is_closing(const struct http_websocket *socket)
{
    return socket->is_closing;
}

/* --- the beginning ---------------------------------------------------------------------------- */

enum err http_websocket_accept(struct http_request *request,
                               const struct http_websocket_params *params,
                               struct http_websocket **ret, struct err_info *info)
{
    struct http_worker *worker = http_request_worker(request);
    int window_bits = 0;
    enum err e =
        http_websocket_greet(request, params->config, params->codec ? &window_bits : NULL, info);
    if (e) {
        return e;
    }
    int64_t now_us = clock_mono_us();
    struct http_websocket *socket = must_alloc(sizeof *socket);
    *socket = (struct http_websocket){.config = params->config,
                                      .hooks = params->hooks,
                                      .context = params->context,
                                      .http.fd = -1,
                                      .window_bits = window_bits,
                                      .heard_us = now_us};
    websocket_reader_init(&socket->reader, (size_t)params->config->message_bytes_max,
                          window_bits ? params->codec : NULL);
    buf_init(&socket->out, OUT_BYTES_MAX);
    e = http_upgrade_head(request, &socket->out);
    if (e) {
        http_websocket_cut(socket);
        return e;
    }
    http_request_take_stream(request, &socket->http);
    request->status = 101;
    socket->watched = EPOLLIN | EPOLLRDHUP;
    socket->watch = http_worker_watch(worker, socket->http.fd, socket->watched, on_ready, socket);
    if (!socket->watch) { /* epoll's own limit: the client sees its connection end */
        http_websocket_cut(socket);
        socket = NULL;
    }
    *ret = socket;
    return ERR_OK;
}
