/* What a file says of tumbling, hopping and sliding windows. */
#include "stream/builder.h"
#include "stream/window_slices.h"

#define TIMED_MEMBERS "grace", "allowed_lateness", "time", NULL

const char *const window_tumbling_members[] = {"tumbling", TIMED_MEMBERS};
const char *const window_hopping_members[] = {"hopping", "advance", TIMED_MEMBERS};
const char *const window_sliding_members[] = {"sliding", TIMED_MEMBERS};

static int64_t get_size(const struct spec *window, const char *name)
{
    int64_t size_ms = spec_get_duration(window, name, -1);
    struct spec member = spec_member(window, name);
    if (size_ms == 0 && json_is_string(member.value)) {
        spec_error(&member, ERR_CONFIG, "a window must be longer than 0");
    }
    return size_ms > 0 ? size_ms : 1;
}

/* A sum of slices must not overflow where each of its parts did not. */
static void check_merged(const struct spec *window, struct aggregate_step *step, int64_t parts)
{
    const char *name = aggregate_cannot_truncate(&step->aggregate);
    step->aggregate.parts_max = parts;
    if (name) {
        spec_error(window, ERR_CONFIG,
                   "windows that overlap are merged from parts: \"%s\" needs \"over\": "
                   "\"truncate\" here",
                   name);
    }
}

void window_tumbling_compile(struct program_builder *builder, const struct spec *window,
                             struct aggregate_step *step)
{
    step->size_ms = get_size(window, "tumbling");
    if (builder->overrides.window_size_ms > 0) {
        step->size_ms = builder->overrides.window_size_ms;
    }
    step->advance_ms = step->slice_ms = step->size_ms;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b > 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void window_hopping_compile(struct program_builder *builder, const struct spec *window,
                            struct aggregate_step *step)
{
    struct spec advance = spec_member(window, "advance");
    step->size_ms = get_size(window, "hopping");
    step->advance_ms = get_size(window, "advance");
    if (builder->overrides.window_size_ms > 0) {
        step->size_ms = builder->overrides.window_size_ms;
    }
    if (step->advance_ms > step->size_ms) {
        spec_error(&advance, ERR_CONFIG, "at most the window's size: else events are in none");
    }
    if (step->size_ms / step->advance_ms > WINDOW_OVERLAP_MAX) {
        spec_error(&advance, ERR_LIMIT, "an event would be in more than %d windows",
                   WINDOW_OVERLAP_MAX);
    }
    step->slice_ms = common_divisor(step->size_ms, step->advance_ms);
    if (step->slice_ms < step->size_ms) {
        check_merged(window, step, step->size_ms / step->slice_ms);
    }
}

void window_sliding_compile(struct program_builder *builder, const struct spec *window,
                            struct aggregate_step *step)
{
    step->size_ms = get_size(window, "sliding");
    if (builder->overrides.window_size_ms > 0) {
        step->size_ms = builder->overrides.window_size_ms;
    }
    step->advance_ms = step->slice_ms = 1;
    step->is_moving = true;
    check_merged(window, step, step->size_ms + 1);
}
