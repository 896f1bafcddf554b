/* One JSON object, or an array of them: each event keeps its own bytes. */
#include "ingest_format.h"

static enum err json_open(struct ingest_reader *reader)
{
    enum err e = json_scan(reader->scanner, reader->text, &reader->doc, reader->info);
    if (e) {
        return e;
    }
    switch (reader->doc.nodes[0].type) {
    case JSON_NODE_OBJECT:
        reader->is_single = true;
        reader->end = reader->doc.nodes[0].next;
        return ERR_OK;
    case JSON_NODE_ARRAY:
        return ingest_format_open_array(reader, 0, false);
    default:
        return ERR_JSON_SHAPE;
    }
}

static bool json_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    if (reader->node >= reader->end) {
        return false;
    }
    const struct json_node *node = &reader->doc.nodes[reader->node];
    *ret = ingest_event_of_node(reader, reader->node);
    ret->err = node->type == JSON_NODE_OBJECT ? ERR_OK : ERR_JSON_SHAPE;
    reader->node = node->next;
    return true;
}

const struct ingest_format ingest_format_json = {
    .name = "json",
    .content_type = "application/json",
    .open = json_open,
    .next = json_next,
};
