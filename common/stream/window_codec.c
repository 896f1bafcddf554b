#include "stream/window_codec.h"

#define VERSION    2
#define KEY_TAIL   12 /* start, sequence number */
#define VALUE_HEAD 13 /* version, layout, offset */

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

enum err window_encode_value(const struct aggregate *aggregate, const struct totals *totals,
                             uint32_t layout, int64_t next_offset, struct buf *out)
{
    enum err e = buf_reserve(out, VALUE_HEAD);
    if (e) {
        return e;
    }
    char *at = out->data + out->len;
    at = put(at, VERSION, 1);
    at = put(at, layout, 4);
    (void)put(at, (uint64_t)next_offset, 8); /* the end is known */
    out->len += VALUE_HEAD;
    return aggregate_pack(aggregate, totals, out);
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
    *ret_start_ms = (int64_t)take(&at, 8);
    return *ret_start_ms >= 0 ? ERR_OK : ERR_STATE;
}

enum err window_decode_value(struct strview record_value, uint32_t layout,
                             struct strview *ret_state, int64_t *ret_next_offset,
                             struct err_info *info)
{
    const char *at = record_value.ptr;
    if (record_value.len < VALUE_HEAD || take(&at, 1) != VERSION) {
        return err_set(info, ERR_STATE, "a changelog record that this release cannot read");
    }
    if ((uint32_t)take(&at, 4) != layout) {
        return err_set(info, ERR_STATE,
                       "the changelog is of other windows or aggregates: give the store another "
                       "name, or delete the changelog topic");
    }
    *ret_next_offset = (int64_t)take(&at, 8);
    *ret_state = sv_of(at, record_value.len - VALUE_HEAD);
    return ERR_OK;
}
