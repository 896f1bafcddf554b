#include "http/http_route.h"

#include "test.h"

static void handle(struct http_request *request)
{
    (void)request;
}

static const struct http_route own[] = {
    {HTTP_POST, "/events/{topic}", handle},
    {HTTP_GET, "/events/{topic}", handle},
    {HTTP_GET, "/latest/{topic}/{key}", handle},
    {HTTP_GET, "/", handle},
};
static const struct http_route common[] = {
    {HTTP_GET, "/health/ready", handle},
    {HTTP_GET, "/health/{check}", handle},
    {HTTP_GET, "/", handle},
};
static int own_context, common_context;
static const struct http_route_set sets[] = {
    {own, ARRAY_LEN(own), &own_context},
    {common, ARRAY_LEN(common), &common_context},
};

static int setup(void **state)
{
    struct http_route_table *table = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, http_route_table_new(sets, ARRAY_LEN(sets), &table, &info));
    *state = table;
    return 0;
}

static int teardown(void **state)
{
    http_route_table_free(*state);
    return 0;
}

static void test_http_route_match__paths__go_where_they_belong(void **state)
{
    static const struct {
        const char *label;
        enum http_method method;
        const char *path;
        enum err err;
        const char *route; /* NULL: none */
    } rows[] = {
        {"literal and param", HTTP_POST, "/events/orders", ERR_OK, "/events/{topic}"},
        {"two params", HTTP_GET, "/latest/orders/k", ERR_OK, "/latest/{topic}/{key}"},
        {"root", HTTP_GET, "/", ERR_OK, "/"},
        {"declared first wins", HTTP_GET, "/health/ready", ERR_OK, "/health/ready"},
        {"param beside literal", HTTP_GET, "/health/live", ERR_OK, "/health/{check}"},
        {"wrong method", HTTP_PUT, "/events/orders", ERR_METHOD_NOT_ALLOWED, NULL},
        {"unknown method", HTTP_METHOD_COUNT, "/events/orders", ERR_METHOD_NOT_ALLOWED, NULL},
        {"too short", HTTP_POST, "/events", ERR_NOT_FOUND, NULL},
        {"empty param", HTTP_POST, "/events/", ERR_NOT_FOUND, NULL},
        {"too long", HTTP_POST, "/events/orders/1", ERR_NOT_FOUND, NULL},
        {"trailing slash", HTTP_GET, "/health/ready/", ERR_NOT_FOUND, NULL},
        {"double slash", HTTP_POST, "/events//orders", ERR_NOT_FOUND, NULL},
        {"leading double slash", HTTP_POST, "//events/orders", ERR_NOT_FOUND, NULL},
        {"dot dot", HTTP_POST, "/events/..", ERR_NOT_FOUND, NULL},
        {"dot", HTTP_POST, "/events/.", ERR_NOT_FOUND, NULL},
        {"encoded dot dot", HTTP_POST, "/events/%2e%2E", ERR_NOT_FOUND, NULL},
        {"dot dot in the middle", HTTP_GET, "/x/../health/ready", ERR_NOT_FOUND, NULL},
        {"encoded NUL", HTTP_POST, "/events/a%00b", ERR_REQUEST_AMBIGUOUS, NULL},
        {"encoded line feed", HTTP_POST, "/events/a%0ab", ERR_REQUEST_AMBIGUOUS, NULL},
        {"encoded delete", HTTP_POST, "/events/a%7F", ERR_REQUEST_AMBIGUOUS, NULL},
        {"raw control character", HTTP_POST, "/events/a\tb", ERR_REQUEST_AMBIGUOUS, NULL},
        {"broken escape", HTTP_POST, "/events/a%4", ERR_REQUEST_AMBIGUOUS, NULL},
        {"escape of no digits", HTTP_POST, "/events/%zz", ERR_REQUEST_AMBIGUOUS, NULL},
        {"no slash", HTTP_POST, "events/orders", ERR_NOT_FOUND, NULL},
        {"nothing", HTTP_GET, "", ERR_NOT_FOUND, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_match match;
        const enum err got = http_route_match(*state, rows[i].method, sv(rows[i].path), &match);
        if (got != rows[i].err) {
            fail_msg("%s: %s instead of %s", rows[i].label, err_name(got), err_name(rows[i].err));
        }
        assert_true((match.target != NULL) == (rows[i].route != NULL));
        if (match.target) {
            assert_string_equal(rows[i].route, match.target->route->path);
        }
    }
}

static void test_http_route_match__params__are_decoded(void **state)
{
    struct http_match match;
    assert_err(ERR_OK, http_route_match(*state, HTTP_GET, sv("/latest/a%2Fb/%c3%a4%20x"), &match));
    assert_string_equal("a/b", http_match_param(&match, "topic"));
    assert_string_equal("\xc3\xa4 x", http_match_param(&match, "key"));
    assert_null(http_match_param(&match, "top"));
    assert_null(http_match_param(&match, "keys"));
}

static void test_http_route_match__same_path_in_two_sets__the_first_one_wins(void **state)
{
    struct http_match match;
    assert_err(ERR_OK, http_route_match(*state, HTTP_GET, sv("/"), &match));
    assert_ptr_equal(&own_context, match.target->context);
    assert_err(ERR_OK, http_route_match(*state, HTTP_GET, sv("/health/ready"), &match));
    assert_ptr_equal(&common_context, match.target->context);
}

static void test_http_route_match__wrong_method__tells_the_right_ones(void **state)
{
    struct http_match match;
    char allow[HTTP_ALLOW_BYTES];
    (void)http_route_match(*state, HTTP_DELETE, sv("/events/orders"), &match);
    http_allow_text(match.allow, allow);
    assert_string_equal("GET, HEAD, POST, OPTIONS", allow);
    (void)http_route_match(*state, HTTP_DELETE, sv("/health/ready"), &match);
    http_allow_text(match.allow, allow);
    assert_string_equal("GET, HEAD, OPTIONS", allow);
}

static void test_http_route_match__longest_path__fits(void **state)
{
    char path[HTTP_PATH_BYTES + 1];
    memset(path, 'x', sizeof path);
    memcpy(path, "/events/", 8);
    struct http_match match;
    assert_err(ERR_OK,
               http_route_match(*state, HTTP_POST, sv_of(path, HTTP_PATH_BYTES - 1), &match));
    assert_int_equal(HTTP_PATH_BYTES - 1 - 8, strlen(http_match_param(&match, "topic")));
    assert_err(ERR_HEADERS_TOO_LARGE,
               http_route_match(*state, HTTP_POST, sv_of(path, HTTP_PATH_BYTES), &match));
}

static void test_http_route_table_new__bad_patterns__are_named(void **state)
{
    (void)state;
    static const char *const paths[] = {"events", "/{a}/{b}/{c}/{d}/{e}",
                                        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct http_route route = {HTTP_GET, paths[i], handle};
        const struct http_route_set set = {&route, 1, NULL};
        struct http_route_table *table = NULL;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, http_route_table_new(&set, 1, &table, &info));
        assert_non_null(strstr(info.text, paths[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_route_match__paths__go_where_they_belong),
        cmocka_unit_test(test_http_route_match__params__are_decoded),
        cmocka_unit_test(test_http_route_match__same_path_in_two_sets__the_first_one_wins),
        cmocka_unit_test(test_http_route_match__wrong_method__tells_the_right_ones),
        cmocka_unit_test(test_http_route_match__longest_path__fits),
        cmocka_unit_test(test_http_route_table_new__bad_patterns__are_named),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
