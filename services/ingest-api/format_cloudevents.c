/* CloudEvents 1.0 over HTTP, into records as its Kafka binding has them.
 *
 *   structured  the body is the event: it stays the record's value byte for byte, with content-type
 *               application/cloudevents+json
 *   batch       a JSON array of such events, each a record; may be empty
 *   binary      the body is the data: any bytes, the record's value; the attributes are ce-* fields
 *
 * In all of them every attribute also becomes a record header ce_<name>, so that a consumer can route
 * without opening the value, and the extension partitionkey is the record's key. Schema and key
 * pointers of the topic look at the data.
 *
 * SOURCE  CloudEvents 1.0.2: spec, JSON format, HTTP and Kafka protocol bindings.
 */
#include "core/clock.h"
#include "core/utf8.h"
#include "ingest_format.h"

#define NAME_BYTES_MAX 64
#define PREFIX         "ce_"

/* Attributes that the specification knows, all of them strings, and the key's. */
enum known {
    KNOWN_ID,
    KNOWN_SOURCE,
    KNOWN_SPECVERSION,
    KNOWN_TYPE,
    KNOWN_REQUIRED,
    KNOWN_TIME = KNOWN_REQUIRED,
    KNOWN_SUBJECT,
    KNOWN_DATASCHEMA,
    KNOWN_DATACONTENTTYPE,
    KNOWN_PARTITIONKEY,
    KNOWN_COUNT
};

static const char *const known_names[KNOWN_COUNT] = {
    [KNOWN_ID] = "id",
    [KNOWN_SOURCE] = "source",
    [KNOWN_SPECVERSION] = "specversion",
    [KNOWN_TYPE] = "type",
    [KNOWN_TIME] = "time",
    [KNOWN_SUBJECT] = "subject",
    [KNOWN_DATASCHEMA] = "dataschema",
    [KNOWN_DATACONTENTTYPE] = "datacontenttype",
    [KNOWN_PARTITIONKEY] = "partitionkey",
};

/* The event whose attributes are being read. */
struct attributes {
    struct ingest_reader *reader;
    size_t count;
    struct strview known[KNOWN_COUNT];
};

static enum err fault(const struct ingest_reader *reader, const char *name, const char *why)
{
    return err_set(reader->info, ERR_CLOUDEVENT, "the attribute \"%s\" %s", name, why);
}

/* --- one attribute -------------------------------------------------------------------------------- */

static bool name_is_valid(struct strview name)
{
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return name.len > 0 && name.len <= NAME_BYTES_MAX;
}

/* Into the scratch, which has been reserved: its memory does not move. */
static struct strview keep(struct buf *scratch, const char *lead, struct strview text)
{
    const size_t at = scratch->len;
    CHECK(buf_append_view(scratch, sv(lead)) == ERR_OK);
    CHECK(buf_append_view(scratch, text) == ERR_OK);
    const size_t len = scratch->len - at;
    CHECK(buf_append(scratch, "", 1) == ERR_OK);
    return (struct strview){scratch->data + at, len};
}

static int known_find(struct strview name)
{
    int known = 0;
    while (known < KNOWN_COUNT && !sv_equal(name, sv(known_names[known]))) {
        known++;
    }
    return known;
}

/* name and value live in the text or the scratch. */
static enum err attribute_add(struct attributes *all, struct strview name, struct strview value)
{
    struct ingest_reader *reader = all->reader;
    if (!name_is_valid(name)) {
        return err_set(reader->info, ERR_CLOUDEVENT,
                       "\"%.*s\" is not an attribute: names are 1 to %d of a-z and 0-9",
                       (int)(name.len < 80 ? name.len : 80), name.ptr, NAME_BYTES_MAX);
    }
    const int known = known_find(name);
    if (known < KNOWN_COUNT) {
        all->known[known] = value;
    }
    if (known == KNOWN_DATACONTENTTYPE) {
        return ERR_OK; /* not a header of its own: in binary mode content-type says it */
    }
    if (all->count == reader->headers_max) {
        return err_set(reader->info, ERR_CLOUDEVENT, "more than %zu attributes", all->count);
    }
    reader->headers[all->count++] =
        (struct kafka_header){keep(reader->scratch, PREFIX, name), value};
    return ERR_OK;
}

/* What holds for all attributes together, and what they say of the record. */
static enum err attributes_check(const struct attributes *all, struct ingest_event *event)
{
    const struct ingest_reader *reader = all->reader;
    for (int i = 0; i < KNOWN_REQUIRED; i++) {
        if (!all->known[i].ptr || all->known[i].len == 0) {
            return fault(reader, known_names[i], all->known[i].ptr ? "is empty" : "is missing");
        }
    }
    if (!sv_equal(all->known[KNOWN_SPECVERSION], SV("1.0"))) {
        return fault(reader, "specversion", "is not \"1.0\", the only one taken here");
    }
    const struct strview time = all->known[KNOWN_TIME];
    if (time.ptr && timestamp_parse_iso8601(time, &event->timestamp_ms)) {
        return fault(reader, "time", "is not an RFC 3339 timestamp");
    }
    const struct strview key = all->known[KNOWN_PARTITIONKEY];
    if (key.len > INGEST_KEY_BYTES_MAX) {
        return fault(reader, "partitionkey", "is longer than a key may be");
    }
    event->key = key.len ? key : (struct strview){0};
    event->schema_id = all->known[KNOWN_DATASCHEMA];
    event->header_count = all->count;
    return ERR_OK;
}

static bool type_is_json(struct strview type)
{
    size_t len = 0;
    while (len < type.len && type.ptr[len] != ';' && type.ptr[len] != ' ') {
        len++;
    }
    const struct strview media = {type.ptr, len};
    return sv_equal(media, SV("application/json")) || sv_equal(media, SV("text/json")) ||
           (len > 5 && memcmp(type.ptr + len - 5, "+json", 5) == 0);
}

/* --- in JSON ------------------------------------------------------------------------------------- */

/* Room for all names and values of the event at `node`, so that pointers into it stay. */
static enum err scratch_for(struct ingest_reader *reader, size_t bytes)
{
    buf_reset(reader->scratch);
    return buf_reserve(reader->scratch, 2 * bytes + INGEST_ATTRIBUTES_MAX * (sizeof PREFIX + 1));
}

static enum err member_add(struct attributes *all, uint32_t key, uint32_t value)
{
    struct ingest_reader *reader = all->reader;
    const struct json_doc *doc = &reader->doc;
    const struct strview name = ingest_format_string(reader, key);
    const uint8_t type = doc->nodes[value].type;
    if (type == JSON_NODE_NULL) {
        return ERR_OK; /* as if it were not there */
    }
    if (type == JSON_NODE_OBJECT || type == JSON_NODE_ARRAY ||
        (type != JSON_NODE_STRING && known_find(name) < KNOWN_COUNT)) {
        return err_set(reader->info, ERR_CLOUDEVENT, "the attribute \"%.*s\" is not %s",
                       (int)(name.len < 80 ? name.len : 80), name.ptr,
                       known_find(name) < KNOWN_COUNT ? "a string"
                                                      : "a string, a number or a boolean");
    }
    return attribute_add(all, name,
                         type == JSON_NODE_STRING ? ingest_format_string(reader, value)
                                                  : json_node_text(doc, value));
}

struct data_members {
    uint32_t data, base64; /* JSON_NODE_NONE: not there */
};

static enum err members_read(struct attributes *all, uint32_t object, struct data_members *ret)
{
    const struct json_doc *doc = &all->reader->doc;
    *ret = (struct data_members){JSON_NODE_NONE, JSON_NODE_NONE};
    enum err e = ERR_OK;
    for (uint32_t key = object + 1; !e && key < doc->nodes[object].next;) {
        const uint32_t value = key + 1;
        if (json_string_equal(doc, key, SV("data"))) {
            ret->data = value;
        } else if (json_string_equal(doc, key, SV("data_base64"))) {
            ret->base64 = value;
        } else {
            e = member_add(all, key, value);
        }
        key = doc->nodes[value].next;
    }
    return e;
}

static enum err structured_read(struct ingest_reader *reader, uint32_t object,
                                struct ingest_event *ret)
{
    struct attributes all = {.reader = reader};
    struct data_members members;
    *ret = ingest_event_of_node(reader, object);
    if (reader->doc.nodes[object].type != JSON_NODE_OBJECT) {
        return err_set(reader->info, ERR_CLOUDEVENT, "a CloudEvent in JSON is an object");
    }
    enum err e = scratch_for(reader, ret->value.len);
    if (!e) {
        e = members_read(&all, object, &members);
    }
    if (!e) {
        e = attributes_check(&all, ret);
    }
    if (e) {
        return e;
    }
    if (members.data != JSON_NODE_NONE && members.base64 != JSON_NODE_NONE) {
        return err_set(reader->info, ERR_CLOUDEVENT, "has both data and data_base64");
    }
    struct strview bytes; /* of no use: the record's value is the event as it came */
    if (members.base64 != JSON_NODE_NONE &&
        reader->doc.nodes[members.base64].type != JSON_NODE_NULL &&
        !ingest_format_base64(reader, members.base64, &bytes)) {
        return err_set(reader->info, ERR_CLOUDEVENT, "data_base64 is not base64");
    }
    const struct strview type = all.known[KNOWN_DATACONTENTTYPE];
    ret->has_node = members.data != JSON_NODE_NONE && (!type.ptr || type_is_json(type));
    ret->node = members.data;
    return ERR_OK;
}

static bool structured_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    if (reader->node >= reader->end) {
        return false;
    }
    const uint32_t node = reader->node;
    reader->node = reader->doc.nodes[node].next;
    const enum err e = structured_read(reader, node, ret);
    if (e) {
        *ret = ingest_event_refused(e, ret->value);
    }
    return true;
}

static enum err structured_open(struct ingest_reader *reader)
{
    enum err e = json_scan(reader->scanner, reader->text, &reader->doc, reader->info);
    if (!e) {
        reader->is_single = true;
        reader->end = reader->doc.nodes[0].next;
    }
    return e;
}

static enum err batch_open(struct ingest_reader *reader)
{
    enum err e = json_scan(reader->scanner, reader->text, &reader->doc, reader->info);
    if (!e && reader->doc.nodes[0].type != JSON_NODE_ARRAY) {
        return err_set(reader->info, ERR_JSON_SHAPE, "a batch of CloudEvents is a JSON array");
    }
    return e ? e : ingest_format_open_array(reader, 0, true);
}

/* --- in fields of the head -------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* A field's value as the HTTP binding has it: quotes taken off, then percent signs decoded, once.
 * The scratch has room. */
static struct strview field_decode(struct strview value, struct buf *scratch)
{
    char *const out = scratch->data + scratch->len;
    size_t len = 0, at = 0, end = value.len;
    const bool is_quoted = end >= 2 && value.ptr[0] == '"' && value.ptr[end - 1] == '"';
    if (is_quoted) {
        at++;
        end--;
    }
    while (at < end) {
        if (is_quoted && value.ptr[at] == '\\' && at + 1 < end) {
            at++;
        }
        const int high = value.ptr[at] == '%' && at + 2 < end ? hex_digit(value.ptr[at + 1]) : -1;
        const int low = high >= 0 ? hex_digit(value.ptr[at + 2]) : -1;
        out[len++] = low >= 0 ? (char)(high * 16 + low) : value.ptr[at];
        at += low >= 0 ? 3 : 1;
    }
    scratch->len += len;
    return (struct strview){out, len};
}

static enum err field_add(struct attributes *all, const struct ingest_field *field)
{
    struct ingest_reader *reader = all->reader;
    if (sv_equal(field->name, SV("datacontenttype"))) {
        return fault(reader, "datacontenttype",
                     "is said by Content-Type when attributes are fields");
    }
    const struct strview value = field_decode(field->value, reader->scratch);
    if (utf8_valid_bytes(value) != value.len) {
        return err_set(reader->info, ERR_CLOUDEVENT,
                       "the field \"ce-%.*s\" does not decode to UTF-8", SV_ARG(field->name));
    }
    return attribute_add(all, field->name, value);
}

static enum err binary_open(struct ingest_reader *reader)
{
    reader->is_single = true;
    reader->end = 1;
    return type_is_json(reader->media_type) && reader->text.len
               ? json_scan(reader->scanner, reader->text, &reader->doc, reader->info)
               : ERR_OK;
}

static enum err binary_read(struct ingest_reader *reader, struct ingest_event *ret)
{
    struct attributes all = {.reader = reader};
    size_t bytes = 0;
    *ret = (struct ingest_event){
        .has_node = reader->doc.nodes != NULL,
        .value = reader->text.len ? reader->text : SV(""), /* not null: that would delete */
        .partition = INGEST_NO_PARTITION,
    };
    for (size_t i = 0; i < reader->field_count; i++) {
        bytes += reader->fields[i].name.len + reader->fields[i].value.len;
    }
    enum err e = scratch_for(reader, bytes);
    for (size_t i = 0; !e && i < reader->field_count; i++) {
        e = field_add(&all, &reader->fields[i]);
    }
    return e ? e : attributes_check(&all, ret);
}

static bool binary_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    if (reader->node >= reader->end) {
        return false;
    }
    reader->node = reader->end;
    const enum err e = binary_read(reader, ret);
    if (e) {
        *ret = ingest_event_refused(e, ret->value);
    }
    return true;
}

const struct ingest_format ingest_format_cloudevent = {
    .name = "cloudevent",
    .content_type = "application/cloudevents+json; charset=UTF-8",
    .open = structured_open,
    .next = structured_next,
};

const struct ingest_format ingest_format_cloudevents = {
    .name = "cloudevents",
    .content_type = "application/cloudevents+json; charset=UTF-8",
    .open = batch_open,
    .next = structured_next,
};

const struct ingest_format ingest_format_cloudevent_binary = {
    .name = "cloudevent-binary",
    .content_type = NULL,
    .open = binary_open,
    .next = binary_next,
};
