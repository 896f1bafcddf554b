#include "stream/task.h"

#include <stdlib.h>

#include "stream/kept_state.h"
#include "stream/task_inside.h"

/* --- life ---------------------------------------------------------------------------------------*/

static void watermark_open(struct stream_task *task)
{
    const struct pipeline *pipeline = task->pipeline;
    const struct program_stage *stage = &pipeline->stages[task->stage];
    watermark_init(&task->watermark, (unsigned)stage->source_count, 0, 0);
    for (unsigned i = 0; i < stage->source_count; i++) {
        const struct program_source *source = &pipeline->sources[stage->sources[i]];
        watermark_tune(&task->watermark, i, source->delay_ms, source->idle_ms);
        if (source->retry || source->is_apart) {
            watermark_leave_out(&task->watermark, i);
        } else if (source->is_internal) {
            task->senders[i] = must_alloc(sizeof *task->senders[i]);
            task->senders[i]->now.skew_ms = task->senders[i]->committed.skew_ms = source->skew_ms;
        }
    }
    task->watermark_committed = task->watermark;
}

/* Each step's own: made, or freed. */
static void locals_each(struct stream_task *task, bool is_made)
{
    const struct pipeline *pipeline = task->pipeline;
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        const struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; i < segment->step_count; i++) {
            const struct step *step = &segment->steps[i];
            if (!step->kind->new_local || segment->stage != task->stage) {
                continue;
            }
            if (is_made) {
                task->locals[step->local] = step->kind->new_local(step->compiled);
            } else {
                step->kind->free_local(task->locals[step->local]);
            }
        }
    }
}

struct stream_task *stream_task_new(const struct pipeline *pipeline, unsigned stage,
                                    struct stream_table *const *tables, int32_t partition)
{
    CHECK(stage < pipeline->stage_count);
    struct stream_task *task = must_alloc(sizeof *task);
    task->pipeline = pipeline;
    task->stage = stage;
    task->tables = tables;
    task->partition = partition;
    task->now_ms = TIME_NONE;
    task->checker = schema_checker_new();
    for (size_t i = 0; i < pipeline->state_count; i++) {
        const struct program_state *state = &pipeline->states[i];
        task->states[i] = state->stage == stage ? state->kind->new_state(state->step) : NULL;
    }
    task->locals = must_alloc(pipeline->local_count * sizeof *task->locals);
    locals_each(task, true);
    task->counts = must_alloc(pipeline->counter_count * sizeof *task->counts);
    task->counts_committed = must_alloc(pipeline->counter_count * sizeof *task->counts);
    watermark_open(task);
    return task;
}

void stream_task_use(struct stream_task *task, struct stream_table *const *tables)
{
    task->tables = tables;
}

void stream_task_free(struct stream_task *task)
{
    if (!task) {
        return;
    }
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        if (task->states[i]) {
            task->pipeline->states[i].kind->free_state(task->states[i]);
        }
    }
    locals_each(task, false);
    free(task->locals);
    free(task->counts);
    free(task->counts_committed);
    for (size_t i = 0; i < ARRAY_LEN(task->frames); i++) {
        task_frame_free(task->frames[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(task->senders); i++) {
        free(task->senders[i]);
    }
    schema_checker_free(task->checker);
    free(task);
}

/* --- records and time ---------------------------------------------------------------------------*/

/* A record of a topic of the pipeline's own tells how far event time is, whatever became of it. One
 * that a release without such a header has written stands for a sender by itself. */
static void task_hear(struct stream_task *task, const struct program_source *source,
                      const struct stream_record *record)
{
    struct sender sender;
    if (!sender_read(record->note, &sender)) {
        sender = (struct sender){UINT32_MAX, task->event_ms};
        if (!task->is_taken) {
            return;
        }
    }
    watermark_observe(&task->watermark, source->input,
                      senders_hear(&task->senders[source->input]->now, &sender));
}

static void failure_tell(const struct stream_task *task, struct err_info *info)
{
    if (info) {
        *info = task->failure;
    }
}

static enum err process_failed(const struct stream_task *task, enum err e, struct err_info *info)
{
    if (e == ERR_STATE) { /* of a disk: a step has said which and why */
        return err_set(info, e, "%s", err_detail(e, &task->why));
    }
    if (e != ERR_RECORD_WAITS && e != ERR_RECORD_REFUSED) {
        return err_set(info, e, "a record could not be written");
    }
    failure_tell(task, info);
    return e;
}

enum err stream_task_process(struct stream_task *task, const struct stream_record *record,
                             const struct stream_sink *sink, struct err_info *info)
{
    const struct program_source *source = task_source(task, record->source);
    task->sink = sink;
    task->has_records = true;
    task->is_taken = false;
    task->stats.records++;
    task->next_offsets[source->input] = record->offset + 1;
    enum err e = source->retry ? task_run_retry(task, source, record)
                               : task_run_source(task, source, record);
    if (e) {
        return process_failed(task, e, info);
    }
    if (source->retry || source->is_apart) {
        return ERR_OK; /* time went on when it came for the first time, or elsewhere */
    }
    if (source->is_internal) {
        task_hear(task, source, record);
    } else if (task->is_taken) {
        watermark_observe(&task->watermark, source->input, task->event_ms);
    }
    return ERR_OK;
}

enum err stream_task_time(struct stream_task *task, const struct stream_record *record,
                          int64_t *ret_ms)
{
    return task_run_time(task, task_source(task, record->source), record, ret_ms);
}

void stream_task_idle(struct stream_task *task, unsigned source, int64_t now_ms, bool at_end)
{
    watermark_quiet(&task->watermark, task_source(task, source)->input, now_ms, at_end);
}

void stream_task_advance(struct stream_task *task, int64_t watermark_ms)
{
    watermark_raise(&task->watermark, watermark_ms);
}

void stream_task_clock(struct stream_task *task, int64_t now_ms)
{
    task->now_ms = now_ms;
}

/* --- the commit cycle ---------------------------------------------------------------------------*/

bool stream_task_wants_commit(const struct stream_task *task)
{
    bool wants = task->has_records;
    for (size_t i = 0; !wants && i < task->pipeline->state_count; i++) {
        wants =
            task->states[i] && task->pipeline->states[i].kind->wants_commit(
                                   task->states[i], task_state_watermark(task, i), task->now_ms);
    }
    return wants;
}

enum err stream_task_before_commit(struct stream_task *task, const struct stream_sink *sink,
                                   struct err_info *info)
{
    task->sink = sink;
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        const struct program_state *state = &task->pipeline->states[i];
        const struct step_commit commit = {
            .way = {task, state->to, task->pipeline->segments[state->segment]->lag_ms},
            .sink = sink,
            .stats = &task->stats,
            .watermark_ms = task_state_watermark(task, i),
            .now_ms = task->now_ms,
            .next_offsets = task->next_offsets,
            .input_count = task->watermark.input_count,
            .partition = task->partition,
            .changelog_topic = state->changelog_topic,
            .info = info,
        };
        enum err e =
            task->states[i] ? state->kind->before_commit(task->states[i], &commit) : ERR_OK;
        if (e == ERR_RECORD_REFUSED) {
            failure_tell(task, info);
        }
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static void task_senders_settle(struct stream_task *task, bool is_committed)
{
    for (unsigned i = 0; i < task->watermark.input_count; i++) {
        struct task_senders *senders = task->senders[i];
        if (senders && is_committed) {
            senders->committed = senders->now;
        } else if (senders) {
            senders->now = senders->committed;
        }
    }
}

void stream_task_committed(struct stream_task *task)
{
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        if (task->states[i]) {
            task->pipeline->states[i].kind->committed(task->states[i]);
        }
    }
    task->watermark_committed = task->watermark;
    task_senders_settle(task, true);
    task->stats_committed = task->stats;
    memcpy(task->counts_committed, task->counts,
           task->pipeline->counter_count * sizeof *task->counts);
    memcpy(task->next_offsets_committed, task->next_offsets, sizeof task->next_offsets);
    task->has_records = false;
}

void stream_task_aborted(struct stream_task *task)
{
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        if (task->states[i]) {
            task->pipeline->states[i].kind->aborted(task->states[i]);
        }
    }
    task->watermark = task->watermark_committed;
    task_senders_settle(task, false);
    task->stats = task->stats_committed;
    memcpy(task->counts, task->counts_committed,
           task->pipeline->counter_count * sizeof *task->counts);
    memcpy(task->next_offsets, task->next_offsets_committed, sizeof task->next_offsets);
    task->has_records = false;
}

enum err stream_task_restore(struct stream_task *task, size_t store, struct strview key,
                             struct strview value, struct err_info *info)
{
    CHECK(store < task->pipeline->state_count);
    CHECK(task->states[store] != NULL); /* a store of another stage has another task */
    return task->pipeline->states[store].kind->restore(task->states[store], key, value, info);
}

static void *spilling_state(const struct stream_task *task, size_t store)
{
    CHECK(store < task->pipeline->state_count);
    CHECK(task->states[store] && task->pipeline->states[store].kept);
    return task->states[store];
}

void stream_task_spill(struct stream_task *task, size_t store, const struct store_disk *disk,
                       size_t bytes_max)
{
    kept_state_spill(spilling_state(task, store), disk, bytes_max);
}

void stream_task_limit(struct stream_task *task, size_t store, size_t bytes_max)
{
    kept_state_limit(spilling_state(task, store), bytes_max);
}

struct stream_task_stats stream_task_stats(const struct stream_task *task)
{
    struct stream_task_stats stats = task->stats;
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        if (task->states[i]) {
            task->pipeline->states[i].kind->stats(task->states[i], &stats);
        }
    }
    stats.watermark_ms = task->watermark.value_ms;
    stats.timestamp_max_ms = watermark_timestamp_max(&task->watermark);
    return stats;
}

const uint64_t *stream_task_counts(const struct stream_task *task)
{
    return task->counts_committed;
}
