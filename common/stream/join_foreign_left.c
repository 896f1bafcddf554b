/* The left side of a join of tables by a field: its rows, and the answers to what they ask.
 *
 * A row whose question is not answered yet is not joined: what was put out of it before stands until
 * the answer comes, so that a row that comes to name another right row is never without one in
 * between.
 *
 * What there is not is put out as a deletion at each change, too, though there be nothing to delete:
 * at least once, what a commit that failed had put out may stand there. */
#include <stdlib.h>

#include "stream/join_foreign.h"

#define LEN_NULL UINT32_MAX

enum part { PART_LEFT, PART_RIGHT, PART_ON, PART_SHOWN, PARTS };

/* A cell's value; the parts' bytes follow. */
struct linked_head {
    int64_t times_ms[ROW_SIDES];
    uint32_t lens[PARTS]; /* LEN_NULL: there is none */
    uint32_t is_asking;
    uint32_t unused;
};

/* The same to work with: one left row. */
struct linked {
    int64_t times_ms[ROW_SIDES];
    struct strview left, right;
    struct strview on;    /* the right row's key that it names */
    struct strview shown; /* while it asks: the joined row that was put out before */
    bool is_asking;       /* what the right row is has not been answered */
};

struct left_state {
    struct kept_state kept;
    const struct join_foreign *join;

    struct buf value, old; /* joined rows, as it is and as it was */
    struct buf cell;       /* being made */
    struct buf before;     /* the right row's key that the row named before */
    struct buf question;
};

/* --- a cell -------------------------------------------------------------------------------------*/

/* cell NULL: of no row. Its memory is the cell's. */
static struct linked unpack(const struct store_cell *cell)
{
    struct linked linked = {0};
    if (!cell) {
        return linked;
    }
    struct strview *const parts[PARTS] = {&linked.left, &linked.right, &linked.on, &linked.shown};
    const struct linked_head *head = cell->value;
    const char *at = (const char *)(head + 1);
    memcpy(linked.times_ms, head->times_ms, sizeof linked.times_ms);
    linked.is_asking = head->is_asking;
    for (int i = 0; i < PARTS; i++) {
        if (head->lens[i] != LEN_NULL) {
            *parts[i] = sv_of(at, head->lens[i]);
            at += head->lens[i];
        }
    }
    return linked;
}

/* Into state->cell, since what it is made of may be in the cell that it is for. */
static void pack(struct left_state *state, const struct linked *linked)
{
    const struct strview parts[PARTS] = {linked->left, linked->right, linked->on, linked->shown};
    struct linked_head head = {.is_asking = linked->is_asking};
    memcpy(head.times_ms, linked->times_ms, sizeof head.times_ms);
    for (int i = 0; i < PARTS; i++) {
        head.lens[i] = parts[i].ptr ? (uint32_t)parts[i].len : LEN_NULL;
    }
    buf_reset(&state->cell);
    enum err e = buf_append(&state->cell, &head, sizeof head);
    for (int i = 0; i < PARTS; i++) {
        e = e || parts[i].len == 0 ? e : buf_append_view(&state->cell, parts[i]);
    }
    CHECK(!e); /* rows are bounded */
}

/* The row as it is from now on; *cell NULL: there was none. A row without a left side goes. */
static enum err keep(struct left_state *state, struct strview key, const struct linked *linked,
                     struct store_cell **cell, struct err_info *info)
{
    void *value;
    if (!linked->left.ptr) {
        if (*cell) {
            store_remove(state->kept.store, *cell);
        }
        *cell = NULL;
        return ERR_OK;
    }
    pack(state, linked);
    enum err e = *cell ? ERR_OK : store_get(state->kept.store, key, 0, 0, cell, info);
    e = e ? e : store_grow(state->kept.store, *cell, state->cell.len, &value, info);
    if (!e) {
        memcpy(value, state->cell.data, state->cell.len);
    } else if (*cell && (*cell)->bytes == 0) {
        store_remove(state->kept.store, *cell);
    }
    return e;
}

/* --- what goes out ------------------------------------------------------------------------------*/

static struct strview render(const struct left_state *state, const struct linked *linked,
                             struct buf *out)
{
    bool is_there;
    enum err e = join_rows_render(&state->join->rows, linked->left, linked->right, out, &is_there);
    CHECK(!e); /* rows are bounded */
    return is_there && linked->left.ptr ? buf_view(out) : (struct strview){NULL, 0};
}

/* What was put out last of the row, in state->old. */
static struct strview shown(struct left_state *state, const struct linked *linked)
{
    if (!linked->is_asking) {
        return render(state, linked, &state->old);
    }
    buf_reset(&state->old);
    if (!linked->shown.ptr) {
        return linked->shown;
    }
    CHECK(!buf_append_view(&state->old, linked->shown)); /* it was in this buffer before */
    return buf_view(&state->old);
}

/* Of a row that does not ask; old: in state->old. */
static enum err forward(struct left_state *state, const struct step_run *run,
                        const struct linked *linked, struct strview old)
{
    const struct step_out *in = run->in;
    bool is_later = linked->right.ptr && linked->times_ms[ROW_RIGHT] > linked->times_ms[ROW_LEFT];
    const struct step_out out = {
        .key = in->key,
        .value = render(state, linked, &state->value),
        .old = old,
        .timestamp_ms =
            linked->left.ptr ? linked->times_ms[is_later ? ROW_RIGHT : ROW_LEFT] : in->timestamp_ms,
        .watermark_ms = in->watermark_ms};
    return step_forward(&run->way, &out);
}

static enum err ask(struct left_state *state, const struct step_run *run, struct strview on,
                    bool is_over)
{
    struct step_way way = run->way;
    way.to = state->join->questions;
    buf_reset(&state->question);
    enum err e = buf_append_view(&state->question, SV("{\"row\":"));
    e = e ? e : buf_append_json_string(&state->question, run->in->key);
    e = e ? e : buf_printf(&state->question, ",\"to\":%d", step_partition(&way));
    e = e ? e : buf_append_view(&state->question, is_over ? SV(",\"over\":true}") : SV("}"));
    CHECK(!e); /* a key is bounded */
    const struct step_out out = {.key = on,
                                 .value = buf_view(&state->question),
                                 .timestamp_ms = run->in->timestamp_ms,
                                 .watermark_ms = run->in->watermark_ms};
    return step_forward(&way, &out);
}

/* --- a row --------------------------------------------------------------------------------------*/

/* The key that the row names, in run->scratch; ptr NULL: none. */
static struct strview read_on(const struct join_foreign *join, const struct step_run *run)
{
    const struct strview none = {NULL, 0};
    const struct stream_value *value = &run->slots[join->on];
    bool is_key = value->type == JSON_NODE_STRING || value->type == JSON_NODE_NUMBER;
    if (!run->doc || !is_key || buf_reserve(run->scratch, value->bytes)) {
        return none;
    }
    struct strview on = stream_value_decode(value, run->scratch->data);
    return on.len > 0 && on.len <= JOIN_KEY_BYTES_MAX ? on : none;
}

/* What no row can have as its key, but null. */
static bool is_odd(const struct join_foreign *join, const struct step_run *run, struct strview on)
{
    uint8_t type = run->slots[join->on].type;
    return run->doc && !on.ptr && type != STREAM_VALUE_MISSING && type != JSON_NODE_NULL;
}

static enum step_verdict reject_odd(const struct join_foreign *join, struct step_run *run)
{
    const struct stream_value *value = &run->slots[join->on];
    bool is_key = value->type == JSON_NODE_STRING || value->type == JSON_NODE_NUMBER;
    return is_key ? step_reject(run, ERR_LIMIT, "%s is no key: it must have 1 to %d bytes",
                                join->on_text, JOIN_KEY_BYTES_MAX)
                  : step_reject(run, ERR_FIELD_TYPE, "%s is %s: no row has that as its key",
                                join->on_text, stream_value_kind(value));
}

/* The questions of a row that is kept: about the row that it named before, in state->before, and the
 * one that it names now; once more if there is no answer yet, in case it got lost (at least once). */
static enum err ask_about(struct left_state *state, const struct step_run *run, bool is_moved,
                          struct strview on, bool is_asking)
{
    enum err e = ERR_OK;
    if (is_moved && state->before.len > 0) {
        e = ask(state, run, buf_view(&state->before), true);
    }
    return e || !is_asking ? e : ask(state, run, on, false);
}

static enum step_verdict left_change(struct left_state *state, struct step_run *run,
                                     struct strview on)
{
    run->reason = store_recall_key(state->kept.store, run->in->key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    struct store_cell *cell = store_find(state->kept.store, run->in->key, 0, 0);
    struct linked linked = unpack(cell);
    struct strview old = shown(state, &linked);
    bool is_moved = linked.on.ptr || on.ptr ? !sv_equal(linked.on, on) : false;
    buf_reset(&state->before);
    CHECK(!linked.on.ptr || !buf_append_view(&state->before, linked.on)); /* it was bounded */
    linked.left = run->in->value;
    linked.times_ms[ROW_LEFT] = run->in->timestamp_ms;
    linked.on = on;
    if (is_moved) {
        linked.right = (struct strview){NULL, 0};
        linked.is_asking = on.ptr;
        linked.shown = on.ptr ? old : (struct strview){NULL, 0};
    }
    run->reason = keep(state, run->in->key, &linked, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    linked = unpack(cell); /* what it was made of may have moved */
    run->reason = ask_about(state, run, is_moved, on, linked.is_asking);
    if (!run->reason && !linked.is_asking) {
        run->reason = forward(state, run, &linked, old);
    }
    return run->reason ? STEP_FAIL : STEP_DONE;
}

static enum step_verdict left_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct join_foreign *join = compiled;
    if (!join_rows_take(run)) {
        return STEP_REJECT;
    }
    struct strview on = read_on(join, run);
    enum step_verdict verdict = left_change(task_state, run, on);
    return verdict == STEP_DONE && is_odd(join, run, on) ? reject_odd(join, run) : verdict;
}

/* --- an answer ----------------------------------------------------------------------------------*/

/* ptr NULL: it is none. */
static struct strview read_answer(const struct join_foreign *join, const struct step_run *run)
{
    const struct stream_value *on = &run->slots[join->answer.on];
    const struct stream_value *row = &run->slots[join->answer.row];
    bool is_answer = on->type == JSON_NODE_STRING &&
                     (row->type == JSON_NODE_OBJECT || row->type == JSON_NODE_NULL) &&
                     row->bytes <= JOIN_ROW_BYTES_MAX && run->in->key.len <= JOIN_KEY_BYTES_MAX &&
                     run->in->key.len > 0 && !buf_reserve(run->scratch, on->bytes);
    return is_answer ? stream_value_decode(on, run->scratch->data) : (struct strview){NULL, 0};
}

static enum step_verdict answer_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct join_foreign *join = compiled;
    struct left_state *state = task_state;
    const struct stream_value *row = &run->slots[join->answer.row];
    struct strview about = read_answer(join, run);
    if (about.len == 0 || about.len > JOIN_KEY_BYTES_MAX) {
        return step_reject(run, ERR_JSON_SHAPE, "it is no answer");
    }
    run->reason = store_recall_key(state->kept.store, run->in->key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    struct store_cell *cell = store_find(state->kept.store, run->in->key, 0, 0);
    struct linked linked = unpack(cell);
    if (!linked.on.ptr || !sv_equal(linked.on, about)) {
        run->reason = ask(state, run, about, true);
        return run->reason ? STEP_FAIL : STEP_DONE;
    }
    struct strview old = shown(state, &linked);
    linked.is_asking = false;
    linked.shown = linked.right = (struct strview){NULL, 0};
    if (row->type == JSON_NODE_OBJECT) {
        linked.right = sv_of(row->raw, row->bytes);
        linked.times_ms[ROW_RIGHT] = run->in->timestamp_ms;
    }
    run->reason = keep(state, run->in->key, &linked, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    linked = unpack(cell);
    run->reason = forward(state, run, &linked, old);
    return run->reason ? STEP_FAIL : STEP_DONE;
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *left_state_new(const void *compiled)
{
    struct left_state *state = must_alloc(sizeof *state);
    state->join = compiled;
    kept_state_init(&state->kept, &state->join->left);
    buf_init(&state->value, JOIN_RESULT_BYTES_MAX);
    buf_init(&state->old, JOIN_RESULT_BYTES_MAX);
    buf_init(&state->cell, 2 * JOIN_RESULT_BYTES_MAX);
    buf_init(&state->before, JOIN_KEY_BYTES_MAX);
    buf_init(&state->question, 8 * JOIN_KEY_BYTES_MAX);
    return state;
}

static void left_state_free(void *task_state)
{
    struct left_state *state = task_state;
    buf_free(&state->value);
    buf_free(&state->old);
    buf_free(&state->cell);
    buf_free(&state->before);
    buf_free(&state->question);
    kept_state_free(state);
}

/* Bytes from anywhere: a left row, and parts that fill their space. */
static bool is_linked(int64_t time_ms, int64_t minor, struct strview bytes)
{
    (void)time_ms;
    (void)minor;
    struct linked_head head;
    uint64_t sum = sizeof head;
    memcpy(&head, bytes.ptr, sizeof head);
    for (int i = 0; i < PARTS; i++) {
        sum += head.lens[i] == LEN_NULL ? 0 : head.lens[i];
    }
    return sum == bytes.len && head.lens[PART_LEFT] <= JOIN_ROW_BYTES_MAX &&
           (head.lens[PART_ON] == LEN_NULL || head.lens[PART_ON] <= JOIN_KEY_BYTES_MAX) &&
           (head.lens[PART_RIGHT] == LEN_NULL || head.lens[PART_RIGHT] <= JOIN_ROW_BYTES_MAX) &&
           (head.lens[PART_SHOWN] == LEN_NULL || head.lens[PART_SHOWN] <= JOIN_RESULT_BYTES_MAX);
}

const struct kept_config join_foreign_left_kept = {
    .store = {.bytes_max = JOIN_STORE_BYTES_MAX, .goes_whole = true},
    .can_spill = true,
    .format = {.kind = CHANGELOG_PLAIN},
    .key_bytes_max = JOIN_KEY_BYTES_MAX,
    .bytes_min = sizeof(struct linked_head),
    .bytes_max = 2 * JOIN_RESULT_BYTES_MAX,
    .is_cell = is_linked,
};

const struct step_state_kind join_foreign_left_state = {
    .new_state = left_state_new,
    .free_state = left_state_free,
    .before_commit = kept_state_before_commit,
    .committed = kept_state_committed,
    .aborted = kept_state_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = kept_state_restore_time,
    .stats = kept_state_stats,
};

const struct step_kind join_foreign_answers = {
    .name = "join_tables",
    .free_step = join_foreign_free_none,
    .run = answer_run,
    .is_maker = true,
};

const struct step_kind step_join_foreign = {
    .name = "join_tables",
    .compile = join_foreign_compile,
    .free_step = join_foreign_free,
    .run = left_run,
    .is_maker = true,
    .takes_null = true,
};
