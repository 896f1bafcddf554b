#include "ws_socket.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "query_access.h"
#include "ws_talk.h"

struct subscription {
    struct feed feed;
    char *name;
    int64_t told_us;
    int64_t unacked_max; /* 0: it sends without acks */
    int64_t acked;       /* records, since it began */
};

struct ws_socket {
    struct ws_sockets *set;
    size_t index; /* in set->list */
    struct http_websocket *http;
    const struct query *query;
    struct guest guest;
    struct subscription **subscriptions;
    size_t count;
    size_t turn;      /* whose it is */
    bool is_in_burst; /* only what comes from the rings is wanted */
    int64_t due_us;   /* when it is to end as due_end says; INT64_MAX: never */
    enum query_end due_end;
};

/* --- what has gone out, of a subscription with a name ------------------------------------------ */

/* Records where the client acknowledges those, else bytes. */
static int64_t sent_of(const struct ws_socket *socket, const struct subscription *subscription)
{
    return subscription->unacked_max ? subscription->acked + subscription->unacked_max -
                                           subscription->feed.reading->credit
                                     : http_websocket_written(socket->http);
}

static int64_t acked_of(const struct ws_socket *socket, const struct subscription *subscription)
{
    return subscription->unacked_max ? subscription->acked
                                     : stream_acked(http_websocket_fd(socket->http),
                                                    http_websocket_written(socket->http));
}

/* It ends, and is told so behind what it was sent: that has arrived if the word of it has. */
static void name_release(struct subscription *subscription)
{
    feed_release(&subscription->feed,
                 subscription->unacked_max ? subscription->acked : CONSUMER_HOLD_ALL);
}

/* --- subscriptions ----------------------------------------------------------------------------- */

static struct subscription *subscription_find(const struct ws_socket *socket, const char *name,
                                              size_t *ret_index)
{
    for (size_t i = 0; i < socket->count; i++) {
        if (strcmp(socket->subscriptions[i]->name, name) == 0) {
            *ret_index = i;
            return socket->subscriptions[i];
        }
    }
    return NULL;
}

static void subscription_free(struct subscription *subscription)
{
    feed_deinit(&subscription->feed);
    free(subscription->name);
    free(subscription);
    query_metrics_subscription_end();
}

/* With its position, from which it can be resumed. */
static void subscription_remove(struct ws_socket *socket, size_t index)
{
    struct subscription *subscription = socket->subscriptions[index];
    name_release(subscription);
    feed_settle(&subscription->feed);
    feed_append_event(&subscription->feed, "unsubscribed", (struct strview){0},
                      http_websocket_out(socket->http));
    socket->subscriptions[index] = socket->subscriptions[--socket->count];
    subscription_free(subscription);
}

static char *name_as_json(const char *name)
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, WS_NAME_BYTES_MAX * 6 + 3); /* every byte an escape, quotes and the end */
    CHECK(buf_append_json_string(&text, sv(name)) == ERR_OK);
    CHECK(buf_append(&text, "", 1) == ERR_OK);
    return must_strdup(text.data);
}

static void subscription_add(struct ws_socket *socket, const char *name, int64_t unacked_max,
                             struct events_request *events)
{
    struct subscription *subscription = must_alloc(sizeof *subscription);
    events->format = READING_MESSAGES;
    struct feed_params params = {
        .reading = events_request_reading(events),
        .asked = events->asked,
        .start = events->start,
        .is_snapshot = events->is_snapshot,
        .slow = events->slow,
        .hold = events_request_hold(events, socket->query, socket->set->streams->site)};
    events->asked = (struct cursor){0};
    params.reading->is_chunked = false;
    params.reading->subscription = name_as_json(name);
    /* Who is to catch up needs its own position at any moment. */
    params.reading->is_sharable = unacked_max == 0 && params.slow != FEED_CATCH_UP;
    params.reading->is_compressed =
        http_websocket_window_bits(socket->http) == WEBSOCKET_WINDOW_MAX;
    params.reading->has_credit = unacked_max > 0;
    params.reading->credit = unacked_max;
    *subscription = (struct subscription){
        .name = must_strdup(name), .unacked_max = unacked_max, .told_us = clock_mono_us()};
    feed_init(&subscription->feed, socket->set->streams->site, &params);
    socket->subscriptions =
        must_realloc(socket->subscriptions, (socket->count + 1) * sizeof *socket->subscriptions);
    socket->subscriptions[socket->count++] = subscription;
    query_metrics_subscription_begin();
}

/* --- what the client says ---------------------------------------------------------------------- */

static enum err subscribe(struct ws_socket *socket, const struct ws_ask *ask, struct err_info *info)
{
    size_t index;
    if (subscription_find(socket, ask->name, &index)) {
        return err_set(info, ERR_REQUEST_PARAM, "there is a subscription \"%s\" already",
                       ask->name);
    }
    if ((int64_t)socket->count >= socket->set->config->subscriptions_max) {
        return err_set(info, ERR_OVERLOADED, "a connection has at most %lld subscriptions",
                       (long long)socket->set->config->subscriptions_max);
    }
    struct events_request events = {0};
    enum err e = ws_ask_events(ask, socket->query, socket->guest.principal, &events, info);
    if (!e && events.consumer[0]) {
        e = query_allow_consumer(socket->query, socket->guest.principal, ACCESS_WRITE,
                                 events.consumer, info);
    }
    if (!e) {
        subscription_add(socket, ask->name, ask->unacked_max, &events);
        ws_append_event(http_websocket_out(socket->http), ask->name, "subscribed");
    }
    events_request_deinit(&events);
    return e;
}

static enum err ack(struct subscription *subscription, const struct ws_ask *ask,
                    struct err_info *info)
{
    struct reading *reading = subscription->feed.reading;
    int64_t unacked = subscription->unacked_max - reading->credit;
    if (!subscription->unacked_max || ask->records > unacked) {
        return err_set(info, ERR_REQUEST_PARAM,
                       subscription->unacked_max
                           ? "more records are acknowledged than were sent"
                           : "the subscription was begun without unacked_max");
    }
    reading->credit += ask->records;
    subscription->acked += ask->records;
    return ERR_OK;
}

static enum err act(struct ws_socket *socket, const struct ws_ask *ask, struct err_info *info)
{
    size_t index;
    if (ask->action == WS_SUBSCRIBE || ask->action == WS_RESUME) {
        return subscribe(socket, ask, info);
    }
    struct subscription *subscription = subscription_find(socket, ask->name, &index);
    if (!subscription) {
        return err_set(info, ERR_NOT_FOUND, "there is no subscription \"%s\"", ask->name);
    }
    if (ask->action == WS_ACK) {
        return ack(subscription, ask, info);
    }
    if (ask->action == WS_COMMIT) {
        return feed_ask(&subscription->feed, sv(ask->cursor), info);
    }
    subscription_remove(socket, index);
    return ERR_OK;
}

static void on_message(void *context, bool is_text, struct strview message)
{
    struct ws_socket *socket = context;
    struct ws_ask ask = {0};
    struct err_info info = {0};
    if (!is_text) {
        http_websocket_close(socket->http, WEBSOCKET_UNSUPPORTED, SV("messages are text"));
        return;
    }
    enum err e = ws_ask_read(message, &ask, &info);
    e = e ? e : act(socket, &ask, &info);
    if (e) {
        ws_append_error(http_websocket_out(socket->http), ask.name, e, &info);
    }
    ws_ask_deinit(&ask);
}

/* --- what it gets ------------------------------------------------------------------------------ */

static bool is_from_rings(const struct subscription *subscription)
{
    enum reading_mode mode = subscription->feed.reading->mode;
    return mode == READING_COPY || mode == READING_SHARED;
}

/* Whether there was something. */
static bool feed_one(struct ws_socket *socket, size_t index, struct buf *out)
{
    struct subscription *subscription = socket->subscriptions[index];
    size_t before = out->len;
    if (socket->is_in_burst && !is_from_rings(subscription)) {
        return false;
    }
    enum feed_result result = feed_next(&subscription->feed, out);
    if (result == FEED_ENDED) {
        feed_append_farewell(&subscription->feed, subscription->feed.end, out);
        subscription_remove(socket, index);
        return true;
    }
    if (out->len > before) {
        subscription->told_us = clock_mono_us();
    }
    return result == FEED_SENT;
}

/* All that was appended is in the socket. */
static void names_note(struct ws_socket *socket, struct buf *out)
{
    for (size_t i = 0; i < socket->count; i++) {
        struct subscription *subscription = socket->subscriptions[i];
        struct err_info info = {0};
        enum err e;
        if (!subscription->feed.hold) {
            continue;
        }
        feed_sent(&subscription->feed, sent_of(socket, subscription));
        if (!feed_answer(&subscription->feed, &e, &info)) {
            continue;
        }
        if (e) {
            ws_append_error(out, subscription->name, e, &info);
        } else {
            ws_append_event(out, subscription->name, "committed");
        }
    }
}

static bool on_room(void *context, struct buf *out)
{
    struct ws_socket *socket = context;
    names_note(socket, out);
    bool is_any = out->len > 0;
    for (size_t i = socket->count; i > 0 && out->len < FEED_BYTES && socket->count > 0; i--) {
        is_any |= feed_one(socket, socket->turn++ % socket->count, out);
    }
    for (size_t i = 0; !is_any && i < socket->count; i++) {
        feed_rested(&socket->subscriptions[i]->feed);
    }
    socket->set->streams->sent_bytes += (int64_t)out->len;
    return is_any;
}

static void on_blocked(void *context)
{
    struct ws_socket *socket = context;
    struct buf *out = http_websocket_out(socket->http);
    for (size_t i = socket->count; i > 0; i--) {
        struct subscription *subscription = socket->subscriptions[i - 1];
        if (feed_blocked(&subscription->feed) == FEED_ENDED) {
            feed_append_farewell(&subscription->feed, subscription->feed.end, out);
            subscription_remove(socket, i - 1);
        }
    }
}

/* --- the end ----------------------------------------------------------------------------------- */

static enum query_end end_of(const struct ws_socket *socket, enum http_websocket_end why)
{
    return why == HTTP_WEBSOCKET_CLOSED    ? socket->due_end
           : why == HTTP_WEBSOCKET_STALLED ? QUERY_END_STALLED
                                           : QUERY_END_GONE;
}

static void socket_free(struct ws_socket *socket, enum query_end why)
{
    struct ws_sockets *set = socket->set;
    struct ws_socket *last = set->list[--set->count];
    set->list[socket->index] = last;
    last->index = socket->index;
    atomic_fetch_sub(set->streams->config->total, 1);
    guest_leave(&socket->guest);
    query_metrics_stream_end(why);
    for (size_t i = 0; i < socket->count; i++) {
        struct subscription *subscription = socket->subscriptions[i];
        feed_release(&subscription->feed, acked_of(socket, subscription));
        subscription_free(subscription);
    }
    free(socket->subscriptions);
    free(socket);
}

static void on_end(void *context, enum http_websocket_end why, uint16_t code, struct strview reason)
{
    (void)code, (void)reason;
    struct ws_socket *socket = context;
    socket_free(socket, end_of(socket, why));
}

static const struct {
    uint16_t code;
    const char *reason;
} closes[QUERY_END_COUNT] = {
    [QUERY_END_SHUTDOWN] = {WEBSOCKET_GOING_AWAY, "the server is shutting down"},
    [QUERY_END_ROTATED] = {WEBSOCKET_GOING_AWAY, "open for long: come back"},
    [QUERY_END_EXPIRED] = {WS_UNKNOWN, "the token or key has expired"},
    [QUERY_END_REVOKED] = {WS_UNKNOWN, "the key was taken away or changed"},
};

/* May end it. */
static void socket_close(struct ws_socket *socket, enum query_end why)
{
    struct buf *out = http_websocket_out(socket->http);
    socket->due_end = why;
    socket->due_us = INT64_MAX;
    for (size_t i = 0; i < socket->count; i++) {
        name_release(socket->subscriptions[i]);
        feed_settle(&socket->subscriptions[i]->feed);
        feed_append_farewell(&socket->subscriptions[i]->feed, why, out);
    }
    http_websocket_close(socket->http, closes[why].code, sv(closes[why].reason));
    http_websocket_pump(socket->http, false);
}

/* --- the beginning ----------------------------------------------------------------------------- */

static void set_add(struct ws_sockets *set, struct ws_socket *socket)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? set->capacity * 2 : 16;
        set->list = must_realloc(set->list, set->capacity * sizeof *set->list);
    }
    socket->index = set->count;
    set->list[set->count++] = socket;
    atomic_fetch_add(set->streams->config->total, 1);
    query_metrics_stream_begin();
}

enum err ws_open(struct ws_sockets *set, struct http_request *request, const struct query *query,
                 struct events_request *events, const struct guest *guest, struct err_info *info)
{
    static const struct http_websocket_hooks hooks = {
        .on_message = on_message, .on_room = on_room, .on_blocked = on_blocked, .on_end = on_end};
    struct ws_socket *socket = must_alloc(sizeof *socket);
    const struct http_websocket_params params = {
        .config = &set->config->http,
        .hooks = &hooks,
        .context = socket,
        .codec = set->config->is_compressing ? set->streams->site->source.codec : NULL};
    *socket = (struct ws_socket){.set = set,
                                 .query = query,
                                 .guest = *guest,
                                 .due_us = streams_due_us(set->streams, clock_mono_us()),
                                 .due_end = QUERY_END_ROTATED};
    enum err e = http_websocket_accept(request, &params, &socket->http, info);
    if (e || !socket->http) {
        guest_leave(&socket->guest);
        free(socket);
        return e;
    }
    stream_socket_prepare(http_websocket_fd(socket->http), set->streams->config);
    set_add(set, socket);
    if (events) {
        subscription_add(socket, WS_FIRST_NAME, 0, events);
    }
    if (set->streams->is_draining) {
        socket_close(socket, QUERY_END_SHUTDOWN);
    } else {
        http_websocket_pump(socket->http, false);
    }
    return ERR_OK;
}

/* --- all of them ------------------------------------------------------------------------------- */

/* From the last to the first: one that ends is replaced by the last, which has had its turn. */
void ws_pump(struct ws_sockets *set, bool is_burst)
{
    for (size_t i = set->count; i > 0; i--) {
        set->list[i - 1]->is_in_burst = is_burst;
        http_websocket_pump(set->list[i - 1]->http, is_burst);
        if (i <= set->count) {
            set->list[i - 1]->is_in_burst = false;
        }
    }
}

/* A subscription that says nothing for long says where it is. May end the socket. */
static void socket_tick(struct ws_socket *socket, int64_t now_us)
{
    struct buf *out = http_websocket_out(socket->http);
    if (http_websocket_is_closing(socket->http)) {
        return;
    }
    if (now_us >= socket->due_us || now_us >= socket->guest.expires_us) {
        socket_close(socket, now_us >= socket->due_us ? socket->due_end : QUERY_END_EXPIRED);
        return;
    }
    for (size_t i = 0; i < socket->count; i++) {
        struct subscription *subscription = socket->subscriptions[i];
        if (subscription->feed.hold) {
            feed_tick(&subscription->feed, acked_of(socket, subscription), now_us);
        }
    }
    if (out->len > 0) { /* it is behind */
        return;
    }
    for (size_t i = 0; i < socket->count; i++) {
        struct subscription *subscription = socket->subscriptions[i];
        if (now_us - subscription->told_us > socket->set->streams->config->heartbeat_ms * 1000) {
            subscription->told_us = now_us;
            feed_append_heartbeat(&subscription->feed, out);
        }
    }
    if (out->len > 0) {
        http_websocket_pump(socket->http, false);
    }
}

void ws_tick(struct ws_sockets *set, int64_t now_us)
{
    for (size_t i = set->count; i > 0; i--) {
        socket_tick(set->list[i - 1], now_us);
    }
    for (size_t i = set->count; i > 0; i--) {
        http_websocket_tick(set->list[i - 1]->http, now_us);
    }
}

/* May end it. */
static void socket_renew(struct ws_socket *socket, struct access_view *view)
{
    if (http_websocket_is_closing(socket->http)) {
        return;
    }
    if (!guest_renew(&socket->guest, view)) {
        socket_close(socket, QUERY_END_REVOKED);
        return;
    }
    for (size_t i = socket->count; i > 0; i--) {
        struct feed *feed = &socket->subscriptions[i - 1]->feed;
        if (!feed_is_for(feed, &socket->guest)) {
            feed_settle(feed);
            feed_append_farewell(feed, QUERY_END_REVOKED, http_websocket_out(socket->http));
            subscription_remove(socket, i - 1);
        }
    }
    http_websocket_pump(socket->http, false);
}

void ws_renew(struct ws_sockets *set, struct access_view *view)
{
    for (size_t i = set->count; i > 0; i--) {
        socket_renew(set->list[i - 1], view);
    }
}

void ws_drain(struct ws_sockets *set)
{
    int64_t now_us = clock_mono_us();
    for (size_t i = 0; i < set->count; i++) {
        set->list[i]->due_us = streams_drain_due_us(set->streams, now_us);
        set->list[i]->due_end = QUERY_END_SHUTDOWN;
    }
    ws_tick(set, now_us);
}

void ws_deinit(struct ws_sockets *set)
{
    while (set->count > 0) {
        struct ws_socket *socket = set->list[set->count - 1];
        struct http_websocket *http = socket->http;
        socket_free(socket, QUERY_END_SHUTDOWN);
        http_websocket_cut(http);
    }
    free(set->list);
    *set = (struct ws_sockets){0};
}
