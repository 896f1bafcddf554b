#include "once_search.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/strview.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"

#define SEARCH_MS        30000
#define SEARCH_MARGIN_MS 600000
#define SEARCH_RECORDS   10000
#define ASK_MS           5000
#define POLL_MS          100
#define BATCH_MAX        2000
#define PARTITIONS_MAX   4096
#define ID_BYTES         (ONCE_SEARCH_PREFIX_BYTES + 8)

struct once_search {
    struct once_search_params params;
    pthread_t thread;
    atomic_bool is_cancelled;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct once_search_job *waiting;
    bool is_stopping;
};

/* --- one search for several jobs of a topic --------------------------------------------------------- */

static int64_t since_of(const struct once_search_job *jobs)
{
    int64_t since_ms = jobs->since_ms;
    for (const struct once_search_job *job = jobs; job; job = job->next) {
        since_ms = job->since_ms < since_ms ? job->since_ms : since_ms;
    }
    return since_ms > SEARCH_MARGIN_MS ? since_ms - SEARCH_MARGIN_MS : 0;
}

/* Where a partition is read from. */
static enum err start_find(rd_kafka_t *client, const rd_kafka_topic_partition_t *at, int64_t *ret,
                           struct err_info *info)
{
    int64_t low, high;
    const rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(client, at->topic, at->partition, &low, &high, ASK_MS);
    if (code || at->err) {
        return err_set(info, kafka_err(code ? code : at->err), "%s-%d: %s", at->topic,
                       at->partition, rd_kafka_err2str(code ? code : at->err));
    }
    const int64_t tail = high - low > SEARCH_RECORDS ? high - SEARCH_RECORDS : low;
    *ret = at->offset >= 0 && at->offset < tail ? at->offset : tail;
    return ERR_OK;
}

static void listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    rd_kafka_topic_partition_list_destroy(*list);
}

static enum err tail_assign(struct kafka_tail *tail, const struct once_search_job *jobs,
                            struct err_info *info)
{
    rd_kafka_t *client = kafka_tail_client(tail);
    int32_t count;
    enum err e = kafka_topic_partitions(client, jobs->topic, ASK_MS, &count, info);
    if (e || count > PARTITIONS_MAX) {
        return e ? e : err_set(info, ERR_LIMIT, "%s has %d partitions", jobs->topic, count);
    }
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int32_t p = 0; p < count; p++) {
        rd_kafka_topic_partition_list_add(list, jobs->topic, p)->offset = since_of(jobs);
    }
    const rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, ASK_MS);
    if (code) {
        return err_set(info, kafka_err(code), "%s: %s", jobs->topic, rd_kafka_err2str(code));
    }
    struct kafka_position *positions = must_alloc((size_t)count * sizeof *positions);
    for (int32_t p = 0; p < count && !e; p++) {
        positions[p] = (struct kafka_position){jobs->topic, p, 0};
        e = start_find(client, &list->elems[p], &positions[p].offset, info);
    }
    if (!e) {
        e = kafka_tail_add(tail, positions, (size_t)count, info);
    }
    free(positions);
    return e ? e : kafka_tail_mark_end(tail, ASK_MS, info);
}

static void found_add(struct once_search_job *job, uint32_t index,
                      const rd_kafka_message_t *message)
{
    if (job->found_count == job->found_capacity) {
        job->found_capacity = job->found_capacity ? 2 * job->found_capacity : 16;
        job->found = must_realloc(job->found, job->found_capacity * sizeof *job->found);
    }
    rd_kafka_timestamp_type_t type;
    job->found[job->found_count++] = (struct once_found){
        .index = index,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
    };
}

static bool index_read(const char *digits, uint32_t *ret)
{
    uint32_t index = 0;
    for (size_t i = 0; i < 8; i++) {
        const char c = digits[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        index = index << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = index;
    return true;
}

static void message_take(struct once_search_job *jobs, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers;
    const void *id;
    size_t bytes;
    uint32_t index;
    if (rd_kafka_message_headers(message, &headers) ||
        rd_kafka_header_get_last(headers, "millrace-idempotency-key", &id, &bytes) ||
        bytes != ID_BYTES || !index_read((const char *)id + ONCE_SEARCH_PREFIX_BYTES, &index)) {
        return;
    }
    for (struct once_search_job *job = jobs; job; job = job->next) {
        if (memcmp(job->prefix, id, ONCE_SEARCH_PREFIX_BYTES) == 0) {
            found_add(job, index, message);
        }
    }
}

static enum err records_read(struct once_search *search, struct kafka_tail *tail,
                             struct once_search_job *jobs)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    const int64_t deadline_us = clock_mono_us() + SEARCH_MS * 1000LL;
    while (!kafka_tail_is_caught_up(tail)) {
        if (atomic_load(&search->is_cancelled)) {
            return ERR_DRAINING;
        }
        if (clock_mono_us() > deadline_us) {
            return ERR_KAFKA_TIMEOUT;
        }
        const size_t count = kafka_tail_poll(tail, messages, BATCH_MAX, POLL_MS);
        for (size_t i = 0; i < count; i++) {
            message_take(jobs, messages[i]);
            rd_kafka_message_destroy(messages[i]);
        }
    }
    return ERR_OK;
}

/* jobs are of one topic. */
static void search_run(struct once_search *search, struct once_search_job *jobs)
{
    const struct kafka_tail_params params = {
        .config = search->params.kafka, .read_uncommitted = true, .label = "idempotency-search"};
    struct err_info info = {0};
    struct kafka_tail *tail = NULL;
    enum err e = kafka_tail_new(&params, &tail, &info);
    if (!e) {
        e = tail_assign(tail, jobs, &info);
    }
    if (!e) {
        e = records_read(search, tail, jobs);
    }
    kafka_tail_free(tail);
    log_event(e ? LOG_WARN : LOG_INFO, "idempotency_search",
              e ? err_detail(e, &info) : "what a request has stored was looked for in its topic",
              KV("topic", jobs->topic), KV("found", jobs->found_count));
    while (jobs) {
        struct once_search_job *job = jobs;
        jobs = job->next;
        job->err = e;
        search->params.on_done(job);
    }
}

/* --- the thread ------------------------------------------------------------------------------------ */

/* With the lock: the oldest job and all others of its topic. */
static struct once_search_job *jobs_take(struct once_search *search)
{
    struct once_search_job *taken = search->waiting;
    struct once_search_job **end = &taken->next, **at = &search->waiting;
    search->waiting = taken->next;
    taken->next = NULL;
    while (*at) {
        struct once_search_job *job = *at;
        if (strcmp(job->topic, taken->topic) == 0) {
            *at = job->next;
            job->next = NULL;
            *end = job;
            end = &job->next;
        } else {
            at = &job->next;
        }
    }
    return taken;
}

static void *search_main(void *context)
{
    struct once_search *search = context;
    (void)pthread_mutex_lock(&search->lock);
    for (;;) {
        while (!search->waiting && !search->is_stopping) {
            (void)pthread_cond_wait(&search->wake, &search->lock);
        }
        if (!search->waiting) {
            break;
        }
        struct once_search_job *jobs = jobs_take(search);
        (void)pthread_mutex_unlock(&search->lock);
        search_run(search, jobs);
        (void)pthread_mutex_lock(&search->lock);
    }
    (void)pthread_mutex_unlock(&search->lock);
    return NULL;
}

void once_search_ask(struct once_search *search, struct once_search_job *job)
{
    (void)pthread_mutex_lock(&search->lock);
    struct once_search_job **end = &search->waiting;
    while (*end) {
        end = &(*end)->next;
    }
    job->next = NULL;
    *end = job;
    (void)pthread_cond_signal(&search->wake);
    (void)pthread_mutex_unlock(&search->lock);
}

void once_search_cancel(struct once_search *search)
{
    atomic_store(&search->is_cancelled, true);
}

struct once_search *once_search_start(const struct once_search_params *params)
{
    struct once_search *search = must_alloc(sizeof *search);
    search->params = *params;
    (void)pthread_mutex_init(&search->lock, NULL);
    (void)pthread_cond_init(&search->wake, NULL);
    CHECK(pthread_create(&search->thread, NULL, search_main, search) == 0);
    return search;
}

void once_search_stop(struct once_search *search)
{
    if (!search) {
        return;
    }
    once_search_cancel(search);
    (void)pthread_mutex_lock(&search->lock);
    search->is_stopping = true;
    (void)pthread_cond_signal(&search->wake);
    (void)pthread_mutex_unlock(&search->lock);
    CHECK(pthread_join(search->thread, NULL) == 0);
    (void)pthread_cond_destroy(&search->wake);
    (void)pthread_mutex_destroy(&search->lock);
    free(search);
}
