/* decimal.h - exact sums of JSON numbers.
 *
 * WHAT     a number in units of 1e-9 in 128 bits. Adding is exact and its order does not matter,
 *          so that a replay, a restore and a recount give the same digits; binary floats do not.
 * BOUNDS   |value| < 1e20 from text (ERR_NUMBER_RANGE past it); digits after the ninth are rounded
 *          half to even. 1.7e9 values of the largest size can be added before a sum overflows.
 * COST     parse about 10 ns for the usual amount.
 */
#pragma once

#include <stdbool.h>
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

/* --- calculating: of values in range, |value| < 1e20, and what is not is told ------------------- */

#define DECIMAL_FRACTION_DIGITS 9

bool decimal_is_in_range(struct decimal value);
static inline struct decimal decimal_negate(struct decimal value)
{
    return (struct decimal){-value.nano};
}
/* Rounded half to even at the ninth digit; ERR_NUMBER_RANGE: the result is not in range. */
MUST_CHECK enum err decimal_multiply(struct decimal a, struct decimal b, struct decimal *ret);
/* b is not zero. */
MUST_CHECK enum err decimal_quotient(struct decimal a, struct decimal b, struct decimal *ret);
/* Exact, with the sign of a; b is not zero. */
struct decimal decimal_remainder(struct decimal a, struct decimal b);
enum decimal_rounding { DECIMAL_DOWN, DECIMAL_UP, DECIMAL_HALF_AWAY }; /* floor, ceiling, SQL's */
/* To `digits` behind the point, 0 … 9. */
struct decimal decimal_round(struct decimal value, int digits, enum decimal_rounding rounding);
/* The whole number, what is behind its point cut off; |value| is below 9.2e18. */
int64_t decimal_to_int(struct decimal value);
/* A JSON number without exponent and without trailing zeros ("-12.5", "3"); returns its length. */
size_t decimal_format(struct decimal value, char text[DECIMAL_TEXT_BYTES]);
