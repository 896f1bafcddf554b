#define _GNU_SOURCE /* EPOLLRDHUP */

#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/clock.h"

#define GATHER_MAX     64
#define ROUNDS_MAX     16  /* of one turn */
#define OUT_KEPT_BYTES 512 /* of an idle client's buffer */
#define END_TIMEOUT_US 2000000
#define OUT_BYTES_MAX  ((size_t)1 << 30)

struct stream {
    struct streams *set;
    size_t index; /* in set->list */
    struct http_stream http;
    struct http_watch *watch;
    struct feed feed;
    struct buf out;
    size_t sent;     /* of out */
    int64_t written; /* bytes since the beginning */
    int64_t wrote_us;
    int64_t heartbeat_us;
    int64_t due_us; /* when it is to end as due_end says; INT64_MAX: never */
    enum query_end due_end;
    struct guest guest;
    bool is_waiting; /* for the socket */
    bool is_ending;
    enum query_end end;
};

enum outcome {
    IDLE,    /* nothing to send */
    SENT,    /* or prepared: go on */
    BLOCKED, /* the socket takes no more */
    GONE,
};

/* These may free it. */
static void stream_pump(struct stream *stream, bool is_burst);
static void stream_end(struct stream *stream, enum query_end why);
static void stream_free(struct stream *stream, enum query_end why);

/* --- writing ------------------------------------------------------------------------------------------ */

static void count_sent(struct stream *stream, size_t frames, ssize_t bytes)
{
    stream->wrote_us = clock_mono_us();
    stream->heartbeat_us = stream->wrote_us;
    stream->written += bytes;
    stream->set->sent_frames += (int64_t)frames;
    stream->set->sent_bytes += bytes;
}

static bool has_out(const struct stream *stream)
{
    return stream->sent < stream->out.len || http_stream_is_pending(&stream->http);
}

static enum outcome flush(struct stream *stream)
{
    while (has_out(stream)) {
        struct iovec rest = {stream->out.data + stream->sent, stream->out.len - stream->sent};
        ssize_t sent = http_stream_send(&stream->http, &rest, rest.iov_len ? 1 : 0);
        if (sent < 0) {
            return errno == EAGAIN ? BLOCKED : errno == EINTR ? SENT : GONE;
        }
        stream->sent += (size_t)sent;
        count_sent(stream, 0, sent);
    }
    buf_reset(&stream->out);
    stream->sent = 0;
    return SENT;
}

/* Moves past what the socket took; the rest of a frame that was cut goes into `out`. */
static void shared_sent(struct stream *stream, const struct iovec *parts, size_t count, size_t sent)
{
    size_t whole = 0;
    while (whole < count && sent >= parts[whole].iov_len) {
        sent -= parts[whole++].iov_len;
    }
    if (sent > 0) {
        const char *bytes = parts[whole].iov_base;
        CHECK(buf_append(&stream->out, bytes + sent, parts[whole].iov_len - sent) == ERR_OK);
        whole++;
    }
    reading_advance(stream->feed.reading, whole);
    stream->set->sent_frames += (int64_t)whole;
}

static enum outcome fed(struct stream *stream, enum feed_result result);

static enum outcome send_shared(struct stream *stream)
{
    struct iovec parts[GATHER_MAX];
    size_t count;
    if (reading_gather(stream->feed.reading, &stream->set->site->source, parts, GATHER_MAX,
                       &count) == READING_LOST) {
        return fed(stream, feed_lost(&stream->feed, &stream->out));
    }
    if (count == 0) {
        return IDLE;
    }
    ssize_t sent = http_stream_send(&stream->http, parts, count);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return BLOCKED;
        }
        stream_free(stream, QUERY_END_GONE);
        return GONE;
    }
    count_sent(stream, 0, sent);
    shared_sent(stream, parts, count, (size_t)sent);
    return SENT;
}

static enum outcome fed(struct stream *stream, enum feed_result result)
{
    switch (result) {
    case FEED_SHARED:
        return send_shared(stream);
    case FEED_ENDED:
        stream_end(stream, stream->feed.end);
        return GONE;
    case FEED_SENT:
        return SENT;
    case FEED_IDLE:
        break;
    }
    return IDLE;
}

static void wait_for_socket(struct stream *stream, bool is_waiting)
{
    if (stream->is_waiting != is_waiting) {
        stream->is_waiting = is_waiting;
        http_watch_events(stream->watch, is_waiting ? EPOLLRDHUP | EPOLLOUT : EPOLLRDHUP);
    }
}

/* Nothing to send: an idle client keeps as little memory as it can. */
static void rest(struct stream *stream)
{
    wait_for_socket(stream, false);
    feed_rested(&stream->feed);
    /* Who is sent the frames' own bytes needs it for heartbeats only, others for each batch. */
    const struct reading *reading = stream->feed.reading;
    if (stream->out.capacity > OUT_KEPT_BYTES ||
        (reading->mode == READING_SHARED && !reading_is_rendered(reading))) {
        buf_free(&stream->out);
    }
}

/* More is there than may be sent now. */
static void pause_sending(struct stream *stream)
{
    wait_for_socket(stream, true);
    feed_paused(&stream->feed);
}

static void blocked(struct stream *stream)
{
    wait_for_socket(stream, true);
    if (!stream->is_ending && feed_blocked(&stream->feed) == FEED_ENDED) {
        stream_end(stream, stream->feed.end);
    }
}

/* A turn is bounded: then other clients have theirs. Not in a burst: what is not taken from the rings
 * now may be gone at the next turn. */
static bool has_turn(const struct stream *stream, int round, bool is_burst)
{
    enum reading_mode mode = stream->feed.reading->mode;
    return round < ROUNDS_MAX || (is_burst && (mode == READING_COPY || mode == READING_SHARED));
}

static void stream_pump(struct stream *stream, bool is_burst)
{
    for (int round = 0; has_turn(stream, round, is_burst); round++) {
        switch (flush(stream)) {
        case BLOCKED:
            blocked(stream);
            return;
        case GONE:
            stream_free(stream, QUERY_END_GONE);
            return;
        case IDLE:
        case SENT:
            break;
        }
        if (stream->is_ending) {
            stream_free(stream, stream->end);
            return;
        }
        feed_sent(&stream->feed, stream->written);
        switch (fed(stream, feed_next(&stream->feed, &stream->out))) {
        case IDLE:
            rest(stream);
            return;
        case BLOCKED:
            blocked(stream);
            return;
        case GONE:
            return;
        case SENT:
            break;
        }
    }
    pause_sending(stream); /* the socket is ready: the next turn goes on */
}

static void on_ready(void *context, uint32_t events)
{
    struct stream *stream = context;
    if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
        stream_free(stream, QUERY_END_GONE);
    } else {
        stream_pump(stream, false);
    }
}

int64_t stream_acked(int fd, int64_t written)
{
    int queued = 0;
    return ioctl(fd, SIOCOUTQ, &queued) == 0 ? written - queued : 0;
}

static int64_t acked(const struct stream *stream)
{
    return stream_acked(stream->http.fd, stream->written);
}

static void stream_tick(struct stream *stream, int64_t now_us)
{
    const struct stream_config *config = stream->set->config;
    if (stream->is_ending) {
        if (now_us - stream->wrote_us > END_TIMEOUT_US) {
            stream_free(stream, stream->end);
        }
        return;
    }
    if (stream->feed.hold) {
        feed_tick(&stream->feed, acked(stream), now_us);
    }
    if (now_us >= stream->due_us || now_us >= stream->guest.expires_us) {
        stream_end(stream, now_us >= stream->due_us ? stream->due_end : QUERY_END_EXPIRED);
        return;
    }
    if (has_out(stream) || stream->is_waiting) {
        if (now_us - stream->wrote_us > config->stall_timeout_ms * 1000) {
            stream_end(stream, QUERY_END_STALLED);
        }
        return;
    }
    if (now_us - stream->heartbeat_us > config->heartbeat_ms * 1000) {
        stream->heartbeat_us = now_us;
        feed_append_heartbeat(&stream->feed, &stream->out);
        stream_pump(stream, false);
    }
}

/* --- the end -------------------------------------------------------------------------------------------------- */

/* Tells why and closes, now or when the client has taken what it is owed. */
static void stream_end(struct stream *stream, enum query_end why)
{
    if (stream->is_ending) {
        return;
    }
    stream->is_ending = true;
    stream->end = why;
    stream->wrote_us = clock_mono_us(); /* from which the time to take it counts */
    feed_stop(&stream->feed);
    /* What goes out before the farewell has arrived if that has; who takes nothing gets neither. */
    feed_release(&stream->feed, why == QUERY_END_STALLED ? acked(stream) : CONSUMER_HOLD_ALL);
    feed_append_farewell(&stream->feed, why, &stream->out);
    reading_append_end(stream->feed.reading, &stream->out);
    stream_pump(stream, false);
}

static void stream_free(struct stream *stream, enum query_end why)
{
    struct streams *set = stream->set;
    struct stream *last = set->list[--set->count];
    set->list[stream->index] = last;
    last->index = stream->index;
    /* Before the client can see the end: one that comes back at once finds its place free. */
    atomic_fetch_sub(set->config->total, 1);
    guest_leave(&stream->guest);
    query_metrics_stream_end(why);
    feed_release(&stream->feed, stream->feed.hold ? acked(stream) : 0);
    http_watch_close(stream->watch);
    http_stream_close(&stream->http);
    feed_deinit(&stream->feed);
    buf_free(&stream->out);
    free(stream);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

void stream_socket_prepare(int fd, const struct stream_config *config)
{
    int bytes = (int)config->send_buffer_bytes, unsent = bytes / 4;
    /* Ours comes first: it can still be told. */
    unsigned timeout_ms = (unsigned)config->stall_timeout_ms + END_TIMEOUT_US / 1000;
    /* Each is an improvement only: a kernel without it serves as well. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static uint64_t set_random(struct streams *set)
{
    set->random ^= set->random << 13;
    set->random ^= set->random >> 7;
    set->random ^= set->random << 17;
    return set->random;
}

/* At 80 to 100 % of the age, so that those that came together do not come back together. */
int64_t streams_due_us(struct streams *set, int64_t now_us)
{
    int64_t age_us = set->config->age_max_ms * 1000;
    return age_us ? now_us + age_us - (int64_t)(set_random(set) % (uint64_t)(age_us / 5 + 1))
                  : INT64_MAX;
}

static void set_add(struct streams *set, struct stream *stream)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? set->capacity * 2 : 16;
        set->list = must_realloc(set->list, set->capacity * sizeof *set->list);
    }
    stream->index = set->count;
    set->list[set->count++] = stream;
    atomic_fetch_add(set->config->total, 1);
    query_metrics_stream_begin();
}

void stream_open(struct streams *set, struct stream_params *params)
{
    struct stream *stream = must_alloc(sizeof *stream);
    int64_t now_us = clock_mono_us();
    *stream = (struct stream){.set = set,
                              .http = params->http,
                              .out = params->head,
                              .guest = params->guest,
                              .due_us = streams_due_us(set, now_us),
                              .due_end = QUERY_END_ROTATED,
                              .wrote_us = now_us,
                              .heartbeat_us = now_us};
    feed_init(&stream->feed, set->site, &params->feed);
    stream->out.bytes_max = OUT_BYTES_MAX;
    stream_socket_prepare(stream->http.fd, set->config);
    set_add(set, stream);
    stream->watch = http_worker_watch(set->worker, stream->http.fd, EPOLLRDHUP, on_ready, stream);
    if (!stream->watch) { /* epoll's own limit */
        stream_free(stream, QUERY_END_GONE);
        return;
    }
    reading_append_greeting(stream->feed.reading, &set->site->source,
                            streams_retry_ms(set, set->config->retry_ms), &stream->out);
    if (set->is_draining) {
        stream_end(stream, QUERY_END_SHUTDOWN);
    } else {
        stream_pump(stream, false);
    }
}

/* --- all of them ----------------------------------------------------------------------------------------------- */

/* From the last to the first: one that ends is replaced by the last, which has had its turn. */
void streams_pump(struct streams *set, bool is_burst)
{
    for (size_t i = set->count; i > 0; i--) {
        stream_pump(set->list[i - 1], is_burst);
    }
    if (set->sent_bytes) {
        query_metrics_sent(set->sent_frames, set->sent_bytes);
        set->sent_frames = set->sent_bytes = 0;
    }
}

void streams_tick(struct streams *set, int64_t now_us)
{
    for (size_t i = set->count; i > 0; i--) {
        stream_tick(set->list[i - 1], now_us);
    }
}

void streams_renew(struct streams *set, struct access_view *view)
{
    for (size_t i = set->count; i > 0; i--) {
        struct stream *stream = set->list[i - 1];
        if (!guest_renew(&stream->guest, view) || !feed_is_for(&stream->feed, &stream->guest)) {
            stream_end(stream, QUERY_END_REVOKED);
        }
    }
}

int64_t streams_drain_due_us(struct streams *set, int64_t now_us)
{
    uint64_t spread_us = (uint64_t)set->config->drain_spread_ms * 1000;
    return now_us + (int64_t)(set_random(set) % (spread_us + 1));
}

void streams_drain(struct streams *set)
{
    int64_t now_us = clock_mono_us();
    set->is_draining = true;
    for (size_t i = 0; i < set->count; i++) {
        set->list[i]->due_us = streams_drain_due_us(set, now_us);
        set->list[i]->due_end = QUERY_END_SHUTDOWN;
    }
    streams_tick(set, now_us);
}

int64_t streams_retry_ms(struct streams *set, int64_t base_ms)
{
    return base_ms + (int64_t)(set_random(set) % (uint64_t)(base_ms + 1));
}

void streams_deinit(struct streams *set)
{
    while (set->count > 0) {
        stream_free(set->list[set->count - 1], QUERY_END_SHUTDOWN);
    }
    free(set->list);
    *set = (struct streams){0};
}
