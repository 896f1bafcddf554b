#include "core/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#define ARENA_BLOCK_BYTES ((size_t)64 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t capacity;
    alignas(16) char data[];
};

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){.bytes_max = bytes_max};
}

void arena_free(struct arena *arena)
{
    struct arena_block *block = arena->first;
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct arena){.bytes_max = arena->bytes_max};
}

void arena_reset(struct arena *arena)
{
    for (struct arena_block *block = arena->first; block; block = block->next) {
        block->used = 0;
    }
    arena->current = arena->first;
    arena->bytes = 0;
}

/* Makes `current` a block with room: a kept one further on, or a new one behind the last. */
static void arena_next_block(struct arena *arena, size_t bytes)
{
    struct arena_block **link = arena->current ? &arena->current->next : &arena->first;
    while (*link && (*link)->capacity - (*link)->used < bytes) {
        link = &(*link)->next;
    }
    if (!*link) {
        size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
        *link = must_alloc(sizeof **link + capacity);
        (*link)->capacity = capacity;
    }
    arena->current = *link;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    size_t rounded = (bytes + 15) & ~(size_t)15;
    if (rounded < bytes || rounded > arena->bytes_max - arena->bytes) {
        return NULL;
    }
    if (!arena->current || arena->current->capacity - arena->current->used < rounded) {
        arena_next_block(arena, rounded);
    }
    void *memory = arena->current->data + arena->current->used;
    arena->current->used += rounded;
    arena->bytes += rounded;
    return memory;
}

struct strview arena_copy(struct arena *arena, struct strview view)
{
    char *copy = arena_alloc(arena, view.len + 1);
    if (!copy) {
        return (struct strview){0};
    }
    if (view.len) {
        memcpy(copy, view.ptr, view.len);
    }
    copy[view.len] = '\0';
    return (struct strview){copy, view.len};
}
