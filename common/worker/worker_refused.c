#include "worker/worker_refused.h"

#include <xxhash.h>

static bool is_of_size(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
           code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

/* Codes that say of a batch that it will never be taken. _INVALID_DIFFERENT_RECORD is librdkafka's, of
 * the records that were in a batch with one. */
static bool is_refusal(rd_kafka_resp_err_t code)
{
    return is_of_size(code) || code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE ||
           code == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
           code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP ||
           code == RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD;
}

static uint64_t hash_of(const char *topic, struct strview key, struct strview value)
{
    uint64_t hash = XXH3_64bits(topic, strlen(topic));
    hash = XXH3_64bits_withSeed(key.ptr, key.len, hash + key.len);
    return XXH3_64bits_withSeed(value.ptr, value.len, hash);
}

void worker_refused_note(struct worker_refused *refused, rd_kafka_resp_err_t code,
                         const char *topic, const struct kafka_records *records)
{
    if (!is_refusal(code)) {
        return;
    }
    refused->code = code;
    if (records->count == 1) {
        struct strview left = kafka_records_all(records);
        struct kafka_header headers[KAFKA_HEADERS_MAX];
        struct kafka_record record;
        refused->has_found = kafka_records_read(records, &left, headers, &record);
        refused->hashes[refused->at] = hash_of(topic, record.key, record.value);
        refused->codes[refused->at] = code;
        refused->at = (refused->at + 1) % REFUSED_MAX;
        refused->count += refused->count < REFUSED_MAX;
    }
}

rd_kafka_resp_err_t worker_refused_find(const struct worker_refused *refused, const char *topic,
                                        struct strview key, struct strview value)
{
    if (refused->count == 0) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    uint64_t hash = hash_of(topic, key, value);
    for (size_t i = 0; i < refused->count; i++) {
        if (refused->hashes[i] == hash) {
            return refused->codes[i];
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* What nobody knows the culprit of is looked at more closely. */
static void look_closer(struct worker_refused *refused, int64_t records)
{
    if (refused->has_found) {
        return; /* what was found is left out the next time: others may remain */
    }
    if (is_of_size(refused->code)) {
        refused->batch_bytes = refused->batch_bytes > 1 ? refused->batch_bytes / 2 : 1;
        return;
    }
    refused->is_alone = true;
    refused->alone_left = records;
}

void worker_refused_settle(struct worker_refused *refused, int64_t records, bool is_committed)
{
    if (!is_committed && refused->code) {
        look_closer(refused, records);
    } else if (is_committed && refused->is_alone) {
        refused->alone_left -= records;
        refused->is_alone = refused->alone_left > 0;
    }
    refused->code = RD_KAFKA_RESP_ERR_NO_ERROR;
    refused->has_found = false;
}
