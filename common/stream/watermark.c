#include "stream/watermark.h"

#include "core/attributes.h"

void watermark_init(struct watermark *watermark, unsigned inputs, int64_t delay_ms, int64_t idle_ms)
{
    CHECK(inputs > 0 && inputs <= WATERMARK_INPUTS_MAX);
    CHECK(delay_ms >= 0 && idle_ms >= 0);
    *watermark = (struct watermark){
        .value_ms = TIME_NONE, .delay_ms = delay_ms, .idle_ms = idle_ms, .input_count = inputs};
    for (unsigned i = 0; i < inputs; i++) {
        watermark->inputs[i].timestamp_max_ms = TIME_NONE;
        watermark->inputs[i].quiet_since_ms = TIME_NONE;
    }
}

static void watermark_raise(struct watermark *watermark, int64_t value_ms)
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
        if (!input->is_idle && input->timestamp_max_ms < lowest) {
            lowest = input->timestamp_max_ms;
        }
    }
    if (lowest != INT64_MAX && lowest != TIME_NONE) {
        watermark_raise(watermark, lowest - watermark->delay_ms);
    }
}

/* All are idle: the clock takes over from where the furthest input stopped. */
static void watermark_run_on(struct watermark *watermark, int64_t now_ms)
{
    for (unsigned i = 0; i < watermark->input_count; i++) {
        const struct watermark_input *input = &watermark->inputs[i];
        if (input->timestamp_max_ms != TIME_NONE && now_ms >= input->quiet_since_ms) {
            watermark_raise(watermark, input->timestamp_max_ms - watermark->delay_ms +
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
        watermark_raise(watermark, timestamp_ms - watermark->delay_ms);
        return;
    }
    watermark_combine(watermark);
}

void watermark_quiet(struct watermark *watermark, unsigned input, int64_t now_ms, bool at_end)
{
    struct watermark_input *from = &watermark->inputs[input];
    if (watermark->idle_ms == 0) {
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
        now_ms >= from->quiet_since_ms && now_ms - from->quiet_since_ms >= watermark->idle_ms;
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
