/* spool_record.h - one record as the spool writes it (docs/adr/0012).
 *
 * FORMAT   little-endian, densely behind each other:
 *              0 u32 bytes of the whole record      24 i64 timestamp_ms   48 u32 value bytes
 *              4 u32 mark                           32 i64 spooled_ms     52 u16 topic bytes
 *              8 u64 XXH3 of what follows           40 i32 partition      54 u16 header count
 *             16 u64 number in its log              44 u32 key bytes
 *             56 topic NUL, headers {u16 name bytes, u32 value bytes, name NUL, value}, key, value
 *          Names carry their NUL so that a record read is used where it lies. 0xFFFFFFFF bytes: null.
 *          The log's random id makes the mark and seeds the checksum: neither a block of another
 *          file nor a value that somebody posted is ever taken for a record.
 * BOUNDS   SPOOL_RECORD_BYTES_MAX, SPOOL_HEADERS_MAX.
 * THREADS  pure.
 */
#pragma once

#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/strview.h"

#define SPOOL_RECORD_HEAD_BYTES 56
#define SPOOL_RECORD_MARK_AT    4
#define SPOOL_RECORD_BYTES_MAX  ((size_t)64 << 20)
#define SPOOL_HEADERS_MAX       80

struct spool_header {
    struct strview name;  /* without a NUL inside */
    struct strview value; /* ptr NULL: null */
};

struct spool_record {
    const char *topic;
    int32_t partition;    /* -1: by key when it is replayed */
    struct strview key;   /* ptr NULL: null */
    struct strview value; /* ptr NULL: null */
    int64_t timestamp_ms;
    const struct spool_header *headers;
    size_t header_count;
    int64_t spooled_ms; /* when it was appended; set by the spool */
    uint64_t number;    /* consecutive in its log; set by the spool */
};

size_t spool_record_bytes(const struct spool_record *record); /* encoded */
/* ERR_RECORD_TOO_LARGE past the bounds; then out is unchanged. */
MUST_CHECK enum err spool_record_encode(const struct spool_record *record, uint64_t log,
                                        struct buf *out);

/* The length that the head at `bytes` (SPOOL_RECORD_HEAD_BYTES of them) claims, 0 when it is none. */
size_t spool_record_claim(const char *bytes, uint64_t log);
uint32_t spool_record_mark(uint64_t log); /* at SPOOL_RECORD_MARK_AT of each record */
/* Whether `bytes`, as long as claimed, are a whole record of this log. `ret` borrows from them and
 * from `headers`, which has room for SPOOL_HEADERS_MAX. */
bool spool_record_decode(struct strview bytes, uint64_t log, struct spool_header *headers,
                         struct spool_record *ret);
