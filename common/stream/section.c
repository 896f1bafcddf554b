#include "stream/accumulator.h"

#define GROWTH_MIN 64

static struct section *section_at(const struct aggregate *aggregate, struct totals *totals,
                                  size_t section)
{
    return (struct section *)(void *)((unsigned char *)totals + aggregate->sections[section]);
}

unsigned char *section_bytes(const struct accumulate *a)
{
    size_t at = a->aggregate->fixed_bytes;
    for (size_t i = 0; i < a->accumulator->section; i++) {
        at += section_at(a->aggregate, a->totals, i)->capacity;
    }
    return (unsigned char *)a->totals + at;
}

/* Amortised: by half at least. A multiple of 16, so that sections stay aligned. */
static size_t capacity_for(const struct section *section, size_t used)
{
    if (used <= section->capacity) {
        return section->capacity;
    }
    size_t capacity = section->capacity + section->capacity / 2;
    capacity = capacity < GROWTH_MIN ? GROWTH_MIN : capacity;
    capacity = capacity < used ? used : capacity;
    return (capacity + 15) & ~(size_t)15;
}

size_t section_more(const struct section *section, size_t bytes)
{
    return capacity_for(section, section->used + bytes) - section->capacity;
}

unsigned char *section_reserve(const struct accumulate *a, size_t bytes)
{
    struct section *section = section_at(a->aggregate, a->totals, a->accumulator->section);
    unsigned char *start = section_bytes(a);
    size_t grown = section_more(section, bytes);
    if (grown == 0) {
        return start;
    }
    unsigned char *tail = start + section->capacity;
    size_t tail_bytes =
        aggregate_bytes(a->aggregate, a->totals) - (size_t)(tail - (unsigned char *)a->totals);
    memmove(tail + grown, tail, tail_bytes);
    memset(tail, 0, grown);
    section->capacity += (uint32_t)grown;
    return start;
}

unsigned char *section_open(const struct accumulate *a, size_t at, size_t bytes)
{
    struct section *section = section_at(a->aggregate, a->totals, a->accumulator->section);
    unsigned char *start = section_reserve(a, bytes);
    memmove(start + at + bytes, start + at, section->used - at);
    section->used += (uint32_t)bytes;
    return start + at;
}

void section_close(const struct accumulate *a, size_t at, size_t bytes)
{
    struct section *section = section_at(a->aggregate, a->totals, a->accumulator->section);
    unsigned char *start = section_bytes(a);
    memmove(start + at, start + at + bytes, section->used - at - bytes);
    section->used -= (uint32_t)bytes;
}

enum err accumulate_check_text(const struct accumulate *a, struct strview text,
                               struct err_info *info)
{
    uint32_t bytes_max = a->accumulator->options.bytes_max;
    return text.len <= bytes_max ? ERR_OK
                                 : err_set(info, ERR_LIMIT, "%s has more than %u bytes",
                                           accumulate_field(a), (unsigned)bytes_max);
}
