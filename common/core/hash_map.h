/* hash_map.h - byte-string keys to fixed-size values.
 *
 * WHAT     open addressing (linear probing, backward-shift deletion: no tombstones) over 64-bit
 *          XXH3 hashes; entries lie densely in insertion order, so iteration is a walk of an array.
 * BOUNDS   entries_max; the next new key gives NULL, nothing is evicted.
 * OWNS     copies keys, which do not move; a value pointer is valid until the next insert or remove.
 * THREADS  one owner.
 * COST     find and insert O(1) expected, one cache miss for a present short key; growth doubles.
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

struct hash_map;

void hash_map_free(struct hash_map *map); /* NULL is a no-op; values are not looked into */
DEALLOC(hash_map_free) struct hash_map *hash_map_new(size_t value_bytes, size_t entries_max);
size_t hash_map_count(const struct hash_map *map);
size_t hash_map_bytes(const struct hash_map *map); /* memory held */

void *hash_map_find(const struct hash_map *map, struct strview key); /* NULL when absent */
/* The value of the key, made of zero bytes when it was absent (*ret_new, optional). */
void *hash_map_get_or_add(struct hash_map *map, struct strview key, bool *ret_new);
bool hash_map_remove(struct hash_map *map,
                     struct strview key); /* moves the last entry into the gap */
void hash_map_clear(struct hash_map *map);

/* The map's own copy of the key that a value stands under; it stays where it is until removed. */
struct strview hash_map_key_of(const void *value);

/* Entries 0 … count-1, in insertion order as long as nothing was removed. */
struct strview hash_map_key_at(const struct hash_map *map, size_t index);
void *hash_map_value_at(const struct hash_map *map, size_t index);
