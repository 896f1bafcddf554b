#include "once_key.h"

#include <stdlib.h>

#include "core/attributes.h"
#include "test.h"

static void test_key__forms__one_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *key;
    } rows[] = {
        {"abc", "abc"},
        {"\"abc\"", "abc"},
        {" \"abc\"\t", "abc"},
        {"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"},
        {"order:17/pay=1", "order:17/pay=1"},
        {"\"a \\\"b\\\" \\\\ c, d; e\"", "a \"b\" \\ c, d; e"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char scratch[ONCE_KEY_BYTES_MAX];
        struct strview key;
        struct err_info info = {0};
        assert_err(ERR_OK, once_key_parse(sv(rows[i].text), scratch, &key, &info));
        assert_sv(rows[i].key, key);
    }
}

static void test_key__what_is_no_key__is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",       " ",         "\"\"",     "\"abc",        "\"abc\\",  "\"abc\\n\"",
        "\"a\"b", "\"a\";p=1", "a, b",     "a\"b",         "a b",      "a;p=1",
        "a\\b",   "\x7F",      "\xC3\xA9", "\"\xC3\xA9\"", "\"a\tb\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char scratch[ONCE_KEY_BYTES_MAX];
        struct strview key;
        struct err_info info = {0};
        if (once_key_parse(sv(rows[i]), scratch, &key, &info) != ERR_IDEMPOTENCY_KEY ||
            !info.text[0]) {
            fail_msg("taken: %s", rows[i]);
        }
    }
}

static void test_key__length__is_bounded_in_both_forms(void **state)
{
    (void)state;
    char text[ONCE_KEY_BYTES_MAX + 4];
    for (size_t quote = 0; quote < 2; quote++) {
        for (size_t len = ONCE_KEY_BYTES_MAX; len <= ONCE_KEY_BYTES_MAX + 1; len++) {
            memset(text, '"', sizeof text);
            memset(text + quote, 'k', len);
            char scratch[ONCE_KEY_BYTES_MAX];
            struct strview key;
            assert_err(len > ONCE_KEY_BYTES_MAX ? ERR_IDEMPOTENCY_KEY : ERR_OK,
                       once_key_parse(sv_of(text, len + 2 * quote), scratch, &key, NULL));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key__forms__one_key),
        cmocka_unit_test(test_key__what_is_no_key__is_refused_with_a_reason),
        cmocka_unit_test(test_key__length__is_bounded_in_both_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
