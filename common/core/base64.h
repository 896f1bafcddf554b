/* base64.h - RFC 4648, strictly: one text for one run of bytes.
 *
 * WHAT     BASE64_STANDARD wants its padding, BASE64_URL takes none; no line breaks, no blanks; bits
 *          that no byte uses are zero. So no two texts decode to the same bytes.
 * COST     one pass, no allocation.
 * SOURCE   RFC 4648 §3.5, §4, §5; RFC 7515 §2.
 */
#pragma once

#include <stdbool.h>

#include "core/attributes.h"
#include "core/strview.h"

enum base64_alphabet { BASE64_STANDARD, BASE64_URL };

#define BASE64_DECODED_MAX(text_bytes) ((text_bytes) / 4 * 3 + 2)
/* With the NUL that base64_encode puts behind the text. */
#define BASE64_TEXT_BYTES(bytes) (((bytes) + 2) / 3 * 4 + 1)

/* False when it is not base64 or does not fit; *ret_bytes is written on success only. out may be
 * the text's own memory. */
MUST_CHECK bool base64_decode(enum base64_alphabet alphabet, struct strview text, void *out,
                              size_t out_bytes, size_t *ret_bytes);
/* The text's length; out has BASE64_TEXT_BYTES(bytes). */
size_t base64_encode(enum base64_alphabet alphabet, const void *bytes, size_t count, char *out);
