/* ingest_overflow.h - which keys are hot: more than so many events a second in this worker.
 *
 * WHAT     a table of the keys seen lately, in sets of four; a key that finds its set full takes the
 *          place of the one with the fewest events in this second. So a hot key is found when it is
 *          one of the four hottest of its set, and a cold one is never taken for it, but for equal
 *          hashes of 64 bits.
 * BOUNDS   32 KiB, whatever the keys.
 * THREADS  one owner.
 * COST     a hash of the key and one cache line.
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

struct ingest_overflow;

void ingest_overflow_free(struct ingest_overflow *overflow); /* NULL is a no-op */
DEALLOC(ingest_overflow_free) struct ingest_overflow *ingest_overflow_new(uint32_t events_per_s);
/* Counts one event of the key of a topic; whether it is past the rate in this second. */
bool ingest_overflow_count(struct ingest_overflow *overflow, uint16_t topic, struct strview key,
                           int64_t now_ms);
