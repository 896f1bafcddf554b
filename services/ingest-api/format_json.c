/* One JSON object, or an array of them: each event keeps its own bytes. */
#include "ingest_format.h"

static enum err array_open(struct ingest_reader *reader)
{
    const struct json_doc *doc = &reader->doc;
    size_t count = 0;
    for (uint32_t node = 1; node < doc->nodes[0].next; node = doc->nodes[node].next) {
        count++;
    }
    if (count == 0) {
        return err_set(reader->info, ERR_JSON_SHAPE, "the array holds no event");
    }
    if (count > reader->events_max) {
        return err_set(reader->info, ERR_BATCH_TOO_LARGE,
                       "%zu events, at most %zu are taken at once", count, reader->events_max);
    }
    reader->node = 1;
    return ERR_OK;
}

static enum err json_open(struct ingest_reader *reader)
{
    enum err e = json_scan(reader->scanner, reader->text, &reader->doc, reader->info);
    if (e) {
        return e;
    }
    reader->node = 0;
    reader->end = reader->doc.nodes[0].next;
    switch (reader->doc.nodes[0].type) {
    case JSON_NODE_OBJECT:
        reader->is_single = true;
        return ERR_OK;
    case JSON_NODE_ARRAY:
        return array_open(reader);
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
    *ret = (struct ingest_event){
        .err = node->type == JSON_NODE_OBJECT ? ERR_OK : ERR_JSON_SHAPE,
        .value = {reader->doc.text + node->at, node->bytes},
        .node = reader->node,
        .has_node = true,
    };
    reader->node = node->next;
    return true;
}

const struct ingest_format ingest_format_json = {
    .name = "json",
    .content_type = "application/json",
    .open = json_open,
    .next = json_next,
};
