/* The verdict: who asks, what they may do, how much; reload; what must not be in the log. */
#include "access/access.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "access/access_key.h"
#include "access_config.h"
#include "core/clock.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "test.h"
#include "tokens.h"

struct fixture {
    char keys_path[64];
    char jwks_path[64];
    char key[ACCESS_KEY_BYTES + 1];
    char slow_key[ACCESS_KEY_BYTES + 1];
    char old_key[ACCESS_KEY_BYTES + 1];
    struct signer signer;
    struct tickets_config tickets;
    struct access_config config;
    struct access *access;
    struct access_view *view;
    struct buf log;
};

static void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void key_entry(const char *key, const char *members, char *out, size_t out_bytes)
{
    char hex[ACCESS_DIGEST_TEXT_BYTES];
    access_key_digest(key, hex);
    (void)snprintf(out, out_bytes, "{\"id\":\"%.12s\",\"sha256\":\"%s\",%s}", key + 3, hex,
                   members);
}

static void keys_write(const struct fixture *fixture, const char *members)
{
    char first[512], slow[512], old[512], text[2048];
    key_entry(fixture->key, members, first, sizeof first);
    key_entry(fixture->slow_key,
              "\"name\":\"slow\",\"write\":[\"*\"],\"rate\":{\"events\":1,\"bytes\":1000}", slow,
              sizeof slow);
    key_entry(fixture->old_key, "\"write\":[\"*\"],\"expires\":\"2020-01-01T00:00:00Z\"", old,
              sizeof old);
    (void)snprintf(text, sizeof text,
                   "{\"roles\":{\"viewer\":{\"read\":[\"*\"]}},\"keys\":[%s,%s,%s],"
                   "\"certificates\":[{\"subject\":\"CN=till\",\"write\":[\"orders\"]}]}",
                   first, slow, old);
    file_write(fixture->keys_path, text);
}

static void jwks_write(const struct fixture *fixture, const struct signer *signer)
{
    json_t *root = json_pack("{s:[o]}", "keys", signer_jwk(signer, NULL));
    char *text = json_dumps(root, 0);
    file_write(fixture->jwks_path, text);
    free(text);
    json_decref(root);
}

static void on_line(void *context, struct strview line)
{
    assert_err(ERR_OK, buf_append_view(context, line));
}

static void temporary(char *path, size_t path_bytes)
{
    (void)snprintf(path, path_bytes, "/tmp/millrace-access-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
}

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    temporary(fixture->keys_path, sizeof fixture->keys_path);
    temporary(fixture->jwks_path, sizeof fixture->jwks_path);
    assert_true(access_key_make(fixture->key) && access_key_make(fixture->slow_key) &&
                access_key_make(fixture->old_key));
    fixture->signer = signer_new("EC", "P-256", "one");
    keys_write(fixture, "\"name\":\"shop\",\"write\":[\"orders\",\"clicks.*\"]");
    jwks_write(fixture, &fixture->signer);
    fixture->config = access_config_on();
    fixture->config.keys_file = fixture->keys_path;
    fixture->config.jwks_file = fixture->jwks_path;
    fixture->config.tickets = &fixture->tickets;
    fixture->tickets =
        (struct tickets_config){.secret_file = "", .life_ms = 30000, .used_max = 100};
    buf_init(&fixture->log, 1 << 20);
    log_capture(on_line, &fixture->log);
    struct err_info info = {0};
    if (access_new(&fixture->config, &fixture->access, &info)) {
        print_error("%s\n", info.text);
        return -1;
    }
    fixture->view = access_view_new(fixture->access);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    log_capture(NULL, NULL);
    access_view_free(fixture->view);
    access_free(fixture->access);
    signer_free(&fixture->signer);
    buf_free(&fixture->log);
    (void)unlink(fixture->keys_path);
    (void)unlink(fixture->jwks_path);
    free(fixture);
    return 0;
}

/* A token for `scope`, good for an hour. */
static char *token_new(const struct signer *signer, const char *scope)
{
    char claims[1024];
    (void)snprintf(claims, sizeof claims,
                   "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"till-7\","
                   "\"exp\":%lld,\"scope\":%s}",
                   (long long)clock_now_ms() / 1000 + 3600, scope);
    return signer_token(signer, "ES256", claims);
}

static enum err identify(struct fixture *fixture, const char *credential,
                         struct access_verdict *verdict)
{
    char value[16384];
    (void)snprintf(value, sizeof value, "Bearer %s", credential);
    const struct access_request request = {.authorization = value, .client = "192.0.2.1"};
    return access_identify(fixture->view, &request, verdict, NULL);
}

static enum err permit(enum access_right right, const char *topic,
                       const struct access_verdict *verdict)
{
    return access_permit(verdict->principal, right, sv(topic), NULL);
}

static void test_access__off__everybody_may_do_everything(void **state)
{
    (void)state;
    const struct access_config config = {.mode = "off", .jwks_file = "", .jwks_url = ""};
    const struct access_request request = {0};
    struct access *access = NULL;
    struct access_verdict verdict;
    assert_err(ERR_OK, access_new(&config, &access, NULL));
    struct access_view *view = access_view_new(access);
    assert_false(access_is_on(access));
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    assert_null(verdict.principal);
    assert_err(ERR_OK, access_permit(verdict.principal, ACCESS_ADMIN, SV("any"), NULL));
    assert_true(access_allows(verdict.principal, ACCESS_READ, SV("any")));
    access_spend(view, verdict.principal, 1, 1);
    assert_err(ERR_OK, access_reload(access, NULL));
    access_view_free(view);
    access_free(access);
}

static void test_access__wrong_configuration__is_told(void **state)
{
    struct fixture *fixture = *state;
    struct access_config rows[6];
    static const char *const told[] = {"one of them", "issuer", "audience",
                                       "nobody",      "https",  "algorithm"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rows[i] = fixture->config;
    }
    rows[0].jwks_url = "https://issuer/keys";
    rows[1].issuer = "";
    rows[2].audience = "";
    rows[3].jwks_file = rows[3].keys_file = "";
    rows[4].jwks_file = "";
    rows[4].jwks_url = "file:///etc/passwd";
    rows[5].algorithms = "none";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct access *access = NULL;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, access_new(&rows[i], &access, &info));
        assert_non_null(strstr(info.text, told[i]));
    }
}

static void test_access__api_key__is_known_and_has_its_rights(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_string_equal("shop", verdict.principal->name);
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "clicks.eu", &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_WRITE, "secrets", &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_READ, "orders", &verdict));
    assert_false(access_allows(verdict.principal, ACCESS_READ, SV("orders")));
}

static void test_access__api_key__by_each_header(void **state)
{
    struct fixture *fixture = *state;
    char user[ACCESS_KEY_BYTES + 2], basic[256] = "Basic ";
    (void)snprintf(user, sizeof user, "%s:", fixture->key);
    (void)base64_encode(BASE64_STANDARD, user, strlen(user), basic + 6);
    const struct access_request requests[] = {{.authorization = basic}, {.api_key = fixture->key}};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct access_verdict verdict;
        assert_err(ERR_OK, access_identify(fixture->view, &requests[i], &verdict, NULL));
        assert_string_equal("shop", verdict.principal->name);
    }
}

static void test_access__certificate__is_known_by_its_subject(void **state)
{
    struct fixture *fixture = *state;
    static const char *const till[] = {"O=Shop", "CN=till"}, *const others[] = {"CN=till2", ""};
    const struct access_request good = {.names = till, .name_count = 2};
    const struct access_request other = {.names = others, .name_count = 2};
    struct access_verdict verdict;
    assert_err(ERR_OK, access_identify(fixture->view, &good, &verdict, NULL));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));
    assert_err(ERR_UNAUTHENTICATED, access_identify(fixture->view, &other, &verdict, NULL));
}

static void test_access__who_is_not_known__is_refused_with_a_challenge(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    const struct access_request nobody = {0};
    assert_err(ERR_UNAUTHENTICATED, access_identify(fixture->view, &nobody, &verdict, NULL));
    assert_string_equal("Bearer realm=\"millrace\"", verdict.challenge);
    char wrong[ACCESS_KEY_BYTES + 1];
    for (size_t at = 0; at < ACCESS_KEY_BYTES; at++) {
        memcpy(wrong, fixture->key, sizeof wrong);
        wrong[at] = wrong[at] == 'x' ? 'y' : 'x';
        assert_err(ERR_UNAUTHENTICATED, identify(fixture, wrong, &verdict));
        assert_null(verdict.principal);
        assert_non_null(strstr(verdict.challenge, "error=\"invalid_token\""));
    }
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, fixture->old_key, &verdict));
    assert_non_null(strstr(verdict.challenge, "expired"));
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, "mr_", &verdict));
}

static const struct {
    const char *label, *scope;
    bool may_write_orders, may_read_orders, may_write_clicks;
} scope_rows[] = {
    {"words", "\"openid write:orders read:orders\"", true, true, false},
    {"an array", "[\"write:orders\",\"write:clicks\"]", true, false, true},
    {"a pattern", "\"write:*\"", true, false, true},
    {"a role of the file", "\"viewer\"", false, true, false},
    {"other things", "[7,{},\"write\",\"write:\",\"write:a/b\",\"nobody\",\"\"]", false, false,
     false},
    {"no text", "{\"write\":\"orders\"}", false, false, false},
    {"blanks", "\"   write:orders   \"", true, false, false},
    {"empty", "\"\"", false, false, false},
};

static void test_access__token__has_the_rights_of_its_claim(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_LEN(scope_rows); i++) {
        struct access_verdict verdict;
        char *token = token_new(&fixture->signer, scope_rows[i].scope);
        assert_err(ERR_OK, identify(fixture, token, &verdict));
        assert_string_equal("till-7", verdict.principal->name);
        assert_true(verdict.principal->expires_ms > clock_now_ms());
        if (access_allows(verdict.principal, ACCESS_WRITE, SV("orders")) !=
                scope_rows[i].may_write_orders ||
            access_allows(verdict.principal, ACCESS_READ, SV("orders")) !=
                scope_rows[i].may_read_orders ||
            access_allows(verdict.principal, ACCESS_WRITE, SV("clicks")) !=
                scope_rows[i].may_write_clicks) {
            fail_msg("%s", scope_rows[i].label);
        }
        free(token);
    }
}

/* The claim by JSON Pointer, and only what begins with the prefix. */
static void test_access__rights_claim__pointer_and_prefix(void **state)
{
    struct fixture *fixture = *state;
    struct access_config config = fixture->config;
    config.rights_claim = "/realm~1access/roles";
    config.rights_prefix = "millrace:";
    struct access *access = NULL;
    assert_err(ERR_OK, access_new(&config, &access, NULL));
    struct access_view *view = access_view_new(access);
    char claims[1024], value[4096];
    (void)snprintf(claims, sizeof claims,
                   "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"a\",\"exp\":%lld,"
                   "\"scope\":\"write:*\",\"realm/access\":{\"roles\":[\"millrace:read:orders\","
                   "\"write:orders\",\"millrace:viewer\"]}}",
                   (long long)clock_now_ms() / 1000 + 3600);
    char *token = signer_token(&fixture->signer, "ES256", claims);
    (void)snprintf(value, sizeof value, "Bearer %s", token);
    const struct access_request request = {.authorization = value};
    struct access_verdict verdict;
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    assert_true(access_allows(verdict.principal, ACCESS_READ, SV("orders")));
    assert_true(access_allows(verdict.principal, ACCESS_READ, SV("clicks"))); /* viewer's */
    assert_false(access_allows(verdict.principal, ACCESS_WRITE, SV("orders")));
    free(token);
    access_view_free(view);
    access_free(access);
}

static double checks_of(const char *kind, const char *outcome)
{
    struct buf text;
    char name[128];
    buf_init(&text, 1 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    (void)snprintf(name, sizeof name, "millrace_access_checks_total{kind=\"%s\",outcome=\"%s\"} ",
                   kind, outcome);
    const char *at = strstr(text.data, name);
    const double value = at ? strtod(at + strlen(name), NULL) : 0;
    buf_free(&text);
    return value;
}

static void test_access__token_seen_before__is_not_checked_again(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    char *token = token_new(&fixture->signer, "\"write:cached\"");
    const double done = checks_of("token", "done"), cached = checks_of("token", "cached");
    for (int i = 0; i < 10; i++) {
        assert_err(ERR_OK, identify(fixture, token, &verdict));
        assert_true(access_allows(verdict.principal, ACCESS_WRITE, SV("cached")));
    }
    assert_true(checks_of("token", "done") == done + 1);
    assert_true(checks_of("token", "cached") == cached + 9);
    /* One letter more or less is another token. */
    token[strlen(token) - 1] = '\0';
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, token, &verdict));
    free(token);
}

static void test_access__more_tokens_than_are_kept__all_are_taken(void **state)
{
    struct fixture *fixture = *state;
    char *tokens[200];
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        char scope[64];
        (void)snprintf(scope, sizeof scope, "\"write:t%zu\"", i);
        tokens[i] = token_new(&fixture->signer, scope);
    }
    for (size_t i = 0; i < 3 * ARRAY_LEN(tokens); i++) {
        struct access_verdict verdict;
        char topic[32];
        (void)snprintf(topic, sizeof topic, "t%zu", i % ARRAY_LEN(tokens));
        assert_err(ERR_OK, identify(fixture, tokens[i % ARRAY_LEN(tokens)], &verdict));
        assert_true(access_allows(verdict.principal, ACCESS_WRITE, sv(topic)));
        assert_false(access_allows(verdict.principal, ACCESS_WRITE, SV("t")));
    }
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        free(tokens[i]);
    }
}

static void test_access__rate__429_and_when_to_come_again(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    assert_err(ERR_OK, identify(fixture, fixture->slow_key, &verdict));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));
    access_spend(fixture->view, verdict.principal, 5, 100);
    assert_err(ERR_RATE_LIMITED, identify(fixture, fixture->slow_key, &verdict));
    assert_null(verdict.principal);
    assert_in_range(verdict.retry_after_ms, 3000, 5000);
    /* Nobody else is held up. */
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));
    access_spend(fixture->view, verdict.principal, 1000000, 1000000000);
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
}

/* As a stream does that goes on while other requests come and the files change. */
static void test_access__principal_kept__outlives_its_state(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    char *token = token_new(&fixture->signer, "\"write:kept\"");
    assert_err(ERR_OK, identify(fixture, token, &verdict));
    struct access_principal *of_token = access_principal_ref(verdict.principal);
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    struct access_principal *of_key = access_principal_ref(verdict.principal);
    keys_write(fixture, "\"name\":\"shop\"");
    assert_err(ERR_OK, access_reload(fixture->access, NULL));
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_WRITE, "orders", &verdict));
    assert_true(access_allows(of_token, ACCESS_WRITE, SV("kept")));
    assert_true(access_allows(of_key, ACCESS_WRITE, SV("orders")));
    access_principal_unref(of_token);
    access_principal_unref(of_key);
    free(token);
}

/* An attacker's address gets no more signatures checked; who is known there goes on. */
static void test_access__wrong_tokens__stop_being_checked(void **state)
{
    struct fixture *fixture = *state;
    struct access_config config = fixture->config;
    struct signer forger = signer_new("EC", "P-256", "one");
    struct access *access = NULL;
    config.failures_rate = 5;
    assert_err(ERR_OK, access_new(&config, &access, NULL));
    struct access_view *view = access_view_new(access);
    char *good = token_new(&fixture->signer, "\"write:*\""), *late = NULL, value[4096];
    struct access_request request = {.authorization = value, .client = "198.51.100.7"};
    struct access_verdict verdict;
    (void)snprintf(value, sizeof value, "Bearer %s", good);
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    int refused = 0;
    enum err e = ERR_OK;
    for (int i = 0; i < 100 && e != ERR_RATE_LIMITED; i++) {
        char scope[32];
        (void)snprintf(scope, sizeof scope, "\"write:%d\"", i);
        char *token = token_new(&forger, scope);
        (void)snprintf(value, sizeof value, "Bearer %s", token);
        e = access_identify(view, &request, &verdict, NULL);
        refused += e == ERR_UNAUTHENTICATED;
        free(token);
    }
    assert_err(ERR_RATE_LIMITED, e);
    assert_in_range(refused, 10, 30); /* two seconds' worth and what time added */
    assert_true(verdict.retry_after_ms >= 1);
    (void)snprintf(value, sizeof value, "Bearer %s", good); /* seen before */
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    (void)snprintf(value, sizeof value, "Bearer %s", fixture->key);
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    late = token_new(&fixture->signer, "\"read:*\"");
    (void)snprintf(value, sizeof value, "Bearer %s", late);
    request.client = "198.51.100.8"; /* another address */
    assert_err(ERR_OK, access_identify(view, &request, &verdict, NULL));
    /* An IPv6 subscriber has 2^64 addresses, and is one client all the same. */
    e = ERR_OK;
    for (int i = 0; i < 100 && e != ERR_RATE_LIMITED; i++) {
        char scope[32], client[64];
        (void)snprintf(scope, sizeof scope, "\"read:%d\"", i);
        (void)snprintf(client, sizeof client, "2001:db8:1:2::%x", i + 1);
        char *token = token_new(&forger, scope);
        (void)snprintf(value, sizeof value, "Bearer %s", token);
        request.client = client;
        e = access_identify(view, &request, &verdict, NULL);
        free(token);
    }
    assert_err(ERR_RATE_LIMITED, e);
    free(good);
    free(late);
    signer_free(&forger);
    access_view_free(view);
    access_free(access);
}

static void test_access_reload__rights_and_keys__as_the_files_say_now(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    struct err_info info = {0};
    char *token = token_new(&fixture->signer, "\"write:orders\"");
    assert_err(ERR_OK, identify(fixture, token, &verdict));
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));

    keys_write(fixture, "\"name\":\"shop\",\"read\":[\"orders\"]");
    struct signer next = signer_new("EC", "P-256", "two");
    jwks_write(fixture, &next);
    assert_err(ERR_OK, access_reload(fixture->access, &info));
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_WRITE, "orders", &verdict));
    assert_err(ERR_OK, permit(ACCESS_READ, "orders", &verdict));
    /* A token that was found good is not, now that its key is gone. */
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, token, &verdict));
    free(token);
    token = token_new(&next, "\"write:orders\"");
    assert_err(ERR_OK, identify(fixture, token, &verdict));
    free(token);
    signer_free(&next);
}

static void test_access_reload__a_wrong_file__changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    struct err_info info = {0};
    char *token = token_new(&fixture->signer, "\"write:orders\"");
    keys_write(fixture, "\"name\":\"shop\",\"read\":[\"orders\"]"); /* good in itself */
    file_write(fixture->jwks_path, "{\"keys\":[]}");
    assert_err(ERR_CONFIG, access_reload(fixture->access, &info));
    assert_non_null(strstr(info.text, fixture->jwks_path));
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    assert_err(ERR_OK, permit(ACCESS_WRITE, "orders", &verdict));
    assert_err(ERR_OK, identify(fixture, token, &verdict));
    file_write(fixture->keys_path, "{");
    assert_err(ERR_JSON_SYNTAX, access_reload(fixture->access, &info));
    assert_err(ERR_OK, identify(fixture, fixture->key, &verdict));
    free(token);
}

#define WORKERS 3
#define RELOADS 50

struct crowd {
    struct fixture *fixture;
    const char *token;
    atomic_bool is_done;
};

/* A worker with a view of its own, which must never find its key unknown. */
static void *work(void *context)
{
    struct crowd *crowd = context;
    struct access_view *view = access_view_new(crowd->fixture->access);
    char value[4096];
    (void)snprintf(value, sizeof value, "Bearer %s", crowd->token);
    const struct access_request requests[] = {{.api_key = crowd->fixture->key},
                                              {.authorization = value}};
    size_t failed = 0;
    while (!atomic_load(&crowd->is_done)) {
        for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
            struct access_verdict verdict;
            failed += access_identify(view, &requests[i], &verdict, NULL) != ERR_OK;
            if (verdict.principal) {
                failed += verdict.principal->name[0] == '\0';
                access_spend(view, verdict.principal, 1, 1);
            }
        }
    }
    access_view_free(view);
    return (void *)failed;
}

static void test_access_reload__while_workers_work__nobody_notices(void **state)
{
    struct fixture *fixture = *state;
    char *token = token_new(&fixture->signer, "\"write:orders\"");
    struct crowd crowd = {.fixture = fixture, .token = token};
    pthread_t threads[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(0, pthread_create(&threads[i], NULL, work, &crowd));
    }
    for (int i = 0; i < RELOADS; i++) {
        assert_err(ERR_OK, access_reload(fixture->access, NULL));
    }
    atomic_store(&crowd.is_done, true);
    for (size_t i = 0; i < WORKERS; i++) {
        void *failed = NULL;
        (void)pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    free(token);
}

static void test_access__health__says_what_there_is(void **state)
{
    struct fixture *fixture = *state;
    char text[160];
    assert_true(access_health(fixture->access, text, sizeof text));
    assert_string_equal("3 API keys, 1 keys for tokens", text);
}

/* Everything that goes wrong, with values that must not be found in the log afterwards. */
static void test_access__log__holds_no_secret(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    char *token = token_new(&fixture->signer, "\"canary-scope\"");
    char *signature = strrchr(token, '.') + 1;
    char wrong_key[ACCESS_KEY_BYTES + 1];
    memcpy(wrong_key, fixture->key, sizeof wrong_key);
    wrong_key[ACCESS_KEY_BYTES - 1] ^= 1;
    const enum log_level threshold = log_threshold;
    log_threshold = LOG_DEBUG;
    signature[3] ^= 1;
    (void)identify(fixture, token, &verdict);
    (void)identify(fixture, wrong_key, &verdict);
    (void)identify(fixture, "canary.canary.canary", &verdict);
    (void)identify(fixture, fixture->key, &verdict);
    assert_err(ERR_FORBIDDEN, permit(ACCESS_WRITE, "secrets", &verdict));
    const struct access_request basic = {.authorization = "Basic Y2FuYXJ5OmNhbmFyeQ=="};
    assert_err(ERR_UNAUTHENTICATED, access_identify(fixture->view, &basic, &verdict, NULL));
    assert_err(ERR_OK, access_reload(fixture->access, NULL));
    log_threshold = threshold;
    assert_err(ERR_OK, buf_append(&fixture->log, "", 1));
    const char *log = fixture->log.data;
    assert_non_null(strstr(log, "access_refused"));
    assert_non_null(strstr(log, "192.0.2.1"));
    assert_null(strstr(log, "canary"));
    assert_null(strstr(log, "Y2FuYXJ5"));
    assert_null(strstr(log, fixture->key + 16));
    assert_null(strstr(log, wrong_key + 16));
    signature[20] = '\0';
    assert_null(strstr(log, signature));
    token[20] = '\0';
    assert_null(strstr(log, token));
    free(token);
}

/* One line a client address, however often it tries. */
static void test_access__log__is_not_flooded(void **state)
{
    struct fixture *fixture = *state;
    struct access_verdict verdict;
    for (int i = 0; i < 100; i++) {
        (void)identify(fixture, "mr_wrong", &verdict);
    }
    assert_err(ERR_OK, buf_append(&fixture->log, "", 1));
    const char *first = strstr(fixture->log.data, "access_refused");
    assert_non_null(first);
    assert_null(strstr(first + 1, "access_refused"));
}

/* --- what lasts, and tickets ------------------------------------------------------------------ */

static struct access_principal *renewed(struct fixture *fixture, struct access_principal *held)
{
    struct access_principal *now = access_renew(fixture->view, held);
    access_principal_unref(held);
    return now;
}

static void reload(struct fixture *fixture)
{
    struct err_info info = {0};
    assert_err(ERR_OK, access_reload(fixture->access, &info));
}

static struct access_principal *held_by(struct fixture *fixture, const char *credential)
{
    struct access_verdict verdict;
    assert_err(ERR_OK, identify(fixture, credential, &verdict));
    return access_principal_ref(verdict.principal);
}

static void test_access_renew__key__as_the_file_says_now(void **state)
{
    struct fixture *fixture = *state;
    struct access_principal *held = held_by(fixture, fixture->key);
    const unsigned before = access_view_generation(fixture->view);
    assert_int_equal(before, access_view_generation(fixture->view));
    keys_write(fixture, "\"name\":\"shop\",\"read\":[\"orders\"]");
    reload(fixture);
    assert_int_not_equal(before, access_view_generation(fixture->view));
    held = renewed(fixture, held);
    assert_non_null(held);
    assert_true(access_allows(held, ACCESS_READ, SV("orders")));
    assert_false(access_allows(held, ACCESS_WRITE, SV("orders")));
    keys_write(fixture, "\"write\":[\"*\"],\"expires\":\"2020-01-01T00:00:00Z\"");
    reload(fixture);
    assert_null(renewed(fixture, held));
}

/* The same id, another secret: whoever held the old one is nobody. */
static void test_access_renew__key_replaced__is_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct access_principal *held = held_by(fixture, fixture->key);
    fixture->key[ACCESS_KEY_BYTES - 1] = fixture->key[ACCESS_KEY_BYTES - 1] == 'x' ? 'y' : 'x';
    keys_write(fixture, "\"write\":[\"*\"]");
    reload(fixture);
    assert_null(renewed(fixture, held));
}

static void test_access_renew__certificate(void **state)
{
    struct fixture *fixture = *state;
    static const char *const till[] = {"CN=till"};
    const struct access_request request = {.names = till, .name_count = 1};
    struct access_verdict verdict;
    assert_err(ERR_OK, access_identify(fixture->view, &request, &verdict, NULL));
    struct access_principal *held = access_principal_ref(verdict.principal);
    reload(fixture);
    held = renewed(fixture, held);
    assert_non_null(held);
    file_write(fixture->keys_path, "{}");
    reload(fixture);
    assert_null(renewed(fixture, held));
}

/* A token stands as long as its signer and the roles are as they were; other keys may come and go. */
static void test_access_renew__token__its_signer_and_the_roles(void **state)
{
    struct fixture *fixture = *state;
    char *token = token_new(&fixture->signer, "\"viewer\"");
    struct access_principal *held = held_by(fixture, token), *other = access_principal_ref(held);
    keys_write(fixture, "\"write\":[\"another\"]");
    reload(fixture);
    held = renewed(fixture, held);
    assert_non_null(held);
    assert_true(access_allows(held, ACCESS_READ, SV("orders")));
    file_write(fixture->keys_path, "{\"roles\":{\"viewer\":{\"read\":[\"clicks\"]}}}");
    reload(fixture);
    assert_null(renewed(fixture, held));

    keys_write(fixture, "\"write\":[\"another\"]");
    struct signer next = signer_new("EC", "P-256", "two");
    jwks_write(fixture, &next);
    reload(fixture);
    assert_null(renewed(fixture, other));
    signer_free(&next);
    free(token);
}

static enum err show(struct access_view *view, const char *ticket, struct access_verdict *verdict)
{
    const struct access_request request = {.ticket = ticket, .client = "192.0.2.1"};
    return access_identify(view, &request, verdict, NULL);
}

static void ticket_make(struct fixture *fixture, const char *credential, const char *topics,
                        char text[TICKET_TEXT_BYTES])
{
    struct access_verdict verdict;
    int64_t expires_ms;
    assert_err(ERR_OK, identify(fixture, credential, &verdict));
    assert_err(ERR_OK, access_ticket_make(fixture->view, verdict.principal, sv(topics), text,
                                          &expires_ms, NULL));
    assert_true(expires_ms > clock_now_ms() && expires_ms <= clock_now_ms() + 30000);
}

static void test_access_ticket__is_whom_it_was_given_to__for_its_topics_once(void **state)
{
    struct fixture *fixture = *state;
    char *token = token_new(&fixture->signer, "\"read:* write:*\"");
    char text[TICKET_TEXT_BYTES];
    struct access_verdict verdict, again;
    struct err_info info = {0};
    ticket_make(fixture, token, "orders,clicks", text);
    assert_err(ERR_OK, show(fixture->view, text, &verdict));
    assert_string_equal("till-7", verdict.principal->name);
    assert_int_equal(ACCESS_TOKEN, verdict.principal->kind);
    assert_true(verdict.principal->expires_ms > clock_now_ms() + 3000000);
    assert_err(ERR_OK, permit(ACCESS_READ, "orders", &verdict));
    assert_err(ERR_OK, permit(ACCESS_READ, "clicks", &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_READ, "others", &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_WRITE, "orders", &verdict));
    assert_err(ERR_OK, access_ticket_use(fixture->view, verdict.principal, &info));
    assert_err(ERR_OK, show(fixture->view, text, &again));
    assert_err(ERR_UNAUTHENTICATED, access_ticket_use(fixture->view, again.principal, &info));
    assert_string_equal("the ticket has been used", info.text);

    assert_err(ERR_OK,
               identify(fixture, fixture->key, &verdict)); /* who has none has nothing to use */
    assert_err(ERR_OK, access_ticket_use(fixture->view, verdict.principal, &info));
    free(token);
}

static void test_access_ticket__no_more_than_its_key_may_now(void **state)
{
    struct fixture *fixture = *state;
    char text[TICKET_TEXT_BYTES];
    struct access_verdict verdict;
    keys_write(fixture, "\"name\":\"shop\",\"read\":[\"orders\",\"clicks\"]");
    reload(fixture);
    ticket_make(fixture, fixture->key, "orders,clicks", text);
    keys_write(fixture, "\"name\":\"shop\",\"read\":[\"clicks\",\"others\"]");
    reload(fixture);
    assert_err(ERR_OK, show(fixture->view, text, &verdict));
    assert_string_equal("shop", verdict.principal->name);
    assert_err(ERR_FORBIDDEN, permit(ACCESS_READ, "orders", &verdict));
    assert_err(ERR_OK, permit(ACCESS_READ, "clicks", &verdict));
    assert_err(ERR_FORBIDDEN, permit(ACCESS_READ, "others", &verdict));
    struct access_principal *held = access_principal_ref(verdict.principal);
    assert_err(ERR_OK, access_ticket_use(fixture->view, held, NULL));
    keys_write(fixture, "\"read\":[\"others\"]"); /* what is open loses the rest */
    reload(fixture);
    held = renewed(fixture, held);
    assert_non_null(held);
    assert_false(access_allows(held, ACCESS_READ, SV("clicks")));
    access_principal_unref(held);
    file_write(fixture->keys_path, "{}");
    reload(fixture);
    assert_err(ERR_UNAUTHENTICATED, show(fixture->view, text, &verdict));
    assert_null(verdict.principal);
}

static void test_access_ticket__that_is_none__is_refused_with_a_challenge(void **state)
{
    struct fixture *fixture = *state;
    char text[TICKET_TEXT_BYTES];
    struct access_verdict verdict;
    int64_t expires_ms;
    assert_err(ERR_UNAUTHENTICATED, show(fixture->view, "mt_AAAA", &verdict));
    assert_non_null(strstr(verdict.challenge, "error=\"invalid_token\""));
    assert_err(ERR_UNAUTHENTICATED, show(fixture->view, "", &verdict));
    assert_err(ERR_UNAUTHENTICATED, show(fixture->view, fixture->key, &verdict));
    /* One from before access was switched on is nobody's. */
    assert_err(ERR_OK,
               access_ticket_make(fixture->view, NULL, SV("orders"), text, &expires_ms, NULL));
    assert_err(ERR_UNAUTHENTICATED, show(fixture->view, text, &verdict));
    /* It is no credential but where it is asked for. */
    ticket_make(fixture, fixture->key, "orders", text);
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, text, &verdict));
    struct access_config config = fixture->config;
    struct access *access = NULL;
    config.tickets = NULL;
    assert_err(ERR_OK, access_new(&config, &access, NULL));
    struct access_view *view = access_view_new(access);
    assert_err(ERR_UNAUTHENTICATED, show(view, text, &verdict));
    access_view_free(view);
    access_free(access);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access__off__everybody_may_do_everything),
        TEST(access__wrong_configuration__is_told),
        TEST(access__api_key__is_known_and_has_its_rights),
        TEST(access__api_key__by_each_header),
        TEST(access__certificate__is_known_by_its_subject),
        TEST(access__who_is_not_known__is_refused_with_a_challenge),
        TEST(access__token__has_the_rights_of_its_claim),
        TEST(access__rights_claim__pointer_and_prefix),
        TEST(access__token_seen_before__is_not_checked_again),
        TEST(access__more_tokens_than_are_kept__all_are_taken),
        TEST(access__rate__429_and_when_to_come_again),
        TEST(access__principal_kept__outlives_its_state),
        TEST(access__wrong_tokens__stop_being_checked),
        TEST(access_reload__rights_and_keys__as_the_files_say_now),
        TEST(access_reload__a_wrong_file__changes_nothing),
        TEST(access_reload__while_workers_work__nobody_notices),
        TEST(access_renew__key__as_the_file_says_now),
        TEST(access_renew__key_replaced__is_nobody),
        TEST(access_renew__certificate),
        TEST(access_renew__token__its_signer_and_the_roles),
        TEST(access_ticket__is_whom_it_was_given_to__for_its_topics_once),
        TEST(access_ticket__no_more_than_its_key_may_now),
        TEST(access_ticket__that_is_none__is_refused_with_a_challenge),
        TEST(access__health__says_what_there_is),
        TEST(access__log__holds_no_secret),
        TEST(access__log__is_not_flooded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
