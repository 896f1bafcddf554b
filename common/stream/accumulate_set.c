/* The distinct values of a field, kept as they are: for their exact number and for a set of them.
 *
 *     section:  slots of 8 bytes, `extra` of them | entries in order of arrival, `count` of them
 *
 * Slots are a hash table (linear probing, at most half full) of where entries begin; an entry says
 * how many events had its value, so that one can be taken back. Equal values have equal texts
 * (INPUT_CANONICAL). */
#include <xxhash.h>

#include "stream/accumulator.h"

struct set_slot {
    uint32_t hash;
    uint32_t place; /* of the entry, from the first one, plus 1; 0: free */
};

struct set_entry {
    uint64_t events;
    uint32_t hash;
    uint32_t len;
    char text[]; /* rounded up to 8 bytes with zeros */
};

#define SLOTS_MIN 8

struct set {
    struct section *section;
    struct set_slot *slots;
    unsigned char *entries;
};

static struct set set_of(const struct accumulate *a)
{
    struct set set = {.section = accumulate_fixed(a)};
    unsigned char *start = section_bytes(a);
    set.slots = (struct set_slot *)(void *)start;
    set.entries = start + set.section->extra * sizeof(struct set_slot);
    return set;
}

static uint32_t text_hash(struct strview text)
{
    return (uint32_t)XXH3_64bits(text.ptr, text.len);
}

static size_t entry_bytes(size_t len)
{
    return sizeof(struct set_entry) + section_round(len);
}

static struct set_entry *entry_at(const struct set *set, uint32_t place)
{
    return (struct set_entry *)(void *)(set->entries + place);
}

static size_t entries_bytes(const struct section *section)
{
    return section->used - section->extra * sizeof(struct set_slot);
}

/* The slot of the text, or the free one where it belongs. There are free ones. */
static struct set_slot *set_find(const struct set *set, struct strview text, uint32_t hash)
{
    uint32_t mask = set->section->extra - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct set_slot *slot = &set->slots[i];
        if (slot->place == 0) {
            return slot;
        }
        const struct set_entry *entry = entry_at(set, slot->place - 1);
        if (slot->hash == hash && entry->len == text.len &&
            memcmp(entry->text, text.ptr, text.len) == 0) {
            return slot;
        }
    }
}

static struct set_slot *set_find_free(const struct set *set, uint32_t hash)
{
    uint32_t mask = set->section->extra - 1, i = hash & mask;
    while (set->slots[i].place != 0) {
        i = (i + 1) & mask;
    }
    return &set->slots[i];
}

static bool set_has(const struct accumulate *a, struct strview text)
{
    struct set set = set_of(a);
    return set.section->count > 0 && set_find(&set, text, text_hash(text))->place != 0;
}

/* Puts every entry into its slot. */
static void set_index(const struct accumulate *a)
{
    struct set set = set_of(a);
    uint32_t place = 0;
    memset(set.slots, 0, set.section->extra * sizeof *set.slots);
    for (uint32_t n = 0; n < set.section->count; n++) {
        const struct set_entry *entry = entry_at(&set, place);
        *set_find_free(&set, entry->hash) = (struct set_slot){entry->hash, place + 1};
        place += (uint32_t)entry_bytes(entry->len);
    }
}

/* Slots for one entry more. */
static uint32_t slots_for(const struct section *section)
{
    uint32_t slots = section->extra ? section->extra : SLOTS_MIN;
    return (section->count + 1) * 2 > slots ? slots * 2 : slots;
}

/* Bytes that one more entry takes, new slots included. */
static size_t set_need(const struct section *section, size_t len)
{
    return entry_bytes(len) + (slots_for(section) - section->extra) * sizeof(struct set_slot);
}

static void set_insert(const struct accumulate *a, struct strview text, uint64_t events)
{
    struct section *section = accumulate_fixed(a);
    uint32_t slots = slots_for(section), hash = text_hash(text);
    (void)section_reserve(a, set_need(section, text.len));
    if (slots != section->extra) {
        size_t old_bytes = section->extra * sizeof(struct set_slot);
        (void)section_open(a, old_bytes, (slots - section->extra) * sizeof(struct set_slot));
        section->extra = slots & 0x7FFFFFFF;
        set_index(a);
    }
    uint32_t place = (uint32_t)entries_bytes(section);
    struct set_entry *entry =
        (struct set_entry *)(void *)section_open(a, section->used, entry_bytes(text.len));
    memset(entry, 0, entry_bytes(text.len));
    entry->events = events;
    entry->hash = hash;
    entry->len = (uint32_t)text.len;
    memcpy(entry->text, text.ptr, text.len);
    section->count++;
    struct set set = set_of(a);
    *set_find_free(&set, hash) = (struct set_slot){hash, place + 1};
}

static void set_take(const struct accumulate *a, struct strview text, uint64_t events)
{
    struct set set = set_of(a);
    struct set_slot *slot = set.section->count ? set_find(&set, text, text_hash(text)) : NULL;
    if (slot && slot->place) {
        entry_at(&set, slot->place - 1)->events += events;
    } else if (set.section->count < a->accumulator->options.max) {
        set_insert(a, text, events);
    } else {
        set.section->is_truncated = 1;
    }
}

/* --- as an accumulator --------------------------------------------------------------------------*/

static enum err set_is_full(const struct accumulate *a, struct err_info *info)
{
    return err_set(info, ERR_LIMIT, "more than %u different values of %s",
                   (unsigned)a->accumulator->options.max, accumulate_field(a));
}

static enum err set_prepare(const struct accumulate *a, const struct aggregate_event *event,
                            size_t *more, struct err_info *info)
{
    const struct section *section = accumulate_fixed(a);
    struct strview text = accumulate_input(a, event)->text;
    const struct accumulator_options *options = &a->accumulator->options;
    if (section->count >= options->max) {
        *more = 0;
        return options->truncates || set_has(a, text) ? ERR_OK : set_is_full(a, info);
    }
    *more = section_more(section, set_need(section, text.len));
    return accumulate_check_text(a, text, info);
}

static void set_add(const struct accumulate *a, const struct aggregate_event *event)
{
    set_take(a, accumulate_input(a, event)->text, 1);
}

static void set_subtract(const struct accumulate *a, const struct aggregate_event *event)
{
    struct set set = set_of(a);
    struct strview text = accumulate_input(a, event)->text;
    struct set_slot *slot = set.section->count ? set_find(&set, text, text_hash(text)) : NULL;
    if (!slot || !slot->place) {
        return; /* one that was left out because the set was full */
    }
    uint32_t place = slot->place - 1;
    struct set_entry *entry = entry_at(&set, place);
    if (--entry->events > 0) {
        return;
    }
    section_close(a, set.section->extra * sizeof(struct set_slot) + place, entry_bytes(entry->len));
    set.section->count--;
    set_index(a);
}

/* Bytes for those values of the other that this one does not have. *ret_count: with them. */
static size_t set_merge_need(const struct accumulate *a, const struct accumulate *from,
                             uint32_t *ret_count)
{
    const struct section *section = accumulate_fixed(a);
    struct set other = set_of(from);
    size_t bytes = 0;
    uint32_t slots = section->extra ? section->extra : SLOTS_MIN, count = section->count, place = 0;
    for (uint32_t n = 0; n < other.section->count; n++) {
        const struct set_entry *entry = entry_at(&other, place);
        bool is_new = !set_has(a, sv_of(entry->text, entry->len));
        place += (uint32_t)entry_bytes(entry->len);
        bytes += is_new ? entry_bytes(entry->len) : 0;
        count += is_new;
    }
    while (count * 2 > slots) {
        slots *= 2;
    }
    *ret_count = count;
    return bytes + (slots - section->extra) * sizeof(struct set_slot);
}

static enum err set_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                  size_t *more, struct err_info *info)
{
    const struct accumulator_options *options = &a->accumulator->options;
    uint32_t count;
    *more = section_more(accumulate_fixed(a), set_merge_need(a, from, &count));
    return count > options->max && !options->truncates ? set_is_full(a, info) : ERR_OK;
}

static void set_merge(const struct accumulate *a, const struct accumulate *from)
{
    struct section *section = accumulate_fixed(a);
    struct set other = set_of(from);
    uint32_t place = 0, count;
    (void)section_reserve(a, set_merge_need(a, from, &count)); /* at once, as it was prepared */
    for (uint32_t n = 0; n < other.section->count; n++) {
        const struct set_entry *entry = entry_at(&other, place);
        set_take(a, sv_of(entry->text, entry->len), entry->events);
        place += (uint32_t)entry_bytes(entry->len);
    }
    section->is_truncated |= other.section->is_truncated;
}

/* Whether the entry is found from its hash on. */
static bool set_leads_to(const struct set *set, const struct set_entry *entry, uint32_t place)
{
    uint32_t mask = set->section->extra - 1, i = entry->hash & mask;
    while (set->slots[i].place != 0 && set->slots[i].place != place + 1) {
        i = (i + 1) & mask; /* ends: some are free */
    }
    return set->slots[i].place == place + 1 && set->slots[i].hash == entry->hash &&
           text_hash(sv_of(entry->text, entry->len)) == entry->hash;
}

/* Entries that fill their space, as many slots, and one that leads to each: so no slot leads
 * anywhere else. */
static bool set_check(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    uint32_t slots = section->extra, filled = 0;
    if (slots * (uint64_t)sizeof(struct set_slot) > section->used || (slots & (slots - 1)) != 0 ||
        (section->count && section->count * 2ULL > slots)) {
        return false;
    }
    struct set set = set_of(a);
    for (uint32_t i = 0; i < slots; i++) {
        filled += set.slots[i].place != 0;
    }
    if (filled != section->count) {
        return false;
    }
    size_t at = 0, end = entries_bytes(section);
    for (uint32_t n = 0; n < section->count; n++) {
        const struct set_entry *entry = entry_at(&set, (uint32_t)at);
        if (end - at < sizeof *entry || section_round(entry->len) > end - at - sizeof *entry ||
            entry->events == 0 || !set_leads_to(&set, entry, (uint32_t)at)) {
            return false;
        }
        at += entry_bytes(entry->len);
    }
    return at == end;
}

static uint64_t set_bytes_max(const struct accumulator_options *options)
{
    return options->max * (entry_bytes(options->bytes_max) + 4 * sizeof(struct set_slot)) * 3 / 2;
}

uint32_t accumulate_set_count(const struct accumulate *a)
{
    return ((const struct section *)accumulate_fixed(a))->count;
}

enum err accumulate_set_render(const struct accumulate *a, struct buf *out)
{
    struct set set = set_of(a);
    enum err e = buf_append(out, "[", 1);
    uint32_t place = 0;
    for (uint32_t n = 0; n < set.section->count && !e; n++) {
        const struct set_entry *entry = entry_at(&set, place);
        e = n ? buf_append(out, ",", 1) : ERR_OK;
        e = e ? e : buf_append(out, entry->text, entry->len);
        place += (uint32_t)entry_bytes(entry->len);
    }
    return e ? e : buf_append(out, "]", 1);
}

const struct accumulator_kind accumulate_set = {
    .name = "set",
    .fixed_bytes = sizeof(struct section),
    .has_section = true,
    .form = INPUT_CANONICAL,
    .prepare = set_prepare,
    .add = set_add,
    .subtract = set_subtract,
    .prepare_merge = set_prepare_merge,
    .merge = set_merge,
    .check = set_check,
    .bytes_max = set_bytes_max,
};
