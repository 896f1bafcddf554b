/* outcome.h - what a test expects after a line, beside what came out.
 *
 * RULES    1. Per topic in order; the order between topics says nothing.
 *          2. An expected record names what matters: members that it leaves out may be anything.
 *          3. Values compare as JSON: the order of members and white space say nothing.
 */
#pragma once

#include "core/buf.h"

struct outcome;

void outcome_free(struct outcome *outcome); /* NULL is a no-op */
DEALLOC(outcome_free) struct outcome *outcome_new(void);
/* Both are lines {"out": …}; copied. number: of the line in its file. */
MUST_CHECK enum err outcome_expect(struct outcome *outcome, struct strview line, size_t number,
                                   struct err_info *info);
void outcome_add(struct outcome *outcome, struct strview line);
/* Compares and forgets both; appends the differences, a line each, to `out`, and returns how many.
 * path and number are those of the line whose outcome it is. */
size_t outcome_settle(struct outcome *outcome, const char *path, size_t number, struct buf *out);
