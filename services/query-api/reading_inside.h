/* reading_inside.h - what the parts of a reading share. */
#pragma once

#include "reading.h"

/* Partitions that a topic has got meanwhile are read from their beginning. */
void reading_topic_grow(struct reading_topic *topic, const struct ring *ring);
/* Whether nothing that comes next has left the ring. */
bool reading_topic_is_in_ring(const struct reading_topic *topic, const struct ring *ring);
/* Whether the ring is of a later making of the topic than the positions are. */
static inline bool reading_topic_is_remade(const struct reading_topic *topic,
                                           const struct ring *ring)
{
    return topic->is_placed && topic->epoch != ring->epoch;
}
void reading_enter_copy(struct reading *reading, const struct reading_source *source);
