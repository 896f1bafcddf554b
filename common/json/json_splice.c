#include "json/json_splice.h"

#include <stdlib.h>

#define NAMES_MAX 64

struct json_names {
    size_t count;
    uint64_t lengths; /* bit n: a name of n bytes; bit 63: one of 63 or more */
    struct strview items[];
};

static uint64_t length_bit(size_t len)
{
    return 1ULL << (len < 63 ? len : 63);
}

void json_names_free(struct json_names *names)
{
    if (!names) {
        return;
    }
    for (size_t i = 0; i < names->count; i++) {
        free((void *)(uintptr_t)names->items[i].ptr); /* ours, from must_strdup */
    }
    free(names);
}

struct json_names *json_names_new(const char *const *names, size_t count)
{
    CHECK(count <= NAMES_MAX);
    struct json_names *list = must_alloc(sizeof *list + count * sizeof list->items[0]);
    list->count = count;
    for (size_t i = 0; i < count; i++) {
        list->items[i] = sv(must_strdup(names[i]));
        list->lengths |= length_bit(list->items[i].len);
    }
    return list;
}

static bool names_hold(const struct json_names *names, const struct json_doc *doc, uint32_t name)
{
    const struct json_node *node = &doc->nodes[name];
    if (!node->is_escaped && !(names->lengths & length_bit(node->bytes - 2))) {
        return false;
    }
    for (size_t i = 0; i < names->count; i++) {
        if (json_string_equal(doc, name, names->items[i])) {
            return true;
        }
    }
    return false;
}

static bool names_hold_any(const struct json_names *names, const struct json_doc *doc,
                           uint32_t object)
{
    uint32_t end = doc->nodes[object].next;
    for (uint32_t name = object + 1; name < end; name = doc->nodes[name + 1].next) {
        if (names_hold(names, doc, name)) {
            return true;
        }
    }
    return false;
}

/* Members that stay, with commas between them; the room is reserved. */
static bool append_members_but(const struct json_names *names, const struct json_doc *doc,
                               uint32_t object, struct buf *out)
{
    bool is_first = true;
    uint32_t end = doc->nodes[object].next;
    for (uint32_t name = object + 1; name < end; name = doc->nodes[name + 1].next) {
        if (names_hold(names, doc, name)) {
            continue;
        }
        const struct json_node *value = &doc->nodes[name + 1];
        uint32_t from = doc->nodes[name].at;
        size_t bytes = value->at + value->bytes - from;
        if (!is_first) {
            out->data[out->len++] = ',';
        }
        memcpy(out->data + out->len, doc->text + from, bytes);
        out->len += bytes;
        is_first = false;
    }
    return !is_first;
}

enum err json_splice(const struct json_doc *doc, uint32_t object, const struct json_names *names,
                     struct strview members, struct buf *out)
{
    const struct json_node *node = &doc->nodes[object];
    CHECK(node->type == JSON_NODE_OBJECT);
    enum err e = buf_reserve(out, node->bytes + members.len);
    if (e) {
        return e;
    }
    bool has_members = node->next > object + 1;
    if (names && names_hold_any(names, doc, object)) {
        out->data[out->len++] = '{';
        has_members = append_members_but(names, doc, object, out);
    } else {
        memcpy(out->data + out->len, doc->text + node->at, node->bytes - 1);
        out->len += node->bytes - 1;
    }
    if (members.len > 0) {
        size_t skip = has_members ? 0 : 1; /* the leading comma */
        memcpy(out->data + out->len, members.ptr + skip, members.len - skip);
        out->len += members.len - skip;
    }
    out->data[out->len++] = '}';
    return ERR_OK;
}
