/* pipeline.h - what a pipeline file says, compiled.
 *
 * WHAT     JSON (docs/pipelines.md, pipelines/pipeline.schema.json) → an immutable program: sources,
 *          tables, flows of steps, outputs, dead-letter and late topics. Tasks (task.h) and tables
 *          (table.h) run it.
 * STAGES   what is connected without a topic between it; a task is one stage on one partition of all
 *          of the stage's sources. A pipeline without a `rekey` has one stage.
 * STORES   what steps remember, each with a changelog topic of its own, each in one stage.
 * TOPICS   everything the pipeline writes has an index 0 … pipeline_topic_count-1, which is what
 *          stream_out.topic says, so that a worker opens each topic once.
 * ERRORS   every mistake is found, not only the first: each is "file: /json/pointer: reason (did
 *          you mean …?)". The return value is the first one's code, ERR_CONFIG as a rule.
 * OWNS     every text it gives lives as long as the pipeline.
 * THREADS  immutable after pipeline_load: any number of threads.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/strview.h"

struct pipeline;

#define PIPELINE_ERRORS_MAX 32

/* Caller's memory. Past PIPELINE_ERRORS_MAX errors are counted, no longer kept. */
struct pipeline_errors {
    struct err_info items[PIPELINE_ERRORS_MAX];
    size_t count;
};

/* What a service's configuration may change in the file. */
struct pipeline_overrides {
    int64_t window_size_ms;  /* 0: as the file says */
    int64_t window_grace_ms; /* negative: as the file says */
};

#define PIPELINE_OVERRIDES_NONE ((struct pipeline_overrides){0, -1})

void pipeline_free(struct pipeline *pipeline); /* NULL is a no-op */
MUST_CHECK enum err pipeline_load(const char *path, struct pipeline_overrides overrides,
                                  struct pipeline **ret, struct pipeline_errors *errors);
/* The same from a tree; path names it in errors, and its folder is where schema files are. */
MUST_CHECK enum err pipeline_compile(const json_t *document, const char *path,
                                     struct pipeline_overrides overrides, struct pipeline **ret,
                                     struct pipeline_errors *errors);

/* What a record is refused as, and what becomes of it then. */
enum pipeline_class {
    PIPELINE_DESERIALIZE, /* it cannot be read: no JSON, no time */
    PIPELINE_VALIDATE,    /* a `validate` or `require` step says no */
    PIPELINE_PROCESS,     /* any other step does */
    PIPELINE_PRODUCE,     /* what was made of it is not taken by its topic */
};
#define PIPELINE_CLASSES (PIPELINE_PRODUCE + 1)
enum pipeline_policy {
    PIPELINE_DEAD_LETTER,
    PIPELINE_SKIP, /* only counted */
    PIPELINE_FAIL, /* nothing goes on */
};

const char *pipeline_class_name(enum pipeline_class class);
enum pipeline_policy pipeline_policy(const struct pipeline *pipeline, enum pipeline_class class);

/* What a record that a pipeline writes is for. */
enum stream_target {
    STREAM_OUTPUT,
    STREAM_CHANGELOG,
    STREAM_REPARTITION, /* read back by the pipeline itself */
    STREAM_DEAD_LETTER,
    STREAM_LATE,
    STREAM_RETRY,   /* read back by the pipeline itself, when it is time */
    STREAM_SKIPPED, /* goes nowhere: told, as a dead letter would be, to be counted */
};
#define STREAM_TARGETS (STREAM_SKIPPED + 1)

const char *pipeline_name(const struct pipeline *pipeline);
/* Of what the file says, and of what was changed in it: equal for equal pipelines. */
uint64_t pipeline_hash(const struct pipeline *pipeline);

size_t pipeline_source_count(const struct pipeline *pipeline);
const char *pipeline_source_topic(const struct pipeline *pipeline, size_t source);
/* A topic of the pipeline's own, for `rekey` or for retries: the worker creates it. */
bool pipeline_source_is_internal(const struct pipeline *pipeline, size_t source);
/* Whether its records wait to be tried again, until their header STREAM_RETRY_DUE says. */
bool pipeline_source_is_retry(const struct pipeline *pipeline, size_t source);
/* The header that stream_record.note is; NULL: its records have none. */
const char *pipeline_source_note(const struct pipeline *pipeline, size_t source);
unsigned pipeline_source_stage(const struct pipeline *pipeline, size_t source);
/* Where dead letters of its records go: a topic's index. */
size_t pipeline_source_dead_letter(const struct pipeline *pipeline, size_t source);

size_t pipeline_stage_count(const struct pipeline *pipeline);
/* Whether records of its sources may be tried again where they are. */
bool pipeline_stage_waits(const struct pipeline *pipeline, size_t stage);
/* How long a record waits that was tried so often where it is; it is less than what may be. */
int64_t pipeline_wait_ms(const struct pipeline *pipeline, unsigned tries);
/* Whether its sources must have the same number of partitions. */
bool pipeline_stage_is_copartitioned(const struct pipeline *pipeline, size_t stage);

size_t pipeline_table_count(const struct pipeline *pipeline);
const char *pipeline_table_name(const struct pipeline *pipeline, size_t table);
/* NULL: the table is a file's, and there is nothing to read. */
const char *pipeline_table_topic(const struct pipeline *pipeline, size_t table);

size_t pipeline_topic_count(const struct pipeline *pipeline);
const char *pipeline_topic_name(const struct pipeline *pipeline, size_t topic);
enum stream_target pipeline_topic_target(const struct pipeline *pipeline, size_t topic);

size_t pipeline_store_count(const struct pipeline *pipeline);
const char *pipeline_store_changelog(const struct pipeline *pipeline, size_t store); /* topic */
unsigned pipeline_store_stage(const struct pipeline *pipeline, size_t store);
/* How long the changelog keeps records of rows that were not deleted; -1: for ever (compacted). */
int64_t pipeline_store_retention_ms(const struct pipeline *pipeline, size_t store);
/* Whether its records, one of each key, say the same in another order than the changelog's. */
bool pipeline_store_is_any_order(const struct pipeline *pipeline, size_t store);
/* Whether what it keeps can be larger than memory: stream_task_spill. */
bool pipeline_store_can_spill(const struct pipeline *pipeline, size_t store);

/* How a store's records look, and the step that keeps them: what a savepoint compares. */
struct pipeline_store_shape {
    const char *place, *text; /* of the step: "/steps/1/aggregate", and what the file says there */
    const char *keys;         /* "plain", "window" or "session": changelog.h */
    unsigned inputs;          /* values have the next offset of so many sources of the stage */
    uint32_t layout;          /* a hash of what values mean: equal for equal meaning */
};
struct pipeline_store_shape pipeline_store_shape(const struct pipeline *pipeline, size_t store);
#define PIPELINE_ROW_OFFSETS_MAX 16
/* A record of the store's changelog, taken apart; borrowed from it. */
struct pipeline_row {
    struct strview key, bytes; /* the step's key, what it keeps for it */
    int64_t time_ms, minor;    /* 0 where its keys have none */
    size_t offset_count;
    int64_t offsets[PIPELINE_ROW_OFFSETS_MAX]; /* next ones, by source: it counts what is below */
};
MUST_CHECK enum err pipeline_store_row(const struct pipeline *pipeline, size_t store,
                                       struct strview record_key, struct strview value,
                                       struct pipeline_row *ret, struct err_info *info);
/* Appends what the row comes to, as JSON: an aggregate's result, of a slice where windows are made of
 * several; otherwise its bytes, as a text in base64. */
MUST_CHECK enum err pipeline_store_show(const struct pipeline *pipeline, size_t store,
                                        const struct pipeline_row *row, struct buf *out);
/* The same value, in out, that has no offset above its source's cap: what is below it is all that the
 * value can have counted, and offsets may begin again there. */
MUST_CHECK enum err pipeline_store_cap(const struct pipeline *pipeline, size_t store,
                                       struct strview value, const int64_t *caps, struct buf *out,
                                       struct err_info *info);

/* What a task counts where records pass: what came into each segment (explain.h), and what ended at
 * each of its steps. All that came and did not end there went on. */
enum pipeline_outcome {
    PIPELINE_IN,       /* of a segment */
    PIPELINE_FILTERED, /* of a step, as the following */
    PIPELINE_REJECTED,
    PIPELINE_LATE,
};
#define PIPELINE_STEP_OUTCOMES (PIPELINE_LATE - PIPELINE_IN)

struct pipeline_counter {
    size_t segment;
    const char *name; /* of the segment; or where the step is: "/steps/1/require" */
    enum pipeline_outcome outcome;
};
/* Segment by segment: its PIPELINE_IN, then PIPELINE_STEP_OUTCOMES of each step. */
size_t pipeline_counter_count(const struct pipeline *pipeline);
struct pipeline_counter pipeline_counter_at(const struct pipeline *pipeline, size_t counter);
