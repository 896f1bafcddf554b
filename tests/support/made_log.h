/* made_log.h - a topic of which every record is known by its place: partition and offset are what it is made of
 * (made_record.h). One call is one batch on the wire. */
#pragma once

#include <librdkafka/rdkafka_records.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "made_record.h"
#include "mock_kafka.h"
#include "test.h"

#define MADE_LOG_PARTITIONS  3
#define MADE_LOG_BATCHES_MAX 200
#define MADE_LOG_MS          60000

struct made_batch {
    int64_t base;
    int32_t count;
};

struct made_partition {
    int64_t end; /* the next one's offset */
    size_t batch_count;
    struct made_batch batches[MADE_LOG_BATCHES_MAX];
};

struct made_log {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    const char *name;
    size_t bytes_max; /* of a key, a value, a header */
    struct made_partition of[MADE_LOG_PARTITIONS];
};

static inline void made_log_record(const struct made_log *log, struct made_record *made,
                                   int32_t partition, int64_t offset)
{
    made_record(made, ((uint64_t)partition << 40) + (uint64_t)offset + 1, log->bytes_max);
}

/* The batch that has the offset. */
static inline struct made_batch made_log_batch(const struct made_log *log, int32_t partition,
                                               int64_t offset)
{
    const struct made_partition *of = &log->of[partition];
    for (size_t i = 0; i < of->batch_count; i++) {
        if (offset < of->batches[i].base + of->batches[i].count) {
            return of->batches[i];
        }
    }
    fail_msg("%s-%d has no offset %" PRId64, log->name, partition, offset);
    return (struct made_batch){0, 0};
}

/* --- producing it ------------------------------------------------------------------------------------------ */

static inline void made_log_on_report(rd_kafka_t *client, const rd_kafka_message_t *message,
                                      void *context)
{
    (void)client;
    (void)context;
    if (message->err) {
        fail_msg("%s", rd_kafka_message_errstr(message));
    }
    free(message->_private);
}

/* Takes the configuration. The topic is there. */
static inline void made_log_open(struct made_log *log, rd_kafka_conf_t *conf, const char *topic,
                                 size_t bytes_max)
{
    char why[256];
    int32_t count = 0;
    int64_t deadline_us = clock_mono_us() + MADE_LOG_MS * 1000;
    *log = (struct made_log){.name = topic, .bytes_max = bytes_max};
    rd_kafka_conf_set_dr_msg_cb(conf, made_log_on_report);
    log->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(log->client);
    log->topic = rd_kafka_topic_new(log->client, topic, NULL);
    while (rd_kafka_topic_partitions(log->topic, &count)) {
        assert_true(clock_mono_us() < deadline_us);
        (void)!kafka_topic_partitions(log->client, topic, 500, &count, NULL);
        (void)rd_kafka_poll(log->client, 1);
    }
    assert_true(count >= MADE_LOG_PARTITIONS);
}

static inline void made_log_close(struct made_log *log)
{
    rd_kafka_topic_destroy(log->topic);
    rd_kafka_destroy(log->client);
}

static inline void made_log_flush(struct made_log *log)
{
    assert_int_equal(0, rd_kafka_flush(log->client, MADE_LOG_MS));
}

/* The partition's next records; the bytes are the caller's. */
static inline struct kafka_records made_log_next(const struct made_log *log, int32_t partition,
                                                 int32_t count)
{
    struct kafka_records records = {0};
    struct made_record made;
    for (int32_t i = 0; i < count; i++) {
        made_log_record(log, &made, partition, log->of[partition].end + i);
        records.bytes = realloc(records.bytes, records.size + kafka_record_bytes_max(&made.record));
        assert_non_null(records.bytes);
        kafka_records_add(&records, &made.record);
    }
    return records;
}

/* As they are. Takes the bytes. */
static inline void made_log_send(struct made_log *log, int32_t partition,
                                 const struct kafka_records *records)
{
    const rd_kafka_records_t batch = {.bytes = records->bytes,
                                      .size = records->size,
                                      .count = records->count,
                                      .first_timestamp = records->first_timestamp_ms,
                                      .max_timestamp = records->max_timestamp_ms};
    int64_t deadline_us = clock_mono_us() + MADE_LOG_MS * 1000;
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_produce_records(log->topic, partition, &batch, records->bytes)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        assert_true(clock_mono_us() < deadline_us);
        (void)rd_kafka_poll(log->client, 10);
    }
    assert_int_equal(0, code);
}

/* That the partition has a batch of so many more records. */
static inline void made_log_note(struct made_log *log, int32_t partition, int32_t count)
{
    struct made_partition *of = &log->of[partition];
    assert_true(of->batch_count < MADE_LOG_BATCHES_MAX);
    of->batches[of->batch_count++] = (struct made_batch){of->end, count};
    of->end += count;
}

static inline void made_log_add(struct made_log *log, int32_t partition, int32_t count)
{
    struct kafka_records records = made_log_next(log, partition, count);
    made_log_send(log, partition, &records);
    made_log_note(log, partition, count);
}
