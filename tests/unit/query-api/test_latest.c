#include "frames.h"
#include "latest.h"

#include <stdio.h>
#include <stdlib.h>

static struct frame_maker maker;

static void apply(struct latest *latest, const char *key, struct strview value)
{
    struct frame *frame = frame_for_test(&maker, key, value, SV("orders~0=1"));
    latest_apply(latest, &frame, 1, frame->cursor);
    frame_unref(frame); /* what is held has references of its own */
}

static void expect(struct latest *latest, const char *key, const char *value)
{
    struct latest_view view;
    latest_read(latest, sv(key), &view);
    assert_true(view.is_known);
    assert_int_equal(value != NULL, view.count);
    if (value) {
        assert_sv(value, view.frames[0]->value);
    }
    latest_view_free(&view);
}

static void test_latest__last_value_of_each_key(void **state)
{
    (void)state;
    struct latest *latest = latest_new(10);
    struct latest_view view;
    latest_read(latest, (struct strview){0}, &view);
    assert_false(view.is_known);
    latest_view_free(&view);
    apply(latest, "a", SV("1"));
    apply(latest, "b", SV("2"));
    apply(latest, "a", SV("3"));
    apply(latest, NULL, SV("4")); /* belongs to no key */
    expect(latest, "a", "3");
    expect(latest, "b", "2");
    apply(latest, "a", (struct strview){0});
    apply(latest, "never", (struct strview){0});
    expect(latest, "a", NULL);
    latest_read(latest, (struct strview){0}, &view);
    assert_int_equal(1, view.count);
    assert_sv("orders~0=1", buf_view(&view.cursor));
    latest_free(latest); /* a view outlives it */
    assert_sv("2", view.frames[0]->value);
    latest_view_free(&view);
}

static void test_latest__past_the_bound__new_keys_are_left_out_and_counted(void **state)
{
    (void)state;
    struct latest *latest = latest_new(2);
    apply(latest, "a", SV("1"));
    apply(latest, "b", SV("1"));
    apply(latest, "c", SV("1"));
    apply(latest, "a", SV("2"));
    expect(latest, "a", "2");
    expect(latest, "c", NULL);
    struct latest_view view;
    latest_read(latest, (struct strview){0}, &view);
    assert_int_equal(1, view.left_out);
    assert_int_equal(2, view.count);
    latest_view_free(&view);
    latest_free(latest);
}

/* --- pages -------------------------------------------------------------------------------------------- */

#define NAMES 60

static struct rows_query query_page(size_t limit, bool is_descending)
{
    return (struct rows_query){
        .from_ms = INT64_MIN, .to_ms = INT64_MAX, .limit = limit, .is_descending = is_descending};
}

/* Between the pages keys come, are updated and go: who stays is on one page. */
static void check_pages(size_t limit, bool is_descending)
{
    struct latest *latest = latest_new(NAMES);
    bool stays[NAMES], is_seen[NAMES] = {false};
    char names[NAMES][8], end[8] = "";
    unsigned random = (unsigned)limit;
    for (int i = 0; i < NAMES; i++) {
        (void)snprintf(names[i], sizeof names[i], "k%02d", i);
        stays[i] = i % 2 == 0;
        if (stays[i]) {
            apply(latest, names[i], SV("1"));
        }
    }
    struct rows_query query = query_page(limit, is_descending);
    struct row_mark past = {.key = {end, 0}};
    for (bool has_more = true; has_more;) {
        struct rows_view view;
        latest_rows(latest, &query, &view);
        for (size_t i = 0; i < view.rows.count; i++) {
            const char *key = view.rows.items[i].mark.key.ptr;
            int name = 10 * (key[1] - '0') + key[2] - '0';
            assert_false(is_seen[name]);
            is_seen[name] = true;
        }
        has_more = view.has_more;
        past.key.len = 3;
        memcpy(end, view.rows.items[view.rows.count - 1].mark.key.ptr, 3);
        query.past = &past;
        rows_view_free(&view);
        for (int i = 0; i < 10; i++) {
            random = random * 1103515245 + 12345;
            int name = (int)(random >> 8) % NAMES;
            bool goes = !stays[name] && (random >> 4 & 1);
            apply(latest, names[name], goes ? (struct strview){0} : SV("2"));
        }
    }
    for (int i = 0; i < NAMES; i++) {
        assert_true(is_seen[i] || !stays[i]);
    }
    latest_free(latest);
}

static void test_latest_rows__pages_while_it_changes__each_key_that_stays_once(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < 20; limit++) {
        check_pages(limit, false);
        check_pages(limit, true);
    }
}

int main(void)
{
    frame_maker_init(&maker, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latest__last_value_of_each_key),
        cmocka_unit_test(test_latest__past_the_bound__new_keys_are_left_out_and_counted),
        cmocka_unit_test(test_latest_rows__pages_while_it_changes__each_key_that_stays_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    frame_maker_free(&maker);
    return failed;
}
