/* http_head.h - one pass over a request's header fields: is the framing unambiguous?
 *
 * WHY      libmicrohttpd 0.9.75 takes requests that another server on the way reads differently
 *          (Content-Length beside Transfer-Encoding, two of either, a space before the colon, bare
 *          CR or NUL in a value); even 1.0.1 takes some. A request that can be read in two ways is
 *          the raw material of request smuggling, so it is refused before any body.
 * USE      http_head_begin, http_head_field for each field in order, http_head_end.
 * COST     one look at each byte; no allocation. Views point into the fields given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

struct http_head {
    const char *fault; /* the first reason to refuse, or NULL */
    unsigned host_count;
    unsigned length_count;
    unsigned coding_count;
    unsigned credential_counts[2]; /* Authorization, X-Api-Key */
    bool is_chunked;
    bool is_old; /* HTTP/1.0: no chunks in the answer */
    uint64_t content_length;
    unsigned encoding_count;
    struct strview content_encoding; /* the last one */
    struct strview host;
    struct strview request_id;   /* X-Request-Id when it is usable, else empty */
    struct strview content_type; /* the first one */
    const char *origin;          /* NULL when absent */
};

void http_head_begin(struct http_head *head);
void http_head_field(struct http_head *head, struct strview name, struct strview value);
/* version as on the wire ("HTTP/1.1"). False: head->fault says why. */
bool http_head_end(struct http_head *head, const char *version);

/* The head as it lay on the wire, for libmicrohttpd 0.9.75, which parses in place and more loosely
 * than it tells: a head that ends at a field without a name, lines that end in a line feed alone, a
 * value cut at a NUL, folded lines. Every field must start where the one before it ended with CR LF
 * (which the parser left as two NULs), and the blank line must be the last of the head. */
struct http_wire {
    const char *cursor; /* where the next field has to start */
    bool is_broken;
};
/* version is the last part of the request line, in the same memory as the fields. */
void http_wire_begin(struct http_wire *wire, const char *version);
void http_wire_field(struct http_wire *wire, struct strview name, struct strview value);
bool http_wire_end(const struct http_wire *wire, const char *end);

#define HTTP_REQUEST_ID_MAX 128
/* Letters, digits and -._:/+=@ only: it goes into logs, records and answers as it is. */
bool http_request_id_is_usable(struct strview id);

/* "/path" of a request target in origin form or in absolute form with the same authority as Host;
 * an empty view for any other. */
struct strview http_target_path(struct strview target, struct strview host);
