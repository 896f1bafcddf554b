/* websocket_frames.h - a client's frames, right and wrong, and a look at a server's; written from RFC
 * 6455 §5.2, without the code under test. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/buf.h"

#define FRAME_FINAL 0x80
#define FRAME_RSV1  0x40

/* first: FIN, RSV and opcode. The length in its shortest form, or in `length_bytes` (0, 2, 8) of them. */
static inline void frame_append_as(struct buf *out, uint8_t first, struct strview payload,
                                   const uint8_t *mask, int length_bytes)
{
    uint8_t head[14] = {first}, at = 2;
    uint8_t short_length = length_bytes == 0 ? (uint8_t)payload.len : length_bytes == 2 ? 126 : 127;
    head[1] = (uint8_t)((mask ? 0x80 : 0) | short_length);
    for (int i = length_bytes - 1; i >= 0; i--) {
        head[at++] = (uint8_t)((uint64_t)payload.len >> (8 * i));
    }
    for (int i = 0; mask && i < 4; i++) {
        head[at++] = mask[i];
    }
    CHECK(buf_append(out, head, at) == ERR_OK);
    for (size_t i = 0; i < payload.len; i++) {
        char byte = (char)((uint8_t)payload.ptr[i] ^ (mask ? mask[i % 4] : 0));
        CHECK(buf_append(out, &byte, 1) == ERR_OK);
    }
}

static inline void frame_append(struct buf *out, uint8_t first, struct strview payload)
{
    static const uint8_t mask[] = {0x37, 0xfa, 0x21, 0x3d};
    int length_bytes = payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8;
    frame_append_as(out, first, payload, mask, length_bytes);
}

struct server_frame {
    uint8_t first;
    struct strview payload;
};

/* Takes one off the head of *bytes; false: it is not complete. Aborts if it is masked or longer than it
 * needs to be. */
static inline bool server_frame_take(struct strview *bytes, struct server_frame *ret)
{
    const uint8_t *at = (const uint8_t *)bytes->ptr;
    if (bytes->len < 2) {
        return false;
    }
    CHECK(!(at[1] & 0x80));
    size_t head = at[1] < 126 ? 2 : at[1] == 126 ? 4 : 10;
    if (bytes->len < head) {
        return false;
    }
    uint64_t len = at[1] < 126 ? at[1] : 0;
    for (size_t i = 2; i < head; i++) {
        len = len << 8 | at[i];
    }
    CHECK(head == (len < 126 ? 2 : len < 65536 ? 4 : 10));
    if (bytes->len - head < len) {
        return false;
    }
    *ret = (struct server_frame){at[0], sv_of(bytes->ptr + head, (size_t)len)};
    *bytes = sv_of(bytes->ptr + head + len, bytes->len - head - (size_t)len);
    return true;
}

static inline uint16_t server_frame_code(const struct server_frame *frame)
{
    const uint8_t *at = (const uint8_t *)frame->payload.ptr;
    return frame->payload.len >= 2 ? (uint16_t)(at[0] << 8 | at[1]) : 1005;
}
