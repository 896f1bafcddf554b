/* gzip_member.h - gzip that goes on for as long as a stream does, of parts that are good for many streams.
 *
 * WHAT     a member (RFC 1952) whose deflate blocks come from elsewhere: text as it is, for what is one
 *          client's own, and text that was compressed once for all who are sent it. Each part ends at
 *          a byte and refers to nothing before it, so parts can follow one another in any order, and a
 *          client can read each as soon as it has come.
 * COST     8 bytes a stream; a part that was compressed before costs its copy and a sum of checksums.
 */
#pragma once

#include <stdint.h>

#include "core/buf.h"

struct websocket_codec;

struct gzip_member { /* zeroed: nothing in it yet */
    uint32_t crc, bytes;
};

/* A text that was compressed. */
struct gzip_part {
    uint32_t crc, bytes; /* of the text */
    uint32_t crc_shift;  /* what a checksum of that much text before it is moved by */
    size_t len;
    char packed[];
};

struct gzip_part *gzip_part_new(struct websocket_codec *codec,
                                struct strview text); /* to be freed */

/* All append; the buffer's bound is the caller's to keep. */
void gzip_member_begin(struct buf *out);
void gzip_member_store(struct gzip_member *member, struct strview text, struct buf *out);
void gzip_member_put(struct gzip_member *member, const struct gzip_part *part, struct buf *out);
void gzip_member_end(const struct gzip_member *member, struct buf *out);
