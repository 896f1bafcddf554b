#include "ingest_reading.h"

#include <stdlib.h>
#include <string.h>

#include "ingest_event.h"
#include "ingest_once.h"

#define SCRATCH_BYTES_MAX ((size_t)1 << 30) /* twice the largest event at most */

struct ingest_reading *ingest_reading_new(struct ingest_worker *worker)
{
    struct ingest_reading *reading = must_alloc(sizeof *reading);
    reading->worker = worker;
    reading->head.writes_all_headers = worker->ingest->config.writes_all_headers;
    buf_init(&reading->scratch, SCRATCH_BYTES_MAX);
    return reading;
}

void ingest_reading_free(struct ingest_reading *reading)
{
    if (reading) {
        access_principal_unref(reading->principal);
        buf_free(&reading->scratch);
        free(reading);
    }
}

static bool media_matches(struct strview pattern, struct strview type)
{
    if (!pattern.len || pattern.ptr[0] != '*') {
        return sv_equal(pattern, type);
    }
    const struct strview end = sv_of(pattern.ptr + 1, pattern.len - 1);
    return type.len > end.len && memcmp(type.ptr + type.len - end.len, end.ptr, end.len) == 0;
}

const struct ingest_format *ingest_route_format(const struct ingest_route *route,
                                                struct strview media_type)
{
    for (size_t i = 0; i < route->media_count; i++) {
        if (media_matches(route->media[i].type, media_type)) {
            return route->media[i].format;
        }
    }
    return NULL;
}

static enum err format_find(struct ingest_reading *reading)
{
    const struct ingest_route *route = reading->route;
    const struct strview type = http_request_media_type(reading->request);
    const bool is_structured = sv_starts_with(type, SV("application/cloudevents"));
    reading->format = reading->head.field_count > 0 && !is_structured && route->binary
                          ? route->binary
                          : ingest_route_format(route, type);
    return reading->format
               ? ERR_OK
               : err_set(&reading->info, ERR_MEDIA_TYPE, "\"%.*s\" is not taken here; send %s",
                         SV_ARG(type), route->wanted);
}

static struct ingest_reader reader_of(struct ingest_reading *reading)
{
    const struct ingest_worker *worker = reading->worker;
    struct ingest_head *head = &reading->head;
    const size_t events_max = (size_t)worker->ingest->config.events_max;
    const bool is_bound = head->once_key.ptr && events_max > ONCE_OUTCOME_EVENTS_MAX;
    return (struct ingest_reader){
        .scanner = worker->scanner,
        .events_max = is_bound ? ONCE_OUTCOME_EVENTS_MAX : events_max,
        .media_type = http_request_media_type(reading->request),
        .fields = head->fields,
        .field_count = head->field_count,
        .headers = head->headers + head->header_count,
        .headers_max = INGEST_ATTRIBUTES_MAX, /* there is room, whatever the head brings along */
        .scratch = &reading->scratch,
        .info = &reading->info,
    };
}

static enum err identify(struct ingest_reading *reading)
{
    struct access_principal *principal;
    access_principal_unref(reading->principal); /* the last request's */
    reading->principal = NULL;
    reading->spent = 0;
    const enum err e = service_access_identify(reading->request, reading->worker->access,
                                               SERVICE_ACCESS_FULL, &principal, &reading->info);
    reading->principal = access_principal_ref(principal);
    return e;
}

enum err ingest_reading_check_key(struct ingest_reading *reading,
                                  const struct ingest_topic_state *topic)
{
    return topic->is_once_required && !reading->head.once_key.ptr
               ? err_set(&reading->info, ERR_IDEMPOTENCY_KEY,
                         "requests to topic %s need an Idempotency-Key", topic->name)
               : ERR_OK;
}

enum err ingest_reading_begin(struct ingest_reading *reading, struct http_request *request,
                              const struct ingest_route *route)
{
    reading->request = request;
    reading->route = route;
    err_info_clear(&reading->info);
    enum err e = identify(reading);
    if (!e) {
        e = ingest_worker_admit(reading->worker, &reading->info);
    }
    if (!e) {
        e = ingest_head_read(request, &reading->head, &reading->info);
    }
    if (!e && reading->head.is_hasty) {
        e = ingest_worker_need_hasty(reading->worker, &reading->info);
    }
    if (!e) {
        e = format_find(reading);
    }
    const char *topic = http_request_param(request, "topic");
    reading->request_topic = NULL;
    if (!e && topic) {
        e = ingest_worker_topic(reading->worker, reading->principal, sv(topic),
                                &reading->request_topic, &reading->info);
    }
    if (e == ERR_FORBIDDEN) {
        http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_FORBIDDEN);
    }
    if (!e && topic) {
        e = ingest_reading_check_key(reading, reading->request_topic);
    }
    if (!e) {
        ingest_head_type(&reading->head, reading->format->content_type);
        reading->reader = reader_of(reading);
    }
    return e;
}

void ingest_reading_take_batch(struct ingest_reading *reading)
{
    struct ingest_batch *batch =
        ingest_batch_take(reading->worker, reading->request, reading->route->answer->results);
    batch->format = reading->format;
    batch->is_hasty = reading->head.is_hasty;
    batch->is_async = reading->head.is_async;
    batch->is_minimal = reading->head.is_minimal;
    reading->batch = batch;
}

void ingest_reading_spend(struct ingest_reading *reading, size_t bytes)
{
    const uint32_t events = reading->batch->count;
    access_spend(reading->worker->access, reading->principal, events - reading->spent,
                 (int64_t)bytes);
    reading->spent = events;
}

void ingest_reading_claimed(struct ingest_reading *reading, struct ingest_once_claim *once)
{
    struct ingest_head *head = &reading->head;
    ingest_once_attach(once, reading->batch);
    /* Ours go before those that an event brings along: its value is set for each event. */
    ingest_head_add(head, SV(INGEST_ONCE_EVENT_HEADER),
                    sv_of(once->event_id, INGEST_ONCE_EVENT_BYTES));
    reading->reader.headers = head->headers + head->header_count;
}

void ingest_reading_run(struct ingest_reading *reading)
{
    while (reading->format->next(&reading->reader, &reading->event)) {
        ingest_event_take(reading);
    }
}

static const char *on_abandon(void *opaque)
{
    struct ingest_batch *batch = opaque;
    batch->request = NULL; /* the last report gives it back */
    return "Kafka did not acknowledge in time and may still store what was sent";
}

static const char *on_abandon_once(void *opaque)
{
    (void)on_abandon(opaque);
    return "Kafka did not acknowledge in time and may still store what was sent; the same request "
           "with the same Idempotency-Key is told what became of it";
}

void ingest_reading_end(struct ingest_reading *reading)
{
    struct ingest_batch *batch = reading->batch;
    if (batch->outstanding > 0) {
        /* Reports come on this thread only, so the last cannot have come before this line. */
        http_request_defer(reading->request, batch->once ? on_abandon_once : on_abandon, batch);
    }
    ingest_batch_read(batch);
}
