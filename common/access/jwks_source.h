/* jwks_source.h - a key set kept fresh from an address, by a thread of its own.
 *
 * WHAT     fetches at start, then every refresh_ms, and earlier when a token names a key that is not
 *          known, at most every retry_ms. A set that differs from the last goes to on_keys. When a
 *          fetch fails the last good set stays, and its age is told (metric, /health).
 * THREADS  jwks_source_ask and _age_ms from any; on_keys is called on the source's thread.
 */
#pragma once

#include "access/jwk.h"

struct jwks_source_params {
    const char *url;
    const char *ca_file;
    int64_t refresh_ms;
    int64_t retry_ms; /* the least time between two fetches */
    int64_t timeout_ms;
    void (*on_keys)(void *context,
                    struct jwk_set *set); /* borrowed: takes a reference to keep it */
    void *context;
};

struct jwks_source;

MUST_CHECK enum err jwks_source_start(const struct jwks_source_params *params,
                                      struct jwks_source **ret, struct err_info *info);
void jwks_source_stop(struct jwks_source *source); /* NULL is a no-op */
/* A key was not known: fetch soon. Cheap, however often it is called. */
void jwks_source_ask(struct jwks_source *source);
/* Since the last fetch that succeeded; -1: none has. */
int64_t jwks_source_age_ms(const struct jwks_source *source);
