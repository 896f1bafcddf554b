#define _GNU_SOURCE /* memrchr */

#include "ingest_stream.h"

#include <stdlib.h>
#include <string.h>

#include "ingest_event.h"

#define OUTSTANDING_MAX   8192
#define OUTSTANDING_LOW   (OUTSTANDING_MAX / 2)
#define CARRIED_BYTES_MAX ((size_t)64 << 20) /* of all streams of a worker */

struct stream {
    struct ingest_reading *reading;
    struct buf carry; /* the beginning of a line whose end has not come */
    bool is_skipping; /* the rest of a line that is too long */
    bool is_full;     /* events.streamed.max: the rest is read and dropped */
};

static void carry_drop(struct stream *stream)
{
    stream->reading->worker->carried_bytes -= stream->carry.len;
    buf_reset(&stream->carry);
}

static void stream_free(struct stream *stream)
{
    carry_drop(stream);
    buf_free(&stream->carry);
    ingest_reading_free(stream->reading);
    free(stream);
}

/* --- lines ------------------------------------------------------------------------------------- */

static void refuse_line(struct stream *stream, enum err err, const char *why)
{
    struct ingest_reading *reading = stream->reading;
    const uint32_t index = ingest_batch_add(reading->batch, reading->request_topic->index);
    struct err_info info = {0};
    (void)err_set(&info, err, "line %zu: %s", ++reading->reader.line, why);
    ingest_batch_refuse(reading->batch, index, err, &info, NULL);
}

static void take_lines(struct stream *stream, const char *bytes, size_t len)
{
    struct ingest_reading *reading = stream->reading;
    const size_t events_max = (size_t)reading->worker->ingest->config.streamed_events_max;
    reading->reader.text = (struct strview){bytes, len};
    reading->reader.at = 0;
    while (!stream->is_full && reading->format->next(&reading->reader, &reading->event)) {
        stream->is_full = reading->batch->count == events_max;
        if (!stream->is_full) {
            ingest_event_take(reading);
        }
    }
}

/* Keeps the beginning of a line; one that cannot be kept has its result now, its rest is passed
 * over. */
static void carry_add(struct stream *stream, const char *bytes, size_t len)
{
    struct ingest_worker *worker = stream->reading->worker;
    if (stream->is_skipping || len == 0) {
        return;
    }
    if (worker->carried_bytes + len > CARRIED_BYTES_MAX) {
        refuse_line(stream, ERR_OVERLOADED, "no memory for the lines that have begun to arrive");
    } else if (buf_append(&stream->carry, bytes, len)) {
        refuse_line(stream, ERR_RECORD_TOO_LARGE, "longer than an event may be");
    } else {
        worker->carried_bytes += len;
        return;
    }
    carry_drop(stream);
    stream->is_skipping = true;
}

/* The line that was begun is complete. */
static void carry_take(struct stream *stream)
{
    if (!stream->is_skipping) {
        take_lines(stream, stream->carry.data, stream->carry.len);
    }
    stream->is_skipping = false;
    carry_drop(stream);
}

static void pause_if_far_ahead(struct stream *stream)
{
    struct ingest_batch *batch = stream->reading->batch;
    if (batch->outstanding >= OUTSTANDING_MAX) {
        batch->resume_at = OUTSTANDING_LOW;
        http_body_pause(stream->reading->request);
    }
}

static void on_piece(struct http_request *request, void *opaque, struct strview piece)
{
    struct stream *stream = opaque;
    const size_t bytes = piece.len;
    /* A body may take long to arrive. */
    stream->reading->head.now_ms = http_worker_now_ms(http_request_worker(request));
    const char *feed = memchr(piece.ptr, '\n', piece.len);
    if (feed && (stream->carry.len || stream->is_skipping)) {
        const size_t len = (size_t)(feed + 1 - piece.ptr);
        carry_add(stream, piece.ptr, len);
        carry_take(stream);
        piece = (struct strview){feed + 1, piece.len - len};
    }
    const char *last = piece.len ? memrchr(piece.ptr, '\n', piece.len) : NULL;
    const size_t whole = last ? (size_t)(last + 1 - piece.ptr) : 0;
    take_lines(stream, piece.ptr, whole);
    carry_add(stream, piece.ptr + whole, piece.len - whole);
    ingest_reading_spend(stream->reading, bytes);
    pause_if_far_ahead(stream);
}

/* --- the end ----------------------------------------------------------------------------------- */

static void on_end(struct http_request *request, void *opaque)
{
    struct stream *stream = opaque;
    struct ingest_reading *reading = stream->reading;
    struct ingest_batch *batch = reading->batch;
    if (stream->carry.len || stream->is_skipping) {
        carry_take(stream);
    }
    if (stream->is_full) {
        (void)err_set(&reading->info, ERR_BATCH_TOO_LARGE, "more than %u lines at once",
                      batch->count);
        ingest_batch_break(batch, ERR_BATCH_TOO_LARGE, &reading->info);
    }
    if (batch->count == 0) {
        ingest_batch_give(batch);
        reading->route->answer->refusal(request, ERR_BODY_EMPTY, NULL);
    } else {
        ingest_reading_end(reading);
    }
    stream_free(stream);
}

static void on_fail(struct http_request *request, void *opaque, enum err err,
                    const struct err_info *info)
{
    (void)request;
    struct stream *stream = opaque;
    struct ingest_batch *batch = stream->reading->batch;
    batch->resume_at = 0;
    if (batch->count == 0) {
        ingest_batch_give(batch); /* the core answers */
    } else {
        ingest_batch_break(batch, err, info);
        ingest_reading_end(stream->reading);
    }
    stream_free(stream);
}

static void on_gone(void *opaque)
{
    struct stream *stream = opaque;
    struct ingest_batch *batch = stream->reading->batch;
    batch->request = NULL;
    batch->resume_at = 0;
    ingest_batch_read(batch); /* given back with its last report */
    stream_free(stream);
}

static const struct http_body_reader reader = {on_piece, on_end, on_fail, on_gone};

/* Before the body: who is not known does not get memory for one. */
static void stranger_refuse(struct ingest_worker *worker, struct http_request *request,
                            const struct ingest_route *route)
{
    struct access_principal *principal;
    UNINITIALIZED struct err_info info;
    err_info_clear(&info);
    const enum err e =
        service_access_identify(request, worker->access, SERVICE_ACCESS_HEAD, &principal, &info);
    if (e) {
        route->answer->refusal(request, e, &info);
    }
}

void ingest_stream_open(struct http_request *request, const struct ingest_route *route)
{
    const struct ingest_format *format =
        ingest_route_format(route, http_request_media_type(request));
    struct ingest_worker *worker = http_worker_state(http_request_worker(request));
    if (!format || !format->is_by_line) {
        stranger_refuse(worker, request, route); /* anybody else's is collected */
        return;
    }
    struct ingest_reading *reading = ingest_reading_new(worker);
    const enum err e = ingest_reading_begin(reading, request, route);
    /* A CloudEvent whose data are lines is collected, and a request with an Idempotency-Key: it can
     * be known again, and perhaps must not be done, only by its whole body. */
    if (e || !reading->format->is_by_line || reading->head.once_key.ptr) {
        if (e) {
            route->answer->refusal(request, e, &reading->info);
        }
        ingest_reading_free(reading);
        return;
    }
    struct stream *stream = must_alloc(sizeof *stream);
    stream->reading = reading;
    buf_init(&stream->carry, (size_t)service_http_config(worker->ingest->service)->body_bytes_max);
    ingest_reading_take_batch(reading);
    http_body_in_pieces(request, &reader, stream);
}
