/* reading.h - what one client has seen of its topics, and what comes next for it. Pure: no sockets.
 *
 * A reading is in one of these modes, in this order:
 *
 *   WAITING   its topics are not known or not loaded yet
 *   CATCHUP   some position is not in the rings: records come from a catch-up job (catchup.h) until
 *             every position is (`next` ≥ ring's `first`)
 *   SNAPSHOT  the latest values are handed out (snapshot.h); the positions are where they stand
 *   COPY      from the rings; events are rendered for this client, under its own positions, and
 *             what it has seen already is skipped. So joining the rings from anywhere is exact.
 *   SHARED    one topic, all of it, plain values, exactly where the reader is: the frames' own bytes
 *             are sent, and no positions of its own are kept. A WebSocket's messages differ by the
 *             subscription's name, and gzip by what was before, so they are rendered, around what is the
 *             same for all (frame_object, frame_part)
 *
 * INVARIANT  a record at offset o of partition p is handed out only if o ≥ next[p], and then
 *            next[p] = o + 1; otherwise next[p] passes only what is no record, or a gap that is told.
 */
#pragma once

#include <sys/uio.h>

#include "cursor.h"
#include "filter.h"
#include "ring.h"

#define READING_TOPICS_MAX 64 /* as many as can be served */

enum reading_format {
    READING_SSE,
    READING_LINES,    /* a JSON object a line */
    READING_MESSAGES, /* the same object as a WebSocket's message, with the subscription in it */
};

enum reading_mode {
    READING_WAITING,
    READING_CATCHUP,
    READING_SNAPSHOT,
    READING_COPY,
    READING_SHARED,
};

struct reading_topic {
    uint64_t sequence; /* of the ring's frame to look at next */
    int64_t *next;     /* by partition; NULL in SHARED */
    int32_t partition_count;
    uint32_t epoch; /* the ring's, when it was placed */
    uint16_t topic;
    bool is_placed; /* has positions */
    bool is_remade; /* what the client had is of an earlier making of the topic: it is to be told */
};

struct reading {
    enum reading_mode mode;
    bool has_caught_up; /* it has been at the head of the rings */
    bool has_begun;     /* where it begins is known, and gaps before that have been told */
    bool is_envelope;
    bool is_raw; /* values in Avro as they were written */
    enum reading_format format;
    struct filter *filter; /* owned; NULL: every record */
    bool is_chunked;       /* HTTP/1.0 gets events without chunk framing */
    char *subscription;    /* owned; MESSAGES: a JSON string */
    bool is_sharable;      /* MESSAGES: may become SHARED */
    bool is_kept_apart;    /* never SHARED: its owner looks at its positions */
    bool is_compressed;    /* MESSAGES: those that are worth it */
    bool is_gzip;          /* not MESSAGES: all that is appended is of `gzip` */
    struct gzip_member gzip;
    bool has_credit; /* it is sent `credit` more records, then nothing until it has some again */
    int64_t credit;
    uint8_t topic_count;
    struct reading_topic topics[]; /* topic_count */
};

/* Where readings get frames from: by topic. */
struct reading_source {
    const struct ring *rings;
    const struct strview *names;
    struct selector_machine *selectors;
    struct websocket_codec *codec; /* NULL: no reading is_compressed or is_gzip */
    struct buf *scratch;
};

struct reading_start {
    const struct cursor *asked; /* by index into topics of the reading; may be NULL */
    int64_t from;   /* for what `asked` does not name: CURSOR_LATEST, CURSOR_EARLIEST, or a time */
    int64_t rewind; /* the last so many records of each topic, as far as the rings have them */
};

enum reading_result {
    READING_HEAD, /* nothing more for now */
    READING_MORE, /* stopped at a bound */
    READING_LOST, /* what comes next has left the ring */
};

/* SHARED: by reading_fill_shared, not reading_gather. */
static inline bool reading_is_rendered(const struct reading *reading)
{
    return reading->format == READING_MESSAGES || reading->is_gzip;
}
static inline bool reading_may_send(const struct reading *reading)
{
    return !reading->has_credit || reading->credit > 0;
}
void reading_free(struct reading *reading); /* NULL is a no-op */
DEALLOC(reading_free) struct reading *reading_new(const uint16_t *topics, size_t count);

/* Leaves WAITING once all topics are loaded; false until then. The caller sets has_begun when it tells
 * the position, unless the mode is CATCHUP or it takes a snapshot. */
bool reading_begin(struct reading *reading, const struct reading_source *source,
                   const struct reading_start *start);
/* What a stream begins with, before there is any position, and what it ends with. */
void reading_append_greeting(struct reading *reading, const struct reading_source *source,
                             int64_t retry_ms, struct buf *out);
void reading_append_end(const struct reading *reading, struct buf *out);
/* Topics that were deleted and created again since: back to WAITING, to begin with them anew; the
 * others keep their positions. False: there are none. */
bool reading_forget_remade(struct reading *reading, const struct reading_source *source);
/* An event of that name (NULL: none) and data (JSON; empty: none), with the present position as its
 * id where there is one. */
void reading_append_event(struct reading *reading, const struct reading_source *source,
                          const char *name, struct strview data, struct buf *out);
/* A record or a gap, under the present position. */
void reading_append_frame(struct reading *reading, const struct reading_source *source,
                          const struct frame *frame, struct buf *out);
/* A comment that also carries the position: a client that sees no event moves on as well. */
void reading_append_heartbeat(struct reading *reading, const struct reading_source *source,
                              struct buf *out);

/* CATCHUP: a record from Kafka; skipped when it has been seen. Credit is the caller's to look at. */
void reading_take(struct reading *reading, const struct reading_source *source,
                  const struct frame *frame, struct buf *out);
/* CATCHUP: nothing lies before `next` that is still to be read. */
void reading_move(struct reading *reading, uint32_t index, int32_t partition, int64_t next);
/* CATCHUP: goes on from the rings if every position is there; false if not. */
bool reading_join(struct reading *reading, const struct reading_source *source);

/* COPY: appends about bytes_max of events. */
enum reading_result reading_fill(struct reading *reading, const struct reading_source *source,
                                 size_t bytes_max, struct buf *out);
/* SHARED: the next frames' bytes, borrowed until the ring changes; reading_advance counts what was
 * sent. *ret_count 0 at the head. */
enum reading_result reading_gather(const struct reading *reading,
                                   const struct reading_source *source, struct iovec *parts,
                                   size_t max, size_t *ret_count);
void reading_advance(struct reading *reading, size_t frames);
/* SHARED, rendered: as reading_fill. */
enum reading_result reading_fill_shared(struct reading *reading,
                                        const struct reading_source *source, size_t bytes_max,
                                        struct buf *out);
/* COPY, lost: back to CATCHUP, nothing is missed. */
void reading_fall_back(struct reading *reading);
/* Any mode: the positions become those of a snapshot, by reading_move. */
void reading_enter_snapshot(struct reading *reading, const struct reading_source *source);
void reading_leave_snapshot(struct reading *reading, const struct reading_source *source);
/* SHARED, not lost: back to COPY, with positions of its own. No-op otherwise. */
void reading_leave_shared(struct reading *reading, const struct reading_source *source);
/* COPY, SHARED: frames in the rings that it has not looked at. */
size_t reading_backlog(const struct reading *reading, const struct reading_source *source);
/* COPY, SHARED: whether what comes next has left the ring. */
bool reading_is_lost(struct reading *reading, const struct reading_source *source);
