#include "ring.h"

#include <stdlib.h>
#include <string.h>

#include "cursor.h"

#define CAPACITY_FIRST 64

void ring_init(struct ring *ring, size_t bytes_max)
{
    *ring = (struct ring){.bytes_max = bytes_max};
    buf_init(&ring->cursor, CURSOR_BYTES_MAX);
}

void ring_free(struct ring *ring)
{
    for (uint64_t i = ring->oldest; i < ring->end; i++) {
        frame_unref(ring->frames[i & (ring->capacity - 1)]);
    }
    free(ring->frames);
    free(ring->partitions);
    buf_free(&ring->cursor);
    *ring = (struct ring){0};
}

static void ring_grow(struct ring *ring)
{
    size_t capacity = ring->capacity ? ring->capacity * 2 : CAPACITY_FIRST;
    struct frame **frames = must_alloc(capacity * sizeof *frames);
    for (uint64_t i = ring->oldest; i < ring->end; i++) {
        frames[i & (capacity - 1)] = ring->frames[i & (ring->capacity - 1)];
    }
    free(ring->frames);
    ring->frames = frames;
    ring->capacity = capacity;
}

static void ring_evict(struct ring *ring)
{
    struct frame *frame = ring->frames[ring->oldest & (ring->capacity - 1)];
    ring->oldest++;
    ring->bytes -= frame->bytes;
    ring->partitions[frame->partition].first = frame->offset + 1;
    frame_unref(frame);
}

static void ring_cursor_set(struct ring *ring, struct strview cursor)
{
    buf_reset(&ring->cursor);
    CHECK(buf_append_view(&ring->cursor, cursor) == ERR_OK);
}

static void ring_empty(struct ring *ring)
{
    for (; ring->oldest < ring->end; ring->oldest++) {
        frame_unref(ring->frames[ring->oldest & (ring->capacity - 1)]);
    }
    ring->bytes = 0;
    ring->partition_count = 0;
    ring->is_live = false;
}

static void state_apply(struct ring *ring, const struct frame *frame)
{
    const struct frame_state *state = (const struct frame_state *)(const void *)frame->value.ptr;
    if (state->epoch != ring->epoch) {
        ring_empty(ring);
        ring->epoch = state->epoch;
    }
    if (state->partition_count > ring->partition_count) {
        ring->partitions = must_realloc(ring->partitions,
                                        (size_t)state->partition_count * sizeof *ring->partitions);
        for (int32_t p = ring->partition_count; p < state->partition_count; p++) {
            const struct frame_start *from = &state->partitions[p];
            ring->partitions[p] =
                (struct ring_partition){from->start, from->start, from->start, from->is_begin};
        }
        ring->partition_count = state->partition_count;
    }
    for (int32_t p = 0; p < state->partition_count; p++) {
        /* Past transaction markers and compacted holes, where there is no record to say so. */
        if (state->partitions[p].next > ring->partitions[p].next) {
            ring->partitions[p].next = state->partitions[p].next;
        }
    }
    ring->is_live = ring->is_live || state->is_live;
}

void ring_take(struct ring *ring, struct frame *frame)
{
    ring_cursor_set(ring, frame->cursor);
    if (frame->kind == FRAME_STATE) {
        state_apply(ring, frame);
        frame_unref(frame);
        return;
    }
    CHECK(frame->partition < ring->partition_count);
    if (ring->end - ring->oldest == ring->capacity) {
        ring_grow(ring);
    }
    ring->frames[ring->end++ & (ring->capacity - 1)] = frame;
    ring->bytes += frame->bytes;
    ring->partitions[frame->partition].next = frame->offset + 1;
    while (ring->bytes > ring->bytes_max && ring->end - ring->oldest > 1) {
        ring_evict(ring);
    }
}
