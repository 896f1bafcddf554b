#include "feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOT_LOOK_MAX 512 /* in one go, when the filter passes none */
#define GAP_BYTES_MAX     1024
#define TOLD_BYTES_MAX    1024

/* --- events -------------------------------------------------------------------------------------- */

void feed_append_event(const struct feed *feed, const char *name, struct strview data,
                       struct buf *out)
{
    reading_append_event(feed->reading, &feed->site->source, name, data, out);
}

void feed_append_heartbeat(const struct feed *feed, struct buf *out)
{
    reading_append_heartbeat(feed->reading, &feed->site->source, out);
}

static const struct {
    const char *event, *data;
} farewells[QUERY_END_COUNT] = {
    [QUERY_END_LAGGED] = {"lagged", "{\"policy\":\"disconnect\",\"detail\":\"records "
                                    "have left the memory before they were "
                                    "taken; reconnect with the last id\"}"},
    [QUERY_END_STALLED] = {"lagged", "{\"policy\":\"disconnect\",\"detail\":\"nothing "
                                     "was taken for too long; reconnect with "
                                     "the last id\"}"},
    [QUERY_END_LIMIT] = {"error", "{\"detail\":\"too many clients are catching up; reconnect "
                                  "later\"}"},
    [QUERY_END_FAILED] = {"error", "{\"detail\":\"records cannot be read from Kafka now; reconnect "
                                   "with the last id\"}"},
    [QUERY_END_ROTATED] = {"shutdown", "{\"detail\":\"the stream has been open for long; reconnect "
                                       "with the last id\"}"},
    [QUERY_END_EXPIRED] = {"expired", "{\"detail\":\"the token or key has expired; come back with "
                                      "another and the last id\"}"},
    [QUERY_END_REVOKED] = {"revoked", "{\"detail\":\"the key, or the right to read this, was taken "
                                      "away or changed; come back, with the last id, to hear\"}"},
    [QUERY_END_TAKEN] = {"consumer", "{\"state\":\"taken\",\"detail\":\"another stream was opened "
                                     "under this name\"}"},
    [QUERY_END_RESET] = {"consumer", "{\"state\":\"reset\",\"detail\":\"the consumer was put "
                                     "elsewhere; reconnect to go on from there\"}"},
    [QUERY_END_DELETED] = {"consumer", "{\"state\":\"deleted\",\"detail\":\"nothing is kept under "
                                       "this name any more\"}"},
    [QUERY_END_REFUSED] = {"consumer", "{\"state\":\"refused\",\"detail\":\"there are as many "
                                       "consumers as there may be\"}"},
    [QUERY_END_SHUTDOWN] = {"shutdown", "{\"detail\":\"the server is shutting down; reconnect with "
                                        "the last id\"}"},
};

void feed_append_farewell(const struct feed *feed, enum query_end why, struct buf *out)
{
    if (farewells[why].event) {
        feed_append_event(feed, farewells[why].event, sv(farewells[why].data), out);
    }
}

bool feed_is_for(const struct feed *feed, const struct guest *guest)
{
    const struct reading *reading = feed->reading;
    for (size_t i = 0; i < reading->topic_count; i++) {
        if (!guest_may_read(guest, feed->site->config->topics[reading->topics[i].topic])) {
            return false;
        }
    }
    return !feed->hold ||
           access_allows(guest->principal, ACCESS_WRITE, consumer_hold_group(feed->hold));
}

static enum feed_result end(struct feed *feed, enum query_end why)
{
    feed_stop(feed);
    feed->end = why;
    return FEED_ENDED;
}

/* --- catching up ------------------------------------------------------------------------------------------ */

static size_t positions_count(const struct reading *reading)
{
    size_t count = 0;
    for (size_t i = 0; i < reading->topic_count; i++) {
        count += (size_t)reading->topics[i].partition_count;
    }
    return count;
}

static void on_items(void *context)
{
    struct feed_site *site = context;
    site->wake(site->wake_context);
}

/* All partitions of all topics: those that are in the rings now might not be when it has joined. */
static struct catchup_job *job_new(struct feed *feed)
{
    const struct reading *reading = feed->reading;
    struct feed_site *site = feed->site;
    struct catchup_position *positions =
        must_alloc((positions_count(reading) + 1) * sizeof *positions);
    size_t count = 0;
    for (uint32_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            positions[count++] = (struct catchup_position){
                .topic = site->config->topics[topic->topic].ptr, /* ends with a NUL */
                .topic_index = topic->topic,
                .reading_index = i,
                .partition = p,
                .next = topic->next[p],
            };
        }
    }
    const struct catchup_params params = {
        .positions = positions, .count = count, .on_items = on_items, .context = site};
    struct catchup_job *job = catchup_submit(site->config->catchup, &params);
    free(positions);
    return job;
}

static enum feed_result catchup_begin(struct feed *feed)
{
    feed->job = job_new(feed);
    if (!feed->job) {
        return end(feed, QUERY_END_LIMIT);
    }
    return FEED_SENT; /* what was told before it, if anything */
}

static void append_gap(struct feed *feed, const struct catchup_item *item, struct buf *out)
{
    const struct reading_topic *topic = &feed->reading->topics[item->reading_index];
    const struct frame_gap gap = {topic->topic, feed->site->config->topics[topic->topic],
                                  item->partition, item->from, item->to};
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, GAP_BYTES_MAX);
    frame_append_gap(&text, &gap);
    feed_append_event(feed, "gap", buf_view(&text), out);
    query_metrics_gap();
}

static bool item_apply(struct feed *feed, const struct catchup_item *item, struct buf *out)
{
    switch (item->kind) {
    case CATCHUP_FRAME:
        reading_take(feed->reading, &feed->site->source, item->frame, out);
        frame_unref(item->frame);
        break;
    case CATCHUP_POSITION:
        reading_move(feed->reading, item->reading_index, item->partition, item->to);
        break;
    case CATCHUP_GAP:
        append_gap(feed, item, out);
        break;
    case CATCHUP_RESOLVED:
        feed->reading->has_begun = true;
        feed_append_event(feed, NULL, (struct strview){0}, out);
        break;
    case CATCHUP_FAILED:
        return false;
    }
    return true;
}

static bool may_send(const struct feed *feed)
{
    return !feed->hold || consumer_hold_may_send(feed->hold, feed->reading);
}

static enum feed_result catch_up(struct feed *feed, struct buf *out)
{
    struct catchup_item item;
    bool is_any = false;
    while (out->len < FEED_BYTES && reading_may_send(feed->reading) && may_send(feed) &&
           catchup_take(feed->job, &item)) {
        is_any = true;
        if (!item_apply(feed, &item, out)) {
            return end(feed, QUERY_END_FAILED);
        }
    }
    if (feed->reading->has_begun && reading_join(feed->reading, &feed->site->source)) {
        catchup_end(TAKE(feed->job));
        is_any = true;
    }
    return is_any ? FEED_SENT : FEED_IDLE;
}

/* --- the latest values -------------------------------------------------------------------------------------- */

static enum feed_result snapshot_begin(struct feed *feed)
{
    feed->snapshot =
        snapshot_take(feed->site->config->snapshots, feed->reading, &feed->site->source);
    if (!feed->snapshot) {
        return end(feed, QUERY_END_LIMIT);
    }
    return FEED_SENT;
}

/* With the position of all that was handed out: only now would a client that comes back have it. */
static void snapshot_end(struct feed *feed, struct buf *out)
{
    char data[96];
    const struct snapshot *snapshot = feed->snapshot;
    int len = snapshot->left_out
                  ? snprintf(data, sizeof data, "{\"records\":%zu,\"left_out\":%" PRId64 "}",
                             feed->snapshot_records, snapshot->left_out)
                  : snprintf(data, sizeof data, "{\"records\":%zu}", feed->snapshot_records);
    snapshot_free(TAKE(feed->snapshot));
    feed->snapshot_records = 0;
    reading_leave_snapshot(feed->reading, &feed->site->source);
    feed_append_event(feed, "snapshot-end", sv_of(data, (size_t)len), out);
}

static enum feed_result hand_out_snapshot(struct feed *feed, struct buf *out)
{
    struct reading *reading = feed->reading;
    const struct reading_source *source = &feed->site->source;
    for (size_t looked = 0; out->len < FEED_BYTES && reading_may_send(reading); looked++) {
        if (looked == SNAPSHOT_LOOK_MAX) {
            return FEED_SENT;
        }
        const struct frame *frame = snapshot_next(feed->snapshot);
        if (!frame) {
            snapshot_end(feed, out);
            return FEED_SENT;
        }
        if (filter_takes(reading->filter, source->selectors, frame)) {
            reading_append_frame(reading, source, frame, out);
            feed->snapshot_records++;
        }
    }
    return FEED_SENT;
}

/* --- too slow ----------------------------------------------------------------------------------------------- */

/* Whether what waits for a slow client is more than the latest values are. */
static bool is_to_conflate(const struct feed *feed)
{
    const struct reading *reading = feed->reading;
    bool reads_rings = reading->mode == READING_COPY || reading->mode == READING_SHARED;
    if (feed->slow != FEED_CONFLATE || !reading->has_caught_up || !reads_rings) {
        return false;
    }
    size_t size = snapshot_size(feed->site->config->snapshots, reading);
    /* Without keys there is nothing to put in place of records, as long as they are there. */
    return size > 0 && reading_backlog(reading, &feed->site->source) > size;
}

static enum feed_result conflate(struct feed *feed, struct buf *out)
{
    static const char data[] =
        "{\"policy\":\"conflate\",\"detail\":\"the latest value of each key "
        "follows in place of the records between; it replaces what is known\"}";
    feed->was_blocked = false;
    enum feed_result outcome = snapshot_begin(feed);
    if (outcome != FEED_ENDED) {
        feed_append_event(feed, "lagged", sv_of(data, sizeof data - 1), out);
        query_metrics_slow(QUERY_SLOW_CONFLATED);
    }
    return outcome;
}

static enum feed_result fall_back(struct feed *feed, struct buf *out)
{
    static const char data[] =
        "{\"policy\":\"catch-up\",\"detail\":\"records have left the memory; "
        "they are read from Kafka\"}";
    bool is_slow = feed->reading->has_caught_up; /* else it was still on its way */
    reading_fall_back(feed->reading);
    if (is_slow) {
        feed_append_event(feed, "lagged", sv_of(data, sizeof data - 1), out);
        query_metrics_slow(QUERY_SLOW_CAUGHT_UP);
    }
    return catchup_begin(feed);
}

enum feed_result feed_lost(struct feed *feed, struct buf *out)
{
    const struct reading *reading = feed->reading;
    if (feed->slow == FEED_CONFLATE && reading->has_caught_up) {
        return conflate(feed, out);
    }
    if (reading->mode == READING_COPY && (feed->slow == FEED_CATCH_UP || !reading->has_caught_up)) {
        return fall_back(feed, out);
    }
    return end(feed, QUERY_END_LAGGED);
}

/* --- modes -------------------------------------------------------------------------------------------------- */

/* Before any id: who is cut in between comes back with what it had, and is told again. */
static void tell_remade(struct feed *feed, struct buf *out)
{
    for (size_t i = 0; i < feed->reading->topic_count; i++) {
        struct reading_topic *topic = &feed->reading->topics[i];
        if (topic->is_remade) {
            char data[CURSOR_TOPIC_BYTES_MAX + 96];
            int len = snprintf(data, sizeof data,
                               "{\"topic\":\"%.*s\",\"detail\":\"the topic was deleted and created "
                               "again; it follows from its beginning\"}",
                               SV_ARG(feed->site->config->topics[topic->topic]));
            feed_append_event(feed, "gap", sv_of(data, (size_t)len), out);
            query_metrics_gap();
            topic->is_remade = false;
        }
    }
}

/* What was committed under its name is where it begins. False: Kafka has not said it yet. */
static bool open_name(struct feed *feed, struct buf *out)
{
    CLEANUP(buf_free) struct buf told;
    buf_init(&told, TOLD_BYTES_MAX);
    const bool is_open =
        consumer_hold_open(feed->hold, feed->reading, &feed->site->source, &feed->asked, &told);
    if (told.len) {
        feed_append_event(feed, "consumer", buf_view(&told), out);
    }
    return is_open;
}

static enum feed_result begin(struct feed *feed, struct buf *out)
{
    struct reading *reading = feed->reading;
    const size_t before = out->len;
    if (feed->hold && !open_name(feed, out)) {
        return FEED_IDLE;
    }
    feed->start.asked = &feed->asked;
    if (!reading_begin(reading, &feed->site->source, &feed->start)) {
        return out->len > before ? FEED_SENT : FEED_IDLE;
    }
    bool is_snapshot = feed->is_snapshot && feed->asked.count == 0;
    feed->is_snapshot = false;
    cursor_free(&feed->asked);
    tell_remade(feed, out);
    if (is_snapshot) {
        return snapshot_begin(feed);
    }
    if (reading->mode == READING_CATCHUP) {
        return catchup_begin(feed);
    }
    reading->has_begun = true;
    feed_append_event(feed, NULL, (struct strview){0}, out);
    return FEED_SENT;
}

/* reading_forget_remade was true. */
static enum feed_result remade(struct feed *feed, struct buf *out)
{
    catchup_end(TAKE(feed->job));
    feed->is_snapshot = feed->snapshot != NULL; /* it was cut short: the whole of it again */
    snapshot_free(TAKE(feed->snapshot));
    feed->snapshot_records = 0;
    feed->start = (struct reading_start){.from = CURSOR_EARLIEST};
    return begin(feed, out);
}

static enum feed_result copy(struct feed *feed, struct buf *out)
{
    size_t before = out->len;
    enum reading_result result = reading_fill(feed->reading, &feed->site->source, FEED_BYTES, out);
    if (result == READING_LOST) {
        return feed_lost(feed, out);
    }
    return out->len > before || result == READING_MORE ? FEED_SENT : FEED_IDLE;
}

static enum feed_result copy_shared(struct feed *feed, struct buf *out)
{
    size_t before = out->len;
    enum reading_result result =
        reading_fill_shared(feed->reading, &feed->site->source, FEED_BYTES, out);
    return result == READING_LOST ? feed_lost(feed, out)
           : out->len > before    ? FEED_SENT
                                  : FEED_IDLE;
}

/* A client without credit is as slow as one whose socket is full. */
static enum feed_result wait_for_credit(struct feed *feed, struct buf *out)
{
    feed->was_blocked = true;
    bool is_in_rings = feed->reading->mode == READING_COPY;
    return is_in_rings && reading_is_lost(feed->reading, &feed->site->source) ? feed_lost(feed, out)
                                                                              : FEED_IDLE;
}

/* Why it ends for its name; QUERY_END_COUNT: it does not. */
static enum query_end name_end(const struct feed *feed)
{
    static const enum query_end ends[] = {
        [CONSUMER_OPENING] = QUERY_END_COUNT,   [CONSUMER_OPEN] = QUERY_END_COUNT,
        [CONSUMER_TAKEN] = QUERY_END_TAKEN,     [CONSUMER_RESET] = QUERY_END_RESET,
        [CONSUMER_DELETED] = QUERY_END_DELETED, [CONSUMER_FULL] = QUERY_END_REFUSED,
        [CONSUMER_FAILED] = QUERY_END_FAILED,
    };
    return feed->hold ? ends[consumer_hold_state(feed->hold)] : QUERY_END_COUNT;
}

enum feed_result feed_next(struct feed *feed, struct buf *out)
{
    const enum query_end why = name_end(feed);
    if (why != QUERY_END_COUNT) {
        return end(feed, why);
    }
    if (reading_forget_remade(feed->reading, &feed->site->source)) {
        return remade(feed, out);
    }
    if (!may_send(feed)) {
        return FEED_IDLE; /* it is woken */
    }
    if (feed->was_blocked && is_to_conflate(feed)) {
        return feed_lost(feed, out);
    }
    if (!reading_may_send(feed->reading)) {
        return wait_for_credit(feed, out);
    }
    switch (feed->reading->mode) {
    case READING_WAITING:
        return begin(feed, out);
    case READING_CATCHUP:
        return catch_up(feed, out);
    case READING_SNAPSHOT:
        return hand_out_snapshot(feed, out);
    case READING_COPY:
        return copy(feed, out);
    case READING_SHARED:
        break;
    }
    return reading_is_rendered(feed->reading) ? copy_shared(feed, out) : FEED_SHARED;
}

enum feed_result feed_blocked(struct feed *feed)
{
    feed_paused(feed);
    feed->was_blocked = true;
    return feed->slow == FEED_DISCONNECT && feed->reading->has_caught_up &&
                   reading_is_lost(feed->reading, &feed->site->source)
               ? end(feed, QUERY_END_LAGGED)
               : FEED_IDLE;
}

void feed_paused(struct feed *feed)
{
    if (feed->slow == FEED_CATCH_UP) {
        reading_leave_shared(feed->reading, &feed->site->source);
    }
}

void feed_rested(struct feed *feed)
{
    feed->was_blocked = !reading_may_send(feed->reading);
}

/* --- life
 * ----------------------------------------------------------------------------------------
 */

void feed_init(struct feed *feed, struct feed_site *site, const struct feed_params *params)
{
    *feed = (struct feed){.site = site,
                          .reading = params->reading,
                          .asked = params->asked,
                          .start = params->start,
                          .is_snapshot = params->is_snapshot,
                          .slow = params->slow,
                          .hold = params->hold};
    feed->reading->is_kept_apart = params->hold != NULL;
}

void feed_settle(struct feed *feed)
{
    feed_stop(feed);
    reading_leave_shared(feed->reading, &feed->site->source);
}

void feed_sent(struct feed *feed, int64_t amount)
{
    if (feed->hold) {
        consumer_hold_sent(feed->hold, feed->reading, amount);
    }
}

enum err feed_ask(struct feed *feed, struct strview position, struct err_info *info)
{
    const struct reading *reading = feed->reading;
    struct strview names[READING_TOPICS_MAX];
    CLEANUP(cursor_free) struct cursor to = {0};
    if (!feed->hold) {
        return err_set(info, ERR_REQUEST_PARAM, "it was opened under no consumer's name");
    }
    for (size_t i = 0; i < reading->topic_count; i++) {
        names[i] = feed->site->config->topics[reading->topics[i].topic];
    }
    enum err e = cursor_parse(position, names, reading->topic_count, &to, info);
    if (!e && (to.left_out || to.count == 0)) {
        e = err_set(info, ERR_TOPIC_UNKNOWN, "the position is not of the subscription's topics");
    }
    return e ? e : consumer_hold_ask(feed->hold, reading, &to, info);
}

bool feed_answer(struct feed *feed, enum err *ret, struct err_info *ret_info)
{
    return feed->hold && consumer_hold_answer(feed->hold, ret, ret_info);
}

void feed_tick(struct feed *feed, int64_t acked, int64_t now_us)
{
    if (feed->hold) {
        consumer_hold_tick(feed->hold, acked, now_us);
    }
}

void feed_release(struct feed *feed, int64_t acked)
{
    consumer_hold_free(TAKE(feed->hold), acked);
}

void feed_stop(struct feed *feed)
{
    catchup_end(TAKE(feed->job));
    snapshot_free(TAKE(feed->snapshot));
}

void feed_deinit(struct feed *feed)
{
    feed_stop(feed);
    feed_release(feed, 0);
    cursor_free(&feed->asked);
    reading_free(feed->reading);
    feed->reading = NULL;
}
