/* template.h - a JSON value made of an event: what `set`, `project` and others put in. Private to
 * this room.
 *
 * WHAT     "/address/city" or {"field": f}: the field; {"expr": "…"}: calculated (expression.h);
 *          {"value": x}: any JSON as it is; {"object": {name: template, …}}, {"array": [template, …]}:
 *          built from others.
 * RULES    A missing field is missing in an object, null in an array.
 * OWNS     results live in the run's eval, or in the event.
 * COST     no allocation after warm-up; a field's bytes are copied only into objects and arrays.
 */
#pragma once

#include "stream/builder.h"

struct template;

void template_free(struct template *template); /* NULL is a no-op */
/* NULL after an error. */
struct template *template_compile(struct program_builder *builder, const struct spec *spec);
/* An error is in run's reason and info too. *ret may be missing. */
MUST_CHECK enum err template_value(const struct template *template, struct step_run *run,
                                   struct stream_value *ret);
