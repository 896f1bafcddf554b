#include "consumer_hold.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "query_metrics.h"

struct consumer_hold {
    struct consumer_hold_params params;
    char name[CONSUMER_NAME_BYTES_MAX + 1];
    char group[CONSUMER_GROUP_BYTES];
    const struct strview *topics; /* their names */
    struct consumer_claim *claim; /* NULL: its topics are not known yet */
    bool is_open;
    bool may_send;
    bool has_begun;              /* its beginning has been committed, or is about to be */
    struct consumer_places sent; /* by topic of the reading; none: not known yet */
    int64_t sent_amount;         /* of the stream, up to there */
    struct consumer_places mark; /* what was sent a while ago, and is to be acknowledged; or none */
    int64_t mark_amount;
    struct consumer_places taken;     /* what has been */
    struct consumer_places committed; /* or is about to be */
    struct consumer_places wanted;    /* by the client, and not in line yet; or none */
    bool is_asking;                   /* it waits for an answer */
    int64_t looked_us;
};

struct consumer_hold *consumer_hold_new(const struct consumer_hold_params *params)
{
    struct consumer_hold *hold = must_alloc(sizeof *hold);
    hold->params = *params;
    (void)snprintf(hold->name, sizeof hold->name, "%s", params->name);
    consumer_group_name(params->consumers, params->name, hold->group);
    query_metrics_consumer(1);
    return hold;
}

/* --- opening -------------------------------------------------------------------------------------------- */

/* False: a topic has not been looked at yet, or is not read yet. */
static bool claim_make(struct consumer_hold *hold, const struct reading *reading,
                       const struct reading_source *source)
{
    struct consumer_claim_params params = {
        .name = hold->name, .wake = hold->params.wake, .context = hold->params.context};
    for (size_t i = 0; i < reading->topic_count; i++) {
        if (!source->rings[reading->topics[i].topic].is_live) {
            return false;
        }
    }
    for (size_t i = 0; i < reading->topic_count; i++) {
        const struct ring *ring = &source->rings[reading->topics[i].topic];
        (void)consumer_places_add(&params.topics, source->names[reading->topics[i].topic].ptr,
                                  ring->partition_count, ring->epoch);
    }
    hold->topics = source->names;
    hold->claim = consumer_claim_new(hold->params.consumers, &params);
    return true;
}

static void cursor_make(const struct consumer_places *places, struct cursor *ret)
{
    cursor_free(ret);
    for (size_t i = 0; i < places->count; i++) {
        const struct consumer_topic *topic = &places->topics[i];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            if (topic->next[p] >= 0) {
                cursor_add(ret, &(struct cursor_position){(uint32_t)i, p, topic->next[p]});
            }
        }
    }
    ret->epochs = must_alloc((places->count + 1) * sizeof *ret->epochs);
    for (size_t i = 0; i < places->count; i++) {
        ret->epochs[i] = consumer_topic_is_empty(&places->topics[i]) ? 0 : places->topics[i].epoch;
    }
}

bool consumer_hold_open(struct consumer_hold *hold, const struct reading *reading,
                        const struct reading_source *source, struct cursor *asked, struct buf *told)
{
    if (hold->is_open) {
        return true;
    }
    if ((!hold->claim && !claim_make(hold, reading, source)) ||
        consumer_claim_state(hold->claim) != CONSUMER_OPEN) {
        return false;
    }
    struct consumer_opening opening;
    consumer_claim_take(hold->claim, &opening);
    const bool is_kept = !consumer_places_is_empty(&opening.places);
    const bool is_asked = asked->count > 0 && !opening.is_reset;
    if (is_kept && !is_asked) {
        cursor_make(&opening.places, asked);
    }
    consumer_places_free(&opening.places);
    hold->is_open = true;
    hold->may_send = hold->has_begun = is_kept;
    CHECK(buf_printf(told,
                     "{\"name\":\"%s\",\"state\":\"open\",\"commit\":\"%s\",\"claim\":%" PRId64
                     ",\"from\":\"%s\"}",
                     hold->name, hold->params.is_manual ? "manual" : "auto", opening.number,
                     is_asked  ? "position"
                     : is_kept ? "committed"
                               : "request") == ERR_OK); /* far below the bound */
    return true;
}

/* --- what has gone out ------------------------------------------------------------------------------------ */

/* A topic that was made anew is another one. */
static void topic_note(struct consumer_topic *to, const struct reading_topic *from)
{
    if (to->partition_count != from->partition_count) {
        to->next = must_realloc(to->next, ((size_t)from->partition_count + 1) * sizeof *to->next);
        to->partition_count = from->partition_count;
    }
    to->epoch = from->epoch;
    memcpy(to->next, from->next, (size_t)from->partition_count * sizeof *to->next);
}

static bool has_positions(const struct reading *reading)
{
    if (!reading->has_begun) {
        return false;
    }
    for (size_t i = 0; i < reading->topic_count; i++) {
        if (!reading->topics[i].is_placed || !reading->topics[i].next) {
            return false;
        }
    }
    return true;
}

void consumer_hold_sent(struct consumer_hold *hold, const struct reading *reading, int64_t amount)
{
    if (!has_positions(reading)) {
        return;
    }
    for (size_t i = hold->sent.count; i < reading->topic_count; i++) {
        (void)consumer_places_add(&hold->sent, hold->topics[reading->topics[i].topic].ptr, 0, 0);
    }
    for (size_t i = 0; i < reading->topic_count; i++) {
        topic_note(&hold->sent.topics[i], &reading->topics[i]);
    }
    hold->sent_amount = amount;
}

static bool is_same(const struct consumer_places *a, const struct consumer_places *b)
{
    bool is_same = a->count == b->count;
    for (size_t i = 0; i < a->count && is_same; i++) {
        const struct consumer_topic *one = &a->topics[i], *other = &b->topics[i];
        is_same =
            one->epoch == other->epoch && one->partition_count == other->partition_count &&
            memcmp(one->next, other->next, (size_t)one->partition_count * sizeof *one->next) == 0;
    }
    return is_same;
}

static void places_set(struct consumer_places *places, const struct consumer_places *to)
{
    consumer_places_free(places);
    consumer_places_copy(to, places);
}

/* One mark at a time: what was sent behind it waits until it has been acknowledged. */
static void take(struct consumer_hold *hold, int64_t acked)
{
    if (hold->mark.count && acked >= hold->mark_amount) {
        places_set(&hold->taken, &hold->mark);
        consumer_places_free(&hold->mark);
    }
    if (is_same(&hold->sent, &hold->taken)) {
        return;
    }
    if (acked >= hold->sent_amount) {
        places_set(&hold->taken, &hold->sent);
        consumer_places_free(&hold->mark);
    } else if (!hold->mark.count) {
        places_set(&hold->mark, &hold->sent);
        hold->mark_amount = hold->sent_amount;
    }
}

/* --- committing --------------------------------------------------------------------------------------------- */

/* What should be committed now; NULL: nothing. */
static struct consumer_places *due(struct consumer_hold *hold)
{
    if (!hold->has_begun) {
        return hold->sent.count ? &hold->sent : NULL; /* nothing goes out before */
    }
    const bool is_news = hold->taken.count && !is_same(&hold->taken, &hold->committed);
    return is_news && !hold->params.is_manual ? &hold->taken : NULL;
}

static void commit(struct consumer_hold *hold, const struct consumer_places *what, int64_t now_us)
{
    struct consumer_places places;
    consumer_places_copy(what, &places);
    if (consumer_claim_commit(hold->claim, &places)) {
        places_set(&hold->committed, what);
        hold->has_begun = true;
        hold->looked_us = now_us;
    }
    consumer_places_free(&places);
}

bool consumer_hold_may_send(struct consumer_hold *hold, const struct reading *reading)
{
    if (!hold->may_send && has_positions(reading)) {
        consumer_hold_sent(hold, reading, 0);
        if (!hold->has_begun) {
            commit(hold, &hold->sent, clock_mono_us());
        }
        hold->may_send = consumer_claim_has_committed(hold->claim);
        return hold->may_send;
    }
    return true;
}

/* --- what the client commits -------------------------------------------------------------------------------- */

static enum err wanted_take(const struct reading *reading, const struct cursor *to,
                            const struct cursor_position *position, struct consumer_places *wanted,
                            struct err_info *info)
{
    const struct reading_topic *topic = &reading->topics[position->topic];
    struct consumer_topic *ret = &wanted->topics[position->topic];
    const uint32_t epoch = to->epochs ? to->epochs[position->topic] : 0;
    if (position->next < 0) {
        return err_set(info, ERR_CURSOR, "%s-%d has no offset", ret->name, position->partition);
    }
    if (epoch && epoch != topic->epoch) {
        return err_set(info, ERR_CONSUMER_STALE, "the position is of another making of %s",
                       ret->name);
    }
    if (position->partition >= topic->partition_count ||
        position->next > topic->next[position->partition]) {
        return err_set(info, ERR_CONSUMER_STALE, "%s-%d: %" PRId64 " is past what was sent",
                       ret->name, position->partition, position->next);
    }
    ret->next[position->partition] = position->next;
    return ERR_OK;
}

static void ask(struct consumer_hold *hold)
{
    if (hold->wanted.count && consumer_claim_ask(hold->claim, &hold->wanted)) {
        hold->looked_us = clock_mono_us();
    }
}

enum err consumer_hold_ask(struct consumer_hold *hold, const struct reading *reading,
                           const struct cursor *to, struct err_info *info)
{
    if (!hold->params.is_manual) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "what is sent is committed by itself: not opened with commit=manual");
    }
    if (hold->is_asking) {
        return err_set(info, ERR_CONSUMER_BUSY, "the commit before it is not answered yet");
    }
    if (!hold->is_open || !hold->may_send || !has_positions(reading)) {
        return err_set(info, ERR_CONSUMER_STALE, "nothing has been sent yet");
    }
    CLEANUP(consumer_places_free) struct consumer_places wanted = {0};
    for (size_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        (void)consumer_places_add(&wanted, hold->topics[topic->topic].ptr, topic->partition_count,
                                  topic->epoch);
    }
    for (size_t i = 0; i < to->count; i++) {
        enum err e = wanted_take(reading, to, &to->positions[i], &wanted, info);
        if (e) {
            return e;
        }
    }
    hold->wanted = wanted;
    wanted = (struct consumer_places){0};
    hold->is_asking = true;
    ask(hold);
    return ERR_OK;
}

bool consumer_hold_answer(struct consumer_hold *hold, enum err *ret, struct err_info *ret_info)
{
    if (!hold->is_asking || !consumer_claim_answer(hold->claim, ret, ret_info)) {
        return false;
    }
    hold->is_asking = false;
    return true;
}

/* --- when it is time -------------------------------------------------------------------------------------- */

/* Also when there is nothing to commit: another may have the name, and it is in use. */
void consumer_hold_tick(struct consumer_hold *hold, int64_t acked, int64_t now_us)
{
    const int64_t interval_us = consumers_config_of(hold->params.consumers)->commit_ms * 1000;
    if (!hold->is_open) {
        return;
    }
    take(hold, acked);
    ask(hold);
    if (consumer_claim_has_failed(hold->claim)) { /* so it is not committed: at the next turn */
        consumer_places_free(&hold->committed);
        hold->has_begun = hold->may_send;
        hold->looked_us = now_us;
    }
    if (hold->looked_us && now_us - hold->looked_us < interval_us) {
        return;
    }
    const struct consumer_places *what = due(hold);
    if (what) {
        commit(hold, what, now_us);
    } else if (hold->has_begun && consumer_claim_commit(hold->claim, NULL)) {
        hold->looked_us = now_us;
    }
}

struct strview consumer_hold_group(const struct consumer_hold *hold)
{
    return sv(hold->group);
}

enum consumer_state consumer_hold_state(const struct consumer_hold *hold)
{
    return hold->claim ? consumer_claim_state(hold->claim) : CONSUMER_OPENING;
}

void consumer_hold_free(struct consumer_hold *hold, int64_t acked)
{
    if (!hold) {
        return;
    }
    take(hold, acked);
    if (hold->claim) {
        struct consumer_places *last = hold->wanted.count ? &hold->wanted : due(hold);
        consumer_claim_release(hold->claim, hold->is_open ? last : NULL);
    }
    consumer_places_free(&hold->sent);
    consumer_places_free(&hold->mark);
    consumer_places_free(&hold->taken);
    consumer_places_free(&hold->committed);
    consumer_places_free(&hold->wanted);
    query_metrics_consumer(-1);
    free(hold);
}
