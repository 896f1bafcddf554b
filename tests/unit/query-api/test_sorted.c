#include "sorted.h"
#include "test.h"

#define NUMBERS 5000

static int compare(const void *a, const void *b)
{
    const int *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void expect_walks(const struct sorted *sorted, const bool *is_in)
{
    struct sorted_place up = {0, 0}, down = sorted_end(sorted);
    for (int i = 0; i < NUMBERS; i++) {
        if (is_in[i]) {
            assert_int_equal(i, *(int *)sorted_next(sorted, &up));
        }
        if (is_in[NUMBERS - 1 - i]) {
            assert_int_equal(NUMBERS - 1 - i, *(int *)sorted_previous(sorted, &down));
        }
    }
    assert_null(sorted_next(sorted, &up));
    assert_null(sorted_previous(sorted, &down));
}

static void expect_places(const struct sorted *sorted, const bool *is_in)
{
    int above = NUMBERS; /* the first that is not below i */
    for (int i = NUMBERS - 1; i >= 0; i--) {
        above = is_in[i] ? i : above;
        assert_int_equal(is_in[i], sorted_find(sorted, &i) != NULL);
        struct sorted_place place = sorted_lower(sorted, &i);
        const int *found = sorted_next(sorted, &place);
        assert_int_equal(above, found ? *found : NUMBERS);
    }
}

static void test_sorted__random_additions_and_removals__as_a_set(void **state)
{
    (void)state;
    static int numbers[NUMBERS];
    static bool is_in[NUMBERS];
    struct sorted sorted;
    unsigned random = 20240607;
    size_t count = 0;
    sorted_init(&sorted, compare);
    for (int round = 0; round < 120000; round++) {
        random = random * 1103515245 + 12345;
        int i = (int)(random >> 8) % NUMBERS;
        /* Now it grows, now it shrinks: blocks split and come together. */
        bool wants_in = (random >> 4 & 15) < (unsigned)(round / 20000 % 2 ? 2 : 14);
        numbers[i] = i;
        if (wants_in && !is_in[i]) {
            sorted_add(&sorted, &numbers[i]);
        } else if (!wants_in && is_in[i]) {
            sorted_remove(&sorted, &numbers[i]);
        } else {
            continue;
        }
        is_in[i] = wants_in;
        count += wants_in ? 1 : (size_t)-1;
        assert_int_equal(count, sorted.count);
        if (round % 5000 == 0) {
            expect_walks(&sorted, is_in);
        }
    }
    expect_walks(&sorted, is_in);
    expect_places(&sorted, is_in);
    assert_true(sorted.block_count <= sorted.count / (SORTED_BLOCK / 8) + 2);
    sorted_deinit(&sorted);
}

static void test_sorted__in_order__fills_whole_blocks(void **state)
{
    (void)state;
    static int numbers[SORTED_BLOCK * 10];
    struct sorted sorted;
    sorted_init(&sorted, compare);
    for (int i = 0; i < SORTED_BLOCK * 10; i++) {
        numbers[i] = i;
        sorted_add(&sorted, &numbers[i]);
    }
    assert_int_equal(10, sorted.block_count);
    for (int i = 0; i < SORTED_BLOCK * 10; i++) { /* the oldest go first */
        struct sorted_place first = {0, 0};
        assert_ptr_equal(&numbers[i], sorted_next(&sorted, &first));
        sorted_remove(&sorted, &numbers[i]);
    }
    assert_int_equal(0, sorted.block_count);
    sorted_deinit(&sorted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted__random_additions_and_removals__as_a_set),
        cmocka_unit_test(test_sorted__in_order__fills_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
