/* window_slices.h - between the files of windows that are made of slices. */
#pragma once

#include "stream/aggregate_step.h"

#define WINDOW_OVERLAP_MAX 10000 /* windows that an event can be in: each is put out */

extern const char *const window_tumbling_members[], *const window_hopping_members[],
                                                        *const window_sliding_members[];

void window_tumbling_compile(struct program_builder *builder, const struct spec *window,
                             struct aggregate_step *step);
void window_hopping_compile(struct program_builder *builder, const struct spec *window,
                            struct aggregate_step *step);
void window_sliding_compile(struct program_builder *builder, const struct spec *window,
                            struct aggregate_step *step);
