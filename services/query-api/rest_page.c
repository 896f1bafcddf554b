#include "rest_page.h"

size_t rest_page_cut(const struct rest_page *page, struct rows_view *view,
                     char ret_next_cursor[REST_CURSOR_BYTES])
{
    struct rows *rows = &view->rows;
    size_t kept = 0, looked = 0;
    struct row last = {0};
    for (bool is_full = false; looked < rows->count && !is_full; looked++) {
        last = rows->items[looked];
        if (filter_takes(page->filter, page->selectors, last.frame)) {
            rows->items[looked] = rows->items[kept]; /* both stay: each has a reference */
            rows->items[kept++] = last;
            /* Behind a key that a cursor can name. */
            is_full = kept >= page->limit && last.mark.key.len <= ROW_KEY_BYTES_MAX;
        }
    }
    view->has_more = view->has_more || looked < rows->count;
    ret_next_cursor[0] = '\0';
    if (view->has_more && looked > 0) {
        rest_cursor_format(&last.mark, page->is_descending, ret_next_cursor);
    }
    while (rows->count > kept) {
        rows_pop(rows);
    }
    return looked;
}
