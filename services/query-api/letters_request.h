/* letters_request.h - what is asked of a topic of dead letters: which ones, how many, and what is to become
 * of them. The same names in a query and in a body. Pure.
 *
 * OWNS     the request has copies of its texts; the filter points to them.
 */
#pragma once

#include <jansson.h>

#include "core/err.h"
#include "replay/replay.h"

enum letters_param {
    LETTERS_CLASS,
    LETTERS_CODE,
    LETTERS_SOURCE,
    LETTERS_PIPELINE,
    LETTERS_STEP,
    LETTERS_KEY,
    LETTERS_HEADER,
    LETTERS_TEXT,
    LETTERS_FROM,
    LETTERS_TO,
    LETTERS_PARTITION,
    LETTERS_OFFSET,
    LETTERS_FILTERS, /* so far; what follows is either of a page … */
    LETTERS_WAITING = LETTERS_FILTERS,
    LETTERS_LIMIT,
    LETTERS_CURSOR,
    LETTERS_PAGE_END, /* … or of a replay */
    LETTERS_ACTION = LETTERS_PAGE_END,
    LETTERS_TARGET,
    LETTERS_COUNT,
    LETTERS_REPLAYS_MAX,
    LETTERS_PARAMS
};
extern const char *const letters_param_names[LETTERS_PARAMS];

#define LETTERS_LIMIT_MAX     500
#define LETTERS_LIMIT_DEFAULT 50
#define LETTERS_COUNT_MAX     100000
#define LETTERS_COUNT_DEFAULT 1000

struct letters_request {
    char *values[LETTERS_PARAMS]; /* NULL: not given */
    struct replay_filter filter;
    bool is_waiting; /* only those that are not dealt with */
    size_t limit;
    enum replay_action action;
    int64_t count, replays_max;
};

void letters_request_deinit(struct letters_request *request); /* a zeroed one is a no-op */
/* values: by enum letters_param, NULL for what was not sent. On an error, too, the caller deinits it.
 * ERR_REQUEST_PARAM names the parameter. */
MUST_CHECK enum err letters_request_parse(const char *const values[LETTERS_PARAMS],
                                          struct letters_request *ret, struct err_info *info);
/* A replay's body. What is not known is refused: it might have been meant to leave something out. */
MUST_CHECK enum err letters_request_of_body(struct strview body, struct letters_request *ret,
                                            struct err_info *info);
