#include "stream/senders.h"

#include "stream/watermark.h"
#include "test.h"

static int64_t hear(struct senders *senders, uint32_t id, int64_t reached_ms)
{
    return senders_hear(senders, &(struct sender){id, reached_ms});
}

static void test_senders__several__is_the_lowest(void **state)
{
    (void)state;
    struct senders senders = {.skew_ms = 1000};
    assert_int_equal(500, hear(&senders, 1, 500));
    assert_int_equal(300, hear(&senders, 2, 300));
    assert_int_equal(300, hear(&senders, 1, 900));
    assert_int_equal(900, hear(&senders, 2, 950));
    assert_int_equal(900, hear(&senders, 2, 20)); /* what was promised stays */
    assert_int_equal(2, senders.count);
}

static void test_senders__too_far_behind__is_not_waited_for(void **state)
{
    (void)state;
    struct senders senders = {.skew_ms = 1000};
    assert_int_equal(500, hear(&senders, 1, 500));
    assert_int_equal(500, hear(&senders, 2, 1500)); /* as far as it may be */
    assert_int_equal(1501, hear(&senders, 2, 1501));
    assert_int_equal(1, senders.count);
    assert_int_equal(1501, hear(&senders, 1, 400)); /* it comes back, too far behind still */
    assert_int_equal(600, hear(&senders, 1, 600));  /* … and is waited for */
    assert_int_equal(1501, hear(&senders, 1, 1700));
}

static void test_senders__no_skew__is_the_highest(void **state)
{
    (void)state;
    struct senders senders = {.skew_ms = 0};
    assert_int_equal(500, hear(&senders, 1, 500));
    assert_int_equal(500, hear(&senders, 2, 499));
    assert_int_equal(700, hear(&senders, 2, 700));
}

static void test_senders__too_many__the_lowest_is_forgotten(void **state)
{
    (void)state;
    struct senders senders = {.skew_ms = INT64_MAX / 2};
    for (uint32_t i = 0; i < SENDERS_MAX; i++) {
        assert_int_equal(100, hear(&senders, i, 100 + i));
    }
    assert_int_equal(100, hear(&senders, 1000, 99)); /* it would be the lowest itself */
    assert_int_equal(101, hear(&senders, 1001, 5000));
    assert_int_equal(SENDERS_MAX, senders.count);
}

static void test_sender_read__what_was_written(void **state)
{
    (void)state;
    static const struct sender rows[] = {{0, 0}, {7, 1700000000000}, {UINT32_MAX, -5}};
    char text[SENDER_TEXT_BYTES];
    struct sender got;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(sender_read(sender_write(&rows[i], text), &got));
        assert_int_equal(rows[i].id, got.id);
        assert_int_equal(rows[i].reached_ms, got.reached_ms);
    }
}

static void test_sender_read__anything_else__is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        " ",
        "1",
        "1 ",
        "1 x",
        "1 2 ",
        "1  2",
        "-1 2",
        "1 -",
        "4294967296 1",
        "1 1234567890123456789",
        "x",
    };
    struct sender got;
    assert_false(sender_read((struct strview){NULL, 0}, &got));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (sender_read(sv(rows[i]), &got)) {
            fail_msg("\"%s\" was read", rows[i]);
        }
    }
}

static void test_senders_id__every_sender_has_its_own(void **state)
{
    (void)state;
    assert_int_not_equal(senders_id(0, SENDER_OF_RESULTS), senders_id(0, 0));
    assert_int_not_equal(senders_id(0, WATERMARK_INPUTS_MAX - 1), senders_id(1, SENDER_OF_RESULTS));
    assert_int_not_equal(senders_id(0, WATERMARK_INPUTS_MAX - 1), senders_id(1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_senders__several__is_the_lowest),
        cmocka_unit_test(test_senders__too_far_behind__is_not_waited_for),
        cmocka_unit_test(test_senders__no_skew__is_the_highest),
        cmocka_unit_test(test_senders__too_many__the_lowest_is_forgotten),
        cmocka_unit_test(test_sender_read__what_was_written),
        cmocka_unit_test(test_sender_read__anything_else__is_refused),
        cmocka_unit_test(test_senders_id__every_sender_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
