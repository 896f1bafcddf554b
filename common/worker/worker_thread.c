/* One worker thread: a loop of short phases around a commit cycle.
 *
 * A cycle opens with the first record (or the first thing a task wants to write), and ends in one
 * commit for everything that the thread has done, or in one abort. It is due
 *   - after commit.interval, commit.records or commit.bytes, or
 *   - earlier while there is little to do: a cycle of few records whose input is drained is committed
 *     as soon as the last commit is EARLY_COMMIT_RATIO times its own cost ago. So a lone order is
 *     visible at once, commits never take more than a ninth of the time, and under load the interval
 *     decides.
 */
#include "worker/worker_thread.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"
#include "worker/worker_crash.h"
#include "worker/worker_topics.h"

#define TICK_US              100000
#define GAUGES_US            1000000
#define EARLY_COMMIT_RATIO   8
#define EARLY_COMMIT_RECORDS 1000
#define IDLE_COMMIT_US       1000000 /* a position that only moved over markers is committed this late */
#define RETRY_PAUSE_MS       500
#define ABORTS_IN_ROW        2     /* from here on a reason is looked for */
#define ORDERED_RECORDS_MAX  1000  /* of one task, before the others have their turn */
#define TURN_RECORDS_MAX     10000 /* of inputs in no order; and what was fetched with the last */

static bool is_stopping(const struct worker_thread *thread)
{
    return atomic_load_explicit(&thread->worker->is_stopping, memory_order_relaxed);
}

static void phase_set(struct worker_thread *thread, enum thread_phase phase)
{
    atomic_store_explicit(&thread->phase, phase, memory_order_relaxed);
}

void worker_thread_fail(struct worker_thread *thread, enum err err, const struct err_info *info)
{
    if (!thread->has_failed) {
        thread->has_failed = true;
        worker_tell_error(thread, err, "end", err_detail(err, info));
        thread->worker->params.on_fatal(thread->worker->params.context, err, info);
    }
}

static bool on_refresh_table(void *context, unsigned table)
{
    struct worker_thread *thread = context;
    (void)table; /* one reader serves all tables: all are brought up to date */
    if (thread->is_refreshed) {
        return false;
    }
    thread->is_refreshed = true;
    return worker_tables_refresh(thread->tables);
}

/* --- the commit cycle -------------------------------------------------------------------------------------- */

/* Aborts again and again may have a reason that does not pass. */
static void reason_check(struct worker_thread *thread)
{
    struct err_info why = {0}, info = {0};
    const struct worker_plan *plan = thread->worker->plan;
    if (worker_output_is_forbidden(thread->output, &info)) {
        worker_thread_fail(thread, ERR_TOPIC_FORBIDDEN, &info);
    } else if (worker_topics_changelogs(plan, thread->consumer, &why) == ERR_TOPIC_UNKNOWN) {
        (void)err_set(&info, ERR_STATE, "a changelog was deleted while it was in use: %s",
                      err_detail(ERR_TOPIC_UNKNOWN, &why));
        worker_thread_fail(thread, ERR_STATE, &info);
    } else if (worker_topics_outputs(plan, thread->consumer, &why) == ERR_TOPIC_UNKNOWN) {
        (void)err_set(&info, ERR_TOPIC_UNKNOWN, "a topic that is written was deleted: %s",
                      err_detail(ERR_TOPIC_UNKNOWN, &why));
        worker_thread_fail(thread, ERR_TOPIC_UNKNOWN, &info);
    }
}

/* In the loop, where an abort means reading the same records again. */
static void cycle_settle(struct worker_thread *thread, enum err e)
{
    thread->aborts_in_row = e == ERR_TXN_ABORT ? thread->aborts_in_row + 1 : 0;
    if (e != ERR_TXN_ABORT) {
        return;
    }
    if (thread->aborts_in_row >= ABORTS_IN_ROW) {
        reason_check(thread);
    }
    worker_tasks_rewind(thread);
}

/* Asked after each record, so that a batch of large ones does not become one cycle. */
static bool is_cycle_full(const struct worker_thread *thread)
{
    const struct worker *worker = thread->worker;
    return thread->cycle.records >= worker->commit_records ||
           worker_output_counts(thread->output)->bytes >= worker->params.config->commit_bytes ||
           worker_output_is_full(thread->output);
}

static bool is_commit_due(const struct worker_thread *thread, int64_t now_us)
{
    int64_t open_us = now_us - thread->cycle.opened_us;
    if (open_us >= thread->worker->params.config->commit_interval_ms * 1000 ||
        is_cycle_full(thread)) {
        return true;
    }
    return thread->cycle.records < EARLY_COMMIT_RECORDS && !thread->has_more &&
           now_us - thread->committed_us >= EARLY_COMMIT_RATIO * thread->commit_cost_us;
}

/* --- phases of a turn ----------------------------------------------------------------------------------------- */

/* How long nothing has to be done by the clock. */
static int turn_timeout_ms(const struct worker_thread *thread)
{
    if (thread->has_more) {
        return 0;
    }
    int64_t now_us = clock_mono_us();
    int64_t until_us = thread->tick_us + TICK_US;
    if (thread->cycle.is_open) {
        int64_t interval_us =
            thread->cycle.opened_us + thread->worker->params.config->commit_interval_ms * 1000;
        int64_t early_us = thread->committed_us + EARLY_COMMIT_RATIO * thread->commit_cost_us;
        bool is_early = thread->cycle.records < EARLY_COMMIT_RECORDS && early_us < interval_us;
        int64_t commit_us = is_early ? early_us : interval_us;
        until_us = commit_us < until_us ? commit_us : until_us;
    }
    return until_us <= now_us ? 0 : (int)((until_us - now_us + 999) / 1000);
}

static void turn_wait(struct worker_thread *thread)
{
    struct pollfd fds[] = {
        {.fd = thread->worker->stop_fd, .events = POLLIN},
        {.fd = thread->queue_fd, .events = POLLIN},
        {.fd = worker_tables_fd(thread->tables), .events = POLLIN}, /* -1 is passed over */
        {.fd = worker_restore_fd(thread->restore), .events = POLLIN},
    };
    int64_t began_us = clock_mono_us();
    (void)poll(fds, ARRAY_LEN(fds), turn_timeout_ms(thread));
    thread->tell.waited_us += clock_mono_us() - began_us;
}

/* --- records ---------------------------------------------------------------------------------------------- */

bool worker_may_process(const struct worker_thread *thread)
{
    return !thread->is_recovering && !thread->has_failed && !thread->must_rewind &&
           !thread->is_paused;
}

static enum err record_take(struct worker_thread *thread, struct worker_input *input,
                            const struct kafka_record_view *fetched, struct err_info *info)
{
    struct worker_task *task = input->task;
    enum err e = worker_cycle_open(thread);
    if (e) {
        return e;
    }
    struct stream_record record = worker_record(thread, input, fetched);
    record.tries = input->wait.offset == fetched->offset ? input->wait.tries : 0;
    task->is_touched = task->is_provisional = input->is_touched = true;
    input->is_at_end = false;
    e = stream_task_process(task->stream, &record, &thread->sink, info);
    if (!e) {
        input->next = fetched->offset + 1;
        input->seen_ms = record.timestamp_ms;
        thread->cycle.records++;
    }
    return e;
}

/* And the commit that it makes due. An error is for cycle_settle. */
static enum err record_process(struct worker_thread *thread, struct worker_input *input,
                               const struct kafka_record_view *record, struct err_info *info)
{
    enum err e = record_take(thread, input, record, info);
    if (e == ERR_RECORD_WAITS) {
        thread->aborts_in_row = -1; /* the one that follows is wanted */
        return worker_cycle_wait(thread, input, record->offset, info);
    }
    if (e) {
        return worker_cycle_fail(thread, e, "process", info);
    }
    if (!is_cycle_full(thread)) {
        return ERR_OK;
    }
    e = worker_cycle_commit(thread);
    if (!e) {
        cycle_settle(thread, e);
    }
    return e;
}

/* The input of an active task that the message is for; NULL: none. */
static struct worker_input *input_of(const struct worker_thread *thread,
                                     const rd_kafka_message_t *message)
{
    const struct worker_plan *plan = thread->worker->plan;
    unsigned source = 0;
    if (plan->source_count > 1) {
        source = worker_plan_find(plan, rd_kafka_topic_name(message->rkt));
        CHECK(source < plan->source_count); /* nothing else was subscribed to */
    }
    struct worker_input *input = worker_input_find(thread, source, message->partition);
    return input && input->task->state == TASK_ACTIVE ? input : NULL;
}

/* What was taken from the consumer in one turn. */
struct turn {
    enum err err; /* the first failure; what comes after it is read again */
    size_t records;
    int64_t dropped;
    struct err_info info;
};

static void fetch_process(struct worker_thread *thread, rd_kafka_message_t *message,
                          struct turn *turn)
{
    struct worker_input *input = input_of(thread, message);
    struct kafka_fetch fetch = {0};
    struct kafka_record_view record;
    if (input && input->queue) { /* it has one of its own, which knows nothing of this */
        thread->must_rewind = true;
    }
    kafka_fetch_open(&fetch, message);
    while (kafka_fetch_next(&fetch, &record)) {
        turn->records++;
        /* Below `next`: fetched twice, around a pause that librdkafka makes for a rebalance. */
        if (turn->err || !input || !worker_may_process(thread) || record.offset < input->next) {
            turn->dropped++;
            continue;
        }
        turn->err = record_process(thread, input, &record, &turn->info);
    }
    worker_fetch_close(thread, input, &fetch);
}

/* Takes what waits and processes it, up to the first failure; whether more may be waiting. */
static bool fetches_process(struct worker_thread *thread, struct turn *turn)
{
    ssize_t taken = rd_kafka_consume_batch_queue(thread->queue, 0, thread->fetches, FETCHES_MAX);
    for (ssize_t i = 0; i < taken; i++) {
        rd_kafka_message_t *message = thread->fetches[i];
        if (!message->err) {
            fetch_process(thread, message, turn);
            continue;
        }
        worker_consumer_event(thread, message);
        rd_kafka_message_destroy(message);
    }
    return taken == FETCHES_MAX;
}

static void clocks_set(struct worker_thread *thread)
{
    int64_t now_ms = clock_now_ms();
    for (size_t i = 0; i < thread->task_count; i++) {
        if (thread->tasks[i]->state == TASK_ACTIVE) {
            stream_task_clock(thread->tasks[i]->stream, now_ms);
        }
    }
}

static void turn_batch(struct worker_thread *thread)
{
    uint64_t ignored;
    (void)!read(thread->queue_fd, &ignored,
                sizeof ignored); /* armed again before the queue is read */
    thread->is_refreshed = false;
    struct turn turn = {0};
    clocks_set(thread);
    do {
        thread->has_more = fetches_process(thread, &turn);
    } while (thread->has_more && !turn.err && worker_may_process(thread) &&
             turn.records < TURN_RECORDS_MAX);
    if (turn.records == 0) {
        return;
    }
    metric_observe(thread->worker->metrics.batch_records, (double)turn.records);
    metric_add(thread->worker->metrics.dropped, turn.dropped);
    thread->tell.counts[TELL_DROPPED].count += (uint64_t)turn.dropped;
    if (turn.err) {
        cycle_settle(thread, turn.err);
    }
    crash_point(CRASH_AFTER_PROCESS);
}

/* Whether the record is still to be waited for. When it is due it has a cycle of its own, so that no
 * more is done again when it is refused once more. */
static bool is_waiting(struct worker_thread *thread, const struct worker_input *input,
                       const struct kafka_record_view *record)
{
    if (input->wait.offset != record->offset) {
        return false;
    }
    if (clock_mono_us() < input->wait.due_us) {
        return true;
    }
    enum err e = worker_cycle_commit(thread);
    cycle_settle(thread, e);
    return e != ERR_OK; /* the record is gone: it will be read again */
}

/* The records of one task that reads its inputs in order; how many. */
static size_t task_process_ordered(struct worker_thread *thread, struct worker_task *task,
                                   int64_t now_ms)
{
    struct err_info info = {0};
    struct worker_input *input;
    const struct kafka_record_view *record;
    size_t count = 0;
    worker_order_look(thread, task, now_ms);
    while (count < ORDERED_RECORDS_MAX && worker_may_process(thread) &&
           (record = worker_order_next(task, now_ms, &input)) != NULL &&
           !is_waiting(thread, input, record)) {
        enum err e = record_process(thread, input, record, &info);
        if (e) {
            cycle_settle(thread, e);
            break; /* what was taken ahead is dropped */
        }
        worker_order_advance(thread, input, now_ms);
        count++;
    }
    thread->has_more = thread->has_more || count == ORDERED_RECORDS_MAX;
    return count;
}

/* The records of inputs with queues of their own, in no order, as far as they need not wait; how
 * many. */
static size_t task_process_due(struct worker_thread *thread, struct worker_task *task)
{
    struct err_info info = {0};
    const struct kafka_record_view *record;
    size_t count = 0;
    int64_t clock_ms = clock_now_ms();
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        while (i >= task->order.count && count < ORDERED_RECORDS_MAX &&
               worker_may_process(thread) &&
               (record = worker_due_next(thread, input, clock_ms)) != NULL &&
               !is_waiting(thread, input, record)) {
            enum err e = record_process(thread, input, record, &info);
            if (e) {
                cycle_settle(thread, e);
                return count; /* what was taken ahead is dropped */
            }
            worker_due_advance(input);
            count++;
        }
    }
    thread->has_more = thread->has_more || count == ORDERED_RECORDS_MAX;
    return count;
}

/* The records of inputs that have queues of their own. */
static void turn_queues(struct worker_thread *thread)
{
    if (!thread->worker->plan->has_queues) {
        return;
    }
    int64_t now_ms = clock_mono_us() / 1000;
    size_t count = 0;
    clocks_set(thread);
    for (size_t i = 0; i < thread->task_count && worker_may_process(thread); i++) {
        struct worker_task *task = thread->tasks[i];
        if (task->state == TASK_ACTIVE && task->order.count > 0) {
            count += task_process_ordered(thread, task, now_ms);
        }
        const struct plan_stage *stage = worker_stage(thread, task);
        if (task->state == TASK_ACTIVE && (stage->retry_count > 0 || stage->waits)) {
            count += task_process_due(thread, task);
        }
    }
    if (count > 0) {
        metric_observe(thread->worker->metrics.batch_records, (double)count);
        crash_point(CRASH_AFTER_PROCESS);
    }
}

/* An input goes on from somewhere else: everything is committed first, so that going back to what is
 * committed does nothing twice. */
static void turn_rewind(struct worker_thread *thread)
{
    if (!thread->must_rewind || thread->is_recovering || thread->has_failed) {
        return;
    }
    if (worker_cycle_commit(thread) != ERR_KAFKA_FATAL) { /* otherwise the recovery does it */
        worker_tasks_rewind(thread);
    }
}

/* Opens a cycle for what has no record: a window that closed by time, a position moved by markers. */
static void turn_idle_news(struct worker_thread *thread, int64_t now_us)
{
    bool may_move = now_us - thread->committed_us >= IDLE_COMMIT_US;
    for (size_t i = 0; i < thread->task_count && !thread->cycle.is_open; i++) {
        const struct worker_task *task = thread->tasks[i];
        if (worker_task_has_news(task) || (may_move && worker_task_has_moved(task))) {
            enum err e = worker_cycle_open(thread);
            if (e) {
                struct err_info info = {0};
                cycle_settle(thread, worker_cycle_fail(thread, e, "begin", &info));
                return;
            }
        }
    }
}

/* Stands still once everything is committed; goes on from there. Meanwhile the thread keeps its place in
 * the group, takes partitions and gives them back, and restores: it only processes nothing. */
static void turn_pause(struct worker_thread *thread)
{
    bool is_wanted = worker_control_is_paused(thread->worker->control);
    if (is_wanted == thread->is_paused || thread->is_recovering || thread->has_failed) {
        return;
    }
    if (is_wanted) {
        enum err e = worker_cycle_commit(thread);
        cycle_settle(thread, e);
        if (e) {
            return; /* the next turn */
        }
        thread->is_paused = true;
    } else {
        thread->is_paused = false;
        worker_tasks_rewind(thread); /* what came meanwhile was dropped */
    }
    worker_tasks_pause(thread);
    metric_set(thread->worker->metrics.paused, thread->is_paused);
    log_event(LOG_INFO, thread->is_paused ? "thread_paused" : "thread_resumed",
              thread->is_paused ? "all is committed: nothing more is processed"
                                : "processing goes on from the committed offsets",
              KV("thread", thread->label));
}

static void turn_commit(struct worker_thread *thread)
{
    if (thread->cycle.is_open && is_commit_due(thread, clock_mono_us())) {
        cycle_settle(thread, worker_cycle_commit(thread));
    }
}

static struct worker_task *restoring_task(const struct worker_thread *thread, unsigned store,
                                          int32_t partition)
{
    unsigned stage = pipeline_store_stage(thread->worker->params.pipeline, store);
    const struct task_index *index = &thread->index_of_stage[stage];
    CHECK(partition >= 0 && partition < index->count); /* nothing else is being restored */
    return index->tasks[partition];
}

static enum err on_restore_record(void *context, unsigned store, int32_t partition,
                                  struct strview key, struct strview value, struct err_info *info)
{
    struct worker_task *task = restoring_task(context, store, partition);
    return task->state == TASK_RESTORING
               ? stream_task_restore(task->stream, store, key, value, info)
               : ERR_OK;
}

static void on_restore_done(void *context, unsigned store, int32_t partition)
{
    struct worker_task *task = restoring_task(context, store, partition);
    CHECK(task->restores_left > 0);
    if (--task->restores_left == 0) {
        worker_task_restored(context, task);
    }
}

/* What the task has by now may be wrong: from the start, and without the copy. */
static void on_restore_copy_lost(void *context, unsigned store, int32_t partition)
{
    struct worker_thread *thread = context;
    struct worker_task *task = restoring_task(thread, store, partition);
    struct err_info info = {0};
    worker_task_clear(thread, task);
    enum err e = worker_task_start(thread, task, &info);
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
}

static void turn_restore(struct worker_thread *thread)
{
    const struct worker_restore_handlers handlers = {on_restore_record, on_restore_done,
                                                     on_restore_copy_lost, thread};
    struct err_info info = {0};
    struct worker_restore_counts counts;
    enum err e = worker_restore_step(thread->restore, &handlers, &counts, &info);
    thread->has_more = thread->has_more || counts.has_more;
    metric_add(thread->worker->metrics.restored_records, (int64_t)counts.records);
    metric_add(thread->worker->metrics.local_rows, (int64_t)counts.rows);
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
}

void worker_phase_update(struct worker_thread *thread)
{
    const struct worker_input *first = worker_input_find(thread, 0, 0);
    if (atomic_load_explicit(&thread->phase, memory_order_relaxed) == PHASE_STOPPED) {
        return; /* what it has left is given back */
    }
    atomic_store_explicit(&thread->has_first, first && first->is_owned, memory_order_relaxed);
    enum thread_phase phase = PHASE_RUNNING;
    if (thread->is_recovering || thread->has_failed) {
        phase = PHASE_RECOVERING;
    } else if (thread->pending || !thread->has_joined || thread->awaits_group) {
        phase = PHASE_JOINING;
    } else if (worker_restore_is_busy(thread->restore)) {
        phase = PHASE_RESTORING;
    } else if (thread->is_paused) {
        phase = PHASE_PAUSED;
    }
    phase_set(thread, phase);
}

/* Tells an idle task that time goes on. */
static void task_tick(struct worker_task *task, int64_t now_ms)
{
    stream_task_clock(task->stream, now_ms);
    for (unsigned i = 0; i < task->input_count; i++) {
        const struct worker_input *input = &task->inputs[i];
        if (input->is_owned && !input->is_touched) {
            stream_task_idle(task->stream, input->source, now_ms, input->is_at_end);
        }
    }
}

/* Ten times a second: time for idle tasks; once a second: gauges. */
static void turn_tick(struct worker_thread *thread)
{
    int64_t now_us = clock_mono_us();
    worker_phase_update(thread);
    if (now_us - thread->tick_us < TICK_US) {
        return;
    }
    thread->tick_us = now_us;
    bool has_gauges = now_us - thread->gauges_us >= GAUGES_US;
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        if (task->state == TASK_ACTIVE && !thread->is_recovering && !thread->is_paused) {
            task_tick(task, clock_now_ms());
        }
        if (has_gauges && task->state >= TASK_RESTORING) {
            worker_task_gauges(thread, task);
        }
    }
    if (has_gauges) {
        thread->gauges_us = now_us;
        worker_tell_step(thread, now_us);
    }
    worker_consumer_check(thread);
    if (!thread->is_recovering && !thread->pending && !thread->is_paused && !thread->has_failed) {
        turn_idle_news(thread, now_us);
        worker_purge_step(thread, now_us);
    }
    worker_output_serve(thread->output);
}

/* --- start and end ----------------------------------------------------------------------------------------------- */

static void pause_or_stop(struct worker_thread *thread, int timeout_ms)
{
    struct pollfd stop = {.fd = thread->worker->stop_fd, .events = POLLIN};
    (void)poll(&stop, 1, timeout_ms);
}

static enum err topics_check(struct worker_thread *thread, struct err_info *info)
{
    const struct worker *worker = thread->worker;
    bool is_fatal = false;
    enum err e =
        worker_topics_ready(worker->plan, &worker->params, thread->consumer, &is_fatal, info);
    if (is_fatal) {
        worker_thread_fail(thread, e, info);
    }
    return e ? e : worker_tables_open(thread->tables, thread->consumer, info);
}

static void thread_await_topics(struct worker_thread *thread)
{
    struct err_info info = {0};
    enum err e;
    while (!is_stopping(thread) && !thread->has_failed && (e = topics_check(thread, &info))) {
        log_event(LOG_WARN, "waiting_for_topics", err_detail(e, &info), KV("err", err_name(e)),
                  KV("thread", thread->label));
        worker_tell_error(thread, e, "topics", err_detail(e, &info));
        worker_tell_step(thread, clock_mono_us());
        pause_or_stop(thread, RETRY_PAUSE_MS);
    }
}

static void thread_load(struct worker_thread *thread)
{
    phase_set(thread, PHASE_TABLES);
    while (!is_stopping(thread) && !thread->has_failed) {
        worker_output_step(thread->output);
        worker_tables_step(thread->tables);
        if (worker_output_is_ready(thread->output) && worker_tables_are_loaded(thread->tables) &&
            worker_control_is_known(thread->worker->control)) {
            return;
        }
        struct pollfd fds[] = {
            {.fd = thread->worker->stop_fd, .events = POLLIN},
            {.fd = worker_tables_fd(thread->tables), .events = POLLIN},
        };
        (void)poll(fds, ARRAY_LEN(fds), RETRY_PAUSE_MS / 5);
    }
}

static void thread_run(struct worker_thread *thread)
{
    struct err_info info = {0};
    phase_set(thread, PHASE_JOINING);
    enum err e = worker_consumer_subscribe(thread, &info);
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
    while (!is_stopping(thread)) {
        turn_wait(thread);
        turn_batch(thread);
        turn_queues(thread);
        turn_rewind(thread);
        turn_pause(thread);
        turn_commit(thread);
        worker_output_step(thread->output); /* only after it was lost */
        worker_assign_step(thread);
        turn_restore(thread);
        worker_tables_step(thread->tables);
        turn_tick(thread);
    }
    cycle_settle(thread, thread->is_recovering ? ERR_OK : worker_cycle_commit(thread));
    worker_keep_places(thread, true);
}

void *worker_thread_main(void *context)
{
    struct worker_thread *thread = context;
    thread->sink = (struct stream_sink){worker_emit, on_refresh_table, thread};
    thread_await_topics(thread);
    thread_load(thread);
    if (!is_stopping(thread) && !thread->has_failed) {
        thread_run(thread);
    }
    phase_set(thread, PHASE_STOPPED);
    worker_tell_step(thread, clock_mono_us());
    while (thread->has_failed && !is_stopping(thread)) {
        pause_or_stop(thread, -1); /* whoever was told stops the worker */
    }
    int64_t deadline_us = atomic_load(&thread->worker->stop_deadline_us);
    bool is_closed = worker_consumer_close(thread, deadline_us);
    if (is_closed) {
        worker_output_free(TAKE(thread->output));
        worker_restore_free(TAKE(thread->restore));
        worker_tables_free(TAKE(thread->tables));
        worker_tell_close(thread);
    }
    static const uint64_t one = 1;
    (void)!write(thread->worker->ended_fd, &one, sizeof one); /* the last use of the worker */
    return is_closed ? thread : NULL;
}
