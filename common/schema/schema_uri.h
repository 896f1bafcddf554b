/* schema_uri.h - URI references resolved against a base (RFC 3986 §5.2). Private to this room.
 *
 * BOUNDS   a result of at most URI_BYTES_MAX bytes; what would be longer is refused.
 * ERRORS   none but length: a reference that is no URI is taken as the path it looks like, and then
 *          names nothing.
 */
#pragma once

#include "core/attributes.h"
#include "core/strview.h"

#define URI_BYTES_MAX 2048

struct uri_text {
    size_t len;
    char text[URI_BYTES_MAX];
};

/* Into *ret, fragment included; false: too long. */
MUST_CHECK bool uri_resolve(struct strview base, struct strview reference, struct uri_text *ret);
/* What stands before the '#', and what stands behind it (len 0 also when there is none). */
struct strview uri_without_fragment(struct strview uri);
struct strview uri_fragment(struct strview uri);
/* Decodes %XX into out, which may be where text is; returns the length. A '%' without two hex
 * digits stays. */
size_t uri_decode(struct strview text, char *out);
