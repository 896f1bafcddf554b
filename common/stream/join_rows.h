/* join_rows.h - rows of two tables as one: {"left": …, "right": …}. Private to the files that join
 * tables.
 *
 * BOUNDS   a key JOIN_KEY_BYTES_MAX, a row JOIN_ROW_BYTES_MAX: what is joined fits into
 *          JOIN_RESULT_BYTES_MAX.
 */
#pragma once

#include "stream/builder.h"

#define JOIN_KEY_BYTES_MAX    4096
#define JOIN_ROW_BYTES_MAX    ((size_t)512 * 1024)
#define JOIN_RESULT_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define JOIN_STORE_BYTES_MAX  (4UL << 30) /* default of bytes_max */

enum join_row { ROW_LEFT, ROW_RIGHT, ROW_SIDES };

struct join_rows {
    bool needs[ROW_SIDES];     /* the row is there only if this side has one */
    char *prefixes[ROW_SIDES]; /* `{"left":`, `,"right":` */
};

void join_rows_free(struct join_rows *rows); /* frees what it holds, not itself */
/* The step's members "type" and "as". types: inner, left, right and outer, or the first of these. */
void join_rows_compile(const struct spec *spec, const char *const *types, struct join_rows *rows);
/* Whether the segment that is compiled into has a table's changes; an error if not. */
bool join_rows_check_table(const struct program_builder *builder, const struct spec *at);
/* Whether the change has a key, and a row that is not too large; else a step_reject. */
bool join_rows_take(struct step_run *run);
/* The joined row; ptr NULL: a side has none. *ret_is_there: there is one. */
MUST_CHECK enum err join_rows_render(const struct join_rows *rows, struct strview left,
                                     struct strview right, struct buf *out, bool *ret_is_there);
