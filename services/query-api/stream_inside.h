/* stream_inside.h - what the parts of a stream share. */
#pragma once

#include "stream.h"

#define STREAM_FILL_BYTES    65536
#define STREAM_OUT_BYTES_MAX ((size_t)1 << 30)

struct stream {
    struct streams *set;
    size_t index; /* in set->list */
    struct http_stream http;
    struct http_watch *watch;
    struct reading *reading;
    struct cursor asked;       /* until it has begun */
    struct catchup_job *job;   /* in CATCHUP */
    struct snapshot *snapshot; /* in SNAPSHOT */
    size_t snapshot_records;   /* handed out */
    struct buf out;
    size_t sent; /* of out */
    int64_t wrote_us;
    int64_t heartbeat_us;
    int64_t due_us; /* when it is to end as due_end says; INT64_MAX: never */
    enum query_end due_end;
    struct crowd_client *client;
    struct reading_start start;
    bool is_snapshot;
    enum stream_slow slow;
    bool was_blocked; /* since it had nothing to send */
    bool is_waiting;  /* for the socket */
    bool is_ending;
    enum query_end end;
};

enum outcome {
    IDLE,    /* nothing to send */
    SENT,    /* or prepared: go on */
    BLOCKED, /* the socket takes no more */
    GONE,
};

static inline bool stream_has_out(const struct stream *stream)
{
    return stream->sent < stream->out.len || http_stream_is_pending(&stream->http);
}

/* Tells why and closes, now or when the client has taken what it is owed. May free it, so whatever
 * called it returns GONE. */
void stream_end(struct stream *stream, enum query_end why);

/* --- stream_feed.c: what comes next, in every mode but SHARED ------------------------------------ */

void stream_append_event(struct stream *stream, const char *name, struct strview data);
enum outcome stream_feed(struct stream *stream);
/* reading_forget_remade was true. */
enum outcome stream_remade(struct stream *stream);
/* What comes next has left the ring, or is too much: as `slow` says. */
enum outcome stream_lost(struct stream *stream);
/* Whether what waits for a slow client is more than the latest values are. */
bool stream_is_to_conflate(const struct stream *stream);
