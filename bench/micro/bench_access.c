/* What it costs to know who asks: an API key, a token seen before, a token not seen before, a ticket, and what
 * is refused: garbage under a good head for each algorithm, so that the signature is checked in full.
 *
 * CPU time, best of five rounds; 512 different credentials in turn. Prints one JSON line per figure. Run
 * it from a release build. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "access/access_key.h"
#include "access_config.h"
#include "core/clock.h"
#include "log/log.h"
#include "tokens.h"

#define CREDENTIALS  512
#define ROUNDS       5
#define VALUE_BYTES  2048
#define KEYS_IN_FILE 1000

struct bench {
    struct access_config config;
    struct tickets_config tickets;
    struct access_view *view;
    char (*values)[VALUE_BYTES]; /* CREDENTIALS of them */
    bool is_tickets;             /* else they are header fields */
};

static char path_keys[] = "/tmp/millrace-bench-XXXXXX", path_jwks[] = "/tmp/millrace-bench-XXXXXX";

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* cannot fail */
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static enum err ask(struct bench *bench, size_t i)
{
    const char *value = bench->values[i];
    const struct access_request request = {.authorization = bench->is_tickets ? NULL : value,
                                           .ticket = bench->is_tickets ? value : NULL,
                                           .client = "192.0.2.1"};
    struct access_verdict verdict;
    return access_identify(bench->view, &request, &verdict, NULL);
}

static void measure(struct bench *bench, const char *name, enum err expected, int passes)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        const double from = cpu_seconds();
        for (int pass = 0; pass < passes; pass++) {
            for (size_t i = 0; i < CREDENTIALS; i++) {
                CHECK(ask(bench, i) == expected);
            }
        }
        const double seconds = cpu_seconds() - from;
        best = seconds < best ? seconds : best;
    }
    const double ns = best / ((double)CREDENTIALS * passes) * 1e9;
    (void)printf("{\"name\":\"%s\",\"ns\":%.0f,\"per_second\":%.0f}\n", name, ns, 1e9 / ns);
}

/* A view of its own, so that no token has been seen. */
static void view_renew(struct bench *bench, struct access *access)
{
    access_view_free(bench->view);
    bench->view = access_view_new(access);
}

static void measure_new(struct bench *bench, struct access *access, const char *name)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        view_renew(bench, access);
        const double from = cpu_seconds();
        for (size_t i = 0; i < CREDENTIALS; i++) {
            CHECK(ask(bench, i) == ERR_OK);
        }
        const double seconds = cpu_seconds() - from;
        best = seconds < best ? seconds : best;
    }
    (void)printf("{\"name\":\"%s\",\"ns\":%.0f,\"per_second\":%.0f}\n", name,
                 best / CREDENTIALS * 1e9, CREDENTIALS / best);
}

static void fill_tokens(struct bench *bench, const struct signer *signer, const char *alg,
                        bool is_garbage)
{
    for (int i = 0; i < CREDENTIALS; i++) {
        char claims[256];
        (void)snprintf(claims, sizeof claims,
                       "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"client-%d\","
                       "\"iat\":1700000000,\"exp\":4000000000,\"scope\":\"openid write:orders\"}",
                       i);
        char *token = signer_token(signer, alg, claims);
        if (is_garbage) {
            char *at = strrchr(token, '.') + 9;
            *at = *at == 'A' ? 'B' : 'A';
        }
        (void)snprintf(bench->values[i], VALUE_BYTES, "Bearer %s", token);
        free(token);
    }
}

/* Of tokens, which are there; the altered ones are refused. */
static void measure_tickets(struct bench *bench)
{
    for (size_t i = 0; i < CREDENTIALS; i++) {
        struct access_verdict verdict;
        char text[TICKET_TEXT_BYTES];
        int64_t expires_ms;
        const struct access_request request = {.authorization = bench->values[i]};
        CHECK(access_identify(bench->view, &request, &verdict, NULL) == ERR_OK);
        CHECK(access_ticket_make(bench->view, verdict.principal,
                                 SV("product-metrics,processed-orders"), text, &expires_ms,
                                 NULL) == ERR_OK);
        memcpy(bench->values[i], text, sizeof text);
    }
    bench->is_tickets = true;
    measure(bench, "ticket", ERR_OK, 20);
    for (size_t i = 0; i < CREDENTIALS; i++) {
        bench->values[i][60] = bench->values[i][60] == 'A' ? 'B' : 'A';
    }
    measure(bench, "ticket, wrong signature", ERR_UNAUTHENTICATED, 20);
    bench->is_tickets = false;
}

static void files_write(struct bench *bench, const struct signer *signers,
                        const char *const *algorithms, size_t count)
{
    json_t *entries = json_array(), *keys = json_array();
    for (int i = 0; i < KEYS_IN_FILE; i++) {
        char key[ACCESS_KEY_BYTES + 1];
        CHECK(access_key_make(key));
        json_array_append_new(entries, key_entry_new(key, "write", "orders"));
        if (i < CREDENTIALS) {
            (void)snprintf(bench->values[i], VALUE_BYTES, "Bearer %s", key);
        }
    }
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(keys, signer_jwk(&signers[i], algorithms[i]));
    }
    json_t *file = json_pack("{s:o}", "keys", entries), *set = json_pack("{s:o}", "keys", keys);
    CHECK(close(mkstemp(path_keys)) == 0 && close(mkstemp(path_jwks)) == 0);
    CHECK(json_dump_file(file, path_keys, 0) == 0 && json_dump_file(set, path_jwks, 0) == 0);
    json_decref(file);
    json_decref(set);
}

static struct access *access_start(struct bench *bench)
{
    struct access *access = NULL;
    struct err_info info = {0};
    bench->config = access_config_on();
    bench->config.keys_file = path_keys;
    bench->config.jwks_file = path_jwks;
    bench->config.tokens_kept = 4096;
    bench->config.rate_events = 1e9;
    bench->config.failures_rate = 1e6;
    bench->config.tickets = &bench->tickets;
    bench->tickets = (struct tickets_config){.secret_file = "", .life_ms = 600000, .used_max = 1};
    if (access_new(&bench->config, &access, &info)) {
        (void)fprintf(stderr, "%s\n", info.text);
        exit(1);
    }
    (void)unlink(path_keys);
    (void)unlink(path_jwks);
    return access;
}

int main(void)
{
    static const struct {
        const char *type, *curve, *kid, *alg;
    } kinds[] = {
        {"oct", NULL, "HS256", "HS256"},
        {"RSA", NULL, "RS256", "RS256"},
        {"EC", "P-256", "ES256", "ES256"},
        {"OKP", "Ed25519", "EdDSA", "EdDSA"},
    };
    struct signer signers[ARRAY_LEN(kinds)];
    const char *algorithms[ARRAY_LEN(kinds)];
    struct bench bench = {.values = must_alloc(CREDENTIALS * sizeof *bench.values)};
    log_threshold = LOG_OFF;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        signers[i] = signer_new(kinds[i].type, kinds[i].curve, kinds[i].kid);
        algorithms[i] = kinds[i].alg;
    }
    files_write(&bench, signers, algorithms, ARRAY_LEN(kinds));
    struct access *access = access_start(&bench);
    view_renew(&bench, access);
    measure(&bench, "API key", ERR_OK, 100);
    for (size_t i = 0; i < CREDENTIALS; i++) {
        bench.values[i][60] = bench.values[i][60] == 'A' ? 'B' : 'A';
    }
    measure(&bench, "API key, wrong secret", ERR_UNAUTHENTICATED, 100);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char name[64];
        fill_tokens(&bench, &signers[i], kinds[i].alg, false);
        (void)snprintf(name, sizeof name, "%s, first time", kinds[i].alg);
        measure_new(&bench, access, name);
        if (i == 0 || i == 1) {
            (void)snprintf(name, sizeof name, "%s, seen before", kinds[i].alg);
            measure(&bench, name, ERR_OK, 100);
        }
        fill_tokens(&bench, &signers[i], kinds[i].alg, true);
        (void)snprintf(name, sizeof name, "%s, wrong signature", kinds[i].alg);
        measure(&bench, name, ERR_UNAUTHENTICATED, 4);
    }
    for (size_t i = 0; i < CREDENTIALS; i++) {
        (void)snprintf(bench.values[i], VALUE_BYTES, "Bearer eyJhbGciOiJub25lIn0.e30.%zu", i);
    }
    measure(&bench, "no token at all", ERR_UNAUTHENTICATED, 100);
    fill_tokens(&bench, &signers[0], kinds[0].alg, false);
    measure_tickets(&bench);
    access_view_free(bench.view);
    access_free(access);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        signer_free(&signers[i]);
    }
    free(bench.values);
    return 0;
}
