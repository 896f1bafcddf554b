/* program.h - a compiled pipeline from inside the room: what runs, and what a step sees.
 *
 * WHAT     A record comes from a source and goes through segments, depth first:
 *
 *              source ──► segment ──► segment ──► output topic
 *                           steps  └► segment ──► …
 *
 *          A segment scans the record once, runs its steps on it and hands it on. A step has a kind
 *          (one row in steps.c, one file step_<kind>.c) and what its compile made of the file. One
 *          that makes records of its own (`is_maker`) ends its segment; what it makes goes to the
 *          segment behind it, by step_forward. One that keeps state names a state of the program,
 *          which a task has one of, with the task's commit cycle.
 * STAGES   sources and segments that are connected without a topic between them. A task runs one
 *          stage on one partition of all of its sources.
 * TIME     A maker's results come later than the events they are made of, so that segments behind
 *          it see event time with a lag (`hold_ms` of the maker, added up along the way): their
 *          windows wait for what is still on its way. Results do not depend on when commits are.
 */
#pragma once

#include "core/buf.h"
#include "json/json_splice.h"
#include "schema/schema.h"
#include "stream/eval.h"
#include "stream/event_time.h"
#include "stream/fields.h"
#include "stream/senders.h"
#include "stream/table_file.h"
#include "stream/task.h"
#include "stream/watermark.h"

#define STEPS_MAX        32 /* of a flow */
#define SOURCES_MAX      WATERMARK_INPUTS_MAX
#define FLOWS_MAX        64
#define SEGMENTS_MAX     128
#define STATES_MAX       32
#define READERS_MAX      16 /* of one source, flow or branch; branches of a flow */
#define TABLES_MAX       16
#define TOPICS_MAX       128
#define EDITS_MAX        64 /* json_names_new's */
#define PROJECTIONS_MAX  8  /* joins that use one table */
#define JOIN_MEMBERS_MAX 32
#define RETRIES_MAX      8

#define RETRY_REASONS_MAX 3

/* --- steps ------------------------------------------------------------------------------------ */

enum step_verdict {
    STEP_NEXT,     /* on to the next step */
    STEP_DROP,     /* the record ends here, as the pipeline wants it */
    STEP_DONE,     /* the record has been taken up into state, or what it makes was forwarded */
    STEP_REJECT,   /* to the dead letters; run->reason and run->info say why */
    STEP_LATE,     /* to the late topic; run->late says why */
    STEP_LATE_END, /* late, and the pipeline wants it only counted */
    STEP_REPLAYED, /* state already holds it: nothing happens */
    STEP_AGAIN,    /* a table was brought up to date: run the record from the start */
    STEP_TURN,     /* on to the segment run->way.to alone */
    STEP_FAIL,     /* step_forward failed with run->reason: the cycle is to be aborted */
};

#define STEP_HEADERS_MAX 4

/* A record on its way from one segment to the next. Borrowed for the call. */
struct step_out {
    struct strview key, value;  /* ptr NULL = null; a value NULL: the row is deleted */
    size_t partition_bytes;     /* of the key, by which its partition is chosen; 0: by all */
    bool has_partition;         /* it is not chosen by the key … */
    int32_t partition;          /* … but this one */
    struct strview old;         /* of a flow that is a table: the row's value before; NULL: none */
    int64_t timestamp_ms;       /* event time */
    int64_t watermark_ms;       /* how far event time was: in->watermark_ms, step_due or step_now */
    const struct json_doc *doc; /* the value, scanned; NULL: not yet */
    const struct stream_record *origin;  /* the input record that it is made of at once, whose
                                          * headers go on with it; NULL: of more than one */
    const struct stream_header *headers; /* beside those */
    size_t header_count;                 /* at most STEP_HEADERS_MAX */
};

/* Where what a step makes goes. */
struct step_way {
    struct stream_task *task;
    uint16_t to;    /* the segment behind the step */
    int64_t lag_ms; /* of the step's segment */
};

/* Runs the segments behind the step on the record, to the end. An error is emit's. */
MUST_CHECK enum err step_forward(const struct step_way *way, const struct step_out *out);

/* The watermark of a result that was due as soon as event time, as the step sees it, reached due_ms:
 * a window's end and grace. It is the last moment before, so that what closes then still takes it. */
static inline int64_t step_due(const struct step_way *way, int64_t due_ms)
{
    return due_ms - 1 + way->lag_ms;
}

/* Of one that is put out as event time is now: a running result. */
static inline int64_t step_now(const struct step_way *way, int64_t watermark_ms)
{
    return watermark_ms == TIME_NONE ? TIME_NONE : watermark_ms + way->lag_ms;
}

struct step_late {
    int64_t window_start_ms, window_end_ms;
    int64_t closed_ms; /* when it had closed, in event time */
};

/* One record on its way through the steps of a segment. */
struct step_run {
    struct step_way way;
    const struct step_out *in;  /* the record as it came into the segment */
    unsigned input;             /* of in->origin: index among the stage's sources */
    const struct json_doc *doc; /* of its value; NULL where there is none */
    struct stream_value *slots;
    int64_t event_ms;
    int64_t watermark_ms; /* as it is before this record; the segment's lag is taken off */
    int64_t now_ms;       /* by the clock; TIME_NONE: nobody has told */
    struct stream_table *const *tables;
    const struct stream_sink *sink;
    struct schema_checker *checker;
    struct eval *eval;   /* values that steps make for this record live in it */
    struct buf *scratch; /* for the step's own use during its run */
    void *local;         /* what its new_local made */
    enum err reason;
    struct err_info *info;
    struct step_late late;
    bool is_joined;
    uint32_t refreshed; /* bit n: table n was brought up to date for this record */
};

/* What a state needs at a commit. */
struct step_commit {
    struct step_way way;
    const struct stream_sink *sink;
    struct stream_task_stats *stats;
    int64_t watermark_ms;        /* the state's lag is taken off */
    int64_t now_ms;              /* by the clock; TIME_NONE: nobody has told */
    const int64_t *next_offsets; /* per input: just past the last record that was processed */
    unsigned input_count;
    int32_t partition;
    uint16_t changelog_topic;
    struct err_info *info;
};

struct kept_config;
struct pipeline_row;

struct step_state_kind {
    void *(*new_state)(const void *step);
    void (*free_state)(void *state);
    /* Called in the order in which records flow: what one state forwards is in the next before
     * that one's turn. */
    enum err (*before_commit)(void *state, const struct step_commit *commit);
    void (*committed)(void *state);
    void (*aborted)(void *state);
    enum err (*restore)(void *state, struct strview key, struct strview value,
                        struct err_info *info);
    bool (*wants_commit)(const void *state, int64_t watermark_ms, int64_t now_ms);
    /* From the offset's metadata: event time up to which the committed state was brought. */
    void (*restore_time)(void *state, int64_t watermark_ms);
    /* Adds its share. */
    void (*stats)(const void *state, struct stream_task_stats *stats);
    /* What a cell of the changelog comes to, as JSON, for people; false: it cannot be told. NULL: none
     * can. step: as new_state is given it. */
    bool (*show)(const void *step, const struct pipeline_row *row, struct buf *out);
};

/* The partition that the step's task works on. */
int32_t step_partition(const struct step_way *way);
/* The topic of the record that this one is made of; NULL: of more than one. */
const char *step_topic(const struct step_run *run);

struct program_builder;
struct spec;

struct step_kind {
    const char *name;
    /* NULL when there were errors (they are in the builder), or when there is nothing to run. */
    void *(*compile)(struct program_builder *builder, const struct spec *spec);
    void (*free_step)(void *step);
    /* state: what builder_add_state in its compile named; NULL when it did not. */
    enum step_verdict (*run)(const void *step, void *state, struct step_run *run);
    bool is_maker;    /* its results are records of their own: a new segment begins behind it */
    bool reads_event; /* it looks at the event as a whole: what was set before it is put in first */
    bool takes_null;  /* it looks at a record without a value, too; others are passed by */
    bool has_late;    /* it can find a record late */
    bool is_last;     /* no step follows it in its flow */
    bool is_check;    /* its refusals are of PIPELINE_VALIDATE, others' of PIPELINE_PROCESS */
    enum err passing[2]; /* reasons of its refusals that may pass by themselves; ERR_OK: none */
    /* What a task's copy of the step works with, beside state; NULL: nothing. */
    void *(*new_local)(const void *step);
    void (*free_local)(void *local);
};

#define STATE_NONE   UINT16_MAX
#define SEGMENT_NONE UINT16_MAX

struct step {
    const struct step_kind *kind;
    void *compiled;
    char *place;     /* "/steps/1/require": header millrace-step */
    char *text;      /* what the file says there, cut: for explain.h */
    uint16_t state;  /* index among the program's, or STATE_NONE */
    uint16_t to;     /* a maker's: the segment behind it */
    uint16_t aside;  /* another one that it forwards to, or SEGMENT_NONE */
    uint16_t local;  /* index among the program's, if its kind has one */
    int64_t hold_ms; /* a maker's: what it adds to that segment's lag */
};

/* Fills run's reason and info: `return step_reject(run, ERR_CONDITION, "…");`. */
PRINTF_LIKE(3, 4)
enum step_verdict step_reject(struct step_run *run, enum err reason, const char *format, ...);

/* --- tables ----------------------------------------------------------------------------------- */

/* What one join takes from a row. */
struct projection {
    size_t count;
    struct projection_member {
        struct json_pointer *from; /* in the row */
        uint16_t slot;             /* of the event's member that it becomes */
    } members[JOIN_MEMBERS_MAX];
};

struct table_spec {
    char *name;
    char *topic;             /* NULL: its rows are of … */
    struct table_file *file; /* … this file */
    size_t rows_max;
    bool has_history;
    int64_t history_ms;
    size_t projection_count;
    struct projection *projections[PROJECTIONS_MAX];
};

/* The row as one join sees it: a value per member of the projection, borrowed until the table's next
 * apply. at_ms: as it was at that time, INT64_MAX as it is now. NULL: there is no such row. */
const struct stream_value *stream_table_find(const struct stream_table *table, struct strview key,
                                             size_t projection, int64_t at_ms);
/* Whether the rows of the table's file can be used; after that they can. */
MUST_CHECK enum err table_check_file(const struct pipeline *pipeline, size_t table,
                                     struct err_info *info);

/* --- the program ------------------------------------------------------------------------------ */

/* What becomes of a source's records without a value. */
enum tombstones {
    TOMBSTONES_REFUSED,
    TOMBSTONES_PASSED,
    TOMBSTONES_DROPPED,
};

enum source_format {
    SOURCE_JSON,
    SOURCE_STRING, /* text: the event has one member, "value" */
};

struct program_source {
    char *topic;
    char *place; /* "/source": header millrace-step; with "/timestamp" when the time was wrong */
    char *time_place;
    struct event_time time; /* its slot is the segment's */
    int64_t delay_ms;
    int64_t idle_ms; /* 0: never idle */
    int64_t skew_ms; /* an internal one's: how far its senders may be apart */
    enum tombstones tombstones;
    enum source_format format;
    bool has_key; /* a field is the key of records that have none: */
    uint16_t key; /* its slot */
    char *key_text, *key_place;
    bool is_internal;
    bool is_apart;    /* an internal one that says nothing of event time */
    unsigned retry;   /* its records are tried for the n-th time again; 0: it is no such topic */
    uint16_t feeder;  /* an internal one's: the segment that writes its topic */
    uint16_t segment; /* where its records begin */
    uint16_t stage;
    uint16_t input; /* among its stage's sources */
    uint16_t dead_letter_topic, late_topic;
};

/* A member that steps of a segment set or take away. The event's bytes are left alone until the
 * segment's end; until then the slot has what the member is. */
struct program_edit {
    char *name;
    struct strview prefix; /* `,"name":` */
    uint16_t slot;         /* missing: there is no such member */
};

/* Without fields and steps a segment hands bytes on as they are. */
struct program_segment {
    char *name; /* for people: the flows and branches whose records it works on */
    uint16_t stage;
    /* The first source whose records come here: names the side topics of what has no origin. */
    uint16_t home;
    uint32_t counter;    /* its first among the program's: struct pipeline_counter */
    int64_t lag_ms;      /* how far behind the task's its event time is */
    bool is_scanned;     /* it needs the value as JSON */
    bool is_table;       /* what comes in are changes of rows: `old` tells what was */
    bool is_before_late; /* there or behind it something can be late, be it in another stage */
    uint32_t sources;    /* bit n: records of the pipeline's source n come here, in this stage */
    char *place;         /* of its flow: header millrace-step of what is no JSON */
    struct fields fields;
    size_t step_count;
    struct step *steps;
    size_t edit_count;
    struct program_edit edits[EDITS_MAX];
    struct json_names *edit_names; /* as json_splice wants them; NULL: none */
    bool is_rebuilt;               /* the event is its edits, and nothing else */
    /* Where the record goes: */
    bool has_output;
    enum stream_target target;
    uint16_t output_topic;
    char *output_place; /* header millrace-step of what cannot be put out */
    bool has_output_key;
    uint16_t output_key; /* slot */
    char *output_key_text;
    size_t next_count;
    uint16_t next[READERS_MAX];
    size_t turn_count; /* where its last step, a branch, may send it */
    uint16_t turns[READERS_MAX];
};

struct program_state {
    const struct step_state_kind *kind;
    const void *step;               /* what the step that made it was compiled to */
    const struct kept_config *kept; /* how it is kept: a part of that */
    char *store;                    /* name */
    uint16_t changelog_topic;
    uint16_t segment; /* of the step */
    uint16_t to;      /* the segment behind it */
    uint16_t stage;
    int64_t retention_ms; /* negative: the changelog is only compacted */
    bool is_ordered;
};

struct program_flow {
    char *name;
};

struct program_stage {
    size_t source_count;
    uint16_t sources[SOURCES_MAX];
    uint16_t retry_topics[RETRIES_MAX]; /* where something in it is tried again */
    bool waits;                         /* its records may be tried again where they are */
    bool is_copartitioned;
};

struct program_retry {
    size_t in_place_count; /* how often, with all that is behind it waiting; 0: never */
    int64_t in_place_ms[RETRIES_MAX];
    size_t count; /* and then how often by way of a topic; 0: never */
    int64_t delays_ms[RETRIES_MAX];
    size_t reason_count;
    enum err reasons[RETRY_REASONS_MAX];
};

static inline bool program_retries(const struct program_retry *retry, enum err reason)
{
    bool is_one = false;
    for (size_t i = 0; i < retry->reason_count; i++) {
        is_one |= retry->reasons[i] == reason;
    }
    return is_one;
}

struct pipeline {
    char *name;
    uint64_t hash;
    struct program_retry retry;
    enum pipeline_policy policies[PIPELINE_CLASSES];
    size_t counter_count;
    size_t source_count;
    struct program_source sources[SOURCES_MAX];
    size_t flow_count;
    struct program_flow flows[FLOWS_MAX];
    size_t segment_count;
    struct program_segment *segments[SEGMENTS_MAX];
    size_t state_count; /* in the order in which records flow */
    struct program_state states[STATES_MAX];
    size_t local_count;
    size_t stage_count;
    struct program_stage stages[SOURCES_MAX];
    size_t table_count;
    struct table_spec tables[TABLES_MAX];
    size_t topic_count;
    struct pipeline_topic {
        char *name;
        enum stream_target target;
    } topics[TOPICS_MAX];
};
