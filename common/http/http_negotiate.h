/* http_negotiate.h - reading Accept, Accept-Encoding, If-None-Match and Content-Type (RFC 9110 §12,
 * §13.1.2, §8.3). Pure; a header that cannot be read counts as if it said nothing. */
#pragma once

#include <stdbool.h>

#include "core/strview.h"

/* 0 … 1. The most specific range that covers the type decides; without a header everything is 1. */
double http_accept_quality(const char *accept, const char *media_type);
/* Whether a content coding is accepted with a quality above 0; NULL accepts none but identity. */
bool http_accept_encoding(const char *accept_encoding, const char *coding);
/* Weak comparison of an entity tag against a list or "*". */
bool http_etag_matches(const char *if_none_match, const char *etag);
/* The type without parameters, lower case, into out (cut to nothing when it does not fit). */
struct strview http_media_type(const char *content_type, char *out, size_t out_bytes);
