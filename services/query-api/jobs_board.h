/* jobs_board.h - what workers have told of themselves, and what follows from it.
 *
 * WHAT     the newest record of each key of the status topic (docs/jobs.md); from them a row a
 *          pipeline, worst first, or everything of one pipeline. An instance that has been silent for
 *          JOBS_BEATS_LOST of its intervals is lost; its tasks count as nobody's, unless others have
 *          them. What another run of the same instance has left is not looked at.
 * BOUNDS   records_max keys, and bytes_max of their values as text; what does not fit is left out and
 *          counted. A record that is silent for keep_ms is forgotten.
 * UNITS    *_ms: Unix epoch milliseconds by this process' clock.
 * OWNS     the answers are new references, but share what they are made of with the board.
 * THREADS  one at a time, answers included until they are freed: jobs.c has the lock.
 */
#pragma once

#include <jansson.h>

#include "core/err.h"
#include "core/strview.h"

#define JOBS_BEATS_LOST 5
#define JOBS_NEAR_MAX   5

struct jobs_board;

struct jobs_limits {
    int64_t records_max, bytes_max, keep_ms;
};

void jobs_board_free(struct jobs_board *board); /* NULL is a no-op */
DEALLOC(jobs_board_free) struct jobs_board *jobs_board_new(struct jobs_limits limits);
/* A record: value ptr NULL deletes. heard_ms: when its worker was last heard. What is no status is
 * passed over. */
void jobs_board_take(struct jobs_board *board, struct strview key, struct strview value,
                     int64_t heard_ms);
/* What has been silent for too long. */
void jobs_board_forget(struct jobs_board *board, int64_t now_ms);
size_t jobs_board_count(const struct jobs_board *board);     /* records */
int64_t jobs_board_left_out(const struct jobs_board *board); /* records that did not fit */

/* An array: a row a pipeline, worst first. now_ms: when Kafka was last heard. */
json_t *jobs_board_list(const struct jobs_board *board, int64_t now_ms);
/* An object: the row, with topology, instances, tasks and errors; NULL: nobody has told of it. */
json_t *jobs_board_show(const struct jobs_board *board, const char *pipeline, int64_t now_ms);
/* An array of names that one may have meant: those that are alike, otherwise the first ones. */
json_t *jobs_board_near(const struct jobs_board *board, const char *pipeline);
