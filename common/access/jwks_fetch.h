/* jwks_fetch.h - one GET of a key set, by libcurl.
 *
 * WHY      libcurl is loaded when the first set is fetched, not linked: with it come some thirty
 *          shared libraries, and a service that is not told an address never needs them.
 * BOUNDS   JWKS_BYTES_MAX bytes, the time-out; http and https only, no redirection: the address in
 *          the configuration is the one that is asked.
 * ERRORS   ERR_IO with libcurl's reason, ERR_CONFIG when there is no libcurl.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

#define JWKS_BYTES_MAX ((size_t)1 << 20)

struct jwks_fetch_params {
    const char *url;
    const char *ca_file; /* "": the system's */
    int64_t timeout_ms;
    const atomic_bool *is_stopping; /* ends the fetch within a second or so */
};

/* The body is appended to *out. */
MUST_CHECK enum err jwks_fetch(const struct jwks_fetch_params *params, struct buf *out,
                               struct err_info *info);
