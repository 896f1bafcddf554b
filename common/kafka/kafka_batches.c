#include "kafka/kafka_batches.h"

#include <librdkafka/rdkafka_records.h>
#include <stdlib.h>

#include "core/attributes.h"
#include "core/clock.h"

/* Large enough that a request's own cost is nothing beside its records', small enough to be in a core's
 * cache when it is compressed. */
#define BATCH_BYTES    (256 * 1024)
#define OVERHEAD_BYTES 512 /* of a batch and its request, which message.max.bytes counts as well */

struct topic {
    rd_kafka_topic_t *handle;
    int32_t partitions; /* 0: not known */
    int32_t sticky;     /* where records without a key go; -1: to be chosen */
    int32_t room;       /* of `open` */
    struct kafka_batch **open;
};

struct kafka_batches {
    struct topic *topics;
    size_t topic_count;
    size_t bytes_max, record_bytes_max;
    int32_t records_max;
    struct kafka_batch *first, **last; /* open */
    struct kafka_batch *sent, *kept;
};

/* --- batches ------------------------------------------------------------------------------------------------- */

static void batches_free(struct kafka_batch *batch)
{
    while (batch) {
        struct kafka_batch *next = batch->next;
        free(batch->records.bytes);
        free(batch);
        batch = next;
    }
}

static struct kafka_batch *batch_make(size_t capacity)
{
    struct kafka_batch *batch = must_alloc(sizeof *batch);
    batch->capacity = capacity;
    batch->records.bytes =
        must_realloc(NULL, capacity); /* not cleared: written before it is read */
    return batch;
}

/* A kept one, or one of its own size for a record that is larger. */
static struct kafka_batch *batch_take(struct kafka_batches *batches, size_t bytes)
{
    if (bytes > BATCH_BYTES) {
        return batch_make(bytes);
    }
    struct kafka_batch *batch = batches->kept;
    if (!batch) {
        return batch_make(BATCH_BYTES);
    }
    batches->kept = batch->next;
    batch->records = (struct kafka_records){.bytes = batch->records.bytes};
    return batch;
}

static void batches_keep(struct kafka_batches *batches, struct kafka_batch *batch)
{
    while (batch) {
        struct kafka_batch *next = batch->next;
        if (batch->capacity > BATCH_BYTES) {
            batch->next = NULL;
            batches_free(batch);
        } else {
            batch->next = batches->kept;
            batches->kept = batch;
        }
        batch = next;
    }
}

static rd_kafka_resp_err_t batch_open(struct kafka_batches *batches, size_t topic,
                                      int32_t partition, size_t bytes)
{
    rd_kafka_resp_err_t code = rd_kafka_records_announce(batches->topics[topic].handle, partition);
    if (code) {
        return code;
    }
    struct kafka_batch *batch = batch_take(batches, bytes);
    batch->topic = topic;
    batch->partition = partition;
    batch->opened_us = clock_mono_us();
    batch->next = NULL;
    *batches->last = batch;
    batches->last = &batch->next;
    batches->topics[topic].open[partition] = batch;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t batch_hand_over(struct kafka_batches *batches, struct kafka_batch *batch)
{
    const rd_kafka_records_t records = {.bytes = batch->records.bytes,
                                        .size = batch->records.size,
                                        .count = batch->records.count,
                                        .first_timestamp = batch->records.first_timestamp_ms,
                                        .max_timestamp = batch->records.max_timestamp_ms};
    return rd_kafka_produce_records(batches->topics[batch->topic].handle, batch->partition,
                                    &records, batch);
}

/* `link` points to it. */
static rd_kafka_resp_err_t batch_send(struct kafka_batches *batches, struct kafka_batch **link)
{
    struct kafka_batch *batch = *link;
    rd_kafka_resp_err_t code = batch_hand_over(batches, batch);
    if (code) {
        return code;
    }
    struct topic *topic = &batches->topics[batch->topic];
    topic->open[batch->partition] = NULL;
    topic->sticky = topic->sticky == batch->partition ? -1 : topic->sticky;
    *link = batch->next;
    batches->last = batch->next ? batches->last : link;
    batch->next = batches->sent;
    batches->sent = batch;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static struct kafka_batch **link_of(struct kafka_batches *batches, const struct kafka_batch *batch)
{
    struct kafka_batch **link = &batches->first;
    while (*link != batch) {
        link = &(*link)->next;
    }
    return link;
}

/* --- partitions ---------------------------------------------------------------------------------------------- */

static rd_kafka_resp_err_t partitions_learn(struct topic *topic)
{
    int32_t count = 0;
    rd_kafka_resp_err_t code = rd_kafka_topic_partitions(topic->handle, &count);
    if (code) {
        return code;
    }
    if (count > topic->room) {
        topic->open = must_realloc(topic->open, (size_t)count * sizeof *topic->open);
        for (; topic->room < count; topic->room++) {
            topic->open[topic->room] = NULL;
        }
    }
    topic->partitions = count;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static int32_t partition_of_none(struct topic *topic)
{
    if (topic->sticky < 0) {
        topic->sticky = (int32_t)(clock_mono_us() % topic->partitions);
    }
    return topic->sticky;
}

static int32_t partition_choose(struct topic *topic, const struct kafka_record *record,
                                size_t partition_bytes)
{
    if (record->partition >= 0) {
        return record->partition;
    }
    if (!record->key.ptr) {
        return partition_of_none(topic);
    }
    return rd_kafka_msg_partitioner_murmur2(topic->handle, record->key.ptr,
                                            partition_bytes ? partition_bytes : record->key.len,
                                            topic->partitions, NULL, NULL);
}

/* --- records ------------------------------------------------------------------------------------------------- */

static bool has_room(const struct kafka_batches *batches, const struct kafka_batch *batch,
                     size_t bytes)
{
    return batch->records.count < batches->records_max &&
           batch->records.size + bytes <= batches->bytes_max;
}

rd_kafka_resp_err_t kafka_batches_add(struct kafka_batches *batches, size_t index,
                                      const struct kafka_record *record, size_t partition_bytes)
{
    struct topic *topic = &batches->topics[index];
    rd_kafka_resp_err_t code =
        topic->partitions ? RD_KAFKA_RESP_ERR_NO_ERROR : partitions_learn(topic);
    if (code) {
        return code;
    }
    int32_t partition = partition_choose(topic, record, partition_bytes);
    if (partition >= topic->partitions) {
        return RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    }
    size_t bytes = kafka_record_bytes_max(record);
    if (bytes > batches->record_bytes_max) {
        return RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    }
    struct kafka_batch *batch = topic->open[partition];
    if (batch && !has_room(batches, batch, bytes)) {
        code = batch_send(batches, link_of(batches, batch));
    }
    if (!code && !topic->open[partition]) {
        code = batch_open(batches, index, partition, bytes);
    }
    if (!code) {
        kafka_records_add(&topic->open[partition]->records, record);
    }
    return code;
}

rd_kafka_resp_err_t kafka_batches_send_older(struct kafka_batches *batches, int64_t than_us)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    while (!code && batches->first && batches->first->opened_us < than_us) {
        code = batch_send(batches, &batches->first);
    }
    return code;
}

rd_kafka_resp_err_t kafka_batches_send(struct kafka_batches *batches)
{
    return kafka_batches_send_older(batches, INT64_MAX);
}

/* --- life ---------------------------------------------------------------------------------------------------- */

void kafka_batches_limit(struct kafka_batches *batches, int64_t bytes, int32_t records)
{
    size_t most = batches->record_bytes_max < BATCH_BYTES ? batches->record_bytes_max : BATCH_BYTES;
    batches->bytes_max = (size_t)bytes < most ? (size_t)bytes : most;
    batches->records_max = records;
}

void kafka_batches_drop(struct kafka_batches *batches)
{
    for (struct kafka_batch *batch = batches->first; batch; batch = batch->next) {
        batches->topics[batch->topic].open[batch->partition] = NULL;
    }
    batches_keep(batches, TAKE(batches->first));
    batches->last = &batches->first;
}

void kafka_batches_reset(struct kafka_batches *batches)
{
    kafka_batches_drop(batches);
    batches_keep(batches, TAKE(batches->sent));
    for (size_t i = 0; i < batches->topic_count; i++) {
        batches->topics[i].partitions = 0;
        batches->topics[i].sticky = -1;
    }
}

size_t kafka_batches_topic(struct kafka_batches *batches, rd_kafka_topic_t *topic)
{
    batches->topics =
        must_realloc(batches->topics, (batches->topic_count + 1) * sizeof *batches->topics);
    batches->topics[batches->topic_count] = (struct topic){.handle = topic, .sticky = -1};
    return batches->topic_count++;
}

struct kafka_batches *kafka_batches_new(rd_kafka_t *client)
{
    const rd_kafka_conf_t *conf = rd_kafka_conf(client);
    struct kafka_batches *batches = must_alloc(sizeof *batches);
    batches->last = &batches->first;
    batches->record_bytes_max =
        (size_t)kafka_conf_number(conf, "message.max.bytes") - OVERHEAD_BYTES;
    kafka_batches_limit(batches, kafka_conf_number(conf, "batch.size"),
                        (int32_t)kafka_conf_number(conf, "batch.num.messages"));
    return batches;
}

void kafka_batches_free(struct kafka_batches *batches)
{
    if (!batches) {
        return;
    }
    kafka_batches_reset(batches);
    batches_free(batches->kept);
    for (size_t i = 0; i < batches->topic_count; i++) {
        free(batches->topics[i].open);
    }
    free(batches->topics);
    free(batches);
}
