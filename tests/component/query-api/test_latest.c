#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static const char *const one_worker[] = {"--http.threads=1", NULL};

static bool etag_copy(const char *answer, char *etag, size_t bytes)
{
    const char *at = strstr(answer, "ETag: ");
    if (at) {
        (void)snprintf(etag, bytes, "If-None-Match: %.*s\r\n", (int)strcspn(at + 6, "\r"), at + 6);
    }
    return at != NULL;
}

/* The ends of the partitions are asked for now and then: lag may be told a little late. */
static char *await_caught_up(const struct site *site, const char *target)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        char *text = site_get(site, target, NULL);
        if (strstr(text, "\"lag\":0,")) {
            return text;
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("the lag does not become 0:\n%s", text);
        }
        free(text);
        (void)poll(NULL, 0, 10);
    }
}

static void test_latest__value_per_key__with_what_it_stands_for(void **state)
{
    (void)state;
    struct site *site = site_start(one_worker);
    site_produce(site, "orders", 0, "a", "{\"n\":1}");
    site_produce(site, "orders", 1, "b", "not json");
    site_produce(site, "orders", 0, "a", "{\"n\":2}");
    site_produce(site, "orders", 2, "gone", "1");
    site_produce(site, "orders", 2, "gone", NULL);
    site_flush(site);
    site_await_read(site, "orders~0=2,1=1,2=2");
    char *text = await_caught_up(site, "/latest/orders");
    expect_in(text, "HTTP/1.1 200");
    expect_in(text, "Content-Type: application/json");
    expect_in(text, "ETag: \"orders~0=2,1=1,2=2,e=");
    expect_in(text,
              "Link: </events/orders>; rel=\"monitor\"; last-event-id=\"orders~0=2,1=1,2=2,e=");
    expect_in(text, "\"lag\":0,\"cursor\":\"orders~0=2,1=1,2=2,e=");
    expect_in(text, "\",\"items\":[");
    expect_in(text,
              "{\"key\":\"a\",\"value\":{\"n\":2},\"partition\":0,\"offset\":1,\"timestamp\":");
    expect_in(text, "{\"key\":\"b\",\"value\":\"not json\",\"partition\":1,\"offset\":0,");
    assert_null(strstr(text, "gone"));
    free(text);
    text = site_get(site, "/latest/orders/b", NULL);
    expect_in(text, "\"items\":[{\"key\":\"b\",\"value\":\"not json\"");
    assert_null(strstr(text, "\"key\":\"a\""));
    free(text);
    site_stop(site);
}

static void test_latest__unchanged__is_304(void **state)
{
    (void)state;
    static const char *const targets[] = {"/latest/orders", "/latest/orders/a"};
    struct site *site = site_start(one_worker);
    site_produce(site, "orders", 0, "a", "1");
    site_flush(site);
    site_await_read(site, "orders~0=1,1=0,2=0");
    char etags[2][256];
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char *text = site_get(site, targets[i], NULL);
        assert_true(etag_copy(text, etags[i], sizeof etags[i]));
        free(text);
        text = site_get(site, targets[i], etags[i]);
        expect_in(text, "HTTP/1.1 304");
        assert_null(strstr(text, "items"));
        free(text);
    }
    site_produce(site, "orders", 1, "b", "1");
    site_flush(site);
    site_await_read(site, "orders~0=1,1=1,2=0");
    char *text = site_get(site, targets[0], etags[0]);
    expect_in(text, "HTTP/1.1 200");
    free(text);
    text = site_get(site, targets[1], etags[1]); /* this key has not changed */
    expect_in(text, "HTTP/1.1 304");
    free(text);
    site_stop(site);
}

static void test_latest_then_stream__nothing_between(void **state)
{
    (void)state;
    struct site *site = site_start(one_worker);
    site_produce_orders(site, 3, 6, 1);
    site_await_read(site, "orders~0=2,1=2,2=2");
    char *text = site_get(site, "/latest/orders", NULL);
    const char *cursor = strstr(text, "last-event-id=\"") + 15;
    char header[256];
    (void)snprintf(header, sizeof header, "Last-Event-ID: %.*s\r\n", (int)strcspn(cursor, "\""),
                   cursor);
    free(text);
    site_produce_orders(site, 9, 3, 1);
    struct client *client = client_open(site, "/events/orders", header);
    client_await_records(client, 3);
    client_close(client);
    site_stop(site);
}

static void test_dashboard__page_and_assets__with_strict_policy(void **state)
{
    (void)state;
    struct site *site = site_start(one_worker);
    static const struct {
        const char *target, *type;
    } rows[] = {
        {"/", "Content-Type: text/html; charset=utf-8"},
        {"/assets/dashboard.js", "Content-Type: text/javascript; charset=utf-8"},
        {"/assets/style.css", "Content-Type: text/css; charset=utf-8"},
        {"/assets/uPlot.iife.min.js", "Content-Type: text/javascript; charset=utf-8"},
        {"/assets/uPlot.min.css", "Content-Type: text/css; charset=utf-8"},
        {"/assets/icon.svg", "Content-Type: image/svg+xml"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = site_get(site, rows[i].target, NULL);
        expect_in(text, "HTTP/1.1 200");
        expect_in(text, rows[i].type);
        expect_in(text, "Content-Security-Policy: default-src 'self'");
        expect_in(text, "X-Content-Type-Options: nosniff");
        expect_in(text, "Referrer-Policy: no-referrer");
        free(text);
    }
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latest__value_per_key__with_what_it_stands_for),
        cmocka_unit_test(test_latest__unchanged__is_304),
        cmocka_unit_test(test_latest_then_stream__nothing_between),
        cmocka_unit_test(test_dashboard__page_and_assets__with_strict_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
