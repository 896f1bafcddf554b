/* A condition of the file into an array of nodes. */
#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/condition_node.h"
#include "stream/builder.h"

/* What an operator is compared with. */
enum operand {
    OPERAND_VALUE,   /* any scalar */
    OPERAND_ORDERED, /* a number or a string */
    OPERAND_LIST,    /* scalars */
    OPERAND_FLAG,    /* true or false */
    OPERAND_TEXT,
    OPERAND_PATTERN,
};

/* In the order of enum condition_op. */
static const struct {
    const char *name;
    enum operand operand;
} OPERATORS[] = {
    {"==", OPERAND_VALUE},        {"!=", OPERAND_VALUE},    {"<", OPERAND_ORDERED},
    {"<=", OPERAND_ORDERED},      {">", OPERAND_ORDERED},   {">=", OPERAND_ORDERED},
    {"in", OPERAND_LIST},         {"exists", OPERAND_FLAG}, {"null", OPERAND_FLAG},
    {"prefix", OPERAND_TEXT},     {"suffix", OPERAND_TEXT}, {"contains", OPERAND_TEXT},
    {"matches", OPERAND_PATTERN},
};

#define SEMVER_OPERATORS (OP_IN + 1) /* of those above, from the first */

static const char *const LEAF_MEMBERS[] = {
    "field",  "==",   "!=",     "<",      "<=",       ">",       ">=",     "in",
    "exists", "null", "prefix", "suffix", "contains", "matches", "semver", NULL};
static const char *const SEMVER_MEMBERS[] = {"==", "!=", "<", "<=", ">", ">=", "in", NULL};
static const char *const COMBINERS[] = {"all", "any", "not", NULL};

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
        pattern_free(node->pattern);
        expression_free(node->expression);
        free(node->field);
        free(node->text);
    }
    free(condition);
}

static struct condition_node *node_add(struct condition *condition, const struct spec *spec)
{
    if (condition->count == CONDITION_NODES_MAX) {
        spec_error(spec, ERR_LIMIT, "a condition has at most %d parts", CONDITION_NODES_MAX);
        return NULL;
    }
    struct condition_node *node = &condition->nodes[condition->count++];
    node->next = condition->count;
    return node;
}

/* --- constants ----------------------------------------------------------------------------------*/

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

static void constant_take_version(struct constant *constant, const struct spec *spec)
{
    const char *text = json_string_value(spec->value);
    constant->type = JSON_NODE_STRING;
    constant->text = must_strdup(text ? text : "0");
    constant->text_len = strlen(constant->text);
    if (!text || !semver_parse(sv(constant->text), &constant->version)) {
        spec_error(spec, ERR_CONFIG, "a version like \"2.1.0\" or \"2.1.0-rc.1\" is needed");
    }
}

static void leaf_take_constants(struct condition_node *node, const struct spec *spec, bool is_list)
{
    if (is_list && json_array_size(spec->value) == 0) {
        spec_error(spec, ERR_CONFIG, "an array of at least one value is needed");
        return;
    }
    node->constant_count = is_list ? json_array_size(spec->value) : 1;
    node->constants = must_alloc(node->constant_count * sizeof *node->constants);
    for (size_t i = 0; i < node->constant_count; i++) {
        struct spec element = is_list ? spec_element(spec, i) : *spec;
        if (node->is_semver) {
            constant_take_version(&node->constants[i], &element);
        } else {
            constant_take(&node->constants[i], &element);
        }
    }
}

static void leaf_take_ordered(struct condition_node *node, const struct spec *spec)
{
    leaf_take_constants(node, spec, false);
    uint8_t type = node->constants[0].type;
    if (type != JSON_NODE_NUMBER && type != JSON_NODE_STRING) {
        spec_error(spec, ERR_CONFIG, "only numbers and strings have an order");
    }
}

static void leaf_take_pattern(struct condition_node *node, const struct spec *spec)
{
    char reason[PATTERN_REASON_BYTES];
    node->pattern = pattern_new(sv(json_string_value(spec->value)), reason);
    if (!node->pattern) {
        spec_error(spec, ERR_CONFIG, "not a regular expression of ECMA-262: %s", reason);
    }
}

static void leaf_take_operand(struct condition_node *node, const struct spec *spec)
{
    enum operand operand = OPERATORS[node->op].operand;
    bool is_text = json_is_string(spec->value) && *json_string_value(spec->value);
    if ((operand == OPERAND_TEXT || operand == OPERAND_PATTERN) && !is_text) {
        spec_error(spec, ERR_CONFIG, "a string that is not empty is needed");
        return;
    }
    switch (operand) {
    case OPERAND_ORDERED:
        leaf_take_ordered(node, spec);
        break;
    case OPERAND_FLAG:
        node->is_wanted = json_is_true(spec->value);
        if (!json_is_boolean(spec->value)) {
            spec_error(spec, ERR_CONFIG, "true or false is needed");
        }
        break;
    case OPERAND_PATTERN:
        leaf_take_pattern(node, spec);
        break;
    case OPERAND_VALUE:
    case OPERAND_TEXT:
    case OPERAND_LIST:
        leaf_take_constants(node, spec, operand == OPERAND_LIST);
        break;
    }
}

/* --- leaves -------------------------------------------------------------------------------------*/

#define LEAF_TEXT_BYTES 160

/* "amount > 0": the constant as the file has it. */
static char *leaf_text(const struct condition_node *node, const struct spec *spec)
{
    char *constant = json_dumps(spec->value, JSON_ENCODE_ANY | JSON_COMPACT);
    CHECK(constant);
    char text[LEAF_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s %s%s %s", node->field, node->is_semver ? "semver " : "",
                   OPERATORS[node->op].name, constant);
    text[utf8_valid_bytes(sv(text))] = '\0'; /* cut to fit, between two characters */
    free(constant);
    return must_strdup(text);
}

struct leaf_source {
    const struct spec *field;     /* the object that names the field */
    const struct spec *operators; /* the object that has the operators: the same, or `semver` */
    bool is_semver;
};

static void leaf_compile(struct program_builder *builder, struct condition *condition,
                         const struct leaf_source *source, enum condition_op op)
{
    struct spec operand = spec_member(source->operators, OPERATORS[op].name);
    struct condition_node *node = operand.value ? node_add(condition, source->operators) : NULL;
    if (!node) {
        return;
    }
    const char *field;
    node->op = (uint8_t)op;
    node->is_semver = source->is_semver;
    node->slot = builder_get_field(builder, source->field, "field", &field);
    node->field = must_strdup(field[0] == '/' ? field + 1 : field);
    leaf_take_operand(node, &operand);
    node->text = leaf_text(node, &operand);
}

static size_t operators_count(const struct spec *spec, size_t operators)
{
    size_t count = 0;
    for (size_t i = 0; i < operators; i++) {
        count += json_object_get(spec->value, OPERATORS[i].name) != NULL;
    }
    return count;
}

/* `semver`: an object of operators; value NULL when there is none, or nothing in it. */
static struct spec leaves_semver(const struct spec *spec)
{
    struct spec semver = spec_member(spec, "semver");
    if (!semver.value) {
        return semver;
    }
    if (spec_is_object(&semver, SEMVER_MEMBERS) &&
        operators_count(&semver, SEMVER_OPERATORS) == 0) {
        spec_error(&semver, ERR_CONFIG, "an operator is missing: one of == != < <= > >= in");
    }
    return semver;
}

/* {"field": …, ">": 0, "<": 9}: all of its operators must hold. */
static void leaves_compile(struct program_builder *builder, struct condition *condition,
                           const struct spec *spec)
{
    if (!spec_is_object(spec, LEAF_MEMBERS)) {
        return;
    }
    struct spec semver = leaves_semver(spec);
    size_t operators = operators_count(spec, ARRAY_LEN(OPERATORS));
    size_t versions = operators_count(&semver, SEMVER_OPERATORS);
    if (operators == 0 && !semver.value) {
        spec_error(spec, ERR_CONFIG,
                   "an operator is missing: one of == != < <= > >= in exists null prefix suffix "
                   "contains matches semver");
        return;
    }
    size_t all = condition->count;
    if (operators + versions > 1) {
        struct condition_node *node = node_add(condition, spec);
        if (!node) {
            return;
        }
        node->op = OP_ALL;
    }
    const struct leaf_source plain = {spec, spec, false}, as_version = {spec, &semver, true};
    for (size_t i = 0; i < ARRAY_LEN(OPERATORS); i++) {
        leaf_compile(builder, condition, &plain, (enum condition_op)i);
    }
    for (size_t i = 0; i < SEMVER_OPERATORS; i++) {
        leaf_compile(builder, condition, &as_version, (enum condition_op)i);
    }
    condition->nodes[all].next = condition->count;
}

/* {"expr": "amount * quantity > 100"} */
static void expression_leaf_compile(struct program_builder *builder, struct condition *condition,
                                    const struct spec *spec)
{
    static const char *const names[] = {"expr", NULL};
    struct condition_node *node = node_add(condition, spec);
    if (!node || !spec_is_object(spec, names)) {
        return;
    }
    struct spec text = spec_member(spec, "expr");
    node->op = OP_EXPRESSION;
    node->expression = expression_compile(builder, &text);
    char shown[LEAF_TEXT_BYTES];
    (void)snprintf(shown, sizeof shown, "%s",
                   node->expression ? json_string_value(text.value) : "");
    shown[utf8_valid_bytes(sv(shown))] = '\0'; /* cut to fit, between two characters */
    node->text = must_strdup(shown);
}

/* --- the tree -----------------------------------------------------------------------------------*/

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
    if (json_object_get(spec->value, "expr")) {
        expression_leaf_compile(builder, condition, spec);
        return;
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
