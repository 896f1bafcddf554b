/* What follows from what workers have told: who lives, what is wrong, what comes first. */
#include <stdio.h>

#include "jobs_board.h"
#include "json/json_file.h"
#include "test.h"

#define NOW 1700000100000

static const struct jobs_limits wide = {1000, 1 << 20, 86400000};

/* A thread's record, with the task of one partition. */
static void tell(struct jobs_board *board, const char *pipeline, const char *instance, int thread,
                 int partition, int64_t heard_ms, const char *more)
{
    char key[128], value[2048];
    (void)snprintf(key, sizeof key, "%s/%s/%d", pipeline, instance, thread);
    (void)snprintf(
        value, sizeof value,
        "{\"v\":1,\"pipeline\":\"%s\",\"instance\":\"%s\",\"run\":5,\"interval_ms\":2000,"
        "\"thread\":%d,\"at\":%lld,\"told\":%lld,\"busy\":0.5,\"counts\":{\"in\":10},"
        "\"rates\":{\"in\":1.5},\"flow\":[[10,1.5],[1,0]],"
        "\"tasks\":[{\"stage\":0,\"partition\":%d,\"state\":\"running\",\"keys\":2,"
        "\"inputs\":[{\"topic\":\"in\",\"lag\":7,\"lag_ms\":%d}],\"watermark\":%d,"
        "\"watermark_delay_ms\":100}],\"errors\":[],\"state\":\"running\"%s}",
        pipeline, instance, thread, (long long)heard_ms, (long long)heard_ms, partition,
        1000 + partition, 5000 - partition, more);
    jobs_board_take(board, sv(key), sv(value), heard_ms);
}

static void tell_whole(struct jobs_board *board, const char *instance, const char *hash)
{
    char key[128], value[512];
    (void)snprintf(key, sizeof key, "orders/%s", instance);
    (void)snprintf(value, sizeof value,
                   "{\"v\":1,\"pipeline\":\"orders\",\"instance\":\"%s\",\"run\":5,\"at\":1,"
                   "\"interval_ms\":2000,\"hash\":\"%s\",\"guarantee\":\"exactly_once\","
                   "\"topology\":{\"segments\":[]}}",
                   instance, hash);
    jobs_board_take(board, sv(key), sv(value), NOW);
}

/* What the instance has heard of savepoints. */
static void tell_savepoints(struct jobs_board *board, const char *instance, int64_t heard_ms,
                            const char *savepoints)
{
    char key[128], value[2048];
    (void)snprintf(key, sizeof key, "orders/%s", instance);
    (void)snprintf(value, sizeof value,
                   "{\"v\":1,\"pipeline\":\"orders\",\"instance\":\"%s\",\"run\":5,\"at\":1,"
                   "\"interval_ms\":2000,\"hash\":\"h\",\"topology\":null,\"savepoints\":%s}",
                   instance, savepoints);
    jobs_board_take(board, sv(key), sv(value), heard_ms);
}

static const char *text_at(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static json_int_t number_at(const json_t *object, const char *name)
{
    assert_true(json_is_integer(json_object_get(object, name)));
    return json_integer_value(json_object_get(object, name));
}

static void expect_state(const struct jobs_board *board, int64_t now_ms, const char *state,
                         const char *reason)
{
    json_t *job = jobs_board_show(board, "orders", now_ms);
    assert_string_equal(state, text_at(job, "state"));
    const json_t *reasons = json_object_get(job, "reasons");
    assert_int_equal(reason != NULL, json_array_size(reasons) > 0);
    if (reason) {
        assert_string_equal(reason, json_string_value(json_array_get(reasons, 0)));
    }
    json_decrefp(&job);
}

static void test_show__sums_what_lives(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    tell_whole(board, "a", "h");
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell(board, "orders", "a", 1, 1, NOW, "");
    json_t *job = jobs_board_show(board, "orders", NOW);
    assert_string_equal("ok", text_at(job, "state"));
    assert_int_equal(14, number_at(job, "lag"));
    assert_int_equal(1001, number_at(job, "lag_ms"));    /* the most */
    assert_int_equal(4999, number_at(job, "watermark")); /* the least */
    assert_int_equal(2, number_at(job, "thread_count"));
    assert_int_equal(4, number_at(job, "keys"));
    assert_int_equal(20, number_at(json_object_get(job, "counts"), "in"));
    assert_int_equal(1, number_at(json_object_get(job, "instance_count"), "live"));
    assert_int_equal(2, number_at(json_object_get(job, "task_count"), "running"));
    assert_int_equal(2, json_array_size(json_object_get(job, "tasks")));
    const json_t *flow = json_array_get(json_object_get(job, "flow"), 0);
    assert_int_equal(20, json_integer_value(json_array_get(flow, 0)));
    assert_true(json_number_value(json_array_get(flow, 1)) == 3.0);
    assert_string_equal("h", text_at(job, "hash"));
    assert_true(json_is_object(json_object_get(job, "topology")));
    const json_t *task = json_array_get(json_object_get(job, "tasks"), 1);
    assert_string_equal("a", text_at(task, "instance"));
    assert_int_equal(1, number_at(task, "thread"));
    json_decrefp(&job);
    jobs_board_free(board);
}

static void test_silence__is_told_after_five_intervals(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell(board, "orders", "b", 0, 1, NOW - 10000, "");
    expect_state(board, NOW, "ok", NULL);
    expect_state(board, NOW + 1, "degraded", "b is lost: nobody has its tasks");
    expect_state(board, NOW + 10001, "down", "a is lost: nobody has its tasks");
    tell(board, "orders", "a", 1, 1, NOW, ""); /* which has taken them over */
    expect_state(board, NOW + 1, "ok", NULL);
    json_t *job = jobs_board_show(board, "orders", NOW + 1);
    assert_int_equal(1, number_at(json_object_get(job, "instance_count"), "lost"));
    assert_int_equal(2, json_array_size(json_object_get(job, "tasks"))); /* each once */
    json_decrefp(&job);
    jobs_board_take(board, SV("orders/b/0"), (struct strview){NULL, 0}, NOW); /* a clean end */
    job = jobs_board_show(board, "orders", NOW + 1);
    assert_int_equal(0, number_at(json_object_get(job, "instance_count"), "lost"));
    assert_int_equal(1, json_array_size(json_object_get(job, "instances")));
    json_decrefp(&job);
    jobs_board_free(board);
}

static void test_state__says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *label, *more, *state, *reason;
    } cases[] = {
        {"failed", ",\"state\":\"failed\"", "degraded", "b has failed"},
        {"restoring", ",\"state\":\"restoring\"", "restoring", "b is starting or restoring"},
        {"paused", ",\"state\":\"paused\"", "paused", "b stands still: it was paused"},
        {"stuck", ",\"told\":1699999000000", "degraded", "b has a thread that is stuck"},
        {"own error", ",\"errors\":[{\"code\":\"io\",\"during\":\"commit\",\"at\":1700000099000}]",
         "degraded", "b has failed at something, and has not committed since"},
        {"overcome",
         ",\"errors\":[{\"code\":\"io\",\"during\":\"commit\",\"at\":1700000099000}],"
         "\"commits\":{\"at\":1700000099500}",
         "ok", NULL},
        {"old error", ",\"errors\":[{\"code\":\"io\",\"during\":\"commit\",\"at\":1700000000000}]",
         "ok", NULL},
        {"a record's error",
         ",\"errors\":[{\"code\":\"io\",\"during\":\"/steps/0\",\"at\":1700000099000}]", "ok",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jobs_board *board = jobs_board_new(wide);
        tell(board, "orders", "a", 0, 0, NOW, "");
        char value[1024];
        (void)snprintf(value, sizeof value,
                       "{\"v\":1,\"pipeline\":\"orders\",\"instance\":\"b\",\"run\":5,"
                       "\"interval_ms\":2000,\"thread\":0,\"at\":%lld%s%s,\"tasks\":[{\"stage\":0,"
                       "\"partition\":1,\"state\":\"running\"}]}",
                       (long long)NOW,
                       strstr(cases[i].more, "state") ? "" : ",\"state\":\"running\"",
                       cases[i].more);
        print_message("%s\n", cases[i].label);
        jobs_board_take(board, SV("orders/b/0"), sv(value), NOW);
        expect_state(board, NOW, cases[i].state, cases[i].reason);
        jobs_board_free(board);
    }
}

static void test_versions__that_differ_are_told(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    tell_whole(board, "a", "h1");
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell_whole(board, "b", "h1");
    tell(board, "orders", "b", 0, 1, NOW, "");
    expect_state(board, NOW, "ok", NULL);
    tell_whole(board, "b", "h2");
    expect_state(board, NOW, "degraded", "instances run different versions of the pipeline");
    jobs_board_free(board);
}

/* What a process before it has left, with more threads, is not the instance's any more. */
static void test_run__the_last_one_counts(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    tell(board, "orders", "a", 1, 1, NOW - 5000, "");
    tell(board, "orders", "a", 0, 0, NOW, ",\"run\":6");
    /* A repeated name is refused: told as a worker would. */
    assert_int_equal(1, jobs_board_count(board));
    static const char newer[] = "{\"v\":1,\"pipeline\":\"orders\",\"instance\":\"a\",\"run\":6,"
                                "\"interval_ms\":2000,\"thread\":0,\"state\":\"running\","
                                "\"tasks\":[{\"stage\":0,\"partition\":0,\"state\":\"running\"}]}";
    jobs_board_take(board, SV("orders/a/0"), sv(newer), NOW);
    json_t *job = jobs_board_show(board, "orders", NOW);
    assert_int_equal(1, number_at(job, "thread_count"));
    assert_int_equal(1, json_array_size(json_object_get(job, "tasks")));
    json_decrefp(&job);
    jobs_board_free(board);
}

static void test_list__worst_first(void **state)
{
    (void)state;
    static const char *const order[] = {"down", "behind", "a-well", "b-well"};
    struct jobs_board *board = jobs_board_new(wide);
    tell(board, "b-well", "i", 0, 0, NOW, "");
    tell(board, "a-well", "i", 0, 0, NOW, "");
    tell(board, "down", "i", 0, 0, NOW - 60000, "");
    tell(board, "behind", "i", 0, 9, NOW, "");
    json_t *list = jobs_board_list(board, NOW);
    assert_int_equal(ARRAY_LEN(order), json_array_size(list));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        assert_string_equal(order[i], text_at(json_array_get(list, i), "pipeline"));
    }
    json_decrefp(&list);
    jobs_board_free(board);
}

static void test_near__names_what_may_be_meant(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    json_t *near = jobs_board_near(board, "orders");
    assert_int_equal(0, json_array_size(near));
    json_decrefp(&near);
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell(board, "product-metrics", "a", 0, 0, NOW, "");
    assert_null(jobs_board_show(board, "order", NOW));
    near = jobs_board_near(board, "order");
    assert_int_equal(1, json_array_size(near));
    assert_string_equal("orders", json_string_value(json_array_get(near, 0)));
    json_decrefp(&near);
    near = jobs_board_near(board, "something-else");
    assert_int_equal(2, json_array_size(near));
    json_decrefp(&near);
    jobs_board_free(board);
}

static void test_bounds__hold(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new((struct jobs_limits){2, 1 << 20, 1000});
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell(board, "orders", "a", 1, 1, NOW, "");
    tell(board, "orders", "a", 2, 2, NOW, "");
    assert_int_equal(2, jobs_board_count(board));
    assert_int_equal(1, jobs_board_left_out(board));
    tell(board, "orders", "a", 1, 1, NOW + 500, ""); /* a known one is replaced */
    assert_int_equal(1, jobs_board_left_out(board));
    jobs_board_forget(board, NOW + 1001);
    assert_int_equal(1, jobs_board_count(board));
    jobs_board_free(board);
    board = jobs_board_new((struct jobs_limits){100, 700, 1000});
    tell(board, "orders", "a", 0, 0, NOW, "");
    tell(board, "orders", "a", 1, 1, NOW, "");
    assert_int_equal(1, jobs_board_count(board));
    jobs_board_free(board);
}

/* Anybody may write to a topic. */
static void test_take__what_is_no_status_harms_nobody(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",
        "nonsense",
        "[]",
        "{\"v\":2,\"pipeline\":\"p\",\"instance\":\"i\",\"run\":1}",
        "{\"v\":1,\"pipeline\":7,\"instance\":\"i\",\"run\":1}",
        "{\"v\":1,\"pipeline\":\"p\",\"instance\":\"i\"}",
    };
    static const char wild[] =
        "{\"v\":1,\"pipeline\":\"orders\",\"instance\":\"x\",\"run\":9223372036854775807,"
        "\"thread\":-9223372036854775808,\"interval_ms\":-5,\"at\":9223372036854775807,"
        "\"told\":-9223372036854775808,\"busy\":1e308,\"state\":[],"
        "\"counts\":{\"in\":9223372036854775807},\"rates\":{\"in\":1e308},\"flow\":[7,[],[1],{}],"
        "\"tasks\":[7,{},{\"inputs\":7},{\"stage\":-1,\"inputs\":[{\"lag\":9223372036854775807},"
        "{\"lag\":9223372036854775807,\"lag_ms\":\"x\"}],\"watermark\":-9223372036854775808}],"
        "\"errors\":[7,{\"at\":-9223372036854775808}]}";
    struct jobs_board *board = jobs_board_new(wide);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        jobs_board_take(board, SV("orders/x/0"), sv(values[i]), NOW);
        assert_int_equal(0, jobs_board_count(board));
    }
    jobs_board_take(board, SV("a"), sv(wild), NOW);
    jobs_board_take(board, SV("b"), sv(wild), NOW);
    tell(board, "orders", "a", 0, 0, NOW, "");
    json_t *list = jobs_board_list(board, NOW), *job = jobs_board_show(board, "orders", NOW);
    assert_int_equal(1, json_array_size(list));
    assert_string_equal("orders", text_at(job, "pipeline"));
    json_decrefp(&list);
    json_decrefp(&job);
    jobs_board_free(board);
}

/* Of each savepoint the word that says most; what is under way with one that lives no more has failed. */
static void test_savepoints__of_all_that_were_told_the_last_word_counts(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    tell_savepoints(board, "a", NOW,
                    "[{\"name\":\"s2\",\"state\":\"waiting\",\"asked_at\":20,\"at\":20},"
                    "{\"name\":\"s1\",\"state\":\"running\",\"instance\":\"b\",\"asked_at\":10,"
                    "\"at\":11},{\"name\":\"s3\",\"state\":\"running\",\"instance\":\"gone\","
                    "\"asked_at\":30,\"at\":31},{\"name\":7},8,null]");
    tell_savepoints(board, "b", NOW,
                    "[{\"name\":\"s1\",\"state\":\"running\",\"instance\":\"b\",\"asked_at\":10,"
                    "\"at\":11,\"partitions\":[]},{\"name\":\"s2\",\"state\":\"done\","
                    "\"instance\":\"b\",\"asked_at\":20,\"at\":25}]");
    tell_savepoints(board, "c", NOW - 600000, "\"none\"");
    json_t *job = jobs_board_show(board, "orders", NOW);
    const json_t *list = json_object_get(job, "savepoints");
    static const char *const states[] = {"running", "done", "failed"};
    assert_int_equal(ARRAY_LEN(states), json_array_size(list));
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        assert_string_equal(states[i], text_at(json_array_get(list, i), "state"));
    }
    assert_non_null(json_object_get(json_array_get(list, 0), "partitions"));
    assert_string_equal("gone, which took it, does not live any more",
                        text_at(json_array_get(list, 2), "reason"));
    json_decrefp(&job);
    jobs_board_free(board);
}

static void test_standbys__of_those_that_live(void **state)
{
    (void)state;
    struct jobs_board *board = jobs_board_new(wide);
    static const char *const more =
        ",\"standbys\":[{\"stage\":0,\"partition\":4,\"state\":\"following\",\"lag\":3},7]";
    tell(board, "orders", "a", 0, 0, NOW, more);
    tell(board, "orders", "b", 0, 1, NOW - 600000, more);
    json_t *job = jobs_board_show(board, "orders", NOW);
    const json_t *list = json_object_get(job, "standbys");
    assert_int_equal(1, json_array_size(list));
    assert_string_equal("a", text_at(json_array_get(list, 0), "instance"));
    assert_int_equal(3, number_at(json_array_get(list, 0), "lag"));
    json_decrefp(&job);
    jobs_board_free(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standbys__of_those_that_live),
        cmocka_unit_test(test_savepoints__of_all_that_were_told_the_last_word_counts),
        cmocka_unit_test(test_show__sums_what_lives),
        cmocka_unit_test(test_silence__is_told_after_five_intervals),
        cmocka_unit_test(test_state__says_what_is_wrong),
        cmocka_unit_test(test_versions__that_differ_are_told),
        cmocka_unit_test(test_run__the_last_one_counts),
        cmocka_unit_test(test_list__worst_first),
        cmocka_unit_test(test_near__names_what_may_be_meant),
        cmocka_unit_test(test_bounds__hold),
        cmocka_unit_test(test_take__what_is_no_status_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
