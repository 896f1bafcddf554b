/* What goes out, with the headers that say why. */
#include <inttypes.h>
#include <stdio.h>

#include "stream/task_inside.h"

#define TEXT_BYTES  32
#define PLACE_BYTES 512

static struct strview text_of(char text[TEXT_BYTES], int64_t value)
{
    int len = snprintf(text, TEXT_BYTES, "%" PRId64, value);
    return sv_of(text, (size_t)len);
}

static const struct program_source *source_of(const struct stream_task *task,
                                              const struct program_segment *segment,
                                              const struct stream_record *origin)
{
    return &task->pipeline->sources[origin ? origin->source : segment->home];
}

/* The producer's bytes, be it that steps have made others of them: what is put back into the source
 * topic then is what was there. A record of no single origin goes as it is. */
static struct stream_out side_out(const struct step_out *in, enum stream_target target,
                                  uint16_t topic, const struct stream_header *headers,
                                  size_t header_count)
{
    const struct stream_record *origin = in->origin;
    return (struct stream_out){.target = target,
                               .topic = topic,
                               .partition = -1,
                               .key = origin ? origin->key : in->key,
                               .value = origin ? origin->value : in->value,
                               .timestamp_ms = origin ? origin->timestamp_ms : in->timestamp_ms,
                               .headers = headers,
                               .header_count = header_count,
                               .source = origin};
}

/* KIP-1034's header names, then ours. Skipped, it is told the same, and goes nowhere. */
static enum err refusal_emit(struct stream_task *task, const struct step_out *in,
                             const struct task_refusal *refusal, enum stream_target target)
{
    char partition[TEXT_BYTES], offset[TEXT_BYTES], at[PLACE_BYTES];
    const struct stream_record *origin = in->origin;
    const struct program_source *source = source_of(task, refusal->segment, origin);
    struct strview code = sv(err_name(refusal->reason));
    (void)snprintf(at, sizeof at, "at %s%s", task->pipeline->name, refusal->place);
    const struct stream_header headers[] = {
        {"__streams.errors.exception", code},
        {"__streams.errors.message", sv(err_detail(refusal->reason, &task->why))},
        {"__streams.errors.stacktrace", sv(at)},
        {"millrace-error-code", code},
        {"millrace-error-class", sv(pipeline_class_name(refusal->class))},
        {"millrace-pipeline", sv(task->pipeline->name)},
        {"millrace-step", sv(refusal->place)},
        /* Where the record is; one that was made of several is nowhere, and one that was tried again
         * says it already. */
        {"__streams.errors.topic", sv(source->topic)},
        {"__streams.errors.partition", text_of(partition, origin ? origin->partition : 0)},
        {"__streams.errors.offset", text_of(offset, origin ? origin->offset : 0)},
    };
    bool has_place = origin && !source->retry;
    const struct stream_out out = side_out(in, target, source->dead_letter_topic, headers,
                                           ARRAY_LEN(headers) - (has_place ? 0 : 3));
    task->stats.dead_lettered += target == STREAM_DEAD_LETTER;
    task->stats.skipped += target == STREAM_SKIPPED;
    return task->sink->emit(task->sink->context, &out);
}

/* Nothing goes on: who is to look at it is told which record it is. */
static enum err refusal_tell(struct stream_task *task, const struct step_out *in,
                             const struct task_refusal *refusal, enum err e)
{
    const struct stream_record *origin = in->origin;
    const char *why = err_detail(refusal->reason, &task->why);
    if (!origin) {
        return err_set(&task->failure, e, "a result is refused at %s: %s", refusal->place, why);
    }
    return err_set(&task->failure, e, "%s [%d] @ %lld is refused at %s: %s: %s",
                   task->pipeline->sources[origin->source].topic, origin->partition,
                   (long long)origin->offset, refusal->place, err_name(refusal->reason), why);
}

enum err task_refuse(struct stream_task *task, const struct step_out *in,
                     const struct task_refusal *refusal)
{
    if (task_waits(task, in, refusal->reason)) {
        return refusal_tell(task, in, refusal, ERR_RECORD_WAITS);
    }
    if (task_tries_again(task, in, refusal->reason)) {
        return task_emit_retry(task, in, refusal);
    }
    switch (pipeline_policy(task->pipeline, refusal->class)) {
    case PIPELINE_DEAD_LETTER:
        return refusal_emit(task, in, refusal, STREAM_DEAD_LETTER);
    case PIPELINE_SKIP:
        return refusal_emit(task, in, refusal, STREAM_SKIPPED);
    case PIPELINE_FAIL:
        break;
    }
    return refusal_tell(task, in, refusal, ERR_RECORD_REFUSED);
}

enum err task_emit_late(struct stream_task *task, const struct program_segment *segment,
                        const struct step_run *run)
{
    char start[TEXT_BYTES], end[TEXT_BYTES], watermark[TEXT_BYTES], late_by[TEXT_BYTES];
    const struct stream_header headers[] = {
        {"millrace-window-start", text_of(start, run->late.window_start_ms)},
        {"millrace-window-end", text_of(end, run->late.window_end_ms)},
        {"millrace-watermark", text_of(watermark, run->watermark_ms)},
        {"millrace-late-by-ms", text_of(late_by, run->watermark_ms - run->late.closed_ms)},
        {"millrace-pipeline", sv(task->pipeline->name)},
    };
    const struct program_source *source = source_of(task, segment, run->in->origin);
    const struct stream_out out =
        side_out(run->in, STREAM_LATE, source->late_topic, headers, ARRAY_LEN(headers));
    task->stats.late++;
    return task->sink->emit(task->sink->context, &out);
}

/* Nothing older than this comes from this task any more, along the way that the record came. */
static struct sender sender_of(const struct stream_task *task,
                               const struct program_segment *segment, const struct step_out *out)
{
    if (!out->origin) {
        int64_t reached_ms = task_lagging(out->watermark_ms, segment->lag_ms);
        return (struct sender){senders_id(task->partition, SENDER_OF_RESULTS),
                               reached_ms == TIME_NONE ? 0 : reached_ms};
    }
    const struct program_source *source = &task->pipeline->sources[out->origin->source];
    const struct watermark_input *from = &task->watermark.inputs[source->input];
    int64_t highest_ms = from->timestamp_max_ms;
    if (!source->is_internal && task->event_ms > highest_ms) {
        highest_ms = task->event_ms; /* this record counts; of an internal one its senders do */
    }
    return (struct sender){senders_id(task->partition, source->input),
                           highest_ms == TIME_NONE ? 0
                                                   : highest_ms - from->delay_ms - segment->lag_ms};
}

static enum err emit_repartition(struct stream_task *task, const struct program_segment *segment,
                                 const struct step_out *out, struct stream_out *record)
{
    char text[SENDER_TEXT_BYTES];
    struct stream_header headers[STEP_HEADERS_MAX + 1];
    const struct sender sender = sender_of(task, segment, out);
    CHECK(out->header_count <= STEP_HEADERS_MAX);
    for (size_t i = 0; i < out->header_count; i++) {
        headers[i] = out->headers[i];
    }
    headers[out->header_count] =
        (struct stream_header){STREAM_SENDER_HEADER, sender_write(&sender, text)};
    record->headers = headers;
    record->header_count = out->header_count + 1;
    return task->sink->emit(task->sink->context, record);
}

enum err task_emit_output(struct stream_task *task, const struct program_segment *segment,
                          const struct step_out *out, struct strview key)
{
    struct stream_out record = {.target = segment->target,
                                .topic = segment->output_topic,
                                .partition = out->has_partition ? out->partition : -1,
                                .partition_bytes =
                                    key.ptr == out->key.ptr ? out->partition_bytes : 0,
                                .key = key,
                                .value = out->value,
                                .timestamp_ms = out->timestamp_ms,
                                .headers = out->headers,
                                .header_count = out->header_count,
                                .source = out->origin};
    if (segment->target == STREAM_REPARTITION) {
        return emit_repartition(task, segment, out, &record);
    }
    task->stats.outputs++;
    return task->sink->emit(task->sink->context, &record);
}
