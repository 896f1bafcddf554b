/* A request's body on its way in.
 *
 *   frame ──► (decoder, in steps of HTTP_DECODED_BYTES) ──► collected in `body`
 *                                                      └──► pieces to the reader
 *
 * What is held is admitted first: a body of known length at once, any other piece by piece, a
 * decoder with the memory it has. A body in pieces is not held here, so it only has a length and a
 * time that it may not exceed.
 *
 * A reader that pauses leaves what has come with the connection, which reads no more: the socket's
 * buffers fill, and TCP slows the client down. */
#include "http/http_internal.h"

#include <stdlib.h>

#include "core/clock.h"

#define PIECE_BYTES_MAX    16384
#define RESERVE_STEP_BYTES 16384 /* bodies of unknown length are admitted piece by piece */

/* --- admission -------------------------------------------------------------------------------- */

static bool body_reserve(struct http_request *request, int64_t bytes)
{
    struct http_server *server = request->connection->worker->server;
    const int64_t before =
        atomic_fetch_add_explicit(&server->inflight_bytes, bytes, memory_order_relaxed);
    if (before + bytes > server->config.inflight_bytes_max) {
        atomic_fetch_sub_explicit(&server->inflight_bytes, bytes, memory_order_relaxed);
        return false;
    }
    request->reserved_bytes += bytes;
    return true;
}

static void body_release(struct http_request *request, int64_t bytes)
{
    if (bytes) {
        atomic_fetch_sub_explicit(&request->connection->worker->server->inflight_bytes, bytes,
                                  memory_order_relaxed);
        request->reserved_bytes -= bytes;
    }
}

/* zstd's window appears with the first bytes of a frame. */
static enum err decoder_admit(struct http_request *request)
{
    const int64_t bytes = (int64_t)http_decoder_bytes(request->decoder);
    if (bytes > request->decoder_bytes) {
        if (!body_reserve(request, bytes - request->decoder_bytes)) {
            return ERR_OVERLOADED;
        }
        request->decoder_bytes = bytes;
    }
    return ERR_OK;
}

static void decoder_close(struct http_request *request)
{
    http_decoder_give(&request->connection->worker->decoders, TAKE(request->decoder));
    body_release(request, request->decoder_bytes);
    request->decoder_bytes = 0;
}

static int64_t bytes_max(const struct http_request *request)
{
    const struct http_config *config = &request->connection->worker->server->config;
    return request->reader ? config->streamed_bytes_max : config->body_bytes_max;
}

enum err http_body_open(struct http_request *request)
{
    const struct http_head *head = &request->head;
    enum http_coding coding = HTTP_CODING_IDENTITY;
    if (request->is_body_in) {
        return ERR_OK;
    }
    if (head->encoding_count > 1 || !http_coding_of(head->content_encoding, &coding)) {
        return ERR_CODING;
    }
    if (head->content_length > (uint64_t)bytes_max(request)) {
        return ERR_BODY_TOO_LARGE;
    }
    if (coding) {
        request->decoder = http_decoder_take(&request->connection->worker->decoders, coding);
        return decoder_admit(request);
    }
    const size_t bytes = request->reader ? 0 : (size_t)head->content_length;
    if (!bytes) {
        return ERR_OK;
    }
    if (!body_reserve(request, (int64_t)bytes)) {
        return ERR_OVERLOADED;
    }
    CHECK(buf_reserve(&request->body, bytes) == ERR_OK);
    return ERR_OK;
}

void http_body_close(struct http_request *request)
{
    decoder_close(request);
    body_release(request, request->reserved_bytes);
}

/* --- what comes goes somewhere ---------------------------------------------------------------- */

static enum err body_collect(struct http_request *request, struct strview piece)
{
    const int64_t held = request->reserved_bytes - request->decoder_bytes;
    const int64_t missing = (int64_t)(request->body.len + piece.len) - held;
    if (missing > 0 &&
        !body_reserve(request, missing > RESERVE_STEP_BYTES ? missing : RESERVE_STEP_BYTES)) {
        return ERR_OVERLOADED;
    }
    CHECK(buf_append(&request->body, piece.ptr, piece.len) == ERR_OK);
    return ERR_OK;
}

static enum err body_deliver(struct http_request *request, struct strview piece)
{
    request->body_bytes += (int64_t)piece.len;
    if (request->body_bytes > bytes_max(request)) {
        return ERR_BODY_TOO_LARGE;
    }
    if (!request->reader) {
        return body_collect(request, piece);
    }
    request->reader->on_piece(request, request->reader_opaque, piece);
    return ERR_OK;
}

static bool body_is_taken(const struct http_request *request)
{
    return request->state == HTTP_REQUEST_BODY && !request->is_paused;
}

static enum err body_decode(struct http_request *request, struct strview *in, struct err_info *info)
{
    struct http_worker *worker = request->connection->worker;
    if (!worker->decoded) {
        worker->decoded = must_alloc(HTTP_DECODED_BYTES);
    }
    enum err e = ERR_OK;
    while (!e && body_is_taken(request) && (in->len || http_decoder_has_more(request->decoder))) {
        size_t len = 0;
        e = http_decoder_run(request->decoder, in, worker->decoded, HTTP_DECODED_BYTES, &len, info);
        e = e ? e : decoder_admit(request);
        e = e || !len ? e : body_deliver(request, sv_of(worker->decoded, len));
    }
    return e;
}

static enum err body_feed(struct http_request *request, struct strview *in, struct err_info *info)
{
    if (request->decoder) {
        return body_decode(request, in, info);
    }
    const struct strview piece = *in;
    *in = sv_of(in->ptr + in->len, 0);
    return piece.len ? body_deliver(request, piece) : ERR_OK;
}

/* A body in pieces may take longer than one that is collected, but not for ever, and the
 * list's time-out does not count from its start. */
static bool is_overdue(const struct http_request *request)
{
    const struct http_worker *worker = request->connection->worker;
    return worker->now_us - request->started_us > worker->server->config.streamed_timeout_ms * 1000;
}

/* From the beginning of the body's bytes, as they are on the wire; what a reader that pauses leaves of
 * them stays in *in. */
static void body_take(struct http_request *request, struct strview *in)
{
    UNINITIALIZED struct err_info info;
    err_info_clear(&info);
    enum err e = ERR_OK;
    if (request->reader) {
        http_wait_enter(request->connection, HTTP_WAIT_BODY); /* it is not stalled */
        e = is_overdue(request) ? ERR_BODY_TIMEOUT : ERR_OK;
    }
    e = e ? e : body_feed(request, in, &info);
    if (e) {
        http_body_fail(request, e, &info);
    } else if (request->is_paused) {
        http_wait_enter(request->connection, HTTP_WAIT_REPLY);
    }
}

/* --- its frame -------------------------------------------------------------------------------- */

static bool is_coming(const struct http_request *request)
{
    return (request->state == HTTP_REQUEST_BODY || request->state == HTTP_REQUEST_DISCARD) &&
           !request->is_paused;
}

/* Whether all of the frame has come. What is wrong with a frame ends the connection. */
static bool frame_run(struct http_request *request, struct strview *in)
{
    if (!request->head.is_chunked) {
        return request->body_left == 0;
    }
    request->chunks.left = request->body_left;
    const enum http_chunks_result result = http_chunks_run(&request->chunks, in);
    request->body_left = request->chunks.left;
    if (result == HTTP_CHUNKS_BAD) {
        struct err_info info;
        request->is_cut = true;
        http_body_fail(
            request, err_set(&info, ERR_REQUEST_AMBIGUOUS, "a body that is not in chunks"), &info);
    }
    return result == HTTP_CHUNKS_END;
}

static void data_run(struct http_request *request, struct strview *in)
{
    const size_t there = in->len < request->body_left ? in->len : (size_t)request->body_left;
    struct strview data = sv_of(in->ptr, there < PIECE_BYTES_MAX ? there : PIECE_BYTES_MAX);
    const char *begin = data.ptr;
    if (request->state == HTTP_REQUEST_DISCARD) {
        data = sv_of(data.ptr + data.len, 0);
    } else {
        body_take(request, &data);
    }
    const size_t taken = (size_t)(data.ptr - begin);
    *in = sv_of(in->ptr + taken, in->len - taken);
    request->body_left -= taken;
}

static void body_end(struct http_request *request);

void http_body_feed(struct http_request *request, struct strview *in)
{
    while (is_coming(request)) {
        if (!request->is_body_in) {
            request->is_body_in = frame_run(request, in);
        }
        if (!is_coming(request)) {
            return; /* a frame that is none */
        }
        if (request->decoder && http_decoder_has_more(request->decoder)) {
            struct strview nothing = sv_of(in->ptr, 0); /* a reader had paused */
            body_take(request, &nothing);
        } else if (request->is_body_in) {
            body_end(request);
        } else if (in->len && request->body_left) {
            data_run(request, in);
        } else {
            return;
        }
    }
}

/* --- its end ---------------------------------------------------------------------------------- */

static void body_end(struct http_request *request)
{
    UNINITIALIZED struct err_info info;
    err_info_clear(&info);
    if (request->state == HTTP_REQUEST_DISCARD) {
        http_request_discarded(request);
        return;
    }
    const enum err e = request->decoder ? http_decoder_end(request->decoder, &info) : ERR_OK;
    decoder_close(request);
    if (e) {
        http_body_fail(request, e, &info);
    } else {
        http_wait_enter(request->connection, HTTP_WAIT_NONE);
        request->state = HTTP_REQUEST_RUNNING;
        const struct http_body_reader *reader = TAKE(request->reader);
        if (reader) {
            reader->on_end(request, request->reader_opaque);
        } else {
            request->match.target->route->handle(request);
        }
    }
    http_after_handler(request);
}

void http_body_fail(struct http_request *request, enum err err, const struct err_info *info)
{
    const struct http_body_reader *reader = TAKE(request->reader);
    request->is_paused = false;
    request->state = HTTP_REQUEST_RUNNING;
    decoder_close(request);
    http_refusal_count(err);
    if (reader) {
        reader->on_fail(request, request->reader_opaque, err, info);
    }
    if (request->state == HTTP_REQUEST_DEFERRED) {
        http_wait_enter(request->connection, HTTP_WAIT_REPLY);
    } else if (request->state == HTTP_REQUEST_RUNNING) {
        http_reply_err(request, err, info);
    }
}

/* --- for the reader --------------------------------------------------------------------------- */

void http_body_in_pieces(struct http_request *request, const struct http_body_reader *reader,
                         void *opaque)
{
    CHECK(request->state == HTTP_REQUEST_OPENING);
    request->reader = reader;
    request->reader_opaque = opaque;
}

void http_body_pause(struct http_request *request)
{
    CHECK(request->state == HTTP_REQUEST_BODY);
    CHECK(request->connection->worker->running == request->connection);
    request->is_paused = true;
}

void http_body_resume(struct http_request *request)
{
    CHECK(request->state == HTTP_REQUEST_BODY);
    request->is_paused = false;
    request->connection->is_due = true;
    http_wait_enter(request->connection, HTTP_WAIT_BODY);
    http_connection_again(request->connection);
}

int64_t http_body_length(const struct http_request *request)
{
    return request->head.is_chunked || request->head.encoding_count
               ? -1
               : (int64_t)request->head.content_length;
}
