/* buf, arena, clock, utf8, err: the small modules. */
#include "test.h"

#include "core/arena.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/utf8.h"

static void test_buf_append__past_the_bound__changes_nothing(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 8);
    assert_err(ERR_OK, buf_append(&buf, "12345", 5));
    assert_err(ERR_LIMIT, buf_append(&buf, "6789", 4));
    assert_err(ERR_LIMIT, buf_printf(&buf, "%d", 123456));
    assert_err(ERR_LIMIT, buf_append_json_string(&buf, SV("abc")));
    assert_sv("12345", buf_view(&buf));
    assert_err(ERR_OK, buf_append(&buf, "678", 3));
    assert_sv("12345678", buf_view(&buf));
    buf_free(&buf);
}

static void test_buf_append_json_string__hostile_text__is_valid_json(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview text;
        const char *expected;
    } rows[] = {
        {"plain", {"abc", 3}, "\"abc\""},
        {"quotes", {"a\"b\\", 4}, "\"a\\\"b\\\\\""},
        {"controls", {"\n\t\x01\x1f", 4}, "\"\\n\\t\\u0001\\u001f\""},
        {"nul", {"a\0b", 3}, "\"a\\u0000b\""},
        {"utf-8",
         {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9},
         "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"a lone byte", {"\xFFz", 2}, "\"\xEF\xBF\xBDz\""},
        {"cut off", {"\xE2\x82", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"overlong", {"\xC0\xAF", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"surrogate", {"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf buf;
        buf_init(&buf, 256);
        assert_err(ERR_OK, buf_append_json_string(&buf, rows[i].text));
        if (!sv_equal(sv(rows[i].expected), buf_view(&buf))) {
            fail_msg("%s: %.*s", rows[i].label, SV_ARG(buf_view(&buf)));
        }
        buf_free(&buf);
    }
}

static void test_arena__reset__reuses_its_blocks(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    void *first = arena_alloc(&arena, 100);
    assert_int_equal(0, (uintptr_t)first % 16);
    void *large = arena_alloc(&arena, 200000);
    assert_non_null(large);
    memset(large, 1, 200000);
    assert_null(arena_alloc(&arena, 1 << 20)); /* past the bound */
    arena_reset(&arena);
    assert_ptr_equal(first, arena_alloc(&arena, 100));
    assert_sv("copied", arena_copy(&arena, SV("copied")));
    arena_free(&arena);
}

static void test_timestamp__iso8601__both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-21T06:30:00.123Z", 1795242600123},
        {"2026-11-21T08:30:00.123+02:00", 1795242600123},
        {"2026-11-21T03:30:00.123456-0300", 1795242600123},
        {"2000-02-29T23:59:60Z", 951868800000},
        {"1969-12-31T23:59:59.999Z", -1},
        {"0001-01-01T00:00:00Z", -62135596800000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms;
        assert_err(ERR_OK, timestamp_parse_iso8601(sv(rows[i].text), &ms));
        assert_int_equal(rows[i].ms, ms);
    }
    char text[TIMESTAMP_TEXT_BYTES];
    timestamp_format_iso8601(1795242600123, text);
    assert_string_equal("2026-11-21T06:30:00.123Z", text);
    timestamp_format_iso8601(-1, text);
    assert_string_equal("1969-12-31T23:59:59.999Z", text);
}

static void test_timestamp_parse__what_is_not_a_time__is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "2026",
        "2026-11-21",
        "2026-11-21T06:30:00",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T06:30:00.Z",
        "2026-11-21T06:30:00Zx",
        "2026-11-21T06:30:00+24:00",
        "2O26-11-21T06:30:00Z",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int64_t ms;
        assert_err(ERR_TIMESTAMP, timestamp_parse_iso8601(sv(texts[i]), &ms));
    }
}

static void test_utf8_is_cut__only_before_the_end_of_a_valid_sequence(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int is_cut;
    } rows[] = {
        {"\xC3", 1},     {"\xE2\x82", 1}, {"\xF0\x9F\x98", 1}, {"\xF4\x8F", 1}, {"a", 0},
        {"\xC3\xA4", 0}, {"\x80", 0},     {"\xC0", 0},         {"\xE0\x80", 0}, {"\xED\xA0", 0},
        {"\xF4\x90", 0}, {"\xF5", 0},     {"\xE2\x82\x41", 0}, {"\xE2\x41", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(rows[i].is_cut, utf8_is_cut(rows[i].bytes, strlen(rows[i].bytes)) != 0);
    }
}

static void test_utf8__counts_code_points(void **state)
{
    (void)state;
    assert_int_equal(4, utf8_length(sv("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80")));
    assert_int_equal(3, utf8_valid_bytes(sv("a\xC3\xA4\xFF")));
}

static void test_err__every_row__has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_true(err_title((enum err)i)[0]);
        assert_true(err_http_status((enum err)i) >= 200);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(err_name((enum err)i), err_name((enum err)j));
        }
    }
    struct err_info info = {0};
    assert_string_equal("internal error", err_detail(ERR_INTERNAL, &info));
    assert_err(ERR_IO, err_set(&info, ERR_IO, "%s: gone", "x.json"));
    assert_string_equal("x.json: gone", err_detail(ERR_IO, &info));
    assert_err(ERR_IO, err_set(&info, ERR_IO, "topic %s", "\xFF\xC3\xA4\xE2\x82"));
    assert_string_equal("topic ?\xC3\xA4??", info.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_append__past_the_bound__changes_nothing),
        cmocka_unit_test(test_buf_append_json_string__hostile_text__is_valid_json),
        cmocka_unit_test(test_arena__reset__reuses_its_blocks),
        cmocka_unit_test(test_timestamp__iso8601__both_ways),
        cmocka_unit_test(test_timestamp_parse__what_is_not_a_time__is_refused),
        cmocka_unit_test(test_utf8__counts_code_points),
        cmocka_unit_test(test_utf8_is_cut__only_before_the_end_of_a_valid_sequence),
        cmocka_unit_test(test_err__every_row__has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
