/* expression.h - values computed from an event. Private to this room.
 *
 * WHAT     `round(amount * quantity, 2)`, `if(age >= 18, 'adult', 'minor')`: text compiled once to
 *          a flat program for a small stack machine over slots. docs/expressions.md has the
 *          language; a function is one row of the table in expression_functions.c.
 * RULES    1. Pure: the record alone decides. There is no clock, no random number.
 *          2. Numbers are exact decimals (core/decimal.h), text is compared by its bytes.
 *          3. A missing field is null, and null makes null of whatever is calculated with it;
 *             coalesce, if, is_null and exists look at it, and `and`, `or` know that
 *             `false and null` is false.
 *          4. What cannot be calculated (text times number, a division by zero, 1e20 and more) is an
 *             error with its reason and column, unless `try` catches it.
 * BOUNDS   EXPRESSION_BYTES_MAX of text, nested 64 deep; values that are made: EVAL_BYTES_MAX a
 *          record.
 * OWNS     results live in eval's memory or the event's, until the next eval_reset.
 * THREADS  immutable after it is compiled.
 * COST     no allocation after warm-up; a field that is only passed on is not converted.
 */
#pragma once

#include "stream/eval.h"
#include "stream/spec.h"

#define EXPRESSION_BYTES_MAX 4096

struct expression;
struct program_builder;
struct step_run;

/* Where the fields that a text names are found. */
struct expression_fields {
    /* The slot of a JSON Pointer; false with info: it cannot have one. */
    bool (*slot)(void *context, const char *pointer, uint16_t *ret, struct err_info *info);
    void *context;
};

void expression_free(struct expression *expression); /* NULL is a no-op */
/* NULL: info says "column 9: …". */
struct expression *expression_parse(struct strview text, const struct expression_fields *fields,
                                    struct err_info *info);
/* A string of the file; NULL after an error. */
struct expression *expression_compile(struct program_builder *builder, const struct spec *spec);

struct expression_input {
    struct eval *eval;
    const struct stream_value *slots;
    int64_t event_ms;
    struct strview key; /* the record's; ptr NULL: null */
};

/* ERR_FIELD_TYPE, ERR_NUMBER_RANGE, ERR_TIMESTAMP, ERR_LIMIT with info. *ret is never missing. */
MUST_CHECK enum err expression_run(const struct expression *expression,
                                   const struct expression_input *input, struct stream_value *ret,
                                   struct err_info *info);
/* The same for the record at hand; an error is in run's reason and info too. */
MUST_CHECK enum err expression_value(const struct expression *expression, struct step_run *run,
                                     struct stream_value *ret);
