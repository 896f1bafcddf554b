/* aggregate: events of one key and one tumbling window of event time become one result.
 *
 *     event ──► late? ──yes──► STEP_LATE            closes(w)  ⇔  w.end + grace <= watermark
 *                 │no
 *                 ▼                                 at a commit, in order of window start:
 *          cell(key, window).add                      closed before it   → tombstone, removed after it
 *                                                     closes now         → final result
 *                                                     open and changed   → changelog record, update
 *
 * A window goes in two steps: its final result is put out by one commit, its state is deleted by the
 * next. In between, whether a restored window was already closed is told by the time up to which
 * windows were closed (`closed_ms`), the watermark that travels with the offsets. So exactly once
 * never repeats a final, and at least once, which may lose an offset commit after its records were
 * written, finds the state to make the same final again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/aggregate.h"
#include "stream/steps.h"
#include "stream/window_codec.h"
#include "stream/window_store.h"

struct aggregate_step {
    struct aggregate aggregate;
    uint16_t by;
    char *by_text;
    int64_t size_ms;
    int64_t grace_ms;
    bool emits_updates;
    bool emits_finals;
    uint32_t layout;
    const char *store_name; /* the file's: while it is compiled */
    struct window_store_config store;
};

struct aggregate_state {
    const struct aggregate_step *step;
    struct window_store *store;
    int64_t closed_ms;  /* windows whose end + grace is at most this have had their final */
    int64_t closing_ms; /* the same, if the commit under way succeeds */
    int64_t next_offset;
    struct buf key, value;        /* of the record being made */
    struct aggregate_event event; /* being added */
};

#define KEY_BYTES_MAX    4096
#define KEYS_MAX         1000000000
#define RECORD_BYTES_MAX (1024 * 1024)

/* --- compiling ----------------------------------------------------------------------------------*/

static const struct step_state_kind aggregate_state_kind;

static void aggregate_step_free(void *compiled)
{
    struct aggregate_step *step = compiled;
    if (step) {
        aggregate_free(&step->aggregate);
        free(step->by_text);
        free(step);
    }
}

static void compile_window(struct program_builder *builder, const struct spec *spec,
                           struct aggregate_step *step)
{
    static const char *const names[] = {"tumbling", "grace", NULL};
    struct spec window;
    if (!spec_has(spec, "window", &window) || !spec_is_object(&window, names)) {
        return;
    }
    step->size_ms = spec_get_duration(&window, "tumbling", -1);
    step->grace_ms = spec_get_duration(&window, "grace", 0);
    if (builder->overrides.window_size_ms > 0) {
        step->size_ms = builder->overrides.window_size_ms;
    }
    if (builder->overrides.window_grace_ms >= 0) {
        step->grace_ms = builder->overrides.window_grace_ms;
    }
    if (step->size_ms == 0 && json_object_get(window.value, "tumbling")) {
        spec_error(&window, ERR_CONFIG, "a window must be longer than 0");
    }
}

static void compile_emit(const struct spec *spec, struct aggregate_step *step)
{
    static const char *const names[] = {"update", "final", NULL};
    struct spec emit = spec_member(spec, "emit");
    step->emits_updates = step->emits_finals = !emit.value;
    if (emit.value && json_array_size(emit.value) == 0) {
        spec_error(&emit, ERR_CONFIG, "an array with \"update\", \"final\" or both is needed");
    }
    for (size_t i = 0; i < json_array_size(emit.value); i++) {
        struct spec element = spec_element(&emit, i);
        int choice = spec_choice(&element, names);
        step->emits_updates |= choice == 0;
        step->emits_finals |= choice == 1;
    }
}

static void compile_store(const struct spec *spec, struct aggregate_step *step)
{
    static const char *const names[] = {"name", "keys_max", "windows_max", NULL};
    struct spec store;
    if (!spec_has(spec, "store", &store) || !spec_is_object(&store, names)) {
        return;
    }
    step->store_name = spec_get_text(&store, "name", NULL);
    step->store.keys_max = (size_t)spec_get_count(&store, "keys_max", 1000000, KEYS_MAX);
    step->store.cells_max = (size_t)spec_get_count(&store, "windows_max", 4000000, KEYS_MAX);
}

static void *aggregate_step_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"by", "window", "store", "emit", "result", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct aggregate_step *step = must_alloc(sizeof *step);
    const char *by;
    step->by = builder_get_field(builder, spec, "by", &by);
    step->by_text = must_strdup(by[0] == '/' ? by + 1 : by);
    compile_window(builder, spec, step);
    compile_emit(spec, step);
    compile_store(spec, step);
    struct spec result;
    if (spec_has(spec, "result", &result)) {
        aggregate_compile(builder, &result, &step->aggregate);
        builder_result_key(builder, step->aggregate.key_column);
    }
    if (step->aggregate.section_count > 0) {
        spec_error(&result, ERR_CONFIG, "a store of windows has no room for values that grow yet");
    }
    step->store.totals_bytes = step->aggregate.fixed_bytes;
    if (builder->loader.errors->count == 0) { /* else it is half made, and will not be run */
        char window[32];
        (void)snprintf(window, sizeof window, "tumbling %" PRId64, step->size_ms);
        step->layout = aggregate_layout(&step->aggregate, window);
        (void)builder_add_state(builder, spec,
                                &(struct builder_state){.kind = &aggregate_state_kind,
                                                        .step = step,
                                                        .store = step->store_name,
                                                        .retention_ms = -1});
    }
    builder_hold(builder, step->grace_ms);
    return step;
}

/* --- one event ----------------------------------------------------------------------------------*/

static enum step_verdict run_late(const struct aggregate_step *step, struct step_run *run,
                                  int64_t start_ms)
{
    run->late = (struct step_late){.window_start_ms = start_ms,
                                   .window_end_ms = start_ms + step->size_ms,
                                   .closed_ms = start_ms + step->size_ms + step->grace_ms};
    return STEP_LATE;
}

/* The group's key: a string that is not empty, since Kafka keys are bytes that must tell apart. */
static bool run_key(const struct aggregate_step *step, struct step_run *run, struct strview *ret)
{
    const struct stream_value *by = &run->slots[step->by];
    if (by->type != JSON_NODE_STRING) {
        bool is_missing = by->type == STREAM_VALUE_MISSING;
        (void)step_reject(run, is_missing ? ERR_FIELD_MISSING : ERR_FIELD_TYPE,
                          "%s is %s: a string is needed", step->by_text, stream_value_kind(by));
        return false;
    }
    if (by->bytes > KEY_BYTES_MAX || buf_reserve(run->scratch, by->bytes)) {
        (void)step_reject(run, ERR_LIMIT, "%s has more than %d bytes", step->by_text,
                          KEY_BYTES_MAX);
        return false;
    }
    *ret = stream_value_decode(by, run->scratch->data);
    if (ret->len == 0) {
        (void)step_reject(run, ERR_FIELD_TYPE, "%s is empty", step->by_text);
    }
    return ret->len > 0;
}

static enum step_verdict run_add(struct aggregate_state *state, struct step_run *run,
                                 struct strview key, int64_t start_ms)
{
    const struct aggregate *aggregate = &state->step->aggregate;
    struct aggregate_event *event = &state->event;
    struct window_cell *cell;
    run->reason = aggregate_read(aggregate, run->slots, event, run->info);
    if (!run->reason) {
        run->reason = window_store_get(state->store, key, start_ms, &cell, run->info);
    }
    if (run->reason) {
        return STEP_REJECT;
    }
    if (run->in->origin && run->in->origin->offset < cell->next_offset) {
        /* The state was written, but perhaps not what was to be put out with it. */
        (void)window_store_edit(state->store, cell);
        return STEP_REPLAYED;
    }
    size_t bytes;
    event->time_ms = run->event_ms;
    run->reason = aggregate_prepare(aggregate, (const struct totals *)(void *)cell->totals, event,
                                    &bytes, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    aggregate_add(aggregate, window_store_edit(state->store, cell), event);
    return STEP_DONE;
}

static enum step_verdict aggregate_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct aggregate_step *step = compiled;
    struct aggregate_state *state = task_state;
    int64_t start_ms = run->event_ms - run->event_ms % step->size_ms; /* event_ms >= 0 */
    struct strview key;
    if (!run_key(step, run, &key)) {
        return STEP_REJECT;
    }
    if (start_ms + step->size_ms + step->grace_ms <= run->watermark_ms) {
        return run_late(step, run, start_ms);
    }
    return run_add(state, run, key, start_ms);
}

/* --- a commit -----------------------------------------------------------------------------------*/

static int64_t window_closes_ms(const struct aggregate_state *state, int64_t start_ms)
{
    return start_ms + state->step->size_ms + state->step->grace_ms;
}

static enum err emit_result(struct aggregate_state *state, const struct step_commit *commit,
                            struct window_cell *cell, bool is_final)
{
    const struct totals *totals = (const struct totals *)(void *)cell->totals;
    struct aggregate_window window = {.key = window_cell_key(cell),
                                      .start_ms = cell->start_ms,
                                      .end_ms = cell->start_ms + state->step->size_ms};
    buf_reset(&state->value);
    enum err e = aggregate_render(&state->step->aggregate, totals, &window, &state->value);
    if (e) {
        return err_set(commit->info, e, "a result is too long");
    }
    struct stream_header header = {"millrace-result", is_final ? SV("final") : SV("update")};
    struct step_out out = {
        .key = window.key,
        .value = buf_view(&state->value),
        .timestamp_ms = totals->timestamp_max_ms,
        .watermark_ms = is_final ? step_due(&commit->way, window_closes_ms(state, cell->start_ms))
                                 : step_now(&commit->way, commit->watermark_ms),
        .headers = &header,
        .header_count = 1};
    *(is_final ? &commit->stats->finals : &commit->stats->updates) += 1;
    return step_forward(&commit->way, &out);
}

/* value ptr NULL: a tombstone. */
static enum err emit_changelog(struct aggregate_state *state, const struct step_commit *commit,
                               const struct window_cell *cell, struct strview value)
{
    buf_reset(&state->key);
    enum err e = window_encode_key(window_cell_key(cell), cell->start_ms, &state->key);
    if (e) {
        return e;
    }
    struct stream_out out = {
        .target = STREAM_CHANGELOG,
        .topic = commit->changelog_topic,
        .partition = commit->partition,
        .key = buf_view(&state->key),
        .value = value,
        .timestamp_ms = ((const struct totals *)(const void *)cell->totals)->timestamp_max_ms};
    commit->stats->changelog_records++;
    return commit->sink->emit(commit->sink->context, &out);
}

static enum err emit_stored(struct aggregate_state *state, const struct step_commit *commit,
                            struct window_cell *cell)
{
    int64_t next_offset =
        cell->next_offset > state->next_offset ? cell->next_offset : state->next_offset;
    buf_reset(&state->value);
    enum err e =
        window_encode_value(&state->step->aggregate, (const struct totals *)(void *)cell->totals,
                            state->step->layout, next_offset, &state->value);
    e = e ? e : emit_changelog(state, commit, cell, buf_view(&state->value));
    cell->is_being_stored = !e;
    return e;
}

/* The window's final was in an earlier commit: now its state goes. */
static enum err window_expire(struct aggregate_state *state, const struct step_commit *commit,
                              size_t window)
{
    size_t count;
    struct window_cell *const *cells = window_store_cells(state->store, window, &count);
    for (size_t i = 0; i < count; i++) {
        enum err e = cells[i]->is_stored
                         ? emit_changelog(state, commit, cells[i], (struct strview){NULL, 0})
                         : ERR_OK;
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err window_close(struct aggregate_state *state, const struct step_commit *commit,
                             size_t window)
{
    size_t count;
    struct window_cell *const *cells = window_store_cells(state->store, window, &count);
    for (size_t i = 0; i < count; i++) {
        bool is_final = state->step->emits_finals;
        enum err e = is_final || cells[i]->is_dirty ? emit_result(state, commit, cells[i], is_final)
                                                    : ERR_OK;
        if (e) {
            return e;
        }
    }
    commit->stats->windows_closed += count;
    return ERR_OK;
}

/* Windows stand in order of start: those to expire, those to close, those that stay open. */
static enum err close_windows(struct aggregate_state *state, const struct step_commit *commit)
{
    size_t expired = 0;
    for (size_t i = 0; i < window_store_window_count(state->store); i++) {
        int64_t closes_ms = window_closes_ms(state, window_store_window_start(state->store, i));
        if (closes_ms > commit->watermark_ms) {
            break;
        }
        bool was_closed = closes_ms <= state->closed_ms;
        enum err e = was_closed ? window_expire(state, commit, i) : window_close(state, commit, i);
        if (e) {
            return e;
        }
        expired += was_closed;
    }
    window_store_expire(state->store, expired);
    return ERR_OK;
}

static enum err store_changed(struct aggregate_state *state, const struct step_commit *commit)
{
    size_t count = window_store_dirty_count(state->store);
    for (size_t i = 0; i < count; i++) {
        struct window_cell *cell = window_store_dirty(state->store, i);
        if (window_closes_ms(state, cell->start_ms) <= commit->watermark_ms) {
            continue; /* its result is out, its state about to go: nothing to keep */
        }
        enum err e = emit_stored(state, commit, cell);
        if (!e && state->step->emits_updates) {
            e = emit_result(state, commit, cell, false);
        }
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err aggregate_before_commit(void *task_state, const struct step_commit *commit)
{
    struct aggregate_state *state = task_state;
    /* With several inputs one offset tells nothing: then nothing is taken for replayed. */
    state->next_offset = commit->input_count == 1 ? commit->next_offsets[0] : 0;
    enum err e = close_windows(state, commit);
    e = e ? e : store_changed(state, commit);
    if (!e && commit->watermark_ms > state->closed_ms) {
        state->closing_ms = commit->watermark_ms;
    }
    return e;
}

static void aggregate_committed(void *task_state)
{
    struct aggregate_state *state = task_state;
    window_store_commit(state->store, state->next_offset);
    state->closed_ms = state->closing_ms;
}

static void aggregate_aborted(void *task_state)
{
    struct aggregate_state *state = task_state;
    window_store_abort(state->store);
    state->closing_ms = state->closed_ms;
}

static bool aggregate_wants_commit(const void *task_state, int64_t watermark_ms, int64_t now_ms)
{
    (void)now_ms;
    const struct aggregate_state *state = task_state;
    return window_store_dirty_count(state->store) > 0 ||
           (window_store_window_count(state->store) > 0 &&
            window_closes_ms(state, window_store_window_start(state->store, 0)) <= watermark_ms);
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *aggregate_state_new(const void *compiled)
{
    const struct aggregate_step *step = compiled;
    struct aggregate_state *state = must_alloc(sizeof *state);
    state->step = step;
    state->store = window_store_new(&step->store);
    state->closed_ms = state->closing_ms = TIME_NONE;
    buf_init(&state->key, KEY_BYTES_MAX + 64);
    buf_init(&state->value, RECORD_BYTES_MAX);
    aggregate_event_init(&state->event);
    return state;
}

static void aggregate_state_free(void *task_state)
{
    struct aggregate_state *state = task_state;
    window_store_free(state->store);
    buf_free(&state->key);
    buf_free(&state->value);
    aggregate_event_free(&state->event);
    free(state);
}

static enum err restore_value(struct aggregate_state *state, struct strview key, int64_t start_ms,
                              struct strview value, struct err_info *info)
{
    /* Checked beside the store first: a record that cannot be read changes nothing. */
    const struct aggregate *aggregate = &state->step->aggregate;
    struct window_cell *cell;
    struct strview totals;
    int64_t next_offset;
    enum err e = window_decode_value(value, state->step->layout, &totals, &next_offset, info);
    if (e) {
        return e;
    }
    buf_reset(&state->value);
    e = buf_append_view(&state->value, totals); /* to where its parts are aligned */
    if (e || totals.len != aggregate->fixed_bytes ||
        !aggregate_check(aggregate, state->value.data, totals.len) ||
        ((const struct totals *)(void *)state->value.data)->count == 0) {
        return err_set(info, ERR_STATE, "the changelog has a record that is no window's state");
    }
    e = window_store_get(state->store, key, start_ms, &cell, info);
    if (!e) {
        memcpy(window_store_load(state->store, cell, next_offset), state->value.data, totals.len);
    }
    return e;
}

static enum err aggregate_restore(void *task_state, struct strview record_key, struct strview value,
                                  struct err_info *info)
{
    struct aggregate_state *state = task_state;
    struct strview key;
    int64_t start_ms;
    if (window_decode_key(record_key, &key, &start_ms) || key.len > KEY_BYTES_MAX ||
        start_ms > EVENT_TIME_MAX_MS || start_ms % state->step->size_ms != 0) {
        return err_set(info, ERR_STATE, "the changelog has a key that is no window of this store");
    }
    if (value.ptr) {
        return restore_value(state, key, start_ms, value, info);
    }
    struct window_cell *cell = window_store_find(state->store, key, start_ms);
    if (cell) {
        window_store_remove(state->store, cell);
    }
    return ERR_OK;
}

static void aggregate_restore_time(void *task_state, int64_t watermark_ms)
{
    struct aggregate_state *state = task_state;
    state->closed_ms = state->closing_ms = watermark_ms;
}

static void aggregate_stats(const void *task_state, struct stream_task_stats *stats)
{
    const struct aggregate_state *state = task_state;
    stats->windows_open += window_store_cell_count(state->store);
    stats->keys += window_store_key_count(state->store);
    stats->state_bytes += window_store_bytes(state->store);
}

static const struct step_state_kind aggregate_state_kind = {
    .new_state = aggregate_state_new,
    .free_state = aggregate_state_free,
    .before_commit = aggregate_before_commit,
    .committed = aggregate_committed,
    .aborted = aggregate_aborted,
    .restore = aggregate_restore,
    .wants_commit = aggregate_wants_commit,
    .restore_time = aggregate_restore_time,
    .stats = aggregate_stats,
};

const struct step_kind step_aggregate = {
    .name = "aggregate",
    .compile = aggregate_step_compile,
    .free_step = aggregate_step_free,
    .run = aggregate_run,
    .is_maker = true,
    .has_late = true,
};
