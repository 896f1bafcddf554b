/* ws_socket.h - a client's WebSocket and its subscriptions, each a feed of its own (feed.h); and all those
 * of a worker.
 *
 * WHAT     the client says what it wants (ws_talk.h); what it gets are the objects that GET /events
 *          sends as lines, with the subscription's name in front. Subscriptions take turns, so that a
 *          busy one does not hold up the others.
 * BOUNDS   subscriptions_max a socket; sockets count as streams (stream.h). One that asked for acks is
 *          sent at most unacked_max records past the last one: a tab that renders slowly says so,
 *          long before its socket would.
 * NAMES    a subscription that was opened under a consumer's name commits what the other end of the
 *          connection has acknowledged, one with unacked_max what the client has, a manual one what it
 *          says.
 * ENDS     a subscription that ends is told why and "unsubscribed", the others go on. A drain, or age,
 *          tells every subscription, then closes with 1001; so does the end of what the client showed
 *          of itself, with WS_UNKNOWN. A reload that takes the right to a topic away ends subscriptions.
 * THREADS  the worker's.
 */
#pragma once

#include "http/http_websocket.h"
#include "stream.h"

struct query;
struct events_request;
struct ws_socket;

struct ws_config {
    struct http_websocket_config http;
    int64_t subscriptions_max;
    bool is_compressing;
};

struct ws_sockets {
    const struct ws_config *config;
    struct streams *streams; /* whose bounds, times and dice it shares */
    struct ws_socket **list;
    size_t count, capacity;
};

/* Answers the request with 101, or leaves the answer to the caller. events NULL: the client will say;
 * else there is a subscription WS_FIRST_NAME for them. guest is taken over. */
#define WS_FIRST_NAME "0"
#define WS_UNKNOWN    4401 /* as HTTP has it: come back as somebody who is known */
MUST_CHECK enum err ws_open(struct ws_sockets *set, struct http_request *request,
                            const struct query *query, struct events_request *events,
                            const struct guest *guest, struct err_info *info);
void ws_deinit(struct ws_sockets *set); /* a zeroed one is a no-op; closes what is open */
void ws_pump(struct ws_sockets *set, bool is_burst);
void ws_tick(struct ws_sockets *set, int64_t now_us);
void ws_drain(struct ws_sockets *set);
void ws_renew(struct ws_sockets *set, struct access_view *view); /* as streams_renew */
