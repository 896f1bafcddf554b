/* pieces.h - a route that takes its body in pieces and counts, for the fixture's server. */
#pragma once

#include "fixture.h"

/* --- a reader that counts ----------------------------------------------------------------------- */

/* What it does beside counting comes from the query: early, defer, pause=piece|until-bell. */
struct counting {
    struct http_request *request;
    uint64_t bytes;
    uint64_t sum;
    unsigned pieces;
    bool pauses; /* after every piece, until the bell of the next turn */
    bool holds;  /* the first piece, until the test rings */
    bool defers_failure;
    uint64_t early_at; /* replies once so many bytes have come; 0: never */
};

static struct {
    _Atomic int opened, ended, failed, gone, held;
    _Atomic int pieces;
    _Atomic int pieces_bytes_max;
    _Atomic uint64_t bytes;
    struct counting *holder;
} seen_pieces;

static inline uint64_t sum_of(uint64_t sum, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum = sum * 31 + (unsigned char)bytes[i];
    }
    return sum;
}

static inline void reply_counts(struct counting *counting, int status)
{
    char text[128];
    snprintf(text, sizeof text, "%llu %llu", (unsigned long long)counting->bytes,
             (unsigned long long)counting->sum);
    http_reply_bytes(counting->request, status, "text/plain", sv(text));
    free(counting);
}

static inline void on_piece(struct http_request *request, void *opaque, struct strview piece)
{
    struct counting *counting = opaque;
    assert_true(piece.len > 0);
    counting->bytes += piece.len;
    counting->sum = sum_of(counting->sum, piece.ptr, piece.len);
    seen_pieces.pieces++;
    seen_pieces.bytes += piece.len;
    if ((int)piece.len > seen_pieces.pieces_bytes_max) {
        seen_pieces.pieces_bytes_max = (int)piece.len;
    }
    counting->pieces++;
    if (counting->early_at && counting->bytes >= counting->early_at) {
        reply_counts(counting, 422);
    } else if (counting->pauses || (counting->holds && counting->pieces == 1)) {
        http_body_pause(request);
        seen_pieces.holder = counting;
        if (counting->pauses) {
            struct bench *bench = http_worker_state(http_request_worker(request));
            bell_ring(bench->bell);
        } else {
            seen_pieces.held++;
        }
    }
}

static inline void on_end(struct http_request *request, void *opaque)
{
    (void)request;
    seen_pieces.ended++;
    reply_counts(opaque, 200);
}

static inline const char *failure_abandoned(void *opaque)
{
    free(opaque);
    return NULL;
}

static inline void on_fail(struct http_request *request, void *opaque, enum err err,
                           const struct err_info *info)
{
    (void)info;
    struct counting *counting = opaque;
    assert_true(err != ERR_OK);
    seen_pieces.failed++;
    if (counting->defers_failure) {
        http_request_defer(request, failure_abandoned, counting);
        seen_pieces.holder = counting;
        struct bench *bench = http_worker_state(http_request_worker(request));
        bell_ring(bench->bell);
    } else {
        free(counting);
    }
}

static inline void on_gone(void *opaque)
{
    CHECK(fixture.stopped == 0); /* its service is still there */
    free(opaque);
    seen_pieces.gone++;
}

static const struct http_body_reader reader = {on_piece, on_end, on_fail, on_gone};

static inline void open_pieces(struct http_request *request)
{
    struct counting *counting = must_alloc(sizeof *counting);
    const char *early = http_request_query(request, "early");
    counting->request = request;
    counting->pauses = http_request_query(request, "pause") != NULL;
    counting->holds = http_request_query(request, "hold") != NULL;
    counting->defers_failure = http_request_query(request, "defer") != NULL;
    counting->early_at = early ? strtoull(early, NULL, 10) : 0;
    seen_pieces.opened++;
    http_body_in_pieces(request, &reader, counting);
}

static inline void handle_never(struct http_request *request)
{
    (void)request;
    CHECK(false);
}

/* In place of the fixture's: what is paused goes on, what failed is answered. */
static inline void on_pieces_bell(void *context, uint32_t events)
{
    (void)events;
    struct bench *bench = context;
    uint64_t rings;
    CHECK(read(bench->bell, &rings, sizeof rings) == sizeof rings);
    struct counting *counting = seen_pieces.holder;
    seen_pieces.holder = NULL;
    if (counting && counting->defers_failure && seen_pieces.failed) {
        reply_counts(counting, 422);
    } else if (counting) {
        http_body_resume(counting->request);
    }
}

static inline enum err pieces_bench_start(struct http_worker *worker, void *context, void **ret)
{
    const enum err e = bench_start(worker, context, ret);
    struct bench *bench = *ret;
    http_watch_close(bench->bell_watch);
    bench->bell_watch = http_worker_watch(worker, bench->bell, EPOLLIN, on_pieces_bell, bench);
    return e;
}
