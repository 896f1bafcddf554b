/* Deletes what was read from repartition topics.
 *
 * Their records must not expire before they are read, so that their topics keep them for ever, and
 * somebody has to delete them: each partition's owner does, up to its committed offset, now and then.
 * Nothing waits for it, and nothing is lost when it fails: the next time deletes more.
 */
#include "worker/worker_thread.h"

#include "core/clock.h"
#include "log/log.h"

static rd_kafka_topic_partition_list_t *list_of_read(const struct worker_thread *thread)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        for (unsigned n = 0; n < task->input_count && task->state == TASK_ACTIVE; n++) {
            struct worker_input *input = &task->inputs[n];
            if (thread->worker->plan->sources[input->source].is_internal && input->is_owned &&
                input->committed.offset > input->purged) {
                rd_kafka_topic_partition_list_add(list, worker_input_topic(thread, input),
                                                  task->partition)
                    ->offset = input->committed.offset;
                input->purged = input->committed.offset;
            }
        }
    }
    return list;
}

static void purge_ask(struct worker_thread *thread)
{
    PARTITION_LIST list = list_of_read(thread);
    if (list->cnt == 0) {
        return;
    }
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    thread->purge.queue = rd_kafka_queue_new(thread->consumer);
    rd_kafka_DeleteRecords(thread->consumer, &request, 1, NULL, thread->purge.queue);
    rd_kafka_DeleteRecords_destroy(request);
}

/* The first thing that went wrong, of the request or of one partition. */
static rd_kafka_resp_err_t purge_result(rd_kafka_event_t *event)
{
    const rd_kafka_DeleteRecords_result_t *result = rd_kafka_event_DeleteRecords_result(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const rd_kafka_topic_partition_list_t *list =
        result ? rd_kafka_DeleteRecords_result_offsets(result) : NULL;
    for (int i = 0; !code && list && i < list->cnt; i++) {
        code = list->elems[i].err;
    }
    return code;
}

static bool is_final(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
           code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
}

static void purge_take(struct worker_thread *thread)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(thread->purge.queue, 0);
    if (!event) {
        return;
    }
    rd_kafka_resp_err_t code = purge_result(event);
    if (is_final(code)) {
        thread->purge.is_off = true;
        log_event(LOG_WARN, "purge_impossible",
                  "what was read from repartition topics stays in them: this worker may not delete "
                  "it, or the broker cannot",
                  KV("code", rd_kafka_err2name(code)), KV("thread", thread->label));
    } else if (code) {
        log_event(LOG_INFO, "purge_failed", "tried again the next time",
                  KV("code", rd_kafka_err2name(code)), KV("thread", thread->label));
    }
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(TAKE(thread->purge.queue));
}

void worker_purge_step(struct worker_thread *thread, int64_t now_us)
{
    int64_t interval_us = thread->worker->params.config->purge_interval_ms * 1000;
    if (thread->purge.queue) {
        purge_take(thread);
    } else if (thread->worker->plan->has_internal && !thread->purge.is_off &&
               now_us - thread->purge.asked_us >= interval_us) {
        thread->purge.asked_us = now_us;
        purge_ask(thread);
    }
}

void worker_purge_stop(struct worker_thread *thread)
{
    if (thread->purge.queue) {
        rd_kafka_queue_destroy(TAKE(thread->purge.queue));
    }
}
