#include "worker/worker_thread.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "log/log.h"

/* --- which are here ------------------------------------------------------------------------------------- */

static void index_grow(struct task_index *index, int32_t count)
{
    if (count <= index->count) {
        return;
    }
    index->tasks = must_realloc(index->tasks, (size_t)count * sizeof(struct worker_task *));
    for (int32_t i = index->count; i < count; i++) {
        index->tasks[i] = NULL;
    }
    index->count = count;
}

static struct worker_task *task_new(struct worker_thread *thread, unsigned number,
                                    int32_t partition)
{
    const struct worker *worker = thread->worker;
    const struct plan_stage *stage = &worker->plan->stages[number];
    struct worker_task *task =
        must_alloc(sizeof *task + stage->input_count * sizeof(struct worker_input));
    task->stage = number;
    task->partition = partition;
    task->input_count = stage->input_count;
    task->copy_count = worker->plan->store_count;
    task->copies = must_alloc((task->copy_count + 1) * sizeof(struct local_copy *));
    task->spills = must_alloc((task->copy_count + 1) * sizeof(struct spill_rows *));
    task->flow_told =
        must_alloc(pipeline_counter_count(worker->params.pipeline) * sizeof(uint64_t));
    if (stage->ordered_count > 0) {
        input_order_init(&task->order, stage->ordered_count, worker->params.config->input_wait_ms);
    }
    for (unsigned i = 0; i < stage->input_count; i++) {
        task->inputs[i] =
            (struct worker_input){.task = task,
                                  .source = stage->sources[i],
                                  .is_retry = worker->plan->sources[stage->sources[i]].is_retry,
                                  .committed.offset = OFFSET_NONE,
                                  .next = OFFSET_NONE,
                                  .wait.offset = OFFSET_NONE,
                                  .seen_ms = -1,
                                  .lag_records = -1,
                                  .lag_ms = -1};
    }
    return task;
}

struct worker_task *worker_task_get(struct worker_thread *thread, unsigned stage, int32_t partition)
{
    struct task_index *index = &thread->index_of_stage[stage];
    index_grow(index, partition + 1);
    if (!index->tasks[partition]) {
        if (thread->task_count == thread->task_capacity) {
            thread->task_capacity = thread->task_capacity ? thread->task_capacity * 2 : 16;
            thread->tasks =
                must_realloc(thread->tasks, thread->task_capacity * sizeof(struct worker_task *));
        }
        index->tasks[partition] = task_new(thread, stage, partition);
        thread->tasks[thread->task_count++] = index->tasks[partition];
    }
    return index->tasks[partition];
}

struct worker_input *worker_input_find(const struct worker_thread *thread, unsigned source,
                                       int32_t partition)
{
    const struct plan_source *plan = &thread->worker->plan->sources[source];
    const struct task_index *index = &thread->index_of_stage[plan->stage];
    if (partition < 0 || partition >= index->count || !index->tasks[partition]) {
        return NULL;
    }
    return &index->tasks[partition]->inputs[plan->input];
}

const char *worker_input_topic(const struct worker_thread *thread, const struct worker_input *input)
{
    return thread->worker->plan->sources[input->source].topic;
}

void worker_tasks_free(struct worker_thread *thread)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        worker_task_clear(thread, thread->tasks[i]);
    }
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        for (unsigned n = 0; n < task->input_count; n++) {
            worker_input_close(&task->inputs[n]);
        }
        free(task->flow_told);
        free(task->copies);
        free(task->spills);
        free(task);
    }
    for (unsigned i = 0; i < thread->worker->plan->stage_count; i++) {
        free(TAKE(thread->index_of_stage[i].tasks));
        thread->index_of_stage[i].count = 0;
    }
    free(TAKE(thread->tasks));
    thread->task_count = thread->task_capacity = 0;
}

/* --- one task --------------------------------------------------------------------------------------------- */

void worker_task_clear(struct worker_thread *thread, struct worker_task *task)
{
    const struct plan_stage *stage = worker_stage(thread, task);
    for (unsigned i = 0; i < stage->store_count && task->state == TASK_RESTORING; i++) {
        worker_restore_remove(thread->restore, stage->stores[i], task->partition);
    }
    worker_keep_close(thread, task);
    worker_standby_give(thread->worker->standby, task->stage, task->partition);
    stream_task_free(TAKE(task->stream));
    worker_memory_close(thread, task);
    task->state = TASK_ABSENT;
    task->is_touched = task->is_provisional = task->is_sent = false;
    if (task->has_metrics) { /* another instance tells from here on */
        metric_set(task->metrics.restore_left, 0);
        metric_set(task->metrics.state_bytes, 0);
        metric_set(task->metrics.state_keys, 0);
        metric_set(task->metrics.windows_open, 0);
        metric_set(task->metrics.spilled, 0);
    }
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        worker_input_drop(input);
        input->is_touched = input->is_sent = false;
        if (input->lag) {
            metric_set(input->lag, 0);
            metric_set(input->lag_seconds, 0);
        }
        input->seen_ms = input->lag_records = input->lag_ms = -1;
    }
}

void worker_task_resolve(struct worker_task *task, bool is_committed)
{
    if (!task->is_provisional) {
        return;
    }
    if (is_committed) {
        stream_task_committed(task->stream);
    } else {
        stream_task_aborted(task->stream);
    }
    worker_keep_settle(task, is_committed);
    task->is_provisional = task->is_touched = task->is_sent = false;
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        if (is_committed && input->is_sent) {
            input->committed = input->sent;
        }
        input->is_touched = input->is_sent = false;
    }
}

static void metrics_open(struct worker_thread *thread, struct worker_task *task)
{
    const char *pipeline = thread->worker->metrics.pipeline;
    if (!task->has_metrics) {
        task->metrics = worker_metrics_task(pipeline, task->stage, task->partition);
        task->has_metrics = true;
    }
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        if (input->is_owned && !input->lag) {
            worker_metrics_lag(pipeline, worker_input_topic(thread, input), task->partition,
                               &input->lag, &input->lag_seconds);
        }
    }
}

/* Whether the store's changelog is the one that was followed, and has the place. */
static bool is_standby_right(struct worker_thread *thread, unsigned store, int32_t partition,
                             const struct standby_place *place)
{
    const struct worker *worker = thread->worker;
    const char *topic = pipeline_store_changelog(worker->params.pipeline, store);
    struct err_info info = {0};
    uint32_t epoch;
    enum err e = worker_keep_epoch(thread, store, &epoch, &info);
    if (e || epoch != place->epoch) {
        log_event(LOG_WARN, "standby_stale",
                  e ? err_detail(e, &info)
                    : "the changelog was made anew since it was followed: all of it is read",
                  KV("topic", topic), KV("partition", partition));
        return false;
    }
    return worker_restore_has(thread->restore, store, partition, place->offset, "standby_stale");
}

/* What was followed of the task while it was another's; NULL: all is to be read. */
static struct stream_task *standby_take(struct worker_thread *thread, struct worker_task *task,
                                        struct standby_place *places)
{
    const struct worker *worker = thread->worker;
    const struct plan_stage *stage = worker_stage(thread, task);
    struct stream_task *taken =
        worker_standby_take(worker->standby, task->stage, task->partition, task->copies, places);
    bool is_right = taken != NULL;
    for (unsigned i = 0; is_right && i < stage->store_count; i++) {
        unsigned store = stage->stores[i];
        is_right = is_standby_right(thread, store, task->partition, &places[store]);
    }
    if (!is_right) {
        worker_keep_close(thread, task);
        stream_task_free(taken);
        return NULL;
    }
    metric_add(worker->metrics.standby_taken, 1);
    stream_task_use(taken, worker_tables_all(thread->tables));
    return taken;
}

static enum err restores_add(struct worker_thread *thread, struct worker_task *task,
                             const struct standby_place *places, struct err_info *info)
{
    const struct plan_stage *stage = worker_stage(thread, task);
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < stage->store_count; i++) {
        unsigned store = stage->stores[i];
        int64_t offset = places ? places[store].offset : -1;
        struct local_copy *copy =
            offset >= 0 ? task->copies[store] : worker_keep_open(thread, task, store);
        e = worker_restore_add(thread->restore, store, task->partition, copy, offset, info);
    }
    return e;
}

enum err worker_task_start(struct worker_thread *thread, struct worker_task *task,
                           struct err_info *info)
{
    const struct plan_stage *stage = worker_stage(thread, task);
    struct standby_place *places = must_alloc((task->copy_count + 1) * sizeof *places);
    struct stream_task *taken = task->stream = standby_take(thread, task, places);
    if (!taken) {
        task->stream = stream_task_new(thread->worker->params.pipeline, task->stage,
                                       worker_tables_all(thread->tables), task->partition);
    }
    worker_memory_open(thread, task);
    task->told = task->stats = stream_task_stats(task->stream);
    memset(task->flow_told, 0,
           pipeline_counter_count(thread->worker->params.pipeline) * sizeof(uint64_t));
    metrics_open(thread, task);
    task->restores_left = stage->store_count;
    task->state = stage->store_count > 0 ? TASK_RESTORING : TASK_ACTIVE;
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < task->input_count; i++) {
        const struct worker_input *input = &task->inputs[i];
        e = stream_task_restore_metadata(task->stream, input->source, input->committed.metadata,
                                         info);
    }
    e = e ? e : restores_add(thread, task, taken ? places : NULL, info);
    free(places);
    return e;
}

struct strview worker_header(const struct kafka_record_view *record, const char *name)
{
    const struct strview searched = sv(name);
    struct strview left = record->headers, found = {NULL, 0};
    struct kafka_header header;
    for (size_t i = 0; i < record->header_count && kafka_header_read(&left, &header); i++) {
        if (sv_equal(header.name, searched)) {
            found = header.value;
        }
    }
    return found;
}

struct stream_record worker_record(const struct worker_thread *thread,
                                   const struct worker_input *input,
                                   const struct kafka_record_view *record)
{
    const char *note = thread->worker->plan->sources[input->source].note;
    return (struct stream_record){
        .source = input->source,
        .partition = input->task->partition,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .key = record->key,
        .value = record->value,
        .note = note ? worker_header(record, note) : (struct strview){NULL, 0},
        .origin = record,
    };
}

/* --- what is told of it ------------------------------------------------------------------------------------ */

/* Behind in time is as old as the record read last: those that wait for it are younger. */
static void input_gauges(struct worker_thread *thread, struct worker_input *input)
{
    int64_t low, high;
    if (!input->is_owned ||
        rd_kafka_get_watermark_offsets(thread->consumer, worker_input_topic(thread, input),
                                       input->task->partition, &low, &high)) {
        return;
    }
    int64_t next = input->next >= 0 ? input->next : low;
    bool is_behind = !input->is_at_end && next >= 0 && high > next;
    int64_t now_ms = clock_now_ms();
    input->lag_records = is_behind ? high - next : 0;
    input->lag_ms = !is_behind                                       ? 0
                    : input->seen_ms >= 0 && input->seen_ms < now_ms ? now_ms - input->seen_ms
                    : input->seen_ms >= 0                            ? 0
                                                                     : -1;
    metric_set(input->lag, (double)input->lag_records);
    if (input->lag_ms >= 0) {
        metric_set(input->lag_seconds, (double)input->lag_ms / 1e3);
    }
}

void worker_task_gauges(struct worker_thread *thread, struct worker_task *task)
{
    const struct plan_stage *stage = worker_stage(thread, task);
    task->restore_position = task->restore_end = 0;
    for (unsigned i = 0; task->state == TASK_RESTORING && i < stage->store_count; i++) {
        int64_t position, end;
        worker_restore_progress(thread->restore, stage->stores[i], task->partition, &position,
                                &end);
        task->restore_position += position;
        task->restore_end += end;
    }
    metric_set(task->metrics.restore_left, (double)(task->restore_end - task->restore_position));
    for (unsigned i = 0; i < task->input_count; i++) {
        input_gauges(thread, &task->inputs[i]);
    }
    struct stream_task_stats stats = stream_task_stats(task->stream);
    const struct worker_metrics *metrics = &thread->worker->metrics;
    metric_add(metrics->spill_written, (int64_t)(stats.spill_written - task->stats.spill_written));
    metric_add(metrics->spill_read, (int64_t)(stats.spill_read - task->stats.spill_read));
    task->stats = stats;
    if (stats.watermark_ms != INT64_MIN) {
        metric_set(task->metrics.watermark, (double)stats.watermark_ms / 1e3);
    }
    metric_set(task->metrics.state_bytes, (double)stats.state_bytes);
    metric_set(task->metrics.state_keys, (double)stats.keys);
    metric_set(task->metrics.windows_open, (double)stats.windows_open);
    metric_set(task->metrics.spilled, (double)stats.spilled);
}
