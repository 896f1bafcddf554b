#include "kafka/kafka_fetch.h"

void kafka_fetch_open(struct kafka_fetch *fetch, rd_kafka_message_t *message)
{
    CHECK(!fetch->message && !message->err);
    *fetch = (struct kafka_fetch){.message = message, .left = sv_of(message, sizeof *message)};
    if (rd_kafka_message_fetched(message, &fetch->batch)) {
        fetch->left = sv_of(fetch->batch.bytes, fetch->batch.size);
    }
}

/* Formats before v2 have no headers. */
static void single_read(struct kafka_fetch *fetch, struct kafka_record_view *ret)
{
    const rd_kafka_message_t *message = fetch->message;
    rd_kafka_timestamp_type_t type;
    *ret = (struct kafka_record_view){
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = {message->key, message->key ? message->key_len : 0},
        .value = {message->payload, message->payload ? message->len : 0},
    };
    fetch->left.len = 0;
}

/* Of bytes that a broker may send, so that sums may pass any bound. */
static int64_t sum(int64_t base, int64_t delta)
{
    return (int64_t)((uint64_t)base + (uint64_t)delta);
}

static bool batch_read(struct kafka_fetch *fetch, struct kafka_record_view *ret)
{
    const rd_kafka_fetched_t *batch = &fetch->batch;
    if (!kafka_record_read(&fetch->left, ret)) {
        return false;
    }
    ret->offset = sum(batch->base_offset, ret->offset);
    ret->timestamp_ms =
        batch->is_append_time ? batch->timestamp : sum(batch->timestamp, ret->timestamp_ms);
    return ret->offset >= batch->base_offset && ret->offset <= fetch->message->offset;
}

bool kafka_fetch_next(struct kafka_fetch *fetch, struct kafka_record_view *ret)
{
    while (fetch->left.len > 0 && !fetch->is_broken) {
        if (fetch->batch.count == 0) {
            single_read(fetch, ret);
            return true;
        }
        fetch->is_broken = !batch_read(fetch, ret);
        if (!fetch->is_broken && ret->offset >= fetch->batch.from_offset) {
            return true;
        }
    }
    return false;
}

void kafka_fetch_close(struct kafka_fetch *fetch)
{
    if (fetch->message) {
        rd_kafka_message_destroy(TAKE(fetch->message));
    }
}
