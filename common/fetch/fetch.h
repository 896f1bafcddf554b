/* fetch.h - one GET of a document from an address in the configuration, by libcurl.
 *
 * WHY      libcurl is loaded when the first document is fetched, not linked: with it come some thirty
 *          shared libraries, and a service that is not told an address never needs them.
 * BOUNDS   what *out takes, the time-out; http and https only, no redirection: the address in the
 *          configuration is the one that is asked.
 * THREADS  any; the call blocks, so that it is for a thread that has nothing else to do.
 * ERRORS   ERR_IO with libcurl's reason, ERR_CONFIG when there is no libcurl. Never with credentials.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

struct fetch_params {
    const char *url;
    const char *ca_file;     /* NULL or "": the system's */
    const char *credentials; /* NULL or "": none; else "user:password" for basic authentication */
    int64_t timeout_ms;
    const atomic_bool *is_stopping; /* ends the fetch within a second or so */
};

/* The body is appended to *out. *ret_status is the answer's, 0 if there was none; ERR_OK is 200. */
MUST_CHECK enum err fetch_get(const struct fetch_params *params, struct buf *out, long *ret_status,
                              struct err_info *info);
