/* Key sets: what is taken, what is refused and why, and the examples of the RFCs. */
#include "access/jwk.h"

#include "json/json_file.h"
#include "test.h"
#include "tokens.h"

static enum err load_text(const char *text, enum jwk_source source, struct jwk_set **ret,
                          struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    assert_err(ERR_OK, json_text_load(sv(text), "keys", &root, info));
    return jwk_set_load(root, "keys", source, ret, info);
}

#define RFC_PAYLOAD                                                                                \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"

/* RFC 7515, appendix A, and RFC 8037, appendix A.4. */
static const struct {
    const char *label, *key;
    enum jwk_algorithm algorithm;
    const char *text, *signature;
} rfc_rows[] = {
    {"RFC 7515 A.1",
     "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-"
     "EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}]}",
     JWK_HS256, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_PAYLOAD,
     "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    {"RFC 7515 A.2",
     "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPd"
     "dxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZ"
     "o9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4"
     "uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb"
     "54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}",
     JWK_RS256, "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD,
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W"
     "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"
     "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv"
     "Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {"RFC 7515 A.3",
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvR"
     "VEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}",
     JWK_ES256, "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD,
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {"RFC 8037 A.4",
     "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaa"
     "PcHURo\"}]}",
     JWK_EDDSA, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static void test_jwk_verify__examples_of_the_rfcs__are_right_and_only_they(void **state)
{
    (void)state;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    for (size_t i = 0; i < ARRAY_LEN(rfc_rows); i++) {
        struct jwk_set *set = NULL;
        struct err_info info = {0};
        char signature[512];
        size_t bytes = 0;
        bool is_several;
        assert_err(ERR_OK, load_text(rfc_rows[i].key, JWK_FROM_FILE, &set, &info));
        assert_true(base64_decode(BASE64_URL, sv(rfc_rows[i].signature), signature,
                                  sizeof signature, &bytes));
        const struct jwk *key =
            jwk_set_find(set, (struct strview){0}, rfc_rows[i].algorithm, &is_several);
        assert_non_null(key);
        const struct strview text = sv(rfc_rows[i].text);
        if (!jwk_verify(key, rfc_rows[i].algorithm, text, sv_of(signature, bytes), context)) {
            fail_msg("%s", rfc_rows[i].label);
        }
        signature[bytes / 2] ^= 1;
        assert_false(
            jwk_verify(key, rfc_rows[i].algorithm, text, sv_of(signature, bytes), context));
        assert_false(
            jwk_verify(key, rfc_rows[i].algorithm, text, sv_of(signature, bytes - 1), context));
        assert_false(jwk_verify(key, rfc_rows[i].algorithm, text, sv_of(signature, 0), context));
        jwk_set_unref(set);
    }
    EVP_MD_CTX_free(context);
}

#define X32 "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define Y32 "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define EC  "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X32 "\",\"y\":\"" Y32 "\""
#define OCT "\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"" X32 "\""

static const struct {
    const char *label, *text;
    const char *from_file;    /* part of the reason, or NULL: taken */
    const char *from_address; /* the same */
} set_rows[] = {
    {"good", "{\"keys\":[{" EC "}]}", NULL, NULL},
    {"good with a use", "{\"keys\":[{" EC ",\"use\":\"sig\",\"alg\":\"ES256\"}]}", NULL, NULL},
    {"to verify", "{\"keys\":[{" EC ",\"key_ops\":[\"verify\"]}]}", NULL, NULL},
    {"no array", "{\"keys\":{}}", "must be an array", "must be an array"},
    {"not a set", "[]", "must be an array", "must be an array"},
    {"nothing in it", "{\"keys\":[]}", "no key", "no key"},
    {"unknown type beside a good one", "{\"keys\":[{\"kty\":\"XY\"},{" EC "}]}", "/keys/0", NULL},
    {"for encryption", "{\"keys\":[{" EC ",\"use\":\"enc\"}]}", "use", "use"},
    {"to sign", "{\"keys\":[{" EC ",\"key_ops\":[\"sign\"]}]}", "key_ops", "key_ops"},
    {"private", "{\"keys\":[{" EC ",\"d\":\"AQAB\"}]}", "could sign", "could sign"},
    {"secret", "{\"keys\":[{" OCT "}]}", NULL, "could sign"},
    {"secret without alg", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"" X32 "\"}]}", "needs its alg",
     "could sign"},
    {"short secret", "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AQAB\"}]}",
     "as long as its hash", "could sign"},
    {"secret for RSA", "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"RS256\",\"k\":\"" X32 "\"}]}",
     "alg or crv", "could sign"},
    {"curve key for RSA", "{\"keys\":[{" EC ",\"alg\":\"RS256\"}]}", "alg or crv", "alg or crv"},
    {"curve key for another curve", "{\"keys\":[{" EC ",\"alg\":\"ES384\"}]}", "alg or crv",
     "alg or crv"},
    {"alg none", "{\"keys\":[{" EC ",\"alg\":\"none\"}]}", "alg or crv", "alg or crv"},
    {"not on the curve",
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X32 "\",\"y\":\"" X32 "\"}]}",
     "no key of its type", "no key of its type"},
    {"a coordinate too short",
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"" Y32 "\"}]}",
     "curve's length", "curve's length"},
    {"secp256k1",
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" X32 "\",\"y\":\"" Y32 "\"}]}",
     "alg or crv", "alg or crv"},
    {"small RSA", "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"" X32 "\"}]}", "2048",
     "2048"},
    {"padded base64",
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X32 "=\",\"y\":\"" Y32 "\"}]}",
     "base64url", "base64url"},
    {"X25519", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X32 "\"}]}", "alg or crv",
     "alg or crv"},
    {"a point of small order", /* any signature could be made for it */
     "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
     "\"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
     "no key of its type", "no key of its type"},
    {"no object", "{\"keys\":[7]}", "no object", "no object"},
    {"kid twice", "{\"keys\":[{" EC ",\"kid\":\"a\"},{" EC ",\"kid\":\"a\"}]}", "same kid", NULL},
};

static void test_jwk_set_load__sets__by_where_they_come_from(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(set_rows); i++) {
        const enum jwk_source source = i % 2 ? JWK_FROM_ADDRESS : JWK_FROM_FILE;
        const char *reason = i % 2 ? set_rows[i / 2].from_address : set_rows[i / 2].from_file;
        struct jwk_set *set = NULL;
        struct err_info info = {0};
        const enum err e = load_text(set_rows[i / 2].text, source, &set, &info);
        if (e != (reason ? ERR_CONFIG : ERR_OK) || (reason && !strstr(info.text, reason))) {
            fail_msg("%s, %zu: %s: %s", set_rows[i / 2].label, i % 2, err_name(e), info.text);
        }
        assert_true(!e == (set != NULL));
        jwk_set_unref(set);
    }
}

static void test_jwk_set_load__too_many__are_refused(void **state)
{
    (void)state;
    json_t *keys = json_array();
    for (int i = 0; i <= JWK_KEYS_MAX; i++) {
        json_array_append_new(keys, json_object());
    }
    json_t *root = json_pack("{s:o}", "keys", keys);
    struct jwk_set *set = NULL;
    assert_err(ERR_CONFIG, jwk_set_load(root, "keys", JWK_FROM_ADDRESS, &set, NULL));
    json_decref(root);
}

/* An exponent of 2048 bits would make each check a hundred times as dear. */
static void test_jwk_set_load__large_exponent__is_refused(void **state)
{
    (void)state;
    struct signer signer = signer_new("RSA", NULL, "big");
    json_t *jwk = signer_jwk(&signer, NULL);
    json_object_set(jwk, "e", json_object_get(jwk, "n"));
    json_t *root = json_pack("{s:[o]}", "keys", jwk);
    struct jwk_set *set = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, jwk_set_load(root, "keys", JWK_FROM_FILE, &set, &info));
    assert_non_null(strstr(info.text, "exponent"));
    json_decref(root);
    signer_free(&signer);
}

static void test_jwk_algorithms_parse__lists(void **state)
{
    (void)state;
    uint32_t bits = 0;
    struct err_info info = {0};
    assert_err(ERR_OK, jwk_algorithms_parse("RS256, ES256", &bits, &info));
    assert_int_equal(1u << JWK_RS256 | 1u << JWK_ES256, bits);
    assert_err(ERR_OK, jwk_algorithms_parse("", &bits, &info));
    assert_int_equal((1u << JWK_ALGORITHMS) - 1, bits);
    assert_err(ERR_CONFIG, jwk_algorithms_parse("RS256,none", &bits, &info));
    assert_non_null(strstr(info.text, "none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jwk_verify__examples_of_the_rfcs__are_right_and_only_they),
        cmocka_unit_test(test_jwk_set_load__sets__by_where_they_come_from),
        cmocka_unit_test(test_jwk_set_load__too_many__are_refused),
        cmocka_unit_test(test_jwk_set_load__large_exponent__is_refused),
        cmocka_unit_test(test_jwk_algorithms_parse__lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
