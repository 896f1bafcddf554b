/* kafka_read.h - all that a topic holds, as a consumer of librdkafka's reads it, checksums verified. */
#pragma once

#include <stdlib.h>

#include "core/clock.h"
#include "kafka/kafka_config.h"
#include "test.h"

#define KAFKA_READ_MS 60000

/* The mock does not tell which transactions were aborted: all is read. Its marks of a transaction's end have no
 * checksum. */
enum kafka_reads { KAFKA_READS_VERIFIED, KAFKA_READS_WITH_MARKS };

struct kafka_read {
    rd_kafka_t *consumer;
    rd_kafka_message_t **messages; /* by partition and offset */
    size_t count, room;
};

static inline rd_kafka_conf_t *kafka_read_conf(const struct kafka_config *config,
                                               enum kafka_reads reads)
{
    const struct kafka_config plain = {.bootstrap_servers = config->bootstrap_servers};
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, kafka_conf_new(&plain, KAFKA_ROLE_CONSUMER_TAIL, &conf, &info));
    const char *verifies = reads == KAFKA_READS_VERIFIED ? "true" : "false";
    assert_err(ERR_OK, kafka_conf_set(conf, "isolation.level", "read_uncommitted", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "check.crcs", verifies, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "enable.partition.eof", "true", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "fetch.wait.max.ms", "10", &info));
    return conf;
}

/* Takes the configuration. */
static inline rd_kafka_t *kafka_read_consumer(rd_kafka_conf_t *conf)
{
    char why[256];
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    assert_non_null(consumer);
    (void)rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

static inline void kafka_read_keep(struct kafka_read *read, rd_kafka_message_t *message)
{
    if (read->count == read->room) {
        read->room = read->room ? 2 * read->room : 1024;
        read->messages =
            (rd_kafka_message_t **)realloc(read->messages, read->room * sizeof *read->messages);
        assert_non_null(read->messages);
    }
    read->messages[read->count++] = message;
}

static inline int kafka_read_compare(const void *a, const void *b)
{
    const rd_kafka_message_t *left = *(rd_kafka_message_t *const *)a;
    const rd_kafka_message_t *right = *(rd_kafka_message_t *const *)b;
    if (left->partition != right->partition) {
        return left->partition < right->partition ? -1 : 1;
    }
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Of a topic at rest. */
static inline struct kafka_read kafka_read_all(const struct kafka_config *config, const char *topic,
                                               int32_t partitions, enum kafka_reads reads)
{
    struct kafka_read read = {.consumer = kafka_read_consumer(kafka_read_conf(config, reads))};
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t i = 0; i < partitions; i++) {
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    assert_int_equal(0, rd_kafka_assign(read.consumer, all));
    rd_kafka_topic_partition_list_destroy(all);
    int64_t deadline_us = clock_mono_us() + KAFKA_READ_MS * 1000;
    for (int32_t ended = 0; ended < partitions;) {
        assert_true(clock_mono_us() < deadline_us);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(read.consumer, 100);
        if (message && !message->err) {
            kafka_read_keep(&read, message);
        } else if (message) {
            ended += message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
            if (message->err == RD_KAFKA_RESP_ERR__BAD_MSG) {
                fail_msg("%s", rd_kafka_message_errstr(message));
            }
            rd_kafka_message_destroy(message);
        }
    }
    if (read.count) {
        qsort(read.messages, read.count, sizeof *read.messages, kafka_read_compare);
    }
    return read;
}

static inline void kafka_read_end(struct kafka_read *read)
{
    for (size_t i = 0; i < read->count; i++) {
        rd_kafka_message_destroy(read->messages[i]);
    }
    free(read->messages);
    (void)rd_kafka_consumer_close(read->consumer);
    rd_kafka_destroy(read->consumer);
}
