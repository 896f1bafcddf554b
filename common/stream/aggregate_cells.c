/* What every kind of windows does to its cells: add, show, keep, let go. */
#include "stream/aggregate_step.h"

bool aggregate_read_event(struct aggregate_state *state, struct step_run *run, int64_t event_ms)
{
    state->event.time_ms = event_ms;
    run->reason = aggregate_read(&state->step->aggregate, run->slots, &state->event, run->info);
    return !run->reason;
}

struct totals *aggregate_open(struct aggregate_state *state, struct step_run *run,
                              struct store_cell *cell, size_t bytes)
{
    void *value = cell->value;
    if (bytes <= cell->bytes) {
        return store_edit(state->kept.store, cell);
    }
    run->reason = store_grow(state->kept.store, cell, bytes, &value, run->info);
    if (run->reason && cell->is_new && cell->bytes == 0) {
        store_remove(state->kept.store, cell); /* nothing was added to it */
    }
    return run->reason ? NULL : value;
}

bool aggregate_is_replayed(const struct aggregate_state *state, const struct store_cell *cell,
                           const struct step_run *run)
{
    return run->in->origin && run->input < state->step->kept.format.inputs &&
           run->in->origin->offset < cell->next_offsets[run->input];
}

enum step_verdict aggregate_put_to(struct aggregate_state *state, struct step_run *run,
                                   struct strview key, const struct store_cell *place,
                                   struct store_cell **cell)
{
    const struct aggregate_step *step = state->step;
    const struct totals *totals = *cell ? cell_totals(*cell) : state->empty;
    size_t bytes;
    if (!aggregate_read_event(state, run, run->event_ms)) {
        return STEP_REJECT;
    }
    run->reason = aggregate_prepare(&step->aggregate, totals, &state->event, &bytes, run->info);
    if (!run->reason && !*cell) {
        run->reason =
            store_get(state->kept.store, key, place->time_ms, place->minor, cell, run->info);
    }
    struct totals *changed = run->reason ? NULL : aggregate_open(state, run, *cell, bytes);
    if (!changed) {
        return STEP_REJECT;
    }
    aggregate_add(&step->aggregate, changed, &state->event);
    if (step->has_pending) {
        *aggregate_pending(step, changed) = true;
    }
    return STEP_DONE;
}

enum err aggregate_recall(struct aggregate_state *state, struct step_run *run, struct strview key,
                          int64_t time_ms, struct store_cell **ret_cell)
{
    run->reason = store_recall(state->kept.store, key, time_ms, ret_cell, run->info);
    return run->reason;
}

enum step_verdict aggregate_put(struct aggregate_state *state, struct step_run *run,
                                struct strview key, int64_t time_ms, struct store_cell **ret_cell)
{
    const struct aggregate_step *step = state->step;
    const struct store_cell place = {.time_ms = time_ms};
    *ret_cell = store_find(state->kept.store, key, time_ms, 0);
    if (!*ret_cell && state->kept.has_disk && !step->kept.store.goes_whole &&
        aggregate_recall(state, run, key, time_ms, ret_cell)) {
        return STEP_FAIL;
    }
    if (*ret_cell && aggregate_is_replayed(state, *ret_cell, run)) {
        /* The state was written, but perhaps not what was to be put out with it. */
        store_touch(state->kept.store, *ret_cell);
        return STEP_REPLAYED;
    }
    return aggregate_put_to(state, run, key, &place, ret_cell);
}

/* --- results ------------------------------------------------------------------------------------*/

/* The group's key, or as Kafka Streams lays a windowed one out: key | start ms, 8 bytes; of a session
 * key | end ms, 8 | start ms, 8. */
static struct strview result_key(struct aggregate_state *state,
                                 const struct aggregate_window *window)
{
    const struct aggregate_step *step = state->step;
    if (!step->has_windowed_key) {
        return window->key;
    }
    bool is_session = step->window == &window_session;
    buf_reset(&state->key); /* it was bounded when the group was */
    if (is_session) {
        CHECK(!changelog_encode_key(CHANGELOG_SESSION, window->key,
                                    window->end_ms - step->end_more_ms, window->start_ms,
                                    &state->key));
        return buf_view(&state->key);
    }
    /* The changelog's key, less its sequence number. */
    CHECK(!changelog_encode_key(CHANGELOG_WINDOW, window->key, window->start_ms, 0, &state->key));
    return sv_of(state->key.data, window->key.len + sizeof(int64_t));
}

enum err aggregate_emit(struct aggregate_state *state, const struct aggregate_way *way,
                        enum result_kind kind, const struct totals *totals,
                        const struct aggregate_window *window, int64_t due_ms)
{
    static const char *const names[] = {"update", "final", "correction"};
    struct stream_header header = {"millrace-result", sv(names[kind])};
    buf_reset(&state->value);
    enum err e = aggregate_render(&state->step->aggregate, totals, window, &state->value);
    if (e) {
        return err_set(way->info, e, "a result is too long");
    }
    struct step_out out = {.key = result_key(state, window),
                           .partition_bytes = state->step->has_windowed_key ? window->key.len : 0,
                           .value = buf_view(&state->value),
                           .old = window->old,
                           .timestamp_ms = totals->timestamp_max_ms,
                           .watermark_ms = kind == RESULT_FINAL
                                               ? step_due(way->way, due_ms)
                                               : step_now(way->way, way->watermark_ms),
                           .headers = &header,
                           .header_count = 1};
    *(kind == RESULT_FINAL ? &state->finals : &state->updates) += 1;
    return step_forward(way->way, &out);
}

enum err aggregate_retract(struct aggregate_state *state, const struct aggregate_way *way,
                           const struct aggregate_window *window)
{
    if (!state->step->has_windowed_key) {
        return ERR_OK; /* what comes under the group's key takes its place */
    }
    const struct step_out out = {.key = result_key(state, window),
                                 .partition_bytes = window->key.len,
                                 .timestamp_ms = window->end_ms - state->step->end_more_ms,
                                 .watermark_ms = step_now(way->way, way->watermark_ms)};
    return step_forward(way->way, &out);
}

bool aggregate_is_time(const struct aggregate_state *state, const struct step_commit *commit)
{
    const struct aggregate_step *step = state->step;
    int64_t now_ms = step->every_by_clock ? commit->now_ms : commit->watermark_ms;
    int64_t shown_ms = step->every_by_clock ? state->shown_ms : state->closed_ms;
    return step->every_ms > 0 && now_ms != TIME_NONE &&
           (shown_ms == TIME_NONE || now_ms / step->every_ms != shown_ms / step->every_ms);
}

/* --- the changelog ------------------------------------------------------------------------------*/

static enum err emit_record(struct aggregate_state *state, const struct step_commit *commit,
                            const struct store_cell *cell, struct strview value)
{
    const struct window_identity *identity = state->step->window->identity;
    const struct kept_place place = {
        .key = store_cell_key(cell),
        .time_ms = identity ? identity->id(state->step, cell) : cell->time_ms,
        .minor = identity ? 0 : cell->minor,
        .timestamp_ms = cell_totals(cell)->timestamp_max_ms,
    };
    return kept_state_emit(&state->kept, commit, &place, value);
}

enum err aggregate_keep(struct aggregate_state *state, const struct step_commit *commit,
                        struct store_cell *cell)
{
    const struct window_identity *identity = state->step->window->identity;
    struct buf *value = &state->kept.value;
    enum err e = kept_state_head(&state->kept, commit, cell);
    e = e || !identity ? e : identity->put_head(state, cell, value);
    e = e ? e : aggregate_pack(&state->step->aggregate, cell_totals(cell), value);
    e = e ? e : emit_record(state, commit, cell, buf_view(value));
    cell->is_being_stored = !e;
    return e;
}

enum err aggregate_forget(struct aggregate_state *state, const struct step_commit *commit,
                          const struct store_cell *cell)
{
    return cell->is_stored ? emit_record(state, commit, cell, (struct strview){NULL, 0}) : ERR_OK;
}

enum err aggregate_drop(struct aggregate_state *state, const struct step_commit *commit,
                        struct store_cell *cell)
{
    enum err e = aggregate_forget(state, commit, cell);
    if (!e) {
        store_remove(state->kept.store, cell);
    }
    return e;
}
