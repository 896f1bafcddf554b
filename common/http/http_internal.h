/* http_internal.h - what the files of this room share. Nothing here is for services.
 *
 *   http_server.c   start, listeners, drain, stop
 *   http_worker.c   the loop: watches, ticks, deadlines
 *   http_connection.c   a socket: what comes is fed to requests, what they answer is sent
 *   http_wire.c     the bytes of HTTP/1.1: heads and chunks
 *   http_request.c  from a complete head to the handler and to the end of the answer
 *   http_body.c     the body on its way: admitted, decoded, collected or handed on in pieces
 *   http_client.c   how often one address may ask
 *   http_reply.c    answers
 *   http_stream.c   a connection leaves the loop's care
 *   http_tls.c      certificates and sessions
 *
 * A connection is in exactly one wait (enum http_wait) at a time. All connections of one wait have
 * the same time-out, so each wait is a list in order of time: O(1) to enter, leave and expire.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>

#include "core/rate_limiter.h"
#include "http/http.h"
#include "http/http_coding.h"
#include "http/http_head.h"
#include "http/http_route.h"
#include "http/http_tls.h"
#include "http/http_wire.h"
#include "metrics/metrics.h"

enum http_wait {
    HTTP_WAIT_NONE,   /* a handler runs */
    HTTP_WAIT_HEAD,   /* accepted or request line seen, head not complete */
    HTTP_WAIT_IDLE,   /* keep-alive, nothing of the next request seen */
    HTTP_WAIT_BODY,   /* head complete, body not */
    HTTP_WAIT_REPLY,  /* deferred */
    HTTP_WAIT_SEND,   /* answer being sent */
    HTTP_WAIT_LINGER, /* answer sent, the rest of what comes is dropped */
    HTTP_WAIT_COUNT
};

struct http_watch {
    struct http_worker *worker;
    void (*on_ready)(void *context, uint32_t events);
    void *context;
    struct http_watch *next_closed;
    int fd;
    bool is_closed;
};

struct http_connection {
    struct http_watch watch; /* of its descriptor */
    struct http_worker *worker;
    struct http_request *request;          /* NULL between requests */
    struct http_connection *older, *newer; /* in worker->waits[wait] */
    struct http_connection *next; /* in worker->again, or ->closed, or ->free_connections */
    int64_t since_us;
    uint64_t acked_bytes; /* WAIT_SEND: what the peer had acknowledged at since_us */
    struct buf in;        /* came and was not taken yet; mostly empty, and then without memory */
    size_t looked;        /* so much of a head is known not to be its end */
    struct http_tls *tls; /* what it began with; NULL: plain */
    gnutls_session_t session;
    struct http_stream_rest rest; /* of the session's */
    struct http_peer *peer;       /* made when asked for */
    uint64_t client_id;           /* of its address, where requests are counted by it */
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } address;
    enum http_wait wait;
    bool is_readable;              /* a read may find something: epoll tells once */
    bool is_ended;                 /* the peer will send no more */
    bool is_hungry;                /* what is in `in` is not enough */
    bool is_due;                   /* a reader goes on: feed before the next read */
    bool is_greeting;              /* TLS' handshake is not over */
    bool is_again;                 /* in worker->again */
    bool is_closed;                /* freed at the end of the turn */
    char client[INET6_ADDRSTRLEN]; /* made when asked for */
};

struct http_wait_list {
    struct http_connection *oldest, *newest;
    int64_t timeout_us;
};

enum http_request_state {
    HTTP_REQUEST_HEAD,     /* complete, and being read */
    HTTP_REQUEST_OPENING,  /* the route's open is on the stack */
    HTTP_REQUEST_BODY,     /* the body comes in, to `body` or to `reader` */
    HTTP_REQUEST_DISCARD,  /* dropping the body; `early` or `out` is the answer after it */
    HTTP_REQUEST_RUNNING,  /* the handler is on the stack */
    HTTP_REQUEST_DEFERRED, /* waiting for http_reply_* */
    HTTP_REQUEST_REPLIED,  /* answer made, perhaps sent in part */
    HTTP_REQUEST_TAKEN,    /* the connection is a stream now */
};

struct http_argument {
    struct strview name;
    const char *value; /* NULL: none was given */
};

struct http_request {
    struct http_connection *connection; /* pooled: next free one */
    enum http_request_state state;
    enum http_method method; /* HTTP_METHOD_COUNT: none of ours */
    bool is_head, is_options;
    enum err early;
    int status;
    int64_t started_us;
    int64_t reserved_bytes; /* of server->inflight_bytes */
    /* The body: */
    const struct http_body_reader *reader; /* NULL: it is collected in `body` */
    void *reader_opaque;
    struct http_decoder *decoder; /* NULL: identity */
    int64_t body_bytes;           /* decoded so far */
    int64_t decoder_bytes;        /* of reserved_bytes */
    uint64_t body_left;           /* on the wire: of the body, or of its chunk in `chunks` */
    struct http_chunks chunks;
    bool is_body_in; /* all of it has come, or there is none */
    bool is_paused;  /* by its reader */
    bool is_cut;     /* whatever is answered is the last of the connection, and goes at once */
    const char *(*on_abandon)(void *opaque);
    void *opaque;
    struct http_head head;
    struct http_lines lines; /* in text */
    struct buf text;         /* the head */
    struct http_argument *arguments;
    size_t argument_count, argument_capacity;
    struct buf body;
    struct buf headers;  /* of the answer: name NUL value NUL … */
    struct strview path; /* in text */
    char *query;         /* in text; NULL: none */
    bool is_path_too_long;
    char media_type[128];
    char id[HTTP_REQUEST_ID_MAX + 1];
    struct http_match match;
    /* The answer: */
    struct buf out;      /* its head, and its body when that is short */
    struct strview tail; /* the body when it is not */
    void *tail_owned;    /* to be freed, or NULL */
    size_t sent;         /* of both */
    bool is_ahead;       /* of its body's end, which is not waited for */
    bool is_last;        /* the connection ends with it */
};

struct http_tick {
    void (*on_tick)(void *context);
    void *context;
    int64_t period_us, due_us;
};
#define HTTP_TICKS_MAX  8
#define HTTP_DATE_BYTES 40

struct http_worker {
    struct http_server *server;
    void *state;
    unsigned index;
    int epoll_fd;
    int command_fd; /* eventfd: server->phase changed */
    int listen_fd;
    struct http_watch listen_watch, command_watch;
    bool is_listening;               /* accepting is not put off for want of descriptors */
    int64_t now_us;                  /* taken once a turn, and at each request's end */
    int64_t wall_ahead_us;           /* of now_us; taken once a turn */
    struct http_connection *running; /* on the stack; NULL: none */
    struct http_connection *again_first, *again_last; /* have more to do, and no event to come */
    struct http_connection *closed;                   /* in this turn */
    char *input;                                      /* what a read reads to */
    unsigned linger_count;
    int64_t date_due_us; /* the text is right until then */
    size_t date_bytes;
    char date[HTTP_DATE_BYTES]; /* the field */
    uint64_t id_state;
    struct http_wait_list waits[HTTP_WAIT_COUNT];
    struct http_connection *free_connections;
    struct http_request *free_requests;
    unsigned free_request_count;
    struct http_watch *closed_watches;
    struct http_tick ticks[HTTP_TICKS_MAX];
    unsigned tick_count;
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

/* One writer: a plain sum, published. */
static inline void http_counter_add(_Atomic int64_t *counter, int64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* --- http_worker.c
 * -------------------------------------------------------------------------------- */

void http_wait_enter(struct http_connection *connection, enum http_wait wait);
/* As http_worker_watch, of a watch that lies in its owner; false: errno. Closed, it is not freed. */
MUST_CHECK bool http_watch_open(struct http_watch *watch, struct http_worker *worker, int fd,
                                uint32_t epoll_events,
                                void (*on_ready)(void *context, uint32_t events), void *context);
/* Opens epoll, eventfd and the watch of worker->listen_fd. */
MUST_CHECK enum err http_worker_open(struct http_worker *worker, struct err_info *info);
void http_worker_close(struct http_worker *worker);
void http_worker_run(struct http_worker *worker); /* until the server stops */
void http_worker_wake(struct http_worker *worker);

/* --- http_connection.c
 * ------------------------------------------------------------------------------ */

char *http_connection_room(void);                            /* worker->input */
void http_connections_accept(void *worker, uint32_t events); /* of the listener's watch */
/* Goes on with it in this turn, or the next: it was answered, or may be read again. */
void http_connection_again(struct http_connection *connection);
void http_connections_run(struct http_worker *worker); /* those in worker->again */
/* Ends it and its request; its memory lasts until the end of the turn. */
void http_connection_close(struct http_connection *connection);
void http_connections_free(struct http_worker *worker); /* those that were closed */

/* --- http_request.c
 * ----------------------------------------------------- */

/* A head has come, or what cannot become one (fault, or ERR_HEADERS_TOO_LARGE). */
void http_request_begin(struct http_connection *connection, struct strview head);
void http_request_refuse(struct http_connection *connection, enum err err, const char *detail);
/* An unwanted body is out of the way. */
void http_request_discarded(struct http_request *request);
/* After its answer, or without one. */
void http_request_end(struct http_request *request);
void http_requests_free(struct http_worker *worker);
/* Deferred and out of time, or the worker stops: on_abandon, then the answer. */
void http_request_abandon(struct http_request *request, enum err err);

/* Answers at once with an error, whatever is still to come, and gives the connection up. */
void http_refuse(struct http_request *request, enum err err, const struct err_info *info);
void http_refusal_count(enum err err);
/* A handler, a reader or an open has answered, or will. */
void http_after_handler(struct http_request *request);
/* Whether an unwanted body is short enough to be read and dropped for the connection's sake. */
bool http_body_is_worth_reading(const struct http_request *request);

/* --- http_body.c
 * ------------------------------------------------------------------------------------- */

#define HTTP_DECODED_BYTES 16384 /* decoded at once; pieces are no longer than that */

/* Before the body: 413, 415, 503, or it may come. */
MUST_CHECK enum err http_body_open(struct http_request *request);
/* Takes what has come of it from the beginning of *in, its framing included, and what is behind its
 * end not: then the handler has run. */
void http_body_feed(struct http_request *request, struct strview *in);
/* It will not come to its end: the reader, if any, may say more than the error does. */
void http_body_fail(struct http_request *request, enum err err, const struct err_info *info);
void http_body_close(struct http_request *request); /* gives back what it held */

/* --- http_reply.c
 * ------------------------------------------------------------------------------------ */

/* Sends what is to be sent: 1: all of it is out, 0: later, -1: never. */
int http_reply_send(struct http_request *request);
void http_reply_drop(struct http_request *request);               /* gives back what it holds */
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

/* sendmsg on a socket that does not block. */
ssize_t http_socket_send(int fd, const struct iovec *parts, size_t count);

/* --- http_client.c
 * ----------------------------------------------------------------------------------- */

void http_client_start(struct http_server *server);        /* with a limit: makes the table */
void http_client_note(struct http_connection *connection); /* its address is known */
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
void http_metrics_request(const struct http_request *request); /* at its end */
void http_metrics_refused(enum http_refusal why);
