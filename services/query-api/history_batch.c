#include "history_batch.h"

#include <stdlib.h>

void history_batch_init(struct history_batch *batch)
{
    *batch = (struct history_batch){0};
    sorted_init(&batch->rows, row_compare_key_time);
}

static void row_free(struct row *row)
{
    frame_unref(row->frame);
    free(row);
}

void history_batch_reset(struct history_batch *batch)
{
    struct sorted_place place = {0, 0};
    struct row *row;
    while ((row = sorted_next(&batch->rows, &place)) != NULL) {
        row_free(row);
    }
    sorted_deinit(&batch->rows);
    rows_free(&batch->deleted);
}

bool history_batch_is_empty(const struct history_batch *batch)
{
    return batch->rows.count == 0 && batch->deleted.count == 0;
}

static void key_delete(struct history_batch *batch, struct frame *frame)
{
    const struct row_mark first = {INT64_MIN, INT64_MIN, frame->key, INT32_MIN, INT64_MIN};
    for (;;) {
        struct sorted_place place = sorted_lower(&batch->rows, &first);
        struct row *row = sorted_next(&batch->rows, &place);
        if (!row || key_compare(row->mark.key, frame->key) != 0) {
            break;
        }
        sorted_remove(&batch->rows, row);
        row_free(row);
    }
    rows_add(&batch->deleted, &first, frame);
}

void history_batch_add(struct history_batch *batch, const struct row_mark *mark,
                       struct frame *frame)
{
    if (frame->kind == FRAME_DELETE) {
        if (frame->key.ptr) {
            key_delete(batch, frame);
        }
        return;
    }
    struct row *there = sorted_find(&batch->rows, mark);
    if (there) {
        sorted_remove(&batch->rows, there);
        row_free(there);
    }
    struct row *row = must_alloc(sizeof *row);
    *row = (struct row){*mark, frame};
    row->mark.key = frame->key;
    frame_ref(frame, 1);
    sorted_add(&batch->rows, row);
}
