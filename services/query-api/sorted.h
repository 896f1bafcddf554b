/* sorted.h - pointers kept in an order.
 *
 * WHAT     blocks of up to SORTED_BLOCK pointers, each sorted, one after the other: found by halving
 *          over blocks, then within one. Walked either way from any place.
 * OWNS     the blocks, not what is pointed to; what the order depends on does not change meanwhile.
 * THREADS  one owner; a place is good until the next add or remove.
 * COST     find O(log n); add and remove move at most a block's pointers and, now and then, the list
 *          of blocks. What comes in order fills whole blocks. Neighbours that are both small become
 *          one, so that a block holds a quarter of its pointers at least, on average.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SORTED_BLOCK 128

/* <0, 0, >0; no two that are kept compare as 0. */
typedef int sorted_compare(const void *a, const void *b);

struct sorted_block;

struct sorted {
    sorted_compare *compare;
    struct sorted_block **blocks; /* none is empty */
    size_t block_count, block_capacity;
    size_t count;
};

/* Between two neighbours: block == block_count is the end. */
struct sorted_place {
    size_t block, index;
};

void sorted_init(struct sorted *sorted, sorted_compare *compare);
void sorted_deinit(struct sorted *sorted);                        /* a zeroed one is a no-op */
void *sorted_find(const struct sorted *sorted, const void *like); /* NULL: there is none */
void sorted_add(struct sorted *sorted, void *item);
void sorted_remove(struct sorted *sorted, const void *item); /* it is there */

/* Before the first that is not below `like`. */
struct sorted_place sorted_lower(const struct sorted *sorted, const void *like);
struct sorted_place sorted_end(const struct sorted *sorted);
/* The one behind the place, or before it, which the place then is past; NULL: there is none. */
void *sorted_next(const struct sorted *sorted, struct sorted_place *place);
void *sorted_previous(const struct sorted *sorted, struct sorted_place *place);
