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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimal_parse__json_numbers__are_exact),
        cmocka_unit_test(test_decimal_parse__too_large__is_refused),
        cmocka_unit_test(test_decimal_add__any_order__same_sum),
        cmocka_unit_test(test_decimal_add__overflow__leaves_the_sum),
        cmocka_unit_test(test_decimal_divide__rounds_half_to_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
