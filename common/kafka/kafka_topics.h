/* kafka_topics.h - what exists, and making what is missing. Blocking calls for start-up and tools. */
#pragma once

#include "kafka/kafka_config.h"

struct kafka_topic_spec {
    const char *name;
    int32_t partitions;
    int32_t replication;              /* at most; fewer when the cluster has fewer brokers */
    const struct config_pair *config; /* topic configuration, e.g. cleanup.policy */
    size_t config_count;
};

enum kafka_topic_state { KAFKA_TOPIC_EXISTS, KAFKA_TOPIC_CREATED, KAFKA_TOPIC_DIFFERS };

/* Waits until so many brokers are there: replication is capped at how many there are, so a topic that
 * is made while a cluster still starts would have too few replicas for good. */
MUST_CHECK enum err kafka_brokers_await(const struct kafka_config *config, int64_t count,
                                        int64_t timeout_ms, struct err_info *info);
/* Creates a missing topic and waits until every broker knows it. *ret_state tells what was found;
 * DIFFERS (partition count) is not an error here: info says how. */
MUST_CHECK enum err kafka_topic_ensure(const struct kafka_config *config,
                                       const struct kafka_topic_spec *spec, int64_t timeout_ms,
                                       enum kafka_topic_state *ret_state, struct err_info *info);
/* ERR_TOPIC_UNKNOWN when it does not exist; never creates it. */
MUST_CHECK enum err kafka_topic_partitions(rd_kafka_t *client, const char *topic,
                                           int64_t timeout_ms, int32_t *ret_count,
                                           struct err_info *info);
/* A number for this making of the topic: another one when it was deleted and created again. 0: it
 * cannot be known (brokers before 2.8, librdkafka before 2.4). */
MUST_CHECK enum err kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                                      uint32_t *ret_epoch, struct err_info *info);
/* Connects a fresh client and lets it learn every topic's leaders: librdkafka looks for brokers,
 * leaders and coordinators again only half a second after it has missed one. False when no broker
 * answered in time. */
bool kafka_client_warm_up(rd_kafka_t *client, int64_t timeout_ms);
