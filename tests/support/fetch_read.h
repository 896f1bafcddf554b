/* fetch_read.h - a consumer that hands out batches, and whether they are those of a made_log.h. */
#pragma once

#include "kafka/kafka_fetch.h"
#include "kafka_read.h"
#include "made_log.h"

struct fetch_read {
    rd_kafka_t *consumer;
    const struct made_log *log;
    int64_t next[MADE_LOG_PARTITIONS]; /* the offset that comes next */
    bool is_at_end[MADE_LOG_PARTITIONS];
};

/* Takes the configuration. */
static inline void fetch_read_open(struct fetch_read *read, rd_kafka_conf_t *conf,
                                   const struct made_log *log)
{
    rd_kafka_conf_set_fetch_records(conf);
    *read = (struct fetch_read){.consumer = kafka_read_consumer(conf), .log = log};
}

static inline void fetch_read_close(struct fetch_read *read)
{
    (void)rd_kafka_consumer_close(read->consumer);
    rd_kafka_destroy(read->consumer);
}

/* From these offsets. */
static inline void fetch_read_assign(struct fetch_read *read,
                                     const int64_t offsets[MADE_LOG_PARTITIONS])
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(MADE_LOG_PARTITIONS);
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS; i++) {
        rd_kafka_topic_partition_list_add(all, read->log->name, i)->offset = offsets[i];
        read->next[i] = offsets[i];
        read->is_at_end[i] = false;
    }
    assert_int_equal(0, rd_kafka_assign(read->consumer, all));
    rd_kafka_topic_partition_list_destroy(all);
}

/* The next batch or end; what a broker's coming and going tells is not waited for. */
static inline rd_kafka_message_t *fetch_read_await(rd_kafka_t *consumer)
{
    int64_t deadline_us = clock_mono_us() + KAFKA_READ_MS * 1000;
    for (;;) {
        assert_true(clock_mono_us() < deadline_us);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        if (message && (!message->err || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                        message->err == RD_KAFKA_RESP_ERR__BAD_MSG)) {
            return message;
        }
        if (message) {
            rd_kafka_message_destroy(message);
        }
    }
}

static inline int64_t fetch_read_position(rd_kafka_t *consumer, const char *topic,
                                          int32_t partition)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, topic, partition);
    assert_int_equal(0, rd_kafka_position(consumer, one));
    int64_t offset = one->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(one);
    return offset;
}

/* --- what is read ------------------------------------------------------------------------------------------- */

static inline void expect_view_headers(const struct kafka_record *expected,
                                       const struct kafka_record_view *view)
{
    struct strview left = view->headers;
    struct kafka_header header;
    assert_int_equal(expected->header_count, view->header_count);
    for (size_t i = 0; i < view->header_count; i++) {
        assert_true(kafka_header_read(&left, &header));
        expect_view(expected->headers[i].name, header.name);
        expect_view(expected->headers[i].value, header.value);
    }
    assert_int_equal(0, left.len);
}

/* But for its headers. */
static inline void expect_record_view(const struct kafka_record *expected,
                                      const struct kafka_record_view *view)
{
    expect_view(expected->key, view->key);
    expect_view(expected->value, view->value);
    assert_true(expected->timestamp_ms == view->timestamp_ms);
}

/* The records of a batch from `next` on, which is then what follows them. */
static inline void expect_batch(const struct made_log *log, rd_kafka_message_t *message,
                                int64_t *next)
{
    struct kafka_fetch fetch = {0};
    struct kafka_record_view view;
    struct made_record made;
    const struct made_batch batch = made_log_batch(log, message->partition, *next);
    int64_t end = message->offset + 1;
    kafka_fetch_open(&fetch, message);
    assert_int_equal(batch.count, fetch.batch.count);
    assert_true(batch.base == fetch.batch.base_offset);
    while (kafka_fetch_next(&fetch, &view)) {
        assert_true(view.offset == *next);
        made_log_record(log, &made, message->partition, (*next)++);
        expect_record_view(&made.record, &view);
        expect_view_headers(&made.record, &view);
    }
    assert_false(fetch.is_broken);
    assert_true(*next == end && end == batch.base + batch.count);
    assert_false(kafka_fetch_next(&fetch, &view));
    kafka_fetch_close(&fetch);
    kafka_fetch_close(&fetch);
}

/* Takes the message. */
static inline void fetch_read_take(struct fetch_read *read, rd_kafka_message_t *message)
{
    int32_t partition = message->partition;
    assert_in_range(partition, 0, MADE_LOG_PARTITIONS - 1);
    if (message->err) {
        assert_int_equal(RD_KAFKA_RESP_ERR__PARTITION_EOF, message->err);
        assert_true(message->offset == read->log->of[partition].end);
        assert_true(message->offset == read->next[partition]);
        read->is_at_end[partition] = true;
        rd_kafka_message_destroy(message);
        return;
    }
    expect_batch(read->log, message, &read->next[partition]);
    read->is_at_end[partition] = false;
}

/* Until all partitions are at their ends. */
static inline void fetch_read_all(struct fetch_read *read)
{
    for (int32_t i = 0; i < MADE_LOG_PARTITIONS;) {
        if (read->is_at_end[i]) {
            assert_true(read->next[i] == read->log->of[i].end);
            i++;
            continue;
        }
        rd_kafka_message_t *message = fetch_read_await(read->consumer);
        int32_t partition = message->partition;
        bool is_batch = !message->err;
        fetch_read_take(read, message);
        if (is_batch) {
            assert_true(fetch_read_position(read->consumer, read->log->name, partition) ==
                        read->next[partition]);
        }
    }
}
