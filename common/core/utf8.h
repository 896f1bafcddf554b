/* utf8.h - the one place that knows what valid UTF-8 is (RFC 3629: no overlongs, no surrogates). */
#pragma once

#include <stddef.h>

#include "core/strview.h"

/* Bytes of the valid sequence at `text` (1 … 4), or 0 when there is none. len > 0. */
size_t utf8_sequence_bytes(const char *text, size_t len);
/* Position of the first byte that is not part of valid UTF-8, or text.len. */
size_t utf8_valid_bytes(struct strview text);
/* Whether a valid sequence may begin with these bytes and is longer than they are: text that was cut
 * there is not wrong yet. len > 0. */
int utf8_is_cut(const char *text, size_t len);
/* Code points of valid UTF-8. */
size_t utf8_length(struct strview text);
