#include "reading_inside.h"

#include <stdlib.h>
#include <string.h>

/* Frames looked at in one call: skipping costs time as well, and a filter more. */
#define SCAN_MAX          8192
#define SCAN_FILTERED_MAX 512

/* --- positions --------------------------------------------------------------------------------------- */

void reading_free(struct reading *reading)
{
    if (reading) {
        for (size_t i = 0; i < reading->topic_count; i++) {
            free(reading->topics[i].next);
        }
        filter_free(reading->filter);
        free(reading->subscription);
        free(reading);
    }
}

struct reading *reading_new(const uint16_t *topics, size_t count)
{
    CHECK(count > 0 && count <= READING_TOPICS_MAX);
    struct reading *reading = must_alloc(sizeof *reading + count * sizeof reading->topics[0]);
    reading->topic_count = (uint8_t)count;
    reading->is_chunked = true;
    for (size_t i = 0; i < count; i++) {
        reading->topics[i].topic = topics[i];
    }
    return reading;
}

void reading_topic_grow(struct reading_topic *topic, const struct ring *ring)
{
    if (topic->partition_count >= ring->partition_count) {
        return;
    }
    topic->next = must_realloc(topic->next, (size_t)ring->partition_count * sizeof *topic->next);
    for (int32_t p = topic->partition_count; p < ring->partition_count; p++) {
        topic->next[p] = ring->partitions[p].start;
    }
    topic->partition_count = ring->partition_count;
}

static void reading_grow(struct reading *reading, const struct reading_source *source)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        reading_topic_grow(&reading->topics[i], &source->rings[reading->topics[i].topic]);
    }
}

bool reading_topic_is_in_ring(const struct reading_topic *topic, const struct ring *ring)
{
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] < ring->partitions[p].first) {
            return false;
        }
    }
    return true;
}

static bool topic_is_at_reader(const struct reading_topic *topic, const struct ring *ring)
{
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] != ring->partitions[p].next) {
            return false;
        }
    }
    return true;
}

void reading_enter_copy(struct reading *reading, const struct reading_source *source)
{
    reading->mode = READING_COPY;
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        const struct ring *ring = &source->rings[topic->topic];
        topic->sequence = topic_is_at_reader(topic, ring) ? ring->end : ring->oldest;
    }
}

/* --- records ------------------------------------------------------------------------------------------ */

static void topic_hand_out(struct reading *reading, struct reading_topic *topic,
                           const struct reading_source *source, const struct frame *frame,
                           struct buf *out)
{
    if (frame->offset < topic->next[frame->partition]) {
        return;
    }
    topic->next[frame->partition] = frame->offset + 1;
    if (filter_takes(reading->filter, source->selectors, frame)) {
        reading_append_frame(reading, source, frame, out);
    }
}

/* --- catching up -------------------------------------------------------------------------------------------- */

void reading_take(struct reading *reading, const struct reading_source *source,
                  const struct frame *frame, struct buf *out)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        if (topic->topic == frame->topic && frame->partition < topic->partition_count) {
            topic_hand_out(reading, topic, source, frame, out);
        }
    }
}

void reading_move(struct reading *reading, uint32_t index, int32_t partition, int64_t next)
{
    CHECK(index < reading->topic_count);
    struct reading_topic *topic = &reading->topics[index];
    if (partition < topic->partition_count) {
        topic->next[partition] = next;
    }
}

bool reading_join(struct reading *reading, const struct reading_source *source)
{
    CHECK(reading->has_begun);
    reading_grow(reading, source);
    for (size_t i = 0; i < reading->topic_count; i++) {
        if (!reading_topic_is_in_ring(&reading->topics[i],
                                      &source->rings[reading->topics[i].topic])) {
            return false;
        }
    }
    reading_enter_copy(reading, source);
    return true;
}

/* --- from the rings ------------------------------------------------------------------------------------------ */

static bool topic_is_lost(struct reading_topic *topic, const struct ring *ring)
{
    if (topic->sequence >= ring->oldest) {
        return false;
    }
    if (!topic->next || !reading_topic_is_in_ring(topic, ring)) {
        return true;
    }
    topic->sequence = ring->oldest; /* what has gone had been seen */
    return false;
}

bool reading_is_lost(struct reading *reading, const struct reading_source *source)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        const struct ring *ring = &source->rings[topic->topic];
        if (!reading_topic_is_remade(topic, ring) && topic_is_lost(topic, ring)) {
            return true;
        }
    }
    return false;
}

bool reading_forget_remade(struct reading *reading, const struct reading_source *source)
{
    bool is_any = false;
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        if (reading_topic_is_remade(topic, &source->rings[topic->topic])) {
            free(topic->next);
            *topic = (struct reading_topic){.topic = topic->topic, .is_remade = true};
            is_any = true;
        }
    }
    if (is_any) {
        reading->mode = READING_WAITING;
        reading->has_begun = false;
    }
    return is_any;
}

void reading_fall_back(struct reading *reading)
{
    CHECK(reading->mode == READING_COPY);
    reading->mode = READING_CATCHUP;
    reading->has_begun = false;
}

void reading_enter_snapshot(struct reading *reading, const struct reading_source *source)
{
    reading_grow(reading, source);
    reading->mode = READING_SNAPSHOT;
    reading->has_begun = false;
}

void reading_leave_snapshot(struct reading *reading, const struct reading_source *source)
{
    CHECK(reading->mode == READING_SNAPSHOT);
    reading->has_begun = true;
    reading_grow(reading, source);
    reading_enter_copy(reading, source);
}

void reading_leave_shared(struct reading *reading, const struct reading_source *source)
{
    struct reading_topic *topic = &reading->topics[0];
    const struct ring *ring = &source->rings[topic->topic];
    if (reading->mode != READING_SHARED || topic->sequence < ring->oldest) {
        return;
    }
    reading_topic_grow(topic, ring);
    for (int32_t p = 0; p < topic->partition_count; p++) {
        topic->next[p] = ring->partitions[p].next;
    }
    for (uint64_t s = ring->end; s > topic->sequence; s--) {
        const struct frame *frame = ring_at(ring, s - 1);
        topic->next[frame->partition] = frame->offset;
    }
    reading->mode = READING_COPY;
}

size_t reading_backlog(const struct reading *reading, const struct reading_source *source)
{
    size_t count = 0;
    for (size_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        count += (size_t)(source->rings[topic->topic].end - topic->sequence);
    }
    return count;
}

static enum reading_result topic_fill(struct reading *reading, struct reading_topic *topic,
                                      const struct reading_source *source, size_t bytes_max,
                                      struct buf *out)
{
    const struct ring *ring = &source->rings[topic->topic];
    size_t begin = out->len, scan_max = reading->filter ? SCAN_FILTERED_MAX : SCAN_MAX;
    for (size_t scanned = 0; topic->sequence < ring->end; scanned++) {
        if (out->len - begin >= bytes_max || scanned == scan_max || !reading_may_send(reading)) {
            return READING_MORE;
        }
        topic_hand_out(reading, topic, source, ring_at(ring, topic->sequence), out);
        topic->sequence++;
    }
    /* All that the ring had has been seen, so is what is no record (transaction markers). */
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] < ring->partitions[p].next) {
            topic->next[p] = ring->partitions[p].next;
        }
    }
    return READING_HEAD;
}

static void try_enter_shared(struct reading *reading, const struct reading_source *source)
{
    struct reading_topic *topic = &reading->topics[0];
    bool is_plain = !reading->filter && !reading->is_kept_apart &&
                    (reading->format == READING_SSE ? !reading->is_envelope && !reading->is_raw
                                                    : reading->is_sharable);
    if (is_plain && reading->topic_count == 1 &&
        topic_is_at_reader(topic, &source->rings[topic->topic])) {
        reading->mode = READING_SHARED;
        free(topic->next);
        topic->next = NULL;
        topic->partition_count = 0;
    }
}

enum reading_result reading_fill(struct reading *reading, const struct reading_source *source,
                                 size_t bytes_max, struct buf *out)
{
    reading_grow(reading, source);
    if (reading_is_lost(reading, source)) {
        return READING_LOST;
    }
    enum reading_result result = READING_HEAD;
    for (size_t i = 0; i < reading->topic_count; i++) {
        /* Each topic its share, so that a busy one does not hold up the others. */
        if (topic_fill(reading, &reading->topics[i], source, bytes_max / reading->topic_count,
                       out) == READING_MORE) {
            result = READING_MORE;
        }
    }
    if (result == READING_HEAD) {
        reading->has_caught_up = true;
        try_enter_shared(reading, source);
    }
    return result;
}

enum reading_result reading_fill_shared(struct reading *reading,
                                        const struct reading_source *source, size_t bytes_max,
                                        struct buf *out)
{
    struct reading_topic *topic = &reading->topics[0];
    const struct ring *ring = &source->rings[topic->topic];
    size_t begin = out->len;
    if (topic->sequence < ring->oldest) {
        return READING_LOST;
    }
    for (; topic->sequence < ring->end; topic->sequence++) {
        if (out->len - begin >= bytes_max) {
            return READING_MORE;
        }
        reading_append_frame(reading, source, ring_at(ring, topic->sequence), out);
    }
    return READING_HEAD;
}

enum reading_result reading_gather(const struct reading *reading,
                                   const struct reading_source *source, struct iovec *parts,
                                   size_t max, size_t *ret_count)
{
    const struct reading_topic *topic = &reading->topics[0];
    const struct ring *ring = &source->rings[topic->topic];
    *ret_count = 0;
    if (topic->sequence < ring->oldest) {
        return READING_LOST;
    }
    uint64_t waiting = ring->end - topic->sequence;
    size_t count = waiting < max ? (size_t)waiting : max;
    for (size_t i = 0; i < count; i++) {
        const struct frame *frame = ring_at(ring, topic->sequence + i);
        struct strview bytes = reading->is_chunked ? frame->unit : frame->event;
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    }
    *ret_count = count;
    return count < waiting ? READING_MORE : READING_HEAD;
}

void reading_advance(struct reading *reading, size_t frames)
{
    reading->topics[0].sequence += frames;
}
