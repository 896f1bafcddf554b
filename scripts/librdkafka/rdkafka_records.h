/* rdkafka_records.h - what librdkafka is given so that it takes, and hands out, a batch's records as bytes.
 *
 * WHAT     librdkafka makes an object of each record: allocated, locked, queued, moved and freed by two
 *          threads, a microsecond in all where it is produced, a third of one where it is consumed. Here
 *          a batch is one message, its records back to back in Kafka's record format v2.
 *
 * PRODUCED Whoever has many records for a partition writes them himself and hands them over. What follows
 *          is librdkafka's as ever: header, checksum, compression, sequence numbers, transaction, retries,
 *          delivery report.
 * BOUNDS   one call is one batch on the wire, never joined with another nor split. Of one partition they
 *          come in the order of since_us.
 *          message.max.bytes bounds `bytes`; RD_KAFKA_RECORDS_MAX the count.
 * OWNS     nothing: the bytes are lent until the delivery report, or until flush, commit or abort have
 *          ended with nothing under way where reports are of errors only.
 * ERRORS   as of rd_kafka_produceva(). To a broker that does not know format v2 (before 0.11) they are not
 *          sent, and time out.
 * REPORT   one for all: its offset is the first record's, `len` and `payload` are as handed over.
 * COUNTS   records, not calls, wherever librdkafka counts what it sends, has queued or under way; only
 *          queue.buffering.max.messages counts calls.
 *
 * CONSUMED A consumer that is made for it hands out what rd_kafka_message_fetched tells of. Offsets, what
 *          an aborted transaction wrote, decompression and checksums are librdkafka's as ever; whether the
 *          records are what the format says is for the reader to find out.
 * BOUNDS   a batch as its producer made it: records before from_offset may be among them.
 * OWNS     the bytes are the message's.
 * ERRORS   events are messages as ever; so is, of its own, a record of a batch in an older format.
 * COUNTS   batches in queued.min.messages; bytes in queued.max.messages.kbytes.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RD_KAFKA_RECORDS_MAX 1000000

typedef struct rd_kafka_records_s {
    void *bytes;
    size_t size;
    int32_t count;           /* records in them, with offsets 0 … count - 1 */
    int64_t first_timestamp; /* of the first, which the others' are told against; ms, not 0 */
    int64_t max_timestamp;   /* the latest */
    int64_t since_us; /* what message.timeout.ms is counted from, by CLOCK_MONOTONIC; 0: now */
} rd_kafka_records_t;

RD_EXPORT
rd_kafka_resp_err_t rd_kafka_produce_records(rd_kafka_topic_t *topic, int32_t partition,
                                             const rd_kafka_records_t *records, void *opaque);

/* Of a batch that the broker refused for some of its records: what it says of the first of them, the second …, which
 * has that index among all. NULL: there are no more. Until the event is destroyed. */
RD_EXPORT
const char *rd_kafka_event_record_error(const rd_kafka_event_t *event, int nth, int32_t *index);

/* Tells a transaction that records for this partition will follow, so that its coordinator knows the partition by
 * the time they do. Otherwise there is nothing to tell, and nothing is done. */
RD_EXPORT
rd_kafka_resp_err_t rd_kafka_records_announce(rd_kafka_topic_t *topic, int32_t partition);

/* How many partitions the topic has, as far as is known here. RD_KAFKA_RESP_ERR__WAIT_CACHE: not known yet;
 * another error: what rd_kafka_produceva() would say of the topic. */
RD_EXPORT
rd_kafka_resp_err_t rd_kafka_topic_partitions(rd_kafka_topic_t *topic, int32_t *count);

/* The consumer that is made of it hands out batches. */
RD_EXPORT
void rd_kafka_conf_set_fetch_records(rd_kafka_conf_t *conf);

typedef struct rd_kafka_fetched_s {
    const void *bytes;
    size_t size;
    int32_t count;       /* as the batch's header says; 1 at least */
    int64_t base_offset; /* which the records' are told against */
    int64_t from_offset; /* nobody has asked for those before it */
    int64_t
        timestamp; /* of all records where is_append_time, else what theirs are told against; ms */
    int is_append_time;
} rd_kafka_fetched_t;

/* 0: the message is one record, or an event. Otherwise its offset is the last that the batch has, or had before it was
 * compacted. */
RD_EXPORT
int rd_kafka_message_fetched(const rd_kafka_message_t *message, rd_kafka_fetched_t *fetched);

#ifdef __cplusplus
}
#endif
