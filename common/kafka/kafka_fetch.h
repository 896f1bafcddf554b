/* kafka_fetch.h - the records of a message of a consumer that hands out batches.
 *
 * WHAT     kafka_fetch_next gives one record after another, where they lie in what was fetched, without
 *          those before the place that was asked for. A message of a batch in an older format is one record.
 * OWNS     the message, from kafka_fetch_open to kafka_fetch_close; records are borrowed from it.
 * THREADS  one owner.
 * ERRORS   bytes that are not what the format says end the records: `is_broken` is then set.
 * COST     some varints a record, no copy.
 * SOURCE   scripts/librdkafka/rdkafka_records.h
 */
#pragma once

#include <librdkafka/rdkafka_records.h>

#include "kafka/kafka_records.h"

struct kafka_fetch {
    rd_kafka_message_t *message; /* NULL: none is open */
    rd_kafka_fetched_t batch;    /* count 0: the message is one record */
    struct strview left;         /* of the batch's bytes; of a single record, len 0: it was given */
    bool is_broken;              /* what is left cannot be read */
};

/* Of a message that is no event. */
void kafka_fetch_open(struct kafka_fetch *fetch, rd_kafka_message_t *message);
bool kafka_fetch_next(struct kafka_fetch *fetch, struct kafka_record_view *ret);
/* Nothing to do when none is open. */
void kafka_fetch_close(struct kafka_fetch *fetch);
