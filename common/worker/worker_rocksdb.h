/* worker_rocksdb.h - RocksDB, loaded when it is needed and not before: 11 MB, and the libraries that it
 * brings, are for those who use it.
 *
 * USE      rocksdb.get(…) is rocksdb_get(…), once rocksdb_load has said ERR_OK.
 * THREADS  loaded by one thread, before others use it.
 */
#pragma once

#include <stdint.h>

#include <rocksdb/c.h>

#include "core/err.h"

/* What is used of it: X(name without rocksdb_). */
#define ROCKSDB_CALLS(X)                                                                           \
    X(block_based_options_create)                                                                  \
    X(block_based_options_destroy)                                                                 \
    X(block_based_options_set_block_cache)                                                         \
    X(block_based_options_set_cache_index_and_filter_blocks)                                       \
    X(block_based_options_set_filter_policy)                                                       \
    X(cache_create_lru)                                                                            \
    X(cache_destroy)                                                                               \
    X(filterpolicy_create_bloom_full)                                                              \
    X(options_create)                                                                              \
    X(options_destroy)                                                                             \
    X(options_set_block_based_table_factory)                                                       \
    X(options_set_create_if_missing)                                                               \
    X(options_set_write_buffer_size)                                                               \
    X(options_set_max_total_wal_size)                                                              \
    X(options_set_max_open_files)                                                                  \
    X(options_set_compression)                                                                     \
    X(options_set_keep_log_file_num)                                                               \
    X(options_set_max_log_file_size)                                                               \
    X(options_set_info_log_level)                                                                  \
    X(open)                                                                                        \
    X(close)                                                                                       \
    X(destroy_db)                                                                                  \
    X(free)                                                                                        \
    X(get)                                                                                         \
    X(write)                                                                                       \
    X(readoptions_create)                                                                          \
    X(readoptions_destroy)                                                                         \
    X(readoptions_set_fill_cache)                                                                  \
    X(writeoptions_create)                                                                         \
    X(writeoptions_destroy)                                                                        \
    X(writeoptions_disable_WAL)                                                                    \
    X(writebatch_create)                                                                           \
    X(writebatch_destroy)                                                                          \
    X(writebatch_clear)                                                                            \
    X(writebatch_put)                                                                              \
    X(writebatch_delete)                                                                           \
    X(writebatch_delete_range)                                                                     \
    X(create_iterator)                                                                             \
    X(iter_destroy)                                                                                \
    X(iter_seek)                                                                                   \
    X(iter_next)                                                                                   \
    X(iter_valid)                                                                                  \
    X(iter_key)                                                                                    \
    X(iter_value)                                                                                  \
    X(iter_get_error)

struct rocksdb_library {
#define ROCKSDB_MEMBER_(name) __typeof__(rocksdb_##name) *name;
    ROCKSDB_CALLS(ROCKSDB_MEMBER_)
#undef ROCKSDB_MEMBER_
};
extern struct rocksdb_library rocksdb;

/* Debian builds it with its assertions, some of which a full disk fails, and an assertion ends the
 * process. So a disk counts as full while it still has room for what is written between two looks: two
 * write buffers, their log, a compaction. */
#define ROCKSDB_FREE_BYTES_MIN ((uint64_t)256 << 20)
bool rocksdb_has_room(const char *dir, uint64_t free_bytes_min);
/* ERR_CONFIG: it is not installed; `setting` needs it. */
MUST_CHECK enum err rocksdb_load(const char *setting, struct err_info *info);
/* Those that every database here has: its own info log is off, since it fails such an assertion. */
rocksdb_options_t *rocksdb_options_new(size_t write_buffer_bytes);
