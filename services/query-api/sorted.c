#include "sorted.h"

#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"

struct sorted_block {
    size_t count;
    void *items[SORTED_BLOCK];
};

void sorted_init(struct sorted *sorted, sorted_compare *compare)
{
    *sorted = (struct sorted){.compare = compare};
}

void sorted_deinit(struct sorted *sorted)
{
    for (size_t i = 0; i < sorted->block_count; i++) {
        free(sorted->blocks[i]);
    }
    free(sorted->blocks);
    *sorted = (struct sorted){.compare = sorted->compare};
}

/* --- places ------------------------------------------------------------------------------------------ */

/* The first block whose last item is not below `like`. */
static size_t block_lower(const struct sorted *sorted, const void *like)
{
    size_t low = 0, high = sorted->block_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct sorted_block *block = sorted->blocks[middle];
        if (sorted->compare(block->items[block->count - 1], like) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static size_t index_lower(const struct sorted *sorted, const struct sorted_block *block,
                          const void *like)
{
    size_t low = 0, high = block->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted->compare(block->items[middle], like) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct sorted_place sorted_end(const struct sorted *sorted)
{
    return (struct sorted_place){sorted->block_count, 0};
}

struct sorted_place sorted_lower(const struct sorted *sorted, const void *like)
{
    size_t block = block_lower(sorted, like);
    if (block == sorted->block_count) {
        return sorted_end(sorted);
    }
    return (struct sorted_place){block, index_lower(sorted, sorted->blocks[block], like)};
}

void *sorted_next(const struct sorted *sorted, struct sorted_place *place)
{
    if (place->block < sorted->block_count && place->index == sorted->blocks[place->block]->count) {
        *place = (struct sorted_place){place->block + 1, 0};
    }
    if (place->block == sorted->block_count) {
        return NULL;
    }
    return sorted->blocks[place->block]->items[place->index++];
}

void *sorted_previous(const struct sorted *sorted, struct sorted_place *place)
{
    if (place->index == 0) {
        if (place->block == 0) {
            return NULL;
        }
        place->block--;
        place->index = sorted->blocks[place->block]->count;
    }
    return sorted->blocks[place->block]->items[--place->index];
}

static void *item_at(const struct sorted *sorted, struct sorted_place place)
{
    return place.block < sorted->block_count ? sorted->blocks[place.block]->items[place.index]
                                             : NULL;
}

void *sorted_find(const struct sorted *sorted, const void *like)
{
    void *item = item_at(sorted, sorted_lower(sorted, like));
    return item && sorted->compare(item, like) == 0 ? item : NULL;
}

/* --- changes ------------------------------------------------------------------------------------------- */

static struct sorted_block *block_insert(struct sorted *sorted, size_t at)
{
    if (sorted->block_count == sorted->block_capacity) {
        sorted->block_capacity = sorted->block_capacity ? sorted->block_capacity * 2 : 16;
        sorted->blocks =
            must_realloc(sorted->blocks, sorted->block_capacity * sizeof *sorted->blocks);
    }
    memmove(&sorted->blocks[at + 1], &sorted->blocks[at],
            (sorted->block_count - at) * sizeof *sorted->blocks);
    sorted->block_count++;
    sorted->blocks[at] = must_alloc(sizeof *sorted->blocks[at]);
    return sorted->blocks[at];
}

static void block_remove(struct sorted *sorted, size_t at)
{
    free(sorted->blocks[at]);
    sorted->block_count--;
    memmove(&sorted->blocks[at], &sorted->blocks[at + 1],
            (sorted->block_count - at) * sizeof *sorted->blocks);
}

static void block_split(struct sorted *sorted, size_t at)
{
    struct sorted_block *upper = block_insert(sorted, at + 1), *lower = sorted->blocks[at];
    upper->count = lower->count / 2;
    lower->count -= upper->count;
    memcpy(upper->items, &lower->items[lower->count], upper->count * sizeof upper->items[0]);
}

void sorted_add(struct sorted *sorted, void *item)
{
    struct sorted_place place = sorted_lower(sorted, item);
    if (place.block == sorted->block_count) { /* past all: to the last block, or a new one */
        if (place.block == 0 || sorted->blocks[place.block - 1]->count == SORTED_BLOCK) {
            (void)block_insert(sorted, place.block);
        } else {
            place.block--;
        }
        place.index = sorted->blocks[place.block]->count;
    } else if (sorted->blocks[place.block]->count == SORTED_BLOCK) {
        block_split(sorted, place.block);
        place = sorted_lower(sorted, item);
    }
    struct sorted_block *block = sorted->blocks[place.block];
    CHECK(block->count < SORTED_BLOCK);
    memmove(&block->items[place.index + 1], &block->items[place.index],
            (block->count - place.index) * sizeof block->items[0]);
    block->items[place.index] = item;
    block->count++;
    sorted->count++;
}

/* Half a block at most, so that the next additions do not split it again. */
static void block_merge_next(struct sorted *sorted, size_t at)
{
    if (at + 1 >= sorted->block_count) {
        return;
    }
    struct sorted_block *block = sorted->blocks[at], *next = sorted->blocks[at + 1];
    if (block->count + next->count <= SORTED_BLOCK / 2) {
        memcpy(&block->items[block->count], next->items, next->count * sizeof next->items[0]);
        block->count += next->count;
        block_remove(sorted, at + 1);
    }
}

void sorted_remove(struct sorted *sorted, const void *item)
{
    struct sorted_place place = sorted_lower(sorted, item);
    CHECK(item_at(sorted, place) == item);
    struct sorted_block *block = sorted->blocks[place.block];
    block->count--;
    memmove(&block->items[place.index], &block->items[place.index + 1],
            (block->count - place.index) * sizeof block->items[0]);
    sorted->count--;
    if (block->count == 0) {
        block_remove(sorted, place.block);
        return;
    }
    block_merge_next(sorted, place.block);
    if (place.block > 0) {
        block_merge_next(sorted, place.block - 1);
    }
}
