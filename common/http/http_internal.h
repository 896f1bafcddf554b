/* http_internal.h - what the files of this room share. Nothing here is for services.
 *
 *   http_server.c   start, listeners, drain, stop
 *   http_worker.c   the loop: watches, ticks, deadlines, pumping libmicrohttpd
 *   http_request.c  from the request line to the handler and to the end of the answer
 *   http_body.c     the body on its way: admitted, decoded, collected or handed on in pieces
 *   http_client.c   how often one address may ask
 *   http_reply.c    answers
 *   http_reject.c   refusing before the body is in: written by us, with a lingering close
 *   http_stream.c   a connection leaves libmicrohttpd
 *   http_tls.c      certificates and sessions
 *
 * A connection is in exactly one wait (enum http_wait) at a time. All connections of one wait have
 * the same time-out, so each wait is a list in order of time: O(1) to enter, leave and expire.
 */
#pragma once

#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdatomic.h>

#include "core/rate_limiter.h"
#include "http/http.h"
#include "http/http_coding.h"
#include "http/http_head.h"
#include "http/http_route.h"
#include "http/http_tls.h"
#include "metrics/metrics.h"

#if MHD_VERSION >= 0x00097701
#define HTTP_HAS_DISCIPLINE_LEVEL 1
#else
#define HTTP_HAS_DISCIPLINE_LEVEL 0
#endif

enum http_wait {
    HTTP_WAIT_NONE,  /* a handler runs */
    HTTP_WAIT_HEAD,  /* accepted or request line seen, head not complete */
    HTTP_WAIT_IDLE,  /* keep-alive, nothing of the next request seen */
    HTTP_WAIT_BODY,  /* head complete, body not */
    HTTP_WAIT_REPLY, /* deferred */
    HTTP_WAIT_SEND,  /* answer being sent */
    HTTP_WAIT_COUNT
};

struct http_connection {
    struct http_worker *worker;
    struct http_request *request;          /* NULL between requests */
    struct http_connection *older, *newer; /* in worker->waits[wait] */
    int64_t since_us;
    uint64_t acked_bytes; /* WAIT_SEND: what the peer had acknowledged at since_us */
    struct http_tls *tls; /* what it began with; NULL: plain */
    gnutls_session_t session;
    struct http_peer *peer; /* made when asked for */
    struct {
        struct MHD_Response *response; /* NULL: none; in use by no other request than ours */
        struct strview body;           /* what it was made from */
    } kept;                            /* the last answer of http_reply_same */
    uint64_t client_id;                /* of its address, where requests are counted by it */
    enum http_wait wait;
    int fd;
    char client[INET6_ADDRSTRLEN]; /* made when asked for */
};

struct http_wait_list {
    struct http_connection *oldest, *newest;
    int64_t timeout_us;
};

enum http_request_state {
    HTTP_REQUEST_HEAD,     /* request line seen */
    HTTP_REQUEST_OPENING,  /* the route's open is on the stack */
    HTTP_REQUEST_BODY,     /* the body comes in, to `body` or to `reader` */
    HTTP_REQUEST_DISCARD,  /* dropping the body; `early` or `response` is the answer after it */
    HTTP_REQUEST_RUNNING,  /* the handler is on the stack */
    HTTP_REQUEST_DEFERRED, /* waiting for http_reply_* */
    HTTP_REQUEST_REPLIED,  /* response made, not yet queued */
    HTTP_REQUEST_SENDING,  /* queued */
    HTTP_REQUEST_TAKEN,    /* the connection has left libmicrohttpd, or is about to be cut */
};

struct http_request {
    struct http_connection *connection; /* pooled: next free one */
    struct MHD_Connection *mhd;
    enum http_request_state state;
    enum http_method method; /* HTTP_METHOD_COUNT: none of ours */
    bool is_head, is_options;
    bool is_streaming; /* taken by a stream, not cut */
    bool is_suspended;
    bool is_open_wait; /* deferred, not suspended: counted in worker->open_waits */
    enum err early;
    int status;
    struct MHD_Response *response;
    int64_t started_us;
    int64_t reserved_bytes; /* of server->inflight_bytes */
    /* The body: */
    const struct http_body_reader *reader; /* NULL: it is collected in `body` */
    void *reader_opaque;
    struct http_decoder *decoder; /* NULL: identity */
    int64_t body_bytes;           /* decoded so far */
    int64_t decoder_bytes;        /* of reserved_bytes */
    bool is_body_in;              /* all of it has come, or there is none */
    bool is_paused;               /* by its reader */
    bool is_byte_held; /* the next byte of libmicrohttpd's was handled before: see body_take */
    bool is_cut;       /* whatever is answered is the last of the connection, and goes at once */
    bool is_in_call;   /* libmicrohttpd waits for http_on_request to return */
    const char *(*on_abandon)(void *opaque);
    void *opaque;
    struct http_head head;
    struct buf body;
    struct buf headers;  /* of the answer: name NUL value NUL … */
    struct strview path; /* in path_text */
    bool is_path_too_long;
    bool is_target_clean, has_query;
    char media_type[128];
    char id[HTTP_REQUEST_ID_MAX + 1];
    char target_text[HTTP_PATH_BYTES];
    struct http_match match;
};

struct http_watch {
    struct http_worker *worker;
    void (*on_ready)(void *context, uint32_t events);
    void *context;
    struct http_watch *next_closed;
    int fd;
    bool is_closed;
};

struct http_tick {
    void (*on_tick)(void *context);
    void *context;
    int64_t period_us, due_us;
};
#define HTTP_TICKS_MAX 8

struct http_linger;

struct http_worker {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    void *state;
    unsigned index;
    int epoll_fd;
    int mhd_fd;
    int command_fd; /* eventfd: server->phase changed */
    int listen_fd;
    int64_t now_us;    /* taken once a turn */
    int64_t replied;   /* responses made for deferred requests since the last pump */
    unsigned activity; /* callbacks of libmicrohttpd in its last run that moved a request on */
    unsigned open_waits;
    uint64_t id_state;
    struct http_wait_list waits[HTTP_WAIT_COUNT];
    struct http_connection *free_connections;
    struct http_request *free_requests;
    unsigned free_request_count;
    struct http_watch *closed_watches;
    struct http_tick ticks[HTTP_TICKS_MAX];
    unsigned tick_count;
    struct http_linger *linger_oldest, *linger_newest;
    unsigned linger_count;
    struct http_tls *tls; /* of new connections; NULL: plain */
    struct http_decoder_pool decoders;
    char *decoded; /* HTTP_DECODED_BYTES, made on first use */
    bool is_drain_seen;
    unsigned errand_seen;        /* serial of the last one run */
    _Atomic int64_t connections; /* written by the worker, read by server_* and gauges */
    _Atomic int64_t requests;    /* between request line and end of answer */
    _Atomic int64_t streams;     /* taken and not closed */
    struct metric_series *gauge_connections, *gauge_requests;
};

/* In this order. Leaving: everything is served, and every connection ends with its answer. */
enum http_phase { HTTP_SERVING, HTTP_LEAVING, HTTP_DRAINING, HTTP_STOPPING };

/* What the main thread wants done on every worker's: see http_server_on_workers. */
struct http_errand {
    void (*run)(struct http_worker *worker, void *context);
    void *context;
    _Atomic unsigned serial; /* published last; one errand at a time */
    _Atomic unsigned left;   /* workers that have not run it */
    int done_fd;             /* eventfd: the last of them has */
};

struct http_server {
    struct http_config config;
    struct http_worker_hooks hooks;
    struct http_route_table *routes;
    struct http_tls *tls;             /* the main thread's */
    struct rate_limiter *client_rate; /* NULL: no limit */
    uint64_t client_seed;
    bool can_dup_streams; /* the self-test of http_stream.c passed */
    uint16_t port;
    int64_t connections_max;
    unsigned worker_count;
    struct http_worker *workers;
    void *threads; /* http_server.c's */
    _Atomic enum http_phase phase;
    struct http_errand errand;
    _Atomic int64_t connections;
    _Atomic int64_t inflight_bytes;
};

/* --- http_worker.c
 * -------------------------------------------------------------------------------- */

void http_wait_enter(struct http_connection *connection, enum http_wait wait);
/* Opens epoll, eventfd and the daemon on worker->listen_fd. */
MUST_CHECK enum err http_worker_open(struct http_worker *worker, struct err_info *info);
void http_worker_close(struct http_worker *worker);
void http_worker_run(struct http_worker *worker); /* until the server stops */
void http_worker_wake(struct http_worker *worker);

/* --- http_request.c: callbacks of libmicrohttpd
 * ----------------------------------------------------- */

void *http_on_request_line(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_bytes, void **request);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **request,
                       enum MHD_RequestTerminationCode why);
void http_on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode what);
enum MHD_Result http_on_accept(void *cls, const struct sockaddr *address, socklen_t bytes);
void http_requests_free(struct http_worker *worker);
/* Deferred and out of time, or the worker stops: on_abandon, then the answer. */
void http_request_abandon(struct http_request *request, enum err err);

/* Answers at once with an error, whatever is still to come, and gives the connection up. */
void http_refuse(struct http_request *request, enum err err, const struct err_info *info);
void http_refusal_count(enum err err);
enum MHD_Result http_request_suspend(struct http_request *request); /* only inside a call */
/* The answer that a handler, a reader or an open has given, or is still to give. */
enum MHD_Result http_after_handler(struct http_request *request);
/* Whether an unwanted body is short enough to be read and dropped for the connection's sake. */
bool http_body_is_worth_reading(const struct http_request *request);

/* --- http_body.c
 * ------------------------------------------------------------------------------------- */

#define HTTP_DECODED_BYTES 16384 /* decoded at once; pieces are no longer than that */

/* Before the body: 413, 415, 503, or it may come. */
MUST_CHECK enum err http_body_open(struct http_request *request);
/* Some of it has come: *bytes at `upload`; what is not taken of it stays in *bytes. */
enum MHD_Result http_body_take(struct http_request *request, const char *upload, size_t *bytes);
enum MHD_Result http_body_end(struct http_request *request);
/* It will not come to its end: the reader, if any, may say more than the error does. */
void http_body_fail(struct http_request *request, enum err err, const struct err_info *info);
void http_body_close(struct http_request *request); /* gives back what it held */

/* --- http_reply.c
 * ------------------------------------------------------------------------------------ */

enum MHD_Result http_reply_queue(struct http_request *request);
void http_reply_drop(struct http_request *request); /* request->response, if there is one */
bool http_origin_is_listed(const char *list, const char *origin); /* commas or blanks between */
/* Status line and fields of a 101: those given to http_reply_header, CORS, request id. */
MUST_CHECK enum err http_upgrade_head(struct http_request *request, struct buf *out);
const char *http_cors_origin(const struct http_request *request); /* NULL: say nothing */
#define HTTP_CORS_HEADERS                                                                          \
    "authorization, x-api-key, content-type, content-encoding, accept, last-event-id, "            \
    "idempotency-key, x-request-id, x-kafka-key, traceparent, tracestate"
#define HTTP_CORS_EXPOSE                                                                           \
    "x-request-id, retry-after, www-authenticate, etag, location, link, idempotent-replayed, "     \
    "millrace-as-of, millrace-lag, millrace-complete, millrace-next-cursor, millrace-actions, "    \
    "millrace-actions-refused"

/* --- http_reject.c
 * ----------------------------------------------------------------------------------- */

/* Sends an answer at once, whatever is still to come of the request, and gives the connection up:
 * libmicrohttpd is told to drop it in this call or the next. */
void http_reject(struct http_request *request, struct strview head, struct strview body);
void http_linger_expire(struct http_worker *worker);
void http_linger_close_all(struct http_worker *worker);
int64_t http_linger_due_us(const struct http_worker *worker); /* INT64_MAX: none */

/* --- http_handshake.c
 * ----------------------------------------------------------------------------------- */

struct http_websocket_config;
/* Gives the request the fields of its 101, or says what is wrong with it. ret_window_bits NULL:
 * nothing is compressed; 0 there: the client does not want it. */
MUST_CHECK enum err http_websocket_greet(struct http_request *request,
                                         const struct http_websocket_config *config,
                                         int *ret_window_bits, struct err_info *info);

/* --- http_stream.c
 * ----------------------------------------------------------------------------------- */

/* On the connection's socket, past libmicrohttpd; what the socket does not take is lost. */
void http_connection_send(struct http_connection *connection, const struct iovec *parts,
                          size_t count);
/* Whether a dup of a connection's descriptor outlives the connection in libmicrohttpd. */
bool http_stream_self_test(void);

/* --- http_client.c
 * ----------------------------------------------------------------------------------- */

void http_client_start(struct http_server *server); /* with a limit: makes the table */
void http_client_note(struct http_connection *connection, const struct sockaddr *address);
/* Counts a request of the client, or says that it is one too many, and when to come back. */
bool http_client_may_ask(struct http_request *request);

/* --- http_metrics.c
 * ---------------------------------------------------------------------------------- */

enum http_refusal {
    HTTP_REFUSED_CONNECTIONS, /* connections_max */
    HTTP_REFUSED_AMBIGUOUS,
    HTTP_REFUSED_OVERLOAD,
    HTTP_REFUSED_RATE, /* client_rate */
    HTTP_REFUSED_BODY, /* too large */
    HTTP_REFUSED_SLOW_HEAD,
    HTTP_REFUSED_SLOW_BODY,
    HTTP_REFUSED_SLOW_READER,
    HTTP_REFUSED_DEADLINE,
    HTTP_REFUSED_COUNT
};
void http_metrics_start(void);
void http_metrics_worker(struct http_worker *worker);
void http_metrics_request(const struct http_request *request, int64_t now_us);
void http_metrics_refused(enum http_refusal why);
