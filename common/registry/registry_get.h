/* registry_get.h - what a registry with Confluent's API says at one of its addresses, as JSON.
 *
 * BOUNDS   REGISTRY_SCHEMA_BYTES_MAX an answer, registry_call.timeout_ms.
 * THREADS  any; the call blocks, so that it is for a thread that has nothing else to do.
 * ERRORS   ERR_NOT_FOUND: the registry answers 404. ERR_IO, ERR_CONFIG and those of JSON: it does not
 *          answer, or not with what can be read; info says which. Never with credentials.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "core/buf.h"
#include "registry/registry.h"

#define REGISTRY_PATH_BYTES_MAX ((size_t)8192)

struct registry_call {
    const struct registry_config *config;
    int64_t timeout_ms;
    const atomic_bool *is_stopping; /* ends it within a second or so */
};

/* ERR_CONFIG: its address is none, or too long, or has credentials in it, which would be shown. */
MUST_CHECK enum err registry_config_check(const struct registry_config *config,
                                          struct err_info *info);
/* path begins with a slash and follows schema.registry.url. *ret is the caller's. */
MUST_CHECK enum err registry_get(const struct registry_call *call, const char *path, json_t **ret,
                                 struct err_info *info);
/* A name as one segment of a path: whatever is in it, it names nothing else. */
MUST_CHECK enum err registry_path_append(struct buf *path, struct strview name);
