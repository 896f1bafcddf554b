/* json_splice.h - members put into an object's text, the rest of its bytes as they were.
 *
 * WHAT     `{"a":1}` with `,"b":2,"c":"x"` becomes `{"a":1,"b":2,"c":"x"}`. A member that the
 * object already has under one of the given names is dropped first: readers differ on which of two
 *          equal names counts, so a producer could otherwise pass off its own value for ours.
 * BOUNDS   the out buffer's (ERR_LIMIT; then it is unchanged); at most 64 names.
 * THREADS  names are immutable after json_names_new.
 * COST     a compare of lengths per member, and one copy; no allocation once the buffer has grown.
 */
#pragma once

#include "core/buf.h"
#include "json/json_scan.h"

struct json_names;
void json_names_free(struct json_names *names); /* NULL is a no-op */
/* Copies the names; the characters, not their JSON form. */
DEALLOC(json_names_free)
struct json_names *json_names_new(const char *const *names, size_t count);

/* Appends the object at `object` with `members` before its closing brace. members: `,"b":2` with
 * the leading comma, or empty. names (may be NULL): what is dropped from the object. */
MUST_CHECK enum err json_splice(const struct json_doc *doc, uint32_t object,
                                const struct json_names *names, struct strview members,
                                struct buf *out);
