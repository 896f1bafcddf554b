/* What a file says of an aggregate step. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/aggregate_step.h"
#include "stream/builder.h"

#define KEYS_MAX  1000000000
#define BYTES_MAX (1LL << 40)

/* A new kind is a file window_<kind>.c and a row here. */
static const struct window_kind *const WINDOWS[] = {
    &window_tumbling, &window_hopping, &window_sliding, &window_session, &window_count};

static const struct window_kind *window_find(const struct spec *window)
{
    const char *names[ARRAY_LEN(WINDOWS) + 1] = {0};
    const char *name;
    json_t *value;
    for (size_t i = 0; i < ARRAY_LEN(WINDOWS); i++) {
        names[i] = WINDOWS[i]->name;
        if (json_object_get(window->value, names[i])) {
            return WINDOWS[i];
        }
    }
    json_object_foreach((json_t *)(uintptr_t)window->value, name, value)
    { /* no const in jansson */
        char hint[SPEC_HINT_BYTES];
        if (*spec_hint(name, names, hint)) {
            struct spec unknown = spec_member(window, name);
            spec_error(&unknown, ERR_CONFIG, "unknown member%s", hint);
            return NULL;
        }
    }
    spec_error(window, ERR_CONFIG,
               "\"tumbling\", \"hopping\", \"sliding\", \"session\" or \"count\" is needed");
    return NULL;
}

static void compile_time(struct program_builder *builder, const struct spec *window,
                         struct aggregate_step *step)
{
    static const char *const times[] = {"event", "processing", NULL};
    struct spec lateness = spec_member(window, "allowed_lateness");
    step->grace_ms = spec_get_duration(window, "grace", 0);
    step->lateness_ms = spec_get_duration(window, "allowed_lateness", 0);
    step->goes_by_clock = spec_get_choice(window, "time", times, 0) == 1;
    if (builder->overrides.window_grace_ms >= 0) {
        step->grace_ms = builder->overrides.window_grace_ms;
    }
    if (step->goes_by_clock && (step->grace_ms > 0 || step->lateness_ms > 0)) {
        spec_error(window, ERR_CONFIG, "nothing is late by the clock: no grace, no lateness");
    }
    if (step->lateness_ms > 0 && !step->emits_finals) {
        spec_error(&lateness, ERR_CONFIG, "a correction is of a final: \"emit\" has none");
    }
    if (step->lateness_ms > 0 && (step->is_moving || step->slice_ms < step->size_ms)) {
        spec_error(&lateness, ERR_CONFIG, "only for windows that do not overlap");
    }
}

static void compile_window(struct program_builder *builder, const struct spec *spec,
                           struct aggregate_step *step)
{
    struct spec window = spec_member(spec, "window");
    step->window = window.value ? NULL : &window_none;
    if (window.value && json_is_object(window.value)) {
        step->window = window_find(&window);
    } else if (window.value) {
        spec_error(&window, ERR_CONFIG, "an object is needed");
    }
    if (!step->window || !window.value || !spec_is_object(&window, step->window->members)) {
        return;
    }
    step->window->compile(builder, &window, step);
    if (step->window->is_timed) {
        compile_time(builder, &window, step);
    }
}

/* "update", "final" or {"every": …} */
static void compile_emit_element(const struct spec *element, struct aggregate_step *step)
{
    static const char *const words[] = {"update", "final", NULL};
    static const char *const names[] = {"every", "time", NULL};
    static const char *const times[] = {"event", "processing", NULL};
    if (!json_is_object(element->value)) {
        int choice = spec_choice(element, words);
        step->emits_updates |= choice == 0;
        step->emits_finals |= choice == 1;
    } else if (spec_is_object(element, names)) {
        step->every_ms = spec_get_duration(element, "every", -1);
        step->every_by_clock = spec_get_choice(element, "time", times, 0) == 1;
        if (step->every_ms == 0) {
            spec_error(element, ERR_CONFIG, "longer than 0 is needed");
        }
    }
}

static void compile_emit(const struct spec *spec, struct aggregate_step *step)
{
    struct spec emit = spec_member(spec, "emit");
    bool has_window = json_object_get(spec->value, "window");
    step->emits_updates = !emit.value;
    step->emits_finals = !emit.value && has_window;
    if (emit.value && json_array_size(emit.value) == 0) {
        spec_error(&emit, ERR_CONFIG,
                   "an array with \"update\", \"final\" or {\"every\": …} is needed");
    }
    for (size_t i = 0; i < json_array_size(emit.value); i++) {
        struct spec element = spec_element(&emit, i);
        compile_emit_element(&element, step);
    }
    if (step->every_ms > 0 && step->emits_updates) {
        spec_error(&emit, ERR_CONFIG, "\"update\" puts out every change: \"every\" adds nothing");
    }
    if (step->emits_finals && !has_window) {
        spec_error(&emit, ERR_CONFIG, "nothing is final without a window");
    }
}

static const char *compile_store(const struct spec *spec, struct aggregate_step *step)
{
    static const char *const names[] = {"name", "keys_max", "windows_max", "bytes_max", NULL};
    struct spec store = spec_member(spec, "store");
    struct spec settings = store.value ? store : *spec;
    step->kept.store.keys_max = 1000000;
    step->kept.store.cells_max = 4000000;
    step->kept.store.cells_max_name = "windows_max";
    step->kept.store.bytes_max = 4UL << 30;
    if (!store.value || !spec_is_object(&settings, names)) {
        return NULL;
    }
    step->kept.store.keys_max = (size_t)spec_get_count(&store, "keys_max", 1000000, KEYS_MAX);
    step->kept.store.cells_max = (size_t)spec_get_count(&store, "windows_max", 4000000, KEYS_MAX);
    step->kept.store.bytes_max = (size_t)spec_get_count(&store, "bytes_max", 4LL << 30, BYTES_MAX);
    return json_object_get(store.value, "name") ? spec_get_text(&store, "name", NULL) : NULL;
}

/* What only the members together tell. */
static void compile_state(struct program_builder *builder, const struct spec *spec,
                          struct aggregate_step *step, const char *store_name)
{
    char window[64];
    step->has_pending = step->every_ms > 0 || step->lateness_ms > 0;
    if (step->has_pending) {
        step->pending_at = step->aggregate.fixed_bytes;
        step->aggregate.fixed_bytes += 16;
    }
    step->own_at = step->aggregate.fixed_bytes;
    step->aggregate.fixed_bytes += step->window->own_bytes;
    unsigned inputs = (unsigned)builder->pipeline->source_count; /* at most: of its stage */
    (void)snprintf(window, sizeof window, "%s %" PRId64 " %" PRId64 " %d %u", step->window->name,
                   step->slice_ms, step->count, step->has_pending, inputs);
    step->kept.format =
        (struct changelog_format){.kind = step->window->changelog,
                                  .inputs = inputs,
                                  .layout = aggregate_layout(&step->aggregate, window)};
    step->kept.store.value_bytes = step->aggregate.section_count ? 0 : step->aggregate.fixed_bytes;
    step->kept.store.inputs = step->kept.format.inputs;
    step->kept.store.bucket_ms = step->window->is_timed ? step->slice_ms : 0;
    step->kept.store.bucket_ms = step->bucket_ms ? step->bucket_ms : step->kept.store.bucket_ms;
    step->kept.can_spill = step->window->can_spill && step->window->can_spill(step);
    step->kept.store.goes_whole = step->window->goes_whole && step->window->goes_whole(step);
    (void)builder_add_state(
        builder, spec,
        &(struct builder_state){.kind = &aggregate_state_kind,
                                .step = step,
                                .kept = &step->kept,
                                .store = store_name,
                                .retention_ms = -1,
                                .is_ordered =
                                    step->window->identity}); /* a record may take up another's */
}

/* Changes of rows: each is taken back before the next one counts. */
static void compile_table(struct program_builder *builder, const struct spec *spec,
                          struct aggregate_step *step)
{
    struct spec result = spec_member(spec, "result"), window = spec_member(spec, "window");
    const char *fixed = aggregate_cannot_subtract(&step->aggregate);
    const char *bounded = aggregate_cannot_truncate(&step->aggregate);
    step->fields = &builder->segment->fields;
    step->is_of_table = builder->segment->is_table;
    if (!step->is_of_table) {
        return;
    }
    if (builder->segment->step_count > 0) {
        spec_error(spec, ERR_CONFIG,
                   "an aggregate of a table comes right behind it: a step between "
                   "them does not see what a row was before");
    }
    if (window.value) {
        spec_error(&window, ERR_CONFIG, "a table has no windows: its rows are what is now");
    }
    if (fixed) {
        spec_error(&result, ERR_CONFIG, "\"%s\" cannot take back a row of a table that changed",
                   fixed);
    } else if (bounded) {
        spec_error(&result, ERR_CONFIG,
                   "of a table \"%s\" needs \"over\": \"truncate\": what was refused could not be "
                   "taken back",
                   bounded);
    }
}

/* Members that do not go together. */
static void check_members(const struct spec *spec, const struct aggregate_step *step)
{
    bool is_timed = step->window && step->window->is_timed;
    struct spec key = spec_member(spec, "key"), result = spec_member(spec, "result");
    if (step->has_windowed_key && !is_timed) {
        spec_error(&key, ERR_CONFIG, "there is no window of time to put into a key");
    }
    if (step->aggregate.shows_window && step->window && !is_timed) {
        spec_error(&result, ERR_CONFIG, "there is no window of time to show");
    }
    if (step->every_ms > 0 && !is_timed) {
        spec_error(spec, ERR_CONFIG, "\"every\" needs windows of time");
    }
}

/* How long before event time, as it is when a result is put out, its own time may be. */
static int64_t hold_ms(const struct aggregate_step *step)
{
    if (!step->window->is_timed || step->goes_by_clock) {
        return 0;
    }
    int64_t overlap_ms = step->size_ms - (step->is_moving ? 0 : step->advance_ms);
    return step->grace_ms + overlap_ms;
}

void *aggregate_step_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"by",   "window", "store",  "emit",
                                        "late", "key",    "result", NULL};
    static const char *const lates[] = {"topic", "drop", NULL};
    static const char *const keys[] = {"group", "windowed", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct aggregate_step *step = must_alloc(sizeof *step);
    const char *by;
    struct spec result;
    step->by = builder_get_field(builder, spec, "by", &by);
    step->by_text = must_strdup(by[0] == '/' ? by + 1 : by);
    if (spec_has(spec, "result", &result)) {
        aggregate_compile(builder, &result, &step->aggregate);
    }
    compile_emit(spec, step);
    compile_window(builder, spec, step);
    const char *store_name = compile_store(spec, step);
    compile_table(builder, spec, step);
    step->drops_late = spec_get_choice(spec, "late", lates, 0) == 1;
    step->has_windowed_key = spec_get_choice(spec, "key", keys, 0) == 1;
    check_members(spec, step);
    if (builder->loader.errors->count == 0) { /* else it is half made, and will not be run */
        compile_state(builder, spec, step, store_name);
        builder_hold(builder, hold_ms(step));
    }
    if (step->window == &window_none) {
        builder->pipeline->segments[builder->step.behind]->is_table = true;
    }
    builder->scopes[builder->step.behind]->has_windows =
        step->window != &window_none && !step->has_windowed_key;
    if (!step->has_windowed_key) {
        builder_result_key(builder, step->aggregate.key_column);
    }
    return step;
}
