#include "access/jwt.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base64.h"
#include "json/json_file.h"

#define TIME_SECONDS_MAX 253402300799.0 /* the end of year 9999 */

struct jwt_checker {
    struct jwt_rules rules;
    EVP_MD_CTX *context;
    char *header; /* room for a whole token each */
    char *payload;
    char *signature;
    uint64_t signer;
};

/* A token, cut at its dots. */
struct parts {
    struct strview header;
    struct strview payload;
    struct strview signature;
    struct strview signed_text; /* header and payload with their dot */
};

const char *jwt_fault_text(enum jwt_fault fault)
{
    static const char *const texts[JWT_FAULTS] = {
#define JWT_TEXT_(code, text) [code] = (text),
        JWT_FAULT_MAP(JWT_TEXT_)
#undef JWT_TEXT_
    };
    CHECK((unsigned)fault < JWT_FAULTS);
    return texts[fault];
}

void jwt_checker_free(struct jwt_checker *checker)
{
    if (checker) {
        EVP_MD_CTX_free(checker->context);
        free(checker->header);
        free(checker->payload);
        free(checker->signature);
        free(checker);
    }
}

struct jwt_checker *jwt_checker_new(const struct jwt_rules *rules)
{
    const size_t room = BASE64_DECODED_MAX(rules->bytes_max);
    struct jwt_checker *checker = must_alloc(sizeof *checker);
    checker->rules = *rules;
    checker->context = EVP_MD_CTX_new();
    CHECK(checker->context);
    checker->header = must_alloc(room);
    checker->payload = must_alloc(room);
    checker->signature = must_alloc(room);
    return checker;
}

uint64_t jwt_checker_signer(const struct jwt_checker *checker)
{
    return checker->signer;
}

/* --- form ------------------------------------------------------------------------------------- */

static bool cut(struct strview token, struct parts *ret)
{
    const char *end = token.ptr + token.len;
    const char *first = memchr(token.ptr, '.', token.len);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1))) {
        return false;
    }
    ret->header = sv_of(token.ptr, (size_t)(first - token.ptr));
    ret->payload = sv_of(first + 1, (size_t)(second - first - 1));
    ret->signature = sv_of(second + 1, (size_t)(end - second - 1));
    ret->signed_text = sv_of(token.ptr, (size_t)(second - token.ptr));
    return true;
}

static bool decode(struct strview *part, char *out)
{
    size_t bytes;
    const bool is_good =
        base64_decode(BASE64_URL, *part, out, BASE64_DECODED_MAX(part->len), &bytes);
    *part = sv_of(out, is_good ? bytes : 0);
    return is_good && bytes > 0;
}

/* An object of distinct members, or NULL. */
static json_t *object_load(struct strview text)
{
    json_t *object = NULL;
    if (json_text_load(text, "token", &object, NULL) || !json_is_object(object)) {
        json_decrefp(&object);
        return NULL;
    }
    return object;
}

/* --- header ----------------------------------------------------------------------------------- */

/* ptr NULL when the object has no such member; *ret_other when it has, but no text. */
static struct strview text_member(const json_t *object, const char *name, bool *ret_other)
{
    const json_t *value = json_object_get(object, name);
    *ret_other |= value && !json_is_string(value);
    return json_is_string(value) ? sv_of(json_string_value(value), json_string_length(value))
                                 : (struct strview){0};
}

static bool is_type_ours(struct strview type)
{
    static const char *const types[] = {"JWT", "at+jwt", "application/at+jwt"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (type.len == strlen(types[i]) && strncasecmp(type.ptr, types[i], type.len) == 0) {
            return true;
        }
    }
    return !type.ptr;
}

static enum jwt_fault header_check(const struct jwt_checker *checker, const json_t *header,
                                   const struct jwk_set *keys, enum jwk_algorithm *ret_algorithm,
                                   const struct jwk **ret_key)
{
    bool is_other = false, is_several;
    const struct strview type = text_member(header, "typ", &is_other);
    const struct strview name = text_member(header, "alg", &is_other);
    const struct strview kid = text_member(header, "kid", &is_other);
    if (is_other || kid.len > JWK_KID_BYTES_MAX) {
        return JWT_HEADER;
    }
    if (json_object_get(header, "crit")) {
        return JWT_CRITICAL;
    }
    if (!is_type_ours(type)) {
        return JWT_TYPE;
    }
    if (!name.ptr || !jwk_algorithm_find(name, ret_algorithm) ||
        !(checker->rules.algorithms >> *ret_algorithm & 1)) {
        return JWT_ALGORITHM;
    }
    *ret_key = jwk_set_find(keys, kid, *ret_algorithm, &is_several);
    return *ret_key ? JWT_FINE : is_several ? JWT_KEY_SEVERAL : JWT_KEY_UNKNOWN;
}

/* --- claims ----------------------------------------------------------------------------------- */

/* A NumericDate (RFC 7519 §2) as milliseconds. */
static bool time_claim(const json_t *value, int64_t *ret_ms)
{
    const double seconds = json_number_value(value);
    if (!json_is_number(value) || !isfinite(seconds) || seconds < 0 || seconds > TIME_SECONDS_MAX) {
        return false;
    }
    *ret_ms = (int64_t)(seconds * 1000);
    return true;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_audience(const json_t *claim, const char *audience)
{
    const json_t *item;
    size_t i;
    json_array_foreach(claim, i, item)
    {
        if (is_text(item, audience)) {
            return true;
        }
    }
    return is_text(claim, audience);
}

static enum jwt_fault claims_check(const struct jwt_rules *rules, const json_t *claims,
                                   int64_t now_ms, int64_t *ret_expires_ms)
{
    const json_t *subject = json_object_get(claims, "sub");
    const json_t *nbf = json_object_get(claims, "nbf");
    int64_t exp_ms, nbf_ms = 0;
    if (!is_text(json_object_get(claims, "iss"), rules->issuer)) {
        return JWT_ISSUER;
    }
    if (!is_audience(json_object_get(claims, "aud"), rules->audience)) {
        return JWT_AUDIENCE;
    }
    if (!time_claim(json_object_get(claims, "exp"), &exp_ms)) {
        return JWT_EXPIRY;
    }
    if (now_ms >= exp_ms + rules->leeway_ms) {
        return JWT_EXPIRED;
    }
    if (nbf && (!time_claim(nbf, &nbf_ms) || now_ms < nbf_ms - rules->leeway_ms)) {
        return JWT_EARLY;
    }
    if (!json_is_string(subject) || json_string_length(subject) == 0 ||
        json_string_length(subject) > JWT_SUBJECT_BYTES_MAX) {
        return JWT_SUBJECT;
    }
    *ret_expires_ms = exp_ms + rules->leeway_ms;
    return JWT_FINE;
}

/* --- all of it -------------------------------------------------------------------------------- */

static enum jwt_fault signature_check(struct jwt_checker *checker, const struct jwk_set *keys,
                                      struct parts *parts)
{
    const struct jwk *key = NULL;
    enum jwk_algorithm algorithm = JWK_ALGORITHMS;
    if (!decode(&parts->header, checker->header) || !decode(&parts->payload, checker->payload) ||
        !decode(&parts->signature, checker->signature)) {
        return JWT_FORM;
    }
    CLEANUP(json_decrefp) json_t *header = object_load(parts->header);
    const enum jwt_fault fault =
        header ? header_check(checker, header, keys, &algorithm, &key) : JWT_HEADER;
    if (fault) {
        return fault;
    }
    checker->signer = jwk_id(key);
    return jwk_verify(key, algorithm, parts->signed_text, parts->signature, checker->context)
               ? JWT_FINE
               : JWT_SIGNATURE;
}

enum jwt_fault jwt_check(struct jwt_checker *checker, const struct jwk_set *keys,
                         struct strview token, int64_t now_ms, json_t **ret_claims,
                         int64_t *ret_expires_ms)
{
    struct parts parts;
    if (token.len > checker->rules.bytes_max) {
        return JWT_TOO_LONG;
    }
    if (!cut(token, &parts)) {
        return JWT_FORM;
    }
    enum jwt_fault fault = signature_check(checker, keys, &parts);
    if (fault) {
        return fault;
    }
    CLEANUP(json_decrefp) json_t *claims = object_load(parts.payload);
    fault = claims ? claims_check(&checker->rules, claims, now_ms, ret_expires_ms) : JWT_CLAIMS;
    if (!fault) {
        *ret_claims = TAKE(claims);
    }
    return fault;
}
