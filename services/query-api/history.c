#include "history.h"

#include <pthread.h>
#include <stdlib.h>

#include "row_marker.h"

struct item {
    struct row_mark mark; /* first: what is searched for is a mark */
    struct frame *frame;
};

/* What an item takes beside its frame: itself, and its place in three orders. */
#define ITEM_BYTES (sizeof(struct item) + 3 * 2 * sizeof(void *))

struct history {
    struct row_marker *marker; /* the reader's alone, as the marks */
    struct row_mark *marks;    /* of the run at hand */
    size_t mark_capacity;
    int64_t bytes_max, age_max_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct sorted by_time, by_key, by_place;
    struct buf cursor;
    size_t bytes;
    int64_t evicted;
    int64_t floor_ms; /* below it nothing is held, and at it perhaps not all */
    struct rows_extent extent;
    bool is_torn;    /* records are missing in the middle */
    int64_t *starts; /* where the reader began, by partition */
    size_t start_count, start_capacity;
    bool is_kept, is_kept_known;
    struct history_kept kept; /* when it is known */
};

enum err history_new(const struct history_config *config, struct history **ret,
                     struct err_info *info)
{
    struct history *history = must_alloc(sizeof *history);
    CHECK(pthread_mutex_init(&history->lock, NULL) == 0);
    history->bytes_max = config->bytes_max;
    history->age_max_ms = config->age_max_ms;
    history->floor_ms = INT64_MIN;
    history->is_kept = config->is_kept;
    sorted_init(&history->by_time, row_compare_time);
    sorted_init(&history->by_key, row_compare_key_time);
    sorted_init(&history->by_place, row_compare_place);
    buf_init(&history->cursor, CURSOR_BYTES_MAX);
    enum err e = row_marker_new(config->window_start, config->window_end, &history->marker, info);
    if (e) {
        history_free(history);
        return e;
    }
    *ret = history;
    return ERR_OK;
}

/* --- what is held -------------------------------------------------------------------------------------- */

static void item_remove(struct history *history, struct item *item)
{
    sorted_remove(&history->by_time, item);
    sorted_remove(&history->by_key, item);
    sorted_remove(&history->by_place, item);
    history->bytes -= ITEM_BYTES + item->frame->bytes;
    frame_unref(item->frame);
    free(item);
}

static struct item *item_oldest(const struct history *history)
{
    struct sorted_place first = {0, 0};
    return sorted_next(&history->by_time, &first);
}

static void items_remove_all(struct history *history)
{
    struct item *item;
    while ((item = item_oldest(history)) != NULL) {
        item_remove(history, item);
    }
}

void history_free(struct history *history)
{
    if (!history) {
        return;
    }
    items_remove_all(history);
    sorted_deinit(&history->by_time);
    sorted_deinit(&history->by_key);
    sorted_deinit(&history->by_place);
    buf_free(&history->cursor);
    row_marker_free(history->marker);
    CHECK(pthread_mutex_destroy(&history->lock) == 0);
    free(history->marks);
    free(history->starts);
    free(history);
}

/* The window's place in the orders of time and of keys stays. */
static void item_update(struct history *history, struct item *item, const struct row_mark *mark,
                        struct frame *frame)
{
    sorted_remove(&history->by_place, item);
    history->bytes += frame->bytes - item->frame->bytes;
    frame_unref(item->frame);
    frame_ref(frame, 1);
    *item = (struct item){*mark, frame};
    sorted_add(&history->by_place, item);
}

static void item_add(struct history *history, const struct row_mark *mark, struct frame *frame)
{
    struct item *item = sorted_find(&history->by_time, mark);
    struct item *there = sorted_find(&history->by_place, mark);
    if (there && there != item) { /* a place read again: the log was cut, and has grown anew */
        item_remove(history, there);
    }
    if (item) {
        item_update(history, item, mark, frame);
        return;
    }
    if (mark->time_ms < history->floor_ms) {
        history->evicted++;
        return;
    }
    item = must_alloc(sizeof *item);
    *item = (struct item){*mark, frame};
    frame_ref(frame, 1);
    history->bytes += ITEM_BYTES + frame->bytes;
    sorted_add(&history->by_time, item);
    sorted_add(&history->by_key, item);
    sorted_add(&history->by_place, item);
}

/* Where a key's, a time's or a partition's rows begin. */
static struct row_mark mark_first(struct strview key, int64_t time_ms, int32_t partition)
{
    return (struct row_mark){time_ms, INT64_MIN, key, partition, INT64_MIN};
}

static void key_remove(struct history *history, struct strview key)
{
    const struct row_mark first = mark_first(key, INT64_MIN, INT32_MIN);
    for (;;) {
        struct sorted_place place = sorted_lower(&history->by_key, &first);
        struct item *item = sorted_next(&history->by_key, &place);
        if (!item || key_compare(item->mark.key, key) != 0) {
            return;
        }
        item_remove(history, item);
    }
}

static void items_evict(struct history *history, int64_t now_ms)
{
    int64_t too_old_ms = history->age_max_ms ? now_ms - history->age_max_ms : INT64_MIN;
    struct item *oldest;
    while ((oldest = item_oldest(history)) != NULL &&
           (history->bytes > (size_t)history->bytes_max || oldest->mark.time_ms < too_old_ms)) {
        history->floor_ms = oldest->mark.time_ms;
        history->evicted++;
        item_remove(history, oldest);
    }
}

/* --- records ------------------------------------------------------------------------------------------- */

/* Where the reader began is another matter with each partition that comes. */
static void starts_note(struct history *history, const struct frame *frame)
{
    /* Aligned: frame.c lays it first behind the struct. */
    const struct frame_state *state = (const struct frame_state *)(const void *)frame->value.ptr;
    size_t count = (size_t)state->partition_count;
    if (count > history->start_capacity) {
        history->starts = must_realloc(history->starts, count * sizeof *history->starts);
        history->start_capacity = count;
    }
    for (size_t p = 0; p < count; p++) {
        history->starts[p] = state->partitions[p].start;
    }
    history->start_count = count;
    history->is_kept_known = history->is_kept_known && history->kept.epoch == state->epoch &&
                             history->kept.partition_count == count;
}

static void frame_apply(struct history *history, struct frame *frame, const struct row_mark *mark)
{
    switch ((enum frame_kind)frame->kind) {
    case FRAME_RECORD:
        item_add(history, mark, frame);
        break;
    case FRAME_DELETE:
        if (frame->key.ptr) {
            key_remove(history, frame->key);
        }
        break;
    case FRAME_GAP:
        history->is_torn = true;
        (void)rows_extent_apply(&history->extent, frame); /* the topic is the same */
        break;
    case FRAME_STATE:
        if (rows_extent_apply(&history->extent, frame)) {
            items_remove_all(history);
            history->floor_ms = INT64_MIN;
            history->is_torn = false;
        }
        starts_note(history, frame);
        break;
    }
}

/* What needs a look into values, before the lock. */
static void marks_make(struct history *history, struct frame *const *frames, size_t count)
{
    if (count > history->mark_capacity) {
        history->marks = must_realloc(history->marks, count * sizeof *history->marks);
        history->mark_capacity = count;
    }
    for (size_t i = 0; i < count; i++) {
        if (frames[i]->kind == FRAME_RECORD) {
            history->marks[i] = row_marker_mark(history->marker, frames[i]);
        }
    }
}

void history_apply(struct history *history, struct frame *const *frames, size_t count,
                   struct strview cursor, int64_t now_ms)
{
    marks_make(history, frames, count);
    (void)pthread_mutex_lock(&history->lock);
    for (size_t i = 0; i < count; i++) {
        frame_apply(history, frames[i], &history->marks[i]);
        items_evict(history, now_ms); /* at once: a burst may be larger than the bound */
    }
    buf_reset(&history->cursor);
    CHECK(buf_append_view(&history->cursor, cursor) == ERR_OK);
    (void)pthread_mutex_unlock(&history->lock);
}

void history_expire(struct history *history, int64_t now_ms)
{
    (void)pthread_mutex_lock(&history->lock);
    items_evict(history, now_ms);
    (void)pthread_mutex_unlock(&history->lock);
}

struct history_stats history_stats(struct history *history)
{
    (void)pthread_mutex_lock(&history->lock);
    struct history_stats stats = {history->by_time.count, history->bytes, history->evicted};
    (void)pthread_mutex_unlock(&history->lock);
    return stats;
}

/* --- reading --------------------------------------------------------------------------------------------- */

/* The window asked for as a range, so that only its rows are walked. */
static struct rows_query query_resolve(const struct history *history,
                                       const struct rows_query *query)
{
    struct rows_query resolved = *query;
    if (query->is_window && query->window_ms == ROW_NEWEST) {
        struct sorted_place place = sorted_end(&history->by_time);
        const struct item *item;
        do {
            item = sorted_previous(&history->by_time, &place);
        } while (item && item->mark.end_ms == ROW_NO_WINDOW);
        resolved.window_ms = item ? item->mark.time_ms : INT64_MIN;
    }
    if (resolved.is_window) {
        int64_t start = resolved.window_ms;
        resolved.from_ms = start > resolved.from_ms ? start : resolved.from_ms;
        resolved.to_ms = start < resolved.to_ms ? start + 1 : resolved.to_ms;
    }
    return resolved;
}

/* Where a walk over the rows of all keys, or of one, begins. */
static struct row_mark walk_begin(const struct rows_query *query, const struct strview *key)
{
    const struct row_mark *past = query->past;
    int64_t edge_ms = query->is_descending ? query->to_ms : query->from_ms;
    struct row_mark begin = mark_first(key ? *key : (struct strview){0}, edge_ms, INT32_MIN);
    if (!past || rows_query_is_past(query, &begin, row_compare_time)) {
        return begin;
    }
    if (!key) {
        return *past;
    }
    begin.time_ms = past->time_ms + query->is_descending; /* the key's rows of that time, too */
    return begin;
}

static bool walk_is_over(const struct rows_query *query, const struct strview *key,
                         const struct row_mark *mark)
{
    return (key && key_compare(mark->key, *key) != 0) ||
           (query->is_descending ? mark->time_ms < query->from_ms : mark->time_ms >= query->to_ms);
}

/* A page of the rows of all keys, or of one, and one row more if there is one. */
static void walk(const struct history *history, const struct rows_query *query,
                 const struct strview *key, struct rows *rows)
{
    const struct sorted *sorted = key ? &history->by_key : &history->by_time;
    const struct row_mark begin = walk_begin(query, key);
    struct sorted_place place = sorted_lower(sorted, &begin);
    const struct item *item;
    bool is_full = false;
    for (size_t count = 0; !is_full;) {
        item = query->is_descending ? sorted_previous(sorted, &place) : sorted_next(sorted, &place);
        if (!item || walk_is_over(query, key, &item->mark)) {
            return;
        }
        if (rows_query_takes(query, &item->mark) &&
            rows_query_is_past(query, &item->mark, row_compare_time)) {
            is_full = rows_page_is_full(rows, count, query->limit);
            rows_add(rows, &item->mark, item->frame);
            count++;
        }
    }
}

static void read_keys(const struct history *history, const struct rows_query *query,
                      struct rows_page *page)
{
    for (size_t i = 0; i < query->key_count; i++) {
        if (!rows_query_is_again(query, i)) {
            walk(history, query, &query->keys[i], page->rows);
            rows_page_trim(page);
        }
    }
}

/* What stands at or past a position of the topic, partition by partition. */
static void read_changes(const struct history *history, const struct rows_query *query,
                         struct rows_page *page)
{
    struct row_mark from = mark_first((struct strview){0}, 0, INT32_MIN);
    struct sorted_place place = sorted_lower(&history->by_place, &from);
    const struct item *item;
    while ((item = sorted_next(&history->by_place, &place)) != NULL) {
        if (item->mark.partition != from.partition) {
            from.partition = item->mark.partition;
            from.offset = rows_position_next(query->after, from.partition);
            place = sorted_lower(&history->by_place, &from);
            continue;
        }
        if (rows_query_takes(query, &item->mark) &&
            rows_query_is_past(query, &item->mark, row_compare_time)) {
            rows_page_add(page, &item->mark, item->frame);
        }
    }
}

static void read_rows(const struct history *history, const struct rows_query *query,
                      struct rows_page *page)
{
    if (query->after) {
        read_changes(history, query, page);
    } else if (query->key_count) {
        read_keys(history, query, page);
    } else {
        walk(history, query, NULL, page->rows);
    }
}

/* --- with a store behind it ------------------------------------------------------------------------------- */

size_t history_starts(struct history *history, uint32_t *ret_epoch, int64_t *starts, size_t max)
{
    (void)pthread_mutex_lock(&history->lock);
    size_t count = history->start_count;
    *ret_epoch = history->extent.epoch;
    for (size_t p = 0; p < count && count <= max; p++) {
        starts[p] = history->starts[p];
    }
    (void)pthread_mutex_unlock(&history->lock);
    return count;
}

void history_note_kept(struct history *history, const struct history_kept *kept)
{
    (void)pthread_mutex_lock(&history->lock);
    if (kept->epoch == history->extent.epoch && kept->partition_count == history->start_count) {
        history->kept = *kept;
        history->is_kept_known = true;
    }
    (void)pthread_mutex_unlock(&history->lock);
}

static bool is_read_whole(const struct history *history)
{
    for (size_t p = 0; p < history->start_count; p++) {
        if (history->starts[p] > 0) {
            return false;
        }
    }
    return history->start_count > 0;
}

/* All rows later than this are held, in their newest form. INT64_MAX: none is known to be. */
static int64_t whole_after_ms(const struct history *history)
{
    if (!history->extent.is_live || history->is_torn) {
        return INT64_MAX;
    }
    int64_t before_ms = is_read_whole(history)   ? INT64_MIN
                        : history->is_kept_known ? history->kept.before_ms
                                                 : INT64_MAX;
    return before_ms > history->floor_ms ? before_ms : history->floor_ms;
}

static bool reaches(int64_t from_ms, int64_t after_ms)
{
    return after_ms == INT64_MIN || from_ms > after_ms;
}

/* As the store says it of itself, where it is known. */
static void view_describe(const struct history *history, const struct rows_query *resolved,
                          struct rows_view *ret)
{
    const struct item *oldest = item_oldest(history);
    const struct rows_extent *extent = &history->extent;
    int64_t floor_ms = history->is_kept_known ? history->kept.floor_ms : history->floor_ms;
    bool is_cut = history->is_kept_known ? history->kept.is_cut : extent->is_cut;
    ret->oldest_ms = oldest ? oldest->mark.time_ms : INT64_MAX;
    if (history->is_kept_known && history->kept.oldest_ms < ret->oldest_ms) {
        ret->oldest_ms = history->kept.oldest_ms;
    }
    ret->is_known = history->cursor.len > 0;
    ret->is_live = extent->is_live;
    ret->is_complete = extent->is_live && !is_cut && reaches(resolved->from_ms, floor_ms);
    CHECK(buf_append_view(&ret->cursor, buf_view(&history->cursor)) == ERR_OK);
}

/* A page of the newest that lies where all is held is the whole answer, too. */
static bool is_enough(const struct rows_query *resolved, const struct rows_view *view,
                      int64_t after_ms)
{
    const struct rows *rows = &view->rows;
    return reaches(resolved->from_ms, after_ms) ||
           (resolved->is_descending && view->has_more &&
            rows->items[rows->count - 1].mark.time_ms > after_ms);
}

void history_read(struct history *history, const struct rows_query *query, struct rows_view *ret)
{
    *ret = (struct rows_view){0};
    buf_init(&ret->cursor, CURSOR_BYTES_MAX);
    (void)pthread_mutex_lock(&history->lock);
    const struct rows_query resolved = query_resolve(history, query);
    struct rows_page page = rows_page_begin(&ret->rows, &resolved, row_compare_time);
    read_rows(history, &resolved, &page);
    view_describe(history, &resolved, ret);
    int64_t after_ms = history->is_kept ? whole_after_ms(history) : INT64_MIN;
    (void)pthread_mutex_unlock(&history->lock);
    ret->has_more = rows_page_end(&page);
    ret->is_enough = is_enough(&resolved, ret, after_ms);
}
