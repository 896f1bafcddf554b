/* access_key.h - API keys: mr_<id>_<secret>.
 *
 * WHAT     the id (12 letters and digits) is public and finds the key; the secret has 256 random
 *          bits. What is kept is SHA-256 of the whole text: a secret that long needs no slow hash,
 *          and `printf %s "$KEY" | sha256sum` gives the same.
 */
#pragma once

#include <stdbool.h>

#include "core/attributes.h"
#include "core/strview.h"

#define ACCESS_KEY_ID_BYTES      12
#define ACCESS_KEY_SECRET_BYTES  43 /* letters and digits: 62^43 > 2^256 */
#define ACCESS_KEY_BYTES         (3 + ACCESS_KEY_ID_BYTES + 1 + ACCESS_KEY_SECRET_BYTES)
#define ACCESS_DIGEST_BYTES      32
#define ACCESS_DIGEST_TEXT_BYTES (2 * ACCESS_DIGEST_BYTES + 1)

/* Whether the text begins as our keys do, so that it is no token. */
bool access_key_is_like(struct strview text);
/* False when it has not the form of a key. The id is borrowed from the text. */
MUST_CHECK bool access_key_parse(struct strview text, struct strview *ret_id);
bool access_key_id_is_valid(struct strview id);
/* What the keys file keeps of it: SHA-256 in hexadecimal. */
void access_key_digest(const char *key, char hex[ACCESS_DIGEST_TEXT_BYTES]);
/* A new one; false when the system has no random bytes to give. */
MUST_CHECK bool access_key_make(char key[ACCESS_KEY_BYTES + 1]);

/* SHA-256. One owner; made once, since OpenSSL 3 searches its providers each time it is asked for an
 * algorithm by name. */
struct access_hasher;
void access_hasher_free(struct access_hasher *hasher); /* NULL is a no-op */
DEALLOC(access_hasher_free) struct access_hasher *access_hasher_new(void);
void access_hash(struct access_hasher *hasher, struct strview text,
                 unsigned char digest[ACCESS_DIGEST_BYTES]);
