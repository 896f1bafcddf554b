#include "kafka/kafka_records.h"

#include <string.h>

#include "core/attributes.h"

#define VARINT_BYTES_MAX 10
#define FIXED_BYTES_MAX                                                                            \
    (1 + 6 * VARINT_BYTES_MAX) /* attributes; lengths, deltas, headers' number */

/* --- varints: zigzag, seven bits a byte, the lowest first ------------------------------------------------ */

static uint64_t zigzag(int64_t number)
{
    return ((uint64_t)number << 1) ^ (uint64_t)(number >> 63);
}

static size_t varint_bytes(int64_t number)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(zigzag(number) | 1);
    return (bits + 6) / 7;
}

static char *varint_put(char *at, int64_t number)
{
    uint64_t left = zigzag(number);
    for (; left >= 0x80; left >>= 7) {
        *at++ = (char)(left | 0x80);
    }
    *at++ = (char)left;
    return at;
}

/* --- a record ----------------------------------------------------------------------------------------------- */

static int64_t length_of(struct strview view)
{
    return view.ptr ? (int64_t)view.len : -1;
}

static size_t view_bytes(struct strview view)
{
    return varint_bytes(length_of(view)) + (view.ptr ? view.len : 0);
}

static char *view_put(char *at, struct strview view)
{
    at = varint_put(at, length_of(view));
    if (view.ptr && view.len) {
        memcpy(at, view.ptr, view.len);
        at += view.len;
    }
    return at;
}

static size_t headers_bytes(const struct kafka_record *record)
{
    size_t bytes = 0;
    for (size_t i = 0; i < record->header_count; i++) {
        bytes += view_bytes(sv(record->headers[i].name)) + view_bytes(record->headers[i].value);
    }
    return bytes;
}

size_t kafka_record_bytes_max(const struct kafka_record *record)
{
    return FIXED_BYTES_MAX + record->key.len + record->value.len + headers_bytes(record);
}

static char *headers_put(char *at, const struct kafka_record *record)
{
    at = varint_put(at, (int64_t)record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        at = view_put(view_put(at, sv(record->headers[i].name)), record->headers[i].value);
    }
    return at;
}

void kafka_records_add(struct kafka_records *records, const struct kafka_record *record)
{
    if (records->count == 0) {
        records->first_timestamp_ms = records->max_timestamp_ms = record->timestamp_ms;
    } else if (record->timestamp_ms > records->max_timestamp_ms) {
        records->max_timestamp_ms = record->timestamp_ms;
    }
    const int64_t delta_ms = record->timestamp_ms - records->first_timestamp_ms;
    size_t length = 1 + varint_bytes(delta_ms) + varint_bytes(records->count) +
                    view_bytes(record->key) + view_bytes(record->value) +
                    varint_bytes((int64_t)record->header_count) + headers_bytes(record);
    char *at = varint_put(records->bytes + records->size, (int64_t)length);
    const char *body = at;
    *at++ = 0; /* attributes: there are none */
    at = varint_put(varint_put(at, delta_ms), records->count);
    at = view_put(view_put(at, record->key), record->value);
    at = headers_put(at, record);
    CHECK((size_t)(at - body) == length);
    records->size = (size_t)(at - records->bytes);
    records->count++;
}

/* --- reading, what was written here ---------------------------------------------------------------------- */

static char *varint_get(char *at, int64_t *ret)
{
    uint64_t number = 0;
    unsigned shift = 0;
    for (; *at & 0x80; shift += 7) {
        number |= (uint64_t)(*at++ & 0x7f) << shift;
    }
    number |= (uint64_t)*at++ << shift;
    *ret = (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
    return at;
}

static char *view_get(char *at, struct strview *ret)
{
    int64_t length;
    at = varint_get(at, &length);
    *ret = length < 0 ? (struct strview){NULL, 0} : (struct strview){at, (size_t)length};
    return at + ret->len;
}

static char *header_get(char *at, struct kafka_header *ret)
{
    struct strview name;
    char *end = view_get(at, &name);
    at = view_get(end, &ret->value);
    ret->name = name.ptr;
    *end = '\0'; /* the value's length, which has been read */
    return at;
}

bool kafka_records_read(struct kafka_records_reader *reader, struct kafka_record *ret)
{
    const struct kafka_records *records = reader->records;
    if (reader->at >= records->size) {
        return false;
    }
    int64_t length, delta_ms, index, header_count;
    char *at = varint_get(records->bytes + reader->at, &length) + 1;
    at = varint_get(varint_get(at, &delta_ms), &index);
    *ret = (struct kafka_record){.partition = -1,
                                 .timestamp_ms = records->first_timestamp_ms + delta_ms,
                                 .headers = reader->headers};
    at = varint_get(view_get(view_get(at, &ret->key), &ret->value), &header_count);
    for (int64_t i = 0; i < header_count; i++) {
        struct kafka_header header;
        at = header_get(at, &header);
        if (ret->header_count < KAFKA_HEADERS_MAX) {
            reader->headers[ret->header_count++] = header;
        }
    }
    reader->at = (size_t)(at - records->bytes);
    return true;
}
