/* schema_value.h - whether two JSON values are the same. Private to this room.
 *
 * WHAT     numbers by value (1.0 is 1), strings decoded, arrays in order, objects in any order.
 *          Objects are compared as the members that stand there: one that repeats a name is equal
 *          only to one that does so too, in the same way.
 * COST     the hash first: what differs is mostly seen without a second look. Each node that is
 *          looked at is spent from the checker's steps, so that hostile values end.
 */
#pragma once

#include "schema/schema_checker.h"

/* The same for equal values. */
uint64_t value_hash(struct schema_checker *c, const struct json_doc *doc, uint32_t index);
/* Of values whose hashes are equal. */
bool value_equal(struct schema_checker *c, const struct json_doc *a, uint32_t at_a,
                 const struct json_doc *b, uint32_t at_b);
/* Position of the first item of an array that is equal to an earlier one, or UINT32_MAX. */
uint32_t value_repeated(struct schema_checker *c, uint32_t array);
