/* value.h - a JSON value as its bytes lie, whoever owns them. Private to this room.
 *
 * A step reads and compares values; it never converts what it does not need. A value comes from the
 * event (a node) or from a table's row.
 */
#pragma once

#include <stdint.h>

#include "core/decimal.h"
#include "core/err.h"
#include "core/strview.h"
#include "json/json_scan.h"

#define STREAM_VALUE_MISSING 0xFF

struct stream_value {
    const char *raw; /* quotes and braces included */
    uint32_t bytes;
    uint8_t type;       /* enum json_node_type, or STREAM_VALUE_MISSING */
    uint8_t is_escaped; /* string: has a backslash */
    uint8_t is_integer; /* number: digits only */
};

static inline struct stream_value stream_value_of(const struct json_doc *doc, uint32_t index)
{
    const struct json_node *node = &doc->nodes[index];
    return (struct stream_value){doc->text + node->at, node->bytes, node->type, node->is_escaped,
                                 node->is_integer};
}

/* A string without its quotes, any other value as it is; escapes are left. */
static inline struct strview stream_value_text(const struct stream_value *value)
{
    uint32_t quote = value->type == JSON_NODE_STRING;
    return sv_of(value->raw + quote, value->bytes - 2 * quote);
}

/* A string's characters: borrowed, or decoded into scratch (at least value->bytes). */
struct strview stream_value_decode(const struct stream_value *value, char *scratch);

/* "missing", "null", "a string", …: for messages. */
const char *stream_value_kind(const struct stream_value *value);
/* The value for a message, cut to `bytes_max` bytes at a character's border. */
struct strview stream_value_excerpt(const struct stream_value *value, size_t bytes_max);
