/* http_wire.h - HTTP/1.1 as it lies on the wire: where a head ends, its lines, the frame of a body.
 *
 * WHAT     finds the end of a head in what has come so far, takes a head apart, and walks the framing
 *          of a body in chunked coding. Pure: no I/O, no allocation.
 * STRICT   as RFC 9112 writes it, and no more than that: lines end in CR LF, one space stands between
 *          the parts of the request line, a field has a name, and no line is folded. What another
 *          server on the way might read differently is the raw material of request smuggling.
 * BOUNDS   HTTP_FIELDS_MAX fields; the caller bounds the head. Extensions of a chunk and trailers are
 *          skipped, within HTTP_CHUNK_LINE_MAX and HTTP_TRAILER_MAX bytes.
 * COST     a look at each byte of a head; a body's data is not looked at.
 * SOURCE   RFC 9112 §2.2, §3, §5, §7.1.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"

#define HTTP_FIELDS_MAX     128
#define HTTP_CHUNK_LINE_MAX 1024
#define HTTP_TRAILER_MAX    8192

/* How long the head at the beginning of `in` is, blank line included; 0: its end has not come yet, or
 * *ret_fault says why it never will. *looked, 0 at first, is where the last call left off. */
size_t http_wire_head_end(struct strview in, size_t *looked, const char **ret_fault);

struct http_field {
    struct strview name, value; /* a NUL stands behind each */
};

/* A head taken apart: all of it points into its text. */
struct http_lines {
    struct strview method, target, version; /* a NUL stands behind each */
    size_t count;
    bool is_too_many; /* fields: count is the bound */
    struct http_field fields[HTTP_FIELDS_MAX];
};
/* `text` is a head with its blank line, and is written to. NULL, or what is wrong with it. */
const char *http_wire_head(char *text, size_t len, struct http_lines *ret);

int http_wire_digit(char c); /* hexadecimal; -1: none */
/* No control character at all, no tab either. */
bool http_wire_is_plain(struct strview text);

/* Of a body in chunked coding, zeroed at first. */
struct http_chunks {
    uint64_t left;        /* bytes of data that come next: whoever takes some subtracts them */
    unsigned line_bytes;  /* of the line that is being read */
    unsigned trail_bytes; /* of all trailers */
    uint8_t state;        /* enum chunk_state */
};
enum http_chunks_result {
    HTTP_CHUNKS_GO_ON, /* data comes next (left), or more of the frame has to come */
    HTTP_CHUNKS_END,   /* the body is complete */
    HTTP_CHUNKS_BAD,
};
/* Takes what is framing from the beginning of *in. */
enum http_chunks_result http_chunks_run(struct http_chunks *chunks, struct strview *in);
