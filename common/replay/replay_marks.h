/* replay_marks.h - which offsets of a partition are dealt with.
 *
 * WHAT     everything below `base`, and some runs beyond it; as text beside a committed offset, so that
 *          both are one commit.
 * TEXT     "r" and run lengths, beginning with what is not done, as LEB128; or "b" and a bitmap, the
 *          lowest bit first: whichever is shorter. Both in base64, both from base on.
 * BOUNDS   REPLAY_MARKS_BYTES of text: some 1,000 runs, or 24,000 offsets, whichever is more. Kafka's
 *          offset.metadata.max.bytes is 4096.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

#define REPLAY_MARKS_BYTES 4080 /* of text, with its NUL */

struct replay_marks {
    int64_t base;
    struct replay_run {
        int64_t from, to; /* not touching one another, nor base */
    } *runs;
    size_t count, capacity;
};

void replay_marks_init(struct replay_marks *marks, int64_t base);
void replay_marks_free(struct replay_marks *marks);
bool replay_marks_has(const struct replay_marks *marks, int64_t offset);
/* All of [from, to). */
void replay_marks_add(struct replay_marks *marks, int64_t from, int64_t to);
/* Not any more: of a run beyond base. */
void replay_marks_take_back(struct replay_marks *marks, int64_t from, int64_t to);
/* False: it does not fit; what was added last should wait until what lies before it is done. */
MUST_CHECK bool replay_marks_write(const struct replay_marks *marks, char out[REPLAY_MARKS_BYTES]);
/* text NULL or "": nothing beyond base. False: it is not ours; then there is nothing beyond base. */
MUST_CHECK bool replay_marks_read(struct replay_marks *marks, int64_t base, const char *text);
