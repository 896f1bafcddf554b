/* tokens.h - keys made at test time, JSON Web Tokens signed with them, and what files say of them. */
#pragma once

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_key.h"
#include "access/jwk.h"
#include "core/base64.h"

#define SIGNER_TEXT_BYTES 16384

/* What the keys file has of an API key with one right ("write") to one topic; new reference. */
static inline json_t *key_entry_new(const char *key, const char *right, const char *topic)
{
    char hex[ACCESS_DIGEST_TEXT_BYTES];
    access_key_digest(key, hex);
    return json_pack("{s:s%, s:s, s:[s]}", "id", key + 3, (size_t)ACCESS_KEY_ID_BYTES, "sha256",
                     hex, right, topic);
}

struct signer {
    const char *kid;
    const char *curve; /* EC, OKP */
    EVP_PKEY *pkey;    /* NULL: a secret */
    char secret[65];
};

/* type "RSA", "EC", "OKP" or "oct". */
static inline struct signer signer_new(const char *type, const char *curve, const char *kid)
{
    struct signer signer = {.kid = kid, .curve = curve};
    if (strcmp(type, "RSA") == 0) {
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    } else if (strcmp(type, "EC") == 0) {
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);
    } else if (strcmp(type, "OKP") == 0) {
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    } else {
        memcpy(signer.secret, "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF",
               65);
    }
    CHECK(signer.pkey || signer.secret[0]);
    return signer;
}

static inline void signer_free(struct signer *signer)
{
    EVP_PKEY_free(signer->pkey);
}

static inline json_t *signer_text_(const void *bytes, size_t count)
{
    char text[4096];
    (void)base64_encode(BASE64_URL, bytes, count, text);
    return json_string(text);
}

static inline json_t *signer_number_(const struct signer *signer, const char *name, size_t bytes)
{
    BIGNUM *number = NULL;
    unsigned char out[2048];
    CHECK(EVP_PKEY_get_bn_param(signer->pkey, name, &number) == 1);
    const size_t count = bytes ? bytes : (size_t)BN_num_bytes(number);
    CHECK(BN_bn2binpad(number, out, (int)count) > 0);
    BN_free(number);
    return signer_text_(out, count);
}

/* The public half (of a secret: all of it); new reference. alg may be NULL. */
static inline json_t *signer_jwk(const struct signer *signer, const char *alg)
{
    json_t *jwk = json_object();
    if (signer->kid) {
        json_object_set_new(jwk, "kid", json_string(signer->kid));
    }
    if (alg) {
        json_object_set_new(jwk, "alg", json_string(alg));
    }
    const bool is_ec = signer->pkey && EVP_PKEY_is_a(signer->pkey, "EC");
    if (!signer->pkey) {
        json_object_set_new(jwk, "kty", json_string("oct"));
        json_object_set_new(jwk, "k", signer_text_(signer->secret, 64));
    } else if (EVP_PKEY_is_a(signer->pkey, "RSA")) {
        json_object_set_new(jwk, "kty", json_string("RSA"));
        json_object_set_new(jwk, "n", signer_number_(signer, "n", 0));
        json_object_set_new(jwk, "e", signer_number_(signer, "e", 0));
    } else {
        json_object_set_new(jwk, "kty", json_string(is_ec ? "EC" : "OKP"));
        json_object_set_new(jwk, "crv", json_string(signer->curve));
    }
    if (is_ec) {
        const size_t bytes = ((size_t)EVP_PKEY_get_bits(signer->pkey) + 7) / 8;
        json_object_set_new(jwk, "x", signer_number_(signer, "qx", bytes));
        json_object_set_new(jwk, "y", signer_number_(signer, "qy", bytes));
    } else if (signer->pkey && EVP_PKEY_is_a(signer->pkey, "ED25519")) {
        unsigned char x[32];
        size_t bytes = sizeof x;
        CHECK(EVP_PKEY_get_raw_public_key(signer->pkey, x, &bytes) == 1);
        json_object_set_new(jwk, "x", signer_text_(x, bytes));
    }
    return jwk;
}

/* ECDSA's DER as the r and s side by side that JWS has. */
static inline size_t signer_flat_(const unsigned char *der, size_t der_bytes, unsigned char *out,
                                  size_t half)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_bytes);
    CHECK(pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, (int)half) > 0 &&
          BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + half, (int)half) > 0);
    ECDSA_SIG_free(pair);
    return 2 * half;
}

static inline size_t signer_sign_(const struct signer *signer, const char *alg, const char *text,
                                  unsigned char out[2048])
{
    char digest[16];
    size_t bytes = 2048;
    (void)snprintf(digest, sizeof digest, "SHA%s", strlen(alg) > 2 ? alg + 2 : alg);
    const unsigned char *from = (const unsigned char *)text;
    if (!signer->pkey) {
        CHECK(EVP_Q_mac(NULL, "HMAC", NULL, digest, NULL, signer->secret, 64, from, strlen(text),
                        out, bytes, &bytes));
        return bytes;
    }
    const bool is_ed = EVP_PKEY_is_a(signer->pkey, "ED25519");
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options;
    CHECK(EVP_DigestSignInit_ex(context, &options, is_ed ? NULL : digest, NULL, NULL, signer->pkey,
                                NULL) == 1);
    if (alg[0] == 'P') {
        CHECK(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1);
    }
    CHECK(EVP_DigestSign(context, out, &bytes, from, strlen(text)) == 1);
    EVP_MD_CTX_free(context);
    if (EVP_PKEY_is_a(signer->pkey, "EC")) {
        unsigned char der[256];
        memcpy(der, out, bytes);
        bytes = signer_flat_(der, bytes, out, ((size_t)EVP_PKEY_get_bits(signer->pkey) + 7) / 8);
    }
    return bytes;
}

/* A token with this header and these claims, both as JSON text, signed as alg says whatever the
 * header says; free() it. */
static inline char *signer_token_of(const struct signer *signer, const char *alg,
                                    const char *header, const char *claims)
{
    char *token = malloc(SIGNER_TEXT_BYTES);
    unsigned char signature[2048];
    CHECK(token && strlen(header) + strlen(claims) < SIGNER_TEXT_BYTES / 2);
    size_t at = base64_encode(BASE64_URL, header, strlen(header), token);
    token[at++] = '.';
    at += base64_encode(BASE64_URL, claims, strlen(claims), token + at);
    const size_t bytes = signer_sign_(signer, alg, token, signature);
    token[at++] = '.';
    (void)base64_encode(BASE64_URL, signature, bytes, token + at);
    return token;
}

static inline char *signer_token(const struct signer *signer, const char *alg, const char *claims)
{
    char header[256];
    (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"%s%s%s}", alg,
                   signer->kid ? ",\"kid\":\"" : "", signer->kid ? signer->kid : "",
                   signer->kid ? "\"" : "");
    return signer_token_of(signer, alg, header, claims);
}
