#include "sink_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/hash_map.h"
#include "json/json_file.h"

#define STATE_VERSION  1
#define PARTITIONS_MAX 100000
#define NAME_BYTES_MAX 300

struct sink_file {
    struct sink_file_params params;
    char *path;
    int fd;
    int lock_fd;
    int64_t generation;
    int64_t length;             /* committed bytes of the file */
    struct hash_map *positions; /* "topic:partition" → int64_t next */
    struct buf pending;
    bool is_rotating; /* the full file must still be renamed to <path>.<generation - 1> */
    bool is_dirty;
};

/* --- positions -------------------------------------------------------------------------------- */

static struct strview position_name(char name[NAME_BYTES_MAX], const char *topic, int32_t partition)
{
    int length = snprintf(name, NAME_BYTES_MAX, "%s:%d", topic, partition);
    return sv_of(name, (size_t)length);
}

static void position_set(struct sink_file *file, const char *topic, int32_t partition, int64_t next)
{
    char name[NAME_BYTES_MAX];
    int64_t *slot =
        hash_map_get_or_add(file->positions, position_name(name, topic, partition), NULL);
    CHECK(slot); /* Kafka has fewer partitions than PARTITIONS_MAX in a sink's few topics */
    *slot = next;
}

int64_t sink_file_position(const struct sink_file *file, const char *topic, int32_t partition)
{
    char name[NAME_BYTES_MAX];
    const int64_t *slot = hash_map_find(file->positions, position_name(name, topic, partition));
    return slot ? *slot : -1;
}

/* --- state file ------------------------------------------------------------------------------- */

static json_t *state_json(const struct sink_file *file, int64_t generation, int64_t length)
{
    json_t *positions = json_object();
    for (size_t i = 0; i < hash_map_count(file->positions); i++) {
        struct strview name = hash_map_key_at(file->positions, i);
        const int64_t *next = hash_map_value_at(file->positions, i);
        (void)json_object_setn_new(positions, name.ptr, name.len, json_integer(*next));
    }
    return json_pack("{s:i, s:I, s:I, s:b, s:o}", "version", STATE_VERSION, "generation",
                     (json_int_t)generation, "length", (json_int_t)length, "rotating",
                     file->is_rotating, "positions", positions);
}

static enum err state_store(const struct sink_file *file, const char *draft, const char *text)
{
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return ERR_IO;
    }
    enum err e = file_write_at(fd, text, strlen(text), 0);
    if (!e && file->params.is_synced && fsync(fd) != 0) {
        e = ERR_IO;
    }
    return close(fd) == 0 ? e : ERR_IO;
}

/* Replaces the state; on success generation and length are the file's. */
static enum err state_commit(struct sink_file *file, int64_t generation, int64_t length,
                             struct err_info *info)
{
    char path[FILE_PATH_BYTES_MAX], draft[FILE_PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "%s.state", file->path);
    (void)snprintf(draft, sizeof draft, "%s.state.new", file->path);
    CLEANUP(json_decrefp) json_t *state = state_json(file, generation, length);
    char *text = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS);
    enum err e = text ? state_store(file, draft, text) : ERR_IO;
    free(text);
    if (!e && rename(draft, path) != 0) {
        e = ERR_IO;
    }
    if (!e && file->params.is_synced) {
        e = file_parent_sync(path);
    }
    if (e) {
        return file_error(info, "write", path);
    }
    file->generation = generation;
    file->length = length;
    return ERR_OK;
}

static enum err state_apply(struct sink_file *file, const json_t *state, const char *path,
                            struct err_info *info)
{
    json_t *positions = json_object_get(state, "positions");
    json_int_t version = json_integer_value(json_object_get(state, "version"));
    if (version != STATE_VERSION || !json_is_object(positions)) {
        return err_set(info, ERR_STATE, "%s: version %lld is not one this release reads", path,
                       (long long)version);
    }
    file->generation = json_integer_value(json_object_get(state, "generation"));
    file->length = json_integer_value(json_object_get(state, "length"));
    file->is_rotating = json_is_true(json_object_get(state, "rotating"));
    const char *name;
    json_t *next;
    json_object_foreach(positions, name, next)
    {
        int64_t *slot = hash_map_get_or_add(file->positions, sv(name), NULL);
        CHECK(slot);
        *slot = json_integer_value(next);
    }
    return ERR_OK;
}

static enum err state_load(struct sink_file *file, struct err_info *info)
{
    char path[FILE_PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "%s.state", file->path);
    if (access(path, F_OK) != 0) {
        /* A file that was there before us is kept and appended to. */
        struct stat status;
        file->length = fstat(file->fd, &status) == 0 ? status.st_size : 0;
        return ERR_OK;
    }
    CLEANUP(json_decrefp) json_t *state = NULL;
    enum err e = json_file_load(path, &state, info);
    return e ? ERR_STATE : state_apply(file, state, path, info);
}

/* --- the file --------------------------------------------------------------------------------- */

static enum err file_open(struct sink_file *file, struct err_info *info)
{
    file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    return file->fd >= 0 ? ERR_OK : file_error(info, "open", file->path);
}

static void rotated_path(const struct sink_file *file, int64_t generation,
                         char path[FILE_PATH_BYTES_MAX])
{
    (void)snprintf(path, FILE_PATH_BYTES_MAX, "%s.%lld", file->path, (long long)generation);
}

/* The second half of a rotation; safe to do again whatever part of it was done. */
static enum err rotate_finish(struct sink_file *file, struct err_info *info)
{
    char path[FILE_PATH_BYTES_MAX];
    rotated_path(file, file->generation - 1, path);
    if (access(path, F_OK) != 0) {
        if (rename(file->path, path) != 0) {
            return file_error(info, "rotate", file->path);
        }
        (void)close(file->fd); /* everything in it was synced at its commits */
        enum err e = file_open(file, info);
        if (e) {
            return e;
        }
    }
    file->is_rotating = false;
    return state_commit(file, file->generation, 0, info);
}

/* What a crash left behind the committed part goes; less than that means somebody else cut it. */
static enum err file_recover(struct sink_file *file, struct err_info *info)
{
    enum err e = file->is_rotating ? rotate_finish(file, info) : ERR_OK;
    struct stat status;
    if (e) {
        return e;
    }
    if (fstat(file->fd, &status) != 0) {
        return file_error(info, "read", file->path);
    }
    if (status.st_size < file->length) {
        return err_set(info, ERR_STATE,
                       "%s: has %lld bytes, its state says %lld: it was changed by somebody else; "
                       "move both away to start anew",
                       file->path, (long long)status.st_size, (long long)file->length);
    }
    return ftruncate(file->fd, file->length) == 0 ? ERR_OK : file_error(info, "cut", file->path);
}

static enum err lock_take(struct sink_file *file, struct err_info *info)
{
    char path[FILE_PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "%s.lock", file->path);
    return file_lock(path, "another sink", &file->lock_fd, info);
}

enum err sink_file_open(const struct sink_file_params *params, struct sink_file **ret,
                        struct err_info *info)
{
    struct sink_file *file = must_alloc(sizeof *file);
    file->params = *params;
    file->path = must_strdup(params->path);
    file->fd = file->lock_fd = -1;
    file->positions = hash_map_new(sizeof(int64_t), PARTITIONS_MAX);
    buf_init(&file->pending, params->pending_bytes_max);
    enum err e = file_parent_make(file->path, info);
    e = e ? e : lock_take(file, info);
    e = e ? e : file_open(file, info);
    e = e ? e : state_load(file, info);
    e = e ? e : file_recover(file, info);
    if (e) {
        sink_file_free(file);
        return e;
    }
    *ret = file;
    return ERR_OK;
}

void sink_file_free(struct sink_file *file)
{
    if (!file) {
        return;
    }
    if (file->fd >= 0) {
        (void)close(file->fd); /* what matters was synced by the commit */
    }
    if (file->lock_fd >= 0) {
        (void)close(file->lock_fd);
    }
    buf_free(&file->pending);
    hash_map_free(file->positions);
    free(file->path);
    free(file);
}

/* --- append and commit ------------------------------------------------------------------------ */

void sink_file_skip(struct sink_file *file, const struct sink_position *position)
{
    position_set(file, position->topic, position->partition, position->next);
    file->is_dirty = true;
}

enum err sink_file_append(struct sink_file *file, const struct sink_position *position,
                          struct strview line)
{
    enum err e = buf_reserve(&file->pending, line.len + 1);
    if (e) {
        return e;
    }
    char *out = file->pending.data + file->pending.len;
    for (size_t i = 0; i < line.len; i++) {
        /* In JSON a raw line break can only be white space between tokens. */
        out[i] = line.ptr[i] == '\n' || line.ptr[i] == '\r' ? ' ' : line.ptr[i];
    }
    out[line.len] = '\n';
    file->pending.len += line.len + 1;
    sink_file_skip(file, position);
    return ERR_OK;
}

size_t sink_file_pending_bytes(const struct sink_file *file)
{
    return file->pending.len;
}

bool sink_file_is_dirty(const struct sink_file *file)
{
    return file->is_dirty;
}

static enum err rotate(struct sink_file *file, struct err_info *info)
{
    file->is_rotating = true;
    enum err e = state_commit(file, file->generation + 1, 0, info);
    if (e) {
        file->is_rotating = false; /* still the old state; the next commit tries again */
        return e;
    }
    return rotate_finish(file, info);
}

enum err sink_file_commit(struct sink_file *file, struct err_info *info)
{
    if (file->is_dirty) {
        if (file_write_at(file->fd, file->pending.data, file->pending.len, file->length)) {
            return file_error(info, "write", file->path);
        }
        if (file->params.is_synced && fdatasync(file->fd) != 0) {
            return file_error(info, "sync", file->path);
        }
        enum err e =
            state_commit(file, file->generation, file->length + (int64_t)file->pending.len, info);
        if (e) {
            return e;
        }
        buf_reset(&file->pending);
        file->is_dirty = false;
    }
    bool is_full = file->params.rotate_bytes && file->length >= file->params.rotate_bytes;
    return is_full ? rotate(file, info) : ERR_OK;
}
