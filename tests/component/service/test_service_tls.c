/* A service behind TLS: its health check, --check, and renewal by SIGHUP. */
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "certificates.h"
#include "core/clock.h"
#include "service/service.h"

#define WAIT_US 60000000

static const struct embedded_file openapi = {.name = "openapi.json"};
static const struct service_params params = {
    .name = "sample", .summary = "A sample.", .openapi = &openapi};

static enum err begin(const char *flag, const char *port_flag, const char *auth,
                      struct service **ret, enum config_action *ret_action)
{
    char cert[PATH_MAX + 64], key[PATH_MAX + 64], ca[PATH_MAX + 64], auth_flag[64];
    (void)snprintf(cert, sizeof cert, "--http.tls.cert.file=%s", certificate_file("now.pem"));
    (void)snprintf(key, sizeof key, "--http.tls.key.file=%s", certificate_file("now.key"));
    (void)snprintf(ca, sizeof ca, "--http.tls.client_ca.file=%s", certificate_file("ca.pem"));
    (void)snprintf(auth_flag, sizeof auth_flag, "--http.tls.client_auth=%s", auth);
    const char *argv[] = {"sample",          flag, port_flag, cert, key, auth_flag,
                          "--log.level=off", ca,   NULL};
    const int argc = strcmp(auth, "none") == 0 ? 7 : 8;
    return service_begin(&params, argc, (char **)(uintptr_t)argv, ret, ret_action);
}

static unsigned run_service(const char *auth, struct service **ret)
{
    enum config_action action;
    struct err_info info = {0};
    assert_err(ERR_OK, begin("--http.threads=2", "--http.port=0", auth, ret, &action));
    assert_int_equal(CONFIG_RUN, action);
    assert_err(ERR_OK, service_listen(*ret, NULL, NULL, &info));
    return http_server_port(service_http(*ret));
}

/* The exit code of a `--health` or `--check` with the service's configuration. */
static int ask(const char *flag, unsigned port, const char *auth)
{
    char port_flag[64];
    struct service *asking;
    enum config_action action = CONFIG_RUN;
    (void)snprintf(port_flag, sizeof port_flag, "--http.port=%u", port);
    const enum err e = begin(flag, port_flag, auth, &asking, &action);
    return service_end(asking, e, NULL);
}

static void test_health__over_tls(void **state)
{
    (void)state;
    static const struct {
        const char *identity, *auth;
        int exit_code;
    } rows[] = {{"server", "none", 0},
                {"both", "required", 0},
                {"server", "required", 1}, /* its certificate is for servers only */
                {"both", "optional", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct service *service;
        certificate_renew(rows[i].identity);
        const unsigned port = run_service(rows[i].auth, &service);
        const int code = ask("--health", port, rows[i].auth);
        assert_int_equal(0, service_end(service, ERR_OK, NULL));
        if (code != rows[i].exit_code) {
            fail_msg("%s, %s: exit code %d", rows[i].identity, rows[i].auth, code);
        }
    }
}

static void test_check__reads_the_certificates(void **state)
{
    (void)state;
    char command[PATH_MAX * 2];
    certificate_renew("server");
    assert_int_equal(0, ask("--check", 1, "none"));
    (void)snprintf(command, sizeof command, "cp '%s' '%s'", certificate_file("server2.key"),
                   certificate_file("now.key"));
    assert_int_equal(0, system(command));
    assert_int_equal(2, ask("--check", 1, "none"));
}

/* The serial number that a new connection is shown. */
static void serial_of(unsigned port, char *out, size_t out_bytes)
{
    char url[64];
    struct curl_certinfo *chain = NULL;
    CURL *curl = curl_easy_init();
    CHECK(curl != NULL);
    (void)snprintf(url, sizeof url, "https://localhost:%u/health/live", port);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, certificate_file("ca.pem"));
    (void)curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    CHECK(curl_easy_perform(curl) == CURLE_OK);
    CHECK(curl_easy_getinfo(curl, CURLINFO_CERTINFO, &chain) == CURLE_OK);
    CHECK(chain->num_of_certs > 0);
    out[0] = '\0';
    for (struct curl_slist *at = chain->certinfo[0]; at; at = at->next) {
        if (strncmp(at->data, "Serial Number:", 14) == 0) {
            (void)snprintf(out, out_bytes, "%s", at->data + 14);
        }
    }
    CHECK(out[0] != '\0');
    curl_easy_cleanup(curl);
}

struct renewal {
    struct service *service;
    unsigned port;
    char before[128], after[128];
};

static void *renew(void *context)
{
    struct renewal *renewal = context;
    const int64_t until_us = clock_mono_us() + WAIT_US;
    serial_of(renewal->port, renewal->before, sizeof renewal->before);
    certificate_renew("server2");
    (void)kill(getpid(), SIGHUP); /* blocked in every thread: the signalfd has it */
    do {
        serial_of(renewal->port, renewal->after, sizeof renewal->after);
    } while (strcmp(renewal->before, renewal->after) == 0 && clock_mono_us() < until_us);
    service_finish(renewal->service);
    return NULL;
}

static void test_sighup__puts_new_certificates_to_use(void **state)
{
    (void)state;
    struct renewal renewal = {0};
    certificate_renew("server");
    renewal.port = run_service("none", &renewal.service);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, renew, &renewal));
    assert_err(ERR_OK, service_run(renewal.service));
    (void)pthread_join(thread, NULL);
    assert_int_equal(0, service_end(renewal.service, ERR_OK, NULL));
    assert_string_not_equal(renewal.before, renewal.after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health__over_tls),
        cmocka_unit_test(test_check__reads_the_certificates),
        cmocka_unit_test(test_sighup__puts_new_certificates_to_use),
    };
    return cmocka_run_group_tests(tests, certificates_make, certificates_remove);
}
