/* kafka_batches.h - a producer's batches, filled here and handed to librdkafka as bytes.
 *
 * WHAT     a record goes to the open batch of its topic and partition; a batch that is full, old enough or
 *          asked for is sent. Partitions are chosen as by every client of ours: murmur2 of the key, or of
 *          a part of it; records without a key fill one batch after the other, each of any
 *          partition.
 * BOUNDS   a batch has at most as many bytes and records as the limits say; a record that is larger is
 *          a batch of its own, up to message.max.bytes. What waits for brokers is bounded by
 *          queue.buffering.max.kbytes. A batch's memory grows with it, to less than twice its bytes.
 * OWNS     the bytes of what is open and of what was sent. The latter are lent to librdkafka until they
 *          are taken back: each by its report, or all by whoever knows that nothing is under way.
 * ERRORS   librdkafka's codes, as of rd_kafka_produceva(). A record that was not taken changes nothing;
 *          a batch that was not stays open.
 *          RD_KAFKA_RESP_ERR__WAIT_CACHE: what partitions the topic has is not known yet.
 * REPORT   librdkafka's report has the `struct kafka_batch` as its opaque. The batch has its records'.
 * THREADS  the producer's owner.
 * COST     no lock and no allocation a record. librdkafka's own way, an object of each record that two
 *          threads pass on, was half of what an enrichment cost.
 */
#pragma once

#include "kafka/kafka_config.h"
#include "kafka/kafka_records.h"

struct kafka_batches;

struct kafka_batch {
    struct kafka_records records;
    size_t capacity;    /* of records.bytes */
    size_t value_bytes; /* of all its records */
    size_t topic;
    int32_t partition;
    void *opaque;       /* its first record's */
    void **opaques;     /* each one's, where they are not the same */
    size_t opaque_room; /* of opaques */
    bool is_mixed;      /* they are not */
    int64_t opened_us;
    /* Of the open ones, the oldest first; of those sent; or of those kept for use. */
    struct kafka_batch *next, **link; /* link: what points to it */
};

void kafka_batches_free(struct kafka_batches *batches);
/* The client and its topics must outlive it. */
struct kafka_batches *kafka_batches_new(rd_kafka_t *client);
size_t kafka_batches_topic(struct kafka_batches *batches, rd_kafka_topic_t *topic); /* its index */
/* From the next batch on. At first: batch.size and batch.num.messages, and no more than BATCH_BYTES. */
void kafka_batches_limit(struct kafka_batches *batches, int64_t bytes, int32_t records);
/* To a topic by its index. The partition is chosen by so many bytes of the key, by all of it where 0. */
MUST_CHECK rd_kafka_resp_err_t kafka_batches_add(struct kafka_batches *batches, size_t topic,
                                                 const struct kafka_record *record,
                                                 size_t partition_bytes);
/* All that are open. */
MUST_CHECK rd_kafka_resp_err_t kafka_batches_send(struct kafka_batches *batches);
MUST_CHECK rd_kafka_resp_err_t kafka_batches_send_topic(struct kafka_batches *batches,
                                                        size_t topic);
/* Those that are open since before then. */
MUST_CHECK rd_kafka_resp_err_t kafka_batches_send_older(struct kafka_batches *batches,
                                                        int64_t than_us);
/* Of those, the ones whose partition has none under way: what comes until that one is reported goes
 * with the next. With an error: the one that was not sent. */
MUST_CHECK rd_kafka_resp_err_t kafka_batches_send_ready(struct kafka_batches *batches,
                                                        int64_t than_us,
                                                        struct kafka_batch **ret_unsent);
/* The open one that is the oldest, or the oldest of those; NULL: there is none. */
struct kafka_batch *kafka_batches_oldest(const struct kafka_batches *batches);
const struct kafka_batch *kafka_batches_oldest_ready(const struct kafka_batches *batches);
uint64_t kafka_batches_opened(const struct kafka_batches *batches); /* ever */
/* An open one is not sent, ever: its records are the caller's until it is taken back. */
void kafka_batches_withdraw(struct kafka_batches *batches, struct kafka_batch *batch);
/* One that was sent and reported, or withdrawn. Only a few are kept for use. */
void kafka_batches_take_back(struct kafka_batches *batches, struct kafka_batch *batch);
static inline void *kafka_batch_opaque(const struct kafka_batch *batch, size_t index)
{
    return batch->is_mixed ? batch->opaques[index] : batch->opaque;
}
size_t kafka_batches_open_records(const struct kafka_batches *batches); /* looks at each batch */
const char *kafka_batches_topic_name(const struct kafka_batches *batches,
                                     const struct kafka_batch *batch);
/* How many partitions a topic has may have changed. */
void kafka_batches_look_again(struct kafka_batches *batches);
/* What is open is not sent, ever. */
void kafka_batches_drop(struct kafka_batches *batches);
/* The same; what was sent is taken back, and the topics' partitions are looked at anew. */
void kafka_batches_reset(struct kafka_batches *batches);
