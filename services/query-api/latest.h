/* latest.h - the last value of each key of a topic.
 *
 * BOUNDS   keys_max; past it new keys are left out, and counted in what is told.
 * OWNS     references to frames.
 * THREADS  written by the reader, once a run of records; read by HTTP threads. A mutex a topic, held
 *          for as long as it takes to copy references, never while an answer is made.
 */
#pragma once

#include "rows.h"

struct latest;

struct latest_view {
    struct frame **frames; /* each a reference; by key's first appearance */
    size_t count;
    struct buf cursor; /* the topic's position that they stand for */
    int64_t left_out;  /* keys past keys_max */
    bool is_known;     /* the topic has been found */
};

void latest_free(struct latest *latest); /* NULL is a no-op */
DEALLOC(latest_free) struct latest *latest_new(size_t keys_max);
/* A run of records in order, and the position after them. */
void latest_apply(struct latest *latest, struct frame *const *frames, size_t count,
                  struct strview cursor);
/* The topic was made anew: nothing of it is known. */
void latest_clear(struct latest *latest);
size_t latest_count(struct latest *latest);
/* key ptr NULL: all keys. */
void latest_read(struct latest *latest, struct strview key, struct latest_view *ret);
/* The same as rows by key, of those asked for; a row's time is its record's. The sorting, O(n log n), is
 * done outside the lock. */
void latest_rows(struct latest *latest, const struct rows_query *query, struct rows_view *ret);
void latest_view_free(struct latest_view *view);
