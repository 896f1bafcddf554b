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
        bytes += view_bytes(record->headers[i].name) + view_bytes(record->headers[i].value);
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
        at = view_put(view_put(at, record->headers[i].name), record->headers[i].value);
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

/* --- reading ------------------------------------------------------------------------------------------------- */

struct cursor {
    const char *at, *end;
};

static bool varint_get_long(struct cursor *cursor, int64_t *ret)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 7 * VARINT_BYTES_MAX && cursor->at < cursor->end; shift += 7) {
        unsigned char byte = (unsigned char)*cursor->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
            return true;
        }
    }
    return false;
}

/* Nearly all are of one byte or two. */
static inline bool varint_get(struct cursor *cursor, int64_t *ret)
{
    if (cursor->at < cursor->end && (unsigned char)*cursor->at < 0x80) {
        unsigned number = (unsigned char)*cursor->at++;
        *ret = (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
        return true;
    }
    return varint_get_long(cursor, ret);
}

static inline bool view_get(struct cursor *cursor, struct strview *ret)
{
    int64_t length;
    if (!varint_get(cursor, &length) || length < -1 || length > cursor->end - cursor->at) {
        return false;
    }
    *ret = length < 0 ? (struct strview){NULL, 0} : (struct strview){cursor->at, (size_t)length};
    cursor->at += ret->len;
    return true;
}

static bool header_get(struct cursor *cursor, struct kafka_header *ret)
{
    return view_get(cursor, &ret->name) && ret->name.ptr && view_get(cursor, &ret->value);
}

/* All that is left. */
static bool headers_get(struct cursor *cursor, struct kafka_record_view *ret)
{
    int64_t count;
    if (!varint_get(cursor, &count) || count < 0) {
        return false;
    }
    ret->header_count = (size_t)count;
    ret->headers = (struct strview){cursor->at, (size_t)(cursor->end - cursor->at)};
    for (; count > 0; count--) { /* each takes two bytes at least: a count too high ends it soon */
        struct kafka_header header;
        if (!header_get(cursor, &header)) {
            return false;
        }
    }
    return cursor->at == cursor->end;
}

bool kafka_record_read(struct strview *left, struct kafka_record_view *ret)
{
    struct cursor cursor = {left->ptr, left->ptr + left->len};
    struct strview body;
    if (!view_get(&cursor, &body) || body.len == 0) {
        return false;
    }
    *left = (struct strview){cursor.at, (size_t)(cursor.end - cursor.at)};
    cursor = (struct cursor){body.ptr + 1, body.ptr + body.len}; /* attributes: there are none */
    return varint_get(&cursor, &ret->timestamp_ms) && varint_get(&cursor, &ret->offset) &&
           view_get(&cursor, &ret->key) && view_get(&cursor, &ret->value) &&
           headers_get(&cursor, ret);
}

bool kafka_header_read(struct strview *left, struct kafka_header *ret)
{
    struct cursor cursor = {left->ptr, left->ptr + left->len};
    bool is_there = header_get(&cursor, ret);
    *left = (struct strview){cursor.at, (size_t)(cursor.end - cursor.at)};
    return is_there;
}

bool kafka_records_read(const struct kafka_records *records, struct strview *left,
                        struct kafka_header *headers, struct kafka_record *ret)
{
    struct kafka_record_view view;
    if (left->len == 0) {
        return false;
    }
    bool is_ours = kafka_record_read(left, &view);
    CHECK(is_ours);
    *ret = (struct kafka_record){.partition = -1,
                                 .key = view.key,
                                 .value = view.value,
                                 .timestamp_ms = records->first_timestamp_ms + view.timestamp_ms,
                                 .headers = headers};
    while (ret->header_count < view.header_count && ret->header_count < KAFKA_HEADERS_MAX &&
           kafka_header_read(&view.headers, &headers[ret->header_count])) {
        ret->header_count++;
    }
    return true;
}
