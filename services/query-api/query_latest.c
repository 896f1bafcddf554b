/* GET /latest/{topic} and /latest/{topic}/{key}. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "query.h"

#define BODY_BYTES_MAX ((size_t)1 << 30) /* keys_max values */
#define ETAG_BYTES_MAX ((size_t)4 << 20)

/* --- the body -------------------------------------------------------------------------------------------- */

static enum err append_item(struct buf *out, const struct frame *frame)
{
    enum err e = buf_append(out, "{\"key\":", 7);
    e = e ? e : buf_append_json_string(out, frame->key);
    e = e ? e : buf_append(out, ",\"value\":", 9);
    if (!e) {
        frame_append_value(out, frame);
        e = buf_printf(
            out, ",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 "}",
            frame->partition, frame->offset, frame->timestamp_ms);
    }
    return e;
}

static enum err append_body(struct buf *out, const struct query *query, size_t topic,
                            const struct latest_view *view)
{
    enum err e = buf_printf(out, "{\"as_of\":%" PRId64 ",\"lag\":%" PRId64 ",\"cursor\":",
                            reader_as_of_ms(query->reader), reader_topic_lag(query->reader, topic));
    e = e ? e : buf_append_json_string(out, buf_view(&view->cursor));
    if (!e && view->left_out) {
        /* Said, not hidden: query.latest.keys.max is too small for this topic. */
        e = buf_printf(out, ",\"left_out\":%" PRId64, view->left_out);
    }
    e = e ? e : buf_append(out, ",\"items\":[", 10);
    for (size_t i = 0; i < view->count && !e; i++) {
        e = i ? buf_append(out, ",", 1) : ERR_OK;
        e = e ? e : append_item(out, view->frames[i]);
    }
    return e ? e : buf_append(out, "]}", 2);
}

/* --- conditional requests -------------------------------------------------------------------------------- */

/* Whether the list of If-None-Match names the tag. */
static bool is_unchanged(const struct http_request *request, const char *etag)
{
    const char *list = http_request_header(request, "If-None-Match");
    size_t len = strlen(etag);
    for (const char *at = list; at && (at = strstr(at, etag)) != NULL; at += len) {
        bool is_begin = at == list || strchr(" ,/\t", at[-1]); /* "/": W/ compares as strong here */
        if (is_begin && (at[len] == '\0' || strchr(" ,\t", at[len]))) {
            return true;
        }
    }
    return list && strcmp(list, "*") == 0;
}

/* The topic's position, or the item's own: what the answer depends on. */
static enum err etag_make(struct buf *out, const struct latest_view *view, bool is_key)
{
    if (is_key && view->count) {
        return buf_printf(out, "\"%" PRId32 "=%" PRId64 "@%" PRId64 "\"",
                          view->frames[0]->partition, view->frames[0]->offset + 1,
                          view->frames[0]->timestamp_ms); /* the time tells a topic made anew */
    }
    return buf_printf(out, "\"%.*s\"", SV_ARG(buf_view(&view->cursor)));
}

/* So that a stream can go on exactly where this answer ends. */
static void link_add(struct http_request *request, const struct strview topic,
                     const struct latest_view *view)
{
    CLEANUP(buf_free) struct buf link;
    buf_init(&link, ETAG_BYTES_MAX);
    if (buf_printf(&link, "</events/%.*s>; rel=\"monitor\"; last-event-id=\"%.*s\"", SV_ARG(topic),
                   SV_ARG(buf_view(&view->cursor))) == ERR_OK &&
        link.len < 4096) {
        http_reply_header(request, "Link", link.data);
    }
}

/* --- answers ------------------------------------------------------------------------------------------------- */

static enum err answer(struct http_request *request, const struct query *query, size_t topic,
                       const struct latest_view *view)
{
    CLEANUP(buf_free) struct buf etag, body;
    buf_init(&etag, ETAG_BYTES_MAX);
    buf_init(&body, BODY_BYTES_MAX);
    enum err e = etag_make(&etag, view, http_request_param(request, "key") != NULL);
    if (e) {
        return e;
    }
    http_reply_header(request, "ETag", etag.data);
    http_reply_header(request, "Cache-Control", "no-cache");
    link_add(request, query->topics[topic], view);
    if (is_unchanged(request, etag.data)) {
        http_reply_bytes(request, 304, NULL, (struct strview){0});
        return ERR_OK;
    }
    e = append_body(&body, query, topic, view);
    if (!e) {
        http_reply_buf(request, 200, "application/json", &body);
    }
    return e;
}

static enum err handle(struct http_request *request, struct strview key, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    size_t topic;
    enum err e = query_topic_get(query, sv(http_request_param(request, "topic")), &topic, info);
    if (e) {
        return e;
    }
    struct latest_view view;
    latest_read(query->latest[topic], key, &view);
    if (!view.is_known) {
        e = err_set(info, ERR_NOT_READY, "\"%s\" has not been read yet", query->topics[topic].ptr);
    } else if (key.ptr && view.count == 0) {
        e = err_set(info, ERR_KEY_UNKNOWN, "\"%s\" has no value for the key \"%.*s\"",
                    query->topics[topic].ptr, SV_ARG(key));
    } else {
        e = answer(request, query, topic, &view);
    }
    latest_view_free(&view);
    return e;
}

void query_handle_get_latest(struct http_request *request)
{
    struct err_info info = {0};
    enum err e = handle(request, (struct strview){0}, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}

void query_handle_get_latest_key(struct http_request *request)
{
    struct err_info info = {0};
    enum err e = handle(request, sv(http_request_param(request, "key")), &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}
