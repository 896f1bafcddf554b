#include "core/base64.h"

#include <stdint.h>

static const char letters[2][65] = {
    [BASE64_STANDARD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

/* 0 … 63, or -1. */
static int sextet(enum base64_alphabet alphabet, unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == (unsigned char)letters[alphabet][62]) {
        return 62;
    }
    return c == (unsigned char)letters[alphabet][63] ? 63 : -1;
}

/* Cuts the padding off; false when it is not what the alphabet wants. */
static bool padding_cut(enum base64_alphabet alphabet, struct strview *text)
{
    if (alphabet == BASE64_STANDARD) {
        if (text->len % 4) {
            return false;
        }
        for (int i = 0; i < 2 && text->len && text->ptr[text->len - 1] == '='; i++) {
            text->len--;
        }
    }
    return text->len % 4 != 1;
}

bool base64_decode(enum base64_alphabet alphabet, struct strview text, void *out, size_t out_bytes,
                   size_t *ret_bytes)
{
    if (!padding_cut(alphabet, &text) || text.len / 4 * 3 + text.len % 4 * 3 / 4 > out_bytes) {
        return false;
    }
    unsigned char *at = out;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int value = sextet(alphabet, (unsigned char)text.ptr[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *at++ = (unsigned char)(bits >> held);
        }
    }
    if (bits & ((1u << held) - 1)) {
        return false; /* a second text for the same bytes */
    }
    *ret_bytes = (size_t)(at - (unsigned char *)out);
    return true;
}

size_t base64_encode(enum base64_alphabet alphabet, const void *bytes, size_t count, char *out)
{
    const unsigned char *from = bytes;
    char *at = out;
    for (size_t i = 0; i < count; i += 3) {
        const size_t left = count - i;
        const uint32_t group = (uint32_t)from[i] << 16 |
                               (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                               (left > 2 ? from[i + 2] : 0);
        for (unsigned k = 0; k < 4; k++) {
            if (k <= left) { /* n bytes make n + 1 letters */
                *at++ = letters[alphabet][group >> (18 - 6 * k) & 63];
            } else if (alphabet == BASE64_STANDARD) {
                *at++ = '=';
            }
        }
    }
    *at = '\0';
    return (size_t)(at - out);
}
