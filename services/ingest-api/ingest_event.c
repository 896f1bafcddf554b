#include "ingest_event.h"

static void refuse(struct ingest_reading *reading, uint32_t index, enum err err,
                   const struct schema_errors *errors)
{
    ingest_batch_refuse(reading->batch, index, err, &reading->info, errors);
}

/* Whether the schema lets the event through; refuses it otherwise. */
static bool schema_passes(struct ingest_reading *reading, const struct schema *schema,
                          uint32_t index)
{
    if (!reading->event.has_node) {
        const enum err e = err_set(&reading->info, ERR_SCHEMA_MISMATCH,
                                   "the topic's events have a schema, and this one is not JSON");
        refuse(reading, index, e, NULL);
        return false;
    }
    struct ingest_worker *worker = reading->worker;
    struct schema_error *items = worker->schema_errors;
    struct schema_errors errors = {.items = items,
                                   .items_max = (size_t)worker->ingest->config.schema_errors_max};
    const enum err e =
        schema_check(worker->checker, schema, &reading->reader.doc, reading->event.node, &errors);
    if (!e) {
        return true;
    }
    if (errors.count) {
        (void)err_set(&reading->info, e, "%s: %s",
                      items[0].pointer[0] ? items[0].pointer : "the event", items[0].message);
    }
    refuse(reading, index, e, &errors);
    return false;
}

/* What the request says wins over what the event says, and that over the topic's own rule. */
static struct strview key_of(const struct ingest_reading *reading,
                             char scratch[INGEST_KEY_BYTES_MAX])
{
    const struct ingest_event *event = &reading->event;
    const struct json_pointer *pointer = reading->topic->rules.key;
    if (reading->head.key.ptr || event->key.ptr) {
        return reading->head.key.ptr ? reading->head.key : event->key;
    }
    const struct json_doc *doc = &reading->reader.doc;
    return pointer && event->has_node
               ? ingest_format_key(doc, json_pointer_find_from(pointer, doc, event->node), scratch)
               : (struct strview){0};
}

static void event_send(struct ingest_reading *reading, uint32_t index)
{
    char scratch[INGEST_KEY_BYTES_MAX];
    struct ingest_worker *worker = reading->worker;
    struct ingest_batch *batch = reading->batch;
    const struct ingest_head *head = &reading->head;
    const struct ingest_event *event = &reading->event;
    const struct kafka_record record = {
        .topic = reading->topic->name,
        .partition = head->partition != INGEST_NO_PARTITION ? head->partition : event->partition,
        .key = key_of(reading, scratch),
        .value = event->value,
        .timestamp_ms = head->timestamp_ms ? head->timestamp_ms : event->timestamp_ms,
        .headers = head->headers,
        .header_count = head->header_count + event->header_count,
        .opaque =
            batch->is_hasty ? (void *)(uintptr_t)reading->topic : ingest_batch_opaque(batch, index),
    };
    struct kafka_producer *producer = batch->is_hasty ? worker->hasty : worker->producer;
    const enum err e = kafka_producer_send(producer, &record, &reading->info);
    if (e) {
        refuse(reading, index, e, NULL);
        return;
    }
    metric_add(worker->event_bytes, (int64_t)record.value.len);
    worker->inflight_bytes += record.value.len;
    if (batch->is_hasty) {
        ingest_batch_accept(batch, index);
    } else {
        batch->outstanding++;
    }
}

void ingest_event_take(struct ingest_reading *reading)
{
    const struct ingest_event *event = &reading->event;
    const struct schema *schema = reading->topic->rules.schema;
    const uint32_t index = ingest_batch_add(reading->batch, reading->topic->index);
    if (event->err) {
        refuse(reading, index, event->err, NULL);
    } else if (!schema || schema_passes(reading, schema, index)) {
        event_send(reading, index);
    }
    reading->info.text[0] = '\0'; /* the next event's faults are its own */
}
