#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *buf, size_t bytes_max)
{
    *buf = (struct buf){.bytes_max = bytes_max};
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.bytes_max = buf->bytes_max};
}

enum err buf_reserve(struct buf *buf, size_t more)
{
    size_t wanted;
    if (__builtin_add_overflow(buf->len, more, &wanted) || wanted > buf->bytes_max) {
        return ERR_LIMIT;
    }
    if (wanted <= buf->capacity && buf->data) {
        return ERR_OK;
    }
    size_t capacity = buf->capacity ? buf->capacity : BUF_FIRST_BYTES;
    while (capacity < wanted) {
        capacity *= 2; /* below bytes_max × 2: cannot overflow for any bound we use */
    }
    if (capacity > buf->bytes_max) {
        capacity = buf->bytes_max;
    }
    buf->data = must_realloc(buf->data, capacity + BUF_SLACK);
    buf->capacity = capacity;
    return ERR_OK;
}

enum err buf_append_slowly(struct buf *buf, const void *bytes, size_t len)
{
    enum err e = buf_reserve(buf, len);
    if (!e && len) {
        memcpy(buf->data + buf->len, bytes, len);
        buf->len += len;
    }
    return e;
}

enum err buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    enum err e = buf_reserve(buf, (size_t)length);
    if (e) {
        return e;
    }
    /* The NUL that vsnprintf adds falls into the slack. */
    va_start(arguments, format);
    (void)vsnprintf(buf->data + buf->len, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buf->len += (size_t)length;
    return ERR_OK;
}

struct strview int_text(int64_t value, char room[static INT_TEXT_BYTES])
{
    char *const end = room + INT_TEXT_BYTES, *at = end;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) {
        *--at = '-';
    }
    return (struct strview){at, (size_t)(end - at)};
}

enum err buf_append_int(struct buf *buf, int64_t value)
{
    char room[INT_TEXT_BYTES];
    return buf_append_view(buf, int_text(value, room));
}

/* The short escape of a byte that JSON does not take as it is; 0 when it has none. */
static char json_short_escape(unsigned char byte)
{
    switch (byte) {
    case '"':
    case '\\':
        return (char)byte;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static enum err append_json_escape(struct buf *buf, unsigned char byte)
{
    char escape = json_short_escape(byte);
    if (escape) {
        return buf_append(buf, (char[]){'\\', escape}, 2);
    }
    return buf_printf(buf, "\\u%04x", byte);
}

static bool is_json_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static enum err append_json_chars(struct buf *buf, struct strview text)
{
    size_t at = 0;
    while (at < text.len) {
        size_t run = at;
        while (run < text.len && is_json_plain((unsigned char)text.ptr[run])) {
            run++;
        }
        enum err e = buf_append(buf, text.ptr + at, run - at);
        at = run;
        if (e || at == text.len) {
            return e;
        }
        if ((unsigned char)text.ptr[at] < 0x80) {
            e = append_json_escape(buf, (unsigned char)text.ptr[at]);
            at++;
        } else {
            size_t bytes = utf8_sequence_bytes(text.ptr + at, text.len - at);
            e = bytes ? buf_append(buf, text.ptr + at, bytes) : buf_append(buf, "\xEF\xBF\xBD", 3);
            at += bytes ? bytes : 1;
        }
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

enum err buf_append_json_string(struct buf *buf, struct strview text)
{
    size_t before = buf->len;
    enum err e = buf_append(buf, "\"", 1);
    if (!e) {
        e = append_json_chars(buf, text);
    }
    if (!e) {
        e = buf_append(buf, "\"", 1);
    }
    if (e) {
        buf->len = before; /* an append that fails changes nothing */
    }
    return e;
}
