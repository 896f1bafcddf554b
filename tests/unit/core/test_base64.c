#include "core/base64.h"

#include "test.h"

static void test_base64_decode__texts__only_the_one_right_form(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        enum base64_alphabet alphabet;
        const char *text;
        const char *bytes; /* NULL: refused */
    } rows[] = {
        {"empty", BASE64_URL, "", ""},
        {"RFC 4648 f", BASE64_STANDARD, "Zg==", "f"},
        {"RFC 4648 fo", BASE64_STANDARD, "Zm8=", "fo"},
        {"RFC 4648 foo", BASE64_STANDARD, "Zm9v", "foo"},
        {"RFC 4648 foobar", BASE64_STANDARD, "Zm9vYmFy", "foobar"},
        {"url f", BASE64_URL, "Zg", "f"},
        {"url fo", BASE64_URL, "Zm8", "fo"},
        {"url alphabet", BASE64_URL, "-_-_", "\xFB\xFF\xBF"},
        {"standard alphabet", BASE64_STANDARD, "+/+/", "\xFB\xFF\xBF"},
        {"url with padding", BASE64_URL, "Zg==", NULL},
        {"standard without padding", BASE64_STANDARD, "Zg", NULL},
        {"bits left over", BASE64_URL, "Zh", NULL},
        {"bits left over in two letters", BASE64_URL, "Zm9", NULL},
        {"bits left over, padded", BASE64_STANDARD, "Zh==", NULL},
        {"one letter", BASE64_URL, "Z", NULL},
        {"five letters", BASE64_URL, "Zm9vY", NULL},
        {"other alphabet", BASE64_URL, "+/+/", NULL},
        {"other alphabet, standard", BASE64_STANDARD, "-_-_", NULL},
        {"a blank", BASE64_URL, "Zm 9", NULL},
        {"a line break", BASE64_STANDARD, "Zm9v\nZm9v===", NULL},
        {"padding in the middle", BASE64_STANDARD, "Zg==Zg==", NULL},
        {"three of padding", BASE64_STANDARD, "Z===", NULL},
        {"only padding", BASE64_STANDARD, "====", NULL},
        {"a high byte", BASE64_URL, "Zm\xC3\xA4", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[16];
        size_t bytes = 0;
        const bool is_taken =
            base64_decode(rows[i].alphabet, sv(rows[i].text), out, sizeof out, &bytes);
        if (is_taken != (rows[i].bytes != NULL) ||
            (is_taken && !sv_equal(sv(rows[i].bytes), sv_of(out, bytes)))) {
            fail_msg("%s: %s, %zu bytes", rows[i].label, is_taken ? "taken" : "refused", bytes);
        }
    }
}

static void test_base64_decode__no_room__is_refused(void **state)
{
    (void)state;
    char out[3];
    size_t bytes;
    assert_true(base64_decode(BASE64_URL, SV("Zm9v"), out, 3, &bytes));
    assert_false(base64_decode(BASE64_URL, SV("Zm9v"), out, 2, &bytes));
    assert_false(base64_decode(BASE64_URL, SV("Zm9vZg"), out, 3, &bytes));
}

static void test_base64_encode__every_length__decodes_to_itself(void **state)
{
    (void)state;
    unsigned char bytes[64], back[64];
    char text[BASE64_TEXT_BYTES(sizeof bytes)];
    for (size_t count = 0; count <= sizeof bytes; count++) {
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (unsigned char)(i * 37 + count);
        }
        for (enum base64_alphabet a = BASE64_STANDARD; a <= BASE64_URL; a++) {
            size_t got = 99;
            const size_t len = base64_encode(a, bytes, count, text);
            assert_int_equal(strlen(text), len);
            assert_true(base64_decode(a, sv_of(text, len), back, sizeof back, &got));
            assert_int_equal(count, got);
            assert_memory_equal(bytes, back, count);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64_decode__texts__only_the_one_right_form),
        cmocka_unit_test(test_base64_decode__no_room__is_refused),
        cmocka_unit_test(test_base64_encode__every_length__decodes_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
