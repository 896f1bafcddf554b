/* http_coding.h - content codings of request bodies, undone as the body arrives.
 *
 * WHAT     gzip (more than one member, as RFC 1952 allows), deflate (the zlib format, RFC 1950),
 *          zstd (more than one frame, RFC 8878). One coding a body; others are the caller's 415.
 * BOUNDS   nothing here grows with the body: a run fills at most the output given, so that the
 *          caller's cap stops a bomb. gzip and deflate hold about 40 KiB, zstd about 100 KiB and
 *          its window: HTTP_ZSTD_WINDOW_BYTES at most, as RFC 9659 has it; http_decoder_bytes says.
 * OWNS     a pool keeps HTTP_DECODERS_POOLED small decoders a coding; larger ones are freed.
 * THREADS  a pool and its decoders belong to one thread.
 * ERRORS   ERR_BODY_CODING, its info says what is wrong; a decoder that failed is only given back.
 */
#pragma once

#include <stdbool.h>

#include "core/attributes.h"
#include "core/err.h"
#include "core/strview.h"

enum http_coding {
    HTTP_CODING_IDENTITY,
    HTTP_CODING_GZIP,
    HTTP_CODING_DEFLATE,
    HTTP_CODING_ZSTD,
    HTTP_CODING_COUNT
};
#define HTTP_CODINGS           "gzip, deflate, zstd, identity" /* of our Accept-Encoding */
#define HTTP_DECODERS_POOLED   8
#define HTTP_ZSTD_WINDOW_BYTES ((size_t)8 << 20)

/* Of a Content-Encoding field; false: unknown, or more than one. An empty field is none. */
bool http_coding_of(struct strview field, enum http_coding *ret);

struct http_decoder;
struct http_decoder_pool {
    struct http_decoder *free[HTTP_CODING_COUNT];
    unsigned free_count[HTTP_CODING_COUNT];
};

void http_decoder_pool_free(struct http_decoder_pool *pool);
/* coding is not HTTP_CODING_IDENTITY. */
struct http_decoder *http_decoder_take(struct http_decoder_pool *pool, enum http_coding coding);
void http_decoder_give(struct http_decoder_pool *pool, struct http_decoder *decoder); /* or NULL */
size_t http_decoder_bytes(const struct http_decoder *decoder); /* memory it holds */

/* Decodes from the head of *in, which is advanced, into out; *ret_len bytes came. Filling out
 * completely may leave more to come without further input: http_decoder_has_more. */
MUST_CHECK enum err http_decoder_run(struct http_decoder *decoder, struct strview *in, char *out,
                                     size_t out_bytes, size_t *ret_len, struct err_info *info);
bool http_decoder_has_more(const struct http_decoder *decoder);
/* After the last byte of the body: whether that was its end. */
MUST_CHECK enum err http_decoder_end(const struct http_decoder *decoder, struct err_info *info);
