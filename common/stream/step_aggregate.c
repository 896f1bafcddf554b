/* aggregate: events of one key and one window become one result.
 *
 *     event ──► time? key? ──► its cells ──► at a commit: results of what closed, of what changed
 *                                                         changelog records of what changed
 *
 * Which cells an event goes into and when their results are put out is a kind of windows' own
 * (aggregate_step.h); here is what all of them share: the file's members, the cycle, restoring. */
#include <stdlib.h>

#include "stream/aggregate_step.h"
#include "stream/steps.h"

#define KEY_BYTES_MAX    4096
#define RECORD_BYTES_MAX (1024 * 1024)

/* --- one event ----------------------------------------------------------------------------------*/

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

static enum step_verdict aggregate_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct aggregate_step *step = compiled;
    struct strview key;
    if (step->is_of_table && aggregate_take_back(task_state, run)) {
        return STEP_FAIL;
    }
    if (!run->doc) {
        return STEP_DONE; /* the row is deleted */
    }
    if (!run_key(step, run, &key)) {
        return STEP_REJECT;
    }
    if (step->goes_by_clock) {
        if (run->now_ms == TIME_NONE) {
            return step_reject(run, ERR_TIMESTAMP, "what time it is is not known yet");
        }
        run->event_ms = run->watermark_ms = run->now_ms;
    }
    enum step_verdict verdict = step->window->run(task_state, run, key);
    return verdict == STEP_LATE && step->drops_late ? STEP_LATE_END : verdict;
}

/* --- the cycle ----------------------------------------------------------------------------------*/

static enum err aggregate_before_commit(void *task_state, const struct step_commit *commit)
{
    struct aggregate_state *state = task_state;
    struct step_commit timed = *commit;
    if (state->step->goes_by_clock) {
        timed.watermark_ms = commit->now_ms;
    }
    kept_state_begin(&state->kept, commit);
    enum err e = state->step->window->before_commit(state, &timed);
    if (aggregate_is_time(state, &timed) && state->step->every_by_clock) {
        state->showing_ms = commit->now_ms;
    }
    commit->stats->updates += state->updates;
    commit->stats->finals += state->finals;
    commit->stats->windows_closed += state->closed;
    return e;
}

static void aggregate_settle(struct aggregate_state *state)
{
    state->updates = state->finals = state->closed = 0;
}

static void aggregate_committed(void *task_state)
{
    struct aggregate_state *state = task_state;
    if (state->step->window->committing) {
        state->step->window->committing(state);
    }
    kept_state_committed(state);
    state->closed_ms = state->closing_ms;
    state->shown_ms = state->showing_ms;
    aggregate_settle(state);
}

static void aggregate_aborted(void *task_state)
{
    struct aggregate_state *state = task_state;
    if (state->step->window->aborting) {
        state->step->window->aborting(state);
    }
    kept_state_aborted(state);
    state->closing_ms = state->closed_ms;
    state->showing_ms = state->shown_ms;
    aggregate_settle(state);
}

static bool aggregate_wants_commit(const void *task_state, int64_t watermark_ms, int64_t now_ms)
{
    const struct aggregate_state *state = task_state;
    const struct aggregate_step *step = state->step;
    bool is_shown_due = step->every_by_clock && store_cell_count(state->kept.store) > 0 &&
                        now_ms != TIME_NONE && state->shown_ms != TIME_NONE &&
                        now_ms / step->every_ms != state->shown_ms / step->every_ms;
    return kept_state_wants_commit(state, watermark_ms, now_ms) || is_shown_due ||
           step->window->is_due(state, step->goes_by_clock ? now_ms : watermark_ms);
}

/* --- life ---------------------------------------------------------------------------------------*/

static void aggregate_step_free(void *compiled)
{
    struct aggregate_step *step = compiled;
    if (step) {
        aggregate_free(&step->aggregate);
        free(step->by_text);
        free(step);
    }
}

static void *aggregate_state_new(const void *compiled)
{
    const struct aggregate_step *step = compiled;
    struct aggregate_state *state = must_alloc(sizeof *state);
    state->step = step;
    kept_state_init(&state->kept, &step->kept);
    state->closed_ms = state->closing_ms = state->shown_ms = state->showing_ms = TIME_NONE;
    buf_init(&state->key, KEY_BYTES_MAX + CHANGELOG_TAIL_MAX);
    buf_init(&state->value, 2 * RECORD_BYTES_MAX);
    buf_init(&state->merged, SIZE_MAX / 4); /* of what was bounded when it was compiled */
    buf_init(&state->showed, SIZE_MAX / 4);
    buf_init(&state->voided, SIZE_MAX / 4);
    state->empty = must_alloc(step->aggregate.fixed_bytes);
    aggregate_event_init(&state->event);
    return state;
}

static void aggregate_state_free(void *task_state)
{
    struct aggregate_state *state = task_state;
    buf_free(&state->key);
    buf_free(&state->value);
    buf_free(&state->merged);
    free(state->empty);
    free(state->list.items);
    free(state->full.items);
    free(state->redo.items);
    buf_free(&state->voided);
    free(state->notes.items);
    buf_free(&state->showed);
    json_scanner_free(state->scanner);
    free(state->old_slots);
    aggregate_event_free(&state->event);
    kept_state_free(state);
}

static enum err restore_fail(struct err_info *info)
{
    return err_set(info, ERR_STATE, "the changelog has a record that is no state of this store");
}

/* The state into the store; what is checked beside it first changes nothing if it cannot be read. */
static enum err restore_state(struct aggregate_state *state, const struct store_cell *place,
                              struct strview key, const int64_t *next_offsets,
                              struct err_info *info)
{
    struct store_cell *cell;
    struct strview bytes = buf_view(&state->value);
    enum err e =
        store_load(state->kept.store, key, place->time_ms, place->minor, bytes.len, &cell, info);
    if (e) {
        return e;
    }
    memcpy(cell->value, bytes.ptr, bytes.len);
    memcpy(cell->next_offsets, next_offsets,
           state->step->kept.format.inputs * sizeof next_offsets[0]);
    if (state->step->window->restored) {
        state->step->window->restored(state, cell);
    }
    return ERR_OK;
}

static struct store_cell *restore_find(const struct aggregate_state *state, struct strview key,
                                       const struct store_cell *place)
{
    const struct window_identity *identity = state->step->window->identity;
    return identity ? identity->find(state, key, place->time_ms)
                    : store_find(state->kept.store, key, place->time_ms, place->minor);
}

/* cell NULL is a no-op. */
static void restore_unload(struct aggregate_state *state, struct store_cell *cell)
{
    if (cell && state->step->window->unloading) {
        state->step->window->unloading(state, cell);
    }
    if (cell) {
        store_unload(state->kept.store, cell);
    }
}

static enum err restore_value(struct aggregate_state *state, struct store_cell *place,
                              struct strview key, struct strview value, struct err_info *info)
{
    const struct aggregate_step *step = state->step;
    const struct window_identity *identity = step->window->identity;
    int64_t next_offsets[CHANGELOG_INPUTS_MAX];
    struct strview bytes;
    enum err e = changelog_decode_value(&step->kept.format, value, next_offsets, &bytes, info);
    if (e) {
        return e;
    }
    if (identity && !identity->take_head(state, key, &bytes)) {
        return restore_fail(info);
    }
    buf_reset(&state->value); /* to where its parts are aligned */
    if (buf_append_view(&state->value, bytes) ||
        !aggregate_check(&step->aggregate, state->value.data, bytes.len)) {
        return restore_fail(info);
    }
    if (identity) {
        struct store_cell *cell = restore_find(state, key, place); /* perhaps elsewhere */
        struct totals *totals = (struct totals *)(void *)state->value.data;
        if (!identity->place(step, totals, place->time_ms, place)) {
            return restore_fail(info);
        }
        restore_unload(state, cell);
    }
    return restore_state(state, place, key, next_offsets, info);
}

static enum err aggregate_restore(void *task_state, struct strview record_key, struct strview value,
                                  struct err_info *info)
{
    struct aggregate_state *state = task_state;
    const struct aggregate_step *step = state->step;
    struct store_cell place = {0}; /* where it belongs */
    struct strview key;
    if (changelog_decode_key(step->kept.format.kind, record_key, &key, &place.time_ms,
                             &place.minor) ||
        key.len > KEY_BYTES_MAX || !step->window->has_cell(step, place.time_ms, place.minor)) {
        return err_set(info, ERR_STATE, "the changelog has a key that is no window of this store");
    }
    enum err e =
        step->kept.store.goes_whole ? store_recall_key(state->kept.store, key, info) : ERR_OK;
    if (e) {
        return e;
    }
    if (value.ptr) {
        return restore_value(state, &place, key, value, info);
    }
    struct store_cell *cell = restore_find(state, key, &place);
    if (!cell && !step->kept.store.goes_whole) {
        e = store_recall(state->kept.store, key, place.time_ms, &cell, info);
    }
    restore_unload(state, cell);
    return e;
}

static void aggregate_restore_time(void *task_state, int64_t watermark_ms)
{
    struct aggregate_state *state = task_state;
    if (!state->step->goes_by_clock) {
        state->closed_ms = state->closing_ms = watermark_ms;
    }
}

static void aggregate_stats(const void *task_state, struct stream_task_stats *stats)
{
    const struct aggregate_state *state = task_state;
    stats->windows_open += store_cell_count(state->kept.store);
    kept_state_stats(state, stats);
}

/* A session's cell says which others it took up, too: only what loads it can read that. */
static bool aggregate_show(const void *config, const struct pipeline_row *row, struct buf *out)
{
    const struct aggregate_step *step = config;
    const struct aggregate_window window = {
        .key = row->key, .start_ms = row->time_ms, .end_ms = row->time_ms + step->slice_ms};
    CLEANUP(buf_free) struct buf state; /* where its parts are aligned */
    buf_init(&state, AGGREGATE_BYTES_MAX);
    return !step->window->identity && !buf_append_view(&state, row->bytes) &&
           aggregate_check(&step->aggregate, state.data, state.len) &&
           !aggregate_render(&step->aggregate, (struct totals *)(void *)state.data, &window, out);
}

const struct step_state_kind aggregate_state_kind = {
    .new_state = aggregate_state_new,
    .free_state = aggregate_state_free,
    .before_commit = aggregate_before_commit,
    .committed = aggregate_committed,
    .aborted = aggregate_aborted,
    .restore = aggregate_restore,
    .wants_commit = aggregate_wants_commit,
    .restore_time = aggregate_restore_time,
    .stats = aggregate_stats,
    .show = aggregate_show,
};

const struct step_kind step_aggregate = {
    .name = "aggregate",
    .compile = aggregate_step_compile,
    .free_step = aggregate_step_free,
    .run = aggregate_run,
    .is_maker = true,
    .takes_null = true,
    .has_late = true,
};
