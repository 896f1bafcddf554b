#define _GNU_SOURCE /* pthread_setname_np */

#include "worker/worker_standby.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "worker/worker_restore.h"

#define ASK_MS     2000
#define LOOK_US    500000 /* how often it is looked how far it is, and what is to be followed */
#define SETTLE_US  500000 /* partitions may be moving: that they do not for so long is waited for */
#define LEARN_US   5000000 /* changelogs are made by whoever fills them, and made anew */
#define BEGINS_MAX 8       /* that have not caught up once */

/* One partition of a stage that keeps state. */
struct part {
    unsigned stage;
    int32_t partition;
    int64_t rank;               /* the lower the sooner; -1: not to be followed */
    bool is_left_out;           /* there was no room, or no success: not before something moves */
    bool is_bad;                /* a record was none: the owner's restore will say so */
    struct stream_task *stream; /* NULL: not followed */
    struct local_copy **copies; /* by store */
    int64_t *goals;             /* by store: … */
    int64_t goals_us;           /* … their ends at this time */
    int64_t read_us;            /* all that was there then is read; 0: never yet */
    int64_t begun_us, lag;
    uint64_t bytes;
};

struct stage {
    int32_t count; /* of partitions; 0: not known yet, or it keeps nothing */
    struct part *parts;
};

/* Which partitions of a stage are the worker's. */
struct owned {
    bool *flags;
    int32_t count;
};

struct worker_standby {
    struct worker_standby_params params;
    pthread_t thread;
    int wake_fd; /* eventfd */
    atomic_bool is_stopping, has_begun;
    int64_t learned_us, looked_us; /* the thread's own … */
    bool may_begin;                /* … there may be room for another */
    pthread_mutex_t work;          /* guards restore, stages, epochs: held for a step */
    pthread_cond_t is_free;        /* no takers any more */
    atomic_int takers;             /* that want `work`: the thread lets them go first */
    struct worker_restore *restore;
    struct stage *stages;
    uint32_t *epochs;      /* by store */
    pthread_mutex_t notes; /* guards what follows, taken inside work or alone: held for moments */
    struct owned *owned;   /* by stage */
    bool is_changed;       /* since the thread has looked */
    int64_t changed_us;
    struct buf text;
};

static const struct plan_stage *plan_of(const struct worker_standby *standby, unsigned stage)
{
    return &standby->params.plan->stages[stage];
}

static const char *changelog_of(const struct worker_standby *standby, unsigned store)
{
    return pipeline_store_changelog(standby->params.pipeline, store);
}

/* --- whose partitions are -------------------------------------------------------------------------------- */

static void wake(struct worker_standby *standby)
{
    static const uint64_t one = 1;
    (void)!write(standby->wake_fd, &one, sizeof one); /* far from its limit */
}

static void owned_set(struct worker_standby *standby, unsigned stage, int32_t partition,
                      bool is_owned)
{
    (void)pthread_mutex_lock(&standby->notes);
    struct owned *owned = &standby->owned[stage];
    if (partition >= owned->count) {
        owned->flags = must_realloc(owned->flags, (size_t)(partition + 1) * sizeof *owned->flags);
        memset(owned->flags + owned->count, 0,
               (size_t)(partition + 1 - owned->count) * sizeof *owned->flags);
        owned->count = partition + 1;
    }
    standby->is_changed = standby->is_changed || owned->flags[partition] != is_owned;
    owned->flags[partition] = is_owned;
    standby->changed_us = clock_mono_us();
    (void)pthread_mutex_unlock(&standby->notes);
}

static bool is_owned(struct worker_standby *standby, const struct part *part)
{
    (void)pthread_mutex_lock(&standby->notes);
    const struct owned *owned = &standby->owned[part->stage];
    bool is = part->partition < owned->count && owned->flags[part->partition];
    (void)pthread_mutex_unlock(&standby->notes);
    return is;
}

void worker_standby_rank(const bool *owned, int32_t count, bool is_ranged, int64_t *ret_ranks)
{
    int64_t owned_count = 0, last = INT32_MIN;
    for (int32_t p = 0; p < count; p++) {
        owned_count += owned[p];
        last = owned[p] ? p : last;
        ret_ranks[p] = p - last;
    }
    last = INT64_C(2) * INT32_MAX;
    for (int32_t p = count; p-- > 0;) {
        last = owned[p] ? p : last;
        ret_ranks[p] = last - p < ret_ranks[p] ? last - p : ret_ranks[p];
        bool is_far = is_ranged && owned_count > 0 && ret_ranks[p] > owned_count + 1;
        ret_ranks[p] = owned[p] || is_far ? -1 : ret_ranks[p];
    }
}

static void stage_rank(struct worker_standby *standby, struct stage *stage)
{
    bool *owned = must_alloc(((size_t)stage->count + 1) * sizeof *owned);
    int64_t *ranks = must_alloc(((size_t)stage->count + 1) * sizeof *ranks);
    for (int32_t p = 0; p < stage->count; p++) {
        owned[p] = is_owned(standby, &stage->parts[p]);
    }
    worker_standby_rank(owned, stage->count, standby->params.is_ranged, ranks);
    for (int32_t p = 0; p < stage->count; p++) {
        stage->parts[p].rank = ranks[p];
        stage->parts[p].is_left_out = false;
    }
    free(owned);
    free(ranks);
}

/* --- one partition --------------------------------------------------------------------------------------- */

static void part_end(struct worker_standby *standby, struct part *part)
{
    const struct plan_stage *plan = plan_of(standby, part->stage);
    for (unsigned i = 0; i < plan->store_count; i++) {
        unsigned store = plan->stores[i];
        worker_restore_remove(standby->restore, store, part->partition);
        local_copy_free(TAKE(part->copies[store]));
    }
    stream_task_free(TAKE(part->stream));
    part->lag = part->read_us = part->goals_us = 0;
    part->bytes = 0;
}

static struct local_copy *copy_open(struct worker_standby *standby, unsigned store,
                                    int32_t partition)
{
    const struct worker_standby_params *params = &standby->params;
    return params->local && pipeline_store_is_any_order(params->pipeline, store)
               ? local_copy_new(params->local, changelog_of(standby, store), partition,
                                standby->epochs[store])
               : NULL;
}

static void part_begin(struct worker_standby *standby, struct part *part)
{
    const struct plan_stage *plan = plan_of(standby, part->stage);
    struct err_info info = {0};
    enum err e = ERR_OK;
    part->stream = stream_task_new(standby->params.pipeline, part->stage, NULL, part->partition);
    part->begun_us = clock_mono_us();
    for (unsigned i = 0; !e && i < plan->store_count; i++) {
        unsigned store = plan->stores[i];
        part->copies[store] = copy_open(standby, store, part->partition);
        e = worker_restore_add(standby->restore, store, part->partition, part->copies[store], -1,
                               &info);
    }
    if (e) {
        log_event(LOG_WARN, "standby_not_begun", err_detail(e, &info),
                  KV("stage", (int64_t)part->stage), KV("partition", part->partition));
        part_end(standby, part);
        part->is_left_out = true;
    }
}

/* Looks whether the ends of before are reached; then those of now count. What was behind for longer than
 * that may have missed tombstones. */
static void part_look(struct worker_standby *standby, struct part *part, int64_t now_us)
{
    const struct plan_stage *plan = plan_of(standby, part->stage);
    bool is_reached = part->goals_us > 0, is_known = true;
    part->lag = 0;
    part->bytes = stream_task_stats(part->stream).state_bytes;
    for (unsigned i = 0; i < plan->store_count; i++) {
        int64_t next, end;
        worker_restore_place(standby->restore, plan->stores[i], part->partition, &next, &end);
        is_known = is_known && end >= 0;
        is_reached = is_reached && next >= part->goals[i];
        part->lag += end > next ? end - (next > 0 ? next : 0) : 0;
    }
    part->read_us = is_reached ? part->goals_us : part->read_us;
    if (!is_known || (part->goals_us > 0 && !is_reached)) {
        return;
    }
    part->goals_us = now_us;
    for (unsigned i = 0; i < plan->store_count; i++) {
        int64_t ignored;
        worker_restore_place(standby->restore, plan->stores[i], part->partition, &ignored,
                             &part->goals[i]);
    }
}

/* Whether no tombstone can have been missed. */
static bool is_fresh(const struct part *part, int64_t now_us)
{
    int64_t since_us = part->read_us > 0 ? part->read_us : part->begun_us;
    return now_us - since_us < LOCAL_AGE_MAX_MS * 1000;
}

/* --- what is read ------------------------------------------------------------------------------------------ */

static struct part *part_of(struct worker_standby *standby, unsigned store, int32_t partition)
{
    unsigned number = pipeline_store_stage(standby->params.pipeline, store);
    struct stage *stage = &standby->stages[number];
    CHECK(partition >= 0 && partition < stage->count); /* nothing else was added */
    return &stage->parts[partition];
}

/* Never an error: it would keep the others from theirs. */
static enum err on_record(void *context, unsigned store, int32_t partition, struct strview key,
                          struct strview value, struct err_info *ignored)
{
    struct worker_standby *standby = context;
    struct part *part = part_of(standby, store, partition);
    struct err_info info = {0};
    (void)ignored;
    enum err e =
        part->is_bad ? ERR_OK : stream_task_restore(part->stream, store, key, value, &info);
    if (e) {
        log_event(LOG_WARN, "standby_failed", err_detail(e, &info),
                  KV("topic", changelog_of(standby, store)), KV("partition", partition));
        part->is_bad = true;
    }
    return ERR_OK;
}

static void on_done(void *context, unsigned store, int32_t partition)
{
    (void)context, (void)store, (void)partition; /* one that follows never is */
}

static void on_lost(void *context, unsigned store, int32_t partition)
{
    struct worker_standby *standby = context;
    log_event(LOG_WARN, "standby_stale",
              "the changelog went on without what was followed: all of it is read again",
              KV("topic", changelog_of(standby, store)), KV("partition", partition));
    part_end(standby, part_of(standby, store, partition));
}

/* Whether rows wait, for which there is no event. */
static bool records_take(struct worker_standby *standby)
{
    const struct worker_restore_handlers handlers = {on_record, on_done, on_lost, standby};
    struct worker_restore_counts counts;
    struct err_info info = {0};
    enum err e = worker_restore_step(standby->restore, &handlers, &counts, &info);
    if (e) { /* one could not be assigned, and gets nothing: it is never taken */
        log_event(LOG_WARN, "standby_failed", err_detail(e, &info), KV("err", err_name(e)));
    }
    metric_add(standby->params.metrics->standby_records, (int64_t)(counts.records + counts.rows));
    return counts.has_more;
}

/* --- what is followed -------------------------------------------------------------------------------------- */

/* Calls back with every partition of every stage whose partitions are known. */
static void each_part(struct worker_standby *standby, void *context,
                      void (*take)(struct worker_standby *standby, struct part *part,
                                   void *context))
{
    for (unsigned i = 0; i < standby->params.plan->stage_count; i++) {
        struct stage *stage = &standby->stages[i];
        for (int32_t p = 0; p < stage->count; p++) {
            take(standby, &stage->parts[p], context);
        }
    }
}

/* Over all that are followed. */
struct sums {
    uint64_t bytes, largest;
    int64_t count, lag, beginning;
    struct part *furthest; /* of those followed */
    struct part *next;     /* the first of those that are not, and are to be */
    struct buf *text;
    enum err err;
};

static void part_judge(struct worker_standby *standby, struct part *part, void *context)
{
    int64_t now_us = *(const int64_t *)context;
    if (!part->stream) {
        return;
    }
    part_look(standby, part, now_us);
    if (!is_fresh(part, now_us)) {
        log_event(LOG_WARN, "standby_stale", "it was behind for too long: it is begun again",
                  KV("stage", (int64_t)part->stage), KV("partition", part->partition));
        part_end(standby, part);
    } else if (part->is_bad || part->rank < 0) {
        part_end(standby, part);
    }
}

static void part_sum(struct worker_standby *standby, struct part *part, void *context)
{
    (void)standby;
    struct sums *sums = context;
    bool is_wanted = part->rank >= 0 && !part->is_bad && !part->is_left_out;
    if (!part->stream) {
        bool is_nearer = is_wanted && (!sums->next || part->rank < sums->next->rank);
        sums->next = is_nearer ? part : sums->next;
        return;
    }
    sums->count++;
    sums->lag += part->lag;
    sums->bytes += part->bytes;
    sums->largest = part->bytes > sums->largest ? part->bytes : sums->largest;
    sums->beginning += part->read_us == 0;
    sums->furthest = !sums->furthest || part->rank >= sums->furthest->rank ? part : sums->furthest;
}

static struct sums sums_of(struct worker_standby *standby)
{
    struct sums sums = {0};
    each_part(standby, &sums, part_sum);
    return sums;
}

/* Those that are being read may become as large as the largest. */
static bool has_room(const struct worker_standby *standby, const struct sums *sums)
{
    return sums->bytes + sums->largest * (uint64_t)(sums->beginning + 1) <=
           (uint64_t)standby->params.bytes_max;
}

static void followed_limit(struct worker_standby *standby)
{
    struct sums sums = sums_of(standby);
    while (sums.bytes > (uint64_t)standby->params.bytes_max) {
        log_event(LOG_WARN, "standby_left_out", "state.standby.bytes is reached",
                  KV("stage", (int64_t)sums.furthest->stage),
                  KV("partition", sums.furthest->partition), KV("bytes", (int64_t)sums.bytes));
        sums.furthest->is_left_out = true;
        part_end(standby, sums.furthest);
        sums = sums_of(standby);
    }
}

/* Begins one that there is room for; whether there may be another. */
static bool followed_begin(struct worker_standby *standby)
{
    struct sums sums = sums_of(standby);
    bool may_begin = sums.next && sums.beginning < BEGINS_MAX && has_room(standby, &sums) &&
                     !is_owned(standby, sums.next);
    if (may_begin) {
        part_begin(standby, sums.next);
    }
    return may_begin;
}

static void part_print(struct worker_standby *standby, struct part *part, void *context)
{
    (void)standby;
    struct sums *sums = context;
    if (!part->stream || sums->count++ >= STANDBYS_TOLD) {
        return;
    }
    sums->err =
        sums->err ? sums->err
                  : buf_printf(sums->text,
                               "%s{\"stage\":%u,\"partition\":%d,\"state\":\"%s\","
                               "\"lag\":%" PRId64 ",\"state_bytes\":%" PRIu64 "}",
                               sums->count > 1 ? "," : "", part->stage, part->partition,
                               part->read_us > 0 ? "following" : "reading", part->lag, part->bytes);
}

static void all_tell(struct worker_standby *standby)
{
    const struct worker_metrics *metrics = standby->params.metrics;
    struct sums sums = sums_of(standby);
    metric_set(metrics->standby_partitions, (double)sums.count);
    metric_set(metrics->standby_lag, (double)sums.lag);
    metric_set(metrics->standby_bytes, (double)sums.bytes);
    (void)pthread_mutex_lock(&standby->notes);
    struct sums printing = {.text = &standby->text};
    buf_reset(&standby->text);
    each_part(standby, &printing, part_print); /* what does not fit is left out */
    (void)pthread_mutex_unlock(&standby->notes);
}

/* Partitions have moved, and do so no more. */
static void moves_take(struct worker_standby *standby, int64_t now_us)
{
    (void)pthread_mutex_lock(&standby->notes);
    bool is_settled = standby->is_changed && now_us - standby->changed_us >= SETTLE_US;
    standby->is_changed = standby->is_changed && !is_settled;
    (void)pthread_mutex_unlock(&standby->notes);
    for (unsigned i = 0; is_settled && i < standby->params.plan->stage_count; i++) {
        stage_rank(standby, &standby->stages[i]);
    }
}

static void all_look(struct worker_standby *standby)
{
    int64_t now_us = clock_mono_us();
    moves_take(standby, now_us);
    each_part(standby, &now_us, part_judge);
    followed_limit(standby);
    all_tell(standby);
    standby->looked_us = now_us;
    standby->may_begin = true;
}

/* --- the changelogs ---------------------------------------------------------------------------------------- */

/* How many partitions there are, and which making of each changelog; false: that is not known yet. */
static bool stage_ask(struct worker_standby *standby, unsigned number, int32_t *ret_count,
                      uint32_t *ret_epochs)
{
    const struct plan_stage *plan = plan_of(standby, number);
    struct err_info info = {0};
    rd_kafka_t *client = worker_restore_client(standby->restore);
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < plan->store_count; i++) {
        const char *topic = changelog_of(standby, plan->stores[i]);
        e = kafka_topic_partitions(client, topic, ASK_MS, ret_count, &info);
        e = e ? e : kafka_topic_epoch(client, topic, ASK_MS, &ret_epochs[i], &info);
    }
    if (e) {
        log_event(LOG_DEBUG, "standby_waits", err_detail(e, &info), KV("stage", (int64_t)number));
    }
    return !e;
}

static void part_free(struct worker_standby *standby, struct part *part)
{
    if (part->stream) {
        part_end(standby, part);
    }
    free(part->copies);
    free(part->goals);
}

static void stage_close(struct worker_standby *standby, struct stage *stage)
{
    for (int32_t p = 0; p < stage->count; p++) {
        part_free(standby, &stage->parts[p]);
    }
    free(TAKE(stage->parts));
    stage->count = 0;
}

static void stage_open(struct worker_standby *standby, unsigned number, int32_t count)
{
    const struct worker_plan *plan = standby->params.plan;
    struct stage *stage = &standby->stages[number];
    stage->parts = must_alloc((size_t)count * sizeof *stage->parts);
    for (int32_t p = 0; p < count; p++) {
        stage->parts[p] = (struct part){
            .stage = number,
            .partition = p,
            .rank = -1,
            .copies = must_alloc((plan->store_count + 1) * sizeof(struct local_copy *)),
            .goals = must_alloc((plan_of(standby, number)->store_count + 1) * sizeof(int64_t)),
        };
    }
    stage->count = count;
    stage_rank(standby, stage);
}

static bool is_known(const struct worker_standby *standby, unsigned number, int32_t count,
                     const uint32_t *epochs)
{
    const struct plan_stage *plan = plan_of(standby, number);
    bool is = standby->stages[number].count == count;
    for (unsigned i = 0; i < plan->store_count; i++) {
        is = is && standby->epochs[plan->stores[i]] == epochs[i];
    }
    return is;
}

/* What was followed of changelogs that were made anew since is of no use. */
static void stage_learn(struct worker_standby *standby, unsigned number, int32_t count,
                        const uint32_t *epochs)
{
    const struct plan_stage *plan = plan_of(standby, number);
    struct stage *stage = &standby->stages[number];
    if (stage->count > 0) {
        log_event(LOG_WARN, "standby_stale",
                  "a changelog was made anew since it was followed: it is begun again",
                  KV("stage", (int64_t)number));
    }
    stage_close(standby, stage);
    for (unsigned i = 0; i < plan->store_count; i++) {
        standby->epochs[plan->stores[i]] = epochs[i];
    }
    stage_open(standby, number, count);
}

/* Whoever takes something has gone first. */
static void work_begin(struct worker_standby *standby)
{
    (void)pthread_mutex_lock(&standby->work);
    while (atomic_load(&standby->takers) > 0) {
        (void)pthread_cond_wait(&standby->is_free, &standby->work);
    }
}

static void work_end(struct worker_standby *standby)
{
    (void)pthread_mutex_unlock(&standby->work);
}

/* Kafka is asked while nobody is kept waiting. */
static void stages_learn(struct worker_standby *standby)
{
    int64_t now_us = clock_mono_us();
    const struct worker_plan *plan = standby->params.plan;
    if (now_us - standby->learned_us < LEARN_US) {
        return;
    }
    standby->learned_us = now_us;
    uint32_t *epochs = must_alloc((plan->store_count + 1) * sizeof *epochs);
    for (unsigned i = 0; i < plan->stage_count; i++) {
        int32_t count = 0;
        if (plan_of(standby, i)->store_count > 0 && stage_ask(standby, i, &count, epochs) &&
            !is_known(standby, i, count, epochs)) { /* nobody else writes what it looks at */
            work_begin(standby);
            stage_learn(standby, i, count, epochs);
            work_end(standby);
        }
    }
    free(epochs);
}

/* --- the thread -------------------------------------------------------------------------------------------- */

static bool turn(struct worker_standby *standby)
{
    stages_learn(standby);
    work_begin(standby);
    bool has_more = records_take(standby);
    if (clock_mono_us() - standby->looked_us >= LOOK_US) {
        all_look(standby);
    }
    standby->may_begin = standby->may_begin && followed_begin(standby);
    work_end(standby);
    return has_more || standby->may_begin;
}

static void *standby_run(void *context)
{
    struct worker_standby *standby = context;
    struct err_info info = {0};
    bool has_more = false;
    (void)pthread_setname_np(pthread_self(), "standby");
    enum err e = worker_restore_new(standby->params.kafka, standby->params.pipeline, "standby",
                                    true, &standby->restore, &info);
    if (e) {
        log_event(LOG_ERROR, "standby_not_begun", err_detail(e, &info), KV("err", err_name(e)));
        return NULL;
    }
    while (!atomic_load(&standby->is_stopping)) {
        bool has_begun = atomic_load(&standby->has_begun);
        struct pollfd fds[] = {
            {.fd = standby->wake_fd, .events = POLLIN},
            {.fd = has_begun ? worker_restore_fd(standby->restore) : -1, .events = POLLIN},
        };
        uint64_t ignored;
        (void)poll(fds, ARRAY_LEN(fds), has_more ? 0 : LOOK_US / 1000);
        (void)!read(standby->wake_fd, &ignored, sizeof ignored);
        has_more = has_begun && turn(standby);
    }
    return NULL;
}

/* --- for worker threads -------------------------------------------------------------------------------------- */

/* In `work`. All of its stores' places, or false: then it is ended. */
static bool part_release(struct worker_standby *standby, struct part *part,
                         struct standby_place *places)
{
    const struct plan_stage *plan = plan_of(standby, part->stage);
    bool has = !part->is_bad && is_fresh(part, clock_mono_us());
    for (unsigned i = 0; i < plan->store_count; i++) {
        unsigned store = plan->stores[i];
        int64_t offset = worker_restore_release(standby->restore, store, part->partition);
        places[store] = (struct standby_place){offset, standby->epochs[store]};
        has = has && offset >= 0;
    }
    if (!has) {
        part_end(standby, part);
    }
    return has;
}

struct stream_task *worker_standby_take(struct worker_standby *standby, unsigned stage,
                                        int32_t partition, struct local_copy **copies,
                                        struct standby_place *places)
{
    struct stream_task *taken = NULL;
    if (!standby) {
        return NULL;
    }
    owned_set(standby, stage, partition, true);
    atomic_fetch_add(&standby->takers, 1);
    (void)pthread_mutex_lock(&standby->work);
    struct part *part =
        partition < standby->stages[stage].count ? &standby->stages[stage].parts[partition] : NULL;
    if (part && part->stream && part_release(standby, part, places)) {
        taken = TAKE(part->stream);
        for (unsigned i = 0; i < standby->params.plan->store_count; i++) {
            copies[i] = part->copies[i] ? TAKE(part->copies[i]) : copies[i];
        }
        part_end(standby, part); /* of which nothing is left but its figures */
    }
    atomic_fetch_sub(&standby->takers, 1);
    (void)pthread_cond_signal(&standby->is_free);
    (void)pthread_mutex_unlock(&standby->work);
    return taken;
}

void worker_standby_give(struct worker_standby *standby, unsigned stage, int32_t partition)
{
    if (standby) {
        owned_set(standby, stage, partition, false);
    }
}

void worker_standby_begin(struct worker_standby *standby)
{
    if (standby && !atomic_exchange(&standby->has_begun, true)) {
        wake(standby);
    }
}

enum err worker_standby_text(struct worker_standby *standby, struct buf *out)
{
    enum err e = buf_printf(out, "\"standbys\":[");
    if (standby) {
        (void)pthread_mutex_lock(&standby->notes);
        e = e ? e : buf_append_view(out, buf_view(&standby->text));
        (void)pthread_mutex_unlock(&standby->notes);
    }
    return e ? e : buf_append(out, "]", 1);
}

/* --- life ------------------------------------------------------------------------------------------------------ */

static void standby_free(struct worker_standby *standby)
{
    for (unsigned i = 0; i < standby->params.plan->stage_count; i++) {
        stage_close(standby, &standby->stages[i]);
        free(standby->owned[i].flags);
    }
    worker_restore_free(standby->restore);
    free(standby->stages);
    free(standby->owned);
    free(standby->epochs);
    buf_free(&standby->text);
    (void)pthread_mutex_destroy(&standby->work);
    (void)pthread_cond_destroy(&standby->is_free);
    (void)pthread_mutex_destroy(&standby->notes);
    (void)close(standby->wake_fd);
    free(standby);
}

struct worker_standby *worker_standby_start(const struct worker_standby_params *params)
{
    struct worker_standby *standby = must_alloc(sizeof *standby);
    const struct worker_plan *plan = params->plan;
    standby->params = *params;
    standby->learned_us = -LEARN_US;
    standby->is_changed = true; /* what it is to follow is not known yet */
    standby->stages = must_alloc((plan->stage_count + 1) * sizeof *standby->stages);
    standby->owned = must_alloc((plan->stage_count + 1) * sizeof *standby->owned);
    standby->epochs = must_alloc((plan->store_count + 1) * sizeof *standby->epochs);
    buf_init(&standby->text, STANDBY_TEXT_BYTES);
    CHECK(pthread_mutex_init(&standby->work, NULL) == 0);
    CHECK(pthread_cond_init(&standby->is_free, NULL) == 0);
    CHECK(pthread_mutex_init(&standby->notes, NULL) == 0);
    standby->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(standby->wake_fd >= 0);
    int code = pthread_create(&standby->thread, NULL, standby_run, standby);
    if (code) {
        log_event(LOG_ERROR, "standby_not_begun", strerror(code), KV("code", code));
        standby_free(standby);
        return NULL;
    }
    return standby;
}

void worker_standby_stop(struct worker_standby *standby)
{
    if (standby) {
        atomic_store(&standby->is_stopping, true);
        wake(standby);
        CHECK(pthread_join(standby->thread, NULL) == 0);
        standby_free(standby);
    }
}
