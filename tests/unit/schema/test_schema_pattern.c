#include "test.h"

#include "schema/schema_pattern.h"

static struct pattern_runner *runner;

static int setup(void **state)
{
    (void)state;
    runner = pattern_runner_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pattern_runner_free(runner);
    return 0;
}

static enum pattern_result run(const struct pattern *pattern, const char *text)
{
    uint32_t long_runs = PATTERN_LONG_RUNS_MAX;
    return pattern_run(pattern, runner, sv(text), &long_runs);
}

static void test_pattern_run__is_ecma_262(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        bool is_match;
    } rows[] = {
        {"", "", true},
        {"b", "abc", true}, /* not anchored */
        {"^b", "abc", false},
        {"^abc$", "abc", true},
        {"^abc$", "abc\n", false},
        {"^$", "", true},
        {"^a.c$", "a\nc", false},
        {"^a.c$", "a\rc", false},
        {"^a.c$",
         "a\xe2\x80\xa8"
         "c",
         false},
        {"^a.c$",
         "a\xc2\x85"
         "c",
         true}, /* NEL ends no line in ECMA-262 */
        {"^a.c$",
         "a\xf0\x9f\x98\x80"
         "c",
         true},
        {"^\\d$", "7", true},
        {"^\\d$", "\xe0\xa7\xa7", false}, /* Bengali */
        {"^\\D$", "\xe0\xa7\xa7", true},
        {"^\\w$", "\xc3\xa9", false},
        {"^\\W$", "\xc3\xa9", true},
        {"^\\s$", "\xc2\xa0", true},
        {"^\\s$", "\xef\xbb\xbf", true},
        {"^\\s$", "\xe1\xa0\x8e", false},
        {"^\\S$", "\xe3\x80\x80", false},
        {"^[\\s]$", "\x0b", true},
        {"^[^\\s]$", "\xe2\x80\xaf", false},
        {"^[\\S]$", " ", false},
        {"^[\\S]$", "\xf0\x9f\x98\x80", true},
        {"^[\\s-x]$", "-", true},
        {"^\\v$", "\x0b", true},
        {"^\\v$", "\n", false},
        {"^\\cJ$", "\n", true},
        {"^\\x41\\u0042\\u{43}$", "ABC", true},
        {"^\\ud83d\\ude00$", "\xf0\x9f\x98\x80", true},
        {"^[\\u{1f600}-\\u{1f64f}]$", "\xf0\x9f\x98\x80", true},
        {"^\\p{Letter}+$",
         "\xc3\xa9"
         "a",
         true},
        {"^\\p{Script=Greek}$", "\xce\xb1", true},
        {"^\\p{sc=Greek}$", "a", false},
        {"^\\P{gc=Decimal_Number}$", "1", false},
        {"^(a)?b\\1$", "b", true}, /* a group that is not set matches nothing */
        {"^(?<x>a|b)\\k<x>$", "bb", true},
        {"^(?<x>a|b)\\k<x>$", "ab", false},
        {"^(?=ab)a(?!c)", "ab", true},
        {"(?<=a)b(?<!xb)$", "ab", true},
        {"^[]$", "a", false},
        {"^[^]$", "\n", true},
        {"^[[:alpha:]]$", ":]", true}, /* a class and a bracket, no POSIX name */
        {"^a{2}$", "aa", true},
        {"^a{,2}$", "a{,2}", true},
        {"^{}$", "{}", true},
        {"^a{2}?b*?$", "aab", true},
        {"^#\\-\\/\\_ $", "#-/_ ", true},
        {"^[\\b]$", "\b", true},
        {"^\\0$", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char reason[PATTERN_REASON_BYTES];
        struct pattern *pattern = pattern_new(sv(rows[i].pattern), reason);
        if (!pattern) {
            fail_msg("%s: %s", rows[i].pattern, reason);
        }
        enum pattern_result result = run(pattern, rows[i].text);
        if (result != (rows[i].is_match ? PATTERN_YES : PATTERN_NO)) {
            fail_msg("%s on \"%s\": %d", rows[i].pattern, rows[i].text, (int)result);
        }
        pattern_free(pattern);
    }
}

static void test_pattern_new__what_ecma_262_does_not_have__is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *reason;
    } rows[] = {
        {"\\Aa", "no escape"},
        {"a\\Z", "no escape"},
        {"\\Qa\\E", "no escape"},
        {"\\a", "no escape"},
        {"\\h", "no escape"},
        {"\\K", "no escape"},
        {"\\C", "no escape"},
        {"[\\B]", "no escape"},
        {"a++", "nothing to repeat"},
        {"a*+", "nothing to repeat"},
        {"a{2}+", "nothing to repeat"},
        {"*", "nothing to repeat"},
        {"(*UTF)a", "nothing to repeat"},
        {"^*", "nothing to repeat"},
        {"(?i)a", "a group can begin"},
        {"(?>a)", "a group can begin"},
        {"(?R)", "a group can begin"},
        {"(?#x)", "a group can begin"},
        {"(?", "a group can begin"},
        {"(?P<n>a)", "a group can begin"},
        {"(a", "parenthes"},
        {"a)", "parenthes"},
        {"[a", "not closed"},
        {"[z-a]", "range"},
        {"[a-\\s]", "range"},
        {"\\", "a backslash ends"},
        {"\\u12", "four hex digits"},
        {"\\ud800", "four hex digits"},
        {"\\u{110000}", "four hex digits"},
        {"\\x1", "two hex digits"},
        {"\\c1", "a letter"},
        {"\\01", "digit"},
        {"\\2(a)", "non-existent"},
        {"\\k<n>", "non-existent"},
        {"\\k", "a group's name"},
        {"\\p", "a property"},
        {"\\p{}", "a property"},
        {"\\p{Nonsense}", "unknown property"},
        {"\\p{Foo=Bar}", "General_Category="},
        {"a{99999}", "too big"},
        {"((((a{1000}){1000}){1000}){1000})", "too large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char reason[PATTERN_REASON_BYTES] = "";
        struct pattern *pattern = pattern_new(sv(rows[i].pattern), reason);
        if (pattern || !strstr(reason, rows[i].reason)) {
            fail_msg("%s: \"%s\"", rows[i].pattern, reason);
        }
    }
    char text[PATTERN_BYTES_MAX + 1];
    memset(text, 'a', sizeof text);
    char reason[PATTERN_REASON_BYTES];
    struct pattern *longest = pattern_new(sv_of(text, PATTERN_BYTES_MAX), reason);
    assert_non_null(longest);
    pattern_free(longest);
    assert_null(pattern_new(sv_of(text, sizeof text), reason));
}

/* 2^40 steps without the limit. */
static void test_pattern_run__exponential__is_cut(void **state)
{
    (void)state;
    char reason[PATTERN_REASON_BYTES];
    struct pattern *pattern = pattern_new(SV("^(a+)+$"), reason);
    uint32_t long_runs = 2;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(PATTERN_CUT,
                         pattern_run(pattern, runner,
                                     SV("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"),
                                     &long_runs));
    }
    assert_int_equal(0, long_runs); /* from the third on, only the short run was made */
    assert_int_equal(PATTERN_YES, run(pattern, "aaaa"));
    pattern_free(pattern);
}

/* What a first run's steps are not enough for, but is no attack. */
static void test_pattern_run__long_but_fair__is_run_again(void **state)
{
    (void)state;
    char reason[PATTERN_REASON_BYTES];
    struct pattern *pattern = pattern_new(SV("^(a+)+$"), reason);
    uint32_t long_runs = 1;
    assert_int_equal(PATTERN_NO, pattern_run(pattern, runner, SV("aaaaaaaaaaaaaaaa!"), &long_runs));
    assert_int_equal(0, long_runs);
    pattern_free(pattern);
}

static void test_pattern_run__a_megabyte__is_matched(void **state)
{
    (void)state;
    static char text[1 << 20];
    memset(text, 'a', sizeof text);
    char reason[PATTERN_REASON_BYTES];
    uint32_t long_runs = 0;
    struct pattern *pattern = pattern_new(SV("^[a-z]+$"), reason);
    assert_int_equal(PATTERN_YES,
                     pattern_run(pattern, runner, sv_of(text, sizeof text), &long_runs));
    text[sizeof text - 1] = '!';
    assert_int_equal(PATTERN_NO,
                     pattern_run(pattern, runner, sv_of(text, sizeof text), &long_runs));
    pattern_free(pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern_run__is_ecma_262),
        cmocka_unit_test(test_pattern_new__what_ecma_262_does_not_have__is_refused),
        cmocka_unit_test(test_pattern_run__exponential__is_cut),
        cmocka_unit_test(test_pattern_run__long_but_fair__is_run_again),
        cmocka_unit_test(test_pattern_run__a_megabyte__is_matched),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
