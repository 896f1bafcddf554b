/* Tokens. Three ways with one input: as a token; its parts as header and claims that are then signed
 * with the right key, so that what lies behind the signature is reached; and the text as a key set.
 * What is taken must be what was signed, and must hold what the rules ask for. */
#include <stdlib.h>

#include "access/access_claims.h"
#include "access/jwt.h"
#include "core/attributes.h"
#include "core/base64.h"
#include "fuzz.h"
#include "json/json_file.h"

#define NOW_MS     ((int64_t)1800000000 * 1000)
#define TEXT_BYTES 16384
#define SECRET     "0000000000000000000000000000000000000000000000000000000000000000"
#define JWKS                                                                                       \
    "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"k\",\"k\":"                           \
    "\"MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA\"}]" \
    "}"

static struct jwk_set *keys_get(void)
{
    static struct jwk_set *keys;
    if (!keys) {
        json_t *root = NULL;
        FUZZ_CHECK(json_text_load(SV(JWKS), "keys", &root, NULL) == ERR_OK &&
                       jwk_set_load(root, "keys", JWK_FROM_FILE, &keys, NULL) == ERR_OK,
                   "no keys");
        json_decref(root);
    }
    return keys;
}

static void check(struct strview token, bool is_signed)
{
    static struct jwt_checker *checker;
    static struct access_file *file;
    const struct jwt_rules rules = {.issuer = "i",
                                    .audience = "a",
                                    .algorithms = (1u << JWK_ALGORITHMS) - 1,
                                    .bytes_max = 8192};
    json_t *claims = NULL;
    int64_t expires_ms = 0;
    if (!checker) {
        checker = jwt_checker_new(&rules);
        FUZZ_CHECK(access_file_load("", &file, NULL) == ERR_OK, "no file");
    }
    const enum jwt_fault fault =
        jwt_check(checker, keys_get(), token, NOW_MS, &claims, &expires_ms);
    FUZZ_CHECK((fault == JWT_FINE) == (claims != NULL), "claims of a refused token");
    FUZZ_CHECK(!is_signed || fault != JWT_SIGNATURE, "the right signature is wrong");
    if (claims) {
        const char *issuer = json_string_value(json_object_get(claims, "iss"));
        FUZZ_CHECK(issuer && strcmp(issuer, "i") == 0 && expires_ms > NOW_MS, "rules not kept");
        const struct access_claims_rules rights = {"/scope", "", file};
        access_principal_unref(access_claims_principal(claims, &rights));
    }
    json_decref(claims);
}

/* Header and claims with a signature that is right. */
static void check_signed(struct strview header, struct strview claims)
{
    static char token[TEXT_BYTES];
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t mac_bytes = 0;
    if (header.len + claims.len > TEXT_BYTES / 2) {
        return;
    }
    size_t at = base64_encode(BASE64_URL, header.ptr, header.len, token);
    token[at++] = '.';
    at += base64_encode(BASE64_URL, claims.ptr, claims.len, token + at);
    FUZZ_CHECK(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, SECRET, 64,
                         (const unsigned char *)token, at, mac, sizeof mac, &mac_bytes),
               "no signature");
    token[at++] = '.';
    at += base64_encode(BASE64_URL, mac, mac_bytes, token + at);
    check(sv_of(token, at), true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct strview text = sv_of(data, bytes);
    check(text, false);
    const char *line = bytes ? memchr(text.ptr, '\n', bytes) : NULL;
    if (line) {
        const size_t head = (size_t)(line - text.ptr);
        check_signed(sv_of(text.ptr, head), sv_of(line + 1, bytes - head - 1));
    }
    json_t *root = NULL;
    if (json_text_load(text, "keys", &root, NULL) == ERR_OK) {
        for (enum jwk_source source = JWK_FROM_FILE; source <= JWK_FROM_ADDRESS; source++) {
            struct jwk_set *set = NULL;
            struct err_info info = {0};
            const enum err e = jwk_set_load(root, "keys", source, &set, &info);
            FUZZ_CHECK(!e == (set != NULL) && (!e || info.text[0]), "a set and an error");
            FUZZ_CHECK(!set || jwk_set_count(set) > 0, "an empty set");
            jwk_set_unref(set);
        }
        json_decref(root);
    }
    return 0;
}
