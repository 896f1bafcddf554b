/* history_sql.h - a history as PostgreSQL holds it: its tables, and questions to them. Pure.
 *
 * TABLES   millrace_history            a row a window or record
 *          millrace_history_topic      each making of a topic: a topic made anew is another one
 *          millrace_history_partition  the next offset to read, which is written together with rows
 *          millrace_history_schema     the version of these
 * ORDER    rows.h's, as an index: time_ms, key_order, end_ms, row_partition, row_offset. The last two are
 *          -1 for a window, which is one thing wherever its last update lies. key_order is empty
 *          where there is no key, else \x01 and the key, whose bytes compare as in memory. What an
 *          index can hold is bounded: of a key longer than ROW_KEY_BYTES_MAX it has the beginning and a hash.
 */
#pragma once

#include "pg.h"
#include "rows.h"

#define HISTORY_SQL_VERSION 1
extern const char history_sql_create[];

#define HISTORY_KEY_ORDER_BYTES (1 + ROW_KEY_BYTES_MAX + 16)
struct strview history_key_order(struct strview key, char room[static HISTORY_KEY_ORDER_BYTES]);

/* The parameters of history_sql_delete and history_sql_insert. */
extern const char history_sql_delete[], history_sql_insert[];
struct history_batch;
void history_sql_delete_params(const struct history_batch *batch, int64_t topic_id,
                               struct pg_params *params);
/* Without what is older than floor_ms. How many there are. */
size_t history_sql_insert_params(const struct history_batch *batch, int64_t topic_id,
                                 int64_t floor_ms, struct pg_params *params);

/* A question for up to `limit` rows, past query->past, of a resolved window. Without query->after, changes are not
 * asked for; else `ends` says which partitions there are. */
void history_sql_select(const struct rows_query *query, int64_t topic_id, size_t limit,
                        const struct cursor *ends, struct pg_params *params, struct buf *sql);
/* What each row of the answer has. */
enum history_column {
    HISTORY_TIME,
    HISTORY_END,
    HISTORY_KEY,
    HISTORY_PARTITION,
    HISTORY_OFFSET,
    HISTORY_TIMESTAMP,
    HISTORY_VALUE,
};
