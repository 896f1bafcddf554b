/* Windows of so many events of a key, whenever they happened.
 *
 * A cell per key and window, by its number; the last one is filled. A full one has its final at the
 * next commit and goes at the one after, as windows of time do (window_slices.c says why). Numbers
 * begin anew when a key has no cell left. */
#include "stream/aggregate_step.h"
#include "stream/builder.h"

static bool is_full(const struct aggregate_step *step, const struct store_cell *cell)
{
    return cell_totals(cell)->count >= step->count;
}

/* The number of the window that is being filled. An event that was counted before is looked for
 * where it was. */
static int64_t window_number(const struct aggregate_state *state, const struct step_run *run,
                             struct strview key)
{
    struct store_range range =
        store_range(store_key_find(state->kept.store, key), 0, EVENT_TIME_MAX_MS);
    int64_t number = 0;
    for (struct store_cell *cell; (cell = store_next(&range));) {
        bool is_replay = aggregate_is_replayed(state, cell, run);
        number = cell->time_ms + (is_full(state->step, cell) && !is_replay);
        if (is_replay) {
            break;
        }
    }
    return number;
}

static enum step_verdict count_run(struct aggregate_state *state, struct step_run *run,
                                   struct strview key)
{
    struct store_cell *cell;
    run->reason = store_recall_key(state->kept.store, key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    return aggregate_put(state, run, key, window_number(state, run, key), &cell);
}

static enum err count_emit(struct aggregate_state *state, const struct step_commit *commit,
                           struct store_cell *cell)
{
    const struct aggregate_step *step = state->step;
    const struct aggregate_way way = {&commit->way, commit->info, commit->watermark_ms};
    const struct totals *totals = cell_totals(cell);
    bool is_final = is_full(step, cell) && step->emits_finals;
    const struct aggregate_window window = {.key = store_cell_key(cell),
                                            .start_ms = totals->timestamp_max_ms,
                                            .end_ms = totals->timestamp_max_ms};
    state->closed += is_full(step, cell);
    if (!is_final && !step->emits_updates) {
        return ERR_OK;
    }
    return aggregate_emit(state, &way, is_final ? RESULT_FINAL : RESULT_UPDATE, totals, &window,
                          commit->watermark_ms);
}

static enum err count_before_commit(struct aggregate_state *state, const struct step_commit *commit)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < state->full.count && !e; i++) {
        struct store_cell *cell = state->full.items[i];
        if (!cell->is_dirty) { /* else it was replayed: its final is repeated */
            e = aggregate_drop(state, commit, cell);
        }
    }
    for (size_t i = 0; i < store_dirty_count(state->kept.store) && !e; i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (!cell->is_removed) {
            e = count_emit(state, commit, cell);
            e = e ? e : aggregate_keep(state, commit, cell);
        }
    }
    return e;
}

static void count_committing(struct aggregate_state *state)
{
    state->full.count = 0; /* what was in it is about to go, or changed and is found again */
    for (size_t i = 0; i < store_dirty_count(state->kept.store); i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (!cell->is_removed && is_full(state->step, cell)) {
            aggregate_list(&state->full, cell);
        }
    }
}

static void count_unloading(struct aggregate_state *state, struct store_cell *cell)
{
    aggregate_unlist(&state->full, cell);
}

static void count_restored(struct aggregate_state *state, struct store_cell *cell)
{
    count_unloading(state, cell); /* an older record of it may have come */
    if (is_full(state->step, cell)) {
        aggregate_list(&state->full, cell);
    }
}

static bool count_is_due(const struct aggregate_state *state, int64_t watermark_ms)
{
    (void)watermark_ms;
    return state->full.count > 0;
}

static bool count_has_cell(const struct aggregate_step *step, int64_t number, int64_t minor)
{
    (void)step;
    return number <= EVENT_TIME_MAX_MS && minor == 0;
}

#define COUNT_MAX 1000000000

static void count_compile(struct program_builder *builder, const struct spec *window,
                          struct aggregate_step *step)
{
    (void)builder;
    step->count = spec_get_count(window, "count", -1, COUNT_MAX);
}

static const char *const COUNT_MEMBERS[] = {"count", NULL};

const struct window_kind window_count = {
    .name = "count",
    .members = COUNT_MEMBERS,
    .changelog = CHANGELOG_WINDOW,
    .compile = count_compile,
    .has_finals = true,
    .run = count_run,
    .before_commit = count_before_commit,
    .committing = count_committing,
    .is_due = count_is_due,
    .can_spill = window_any,
    .goes_whole = window_any,
    .has_cell = count_has_cell,
    .restored = count_restored,
    .unloading = count_unloading,
};
