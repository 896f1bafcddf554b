#include "stream/kept_state.h"

#include <stdlib.h>

#define RECORD_BYTES_MAX ((size_t)64 * 1024 * 1024 + 1024) /* a value's, and its head */
#define KEY_BYTES_MAX    (64 * 1024)

static size_t store_count(const struct kept_state *kept)
{
    return kept->config->has_two ? 2 : 1;
}

/* --- life ---------------------------------------------------------------------------------------*/

void kept_state_init(struct kept_state *kept, const struct kept_config *config)
{
    kept->config = config;
    for (size_t i = 0; i < store_count(kept); i++) {
        struct store_config store = config->store;
        store.is_second = i > 0;
        kept->stores[i] = store_new(&store);
    }
    kept->time_ms = kept->next_time_ms = TIME_NONE;
    buf_init(&kept->key, KEY_BYTES_MAX);
    buf_init(&kept->value, RECORD_BYTES_MAX);
}

void kept_state_deinit(struct kept_state *kept)
{
    for (size_t i = 0; i < store_count(kept); i++) {
        store_free(kept->stores[i]);
    }
    buf_free(&kept->key);
    buf_free(&kept->value);
}

void *kept_state_new(const void *config)
{
    struct kept_state *kept = must_alloc(sizeof *kept);
    kept_state_init(kept, config);
    return kept;
}

void kept_state_free(void *state)
{
    kept_state_deinit(state);
    free(state);
}

/* --- records ------------------------------------------------------------------------------------*/

enum err kept_state_head(struct kept_state *kept, const struct step_commit *commit,
                         const struct store_cell *cell)
{
    const struct changelog_format *format = &kept->config->format;
    int64_t next_offsets[CHANGELOG_INPUTS_MAX] = {0};
    for (unsigned i = 0; i < format->inputs; i++) {
        int64_t here = i < commit->input_count ? commit->next_offsets[i] : 0;
        bool is_ahead = cell->next_offsets[i] > here; /* of a replay */
        next_offsets[i] = is_ahead ? cell->next_offsets[i] : here;
    }
    buf_reset(&kept->value);
    return changelog_encode_value(format, next_offsets, (struct strview){NULL, 0}, &kept->value);
}

enum err kept_state_emit(struct kept_state *kept, const struct step_commit *commit,
                         const struct kept_place *place, struct strview value)
{
    buf_reset(&kept->key);
    enum err e = changelog_encode_key(kept->config->format.kind, place->key, place->time_ms,
                                      place->minor, &kept->key);
    const struct stream_out out = {.target = STREAM_CHANGELOG,
                                   .topic = commit->changelog_topic,
                                   .partition = commit->partition,
                                   .key = buf_view(&kept->key),
                                   .value = value,
                                   .timestamp_ms = place->timestamp_ms};
    commit->stats->changelog_records++;
    return e ? e : commit->sink->emit(commit->sink->context, &out);
}

/* What writes one of the stores to the changelog at a commit. */
struct writing {
    struct kept_state *kept;
    const struct step_commit *commit;
    struct store *store;
    int64_t mark;
};

static enum err emit(const struct writing *writing, const struct store_cell *cell, int64_t time_ms,
                     int64_t minor, struct strview value)
{
    const struct kept_place place = {store_cell_key(cell), time_ms, minor | writing->mark, time_ms};
    return kept_state_emit(writing->kept, writing->commit, &place, value);
}

static enum err write_value(const struct writing *writing, struct store_cell *cell)
{
    struct buf *value = &writing->kept->value;
    enum err e = kept_state_head(writing->kept, writing->commit, cell);
    e = e || cell->bytes == 0 ? e : buf_append(value, cell->value, cell->bytes);
    e = e ? e : emit(writing, cell, cell->time_ms, cell->minor, buf_view(value));
    cell->is_being_stored = !e;
    return e;
}

static enum err write_tombstone(const struct writing *writing, const struct store_cell *cell,
                                int64_t time_ms, int64_t minor)
{
    return emit(writing, cell, time_ms, minor, (struct strview){NULL, 0});
}

/* Where moved cells were, unless another is there now. */
static enum err write_moves(const struct writing *writing)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < store_move_count(writing->store); i++) {
        const struct store_move *move = store_move_at(writing->store, i);
        struct strview key = store_cell_key(move->cell);
        if (move->cell->is_stored && !store_find(writing->store, key, move->time_ms, move->minor)) {
            e = write_tombstone(writing, move->cell, move->time_ms, move->minor);
        }
    }
    return e;
}

static enum err write_changes(const struct writing *writing)
{
    struct store *store = writing->store;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < store_dirty_count(store); i++) {
        struct store_cell *cell = store_dirty(store, i);
        e = cell->is_removed ? ERR_OK : write_value(writing, cell);
    }
    e = e ? e : write_moves(writing);
    for (size_t i = 0; !e && i < store_dirty_count(store); i++) {
        const struct store_cell *cell = store_dirty(store, i);
        if (cell->is_removed && cell->is_stored && !cell->is_moved) {
            e = write_tombstone(writing, cell, cell->time_ms, cell->minor);
        }
    }
    return e;
}

/* --- the cycle ----------------------------------------------------------------------------------*/

/* Cells up to this time are old; negative: none is. */
static int64_t old_ms(const struct kept_state *kept, size_t index)
{
    bool has_time = kept->config->is_timed && kept->time_ms != TIME_NONE;
    return has_time ? kept->time_ms - kept->config->keep_ms[index] : -1;
}

static void remove_old(struct kept_state *kept, size_t index)
{
    size_t count = 0;
    struct store_cell *const *cells = NULL;
    if (old_ms(kept, index) >= 0) {
        cells = store_between(kept->stores[index], 0, old_ms(kept, index), &count);
    }
    for (size_t i = 0; i < count; i++) {
        store_remove(kept->stores[index], cells[i]);
    }
}

static enum err forget_cell(void *context, struct store_cell *cell)
{
    return write_tombstone(context, cell, cell->time_ms, cell->minor);
}

/* The same of those that are on disk alone: all in memory were removed. */
static enum err forget_old(const struct writing *writing, int64_t time_ms)
{
    struct writing context = *writing;
    const struct store_visitor visitor = {forget_cell, &context};
    if (time_ms < 0) {
        return ERR_OK;
    }
    enum err e = store_visit(writing->store, 0, time_ms, &visitor, writing->commit->info);
    store_remove_away(writing->store, time_ms);
    return e;
}

void kept_state_begin(struct kept_state *kept, const struct step_commit *commit)
{
    for (unsigned i = 0; i < kept->config->format.inputs; i++) {
        kept->next_offsets[i] = i < commit->input_count ? commit->next_offsets[i] : 0;
    }
    /* Event time does not go back. */
    kept->next_time_ms =
        commit->watermark_ms > kept->time_ms ? commit->watermark_ms : kept->time_ms;
}

enum err kept_state_before_commit(void *state, const struct step_commit *commit)
{
    struct kept_state *kept = state;
    enum err e = ERR_OK;
    kept_state_begin(kept, commit);
    for (size_t i = 0; !e && i < store_count(kept); i++) {
        const struct writing writing = {kept, commit, kept->stores[i], i ? kept->config->mark : 0};
        remove_old(kept, i);
        e = write_changes(&writing);
        e = e || !kept->has_disk ? e : forget_old(&writing, old_ms(kept, i));
    }
    return e;
}

void kept_state_committed(void *state)
{
    struct kept_state *kept = state;
    for (size_t i = 0; i < store_count(kept); i++) {
        store_commit(kept->stores[i], kept->next_offsets);
    }
    kept->time_ms = kept->next_time_ms;
}

void kept_state_aborted(void *state)
{
    struct kept_state *kept = state;
    for (size_t i = 0; i < store_count(kept); i++) {
        store_abort(kept->stores[i]);
    }
}

bool kept_state_wants_commit(const void *state, int64_t watermark_ms, int64_t now_ms)
{
    (void)now_ms;
    const struct kept_state *kept = state;
    for (size_t i = 0; i < store_count(kept); i++) {
        if (store_dirty_count(kept->stores[i]) > 0) {
            return true;
        }
        int64_t first_ms = kept->config->is_timed ? store_first_ms(kept->stores[i]) : INT64_MAX;
        if (first_ms < INT64_MAX && first_ms + kept->config->keep_ms[i] <= watermark_ms) {
            return true;
        }
    }
    return false;
}

/* --- restoring ----------------------------------------------------------------------------------*/

static enum err restore_fail(struct err_info *info, const char *what)
{
    return err_set(info, ERR_STATE, "the changelog has a %s that is none of this store", what);
}

static enum err restore_cell(struct kept_state *kept, struct store *store,
                             const struct kept_place *place, struct strview value,
                             struct err_info *info)
{
    const struct kept_config *config = kept->config;
    int64_t next_offsets[CHANGELOG_INPUTS_MAX];
    struct strview bytes;
    struct store_cell *cell;
    enum err e = changelog_decode_value(&config->format, value, next_offsets, &bytes, info);
    if (e) {
        return e;
    }
    if (bytes.len < config->bytes_min || bytes.len > config->bytes_max ||
        (config->is_cell && !config->is_cell(place->time_ms, place->minor, bytes))) {
        return restore_fail(info, "value");
    }
    e = store_load(store, place->key, place->time_ms, place->minor, bytes.len, &cell, info);
    if (e) {
        return e;
    }
    if (bytes.len > 0) {
        memcpy(cell->value, bytes.ptr, bytes.len);
    }
    memcpy(cell->next_offsets, next_offsets, config->format.inputs * sizeof next_offsets[0]);
    return ERR_OK;
}

enum err kept_state_restore(void *state, struct strview record_key, struct strview value,
                            struct err_info *info)
{
    struct kept_state *kept = state;
    const struct kept_config *config = kept->config;
    struct kept_place place;
    if (changelog_decode_key(config->format.kind, record_key, &place.key, &place.time_ms,
                             &place.minor) ||
        place.key.len > config->key_bytes_max || place.time_ms > EVENT_TIME_MAX_MS) {
        return restore_fail(info, "key");
    }
    struct store *store = kept->stores[place.minor & config->mark ? 1 : 0];
    place.minor &= ~config->mark;
    if (value.ptr) {
        return restore_cell(kept, store, &place, value, info);
    }
    enum err e = store_recall_key(store, place.key, info);
    if (e) {
        return e;
    }
    struct store_cell *cell = store_find(store, place.key, place.time_ms, place.minor);
    if (cell) {
        store_unload(store, cell);
    }
    return ERR_OK;
}

void kept_state_restore_time(void *state, int64_t watermark_ms)
{
    ((struct kept_state *)state)->time_ms = watermark_ms;
}

void kept_state_stats(const void *state, struct stream_task_stats *stats)
{
    const struct kept_state *kept = state;
    for (size_t i = 0; i < store_count(kept); i++) {
        struct store_spill_stats spill = store_spill_stats(kept->stores[i]);
        stats->keys += store_key_count(kept->stores[i]);
        stats->state_bytes += store_bytes(kept->stores[i]);
        stats->spilled += spill.cells;
        stats->spill_written += spill.written;
        stats->spill_read += spill.read;
    }
}

/* --- with a disk --------------------------------------------------------------------------------*/

void kept_state_spill(void *state, const struct store_disk *disk, size_t bytes_max)
{
    struct kept_state *kept = state;
    CHECK(kept->config->can_spill);
    for (size_t i = 0; i < store_count(kept); i++) {
        store_spill(kept->stores[i], disk, bytes_max / store_count(kept));
    }
    kept->has_disk = true;
}

void kept_state_limit(void *state, size_t bytes_max)
{
    const struct kept_state *kept = state;
    for (size_t i = 0; i < store_count(kept); i++) {
        store_spill_limit(kept->stores[i], bytes_max / store_count(kept));
    }
}
