/* made_record.h - a record that is made of its number alone: whoever knows the number knows all of it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/kafka_records.h"
#include "test.h"

#define MADE_HEADERS_MAX (KAFKA_HEADERS_MAX + 8) /* more than a reader of ours takes */
#define MADE_BYTES_MAX   20000                   /* of key, value and headers, each */
#define MADE_TIME_MS     1700000000000

struct made_record {
    struct kafka_record record;
    struct kafka_header headers[MADE_HEADERS_MAX];
    char names[MADE_HEADERS_MAX][32];
    uint64_t state;
};

static inline uint64_t made_next(struct made_record *made)
{
    uint64_t z = (made->state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static inline size_t made_below(struct made_record *made, size_t limit)
{
    return (size_t)(made_next(made) % limit);
}

/* Bytes of any kind, zeros among them, that differ from place to place. */
static inline const char *made_bytes(void)
{
    static char bytes[2 * MADE_BYTES_MAX];
    if (!bytes[1]) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (char)(i * 167 + (i >> 8) * 13);
        }
    }
    return bytes;
}

/* Null, empty, short, or around a length whose varint grows by a byte. */
static inline struct strview made_view(struct made_record *made, size_t bytes_max)
{
    static const size_t borders[] = {1, 2, 62, 63, 64, 65, 127, 128, 8190, 8191, 8192, 8193};
    size_t kind = made_below(made, 16);
    size_t bytes = kind < 11 ? made_below(made, 200) : borders[made_below(made, 12)];
    if (kind == 0) {
        return (struct strview){NULL, 0};
    }
    bytes = kind == 1 ? 0 : bytes;
    bytes = bytes > bytes_max ? bytes_max : bytes;
    return sv_of(made_bytes() + made_below(made, MADE_BYTES_MAX), bytes);
}

static inline void made_headers(struct made_record *made, size_t bytes_max)
{
    static const size_t counts[] = {0, 0, 0, 0, 0, 1, 1, 2, 3, 5};
    size_t count = counts[made_below(made, 10)];
    if (made_below(made, 100) == 0) {
        count = made_below(made, MADE_HEADERS_MAX + 1);
    }
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(made->names[i], sizeof made->names[i], "h%.*zu", (int)(i % 5), i);
        made->headers[i].name = sv(made->names[i]);
        made->headers[i].value = made_view(made, bytes_max);
    }
    made->record.headers = made->headers;
    made->record.header_count = count;
}

/* Each number has its own, and they go back as often as they go on. */
static inline int64_t made_time_ms(uint64_t number)
{
    const uint64_t low = 0xFFFFF, mixed = number * 0x9E375 & low;
    return MADE_TIME_MS + (int64_t)((number & ~low) | mixed);
}

/* Keys, values and headers of at most so many bytes. */
static inline void made_record(struct made_record *made, uint64_t number, size_t bytes_max)
{
    *made = (struct made_record){.state = number};
    made->record.partition = -1;
    made->record.timestamp_ms = made_time_ms(number);
    made->record.key = made_view(made, bytes_max);
    made->record.value = made_view(made, bytes_max);
    made_headers(made, bytes_max);
}

static inline void expect_view(struct strview expected, struct strview got)
{
    assert_int_equal(expected.ptr == NULL, got.ptr == NULL);
    assert_int_equal(expected.len, got.len);
    if (expected.len) {
        assert_memory_equal(expected.ptr, got.ptr, expected.len);
    }
}
