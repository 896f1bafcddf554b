#include "core/glob.h"

#include <fnmatch.h>

#include "core/attributes.h"
#include "test.h"

static void test_glob_match__patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool is_match;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "orders", true},
        {"orders", "orders", true},
        {"orders", "orders2", false},
        {"orders.*", "orders.eu", true},
        {"orders.*", "orders", false},
        {"*.dlq", "orders.dlq", true},
        {"*.dlq", "orders.dlq.old", false},
        {"a*b*c", "a1b2b3c", true},
        {"a*b*c", "a1b2b3", false},
        {"?rders", "orders", true},
        {"?", "", false},
        {"**?", "a", true},
        {"[a-z]", "b", false},
        {"[a-z]", "[a-z]", true},
        {"a\\*", "a*", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (glob_match(sv(rows[i].pattern), sv(rows[i].text)) != rows[i].is_match) {
            fail_msg("\"%s\" and \"%s\"", rows[i].pattern, rows[i].text);
        }
    }
}

/* libc's own, on every short text over a few letters. */
static void test_glob_match__short_texts__as_fnmatch(void **state)
{
    (void)state;
    static const char letters[] = "ab*?";
    char pattern[6], text[5];
    for (unsigned p = 0; p < 1024; p++) {
        for (unsigned i = 0; i < 5; i++) {
            pattern[i] = letters[p >> 2 * i & 3];
        }
        pattern[5] = '\0';
        for (unsigned t = 0; t < 16; t++) {
            for (unsigned i = 0; i < 4; i++) {
                text[i] = letters[t >> i & 1];
            }
            text[4] = '\0';
            for (size_t cut = 0; cut <= 4; cut++) {
                const bool is_match = fnmatch(pattern, text + cut, 0) == 0;
                assert_true(glob_match(sv(pattern), sv(text + cut)) == is_match);
            }
        }
    }
}

/* What takes a matcher that tries every split longer than a test may run. */
static void test_glob_match__many_stars__ends(void **state)
{
    (void)state;
    char pattern[201], text[4001];
    for (size_t i = 0; i < 200; i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }
    pattern[200] = '\0';
    memset(text, 'a', 4000);
    text[3999] = 'b';
    text[4000] = '\0';
    assert_false(glob_match(sv(pattern), sv(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob_match__patterns),
        cmocka_unit_test(test_glob_match__short_texts__as_fnmatch),
        cmocka_unit_test(test_glob_match__many_stars__ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
