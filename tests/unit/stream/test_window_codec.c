/* The bytes of a changelog record are pinned: state that one release wrote is read by the next. */
#include "stream/window_codec.h"

#include "core/attributes.h"
#include "test.h"

union totals_of_two {
    struct totals totals;
    unsigned char bytes[sizeof(struct totals) + 2 * sizeof(struct decimal)];
};

static const char VALUE[] =
    "\x01"                                                             /* version */
    "\xAB\xCD\x01\x02"                                                 /* layout */
    "\x00\x00\x01\x8B\xCF\xE5\x68\x00"                                 /* 1700000000000 */
    "\x00\x00\x00\x00\x00\x00\x00\x2A"                                 /* offset 42 */
    "\x00\x00\x00\x00\x00\x00\x00\x03"                                 /* count 3 */
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x3B\x9A\xCA\x00" /* 1 */
    "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
#define LAYOUT 0xABCD0102U

static void test_window_encode_key__kafka_streams_layout(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    assert_err(ERR_OK, window_encode_key(SV("prod-1"), 1700000000000, &out));
    assert_int_equal(18, out.len);
    assert_memory_equal("prod-1\x00\x00\x01\x8B\xCF\xE5\x68\x00\x00\x00\x00\x00", out.data, 18);
    struct strview key;
    int64_t start_ms;
    assert_err(ERR_OK, window_decode_key(buf_view(&out), &key, &start_ms));
    assert_sv("prod-1", key);
    assert_int_equal(1700000000000, start_ms);
    buf_free(&out);
}

static void test_window_encode_value__pinned_bytes(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    union totals_of_two two = {.totals = {.count = 3, .timestamp_max_ms = 1700000000000}};
    two.totals.values[0] = decimal_from_int(1);
    two.totals.values[1].nano = -1;
    assert_err(ERR_OK, window_encode_value(&two.totals, 2, LAYOUT, 42, &out));
    assert_int_equal(sizeof VALUE - 1, out.len);
    assert_memory_equal(VALUE, out.data, out.len);
    buf_free(&out);
}

static void test_window_decode_value__what_was_encoded(void **state)
{
    (void)state;
    union totals_of_two two = {0};
    int64_t next_offset;
    struct strview value = sv_of(VALUE, sizeof VALUE - 1);
    assert_err(ERR_OK, window_decode_value(value, 2, LAYOUT, &two.totals, &next_offset, NULL));
    assert_int_equal(42, next_offset);
    assert_int_equal(3, two.totals.count);
    assert_int_equal(1700000000000, two.totals.timestamp_max_ms);
    assert_int_equal(0, decimal_compare(two.totals.values[0], decimal_from_int(1)));
    assert_true(two.totals.values[1].nano == -1);
}

static void test_window_decode__damaged__is_refused(void **state)
{
    (void)state;
    union totals_of_two two = {0};
    int64_t number;
    struct strview key;
    struct strview value = sv_of(VALUE, sizeof VALUE - 1);
    assert_err(ERR_STATE, window_decode_value(value, 1, LAYOUT, &two.totals, &number, NULL));
    assert_err(ERR_STATE, window_decode_value(value, 2, LAYOUT + 1, &two.totals, &number, NULL));
    value.len--;
    assert_err(ERR_STATE, window_decode_value(value, 2, LAYOUT, &two.totals, &number, NULL));
    assert_err(ERR_STATE, window_decode_key(sv_of(VALUE, 12), &key, &number)); /* no key */
    assert_err(ERR_STATE, window_decode_key(SV("a\xFF\0\0\0\0\0\0\0\0\0\0\0"), &key, &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_encode_key__kafka_streams_layout),
        cmocka_unit_test(test_window_encode_value__pinned_bytes),
        cmocka_unit_test(test_window_decode_value__what_was_encoded),
        cmocka_unit_test(test_window_decode__damaged__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
