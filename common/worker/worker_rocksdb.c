#include "worker/worker_rocksdb.h"

#include <dlfcn.h>
#include <sys/statvfs.h>

#define FILES_MAX      128 /* open at a time */
#define FATAL_LEVEL    4
#define INFO_LOG_BYTES (1 << 20)

struct rocksdb_library rocksdb;

enum err rocksdb_load(const char *setting, struct err_info *info)
{
    if (rocksdb.iter_get_error) {
        return ERR_OK;
    }
    void *handle = dlopen(MILLRACE_ROCKSDB, RTLD_NOW | RTLD_LOCAL); /* for good */
    if (!handle) {
        return err_set(info, ERR_CONFIG, "%s needs RocksDB: %s", setting, dlerror());
    }
#define ROCKSDB_FIND_(name)                                                                        \
    *(void **)&rocksdb.name = dlsym(handle, "rocksdb_" #name);                                     \
    if (!rocksdb.name) {                                                                           \
        return err_set(info, ERR_CONFIG, "%s", dlerror());                                         \
    }
    ROCKSDB_CALLS(ROCKSDB_FIND_)
#undef ROCKSDB_FIND_
    return ERR_OK;
}

bool rocksdb_has_room(const char *dir, uint64_t free_bytes_min)
{
    struct statvfs disk;
    return statvfs(dir, &disk) == 0 && disk.f_bavail * disk.f_frsize >= free_bytes_min;
}

rocksdb_options_t *rocksdb_options_new(size_t write_buffer_bytes)
{
    rocksdb_options_t *options = rocksdb.options_create();
    rocksdb.options_set_create_if_missing(options, 1);
    rocksdb.options_set_write_buffer_size(options, write_buffer_bytes);
    rocksdb.options_set_max_open_files(options, FILES_MAX);
    rocksdb.options_set_compression(options, rocksdb_lz4_compression);
    rocksdb.options_set_keep_log_file_num(options, 2);
    rocksdb.options_set_max_log_file_size(options, INFO_LOG_BYTES);
    rocksdb.options_set_info_log_level(options, FATAL_LEVEL);
    return options;
}
