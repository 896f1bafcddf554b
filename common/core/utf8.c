#include "core/utf8.h"

#include <stdint.h>

static int is_continuation(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Bytes that a first byte asks for; 0 for a byte that cannot be first. */
static size_t wanted_bytes(unsigned char first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return 2;
    }
    if ((first & 0xF0) == 0xE0) {
        return 3;
    }
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

/* The second byte rules out overlong forms, surrogates and what lies past U+10FFFF. */
static int is_second_allowed(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xE0:
        return second >= 0xA0;
    case 0xED:
        return second <= 0x9F;
    case 0xF0:
        return second >= 0x90;
    case 0xF4:
        return second <= 0x8F;
    default:
        return 1;
    }
}

size_t utf8_sequence_bytes(const char *text, size_t len)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t wanted = wanted_bytes(byte[0]);
    if (wanted == 0 || wanted > len) {
        return 0;
    }
    for (size_t i = 1; i < wanted; i++) {
        if (!is_continuation(byte[i])) {
            return 0;
        }
    }
    return wanted == 1 || is_second_allowed(byte[0], byte[1]) ? wanted : 0;
}

int utf8_is_cut(const char *text, size_t len)
{
    const unsigned char *byte = (const unsigned char *)text;
    for (size_t i = 1; i < len; i++) {
        if (!is_continuation(byte[i])) {
            return 0;
        }
    }
    return wanted_bytes(byte[0]) > len && (len == 1 || is_second_allowed(byte[0], byte[1]));
}

size_t utf8_valid_bytes(struct strview text)
{
    size_t at = 0;
    while (at < text.len) {
        size_t bytes = utf8_sequence_bytes(text.ptr + at, text.len - at);
        if (bytes == 0) {
            break;
        }
        at += bytes;
    }
    return at;
}

size_t utf8_length(struct strview text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += !is_continuation((unsigned char)text.ptr[i]);
    }
    return count;
}
