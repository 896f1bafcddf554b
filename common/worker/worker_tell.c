#include "worker/worker_tell.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "worker/worker_status.h"
#include "worker/worker_thread.h"

#define RATE_SECONDS 5.0 /* an older second counts for 1/e of its weight */

static const char *const count_names[TELL_COUNTS] = {
    [TELL_IN] = "in",
    [TELL_OUT] = "out",
    [TELL_FILTERED] = "filtered",
    [TELL_LATE] = "late",
    [TELL_DEAD_LETTERED] = "dead_lettered",
    [TELL_RETRIED] = "retried",
    [TELL_DROPPED] = "dropped",
};

/* --- life ------------------------------------------------------------------------------------------------ */

void worker_tell_open(struct worker_thread *thread)
{
    static const char *const outcomes[] = {
        [PIPELINE_IN] = "in",
        [PIPELINE_FILTERED] = "filtered",
        [PIPELINE_REJECTED] = "rejected",
        [PIPELINE_LATE] = "late",
    };
    const struct pipeline *pipeline = thread->worker->params.pipeline;
    const char *name = pipeline_name(pipeline);
    struct worker_tell *tell = &thread->tell;
    tell->flow_count = pipeline_counter_count(pipeline);
    tell->flow = must_alloc(tell->flow_count * sizeof *tell->flow);
    tell->flow_series = must_alloc(tell->flow_count * sizeof(struct metric_series *));
    for (size_t i = 0; i < tell->flow_count; i++) {
        struct pipeline_counter counter = pipeline_counter_at(pipeline, i);
        tell->flow_series[i] = worker_metrics_flow(name, counter.name, outcomes[counter.outcome]);
    }
    tell->busy_series = worker_metrics_busy(name, thread->index);
    buf_init(&tell->text, STATUS_TEXT_BYTES);
}

void worker_tell_close(struct worker_thread *thread)
{
    free(TAKE(thread->tell.flow));
    free(TAKE(thread->tell.flow_series));
    buf_free(&thread->tell.text);
}

/* --- what happens ------------------------------------------------------------------------------------------ */

/* The one that is like it, a new one, or in place of the one that is longest ago. */
static struct tell_error *error_slot(struct worker_tell *tell, enum err err, const char *what)
{
    struct tell_error *oldest = &tell->errors[0];
    for (size_t i = 0; i < tell->error_count; i++) {
        struct tell_error *error = &tell->errors[i];
        if (error->code == err && strncmp(error->what, what, sizeof error->what - 1) == 0) {
            return error;
        }
        oldest = error->at_ms < oldest->at_ms ? error : oldest;
    }
    struct tell_error *slot =
        tell->error_count < ERRORS_KEPT ? &tell->errors[tell->error_count++] : oldest;
    *slot = (struct tell_error){.code = err};
    (void)snprintf(slot->what, sizeof slot->what, "%s", what);
    return slot;
}

void worker_tell_error(struct worker_thread *thread, enum err err, const char *what,
                       const char *text)
{
    struct tell_error *error = error_slot(&thread->tell, err, what);
    if (text) {
        (void)snprintf(error->text, sizeof error->text, "%s", text);
    }
    error->at_ms = clock_now_ms();
    error->count++;
}

void worker_tell_task(struct worker_thread *thread, const struct stream_task_stats *before,
                      const struct stream_task_stats *now)
{
    struct tell_rate *counts = thread->tell.counts;
    counts[TELL_FILTERED].count += now->filtered - before->filtered;
    counts[TELL_LATE].count += now->late - before->late;
    counts[TELL_RETRIED].count += now->retried - before->retried;
}

void worker_tell_commit(struct worker_thread *thread)
{
    struct worker_tell *tell = &thread->tell;
    tell->counts[TELL_IN].count += (uint64_t)thread->cycle.records;
    tell->counts[TELL_OUT].count +=
        (uint64_t)worker_output_counts(thread->output)->records[STREAM_OUTPUT];
    for (int code = 0; thread->cycle.has_refusals && code < ERR_COUNT; code++) {
        tell->counts[TELL_DEAD_LETTERED].count += (uint64_t)thread->cycle.dead_letters[code];
    }
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        const uint64_t *now = task->stream ? stream_task_counts(task->stream) : NULL;
        for (size_t n = 0; now && n < tell->flow_count; n++) {
            tell->flow[n].count += now[n] - task->flow_told[n];
            task->flow_told[n] = now[n];
        }
    }
    tell->commit_us[tell->commits++ % COMMITS_KEPT] = thread->commit_cost_us;
    tell->committing_us += thread->commit_cost_us;
    tell->committed_ms = clock_now_ms();
}

/* --- rates --------------------------------------------------------------------------------------------------- */

/* Exponentially weighted; what it has gained. */
static uint64_t rate_step(struct tell_rate *rate, double seconds)
{
    uint64_t gained = rate->count - rate->before;
    double weight = 1 - exp(-seconds / RATE_SECONDS);
    rate->per_second += weight * ((double)gained / seconds - rate->per_second);
    rate->per_second = rate->per_second < 1e-3 ? 0 : rate->per_second; /* no tail without an end */
    rate->before = rate->count;
    return gained;
}

static void rates_step(struct worker_thread *thread, int64_t elapsed_us)
{
    struct worker_tell *tell = &thread->tell;
    double seconds = (double)elapsed_us / 1e6;
    for (int i = 0; i < TELL_COUNTS; i++) {
        (void)rate_step(&tell->counts[i], seconds);
    }
    for (size_t i = 0; i < tell->flow_count; i++) {
        metric_add(tell->flow_series[i], (int64_t)rate_step(&tell->flow[i], seconds));
    }
    double waited = (double)(tell->waited_us - tell->waited_before_us) / (double)elapsed_us;
    double committing =
        (double)(tell->committing_us - tell->committing_before_us) / (double)elapsed_us;
    tell->busy = waited > 1 ? 0 : 1 - waited;
    tell->committing = committing > 1 ? 1 : committing;
    tell->waited_before_us = tell->waited_us;
    tell->committing_before_us = tell->committing_us;
    metric_set(tell->busy_series, tell->busy);
}

static int compare_int64(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int64_t commit_p95_us(const struct worker_tell *tell)
{
    int64_t sorted[COMMITS_KEPT];
    size_t count = tell->commits < COMMITS_KEPT ? (size_t)tell->commits : COMMITS_KEPT;
    if (count == 0) {
        return 0;
    }
    memcpy(sorted, tell->commit_us, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_int64);
    return sorted[(count * 95 - 1) / 100];
}

/* --- the text -------------------------------------------------------------------------------------------------- */

/* The first failure, which is that the text is too long, is the answer. */
struct page {
    struct buf *out;
    enum err err;
};

#define ADD(page, ...)                                                                             \
    ((page)->err = (page)->err ? (page)->err : buf_printf((page)->out, __VA_ARGS__))

static void add_string(struct page *page, const char *text)
{
    page->err = page->err ? page->err : buf_append_json_string(page->out, sv(text));
}

/* A number, or null for one that is not known. */
static void add_known(struct page *page, const char *name, bool is_known, int64_t value)
{
    if (is_known) {
        ADD(page, ",\"%s\":%" PRId64, name, value);
    } else {
        ADD(page, ",\"%s\":null", name);
    }
}

static void text_counts(struct page *page, const struct worker_tell *tell)
{
    ADD(page, ",\"counts\":{");
    for (int i = 0; i < TELL_COUNTS; i++) {
        ADD(page, "%s\"%s\":%" PRIu64, i ? "," : "", count_names[i], tell->counts[i].count);
    }
    ADD(page, "},\"rates\":{");
    for (int i = 0; i < TELL_COUNTS; i++) {
        ADD(page, "%s\"%s\":%.3f", i ? "," : "", count_names[i], tell->counts[i].per_second);
    }
    ADD(page, "},\"flow\":[");
    for (size_t i = 0; i < tell->flow_count; i++) {
        ADD(page, "%s[%" PRIu64 ",%.3f]", i ? "," : "", tell->flow[i].count,
            tell->flow[i].per_second);
    }
    ADD(page, "]");
}

static void text_errors(struct page *page, const struct worker_tell *tell)
{
    ADD(page, ",\"errors\":[");
    for (size_t i = 0; i < tell->error_count; i++) {
        const struct tell_error *error = &tell->errors[i];
        ADD(page, "%s{\"code\":\"%s\",\"during\":", i ? "," : "", err_name(error->code));
        add_string(page, error->what);
        ADD(page, ",\"text\":");
        add_string(page, error->text);
        ADD(page, ",\"at\":%" PRId64 ",\"count\":%" PRId64 "}", error->at_ms, error->count);
    }
    ADD(page, "]");
}

static void text_inputs(struct page *page, const struct worker_thread *thread,
                        const struct worker_task *task)
{
    ADD(page, ",\"inputs\":[");
    bool is_first = true;
    for (unsigned i = 0; i < task->input_count; i++) {
        const struct worker_input *input = &task->inputs[i];
        if (!input->is_owned) {
            continue;
        }
        ADD(page, "%s{\"topic\":", is_first ? "" : ",");
        add_string(page, worker_input_topic(thread, input));
        add_known(page, "next", input->next >= 0, input->next);
        add_known(page, "lag", input->lag_records >= 0, input->lag_records);
        add_known(page, "lag_ms", input->lag_ms >= 0, input->lag_ms);
        ADD(page, "}");
        is_first = false;
    }
    ADD(page, "]");
}

static const char *task_word(const struct worker_thread *thread, const struct worker_task *task)
{
    static const char *const words[] = {
        [TASK_ABSENT] = "absent",       [TASK_PARKED] = "parked",  [TASK_HELD] = "held",
        [TASK_RESTORING] = "restoring", [TASK_ACTIVE] = "running",
    };
    return thread->is_recovering && task->state == TASK_ACTIVE ? "recovering" : words[task->state];
}

static void text_task(struct page *page, const struct worker_thread *thread,
                      const struct worker_task *task, int64_t now_ms)
{
    const struct stream_task_stats *stats = &task->stats;
    ADD(page, "{\"stage\":%u,\"partition\":%d,\"state\":\"%s\"", task->stage, task->partition,
        task_word(thread, task));
    text_inputs(page, thread, task);
    bool has_time = task->stream && stats->watermark_ms != INT64_MIN;
    add_known(page, "watermark", has_time, stats->watermark_ms);
    add_known(page, "watermark_delay_ms", has_time, has_time ? now_ms - stats->watermark_ms : 0);
    ADD(page,
        ",\"records\":%" PRIu64 ",\"keys\":%" PRIu64 ",\"state_bytes\":%" PRIu64
        ",\"windows\":%" PRIu64,
        stats->records, stats->keys, stats->state_bytes, stats->windows_open);
    if (task->state == TASK_RESTORING) {
        ADD(page, ",\"restore\":{\"position\":%" PRId64 ",\"end\":%" PRId64 "}",
            task->restore_position, task->restore_end);
    }
    ADD(page, "}");
}

static void text_tasks(struct page *page, const struct worker_thread *thread)
{
    size_t told = 0, left_out = 0;
    int64_t now_ms = clock_now_ms();
    ADD(page, ",\"tasks\":[");
    for (size_t i = 0; i < thread->task_count; i++) {
        const struct worker_task *task = thread->tasks[i];
        bool is_here = task->state == TASK_HELD || task->state >= TASK_RESTORING;
        if (is_here && told < TASKS_TOLD) {
            ADD(page, "%s", told++ ? "," : "");
            text_task(page, thread, task, now_ms);
        } else {
            left_out += is_here;
        }
    }
    ADD(page, "],\"left_out\":%zu", left_out);
}

static const char *thread_word(const struct worker_thread *thread)
{
    static const char *const words[] = {
        [PHASE_TOPICS] = "topics",   [PHASE_TABLES] = "tables",
        [PHASE_JOINING] = "joining", [PHASE_RESTORING] = "restoring",
        [PHASE_RUNNING] = "running", [PHASE_RECOVERING] = "recovering",
        [PHASE_STOPPED] = "stopped", [PHASE_PAUSED] = "paused",
    };
    return thread->has_failed ? "failed"
                              : words[atomic_load_explicit(&thread->phase, memory_order_relaxed)];
}

static enum err text_all(struct worker_thread *thread)
{
    struct worker_tell *tell = &thread->tell;
    struct page page = {&tell->text, ERR_OK};
    int64_t last_us = tell->commits ? tell->commit_us[(tell->commits - 1) % COMMITS_KEPT] : 0;
    buf_reset(&tell->text);
    ADD(&page, "\"told\":%" PRId64 ",\"state\":\"%s\",\"busy\":%.3f,\"committing\":%.3f",
        clock_now_ms(), thread_word(thread), tell->busy, tell->committing);
    ADD(&page,
        ",\"commits\":{\"count\":%" PRId64 ",\"aborts\":%" PRId64 ",\"at\":%" PRId64
        ",\"last_ms\":%.3f,\"p95_ms\":%.3f},\"producers_lost\":%" PRId64,
        tell->commits, tell->aborts, tell->committed_ms, (double)last_us / 1e3,
        (double)commit_p95_us(tell) / 1e3, worker_output_rebuilds(thread->output));
    text_counts(&page, tell);
    text_errors(&page, tell);
    text_tasks(&page, thread);
    if (thread->worker->standby && thread->index == 0) { /* they are the worker's */
        ADD(&page, ",");
        page.err = page.err ? page.err : worker_standby_text(thread->worker->standby, page.out);
    }
    return page.err;
}

void worker_tell_step(struct worker_thread *thread, int64_t now_us)
{
    struct worker_tell *tell = &thread->tell;
    if (tell->told_us > 0 && now_us > tell->told_us) {
        rates_step(thread, now_us - tell->told_us);
    }
    tell->told_us = now_us;
    if (thread->worker->status && text_all(thread) == ERR_OK) { /* else: what it said before */
        worker_status_put(thread->worker->status, thread->index, buf_view(&tell->text));
    }
}
