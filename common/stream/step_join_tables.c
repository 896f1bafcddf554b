/* join_tables: the rows of two tables that have the same key as one row, of a table again.
 *
 *     left table  ──► cell(key).left  ──┐
 *                                       ├──► the row as it is now, beside what it was before
 *     right table ──► cell(key).right ──┘
 *
 * A change of either side puts the joined row out at once: {"left": …, "right": …}, null where a side
 * has none. What has no row any more, be it that both sides must have one, is a deletion, put out if
 * there was one to delete. */
#include <stdlib.h>

#include "stream/changelog_writer.h"
#include "stream/steps.h"

#define BYTES_MAX_DEFAULT (4UL << 30)
#define KEY_BYTES_MAX     4096
#define ROW_BYTES_MAX     (512 * 1024)
#define NAME_BYTES_MAX    256
#define RECORD_BYTES_MAX  (4 * 1024 * 1024)

enum side { LEFT, RIGHT, SIDES };

/* A cell's value: this, then the rows' bytes. */
struct joined {
    int64_t times_ms[SIDES];
    uint32_t lens[SIDES]; /* 0: there is no row */
};

struct join_tables {
    bool needs[SIDES];     /* the row is there only if this side has one */
    char *prefixes[SIDES]; /* `{"left":`, `,"right":` */
    struct changelog_format format;
    struct store_config store;
};

/* What each side's step was compiled to. */
struct join_side {
    struct join_tables *tables; /* the left one's own */
    enum side side;
};

struct join_state {
    const struct join_tables *tables;
    struct store *store;
    int64_t next_offsets[CHANGELOG_INPUTS_MAX];
    struct changelog_writer writer;
    struct buf value, old, cell; /* being made */
};

/* --- compiling ----------------------------------------------------------------------------------*/

static const struct step_state_kind join_state_kind;
static const struct step_kind join_tables_right;

static void side_free(void *compiled)
{
    struct join_side *side = compiled;
    if (side && side->side == LEFT) {
        free(side->tables->prefixes[LEFT]);
        free(side->tables->prefixes[RIGHT]);
        free(side->tables);
    }
    free(side);
}

static struct join_side *side_new(struct join_tables *tables, enum side which)
{
    struct join_side *side = must_alloc(sizeof *side);
    *side = (struct join_side){tables, which};
    return side;
}

static char *prefix_of(const struct spec *as, const char *member, const char *fallback, char before)
{
    const char *name = as->value ? spec_get_text(as, member, fallback) : fallback;
    struct buf text;
    buf_init(&text, 64 * 1024);
    if (strlen(name) > NAME_BYTES_MAX) {
        spec_error(as, ERR_LIMIT, "a name has at most %d bytes", NAME_BYTES_MAX);
        name = fallback;
    }
    enum err e = buf_append(&text, &before, 1);
    e = e ? e : buf_append_json_string(&text, sv(name));
    e = e ? e : buf_append(&text, ":", 2); /* with its NUL */
    CHECK(!e);                             /* its length was checked */
    return text.data;
}

static void check_table(const struct program_builder *builder, const struct spec *at)
{
    if (!builder->segment->is_table || builder->segment->step_count > 0) {
        spec_error(at, ERR_CONFIG,
                   "both sides must be tables, with no step between: what an aggregate without a "
                   "window puts out, or another join_tables");
    }
}

static void right_compile(struct program_builder *builder, const struct spec *spec,
                          struct join_tables *tables)
{
    struct spec with;
    struct builder_side side;
    if (spec_has(spec, "with", &with) && builder_begin_side(builder, &with, &side)) {
        check_table(builder, &with);
        builder_end_side(builder, &with, &side, &join_tables_right, side_new(tables, RIGHT));
    }
}

static void *join_tables_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"with", "type", "as", "store", NULL};
    static const char *const sides[] = {"left", "right", NULL};
    static const char *const types[] = {"inner", "left", "right", "outer", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct join_tables *tables = must_alloc(sizeof *tables);
    struct spec as = spec_member(spec, "as");
    tables->store.bytes_max = BYTES_MAX_DEFAULT;
    const char *store_name = builder_compile_store(spec, "keys_max", &tables->store);
    int type = spec_get_choice(spec, "type", types, 0);
    tables->needs[LEFT] = type == 0 || type == 1;
    tables->needs[RIGHT] = type == 0 || type == 2;
    if (as.value) {
        (void)spec_is_object(&as, sides);
    }
    tables->prefixes[LEFT] = prefix_of(&as, "left", "left", '{');
    tables->prefixes[RIGHT] = prefix_of(&as, "right", "right", ',');
    unsigned inputs = (unsigned)builder->pipeline->source_count; /* at most: of its stage */
    tables->format = (struct changelog_format){CHANGELOG_PLAIN, inputs,
                                               changelog_layout(CHANGELOG_LAYOUT, "join_tables")};
    tables->store.inputs = inputs;
    (void)builder_add_state(
        builder, spec,
        &(struct builder_state){
            .kind = &join_state_kind, .step = tables, .store = store_name, .retention_ms = -1});
    check_table(builder, spec);
    right_compile(builder, spec, tables);
    builder->pipeline->segments[builder->step.behind]->is_table = true;
    return side_new(tables, LEFT);
}

/* --- a change -----------------------------------------------------------------------------------*/

static struct strview row_of(const struct store_cell *cell, enum side side)
{
    const struct joined *joined = cell ? cell->value : NULL;
    if (!joined || joined->lens[side] == 0) {
        return (struct strview){NULL, 0};
    }
    const char *rows = (const char *)(joined + 1);
    return sv_of(rows + (side == RIGHT ? joined->lens[LEFT] : 0), joined->lens[side]);
}

/* The joined row; *ret_is_there: there is one. */
static enum err render(const struct join_tables *tables, const struct store_cell *cell,
                       struct buf *out, bool *ret_is_there)
{
    struct strview left = row_of(cell, LEFT), right = row_of(cell, RIGHT);
    buf_reset(out);
    *ret_is_there = (left.ptr || right.ptr) && (left.ptr || !tables->needs[LEFT]) &&
                    (right.ptr || !tables->needs[RIGHT]);
    if (!*ret_is_there) {
        return ERR_OK;
    }
    enum err e = buf_append_view(out, sv(tables->prefixes[LEFT]));
    e = e ? e : buf_append_view(out, left.ptr ? left : SV("null"));
    e = e ? e : buf_append_view(out, sv(tables->prefixes[RIGHT]));
    e = e ? e : buf_append_view(out, right.ptr ? right : SV("null"));
    return e ? e : buf_append(out, "}", 1);
}

/* The cell with another row on this side. */
static enum err cell_set(struct join_state *state, struct store_cell *cell, enum side side,
                         const struct step_out *in, struct err_info *info)
{
    struct strview rows[SIDES] = {row_of(cell, LEFT), row_of(cell, RIGHT)};
    struct joined joined = {0};
    if (cell->value) {
        joined = *(const struct joined *)cell->value;
    }
    rows[side] = in->value;
    joined.lens[side] = (uint32_t)in->value.len;
    joined.times_ms[side] = in->timestamp_ms;
    buf_reset(&state->cell); /* beside the cell, whose rows move */
    enum err e = buf_append(&state->cell, &joined, sizeof joined);
    for (int i = 0; i < SIDES && !e; i++) {
        e = buf_append_view(&state->cell, rows[i]);
    }
    void *value;
    e = e ? e : store_grow(state->store, cell, state->cell.len, &value, info);
    if (!e) {
        memcpy(value, state->cell.data, state->cell.len);
    }
    return e;
}

static int64_t joined_time(const struct store_cell *cell, int64_t fallback_ms)
{
    const struct joined *joined = cell->value;
    int64_t time_ms = fallback_ms;
    for (int i = 0; i < SIDES; i++) {
        if (joined->lens[i] > 0 && joined->times_ms[i] > time_ms) {
            time_ms = joined->times_ms[i];
        }
    }
    return time_ms;
}

static enum step_verdict join_change(struct join_state *state, struct step_run *run, enum side side)
{
    const struct step_out *in = run->in;
    struct store_cell *cell;
    bool was_there, is_there;
    run->reason = store_get(state->store, in->key, 0, 0, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    run->reason = render(state->tables, cell, &state->old, &was_there);
    run->reason = run->reason ? run->reason : cell_set(state, cell, side, in, run->info);
    if (run->reason) {
        if (cell->is_new && cell->bytes == 0) {
            store_remove(state->store, cell);
        }
        return STEP_REJECT;
    }
    run->reason = render(state->tables, cell, &state->value, &is_there);
    CHECK(!run->reason); /* rows are bounded */
    int64_t time_ms = joined_time(cell, in->timestamp_ms);
    const struct step_out out = {
        .key = in->key,
        .value = is_there ? buf_view(&state->value) : (struct strview){NULL, 0},
        .old = was_there ? buf_view(&state->old) : (struct strview){NULL, 0},
        .timestamp_ms = time_ms,
        .watermark_ms = in->watermark_ms};
    if (!row_of(cell, LEFT).ptr && !row_of(cell, RIGHT).ptr) {
        store_remove(state->store, cell);
    }
    run->reason = is_there || was_there ? step_forward(&run->way, &out) : ERR_OK;
    return run->reason ? STEP_FAIL : STEP_DONE;
}

static enum step_verdict join_tables_run(const void *compiled, void *task_state,
                                         struct step_run *run)
{
    const struct join_side *side = compiled;
    const struct step_out *in = run->in;
    if (in->key.len == 0 || in->key.len > KEY_BYTES_MAX) {
        return step_reject(run, in->key.len ? ERR_LIMIT : ERR_KEY_MISSING,
                           "a row needs a key, of at most %d bytes", KEY_BYTES_MAX);
    }
    if (in->value.len > ROW_BYTES_MAX) {
        return step_reject(run, ERR_LIMIT, "a row has more than %d bytes", ROW_BYTES_MAX);
    }
    return join_change(task_state, run, side->side);
}

/* --- the cycle ----------------------------------------------------------------------------------*/

static enum err join_before_commit(void *task_state, const struct step_commit *commit)
{
    struct join_state *state = task_state;
    for (unsigned i = 0; i < state->tables->format.inputs; i++) {
        state->next_offsets[i] = i < commit->input_count ? commit->next_offsets[i] : 0;
    }
    return changelog_write(&state->writer, commit, state->store);
}

static void join_committed(void *task_state)
{
    struct join_state *state = task_state;
    store_commit(state->store, state->next_offsets);
}

static void join_aborted(void *task_state)
{
    store_abort(((struct join_state *)task_state)->store);
}

static bool join_wants_commit(const void *task_state, int64_t watermark_ms, int64_t now_ms)
{
    (void)watermark_ms;
    (void)now_ms;
    return store_dirty_count(((const struct join_state *)task_state)->store) > 0;
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *join_state_new(const void *compiled)
{
    struct join_state *state = must_alloc(sizeof *state);
    state->tables = compiled;
    state->store = store_new(&state->tables->store);
    changelog_writer_init(&state->writer, &state->tables->format);
    buf_init(&state->value, RECORD_BYTES_MAX);
    buf_init(&state->old, RECORD_BYTES_MAX);
    buf_init(&state->cell, RECORD_BYTES_MAX);
    return state;
}

static void join_state_free(void *task_state)
{
    struct join_state *state = task_state;
    store_free(state->store);
    changelog_writer_deinit(&state->writer);
    buf_free(&state->value);
    buf_free(&state->old);
    buf_free(&state->cell);
    free(state);
}

/* Bytes from anywhere: rows that fill their space. */
static bool is_joined(struct strview bytes)
{
    struct joined joined;
    if (bytes.len < sizeof joined) {
        return false;
    }
    memcpy(&joined, bytes.ptr, sizeof joined);
    return (uint64_t)joined.lens[LEFT] + joined.lens[RIGHT] == bytes.len - sizeof joined;
}

static enum err join_restore(void *task_state, struct strview key, struct strview value,
                             struct err_info *info)
{
    static const struct changelog_bounds bounds = {KEY_BYTES_MAX, sizeof(struct joined),
                                                   RECORD_BYTES_MAX};
    const struct join_state *state = task_state;
    const struct changelog_format *format = &state->tables->format;
    int64_t next_offsets[CHANGELOG_INPUTS_MAX];
    struct strview bytes;
    enum err e =
        value.ptr ? changelog_decode_value(format, value, next_offsets, &bytes, info) : ERR_OK;
    if (!e && value.ptr && !is_joined(bytes)) {
        e = err_set(info, ERR_STATE, "the changelog has a record that is no joined row");
    }
    return e ? e : changelog_restore(format, &bounds, state->store, key, 0, 0, value, info);
}

static void join_restore_time(void *task_state, int64_t watermark_ms)
{
    (void)task_state;
    (void)watermark_ms;
}

static void join_stats(const void *task_state, struct stream_task_stats *stats)
{
    const struct join_state *state = task_state;
    stats->keys += store_key_count(state->store);
    stats->state_bytes += store_bytes(state->store);
}

static const struct step_state_kind join_state_kind = {
    .new_state = join_state_new,
    .free_state = join_state_free,
    .before_commit = join_before_commit,
    .committed = join_committed,
    .aborted = join_aborted,
    .restore = join_restore,
    .wants_commit = join_wants_commit,
    .restore_time = join_restore_time,
    .stats = join_stats,
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
