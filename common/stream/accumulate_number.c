/* Accumulators of numbers: sum, min, max, and the squares that variance is made of. All exact. */
#include "stream/accumulator.h"

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

#define INT128_LIMIT (~(uint128)0 >> 1)

static uint128 magnitude(int128 value)
{
    return value < 0 ? -(uint128)value : (uint128)value;
}

static enum err sum_overflows(const struct accumulate *a, struct err_info *info)
{
    return err_set(info, ERR_NUMBER_RANGE, "the sum of %s would overflow", accumulate_field(a));
}

/* Where states are merged later, each keeps to its share: their sum cannot overflow then. */
static enum err sum_prepare(const struct accumulate *a, const struct aggregate_event *event,
                            size_t *more, struct err_info *info)
{
    (void)more;
    struct decimal sum = accumulate_number(a);
    int64_t parts = a->aggregate->parts_max;
    if (decimal_add(&sum, accumulate_input(a, event)->number) ||
        (parts > 1 && magnitude(sum.nano) > INT128_LIMIT / (uint128)parts)) {
        return sum_overflows(a, info);
    }
    return ERR_OK;
}

static enum err sum_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                  size_t *more, struct err_info *info)
{
    (void)more;
    struct decimal sum = *(const struct decimal *)accumulate_fixed(a);
    return decimal_add(&sum, accumulate_number(from)) ? sum_overflows(a, info) : ERR_OK;
}

/* What was prepared, or was there before, cannot overflow. */
static void sum_take(const struct accumulate *a, int128 nano)
{
    ((struct decimal *)accumulate_fixed(a))->nano += nano;
}

static void sum_add(const struct accumulate *a, const struct aggregate_event *event)
{
    sum_take(a, accumulate_input(a, event)->number.nano);
}

static void sum_subtract(const struct accumulate *a, const struct aggregate_event *event)
{
    sum_take(a, -accumulate_input(a, event)->number.nano);
}

static void sum_merge(const struct accumulate *a, const struct accumulate *from)
{
    sum_take(a, accumulate_number(from).nano);
}

struct decimal accumulate_number(const struct accumulate *a)
{
    return *(const struct decimal *)accumulate_fixed(a);
}

static void extreme_take(const struct accumulate *a, struct decimal value, int sign)
{
    struct decimal *kept = accumulate_fixed(a);
    if (a->totals->count == 0 || decimal_compare(value, *kept) * sign > 0) {
        *kept = value;
    }
}

static void min_add(const struct accumulate *a, const struct aggregate_event *event)
{
    extreme_take(a, accumulate_input(a, event)->number, -1);
}

static void min_merge(const struct accumulate *a, const struct accumulate *from)
{
    extreme_take(a, accumulate_number(from), -1);
}

static void max_add(const struct accumulate *a, const struct aggregate_event *event)
{
    extreme_take(a, accumulate_input(a, event)->number, 1);
}

static void max_merge(const struct accumulate *a, const struct accumulate *from)
{
    extreme_take(a, accumulate_number(from), 1);
}

/* --- squares ------------------------------------------------------------------------------------*/

/* Values are below 2^97 billionths, squares below 2^194: 2^62 of them fit into 256 bits, so that the
 * sum of squares is exact, and with it the difference that a variance is: nothing cancels out, as it
 * does in floating point. Least limb first. */
#define LIMBS      4
#define WIDE_LIMBS 6 /* count × sum of squares, and the square of a sum */

struct squares {
    struct decimal sum;
    uint64_t limbs[LIMBS];
};

/* wide += a × b, both of 128 bits. */
static void wide_add_product(uint64_t *wide, size_t limbs, uint128 a, uint128 b)
{
    const uint64_t x[2] = {(uint64_t)a, (uint64_t)(a >> 64)};
    const uint64_t y[2] = {(uint64_t)b, (uint64_t)(b >> 64)};
    for (size_t i = 0; i < 4; i++) {
        uint128 product = (uint128)x[i & 1] * y[i >> 1];
        size_t at = (i & 1) + (i >> 1);
        uint128 carry = (uint128)wide[at] + (uint64_t)product;
        wide[at] = (uint64_t)carry;
        carry = (carry >> 64) + (uint64_t)(product >> 64);
        for (at++; carry && at < limbs; at++) {
            carry += wide[at];
            wide[at] = (uint64_t)carry;
            carry >>= 64;
        }
    }
}

/* to ± from; what is carried out of the last limb is lost, which two's complement allows. */
static void wide_add(uint64_t *to, const uint64_t *from, size_t limbs)
{
    uint128 carry = 0;
    for (size_t i = 0; i < limbs; i++) {
        carry += (uint128)to[i] + from[i];
        to[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void wide_subtract(uint64_t *to, const uint64_t *from, size_t limbs)
{
    uint64_t borrow = 0;
    for (size_t i = 0; i < limbs; i++) {
        uint128 taken = (uint128)to[i] - from[i] - borrow;
        to[i] = (uint64_t)taken;
        borrow = (uint64_t)(taken >> 64) != 0;
    }
}

static double wide_to_double(const uint64_t *wide, size_t limbs)
{
    double value = 0;
    for (size_t i = limbs; i > 0; i--) {
        value = value * 18446744073709551616.0 + (double)wide[i - 1];
    }
    return value;
}

static void squares_add(const struct accumulate *a, const struct aggregate_event *event)
{
    struct squares *squares = accumulate_fixed(a);
    uint128 value = magnitude(accumulate_input(a, event)->number.nano);
    sum_add(a, event); /* the sum comes first in it */
    wide_add_product(squares->limbs, LIMBS, value, value);
}

static void squares_subtract(const struct accumulate *a, const struct aggregate_event *event)
{
    struct squares *squares = accumulate_fixed(a);
    uint128 value = magnitude(accumulate_input(a, event)->number.nano);
    uint64_t square[LIMBS] = {0};
    sum_subtract(a, event);
    wide_add_product(square, LIMBS, value, value);
    wide_subtract(squares->limbs, square, LIMBS);
}

static void squares_merge(const struct accumulate *a, const struct accumulate *from)
{
    struct squares *squares = accumulate_fixed(a);
    const struct squares *others = accumulate_fixed(from);
    sum_merge(a, from);
    wide_add(squares->limbs, others->limbs, LIMBS);
}

bool accumulate_variance(const struct accumulate *a, bool is_sample, double *ret)
{
    const struct squares *squares = accumulate_fixed(a);
    int64_t count = a->totals->count, divisor = count - is_sample;
    if (divisor <= 0) {
        return false;
    }
    /* (n Σx² − (Σx)²) / (n × divisor), the difference exact */
    uint64_t wide[WIDE_LIMBS] = {0}, square[WIDE_LIMBS] = {0};
    uint128 sum = magnitude(squares->sum.nano);
    for (size_t i = 0; i < LIMBS; i++) {
        wide_add_product(wide + i, WIDE_LIMBS - i, (uint128)squares->limbs[i], (uint128)count);
    }
    wide_add_product(square, WIDE_LIMBS, sum, sum);
    wide_subtract(wide, square, WIDE_LIMBS);
    *ret = wide_to_double(wide, WIDE_LIMBS) / 1e18 / (double)count / (double)divisor;
    return true;
}

/* --- the kinds ----------------------------------------------------------------------------------*/

const struct accumulator_kind accumulate_sum = {
    .name = "sum",
    .fixed_bytes = sizeof(struct decimal),
    .can_truncate = true,
    .form = INPUT_NUMBER,
    .prepare = sum_prepare,
    .add = sum_add,
    .subtract = sum_subtract,
    .prepare_merge = sum_prepare_merge,
    .merge = sum_merge,
};

const struct accumulator_kind accumulate_min = {
    .name = "min",
    .fixed_bytes = sizeof(struct decimal),
    .can_truncate = true,
    .form = INPUT_NUMBER,
    .add = min_add,
    .merge = min_merge,
};

const struct accumulator_kind accumulate_max = {
    .name = "max",
    .fixed_bytes = sizeof(struct decimal),
    .can_truncate = true,
    .form = INPUT_NUMBER,
    .add = max_add,
    .merge = max_merge,
};

const struct accumulator_kind accumulate_squares = {
    .name = "squares",
    .fixed_bytes = sizeof(struct squares),
    .can_truncate = true,
    .form = INPUT_NUMBER,
    .prepare = sum_prepare,
    .add = squares_add,
    .subtract = squares_subtract,
    .prepare_merge = sum_prepare_merge,
    .merge = squares_merge,
};
