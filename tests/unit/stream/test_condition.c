/* Conditions through the pipeline that holds them: `filter` lets pass or drops. */
#include "stream_fixture.h"

static bool passes(const char *condition, const char *event)
{
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"filter\":%s}],"
                   "\"output\":{\"topic\":\"out\"}}",
                   condition);
    fixture_start(&f, text);
    fixture_process(&f, event);
    bool passed = fixture_count(&f, STREAM_OUTPUT) == 1;
    assert_int_equal(!passed, stream_task_stats(f.task).filtered);
    fixture_stop(&f);
    return passed;
}

static void test_filter__table(void **state)
{
    (void)state;
    static const struct {
        const char *condition, *event;
        bool passes;
    } rows[] = {
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":1}", true},
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":0}", false},
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":0.000000001}", true},
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":-0.0}", false},
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":1e-12}", false}, /* below a billionth: 0 */
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":1e30}", false},  /* past what compares */
        {"{\"field\":\"/a\",\">\":0}", "{\"a\":\"1\"}", false},
        {"{\"field\":\"/a\",\">\":0}", "{}", false},
        {"{\"field\":\"a\",\">=\":1.5,\"<\":2}", "{\"a\":1.50}", true},
        {"{\"field\":\"a\",\">=\":1.5,\"<\":2}", "{\"a\":2}", false},
        {"{\"field\":\"a\",\"<=\":0.1}", "{\"a\":1e-1}", true},
        {"{\"field\":\"/a\",\"==\":\"x\"}", "{\"a\":\"x\"}", true},
        {"{\"field\":\"/a\",\"==\":\"x\"}", "{\"a\":\"\\u0078\"}", true},
        {"{\"field\":\"/a\",\"==\":\"x\"}", "{\"a\":\"xy\"}", false},
        {"{\"field\":\"/a\",\"==\":1}", "{\"a\":1.0}", true},
        {"{\"field\":\"/a\",\"==\":null}", "{\"a\":null}", true},
        {"{\"field\":\"/a\",\"==\":null}", "{}", false},
        {"{\"field\":\"/a\",\"==\":true}", "{\"a\":true}", true},
        {"{\"field\":\"/a\",\"==\":true}", "{\"a\":false}", false},
        {"{\"field\":\"/a\",\"!=\":1}", "{\"a\":2}", true},
        {"{\"field\":\"/a\",\"!=\":1}", "{}", true},
        {"{\"field\":\"/a\",\"!=\":1}", "{\"a\":1}", false},
        {"{\"field\":\"/a\",\"<\":\"b\"}", "{\"a\":\"abc\"}", true},
        {"{\"field\":\"/a\",\"<\":\"b\"}", "{\"a\":\"b\"}", false},
        {"{\"field\":\"/a\",\"in\":[1,\"x\",null]}", "{\"a\":\"x\"}", true},
        {"{\"field\":\"/a\",\"in\":[1,\"x\",null]}", "{\"a\":null}", true},
        {"{\"field\":\"/a\",\"in\":[1,\"x\",null]}", "{\"a\":2}", false},
        {"{\"field\":\"/a/b\",\"exists\":true}", "{\"a\":{\"b\":null}}", true},
        {"{\"field\":\"/a/b\",\"exists\":true}", "{\"a\":{}}", false},
        {"{\"field\":\"/a/1\",\"==\":7}", "{\"a\":[6,7]}", true},
        {"{\"field\":\"/a\",\"exists\":false}", "{}", true},
        {"{\"field\":\"/a~1b\",\"==\":1}", "{\"a/b\":1}", true},
        {"{\"field\":\"/a\",\"==\":2}", "{\"a\":1,\"a\":2}", true}, /* the last one counts */
        {"{\"field\":\"/a\",\"==\":1}", "{\"\\u0061\":1}", true},
        {"{\"field\":\"a\",\"null\":true}", "{\"a\":null}", true},
        {"{\"field\":\"a\",\"null\":true}", "{}", true},
        {"{\"field\":\"a\",\"null\":true}", "{\"a\":0}", false},
        {"{\"field\":\"a\",\"null\":false}", "{\"a\":\"\"}", true},
        {"{\"field\":\"a\",\"null\":false}", "{}", false},
        {"{\"field\":\"a\",\"prefix\":\"eu-\"}", "{\"a\":\"eu-west\"}", true},
        {"{\"field\":\"a\",\"prefix\":\"eu-\"}", "{\"a\":\"\\u0065u-west\"}", true},
        {"{\"field\":\"a\",\"prefix\":\"eu-\"}", "{\"a\":\"eu\"}", false},
        {"{\"field\":\"a\",\"prefix\":\"1\"}", "{\"a\":12}", false},
        {"{\"field\":\"a\",\"prefix\":\"1\"}", "{}", false},
        {"{\"field\":\"a\",\"suffix\":\"west\"}", "{\"a\":\"eu-west\"}", true},
        {"{\"field\":\"a\",\"suffix\":\"west\"}", "{\"a\":\"eu-west1\"}", false},
        {"{\"field\":\"a\",\"contains\":\"-\"}", "{\"a\":\"eu-west\"}", true},
        {"{\"field\":\"a\",\"contains\":\"ß\"}", "{\"a\":\"Stra\\u00dfe\"}", true},
        {"{\"field\":\"a\",\"contains\":\"--\"}", "{\"a\":\"eu-west\"}", false},
        {"{\"field\":\"a\",\"contains\":\"x\"}", "{\"a\":\"\"}", false},
        {"{\"field\":\"a\",\"matches\":\"^[a-z]+-[0-9]{3}$\"}", "{\"a\":\"ab-123\"}", true},
        {"{\"field\":\"a\",\"matches\":\"^[a-z]+-[0-9]{3}$\"}", "{\"a\":\"ab-1234\"}", false},
        {"{\"field\":\"a\",\"matches\":\"b.d\"}", "{\"a\":\"a\\u0062cd\"}", true},
        {"{\"field\":\"a\",\"matches\":\".\"}", "{\"a\":1}", false},
        {"{\"field\":\"a\",\"matches\":\".\"}", "{}", false},
        {"{\"not\":{\"field\":\"a\",\"matches\":\"x\"}}", "{\"a\":\"y\"}", true},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":\"2.10.0\"}", true},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":\"2.1.0-rc.1\"}", false},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":\"2.1\"}", true},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":\"new\"}", false},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":3}", false},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2\",\"<\":\"3\"}}", "{\"v\":\"2.99.0\"}", true},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2\",\"<\":\"3\"}}", "{\"v\":\"3.0.0\"}", false},
        {"{\"field\":\"v\",\"semver\":{\"==\":\"2.0.0\"}}", "{\"v\":\"2.0.0+b7\"}", true},
        {"{\"field\":\"v\",\"semver\":{\"!=\":\"2.0.0\"}}", "{\"v\":\"new\"}", true},
        {"{\"field\":\"v\",\"semver\":{\"in\":[\"1.0.0\",\"2.0.0\"]}}", "{\"v\":\"2.0.0\"}", true},
        {"{\"field\":\"v\",\"prefix\":\"2\",\"semver\":{\"<\":\"2.5.0\"}}", "{\"v\":\"2.4.9\"}",
         true},
        {"{\"field\":\"v\",\"prefix\":\"2\",\"semver\":{\"<\":\"2.5.0\"}}", "{\"v\":\"1.4.9\"}",
         false},
        {"{\"expr\":\"a * b > 10\"}", "{\"a\":3,\"b\":4}", true},
        {"{\"expr\":\"a * b > 10\"}", "{\"a\":3,\"b\":3}", false},
        {"{\"expr\":\"a * b > 10\"}", "{\"a\":3}", false}, /* null */
        {"{\"not\":{\"expr\":\"a * b > 10\"}}", "{\"a\":3}", true},
        {"{\"any\":[{\"field\":\"a\",\"==\":3},{\"expr\":\"1 / 0 > 1\"}]}", "{\"a\":3}", true},
        {"{\"all\":[{\"field\":\"a\",\">\":0},{\"field\":\"b\",\">\":0}]}", "{\"a\":1,\"b\":1}",
         true},
        {"{\"all\":[{\"field\":\"a\",\">\":0},{\"field\":\"b\",\">\":0}]}", "{\"a\":1,\"b\":0}",
         false},
        {"{\"any\":[{\"field\":\"a\",\">\":0},{\"field\":\"b\",\">\":0}]}", "{\"a\":0,\"b\":1}",
         true},
        {"{\"any\":[{\"field\":\"a\",\">\":0},{\"field\":\"b\",\">\":0}]}", "{\"a\":0,\"b\":0}",
         false},
        {"{\"not\":{\"any\":[{\"field\":\"a\",\">\":0},{\"field\":\"b\",\">\":0}]}}",
         "{\"a\":0,\"b\":0}", true},
        {"{\"not\":{\"field\":\"a\",\"==\":1}}", "{\"a\":1}", false},
        {"{\"any\":[{\"all\":[{\"field\":\"a\",\"==\":1},{\"field\":\"b\",\"==\":1}]},"
         "{\"field\":\"c\",\"==\":1}]}",
         "{\"a\":1,\"c\":1}", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (passes(rows[i].condition, rows[i].event) != rows[i].passes) {
            fail_msg("%s on %s", rows[i].condition, rows[i].event);
        }
    }
}

static void test_require__says_what_does_not_hold(void **state)
{
    (void)state;
    static const struct {
        const char *condition, *event, *message;
    } rows[] = {
        {"{\"field\":\"/amount\",\">\":0}", "{\"amount\":-3}",
         "amount > 0 does not hold: amount is -3"},
        {"{\"field\":\"/amount\",\">\":0,\"<\":10}", "{\"amount\":30}",
         "amount < 10 does not hold: amount is 30"},
        {"{\"field\":\"/a/b\",\"in\":[\"x\",\"y\"]}", "{\"a\":{\"b\":\"z\"}}",
         "a/b in [\"x\",\"y\"] does not hold: a/b is \"z\""},
        {"{\"field\":\"a\",\"exists\":true}", "{}", "a exists true does not hold: a is missing"},
        {"{\"not\":{\"field\":\"a\",\"==\":1}}", "{\"a\":1}", "not (a == 1) does not hold: a is 1"},
        {"{\"any\":[{\"field\":\"a\",\"==\":1},{\"field\":\"b\",\"==\":1}]}", "{\"b\":2}",
         "b == 1 does not hold: b is 2"},
        {"{\"field\":\"v\",\"semver\":{\">=\":\"2.1.0\"}}", "{\"v\":\"2.0.9\"}",
         "v semver >= \"2.1.0\" does not hold: v is \"2.0.9\""},
        {"{\"expr\":\"a > b\"}", "{\"a\":1,\"b\":2}", "a > b does not hold"},
        {"{\"not\":{\"expr\":\"a > b\"}}", "{\"a\":3,\"b\":2}", "not (a > b) does not hold"},
        {"{\"expr\":\"a > b\"}", "{\"a\":1,\"b\":\"2\"}",
         "a number and a string are in no order (column 3 of `a > b`)"},
        {"{\"expr\":\"a + b\"}", "{\"a\":1,\"b\":2}", "a + b is a number: true or false is needed"},
        {"{\"not\":{\"any\":[{\"field\":\"a\",\"==\":1}]}}", "{\"a\":1}",
         "the condition does not hold"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"require\":%s}],"
                       "\"output\":{\"topic\":\"out\"}}",
                       rows[i].condition);
        fixture_start(&f, text);
        fixture_process(&f, rows[i].event);
        assert_string_equal(rows[i].message, kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0),
                                                         "__streams.errors.message"));
        fixture_stop(&f);
    }
}

/* A match that backtracks without end decides nothing, and a `not` does not turn it round. */
static void test_condition__match_past_its_limits__rejects(void **state)
{
    (void)state;
    static const char *const conditions[] = {
        "{\"field\":\"a\",\"matches\":\"^(a|a?)+$\"}",
        "{\"not\":{\"field\":\"a\",\"matches\":\"^(a|a?)+$\"}}",
        "{\"any\":[{\"field\":\"a\",\"matches\":\"^(a|a?)+$\"},{\"field\":\"a\",\"exists\":true}]}",
    };
    static const char *const kinds[] = {"filter", "require"};
    for (size_t i = 0; i < ARRAY_LEN(conditions) * ARRAY_LEN(kinds); i++) {
        struct fixture f;
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"%s\":%s}],"
                       "\"output\":{\"topic\":\"out\"}}",
                       kinds[i % 2], conditions[i / 2]);
        fixture_start(&f, text);
        fixture_process(&f, "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaX\"}");
        const struct kept *letter = fixture_out(&f, STREAM_DEAD_LETTER, 0);
        assert_string_equal("limit", kept_header(letter, "millrace-error-code"));
        assert_non_null(strstr(kept_header(letter, "__streams.errors.message"),
                               "cannot be decided: the match takes more steps than it may"));
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter__table),
        cmocka_unit_test(test_require__says_what_does_not_hold),
        cmocka_unit_test(test_condition__match_past_its_limits__rejects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
