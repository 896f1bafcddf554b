/* Where a partition ends, while the broker that leads it is away. */
#include "test.h"

#include "core/clock.h"
#include "kafka/kafka_tail.h"
#include "mock_kafka.h"

#define DEADLINE_US 60000000
#define ASK_MS      500

/* Partition 0 on broker 1, partition 1 on broker 2, both empty. */
static struct kafka_tail *tail_of_two(struct mock_kafka *mock)
{
    mock_kafka_topic(mock, "rows", 2);
    for (int32_t p = 0; p < 2; p++) {
        CHECK(rd_kafka_mock_partition_set_leader(mock->cluster, "rows", p, p + 1) == 0);
    }
    struct kafka_tail *tail = NULL;
    struct err_info info = {0};
    const struct kafka_position starts[] = {{"rows", 0, KAFKA_EARLIEST},
                                            {"rows", 1, KAFKA_EARLIEST}};
    assert_err(ERR_OK,
               kafka_tail_new(&(struct kafka_tail_params){.config = &mock->config, .label = "tail"},
                              &tail, &info));
    assert_err(ERR_OK, kafka_tail_add(tail, starts, 2, &info));
    return tail;
}

static void test_mark_end__a_leader_is_away__is_an_error_until_it_is_back(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(2);
    struct kafka_tail *tail = tail_of_two(&mock);
    struct err_info info = {0};
    rd_kafka_mock_broker_set_down(mock.cluster, 2);
    enum err e = kafka_tail_mark_end(tail, ASK_MS, &info);
    assert_true(err_is_retriable(e));
    assert_false(kafka_tail_is_caught_up(tail));
    rd_kafka_mock_broker_set_up(mock.cluster, 2);
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while ((e = kafka_tail_mark_end(tail, ASK_MS, &info)) != ERR_OK) {
        assert_true(err_is_retriable(e));
        assert_true(clock_mono_us() < deadline_us);
    }
    assert_true(kafka_tail_is_caught_up(tail));
    kafka_tail_free(tail);
    mock_kafka_stop(&mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mark_end__a_leader_is_away__is_an_error_until_it_is_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
