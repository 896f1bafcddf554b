/* aggregate.h - what a group of events adds up to, and its result as JSON. Private to this room.
 *
 * WHAT     the `result` of an aggregate step compiled: which fields are read, which accumulators
 *          each event goes into (accumulator.h: results that can share one do), and the members of
 *          the result in the file's order.
 * STATE    one flat run of bytes, so that a store keeps, copies and writes it without a look inside:
 *
 *              struct totals | the accumulators' fixed parts | sections that grow, in their order
 *
 *          All zeros is a state to which nothing was added. A state's bytes are what memory holds,
 *          little-endian: another machine and another release read them (aggregate_check).
 * RULES    1. Exact: decimals of nine fractional digits, so that order, replay and restore make no
 *             difference. An average is the sum by the count, rounded half to even at the ninth.
 *             Approximations say so in their name and keep the error that docs/pipelines.md states.
 *          2. Every event counts in every accumulator: a field that is missing or of another type
 *             rejects the event as a whole.
 *          3. prepare, then room for what it says, then add (or merge): what was prepared cannot
 *             fail half-way.
 *          4. Merging states in any grouping gives the state of all their events; where events of
 *             one time are told apart, those of the left state are the earlier ones.
 * BOUNDS   AGGREGATE_VALUES_MAX accumulators, AGGREGATE_COLUMNS_MAX members; a state and its result
 *          have at most AGGREGATE_BYTES_MAX bytes, which is checked when the pipeline is compiled.
 */
#pragma once

#include <stdalign.h>

#include "core/buf.h"
#include "core/decimal.h"
#include "stream/spec.h"
#include "stream/value.h"

#define AGGREGATE_VALUES_MAX  16
#define AGGREGATE_COLUMNS_MAX 32
#define AGGREGATE_BYTES_MAX   (768 * 1024)

struct totals {
    int64_t count;
    int64_t timestamp_max_ms;
    alignas(16) unsigned char fixed[]; /* at the accumulators' `at`; then the sections */
};

struct program_builder;
struct accumulator_kind;
struct aggregate_function;

/* What is read of a field. */
enum input_form {
    INPUT_NUMBER,
    INPUT_RAW,       /* the value's bytes as they are */
    INPUT_CANONICAL, /* one text for equal values: strings decoded and encoded, numbers shortest */
    INPUT_TEXT,      /* a string's characters */
};

/* How an accumulator differs from others of its kind. */
struct accumulator_options {
    uint32_t shape;     /* what its state depends on: k, precision, accuracy; 0: nothing */
    uint32_t max;       /* values kept */
    uint32_t bytes_max; /* of one of them */
    uint32_t truncates; /* at `max`: goes on without; else the event is refused */
};

#define ACCUMULATOR_NO_LABEL UINT16_MAX

struct accumulator {
    const struct accumulator_kind *kind;
    struct accumulator_options options;
    uint16_t input;
    uint16_t label;   /* an input, or ACCUMULATOR_NO_LABEL */
    uint16_t section; /* which of the state's, where the kind has one */
    uint32_t at;      /* of its fixed part, from the state's start */
};

#define COLUMN_NUMBERS_MAX 8

struct aggregate_column {
    char *prefix; /* `{"name":` or `,"name":` */
    const struct aggregate_function *function;
    uint16_t value;                     /* accumulator, of a function that has one */
    uint16_t choice;                    /* of the function's own words */
    uint16_t number_count;              /* 0: one number, not an array */
    double numbers[COLUMN_NUMBERS_MAX]; /* percentages */
};

struct aggregate {
    size_t input_count;
    struct aggregate_input {
        uint16_t slot;
        enum input_form form;
        char *field; /* for messages */
    } inputs[AGGREGATE_VALUES_MAX];
    size_t value_count;
    struct accumulator values[AGGREGATE_VALUES_MAX];
    size_t fixed_bytes; /* of a state without its sections */
    size_t section_count;
    uint32_t sections[AGGREGATE_VALUES_MAX]; /* where in the state each one's head is */
    size_t column_count;
    struct aggregate_column columns[AGGREGATE_COLUMNS_MAX];
    bool shows_window;
    int64_t parts_max; /* of states that are merged into one; 0: one */
    char *key_column;  /* pointer to the member that shows the key; NULL: none does */
};

/* What an event adds. Texts are borrowed from the event, or from `scratch`. */
struct aggregate_event {
    int64_t time_ms;
    union aggregate_value {
        struct decimal number;
        struct strview text;
    } inputs[AGGREGATE_VALUES_MAX];
    struct buf scratch;
};

/* What a result says about its window. */
struct aggregate_window {
    struct strview key;
    int64_t start_ms, end_ms;
    struct strview old; /* of a table: what was shown before; ptr NULL: nothing */
};

void aggregate_free(struct aggregate *aggregate); /* frees what it holds, not itself */
void aggregate_compile(struct program_builder *builder, const struct spec *result,
                       struct aggregate *aggregate);
/* A hash of what is accumulated, and over which windows: state of another pipeline, or of this one
 * before its aggregates were changed, is told apart. */
uint32_t aggregate_layout(const struct aggregate *aggregate, const char *window);
/* Name of a result that cannot do it, for a message; NULL: all can. */
const char *aggregate_cannot_subtract(const struct aggregate *aggregate);
/* The same for states that are merged without a look at bounds. */
const char *aggregate_cannot_truncate(const struct aggregate *aggregate);

void aggregate_event_init(struct aggregate_event *event);
void aggregate_event_free(struct aggregate_event *event);
/* Reads the event's values. ERR_FIELD_MISSING, ERR_FIELD_TYPE, ERR_NUMBER_RANGE with info. */
MUST_CHECK enum err aggregate_read(const struct aggregate *aggregate,
                                   const struct stream_value *slots, struct aggregate_event *event,
                                   struct err_info *info);

/* Bytes of this state; of one to which nothing was added: fixed_bytes. */
size_t aggregate_bytes(const struct aggregate *aggregate, const struct totals *totals);

/* Whether the event can be added, and how many bytes the state may then have. ERR_NUMBER_RANGE,
 * ERR_LIMIT with info. */
MUST_CHECK enum err aggregate_prepare(const struct aggregate *aggregate,
                                      const struct totals *totals,
                                      const struct aggregate_event *event, size_t *ret_bytes,
                                      struct err_info *info);
void aggregate_add(const struct aggregate *aggregate, struct totals *totals,
                   const struct aggregate_event *event);
/* The opposite, for an event that was added. Nothing it holds can do it fails. */
void aggregate_subtract(const struct aggregate *aggregate, struct totals *totals,
                        const struct aggregate_event *event);

/* The same for all that was added to another state. */
MUST_CHECK enum err aggregate_prepare_merge(const struct aggregate *aggregate,
                                            const struct totals *totals, const struct totals *from,
                                            size_t *ret_bytes, struct err_info *info);
void aggregate_merge(const struct aggregate *aggregate, struct totals *totals,
                     const struct totals *from);

/* Whether these bytes, which may come from anywhere, are a state. At a 16-byte boundary. */
bool aggregate_check(const struct aggregate *aggregate, const void *bytes, size_t len);
/* Appends the state without the room its sections have left. */
MUST_CHECK enum err aggregate_pack(const struct aggregate *aggregate, const struct totals *totals,
                                   struct buf *out);
/* Appends the result as a JSON object. */
MUST_CHECK enum err aggregate_render(const struct aggregate *aggregate, const struct totals *totals,
                                     const struct aggregate_window *window, struct buf *out);
