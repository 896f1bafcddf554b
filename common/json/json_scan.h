/* json_scan.h - one event's JSON as a flat list of nodes over the producer's own bytes.
 *
 * WHAT     checks the whole text (RFC 8259, UTF-8, depth) in one pass over simdjson's first stage
 *          and leaves an array of nodes in document order: type, where the value's raw bytes are,
 *          where its next sibling is. Nothing is copied or converted; numbers keep their digits,
 *          strings their escapes. The event path works on this; jansson is for configuration and
 *          answers. Any value may be the root. A member's name may be repeated: the last one wins.
 * LAYOUT   an object is followed by key, value, key, value, …; an array by its values. `next` is
 *          the index just past a value's last descendant, so skipping a subtree is one step.
 * BOUNDS   depth_max and nodes_max (ERR_JSON_TOO_DEEP / ERR_LIMIT); texts below 4 GiB. Not one byte
 *          past the text is read, so that a Kafka payload is scanned where it lies.
 * OWNS     the scanner owns the nodes: valid until its next scan. The text stays the caller's and
 *          must outlive the doc.
 * THREADS  one owner per scanner.
 * ERRORS   ERR_BODY_EMPTY (nothing but white space), ERR_JSON_SYNTAX, ERR_JSON_ENCODING,
 *          ERR_JSON_TOO_DEEP, ERR_LIMIT, with the byte position in info->at and in the text.
 *          An escape for half a surrogate pair is a syntax error: no UTF-8 can be made of it.
 * COST     no allocation after warm-up; bench/micro/bench_json_scan.c, docs/adr/0011-json-scan.md.
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

enum json_node_type {
    JSON_NODE_NULL,
    JSON_NODE_FALSE,
    JSON_NODE_TRUE,
    JSON_NODE_NUMBER,
    JSON_NODE_STRING,
    JSON_NODE_OBJECT,
    JSON_NODE_ARRAY,
};

struct json_node {
    uint8_t type;       /* enum json_node_type */
    uint8_t is_escaped; /* string: holds a backslash, use json_string_decode */
    uint8_t is_integer; /* number: a sign or none, and digits: no fraction, no exponent */
    uint8_t unused;
    uint32_t at;    /* first byte of the raw value in the text (a string's opening quote) */
    uint32_t bytes; /* raw length, quotes and braces included */
    uint32_t next;  /* index just past this value's last descendant */
};

#define JSON_NODE_NONE UINT32_MAX

struct json_doc {
    const char *text;
    const struct json_node *nodes; /* nodes[0] is the root */
    uint32_t node_count;
};

struct json_scanner;

void json_scanner_free(struct json_scanner *scanner); /* NULL is a no-op */
DEALLOC(json_scanner_free)
struct json_scanner *json_scanner_new(uint32_t depth_max, uint32_t nodes_max);

MUST_CHECK enum err json_scan(struct json_scanner *scanner, struct strview text,
                              struct json_doc *ret_doc, struct err_info *info);

/* --- reading ---------------------------------------------------------------------------------- */

/* A string without its quotes, still escaped; any other value as its raw bytes. */
struct strview json_node_text(const struct json_doc *doc, uint32_t index);
/* Index of the member's value in the object at `object`, or JSON_NODE_NONE (also when
 * `object` is no object). The last one wins, as in JavaScript, when a key is repeated. Keys are
 * compared decoded. */
uint32_t json_object_find(const struct json_doc *doc, uint32_t object, struct strview key);
/* A string's characters with escapes decoded into scratch (at least the raw length); borrowed from
 * the text when there is nothing to decode. */
struct strview json_string_decode(const struct json_doc *doc, uint32_t index, char *scratch);
/* Whether the string, decoded, is these bytes. */
bool json_string_equal(const struct json_doc *doc, uint32_t index, struct strview text);
/* Its length in code points, decoded. */
size_t json_string_points(const struct json_doc *doc, uint32_t index);
/* Writes the JSON Pointer of node `index` into out, cut to fit between two characters. */
void json_node_pointer(const struct json_doc *doc, uint32_t index, char *out, size_t out_bytes);

/* --- pointers, compiled once
 * ---------------------------------------------------------------------*/

/* A JSON Pointer (RFC 6901) or a bare field name ("amount" is "/amount"; "" is the root). */
struct json_pointer;
void json_pointer_free(struct json_pointer *pointer); /* NULL is a no-op */
/* ERR_CONFIG for a wrong escape or more than 16 steps. */
MUST_CHECK enum err json_pointer_new(const char *text, struct json_pointer **ret,
                                     struct err_info *info);
/* Index of the node that it points to, or JSON_NODE_NONE. */
uint32_t json_pointer_find(const struct json_pointer *pointer, const struct json_doc *doc);
/* The same with the value at node `from` as the root: an element of a batch. */
uint32_t json_pointer_find_from(const struct json_pointer *pointer, const struct json_doc *doc,
                                uint32_t from);
/* In its full form, with the slash. */
const char *json_pointer_text(const struct json_pointer *pointer);
