#define _GNU_SOURCE /* qsort_r */

#include "rows.h"

#include <stdint.h>
#include <stdlib.h>

/* --- orders ------------------------------------------------------------------------------------------ */

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

int key_compare(struct strview a, struct strview b)
{
    if (!a.ptr || !b.ptr) {
        return COMPARE(a.ptr != NULL, b.ptr != NULL);
    }
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : COMPARE(a.len, b.len);
}

int row_compare_place(const void *left, const void *right)
{
    const struct row_mark *a = left, *b = right;
    int order = COMPARE(a->partition, b->partition);
    return order ? order : COMPARE(a->offset, b->offset);
}

/* A window is one thing wherever its last update lies. */
static int tie_compare(const struct row_mark *a, const struct row_mark *b)
{
    int order = COMPARE(a->end_ms, b->end_ms);
    return order || a->end_ms != ROW_NO_WINDOW ? order : row_compare_place(a, b);
}

int row_compare_time(const void *left, const void *right)
{
    const struct row_mark *a = left, *b = right;
    int order = COMPARE(a->time_ms, b->time_ms);
    order = order ? order : key_compare(a->key, b->key);
    return order ? order : tie_compare(a, b);
}

int row_compare_key(const void *left, const void *right)
{
    const struct row_mark *a = left, *b = right;
    return key_compare(a->key, b->key);
}

int row_compare_key_time(const void *left, const void *right)
{
    const struct row_mark *a = left, *b = right;
    int order = key_compare(a->key, b->key);
    order = order ? order : COMPARE(a->time_ms, b->time_ms);
    return order ? order : tie_compare(a, b);
}

/* --- what there is ------------------------------------------------------------------------------------- */

bool rows_extent_apply(struct rows_extent *extent, const struct frame *frame)
{
    if (frame->kind == FRAME_GAP) {
        extent->is_cut = true;
        return false;
    }
    /* Aligned: frame.c lays it first behind the struct. */
    const struct frame_state *state = (const struct frame_state *)(const void *)frame->value.ptr;
    bool is_remade = state->epoch != extent->epoch;
    if (is_remade) {
        *extent = (struct rows_extent){.epoch = state->epoch};
    }
    extent->is_live = state->is_live;
    for (int32_t p = 0; p < state->partition_count; p++) {
        extent->is_cut = extent->is_cut || !state->partitions[p].is_begin;
    }
    return is_remade;
}

void rows_view_free(struct rows_view *view)
{
    rows_free(&view->rows);
    buf_free(&view->cursor);
}

/* --- what is asked for --------------------------------------------------------------------------------- */

static bool takes_key(const struct rows_query *query, struct strview key)
{
    if (query->prefix.len && !(key.ptr && sv_starts_with(key, query->prefix))) {
        return false;
    }
    for (size_t i = 0; i < query->key_count; i++) {
        if (key.ptr && sv_equal(key, query->keys[i])) {
            return true;
        }
    }
    return query->key_count == 0;
}

bool rows_query_is_again(const struct rows_query *query, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (sv_equal(query->keys[i], query->keys[index])) {
            return true;
        }
    }
    return false;
}

bool rows_query_takes(const struct rows_query *query, const struct row_mark *mark)
{
    bool is_in_window =
        !query->is_window || (mark->end_ms != ROW_NO_WINDOW && mark->time_ms == query->window_ms);
    return is_in_window && mark->time_ms >= query->from_ms && mark->time_ms < query->to_ms &&
           takes_key(query, mark->key);
}

bool rows_query_is_past(const struct rows_query *query, const struct row_mark *mark,
                        sorted_compare *compare)
{
    if (!query->past) {
        return true;
    }
    int order = compare(mark, query->past);
    return query->is_descending ? order < 0 : order > 0;
}

int64_t rows_position_next(const struct cursor *position, int32_t partition)
{
    for (size_t i = 0; i < position->count; i++) {
        if (position->positions[i].partition == partition) {
            return position->positions[i].next;
        }
    }
    return 0;
}

/* --- rows ------------------------------------------------------------------------------------------------ */

void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        frame_unref(rows->items[i].frame);
    }
    free(rows->items);
    *rows = (struct rows){0};
}

void rows_add(struct rows *rows, const struct row_mark *mark, struct frame *frame)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 64;
        rows->items = must_realloc(rows->items, rows->capacity * sizeof *rows->items);
    }
    frame_ref(frame, 1);
    struct row *row = &rows->items[rows->count++];
    *row = (struct row){*mark, frame};
    row->mark.key = frame->key; /* as long as the row */
}

void rows_pop(struct rows *rows)
{
    CHECK(rows->count > 0);
    frame_unref(rows->items[--rows->count].frame);
}

bool rows_page_is_full(const struct rows *rows, size_t count, size_t limit)
{
    return count >= limit && rows->items[rows->count - 1].mark.key.len <= ROW_KEY_BYTES_MAX;
}

struct row_order {
    sorted_compare *compare;
    int sign;
};

static int row_order(const void *a, const void *b, void *context)
{
    const struct row_order *order = context;
    return order->sign * order->compare(a, b); /* a row begins with its mark */
}

static bool is_in_order(const struct rows *rows, struct row_order *order)
{
    for (size_t i = 1; i < rows->count; i++) {
        if (row_order(&rows->items[i - 1], &rows->items[i], order) > 0) {
            return false;
        }
    }
    return true;
}

bool rows_cut(struct rows *rows, const struct rows_query *query, sorted_compare *compare)
{
    struct row_order order = {compare, query->is_descending ? -1 : 1};
    if (!is_in_order(rows, &order)) { /* rows of a walk are */
        qsort_r(rows->items, rows->count, sizeof *rows->items, row_order, &order);
    }
    size_t all = rows->count, kept = query->limit < all ? query->limit : all;
    while (kept && kept < all && rows->items[kept - 1].mark.key.len > ROW_KEY_BYTES_MAX) {
        kept++;
    }
    while (rows->count > kept) {
        rows_pop(rows);
    }
    return kept < all;
}

/* --- pages of rows in any order ---------------------------------------------------------------------------- */

static void page_cut(struct rows_page *page)
{
    bool is_less = rows_cut(page->rows, page->query, page->compare);
    page->has_more = page->has_more || is_less;
    page->first = page->has_more ? page->rows->count : 0;
    page->cut_at = 2 * page->rows->count + 2;
}

struct rows_page rows_page_begin(struct rows *rows, const struct rows_query *query,
                                 sorted_compare *compare)
{
    size_t limit = query->limit < SIZE_MAX / 4 ? query->limit : SIZE_MAX / 4;
    return (struct rows_page){
        .rows = rows, .query = query, .compare = compare, .cut_at = 2 * limit + 2};
}

/* What was left off is past a page whose last row ends one, and will be past every page that is before. */
void rows_page_add(struct rows_page *page, const struct row_mark *mark, struct frame *frame)
{
    struct row_order order = {page->compare, page->query->is_descending ? -1 : 1};
    if (page->first && row_order(mark, &page->rows->items[page->first - 1], &order) > 0) {
        return;
    }
    rows_add(page->rows, mark, frame);
    rows_page_trim(page);
}

void rows_page_trim(struct rows_page *page)
{
    if (page->rows->count >= page->cut_at) {
        page_cut(page);
    }
}

bool rows_page_end(struct rows_page *page)
{
    page_cut(page);
    return page->has_more;
}
