/* consumer_note.h - what stands beside a named consumer's committed offset: whose it is, and since when.
 *
 * WHAT     Kafka keeps a text with each committed offset (its metadata, 4,096 bytes by default). Ours says
 *          which stream the position is of, so that a stream sees when another one has taken its name
 *          over, on whatever replica; which making of the topic the offset counts in; when it was written.
 * TEXT     {"millrace":1,"claim":7,"owner":"…","epoch":"9f3a61c2","at":1795244979065,"reset":true}
 * ORDER    a later claim has a higher number; of two that were made at the same moment the higher owner's
 *          counts, for all who look.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"

#define CONSUMER_NOTE_BYTES 192

struct consumer_note {
    int64_t claim; /* 0: there is no note */
    uint64_t owner;
    uint32_t epoch; /* of the topic; 0: not known */
    bool is_reset;  /* somebody has put it here, and nobody has opened it since */
    int64_t at_ms;  /* wall clock */
};

void consumer_note_format(const struct consumer_note *note, char text[CONSUMER_NOTE_BYTES]);
/* What is not of ours is no note. */
struct consumer_note consumer_note_parse(struct strview text);
/* Whether `other` is of a later claim. */
static inline bool consumer_note_is_before(const struct consumer_note *note,
                                           const struct consumer_note *other)
{
    return note->claim != other->claim ? note->claim < other->claim : note->owner < other->owner;
}
