/* Partitions coming and going.
 *
 *            assigned                       changelog read
 *   ABSENT ───────────► RESTORING ────────────────────────► ACTIVE
 *      ▲   \_______________________________________________▲  │
 *      │        stateless, or the parked task still fits       │ revoked
 *      └──────────────── PARKED ◄──────────────────────────────┘
 *         came to another
 *
 * The rebalance callback of an assignment only notes it down: finding the committed offsets may have
 * to wait for the last owner's transaction to end, and that must not happen inside a callback.
 * worker_assign_step asks, with a short timeout, once a turn, until it knows.
 *
 * A parked task is as good as restored when the committed offset and metadata are still what it last
 * committed: nobody else has worked on the partition meanwhile. The same comparison tells, after a
 * commit of unknown outcome, whether it took place.
 */
#include "worker/worker_thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_stats.h"
#include "log/log.h"
#include "worker/worker_crash.h"

#define COMMITTED_MS  1000
#define SEEK_MS       5000
#define CLOSE_POLL_MS 100

static const char *source_topic(const struct worker_thread *thread)
{
    return pipeline_source_topic(thread->worker->params.pipeline, 0);
}

static int64_t start_of(const struct source_partition *partition)
{
    return partition->committed >= 0 ? partition->committed : RD_KAFKA_OFFSET_BEGINNING;
}

/* Ours, that is restoring or active, at the offsets where they start. */
static rd_kafka_topic_partition_list_t *list_of_owned(const struct worker_thread *thread)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(thread->partition_count);
    for (int32_t i = 0; i < thread->partition_count; i++) {
        const struct source_partition *partition = &thread->partitions[i];
        if (partition->state >= PARTITION_RESTORING) {
            rd_kafka_topic_partition_list_add(list, source_topic(thread), i)->offset =
                start_of(partition);
        }
    }
    return list;
}

static rd_kafka_topic_partition_list_t *list_of_state(const struct worker_thread *thread,
                                                      enum partition_state state)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(thread->partition_count);
    for (int32_t i = 0; i < thread->partition_count; i++) {
        if (thread->partitions[i].state == state) {
            rd_kafka_topic_partition_list_add(list, source_topic(thread), i);
        }
    }
    return list;
}

/* --- one partition ------------------------------------------------------------------------------------- */

static void partition_free_task(struct worker_thread *thread, struct source_partition *partition)
{
    worker_restore_remove(thread->restore, partition->id);
    stream_task_free(TAKE(partition->task));
    partition->state = PARTITION_ABSENT;
    partition->is_touched = partition->is_provisional = partition->is_sent = false;
    if (partition->has_metrics) { /* another instance tells from here on */
        metric_set(partition->metrics.lag, 0);
        metric_set(partition->metrics.restore_left, 0);
        metric_set(partition->metrics.state_bytes, 0);
        metric_set(partition->metrics.windows_open, 0);
    }
}

static bool is_place(int64_t a, const char *a_metadata, int64_t b, const char *b_metadata)
{
    return a == b && strcmp(a_metadata, b_metadata) == 0;
}

/* Decides a cycle whose outcome was not known by what the broker has. */
static void partition_resolve(struct source_partition *partition, int64_t committed,
                              const char *metadata)
{
    if (!partition->is_provisional) {
        return;
    }
    if (partition->is_sent &&
        is_place(committed, metadata, partition->sent, partition->sent_metadata)) {
        stream_task_committed(partition->task);
        partition->committed = partition->sent;
        (void)snprintf(partition->committed_metadata, sizeof partition->committed_metadata, "%s",
                       partition->sent_metadata);
    } else {
        stream_task_aborted(partition->task);
    }
    partition->is_provisional = partition->is_sent = partition->is_touched = false;
}

static enum err partition_new_task(struct worker_thread *thread, struct source_partition *partition,
                                   struct err_info *info)
{
    partition->task = stream_task_new(thread->worker->params.pipeline, 0,
                                      worker_tables_all(thread->tables), partition->id);
    partition->told = stream_task_stats(partition->task);
    enum err e =
        stream_task_restore_metadata(partition->task, 0, partition->committed_metadata, info);
    if (!e && thread->worker->changelog) {
        e = worker_restore_add(thread->restore, partition->id, info);
    }
    partition->state = thread->worker->changelog ? PARTITION_RESTORING : PARTITION_ACTIVE;
    return e;
}

/* Gives the partition the task and the place that fit what is committed. */
static enum err partition_place(struct worker_thread *thread,
                                const rd_kafka_topic_partition_t *found, struct err_info *info)
{
    struct source_partition *partition = &thread->partitions[found->partition];
    int64_t committed = found->offset >= 0 ? found->offset : OFFSET_NONE;
    char metadata[STREAM_METADATA_BYTES] = "";
    if (found->metadata && found->metadata_size < sizeof metadata) {
        memcpy(metadata, found->metadata, found->metadata_size);
    }
    if (!partition->has_metrics) {
        partition->metrics =
            worker_metrics_partition(thread->worker->metrics.pipeline, partition->id);
        partition->has_metrics = true;
    }
    if (partition->task) {
        partition_resolve(partition, committed, metadata);
        if (!is_place(committed, metadata, partition->committed, partition->committed_metadata)) {
            partition_free_task(thread, partition); /* another has worked on it */
        }
    }
    partition->committed = committed;
    (void)snprintf(partition->committed_metadata, sizeof partition->committed_metadata, "%s",
                   metadata);
    partition->next = committed;
    partition->is_at_end = false;
    if (!partition->task) {
        return partition_new_task(thread, partition, info);
    }
    if (partition->state == PARTITION_PARKED) {
        partition->state = PARTITION_ACTIVE;
    }
    return ERR_OK; /* a restore under way goes on */
}

void worker_partition_restored(struct worker_thread *thread, int32_t number)
{
    struct source_partition *partition = &thread->partitions[number];
    CHECK(partition->state == PARTITION_RESTORING);
    partition->state = PARTITION_ACTIVE;
    metric_set(partition->metrics.restore_left, 0);
    PARTITION_LIST list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, source_topic(thread), number);
    if (!thread->is_recovering) {
        (void)rd_kafka_resume_partitions(thread->consumer, list); /* fails only for unknown ones */
    }
    struct stream_task_stats stats = stream_task_stats(partition->task);
    log_event(LOG_INFO, "partition_restored", "state is back from the changelog",
              KV("partition", number), KV("keys", (int64_t)stats.keys),
              KV("windows", (int64_t)stats.windows_open), KV("offset", partition->committed));
}

/* --- all partitions ------------------------------------------------------------------------------------- */

static void partitions_grow(struct worker_thread *thread, int32_t count)
{
    if (count <= thread->partition_count) {
        return;
    }
    thread->partitions =
        must_realloc(thread->partitions, (size_t)count * sizeof *thread->partitions);
    for (int32_t i = thread->partition_count; i < count; i++) {
        thread->partitions[i] =
            (struct source_partition){.id = i, .committed = OFFSET_NONE, .next = OFFSET_NONE};
    }
    thread->partition_count = count;
}

static void assigned_count_set(struct worker_thread *thread)
{
    int count = 0;
    for (int32_t i = 0; i < thread->partition_count; i++) {
        count += thread->partitions[i].state >= PARTITION_RESTORING;
    }
    atomic_store(&thread->assigned, count);
}

/* Restoring partitions are held back; the others flow. */
static void partitions_flow(struct worker_thread *thread)
{
    PARTITION_LIST restoring = list_of_state(thread, PARTITION_RESTORING);
    PARTITION_LIST active = list_of_state(thread, PARTITION_ACTIVE);
    if (restoring->cnt > 0) {
        (void)rd_kafka_pause_partitions(thread->consumer, restoring); /* known partitions */
    }
    if (active->cnt > 0) {
        (void)rd_kafka_resume_partitions(thread->consumer, active);
    }
}

static bool is_seek_done(const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        if (list->elems[i].err) {
            return false;
        }
    }
    return true;
}

/* To where each owned partition starts. A partition that librdkafka has stopped cannot be sought:
 * then all are assigned anew. */
static void partitions_seek(struct worker_thread *thread)
{
    PARTITION_LIST list = list_of_owned(thread);
    if (list->cnt == 0) {
        return;
    }
    rd_kafka_error_t *error = rd_kafka_seek_partitions(thread->consumer, list, SEEK_MS);
    if (error || !is_seek_done(list)) {
        PARTITION_LIST again = list_of_owned(thread);
        rd_kafka_resp_err_t code = rd_kafka_assign(thread->consumer, again);
        log_event(LOG_INFO, "partitions_reassigned", "a seek was not possible: assigned again",
                  KV("reason", error ? rd_kafka_error_string(error) : "partition stopped"),
                  KV("result", rd_kafka_err2name(code)));
        partitions_flow(thread);
    }
    rd_kafka_error_destroy(error);
}

void worker_partitions_rewind(struct worker_thread *thread)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        thread->partitions[i].next = thread->partitions[i].committed;
    }
    partitions_seek(thread);
}

/* --- assignment and recovery ------------------------------------------------------------------------------ */

static bool committed_fetch(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list)
{
    if (list->cnt == 0) {
        return true;
    }
    rd_kafka_resp_err_t code = rd_kafka_committed(thread->consumer, list, COMMITTED_MS);
    for (int i = 0; !code && i < list->cnt; i++) {
        code = list->elems[i].err;
    }
    if (code) {
        log_event(LOG_INFO, "committed_unknown",
                  "the committed offsets cannot be had yet: asked again",
                  KV("code", rd_kafka_err2name(code)), KV("thread", thread->label));
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Every partition of the list gets its place; false: on_fatal was called. */
static bool partitions_place(struct worker_thread *thread,
                             const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        struct err_info info = {0};
        enum err e = partition_place(thread, &list->elems[i], &info);
        if (e) {
            worker_thread_fail(thread, e, &info);
            return false;
        }
    }
    return true;
}

static void assignment_take(struct worker_thread *thread)
{
    int32_t top = -1;
    for (int i = 0; i < thread->pending->cnt; i++) {
        top = thread->pending->elems[i].partition > top ? thread->pending->elems[i].partition : top;
    }
    partitions_grow(thread, top + 1);
    for (int32_t i = 0; i < thread->partition_count; i++) { /* parked for nothing: freed first */
        if (thread->partitions[i].task &&
            !rd_kafka_topic_partition_list_find(thread->pending, source_topic(thread), i)) {
            partition_free_task(thread, &thread->partitions[i]);
        }
    }
    if (!partitions_place(thread, thread->pending)) {
        return;
    }
    PARTITION_LIST owned = list_of_owned(thread);
    rd_kafka_resp_err_t code = rd_kafka_assign(thread->consumer, owned);
    log_event(code ? LOG_WARN : LOG_INFO, "partitions_assigned", "the group gave partitions",
              KV("count", owned->cnt), KV("thread", thread->label),
              KV("result", rd_kafka_err2name(code)));
    rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    partitions_flow(thread);
    thread->is_recovering = false; /* whatever was open is resolved */
    thread->has_joined = true;
    assigned_count_set(thread);
    metric_add(thread->worker->metrics.rebalances, 1);
    crash_point(CRASH_AFTER_ASSIGN);
}

static void recovery_finish(struct worker_thread *thread)
{
    PARTITION_LIST list = list_of_owned(thread);
    if (!committed_fetch(thread, list) || !partitions_place(thread, list)) {
        return;
    }
    thread->is_recovering = false;
    partitions_seek(thread);
    partitions_flow(thread);
    log_event(LOG_INFO, "producer_recovered", "a new producer goes on from the committed offsets",
              KV("thread", thread->label), KV("partitions", list->cnt));
}

void worker_assign_step(struct worker_thread *thread)
{
    if ((!thread->pending && !thread->is_recovering) || thread->has_failed) {
        return;
    }
    /* A new producer's id ends whatever the lost one had open: only then is "committed" final. */
    if (!worker_output_is_ready(thread->output)) {
        return;
    }
    if (!thread->pending) {
        recovery_finish(thread);
    } else if (committed_fetch(thread, thread->pending)) {
        assignment_take(thread);
    }
}

/* --- callbacks -------------------------------------------------------------------------------------------- */

static void on_assigned(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list)
{
    if (thread->pending) {
        rd_kafka_topic_partition_list_destroy(thread->pending);
    }
    thread->pending = rd_kafka_topic_partition_list_copy(list);
}

static void partitions_park(struct worker_thread *thread)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        struct source_partition *partition = &thread->partitions[i];
        if (partition->state == PARTITION_RESTORING) {
            partition_free_task(thread, partition); /* half a state is none */
        } else if (partition->state == PARTITION_ACTIVE) {
            partition->state = PARTITION_PARKED;
        }
    }
    if (thread->pending) {
        rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    }
    atomic_store(&thread->assigned, 0);
}

/* Everything of this thread goes at once (eager rebalance): what is open is committed, or aborted
 * when the partitions are already another's. Tasks stay parked. */
static void on_revoked(struct worker_thread *thread)
{
    crash_point(CRASH_IN_REVOKE);
    bool is_lost = rd_kafka_assignment_lost(thread->consumer) != 0;
    enum err e = thread->is_recovering ? ERR_KAFKA_FATAL
                 : is_lost             ? worker_cycle_abort(thread)
                                       : worker_cycle_commit(thread);
    log_event(LOG_INFO, "partitions_revoked", "the group takes the partitions back",
              KV("thread", thread->label), KV("lost", is_lost), KV("result", err_name(e)));
    partitions_park(thread);
}

static void on_rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *context)
{
    struct worker_thread *thread = context;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        on_assigned(thread, list);
        return;
    }
    if (code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        log_event(LOG_WARN, "rebalance_error", rd_kafka_err2str(code), KV("thread", thread->label));
    }
    on_revoked(thread);
    (void)rd_kafka_assign(consumer, NULL); /* fails only while the client is being destroyed */
}

static int on_stats(rd_kafka_t *client, char *json, size_t bytes, void *context)
{
    (void)client;
    const struct worker_thread *thread = context;
    kafka_stats_take(thread->label, sv_of(json, bytes));
    return 0;
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *context)
{
    (void)client;
    const struct worker_thread *thread = context;
    log_event(LOG_WARN, "kafka_error", reason, KV("client", thread->label),
              KV("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)));
}

/* The place to go on from is not in the log: retention was faster, or the topic was made anew. */
static void offsets_lost(struct worker_thread *thread, const rd_kafka_message_t *message)
{
    struct source_partition *partition = worker_partition_active(thread, message->partition);
    if (!partition) {
        return;
    }
    struct err_info info = {0};
    (void)err_set(&info, ERR_STATE,
                  "%s-%d: offset %lld is committed, but the log does not have it any more "
                  "(retention, or the topic was deleted); pipeline.offsets.lost=earliest goes on "
                  "from the oldest record there is",
                  source_topic(thread), message->partition, (long long)message->offset);
    bool may_restart = strcmp(thread->worker->params.config->offsets_lost, "earliest") == 0;
    if (partition->committed >= 0 && !may_restart) {
        worker_thread_fail(thread, ERR_STATE, &info);
        return;
    }
    log_event(LOG_ERROR, "offsets_lost", info.text, KV("partition", message->partition));
    partition->committed = OFFSET_NONE;
    worker_partitions_rewind(thread);
}

void worker_consumer_event(struct worker_thread *thread, const rd_kafka_message_t *message)
{
    struct source_partition *partition;
    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        /* Past markers and holes too, so that an idle partition shows no lag. In order with the
         * records of its partition, hence safe to commit. */
        partition = worker_partition_active(thread, message->partition);
        if (partition) {
            partition->is_at_end = true;
            partition->next = message->offset > partition->next ? message->offset : partition->next;
        }
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        offsets_lost(thread, message);
        break;
    default:
        log_event(LOG_WARN, "kafka_error", rd_kafka_message_errstr(message),
                  KV("client", thread->label), KV("code", rd_kafka_err2name(message->err)));
    }
}

/* --- life --------------------------------------------------------------------------------------------------- */

static enum err consumer_conf(struct worker_thread *thread, rd_kafka_conf_t **ret,
                              struct err_info *info)
{
    const struct worker_params *params = &thread->worker->params;
    enum err e = kafka_conf_new(params->kafka, KAFKA_ROLE_CONSUMER_WORKER, ret, info);
    if (e) {
        return e;
    }
    rd_kafka_conf_set_opaque(*ret, thread);
    rd_kafka_conf_set_rebalance_cb(*ret, on_rebalance);
    rd_kafka_conf_set_stats_cb(*ret, on_stats);
    rd_kafka_conf_set_error_cb(*ret, on_error);
    e = kafka_conf_set(*ret, "group.id", pipeline_name(params->pipeline), info);
    if (!e) {
        e = kafka_conf_set(*ret, "group.instance.id", thread->instance, info);
    }
    if (e) {
        rd_kafka_conf_destroy(*ret);
    }
    return e;
}

enum err worker_consumer_open(struct worker_thread *thread, struct err_info *info)
{
    rd_kafka_conf_t *conf = NULL;
    enum err e = consumer_conf(thread, &conf, info);
    if (e) {
        return e;
    }
    char why[256];
    thread->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!thread->consumer) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka consumer: %s", why);
    }
    thread->queue_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (thread->queue_fd < 0) {
        return err_set(info, ERR_IO, "eventfd: %s", strerror(errno));
    }
    (void)rd_kafka_poll_set_consumer(thread->consumer); /* fails only without a group.id */
    thread->queue = rd_kafka_queue_get_consumer(thread->consumer);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(thread->queue, thread->queue_fd, &one, sizeof one);
    return ERR_OK;
}

enum err worker_consumer_subscribe(struct worker_thread *thread, struct err_info *info)
{
    PARTITION_LIST topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, source_topic(thread), RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(thread->consumer, topics);
    return code ? err_set(info, kafka_err(code), "subscribing to %s: %s", source_topic(thread),
                          rd_kafka_err2str(code))
                : ERR_OK;
}

static void consumer_destroy(struct worker_thread *thread, int flags)
{
    if (thread->queue) {
        rd_kafka_queue_io_event_enable(thread->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(TAKE(thread->queue));
    }
    rd_kafka_destroy_flags(TAKE(thread->consumer), flags);
    (void)close(thread->queue_fd);
}

enum err worker_consumer_rebuild(struct worker_thread *thread, struct err_info *info)
{
    enum err aborted = thread->is_recovering ? ERR_KAFKA_FATAL : worker_cycle_abort(thread);
    log_event(LOG_INFO, "consumer_rebuilt", "the consumer joins anew", KV("thread", thread->label),
              KV("cycle", err_name(aborted)));
    partitions_park(thread);
    consumer_destroy(thread, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); /* it is no member any more */
    thread->has_joined = false;
    enum err e = worker_consumer_open(thread, info);
    return e ? e : worker_consumer_subscribe(thread, info);
}

static void tasks_free(struct worker_thread *thread)
{
    for (int32_t i = 0; i < thread->partition_count; i++) {
        if (thread->partitions[i].task) {
            partition_free_task(thread, &thread->partitions[i]);
        }
    }
    free(TAKE(thread->partitions));
    thread->partition_count = 0;
}

bool worker_consumer_close(struct worker_thread *thread, int64_t deadline_us)
{
    if (!thread->consumer) {
        return true;
    }
    if (rd_kafka_fatal_error(thread->consumer, NULL, 0)) { /* has no group to leave */
        tasks_free(thread);
        consumer_destroy(thread, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        return true;
    }
    rd_kafka_error_destroy(rd_kafka_consumer_close_queue(thread->consumer, thread->queue));
    while (!rd_kafka_consumer_closed(thread->consumer)) {
        if (clock_mono_us() > deadline_us) {
            return false; /* left as it is: the process ends anyway */
        }
        rd_kafka_message_t *message;
        if (rd_kafka_consume_batch_queue(thread->queue, CLOSE_POLL_MS, &message, 1) > 0) {
            rd_kafka_message_destroy(message); /* the next owner reads it */
        }
    }
    tasks_free(thread);
    consumer_destroy(thread, 0);
    return true;
}
