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
    const char *wanted; /* what to send instead of an unknown type */
};

static const struct media_row events_media[] = {
    {"", &ingest_format_json},
    {"application/json", &ingest_format_json},
    {"*+json", &ingest_format_json},
};

static const struct route events_route = {
    .answer = &ingest_answer_events,
    .media = events_media,
    .media_count = ARRAY_LEN(events_media),
    .wanted = "application/json",
};

static bool media_matches(const char *pattern, struct strview type)
{
    if (pattern[0] != '*') {
        return sv_equal(sv(pattern), type);
    }
    const struct strview end = sv(pattern + 1);
    return type.len > end.len && memcmp(type.ptr + type.len - end.len, end.ptr, end.len) == 0;
}

static enum err find_format(const struct route *route, const struct http_request *request,
                            const struct ingest_format **ret, struct err_info *info)
{
    const struct strview type = http_request_media_type(request);
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

static enum err begin(struct http_request *request, const struct route *route,
                      struct ingest_worker *worker, const struct ingest_format **ret_format)
{
    struct ingest_reading *reading = worker->reading;
    const char *topic = http_request_param(request, "topic");
    enum err e = find_format(route, request, ret_format, &reading->info);
    if (!e) {
        e = ingest_worker_topic(worker, sv(topic), &reading->topic, &reading->info);
    }
    if (!e) {
        e = ingest_head_read(request, *ret_format, &reading->head, &reading->info);
    }
    if (!e) {
        reading->reader = (struct ingest_reader){
            .scanner = worker->scanner,
            .events_max = (size_t)worker->ingest->config.events_max,
            .text = http_request_body(request),
            .info = &reading->info,
        };
        e = (*ret_format)->open(&reading->reader);
    }
    return e;
}

static void handle(struct http_request *request, const struct route *route)
{
    struct ingest_worker *worker = http_worker_state(http_request_worker(request));
    struct ingest_reading *reading = worker->reading;
    const struct ingest_format *format;
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
