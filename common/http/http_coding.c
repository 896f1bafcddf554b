#include "http/http_coding.h"

#include <stdint.h>
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define INFLATE_BYTES     40960 /* zlib's documented need: 32 KiB of window, 7 KiB of tables */
#define POOLED_BYTES      262144
#define ZSTD_WINDOW_LOG   23
#define ZSTD_HEADER_BYTES 18 /* at most (RFC 8878 §3.1.1.1) */
#define WINDOW_BITS       15
#define WINDOW_BITS_GZIP  (WINDOW_BITS + 16)

_Static_assert(((size_t)1 << ZSTD_WINDOW_LOG) == HTTP_ZSTD_WINDOW_BYTES, "the same bound");

struct http_decoder {
    struct http_decoder *next_free;
    enum http_coding coding;
    bool is_at_end; /* a member or frame is complete, and nothing of another has come */
    bool has_more;
    struct zstd_frame { /* the one that is being decoded */
        unsigned char start[ZSTD_HEADER_BYTES];
        size_t start_bytes;
        uint64_t text_bytes;
    } frame;
    union {
        z_stream zlib;
        ZSTD_DCtx *zstd;
    };
};

static const struct coding_name {
    const char *name;
    enum http_coding coding;
} coding_names[] = {{"gzip", HTTP_CODING_GZIP},
                    {"x-gzip", HTTP_CODING_GZIP}, /* RFC 9110 §8.4.1.3: the same */
                    {"deflate", HTTP_CODING_DEFLATE},
                    {"zstd", HTTP_CODING_ZSTD},
                    {"identity", HTTP_CODING_IDENTITY},
                    {"", HTTP_CODING_IDENTITY}};

bool http_coding_of(struct strview field, enum http_coding *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(coding_names); i++) {
        const char *name = coding_names[i].name;
        if (strlen(name) == field.len &&
            (field.len == 0 || strncasecmp(name, field.ptr, field.len) == 0)) {
            *ret = coding_names[i].coding;
            return true;
        }
    }
    return false;
}

/* --- pool ------------------------------------------------------------------------------------- */

static void decoder_open(struct http_decoder *decoder)
{
    if (decoder->coding == HTTP_CODING_ZSTD) {
        decoder->zstd = ZSTD_createDCtx();
        CHECK(decoder->zstd != NULL); /* as must_alloc: without memory there is no service */
        const size_t set =
            ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
        CHECK(!ZSTD_isError(set));
        return;
    }
    const bool is_gzip = decoder->coding == HTTP_CODING_GZIP;
    CHECK(inflateInit2(&decoder->zlib, is_gzip ? WINDOW_BITS_GZIP : WINDOW_BITS) == Z_OK);
}

static void decoder_free(struct http_decoder *decoder)
{
    if (decoder->coding == HTTP_CODING_ZSTD) {
        (void)ZSTD_freeDCtx(decoder->zstd); /* always succeeds */
    } else {
        (void)inflateEnd(&decoder->zlib); /* fails only for a stream that was never opened */
    }
    free(decoder);
}

void http_decoder_pool_free(struct http_decoder_pool *pool)
{
    for (int coding = 0; coding < HTTP_CODING_COUNT; coding++) {
        while (pool->free[coding]) {
            struct http_decoder *decoder = pool->free[coding];
            pool->free[coding] = decoder->next_free;
            decoder_free(decoder);
        }
        pool->free_count[coding] = 0;
    }
}

struct http_decoder *http_decoder_take(struct http_decoder_pool *pool, enum http_coding coding)
{
    CHECK(coding > HTTP_CODING_IDENTITY);
    CHECK(coding < HTTP_CODING_COUNT);
    struct http_decoder *decoder = pool->free[coding];
    if (decoder) {
        pool->free[coding] = decoder->next_free;
        pool->free_count[coding]--;
        return decoder;
    }
    decoder = must_alloc(sizeof *decoder);
    decoder->coding = coding;
    decoder_open(decoder);
    return decoder;
}

static void decoder_reset(struct http_decoder *decoder)
{
    decoder->is_at_end = decoder->has_more = false;
    decoder->frame = (struct zstd_frame){0};
    if (decoder->coding == HTTP_CODING_ZSTD) {
        const size_t reset = ZSTD_DCtx_reset(decoder->zstd, ZSTD_reset_session_only);
        CHECK(!ZSTD_isError(reset));
    } else {
        CHECK(inflateReset(&decoder->zlib) == Z_OK);
    }
}

void http_decoder_give(struct http_decoder_pool *pool, struct http_decoder *decoder)
{
    if (!decoder) {
        return;
    }
    const enum http_coding coding = decoder->coding;
    if (pool->free_count[coding] >= HTTP_DECODERS_POOLED ||
        http_decoder_bytes(decoder) > POOLED_BYTES) {
        decoder_free(decoder);
        return;
    }
    decoder_reset(decoder);
    decoder->next_free = pool->free[coding];
    pool->free[coding] = decoder;
    pool->free_count[coding]++;
}

size_t http_decoder_bytes(const struct http_decoder *decoder)
{
    return decoder->coding == HTTP_CODING_ZSTD ? ZSTD_sizeof_DCtx(decoder->zstd) : INFLATE_BYTES;
}

/* --- decoding --------------------------------------------------------------------------------- */

static enum err zlib_failed(const struct http_decoder *decoder, struct err_info *info)
{
    return err_set(info, ERR_BODY_CODING, "the body is not %s: %s",
                   decoder->coding == HTTP_CODING_GZIP ? "gzip"
                                                       : "deflate in the zlib format (RFC 1950)",
                   decoder->zlib.msg ? decoder->zlib.msg : "it needs a preset dictionary");
}

/* One call of inflate. After a member's end only another gzip member may follow. */
static enum err zlib_step(struct http_decoder *decoder, struct err_info *info)
{
    z_stream *stream = &decoder->zlib;
    if (decoder->is_at_end) {
        if (decoder->coding == HTTP_CODING_DEFLATE) {
            return err_set(info, ERR_BODY_CODING, "bytes follow the end of the deflate stream");
        }
        CHECK(inflateReset(stream) == Z_OK);
        decoder->is_at_end = false;
    }
    const int result = inflate(stream, Z_NO_FLUSH);
    decoder->is_at_end = result == Z_STREAM_END;
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR
               ? ERR_OK
               : zlib_failed(decoder, info);
}

static enum err zlib_run(struct http_decoder *decoder, struct strview *in, char *out,
                         size_t out_bytes, size_t *ret_len, struct err_info *info)
{
    z_stream *stream = &decoder->zlib;
    stream->next_in = (z_const Bytef *)(uintptr_t)in->ptr; /* not written to */
    stream->avail_in = (uInt)in->len;
    stream->next_out = (Bytef *)out;
    stream->avail_out = (uInt)out_bytes;
    enum err e = ERR_OK;
    /* Pending output needs a call without input; a complete member needs none. */
    bool is_first = !decoder->is_at_end;
    while (!e && stream->avail_out && (stream->avail_in || is_first)) {
        is_first = false;
        e = zlib_step(decoder, info);
    }
    *in = sv_of((const char *)stream->next_in, stream->avail_in);
    *ret_len = out_bytes - stream->avail_out;
    decoder->has_more = !stream->avail_out && !decoder->is_at_end;
    return e;
}

/* Whether what comes next can be a frame of RFC 8878, skippable ones included. Debian's library also
 * takes what zstd wrote before there was a format, by decoders that nobody cares for any more. */
static bool zstd_magic_is_ours(const struct zstd_frame *frame, const ZSTD_inBuffer *input)
{
    static const unsigned char plain[] = {0x28, 0xB5, 0x2F, 0xFD};
    static const unsigned char skippable[] = {0x50, 0x2A, 0x4D, 0x18}; /* 0x50 to 0x5F */
    const unsigned char *in = input->src;
    const size_t in_bytes = input->size - input->pos;
    for (size_t i = frame->start_bytes; i < sizeof plain && i - frame->start_bytes < in_bytes;
         i++) {
        const unsigned char first = frame->start_bytes ? frame->start[0] : in[input->pos];
        const unsigned char byte = in[input->pos + i - frame->start_bytes];
        const bool is_skippable = first >> 4 == skippable[0] >> 4;
        if (byte != (is_skippable ? skippable[i] : plain[i]) && !(is_skippable && i == 0)) {
            return false;
        }
    }
    return true;
}

/* What a call has taken and given. False for a frame that ends with less than it said it holds, which the
 * library does not see where a frame comes in pieces. */
static bool zstd_frame_goes_on(struct zstd_frame *frame, struct strview taken, size_t text_bytes,
                               bool is_at_end)
{
    const size_t room = sizeof frame->start - frame->start_bytes;
    const size_t kept = taken.len < room ? taken.len : room;
    if (kept) {
        memcpy(frame->start + frame->start_bytes, taken.ptr, kept);
    }
    frame->start_bytes += kept;
    frame->text_bytes += text_bytes;
    if (!is_at_end) {
        return true;
    }
    const unsigned long long said = ZSTD_getFrameContentSize(frame->start, frame->start_bytes);
    const bool is_whole = said == ZSTD_CONTENTSIZE_UNKNOWN || said == frame->text_bytes;
    *frame = (struct zstd_frame){0};
    return is_whole;
}

static enum err zstd_run(struct http_decoder *decoder, struct strview *in, char *out,
                         size_t out_bytes, size_t *ret_len, struct err_info *info)
{
    ZSTD_inBuffer input = {in->ptr, in->len, 0};
    ZSTD_outBuffer output = {out, out_bytes, 0};
    bool is_first = !decoder->is_at_end;
    while (output.pos < output.size && (input.pos < input.size || is_first)) {
        is_first = false;
        if (!zstd_magic_is_ours(&decoder->frame, &input)) {
            return err_set(info, ERR_BODY_CODING, "the body is not zstd (RFC 8878)");
        }
        const size_t in_at = input.pos, out_at = output.pos;
        /* The first byte of a frame goes alone: the library has other code for a frame that it sees whole,
         * which takes and refuses otherwise, and how a body was cut must not matter. */
        input.size = !decoder->frame.start_bytes && in_at < in->len ? in_at + 1 : in->len;
        const size_t left = ZSTD_decompressStream(decoder->zstd, &output, &input);
        input.size = in->len;
        if (ZSTD_isError(left)) {
            return err_set(info, ERR_BODY_CODING, "the body is not zstd: %s",
                           ZSTD_getErrorName(left));
        }
        decoder->is_at_end = left == 0;
        const size_t taken = input.pos - in_at;
        if (!zstd_frame_goes_on(&decoder->frame, sv_of(taken ? in->ptr + in_at : NULL, taken),
                                output.pos - out_at, decoder->is_at_end)) {
            return err_set(info, ERR_BODY_CODING, "a zstd frame is not as long as it says");
        }
    }
    *in = sv_of(in->ptr + input.pos, in->len - input.pos);
    *ret_len = output.pos;
    decoder->has_more = output.pos == output.size && !decoder->is_at_end;
    return ERR_OK;
}

enum err http_decoder_run(struct http_decoder *decoder, struct strview *in, char *out,
                          size_t out_bytes, size_t *ret_len, struct err_info *info)
{
    CHECK(out_bytes > 0);
    return decoder->coding == HTTP_CODING_ZSTD
               ? zstd_run(decoder, in, out, out_bytes, ret_len, info)
               : zlib_run(decoder, in, out, out_bytes, ret_len, info);
}

bool http_decoder_has_more(const struct http_decoder *decoder)
{
    return decoder->has_more;
}

enum err http_decoder_end(const struct http_decoder *decoder, struct err_info *info)
{
    return decoder->is_at_end
               ? ERR_OK
               : err_set(info, ERR_BODY_CODING, "the body ends before its content coding does");
}
