/* Sessions: events of a key with no more than `gap` between one and the next.
 *
 *     events    ·  ··   ·            ··
 *     sessions  [───────]            []        [first event, last event], both ends belonging to it
 *                       ├── gap ──┤
 *
 *     due(s) = last event + gap + 1 + grace:   closes(s)  ⇔  due(s) <= watermark
 *
 * So an event as far from the last one as the gap still belongs to it, as in Kafka Streams and Flink,
 * also if it is the one that brings event time there. An event belongs to the open sessions that it
 * is near: they become one. A session that has closed takes nothing more up, whether or not its final
 * was put out; an event that is near no open session is late when one of it alone would have closed.
 * So results do not depend on when commits are. Open sessions of a key are more than the gap apart:
 * an event is near two at most.
 *
 * A cell stands at its session's end, its minor is the start: both change as events come. The
 * changelog knows it by the time of its first event to be processed, which does not, so that a session
 * that goes on is one record a commit. When two become one, the record of what they became says which
 * it took up, before that one's tombstone: whatever a crash cuts off, no event is there twice, or not
 * at all. What was taken up and has no tombstone yet gets it at the first commit. And what an aborted
 * cycle wrote, which may be there at least once, is written anew by the next one first: else a session
 * of it, and one that it had taken up, could be there beside each other. Finals and tombstones come
 * in two commits, as with other windows (window_slices.c). */
#include "stream/aggregate_step.h"
#include "stream/builder.h"

/* What a state has of its own. */
struct session {
    int64_t id;       /* in the changelog */
    int64_t start_ms; /* TAKEN_UP: it is in another, and only its record is left of it */
    /* The same without events that would have been late alone: from here on it overlaps no session
     * that closed before it. */
    int64_t timely_start_ms;
    int64_t unused;
};

#define TAKEN_UP        (-1)
#define WINDOW_KEY_TAIL 12 /* of a changelog record's key, behind the group's */

static struct session *session_of(const struct aggregate_step *step, void *totals)
{
    return (struct session *)(void *)((unsigned char *)totals + step->own_at);
}

static bool is_taken_up(const struct aggregate_step *step, const struct store_cell *cell)
{
    return session_of(step, cell->value)->start_ms == TAKEN_UP;
}

static int64_t due_ms(const struct aggregate_step *step, int64_t last_ms)
{
    return last_ms + step->size_ms + 1 + step->grace_ms;
}

static int64_t session_id(const struct aggregate_step *step, const struct store_cell *cell)
{
    return session_of(step, cell->value)->id;
}

static struct store_cell *session_find(const struct aggregate_state *state, struct strview key,
                                       int64_t id)
{
    struct store_range range =
        store_range(store_key_find(state->kept.store, key), 0, EVENT_TIME_MAX_MS);
    struct store_cell *cell = store_next(&range);
    while (cell && session_id(state->step, cell) != id) {
        cell = store_next(&range);
    }
    return cell;
}

/* --- one event ----------------------------------------------------------------------------------*/

#define NEAR_MAX 2

/* Alone it would have closed. */
static bool is_overdue(const struct aggregate_step *step, const struct step_run *run)
{
    return due_ms(step, run->event_ms) <= run->watermark_ms;
}

/* Whether the session, which holds the event's offset, holds the event. Of an overdue one that is not
 * certain: it may have been late, before the session was near it. */
static bool is_within(const struct aggregate_step *step, const struct step_run *run,
                      const struct store_cell *cell)
{
    int64_t start_ms =
        is_overdue(step, run) ? cell->minor : session_of(step, cell->value)->timely_start_ms;
    return start_ms <= run->event_ms && run->event_ms <= cell->time_ms;
}

/* Open sessions that the event is near. *ret_replayed: one that holds it already. When events come
 * again, what is written of later ones may be there: a session that holds an event's offset, but not
 * the event, is not yet near it. */
static size_t find_near(const struct aggregate_state *state, const struct step_run *run,
                        struct strview key, struct store_cell *near[NEAR_MAX],
                        struct store_cell **ret_replayed)
{
    const struct aggregate_step *step = state->step;
    struct store_range range = store_range(store_key_find(state->kept.store, key),
                                           run->event_ms - step->size_ms, EVENT_TIME_MAX_MS);
    size_t count = 0;
    *ret_replayed = NULL;
    for (struct store_cell *cell; (cell = store_next(&range));) {
        if (due_ms(step, cell->time_ms) <= run->watermark_ms || is_taken_up(step, cell)) {
            continue; /* it closed */
        }
        if (cell->minor > run->event_ms + step->size_ms) {
            break; /* as do all behind it: open ones are in order of their starts, too */
        }
        if (!aggregate_is_replayed(state, cell, run)) {
            near[count < NEAR_MAX ? count : 0] = cell;
            count++;
        } else if (is_within(step, run, cell)) {
            *ret_replayed = cell;
        }
    }
    return count;
}

/* The session has taken up what begins and ends there. */
static void session_reach(struct aggregate_state *state, struct store_cell *cell,
                          const struct session *other, int64_t last_ms)
{
    struct session *session = session_of(state->step, cell->value);
    if (other->start_ms < session->start_ms) {
        session->start_ms = other->start_ms;
    }
    if (other->timely_start_ms < session->timely_start_ms) {
        session->timely_start_ms = other->timely_start_ms;
    }
    store_move(state->kept.store, cell, last_ms > cell->time_ms ? last_ms : cell->time_ms,
               session->start_ms);
}

/* One of the event alone. */
static struct session session_alone(const struct aggregate_step *step, const struct step_run *run)
{
    return (struct session){.id = run->event_ms,
                            .start_ms = run->event_ms,
                            .timely_start_ms = is_overdue(step, run) ? INT64_MAX : run->event_ms};
}

static enum step_verdict run_new(struct aggregate_state *state, struct step_run *run,
                                 struct strview key)
{
    const struct store_cell place = {.time_ms = run->event_ms, .minor = run->event_ms};
    struct store_cell *cell = NULL;
    enum step_verdict verdict = aggregate_put_to(state, run, key, &place, &cell);
    if (verdict == STEP_DONE) {
        *session_of(state->step, cell->value) = session_alone(state->step, run);
    }
    return verdict;
}

static enum step_verdict run_one(struct aggregate_state *state, struct step_run *run,
                                 struct strview key, struct store_cell *cell)
{
    enum step_verdict verdict = aggregate_put_to(state, run, key, cell, &cell);
    if (verdict == STEP_DONE) {
        const struct session alone = session_alone(state->step, run);
        session_reach(state, cell, &alone, run->event_ms);
    }
    return verdict;
}

/* Both and the event as one state, in state->merged. False: they have no room in one. */
static bool merge(struct aggregate_state *state, struct step_run *run, const struct totals *first,
                  const struct totals *second)
{
    const struct aggregate *aggregate = &state->step->aggregate;
    struct buf *merged = &state->merged;
    size_t bytes;
    buf_reset(merged);
    CHECK(!buf_append(merged, first, aggregate_bytes(aggregate, first))); /* it has no bound */
    run->reason = aggregate_prepare_merge(aggregate, (struct totals *)(void *)merged->data, second,
                                          &bytes, run->info);
    if (run->reason) {
        return false;
    }
    CHECK(bytes < merged->len || !buf_reserve(merged, bytes - merged->len));
    aggregate_merge(aggregate, (struct totals *)(void *)merged->data, second);
    merged->len = aggregate_bytes(aggregate, (struct totals *)(void *)merged->data);
    run->reason = aggregate_prepare(aggregate, (struct totals *)(void *)merged->data, &state->event,
                                    &bytes, run->info);
    if (run->reason) {
        return false;
    }
    CHECK(bytes < merged->len || !buf_reserve(merged, bytes - merged->len));
    aggregate_add(aggregate, (struct totals *)(void *)merged->data, &state->event);
    merged->len = aggregate_bytes(aggregate, (struct totals *)(void *)merged->data);
    return true;
}

/* The event closes the gap between two. It is refused as a whole, or all becomes one. */
static enum step_verdict run_bridge(struct aggregate_state *state, struct step_run *run,
                                    struct store_cell *first, struct store_cell *second)
{
    const struct aggregate_step *step = state->step;
    if (!aggregate_read_event(state, run, run->event_ms) ||
        !merge(state, run, first->value, second->value)) {
        return STEP_REJECT;
    }
    /* The one that the changelog has goes on. */
    struct store_cell *cell = second->is_stored && !first->is_stored ? second : first;
    struct store_cell *other = cell == first ? second : first;
    const struct session own = *session_of(step, cell->value),
                         taken = *session_of(step, other->value), alone = session_alone(step, run);
    struct totals *totals = aggregate_open(state, run, cell, state->merged.len);
    if (!totals) {
        return STEP_REJECT;
    }
    memcpy(totals, state->merged.data, state->merged.len);
    *session_of(step, totals) = own;
    if (step->has_pending) {
        *aggregate_pending(step, totals) = true;
    }
    store_remove(state->kept.store, other);
    session_reach(state, cell, &taken, other->time_ms);
    session_reach(state, cell, &alone, run->event_ms);
    return STEP_DONE;
}

static enum step_verdict session_run(struct aggregate_state *state, struct step_run *run,
                                     struct strview key)
{
    const struct aggregate_step *step = state->step;
    struct store_cell *near[NEAR_MAX], *replayed;
    run->reason = store_recall_key(state->kept.store, key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    size_t count = find_near(state, run, key, near, &replayed);
    if (replayed && count == 0) {
        store_touch(state->kept.store, replayed);
        return STEP_REPLAYED;
    }
    if (count > NEAR_MAX) {
        return step_reject(run, ERR_STATE, "sessions of the changelog overlap");
    }
    if (count == NEAR_MAX) {
        return run_bridge(state, run, near[0], near[1]);
    }
    if (count == 1) {
        return run_one(state, run, key, near[0]);
    }
    if (is_overdue(step, run)) {
        run->late = (struct step_late){.window_start_ms = run->event_ms,
                                       .window_end_ms = run->event_ms + step->size_ms,
                                       .closed_ms = due_ms(step, run->event_ms)};
        return STEP_LATE;
    }
    return run_new(state, run, key);
}

/* --- a commit -----------------------------------------------------------------------------------*/

static struct aggregate_window window_of(const struct aggregate_step *step,
                                         const struct store_cell *cell, int64_t start_ms,
                                         int64_t last_ms)
{
    return (struct aggregate_window){
        .key = store_cell_key(cell), .start_ms = start_ms, .end_ms = last_ms + step->end_more_ms};
}

static enum err session_emit(struct aggregate_state *state, const struct aggregate_way *way,
                             enum result_kind kind, struct store_cell *cell)
{
    const struct aggregate_window window = window_of(state->step, cell, cell->minor, cell->time_ms);
    return aggregate_emit(state, way, kind, cell_totals(cell), &window,
                          due_ms(state->step, cell->time_ms));
}

/* Sessions that were shown at an earlier commit and are not where they were. */
static enum err retract_moved(struct aggregate_state *state, const struct aggregate_way *way)
{
    const struct aggregate_step *step = state->step;
    enum err e = ERR_OK;
    if (!step->emits_updates && step->every_ms == 0) {
        return ERR_OK; /* finals do not move */
    }
    for (size_t i = 0; i < store_move_count(state->kept.store) && !e; i++) {
        const struct store_move *move = store_move_at(state->kept.store, i);
        const struct aggregate_window window =
            window_of(step, move->cell, move->minor, move->time_ms);
        e = aggregate_retract(state, way, &window);
    }
    for (size_t i = 0; i < store_dirty_count(state->kept.store) && !e; i++) {
        const struct store_cell *cell = store_dirty(state->kept.store, i);
        if (cell->is_removed && !cell->is_moved && !cell->is_new) {
            const struct aggregate_window window =
                window_of(step, cell, cell->minor, cell->time_ms);
            e = aggregate_retract(state, way, &window);
        }
    }
    return e;
}

struct closing {
    struct aggregate_state *state;
    const struct aggregate_way *way;
    const struct step_commit *commit;
};

static enum err close_session(void *context, struct store_cell *cell)
{
    const struct closing *closing = context;
    struct aggregate_state *state = closing->state;
    const struct aggregate_step *step = state->step;
    bool was_closed = due_ms(step, cell->time_ms) <= state->closed_ms;
    enum err e = ERR_OK;
    if (!was_closed) {
        bool is_shown = step->emits_finals || (step->emits_updates && cell->is_dirty);
        e = is_shown ? session_emit(state, closing->way,
                                    step->emits_finals ? RESULT_FINAL : RESULT_UPDATE, cell)
                     : ERR_OK;
        state->closed++;
    }
    if (e || (!was_closed && !step->goes_by_clock)) {
        return e;
    }
    if (cell->is_away) {
        return aggregate_forget(state, closing->commit, cell);
    }
    store_remove(state->kept.store, cell);
    return ERR_OK;
}

/* End of the last session that is due by then. */
static int64_t due_last_ms(const struct aggregate_step *step, int64_t watermark_ms)
{
    return watermark_ms - step->size_ms - 1 - step->grace_ms;
}

/* In order of their ends, then of the keys' bytes: what closed before goes, what closes now is put
 * out. By the clock, which does not travel with the offsets, both are one. */
static enum err close_due(struct aggregate_state *state, const struct step_commit *commit,
                          const struct aggregate_way *way)
{
    const struct aggregate_step *step = state->step;
    struct closing closing = {state, way, commit};
    const struct store_visitor visitor = {close_session, &closing};
    int64_t gone_ms = step->goes_by_clock ? way->watermark_ms : state->closed_ms;
    if (way->watermark_ms == TIME_NONE) {
        return ERR_OK;
    }
    enum err e = store_visit(state->kept.store, 0, due_last_ms(step, way->watermark_ms), &visitor,
                             way->info);
    if (state->kept.has_disk && gone_ms != TIME_NONE) {
        store_remove_away(state->kept.store, due_last_ms(step, gone_ms));
    }
    return e;
}

static bool is_open(const struct aggregate_step *step, const struct store_cell *cell,
                    int64_t watermark_ms)
{
    return !cell->is_removed && due_ms(step, cell->time_ms) > watermark_ms;
}

/* Restored, but taken up by another. */
static void remove_taken_up(struct aggregate_state *state)
{
    for (size_t i = 0; i < state->full.count; i++) {
        store_remove(state->kept.store, state->full.items[i]);
    }
}

static enum err show_updates(struct aggregate_state *state, const struct aggregate_way *way)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < store_dirty_count(state->kept.store) && !e; i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (is_open(state->step, cell, way->watermark_ms)) {
            e = session_emit(state, way, RESULT_UPDATE, cell);
        }
    }
    return e;
}

/* What changed since the last time that it was shown. */
static enum err show_pending(struct aggregate_state *state, const struct aggregate_way *way)
{
    size_t count;
    struct store_cell *const *cells =
        store_between(state->kept.store, 0, EVENT_TIME_MAX_MS, &count);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && !e; i++) {
        if (*aggregate_pending(state->step, cells[i]->value) &&
            is_open(state->step, cells[i], way->watermark_ms)) {
            e = session_emit(state, way, RESULT_UPDATE, cells[i]);
            *aggregate_pending(state->step, store_edit(state->kept.store, cells[i])) = false;
        }
    }
    return e;
}

/* The ids of stored sessions that the cell took up in this cycle, appended to out (NULL: only
 * counted). */
static enum err put_taken_up(const struct aggregate_state *state, const struct store_cell *cell,
                             struct buf *out, uint64_t *ret_count)
{
    struct store_range range = store_range(cell->key, cell->minor, cell->time_ms);
    enum err e = ERR_OK;
    *ret_count = 0;
    for (const struct store_cell *other; !e && (other = store_next_any(&range));) {
        bool is_gone = other->is_removed && other->is_stored && other->minor >= cell->minor &&
                       !is_taken_up(state->step, other);
        if (is_gone && due_ms(state->step, other->time_ms) > state->closed_ms) {
            int64_t id = session_of(state->step, other->value)->id;
            *ret_count += 1;
            e = out ? buf_append(out, &id, sizeof id) : ERR_OK;
        }
    }
    return e;
}

/* Number of the ids, then the ids. */
static enum err session_put_head(const struct aggregate_state *state, const struct store_cell *cell,
                                 struct buf *out)
{
    size_t at = out->len;
    uint64_t count = 0;
    enum err e = buf_append(out, &count, sizeof count);
    e = e ? e : put_taken_up(state, cell, out, &count);
    if (!e) {
        memcpy(out->data + at, &count, sizeof count);
    }
    return e;
}

/* The state of one that closed is about to go: it stays as it was stored, unless others that are
 * stored are in it. */
static bool is_to_be_kept(const struct aggregate_state *state, const struct store_cell *cell,
                          int64_t watermark_ms)
{
    uint64_t count = 0;
    return is_open(state->step, cell, watermark_ms) ||
           (!cell->is_removed && !put_taken_up(state, cell, NULL, &count) && count > 0);
}

/* The key of its record, with the length before it. */
static void void_session(struct aggregate_state *state, const struct store_cell *cell)
{
    struct strview key = store_cell_key(cell);
    uint64_t len = key.len;
    CHECK(!buf_append(&state->voided, &len, sizeof len)); /* it has no bound of its own */
    CHECK(!changelog_encode_key(CHANGELOG_WINDOW, key, session_of(state->step, cell->value)->id, 0,
                                &state->voided));
}

/* Before the store forgets what the cycle did. */
static void session_aborting(struct aggregate_state *state)
{
    for (size_t i = 0; i < store_dirty_count(state->kept.store); i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        if (cell->is_new && cell->is_being_stored) {
            void_session(state, cell);
        } else if (!cell->is_new &&
                   (cell->is_being_stored || (cell->is_removed && cell->is_stored))) {
            aggregate_list(&state->redo, cell);
        }
    }
}

static enum err redo(struct aggregate_state *state, const struct step_commit *commit,
                     struct store_cell *cell)
{
    store_touch(state->kept.store, cell);
    return cell->is_being_stored ? ERR_OK : aggregate_keep(state, commit, cell);
}

/* Records of sessions that were new in an aborted cycle: of what is there again, or of nothing. */
static enum err redo_voided(struct aggregate_state *state, const struct step_commit *commit)
{
    enum err e = ERR_OK;
    uint64_t len;
    for (size_t at = 0; at < state->voided.len && !e;) {
        struct strview key;
        int64_t id, minor;
        memcpy(&len, state->voided.data + at, sizeof len);
        struct strview record_key =
            sv_of(state->voided.data + at + sizeof len, len + WINDOW_KEY_TAIL);
        CHECK(!changelog_decode_key(CHANGELOG_WINDOW, record_key, &key, &id, &minor));
        e = store_recall_key(state->kept.store, key, commit->info);
        struct store_cell *cell = e ? NULL : session_find(state, key, id);
        const struct kept_place place = {key, id, minor, id};
        e = e      ? e
            : cell ? redo(state, commit, cell)
                   : kept_state_emit(&state->kept, commit, &place, (struct strview){NULL, 0});
        at += sizeof len + record_key.len;
    }
    return e;
}

static enum err redo_aborted(struct aggregate_state *state, const struct step_commit *commit)
{
    enum err e = redo_voided(state, commit);
    for (size_t i = 0; i < state->redo.count && !e; i++) {
        struct store_cell *cell = state->redo.items[i];
        e = cell->is_removed ? ERR_OK : redo(state, commit, cell);
    }
    return e;
}

static enum err keep_changed(struct aggregate_state *state, const struct step_commit *commit)
{
    enum err e = redo_aborted(state, commit);
    for (size_t i = 0; i < store_dirty_count(state->kept.store) && !e; i++) {
        struct store_cell *cell = store_dirty(state->kept.store, i);
        bool is_kept = !cell->is_being_stored && is_to_be_kept(state, cell, commit->watermark_ms);
        e = is_kept ? aggregate_keep(state, commit, cell) : ERR_OK;
    }
    for (size_t i = 0; i < store_dirty_count(state->kept.store) && !e; i++) {
        const struct store_cell *cell = store_dirty(state->kept.store, i);
        e = cell->is_removed ? aggregate_forget(state, commit, cell) : ERR_OK;
    }
    return e;
}

static enum err session_before_commit(struct aggregate_state *state,
                                      const struct step_commit *commit)
{
    const struct aggregate_way way = {&commit->way, commit->info, commit->watermark_ms};
    remove_taken_up(state);
    enum err e = retract_moved(state, &way);
    e = e ? e : close_due(state, commit, &way);
    if (!e && state->step->emits_updates) {
        e = show_updates(state, &way);
    } else if (!e && aggregate_is_time(state, commit)) {
        e = show_pending(state, &way);
    }
    if (commit->watermark_ms > state->closing_ms) {
        state->closing_ms = commit->watermark_ms;
    }
    return e ? e : keep_changed(state, commit);
}

static void session_committing(struct aggregate_state *state)
{
    for (size_t i = 0; i < state->redo.count; i++) {
        state->redo.items[i]->is_held = false;
    }
    state->full.count = state->redo.count = 0;
    buf_reset(&state->voided);
}

static bool session_is_due(const struct aggregate_state *state, int64_t watermark_ms)
{
    int64_t first_ms = store_first_ms(state->kept.store);
    return state->full.count > 0 ||
           (first_ms < INT64_MAX && due_ms(state->step, first_ms) <= watermark_ms);
}

/* --- the changelog ------------------------------------------------------------------------------*/

static bool session_place(const struct aggregate_step *step, struct totals *totals, int64_t id,
                          struct store_cell *ret)
{
    const struct session *session = session_of(step, totals);
    ret->time_ms = totals->timestamp_max_ms;
    ret->minor = session->start_ms;
    return session->id == id && session->start_ms >= 0 && session->start_ms <= id &&
           session->timely_start_ms >= session->start_ms && session->timely_start_ms <= id &&
           totals->timestamp_max_ms >= id && totals->timestamp_max_ms <= EVENT_TIME_MAX_MS;
}

static void session_unloading(struct aggregate_state *state, struct store_cell *cell)
{
    aggregate_unlist(&state->full, cell);
}

static void take_up(struct aggregate_state *state, struct store_cell *cell)
{
    if (!is_taken_up(state->step, cell)) {
        session_of(state->step, cell->value)->start_ms = TAKEN_UP;
        aggregate_list(&state->full, cell);
    }
}

/* What it took up is gone, whether or not the tombstones came. */
static bool session_take_head(struct aggregate_state *state, struct strview key,
                              struct strview *bytes)
{
    uint64_t count;
    int64_t id;
    if (bytes->len < sizeof count) {
        return false;
    }
    memcpy(&count, bytes->ptr, sizeof count);
    if (count > bytes->len / sizeof id - 1) {
        return false;
    }
    for (uint64_t i = 1; i <= count; i++) {
        memcpy(&id, bytes->ptr + i * sizeof id, sizeof id);
        struct store_cell *cell = session_find(state, key, id);
        if (cell) {
            take_up(state, cell);
        }
    }
    size_t head = (size_t)(count + 1) * sizeof id;
    *bytes = sv_of(bytes->ptr + head, bytes->len - head);
    return true;
}

/* What changed is not noted in their cells. */
static bool session_can_spill(const struct aggregate_step *step)
{
    return !step->has_pending;
}

static bool session_has_cell(const struct aggregate_step *step, int64_t id, int64_t minor)
{
    (void)step;
    return id <= EVENT_TIME_MAX_MS && minor == 0;
}

/* --- compiling ----------------------------------------------------------------------------------*/

static void session_compile(struct program_builder *builder, const struct spec *window,
                            struct aggregate_step *step)
{
    static const char *const ends[] = {"last", "gap", NULL};
    struct spec gap = spec_member(window, "session");
    step->size_ms = spec_get_duration(window, "session", -1);
    if (step->size_ms == 0 && json_is_string(gap.value)) {
        spec_error(&gap, ERR_CONFIG, "a session's gap must be longer than 0");
    }
    if (builder->overrides.window_size_ms > 0) {
        step->size_ms = builder->overrides.window_size_ms;
    }
    step->advance_ms = step->slice_ms = step->size_ms;
    step->bucket_ms = step->size_ms / 64 + 1; /* a commit looks at those near the border */
    step->is_moving = true;
    step->end_more_ms = spec_get_choice(window, "end", ends, 0) == 1 ? step->size_ms : 0;
}

static const struct window_identity SESSION_IDENTITY = {
    .id = session_id,
    .find = session_find,
    .place = session_place,
    .put_head = session_put_head,
    .take_head = session_take_head,
};

static const char *const SESSION_MEMBERS[] = {"session", "end", "grace", "time", NULL};

const struct window_kind window_session = {
    .name = "session",
    .members = SESSION_MEMBERS,
    .changelog = CHANGELOG_WINDOW,
    .compile = session_compile,
    .is_timed = true,
    .has_finals = true,
    .own_bytes = sizeof(struct session),
    .identity = &SESSION_IDENTITY,
    .run = session_run,
    .before_commit = session_before_commit,
    .committing = session_committing,
    .aborting = session_aborting,
    .is_due = session_is_due,
    .can_spill = session_can_spill,
    .goes_whole = window_any,
    .has_cell = session_has_cell,
    .unloading = session_unloading,
};
