/* What tasks keep on local disk (worker_local.h): each has a copy of each of its stores' partitions. */
#include "worker/worker_thread.h"

#include <stdlib.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"

#define EPOCH_MS       5000
#define EPOCH_AGAIN_MS 2000     /* once there was no answer: there may be many partitions */
#define PLACE_US       10000000 /* a restart reads the changelog of so much time */

enum err worker_keep_epoch(struct worker_thread *thread, unsigned store, uint32_t *ret,
                           struct err_info *info)
{
    const char *topic = pipeline_store_changelog(thread->worker->params.pipeline, store);
    int64_t timeout_ms = thread->is_unanswered ? EPOCH_AGAIN_MS : EPOCH_MS;
    enum err e = kafka_topic_epoch(thread->consumer, topic, timeout_ms, ret, info);
    thread->is_unanswered = e != ERR_OK;
    return e;
}

/* Which making of its changelog the store is kept in. Asked for once a thread and store: what a topic
 * that is made anew meanwhile loses is seen at the next start. */
static bool epoch_get(struct worker_thread *thread, unsigned store, uint32_t *ret)
{
    struct store_epoch *epoch = &thread->store_epochs[store];
    struct err_info info = {0};
    const char *topic = pipeline_store_changelog(thread->worker->params.pipeline, store);
    if (!epoch->is_known) {
        enum err e = worker_keep_epoch(thread, store, &epoch->value, &info);
        if (e) {
            log_event(LOG_WARN, "local_state_unused", err_detail(e, &info), KV("topic", topic),
                      KV("thread", thread->label));
        }
        epoch->is_known = e == ERR_OK;
    }
    *ret = epoch->value;
    return epoch->is_known;
}

struct local_copy *worker_keep_open(struct worker_thread *thread, struct worker_task *task,
                                    unsigned store)
{
    struct worker *worker = thread->worker;
    uint32_t epoch;
    if (!worker->local || !pipeline_store_is_any_order(worker->params.pipeline, store) ||
        !epoch_get(thread, store, &epoch)) {
        return NULL;
    }
    CHECK(!task->copies[store]);
    task->copies[store] =
        local_copy_new(worker->local, pipeline_store_changelog(worker->params.pipeline, store),
                       task->partition, epoch);
    return task->copies[store];
}

void worker_keep_close(struct worker_thread *thread, struct worker_task *task)
{
    for (unsigned i = 0; i < thread->worker->plan->store_count; i++) {
        local_copy_free(TAKE(task->copies[i]));
    }
}

void worker_keep_record(struct worker_thread *thread, const struct stream_out *out)
{
    const struct worker *worker = thread->worker;
    const struct pipeline *pipeline = worker->params.pipeline;
    const char *topic = pipeline_topic_name(pipeline, out->topic);
    for (unsigned store = 0; store < worker->plan->store_count; store++) {
        if (pipeline_store_changelog(pipeline, store) == topic) { /* the same text */
            const struct task_index *index =
                &thread->index_of_stage[pipeline_store_stage(pipeline, store)];
            struct local_copy *copy = index->tasks[out->partition]->copies[store];
            if (copy) {
                local_copy_put(copy, out->key, out->value);
            }
            return;
        }
    }
}

void worker_keep_settle(struct worker_task *task, bool is_committed)
{
    for (unsigned i = 0; i < task->copy_count; i++) {
        if (task->copies[i]) {
            local_copy_settle(task->copies[i], is_committed);
        }
    }
}

/* False: Kafka does not tell. */
static bool task_place(struct worker_thread *thread, struct worker_task *task, int64_t now_ms)
{
    for (unsigned i = 0; i < task->copy_count; i++) {
        struct local_copy *copy = task->copies[i];
        if (!copy || !local_copy_wants_place(copy, now_ms)) {
            continue;
        }
        int64_t end = worker_restore_end(thread->restore, i, task->partition);
        if (end < 0) {
            return false;
        }
        local_copy_place(copy, end, now_ms);
    }
    return true;
}

void worker_keep_places(struct worker_thread *thread, bool is_last)
{
    int64_t now_us = clock_mono_us();
    if (!thread->worker->local || thread->cycle.is_open || thread->is_recovering ||
        (!is_last && now_us - thread->placed_us < PLACE_US)) {
        return;
    }
    thread->placed_us = now_us;
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        if (task->state == TASK_ACTIVE && !task->is_provisional &&
            !task_place(thread, task, clock_now_ms())) {
            return; /* the next time */
        }
    }
}
