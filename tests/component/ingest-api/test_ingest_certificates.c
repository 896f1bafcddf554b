/* Who may write, known by a client certificate: TLS verifies it, the keys file says what it may do. */
#include <unistd.h>

#include "certificates.h"
#include "ingest_fixture.h"

#define KEYS                                                                                       \
    "{\"certificates\":[{\"subject\":\"dns:sensor-7.acme.test\",\"name\":\"sensor\","              \
    "\"write\":[\"clicks\"]}]}"

static void keys_write(void)
{
    FILE *file = fopen(certificate_file("keys.json"), "w");
    assert_true(file && fputs(KEYS, file) >= 0 && fclose(file) == 0);
}

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    char flags[6][PATH_MAX + 128];
    int failed = certificates_make(state);
    keys_write();
    fixture->kafka = mock_kafka_start(1);
    mock_kafka_topic(&fixture->kafka, "orders", 3);
    mock_kafka_topic(&fixture->kafka, "clicks", 1);
    const char *const values[][2] = {
        {"kafka.bootstrap.servers", fixture->kafka.config.bootstrap_servers},
        {"http.tls.cert.file", certificate_file("server.pem")},
        {"http.tls.key.file", certificate_file("server.key")},
        {"http.tls.client_ca.file", certificate_file("ca.pem")},
        {"access.keys.file", certificate_file("keys.json")},
        {"http.tls.client_auth", "optional"},
    };
    char *argv[16] = {"ingest-api", "--http.port=0", "--http.threads=1", "--log.level=off",
                      "--access.mode=on"};
    int argc = 5;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        (void)snprintf(flags[i], sizeof flags[i], "--%s=%s", values[i][0], values[i][1]);
        argv[argc++] = flags[i];
    }
    enum config_action action;
    struct err_info info = {0};
    enum err e = ingest_begin(&fixture->ingest, argc, argv, &action, &info);
    if (!e) {
        e = ingest_listen(&fixture->ingest, &info);
    }
    if (e) {
        print_error("%s\n", err_detail(e, &info));
        failed = -1;
    } else {
        fixture->port = http_server_port(service_http(fixture->ingest.service));
    }
    *state = fixture;
    return failed;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    const int code = service_end(fixture->ingest.service, ERR_OK, NULL);
    ingest_free(&fixture->ingest);
    mock_kafka_stop(&fixture->kafka);
    free(fixture);
    return certificates_remove(state) ? -1 : code;
}

static size_t drop(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes, (void)context;
    return size * count;
}

/* The status, or 0; name NULL: without a certificate. */
static long post_status(const struct fixture *fixture, const char *path, const char *name)
{
    char url[256], file[64];
    long status = 0;
    struct curl_slist *headers = curl_slist_append(NULL, JSON_TYPE);
    CURL *easy = curl_easy_init();
    (void)snprintf(url, sizeof url, "https://localhost:%u%s", fixture->port, path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CAINFO, certificate_file("ca.pem"));
    if (name) {
        (void)snprintf(file, sizeof file, "%s.pem", name);
        curl_easy_setopt(easy, CURLOPT_SSLCERT, certificate_file(file));
        (void)snprintf(file, sizeof file, "%s.key", name);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, certificate_file(file));
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{}");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 90000L);
    if (curl_easy_perform(easy) == CURLE_OK) {
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return status;
}

static void test_post__certificate__is_known_by_an_alternative_name(void **state)
{
    const struct fixture *fixture = *state;
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    long status;
    while ((status = post_status(fixture, "/events/clicks", "client")) != 201) {
        assert_true(status == 503 || status == 404); /* Kafka's topics are not known yet */
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(403, post_status(fixture, "/events/orders", "client"));
}

static void test_post__no_certificate_or_another__401(void **state)
{
    const struct fixture *fixture = *state;
    assert_int_equal(401, post_status(fixture, "/events/clicks", NULL));
    assert_int_equal(401, post_status(fixture, "/events/clicks", "both")); /* CN=localhost */
    assert_int_not_equal(201, post_status(fixture, "/events/clicks", "rogue"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post__certificate__is_known_by_an_alternative_name),
        cmocka_unit_test(test_post__no_certificate_or_another__401),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
