/* The walk from simdjson's positions to nodes.
 *
 * A position is a brace, a bracket, a colon, a comma, or the first byte of a scalar; everything
 * between a scalar's first byte and the next position is that scalar and white space
 * (json_index.h). So the end of a string is found from behind, without reading the string; its
 * bytes are looked at only when the text has a backslash at all, which one memchr over the text
 * tells. */
#include "json/json_scan.h"

#include <stdlib.h>

#include "core/utf8.h"
#include "json/json_escape.h"
#include "json/json_index.h"

struct json_scanner {
    struct json_index *index;
    struct json_node *nodes;
    uint32_t nodes_capacity;
    uint32_t nodes_max;
    uint32_t *open; /* depth_max indexes of the containers that are not closed yet */
    uint32_t depth_max;
};

/* One scan under way. It lives in registers: all that works on it is inlined, and what is not (the
 * rare and the wrong) gets values, never its address. Through memory the walk takes a third more. */
#define WALK static inline __attribute__((always_inline))

struct walk {
    struct strview text;
    const uint32_t *at; /* the position that is next */
    struct json_node *nodes;
    uint32_t count;
    uint32_t nodes_max;
    uint32_t *open;
    uint32_t depth;
    uint32_t depth_max;
    bool has_escapes;
    struct err_info *info;
};

void json_scanner_free(struct json_scanner *scanner)
{
    if (!scanner) {
        return;
    }
    json_index_free(scanner->index);
    free(scanner->nodes);
    free(scanner->open);
    free(scanner);
}

struct json_scanner *json_scanner_new(uint32_t depth_max, uint32_t nodes_max)
{
    CHECK(depth_max > 0);
    CHECK(nodes_max > 0);
    struct json_scanner *scanner = must_alloc(sizeof *scanner);
    scanner->index = json_index_new();
    scanner->open = must_alloc(depth_max * sizeof *scanner->open);
    scanner->depth_max = depth_max;
    scanner->nodes_max = nodes_max;
    return scanner;
}

__attribute__((cold, noinline)) static enum err scan_fail(struct err_info *info, enum err err,
                                                          size_t at, const char *reason)
{
    if (info) {
        info->at = at;
    }
    return err_set(info, err, "byte %zu: %s", at, reason);
}

WALK enum err walk_fail(const struct walk *w, const char *reason)
{
    return scan_fail(w->info, ERR_JSON_SYNTAX, *w->at, reason);
}

/* The byte at the next position; NUL, which begins nothing in JSON, at the end of the text. */
WALK char walk_char(const struct walk *w)
{
    return *w->at < w->text.len ? w->text.ptr[*w->at] : '\0';
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The scalar at the next position: up to the position after it, without trailing white space. */
WALK uint32_t walk_scalar_bytes(const struct walk *w)
{
    uint32_t end = w->at[1];
    while (is_space(w->text.ptr[end - 1])) {
        end--;
    }
    return end - *w->at;
}

WALK enum err walk_add(struct walk *w, enum json_node_type type, uint32_t bytes)
{
    if (w->count == w->nodes_max) {
        return scan_fail(w->info, ERR_LIMIT, *w->at, "the JSON has too many values");
    }
    w->nodes[w->count] = (struct json_node){
        .type = (uint8_t)type, .at = *w->at, .bytes = bytes, .next = w->count + 1};
    w->count++;
    w->at++;
    return ERR_OK;
}

static enum err string_escapes(const char *raw, uint32_t bytes, size_t at, struct err_info *info)
{
    struct strview inner = {raw + 1, bytes - 2};
    size_t bad = json_escapes_check(inner);
    return bad == inner.len ? ERR_OK
                            : scan_fail(info, ERR_JSON_SYNTAX, at + 1 + bad,
                                        "an escape in a string is not valid");
}

WALK enum err walk_string(struct walk *w)
{
    uint32_t bytes = walk_scalar_bytes(w);
    const char *raw = w->text.ptr + *w->at;
    CHECK(bytes >= 2 && raw[bytes - 1] == '"'); /* what json_index.h says about strings */
    bool is_escaped = w->has_escapes && memchr(raw, '\\', bytes);
    if (is_escaped) {
        enum err e = string_escapes(raw, bytes, *w->at, w->info);
        if (e) {
            return e;
        }
    }
    enum err e = walk_add(w, JSON_NODE_STRING, bytes);
    if (!e) {
        w->nodes[w->count - 1].is_escaped = is_escaped;
    }
    return e;
}

static inline uint32_t digits_end(const char *raw, uint32_t at, uint32_t bytes)
{
    while (at < bytes && (unsigned)(raw[at] - '0') < 10) {
        at++;
    }
    return at;
}

/* Past `.5` or `e+5` at `at`: a mark, an optional sign, at least one digit; 0 when malformed. */
static uint32_t number_part_end(const char *raw, uint32_t at, uint32_t bytes, bool takes_sign)
{
    at++;
    if (takes_sign && at < bytes && (raw[at] == '+' || raw[at] == '-')) {
        at++;
    }
    uint32_t end = digits_end(raw, at, bytes);
    return end > at ? end : 0;
}

/* Whether the raw bytes are one number of RFC 8259, and whether it is written without fraction and
 * exponent. */
static bool number_is_valid(const char *raw, uint32_t bytes, bool *ret_is_integer)
{
    uint32_t first = raw[0] == '-';
    uint32_t at = digits_end(raw, first, bytes);
    if (at == first || (raw[first] == '0' && at > first + 1)) {
        return false;
    }
    *ret_is_integer = at == bytes;
    if (at < bytes && raw[at] == '.') {
        at = number_part_end(raw, at, bytes, false);
    }
    if (at && at < bytes && (raw[at] == 'e' || raw[at] == 'E')) {
        at = number_part_end(raw, at, bytes, true);
    }
    return at == bytes;
}

WALK enum err walk_number(struct walk *w)
{
    uint32_t bytes = walk_scalar_bytes(w);
    bool is_integer = false;
    if (!number_is_valid(w->text.ptr + *w->at, bytes, &is_integer)) {
        return walk_fail(w, "a number is not valid");
    }
    enum err e = walk_add(w, JSON_NODE_NUMBER, bytes);
    if (!e) {
        w->nodes[w->count - 1].is_integer = is_integer;
    }
    return e;
}

WALK enum err walk_literal(struct walk *w, enum json_node_type type, struct strview literal)
{
    uint32_t bytes = walk_scalar_bytes(w);
    if (!sv_equal(sv_of(w->text.ptr + *w->at, bytes), literal)) {
        return walk_fail(w, "a value was expected: true, false and null are the only bare words");
    }
    return walk_add(w, type, bytes);
}

WALK enum err walk_open(struct walk *w, enum json_node_type type)
{
    if (w->depth == w->depth_max) {
        return scan_fail(w->info, ERR_JSON_TOO_DEEP, *w->at, "the JSON is nested too deeply");
    }
    w->open[w->depth] = w->count;
    enum err e = walk_add(w, type, 1);
    if (!e) {
        w->depth++;
    }
    return e;
}

WALK void walk_close(struct walk *w)
{
    struct json_node *container = &w->nodes[w->open[--w->depth]];
    container->bytes = *w->at + 1 - container->at;
    container->next = w->count;
    w->at++;
}

WALK enum err walk_value(struct walk *w)
{
    char c = walk_char(w);
    switch (c) {
    case '"':
        return walk_string(w);
    case '{':
        return walk_open(w, JSON_NODE_OBJECT);
    case '[':
        return walk_open(w, JSON_NODE_ARRAY);
    case 't':
        return walk_literal(w, JSON_NODE_TRUE, SV("true"));
    case 'f':
        return walk_literal(w, JSON_NODE_FALSE, SV("false"));
    case 'n':
        return walk_literal(w, JSON_NODE_NULL, SV("null"));
    default:
        return c == '-' || (c >= '0' && c <= '9') ? walk_number(w)
                                                  : walk_fail(w, "a value was expected");
    }
}

WALK enum err walk_member(struct walk *w)
{
    if (walk_char(w) != '"') {
        return walk_fail(w, "a member's name in quotes was expected");
    }
    enum err e = walk_string(w);
    if (e) {
        return e;
    }
    if (walk_char(w) != ':') {
        return walk_fail(w, "':' was expected after a member's name");
    }
    w->at++;
    return walk_value(w);
}

/* One step inside the innermost open container: its end, or its next element. */
WALK enum err walk_container(struct walk *w)
{
    uint32_t container = w->open[w->depth - 1];
    bool is_object = w->nodes[container].type == JSON_NODE_OBJECT;
    char c = walk_char(w);
    if (c == (is_object ? '}' : ']')) {
        walk_close(w);
        return ERR_OK;
    }
    if (w->count > container + 1) { /* not the first element */
        if (c != ',') {
            return walk_fail(w, is_object ? "',' or '}' was expected" : "',' or ']' was expected");
        }
        w->at++;
    }
    return is_object ? walk_member(w) : walk_value(w);
}

WALK enum err walk_text(struct walk *w)
{
    enum err e = walk_value(w);
    while (!e && w->depth > 0) {
        e = walk_container(w);
    }
    if (!e && *w->at != w->text.len) {
        e = walk_fail(w, "there is more text after the JSON value");
    }
    return e;
}

/* Position of what confuses the search for strings: the opening quote of one without an end, a
 * control character in one, a backslash outside; text.len when nothing is wrong. */
static size_t find_bad_string(struct strview text, const char **ret_reason)
{
    bool is_inside = false;
    size_t opened = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"') {
            is_inside = !is_inside;
            opened = i;
        } else if (c == '\\' && !is_inside) {
            *ret_reason = "a backslash stands outside a string";
            return i;
        } else if (c == '\\' && i + 1 < text.len && (unsigned char)text.ptr[i + 1] >= 0x20) {
            i++;
        } else if (is_inside && (c < 0x20 || c == '\\')) {
            *ret_reason = c < 0x20 ? "a control character in a string is not escaped"
                                   : "an escape in a string is not valid";
            return i;
        }
    }
    *ret_reason = "a string has no closing quote";
    return is_inside ? opened : text.len;
}

/* The first stage says only that something is wrong; a slow pass says where. */
static enum err scan_locate(enum err indexed, struct strview text, struct err_info *info)
{
    size_t at = utf8_valid_bytes(text);
    if (at < text.len) {
        return scan_fail(info, ERR_JSON_ENCODING, at, "the text is not valid UTF-8");
    }
    const char *reason = NULL;
    at = find_bad_string(text, &reason);
    if (at < text.len) {
        return scan_fail(info, ERR_JSON_SYNTAX, at, reason);
    }
    return indexed; /* no memory, or an empty text */
}

/* A value needs a position of its own, so their number bounds the nodes. */
static void scanner_fit(struct json_scanner *scanner, uint32_t positions)
{
    uint32_t wanted = positions < scanner->nodes_max ? positions : scanner->nodes_max;
    if (wanted <= scanner->nodes_capacity) {
        return;
    }
    uint64_t capacity = scanner->nodes_capacity ? scanner->nodes_capacity : 64;
    while (capacity < wanted) {
        capacity *= 2;
    }
    if (capacity > scanner->nodes_max) {
        capacity = scanner->nodes_max;
    }
    scanner->nodes = must_realloc(scanner->nodes, capacity * sizeof *scanner->nodes);
    scanner->nodes_capacity = (uint32_t)capacity;
}

enum err json_scan(struct json_scanner *scanner, struct strview text, struct json_doc *ret_doc,
                   struct err_info *info)
{
    struct json_positions positions;
    enum err e = json_index_run(scanner->index, text, &positions);
    if (e) {
        return scan_locate(e, text, info);
    }
    scanner_fit(scanner, positions.count);
    struct walk w = {
        .text = text,
        .at = positions.at,
        .nodes = scanner->nodes,
        .nodes_max = scanner->nodes_max,
        .open = scanner->open,
        .depth_max = scanner->depth_max,
        .has_escapes = memchr(text.ptr, '\\', text.len),
        .info = info,
    };
    e = walk_text(&w);
    if (!e) {
        *ret_doc = (struct json_doc){text.ptr, w.nodes, w.count};
    }
    return e;
}
