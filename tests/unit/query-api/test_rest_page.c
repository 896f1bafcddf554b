/* Pages of the rows that pass a filter, read one after the other from a plain list. */
#include "frames.h"
#include "rest_page.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS_MAX 200

static struct frame_maker maker;
static struct selector_machine *selectors;

static struct frame *frame_with(int n)
{
    char value[32];
    (void)snprintf(value, sizeof value, "{\"n\":%d}", n);
    return frame_for_test(&maker, "k", sv(value), (struct strview){0});
}

static struct row row_of(int n, struct frame *frame)
{
    return (struct row){{n, ROW_NO_WINDOW, SV("k"), 0, n}, frame};
}

/* What a view of `all` holds that was read with the query. */
static struct rows_view read_rows(const struct rows *all, const struct rows_query *query)
{
    struct rows_view view = {0};
    for (size_t i = 0; i < all->count; i++) {
        const struct row *row = &all->items[query->is_descending ? all->count - 1 - i : i];
        if (rows_query_is_past(query, &row->mark, row_compare_time)) {
            rows_add(&view.rows, &row->mark, row->frame);
        }
    }
    view.has_more = rows_cut(&view.rows, query, row_compare_time);
    return view;
}

struct reader {
    const struct rows *all;
    const char *filter;
    size_t scan_max, limit;
    bool is_descending;
    int64_t listed[ROWS_MAX];
    size_t count, scanned, pages;
};

/* One page; false: it was the last. */
static bool read_page(struct reader *reader, char cursor[REST_CURSOR_BYTES])
{
    struct rest_request request;
    const char *values[REST_PARAM_COUNT] = {[REST_FILTER] = reader->filter,
                                            [REST_CURSOR] = cursor[0] ? cursor : NULL,
                                            [REST_ORDER] = reader->is_descending ? "desc" : "asc"};
    assert_err(ERR_OK, rest_request_parse(values, SV("orders"), &request, NULL));
    request.rows.limit = reader->filter ? reader->scan_max : reader->limit;
    struct rows_view view = read_rows(reader->all, &request.rows);
    const struct rest_page page = {request.filter, selectors, reader->limit,
                                   request.rows.is_descending};
    size_t scanned = rest_page_cut(&page, &view, cursor);
    assert_true(scanned <= request.rows.limit && view.rows.count <= reader->limit);
    assert_int_equal(view.has_more, cursor[0] != '\0');
    for (size_t i = 0; i < view.rows.count; i++) {
        reader->listed[reader->count++] = view.rows.items[i].mark.time_ms;
    }
    reader->scanned += scanned;
    reader->pages++;
    rows_view_free(&view);
    rest_request_deinit(&request);
    return cursor[0] != '\0';
}

static void expect_each_once(const struct reader *reader, int total, int every)
{
    size_t wanted = 0;
    for (int i = 0; i < total; i++) {
        int n = reader->is_descending ? total - 1 - i : i;
        if (n % every == 0) {
            assert_true(wanted < reader->count && reader->listed[wanted] == n);
            wanted++;
        }
    }
    assert_int_equal(wanted, reader->count);
}

static void test_pages__list_what_passes__each_once_and_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        int total, every;
        size_t scan_max, limit, pages;
    } rows[] = {
        {"n % 10 == 0", 100, 10, 7, 100, 15}, /* ends with what may be looked at, … */
        {"n % 10 == 0", 100, 10, 1000, 3, 4}, /* … with the limit, … */
        {"n % 10 == 0", 100, 10, 25, 2, 6},   /* … either */
        {"n % 2 == 0", 100, 2, 1, 1, 100},
        {"n < 0", 100, 1000, 10, 5, 10},
        {"n >= 0", 30, 1, 10, 10, 3},
        {"n >= 0", 0, 1, 10, 10, 1},
        {NULL, 100, 1, 0, 30, 4},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        struct rows all = {0};
        for (int n = 0; n < rows[i / 2].total; n++) {
            struct frame *frame = frame_with(n);
            const struct row row = row_of(n, frame);
            rows_add(&all, &row.mark, frame);
            frame_unref(frame);
        }
        struct reader reader = {.all = &all,
                                .filter = rows[i / 2].filter,
                                .scan_max = rows[i / 2].scan_max,
                                .limit = rows[i / 2].limit,
                                .is_descending = i % 2};
        char cursor[REST_CURSOR_BYTES] = "";
        while (read_page(&reader, cursor)) {
            assert_true(reader.pages < ROWS_MAX);
        }
        if (rows[i / 2].every <= rows[i / 2].total) {
            expect_each_once(&reader, rows[i / 2].total, rows[i / 2].every);
        } else if (rows[i / 2].total) {
            assert_int_equal(0, reader.count);
        }
        assert_true(reader.pages <= rows[i / 2].pages);
        assert_int_equal(rows[i / 2].total, reader.scanned); /* none is looked at twice */
        rows_free(&all);
    }
}

/* A cursor can name no key that is longer, so the page goes on to one that it can. */
static void test_page__never_ends_behind_a_key_that_is_too_long(void **state)
{
    (void)state;
    char key[ROW_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    const char *const keys[] = {"a", key, key, "z", "zz"};
    static const struct {
        const char *filter;
        size_t limit, listed;
    } rows[] = {{NULL, 2, 4}, {"n == 1", 2, 4}, {"n == 1", 1, 1}};
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rest_request request;
        const char *values[REST_PARAM_COUNT] = {[REST_FILTER] = rows[r].filter};
        assert_err(ERR_OK, rest_request_parse(values, SV("orders"), &request, NULL));
        struct rows_view view = {0};
        for (int i = 0; i < (int)ARRAY_LEN(keys); i++) {
            struct frame *frame =
                frame_for_test(&maker, keys[i], SV("{\"n\":1}"), (struct strview){0});
            const struct row row = row_of(i, frame);
            rows_add(&view.rows, &row.mark, frame);
            frame_unref(frame);
        }
        const struct rest_page page = {request.filter, selectors, rows[r].limit, false};
        char cursor[REST_CURSOR_BYTES];
        assert_int_equal(rows[r].listed, rest_page_cut(&page, &view, cursor));
        assert_int_equal(rows[r].listed, view.rows.count);
        assert_true(view.has_more && cursor[0]);
        rows_view_free(&view);
        rest_request_deinit(&request);
    }
}

static int begin(void **state)
{
    (void)state;
    frame_maker_init(&maker, NULL);
    selectors = selector_machine_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    selector_machine_free(selectors);
    frame_maker_free(&maker);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages__list_what_passes__each_once_and_in_order),
        cmocka_unit_test(test_page__never_ends_behind_a_key_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
