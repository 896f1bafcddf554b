/* Token buckets; time is a number here. */
#include "core/rate_limiter.h"

#include <pthread.h>

#include "test.h"

#define SECOND_US 1000000

static int start(void **state)
{
    *state = rate_limiter_new(64);
    return 0;
}

static int stop(void **state)
{
    rate_limiter_free(*state);
    return 0;
}

static void test_rate_limiter__no_limit__always_passes(void **state)
{
    const struct rate_limits none = {.burst = 1};
    rate_limiter_spend(*state, 7, &none, SECOND_US, 1 << 30, 1 << 30);
    assert_int_equal(0, rate_limiter_wait_us(*state, 7, &none, SECOND_US));
}

static void test_rate_limiter__burst__then_the_rate(void **state)
{
    const struct rate_limits limits = {.events = 10, .burst = 1};
    const int64_t now_us = 100 * (int64_t)SECOND_US;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(0, rate_limiter_wait_us(*state, 1, &limits, now_us));
        rate_limiter_spend(*state, 1, &limits, now_us, 1, 0);
    }
    const int64_t wait_us = rate_limiter_wait_us(*state, 1, &limits, now_us);
    assert_true(wait_us >= 1 && wait_us <= SECOND_US / 10);
    assert_int_equal(0, rate_limiter_wait_us(*state, 1, &limits, now_us + wait_us));
    assert_int_equal(0, rate_limiter_wait_us(*state, 2, &limits, now_us)); /* another's */
    /* In the long run as many as the rate says. */
    int passed = 0;
    for (int64_t at_us = now_us; at_us < now_us + 100 * (int64_t)SECOND_US; at_us += 20000) {
        if (rate_limiter_wait_us(*state, 1, &limits, at_us) == 0) {
            rate_limiter_spend(*state, 1, &limits, at_us, 1, 0);
            passed++;
        }
    }
    assert_in_range(passed, 990, 1001);
}

/* A batch larger than the bucket passes, and is paid off before the next. */
static void test_rate_limiter__large_batch__is_paid_off(void **state)
{
    const struct rate_limits limits = {.events = 100, .burst = 1};
    assert_int_equal(0, rate_limiter_wait_us(*state, 1, &limits, SECOND_US));
    rate_limiter_spend(*state, 1, &limits, SECOND_US, 1000, 0);
    const int64_t wait_us = rate_limiter_wait_us(*state, 1, &limits, SECOND_US);
    assert_in_range(wait_us, 9 * SECOND_US, 9 * SECOND_US + 10);
    assert_true(rate_limiter_wait_us(*state, 1, &limits, SECOND_US + wait_us - 2) > 0);
    assert_int_equal(0, rate_limiter_wait_us(*state, 1, &limits, SECOND_US + wait_us));
}

static void test_rate_limiter__bytes__are_a_bucket_of_their_own(void **state)
{
    const struct rate_limits limits = {.events = 1000, .bytes = 1e9, .burst = 1};
    rate_limiter_spend(*state, 1, &limits, SECOND_US, 1, 3000000000);
    const int64_t wait_us = rate_limiter_wait_us(*state, 1, &limits, SECOND_US);
    assert_in_range(wait_us, 2 * SECOND_US, 2 * SECOND_US + 10);
}

static void test_rate_limiter__debt__has_an_end(void **state)
{
    const struct rate_limits limits = {.events = 0.001, .burst = 1};
    for (int i = 0; i < 100; i++) {
        rate_limiter_spend(*state, 1, &limits, SECOND_US, INT64_MAX, 0);
    }
    assert_true(rate_limiter_wait_us(*state, 1, &limits, SECOND_US) <= 3600 * (int64_t)SECOND_US);
}

/* Far more ids than slots: nobody gets more than the rate, and full buckets' slots are reused. */
static void test_rate_limiter__more_ids_than_slots__stricter_never_looser(void **state)
{
    const struct rate_limits limits = {.events = 1, .burst = 1};
    int passed = 0;
    for (uint64_t id = 1; id <= 1000; id++) {
        for (int i = 0; i < 3; i++) {
            if (rate_limiter_wait_us(*state, id * 2654435761u, &limits, SECOND_US) == 0) {
                rate_limiter_spend(*state, id * 2654435761u, &limits, SECOND_US, 1, 0);
                passed++;
            }
        }
    }
    assert_in_range(passed, 60, 64); /* one a slot */
    assert_int_equal(0, rate_limiter_wait_us(*state, 99, &limits, 3 * SECOND_US));
}

#define THREADS 4
#define SPENDS  20000

static void *spend_many(void *rate)
{
    const struct rate_limits limits = {.events = 1000, .burst = 1};
    for (int i = 0; i < SPENDS; i++) {
        rate_limiter_spend(rate, 5, &limits, SECOND_US, 1, 0);
    }
    return NULL;
}

static void test_rate_limiter__many_threads__all_pay(void **state)
{
    const struct rate_limits limits = {.events = 1000, .burst = 1};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(0, pthread_create(&threads[i], NULL, spend_many, *state));
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    const int64_t wait_us = rate_limiter_wait_us(*state, 5, &limits, SECOND_US);
    assert_in_range(wait_us, 79 * SECOND_US, 79 * SECOND_US + 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_rate_limiter__##name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_limit__always_passes),  TEST(burst__then_the_rate),
        TEST(large_batch__is_paid_off), TEST(bytes__are_a_bucket_of_their_own),
        TEST(debt__has_an_end),         TEST(more_ids_than_slots__stricter_never_looser),
        TEST(many_threads__all_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
