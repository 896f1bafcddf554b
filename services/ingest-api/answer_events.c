/* The answers of POST /events/{topic} (docs: openapi/ingest-api.yaml). */
#include <stdlib.h>
#include <string.h>

#include "ingest_answer.h"
#include "ingest_worker.h"

#define ANSWER_BYTES_MAX   ((size_t)64 << 20)
#define PROBLEM_ERRORS_MAX 100 /* schema errors repeated at the top when a whole batch is refused */

/* --- one event -------------------------------------------------------------------------------- */

/* A hasty event, or a duplicate of one, has no place that is known. */
static enum err place_append(struct buf *out, const struct ingest_result *result)
{
    if (result->partition < 0) {
        return ERR_OK;
    }
    enum err e = buf_append_view(out, SV(",\"partition\":"));
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
    return e ? e : buf_append_int(out, result->timestamp_ms);
}

/* No printf: it took as long as scanning the event. No copy: the answer is sent from here. */
static void single_taken(struct ingest_batch *batch, int status, struct strview word)
{
    const struct ingest_result *result = &batch->results[0];
    struct buf body;
    buf_init(&body, 512); /* a topic name is at most 249 bytes, none of which JSON escapes */
    enum err e = buf_append_view(&body, SV("{\"status\":\""));
    e = e ? e : buf_append_view(&body, word);
    e = e ? e : buf_append_view(&body, SV("\",\"topic\":\""));
    e = e ? e
          : buf_append_view(&body, sv(ingest_worker_topic_at(batch->worker, result->topic)->name));
    e = e ? e : buf_append_view(&body, SV("\""));
    e = e ? e : place_append(&body, result);
    e = e ? e : buf_append_view(&body, SV("}"));
    CHECK(e == ERR_OK); /* it fits */
    http_reply_buf(batch->request, status, "application/json", &body);
}

static void single_accepted(struct ingest_batch *batch)
{
    const uint16_t topic = batch->results[0].topic;
    http_reply_bytes(batch->request, 202, "application/json",
                     sv(ingest_worker_topic_at(batch->worker, topic)->accepted));
}

static void single_spooled(struct ingest_batch *batch)
{
    const struct ingest_worker *worker = batch->worker;
    const struct spool *spool = worker->ingest->spool; /* NULL: recalled from another replica */
    char body[512];
    const int length =
        snprintf(body, sizeof body,
                 "{\"status\":\"spooled\",\"durable\":\"spool\",\"synced\":%s,\"topic\":\"%s\"}",
                 spool && spool_is_synced(spool) ? "true" : "false",
                 ingest_worker_topic_at(worker, batch->results[0].topic)->name);
    http_reply_bytes(batch->request, 202, "application/json", sv_of(body, (size_t)length));
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
    enum err e =
        buf_append_view(out, result->outcome == INGEST_DUPLICATE ? SV("{\"status\":\"duplicate\"")
                                                                 : SV("{\"status\":\"stored\""));
    if (!e) {
        e = place_append(out, result);
    }
    return e ? e : buf_append_view(out, SV("}"));
}

/* index < 0: the result's place says it. */
static enum err refused_append(struct buf *out, const struct ingest_batch *batch,
                               const struct ingest_result *result, int64_t index)
{
    enum err e = buf_printf(out, "{\"status\":\"%s\",\"retryable\":%s,",
                            result->outcome == INGEST_INVALID ? "invalid" : "failed",
                            err_is_retriable((enum err)result->err) ? "true" : "false");
    if (!e && index >= 0) {
        e = buf_printf(out, "\"index\":%lld,", (long long)index);
    }
    if (!e) {
        e = buf_append_view(out, SV("\"error\":"));
    }
    if (!e) {
        e = ingest_fault_append(batch, result, out);
    }
    return e ? e : buf_append_view(out, SV("}"));
}

static enum err result_append(struct buf *out, const struct ingest_batch *batch, uint32_t index)
{
    const struct ingest_result *result = &batch->results[index];
    switch ((enum ingest_outcome)result->outcome) {
    case INGEST_STORED:
    case INGEST_DUPLICATE:
        return stored_append(out, result);
    case INGEST_SPOOLED:
        return buf_append_view(out, SV("{\"status\":\"spooled\",\"durable\":\"spool\"}"));
    case INGEST_ACCEPTED:
        return buf_append_view(out, SV("{\"status\":\"accepted\"}"));
    case INGEST_INVALID:
    case INGEST_FAILED:
    case INGEST_OUTCOMES:
        break;
    }
    return refused_append(out, batch, result, batch->is_minimal ? (int64_t)index : -1);
}

static bool is_taken(const struct ingest_result *result)
{
    return result->outcome != INGEST_INVALID && result->outcome != INGEST_FAILED;
}

static size_t taken_of(const struct ingest_tally *tally)
{
    return tally->of[INGEST_STORED] + tally->of[INGEST_DUPLICATE] + tally->of[INGEST_ACCEPTED];
}

static enum err counts_append(struct buf *out, const struct ingest_batch *batch,
                              const struct ingest_tally *tally)
{
    enum err e =
        buf_printf(out, "{\"%s\":%zu,\"failed\":%zu,", batch->is_hasty ? "accepted" : "stored",
                   taken_of(tally), tally->of[INGEST_INVALID] + tally->of[INGEST_FAILED]);
    if (!e && tally->of[INGEST_SPOOLED]) {
        e = buf_printf(out, "\"spooled\":%zu,", tally->of[INGEST_SPOOLED]);
    }
    return e ? e : buf_append_view(out, SV("\"results\":["));
}

static enum err results_append(struct buf *out, const struct ingest_batch *batch,
                               const struct ingest_tally *tally)
{
    enum err e = counts_append(out, batch, tally);
    bool is_first = true;
    for (uint32_t i = 0; i < batch->count && !e; i++) {
        if (batch->is_minimal && is_taken(&batch->results[i])) {
            continue;
        }
        e = is_first ? ERR_OK : buf_append_view(out, SV(","));
        is_first = false;
        if (!e) {
            e = result_append(out, batch, i);
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
        CHECK(counts_append(&body, batch, tally) == ERR_OK);
        CHECK(buf_append_view(&body, SV("]}")) == ERR_OK);
    }
    http_reply_buf(batch->request, status, "application/json", &body);
    buf_free(&body);
}

static bool is_one_error(const struct ingest_batch *batch)
{
    uint32_t i = 1;
    while (i < batch->count && batch->results[i].err == batch->results[0].err) {
        i++;
    }
    return i >= batch->count;
}

/* The error that all results have; the schema's for a mixture, and for a body that is right as a whole
 * but holds values that are no events (422 in either case, never 400). */
static enum err common_error(const struct ingest_batch *batch)
{
    const enum err first = (enum err)batch->results[0].err;
    return first == ERR_JSON_SHAPE || !is_one_error(batch) ? ERR_SCHEMA_MISMATCH : first;
}

/* Every event refused: their errors, each pointer led by the event's index. */
static void all_invalid(struct ingest_batch *batch)
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

static void all_failed(struct ingest_batch *batch)
{
    char detail[ERR_INFO_TEXT_BYTES];
    (void)snprintf(detail, sizeof detail, "none of the %u events was acknowledged; the first: %s",
                   batch->count, ingest_batch_fault(batch, &batch->results[0]).detail);
    reply_with(batch, (enum err)batch->results[0].err, detail, NULL);
}

/* The body broke off: what came of it is told in numbers, for the answer must be small then. */
static void broken(struct ingest_batch *batch, const struct ingest_tally *tally)
{
    struct err_info info = {0};
    (void)err_set(&info, batch->broken, "%s; the %u events before that were taken",
                  ingest_batch_broken_detail(batch), batch->count);
    const struct http_problem problem = {
        .err = batch->broken,
        .info = &info,
        .extra =
            json_pack("{s:I, s:I, s:I}", batch->is_hasty ? "accepted" : "stored",
                      (json_int_t)taken_of(tally), "spooled", (json_int_t)tally->of[INGEST_SPOOLED],
                      "failed", (json_int_t)(tally->of[INGEST_INVALID] + tally->of[INGEST_FAILED])),
    };
    http_reply_problem(batch->request, &problem);
}

/* Of a batch that was taken as a whole. */
static int taken_status(const struct ingest_batch *batch, const struct ingest_tally *tally)
{
    if (batch->is_hasty) {
        return 202;
    }
    return batch->count > 0 && tally->of[INGEST_DUPLICATE] == batch->count ? 200 : 201;
}

static void several(struct ingest_batch *batch, const struct ingest_tally *tally)
{
    if (batch->broken) {
        broken(batch, tally);
    } else if (taken_of(tally) == batch->count) {
        reply_results(batch, taken_status(batch, tally), tally);
    } else if (tally->of[INGEST_SPOOLED] == batch->count) {
        reply_results(batch, 202, tally);
    } else if (tally->of[INGEST_INVALID] == batch->count) {
        all_invalid(batch);
    } else if (tally->of[INGEST_FAILED] == batch->count && is_one_error(batch)) {
        all_failed(batch);
    } else { /* also where none was taken, but not each of them may come again */
        reply_results(batch, 207, tally);
    }
}

/* RFC 7240: which of the client's preferences the answer follows. */
static void tell_preferences(struct ingest_batch *batch)
{
    if (batch->is_async || batch->is_minimal) {
        http_reply_header(batch->request, "Preference-Applied",
                          !batch->is_minimal ? "respond-async"
                          : batch->is_async  ? "respond-async, return=minimal"
                                             : "return=minimal");
    }
}

static void single(struct ingest_batch *batch)
{
    switch ((enum ingest_outcome)batch->results[0].outcome) {
    case INGEST_STORED:
        single_taken(batch, 201, SV("stored"));
        break;
    case INGEST_SPOOLED:
        single_spooled(batch);
        break;
    case INGEST_DUPLICATE:
        single_taken(batch, 200, SV("duplicate"));
        break;
    case INGEST_ACCEPTED:
        single_accepted(batch);
        break;
    case INGEST_INVALID:
    case INGEST_FAILED:
    case INGEST_OUTCOMES:
        single_refused(batch);
        break;
    }
}

static void answer_results(struct ingest_batch *batch)
{
    struct ingest_tally tally;
    ingest_answer_tally(batch, &tally);
    tell_preferences(batch);
    if (batch->is_single) {
        single(batch);
    } else {
        several(batch, &tally);
    }
    ingest_batch_give(batch);
}

const struct ingest_answer ingest_answer_events = {
    .results = answer_results,
    .refusal = ingest_answer_problem,
};
