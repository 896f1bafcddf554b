/* arena.h - memory with one lifespan: allocate often, free all at once.
 *
 * BOUNDS   bytes_max; past it arena_alloc returns NULL.
 * OWNS     everything allocated from it; arena_reset keeps the blocks for the next batch.
 * THREADS  one owner.
 * COST     a pointer bump; a block (64 KiB or the request, if larger) now and then.
 */
#pragma once

#include "core/attributes.h"
#include "core/strview.h"

struct arena_block;

struct arena {
    struct arena_block *first;
    struct arena_block *current;
    size_t bytes; /* handed out since the last reset */
    size_t bytes_max;
};

void arena_init(struct arena *arena, size_t bytes_max);
void arena_free(struct arena *arena);
void arena_reset(struct arena *arena);
MUST_CHECK void *arena_alloc(struct arena *arena, size_t bytes); /* 16-byte aligned, not zeroed */
/* A copy with a NUL behind it; ptr is NULL when the arena is full. */
MUST_CHECK struct strview arena_copy(struct arena *arena, struct strview view);
