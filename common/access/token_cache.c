#include "access/token_cache.h"

#include <stdlib.h>

#define WAYS 4

struct entry {
    unsigned char digest[ACCESS_DIGEST_BYTES];
    struct access_principal *principal; /* NULL: free */
    uint64_t used;                      /* the cache's count when it was last found */
};

struct token_cache {
    uint64_t uses;
    size_t set_count;
    struct entry entries[];
};

struct token_cache *token_cache_new(size_t entries)
{
    const size_t sets = (entries + WAYS - 1) / WAYS;
    CHECK(sets > 0);
    struct token_cache *cache = must_alloc(sizeof *cache + sets * WAYS * sizeof(struct entry));
    cache->set_count = sets;
    return cache;
}

static void entry_clear(struct entry *entry)
{
    access_principal_unref(entry->principal);
    entry->principal = NULL;
}

void token_cache_clear(struct token_cache *cache)
{
    for (size_t i = 0; i < cache->set_count * WAYS; i++) {
        entry_clear(&cache->entries[i]);
    }
}

void token_cache_free(struct token_cache *cache)
{
    if (cache) {
        token_cache_clear(cache);
        free(cache);
    }
}

static struct entry *set_of(struct token_cache *cache, const unsigned char *digest)
{
    uint64_t number;
    memcpy(&number, digest, sizeof number);
    return &cache->entries[number % cache->set_count * WAYS];
}

struct access_principal *token_cache_find(struct token_cache *cache,
                                          const unsigned char digest[ACCESS_DIGEST_BYTES],
                                          int64_t now_ms)
{
    struct entry *set = set_of(cache, digest);
    for (size_t i = 0; i < WAYS; i++) {
        if (!set[i].principal || memcmp(set[i].digest, digest, ACCESS_DIGEST_BYTES) != 0) {
            continue;
        }
        if (now_ms >= set[i].principal->expires_ms) {
            entry_clear(&set[i]);
            return NULL;
        }
        set[i].used = ++cache->uses;
        return set[i].principal;
    }
    return NULL;
}

void token_cache_put(struct token_cache *cache, const unsigned char digest[ACCESS_DIGEST_BYTES],
                     struct access_principal *principal)
{
    struct entry *set = set_of(cache, digest), *victim = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (!set[i].principal) {
            victim = &set[i];
            break;
        }
        if (set[i].used < victim->used) {
            victim = &set[i];
        }
    }
    entry_clear(victim);
    memcpy(victim->digest, digest, ACCESS_DIGEST_BYTES);
    victim->principal = principal;
    victim->used = ++cache->uses;
}
