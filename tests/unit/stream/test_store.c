#include "stream/store.h"

#include <stdio.h>

#include "test.h"

#define NO_LIMIT ((size_t)1 << 30)

struct sum {
    int64_t value;
    int64_t unused;
};

static void store_freep(struct store **store)
{
    store_free(*store);
}

static struct store *sums_new(size_t keys_max, size_t cells_max)
{
    return store_new(&(struct store_config){.value_bytes = sizeof(struct sum),
                                            .inputs = 1,
                                            .bucket_ms = 10,
                                            .keys_max = keys_max,
                                            .cells_max = cells_max,
                                            .cells_max_name = "windows_max",
                                            .bytes_max = NO_LIMIT});
}

static struct store *texts_new(size_t bytes_max)
{
    return store_new(&(struct store_config){.bucket_ms = 10,
                                            .keys_max = 1000,
                                            .cells_max = 100000,
                                            .cells_max_name = "cells_max",
                                            .bytes_max = bytes_max});
}

static struct store_cell *add(struct store *store, const char *key, int64_t time_ms, int64_t value)
{
    struct store_cell *cell;
    assert_err(ERR_OK, store_get(store, sv(key), time_ms, 0, &cell, NULL));
    struct sum *sum = store_edit(store, cell);
    sum->value += value;
    return cell;
}

static void put_text(struct store *store, const char *key, int64_t time_ms, const char *text)
{
    struct store_cell *cell;
    void *value;
    assert_err(ERR_OK, store_get(store, sv(key), time_ms, 0, &cell, NULL));
    assert_err(ERR_OK, store_grow(store, cell, strlen(text), &value, NULL));
    if (*text) {
        memcpy(value, text, strlen(text));
    }
}

static struct strview text_of(const struct store *store, const char *key, int64_t time_ms)
{
    const struct store_cell *cell = store_find(store, sv(key), time_ms, 0);
    return cell ? sv_of(cell->value, cell->bytes) : SV("none");
}

static int64_t value_of(const struct store *store, const char *key, int64_t time_ms)
{
    const struct store_cell *cell = store_find(store, sv(key), time_ms, 0);
    return cell ? ((struct sum *)cell->value)->value : -1;
}

static void commit(struct store *store, int64_t next_offset)
{
    store_commit(store, &next_offset);
}

/* "a@10 b@10 a@25": what store_between says. */
static void assert_between(struct store *store, int64_t from_ms, int64_t to_ms,
                           const char *expected)
{
    char text[512] = "";
    size_t count, len = 0;
    struct store_cell *const *cells = store_between(store, from_ms, to_ms, &count);
    for (size_t i = 0; i < count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s@%d", i ? " " : "",
                                SV_ARG(store_cell_key(cells[i])), (int)cells[i]->time_ms);
    }
    assert_string_equal(expected, text);
}

static void assert_range(struct store *store, const char *key, int64_t from_ms, int64_t to_ms,
                         const char *expected)
{
    char text[512] = "";
    size_t len = 0;
    struct store_range range = store_range(store_key_find(store, sv(key)), from_ms, to_ms);
    for (const struct store_cell *cell; (cell = store_next(&range));) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d.%d", len ? " " : "",
                                (int)cell->time_ms, (int)cell->minor);
    }
    assert_string_equal(expected, text);
}

/* --- commit and abort ---------------------------------------------------------------------------*/

static void test_store_abort__puts_back_and_takes_away_what_is_new(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    add(store, "a", 0, 1);
    commit(store, 5);
    add(store, "a", 0, 10);
    add(store, "a", 0, 10);
    add(store, "a", 60, 1);
    add(store, "b", 0, 1);
    assert_int_equal(3, store_dirty_count(store));
    store_abort(store);
    assert_int_equal(1, value_of(store, "a", 0));
    assert_int_equal(-1, value_of(store, "a", 60));
    assert_int_equal(-1, value_of(store, "b", 0));
    assert_int_equal(1, store_key_count(store));
    assert_int_equal(1, store_cell_count(store));
    assert_between(store, 0, 1000, "a@0");
    assert_int_equal(0, store_dirty_count(store));
    assert_int_equal(5, store_find(store, SV("a"), 0, 0)->next_offsets[0]);
}

static void test_store_commit__keeps_and_stamps_what_changed(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    add(store, "a", 0, 1)->is_being_stored = true;
    commit(store, 5);
    add(store, "a", 60, 2);
    commit(store, 9);
    assert_int_equal(5, store_find(store, SV("a"), 0, 0)->next_offsets[0]);
    assert_true(store_find(store, SV("a"), 0, 0)->is_stored);
    assert_int_equal(9, store_find(store, SV("a"), 60, 0)->next_offsets[0]);
    assert_false(store_find(store, SV("a"), 60, 0)->is_stored);
    store_touch(store, store_find(store, SV("a"), 60, 0));
    commit(store, 7); /* a replay is behind what it holds */
    assert_int_equal(9, store_find(store, SV("a"), 60, 0)->next_offsets[0]);
}

static void test_store_grow__values_of_any_size__come_back_after_an_abort(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = texts_new(NO_LIMIT);
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    put_text(store, "a", 0, "first");
    put_text(store, "b", 0, large);
    put_text(store, "c", 0, "");
    commit(store, 1);
    put_text(store, "a", 0, large);
    put_text(store, "a", 0, "a second one");
    put_text(store, "b", 0, "");
    put_text(store, "c", 0, "third");
    assert_sv("a second one", text_of(store, "a", 0));
    store_abort(store);
    assert_sv("first", text_of(store, "a", 0));
    assert_sv(large, text_of(store, "b", 0));
    assert_sv("", text_of(store, "c", 0));
    put_text(store, "b", 0, "short");
    commit(store, 2);
    assert_sv("short", text_of(store, "b", 0));
}

static void test_store_grow__what_is_added__is_zero(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = texts_new(NO_LIMIT);
    static const char zero[400] = "";
    put_text(store, "a", 0, "some bytes that are here");
    void *value;
    struct store_cell *cell = store_find(store, SV("a"), 0, 0);
    assert_err(ERR_OK, store_grow(store, cell, 4, &value, NULL));
    assert_err(ERR_OK, store_grow(store, cell, 30, &value, NULL));
    assert_memory_equal("some", value, 4);
    assert_memory_equal(zero, (char *)value + 4, 26);
    assert_err(ERR_OK, store_grow(store, cell, 400, &value, NULL));
    assert_memory_equal("some", value, 4);
    assert_memory_equal(zero, (char *)value + 4, 396);
}

/* --- removing -----------------------------------------------------------------------------------*/

static void test_store_remove__is_in_no_answer_and_comes_back_after_an_abort(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    add(store, "a", 0, 1);
    add(store, "b", 0, 2);
    add(store, "a", 60, 3);
    commit(store, 1);
    store_remove(store, store_find(store, SV("a"), 0, 0));
    store_remove(store, store_find(store, SV("b"), 0, 0));
    assert_int_equal(-1, value_of(store, "a", 0));
    assert_between(store, 0, 1000, "a@60");
    assert_range(store, "a", 0, 1000, "60.0");
    assert_int_equal(60, store_first_ms(store));
    store_abort(store);
    assert_between(store, 0, 1000, "a@0 b@0 a@60");
    assert_int_equal(0, store_first_ms(store));
    store_remove(store, store_find(store, SV("a"), 0, 0));
    store_remove(store, store_find(store, SV("b"), 0, 0));
    commit(store, 2);
    assert_between(store, 0, 1000, "a@60");
    assert_int_equal(1, store_key_count(store));
    assert_int_equal(1, store_cell_count(store));
    assert_int_equal(60, store_first_ms(store));
    store_remove(store, store_find(store, SV("a"), 60, 0));
    commit(store, 3);
    assert_int_equal(INT64_MAX, store_first_ms(store));
    assert_int_equal(0, store_key_count(store));
}

static void test_store_get__of_a_removed_cell__starts_anew(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    add(store, "a", 0, 5);
    commit(store, 1);
    store_remove(store, store_find(store, SV("a"), 0, 0));
    add(store, "a", 0, 7);
    assert_int_equal(7, value_of(store, "a", 0));
    assert_int_equal(1, store_dirty_count(store));
    store_abort(store);
    assert_int_equal(5, value_of(store, "a", 0));
    store_remove(store, store_find(store, SV("a"), 0, 0));
    add(store, "a", 0, 7);
    commit(store, 2);
    assert_int_equal(7, value_of(store, "a", 0));

    CLEANUP(store_freep) struct store *texts = texts_new(NO_LIMIT);
    put_text(texts, "a", 0, "long before");
    commit(texts, 1);
    store_remove(texts, store_find(texts, SV("a"), 0, 0));
    struct store_cell *cell;
    assert_err(ERR_OK, store_get(texts, SV("a"), 0, 0, &cell, NULL));
    assert_int_equal(0, cell->bytes);
    store_abort(texts);
    assert_sv("long before", text_of(texts, "a", 0));
}

static void test_store_remove__of_what_is_new__leaves_nothing(void **state)
{
    (void)state;
    for (int is_committed = 0; is_committed < 2; is_committed++) {
        CLEANUP(store_freep) struct store *store = sums_new(10, 10);
        store_remove(store, add(store, "a", 0, 5));
        if (is_committed) {
            commit(store, 1);
        } else {
            store_abort(store);
        }
        assert_int_equal(0, store_cell_count(store));
        assert_int_equal(0, store_key_count(store));
        assert_int_equal(INT64_MAX, store_first_ms(store));
    }
}

/* --- order --------------------------------------------------------------------------------------*/

static void test_store_between__in_order_of_time_then_key_bytes(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(100, 100);
    static const char *const keys[] = {"b", "a", "ba", "\xff", "B", "aa"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        add(store, keys[i], 20, 1);
    }
    static const int64_t times[] = {50, 10, 90, 19, 70, 21, 80, 10, 50};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        add(store, "k", times[i], 1);
    }
    assert_between(store, 20, 20, "B@20 a@20 aa@20 b@20 ba@20 \xff@20");
    assert_between(store, 11, 50, "k@19 B@20 a@20 aa@20 b@20 ba@20 \xff@20 k@21 k@50");
    assert_between(store, 51, 69, "");
    assert_between(store, INT64_MIN, 10, "k@10");
    assert_between(store, 80, INT64_MAX, "k@80 k@90");
    assert_int_equal(10, store_first_ms(store));
    assert_int_equal(2, value_of(store, "k", 10));
    assert_int_equal(2, value_of(store, "k", 50));
}

static void test_store_range__holds_its_bounds(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 100);
    static const int64_t times[] = {50, 10, 90, 30, 70, 20, 80};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        add(store, "a", times[i], 1);
    }
    assert_range(store, "a", 20, 70, "20.0 30.0 50.0 70.0");
    assert_range(store, "a", 21, 69, "30.0 50.0");
    assert_range(store, "a", INT64_MIN, INT64_MAX, "10.0 20.0 30.0 50.0 70.0 80.0 90.0");
    assert_range(store, "a", 91, INT64_MAX, "");
    assert_range(store, "a", 60, 40, "");
    assert_range(store, "b", 0, 100, "");
}

static void test_store_add__of_one_time__all_are_kept_in_order(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 100);
    static const int64_t times[] = {20, 10, 20, 20, 30, 10};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct store_cell *cell;
        assert_err(ERR_OK, store_add(store, SV("a"), times[i], &cell, NULL));
    }
    assert_range(store, "a", 0, 100, "10.0 10.1 20.0 20.1 20.2 30.0");
    commit(store, 1);
    store_remove(store, store_find(store, SV("a"), 20, 2));
    struct store_cell *cell; /* not where the removed one still is */
    assert_err(ERR_OK, store_add(store, SV("a"), 20, &cell, NULL));
    assert_range(store, "a", 20, 20, "20.0 20.1 20.3");
}

static void test_store_row__oldest_leave_and_newest_come__order_holds(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 1000);
    for (int64_t time = 0; time < 3000; time++) {
        add(store, "a", time, time);
        if (time % 7 == 3) { /* one comes late */
            struct store_cell *cell;
            assert_err(ERR_OK, store_add(store, SV("a"), time - 3, &cell, NULL));
        }
        if (time >= 50) {
            size_t count;
            struct store_cell *const *old = store_between(store, 0, time - 50, &count);
            for (size_t i = 0; i < count; i++) {
                store_remove(store, old[i]);
            }
            commit(store, time);
            assert_int_equal(time - 49, store_first_ms(store));
            assert_int_equal(time, value_of(store, "a", time));
            assert_int_equal(time - 20, value_of(store, "a", time - 20));
        }
    }
}

/* --- moving -------------------------------------------------------------------------------------*/

static void test_store_move__changes_the_order_until_an_abort(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    struct store_cell *a = add(store, "k", 10, 1);
    struct store_cell *b = add(store, "k", 30, 2);
    commit(store, 1);
    /* A session that ends at 10 and one that ends at 30 become one that ends at 45. */
    store_remove(store, b);
    store_move(store, a, 40, 10);
    store_move(store, a, 45, 10);
    ((struct sum *)store_edit(store, a))->value = 3;
    assert_range(store, "k", 0, 100, "45.10");
    assert_int_equal(45, store_first_ms(store));
    assert_int_equal(1, store_move_count(store));
    assert_int_equal(10, store_move_at(store, 0)->time_ms);
    assert_int_equal(0, store_move_at(store, 0)->minor);
    store_abort(store);
    assert_range(store, "k", 0, 100, "10.0 30.0");
    assert_between(store, 0, 100, "k@10 k@30");
    assert_int_equal(1, value_of(store, "k", 10));
    assert_int_equal(0, store_move_count(store));
    store_move(store, a, 20, 5);
    commit(store, 2);
    store_abort(store); /* nothing to abort */
    assert_range(store, "k", 0, 100, "20.5 30.0");
}

static void test_store_abort__cells_that_took_each_others_place__go_home(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(10, 10);
    struct store_cell *a = add(store, "k", 10, 1);
    struct store_cell *b = add(store, "k", 20, 2);
    commit(store, 1);
    store_move(store, a, 30, 0);
    store_move(store, b, 10, 0);
    store_move(store, a, 20, 0);
    add(store, "k", 30, 9); /* where a was for a while */
    assert_int_equal(2, value_of(store, "k", 10));
    assert_int_equal(1, value_of(store, "k", 20));
    store_abort(store);
    assert_range(store, "k", 0, 100, "10.0 20.0");
    assert_int_equal(1, value_of(store, "k", 10));
    assert_int_equal(2, value_of(store, "k", 20));
    store_move(store, a, 40, 0); /* its only cell moves away, a new one comes, all is undone */
    store_move(store, b, 50, 0);
    add(store, "k", 10, 9);
    store_abort(store);
    assert_range(store, "k", 0, 100, "10.0 20.0");
    assert_int_equal(1, value_of(store, "k", 10));
}

/* --- limits, restoring --------------------------------------------------------------------------*/

static void test_store_get__past_a_limit__says_which(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = sums_new(2, 3);
    add(store, "a", 0, 1);
    add(store, "b", 0, 1);
    struct store_cell *cell;
    struct err_info info = {0};
    assert_err(ERR_LIMIT, store_get(store, SV("c"), 0, 0, &cell, &info));
    assert_non_null(strstr(info.text, "keys_max is 2"));
    assert_int_equal(2, store_key_count(store));
    add(store, "a", 60, 1);
    assert_err(ERR_LIMIT, store_get(store, SV("a"), 120, 0, &cell, &info));
    assert_non_null(strstr(info.text, "windows_max is 3"));
    add(store, "a", 60, 1); /* what is there goes on */
    assert_int_equal(2, value_of(store, "a", 60));
}

static void test_store_grow__past_bytes_max__changes_nothing(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = texts_new(8192);
    struct err_info info = {0};
    struct store_cell *cell;
    void *value;
    put_text(store, "a", 0, "text");
    commit(store, 1);
    cell = store_find(store, SV("a"), 0, 0);
    assert_err(ERR_LIMIT, store_grow(store, cell, 8000, &value, &info));
    assert_non_null(strstr(info.text, "bytes_max is 8192"));
    assert_err(ERR_LIMIT, store_grow(store, cell, (size_t)3 << 30, &value, &info));
    assert_sv("text", text_of(store, "a", 0));
    assert_int_equal(0, store_dirty_count(store));
    enum err e = ERR_OK; /* cells and keys are counted as well */
    for (int64_t time = 1; !e && time < 1000; time++) {
        e = store_get(store, SV("a"), time, 0, &cell, &info);
    }
    assert_err(ERR_LIMIT, e);
    store_abort(store);
    assert_err(ERR_LIMIT, store_load(store, SV("b"), 0, 0, 8000, &cell, &info));
    assert_int_equal(1, store_key_count(store));
    assert_int_equal(1, store_cell_count(store));
    put_text(store, "b", 0, "there is room again");
}

static void test_store_load__is_committed_at_once(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = texts_new(NO_LIMIT);
    struct store_cell *cell;
    assert_err(ERR_OK, store_load(store, SV("a"), 10, 3, 5, &cell, NULL));
    memcpy(cell->value, "first", 5);
    assert_err(ERR_OK, store_load(store, SV("a"), 10, 3, 6, &cell, NULL));
    memcpy(cell->value, "second", 6);
    assert_int_equal(0, store_dirty_count(store));
    assert_true(cell->is_stored);
    void *value;
    assert_err(ERR_OK, store_grow(store, cell, 1000, &value, NULL));
    store_abort(store);
    cell = store_find(store, SV("a"), 10, 3);
    assert_sv("second", sv_of(cell->value, cell->bytes));
    store_unload(store, cell);
    assert_int_equal(0, store_key_count(store));
    assert_int_equal(INT64_MAX, store_first_ms(store));
}

static void test_store__without_buckets__has_no_order_of_time(void **state)
{
    (void)state;
    CLEANUP(store_freep)
    struct store *store = store_new(&(struct store_config){.value_bytes = sizeof(struct sum),
                                                           .keys_max = 10,
                                                           .cells_max = 10,
                                                           .cells_max_name = "keys_max",
                                                           .bytes_max = NO_LIMIT});
    add(store, "a", 0, 1);
    add(store, "", 0, 2);
    store_commit(store, NULL);
    store_remove(store, store_find(store, SV("a"), 0, 0));
    add(store, "", 0, 2);
    store_commit(store, NULL);
    assert_int_equal(4, value_of(store, "", 0));
    assert_int_equal(1, store_cell_count(store));
}

static void test_store__memory__is_used_again(void **state)
{
    (void)state;
    CLEANUP(store_freep) struct store *store = texts_new(NO_LIMIT);
    size_t bytes = 0;
    for (int64_t time = 0; time <= 390; time++) { /* the last one as the one that is measured */
        for (char key = 'a'; key <= 'z'; key++) {
            put_text(store, (char[]){key, '\0'}, time * 10,
                     (char[]){"a value of more than a few bytes"} + time % 20);
        }
        commit(store, time);
        size_t count;
        struct store_cell *const *old = store_between(store, 0, time * 10 - 1, &count);
        for (size_t i = 0; i < count; i++) {
            store_remove(store, old[i]);
        }
        commit(store, time);
        if (time == 50) {
            bytes = store_bytes(store);
        }
    }
    assert_int_equal(bytes, store_bytes(store));
    assert_int_equal(26, store_cell_count(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_abort__puts_back_and_takes_away_what_is_new),
        cmocka_unit_test(test_store_commit__keeps_and_stamps_what_changed),
        cmocka_unit_test(test_store_grow__values_of_any_size__come_back_after_an_abort),
        cmocka_unit_test(test_store_grow__what_is_added__is_zero),
        cmocka_unit_test(test_store_remove__is_in_no_answer_and_comes_back_after_an_abort),
        cmocka_unit_test(test_store_get__of_a_removed_cell__starts_anew),
        cmocka_unit_test(test_store_remove__of_what_is_new__leaves_nothing),
        cmocka_unit_test(test_store_between__in_order_of_time_then_key_bytes),
        cmocka_unit_test(test_store_range__holds_its_bounds),
        cmocka_unit_test(test_store_add__of_one_time__all_are_kept_in_order),
        cmocka_unit_test(test_store_row__oldest_leave_and_newest_come__order_holds),
        cmocka_unit_test(test_store_move__changes_the_order_until_an_abort),
        cmocka_unit_test(test_store_abort__cells_that_took_each_others_place__go_home),
        cmocka_unit_test(test_store_get__past_a_limit__says_which),
        cmocka_unit_test(test_store_grow__past_bytes_max__changes_nothing),
        cmocka_unit_test(test_store_load__is_committed_at_once),
        cmocka_unit_test(test_store__without_buckets__has_no_order_of_time),
        cmocka_unit_test(test_store__memory__is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
