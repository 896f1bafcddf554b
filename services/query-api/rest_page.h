/* rest_page.h - which of the rows that were found an answer lists, and where it ends. Pure.
 *
 * WHAT     those that pass the filter, in their order, up to a limit. A page ends behind the last row that was
 *          looked at, listed or not, and the next one begins there: it moves on past what does not pass, and
 *          may be short, even empty, with more to follow.
 * BOUNDS   all rows that were found are looked at, at most: who reads them bounds them
 *          (query.filter.scan.max).
 */
#pragma once

#include "rest_request.h"

struct rest_page {
    const struct filter *filter; /* NULL: all pass */
    struct selector_machine *selectors;
    size_t limit;
    bool is_descending;
};

/* Leaves what is listed; says in the view whether more follows, and then from where. Returns how many rows were
 * looked at. */
size_t rest_page_cut(const struct rest_page *page, struct rows_view *view,
                     char ret_next_cursor[REST_CURSOR_BYTES]);
