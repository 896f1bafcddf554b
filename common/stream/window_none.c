/* No window: a group's result goes on for ever, as a table of which each change is put out. */
#include "stream/aggregate_step.h"

static enum step_verdict none_run(struct aggregate_state *state, struct step_run *run,
                                  struct strview key)
{
    struct store_cell *cell;
    return aggregate_put(state, run, key, 0, &cell);
}

static enum err none_emit(struct aggregate_state *state, const struct step_commit *commit,
                          struct store_cell *cell)
{
    const struct aggregate_way way = {&commit->way, commit->info, commit->watermark_ms};
    const struct aggregate_window window = {.key = store_cell_key(cell)};
    return aggregate_emit(state, &way, RESULT_UPDATE, cell_totals(cell), &window,
                          commit->watermark_ms);
}

static enum err none_before_commit(struct aggregate_state *state, const struct step_commit *commit)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < store_dirty_count(state->store) && !e; i++) {
        struct store_cell *cell = store_dirty(state->store, i);
        e = none_emit(state, commit, cell);
        e = e ? e : aggregate_keep(state, commit, cell);
    }
    return e;
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
    .is_due = none_is_due,
    .has_cell = none_has_cell,
};
