#include "stream/watermark.h"

#include "test.h"

static void test_watermark__one_input__is_highest_less_delay(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 1, 1000, 0);
    assert_int_equal(TIME_NONE, w.value_ms);
    watermark_observe(&w, 0, 5000);
    assert_int_equal(4000, w.value_ms);
    watermark_observe(&w, 0, 3000);
    assert_int_equal(4000, w.value_ms);
    watermark_observe(&w, 0, 5001);
    assert_int_equal(4001, w.value_ms);
    assert_int_equal(5001, watermark_timestamp_max(&w));
}

static void test_watermark__several_inputs__is_the_lowest(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 3, 0, 0);
    watermark_observe(&w, 0, 100);
    watermark_observe(&w, 1, 50);
    assert_int_equal(TIME_NONE, w.value_ms); /* the third has not spoken */
    watermark_observe(&w, 2, 70);
    assert_int_equal(50, w.value_ms);
    watermark_observe(&w, 1, 90);
    assert_int_equal(70, w.value_ms);
}

static void test_watermark_quiet__needs_end_and_time_out(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 2, 0, 1000);
    watermark_observe(&w, 0, 100);
    watermark_observe(&w, 1, 50);
    assert_int_equal(50, w.value_ms);
    watermark_quiet(&w, 1, 10000, false); /* behind: however long it takes */
    watermark_quiet(&w, 1, 20000, false);
    assert_int_equal(50, w.value_ms);
    watermark_quiet(&w, 1, 20000, true);
    watermark_quiet(&w, 1, 20999, true);
    assert_int_equal(50, w.value_ms);
    watermark_quiet(&w, 1, 21000, true);
    assert_int_equal(100, w.value_ms);
    /* It comes back with something old: the watermark stays where it was. */
    watermark_observe(&w, 1, 60);
    assert_int_equal(100, w.value_ms);
    watermark_observe(&w, 0, 200);
    assert_int_equal(100, w.value_ms); /* and is held by it again */
    watermark_observe(&w, 1, 150);
    assert_int_equal(150, w.value_ms);
}

static void test_watermark_quiet__all_idle__goes_on_with_the_clock(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 1, 500, 1000);
    watermark_quiet(&w, 0, 1, true);
    watermark_quiet(&w, 0, 5000, true);
    assert_int_equal(TIME_NONE, w.value_ms); /* nothing to go on from */
    watermark_observe(&w, 0, 7000);
    watermark_quiet(&w, 0, 100000, true);
    watermark_quiet(&w, 0, 100999, true);
    assert_int_equal(6500, w.value_ms);
    watermark_quiet(&w, 0, 101000, true);
    assert_int_equal(7500, w.value_ms);
    watermark_quiet(&w, 0, 103000, true);
    assert_int_equal(9500, w.value_ms);
    watermark_quiet(&w, 0, 90000, true); /* the clock was set back */
    assert_int_equal(9500, w.value_ms);
    watermark_observe(&w, 0, 7100);
    assert_int_equal(9500, w.value_ms);
}

static void test_watermark_quiet__not_opted_in__does_nothing(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 1, 0, 0);
    watermark_observe(&w, 0, 7000);
    watermark_quiet(&w, 0, 1, true);
    watermark_quiet(&w, 0, INT64_MAX, true);
    assert_int_equal(7000, w.value_ms);
}

static void test_watermark_restore__goes_on_where_it_was(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w, 1, 10, 0);
    watermark_restore(&w, 0, 7000, 6990);
    watermark_observe(&w, 0, 6000);
    assert_int_equal(6990, w.value_ms);
    assert_int_equal(7000, watermark_timestamp_max(&w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watermark__one_input__is_highest_less_delay),
        cmocka_unit_test(test_watermark__several_inputs__is_the_lowest),
        cmocka_unit_test(test_watermark_quiet__needs_end_and_time_out),
        cmocka_unit_test(test_watermark_quiet__all_idle__goes_on_with_the_clock),
        cmocka_unit_test(test_watermark_quiet__not_opted_in__does_nothing),
        cmocka_unit_test(test_watermark_restore__goes_on_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
