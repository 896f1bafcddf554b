#include "worker/worker_restore.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "worker/worker_crash.h"

#define RECORDS_BATCH    2000
#define STEP_BATCHES_MAX 5
#define MARK_MS          2000
#define STALLED_US       10000000
/* A partition's last records may be a transaction's marker, or compacted away: then its end is told
 * with an answer that has no record, and the broker would hold that back for half a second. Nothing is
 * fetched when nothing is being restored, so that this costs nothing then. */
#define FETCH_WAIT_MS 5

struct worker_restore {
    const struct pipeline *pipeline;
    struct kafka_tail *tail; /* NULL: no stores */
    struct restore_partition {
        unsigned store;
        int32_t partition;
    } *partitions; /* being restored */
    size_t count, capacity;
    bool is_end_marked;
    int64_t progress_us; /* when a record last came */
};

static const char *changelog_of(const struct worker_restore *restore, unsigned store)
{
    return pipeline_store_changelog(restore->pipeline, store);
}

enum err worker_restore_add(struct worker_restore *restore, unsigned store, int32_t partition,
                            struct err_info *info)
{
    CHECK(restore->tail != NULL);
    struct kafka_position start = {changelog_of(restore, store), partition, KAFKA_EARLIEST};
    enum err e = kafka_tail_add(restore->tail, &start, 1, info);
    if (e) {
        return e;
    }
    if (restore->count == restore->capacity) {
        restore->capacity = restore->capacity ? restore->capacity * 2 : 8;
        restore->partitions =
            must_realloc(restore->partitions, restore->capacity * sizeof *restore->partitions);
    }
    restore->partitions[restore->count++] = (struct restore_partition){store, partition};
    restore->is_end_marked = false;
    restore->progress_us = clock_mono_us();
    return ERR_OK;
}

void worker_restore_remove(struct worker_restore *restore, unsigned store, int32_t partition)
{
    for (size_t i = 0; i < restore->count; i++) {
        if (restore->partitions[i].store == store &&
            restore->partitions[i].partition == partition) {
            restore->partitions[i] = restore->partitions[--restore->count];
            kafka_tail_remove(restore->tail, changelog_of(restore, store), partition);
            return;
        }
    }
}

/* The store whose changelog the record is of. */
static unsigned store_of(const struct worker_restore *restore, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    unsigned store = 0;
    while (strcmp(changelog_of(restore, store), topic) != 0) {
        store++;
        CHECK(store < pipeline_store_count(restore->pipeline)); /* nothing else was added */
    }
    return store;
}

static enum err records_take(struct worker_restore *restore,
                             const struct worker_restore_handlers *handlers, size_t *ret_count,
                             struct err_info *info)
{
    rd_kafka_message_t *messages[RECORDS_BATCH];
    size_t count = kafka_tail_poll(restore->tail, messages, RECORDS_BATCH, 0);
    const rd_kafka_topic_t *memo = NULL; /* records come in runs of one topic */
    unsigned store = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++) {
        const rd_kafka_message_t *message = messages[i];
        store = message->rkt == memo ? store : store_of(restore, message);
        memo = message->rkt;
        struct strview value = {message->payload, message->payload ? message->len : 0};
        e = handlers->on_record(handlers->context, store, message->partition,
                                sv_of(message->key, message->key_len), value, info);
    }
    for (size_t i = 0; i < count; i++) {
        rd_kafka_message_destroy(messages[i]);
    }
    *ret_count = count;
    return e;
}

static void partitions_finish(struct worker_restore *restore,
                              const struct worker_restore_handlers *handlers)
{
    for (size_t i = restore->count; i-- > 0;) {
        struct restore_partition done = restore->partitions[i];
        if (kafka_tail_partition_is_caught_up(restore->tail, changelog_of(restore, done.store),
                                              done.partition)) {
            worker_restore_remove(restore, done.store, done.partition);
            handlers->on_done(handlers->context, done.store, done.partition);
        }
    }
}

static void stall_log(struct worker_restore *restore)
{
    int64_t now_us = clock_mono_us();
    if (now_us - restore->progress_us < STALLED_US) {
        return;
    }
    restore->progress_us = now_us;
    const struct restore_partition *first = &restore->partitions[0];
    int64_t position, end;
    worker_restore_progress(restore, first->store, first->partition, &position, &end);
    log_event(LOG_WARN, "restore_stalled", "no changelog record came for 10 s",
              KV("topic", changelog_of(restore, first->store)), KV("partition", first->partition),
              KV("left", end - position));
}

enum err worker_restore_step(struct worker_restore *restore,
                             const struct worker_restore_handlers *handlers, size_t *ret_records,
                             struct err_info *info)
{
    *ret_records = 0;
    if (!restore->tail) {
        return ERR_OK;
    }
    if (restore->count > 0 && !restore->is_end_marked) {
        struct err_info why = {0};
        enum err e = kafka_tail_mark_end(restore->tail, MARK_MS, &why);
        if (e) {
            log_event(LOG_WARN, "restore_end_unknown", err_detail(e, &why),
                      KV("topic", changelog_of(restore, restore->partitions[0].store)));
        }
        restore->is_end_marked = e == ERR_OK;
    }
    /* Also with nothing to restore: statistics and errors of the client wait in the same queue, and
     * keep worker_restore_fd readable until they are taken. */
    size_t count = RECORDS_BATCH;
    for (int i = 0; i < STEP_BATCHES_MAX && count == RECORDS_BATCH; i++) {
        enum err e = records_take(restore, handlers, &count, info);
        if (e) {
            return e;
        }
        *ret_records += count;
    }
    if (*ret_records > 0) {
        restore->progress_us = clock_mono_us();
        crash_point(CRASH_IN_RESTORE);
    }
    if (restore->is_end_marked) {
        partitions_finish(restore, handlers);
    }
    if (restore->count > 0) {
        stall_log(restore);
    }
    return ERR_OK;
}

bool worker_restore_is_busy(const struct worker_restore *restore)
{
    return restore->count > 0;
}

int worker_restore_fd(const struct worker_restore *restore)
{
    return restore->tail ? kafka_tail_fd(restore->tail) : -1;
}

void worker_restore_progress(const struct worker_restore *restore, unsigned store,
                             int32_t partition, int64_t *ret_position, int64_t *ret_end)
{
    int64_t next, end;
    kafka_tail_position(restore->tail, changelog_of(restore, store), partition, &next, &end);
    *ret_end = end > 0 ? end : 0;
    *ret_position = next > 0 && end > 0 ? next : 0;
}

enum err worker_restore_new(const struct kafka_config *kafka, const struct pipeline *pipeline,
                            const char *label, struct worker_restore **ret, struct err_info *info)
{
    struct worker_restore *restore = must_alloc(sizeof *restore);
    restore->pipeline = pipeline;
    if (pipeline_store_count(pipeline) > 0) {
        enum err e = kafka_tail_new(&(struct kafka_tail_params){.config = kafka,
                                                                .label = label,
                                                                .fetch_wait_ms = FETCH_WAIT_MS},
                                    &restore->tail, info);
        if (e) {
            free(restore);
            return e;
        }
    }
    *ret = restore;
    return ERR_OK;
}

void worker_restore_free(struct worker_restore *restore)
{
    if (restore) {
        kafka_tail_free(restore->tail);
        free(restore->partitions);
        free(restore);
    }
}
