#include "test.h"

#include "schema/schema_uri.h"

/* The table of RFC 3986 §5.4, and what schemas do beside it. */
static void test_uri_resolve__is_rfc_3986(void **state)
{
    (void)state;
#define RFC "http://a/b/c/d;p?q"
    static const struct {
        const char *base;
        const char *reference;
        const char *result;
    } rows[] = {
        {RFC, "g:h", "g:h"},
        {RFC, "g", "http://a/b/c/g"},
        {RFC, "./g", "http://a/b/c/g"},
        {RFC, "g/", "http://a/b/c/g/"},
        {RFC, "/g", "http://a/g"},
        {RFC, "//g", "http://g"},
        {RFC, "?y", "http://a/b/c/d;p?y"},
        {RFC, "g?y", "http://a/b/c/g?y"},
        {RFC, "#s", "http://a/b/c/d;p?q#s"},
        {RFC, "g#s", "http://a/b/c/g#s"},
        {RFC, "g?y#s", "http://a/b/c/g?y#s"},
        {RFC, ";x", "http://a/b/c/;x"},
        {RFC, "", "http://a/b/c/d;p?q"},
        {RFC, ".", "http://a/b/c/"},
        {RFC, "..", "http://a/b/"},
        {RFC, "../g", "http://a/b/g"},
        {RFC, "../..", "http://a/"},
        {RFC, "../../g", "http://a/g"},
        {RFC, "../../../g", "http://a/g"},
        {RFC, "/./g", "http://a/g"},
        {RFC, "/../g", "http://a/g"},
        {RFC, "g.", "http://a/b/c/g."},
        {RFC, ".g", "http://a/b/c/.g"},
        {RFC, "..g", "http://a/b/c/..g"},
        {RFC, "./../g", "http://a/b/g"},
        {RFC, "./g/.", "http://a/b/c/g/"},
        {RFC, "g/./h", "http://a/b/c/g/h"},
        {RFC, "g/../h", "http://a/b/c/h"},
        {RFC, "g?y/../x", "http://a/b/c/g?y/../x"},
        {RFC, "g#s/../x", "http://a/b/c/g#s/../x"},
        {"http://a", "g", "http://a/g"},
        {"urn:uuid:1", "#x", "urn:uuid:1#x"},
        {"urn:uuid:1", "urn:b:c", "urn:b:c"},
        {"schemas:/orders.json", "customer.json#/a", "schemas:/customer.json#/a"},
        {"schemas:/orders.json", "parts/../x.json", "schemas:/x.json"},
        {"schemas:/", "https://x.example/y", "https://x.example/y"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct uri_text out;
        assert_true(uri_resolve(sv(rows[i].base), sv(rows[i].reference), &out));
        if (!sv_equal(sv(rows[i].result), (struct strview){out.text, out.len})) {
            fail_msg("%s + %s: %.*s", rows[i].base, rows[i].reference, (int)out.len, out.text);
        }
    }
}

static void test_uri_resolve__too_long__is_refused(void **state)
{
    (void)state;
    static char text[URI_BYTES_MAX];
    memset(text, 'a', sizeof text);
    struct uri_text out;
    assert_true(uri_resolve(SV(""), sv_of(text, sizeof text), &out));
    assert_false(uri_resolve(SV("http://a/"), sv_of(text, sizeof text), &out));
}

static void test_uri_decode__percent(void **state)
{
    (void)state;
    char out[32];
    assert_int_equal(4, uri_decode(SV("%41%7e%2Fb"), out));
    assert_memory_equal("A~/b", out, 4);
    assert_int_equal(6, uri_decode(SV("%4%zz%"), out));
    assert_memory_equal("%4%zz%", out, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uri_resolve__is_rfc_3986),
        cmocka_unit_test(test_uri_resolve__too_long__is_refused),
        cmocka_unit_test(test_uri_decode__percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
