/* json_index.h - where the values, braces, colons and commas of a JSON text are (simdjson's first
 * stage). Private to this room: json_scan.h is what others use.
 *
 * WHAT     one SIMD pass that checks UTF-8, finds every string's extent and leaves the positions of
 *          all `{ } [ ] : ,` outside strings and of the first byte of every scalar, in order, ended
 *          by the text's length. So a scalar is all bytes up to the next position, less white space
 *          at its end; whether it is a valid one is not looked at here.
 * BOUNDS   reads not one byte past the text; texts below 4 GiB.
 * OWNS     the positions, until the next run.
 * ERRORS   ERR_BODY_EMPTY (nothing but white space), ERR_JSON_ENCODING (not UTF-8), ERR_JSON_SYNTAX
 *          (a string without an end, or with a control character), ERR_LIMIT (no memory).
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

struct json_index;

struct json_positions {
    const uint32_t *at; /* at[count] is the text's length */
    uint32_t count;
};

void json_index_free(struct json_index *index); /* NULL is a no-op */
DEALLOC(json_index_free) struct json_index *json_index_new(void);
MUST_CHECK enum err json_index_run(struct json_index *index, struct strview text,
                                   struct json_positions *ret);
