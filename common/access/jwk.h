/* jwk.h - the keys that tokens are signed with (RFC 7517), and checking a signature with one.
 *
 * WHAT     a JSON Web Key Set becomes keys that each know the algorithms they may be used with: by
 *          the key's type, and by its `alg` when it has one. That binding is what keeps a public
 *          RSA key from being taken for an HMAC secret.
 * REFUSES  RSA below 2048 bits, secrets shorter than their hash, private keys, keys not for
 *          signatures; secrets altogether from an address, since who can read that could sign.
 *          From a file a key that cannot be used is an error; from an address it is left out.
 * BOUNDS   JWK_KEYS_MAX keys; RSA up to 8192 bits and exponents up to 32 bits, as time to check
 *          grows with both.
 * THREADS  a set is immutable; jwk_set_ref and _unref from any thread.
 * SOURCE   RFC 7517, 7518, 8037, 8725, 9864; the cryptography is OpenSSL's, Ed25519 libsodium's.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "access/openssl.h"
#include "core/err.h"
#include "core/strview.h"

#define JWK_KEYS_MAX      64
#define JWK_KID_BYTES_MAX 256

enum jwk_algorithm {
    JWK_HS256,
    JWK_HS384,
    JWK_HS512,
    JWK_RS256,
    JWK_RS384,
    JWK_RS512,
    JWK_PS256,
    JWK_PS384,
    JWK_PS512,
    JWK_ES256,
    JWK_ES384,
    JWK_ES512,
    JWK_EDDSA,
    JWK_ED25519, /* the same under the name that RFC 9864 gives it */
    JWK_ALGORITHMS
};
/* False for a name that is not in the table, `none` among them. */
bool jwk_algorithm_find(struct strview name, enum jwk_algorithm *ret);
/* "RS256,ES256" to a set of bits, 1 << enum jwk_algorithm; "" is all of them. */
MUST_CHECK enum err jwk_algorithms_parse(const char *list, uint32_t *ret, struct err_info *info);

enum jwk_source { JWK_FROM_FILE, JWK_FROM_ADDRESS };

struct jwk;
struct jwk_set;

/* name stands before every error. */
MUST_CHECK enum err jwk_set_load(const json_t *root, const char *name, enum jwk_source source,
                                 struct jwk_set **ret, struct err_info *info);
struct jwk_set *jwk_set_ref(struct jwk_set *set);
void jwk_set_unref(struct jwk_set *set); /* NULL is a no-op */
size_t jwk_set_count(const struct jwk_set *set);

/* Of all that the set said of the key: a key that was changed is another one. */
uint64_t jwk_id(const struct jwk *key);
bool jwk_set_has(const struct jwk_set *set, uint64_t id);

/* The one key for the algorithm that has this kid; without a kid (ptr NULL), the only key for it.
 * *ret_several tells why there is none: more than one would fit. */
const struct jwk *jwk_set_find(const struct jwk_set *set, struct strview kid,
                               enum jwk_algorithm algorithm, bool *ret_several);
/* Whether `signature` is the key's for `text`. context is scratch. */
bool jwk_verify(const struct jwk *key, enum jwk_algorithm algorithm, struct strview text,
                struct strview signature, EVP_MD_CTX *context);
