/* cursor.h - where a reader of streams is: the next offset of every partition, as text.
 *
 * TEXT     "orders~0=123,1=456,e=9f3a61c2;products~0=9": offsets are the next to read, `e` is the
 *          topic's epoch: another one when the topic was deleted and created again. Only characters that a
 *          browser may send cross-origin in Last-Event-ID without a preflight. KafkaSSE's JSON,
 *          [{"topic":…,"partition":…,"offset":…}], is read too, never written; there a position
 *          may be a "timestamp" in epoch milliseconds, when it has no offset.
 * BOUNDS   CURSOR_BYTES_MAX of text, so at most a quarter as many positions.
 * ERRORS   ERR_CURSOR says what is wrong and where; nothing of a wrong cursor is used.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/strview.h"

#define CURSOR_BYTES_MAX       (4 << 20) /* 100,000 partitions */
#define CURSOR_TOPIC_BYTES_MAX 249       /* Kafka's own bound on a topic's name */

/* Positions that are not known as offsets yet are negative. */
#define CURSOR_LATEST   (-1)
#define CURSOR_EARLIEST (-2)
#define CURSOR_TIME_MAX (INT64_MAX / 2)
/* Where the first record of that time (ms ≥ 0) or later is. */
static inline int64_t cursor_of_time(int64_t ms)
{
    return -16 - ms;
}
static inline bool cursor_is_time(int64_t next)
{
    return next <= -16;
}
static inline int64_t cursor_time(int64_t next)
{
    return -16 - next;
}

struct cursor_position {
    uint32_t topic; /* index into the topics given to cursor_parse */
    int32_t partition;
    int64_t next; /* ≥ 0, CURSOR_LATEST (KafkaSSE's -1), or a time */
};

struct cursor {
    struct cursor_position *positions;
    size_t count, capacity;
    uint32_t *epochs; /* by topic; 0: not said. NULL: nowhere */
    size_t left_out;  /* positions of other topics */
};

void cursor_free(struct cursor *cursor); /* a zeroed one is a no-op; leaves it empty */
void cursor_add(struct cursor *cursor, const struct cursor_position *position);
/* Positions of topics that are not among `topics` are checked and left out. */
MUST_CHECK enum err cursor_parse(struct strview text, const struct strview *topics,
                                 size_t topic_count, struct cursor *ret, struct err_info *info);
/* Appends one topic's part, without an epoch if it is 0; the caller puts ';' between topics. */
void cursor_append(struct buf *out, struct strview topic, const int64_t *next, int32_t count,
                   uint32_t epoch);
