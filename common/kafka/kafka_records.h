/* kafka_records.h - a record, and a batch's records as bytes, in Kafka's record format v2.
 *
 * WHAT     kafka_records_add writes a record behind those that are there. The batch's header, its
 *          checksum and its compression are librdkafka's (rd_kafka_produce_records).
 * BOUNDS   the caller's: `bytes` has room for kafka_record_bytes_max of what is added.
 * OWNS     nothing.
 * THREADS  one owner.
 * COST     a copy of key, value and headers, and some twenty bytes of lengths.
 * SOURCE   Kafka's documentation, "Implementation", "Message Format", "Record".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"

#define KAFKA_HEADERS_MAX 72 /* of a record of ours */

struct kafka_header {
    const char *name;
    struct strview value;
};

struct kafka_record {
    const char *topic;
    int32_t partition;    /* -1: by key hash (murmur2), or any for a null key */
    struct strview key;   /* ptr NULL: null key */
    struct strview value; /* ptr NULL: tombstone */
    bool value_is_lent;   /* until its report; else it is copied */
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

struct kafka_records_reader {
    const struct kafka_records *records;
    size_t at;
    struct kafka_header headers[KAFKA_HEADERS_MAX];
};

/* The next one, as it was added, where its bytes lie; false behind the last. Its headers, KAFKA_HEADERS_MAX at
 * most, are the reader's. A name's end is written over what follows it: no records can be read twice. */
bool kafka_records_read(struct kafka_records_reader *reader, struct kafka_record *ret);
