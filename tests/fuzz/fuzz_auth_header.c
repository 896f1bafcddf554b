/* Who asks, from a stranger's header: the first line is Authorization, the second X-Api-Key, each left
 * out when empty. Nobody gets in but with the one key and the one token that are good. */
#include <stdlib.h>
#include <unistd.h>

#include "access_config.h"
#include "core/attributes.h"
#include "fuzz.h"
#include "log/log.h"

/* SHA-256 of KEY; the secret of the tokens is "0" 64 times. */
#define KEY    "mr_FuzzFuzzFuzz_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define DIGEST "644c20eeb42c001afc73b601cefb10fdded130051f7abba869c94c9ab743c7a5"
#define KEYS   "{\"keys\":[{\"id\":\"FuzzFuzzFuzz\",\"sha256\":\"" DIGEST "\",\"name\":\"fuzz\"}]}"
#define JWKS                                                                                       \
    "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"k\",\"k\":"                           \
    "\"MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA\"}]" \
    "}"

static char *file_with(const char *text)
{
    char *path = must_strdup("/tmp/millrace-fuzz-XXXXXX");
    const int fd = mkstemp(path);
    FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "no file");
    (void)close(fd);
    return path;
}

static struct access_view *view_get(void)
{
    static struct access_config config;
    static struct access_view *view;
    if (!view) {
        struct access *access = NULL;
        char *keys = file_with(KEYS), *jwks = file_with(JWKS);
        config = access_config_on();
        config.keys_file = keys;
        config.jwks_file = jwks;
        config.issuer = "i"; /* as the corpus has it */
        config.audience = "a";
        config.leeway_ms = 0;
        config.failures_rate = 1e6;
        log_threshold = LOG_OFF;
        FUZZ_CHECK(access_new(&config, &access, NULL) == ERR_OK, "not started");
        view = access_view_new(access);
        (void)unlink(keys);
        (void)unlink(jwks);
    }
    return view;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = must_alloc(bytes + 1);
    memcpy(text, data, bytes);
    char *rest = text;
    const char *authorization = strsep(&rest, "\n"), *api_key = strsep(&rest, "\n");
    const struct access_request request = {
        .authorization = authorization && authorization[0] ? authorization : NULL,
        .api_key = api_key && api_key[0] ? api_key : NULL,
        .client = "192.0.2.1",
    };
    struct access_verdict verdict;
    struct err_info info = {0};
    const enum err e = access_identify(view_get(), &request, &verdict, &info);
    FUZZ_CHECK(!e == (verdict.principal != NULL), "a principal and an error, or neither");
    FUZZ_CHECK(!e == (verdict.challenge[0] == '\0') || e == ERR_RATE_LIMITED,
               "a refusal without a challenge");
    for (const char *at = verdict.challenge; *at; at++) {
        FUZZ_CHECK(*at >= ' ' && *at < 0x7f, "a challenge that no header can hold");
    }
    if (!e && verdict.principal->kind == ACCESS_KEY) {
        FUZZ_CHECK((api_key && strcmp(api_key, KEY) == 0) ||
                       strncasecmp(authorization, "Basic ", 6) == 0 || strstr(authorization, KEY),
                   "let in without the key");
    }
    free(text);
    return 0;
}
