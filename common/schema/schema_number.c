#include "schema/schema_number.h"

#define EXPONENT_MAX    (INT64_C(1) << 58) /* past it an exponent is no longer counted exactly */
#define STEP_DIGITS_MAX 19
/* Factors of 2 and 5 in a mantissa below 2^64 are used up after so many times ten; then another zero
 * no longer changes whether it divides. */
#define ZEROS_MAX 128

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of an exponent's text, sign included, held within ±EXPONENT_MAX. */
static int64_t exponent_read(struct strview text)
{
    bool is_negative = text.ptr[0] == '-';
    int64_t value = 0;
    for (size_t i = !is_digit(text.ptr[0]); i < text.len; i++) {
        if (value < EXPONENT_MAX / 10) {
            value = value * 10 + (text.ptr[i] - '0');
        }
    }
    return is_negative ? -value : value;
}

/* Cuts the zeros and the point at both ends of a mantissa, whose point (or end) is at `point`. */
static void digits_trim(struct number *number, struct strview mantissa, size_t point)
{
    size_t first = 0;
    size_t end = mantissa.len;
    while (first < end && (mantissa.ptr[first] == '0' || mantissa.ptr[first] == '.')) {
        first++;
    }
    while (end > first && (mantissa.ptr[end - 1] == '0' || mantissa.ptr[end - 1] == '.')) {
        end--;
    }
    number->digits = (struct strview){mantissa.ptr + first, end - first};
    if (first == end) {
        number->exponent = 0;
        number->is_negative = false; /* -0 is 0 */
        return;
    }
    number->exponent += (int64_t)point - (int64_t)first + (first > point);
}

struct number number_read(struct strview text)
{
    struct number number = {.is_negative = text.ptr[0] == '-'};
    struct strview mantissa = {text.ptr + number.is_negative, 0};
    size_t rest = text.len - number.is_negative;
    size_t point = SIZE_MAX;
    while (mantissa.len < rest && (mantissa.ptr[mantissa.len] | 0x20) != 'e') {
        if (mantissa.ptr[mantissa.len] == '.') {
            point = mantissa.len;
        }
        mantissa.len++;
    }
    if (mantissa.len < rest) {
        size_t mark = mantissa.len + 1;
        number.exponent = exponent_read((struct strview){mantissa.ptr + mark, rest - mark});
    }
    digits_trim(&number, mantissa, point == SIZE_MAX ? mantissa.len : point);
    return number;
}

/* Digits as text, the point passed over; a shorter run is as if zeros followed. */
static int digits_compare(struct strview a, struct strview b)
{
    size_t i = 0;
    size_t j = 0;
    for (;;) {
        i += i < a.len && a.ptr[i] == '.';
        j += j < b.len && b.ptr[j] == '.';
        if (i == a.len || j == b.len) {
            return (i < a.len) - (j < b.len);
        }
        if (a.ptr[i] != b.ptr[j]) {
            return a.ptr[i] < b.ptr[j] ? -1 : 1;
        }
        i++;
        j++;
    }
}

static int magnitude_compare(struct number a, struct number b)
{
    if (a.digits.len == 0 || b.digits.len == 0) {
        return (a.digits.len > 0) - (b.digits.len > 0);
    }
    if (a.exponent != b.exponent) {
        return a.exponent < b.exponent ? -1 : 1;
    }
    return digits_compare(a.digits, b.digits);
}

int number_compare(struct number a, struct number b)
{
    if (a.is_negative != b.is_negative) {
        return a.is_negative ? -1 : 1;
    }
    return a.is_negative ? magnitude_compare(b, a) : magnitude_compare(a, b);
}

static int64_t digit_count(struct number number)
{
    return (int64_t)number.digits.len -
           (number.digits.len && memchr(number.digits.ptr, '.', number.digits.len));
}

bool number_is_integer(struct number number)
{
    return number.exponent >= digit_count(number);
}

/* The power of ten that the digits, read as a whole number, are to be multiplied by. */
static int64_t digits_exponent(struct number number)
{
    return number.exponent - digit_count(number);
}

bool number_step_read(struct number number, struct number_step *ret)
{
    if (number.is_negative || number.digits.len == 0 || digit_count(number) > STEP_DIGITS_MAX) {
        return false;
    }
    ret->mantissa = 0;
    for (size_t i = 0; i < number.digits.len; i++) {
        if (is_digit(number.digits.ptr[i])) {
            ret->mantissa = ret->mantissa * 10 + (unsigned)(number.digits.ptr[i] - '0');
        }
    }
    ret->exponent = digits_exponent(number);
    return true;
}

bool number_is_multiple(struct number number, struct number_step step)
{
    if (number.digits.len == 0) {
        return true;
    }
    int64_t zeros = digits_exponent(number) - step.exponent;
    if (zeros < 0) {
        return false; /* the digits do not end in a zero, a multiple's would */
    }
    __extension__ unsigned __int128 rest = 0;
    for (size_t i = 0; i < number.digits.len; i++) {
        if (is_digit(number.digits.ptr[i])) {
            rest = (rest * 10 + (unsigned)(number.digits.ptr[i] - '0')) % step.mantissa;
        }
    }
    for (int64_t i = 0; i < zeros && i < ZEROS_MAX; i++) {
        rest = rest * 10 % step.mantissa;
    }
    return rest == 0;
}
