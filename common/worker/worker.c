#define _DEFAULT_SOURCE /* gethostname */

#include "worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"
#include "worker/worker_crash.h"
#include "worker/worker_rocksdb.h"
#include "worker/worker_spill.h"
#include "worker/worker_thread.h"

/* By guarantee, when commit.records is 0. */
/* Beyond it a transaction's records fall out of the caches before their acknowledgement touches them
 * again: 100,000 cost 6 % more CPU an event. */
#define COMMIT_RECORDS_EXACTLY_ONCE  40000
#define COMMIT_RECORDS_AT_LEAST_ONCE 50
#define JOIN_GRACE_US                500000

const struct config_option worker_options[] = {
    CONFIG_ROW(struct worker_config, pipeline_file, "pipeline.file", STRING, "", 0, 0,
               "The pipeline to run (JSON)."),
    CONFIG_CHOICE_ROW(struct worker_config, guarantee, "pipeline.guarantee", "exactly_once",
                      "exactly_once|at_least_once",
                      "What Kafka holds after a failure: each result once, or at least once."),
    CONFIG_ROW(struct worker_config, threads, "pipeline.threads", INT, "1", 1, WORKER_THREADS_MAX,
               "Worker threads; more than the source topic has partitions stay idle."),
    CONFIG_ROW(struct worker_config, commit_interval_ms, "commit.interval", DURATION, "100ms", 1,
               5000, "Longest time between commits; below the transaction timeout of 10 s."),
    CONFIG_ROW(struct worker_config, commit_records, "commit.records", INT, "0", 0, 10000000,
               "Source records after which a commit is due; 0: 40000 exactly once, 50 at least "
               "once."),
    CONFIG_ROW(struct worker_config, commit_bytes, "commit.bytes", SIZE, "32MiB", 1024, 1 << 30,
               "Bytes written after which a commit is due."),
    CONFIG_ROW(struct worker_config, instance_id, "instance.id", STRING, "", 0, 0,
               "Name of this instance: the same after a restart, no other's meanwhile; empty: host "
               "name and HTTP port."),
    CONFIG_ROW(
        struct worker_config, input_wait_ms, "input.wait", DURATION, "0ms", 0, 3600000,
        "Where records of several topics meet, lowest event time first: how long one that is "
        "at its end holds up the others, for a producer that is late; 0: not at all."),
    CONFIG_ROW(struct worker_config, purge_interval_ms, "repartition.purge.interval", DURATION,
               "30s", 1000, 3600000,
               "How often what was read from repartition and retry topics is deleted from them."),
    CONFIG_ROW(struct worker_config, state_dir, "state.dir", STRING, "", 0, 0,
               "Folder for a copy of the state, of this instance alone: a restart then reads only "
               "what is new in the changelogs; empty: all of them are read."),
    CONFIG_ROW(struct worker_config, state_memory, "state.memory", SIZE, "0", 0, 1e12,
               "Most memory for the state, from 4 MiB on: what did not change lately is then in "
               "state.dir, and read back when it is needed. Not for sliding windows; 0: all of the "
               "state is in memory."),
    CONFIG_CHOICE_ROW(
        struct worker_config, state_standby, "state.standby", "off", "off|on",
        "Whether the worker follows the state of partitions that others have and that may come to "
        "it, so that it goes on within two seconds when they do: in memory, once more."),
    CONFIG_ROW(struct worker_config, state_standby_bytes, "state.standby.bytes", SIZE, "1GiB",
               1 << 20, 1e12,
               "Most memory for it; past it the partitions that are the least likely to come are "
               "left out."),
    CONFIG_CHOICE_ROW(
        struct worker_config, offsets_lost, "pipeline.offsets.lost", "fail", "fail|earliest",
        "When retention has deleted records that were not processed: stop and say so, "
        "or go on from the oldest there is."),
    CONFIG_ROW(
        struct worker_config, status_topic, "status.topic", STRING, "millrace.status", 0, 0,
        "Compacted topic where the worker tells how it is, for the job view; it is made when "
        "it is missing; empty: nobody is told."),
    CONFIG_ROW(struct worker_config, status_interval_ms, "status.interval", DURATION, "2s", 100,
               60000, "How often it does."),
    CONFIG_ROW(struct worker_config, control_topic, "control.topic", STRING, "millrace.control", 0,
               0,
               "Compacted topic where workers hear that a pipeline is to stand still (--pause, "
               "--savepoint); it is made when it is missing; empty: nobody pauses it."),
    CONFIG_ROW(
        struct worker_config, savepoint_hold_ms, "savepoint.hold", DURATION, "30s", 5000, 600000,
        "Longest time for which a savepoint lets the pipeline stand still; as a rule it takes "
        "a second."),
    CONFIG_ROW(
        struct worker_config, savepoint_dir, "savepoint.dir", STRING, "", 0, 0,
        "Folder for the savepoints that are asked for over HTTP (POST /jobs/{pipeline}/savepoint "
        "of query-api), each in a folder of its own; empty: none is taken."),
    CONFIG_ROW(struct worker_config, savepoint_replace, "savepoint.replace", BOOL, "false", 0, 0,
               "--restore replaces the state and the offsets that are there, instead of refusing."),
    CONFIG_ROW(
        struct worker_config, savepoint_restore_ms, "savepoint.restore.timeout", DURATION, "2m",
        10000, 900000,
        "Longest time for which --restore writes, all in one transaction; one that was killed "
        "keeps workers waiting for as long, or until it is done again. Brokers allow 15 "
        "minutes (transaction.max.timeout.ms)."),
    CONFIG_ROW(
        struct worker_config, state_store, "state.store", STRING, "", 0, 0,
        "The store whose rows --state shows, by its name or its changelog's; empty: how many "
        "there are, of all."),
    CONFIG_ROW(struct worker_config, state_key, "state.key", STRING, "", 0, 0,
               "The key whose rows --state shows; empty: all."),
    CONFIG_CHOICE_ROW(
        struct worker_config, state_lost, "pipeline.state.lost", "fail", "fail|empty",
        "When a store has no changelog although work that fills it is committed (the topic was "
        "deleted, or the store is new): stop and say so, or begin with an empty one."),
    CONFIG_CHOICE_ROW(
        struct worker_config, rebalance, "pipeline.rebalance", "eager", "eager|cooperative|broker",
        "How partitions move between the members: eager, all stop for a moment; cooperative, only "
        "what moves stops, for pipelines in which no topics meet; broker, the same by Kafka 4's "
        "own "
        "protocol, for all. All members of a pipeline have the same."),
};
const size_t worker_options_count = ARRAY_LEN(worker_options);

/* --- start ------------------------------------------------------------------------------------------------- */

static void instance_name(const struct worker_params *params, char *text, size_t bytes)
{
    if (params->config->instance_id[0]) {
        (void)snprintf(text, bytes, "%s", params->config->instance_id);
        return;
    }
    char host[100] = "";
    (void)gethostname(host, sizeof host - 1);
    if (params->http_port > 0) {
        (void)snprintf(text, bytes, "%s-%u", host, params->http_port);
    } else {
        (void)snprintf(text, bytes, "%s-pid%d", host, (int)getpid());
    }
}

static enum err thread_prepare(struct worker *worker, int index, const char *instance,
                               struct err_info *info)
{
    const struct worker_params *params = &worker->params;
    struct worker_thread *thread = &worker->threads[index];
    const char *pipeline = pipeline_name(params->pipeline);
    thread->worker = worker;
    thread->index = index;
    worker_tell_open(thread);
    thread->index_of_stage =
        must_alloc((worker->plan->stage_count + 1) * sizeof *thread->index_of_stage);
    thread->store_epochs =
        must_alloc((worker->plan->store_count + 1) * sizeof *thread->store_epochs);
    (void)snprintf(thread->label, sizeof thread->label, "%.50s-%d", pipeline, index);
    (void)snprintf(thread->instance, sizeof thread->instance, "%.140s-%d", instance, index);
    (void)snprintf(thread->transactional_id, sizeof thread->transactional_id, "%.90s-%.140s-%d",
                   pipeline, instance, index);
    enum err e = worker_consumer_open(thread, info);
    if (!e) {
        e = worker_tables_new(params->kafka, params->pipeline, thread->label,
                              worker->metrics.table_rejects, &thread->tables, info);
    }
    if (!e) {
        e = worker_restore_new(params->kafka, params->pipeline, thread->label, false,
                               &thread->restore, info);
    }
    thread->output = worker_output_new(&(struct worker_output_params){
        .kafka = params->kafka,
        .pipeline = params->pipeline,
        .transactional_id = worker->is_exactly_once ? thread->transactional_id : NULL,
        .label = thread->label,
    });
    return e;
}

static enum err threads_start(struct worker *worker, struct err_info *info)
{
    for (int i = 0; i < worker->thread_count; i++) {
        int code = pthread_create(&worker->threads[i].thread, NULL, worker_thread_main,
                                  &worker->threads[i]);
        if (code) {
            worker->thread_count = i;
            return err_set(info, ERR_INTERNAL, "starting worker thread %d: %s", i, strerror(code));
        }
    }
    return ERR_OK;
}

/* A thread that never ran: what thread_prepare made. */
static void thread_discard(struct worker_thread *thread)
{
    (void)worker_consumer_close(thread, clock_mono_us() + JOIN_GRACE_US);
    worker_output_free(thread->output);
    worker_restore_free(thread->restore);
    worker_tables_free(thread->tables);
    worker_tell_close(thread);
}

static void worker_describe(const struct worker *worker)
{
    const struct worker_config *config = worker->params.config;
    log_event(LOG_INFO, "worker_started", "the pipeline runs",
              KV("pipeline", worker->metrics.pipeline), KV("guarantee", config->guarantee),
              KV("threads", worker->thread_count), KV("instance", worker->threads[0].instance),
              KV("rebalance", config->rebalance), KV("source", worker->plan->sources[0].topic),
              KV("sources", (int64_t)worker->plan->source_count),
              KV("stages", (int64_t)worker->plan->stage_count),
              KV("stores", (int64_t)worker->plan->store_count),
              KV("commit_interval_ms", config->commit_interval_ms),
              KV("commit_records", worker->commit_records));
}

static void status_start(struct worker *worker, const char *instance)
{
    const struct worker_config *config = worker->params.config;
    if (config->status_topic && config->status_topic[0]) {
        worker->status = worker_status_start(&(struct worker_status_params){
            .kafka = worker->params.kafka,
            .topic = config->status_topic,
            .interval_ms = config->status_interval_ms,
            .pipeline = worker->params.pipeline,
            .instance = instance,
            .guarantee = config->guarantee,
            .thread_count = worker->thread_count,
            .sent = worker->metrics.status_sent,
            .lost = worker->metrics.status_lost,
        });
    }
}

static void worker_free(struct worker *worker)
{
    (void)close(worker->stop_fd);
    (void)close(worker->ended_fd);
    for (int i = 0; i < WORKER_THREADS_MAX; i++) { /* of those that were never started, too */
        free(worker->threads[i].index_of_stage);
        free(worker->threads[i].store_epochs);
    }
    worker_spill_free(worker->spill);
    worker_local_free(worker->local);
    worker_plan_free(worker->plan);
    free(worker);
}

static enum err local_open(struct worker *worker, struct err_info *info)
{
    const char *dir = worker->params.config->state_dir;
    if (!dir || !dir[0] || worker->plan->store_count == 0) {
        return ERR_OK;
    }
    return worker_local_open(
        &(struct worker_local_params){.dir = dir,
                                      .pipeline = pipeline_name(worker->params.pipeline),
                                      .free_bytes_min = ROCKSDB_FREE_BYTES_MIN,
                                      .errors = worker->metrics.local_errors},
        &worker->local, info);
}

/* In the copies' folder, and so behind them. */
static enum err spill_open(struct worker *worker, struct err_info *info)
{
    const struct worker_config *config = worker->params.config;
    if (config->state_memory == 0 || !worker->local) {
        return ERR_OK;
    }
    return worker_spill_open(
        &(struct worker_spill_params){.dir = config->state_dir,
                                      .pipeline = pipeline_name(worker->params.pipeline),
                                      .bytes = (size_t)config->state_memory,
                                      .free_bytes_min = ROCKSDB_FREE_BYTES_MIN,
                                      .errors = worker->metrics.spill_errors},
        &worker->spill, info);
}

static void standby_start(struct worker *worker)
{
    const struct worker_config *config = worker->params.config;
    if (config->state_standby && strcmp(config->state_standby, "on") == 0 &&
        worker->plan->store_count > 0) {
        worker->standby = worker_standby_start(&(struct worker_standby_params){
            .kafka = worker->params.kafka,
            .pipeline = worker->params.pipeline,
            .plan = worker->plan,
            .metrics = &worker->metrics,
            .local = worker->local,
            .bytes_max = config->state_standby_bytes,
            .is_ranged = strcmp(config->rebalance, "eager") == 0,
        });
    }
}

/* Which worker takes what is to be taken by one. */
static bool has_first(void *context)
{
    const struct worker *worker = context;
    bool has = false;
    for (int i = 0; i < worker->thread_count; i++) {
        has = has || atomic_load_explicit(&worker->threads[i].has_first, memory_order_relaxed);
    }
    return has;
}

static void on_saving_told(void *context, struct strview text)
{
    const struct worker *worker = context;
    worker_status_put_whole(worker->status, text);
}

static enum err control_start(struct worker *worker, const char *instance, struct err_info *info)
{
    const struct worker_params *params = &worker->params;
    const char *topic = params->config->control_topic;
    if (!topic || !topic[0]) {
        return ERR_OK;
    }
    worker->control_params = (struct worker_control_params){
        .kafka = params->kafka, .topic = topic, .pipeline = pipeline_name(params->pipeline)};
    worker->saving = worker_saving_new(&(struct worker_saving_params){
        .savepoint = {.config = params->config,
                      .kafka = params->kafka,
                      .pipeline = params->pipeline,
                      .release = params->release ? params->release : ""},
        .control = &worker->control_params,
        .instance = instance,
        .is_stopping = &worker->is_stopping,
        .is_ours = has_first,
        .on_told = on_saving_told,
        .context = worker,
    });
    worker->control_params.saving = worker->saving;
    return worker_control_start(&worker->control_params, &worker->control, info);
}

/* What they tell, and whom they ask, is there until then. */
static bool control_stop(struct worker *worker, int64_t deadline_us)
{
    worker_control_stop(TAKE(worker->control));
    bool has_ended = worker_saving_stop(worker->saving, deadline_us);
    worker->saving = has_ended ? NULL : worker->saving;
    return has_ended;
}

enum err worker_start(const struct worker_params *params, struct worker **ret,
                      struct err_info *info)
{
    struct worker *worker = must_alloc(sizeof *worker);
    worker->params = *params;
    worker->plan = worker_plan_new(params->pipeline);
    worker->is_incremental = strcmp(params->config->rebalance, "eager") != 0;
    worker->is_exactly_once = strcmp(params->config->guarantee, "exactly_once") == 0;
    worker->commit_records = params->config->commit_records > 0 ? params->config->commit_records
                             : worker->is_exactly_once          ? COMMIT_RECORDS_EXACTLY_ONCE
                                                                : COMMIT_RECORDS_AT_LEAST_ONCE;
    worker->thread_count = (int)params->config->threads;
    worker->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    crash_points_load();
    worker_metrics_open(&worker->metrics, pipeline_name(params->pipeline));

    char instance[160];
    instance_name(params, instance, sizeof instance);
    enum err e = worker->stop_fd < 0 || worker->ended_fd < 0
                     ? err_set(info, ERR_IO, "eventfd: %s", strerror(errno))
                     : worker_check(params->config, params->kafka, params->pipeline, info);
    e = e ? e : local_open(worker, info);
    e = e ? e : spill_open(worker, info);
    int prepared = 0;
    for (; !e && prepared < worker->thread_count; prepared++) {
        e = thread_prepare(worker, prepared, instance, info);
    }
    if (!e) {
        status_start(worker, instance);
        e = control_start(worker, instance, info);
    }
    if (e) {
        while (prepared-- > 0) {
            thread_discard(&worker->threads[prepared]);
        }
        CHECK(control_stop(worker, 0)); /* nothing was begun */
        worker_status_stop(worker->status, true, 0);
        worker_free(worker);
        return e;
    }
    worker_describe(worker);
    standby_start(worker);
    e = threads_start(worker, info);
    if (e) {
        enum err stopped = worker_stop(worker, 0);
        return stopped ? stopped : e;
    }
    *ret = worker;
    return ERR_OK;
}

/* --- stop ---------------------------------------------------------------------------------------------------- */

/* Waits until every thread has said that it is at its end; false at the deadline. */
static bool threads_await_end(const struct worker *worker, int64_t deadline_us)
{
    for (uint64_t ended = 0; ended < (uint64_t)worker->thread_count;) {
        int64_t left_ms = (deadline_us + JOIN_GRACE_US - clock_mono_us()) / 1000;
        struct pollfd wait = {.fd = worker->ended_fd, .events = POLLIN};
        uint64_t count = 0;
        if (left_ms <= 0) {
            return false;
        }
        if (poll(&wait, 1, (int)left_ms) > 0 &&
            read(worker->ended_fd, &count, sizeof count) == sizeof count) {
            ended += count;
        }
    }
    return true;
}

/* Whether all threads have given back what they held. */
static bool threads_join(struct worker *worker)
{
    bool is_clean = true;
    for (int i = 0; i < worker->thread_count; i++) {
        void *is_closed = NULL;
        (void)pthread_join(worker->threads[i].thread, &is_closed);
        is_clean = is_clean && is_closed;
    }
    return is_clean;
}

/* After its threads have ended. */
static bool has_failed(const struct worker *worker)
{
    bool has = false;
    for (int i = 0; i < worker->thread_count; i++) {
        has = has || worker->threads[i].has_failed;
    }
    return has;
}

enum err worker_stop(struct worker *worker, int64_t timeout_ms)
{
    if (!worker) {
        return ERR_OK;
    }
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    atomic_store(&worker->stop_deadline_us, deadline_us);
    atomic_store(&worker->is_stopping, true);
    static const uint64_t one = 1;
    (void)!write(worker->stop_fd, &one, sizeof one); /* an eventfd at 0 takes it */
    if (!threads_await_end(worker, deadline_us) || !threads_join(worker) ||
        !control_stop(worker, deadline_us + JOIN_GRACE_US)) {
        /* A thread may still use it: the process ends with it. */
        log_event(LOG_ERROR, "worker_stop_timeout", "worker threads did not end in time",
                  KV("timeout_ms", timeout_ms));
        return ERR_DRAIN_TIMEOUT;
    }
    worker_standby_stop(worker->standby);
    worker_status_stop(worker->status, !has_failed(worker),
                       (deadline_us + JOIN_GRACE_US - clock_mono_us()) / 1000);
    worker_free(worker);
    return ERR_OK;
}

/* --- health ---------------------------------------------------------------------------------------------------- */

bool worker_is_ready(void *context, char *text, size_t text_bytes)
{
    static const char *const words[] = {
        [PHASE_TOPICS] = "waiting for Kafka and the pipeline's topics",
        [PHASE_TABLES] = "loading reference tables, or not told yet whether it is paused",
        [PHASE_JOINING] = "joining the consumer group",
        [PHASE_RESTORING] = "restoring state",
        [PHASE_RUNNING] = "running",
        [PHASE_PAUSED] = "paused",
        [PHASE_RECOVERING] = "recovering from a lost producer",
        [PHASE_STOPPED] = "stopped",
    };
    const struct worker *worker = context;
    int assigned = 0;
    bool is_paused = false;
    for (int i = 0; i < worker->thread_count; i++) {
        /* First, so that the phase is no older: what has come is not told before it can be worked on. */
        int count = atomic_load(&worker->threads[i].assigned);
        enum thread_phase phase = atomic_load(&worker->threads[i].phase);
        is_paused = is_paused || phase == PHASE_PAUSED;
        if (phase != PHASE_RUNNING && phase != PHASE_PAUSED) {
            (void)snprintf(text, text_bytes, "thread %d: %s", i, words[phase]);
            return false;
        }
        assigned += count;
    }
    (void)snprintf(text, text_bytes, "%d source partitions%s%s", assigned,
                   assigned == 0 ? ": others have them all" : "", is_paused ? "; paused" : "");
    return true;
}
