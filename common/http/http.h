/* http.h - the HTTP core: one loop per thread, nothing crosses threads (decision D1).
 *
 * WHAT     http.threads workers, each with its own SO_REUSEPORT listener and one epoll loop that
 *          serves its connections, the watches a service adds (a producer's delivery reports, a
 *          hub's wake-up) and timers. HTTP/1.1 and 1.0.
 *          Before any handler: ambiguous framing refused, route matched, limits applied, the body's
 *          content coding undone, the body collected. A handler runs once, with the whole body, and
 *          replies or defers; a deferred request is answered later from the same thread. A route
 *          that wants its body as it arrives says so when it is opened: see "bodies in pieces".
 * BOUNDS   connections, body bytes, head bytes, header and body arrival time, request time, bytes
 *          of bodies in flight: all in http_config.
 * OWNS     what http_request_* return is borrowed until the reply.
 * THREADS  a request belongs to its worker's thread from the handler to the reply; http_server_*
 *          are called by the main thread.
 * ERRORS   http_reply_err is the one way an error leaves: problem+json, Retry-After where due.
 * SOURCE   RFC 9110, RFC 9112; docs/adr/0001, 0023.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "config/config.h"
#include "core/buf.h"
#include "core/embedded.h"
#include "core/err.h"
#include "core/strview.h"

struct http_config {
    const char *host;
    int64_t port;    /* 0: any free one */
    int64_t threads; /* 0: one a core */
    int64_t connections_max;
    int64_t body_bytes_max;      /* collected; decoded */
    int64_t streamed_bytes_max;  /* in pieces; decoded */
    int64_t streamed_timeout_ms; /* request line to complete body, in pieces: 408 */
    int64_t inflight_bytes_max;  /* bodies held, all workers together; past it 503 */
    int64_t header_timeout_ms;   /* connection to complete head */
    int64_t body_timeout_ms;     /* head to complete body, or between two pieces: 408 */
    int64_t idle_timeout_ms;     /* keep-alive connection between requests */
    int64_t request_timeout_ms;  /* complete request to reply: 503 */
    int64_t head_bytes_max;      /* request line and fields: 431 */
    double client_rate;          /* requests a second and client address: 429; 0: no limit */
    int64_t client_burst_ms;     /* of that rate, at once after a pause */
    const char *cors_origins;    /* "*", a comma list, or "" for none */
    const char *tls_cert_file;   /* "" or NULL: no TLS */
    const char *tls_key_file;
    const char *tls_client_ca_file;
    const char *tls_client_auth; /* none, optional, required */
};
extern const struct config_option http_options[];
extern const size_t http_options_count;

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_METHOD_COUNT };
/* HEAD is answered by GET routes, OPTIONS by the core (Allow, CORS preflight). */

struct http_request;
struct http_worker;
struct http_server;

struct http_route {
    enum http_method method;
    const char *path; /* "/events/{topic}": a segment in braces matches one non-empty segment */
    void (*handle)(struct http_request *request);
    /* Or NULL: called when the head is complete and the body still to come. It may reply (a small
     * body is then read and dropped, a larger one costs the client its connection), call
     * http_body_in_pieces, or neither: then the body is collected for `handle`. */
    void (*open)(struct http_request *request);
};

struct http_route_set {
    const struct http_route *routes;
    size_t count;
    void *context;     /* http_request_context of these routes' handlers */
    bool is_unlimited; /* client_rate does not count them: health, metrics */
};

/* What a service runs on each worker's thread. All may be NULL. */
struct http_worker_hooks {
    /* Before the worker serves; *ret_state is http_worker_state from then on. */
    enum err (*start)(struct http_worker *worker, void *context, void **ret_state);
    /* The drain has begun: a hub tells its streams. Also before stop when there was no drain. */
    void (*drain)(void *state);
    /* Every request of the worker has been answered or is gone, and its reader told; the loop has
     * ended. Streams are closed here at the latest. */
    void (*stop)(void *state);
    void *context;
};

struct http_server_params {
    const struct http_config *config;
    const struct http_route_set *sets; /* the first that matches wins */
    size_t set_count;
    struct http_worker_hooks hooks;
};

MUST_CHECK enum err http_server_start(const struct http_server_params *params,
                                      struct http_server **ret, struct err_info *info);
uint16_t http_server_port(const struct http_server *server);
/* Everything is still served, but connections are closed after their answer, so that clients behind a
 * balancer come back through it, and elsewhere. Streams stay. */
void http_server_leave(struct http_server *server);
/* From now on requests to routes other than GET get ERR_DRAINING and connections are closed after
 * their answer; streams are told, by hooks.drain. Returns when nothing is in flight and every stream
 * has been closed, or at the deadline (false). */
bool http_server_drain(struct http_server *server, int64_t timeout_ms);
void http_server_stop(
    struct http_server *server); /* NULL is a no-op; answers what is left with 503 */

/* Reads certificates and key anew, for connections that come from now on; those that are open keep
 * theirs, and are not disturbed. On an error nothing changes. From the main thread. */
MUST_CHECK enum err http_server_reload_tls(struct http_server *server, struct err_info *info);
/* What http_server_start would say of the files that the configuration names. */
MUST_CHECK enum err http_config_check(const struct http_config *config, struct err_info *info);
/* Runs `run` once on every worker's thread, between two turns of its loop, and returns when all have:
 * what they used before can be freed then, but for what requests in flight hold on to. From the main
 * thread, between start and drain. */
void http_server_on_workers(struct http_server *server,
                            void (*run)(struct http_worker *worker, void *context), void *context);

/* --- worker ----------------------------------------------------------------------------------- */

void *http_worker_state(const struct http_worker *worker);
unsigned http_worker_index(const struct http_worker *worker); /* 0 … threads-1 */

/* Calls on_ready on the worker's thread when fd is readable (level-triggered) or, with events,
 * as EPOLL* say. Only from the worker's thread or in hooks.start. */
struct http_watch;
MUST_CHECK struct http_watch *http_worker_watch(struct http_worker *worker, int fd,
                                                uint32_t epoll_events,
                                                void (*on_ready)(void *context, uint32_t events),
                                                void *context);
void http_watch_events(struct http_watch *watch, uint32_t epoll_events); /* 0: keep, ask nothing */
void http_watch_close(struct http_watch *watch); /* does not close fd; safe inside on_ready */

/* Calls on_tick about every period_ms on the worker's thread, until the worker stops. */
void http_worker_every(struct http_worker *worker, int64_t period_ms,
                       void (*on_tick)(void *context), void *context);
bool http_worker_is_draining(const struct http_worker *worker);
/* The clocks (core/clock.h) as they were when the loop last looked: when something woke it, or when it
 * had answered the last request. For a request that is when it was there to be read. */
int64_t http_worker_now_us(const struct http_worker *worker); /* clock_mono_us */
int64_t http_worker_now_ms(const struct http_worker *worker); /* clock_now_ms */

/* --- request ---------------------------------------------------------------------------------- */

struct http_worker *http_request_worker(const struct http_request *request);
void *http_request_context(const struct http_request *request);
enum http_method http_request_method(const struct http_request *request);
struct strview http_request_path(const struct http_request *request);
const char *http_request_param(const struct http_request *request, const char *name); /* decoded */
const char *http_request_query(const struct http_request *request, const char *name); /* or NULL */
/* Calls on_argument for each of the query's arguments, decoded, in their order; value NULL: none was
 * given. */
void http_request_each_query(const struct http_request *request,
                             void (*on_argument)(void *context, struct strview name,
                                                 const char *value),
                             void *context);
const char *http_request_header(const struct http_request *request, const char *name); /* or NULL */
/* Calls on_header for each field of the head, as it was sent; a NUL stands behind name and value. */
void http_request_each_header(const struct http_request *request,
                              void (*on_header)(void *context, struct strview name,
                                                struct strview value),
                              void *context);
/* BUF_SLACK readable bytes lie behind it. */
struct strview http_request_body(const struct http_request *request);
const char *http_request_id(const struct http_request *request); /* X-Request-Id, taken or made */
bool http_request_id_is_given(const struct http_request *request);
const char *http_request_client(const struct http_request *request); /* address, no port */
/* The client's certificate, verified; NULL: plain HTTP, or none was given. */
#define HTTP_PEER_NAMES_MAX 16
struct http_peer {
    const char *subject;     /* RFC 4514: "CN=sensor-7,O=Acme" */
    const char *common_name; /* "" when there is none */
    const char
        *names[HTTP_PEER_NAMES_MAX]; /* of the subject: "dns:…", "uri:…", "email:…", "ip:…" */
    size_t name_count;
};
const struct http_peer *http_request_peer(const struct http_request *request);
/* Media type of Content-Type without parameters, lower case; "" when absent. */
struct strview http_request_media_type(const struct http_request *request);
/* Quality (0 … 1) that Accept gives to a media type. */
double http_request_accepts(const struct http_request *request, const char *media_type);

/* The handler returns without a reply; one of http_reply_* follows from the same thread. When the
 * request ends first (deadline passed, client gone, worker stopping) on_abandon is called: the
 * request is gone after it returns. What it returns is the detail of the 503 that the client gets,
 * static text, or NULL for the error's own title. What waits for one thing after another defers
 * again: the deadline stays that of the first time. */
void http_request_defer(struct http_request *request, const char *(*on_abandon)(void *opaque),
                        void *opaque);

/* --- bodies in pieces -------------------------------------------------------------------------
 * For what must not be held whole. Every request in pieces ends in exactly one of on_end, on_fail,
 * on_gone, or a reply of its own before: from on_piece, or while paused. A reply before the end of
 * the body closes the connection after it. */
struct http_body_reader {
    /* Never empty, at most 16 KiB; no slack behind it. All of it is taken. Gone when this returns. */
    void (*on_piece)(struct http_request *request, void *opaque, struct strview piece);
    /* The body is complete: replies or defers, as a handler does. */
    void (*on_end)(struct http_request *request, void *opaque);
    /* The body will not be complete (too large, stalled, not what its coding says; or paused for
     * request_timeout_ms): replies, defers, or leaves the reply to the core: `err` as it is. */
    void (*on_fail)(struct http_request *request, void *opaque, enum err err,
                    const struct err_info *info);
    /* The client has gone, or the worker stops; the request is gone after it returns. */
    void (*on_gone)(void *opaque);
};
/* Only in the route's open. reader is static. */
void http_body_in_pieces(struct http_request *request, const struct http_body_reader *reader,
                         void *opaque);
/* In on_piece: no more pieces (the client is slowed down by TCP) until http_body_resume, which is
 * called on the same thread, within request_timeout_ms. */
void http_body_pause(struct http_request *request);
void http_body_resume(struct http_request *request);
int64_t http_body_length(const struct http_request *request); /* -1: not known beforehand */

/* --- reply: exactly one per request
 * --------------------------------------------------------------- */

/* Before the reply; name and value are copied. */
void http_reply_header(struct http_request *request, const char *name, const char *value);
void http_reply_bytes(struct http_request *request, int status, const char *content_type,
                      struct strview body); /* copied */
void http_reply_buf(struct http_request *request, int status, const char *content_type,
                    struct buf *body); /* takes the bytes; body is left empty */
void http_reply_json(struct http_request *request, int status,
                     json_t *body); /* takes the reference */
/* GET of an embedded file: ETag, 304, gzip when accepted, security headers for pages. */
void http_reply_file(struct http_request *request, const struct embedded_file *file);

struct http_problem {
    enum err err;
    const struct err_info *info; /* may be NULL */
    int64_t retry_after_ms;      /* 0: the default for the error */
    json_t *extra;               /* more members, e.g. errors; reference taken; may be NULL */
};
void http_reply_err(struct http_request *request, enum err err, const struct err_info *info);
void http_reply_problem(struct http_request *request, const struct http_problem *problem);
/* The problem by itself, of no request; new reference. */
json_t *http_problem_of(enum err err, const struct err_info *info);
/* The problem as JSON without replying (for results inside a 207); new reference. */
json_t *http_problem_json(struct http_request *request, enum err err, const struct err_info *info);

/* --- streams: the connection is its taker's ---------------------------------------------------- */

/* What a stream has taken and not sent yet: only with TLS, whose records are whole or not at all. */
struct http_stream_rest {
    char *bytes;
    size_t len, sent;
};
/* A socket of ours from now on: non-blocking, the request answered by whatever the caller sends
 * (status line included). Same thread. The handler must return right after. */
struct http_stream {
    int fd;                       /* to watch and to tune, not to send on */
    void *tls;                    /* private */
    void *credentials;            /* private */
    struct http_stream_rest rest; /* private */
    struct http_worker *worker;
};
/* As sendmsg: how many bytes were taken, or -1 and errno. */
ssize_t http_stream_send(struct http_stream *stream, const struct iovec *parts, size_t count);
/* As recv: 0 at the peer's end, -1 and errno. With room for a TLS record (16 KiB), all that has come is
 * seen by the watch of fd. */
ssize_t http_stream_recv(struct http_stream *stream, void *bytes, size_t len);
/* No more will be sent: the peer sees our end, and what it sends still comes. */
void http_stream_finish(struct http_stream *stream);
/* What was taken is not all in the socket: when that takes more, send (nothing: count 0) to go on. */
static inline bool http_stream_is_pending(const struct http_stream *stream)
{
    return stream->rest.len > 0;
}
bool http_request_is_head(const struct http_request *request); /* a stream's answer has no body */
/* Status line and fields of a 200 without an end, for the stream to write first: those given to
 * http_reply_header, CORS, request id. *ret_chunked: what follows is in chunked coding. */
MUST_CHECK enum err http_stream_head(struct http_request *request, const char *content_type,
                                     struct buf *out, bool *ret_chunked);
void http_request_take_stream(struct http_request *request, struct http_stream *ret);
void http_stream_close(struct http_stream *stream); /* same thread; closes fd */
