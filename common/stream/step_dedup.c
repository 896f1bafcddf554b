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

#include "stream/kept_state.h"
#include "stream/step_key.h"
#include "stream/steps.h"

struct passed {
    int64_t offset; /* of the record; -1: it was made of several */
    int64_t input;
};

struct dedup_step {
    struct step_key by;
    int64_t ttl_ms;
    struct kept_config kept; /* a task's state is nothing else */
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

static uint32_t layout_of(const struct dedup_step *step)
{
    uint32_t layout = changelog_layout(CHANGELOG_LAYOUT, "dedup");
    for (size_t i = 0; i < step->by.count; i++) {
        layout = changelog_layout(layout, step->by.fields[i].text);
    }
    return layout;
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
    step->kept =
        (struct kept_config){.store = {.value_bytes = sizeof(struct passed),
                                       .bucket_ms = step->ttl_ms / 64 + 1,
                                       .bytes_max = SIZE_MAX,
                                       .goes_whole = true},
                             .format = {.kind = CHANGELOG_WINDOW, .layout = layout_of(step)},
                             .can_spill = true,
                             .is_timed = true,
                             .keep_ms = {step->ttl_ms},
                             .key_bytes_max = STEP_KEY_BYTES_MAX,
                             .bytes_min = sizeof(struct passed),
                             .bytes_max = sizeof(struct passed)};
    const char *name = builder_compile_store(spec, "keys_max", &step->kept.store);
    (void)builder_add_state(builder, spec,
                            &(struct builder_state){.kind = &dedup_state_kind,
                                                    .step = &step->kept,
                                                    .kept = &step->kept,
                                                    .store = name,
                                                    .retention_ms = -1});
    return step;
}

/* --- one record ---------------------------------------------------------------------------------*/

static struct passed passed_of(const struct step_run *run)
{
    return run->in->origin ? (struct passed){run->in->origin->offset, run->input}
                           : (struct passed){-1, 0};
}

/* Event time is so far that the cell counts no more; it is still there until a commit. */
static bool is_forgotten(const struct dedup_step *step, const struct store_cell *cell,
                         int64_t watermark_ms)
{
    return cell->time_ms + step->ttl_ms <= watermark_ms;
}

enum found {
    FOUND_NOTHING,
    FOUND_OTHER,
    FOUND_ITSELF, /* its state was written, but perhaps not what was to be put out */
};

/* What a cell is to the record. When records come again, cells of later ones may be there already:
 * they were not when it came first. Of two records that were made of one, the second finds the
 * first's cell dirty. */
static enum found cell_meets(const struct dedup_step *step, const struct store_cell *cell,
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
    return is_forgotten(step, cell, watermark_ms) ? FOUND_NOTHING : FOUND_OTHER;
}

/* *ret_cell: the record's own. */
static enum found find(const struct dedup_step *step, const struct store *store,
                       const struct step_run *run, struct strview key, struct passed record,
                       struct store_cell **ret_cell)
{
    int64_t within_ms = step->ttl_ms - 1;
    struct store_range range = store_range(store_key_find(store, key), run->event_ms - within_ms,
                                           run->event_ms + within_ms);
    enum found found = FOUND_NOTHING;
    for (struct store_cell *cell; (cell = store_next(&range));) {
        enum found here = cell_meets(step, cell, record, run->watermark_ms);
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
    struct store *store = ((struct kept_state *)task_state)->store;
    struct passed record = passed_of(run);
    struct strview key;
    if (!step_key_read(&step->by, run, &key)) {
        return STEP_REJECT;
    }
    run->reason = store_recall_key(store, key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    struct store_cell *cell = NULL;
    enum found found = find(step, store, run, key, record, &cell);
    if (found == FOUND_ITSELF) {
        store_touch(store, cell);
        return STEP_NEXT;
    }
    if (found == FOUND_OTHER) {
        return STEP_DROP;
    }
    run->reason = store_add(store, key, run->event_ms, &cell, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    *(struct passed *)store_edit(store, cell) = record;
    return STEP_NEXT;
}

static const struct step_state_kind dedup_state_kind = {
    .new_state = kept_state_new,
    .free_state = kept_state_free,
    .before_commit = kept_state_before_commit,
    .committed = kept_state_committed,
    .aborted = kept_state_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = kept_state_restore_time,
    .stats = kept_state_stats,
};

const struct step_kind step_dedup = {
    .name = "dedup",
    .compile = dedup_compile,
    .free_step = dedup_free,
    .run = dedup_run,
};
