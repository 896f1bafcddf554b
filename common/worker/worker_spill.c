/* Rows in RocksDB:  number of the store, 8, big-endian | its own key  →  its value */
#include "worker/worker_spill.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log/log.h"
#include "worker/worker_rocksdb.h"

#define PATH_BYTES             1024
#define NUMBER_BYTES           8
#define KEY_BYTES_MAX          (64 * 1024 + 64)
#define WRITE_BUFFER_BYTES_MAX ((size_t)16 << 20)
#define FILTER_BITS            10

struct worker_spill {
    char dir[PATH_BYTES];
    size_t bytes;
    uint64_t free_bytes_min;
    struct metric_series *errors;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *getting, *walking;
    rocksdb_writeoptions_t *writing;
    rocksdb_t *db;
    _Atomic uint64_t stores;
};

struct spill_rows {
    struct worker_spill *spill;
    struct buf key, end; /* the store's number, then a row's */
    rocksdb_writebatch_t *held;
};

/* --- the folder ---------------------------------------------------------------------------------*/

static void options_make(struct worker_spill *spill)
{
    size_t buffer = spill->bytes / 8;
    rocksdb_block_based_table_options_t *table = rocksdb.block_based_options_create();
    spill->cache = rocksdb.cache_create_lru(spill->bytes / 4);
    rocksdb.block_based_options_set_block_cache(table, spill->cache);
    rocksdb.block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb.block_based_options_set_filter_policy(
        table, rocksdb.filterpolicy_create_bloom_full(FILTER_BITS)); /* the table's from here on */
    spill->options =
        rocksdb_options_new(buffer < WRITE_BUFFER_BYTES_MAX ? buffer : WRITE_BUFFER_BYTES_MAX);
    rocksdb.options_set_block_based_table_factory(spill->options, table);
    rocksdb.block_based_options_destroy(table);
    spill->getting = rocksdb.readoptions_create();
    spill->walking = rocksdb.readoptions_create();
    rocksdb.readoptions_set_fill_cache(spill->walking, 0); /* read once: a window closes */
    spill->writing = rocksdb.writeoptions_create();
    rocksdb.writeoptions_disable_WAL(spill->writing, 1);
}

/* What a process before has left is no use. */
static enum err database_make(struct worker_spill *spill, struct err_info *info)
{
    char *error = NULL;
    if (mkdir(spill->dir, 0700) && errno != EEXIST) {
        return err_set(info, ERR_CONFIG, "state.memory: making %s: %s", spill->dir,
                       strerror(errno));
    }
    if (!rocksdb_has_room(spill->dir, spill->free_bytes_min)) {
        return err_set(info, ERR_CONFIG, "state.memory: the disk of %s is full, or nearly so",
                       spill->dir);
    }
    rocksdb.destroy_db(spill->options, spill->dir, &error);
    if (!error) {
        spill->db = rocksdb.open(spill->options, spill->dir, &error);
    }
    if (error) {
        (void)err_set(info, ERR_CONFIG, "state.memory: %s: %s", spill->dir, error);
        rocksdb.free(error);
    }
    return error ? ERR_CONFIG : ERR_OK;
}

enum err worker_spill_open(const struct worker_spill_params *params, struct worker_spill **ret,
                           struct err_info *info)
{
    struct worker_spill *spill = must_alloc(sizeof *spill);
    spill->bytes = params->bytes;
    spill->free_bytes_min = params->free_bytes_min;
    spill->errors = params->errors;
    int length =
        snprintf(spill->dir, sizeof spill->dir, "%s/%s/spill", params->dir, params->pipeline);
    enum err e = length < 0 || (size_t)length >= sizeof spill->dir
                     ? err_set(info, ERR_CONFIG, "state.dir: %s is too long", params->dir)
                     : rocksdb_load("state.memory", info);
    if (!e) {
        options_make(spill);
        e = database_make(spill, info);
    }
    if (e) {
        worker_spill_free(spill);
        return e;
    }
    *ret = spill;
    return ERR_OK;
}

void worker_spill_free(struct worker_spill *spill)
{
    if (!spill) {
        return;
    }
    if (spill->db) {
        rocksdb.close(spill->db);
    }
    if (spill->options) {
        rocksdb.options_destroy(spill->options);
        rocksdb.readoptions_destroy(spill->getting);
        rocksdb.readoptions_destroy(spill->walking);
        rocksdb.writeoptions_destroy(spill->writing);
        rocksdb.cache_destroy(spill->cache);
    }
    free(spill);
}

size_t worker_spill_bytes(const struct worker_spill *spill)
{
    return spill->bytes / 2;
}

/* The error, told. */
static enum err failed(const struct worker_spill *spill, enum err e, const char *what,
                       const char *text, struct err_info *info)
{
    metric_add(spill->errors, 1);
    log_event(LOG_ERROR, "spilled_state_error", text, KV("during", what), KV("dir", spill->dir));
    return err_set(info, e, "state on disk, %s: %s", spill->dir, text);
}

/* --- rows ---------------------------------------------------------------------------------------*/

/* Behind the store's number, which is in the buffer. */
static void key_make(struct buf *row, struct strview key)
{
    row->len = NUMBER_BYTES;
    CHECK(!buf_append_view(row, key)); /* a store's keys are shorter */
}

static void rows_put(void *context, struct strview key, struct strview value)
{
    struct spill_rows *rows = context;
    key_make(&rows->key, key);
    if (value.ptr) {
        rocksdb.writebatch_put(rows->held, rows->key.data, rows->key.len, value.ptr, value.len);
    } else {
        rocksdb.writebatch_delete(rows->held, rows->key.data, rows->key.len);
    }
}

/* Up to the first key that does not begin so. */
static void rows_clear(void *context, struct strview prefix)
{
    struct spill_rows *rows = context;
    struct buf *end = &rows->end;
    key_make(&rows->key, prefix);
    key_make(end, prefix);
    while ((unsigned char)end->data[end->len - 1] == 0xff) {
        end->len--; /* a store's number is not all of these */
    }
    end->data[end->len - 1] = (char)(end->data[end->len - 1] + 1);
    rocksdb.writebatch_delete_range(rows->held, rows->key.data, rows->key.len, end->data, end->len);
}

static enum err rows_write(void *context, struct err_info *info)
{
    struct spill_rows *rows = context;
    const struct worker_spill *spill = rows->spill;
    char *error = NULL;
    enum err e = ERR_OK;
    if (!rocksdb_has_room(spill->dir, spill->free_bytes_min)) {
        e = failed(spill, ERR_IO, "write", "the disk is full, or nearly so", info);
    } else {
        rocksdb.write(spill->db, spill->writing, rows->held, &error);
        e = error ? failed(spill, ERR_IO, "write", error, info) : ERR_OK;
        rocksdb.free(error);
    }
    rocksdb.writebatch_clear(rows->held);
    return e;
}

static enum err rows_get(void *context, struct strview key, struct buf *out, bool *ret_found,
                         struct err_info *info)
{
    struct spill_rows *rows = context;
    const struct worker_spill *spill = rows->spill;
    char *error = NULL;
    size_t bytes = 0;
    key_make(&rows->key, key);
    char *value =
        rocksdb.get(spill->db, spill->getting, rows->key.data, rows->key.len, &bytes, &error);
    if (error) {
        (void)failed(spill, ERR_STATE, "read", error, info);
        rocksdb.free(error);
        return ERR_STATE;
    }
    *ret_found = value != NULL;
    enum err e = value ? buf_append(out, value, bytes) : ERR_OK;
    rocksdb.free(value);
    return e;
}

/* From rows->key on, up to rows->end. */
static enum err rows_walk(const struct spill_rows *rows, rocksdb_iterator_t *at,
                          const struct store_disk_reader *reader)
{
    enum err e = ERR_OK;
    rocksdb.iter_seek(at, rows->key.data, rows->key.len);
    for (; !e && rocksdb.iter_valid(at); rocksdb.iter_next(at)) {
        struct strview key, value;
        key.ptr = rocksdb.iter_key(at, &key.len);
        value.ptr = rocksdb.iter_value(at, &value.len);
        if (store_disk_order(key, buf_view(&rows->end)) >= 0) {
            break;
        }
        e = reader->on_row(reader->context, sv_of(key.ptr + NUMBER_BYTES, key.len - NUMBER_BYTES),
                           value);
    }
    return e;
}

static enum err rows_read(void *context, struct strview from, struct strview to,
                          const struct store_disk_reader *reader, struct err_info *info)
{
    struct spill_rows *rows = context;
    char *error = NULL;
    key_make(&rows->end, to);
    key_make(&rows->key, from);
    rocksdb_iterator_t *at = rocksdb.create_iterator(rows->spill->db, rows->spill->walking);
    enum err e = rows_walk(rows, at, reader);
    rocksdb.iter_get_error(at, &error);
    rocksdb.iter_destroy(at);
    if (error && !e) {
        e = failed(rows->spill, ERR_STATE, "read", error, info);
    }
    rocksdb.free(error);
    return e;
}

struct spill_rows *spill_rows_new(struct worker_spill *spill)
{
    struct spill_rows *rows = must_alloc(sizeof *rows);
    uint64_t number = atomic_fetch_add(&spill->stores, 1) + 1;
    rows->spill = spill;
    rows->held = rocksdb.writebatch_create();
    buf_init(&rows->key, KEY_BYTES_MAX);
    buf_init(&rows->end, KEY_BYTES_MAX);
    for (int i = 0; i < NUMBER_BYTES; i++) {
        char byte = (char)(unsigned char)(number >> (8 * (NUMBER_BYTES - 1 - i)));
        CHECK(!buf_append(&rows->key, &byte, 1) && !buf_append(&rows->end, &byte, 1));
    }
    return rows;
}

void spill_rows_free(struct spill_rows *rows)
{
    if (!rows) {
        return;
    }
    rocksdb.writebatch_clear(rows->held);
    rows_clear(rows, (struct strview){"", 0});
    (void)rows_write(rows,
                     NULL); /* else they lie there until the next start: nobody asks for them */
    rocksdb.writebatch_destroy(rows->held);
    buf_free(&rows->key);
    buf_free(&rows->end);
    free(rows);
}

struct store_disk spill_rows_disk(struct spill_rows *rows)
{
    return (struct store_disk){.put = rows_put,
                               .clear = rows_clear,
                               .write = rows_write,
                               .get = rows_get,
                               .read = rows_read,
                               .context = rows};
}
