/* task_inside.h - a task from inside the room; only the files task*.c include it.
 *
 * task.c           life, the way in, the commit cycle
 * task_run.c       a record through segments and steps
 * task_out.c       what goes out: outputs, dead letters, late events
 * task_retry.c     what is tried again: away, and back
 * task_metadata.c  event time as text beside the offset
 */
#pragma once

#include "stream/program.h"

/* What one level of nesting works with: a segment that is running while a segment behind one of its
 * steps runs keeps its own. */
struct task_frame {
    struct json_scanner *scanner;
    struct json_doc doc;
    struct stream_value slots[FIELDS_MAX];
    struct buf scratch, members, value, key;
    struct buf source_value, source_key; /* what a source makes of a record's */
    struct eval eval;
    struct step_run run;
    struct step_out in;  /* of a source's record; its other members are never set */
    struct step_out out; /* what goes on, where it is not what came in */
};

/* Of an input that is a topic of the pipeline's own: provisional, and as at the last commit. */
struct task_senders {
    struct senders now, committed;
};

struct stream_task {
    const struct pipeline *pipeline;
    unsigned stage;
    struct stream_table *const *tables;
    int32_t partition;
    void *states[STATES_MAX]; /* of this stage; NULL elsewhere */
    void **locals;            /* of its steps; NULL elsewhere */
    struct schema_checker *checker;
    size_t depth;                            /* frames in use */
    struct task_frame *frames[SEGMENTS_MAX]; /* made when first needed */
    const struct stream_sink *sink;          /* of the call under way */
    /* Provisional, and as it was at the last commit. */
    struct watermark watermark, watermark_committed;
    struct task_senders *senders[SOURCES_MAX]; /* of internal inputs; NULL elsewhere */
    struct stream_task_stats stats, stats_committed;
    uint64_t *counts, *counts_committed; /* by pipeline_counter */
    /* By input: just past the last record. */
    int64_t next_offsets[SOURCES_MAX], next_offsets_committed[SOURCES_MAX];
    int64_t now_ms;   /* by the clock; TIME_NONE: nobody has told */
    bool has_records; /* since the last commit */
    /* Of the record under way: its event time, and whether it came to a good end somewhere. What is
     * wrong with a record that did not may be its time, too: it moves nothing. */
    int64_t event_ms;
    bool is_taken;
    /* Of the dead letter being made: here, not on the stack of each record, since it is large and
     * rarely used. */
    struct err_info why;
    struct err_info failure; /* of ERR_RECORD_WAITS, ERR_RECORD_REFUSED */
};

static inline const struct program_source *task_source(const struct stream_task *task,
                                                       unsigned source)
{
    CHECK(source < task->pipeline->source_count);
    CHECK(task->pipeline->sources[source].stage == task->stage); /* another stage, another task */
    return &task->pipeline->sources[source];
}

/* Event time as a segment with such a lag is to see it. */
static inline int64_t task_lagging(int64_t watermark_ms, int64_t lag_ms)
{
    return watermark_ms == TIME_NONE ? TIME_NONE : watermark_ms - lag_ms;
}

static inline int64_t task_state_watermark(const struct stream_task *task, size_t state)
{
    const struct pipeline *pipeline = task->pipeline;
    return task_lagging(task->watermark.value_ms,
                        pipeline->segments[pipeline->states[state].segment]->lag_ms);
}

/* --- task_run.c --------------------------------------------------------------------------------- */

void task_frame_free(struct task_frame *frame); /* NULL is a no-op */
/* A record of a source through its segment and all that is behind it; sets task->event_ms. An error
 * is emit's. */
MUST_CHECK enum err task_run_source(struct stream_task *task, const struct program_source *source,
                                    const struct stream_record *record);
/* A record into a segment, and all that is behind it. */
MUST_CHECK enum err task_take(struct stream_task *task, const struct program_segment *segment,
                              const struct step_out *in);
/* When it happened, by the source's `timestamp`. What is wrong otherwise is in task->why. */
MUST_CHECK enum err task_run_time(struct stream_task *task, const struct program_source *source,
                                  const struct stream_record *record, int64_t *ret_ms);

/* --- task_out.c --------------------------------------------------------------------------------- */

struct task_refusal {
    const struct program_segment *segment;
    const char *place;
    enum err reason; /* with task->why */
    enum pipeline_class class;
};

/* What the pipeline says becomes of it: the original bytes with why and where to the dead letters, as
 * long as it is not tried again. */
MUST_CHECK enum err task_refuse(struct stream_task *task, const struct step_out *in,
                                const struct task_refusal *refusal);
/* Whether such a refusal is one that is tried again where the record is … */
bool task_waits(const struct stream_task *task, const struct step_out *in, enum err reason);
/* … or by way of a topic … */
bool task_tries_again(const struct stream_task *task, const struct step_out *in, enum err reason);
/* … into which it goes until then … */
MUST_CHECK enum err task_emit_retry(struct stream_task *task, const struct step_out *in,
                                    const struct task_refusal *refusal);
/* … from where it goes on. */
MUST_CHECK enum err task_run_retry(struct stream_task *task, const struct program_source *source,
                                   const struct stream_record *record);
MUST_CHECK enum err task_emit_late(struct stream_task *task, const struct program_segment *segment,
                                   const struct step_run *run);
/* To the segment's output topic, under the key. */
MUST_CHECK enum err task_emit_output(struct stream_task *task,
                                     const struct program_segment *segment,
                                     const struct step_out *out, struct strview key);
