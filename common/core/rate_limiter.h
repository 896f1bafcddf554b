/* rate_limiter.h - token buckets for many ids, shared by all workers without a lock.
 *
 * WHAT     two buckets an id: events and bytes. A bucket is one number, the time at which it will
 *          be full again (the generic cell rate algorithm): to spend is to move that time on. It
 *          holds `burst` seconds of its rate. Somebody passes as long as no bucket is empty, and
 *          then pays in full, into debt if need be: a batch larger than the burst is possible, and
 *          who sent it waits until it is paid off.
 * BOUNDS   a fixed number of slots, four to a set. A full bucket's slot is free for the next id.
 *          When all four of a set are in use, a new id shares one: limits then become stricter,
 *          never looser.
 * UNITS    now_us: monotonic.
 * THREADS  any; atomics only. Two that spend at once both pay.
 * COST     a cache line or two, a compare-and-swap a bucket that has a limit.
 * SOURCE   ITU-T I.371, annex A (virtual scheduling).
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"

struct rate_limits {
    double events; /* a second; 0: no limit */
    double bytes;
    double burst; /* seconds of the rate that a full bucket holds */
};

struct rate_limiter;

void rate_limiter_free(struct rate_limiter *rate); /* NULL is a no-op */
DEALLOC(rate_limiter_free) struct rate_limiter *rate_limiter_new(size_t slots);
/* 0: pass; else how long until the next try may pass, ≥ 1. */
int64_t rate_limiter_wait_us(struct rate_limiter *rate, uint64_t id,
                             const struct rate_limits *limits, int64_t now_us);
void rate_limiter_spend(struct rate_limiter *rate, uint64_t id, const struct rate_limits *limits,
                        int64_t now_us, int64_t events, int64_t bytes);
