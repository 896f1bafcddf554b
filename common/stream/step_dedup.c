/* dedup: of the records that have the same key within a time, the first one passes.
 *
 *     passes  ⇔  no record of its key that passed and is remembered has an event time less than
 *                `ttl` away
 *
 * A record that passed is remembered until event time is `ttl` past it. So what comes in order, or
 * out of order by no more than the watermark's delay, is judged by event times alone; of what comes
 * later than that, a duplicate within `ttl` of the watermark is still found.
 *
 * A cell is a record that passed: key, event time; its value says which record it was. At least
 * once, when a commit's answer was lost, records come again. One whose cell was written passes
 * again, since it may not have been put out. And a cell goes only with the commit after the one
 * that brought event time past it: what comes again finds all that it found the first time. */
#include <stdlib.h>

#include "stream/changelog_writer.h"
#include "stream/step_key.h"
#include "stream/steps.h"

struct passed {
    int64_t offset; /* of the record; -1: it was made of several */
    int64_t input;
};

struct dedup_step {
    struct step_key by;
    int64_t ttl_ms;
    struct store_config store;
    struct changelog_format format;
};

struct dedup_state {
    const struct dedup_step *step;
    struct store *store;
    struct changelog_writer writer;
    int64_t time_ms;      /* event time at the last commit */
    int64_t next_time_ms; /* the same, if the one under way succeeds */
};

/* --- compiling ----------------------------------------------------------------------------------*/

static const struct step_state_kind dedup_state_kind;

static void dedup_free(void *compiled)
{
    struct dedup_step *step = compiled;
    if (step) {
        step_key_free(&step->by);
        free(step);
    }
}

static void *dedup_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"by", "ttl", "store", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct dedup_step *step = must_alloc(sizeof *step);
    step_key_compile(builder, spec, "by", &step->by);
    step->ttl_ms = spec_get_duration(spec, "ttl", -1);
    struct spec ttl = spec_member(spec, "ttl");
    if (step->ttl_ms == 0 && ttl.value && builder->loader.errors->count == 0) {
        spec_error(&ttl, ERR_CONFIG, "nothing is the same for no time");
    }
    step->store = (struct store_config){.value_bytes = sizeof(struct passed),
                                        .bucket_ms = step->ttl_ms / 64 + 1,
                                        .bytes_max = SIZE_MAX};
    const char *name = builder_compile_store(spec, "keys_max", &step->store);
    step->format = (struct changelog_format){.kind = CHANGELOG_WINDOW,
                                             .layout = changelog_layout(CHANGELOG_LAYOUT, "dedup")};
    for (size_t i = 0; i < step->by.count; i++) {
        step->format.layout = changelog_layout(step->format.layout, step->by.fields[i].text);
    }
    (void)builder_add_state(
        builder, spec,
        &(struct builder_state){
            .kind = &dedup_state_kind, .step = step, .store = name, .retention_ms = -1});
    return step;
}

/* --- one record ---------------------------------------------------------------------------------*/

static struct passed passed_of(const struct step_run *run)
{
    return run->in->origin ? (struct passed){run->in->origin->offset, run->input}
                           : (struct passed){-1, 0};
}

/* Event time is so far that the cell counts no more; it is still there until a commit. */
static bool is_forgotten(const struct dedup_state *state, const struct store_cell *cell,
                         int64_t watermark_ms)
{
    return cell->time_ms + state->step->ttl_ms <= watermark_ms;
}

enum found {
    FOUND_NOTHING,
    FOUND_OTHER,
    FOUND_ITSELF, /* its state was written, but perhaps not what was to be put out */
};

/* What a cell is to the record. When records come again, cells of later ones may be there already:
 * they were not when it came first. Of two records that were made of one, the second finds the
 * first's cell dirty. */
static enum found cell_meets(const struct dedup_state *state, const struct store_cell *cell,
                             struct passed record, int64_t watermark_ms)
{
    const struct passed *passed = cell->value;
    if (record.offset >= 0 && passed->input == record.input && !cell->is_dirty) {
        if (passed->offset == record.offset) {
            return FOUND_ITSELF;
        }
        if (passed->offset > record.offset) {
            return FOUND_NOTHING;
        }
    }
    return is_forgotten(state, cell, watermark_ms) ? FOUND_NOTHING : FOUND_OTHER;
}

/* *ret_cell: the record's own. */
static enum found find(const struct dedup_state *state, const struct step_run *run,
                       struct strview key, struct passed record, struct store_cell **ret_cell)
{
    int64_t within_ms = state->step->ttl_ms - 1;
    struct store_range range = store_range(store_key_find(state->store, key),
                                           run->event_ms - within_ms, run->event_ms + within_ms);
    enum found found = FOUND_NOTHING;
    for (struct store_cell *cell; (cell = store_next(&range));) {
        enum found here = cell_meets(state, cell, record, run->watermark_ms);
        if (here == FOUND_ITSELF) {
            *ret_cell = cell;
        }
        found = here > found ? here : found;
    }
    return found;
}

static enum step_verdict dedup_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct dedup_step *step = compiled;
    struct dedup_state *state = task_state;
    struct passed record = passed_of(run);
    struct strview key;
    if (!step_key_read(&step->by, run, &key)) {
        return STEP_REJECT;
    }
    struct store_cell *cell = NULL;
    enum found found = find(state, run, key, record, &cell);
    if (found == FOUND_ITSELF) {
        store_touch(state->store, cell);
        return STEP_NEXT;
    }
    if (found == FOUND_OTHER) {
        return STEP_DROP;
    }
    run->reason = store_add(state->store, key, run->event_ms, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    *(struct passed *)store_edit(state->store, cell) = record;
    return STEP_NEXT;
}

/* --- a commit -----------------------------------------------------------------------------------*/

static enum err dedup_before_commit(void *task_state, const struct step_commit *commit)
{
    struct dedup_state *state = task_state;
    size_t count = 0;
    struct store_cell *const *cells = NULL;
    if (state->time_ms != TIME_NONE) {
        cells = store_between(state->store, 0, state->time_ms - state->step->ttl_ms, &count);
    }
    for (size_t i = 0; i < count; i++) {
        store_remove(state->store, cells[i]);
    }
    state->next_time_ms = commit->watermark_ms;
    return changelog_write(&state->writer, commit, state->store);
}

static void dedup_committed(void *task_state)
{
    struct dedup_state *state = task_state;
    store_commit(state->store, NULL);
    state->time_ms = state->next_time_ms;
}

static void dedup_aborted(void *task_state)
{
    store_abort(((struct dedup_state *)task_state)->store);
}

static bool dedup_wants_commit(const void *task_state, int64_t watermark_ms, int64_t now_ms)
{
    (void)now_ms;
    const struct dedup_state *state = task_state;
    int64_t first_ms = store_first_ms(state->store);
    return store_dirty_count(state->store) > 0 ||
           (first_ms < INT64_MAX && first_ms + state->step->ttl_ms <= watermark_ms);
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *dedup_state_new(const void *compiled)
{
    struct dedup_state *state = must_alloc(sizeof *state);
    state->step = compiled;
    state->store = store_new(&state->step->store);
    state->time_ms = TIME_NONE;
    changelog_writer_init(&state->writer, &state->step->format);
    return state;
}

static void dedup_state_free(void *task_state)
{
    struct dedup_state *state = task_state;
    store_free(state->store);
    changelog_writer_deinit(&state->writer);
    free(state);
}

static enum err dedup_restore(void *task_state, struct strview record_key, struct strview value,
                              struct err_info *info)
{
    static const struct changelog_bounds bounds = {STEP_KEY_BYTES_MAX, sizeof(struct passed),
                                                   sizeof(struct passed)};
    struct dedup_state *state = task_state;
    struct strview key;
    int64_t time_ms, minor;
    enum err e = changelog_decode_key(CHANGELOG_WINDOW, record_key, &key, &time_ms, &minor);
    return e ? err_set(info, e, "the changelog has a key that is none of this store")
             : changelog_restore(&state->step->format, &bounds, state->store, key, time_ms, minor,
                                 value, info);
}

static void dedup_restore_time(void *task_state, int64_t watermark_ms)
{
    ((struct dedup_state *)task_state)->time_ms = watermark_ms;
}

static void dedup_stats(const void *task_state, struct stream_task_stats *stats)
{
    const struct dedup_state *state = task_state;
    stats->keys += store_key_count(state->store);
    stats->state_bytes += store_bytes(state->store);
}

static const struct step_state_kind dedup_state_kind = {
    .new_state = dedup_state_new,
    .free_state = dedup_state_free,
    .before_commit = dedup_before_commit,
    .committed = dedup_committed,
    .aborted = dedup_aborted,
    .restore = dedup_restore,
    .wants_commit = dedup_wants_commit,
    .restore_time = dedup_restore_time,
    .stats = dedup_stats,
};

const struct step_kind step_dedup = {
    .name = "dedup",
    .compile = dedup_compile,
    .free_step = dedup_free,
    .run = dedup_run,
};
