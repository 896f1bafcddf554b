/* aggregate_functions.h - what can stand in a `result`: a new one is a row in aggregate_functions.c.
 * Private to the aggregate's files. */
#pragma once

#include "stream/accumulator.h"

/* The object `{"field": …, …}` behind a function's name; value NULL: the field alone was given. */
struct function_spec {
    struct spec spec;
    struct program_builder *builder;
    struct aggregate *aggregate;
    struct aggregate_column *column;
    const struct accumulator_kind *kind; /* the function's; compile may choose another */
    struct accumulator_options options;
    uint16_t label;
};

struct function_shown {
    const struct aggregate_column *column;
    const struct aggregate_window *window;
    struct accumulate a; /* accumulator NULL where the function has none */
};

struct aggregate_function {
    const char *name;
    const struct accumulator_kind *kind;             /* NULL: key, count, window */
    const char *const *members;                      /* of its object, beside "field" */
    void (*compile)(struct function_spec *function); /* those members; NULL: has none */
    enum err (*render)(const struct function_shown *shown, struct buf *out);
};

extern const struct aggregate_function aggregate_key, aggregate_count, aggregate_window_bound;

/* NULL, and a hint, when there is none of that name. */
const struct aggregate_function *aggregate_function_find(const char *name,
                                                         char hint[SPEC_HINT_BYTES]);
/* The members of {"window": …}. */
void aggregate_window_compile(const struct spec *spec, struct aggregate_column *column);
/* Reads a field in a form: its index among the aggregate's inputs. */
uint16_t aggregate_input_add(struct program_builder *builder, struct aggregate *aggregate,
                             const struct spec *field, enum input_form form);
