/* A key set from an address: fetched, kept, changed; what an issuer may do to us. The issuer is our
 * own HTTP server. */
#include "access/access.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "access_config.h"
#include "core/clock.h"
#include "http/http.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "http_peer.h"
#include "tokens.h"

#define WAIT_US 60000000

struct fixture {
    struct http_server *issuer;
    char url[128];
    struct signer signer;
    struct signer next;
    struct access_config config;
    struct access *access;
    struct access_view *view;
    /* What the issuer answers; read on its thread. */
    pthread_mutex_t lock;
    int status;
    char *body;
    unsigned asked;
};

static void handle_get_keys(struct http_request *request)
{
    struct fixture *fixture = http_request_context(request);
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->asked++;
    if (fixture->status == 302) {
        http_reply_header(request, "Location", "/other");
    }
    http_reply_bytes(request, fixture->status, "application/json", sv(fixture->body));
    (void)pthread_mutex_unlock(&fixture->lock);
}

static const struct http_route routes[] = {{HTTP_GET, "/keys", handle_get_keys}};

static void answer_set(struct fixture *fixture, int status, char *body)
{
    (void)pthread_mutex_lock(&fixture->lock);
    free(fixture->body);
    fixture->status = status;
    fixture->body = body;
    fixture->asked = 0;
    (void)pthread_mutex_unlock(&fixture->lock);
}

static unsigned asked(struct fixture *fixture)
{
    (void)pthread_mutex_lock(&fixture->lock);
    const unsigned count = fixture->asked;
    (void)pthread_mutex_unlock(&fixture->lock);
    return count;
}

static char *keys_text(const struct signer *signer)
{
    json_t *root = json_pack("{s:[o]}", "keys", signer_jwk(signer, NULL));
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void issuer_start(struct fixture *fixture)
{
    static struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};
    set.context = fixture;
    fixture->issuer = http_peer_start(&set);
    (void)snprintf(fixture->url, sizeof fixture->url, "http://127.0.0.1:%u/keys",
                   http_server_port(fixture->issuer));
}

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    log_threshold = LOG_OFF;
    assert_int_equal(0, pthread_mutex_init(&fixture->lock, NULL));
    fixture->signer = signer_new("EC", "P-256", "one");
    fixture->next = signer_new("EC", "P-256", "two");
    answer_set(fixture, 200, keys_text(&fixture->signer));
    issuer_start(fixture);
    fixture->config = access_config_on();
    fixture->config.jwks_url = fixture->url;
    fixture->config.jwks_refresh_ms = 3600000;
    fixture->config.jwks_retry_ms = 100;
    fixture->config.jwks_timeout_ms = 5000;
    *state = fixture;
    return 0;
}

static void access_start(struct fixture *fixture)
{
    struct err_info info = {0};
    assert_err(ERR_OK, access_new(&fixture->config, &fixture->access, &info));
    fixture->view = access_view_new(fixture->access);
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    access_view_free(fixture->view);
    access_free(fixture->access);
    http_server_stop(fixture->issuer);
    signer_free(&fixture->signer);
    signer_free(&fixture->next);
    (void)pthread_mutex_destroy(&fixture->lock);
    free(fixture->body);
    free(fixture);
    return 0;
}

static enum err identify(struct fixture *fixture, const struct signer *signer)
{
    char claims[256], value[4096];
    (void)snprintf(claims, sizeof claims,
                   "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"a\",\"exp\":%lld}",
                   (long long)clock_now_ms() / 1000 + 3600);
    char *token = signer_token(signer, "ES256", claims);
    (void)snprintf(value, sizeof value, "Bearer %s", token);
    const struct access_request request = {.authorization = value, .client = "192.0.2.1"};
    struct access_verdict verdict;
    const enum err e = access_identify(fixture->view, &request, &verdict, NULL);
    free(token);
    return e;
}

/* Until the verdict is this; awaited, with a deadline. */
static void await(struct fixture *fixture, const struct signer *signer, enum err expected)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    enum err e;
    while ((e = identify(fixture, signer)) != expected) {
        if (clock_mono_us() > deadline_us) {
            fail_msg("%s instead of %s", err_name(e), err_name(expected));
        }
        (void)poll(NULL, 0, 10);
    }
}

static void await_asked(struct fixture *fixture, unsigned count)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (asked(fixture) < count) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 10);
    }
}

static void test_jwks__at_start__is_fetched(void **state)
{
    struct fixture *fixture = *state;
    char text[160];
    access_start(fixture);
    await(fixture, &fixture->signer, ERR_OK);
    assert_true(access_health(fixture->access, text, sizeof text));
    assert_non_null(strstr(text, "1 keys for tokens, fetched "));
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, &fixture->next));
}

/* A token signed with a new key makes us look; the key that is gone is gone. */
static void test_jwks__unknown_kid__fetches_again(void **state)
{
    struct fixture *fixture = *state;
    access_start(fixture);
    await(fixture, &fixture->signer, ERR_OK);
    answer_set(fixture, 200, keys_text(&fixture->next));
    await(fixture, &fixture->next, ERR_OK);
    assert_err(ERR_UNAUTHENTICATED, identify(fixture, &fixture->signer));
}

static void test_jwks__many_unknown_kids__few_fetches(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.jwks_retry_ms = 3600000;
    access_start(fixture);
    await(fixture, &fixture->signer, ERR_OK);
    for (int i = 0; i < 100; i++) {
        assert_err(ERR_UNAUTHENTICATED, identify(fixture, &fixture->next));
    }
    assert_int_equal(1, asked(fixture));
}

static void test_jwks__never_there__not_ready_rather_than_unauthenticated(void **state)
{
    struct fixture *fixture = *state;
    char text[160];
    answer_set(fixture, 500, strdup("{}"));
    access_start(fixture);
    await_asked(fixture, 3); /* tried again by itself */
    assert_err(ERR_NOT_READY, identify(fixture, &fixture->signer));
    assert_false(access_health(fixture->access, text, sizeof text));
    assert_non_null(strstr(text, "not fetched yet"));
    answer_set(fixture, 200, keys_text(&fixture->signer));
    await(fixture, &fixture->signer, ERR_OK);
    assert_true(access_health(fixture->access, text, sizeof text));
}

/* Whatever the issuer answers, the last good set stays. */
static void test_jwks__issuer_fails__the_last_good_set_stays(void **state)
{
    struct fixture *fixture = *state;
    char *large = malloc((2 << 20) + 1);
    memset(large, ' ', 2 << 20);
    large[2 << 20] = '\0';
    char *secret = strdup("{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":"
                          "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}]}");
    const struct {
        int status;
        char *body;
    } answers[] = {
        {500, strdup("{}")},
        {404, keys_text(&fixture->next)},
        {302, strdup("")},
        {200, strdup("")},
        {200, strdup("<html>")},
        {200, strdup("{\"keys\":[]}")},
        {200, strdup("{\"keys\":1}")},
        {200, secret},
        {200, large},
    };
    access_start(fixture);
    await(fixture, &fixture->signer, ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        answer_set(fixture, answers[i].status, answers[i].body);
        assert_err(ERR_UNAUTHENTICATED, identify(fixture, &fixture->next)); /* asks */
        await_asked(fixture, 2); /* the first has been judged when the second comes */
        assert_err(ERR_UNAUTHENTICATED, identify(fixture, &fixture->next));
        assert_err(ERR_OK, identify(fixture, &fixture->signer));
    }
}

static void test_jwks__nobody_listens__is_told_and_ends_soon(void **state)
{
    struct fixture *fixture = *state;
    http_server_stop(fixture->issuer);
    fixture->issuer = NULL;
    access_start(fixture);
    assert_err(ERR_NOT_READY, identify(fixture, &fixture->signer));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_jwks__##name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_start__is_fetched),
        TEST(unknown_kid__fetches_again),
        TEST(many_unknown_kids__few_fetches),
        TEST(never_there__not_ready_rather_than_unauthenticated),
        TEST(issuer_fails__the_last_good_set_stays),
        TEST(nobody_listens__is_told_and_ends_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
