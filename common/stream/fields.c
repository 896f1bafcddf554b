#include "stream/fields.h"

#include <stdlib.h>

static uint64_t length_bit(size_t len)
{
    return 1ULL << (len < 63 ? len : 63);
}

void fields_free(struct fields *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        json_pointer_free(fields->items[i].pointer);
        free(fields->items[i].name_memory);
    }
    *fields = (struct fields){0};
}

static enum err fields_take_slot(struct fields *fields, uint16_t *ret_slot, struct err_info *info)
{
    if (fields->count == FIELDS_MAX) {
        return err_set(info, ERR_LIMIT, "more than %d fields", FIELDS_MAX);
    }
    *ret_slot = (uint16_t)fields->count++;
    fields->items[*ret_slot] = (struct field){0};
    return ERR_OK;
}

/* "/a~1b" names one member, "a/b"; a second '/' means a nested one. */
static void field_take_name(struct fields *fields, struct field *field)
{
    const char *text = json_pointer_text(field->pointer);
    if (text[0] == '\0' || strchr(text + 1, '/')) {
        fields->has_nested = true;
        return;
    }
    char *name = must_strdup(text + 1);
    size_t len = 0;
    for (const char *at = name; *at; at++) {
        char c = *at;
        if (c == '~') {
            at++;
            c = *at == '0' ? '~' : '/'; /* json_pointer_new has checked it */
        }
        name[len++] = c;
    }
    field->name_memory = name;
    field->name = sv_of(name, len);
    fields->name_lengths |= length_bit(len);
}

enum err fields_add(struct fields *fields, const char *pointer, uint16_t *ret_slot,
                    struct err_info *info)
{
    struct json_pointer *compiled;
    enum err e = json_pointer_new(pointer, &compiled, info);
    if (e) {
        return e;
    }
    for (size_t i = 0; i < fields->count; i++) {
        const struct json_pointer *other = fields->items[i].pointer;
        if (other && strcmp(json_pointer_text(other), json_pointer_text(compiled)) == 0) {
            json_pointer_free(compiled);
            *ret_slot = (uint16_t)i;
            return ERR_OK;
        }
    }
    e = fields_take_slot(fields, ret_slot, info);
    if (e) {
        json_pointer_free(compiled);
        return e;
    }
    fields->items[*ret_slot].pointer = compiled;
    field_take_name(fields, &fields->items[*ret_slot]);
    return ERR_OK;
}

enum err fields_add_made(struct fields *fields, uint16_t *ret_slot, struct err_info *info)
{
    return fields_take_slot(fields, ret_slot, info);
}

/* The slots whose field this member is. A name with escapes is rare: it is compared in full. */
static inline void resolve_member(const struct fields *fields, const struct json_doc *doc,
                                  uint32_t name, struct stream_value *slots)
{
    const struct json_node *node = &doc->nodes[name];
    size_t len = node->bytes - 2;
    if (!node->is_escaped && !(fields->name_lengths & length_bit(len))) {
        return;
    }
    struct strview text = sv_of(doc->text + node->at + 1, len);
    for (size_t i = 0; i < fields->count; i++) {
        struct strview wanted = fields->items[i].name;
        if (!wanted.ptr) {
            continue;
        }
        bool is_it =
            node->is_escaped ? json_string_equal(doc, name, wanted) : sv_equal(wanted, text);
        if (is_it) {
            slots[i] = stream_value_of(doc, name + 1); /* of a repeated name the last one counts */
            return;
        }
    }
}

void fields_resolve(const struct fields *fields, const struct json_doc *doc,
                    struct stream_value *slots)
{
    for (size_t i = 0; i < fields->count; i++) {
        slots[i] = (struct stream_value){.type = STREAM_VALUE_MISSING};
    }
    if (!doc) {
        return;
    }
    uint32_t end = doc->nodes[0].next;
    for (uint32_t name = 1; name < end; name = doc->nodes[name + 1].next) {
        resolve_member(fields, doc, name, slots);
    }
    if (!fields->has_nested) {
        return;
    }
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->items[i];
        if (field->pointer && !field->name.ptr) {
            uint32_t at = json_pointer_find(field->pointer, doc);
            if (at != JSON_NODE_NONE) {
                slots[i] = stream_value_of(doc, at);
            }
        }
    }
}
