/* rest_answer.h - one way to answer GET /latest, /history, /top and /aggregates.
 *
 * WHAT     reads the request, lets the endpoint find rows, takes those that pass the filter, lets the endpoint
 *          make something of them, and answers: as JSON, lines or CSV, 304 when If-None-Match has it
 *          already, or later, when it changes (wait=). What memory does not hold of a history is found
 *          at the desk (desk.h), and from there on answered as everything is.
 * FIELDS   Millrace-As-Of, -Lag, -Complete, -Next-Cursor say for lines and CSV what JSON says in its body.
 */
#pragma once

#include "fold.h"
#include "query.h"
#include "rest_page.h"

struct rest_call {
    struct http_request *http;
    const struct query *query;
    size_t topic;
    struct rest_request request; /* its rows' limit: how many are to be found … */
    size_t limit;                /* … for so many that are listed */
    struct json_pointer *by;     /* what is ranked by; may be NULL */
    struct json_scanner *scanner;
    struct selector_machine *selectors; /* borrowed */
    const struct desk_job *job; /* on the desk, which leaves `http` alone; NULL: on the loop */
};

struct rest_found {
    struct rows_view view;
    struct fold fold;
    bool is_folded;   /* the table is the fold, not the rows */
    bool has_windows; /* the rows are a history's */
    bool is_whole;    /* all of a topic: its position stands for it */
    int64_t skipped;  /* -1: says nothing */
    int64_t scanned;  /* rows that the filter has seen; -1: there is none */
    char next_cursor[REST_CURSOR_BYTES];
    bool is_elsewhere; /* memory does not hold it: to be found at the desk */
};

struct rest_endpoint {
    enum err (*find)(struct rest_call *call, struct rest_found *ret, struct err_info *info);
    void (*make)(const struct rest_call *call,
                 struct rest_found *found); /* NULL: rows are listed */
    bool is_descending;                     /* unless the request says */
    bool can_wait;
    size_t limit; /* unless the request says */
};

/* By time, or by key, as the request has it. ERR_NOT_READY: nothing is known of the topic yet. */
MUST_CHECK enum err rest_read_history(struct rest_call *call, struct rest_found *ret,
                                      struct err_info *info);
MUST_CHECK enum err rest_read_latest(struct rest_call *call, struct rest_found *ret,
                                     struct err_info *info);
MUST_CHECK enum err rest_require_known(const struct rest_call *call, const struct rest_found *found,
                                       struct err_info *info);

/* endpoint is static. */
void rest_handle(struct http_request *request, const struct rest_endpoint *endpoint);
