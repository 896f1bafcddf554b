/* Partitions coming and going.
 *
 *            assigned                       changelogs read
 *   ABSENT ───────────► RESTORING ────────────────────────► ACTIVE
 *      ▲   \_______________________________________________▲  │
 *      │        stateless, or the parked task still fits       │ revoked
 *      └──────────────── PARKED ◄──────────────────────────────┘
 *         came to another
 *
 * Where rebalances are incremental (pipeline.rebalance), what the group gives comes on top of what
 * there is, and goes on beside it: the rest of the thread's tasks works meanwhile. What it takes back is
 * another's for good and not parked; parked are the tasks of a lost session alone.
 *
 * The rebalance callback of an assignment only notes it down: finding the committed offsets may have
 * to wait for the last owner's transaction to end, and that must not happen inside a callback.
 * worker_assign_step asks, with a short timeout, once a turn, until it knows.
 *
 * A parked task is as good as restored when the committed offsets and metadata are still what it last
 * committed: nobody else has worked on its partitions meanwhile. The same comparison tells, after a
 * commit of unknown outcome, whether it took place.
 *
 * The range assignor gives equal partitions of all topics to one member, as long as all members read
 * the same topics. While members with an older pipeline file are about they do not, and a task of
 * several inputs may get only some of them: it is HELD until the group is of one mind again.
 */
#include "worker/worker_thread.h"

#include <string.h>

#include "core/clock.h"
#include "log/log.h"
#include "worker/worker_crash.h"

#define COMMITTED_MS 1000
#define SEEK_MS      5000

/* --- lists of partitions ---------------------------------------------------------------------------------- */

/* The inputs that are ours, of tasks in one of the states from … to, at where they go on. */
static rd_kafka_topic_partition_list_t *list_of(const struct worker_thread *thread,
                                                enum task_state from, enum task_state to)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)thread->task_count);
    for (size_t i = 0; i < thread->task_count; i++) {
        const struct worker_task *task = thread->tasks[i];
        for (unsigned n = 0; n < task->input_count; n++) {
            const struct worker_input *input = &task->inputs[n];
            if (input->is_owned && task->state >= from && task->state <= to) {
                rd_kafka_topic_partition_list_add(list, worker_input_topic(thread, input),
                                                  task->partition)
                    ->offset = input->next >= 0 ? input->next : RD_KAFKA_OFFSET_BEGINNING;
            }
        }
    }
    return list;
}

void worker_tasks_pause(struct worker_thread *thread)
{
    bool is_flowing = !thread->is_recovering && !thread->is_paused;
    PARTITION_LIST still = list_of(thread, TASK_HELD, is_flowing ? TASK_RESTORING : TASK_ACTIVE);
    PARTITION_LIST active = list_of(thread, TASK_ACTIVE, TASK_ACTIVE);
    if (still->cnt > 0) {
        (void)rd_kafka_pause_partitions(thread->consumer, still); /* known partitions */
    }
    if (is_flowing && active->cnt > 0) {
        (void)rd_kafka_resume_partitions(thread->consumer, active);
    }
}

/* --- where to go on ----------------------------------------------------------------------------------------- */

/* Says nothing when nothing is wrong; the code, otherwise. */
static rd_kafka_resp_err_t error_code(rd_kafka_error_t *error)
{
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_destroy(error);
    return code;
}

/* The consumer reads the list from here on, and nothing else; where rebalances are incremental, beside
 * what it reads already. `again`: what of it is read already, and starts anew. */
static rd_kafka_resp_err_t partitions_assign(struct worker_thread *thread,
                                             rd_kafka_topic_partition_list_t *list,
                                             rd_kafka_topic_partition_list_t *again)
{
    if (!thread->worker->is_incremental) {
        return rd_kafka_assign(thread->consumer, list);
    }
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (again->cnt > 0) {
        PARTITION_LIST gone = rd_kafka_topic_partition_list_copy(again);
        code = error_code(rd_kafka_incremental_unassign(thread->consumer, gone));
    }
    return code ? code : error_code(rd_kafka_incremental_assign(thread->consumer, list));
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

/* To where each input goes on. A partition that librdkafka has stopped cannot be sought: then all are
 * assigned anew. */
static void inputs_seek(struct worker_thread *thread)
{
    PARTITION_LIST list = list_of(thread, TASK_HELD, TASK_ACTIVE);
    if (list->cnt == 0) {
        return;
    }
    rd_kafka_error_t *error = rd_kafka_seek_partitions(thread->consumer, list, SEEK_MS);
    if (error || !is_seek_done(list)) {
        PARTITION_LIST again = list_of(thread, TASK_HELD, TASK_ACTIVE);
        rd_kafka_resp_err_t code = partitions_assign(thread, again, again);
        log_event(LOG_INFO, "partitions_reassigned", "a seek was not possible: assigned again",
                  KV("reason", error ? rd_kafka_error_string(error) : "partition stopped"),
                  KV("result", rd_kafka_err2name(code)));
        worker_tasks_pause(thread);
    }
    rd_kafka_error_destroy(error);
    crash_point(CRASH_AFTER_REWIND);
}

void worker_tasks_rewind(struct worker_thread *thread)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        for (unsigned n = 0; n < task->input_count; n++) {
            struct worker_input *input = &task->inputs[n];
            if (input->is_lost) {
                input->committed = (struct place){.offset = OFFSET_NONE};
                input->is_lost = false;
            }
            worker_input_drop(input);
            input->next = input->committed.offset;
            input->is_at_end = false;
        }
    }
    thread->must_rewind = false;
    inputs_seek(thread);
}

/* --- giving tasks their places ------------------------------------------------------------------------------- */

static bool is_place(const struct place *a, const struct place *b)
{
    return a->offset == b->offset && strcmp(a->metadata, b->metadata) == 0;
}

static struct place place_of(const struct worker_thread *thread, const struct worker_input *input,
                             const rd_kafka_topic_partition_list_t *list)
{
    struct place place = {.offset = OFFSET_NONE};
    const rd_kafka_topic_partition_t *found = rd_kafka_topic_partition_list_find(
        list, worker_input_topic(thread, input), input->task->partition);
    CHECK(found || !input->is_owned); /* what was not asked for is not "nothing committed" */
    if (found && found->offset >= 0) {
        place.offset = found->offset;
    }
    if (found && found->metadata && found->metadata_size < sizeof place.metadata) {
        memcpy(place.metadata, found->metadata, found->metadata_size);
    }
    return place;
}

/* Whether the cycle whose outcome was not known took place: by what the broker has. */
static bool is_sent_committed(const struct worker_task *task, const struct place *places)
{
    bool is_committed = task->is_sent;
    for (unsigned i = 0; i < task->input_count; i++) {
        const struct worker_input *input = &task->inputs[i];
        is_committed = is_committed && (!input->is_sent || is_place(&places[i], &input->sent));
    }
    return is_committed;
}

/* Whether nobody else has worked on the task since its last commit. */
static bool is_untouched(const struct worker_task *task, const struct place *places)
{
    for (unsigned i = 0; i < task->input_count; i++) {
        const struct worker_input *input = &task->inputs[i];
        if (input->is_owned && !is_place(&places[i], &input->committed)) {
            return false;
        }
    }
    return true;
}

static void inputs_place(struct worker_task *task, const struct place *places)
{
    for (unsigned i = 0; i < task->input_count; i++) {
        struct worker_input *input = &task->inputs[i];
        worker_input_drop(input);
        input->committed = places[i];
        input->next = places[i].offset;
        input->is_at_end = input->is_lost = false;
    }
}

/* Gives the task the state and the places that fit what is committed. */
static enum err task_place(struct worker_thread *thread, struct worker_task *task,
                           const rd_kafka_topic_partition_list_t *list, struct err_info *info)
{
    struct place places[INPUT_ORDER_MAX];
    CHECK(task->input_count <= ARRAY_LEN(places));
    for (unsigned i = 0; i < task->input_count; i++) {
        places[i] = place_of(thread, &task->inputs[i], list);
    }
    if (task->stream) {
        worker_task_resolve(task, is_sent_committed(task, places));
        if (!is_untouched(task, places)) {
            worker_task_clear(thread, task);
        }
    }
    inputs_place(task, places);
    if (!task->stream) {
        return worker_task_start(thread, task, info);
    }
    if (task->state == TASK_PARKED) {
        task->state = TASK_ACTIVE;
    }
    return ERR_OK; /* a restore under way goes on */
}

static bool is_listed(const struct worker_thread *thread, const struct worker_task *task,
                      const rd_kafka_topic_partition_list_t *list)
{
    bool is_found = false;
    for (unsigned i = 0; !is_found && i < task->input_count; i++) {
        const char *topic = worker_input_topic(thread, &task->inputs[i]);
        is_found = rd_kafka_topic_partition_list_find(list, topic, task->partition) != NULL;
    }
    return is_found;
}

/* Every task that is ours, and has inputs in the list, gets its place; false: on_fatal was called. */
static bool tasks_place(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        struct err_info info = {0};
        enum err e = task->is_owned && is_listed(thread, task, list)
                         ? task_place(thread, task, list, &info)
                         : ERR_OK;
        if (e) {
            worker_thread_fail(thread, e, &info);
            return false;
        }
    }
    return true;
}

void worker_task_restored(struct worker_thread *thread, struct worker_task *task)
{
    CHECK(task->state == TASK_RESTORING);
    crash_point(CRASH_AFTER_RESTORE);
    task->state = TASK_ACTIVE;
    metric_set(task->metrics.restore_left, 0);
    PARTITION_LIST list = rd_kafka_topic_partition_list_new((int)task->input_count);
    for (unsigned i = 0; i < task->input_count; i++) {
        rd_kafka_topic_partition_list_add(list, worker_input_topic(thread, &task->inputs[i]),
                                          task->partition);
    }
    if (!thread->is_recovering && !thread->is_paused) {
        (void)rd_kafka_resume_partitions(thread->consumer, list); /* fails only for unknown ones */
    }
    struct stream_task_stats stats = stream_task_stats(task->stream);
    log_event(LOG_INFO, "task_restored", "state is back from the changelogs",
              KV("stage", (int64_t)task->stage), KV("partition", task->partition),
              KV("keys", (int64_t)stats.keys), KV("windows", (int64_t)stats.windows_open),
              KV("offset", task->inputs[0].committed.offset));
}

/* --- assignment and recovery ---------------------------------------------------------------------------------- */

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

/* Makes it when it was never here; NULL: of a topic that was not subscribed to. */
static struct worker_input *input_get(struct worker_thread *thread,
                                      const rd_kafka_topic_partition_t *partition)
{
    const struct worker_plan *plan = thread->worker->plan;
    unsigned source = worker_plan_find(plan, partition->topic);
    if (source == plan->source_count) {
        return NULL;
    }
    const struct plan_source *from = &plan->sources[source];
    return &worker_task_get(thread, from->stage, partition->partition)->inputs[from->input];
}

/* Notes which inputs are ours. */
static void inputs_own(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list)
{
    bool is_all = !thread->worker->is_incremental;
    for (size_t i = 0; is_all && i < thread->task_count; i++) {
        for (unsigned n = 0; n < thread->tasks[i]->input_count; n++) {
            thread->tasks[i]->inputs[n].is_owned = false;
        }
    }
    for (int i = 0; i < list->cnt; i++) {
        struct worker_input *input = input_get(thread, &list->elems[i]);
        if (input) {
            input->is_owned = true;
        }
    }
}

static unsigned inputs_owned(const struct worker_task *task)
{
    unsigned count = 0;
    for (unsigned i = 0; i < task->input_count; i++) {
        count += task->inputs[i].is_owned;
    }
    return count;
}

/* Which tasks are ours; what is not is freed first. */
static void tasks_own(struct worker_thread *thread)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        bool is_copartitioned = worker_stage(thread, task)->is_copartitioned;
        unsigned owned = inputs_owned(task);
        task->is_owned = owned == task->input_count || (owned > 0 && !is_copartitioned);
        if (!task->is_owned && (task->stream || task->state == TASK_HELD)) {
            worker_task_clear(thread, task);
        }
        if (!task->is_owned && owned > 0) {
            task->state = TASK_HELD;
            log_event(thread->worker->is_incremental ? LOG_INFO : LOG_WARN, "task_held",
                      "the group gave some of the partitions that are read together to others: do "
                      "all members have the same pipeline file?",
                      KV("stage", (int64_t)task->stage), KV("partition", task->partition),
                      KV("thread", thread->label));
        }
        for (unsigned n = 0; n < task->input_count; n++) {
            bool has_queue = task->order.count > 0 || task->inputs[n].is_retry ||
                             worker_stage(thread, task)->waits;
            if (has_queue && task->inputs[n].is_owned) {
                worker_input_open(thread, &task->inputs[n]);
            }
        }
    }
}

/* What else is read by the tasks that get something: it is placed with it, and read anew. */
static void neighbours_add(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list,
                           rd_kafka_topic_partition_list_t *again)
{
    int count = list->cnt;
    for (int i = 0; i < count; i++) {
        struct worker_input *input = input_get(thread, &list->elems[i]);
        for (unsigned n = 0; input && n < input->task->input_count; n++) {
            const struct worker_input *other = &input->task->inputs[n];
            const char *topic = worker_input_topic(thread, other);
            int32_t partition = input->task->partition;
            if (other->is_owned && !rd_kafka_topic_partition_list_find(list, topic, partition)) {
                rd_kafka_topic_partition_list_add(list, topic, partition);
                rd_kafka_topic_partition_list_add(again, topic, partition);
            }
        }
    }
}

/* The partitions at where their inputs go on. */
static rd_kafka_topic_partition_list_t *places_of(struct worker_thread *thread,
                                                  const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *places = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        const struct worker_input *input = input_get(thread, &list->elems[i]);
        if (input) {
            rd_kafka_topic_partition_list_add(places, list->elems[i].topic,
                                              list->elems[i].partition)
                ->offset = input->next >= 0 ? input->next : RD_KAFKA_OFFSET_BEGINNING;
        }
    }
    return places;
}

static void assigned_count(struct worker_thread *thread)
{
    int count = 0;
    for (size_t i = 0; i < thread->task_count; i++) {
        count += (int)inputs_owned(thread->tasks[i]);
    }
    worker_phase_update(thread);
    atomic_store(&thread->assigned, count);
}

/* The places are known: `list` is ours from here on. */
static void assignment_take(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list,
                            rd_kafka_topic_partition_list_t *again)
{
    inputs_own(thread, list);
    tasks_own(thread);
    if (!tasks_place(thread, list)) {
        return;
    }
    crash_point(CRASH_BEFORE_ASSIGN);
    PARTITION_LIST places = places_of(thread, list);
    rd_kafka_resp_err_t code = partitions_assign(thread, places, again);
    log_event(code ? LOG_WARN : LOG_INFO, "partitions_assigned", "the group gave partitions",
              KV("count", places->cnt), KV("thread", thread->label),
              KV("result", rd_kafka_err2name(code)));
    rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    if (!thread->worker->is_incremental) {
        thread->is_recovering = thread->must_rewind = false; /* whatever was open is resolved */
    }
    worker_tasks_pause(thread);
    thread->has_joined = true;
    thread->awaits_group = false;
    worker_standby_begin(thread->worker->standby);
    thread->joined_us = clock_mono_us();
    assigned_count(thread);
    metric_add(thread->worker->metrics.rebalances, 1);
    crash_point(CRASH_AFTER_ASSIGN);
}

static void assignment_try(struct worker_thread *thread)
{
    PARTITION_LIST list = rd_kafka_topic_partition_list_copy(thread->pending);
    PARTITION_LIST again = rd_kafka_topic_partition_list_new(0);
    if (thread->worker->is_incremental) {
        neighbours_add(thread, list, again);
    }
    /* A task that gets one input more goes on from what is committed. */
    enum err e = again->cnt > 0 ? worker_cycle_commit(thread) : ERR_OK;
    if (e == ERR_TXN_ABORT) {
        worker_tasks_rewind(thread);
    } else if (!e && committed_fetch(thread, list)) {
        assignment_take(thread, list, again);
    }
}

static void recovery_finish(struct worker_thread *thread)
{
    PARTITION_LIST list = list_of(thread, TASK_HELD, TASK_ACTIVE);
    if (!committed_fetch(thread, list) || !tasks_place(thread, list)) {
        return;
    }
    thread->is_recovering = thread->must_rewind = false;
    inputs_seek(thread);
    worker_tasks_pause(thread);
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
    /* What comes on top of what there is waits until that is known again. */
    if (thread->is_recovering && (!thread->pending || thread->worker->is_incremental)) {
        recovery_finish(thread);
    } else {
        assignment_try(thread);
    }
}

void worker_assign_note(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list)
{
    if (thread->pending && !thread->worker->is_incremental) {
        rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    }
    if (!thread->pending) {
        thread->pending = rd_kafka_topic_partition_list_new(list->cnt);
    }
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_list_add(thread->pending, list->elems[i].topic,
                                          list->elems[i].partition);
    }
    worker_phase_update(thread);
}

/* --- giving back ------------------------------------------------------------------------------------------- */

static void input_release(struct worker_input *input)
{
    worker_input_drop(input);
    input->is_owned = input->is_lost = false;
    input->committed = (struct place){.offset = OFFSET_NONE};
    input->next = OFFSET_NONE;
}

/* Tasks lose inputs to others for good: they are gone, and what else they read goes to `rest`, to be
 * placed anew. */
static void tasks_release(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list,
                          rd_kafka_topic_partition_list_t *rest)
{
    for (int i = 0; i < list->cnt; i++) {
        struct worker_input *input = input_get(thread, &list->elems[i]);
        if (input) {
            input_release(input);
        }
    }
    for (int i = 0; i < list->cnt; i++) {
        struct worker_input *input = input_get(thread, &list->elems[i]);
        for (unsigned n = 0; input && n < input->task->input_count; n++) {
            struct worker_input *other = &input->task->inputs[n];
            if (other->is_owned) {
                rd_kafka_topic_partition_list_add(rest, worker_input_topic(thread, other),
                                                  input->task->partition);
                input_release(other);
            }
        }
        if (input) {
            worker_task_clear(thread, input->task);
            input->task->is_owned = false;
        }
    }
}

static void list_append(rd_kafka_topic_partition_list_t *list,
                        const rd_kafka_topic_partition_list_t *more)
{
    for (int i = 0; i < more->cnt; i++) {
        const rd_kafka_topic_partition_t *element = &more->elems[i];
        if (!rd_kafka_topic_partition_list_find(list, element->topic, element->partition)) {
            rd_kafka_topic_partition_list_add(list, element->topic, element->partition);
        }
    }
}

/* Part of what there is. What was given and not taken yet is taken first, since librdkafka lets nothing
 * else be given back, and waits again afterwards. */
static void part_release(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list)
{
    PARTITION_LIST rest = rd_kafka_topic_partition_list_new(0);
    tasks_release(thread, list, rest);
    if (thread->pending) {
        (void)error_code(rd_kafka_incremental_assign(thread->consumer, thread->pending));
        for (int i = 0; i < list->cnt; i++) {
            (void)rd_kafka_topic_partition_list_del(thread->pending, list->elems[i].topic,
                                                    list->elems[i].partition);
        }
        list_append(rest, thread->pending);
        rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    }
    PARTITION_LIST gone = rd_kafka_topic_partition_list_copy(list);
    list_append(gone, rest);
    rd_kafka_resp_err_t code = error_code(rd_kafka_incremental_unassign(thread->consumer, gone));
    if (code) { /* only while the client is being destroyed */
        log_event(LOG_WARN, "unassign_failed", rd_kafka_err2str(code), KV("thread", thread->label));
    }
    if (rest->cnt > 0) {
        worker_assign_note(thread, rest);
    }
    assigned_count(thread);
}

void worker_assign_release(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list,
                           bool is_lost)
{
    if (!thread->worker->is_incremental) {
        worker_tasks_park(thread);
        (void)rd_kafka_assign(thread->consumer, NULL); /* fails only while the client goes */
    } else if (!is_lost) {
        part_release(thread, list);
    } else {
        if (thread->pending) {
            (void)error_code(rd_kafka_incremental_assign(thread->consumer, thread->pending));
        }
        worker_tasks_park(thread);
        (void)error_code(rd_kafka_incremental_unassign(thread->consumer, list));
    }
}

void worker_tasks_park(struct worker_thread *thread)
{
    for (size_t i = 0; i < thread->task_count; i++) {
        struct worker_task *task = thread->tasks[i];
        /* Nobody's until the group says so: a recovery meanwhile must not give it a place, which it
         * would take for the partition's begin. */
        task->is_owned = false;
        for (unsigned n = 0; n < task->input_count; n++) {
            task->inputs[n].is_owned = false;
        }
        if (task->state == TASK_ACTIVE) {
            task->state = TASK_PARKED;
            for (unsigned n = 0; n < task->input_count; n++) {
                worker_input_drop(&task->inputs[n]);
            }
        } else if (task->state != TASK_PARKED) {
            worker_task_clear(thread, task); /* half a state is none */
        }
    }
    if (thread->pending) {
        rd_kafka_topic_partition_list_destroy(TAKE(thread->pending));
    }
    thread->awaits_group = !thread->worker->is_incremental;
    worker_phase_update(thread);
    atomic_store(&thread->assigned, 0);
}
