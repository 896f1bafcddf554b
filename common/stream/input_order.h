/* input_order.h - which of a task's inputs gives the next record: the one of the lowest event time.
 *
 * WHAT     a stage that joins reads several source partitions, and what comes out of it depends on
 *          the order in which their records are taken. Lowest event time first makes it the same
 *          however fast the broker delivers which of them: live, catching up, after a restart.
 * RULES    1. An input's first record speaks for it, also when a later one is older: the order
 *             within a partition is never changed. Of equal times the first input goes first.
 *          2. An input without a record that is not known to be at its end holds up all others:
 *             what it has yet to deliver may be older.
 *          3. One that is at its end holds them up for wait_ms more, and then no longer, until it
 *             gives a record again.
 * LIMIT    a record that reaches the broker after its input was passed over comes late, as it would
 *          behind a record of its own partition: what that means is the watermark's to say.
 * UNITS    *_ms of a record: event time; now_ms: any clock that does not go back.
 * OWNS     nothing: plain data. The records stay with the caller.
 * SOURCE   Kafka Streams' PartitionGroup and max.task.idle.ms; docs/semantics.md.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "stream/watermark.h"

#define INPUT_ORDER_MAX  WATERMARK_INPUTS_MAX
#define INPUT_ORDER_NONE (-1)

struct input_order {
    unsigned count;
    int64_t wait_ms;
    struct input_order_input {
        enum { INPUT_UNKNOWN, INPUT_AT_END, INPUT_HAS_RECORD } state;
        int64_t time_ms; /* of its first record; at its end: since when (now_ms) */
    } inputs[INPUT_ORDER_MAX];
};

/* All inputs are unknown. */
void input_order_init(struct input_order *order, unsigned count, int64_t wait_ms);
/* The input's first record is one of this time; INT64_MIN: take it at once. */
void input_order_record(struct input_order *order, unsigned input, int64_t time_ms);
/* The input has no record to give. */
void input_order_empty(struct input_order *order, unsigned input, bool at_end, int64_t now_ms);
/* The input to take a record from; INPUT_ORDER_NONE: there is none, or one is waited for. */
int input_order_next(const struct input_order *order, int64_t now_ms);
