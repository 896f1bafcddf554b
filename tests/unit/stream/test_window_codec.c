/* The bytes of a changelog record are pinned: state that one release wrote is read by the next. */
#include "stream/window_codec.h"

#include "core/attributes.h"
#include "test.h"

/* Two sums: a state has no section. */
static const struct aggregate TWO = {.fixed_bytes = 48};

static const char VALUE[] =
    "\x02"                             /* version */
    "\xAB\xCD\x01\x02"                 /* layout */
    "\x00\x00\x00\x00\x00\x00\x00\x2A" /* offset 42 */
    "\x03\x00\x00\x00\x00\x00\x00\x00" /* from here on as in memory: count 3 */
    "\x00\x68\xE5\xCF\x8B\x01\x00\x00" /* 1700000000000 */
    "\x00\xCA\x9A\x3B\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" /* 1 */
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
    alignas(16) unsigned char two[48] = {0};
    struct totals *totals = (struct totals *)(void *)two;
    *totals = (struct totals){.count = 3, .timestamp_max_ms = 1700000000000};
    struct decimal *values = (struct decimal *)(void *)totals->fixed;
    values[0] = decimal_from_int(1);
    values[1].nano = -1;
    assert_err(ERR_OK, window_encode_value(&TWO, totals, LAYOUT, 42, &out));
    assert_int_equal(sizeof VALUE - 1, out.len);
    assert_memory_equal(VALUE, out.data, out.len);
    buf_free(&out);
}

static void test_window_decode_value__what_was_encoded(void **state)
{
    (void)state;
    struct strview bytes, value = sv_of(VALUE, sizeof VALUE - 1);
    int64_t next_offset;
    assert_err(ERR_OK, window_decode_value(value, LAYOUT, &bytes, &next_offset, NULL));
    assert_int_equal(42, next_offset);
    assert_int_equal(48, bytes.len);
    assert_memory_equal(VALUE + 13, bytes.ptr, bytes.len);
}

static void test_window_decode__damaged__is_refused(void **state)
{
    (void)state;
    int64_t number;
    struct strview key, bytes, value = sv_of(VALUE, sizeof VALUE - 1);
    assert_err(ERR_STATE, window_decode_value(value, LAYOUT + 1, &bytes, &number, NULL));
    value.len = 12;
    assert_err(ERR_STATE, window_decode_value(value, LAYOUT, &bytes, &number, NULL));
    assert_err(ERR_STATE, window_decode_value(sv_of("\x01", 1), LAYOUT, &bytes, &number, NULL));
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
