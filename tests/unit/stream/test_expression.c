/* Expressions: every function and operator, the rules for null and for errors, and what is refused. */
#include "expression_fixture.h"

#define EVENT                                                                                      \
    "{\"amount\":12.50,\"quantity\":3,\"name\":\"Ada\",\"city\":\"Stra\\u00dfe 7\",\"yes\":true,"  \
    "\"no\":false,\"nothing\":null,\"list\":[1,[2,3],\"a,]\\\"b\"],\"empty\":[ ],"                 \
    "\"address\":{\"city\":\"Köln\",\"a b\":[{\"x\":7}]},\"a-b\":5,\"huge\":1e30,\"id\":"          \
    "9223372036854775807,\"time\":\"2026-03-05T04:05:06.789Z\",\"long\":1.000000000000}"

static const struct {
    const char *expression, *result;
} ROWS[] = {
    /* fields and constants */
    {"amount", "12.50"}, /* as the event has it */
    {"long", "1.000000000000"},
    {"huge", "1e30"},
    {"city", "\"Stra\\u00dfe 7\""},
    {"address.city", "\"Köln\""},
    {"address['a b'][0].x", "7"},
    {"`/address/a b/0/x`", "7"},
    {"`/a-b`", "5"},
    {"`a-b`", "5"},
    {"address", "{\"city\":\"Köln\",\"a b\":[{\"x\":7}]}"},
    {"list[1]", "[2,3]"},
    {"missing", "null"},
    {"nothing", "null"},
    {"null", "null"},
    {"true", "true"},
    {"12.50", "12.5"},
    {"1e3", "1000"},
    {"'it''s'", "\"it's\""},
    {"\"a\\n\\\"b\\\\\"", "\"a\\n\\\"b\\\\\""},
    {"'a\"b'", "\"a\\\"b\""},
    {"''", "\"\""},
    /* arithmetic, exact */
    {"amount * quantity", "37.5"},
    {"0.1 + 0.2", "0.3"},
    {"1 - 2 - 3", "-4"},
    {"1 + 2 * 3", "7"},
    {"(1 + 2) * 3", "9"},
    {"2 * -3", "-6"},
    {"- - 3", "3"},
    {"7 / 2", "3.5"},
    {"1 / 3", "0.333333333"},
    {"2 / 3", "0.666666667"},
    {"-2 / 3", "-0.666666667"},
    {"8 / 4 / 2", "1"},
    {"7 % 3", "1"},
    {"-7 % 3", "-1"},
    {"7.5 % 0.2", "0.1"},
    {"id - 1", "9223372036854775806"},
    {"0.000000001 * 0.5", "0"},
    {"0.000000003 * 0.5", "0.000000002"},
    {"99999999999 * 999999999", "99999999899000000001"},
    {"1e19 * 10", "error: number-range: the result is 1e20 or more (column 6 of `1e19 * 10`)"},
    {"99999999999999999999 + 1", "error: number-range: the result is 1e20 or more"},
    {"1 / 0.000000001", "1000000000"},
    {"1e15 / 0.000000001", "error: number-range: the result is 1e20 or more"},
    {"amount / (quantity - 3)", "error: number-range: a division by zero (column 8 of "},
    {"5 % 0", "error: number-range: a division by zero"},
    {"huge + 1", "error: number-range: 1e30 is past what can be calculated with"},
    {"name + 1", "error: field-type: + is given a string where it needs a number (operand 1)"},
    {"1 + true", "error: field-type: + is given true or false where it needs a number (operand 2)"},
    {"1 + address", "error: field-type: + is given an object or an array"},
    {"abs(-2.5)", "2.5"},
    {"floor(-2.5)", "-3"},
    {"floor(2.9)", "2"},
    {"ceil(-2.5)", "-2"},
    {"ceil(2.1)", "3"},
    {"round(2.5)", "3"},
    {"round(-2.5)", "-3"},
    {"round(2.345, 2)", "2.35"},
    {"round(2.344999999, 2)", "2.34"},
    {"round(1.5, 9)", "1.5"},
    {"round(1.5, 10)", "error: number-range: round to 0 … 9 places"},
    {"round(1.5, 0.5)", "error: number-range: round to"},
    {"round(99999999999999999999.5)", "error: number-range"},
    {"least(3, amount, 7)", "3"},
    {"greatest(3, amount, 7)", "12.5"},
    /* comparing */
    {"amount == 12.5", "true"},
    {"amount != 12.5", "false"},
    {"name == 'Ada'", "true"},
    {"city == 'Straße 7'", "true"},
    {"name < 'B'", "true"},
    {"name >= 'Ada'", "true"},
    {"'a' < 'aa'", "true"},
    {"quantity <= 3", "true"},
    {"quantity > 3", "false"},
    {"quantity == '3'", "false"},
    {"quantity != '3'", "true"},
    {"yes == true", "true"},
    {"yes == no", "false"},
    {"quantity < '3'", "error: field-type: a number and a string are in no order"},
    {"yes < no", "error: field-type: true or false and true or false are in no order"},
    {"address == address", "error: field-type: objects and arrays cannot be compared"},
    {"name in ('Bob', 'Ada')", "true"},
    {"name in ('Bob', 3)", "false"},
    {"not name in ('Bob', 'Ada')", "false"},
    {"quantity in (1 + 2)", "true"},
    /* null */
    {"missing + 1", "null"},
    {"nothing * name", "null"},
    {"missing == null", "null"},
    {"missing == 1", "null"},
    {"1 < nothing", "null"},
    {"missing in (1, 2)", "null"},
    {"lower(missing)", "null"},
    {"concat('a', missing)", "null"},
    {"not missing", "null"},
    {"is_null(missing)", "true"},
    {"is_null(nothing)", "true"},
    {"is_null(0)", "false"},
    {"exists(missing)", "false"},
    {"exists(nothing)", "true"},
    {"exists(address.city)", "true"},
    {"exists(`/address/zip`)", "false"},
    {"coalesce(missing, nothing, 'x', 1 / 0)", "\"x\""},
    {"coalesce(missing)", "null"},
    {"coalesce(amount, 1)", "12.50"},
    {"nullif(quantity, 3)", "null"},
    {"nullif(quantity, 4)", "3"},
    {"nullif(missing, 4)", "null"},
    {"nullif(quantity, missing)", "3"},
    {"length(missing)", "null"},
    /* and, or, if: not all is evaluated */
    {"yes and no", "false"},
    {"yes or no", "true"},
    {"no and missing", "false"},
    {"missing and no", "false"},
    {"missing and yes", "null"},
    {"missing or yes", "true"},
    {"yes or missing", "true"},
    {"no or missing", "null"},
    {"missing or missing", "null"},
    {"no and 1 / 0 > 1", "false"},
    {"yes or 1 / 0 > 1", "true"},
    {"yes and name", "error: field-type: and is given a string where it needs true or false"},
    {"1 or yes", "error: field-type: or is given a number where it needs true or false"},
    {"not yes or yes", "true"},
    {"not (yes or yes)", "false"},
    {"!yes || yes && no", "false"},
    {"not quantity > 2", "false"},
    {"not 3", "error: field-type"},
    {"if(quantity > 2, 'many', 1 / 0)", "\"many\""},
    {"if(quantity > 3, 1 / 0, 'few')", "\"few\""},
    {"if(missing, 1, 2)", "2"},
    {"if(1, 1, 2)", "error: field-type: if is given a number where it needs true or false"},
    {"if(yes, if(no, 1, 2), 3) + 1", "3"},
    /* errors that are caught */
    {"try(1 / 0)", "null"},
    {"try(1 / 0, 7)", "7"},
    {"try(6 / 2, 7)", "3"},
    {"1 + try(2 + name * 3, 10) * 2", "21"},
    {"try(try(1 / 0, name + 1), 'x')", "\"x\""},
    {"try(number(name), 0) + try(number('5'), 0)", "5"},
    {"coalesce(try(1 / 0), try(2 / 0), 3)", "3"},
    {"try(1 / 0, 2 / 0)", "error: number-range: a division by zero (column 14 of "},
    /* text */
    {"concat(name, ' ', city)", "\"Ada Straße 7\""},
    {"concat(text(quantity), 'x')", "\"3x\""},
    {"concat(quantity, 'x')",
     "error: field-type: concat is given a number where it needs a string"},
    {"lower('ÄBC')", "\"Äbc\""},
    {"upper(name)", "\"ADA\""},
    {"trim('  a b\\t')", "\"a b\""},
    {"trim('  ')", "\"\""},
    {"length(city)", "8"},
    {"length('')", "0"},
    {"length(list)", "3"},
    {"length(empty)", "0"},
    {"length(address)", "2"},
    {"length(5)", "error: field-type"},
    {"substr(city, 5)", "\"e 7\""},
    {"substr(city, 0, 5)", "\"Straß\""},
    {"substr(city, -3, 2)", "\"e \""},
    {"substr(city, -99)", "\"Straße 7\""},
    {"substr(city, 99)", "\"\""},
    {"substr(city, 1, 0)", "\"\""},
    {"substr(city, 1, -1)", "\"\""},
    {"substr(city, 1e18)", "\"\""},
    {"substr(city, 0.5)", "error: field-type: a position or a length is a whole number"},
    {"replace('a.b.c', '.', '::')", "\"a::b::c\""},
    {"replace('a.b.', '.', '')", "\"ab\""},
    {"replace('aaa', 'aa', 'b')", "\"ba\""},
    {"replace('abc', '', 'x')", "\"abc\""},
    {"split_part('a/b//d', '/', 0)", "\"a\""},
    {"split_part('a/b//d', '/', 2)", "\"\""},
    {"split_part('a/b//d', '/', 3)", "\"d\""},
    {"split_part('a/b//d', '/', 4)", "null"},
    {"split_part('a', '', 0)", "error: field-type"},
    {"contains(city, 'ß')", "true"},
    {"contains(city, 'x')", "false"},
    {"contains('', '')", "true"},
    {"starts_with(city, 'Str')", "true"},
    {"starts_with('', 'x')", "false"},
    {"ends_with(city, ' 7')", "true"},
    {"ends_with(city, 'Straße 77')", "false"},
    {"matches(city, '^Stra.e [0-9]$')", "true"},
    {"matches(name, 'd') and not matches(name, 'x')", "true"},
    {"matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaX', '^(a|a?)+$')",
     "error: limit: the match"},
    {"concat('\\t', 'ü\\\\')", "\"\\tü\\\\\""},
    /* casts */
    {"text(amount)", "\"12.50\""},
    {"text(amount + 0)", "\"12.5\""},
    {"text(yes)", "\"true\""},
    {"text(list)", "\"[1,[2,3],\\\"a,]\\\\\\\"b\\\"]\""},
    {"number('12.50')", "12.5"},
    {"number('-1e3')", "-1000"},
    {"number(yes)", "1"},
    {"number('')", "error: field-type: '' is no number"},
    {"number('1,5')", "error: field-type: '1,5' is no number"},
    {"number('01')", "error: field-type: '01' is no number"},
    {"number('1e99')", "error: number-range"},
    {"number(list)", "error: field-type: an object or an array is no number"},
    {"int(amount)", "12"},
    {"int('-12.7')", "-12"},
    {"bool('true')", "true"},
    {"bool(0)", "false"},
    {"bool(quantity)", "true"},
    {"bool('yes')", "error: field-type: bool takes"},
    /* time */
    {"time(time)", "1772683506789"},
    {"time(1700000000)", "1700000000000"},
    {"time(1700000000.5)", "1700000000500"},
    {"time(1700000000123)", "1700000000123"},
    {"time('yesterday')", "error: timestamp: not an ISO 8601"},
    {"time(-1)", "error: timestamp: a time before 1970"},
    {"time(1e15)", "error: timestamp"},
    {"time(true)", "error: field-type"},
    {"iso8601(1700000000123)", "\"2023-11-14T22:13:20.123Z\""},
    {"iso8601(-1)", "error: timestamp"},
    {"date(time(time))", "\"2026-03-05\""},
    {"epoch_s(1700000000999)", "1700000000"},
    {"iso8601(truncate(time(time), 'second'))", "\"2026-03-05T04:05:06.000Z\""},
    {"iso8601(truncate(time(time), 'minute'))", "\"2026-03-05T04:05:00.000Z\""},
    {"iso8601(truncate(time(time), 'hour'))", "\"2026-03-05T04:00:00.000Z\""},
    {"iso8601(truncate(time(time), 'day'))", "\"2026-03-05T00:00:00.000Z\""},
    {"iso8601(truncate(time(time), 'week'))", "\"2026-03-02T00:00:00.000Z\""}, /* a Monday */
    {"iso8601(truncate(time(time), 'month'))", "\"2026-03-01T00:00:00.000Z\""},
    {"iso8601(truncate(time(time), 'year'))", "\"2026-01-01T00:00:00.000Z\""},
    {"truncate(0, 'week')", "0"},
    {"part(time(time), 'year')", "2026"},
    {"part(time(time), 'month')", "3"},
    {"part(time(time), 'day')", "5"},
    {"part(time(time), 'hour')", "4"},
    {"part(time(time), 'minute')", "5"},
    {"part(time(time), 'second')", "6"},
    {"part(time(time), 'weekday')", "4"}, /* a Thursday */
    {"part(time('2026-03-08T00:00:00Z'), 'weekday')", "7"},
    {"event_time()", "1700000000123"},
    {"key()", "\"the key\""},
    /* what is refused */
    {"", "refused: column 1: a value is needed, and here is the end"},
    {"amount *", "refused: column 9: a value is needed, and here is the end"},
    {"amount quantity", "refused: column 8: an operator is needed, not \"quantity\""},
    {"amount = 3", "refused: column 8: '=' means nothing here: equality is '=='"},
    {"(1 + 2", "refused: column 7: \")\" is needed, and here is the end"},
    {"1 + )", "refused: column 5: a value is needed, not \")\""},
    {"'ä' + lenght(name)",
     "refused: column 7: there is no function \"lenght\" (did you mean \"length\"?)"},
    {"fi(1, 2, 3)", "refused: column 1: there is no function \"fi\" (did you mean \"if\"?)"},
    {"length()", "refused: column 1: length takes at least 1 argument"},
    {"length(a, b)", "refused: column 1: length takes at most 1 arguments"},
    {"if(yes, 1)", "refused: column 10: \",\" and the other value is needed, not \")\""},
    {"'abc", "refused: column 1: a quote that is not closed"},
    {"'abc\\", "refused: column 1: a quote that is not closed"},
    {"'a\\q'", "refused: column 1: there is no such escape"},
    {"01", "refused: column 1: a number that cannot be read"},
    {"1.", "refused: column 1: a number that cannot be read"},
    {"1x", "refused: column 1: a number that cannot be read"},
    {"1e99", "refused: column 1: the number is out of range"},
    {"a # b", "refused: column 3: a character that means nothing here"},
    {"1 < 2 < 3", "refused: column 7: comparisons cannot be chained"},
    {"a.", "refused: column 3: a name is needed"},
    {"a[b]", "refused: column 3: an index or a name in quotes is needed"},
    {"``", "refused: column 1: a JSON Pointer"},
    {"`/a~2`", "refused: column 1: JSON Pointer \"/a~2\": '~' must"},
    {"exists(1)", "refused: column 8: a field is needed"},
    {"matches(name, city)", "refused: column 15: a pattern in quotes is needed"},
    {"matches(name, '(')", "refused: column 15: not a regular expression of ECMA-262"},
    {"truncate(1, 'hours')",
     "refused: column 13: a word in quotes like 'hour' is needed (did you mean 'hour'?)"},
    {"part(1, hour)", "refused: column 9: a word in quotes like 'day' is needed"},
    {"a in ()", "refused: column 7: a value is needed, not \")\""},
    {"in list(1, 2)", "refused"},
};

static void test_expression__table(void **state)
{
    (void)state;
    struct expression_fixture f;
    expression_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        const char *result = expression_of(&f, ROWS[i].expression, EVENT);
        bool is_message =
            strncmp(ROWS[i].result, "error", 5) == 0 || strncmp(ROWS[i].result, "refused", 7) == 0;
        bool is_right = is_message ? strncmp(result, ROWS[i].result, strlen(ROWS[i].result)) == 0
                                   : strcmp(result, ROWS[i].result) == 0;
        if (!is_right) {
            fail_msg("%s\n  expected %s\n  got      %s", ROWS[i].expression, ROWS[i].result,
                     result);
        }
    }
    expression_stop(&f);
}

/* Nesting, length and size end with a reason, not with the stack or the memory. */
static void test_expression__limits(void **state)
{
    (void)state;
    struct expression_fixture f;
    expression_start(&f);
    static char text[8192];
    static const char *const opens[] = {"(", "-", "not ", "abs(", "if(", "try("};
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        text[0] = '\0';
        size_t len = 0;
        for (int n = 0; n < 500; n++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", opens[i]);
        }
        assert_non_null(strstr(expression_of(&f, text, "{}"), "nested"));
    }
    memset(text, ' ', sizeof text - 1);
    assert_string_equal("refused: an expression has at most 4096 bytes",
                        expression_of(&f, text, "{}"));
    /* 16 doublings of 4 KiB are past what a record may make. */
    size_t len = 0;
    for (int n = 0; n < 14; n++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "replace(");
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "'aaaaaaaaaa'");
    for (int n = 0; n < 14; n++) {
        len += (size_t)snprintf(text + len, sizeof text - len, ", 'a', 'aaaaaaaa')");
    }
    assert_string_equal("error: limit: the strings are too long (column",
                        (expression_of(&f, text, "{}"), f.result[46] = '\0', f.result));
    expression_stop(&f);
}

/* The longest sum that fits: code and stack hold it. */
static void test_expression__many_operations(void **state)
{
    (void)state;
    struct expression_fixture f;
    expression_start(&f);
    static char text[4200];
    size_t len = (size_t)snprintf(text, sizeof text, "1");
    for (int n = 1; n < 500; n++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "+1");
    }
    assert_string_equal("500", expression_of(&f, text, "{}"));
    for (int n = 0; n < 200; n++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "+1");
    }
    assert_string_equal("refused: column 1025: more than 512 constants",
                        expression_of(&f, text, "{}"));
    expression_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expression__table),
        cmocka_unit_test(test_expression__limits),
        cmocka_unit_test(test_expression__many_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
