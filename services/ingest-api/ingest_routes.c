/* The requests that bring events. Each goes the same way:
 *
 *   route     which formats it takes, and which API's shape its answers have
 *   head      topic, key, partition, timestamp, headers: what holds for all events
 *   claim     with an Idempotency-Key: what became of it, if it has been here (ingest_once.h)
 *   format    by media type; finds the events in the body
 *   events    one after another: check, key, produce (ingest_event.c)
 *   answer    when the last delivery report is in (ingest_batch.c, ingest_answer.h)
 *
 * A body of lines is read while it arrives (ingest_stream.c); any other is collected first. */
#include "ingest_once.h"
#include "ingest_reading.h"
#include "ingest_rejects.h"
#include "ingest_stream.h"

static const struct ingest_media events_media[] = {
    {SV_STATIC(""), &ingest_format_json},
    {SV_STATIC("application/json"), &ingest_format_json},
    {SV_STATIC("text/plain"),
     &ingest_format_json}, /* what navigator.sendBeacon may send without a preflight */
    {SV_STATIC("application/x-ndjson"), &ingest_format_lines},
    {SV_STATIC("application/ndjson"), &ingest_format_lines},
    {SV_STATIC("application/jsonl"), &ingest_format_lines},
    {SV_STATIC("application/jsonlines"), &ingest_format_lines},
    {SV_STATIC("application/x-jsonlines"), &ingest_format_lines},
    {SV_STATIC("application/cloudevents+json"), &ingest_format_cloudevent},
    {SV_STATIC("application/cloudevents-batch+json"), &ingest_format_cloudevents},
    {SV_STATIC("*+json"), &ingest_format_json},
};

static const struct ingest_route events_route = {
    .answer = &ingest_answer_events,
    .media = events_media,
    .media_count = ARRAY_LEN(events_media),
    .binary = &ingest_format_cloudevent_binary,
    .wanted = "application/json, application/x-ndjson or application/cloudevents+json",
};

static const struct ingest_media rest_media[] = {
    {SV_STATIC("application/vnd.kafka.json.v2+json"), &ingest_format_rest_json},
    {SV_STATIC("application/vnd.kafka.binary.v2+json"), &ingest_format_rest_binary},
    {SV_STATIC("application/vnd.kafka.text.v2+json"), &ingest_format_rest_text},
};

static const struct ingest_route rest_route = {
    .answer = &ingest_answer_kafka_rest,
    .media = rest_media,
    .media_count = ARRAY_LEN(rest_media),
    .wanted = "application/vnd.kafka.json.v2+json, application/vnd.kafka.binary.v2+json or "
              "application/vnd.kafka.text.v2+json",
};

static const struct ingest_media eventgate_media[] = {
    {SV_STATIC(""), &ingest_format_eventgate},
    {SV_STATIC("application/json"), &ingest_format_eventgate},
    {SV_STATIC("text/plain"), &ingest_format_eventgate},
};

static const struct ingest_route eventgate_route = {
    .answer = &ingest_answer_eventgate,
    .media = eventgate_media,
    .media_count = ARRAY_LEN(eventgate_media),
    .wanted = "application/json",
};

static void handle_claimed(struct http_request *request, const void *route,
                           struct ingest_once_claim *once);

/* Asks for the claim of a request with an Idempotency-Key: ERR_OK and NULL, it waits for it. */
static enum err claim(struct ingest_reading *reading, struct ingest_once_claim **ret)
{
    const struct ingest_once_ask ask = {
        .request = reading->request,
        .principal = reading->principal,
        .topic = reading->request_topic,
        .key = reading->head.once_key,
        .route = reading->route,
        .go = handle_claimed,
    };
    return ingest_once_admit(reading->worker->once, &ask, ret, &reading->info);
}

static void read_events(struct ingest_reading *reading, struct ingest_once_claim *once)
{
    ingest_reading_take_batch(reading);
    reading->batch->is_single = reading->reader.is_single;
    if (once) {
        ingest_reading_claimed(reading, once);
    }
    ingest_reading_run(reading);
    ingest_reading_spend(reading, reading->reader.text.len);
    ingest_reading_end(reading);
}

/* once NULL: with its claim still to be had, if it needs one. */
static void handle_claimed(struct http_request *request, const void *route,
                           struct ingest_once_claim *once)
{
    struct ingest_worker *worker = http_worker_state(http_request_worker(request));
    struct ingest_reading *reading = worker->reading;
    enum err e = ingest_reading_begin(reading, request, route);
    if (!e && reading->head.once_key.ptr && !once) {
        e = claim(reading, &once);
        if (!e && !once) {
            return;
        }
    }
    if (!e) {
        reading->reader.text = http_request_body(request);
        reading->event = (struct ingest_event){0};
        reading->topic = NULL;
        e = reading->format->open(&reading->reader);
        if (e) {
            ingest_reject(reading, reading->reader.text, e, NULL);
        }
    }
    if (!e) {
        read_events(reading, once);
        return;
    }
    if (once) {
        ingest_once_drop(once);
    }
    reading->route->answer->refusal(request, e, &reading->info);
}

static void handle(struct http_request *request, const struct ingest_route *route)
{
    handle_claimed(request, route, NULL);
}

static void ingest_open_post_events(struct http_request *request)
{
    ingest_stream_open(request, &events_route);
}

static void ingest_handle_post_events(struct http_request *request)
{
    handle(request, &events_route);
}

static void ingest_open_post_records(struct http_request *request)
{
    ingest_stream_open(request, &rest_route);
}

static void ingest_handle_post_records(struct http_request *request)
{
    handle(request, &rest_route);
}

static void ingest_open_post_eventgate(struct http_request *request)
{
    ingest_stream_open(request, &eventgate_route);
}

static void ingest_handle_post_eventgate(struct http_request *request)
{
    handle(request, &eventgate_route);
}

const struct http_route ingest_routes[] = {
    {HTTP_POST, "/events/{topic}", ingest_handle_post_events, ingest_open_post_events},
    {HTTP_POST, "/topics/{topic}", ingest_handle_post_records, ingest_open_post_records},
    {HTTP_POST, "/topics/{topic}/partitions/{partition}", ingest_handle_post_records,
     ingest_open_post_records},
    {HTTP_POST, "/v1/events", ingest_handle_post_eventgate, ingest_open_post_eventgate},
};
const size_t ingest_routes_count = ARRAY_LEN(ingest_routes);
