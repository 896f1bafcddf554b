#include "access/access_key.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "access/openssl.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static bool is_alphanumeric(struct strview text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!text.ptr[i] || !strchr(alphabet, text.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool access_key_is_like(struct strview text)
{
    return sv_starts_with(text, SV("mr_"));
}

bool access_key_id_is_valid(struct strview id)
{
    return id.len == ACCESS_KEY_ID_BYTES && is_alphanumeric(id);
}

bool access_key_parse(struct strview text, struct strview *ret_id)
{
    if (text.len != ACCESS_KEY_BYTES || !access_key_is_like(text)) {
        return false;
    }
    const struct strview id = sv_of(text.ptr + 3, ACCESS_KEY_ID_BYTES);
    const struct strview secret = sv_of(id.ptr + ACCESS_KEY_ID_BYTES + 1, ACCESS_KEY_SECRET_BYTES);
    if (!is_alphanumeric(id) || secret.ptr[-1] != '_' || !is_alphanumeric(secret)) {
        return false;
    }
    *ret_id = id;
    return true;
}

/* Each of the 62 with the same chance: a byte of 248 or more is drawn again. */
static bool draw(char *out, size_t count)
{
    for (size_t i = 0; i < count;) {
        unsigned char byte;
        if (RAND_bytes(&byte, 1) != 1) {
            return false;
        }
        if (byte < 4 * 62) {
            out[i++] = alphabet[byte % 62];
        }
    }
    return true;
}

bool access_key_make(char key[ACCESS_KEY_BYTES + 1])
{
    char *id = key + 3, *secret = id + ACCESS_KEY_ID_BYTES + 1;
    memcpy(key, "mr_", 3);
    secret[-1] = '_';
    key[ACCESS_KEY_BYTES] = '\0';
    return draw(id, ACCESS_KEY_ID_BYTES) && draw(secret, ACCESS_KEY_SECRET_BYTES);
}

struct access_hasher {
    EVP_MD *sha256;
    EVP_MD_CTX *context;
};

void access_hasher_free(struct access_hasher *hasher)
{
    if (hasher) {
        EVP_MD_CTX_free(hasher->context);
        EVP_MD_free(hasher->sha256);
        free(hasher);
    }
}

struct access_hasher *access_hasher_new(void)
{
    struct access_hasher *hasher = must_alloc(sizeof *hasher);
    hasher->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    hasher->context = EVP_MD_CTX_new();
    CHECK(hasher->sha256 && hasher->context);
    return hasher;
}

void access_hash(struct access_hasher *hasher, struct strview text,
                 unsigned char digest[ACCESS_DIGEST_BYTES])
{
    CHECK(EVP_DigestInit_ex2(hasher->context, hasher->sha256, NULL) == 1 &&
          EVP_DigestUpdate(hasher->context, text.ptr, text.len) == 1 &&
          EVP_DigestFinal_ex(hasher->context, digest, NULL) == 1);
}

void access_key_digest(const char *key, char hex[ACCESS_DIGEST_TEXT_BYTES])
{
    unsigned char digest[ACCESS_DIGEST_BYTES];
    struct access_hasher *hasher = access_hasher_new();
    access_hash(hasher, sv(key), digest);
    access_hasher_free(hasher);
    for (size_t i = 0; i < sizeof digest; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]); /* fits */
    }
}
