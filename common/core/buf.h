/* buf.h - a growable run of bytes with a bound.
 *
 * WHAT     append bytes, text and numbers; keeps BUF_SLACK readable bytes past the end, which a
 *          SIMD scanner may read (their value does not matter).
 * BOUNDS   bytes_max from buf_init; past it an append fails with ERR_LIMIT and changes nothing.
 * OWNS     its memory; buf_view borrows until the next append or free.
 * THREADS  one owner.
 * COST     amortised O(1) a byte; no allocation after it reached its size (buf_reset keeps it).
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/attributes.h"
#include "core/err.h"
#include "core/strview.h"

#define BUF_SLACK 64

struct buf {
    char *data;
    size_t len;
    size_t capacity; /* without the slack */
    size_t bytes_max;
};

void buf_init(struct buf *buf, size_t bytes_max);
void buf_free(struct buf *buf); /* a zeroed one is a no-op; leaves it empty and usable */
static inline void buf_reset(struct buf *buf)
{
    buf->len = 0;
}
MUST_CHECK enum err buf_reserve(struct buf *buf,
                                size_t more); /* room for `more` bytes beyond len */
MUST_CHECK enum err buf_append_slowly(struct buf *buf, const void *bytes,
                                      size_t len); /* for buf_append */
/* Answers are made of a dozen of these: one that fits costs its copy. */
MUST_CHECK static inline enum err buf_append(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0 || len > buf->capacity - buf->len) {
        return buf_append_slowly(buf, bytes, len);
    }
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    return ERR_OK;
}
MUST_CHECK static inline enum err buf_append_view(struct buf *buf, struct strview view)
{
    return buf_append(buf, view.ptr, view.len);
}
MUST_CHECK PRINTF_LIKE(2, 3) enum err buf_printf(struct buf *buf, const char *format, ...);
MUST_CHECK enum err buf_append_int(struct buf *buf, int64_t value); /* decimal */
#define INT_TEXT_BYTES 20                                           /* a sign and 19 digits */
/* The same into room; a tenth of what snprintf costs. */
struct strview int_text(int64_t value, char room[static INT_TEXT_BYTES]);
/* A JSON string, quotes and escapes included; bytes that are not UTF-8 become U+FFFD. */
MUST_CHECK enum err buf_append_json_string(struct buf *buf, struct strview text);
static inline struct strview buf_view(const struct buf *buf)
{
    return (struct strview){buf->data, buf->len};
}
