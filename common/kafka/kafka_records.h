/* kafka_records.h - a record, and a batch's records as bytes, in Kafka's record format v2.
 *
 * WHAT     kafka_records_add writes a record behind those that are there, kafka_record_read reads the
 *          first of those that are. The batch's header, its checksum and its compression are librdkafka's
 *          (rd_kafka_produce_records, rd_kafka_message_fetched).
 * BOUNDS   written: the caller's, `bytes` has room for kafka_record_bytes_max of what is added. Read:
 *          whatever the bytes are, nothing behind them is looked at.
 * OWNS     nothing.
 * THREADS  one owner.
 * ERRORS   what is read and is not what the format says, to the byte, is told by `false`.
 * COST     written: a copy of key, value and headers, and some twenty bytes of lengths. Read: no copy.
 * SOURCE   Kafka's documentation, "Implementation", "Message Format", "Record".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

#define KAFKA_HEADERS_MAX 72 /* of a record of ours */

struct kafka_header {
    struct strview name;
    struct strview value; /* ptr NULL: null */
};

struct kafka_record {
    const char *topic;
    int32_t partition;    /* -1: by key hash (murmur2), or any for a null key */
    struct strview key;   /* ptr NULL: null key */
    struct strview value; /* ptr NULL: tombstone */
    int64_t timestamp_ms; /* 0: now */
    const struct kafka_header *headers;
    size_t header_count;
    void *opaque; /* comes back in the report */
};

struct kafka_records {
    char *bytes;
    size_t size;
    int32_t count;
    int64_t first_timestamp_ms, max_timestamp_ms; /* of no meaning while count is 0 */
};

size_t kafka_record_bytes_max(const struct kafka_record *record);
/* Key, value, headers and timestamp_ms, which must not be 0. */
void kafka_records_add(struct kafka_records *records, const struct kafka_record *record);

/* A record where its bytes lie. */
struct kafka_record_view {
    int64_t offset, timestamp_ms;
    struct strview key, value; /* ptr NULL: null; a tombstone */
    struct strview headers;    /* for kafka_header_read, which finds nothing wrong with them */
    size_t header_count;
};

/* The first of what is `left`, which is then what is behind it. Offset and time are as they are told: against those
 * of the batch. false: it is none, and of no meaning is what `left` and `ret` are then. */
MUST_CHECK bool kafka_record_read(struct strview *left, struct kafka_record_view *ret);
MUST_CHECK bool kafka_header_read(struct strview *left, struct kafka_header *ret);

/* The first of what is `left` of records that were added here; false behind the last. Its headers, KAFKA_HEADERS_MAX
 * at most, go to `headers`. */
bool kafka_records_read(const struct kafka_records *records, struct strview *left,
                        struct kafka_header *headers, struct kafka_record *ret);
static inline struct strview kafka_records_all(const struct kafka_records *records)
{
    return (struct strview){records->bytes, records->size};
}
