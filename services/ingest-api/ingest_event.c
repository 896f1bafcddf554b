#include "ingest_event.h"

#include <string.h>

#include "ingest_dedup.h"
#include "ingest_once.h"
#include "ingest_rejects.h"
#include "ingest_spool.h"

#define RECORD_OVERHEAD 100 /* of a batch and a record, about */

static void refuse(struct ingest_reading *reading, uint32_t index, enum err err,
                   const struct schema_errors *errors)
{
    struct ingest_batch *batch = reading->batch;
    ingest_batch_refuse(batch, index, err, &reading->info, errors);
    if (batch->results[index].outcome == INGEST_INVALID) {
        ingest_reject(reading, reading->event.value, err, errors);
    }
}

/* Pointers into the whole text become pointers into the event. */
static void pointers_from_event(const struct ingest_reading *reading, struct schema_errors *errors)
{
    char lead[ERR_INFO_POINTER_BYTES];
    json_node_pointer(&reading->reader.doc, reading->event.root, lead, sizeof lead);
    const size_t len = strlen(lead);
    for (size_t i = 0; len && i < errors->count; i++) {
        char *pointer = errors->items[i].pointer;
        if (strncmp(pointer, lead, len) == 0) {
            memmove(pointer, pointer + len, strlen(pointer + len) + 1);
        }
    }
}

/* Whether the schema lets the event through; refuses it otherwise. */
static bool schema_passes(struct ingest_reading *reading, const struct schema *schema,
                          uint32_t index)
{
    struct ingest_worker *worker = reading->worker;
    struct schema_error *items = worker->schema_errors;
    struct schema_errors errors = {.items = items,
                                   .items_max = (size_t)worker->ingest->config.schema_errors_max};
    const enum err e =
        schema_check(worker->checker, schema, &reading->reader.doc, reading->event.node, &errors);
    if (!e) {
        return true;
    }
    pointers_from_event(reading, &errors);
    if (errors.count) {
        (void)err_set(&reading->info, e, "%s: %s",
                      items[0].pointer[0] ? items[0].pointer : "the event", items[0].message);
    }
    refuse(reading, index, e, &errors);
    return false;
}

/* The id of the schema that the event names itself, as a view of its text or the head; ptr NULL. */
static struct strview named_schema(const struct ingest_reading *reading)
{
    const struct ingest_event *event = &reading->event;
    const struct json_doc *doc = &reading->reader.doc;
    if (event->schema_id.ptr || !event->has_node) {
        return event->schema_id;
    }
    /* What is no string is no schema's id either, but the event did mean to name one. */
    const uint32_t node = json_object_find(doc, event->node, SV("$schema"));
    return node != JSON_NODE_NONE ? json_node_text(doc, node) : (struct strview){0};
}

/* The schema of the topic and the one that the event names: both have to let it through, so that
 * naming another never makes the topic's less strict. */
static bool schemas_pass(struct ingest_reading *reading, uint32_t index)
{
    const struct ingest_topics *topics = reading->worker->rules;
    const struct ingest_event *event = &reading->event;
    const struct schema *own = reading->topic->rules.schema, *named = NULL;
    const struct strview id =
        ingest_topics_have_schemas(topics) ? named_schema(reading) : (struct strview){0};
    if (id.ptr) {
        named = ingest_topics_schema(topics, id);
        if (!named && ingest_topics_refuse_unknown(topics)) {
            refuse(reading, index,
                   err_set(&reading->info, ERR_SCHEMA_UNKNOWN,
                           "the schema \"%.*s\" is not one of schemas.dir",
                           (int)(id.len < 200 ? id.len : 200), id.ptr),
                   NULL);
            return false;
        }
    }
    if ((!own && !named) || !event->value.ptr) { /* a tombstone has nothing to check */
        return true;
    }
    if (!event->has_node) {
        refuse(reading, index,
               err_set(&reading->info, ERR_SCHEMA_MISMATCH,
                       "events of the topic have a schema, and this one is not JSON"),
               NULL);
        return false;
    }
    return (!own || schema_passes(reading, own, index)) &&
           (!named || named == own || schema_passes(reading, named, index));
}

/* The topic's own rule: the values that its pointers lead to, with a | between two. All or none. */
static struct strview key_by_rule(const struct ingest_reading *reading,
                                  char scratch[INGEST_KEY_BYTES_MAX])
{
    const struct ingest_topic *rules = &reading->topic->rules;
    const struct json_doc *doc = &reading->reader.doc;
    const uint32_t event = reading->event.node;
    if (rules->key_part_count == 1) {
        return ingest_format_key(doc, json_pointer_find_from(rules->key_parts[0], doc, event),
                                 scratch);
    }
    size_t len = 0;
    for (size_t i = 0; i < rules->key_part_count; i++) {
        char room[INGEST_KEY_BYTES_MAX];
        const struct strview part =
            ingest_format_key(doc, json_pointer_find_from(rules->key_parts[i], doc, event), room);
        if (!part.ptr || len + part.len + 1 > INGEST_KEY_BYTES_MAX) {
            return (struct strview){0};
        }
        scratch[len] = '|';
        len += i > 0;
        memcpy(scratch + len, part.ptr, part.len);
        len += part.len;
    }
    return (struct strview){len ? scratch : NULL, len};
}

/* What the request says wins over what the event says, and that over the topic's own rule. */
static struct strview key_of(const struct ingest_reading *reading,
                             char scratch[INGEST_KEY_BYTES_MAX])
{
    if (reading->head.key.ptr || reading->event.key.ptr) {
        return reading->head.key.ptr ? reading->head.key : reading->event.key;
    }
    return reading->event.has_node ? key_by_rule(reading, scratch) : (struct strview){0};
}

/* 0 when the topic's rule leads to no time. */
static int64_t timestamp_by_rule(const struct ingest_reading *reading)
{
    const struct json_pointer *pointer = reading->topic->rules.timestamp;
    const struct json_doc *doc = &reading->reader.doc;
    const uint32_t node = pointer && reading->event.has_node
                              ? json_pointer_find_from(pointer, doc, reading->event.node)
                              : JSON_NODE_NONE;
    int64_t ms;
    return node != JSON_NODE_NONE && !ingest_timestamp_read(json_node_text(doc, node), &ms) ? ms
                                                                                            : 0;
}

/* In the order of precedence, within the window around now: a record far in the future would keep its
 * segment from ever being deleted. 0: none is said. */
static int64_t timestamp_of(const struct ingest_reading *reading)
{
    const struct ingest_worker *worker = reading->worker;
    const struct ingest_config *config = &worker->ingest->config;
    const int64_t said = reading->head.timestamp_ms    ? reading->head.timestamp_ms
                         : reading->event.timestamp_ms ? reading->event.timestamp_ms
                                                       : timestamp_by_rule(reading);
    if (said <= 0) {
        return 0;
    }
    const int64_t now_ms = reading->head.now_ms;
    int64_t ms = said;
    if (config->timestamp_future_ms && ms > now_ms + config->timestamp_future_ms) {
        ms = now_ms + config->timestamp_future_ms;
    } else if (config->timestamp_past_ms && ms < now_ms - config->timestamp_past_ms) {
        ms = now_ms - config->timestamp_past_ms;
    }
    if (ms != said) {
        metric_add(worker->clamped, 1);
    }
    return ms;
}

/* The largest record that the topic takes, 0: not known. Kafka counts bytes as they are sent, so its own
 * word says nothing of a record that will be compressed. */
static int64_t record_bytes_max(const struct ingest_reading *reading)
{
    const struct ingest_worker *worker = reading->worker;
    const struct ingest_topic_state *topic = reading->topic;
    const struct kafka_producer *producer =
        reading->batch->is_hasty ? worker->hasty : worker->producer;
    return topic->facts.is_described && !kafka_producer_is_compressing(producer)
               ? topic->facts.record_bytes_max
               : topic->rules.record_bytes_max;
}

/* What contradicts itself, and what Kafka would refuse: that fails the whole batch which it is in. */
static enum err record_check(const struct ingest_reading *reading,
                             const struct kafka_record *record, struct err_info *info)
{
    const struct ingest_topic_state *topic = reading->topic;
    const int32_t own = reading->event.partition;
    if (own != INGEST_NO_PARTITION && own != record->partition) {
        return err_set(info, ERR_JSON_SHAPE, "the record says partition %d, and its request %d",
                       own, record->partition);
    }
    const bool is_compacted =
        topic->facts.is_described ? topic->facts.is_compacted : topic->rules.is_compacted;
    if (is_compacted && !record->key.ptr) {
        return err_set(info, ERR_KEY_MISSING,
                       "the topic %s is compacted: its records need a key, and this has none",
                       record->topic);
    }
    const int64_t bytes_max = record_bytes_max(reading);
    size_t bytes = RECORD_OVERHEAD + record->key.len + record->value.len;
    for (size_t i = 0; bytes_max && i < record->header_count; i++) {
        bytes += record->headers[i].name.len + record->headers[i].value.len;
    }
    if (bytes_max && bytes > (size_t)bytes_max) {
        return err_set(info, ERR_RECORD_TOO_LARGE,
                       "%zu bytes with key and headers, the topic %s takes %lld", bytes,
                       record->topic, (long long)bytes_max);
    }
    return ERR_OK;
}

/* An event of a hot key goes to the topic's overflow, if there is one, so that the key's partition
 * keeps up for the others. Its order among the key's events ends there. One of a request with an
 * Idempotency-Key stays: another replica would look for it in the topic itself. */
static void overflow(struct ingest_reading *reading, uint32_t index, struct kafka_record *record)
{
    struct ingest_worker *worker = reading->worker;
    if (!worker->overflow || reading->batch->once || !record->key.ptr ||
        record->partition != INGEST_NO_PARTITION ||
        !ingest_overflow_count(worker->overflow, reading->topic->index, record->key,
                               reading->head.now_ms)) {
        return;
    }
    const struct ingest_topic_state *topic = ingest_worker_overflow(worker, reading->topic);
    if (topic) {
        record->topic = topic->name;
        reading->batch->results[index].topic = topic->index;
        metric_add(worker->overflowed, 1);
    }
}

/* To Kafka, or to the spool while that is the way. */
static enum err record_send(struct ingest_reading *reading, const struct kafka_record *record)
{
    struct ingest_worker *worker = reading->worker;
    const bool is_hasty = reading->batch->is_hasty;
    enum err e = ERR_QUEUE_FULL;
    if (!worker->spool || !ingest_spool_is_on(worker->spool)) {
        e = kafka_producer_send(is_hasty ? worker->hasty : worker->producer, record,
                                &reading->info);
        if (e != ERR_QUEUE_FULL || is_hasty || !worker->spool ||
            !ingest_spool_relieves(worker->spool)) {
            worker->inflight_bytes += e ? 0 : record->value.len;
            return e;
        }
    }
    return ingest_spool_take(worker->spool, record, is_hasty, &reading->info);
}

static void event_send(struct ingest_reading *reading, uint32_t index)
{
    UNINITIALIZED char scratch[INGEST_KEY_BYTES_MAX];
    struct ingest_worker *worker = reading->worker;
    struct ingest_batch *batch = reading->batch;
    struct ingest_head *head = &reading->head;
    const struct ingest_event *event = &reading->event;
    const int64_t own_ms = timestamp_of(reading);
    if (batch->once) {
        ingest_once_event_id(batch->once, index); /* the head's header points to it */
    }
    struct kafka_record record = {
        .topic = reading->topic->name,
        .partition = head->partition != INGEST_NO_PARTITION ? head->partition : event->partition,
        .key = key_of(reading, scratch),
        .value = event->value,
        .timestamp_ms = own_ms ? own_ms : head->now_ms,
        .opaque =
            batch->is_hasty ? (void *)(uintptr_t)reading->topic : ingest_batch_opaque(batch, index),
    };
    record.headers =
        ingest_head_headers(head, own_ms != 0, event->header_count, &record.header_count);
    overflow(reading, index, &record);
    batch->results[index].timestamp_ms = record.timestamp_ms; /* a failed report has none */
    enum err e = record_check(reading, &record, &reading->info);
    if (!e) {
        e = record_send(reading, &record);
    }
    if (e) {
        refuse(reading, index, e, NULL);
        return;
    }
    metric_add(worker->event_bytes, (int64_t)record.value.len);
    if (batch->is_hasty) {
        ingest_batch_accept(batch, index);
        worker->hasty_since_us =
            worker->hasty_since_us ? worker->hasty_since_us : batch->started_us;
    } else {
        ingest_batch_wait(batch);
    }
}

/* The topic that the event names, or the request's; or what is wrong with the event. */
static enum err topic_find(struct ingest_reading *reading)
{
    const struct strview name = reading->event.topic;
    reading->topic = reading->request_topic;
    if (!name.ptr || reading->event.err) {
        return reading->event.err;
    }
    const enum err e = ingest_worker_topic(reading->worker, reading->principal, name,
                                           &reading->topic, &reading->info);
    return e ? e : ingest_reading_check_key(reading, reading->topic);
}

static struct strview event_header(const struct ingest_reading *reading, struct strview name)
{
    const struct kafka_header *headers = reading->reader.headers;
    for (size_t i = 0; i < reading->event.header_count; i++) {
        if (sv_equal(headers[i].name, name)) {
            return headers[i].value;
        }
    }
    return (struct strview){0};
}

/* Whether the event is the first of its source and id; it has its result otherwise. */
static bool is_first(struct ingest_reading *reading, uint32_t index)
{
    struct ingest_dedup *dedup = reading->worker->ingest->dedup;
    const struct ingest_dedup_event event = {
        .topic = reading->topic->name,
        .source = event_header(reading, SV("ce_source")),
        .id = event_header(reading, SV("ce_id")),
    };
    if (!event.source.ptr || !event.id.ptr) {
        return true;
    }
    bool is_duplicate;
    struct ingest_result first;
    struct once_ticket ticket;
    const enum err e = ingest_dedup_begin(dedup, &event, &ticket, &is_duplicate, &first);
    if (e) {
        refuse(reading, index, e, NULL);
    } else if (is_duplicate) {
        first.topic = reading->topic->index;
        first.outcome = INGEST_DUPLICATE;
        reading->batch->results[index] = first;
    } else {
        *ingest_batch_ticket(reading->batch, index) = ticket;
    }
    return !e && !is_duplicate;
}

void ingest_event_take(struct ingest_reading *reading)
{
    const enum err e = topic_find(reading);
    const uint32_t index =
        ingest_batch_add(reading->batch, reading->topic ? reading->topic->index : INGEST_NO_TOPIC);
    if (reading->batch->once && ingest_once_recall(reading->batch, index)) {
        return; /* decided the last time the request came */
    }
    if (e) {
        refuse(reading, index, e, NULL);
    } else if (schemas_pass(reading, index) &&
               (!reading->worker->ingest->dedup || is_first(reading, index))) {
        event_send(reading, index);
    }
    reading->info.text[0] = '\0'; /* the next event's faults are its own */
}
