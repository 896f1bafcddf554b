/* stream.h - one client of GET /events: a socket and a reading.
 *
 * Bytes leave in this order: what is in `out` (the head, events of its own, the rest of a frame that
 * did not fit), then frames straight from the ring. While `out` is not empty nothing else is sent,
 * so events stay whole and in order.
 *
 * A client that takes nothing for stall_timeout, or whose next record has left the ring, is told
 * (`event: lagged`, as far as its socket takes it) and closed; it may come back with its last id.
 */
#pragma once

#include "shard.h"

struct stream;

struct stream_params {
    struct http_stream http;
    struct reading *reading; /* taken over */
    struct cursor asked;     /* taken over */
    bool is_from_earliest;
    struct buf head; /* taken over: status line and fields */
};

/* The stream belongs to the shard, on whose thread it lives. */
void stream_open(struct shard *shard, struct stream_params *params);
/* These may free it. */
void stream_pump(struct stream *stream);
void stream_tick(struct stream *stream, int64_t now_us);
void stream_end(struct stream *stream, enum query_end why);
void stream_free(struct stream *stream, enum query_end why);
