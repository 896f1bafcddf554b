/* json_escape.h - the escapes of JSON strings. Private to this room. */
#pragma once

#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

#define JSON_CHARACTER_BYTES 4

/* Position of the first escape that is not valid, or inner.len. `inner` is a string without its
 * quotes. A surrogate that is not half of a pair is not valid: it stands for no character, and no
 * UTF-8 can be made of it. */
size_t json_escapes_check(struct strview inner);

/* One character (a byte of UTF-8, or a whole decoded escape) from a checked string, which must not
 * be at its end; returns its bytes and moves `rest` on. */
size_t json_character_next(struct strview *rest, char out[JSON_CHARACTER_BYTES]);
