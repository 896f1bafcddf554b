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
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "worker/worker_crash.h"

#define TICK_US                100000
#define GAUGES_US              1000000
#define EARLY_COMMIT_RATIO     8
#define EARLY_COMMIT_RECORDS   1000
#define IDLE_COMMIT_US         1000000 /* a position that only moved over markers is committed this late */
#define CONSUMER_LOST_AGAIN_US 60000000
#define CONSUMER_LOSSES_MAX    5
#define ASK_MS                 2000
#define ENSURE_MS              20000
#define RETRY_PAUSE_MS         500

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
        thread->worker->params.on_fatal(thread->worker->params.context, err, info);
    }
}

/* --- what tasks write ------------------------------------------------------------------------------------ */

static void dead_letter_count(struct worker_thread *thread, const struct stream_out *out)
{
    for (size_t i = 0; i < out->header_count; i++) {
        if (strcmp(out->headers[i].name, "millrace-error-code") != 0) {
            continue;
        }
        for (int code = 0; code < ERR_COUNT; code++) {
            if (sv_equal(sv(err_name((enum err)code)), out->headers[i].value)) {
                thread->cycle.dead_letters[code]++;
                thread->cycle.has_dead_letters = true;
            }
        }
    }
}

/* What grew too large for its topic goes to the dead letters; without its value when even that does
 * not fit: the headers say where the original is. */
static enum err too_large_emit(struct worker_thread *thread, const struct stream_out *out,
                               const struct err_info *reason, struct err_info *info)
{
    const struct pipeline *pipeline = thread->worker->params.pipeline;
    size_t topic = 0;
    while (topic < pipeline_topic_count(pipeline) &&
           pipeline_topic_target(pipeline, topic) != STREAM_DEAD_LETTER) {
        topic++;
    }
    const struct stream_record *source = out->source;
    if (!source || topic == pipeline_topic_count(pipeline)) {
        return err_set(info, ERR_RECORD_TOO_LARGE, "%s", reason->text);
    }
    char partition[16], offset[24];
    (void)snprintf(partition, sizeof partition, "%d", source->partition);
    (void)snprintf(offset, sizeof offset, "%lld", (long long)source->offset);
    const struct stream_header headers[] = {
        {"__streams.errors.exception", sv(err_name(ERR_RECORD_TOO_LARGE))},
        {"__streams.errors.message", sv(reason->text)},
        {"__streams.errors.topic", sv(pipeline_source_topic(pipeline, 0))},
        {"__streams.errors.partition", sv(partition)},
        {"__streams.errors.offset", sv(offset)},
        {"millrace-error-code", sv(err_name(ERR_RECORD_TOO_LARGE))},
        {"millrace-pipeline", sv(pipeline_name(pipeline))},
        {"millrace-step", SV("output")},
    };
    struct stream_out letter = {
        .target = STREAM_DEAD_LETTER,
        .topic = (uint16_t)topic,
        .partition = -1,
        .key = source->key,
        .value = source->value,
        .timestamp_ms = source->timestamp_ms,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .source = source,
    };
    enum err e = worker_output_emit(thread->output, &letter, info);
    if (e == ERR_RECORD_TOO_LARGE) {
        letter.value = (struct strview){NULL, 0};
        e = worker_output_emit(thread->output, &letter, info);
    }
    dead_letter_count(thread, &letter);
    return e;
}

static enum err on_emit(void *context, const struct stream_out *out)
{
    struct worker_thread *thread = context;
    struct err_info info = {0}, reason;
    enum err e = worker_output_emit(thread->output, out, &info);
    if (out->target == STREAM_DEAD_LETTER) {
        dead_letter_count(thread, out);
    }
    if (e == ERR_RECORD_TOO_LARGE) {
        reason = info;
        e = too_large_emit(thread, out, &reason, &info);
    }
    if (e) {
        log_event(LOG_WARN, "emit_failed", err_detail(e, &info), KV("thread", thread->label),
                  KV("err", err_name(e)));
    }
    return e;
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

static void cycle_close(struct worker_thread *thread)
{
    thread->cycle.is_open = false;
    thread->cycle.records = 0;
    if (thread->cycle.has_dead_letters) {
        memset(thread->cycle.dead_letters, 0, sizeof thread->cycle.dead_letters);
        thread->cycle.has_dead_letters = false;
    }
}

/* The producer is gone. Deltas stay until it is known whether they were committed. */
static void cycle_lose(struct worker_thread *thread)
{
    PARTITION_LIST active = rd_kafka_topic_partition_list_new(thread->partition_count);
    for (int32_t i = 0; i < thread->partition_count; i++) {
        if (thread->partitions[i].state == PARTITION_ACTIVE) {
            rd_kafka_topic_partition_list_add(
                active, pipeline_source_topic(thread->worker->params.pipeline, 0), i);
        }
    }
    if (active->cnt > 0) {
        (void)rd_kafka_pause_partitions(thread->consumer, active); /* known partitions */
    }
    cycle_close(thread);
    thread->is_recovering = true;
    phase_set(thread, PHASE_RECOVERING);
    metric_add(thread->worker->metrics.producer_rebuilds, 1);
}

static void deltas_drop(struct worker_thread *thread)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        if (partition->is_provisional) {
            stream_task_aborted(partition->task);
        }
        partition->is_provisional = partition->is_touched = partition->is_sent = false;
    }
}

enum err worker_cycle_abort(struct worker_thread *thread)
{
    if (!thread->cycle.is_open) {
        return ERR_OK;
    }
    metric_add(thread->worker->metrics.aborts, 1);
    enum err e = worker_output_abort(thread->output);
    if (e) {
        cycle_lose(thread);
        return e;
    }
    deltas_drop(thread);
    cycle_close(thread);
    return ERR_TXN_ABORT;
}

/* After any failure inside a cycle: abort it, or note that the producer is lost. */
static enum err cycle_fail(struct worker_thread *thread, enum err e, const char *what,
                           const struct err_info *info)
{
    log_event(LOG_WARN, "cycle_failed", err_detail(e, info), KV("during", what),
              KV("err", err_name(e)), KV("thread", thread->label));
    if (!worker_output_is_ready(thread->output)) {
        metric_add(thread->worker->metrics.aborts, 1);
        cycle_lose(thread);
        return ERR_KAFKA_FATAL;
    }
    return worker_cycle_abort(thread);
}

static enum err cycle_open(struct worker_thread *thread)
{
    if (thread->cycle.is_open) {
        return ERR_OK;
    }
    enum err e = worker_output_begin(thread->output);
    thread->cycle.is_open = true;
    thread->cycle.opened_us = clock_mono_us();
    return e;
}

static bool partition_has_news(const struct source_partition *partition)
{
    return partition->state == PARTITION_ACTIVE && partition->next >= 0 &&
           (partition->is_touched || stream_task_wants_commit(partition->task));
}

/* Position moved over transaction markers only. */
static bool partition_has_moved(const struct source_partition *partition)
{
    return partition->state == PARTITION_ACTIVE && partition->next >= 0 &&
           partition->next != partition->committed;
}

static enum err tasks_before_commit(struct worker_thread *thread, struct err_info *info)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        if (!partition_has_news(partition)) {
            continue;
        }
        partition->is_provisional = true;
        partition->is_touched = true;
        enum err e = stream_task_before_commit(partition->task, &thread->sink, info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* Where each partition goes on from, with its task's stream time as metadata. */
static rd_kafka_topic_partition_list_t *offsets_list(struct worker_thread *thread)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(thread->partition_count);
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        partition->is_sent = partition->is_touched || partition_has_moved(partition);
        if (!partition->is_sent) {
            continue;
        }
        partition->is_provisional = true;
        partition->sent = partition->next;
        size_t bytes = stream_task_metadata(partition->task, 0, partition->sent_metadata);
        rd_kafka_topic_partition_t *element = rd_kafka_topic_partition_list_add(
            list, pipeline_source_topic(thread->worker->params.pipeline, 0), i);
        element->offset = partition->sent;
        element->metadata = must_strdup(partition->sent_metadata); /* the list frees it */
        element->metadata_size = bytes;
    }
    return list;
}

static void partition_tell(struct worker_thread *thread, struct source_partition *partition)
{
    struct worker_metrics *metrics = &thread->worker->metrics;
    struct stream_task_stats now = stream_task_stats(partition->task);
    metric_add(metrics->joined, (int64_t)(now.joined - partition->told.joined));
    metric_add(metrics->windows_closed,
               (int64_t)(now.windows_closed - partition->told.windows_closed));
    partition->told = now;
}

static void cycle_tell(struct worker_thread *thread)
{
    struct worker_metrics *metrics = &thread->worker->metrics;
    const struct worker_output_counts *counts = worker_output_counts(thread->output);
    metric_add(metrics->records_in, thread->cycle.records);
    for (int i = 0; i < STREAM_TARGETS; i++) {
        metric_add(metrics->records_out[i], counts->records[i]);
    }
    for (int code = 0; thread->cycle.has_dead_letters && code < ERR_COUNT; code++) {
        if (thread->cycle.dead_letters[code] > 0) {
            worker_metrics_dead_letters(metrics, (enum err)code, thread->cycle.dead_letters[code]);
        }
    }
    metric_add(metrics->commits, 1);
    metric_observe(metrics->commit_seconds, (double)thread->commit_cost_us / 1e6);
    metric_set(metrics->last_commit, (double)clock_now_ms() / 1e3);
}

static void partitions_apply(struct worker_thread *thread)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        if (!partition->is_sent) {
            continue;
        }
        stream_task_committed(partition->task);
        partition->committed = partition->sent;
        (void)snprintf(partition->committed_metadata, sizeof partition->committed_metadata, "%s",
                       partition->sent_metadata);
        partition->is_sent = partition->is_provisional = partition->is_touched = false;
        partition_tell(thread, partition);
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
        return cycle_fail(thread, e, "before commit", &info);
    }
    crash_point(CRASH_BEFORE_FLUSH);
    PARTITION_LIST offsets = offsets_list(thread);
    e = worker_output_commit(thread->output, thread->consumer, offsets, &info);
    if (e) {
        return cycle_fail(thread, e, "commit", &info);
    }
    crash_point(CRASH_AFTER_COMMIT);
    partitions_apply(thread);
    thread->committed_us = clock_mono_us();
    thread->commit_cost_us = thread->committed_us - began_us;
    cycle_tell(thread);
    cycle_close(thread);
    crash_point(CRASH_AFTER_APPLY);
    return ERR_OK;
}

/* In the loop, where an abort means reading the same records again. */
static void cycle_settle(struct worker_thread *thread, enum err e)
{
    if (e == ERR_TXN_ABORT) {
        worker_partitions_rewind(thread);
    }
}

static bool is_commit_due(const struct worker_thread *thread, int64_t now_us)
{
    const struct worker *worker = thread->worker;
    int64_t open_us = now_us - thread->cycle.opened_us;
    if (open_us >= worker->params.config->commit_interval_ms * 1000 ||
        thread->cycle.records >= worker->commit_records ||
        worker_output_counts(thread->output)->bytes >= worker->params.config->commit_bytes) {
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
    (void)poll(fds, ARRAY_LEN(fds), turn_timeout_ms(thread));
}

static enum err record_process(struct worker_thread *thread, struct source_partition *partition,
                               const rd_kafka_message_t *message, struct err_info *info)
{
    rd_kafka_timestamp_type_t type;
    struct stream_record record = {
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = {message->key, message->key ? message->key_len : 0},
        .value = {message->payload, message->payload ? message->len : 0},
        .origin = message,
    };
    partition->is_touched = partition->is_provisional = true;
    partition->is_at_end = false;
    enum err e = stream_task_process(partition->task, &record, &thread->sink, info);
    if (!e) {
        partition->next = message->offset + 1;
        thread->cycle.records++;
    }
    return e;
}

/* Everything that was fetched is processed, up to the first failure; what comes after it is read
 * again. */
static void batch_process(struct worker_thread *thread, size_t count)
{
    struct err_info info = {0};
    enum err e = ERR_OK;
    int64_t dropped = 0;
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_message_t *message = thread->batch[i];
        if (message->err) {
            worker_consumer_event(thread, message);
            continue;
        }
        struct source_partition *partition = worker_partition_active(thread, message->partition);
        if (e || !partition || thread->is_recovering || thread->has_failed) {
            dropped++;
            continue;
        }
        e = cycle_open(thread);
        if (!e) {
            e = record_process(thread, partition, message, &info);
        }
    }
    metric_add(thread->worker->metrics.dropped, dropped);
    if (e) {
        cycle_settle(thread, cycle_fail(thread, e, "process", &info));
    }
}

static void turn_batch(struct worker_thread *thread)
{
    uint64_t ignored;
    (void)!read(thread->queue_fd, &ignored,
                sizeof ignored); /* armed again before the queue is read */
    thread->is_refreshed = false;
    ssize_t taken = rd_kafka_consume_batch_queue(thread->queue, 0, thread->batch, SOURCE_BATCH_MAX);
    size_t count = taken > 0 ? (size_t)taken : 0;
    thread->has_more = count == SOURCE_BATCH_MAX;
    if (count == 0) {
        return;
    }
    metric_observe(thread->worker->metrics.batch_records, (double)count);
    batch_process(thread, count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_message_destroy(thread->batch[i]);
    }
    crash_point(CRASH_AFTER_PROCESS);
}

/* Opens a cycle for what has no record: a window that closed by time, a position moved by markers. */
static void turn_idle_news(struct worker_thread *thread, int64_t now_us)
{
    bool may_move = now_us - thread->committed_us >= IDLE_COMMIT_US;
    for (int32_t i = 0; i < thread->partition_count && !thread->cycle.is_open; i++) {
        const struct source_partition *partition = &thread->partitions[i];
        if (partition_has_news(partition) || (may_move && partition_has_moved(partition))) {
            enum err e = cycle_open(thread);
            if (e) {
                struct err_info info = {0};
                cycle_settle(thread, cycle_fail(thread, e, "begin", &info));
                return;
            }
        }
    }
}

static void turn_commit(struct worker_thread *thread)
{
    if (thread->cycle.is_open && is_commit_due(thread, clock_mono_us())) {
        cycle_settle(thread, worker_cycle_commit(thread));
    }
}

static enum err on_restore_record(void *context, int32_t partition, struct strview key,
                                  struct strview value, struct err_info *info)
{
    struct worker_thread *thread = context;
    struct source_partition *found = &thread->partitions[partition];
    return found->state == PARTITION_RESTORING
               ? stream_task_restore(found->task, 0, key, value, info)
               : ERR_OK;
}

static void on_restore_done(void *context, int32_t partition)
{
    worker_partition_restored(context, partition);
}

static void turn_restore(struct worker_thread *thread)
{
    const struct worker_restore_handlers handlers = {on_restore_record, on_restore_done, thread};
    struct err_info info = {0};
    size_t records = 0;
    enum err e = worker_restore_step(thread->restore, &handlers, &records, &info);
    metric_add(thread->worker->metrics.restored_records, (int64_t)records);
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
}

static void partition_gauges(struct worker_thread *thread, struct source_partition *partition)
{
    int64_t low, high;
    if (partition->state == PARTITION_RESTORING) {
        metric_set(partition->metrics.restore_left,
                   (double)worker_restore_left(thread->restore, partition->id));
    }
    if (!rd_kafka_get_watermark_offsets(thread->consumer,
                                        pipeline_source_topic(thread->worker->params.pipeline, 0),
                                        partition->id, &low, &high)) {
        int64_t next = partition->next >= 0 ? partition->next : low;
        bool is_behind = !partition->is_at_end && next >= 0 && high > next;
        metric_set(partition->metrics.lag, is_behind ? (double)(high - next) : 0);
    }
    struct stream_task_stats stats = stream_task_stats(partition->task);
    if (stats.watermark_ms != INT64_MIN) {
        metric_set(partition->metrics.watermark, (double)stats.watermark_ms / 1e3);
    }
    metric_set(partition->metrics.state_bytes, (double)stats.state_bytes);
    metric_set(partition->metrics.windows_open, (double)stats.windows_open);
}

static void phase_update(struct worker_thread *thread)
{
    enum thread_phase phase = PHASE_RUNNING;
    if (thread->is_recovering || thread->has_failed) {
        phase = PHASE_RECOVERING;
    } else if (thread->pending || !thread->has_joined) {
        phase = PHASE_JOINING;
    } else if (worker_restore_is_busy(thread->restore)) {
        phase = PHASE_RESTORING;
    }
    phase_set(thread, phase);
}

/* A static member that was away for longer than its session can fence itself: librdkafka asks to join
 * twice, and the second answer outlaws the first. A consumer in that state is lost, like a producer;
 * the same thing again and again is another process with our name. */
static void consumer_check(struct worker_thread *thread)
{
    char why[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(thread->consumer, why, sizeof why);
    if (!code || thread->has_failed) {
        return;
    }
    int64_t now_us = clock_mono_us();
    bool is_again = now_us - thread->consumer_lost_us < CONSUMER_LOST_AGAIN_US;
    thread->consumer_losses = is_again ? thread->consumer_losses + 1 : 1;
    thread->consumer_lost_us = now_us;
    struct err_info info = {0};
    (void)err_set(&info, ERR_KAFKA_FATAL, "consumer of group %s, instance %s: %s",
                  pipeline_name(thread->worker->params.pipeline), thread->instance, why);
    if (thread->consumer_losses >= CONSUMER_LOSSES_MAX) {
        (void)err_set(&info, ERR_KAFKA_FATAL,
                      "group %s: instance %s was fenced %d times in a row: another process has the "
                      "same instance.id",
                      pipeline_name(thread->worker->params.pipeline), thread->instance,
                      thread->consumer_losses);
        worker_thread_fail(thread, ERR_KAFKA_FATAL, &info);
        return;
    }
    log_event(LOG_WARN, "consumer_lost", info.text, KV("thread", thread->label));
    enum err e = worker_consumer_rebuild(thread, &info);
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
}

/* Ten times a second: time for idle tasks; once a second: gauges. */
static void turn_tick(struct worker_thread *thread)
{
    int64_t now_us = clock_mono_us();
    phase_update(thread);
    if (now_us - thread->tick_us < TICK_US) {
        return;
    }
    thread->tick_us = now_us;
    bool has_gauges = now_us - thread->gauges_us >= GAUGES_US;
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        if (partition->state == PARTITION_ACTIVE && !partition->is_touched &&
            !thread->is_recovering) {
            stream_task_idle(partition->task, 0, clock_now_ms(), partition->is_at_end);
        }
        if (has_gauges && partition->state >= PARTITION_RESTORING) {
            partition_gauges(thread, partition);
        }
    }
    if (has_gauges) {
        thread->gauges_us = now_us;
    }
    consumer_check(thread);
    if (!thread->is_recovering && !thread->pending) {
        turn_idle_news(thread, now_us);
    }
    worker_output_serve(thread->output);
}

/* --- start and end ----------------------------------------------------------------------------------------------- */

static void pause_or_stop(struct worker_thread *thread, int timeout_ms)
{
    struct pollfd stop = {.fd = thread->worker->stop_fd, .events = POLLIN};
    (void)poll(&stop, 1, timeout_ms);
}

/* Creates the changelog with as many partitions as the source has. */
static enum err changelog_ensure(struct worker_thread *thread, int32_t partitions,
                                 struct err_info *info)
{
    const struct worker *worker = thread->worker;
    static const struct config_pair compact = {"cleanup.policy", "compact"};
    const struct kafka_topic_spec spec = {
        .name = worker->changelog,
        .partitions = partitions,
        .replication = 3,
        .config = &compact,
        .config_count = 1,
    };
    enum kafka_topic_state state;
    enum err e = kafka_topic_ensure(worker->params.kafka, &spec, ENSURE_MS, &state, info);
    if (!e && state == KAFKA_TOPIC_DIFFERS) {
        worker_thread_fail(thread,
                           err_set(info, ERR_CONFIG,
                                   "changelog %s must have as many partitions as %s: %d",
                                   worker->changelog,
                                   pipeline_source_topic(worker->params.pipeline, 0), partitions),
                           info);
        return ERR_CONFIG;
    }
    return e;
}

/* Every topic that is read or written must be there: a missing one is waited for, never created. */
static enum err topics_check(struct worker_thread *thread, struct err_info *info)
{
    const struct pipeline *pipeline = thread->worker->params.pipeline;
    int32_t partitions = 0, source_partitions = 0;
    enum err e = kafka_topic_partitions(thread->consumer, pipeline_source_topic(pipeline, 0),
                                        ASK_MS, &source_partitions, info);
    for (size_t i = 0; !e && i < pipeline_topic_count(pipeline); i++) {
        if (pipeline_topic_target(pipeline, i) != STREAM_CHANGELOG) {
            e = kafka_topic_partitions(thread->consumer, pipeline_topic_name(pipeline, i), ASK_MS,
                                       &partitions, info);
        }
    }
    if (!e && thread->worker->changelog) {
        e = changelog_ensure(thread, source_partitions, info);
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
        pause_or_stop(thread, RETRY_PAUSE_MS);
    }
}

static void thread_load(struct worker_thread *thread)
{
    phase_set(thread, PHASE_TABLES);
    while (!is_stopping(thread) && !thread->has_failed) {
        worker_output_step(thread->output);
        worker_tables_step(thread->tables);
        if (worker_output_is_ready(thread->output) && worker_tables_are_loaded(thread->tables)) {
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
        turn_commit(thread);
        worker_output_step(thread->output); /* only after it was lost */
        worker_assign_step(thread);
        turn_restore(thread);
        worker_tables_step(thread->tables);
        turn_tick(thread);
    }
    cycle_settle(thread, thread->is_recovering ? ERR_OK : worker_cycle_commit(thread));
}

void *worker_thread_main(void *context)
{
    struct worker_thread *thread = context;
    thread->sink = (struct stream_sink){on_emit, on_refresh_table, thread};
    thread->batch = must_alloc(SOURCE_BATCH_MAX * sizeof(rd_kafka_message_t *));
    thread_await_topics(thread);
    thread_load(thread);
    if (!is_stopping(thread) && !thread->has_failed) {
        thread_run(thread);
    }
    phase_set(thread, PHASE_STOPPED);
    while (thread->has_failed && !is_stopping(thread)) {
        pause_or_stop(thread, -1); /* whoever was told stops the worker */
    }
    int64_t deadline_us = atomic_load(&thread->worker->stop_deadline_us);
    bool is_closed = worker_consumer_close(thread, deadline_us);
    if (is_closed) {
        worker_output_free(TAKE(thread->output));
        worker_restore_free(TAKE(thread->restore));
        worker_tables_free(TAKE(thread->tables));
        free(TAKE(thread->batch));
    }
    static const uint64_t one = 1;
    (void)!write(thread->worker->ended_fd, &one, sizeof one); /* the last use of the worker */
    return is_closed ? thread : NULL;
}
