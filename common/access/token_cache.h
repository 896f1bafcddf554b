/* token_cache.h - tokens that were found good, so that the next request with one costs a hash.
 *
 * WHAT     SHA-256 of a token → whom it stands for, until it expires. Tokens are not kept.
 * BOUNDS   a fixed number of entries, four to a set; the one not used for longest makes room.
 * OWNS     a reference to each principal; one found is valid until the next put or clear.
 * THREADS  one owner.
 */
#pragma once

#include "access/access_key.h"
#include "access/access_rights.h"

struct token_cache;

void token_cache_free(struct token_cache *cache); /* NULL is a no-op */
DEALLOC(token_cache_free) struct token_cache *token_cache_new(size_t entries);
struct access_principal *token_cache_find(struct token_cache *cache,
                                          const unsigned char digest[ACCESS_DIGEST_BYTES],
                                          int64_t now_ms);
/* Takes the reference. */
void token_cache_put(struct token_cache *cache, const unsigned char digest[ACCESS_DIGEST_BYTES],
                     struct access_principal *principal);
void token_cache_clear(struct token_cache *cache);
