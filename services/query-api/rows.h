/* rows.h - records as the REST answers list them, and which of them somebody asks for.
 *
 * ORDER    by time, then key, then the window's end; records that are no windows then by partition
 *          and offset. A window's time is its start, any other record's Kafka's timestamp. So an update
 *          of a window stands where the window stood, and a page that ends at a mark is followed by
 *          the page after it, whatever has come, changed or gone meanwhile.
 * OWNS     rows hold a reference to each of their frames; marks borrow their key.
 */
#pragma once

#include "cursor.h"
#include "frame.h"
#include "sorted.h"

#define ROW_NO_WINDOW INT64_MIN /* as the end: the record is none */
#define ROW_NEWEST    INT64_MAX /* as the window asked for: the newest that is held */

struct row_mark {
    int64_t time_ms;
    int64_t end_ms;
    struct strview key; /* ptr NULL: none, which comes first */
    int32_t partition;
    int64_t offset;
};

struct row {
    struct row_mark mark;
    struct frame *frame;
};

struct rows {
    struct row *items;
    size_t count, capacity;
};

#define ROWS_KEYS_MAX 100

struct rows_query {
    /* Which: all of these hold. */
    struct strview keys[ROWS_KEYS_MAX]; /* one of them, when there are any */
    size_t key_count;
    struct strview prefix;
    int64_t from_ms, to_ms; /* from ≤ time < to */
    bool is_window;         /* only windows that begin at window_ms */
    int64_t window_ms;
    const struct cursor *after; /* only what stands at or past it in the topic; may be NULL */
    /* How many, and from where. */
    bool is_descending;
    size_t limit;
    const struct row_mark *past; /* NULL: from the beginning of the order */
};

/* What was found of a topic. */
struct rows_view {
    struct rows rows;  /* in the order asked for */
    bool has_more;     /* the page is full, and more follow */
    struct buf cursor; /* the topic's position that it stands for */
    bool is_known;     /* the topic has been found */
    bool is_complete;  /* nothing of what was asked for is missing */
    bool is_live;      /* what was in Kafka at start has been read */
    bool is_enough;    /* a store behind it would say nothing else */
    int64_t behind;    /* records that a store has not, but memory has */
    int64_t oldest_ms; /* that is held; INT64_MAX: nothing is, or that says nothing */
    int64_t left_out;  /* keys past the bound */
};

/* How much of a topic has been read, as the reader's frames tell it. */
struct rows_extent {
    uint32_t epoch;
    bool is_live; /* what was in Kafka at start has been read */
    bool is_cut;  /* something was there before what has been read, or is missing from it */
};
/* A frame that is no record. True: the topic was made anew, nothing that is held is of it. */
bool rows_extent_apply(struct rows_extent *extent, const struct frame *frame);

/* A page ends only behind a key that a cursor can name, so it may be longer than was asked for. */
#define ROW_KEY_BYTES_MAX 512

void rows_view_free(struct rows_view *view);
void rows_free(struct rows *rows); /* a zeroed one is a no-op; leaves it empty */
void rows_add(struct rows *rows, const struct row_mark *mark, struct frame *frame);
void rows_pop(struct rows *rows); /* the last one */
/* Whether the last `count` rows can be a page. */
bool rows_page_is_full(const struct rows *rows, size_t count, size_t limit);
/* Sorts, and keeps the first page; whether rows were left off. */
bool rows_cut(struct rows *rows, const struct rows_query *query, sorted_compare *compare);

/* The first page of rows that come in any order: about two pages are held, however many come. */
struct rows_page {
    struct rows *rows;
    const struct rows_query *query;
    sorted_compare *compare;
    size_t first;  /* rows that are in order, and before all that was left off; 0: nothing was */
    size_t cut_at; /* rows */
    bool has_more;
};
struct rows_page rows_page_begin(struct rows *rows, const struct rows_query *query,
                                 sorted_compare *compare);
void rows_page_add(struct rows_page *page, const struct row_mark *mark, struct frame *frame);
void rows_page_trim(struct rows_page *page); /* after rows_add to its rows */
bool rows_page_end(struct rows_page *page);  /* as rows_cut */

int key_compare(struct strview a, struct strview b); /* by bytes; no key is below any */
/* Of marks, or of what begins with one. */
int row_compare_time(const void *a, const void *b);
int row_compare_key(const void *a, const void *b); /* by nothing else */
int row_compare_key_time(const void *a, const void *b);
int row_compare_place(const void *a, const void *b);

/* Keys, time and window. */
bool rows_query_takes(const struct rows_query *query, const struct row_mark *mark);
/* Whether the key is one before it, too: named twice, listed once. */
bool rows_query_is_again(const struct rows_query *query, size_t index);
/* Whether it comes after `past`. */
bool rows_query_is_past(const struct rows_query *query, const struct row_mark *mark,
                        sorted_compare *compare);
/* The partition's next offset; 0 when the position does not know it. */
int64_t rows_position_next(const struct cursor *position, int32_t partition);
