/* Claims: what a stream has of the name that it was opened under. The stream's thread asks, one thing at a
 * time; a thread of `consumers` does it.
 *
 *     new → OPENING ─ fetch, write the note ─► OPEN ─ commit, look ─► TAKEN, RESET, DELETED
 *                  └► FULL, FAILED
 *
 * Nothing is committed before Kafka's copy has been looked at: who finds a later claim there ends. Between
 * looking and writing another replica may claim the name; its stream writes its own note again at its next
 * commit, since that of the earlier claim does not count for it, and the earlier one finds it when it looks
 * next. What the earlier one has written meanwhile has been sent to a client of that name: a position may
 * be taken back by it, and so records come twice; none is passed over. */
#include "consumers_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/clock.h"
#include "log/log.h"
#include "query_metrics.h"

#define HAND_OVER_US 1000000 /* the claim before it may take to commit once more */
#define TRIES        2
#define TOUCH_MS_MAX 3600000 /* Kafka forgets what is not committed again */

/* The making of a topic that the claim has committed to. */
struct known {
    bool is_committed;
    uint32_t epoch;
};

struct consumer_claim {
    struct consumer_job job; /* in line, being done, or neither */
    struct consumers *owner;
    struct consumer_places topics; /* OPENING: what was committed, once it is known */
    struct consumer_note note;
    struct known *known; /* by topic */
    bool was_reset;
    bool has_opened; /* its note is Kafka's, or nothing was there to write one to */
    /* Below: owner->lock. */
    struct consumer_claim *older, *newer;
    enum consumer_state state;
    void (*wake)(void *context); /* NULL: the stream has gone */
    void *context;
    bool is_busy;       /* its job is in line or being done */
    bool has_failed;    /* the last commit */
    bool has_committed; /* ever */
    bool is_asked;      /* the job that is in line is a client's, who waits for an answer */
    bool is_answered;   /* …and it is */
    enum err answer;
    struct err_info answer_info;
    bool is_released;             /* freed when it is not busy any more */
    bool has_last;                /* `last` is to be committed before */
    struct consumer_places asked; /* for the job that is in line: none, it only looks */
    struct consumer_places last;
};

static struct consumer_claim *claim_of(struct consumer_job *job)
{
    return (struct consumer_claim *)(void *)job; /* its first member */
}

/* --- who has the name ------------------------------------------------------------------------------------- */

static bool have_common_topic(const struct consumer_places *a, const struct consumer_places *b)
{
    for (size_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < b->count; k++) {
            if (strcmp(a->topics[i].name, b->topics[k].name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void claim_end(struct consumer_claim *claim, enum consumer_state why)
{
    if (claim->state == CONSUMER_OPENING || claim->state == CONSUMER_OPEN) {
        claim->state = why;
        if (claim->wake) {
            claim->wake(claim->context);
        }
    }
}

void claims_end(struct consumers *consumers, const char *name, const struct consumer_places *of,
                enum consumer_state why)
{
    for (struct consumer_claim *claim = consumers->oldest; claim; claim = claim->newer) {
        if (strcmp(claim->job.name, name) == 0 && (!of || have_common_topic(&claim->topics, of))) {
            claim_end(claim, why);
        }
    }
}

void consumers_end(struct consumers *consumers, const char *name, const struct consumer_places *of,
                   enum consumer_state why)
{
    (void)pthread_mutex_lock(&consumers->lock);
    claims_end(consumers, name, of, why);
    (void)pthread_mutex_unlock(&consumers->lock);
}

static bool has_claim_before(const struct consumer_claim *claim)
{
    for (const struct consumer_claim *at = claim->older; at; at = at->older) {
        if (strcmp(at->job.name, claim->job.name) == 0 &&
            have_common_topic(&at->topics, &claim->topics)) {
            return true;
        }
    }
    return false;
}

static void claim_add(struct consumers *consumers, struct consumer_claim *claim)
{
    claim->older = consumers->newest;
    *(consumers->newest ? &consumers->newest->newer : &consumers->oldest) = claim;
    consumers->newest = claim;
    consumers->claims++;
}

/* Those that have waited for it go on. */
static void claim_remove(struct consumers *consumers, struct consumer_claim *claim)
{
    *(claim->older ? &claim->older->newer : &consumers->oldest) = claim->newer;
    *(claim->newer ? &claim->newer->older : &consumers->newest) = claim->older;
    consumers->claims--;
    for (struct consumer_claim *at = consumers->oldest; at; at = at->newer) {
        if (at->job.ready_us && !has_claim_before(at)) {
            at->job.ready_us = 0;
        }
    }
    (void)pthread_cond_broadcast(&consumers->changed);
}

static void claim_free(struct consumer_claim *claim)
{
    consumer_places_free(&claim->topics);
    consumer_places_free(&claim->asked);
    consumer_places_free(&claim->last);
    free(claim->known);
    free(claim);
}

/* --- opening ------------------------------------------------------------------------------------------------ */

static void count_group(void *context, const char *group)
{
    (void)group;
    ++*(int64_t *)context;
}

static enum err bound_check(struct consumers *consumers, struct err_info *info)
{
    int64_t count = 0;
    enum err e =
        consumer_group_list(consumers->client, consumers->config.prefix, count_group, &count, info);
    if (e == ERR_NOT_FOUND) { /* by those that are open here, then */
        (void)pthread_mutex_lock(&consumers->lock);
        count = (int64_t)consumers->claims - 1;
        (void)pthread_mutex_unlock(&consumers->lock);
        e = ERR_OK;
    }
    return !e && count >= consumers->config.names_max
               ? err_set(info, ERR_LIMIT, "there are %lld consumers (query.consumers.max)",
                         (long long)count)
               : e;
}

/* The claim's note beside each topic's offsets. */
static void notes_set(const struct consumer_claim *claim, struct consumer_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        struct consumer_topic *topic = &places->topics[i];
        topic->note = claim->note;
        topic->note.epoch = topic->epoch;
        topic->note.at_ms = clock_now_ms();
    }
}

static void known_set(struct consumer_claim *claim, const struct consumer_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        if (!consumer_topic_is_empty(&places->topics[i])) {
            claim->known[i] = (struct known){true, places->topics[i].epoch};
        }
    }
}

/* Of an offset counts the making of the topic that it was committed for. */
static void opening_read(struct consumer_claim *claim, struct consumer_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        struct consumer_topic *topic = &places->topics[i];
        if (claim->note.claim <= topic->note.claim) {
            claim->note.claim = topic->note.claim + 1;
        }
        claim->was_reset = claim->was_reset || topic->note.is_reset;
        topic->epoch = topic->note.claim ? topic->note.epoch : topic->epoch;
    }
}

static enum err open_try(struct consumer_claim *claim, struct err_info *info)
{
    struct consumers *consumers = claim->owner;
    char group[CONSUMER_GROUP_BYTES];
    consumer_group_name(consumers, claim->job.name, group);
    enum err e = consumer_group_fetch(consumers->client, group, &claim->topics, info);
    if (e) {
        return e;
    }
    claim->note.claim = 1;
    claim->was_reset = false;
    if (consumer_places_is_empty(&claim->topics)) {
        return bound_check(consumers, info); /* the first commit makes the name */
    }
    opening_read(claim, &claim->topics);
    notes_set(claim, &claim->topics);
    return consumer_group_commit(consumers->client, group, &claim->topics, info);
}

static void open_run(struct consumer_job *job, struct consumers *consumers)
{
    struct consumer_claim *claim = claim_of(job);
    struct err_info info = {0};
    enum err e = ERR_KAFKA_TIMEOUT;
    for (int tries = 0; tries < TRIES && e && err_is_retriable(e); tries++) {
        e = open_try(claim, &info);
    }
    if (e) {
        log_event(LOG_WARN, "consumer_open", err_detail(e, &info), KV("consumer", job->name));
    } else {
        claim->has_opened = true;
        known_set(claim, &claim->topics);
    }
    (void)pthread_mutex_lock(&consumers->lock);
    if (claim->state == CONSUMER_OPENING) {
        claim->state = !e ? CONSUMER_OPEN : e == ERR_LIMIT ? CONSUMER_FULL : CONSUMER_FAILED;
    }
    (void)pthread_mutex_unlock(&consumers->lock);
}

/* --- committing --------------------------------------------------------------------------------------------- */

/* What Kafka has says of the claim: OPEN, it stands. */
static enum consumer_state claim_judge(const struct consumer_claim *claim,
                                       const struct consumer_places *stored,
                                       const struct consumer_places *places)
{
    for (size_t i = 0; i < stored->count; i++) {
        const struct consumer_topic *topic = &stored->topics[i];
        if (consumer_note_is_before(&claim->note, &topic->note)) {
            return topic->note.is_reset ? CONSUMER_RESET : CONSUMER_TAKEN;
        }
        const uint32_t epoch = places->count ? places->topics[i].epoch : claim->known[i].epoch;
        if (claim->known[i].is_committed && claim->known[i].epoch == epoch &&
            consumer_topic_is_empty(topic)) {
            return CONSUMER_DELETED;
        }
    }
    return CONSUMER_OPEN;
}

static int64_t touch_ms(const struct consumers *consumers)
{
    const int64_t quarter_ms = consumers->config.keep_ms / 4;
    return quarter_ms && quarter_ms < TOUCH_MS_MAX ? quarter_ms : TOUCH_MS_MAX;
}

/* What is read is in use, also when nothing of it is committed: what is kept is written once more, as it is,
 * when it was written long ago. */
static enum err touch(const struct consumer_claim *claim, const char *group,
                      struct consumer_places *stored, struct err_info *info)
{
    const int64_t before_ms = clock_now_ms() - touch_ms(claim->owner);
    bool is_old = false;
    for (size_t i = 0; i < stored->count; i++) {
        struct consumer_topic *topic = &stored->topics[i];
        is_old = is_old || (!consumer_topic_is_empty(topic) && topic->oldest_ms < before_ms);
        topic->epoch = topic->note.claim ? topic->note.epoch : topic->epoch;
    }
    if (!is_old) {
        return ERR_OK;
    }
    notes_set(claim, stored);
    return consumer_group_commit(claim->owner->client, group, stored, info);
}

/* What a client has said is committed later than it was said: others may have been there. */
static enum err forward_check(const struct consumer_places *places,
                              const struct consumer_places *stored, struct err_info *info)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct consumer_topic *to = &places->topics[i], *from = &stored->topics[i];
        for (int32_t p = 0; p < to->partition_count; p++) {
            if (to->next[p] >= 0 && to->next[p] < from->next[p]) {
                return err_set(info, ERR_CONSUMER_STALE,
                               "%s-%d: %" PRId64 " is behind %" PRId64 ", which is committed",
                               to->name, p, to->next[p], from->next[p]);
            }
        }
    }
    return ERR_OK;
}

/* Places none: only looks, and keeps what there is from being forgotten. */
static enum err commit_try(struct consumer_claim *claim, struct consumer_places *places,
                           enum consumer_state *ret_state, struct err_info *info)
{
    struct consumers *consumers = claim->owner;
    char group[CONSUMER_GROUP_BYTES];
    CLEANUP(consumer_places_free) struct consumer_places stored = {0};
    consumer_group_name(consumers, claim->job.name, group);
    consumer_places_copy(places->count ? places : &claim->topics, &stored);
    enum err e = consumer_group_fetch(consumers->client, group, &stored, info);
    if (e) {
        return e;
    }
    *ret_state = claim_judge(claim, &stored, places);
    if (*ret_state != CONSUMER_OPEN) {
        return claim->is_asked ? err_set(info, ERR_CONSUMER_STALE, "the name is another's by now")
                               : ERR_OK;
    }
    e = claim->is_asked ? forward_check(places, &stored, info) : ERR_OK;
    if (e) {
        return e;
    }
    if (places->count == 0) {
        return touch(claim, group, &stored, info);
    }
    notes_set(claim, places);
    e = consumer_group_commit(consumers->client, group, places, info);
    if (!e) {
        known_set(claim, places);
    }
    return e;
}

static void commit_do(struct consumer_claim *claim, struct consumer_places *places)
{
    struct err_info info = {0};
    enum consumer_state state = CONSUMER_OPEN;
    const bool is_commit = places->count > 0;
    enum err e = commit_try(claim, places, &state, &info);
    consumer_places_free(places);
    const bool is_failure = e && e != ERR_CONSUMER_STALE;
    if (is_failure) {
        log_event(LOG_WARN, "consumer_commit", err_detail(e, &info),
                  KV("consumer", claim->job.name));
    }
    if (is_failure || (is_commit && (!e || state != CONSUMER_OPEN))) {
        query_metrics_consumer_commit(is_failure               ? QUERY_COMMIT_FAILED
                                      : state != CONSUMER_OPEN ? QUERY_COMMIT_LOST
                                                               : QUERY_COMMIT_DONE);
    }
    (void)pthread_mutex_lock(&claim->owner->lock);
    claim->has_failed = is_failure && is_commit && !claim->is_asked;
    claim->has_committed = claim->has_committed || (!e && is_commit && state == CONSUMER_OPEN);
    if (claim->is_asked) {
        claim->is_asked = false;
        claim->is_answered = true;
        claim->answer = e;
        claim->answer_info = info;
    }
    if (!is_failure && state != CONSUMER_OPEN) {
        claim_end(claim, state);
    }
    (void)pthread_mutex_unlock(&claim->owner->lock);
}

static void commit_run(struct consumer_job *job, struct consumers *consumers)
{
    (void)consumers;
    struct consumer_claim *claim = claim_of(job);
    commit_do(claim, &claim->asked); /* the job's own while it is busy */
}

/* Once more, as the stream has ended meanwhile: one that another has taken over here may still, before that
 * one begins. */
static void last_do(struct consumer_claim *claim)
{
    if (claim->has_last && claim->has_opened &&
        (claim->state == CONSUMER_OPEN || claim->state == CONSUMER_TAKEN)) {
        claim->has_last = false;
        (void)pthread_mutex_unlock(&claim->owner->lock);
        commit_do(claim, &claim->last);
        (void)pthread_mutex_lock(&claim->owner->lock);
    }
}

static void nothing_run(struct consumer_job *job, struct consumers *consumers)
{
    (void)job, (void)consumers;
}

static void claim_done(struct consumer_job *job)
{
    struct consumer_claim *claim = claim_of(job);
    struct consumers *consumers = claim->owner;
    (void)pthread_mutex_lock(&consumers->lock);
    if (claim->is_released && !(consumers->is_stopping && clock_mono_us() > consumers->stop_us)) {
        last_do(claim);
    }
    const bool is_over = claim->is_released;
    claim->is_busy = false;
    if (is_over) {
        claim_remove(consumers, claim);
    } else {
        claim->wake(claim->context);
    }
    (void)pthread_mutex_unlock(&consumers->lock);
    if (is_over) {
        claim_free(claim);
    }
}

/* --- the stream's side ---------------------------------------------------------------------------------------- */

static void job_submit(struct consumer_claim *claim,
                       void (*run)(struct consumer_job *job, struct consumers *consumers))
{
    claim->is_busy = true;
    claim->job.run = run;
    claim->job.done = claim_done;
    consumers_append(claim->owner, &claim->job);
}

struct consumer_claim *consumer_claim_new(struct consumers *consumers,
                                          struct consumer_claim_params *params)
{
    struct consumer_claim *claim = must_alloc(sizeof *claim);
    *claim = (struct consumer_claim){.owner = consumers,
                                     .topics = params->topics,
                                     .note = {.claim = 1},
                                     .wake = params->wake,
                                     .context = params->context};
    params->topics = (struct consumer_places){0};
    CHECK(getrandom(&claim->note.owner, sizeof claim->note.owner, 0) ==
          (ssize_t)sizeof claim->note.owner); /* so few bytes are given whole */
    claim->known = must_alloc((claim->topics.count + 1) * sizeof *claim->known);
    (void)snprintf(claim->job.name, sizeof claim->job.name, "%s", params->name);
    (void)pthread_mutex_lock(&consumers->lock);
    claims_end(consumers, claim->job.name, &claim->topics, CONSUMER_TAKEN);
    claim_add(consumers, claim);
    claim->job.ready_us = has_claim_before(claim) ? clock_mono_us() + HAND_OVER_US : 0;
    job_submit(claim, open_run);
    (void)pthread_mutex_unlock(&consumers->lock);
    return claim;
}

enum consumer_state consumer_claim_state(struct consumer_claim *claim)
{
    (void)pthread_mutex_lock(&claim->owner->lock);
    const enum consumer_state state = claim->state;
    (void)pthread_mutex_unlock(&claim->owner->lock);
    return state;
}

bool consumer_claim_has_committed(struct consumer_claim *claim)
{
    (void)pthread_mutex_lock(&claim->owner->lock);
    const bool has_committed = claim->has_committed;
    (void)pthread_mutex_unlock(&claim->owner->lock);
    return has_committed;
}

bool consumer_claim_has_failed(struct consumer_claim *claim)
{
    (void)pthread_mutex_lock(&claim->owner->lock);
    const bool has_failed = claim->has_failed;
    claim->has_failed = false;
    (void)pthread_mutex_unlock(&claim->owner->lock);
    return has_failed;
}

void consumer_claim_take(struct consumer_claim *claim, struct consumer_opening *ret)
{
    consumer_places_copy(&claim->topics, &ret->places);
    ret->number = claim->note.claim;
    ret->is_reset = claim->was_reset;
}

static bool commit_submit(struct consumer_claim *claim, struct consumer_places *places,
                          bool is_asked)
{
    (void)pthread_mutex_lock(&claim->owner->lock);
    const bool is_free = claim->state == CONSUMER_OPEN && !claim->is_busy;
    if (is_free) {
        claim->is_asked = is_asked;
        claim->asked = places ? *places : (struct consumer_places){0};
        job_submit(claim, commit_run);
    }
    (void)pthread_mutex_unlock(&claim->owner->lock);
    if (is_free && places) {
        *places = (struct consumer_places){0};
    }
    return is_free;
}

bool consumer_claim_commit(struct consumer_claim *claim, struct consumer_places *places)
{
    return commit_submit(claim, places, false);
}

bool consumer_claim_ask(struct consumer_claim *claim, struct consumer_places *places)
{
    return commit_submit(claim, places, true);
}

bool consumer_claim_answer(struct consumer_claim *claim, enum err *ret, struct err_info *ret_info)
{
    (void)pthread_mutex_lock(&claim->owner->lock);
    const bool is_answered = claim->is_answered;
    claim->is_answered = false;
    *ret = claim->answer;
    *ret_info = claim->answer_info;
    (void)pthread_mutex_unlock(&claim->owner->lock);
    return is_answered;
}

void consumer_claim_release(struct consumer_claim *claim, struct consumer_places *places)
{
    struct consumers *consumers = claim->owner;
    (void)pthread_mutex_lock(&consumers->lock);
    claim->wake = NULL;
    claim->is_released = true;
    if (places) {
        claim->last = *places;
        claim->has_last = places->count > 0;
        *places = (struct consumer_places){0};
    }
    const bool is_over = !claim->is_busy && !claim->has_last;
    if (is_over) {
        claim_remove(consumers, claim);
    } else if (!claim->is_busy) { /* claim_done does the rest */
        job_submit(claim, nothing_run);
    } else {
        claim->job.ready_us = 0; /* nobody waits for it to open */
        (void)pthread_cond_broadcast(&consumers->changed);
    }
    (void)pthread_mutex_unlock(&consumers->lock);
    if (is_over) {
        claim_free(claim);
    }
}
