/* The body of POST /v1/events as EventGate has it: an object or an array of them, each of which says
 * itself which topic it is for, in /meta/stream. */
#include "ingest_format.h"

static bool eventgate_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    if (!ingest_format_json.next(reader, ret)) {
        return false;
    }
    if (ret->err) {
        return true;
    }
    const struct json_doc *doc = &reader->doc;
    const uint32_t meta = json_object_find(doc, ret->node, SV("meta"));
    const uint32_t stream =
        meta == JSON_NODE_NONE ? meta : json_object_find(doc, meta, SV("stream"));
    if (stream == JSON_NODE_NONE || doc->nodes[stream].type != JSON_NODE_STRING) {
        ret->err = err_set(reader->info, ERR_FIELD_MISSING,
                           "/meta/stream does not say which topic it is for");
        return true;
    }
    ret->topic = json_node_text(doc, stream); /* a topic's name has nothing to escape */
    return true;
}

static enum err eventgate_open(struct ingest_reader *reader)
{
    return ingest_format_json.open(reader);
}

const struct ingest_format ingest_format_eventgate = {
    .name = "eventgate",
    .content_type = "application/json",
    .open = eventgate_open,
    .next = eventgate_next,
};
