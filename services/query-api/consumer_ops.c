#include "consumer_ops.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "consumer_survey.h"
#include "core/clock.h"
#include "cursor.h"

#define RESET_AHEAD     16  /* more than claims of one name in RESET_SETTLE_MS */
#define RESET_SETTLE_MS 250 /* a commit takes, from its look on */
#define RESET_TRIES     3

/* --- an ask --------------------------------------------------------------------------------------------- */

static enum err ask_run(struct desk_job *job, struct err_info *info)
{
    struct consumer_ask *ask = (struct consumer_ask *)job;
    struct consumer_turn turn = {.name = ask->name};
    if (!ask->name[0]) {
        return ask->run(ask, info);
    }
    consumer_turn_begin(ask->consumers, &turn);
    enum err e = ask->run(ask, info);
    consumer_turn_end(ask->consumers, &turn);
    return e;
}

static void ask_reply(struct desk_job *job, struct http_request *request)
{
    struct consumer_ask *ask = (struct consumer_ask *)job;
    ask->answer(ask, request);
}

static void ask_free(struct desk_job *job)
{
    struct consumer_ask *ask = (struct consumer_ask *)job;
    consumer_places_free(&ask->places);
    consumer_places_free(&ask->lows);
    consumer_places_free(&ask->ends);
    consumer_places_free(&ask->wanted);
    json_decrefp(&ask->found);
    free(ask);
}

struct consumer_ask *consumer_ask_new(struct consumers *consumers, const char *name)
{
    static const struct desk_work work = {ask_run, ask_reply, ask_free};
    struct consumer_ask *ask = must_alloc(sizeof *ask);
    ask->job.work = &work;
    ask->consumers = consumers;
    (void)snprintf(ask->name, sizeof ask->name, "%s", name);
    return ask;
}

void consumer_ask_free(struct consumer_ask *ask)
{
    ask_free(&ask->job);
}

enum err consumer_op_list(struct consumer_ask *ask, struct err_info *info)
{
    return consumers_survey(ask->consumers, &ask->found, &ask->left_out, info);
}

/* --- what is committed ---------------------------------------------------------------------------------- */

static enum err fetch(struct consumer_ask *ask, struct err_info *info)
{
    char group[CONSUMER_GROUP_BYTES];
    consumer_group_name(ask->consumers, ask->name, group);
    enum err e = consumer_group_fetch(consumers_client(ask->consumers), group, &ask->places, info);
    return !e && consumer_places_is_empty(&ask->places)
               ? err_set(info, ERR_CONSUMER_UNKNOWN, "nothing of these topics is kept under \"%s\"",
                         ask->name)
               : e;
}

/* The logs of the topics that something is committed of. */
static enum err bounds_fetch(struct consumer_ask *ask, struct err_info *info)
{
    enum err e = ERR_OK;
    consumer_places_copy(&ask->places, &ask->lows);
    consumer_places_copy(&ask->places, &ask->ends);
    for (size_t i = 0; i < ask->places.count; i++) {
        const struct consumer_topic *topic = &ask->places.topics[i];
        const bool is_empty = consumer_topic_is_empty(topic);
        for (int32_t p = 0; p < topic->partition_count && !is_empty && !e; p++) {
            e = consumer_bounds(consumers_client(ask->consumers), topic->name, p,
                                &ask->lows.topics[i].next[p], &ask->ends.topics[i].next[p], info);
        }
    }
    return e;
}

enum err consumer_op_show(struct consumer_ask *ask, struct err_info *info)
{
    enum err e = fetch(ask, info);
    return e ? e : bounds_fetch(ask, info);
}

/* --- committing ------------------------------------------------------------------------------------------ */

static enum err topic_check(const struct consumer_ask *ask, const struct consumer_topic *wanted,
                            const struct consumer_topic *kept, struct err_info *info)
{
    if (consumer_topic_is_empty(kept)) {
        return err_set(info, ERR_CONSUMER_UNKNOWN, "nothing of %s is kept under \"%s\"",
                       wanted->name, ask->name);
    }
    if (kept->note.is_reset) {
        return err_set(info, ERR_CONSUMER_STALE,
                       "\"%s\" was reset: what was read before is not its position any more",
                       ask->name);
    }
    if (ask->claim && ask->claim != kept->note.claim) {
        return err_set(info, ERR_CONSUMER_STALE,
                       "\"%s\" is held by claim %" PRId64 " and not by %" PRId64, ask->name,
                       kept->note.claim, ask->claim);
    }
    if (wanted->epoch && kept->note.epoch && wanted->epoch != kept->note.epoch) {
        return err_set(info, ERR_CONSUMER_STALE,
                       "the position is of another making of %s than what is kept", wanted->name);
    }
    return ERR_OK;
}

static enum err end_check(const struct consumer_ask *ask, const struct consumer_topic *wanted,
                          int32_t partition, struct err_info *info)
{
    const int64_t next = wanted->next[partition];
    int64_t low, high;
    enum err e = consumer_bounds(consumers_client(ask->consumers), wanted->name, partition, &low,
                                 &high, info);
    return !e && next > high ? err_set(info, ERR_CONSUMER_STALE,
                                       "%s-%d: %" PRId64 " is past the end, which is %" PRId64,
                                       wanted->name, partition, next, high)
                             : e;
}

static enum err ends_check(const struct consumer_ask *ask, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < ask->wanted.count && !e; i++) {
        const struct consumer_topic *wanted = &ask->wanted.topics[i];
        for (int32_t p = 0; p < wanted->partition_count && !e; p++) {
            e = wanted->next[p] < 0 ? ERR_OK : end_check(ask, wanted, p, info);
        }
    }
    return e;
}

static enum err kept_check(const struct consumer_ask *ask, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < ask->wanted.count && !e; i++) {
        const struct consumer_topic *wanted = &ask->wanted.topics[i],
                                    *kept = &ask->places.topics[i];
        e = topic_check(ask, wanted, kept, info);
        for (int32_t p = 0; p < wanted->partition_count && !e; p++) {
            if (wanted->next[p] >= 0 && wanted->next[p] < kept->next[p]) {
                e = err_set(info, ERR_CONSUMER_STALE,
                            "%s-%d: %" PRId64 " is behind %" PRId64 ", which is committed: a reset "
                            "goes back",
                            wanted->name, p, wanted->next[p], kept->next[p]);
            }
        }
    }
    return e;
}

static enum err write_wanted(struct consumer_ask *ask, struct err_info *info)
{
    char group[CONSUMER_GROUP_BYTES];
    consumer_group_name(ask->consumers, ask->name, group);
    return consumer_group_commit(consumers_client(ask->consumers), group, &ask->wanted, info);
}

enum err consumer_op_commit(struct consumer_ask *ask, struct err_info *info)
{
    consumer_places_copy(&ask->wanted, &ask->places); /* the same topics */
    enum err e = ends_check(ask, info);
    e = e ? e : fetch(ask, info); /* last: what another replica writes meanwhile is not seen */
    e = e ? e : kept_check(ask, info);
    for (size_t i = 0; i < ask->wanted.count && !e; i++) {
        ask->wanted.topics[i].note = ask->places.topics[i].note;
        ask->wanted.topics[i].note.at_ms = clock_now_ms();
    }
    return e ? e : write_wanted(ask, info);
}

/* --- putting it elsewhere ------------------------------------------------------------------------------------ */

/* Where a reset puts each topic that something is committed of; the others are left. */
static enum err reset_resolve(struct consumer_ask *ask, struct err_info *info)
{
    enum err e = bounds_fetch(ask, info);
    for (size_t i = 0; i < ask->places.count && !e; i++) {
        const struct consumer_topic *kept = &ask->places.topics[i];
        if (!consumer_topic_is_empty(kept)) {
            struct consumer_topic *to =
                consumer_places_add(&ask->wanted, kept->name, kept->partition_count, kept->epoch);
            const struct consumer_topic *from =
                &(ask->from == CURSOR_EARLIEST ? &ask->lows : &ask->ends)->topics[i];
            memcpy(to->next, from->next, (size_t)to->partition_count * sizeof *to->next);
            to->note = kept->note;
        }
    }
    return !e && cursor_is_time(ask->from)
               ? consumer_times(consumers_client(ask->consumers), &ask->wanted,
                                cursor_time(ask->from), info)
               : e;
}

/* A position is somebody's word: each offset of it must lie in the log. */
static enum err reset_check(struct consumer_ask *ask, struct err_info *info)
{
    enum err e = bounds_fetch(ask, info);
    for (size_t i = 0; i < ask->wanted.count && !e; i++) {
        struct consumer_topic *wanted = &ask->wanted.topics[i];
        if (consumer_topic_is_empty(&ask->places.topics[i])) {
            return err_set(info, ERR_CONSUMER_UNKNOWN, "nothing of %s is kept under \"%s\"",
                           wanted->name, ask->name);
        }
        wanted->note = ask->places.topics[i].note;
        for (int32_t p = 0; p < wanted->partition_count; p++) {
            const int64_t next = wanted->next[p];
            const int64_t low = ask->lows.topics[i].next[p], end = ask->ends.topics[i].next[p];
            if (next >= 0 && (next < low || next > end)) {
                return err_set(info, ERR_CONSUMER_STALE,
                               "%s-%d: %" PRId64 " is not in the log, which is %" PRId64
                               " to %" PRId64,
                               wanted->name, p, next, low, end);
            }
        }
    }
    return e;
}

/* A claim of its own, which nobody holds: streams that are open under the name find it, on any replica. It is
 * so far ahead of what was read that a claim made meanwhile is an earlier one. */
static void reset_note(struct consumer_places *wanted)
{
    uint64_t owner;
    CHECK(getrandom(&owner, sizeof owner, 0) == (ssize_t)sizeof owner); /* so few are given whole */
    for (size_t i = 0; i < wanted->count; i++) {
        struct consumer_topic *topic = &wanted->topics[i];
        topic->note = (struct consumer_note){.claim = topic->note.claim + RESET_AHEAD,
                                             .owner = owner,
                                             .epoch = topic->epoch,
                                             .is_reset = true,
                                             .at_ms = clock_now_ms()};
    }
}

static enum err stored_fetch(const struct consumer_ask *ask, struct consumer_places *ret,
                             struct err_info *info)
{
    char group[CONSUMER_GROUP_BYTES];
    consumer_group_name(ask->consumers, ask->name, group);
    consumer_places_copy(&ask->wanted, ret);
    enum err e = consumer_group_fetch(consumers_client(ask->consumers), group, ret, info);
    return !e && consumer_places_is_empty(ret)
               ? err_set(info, ERR_CONSUMER_UNKNOWN, "\"%s\" was deleted meanwhile", ask->name)
               : e;
}

/* Kafka has it, or a later claim, which began there. */
static bool topic_stands(const struct consumer_topic *wanted, const struct consumer_topic *stored)
{
    if (stored->note.claim != wanted->note.claim || stored->note.owner != wanted->note.owner) {
        return stored->note.claim > wanted->note.claim;
    }
    for (int32_t p = 0; p < wanted->partition_count; p++) {
        if (wanted->next[p] >= 0 && stored->next[p] != wanted->next[p]) {
            return false;
        }
    }
    return true;
}

static bool all_stand(const struct consumer_places *wanted, const struct consumer_places *stored)
{
    for (size_t i = 0; i < wanted->count; i++) {
        if (!topic_stands(&wanted->topics[i], &stored->topics[i])) {
            return false;
        }
    }
    return true;
}

/* Another replica may have looked before this was written, and commit after it. So it is looked at once more
 * when such a commit has come, and written again over it: what is to commit next finds that it is later. */
static enum err reset_write(struct consumer_ask *ask, struct err_info *info)
{
    for (int tries = 0; tries < RESET_TRIES; tries++) {
        CLEANUP(consumer_places_free) struct consumer_places stored = {0};
        reset_note(&ask->wanted);
        enum err e = write_wanted(ask, info);
        if (!e) {
            (void)poll(NULL, 0, RESET_SETTLE_MS); /* no event would tell */
            e = stored_fetch(ask, &stored, info);
        }
        if (e || all_stand(&ask->wanted, &stored)) {
            return e;
        }
        for (size_t i = 0; i < stored.count; i++) { /* to be ahead of */
            ask->wanted.topics[i].note = stored.topics[i].note;
        }
    }
    return err_set(info, ERR_CONSUMER_BUSY,
                   "\"%s\" is not where it was to be put: other replicas write over it", ask->name);
}

enum err consumer_op_reset(struct consumer_ask *ask, struct err_info *info)
{
    const bool is_given = ask->wanted.count > 0;
    if (is_given) {
        consumer_places_copy(&ask->wanted, &ask->places);
    }
    enum err e = fetch(ask, info);
    e = e ? e : (is_given ? reset_check : reset_resolve)(ask, info);
    e = e ? e : reset_write(ask, info);
    if (!e) {
        consumers_end(ask->consumers, ask->name, &ask->wanted, CONSUMER_RESET);
    }
    return e;
}

enum err consumer_op_delete(struct consumer_ask *ask, struct err_info *info)
{
    char group[CONSUMER_GROUP_BYTES];
    consumer_group_name(ask->consumers, ask->name, group);
    enum err e = consumer_group_delete(consumers_client(ask->consumers), group, info);
    if (!e) {
        consumers_end(ask->consumers, ask->name, NULL, CONSUMER_DELETED);
    }
    return e;
}
