#define _GNU_SOURCE /* memmem */

#include <poll.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "metrics/metrics.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_US 60000000

struct reports {
    size_t stored, failed;
    struct kafka_report last;
};

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct reports *all = context;
    for (size_t i = 0; i < count; i++) {
        all->stored += reports[i].err == ERR_OK;
        all->failed += reports[i].err != ERR_OK;
        all->last = reports[i];
    }
}

static struct kafka_producer *producer_start(const struct mock_kafka *mock, struct reports *reports)
{
    struct kafka_producer *producer = NULL;
    struct err_info info = {0};
    enum err e =
        kafka_producer_new(&(struct kafka_producer_params){.config = &mock->config,
                                                           .role = KAFKA_ROLE_PRODUCER_ACKED,
                                                           .on_reports = on_reports,
                                                           .context = reports,
                                                           .label = "test"},
                           &producer, &info);
    if (e) {
        fail_msg("%s", info.text);
    }
    return producer;
}

static bool metric_rendered(const char *line)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    bool is_there = memmem(text.data, text.len, line, strlen(line)) != NULL;
    buf_free(&text);
    return is_there;
}

/* Serves the producer until the topic's state is known. */
static enum err await_topic(struct kafka_producer *producer, const char *topic, int32_t *partitions)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    struct kafka_topic_facts facts = {0};
    enum err e;
    do {
        struct pollfd wait = {.fd = kafka_producer_fd(producer), .events = POLLIN};
        (void)poll(&wait, 1, 5);
        kafka_producer_serve(producer);
        e = kafka_producer_topic(producer, topic, &facts);
    } while (e == ERR_KAFKA_UNAVAILABLE && clock_mono_us() < deadline_us);
    *partitions = facts.partitions;
    return e;
}

static void test_send__acknowledged__report_has_partition_and_offset(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 4);
    struct reports reports = {0};
    struct kafka_producer *producer = producer_start(&mock, &reports);
    int32_t partitions = 0;
    assert_err(ERR_OK, await_topic(producer, "orders", &partitions));
    assert_int_equal(4, partitions);

    struct kafka_header header = {SV("millrace-request-id"), SV("r-1")};
    struct kafka_record record = {.topic = "orders",
                                  .partition = 2,
                                  .key = SV("k"),
                                  .value = SV("{}"),
                                  .timestamp_ms = 1700000000000,
                                  .headers = &header,
                                  .header_count = 1,
                                  .opaque = &reports};
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_producer_send(producer, &record, &info));
    assert_int_equal(1, kafka_producer_outstanding(producer));
    assert_err(ERR_OK, kafka_producer_flush(producer, 60000));
    assert_int_equal(1, reports.stored);
    assert_int_equal(2, reports.last.partition);
    assert_int_equal(0, reports.last.offset);
    assert_ptr_equal(&reports, reports.last.opaque);

    struct kafka_tail *tail = NULL;
    assert_err(ERR_OK,
               kafka_tail_new(&(struct kafka_tail_params){.config = &mock.config, .label = "tail"},
                              &tail, &info));
    struct kafka_position from = {"orders", 2, KAFKA_EARLIEST};
    assert_err(ERR_OK, kafka_tail_add(tail, &from, 1, &info));
    assert_err(ERR_OK, kafka_tail_mark_end(tail, 5000, &info));
    rd_kafka_message_t *message = NULL;
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    size_t count = 0;
    while (!kafka_tail_is_caught_up(tail) && clock_mono_us() < deadline_us) {
        struct pollfd wait = {.fd = kafka_tail_fd(tail), .events = POLLIN};
        (void)poll(&wait, 1, 1000);
        count += kafka_tail_poll(tail, &message, 1, 0);
    }
    assert_int_equal(1, count);
    assert_memory_equal("{}", message->payload, 2);
    rd_kafka_message_destroy(message);
    int64_t next, end;
    kafka_tail_position(tail, "orders", 2, &next, &end);
    assert_int_equal(1, next);
    assert_int_equal(1, end);
    kafka_tail_free(tail);
    kafka_producer_free(producer);
    mock_kafka_stop(&mock);
}

static void test_topic__made_later__is_found_without_a_restart(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 4);
    struct reports reports = {0};
    struct kafka_producer *producer = producer_start(&mock, &reports);
    int32_t partitions = 0;
    assert_err(ERR_TOPIC_UNKNOWN, await_topic(producer, "late", &partitions));
    mock_kafka_topic(&mock, "late", 3);
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (await_topic(producer, "late", &partitions) && clock_mono_us() < deadline_us) {
    }
    assert_int_equal(3, partitions);
    kafka_producer_free(producer);
    mock_kafka_stop(&mock);
}

static void test_fatal_producer__is_replaced_and_its_records_fail(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 1);
    struct reports reports = {0};
    struct kafka_producer *producer = producer_start(&mock, &reports);
    int32_t partitions = 0;
    assert_err(ERR_OK, await_topic(producer, "orders", &partitions));
    rd_kafka_mock_push_request_errors(mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    struct err_info info = {0};
    struct kafka_record record = {.topic = "orders", .partition = 0, .value = SV("{}")};
    assert_err(ERR_OK, kafka_producer_send(producer, &record, &info));
    assert_err(ERR_OK, kafka_producer_flush(producer, 60000));
    assert_int_equal(1, reports.failed);
    assert_true(reports.last.may_be_stored || reports.last.err == ERR_KAFKA_FATAL);
    assert_err(ERR_OK, kafka_producer_send(producer, &record, &info));
    assert_err(ERR_OK, kafka_producer_flush(producer, 60000));
    assert_int_equal(1, reports.stored);
    assert_true(metric_rendered("millrace_kafka_producer_rebuilds_total{client=\"test\"} 1"));
    kafka_producer_free(producer);
    mock_kafka_stop(&mock);
}

/* Kafka stays away: producers that were given up pile up behind a question that nobody answers, and
 * the one that was asked lives until the question is over. */
static void test_recall__again_and_again__while_nobody_answers(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 1);
    struct reports reports = {0};
    struct kafka_producer *producer = producer_start(&mock, &reports);
    int32_t partitions = 0;
    assert_err(ERR_OK, await_topic(producer, "orders", &partitions));
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    const struct kafka_record record = {.topic = "orders", .partition = -1, .value = SV("{}")};
    for (size_t i = 1; i <= 5; i++) {
        assert_err(ERR_OK, kafka_producer_send(producer, &record, NULL));
        kafka_producer_recall(producer);
        assert_int_equal(i, reports.failed);
    }
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    assert_err(ERR_OK, kafka_producer_send(producer, &record, NULL));
    assert_err(ERR_OK, kafka_producer_flush(producer, 60000));
    assert_int_equal(1, reports.stored);
    kafka_producer_free(producer);
    mock_kafka_stop(&mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send__acknowledged__report_has_partition_and_offset),
        cmocka_unit_test(test_topic__made_later__is_found_without_a_restart),
        cmocka_unit_test(test_fatal_producer__is_replaced_and_its_records_fail),
        cmocka_unit_test(test_recall__again_and_again__while_nobody_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
