#include "once_record.h"

#include <endian.h>

#define FLAG_DOUBTFUL 1

static void put_u64(char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint64_t get_u64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

enum err once_record_write(const struct once_record *record, struct buf *out)
{
    char head[ONCE_RECORD_HEAD_BYTES] = {ONCE_RECORD_VERSION, (char)record->kind,
                                         record->is_doubtful ? FLAG_DOUBTFUL : 0};
    memcpy(head + 4, record->fingerprint, ONCE_FINGERPRINT_BYTES);
    put_u64(head + 20, record->owner);
    put_u64(head + 28, record->number);
    put_u64(head + 36, (uint64_t)record->after);
    put_u64(head + 44, (uint64_t)record->claim);
    put_u64(head + 52, (uint64_t)record->first_ms);
    put_u64(head + 60, (uint64_t)record->lease_ms);
    const enum err e = buf_append(out, head, sizeof head);
    return e ? e : buf_append_view(out, record->outcome);
}

bool once_record_read(struct strview key, struct strview value, struct once_record *ret)
{
    const char *at = value.ptr;
    if (!key.len || value.len < ONCE_RECORD_HEAD_BYTES || at[0] != ONCE_RECORD_VERSION ||
        (unsigned char)at[1] >= ONCE_KINDS) {
        return false;
    }
    *ret = (struct once_record){
        .kind = (enum once_kind)at[1],
        .key = key,
        .is_doubtful = at[2] & FLAG_DOUBTFUL,
        .owner = get_u64(at + 20),
        .number = get_u64(at + 28),
        .after = (int64_t)get_u64(at + 36),
        .claim = (int64_t)get_u64(at + 44),
        .first_ms = (int64_t)get_u64(at + 52),
        .lease_ms = (int64_t)get_u64(at + 60),
        .outcome = {at + ONCE_RECORD_HEAD_BYTES, value.len - ONCE_RECORD_HEAD_BYTES},
    };
    memcpy(ret->fingerprint, at + 4, ONCE_FINGERPRINT_BYTES);
    return ret->lease_ms >= 0 && ret->lease_ms <= (int64_t)1 << 40; /* added to a clock */
}
