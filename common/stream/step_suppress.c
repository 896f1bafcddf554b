/* suppress: of the changes of one key within a time, the newest comes out, when that time is over.
 *
 *     change ──► does one of its key wait? ──no──► it waits until event time is `for` past it
 *                          │yes
 *                          ▼
 *                it takes that one's place, and its end
 *
 * So a key has at most one change out in `for` of event time, however far out of order records come:
 * one that is older than event time waits from where event time is. As Kafka Streams'
 * untilTimeLimit has it, but for that.
 *
 * A cell is a change that waits: key, the time from which it waits. Of a table it keeps what the row
 * was before the first change that it stands for: that is what was last put out. Event time decides
 * what comes out and in which order, before the record is looked at that comes next, so that commits
 * make no difference.
 *
 * At least once, when a commit's answer was lost, records come again and find some of the cells that
 * they made: then more than one of a key waits, and the first is the one that they belong to. A cell
 * goes with the commit after the one that put it out, so that none is missing that is to come out
 * again. */
#include <stdlib.h>

#include "stream/kept_state.h"
#include "stream/step_key.h"
#include "stream/steps.h"

#define BYTES_MAX_DEFAULT ((size_t)1 << 30)
#define CHANGE_BYTES_MAX  ((size_t)32 * 1024 * 1024)
#define BUCKETS           64
#define LEN_NULL          UINT32_MAX

enum part { PART_KEY, PART_VALUE, PART_OLD, PARTS };

/* A cell's value; the parts' bytes follow. */
struct waiting {
    int64_t timestamp_ms; /* of the newest change */
    uint32_t partition_bytes;
    uint32_t lens[PARTS]; /* LEN_NULL: null. The record's key: only with `by`, which else is it */
    uint32_t unused;
};

struct suppress_step {
    bool has_by;
    struct step_key by;
    int64_t for_ms;
    bool is_of_table;
    bool rejects_when_full;
    struct kept_config kept;
};

struct suppress_state {
    struct kept_state kept;
    const struct suppress_step *step;
    struct buf cell; /* being made */
    int64_t
        flushed_ms; /* event time up to which all was put out; kept.time_ms at the last commit */
    int64_t next_due_ms; /* nothing that waits is due before this */
};

/* --- compiling ----------------------------------------------------------------------------------*/

static const struct step_state_kind suppress_state_kind;

static void suppress_free(void *compiled)
{
    struct suppress_step *step = compiled;
    if (step) {
        step_key_free(&step->by);
        free(step);
    }
}

static void compile_for(const struct spec *spec, struct suppress_step *step)
{
    struct spec until = spec_member(spec, "until"), time = spec_member(spec, "for");
    if (until.value) {
        spec_error(&until, ERR_CONFIG,
                   "nothing has to wait for a window's end: \"emit\": [\"final\"] of its aggregate "
                   "puts its result out then, and never before");
        return;
    }
    step->for_ms = spec_get_duration(spec, "for", -1);
    if (step->for_ms == 0 && json_is_string(time.value)) {
        spec_error(&time, ERR_CONFIG, "longer than 0 is needed");
    }
}

static void compile_by(struct program_builder *builder, const struct spec *spec,
                       struct suppress_step *step)
{
    struct spec by = spec_member(spec, "by");
    step->has_by = by.value;
    if (by.value && step->is_of_table) {
        spec_error(&by, ERR_CONFIG, "rows of a table are told apart by their keys");
    } else if (by.value) {
        step_key_compile(builder, spec, "by", &step->by);
    } else if (builder->scope->has_windows) {
        spec_error(spec, ERR_CONFIG,
                   "a group's windows have one key, and the newest would take the others' place: "
                   "\"emit\": [{\"every\": …}] of the aggregate puts out so much less; or let it "
                   "have \"key\": \"windowed\"; or name what tells them apart in \"by\"");
    }
}

/* What is refused of a table would be taken back from it later. */
static void compile_when_full(const struct spec *spec, struct suppress_step *step)
{
    static const char *const choices[] = {"emit", "reject", NULL};
    struct spec when_full = spec_member(spec, "when_full");
    step->rejects_when_full = spec_get_choice(spec, "when_full", choices, 0) == 1;
    if (step->rejects_when_full && step->is_of_table) {
        spec_error(&when_full, ERR_CONFIG,
                   "a table's change cannot be refused: the next one would take it back");
    }
}

/* Bytes from anywhere: parts that fill their space. */
static bool is_waiting(int64_t time_ms, int64_t minor, struct strview bytes)
{
    (void)time_ms;
    (void)minor;
    struct waiting waiting;
    uint64_t sum = sizeof waiting;
    memcpy(&waiting, bytes.ptr, sizeof waiting);
    for (int i = 0; i < PARTS; i++) {
        sum += waiting.lens[i] == LEN_NULL ? 0 : waiting.lens[i];
    }
    return sum == bytes.len;
}

static uint32_t layout_of(const struct suppress_step *step)
{
    uint32_t layout = changelog_layout(CHANGELOG_LAYOUT, "suppress");
    for (size_t i = 0; i < step->by.count; i++) {
        layout = changelog_layout(layout, step->by.fields[i].text);
    }
    return layout;
}

static void *suppress_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"for", "until", "by", "when_full", "store", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct suppress_step *step = must_alloc(sizeof *step);
    step->is_of_table = builder->segment->is_table && builder->segment->step_count == 0;
    compile_for(spec, step);
    compile_by(builder, spec, step);
    compile_when_full(spec, step);
    step->kept =
        (struct kept_config){.store = {.bucket_ms = step->for_ms / BUCKETS + 1,
                                       .bytes_max = BYTES_MAX_DEFAULT,
                                       .goes_whole = true},
                             .format = {.kind = CHANGELOG_WINDOW, .layout = layout_of(step)},
                             .can_spill = true,
                             .is_timed = true,
                             .keep_ms = {step->for_ms},
                             .key_bytes_max = STEP_KEY_BYTES_MAX,
                             .bytes_min = sizeof(struct waiting),
                             .bytes_max = CHANGE_BYTES_MAX,
                             .is_cell = is_waiting};
    const char *name = builder_compile_store(spec, "records_max", &step->kept.store);
    (void)builder_add_state(builder, spec,
                            &(struct builder_state){.kind = &suppress_state_kind,
                                                    .step = step,
                                                    .kept = &step->kept,
                                                    .store = name,
                                                    .retention_ms = -1});
    builder_hold(builder, step->for_ms);
    builder_result_key(builder, builder->scope->result_key);
    builder->pipeline->segments[builder->step.behind]->is_table = step->is_of_table;
    return step;
}

/* --- a cell -------------------------------------------------------------------------------------*/

static struct strview part_of(const struct store_cell *cell, enum part part)
{
    const struct waiting *waiting = cell->value;
    const char *at = (const char *)(waiting + 1);
    if (waiting->lens[part] == LEN_NULL) {
        return (struct strview){NULL, 0};
    }
    for (int i = 0; i < (int)part; i++) {
        at += waiting->lens[i] == LEN_NULL ? 0 : waiting->lens[i];
    }
    return sv_of(at, waiting->lens[part]);
}

static int64_t due_of(const struct suppress_step *step, const struct store_cell *cell)
{
    return cell->time_ms + step->for_ms;
}

/* The change into state->cell; old: what the row was before the first one. */
static enum err cell_make(struct suppress_state *state, const struct step_run *run,
                          struct strview old)
{
    const struct step_out *in = run->in;
    const struct strview parts[PARTS] = {
        [PART_KEY] = state->step->has_by ? in->key : (struct strview){NULL, 0},
        [PART_VALUE] = in->value,
        [PART_OLD] = old};
    struct waiting waiting = {.timestamp_ms = in->timestamp_ms,
                              .partition_bytes = (uint32_t)in->partition_bytes};
    buf_reset(&state->cell); /* beside the cell, whose bytes may be `old` */
    enum err e = buf_reserve(&state->cell, sizeof waiting);
    for (int i = 0; i < PARTS; i++) {
        waiting.lens[i] = parts[i].ptr ? (uint32_t)parts[i].len : LEN_NULL;
    }
    e = e ? e : buf_append(&state->cell, &waiting, sizeof waiting);

    for (int i = 0; i < PARTS && !e; i++) {
        e = parts[i].len > 0 ? buf_append_view(&state->cell, parts[i]) : ERR_OK;
    }
    return e ? err_set(run->info, ERR_LIMIT, "a change of more than %zu bytes cannot wait",
                       CHANGE_BYTES_MAX)
             : ERR_OK;
}

static enum err cell_fill(struct suppress_state *state, struct store_cell *cell,
                          struct err_info *info)
{
    void *value;
    enum err e = store_grow(state->kept.store, cell, state->cell.len, &value, info);
    if (!e) {
        memcpy(value, state->cell.data, state->cell.len);
    }
    return e;
}

/* --- putting out --------------------------------------------------------------------------------*/

static enum err cell_forward(struct suppress_state *state, const struct step_way *way,
                             const struct store_cell *cell)
{
    const struct suppress_step *step = state->step;
    const struct waiting *waiting = cell->value;
    const struct step_out out = {.key =
                                     step->has_by ? part_of(cell, PART_KEY) : store_cell_key(cell),
                                 .partition_bytes = waiting->partition_bytes,
                                 .value = part_of(cell, PART_VALUE),
                                 .old = part_of(cell, PART_OLD),
                                 .timestamp_ms = waiting->timestamp_ms,
                                 .watermark_ms = step_due(way, due_of(step, cell))};
    return step_forward(way, &out);
}

struct flushing {
    struct suppress_state *state;
    const struct step_way *way;
};

static enum err flush_cell(void *context, struct store_cell *cell)
{
    const struct flushing *flushing = context;
    return cell_forward(flushing->state, flushing->way, cell);
}

/* What was due by now and has not been put out, in order of when it was, then of the key. */
static enum err flush(struct suppress_state *state, const struct step_way *way, int64_t now_ms,
                      struct err_info *info)
{
    int64_t for_ms = state->step->for_ms, flushed_ms = state->flushed_ms;
    if (now_ms <= flushed_ms) {
        return ERR_OK;
    }
    state->flushed_ms = now_ms;
    if (now_ms < state->next_due_ms || now_ms < for_ms) {
        return ERR_OK;
    }
    int64_t from_ms = flushed_ms < for_ms ? 0 : flushed_ms - for_ms + 1;
    struct flushing flushing = {state, way};
    const struct store_visitor visitor = {flush_cell, &flushing};
    enum err e = store_visit(state->kept.store, from_ms, now_ms - for_ms, &visitor, info);
    int64_t next_ms = store_next_ms(state->kept.store, now_ms - for_ms + 1);
    state->next_due_ms = next_ms == INT64_MAX ? INT64_MAX : next_ms + for_ms;
    return e;
}

/* --- one change ---------------------------------------------------------------------------------*/

/* The change of this key that waits, the first to come out; NULL: none does. */
static struct store_cell *find_waiting(const struct suppress_state *state, struct strview key)
{
    int64_t for_ms = state->step->for_ms;
    int64_t from_ms = state->flushed_ms < for_ms ? 0 : state->flushed_ms - for_ms + 1;
    struct store_range range =
        store_range(store_key_find(state->kept.store, key), from_ms, EVENT_TIME_MAX_MS);
    return store_next(&range);
}

/* What has no room to wait: on at once, in the place of what waits. */
static enum step_verdict run_full(struct suppress_state *state, struct step_run *run,
                                  struct store_cell *waiting)
{
    if (state->step->rejects_when_full) {
        return STEP_REJECT;
    }
    struct step_out out = {.key = run->in->key,
                           .partition_bytes = run->in->partition_bytes,
                           .value = run->in->value,
                           .old = run->in->old,
                           .timestamp_ms = run->in->timestamp_ms,
                           .watermark_ms = run->in->watermark_ms};
    if (waiting) {
        out.old = part_of(waiting, PART_OLD);
        store_remove(state->kept.store, waiting); /* its bytes are there until the commit */
    }
    run->reason = step_forward(&run->way, &out);
    return run->reason ? STEP_FAIL : waiting ? STEP_DROP : STEP_DONE;
}

static enum step_verdict run_begin(struct suppress_state *state, struct step_run *run,
                                   struct strview key)
{
    int64_t from_ms = run->event_ms > state->flushed_ms ? run->event_ms : state->flushed_ms;
    struct store_cell *cell = NULL;
    struct strview old = state->step->is_of_table ? run->in->old : (struct strview){NULL, 0};
    run->reason = cell_make(state, run, old);
    run->reason =
        run->reason ? run->reason : store_add(state->kept.store, key, from_ms, &cell, run->info);
    run->reason = run->reason ? run->reason : cell_fill(state, cell, run->info);
    if (run->reason) {
        if (cell) {
            store_remove(state->kept.store, cell);
        }
        return run_full(state, run, NULL);
    }
    int64_t due_ms = due_of(state->step, cell);
    state->next_due_ms = due_ms < state->next_due_ms ? due_ms : state->next_due_ms;
    return STEP_DONE;
}

static enum step_verdict run_replace(struct suppress_state *state, struct step_run *run,
                                     struct store_cell *cell)
{
    run->reason = cell_make(state, run, part_of(cell, PART_OLD));
    run->reason = run->reason ? run->reason : cell_fill(state, cell, run->info);
    return run->reason ? run_full(state, run, cell) : STEP_DROP; /* the one that was there */
}

static bool run_key(const struct suppress_step *step, struct step_run *run, struct strview *ret)
{
    if (step->has_by) {
        return step_key_read(&step->by, run, ret);
    }
    *ret = run->in->key;
    if (ret->len == 0 || ret->len > STEP_KEY_BYTES_MAX) {
        (void)step_reject(run, ret->len ? ERR_LIMIT : ERR_KEY_MISSING,
                          "without \"by\" a record needs a key, of at most %d bytes",
                          STEP_KEY_BYTES_MAX);
        return false;
    }
    return true;
}

static enum step_verdict suppress_run(const void *compiled, void *task_state, struct step_run *run)
{
    struct suppress_state *state = task_state;
    struct strview key;
    run->reason = flush(state, &run->way, run->watermark_ms, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    if (!run_key(compiled, run, &key)) {
        return STEP_REJECT;
    }
    run->reason = store_recall_key(state->kept.store, key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    struct store_cell *cell = find_waiting(state, key);
    return cell ? run_replace(state, run, cell) : run_begin(state, run, key);
}

/* --- a commit -----------------------------------------------------------------------------------*/

static enum err suppress_before_commit(void *task_state, const struct step_commit *commit)
{
    enum err e = flush(task_state, &commit->way, commit->watermark_ms, commit->info);
    return e ? e : kept_state_before_commit(task_state, commit);
}

/* Event time goes back, and when the next one is due is not known. */
static void settle(struct suppress_state *state)
{
    state->flushed_ms = state->kept.time_ms;
    state->next_due_ms = INT64_MIN;
}

static void suppress_aborted(void *task_state)
{
    kept_state_aborted(task_state);
    settle(task_state);
}

static void suppress_restore_time(void *task_state, int64_t watermark_ms)
{
    kept_state_restore_time(task_state, watermark_ms);
    settle(task_state);
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *suppress_state_new(const void *compiled)
{
    struct suppress_state *state = must_alloc(sizeof *state);
    state->step = compiled;
    kept_state_init(&state->kept, &state->step->kept);
    settle(state);
    buf_init(&state->cell, CHANGE_BYTES_MAX);
    return state;
}

static void suppress_state_free(void *task_state)
{
    struct suppress_state *state = task_state;
    buf_free(&state->cell);
    kept_state_free(state);
}

static const struct step_state_kind suppress_state_kind = {
    .new_state = suppress_state_new,
    .free_state = suppress_state_free,
    .before_commit = suppress_before_commit,
    .committed = kept_state_committed,
    .aborted = suppress_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = suppress_restore_time,
    .stats = kept_state_stats,
};

const struct step_kind step_suppress = {
    .name = "suppress",
    .compile = suppress_compile,
    .free_step = suppress_free,
    .run = suppress_run,
    .is_maker = true,
    .reads_event = true,
    .takes_null = true,
};
