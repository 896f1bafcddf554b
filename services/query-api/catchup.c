#include "catchup.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "cursor.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "query_metrics.h"

#define POLL_MS          20
#define BATCH_MAX        500
#define QUERY_TIMEOUT_MS 10000  /* longer than a partition is mostly without a leader */
#define SLICE_US         200000 /* how long a job keeps its thread while others wait */
#define EXTRA_MAX        64

enum job_state {
    JOB_WAITING, /* in line */
    JOB_RUNNING,
    JOB_PARKED, /* its queue is full */
    JOB_DONE,
};

struct job_partition {
    char *topic;
    uint16_t topic_index;
    uint32_t reading_index;
    int32_t partition;
    int64_t next;
    int64_t told;             /* of `next`, to the client */
    int64_t gap_from, gap_to; /* found while resolving; equal: none */
    int64_t end;              /* of the log, while resolving */
};

struct catchup_job {
    struct catchup *catchup;
    struct catchup_job *next_in_line;
    void (*on_items)(void *context);
    void *context;
    struct job_partition *partitions; /* the running thread's */
    size_t count;
    bool is_resolved;
    /* Below: catchup->lock. */
    enum job_state state;
    bool is_ended;              /* by the client */
    bool is_waiting;            /* its thread waits for room in its queue */
    struct catchup_item *items; /* taken … item_count-1 */
    size_t taken, item_count, item_capacity;
    size_t bytes;
};

struct catchup {
    struct catchup_config config;
    struct kafka_config kafka; /* with small queues: a job's slice is short */
    struct config_pair pairs[EXTRA_MAX];
    pthread_mutex_t lock; /* guards what follows, and the parts of jobs that say so */
    pthread_cond_t changed;
    struct catchup_job *line_first, *line_last;
    int64_t job_count;
    bool is_stopping;
    size_t thread_count;
    pthread_t *threads;
};

/* --- a job's queue ---------------------------------------------------------------------------------- */

static size_t item_bytes(const struct catchup_item *item)
{
    return sizeof *item + (item->frame ? item->frame->bytes : 0);
}

/* The client is told once, when there is something again. */
static void job_push(struct catchup_job *job, const struct catchup_item *item)
{
    (void)pthread_mutex_lock(&job->catchup->lock);
    bool was_empty = job->taken == job->item_count;
    if (was_empty) {
        job->taken = job->item_count = 0;
    }
    if (job->item_count == job->item_capacity) {
        job->item_capacity = job->item_capacity ? job->item_capacity * 2 : 64;
        job->items = must_realloc(job->items, job->item_capacity * sizeof *job->items);
    }
    job->items[job->item_count++] = *item;
    job->bytes += item_bytes(item);
    bool is_ended = job->is_ended;
    (void)pthread_mutex_unlock(&job->catchup->lock);
    if (was_empty && !is_ended) {
        job->on_items(job->context);
    }
}

static void job_free(struct catchup_job *job)
{
    for (size_t i = job->taken; i < job->item_count; i++) {
        if (job->items[i].frame) {
            frame_unref(job->items[i].frame);
        }
    }
    for (size_t i = 0; i < job->count; i++) {
        free(job->partitions[i].topic);
    }
    free(job->partitions);
    free(job->items);
    free(job);
}

static void line_append(struct catchup_job *job)
{
    struct catchup *catchup = job->catchup;
    job->state = JOB_WAITING;
    job->next_in_line = NULL;
    if (catchup->line_last) {
        catchup->line_last->next_in_line = job;
    } else {
        catchup->line_first = job;
    }
    catchup->line_last = job;
    (void)pthread_cond_broadcast(
        &catchup->changed); /* an idle thread, or one that waits for room */
}

bool catchup_take(struct catchup_job *job, struct catchup_item *ret)
{
    (void)pthread_mutex_lock(&job->catchup->lock);
    bool is_there = job->taken < job->item_count;
    if (is_there) {
        *ret = job->items[job->taken++];
        job->bytes -= item_bytes(ret);
    }
    if (job->bytes <= (size_t)job->catchup->config.queue_bytes_max / 2) {
        if (job->state == JOB_PARKED) {
            line_append(job);
        } else if (job->is_waiting) {
            job->is_waiting = false;
            (void)pthread_cond_broadcast(&job->catchup->changed);
        }
    }
    (void)pthread_mutex_unlock(&job->catchup->lock);
    return is_there;
}

struct catchup_job *catchup_submit(struct catchup *catchup, const struct catchup_params *params)
{
    (void)pthread_mutex_lock(&catchup->lock);
    bool is_taken = catchup->job_count < catchup->config.jobs_max && !catchup->is_stopping;
    catchup->job_count += is_taken;
    (void)pthread_mutex_unlock(&catchup->lock);
    if (!is_taken) {
        return NULL;
    }
    struct catchup_job *job = must_alloc(sizeof *job);
    *job = (struct catchup_job){.catchup = catchup,
                                .on_items = params->on_items,
                                .context = params->context,
                                .count = params->count};
    job->partitions = must_alloc(params->count * sizeof *job->partitions);
    for (size_t i = 0; i < params->count; i++) {
        const struct catchup_position *position = &params->positions[i];
        job->partitions[i] = (struct job_partition){.topic = must_strdup(position->topic),
                                                    .topic_index = position->topic_index,
                                                    .reading_index = position->reading_index,
                                                    .partition = position->partition,
                                                    .next = position->next,
                                                    .told = position->next};
    }
    (void)pthread_mutex_lock(&catchup->lock);
    line_append(job);
    (void)pthread_mutex_unlock(&catchup->lock);
    query_metrics_catchup_begin();
    return job;
}

void catchup_end(struct catchup_job *job)
{
    if (!job) {
        return;
    }
    struct catchup *catchup = job->catchup;
    (void)pthread_mutex_lock(&catchup->lock);
    job->is_ended = true;
    catchup->job_count--;
    if (job->is_waiting) {
        (void)pthread_cond_broadcast(&catchup->changed);
    }
    /* In line or running: the thread that has it next frees it. */
    bool is_mine = job->state == JOB_PARKED || job->state == JOB_DONE;
    (void)pthread_mutex_unlock(&catchup->lock);
    query_metrics_catchup_end();
    if (is_mine) {
        job_free(job);
    }
}

/* --- serving a job ------------------------------------------------------------------------------------ */

struct thread {
    struct catchup *catchup;
    struct catchup_job *job;
    struct kafka_tail *tail;
    struct frame_maker maker;
};

static struct job_partition *partition_find(struct catchup_job *job, const char *topic,
                                            int32_t partition)
{
    for (size_t i = 0; i < job->count; i++) {
        if (job->partitions[i].partition == partition &&
            strcmp(job->partitions[i].topic, topic) == 0) {
            return &job->partitions[i];
        }
    }
    return NULL;
}

static void tell_gap(struct catchup_job *job, const struct job_partition *partition, int64_t from,
                     int64_t to)
{
    job_push(job, &(struct catchup_item){.kind = CATCHUP_GAP,
                                         .reading_index = partition->reading_index,
                                         .partition = partition->partition,
                                         .from = from,
                                         .to = to});
}

static void tell_position(struct catchup_job *job, struct job_partition *partition)
{
    partition->told = partition->next;
    job_push(job, &(struct catchup_item){.kind = CATCHUP_POSITION,
                                         .reading_index = partition->reading_index,
                                         .partition = partition->partition,
                                         .to = partition->next});
}

static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct thread *thread = context;
    struct job_partition *partition =
        thread->job ? partition_find(thread->job, at->topic, at->partition) : NULL;
    if (partition) {
        partition->next = at->offset;
        tell_gap(thread->job, partition, from, to);
        tell_position(thread->job, partition);
    }
}

/* A position below the log is a gap, one past its end as well: the log was made anew or cut. */
static enum err partition_resolve(struct thread *thread, struct job_partition *partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(kafka_tail_client(thread->tail), partition->topic,
                                         partition->partition, &low, &high, QUERY_TIMEOUT_MS);
    if (code) {
        log_event(LOG_WARN, "catchup_resolve", rd_kafka_err2str(code),
                  KV("topic", partition->topic), KV("partition", partition->partition));
        return kafka_err(code);
    }
    int64_t asked = partition->next;
    partition->end = high;
    if (cursor_is_time(asked)) {
        return ERR_OK; /* times_resolve */
    }
    if (asked == CURSOR_EARLIEST) {
        partition->next = low;
    } else if (asked < low) {
        partition->next = partition->gap_to = low;
        partition->gap_from = asked;
    } else if (asked > high) {
        partition->next = partition->gap_from = high;
        partition->gap_to = asked;
    }
    return ERR_OK;
}

static void listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    rd_kafka_topic_partition_list_destroy(*list);
}

/* Where no record is as late: the end, as it was before Kafka was asked. One that has come since is
 * then not passed over. */
static enum err times_take(struct catchup_job *job, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &list->elems[i];
        struct job_partition *partition = partition_find(job, found->topic, found->partition);
        if (found->err) {
            log_event(LOG_WARN, "catchup_times", rd_kafka_err2str(found->err),
                      KV("topic", found->topic), KV("partition", found->partition));
            return kafka_err(found->err);
        }
        partition->next = found->offset >= 0 ? found->offset : partition->end;
    }
    return ERR_OK;
}

static enum err times_resolve(struct thread *thread)
{
    struct catchup_job *job = thread->job;
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)job->count);
    for (size_t i = 0; i < job->count; i++) {
        const struct job_partition *partition = &job->partitions[i];
        if (cursor_is_time(partition->next)) {
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition)
                ->offset = cursor_time(partition->next);
        }
    }
    if (list->cnt == 0) {
        return ERR_OK;
    }
    rd_kafka_resp_err_t code =
        rd_kafka_offsets_for_times(kafka_tail_client(thread->tail), list, QUERY_TIMEOUT_MS);
    if (code) {
        log_event(LOG_WARN, "catchup_times", rd_kafka_err2str(code), KV("partitions", list->cnt));
        return kafka_err(code);
    }
    return times_take(job, list);
}

/* Gaps come before it is said where the client is: one that is cut in between has not passed them. */
static void resolved_tell(struct catchup_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        tell_position(job, &job->partitions[i]);
    }
    for (size_t i = 0; i < job->count; i++) {
        const struct job_partition *partition = &job->partitions[i];
        if (partition->gap_from != partition->gap_to) {
            tell_gap(job, partition, partition->gap_from, partition->gap_to);
        }
    }
    job_push(job, &(struct catchup_item){.kind = CATCHUP_RESOLVED});
}

static enum err job_resolve(struct thread *thread)
{
    struct catchup_job *job = thread->job;
    if (job->is_resolved) {
        return ERR_OK;
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < job->count && !e; i++) {
        e = partition_resolve(thread, &job->partitions[i]);
    }
    e = e ? e : times_resolve(thread);
    if (!e) {
        job->is_resolved = true;
        resolved_tell(job);
    }
    return e;
}

static enum err job_assign(struct thread *thread)
{
    struct catchup_job *job = thread->job;
    struct err_info info = {0};
    struct kafka_position *positions = must_alloc(job->count * sizeof *positions);
    for (size_t i = 0; i < job->count; i++) {
        const struct job_partition *partition = &job->partitions[i];
        positions[i] =
            (struct kafka_position){partition->topic, partition->partition, partition->next};
    }
    enum err e = kafka_tail_add(thread->tail, positions, job->count, &info);
    free(positions);
    if (e) {
        log_event(LOG_WARN, "catchup_assign", err_detail(e, &info), KV("partitions", job->count));
    }
    return e;
}

static void job_unassign(struct thread *thread)
{
    for (size_t i = 0; i < thread->job->count; i++) {
        kafka_tail_remove(thread->tail, thread->job->partitions[i].topic,
                          thread->job->partitions[i].partition);
    }
}

/* ERR_DRAINING: the end came while its schema was waited for. */
static enum err message_take(struct thread *thread, const rd_kafka_message_t *message)
{
    struct catchup_job *job = thread->job;
    struct job_partition *partition =
        partition_find(job, rd_kafka_topic_name(message->rkt), message->partition);
    CHECK(partition);
    if (avro_reader_waits(&thread->maker.avro, partition->topic_index,
                          sv_of(message->payload, message->payload ? message->len : 0))) {
        return ERR_DRAINING;
    }
    partition->next = message->offset + 1;
    partition->told = partition->next; /* the frame says it */
    struct frame *frame = frame_of_message(&thread->maker, message, partition->topic_index,
                                           (struct strview){0}, clock_mono_us());
    job_push(job, &(struct catchup_item){.kind = CATCHUP_FRAME,
                                         .frame = frame,
                                         .reading_index = partition->reading_index,
                                         .partition = partition->partition});
    return ERR_OK;
}

/* Transaction markers and compacted holes are passed without a record. */
static void positions_tell(struct thread *thread)
{
    struct catchup_job *job = thread->job;
    for (size_t i = 0; i < job->count; i++) {
        struct job_partition *partition = &job->partitions[i];
        int64_t next, end;
        kafka_tail_position(thread->tail, partition->topic, partition->partition, &next, &end);
        if (next > partition->told) {
            partition->next = next;
            tell_position(job, partition);
        }
    }
}

static enum err job_poll(struct thread *thread)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    enum err e = ERR_OK;
    size_t count = kafka_tail_poll(thread->tail, messages, BATCH_MAX, POLL_MS);
    for (size_t i = 0; i < count; i++) {
        e = e ? e : message_take(thread, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    if (!e) {
        positions_tell(thread);
    }
    return e;
}

static bool is_full(const struct catchup_job *job)
{
    return job->bytes >= (size_t)job->catchup->config.queue_bytes_max;
}

/* Whether the job is to leave the thread: nobody wants it, or others wait and its queue is full or
 * its time is up. While nobody waits, a full queue is waited for: to begin again costs a fetch. */
static bool job_leaves(struct thread *thread, int64_t until_us)
{
    struct catchup *catchup = thread->catchup;
    struct catchup_job *job = thread->job;
    (void)pthread_mutex_lock(&catchup->lock);
    job->is_waiting = is_full(job);
    while (job->is_waiting && !catchup->line_first && !job->is_ended && !catchup->is_stopping) {
        (void)pthread_cond_wait(&catchup->changed, &catchup->lock);
    }
    job->is_waiting = false;
    bool is_leaving = job->is_ended || catchup->is_stopping ||
                      (catchup->line_first && (is_full(job) || clock_mono_us() >= until_us));
    (void)pthread_mutex_unlock(&catchup->lock);
    return is_leaving;
}

static enum err job_run(struct thread *thread)
{
    enum err e = job_resolve(thread);
    if (!e) {
        e = job_assign(thread);
    }
    if (e) {
        return e;
    }
    int64_t until_us = clock_mono_us() + SLICE_US;
    do {
        e = job_poll(thread);
    } while (!e && !job_leaves(thread, until_us));
    job_unassign(thread);
    return e;
}

/* The last touch of a job by its thread: from here on it may be anyone's. */
static void job_release(struct catchup_job *job, enum err result)
{
    struct catchup *catchup = job->catchup;
    if (result) {
        job_push(job, &(struct catchup_item){.kind = CATCHUP_FAILED});
    }
    (void)pthread_mutex_lock(&catchup->lock);
    bool is_ended = job->is_ended;
    if (result) {
        job->state = JOB_DONE;
    } else if (job->bytes > (size_t)catchup->config.queue_bytes_max / 2) {
        job->state = JOB_PARKED;
    } else if (!is_ended) {
        line_append(job);
    }
    (void)pthread_mutex_unlock(&catchup->lock);
    if (is_ended) {
        job_free(job);
    }
}

/* NULL: the end has come. */
static struct catchup_job *line_take(struct catchup *catchup)
{
    struct catchup_job *job = NULL;
    (void)pthread_mutex_lock(&catchup->lock);
    while (!catchup->line_first && !catchup->is_stopping) {
        (void)pthread_cond_wait(&catchup->changed, &catchup->lock);
    }
    if (!catchup->is_stopping) {
        job = catchup->line_first;
        catchup->line_first = job->next_in_line;
        catchup->line_last = catchup->line_first ? catchup->line_last : NULL;
        job->state = JOB_RUNNING;
    }
    (void)pthread_mutex_unlock(&catchup->lock);
    return job;
}

static bool job_is_ended(struct catchup_job *job)
{
    (void)pthread_mutex_lock(&job->catchup->lock);
    bool is_ended = job->is_ended;
    (void)pthread_mutex_unlock(&job->catchup->lock);
    return is_ended;
}

/* The Kafka client is made for the first job: most processes never need one. */
static enum err tail_get(struct thread *thread)
{
    if (thread->tail) {
        return ERR_OK;
    }
    struct err_info info = {0};
    const struct kafka_tail_params params = {
        .config = &thread->catchup->kafka, .on_gap = on_gap, .context = thread, .label = "catchup"};
    enum err e = kafka_tail_new(&params, &thread->tail, &info);
    if (e) {
        log_event(LOG_ERROR, "catchup_client", err_detail(e, &info), KV("error", err_name(e)));
    }
    return e;
}

static void *catchup_thread(void *context)
{
    struct thread thread = {.catchup = context};
    frame_maker_init(&thread.maker, thread.catchup->config.avro);
    while ((thread.job = line_take(thread.catchup)) != NULL) {
        enum err e = ERR_OK;
        if (!job_is_ended(thread.job)) {
            e = tail_get(&thread);
            e = e ? e : job_run(&thread);
        }
        job_release(TAKE(thread.job), e);
    }
    kafka_tail_free(thread.tail);
    frame_maker_free(&thread.maker);
    return NULL;
}

/* --- life --------------------------------------------------------------------------------------------- */

/* The user's properties first: of two equal names the later one counts. */
static void kafka_config_make(struct catchup *catchup)
{
    static const struct config_pair small[] = {
        /* What is prefetched beyond a slice is fetched again. */
        {"queued.max.messages.kbytes", "4096"},
        {"fetch.message.max.bytes", "524288"},
        {"fetch.wait.max.ms", "100"},
    };
    const struct kafka_config *given = catchup->config.kafka;
    catchup->kafka = *given;
    size_t count = 0;
    for (size_t i = 0; i < given->extra.count && count < EXTRA_MAX - ARRAY_LEN(small); i++) {
        catchup->pairs[count++] = given->extra.pairs[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(small); i++) {
        catchup->pairs[count++] = small[i];
    }
    catchup->kafka.extra.pairs = catchup->pairs;
    catchup->kafka.extra.count = count;
}

enum err catchup_new(const struct catchup_config *config, struct catchup **ret,
                     struct err_info *info)
{
    if (config->kafka->extra.count > EXTRA_MAX / 2) {
        return err_set(info, ERR_CONFIG, "more than %d properties under kafka.", EXTRA_MAX / 2);
    }
    struct catchup *catchup = must_alloc(sizeof *catchup);
    catchup->config = *config;
    kafka_config_make(catchup);
    CHECK(pthread_mutex_init(&catchup->lock, NULL) == 0);
    CHECK(pthread_cond_init(&catchup->changed, NULL) == 0);
    catchup->thread_count = (size_t)config->threads;
    catchup->threads = must_alloc(catchup->thread_count * sizeof *catchup->threads);
    for (size_t i = 0; i < catchup->thread_count; i++) {
        CHECK(pthread_create(&catchup->threads[i], NULL, catchup_thread, catchup) == 0);
    }
    *ret = catchup;
    return ERR_OK;
}

void catchup_free(struct catchup *catchup)
{
    if (!catchup) {
        return;
    }
    (void)pthread_mutex_lock(&catchup->lock);
    catchup->is_stopping = true;
    (void)pthread_cond_broadcast(&catchup->changed);
    (void)pthread_mutex_unlock(&catchup->lock);
    for (size_t i = 0; i < catchup->thread_count; i++) {
        CHECK(pthread_join(catchup->threads[i], NULL) == 0);
    }
    while (catchup->line_first) {
        struct catchup_job *job = catchup->line_first;
        catchup->line_first = job->next_in_line;
        job_free(job);
    }
    CHECK(pthread_mutex_destroy(&catchup->lock) == 0);
    CHECK(pthread_cond_destroy(&catchup->changed) == 0);
    free(catchup->threads);
    free(catchup);
}
