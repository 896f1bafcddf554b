/* access_rate.h - token buckets for many principals, shared by all workers without a lock.
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

struct access_limits {
    double events; /* a second; 0: no limit */
    double bytes;
    double burst; /* seconds of the rate that a full bucket holds */
};

struct access_rate;

void access_rate_free(struct access_rate *rate); /* NULL is a no-op */
DEALLOC(access_rate_free) struct access_rate *access_rate_new(size_t slots);
/* 0: pass; else how long until the next try may pass, ≥ 1. */
int64_t access_rate_wait_us(struct access_rate *rate, uint64_t id,
                            const struct access_limits *limits, int64_t now_us);
void access_rate_spend(struct access_rate *rate, uint64_t id, const struct access_limits *limits,
                       int64_t now_us, int64_t events, int64_t bytes);
