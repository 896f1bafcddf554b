/* A record that was refused for a reason that may pass: into a topic where it waits, and from there
 * to the segment that refused it.
 *
 * What waits is the record as the segment got it, so that nothing is done twice: not the steps before,
 * nor what other flows made of it. The headers say where it was refused, what for each time, and where
 * the record had come from. */
#include <inttypes.h>
#include <stdio.h>

#include "stream/task_inside.h"

#define TEXT_BYTES   32
#define REASON_BYTES (ERR_INFO_TEXT_BYTES + 64)

static const char *const reason_names[] = {
    "millrace-reason-1", "millrace-reason-2", "millrace-reason-3", "millrace-reason-4",
    "millrace-reason-5", "millrace-reason-6", "millrace-reason-7", "millrace-reason-8",
};
_Static_assert(ARRAY_LEN(reason_names) == RETRIES_MAX, "each try has its reason");

static struct strview number_of(char text[TEXT_BYTES], int64_t value)
{
    int len = snprintf(text, TEXT_BYTES, "%" PRId64, value);
    return sv_of(text, (size_t)len);
}

/* How often the record was tried again so far. */
static unsigned tries_of(const struct stream_task *task, const struct step_out *in)
{
    return in->origin ? task->pipeline->sources[in->origin->source].retry : 0;
}

bool task_tries_again(const struct stream_task *task, const struct step_out *in, enum err reason)
{
    const struct program_retry *retry = &task->pipeline->retry;
    return tries_of(task, in) < retry->count && program_retries(retry, reason);
}

/* A result of several records is nowhere; what was in a topic of retries has waited. */
bool task_waits(const struct stream_task *task, const struct step_out *in, enum err reason)
{
    const struct program_retry *retry = &task->pipeline->retry;
    return in->origin && tries_of(task, in) == 0 && in->origin->tries < retry->in_place_count &&
           program_retries(retry, reason);
}

enum err task_emit_retry(struct stream_task *task, const struct step_out *in,
                         const struct task_refusal *refusal)
{
    char attempt[TEXT_BYTES], due[TEXT_BYTES], partition[TEXT_BYTES], offset[TEXT_BYTES];
    char reason[REASON_BYTES];
    const struct pipeline *pipeline = task->pipeline;
    const struct stream_record *origin = in->origin;
    unsigned tries = tries_of(task, in);
    int64_t now_ms = task->now_ms == TIME_NONE ? in->timestamp_ms : task->now_ms;
    (void)snprintf(reason, sizeof reason, "%s: %s", err_name(refusal->reason),
                   err_detail(refusal->reason, &task->why));
    const struct stream_header headers[] = {
        {STREAM_RETRY_ATTEMPT, number_of(attempt, tries + 1)},
        {STREAM_RETRY_DUE, number_of(due, now_ms + pipeline->retry.delays_ms[tries])},
        {reason_names[tries], sv(reason)},
        {"millrace-pipeline", sv(pipeline->name)},
        {STREAM_RETRY_STEP, sv(refusal->place)},
        /* The first time; later they are there. */
        {"__streams.errors.topic", sv(origin ? pipeline->sources[origin->source].topic : "")},
        {"__streams.errors.partition", number_of(partition, origin ? origin->partition : 0)},
        {"__streams.errors.offset", number_of(offset, origin ? origin->offset : 0)},
    };
    const struct stream_out out = {
        .target = STREAM_RETRY,
        .topic = pipeline->stages[task->stage].retry_topics[tries],
        .partition = task->partition, /* where its stage's stores are */
        .key = in->key,
        .value = in->value,
        .timestamp_ms = in->timestamp_ms,
        .headers = headers,
        .header_count = ARRAY_LEN(headers) - (origin && tries == 0 ? 0 : 3),
        .source = origin,
    };
    task->stats.retried++;
    return task->sink->emit(task->sink->context, &out);
}

static const struct program_segment *segment_of(const struct stream_task *task,
                                                struct strview place)
{
    const struct pipeline *pipeline = task->pipeline;
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        const struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; segment->stage == task->stage && i < segment->step_count; i++) {
            if (sv_equal(sv(segment->steps[i].place), place)) {
                return segment;
            }
        }
    }
    return NULL;
}

enum err task_run_retry(struct stream_task *task, const struct program_source *source,
                        const struct stream_record *record)
{
    const struct program_segment *segment = segment_of(task, record->note);
    const struct step_out in = {.key = record->key,
                                .value = record->value,
                                .timestamp_ms = record->timestamp_ms,
                                .watermark_ms = task->watermark.value_ms,
                                .origin = record};
    enum err reason = ERR_OK;
    task->event_ms = in.timestamp_ms;
    if (!segment) {
        reason = err_set(&task->why, ERR_CONFIG,
                         "the step that was to try it again, %.*s, is not in the file any more",
                         SV_ARG(record->note));
    } else if (in.timestamp_ms < 0) {
        reason = err_set(&task->why, ERR_TIMESTAMP, "the record has no timestamp");
    }
    if (reason) {
        segment = task->pipeline->segments[source->segment];
        return task_refuse(
            task, &in, &(struct task_refusal){segment, source->place, reason, PIPELINE_PROCESS});
    }
    return task_take(task, segment, &in);
}

/* --- headers ------------------------------------------------------------------------------------*/

#define ALL_REASONS                                                                                \
    "millrace-reason-1", "millrace-reason-2", "millrace-reason-3", "millrace-reason-4",            \
        "millrace-reason-5", "millrace-reason-6", "millrace-reason-7", "millrace-reason-8"

const char *const *stream_headers_left(const struct pipeline *pipeline,
                                       const struct stream_out *out)
{
    static const char *const none[] = {NULL}, *const sender[] = {STREAM_SENDER_HEADER, NULL};
    static const char *const again[] = {STREAM_RETRY_ATTEMPT, STREAM_RETRY_DUE, STREAM_RETRY_STEP,
                                        "millrace-pipeline", NULL};
    static const char *const letter[] = {STREAM_RETRY_DUE, STREAM_RETRY_STEP, "millrace-pipeline",
                                         NULL};
    static const char *const all[] = {STREAM_RETRY_ATTEMPT,
                                      STREAM_RETRY_DUE,
                                      STREAM_RETRY_STEP,
                                      "millrace-pipeline",
                                      "__streams.errors.topic",
                                      "__streams.errors.partition",
                                      "__streams.errors.offset",
                                      ALL_REASONS,
                                      NULL};
    const struct program_source *source =
        out->source ? &pipeline->sources[out->source->source] : NULL;
    if (!source || !source->is_internal) {
        return none;
    }
    return !source->retry                      ? sender
           : out->target == STREAM_RETRY       ? again
           : out->target == STREAM_DEAD_LETTER ? letter
                                               : all;
}
