/* ring.h - the last frames of a topic, as one HTTP worker holds them.
 *
 * WHAT     frames in the order of the reader, numbered from 0; the oldest go when the bound is met.
 *          Beside them, per partition, the lowest offset that is still here or to come (`first`) and
 *          the next one to come (`next`). So a client that has everything below `first` can be
 *          served from here with nothing missing.
 *          A topic that was made anew empties its ring; sequence numbers go on.
 * BOUNDS   bytes_max of frames; one frame is always kept.
 * THREADS  one owner. Frames are shared with other workers by reference.
 */
#pragma once

#include "frame.h"

struct ring_partition {
    int64_t start; /* where the reader began */
    int64_t first;
    int64_t next;
    bool is_begin; /* nothing lies before start */
};

struct ring {
    struct frame **frames; /* index: sequence number modulo capacity */
    size_t capacity;       /* a power of two */
    uint64_t oldest, end;  /* sequence numbers: frames oldest … end-1 are here */
    size_t bytes, bytes_max;
    struct ring_partition *partitions;
    int32_t partition_count; /* 0: the topic has not been found yet */
    bool is_live;
    uint32_t epoch;    /* of the topic; 0: not known */
    struct buf cursor; /* the reader's position as text */
};

void ring_init(struct ring *ring, size_t bytes_max);
void ring_free(struct ring *ring);
/* Takes over the caller's reference, whatever the frame's kind. */
void ring_take(struct ring *ring, struct frame *frame);
static inline const struct frame *ring_at(const struct ring *ring, uint64_t sequence)
{
    return ring->frames[sequence & (ring->capacity - 1)];
}
