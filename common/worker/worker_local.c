/* Rows in RocksDB:  changelog, 8 (a hash of its name) | partition, 4 | 'r' | record key  →  value
 * The place:        changelog, 8                      | partition, 4 | 'p'               →  struct place */
#include "worker/worker_local.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "core/buf.h"
#include "log/log.h"
#include "worker/worker_rocksdb.h"

#define FORMAT             1
#define WRITE_BUFFER_BYTES ((size_t)16 << 20)
#define WAL_BYTES          ((uint64_t)64 << 20)
#define PATH_BYTES         1024
#define PLACE_AGE_MAX_MS   ((int64_t)3600 * 1000) /* one that did not move is told to be young */
#define PREFIX_BYTES       13
#define KEY_BYTES_MAX      (64 * 1024 + PREFIX_BYTES)

/* --- the folder ---------------------------------------------------------------------------------*/

struct worker_local {
    char dir[PATH_BYTES];
    int lock_fd;
    uint64_t free_bytes_min;
    struct metric_series *errors;
    rocksdb_options_t *options;
    rocksdb_readoptions_t *reading;
    rocksdb_writeoptions_t *writing;
    /* Held to read while the database is used, to write while it is made anew. */
    pthread_rwlock_t lock;
    rocksdb_t *db;       /* under the lock; NULL: it cannot be opened, nothing is kept */
    unsigned generation; /* under the lock: how often it was made anew */
    _Atomic uint64_t copies;
};

/* True: text was an error, which was told. Frees it. */
static bool is_error(const struct worker_local *local, char *text, const char *what)
{
    if (!text) {
        return false;
    }
    metric_add(local->errors, 1);
    log_event(LOG_ERROR, "local_state_error", text, KV("during", what), KV("dir", local->dir));
    rocksdb.free(text);
    return true;
}

static bool has_room(const struct worker_local *local)
{
    if (rocksdb_has_room(local->dir, local->free_bytes_min)) {
        return true;
    }
    metric_add(local->errors, 1);
    log_event(LOG_ERROR, "local_state_error",
              "the disk is full, or nearly so: the copy of the state is not written to",
              KV("dir", local->dir), KV("free_bytes_min", (int64_t)local->free_bytes_min));
    return false;
}

static void database_open(struct worker_local *local)
{
    char *error = NULL;
    if (!has_room(local)) {
        return; /* goes on without */
    }
    local->db = rocksdb.open(local->options, local->dir, &error);
    if (!is_error(local, error, "open")) {
        return;
    }
    log_event(LOG_WARN, "local_state_remade",
              "the copy of the state on disk is thrown away: it comes from the changelogs again",
              KV("dir", local->dir));
    error = NULL;
    rocksdb.destroy_db(local->options, local->dir, &error);
    if (is_error(local, error, "destroy")) {
        return;
    }
    local->db = rocksdb.open(local->options, local->dir, &error);
    (void)is_error(local, error, "open"); /* goes on without */
}

/* Of a generation that cannot be read; another thread may have found out first. */
static void database_remake(struct worker_local *local, unsigned generation)
{
    char *error = NULL;
    (void)pthread_rwlock_wrlock(&local->lock);
    if (local->db && local->generation == generation) {
        log_event(LOG_WARN, "local_state_remade",
                  "the copy of the state on disk cannot be read and is thrown away: it comes from "
                  "the changelogs again",
                  KV("dir", local->dir));
        local->generation++;
        rocksdb.close(TAKE(local->db));
        rocksdb.destroy_db(local->options, local->dir, &error);
        if (!is_error(local, error, "destroy")) {
            database_open(local);
        }
    }
    (void)pthread_rwlock_unlock(&local->lock);
}

static void options_make(struct worker_local *local)
{
    local->options = rocksdb_options_new(WRITE_BUFFER_BYTES);
    rocksdb.options_set_max_total_wal_size(local->options, WAL_BYTES);
    local->reading = rocksdb.readoptions_create();
    rocksdb.readoptions_set_fill_cache(local->reading, 0); /* everything is read once */
    local->writing = rocksdb.writeoptions_create();        /* to the log, not synced: see EXACT */
}

/* RocksDB's own lock tells no other process from a folder that cannot be written to. */
static enum err folder_lock(struct worker_local *local, const char *dir, struct err_info *info)
{
    char path[PATH_BYTES + 16];
    if ((mkdir(dir, 0700) && errno != EEXIST) || (mkdir(local->dir, 0700) && errno != EEXIST)) {
        return err_set(info, ERR_CONFIG, "state.dir: making %s: %s", local->dir, strerror(errno));
    }
    (void)snprintf(path, sizeof path, "%s/in-use", local->dir);
    local->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (local->lock_fd < 0) {
        return err_set(info, ERR_CONFIG, "state.dir: opening %s: %s", path, strerror(errno));
    }
    if (flock(local->lock_fd, LOCK_EX | LOCK_NB)) {
        return err_set(info, ERR_CONFIG,
                       "state.dir: %s is in use by another process: each needs a folder of its own",
                       local->dir);
    }
    return ERR_OK;
}

enum err worker_local_open(const struct worker_local_params *params, struct worker_local **ret,
                           struct err_info *info)
{
    struct worker_local *local = must_alloc(sizeof *local);
    local->lock_fd = -1;
    local->errors = params->errors;
    local->free_bytes_min = params->free_bytes_min;
    (void)pthread_rwlock_init(&local->lock, NULL);
    int length = snprintf(local->dir, sizeof local->dir, "%s/%s", params->dir, params->pipeline);
    enum err e = length < 0 || (size_t)length >= sizeof local->dir
                     ? err_set(info, ERR_CONFIG, "state.dir: %s is too long", params->dir)
                     : rocksdb_load("state.dir", info);
    e = e ? e : folder_lock(local, params->dir, info);
    if (e) {
        worker_local_free(local);
        return e;
    }
    options_make(local);
    database_open(local);
    *ret = local;
    return ERR_OK;
}

void worker_local_free(struct worker_local *local)
{
    if (!local) {
        return;
    }
    if (local->db) {
        rocksdb.close(local->db);
    }
    if (local->options) {
        rocksdb.options_destroy(local->options);
        rocksdb.readoptions_destroy(local->reading);
        rocksdb.writeoptions_destroy(local->writing);
    }
    if (local->lock_fd >= 0) {
        (void)close(local->lock_fd); /* and so it is another's to lock */
    }
    (void)pthread_rwlock_destroy(&local->lock);
    free(local);
}

/* --- a copy -------------------------------------------------------------------------------------*/

/* As it lies on disk, little-endian; the changelog's name follows. */
struct place {
    uint32_t format;
    uint32_t epoch;
    int64_t next;
    int64_t at_ms;
    uint64_t owner; /* the copy that wrote it */
};

struct local_copy {
    struct worker_local *local;
    const char *changelog;
    uint32_t epoch;
    unsigned generation; /* of the database, when this was made or cleared */
    /* The place stays where it is: rows are missing that were to be written. */
    bool is_behind;
    bool is_ahead;  /* rows were written since the place was */
    bool has_place; /* it has told one, and so would know of another's */
    uint64_t number;
    int64_t placed_ms;
    struct buf key;    /* prefix, then a record's */
    struct buf cursor; /* the row to read next; empty: the first one */
    size_t held_bytes; /* in … */
    rocksdb_writebatch_t *held;
};

static void put_number(char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(unsigned char)(value >> (8 * (bytes - 1 - i)));
    }
}

/* The kind of row, then the record's key. False: it is longer than any changelog's. */
static bool key_make(struct local_copy *copy, char kind, struct strview key)
{
    copy->key.data[PREFIX_BYTES - 1] = kind;
    copy->key.len = PREFIX_BYTES;
    return !buf_append_view(&copy->key, key);
}

struct local_copy *local_copy_new(struct worker_local *local, const char *changelog,
                                  int32_t partition, uint32_t epoch)
{
    struct local_copy *copy = must_alloc(sizeof *copy);
    copy->local = local;
    copy->changelog = changelog;
    copy->epoch = epoch;
    copy->number = atomic_fetch_add(&local->copies, 1) + 1;
    (void)pthread_rwlock_rdlock(&local->lock);
    copy->generation = local->generation;
    (void)pthread_rwlock_unlock(&local->lock);
    copy->held = rocksdb.writebatch_create();
    buf_init(&copy->key, KEY_BYTES_MAX);
    buf_init(&copy->cursor, KEY_BYTES_MAX);
    CHECK(!buf_reserve(&copy->key, PREFIX_BYTES));
    put_number(copy->key.data, XXH3_64bits(changelog, strlen(changelog)), 8);
    put_number(copy->key.data + 8, (uint32_t)partition, 4);
    return copy;
}

/* Under the lock. */
static bool is_usable(const struct local_copy *copy)
{
    return copy->local->db && copy->generation == copy->local->generation;
}

void local_copy_free(struct local_copy *copy)
{
    if (!copy) {
        return;
    }
    rocksdb.writebatch_destroy(copy->held);
    buf_free(&copy->key);
    buf_free(&copy->cursor);
    free(copy);
}

/* What is held, to the database. */
static void held_write(struct local_copy *copy)
{
    struct worker_local *local = copy->local;
    char *error = NULL;
    (void)pthread_rwlock_rdlock(&local->lock);
    if (!is_usable(copy)) {
        copy->is_behind = true;
    } else if (!copy->is_behind && !has_room(local)) {
        copy->is_behind = true;
    } else if (!copy->is_behind) { /* else another start is what helps */
        rocksdb.write(local->db, local->writing, copy->held, &error);
        copy->is_behind = is_error(local, error, "write");
    }
    (void)pthread_rwlock_unlock(&local->lock);
    rocksdb.writebatch_clear(copy->held);
    copy->held_bytes = 0;
}

/* --- finding and reading ------------------------------------------------------------------------*/

/* False: there is none, or it is of something else. */
static bool place_read(struct local_copy *copy, struct place *ret)
{
    struct worker_local *local = copy->local;
    size_t name_bytes = strlen(copy->changelog), bytes = 0;
    char *error = NULL, *value = NULL;
    CHECK(key_make(copy, 'p', (struct strview){"", 0}));
    (void)pthread_rwlock_rdlock(&local->lock);
    if (is_usable(copy)) {
        value =
            rocksdb.get(local->db, local->reading, copy->key.data, copy->key.len, &bytes, &error);
    }
    (void)pthread_rwlock_unlock(&local->lock);
    if (is_error(local, error, "read")) {
        database_remake(local, copy->generation);
        return false;
    }
    bool is_ours = value && bytes == sizeof *ret + name_bytes &&
                   memcmp(value + sizeof *ret, copy->changelog, name_bytes) == 0;
    if (is_ours) {
        memcpy(ret, value, sizeof *ret);
        is_ours = ret->format == FORMAT && ret->next >= 0;
    }
    rocksdb.free(value);
    return is_ours;
}

int64_t local_copy_find(struct local_copy *copy, int64_t now_ms)
{
    struct place place;
    if (!place_read(copy, &place)) {
        return -1;
    }
    bool is_other = place.epoch != copy->epoch;
    bool is_old =
        now_ms - place.at_ms > LOCAL_AGE_MAX_MS || place.at_ms - now_ms > LOCAL_AGE_MAX_MS;
    if (is_other || is_old) {
        log_event(LOG_WARN, "local_state_stale",
                  is_other ? "the changelog was made anew since: all of it is read"
                           : "the copy on disk is too old: the whole changelog is read",
                  KV("topic", copy->changelog), KV("offset", place.next));
        return -1;
    }
    return place.next;
}

void local_copy_clear(struct local_copy *copy)
{
    struct worker_local *local = copy->local;
    char end[PREFIX_BYTES];
    (void)pthread_rwlock_rdlock(&local->lock);
    copy->generation = local->generation;
    (void)pthread_rwlock_unlock(&local->lock);
    copy->is_behind = copy->has_place = false;
    buf_reset(&copy->cursor);
    rocksdb.writebatch_clear(copy->held);
    /* The place goes first: 'p' is before 'r', and the batch is one. */
    CHECK(key_make(copy, 'p', (struct strview){"", 0}));
    memcpy(end, copy->key.data, sizeof end);
    end[PREFIX_BYTES - 1] = 'r' + 1;
    rocksdb.writebatch_delete_range(copy->held, copy->key.data, copy->key.len, end, sizeof end);
    held_write(copy);
}

/* Where the iterator is; false: at no row of this copy. */
static bool row_get(const struct local_copy *copy, const rocksdb_iterator_t *at,
                    struct strview *ret_row, struct strview *ret_value)
{
    if (!rocksdb.iter_valid(at)) {
        return false;
    }
    ret_row->ptr = rocksdb.iter_key(at, &ret_row->len);
    ret_value->ptr = rocksdb.iter_value(at, &ret_value->len);
    return ret_row->len >= PREFIX_BYTES && memcmp(ret_row->ptr, copy->key.data, PREFIX_BYTES) == 0;
}

/* Under the lock. From the cursor on. */
static enum err rows_read(struct local_copy *copy, rocksdb_iterator_t *at, size_t max,
                          const struct local_reader *reader, bool *ret_is_end,
                          struct err_info *info)
{
    struct strview row, value;
    enum err e = ERR_OK;
    CHECK(key_make(copy, 'r', (struct strview){"", 0}));
    const struct buf *from = copy->cursor.len > 0 ? &copy->cursor : &copy->key;
    rocksdb.iter_seek(at, from->data, from->len);
    for (size_t i = 0; i < max && !e && row_get(copy, at, &row, &value); i++) {
        struct strview key = {row.ptr + PREFIX_BYTES, row.len - PREFIX_BYTES};
        e = reader->on_row(reader->context, key, value, info);
        rocksdb.iter_next(at);
    }
    *ret_is_end = !row_get(copy, at, &row, &value);
    buf_reset(&copy->cursor);
    CHECK(*ret_is_end || !buf_append_view(&copy->cursor, row)); /* it was bounded when it was put */
    return e;
}

/* An iterator for each call: none is open when the database is made anew. */
enum err local_copy_read(struct local_copy *copy, size_t max, const struct local_reader *reader,
                         bool *ret_is_end, struct err_info *info)
{
    struct worker_local *local = copy->local;
    char *error = NULL;
    enum err e = ERR_STATE;
    (void)pthread_rwlock_rdlock(&local->lock);
    bool was_usable = is_usable(copy);
    if (was_usable) {
        rocksdb_iterator_t *at = rocksdb.create_iterator(local->db, local->reading);
        e = rows_read(copy, at, max, reader, ret_is_end, info);
        rocksdb.iter_get_error(at, &error);
        rocksdb.iter_destroy(at);
    }
    (void)pthread_rwlock_unlock(&local->lock);
    bool is_broken = is_error(local, error, "read");
    if (is_broken) {
        database_remake(local, copy->generation);
    }
    return is_broken || !was_usable ? err_set(info, ERR_STATE, "the copy on disk cannot be read")
                                    : e;
}

/* --- keeping ------------------------------------------------------------------------------------*/

void local_copy_put(struct local_copy *copy, struct strview key, struct strview value)
{
    if (!key_make(copy, 'r', key)) {
        copy->is_behind = true;
    } else if (value.ptr) {
        rocksdb.writebatch_put(copy->held, copy->key.data, copy->key.len, value.ptr, value.len);
    } else {
        rocksdb.writebatch_delete(copy->held, copy->key.data, copy->key.len);
    }
    copy->held_bytes += copy->key.len + value.len;
}

size_t local_copy_held(const struct local_copy *copy)
{
    return copy->held_bytes;
}

void local_copy_settle(struct local_copy *copy, bool is_committed)
{
    if (copy->held_bytes == 0) {
        return;
    }
    if (is_committed) {
        held_write(copy);
        copy->is_ahead = true;
    } else {
        rocksdb.writebatch_clear(copy->held);
        copy->held_bytes = 0;
    }
}

bool local_copy_wants_place(const struct local_copy *copy, int64_t now_ms)
{
    return !copy->is_behind && (copy->is_ahead || now_ms - copy->placed_ms > PLACE_AGE_MAX_MS);
}

/* Another thread may have had the partition meanwhile, and have begun to read its changelog anew: then
 * rows of ours are gone, and the place that is there, or that none is, is the truth. */
static bool is_own(struct local_copy *copy)
{
    struct place place;
    return !copy->has_place || (place_read(copy, &place) && place.owner == copy->number);
}

void local_copy_place(struct local_copy *copy, int64_t next, int64_t now_ms)
{
    const struct place place = {FORMAT, copy->epoch, next, now_ms, copy->number};
    char value[sizeof place + 256];
    size_t name_bytes = strlen(copy->changelog);
    CHECK(copy->held_bytes == 0 && name_bytes <= sizeof value - sizeof place);
    copy->is_behind = copy->is_behind || !is_own(copy);
    memcpy(value, &place, sizeof place);
    memcpy(value + sizeof place, copy->changelog, name_bytes);
    CHECK(key_make(copy, 'p', (struct strview){"", 0}));
    rocksdb.writebatch_put(copy->held, copy->key.data, copy->key.len, value,
                           sizeof place + name_bytes);
    held_write(copy);
    copy->is_ahead = false;
    copy->has_place = true;
    copy->placed_ms = now_ms;
}
