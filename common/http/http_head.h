/* http_head.h - one pass over a request's header fields: is the framing unambiguous?
 *
 * WHY      a request that another server on the way reads differently (Content-Length beside
 *          Transfer-Encoding, two of either, a space before the colon, bare CR or NUL in a value) is
 *          the raw material of request smuggling, so it is refused before any body. What a line is,
 *          http_wire.h says.
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
    bool is_old;                  /* HTTP/1.0: no chunks in the answer */
    bool wants_close, wants_keep; /* Connection: close, keep-alive */
    bool expects_continue;        /* Expect: 100-continue, in HTTP/1.1 */
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
bool http_head_end(struct http_head *head, struct strview version);

#define HTTP_REQUEST_ID_MAX 128
/* Letters, digits and -._:/+=@ only: it goes into logs, records and answers as it is. */
bool http_request_id_is_usable(struct strview id);

/* "/path" of a request target in origin form or in absolute form with the same authority as Host;
 * an empty view for any other. */
struct strview http_target_path(struct strview target, struct strview host);
