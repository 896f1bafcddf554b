#include "access/jwk.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/base64.h"
#include "json/json_file.h"

#define RSA_BITS_MIN          2048
#define RSA_BITS_MAX          8192
#define RSA_EXPONENT_BITS_MAX 32
#define MEMBER_BYTES_MAX      1400 /* an 8192-bit modulus is 1366 letters */
#define COORDINATE_BYTES_MAX  66   /* P-521 */

enum family { FAMILY_HMAC, FAMILY_RSA, FAMILY_PSS, FAMILY_EC, FAMILY_ED };

static const struct algorithm {
    const char *name;
    enum family family;
    const char *digest;     /* NULL: the algorithm has its own */
    size_t digest_bytes;    /* of an HMAC */
    const char *curve;      /* the key's `crv` */
    size_t signature_bytes; /* 0: the key's size */
} algorithms[JWK_ALGORITHMS] = {
    [JWK_HS256] = {"HS256", FAMILY_HMAC, "SHA256", 32, NULL, 32},
    [JWK_HS384] = {"HS384", FAMILY_HMAC, "SHA384", 48, NULL, 48},
    [JWK_HS512] = {"HS512", FAMILY_HMAC, "SHA512", 64, NULL, 64},
    [JWK_RS256] = {"RS256", FAMILY_RSA, "SHA256"},
    [JWK_RS384] = {"RS384", FAMILY_RSA, "SHA384"},
    [JWK_RS512] = {"RS512", FAMILY_RSA, "SHA512"},
    [JWK_PS256] = {"PS256", FAMILY_PSS, "SHA256"},
    [JWK_PS384] = {"PS384", FAMILY_PSS, "SHA384"},
    [JWK_PS512] = {"PS512", FAMILY_PSS, "SHA512"},
    [JWK_ES256] = {"ES256", FAMILY_EC, "SHA256", 0, "P-256", 64},
    [JWK_ES384] = {"ES384", FAMILY_EC, "SHA384", 0, "P-384", 96},
    [JWK_ES512] = {"ES512", FAMILY_EC, "SHA512", 0, "P-521", 132},
    [JWK_EDDSA] = {"EdDSA", FAMILY_ED, NULL, 0, "Ed25519", 64},
    [JWK_ED25519] = {"Ed25519", FAMILY_ED, NULL, 0, "Ed25519", 64},
};

struct jwk {
    char *kid;                                       /* NULL: it has none */
    uint32_t algorithms;                             /* bits */
    EVP_PKEY *pkey;                                  /* NULL for a secret, and for Ed25519 */
    unsigned char point[crypto_sign_PUBLICKEYBYTES]; /* Ed25519 */
    unsigned char *secret;
    size_t secret_bytes;
    uint64_t id;
};

struct jwk_set {
    atomic_uint refs;
    size_t count;
    struct jwk keys[JWK_KEYS_MAX];
};

/* --- algorithms ------------------------------------------------------------------------------- */

bool jwk_algorithm_find(struct strview name, enum jwk_algorithm *ret)
{
    for (enum jwk_algorithm i = 0; i < JWK_ALGORITHMS; i++) {
        if (sv_equal(name, sv(algorithms[i].name))) {
            *ret = i;
            return true;
        }
    }
    return false;
}

enum err jwk_algorithms_parse(const char *list, uint32_t *ret, struct err_info *info)
{
    uint32_t bits = 0;
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        const struct strview name = sv_of(at, strcspn(at, ", "));
        enum jwk_algorithm algorithm;
        if (name.len && !jwk_algorithm_find(name, &algorithm)) {
            return err_set(info, ERR_CONFIG, "\"%.*s\" is no signature algorithm known here",
                           SV_ARG(name));
        }
        bits |= name.len ? 1u << algorithm : 0;
        at += name.len;
    }
    *ret = bits ? bits : (1u << JWK_ALGORITHMS) - 1;
    return ERR_OK;
}

/* --- one key ---------------------------------------------------------------------------------- */

/* What is known of the key while it is being made. */
struct making {
    const json_t *json;
    struct jwk *key;
    const char *reason; /* why not */
};

static bool refuse(struct making *making, const char *reason)
{
    making->reason = reason;
    return false;
}

static const char *member(const struct making *making, const char *name)
{
    const char *text = json_string_value(json_object_get(making->json, name));
    return text ? text : "";
}

static bool member_bytes(struct making *making, const char *name, unsigned char *out,
                         size_t out_bytes, size_t *ret_bytes)
{
    const struct strview text = sv(member(making, name));
    if (text.len == 0 || text.len > MEMBER_BYTES_MAX ||
        !base64_decode(BASE64_URL, text, out, out_bytes, ret_bytes)) {
        return refuse(making, "a member is missing or not base64url");
    }
    return true;
}

/* The bits of a family's algorithms, or of the one that the key's `alg` names; 0: none fits. */
static uint32_t algorithms_of(const struct making *making, enum family family, const char *curve)
{
    const char *alg = member(making, "alg");
    uint32_t bits = 0;
    for (enum jwk_algorithm i = 0; i < JWK_ALGORITHMS; i++) {
        const struct algorithm *row = &algorithms[i];
        const bool is_named = !alg[0] || strcmp(alg, row->name) == 0 ||
                              /* one algorithm, two names */
                              (row->family == FAMILY_ED &&
                               (strcmp(alg, "EdDSA") == 0 || strcmp(alg, "Ed25519") == 0));
        if (row->family == family && is_named && (!curve || strcmp(curve, row->curve) == 0)) {
            bits |= 1u << i;
        }
    }
    return bits;
}

static bool pkey_from(struct making *making, const char *type, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY_CTX *check = NULL;
    EVP_PKEY *pkey = NULL;
    bool is_good = context && params && EVP_PKEY_fromdata_init(context) == 1 &&
                   EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1;
    if (is_good) {
        check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        is_good =
            check && EVP_PKEY_public_check(check) == 1; /* a point on its curve, and the like */
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    if (!is_good) {
        EVP_PKEY_free(pkey);
        return refuse(making, "it is no key of its type");
    }
    making->key->pkey = pkey;
    return true;
}

static bool make_rsa(struct making *making)
{
    unsigned char n[MEMBER_BYTES_MAX], e[MEMBER_BYTES_MAX];
    size_t n_bytes, e_bytes;
    if (!member_bytes(making, "n", n, sizeof n, &n_bytes) ||
        !member_bytes(making, "e", e, sizeof e, &e_bytes)) {
        return false;
    }
    BIGNUM *modulus = BN_bin2bn(n, (int)n_bytes, NULL);
    BIGNUM *exponent = BN_bin2bn(e, (int)e_bytes, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    CHECK(modulus && exponent && builder);
    bool is_good = true;
    if (BN_num_bits(modulus) < RSA_BITS_MIN || BN_num_bits(modulus) > RSA_BITS_MAX) {
        is_good = refuse(making, "an RSA key must have 2048 to 8192 bits");
    } else if (BN_num_bits(exponent) > RSA_EXPONENT_BITS_MAX || BN_num_bits(exponent) < 2) {
        is_good = refuse(making, "an RSA key's exponent must have 2 to 32 bits");
    }
    if (is_good) {
        CHECK(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
              OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1);
        is_good = pkey_from(making, "RSA", OSSL_PARAM_BLD_to_param(builder));
    }
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    BN_free(exponent);
    making->key->algorithms =
        algorithms_of(making, FAMILY_RSA, NULL) | algorithms_of(making, FAMILY_PSS, NULL);
    return is_good;
}

static bool make_ec(struct making *making)
{
    const char *curve = member(making, "crv");
    making->key->algorithms = algorithms_of(making, FAMILY_EC, curve);
    if (!making->key->algorithms) {
        return true; /* said by the caller */
    }
    enum jwk_algorithm algorithm = 0;
    while (!(making->key->algorithms >> algorithm & 1)) {
        algorithm++;
    }
    const size_t half = algorithms[algorithm].signature_bytes / 2;
    unsigned char point[1 + 2 * COORDINATE_BYTES_MAX] = {POINT_CONVERSION_UNCOMPRESSED};
    size_t x_bytes, y_bytes;
    if (!member_bytes(making, "x", point + 1, half, &x_bytes) ||
        !member_bytes(making, "y", point + 1 + half, half, &y_bytes)) {
        return false;
    }
    if (x_bytes != half || y_bytes != half) {
        return refuse(making, "a coordinate has not the curve's length");
    }
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    CHECK(builder &&
          OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
          OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * half) ==
              1);
    const bool is_good = pkey_from(making, "EC", OSSL_PARAM_BLD_to_param(builder));
    OSSL_PARAM_BLD_free(builder);
    return is_good;
}

static bool make_okp(struct making *making)
{
    unsigned char x[MEMBER_BYTES_MAX];
    size_t x_bytes;
    making->key->algorithms = algorithms_of(making, FAMILY_ED, member(making, "crv"));
    if (!making->key->algorithms) {
        return true; /* said by the caller */
    }
    if (!member_bytes(making, "x", x, sizeof x, &x_bytes)) {
        return false;
    }
    CHECK(sodium_init() >= 0); /* from any thread, as often as one likes */
    if (x_bytes != sizeof making->key->point || !crypto_core_ed25519_is_valid_point(x)) {
        return refuse(making, "it is no key of its type");
    }
    memcpy(making->key->point, x, x_bytes);
    return true;
}

static bool make_oct(struct making *making)
{
    unsigned char secret[MEMBER_BYTES_MAX];
    size_t bytes, bytes_min = 0;
    if (!member(making, "alg")[0]) {
        return refuse(making, "a secret needs its alg");
    }
    if (!member_bytes(making, "k", secret, sizeof secret, &bytes)) {
        return false;
    }
    making->key->algorithms = algorithms_of(making, FAMILY_HMAC, NULL);
    for (enum jwk_algorithm i = JWK_HS256; i <= JWK_HS512; i++) {
        bytes_min += making->key->algorithms >> i & 1 ? algorithms[i].digest_bytes : 0;
    }
    making->key->secret = must_alloc(bytes + 1);
    making->key->secret_bytes = bytes;
    memcpy(making->key->secret, secret, bytes);
    OPENSSL_cleanse(secret, sizeof secret);
    return bytes >= bytes_min || refuse(making, "a secret must be as long as its hash");
}

static const struct key_type {
    const char *kty;
    bool (*make)(struct making *making);
    bool is_private; /* from a file only */
} key_types[] = {
    {"RSA", make_rsa, false},
    {"EC", make_ec, false},
    {"OKP", make_okp, false},
    {"oct", make_oct, true},
};

static bool is_for_verifying(const struct making *making)
{
    const json_t *operations = json_object_get(making->json, "key_ops"), *operation;
    const char *use = member(making, "use");
    bool is_named = !operations;
    size_t i;
    json_array_foreach(operations, i, operation)
    {
        const char *text = json_string_value(operation);
        is_named |= text && strcmp(text, "verify") == 0;
    }
    return is_named && (!use[0] || strcmp(use, "sig") == 0);
}

static bool key_make(struct making *making, enum jwk_source source)
{
    const struct strview kid = sv(member(making, "kid"));
    if (!json_is_object(making->json)) {
        return refuse(making, "it is no object");
    }
    if (!is_for_verifying(making)) {
        return refuse(making, "it is not for checking signatures (use, key_ops)");
    }
    if (kid.len > JWK_KID_BYTES_MAX) {
        return refuse(making, "its kid is too long");
    }
    for (size_t i = 0; i < ARRAY_LEN(key_types); i++) {
        if (strcmp(member(making, "kty"), key_types[i].kty) != 0) {
            continue;
        }
        if (json_object_get(making->json, "d") ||
            (key_types[i].is_private && source == JWK_FROM_ADDRESS)) {
            return refuse(making, "it could sign, so it must not be here");
        }
        if (!key_types[i].make(making)) {
            return false;
        }
        making->key->kid = kid.len ? must_strdup(kid.ptr) : NULL;
        making->key->id = json_fingerprint(making->json);
        return making->key->algorithms || refuse(making, "its alg or crv is not known here");
    }
    return refuse(making, "its kty is not known here");
}

static void key_free(struct jwk *key)
{
    free(key->kid);
    EVP_PKEY_free(key->pkey);
    if (key->secret) {
        OPENSSL_cleanse(key->secret, key->secret_bytes);
        free(key->secret);
    }
    *key = (struct jwk){0};
}

/* --- the set ---------------------------------------------------------------------------------- */

struct jwk_set *jwk_set_ref(struct jwk_set *set)
{
    atomic_fetch_add(&set->refs, 1);
    return set;
}

void jwk_set_unref(struct jwk_set *set)
{
    if (set && atomic_fetch_sub(&set->refs, 1) == 1) {
        for (size_t i = 0; i < set->count; i++) {
            key_free(&set->keys[i]);
        }
        free(set);
    }
}

size_t jwk_set_count(const struct jwk_set *set)
{
    return set->count;
}

uint64_t jwk_id(const struct jwk *key)
{
    return key->id;
}

bool jwk_set_has(const struct jwk_set *set, uint64_t id)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->keys[i].id == id) {
            return true;
        }
    }
    return false;
}

static bool is_taken(const struct jwk_set *set, const struct jwk *key)
{
    for (size_t i = 0; key->kid && i < set->count; i++) {
        const struct jwk *other = &set->keys[i];
        if (other->kid && strcmp(other->kid, key->kid) == 0 &&
            (other->algorithms & key->algorithms)) {
            return true;
        }
    }
    return false;
}

static const char *set_add(struct jwk_set *set, const json_t *json, enum jwk_source source)
{
    struct jwk key = {0};
    struct making making = {.json = json, .key = &key};
    if (key_make(&making, source) && is_taken(set, &key)) {
        (void)refuse(&making, "another key has the same kid");
    }
    ERR_clear_error();
    if (making.reason) {
        key_free(&key);
        return making.reason;
    }
    set->keys[set->count++] = key;
    return NULL;
}

enum err jwk_set_load(const json_t *root, const char *name, enum jwk_source source,
                      struct jwk_set **ret, struct err_info *info)
{
    const json_t *keys = json_object_get(root, "keys"), *json;
    if (!json_is_array(keys) || json_array_size(keys) > JWK_KEYS_MAX) {
        return err_set(info, ERR_CONFIG, "%s: /keys: must be an array of at most %d keys", name,
                       JWK_KEYS_MAX);
    }
    struct jwk_set *set = must_alloc(sizeof *set);
    atomic_init(&set->refs, 1);
    enum err e = ERR_OK;
    size_t i;
    json_array_foreach(keys, i, json)
    {
        const char *reason = set_add(set, json, source);
        if (reason && !e) { /* the first is told */
            e = err_set(info, ERR_CONFIG, "%s: /keys/%zu: %s", name, i, reason);
        }
    }
    if (source == JWK_FROM_ADDRESS && set->count) {
        e = ERR_OK; /* what it has besides is for others (RFC 7517 §5) */
    }
    if (!e && !set->count) {
        e = err_set(info, ERR_CONFIG, "%s: /keys: there is no key", name);
    }
    if (e) {
        jwk_set_unref(set);
        return e;
    }
    *ret = set;
    return ERR_OK;
}

const struct jwk *jwk_set_find(const struct jwk_set *set, struct strview kid,
                               enum jwk_algorithm algorithm, bool *ret_several)
{
    const struct jwk *found = NULL;
    *ret_several = false;
    for (size_t i = 0; i < set->count; i++) {
        const struct jwk *key = &set->keys[i];
        if (!(key->algorithms >> algorithm & 1)) {
            continue;
        }
        if (kid.ptr) {
            if (key->kid && sv_equal(kid, sv(key->kid))) {
                return key;
            }
        } else if (found) {
            *ret_several = true;
            return NULL;
        } else {
            found = key;
        }
    }
    return found;
}

/* --- signatures ------------------------------------------------------------------------------- */

static bool hmac_is(const struct jwk *key, const struct algorithm *row, struct strview text,
                    struct strview signature)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t bytes = 0;
    return EVP_Q_mac(NULL, "HMAC", NULL, row->digest, NULL, key->secret, key->secret_bytes,
                     (const unsigned char *)text.ptr, text.len, mac, sizeof mac, &bytes) &&
           bytes == signature.len && CRYPTO_memcmp(mac, signature.ptr, bytes) == 0;
}

/* JWS has r and s side by side, OpenSSL wants them in DER. 0: not a signature. */
static size_t ecdsa_der(struct strview signature, unsigned char *out, size_t out_bytes)
{
    const size_t half = signature.len / 2;
    const unsigned char *bytes = (const unsigned char *)signature.ptr;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(bytes, (int)half, NULL), *s = BN_bin2bn(bytes + half, (int)half, NULL);
    CHECK(pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1);
    int length = i2d_ECDSA_SIG(pair, NULL);
    if (length > 0 && (size_t)length <= out_bytes) {
        length = i2d_ECDSA_SIG(pair, &out);
    } else {
        length = 0;
    }
    ECDSA_SIG_free(pair);
    return (size_t)length;
}

/* libsodium's takes half the time of OpenSSL's. */
static bool ed25519_is(const struct jwk *key, struct strview text, struct strview signature)
{
    return crypto_sign_verify_detached((const unsigned char *)signature.ptr,
                                       (const unsigned char *)text.ptr, text.len, key->point) == 0;
}

static bool public_key_verify(const struct jwk *key, const struct algorithm *row,
                              struct strview text, struct strview signature, EVP_MD_CTX *context)
{
    EVP_PKEY_CTX *options; /* the context's */
    if (EVP_DigestVerifyInit_ex(context, &options, row->digest, NULL, NULL, key->pkey, NULL) != 1) {
        return false;
    }
    if (row->family == FAMILY_PSS &&
        (EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) != 1)) {
        return false;
    }
    return EVP_DigestVerify(context, (const unsigned char *)signature.ptr, signature.len,
                            (const unsigned char *)text.ptr, text.len) == 1;
}

bool jwk_verify(const struct jwk *key, enum jwk_algorithm algorithm, struct strview text,
                struct strview signature, EVP_MD_CTX *context)
{
    CHECK(key->algorithms >> algorithm & 1);
    const struct algorithm *row = &algorithms[algorithm];
    unsigned char der[2 * COORDINATE_BYTES_MAX + 16];
    if (row->signature_bytes && signature.len != row->signature_bytes) {
        return false;
    }
    if (row->family == FAMILY_HMAC) {
        return hmac_is(key, row, text, signature);
    }
    if (row->family == FAMILY_ED) {
        return ed25519_is(key, text, signature);
    }
    if (row->family == FAMILY_EC) {
        signature = sv_of(der, ecdsa_der(signature, der, sizeof der));
    }
    const bool is_right = public_key_verify(key, row, text, signature, context);
    (void)EVP_MD_CTX_reset(context); /* cannot fail */
    if (!is_right) {
        ERR_clear_error(); /* OpenSSL keeps its reasons a thread */
    }
    return is_right;
}
