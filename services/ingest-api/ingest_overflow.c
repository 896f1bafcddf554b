#include "ingest_overflow.h"

#include <stdlib.h>

#define SETS 512
#define WAYS 4

struct entry {
    uint64_t hash;
    uint32_t second;
    uint32_t events; /* in that second */
};

struct ingest_overflow {
    uint32_t events_max;
    struct entry entries[SETS][WAYS];
};

void ingest_overflow_free(struct ingest_overflow *overflow)
{
    free(overflow);
}

struct ingest_overflow *ingest_overflow_new(uint32_t events_per_s)
{
    struct ingest_overflow *overflow = must_alloc(sizeof *overflow);
    overflow->events_max = events_per_s;
    return overflow;
}

/* FNV-1a, with its high bits mixed into the low ones. */
static uint64_t hash_of(uint16_t topic, struct strview key)
{
    uint64_t hash = 0xCBF29CE484222325u ^ topic;
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (unsigned char)key.ptr[i]) * 0x100000001B3u;
    }
    return hash ^ hash >> 32;
}

static uint32_t events_in(const struct entry *entry, uint32_t second)
{
    return entry->second == second ? entry->events : 0;
}

static struct entry *entry_find(struct entry set[WAYS], uint64_t hash, uint32_t second)
{
    struct entry *coldest = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].hash == hash) {
            return &set[i];
        }
        if (events_in(&set[i], second) < events_in(coldest, second)) {
            coldest = &set[i];
        }
    }
    *coldest = (struct entry){.hash = hash, .second = second};
    return coldest;
}

bool ingest_overflow_count(struct ingest_overflow *overflow, uint16_t topic, struct strview key,
                           int64_t now_ms)
{
    const uint32_t second = (uint32_t)(now_ms / 1000);
    const uint64_t hash = hash_of(topic, key);
    struct entry *entry = entry_find(overflow->entries[hash % SETS], hash, second);
    entry->events = events_in(entry, second) + 1;
    entry->second = second;
    return entry->events > overflow->events_max;
}
