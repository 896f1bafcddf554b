/* decimal.h - exact sums of JSON numbers.
 *
 * WHAT     a number in units of 1e-9 in 128 bits. Adding is exact and its order does not matter,
 *          so that a replay, a restore and a recount give the same digits; binary floats do not.
 * BOUNDS   |value| < 1e20 from text (ERR_NUMBER_RANGE past it); digits after the ninth are rounded
 *          half to even. 1.7e9 values of the largest size can be added before a sum overflows.
 * COST     parse about 10 ns for the usual amount.
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

struct decimal {
    __extension__ __int128 nano;
};

#define DECIMAL_TEXT_BYTES 48

/* text is one valid JSON number (sign, fraction and exponent allowed). */
MUST_CHECK enum err decimal_parse(struct strview text, struct decimal *ret);
/* ERR_NUMBER_RANGE on overflow, sum unchanged. */
MUST_CHECK enum err decimal_add(struct decimal *sum, struct decimal value);
struct decimal decimal_from_int(int64_t value);
/* Rounded half to even at the ninth digit; count > 0. */
struct decimal decimal_divide(struct decimal sum, int64_t count);
int decimal_compare(struct decimal a, struct decimal b); /* <0, 0, >0 */
/* A JSON number without exponent and without trailing zeros ("-12.5", "3"); returns its length. */
size_t decimal_format(struct decimal value, char text[DECIMAL_TEXT_BYTES]);
