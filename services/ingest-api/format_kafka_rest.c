/* The body of POST /topics/{topic} as the REST proxies for Kafka have it (version 2):
 *
 *   {"records": [{"key": …, "value": …, "partition": 0, "timestamp": 1795244970123,
 *                 "headers": [{"key": "name", "value": "base64"}]}, …]}
 *
 * Only value is needed; a null or no value deletes the key (a tombstone). The media type says what key
 * and value are:
 *
 *   json     any JSON; Kafka gets its text, so that a string key has its quotes, as with those proxies
 *   binary   base64 of the bytes
 *   text     the characters of a string
 */
#include "ingest_format.h"

enum embedded { EMBEDDED_JSON, EMBEDDED_BINARY, EMBEDDED_TEXT };

struct member {
    const char *name;
    enum err (*read)(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                     struct ingest_event *event);
};

static enum err fault(const struct ingest_reader *reader, const char *member, const char *why)
{
    return err_set(reader->info, ERR_JSON_SHAPE, "a record's \"%s\" %s", member, why);
}

/* --- members of a record -------------------------------------------------------------------------- */

static enum err decode_string(struct ingest_reader *reader, uint32_t node, bool is_base64,
                              const char *member, struct strview *ret)
{
    if (reader->doc.nodes[node].type != JSON_NODE_STRING) {
        return fault(reader, member, "is not a string");
    }
    if (!is_base64) {
        *ret = ingest_format_string(reader, node);
        return ERR_OK;
    }
    return ingest_format_base64(reader, node, ret) ? ERR_OK
                                                   : fault(reader, member, "is not base64");
}

static enum err embedded_read(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                              const char *member, struct strview *ret)
{
    if (reader->doc.nodes[node].type == JSON_NODE_NULL) {
        *ret = (struct strview){0};
        return ERR_OK;
    }
    if (embedded == EMBEDDED_JSON) {
        const struct json_node *value = &reader->doc.nodes[node];
        *ret = (struct strview){reader->doc.text + value->at, value->bytes};
        return ERR_OK;
    }
    return decode_string(reader, node, embedded == EMBEDDED_BINARY, member, ret);
}

static enum err read_key(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                         struct ingest_event *event)
{
    enum err e = embedded_read(reader, embedded, node, "key", &event->key);
    if (!e && event->key.len > INGEST_KEY_BYTES_MAX) {
        return fault(reader, "key", "is longer than a key may be");
    }
    event->key.ptr = event->key.len ? event->key.ptr : NULL;
    return e;
}

static enum err read_value(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                           struct ingest_event *event)
{
    event->node = node;
    event->has_node = embedded == EMBEDDED_JSON && reader->doc.nodes[node].type != JSON_NODE_NULL;
    return embedded_read(reader, embedded, node, "value", &event->value);
}

/* A whole number that is not negative, however it is written (1, 1.0, 1e0); null is as none. */
static enum err read_number(struct ingest_reader *reader, uint32_t node, int64_t max,
                            const char *member, int64_t *ret)
{
    if (reader->doc.nodes[node].type == JSON_NODE_NULL) {
        return ERR_OK;
    }
    double number;
    if (reader->doc.nodes[node].type != JSON_NODE_NUMBER ||
        !ingest_number_read(json_node_text(&reader->doc, node), &number) || number > (double)max ||
        (double)(int64_t)number != number) {
        return fault(reader, member, "is not a whole number in its range");
    }
    *ret = (int64_t)number;
    return ERR_OK;
}

static enum err read_partition(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                               struct ingest_event *event)
{
    (void)embedded;
    int64_t partition = event->partition;
    enum err e = read_number(reader, node, INT32_MAX, "partition", &partition);
    event->partition = (int32_t)partition;
    return e;
}

static enum err read_timestamp(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                               struct ingest_event *event)
{
    (void)embedded;
    return read_number(reader, node, INGEST_TIMESTAMP_MAX_MS, "timestamp", &event->timestamp_ms);
}

static enum err header_read(struct ingest_reader *reader, uint32_t node, struct ingest_event *event)
{
    const struct json_doc *doc = &reader->doc;
    const uint32_t key = json_object_find(doc, node, SV("key"));
    const uint32_t value = json_object_find(doc, node, SV("value"));
    if (key == JSON_NODE_NONE) {
        return fault(reader, "headers", "has one without a key");
    }
    if (event->header_count == reader->headers_max) {
        return fault(reader, "headers", "are too many");
    }
    struct strview name, bytes = {0};
    enum err e = decode_string(reader, key, false, "headers", &name);
    if (!e && value != JSON_NODE_NONE && doc->nodes[value].type != JSON_NODE_NULL) {
        e = decode_string(reader, value, true, "headers", &bytes);
    }
    if (e) {
        return e;
    }
    if (sv_starts_with(name, SV("millrace-"))) {
        return fault(reader, "headers", "has a key that is not a client's to set: millrace-*");
    }
    char *const kept = reader->scratch->data + reader->scratch->len; /* with a NUL behind it */
    memcpy(kept, name.ptr, name.len);
    kept[name.len] = '\0';
    reader->scratch->len += name.len + 1;
    reader->headers[event->header_count++] = (struct kafka_header){sv_of(kept, name.len), bytes};
    return strlen(kept) == name.len ? ERR_OK : fault(reader, "headers", "has a NUL in a key");
}

static enum err read_headers(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                             struct ingest_event *event)
{
    (void)embedded;
    const struct json_doc *doc = &reader->doc;
    if (doc->nodes[node].type == JSON_NODE_NULL) {
        return ERR_OK;
    }
    if (doc->nodes[node].type != JSON_NODE_ARRAY) {
        return fault(reader, "headers", "is not an array");
    }
    enum err e = ERR_OK;
    for (uint32_t at = node + 1; !e && at < doc->nodes[node].next; at = doc->nodes[at].next) {
        e = header_read(reader, at, event);
    }
    return e;
}

static const struct member members[] = {
    {"key", read_key},
    {"value", read_value},
    {"partition", read_partition},
    {"timestamp", read_timestamp},
    {"headers", read_headers},
};

/* --- records ------------------------------------------------------------------------------------- */

static enum err record_read(struct ingest_reader *reader, enum embedded embedded, uint32_t node,
                            struct ingest_event *ret)
{
    const struct json_doc *doc = &reader->doc;
    *ret = (struct ingest_event){.partition = INGEST_NO_PARTITION, .root = node};
    if (doc->nodes[node].type != JSON_NODE_OBJECT) {
        return err_set(reader->info, ERR_JSON_SHAPE, "a record is a JSON object");
    }
    buf_reset(reader->scratch);
    /* A name is decoded and then kept once more with its NUL: twice the text is enough. */
    enum err e = buf_reserve(reader->scratch, 2 * (size_t)doc->nodes[node].bytes);
    for (size_t i = 0; !e && i < ARRAY_LEN(members); i++) {
        const uint32_t value = json_object_find(doc, node, sv(members[i].name));
        e = value == JSON_NODE_NONE ? ERR_OK : members[i].read(reader, embedded, value, ret);
    }
    return e;
}

static bool next_as(struct ingest_reader *reader, enum embedded embedded, struct ingest_event *ret)
{
    if (reader->node >= reader->end) {
        return false;
    }
    const uint32_t node = reader->node;
    reader->node = reader->doc.nodes[node].next;
    const enum err e = record_read(reader, embedded, node, ret);
    if (e) {
        const struct json_node *record = &reader->doc.nodes[node];
        *ret = ingest_event_refused(e, sv_of(reader->doc.text + record->at, record->bytes));
    }
    return true;
}

static bool json_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    return next_as(reader, EMBEDDED_JSON, ret);
}

static bool binary_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    return next_as(reader, EMBEDDED_BINARY, ret);
}

static bool text_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    return next_as(reader, EMBEDDED_TEXT, ret);
}

static enum err records_open(struct ingest_reader *reader)
{
    enum err e = json_scan(reader->scanner, reader->text, &reader->doc, reader->info);
    if (e) {
        return e;
    }
    const uint32_t records = json_object_find(&reader->doc, 0, SV("records"));
    if (records == JSON_NODE_NONE || reader->doc.nodes[records].type != JSON_NODE_ARRAY) {
        return err_set(reader->info, ERR_JSON_SHAPE, "the body is {\"records\": […]}");
    }
    return ingest_format_open_array(reader, records, false);
}

const struct ingest_format ingest_format_rest_json = {
    .name = "rest-json",
    .content_type = "application/json",
    .open = records_open,
    .next = json_next,
};

const struct ingest_format ingest_format_rest_binary = {
    .name = "rest-binary",
    .content_type = "",
    .open = records_open,
    .next = binary_next,
};

const struct ingest_format ingest_format_rest_text = {
    .name = "rest-text",
    .content_type = "",
    .open = records_open,
    .next = text_next,
};
