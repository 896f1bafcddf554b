#include "ingest_format.h"

#include <stdlib.h>
#include <string.h>

#include "core/base64.h"

#define NUMBER_BYTES_MAX 31

struct ingest_event ingest_event_of_node(const struct ingest_reader *reader, uint32_t node)
{
    const struct json_node *value = &reader->doc.nodes[node];
    return (struct ingest_event){
        .has_node = true,
        .node = node,
        .root = node,
        .value = {reader->doc.text + value->at, value->bytes},
        .partition = INGEST_NO_PARTITION,
    };
}

struct ingest_event ingest_event_refused(enum err err, struct strview value)
{
    return (struct ingest_event){.err = err, .value = value};
}

enum err ingest_format_open_array(struct ingest_reader *reader, uint32_t array, bool may_be_empty)
{
    const struct json_doc *doc = &reader->doc;
    size_t count = 0;
    for (uint32_t node = array + 1; node < doc->nodes[array].next; node = doc->nodes[node].next) {
        count++;
    }
    if (count == 0 && !may_be_empty) {
        return err_set(reader->info, ERR_JSON_SHAPE, "the array holds no event");
    }
    if (count > reader->events_max) {
        return err_set(reader->info, ERR_BATCH_TOO_LARGE,
                       "%zu events, at most %zu are taken at once", count, reader->events_max);
    }
    reader->node = array + 1;
    reader->end = doc->nodes[array].next;
    return ERR_OK;
}

struct strview ingest_format_string(struct ingest_reader *reader, uint32_t node)
{
    char *const room = reader->scratch->data + reader->scratch->len;
    const struct strview text = json_string_decode(&reader->doc, node, room);
    reader->scratch->len += text.ptr == room ? text.len : 0;
    return text;
}

bool ingest_format_base64(struct ingest_reader *reader, uint32_t node, struct strview *ret)
{
    char *const room = reader->scratch->data + reader->scratch->len;
    if (reader->doc.nodes[node].type != JSON_NODE_STRING) {
        return false;
    }
    const struct strview text = json_string_decode(&reader->doc, node, room);
    size_t bytes;
    if (!base64_decode(BASE64_STANDARD, text, room, text.len, &bytes)) {
        return false;
    }
    reader->scratch->len += bytes;
    *ret = (struct strview){room, bytes};
    return true;
}

bool ingest_number_read(struct strview text, double *ret)
{
    char number[NUMBER_BYTES_MAX + 1], *rest;
    if (text.len == 0 || text.len > NUMBER_BYTES_MAX || text.ptr[0] < '0' || text.ptr[0] > '9') {
        return false;
    }
    memcpy(number, text.ptr, text.len);
    number[text.len] = '\0';
    *ret = strtod(number, &rest); /* which takes hexadecimal and words, too */
    return *rest == '\0' && strspn(number, "0123456789.eE+-") == text.len;
}

struct strview ingest_format_key(const struct json_doc *doc, uint32_t node,
                                 char scratch[INGEST_KEY_BYTES_MAX])
{
    if (node == JSON_NODE_NONE || doc->nodes[node].type == JSON_NODE_NULL ||
        doc->nodes[node].bytes > INGEST_KEY_BYTES_MAX) {
        return (struct strview){0};
    }
    const struct strview key = doc->nodes[node].type == JSON_NODE_STRING
                                   ? json_string_decode(doc, node, scratch)
                                   : json_node_text(doc, node);
    return key.len ? key : (struct strview){0};
}
