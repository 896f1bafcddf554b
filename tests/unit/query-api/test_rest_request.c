#include "rest_request.h"
#include "test.h"

#include <stdlib.h>

static enum err parse(enum rest_param param, const char *text, struct rest_request *ret,
                      struct err_info *info)
{
    const char *values[REST_PARAM_COUNT] = {NULL};
    values[param] = text;
    return rest_request_parse(values, SV("orders"), ret, info);
}

static void test_cursor__read_back__is_the_same_place(void **state)
{
    (void)state;
    char longest[ROW_KEY_BYTES_MAX];
    memset(longest, 'k', sizeof longest);
    const struct row_mark marks[] = {
        {1700000000000, 1700000060000, SV("prod-1"), 3, 812},
        {0, ROW_NO_WINDOW, {NULL, 0}, 0, 0},
        {-1, -1, {"", 0}, INT32_MAX, INT64_MAX},
        {INT64_MAX - 1, INT64_MAX, SV("= \n\"\xff"), 0, 1},
        {INT64_MIN + 1, INT64_MIN, {longest, sizeof longest}, INT32_MIN, INT64_MIN},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(marks); i++) {
        const struct row_mark *mark = &marks[i / 2];
        char text[REST_CURSOR_BYTES];
        struct rest_request request;
        rest_cursor_format(mark, i % 2, text);
        assert_err(ERR_OK, parse(REST_CURSOR, text, &request, NULL));
        assert_ptr_equal(&request.past, request.rows.past);
        assert_int_equal(i % 2, request.rows.is_descending);
        assert_true(request.past.time_ms == mark->time_ms && request.past.end_ms == mark->end_ms);
        assert_int_equal(mark->partition, request.past.partition);
        assert_true(request.past.offset == mark->offset);
        assert_int_equal(mark->key.ptr != NULL, request.past.key.ptr != NULL);
        assert_true(sv_equal(mark->key, request.past.key));
        rest_request_deinit(&request);
    }
}

static void test_cursor__that_nobody_gave__is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "AAAA",
        "YQ",
        "not base64!",
        "ZDEgMiAzIDQ",                          /* "d1 2 3 4": a blank is missing */
        "eDEgMiAzIDQg",                         /* "x1 2 3 4 " */
        "ZDEgMiAzMDAwMDAwMDAwMCA0IA",           /* "d1 2 30000000000 4 " */
        "ZDkyMjMzNzIwMzY4NTQ3NzU4MDcgMiAzIDQg", /* a time after which there is none */
        "ZDkyMjMzNzIwMzY4NTQ3NzU4MDggMiAzIDQg", /* past 64 bits */
        "ZDEgMiAzIDQga2V5",                     /* a key without its sign */
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct rest_request request;
        struct err_info info = {0};
        assert_err(ERR_CURSOR, parse(REST_CURSOR, texts[i], &request, &info));
        assert_null(request.rows.past);
        rest_request_deinit(&request);
    }
}

static void test_request__without_parameters__is_everything(void **state)
{
    (void)state;
    static const char *const none[REST_PARAM_COUNT] = {NULL};
    struct rest_request request;
    assert_err(ERR_OK, rest_request_parse(none, SV("orders"), &request, NULL));
    const struct row_mark mark = {0, ROW_NO_WINDOW, {NULL, 0}, 0, 0};
    assert_int_equal(0, request.rows.key_count);
    assert_true(request.rows.from_ms == INT64_MIN && request.rows.to_ms == INT64_MAX);
    assert_true(mark.time_ms >= request.rows.from_ms && request.rows.limit == REST_LIMIT_DEFAULT);
    assert_int_equal(-1, request.format);
    rest_request_deinit(&request);
}

static void test_key_and_keys__are_one_list(void **state)
{
    (void)state;
    static const char *const values[REST_PARAM_COUNT] = {[REST_KEY] = "a,b", [REST_KEYS] = "c,d"};
    struct rest_request request;
    assert_err(ERR_OK, rest_request_parse(values, SV("orders"), &request, NULL));
    assert_int_equal(3, request.rows.key_count);
    assert_sv("a,b", request.rows.keys[0]);
    assert_sv("c", request.rows.keys[1]);
    assert_sv("d", request.rows.keys[2]);
    rest_request_deinit(&request);
}

static void test_after__is_a_position_of_this_topic(void **state)
{
    (void)state;
    struct rest_request request;
    struct err_info info = {0};
    assert_err(ERR_OK, parse(REST_AFTER, "orders~0=3,1=5,e=9f3a61c2;other~0=1", &request, &info));
    assert_int_equal(2, request.rows.after->count);
    rest_request_deinit(&request);
    assert_err(ERR_CURSOR,
               parse(REST_AFTER, "[{\"topic\":\"orders\",\"partition\":0,\"timestamp\":1}]",
                     &request, &info));
    assert_null(request.rows.after);
    rest_request_deinit(&request);
}

static void test_filter__is_an_expression__on_several_lines_too(void **state)
{
    (void)state;
    struct rest_request request;
    struct err_info info = {0};
    assert_err(ERR_OK,
               parse(REST_FILTER, "amount > 100\n  and\tstatus == 'paid'", &request, &info));
    assert_non_null(request.filter);
    rest_request_deinit(&request);
    assert_err(ERR_REQUEST_PARAM, parse(REST_FILTER, "amount >", &request, &info));
    assert_true(strstr(info.text, "filter: column 9") != NULL);
    assert_null(request.filter);
    rest_request_deinit(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor__read_back__is_the_same_place),
        cmocka_unit_test(test_cursor__that_nobody_gave__is_refused),
        cmocka_unit_test(test_request__without_parameters__is_everything),
        cmocka_unit_test(test_key_and_keys__are_one_list),
        cmocka_unit_test(test_filter__is_an_expression__on_several_lines_too),
        cmocka_unit_test(test_after__is_a_position_of_this_topic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
