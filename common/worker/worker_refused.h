/* worker_refused.h - which records brokers refuse for what they are, found out from refused batches.
 *
 * WHAT     A broker refuses a batch as a whole, and the transaction with it: larger than the topic's
 *          max.message.bytes, without a key where the topic is compacted, with a timestamp out of
 *          bounds. Done again it would be refused again, for ever. So batches are made smaller until
 *          what is refused is one record: that one is remembered, and not sent when the cycle is done
 *          again.
 * SIZES    A batch that is too large is tried again at half the size. A record of at least
 *          that is a batch of its own. The size stays where it got: what the topic takes.
 * OTHERS   are looked for with one record a batch, until as many are committed as the refused cycle
 *          had; cycles are short meanwhile (REFUSED_ALONE_MAX).
 * BOUNDS   REFUSED_MAX records remembered, by 64 bits of hash; of more, the oldest is forgotten, which
 *          costs an abort when it comes again.
 * THREADS  one owner. Delivery reports come on its thread.
 * COST     nothing until something is refused.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "kafka/kafka_records.h"

#define REFUSED_MAX       1024
#define REFUSED_ALONE_MAX 500 /* records of a cycle that is looked through one by one */

struct worker_refused {
    int64_t batch_bytes;      /* of a batch, at most */
    bool is_alone;            /* one record a batch … */
    int64_t alone_left;       /* … until so many more are committed */
    rd_kafka_resp_err_t code; /* in this cycle; 0: nothing was refused */
    bool has_found;           /* and it is known which */
    size_t count, at;         /* remembered; where the next one goes */
    uint64_t hashes[REFUSED_MAX];
    rd_kafka_resp_err_t codes[REFUSED_MAX];
};

/* A batch for `topic` was reported with an error. */
void worker_refused_note(struct worker_refused *refused, rd_kafka_resp_err_t code,
                         const char *topic, const struct kafka_records *records);
/* The error of a record that is remembered; 0: it is not one. */
rd_kafka_resp_err_t worker_refused_find(const struct worker_refused *refused, const char *topic,
                                        struct strview key, struct strview value);
/* The cycle is over, it had so many records. Batches may be to be others from here on. */
void worker_refused_settle(struct worker_refused *refused, int64_t records, bool is_committed);
