/* schema_program.h - what schemas are compiled to. Private to this room.
 *
 * A rule is a (sub)schema. What it asks hangs on it by the kind of value: a rule without limits for
 * strings has no rule_string, and a string then costs one look at a pointer. Rules refer to each
 * other by index, so that a $ref is no more than a number and may go back to a rule above it, or to
 * one of another document of the set: all documents of a set are one program.
 */
#pragma once

#include <stdint.h>

#include "core/arena.h"
#include "schema/schema.h"
#include "schema/schema_format.h"
#include "schema/schema_number.h"
#include "schema/schema_pattern.h"

#define RULE_NONE UINT32_MAX

/* Bits of schema_rule.types; `1 << enum json_node_type` and two that are not node types. */
#define TYPE_INTEGER (1U << (JSON_NODE_ARRAY + 1))
#define TYPE_BOOLEAN ((1U << JSON_NODE_FALSE) | (1U << JSON_NODE_TRUE))
#define TYPE_ANY     0x7FU

struct rule_value { /* of enum or const */
    enum json_node_type type;
    struct strview text;  /* string: its characters; number: its digits; else JSON, for messages */
    struct number number; /* number */
    uint64_t hash;        /* object, array: value_hash of doc's root */
    const struct json_doc *doc;
};

struct rule_values {
    const struct rule_value *items;
    uint32_t count;
};

struct rule_list {
    const uint32_t *items;
    uint32_t count;
};

struct rule_limit {
    struct number number;
    struct strview text; /* as in the schema, for messages */
    bool is_set;
};

struct rule_number {
    struct rule_limit minimum;
    struct rule_limit maximum;
    struct rule_limit exclusive_minimum;
    struct rule_limit exclusive_maximum;
    struct rule_limit multiple; /* its text, and whether there is one */
    struct number_step step;
};

struct rule_string {
    uint64_t length_min; /* code points */
    uint64_t length_max;
    const struct pattern *pattern;
    struct strview pattern_text; /* for messages */
    const struct format *format;
};

/* What a glance at a node can tell of a rule: a value of one of these types holds, a string if its
 * raw bytes are within the bounds. Any other value may hold as well: the rule itself says. */
struct rule_glance {
    uint32_t types; /* as schema_rule.types; 0: a glance tells nothing */
    uint32_t bytes_min;
    uint32_t bytes_max;
};

/* A name that the rule has something to say about. */
struct rule_member {
    struct strview name;
    uint32_t rule;    /* of properties; RULE_NONE: named only by required or a dependency */
    uint32_t tracked; /* its bit in what a check has seen; RULE_NONE: nobody asks */
    struct rule_glance glance; /* of rule */
};

struct rule_pattern { /* of patternProperties */
    struct pattern *pattern;
    uint32_t rule;
};

/* If the object has the one member, it must have the others and match the rule. */
struct rule_dependency {
    uint32_t member;        /* index */
    struct rule_list names; /* indexes of members */
    uint32_t rule;          /* or RULE_NONE */
    const char *keyword;
};

struct rule_object {
    struct rule_member *members; /* in the order of the schema, as events mostly have them */
    const uint32_t *sorted;      /* their indexes by length, then bytes */
    uint32_t member_count;
    uint32_t tracked_count;
    bool has_others;           /* patterns, additional or names: to look at beside properties */
    struct rule_list required; /* indexes of members */
    uint64_t required_bits;    /* the same, if at most 64 are tracked */
    const struct rule_pattern *patterns;
    uint32_t pattern_count;
    uint32_t additional;
    uint32_t names;
    uint32_t unevaluated;
    uint64_t count_min;
    uint64_t count_max;
    const struct rule_dependency *dependencies;
    uint32_t dependency_count;
};

struct rule_array {
    struct rule_list prefix;
    uint32_t items; /* behind the prefix */
    uint32_t contains;
    uint32_t unevaluated;
    bool is_unique;
    uint64_t contains_min;
    uint64_t contains_max;
    uint64_t count_min;
    uint64_t count_max;
};

/* Where a $dynamicRef leads when `resource` was entered first of those with the anchor. */
struct rule_dynamic {
    uint32_t resource;
    uint32_t rule;
};

/* Rules for the same value. */
struct rule_applicators {
    uint32_t reference;
    uint32_t dynamic_reference;         /* where it leads if nobody overrides it */
    const struct rule_dynamic *dynamic; /* who may, by resource */
    uint32_t dynamic_count;
    struct rule_list all_of;
    struct rule_list any_of;
    struct rule_list one_of;
    uint32_t negated;
    uint32_t condition; /* if */
    uint32_t then;
    uint32_t otherwise;
};

struct schema_rule {
    uint32_t types;
    uint32_t types_unevaluated;         /* of containers with a rule for what nobody looked at */
    uint32_t resource;                  /* the part with its own $id that it stands in */
    const struct rule_values *allowed;  /* enum; NULL for none, as with all below */
    const struct rule_values *constant; /* const */
    struct rule_number *number;
    struct rule_string *string;
    struct rule_object *object;
    struct rule_array *array;
    struct rule_applicators *applicators;
    struct strview location; /* "orders.json#/properties/amount" */
    bool is_never;           /* the schema `false` */
};

struct schema_program {
    struct schema_rule *rules;
    uint32_t rule_count;
    struct pattern **patterns; /* owned */
    size_t pattern_count;
    struct arena memory; /* what the rules point to */
};

/* A view: where in a program to start. */
struct schema {
    const struct schema_program *program;
    uint32_t root;
    struct schema_program *owned; /* the same, if it is this schema's alone; else NULL */
};

/* Bytes of member names in sorted order: first the shorter one. */
static inline int member_name_compare(struct strview a, struct strview b)
{
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return a.len ? memcmp(a.ptr, b.ptr, a.len) : 0;
}

/* Once all rules are compiled: what their members' values can be told by (schema_glance.c). */
void schema_program_glance(struct schema_program *program);

void schema_program_free(struct schema_program *program); /* NULL is a no-op */

/* --- compiling a set ------------------------------------------------------------------------------
 */

struct schema_source {
    const json_t *tree;
    const char *name;  /* for errors */
    const char *label; /* before the '#' of a rule's location */
    const char *uri;   /* where it lies: the base of its relative references without an $id */
    bool is_root;      /* compiled even if nothing refers to it */
};

/* A schema that can be asked for by URI: a document, or a part with its own $id. */
struct schema_entry {
    struct strview uri; /* in the program's memory */
    uint32_t root;
};

struct schema_entries {
    struct schema_entry *items; /* caller's, to free */
    size_t count;
};

/* ret_roots[i]: the rule of sources[i] if is_root. */
MUST_CHECK enum err schema_program_compile(const struct schema_source *sources, size_t count,
                                           const struct schema_options *options,
                                           struct schema_program **ret, uint32_t *ret_roots,
                                           struct schema_entries *ret_entries,
                                           struct err_info *info);
