#include "latest.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/hash_map.h"
#include "cursor.h"

struct latest {
    pthread_mutex_t lock;    /* guards all of it */
    struct hash_map *frames; /* key → struct frame * */
    struct buf cursor;
    int64_t left_out;
    struct rows_extent extent;
};

struct latest *latest_new(size_t keys_max)
{
    struct latest *latest = must_alloc(sizeof *latest);
    CHECK(pthread_mutex_init(&latest->lock, NULL) == 0);
    latest->frames = hash_map_new(sizeof(struct frame *), keys_max);
    buf_init(&latest->cursor, CURSOR_BYTES_MAX);
    return latest;
}

static struct frame **frame_at(const struct latest *latest, size_t index)
{
    return hash_map_value_at(latest->frames, index);
}

void latest_free(struct latest *latest)
{
    if (!latest) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(latest->frames); i++) {
        frame_unref(*frame_at(latest, i));
    }
    hash_map_free(latest->frames);
    buf_free(&latest->cursor);
    CHECK(pthread_mutex_destroy(&latest->lock) == 0);
    free(latest);
}

static void frame_apply(struct latest *latest, struct frame *frame)
{
    if (frame->kind == FRAME_GAP || frame->kind == FRAME_STATE) {
        (void)rows_extent_apply(&latest->extent, frame); /* the reader clears what was made anew */
        return;
    }
    if (!frame->key.ptr) {
        return;
    }
    if (frame->kind == FRAME_DELETE) {
        struct frame **old = hash_map_find(latest->frames, frame->key);
        if (old) {
            frame_unref(*old);
            CHECK(hash_map_remove(latest->frames, frame->key));
        }
        return;
    }
    bool is_new;
    struct frame **slot = hash_map_get_or_add(latest->frames, frame->key, &is_new);
    if (!slot) {
        latest->left_out++;
        return;
    }
    if (!is_new) {
        frame_unref(*slot);
    }
    frame_ref(frame, 1);
    *slot = frame;
}

void latest_apply(struct latest *latest, struct frame *const *frames, size_t count,
                  struct strview cursor)
{
    (void)pthread_mutex_lock(&latest->lock);
    for (size_t i = 0; i < count; i++) {
        frame_apply(latest, frames[i]);
    }
    buf_reset(&latest->cursor);
    CHECK(buf_append_view(&latest->cursor, cursor) == ERR_OK);
    (void)pthread_mutex_unlock(&latest->lock);
}

void latest_clear(struct latest *latest)
{
    (void)pthread_mutex_lock(&latest->lock);
    for (size_t i = 0; i < hash_map_count(latest->frames); i++) {
        frame_unref(*frame_at(latest, i));
    }
    hash_map_clear(latest->frames);
    latest->left_out = 0;
    (void)pthread_mutex_unlock(&latest->lock);
}

size_t latest_count(struct latest *latest)
{
    (void)pthread_mutex_lock(&latest->lock);
    size_t count = hash_map_count(latest->frames);
    (void)pthread_mutex_unlock(&latest->lock);
    return count;
}

static void view_add(struct latest_view *view, struct frame *frame)
{
    frame_ref(frame, 1);
    view->frames[view->count++] = frame;
}

void latest_read(struct latest *latest, struct strview key, struct latest_view *ret)
{
    *ret = (struct latest_view){0};
    buf_init(&ret->cursor, CURSOR_BYTES_MAX);
    (void)pthread_mutex_lock(&latest->lock);
    size_t count = key.ptr ? 1 : hash_map_count(latest->frames);
    ret->frames = must_alloc((count + 1) * sizeof(struct frame *));
    if (key.ptr) {
        struct frame **found = hash_map_find(latest->frames, key);
        if (found) {
            view_add(ret, *found);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            view_add(ret, *frame_at(latest, i));
        }
    }
    ret->left_out = latest->left_out;
    ret->is_known = latest->cursor.len > 0;
    CHECK(buf_append_view(&ret->cursor, buf_view(&latest->cursor)) == ERR_OK);
    (void)pthread_mutex_unlock(&latest->lock);
}

static void page_take(struct rows_page *page, struct frame *frame)
{
    const struct rows_query *query = page->query;
    const struct row_mark mark = {frame->timestamp_ms, ROW_NO_WINDOW, frame->key, frame->partition,
                                  frame->offset};
    if (rows_query_takes(query, &mark) && rows_query_is_past(query, &mark, row_compare_key) &&
        (!query->after || frame->offset >= rows_position_next(query->after, frame->partition))) {
        rows_page_add(page, &mark, frame);
    }
}

static void page_take_keys(struct rows_page *page, const struct latest *latest)
{
    const struct rows_query *query = page->query;
    for (size_t i = 0; i < query->key_count; i++) {
        struct frame **found = hash_map_find(latest->frames, query->keys[i]);
        if (found && !rows_query_is_again(query, i)) {
            page_take(page, *found);
        }
    }
}

void latest_rows(struct latest *latest, const struct rows_query *query, struct rows_view *ret)
{
    *ret = (struct rows_view){.oldest_ms = INT64_MAX};
    buf_init(&ret->cursor, CURSOR_BYTES_MAX);
    struct rows_page page = rows_page_begin(&ret->rows, query, row_compare_key);
    (void)pthread_mutex_lock(&latest->lock);
    page_take_keys(&page, latest);
    for (size_t i = 0; !query->key_count && i < hash_map_count(latest->frames); i++) {
        page_take(&page, *frame_at(latest, i));
    }
    ret->left_out = latest->left_out;
    ret->is_known = latest->cursor.len > 0;
    ret->is_complete = latest->extent.is_live && !latest->extent.is_cut && !latest->left_out;
    CHECK(buf_append_view(&ret->cursor, buf_view(&latest->cursor)) == ERR_OK);
    (void)pthread_mutex_unlock(&latest->lock);
    ret->has_more = rows_page_end(&page);
}

void latest_view_free(struct latest_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        frame_unref(view->frames[i]);
    }
    free(view->frames);
    buf_free(&view->cursor);
    *view = (struct latest_view){0};
}
