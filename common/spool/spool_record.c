#include "spool/spool_record.h"

#define XXH_INLINE_ALL
#include <assert.h>
#include <xxhash.h>

#define NULL_BYTES        UINT32_MAX
#define CHECKED_FROM      16
#define TOPIC_BYTES_MAX   249
#define HEADER_HEAD_BYTES 6 /* u16 name bytes, u32 value bytes */
#define NAME_BYTES_MAX    1024

struct head {
    uint32_t bytes;
    uint32_t mark;
    uint64_t checksum;
    uint64_t number;
    int64_t timestamp_ms;
    int64_t spooled_ms;
    int32_t partition;
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint16_t topic_bytes;
    uint16_t header_count;
};
static_assert(sizeof(struct head) == SPOOL_RECORD_HEAD_BYTES, "the head has no gaps");
static_assert(offsetof(struct head, mark) == SPOOL_RECORD_MARK_AT, "where a search looks");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are written as they lie");

/* --- writing ---------------------------------------------------------------------------------- */

size_t spool_record_bytes(const struct spool_record *record)
{
    size_t bytes =
        SPOOL_RECORD_HEAD_BYTES + strlen(record->topic) + 1 + record->key.len + record->value.len;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct spool_header *header = &record->headers[i];
        bytes += HEADER_HEAD_BYTES + header->name.len + 1 + header->value.len;
    }
    return bytes;
}

static bool is_within_bounds(const struct spool_record *record)
{
    bool is_small = strlen(record->topic) <= TOPIC_BYTES_MAX &&
                    record->header_count <= SPOOL_HEADERS_MAX &&
                    spool_record_bytes(record) <= SPOOL_RECORD_BYTES_MAX;
    for (size_t i = 0; is_small && i < record->header_count; i++) {
        is_small = record->headers[i].name.len <= NAME_BYTES_MAX;
    }
    return is_small;
}

static uint32_t length_of(struct strview view)
{
    return view.ptr ? (uint32_t)view.len : NULL_BYTES;
}

static char *put(char *at, const void *bytes, size_t len)
{
    if (len) {
        memcpy(at, bytes, len);
    }
    return at + len;
}

static char *put_header(char *at, const struct spool_header *header)
{
    const uint16_t name_bytes = (uint16_t)header->name.len;
    const uint32_t value_bytes = length_of(header->value);
    at = put(at, &name_bytes, sizeof name_bytes);
    at = put(at, &value_bytes, sizeof value_bytes);
    at = put(put(at, header->name.ptr, name_bytes), "", 1);
    return put(at, header->value.ptr, header->value.len);
}

static uint64_t checksum_of(const char *record, size_t bytes, uint64_t log)
{
    return XXH3_64bits_withSeed(record + CHECKED_FROM, bytes - CHECKED_FROM, log);
}

enum err spool_record_encode(const struct spool_record *record, uint64_t log, struct buf *out)
{
    if (!is_within_bounds(record)) {
        return ERR_RECORD_TOO_LARGE;
    }
    const size_t bytes = spool_record_bytes(record);
    enum err e = buf_reserve(out, bytes);
    if (e) {
        return e;
    }
    struct head head = {
        .bytes = (uint32_t)bytes,
        .mark = spool_record_mark(log),
        .number = record->number,
        .timestamp_ms = record->timestamp_ms,
        .spooled_ms = record->spooled_ms,
        .partition = record->partition,
        .key_bytes = length_of(record->key),
        .value_bytes = length_of(record->value),
        .topic_bytes = (uint16_t)strlen(record->topic),
        .header_count = (uint16_t)record->header_count,
    };
    char *start = out->data + out->len;
    char *at = put(start, &head, sizeof head);
    at = put(at, record->topic, head.topic_bytes + 1u);
    for (size_t i = 0; i < record->header_count; i++) {
        at = put_header(at, &record->headers[i]);
    }
    at = put(at, record->key.ptr, record->key.len);
    at = put(at, record->value.ptr, record->value.len);
    CHECK(at == start + bytes);
    head.checksum = checksum_of(start, bytes, log);
    memcpy(start, &head, CHECKED_FROM);
    out->len += bytes;
    return ERR_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

uint32_t spool_record_mark(uint64_t log)
{
    return (uint32_t)(log ^ log >> 32) ^ 0x3ac59d17u;
}

size_t spool_record_claim(const char *bytes, uint64_t log)
{
    struct head head;
    memcpy(&head, bytes, sizeof head);
    bool is_head = head.mark == spool_record_mark(log) && head.bytes > SPOOL_RECORD_HEAD_BYTES &&
                   head.bytes <= SPOOL_RECORD_BYTES_MAX;
    return is_head ? head.bytes : 0;
}

/* What is left of a record; a take past its end makes it bad and gives nothing. */
struct rest {
    const char *at;
    size_t len;
    bool is_bad;
};

static const char *take(struct rest *rest, size_t len)
{
    if (rest->is_bad || len > rest->len) {
        rest->is_bad = true;
        return NULL;
    }
    const char *taken = rest->at;
    rest->at += len;
    rest->len -= len;
    return taken;
}

static struct strview take_view(struct rest *rest, uint32_t len)
{
    struct strview view = {0};
    if (len != NULL_BYTES) {
        view.ptr = take(rest, len);
        view.len = view.ptr ? len : 0;
    }
    return view;
}

/* A name of `len` bytes and its NUL, without another NUL inside. */
static const char *take_name(struct rest *rest, size_t len)
{
    const char *name = take(rest, len + 1);
    if (name && memchr(name, '\0', len + 1) != name + len) {
        rest->is_bad = true;
    }
    return name;
}

static void take_header(struct rest *rest, struct spool_header *header)
{
    uint16_t name_bytes = 0;
    uint32_t value_bytes = 0;
    const char *at = take(rest, HEADER_HEAD_BYTES);
    if (at) {
        memcpy(&name_bytes, at, sizeof name_bytes);
        memcpy(&value_bytes, at + sizeof name_bytes, sizeof value_bytes);
        header->name = (struct strview){take_name(rest, name_bytes), name_bytes};
        header->value = take_view(rest, value_bytes);
    }
}

bool spool_record_decode(struct strview bytes, uint64_t log, struct spool_header *headers,
                         struct spool_record *ret)
{
    struct head head;
    memcpy(&head, bytes.ptr, sizeof head);
    CHECK(head.bytes == bytes.len && bytes.len > SPOOL_RECORD_HEAD_BYTES);
    if (head.checksum != checksum_of(bytes.ptr, bytes.len, log) ||
        head.header_count > SPOOL_HEADERS_MAX || head.topic_bytes > TOPIC_BYTES_MAX) {
        return false;
    }
    struct rest rest = {bytes.ptr + sizeof head, bytes.len - sizeof head, false};
    *ret = (struct spool_record){
        .topic = take_name(&rest, head.topic_bytes),
        .partition = head.partition,
        .timestamp_ms = head.timestamp_ms,
        .headers = headers,
        .header_count = head.header_count,
        .spooled_ms = head.spooled_ms,
        .number = head.number,
    };
    for (size_t i = 0; i < head.header_count && !rest.is_bad; i++) {
        take_header(&rest, &headers[i]);
    }
    ret->key = take_view(&rest, head.key_bytes);
    ret->value = take_view(&rest, head.value_bytes);
    return !rest.is_bad && rest.len == 0;
}
