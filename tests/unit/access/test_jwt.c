/* Tokens: every algorithm with keys made here, and every way that one is not ours (RFC 8725). */
#include "access/jwt.h"

#include <openssl/x509.h>

#include "test.h"
#include "tokens.h"

#define NOW_S  1800000000
#define NOW_MS ((int64_t)NOW_S * 1000)
#define CLAIMS                                                                                     \
    "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"shop\",\"exp\":1800000600}"

enum { RSA_KEY, P256_KEY, P384_KEY, P521_KEY, ED_KEY, SECRET_256, SECRET_384, SECRET_512, SIGNERS };

struct fixture {
    struct signer signers[SIGNERS];
    struct jwk_set *keys;
    struct jwt_checker *checker;
};

static const struct {
    const char *type, *curve, *kid, *alg;
} kinds[SIGNERS] = {
    [RSA_KEY] = {"RSA", NULL, "rsa", NULL},        [P256_KEY] = {"EC", "P-256", "p256", NULL},
    [P384_KEY] = {"EC", "P-384", "p384", NULL},    [P521_KEY] = {"EC", "P-521", "p521", NULL},
    [ED_KEY] = {"OKP", "Ed25519", "ed", NULL},     [SECRET_256] = {"oct", NULL, "s256", "HS256"},
    [SECRET_384] = {"oct", NULL, "s384", "HS384"}, [SECRET_512] = {"oct", NULL, "s512", "HS512"},
};

static const struct jwt_rules rules = {
    .issuer = "https://issuer",
    .audience = "millrace",
    .leeway_ms = 30000,
    .algorithms = (1u << JWK_ALGORITHMS) - 1,
    .bytes_max = 8192,
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    json_t *keys = json_array();
    for (size_t i = 0; i < SIGNERS; i++) {
        fixture->signers[i] = signer_new(kinds[i].type, kinds[i].curve, kinds[i].kid);
        json_array_append_new(keys, signer_jwk(&fixture->signers[i], kinds[i].alg));
    }
    json_t *root = json_pack("{s:o}", "keys", keys);
    struct err_info info = {0};
    if (jwk_set_load(root, "keys", JWK_FROM_FILE, &fixture->keys, &info)) {
        print_error("%s\n", info.text);
        return -1;
    }
    json_decref(root);
    fixture->checker = jwt_checker_new(&rules);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < SIGNERS; i++) {
        signer_free(&fixture->signers[i]);
    }
    jwk_set_unref(fixture->keys);
    jwt_checker_free(fixture->checker);
    free(fixture);
    return 0;
}

static enum jwt_fault check(struct fixture *fixture, const char *token)
{
    json_t *claims = NULL;
    int64_t expires_ms = 0;
    const enum jwt_fault fault =
        jwt_check(fixture->checker, fixture->keys, sv(token), NOW_MS, &claims, &expires_ms);
    assert_true((fault == JWT_FINE) == (claims != NULL));
    json_decref(claims);
    return fault;
}

static const struct {
    const char *alg;
    size_t signer;
} algorithm_rows[] = {
    {"HS256", SECRET_256}, {"HS384", SECRET_384}, {"HS512", SECRET_512}, {"RS256", RSA_KEY},
    {"RS384", RSA_KEY},    {"RS512", RSA_KEY},    {"PS256", RSA_KEY},    {"PS384", RSA_KEY},
    {"PS512", RSA_KEY},    {"ES256", P256_KEY},   {"ES384", P384_KEY},   {"ES512", P521_KEY},
    {"EdDSA", ED_KEY},     {"Ed25519", ED_KEY},
};

static void test_jwt_check__every_algorithm__is_taken_with_its_key(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(JWK_ALGORITHMS, ARRAY_LEN(algorithm_rows));
    for (size_t i = 0; i < ARRAY_LEN(algorithm_rows); i++) {
        const struct signer *signer = &fixture->signers[algorithm_rows[i].signer];
        char *token = signer_token(signer, algorithm_rows[i].alg, CLAIMS);
        const enum jwt_fault fault = check(fixture, token);
        if (fault) {
            fail_msg("%s: %s", algorithm_rows[i].alg, jwt_fault_text(fault));
        }
        free(token);
    }
}

/* With one letter changed no token is taken, whichever letter it is. */
static void test_jwt_check__any_letter_changed__is_refused(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_LEN(algorithm_rows); i++) {
        const struct signer *signer = &fixture->signers[algorithm_rows[i].signer];
        char *token = signer_token(signer, algorithm_rows[i].alg, CLAIMS);
        const size_t letters = strlen(token);
        for (size_t at = i % 7; at < letters; at += 7) {
            const char old = token[at];
            token[at] = old == 'A' ? 'B' : 'A';
            if (!check(fixture, token)) {
                fail_msg("%s: letter %zu", algorithm_rows[i].alg, at);
            }
            token[at] = old;
        }
        assert_int_equal(JWT_FINE, check(fixture, token));
        token[strlen(token) - 1] = '\0';
        assert_true(check(fixture, token) == JWT_FORM || check(fixture, token) == JWT_SIGNATURE);
        free(token);
    }
}

/* Each algorithm's token with another algorithm's name in the header, signed all the same. */
static void test_jwt_check__algorithm_swapped__is_refused(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_LEN(algorithm_rows); i++) {
        const struct signer *signer = &fixture->signers[algorithm_rows[i].signer];
        for (size_t k = 0; k < ARRAY_LEN(algorithm_rows); k++) {
            const bool is_same = i == k || (algorithm_rows[i].signer == ED_KEY &&
                                            algorithm_rows[k].signer == ED_KEY);
            char header[128];
            (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"%s\"}",
                           algorithm_rows[k].alg, signer->kid);
            char *token = signer_token_of(signer, algorithm_rows[i].alg, header, CLAIMS);
            if ((check(fixture, token) == JWT_FINE) != is_same) {
                fail_msg("%s as %s", algorithm_rows[i].alg, algorithm_rows[k].alg);
            }
            free(token);
        }
    }
}

/* The classic: the public RSA key, which everybody has, as the secret of an HMAC. */
static void test_jwt_check__public_key_as_secret__is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct signer forger = {.kid = "rsa"};
    unsigned char *der = NULL;
    const int bytes = i2d_PUBKEY(fixture->signers[RSA_KEY].pkey, &der);
    assert_true(bytes >= 64);
    memcpy(forger.secret, der, 64);
    OPENSSL_free(der);
    char *token = signer_token(&forger, "HS256", CLAIMS);
    assert_int_equal(JWT_KEY_UNKNOWN, check(fixture, token));
    free(token);
}

#define HEADER "{\"alg\":\"HS256\",\"kid\":\"s256\"}"
#define WITH(members)                                                                              \
    "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"shop\"," members "}"
#define EXP "\"exp\":1800000600"

static const struct {
    const char *label, *header, *claims;
    enum jwt_fault fault;
} token_rows[] = {
    {"good", HEADER, CLAIMS, JWT_FINE},
    {"at+jwt", "{\"alg\":\"HS256\",\"kid\":\"s256\",\"typ\":\"at+JWT\"}", CLAIMS, JWT_FINE},
    {"members nobody knows", "{\"alg\":\"HS256\",\"kid\":\"s256\",\"x\":[1]}", CLAIMS, JWT_FINE},
    {"key brought along",
     "{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AQAB\"},\"kid\":\"mine\"}", CLAIMS,
     JWT_KEY_UNKNOWN},
    {"address brought along", "{\"alg\":\"HS256\",\"jku\":\"https://x/\",\"kid\":\"mine\"}", CLAIMS,
     JWT_KEY_UNKNOWN},
    {"no kid, one key for it", "{\"alg\":\"HS256\"}", CLAIMS, JWT_FINE},
    {"none", "{\"alg\":\"none\",\"kid\":\"s256\"}", CLAIMS, JWT_ALGORITHM},
    {"None", "{\"alg\":\"None\"}", CLAIMS, JWT_ALGORITHM},
    {"no alg", "{\"kid\":\"s256\"}", CLAIMS, JWT_ALGORITHM},
    {"empty alg", "{\"alg\":\"\"}", CLAIMS, JWT_ALGORITHM},
    {"alg in lower case", "{\"alg\":\"hs256\",\"kid\":\"s256\"}", CLAIMS, JWT_ALGORITHM},
    {"alg is a number", "{\"alg\":256}", CLAIMS, JWT_HEADER},
    {"kid unknown", "{\"alg\":\"HS256\",\"kid\":\"other\"}", CLAIMS, JWT_KEY_UNKNOWN},
    {"kid is a path", "{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}", CLAIMS, JWT_KEY_UNKNOWN},
    {"kid is a query", "{\"alg\":\"HS256\",\"kid\":\"' OR 1=1 --\"}", CLAIMS, JWT_KEY_UNKNOWN},
    {"kid is empty", "{\"alg\":\"HS256\",\"kid\":\"\"}", CLAIMS, JWT_KEY_UNKNOWN},
    {"kid is an object", "{\"alg\":\"HS256\",\"kid\":{}}", CLAIMS, JWT_HEADER},
    {"kid holds a NUL", "{\"alg\":\"HS256\",\"kid\":\"s256\\u0000\"}", CLAIMS, JWT_HEADER},
    {"kid of another type", "{\"alg\":\"HS256\",\"kid\":\"rsa\"}", CLAIMS, JWT_KEY_UNKNOWN},
    {"crit", "{\"alg\":\"HS256\",\"kid\":\"s256\",\"crit\":[\"b64\"],\"b64\":false}", CLAIMS,
     JWT_CRITICAL},
    {"for another purpose", "{\"alg\":\"HS256\",\"kid\":\"s256\",\"typ\":\"dpop+jwt\"}", CLAIMS,
     JWT_TYPE},
    {"alg twice", "{\"alg\":\"HS256\",\"kid\":\"s256\",\"alg\":\"none\"}", CLAIMS, JWT_HEADER},
    {"header is an array", "[\"HS256\"]", CLAIMS, JWT_HEADER},
    {"header is no JSON", "alg", CLAIMS, JWT_HEADER},
    {"text behind the header", HEADER " {}", CLAIMS, JWT_HEADER},
    {"claims are an array", HEADER, "[]", JWT_CLAIMS},
    {"claims are no JSON", HEADER, "{\"iss\":", JWT_CLAIMS},
    {"exp twice", HEADER, WITH(EXP ",\"exp\":1900000000"), JWT_CLAIMS},
    {"no exp", HEADER, WITH("\"a\":1"), JWT_EXPIRY},
    {"exp is text", HEADER, WITH("\"exp\":\"1900000000\""), JWT_EXPIRY},
    {"exp is far too large", HEADER, WITH("\"exp\":1e300"), JWT_EXPIRY},
    {"exp is negative", HEADER, WITH("\"exp\":-1"), JWT_EXPIRY},
    {"exp with a fraction", HEADER, WITH("\"exp\":1800000600.5"), JWT_FINE},
    {"expired within the leeway", HEADER, WITH("\"exp\":1799999971"), JWT_FINE},
    {"expired", HEADER, WITH("\"exp\":1799999970"), JWT_EXPIRED},
    {"expired long ago", HEADER, WITH("\"exp\":0"), JWT_EXPIRED},
    {"nbf within the leeway", HEADER, WITH(EXP ",\"nbf\":1800000030"), JWT_FINE},
    {"not yet valid", HEADER, WITH(EXP ",\"nbf\":1800000031"), JWT_EARLY},
    {"nbf is text", HEADER, WITH(EXP ",\"nbf\":\"now\""), JWT_EARLY},
    {"audience in an array", HEADER,
     "{\"iss\":\"https://issuer\",\"aud\":[\"a\",7,\"millrace\"],\"sub\":\"shop\"," EXP "}",
     JWT_FINE},
    {"wrong audience", HEADER,
     "{\"iss\":\"https://issuer\",\"aud\":\"millrace2\",\"sub\":\"shop\"," EXP "}", JWT_AUDIENCE},
    {"wrong audiences", HEADER,
     "{\"iss\":\"https://issuer\",\"aud\":[\"a\",\"b\"],\"sub\":\"shop\"," EXP "}", JWT_AUDIENCE},
    {"no audience", HEADER, "{\"iss\":\"https://issuer\",\"sub\":\"shop\"," EXP "}", JWT_AUDIENCE},
    {"wrong issuer", HEADER,
     "{\"iss\":\"https://issuer/\",\"aud\":\"millrace\",\"sub\":\"shop\"," EXP "}", JWT_ISSUER},
    {"no issuer", HEADER, "{\"aud\":\"millrace\",\"sub\":\"shop\"," EXP "}", JWT_ISSUER},
    {"no sub", HEADER, "{\"iss\":\"https://issuer\",\"aud\":\"millrace\"," EXP "}", JWT_SUBJECT},
    {"empty sub", HEADER, "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"\"," EXP "}",
     JWT_SUBJECT},
};

static void test_jwt_check__what_is_not_ours__is_refused_with_the_reason(void **state)
{
    struct fixture *fixture = *state;
    /* One secret for HS256, so that "no kid" has one answer. */
    for (size_t i = 0; i < ARRAY_LEN(token_rows); i++) {
        char *token = signer_token_of(&fixture->signers[SECRET_256], "HS256", token_rows[i].header,
                                      token_rows[i].claims);
        const enum jwt_fault fault = check(fixture, token);
        if (fault != token_rows[i].fault) {
            fail_msg("%s: \"%s\", expected \"%s\"", token_rows[i].label, jwt_fault_text(fault),
                     jwt_fault_text(token_rows[i].fault));
        }
        free(token);
    }
}

static void test_jwt_check__texts_that_are_no_tokens__are_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const texts[] = {
        "",  ".",     "..",      "...", "a",        "a.b",      "eyJhbGciOiJIUzI1NiJ9..",
        "=", "a.b.c", "a.b.c.d", "e30", "e30.e30.", "e30..e30", "eyJhbGciOiJIUzI1NiJ9.e30.e30.",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_true(check(fixture, texts[i]) != JWT_FINE);
    }
    char *token = signer_token(&fixture->signers[SECRET_256], "HS256", CLAIMS);
    char changed[2048];
    (void)snprintf(changed, sizeof changed, "%s=", token); /* the same bytes, padded */
    assert_int_equal(JWT_FORM, check(fixture, changed));
    (void)snprintf(changed, sizeof changed, " %s", token);
    assert_int_equal(JWT_FORM, check(fixture, changed));
    (void)snprintf(changed, sizeof changed, "%s.AAAA", token);
    assert_int_equal(JWT_FORM, check(fixture, changed));
    *strrchr(token, '.') = '\0'; /* no signature at all */
    (void)snprintf(changed, sizeof changed, "%s.", token);
    assert_int_equal(JWT_FORM, check(fixture, changed));
    free(token);
}

/* 43 letters carry 258 bits: the last two bits of the last letter say nothing and must be 0. */
static void test_jwt_check__second_spelling_of_a_signature__is_refused(void **state)
{
    struct fixture *fixture = *state;
    char *token = signer_token(&fixture->signers[SECRET_256], "HS256", CLAIMS);
    char *last = &token[strlen(token) - 1];
    *last = (char)(*last + 1); /* A → B, c → d, …: only the two bits differ */
    assert_int_equal(JWT_FORM, check(fixture, token));
    free(token);
}

static void test_jwt_check__huge__is_refused(void **state)
{
    struct fixture *fixture = *state;
    const size_t bytes = rules.bytes_max + 1;
    char *text = malloc(bytes + 1);
    memset(text, 'A', bytes);
    text[bytes] = '\0';
    text[10] = text[20] = '.';
    assert_int_equal(JWT_TOO_LONG, check(fixture, text));
    text[bytes - 1] = '\0';
    assert_true(check(fixture, text) != JWT_TOO_LONG);
    free(text);
}

/* Depth is bounded by jansson, memory by the token's length. */
static void test_jwt_check__deep_header__is_refused(void **state)
{
    struct fixture *fixture = *state;
    char header[5000];
    memset(header, '[', sizeof header);
    header[sizeof header - 1] = '\0';
    char *token = signer_token_of(&fixture->signers[SECRET_256], "HS256", header, "{}");
    assert_int_equal(JWT_HEADER, check(fixture, token));
    free(token);
}

static void test_jwt_check__algorithm_not_allowed__is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct jwt_rules few = rules;
    json_t *claims = NULL;
    int64_t expires_ms = 0;
    few.algorithms = 1u << JWK_ES256;
    struct jwt_checker *checker = jwt_checker_new(&few);
    char *token = signer_token(&fixture->signers[RSA_KEY], "RS256", CLAIMS);
    assert_int_equal(JWT_ALGORITHM,
                     jwt_check(checker, fixture->keys, sv(token), NOW_MS, &claims, &expires_ms));
    free(token);
    token = signer_token(&fixture->signers[P256_KEY], "ES256", CLAIMS);
    assert_int_equal(JWT_FINE,
                     jwt_check(checker, fixture->keys, sv(token), NOW_MS, &claims, &expires_ms));
    assert_true(expires_ms == (int64_t)1800000630 * 1000);
    json_decref(claims);
    free(token);
    jwt_checker_free(checker);
}

static void test_jwt_check__no_kid_and_several_keys__is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct signer one = signer_new("EC", "P-256", NULL);
    struct jwk_set *set = NULL;
    json_t *claims = NULL;
    int64_t expires_ms = 0;
    json_t *root = json_pack("{s:[o,o]}", "keys", signer_jwk(&one, NULL),
                             signer_jwk(&fixture->signers[P256_KEY], NULL));
    assert_err(ERR_OK, jwk_set_load(root, "keys", JWK_FROM_FILE, &set, NULL));
    char *token = signer_token(&one, "ES256", CLAIMS);
    assert_int_equal(JWT_KEY_SEVERAL,
                     jwt_check(fixture->checker, set, sv(token), NOW_MS, &claims, &expires_ms));
    free(token);
    jwk_set_unref(set);
    json_decref(root);
    signer_free(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jwt_check__every_algorithm__is_taken_with_its_key),
        cmocka_unit_test(test_jwt_check__any_letter_changed__is_refused),
        cmocka_unit_test(test_jwt_check__algorithm_swapped__is_refused),
        cmocka_unit_test(test_jwt_check__public_key_as_secret__is_refused),
        cmocka_unit_test(test_jwt_check__what_is_not_ours__is_refused_with_the_reason),
        cmocka_unit_test(test_jwt_check__texts_that_are_no_tokens__are_refused),
        cmocka_unit_test(test_jwt_check__second_spelling_of_a_signature__is_refused),
        cmocka_unit_test(test_jwt_check__huge__is_refused),
        cmocka_unit_test(test_jwt_check__deep_header__is_refused),
        cmocka_unit_test(test_jwt_check__algorithm_not_allowed__is_refused),
        cmocka_unit_test(test_jwt_check__no_kid_and_several_keys__is_refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
