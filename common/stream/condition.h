/* condition.h - declarative predicates over an event's fields. Private to this room.
 *
 * WHAT     {"field": "/amount", ">": 0, "<=": 500}, {"all": […]}, {"any": […]}, {"not": {…}}
 *          compiled to a flat array; docs/pipelines.md has the operators.
 * RULES    1. Numbers compare as exact decimals, strings by their bytes; values of different types
 *             are neither equal nor in any order.
 *          2. A missing field makes every comparison false; `!=` is the negation of `==`, so it is
 *             true then. `exists` asks for presence (null is present).
 * COST     a decimal parse per numeric comparison; allocates only to compare strings with escapes.
 */
#pragma once

#include "core/err.h"
#include "stream/fields.h"
#include "stream/spec.h"

struct condition;
struct program_builder;

void condition_free(struct condition *condition); /* NULL is a no-op */
/* NULL when there were errors. */
struct condition *condition_compile(struct program_builder *builder, const struct spec *spec);

/* Whether it holds; when not, *ret_failed (optional) is the leaf that decided. */
bool condition_holds(const struct condition *condition, const struct stream_value *slots,
                     size_t *ret_failed);
/* "amount > 0 does not hold: amount is -3" */
void condition_explain(const struct condition *condition, size_t failed,
                       const struct stream_value *slots, struct err_info *info);
