/* join_tables: the rows of two tables that have the same key as one row, of a table again.
 *
 *     left table  ──► cell(key).left  ──┐
 *                                       ├──► the row as it is now, beside what it was before
 *     right table ──► cell(key).right ──┘
 *
 * A change of either side puts the joined row out at once: {"left": …, "right": …}, null where a side
 * has none. What has no row any more, be it that both sides must have one, is a deletion, put out if
 * there was one to delete, or a side's row was deleted: at least once, the cell may be gone while what
 * was put out of it stands, since a crash came between. */
#include <stdlib.h>

#include "stream/kept_state.h"
#include "stream/join_rows.h"
#include "stream/steps.h"

/* A cell's value: this, then the rows' bytes. */
struct joined {
    int64_t times_ms[ROW_SIDES];
    uint32_t lens[ROW_SIDES]; /* 0: there is no row */
};

struct join_tables {
    struct join_rows rows;
    struct kept_config kept;
};

/* What each side's step was compiled to. */
struct join_side {
    struct join_tables *tables; /* the left one's own */
    enum join_row side;
};

struct join_state {
    struct kept_state kept;
    const struct join_tables *tables;
    struct buf value, old, cell; /* being made */
};

/* --- compiling ----------------------------------------------------------------------------------*/

static const struct step_state_kind join_state_kind;
static const struct step_kind join_tables_right;

static void side_free(void *compiled)
{
    struct join_side *side = compiled;
    if (side && side->side == ROW_LEFT) {
        join_rows_free(&side->tables->rows);
        free(side->tables);
    }
    free(side);
}

static struct join_side *side_new(struct join_tables *tables, enum join_row which)
{
    struct join_side *side = must_alloc(sizeof *side);
    *side = (struct join_side){tables, which};
    return side;
}

static void right_compile(struct program_builder *builder, const struct spec *spec,
                          struct join_tables *tables)
{
    struct spec with;
    struct builder_side side;
    if (spec_has(spec, "with", &with) && builder_begin_side(builder, &with, &side)) {
        (void)join_rows_check_table(builder, &with);
        builder_end_side(builder, &with, &side, &join_tables_right, side_new(tables, ROW_RIGHT));
    }
}

/* Bytes from anywhere: rows that fill their space. */
static bool is_joined(int64_t time_ms, int64_t minor, struct strview bytes)
{
    (void)time_ms;
    (void)minor;
    struct joined joined;
    memcpy(&joined, bytes.ptr, sizeof joined);
    return (uint64_t)joined.lens[ROW_LEFT] + joined.lens[ROW_RIGHT] == bytes.len - sizeof joined;
}

static void *join_tables_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"with", "type", "as", "store", NULL};
    static const char *const types[] = {"inner", "left", "right", "outer", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct join_tables *tables = must_alloc(sizeof *tables);
    join_rows_compile(spec, types, &tables->rows);
    unsigned inputs = (unsigned)builder->pipeline->source_count; /* at most: of its stage */
    tables->kept = (struct kept_config){
        .store = {.inputs = inputs, .bytes_max = JOIN_STORE_BYTES_MAX, .goes_whole = true},
        .format = {CHANGELOG_PLAIN, inputs, changelog_layout(CHANGELOG_LAYOUT, "join_tables")},
        .can_spill = true,
        .key_bytes_max = JOIN_KEY_BYTES_MAX,
        .bytes_min = sizeof(struct joined),
        .bytes_max = JOIN_RESULT_BYTES_MAX,
        .is_cell = is_joined};
    const char *store_name = builder_compile_store(spec, "keys_max", &tables->kept.store);
    (void)builder_add_state(builder, spec,
                            &(struct builder_state){.kind = &join_state_kind,
                                                    .step = tables,
                                                    .kept = &tables->kept,
                                                    .store = store_name,
                                                    .retention_ms = -1});
    (void)join_rows_check_table(builder, spec);
    right_compile(builder, spec, tables);
    builder->pipeline->segments[builder->step.behind]->is_table = true;
    return side_new(tables, ROW_LEFT);
}

/* --- a change -----------------------------------------------------------------------------------*/

static struct strview row_of(const struct store_cell *cell, enum join_row side)
{
    const struct joined *joined = cell ? cell->value : NULL;
    if (!joined || joined->lens[side] == 0) {
        return (struct strview){NULL, 0};
    }
    const char *rows = (const char *)(joined + 1);
    return sv_of(rows + (side == ROW_RIGHT ? joined->lens[ROW_LEFT] : 0), joined->lens[side]);
}

static enum err render(const struct join_state *state, const struct store_cell *cell,
                       struct buf *out, bool *ret_is_there)
{
    return join_rows_render(&state->tables->rows, row_of(cell, ROW_LEFT), row_of(cell, ROW_RIGHT),
                            out, ret_is_there);
}

/* The cell with another row on this side. */
static enum err cell_set(struct join_state *state, struct store_cell *cell, enum join_row side,
                         const struct step_out *in, struct err_info *info)
{
    struct strview rows[ROW_SIDES] = {row_of(cell, ROW_LEFT), row_of(cell, ROW_RIGHT)};
    struct joined joined = {0};
    if (cell->value) {
        joined = *(const struct joined *)cell->value;
    }
    rows[side] = in->value;
    joined.lens[side] = (uint32_t)in->value.len;
    joined.times_ms[side] = in->timestamp_ms;
    buf_reset(&state->cell); /* beside the cell, whose rows move */
    enum err e = buf_append(&state->cell, &joined, sizeof joined);
    for (int i = 0; i < ROW_SIDES && !e; i++) {
        e = buf_append_view(&state->cell, rows[i]);
    }
    void *value;
    e = e ? e : store_grow(state->kept.store, cell, state->cell.len, &value, info);
    if (!e) {
        memcpy(value, state->cell.data, state->cell.len);
    }
    return e;
}

static int64_t joined_time(const struct store_cell *cell, int64_t fallback_ms)
{
    const struct joined *joined = cell->value;
    int64_t time_ms = fallback_ms;
    for (int i = 0; i < ROW_SIDES; i++) {
        if (joined->lens[i] > 0 && joined->times_ms[i] > time_ms) {
            time_ms = joined->times_ms[i];
        }
    }
    return time_ms;
}

static enum step_verdict join_change(struct join_state *state, struct step_run *run,
                                     enum join_row side)
{
    const struct step_out *in = run->in;
    struct store_cell *cell;
    bool was_there, is_there;
    run->reason = store_recall_key(state->kept.store, in->key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    run->reason = store_get(state->kept.store, in->key, 0, 0, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    run->reason = render(state, cell, &state->old, &was_there);
    run->reason = run->reason ? run->reason : cell_set(state, cell, side, in, run->info);
    if (run->reason) {
        if (cell->is_new && cell->bytes == 0) {
            store_remove(state->kept.store, cell);
        }
        return STEP_REJECT;
    }
    run->reason = render(state, cell, &state->value, &is_there);
    CHECK(!run->reason); /* rows are bounded */
    int64_t time_ms = joined_time(cell, in->timestamp_ms);
    const struct step_out out = {
        .key = in->key,
        .value = is_there ? buf_view(&state->value) : (struct strview){NULL, 0},
        .old = was_there ? buf_view(&state->old) : (struct strview){NULL, 0},
        .timestamp_ms = time_ms,
        .watermark_ms = in->watermark_ms};
    if (!row_of(cell, ROW_LEFT).ptr && !row_of(cell, ROW_RIGHT).ptr) {
        store_remove(state->kept.store, cell);
    }
    run->reason = is_there || was_there || !in->value.ptr ? step_forward(&run->way, &out) : ERR_OK;
    return run->reason ? STEP_FAIL : STEP_DONE;
}

static enum step_verdict join_tables_run(const void *compiled, void *task_state,
                                         struct step_run *run)
{
    const struct join_side *side = compiled;
    return join_rows_take(run) ? join_change(task_state, run, side->side) : STEP_REJECT;
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *join_state_new(const void *compiled)
{
    struct join_state *state = must_alloc(sizeof *state);
    state->tables = compiled;
    kept_state_init(&state->kept, &state->tables->kept);
    buf_init(&state->value, JOIN_RESULT_BYTES_MAX);
    buf_init(&state->old, JOIN_RESULT_BYTES_MAX);
    buf_init(&state->cell, JOIN_RESULT_BYTES_MAX);
    return state;
}

static void join_state_free(void *task_state)
{
    struct join_state *state = task_state;
    buf_free(&state->value);
    buf_free(&state->old);
    buf_free(&state->cell);
    kept_state_free(state);
}

static const struct step_state_kind join_state_kind = {
    .new_state = join_state_new,
    .free_state = join_state_free,
    .before_commit = kept_state_before_commit,
    .committed = kept_state_committed,
    .aborted = kept_state_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = kept_state_restore_time,
    .stats = kept_state_stats,
};

static const struct step_kind join_tables_right = {
    .name = "join_tables",
    .free_step = side_free,
    .run = join_tables_run,
    .is_maker = true,
    .takes_null = true,
};

const struct step_kind step_join_tables = {
    .name = "join_tables",
    .compile = join_tables_compile,
    .free_step = side_free,
    .run = join_tables_run,
    .is_maker = true,
    .takes_null = true,
};
