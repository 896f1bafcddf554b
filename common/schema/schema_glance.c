/* Most members of most events ask little: a type, a length. What a rule asks of such values is put
 * beside the member's name, so that a check meets it without going into the rule. */
#include "schema/schema_program.h"

#define REFERENCES_MAX 8  /* followed from a rule to what it stands for */
#define POINT_BYTES    12 /* of a code point at most: a pair of \uXXXX */
#define STRING         (1U << JSON_NODE_STRING)
#define NUMBER         ((1U << JSON_NODE_NUMBER) | TYPE_INTEGER)

static bool is_reference_alone(const struct rule_applicators *a)
{
    return a->reference != RULE_NONE && a->dynamic_reference == RULE_NONE && a->all_of.count == 0 &&
           a->any_of.count == 0 && a->one_of.count == 0 && a->negated == RULE_NONE &&
           a->condition == RULE_NONE;
}

static bool has_own_limits(const struct schema_rule *rule)
{
    return rule->types != TYPE_ANY || rule->types_unevaluated || rule->allowed || rule->constant ||
           rule->number || rule->string || rule->object || rule->array || rule->is_never;
}

/* The rule that says all of what this one does: itself, or what its lone $ref leads to. */
static const struct schema_rule *rule_meant(const struct schema_program *program, uint32_t index)
{
    const struct schema_rule *rule = &program->rules[index];
    for (int i = 0; i < REFERENCES_MAX && rule->applicators && !has_own_limits(rule) &&
                    is_reference_alone(rule->applicators);
         i++) {
        rule = &program->rules[rule->applicators->reference];
    }
    return rule;
}

/* A code point is one to twelve bytes: bounds of bytes that are surely within those of points. */
static void glance_at_string(struct rule_glance *glance, const struct rule_string *limits)
{
    uint64_t min = limits->length_min > 1 ? limits->length_min * POINT_BYTES : limits->length_min;
    bool is_told =
        !limits->pattern && !limits->format && limits->length_min < UINT32_MAX / POINT_BYTES;
    glance->types &= is_told ? UINT32_MAX : ~STRING;
    glance->bytes_min = is_told ? (uint32_t)min : 0;
    glance->bytes_max = limits->length_max < UINT32_MAX ? (uint32_t)limits->length_max : UINT32_MAX;
}

static struct rule_glance glance_at(const struct schema_rule *rule)
{
    struct rule_glance glance = {rule->types, 0, UINT32_MAX};
    if (rule->is_never || rule->allowed || rule->constant || rule->applicators) {
        glance.types = 0;
    }
    glance.types &= rule->number ? ~NUMBER : UINT32_MAX;
    glance.types &= rule->object ? ~(1U << JSON_NODE_OBJECT) : UINT32_MAX;
    glance.types &= rule->array ? ~(1U << JSON_NODE_ARRAY) : UINT32_MAX;
    if (rule->string) {
        glance_at_string(&glance, rule->string);
    }
    return glance;
}

void schema_program_glance(struct schema_program *program)
{
    for (uint32_t i = 0; i < program->rule_count; i++) {
        const struct rule_object *object = program->rules[i].object;
        for (uint32_t k = 0; object && k < object->member_count; k++) {
            struct rule_member *member = &object->members[k];
            if (member->rule != RULE_NONE) {
                member->glance = glance_at(rule_meant(program, member->rule));
            }
        }
    }
}
