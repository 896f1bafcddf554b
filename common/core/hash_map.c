#include "core/hash_map.h"

#include <stdalign.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/slab.h"

/* Two arrays. `slots` is the open-addressing index: a 32-bit tag of the hash and the entry's number
 * plus one (0: free). `entries` lie densely behind each other: the key's place, its hash, then the
 * value. Only the index is probed, so that a miss touches one cache line; walking the entries is
 * walking an array. Each key has memory of its own, from a slab, that never moves. */

struct entry {
    alignas(16) uint64_t hash; /* so that the value behind it is aligned for any type */
    char *key;
    size_t key_len;
};

struct slot {
    uint32_t tag;
    uint32_t entry; /* index + 1; 0: free */
};

struct hash_map {
    struct slot *slots;
    size_t slot_mask;
    char *entries;
    size_t stride; /* bytes an entry, value included */
    size_t count;
    size_t capacity; /* entries */
    size_t entries_max;
    size_t value_bytes;
    struct slab keys;
};

#define FIRST_SLOTS 64

/* An empty key has memory, too: its pointer is not NULL. */
static size_t key_memory_bytes(size_t len)
{
    return len ? len : 1;
}

static struct entry *entry_at(const struct hash_map *map, size_t index)
{
    return (struct entry *)(void *)(map->entries + index * map->stride);
}

struct hash_map *hash_map_new(size_t value_bytes, size_t entries_max)
{
    CHECK(entries_max > 0 && entries_max < UINT32_MAX / 2);
    struct hash_map *map = must_alloc(sizeof *map);
    map->value_bytes = value_bytes;
    map->stride = (sizeof(struct entry) + value_bytes + 15) & ~(size_t)15;
    map->entries_max = entries_max;
    map->slots = must_alloc(FIRST_SLOTS * sizeof *map->slots);
    map->slot_mask = FIRST_SLOTS - 1;
    return map;
}

void hash_map_free(struct hash_map *map)
{
    if (!map) {
        return;
    }
    hash_map_clear(map);
    slab_stop(&map->keys);
    free(map->entries);
    free(map->slots);
    free(map);
}

size_t hash_map_count(const struct hash_map *map)
{
    return map->count;
}

size_t hash_map_bytes(const struct hash_map *map)
{
    return sizeof *map + (map->slot_mask + 1) * sizeof *map->slots + map->capacity * map->stride +
           map->keys.bytes_held;
}

static bool is_entry(const struct hash_map *map, struct slot slot, uint64_t hash,
                     struct strview key)
{
    if (slot.tag != (uint32_t)(hash >> 32)) {
        return false;
    }
    const struct entry *entry = entry_at(map, slot.entry - 1);
    return entry->hash == hash && entry->key_len == key.len &&
           (key.len == 0 || memcmp(entry->key, key.ptr, key.len) == 0);
}

/* The slot of the key, or the free slot where it would go. */
static size_t slot_of(const struct hash_map *map, uint64_t hash, struct strview key)
{
    size_t at = hash & map->slot_mask;
    while (map->slots[at].entry && !is_entry(map, map->slots[at], hash, key)) {
        at = (at + 1) & map->slot_mask;
    }
    return at;
}

void *hash_map_find(const struct hash_map *map, struct strview key)
{
    size_t at = slot_of(map, XXH3_64bits(key.ptr, key.len), key);
    uint32_t entry = map->slots[at].entry;
    return entry ? entry_at(map, entry - 1) + 1 : NULL;
}

static void slots_rebuild(struct hash_map *map, size_t slots)
{
    free(map->slots);
    map->slots = must_alloc(slots * sizeof *map->slots);
    map->slot_mask = slots - 1;
    for (size_t i = 0; i < map->count; i++) {
        uint64_t hash = entry_at(map, i)->hash;
        size_t at = hash & map->slot_mask;
        while (map->slots[at].entry) {
            at = (at + 1) & map->slot_mask;
        }
        map->slots[at] = (struct slot){(uint32_t)(hash >> 32), (uint32_t)i + 1};
    }
}

static void entries_grow(struct hash_map *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : FIRST_SLOTS / 2;
    map->entries = must_realloc(map->entries, capacity * map->stride);
    map->capacity = capacity;
}

void *hash_map_get_or_add(struct hash_map *map, struct strview key, bool *ret_new)
{
    uint64_t hash = XXH3_64bits(key.ptr, key.len);
    size_t at = slot_of(map, hash, key);
    bool is_new = map->slots[at].entry == 0;
    if (ret_new) {
        *ret_new = is_new;
    }
    if (!is_new) {
        return entry_at(map, map->slots[at].entry - 1) + 1;
    }
    if (map->count >= map->entries_max) {
        return NULL;
    }
    if (map->count == map->capacity) {
        entries_grow(map);
    }
    struct entry *entry = entry_at(map, map->count);
    *entry = (struct entry){
        .hash = hash, .key = slab_alloc(&map->keys, key_memory_bytes(key.len)), .key_len = key.len};
    if (key.len) {
        memcpy(entry->key, key.ptr, key.len);
    }
    memset(entry + 1, 0, map->value_bytes);
    map->slots[at] = (struct slot){(uint32_t)(hash >> 32), (uint32_t)map->count + 1};
    map->count++;
    if (map->count * 4 > (map->slot_mask + 1) * 3) {
        slots_rebuild(map, (map->slot_mask + 1) * 2);
    }
    return entry + 1;
}

/* Closes the gap at `at`: a later slot of the same run moves up unless it would come to stand
 * before its home. */
static void slot_remove(struct hash_map *map, size_t at)
{
    size_t next = at;
    for (;;) {
        next = (next + 1) & map->slot_mask;
        struct slot slot = map->slots[next];
        if (!slot.entry) {
            break;
        }
        size_t home = entry_at(map, slot.entry - 1)->hash & map->slot_mask;
        if (((next - home) & map->slot_mask) >= ((next - at) & map->slot_mask)) {
            map->slots[at] = slot;
            at = next;
        }
    }
    map->slots[at] = (struct slot){0};
}

bool hash_map_remove(struct hash_map *map, struct strview key)
{
    size_t at = slot_of(map, XXH3_64bits(key.ptr, key.len), key);
    if (!map->slots[at].entry) {
        return false;
    }
    size_t index = map->slots[at].entry - 1;
    size_t last = map->count - 1;
    struct entry *gone = entry_at(map, index);
    size_t key_len = gone->key_len;
    char *key_memory = gone->key; /* freed last: `key` may be this very memory */
    slot_remove(map, at);
    if (index != last) {
        struct entry *moved = entry_at(map, last);
        size_t moved_slot = slot_of(map, moved->hash, sv_of(moved->key, moved->key_len));
        map->slots[moved_slot].entry = (uint32_t)index + 1;
        memcpy(gone, moved, map->stride);
    }
    map->count = last;
    slab_free(&map->keys, key_memory, key_memory_bytes(key_len));
    return true;
}

void hash_map_clear(struct hash_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct entry *entry = entry_at(map, i);
        slab_free(&map->keys, entry->key, key_memory_bytes(entry->key_len));
    }
    map->count = 0;
    memset(map->slots, 0, (map->slot_mask + 1) * sizeof *map->slots);
}

struct strview hash_map_key_of(const void *value)
{
    const struct entry *entry = (const struct entry *)value - 1;
    return sv_of(entry->key, entry->key_len);
}

struct strview hash_map_key_at(const struct hash_map *map, size_t index)
{
    CHECK(index < map->count);
    const struct entry *entry = entry_at(map, index);
    return sv_of(entry->key, entry->key_len);
}

void *hash_map_value_at(const struct hash_map *map, size_t index)
{
    CHECK(index < map->count);
    return entry_at(map, index) + 1;
}
