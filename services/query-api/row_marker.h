/* row_marker.h - where a record stands in a history: the time of its window, or its own. Pure.
 *
 * THREADS  one owner each.
 */
#pragma once

#include "rows.h"

struct row_marker;

void row_marker_free(struct row_marker *marker); /* NULL is a no-op */
/* Fields, as names or JSON Pointers, that say when a window begins and ends. ERR_CONFIG: one is none. */
MUST_CHECK enum err row_marker_new(const char *window_start, const char *window_end,
                                   struct row_marker **ret, struct err_info *info);
/* Of a FRAME_RECORD; borrows its key. */
struct row_mark row_marker_mark(struct row_marker *marker, const struct frame *frame);
