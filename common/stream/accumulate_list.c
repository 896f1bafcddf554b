/* Values of events in a row: all of them by time (`list`), or the few that rank highest (`top`,
 * `bottom`).
 *
 *     section:  entries in order, `count` of them; list: the last one begins at `extra` × 8
 *
 * What is kept when there is no room for all depends on the events alone, not on when they came:
 * of a list the earliest, of a ranking those before the others. */
#include "stream/accumulator.h"

/* --- list: by event time, then by arrival -------------------------------------------------------*/

struct list_entry {
    int64_t time_ms;
    uint32_t len;
    uint32_t unused;
    char text[]; /* rounded up to 8 bytes with zeros */
};

static size_t list_entry_bytes(size_t len)
{
    return sizeof(struct list_entry) + section_round(len);
}

static struct list_entry *list_at(const struct accumulate *a, size_t at)
{
    return (struct list_entry *)(void *)(section_bytes(a) + at);
}

/* Where the first entry of a later time is; the end when there is none. */
static size_t list_place(const struct accumulate *a, int64_t time_ms)
{
    const struct section *section = accumulate_fixed(a);
    if (section->count == 0 || list_at(a, section->extra * 8UL)->time_ms <= time_ms) {
        return section->used; /* events come more or less in order */
    }
    size_t at = 0;
    while (list_at(a, at)->time_ms <= time_ms) {
        at += list_entry_bytes(list_at(a, at)->len);
    }
    return at;
}

static void list_find_last(const struct accumulate *a)
{
    struct section *section = accumulate_fixed(a);
    size_t at = 0;
    for (uint32_t n = 1; n < section->count; n++) {
        at += list_entry_bytes(list_at(a, at)->len);
    }
    section->extra = (uint32_t)(at / 8) & 0x7FFFFFFF;
}

static void list_drop_last(const struct accumulate *a)
{
    struct section *section = accumulate_fixed(a);
    section->used = section->extra * 8U;
    section->count--;
    section->is_truncated = 1;
    list_find_last(a);
}

static void list_take(const struct accumulate *a, struct strview text, int64_t time_ms)
{
    struct section *section = accumulate_fixed(a);
    size_t at = list_place(a, time_ms), bytes = list_entry_bytes(text.len);
    bool is_full = section->count >= a->accumulator->options.max;
    if (is_full && at == section->used) {
        section->is_truncated = 1;
        return;
    }
    bool is_last = at == section->used;
    struct list_entry *entry = (struct list_entry *)(void *)section_open(a, at, bytes);
    memset(entry, 0, bytes);
    entry->time_ms = time_ms;
    entry->len = (uint32_t)text.len;
    memcpy(entry->text, text.ptr, text.len);
    section->count++;
    section->extra = (uint32_t)(is_last ? at / 8 : section->extra + bytes / 8) & 0x7FFFFFFF;
    if (is_full) {
        list_drop_last(a);
    }
}

static enum err list_is_full(const struct accumulate *a, struct err_info *info)
{
    return err_set(info, ERR_LIMIT, "more than %u values of %s",
                   (unsigned)a->accumulator->options.max, accumulate_field(a));
}

static enum err list_prepare(const struct accumulate *a, const struct aggregate_event *event,
                             size_t *more, struct err_info *info)
{
    const struct section *section = accumulate_fixed(a);
    struct strview text = accumulate_input(a, event)->text;
    if (section->count >= a->accumulator->options.max && !a->accumulator->options.truncates) {
        return list_is_full(a, info);
    }
    *more = section_more(section, list_entry_bytes(text.len));
    return accumulate_check_text(a, text, info);
}

static void list_add(const struct accumulate *a, const struct aggregate_event *event)
{
    list_take(a, accumulate_input(a, event)->text, event->time_ms);
}

/* Of entries with this value, the one of this time, or else the last one. */
static void list_subtract(const struct accumulate *a, const struct aggregate_event *event)
{
    struct section *section = accumulate_fixed(a);
    struct strview text = accumulate_input(a, event)->text;
    size_t found = SIZE_MAX, at = 0;
    for (uint32_t n = 0; n < section->count; n++) {
        const struct list_entry *entry = list_at(a, at);
        if (entry->len == text.len && memcmp(entry->text, text.ptr, text.len) == 0) {
            found = at;
            if (entry->time_ms == event->time_ms) {
                break;
            }
        }
        at += list_entry_bytes(entry->len);
    }
    if (found != SIZE_MAX) { /* else it was left out because the list was full */
        section_close(a, found, list_entry_bytes(text.len));
        section->count--;
        list_find_last(a);
    }
}

/* At once, so that no step on the way grows by more than was prepared; one entry may be there for
 * a moment that is dropped again. */
static size_t list_merge_need(const struct accumulate *from)
{
    return ((const struct section *)accumulate_fixed(from))->used;
}

static enum err list_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                   size_t *more, struct err_info *info)
{
    const struct section *section = accumulate_fixed(a), *other = accumulate_fixed(from);
    const struct accumulator_options *options = &a->accumulator->options;
    *more = section_more(section, list_merge_need(from));
    return section->count + other->count > options->max && !options->truncates
               ? list_is_full(a, info)
               : ERR_OK;
}

static void list_merge(const struct accumulate *a, const struct accumulate *from)
{
    struct section *section = accumulate_fixed(a);
    const struct section *other = accumulate_fixed(from);
    size_t at = 0;
    (void)section_reserve(a, list_merge_need(from));
    for (uint32_t n = 0; n < other->count; n++) {
        const struct list_entry *entry = list_at(from, at);
        list_take(a, sv_of(entry->text, entry->len), entry->time_ms);
        at += list_entry_bytes(entry->len);
    }
    section->is_truncated |= other->is_truncated;
}

static bool list_check(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    size_t at = 0, end = section->used, last = 0;
    int64_t time_ms = INT64_MIN;
    for (uint32_t n = 0; n < section->count; n++) {
        const struct list_entry *entry = list_at(a, at);
        if (end - at < sizeof *entry || section_round(entry->len) > end - at - sizeof *entry ||
            entry->time_ms < time_ms) {
            return false;
        }
        time_ms = entry->time_ms;
        last = at;
        at += list_entry_bytes(entry->len);
    }
    return at == end && last == section->extra * 8UL;
}

static uint64_t list_bytes_max(const struct accumulator_options *options)
{
    return (options->max + 1ULL) * list_entry_bytes(options->bytes_max) * 3 / 2;
}

enum err accumulate_list_render(const struct accumulate *a, struct buf *out)
{
    const struct section *section = accumulate_fixed(a);
    enum err e = buf_append(out, "[", 1);
    size_t at = 0;
    for (uint32_t n = 0; n < section->count && !e; n++) {
        const struct list_entry *entry = list_at(a, at);
        e = n ? buf_append(out, ",", 1) : ERR_OK;
        e = e ? e : buf_append(out, entry->text, entry->len);
        at += list_entry_bytes(entry->len);
    }
    return e ? e : buf_append(out, "]", 1);
}

const struct accumulator_kind accumulate_list = {
    .name = "list",
    .fixed_bytes = sizeof(struct section),
    .has_section = true,
    .form = INPUT_RAW,
    .prepare = list_prepare,
    .add = list_add,
    .subtract = list_subtract,
    .prepare_merge = list_prepare_merge,
    .merge = list_merge,
    .check = list_check,
    .bytes_max = list_bytes_max,
};
