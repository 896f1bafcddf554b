/* GET /events/{topics}: the connection leaves libmicrohttpd and becomes a stream. */
#include <inttypes.h>
#include <stdio.h>

#include "events_request.h"

#define SSE_TYPE       "text/event-stream; charset=utf-8"
#define HEAD_BYTES_MAX 16384
/* For those that are turned away: a 503 would end an EventSource for good. */
#define RETRY_LATER_MS 10000

/* --- the answer -------------------------------------------------------------------------------------- */

static void answer_fields(struct http_request *request)
{
    http_reply_header(request, "Cache-Control", "no-cache, no-store");
    http_reply_header(request, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    http_reply_header(request, "X-Content-Type-Options", "nosniff");
    http_reply_header(request, "Vary", "Origin");
}

static void turn_away(struct http_request *request, struct streams *streams)
{
    char text[64];
    int len = snprintf(text, sizeof text, ":busy\n\nretry: %" PRId64 "\n\n",
                       streams_retry_ms(streams, RETRY_LATER_MS));
    query_metrics_stream_end(QUERY_END_LIMIT);
    http_reply_bytes(request, 200, SSE_TYPE, sv_of(text, (size_t)len));
}

static enum err open_stream(struct http_request *request, struct streams *streams,
                            struct events_request *events)
{
    struct stream_params params = {.start = events->start};
    bool is_chunked = true;
    buf_init(&params.head, HEAD_BYTES_MAX);
    enum err e = http_stream_head(request, SSE_TYPE, &params.head, &is_chunked);
    if (!e) {
        e = http_request_take_stream(request, &params.http);
    }
    if (e) {
        buf_free(&params.head);
        return e;
    }
    params.asked = events->asked;
    events->asked = (struct cursor){0};
    params.reading = reading_new(events->topics, events->topic_count);
    params.reading->is_envelope = events->is_envelope;
    params.reading->is_chunked = is_chunked;
    stream_open(streams, &params);
    return ERR_OK;
}

void query_handle_get_events(struct http_request *request)
{
    const struct query *query = http_request_context(request);
    struct shard *shard = http_worker_state(http_request_worker(request));
    struct events_request events = {0};
    struct err_info info = {0};
    enum err e = events_request_read(request, query, &events, &info);
    if (!e) {
        answer_fields(request);
        bool is_full = atomic_load(&query->stream_total) >= (size_t)query->config.clients_max;
        if (http_request_is_head(request)) {
            http_reply_bytes(request, 200, SSE_TYPE, (struct strview){0});
        } else if (is_full) {
            turn_away(request, &shard->streams);
        } else {
            e = open_stream(request, &shard->streams, &events);
        }
    }
    if (e) {
        http_reply_err(request, e, &info);
    }
    events_request_deinit(&events);
}
