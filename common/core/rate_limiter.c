#include "core/rate_limiter.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define WAYS        4
#define DEBT_MAX_NS 3.6e12 /* an hour: no debt keeps anybody out for longer */

enum { EVENTS, BYTES, BUCKETS };

struct slot {
    _Atomic uint64_t id;
    _Atomic int64_t full_ns[BUCKETS]; /* when the bucket is full again */
};

struct rate_limiter {
    size_t set_count;
    struct slot slots[];
};

void rate_limiter_free(struct rate_limiter *rate)
{
    free(rate);
}

struct rate_limiter *rate_limiter_new(size_t slots)
{
    const size_t sets = (slots + WAYS - 1) / WAYS;
    CHECK(sets > 0);
    struct rate_limiter *rate = must_alloc(sizeof *rate + sets * WAYS * sizeof(struct slot));
    rate->set_count = sets;
    return rate;
}

static int64_t load(_Atomic int64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static bool is_idle(struct slot *slot, int64_t now_ns)
{
    return load(&slot->full_ns[EVENTS]) <= now_ns && load(&slot->full_ns[BYTES]) <= now_ns;
}

/* The id's slot, or NULL when it has none and is not to get one. A slot whose buckets are full holds
 * nothing worth keeping, so it changes hands without being written to but for its id. */
static struct slot *slot_of(struct rate_limiter *rate, uint64_t id, int64_t now_ns, bool is_to_take)
{
    struct slot *set = &rate->slots[id % rate->set_count * WAYS];
    for (size_t i = 0; i < WAYS; i++) {
        if (atomic_load_explicit(&set[i].id, memory_order_relaxed) == id) {
            return &set[i];
        }
    }
    for (size_t i = 0; is_to_take && i < WAYS; i++) {
        uint64_t old = atomic_load_explicit(&set[i].id, memory_order_relaxed);
        if (is_idle(&set[i], now_ns) && atomic_compare_exchange_strong(&set[i].id, &old, id)) {
            return &set[i];
        }
    }
    for (size_t i = 0; i < WAYS; i++) {
        if (is_idle(&set[i], now_ns)) {
            return is_to_take ? &set[i] : NULL;
        }
    }
    return &set[id >> 32 & (WAYS - 1)];
}

int64_t rate_limiter_wait_us(struct rate_limiter *rate, uint64_t id,
                             const struct rate_limits *limits, int64_t now_us)
{
    const double rates[BUCKETS] = {[EVENTS] = limits->events, [BYTES] = limits->bytes};
    const int64_t now_ns = now_us * 1000, burst_ns = (int64_t)(limits->burst * 1e9);
    if (rates[EVENTS] <= 0 && rates[BYTES] <= 0) {
        return 0;
    }
    struct slot *slot = slot_of(rate, id, now_ns, false);
    int64_t wait_us = 0;
    for (int i = 0; slot && i < BUCKETS; i++) {
        const int64_t empty_ns = load(&slot->full_ns[i]) - now_ns - burst_ns;
        if (rates[i] > 0 && empty_ns >= 0 && empty_ns / 1000 + 1 > wait_us) {
            wait_us = empty_ns / 1000 + 1;
        }
    }
    return wait_us;
}

static void bucket_spend(_Atomic int64_t *full_ns, double rate, int64_t now_ns, int64_t count)
{
    const double cost_ns = (double)count / rate * 1e9;
    const int64_t cost = (int64_t)(cost_ns < DEBT_MAX_NS ? cost_ns : DEBT_MAX_NS);
    const int64_t latest = now_ns + (int64_t)DEBT_MAX_NS;
    int64_t old = load(full_ns), next;
    do {
        next = (old > now_ns ? old : now_ns) + cost;
        next = next < latest ? next : latest;
    } while (!atomic_compare_exchange_weak_explicit(full_ns, &old, next, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void rate_limiter_spend(struct rate_limiter *rate, uint64_t id, const struct rate_limits *limits,
                        int64_t now_us, int64_t events, int64_t bytes)
{
    if (limits->events <= 0 && limits->bytes <= 0) {
        return;
    }
    CHECK(events >= 0 && bytes >= 0);
    const int64_t now_ns = now_us * 1000;
    struct slot *slot = slot_of(rate, id, now_ns, true);
    if (limits->events > 0) {
        bucket_spend(&slot->full_ns[EVENTS], limits->events, now_ns, events);
    }
    if (limits->bytes > 0) {
        bucket_spend(&slot->full_ns[BYTES], limits->bytes, now_ns, bytes);
    }
}
