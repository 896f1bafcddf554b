/* history.h - the records of a topic by time, as far back as a bound in memory reaches.
 *
 * WHAT     a window's result (a value with the fields that say when its window begins and ends) is one
 *          thing: an update takes the place of what was known of the same key and window. Any other
 *          record stands for itself. A tombstone takes away all that is held of its key, as it
 *          will be from Kafka. A topic made anew begins empty.
 * BOUNDS   bytes_max, frames and all; age_max_ms by the wall clock. Past either the oldest go, and are
 *          counted. From then on nothing older than what went is taken in: what is held has no
 *          holes, and what is asked for is either all there or said not to be (is_complete).
 * KEPT     with a store behind it (history_store.h), what is held is the newer part of what is kept: an
 *          answer that this part gives whole is given from it (is_enough), and says of itself what the
 *          store would say.
 * OWNS     references to frames.
 * THREADS  written by the reader, once a run of records; read by HTTP threads. A mutex, held for as
 *          long as it takes to copy the references of a page. Values are looked into outside of it.
 * COST     bench/micro/bench_history.c. A record: a scan of its JSON and a few searches, O(log n). A page:
 *          O(log n + rows), times the keys when some are named. A prefix is looked for among all rows of
 *          the time, about 45 ns each. Changes after a position: O(log n + changes), and the references of
 *          two pages.
 */
#pragma once

#include "rows.h"

struct history;

struct history_config {
    const char *window_start, *window_end; /* fields, as names or JSON Pointers */
    int64_t bytes_max;
    int64_t age_max_ms; /* 0: no bound */
    bool is_kept;       /* a store is behind it */
};

/* What the store keeps of the topic. */
struct history_kept {
    uint32_t epoch; /* the reader's topic, which this is said of … */
    size_t partition_count;
    int64_t before_ms; /* what lies before where the reader began has no row later than this */
    int64_t oldest_ms; /* INT64_MAX: there is none */
    int64_t floor_ms;  /* below it nothing is kept, and at it perhaps not all */
    bool is_cut;       /* something was there before what was read, or is missing from it */
};

struct history_stats {
    size_t rows, bytes;
    int64_t evicted; /* also what came too late to be taken in */
};

void history_free(struct history *history); /* NULL is a no-op */
/* ERR_CONFIG: a field is no JSON Pointer. */
MUST_CHECK enum err history_new(const struct history_config *config, struct history **ret,
                                struct err_info *info);
/* A run of frames in order, of any kind, and the position after them. */
void history_apply(struct history *history, struct frame *const *frames, size_t count,
                   struct strview cursor, int64_t now_ms);
void history_expire(struct history *history, int64_t now_ms);
struct history_stats history_stats(struct history *history);

/* Where the reader began, by partition. 0: not known yet; else how many there are: more than `max` are not
 * written. */
size_t history_starts(struct history *history, uint32_t *ret_epoch, int64_t *starts, size_t max);
/* Of another topic, or of other partitions: ignored. */
void history_note_kept(struct history *history, const struct history_kept *kept);

void history_read(struct history *history, const struct rows_query *query, struct rows_view *ret);
