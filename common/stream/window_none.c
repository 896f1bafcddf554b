/* No window: a group's result goes on for ever. What is put out is a table, a change of a row at a
 * time: its result now, and beside it the one that was put out before.
 *
 *     of events    add to the group
 *     of a table   take the row that was from its group, add the row that is to its own
 *
 * So the sum over a table is that of its present rows. A group from which every row was taken stays,
 * with nothing in it, as in Kafka Streams. */
#include <stdlib.h>

#include "stream/aggregate_step.h"

#define DEPTH_MAX 64
#define NODES_MAX 262144

/* --- what groups showed at the last commit, noted when they change for the first time since ------*/

/* Its text behind the others; empty: there was none. Counts once note_keep says which cell's it is. */
static size_t note_begin(struct aggregate_state *state, const struct store_cell *cell)
{
    size_t begin = state->showed.len;
    if (cell) {
        const struct aggregate_window window = {.key = store_cell_key(cell)};
        CHECK(!aggregate_render(&state->step->aggregate, cell_totals(cell), &window,
                                &state->showed)); /* it was put out before */
    }
    return begin;
}

static void note_keep(struct aggregate_state *state, struct store_cell *cell, size_t begin)
{
    struct note_list *notes = &state->notes;
    if (notes->count == notes->capacity) {
        notes->capacity = notes->capacity ? notes->capacity * 2 : 64;
        notes->items = must_realloc(notes->items, notes->capacity * sizeof *notes->items);
    }
    notes->items[notes->count++] = (struct note){cell, begin, state->showed.len - begin};
}

static struct strview note_text(const struct aggregate_state *state, const struct note *note)
{
    return note->len ? sv_of(state->showed.data + note->begin, note->len)
                     : (struct strview){NULL, 0};
}

/* --- rows and events ----------------------------------------------------------------------------*/

static enum step_verdict none_run(struct aggregate_state *state, struct step_run *run,
                                  struct strview key)
{
    struct store_cell *cell = store_find(state->kept.store, key, 0, 0);
    if (!cell && state->kept.has_disk && aggregate_recall(state, run, key, 0, &cell)) {
        return STEP_FAIL;
    }
    if (cell && cell->is_dirty) {
        return aggregate_put(state, run, key, 0, &cell);
    }
    size_t begin = note_begin(state, cell);
    enum step_verdict verdict = aggregate_put(state, run, key, 0, &cell);
    if (verdict == STEP_REJECT) {
        state->showed.len = begin; /* it did not change */
    } else {
        note_keep(state, cell, begin);
    }
    return verdict;
}

/* The row that was, as JSON with the fields that the step reads; false: it was in no group. */
static bool old_read(struct aggregate_state *state, const struct step_run *run,
                     struct strview *ret_key)
{
    struct json_doc doc;
    if (!state->scanner) {
        state->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
        state->old_slots = must_alloc(FIELDS_MAX * sizeof *state->old_slots);
    }
    if (json_scan(state->scanner, run->in->old, &doc, NULL) ||
        doc.nodes[0].type != JSON_NODE_OBJECT) {
        return false;
    }
    fields_resolve(state->step->fields, &doc, state->old_slots);
    const struct stream_value *by = &state->old_slots[state->step->by];
    if (by->type != JSON_NODE_STRING || buf_reserve(&state->key, by->bytes)) {
        return false;
    }
    *ret_key = stream_value_decode(by, state->key.data);
    state->event.time_ms = run->event_ms;
    return !aggregate_read(&state->step->aggregate, state->old_slots, &state->event, NULL);
}

/* What could be added was, and is taken back; what could not was not. */
enum err aggregate_take_back(struct aggregate_state *state, struct step_run *run)
{
    const struct aggregate *aggregate = &state->step->aggregate;
    struct strview key;
    size_t bytes;
    if (!run->in->old.ptr || !old_read(state, run, &key)) {
        return ERR_OK;
    }
    struct store_cell *cell = store_find(state->kept.store, key, 0, 0);
    enum err e = cell ? ERR_OK : aggregate_recall(state, run, key, 0, &cell);
    if (e || !cell || cell_totals(cell)->count == 0 ||
        aggregate_prepare(aggregate, cell_totals(cell), &state->event, &bytes, NULL)) {
        return e;
    }
    if (!cell->is_dirty) {
        note_keep(state, cell, note_begin(state, cell));
    }
    aggregate_subtract(aggregate, store_edit(state->kept.store, cell), &state->event);
    return ERR_OK;
}

/* --- a commit -----------------------------------------------------------------------------------*/

static enum err none_before_commit(struct aggregate_state *state, const struct step_commit *commit)
{
    const struct aggregate_way way = {&commit->way, commit->info, commit->watermark_ms};
    enum err e = ERR_OK;
    for (size_t i = 0; i < state->notes.count && !e; i++) {
        const struct note *note = &state->notes.items[i];
        const struct aggregate_window window = {.key = store_cell_key(note->cell),
                                                .old = note_text(state, note)};
        e = aggregate_emit(state, &way, RESULT_UPDATE, cell_totals(note->cell), &window,
                           commit->watermark_ms);
        e = e ? e : aggregate_keep(state, commit, note->cell);
    }
    return e;
}

static void none_settle(struct aggregate_state *state)
{
    state->notes.count = 0;
    buf_reset(&state->showed);
}

static bool none_is_due(const struct aggregate_state *state, int64_t watermark_ms)
{
    (void)state;
    (void)watermark_ms;
    return false;
}

static bool none_has_cell(const struct aggregate_step *step, int64_t time_ms, int64_t minor)
{
    (void)step;
    return time_ms == 0 && minor == 0;
}

const struct window_kind window_none = {
    .name = "",
    .changelog = CHANGELOG_PLAIN,
    .run = none_run,
    .before_commit = none_before_commit,
    .committing = none_settle,
    .aborting = none_settle,
    .is_due = none_is_due,
    .can_spill = window_any,
    .has_cell = none_has_cell,
};
