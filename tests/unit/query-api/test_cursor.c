#include "cursor.h"
#include "test.h"

#include <stdlib.h>

static const struct strview topics[] = {SV("orders"), SV("product-metrics")};

static enum err parse(struct strview text, struct cursor *cursor, struct err_info *info)
{
    /* In memory of its exact size, so that a sanitizer sees a read past the end. */
    char *exact = must_alloc(text.len + (text.len == 0));
    memcpy(exact, text.ptr, text.len);
    enum err e = cursor_parse(sv_of(exact, text.len), topics, ARRAY_LEN(topics), cursor, info);
    free(exact);
    return e;
}

static int64_t next_of(const struct cursor *cursor, uint32_t topic, int32_t partition)
{
    for (size_t i = 0; i < cursor->count; i++) {
        if (cursor->positions[i].topic == topic && cursor->positions[i].partition == partition) {
            return cursor->positions[i].next;
        }
    }
    fail_msg("topic %u has no partition %d", topic, partition);
    return 0;
}

static void test_cursor_parse__both_forms__same_positions(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "orders~0=12,1=9223372036854775806;product-metrics~3=7",
        "[{\"topic\":\"orders\",\"partition\":0,\"offset\":12},"
        "{\"topic\":\"orders\",\"partition\":1,\"offset\":9223372036854775806},"
        "{\"topic\":\"product-metrics\",\"partition\":3,\"offset\":7}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cursor cursor = {0};
        assert_err(ERR_OK, parse(sv(texts[i]), &cursor, NULL));
        assert_int_equal(3, cursor.count);
        assert_int_equal(12, next_of(&cursor, 0, 0));
        assert_true(next_of(&cursor, 0, 1) == INT64_MAX - 1);
        assert_int_equal(7, next_of(&cursor, 1, 3));
        cursor_free(&cursor);
    }
}

static void test_cursor_parse__other_topics__are_left_out(void **state)
{
    (void)state;
    struct cursor cursor = {0};
    assert_err(ERR_OK, parse(SV("other~0=1;orders~5=6"), &cursor, NULL));
    assert_int_equal(1, cursor.count);
    assert_int_equal(6, next_of(&cursor, 0, 5));
    cursor_free(&cursor);
}

static void test_cursor_parse__kafkasse_minus_one__is_latest(void **state)
{
    (void)state;
    struct cursor cursor = {0};
    assert_err(ERR_OK,
               parse(SV("[{\"topic\":\"orders\",\"partition\":2,\"offset\":-1}]"), &cursor, NULL));
    assert_int_equal(CURSOR_LATEST, next_of(&cursor, 0, 2));
    cursor_free(&cursor);
}

static void test_cursor_parse__kafkasse_timestamp__is_a_time_unless_there_is_an_offset(void **state)
{
    (void)state;
    struct cursor cursor = {0};
    assert_err(ERR_OK,
               parse(SV("[{\"topic\":\"orders\",\"partition\":0,\"timestamp\":0},"
                        "{\"topic\":\"orders\",\"partition\":1,\"timestamp\":1700000000000},"
                        "{\"topic\":\"orders\",\"partition\":2,\"offset\":5,\"timestamp\":7}]"),
                     &cursor, NULL));
    assert_true(cursor_is_time(next_of(&cursor, 0, 0)));
    assert_true(cursor_time(next_of(&cursor, 0, 0)) == 0);
    assert_true(cursor_time(next_of(&cursor, 0, 1)) == 1700000000000);
    assert_int_equal(5, next_of(&cursor, 0, 2));
    assert_false(cursor_is_time(CURSOR_EARLIEST));
    cursor_free(&cursor);
}

static void test_cursor__epoch__is_said_and_read_back(void **state)
{
    (void)state;
    const int64_t next[] = {7, 8};
    struct buf text;
    buf_init(&text, 4096);
    cursor_append(&text, SV("orders"), next, 2, 0x9f03a1c2);
    assert_sv("orders~0=7,1=8,e=9f03a1c2", buf_view(&text));
    CHECK(buf_append_view(&text, SV(";product-metrics~0=1")) == ERR_OK);
    struct cursor cursor = {0};
    assert_err(ERR_OK, parse(buf_view(&text), &cursor, NULL));
    assert_int_equal(3, cursor.count);
    assert_true(cursor.epochs[0] == 0x9f03a1c2 && cursor.epochs[1] == 0);
    cursor_free(&cursor);
    buf_reset(&text);
    cursor_append(&text, SV("orders"), NULL, 0, 1); /* no partition is known yet */
    assert_sv("orders~e=00000001", buf_view(&text));
    assert_err(ERR_OK, parse(buf_view(&text), &cursor, NULL));
    assert_true(cursor.count == 0 && cursor.epochs[0] == 1);
    cursor_free(&cursor);
    assert_err(ERR_OK, parse(SV("other~0=1,e=00000002"), &cursor, NULL));
    assert_null(cursor.epochs);
    cursor_free(&cursor);
    buf_free(&text);
}

static void test_cursor_parse__hostile__is_refused(void **state)
{
    (void)state;
    static const struct strview texts[] = {
        SV(""),
        SV("orders"),
        SV("orders~"),
        SV("~0=1"),
        SV("orders~0"),
        SV("orders~0="),
        SV("orders~=1"),
        SV("orders~0=1,"),
        SV("orders~0=1;"),
        SV(";orders~0=1"),
        SV("orders~0=1;;orders~1=1"),
        SV("orders~0=-1"),
        SV("orders~-1=1"),
        SV("orders~0=1 "),
        SV(" orders~0=1"),
        SV("orders~0=9223372036854775807"), /* + 1 must not overflow */
        SV("orders~0=9223372036854775808"),
        SV("orders~0=99999999999999999999999999"),
        SV("orders~2147483648=1"),
        SV("orders~0=1\0"),
        SV("or\0ders~0=1"),
        SV("or/ders~0=1"),
        SV("orders~0x1=1"),
        SV("orders~e="),
        SV("orders~e=1"),
        SV("orders~e=0123456"),
        SV("orders~e=0123456789"),
        SV("orders~e=0123456G"),
        SV("orders~e=ABCDEF01"),
        SV("orders~f=01234567"),
        SV("\xff\xfe"),
        SV("["),
        SV("[]"),
        SV("[1]"),
        SV("[{}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"offset\":-2}]"),
        SV("[{\"topic\":\"orders\",\"partition\":-1,\"offset\":0}]"),
        SV("[{\"topic\":\"orders\",\"partition\":4294967296,\"offset\":0}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"offset\":9223372036854775807}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"offset\":1.5}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"offset\":null,\"timestamp\":1}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"timestamp\":-1}]"),
        SV("[{\"topic\":\"orders\",\"partition\":0,\"timestamp\":9223372036854775807}]"),
        SV("[{\"topic\":7,\"partition\":0,\"offset\":1}]"),
        SV("{\"topic\":\"orders\",\"partition\":0,\"offset\":1}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cursor cursor = {0};
        struct err_info info = {0};
        enum err e = parse(texts[i], &cursor, &info);
        if (e != ERR_CURSOR || !info.text[0] || cursor.positions) {
            fail_msg("\"%.*s\": %s", SV_ARG(texts[i]), err_name(e));
        }
    }
}

static void test_cursor_parse__too_long__is_refused(void **state)
{
    (void)state;
    size_t len = CURSOR_BYTES_MAX + 1;
    char *text = must_alloc(len);
    memset(text, 'a', len);
    struct cursor cursor = {0};
    struct err_info info = {0};
    assert_err(ERR_CURSOR, parse(sv_of(text, len), &cursor, &info));
    assert_err(ERR_CURSOR, parse(sv_of(text, CURSOR_TOPIC_BYTES_MAX + 1), &cursor, &info));
    memset(text, '[', CURSOR_BYTES_MAX); /* deep */
    assert_err(ERR_CURSOR, parse(sv_of(text, CURSOR_BYTES_MAX), &cursor, &info));
    free(text);
}

static void test_cursor_append__is_what_parse_reads(void **state)
{
    (void)state;
    const int64_t next[] = {0, 9, 10, 123456789012345678, INT64_MAX - 1};
    struct buf text;
    buf_init(&text, 4096);
    cursor_append(&text, SV("orders"), next, ARRAY_LEN(next), 0);
    assert_sv("orders~0=0,1=9,2=10,3=123456789012345678,4=9223372036854775806", buf_view(&text));
    struct cursor cursor = {0};
    assert_err(ERR_OK, parse(buf_view(&text), &cursor, NULL));
    for (int32_t p = 0; p < (int32_t)ARRAY_LEN(next); p++) {
        assert_true(next_of(&cursor, 0, p) == next[p]);
    }
    cursor_free(&cursor);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor_parse__both_forms__same_positions),
        cmocka_unit_test(test_cursor_parse__other_topics__are_left_out),
        cmocka_unit_test(test_cursor_parse__kafkasse_minus_one__is_latest),
        cmocka_unit_test(
            test_cursor_parse__kafkasse_timestamp__is_a_time_unless_there_is_an_offset),
        cmocka_unit_test(test_cursor__epoch__is_said_and_read_back),
        cmocka_unit_test(test_cursor_parse__hostile__is_refused),
        cmocka_unit_test(test_cursor_parse__too_long__is_refused),
        cmocka_unit_test(test_cursor_append__is_what_parse_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
