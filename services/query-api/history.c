#include "history.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/decimal.h"

#define SECONDS_BELOW                                                                              \
    INT64_C(100000000000) /* a number of seconds until the year 5138, as everywhere */
#define TIME_MAX_MS INT64_C(253402300799999) /* the year 9999 ends */

struct item {
    struct row_mark mark; /* first: what is searched for is a mark */
    struct frame *frame;
};

/* What an item takes beside its frame: itself, and its place in three orders. */
#define ITEM_BYTES (sizeof(struct item) + 3 * 2 * sizeof(void *))

struct history {
    struct json_scanner *scanner; /* the reader's alone, as the fields and the marks */
    struct json_pointer *window_start, *window_end;
    struct row_mark *marks; /* of the run at hand */
    size_t mark_capacity;
    int64_t bytes_max, age_max_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct sorted by_time, by_key, by_place;
    struct buf cursor;
    size_t bytes;
    int64_t evicted;
    int64_t floor_ms; /* below it nothing is held, and at it perhaps not all */
    struct rows_extent extent;
};

enum err history_new(const struct history_config *config, struct history **ret,
                     struct err_info *info)
{
    struct history *history = must_alloc(sizeof *history);
    CHECK(pthread_mutex_init(&history->lock, NULL) == 0);
    history->scanner = json_scanner_new(FRAME_DEPTH_MAX, FRAME_NODES_MAX);
    history->bytes_max = config->bytes_max;
    history->age_max_ms = config->age_max_ms;
    history->floor_ms = INT64_MIN;
    sorted_init(&history->by_time, row_compare_time);
    sorted_init(&history->by_key, row_compare_key_time);
    sorted_init(&history->by_place, row_compare_place);
    buf_init(&history->cursor, CURSOR_BYTES_MAX);
    enum err e = json_pointer_new(config->window_start, &history->window_start, info);
    e = e ? e : json_pointer_new(config->window_end, &history->window_end, info);
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
    json_pointer_free(history->window_start);
    json_pointer_free(history->window_end);
    json_scanner_free(history->scanner);
    CHECK(pthread_mutex_destroy(&history->lock) == 0);
    free(history->marks);
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

static bool number_to_ms(struct strview text, int64_t *ret)
{
    struct decimal number;
    if (decimal_parse(text, &number) || decimal_compare(number, decimal_from_int(0)) < 0 ||
        decimal_compare(number, decimal_from_int(TIME_MAX_MS)) > 0) {
        return false;
    }
    if (decimal_compare(number, decimal_from_int(SECONDS_BELOW)) < 0 &&
        decimal_multiply(number, decimal_from_int(1000), &number)) {
        return false;
    }
    *ret = decimal_to_int(number);
    return true;
}

/* Epoch seconds, milliseconds or ISO 8601, as pipelines write them. */
static bool field_to_ms(const struct json_doc *doc, const struct json_pointer *field, int64_t *ret)
{
    uint32_t index = json_pointer_find(field, doc);
    if (index == JSON_NODE_NONE) {
        return false;
    }
    struct strview text = json_node_text(doc, index);
    if (doc->nodes[index].type == JSON_NODE_NUMBER) {
        return number_to_ms(text, ret);
    }
    return doc->nodes[index].type == JSON_NODE_STRING &&
           timestamp_parse_iso8601(text, ret) == ERR_OK && *ret >= 0 && *ret <= TIME_MAX_MS;
}

static struct row_mark mark_of(struct history *history, const struct frame *frame)
{
    struct row_mark mark = {frame->timestamp_ms, ROW_NO_WINDOW, frame->key, frame->partition,
                            frame->offset};
    struct json_doc doc;
    int64_t start_ms, end_ms;
    if (frame->is_json && json_scan(history->scanner, frame->value, &doc, NULL) == ERR_OK &&
        field_to_ms(&doc, history->window_start, &start_ms) &&
        field_to_ms(&doc, history->window_end, &end_ms)) {
        mark.time_ms = start_ms;
        mark.end_ms = end_ms;
    }
    return mark;
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
    case FRAME_STATE:
        if (rows_extent_apply(&history->extent, frame)) {
            items_remove_all(history);
            history->floor_ms = INT64_MIN;
        }
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
            history->marks[i] = mark_of(history, frames[i]);
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
                      struct rows *rows)
{
    for (size_t i = 0; i < query->key_count; i++) {
        if (!rows_query_is_again(query, i)) {
            walk(history, query, &query->keys[i], rows);
        }
    }
}

/* What stands at or past a position of the topic, partition by partition. */
static void read_changes(const struct history *history, const struct rows_query *query,
                         struct rows *rows)
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
            rows_add(rows, &item->mark, item->frame);
        }
    }
}

static void read_rows(const struct history *history, const struct rows_query *query,
                      struct rows *rows)
{
    if (query->after) {
        read_changes(history, query, rows);
    } else if (query->key_count) {
        read_keys(history, query, rows);
    } else {
        walk(history, query, NULL, rows);
    }
}

void history_read(struct history *history, const struct rows_query *query, struct rows_view *ret)
{
    *ret = (struct rows_view){0};
    buf_init(&ret->cursor, CURSOR_BYTES_MAX);
    (void)pthread_mutex_lock(&history->lock);
    const struct rows_query resolved = query_resolve(history, query);
    read_rows(history, &resolved, &ret->rows);
    const struct item *oldest = item_oldest(history);
    ret->oldest_ms = oldest ? oldest->mark.time_ms : INT64_MAX;
    ret->is_known = history->cursor.len > 0;
    ret->is_complete = history->extent.is_live && !history->extent.is_cut &&
                       (history->floor_ms == INT64_MIN || resolved.from_ms > history->floor_ms);
    CHECK(buf_append_view(&ret->cursor, buf_view(&history->cursor)) == ERR_OK);
    (void)pthread_mutex_unlock(&history->lock);
    ret->has_more = rows_cut(&ret->rows, query, row_compare_time);
}
