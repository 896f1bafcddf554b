/* The requests that bring events. Each goes the same way:
 *
 *   route     which formats it takes, and which API's shape its answers have
 *   head      topic, key, partition, timestamp, headers: what holds for all events
 *   format    by media type; finds the events in the body
 *   events    one after another: check, key, produce (ingest_event.c)
 *   answer    when the last delivery report is in (ingest_batch.c, ingest_answer.h)
 */
#include <string.h>

#include "ingest_answer.h"
#include "ingest_event.h"

struct media_row {
    const char *type; /* of the Content-Type; a leading * stands for any beginning */
    const struct ingest_format *format;
};

struct route {
    const struct ingest_answer *answer;
    const struct media_row *media;
    size_t media_count;
    const struct ingest_format *binary; /* when the head has ce-* fields; or NULL */
    const char *wanted;                 /* what to send instead of an unknown type */
};

static const struct media_row events_media[] = {
    {"", &ingest_format_json},
    {"application/json", &ingest_format_json},
    {"text/plain",
     &ingest_format_json}, /* what navigator.sendBeacon may send without a preflight */
    {"application/x-ndjson", &ingest_format_lines},
    {"application/ndjson", &ingest_format_lines},
    {"application/jsonl", &ingest_format_lines},
    {"application/jsonlines", &ingest_format_lines},
    {"application/x-jsonlines", &ingest_format_lines},
    {"application/cloudevents+json", &ingest_format_cloudevent},
    {"application/cloudevents-batch+json", &ingest_format_cloudevents},
    {"*+json", &ingest_format_json},
};

static const struct route events_route = {
    .answer = &ingest_answer_events,
    .media = events_media,
    .media_count = ARRAY_LEN(events_media),
    .binary = &ingest_format_cloudevent_binary,
    .wanted = "application/json, application/x-ndjson or application/cloudevents+json",
};

static bool media_matches(const char *pattern, struct strview type)
{
    if (pattern[0] != '*') {
        return sv_equal(sv(pattern), type);
    }
    const struct strview end = sv(pattern + 1);
    return type.len > end.len && memcmp(type.ptr + type.len - end.len, end.ptr, end.len) == 0;
}

static enum err find_format(const struct route *route, const struct ingest_head *head,
                            struct strview type, const struct ingest_format **ret,
                            struct err_info *info)
{
    const bool is_structured = sv_starts_with(type, SV("application/cloudevents"));
    if (head->field_count > 0 && !is_structured && route->binary) {
        *ret = route->binary;
        return ERR_OK;
    }
    for (size_t i = 0; i < route->media_count; i++) {
        if (media_matches(route->media[i].type, type)) {
            *ret = route->media[i].format;
            return ERR_OK;
        }
    }
    return err_set(info, ERR_MEDIA_TYPE, "\"%.*s\" is not taken here; send %s", SV_ARG(type),
                   route->wanted);
}

static const char *on_abandon(void *opaque)
{
    struct ingest_batch *batch = opaque;
    batch->request = NULL; /* the last report gives it back */
    return "Kafka did not acknowledge in time and may still store what was sent";
}

static struct ingest_reader reader_of(struct ingest_worker *worker,
                                      const struct http_request *request)
{
    struct ingest_reading *reading = worker->reading;
    struct ingest_head *head = &reading->head;
    return (struct ingest_reader){
        .scanner = worker->scanner,
        .events_max = (size_t)worker->ingest->config.events_max,
        .text = http_request_body(request),
        .media_type = http_request_media_type(request),
        .fields = head->fields,
        .field_count = head->field_count,
        .headers = head->headers + head->header_count,
        .headers_max = INGEST_HEADERS_MAX - head->header_count,
        .scratch = &reading->scratch,
        .info = &reading->info,
    };
}

static enum err begin(struct http_request *request, const struct route *route,
                      struct ingest_worker *worker, const struct ingest_format **ret_format)
{
    struct ingest_reading *reading = worker->reading;
    struct err_info *info = &reading->info;
    enum err e = ingest_head_read(request, &reading->head, info);
    if (!e) {
        e = find_format(route, &reading->head, http_request_media_type(request), ret_format, info);
    }
    if (!e) {
        e = ingest_worker_topic(worker, sv(http_request_param(request, "topic")), &reading->topic,
                                info);
    }
    if (!e) {
        ingest_head_type(&reading->head, (*ret_format)->content_type);
        reading->reader = reader_of(worker, request);
        e = (*ret_format)->open(&reading->reader);
    }
    return e;
}

static void handle(struct http_request *request, const struct route *route)
{
    struct ingest_worker *worker = http_worker_state(http_request_worker(request));
    struct ingest_reading *reading = worker->reading;
    /* Set whenever there is no error, which gcc 14 cannot tell. */
    const struct ingest_format *format = NULL;
    reading->info.text[0] = reading->info.pointer[0] = '\0';
    const enum err e = begin(request, route, worker, &format);
    if (e) {
        route->answer->refusal(request, e, &reading->info);
        return;
    }
    struct ingest_batch *batch = ingest_batch_take(worker, request, route->answer->results);
    batch->is_single = reading->reader.is_single;
    reading->batch = batch;
    while (format->next(&reading->reader, &reading->event)) {
        ingest_event_take(reading);
    }
    if (batch->outstanding > 0) {
        /* Reports come on this thread only, so none can have come before this line. */
        http_request_defer(request, on_abandon, batch);
    }
    ingest_batch_read(batch);
}

static void ingest_handle_post_events(struct http_request *request)
{
    handle(request, &events_route);
}

const struct http_route ingest_routes[] = {
    {HTTP_POST, "/events/{topic}", ingest_handle_post_events},
};
const size_t ingest_routes_count = ARRAY_LEN(ingest_routes);
