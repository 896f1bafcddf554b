/* rest_text.h - answers of /latest, /history, /top and /aggregates as JSON, lines or CSV. Pure.
 *
 * WHAT     a table (rows of records, or groups of an aggregate) and what is said of it. JSON has both; lines
 *          and CSV have the table only, the rest goes out as header fields (rest_answer.h).
 * CSV      the columns depend on what is asked for, never on what is found: a row of their names is always
 *          there.
 * BOUNDS   REST_BODY_BYTES_MAX; past it ERR_LIMIT.
 */
#pragma once

#include "rest_request.h"

#define REST_BODY_BYTES_MAX ((size_t)1 << 30)

struct rest_table {
    size_t count;
    const void *context;
    enum err (*append_json)(struct buf *out, const void *context, size_t index); /* on one line */
    enum err (*append_csv_head)(struct buf *out, const void *context);
    enum err (*append_csv)(struct buf *out, const void *context, size_t index);
};

struct rest_head {
    bool is_complete;
    int64_t as_of_ms, lag;
    int64_t left_out;  /* keys; 0: not said */
    int64_t oldest_ms; /* INT64_MAX: not said */
    int64_t skipped;   /* rows without the number asked for; -1: not said */
    int64_t scanned;   /* rows that a filter has seen; -1: not said */
    struct strview cursor;
    const char *next_cursor; /* "": there is no more */
};

/* The table of records. */
struct rest_rows {
    const struct rows *rows;
    struct json_scanner *scanner;
    struct json_pointer *const *fields; /* in place of the value */
    size_t field_count;
    bool has_windows; /* whose start and end are told */
};
struct rest_table rest_rows_table(const struct rest_rows *rows);

MUST_CHECK enum err rest_append_body(struct buf *out, enum rest_format format,
                                     const struct rest_head *head, const struct rest_table *table);
