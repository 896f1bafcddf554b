/* join with another stream: docs/semantics.md, "Joins of streams".
 *
 *     record ──► late? ──yes──► STEP_LATE           late: time + grace < watermark
 *                  │no
 *                  ▼
 *     partners of its key, in order of time ──► a result each, at once
 *                  │
 *                  ▼
 *     its half is kept until a partner would be late: time + ahead + grace < watermark
 *
 * At a commit what has met no partner comes out, if its side is outer, in the order in which it was
 * given up, and goes with the commit after that: at least once, records that come again find what
 * they found the first time. Such a record knows its own cell by the offset and is not kept twice;
 * its results come again. */
#include <stdlib.h>

#include "stream/stream_join.h"

#define HALF_BYTES_MAX   STREAM_JOIN_HALF_BYTES_MAX
#define RESULT_BYTES_MAX (2 * HALF_BYTES_MAX + 4096)

struct join_state {
    struct kept_state kept;
    const struct stream_join *join;
    struct buf half, result;
};

/* --- halves and results -------------------------------------------------------------------------*/

static struct strview half_of(const struct store_cell *cell)
{
    return sv_of((const char *)cell->value + sizeof(struct stream_join_kept),
                 cell->bytes - sizeof(struct stream_join_kept));
}

/* The left event without its closing brace, for members to be put behind. */
static enum err half_open(const struct stream_join *join, const struct step_run *run,
                          struct buf *half)
{
    enum err e = json_splice(run->doc, 0, join->set_names, (struct strview){"", 0}, half);
    half->len -= !e;
    return e;
}

/* `,"method":"card","paid":20`: members that the right event has. */
static enum err half_members(const struct stream_join *join, const struct step_run *run,
                             struct buf *half)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < join->set_count; i++) {
        const struct stream_value *value = &run->slots[join->set[i].slot];
        if (value->type != STREAM_VALUE_MISSING) {
            e = buf_append_view(half, join->set[i].prefix);
            e = e ? e : buf_append(half, value->raw, value->bytes);
        }
    }
    return e;
}

static enum err half_make(const struct stream_join *join, enum join_side side,
                          const struct step_run *run, struct buf *half)
{
    buf_reset(half);
    if (join->is_nested) {
        const struct json_node *root = &run->doc->nodes[0];
        return buf_append(half, run->doc->text + root->at, root->bytes);
    }
    return side == JOIN_LEFT ? half_open(join, run, half) : half_members(join, run, half);
}

/* Whether the object, so far, has no members: then no comma may follow. */
static bool is_empty_object(const struct buf *text)
{
    size_t at = text->len;
    while (at > 0 && strchr(" \t\r\n", text->data[at - 1])) {
        at--;
    }
    return at > 0 && text->data[at - 1] == '{';
}

static enum err result_make(struct join_state *state, struct strview left, struct strview right)
{
    const struct stream_join *join = state->join;
    struct buf *result = &state->result;
    buf_reset(result);
    enum err e = buf_append_view(result, join->opening);
    e = e ? e : buf_append_view(result, left);
    e = e ? e : buf_append_view(result, join->middle);
    if (!e && !join->is_nested && right.len > 0 && is_empty_object(result)) {
        right = sv_of(right.ptr + 1, right.len - 1);
    }
    e = e ? e : buf_append_view(result, right);
    return e ? e : buf_append(result, "}", 1);
}

/* `own` is the side that this half is of; the other one's may be nothing. */
static enum err forward(struct join_state *state, const struct step_way *way, struct step_out *out,
                        enum join_side own, struct strview half, struct strview other)
{
    enum err e =
        own == JOIN_LEFT ? result_make(state, half, other) : result_make(state, other, half);
    CHECK(!e); /* halves are bounded when they are made */
    out->value = buf_view(&state->result);
    return step_forward(way, out);
}

/* --- one record ---------------------------------------------------------------------------------*/

static enum step_verdict run_late(const struct stream_join *join, enum join_side side,
                                  struct step_run *run)
{
    run->late = (struct step_late){.window_start_ms = run->event_ms - join->sides[side].back_ms,
                                   .window_end_ms = run->event_ms + join->sides[side].ahead_ms,
                                   .closed_ms = run->event_ms + join->grace_ms};
    return STEP_LATE;
}

static struct step_out out_of(const struct step_run *run, struct strview key, int64_t timestamp_ms)
{
    return (struct step_out){.key = key,
                             .timestamp_ms = timestamp_ms,
                             .watermark_ms = run->in->watermark_ms,
                             .origin = run->in->origin};
}

/* What can have no partner, or has none yet, on an outer side. */
static enum step_verdict run_alone(struct join_state *state, enum join_side side,
                                   struct step_run *run, struct strview key)
{
    struct step_out out = out_of(run, key, run->event_ms);
    run->reason =
        forward(state, &run->way, &out, side, buf_view(&state->half), state->join->nothing);
    return run->reason ? STEP_FAIL : STEP_DONE;
}

/* A key with a part that is missing or null meets nobody. */
static bool has_no_key(const struct step_key *on, const struct step_run *run)
{
    for (size_t i = 0; i < on->count; i++) {
        uint8_t type = run->slots[on->fields[i].slot].type;
        if (type == STREAM_VALUE_MISSING || type == JSON_NODE_NULL) {
            return true;
        }
    }
    return false;
}

/* The record's own cell, from when it came the first time; NULL: it did not. */
static struct store_cell *find_own(const struct join_state *state, enum join_side side,
                                   const struct step_run *run, struct strview key)
{
    const struct store *store = state->kept.stores[side];
    struct store_range range =
        store_range(store_key_find(store, key), run->event_ms, run->event_ms);
    for (struct store_cell *cell; (cell = store_next(&range));) {
        const struct stream_join_kept *kept = cell->value;
        if (run->in->origin && !cell->is_new && kept->offset == run->in->origin->offset &&
            kept->input == run->input) {
            return cell;
        }
    }
    return NULL;
}

/* A result with each partner; *ret_matched: whether there was one. */
static enum err run_pairs(struct join_state *state, enum join_side side, struct step_run *run,
                          struct strview key, bool *ret_matched)
{
    const struct stream_join_side *own = &state->join->sides[side];
    enum join_side other = side == JOIN_LEFT ? JOIN_RIGHT : JOIN_LEFT;
    struct store *store = state->kept.stores[other];
    struct store_range range = store_range(store_key_find(store, key), run->event_ms - own->back_ms,
                                           run->event_ms + own->ahead_ms);
    enum err e = ERR_OK;
    for (struct store_cell *cell; !e && (cell = store_next(&range));) {
        int64_t later_ms = cell->time_ms > run->event_ms ? cell->time_ms : run->event_ms;
        struct step_out out = out_of(run, key, later_ms);
        e = forward(state, &run->way, &out, side, buf_view(&state->half), half_of(cell));
        if (state->join->sides[other].is_outer &&
            !((const struct stream_join_kept *)cell->value)->is_matched) {
            ((struct stream_join_kept *)store_edit(store, cell))->is_matched = 1;
        }
        *ret_matched = true;
    }
    return e;
}

static enum err run_keep(struct join_state *state, enum join_side side, struct step_run *run,
                         struct strview key, bool is_matched)
{
    struct store *store = state->kept.stores[side];
    struct store_cell *cell;
    void *value;
    enum err e = store_add(store, key, run->event_ms, &cell, run->info);
    e = e ? e
          : store_grow(store, cell, sizeof(struct stream_join_kept) + state->half.len, &value,
                       run->info);
    if (e) {
        return e;
    }
    *(struct stream_join_kept *)value =
        (struct stream_join_kept){.offset = run->in->origin ? run->in->origin->offset : -1,
                                  .input = run->input,
                                  .is_matched = is_matched};
    if (state->half.len > 0) {
        memcpy((char *)value + sizeof(struct stream_join_kept), state->half.data, state->half.len);
    }
    return ERR_OK;
}

static enum step_verdict run_meet(struct join_state *state, enum join_side side,
                                  struct step_run *run, struct strview key)
{
    const struct stream_join *join = state->join;
    bool is_matched = false;
    for (size_t i = 0; i < JOIN_SIDES; i++) {
        run->reason = store_recall_key(state->kept.stores[i], key, run->info);
        if (run->reason) {
            return STEP_FAIL;
        }
    }
    struct store_cell *own = find_own(state, side, run, key);
    run->reason = run_pairs(state, side, run, key, &is_matched);
    if (run->reason) {
        return STEP_FAIL;
    }
    if (!is_matched && join->is_eager && join->sides[side].is_outer &&
        run_alone(state, side, run, key) == STEP_FAIL) {
        return STEP_FAIL;
    }
    if (own) {
        store_touch(state->kept.stores[side], own);
        return STEP_DONE;
    }
    run->reason = run_keep(state, side, run, key, is_matched);
    return run->reason ? STEP_REJECT : STEP_DONE;
}

static enum step_verdict join_run(const struct stream_join *join, enum join_side side,
                                  struct join_state *state, struct step_run *run)
{
    struct strview key;
    if (half_make(join, side, run, &state->half)) {
        return step_reject(run, ERR_LIMIT, "the event has more than %zu bytes", HALF_BYTES_MAX);
    }
    if (join->sides[side].is_outer && has_no_key(&join->sides[side].on, run)) {
        return run_alone(state, side, run, run->in->key);
    }
    if (!step_key_read(&join->sides[side].on, run, &key)) {
        return STEP_REJECT;
    }
    if (run->watermark_ms != TIME_NONE && run->event_ms + join->grace_ms < run->watermark_ms) {
        return run_late(join, side, run);
    }
    return run_meet(state, side, run, key);
}

static enum step_verdict left_run(const void *compiled, void *state, struct step_run *run)
{
    return join_run(compiled, JOIN_LEFT, state, run);
}

static enum step_verdict right_run(const void *compiled, void *state, struct step_run *run)
{
    return join_run(compiled, JOIN_RIGHT, state, run);
}

/* --- a commit -----------------------------------------------------------------------------------*/

/* Cells of up to this time have had all partners that can come, when event time is there. */
static int64_t given_up_ms(const struct stream_join_side *side, int64_t watermark_ms)
{
    return watermark_ms == TIME_NONE ? TIME_NONE : watermark_ms - side->keep_ms - 1;
}

struct given_up {
    int64_t from_ms, to_ms; /* none, if there is nothing between */
    struct store_cell *const *cells;
    size_t count, at;
    int64_t keep_ms;
};

static struct given_up side_given_up(const struct join_state *state, enum join_side side,
                                     int64_t watermark_ms)
{
    const struct stream_join_side *own = &state->join->sides[side];
    int64_t from_ms = given_up_ms(own, state->kept.time_ms), to_ms = given_up_ms(own, watermark_ms);
    bool waits = own->is_outer && !state->join->is_eager;
    return (struct given_up){.from_ms = from_ms < 0 ? 0 : from_ms + 1,
                             .to_ms = waits ? to_ms : -1,
                             .keep_ms = own->keep_ms};
}

static void given_up_list(struct join_state *state, enum join_side side, struct given_up *given_up)
{
    if (given_up->to_ms >= given_up->from_ms) {
        given_up->cells = store_between(state->kept.stores[side], given_up->from_ms,
                                        given_up->to_ms, &given_up->count);
    }
}

static enum err emit_alone(struct join_state *state, const struct step_commit *commit,
                           enum join_side side, const struct store_cell *cell)
{
    if (((const struct stream_join_kept *)cell->value)->is_matched) {
        return ERR_OK;
    }
    int64_t due_ms = cell->time_ms + state->join->sides[side].keep_ms + 1;
    struct step_out out = {.key = store_cell_key(cell),
                           .timestamp_ms = cell->time_ms,
                           .watermark_ms = step_due(&commit->way, due_ms)};
    return forward(state, &commit->way, &out, side, half_of(cell), state->join->nothing);
}

static int64_t due_of(const struct given_up *given_up)
{
    return given_up->at < given_up->count
               ? given_up->cells[given_up->at]->time_ms + given_up->keep_ms
               : INT64_MAX;
}

struct emitting {
    struct join_state *state;
    const struct step_commit *commit;
    enum join_side side;
};

static enum err emit_visited(void *context, struct store_cell *cell)
{
    const struct emitting *emitting = context;
    return emit_alone(emitting->state, emitting->commit, emitting->side, cell);
}

/* With a disk: one side at most gives up anything (stream_join_compile.c). */
static enum err emit_side(struct join_state *state, const struct step_commit *commit,
                          enum join_side side, const struct given_up *given_up)
{
    struct emitting emitting = {state, commit, side};
    const struct store_visitor visitor = {emit_visited, &emitting};
    return given_up->to_ms < given_up->from_ms
               ? ERR_OK
               : store_visit(state->kept.stores[side], given_up->from_ms, given_up->to_ms, &visitor,
                             commit->info);
}

/* Both sides' together, in the order in which event time passes them. */
static enum err emit_given_up(struct join_state *state, const struct step_commit *commit)
{
    struct given_up sides[JOIN_SIDES] = {
        side_given_up(state, JOIN_LEFT, commit->watermark_ms),
        side_given_up(state, JOIN_RIGHT, commit->watermark_ms),
    };
    enum err e = ERR_OK;
    for (int side = 0; side < JOIN_SIDES && state->kept.has_disk && !e; side++) {
        e = emit_side(state, commit, (enum join_side)side, &sides[side]);
    }
    if (state->kept.has_disk) {
        return e;
    }
    given_up_list(state, JOIN_LEFT, &sides[JOIN_LEFT]);
    given_up_list(state, JOIN_RIGHT, &sides[JOIN_RIGHT]);
    while (!e && (due_of(&sides[0]) < INT64_MAX || due_of(&sides[1]) < INT64_MAX)) {
        enum join_side next =
            due_of(&sides[JOIN_RIGHT]) < due_of(&sides[JOIN_LEFT]) ? JOIN_RIGHT : JOIN_LEFT;
        e = emit_alone(state, commit, next, sides[next].cells[sides[next].at++]);
    }
    return e;
}

static enum err join_before_commit(void *task_state, const struct step_commit *commit)
{
    enum err e = emit_given_up(task_state, commit);
    return e ? e : kept_state_before_commit(task_state, commit);
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *join_state_new(const void *compiled)
{
    struct join_state *state = must_alloc(sizeof *state);
    state->join = compiled;
    kept_state_init(&state->kept, &state->join->kept);
    buf_init(&state->half, HALF_BYTES_MAX);
    buf_init(&state->result, RESULT_BYTES_MAX);
    return state;
}

static void join_state_free(void *task_state)
{
    struct join_state *state = task_state;
    buf_free(&state->half);
    buf_free(&state->result);
    kept_state_free(state);
}

const struct step_state_kind stream_join_state_kind = {
    .new_state = join_state_new,
    .free_state = join_state_free,
    .before_commit = join_before_commit,
    .committed = kept_state_committed,
    .aborted = kept_state_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = kept_state_restore_time,
    .stats = kept_state_stats,
};

static void right_free(void *compiled)
{
    (void)compiled; /* the left side's */
}

const struct step_kind step_stream_join = {
    .name = "join",
    .compile = stream_join_compile,
    .free_step = stream_join_free,
    .run = left_run,
    .is_maker = true,
    .reads_event = true,
    .has_late = true,
};

const struct step_kind stream_join_right = {
    .name = "join",
    .free_step = right_free,
    .run = right_run,
    .is_maker = true,
    .reads_event = true,
    .has_late = true,
};
