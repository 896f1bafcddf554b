/* The answers of POST /topics/{topic} as the REST proxies for Kafka have them (version 2), with one
 * exception: 200 is said only when every record is stored. The shape is the same otherwise, so that a
 * client which looks at each record's error_code goes on as it did. */
#include <stdlib.h>

#include "ingest_answer.h"
#include "ingest_worker.h"

#define CONTENT_TYPE     "application/vnd.kafka.v2+json"
#define ANSWER_BYTES_MAX ((size_t)64 << 20)

static const struct {
    enum err err;
    int code;
} rest_codes[] = {
    {ERR_UNAUTHENTICATED, 40101},   {ERR_TOPIC_FORBIDDEN, 40301},   {ERR_FORBIDDEN, 40301},
    {ERR_TOPIC_UNKNOWN, 40401},     {ERR_PARTITION_UNKNOWN, 40402}, {ERR_RATE_LIMITED, 42901},
    {ERR_JSON_SHAPE, 422},          {ERR_KAFKA_REJECTED, 50002},    {ERR_KAFKA_TIMEOUT, 50003},
    {ERR_KAFKA_UNAVAILABLE, 50003}, {ERR_QUEUE_FULL, 50003},        {ERR_OVERLOADED, 50003},
    {ERR_KAFKA_FATAL, 50003},       {ERR_KAFKA_BATCH, 50003},
};

static int rest_code(enum err err)
{
    for (size_t i = 0; i < ARRAY_LEN(rest_codes); i++) {
        if (rest_codes[i].err == err) {
            return rest_codes[i].code;
        }
    }
    return err_http_status(err);
}

/* A body that lacks its records is unprocessable there, not malformed. */
static int rest_status(enum err err)
{
    return err == ERR_JSON_SHAPE ? 422 : err_http_status(err);
}

static enum err result_append(struct buf *out, const struct ingest_batch *batch,
                              const struct ingest_result *result)
{
    if (!result->err && result->partition >= 0) { /* stored, now or before */
        return buf_printf(out, "{\"partition\":%d,\"offset\":%lld}", result->partition,
                          (long long)result->offset);
    }
    if (!result->err) {
        return buf_append_view(out, SV("{}"));
    }
    const struct ingest_fault fault = ingest_batch_fault(batch, result);
    enum err e = buf_printf(
        out, "{\"error_code\":%d,\"retryable\":%s,\"message\":", rest_code((enum err)result->err),
        err_is_retriable((enum err)result->err) ? "true" : "false");
    if (!e) {
        e = buf_append_json_string(out, sv(fault.detail));
    }
    return e ? e : buf_append_view(out, SV("}"));
}

static enum err body_append(struct buf *out, const struct ingest_batch *batch)
{
    enum err e = buf_append_view(out, SV("\"offsets\":["));
    for (uint32_t i = 0; i < batch->count && !e; i++) {
        e = i ? buf_append_view(out, SV(",")) : ERR_OK;
        if (!e) {
            e = result_append(out, batch, &batch->results[i]);
        }
    }
    return e ? e : buf_append_view(out, SV("],\"key_schema_id\":null,\"value_schema_id\":null}"));
}

static enum err error_append(struct buf *out, enum err err, const char *message)
{
    enum err e = buf_printf(out, "{\"error_code\":%d,\"message\":", rest_code(err));
    return e ? e : buf_append_json_string(out, sv(message));
}

static void answer_results(struct ingest_batch *batch)
{
    struct ingest_tally tally;
    ingest_answer_tally(batch, &tally);
    const size_t later = tally.of[INGEST_ACCEPTED] + tally.of[INGEST_SPOOLED];
    const size_t taken = tally.of[INGEST_STORED] + tally.of[INGEST_DUPLICATE] + later;
    const enum err first = (enum err)batch->results[0].err; /* there is a record */
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    enum err e =
        taken ? buf_append_view(&body, SV("{"))
              : error_append(&body, first, ingest_batch_fault(batch, &batch->results[0]).detail);
    if (!e && !taken) {
        e = buf_append_view(&body, SV(","));
    }
    e = e ? e : body_append(&body, batch);
    const int status = later == batch->count                     ? 202
                       : tally.of[INGEST_STORED] == batch->count ? 200
                       : taken                                   ? 207
                                                                 : rest_status(first);
    if (e) {
        /* The records are in Kafka; only the telling of it does not fit. */
        buf_reset(&body);
        CHECK(buf_append_view(&body, SV("{\"offsets\":[]}")) == ERR_OK);
    }
    http_reply_buf(batch->request, status, CONTENT_TYPE, &body);
    buf_free(&body);
    ingest_batch_give(batch);
}

static void answer_refusal(struct http_request *request, enum err err, const struct err_info *info)
{
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    CHECK(error_append(&body, err, err_detail(err, info)) == ERR_OK);
    CHECK(buf_append_view(&body, SV("}")) == ERR_OK);
    http_reply_buf(request, rest_status(err), CONTENT_TYPE, &body);
    buf_free(&body);
}

const struct ingest_answer ingest_answer_kafka_rest = {
    .results = answer_results,
    .refusal = answer_refusal,
};
