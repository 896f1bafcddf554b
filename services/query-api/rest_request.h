/* rest_request.h - what a client asks of /latest, /history, /top and /aggregates: one set of parameters,
 * read in one place. Pure.
 *
 * CURSOR   where a page ended: the last row's mark, as base64url text. It holds no state of ours, so it is
 *          good after a restart and at any replica; of which order it is, it says.
 * OWNS     keys and the like are borrowed from the parameters; what is compiled of them is the request's.
 */
#pragma once

#include "filter.h"
#include "rows.h"

enum rest_param {
    REST_KEY,
    REST_KEYS,
    REST_PREFIX,
    REST_FILTER,
    REST_FROM,
    REST_TO,
    REST_WINDOW,
    REST_ORDER,
    REST_LIMIT,
    REST_CURSOR,
    REST_AFTER,
    REST_FORMAT,
    REST_FIELDS,
    REST_WAIT,
    REST_AGGREGATE,
    REST_FIELD,
    REST_WEIGHT,
    REST_BY,
    REST_N,
    REST_PARAM_COUNT
};
extern const char *const rest_param_names[REST_PARAM_COUNT];

enum rest_format { REST_JSON, REST_NDJSON, REST_CSV, REST_FORMAT_COUNT };
enum rest_aggregate { REST_NONE, REST_SUM, REST_AVG, REST_MIN, REST_MAX, REST_COUNT };
extern const char *const rest_aggregate_names[REST_COUNT + 1];

#define REST_FIELDS_MAX    64
#define REST_LIMIT_MAX     10000
#define REST_LIMIT_DEFAULT 100
#define REST_N_MAX         1000
#define REST_N_DEFAULT     10
#define REST_WAIT_MAX_MS   3600000
#define REST_TIME_MAX_MS   INT64_C(253402300799999) /* the year 9999 ends */
#define REST_CURSOR_BYTES  1024                     /* its text */

struct rest_request {
    struct rows_query rows;
    struct filter *filter;                /* NULL: every row */
    bool has_limit, has_order, has_range; /* said by the client */
    struct row_mark past;                 /* what rows.past points to, when there is a cursor */
    struct cursor after;                  /* and rows.after */
    char *text;                           /* what keys of a list and of the cursor lie in */
    int format;                           /* enum rest_format; -1: as Accept has it */
    struct json_pointer *fields[REST_FIELDS_MAX];
    size_t field_count;
    int64_t wait_ms;
    enum rest_aggregate aggregate;
    struct json_pointer *field, *weight; /* NULL: not given */
    const char *by;                      /* NULL: not given */
    size_t n;
};

void rest_request_deinit(struct rest_request *request); /* a zeroed one is a no-op */
/* values: by enum rest_param, NULL for what was not sent. topic is what `after` is a position of. On an
 * error, too, the caller deinits it. ERR_REQUEST_PARAM names the parameter; ERR_CURSOR: cursor, after. */
MUST_CHECK enum err rest_request_parse(const char *const values[REST_PARAM_COUNT],
                                       struct strview topic, struct rest_request *ret,
                                       struct err_info *info);
/* A field's name or JSON Pointer; text NULL: it is not there, which is an error. */
MUST_CHECK enum err rest_read_pointer(const char *param, const char *text,
                                      struct json_pointer **ret, struct err_info *info);
/* The text of a cursor behind the row. */
void rest_cursor_format(const struct row_mark *mark, bool is_descending,
                        char text[REST_CURSOR_BYTES]);
