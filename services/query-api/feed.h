/* feed.h - what one reader of topics gets next, as text: from its beginning over a catch-up or a
 * snapshot to the rings, and what becomes of one that is too slow for them. Sockets are its owner's.
 *
 * USE      feed_next appends about FEED_BYTES of what comes next, whenever the owner has sent what was
 *          there before. feed_blocked says that the socket takes no more, feed_rested that nothing is
 *          left to send.
 * THREADS  the worker's.
 */
#pragma once

#include "catchup.h"
#include "consumer_hold.h"
#include "guest.h"
#include "query_metrics.h"
#include "reading.h"
#include "snapshot.h"

#define FEED_BYTES 65536 /* to append in one go */

struct feed_config {
    const struct strview *topics; /* each ends with a NUL */
    struct catchup *catchup;
    struct snapshots *snapshots;
};

/* What the feeds of a worker share. */
struct feed_site {
    const struct feed_config *config;
    struct reading_source source;
    void (*wake)(void *context); /* any thread: feed_next has something for someone */
    void *wake_context;
};

/* What becomes of a client that is too slow for the rings; it is told (`event: lagged`). */
enum feed_slow {
    FEED_DISCONNECT,
    FEED_CONFLATE, /* the latest values replace what it has missed */
    FEED_CATCH_UP, /* what it has missed comes from Kafka */
};

struct feed_params {
    struct reading *reading;    /* taken over */
    struct cursor asked;        /* taken over */
    struct reading_start start; /* without `asked` */
    bool is_snapshot;           /* the latest values first, unless there is `asked` */
    enum feed_slow slow;
    struct consumer_hold *hold; /* taken over; NULL: it has no name */
};

struct feed {
    struct feed_site *site;
    struct reading *reading;
    struct cursor asked;        /* until it has begun */
    struct catchup_job *job;    /* in CATCHUP */
    struct snapshot *snapshot;  /* in SNAPSHOT */
    struct consumer_hold *hold; /* NULL: it has no name, or it has ended */
    size_t snapshot_records;    /* handed out */
    struct reading_start start;
    bool is_snapshot;
    bool was_blocked; /* since it had nothing to send */
    enum feed_slow slow;
    enum query_end end; /* once FEED_ENDED was returned */
};

enum feed_result {
    FEED_IDLE,   /* nothing for now */
    FEED_SENT,   /* appended something, or there is more: go on */
    FEED_SHARED, /* what comes next are the frames' own bytes: reading_gather */
    FEED_ENDED,  /* as feed->end says; the owner tells why with feed_append_farewell */
};

void feed_init(struct feed *feed, struct feed_site *site, const struct feed_params *params);
void feed_deinit(struct feed *feed);
enum feed_result feed_next(struct feed *feed, struct buf *out);
/* SHARED: what comes next has left the ring. */
enum feed_result feed_lost(struct feed *feed, struct buf *out);
/* The socket takes no more. FEED_ENDED: what the client is owed is gone, and it asked for nothing
 * else. */
enum feed_result feed_blocked(struct feed *feed);
/* More is there than may be sent now. Who is to catch up needs positions of its own for that, which
 * can be had only as long as the ring has what comes next. */
void feed_paused(struct feed *feed);
void feed_rested(struct feed *feed);
/* All that it has appended has been sent: so much since the beginning, in what its owner counts. */
void feed_sent(struct feed *feed, int64_t amount);
/* Of a feed with a name: so much of it has been acknowledged. */
void feed_tick(struct feed *feed, int64_t acked, int64_t now_us);
/* The client commits a position, as consumer_hold_ask; and hears of it. */
MUST_CHECK enum err feed_ask(struct feed *feed, struct strview position, struct err_info *info);
bool feed_answer(struct feed *feed, enum err *ret, struct err_info *ret_info);
/* Gives up what it holds beside its position and its name. */
void feed_stop(struct feed *feed);
/* Gives its name up; what lies before `acked` is committed, CONSUMER_HOLD_ALL: all that was sent. */
void feed_release(struct feed *feed, int64_t acked);
/* And has a position of its own, to be told, if what comes next is still there. */
void feed_settle(struct feed *feed);

/* Whether the guest may read all of its topics, and use its name. */
bool feed_is_for(const struct feed *feed, const struct guest *guest);

void feed_append_event(const struct feed *feed, const char *name, struct strview data,
                       struct buf *out);
void feed_append_heartbeat(const struct feed *feed, struct buf *out);
/* Nothing for a client that has gone. */
void feed_append_farewell(const struct feed *feed, enum query_end why, struct buf *out);
