#include "json/json_escape.h"

#define HEX_ESCAPE_BYTES 6 /* \uXXXX */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The code unit of a \uXXXX at the front of `text`, or -1. */
static int32_t hex_escape(struct strview text)
{
    if (text.len < HEX_ESCAPE_BYTES || text.ptr[0] != '\\' || text.ptr[1] != 'u') {
        return -1;
    }
    int32_t unit = 0;
    for (size_t i = 2; i < HEX_ESCAPE_BYTES; i++) {
        int digit = hex_digit(text.ptr[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit)
{
    return (unit & 0xFC00) == 0xD800;
}

static bool is_low_surrogate(int32_t unit)
{
    return (unit & 0xFC00) == 0xDC00;
}

static struct strview sv_from(struct strview text, size_t at)
{
    return (struct strview){text.ptr + at, text.len - at};
}

/* What a one-letter escape stands for; NUL for a letter that is none. */
static char simple_escape(char letter)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *found = letter ? strchr(letters, letter) : NULL;
    return found ? meanings[found - letters] : '\0';
}

/* Bytes of the escape at the front of `text`; 0 when it is not valid. *ret_point is what it says.
 */
static size_t escape_decode(struct strview text, int32_t *ret_point)
{
    if (text.len >= 2 && text.ptr[1] != 'u') {
        *ret_point = simple_escape(text.ptr[1]);
        return *ret_point ? 2 : 0;
    }
    int32_t unit = hex_escape(text);
    if (unit < 0 || is_low_surrogate(unit)) {
        return 0;
    }
    *ret_point = unit;
    if (!is_high_surrogate(unit)) {
        return HEX_ESCAPE_BYTES;
    }
    int32_t low = hex_escape(sv_from(text, HEX_ESCAPE_BYTES));
    if (low < 0 || !is_low_surrogate(low)) {
        return 0;
    }
    *ret_point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    return (size_t)2 * HEX_ESCAPE_BYTES;
}

size_t json_escapes_check(struct strview inner)
{
    size_t at = 0;
    const char *backslash;
    while (at < inner.len && (backslash = memchr(inner.ptr + at, '\\', inner.len - at))) {
        at = (size_t)(backslash - inner.ptr);
        int32_t point;
        size_t bytes = escape_decode(sv_from(inner, at), &point);
        if (bytes == 0) {
            return at;
        }
        at += bytes;
    }
    return inner.len;
}

static size_t utf8_encode(int32_t point, char out[JSON_CHARACTER_BYTES])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t bytes = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = bytes - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    out[0] = (char)(marks[bytes] | point);
    return bytes;
}

size_t json_character_next(struct strview *rest, char out[JSON_CHARACTER_BYTES])
{
    if (rest->ptr[0] != '\\') {
        out[0] = rest->ptr[0];
        *rest = sv_from(*rest, 1);
        return 1;
    }
    int32_t point = 0;
    size_t bytes = escape_decode(*rest, &point);
    CHECK(bytes > 0); /* the scan let it pass */
    *rest = sv_from(*rest, bytes);
    return utf8_encode(point, out);
}
