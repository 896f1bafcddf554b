#include "json/json_scan.h"

#include <stdlib.h>

#define POINTER_STEPS_MAX 16

struct json_pointer {
    char *text;                              /* full form */
    char *names;                             /* the steps' characters, unescaped */
    struct strview steps[POINTER_STEPS_MAX]; /* into names */
    uint32_t positions[POINTER_STEPS_MAX];   /* as an array index, or JSON_NODE_NONE */
    size_t step_count;
};

void json_pointer_free(struct json_pointer *pointer)
{
    if (!pointer) {
        return;
    }
    free(pointer->text);
    free(pointer->names);
    free(pointer);
}

/* "0", "17"; no leading zero, no sign: what RFC 6901 takes as an array index. */
static uint32_t step_position(struct strview step)
{
    if (step.len == 0 || step.len > 9 || (step.len > 1 && step.ptr[0] == '0')) {
        return JSON_NODE_NONE;
    }
    uint32_t position = 0;
    for (size_t i = 0; i < step.len; i++) {
        if (step.ptr[i] < '0' || step.ptr[i] > '9') {
            return JSON_NODE_NONE;
        }
        position = position * 10 + (uint32_t)(step.ptr[i] - '0');
    }
    return position;
}

/* Unescapes one step from `text` to `out`; returns where it ended in the text, NULL when `~` is not
 * followed by 0 or 1. */
static const char *step_unescape(const char *text, char *out, size_t *ret_len)
{
    size_t len = 0;
    for (; *text && *text != '/'; text++) {
        char c = *text;
        if (c == '~') {
            text++;
            if (*text != '0' && *text != '1') {
                return NULL;
            }
            c = *text == '0' ? '~' : '/';
        }
        out[len++] = c;
    }
    *ret_len = len;
    return text;
}

static enum err pointer_compile(struct json_pointer *pointer, struct err_info *info)
{
    const char *rest = pointer->text;
    char *out = pointer->names;
    while (*rest == '/') {
        if (pointer->step_count == POINTER_STEPS_MAX) {
            return err_set(info, ERR_CONFIG, "JSON Pointer \"%s\": more than %d steps",
                           pointer->text, POINTER_STEPS_MAX);
        }
        size_t len;
        rest = step_unescape(rest + 1, out, &len);
        if (!rest) {
            return err_set(info, ERR_CONFIG, "JSON Pointer \"%s\": '~' must be followed by 0 or 1",
                           pointer->text);
        }
        struct strview step = {out, len};
        pointer->positions[pointer->step_count] = step_position(step);
        pointer->steps[pointer->step_count++] = step;
        out += len;
    }
    return ERR_OK;
}

enum err json_pointer_new(const char *text, struct json_pointer **ret, struct err_info *info)
{
    struct json_pointer *pointer = must_alloc(sizeof *pointer);
    size_t len = strlen(text);
    bool is_bare = len > 0 && text[0] != '/';
    pointer->text = must_alloc(len + 2);
    pointer->text[0] = '/';
    memcpy(pointer->text + is_bare, text, len + 1);
    pointer->names = must_alloc(len + 1);
    enum err e = pointer_compile(pointer, info);
    if (e) {
        json_pointer_free(pointer);
        return e;
    }
    *ret = pointer;
    return ERR_OK;
}

static uint32_t array_find(const struct json_doc *doc, uint32_t array, uint32_t position)
{
    if (position == JSON_NODE_NONE) {
        return JSON_NODE_NONE;
    }
    uint32_t end = doc->nodes[array].next;
    uint32_t element = array + 1;
    while (element < end && position > 0) {
        element = doc->nodes[element].next;
        position--;
    }
    return element < end ? element : JSON_NODE_NONE;
}

uint32_t json_pointer_find_from(const struct json_pointer *pointer, const struct json_doc *doc,
                                uint32_t from)
{
    uint32_t at = from;
    for (size_t i = 0; i < pointer->step_count && at != JSON_NODE_NONE; i++) {
        at = doc->nodes[at].type == JSON_NODE_ARRAY ? array_find(doc, at, pointer->positions[i])
                                                    : json_object_find(doc, at, pointer->steps[i]);
    }
    return at;
}

uint32_t json_pointer_find(const struct json_pointer *pointer, const struct json_doc *doc)
{
    return json_pointer_find_from(pointer, doc, 0);
}

const char *json_pointer_text(const struct json_pointer *pointer)
{
    return pointer->text;
}
