/* What is dealt with, against a flag for each offset; and its text. */
#include "replay/replay_marks.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

#define OFFSETS 400
#define BASE    1000000

struct naive {
    bool is_done[OFFSETS];
};

static void expect_same(const struct replay_marks *marks, const struct naive *naive)
{
    int64_t base = 0;
    while (base < OFFSETS && naive->is_done[base]) {
        base++;
    }
    assert_int_equal(BASE + base, marks->base);
    for (int64_t i = 0; i < OFFSETS; i++) {
        assert_int_equal(naive->is_done[i], replay_marks_has(marks, BASE + i));
    }
    for (size_t i = 0; i < marks->count; i++) {
        assert_true(marks->runs[i].from < marks->runs[i].to);
        assert_true(marks->runs[i].from > (i > 0 ? marks->runs[i - 1].to : marks->base));
    }
}

static void expect_written(const struct replay_marks *marks, const struct naive *naive)
{
    char text[REPLAY_MARKS_BYTES];
    struct replay_marks read = {0};
    assert_true(replay_marks_write(marks, text));
    assert_true(strlen(text) < sizeof text);
    assert_true(replay_marks_read(&read, marks->base, text));
    expect_same(&read, naive);
    replay_marks_free(&read);
}

static void test_marks__whatever_is_added__is_what_flags_say(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 300; round++) {
        struct replay_marks marks;
        struct naive naive = {{false}};
        replay_marks_init(&marks, BASE);
        for (int i = 0; i < 60; i++) {
            int from = rand() % OFFSETS, to = from + rand() % 12;
            to = to > OFFSETS ? OFFSETS : to;
            replay_marks_add(&marks, BASE + from, BASE + to);
            memset(naive.is_done + from, true, (size_t)(to - from));
            expect_same(&marks, &naive);
        }
        expect_written(&marks, &naive);
        replay_marks_free(&marks);
    }
}

static void test_marks__taken_back__is_as_before(void **state)
{
    (void)state;
    struct replay_marks marks;
    struct naive naive = {{false}};
    replay_marks_init(&marks, BASE);
    replay_marks_add(&marks, BASE + 10, BASE + 20);
    memset(naive.is_done + 10, true, 10);
    replay_marks_add(&marks, BASE + 20, BASE + 25);
    replay_marks_take_back(&marks, BASE + 20, BASE + 25);
    expect_same(&marks, &naive);
    replay_marks_take_back(&marks, BASE + 12, BASE + 13);
    naive.is_done[12] = false;
    expect_same(&marks, &naive);
    replay_marks_take_back(&marks, BASE + 30, BASE + 31); /* nothing is there */
    expect_same(&marks, &naive);
    replay_marks_free(&marks);
}

/* Each second one is a bitmap; few of many are runs. */
static void test_marks__text__is_the_shorter_one(void **state)
{
    (void)state;
    char text[REPLAY_MARKS_BYTES];
    struct replay_marks marks;
    replay_marks_init(&marks, 0);
    for (int64_t i = 1; i < 20000; i += 2) {
        replay_marks_add(&marks, i, i + 1);
    }
    assert_true(replay_marks_write(&marks, text));
    assert_int_equal('b', text[0]);
    replay_marks_free(&marks);
    replay_marks_init(&marks, 0);
    for (int64_t i = 1; i < 700; i++) {
        replay_marks_add(&marks, i * 10000, i * 10000 + 1);
    }
    assert_true(replay_marks_write(&marks, text));
    assert_int_equal('r', text[0]);
    replay_marks_free(&marks);
}

static void test_marks__too_scattered__does_not_fit(void **state)
{
    (void)state;
    char text[REPLAY_MARKS_BYTES];
    struct replay_marks marks;
    int64_t at = 1;
    replay_marks_init(&marks, 0);
    while (replay_marks_write(&marks, text)) {
        replay_marks_add(&marks, at, at + 1);
        at += 100;
        assert_true(at < 1000000);
    }
    assert_true(marks.count > 1000);
    replay_marks_take_back(&marks, at - 100, at - 99);
    assert_true(replay_marks_write(&marks, text));
    replay_marks_free(&marks);
}

static void test_marks__text_of_others__is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"m2 1 2", "r", "rA", "rAAA=", "r////////////////", "x", "b*"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct replay_marks marks = {0};
        bool is_ours = replay_marks_read(&marks, 5, bad[i]);
        assert_int_equal(strcmp(bad[i], "r") == 0, is_ours); /* no run is none */
        assert_int_equal(5, marks.base);
        assert_int_equal(0, marks.count);
        replay_marks_free(&marks);
    }
    struct replay_marks marks = {0};
    assert_true(replay_marks_read(&marks, 5, NULL));
    assert_true(replay_marks_read(&marks, 5, ""));
    replay_marks_free(&marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks__whatever_is_added__is_what_flags_say),
        cmocka_unit_test(test_marks__taken_back__is_as_before),
        cmocka_unit_test(test_marks__text__is_the_shorter_one),
        cmocka_unit_test(test_marks__too_scattered__does_not_fit),
        cmocka_unit_test(test_marks__text_of_others__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
