/* store_disk.h - where a store puts cells for which it has no room in memory: given to it by whoever
 * owns disks, since this room has none.
 *
 * WHAT     rows, bytes under bytes, of one store alone. They last no longer than the store: what it
 *          holds comes back from its changelog, not from here. A new one has none.
 * ORDER    of their keys' bytes; a key that begins another comes before it.
 * ERRORS   of write: nothing of what was put is there. Of get and read: rows that were written cannot
 *          be had any more.
 * THREADS  the store's owner.
 */
#pragma once

#include "core/buf.h"

static inline int store_disk_order(struct strview a, struct strview b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

struct store_disk_reader {
    enum err (*on_row)(void *context, struct strview key, struct strview value);
    void *context;
};

struct store_disk {
    /* Held until the next write; value ptr NULL: the row goes. */
    void (*put)(void *context, struct strview key, struct strview value);
    /* Held, too: all rows whose keys begin so go. */
    void (*clear)(void *context, struct strview prefix);
    /* What is held is there from here on, or, with an error, dropped. */
    enum err (*write)(void *context, struct err_info *info);
    /* The row's value, behind what is in `out`; *ret_found: there is one. */
    enum err (*get)(void *context, struct strview key, struct buf *out, bool *ret_found,
                    struct err_info *info);
    /* Rows with from <= key < to, in order, borrowed for the call; nothing is put meanwhile. Ends with
     * the first error of on_row, and returns it. */
    enum err (*read)(void *context, struct strview from, struct strview to,
                     const struct store_disk_reader *reader, struct err_info *info);
    void *context;
};
