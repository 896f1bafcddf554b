#include "ingest_answer.h"

#include <string.h>

#include "core/clock.h"
#include "json/json_file.h"

#define ANSWER_BYTES_MAX   ((size_t)64 << 20)
#define PROBLEM_ERRORS_MAX 100 /* schema errors repeated at the top when a whole batch is refused */

struct tally {
    size_t stored;
    size_t invalid; /* the event's fault: sending it again cannot help */
    size_t failed;  /* ours or Kafka's */
};

static bool is_invalid(enum err err)
{
    return err && !err_is_retriable(err) && err_http_status(err) < 500;
}

static struct tally tally_count(const struct ingest_pending *pending)
{
    struct tally tally = {0};
    for (size_t i = 0; i < pending->count; i++) {
        enum err err = pending->results[i].err;
        tally.stored += err == ERR_OK;
        tally.invalid += is_invalid(err);
    }
    tally.failed = pending->count - tally.stored - tally.invalid;
    return tally;
}

/* --- one event -------------------------------------------------------------------------------- */

static void answer_single_stored(struct ingest_pending *pending)
{
    const struct ingest_result *result = &pending->results[0];
    char body[512]; /* a topic name is at most 249 bytes, none of which JSON escapes */
    int length =
        snprintf(body, sizeof body,
                 "{\"status\":\"stored\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,"
                 "\"timestamp\":%lld}",
                 pending->topic->name, result->partition, (long long)result->offset,
                 (long long)result->timestamp_ms);
    http_reply_bytes(pending->request, 201, "application/json", sv_of(body, (size_t)length));
}

/* The members of a result's problem that are ours to pass on to the reply's own problem. */
static void reply_with(struct ingest_pending *pending, enum err err, const char *detail,
                       json_t *errors)
{
    struct err_info info = {0};
    (void)err_set(&info, err, "%s", detail);
    const struct http_problem problem = {
        .err = err,
        .info = &info,
        .extra = errors ? json_pack("{s:o}", "errors", errors) : NULL,
    };
    http_reply_problem(pending->request, &problem);
}

static void answer_single_refused(struct ingest_pending *pending)
{
    const struct ingest_result *result = &pending->results[0];
    const char *detail = json_string_value(json_object_get(result->problem, "detail"));
    json_t *errors = json_object_get(result->problem, "errors");
    reply_with(pending, result->err, detail ? detail : err_title(result->err), json_incref(errors));
}

/* --- several events --------------------------------------------------------------------------- */

static enum err result_append(struct buf *out, const struct ingest_result *result)
{
    if (result->err == ERR_OK) {
        return buf_printf(out,
                          "{\"status\":\"stored\",\"partition\":%d,\"offset\":%lld,"
                          "\"timestamp\":%lld}",
                          result->partition, (long long)result->offset,
                          (long long)result->timestamp_ms);
    }
    enum err e = buf_printf(out, "{\"status\":\"%s\",\"retryable\":%s,\"error\":",
                            is_invalid(result->err) ? "invalid" : "failed",
                            err_is_retriable(result->err) ? "true" : "false");
    char *problem = json_dumps(result->problem, JSON_COMPACT);
    if (!e) {
        e = buf_printf(out, "%s}", problem ? problem : "{}");
    }
    free(problem);
    return e;
}

static enum err results_append(struct buf *out, const struct ingest_pending *pending,
                               const struct tally *tally)
{
    enum err e = buf_printf(out, "{\"stored\":%zu,\"failed\":%zu,\"results\":[", tally->stored,
                            tally->invalid + tally->failed);
    for (size_t i = 0; i < pending->count && !e; i++) {
        e = i ? buf_append(out, ",", 1) : ERR_OK;
        if (!e) {
            e = result_append(out, &pending->results[i]);
        }
    }
    return e ? e : buf_append(out, "]}", 2);
}

static void answer_results(struct ingest_pending *pending, int status, const struct tally *tally)
{
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    if (results_append(&body, pending, tally)) {
        /* The events are in Kafka; only the telling of it does not fit. */
        buf_reset(&body);
        CHECK(buf_printf(&body, "{\"stored\":%zu,\"failed\":%zu,\"results\":[]}", tally->stored,
                         tally->invalid + tally->failed) == ERR_OK);
    }
    http_reply_buf(pending->request, status, "application/json", &body);
    buf_free(&body);
}

/* Every event refused: their errors, each pointer led by the event's index. */
static void answer_all_refused(struct ingest_pending *pending)
{
    json_t *all = json_array();
    for (size_t i = 0; i < pending->count && json_array_size(all) < PROBLEM_ERRORS_MAX; i++) {
        json_t *errors = json_object_get(pending->results[i].problem, "errors"), *error;
        size_t index;
        json_array_foreach(errors, index, error)
        {
            const char *pointer = json_string_value(json_object_get(error, "pointer"));
            const char *message = json_string_value(json_object_get(error, "message"));
            json_t *moved = json_pack("{s:o, s:s}", "pointer",
                                      json_sprintf("/%zu%s", i, pointer ? pointer : ""), "message",
                                      message ? message : "");
            (void)json_array_append_new(all, moved);
        }
    }
    char detail[64];
    (void)snprintf(detail, sizeof detail, "none of the %zu events is valid", pending->count);
    reply_with(pending, ERR_SCHEMA_MISMATCH, detail, all);
}

static void answer_batch(struct ingest_pending *pending, const struct tally *tally)
{
    if (tally->stored == pending->count) {
        answer_results(pending, 201, tally);
    } else if (tally->invalid == pending->count) {
        answer_all_refused(pending);
    } else if (tally->failed == pending->count) {
        reply_with(pending, pending->results[0].err, "none of the events was stored", NULL);
    } else {
        answer_results(pending, 207, tally);
    }
}

static void tally_publish(const struct ingest_pending *pending, const struct tally *tally)
{
    const struct ingest_topic_state *topic = pending->topic;
    const size_t counts[INGEST_OUTCOMES] = {
        [INGEST_STORED] = tally->stored,
        [INGEST_INVALID] = tally->invalid,
        [INGEST_FAILED] = tally->failed,
    };
    for (size_t i = 0; i < INGEST_OUTCOMES; i++) {
        if (counts[i]) {
            metric_add(topic->outcomes[i], (int64_t)counts[i]);
        }
    }
    if (tally->stored) {
        metric_observe(pending->worker->ack_seconds,
                       (double)(clock_mono_us() - pending->started_us) / 1e6);
    }
}

void ingest_answer(struct ingest_pending *pending)
{
    struct tally tally = tally_count(pending);
    tally_publish(pending, &tally);
    if (!pending->is_single) {
        answer_batch(pending, &tally);
    } else if (tally.stored) {
        answer_single_stored(pending);
    } else {
        answer_single_refused(pending);
    }
    ingest_pending_give(pending);
}
