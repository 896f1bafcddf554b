/* Pages of rows that come in any order, against all of them sorted. */
#include "frames.h"
#include "rows.h"

#include <stdio.h>

#define ROUNDS   400
#define ROWS_MAX 300

static struct frame_maker maker;
static unsigned randomness = 20261126;

static unsigned random_below(unsigned n)
{
    randomness = randomness * 1103515245 + 12345;
    return (randomness >> 8) % n;
}

/* One key in `long_in` is too long for a cursor: a page does not end behind it. */
static struct frame *frame_random(int64_t offset, unsigned long_in)
{
    static char key[ROW_KEY_BYTES_MAX + 16];
    size_t pad = random_below(long_in) == 0 ? ROW_KEY_BYTES_MAX : 0;
    memset(key, 'k', pad);
    (void)snprintf(key + pad, sizeof key - pad, "%u", random_below(20));
    const struct frame_record record = {.topic_name = SV("orders"),
                                        .partition = (int32_t)random_below(3),
                                        .offset = offset,
                                        .timestamp_ms = random_below(50),
                                        .key = sv(key),
                                        .value = SV("{}"),
                                        .cursor = SV("orders~0=1")};
    return frame_new(&maker, &record);
}

static struct row_mark mark_of(const struct frame *frame)
{
    return (struct row_mark){frame->timestamp_ms, ROW_NO_WINDOW, frame->key, frame->partition,
                             frame->offset};
}

static void expect_same(const struct rows *wanted, const struct rows *got)
{
    assert_int_equal(wanted->count, got->count);
    for (size_t i = 0; i < wanted->count; i++) {
        assert_ptr_equal(wanted->items[i].frame, got->items[i].frame);
    }
}

static void check_round(unsigned count, unsigned long_in)
{
    struct rows all = {0}, some = {0};
    const struct rows_query query = {.limit = 1 + random_below(12),
                                     .is_descending = random_below(2)};
    struct rows_page page = rows_page_begin(&some, &query, row_compare_time);
    for (unsigned i = 0; i < count; i++) {
        struct frame *frame = frame_random(i, long_in);
        const struct row_mark mark = mark_of(frame);
        rows_add(&all, &mark, frame);
        rows_page_add(&page, &mark, frame);
        frame_unref(frame);
        if (long_in == UINT32_MAX) {
            assert_true(some.count <= 2 * query.limit + 2);
        }
    }
    bool has_more = rows_cut(&all, &query, row_compare_time);
    assert_int_equal(has_more, rows_page_end(&page));
    expect_same(&all, &some);
    rows_free(&all);
    rows_free(&some);
}

static void test_page__of_rows_in_any_order__is_that_of_all_sorted(void **state)
{
    (void)state;
    frame_maker_init(&maker, NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        check_round(random_below(ROWS_MAX), UINT32_MAX);
        check_round(random_below(ROWS_MAX), 1 + random_below(10)); /* 1: every key */
    }
    frame_maker_free(&maker);
}

static void test_page__that_was_trimmed__goes_on_as_one(void **state)
{
    (void)state;
    frame_maker_init(&maker, NULL);
    struct rows all = {0}, some = {0};
    const struct rows_query query = {.limit = 5};
    struct rows_page page = rows_page_begin(&some, &query, row_compare_time);
    for (unsigned i = 0; i < ROWS_MAX; i++) {
        struct frame *frame = frame_random(i, UINT32_MAX);
        const struct row_mark mark = mark_of(frame);
        rows_add(&all, &mark, frame);
        rows_add(&some, &mark, frame);
        frame_unref(frame);
        if (i % 7 == 0) {
            rows_page_trim(&page);
        }
    }
    assert_true(rows_page_end(&page));
    assert_true(rows_cut(&all, &query, row_compare_time));
    expect_same(&all, &some);
    rows_free(&all);
    rows_free(&some);
    frame_maker_free(&maker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page__of_rows_in_any_order__is_that_of_all_sorted),
        cmocka_unit_test(test_page__that_was_trimmed__goes_on_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
