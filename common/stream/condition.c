#include "stream/condition.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/program.h"

/* A tree as a flat array in prefix order: a node, then its children one behind the other; `next` is
 * the index just past the node's last descendant. Leaves compare one field with one constant, or
 * with several (`in`). */

enum condition_op {
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_IN,
    OP_EXISTS,
    OP_ALL,
    OP_ANY,
    OP_NOT,
};

static const char *const OPERATORS[] = {"==", "!=", "<", "<=", ">", ">=", "in", "exists", NULL};
static const char *const COMBINERS[] = {"all", "any", "not", NULL};

struct constant {
    uint8_t type; /* enum json_node_type */
    struct decimal number;
    char *text; /* a string's characters */
    size_t text_len;
};

struct condition_node {
    uint8_t op;
    uint16_t slot;
    bool is_wanted; /* exists */
    size_t next;
    size_t constant_count;
    struct constant *constants;
    char *field; /* as the file says it, for the explanation */
    char *text;  /* "amount > 0" */
};

#define NODES_MAX 256

struct condition {
    size_t count;
    struct condition_node nodes[NODES_MAX];
};

void condition_free(struct condition *condition)
{
    if (!condition) {
        return;
    }
    for (size_t i = 0; i < condition->count; i++) {
        struct condition_node *node = &condition->nodes[i];
        for (size_t c = 0; c < node->constant_count; c++) {
            free(node->constants[c].text);
        }
        free(node->constants);
        free(node->field);
        free(node->text);
    }
    free(condition);
}

/* --- compiling ----------------------------------------------------------------------------------*/

static struct condition_node *node_add(struct condition *condition, const struct spec *spec)
{
    if (condition->count == NODES_MAX) {
        spec_error(spec, ERR_LIMIT, "a condition has at most %d parts", NODES_MAX);
        return NULL;
    }
    struct condition_node *node = &condition->nodes[condition->count++];
    node->next = condition->count;
    return node;
}

static void constant_take_number(struct constant *constant, const struct spec *spec)
{
    char *text = json_dumps(spec->value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    CHECK(text);
    constant->type = JSON_NODE_NUMBER;
    if (decimal_parse(sv(text), &constant->number)) {
        spec_error(spec, ERR_CONFIG, "the number is out of range");
    }
    free(text);
}

static void constant_take(struct constant *constant, const struct spec *spec)
{
    switch (json_typeof(spec->value)) {
    case JSON_INTEGER:
    case JSON_REAL:
        constant_take_number(constant, spec);
        return;
    case JSON_STRING:
        constant->type = JSON_NODE_STRING;
        constant->text = must_strdup(json_string_value(spec->value));
        constant->text_len = strlen(constant->text);
        return;
    case JSON_TRUE:
        constant->type = JSON_NODE_TRUE;
        return;
    case JSON_FALSE:
        constant->type = JSON_NODE_FALSE;
        return;
    case JSON_NULL:
        constant->type = JSON_NODE_NULL;
        return;
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    spec_error(spec, ERR_CONFIG, "a number, a string, true, false or null is needed");
}

static void leaf_take_constants(struct condition_node *node, const struct spec *spec)
{
    bool is_list = node->op == OP_IN;
    if (is_list && json_array_size(spec->value) == 0) {
        spec_error(spec, ERR_CONFIG, "an array of at least one value is needed");
        return;
    }
    node->constant_count = is_list ? json_array_size(spec->value) : 1;
    node->constants = must_alloc(node->constant_count * sizeof *node->constants);
    for (size_t i = 0; i < node->constant_count; i++) {
        struct spec element = is_list ? spec_element(spec, i) : *spec;
        constant_take(&node->constants[i], &element);
    }
    bool is_ordering = node->op >= OP_LESS && node->op <= OP_GREATER_EQUAL;
    uint8_t type = node->constants[0].type;
    if (is_ordering && type != JSON_NODE_NUMBER && type != JSON_NODE_STRING) {
        spec_error(spec, ERR_CONFIG, "only numbers and strings have an order");
    }
}

#define LEAF_TEXT_BYTES 160

/* "amount > 0": the constant as the file has it. */
static char *leaf_text(const struct condition_node *node, const struct spec *spec)
{
    char *constant = json_dumps(spec->value, JSON_ENCODE_ANY | JSON_COMPACT);
    CHECK(constant);
    char text[LEAF_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s %s %s", node->field, OPERATORS[node->op], constant);
    text[utf8_valid_bytes(sv(text))] = '\0'; /* cut to fit, between two characters */
    free(constant);
    return must_strdup(text);
}

static void leaf_compile(struct program_builder *builder, struct condition *condition,
                         const struct spec *spec, const char *operator_name)
{
    struct spec operand = spec_member(spec, operator_name);
    struct condition_node *node = node_add(condition, spec);
    if (!node) {
        return;
    }
    const char *field;
    node->slot = builder_get_field(builder, spec, "field", &field);
    node->field = must_strdup(field[0] == '/' ? field + 1 : field);
    while (strcmp(OPERATORS[node->op], operator_name) != 0) {
        node->op++;
    }
    if (node->op != OP_EXISTS) {
        leaf_take_constants(node, &operand);
    } else if (!json_is_boolean(operand.value)) {
        spec_error(&operand, ERR_CONFIG, "true or false is needed");
    }
    node->is_wanted = json_is_true(operand.value);
    node->text = leaf_text(node, &operand);
}

/* {"field": …, ">": 0, "<": 9}: all of its operators must hold. */
static void leaves_compile(struct program_builder *builder, struct condition *condition,
                           const struct spec *spec)
{
    static const char *const names[] = {
        "field", "==", "!=", "<", "<=", ">", ">=", "in", "exists", NULL};
    if (!spec_is_object(spec, names)) {
        return;
    }
    size_t operators = 0;
    for (size_t i = 0; OPERATORS[i]; i++) {
        operators += json_object_get(spec->value, OPERATORS[i]) != NULL;
    }
    if (operators == 0) {
        spec_error(spec, ERR_CONFIG, "an operator is missing: one of == != < <= > >= in exists");
        return;
    }
    size_t all = condition->count;
    if (operators > 1) {
        struct condition_node *node = node_add(condition, spec);
        if (!node) {
            return;
        }
        node->op = OP_ALL;
    }
    for (size_t i = 0; OPERATORS[i]; i++) {
        if (json_object_get(spec->value, OPERATORS[i])) {
            leaf_compile(builder, condition, spec, OPERATORS[i]);
        }
    }
    condition->nodes[all].next = condition->count;
}

#define DEPTH_MAX 16

static void node_compile(struct program_builder *builder, struct condition *condition,
                         const struct spec *spec, int depth);

static void combiner_compile(struct program_builder *builder, struct condition *condition,
                             const struct spec *spec, int depth)
{
    struct spec inner;
    const char *name = spec_only_member(spec, &inner);
    size_t at = condition->count;
    struct condition_node *node = name ? node_add(condition, spec) : NULL;
    if (!node) {
        return;
    }
    node->op = (uint8_t)(strcmp(name, "all") == 0   ? OP_ALL
                         : strcmp(name, "any") == 0 ? OP_ANY
                                                    : OP_NOT);
    if (node->op == OP_NOT) {
        node_compile(builder, condition, &inner, depth);
    } else if (json_array_size(inner.value) == 0) {
        spec_error(&inner, ERR_CONFIG, "an array of at least one condition is needed");
    }
    for (size_t i = 0; node->op != OP_NOT && i < json_array_size(inner.value); i++) {
        struct spec element = spec_element(&inner, i);
        node_compile(builder, condition, &element, depth);
    }
    condition->nodes[at].next = condition->count;
}

static void node_compile(struct program_builder *builder, struct condition *condition,
                         const struct spec *spec, int depth)
{
    if (depth == DEPTH_MAX) {
        spec_error(spec, ERR_LIMIT, "conditions are nested more than %d deep", DEPTH_MAX);
        return;
    }
    for (size_t i = 0; COMBINERS[i]; i++) {
        if (json_object_get(spec->value, COMBINERS[i])) {
            combiner_compile(builder, condition, spec, depth + 1);
            return;
        }
    }
    leaves_compile(builder, condition, spec);
}

struct condition *condition_compile(struct program_builder *builder, const struct spec *spec)
{
    struct condition *condition = must_alloc(sizeof *condition);
    size_t errors = builder->loader.errors->count;
    node_compile(builder, condition, spec, 0);
    if (builder->loader.errors->count > errors) {
        condition_free(condition);
        return NULL;
    }
    return condition;
}

/* --- evaluating ---------------------------------------------------------------------------------*/

/* <0, 0, >0 in *ret_order; false when the two are not comparable. */
static bool value_compare(const struct stream_value *value, const struct constant *constant,
                          int *ret_order)
{
    if (value->type != constant->type) {
        return false;
    }
    if (value->type == JSON_NODE_NUMBER) {
        struct decimal number;
        if (decimal_parse(stream_value_text(value), &number)) {
            return false; /* past 1e20: equal to no constant, and no order is claimed */
        }
        *ret_order = decimal_compare(number, constant->number);
        return true;
    }
    *ret_order = 0; /* null, true and false are equal to themselves */
    if (value->type == JSON_NODE_STRING) {
        *ret_order = stream_value_compare(value, sv_of(constant->text, constant->text_len));
    }
    return true;
}

static bool leaf_holds(const struct condition_node *node, const struct stream_value *value)
{
    if (node->op == OP_EXISTS) {
        return (value->type != STREAM_VALUE_MISSING) == node->is_wanted;
    }
    bool is_listed = false;
    int order = 0;
    bool is_comparable = false;
    for (size_t i = 0; i < node->constant_count && !is_listed; i++) {
        is_comparable = value_compare(value, &node->constants[i], &order);
        is_listed = is_comparable && order == 0;
    }
    switch ((enum condition_op)node->op) {
    case OP_EQUAL:
    case OP_IN:
        return is_listed;
    case OP_NOT_EQUAL:
        return !is_listed;
    case OP_LESS:
        return is_comparable && order < 0;
    case OP_LESS_EQUAL:
        return is_comparable && order <= 0;
    case OP_GREATER:
        return is_comparable && order > 0;
    case OP_GREATER_EQUAL:
        return is_comparable && order >= 0;
    case OP_EXISTS:
    case OP_ALL:
    case OP_ANY:
    case OP_NOT:
        break;
    }
    CHECK(!"a leaf has an operator");
    return false;
}

static bool node_holds(const struct condition *condition, size_t at,
                       const struct stream_value *slots, size_t *failed)
{
    const struct condition_node *node = &condition->nodes[at];
    bool holds;
    if (node->op < OP_ALL) {
        holds = leaf_holds(node, &slots[node->slot]);
        *failed = holds ? *failed : at;
        return holds;
    }
    if (node->op == OP_NOT) {
        size_t inner = at + 1;
        holds = !node_holds(condition, at + 1, slots, &inner);
        *failed = holds ? *failed : at + 1;
        return holds;
    }
    bool is_all = node->op == OP_ALL;
    for (size_t child = at + 1; child < node->next; child = condition->nodes[child].next) {
        if (node_holds(condition, child, slots, failed) != is_all) {
            return !is_all;
        }
    }
    return is_all;
}

bool condition_holds(const struct condition *condition, const struct stream_value *slots,
                     size_t *ret_failed)
{
    size_t failed = 0;
    bool holds = node_holds(condition, 0, slots, &failed);
    if (ret_failed) {
        *ret_failed = failed;
    }
    return holds;
}

#define EXCERPT_BYTES 64

void condition_explain(const struct condition *condition, size_t failed,
                       const struct stream_value *slots, struct err_info *info)
{
    const struct condition_node *node = &condition->nodes[failed];
    if (node->op >= OP_ALL) { /* the inside of a `not` that is itself a combination */
        (void)err_set(info, ERR_CONDITION, "the condition does not hold");
        return;
    }
    struct strview value = stream_value_excerpt(&slots[node->slot], EXCERPT_BYTES);
    bool is_negated = failed > 0 && condition->nodes[failed - 1].op == OP_NOT;
    (void)err_set(info, ERR_CONDITION, "%s%s%s does not hold: %s is %.*s",
                  is_negated ? "not (" : "", node->text, is_negated ? ")" : "", node->field,
                  SV_ARG(value));
}
