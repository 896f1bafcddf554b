/* The same streams over TLS: the session leaves with the connection, and what that costs in care. */
#define _GNU_SOURCE /* memmem */

#include <curl/curl.h>

#include "certificates.h"
#include "query_under_test.h"

#define ORDERS      3000
#define ORDER_BYTES 900

/* What a client has got; ends the transfer when all of it has come. */
struct taker {
    unsigned char seen[ORDERS];
    int count, twice;
    char line[ORDER_BYTES + 128]; /* what of the last line has come */
    size_t len;
    bool is_slow;
    int writes;
};

static void line_take(struct taker *taker)
{
    int n = -1;
    if (sscanf(taker->line, "data: {\"n\":%d,", &n) == 1 && n >= 0 && n < ORDERS) {
        taker->twice += taker->seen[n];
        taker->count += !taker->seen[n];
        taker->seen[n] = 1;
    }
    taker->len = 0;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct taker *taker = context;
    for (size_t i = 0; i < size * count; i++) {
        if (bytes[i] == '\n') {
            taker->line[taker->len] = '\0';
            line_take(taker);
        } else if (taker->len < sizeof taker->line - 1) {
            taker->line[taker->len++] = bytes[i];
        }
    }
    if (taker->is_slow && ++taker->writes % 20 == 0) {
        (void)poll(NULL, 0, 1); /* a reader that has something else to do */
    }
    return taker->count < ORDERS ? size * count : 0;
}

static CURL *client_new(const struct site *site, const char *path, struct taker *taker)
{
    char url[256];
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    (void)snprintf(url, sizeof url, "https://localhost:%u%s", site->port, path);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, certificate_file("ca.pem"));
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)SITE_DEADLINE_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, taker);
    return curl;
}

/* more: of the site's options, ended by NULL. */
static struct site *site_start_tls_with(const char *const *more)
{
    static char cert[PATH_MAX + 64], key[PATH_MAX + 64];
    (void)snprintf(cert, sizeof cert, "--http.tls.cert.file=%s", certificate_file("server.pem"));
    (void)snprintf(key, sizeof key, "--http.tls.key.file=%s", certificate_file("server.key"));
    const char *options[16] = {cert, key, "--sse.send.buffer=16KiB"};
    for (size_t i = 0; more && more[i]; i++) {
        options[3 + i] = more[i];
    }
    return site_start(options);
}

static struct site *site_start_tls(void)
{
    return site_start_tls_with(NULL);
}

static void test_tls__a_long_backlog__comes_whole_once_and_in_frames(void **state)
{
    (void)state;
    struct site *site = site_start_tls();
    site_produce_orders(site, 0, ORDERS, ORDER_BYTES - 64);
    site_flush(site);
    for (int is_slow = 0; is_slow < 2; is_slow++) {
        struct taker *taker = must_alloc(sizeof *taker);
        taker->is_slow = is_slow;
        CURL *curl = client_new(site, "/events/orders?from=earliest", taker);
        assert_int_equal(CURLE_WRITE_ERROR, curl_easy_perform(curl)); /* ended by us */
        assert_int_equal(ORDERS, taker->count);
        assert_int_equal(0, taker->twice);
        curl_easy_cleanup(curl);
        free(taker);
    }
    site_stop(site);
}

static void *stop_when_it_streams(void *context)
{
    struct site *site = context;
    while (site_metric("millrace_query_streams") <= 0) {
        (void)poll(NULL, 0, 2); /* a gauge: without an event to wait for */
    }
    site_close(site);
    return NULL;
}

static void test_tls__shutdown__is_told_and_ends_the_stream(void **state)
{
    (void)state;
    struct site *site = site_start_tls();
    struct taker taker = {0};
    CURL *curl = client_new(site, "/events/orders", &taker);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, stop_when_it_streams, site));
    assert_int_equal(CURLE_OK, curl_easy_perform(curl)); /* its last chunk has come */
    (void)pthread_join(thread, NULL);
    curl_easy_cleanup(curl);
    rd_kafka_destroy(site->producer);
    mock_kafka_stop(&site->mock);
    free(site);
}

/* --- who has a certificate ------------------------------------------------------------------------------ */

static void keys_write(const char *text)
{
    FILE *file = fopen(certificate_file("keys.json"), "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static struct site *site_start_certificates(void)
{
    static char ca[PATH_MAX + 64], keys[PATH_MAX + 64];
    (void)snprintf(ca, sizeof ca, "--http.tls.client_ca.file=%s", certificate_file("ca.pem"));
    (void)snprintf(keys, sizeof keys, "--access.keys.file=%s", certificate_file("keys.json"));
    const char *const options[] = {ca, "--http.tls.client_auth=optional", "--access.mode=on", keys,
                                   NULL};
    keys_write(
        "{\"certificates\":[{\"subject\":\"dns:sensor-7.acme.test\",\"read\":[\"orders\"]}]}");
    return site_start_tls_with(options);
}

/* name NULL: without a certificate. */
static CURL *client_of(const struct site *site, const char *path, const char *name,
                       struct taker *taker)
{
    char file[64];
    CURL *curl = client_new(site, path, taker);
    if (name) {
        (void)snprintf(file, sizeof file, "%s.pem", name);
        (void)curl_easy_setopt(curl, CURLOPT_SSLCERT, certificate_file(file));
        (void)snprintf(file, sizeof file, "%s.key", name);
        (void)curl_easy_setopt(curl, CURLOPT_SSLKEY, certificate_file(file));
    }
    return curl;
}

static long status_of(const struct site *site, const char *path, const char *name)
{
    struct taker taker = {0};
    long status = 0;
    CURL *curl = client_of(site, path, name, &taker);
    if (curl_easy_perform(curl) == CURLE_OK) {
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_easy_cleanup(curl);
    return status;
}

static void *revoke_when_it_streams(void *context)
{
    struct site *site = context;
    struct err_info info = {0};
    while (site_metric("millrace_query_streams") <= 0) {
        (void)poll(NULL, 0, 2); /* a gauge: without an event to wait for */
    }
    keys_write("{}");
    assert_err(ERR_OK, access_reload(site->query.access, &info));
    return NULL;
}

static void test_tls__certificate__opens_a_stream_until_it_is_taken_away(void **state)
{
    (void)state;
    struct site *site = site_start_certificates();
    assert_int_equal(200, status_of(site, "/latest/orders", "client"));
    assert_int_equal(403, status_of(site, "/latest/product-metrics", "client"));
    assert_int_equal(401, status_of(site, "/latest/orders", "both")); /* CN=localhost */
    assert_int_equal(401, status_of(site, "/events/orders", NULL));
    struct taker taker = {0};
    CURL *curl = client_of(site, "/events/orders", "client", &taker);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, revoke_when_it_streams, site));
    assert_int_equal(CURLE_OK, curl_easy_perform(curl)); /* its last chunk has come */
    (void)pthread_join(thread, NULL);
    curl_easy_cleanup(curl);
    assert_int_equal(401, status_of(site, "/latest/orders", "client"));
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls__a_long_backlog__comes_whole_once_and_in_frames),
        cmocka_unit_test(test_tls__shutdown__is_told_and_ends_the_stream),
        cmocka_unit_test(test_tls__certificate__opens_a_stream_until_it_is_taken_away),
    };
    return cmocka_run_group_tests(tests, certificates_make, certificates_remove);
}
