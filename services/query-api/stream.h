/* stream.h - one client of GET /events: a socket and a reading; and the set of them that a worker has.
 *
 * Bytes leave in this order: what is in `out` (the head, events of its own, the rest of a frame that
 * did not fit), then frames straight from the ring. While `out` is not empty nothing else is sent,
 * so events stay whole and in order.
 *
 * A client that takes nothing for stall_timeout is told so, as far as its socket takes it, and closed;
 * it may come back with its last id. One that takes too little is dealt with as it asked: see
 * feed_slow.
 *
 * THREADS  the worker's.
 */
#pragma once

#include <stdatomic.h>

#include "feed.h"
#include "guest.h"
#include "http/http.h"

struct stream_config {
    int64_t heartbeat_ms;
    int64_t stall_timeout_ms;
    int64_t send_buffer_bytes;
    int64_t retry_ms;
    int64_t age_max_ms;      /* 0: none */
    int64_t drain_spread_ms; /* over which streams end when the process is to */
    bool is_compressing;     /* for those that take gzip */
    atomic_size_t *total;    /* streams of all workers */
};

struct stream;

struct streams {
    const struct stream_config *config;
    struct http_worker *worker;
    struct feed_site *site;
    uint64_t random; /* not 0 */
    struct stream **list;
    size_t count, capacity;
    bool is_draining;
    int64_t sent_frames, sent_bytes; /* since they were added to the metrics */
};

struct stream_params {
    struct http_stream http;
    struct feed_params feed;
    struct guest guest; /* taken over */
    struct buf head;    /* taken over: status line and fields */
};

/* It ends by itself, or with the set. */
void stream_open(struct streams *set, struct stream_params *params);

void streams_deinit(struct streams *set); /* a zeroed one is a no-op; closes what is open */
/* There is something new in the rings or from a catch-up. In a burst clients are served all that the
 * rings have, as far as their sockets take it: the rings are about to change. */
void streams_pump(struct streams *set, bool is_burst);
void streams_tick(struct streams *set, int64_t now_us);
/* Tells every client to come back elsewhere, at a moment of its own. */
void streams_drain(struct streams *set);
/* Who may what has changed: ends those whose clients may not any more. */
void streams_renew(struct streams *set, struct access_view *view);
/* When one that begins now is to end, for its age; INT64_MAX: never. */
int64_t streams_due_us(struct streams *set, int64_t now_us);
/* When one that is there ends in a drain that has begun now. */
int64_t streams_drain_due_us(struct streams *set, int64_t now_us);
/* How much of what was written has been acknowledged: at least so much, as TLS adds to what lies in the
 * socket. */
int64_t stream_acked(int fd, int64_t written);
/* Bounds what the kernel holds for a client, and how long it believes in one that is silent. */
void stream_socket_prepare(int fd, const struct stream_config *config);
/* Time to wait before reconnecting, different for each client. */
int64_t streams_retry_ms(struct streams *set, int64_t base_ms);
