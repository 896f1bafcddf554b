/* Rankings and sums against what is calculated here plainly, in whole thousandths. */
#include "fold.h"
#include "frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS 300

static struct frame_maker maker;
static unsigned randomness = 20240607;

static unsigned random_below(unsigned n)
{
    randomness = randomness * 1103515245 + 12345;
    return (randomness >> 8) % n;
}

/* What a row says: thousandths of v, and its weight. */
struct plain {
    char key; /* 0: none */
    int64_t v;
    int64_t weight;
    bool has_number;
};

static struct json_pointer *pointer(const char *text)
{
    struct json_pointer *made;
    assert_err(ERR_OK, json_pointer_new(text, &made, NULL));
    return made;
}

static void row_put(struct rows *rows, const struct plain *plain)
{
    char value[96], key[2] = {plain->key, '\0'};
    (void)snprintf(value, sizeof value, "{\"v\":%s%" PRId64 ".%03d,\"w\":%" PRId64 "}",
                   plain->v < 0 ? "-" : "", (int64_t)llabs(plain->v) / 1000,
                   (int)(llabs(plain->v) % 1000), plain->weight);
    if (!plain->has_number) {
        (void)snprintf(value, sizeof value, "{\"v\":\"12\",\"w\":1}");
    }
    struct frame *frame =
        frame_for_test(&maker, plain->key ? key : NULL, sv(value), SV("orders~0=1"));
    const struct row_mark mark = {(int64_t)rows->count, ROW_NO_WINDOW, frame->key, 1, 41};
    rows_add(rows, &mark, frame);
    frame_unref(frame);
}

static void rows_random(struct rows *rows, struct plain *plain)
{
    for (size_t i = 0; i < ROWS; i++) {
        plain[i] = (struct plain){.key = random_below(9) ? (char)('a' + random_below(5)) : '\0',
                                  .v = (int64_t)random_below(4000000) - 2000000,
                                  .weight = 1 + random_below(9),
                                  .has_number = random_below(10) != 0};
        row_put(rows, &plain[i]);
    }
}

static struct decimal decimal_from_thousandths(int64_t thousandths)
{
    struct decimal value = decimal_from_int(thousandths);
    value.nano /= 1000;
    return value;
}

static void expect_thousandths(int64_t thousandths, const struct fold_group *group)
{
    assert_false(group->is_null);
    assert_true(group->value.nano == decimal_from_thousandths(thousandths).nano);
}

static void expect_group(const struct plain *plain, enum rest_aggregate aggregate,
                         const struct fold_group *group)
{
    char key = group->key.ptr ? group->key.ptr[0] : '\0';
    int64_t sum = 0, least = INT64_MAX, most = INT64_MIN, count = 0;
    for (size_t i = 0; i < ROWS; i++) {
        if (plain[i].key == key && plain[i].has_number) {
            sum += plain[i].v;
            least = plain[i].v < least ? plain[i].v : least;
            most = plain[i].v > most ? plain[i].v : most;
            count++;
        }
    }
    assert_int_equal(count, group->count);
    if (aggregate == REST_AVG) {
        const struct decimal exact = decimal_from_thousandths(sum);
        assert_int_equal(0, decimal_compare(decimal_divide(exact, count), group->value));
        return;
    }
    expect_thousandths(aggregate == REST_SUM   ? sum
                       : aggregate == REST_MIN ? least
                       : aggregate == REST_MAX ? most
                                               : 1000 * count,
                       group);
}

static void test_fold__by_key__is_what_is_calculated_plainly(void **state)
{
    (void)state;
    struct rows rows = {0};
    struct plain plain[ROWS];
    rows_random(&rows, plain);
    struct json_pointer *field = pointer("v");
    for (enum rest_aggregate aggregate = REST_SUM; aggregate <= REST_COUNT; aggregate++) {
        const struct fold_params params = {aggregate, field, NULL, true, maker.scanner};
        struct fold fold;
        fold_rows(&rows, &params, &fold);
        assert_int_equal(6, fold.count);
        assert_null(fold.groups[0].key.ptr); /* no key is first */
        int64_t counted = 0;
        for (size_t i = 0; i < fold.count; i++) {
            assert_true(i == 0 || key_compare(fold.groups[i - 1].key, fold.groups[i].key) < 0);
            expect_group(plain, aggregate, &fold.groups[i]);
            counted += fold.groups[i].count;
        }
        assert_int_equal(ROWS, counted + fold.skipped);
        fold_free(&fold);
    }
    json_pointer_free(field);
    rows_free(&rows);
}

static void test_fold__weights__average_of_what_was_in_the_windows(void **state)
{
    (void)state;
    static const struct plain plain[] = {{'a', 1500, 2, true}, {'a', 3000, 1, true}};
    struct rows rows = {0};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        row_put(&rows, &plain[i]);
    }
    struct json_pointer *field = pointer("v"), *weight = pointer("/w"), *none = pointer("/none");
    struct fold_params params = {REST_AVG, field, weight, false, maker.scanner};
    struct fold fold;
    fold_rows(&rows, &params, &fold);
    expect_thousandths(2000, &fold.groups[0]); /* (1.5 × 2 + 3 × 1) / 3 */
    fold_free(&fold);
    params.aggregate = REST_SUM;
    fold_rows(&rows, &params, &fold);
    expect_thousandths(6000, &fold.groups[0]);
    fold_free(&fold);
    params.weight = none;
    fold_rows(&rows, &params, &fold);
    assert_int_equal(2, fold.skipped);
    expect_thousandths(0, &fold.groups[0]); /* the sum of nothing */
    fold_free(&fold);
    json_pointer_free(field);
    json_pointer_free(weight);
    json_pointer_free(none);
    rows_free(&rows);
}

/* What a weight of nothing divides has no value, and is the last of a ranking. */
static void test_fold_top__no_value__is_last(void **state)
{
    (void)state;
    static const struct plain plain[] = {
        {'a', 9000, 0, true}, {'b', -1000, 1, true}, {'c', 2000, 1, true}, {'d', 2000, 2, true}};
    static const char *const orders[] = {"bcda", "cdba"};
    struct rows rows = {0};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        row_put(&rows, &plain[i]);
    }
    struct json_pointer *field = pointer("v"), *weight = pointer("w");
    for (int descending = 0; descending <= 1; descending++) {
        const struct fold_params params = {REST_AVG, field, weight, true, maker.scanner};
        struct fold fold;
        fold_rows(&rows, &params, &fold);
        fold_top(&fold, 4, descending);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(orders[descending][i], fold.groups[i].key.ptr[0]);
        }
        assert_true(fold.groups[3].is_null);
        fold_top(&fold, 2, descending);
        assert_int_equal(2, fold.count);
        fold_free(&fold);
    }
    json_pointer_free(field);
    json_pointer_free(weight);
    rows_free(&rows);
}

static void check_top_rows(size_t n, bool is_descending)
{
    struct rows rows = {0};
    struct plain plain[ROWS];
    struct json_pointer *field = pointer("v");
    rows_random(&rows, plain);
    int64_t skipped = fold_top_rows(&rows, field, maker.scanner, n, is_descending);
    assert_true(rows.count <= n && (int64_t)rows.count <= ROWS - skipped);
    int64_t edge = 0;
    for (size_t i = 0; i < rows.count; i++) {
        const struct plain *now = &plain[rows.items[i].mark.time_ms];
        assert_true(now->has_number);
        assert_true(i == 0 || (is_descending ? now->v <= edge : now->v >= edge));
        edge = now->v;
    }
    size_t beyond = 0; /* rows that have no place among the n */
    for (size_t i = 0; i < ROWS; i++) {
        beyond += plain[i].has_number && (is_descending ? plain[i].v < edge : plain[i].v > edge);
    }
    assert_true(beyond + rows.count <= (size_t)(ROWS - skipped));
    assert_true(rows.count < n || beyond + rows.count >= (size_t)(ROWS - skipped) - 1);
    rows_free(&rows);
    json_pointer_free(field);
}

static void test_top_rows__random__the_largest_or_the_smallest(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        check_top_rows(1 + random_below(20), i % 2);
    }
    check_top_rows(1000, true);
}

static void test_top_rows__the_same_number__by_key(void **state)
{
    (void)state;
    static const char keys[] = "dbeac";
    struct rows rows = {0};
    struct json_pointer *field = pointer("v");
    for (size_t i = 0; keys[i]; i++) {
        row_put(&rows, &(struct plain){keys[i], 5000, 1, true});
    }
    assert_int_equal(0, fold_top_rows(&rows, field, maker.scanner, 3, true));
    assert_int_equal(3, rows.count);
    for (size_t i = 0; i < rows.count; i++) {
        assert_int_equal("abc"[i], rows.items[i].mark.key.ptr[0]);
    }
    rows_free(&rows);
    json_pointer_free(field);
}

int main(void)
{
    frame_maker_init(&maker, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold__by_key__is_what_is_calculated_plainly),
        cmocka_unit_test(test_fold__weights__average_of_what_was_in_the_windows),
        cmocka_unit_test(test_fold_top__no_value__is_last),
        cmocka_unit_test(test_top_rows__random__the_largest_or_the_smallest),
        cmocka_unit_test(test_top_rows__the_same_number__by_key),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    frame_maker_free(&maker);
    return failed;
}
