/* accumulator.h - the kinds of accumulators. Private to the aggregate's files: a new kind is a row
 * in the file of its family and, in aggregate_functions.c, the results that show it.
 *
 * A kind works on its own part of a state (aggregate.h): a fixed part, zeroed at first, and a
 * section if it needs to grow. `prepare` says whether the event fits and how many bytes the section
 * may want beyond its capacity; what is prepared must then succeed. `totals->count` is that before
 * the event.
 *
 * SECTION  capacity and what is used of it, both in bytes; `used` is a multiple of 8. Sections lie
 *          behind each other, so that growing one moves those behind it: amortised by growing by
 *          half at least.
 */
#pragma once

#include "stream/aggregate.h"

struct section {
    uint32_t capacity;
    uint32_t used;
    uint32_t count; /* and `extra`, `is_truncated`: the owner's own */
    uint32_t extra : 31;
    uint32_t is_truncated : 1;
};

/* The arguments of every function of a kind. */
struct accumulate {
    const struct aggregate *aggregate;
    const struct accumulator *accumulator;
    struct totals *totals;
};

struct accumulator_kind {
    const char *name;
    uint16_t fixed_bytes; /* a multiple of 16; begins with a struct section where it has one */
    bool has_section;
    bool can_truncate; /* keeps to its bounds when states are merged, or has none */
    enum input_form form;
    /* NULL: anything fits */
    enum err (*prepare)(const struct accumulate *a, const struct aggregate_event *event,
                        size_t *more, struct err_info *info);
    void (*add)(const struct accumulate *a, const struct aggregate_event *event);
    /* NULL: cannot be taken back */
    void (*subtract)(const struct accumulate *a, const struct aggregate_event *event);
    /* from: the same part of the other state. NULL: always fits */
    enum err (*prepare_merge)(const struct accumulate *a, const struct accumulate *from,
                              size_t *more, struct err_info *info);
    void (*merge)(const struct accumulate *a, const struct accumulate *from);
    /* Whether the part, its section within bounds, is one that `add` could have made. NULL: any is. */
    bool (*check)(const struct accumulate *a);
    /* Most bytes that its section, and what is shown of it, can have; NULL: has none. */
    uint64_t (*bytes_max)(const struct accumulator_options *options);
};

extern const struct accumulator_kind accumulate_sum, accumulate_min, accumulate_max,
    accumulate_squares;
extern const struct accumulator_kind accumulate_first, accumulate_last, accumulate_min_text,
    accumulate_max_text;
extern const struct accumulator_kind accumulate_set, accumulate_list, accumulate_top,
    accumulate_bottom;
extern const struct accumulator_kind accumulate_distinct, accumulate_percentile;

/* --- what the kinds share -----------------------------------------------------------------------*/

static inline void *accumulate_fixed(const struct accumulate *a)
{
    return (unsigned char *)a->totals + a->accumulator->at;
}
static inline const union aggregate_value *accumulate_input(const struct accumulate *a,
                                                            const struct aggregate_event *event)
{
    return &event->inputs[a->accumulator->input];
}
static inline const char *accumulate_field(const struct accumulate *a)
{
    return a->aggregate->inputs[a->accumulator->input].field;
}

/* Where its section begins; the first byte behind the state when nothing was reserved. */
unsigned char *section_bytes(const struct accumulate *a);
/* What the state grows by when the section is to hold `bytes` more. */
size_t section_more(const struct section *section, size_t bytes);
/* Makes that room, which was prepared, and returns where the section begins. */
unsigned char *section_reserve(const struct accumulate *a, size_t bytes);
/* `bytes` (a multiple of 8) at `at` of the section, moved apart; `used` grows. */
unsigned char *section_open(const struct accumulate *a, size_t at, size_t bytes);
/* The opposite; `used` shrinks. */
void section_close(const struct accumulate *a, size_t at, size_t bytes);

static inline size_t section_round(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

/* ERR_LIMIT when a text is longer than the accumulator keeps. */
MUST_CHECK enum err accumulate_check_text(const struct accumulate *a, struct strview text,
                                          struct err_info *info);

/* --- what is shown of them ----------------------------------------------------------------------*/

struct decimal accumulate_number(const struct accumulate *a);
/* Variance; false: of too few events. `is_sample`: by n − 1. */
bool accumulate_variance(const struct accumulate *a, bool is_sample, double *ret);
struct strview accumulate_text(const struct accumulate *a);
uint32_t accumulate_set_count(const struct accumulate *a);
MUST_CHECK enum err accumulate_set_render(const struct accumulate *a, struct buf *out);
MUST_CHECK enum err accumulate_list_render(const struct accumulate *a, struct buf *out);
MUST_CHECK enum err accumulate_top_render(const struct accumulate *a, struct buf *out);
double accumulate_distinct_estimate(const struct accumulate *a);
/* percentage in (0, 100]; the state is not empty. */
double accumulate_percentile_value(const struct accumulate *a, double percentage);
