#include "stream/window_store.h"

#include "test.h"

struct sum {
    int64_t value;
    int64_t unused;
};

static struct window_store *store_new(size_t keys_max, size_t cells_max)
{
    return window_store_new(&(struct window_store_config){sizeof(struct sum), keys_max, cells_max});
}

static void add(struct window_store *store, const char *key, int64_t start_ms, int64_t value)
{
    struct window_cell *cell;
    assert_err(ERR_OK, window_store_get(store, sv(key), start_ms, &cell, NULL));
    struct sum *sum = window_store_edit(store, cell);
    sum->value += value;
}

static int64_t value_of(const struct window_store *store, const char *key, int64_t start_ms)
{
    struct window_cell *cell = window_store_find(store, sv(key), start_ms);
    return cell ? ((struct sum *)(void *)cell->totals)->value : -1;
}

static void test_window_store_abort__puts_back_and_removes_new(void **state)
{
    (void)state;
    struct window_store *store = store_new(10, 10);
    add(store, "a", 0, 1);
    window_store_commit(store, 5);
    add(store, "a", 0, 10);
    add(store, "a", 0, 10);
    add(store, "a", 60, 1);
    add(store, "b", 0, 1);
    assert_int_equal(3, window_store_dirty_count(store));
    window_store_abort(store);
    assert_int_equal(1, value_of(store, "a", 0));
    assert_int_equal(-1, value_of(store, "a", 60));
    assert_int_equal(-1, value_of(store, "b", 0));
    assert_int_equal(1, window_store_key_count(store));
    assert_int_equal(1, window_store_cell_count(store));
    assert_int_equal(1, window_store_window_count(store));
    assert_int_equal(0, window_store_dirty_count(store));
    assert_int_equal(5, window_store_find(store, SV("a"), 0)->next_offset);
    window_store_free(store);
}

static void test_window_store_commit__keeps_and_stamps(void **state)
{
    (void)state;
    struct window_store *store = store_new(10, 10);
    add(store, "a", 0, 1);
    window_store_find(store, SV("a"), 0)->is_being_stored = true;
    window_store_commit(store, 5);
    add(store, "a", 60, 2);
    window_store_commit(store, 9);
    assert_int_equal(5, window_store_find(store, SV("a"), 0)->next_offset);
    assert_true(window_store_find(store, SV("a"), 0)->is_stored);
    assert_int_equal(9, window_store_find(store, SV("a"), 60)->next_offset);
    assert_false(window_store_find(store, SV("a"), 60)->is_stored);
    window_store_free(store);
}

static void test_window_store_expire__goes_with_the_commit_not_with_an_abort(void **state)
{
    (void)state;
    struct window_store *store = store_new(10, 10);
    add(store, "a", 0, 1);
    add(store, "b", 0, 1);
    add(store, "a", 60, 2);
    window_store_commit(store, 1);
    window_store_expire(store, 1);
    window_store_abort(store);
    assert_int_equal(2, window_store_window_count(store));
    window_store_commit(store, 2);
    assert_int_equal(2, window_store_window_count(store));
    window_store_expire(store, 1);
    window_store_commit(store, 3);
    assert_int_equal(1, window_store_window_count(store));
    assert_int_equal(60, window_store_window_start(store, 0));
    assert_int_equal(1, window_store_key_count(store));
    assert_int_equal(2, value_of(store, "a", 60));
    window_store_free(store);
}

static void test_window_store_cells__in_order_of_key_bytes(void **state)
{
    (void)state;
    struct window_store *store = store_new(10, 10);
    static const char *const keys[] = {"b", "a", "ba", "\xff", "B", "aa"};
    static const char *const sorted[] = {"B", "a", "aa", "b", "ba", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        add(store, keys[i], 0, 1);
    }
    size_t count;
    struct window_cell *const *cells = window_store_cells(store, 0, &count);
    assert_int_equal(ARRAY_LEN(sorted), count);
    for (size_t i = 0; i < count; i++) {
        assert_sv(sorted[i], window_cell_key(cells[i]));
    }
    window_store_free(store);
}

static void test_window_store__out_of_order_windows__stand_in_order(void **state)
{
    (void)state;
    struct window_store *store = store_new(10, 100);
    static const int64_t starts[] = {50, 10, 90, 30, 70, 20, 80, 10, 50};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        add(store, "a", starts[i], 1);
    }
    static const int64_t sorted[] = {10, 20, 30, 50, 70, 80, 90};
    assert_int_equal(ARRAY_LEN(sorted), window_store_window_count(store));
    for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
        assert_int_equal(sorted[i], window_store_window_start(store, i));
    }
    assert_int_equal(2, value_of(store, "a", 10));
    assert_int_equal(2, value_of(store, "a", 50));
    assert_int_equal(1, value_of(store, "a", 80));
    window_store_free(store);
}

static void test_window_store_get__past_a_limit__says_which(void **state)
{
    (void)state;
    struct window_store *store = store_new(2, 3);
    add(store, "a", 0, 1);
    add(store, "b", 0, 1);
    struct window_cell *cell;
    struct err_info info = {0};
    assert_err(ERR_LIMIT, window_store_get(store, SV("c"), 0, &cell, &info));
    assert_non_null(strstr(info.text, "keys_max is 2"));
    add(store, "a", 60, 1);
    assert_err(ERR_LIMIT, window_store_get(store, SV("a"), 120, &cell, &info));
    assert_non_null(strstr(info.text, "windows_max is 3"));
    add(store, "a", 60, 1); /* what is there goes on */
    assert_int_equal(2, value_of(store, "a", 60));
    window_store_free(store);
}

static void test_window_store__memory__is_used_again(void **state)
{
    (void)state;
    struct window_store *store = store_new(100, 1000);
    size_t bytes = 0;
    for (int64_t start = 0; start < 200; start++) {
        for (char key = 'a'; key <= 'z'; key++) {
            add(store, (char[]){key, '\0'}, start, 1);
        }
        window_store_commit(store, start);
        window_store_expire(store, window_store_window_count(store) - 1);
        window_store_commit(store, start);
        if (start == 20) {
            bytes = window_store_bytes(store);
        }
    }
    assert_int_equal(bytes, window_store_bytes(store));
    assert_int_equal(26, window_store_cell_count(store));
    window_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_store_abort__puts_back_and_removes_new),
        cmocka_unit_test(test_window_store_commit__keeps_and_stamps),
        cmocka_unit_test(test_window_store_expire__goes_with_the_commit_not_with_an_abort),
        cmocka_unit_test(test_window_store_cells__in_order_of_key_bytes),
        cmocka_unit_test(test_window_store__out_of_order_windows__stand_in_order),
        cmocka_unit_test(test_window_store_get__past_a_limit__says_which),
        cmocka_unit_test(test_window_store__memory__is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
