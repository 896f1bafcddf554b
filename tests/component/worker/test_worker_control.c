/* A pipeline that is told to stand still, and to go on. */
#define _GNU_SOURCE /* memmem */

#include "worker/worker_control.h"
#include "worker_fixture.h"

#define CONTROL "millrace.control"

static const char *const copy_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"copy\": {\"from\": \"in\", \"output\": {\"topic\": \"out\"}}}, "
          "\"dead_letter\": {\"topic\": \"dlq\"}}";

static void controlled_start(struct fixture *f)
{
    fixture_start(f, copy_text, "at_least_once"); /* the mock keeps these offsets */
    mock_kafka_topic(&f->mock, CONTROL, 1);
    f->config.control_topic = CONTROL;
}

static void wish(struct fixture *f, const struct control_wish *wish)
{
    struct err_info info = {0};
    const struct worker_control_params params = {
        .kafka = &f->mock.config, .topic = CONTROL, .pipeline = f->name};
    if (worker_control_wish(&params, wish, &info)) {
        fail_msg("%s", info.text);
    }
}

static void set_paused(struct fixture *f, bool is_paused)
{
    wish(f, &(struct control_wish){.is_paused = is_paused});
}

static void test_worker_control__paused_under_way__nothing_is_lost_or_doubled(void **state)
{
    (void)state;
    struct fixture f;
    controlled_start(&f);
    struct worker *worker = lone_worker_of(&f);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    set_paused(&f, true);
    await_ready(worker, "4 source partitions; paused");
    assert_int_equal(1, (int)metric_of(&f, "paused", ""));
    feed_records(&f, RECORDS); /* these wait */
    pause_ms(300);             /* a worker that went on would have taken them */
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    set_paused(&f, false);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    await_ready(worker, "4 source partitions");
    read_output(&f, 2 * RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(0, (int)tail_count_left(f.tail));
    assert_int_equal(0, (int)metric_of(&f, "paused", ""));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* Pauses while records flow: whatever was under way is committed first, and what was fetched is fetched
 * again. */
static void test_worker_control__again_and_again_under_load__each_record_once(void **state)
{
    (void)state;
    struct fixture f;
    controlled_start(&f);
    struct worker *worker = lone_worker_of(&f);
    await_ready(worker, NULL);
    for (int i = 0; i < 5; i++) {
        feed_records(&f, RECORDS);
        set_paused(&f, true);
        feed_records(&f, RECORDS);
        set_paused(&f, false);
    }
    await_metric(&f, "records_in_total", "", 10 * RECORDS);
    read_output(&f, 10 * RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(10 * RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_int_equal(0, (int)tail_count_left(f.tail));
    fixture_stop(&f);
}

static void test_worker_control__paused_before_the_start__stays_paused(void **state)
{
    (void)state;
    struct fixture f;
    controlled_start(&f);
    feed_records(&f, RECORDS);
    set_paused(&f, true);
    for (int i = 0; i < 2; i++) { /* and after a restart */
        struct worker *worker = worker_of(&f, NULL);
        await_ready(worker, "4 source partitions; paused");
        pause_ms(200);
        assert_int_equal(0, (int)metric_of(&f, "records_in_total", ""));
        assert_err(ERR_OK, worker_stop(worker, 20000));
    }
    struct worker *worker = worker_of(&f, NULL);
    await_ready(worker, "4 source partitions; paused");
    set_paused(&f, false);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* Partitions are taken over by a member that is paused like the other; both go on. */
static void share_while_paused(const char *rebalance)
{
    struct fixture f;
    print_message("%s\n", rebalance);
    controlled_start(&f);
    f.config.rebalance = rebalance;
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "4 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    set_paused(&f, true);
    await_ready(first, "4 source partitions; paused");
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions; paused");
    await_ready(first, "2 source partitions; paused");
    feed_records(&f, RECORDS);
    assert_err(ERR_OK, worker_stop(second, 20000)); /* and given back */
    await_ready(first, "4 source partitions; paused");
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    set_paused(&f, false);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    read_output(&f, 2 * RECORDS);
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_int_equal(0, (int)tail_count_left(f.tail));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_worker_control__members_come_and_go_while_it_is_paused__all_go_on(void **state)
{
    (void)state;
    share_while_paused("eager");
    share_while_paused("cooperative");
}

static void test_worker_control__hold__ends_by_itself(void **state)
{
    (void)state;
    struct fixture f;
    controlled_start(&f);
    int64_t until_ms = clock_now_ms() + 3000;
    wish(&f, &(struct control_wish){.is_hold = true, .until_ms = until_ms});
    struct worker *worker = worker_of(&f, NULL);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_true(clock_now_ms() >= until_ms);
    wish(&f, &(struct control_wish){.is_hold = true, .until_ms = INT64_MAX});
    await_ready(worker, "4 source partitions; paused");
    wish(&f, &(struct control_wish){.is_hold = true, .until_ms = 0});
    await_ready(worker, "4 source partitions");
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* No topic, and none can be made (the mock makes none): the pipeline runs. */
static void test_worker_control__no_topic__it_runs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, copy_text, "at_least_once");
    f.config.control_topic = "none.such";
    struct worker *worker = lone_worker_of(&f);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_control__paused_under_way__nothing_is_lost_or_doubled),
        cmocka_unit_test(test_worker_control__again_and_again_under_load__each_record_once),
        cmocka_unit_test(test_worker_control__paused_before_the_start__stays_paused),
        cmocka_unit_test(test_worker_control__members_come_and_go_while_it_is_paused__all_go_on),
        cmocka_unit_test(test_worker_control__hold__ends_by_itself),
        cmocka_unit_test(test_worker_control__no_topic__it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
