/* schema_program.h - what a schema is compiled to. Private to this room.
 *
 * A rule is a (sub)schema: the limits of all its keywords side by side, those that are absent set
 * so that nothing fails them. Rules refer to each other by index, so that a $ref is no more than a
 * number and may go back to a rule above it.
 */
#pragma once

#include <stdint.h>

#include "core/arena.h"
#include "schema/schema.h"
#include "schema/schema_number.h"

#define RULE_NONE           UINT32_MAX
#define RULE_MEMBERS_MAX    256
#define RULE_NAME_BYTES_MAX 255

/* Bits of schema_rule.types; `1 << enum json_node_type` and two that are not node types. */
#define TYPE_INTEGER (1U << (JSON_NODE_ARRAY + 1))
#define TYPE_BOOLEAN ((1U << JSON_NODE_FALSE) | (1U << JSON_NODE_TRUE))
#define TYPE_ANY     0x7FU

struct rule_member {
    struct strview name;
    uint32_t rule; /* RULE_NONE: anything */
};

struct rule_value { /* of enum or const */
    enum json_node_type type;
    struct strview text;  /* string: its characters; number: its digits */
    struct number number; /* number */
};

struct rule_values {
    struct rule_value *items;
    uint32_t count;
    bool is_set; /* an empty enum takes nothing */
};

struct rule_list {
    uint32_t *items;
    uint32_t count;
};

struct rule_limit {
    struct number number;
    struct strview text; /* as in the schema, for messages */
    bool is_set;
};

struct schema_rule {
    bool is_never;      /* the schema `false` */
    bool is_applicator; /* has a $ref, allOf, anyOf, oneOf or not */
    uint32_t types;
    struct rule_values allowed;  /* enum */
    struct rule_values constant; /* const */
    /* object */
    struct rule_member *members; /* in the order of the schema, as events mostly have them */
    uint16_t *members_sorted;    /* their indexes by length, then bytes */
    uint32_t member_count;
    uint64_t required[RULE_MEMBERS_MAX / 64]; /* bit: index into members */
    uint32_t additional;                      /* RULE_NONE: anything */
    /* array */
    uint32_t items;
    uint64_t items_min;
    uint64_t items_max;
    /* string, in code points */
    uint64_t length_min;
    uint64_t length_max;
    /* number */
    struct rule_limit minimum;
    struct rule_limit maximum;
    struct rule_limit minimum_exclusive;
    struct rule_limit maximum_exclusive;
    struct number_step step;
    struct rule_limit multiple; /* its text, and whether there is one */
    /* the same value against other rules */
    uint32_t reference;
    struct rule_list all_of;
    struct rule_list any_of;
    struct rule_list one_of;
    uint32_t negated;
};

struct schema {
    struct schema_rule *rules; /* 0 is the root */
    uint32_t rule_count;
    struct arena memory; /* what the rules point to */
};

/* Bytes of member names in sorted order: first the shorter one. */
static inline int member_name_compare(struct strview a, struct strview b)
{
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return a.len ? memcmp(a.ptr, b.ptr, a.len) : 0;
}
