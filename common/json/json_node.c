/* Reading nodes: names, decoded strings, places. */
#include "json/json_scan.h"

#include <stdio.h>

#include "core/utf8.h"
#include "json/json_escape.h"

struct strview json_node_text(const struct json_doc *doc, uint32_t index)
{
    const struct json_node *node = &doc->nodes[index];
    uint32_t quote = node->type == JSON_NODE_STRING;
    return (struct strview){doc->text + node->at + quote, node->bytes - 2 * quote};
}

static bool escaped_equal(struct strview rest, struct strview text)
{
    while (rest.len > 0) {
        char character[JSON_CHARACTER_BYTES];
        size_t bytes = json_character_next(&rest, character);
        if (text.len < bytes || memcmp(text.ptr, character, bytes) != 0) {
            return false;
        }
        text.ptr += bytes;
        text.len -= bytes;
    }
    return text.len == 0;
}

bool json_string_equal(const struct json_doc *doc, uint32_t index, struct strview text)
{
    struct strview raw = json_node_text(doc, index);
    return doc->nodes[index].is_escaped ? escaped_equal(raw, text) : sv_equal(raw, text);
}

uint32_t json_object_find(const struct json_doc *doc, uint32_t object, struct strview key)
{
    if (doc->nodes[object].type != JSON_NODE_OBJECT) {
        return JSON_NODE_NONE;
    }
    uint32_t found = JSON_NODE_NONE;
    uint32_t end = doc->nodes[object].next;
    for (uint32_t name = object + 1; name < end; name = doc->nodes[name + 1].next) {
        if (json_string_equal(doc, name, key)) {
            found = name + 1;
        }
    }
    return found;
}

struct strview json_string_decode(const struct json_doc *doc, uint32_t index, char *scratch)
{
    struct strview rest = json_node_text(doc, index);
    if (!doc->nodes[index].is_escaped) {
        return rest;
    }
    size_t len = 0;
    while (rest.len > 0) {
        char character[JSON_CHARACTER_BYTES];
        size_t bytes = json_character_next(&rest, character);
        memcpy(scratch + len, character, bytes);
        len += bytes;
    }
    return (struct strview){scratch, len};
}

size_t json_string_points(const struct json_doc *doc, uint32_t index)
{
    struct strview rest = json_node_text(doc, index);
    if (!doc->nodes[index].is_escaped) {
        return utf8_length(rest);
    }
    size_t count = 0;
    while (rest.len > 0) {
        char character[JSON_CHARACTER_BYTES];
        (void)json_character_next(&rest, character); /* only its first byte is looked at */
        count += ((unsigned char)character[0] & 0xC0) != 0x80;
    }
    return count;
}

/* --- where a node is ----------------------------------------------------------------------------
 */

struct pointer_text {
    char *out;
    size_t len;
    size_t capacity; /* without the final NUL */
    bool is_full;    /* something did not fit: nothing more is added */
};

static void pointer_text_add(struct pointer_text *pointer, const char *bytes, size_t len)
{
    if (pointer->is_full || len > pointer->capacity - pointer->len) {
        pointer->is_full = true;
        return;
    }
    memcpy(pointer->out + pointer->len, bytes, len);
    pointer->len += len;
}

static void pointer_text_add_name(struct pointer_text *pointer, const struct json_doc *doc,
                                  uint32_t name)
{
    struct strview rest = json_node_text(doc, name);
    pointer_text_add(pointer, "/", 1);
    while (rest.len > 0) {
        char character[JSON_CHARACTER_BYTES];
        size_t bytes = rest.ptr[0] == '\\' ? 0 : utf8_sequence_bytes(rest.ptr, rest.len);
        if (bytes > 1) { /* as a whole, so that a cut does not split it */
            pointer_text_add(pointer, rest.ptr, bytes);
            rest = (struct strview){rest.ptr + bytes, rest.len - bytes};
            continue;
        }
        bytes = json_character_next(&rest, character);
        if (character[0] == '~' || character[0] == '/') {
            pointer_text_add(pointer, character[0] == '~' ? "~0" : "~1", 2);
        } else {
            pointer_text_add(pointer, character, bytes);
        }
    }
}

/* Adds the step from `container` towards node `index` and returns the child that holds it. */
static uint32_t pointer_text_step(struct pointer_text *pointer, const struct json_doc *doc,
                                  uint32_t container, uint32_t index)
{
    bool is_object = doc->nodes[container].type == JSON_NODE_OBJECT;
    uint32_t child = container + 1 + is_object;
    uint32_t position = 0;
    while (doc->nodes[child].next <= index) {
        child = doc->nodes[child].next + is_object;
        position++;
    }
    if (is_object) {
        pointer_text_add_name(pointer, doc, child - 1);
        return child;
    }
    char step[16];
    int len = snprintf(step, sizeof step, "/%u", position);
    pointer_text_add(pointer, step, (size_t)len);
    return child;
}

void json_node_pointer(const struct json_doc *doc, uint32_t index, char *out, size_t out_bytes)
{
    CHECK(index < doc->node_count);
    CHECK(out_bytes > 0);
    struct pointer_text pointer = {.out = out, .capacity = out_bytes - 1};
    /* A name's pointer is its member's: the descent ends at the value just behind it. */
    uint32_t at = 0;
    while (at < index) {
        at = pointer_text_step(&pointer, doc, at, index);
    }
    out[pointer.len] = '\0';
}
