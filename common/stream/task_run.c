/* A record through segments, depth first: scan, steps, then to the output and into the segments that
 * read this one. */
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/task_inside.h"

#define DEPTH_MAX       64
#define NODES_MAX       262144
#define VALUE_BYTES_MAX (64 * 1024 * 1024)
#define KEY_BYTES_MAX   (1024 * 1024)

/* --- frames -------------------------------------------------------------------------------------*/

/* What every record's run has alike is written once: clearing a run for each record would cost more
 * than its first step. */
static struct task_frame *frame_new(struct stream_task *task)
{
    struct task_frame *frame = must_alloc(sizeof *frame);
    frame->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    buf_init(&frame->scratch, KEY_BYTES_MAX);
    buf_init(&frame->key, KEY_BYTES_MAX);
    buf_init(&frame->members, VALUE_BYTES_MAX);
    buf_init(&frame->value, VALUE_BYTES_MAX);
    buf_init(&frame->source_value, VALUE_BYTES_MAX);
    buf_init(&frame->source_key, KEY_BYTES_MAX);
    eval_init(&frame->eval);
    frame->run = (struct step_run){.way = {.task = task},
                                   .slots = frame->slots,
                                   .tables = task->tables,
                                   .checker = task->checker,
                                   .scratch = &frame->scratch,
                                   .eval = &frame->eval,
                                   .info = &task->why};
    return frame;
}

void task_frame_free(struct task_frame *frame)
{
    if (frame) {
        json_scanner_free(frame->scanner);
        buf_free(&frame->scratch);
        buf_free(&frame->key);
        buf_free(&frame->members);
        buf_free(&frame->value);
        buf_free(&frame->source_value);
        buf_free(&frame->source_key);
        eval_deinit(&frame->eval);
        free(frame);
    }
}

static struct task_frame *frame_take(struct stream_task *task)
{
    CHECK(task->depth < SEGMENTS_MAX); /* segments have no cycle */
    struct task_frame **frame = &task->frames[task->depth++];
    if (!*frame) {
        *frame = frame_new(task);
    }
    return *frame;
}

static void frame_give_back(struct stream_task *task)
{
    task->depth--;
}

static enum err frame_scan(struct stream_task *task, struct task_frame *frame, struct strview value)
{
    enum err e = value.ptr ? json_scan(frame->scanner, value, &frame->doc, &task->why)
                           : err_set(&task->why, ERR_BODY_EMPTY, "the record has no value");
    if (!e && frame->doc.nodes[0].type != JSON_NODE_OBJECT) {
        e = err_set(&task->why, ERR_JSON_SHAPE, "the record is not a JSON object");
    }
    return e;
}

/* --- steps --------------------------------------------------------------------------------------*/

/* Runs the steps; *ret_step is the one that ended it. */
static enum step_verdict run_steps(struct stream_task *task, const struct program_segment *segment,
                                   struct step_run *run, size_t *ret_step)
{
    for (size_t i = 0; i < segment->step_count; i++) {
        const struct step *step = &segment->steps[i];
        if (!run->doc && !step->kind->takes_null) {
            continue;
        }
        void *state = step->state == STATE_NONE ? NULL : task->states[step->state];
        run->way.to = step->to;
        run->local = step->kind->new_local ? task->locals[step->local] : NULL;
        enum step_verdict verdict = step->kind->run(step->compiled, state, run);
        if (verdict != STEP_NEXT) {
            *ret_step = i;
            return verdict;
        }
    }
    return STEP_NEXT;
}

/* A table that was brought up to date may have replaced rows that earlier joins lent from: the
 * record starts anew. A table is refreshed once for a record, whatever the sink answers, so that
 * this ends. */
static enum step_verdict run_until_settled(struct stream_task *task,
                                           const struct program_segment *segment,
                                           struct step_run *run, size_t *ret_step)
{
    for (;;) {
        enum step_verdict verdict = run_steps(task, segment, run, ret_step);
        if (verdict != STEP_AGAIN) {
            return verdict;
        }
        fields_resolve(&segment->fields, run->doc, run->slots);
    }
}

/* --- the end of a segment -----------------------------------------------------------------------*/

/* key: what the output topic's record is to have. */
static enum err segment_end(struct stream_task *task, const struct program_segment *segment,
                            const struct step_out *out, struct strview key)
{
    if (segment->has_output) {
        task->is_taken = true;
        enum err e = task_emit_output(task, segment, out, key);
        if (e) {
            return e;
        }
    }
    for (size_t i = 0; i < segment->next_count; i++) {
        enum err e = task_take(task, task->pipeline->segments[segment->next[i]], out);
        if (e) {
            return e;
        }
    }
    if (!segment->has_output && segment->next_count == 0) { /* a branch that nobody reads */
        task->stats.filtered++;
        task->is_taken = true;
    }
    return ERR_OK;
}

/* The key that the output names; false: rejected. */
static bool output_key(const struct program_segment *segment, struct step_run *run,
                       struct task_frame *frame, struct strview *ret)
{
    if (!segment->has_output_key) {
        *ret = run->in->key;
        return true;
    }
    const struct stream_value *value = &run->slots[segment->output_key];
    const char *name = segment->output_key_text;
    const char *what = segment->target == STREAM_REPARTITION ? "new" : "output's";
    if (value->type != JSON_NODE_STRING && value->type != JSON_NODE_NUMBER) {
        bool is_missing = value->type == STREAM_VALUE_MISSING;
        (void)step_reject(run, is_missing ? ERR_FIELD_MISSING : ERR_FIELD_TYPE,
                          "%s, the %s key, is %s", name, what, stream_value_kind(value));
        return false;
    }
    if (buf_reserve(&frame->key, value->bytes)) {
        (void)step_reject(run, ERR_LIMIT, "%s, the %s key, is too long", name, what);
        return false;
    }
    *ret = stream_value_decode(value, frame->key.data);
    if (ret->len == 0) { /* Kafka clients disagree on where an empty key belongs */
        (void)step_reject(run, ERR_FIELD_TYPE, "%s, the %s key, is empty", name, what);
    }
    return ret->len > 0;
}

/* What steps set, as `,"name":value`…, into members. False: it is too long. */
static bool edits_write(const struct program_segment *segment, const struct stream_value *slots,
                        struct buf *members)
{
    size_t bytes = 0;
    for (size_t i = 0; i < segment->edit_count; i++) {
        const struct program_edit *edit = &segment->edits[i];
        bytes += edit->prefix.len + slots[edit->slot].bytes; /* 64 of below 4 GiB: no overflow */
    }
    buf_reset(members);
    if (buf_reserve(members, bytes)) {
        return false;
    }
    char *at = members->data;
    for (size_t i = 0; i < segment->edit_count; i++) {
        const struct program_edit *edit = &segment->edits[i];
        const struct stream_value *value = &slots[edit->slot];
        if (value->type != STREAM_VALUE_MISSING) {
            memcpy(at, edit->prefix.ptr, edit->prefix.len);
            memcpy(at + edit->prefix.len, value->raw, value->bytes);
            at += edit->prefix.len + value->bytes;
        }
    }
    members->len = (size_t)(at - members->data);
    return true;
}

/* An event of the edited members alone. */
static enum err rebuild(struct strview members, struct buf *out)
{
    size_t comma = members.len > 0;
    enum err e = buf_append(out, "{", 1);
    e = e ? e : buf_append(out, members.ptr + comma, members.len - comma);
    return e ? e : buf_append(out, "}", 1);
}

/* The record as it came, or with what steps set before the closing brace. NULL: rejected. */
static const struct step_out *run_result(const struct program_segment *segment,
                                         struct step_run *run, struct task_frame *frame)
{
    struct step_out *out = &frame->out;
    bool is_edited = segment->edit_count > 0 || segment->is_rebuilt;
    if (!run->doc || (!is_edited && run->in->doc)) {
        return run->in;
    }
    *out = *run->in;
    out->doc = run->doc;
    if (!is_edited) {
        return out;
    }
    buf_reset(&frame->value);
    enum err e = ERR_LIMIT;
    if (edits_write(segment, run->slots, &frame->members)) {
        struct strview members = buf_view(&frame->members);
        e = segment->is_rebuilt
                ? rebuild(members, &frame->value)
                : json_splice(run->doc, 0, segment->edit_names, members, &frame->value);
    }
    if (e) {
        (void)step_reject(run, ERR_LIMIT, "the record with the members that were set is too long");
        return NULL;
    }
    out->value = buf_view(&frame->value);
    out->doc = NULL;
    return out;
}

static enum err run_refuse(struct stream_task *task, const struct program_segment *segment,
                           const struct step_run *run, const char *place, enum pipeline_class class)
{
    return task_refuse(task, run->in, &(struct task_refusal){segment, place, run->reason, class});
}

/* To all that read the segment, or to the one branch that was chosen. */
static enum err run_pass_on(struct stream_task *task, const struct program_segment *segment,
                            struct step_run *run, struct task_frame *frame, bool is_turned)
{
    struct strview key;
    const struct step_out *out =
        output_key(segment, run, frame, &key) ? run_result(segment, run, frame) : NULL;
    if (!out) {
        return run_refuse(task, segment, run,
                          segment->has_output ? segment->output_place : segment->place,
                          PIPELINE_PROCESS);
    }
    return is_turned ? task_take(task, task->pipeline->segments[run->way.to], out)
                     : segment_end(task, segment, out, key);
}

/* Where a record ended, for who looks at the pipeline; those that go on are not counted at a step. */
static void step_count(struct stream_task *task, const struct program_segment *segment, size_t step,
                       enum pipeline_outcome outcome)
{
    task->counts[segment->counter + step * PIPELINE_STEP_OUTCOMES + outcome]++;
}

static enum err run_finish(struct stream_task *task, const struct program_segment *segment,
                           struct step_run *run, enum step_verdict verdict, size_t step)
{
    switch (verdict) {
    case STEP_REJECT:
        step_count(task, segment, step, PIPELINE_REJECTED);
        return run_refuse(task, segment, run, segment->steps[step].place,
                          segment->steps[step].kind->is_check ? PIPELINE_VALIDATE
                                                              : PIPELINE_PROCESS);
    case STEP_LATE:
        step_count(task, segment, step, PIPELINE_LATE);
        return task_emit_late(task, segment, run);
    case STEP_FAIL:
        return run->reason;
    case STEP_LATE_END:
        step_count(task, segment, step, PIPELINE_LATE);
        task->stats.late++;
        break;
    case STEP_DROP:
        step_count(task, segment, step, PIPELINE_FILTERED);
        task->stats.filtered++;
        break;
    case STEP_REPLAYED:
        task->stats.replayed++;
        break;
    case STEP_DONE:
    case STEP_NEXT: /* these went on */
    case STEP_TURN:
    case STEP_AGAIN:
        break;
    }
    task->is_taken = true;
    return ERR_OK;
}

/* --- a segment ----------------------------------------------------------------------------------*/

/* doc: of in->value, with the segment's fields resolved in the frame; NULL: it has none. */
static enum err segment_work(struct stream_task *task, const struct program_segment *segment,
                             const struct step_out *in, const struct json_doc *doc,
                             struct task_frame *frame)
{
    struct step_run *run = &frame->run;
    run->way.lag_ms = segment->lag_ms;
    run->in = in;
    run->input = in->origin ? task->pipeline->sources[in->origin->source].input : 0;
    run->doc = doc;
    run->event_ms = in->timestamp_ms;
    run->watermark_ms = task_lagging(in->watermark_ms, segment->lag_ms);
    run->now_ms = task->now_ms;
    run->sink = task->sink;
    run->is_joined = false;
    run->refreshed = 0;
    run->reason = ERR_OK;
    size_t step = 0;
    task->counts[segment->counter]++;
    eval_reset(&frame->eval);
    enum step_verdict verdict = run_until_settled(task, segment, run, &step);
    task->stats.joined += run->is_joined && verdict != STEP_REJECT;
    return verdict == STEP_NEXT || verdict == STEP_TURN
               ? run_pass_on(task, segment, run, frame, verdict == STEP_TURN)
               : run_finish(task, segment, run, verdict, step);
}

/* A record that another segment or a step hands over. */
enum err task_take(struct stream_task *task, const struct program_segment *segment,
                   const struct step_out *in)
{
    if (!segment->is_scanned) {
        task->counts[segment->counter]++;
        return segment_end(task, segment, in, in->key);
    }
    struct task_frame *frame = frame_take(task);
    const struct json_doc *doc = in->doc;
    enum err e = ERR_OK, reason = ERR_OK;
    task->why.text[0] = '\0';
    if (!doc && in->value.ptr) {
        reason = frame_scan(task, frame, in->value);
        doc = &frame->doc;
    }
    if (reason) {
        e = task_refuse(
            task, in,
            &(struct task_refusal){segment, segment->place, reason, PIPELINE_DESERIALIZE});
    } else {
        fields_resolve(&segment->fields, doc, frame->slots);
        e = segment_work(task, segment, in, doc, frame);
    }
    frame_give_back(task);
    return e;
}

enum err step_forward(const struct step_way *way, const struct step_out *out)
{
    return task_take(way->task, way->task->pipeline->segments[way->to], out);
}

int32_t step_partition(const struct step_way *way)
{
    return way->task->partition;
}

const char *step_topic(const struct step_run *run)
{
    const struct stream_record *origin = run->in->origin;
    return origin ? run->way.task->pipeline->sources[origin->source].topic : NULL;
}

/* --- a source -----------------------------------------------------------------------------------*/

/* Text becomes an event of one member. */
static enum err source_text(struct stream_task *task, struct strview text, struct buf *out)
{
    if (utf8_valid_bytes(text) < text.len) {
        return err_set(&task->why, ERR_JSON_ENCODING, "the record's value is not UTF-8");
    }
    buf_reset(out);
    enum err e = buf_append_view(out, SV("{\"value\":"));
    e = e ? e : buf_append_json_string(out, text);
    e = e ? e : buf_append(out, "}", 1);
    return e ? err_set(&task->why, ERR_LIMIT, "the record's value is too long") : ERR_OK;
}

/* A record without a key has the one that the event names; it may name none. */
static enum err source_key(struct stream_task *task, const struct program_source *source,
                           struct task_frame *frame)
{
    const struct stream_value *value = &frame->slots[source->key];
    if (value->type == STREAM_VALUE_MISSING || value->type == JSON_NODE_NULL) {
        return ERR_OK;
    }
    if (value->type != JSON_NODE_STRING && value->type != JSON_NODE_NUMBER) {
        return err_set(&task->why, ERR_FIELD_TYPE, "%s, the key, is %s", source->key_text,
                       stream_value_kind(value));
    }
    if (buf_reserve(&frame->source_key, value->bytes)) {
        return err_set(&task->why, ERR_LIMIT, "%s, the key, is too long", source->key_text);
    }
    struct strview key = stream_value_decode(value, frame->source_key.data);
    frame->in.key = key.len > 0 ? key : (struct strview){NULL, 0}; /* null, never empty */
    return ERR_OK;
}

/* The value, scanned; its doc NULL: there is none, and the source takes that. */
static enum err source_value(struct stream_task *task, const struct program_source *source,
                             const struct stream_record *record, struct task_frame *frame)
{
    struct step_out *in = &frame->in;
    in->value = record->value;
    in->doc = NULL;
    if (!record->value.ptr && source->tombstones != TOMBSTONES_REFUSED) {
        return ERR_OK;
    }
    if (source->format == SOURCE_STRING && record->value.ptr) {
        enum err e = source_text(task, record->value, &frame->source_value);
        if (e) {
            return e;
        }
        in->value = buf_view(&frame->source_value);
    }
    enum err e = frame_scan(task, frame, in->value);
    in->doc = e ? NULL : &frame->doc;
    return e;
}

/* The record as its source reads it, into frame->in: what must be right before any step looks.
 * *ret_place: what was wrong. */
static enum err source_read(struct stream_task *task, const struct program_source *source,
                            const struct stream_record *record, struct task_frame *frame,
                            const char **ret_place)
{
    static const struct event_time of_record = {.has_field = false};
    struct step_out *in = &frame->in;
    in->key = record->key;
    *ret_place = source->place;
    enum err e = source_value(task, source, record, frame);
    if (e) {
        return e;
    }
    *ret_place = source->time_place;
    fields_resolve(&task->pipeline->segments[source->segment]->fields, in->doc, frame->slots);
    e = event_time_read(in->doc ? &source->time : &of_record, frame->slots, record,
                        &in->timestamp_ms, &task->why);
    if (!e && source->has_key && !record->key.ptr && in->doc) {
        *ret_place = source->key_place;
        e = source_key(task, source, frame);
    }
    return e;
}

enum err task_run_source(struct stream_task *task, const struct program_source *source,
                         const struct stream_record *record)
{
    const struct program_segment *segment = task->pipeline->segments[source->segment];
    struct task_frame *frame = frame_take(task);
    struct step_out *in = &frame->in;
    const char *place;
    enum err e = ERR_OK;
    in->watermark_ms = task->watermark.value_ms;
    in->origin = record;
    task->why.text[0] = '\0';
    enum err reason = source_read(task, source, record, frame, &place);
    task->event_ms = in->timestamp_ms;
    if (reason) {
        e = task_refuse(task, in,
                        &(struct task_refusal){segment, place, reason, PIPELINE_DESERIALIZE});
    } else if (!in->doc && source->tombstones == TOMBSTONES_DROPPED) {
        task->stats.filtered++;
        task->is_taken = true;
    } else {
        e = segment_work(task, segment, in, in->doc, frame);
    }
    frame_give_back(task);
    return e;
}

enum err task_run_time(struct stream_task *task, const struct program_source *source,
                       const struct stream_record *record, int64_t *ret_ms)
{
    const char *place;
    struct task_frame *frame = frame_take(task);
    enum err e = source_read(task, source, record, frame, &place);
    if (!e) {
        *ret_ms = frame->in.timestamp_ms;
    }
    frame_give_back(task);
    return e;
}
