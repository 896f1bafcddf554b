/* mock_kafka.h - librdkafka's mock cluster for component tests: a broker in the test's process. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>

#include "kafka/kafka_config.h"

struct mock_kafka {
    rd_kafka_t *owner;
    rd_kafka_mock_cluster_t *cluster;
    struct kafka_config config; /* points to it */
};

static inline struct mock_kafka mock_kafka_start(int brokers)
{
    char why[256];
    struct mock_kafka mock = {0};
    mock.owner = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    mock.cluster = rd_kafka_mock_cluster_new(mock.owner, brokers);
#if RD_KAFKA_VERSION >= 0x02040000
    rd_kafka_mock_group_initial_rebalance_delay_ms(mock.cluster, 0); /* else 3 s a group */
#endif
    mock.config.bootstrap_servers = rd_kafka_mock_cluster_bootstraps(mock.cluster);
    return mock;
}

static inline void mock_kafka_topic(struct mock_kafka *mock, const char *topic, int partitions)
{
    CHECK(rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1) == 0);
    /* The mock swallows the wake-up of a call on the heels of another, and serves it a second later
     * (rd_kafka_mock_cluster_op_io, 2.15.1): nothing depends on it but a test's time. */
    (void)poll(NULL, 0, 1);
}

/* Of a kind, by Kafka's API key, since rd_kafka_mock_start_request_tracking. */
static inline size_t mock_kafka_requests(const struct mock_kafka *mock, int16_t api_key)
{
    size_t all, count = 0;
    rd_kafka_mock_request_t **requests = rd_kafka_mock_get_requests(mock->cluster, &all);
    for (size_t i = 0; i < all; i++) {
        count += rd_kafka_mock_request_api_key(requests[i]) == api_key;
    }
    rd_kafka_mock_request_destroy_array(requests, all);
    return count;
}

static inline void mock_kafka_stop(struct mock_kafka *mock)
{
    rd_kafka_mock_cluster_destroy(mock->cluster);
    rd_kafka_destroy(mock->owner);
}
