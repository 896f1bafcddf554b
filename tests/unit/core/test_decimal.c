#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/decimal.h"

/* Two of these overflow. */
#define HUGE_SUM {.nano = (__extension__(__int128) 1) << 126}

static void assert_parses(const char *label, const char *text, const char *expected)
{
    struct decimal value;
    char out[DECIMAL_TEXT_BYTES];
    if (decimal_parse(sv(text), &value)) {
        fail_msg("%s: %s was refused", label, text);
    }
    (void)decimal_format(value, out);
    if (strcmp(out, expected) != 0) {
        fail_msg("%s: %s became %s, expected %s", label, text, out, expected);
    }
}

static void test_decimal_parse__json_numbers__are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *label, *text, *expected;
    } rows[] = {
        {"zero", "0", "0"},
        {"negative zero", "-0", "0"},
        {"integer", "42", "42"},
        {"amount", "123.45", "123.45"},
        {"negative", "-0.01", "-0.01"},
        {"trailing zeros go", "10.500", "10.5"},
        {"nine digits", "999999999", "999999999"},
        {"ten digits", "9999992999", "9999992999"},
        {"ten digits, negative", "-9223372037", "-9223372037"},
        {"nine digits and a point", "99999999.9", "99999999.9"},
        {"nine digits", "0.123456789", "0.123456789"},
        {"exponent", "1.5e3", "1500"},
        {"negative exponent", "15E-1", "1.5"},
        {"many leading zeros", "0.000000001", "0.000000001"},
        {"tie to even, down", "0.0000000005", "0"},
        {"tie to even, up", "0.0000000015", "0.000000002"},
        {"above a tie", "0.00000000050000000000000000000000001", "0.000000001"},
        {"far below a unit", "1e-400", "0"},
        {"zero with a huge exponent", "0e99999", "0"},
        {"largest", "99999999999999999999.999999999", "99999999999999999999.999999999"},
        {"long fraction", "3.14159265358979323846264338327950288", "3.141592654"},
        {"binary floats cannot", "9007199254740993.01", "9007199254740993.01"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_parses(rows[i].label, rows[i].text, rows[i].expected);
    }
}

static void test_decimal_parse__too_large__is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"100000000000000000000", "1e20", "-1e400", "1e99999",
                                        "999999999999999999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct decimal value;
        assert_err(ERR_NUMBER_RANGE, decimal_parse(sv(texts[i]), &value));
    }
}

static void test_decimal_add__any_order__same_sum(void **state)
{
    (void)state;
    srand(7);
    struct decimal forward = {0}, backward = {0}, values[1000];
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "%d.%02d", rand() % 100000, rand() % 100);
        assert_err(ERR_OK, decimal_parse(sv(text), &values[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_err(ERR_OK, decimal_add(&forward, values[i]));
        assert_err(ERR_OK, decimal_add(&backward, values[ARRAY_LEN(values) - 1 - i]));
    }
    assert_int_equal(0, decimal_compare(forward, backward));
}

static void test_decimal_add__overflow__leaves_the_sum(void **state)
{
    (void)state;
    struct decimal sum = HUGE_SUM, before = sum;
    assert_err(ERR_NUMBER_RANGE, decimal_add(&sum, (struct decimal)HUGE_SUM));
    assert_int_equal(0, decimal_compare(sum, before));
}

static void test_decimal_divide__rounds_half_to_even(void **state)
{
    (void)state;
    static const struct {
        const char *sum;
        int64_t count;
        const char *expected;
    } rows[] = {{"10", 4, "2.5"},        {"1", 3, "0.333333333"},
                {"2", 3, "0.666666667"}, {"-2", 3, "-0.666666667"},
                {"0.000000001", 2, "0"}, {"0.000000003", 2, "0.000000002"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decimal sum;
        char text[DECIMAL_TEXT_BYTES];
        assert_err(ERR_OK, decimal_parse(sv(rows[i].sum), &sum));
        (void)decimal_format(decimal_divide(sum, rows[i].count), text);
        assert_string_equal(rows[i].expected, text);
    }
}

/* --- calculating --------------------------------------------------------------------------------*/

static struct decimal number(const char *text)
{
    struct decimal value;
    assert_err(ERR_OK, decimal_parse(sv(text), &value));
    return value;
}

static void test_decimal_multiply_quotient__are_exact_to_nine_digits(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *product, *quotient; /* NULL: out of range */
    } rows[] = {
        {"3", "4", "12", "0.75"},
        {"12.5", "-0.2", "-2.5", "-62.5"},
        {"0", "-7", "0", "0"},
        {"0.000000001", "0.5", "0", "0.000000002"}, /* a tie, to even */
        {"0.000000003", "0.5", "0.000000002", "0.000000006"},
        {"-0.000000003", "0.5", "-0.000000002", "-0.000000006"},
        {"1", "3", "3", "0.333333333"},
        {"2", "3", "6", "0.666666667"},
        {"99999999999999999999.999999999", "1", "99999999999999999999.999999999",
         "99999999999999999999.999999999"},
        {"99999999999999999999.999999999", "0.999999999", "99999999899999999999.999999999", NULL},
        {"10000000000", "10000000000", NULL, "1"},
        {"99999999999999999999.999999999", "-99999999999999999999.999999999", NULL, "-1"},
        {"99999999999999999999.999999999", "0.000000001", "100000000000", NULL},
        {"123456789.123456789", "987654321.987654321", "121932631356500531.347203169",
         "0.124999999"},
    };
    char out[DECIMAL_TEXT_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decimal a = number(rows[i].a), b = number(rows[i].b), value = {0};
        const char *wanted[] = {rows[i].product, rows[i].quotient};
        for (size_t k = 0; k < 2; k++) {
            enum err e = k ? decimal_quotient(a, b, &value) : decimal_multiply(a, b, &value);
            (void)decimal_format(value, out);
            if (!e != (wanted[k] != NULL) || (wanted[k] && strcmp(out, wanted[k]) != 0)) {
                fail_msg("%s %s %s is %s, not %s", rows[i].a, k ? "/" : "*", rows[i].b,
                         e ? "out of range" : out, wanted[k] ? wanted[k] : "out of range");
            }
        }
    }
}

static void test_decimal_remainder__has_the_sign_of_the_first(void **state)
{
    (void)state;
    static const char *const rows[][3] = {{"7", "3", "1"},  {"-7", "3", "-1"},
                                          {"7", "-3", "1"}, {"7.5", "0.2", "0.1"},
                                          {"6", "3", "0"},  {"0.1", "7", "0.1"}};
    char out[DECIMAL_TEXT_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)decimal_format(decimal_remainder(number(rows[i][0]), number(rows[i][1])), out);
        assert_string_equal(rows[i][2], out);
    }
}

static void test_decimal_round__each_way(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int digits;
        const char *down, *up, *half_away;
    } rows[] = {
        {"2.5", 0, "2", "3", "3"},
        {"-2.5", 0, "-3", "-2", "-3"},
        {"2.4", 0, "2", "3", "2"},
        {"-2.4", 0, "-3", "-2", "-2"},
        {"7", 0, "7", "7", "7"},
        {"0", 0, "0", "0", "0"},
        {"2.345", 2, "2.34", "2.35", "2.35"},
        {"-0.0001", 3, "-0.001", "0", "0"},
        {"1.000000001", 9, "1.000000001", "1.000000001", "1.000000001"},
        {"0.5", 0, "0", "1", "1"},
    };
    char out[DECIMAL_TEXT_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *wanted[] = {rows[i].down, rows[i].up, rows[i].half_away};
        for (int way = DECIMAL_DOWN; way <= DECIMAL_HALF_AWAY; way++) {
            (void)decimal_format(
                decimal_round(number(rows[i].value), rows[i].digits, (enum decimal_rounding)way),
                out);
            assert_string_equal(wanted[way], out);
        }
    }
    assert_int_equal(-7, decimal_to_int(number("-7.9")));
    assert_int_equal(INT64_MAX, decimal_to_int(number("9223372036854775807.5")));
    assert_true(decimal_is_in_range(number("-99999999999999999999.999999999")));
    assert_false(decimal_is_in_range((struct decimal)HUGE_SUM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimal_parse__json_numbers__are_exact),
        cmocka_unit_test(test_decimal_parse__too_large__is_refused),
        cmocka_unit_test(test_decimal_add__any_order__same_sum),
        cmocka_unit_test(test_decimal_add__overflow__leaves_the_sum),
        cmocka_unit_test(test_decimal_divide__rounds_half_to_even),
        cmocka_unit_test(test_decimal_multiply_quotient__are_exact_to_nine_digits),
        cmocka_unit_test(test_decimal_remainder__has_the_sign_of_the_first),
        cmocka_unit_test(test_decimal_round__each_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
