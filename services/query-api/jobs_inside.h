/* jobs_inside.h - between jobs_board.c, which keeps the records, and jobs_view.c, which reads them. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#define JOBS_WHOLE (-1) /* the record is of the worker, not of one of its threads */

struct jobs_record {
    json_t *value;
    const char *pipeline, *instance; /* in value */
    int64_t thread, run;
    int64_t heard_ms;
    size_t bytes; /* of the text */
};

enum jobs_state { /* from well to worst */
                  JOBS_OK,
                  JOBS_PAUSED,
                  JOBS_RESTORING,
                  JOBS_DEGRADED,
                  JOBS_DOWN,
};

struct jobs_row {
    const char *pipeline;
    enum jobs_state state;
    int64_t lag, lag_ms;
    json_t *json; /* a new reference */
};

/* Of one pipeline, sorted by instance and thread, the worker's own record first. */
void jobs_row_make(const struct jobs_record *const *records, size_t count, int64_t now_ms,
                   struct jobs_row *ret);
json_t *jobs_detail_make(const struct jobs_record *const *records, size_t count, int64_t now_ms);
