/* table.h - a reference table: the rows of a compacted topic or of a file, ready to be joined.
 *
 * WHAT     key → for each `join` that uses the table, the values it sets, found once per row and not
 *          once per event. A table with a `history` also knows what its rows were before.
 * RULES    1. The record's key is the row's key, byte for byte; value NULL deletes the row.
 *          2. A value that is not a usable row (not JSON, not an object, a member that a join sets
 *             is missing) deletes the row too and says so: a restart sees only the newest value of
 *             a compacted topic and must come to the same table.
 *          3. With a history a row is valid from its record's timestamp until the next one's of its
 *             key, in whatever order they come; of one timestamp the later record counts. What
 *             ended more than the history before the newest timestamp of the table is let go, and so
 *             is what is more than TABLE_VERSIONS_MAX changes old.
 * BOUNDS   rows_max of the pipeline file; a new row beyond it is refused with ERR_LIMIT.
 * OWNS     its rows.
 * THREADS  one owner: each worker thread has its own copies.
 * ERRORS   stream_table_apply: ERR_JSON_*, ERR_FIELD_MISSING, ERR_LIMIT; the table stays usable, the
 *          caller logs and counts.
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

#define TABLE_VERSIONS_MAX 1000 /* of a row */

struct pipeline;
struct stream_table;

void stream_table_free(struct stream_table *table); /* NULL is a no-op */
/* table: index among the pipeline's tables; one of a file is loaded with it. The pipeline must outlive
 * it. */
DEALLOC(stream_table_free)
struct stream_table *stream_table_new(const struct pipeline *pipeline, size_t table);
/* timestamp_ms: the record's. Only a table with a history looks at it. */
MUST_CHECK enum err stream_table_apply(struct stream_table *table, struct strview key,
                                       struct strview value, int64_t timestamp_ms,
                                       struct err_info *info);
size_t stream_table_rows(const struct stream_table *table);  /* that are there now */
size_t stream_table_bytes(const struct stream_table *table); /* memory held */
