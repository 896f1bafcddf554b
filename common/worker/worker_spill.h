/* worker_spill.h - where a worker's stores have what is too much for memory (state.memory).
 *
 * WHAT     a RocksDB in state.dir/<pipeline>/spill, made anew at each start; rows of one store are a
 *          store_disk (stream/store_disk.h), apart from all others and from those of its predecessor.
 * EXACT    nothing in it outlives the process or is read by another: what is committed is in the
 *          changelogs, and comes from there. So there is no log of what is written, and no sync.
 * BOUNDS   of state.memory half is for cells (worker_spill_bytes), which the stores share, a quarter for
 *          RocksDB's cache of blocks, indexes and filters, and a quarter, but no more than 32 MiB, for
 *          its two write buffers. On disk as much as there is room for, less free_bytes_min.
 * ERRORS   what cannot be written is told and counted and stays in memory, until it can be. What cannot
 *          be read is ERR_STATE: the worker ends, and its next start reads the changelogs.
 * COST     a row that is not there: a look into the filters, 10 bits for each row.
 * THREADS  worker_spill: any; rows: one owner.
 */
#pragma once

#include "metrics/metrics.h"
#include "stream/store_disk.h"

struct worker_spill;
struct spill_rows;

struct worker_spill_params {
    const char *dir;         /* state.dir; worker_local has made the pipeline's folder in it */
    const char *pipeline;    /* name */
    size_t bytes;            /* state.memory */
    uint64_t free_bytes_min; /* ROCKSDB_FREE_BYTES_MIN but in tests */
    struct metric_series *errors;
};

/* ERR_CONFIG: the folder cannot be used, or its disk is full; RocksDB is not installed. */
MUST_CHECK enum err worker_spill_open(const struct worker_spill_params *params,
                                      struct worker_spill **ret, struct err_info *info);
void worker_spill_free(struct worker_spill *spill); /* NULL is a no-op */
size_t worker_spill_bytes(const struct worker_spill *spill);

struct spill_rows *spill_rows_new(struct worker_spill *spill);
void spill_rows_free(struct spill_rows *rows); /* the rows go; NULL is a no-op */
struct store_disk spill_rows_disk(struct spill_rows *rows);
