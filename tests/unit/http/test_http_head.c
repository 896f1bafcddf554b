#include "http/http_head.h"

#include "test.h"

struct field {
    struct strview name, value;
};
#define F(n, v) {SV(n), SV(v)}

static void test_http_head__fields__ambiguous_ones_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        const char *version;
        struct field fields[4];
        bool is_fine;
    } rows[] = {
        {"plain", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "5")}, true},
        {"chunked", "HTTP/1.1", {F("Host", "a"), F("transfer-encoding", "Chunked")}, true},
        {"1.0 without Host", "HTTP/1.0", {F("Accept", "*/*")}, true},
        {"port and IPv6", "HTTP/1.1", {F("Host", "[::1]:8080")}, true},
        {"no Host", "HTTP/1.1", {F("Accept", "*/*")}, false},
        {"two Hosts", "HTTP/1.1", {F("Host", "a"), F("host", "a")}, false},
        {"one credential of each",
         "HTTP/1.1",
         {F("Host", "a"), F("Authorization", "Bearer a"), F("X-Api-Key", "b")},
         true},
        {"two credentials",
         "HTTP/1.1",
         {F("Host", "a"), F("Authorization", "Bearer a"), F("authorization", "Bearer a")},
         false},
        {"two keys", "HTTP/1.1", {F("Host", "a"), F("X-Api-Key", "a"), F("x-api-key", "b")}, false},
        {"Host with a space", "HTTP/1.1", {F("Host", "a b")}, false},
        {"Host with a path", "HTTP/1.1", {F("Host", "a/b")}, false},
        {"Host with a user", "HTTP/1.1", {F("Host", "u@a")}, false},
        {"two lengths",
         "HTTP/1.1",
         {F("Host", "a"), F("Content-Length", "5"), F("Content-Length", "5")},
         false},
        {"length list", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "5, 5")}, false},
        {"length with sign", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "+5")}, false},
        {"negative length", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "-1")}, false},
        {"hex length", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "0x5")}, false},
        {"empty length", "HTTP/1.1", {F("Host", "a"), F("Content-Length", "")}, false},
        {"length past 64 bits",
         "HTTP/1.1",
         {F("Host", "a"), F("Content-Length", "18446744073709551616")},
         false},
        {"length and coding",
         "HTTP/1.1",
         {F("Host", "a"), F("Content-Length", "5"), F("Transfer-Encoding", "chunked")},
         false},
        {"two codings",
         "HTTP/1.1",
         {F("Host", "a"), F("Transfer-Encoding", "chunked"), F("Transfer-Encoding", "chunked")},
         false},
        {"other coding", "HTTP/1.1", {F("Host", "a"), F("Transfer-Encoding", "xchunked")}, false},
        {"coding list",
         "HTTP/1.1",
         {F("Host", "a"), F("Transfer-Encoding", "gzip, chunked")},
         false},
        {"empty coding", "HTTP/1.1", {F("Host", "a"), F("Transfer-Encoding", "")}, false},
        {"coding in 1.0", "HTTP/1.0", {F("Host", "a"), F("Transfer-Encoding", "chunked")}, false},
        {"space before colon",
         "HTTP/1.1",
         {F("Host", "a"), F("Transfer-Encoding ", "chunked")},
         false},
        {"NUL in a value", "HTTP/1.1", {F("Host", "a"), F("X", "a\0b")}, false},
        {"CR in a value", "HTTP/1.1", {F("Host", "a"), F("X", "a\rb")}, false},
        {"tab in a value", "HTTP/1.1", {F("Host", "a"), F("X", "a\tb")}, true},
        {"bytes above 0x7f", "HTTP/1.1", {F("Host", "a"), F("X", "\xc3\xa4")}, true},
        {"empty name", "HTTP/1.1", {F("Host", "a"), {{"", 0}, {"x", 1}}}, false},
        {"HTTP/2.0", "HTTP/2.0", {F("Host", "a")}, false},
        {"no version", "", {F("Host", "a")}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head head;
        http_head_begin(&head);
        for (size_t f = 0; f < 4 && rows[i].fields[f].name.ptr; f++) {
            http_head_field(&head, rows[i].fields[f].name, rows[i].fields[f].value);
        }
        if (http_head_end(&head, sv(rows[i].version)) != rows[i].is_fine) {
            fail_msg("%s: %s", rows[i].label, head.fault ? head.fault : "taken");
        }
    }
}

static void test_http_head__values__are_kept(void **state)
{
    (void)state;
    struct http_head head;
    http_head_begin(&head);
    http_head_field(&head, SV("HOST"), SV("example.org:80"));
    http_head_field(&head, SV("content-length"), SV("18446744073709551615"));
    http_head_field(&head, SV("X-Request-ID"), SV("a-B_9.:/+=@"));
    http_head_field(&head, SV("Origin"), SV("http://localhost:3000"));
    assert_true(http_head_end(&head, SV("HTTP/1.1")));
    assert_sv("example.org:80", head.host);
    assert_true(head.content_length == UINT64_MAX);
    assert_sv("a-B_9.:/+=@", head.request_id);
    assert_string_equal("http://localhost:3000", head.origin);
}

static void test_http_request_id_is_usable__ids__are_checked(void **state)
{
    (void)state;
    char longest[HTTP_REQUEST_ID_MAX + 1];
    memset(longest, 'a', sizeof longest);
    assert_true(http_request_id_is_usable(sv_of(longest, HTTP_REQUEST_ID_MAX)));
    assert_false(http_request_id_is_usable(sv_of(longest, HTTP_REQUEST_ID_MAX + 1)));
    assert_false(http_request_id_is_usable(SV("")));
    assert_false(http_request_id_is_usable(SV("a b")));
    assert_false(http_request_id_is_usable(SV("a\"b")));
    assert_false(http_request_id_is_usable(SV("\xc3\xa4")));
}

static void test_http_target_path__targets__in_both_forms(void **state)
{
    (void)state;
    assert_sv("/a", http_target_path(SV("/a"), SV("h")));
    assert_sv("/a", http_target_path(SV("http://h:80/a"), SV("H:80")));
    assert_sv("/", http_target_path(SV("HTTP://h"), SV("h")));
    assert_sv("", http_target_path(SV("http://other/a"), SV("h")));
    assert_sv("/a",
              http_target_path(SV("HTTPS://h/a"), SV("h"))); /* behind TLS, ours or a proxy's */
    assert_sv("", http_target_path(SV("httpx://h/a"), SV("h")));
    assert_sv("", http_target_path(SV("ftps"), SV("h")));
    assert_sv("", http_target_path(SV("*"), SV("h")));
    assert_sv("", http_target_path(SV(""), SV("h")));
    assert_sv("", http_target_path(SV("a/b"), SV("h")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_head__fields__ambiguous_ones_are_refused),
        cmocka_unit_test(test_http_head__values__are_kept),
        cmocka_unit_test(test_http_request_id_is_usable__ids__are_checked),
        cmocka_unit_test(test_http_target_path__targets__in_both_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
