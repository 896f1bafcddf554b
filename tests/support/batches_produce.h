/* batches_produce.h - some records of one value through kafka_batches, for tests that count requests. */
#pragma once

#include "core/clock.h"
#include "kafka/kafka_batches.h"
#include "test.h"

#define BATCHES_PRODUCE_MS 60000 /* until the topic's partitions are known */

/* The one byte that all values of a batch are. */
static inline char batches_value(const struct kafka_batch *batch)
{
    struct strview left = kafka_records_all(&batch->records);
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    assert_true(kafka_records_read(&batch->records, &left, headers, &record));
    return *record.value.ptr;
}

/* To the first topic, and sent. */
static inline void batches_produce(rd_kafka_t *client, struct kafka_batches *batches,
                                   const char *value, int records)
{
    struct kafka_record record = {.value = sv(value), .timestamp_ms = 1};
    int64_t deadline_us = clock_mono_us() + BATCHES_PRODUCE_MS * 1000;
    for (int i = 0; i < records; i++) {
        rd_kafka_resp_err_t code;
        while ((code = kafka_batches_add(batches, 0, &record, 0)) ==
                   RD_KAFKA_RESP_ERR__WAIT_CACHE &&
               clock_mono_us() < deadline_us) {
            (void)rd_kafka_poll(client, 1);
        }
        assert_int_equal(0, code);
    }
    assert_int_equal(0, kafka_batches_send(batches));
}
