#include "kafka/kafka_batches.h"

#include <librdkafka/rdkafka_records.h>
#include <stdlib.h>

#include "core/attributes.h"
#include "core/clock.h"

/* Large enough that a request's own cost is nothing beside its records', small enough to be in a core's
 * cache when it is compressed. */
#define BATCH_BYTES    (256 * 1024)
#define FIRST_BYTES    (8 * 1024) /* of a batch that may stay small */
#define OVERHEAD_BYTES 512 /* of a batch and its request, which message.max.bytes counts as well */
#define OPAQUES_FIRST  64
#define SPARES_MAX     16 /* kept of those taken back one by one: with a burst its memory goes */

struct place {
    struct kafka_batch *open;
    size_t sent; /* and not taken back */
};

struct topic {
    rd_kafka_topic_t *handle;
    int32_t partitions;   /* 0: not known */
    uint64_t look;        /* when that was learned */
    int32_t sticky;       /* where records without a key go; -1: to be chosen */
    int32_t room;         /* of `places` */
    struct place *places; /* by partition */
};

struct kafka_batches {
    struct topic *topics;
    size_t topic_count;
    size_t bytes_max, record_bytes_max;
    int32_t records_max;
    uint64_t look;                     /* partitions learned in an earlier one are learned anew */
    struct kafka_batch *first, **last; /* open */
    struct kafka_batch *sent, *kept;
    size_t kept_count;
    uint64_t opened; /* ever */
};

static struct place *place_of(const struct kafka_batches *batches, const struct kafka_batch *batch)
{
    return &batches->topics[batch->topic].places[batch->partition];
}

/* --- batches ------------------------------------------------------------------------------------------------- */

static void batches_free(struct kafka_batch *batch)
{
    while (batch) {
        struct kafka_batch *next = batch->next;
        free(batch->records.bytes);
        free(batch->opaques);
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
        return batch_make(FIRST_BYTES);
    }
    batches->kept = batch->next;
    batches->kept_count--;
    batch->records = (struct kafka_records){.bytes = batch->records.bytes};
    batch->value_bytes = 0;
    batch->is_mixed = false;
    return batch;
}

static void batch_grow(struct kafka_batch *batch, size_t bytes)
{
    size_t capacity = batch->capacity;
    while (capacity < batch->records.size + bytes) {
        capacity *= 2;
    }
    if (capacity > batch->capacity) {
        batch->records.bytes = must_realloc(batch->records.bytes, capacity);
        batch->capacity = capacity;
    }
}

static void batch_keep(struct kafka_batches *batches, struct kafka_batch *batch)
{
    if (batch->capacity > BATCH_BYTES) {
        batch->next = NULL;
        batches_free(batch);
        return;
    }
    batch->next = batches->kept;
    batches->kept = batch;
    batches->kept_count++;
}

static void batches_keep(struct kafka_batches *batches, struct kafka_batch *batch)
{
    while (batch) {
        struct kafka_batch *next = batch->next;
        batch_keep(batches, batch);
        batch = next;
    }
}

/* Out of the open ones, or out of those sent. */
static void batch_unlink(struct kafka_batches *batches, struct kafka_batch *batch)
{
    *batch->link = batch->next;
    if (batch->next) {
        batch->next->link = batch->link;
    } else if (batches->last == &batch->next) {
        batches->last = batch->link;
    }
}

static void batch_close(struct kafka_batches *batches, struct kafka_batch *batch)
{
    struct topic *topic = &batches->topics[batch->topic];
    topic->places[batch->partition].open = NULL;
    topic->places[batch->partition].sent++;
    topic->sticky = topic->sticky == batch->partition ? -1 : topic->sticky;
    batch_unlink(batches, batch);
    batch->next = batches->sent;
    batch->link = &batches->sent;
    if (batch->next) {
        batch->next->link = &batch->next;
    }
    batches->sent = batch;
}

static rd_kafka_resp_err_t batch_open(struct kafka_batches *batches, size_t topic,
                                      int32_t partition, const struct kafka_record *record)
{
    rd_kafka_resp_err_t code = rd_kafka_records_announce(batches->topics[topic].handle, partition);
    if (code) {
        return code;
    }
    struct kafka_batch *batch = batch_take(batches, kafka_record_bytes_max(record));
    batch->opaque = record->opaque;
    batch->topic = topic;
    batch->partition = partition;
    batch->opened_us = clock_mono_us();
    batch->next = NULL;
    batch->link = batches->last;
    *batches->last = batch;
    batches->last = &batch->next;
    batches->opened++;
    place_of(batches, batch)->open = batch;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t batch_hand_over(struct kafka_batches *batches, struct kafka_batch *batch)
{
    const rd_kafka_records_t records = {.bytes = batch->records.bytes,
                                        .size = batch->records.size,
                                        .count = batch->records.count,
                                        .first_timestamp = batch->records.first_timestamp_ms,
                                        .max_timestamp = batch->records.max_timestamp_ms,
                                        .since_us = batch->opened_us};
    return rd_kafka_produce_records(batches->topics[batch->topic].handle, batch->partition,
                                    &records, batch);
}

static rd_kafka_resp_err_t batch_send(struct kafka_batches *batches, struct kafka_batch *batch)
{
    rd_kafka_resp_err_t code = batch_hand_over(batches, batch);
    if (!code) {
        batch_close(batches, batch);
    }
    return code;
}

/* --- partitions ---------------------------------------------------------------------------------------------- */

static rd_kafka_resp_err_t partitions_learn(const struct kafka_batches *batches,
                                            struct topic *topic)
{
    int32_t count = 0;
    rd_kafka_resp_err_t code = rd_kafka_topic_partitions(topic->handle, &count);
    topic->partitions = 0;
    if (code) {
        return code;
    }
    if (count > topic->room) {
        topic->places = must_realloc(topic->places, (size_t)count * sizeof *topic->places);
        for (; topic->room < count; topic->room++) {
            topic->places[topic->room] = (struct place){0};
        }
    }
    topic->partitions = count;
    topic->look = batches->look;
    topic->sticky = topic->sticky < count ? topic->sticky : -1;
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

/* Of the record that comes next, and is not the first. */
static void opaque_add(struct kafka_batch *batch, void *opaque)
{
    const size_t count = (size_t)batch->records.count;
    if (!batch->is_mixed && opaque == batch->opaque) {
        return;
    }
    if (count >= batch->opaque_room) {
        batch->opaque_room = 2 * count > OPAQUES_FIRST ? 2 * count : OPAQUES_FIRST;
        batch->opaques = must_realloc(batch->opaques, batch->opaque_room * sizeof *batch->opaques);
    }
    for (size_t i = 0; !batch->is_mixed && i < count; i++) {
        batch->opaques[i] = batch->opaque;
    }
    batch->is_mixed = true;
    batch->opaques[count] = opaque;
}

rd_kafka_resp_err_t kafka_batches_add(struct kafka_batches *batches, size_t index,
                                      const struct kafka_record *record, size_t partition_bytes)
{
    struct topic *topic = &batches->topics[index];
    const bool is_known = topic->partitions && topic->look == batches->look;
    rd_kafka_resp_err_t code =
        is_known ? RD_KAFKA_RESP_ERR_NO_ERROR : partitions_learn(batches, topic);
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
    struct kafka_batch *batch = topic->places[partition].open;
    if (batch && !has_room(batches, batch, bytes)) {
        code = batch_send(batches, batch);
    }
    if (!code && !topic->places[partition].open) {
        code = batch_open(batches, index, partition, record);
    }
    if (!code) {
        batch = topic->places[partition].open;
        batch_grow(batch, bytes);
        opaque_add(batch, record->opaque);
        kafka_records_add(&batch->records, record);
        batch->value_bytes += record->value.len;
    }
    return code;
}

rd_kafka_resp_err_t kafka_batches_send_older(struct kafka_batches *batches, int64_t than_us)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    while (!code && batches->first && batches->first->opened_us < than_us) {
        code = batch_send(batches, batches->first);
    }
    return code;
}

rd_kafka_resp_err_t kafka_batches_send_ready(struct kafka_batches *batches, int64_t than_us,
                                             struct kafka_batch **ret_unsent)
{
    struct kafka_batch *next;
    for (struct kafka_batch *batch = batches->first; batch && batch->opened_us < than_us;
         batch = next) {
        next = batch->next;
        rd_kafka_resp_err_t code = place_of(batches, batch)->sent ? RD_KAFKA_RESP_ERR_NO_ERROR
                                                                  : batch_send(batches, batch);
        if (code) {
            *ret_unsent = batch;
            return code;
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t kafka_batches_send(struct kafka_batches *batches)
{
    return kafka_batches_send_older(batches, INT64_MAX);
}

rd_kafka_resp_err_t kafka_batches_send_topic(struct kafka_batches *batches, size_t index)
{
    struct topic *topic = &batches->topics[index];
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int32_t i = 0; !code && i < topic->room; i++) {
        struct kafka_batch *open = topic->places[i].open;
        code = open ? batch_send(batches, open) : code;
    }
    return code;
}

/* --- out of order -------------------------------------------------------------------------------------------- */

struct kafka_batch *kafka_batches_oldest(const struct kafka_batches *batches)
{
    return batches->first;
}

const struct kafka_batch *kafka_batches_oldest_ready(const struct kafka_batches *batches)
{
    const struct kafka_batch *batch = batches->first;
    while (batch && place_of(batches, batch)->sent) {
        batch = batch->next;
    }
    return batch;
}

uint64_t kafka_batches_opened(const struct kafka_batches *batches)
{
    return batches->opened;
}

void kafka_batches_withdraw(struct kafka_batches *batches, struct kafka_batch *batch)
{
    batch_close(batches, batch);
}

void kafka_batches_take_back(struct kafka_batches *batches, struct kafka_batch *batch)
{
    batch_unlink(batches, batch);
    place_of(batches, batch)->sent--;
    if (batches->kept_count < SPARES_MAX) {
        batch_keep(batches, batch);
    } else {
        batch->next = NULL;
        batches_free(batch);
    }
}

size_t kafka_batches_open_records(const struct kafka_batches *batches)
{
    size_t count = 0;
    for (const struct kafka_batch *batch = batches->first; batch; batch = batch->next) {
        count += (size_t)batch->records.count;
    }
    return count;
}

const char *kafka_batches_topic_name(const struct kafka_batches *batches,
                                     const struct kafka_batch *batch)
{
    return rd_kafka_topic_name(batches->topics[batch->topic].handle);
}

void kafka_batches_look_again(struct kafka_batches *batches)
{
    batches->look++;
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
        struct topic *topic = &batches->topics[batch->topic];
        place_of(batches, batch)->open = NULL;
        topic->sticky = -1;
    }
    batches_keep(batches, TAKE(batches->first));
    batches->last = &batches->first;
}

void kafka_batches_reset(struct kafka_batches *batches)
{
    kafka_batches_drop(batches);
    for (struct kafka_batch *batch = batches->sent; batch; batch = batch->next) {
        place_of(batches, batch)->sent = 0;
    }
    batches_keep(batches, TAKE(batches->sent));
    kafka_batches_look_again(batches);
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
    /* What is larger than the queue would never be taken. */
    const size_t queue_bytes = (size_t)kafka_conf_number(conf, "queue.buffering.max.kbytes") * 1024;
    const size_t message_bytes =
        (size_t)kafka_conf_number(conf, "message.max.bytes") - OVERHEAD_BYTES;
    batches->record_bytes_max = message_bytes < queue_bytes ? message_bytes : queue_bytes;
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
        free(batches->topics[i].places);
    }
    free(batches->topics);
    free(batches);
}
