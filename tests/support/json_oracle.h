/* json_oracle.h - jansson's opinion of a text beside json_scan's: they must agree on whether it is
 * JSON and on what it says. Used by the property test and by the fuzzer.
 *
 * Where they differ on purpose: jansson converts numbers and refuses those that a double cannot
 * hold; it cannot have U+0000 in a member's name; it overlooks a raw NUL behind a number; json_scan
 * bounds depth and count. */
#pragma once

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "json/json_scan.h"

#define ORACLE_DEPTH_MAX 64
#define ORACLE_NODES_MAX 100000

struct json_oracle {
    struct json_scanner *scanner;
    const char *complaint; /* what they disagree on; NULL: nothing */
};

static inline bool oracle_same(const struct json_doc *doc, uint32_t index, json_t *value);

static inline bool oracle_same_string(const struct json_doc *doc, uint32_t index, const char *text,
                                      size_t len)
{
    char *scratch = malloc(doc->nodes[index].bytes);
    struct strview decoded = json_string_decode(doc, index, scratch);
    bool is_same =
        sv_equal(decoded, sv_of(text, len)) && json_string_equal(doc, index, sv_of(text, len));
    free(scratch);
    return is_same;
}

static inline bool oracle_same_object(const struct json_doc *doc, uint32_t index, json_t *value)
{
    const char *key;
    json_t *member;
    json_object_foreach(value, key, member)
    {
        uint32_t found = json_object_find(doc, index, sv(key));
        if (found == JSON_NODE_NONE || !oracle_same(doc, found, member)) {
            return false;
        }
    }
    return doc->nodes[index].next > index + 1 || json_object_size(value) == 0;
}

static inline bool oracle_same_array(const struct json_doc *doc, uint32_t index, json_t *value)
{
    size_t count = 0;
    for (uint32_t i = index + 1; i < doc->nodes[index].next; i = doc->nodes[i].next) {
        if (count == json_array_size(value) || !oracle_same(doc, i, json_array_get(value, count))) {
            return false;
        }
        count++;
    }
    return count == json_array_size(value);
}

static inline bool oracle_same(const struct json_doc *doc, uint32_t index, json_t *value)
{
    switch ((enum json_node_type)doc->nodes[index].type) {
    case JSON_NODE_NULL:
        return json_is_null(value);
    case JSON_NODE_FALSE:
        return json_is_false(value);
    case JSON_NODE_TRUE:
        return json_is_true(value);
    case JSON_NODE_NUMBER: {
        struct strview text = json_node_text(doc, index);
        char *copy = strndup(text.ptr, text.len);
        double number = strtod(copy, NULL);
        free(copy);
        return json_is_real(value) && json_real_value(value) == number;
    }
    case JSON_NODE_STRING:
        return json_is_string(value) &&
               oracle_same_string(doc, index, json_string_value(value), json_string_length(value));
    case JSON_NODE_OBJECT:
        return json_is_object(value) && oracle_same_object(doc, index, value);
    case JSON_NODE_ARRAY:
        return json_is_array(value) && oracle_same_array(doc, index, value);
    }
    return false;
}

/* Every value lies inside its container, in order, and its pointer can be written. */
static inline bool oracle_layout(const struct json_doc *doc, size_t text_bytes)
{
    for (uint32_t i = 0; i < doc->node_count; i++) {
        const struct json_node *node = &doc->nodes[i];
        bool is_container = node->type == JSON_NODE_OBJECT || node->type == JSON_NODE_ARRAY;
        if (node->next <= i || node->next > doc->node_count ||
            (!is_container && node->next != i + 1) || node->bytes == 0 ||
            (uint64_t)node->at + node->bytes > text_bytes) {
            return false;
        }
        char pointer[ERR_INFO_POINTER_BYTES];
        json_node_pointer(doc, i, pointer, sizeof pointer);
    }
    return doc->nodes[0].next == doc->node_count;
}

static inline const char *oracle_refusal(enum err e, const struct err_info *info, json_t *value,
                                         struct strview text)
{
    bool has_nul = text.len && memchr(text.ptr, '\0', text.len);
    if (e == ERR_JSON_TOO_DEEP || e == ERR_LIMIT) {
        return NULL;
    }
    if (value && !has_nul) {
        return "json_scan refuses what jansson takes";
    }
    return e != ERR_BODY_EMPTY && (info->at > text.len || !info->text[0])
               ? "the error names no place"
               : NULL;
}

/* true when they agree; else oracle->complaint says on what not. */
static inline bool json_oracle_agrees(struct json_oracle *oracle, struct strview text)
{
    if (!oracle->scanner) {
        oracle->scanner = json_scanner_new(ORACLE_DEPTH_MAX, ORACLE_NODES_MAX);
    }
    struct json_doc doc = {0};
    struct err_info info = {0};
    json_error_t error;
    enum err e = json_scan(oracle->scanner, text, &doc, &info);
    json_t *value = json_loadb(text.ptr, text.len,
                               JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    enum json_error_code code = value ? json_error_unknown : json_error_code(&error);
    oracle->complaint = NULL;
    if (e) {
        oracle->complaint = oracle_refusal(e, &info, value, text);
    } else if (!oracle_layout(&doc, text.len)) {
        oracle->complaint = "the nodes do not fit together";
    } else if (!value && code != json_error_numeric_overflow &&
               code != json_error_null_byte_in_key) {
        oracle->complaint = "json_scan takes what jansson refuses";
    } else if (value && !oracle_same(&doc, 0, value)) {
        oracle->complaint = "they read different values";
    }
    json_decref(value);
    return !oracle->complaint;
}
