/* eval.h - what conditions and expressions work with beside the record. Private to this room.
 *
 * WHAT     memory for values that are made on the way (slots point into it), and a runner for
 *          regular expressions. One for each record that can be at hand at the same time.
 * BOUNDS   EVAL_BYTES_MAX for one record's values, and PATTERN_LONG_RUNS_MAX expensive matches.
 * COST     no allocation after warm-up: a reset keeps the memory.
 */
#pragma once

#include "core/arena.h"
#include "schema/schema_pattern.h"
#include "stream/value.h"

#define EVAL_BYTES_MAX (16 * 1024 * 1024)

struct eval {
    struct arena memory;
    struct pattern_runner *patterns;
    uint32_t long_runs; /* that the record has left */
};

void eval_init(struct eval *eval);
void eval_deinit(struct eval *eval); /* a zeroed one is a no-op */
/* Before each record: what was made for the last one is gone. */
static inline void eval_reset(struct eval *eval)
{
    arena_reset(&eval->memory);
    eval->long_runs = PATTERN_LONG_RUNS_MAX;
}
/* A string's characters: borrowed, or decoded into eval's memory. False: there is no room. */
MUST_CHECK bool eval_text(struct eval *eval, const struct stream_value *value, struct strview *ret);
/* Characters as a JSON string, quotes and escapes included, in eval's memory. text is valid UTF-8. */
MUST_CHECK bool eval_string(struct eval *eval, struct strview text, struct stream_value *ret);
