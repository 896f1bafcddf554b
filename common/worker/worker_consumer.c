/* The consumer of a thread: its life, and what it tells. */
#include "worker/worker_thread.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_stats.h"
#include "log/log.h"
#include "worker/worker_check.h"
#include "worker/worker_crash.h"

#define CLOSE_POLL_MS        100
#define CONSUMER_LOSSES_MAX  5
#define UNSUPPORTED_ASSIGNOR 112 /* RD_KAFKA_RESP_ERR_…, which older libraries do not name */

/* Where inputs have queues of their own; the user's own values come before these. */
static const struct config_pair ordered_properties[] = {
    {"queued.max.messages.kbytes", "8192"}, /* each input has a queue that may be filled */
    {"fetch.wait.max.ms", "100"}, /* how late it may be known that an input is at its end */
};

/* --- callbacks -------------------------------------------------------------------------------------------- */

/* All that is open is committed, or aborted when the partitions are already another's; what stays ours
 * goes on from there. */
static void on_revoked(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list)
{
    crash_point(CRASH_IN_REVOKE);
    bool is_lost = rd_kafka_assignment_lost(thread->consumer) != 0;
    if (is_lost && !rd_kafka_fatal_error(thread->consumer, NULL, 0)) {
        thread->consumer_losses = 0; /* what comes of it is our own doing: see below */
    }
    enum err e = thread->is_recovering ? ERR_KAFKA_FATAL
                 : is_lost             ? worker_cycle_abort(thread)
                                       : worker_cycle_commit(thread);
    log_event(LOG_INFO, "partitions_revoked", "the group takes partitions back",
              KV("thread", thread->label), KV("count", list ? list->cnt : 0), KV("lost", is_lost),
              KV("result", err_name(e)));
    /* Not here: the batch that is being taken has records from further on. */
    thread->must_rewind =
        thread->must_rewind || (thread->worker->is_incremental && e == ERR_TXN_ABORT);
    crash_point(CRASH_AFTER_REVOKE);
    worker_assign_release(thread, list, is_lost);
}

static void on_rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *context)
{
    (void)consumer;
    struct worker_thread *thread = context;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        worker_assign_note(thread, list);
        return;
    }
    if (code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        log_event(LOG_WARN, "rebalance_error", rd_kafka_err2str(code), KV("thread", thread->label));
    }
    on_revoked(thread, list);
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
    struct worker_thread *thread = context;
    log_event(LOG_WARN, "kafka_error", reason, KV("client", thread->label),
              KV("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)));
    worker_tell_error(thread, kafka_err((rd_kafka_resp_err_t)code), "Kafka", reason);
}

/* --- messages that are no records ---------------------------------------------------------------------------- */

/* The place to go on from is not in the log: retention was faster, or the topic was made anew. */
static void offsets_lost(struct worker_thread *thread, struct worker_input *input,
                         const rd_kafka_message_t *message)
{
    struct err_info info = {0};
    (void)err_set(&info, ERR_STATE,
                  "%s-%d: offset %lld is committed, but the log does not have it any more "
                  "(retention, or the topic was deleted); pipeline.offsets.lost=earliest goes on "
                  "from the oldest record there is",
                  worker_input_topic(thread, input), message->partition,
                  (long long)message->offset);
    bool may_restart = strcmp(thread->worker->params.config->offsets_lost, "earliest") == 0;
    if (input->committed.offset >= 0 && !may_restart) {
        worker_thread_fail(thread, ERR_STATE, &info);
        return;
    }
    log_event(LOG_ERROR, "offsets_lost", info.text, KV("topic", worker_input_topic(thread, input)),
              KV("partition", message->partition));
    input->is_lost = thread->must_rewind = true;
}

/* The input that an event is about; NULL: none of an active task. */
static struct worker_input *input_of(const struct worker_thread *thread,
                                     const rd_kafka_message_t *message)
{
    const struct worker_plan *plan = thread->worker->plan;
    unsigned source = message->rkt ? worker_plan_find(plan, rd_kafka_topic_name(message->rkt))
                                   : plan->source_count;
    struct worker_input *input =
        source < plan->source_count ? worker_input_find(thread, source, message->partition) : NULL;
    return input && input->task->state == TASK_ACTIVE ? input : NULL;
}

void worker_consumer_event(struct worker_thread *thread, const rd_kafka_message_t *message)
{
    struct worker_input *input = input_of(thread, message);
    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        /* Past markers and holes too, so that an idle partition shows no lag. In order with the
         * records of its partition, hence safe to commit; but not where those were dropped. */
        if (input && worker_may_process(thread)) {
            input->is_at_end = true;
            input->next = message->offset > input->next ? message->offset : input->next;
        }
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        if (input) {
            offsets_lost(thread, input, message);
        }
        break;
    default:
        log_event(LOG_WARN, "kafka_error", rd_kafka_message_errstr(message),
                  KV("client", thread->label), KV("code", rd_kafka_err2name(message->err)));
    }
}

void worker_fetch_close(struct worker_thread *thread, const struct worker_input *input,
                        struct kafka_fetch *fetch)
{
    if (fetch->is_broken && input && worker_may_process(thread)) {
        const rd_kafka_message_t *message = fetch->message;
        struct err_info info = {0};
        (void)err_set(
            &info, ERR_STATE,
            "%s-%d: the batch that ends with offset %lld cannot be read from offset %lld on: there "
            "is no record of Kafka's format (to go on behind it, reset the group's offset)",
            worker_input_topic(thread, input), message->partition, (long long)message->offset,
            (long long)input->next);
        worker_thread_fail(thread, ERR_STATE, &info);
    }
    kafka_fetch_close(fetch);
}

/* --- life --------------------------------------------------------------------------------------------------- */

/* Whether the user has set it. */
static bool has_property(const struct kafka_config *kafka, const char *name)
{
    for (size_t i = 0; i < kafka->extra.count; i++) {
        if (strcmp(kafka->extra.pairs[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static enum err consumer_conf(struct worker_thread *thread, rd_kafka_conf_t **ret,
                              struct err_info *info)
{
    const struct worker_params *params = &thread->worker->params;
    enum kafka_role role = worker_consumer_role(params->config);
    enum err e = kafka_conf_new(params->kafka, role, ret, info);
    if (e) {
        return e;
    }
    rd_kafka_conf_set_opaque(*ret, thread);
    rd_kafka_conf_set_fetch_records(*ret);
    rd_kafka_conf_set_rebalance_cb(*ret, on_rebalance);
    rd_kafka_conf_set_stats_cb(*ret, on_stats);
    rd_kafka_conf_set_error_cb(*ret, on_error);
    e = kafka_conf_set(*ret, "group.id", pipeline_name(params->pipeline), info);
    /* Brokers let a static member of their protocol in again only when its session has ended (45 s): a
     * worker that was killed comes back sooner as somebody else. */
    if (!e && role != KAFKA_ROLE_BROKER_WORKER) {
        e = kafka_conf_set(*ret, "group.instance.id", thread->instance, info);
    }
    for (size_t i = 0; !e && thread->worker->plan->has_queues && i < ARRAY_LEN(ordered_properties);
         i++) {
        const struct config_pair *pair = &ordered_properties[i];
        e = has_property(params->kafka, pair->name)
                ? ERR_OK
                : kafka_conf_set(*ret, pair->name, pair->value, info);
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
    const struct worker_plan *plan = thread->worker->plan;
    PARTITION_LIST topics = rd_kafka_topic_partition_list_new((int)plan->source_count);
    for (unsigned i = 0; i < plan->source_count; i++) {
        rd_kafka_topic_partition_list_add(topics, plan->sources[i].topic, RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_resp_err_t code = rd_kafka_subscribe(thread->consumer, topics);
    return code ? err_set(info, kafka_err(code), "subscribing to %s and %u more: %s",
                          plan->sources[0].topic, plan->source_count - 1, rd_kafka_err2str(code))
                : ERR_OK;
}

static void consumer_destroy(struct worker_thread *thread, int flags)
{
    worker_purge_stop(thread);
    for (size_t i = 0; i < thread->task_count; i++) { /* their queues are the consumer's */
        for (unsigned n = 0; n < thread->tasks[i]->input_count; n++) {
            worker_input_close(&thread->tasks[i]->inputs[n]);
        }
    }
    if (thread->queue) {
        rd_kafka_queue_io_event_enable(thread->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(TAKE(thread->queue));
    }
    rd_kafka_destroy_flags(TAKE(thread->consumer), flags);
    (void)close(thread->queue_fd);
}

/* In place of one that cannot go on; tasks are parked. */
static enum err consumer_rebuild(struct worker_thread *thread, struct err_info *info)
{
    enum err aborted = thread->is_recovering ? ERR_KAFKA_FATAL : worker_cycle_abort(thread);
    log_event(LOG_INFO, "consumer_rebuilt", "the consumer joins anew", KV("thread", thread->label),
              KV("cycle", err_name(aborted)));
    worker_tasks_park(thread);
    consumer_destroy(thread, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); /* it is no member any more */
    thread->has_joined = false;
    enum err e = worker_consumer_open(thread, info);
    return e ? e : worker_consumer_subscribe(thread, info);
}

/* What a new consumer would meet again. */
static bool is_incurable(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case UNSUPPORTED_ASSIGNOR:
    case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED:
        return true;
    default:
        return false;
    }
}

/* Why the consumer cannot be replaced by another; ERR_OK: it can. */
static enum err loss_judge(struct worker_thread *thread, rd_kafka_resp_err_t code, const char *why,
                           struct err_info *info)
{
    const char *group = pipeline_name(thread->worker->params.pipeline);
    int64_t session_ms = kafka_conf_number(rd_kafka_conf(thread->consumer), "session.timeout.ms");
    bool is_soon = clock_mono_us() - thread->joined_us < session_ms * 1000 || !thread->has_joined;
    thread->consumer_losses = is_soon ? thread->consumer_losses + 1 : 0;
    if (is_incurable(code)) {
        return err_set(info, ERR_KAFKA_FATAL, "consumer of group %s: %s", group, why);
    }
    if (thread->consumer_losses >= CONSUMER_LOSSES_MAX) {
        return err_set(info, ERR_KAFKA_FATAL,
                       "group %s: instance %s was fenced %d times in a row: another process has "
                       "the same instance.id",
                       group, thread->instance, thread->consumer_losses);
    }
    return ERR_OK;
}

/* A static member that was away for longer than its session can fence itself: librdkafka asks to join
 * twice, and the second answer outlaws the first. A consumer in that state is lost, like a producer.
 * Losing a session takes a session's time, so one that is fenced sooner after it joined, with no
 * session lost before it, is fenced by somebody: the same thing again and again is another process
 * with our name. */
void worker_consumer_check(struct worker_thread *thread)
{
    char why[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(thread->consumer, why, sizeof why);
    if (!code || thread->has_failed) {
        return;
    }
    struct err_info info = {0};
    enum err e = loss_judge(thread, code, why, &info);
    if (!e) {
        log_event(LOG_WARN, "consumer_lost", why, KV("thread", thread->label),
                  KV("instance", thread->instance));
        worker_tell_error(thread, ERR_KAFKA_FATAL, "consumer", why);
        e = consumer_rebuild(thread, &info);
    }
    if (e) {
        worker_thread_fail(thread, e, &info);
    }
}

bool worker_consumer_close(struct worker_thread *thread, int64_t deadline_us)
{
    if (!thread->consumer) {
        return true;
    }
    if (rd_kafka_fatal_error(thread->consumer, NULL, 0)) { /* has no group to leave */
        worker_tasks_free(thread);
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
    worker_tasks_free(thread);
    consumer_destroy(thread, 0);
    return true;
}
