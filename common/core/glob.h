/* glob.h - names against patterns: * is any run of bytes, ? any one byte, the rest stands for itself.
 *
 * COST     at most pattern × text steps, whatever the pattern: it may come from outside.
 */
#pragma once

#include <stdbool.h>

#include "core/strview.h"

static inline bool glob_match(struct strview pattern, struct strview text)
{
    size_t p = 0, t = 0;
    size_t star = pattern.len, resume = 0; /* the last *, and where what it stands for ends */
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star < pattern.len) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}
