/* history_batch.h - what a run of a topic's records comes to: the rows that they leave, and the keys whose
 * rows before them go. Pure.
 *
 * RULES    as history.h has them: an update takes the place of its window, a tombstone takes away all of its
 *          key. Whoever applies a batch deletes first, then writes.
 * OWNS     a reference to each frame that it holds.
 */
#pragma once

#include "rows.h"

struct history_batch {
    struct sorted rows;  /* of struct row, by key and time */
    struct rows deleted; /* tombstones; a key may have several */
};

void history_batch_init(struct history_batch *batch);
void history_batch_reset(struct history_batch *batch); /* empty again; frees all */
/* The mark of a FRAME_RECORD; of a FRAME_DELETE only its key counts. */
void history_batch_add(struct history_batch *batch, const struct row_mark *mark,
                       struct frame *frame);
bool history_batch_is_empty(const struct history_batch *batch);
