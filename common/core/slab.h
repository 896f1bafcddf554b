/* slab.h - memory for many small runs of bytes, used again as soon as they are freed.
 *
 * WHAT     blocks of a few sizes (16, 32, 48, 64, 96, 128, … : powers of two and what lies halfway),
 *          cut from large chunks. Whoever frees a block knows how large it was, so that a block
 *          has no head and nothing is looked up.
 * BOUNDS   none of its own: the owner counts with slab_block_bytes what it takes. Past 64 bytes a
 *          block is less than half as large again as what was asked for.
 * OWNS     chunks, until slab_stop; what is freed is kept for the next of its size.
 * THREADS  one owner.
 * COST     a pop or a push; a chunk now and then. Past SLAB_BLOCK_BYTES_MAX malloc's, as is every
 *          block in a build with AddressSanitizer, so that it sees what becomes of them.
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"

#define SLAB_CLASSES 22
#if defined(__has_feature)
#if __has_feature(address_sanitizer) /* clang's word for it */
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SLAB_BLOCK_BYTES_MAX ((size_t)0)
#else
#define SLAB_BLOCK_BYTES_MAX ((size_t)32 * 1024)
#endif

struct slab_chunk;

/* All zero: an empty one. */
struct slab {
    void *free[SLAB_CLASSES]; /* the first of each list; the next one stands in the block */
    struct slab_chunk *chunks;
    char *rest; /* of the newest chunk */
    size_t rest_bytes;
    size_t bytes_held;
};

/* How large the block for so many bytes is. */
size_t slab_block_bytes(size_t bytes);
/* 16-byte aligned, not zeroed. bytes > 0. */
MUST_CHECK void *slab_alloc(struct slab *slab, size_t bytes);
/* bytes: those of its slab_alloc, or any other number with the same block. NULL is a no-op. */
void slab_free(struct slab *slab, void *block, size_t bytes);
/* Every block has been freed. */
void slab_stop(struct slab *slab);
