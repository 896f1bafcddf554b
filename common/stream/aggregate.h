/* aggregate.h - what a window adds up, and its result as JSON. Private to this room.
 *
 * WHAT     the `result` of an aggregate step compiled: which fields are read, which accumulators
 *          (sum, min, max; avg shares the sum) each event goes into, and the members of the result
 *          in the file's order.
 * RULES    1. Exact: decimals of nine fractional digits, so that order, replay and restore make no
 *             difference. An average is the sum by the count, rounded half to even at the ninth.
 *          2. Every event counts in every accumulator: a field that is missing or no number rejects
 *             the event as a whole.
 * BOUNDS   AGGREGATE_VALUES_MAX accumulators, AGGREGATE_COLUMNS_MAX members.
 */
#pragma once

#include "core/buf.h"
#include "core/decimal.h"
#include "stream/spec.h"
#include "stream/value.h"

#define AGGREGATE_VALUES_MAX  16
#define AGGREGATE_COLUMNS_MAX 32

struct totals {
    int64_t count;
    int64_t timestamp_max_ms;
    struct decimal values[]; /* one per accumulator */
};

struct program_builder;

enum accumulator_kind {
    ACCUMULATE_SUM,
    ACCUMULATE_MIN,
    ACCUMULATE_MAX,
};

enum column_kind {
    COLUMN_KEY,
    COLUMN_COUNT,
    COLUMN_WINDOW_START,
    COLUMN_WINDOW_END,
    COLUMN_VALUE,   /* of an accumulator */
    COLUMN_AVERAGE, /* of a sum */
};

enum column_time {
    COLUMN_EPOCH_S,
    COLUMN_EPOCH_MS,
    COLUMN_ISO8601,
};

struct aggregate {
    size_t input_count;
    struct aggregate_input {
        uint16_t slot;
        char *field; /* for messages */
    } inputs[AGGREGATE_VALUES_MAX];
    size_t value_count;
    struct accumulator {
        enum accumulator_kind kind;
        uint16_t input;
    } values[AGGREGATE_VALUES_MAX];
    size_t column_count;
    struct aggregate_column {
        char *prefix; /* `{"name":` or `,"name":` */
        enum column_kind kind;
        enum column_time time;
        uint16_t value;
    } columns[AGGREGATE_COLUMNS_MAX];
    char *key_column; /* pointer to the member that shows the key; NULL: none does */
};

/* What an event adds. */
struct aggregate_event {
    struct decimal inputs[AGGREGATE_VALUES_MAX];
};

/* What a result says about its window. */
struct aggregate_window {
    struct strview key;
    int64_t start_ms, end_ms;
};

void aggregate_free(struct aggregate *aggregate); /* frees what it holds, not itself */
void aggregate_compile(struct program_builder *builder, const struct spec *result,
                       struct aggregate *aggregate);
static inline size_t aggregate_totals_bytes(const struct aggregate *aggregate)
{
    return sizeof(struct totals) + aggregate->value_count * sizeof(struct decimal);
}
/* A hash of what is accumulated over windows of this size: see window_codec.h. */
uint32_t aggregate_layout(const struct aggregate *aggregate, int64_t size_ms);

/* Reads the event's numbers. ERR_FIELD_MISSING, ERR_FIELD_TYPE, ERR_NUMBER_RANGE with info. */
MUST_CHECK enum err aggregate_read(const struct aggregate *aggregate,
                                   const struct stream_value *slots, struct aggregate_event *ret,
                                   struct err_info *info);
/* Whether the event can be added without overflow. */
bool aggregate_fits(const struct aggregate *aggregate, const struct totals *totals,
                    const struct aggregate_event *event);
/* It fits. */
void aggregate_add(const struct aggregate *aggregate, struct totals *totals,
                   const struct aggregate_event *event, int64_t event_ms);
/* Appends the result as a JSON object. */
MUST_CHECK enum err aggregate_render(const struct aggregate *aggregate, const struct totals *totals,
                                     const struct aggregate_window *window, struct buf *out);
