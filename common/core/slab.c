#include "core/slab.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define UNIT            ((size_t)16)
#define CHUNK_BYTES_MIN ((size_t)4 * 1024) /* a slab that stays small takes little */
#define CHUNK_BYTES_MAX ((size_t)64 * 1024)

struct slab_chunk {
    struct slab_chunk *next;
    alignas(16) char memory[];
};

/* The class of a size in units, and the units of its blocks: 1, 2, 3, 4, 6, 8, 12, 16, 24, … */
static size_t class_of(size_t bytes, size_t *ret_units)
{
    size_t units = (bytes + UNIT - 1) / UNIT;
    if (units <= 4) {
        *ret_units = units;
        return units - 1;
    }
    unsigned bits = 63U - (unsigned)__builtin_clzll(units - 1); /* 2^bits < units <= 2^(bits+1) */
    size_t half = (size_t)3 << (bits - 1);
    *ret_units = units <= half ? half : (size_t)2 << bits;
    return 4 + 2 * (size_t)(bits - 2) + (units > half);
}

size_t slab_block_bytes(size_t bytes)
{
    size_t units;
    CHECK(bytes > 0 && bytes <= SIZE_MAX / 4);
    (void)class_of(bytes, &units); /* its units are wanted */
    return units * UNIT;
}

/* As large as all before it, so that their number stays small, within bounds. */
static void chunk_add(struct slab *slab, size_t block_bytes)
{
    size_t bytes = slab->bytes_held < CHUNK_BYTES_MIN   ? CHUNK_BYTES_MIN
                   : slab->bytes_held > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX
                                                        : slab->bytes_held & ~(UNIT - 1);
    bytes = bytes < block_bytes ? block_bytes : bytes;
    struct slab_chunk *chunk = must_alloc(sizeof *chunk + bytes);
    chunk->next = slab->chunks;
    slab->chunks = chunk;
    slab->rest = chunk->memory;
    slab->rest_bytes = bytes;
    slab->bytes_held += sizeof *chunk + bytes;
}

/* What is left of a chunk that is too short is given up: less than one block. */
static void *cut(struct slab *slab, size_t bytes)
{
    if (slab->rest_bytes < bytes) {
        chunk_add(slab, bytes);
    }
    void *block = slab->rest;
    slab->rest += bytes;
    slab->rest_bytes -= bytes;
    return block;
}

void *slab_alloc(struct slab *slab, size_t bytes)
{
    size_t units;
    CHECK(bytes > 0 && bytes <= SIZE_MAX / 4);
    size_t class = class_of(bytes, &units);
    if (units * UNIT > SLAB_BLOCK_BYTES_MAX) {
        slab->bytes_held += units * UNIT;
        return must_alloc(units * UNIT);
    }
    void *block = slab->free[class];
    if (!block) {
        return cut(slab, units * UNIT);
    }
    memcpy(&slab->free[class], block, sizeof block);
    return block;
}

void slab_free(struct slab *slab, void *block, size_t bytes)
{
    if (!block) {
        return;
    }
    size_t units;
    size_t class = class_of(bytes, &units);
    if (units * UNIT > SLAB_BLOCK_BYTES_MAX) {
        slab->bytes_held -= units * UNIT;
        free(block);
        return;
    }
    memcpy(block, &slab->free[class], sizeof block);
    slab->free[class] = block;
}

void slab_stop(struct slab *slab)
{
    while (slab->chunks) {
        struct slab_chunk *next = slab->chunks->next;
        free(slab->chunks);
        slab->chunks = next;
    }
    *slab = (struct slab){0};
}
