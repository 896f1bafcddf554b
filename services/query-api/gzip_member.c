#include "gzip_member.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "http/websocket.h"

#define PACKED_BYTES_MAX ((size_t)1 << 31)

static const char head[] =
    "\x1F\x8B\x08\0\0\0\0\0\0\xFF"; /* deflate; no name, no time, no system */
static const char flushed[] =
    "\0\0\xFF\xFF";                /* an empty stored block behind what ends within a byte */
static const char last[] = "\x03"; /* an empty block, the last one; the rest of it is below */

static void put(struct buf *out, const void *bytes, size_t len)
{
    CHECK(buf_append(out, bytes, len) == ERR_OK);
}

static void put_u32(struct buf *out, uint32_t value)
{
    const unsigned char bytes[] = {(unsigned char)value, (unsigned char)(value >> 8),
                                   (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    put(out, bytes, sizeof bytes);
}

struct gzip_part *gzip_part_new(struct websocket_codec *codec, struct strview text)
{
    CLEANUP(buf_free) struct buf packed;
    buf_init(&packed, PACKED_BYTES_MAX);
    CHECK(websocket_deflate(codec, WEBSOCKET_WINDOW_MAX, text, &packed) == ERR_OK);
    struct gzip_part *part = must_alloc(sizeof *part + packed.len);
    part->crc = (uint32_t)crc32_z(0, (const Bytef *)text.ptr, text.len);
    part->bytes = (uint32_t)text.len;
    part->crc_shift = (uint32_t)crc32_combine_gen((z_off_t)text.len);
    part->len = packed.len;
    memcpy(part->packed, packed.data, packed.len);
    return part;
}

void gzip_member_begin(struct buf *out)
{
    put(out, head, sizeof head - 1);
}

void gzip_member_store(struct gzip_member *member, struct strview text, struct buf *out)
{
    CHECK(websocket_store(text, out) == ERR_OK);
    member->crc = (uint32_t)crc32_z(member->crc, (const Bytef *)text.ptr, text.len);
    member->bytes += (uint32_t)text.len; /* modulo 2³², as the format has it */
}

void gzip_member_put(struct gzip_member *member, const struct gzip_part *part, struct buf *out)
{
    put(out, part->packed, part->len);
    put(out, flushed, sizeof flushed - 1);
    member->crc = (uint32_t)crc32_combine_op(member->crc, part->crc, part->crc_shift);
    member->bytes += part->bytes;
}

void gzip_member_end(const struct gzip_member *member, struct buf *out)
{
    put(out, last, sizeof last); /* with its closing zero: 03 00 */
    put_u32(out, member->crc);
    put_u32(out, member->bytes);
}
