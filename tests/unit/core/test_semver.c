#include "test.h"

#include "core/semver.h"

/* Each is above the one before it: the specification's own order (item 11) and our wider cases. */
static const char *const ASCENDING[] = {
    "0.0.0",
    "0.9",
    "1.0.0-0",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0-rc.1.0",
    "1.0.0",
    "1.0.1-a",
    "1.0.1",
    "1.2",
    "1.10.0",
    "2",
    "2.0.1",
    "10.0.0",
    "99999999999999999999999.0.0",
    "100000000000000000000000.0.0",
};

static void test_semver_compare__is_the_order_of_the_specification(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ASCENDING); i++) {
        for (size_t k = 0; k < ARRAY_LEN(ASCENDING); k++) {
            struct semver a, b;
            if (!semver_parse(sv(ASCENDING[i]), &a) || !semver_parse(sv(ASCENDING[k]), &b)) {
                fail_msg("%s or %s is refused", ASCENDING[i], ASCENDING[k]);
            }
            int order = semver_compare(&a, &b);
            if ((order > 0) - (order < 0) != (i > k) - (i < k)) {
                fail_msg("%s and %s: %d", ASCENDING[i], ASCENDING[k], order);
            }
        }
    }
}

static void test_semver_compare__equal_precedence(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"1.2.3+build", "1.2.3"}, {"1.2.3+001", "1.2.3+x.y"},   {"1.2", "1.2.0"},
        {"7", "7.0.0"},           {"1.0.0-a.b+c", "1.0.0-a.b"}, {"2-rc.1", "2.0.0-rc.1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct semver a, b;
        assert_true(semver_parse(sv(pairs[i][0]), &a));
        assert_true(semver_parse(sv(pairs[i][1]), &b));
        assert_int_equal(0, semver_compare(&a, &b));
    }
}

static void test_semver_parse__what_is_no_version__is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",         "v1.0.0",     "1.",      "1..0",       ".1",        "01.0.0",
        "1.02.0",   "1.0.00",     "1.0.0.0", "1.0.0-",     "1.0.0-.",   "1.0.0-a.",
        "1.0.0-01", "1.0.0-a..b", "1.0.0+",  "1.0.0+a..b", "1.0.0+a+b", "1.0.0-ä",
        "1.0.0 ",   " 1.0.0",     "-1.0.0",  "1.0.x",      "latest",    "1.0.0+a.",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct semver version;
        if (semver_parse(sv(texts[i]), &version)) {
            fail_msg("\"%s\" is taken", texts[i]);
        }
    }
    struct semver version;
    assert_false(semver_parse((struct strview){NULL, 0}, &version));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_semver_compare__is_the_order_of_the_specification),
        cmocka_unit_test(test_semver_compare__equal_precedence),
        cmocka_unit_test(test_semver_parse__what_is_no_version__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
