#include "stream/changelog_writer.h"

#define RECORD_BYTES_MAX ((size_t)64 * 1024 * 1024 + 1024) /* a value's, and its head */
#define KEY_BYTES_MAX    (64 * 1024)

void changelog_writer_init(struct changelog_writer *writer, const struct changelog_format *format)
{
    writer->format = *format;
    buf_init(&writer->key, KEY_BYTES_MAX);
    buf_init(&writer->value, RECORD_BYTES_MAX);
}

void changelog_writer_deinit(struct changelog_writer *writer)
{
    buf_free(&writer->key);
    buf_free(&writer->value);
}

static enum err emit(struct changelog_writer *writer, const struct step_commit *commit,
                     int64_t time_ms, struct strview value)
{
    const struct stream_out out = {.target = STREAM_CHANGELOG,
                                   .topic = commit->changelog_topic,
                                   .partition = commit->partition,
                                   .key = buf_view(&writer->key),
                                   .value = value,
                                   .timestamp_ms = time_ms};
    commit->stats->changelog_records++;
    return commit->sink->emit(commit->sink->context, &out);
}

enum err changelog_put(struct changelog_writer *writer, const struct step_commit *commit,
                       struct store_cell *cell)
{
    int64_t next_offsets[CHANGELOG_INPUTS_MAX] = {0};
    for (unsigned i = 0; i < writer->format.inputs && i < commit->input_count; i++) {
        bool is_ahead = cell->next_offsets[i] > commit->next_offsets[i]; /* of a replay */
        next_offsets[i] = is_ahead ? cell->next_offsets[i] : commit->next_offsets[i];
    }
    buf_reset(&writer->key);
    buf_reset(&writer->value);
    enum err e = changelog_encode_key(writer->format.kind, store_cell_key(cell), cell->time_ms,
                                      cell->minor | writer->mark, &writer->key);
    e = e ? e
          : changelog_encode_value(&writer->format, next_offsets, sv_of(cell->value, cell->bytes),
                                   &writer->value);
    e = e ? e : emit(writer, commit, cell->time_ms, buf_view(&writer->value));
    cell->is_being_stored = !e;
    return e;
}

enum err changelog_delete(struct changelog_writer *writer, const struct step_commit *commit,
                          struct strview key, int64_t time_ms, int64_t minor)
{
    buf_reset(&writer->key);
    enum err e =
        changelog_encode_key(writer->format.kind, key, time_ms, minor | writer->mark, &writer->key);
    return e ? e : emit(writer, commit, time_ms, (struct strview){NULL, 0});
}

/* Where moved cells were, unless another is there now. */
static enum err write_moves(struct changelog_writer *writer, const struct step_commit *commit,
                            struct store *store)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < store_move_count(store); i++) {
        const struct store_move *move = store_move_at(store, i);
        struct strview key = store_cell_key(move->cell);
        if (move->cell->is_stored && !store_find(store, key, move->time_ms, move->minor)) {
            e = changelog_delete(writer, commit, key, move->time_ms, move->minor);
        }
    }
    return e;
}

enum err changelog_write(struct changelog_writer *writer, const struct step_commit *commit,
                         struct store *store)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < store_dirty_count(store); i++) {
        struct store_cell *cell = store_dirty(store, i);
        e = cell->is_removed ? ERR_OK : changelog_put(writer, commit, cell);
    }
    e = e ? e : write_moves(writer, commit, store);
    for (size_t i = 0; !e && i < store_dirty_count(store); i++) {
        struct store_cell *cell = store_dirty(store, i);
        if (cell->is_removed && cell->is_stored && !cell->is_moved) {
            e = changelog_delete(writer, commit, store_cell_key(cell), cell->time_ms, cell->minor);
        }
    }
    return e;
}

enum err changelog_restore(const struct changelog_format *format,
                           const struct changelog_bounds *bounds, struct store *store,
                           struct strview key, int64_t time_ms, int64_t minor, struct strview value,
                           struct err_info *info)
{
    int64_t next_offsets[CHANGELOG_INPUTS_MAX];
    struct strview bytes;
    struct store_cell *cell;
    if (key.len > bounds->key_bytes_max || time_ms > EVENT_TIME_MAX_MS) {
        return err_set(info, ERR_STATE, "the changelog has a key that is none of this store");
    }
    if (!value.ptr) {
        cell = store_find(store, key, time_ms, minor);
        if (cell) {
            store_unload(store, cell);
        }
        return ERR_OK;
    }
    enum err e = changelog_decode_value(format, value, next_offsets, &bytes, info);
    if (!e && (bytes.len < bounds->bytes_min || bytes.len > bounds->bytes_max)) {
        e = err_set(info, ERR_STATE, "the changelog has a value that is none of this store");
    }
    e = e ? e : store_load(store, key, time_ms, minor, bytes.len, &cell, info);
    if (e) {
        return e;
    }
    if (bytes.len > 0) {
        memcpy(cell->value, bytes.ptr, bytes.len);
    }
    memcpy(cell->next_offsets, next_offsets, format->inputs * sizeof next_offsets[0]);
    return ERR_OK;
}
