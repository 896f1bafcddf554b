/* condition_node.h - a compiled condition from inside: condition_compile.c makes it, condition.c
 * runs it.
 *
 * A tree as a flat array in prefix order: a node, then its children one behind the other; `next` is
 * the index just past the node's last descendant. Leaves compare one field with one constant, or
 * with several (`in`).
 */
#pragma once

#include "core/semver.h"
#include "schema/schema_pattern.h"
#include "stream/condition.h"
#include "stream/expression.h"

enum condition_op {
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_IN,
    OP_EXISTS,
    OP_NULL,
    OP_PREFIX,
    OP_SUFFIX,
    OP_CONTAINS,
    OP_MATCHES,
    OP_EXPRESSION, /* is true */
    /* no leaves: */
    OP_ALL,
    OP_ANY,
    OP_NOT,
};

struct constant {
    uint8_t type; /* enum json_node_type */
    struct decimal number;
    char *text; /* a string's characters */
    size_t text_len;
    struct semver version; /* of text, where the leaf compares versions */
};

struct condition_node {
    uint8_t op;
    bool is_semver; /* versions are compared, not their bytes */
    bool is_wanted; /* exists, null */
    uint16_t slot;
    size_t next;
    size_t constant_count;
    struct constant *constants;
    struct pattern *pattern;       /* matches */
    struct expression *expression; /* expr */
    char *field;                   /* as the file says it, for the explanation */
    char *text;                    /* "amount > 0" */
};

#define CONDITION_NODES_MAX 256

struct condition {
    size_t count;
    struct condition_node nodes[CONDITION_NODES_MAX];
};
