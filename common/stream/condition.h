/* condition.h - declarative predicates over an event's fields. Private to this room.
 *
 * WHAT     {"field": "/amount", ">": 0, "<=": 500}, {"expr": "…"}, {"all": […]}, {"any": […]},
 *          {"not": {…}} compiled to a flat array; docs/pipelines.md has the operators.
 * RULES    1. Numbers compare as exact decimals, strings by their bytes, with `semver` as versions;
 *             values of different types are neither equal nor in any order.
 *          2. A missing field makes every comparison false; `!=` is the negation of `==`, so it is
 *             true then. `exists` asks for presence (null is present), `null` for there being no
 *             value (missing or null).
 *          3. Parts are looked at from the first on, only until the answer is known. A part that
 *             cannot be decided (a regular expression past its limits, an expression that cannot be
 *             calculated) decides nothing, whatever a
 *             `not` around it says: the record is rejected.
 * COST     a decimal parse per numeric comparison; no allocation after warm-up.
 */
#pragma once

#include "core/err.h"
#include "stream/fields.h"
#include "stream/spec.h"

struct condition;
struct program_builder;
struct step_run;

void condition_free(struct condition *condition); /* NULL is a no-op */
/* NULL when there were errors. */
struct condition *condition_compile(struct program_builder *builder, const struct spec *spec);

enum condition_result {
    CONDITION_FAILS,
    CONDITION_HOLDS,
    CONDITION_UNDECIDED, /* run's reason and info say why: `return STEP_REJECT;` */
};

/* *ret_failed (optional): when it does not hold, the leaf that decided. */
enum condition_result condition_check(const struct condition *condition, struct step_run *run,
                                      size_t *ret_failed);
/* "amount > 0 does not hold: amount is -3" */
void condition_explain(const struct condition *condition, size_t failed,
                       const struct stream_value *slots, struct err_info *info);
