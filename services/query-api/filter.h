/* filter.h - which records of its topics a client wants: by key, by their fields, or both.
 *
 * A record that is not wanted moves the client's position all the same. Deletions are passed by key
 * alone: they have no fields, and the record that they delete may have been wanted. Gaps are not
 * records: everybody is told of them.
 */
#pragma once

#include "frame.h"
#include "stream/selector.h"

struct filter;

void filter_free(struct filter *filter); /* NULL is a no-op */
/* key and text are NULL when not asked for. ERR_REQUEST_PARAM: text is no expression. */
MUST_CHECK enum err filter_new(const char *key, const char *text, struct filter **ret,
                               struct err_info *info);
/* filter NULL: everything. */
bool filter_takes(const struct filter *filter, struct selector_machine *machine,
                  const struct frame *frame);
