#include "stream/watermark.h"

#include "core/attributes.h"

void watermark_init(struct watermark *watermark, unsigned inputs, int64_t delay_ms, int64_t idle_ms)
{
    CHECK(inputs > 0 && inputs <= WATERMARK_INPUTS_MAX);
    CHECK(delay_ms >= 0 && idle_ms >= 0);
    *watermark = (struct watermark){.value_ms = TIME_NONE, .input_count = inputs};
    for (unsigned i = 0; i < inputs; i++) {
        watermark->inputs[i] = (struct watermark_input){.delay_ms = delay_ms,
                                                        .idle_ms = idle_ms,
                                                        .timestamp_max_ms = TIME_NONE,
                                                        .quiet_since_ms = TIME_NONE};
    }
}

void watermark_tune(struct watermark *watermark, unsigned input, int64_t delay_ms, int64_t idle_ms)
{
    CHECK(input < watermark->input_count);
    CHECK(delay_ms >= 0 && idle_ms >= 0);
    watermark->inputs[input].delay_ms = delay_ms;
    watermark->inputs[input].idle_ms = idle_ms;
}

void watermark_leave_out(struct watermark *watermark, unsigned input)
{
    CHECK(input < watermark->input_count);
    watermark->inputs[input].is_idle = true;
}

void watermark_raise(struct watermark *watermark, int64_t value_ms)
{
    if (value_ms > watermark->value_ms) {
        watermark->value_ms = value_ms;
    }
}

static bool watermark_all_idle(const struct watermark *watermark)
{
    for (unsigned i = 0; i < watermark->input_count; i++) {
        if (!watermark->inputs[i].is_idle) {
            return false;
        }
    }
    return true;
}

/* Lowest over the inputs that are not idle; one without a record holds it back. */
static void watermark_combine(struct watermark *watermark)
{
    int64_t lowest = INT64_MAX;
    for (unsigned i = 0; i < watermark->input_count; i++) {
        const struct watermark_input *input = &watermark->inputs[i];
        if (input->is_idle) {
            continue;
        }
        if (input->timestamp_max_ms == TIME_NONE) {
            return;
        }
        int64_t reached = input->timestamp_max_ms - input->delay_ms;
        lowest = reached < lowest ? reached : lowest;
    }
    if (lowest != INT64_MAX) {
        watermark_raise(watermark, lowest);
    }
}

/* All are idle: the clock takes over from where the furthest input stopped. */
static void watermark_run_on(struct watermark *watermark, int64_t now_ms)
{
    for (unsigned i = 0; i < watermark->input_count; i++) {
        const struct watermark_input *input = &watermark->inputs[i];
        if (input->timestamp_max_ms != TIME_NONE && now_ms >= input->quiet_since_ms) {
            watermark_raise(watermark, input->timestamp_max_ms - input->delay_ms +
                                           (now_ms - input->quiet_since_ms));
        }
    }
}

void watermark_observe(struct watermark *watermark, unsigned input, int64_t timestamp_ms)
{
    struct watermark_input *from = &watermark->inputs[input];
    from->is_idle = false;
    from->quiet_since_ms = TIME_NONE;
    if (timestamp_ms <= from->timestamp_max_ms) {
        return;
    }
    from->timestamp_max_ms = timestamp_ms;
    if (watermark->input_count == 1) {
        watermark_raise(watermark, timestamp_ms - from->delay_ms);
        return;
    }
    watermark_combine(watermark);
}

void watermark_quiet(struct watermark *watermark, unsigned input, int64_t now_ms, bool at_end)
{
    struct watermark_input *from = &watermark->inputs[input];
    if (from->idle_ms == 0) {
        return;
    }
    if (!at_end) { /* there is more: whatever its age, it decides */
        from->quiet_since_ms = TIME_NONE;
        from->is_idle = false;
        return;
    }
    if (from->quiet_since_ms == TIME_NONE) {
        from->quiet_since_ms = now_ms;
    }
    from->is_idle =
        now_ms >= from->quiet_since_ms && now_ms - from->quiet_since_ms >= from->idle_ms;
    if (watermark_all_idle(watermark)) {
        watermark_run_on(watermark, now_ms);
    } else {
        watermark_combine(watermark);
    }
}

void watermark_restore(struct watermark *watermark, unsigned input, int64_t timestamp_max_ms,
                       int64_t value_ms)
{
    watermark->inputs[input].timestamp_max_ms = timestamp_max_ms;
    watermark_raise(watermark, value_ms);
}

int64_t watermark_timestamp_max(const struct watermark *watermark)
{
    int64_t highest = TIME_NONE;
    for (unsigned i = 0; i < watermark->input_count; i++) {
        if (watermark->inputs[i].timestamp_max_ms > highest) {
            highest = watermark->inputs[i].timestamp_max_ms;
        }
    }
    return highest;
}
