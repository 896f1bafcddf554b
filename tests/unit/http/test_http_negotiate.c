#include "http/http_negotiate.h"

#include "test.h"

static void test_http_accept_quality__headers__weigh_the_most_specific_range(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        const char *type;
        double quality;
    } rows[] = {
        {NULL, "text/html", 1},
        {"", "text/html", 1},
        {"text/html", "text/html", 1},
        {"TEXT/HTML", "text/html", 1},
        {"text/html", "application/json", 0},
        {"*/*", "application/json", 1},
        {"text/*;q=0.5", "text/event-stream", 0.5},
        {"text/*;q=0.5, text/event-stream", "text/event-stream", 1},
        {"text/event-stream;q=0, */*", "text/event-stream", 0},
        {"*/*;q=0.1,application/*;q=0.2 , application/json ; q=0.3", "application/json", 0.3},
        {"application/json;charset=\"a,b;q=0\";q=0.7", "application/json", 0.7},
        {"application/json;q=nonsense", "application/json", 1},
        {"application/json;q=0.1234", "application/json", 1},
        {"application/json;Q=0.125", "application/json", 0.125},
        {"application/json;q=1.5", "application/json", 1},
        {"textual/*", "text/html", 0},
        {",, ,text/html", "text/html", 1},
        {"*", "text/html", 0},
        {"\"unclosed, text/html", "text/html", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const double got = http_accept_quality(rows[i].accept, rows[i].type);
        if (got < rows[i].quality - 1e-9 || got > rows[i].quality + 1e-9) {
            fail_msg("%s for %s: %f", rows[i].accept, rows[i].type, got);
        }
    }
}

static void test_http_accept_encoding__headers__name_gzip_or_not(void **state)
{
    (void)state;
    assert_false(http_accept_encoding(NULL, "gzip"));
    assert_false(http_accept_encoding("", "gzip"));
    assert_true(http_accept_encoding("deflate, gzip;q=0.5, br", "gzip"));
    assert_true(http_accept_encoding("GZIP", "gzip"));
    assert_true(http_accept_encoding("*", "gzip"));
    assert_false(http_accept_encoding("*;q=0", "gzip"));
    assert_false(http_accept_encoding("*, gzip;q=0", "gzip"));
    assert_false(http_accept_encoding("xgzip", "gzip"));
}

static void test_http_etag_matches__lists__compare_weakly(void **state)
{
    (void)state;
    assert_false(http_etag_matches(NULL, "\"a\""));
    assert_true(http_etag_matches("\"a\"", "\"a\""));
    assert_true(http_etag_matches("W/\"a\"", "\"a\""));
    assert_true(http_etag_matches("\"x,y\", \"a\"", "\"a\""));
    assert_true(http_etag_matches("*", "\"a\""));
    assert_false(http_etag_matches("\"b\"", "\"a\""));
    assert_false(http_etag_matches("a", "\"a\""));
}

static void test_http_media_type__values__lose_parameters_and_case(void **state)
{
    (void)state;
    char out[32];
    assert_sv("application/json", http_media_type("Application/JSON; charset=UTF-8", out, 32));
    assert_sv("text/plain", http_media_type("  text/plain  ;x=y", out, 32));
    assert_sv("", http_media_type(NULL, out, 32));
    assert_sv("", http_media_type("", out, 32));
    assert_sv("", http_media_type("application/a-very-long-one-indeed", out, 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_accept_quality__headers__weigh_the_most_specific_range),
        cmocka_unit_test(test_http_accept_encoding__headers__name_gzip_or_not),
        cmocka_unit_test(test_http_etag_matches__lists__compare_weakly),
        cmocka_unit_test(test_http_media_type__values__lose_parameters_and_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
