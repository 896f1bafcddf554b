/* Where a reading begins: what was asked for becomes an offset of each partition, as far as the rings
 * can tell; for the rest a catch-up job asks Kafka. */
#include "reading_inside.h"

#include <stdlib.h>
#include <string.h>

static int64_t earliest_of(const struct ring_partition *partition)
{
    bool is_here = partition->is_begin && partition->first == partition->start;
    return is_here ? partition->start : CURSOR_EARLIEST;
}

static void topic_begin(struct reading_topic *topic, const struct ring *ring, int64_t from)
{
    reading_topic_grow(topic, ring);
    topic->is_placed = true;
    topic->epoch = ring->epoch;
    for (int32_t p = 0; p < topic->partition_count; p++) {
        const struct ring_partition *partition = &ring->partitions[p];
        topic->next[p] = from == CURSOR_LATEST     ? partition->next
                         : from == CURSOR_EARLIEST ? earliest_of(partition)
                                                   : from;
    }
}

static bool is_record(const struct frame *frame)
{
    return frame->kind == FRAME_RECORD || frame->kind == FRAME_DELETE;
}

/* The newest by their timestamps; those of a partition in their order. The reader's own order would
 * not do: after a start it is one partition after the other. */
static void topic_rewind(const struct reading *reading, const struct reading_source *source,
                         struct reading_topic *topic, int64_t count)
{
    const struct ring *ring = &source->rings[topic->topic];
    size_t frames = (size_t)(ring->end - ring->oldest), partitions = (size_t)topic->partition_count;
    if (count == 0 || frames == 0) {
        return;
    }
    /* Chains of each partition's records, from the last: places in the ring plus 1, 0 ends. */
    size_t *last = must_alloc((partitions + frames) * sizeof *last), *earlier = last + partitions;
    memset(last, 0, partitions * sizeof *last);
    for (size_t i = 0; i < frames; i++) {
        const struct frame *frame = ring_at(ring, ring->oldest + i);
        if (is_record(frame) && filter_takes(reading->filter, source->selectors, frame)) {
            earlier[i] = last[frame->partition];
            last[frame->partition] = i + 1;
        }
    }
    for (; count > 0; count--) {
        const struct frame *newest = NULL;
        for (size_t p = 0; p < partitions; p++) {
            const struct frame *frame = last[p] ? ring_at(ring, ring->oldest + last[p] - 1) : NULL;
            newest =
                frame && (!newest || frame->timestamp_ms > newest->timestamp_ms) ? frame : newest;
        }
        if (!newest) {
            break;
        }
        topic->next[newest->partition] = newest->offset;
        last[newest->partition] = earlier[last[newest->partition] - 1];
    }
    free(last);
}

/* Times become offsets where the ring has the whole log; elsewhere only Kafka can tell. */
static void topic_resolve_times(struct reading_topic *topic, const struct ring *ring)
{
    size_t bytes = (size_t)topic->partition_count * sizeof *topic->next;
    int64_t *asked = must_alloc(bytes + 1);
    memcpy(asked, topic->next, bytes);
    for (int32_t p = 0; p < topic->partition_count; p++) {
        const struct ring_partition *partition = &ring->partitions[p];
        if (cursor_is_time(asked[p]) && earliest_of(partition) != CURSOR_EARLIEST) {
            topic->next[p] = partition->next;
        }
    }
    /* Backwards: what stays is the earliest. */
    for (uint64_t s = ring->end; s > ring->oldest; s--) {
        const struct frame *frame = ring_at(ring, s - 1);
        int32_t p = frame->partition;
        if (cursor_is_time(asked[p]) && !cursor_is_time(topic->next[p]) && is_record(frame) &&
            frame->timestamp_ms >= cursor_time(asked[p])) {
            topic->next[p] = frame->offset;
        }
    }
    free(asked);
}

/* A partition that the cursor of its topic does not name came after the cursor: all of it is new. */
static void asked_apply(struct reading *reading, const struct reading_source *source,
                        const struct cursor *asked)
{
    for (size_t i = 0; i < asked->count; i++) {
        struct reading_topic *topic = &reading->topics[asked->positions[i].topic];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            topic->next[p] = 0;
        }
    }
    for (size_t i = 0; asked->epochs && i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        if (asked->epochs[i] && topic->epoch && asked->epochs[i] != topic->epoch) {
            topic_begin(topic, &source->rings[topic->topic], CURSOR_EARLIEST);
            topic->is_remade = true;
        }
    }
    for (size_t i = 0; i < asked->count; i++) {
        const struct cursor_position *position = &asked->positions[i];
        struct reading_topic *topic = &reading->topics[position->topic];
        const struct ring *ring = &source->rings[topic->topic];
        if (position->partition < topic->partition_count && !topic->is_remade) {
            topic->next[position->partition] = position->next == CURSOR_LATEST
                                                   ? ring->partitions[position->partition].next
                                                   : position->next;
        }
    }
}

/* A position that the reader has not reached yet may be past the end of the log altogether: only
 * Kafka can tell, so a catch-up job asks. */
static bool topic_is_ahead(const struct reading_topic *topic, const struct ring *ring)
{
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] > ring->partitions[p].next) {
            return true;
        }
    }
    return false;
}

bool reading_begin(struct reading *reading, const struct reading_source *source,
                   const struct reading_start *start)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        if (!source->rings[reading->topics[i].topic].is_live) {
            return false;
        }
    }
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        if (!topic->is_placed) {
            topic_begin(topic, &source->rings[topic->topic], start->from);
            topic_rewind(reading, source, topic, start->rewind);
        }
    }
    if (start->asked) {
        asked_apply(reading, source, start->asked);
    }
    bool is_here = true;
    for (size_t i = 0; i < reading->topic_count; i++) {
        struct reading_topic *topic = &reading->topics[i];
        const struct ring *ring = &source->rings[topic->topic];
        topic_resolve_times(topic, ring);
        is_here = is_here && reading_topic_is_in_ring(topic, ring) && !topic_is_ahead(topic, ring);
    }
    if (is_here) {
        reading_enter_copy(reading, source);
    } else {
        reading->mode = READING_CATCHUP;
    }
    return true;
}
