/* driver.h - a pipeline at work without Kafka: what the worker does with transactions and changelog
 * topics is done here with lists in memory.
 *
 * CYCLE    driver_feed* → driver_commit: what came out since the last commit is handed to on_out, in
 *          the order in which it was put out. driver_abort drops it and feeds the same records
 *          again, as a worker does. With commits_each every record is a cycle of its own.
 * STATE    what is committed: places in the sources, changelogs. driver_restart is a crash: new tasks,
 *          restored from it. A snapshot is a copy of it under a name.
 * TABLES   have no cycle: a row counts from when it is fed, and a restore does not take it back.
 * TIME     stands still but for driver_clock. A record without a timestamp gets the clock's.
 * ERRORS   ERR_STATE, ERR_LIMIT and the like of the engine, with info: the run is over.
 */
#pragma once

#include "record.h"

struct driver;

struct driver_params {
    const struct pipeline *pipeline;
    int32_t partitions; /* of every topic */
    bool commits_each;
    bool shows_internal; /* changelog and repartition records are handed to on_out too */
    int64_t clock_ms;
    void (*on_out)(void *context, const struct record *out); /* topic: the pipeline's index */
    void *context;
};

void driver_free(struct driver *driver); /* NULL is a no-op */
DEALLOC(driver_free) struct driver *driver_new(const struct driver_params *params);

/* record->partition negative: by its key. record->timestamp_ms negative: the clock's. */
MUST_CHECK enum err driver_feed(struct driver *driver, const char *topic,
                                const struct record *record, struct err_info *info);
MUST_CHECK enum err driver_clock(struct driver *driver, int64_t now_ms, struct err_info *info);
/* Event time is at least this, in every task. */
MUST_CHECK enum err driver_watermark(struct driver *driver, int64_t watermark_ms,
                                     struct err_info *info);
MUST_CHECK enum err driver_commit(struct driver *driver, struct err_info *info);
MUST_CHECK enum err driver_abort(struct driver *driver, struct err_info *info);
MUST_CHECK enum err driver_restart(struct driver *driver, struct err_info *info);
/* Commits first. */
MUST_CHECK enum err driver_snapshot(struct driver *driver, struct strview name,
                                    struct err_info *info);
MUST_CHECK enum err driver_restore(struct driver *driver, struct strview name,
                                   struct err_info *info);

int64_t driver_now(const struct driver *driver);
