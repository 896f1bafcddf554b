/* A request from its first line to the end of its answer.
 *
 *   HEAD ──► (OPENING) ──► BODY ──► RUNNING ──► REPLIED ──► SENDING ──► (pool)
 *     │          │          │         ├──► DEFERRED ──► REPLIED
 *     │          │          │         └──► TAKEN (a stream)
 *     │          │          └──► TAKEN (answered in the middle of the body)
 *     ├──────────┴──► DISCARD ──► REPLIED (once a small body is out of the way: keep-alive stays)
 *     └──► TAKEN (answered at once, connection given up)
 *
 * libmicrohttpd closes a connection whose answer is queued on the first call, so nothing is ever
 * queued there: an answer waits for the last call, or is written by us (http_reject.c). */
#include "http/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/clock.h"
#include "log/log.h"

#define REQUESTS_POOLED_MAX 4096
#define BODY_KEPT_BYTES     65536 /* a pooled request does not hold on to more */
#define DISCARD_BYTES_MAX   65536 /* longer unwanted bodies cost the client its connection */
#define OPEN_WAITS_MAX      1024  /* past it, and past this time, a deferred request is suspended */
#define OPEN_WAIT_US        20000

/* --- pools ---------------------------------------------------------------------------------------
 */

static struct http_request *request_new(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    struct http_request *request = worker->free_requests;
    if (request) {
        worker->free_requests = (struct http_request *)(void *)request->connection;
        worker->free_request_count--;
    } else {
        request = must_alloc(sizeof *request);
        buf_init(&request->body, (size_t)worker->server->config.body_bytes_max);
        buf_init(&request->headers, 16384);
    }
    request->connection = connection;
    return request;
}

static void request_reset(struct http_request *request)
{
    request->state = HTTP_REQUEST_HEAD;
    request->is_head = request->is_options = false;
    request->is_streaming = request->is_suspended = request->is_open_wait = false;
    request->method = HTTP_METHOD_COUNT;
    request->early = ERR_OK;
    request->status = 0;
    request->response = NULL;
    request->reserved_bytes = request->decoder_bytes = request->body_bytes = 0;
    request->reader = NULL;
    request->decoder = NULL;
    request->is_body_in = request->is_paused = request->is_byte_held = false;
    request->is_cut = request->is_in_call = false;
    request->on_abandon = NULL;
    request->media_type[0] = request->id[0] = '\0';
    request->match.target = NULL;
    request->match.allow = request->match.param_count = 0;
    buf_reset(&request->body);
    buf_reset(&request->headers);
}

static void request_free(struct http_request *request)
{
    struct http_worker *worker = request->connection->worker;
    if (request->body.capacity > BODY_KEPT_BYTES) {
        buf_free(&request->body);
    }
    if (worker->free_request_count >= REQUESTS_POOLED_MAX) {
        buf_free(&request->body);
        buf_free(&request->headers);
        free(request);
        return;
    }
    request->connection = (struct http_connection *)(void *)worker->free_requests;
    worker->free_requests = request;
    worker->free_request_count++;
}

void http_requests_free(struct http_worker *worker)
{
    while (worker->free_requests) {
        struct http_request *request = worker->free_requests;
        worker->free_requests = (struct http_request *)(void *)request->connection;
        buf_free(&request->body);
        buf_free(&request->headers);
        free(request);
    }
    while (worker->free_connections) {
        struct http_connection *connection = worker->free_connections;
        worker->free_connections = connection->newer;
        free(connection);
    }
}

/* --- the end
 * --------------------------------------------------------------------------------------- */

static void counter_add(_Atomic int64_t *counter, int64_t by)
{
    /* One writer: a plain sum, published. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static void request_end(struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_worker *worker = connection->worker;
    if (request->state == HTTP_REQUEST_DEFERRED && request->on_abandon) {
        (void)request->on_abandon(request->opaque); /* the client has gone: nobody to tell */
    }
    if (request->state == HTTP_REQUEST_BODY && request->reader) {
        request->reader->on_gone(request->reader_opaque);
    }
    if (request->is_open_wait) {
        worker->open_waits--;
    }
    http_reply_drop(request);
    const int64_t now_us = clock_mono_us();
    if (request->status) {
        http_metrics_request(request, now_us);
    }
    log_event(LOG_DEBUG, "http_request", "answered", KV("request_id", http_request_id(request)),
              KV("method", http_method_name(request->method)), KV("path", request->path),
              KV("status", request->status), KV("us", now_us - request->started_us));
    http_body_close(request);
    counter_add(&worker->requests, -1);
    connection->request = NULL;
    http_wait_enter(connection, HTTP_WAIT_IDLE);
    request_free(request);
}

void http_on_completed(void *cls, struct MHD_Connection *mhd, void **request,
                       enum MHD_RequestTerminationCode why)
{
    (void)mhd, (void)why;
    ((struct http_worker *)cls)->activity++;
    if (*request) {
        request_end(*request);
        *request = NULL;
    }
}

void http_request_abandon(struct http_request *request, enum err err)
{
    if (request->state == HTTP_REQUEST_BODY) { /* paused */
        http_body_fail(request, err, NULL);
        return;
    }
    const char *(*on_abandon)(void *opaque) = request->on_abandon;
    request->on_abandon = NULL;
    const char *detail = on_abandon ? on_abandon(request->opaque) : NULL;
    struct err_info info = {0};
    http_reply_err(request, detail ? err_set(&info, err, "%s", detail) : err, &info);
}

/* --- connections
 * ------------------------------------------------------------------------------------ */

enum MHD_Result http_on_accept(void *cls, const struct sockaddr *address, socklen_t bytes)
{
    (void)address, (void)bytes;
    struct http_worker *worker = cls;
    if (worker->server->connections >= worker->server->connections_max) {
        http_metrics_refused(HTTP_REFUSED_CONNECTIONS);
        return MHD_NO;
    }
    return MHD_YES;
}

static void *connection_new(struct http_worker *worker, struct MHD_Connection *mhd)
{
    struct http_connection *connection = worker->free_connections;
    if (connection) {
        worker->free_connections = connection->newer;
    } else {
        connection = must_alloc(sizeof *connection);
    }
    *connection = (struct http_connection){
        .worker = worker,
        .fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd};
    if (worker->tls) {
        connection->tls = http_tls_ref(worker->tls);
        connection->session =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
        http_tls_begin(connection->tls, connection->session);
    }
    http_client_note(connection,
                     MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    http_wait_enter(connection, HTTP_WAIT_HEAD);
    counter_add(&worker->connections, 1);
    worker->server->connections++;
    return connection;
}

static void connection_free(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    if (connection->request) {
        request_end(connection->request);
    }
    http_wait_enter(connection, HTTP_WAIT_NONE);
    if (connection->kept.response) {
        MHD_destroy_response(TAKE(connection->kept.response));
    }
    free(connection->peer);
    http_tls_unref(connection->tls); /* the session is gone: libmicrohttpd tells last */
    counter_add(&worker->connections, -1);
    worker->server->connections--;
    connection->newer = worker->free_connections;
    worker->free_connections = connection;
}

void http_on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = connection_new(cls, mhd);
    } else {
        connection_free(*context);
        *context = NULL;
    }
}

/* --- the head
 * ---------------------------------------------------------------------------------------- */

static bool has_encoded_nul(const char *target)
{
    return strstr(target, "%00") != NULL;
}

void *http_on_request_line(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct http_worker *worker = cls;
    struct http_connection *connection =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (connection->request) { /* its end was not told: no handler had seen it */
        request_end(connection->request);
    }
    struct http_request *request = request_new(connection);
    request_reset(request);
    request->mhd = mhd;
    request->started_us = clock_mono_us();
    worker->now_us = request->started_us;
    connection->request = request;
    counter_add(&worker->requests, 1);
    http_wait_enter(connection, HTTP_WAIT_HEAD);

    const size_t len = target ? strcspn(target, "?") : 0;
    request->is_path_too_long = len >= sizeof request->target_text;
    request->is_target_clean = target && !has_encoded_nul(target);
    request->has_query = target && target[len] == '?';
    request->path = sv_of(request->target_text, request->is_path_too_long ? 0 : len);
    memcpy(request->target_text, target ? target : "", request->path.len);
    request->target_text[request->path.len] = '\0';
    return request;
}

struct head_pass {
    struct http_head *head;
    struct http_wire wire;
};

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    struct head_pass *pass = cls;
    const struct strview text = value ? sv_of(value, value_bytes) : SV("");
    http_head_field(pass->head, sv_of(name, name_bytes), text);
#if !HTTP_HAS_DISCIPLINE_LEVEL
    http_wire_field(&pass->wire, sv_of(name, name_bytes), text);
#endif
    return MHD_YES;
}

#if !HTTP_HAS_DISCIPLINE_LEVEL
/* The method is the first byte of the head in libmicrohttpd's memory. */
static bool head_is_whole(const struct http_request *request, const struct http_wire *wire,
                          const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && http_wire_end(wire, method + info->header_size);
}
#endif

static void method_read(struct http_request *request, const char *method)
{
    request->is_head = strcmp(method, "HEAD") == 0;
    request->is_options = strcmp(method, "OPTIONS") == 0;
    if (request->is_head) {
        request->method = HTTP_GET;
        return;
    }
    for (enum http_method m = HTTP_GET; m < HTTP_METHOD_COUNT; m++) {
        if (strcmp(method, http_method_name(m)) == 0) {
            request->method = m;
            return;
        }
    }
}

/* The fault of the head as text, or NULL. */
static const char *head_read(struct http_request *request, const char *method, const char *version)
{
    struct head_pass pass = {.head = &request->head};
    http_head_begin(&request->head);
    http_wire_begin(&pass.wire, version);
    MHD_get_connection_values_n(request->mhd, MHD_HEADER_KIND, on_field, &pass);
    if (!http_head_end(&request->head, version)) {
        return request->head.fault;
    }
#if !HTTP_HAS_DISCIPLINE_LEVEL
    if (!head_is_whole(request, &pass.wire, method)) {
        return "a head that is not lines ending in CR LF with a name and a value each";
    }
#else
    (void)method;
#endif
    if (!request->is_target_clean) {
        return "an encoded NUL in the request target";
    }
    if (request->is_path_too_long) {
        return NULL; /* request_admit says so */
    }
    const struct strview path = http_target_path(request->path, request->head.host);
    if (!path.len && !(request->is_options && sv_equal(request->path, SV("*")))) {
        return "a request target that is neither a path nor a URI of this host";
    }
    request->path = path.len ? path : request->path;
    return NULL;
}

/* Why the request will not reach a handler, or ERR_OK. */
static enum err request_admit(struct http_request *request)
{
    const struct http_worker *worker = request->connection->worker;
    if (request->is_path_too_long) {
        return ERR_HEADERS_TOO_LARGE;
    }
    enum err e =
        http_route_match(worker->server->routes, request->method, request->path, &request->match);
    if (!http_client_may_ask(request)) {
        return ERR_RATE_LIMITED;
    }
    if (e && !(request->is_options && e == ERR_METHOD_NOT_ALLOWED)) {
        return e;
    }
    return http_worker_is_draining(worker) && request->method != HTTP_GET ? ERR_DRAINING : ERR_OK;
}

bool http_body_is_worth_reading(const struct http_request *request)
{
    return !request->head.is_chunked && request->head.content_length <= DISCARD_BYTES_MAX &&
           !http_request_header(request, "Expect");
}

void http_refusal_count(enum err err)
{
    if (err == ERR_REQUEST_AMBIGUOUS) {
        http_metrics_refused(HTTP_REFUSED_AMBIGUOUS);
    } else if (err == ERR_OVERLOADED) {
        http_metrics_refused(HTTP_REFUSED_OVERLOAD);
    } else if (err == ERR_RATE_LIMITED) {
        http_metrics_refused(HTTP_REFUSED_RATE);
    } else if (err == ERR_BODY_TOO_LARGE) {
        http_metrics_refused(HTTP_REFUSED_BODY);
    }
}

static enum MHD_Result refuse(struct http_request *request, enum err err, const char *detail)
{
    struct err_info info = {0};
    http_refuse(request, detail ? err_set(&info, err, "%s", detail) : err, &info);
    return MHD_NO;
}

void http_refuse(struct http_request *request, enum err err, const struct err_info *info)
{
    http_refusal_count(err);
    request->is_cut = true;
    http_reply_err(request, err, info);
}

/* The route's open may answer, or ask for the body in pieces. */
static enum err request_open(struct http_request *request)
{
    const struct http_target *target = request->match.target;
    if (target && target->route->open && !request->is_options) {
        request->state = HTTP_REQUEST_OPENING;
        target->route->open(request);
    }
    return request->state == HTTP_REQUEST_HEAD || request->state == HTTP_REQUEST_OPENING
               ? http_body_open(request)
               : ERR_OK;
}

/* Whether an error of the head ends the connection even where its body could be dropped. */
static bool is_hostile(enum err err)
{
    return err == ERR_BODY_TOO_LARGE || err == ERR_HEADERS_TOO_LARGE ||
           err == ERR_REQUEST_AMBIGUOUS;
}

static enum MHD_Result request_begin(struct http_request *request, const char *method,
                                     const char *version)
{
    method_read(request, method);
    const char *fault = head_read(request, method, version);
    if (fault) {
        return refuse(request, ERR_REQUEST_AMBIGUOUS, fault);
    }
    request->is_body_in = !request->head.is_chunked && !request->head.content_length;
    enum err e = request_admit(request);
    e = e ? e : request_open(request);
    if (request->state == HTTP_REQUEST_TAKEN) {
        return MHD_NO;
    }
    if (e && request->reader) {
        http_body_fail(request, e, NULL);
        return http_after_handler(request);
    }
    const bool is_unwanted = e || request->is_options;
    if (is_hostile(e) || (is_unwanted && !http_body_is_worth_reading(request))) {
        return refuse(request, e ? e : ERR_BODY_TOO_LARGE, NULL);
    }
    http_refusal_count(e);
    request->early = e;
    request->state = is_unwanted || request->state == HTTP_REQUEST_REPLIED ? HTTP_REQUEST_DISCARD
                                                                           : HTTP_REQUEST_BODY;
    if (!request->is_body_in) {
        http_wait_enter(request->connection, HTTP_WAIT_BODY);
    }
    return MHD_YES;
}

/* --- body and handler
 * -------------------------------------------------------------------------------- */

static void reply_options(struct http_request *request)
{
    char allow[HTTP_ALLOW_BYTES];
    http_allow_text(request->match.allow, allow);
    http_reply_header(request, "Allow", allow);
    if (http_cors_origin(request)) {
        http_reply_header(request, "Access-Control-Allow-Methods", allow);
        http_reply_header(request, "Access-Control-Allow-Headers", HTTP_CORS_HEADERS);
        http_reply_header(request, "Access-Control-Max-Age", "600");
    }
    http_reply_bytes(request, 204, NULL, SV(""));
}

/* Suspending and resuming costs four system calls a request. A request whose answer comes within
 * milliseconds goes without: libmicrohttpd asks for it again in each of its runs, and finds nothing
 * until it is there. As that costs a call a run and request, it is for few and short waits. */
static enum MHD_Result wait_for_reply(struct http_request *request)
{
    struct http_worker *worker = request->connection->worker;
    const bool is_short = worker->now_us - request->connection->since_us < OPEN_WAIT_US;
    if (request->is_open_wait && is_short) {
        return MHD_YES;
    }
    /* With bytes of a body left, libmicrohttpd wants them taken or the connection suspended. */
    if (!request->is_open_wait && request->is_body_in && worker->open_waits < OPEN_WAITS_MAX) {
        request->is_open_wait = true;
        worker->open_waits++;
        return MHD_YES;
    }
    worker->open_waits -= request->is_open_wait ? 1 : 0;
    request->is_open_wait = false;
    return http_request_suspend(request);
}

enum MHD_Result http_request_suspend(struct http_request *request)
{
    request->is_suspended = true;
    MHD_suspend_connection(request->mhd);
    return MHD_YES;
}

enum MHD_Result http_after_handler(struct http_request *request)
{
    if (request->state == HTTP_REQUEST_RUNNING) {
        /* A handler that did nothing is a defect, not the client's loss of its connection. */
        http_reply_err(request, ERR_INTERNAL, NULL);
    }
    switch (request->state) {
    case HTTP_REQUEST_DEFERRED:
        http_wait_enter(request->connection, HTTP_WAIT_REPLY);
        return wait_for_reply(request);
    case HTTP_REQUEST_REPLIED:
        return http_reply_queue(request);
    default:
        return request->is_suspended ? MHD_YES : MHD_NO; /* taken */
    }
}

/* An unwanted body is out of the way. */
static enum MHD_Result answer_early(struct http_request *request)
{
    http_wait_enter(request->connection, HTTP_WAIT_NONE);
    request->is_body_in = true;
    if (request->response) { /* the route's open has answered */
        return http_reply_queue(request);
    }
    request->state = HTTP_REQUEST_RUNNING;
    if (request->early) {
        http_reply_err(request, request->early, NULL);
    } else {
        reply_options(request);
    }
    return http_after_handler(request);
}

static enum MHD_Result request_step(struct http_request *request, const char *method,
                                    const char *version, const char *upload, size_t *upload_bytes)
{
    switch (request->state) {
    case HTTP_REQUEST_HEAD:
        return request_begin(request, method, version);
    case HTTP_REQUEST_BODY:
        return *upload_bytes ? http_body_take(request, upload, upload_bytes)
                             : http_body_end(request);
    case HTTP_REQUEST_DISCARD:
        if (*upload_bytes) {
            *upload_bytes = 0;
            return MHD_YES;
        }
        return answer_early(request);
    case HTTP_REQUEST_REPLIED:
        return http_reply_queue(request);
    case HTTP_REQUEST_DEFERRED:
        return wait_for_reply(request);
    case HTTP_REQUEST_SENDING:
        return MHD_YES;
    case HTTP_REQUEST_OPENING:
    case HTTP_REQUEST_RUNNING:
    case HTTP_REQUEST_TAKEN:
        break;
    }
    return MHD_NO;
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_bytes, void **context)
{
    (void)cls, (void)mhd, (void)url;
    struct http_request *request = *context;
    CHECK(request != NULL);
    request->connection->worker->activity += request->state == HTTP_REQUEST_DEFERRED ? 0 : 1;
    request->is_in_call = true;
    const enum MHD_Result result = request_step(request, method, version, upload, upload_bytes);
    request->is_in_call = false;
    return result;
}

void http_request_defer(struct http_request *request, const char *(*on_abandon)(void *opaque),
                        void *opaque)
{
    CHECK(request->state == HTTP_REQUEST_RUNNING || request->state == HTTP_REQUEST_DEFERRED);
    request->state = HTTP_REQUEST_DEFERRED;
    request->on_abandon = on_abandon;
    request->opaque = opaque;
}

/* --- what a handler asks
 * -------------------------------------------------------------------------------- */

struct http_worker *http_request_worker(const struct http_request *request)
{
    return request->connection->worker;
}

void *http_request_context(const struct http_request *request)
{
    return request->match.target->context;
}

enum http_method http_request_method(const struct http_request *request)
{
    return request->method;
}

struct strview http_request_path(const struct http_request *request)
{
    return request->path;
}

const char *http_request_param(const struct http_request *request, const char *name)
{
    return http_match_param(&request->match, name);
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    const char *value = NULL;
    size_t bytes = 0;
    if (!request->has_query) {
        return NULL; /* libmicrohttpd would look through the fields of the head */
    }
    const enum MHD_Result found = MHD_lookup_connection_value_n(request->mhd, MHD_GET_ARGUMENT_KIND,
                                                                name, strlen(name), &value, &bytes);
    if (found != MHD_YES) {
        return NULL;
    }
    return value ? value : ""; /* "?hasty" names it without a value */
}

struct query_pass {
    void (*on_argument)(void *context, struct strview name, const char *value);
    void *context;
};

static enum MHD_Result query_pass_on(void *cls, enum MHD_ValueKind kind, const char *name,
                                     size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind, (void)value_bytes; /* no NUL is decoded: the head was refused for one */
    const struct query_pass *pass = cls;
    pass->on_argument(pass->context, sv_of(name, name_bytes), value);
    return MHD_YES;
}

void http_request_each_query(const struct http_request *request,
                             void (*on_argument)(void *context, struct strview name,
                                                 const char *value),
                             void *context)
{
    struct query_pass pass = {on_argument, context};
    if (request->has_query) {
        MHD_get_connection_values_n(request->mhd, MHD_GET_ARGUMENT_KIND, query_pass_on, &pass);
    }
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

struct header_pass {
    void (*on_header)(void *context, struct strview name, struct strview value);
    void *context;
};

static enum MHD_Result header_pass_on(void *cls, enum MHD_ValueKind kind, const char *name,
                                      size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    const struct header_pass *pass = cls;
    pass->on_header(pass->context, sv_of(name, name_bytes),
                    value ? sv_of(value, value_bytes) : SV(""));
    return MHD_YES;
}

void http_request_each_header(const struct http_request *request,
                              void (*on_header)(void *context, struct strview name,
                                                struct strview value),
                              void *context)
{
    struct header_pass pass = {on_header, context};
    MHD_get_connection_values_n(request->mhd, MHD_HEADER_KIND, header_pass_on, &pass);
}

struct strview http_request_body(const struct http_request *request)
{
    return buf_view(&request->body);
}

/* splitmix64: unique in a process and unlikely to meet again, which is what an id has to be. */
static uint64_t id_next(struct http_worker *worker)
{
    uint64_t z = (worker->id_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void id_make(struct http_request *request)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t id = id_next(request->connection->worker);
    for (int i = 15; i >= 0; i--, id >>= 4) {
        request->id[i] = digits[id & 15];
    }
    request->id[16] = '\0';
}

const char *http_request_id(const struct http_request *request)
{
    struct http_request *own = (struct http_request *)(uintptr_t)request; /* made on first use */
    if (!own->id[0] && request->head.request_id.len) {
        memcpy(own->id, request->head.request_id.ptr, request->head.request_id.len);
        own->id[request->head.request_id.len] = '\0';
    } else if (!own->id[0]) {
        id_make(own);
    }
    return own->id;
}

bool http_request_id_is_given(const struct http_request *request)
{
    return request->head.request_id.len > 0;
}

const struct http_peer *http_request_peer(const struct http_request *request)
{
    struct http_connection *connection = request->connection;
    if (!connection->peer && connection->session) {
        connection->peer = http_peer_new(connection->session);
    }
    return connection->peer;
}

const char *http_request_client(const struct http_request *request)
{
    struct http_connection *own = request->connection;
    const union MHD_ConnectionInfo *info =
        own->client[0] ? NULL
                       : MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)info->client_addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, own->client, sizeof own->client);
    } else if (info && info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)info->client_addr;
        inet_ntop(AF_INET, &in->sin_addr, own->client, sizeof own->client);
    }
    return own->client;
}
