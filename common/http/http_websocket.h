/* http_websocket.h - a WebSocket on its worker's loop: the handshake, the socket, pings, the end.
 *
 * WHAT     http_websocket_accept answers a request with 101; from then on the owner hears of each
 *          message, and is asked for what comes next whenever all before it is in the socket. It
 *          appends frames (websocket.h) and never touches the socket. Pings are answered here, peers
 *          that are gone are found here, and both sides' closing is done as RFC 6455 §7 has it.
 * BOUNDS   messages of a client: message_bytes_max. While more than 256 KiB wait for a client nothing
 *          is read from it: who does not take answers asks no more questions.
 * TIMES    a peer that says nothing for ping_ms is pinged, and cut when nothing comes for
 *          pong_timeout_ms more; one that takes nothing for stall_timeout_ms is cut; a close that is
 *          not taken, or not answered, is over after 2 s.
 * OWNS     itself, from accept until on_end has returned.
 * THREADS  the worker's.
 * FREES    http_websocket_pump and _tick may end it: on_end is called then, and nothing else after.
 *          The other functions do not, nor do any inside a hook.
 */
#pragma once

#include "http/http.h"
#include "http/websocket.h"

struct http_websocket;

enum http_websocket_end {
    HTTP_WEBSOCKET_GONE,    /* the peer closed, or its connection did */
    HTTP_WEBSOCKET_SILENT,  /* no pong */
    HTTP_WEBSOCKET_STALLED, /* took nothing */
    HTTP_WEBSOCKET_FAILED,  /* broke the protocol, and was told how */
    HTTP_WEBSOCKET_CLOSED,  /* by http_websocket_close */
};

struct http_websocket_hooks {
    void (*on_message)(void *context, bool is_text, struct strview message);
    /* Appends what comes next; false: there is nothing for now. Not called once it is closing. */
    bool (*on_room)(void *context, struct buf *out);
    /* The socket takes no more of what there is, and is not closing. May be NULL. */
    void (*on_blocked)(void *context);
    /* What the peer sent as its reason, or why we failed it; may be empty. */
    void (*on_end)(void *context, enum http_websocket_end why, uint16_t code,
                   struct strview reason);
};

struct http_websocket_config {
    int64_t message_bytes_max;
    int64_t ping_ms;
    int64_t pong_timeout_ms;
    int64_t stall_timeout_ms;
    const char
        *origins; /* that may come besides the request's own host: "*", a comma list, or "" */
    const char *protocol; /* the one spoken here; a client may name none. NULL: any, unnamed */
};

struct http_websocket_params {
    const struct http_websocket_config *config; /* outlives the socket */
    const struct http_websocket_hooks *hooks;   /* static */
    void *context;
    struct websocket_codec *codec; /* the worker's; NULL: nothing is compressed */
};

/* On an error the request is still to be answered: http_reply_err. */
MUST_CHECK enum err http_websocket_accept(struct http_request *request,
                                          const struct http_websocket_params *params,
                                          struct http_websocket **ret, struct err_info *info);
/* Whether a request asks for one at all. */
bool http_websocket_is_asked(const struct http_request *request);

int http_websocket_fd(const struct http_websocket *socket);          /* to tune, not to send on */
int64_t http_websocket_written(const struct http_websocket *socket); /* bytes, since it began */
/* 0: messages are not compressed. */
int http_websocket_window_bits(const struct http_websocket *socket);
/* Where frames are appended; they go out with the next pump. */
struct buf *http_websocket_out(struct http_websocket *socket);
bool http_websocket_is_closing(const struct http_websocket *socket);
/* Appends a close, after which nothing is sent; goes out with the next pump. */
void http_websocket_close(struct http_websocket *socket, uint16_t code, struct strview reason);

/* There is something to send: a turn of it, or, in a burst, as much as the socket takes. */
void http_websocket_pump(struct http_websocket *socket, bool is_burst);
void http_websocket_tick(struct http_websocket *socket, int64_t now_us);
void http_websocket_cut(struct http_websocket *socket); /* NULL is a no-op; without on_end */
