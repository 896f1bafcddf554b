#include "stream/value.h"

#include "core/utf8.h"

struct strview stream_value_decode(const struct stream_value *value, char *scratch)
{
    if (!value->is_escaped) {
        return stream_value_text(value);
    }
    struct json_node node = {
        .type = value->type, .is_escaped = 1, .at = 0, .bytes = value->bytes, .next = 1};
    struct json_doc doc = {value->raw, &node, 1};
    return json_string_decode(&doc, 0, scratch);
}

const char *stream_value_kind(const struct stream_value *value)
{
    static const char *const kinds[] = {
        [JSON_NODE_NULL] = "null",       [JSON_NODE_FALSE] = "false",
        [JSON_NODE_TRUE] = "true",       [JSON_NODE_NUMBER] = "a number",
        [JSON_NODE_STRING] = "a string", [JSON_NODE_OBJECT] = "an object",
        [JSON_NODE_ARRAY] = "an array",
    };
    return value->type < ARRAY_LEN(kinds) ? kinds[value->type] : "missing";
}

struct strview stream_value_excerpt(const struct stream_value *value, size_t bytes_max)
{
    if (value->type == STREAM_VALUE_MISSING) {
        return SV("missing");
    }
    struct strview text = sv_of(value->raw, value->bytes);
    if (text.len > bytes_max) {
        text.len = bytes_max;
        text.len = utf8_valid_bytes(text); /* the event is valid UTF-8: only the cut can split */
    }
    return text;
}
