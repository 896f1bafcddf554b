/* The answers of POST /events/{topic} (docs: openapi/ingest-api.yaml). */
#include <stdlib.h>
#include <string.h>

#include "ingest_answer.h"
#include "ingest_worker.h"

#define ANSWER_BYTES_MAX   ((size_t)64 << 20)
#define PROBLEM_ERRORS_MAX 100 /* schema errors repeated at the top when a whole batch is refused */

/* --- one event -------------------------------------------------------------------------------- */

static void single_stored(struct ingest_batch *batch)
{
    const struct ingest_result *result = &batch->results[0];
    char body[512]; /* a topic name is at most 249 bytes, none of which JSON escapes */
    int length =
        snprintf(body, sizeof body,
                 "{\"status\":\"stored\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,"
                 "\"timestamp\":%lld}",
                 ingest_worker_topic_at(batch->worker, result->topic)->name, result->partition,
                 (long long)result->offset, (long long)result->timestamp_ms);
    http_reply_bytes(batch->request, 201, "application/json", sv_of(body, (size_t)length));
}

static void reply_with(struct ingest_batch *batch, enum err err, const char *detail, json_t *errors)
{
    struct err_info info = {0};
    (void)err_set(&info, err, "%s", detail);
    const struct http_problem problem = {
        .err = err,
        .info = &info,
        .extra = errors ? json_pack("{s:o}", "errors", errors) : NULL,
    };
    http_reply_problem(batch->request, &problem);
}

/* Adds the errors of one result; lead goes before each pointer. */
static void errors_add(json_t *errors, const struct ingest_batch *batch,
                       const struct ingest_result *result, const char *lead)
{
    struct ingest_fault fault = ingest_batch_fault(batch, result);
    const char *pointer, *message;
    while (json_array_size(errors) < PROBLEM_ERRORS_MAX &&
           ingest_fault_next(&fault, &pointer, &message)) {
        json_t *error = json_pack("{s:o, s:s}", "pointer", json_sprintf("%s%s", lead, pointer),
                                  "message", message);
        (void)json_array_append_new(errors, error);
    }
}

static void single_refused(struct ingest_batch *batch)
{
    const struct ingest_result *result = &batch->results[0];
    const struct ingest_fault fault = ingest_batch_fault(batch, result);
    json_t *errors = fault.error_count ? json_array() : NULL;
    if (errors) {
        errors_add(errors, batch, result, "");
    }
    reply_with(batch, (enum err)result->err, fault.detail, errors);
}

/* --- several events --------------------------------------------------------------------------- */

/* No printf: there may be thousands of them. */
static enum err stored_append(struct buf *out, const struct ingest_result *result)
{
    enum err e = buf_append_view(out, SV("{\"status\":\"stored\",\"partition\":"));
    if (!e) {
        e = buf_append_int(out, result->partition);
    }
    if (!e) {
        e = buf_append_view(out, SV(",\"offset\":"));
    }
    if (!e) {
        e = buf_append_int(out, result->offset);
    }
    if (!e) {
        e = buf_append_view(out, SV(",\"timestamp\":"));
    }
    if (!e) {
        e = buf_append_int(out, result->timestamp_ms);
    }
    return e ? e : buf_append_view(out, SV("}"));
}

static enum err result_append(struct buf *out, const struct ingest_batch *batch,
                              const struct ingest_result *result)
{
    if (result->outcome == INGEST_STORED) {
        return stored_append(out, result);
    }
    enum err e = buf_printf(out, "{\"status\":\"%s\",\"retryable\":%s,\"error\":",
                            result->outcome == INGEST_INVALID ? "invalid" : "failed",
                            err_is_retriable((enum err)result->err) ? "true" : "false");
    if (!e) {
        e = ingest_fault_append(batch, result, out);
    }
    return e ? e : buf_append_view(out, SV("}"));
}

static enum err results_append(struct buf *out, const struct ingest_batch *batch,
                               const struct ingest_tally *tally)
{
    enum err e =
        buf_printf(out, "{\"stored\":%zu,\"failed\":%zu,\"results\":[", tally->of[INGEST_STORED],
                   tally->of[INGEST_INVALID] + tally->of[INGEST_FAILED]);
    for (uint32_t i = 0; i < batch->count && !e; i++) {
        e = i ? buf_append_view(out, SV(",")) : ERR_OK;
        if (!e) {
            e = result_append(out, batch, &batch->results[i]);
        }
    }
    return e ? e : buf_append_view(out, SV("]}"));
}

static void reply_results(struct ingest_batch *batch, int status, const struct ingest_tally *tally)
{
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    if (results_append(&body, batch, tally)) {
        /* The events are in Kafka; only the telling of it does not fit. */
        buf_reset(&body);
        CHECK(buf_printf(&body, "{\"stored\":%zu,\"failed\":%zu,\"results\":[]}",
                         tally->of[INGEST_STORED],
                         tally->of[INGEST_INVALID] + tally->of[INGEST_FAILED]) == ERR_OK);
    }
    http_reply_buf(batch->request, status, "application/json", &body);
    buf_free(&body);
}

/* The error that all results have, or the schema's for a mixture. */
static enum err common_error(const struct ingest_batch *batch)
{
    for (uint32_t i = 1; i < batch->count; i++) {
        if (batch->results[i].err != batch->results[0].err) {
            return ERR_SCHEMA_MISMATCH;
        }
    }
    return (enum err)batch->results[0].err;
}

/* Every event refused: their errors, each pointer led by the event's index. */
static void all_refused(struct ingest_batch *batch)
{
    json_t *all = json_array();
    char lead[24], detail[64];
    for (uint32_t i = 0; i < batch->count && json_array_size(all) < PROBLEM_ERRORS_MAX; i++) {
        const struct ingest_fault fault = ingest_batch_fault(batch, &batch->results[i]);
        (void)snprintf(lead, sizeof lead, "/%u", i);
        if (fault.error_count) {
            errors_add(all, batch, &batch->results[i], lead);
        } else {
            (void)json_array_append_new(
                all, json_pack("{s:s, s:s}", "pointer", lead, "message", fault.detail));
        }
    }
    (void)snprintf(detail, sizeof detail, "none of the %u events is valid", batch->count);
    reply_with(batch, common_error(batch), detail, all);
}

static void several(struct ingest_batch *batch, const struct ingest_tally *tally)
{
    if (tally->of[INGEST_STORED] == batch->count) {
        reply_results(batch, 201, tally);
    } else if (tally->of[INGEST_INVALID] == batch->count) {
        all_refused(batch);
    } else if (tally->of[INGEST_FAILED] == batch->count) {
        reply_with(batch, (enum err)batch->results[0].err, "none of the events was stored", NULL);
    } else {
        reply_results(batch, 207, tally);
    }
}

static void answer_results(struct ingest_batch *batch)
{
    const struct ingest_tally tally = ingest_answer_tally(batch);
    if (!batch->is_single) {
        several(batch, &tally);
    } else if (tally.of[INGEST_STORED]) {
        single_stored(batch);
    } else {
        single_refused(batch);
    }
    ingest_batch_give(batch);
}

static void answer_refusal(struct http_request *request, enum err err, const struct err_info *info)
{
    const struct http_problem problem = {
        .err = err,
        .info = info,
        /* Where the JSON breaks off, for editors and tests. */
        .extra = err == ERR_JSON_SYNTAX || err == ERR_JSON_ENCODING || err == ERR_JSON_TOO_DEEP
                     ? json_pack("{s:I}", "position", (json_int_t)info->at)
                     : NULL,
    };
    http_reply_problem(request, &problem);
}

const struct ingest_answer ingest_answer_events = {
    .results = answer_results,
    .refusal = answer_refusal,
};
