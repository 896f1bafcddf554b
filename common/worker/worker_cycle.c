/* The commit cycle of a thread: what its tasks write, and one commit or one abort for all of it. */
#include "worker/worker_thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "log/log.h"
#include "worker/worker_crash.h"

/* --- what tasks write ------------------------------------------------------------------------------------ */

static struct strview header_of(const struct stream_out *out, const char *name)
{
    for (size_t i = 0; i < out->header_count; i++) {
        if (strcmp(out->headers[i].name, name) == 0) {
            return out->headers[i].value;
        }
    }
    return (struct strview){NULL, 0};
}

/* All are counted; the words are those of the first one of a cycle. */
static void refusal_tell(struct worker_thread *thread, const struct stream_out *out, enum err code,
                         bool is_first)
{
    char step[80], text[ERROR_TEXT_BYTES];
    (void)snprintf(step, sizeof step, "%.*s", SV_ARG(header_of(out, "millrace-step")));
    if (is_first) {
        (void)snprintf(text, sizeof text, "%.*s",
                       SV_ARG(header_of(out, "__streams.errors.message")));
    }
    worker_tell_error(thread, code, step, is_first ? text : NULL);
}

static void refusal_count(struct worker_thread *thread, const struct stream_out *out)
{
    int64_t *counts =
        out->target == STREAM_SKIPPED ? thread->cycle.skipped : thread->cycle.dead_letters;
    for (size_t i = 0; i < out->header_count; i++) {
        if (strcmp(out->headers[i].name, "millrace-error-code") != 0) {
            continue;
        }
        for (int code = 0; code < ERR_COUNT; code++) {
            if (sv_equal(sv(err_name((enum err)code)), out->headers[i].value)) {
                bool is_first = counts[code]++ == 0;
                refusal_tell(thread, out, (enum err)code, is_first);
                thread->cycle.has_refusals = true;
            }
        }
    }
}

static bool is_refused(enum err e)
{
    return e == ERR_RECORD_TOO_LARGE || e == ERR_KAFKA_REJECTED;
}

/* A record that grew too large, or that its topic refuses, goes to the dead letters; without its value
 * when even that does not fit: the headers say where the original is. A result that has no original
 * leaves its key there. */
static enum err refused_emit(struct worker_thread *thread, const struct stream_out *out,
                             enum err code, const struct err_info *reason, struct err_info *info)
{
    const struct pipeline *pipeline = thread->worker->params.pipeline;
    const struct stream_record *source = out->source;
    char partition[16] = "", offset[24] = "";
    if (source) {
        (void)snprintf(partition, sizeof partition, "%d", source->partition);
        (void)snprintf(offset, sizeof offset, "%lld", (long long)source->offset);
    }
    const struct stream_header headers[] = {
        {"__streams.errors.exception", sv(err_name(code))},
        {"__streams.errors.message", sv(reason->text)},
        {"__streams.errors.topic", sv(source ? pipeline_source_topic(pipeline, source->source)
                                             : pipeline_topic_name(pipeline, out->topic))},
        {"__streams.errors.stacktrace", SV("at output")},
        {"millrace-error-code", sv(err_name(code))},
        {"millrace-error-class", sv(pipeline_class_name(PIPELINE_PRODUCE))},
        {"millrace-pipeline", sv(pipeline_name(pipeline))},
        {"millrace-step", SV("output")},
        {"__streams.errors.partition", sv(partition)},
        {"__streams.errors.offset", sv(offset)},
    };
    struct stream_out letter = {
        .target = STREAM_DEAD_LETTER,
        .topic = (uint16_t)pipeline_source_dead_letter(pipeline, source ? source->source : 0),
        .partition = -1,
        .key = source ? source->key : out->key,
        .value = source ? source->value : (struct strview){NULL, 0},
        .timestamp_ms = source ? source->timestamp_ms : out->timestamp_ms,
        .headers = headers,
        .header_count = ARRAY_LEN(headers) - (source ? 0 : 2),
        .source = source,
    };
    enum err e = ERR_OK;
    if (pipeline_policy(pipeline, PIPELINE_PRODUCE) == PIPELINE_SKIP) {
        letter.target = STREAM_SKIPPED;
    } else {
        e = worker_output_emit(thread->output, &letter, info);
    }
    if (is_refused(e)) {
        letter.value = (struct strview){NULL, 0};
        e = worker_output_emit(thread->output, &letter, info);
    }
    refusal_count(thread, &letter);
    return e;
}

/* What nobody takes: the same would happen again and again. */
static enum err refused_fail(struct worker_thread *thread, enum err e, const char *what,
                             const struct err_info *reason)
{
    struct err_info info = {0};
    (void)err_set(&info, e, "%s: %s", reason->text, what);
    worker_thread_fail(thread, e, &info);
    return e;
}

/* What the producer did not take. */
static enum err emit_failed(struct worker_thread *thread, const struct stream_out *out, enum err e,
                            struct err_info *info)
{
    if (is_refused(e)) {
        const struct pipeline *pipeline = thread->worker->params.pipeline;
        struct err_info reason = *info;
        if (out->target == STREAM_CHANGELOG) {
            e = refused_fail(thread, ERR_STATE, "the pipeline's state cannot be kept", &reason);
        } else if (pipeline_policy(pipeline, PIPELINE_PRODUCE) == PIPELINE_FAIL) {
            e = refused_fail(thread, ERR_RECORD_REFUSED, "`errors` say that nothing goes on",
                             &reason);
        } else {
            e = refused_emit(thread, out, e, &reason, info);
        }
    }
    if (is_refused(e)) {
        e = refused_fail(thread, e, "nor can it be a dead letter", info);
    }
    if (e) {
        log_event(LOG_WARN, "emit_failed", err_detail(e, info), KV("thread", thread->label),
                  KV("err", err_name(e)));
        worker_tell_error(thread, e, "emit", err_detail(e, info));
    }
    return e;
}

/* The thread's own info: to clear one of half a kilobyte for each record costs 4 % of an enrichment. */
enum err worker_emit(void *context, const struct stream_out *out)
{
    struct worker_thread *thread = context;
    if (out->target == STREAM_SKIPPED) {
        refusal_count(thread, out);
        return ERR_OK;
    }
    enum err e = worker_output_emit(thread->output, out, &thread->why);
    if (out->target == STREAM_DEAD_LETTER) {
        refusal_count(thread, out);
    } else if (out->target == STREAM_CHANGELOG && thread->worker->local) {
        worker_keep_record(thread, out);
    }
    crash_point(CRASH_BETWEEN_OUTPUTS);
    return e ? emit_failed(thread, out, e, &thread->why) : ERR_OK;
}

/* --- opening, aborting ------------------------------------------------------------------------------------- */

static void cycle_close(struct worker_thread *thread)
{
    thread->cycle.is_open = false;
    thread->cycle.records = 0;
    if (thread->cycle.has_refusals) {
        memset(thread->cycle.dead_letters, 0, sizeof thread->cycle.dead_letters);
        memset(thread->cycle.skipped, 0, sizeof thread->cycle.skipped);
        thread->cycle.has_refusals = false;
    }
}

/* The producer is gone. Deltas stay until it is known whether they were committed. */
static void cycle_lose(struct worker_thread *thread)
{
    cycle_close(thread);
    thread->is_recovering = true;
    worker_tasks_pause(thread);
    atomic_store_explicit(&thread->phase, PHASE_RECOVERING, memory_order_relaxed);
    metric_add(thread->worker->metrics.producer_rebuilds, 1);
}

enum err worker_cycle_open(struct worker_thread *thread)
{
    if (thread->cycle.is_open) {
        return ERR_OK;
    }
    enum err e = worker_output_begin(thread->output);
    thread->cycle.is_open = true;
    thread->cycle.opened_us = clock_mono_us();
    return e;
}

enum err worker_cycle_abort(struct worker_thread *thread)
{
    if (!thread->cycle.is_open) {
        return ERR_OK;
    }
    metric_add(thread->worker->metrics.aborts, 1);
    thread->tell.aborts++;
    enum err e = worker_output_abort(thread->output);
    crash_point(CRASH_AFTER_ABORT);
    if (e) {
        cycle_lose(thread);
        return e;
    }
    for (size_t i = 0; i < thread->task_count; i++) {
        worker_task_resolve(thread->tasks[i], false);
    }
    cycle_close(thread);
    return ERR_TXN_ABORT;
}

enum err worker_cycle_fail(struct worker_thread *thread, enum err e, const char *what,
                           const struct err_info *info)
{
    log_event(LOG_WARN, "cycle_failed", err_detail(e, info), KV("during", what),
              KV("err", err_name(e)), KV("thread", thread->label));
    worker_tell_error(thread, e, what, err_detail(e, info));
    if (e == ERR_RECORD_REFUSED || e == ERR_STATE) { /* what was committed before it stays */
        worker_thread_fail(thread, e, info);
    }
    if (!worker_output_is_ready(thread->output)) {
        metric_add(thread->worker->metrics.aborts, 1);
        thread->tell.aborts++;
        cycle_lose(thread);
        return ERR_KAFKA_FATAL;
    }
    return worker_cycle_abort(thread);
}

/* The record may have got to an output or a store before it was refused, so that what is committed
 * has to end before it: what was done since the last commit is dropped, and done again as far as here
 * while it waits. */
enum err worker_cycle_wait(struct worker_thread *thread, struct worker_input *input, int64_t offset,
                           const struct err_info *info)
{
    unsigned tries = input->wait.offset == offset ? input->wait.tries : 0;
    int64_t wait_ms = pipeline_wait_ms(thread->worker->params.pipeline, tries);
    input->wait.offset = offset;
    input->wait.tries = tries + 1;
    input->wait.due_us = clock_mono_us() + wait_ms * 1000;
    log_event(LOG_INFO, "record_waits", err_detail(ERR_RECORD_WAITS, info),
              KV("thread", thread->label), KV("tries", (int64_t)tries + 1), KV("wait_ms", wait_ms));
    worker_tell_error(thread, ERR_RECORD_WAITS, "process", err_detail(ERR_RECORD_WAITS, info));
    metric_add(thread->worker->metrics.waits, 1);
    return worker_cycle_abort(thread);
}

/* --- committing -------------------------------------------------------------------------------------------- */

/* Whether there is a place to commit: the metadata travels with one. */
static bool task_has_place(const struct worker_task *task)
{
    for (unsigned i = 0; i < task->input_count; i++) {
        if (task->inputs[i].next >= 0) {
            return true;
        }
    }
    return false;
}

bool worker_task_has_news(const struct worker_task *task)
{
    return task->state == TASK_ACTIVE &&
           (task->is_touched || stream_task_wants_commit(task->stream)) && task_has_place(task);
}

bool worker_task_has_moved(const struct worker_task *task)
{
    for (unsigned i = 0; task->state == TASK_ACTIVE && i < task->input_count; i++) {
        if (task->inputs[i].next >= 0 && task->inputs[i].next != task->inputs[i].committed.offset) {
            return true;
        }
    }
    return false;
}

static enum err tasks_before_commit(struct worker_thread *thread, struct err_info *info)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        if (!worker_task_has_news(task)) {
            continue;
        }
        task->is_provisional = true;
        task->is_touched = true;
        enum err e = stream_task_before_commit(task->stream, &thread->sink, info);
        if (e) {
            return e;
        }
        crash_point(CRASH_BETWEEN_CHANGELOGS);
    }
    return ERR_OK;
}

/* Where the task goes on from: all of its inputs, since each place carries what is known of all. */
static void offsets_add(struct worker_thread *thread, struct worker_task *task,
                        rd_kafka_topic_partition_list_t *list)
{
    task->is_sent = task->is_provisional = true;
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        input->is_sent = input->next >= 0;
        if (!input->is_sent) {
            continue;
        }
        input->sent.offset = input->next;
        size_t bytes = stream_task_metadata(task->stream, input->source, input->sent.metadata);
        rd_kafka_topic_partition_t *element = rd_kafka_topic_partition_list_add(
            list, worker_input_topic(thread, input), task->partition);
        element->offset = input->sent.offset;
        element->metadata = must_strdup(input->sent.metadata); /* the list frees it */
        element->metadata_size = bytes;
    }
}

static rd_kafka_topic_partition_list_t *offsets_list(struct worker_thread *thread)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)thread->task_count);
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        if (task->is_touched || worker_task_has_moved(task)) {
            offsets_add(thread, task, list);
        }
    }
    return list;
}

static void task_tell(struct worker_thread *thread, struct worker_task *task)
{
    struct worker_metrics *metrics = &thread->worker->metrics;
    struct stream_task_stats now = stream_task_stats(task->stream);
    metric_add(metrics->joined, (int64_t)(now.joined - task->told.joined));
    metric_add(metrics->windows_closed, (int64_t)(now.windows_closed - task->told.windows_closed));
    metric_add(metrics->filtered, (int64_t)(now.filtered - task->told.filtered));
    metric_add(metrics->late, (int64_t)(now.late - task->told.late));
    worker_tell_task(thread, &task->told, &now);
    task->told = now;
}

static void cycle_tell(struct worker_thread *thread)
{
    struct worker_metrics *metrics = &thread->worker->metrics;
    const struct worker_output_counts *counts = worker_output_counts(thread->output);
    for (int i = 0; i < STREAM_SKIPPED; i++) {
        metric_add(metrics->records_out[i], counts->records[i]);
    }
    for (int code = 0; thread->cycle.has_refusals && code < ERR_COUNT; code++) {
        worker_metrics_refusals(metrics, (enum err)code, thread->cycle.dead_letters[code],
                                thread->cycle.skipped[code]);
    }
    metric_add(metrics->records_in, thread->cycle.records); /* after what became of them */
    metric_add(metrics->commits, 1);
    metric_observe(metrics->commit_seconds, (double)thread->commit_cost_us / 1e6);
    metric_set(metrics->last_commit, (double)clock_now_ms() / 1e3);
}

static void tasks_apply(struct worker_thread *thread)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        if (!task->is_sent) {
            continue;
        }
        worker_task_resolve(task, true);
        task_tell(thread, task);
        crash_point(CRASH_IN_APPLY);
    }
}

enum err worker_cycle_commit(struct worker_thread *thread)
{
    if (!thread->cycle.is_open) {
        return ERR_OK;
    }
    int64_t began_us = clock_mono_us();
    struct err_info info = {0};
    enum err e = tasks_before_commit(thread, &info);
    if (e) {
        return worker_cycle_fail(thread, e, "before commit", &info);
    }
    crash_point(CRASH_BEFORE_FLUSH);
    PARTITION_LIST offsets = offsets_list(thread);
    e = worker_output_commit(thread->output, thread->consumer, offsets, &info);
    if (e) {
        return worker_cycle_fail(thread, e, "commit", &info);
    }
    crash_point(CRASH_AFTER_COMMIT);
    tasks_apply(thread);
    thread->committed_us = clock_mono_us();
    thread->commit_cost_us = thread->committed_us - began_us;
    cycle_tell(thread);
    worker_tell_commit(thread);
    cycle_close(thread);
    crash_point(CRASH_AFTER_APPLY);
    worker_keep_places(thread, false);
    return ERR_OK;
}
