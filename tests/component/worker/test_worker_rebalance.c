/* Partitions that move while the rest goes on (pipeline.rebalance), and what is refused there. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

static const char *const copy_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"copy\": {\"from\": \"in\", \"output\": {\"topic\": \"out\"}}}, "
          "\"dead_letter\": {\"topic\": \"dlq\"}}";
static const char *const merge_text = MERGE;
static const char *const count_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {\"counts\": {\"from\": \"in\", \"steps\": [" COUNT
          "], \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

/* The first two of the quick ones are not for the brokers' protocol. */
#define MEMBER_PAIRS 2

#define LIST_OFFSETS 2   /* a restore asks where its changelogs end */
#define SLOW_MS      700 /* below the time for which it waits */

static void rebalance_by(struct fixture *f, const char *rebalance)
{
    f->config.rebalance = rebalance;
    if (strcmp(rebalance, "broker") == 0) {
        f->mock.config.extra.pairs = quick_pairs + MEMBER_PAIRS;
        f->mock.config.extra.count = ARRAY_LEN(quick_pairs) - MEMBER_PAIRS;
    }
}

/* A second member takes half and gives it back, with records before, between and after. */
static void share_and_hand_back(const char *rebalance)
{
    struct fixture f;
    print_message("%s\n", rebalance);
    fixture_start(&f, copy_text, "at_least_once"); /* the mock keeps these offsets */
    rebalance_by(&f, rebalance);
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "4 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "2 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", 2 * RECORDS);
    assert_err(ERR_OK, worker_stop(second, 20000));
    await_ready(first, "4 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", 3 * RECORDS);
    read_output(&f, 3 * RECORDS);
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_int_equal(3 * RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_int_equal(0, (int)tail_count_left(f.tail));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* Not under ThreadSanitizer, which finds librdkafka's own: a heartbeat interval read without a lock, and
 * a mutex of the mock's that is destroyed while it is held. */
static bool has_brokers_protocol(void)
{
#ifdef __SANITIZE_THREAD__
    return false;
#else
    return true;
#endif
}

static void test_rebalance__second_member__shares_and_hands_back(void **state)
{
    (void)state;
    share_and_hand_back("cooperative");
    if (has_brokers_protocol()) {
        share_and_hand_back("broker");
    }
}

/* Asked all the time, a worker is ready with what it had, or with all that has come and its state: not
 * while its partitions move, nor while what has come is restored. */
static void test_ready__while_partitions_move__is_not_said_before_their_state_is_back(void **state)
{
    (void)state;
    struct fixture f;
    char text[128] = "";
    fixture_start(&f, count_text, "at_least_once");
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "4 source partitions");
    feed_times(&f, "in", RECORDS, 0, 1);
    await_metric(&f, "records_in_total", "", RECORDS);
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions");
    double before = metric_of(&f, "restored_records_total", "");
    (void)rd_kafka_mock_broker_push_request_error_rtts(f.mock.cluster, 1, LIST_OFFSETS, 1,
                                                       RD_KAFKA_RESP_ERR_NO_ERROR, SLOW_MS);
    assert_err(ERR_OK, worker_stop(first, 20000));
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (strcmp(text, "4 source partitions") != 0 && clock_mono_us() < deadline_us) {
        if (!worker_is_ready(second, text, sizeof text)) {
            text[0] = '\0';
        }
        assert_true(text[0] == '\0' || text[0] == '2' || text[0] == '4');
        pause_ms(1);
    }
    assert_string_equal("4 source partitions", text);
    assert_true(metric_of(&f, "restored_records_total", "") > before);
    assert_err(ERR_OK, worker_stop(second, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* What stays is read again after an abort that a rebalance brought about. */
static void test_rebalance__commit_refused__what_stays_is_done_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, copy_text, "exactly_once");
    f.config.rebalance = "cooperative";
    f.config.commit_interval_ms = 5000;
    struct worker *first = lone_worker_of(&f);
    await_ready(first, "4 source partitions");
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_int_equal(1, (int)metric_of(&f, "aborts_total", ""));
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_check__cooperative_with_topics_that_meet__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    fixture_start(&f, merge_text, "exactly_once");
    f.config.rebalance = "cooperative";
    assert_err(ERR_CONFIG, worker_check(&f.config, &f.mock.config, f.pipeline, &info));
    assert_non_null(strstr(info.text, "left and right meet"));
    rebalance_by(&f, "broker");
    assert_err(ERR_OK, worker_check(&f.config, &f.mock.config, f.pipeline, &info));
    fixture_stop(&f);
}

static void test_check__session_with_the_brokers_protocol__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    fixture_start(&f, copy_text, "exactly_once");
    f.config.rebalance = "broker"; /* with all of the quick ones */
    assert_err(ERR_CONFIG, worker_check(&f.config, &f.mock.config, f.pipeline, &info));
    assert_non_null(strstr(info.text, "group.consumer.session.timeout.ms"));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready__while_partitions_move__is_not_said_before_their_state_is_back),
        cmocka_unit_test(test_rebalance__second_member__shares_and_hands_back),
        cmocka_unit_test(test_rebalance__commit_refused__what_stays_is_done_again),
        cmocka_unit_test(test_check__cooperative_with_topics_that_meet__is_refused),
        cmocka_unit_test(test_check__session_with_the_brokers_protocol__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
