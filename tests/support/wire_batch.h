/* wire_batch.h - batches in Kafka's format v2 that no client writes: what the mock cluster is sent so it answers a
 * fetch. It looks at the first one's count alone, which is how many offsets the bytes stand for; that one's base
 * offset it writes itself. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mock_kafka.h"
#include "test.h"

#define WIRE_BYTES_MAX   100000
#define WIRE_APPEND_TIME 0x08 /* attributes: the broker's time is every record's */

struct wire {
    unsigned char bytes[WIRE_BYTES_MAX];
    size_t size;
};

struct wire_batch {
    int64_t base;
    int16_t attributes;
    int32_t last_delta;
    int64_t base_ms, max_ms;
    int32_t count;
    struct strview records;
    bool is_spoilt; /* its checksum is not its own */
};

static inline void wire_number(struct wire *wire, int64_t number, unsigned bytes)
{
    assert_true(wire->size + bytes <= WIRE_BYTES_MAX);
    while (bytes-- > 0) {
        wire->bytes[wire->size++] = (unsigned char)((uint64_t)number >> (8 * bytes));
    }
}

static inline void wire_view(struct wire *wire, struct strview view)
{
    assert_true(wire->size + view.len <= WIRE_BYTES_MAX);
    if (view.len) {
        memcpy(wire->bytes + wire->size, view.ptr, view.len);
        wire->size += view.len;
    }
}

static inline uint32_t wire_crc32c(const unsigned char *bytes, size_t size)
{
    uint32_t crc = ~0U;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78U : 0);
        }
    }
    return ~crc;
}

static inline void wire_batch_add(struct wire *wire, const struct wire_batch *batch)
{
    struct wire guarded = {.size = 0}; /* by the checksum */
    wire_number(&guarded, batch->attributes, 2);
    wire_number(&guarded, batch->last_delta, 4);
    wire_number(&guarded, batch->base_ms, 8);
    wire_number(&guarded, batch->max_ms, 8);
    wire_number(&guarded, -1, 8); /* producer, its epoch, sequence: none */
    wire_number(&guarded, -1, 2);
    wire_number(&guarded, -1, 4);
    wire_number(&guarded, batch->count, 4);
    wire_view(&guarded, batch->records);
    uint32_t checksum = wire_crc32c(guarded.bytes, guarded.size);
    wire_number(wire, batch->base, 8);
    wire_number(wire, (int64_t)guarded.size + 4 + 1 + 4, 4);
    wire_number(wire, 0, 4); /* leader's epoch */
    wire_number(wire, 2, 1); /* the format */
    wire_number(wire, batch->is_spoilt ? checksum ^ 1 : checksum, 4);
    wire_view(wire, sv_of(guarded.bytes, guarded.size));
}

/* --- to the cluster -------------------------------------------------------------------------------------- */

static inline int wire_connect(const struct mock_kafka *mock)
{
    const char *colon = strrchr(mock->config.bootstrap_servers, ':');
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(0, connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static inline void wire_read(int fd, unsigned char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, bytes + at, size - at);
        assert_true(got > 0);
        at += (size_t)got;
    }
}

/* A Produce request, version 3, to the first partition of a topic. */
static inline void wire_request(struct wire *request, const char *topic, const struct wire *batches)
{
    request->size = 0;
    wire_number(request,
                4 + 4 + 2 + 2 + 2 + 4 + 4 + 2 + (int64_t)strlen(topic) + 4 + 4 + 4 +
                    (int64_t)batches->size,
                4);
    wire_number(request, 3, 4);  /* Produce, its version */
    wire_number(request, 1, 4);  /* correlation */
    wire_number(request, -1, 2); /* client */
    wire_number(request, -1, 2); /* transaction */
    wire_number(request, 1, 2);  /* acks */
    wire_number(request, 60000, 4);
    wire_number(request, 1, 4); /* topic */
    wire_number(request, (int64_t)strlen(topic), 2);
    wire_view(request, sv(topic));
    wire_number(request, 1, 4); /* partition */
    wire_number(request, 0, 4);
    wire_number(request, (int64_t)batches->size, 4);
    wire_view(request, sv_of(batches->bytes, batches->size));
}

static inline void wire_produce(int fd, const char *topic, const struct wire *batches)
{
    static struct wire request;
    unsigned char head[4], answer[512];
    wire_request(&request, topic, batches);
    assert_int_equal(request.size, write(fd, request.bytes, request.size));
    wire_read(fd, head, sizeof head);
    size_t size = (size_t)head[2] << 8 | head[3];
    assert_in_range(size, 20 + strlen(topic), sizeof answer);
    wire_read(fd, answer, size);
    const unsigned char *code = answer + 4 + 4 + 2 + strlen(topic) + 4 + 4;
    assert_int_equal(0, code[0] << 8 | code[1]);
}
