#include "core/decimal.h"

#include "core/attributes.h"

#define NANO            1000000000LL
#define FRACTION_DIGITS DECIMAL_FRACTION_DIGITS

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

/* |value| < 1e20, in nano. */
static const uint128 LIMIT = (uint128)100000000000ULL * 1000000000ULL * 1000000000ULL;

/* The digits of a number text, and where its point is. */
struct digits {
    uint128 value; /* kept digits as an integer */
    int exponent;  /* value × 10^exponent */
    bool is_negative;
    bool has_rest; /* non-zero digits were left off behind the kept ones */
};

#define DIGITS_KEPT 30 /* 1e20 with nine more, and one to round by */

static void digits_take(struct digits *digits, const char **at, const char *end, bool is_fraction,
                        int *kept)
{
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
        unsigned digit = (unsigned)(**at - '0');
        if (*kept >= DIGITS_KEPT) {
            digits->has_rest |= digit != 0;
            digits->exponent += !is_fraction;
            continue;
        }
        digits->value = digits->value * 10 + digit;
        digits->exponent -= is_fraction;
        *kept += digits->value != 0; /* leading zeros do not count */
    }
}

/* The text is a valid JSON number, so that only its parts need to be told apart. */
static struct digits digits_read(struct strview text)
{
    const char *at = text.ptr, *end = text.ptr + text.len;
    struct digits digits = {.is_negative = at < end && *at == '-'};
    at += digits.is_negative;
    int kept = 0;
    digits_take(&digits, &at, end, false, &kept);
    if (at < end && *at == '.') {
        at++;
        digits_take(&digits, &at, end, true, &kept);
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        bool is_negative = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        int exponent = 0;
        for (; at < end && exponent < 100000; at++) {
            exponent = exponent * 10 + (*at - '0');
        }
        digits.exponent += is_negative ? -exponent : exponent;
    }
    return digits;
}

/* value / divisor, rounded half to even; has_rest says that value was cut short. */
static uint128 divide_half_even(uint128 value, uint128 divisor, bool has_rest)
{
    uint128 quotient = value / divisor;
    uint128 twice = (value % divisor) * 2;
    if (twice > divisor || (twice == divisor && (has_rest || (quotient & 1)))) {
        quotient++;
    }
    return quotient;
}

/* Brings the digits to units of 1e-9; false when too large. */
static bool scale_to_nano(const struct digits *digits, uint128 *ret)
{
    int shift = digits->exponent + FRACTION_DIGITS;
    uint128 value = digits->value;
    for (; shift > 0 && value; shift--) {
        if (value >= LIMIT / 10 + 1) {
            return false;
        }
        value *= 10;
    }
    if (shift < 0) {
        uint128 divisor = 1;
        if (shift < -DIGITS_KEPT - 1) {
            value = 0; /* below half a unit whatever its digits */
        }
        for (; shift < 0 && value; shift++) {
            divisor *= 10;
        }
        value = divide_half_even(value, divisor, digits->has_rest);
    }
    *ret = value;
    return value < LIMIT;
}

/* The usual amount, "123.45": at most 18 digits in all, at most nine behind the point, no exponent. */
static bool parse_short(struct strview text, int64_t *ret_nano)
{
    static const int64_t powers[] = {1000000000, 100000000, 10000000, 1000000, 100000,
                                     10000,      1000,      100,      10,      1};
    const char *at = text.ptr, *end = text.ptr + text.len;
    bool is_negative = at < end && *at == '-';
    at += is_negative;
    if (end - at > 10) {
        return false; /* nine digits and a point cannot overflow 64 bits in nano … */
    }
    int64_t value = 0;
    const char *point = NULL;
    for (; at < end; at++) {
        if (*at == '.') {
            point = at + 1;
        } else if (*at >= '0' && *at <= '9') {
            value = value * 10 + (*at - '0');
        } else {
            return false;
        }
    }
    if (!point && value >= NANO) {
        return false; /* … but ten digits can */
    }
    value *= powers[point ? end - point : 0];
    *ret_nano = is_negative ? -value : value;
    return true;
}

enum err decimal_parse(struct strview text, struct decimal *ret)
{
    int64_t nano;
    if (parse_short(text, &nano)) {
        ret->nano = nano;
        return ERR_OK;
    }
    struct digits digits = digits_read(text);
    uint128 value;
    if (!scale_to_nano(&digits, &value)) {
        return ERR_NUMBER_RANGE;
    }
    ret->nano = digits.is_negative ? -(int128)value : (int128)value;
    return ERR_OK;
}

enum err decimal_add(struct decimal *sum, struct decimal value)
{
    int128 total;
    if (__builtin_add_overflow(sum->nano, value.nano, &total)) {
        return ERR_NUMBER_RANGE;
    }
    sum->nano = total;
    return ERR_OK;
}

struct decimal decimal_from_int(int64_t value)
{
    return (struct decimal){(int128)value * NANO};
}

struct decimal decimal_divide(struct decimal sum, int64_t count)
{
    CHECK(count > 0);
    bool is_negative = sum.nano < 0;
    uint128 magnitude = is_negative ? -(uint128)sum.nano : (uint128)sum.nano;
    int128 quotient = (int128)divide_half_even(magnitude, (uint128)count, false);
    return (struct decimal){is_negative ? -quotient : quotient};
}

int decimal_compare(struct decimal a, struct decimal b)
{
    return (a.nano > b.nano) - (a.nano < b.nano);
}

/* --- calculating --------------------------------------------------------------------------------*/

static uint128 magnitude_of(struct decimal value)
{
    return value.nano < 0 ? -(uint128)value.nano : (uint128)value.nano;
}

static enum err in_range(uint128 magnitude, bool is_negative, struct decimal *ret)
{
    if (magnitude >= LIMIT) {
        return ERR_NUMBER_RANGE;
    }
    ret->nano = is_negative ? -(int128)magnitude : (int128)magnitude;
    return ERR_OK;
}

bool decimal_is_in_range(struct decimal value)
{
    return magnitude_of(value) < LIMIT;
}

/* a × b is the whole part of a times b, which is in nano already, and the rest of a times b, which is
 * to be divided: 1e9 × 1e29 fits. */
enum err decimal_multiply(struct decimal a, struct decimal b, struct decimal *ret)
{
    CHECK(decimal_is_in_range(a));
    CHECK(decimal_is_in_range(b));
    uint128 left = magnitude_of(a), right = magnitude_of(b), product;
    if (__builtin_mul_overflow(left / NANO, right, &product) || product >= LIMIT) {
        return ERR_NUMBER_RANGE;
    }
    uint128 rest = left % NANO * right;
    product += rest / NANO;
    uint128 twice = rest % NANO * 2;
    product += twice > NANO || (twice == NANO && (product & 1));
    return in_range(product, (a.nano < 0) != (b.nano < 0), ret);
}

enum err decimal_quotient(struct decimal a, struct decimal b, struct decimal *ret)
{
    CHECK(b.nano != 0);
    CHECK(decimal_is_in_range(a));
    uint128 quotient = divide_half_even(magnitude_of(a) * NANO, magnitude_of(b), false);
    return in_range(quotient, (a.nano < 0) != (b.nano < 0), ret);
}

struct decimal decimal_remainder(struct decimal a, struct decimal b)
{
    CHECK(b.nano != 0);
    return (struct decimal){a.nano % b.nano};
}

struct decimal decimal_round(struct decimal value, int digits, enum decimal_rounding rounding)
{
    CHECK(digits >= 0 && digits <= FRACTION_DIGITS);
    int128 unit = NANO;
    for (int i = 0; i < digits; i++) {
        unit /= 10;
    }
    int128 rest = value.nano % unit; /* with the value's sign */
    bool goes_up = false;            /* away from zero */
    switch (rounding) {
    case DECIMAL_DOWN:
        goes_up = rest < 0;
        break;
    case DECIMAL_UP:
        goes_up = rest > 0;
        break;
    case DECIMAL_HALF_AWAY:
        goes_up = (rest < 0 ? -rest : rest) * 2 >= unit && rest != 0;
        break;
    }
    int128 away = value.nano < 0 ? -unit : unit;
    return (struct decimal){value.nano - rest + (goes_up ? away : 0)};
}

int64_t decimal_to_int(struct decimal value)
{
    int128 whole = value.nano / NANO;
    CHECK(whole >= INT64_MIN && whole <= INT64_MAX);
    return (int64_t)whole;
}

/* --- as text ------------------------------------------------------------------------------------*/

#define CHUNK_DIGITS 18
#define CHUNK        1000000000000000000ULL /* what 64 bits divide quickly */

/* Digits of a magnitude, last one first; at least one more than the fraction has. */
static size_t digits_reversed(uint128 magnitude, char reversed[3 * CHUNK_DIGITS])
{
    size_t count = 0;
    while (magnitude > 0 || count <= FRACTION_DIGITS) {
        uint64_t chunk = (uint64_t)(magnitude % CHUNK);
        magnitude /= CHUNK;
        for (int i = 0; i < CHUNK_DIGITS; i++, chunk /= 10) {
            reversed[count++] = (char)('0' + (int)(chunk % 10));
        }
    }
    while (count > FRACTION_DIGITS + 1 && reversed[count - 1] == '0') {
        count--;
    }
    return count;
}

size_t decimal_format(struct decimal value, char text[DECIMAL_TEXT_BYTES])
{
    char reversed[3 * CHUNK_DIGITS];
    bool is_negative = value.nano < 0;
    size_t count =
        digits_reversed(is_negative ? -(uint128)value.nano : (uint128)value.nano, reversed);
    size_t rest = 0; /* trailing zeros of the fraction are not written */
    while (rest < FRACTION_DIGITS && reversed[rest] == '0') {
        rest++;
    }
    size_t length = 0;
    if (is_negative) {
        text[length++] = '-';
    }
    for (size_t at = count; at > rest; at--) {
        if (at == FRACTION_DIGITS) {
            text[length++] = '.';
        }
        text[length++] = reversed[at - 1];
    }
    text[length] = '\0';
    return length;
}
