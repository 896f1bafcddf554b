/* task.h - one stage of a pipeline at work on one partition. Pure: records in, records out, time as
 * data.
 *
 * WHAT     runs the stage's segments on each record of its sources; owns the watermark over those
 *          and the state of the stage's steps.
 * CYCLE    process* → before_commit → (metadata) → commit of the transaction → committed
 *                                                                          or → aborted
 *          Everything since the last `committed` is provisional: `aborted` drops it (state, stream
 *          time, counters) without touching what was committed, and the worker feeds the same
 *          records again. before_commit may be called once per cycle.
 * RESTORE  a new task, then restore_metadata for every source and restore for every changelog
 *          record of the partition, oldest first, in any order of the two; then process.
 * ORDER    what comes out depends on the order in which records of different sources are given:
 *          lowest event time first (stream_task_time) makes it repeatable.
 * RULES    1. A bad record is never an error: it goes out as STREAM_DEAD_LETTER with its original
 *             bytes, a late one as STREAM_LATE, and process says ERR_OK.
 *          2. An error of process or before_commit: abort. ERR_RECORD_WAITS: the record is to be
 *             processed again, with one try more, after pipeline_wait_ms. ERR_RECORD_REFUSED: the
 *             pipeline's `errors` say that nothing goes on. Any other is emit's.
 *          3. Offsets of a source's partition rise; a record that a restored window already holds
 *             (replayed at least once) is not counted again.
 * OWNS     what emit is given is borrowed for that call only: the worker copies (or produces with
 *          a copy). The record's bytes are read during process only.
 * THREADS  one owner, which also owns the tables; it may hand the task on to another.
 * COST     no allocation per record after warm-up; measured in bench/micro/bench_stream_task.c.
 * SOURCE   docs/semantics.md; Akidau et al. 2015, "The Dataflow Model".
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"
#include "stream/pipeline.h"
#include "stream/store_disk.h"
#include "stream/table.h"

struct stream_record {
    unsigned source; /* index among the pipeline's */
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;      /* Kafka's; negative: none */
    struct strview key, value; /* ptr NULL = null */
    unsigned tries;            /* how often it was tried where it is, before this time */
    struct strview note;       /* its header pipeline_source_note; ptr NULL: none */
    const void *origin;        /* the worker's own, for forwarding headers */
};

/* Of a record in a repartition topic: who has sent it, and how far that one is (senders.h). */
#define STREAM_SENDER_HEADER "millrace-sender"
/* Of one that waits to be tried again: the step that refused it, how often it was refused, and until
 * when it waits, by the clock in milliseconds. */
#define STREAM_RETRY_STEP    "millrace-step"
#define STREAM_RETRY_ATTEMPT "millrace-attempt"
#define STREAM_RETRY_DUE     "millrace-not-before"

struct stream_header {
    const char *name;
    struct strview value;
};

struct stream_out {
    enum stream_target target;
    uint16_t topic;                      /* index among the pipeline's topics */
    int32_t partition;                   /* -1: by key; a changelog record: the task's */
    size_t partition_bytes;              /* of the key, by which it is chosen; 0: by all of it */
    struct strview key, value;           /* ptr NULL = null, for a changelog: tombstone */
    int64_t timestamp_ms;                /* negative: none */
    const struct stream_header *headers; /* to be added to … */
    size_t header_count;
    const struct stream_record *source; /* … the headers of this one; NULL: none */
};

/* Names of headers of out->source that do not go on with it, ended by NULL: they say something of that
 * record alone. */
const char *const *stream_headers_left(const struct pipeline *pipeline,
                                       const struct stream_out *out);

struct stream_sink {
    enum err (*emit)(void *context, const struct stream_out *out);
    /* A join found no row: brings the table up to its topic's present end. False: it already was
     * in this batch, or it cannot be; then the record is dead-lettered. May be NULL. */
    bool (*refresh_table)(void *context, unsigned table);
    void *context;
};

/* Counters include the provisional records of the cycle under way; an abort takes them back. */
struct stream_task_stats {
    uint64_t records;
    uint64_t outputs; /* records to STREAM_OUTPUT, updates and finals included */
    uint64_t updates;
    uint64_t finals;
    uint64_t filtered; /* by a `filter` step */
    uint64_t joined;
    uint64_t dead_lettered;
    uint64_t retried; /* refused, to be tried again */
    uint64_t skipped; /* refused, and only counted */
    uint64_t late;
    uint64_t replayed; /* rule 3 */
    uint64_t changelog_records;
    uint64_t windows_closed; /* windows × keys */
    /* gauges */
    uint64_t windows_open; /* windows × keys held, closed ones not yet expired included */
    uint64_t keys;
    uint64_t state_bytes;
    uint64_t spilled;                   /* windows × keys on disk alone (stream_task_spill) */
    uint64_t spill_written, spill_read; /* rows to and from there, since it was given */
    int64_t watermark_ms;               /* INT64_MIN before the first record */
    int64_t timestamp_max_ms;           /* same */
};

struct stream_task;

void stream_task_free(struct stream_task *task); /* NULL is a no-op */
/* tables: pipeline_table_count of them (NULL when 0), in the pipeline's order, outliving the task,
 * as must the pipeline. */
DEALLOC(stream_task_free)
struct stream_task *stream_task_new(const struct pipeline *pipeline, unsigned stage,
                                    struct stream_table *const *tables, int32_t partition);
/* Of one that was made without tables: it is given them before its first record. */
void stream_task_use(struct stream_task *task, struct stream_table *const *tables);

/* Of a store that can (pipeline_store_can_spill), between cycles: what did not change lately goes to
 * this disk, as long as what is in memory has more than so many bytes. What comes out is the same. An
 * error of the disk is ERR_STATE, of whatever call: then the task is of no use any more, and what was
 * committed is in the changelog. */
void stream_task_spill(struct stream_task *task, size_t store, const struct store_disk *disk,
                       size_t bytes_max);
void stream_task_limit(struct stream_task *task, size_t store, size_t bytes_max);

/* When the record happened, by its source's `timestamp`: to take the records of several sources in
 * order. An error: what process will make a dead letter of. */
MUST_CHECK enum err stream_task_time(struct stream_task *task, const struct stream_record *record,
                                     int64_t *ret_ms);
MUST_CHECK enum err stream_task_process(struct stream_task *task,
                                        const struct stream_record *record,
                                        const struct stream_sink *sink, struct err_info *info);
/* The source's partition gave nothing; at_end: because it is at its end. Only a source that opts in
 * (watermark.idle) looks at it; then windows may close without a record, and
 * stream_task_wants_commit turns true. */
void stream_task_idle(struct stream_task *task, unsigned source, int64_t now_ms, bool at_end);
/* What time it is, for steps that go by the clock; stream_task_wants_commit may turn true. */
void stream_task_clock(struct stream_task *task, int64_t now_ms);
/* Event time is at least this, as if each source had said so: for tests of pipelines. */
void stream_task_advance(struct stream_task *task, int64_t watermark_ms);
/* Whether a commit now would write anything or change the metadata. */
bool stream_task_wants_commit(const struct stream_task *task);

/* Changelog records, running updates, final results. */
MUST_CHECK enum err stream_task_before_commit(struct stream_task *task,
                                              const struct stream_sink *sink,
                                              struct err_info *info);
#define STREAM_METADATA_BYTES 2048 /* below Kafka's offset.metadata.max.bytes, 4096 */
/* The text (NUL-terminated) to commit with the offset of the source's partition, after
 * before_commit. A stateless pipeline has some too: stream time. Returns its length. */
size_t stream_task_metadata(const struct stream_task *task, unsigned source,
                            char out[STREAM_METADATA_BYTES]);
void stream_task_committed(struct stream_task *task);
void stream_task_aborted(struct stream_task *task);

/* text NULL or "": a partition without metadata. ERR_STATE: not ours, or of a newer release. */
MUST_CHECK enum err stream_task_restore_metadata(struct stream_task *task, unsigned source,
                                                 const char *text, struct err_info *info);
/* One record of the store's changelog; value NULL deletes. ERR_STATE: not readable, or of another
 * pipeline. */
MUST_CHECK enum err stream_task_restore(struct stream_task *task, size_t store, struct strview key,
                                        struct strview value, struct err_info *info);

struct stream_task_stats stream_task_stats(const struct stream_task *task);
/* By pipeline_counter: what is committed, since the task was made. Borrowed. */
const uint64_t *stream_task_counts(const struct stream_task *task);
