#include "stream/changelog.h"

#include <assert.h>

#define VERSION    2
#define VALUE_HEAD 5 /* version, layout */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "values are written as they lie in memory");

uint32_t changelog_layout(uint32_t layout, const char *text)
{
    for (const char *at = text;; at++) { /* with its NUL: "ab", "c" is not "a", "bc" */
        layout = (layout ^ (unsigned char)*at) * 16777619U;
        if (!*at) {
            return layout;
        }
    }
}

static char *put(char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(unsigned char)(value >> (8 * (bytes - 1 - i)));
    }
    return at + bytes;
}

static uint64_t take(const char **at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)(*at)[i];
    }
    *at += bytes;
    return value;
}

/* Bytes behind the cell's key: those of the time and those of the minor. */
static const struct tail {
    size_t time, minor;
} TAILS[] = {[CHANGELOG_WINDOW] = {8, 4}, [CHANGELOG_SESSION] = {8, 8}};

static_assert(ARRAY_LEN(TAILS) == CHANGELOG_SESSION + 1, "every kind has a row");

enum err changelog_encode_key(enum changelog_kind kind, struct strview key, int64_t time_ms,
                              int64_t minor, struct buf *out)
{
    struct tail tail = TAILS[kind];
    enum err e = buf_reserve(out, key.len + tail.time + tail.minor);
    if (e) {
        return e;
    }
    char *at = out->data + out->len;
    memcpy(at, key.ptr, key.len);
    at = put(at + key.len, (uint64_t)time_ms, tail.time);
    (void)put(at, (uint64_t)minor, tail.minor); /* the end is known */
    out->len += key.len + tail.time + tail.minor;
    return ERR_OK;
}

enum err changelog_encode_value(const struct changelog_format *format, const int64_t *next_offsets,
                                struct strview bytes, struct buf *out)
{
    size_t head = VALUE_HEAD + format->inputs * 8;
    enum err e = buf_reserve(out, head + bytes.len);
    if (e) {
        return e;
    }
    char *at = out->data + out->len;
    at = put(at, VERSION, 1);
    at = put(at, format->layout, 4);
    for (unsigned i = 0; i < format->inputs; i++) {
        at = put(at, (uint64_t)next_offsets[i], 8);
    }
    if (bytes.len) {
        memcpy(at, bytes.ptr, bytes.len);
    }
    out->len += head + bytes.len;
    return ERR_OK;
}

enum err changelog_decode_key(enum changelog_kind kind, struct strview record_key,
                              struct strview *ret_key, int64_t *ret_time_ms, int64_t *ret_minor)
{
    struct tail tail = TAILS[kind];
    if (!record_key.ptr || record_key.len < tail.time + tail.minor) {
        return ERR_STATE;
    }
    size_t len = record_key.len - tail.time - tail.minor;
    const char *at = record_key.ptr + len;
    int64_t time_ms = (int64_t)take(&at, tail.time);
    int64_t minor = (int64_t)take(&at, tail.minor);
    if (time_ms < 0 || minor < 0) {
        return ERR_STATE;
    }
    *ret_key = sv_of(record_key.ptr, len);
    *ret_time_ms = time_ms;
    *ret_minor = minor;
    return ERR_OK;
}

enum err changelog_decode_value(const struct changelog_format *format, struct strview record_value,
                                int64_t *next_offsets, struct strview *ret_bytes,
                                struct err_info *info)
{
    const char *at = record_value.ptr;
    CHECK(format->inputs <= CHANGELOG_INPUTS_MAX);
    if (record_value.len < VALUE_HEAD || take(&at, 1) != VERSION) {
        return err_set(info, ERR_STATE, "a changelog record that this release cannot read");
    }
    size_t head = VALUE_HEAD + format->inputs * 8;
    if ((uint32_t)take(&at, 4) != format->layout || record_value.len < head) {
        return err_set(info, ERR_STATE,
                       "the changelog is of another step, or of this one before it was changed: "
                       "give the store another name, or delete the changelog topic");
    }
    for (unsigned i = 0; i < format->inputs; i++) {
        next_offsets[i] = (int64_t)take(&at, 8);
    }
    *ret_bytes = sv_of(record_value.ptr + head, record_value.len - head);
    return ERR_OK;
}
