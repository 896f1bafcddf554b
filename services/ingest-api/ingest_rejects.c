#include "ingest_rejects.h"

#include <string.h>

#define POINTERS_BYTES_MAX 1024

static bool is_on(const struct ingest_worker *worker)
{
    return worker->ingest->config.rejects_topic[0] && !worker->is_stopping;
}

static void reject_send(struct ingest_worker *worker, struct kafka_record *record)
{
    struct err_info info = {0};
    record->topic = worker->ingest->config.rejects_topic;
    record->partition = INGEST_NO_PARTITION;
    record->opaque = NULL; /* a reject's report is only counted */
    enum err e = ingest_worker_need_hasty(worker, &info);
    if (!e) {
        e = kafka_producer_send(worker->hasty, record, &info);
    }
    if (e) {
        metric_add(worker->rejects_failed, 1);
        log_event(LOG_WARN, "reject_lost", "a rejected event could not be kept",
                  KV("topic", record->topic), KV("reason", err_detail(e, &info)));
        return;
    }
    worker->inflight_bytes += record->value.len;
}

/* "/amount /items/3": as many as there is room for. */
static struct strview pointers_of(const struct schema_errors *errors, char room[POINTERS_BYTES_MAX])
{
    size_t len = 0;
    for (size_t i = 0; errors && i < errors->count; i++) {
        const struct strview pointer = sv(errors->items[i].pointer);
        if (len + 1 + pointer.len > POINTERS_BYTES_MAX) {
            break;
        }
        room[len] = ' ';
        len += i > 0;
        memcpy(room + len, pointer.ptr, pointer.len);
        len += pointer.len;
    }
    return (struct strview){room, len};
}

void ingest_reject(struct ingest_reading *reading, struct strview bytes, enum err err,
                   const struct schema_errors *errors)
{
    struct ingest_worker *worker = reading->worker;
    if (!is_on(worker) || err == ERR_FORBIDDEN || bytes.len == 0) {
        return;
    }
    char room[POINTERS_BYTES_MAX];
    const struct ingest_topic_state *topic =
        reading->topic ? reading->topic : reading->request_topic;
    const struct strview key = reading->head.key.ptr ? reading->head.key : reading->event.key;
    const struct kafka_header headers[] = {
        {SV("millrace-error-code"), sv(err_name(err))},
        {SV("millrace-error-pointers"), pointers_of(errors, room)},
        {SV("__streams.errors.message"), sv(err_detail(err, &reading->info))},
        {SV("__streams.errors.topic"), topic                      ? sv(topic->name)
                                       : reading->event.topic.ptr ? reading->event.topic
                                                                  : SV("")},
        {SV("millrace-request-id"), sv(http_request_id(reading->request))},
        *ingest_head_time(&reading->head),
        {SV("content-type"), reading->head.content_type.ptr ? reading->head.content_type : SV("")},
    };
    struct kafka_record record = {
        .key = key, .value = bytes, .headers = headers, .header_count = ARRAY_LEN(headers)};
    reject_send(worker, &record);
}

void ingest_reject_lost(struct ingest_worker *worker, const struct kafka_report *report)
{
    if (!is_on(worker)) {
        return;
    }
    const struct ingest_topic_state *topic = report->opaque;
    const struct kafka_header headers[] = {
        {SV("millrace-error-code"), sv(err_name(report->err))},
        {SV("__streams.errors.message"), sv(report->reason)},
        {SV("__streams.errors.topic"), sv(topic->name)},
    };
    struct kafka_record record = {.key = report->key,
                                  .value = report->value,
                                  .headers = headers,
                                  .header_count = ARRAY_LEN(headers)};
    reject_send(worker, &record);
}
