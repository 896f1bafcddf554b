/* store_row.h - an array in order that is cheap to shorten at its front. Private to store*.c.
 *
 * Time goes on: what is old leaves at the front, what is new comes at the end. So a row's first item
 * need not be its memory's first, and only what comes late or leaves early moves others. */
#pragma once

#include <string.h>

#include "core/slab.h"

struct store_row {
    char *items;
    uint32_t first, count, capacity; /* items */
};

/* Makes room for one more at the end. own: memory that is the owner's, not the slab's. */
static inline void store_row_reserve(struct store_row *row, struct slab *slab, const void *own,
                                     size_t item_bytes)
{
    if (row->first + row->count < row->capacity) {
        return;
    }
    if (row->first > 0 && row->first >= row->count) { /* as much room before them as they take */
        memcpy(row->items, row->items + row->first * item_bytes, row->count * item_bytes);
        row->first = 0;
        return;
    }
    uint32_t capacity = row->capacity ? row->capacity * 2 : 4;
    char *items = slab_alloc(slab, capacity * item_bytes);
    if (row->count) {
        memcpy(items, row->items + row->first * item_bytes, row->count * item_bytes);
    }
    if (row->items != own) {
        slab_free(slab, row->items, row->capacity * item_bytes);
    }
    *row = (struct store_row){items, 0, row->count, capacity};
}

/* Opens a gap at `place`, 0 … count; there is room. Returns it. */
static inline void *store_row_open(struct store_row *row, size_t place, size_t item_bytes)
{
    if (place == 0 && row->first > 0) {
        row->first--;
    } else {
        char *at = row->items + (row->first + place) * item_bytes;
        memmove(at + item_bytes, at, (row->count - place) * item_bytes);
    }
    row->count++;
    return row->items + (row->first + place) * item_bytes;
}

static inline void store_row_close(struct store_row *row, size_t place, size_t item_bytes)
{
    row->count--;
    if (place == 0) {
        row->first = row->count ? row->first + 1 : 0;
        return;
    }
    char *at = row->items + (row->first + place) * item_bytes;
    memmove(at, at + item_bytes, (row->count - place) * item_bytes);
}
