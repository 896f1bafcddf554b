/* Windows that overlap, or do not: tumbling, hopping and sliding ones, of slices.
 *
 *     slices   ├────┼────┼────┼────┼────┤      a cell per key and slice: one add per event
 *     windows  [─────────)                     a window's result is its slices, merged,
 *                   [─────────)                when it is put out
 *
 * A slice is as long as start and end of no window divide it: all of a tumbling window; what divides
 * size and advance of hopping ones; a millisecond for sliding ones, which begin and end where events
 * are. Those are Kafka Streams': for an event at t the window [t − d, t] and, if an event follows
 * within d after that, [t + 1, t + 1 + d]; both ends belong to them, and none begins before 0.
 *
 *     due(w) = end + grace:   closes(w)  ⇔  due(w) <= watermark
 *
 * An event is late when every window that could hold it is past due and lateness. One that comes for
 * a window that has closed and another that has not must not be in the result of the first: what is
 * due by then is put out before the event is added. So a result does not depend on when commits are.
 *
 * A cell goes in two steps: the last final it is part of is put out by one commit, its state is
 * deleted by a later one. In between, the time up to which windows were closed, which is the
 * watermark that travels with the offsets, tells that it has had its final. So exactly once never
 * repeats a final, and at least once, which may lose an offset commit after its records were written,
 * finds the state to make the final again. */
#include <stdlib.h>

#include "stream/window_slices.h"

/* --- where windows are --------------------------------------------------------------------------*/

/* Milliseconds that a window covers: both ends of a sliding one belong to it. */
static int64_t span_ms(const struct aggregate_step *step)
{
    return step->size_ms + step->is_moving;
}

static int64_t due_ms(const struct aggregate_step *step, int64_t start_ms)
{
    return start_ms + span_ms(step) + step->grace_ms;
}

/* Start of the earliest window that can hold this time (of a slice's begin, or of an event). */
static int64_t earliest_ms(const struct aggregate_step *step, int64_t time_ms)
{
    int64_t start_ms = time_ms - span_ms(step) + step->advance_ms;
    start_ms = start_ms < 0 ? 0 : start_ms;
    return start_ms - start_ms % step->advance_ms;
}

static int64_t latest_ms(const struct aggregate_step *step, int64_t time_ms)
{
    return time_ms - time_ms % step->advance_ms;
}

/* Event time from which on nothing is added to a cell any more. */
static int64_t late_ms(const struct aggregate_step *step, int64_t time_ms)
{
    return due_ms(step, latest_ms(step, time_ms)) + step->lateness_ms;
}

/* … and from which on nothing asks for it: a sliding window begins behind it. */
static int64_t gone_ms(const struct aggregate_step *step, int64_t time_ms)
{
    return late_ms(step, time_ms) + step->is_moving;
}

/* A window is one cell. */
static bool is_single(const struct aggregate_step *step)
{
    return step->slice_ms == step->size_ms && !step->is_moving;
}

/* Windows that begin at or before this have had their finals; -1: none has. */
static int64_t closed_start_ms(const struct aggregate_state *state)
{
    int64_t start_ms = state->closing_ms == TIME_NONE
                           ? -1
                           : state->closing_ms - span_ms(state->step) - state->step->grace_ms;
    return start_ms < -1 ? -1 : start_ms;
}

/* --- what is to be put out: a list of (window, key) -----------------------------------------------*/

static void list_add(struct window_list *list, struct store_cell *cell, int64_t start_ms)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 64;
        list->items = must_realloc(list->items, list->capacity * sizeof *list->items);
    }
    list->items[list->count++] = (struct window_place){cell, start_ms};
}

static int key_order(const struct store_cell *a, const struct store_cell *b)
{
    if (a->key == b->key) {
        return 0;
    }
    struct strview left = store_cell_key(a), right = store_cell_key(b);
    int order = memcmp(left.ptr, right.ptr, left.len < right.len ? left.len : right.len);
    return order ? order : (left.len > right.len) - (left.len < right.len);
}

/* In order of window start, then of the key's bytes. */
static int place_order(const void *left, const void *right)
{
    const struct window_place *a = left, *b = right;
    if (a->start_ms != b->start_ms) {
        return a->start_ms < b->start_ms ? -1 : 1;
    }
    return key_order(a->cell, b->cell);
}

static void list_settle(struct window_list *list)
{
    size_t kept = 0;
    if (list->count == 0) {
        return; /* there may be no array yet */
    }
    qsort(list->items, list->count, sizeof *list->items, place_order);
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || place_order(&list->items[kept - 1], &list->items[i]) != 0) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

/* Windows that begin after from_ms and not after to_ms and hold the cell. Of moving ones those that
 * begin or end because of it. */
static void list_windows_of(struct aggregate_state *state, struct store_cell *cell, int64_t from_ms,
                            int64_t to_ms)
{
    const struct aggregate_step *step = state->step;
    int64_t start_ms = earliest_ms(step, cell->time_ms), last_ms = latest_ms(step, cell->time_ms);
    if (!step->is_moving) {
        if (start_ms <= from_ms) {
            start_ms = latest_ms(step, from_ms) + step->advance_ms;
        }
        for (; start_ms <= last_ms && start_ms <= to_ms; start_ms += step->advance_ms) {
            list_add(&state->list, cell, start_ms);
        }
        return;
    }
    if (start_ms > from_ms && start_ms <= to_ms) {
        list_add(&state->list, cell, start_ms);
    }
    start_ms = cell->time_ms + 1;
    struct store_range behind = store_range(cell->key, start_ms, start_ms + step->size_ms);
    if (start_ms > from_ms && start_ms <= to_ms && store_next(&behind)) {
        list_add(&state->list, cell, start_ms);
    }
}

/* --- putting out --------------------------------------------------------------------------------*/

/* Nothing is pending of it any more. */
static void cell_shown(struct aggregate_state *state, struct store_cell *cell)
{
    if (state->step->has_pending && *aggregate_pending(state->step, cell->value)) {
        *aggregate_pending(state->step, store_edit(state->kept.store, cell)) = false;
    }
}

static bool cell_changed(const struct aggregate_step *step, struct store_cell *cell)
{
    return step->has_pending ? *aggregate_pending(step, cell->value)
                             : step->emits_updates && cell->is_dirty;
}

/* A sliding window may be there because of what lies just before it. */
static bool is_begun(const struct aggregate_state *state, const struct window_place *place)
{
    if (!state->step->is_moving) {
        return false;
    }
    struct store_range before =
        store_range(place->cell->key, place->start_ms - 1, place->start_ms - 1);
    struct store_cell *cell = store_next(&before);
    return cell && cell_changed(state->step, cell);
}

/* The window's cells as one state; *ret_changed: there is something new. Bounds of what is kept were
 * checked when the pipeline was compiled: whatever is merged here merges. */
static const struct totals *window_merge(struct aggregate_state *state,
                                         const struct window_place *place, bool *ret_changed)
{
    const struct aggregate *aggregate = &state->step->aggregate;
    if (is_single(state->step)) {
        *ret_changed = cell_changed(state->step, place->cell);
        return cell_totals(place->cell);
    }
    int64_t last_ms = place->start_ms + span_ms(state->step) - 1;
    struct store_range range = store_range(place->cell->key, place->start_ms, last_ms);
    struct store_cell *cell = store_next(&range), *next = cell ? store_next(&range) : NULL;
    *ret_changed = (cell && cell_changed(state->step, cell)) || is_begun(state, place);
    if (!next) { /* the usual case costs no copy */
        return cell ? cell_totals(cell) : NULL;
    }
    state->merged.len = 0;
    CHECK(!buf_append(&state->merged, state->empty, aggregate->fixed_bytes));
    for (; cell; cell = next, next = cell ? store_next(&range) : NULL) {
        size_t bytes;
        struct totals *merged = (struct totals *)(void *)state->merged.data;
        CHECK(!aggregate_prepare_merge(aggregate, merged, cell_totals(cell), &bytes, NULL));
        CHECK(!buf_reserve(&state->merged, bytes - state->merged.len));
        merged = (struct totals *)(void *)state->merged.data;
        aggregate_merge(aggregate, merged, cell_totals(cell));
        state->merged.len = aggregate_bytes(aggregate, merged);
        *ret_changed |= cell_changed(state->step, cell);
    }
    return (const struct totals *)(void *)state->merged.data;
}

static enum err window_emit(struct aggregate_state *state, const struct aggregate_way *way,
                            enum result_kind kind, const struct window_place *place)
{
    bool is_changed;
    const struct totals *totals = window_merge(state, place, &is_changed);
    if (!totals || (kind != RESULT_FINAL && !is_changed)) {
        return ERR_OK; /* an empty window is none */
    }
    if (is_single(state->step)) {
        cell_shown(state, place->cell);
    }
    const struct aggregate_window window = {.key = store_cell_key(place->cell),
                                            .start_ms = place->start_ms,
                                            .end_ms = place->start_ms + state->step->size_ms};
    return aggregate_emit(state, way, kind, totals, &window, due_ms(state->step, place->start_ms));
}

static enum err list_emit(struct aggregate_state *state, const struct aggregate_way *way,
                          enum result_kind kind)
{
    if (!is_single(
            state->step)) { /* else they are there once, in the order in which they changed */
        list_settle(&state->list);
    }
    for (size_t i = 0; i < state->list.count; i++) {
        enum err e = window_emit(state, way, kind, &state->list.items[i]);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* --- closing ------------------------------------------------------------------------------------*/

static enum err close_listed(struct aggregate_state *state, const struct aggregate_way *way)
{
    enum err e = list_emit(state, way, state->step->emits_finals ? RESULT_FINAL : RESULT_UPDATE);
    state->closed += state->list.count;
    return e;
}

/* All that are in memory of the window. */
static enum err close_window(struct aggregate_state *state, const struct aggregate_way *way,
                             int64_t start_ms)
{
    size_t count;
    struct store_cell *const *cells =
        store_between(state->kept.store, start_ms, start_ms + state->step->size_ms - 1, &count);
    state->list.count = 0;
    for (size_t i = 0; i < count; i++) {
        struct store_range range = store_range(cells[i]->key, start_ms, cells[i]->time_ms);
        if (store_next(&range) == cells[i]) { /* the first of its key */
            list_add(&state->list, cells[i], start_ms);
        }
    }
    return close_listed(state, way);
}

struct closing {
    struct aggregate_state *state;
    const struct aggregate_way *way;
    int64_t start_ms;
};

static enum err close_cell(void *context, struct store_cell *cell)
{
    const struct closing *closing = context;
    closing->state->list.count = 0;
    list_add(&closing->state->list, cell, closing->start_ms);
    return close_listed(closing->state, closing->way);
}

/* The same, key by key, of those on disk, too. */
static enum err close_visited(struct aggregate_state *state, const struct aggregate_way *way,
                              int64_t start_ms)
{
    struct closing closing = {state, way, start_ms};
    const struct store_visitor visitor = {close_cell, &closing};
    return is_single(state->step)
               ? store_visit(state->kept.store, start_ms, start_ms, &visitor, way->info)
               : store_visit_keys(state->kept.store, start_ms, start_ms + state->step->size_ms - 1,
                                  &visitor, way->info);
}

/* Windows by their starts, one after the other; where there are no events, none is looked at. */
static enum err close_aligned(struct aggregate_state *state, const struct aggregate_way *way,
                              int64_t from_ms, int64_t to_ms)
{
    const struct aggregate_step *step = state->step;
    enum err e = ERR_OK;
    int64_t start_ms = from_ms < 0 ? 0 : latest_ms(step, from_ms) + step->advance_ms;
    for (; start_ms <= to_ms && !e; start_ms += step->advance_ms) {
        int64_t next_ms = store_next_ms(state->kept.store, start_ms);
        if (next_ms == INT64_MAX) {
            break;
        }
        int64_t first_ms = earliest_ms(step, next_ms);
        start_ms = first_ms > start_ms ? first_ms : start_ms;
        if (start_ms > to_ms) {
            break;
        }
        e = state->kept.has_disk ? close_visited(state, way, start_ms)
                                 : close_window(state, way, start_ms);
    }
    return e;
}

static enum err close_moving(struct aggregate_state *state, const struct aggregate_way *way,
                             int64_t from_ms, int64_t to_ms)
{
    size_t count;
    int64_t first_ms = from_ms < 0 ? 0 : from_ms;
    struct store_cell *const *cells =
        store_between(state->kept.store, first_ms, to_ms + state->step->size_ms, &count);
    state->list.count = 0;
    for (size_t i = 0; i < count; i++) {
        list_windows_of(state, cells[i], from_ms, to_ms);
    }
    return close_listed(state, way);
}

/* Puts out what is due by then and was not. */
static enum err close_through(struct aggregate_state *state, const struct aggregate_way *way,
                              int64_t watermark_ms)
{
    const struct aggregate_step *step = state->step;
    if (watermark_ms == TIME_NONE || watermark_ms <= state->closing_ms) {
        return ERR_OK;
    }
    int64_t from_ms = closed_start_ms(state);
    int64_t to_ms = watermark_ms - span_ms(step) - step->grace_ms;
    enum err e = to_ms < 0         ? ERR_OK
                 : step->is_moving ? close_moving(state, way, from_ms, to_ms)
                                   : close_aligned(state, way, from_ms, to_ms);
    state->closing_ms = watermark_ms;
    return e;
}

/* --- one event ----------------------------------------------------------------------------------*/

static enum step_verdict run_late(const struct aggregate_step *step, struct step_run *run,
                                  int64_t event_ms)
{
    int64_t start_ms = latest_ms(step, event_ms);
    run->late = (struct step_late){.window_start_ms = start_ms,
                                   .window_end_ms = start_ms + step->size_ms,
                                   .closed_ms = late_ms(step, event_ms)};
    return STEP_LATE;
}

static enum step_verdict slices_run(struct aggregate_state *state, struct step_run *run,
                                    struct strview key)
{
    const struct aggregate_step *step = state->step;
    int64_t event_ms = run->event_ms, slice_ms = event_ms - event_ms % step->slice_ms;
    struct store_cell *cell;
    if (step->kept.store.goes_whole) {
        run->reason = store_recall_key(state->kept.store, key, run->info);
        if (run->reason) {
            return STEP_FAIL;
        }
    }
    /* The usual event: what ends behind it cannot be due before it and the grace are past. */
    bool may_be_late = event_ms + step->grace_ms < run->watermark_ms;
    if (may_be_late && late_ms(step, event_ms) <= run->watermark_ms) {
        return run_late(step, run, event_ms);
    }
    if (may_be_late && due_ms(step, earliest_ms(step, event_ms)) <= run->watermark_ms) {
        const struct aggregate_way way = {
            .way = &run->way, .info = run->info, .watermark_ms = run->watermark_ms};
        run->reason = close_through(state, &way, run->watermark_ms);
        if (run->reason) {
            return STEP_FAIL;
        }
    }
    return aggregate_put(state, run, key, slice_ms, &cell);
}

/* --- a commit -----------------------------------------------------------------------------------*/

struct dropping {
    struct aggregate_state *state;
    const struct step_commit *commit;
};

static enum err drop_cell(void *context, struct store_cell *cell)
{
    const struct dropping *dropping = context;
    return cell->is_away ? aggregate_forget(dropping->state, dropping->commit, cell)
                         : aggregate_drop(dropping->state, dropping->commit, cell);
}

/* The same, time by time, of cells on disk, too. */
static enum err drop_visited(struct aggregate_state *state, const struct step_commit *commit,
                             int64_t closed_ms)
{
    struct store *store = state->kept.store;
    struct dropping dropping = {state, commit};
    const struct store_visitor visitor = {drop_cell, &dropping};
    enum err e = ERR_OK;
    for (int64_t time_ms = store_first_ms(store);
         !e && time_ms != INT64_MAX && gone_ms(state->step, time_ms) <= closed_ms;
         time_ms = store_next_ms(store, time_ms + 1)) {
        e = store_visit(store, time_ms, time_ms, &visitor, commit->info);
        store_remove_away(store, time_ms);
    }
    return e;
}

/* Cells of which every window was closed by an earlier commit. */
static enum err drop_closed(struct aggregate_state *state, const struct step_commit *commit)
{
    const struct aggregate_step *step = state->step;
    /* The clock does not travel with the offsets: there, a window goes with its final. */
    int64_t closed_ms = step->goes_by_clock ? state->closing_ms : state->closed_ms;
    int64_t first_ms = store_first_ms(state->kept.store);
    if (closed_ms == TIME_NONE || first_ms == INT64_MAX || gone_ms(step, first_ms) > closed_ms) {
        return ERR_OK;
    }
    if (state->kept.has_disk) {
        return drop_visited(state, commit, closed_ms);
    }
    size_t count;
    int64_t last_ms = closed_ms - span_ms(step) - step->grace_ms - step->lateness_ms +
                      step->advance_ms - 1; /* of the windows that begin at or before … */
    struct store_cell *const *cells = store_between(state->kept.store, first_ms, last_ms, &count);
    for (size_t i = 0; i < count; i++) {
        if (gone_ms(step, cells[i]->time_ms) <= closed_ms) {
            enum err e = aggregate_drop(state, commit, cells[i]);
            if (e) {
                return e;
            }
        }
    }
    return ERR_OK;
}

/* Open windows that changed because a cell did; of moving ones that may be any within its reach. */
static void list_touched(struct aggregate_state *state, struct store_cell *changed)
{
    const struct aggregate_step *step = state->step;
    int64_t closed_ms = closed_start_ms(state);
    if (!step->is_moving) {
        list_windows_of(state, changed, closed_ms, EVENT_TIME_MAX_MS);
        return;
    }
    struct store_range range = store_range(changed->key, changed->time_ms - step->size_ms - 1,
                                           changed->time_ms + step->size_ms);
    for (struct store_cell *cell; (cell = store_next(&range));) {
        list_windows_of(state, cell, closed_ms, EVENT_TIME_MAX_MS);
    }
}

/* Open windows in which something is new. */
static enum err show_updates(struct aggregate_state *state, const struct aggregate_way *way)
{
    state->list.count = 0;
    for (size_t i = 0; i < store_dirty_count(state->kept.store); i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (!cell->is_removed) {
            list_touched(state, cell);
        }
    }
    return list_emit(state, way, RESULT_UPDATE);
}

/* The same since the last time that they were shown. */
static enum err show_pending(struct aggregate_state *state, const struct aggregate_way *way)
{
    size_t count;
    struct store_cell *const *cells =
        store_between(state->kept.store, 0, EVENT_TIME_MAX_MS, &count);
    state->list.count = 0;
    for (size_t i = 0; i < count; i++) {
        if (*aggregate_pending(state->step, cells[i]->value)) {
            list_touched(state, cells[i]);
        }
    }
    enum err e = list_emit(state, way, RESULT_UPDATE);
    for (size_t i = 0; i < count; i++) {
        cell_shown(state, cells[i]);
    }
    return e;
}

/* Finals that an event came for since they were put out. These windows do not overlap. */
static enum err show_corrections(struct aggregate_state *state, const struct aggregate_way *way)
{
    const struct aggregate_step *step = state->step;
    state->list.count = 0;
    for (size_t i = 0; i < store_dirty_count(state->kept.store); i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (due_ms(step, cell->time_ms) <= state->closing_ms &&
            *aggregate_pending(step, cell->value)) {
            list_add(&state->list, cell, cell->time_ms);
        }
    }
    return list_emit(state, way, RESULT_CORRECTION);
}

/* Cells that something can still be added to; the state of others is about to go. */
static enum err keep_changed(struct aggregate_state *state, const struct step_commit *commit)
{
    for (size_t i = 0; i < store_dirty_count(state->kept.store); i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (cell->is_removed || gone_ms(state->step, cell->time_ms) <= commit->watermark_ms) {
            continue;
        }
        enum err e = aggregate_keep(state, commit, cell);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err slices_before_commit(struct aggregate_state *state,
                                     const struct step_commit *commit)
{
    const struct aggregate_way way = {&commit->way, commit->info, commit->watermark_ms};
    enum err e = ERR_OK;
    if (state->step->lateness_ms > 0) {
        e = show_corrections(state, &way); /* before what closes now */
    }
    e = e ? e : close_through(state, &way, commit->watermark_ms);
    e = e ? e : drop_closed(state, commit);
    if (!e && state->step->emits_updates) {
        e = show_updates(state, &way);
    } else if (!e && aggregate_is_time(state, commit)) {
        e = show_pending(state, &way);
    }
    return e ? e : keep_changed(state, commit);
}

/* A window closes, or a cell can go. */
static bool slices_are_due(const struct aggregate_state *state, int64_t watermark_ms)
{
    const struct aggregate_step *step = state->step;
    int64_t oldest_ms = store_first_ms(state->kept.store);
    int64_t from_ms = closed_start_ms(state) + 1; /* begin of those that are open */
    int64_t next_ms = store_next_ms(state->kept.store, from_ms);
    if (next_ms == INT64_MAX) { /* nothing is left in an open window */
        return oldest_ms != INT64_MAX && gone_ms(step, oldest_ms) <= state->closed_ms;
    }
    int64_t start_ms = earliest_ms(step, next_ms);
    int64_t first_ms = from_ms + (step->advance_ms - from_ms % step->advance_ms) % step->advance_ms;
    return due_ms(step, start_ms > first_ms ? start_ms : first_ms) <= watermark_ms ||
           gone_ms(step, oldest_ms) <= state->closed_ms;
}

/* Where windows follow each other, and that they changed is not noted in their cells. */
static bool slices_can_spill(const struct aggregate_step *step)
{
    return !step->is_moving && !step->has_pending;
}

static bool slices_go_whole(const struct aggregate_step *step)
{
    return !is_single(step);
}

static bool slices_have_cell(const struct aggregate_step *step, int64_t time_ms, int64_t minor)
{
    return time_ms <= EVENT_TIME_MAX_MS && time_ms % step->slice_ms == 0 && minor == 0;
}

/* --- the kinds ----------------------------------------------------------------------------------*/

#define SLICES_KIND(kind, its_members)                                                             \
    .name = #kind, .members = (its_members), .changelog = CHANGELOG_WINDOW,                        \
    .compile = window_##kind##_compile, .is_timed = true, .has_finals = true, .run = slices_run,   \
    .before_commit = slices_before_commit, .is_due = slices_are_due, .has_cell = slices_have_cell, \
    .can_spill = slices_can_spill, .goes_whole = slices_go_whole

const struct window_kind window_tumbling = {SLICES_KIND(tumbling, window_tumbling_members)};
const struct window_kind window_hopping = {SLICES_KIND(hopping, window_hopping_members)};
const struct window_kind window_sliding = {SLICES_KIND(sliding, window_sliding_members)};
