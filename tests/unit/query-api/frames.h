/* frames.h - frames for tests, from text. */
#pragma once

#include "frame.h"
#include "test.h"

static inline struct frame *frame_for_test(struct frame_maker *maker, const char *key,
                                           struct strview value, struct strview cursor)
{
    const struct frame_record record = {.topic = 0,
                                        .topic_name = SV("orders"),
                                        .partition = 1,
                                        .offset = 41,
                                        .timestamp_ms = 1700000000000,
                                        .key = key ? sv(key) : (struct strview){0},
                                        .value = value,
                                        .cursor = cursor};
    return frame_new(maker, &record);
}
