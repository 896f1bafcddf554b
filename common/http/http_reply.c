/* Answers. An answer is bytes, made at once, sent when the connection has its turn. */
#include "http/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "http/http_negotiate.h"
#include "json/json_file.h"

#define PROBLEM_TYPE        "application/problem+json"
#define COPIED_BYTES_MAX    4096 /* a longer body is sent from where it is */
#define RETRY_AFTER_DEFAULT "1"  /* seconds */

/* --- fields ----------------------------------------------------------------------------------- */

static void text_add(struct buf *out, struct strview text)
{
    /* Far below the buffer's bound, if it has one: past it there is a defect. */
    CHECK(buf_append_view(out, text) == ERR_OK);
}

static void field_add(struct buf *out, struct strview name, struct strview value)
{
    text_add(out, name);
    text_add(out, SV(": "));
    text_add(out, value);
    text_add(out, SV("\r\n"));
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    if (!strpbrk(value, "\r\n")) { /* else it came from outside */
        field_add(&request->headers, sv(name), sv(value));
    }
}

/* Among those of http_reply_header. */
static bool has_field(const struct http_request *request, struct strview name)
{
    struct strview left = buf_view(&request->headers);
    while (left.len) {
        if (left.len > name.len && left.ptr[name.len] == ':' &&
            strncasecmp(left.ptr, name.ptr, name.len) == 0) {
            return true;
        }
        const char *feed = memchr(left.ptr, '\n', left.len);
        CHECK(feed != NULL);
        left = sv_of(feed + 1, left.len - (size_t)(feed + 1 - left.ptr));
    }
    return false;
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

/* --- heads ------------------------------------------------------------------------------------ */

struct status_line {
    int status;
    struct strview text;
};
#define LINE(status, phrase) {status, SV_STATIC("HTTP/1.1 " #status " " phrase "\r\n")}
static const struct status_line status_lines[] = {
    LINE(200, "OK"),
    LINE(201, "Created"),
    LINE(202, "Accepted"),
    LINE(204, "No Content"),
    LINE(207, "Multi-Status"),
    LINE(304, "Not Modified"),
    LINE(400, "Bad Request"),
    LINE(401, "Unauthorized"),
    LINE(403, "Forbidden"),
    LINE(404, "Not Found"),
    LINE(405, "Method Not Allowed"),
    LINE(406, "Not Acceptable"),
    LINE(408, "Request Timeout"),
    LINE(409, "Conflict"),
    LINE(410, "Gone"),
    LINE(412, "Precondition Failed"),
    LINE(413, "Content Too Large"),
    LINE(415, "Unsupported Media Type"),
    LINE(422, "Unprocessable Content"),
    LINE(426, "Upgrade Required"),
    LINE(428, "Precondition Required"),
    LINE(429, "Too Many Requests"),
    LINE(431, "Request Header Fields Too Large"),
    LINE(500, "Internal Server Error"),
    LINE(501, "Not Implemented"),
    LINE(502, "Bad Gateway"),
    LINE(503, "Service Unavailable"),
    LINE(504, "Gateway Timeout"),
    LINE(507, "Insufficient Storage"),
};

static void status_line_add(struct buf *out, int status)
{
    for (size_t i = 0; i < ARRAY_LEN(status_lines); i++) {
        if (status_lines[i].status == status) {
            text_add(out, status_lines[i].text);
            return;
        }
    }
    CHECK(buf_printf(out, "HTTP/1.1 %d \r\n", status) == ERR_OK); /* RFC 9112 §4: no phrase */
}

/* The Date field as it is sent: the same for a second. */
static struct strview date_line(struct http_worker *worker)
{
    if (worker->now_us >= worker->date_due_us) {
        const int64_t now_ms = http_worker_now_ms(worker);
        const time_t now = (time_t)(now_ms / 1000);
        struct tm parts;
        worker->date_bytes = gmtime_r(&now, &parts)
                                 ? strftime(worker->date, sizeof worker->date,
                                            "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts)
                                 : 0; /* no such year */
        worker->date_due_us = worker->now_us + (1000 - now_ms % 1000) * 1000;
    }
    return sv_of(worker->date, worker->date_bytes);
}

/* The fields that any answer has. */
static void fields_write(struct http_request *request, const char *content_type, struct buf *out)
{
    text_add(out, date_line(request->connection->worker));
    if (content_type) {
        field_add(out, SV("Content-Type"), sv(content_type));
    }
    field_add(out, SV("X-Request-Id"), sv(http_request_id(request)));
    const char *origin = http_cors_origin(request);
    if (origin) {
        field_add(out, SV("Access-Control-Allow-Origin"), sv(origin));
        field_add(out, SV("Access-Control-Expose-Headers"), SV(HTTP_CORS_EXPOSE));
        if (*origin != '*') {
            field_add(out, SV("Vary"), SV("Origin"));
        }
    }
    text_add(out, buf_view(&request->headers));
}

static bool keeps_alive(const struct http_request *request)
{
    const struct http_head *head = &request->head;
    return !request->is_ahead && !head->wants_close && (!head->is_old || head->wants_keep) &&
           request->connection->worker->server->phase == HTTP_SERVING;
}

/* A 204 and a 304 have no body, and say nothing of its length. */
static bool has_body(int status)
{
    return status != 204 && status != 304;
}

static void head_write(struct http_request *request, const char *content_type, size_t body_bytes)
{
    struct buf *out = &request->out;
    char room[INT_TEXT_BYTES];
    status_line_add(out, request->status);
    fields_write(request, content_type, out);
    if (request->is_last) {
        text_add(out, SV("Connection: close\r\n"));
    } else if (request->head.is_old) {
        text_add(out, SV("Connection: keep-alive\r\n"));
    }
    if (has_body(request->status)) {
        text_add(out, SV("Content-Length: "));
        text_add(out, int_text((int64_t)body_bytes, room));
        text_add(out, SV("\r\n"));
    }
    text_add(out, SV("\r\n"));
}

/* --- giving the answer
 * -------------------------------------------------------------------------------- */

void http_reply_drop(struct http_request *request)
{
    free(TAKE(request->tail_owned));
}

static ssize_t answer_send(struct http_connection *connection, const struct iovec *parts,
                           size_t count)
{
    return connection->session ? http_tls_send(connection->session, &connection->rest, parts, count)
                               : http_socket_send(connection->watch.fd, parts, count);
}

int http_reply_send(struct http_request *request)
{
    struct http_connection *connection = request->connection;
    const size_t head = request->out.len, all = head + request->tail.len;
    while (request->sent < all || connection->rest.len) {
        struct iovec parts[2];
        size_t count = 0;
        if (request->sent < head) {
            parts[count++] =
                (struct iovec){request->out.data + request->sent, head - request->sent};
        }
        if (request->tail.len) {
            const size_t at = request->sent > head ? request->sent - head : 0;
            parts[count++] =
                (struct iovec){(void *)(uintptr_t)(request->tail.ptr + at), request->tail.len - at};
        }
        const ssize_t sent = answer_send(connection, parts, request->sent < all ? count : 0);
        if (sent < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -1;
        }
        request->sent += sent > 0 ? (size_t)sent : 0;
    }
    return 1;
}

/* What cannot wait for the end of the body goes at once. */
static bool is_for_now(const struct http_request *request)
{
    const bool can_wait =
        request->state == HTTP_REQUEST_OPENING && http_body_is_worth_reading(request);
    return request->is_cut || (!request->is_body_in && !can_wait);
}

/* In these states a request may be answered. */
static bool is_answerable(const struct http_request *request)
{
    return request->state == HTTP_REQUEST_RUNNING || request->state == HTTP_REQUEST_DEFERRED ||
           request->state == HTTP_REQUEST_OPENING ||
           (request->state == HTTP_REQUEST_BODY && request->reader) || request->is_cut;
}

enum body_mode { BODY_COPIED, BODY_GIVEN, BODY_STATIC };

static void body_write(struct http_request *request, struct strview body, enum body_mode mode)
{
    const bool is_sent = has_body(request->status) && !request->is_head;
    void *owned = mode == BODY_GIVEN ? (void *)(uintptr_t)body.ptr : NULL;
    if (is_sent && (mode == BODY_COPIED || body.len <= COPIED_BYTES_MAX)) {
        text_add(&request->out, body);
    } else if (is_sent) {
        request->tail = body;
        request->tail_owned = TAKE(owned);
    }
    free(owned);
}

static void reply(struct http_request *request, int status, const char *content_type,
                  struct strview body, enum body_mode mode)
{
    CHECK(is_answerable(request));
    if ((status == 429 || status == 503) && !has_field(request, SV("Retry-After"))) {
        http_reply_header(request, "Retry-After", RETRY_AFTER_DEFAULT);
    }
    buf_reset(&request->out); /* an answer that waited for the body's end, which did not come */
    http_reply_drop(request);
    request->tail = (struct strview){0};
    request->status = status;
    request->reader = NULL;
    request->is_ahead = is_for_now(request);
    request->is_last = !keeps_alive(request);
    head_write(request, content_type, body.len);
    body_write(request, body, mode);
    request->state = HTTP_REQUEST_REPLIED;
    if (request->connection->worker->running != request->connection) {
        http_wait_enter(request->connection, HTTP_WAIT_SEND);
        http_connection_again(request->connection);
    }
}

void http_reply_bytes(struct http_request *request, int status, const char *content_type,
                      struct strview body)
{
    reply(request, status, content_type, body, BODY_COPIED);
}

void http_reply_buf(struct http_request *request, int status, const char *content_type,
                    struct buf *body)
{
    const struct buf taken = *body;
    *body = (struct buf){.bytes_max = taken.bytes_max};
    reply(request, status, content_type, buf_view(&taken), BODY_GIVEN);
}

static void reply_json_as(struct http_request *request, int status, const char *content_type,
                          json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decrefp(&body);
    CHECK(text != NULL); /* what we build can be written */
    reply(request, status, content_type, sv(text), BODY_GIVEN);
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
    reply(request, is_same ? 304 : 200, file->content_type, sv_of(bytes, len), BODY_STATIC);
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

/* Into a buffer of the caller's, which may have a bound. */
static enum err own_head(struct http_request *request, struct strview status,
                         const char *content_type, struct buf *out)
{
    CLEANUP(buf_free) struct buf fields = {0};
    buf_init(&fields, SIZE_MAX / 2);
    fields_write(request, content_type, &fields);
    enum err e = buf_append_view(out, status);
    e = e ? e : buf_append_view(out, buf_view(&fields));
    return e ? e : buf_append(out, "\r\n", 2);
}

enum err http_stream_head(struct http_request *request, const char *content_type, struct buf *out,
                          bool *ret_chunked)
{
    *ret_chunked = !request->head.is_old;
    return own_head(request,
                    *ret_chunked ? SV("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n"
                                      "Transfer-Encoding: chunked\r\n")
                                 : SV("HTTP/1.1 200 OK\r\nConnection: close\r\n"),
                    content_type, out);
}

enum err http_upgrade_head(struct http_request *request, struct buf *out)
{
    return own_head(request,
                    SV("HTTP/1.1 101 Switching Protocols\r\n"
                       "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
                    NULL, out);
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
