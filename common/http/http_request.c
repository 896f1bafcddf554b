/* A request from its complete head to the end of its answer.
 *
 *   HEAD ──► (OPENING) ──► BODY ──► RUNNING ──► REPLIED ──► (pool)
 *     │          │          │         ├──► DEFERRED ──► REPLIED
 *     │          │          │         └──► TAKEN (a stream)
 *     │          │          └──► REPLIED (answered in the middle of the body)
 *     ├──────────┴──► DISCARD ──► REPLIED (once a small body is out of the way: keep-alive stays)
 *     └──► REPLIED (answered at once, connection given up)
 */
#include "http/http_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/clock.h"
#include "log/log.h"

#define REQUESTS_POOLED_MAX 4096
#define BUF_KEPT_BYTES      65536 /* a pooled request does not hold on to more */
#define DISCARD_BYTES_MAX   65536 /* longer unwanted bodies cost the client its connection */

/* --- pools ------------------------------------------------------------------------------------ */

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
        buf_init(&request->text, SIZE_MAX / 2); /* the connection bounds it */
        buf_init(&request->out, SIZE_MAX / 2);  /* as long as an answer is */
    }
    request->connection = connection;
    return request;
}

static void request_reset(struct http_request *request)
{
    request->state = HTTP_REQUEST_HEAD;
    request->is_head = request->is_options = false;
    request->method = HTTP_METHOD_COUNT;
    request->early = ERR_OK;
    request->status = 0;
    request->reserved_bytes = request->decoder_bytes = request->body_bytes = 0;
    request->body_left = 0;
    request->chunks = (struct http_chunks){0};
    request->reader = NULL;
    request->decoder = NULL;
    request->is_body_in = request->is_paused = request->is_cut = false;
    request->is_ahead = request->is_last = false;
    request->on_abandon = NULL;
    request->media_type[0] = request->id[0] = '\0';
    request->lines.count = 0;
    request->argument_count = 0;
    request->query = NULL;
    request->path = SV("");
    request->is_path_too_long = false;
    request->match.target = NULL;
    request->match.allow = request->match.param_count = 0;
    request->tail = (struct strview){0};
    request->tail_owned = NULL;
    request->sent = 0;
    http_head_begin(&request->head);
    buf_reset(&request->body);
    buf_reset(&request->headers);
    buf_reset(&request->text);
    buf_reset(&request->out);
}

static void request_delete(struct http_request *request)
{
    buf_free(&request->body);
    buf_free(&request->headers);
    buf_free(&request->text);
    buf_free(&request->out);
    free(request->arguments);
    free(request);
}

static void buf_trim(struct buf *buf)
{
    if (buf->capacity > BUF_KEPT_BYTES) {
        buf_free(buf);
    }
}

static void request_free(struct http_request *request)
{
    struct http_worker *worker = request->connection->worker;
    buf_trim(&request->body);
    buf_trim(&request->text);
    buf_trim(&request->out);
    if (worker->free_request_count >= REQUESTS_POOLED_MAX) {
        request_delete(request);
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
        request_delete(request);
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

void http_request_end(struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_worker *worker = connection->worker;
    if (request->state == HTTP_REQUEST_DEFERRED && request->on_abandon) {
        (void)request->on_abandon(request->opaque); /* the client has gone: nobody to tell */
    }
    if (request->state == HTTP_REQUEST_BODY && request->reader) {
        request->reader->on_gone(request->reader_opaque);
    }
    http_reply_drop(request);
    worker->now_us = clock_mono_us();
    if (request->status) {
        http_metrics_request(request);
    }
    log_event(LOG_DEBUG, "http_request", "answered", KV("request_id", http_request_id(request)),
              KV("method", http_method_name(request->method)),
              KV("path", request->path.len ? request->path.ptr : ""), KV("status", request->status),
              KV("us", worker->now_us - request->started_us));
    http_body_close(request);
    http_counter_add(&worker->requests, -1);
    connection->request = NULL;
    request_free(request);
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

/* --- the head --------------------------------------------------------------------------------- */

static struct http_request *request_open(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    struct http_request *request = request_new(connection);
    request_reset(request);
    request->started_us = worker->now_us;
    connection->request = request;
    http_counter_add(&worker->requests, 1);
    http_wait_enter(connection, HTTP_WAIT_NONE);
    return request;
}

static void method_read(struct http_request *request, struct strview method)
{
    request->is_head = sv_equal(method, SV("HEAD"));
    request->is_options = sv_equal(method, SV("OPTIONS"));
    request->method = request->is_head ? HTTP_GET : http_method_of(method);
}

/* Path and query become texts of their own. */
static void target_read(struct http_request *request, struct strview target)
{
    char *text = request->text.data + (target.ptr - request->text.data);
    char *mark = memchr(text, '?', target.len);
    if (mark) {
        *mark = '\0';
        request->query = mark + 1;
    }
    request->path = sv_of(text, mark ? (size_t)(mark - text) : target.len);
    request->is_path_too_long = request->path.len >= HTTP_PATH_BYTES;
    request->path.len = request->is_path_too_long ? 0 : request->path.len;
}

/* The fault of the head as text, or NULL. */
static const char *head_read(struct http_request *request)
{
    struct http_lines *lines = &request->lines;
    const char *fault = http_wire_head(request->text.data, request->text.len, lines);
    if (fault) {
        return fault;
    }
    const char *escape = memchr(lines->target.ptr, '%', lines->target.len);
    const bool has_nul = escape && strstr(escape, "%00");
    method_read(request, lines->method);
    target_read(request, lines->target);
    if (lines->is_too_many || request->is_path_too_long) {
        return NULL; /* request_admit says so */
    }
    for (size_t i = 0; i < lines->count; i++) {
        http_head_field(&request->head, lines->fields[i].name, lines->fields[i].value);
    }
    if (!http_head_end(&request->head, lines->version)) {
        return request->head.fault;
    }
    if (has_nul) {
        return "an encoded NUL in the request target";
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
    if (request->is_path_too_long || request->lines.is_too_many) {
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

static void refuse(struct http_request *request, enum err err, const char *detail)
{
    struct err_info info = {0};
    http_refuse(request, detail ? err_set(&info, err, "%s", detail) : err, &info);
}

void http_refuse(struct http_request *request, enum err err, const struct err_info *info)
{
    http_refusal_count(err);
    request->is_cut = true;
    http_reply_err(request, err, info);
}

void http_request_refuse(struct http_connection *connection, enum err err, const char *detail)
{
    refuse(request_open(connection), err, detail);
}

/* The route's open may answer, or ask for the body in pieces. */
static enum err route_open(struct http_request *request)
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

/* The head is good: what becomes of the body, or of the request without it. */
static void request_admitted(struct http_request *request, enum err e)
{
    if (request->is_ahead) {
        return; /* the route's open has answered, and the body is not worth waiting for */
    }
    if (e && request->reader) {
        http_body_fail(request, e, NULL);
        http_after_handler(request);
        return;
    }
    const bool is_unwanted = e || request->is_options;
    if (is_hostile(e) || (is_unwanted && !http_body_is_worth_reading(request))) {
        refuse(request, e ? e : ERR_BODY_TOO_LARGE, NULL);
        return;
    }
    http_refusal_count(e);
    request->early = e;
    request->state = is_unwanted || request->state == HTTP_REQUEST_REPLIED ? HTTP_REQUEST_DISCARD
                                                                           : HTTP_REQUEST_BODY;
    if (!request->is_body_in) {
        http_wait_enter(request->connection, HTTP_WAIT_BODY);
    }
}

void http_request_begin(struct http_connection *connection, struct strview head)
{
    struct http_request *request = request_open(connection);
    CHECK(buf_append_view(&request->text, head) == ERR_OK);
    const char *fault = head_read(request);
    if (fault) {
        refuse(request, ERR_REQUEST_AMBIGUOUS, fault);
        return;
    }
    request->body_left = request->head.content_length;
    request->is_body_in = !request->head.is_chunked && !request->body_left;
    enum err e = request_admit(request);
    e = e ? e : route_open(request);
    request_admitted(request, e);
}

/* --- handlers --------------------------------------------------------------------------------- */

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

void http_after_handler(struct http_request *request)
{
    if (request->state == HTTP_REQUEST_RUNNING) {
        /* A handler that did nothing is a defect, not the client's loss of its connection. */
        http_reply_err(request, ERR_INTERNAL, NULL);
    } else if (request->state == HTTP_REQUEST_DEFERRED) {
        http_wait_enter(request->connection, HTTP_WAIT_REPLY);
    }
}

void http_request_discarded(struct http_request *request)
{
    http_wait_enter(request->connection, HTTP_WAIT_NONE);
    if (request->status) { /* the route's open has answered */
        request->state = HTTP_REQUEST_REPLIED;
        return;
    }
    request->state = HTTP_REQUEST_RUNNING;
    if (request->early) {
        http_reply_err(request, request->early, NULL);
    } else {
        reply_options(request);
    }
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

/* --- query and fields ------------------------------------------------------------------------- */

/* "+" is a blank, %XX a byte; a broken escape stays as it is. In place; a NUL behind it. */
static size_t argument_decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++) {
        const int high = *at == '%' ? http_wire_digit(at[1]) : -1;
        const int low = high >= 0 ? http_wire_digit(at[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            at += 2;
        } else {
            *to++ = *at == '+' ? ' ' : *at;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static void argument_add(struct http_request *request, char *text)
{
    char *value = strchr(text, '=');
    if (request->argument_count == request->argument_capacity) {
        request->argument_capacity =
            request->argument_capacity ? 2 * request->argument_capacity : 8;
        request->arguments = must_realloc(request->arguments,
                                          request->argument_capacity * sizeof *request->arguments);
    }
    if (value) {
        *value++ = '\0';
        (void)argument_decode(value);
    }
    request->arguments[request->argument_count++] =
        (struct http_argument){sv_of(text, argument_decode(text)), value};
}

/* On first use: most requests have none, and the head is kept as long as they are. */
static void query_read(const struct http_request *request)
{
    struct http_request *own = (struct http_request *)(uintptr_t)request;
    char *at = TAKE(own->query);
    while (at && *at) {
        char *next = strchr(at, '&');
        if (next) {
            *next++ = '\0';
        }
        if (*at) {
            argument_add(own, at);
        }
        at = next;
    }
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    query_read(request);
    for (size_t i = 0; i < request->argument_count; i++) {
        const struct http_argument *argument = &request->arguments[i];
        if (sv_equal(argument->name, sv(name))) {
            return argument->value ? argument->value : ""; /* "?hasty" names it without a value */
        }
    }
    return NULL;
}

void http_request_each_query(const struct http_request *request,
                             void (*on_argument)(void *context, struct strview name,
                                                 const char *value),
                             void *context)
{
    query_read(request);
    for (size_t i = 0; i < request->argument_count; i++) {
        on_argument(context, request->arguments[i].name, request->arguments[i].value);
    }
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    const size_t len = strlen(name);
    for (size_t i = 0; i < request->lines.count; i++) {
        const struct http_field *field = &request->lines.fields[i];
        if (field->name.len == len && strncasecmp(field->name.ptr, name, len) == 0) {
            return field->value.ptr;
        }
    }
    return NULL;
}

void http_request_each_header(const struct http_request *request,
                              void (*on_header)(void *context, struct strview name,
                                                struct strview value),
                              void *context)
{
    for (size_t i = 0; i < request->lines.count; i++) {
        on_header(context, request->lines.fields[i].name, request->lines.fields[i].value);
    }
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
    if (!own->client[0] && own->address.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &own->address.in6.sin6_addr, own->client, sizeof own->client);
    } else if (!own->client[0]) {
        inet_ntop(AF_INET, &own->address.in4.sin_addr, own->client, sizeof own->client);
    }
    return own->client;
}
