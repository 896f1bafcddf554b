/* senders.h - how far event time has come behind a repartition topic, which several tasks write.
 *
 * WHAT     a record of such a topic says who has sent it, and up to which event time that sender is
 *          done: nothing older is to be expected of it (header STREAM_SENDER_HEADER). What the reader
 *          has reached is the lowest of what its senders have.
 * RULES    1. A sender that is more than skew_ms behind the furthest is not waited for, until it is
 *             heard of again: one whose records all go elsewhere would hold up everything. So a
 *             silent one costs skew_ms of event time, once.
 *          2. Decided by the records and their order alone, as all event time is.
 * LIMIT    a sender that was never heard of holds up nobody.
 * BOUNDS   SENDERS_MAX; of more the one furthest behind is not waited for.
 * OWNS     nothing: plain data, copied to keep a state to return to.
 * COST     a look at each sender for each record.
 * SOURCE   Flink's watermarks by channel, sent along with records; docs/semantics.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/strview.h"

#define SENDERS_MAX       64
#define SENDER_TEXT_BYTES 40

struct sender {
    uint32_t id;        /* senders_id */
    int64_t reached_ms; /* it sends nothing older than that */
};

struct senders {
    int64_t skew_ms;
    size_t count;
    struct sender items[SENDERS_MAX];
};

/* A partition's task sends what it reads from each of its inputs at that input's pace, and results of
 * several records at its own: those are senders apart. */
#define SENDER_OF_RESULTS UINT32_MAX
uint32_t senders_id(int32_t partition, uint32_t input);

/* The header's text, and back; false: it is none. */
struct strview sender_write(const struct sender *sender, char text[SENDER_TEXT_BYTES]);
bool sender_read(struct strview text, struct sender *ret);

/* What the sender says now. Returns what is reached. */
int64_t senders_hear(struct senders *senders, const struct sender *sender);
