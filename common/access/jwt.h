/* jwt.h - is this JSON Web Token one of ours, and what does it claim?
 *
 * WHAT     compact serialisation only, three parts of canonical base64url. Header, then key, then
 *          signature, and only then the claims are looked at; `kid` is nothing but a name to look a
 *          key up by, and keys that a token brings along (jwk, jku, x5u, x5c) are never used.
 *          Wanted: `sub`, `exp`, the issuer and the audience of the rules. Checked where present:
 *          `nbf`, `typ` (JWT or at+jwt: a token made for another purpose is none for us).
 * REFUSES  `none` and every algorithm that is not in the table, an algorithm that is not the key's,
 *          repeated members, `crit`.
 * BOUNDS   bytes_max a token; a signature is checked with one key at most.
 * THREADS  a checker has one owner.
 * COST     no allocation but jansson's, for the header and, once the signature is right, the
 *          claims; bench/micro/bench_access.c.
 * SOURCE   RFC 7515, 7519, 8725 (best current practices), 9068 (at+jwt).
 */
#pragma once

#include "access/jwk.h"

/* Why not. The texts tell nothing of the token itself. */
#define JWT_FAULT_MAP(X)                                                                           \
    X(JWT_FINE, "")                                                                                \
    X(JWT_TOO_LONG, "the token is too long")                                                       \
    X(JWT_FORM, "the token is not three parts of base64url")                                       \
    X(JWT_HEADER, "the header of the token is not an object of distinct members")                  \
    X(JWT_TYPE, "the token is for another purpose (typ)")                                          \
    X(JWT_CRITICAL, "the token wants an extension that is not known here (crit)")                  \
    X(JWT_ALGORITHM, "the algorithm of the token is not taken here")                               \
    X(JWT_KEY_UNKNOWN, "no key for the token is known here")                                       \
    X(JWT_KEY_SEVERAL, "the token needs a kid: it may be any of several keys'")                    \
    X(JWT_SIGNATURE, "the signature of the token is wrong")                                        \
    X(JWT_CLAIMS, "the claims of the token are not an object of distinct members")                 \
    X(JWT_SUBJECT, "the token has no sub that can be used")                                        \
    X(JWT_EXPIRY, "the token has no exp, or one that is no time")                                  \
    X(JWT_EXPIRED, "the token has expired")                                                        \
    X(JWT_EARLY, "the token is not valid yet (nbf)")                                               \
    X(JWT_ISSUER, "the token is from another issuer (iss)")                                        \
    X(JWT_AUDIENCE, "the token is for another audience (aud)")

enum jwt_fault {
#define JWT_ENUM_(fault, text) fault,
    JWT_FAULT_MAP(JWT_ENUM_)
#undef JWT_ENUM_
        JWT_FAULTS
};
const char *jwt_fault_text(enum jwt_fault fault);

#define JWT_SUBJECT_BYTES_MAX 256

struct jwt_rules {
    const char *issuer;
    const char *audience;
    int64_t leeway_ms;   /* clocks may differ by so much */
    uint32_t algorithms; /* bits of enum jwk_algorithm */
    size_t bytes_max;
};

struct jwt_checker;

void jwt_checker_free(struct jwt_checker *checker); /* NULL is a no-op */
DEALLOC(jwt_checker_free) struct jwt_checker *jwt_checker_new(const struct jwt_rules *rules);
/* JWT_FINE: *ret_claims is the caller's, *ret_expires_ms is `exp` and the leeway. */
MUST_CHECK enum jwt_fault jwt_check(struct jwt_checker *checker, const struct jwk_set *keys,
                                    struct strview token, int64_t now_ms, json_t **ret_claims,
                                    int64_t *ret_expires_ms);
uint64_t
jwt_checker_signer(const struct jwt_checker *checker); /* jwk_id of the last good token's */
