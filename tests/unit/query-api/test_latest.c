#include "frames.h"
#include "latest.h"

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

int main(void)
{
    frame_maker_init(&maker);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latest__last_value_of_each_key),
        cmocka_unit_test(test_latest__past_the_bound__new_keys_are_left_out_and_counted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    frame_maker_free(&maker);
    return failed;
}
