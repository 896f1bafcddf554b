/* Answers. An answer is a libmicrohttpd response, made at once, queued when libmicrohttpd calls. */
#include "http/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "core/clock.h"
#include "http/http_negotiate.h"
#include "json/json_file.h"

#define PROBLEM_TYPE        "application/problem+json"
#define HEAD_BYTES_MAX      32768 /* http_reply_header's bound, and what else there is */
#define RETRY_AFTER_DEFAULT "1"   /* seconds */
#define REQUEST_ID          "X-Request-Id"

/* --- fields every answer has
 * ------------------------------------------------------------------------ */

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    /* Our own headers are far below the bound: past it there is a defect. */
    CHECK(buf_append(&request->headers, name, strlen(name) + 1) == ERR_OK);
    CHECK(buf_append(&request->headers, value, strlen(value) + 1) == ERR_OK);
}

bool http_origin_is_listed(const char *list, const char *origin)
{
    const size_t len = strlen(origin);
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        const size_t item = strcspn(at, ", ");
        if (item == len && strncasecmp(at, origin, len) == 0) {
            return true;
        }
        at += item;
    }
    return false;
}

const char *http_cors_origin(const struct http_request *request)
{
    const char *origin = request->head.origin;
    const char *allowed = request->connection->worker->server->config.cors_origins;
    if (!origin || !allowed || !*allowed) {
        return NULL;
    }
    if (strcmp(allowed, "*") == 0) {
        return "*";
    }
    return http_origin_is_listed(allowed, origin) ? origin : NULL;
}

/* Calls `add` for every field of the answer, whether libmicrohttpd or we write it. */
static void fields_each(struct http_request *request, const char *content_type,
                        void (*add)(void *context, const char *name, const char *value),
                        void *context)
{
    if (content_type) {
        add(context, "Content-Type", content_type);
    }
    add(context, REQUEST_ID, http_request_id(request));
    const char *origin = http_cors_origin(request);
    if (origin) {
        add(context, "Access-Control-Allow-Origin", origin);
        add(context, "Access-Control-Expose-Headers", HTTP_CORS_EXPOSE);
        if (*origin != '*') {
            add(context, "Vary", "Origin");
        }
    }
    const struct strview extra = buf_view(&request->headers);
    for (size_t at = 0; at < extra.len;) {
        const char *name = extra.ptr + at;
        const char *value = name + strlen(name) + 1;
        add(context, name, value);
        at += (size_t)(value - name) + strlen(value) + 1;
    }
}

static void response_add(void *context, const char *name, const char *value)
{
    /* Refused only for line breaks in it, which a value that came from outside may have. */
    (void)MHD_add_response_header(context, name, value);
}

/* --- heads written by us -------------------------------------------------------------------------- */

struct own_head {
    struct buf *out;
    enum err err; /* the first failure to append */
};

static void own_head_add(void *context, const char *name, const char *value)
{
    struct own_head *head = context;
    if (!head->err && !strpbrk(value, "\r\n")) {
        head->err = buf_printf(head->out, "%s: %s\r\n", name, value);
    }
}

static void own_head_date(struct own_head *head)
{
    const time_t now = (time_t)(clock_now_ms() / 1000);
    struct tm parts;
    char date[40];
    if (gmtime_r(&now, &parts) &&
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts)) {
        own_head_add(head, "Date", date);
    }
}

static void reply_now(struct http_request *request, const char *content_type, struct strview body)
{
    CLEANUP(buf_free) struct buf text = {0};
    buf_init(&text, HEAD_BYTES_MAX);
    struct own_head head = {
        &text, buf_printf(&text, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                          request->status, MHD_get_reason_phrase_for((unsigned)request->status),
                          body.len)};
    own_head_date(&head);
    fields_each(request, content_type, own_head_add, &head);
    if (!head.err) {
        head.err = buf_append(&text, "\r\n", 2);
    }
    CHECK(head.err == ERR_OK); /* our own headers are below the bound */
    http_reject(request, buf_view(&text), request->is_head ? SV("") : body);
}

static bool has_field(const struct http_request *request, const char *wanted)
{
    const struct strview extra = buf_view(&request->headers);
    for (size_t at = 0; at < extra.len;) {
        const char *name = extra.ptr + at;
        const char *value = name + strlen(name) + 1;
        if (strcasecmp(name, wanted) == 0) {
            return true;
        }
        at += (size_t)(value - name) + strlen(value) + 1;
    }
    return false;
}

/* --- giving the answer
 * -------------------------------------------------------------------------------- */

void http_reply_drop(struct http_request *request)
{
    if (request->response && request->response != request->connection->kept.response) {
        MHD_destroy_response(request->response);
    }
    request->response = NULL;
}

enum MHD_Result http_reply_queue(struct http_request *request)
{
    const enum MHD_Result queued =
        MHD_queue_response(request->mhd, (unsigned)request->status, request->response);
    http_reply_drop(request);
    request->state = HTTP_REQUEST_SENDING;
    http_wait_enter(request->connection, HTTP_WAIT_SEND);
    return queued;
}

/* What cannot wait for libmicrohttpd to come to the end of the request goes at once. */
static bool is_for_now(const struct http_request *request)
{
    const bool can_wait =
        request->state == HTTP_REQUEST_OPENING && http_body_is_worth_reading(request);
    return request->is_cut || (!request->is_body_in && !can_wait);
}

static void reply_later(struct http_request *request, struct MHD_Response *response)
{
    struct http_worker *worker = request->connection->worker;
    const bool is_late = request->state == HTTP_REQUEST_DEFERRED;
    CHECK(response != NULL);
    if (worker->server->phase != HTTP_SERVING) {
        response_add(response, "Connection", "close");
    }
    request->response = response;
    request->state = HTTP_REQUEST_REPLIED;
    if (!is_late) {
        return; /* queued when the handler returns */
    }
    http_wait_enter(request->connection, HTTP_WAIT_SEND);
    worker->replied++;
    if (request->is_suspended) {
        request->is_suspended = false;
        MHD_resume_connection(request->mhd);
    } else if (request->is_open_wait) {
        request->is_open_wait = false;
        worker->open_waits--;
    }
}

/* In these states a request may be answered. */
static bool is_answerable(const struct http_request *request)
{
    return request->state == HTTP_REQUEST_RUNNING || request->state == HTTP_REQUEST_DEFERRED ||
           request->state == HTTP_REQUEST_OPENING ||
           (request->state == HTTP_REQUEST_BODY && request->reader) || request->is_cut;
}

static void reply(struct http_request *request, int status, const char *content_type,
                  struct strview body, enum MHD_ResponseMemoryMode mode)
{
    void *bytes = (void *)(uintptr_t)body.ptr; /* copied or ours, not changed */
    CHECK(is_answerable(request));
    if ((status == 429 || status == 503) && !has_field(request, "Retry-After")) {
        http_reply_header(request, "Retry-After", RETRY_AFTER_DEFAULT);
    }
    request->status = status;
    request->reader = NULL;
    if (is_for_now(request)) {
        reply_now(request, content_type, body);
        if (mode == MHD_RESPMEM_MUST_FREE) {
            free(bytes);
        }
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(body.len, bytes, mode);
    fields_each(request, content_type, response_add, response);
    reply_later(request, response);
}

void http_reply_bytes(struct http_request *request, int status, const char *content_type,
                      struct strview body)
{
    reply(request, status, content_type, body, MHD_RESPMEM_MUST_COPY);
}

void http_reply_buf(struct http_request *request, int status, const char *content_type,
                    struct buf *body)
{
    const struct buf taken = *body;
    *body = (struct buf){.bytes_max = taken.bytes_max};
    reply(request, status, content_type, buf_view(&taken), MHD_RESPMEM_MUST_FREE);
}

/* With nothing in its head but what every answer has, and the connection stays. */
static bool is_plain(const struct http_request *request)
{
    return buf_view(&request->headers).len == 0 && !http_cors_origin(request) &&
           !is_for_now(request) && request->connection->worker->server->phase == HTTP_SERVING;
}

/* A connection's answers are given one after another, so that the last one is free again. */
static void kept_make(struct http_request *request, const char *content_type, struct strview body)
{
    struct http_connection *connection = request->connection;
    struct MHD_Response *response = connection->kept.response;
    if (response && connection->kept.body.ptr == body.ptr &&
        connection->kept.body.len == body.len) {
        (void)MHD_del_response_header(response, REQUEST_ID,
                                      MHD_get_response_header(response, REQUEST_ID));
    } else {
        if (response) {
            MHD_destroy_response(response);
        }
        response = MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr,
                                                   MHD_RESPMEM_MUST_COPY);
        CHECK(response != NULL);
        response_add(response, "Content-Type", content_type);
        connection->kept.response = response;
        connection->kept.body = body;
    }
    response_add(response, REQUEST_ID, http_request_id(request));
}

void http_reply_same(struct http_request *request, int status, const char *content_type,
                     struct strview body)
{
    if (!is_plain(request)) {
        http_reply_bytes(request, status, content_type, body);
        return;
    }
    CHECK(is_answerable(request));
    request->status = status;
    request->reader = NULL;
    kept_make(request, content_type, body);
    reply_later(request, request->connection->kept.response);
}

static void reply_json_as(struct http_request *request, int status, const char *content_type,
                          json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decrefp(&body);
    CHECK(text != NULL); /* what we build can be written */
    reply(request, status, content_type, sv(text), MHD_RESPMEM_MUST_FREE);
}

void http_reply_json(struct http_request *request, int status, json_t *body)
{
    reply_json_as(request, status, "application/json", body);
}

void http_reply_file(struct http_request *request, const struct embedded_file *file)
{
    const bool is_same =
        http_etag_matches(http_request_header(request, "If-None-Match"), file->etag);
    const bool is_gzip =
        file->gzip && http_accept_encoding(http_request_header(request, "Accept-Encoding"), "gzip");
    http_reply_header(request, "ETag", file->etag);
    http_reply_header(request, "Cache-Control", "no-cache");
    http_reply_header(request, "Vary", "Accept-Encoding");
    http_reply_header(request, "X-Content-Type-Options", "nosniff");
    /* Pages load what this service serves and nothing else; nobody frames them. */
    http_reply_header(request, "Content-Security-Policy",
                      "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
                      "form-action 'none'");
    http_reply_header(request, "Referrer-Policy", "no-referrer");
    if (is_gzip && !is_same) {
        http_reply_header(request, "Content-Encoding", "gzip");
    }
    const unsigned char *bytes = is_gzip ? file->gzip : file->plain;
    const size_t len = is_same ? 0 : is_gzip ? file->gzip_bytes : file->plain_bytes;
    reply(request, is_same ? 304 : 200, file->content_type, sv_of(bytes, len),
          MHD_RESPMEM_PERSISTENT);
}

/* --- problems (RFC 9457)
 * --------------------------------------------------------------------------------- */

/* Text from outside may not be UTF-8, which jansson refuses: such a member is left out. */
static void member(json_t *object, const char *name, json_t *value)
{
    if (value) {
        (void)json_object_set_new(object, name, value); /* fails only without memory */
    }
}

json_t *http_problem_of(enum err err, const struct err_info *info)
{
    char type[128];
    snprintf(type, sizeof type, "/problems/%s", err_name(err));
    json_t *problem = json_object();
    member(problem, "type", json_string(type));
    member(problem, "title", json_string(err_title(err)));
    member(problem, "status", json_integer(err_http_status(err)));
    member(problem, "detail", json_string(err_detail(err, info)));
    member(problem, "code", json_string(err_name(err)));
    member(problem, "retryable", json_boolean(err_is_retriable(err)));
    if (info && info->pointer[0]) {
        json_t *errors = json_array();
        json_t *error = json_object();
        member(error, "pointer", json_string(info->pointer));
        member(error, "message", json_string(err_detail(err, info)));
        (void)json_array_append_new(errors, error); /* fails only without memory */
        member(problem, "errors", errors);
    }
    return problem;
}

json_t *http_problem_json(struct http_request *request, enum err err, const struct err_info *info)
{
    json_t *problem = http_problem_of(err, info);
    member(problem, "instance", json_stringn(request->path.ptr, request->path.len));
    member(problem, "request_id", json_string(http_request_id(request)));
    return problem;
}

/* What an error tells beside its problem; reply adds Retry-After where nothing better is known. */
static void error_fields(struct http_request *request, const struct http_problem *problem)
{
    char text[HTTP_ALLOW_BYTES];
    if (problem->err == ERR_METHOD_NOT_ALLOWED) {
        http_allow_text(request->match.allow, text);
        http_reply_header(request, "Allow", text);
    } else if (problem->err == ERR_CODING) {
        http_reply_header(request, "Accept-Encoding", HTTP_CODINGS);
    }
    if (problem->retry_after_ms) {
        const long long seconds = ((long long)problem->retry_after_ms + 999) / 1000;
        snprintf(text, sizeof text, "%lld", seconds);
        http_reply_header(request, "Retry-After", text);
    }
}

void http_reply_problem(struct http_request *request, const struct http_problem *problem)
{
    json_t *body = http_problem_json(request, problem->err, problem->info);
    if (problem->extra) {
        (void)json_object_update(body, problem->extra); /* fails only without memory */
        json_t *extra = problem->extra;
        json_decrefp(&extra);
    }
    error_fields(request, problem);
    reply_json_as(request, err_http_status(problem->err), PROBLEM_TYPE, body);
}

void http_reply_err(struct http_request *request, enum err err, const struct err_info *info)
{
    const struct http_problem problem = {.err = err, .info = info};
    http_reply_problem(request, &problem);
}

/* --- streams -------------------------------------------------------------------------------------- */

enum err http_stream_head(struct http_request *request, const char *content_type, struct buf *out,
                          bool *ret_chunked)
{
    const bool is_old = request->head.is_old;
    struct own_head fields = {
        out, buf_printf(out, "HTTP/1.1 200 OK\r\n%s",
                        is_old ? "Connection: close\r\n"
                               : "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n")};
    own_head_date(&fields);
    fields_each(request, content_type, own_head_add, &fields);
    *ret_chunked = !is_old;
    return fields.err ? fields.err : buf_append(out, "\r\n", 2);
}

enum err http_upgrade_head(struct http_request *request, struct buf *out)
{
    struct own_head fields = {out,
                              buf_printf(out, "HTTP/1.1 101 Switching Protocols\r\n"
                                              "Upgrade: websocket\r\nConnection: Upgrade\r\n")};
    own_head_date(&fields);
    fields_each(request, NULL, own_head_add, &fields);
    return fields.err ? fields.err : buf_append(out, "\r\n", 2);
}

bool http_request_is_head(const struct http_request *request)
{
    return request->is_head;
}

/* --- what needs the answer's view of the request
 * ----------------------------------------------------------- */

struct strview http_request_media_type(const struct http_request *request)
{
    struct http_request *own = (struct http_request *)(uintptr_t)request; /* made on first use */
    if (!own->media_type[0]) {
        return http_media_type(request->head.content_type.ptr, own->media_type,
                               sizeof own->media_type);
    }
    return sv(own->media_type);
}

double http_request_accepts(const struct http_request *request, const char *media_type)
{
    return http_accept_quality(http_request_header(request, "Accept"), media_type);
}
