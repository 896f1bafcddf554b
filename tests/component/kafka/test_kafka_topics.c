/* Waiting for brokers: a topic that is made too early has too few replicas for good. And asking again. */
#include "test.h"

#include <string.h>

#include "kafka/kafka_topics.h"
#include "mock_kafka.h"

static void test_brokers_await__as_many_as_asked__is_done_at_once(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(3);
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_brokers_await(&mock.config, 3, 20000, &info));
    mock_kafka_stop(&mock);
}

static void test_brokers_await__too_few__says_how_many_there_are(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(2);
    struct err_info info = {0};
    assert_err(ERR_KAFKA_TIMEOUT, kafka_brokers_await(&mock.config, 3, 5000, &info));
    assert_string_equal("2 of at least 3 brokers are there", info.text);
    mock_kafka_stop(&mock);
}

static void test_brokers_await__nobody_there__is_an_error(void **state)
{
    (void)state;
    struct kafka_config config = {.bootstrap_servers = "127.0.0.1:1"};
    struct err_info info = {0};
    assert_err(ERR_KAFKA_UNAVAILABLE, kafka_brokers_await(&config, 1, 300, &info));
}

/* As when librdkafka gives its first connection up for the broker's own. */
static void test_topic_ensure__connections_go_under_the_question__it_is_asked_again(void **state)
{
    (void)state;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 4);
    const struct kafka_topic_spec spec = {.name = "orders", .partitions = 4, .replication = 1};
    enum kafka_topic_state topic_state = KAFKA_TOPIC_CREATED;
    struct err_info info = {0};
    rd_kafka_mock_push_request_errors(mock.cluster, 3 /* Metadata */, 4,
                                      RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TRANSPORT,
                                      RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TRANSPORT);
    assert_err(ERR_OK, kafka_topic_ensure(&mock.config, &spec, 20000, &topic_state, &info));
    assert_int_equal(KAFKA_TOPIC_EXISTS, topic_state);
    mock_kafka_stop(&mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brokers_await__as_many_as_asked__is_done_at_once),
        cmocka_unit_test(test_brokers_await__too_few__says_how_many_there_are),
        cmocka_unit_test(test_brokers_await__nobody_there__is_an_error),
        cmocka_unit_test(test_topic_ensure__connections_go_under_the_question__it_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
