#include "stream/window_codec.h"

#define VERSION       1
#define KEY_TAIL      12 /* start, sequence number */
#define VALUE_HEAD    29 /* version, layout, time, offset, count */
#define DECIMAL_BYTES 16

__extension__ typedef unsigned __int128 uint128;
__extension__ typedef __int128 int128;

static char *put(char *at, uint128 value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(unsigned char)(value >> (8 * (bytes - 1 - i)));
    }
    return at + bytes;
}

static uint128 take(const char **at, size_t bytes)
{
    uint128 value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)(*at)[i];
    }
    *at += bytes;
    return value;
}

enum err window_encode_key(struct strview key, int64_t start_ms, struct buf *out)
{
    enum err e = buf_reserve(out, key.len + KEY_TAIL);
    if (e) {
        return e;
    }
    char *at = out->data + out->len;
    memcpy(at, key.ptr, key.len);
    at = put(at + key.len, (uint64_t)start_ms, 8);
    (void)put(at, 0, 4); /* the end is known */
    out->len += key.len + KEY_TAIL;
    return ERR_OK;
}

enum err window_encode_value(const struct totals *totals, size_t values, uint32_t layout,
                             int64_t next_offset, struct buf *out)
{
    size_t bytes = VALUE_HEAD + values * DECIMAL_BYTES;
    enum err e = buf_reserve(out, bytes);
    if (e) {
        return e;
    }
    char *at = out->data + out->len;
    at = put(at, VERSION, 1);
    at = put(at, layout, 4);
    at = put(at, (uint64_t)totals->timestamp_max_ms, 8);
    at = put(at, (uint64_t)next_offset, 8);
    at = put(at, (uint64_t)totals->count, 8);
    for (size_t i = 0; i < values; i++) {
        at = put(at, (uint128)totals->values[i].nano, DECIMAL_BYTES);
    }
    out->len += bytes;
    return ERR_OK;
}

enum err window_decode_key(struct strview record_key, struct strview *ret_key,
                           int64_t *ret_start_ms)
{
    if (!record_key.ptr || record_key.len <= KEY_TAIL) {
        return ERR_STATE;
    }
    size_t len = record_key.len - KEY_TAIL;
    const char *at = record_key.ptr + len;
    *ret_key = sv_of(record_key.ptr, len);
    *ret_start_ms = (int64_t)(uint64_t)take(&at, 8);
    return *ret_start_ms >= 0 ? ERR_OK : ERR_STATE;
}

enum err window_decode_value(struct strview record_value, size_t values, uint32_t layout,
                             struct totals *totals, int64_t *ret_next_offset, struct err_info *info)
{
    const char *at = record_value.ptr;
    if (record_value.len < 5 || take(&at, 1) != VERSION) {
        return err_set(info, ERR_STATE, "a changelog record that this release cannot read");
    }
    if ((uint32_t)take(&at, 4) != layout ||
        record_value.len != VALUE_HEAD + values * DECIMAL_BYTES) {
        return err_set(info, ERR_STATE,
                       "the changelog is of other windows or aggregates: give the store another "
                       "name, or delete the changelog topic");
    }
    totals->timestamp_max_ms = (int64_t)(uint64_t)take(&at, 8);
    *ret_next_offset = (int64_t)(uint64_t)take(&at, 8);
    totals->count = (int64_t)(uint64_t)take(&at, 8);
    for (size_t i = 0; i < values; i++) {
        totals->values[i].nano = (int128)take(&at, DECIMAL_BYTES);
    }
    return totals->count > 0 ? ERR_OK
                             : err_set(info, ERR_STATE, "a changelog record of an empty window");
}
