/* What the pinned librdkafka's thread does while a request is under way and the next record may not be
 * sent yet: it sleeps. It is the library that is tested, as scripts/deps mends it (docs/adr/0002). */
#include <stdlib.h>

#include "batches_produce.h"
#include "core/clock.h"
#include "kafka/kafka_batches.h"
#include "kafka/kafka_config.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_MS 60000
#define ROUND_MS    400 /* how long the answer is waited for */
#define PRODUCE     0   /* Kafka's API key */
#define BATCH       10 /* more than the five requests that may be under way: librdkafka counts records */

/* How often the threads of the client have woken up, the busiest of them. */
static int on_stats(rd_kafka_t *client, char *json, size_t bytes, void *context)
{
    (void)client;
    (void)bytes;
    long *wakeups = context;
    static const char name[] = "\"wakeups\":";
    for (const char *at = json; (at = strstr(at, name)); at += sizeof name - 1) {
        long found = strtol(at + sizeof name - 1, NULL, 10);
        *wakeups = found > *wakeups ? found : *wakeups;
    }
    return 0;
}

struct producer {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    struct kafka_batches *batches;
};

static struct producer producer_start(const struct mock_kafka *mock, long *wakeups)
{
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    char why[256];
    assert_err(ERR_OK, kafka_conf_new(&mock->config, KAFKA_ROLE_PRODUCER_TXN, &conf, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "statistics.interval.ms", "50", &info));
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    rd_kafka_conf_set_opaque(conf, wakeups);
    struct producer producer = {rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why)};
    assert_non_null(producer.client);
    producer.topic = rd_kafka_topic_new(producer.client, "orders", NULL);
    producer.batches = kafka_batches_new(producer.client);
    assert_int_equal(0, kafka_batches_topic(producer.batches, producer.topic));
    return producer;
}

static void producer_stop(struct producer *producer)
{
    rd_kafka_topic_destroy(producer->topic);
    rd_kafka_destroy(producer->client);
    kafka_batches_free(producer->batches);
}

static void produce_single(struct producer *producer)
{
    assert_int_equal(
        0, rd_kafka_producev(producer->client, RD_KAFKA_V_TOPIC("orders"), RD_KAFKA_V_PARTITION(0),
                             RD_KAFKA_V_VALUE("order", strlen("order")), RD_KAFKA_V_END));
}

static void produce(struct producer *producer, int records, bool in_batches)
{
    if (in_batches) {
        batches_produce(producer->client, producer->batches, "order", records);
        return;
    }
    for (int i = 0; i < records; i++) {
        produce_single(producer);
    }
}

static void await_produce_request(struct mock_kafka *mock)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    while (!mock_kafka_requests(mock, PRODUCE)) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 1);
    }
}

/* The record that waits has lingered for long enough when most of the answer's time is still to come. */
static void test_record__request_under_way__is_waited_with_asleep(void **state)
{
    const bool in_batches = *(const bool *)*state;
    long wakeups = 0;
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 1);
    int64_t began_us = clock_mono_us();
    struct producer producer = producer_start(&mock, &wakeups);
    produce(&producer, 1, in_batches);
    assert_int_equal(0, rd_kafka_flush(producer.client, DEADLINE_MS));

    assert_int_equal(0, rd_kafka_mock_broker_set_rtt(mock.cluster, 1, ROUND_MS));
    rd_kafka_mock_start_request_tracking(mock.cluster);
    produce(&producer, BATCH, in_batches);
    await_produce_request(&mock);
    produce(&producer, 1, in_batches);
    assert_int_equal(0, rd_kafka_flush(producer.client, DEADLINE_MS));

    wakeups = 0;
    while (wakeups == 0) { /* the next statistics */
        (void)rd_kafka_poll(producer.client, DEADLINE_MS);
    }
    long taken_ms = (clock_mono_us() - began_us) / 1000;
    print_message("%ld wake-ups in %ld ms\n", wakeups, taken_ms);
    assert_true(wakeups < 2 * taken_ms + 200); /* one a millisecond; without a pause: 100,000 */
    producer_stop(&producer);
    mock_kafka_stop(&mock);
}

int main(void)
{
    static bool one_by_one = false, in_batches = true;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_record__request_under_way__is_waited_with_asleep,
                                  &one_by_one),
        cmocka_unit_test_prestate(test_record__request_under_way__is_waited_with_asleep,
                                  &in_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
