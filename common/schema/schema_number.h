/* schema_number.h - JSON numbers compared exactly, from their digits. Private to this room.
 *
 * A number is seen as 0.D × 10^exponent with D its significant digits: no leading and no trailing
 * zero, none at all for zero. So `1.0`, `1` and `10e-1` are the same, and neither the size nor the
 * count of the digits is bounded or rounded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

struct number {
    struct strview digits; /* first to last significant digit; may have the point between them */
    int64_t exponent;
    bool is_negative;
};

/* text is a valid JSON number and must outlive the result. */
struct number number_read(struct strview text);
int number_compare(struct number a, struct number b); /* <0, 0, >0 */
bool number_is_integer(struct number number);

/* A divisor: mantissa × 10^exponent, the mantissa without zeros at its end. */
struct number_step {
    uint64_t mantissa;
    int64_t exponent;
};
/* false: not above zero, or with more than 19 digits (a schema's numbers have at most 17, or are
 * whole and below 2^63). */
MUST_CHECK bool number_step_read(struct number number, struct number_step *ret);
bool number_is_multiple(struct number number, struct number_step step);
