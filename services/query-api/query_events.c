/* GET /events/{topics}: checks everything that can be wrong while there is still a status to say it
 * with, then the connection leaves libmicrohttpd and becomes a stream. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "query.h"

#define SSE_TYPE       "text/event-stream; charset=utf-8"
#define HEAD_BYTES_MAX 16384
/* For those that are turned away: a 503 would end an EventSource for good. */
#define RETRY_LATER_MS 10000

struct events_request {
    uint16_t topics[READING_TOPICS_MAX];
    struct strview names[READING_TOPICS_MAX];
    size_t topic_count;
    struct cursor asked;
    bool is_from_earliest;
    bool is_envelope;
};

/* --- the request ------------------------------------------------------------------------------------- */

static enum err topic_add(const struct query *query, struct strview name,
                          struct events_request *ret, struct err_info *info)
{
    size_t topic;
    enum err e = query_topic_get(query, name, &topic, info);
    if (e) {
        return e;
    }
    for (size_t i = 0; i < ret->topic_count; i++) {
        if (ret->topics[i] == topic) {
            return ERR_OK; /* named twice, sent once */
        }
    }
    if (ret->topic_count == READING_TOPICS_MAX) {
        return err_set(info, ERR_REQUEST_PARAM, "more than %d topics on one stream",
                       READING_TOPICS_MAX);
    }
    ret->names[ret->topic_count] = query->topics[topic];
    ret->topics[ret->topic_count++] = (uint16_t)topic;
    return ERR_OK;
}

static enum err read_topics(const struct query *query, const char *list, struct events_request *ret,
                            struct err_info *info)
{
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        enum err e = topic_add(query, sv_of(at, len), ret, info);
        if (e) {
            return e;
        }
        at += len;
        if (!*at) {
            return ERR_OK;
        }
    }
}

static enum err read_choice(const struct http_request *request, const char *name,
                            const char *const choices[2], bool *ret, struct err_info *info)
{
    const char *text = http_request_query(request, name);
    if (text && strcmp(text, choices[0]) != 0 && strcmp(text, choices[1]) != 0) {
        return err_set(info, ERR_REQUEST_PARAM, "%s=%.32s is neither %s nor %s", name, text,
                       choices[0], choices[1]);
    }
    *ret = text && strcmp(text, choices[1]) == 0;
    return ERR_OK;
}

/* The header wins: a browser that reconnects sends it, with the first request's address. */
static enum err read_cursor(const struct http_request *request, struct events_request *ret,
                            struct err_info *info)
{
    const char *text = http_request_header(request, "Last-Event-ID");
    if (!text || !text[0]) {
        text = http_request_query(request, "last_event_id");
    }
    return text && text[0] ? cursor_parse(sv(text), ret->names, ret->topic_count, &ret->asked, info)
                           : ERR_OK;
}

static enum err read_request(const struct http_request *request, const struct query *query,
                             struct events_request *ret, struct err_info *info)
{
    static const char *const froms[] = {"latest", "earliest"};
    static const char *const switches[] = {"0", "1"};
    if (http_request_accepts(request, "text/event-stream") <= 0) {
        return err_set(info, ERR_NOT_ACCEPTABLE, "events are sent as text/event-stream");
    }
    enum err e = read_topics(query, http_request_param(request, "topics"), ret, info);
    if (!e) {
        e = read_choice(request, "from", froms, &ret->is_from_earliest, info);
    }
    if (!e) {
        e = read_choice(request, "envelope", switches, &ret->is_envelope, info);
    }
    return e ? e : read_cursor(request, ret, info);
}

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
    struct stream_params params = {.is_from_earliest = events->is_from_earliest};
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
    enum err e = read_request(request, query, &events, &info);
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
    cursor_free(&events.asked);
}
