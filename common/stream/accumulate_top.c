/* The `max` events that rank highest (top) or lowest (bottom) by a number, each with a label.
 *
 *     section:  entries, the first one first, `count` of them
 *
 * Equal numbers rank by event time, the earlier first, then by the bytes of their labels: the order
 * is total, so that what is kept depends on the events and not on when they came. */
#include "stream/accumulator.h"

struct top_entry {
    struct decimal number;
    int64_t time_ms;
    uint32_t len;
    uint32_t unused;
    char text[]; /* the label; rounded up to 16 bytes with zeros */
};

struct ranked {
    struct decimal number;
    int64_t time_ms;
    struct strview label;
};

static size_t top_entry_bytes(size_t len)
{
    return sizeof(struct top_entry) + ((len + 15) & ~(size_t)15);
}

static struct top_entry *top_at(const struct accumulate *a, size_t at)
{
    return (struct top_entry *)(void *)(section_bytes(a) + at);
}

static struct ranked top_ranked(const struct top_entry *entry)
{
    return (struct ranked){entry->number, entry->time_ms, sv_of(entry->text, entry->len)};
}

/* < 0: x ranks before y. */
static int rank_order(const struct ranked *x, const struct ranked *y, int sign)
{
    int order = decimal_compare(y->number, x->number) * sign;
    order = order ? order : (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
    if (order) {
        return order;
    }
    size_t common = x->label.len < y->label.len ? x->label.len : y->label.len;
    order = common ? memcmp(x->label.ptr, y->label.ptr, common) : 0;
    return order ? order : (x->label.len > y->label.len) - (x->label.len < y->label.len);
}

static void top_take(const struct accumulate *a, const struct ranked *ranked, int sign)
{
    struct section *section = accumulate_fixed(a);
    size_t at = 0, last = 0;
    uint32_t rank = 0;
    for (; rank < section->count; rank++) {
        struct ranked other = top_ranked(top_at(a, at));
        if (rank_order(ranked, &other, sign) < 0) {
            break;
        }
        at += top_entry_bytes(other.label.len);
    }
    if (rank >= a->accumulator->options.shape) {
        return;
    }
    size_t bytes = top_entry_bytes(ranked->label.len);
    struct top_entry *entry = (struct top_entry *)(void *)section_open(a, at, bytes);
    memset(entry, 0, bytes);
    entry->number = ranked->number;
    entry->time_ms = ranked->time_ms;
    entry->len = (uint32_t)ranked->label.len;
    if (ranked->label.len) {
        memcpy(entry->text, ranked->label.ptr, ranked->label.len);
    }
    section->count++;
    if (section->count > a->accumulator->options.shape) {
        for (uint32_t n = 1; n < section->count; n++) {
            last += top_entry_bytes(top_at(a, last)->len);
        }
        section->used = (uint32_t)last;
        section->count--;
    }
}

static struct ranked event_ranked(const struct accumulate *a, const struct aggregate_event *event)
{
    uint16_t label = a->accumulator->label;
    return (struct ranked){accumulate_input(a, event)->number, event->time_ms,
                           label == ACCUMULATOR_NO_LABEL ? (struct strview){NULL, 0}
                                                         : event->inputs[label].text};
}

static enum err top_prepare(const struct accumulate *a, const struct aggregate_event *event,
                            size_t *more, struct err_info *info)
{
    struct ranked ranked = event_ranked(a, event);
    uint32_t bytes_max = a->accumulator->options.bytes_max;
    *more = section_more(accumulate_fixed(a), top_entry_bytes(ranked.label.len));
    if (ranked.label.len > bytes_max) {
        return err_set(info, ERR_LIMIT, "%s has more than %u bytes",
                       a->aggregate->inputs[a->accumulator->label].field, (unsigned)bytes_max);
    }
    return ERR_OK;
}

static size_t top_merge_need(const struct accumulate *from)
{
    return ((const struct section *)accumulate_fixed(from))->used;
}

static enum err top_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                  size_t *more, struct err_info *info)
{
    (void)info;
    *more = section_more(accumulate_fixed(a), top_merge_need(from));
    return ERR_OK;
}

static void top_merge_by(const struct accumulate *a, const struct accumulate *from, int sign)
{
    const struct section *other = accumulate_fixed(from);
    size_t at = 0;
    (void)section_reserve(a, top_merge_need(from)); /* at once, as it was prepared */
    for (uint32_t n = 0; n < other->count; n++) {
        struct ranked ranked = top_ranked(top_at(from, at));
        top_take(a, &ranked, sign);
        at += top_entry_bytes(ranked.label.len);
    }
}

static void top_add(const struct accumulate *a, const struct aggregate_event *event)
{
    struct ranked ranked = event_ranked(a, event);
    top_take(a, &ranked, 1);
}

static void top_merge(const struct accumulate *a, const struct accumulate *from)
{
    top_merge_by(a, from, 1);
}

static void bottom_add(const struct accumulate *a, const struct aggregate_event *event)
{
    struct ranked ranked = event_ranked(a, event);
    top_take(a, &ranked, -1);
}

static void bottom_merge(const struct accumulate *a, const struct accumulate *from)
{
    top_merge_by(a, from, -1);
}

/* That the order is right is not looked at: a wrong one ranks wrongly, and no more. */
static bool top_check(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    size_t at = 0, end = section->used;
    for (uint32_t n = 0; n < section->count; n++) {
        const struct top_entry *entry = top_at(a, at);
        if (end - at < sizeof *entry || top_entry_bytes(entry->len) > end - at) {
            return false;
        }
        at += top_entry_bytes(entry->len);
    }
    return at == end && section->count <= a->accumulator->options.shape;
}

static uint64_t top_bytes_max(const struct accumulator_options *options)
{
    return (options->shape + 1ULL) * (top_entry_bytes(options->bytes_max) + 32) * 3 / 2;
}

/* [{"value":9.5,"label":"o-1"},…], or [9.5,…] without labels. */
enum err accumulate_top_render(const struct accumulate *a, struct buf *out)
{
    const struct section *section = accumulate_fixed(a);
    bool has_label = a->accumulator->label != ACCUMULATOR_NO_LABEL;
    enum err e = buf_append(out, "[", 1);
    size_t at = 0;
    for (uint32_t n = 0; n < section->count && !e; n++) {
        const struct top_entry *entry = top_at(a, at);
        char number[DECIMAL_TEXT_BYTES];
        struct strview text = sv_of(number, decimal_format(entry->number, number));
        e = n ? buf_append(out, ",", 1) : ERR_OK;
        if (!e && has_label) {
            e = buf_printf(out, "{\"value\":%.*s,\"label\":%.*s}", SV_ARG(text), (int)entry->len,
                           entry->text);
        } else if (!e) {
            e = buf_append_view(out, text);
        }
        at += top_entry_bytes(entry->len);
    }
    return e ? e : buf_append(out, "]", 1);
}

#define RANKING_KIND(kind)                                                                         \
    .name = #kind, .fixed_bytes = sizeof(struct section), .has_section = true,                     \
    .can_truncate = true, .form = INPUT_NUMBER, .prepare = top_prepare, .add = kind##_add,         \
    .prepare_merge = top_prepare_merge, .merge = kind##_merge, .check = top_check,                 \
    .bytes_max = top_bytes_max

const struct accumulator_kind accumulate_top = {RANKING_KIND(top)};
const struct accumulator_kind accumulate_bottom = {RANKING_KIND(bottom)};
