/* Accumulators that keep one value whole: first and last by event time, least and greatest text.
 *
 * Of events of one time the one that arrived first is the first, the one that arrived last the last;
 * when states are merged, the left one's arrived earlier. */
#include "stream/accumulator.h"

struct one {
    struct section section; /* count: bytes of the value */
    int64_t time_ms;
    int64_t unused;
};

static enum err one_prepare(const struct accumulate *a, const struct aggregate_event *event,
                            size_t *more, struct err_info *info)
{
    const struct one *one = accumulate_fixed(a);
    struct strview text = accumulate_input(a, event)->text;
    size_t bytes = section_round(text.len);
    *more = bytes > one->section.used ? section_more(&one->section, bytes - one->section.used) : 0;
    return accumulate_check_text(a, text, info);
}

static enum err one_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                  size_t *more, struct err_info *info)
{
    (void)info;
    const struct one *one = accumulate_fixed(a), *other = accumulate_fixed(from);
    uint32_t used = one->section.used;
    *more =
        other->section.used > used ? section_more(&one->section, other->section.used - used) : 0;
    return ERR_OK;
}

static void one_take(const struct accumulate *a, struct strview text, int64_t time_ms)
{
    struct one *one = accumulate_fixed(a);
    size_t bytes = section_round(text.len);
    unsigned char *at =
        section_reserve(a, bytes > one->section.used ? bytes - one->section.used : 0);
    memset(at, 0, bytes);
    if (text.len) {
        memcpy(at, text.ptr, text.len);
    }
    one->section.used = (uint32_t)bytes;
    one->section.count = (uint32_t)text.len;
    one->time_ms = time_ms;
}

struct strview accumulate_text(const struct accumulate *a)
{
    const struct one *one = accumulate_fixed(a);
    return sv_of((const char *)section_bytes(a), one->section.count);
}

static int64_t one_time(const struct accumulate *a)
{
    return ((const struct one *)accumulate_fixed(a))->time_ms;
}

static bool one_check(const struct accumulate *a)
{
    const struct one *one = accumulate_fixed(a);
    return section_round(one->section.count) == one->section.used;
}

static uint64_t one_bytes_max(const struct accumulator_options *options)
{
    return 6ULL * options->bytes_max; /* text, shown with each of its characters escaped */
}

/* --- by time ------------------------------------------------------------------------------------*/

static void first_take(const struct accumulate *a, struct strview text, int64_t time_ms)
{
    if (a->totals->count == 0 || time_ms < one_time(a)) {
        one_take(a, text, time_ms);
    }
}

static void last_take(const struct accumulate *a, struct strview text, int64_t time_ms)
{
    if (a->totals->count == 0 || time_ms >= one_time(a)) {
        one_take(a, text, time_ms);
    }
}

static void first_add(const struct accumulate *a, const struct aggregate_event *event)
{
    first_take(a, accumulate_input(a, event)->text, event->time_ms);
}

static void first_merge(const struct accumulate *a, const struct accumulate *from)
{
    first_take(a, accumulate_text(from), one_time(from));
}

static void last_add(const struct accumulate *a, const struct aggregate_event *event)
{
    last_take(a, accumulate_input(a, event)->text, event->time_ms);
}

static void last_merge(const struct accumulate *a, const struct accumulate *from)
{
    last_take(a, accumulate_text(from), one_time(from));
}

/* --- by order of bytes --------------------------------------------------------------------------*/

static int text_order(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void text_take(const struct accumulate *a, struct strview text, bool is_max)
{
    int order = a->totals->count == 0 ? 0 : text_order(text, accumulate_text(a));
    if (a->totals->count == 0 || (is_max ? order > 0 : order < 0)) {
        one_take(a, text, 0);
    }
}

static void min_text_add(const struct accumulate *a, const struct aggregate_event *event)
{
    text_take(a, accumulate_input(a, event)->text, false);
}

static void min_text_merge(const struct accumulate *a, const struct accumulate *from)
{
    text_take(a, accumulate_text(from), false);
}

static void max_text_add(const struct accumulate *a, const struct aggregate_event *event)
{
    text_take(a, accumulate_input(a, event)->text, true);
}

static void max_text_merge(const struct accumulate *a, const struct accumulate *from)
{
    text_take(a, accumulate_text(from), true);
}

#define ONE_KIND(kind, input)                                                                      \
    .name = #kind, .fixed_bytes = sizeof(struct one), .has_section = true, .can_truncate = true,   \
    .form = (input), .prepare = one_prepare, .add = kind##_add,                                    \
    .prepare_merge = one_prepare_merge, .merge = kind##_merge, .check = one_check,                 \
    .bytes_max = one_bytes_max

const struct accumulator_kind accumulate_first = {ONE_KIND(first, INPUT_RAW)};
const struct accumulator_kind accumulate_last = {ONE_KIND(last, INPUT_RAW)};
const struct accumulator_kind accumulate_min_text = {ONE_KIND(min_text, INPUT_TEXT)};
const struct accumulator_kind accumulate_max_text = {ONE_KIND(max_text, INPUT_TEXT)};
