#include "worker/worker_restore.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "worker/worker_crash.h"

#define RECORDS_BATCH    2000
#define FOLLOW_BATCH     500 /* who takes over waits for one of them */
#define STEP_BATCHES_MAX 5
#define MARK_MS          2000
#define END_MS           10000 /* reading all of it would wait for the same leader, and take longer */
#define END_AGAIN_MS     1000 /* once there was no answer; and of who follows, whom others wait for */
#define ROWS_BATCH       20000
#define HELD_BYTES       ((size_t)1 << 20) /* of a copy, while its changelog is read */
#define STALLED_US       10000000
#define KEEP_US          10000000
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
        struct local_copy *copy; /* NULL: none */
        bool is_local;           /* the copy's rows come first, then … */
        bool is_lost;            /* of one that follows: the log went on without it */
        int64_t place;           /* … the changelog from here */
    } *partitions;               /* being restored */
    size_t count, capacity;
    bool is_following;
    bool is_end_marked;
    bool is_unanswered;  /* the last question for a changelog's end was */
    int64_t progress_us; /* when a record last came */
    int64_t kept_us;     /* when copies of those that are followed were last told where they are */
};

static const char *changelog_of(const struct worker_restore *restore, unsigned store)
{
    return pipeline_store_changelog(restore->pipeline, store);
}

static enum err tail_add(struct worker_restore *restore, const struct restore_partition *added,
                         int64_t offset, struct err_info *info)
{
    struct kafka_position start = {changelog_of(restore, added->store), added->partition, offset};
    restore->is_end_marked = false;
    restore->progress_us = clock_mono_us();
    return kafka_tail_add(restore->tail, &start, 1, info);
}

/* False as well when that cannot be known. */
bool worker_restore_has(struct worker_restore *restore, unsigned store, int32_t partition,
                        int64_t place, const char *event)
{
    int64_t low, high;
    const char *topic = changelog_of(restore, store);
    int timeout_ms = restore->is_following || restore->is_unanswered ? END_AGAIN_MS : END_MS;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        kafka_tail_client(restore->tail), topic, partition, &low, &high, timeout_ms);
    restore->is_unanswered = code != RD_KAFKA_RESP_ERR_NO_ERROR;
    bool has = !code && place >= low && place <= high;
    if (!has) {
        log_event(LOG_WARN, event,
                  code ? "the changelog's end is not known: all of it is read"
                       : "the changelog does not have the copy's place: all of it is read",
                  KV("topic", topic), KV("partition", partition), KV("offset", place));
    }
    return has;
}

enum err worker_restore_add(struct worker_restore *restore, unsigned store, int32_t partition,
                            struct local_copy *copy, int64_t place, struct err_info *info)
{
    CHECK(restore->tail != NULL);
    struct restore_partition added = {
        .store = store, .partition = partition, .copy = copy, .place = place};
    if (copy && place < 0) {
        added.place = local_copy_find(copy, clock_now_ms());
        added.is_local = added.place >= 0 && worker_restore_has(restore, store, partition,
                                                                added.place, "local_state_stale");
        if (!added.is_local) {
            local_copy_clear(copy);
        }
    }
    enum err e = added.is_local
                     ? ERR_OK
                     : tail_add(restore, &added, place >= 0 ? place : KAFKA_EARLIEST, info);
    if (e) {
        return e;
    }
    if (restore->count == restore->capacity) {
        restore->capacity = restore->capacity ? restore->capacity * 2 : 8;
        restore->partitions =
            must_realloc(restore->partitions, restore->capacity * sizeof *restore->partitions);
    }
    restore->partitions[restore->count++] = added;
    return ERR_OK;
}

static struct restore_partition *partition_find(const struct worker_restore *restore,
                                                unsigned store, int32_t partition)
{
    for (size_t i = 0; i < restore->count; i++) {
        if (restore->partitions[i].store == store &&
            restore->partitions[i].partition == partition) {
            return &restore->partitions[i];
        }
    }
    return NULL;
}

void worker_restore_remove(struct worker_restore *restore, unsigned store, int32_t partition)
{
    struct restore_partition *found = partition_find(restore, store, partition);
    if (!found) {
        return;
    }
    if (!found->is_local) {
        kafka_tail_remove(restore->tail, changelog_of(restore, store), partition);
    }
    *found = restore->partitions[--restore->count];
}

/* --- rows of copies ---------------------------------------------------------------------------------------- */

struct row_reader {
    const struct worker_restore_handlers *handlers;
    const struct restore_partition *partition;
    size_t count;
};

static enum err on_row(void *context, struct strview key, struct strview value,
                       struct err_info *info)
{
    struct row_reader *reader = context;
    reader->count++;
    return reader->handlers->on_record(reader->handlers->context, reader->partition->store,
                                       reader->partition->partition, key, value, info);
}

/* Some rows of one copy. Whatever is wrong with them, the changelog is what counts. */
static enum err rows_take(struct worker_restore *restore, struct restore_partition *partition,
                          const struct worker_restore_handlers *handlers, size_t *count,
                          struct err_info *info)
{
    struct row_reader rows = {handlers, partition, 0};
    const struct local_reader reader = {on_row, &rows};
    struct err_info why = {0};
    bool is_end;
    enum err e = local_copy_read(partition->copy, ROWS_BATCH, &reader, &is_end, &why);
    *count += rows.count;
    if (e) {
        log_event(LOG_WARN, "local_state_lost", err_detail(e, &why),
                  KV("topic", changelog_of(restore, partition->store)),
                  KV("partition", partition->partition));
        local_copy_clear(partition->copy);
        handlers->on_copy_lost(handlers->context, partition->store, partition->partition);
        return ERR_OK;
    }
    if (is_end) {
        partition->is_local = false;
        return tail_add(restore, partition, partition->place, info);
    }
    return ERR_OK;
}

static struct restore_partition *local_first(const struct worker_restore *restore)
{
    for (size_t i = 0; i < restore->count; i++) {
        if (restore->partitions[i].is_local) {
            return &restore->partitions[i];
        }
    }
    return NULL;
}

/* --- records of changelogs --------------------------------------------------------------------------------- */

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

static void copy_keep(struct local_copy *copy, struct strview key, struct strview value)
{
    local_copy_put(copy, key, value);
    if (local_copy_held(copy) >= HELD_BYTES) {
        local_copy_settle(copy, true);
    }
}

static enum err records_take(struct worker_restore *restore,
                             const struct worker_restore_handlers *handlers, size_t *ret_count,
                             struct err_info *info)
{
    rd_kafka_message_t *messages[RECORDS_BATCH];
    size_t max = restore->is_following ? FOLLOW_BATCH : RECORDS_BATCH;
    size_t count = kafka_tail_poll(restore->tail, messages, max, 0);
    const struct restore_partition *memo = NULL; /* records come in runs of one partition */
    const rd_kafka_topic_t *topic = NULL;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++) {
        const rd_kafka_message_t *message = messages[i];
        if (!memo || message->rkt != topic || message->partition != memo->partition) {
            memo = partition_find(restore, store_of(restore, message), message->partition);
            topic = message->rkt;
        }
        if (!memo) {
            continue; /* removed since it was fetched */
        }
        struct strview key = sv_of(message->key, message->key_len);
        struct strview value = {message->payload, message->payload ? message->len : 0};
        e = handlers->on_record(handlers->context, memo->store, memo->partition, key, value, info);
        if (!e && memo->copy) {
            copy_keep(memo->copy, key, value);
        }
    }
    for (size_t i = 0; i < count; i++) {
        rd_kafka_message_destroy(messages[i]);
    }
    *ret_count = count;
    return e;
}

/* All that was read is in it. */
static void copy_finish(struct worker_restore *restore, const struct restore_partition *done)
{
    int64_t next, ignored;
    if (done->copy) {
        kafka_tail_position(restore->tail, changelog_of(restore, done->store), done->partition,
                            &next, &ignored);
        local_copy_settle(done->copy, true);
        local_copy_place(done->copy, next > 0 ? next : 0, clock_now_ms());
    }
}

rd_kafka_t *worker_restore_client(const struct worker_restore *restore)
{
    return restore->tail ? kafka_tail_client(restore->tail) : NULL;
}

void worker_restore_place(const struct worker_restore *restore, unsigned store, int32_t partition,
                          int64_t *ret_next, int64_t *ret_end)
{
    const struct restore_partition *found = partition_find(restore, store, partition);
    *ret_next = *ret_end = -1;
    if (found && !found->is_local && !found->is_lost) {
        kafka_tail_position(restore->tail, changelog_of(restore, store), partition, ret_next,
                            ret_end);
    }
}

int64_t worker_restore_release(struct worker_restore *restore, unsigned store, int32_t partition)
{
    int64_t next, ignored;
    worker_restore_place(restore, store, partition, &next, &ignored);
    if (next >= 0) {
        copy_finish(restore, partition_find(restore, store, partition));
    }
    worker_restore_remove(restore, store, partition);
    return next;
}

/* Records are missing between where one that follows was and where its log goes on. */
static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct worker_restore *restore = context;
    (void)from, (void)to; /* kafka_gap has told them */
    for (size_t i = 0; i < restore->count; i++) {
        struct restore_partition *partition = &restore->partitions[i];
        bool is_it = partition->partition == at->partition &&
                     strcmp(changelog_of(restore, partition->store), at->topic) == 0;
        partition->is_lost = partition->is_lost || (is_it && restore->is_following);
    }
}

static void lost_tell(struct worker_restore *restore,
                      const struct worker_restore_handlers *handlers)
{
    for (size_t i = restore->count; i-- > 0;) {
        struct restore_partition lost = restore->partitions[i];
        if (lost.is_lost) {
            if (lost.copy) {
                local_copy_clear(lost.copy);
            }
            handlers->on_copy_lost(handlers->context, lost.store, lost.partition);
            return; /* which may have removed others: the next one in the next step */
        }
    }
}

static void partitions_finish(struct worker_restore *restore,
                              const struct worker_restore_handlers *handlers)
{
    for (size_t i = restore->count; i-- > 0;) {
        struct restore_partition done = restore->partitions[i];
        if (!done.is_local &&
            kafka_tail_partition_is_caught_up(restore->tail, changelog_of(restore, done.store),
                                              done.partition)) {
            copy_finish(restore, &done);
            worker_restore_remove(restore, done.store, done.partition);
            handlers->on_done(handlers->context, done.store, done.partition);
        }
    }
}

/* What a restart would find on disk, now and then. */
static void copies_keep(struct worker_restore *restore)
{
    int64_t now_us = clock_mono_us(), next, ignored;
    if (now_us - restore->kept_us < KEEP_US) {
        return;
    }
    restore->kept_us = now_us;
    for (size_t i = 0; i < restore->count; i++) {
        const struct restore_partition *partition = &restore->partitions[i];
        worker_restore_place(restore, partition->store, partition->partition, &next, &ignored);
        if (partition->copy && next >= 0) {
            copy_finish(restore, partition);
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

static void end_mark(struct worker_restore *restore)
{
    if (restore->count == 0 || restore->is_end_marked) {
        return;
    }
    struct err_info why = {0};
    enum err e = kafka_tail_mark_end(restore->tail, MARK_MS, &why);
    if (e) {
        log_event(LOG_WARN, "restore_end_unknown", err_detail(e, &why),
                  KV("topic", changelog_of(restore, restore->partitions[0].store)));
    }
    restore->is_end_marked = e == ERR_OK;
}

static enum err batches_take(struct worker_restore *restore,
                             const struct worker_restore_handlers *handlers, size_t *records,
                             struct err_info *info)
{
    size_t count = RECORDS_BATCH;
    int batches_max = restore->is_following ? 1 : STEP_BATCHES_MAX;
    for (int i = 0; i < batches_max && count == RECORDS_BATCH; i++) {
        enum err e = records_take(restore, handlers, &count, info);
        if (e) {
            return e;
        }
        *records += count;
    }
    return ERR_OK;
}

enum err worker_restore_step(struct worker_restore *restore,
                             const struct worker_restore_handlers *handlers,
                             struct worker_restore_counts *ret, struct err_info *info)
{
    *ret = (struct worker_restore_counts){0};
    if (!restore->tail) {
        return ERR_OK;
    }
    struct restore_partition *local = local_first(restore);
    enum err e = local ? rows_take(restore, local, handlers, &ret->rows, info) : ERR_OK;
    if (e) {
        return e;
    }
    if (!restore->is_following) {
        end_mark(restore);
    }
    /* Also with nothing to restore: statistics and errors of the client wait in the same queue, and
     * keep worker_restore_fd readable until they are taken. */
    e = batches_take(restore, handlers, &ret->records, info);
    if (e) {
        return e;
    }
    if (ret->records + ret->rows > 0) {
        restore->progress_us = clock_mono_us();
    }
    ret->has_more = local_first(restore) != NULL;
    if (restore->is_following) {
        lost_tell(restore, handlers);
        copies_keep(restore);
        return ERR_OK;
    }
    if (ret->records + ret->rows > 0) {
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

int64_t worker_restore_end(struct worker_restore *restore, unsigned store, int32_t partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(kafka_tail_client(restore->tail),
                                                                changelog_of(restore, store),
                                                                partition, &low, &high, END_MS);
    return code ? -1 : high;
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
                            const char *label, bool is_following, struct worker_restore **ret,
                            struct err_info *info)
{
    struct worker_restore *restore = must_alloc(sizeof *restore);
    restore->pipeline = pipeline;
    restore->is_following = is_following;
    if (pipeline_store_count(pipeline) > 0) {
        const struct kafka_tail_params params = {.config = kafka,
                                                 .label = label,
                                                 .fetch_wait_ms = is_following ? 0 : FETCH_WAIT_MS,
                                                 .is_background = is_following,
                                                 .on_gap = on_gap,
                                                 .context = restore};
        enum err e = kafka_tail_new(&params, &restore->tail, info);
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
