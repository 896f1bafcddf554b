/* GET /events/{topics}: the connection leaves the HTTP core and becomes a stream. */
#include <inttypes.h>
#include <stdio.h>

#include "http/http_negotiate.h"
#include "query_access.h"
#include "query_ws.h"

#define HEAD_BYTES_MAX 16384
#define RETRY_LATER_MS 10000 /* for those that are turned away */

/* --- the answer -------------------------------------------------------------------------------------- */

static void answer_fields(struct http_request *request)
{
    http_reply_header(request, "Cache-Control", "no-cache, no-store");
    http_reply_header(request, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    http_reply_header(request, "X-Content-Type-Options", "nosniff");
    http_reply_header(request, "Vary", "Accept-Encoding, Origin");
}

/* A 503 would end an EventSource for good, and is what other clients understand. */
static enum err turn_away(struct http_request *request, struct streams *streams,
                          const struct events_request *events)
{
    if (events->format != READING_SSE) {
        return ERR_OVERLOADED;
    }
    char text[64];
    int len = snprintf(text, sizeof text, ":busy\n\nretry: %" PRId64 "\n\n",
                       streams_retry_ms(streams, RETRY_LATER_MS));
    http_reply_bytes(request, 200, events->content_type, sv_of(text, (size_t)len));
    return ERR_OK;
}

static enum err open_stream(struct http_request *request, struct streams *streams,
                            struct events_request *events, struct guest *guest)
{
    const struct query *query = http_request_context(request);
    struct stream_params params = {
        .feed = {.start = events->start, .is_snapshot = events->is_snapshot, .slow = events->slow}};
    bool is_chunked = true;
    const bool is_gzip =
        streams->config->is_compressing &&
        http_accept_encoding(http_request_header(request, "Accept-Encoding"), "gzip");
    if (is_gzip) {
        http_reply_header(request, "Content-Encoding", "gzip");
    }
    buf_init(&params.head, HEAD_BYTES_MAX);
    enum err e = http_stream_head(request, events->content_type, &params.head, &is_chunked);
    if (e) {
        guest_leave(guest);
        buf_free(&params.head);
        return e;
    }
    http_request_take_stream(request, &params.http);
    params.feed.hold = events_request_hold(events, query, streams->site);
    params.feed.asked = events->asked;
    events->asked = (struct cursor){0};
    params.feed.reading = events_request_reading(events);
    params.feed.reading->is_chunked = is_chunked;
    params.guest = *guest;
    params.feed.reading->is_gzip = is_gzip;
    stream_open(streams, &params);
    return ERR_OK;
}

static enum err handle(struct http_request *request, struct events_request *events,
                       struct err_info *info)
{
    struct shard *shard = http_worker_state(http_request_worker(request));
    struct access_principal *principal;
    enum err e = query_identify(request, SERVICE_ACCESS_STREAM, &principal, info);
    const bool is_socket = http_websocket_is_asked(request);
    e = e || is_socket ? e : events_request_format(request, events, info);
    e = e ? e : events_request_read_http(request, principal, events, info);
    if (is_socket) { /* which pages may open one is ws.origins' */
        return e ? e : query_open_socket(request, principal, events, info);
    }
    if (!e && events->consumer[0]) {
        e = query_permit_consumer(request, principal, ACCESS_WRITE, events->consumer, info);
    }
    if (e) {
        return e;
    }
    answer_fields(request);
    if (http_request_is_head(request)) {
        http_reply_bytes(request, 200, events->content_type, (struct strview){0});
        return ERR_OK;
    }
    struct guest guest;
    e = query_enter(request, principal, &guest, info);
    if (e == ERR_OVERLOADED) {
        return turn_away(request, &shard->streams, events);
    }
    return e ? e : open_stream(request, &shard->streams, events, &guest);
}

void query_handle_get_events(struct http_request *request)
{
    struct events_request events = {0};
    struct err_info info = {0};
    enum err e = handle(request, &events, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
    events_request_deinit(&events);
}
