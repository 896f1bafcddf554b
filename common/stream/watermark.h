/* watermark.h - how far event time has come, over one or more inputs.
 *
 * WHAT     per input the highest timestamp seen; the watermark is the lowest of (highest − delay)
 *          over the inputs that are not idle. A window that ends at E is complete when
 *          E <= watermark: with delay d that is when a record of time E + d has come. (Flink's
 *          watermark is one lower, and its windows fire at E − 1 <= watermark: the same moment.)
 * RULES    1. It never falls: an input that comes back from idleness does not pull it down.
 *          2. An input that has not given a record yet holds it at INT64_MIN, unless idle.
 *          3. An input is idle when it is at its end *and* idle_ms passed since it was first seen
 *             there without a new record: a busy consumer that does not get round to an input
 *             makes nothing idle.
 *          4. When all inputs are idle, the watermark goes on with the clock from the highest of
 *             them: by as much as has passed since that input went quiet. So open windows close
 *             although no record comes. Opt-in (idle_ms > 0 of every input): results then depend on
 *             when they are looked at.
 * OWNS     nothing: plain data, copied to keep a state to return to.
 * SOURCE   Akidau et al. 2015; Flink's WatermarkOutputMultiplexer; docs/semantics.md.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WATERMARK_INPUTS_MAX 16
#define TIME_NONE            INT64_MIN

struct watermark {
    int64_t value_ms; /* TIME_NONE before the first record */
    unsigned input_count;
    struct watermark_input {
        int64_t delay_ms;
        int64_t idle_ms;          /* 0: never idle */
        int64_t timestamp_max_ms; /* TIME_NONE: no record yet */
        int64_t quiet_since_ms;   /* TIME_NONE: not known to be at its end */
        bool is_idle;
    } inputs[WATERMARK_INPUTS_MAX];
};

/* All inputs alike … */
void watermark_init(struct watermark *watermark, unsigned inputs, int64_t delay_ms,
                    int64_t idle_ms);
/* … or each its own way, before the first record. */
void watermark_tune(struct watermark *watermark, unsigned input, int64_t delay_ms, int64_t idle_ms);
/* The input has no say, ever: it is idle, and nothing is observed of it. */
void watermark_leave_out(struct watermark *watermark, unsigned input);
/* A record came. timestamp_ms >= 0. */
void watermark_observe(struct watermark *watermark, unsigned input, int64_t timestamp_ms);
/* No record came; at_end: because there is none. */
void watermark_quiet(struct watermark *watermark, unsigned input, int64_t now_ms, bool at_end);
/* Event time is at least this, whatever the inputs say. */
void watermark_raise(struct watermark *watermark, int64_t value_ms);
/* What was committed; either may be TIME_NONE. */
void watermark_restore(struct watermark *watermark, unsigned input, int64_t timestamp_max_ms,
                       int64_t value_ms);
/* Highest timestamp over all inputs. */
int64_t watermark_timestamp_max(const struct watermark *watermark);
