/* The answers of POST /v1/events as EventGate has them: nothing when all is well, else the events that
 * were not taken, each with its reason. The events come from the request's body, which is there until
 * the reply: it is read again, in step with the results. */
#include "ingest_answer.h"
#include "ingest_worker.h"

#define ANSWER_BYTES_MAX ((size_t)64 << 20)

static enum err entry_append(struct buf *out, const struct ingest_batch *batch,
                             const struct ingest_result *result, struct strview event)
{
    const struct ingest_fault fault = ingest_batch_fault(batch, result);
    const bool is_invalid = result->outcome == INGEST_INVALID;
    enum err e = buf_printf(
        out, "{\"status\":\"%s\",\"retryable\":%s,\"event\":", is_invalid ? "invalid" : "error",
        err_is_retriable((enum err)result->err) ? "true" : "false");
    if (!e) {
        e = buf_append_view(out, event);
    }
    if (!e) {
        e = buf_append_view(out, is_invalid ? SV(",\"context\":{\"errorsText\":")
                                            : SV(",\"context\":{\"message\":"));
    }
    if (!e) {
        e = buf_append_json_string(out, sv(fault.detail));
    }
    if (!e && is_invalid) {
        e = ingest_fault_errors_append(fault, "instancePath", out);
    }
    return e ? e : buf_append_view(out, SV("}}"));
}

/* All events of one outcome as an array. */
static enum err list_append(struct buf *out, const struct ingest_batch *batch,
                            const struct json_doc *doc, enum ingest_outcome outcome)
{
    bool is_first = true;
    enum err e = buf_append_view(out, SV("["));
    uint32_t node = batch->is_single ? 0 : 1;
    for (uint32_t i = 0; !e && i < batch->count; i++, node = doc->nodes[node].next) {
        if (batch->results[i].outcome != outcome) {
            continue;
        }
        const struct json_node *event = &doc->nodes[node];
        e = is_first ? ERR_OK : buf_append_view(out, SV(","));
        is_first = false;
        if (!e) {
            e = entry_append(out, batch, &batch->results[i],
                             (struct strview){doc->text + event->at, event->bytes});
        }
    }
    return e ? e : buf_append_view(out, SV("]"));
}

static enum err body_append(struct buf *out, const struct ingest_batch *batch)
{
    struct json_doc doc;
    enum err e = json_scan(batch->worker->scanner, http_request_body(batch->request), &doc, NULL);
    CHECK(e == ERR_OK); /* as it did when the events were read */
    e = buf_append_view(out, SV("{\"invalid\":"));
    if (!e) {
        e = list_append(out, batch, &doc, INGEST_INVALID);
    }
    if (!e) {
        e = buf_append_view(out, SV(",\"error\":"));
    }
    if (!e) {
        e = list_append(out, batch, &doc, INGEST_FAILED);
    }
    return e ? e : buf_append_view(out, SV("}"));
}

static int status_of(const struct ingest_batch *batch, const struct ingest_tally *tally)
{
    const size_t later = tally->of[INGEST_ACCEPTED] + tally->of[INGEST_SPOOLED];
    const size_t taken = tally->of[INGEST_STORED] + tally->of[INGEST_DUPLICATE] + later;
    if (taken == batch->count) {
        return later ? 202 : 201;
    }
    return taken ? 207 : tally->of[INGEST_FAILED] ? 503 : 400;
}

static void answer_results(struct ingest_batch *batch)
{
    struct ingest_tally tally;
    ingest_answer_tally(batch, &tally);
    const int status = status_of(batch, &tally);
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    if (status <= 202) {
        http_reply_bytes(batch->request, status, NULL, SV(""));
    } else {
        if (status == 503) {
            http_reply_header(batch->request, "Retry-After", "1");
        }
        if (body_append(&body, batch)) {
            buf_reset(&body); /* does not fit: the status is the answer */
        }
        http_reply_buf(batch->request, status, "application/json", &body);
    }
    buf_free(&body);
    ingest_batch_give(batch);
}

const struct ingest_answer ingest_answer_eventgate = {
    .results = answer_results,
    .refusal = ingest_answer_problem,
};
