#define _GNU_SOURCE /* memmem */
#include "stream/condition.h"

#include "stream/condition_node.h"
#include "stream/program.h"

#define EXCERPT_BYTES 64

static enum condition_result holds_if(bool holds)
{
    return holds ? CONDITION_HOLDS : CONDITION_FAILS;
}

static enum condition_result undecided(struct step_run *run, enum err reason,
                                       const struct condition_node *node, const char *why)
{
    (void)step_reject(run, reason, "%s cannot be decided: %s", node->text, why);
    return CONDITION_UNDECIDED;
}

static int text_compare(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The value, with what comparisons need of it read once. */
struct operand {
    const struct stream_value *value;
    struct strview text; /* a string's characters */
    struct decimal number;
    struct semver version;
    bool is_comparable; /* a number within the range, a version where one is needed */
};

static bool operand_read(const struct condition_node *node, struct eval *eval,
                         const struct stream_value *value, struct operand *ret)
{
    *ret = (struct operand){.value = value, .is_comparable = true};
    if (value->type == JSON_NODE_STRING) {
        if (!eval_text(eval, value, &ret->text)) {
            return false;
        }
    } else if (value->type == JSON_NODE_NUMBER) { /* past 1e20: equal to nothing, in no order */
        ret->is_comparable = !decimal_parse(stream_value_text(value), &ret->number);
    }
    if (node->is_semver) {
        ret->is_comparable =
            value->type == JSON_NODE_STRING && semver_parse(ret->text, &ret->version);
    }
    return true;
}

/* <0, 0, >0 in *ret_order; false when the two are not comparable. */
static bool operand_compare(const struct condition_node *node, const struct operand *operand,
                            const struct constant *constant, int *ret_order)
{
    if (!operand->is_comparable || operand->value->type != constant->type) {
        return false;
    }
    *ret_order = 0; /* null, true and false are equal to themselves */
    if (node->is_semver) {
        *ret_order = semver_compare(&operand->version, &constant->version);
    } else if (constant->type == JSON_NODE_NUMBER) {
        *ret_order = decimal_compare(operand->number, constant->number);
    } else if (constant->type == JSON_NODE_STRING) {
        *ret_order = text_compare(operand->text, sv_of(constant->text, constant->text_len));
    }
    return true;
}

static bool comparison_holds(const struct condition_node *node, const struct operand *operand)
{
    bool is_listed = false, is_comparable = false;
    int order = 0;
    for (size_t i = 0; i < node->constant_count && !is_listed; i++) {
        is_comparable = operand_compare(node, operand, &node->constants[i], &order);
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
    default:
        return is_comparable && order >= 0;
    }
}

/* Whether one of the places where the text may lie holds it. */
static bool text_holds(const struct condition_node *node, struct strview text)
{
    struct strview part = sv_of(node->constants->text, node->constants->text_len);
    if (node->op == OP_CONTAINS) {
        return memmem(text.ptr, text.len, part.ptr, part.len) != NULL;
    }
    if (text.len < part.len) {
        return false;
    }
    size_t at = node->op == OP_SUFFIX ? text.len - part.len : 0;
    return memcmp(text.ptr + at, part.ptr, part.len) == 0;
}

static enum condition_result pattern_holds(const struct condition_node *node, struct step_run *run,
                                           struct strview text)
{
    struct eval *eval = run->eval;
    switch (pattern_run(node->pattern, eval->patterns, text, &eval->long_runs)) {
    case PATTERN_NO:
        return CONDITION_FAILS;
    case PATTERN_YES:
        return CONDITION_HOLDS;
    case PATTERN_CUT:
        break;
    }
    return undecided(run, ERR_LIMIT, node, "the match takes more steps than it may");
}

/* Null does not hold: nothing is known. */
static enum condition_result expression_holds(const struct condition_node *node,
                                              struct step_run *run)
{
    struct stream_value value;
    if (expression_value(node->expression, run, &value)) {
        return CONDITION_UNDECIDED;
    }
    switch (value.type) {
    case JSON_NODE_TRUE:
        return CONDITION_HOLDS;
    case JSON_NODE_FALSE:
    case JSON_NODE_NULL:
        return CONDITION_FAILS;
    default:
        break;
    }
    (void)step_reject(run, ERR_FIELD_TYPE, "%s is %s: true or false is needed", node->text,
                      stream_value_kind(&value));
    return CONDITION_UNDECIDED;
}

static enum condition_result leaf_check(const struct condition_node *node, struct step_run *run)
{
    if (node->op == OP_EXPRESSION) {
        return expression_holds(node, run);
    }
    const struct stream_value *value = &run->slots[node->slot];
    bool is_missing = value->type == STREAM_VALUE_MISSING;
    if (node->op == OP_EXISTS) {
        return holds_if(!is_missing == node->is_wanted);
    }
    if (node->op == OP_NULL) {
        return holds_if((is_missing || value->type == JSON_NODE_NULL) == node->is_wanted);
    }
    struct operand operand;
    if (!operand_read(node, run->eval, value, &operand)) {
        return undecided(run, ERR_LIMIT, node, "the text is too long");
    }
    if (node->op <= OP_IN) {
        return holds_if(comparison_holds(node, &operand));
    }
    if (value->type != JSON_NODE_STRING) {
        return CONDITION_FAILS;
    }
    return node->op == OP_MATCHES ? pattern_holds(node, run, operand.text)
                                  : holds_if(text_holds(node, operand.text));
}

static enum condition_result node_check(const struct condition *condition, size_t at,
                                        struct step_run *run, size_t *failed)
{
    const struct condition_node *node = &condition->nodes[at];
    enum condition_result result;
    if (node->op < OP_ALL) {
        result = leaf_check(node, run);
        *failed = result == CONDITION_HOLDS ? *failed : at;
        return result;
    }
    if (node->op == OP_NOT) {
        size_t inner = at + 1;
        result = node_check(condition, at + 1, run, &inner);
        *failed = result == CONDITION_HOLDS ? at + 1 : *failed;
        return result == CONDITION_UNDECIDED ? result : holds_if(result == CONDITION_FAILS);
    }
    enum condition_result usual = holds_if(node->op == OP_ALL);
    for (size_t child = at + 1; child < node->next; child = condition->nodes[child].next) {
        result = node_check(condition, child, run, failed);
        if (result != usual) {
            return result;
        }
    }
    return usual;
}

enum condition_result condition_check(const struct condition *condition, struct step_run *run,
                                      size_t *ret_failed)
{
    size_t failed = 0;
    enum condition_result result = node_check(condition, 0, run, &failed);
    if (ret_failed) {
        *ret_failed = failed;
    }
    return result;
}

void condition_explain(const struct condition *condition, size_t failed,
                       const struct stream_value *slots, struct err_info *info)
{
    const struct condition_node *node = &condition->nodes[failed];
    if (node->op >= OP_ALL) { /* the inside of a `not` that is itself a combination */
        (void)err_set(info, ERR_CONDITION, "the condition does not hold");
        return;
    }
    bool is_negated = failed > 0 && condition->nodes[failed - 1].op == OP_NOT;
    if (node->op == OP_EXPRESSION) {
        (void)err_set(info, ERR_CONDITION, "%s%s%s does not hold", is_negated ? "not (" : "",
                      node->text, is_negated ? ")" : "");
        return;
    }
    struct strview value = stream_value_excerpt(&slots[node->slot], EXCERPT_BYTES);
    (void)err_set(info, ERR_CONDITION, "%s%s%s does not hold: %s is %.*s",
                  is_negated ? "not (" : "", node->text, is_negated ? ")" : "", node->field,
                  SV_ARG(value));
}
