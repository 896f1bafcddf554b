/* program.h - a compiled pipeline from inside the room: its steps and what they work on.
 *
 * A program is a flat array of steps. Each has a kind (one row in steps.c, one file step_<kind>.c)
 * and what its compile made of the file. A step sees one record (struct step_run), reads fields
 * through slots and says what becomes of the record. A step that keeps state has a state kind: one
 * state per task, with the task's commit cycle.
 */
#pragma once

#include "core/buf.h"
#include "schema/schema.h"
#include "stream/eval.h"
#include "stream/event_time.h"
#include "stream/fields.h"
#include "stream/spec.h"
#include "stream/task.h"
#include "stream/watermark.h"

#define STEPS_MAX        32
#define TABLES_MAX       16
#define TOPICS_MAX       8
#define PROJECTIONS_MAX  8 /* joins that use one table */
#define JOIN_MEMBERS_MAX 32
#define STEP_PLACE_BYTES 64

/* --- steps ------------------------------------------------------------------------------------ */

enum step_verdict {
    STEP_NEXT,     /* on to the next step */
    STEP_DROP,     /* the record ends here, as the pipeline wants it */
    STEP_DONE,     /* the record has been taken up into state: nothing is left to put out */
    STEP_REJECT,   /* to the dead letters; run->reason and run->info say why */
    STEP_LATE,     /* to the late topic; run->late says why */
    STEP_REPLAYED, /* state already holds it: nothing happens */
    STEP_AGAIN,    /* a table was brought up to date: run the record from the start */
};

struct step_late {
    int64_t window_start_ms, window_end_ms;
    int64_t closed_ms; /* when it had closed, in event time */
};

/* One record on its way through the steps. */
struct step_run {
    const struct stream_record *record;
    const struct json_doc *doc;
    struct stream_value *slots;
    int64_t event_ms;
    int64_t watermark_ms; /* as it is before this record */
    struct stream_table *const *tables;
    const struct stream_sink *sink;
    struct schema_checker *checker;
    struct eval *eval;           /* values that steps make for this record live in it */
    struct buf *scratch;         /* for the step's own use during its run */
    struct strview members;      /* `,"name":value`… to be spliced in at the output */
    struct buf *members_of_many; /* holds them when they come from more than one join */
    enum err reason;
    struct err_info *info;
    struct step_late late;
    bool is_joined;
    uint32_t refreshed; /* bit n: table n was brought up to date for this record */
};

struct program_builder;
struct step_commit;

struct step_state_kind {
    void *(*new_state)(const void *step);
    void (*free_state)(void *state);
    enum err (*before_commit)(void *state, const struct step_commit *commit);
    void (*committed)(void *state);
    void (*aborted)(void *state);
    enum err (*restore)(void *state, struct strview key, struct strview value,
                        struct err_info *info);
    bool (*wants_commit)(const void *state, int64_t watermark_ms);
    /* What must survive beside the changelog: event time up to which windows were closed, once
     * the commit under way succeeds. */
    int64_t (*closed_through)(const void *state);
    void (*restore_closed_through)(void *state, int64_t closed_ms);
    void (*stats)(const void *state, struct stream_task_stats *stats);
};

/* What a state needs at a commit. */
struct step_commit {
    const struct stream_sink *sink;
    struct stream_task_stats *stats;
    int64_t watermark_ms;
    int64_t next_offset; /* just past the last record that was processed */
    int32_t partition;
    uint16_t output_topic;
    uint16_t changelog_topic;
    struct err_info *info;
};

struct step_kind {
    const char *name;
    /* NULL when there were errors: they are in the builder. */
    void *(*compile)(struct program_builder *builder, const struct spec *spec);
    void (*free_step)(void *step);
    enum step_verdict (*run)(const void *step, void *state, struct step_run *run);
    const struct step_state_kind *state; /* NULL: keeps none */
};

struct step {
    const struct step_kind *kind;
    void *compiled;
    char place[STEP_PLACE_BYTES]; /* "/steps/1/require": header millrace-step */
};

/* Fills run's reason and info: `return step_reject(run, ERR_CONDITION, "…");`. */
PRINTF_LIKE(3, 4)
enum step_verdict step_reject(struct step_run *run, enum err reason, const char *format, ...);

/* --- tables ----------------------------------------------------------------------------------- */

/* What one join takes from a row. */
struct projection {
    size_t count;
    struct projection_member {
        char *name;                /* "product_name" */
        struct strview prefix;     /* `,"product_name":` */
        struct json_pointer *from; /* in the row */
        uint16_t slot;             /* where later steps find it */
    } members[JOIN_MEMBERS_MAX];
};

struct table_spec {
    char *name;
    char *topic;
    size_t rows_max;
    size_t projection_count;
    struct projection *projections[PROJECTIONS_MAX];
};

/* One row as one join sees it. Borrowed until the table's next apply. */
struct table_row {
    struct strview members;            /* all prefixes and values, behind each other */
    const struct stream_value *values; /* one per member of the projection */
};

/* NULL: there is no such row. */
const struct table_row *stream_table_find(const struct stream_table *table, struct strview key,
                                          size_t projection);

/* --- the program ------------------------------------------------------------------------------ */

struct pipeline {
    char *name;
    char *source_topic;
    struct event_time time;
    int64_t watermark_delay_ms;
    int64_t watermark_idle_ms; /* 0: never idle */
    struct fields fields;
    size_t step_count;
    struct step steps[STEPS_MAX];
    size_t table_count;
    struct table_spec tables[TABLES_MAX];
    size_t topic_count;
    struct pipeline_topic {
        char *name;
        enum stream_target target;
    } topics[TOPICS_MAX];
    uint16_t output_topic, dead_letter_topic, late_topic, changelog_topic;
    bool is_stateful;
    bool has_output_key;
    uint16_t output_key; /* slot; unused where there is state: results go under their group's key */
    char *output_key_text;
};

/* While a file is compiled. */
struct program_builder {
    struct pipeline *pipeline;
    struct pipeline_overrides overrides;
    struct spec_loader loader;
    /* Fields that steps so far have made: later steps that name them read these. */
    size_t made_count;
    struct made_field {
        char *pointer;
        uint16_t slot;
    } made[FIELDS_MAX];
    const char *store_name; /* of the step that keeps state; NULL: none does */
    const char *result_key; /* member of its result that shows the group's key; NULL: none does */
};

/* The slot that holds the field at this point of the program; 0 after an error (reported at `at`). */
uint16_t builder_field(struct program_builder *builder, const struct spec *at, const char *pointer);
/* Text of a member that names a field, and its slot. */
uint16_t builder_get_field(struct program_builder *builder, const struct spec *object,
                           const char *name, const char **ret_text);
uint16_t builder_make_field(struct program_builder *builder, const struct spec *at,
                            const char *name);
/* Index of the table; an error with the nearest name when there is none. */
size_t builder_get_table(struct program_builder *builder, const struct spec *object,
                         const char *name);
