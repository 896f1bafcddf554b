/* Clients that take less than there is: what they asked for in that case is what they get, and are
 * told. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

#define RECORDS 3000

static const char *const options[] = {"--query.ring.bytes=128KiB", "--sse.send.buffer=8KiB",
                                      "--http.threads=1", NULL};

/* A client that stops reading at once, and 3 MB of records that it does not take. */
static struct client *fall_behind(struct site *site, const char *target)
{
    char request[256];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
    struct client *slow = client_open_with(site, request, 4096);
    client_await_text(slow, "\nid: ");
    site_produce_orders(site, 3, RECORDS, 1000);
    site_await_read(site, "orders~0=1000,1=1000,2=1000");
    return slow;
}

static void test_catch_up__gets_every_record_once(void **state)
{
    (void)state;
    struct site *site = site_start(options);
    static const char *const targets[] = {"/events/orders?slow=catch-up",
                                          "/events/orders,product-metrics?slow=catch-up"};
    double before = site_metric("millrace_query_slow_total{how=\"caught-up\"}");
    struct client *slow = fall_behind(site, targets[0]);
    client_await_records(slow, RECORDS); /* in order, none twice, none missing */
    assert_true(client_has_text(slow, "event: lagged\ndata: {\"policy\":\"catch-up\","));
    assert_true(site_metric("millrace_query_slow_total{how=\"caught-up\"}") > before);
    /* It is live again. */
    site_produce_orders(site, 3 + RECORDS, 3, 10);
    client_await_records(slow, RECORDS + 3);
    client_close(slow);
    site_stop(site);

    site = site_start(options);
    slow = fall_behind(site, targets[1]);
    client_await_records(slow, RECORDS);
    client_close(slow);
    site_stop(site);
}

static void test_conflate__gets_the_latest_of_each_key(void **state)
{
    (void)state;
    struct site *site = site_start(options);
    double before = site_metric("millrace_query_slow_total{how=\"conflated\"}");
    struct client *slow = client_open_with(
        site, "GET /events/product-metrics?slow=conflate HTTP/1.1\r\nHost: a\r\n\r\n", 4096);
    client_await_text(slow, "\nid: ");
    char value[1200];
    for (int v = 0; v < RECORDS; v++) {
        (void)snprintf(value, sizeof value, "{\"v\":%d,\"pad\":\"%01000d\"}", v, 0);
        site_produce(site, "product-metrics", 0, v % 2 ? "odd" : "even", value);
    }
    site_produce(site, "product-metrics", 1, "odd", NULL);
    site_flush(site);
    client_await_text(slow, "id: product-metrics~0=3000,1=1\n");
    assert_true(client_has_text(slow, "\n\nevent: lagged\ndata: {\"policy\":\"conflate\","));
    assert_true(client_has_text(slow, "{\"v\":2998,"));
    assert_true(slow->text.len < RECORDS * 1000 / 2);
    assert_true(site_metric("millrace_query_slow_total{how=\"conflated\"}") > before);
    /* It is live again. */
    site_produce(site, "product-metrics", 1, "even", "{\"v\":\"live\"}");
    site_flush(site);
    client_await_text(slow, "id: product-metrics~0=3000,1=2\ndata: {\"v\":\"live\"}\n\n");
    client_close(slow);
    site_stop(site);
}

static void test_policy__of_the_configuration__unless_the_client_says_so(void **state)
{
    (void)state;
    static const char *const patient[] = {"--query.ring.bytes=128KiB", "--sse.send.buffer=8KiB",
                                          "--http.threads=1", "--sse.slow=catch-up", NULL};
    struct site *site = site_start(patient);
    struct client *slow = fall_behind(site, "/events/orders");
    client_await_records(slow, RECORDS);
    client_close(slow);
    char *text = site_get(site, "/events/orders?slow=down", NULL);
    expect_in(text, "HTTP/1.1 400");
    expect_in(text, "none of disconnect, conflate, catch-up");
    free(text);
    site_stop(site);
}

static void test_policy__a_client_that_takes_nothing__goes_whatever_it_asked(void **state)
{
    (void)state;
    static const char *const strict[] = {"--query.ring.bytes=128KiB", "--sse.send.buffer=8KiB",
                                         "--http.threads=1", "--sse.stall.timeout=300ms", NULL};
    static const char *const targets[] = {"/events/orders?slow=catch-up&from=earliest",
                                          "/events/orders?slow=conflate"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct site *site = site_start(strict);
        struct client *slow = fall_behind(site, targets[i]);
        int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
        while (site_metric("millrace_query_streams") > 0) {
            assert_true(clock_mono_us() < deadline_us);
            (void)poll(NULL, 0, 5);
        }
        client_close(slow);
        site_stop(site);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catch_up__gets_every_record_once),
        cmocka_unit_test(test_conflate__gets_the_latest_of_each_key),
        cmocka_unit_test(test_policy__of_the_configuration__unless_the_client_says_so),
        cmocka_unit_test(test_policy__a_client_that_takes_nothing__goes_whatever_it_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
