#include "stream/input_order.h"

#include "test.h"

static void test_input_order__lowest_time_goes_first(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 3, 0);
    input_order_record(&order, 0, 300);
    input_order_record(&order, 1, 100);
    input_order_record(&order, 2, 200);
    assert_int_equal(1, input_order_next(&order, 0));
    input_order_record(&order, 1, 250); /* its next one */
    assert_int_equal(2, input_order_next(&order, 0));
}

static void test_input_order__equal_times__first_input_goes_first(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 2, 0);
    input_order_record(&order, 0, 100);
    input_order_record(&order, 1, 100);
    assert_int_equal(0, input_order_next(&order, 0));
}

static void test_input_order__no_time__is_taken_at_once(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 2, 0);
    input_order_record(&order, 0, 0);
    input_order_record(&order, 1, INT64_MIN);
    assert_int_equal(1, input_order_next(&order, 0));
}

static void test_input_order__unknown_input__holds_up_the_others(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 2, 0);
    input_order_record(&order, 0, 100);
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 1000000));
    input_order_empty(&order, 1, false, 1000000);
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 2000000));
    input_order_record(&order, 1, 50);
    assert_int_equal(1, input_order_next(&order, 2000000));
    input_order_empty(&order, 1, false, 2000000); /* it had a record: there may be more */
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 3000000));
}

static void test_input_order__input_at_its_end__holds_up_nobody(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 2, 0);
    input_order_record(&order, 0, 100);
    input_order_empty(&order, 1, true, 5);
    assert_int_equal(0, input_order_next(&order, 5));
    input_order_empty(&order, 0, true, 5);
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 5)); /* nothing to take */
}

static void test_input_order__wait__starts_when_the_end_is_first_seen(void **state)
{
    (void)state;
    struct input_order order;
    input_order_init(&order, 2, 1000);
    input_order_record(&order, 0, 100);
    input_order_empty(&order, 1, true, 5000);
    input_order_empty(&order, 1, true, 5900); /* still there: the wait is not begun anew */
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 5999));
    assert_int_equal(0, input_order_next(&order, 6000));
    input_order_record(&order, 1, 90);
    assert_int_equal(1, input_order_next(&order, 6000));
    input_order_empty(&order, 1, true, 7000); /* begun anew */
    assert_int_equal(INPUT_ORDER_NONE, input_order_next(&order, 7999));
    assert_int_equal(0, input_order_next(&order, 8000));
}

/* Whatever is delivered when: the merged order is that of the times, each input's own order kept. */
static void test_input_order__any_delivery__gives_the_same_order(void **state)
{
    (void)state;
    enum { INPUTS = 3, RECORDS = 40 };
    unsigned seed = 1;
    for (int round = 0; round < TEST_RUNS(500); round++) {
        struct input_order order;
        unsigned delivered[INPUTS] = {0}, taken[INPUTS] = {0}, all = 0;
        int64_t last_ms = INT64_MIN;
        input_order_init(&order, INPUTS, 0);
        while (all < INPUTS * RECORDS) {
            seed = seed * 1103515245 + 12345;
            unsigned from = seed >> 16 & 0xff;
            delivered[from % INPUTS] += delivered[from % INPUTS] < RECORDS;
            for (unsigned i = 0; i < INPUTS; i++) { /* record n of input i has the time 10 n + i */
                if (taken[i] < delivered[i]) {
                    input_order_record(&order, i, 10 * (int64_t)taken[i] + i);
                } else {
                    input_order_empty(&order, i, taken[i] == RECORDS, round);
                }
            }
            int next = input_order_next(&order, round);
            if (next == INPUT_ORDER_NONE) {
                continue;
            }
            int64_t time_ms = 10 * (int64_t)taken[next] + next;
            assert_true(time_ms > last_ms);
            last_ms = time_ms;
            taken[next]++;
            all++;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_order__lowest_time_goes_first),
        cmocka_unit_test(test_input_order__equal_times__first_input_goes_first),
        cmocka_unit_test(test_input_order__no_time__is_taken_at_once),
        cmocka_unit_test(test_input_order__unknown_input__holds_up_the_others),
        cmocka_unit_test(test_input_order__input_at_its_end__holds_up_nobody),
        cmocka_unit_test(test_input_order__wait__starts_when_the_end_is_first_seen),
        cmocka_unit_test(test_input_order__any_delivery__gives_the_same_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
