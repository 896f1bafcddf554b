#include "stream/changelog.h"

#include "test.h"

static void test_changelog_key__is_as_kafka_streams_lays_it_out(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        enum changelog_kind kind;
        int64_t time_ms, minor;
        struct strview bytes;
    } rows[] = {
        {"plain", CHANGELOG_PLAIN, 0, 0, SV("key")},
        {"window", CHANGELOG_WINDOW, 0x0102030405060708, 0x0A0B0C0D,
         SV("key\1\2\3\4\5\6\7\10\12\13\14\15")},
        {"session: its end, then its start", CHANGELOG_SESSION, 0x0102030405060708, 0x11,
         SV("key\1\2\3\4\5\6\7\10\0\0\0\0\0\0\0\21")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf key;
        struct strview name;
        int64_t time_ms, minor;
        buf_init(&key, 100);
        assert_err(ERR_OK, changelog_encode_key(rows[i].kind, SV("key"), rows[i].time_ms,
                                                rows[i].minor, &key));
        if (!sv_equal(rows[i].bytes, buf_view(&key))) {
            fail_msg("%s", rows[i].label);
        }
        assert_err(ERR_OK,
                   changelog_decode_key(rows[i].kind, buf_view(&key), &name, &time_ms, &minor));
        assert_sv("key", name);
        assert_int_equal(rows[i].time_ms, time_ms);
        assert_int_equal(rows[i].minor, minor);
        buf_free(&key);
    }
}

static void test_changelog_decode_key__what_is_none__is_refused(void **state)
{
    (void)state;
    struct strview name;
    int64_t time_ms, minor;
    static const struct {
        enum changelog_kind kind;
        struct strview bytes;
    } rows[] = {
        {CHANGELOG_PLAIN, {NULL, 0}},
        {CHANGELOG_WINDOW, SV("12345678901")},
        {CHANGELOG_SESSION, SV("123456789012345")},
        {CHANGELOG_WINDOW, SV("key\xff\0\0\0\0\0\0\0\0\0\0\0")}, /* before 1970 */
        {CHANGELOG_SESSION, SV("\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_err(ERR_STATE,
                   changelog_decode_key(rows[i].kind, rows[i].bytes, &name, &time_ms, &minor));
    }
}

static void test_changelog_value__comes_back(void **state)
{
    (void)state;
    const struct changelog_format format = {.inputs = 2, .layout = 0x01020304};
    struct buf value;
    buf_init(&value, 100);
    assert_err(ERR_OK, changelog_encode_value(&format, (const int64_t[]){7, 0x0102030405060708},
                                              SV("bytes"), &value));
    assert_true(sv_equal(SV("\2\1\2\3\4\0\0\0\0\0\0\0\7\1\2\3\4\5\6\7\10"
                            "bytes"),
                         buf_view(&value)));
    int64_t next_offsets[2];
    struct strview bytes;
    assert_err(ERR_OK,
               changelog_decode_value(&format, buf_view(&value), next_offsets, &bytes, NULL));
    assert_int_equal(7, next_offsets[0]);
    assert_int_equal(0x0102030405060708, next_offsets[1]);
    assert_sv("bytes", bytes);
    buf_free(&value);
}

static void test_changelog_decode_value__of_others__is_refused_with_the_reason(void **state)
{
    (void)state;
    const struct changelog_format format = {.inputs = 1, .layout = 5};
    static const struct {
        struct strview value;
        const char *reason;
    } rows[] = {
        {SV(""), "cannot read"},
        {SV("\2\0\0\0"), "cannot read"},
        {SV("\1\0\0\0\5\0\0\0\0\0\0\0\1"), "cannot read"},
        {SV("\2\0\0\0\6\0\0\0\0\0\0\0\1"), "another name"},
        {SV("\2\0\0\0\5\0\0\0\0\0\0\0"), "another name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t next_offset;
        struct strview bytes;
        struct err_info info = {0};
        assert_err(ERR_STATE,
                   changelog_decode_value(&format, rows[i].value, &next_offset, &bytes, &info));
        assert_non_null(strstr(info.text, rows[i].reason));
    }
}

static void test_changelog_layout__tells_apart_where_texts_end(void **state)
{
    (void)state;
    uint32_t a = changelog_layout(changelog_layout(CHANGELOG_LAYOUT, "ab"), "c");
    uint32_t b = changelog_layout(changelog_layout(CHANGELOG_LAYOUT, "a"), "bc");
    assert_int_not_equal(a, b);
    assert_int_equal(a, changelog_layout(changelog_layout(CHANGELOG_LAYOUT, "ab"), "c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changelog_key__is_as_kafka_streams_lays_it_out),
        cmocka_unit_test(test_changelog_decode_key__what_is_none__is_refused),
        cmocka_unit_test(test_changelog_value__comes_back),
        cmocka_unit_test(test_changelog_decode_value__of_others__is_refused_with_the_reason),
        cmocka_unit_test(test_changelog_layout__tells_apart_where_texts_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
