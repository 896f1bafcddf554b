/* builder.h - while a pipeline file is compiled: what a step's compile asks for. Private to this room.
 *
 * WHAT     a step is compiled into builder->segment. Fields of the event get slots there; values that
 *          steps make get slots, too, under the name that later steps read them by. A step that keeps
 *          state adds one; a maker may say by how much its results lag.
 * ERRORS   are told at a place of the file (spec_error) and compiling goes on; whatever is returned
 *          then can be worked with but will not run.
 */
#pragma once

#include "stream/program.h"
#include "stream/spec.h"
#include "stream/store.h"

/* What is known of a segment's records while steps are added to it. */
struct builder_scope {
    /* Members that its steps have edited: later steps that name them read these. */
    size_t made_count;
    struct made_field {
        char *pointer;
        uint16_t slot;
    } made[EDITS_MAX];
    bool has_missing; /* after builder_rebuild: the slot of all that is not there any more … */
    uint16_t missing; /* … is this */
    char *result_key; /* member that holds the record's key; NULL: none is known to */
    bool has_windows; /* records of one key may be of several windows */
};

/* What `from` can name: a source, a flow, or a flow's branch ("flow.branch"). */
struct builder_port {
    char *name;
    unsigned reader_count; /* all over the file */
    bool is_open;     /* nothing else is done with its records: its only reader goes on there */
    uint16_t segment; /* whose records are read, once it is compiled */
};

/* The step that is being compiled. */
struct builder_step {
    const struct step_kind *kind;
    uint16_t state;  /* that it added, or STATE_NONE */
    uint16_t behind; /* a maker's: the segment that begins behind it … */
    uint16_t aside;  /* … and another that it forwards to, or SEGMENT_NONE */
    int64_t hold_ms; /* a maker's */
};

struct program_builder {
    struct pipeline *pipeline;
    struct pipeline_overrides overrides;
    struct spec_loader loader;
    uint16_t flow;
    uint16_t segment_index;
    struct program_segment *segment; /* that steps are compiled into */
    struct builder_scope *scope;     /* its */
    struct builder_scope *scopes[SEGMENTS_MAX];
    struct builder_step step;
    bool wants_cut; /* it asked for a field that lies within a member that was edited */
    size_t port_count;
    struct builder_port *ports;
};

/* "amount" and "/amount" are one field. */
bool builder_is_field(const char *pointer, const char *other);
/* The slot that holds the field at this point of the program; 0 after an error (reported at `at`). */
uint16_t builder_field(struct program_builder *builder, const struct spec *at, const char *pointer);
/* Text of a member that names a field, and its slot. */
uint16_t builder_get_field(struct program_builder *builder, const struct spec *object,
                           const char *name, const char **ret_text);
/* The slot of a member of the event itself. name: as it is, or as a JSON Pointer of one step. */
uint16_t builder_member(struct program_builder *builder, const struct spec *at, const char *name);
/* The slot in which a step of this segment sets the member, or leaves it missing to take it away.
 * Later steps that name it read it there. */
uint16_t builder_edit(struct program_builder *builder, const struct spec *at, const char *name);
/* From here on the event is what is edited from here on, and nothing else. */
void builder_rebuild(struct program_builder *builder);
/* Whether the field lies within a member that this segment edits: it has no slot then. A step that
 * asks for one is compiled again in a segment that begins behind the edits. */
bool builder_is_inside_edit(const struct program_builder *builder, const char *pointer);
static inline bool builder_has_edits(const struct program_builder *builder)
{
    return builder->segment->edit_count > 0 || builder->segment->is_rebuilt;
}
/* What was edited is put into the event here: a new segment, into which compiling goes on. */
void builder_cut(struct program_builder *builder, const struct spec *at);
/* `,"name":`, escapes included: the caller's memory. */
struct strview builder_member_prefix(const char *name);
/* Index of the table; an error with the nearest name when there is none. */
size_t builder_get_table(struct program_builder *builder, const struct spec *object,
                         const char *name);

struct builder_state {
    const struct step_state_kind *kind;
    const void *step;               /* what new_state is given */
    const struct kept_config *kept; /* how it is kept; lives as long as the step */
    const char *store;              /* name; NULL: <flow>-<step kind>, -2 … when there are more */
    int64_t retention_ms;           /* negative: the changelog is only compacted */
    bool is_ordered; /* restoring takes the records in the order in which they were written */
};
/* The step that is being compiled keeps state. Returns the state's index. */
uint16_t builder_add_state(struct program_builder *builder, const struct spec *at,
                           const struct builder_state *params);
/* The step's member "store": {"name", `count`, "bytes_max"} into config, which has the default of
 * bytes_max. `count` bounds keys and cells. Returns the name; NULL: the file gives none. */
const char *builder_compile_store(const struct spec *step, const char *count,
                                  struct store_config *config);
/* What a maker forwards at a commit was due up to so long before event time as it is then. */
void builder_hold(struct program_builder *builder, int64_t hold_ms);
/* The member of the maker's results that is their key: an output that names it needs no scan. */
void builder_result_key(struct program_builder *builder, const char *pointer);

#define TOPIC_NAME_BYTES_MAX 249 /* Kafka's */

/* A step's other input: the records of what the text of `member` names go into a hidden segment, and
 * compiling goes on there … False after an error, or when the step is to be compiled again behind what
 * was edited. */
struct builder_side {
    uint16_t segment_index;
    struct builder_step step;
};
bool builder_begin_side(struct program_builder *builder, const struct spec *member,
                        struct builder_side *side);
/* … until its one step is known, which has the state of the step that is being compiled, and the same
 * segment behind it. */
void builder_end_side(struct program_builder *builder, const struct spec *member,
                      const struct builder_side *side, const struct step_kind *kind,
                      void *compiled);

/* The present segment's step, which has the state and the segments behind it that builder->step says. */
void builder_place_step(struct program_builder *builder, const struct spec *at,
                        const struct step_kind *kind, void *compiled);
/* A topic of the pipeline's own: returns the segment of what is forwarded into it; compiling goes on
 * where its records come out, which say nothing of event time. name: what they are, for people. */
uint16_t builder_open_topic(struct program_builder *builder, const struct spec *at,
                            const char *name);

/* --- between the files that compile ------------------------------------------------------------- */

/* Index of a topic that the pipeline writes, the same for the same name. */
uint16_t builder_add_topic(struct program_builder *builder, const struct spec *at, const char *name,
                           enum stream_target target);
void builder_check_topic(const struct spec *at, const char *name);
/* A new one, of the flow that is being compiled; `at` is where its records come from in the file. */
uint16_t builder_add_segment(struct program_builder *builder, const struct spec *at);
/* Compiling goes on in it. */
void builder_enter_segment(struct program_builder *builder, uint16_t segment);
/* For people: the flow or branch whose records the present segment works on from here on. */
void builder_name_segment(struct program_builder *builder, const char *name);
void builder_add_next(struct program_builder *builder, const struct spec *at, uint16_t from,
                      uint16_t to);
/* Member of the object: {"delay": …, "idle": …}. */
void builder_compile_watermark(const struct spec *object, struct program_source *source);
/* A source and the segment where its records begin, where compiling goes on; NULL when there are too
 * many. */
struct program_source *builder_add_source(struct program_builder *builder, const struct spec *at,
                                          const char *topic);
/* The same, as `spec` describes it. */
struct program_source *builder_compile_source(struct program_builder *builder,
                                              const struct spec *spec);
void builder_compile_tables(struct program_builder *builder, const struct spec *file);
/* Whether rows of files are what the joins need: known when all joins are. */
void builder_check_tables(struct program_builder *builder, const struct spec *file);
/* `retry`, before the flows; what there is to read for it, after builder_link. */
void builder_compile_retry(struct program_builder *builder, const struct spec *file);
void builder_add_retries(struct program_builder *builder, const struct spec *file);
/* All flows of the file, in the order in which records go through them. */
void builder_compile_flows(struct program_builder *builder, const struct spec *file);
/* NULL, and an error with the nearest name, when there is none. */
struct builder_port *builder_get_port(struct program_builder *builder, const struct spec *name);
/* A branch of the flow: its segment. */
uint16_t builder_open_branch(struct program_builder *builder, const struct spec *branch,
                             const char *name);
/* The segment's records go through a topic under another key; compiling goes on behind it. */
void builder_repartition(struct program_builder *builder, const struct spec *rekey);
/* A step that the file does not name as one, at the end of the present segment. */
void builder_add_step(struct program_builder *builder, const struct spec *at,
                      const struct step_kind *kind);
/* Steps into the present segment and those that begin behind makers. */
void builder_compile_steps(struct program_builder *builder, const struct spec *steps);
/* The file into builder->pipeline. */
void builder_compile_file(struct program_builder *builder, const struct spec *file);
/* What only the whole program tells: stages, lags, what a segment needs. After the flows, if there
 * were no errors. */
void builder_link(struct program_builder *builder);
/* All but the first `count`. */
void builder_forget_edits(struct program_segment *segment, size_t count);
/* What the builder holds, not the pipeline. */
void builder_free(struct program_builder *builder);
