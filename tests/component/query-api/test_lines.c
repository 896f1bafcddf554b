/* The same stream as a JSON object a line, for what is no browser. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static void test_lines__records_deletions_and_positions(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.heartbeat=50ms", NULL};
    struct site *site = site_start(options);
    struct client *client =
        client_open(site, "/events/product-metrics", "Accept: application/x-ndjson\r\n");
    client_await_text(client, "\r\nContent-Type: application/x-ndjson\r\n");
    client_await_text(client,
                      "\r\n\r\n{\"event\":\"position\",\"id\":\"product-metrics~0=0,1=0\"}\n");
    site_produce(site, "product-metrics", 1, "prod-1", "{\"a\":\r\n1}");
    site_flush(site);
    client_await_text(client, "\n{\"id\":\"product-metrics~0=0,1=1\",\"topic\":\"product-metrics\","
                              "\"partition\":1,\"offset\":0,\"timestamp\":1");
    client_await_text(client, ",\"key\":\"prod-1\",\"headers\":{},\"value\":{\"a\":  1}}\n");
    site_produce(site, "product-metrics", 0, "prod-1", NULL);
    site_flush(site);
    client_await_text(client,
                      "\n{\"event\":\"delete\",\"id\":\"product-metrics~0=1,1=1\",\"topic\":");
    client_await_text(client, "\"value\":null}\n");
    /* a heartbeat */
    client_await_text(client, "\n{\"event\":\"position\",\"id\":\"product-metrics~0=1,1=1\"}\n");
    site_close(site);
    client_await_end(client);
    client_await_text(client,
                      "\n{\"event\":\"shutdown\",\"id\":\"product-metrics~0=1,1=1\",\"data\":{");
    assert_true(client->is_ended);
    client_close(client);
    site_open(site, NULL);
    site_stop(site);
}

static void test_lines__resume_and_gaps(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 6, 1);
    site_await_read(site, "orders~0=2,1=2,2=2");
    struct client *client =
        client_open(site, "/events/orders?last_event_id=orders~0=50,1=1,2=2",
                    "Accept: application/json\r\n"); /* as clients of EventStreams ask */
    client_await_text(client, "\r\nContent-Type: application/json\r\n");
    client_await_text(client, "\n{\"event\":\"gap\",\"data\":{\"topic\":\"orders\",\"partition\":0,"
                              "\"from\":2,\"to\":50}}\n"
                              "{\"event\":\"position\",\"id\":\"orders~0=2,1=1,2=2\"}\n");
    client_await_text(client,
                      "\n{\"id\":\"orders~0=2,1=2,2=2\",\"topic\":\"orders\",\"partition\":1,"
                      "\"offset\":1,");
    client_close(client);
    site_stop(site);
}

static void test_format__is_the_one_that_is_liked_best(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    static const struct {
        const char *accept, *line;
    } rows[] = {
        {"*/*", "text/event-stream; charset=utf-8"},
        {"text/event-stream, application/json", "text/event-stream; charset=utf-8"},
        {"text/event-stream;q=0.5, application/json", "application/json"},
        {"application/json, application/x-ndjson", "application/x-ndjson"},
        {"application/*", "application/x-ndjson"},
        {"text/event-stream;q=0, */*", "application/x-ndjson"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char header[128], line[128];
        (void)snprintf(header, sizeof header, "Accept: %s\r\n", rows[i].accept);
        (void)snprintf(line, sizeof line, "\r\nContent-Type: %s\r\n", rows[i].line);
        struct client *client = client_open(site, "/events/orders", header);
        client_await_text(client, line);
        client_close(client);
    }
    site_stop(site);
}

static void test_clients_max__lines__503_says_when(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.clients.max=1", NULL};
    struct site *site = site_start(options);
    struct client *first = client_open(site, "/events/orders", NULL);
    client_await_text(first, "id: ");
    char *text = site_get(site, "/events/orders", "Accept: application/x-ndjson\r\n");
    expect_in(text, "HTTP/1.1 503");
    expect_in(text, "\r\nRetry-After: ");
    free(text);
    client_close(first);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines__records_deletions_and_positions),
        cmocka_unit_test(test_lines__resume_and_gaps),
        cmocka_unit_test(test_format__is_the_one_that_is_liked_best),
        cmocka_unit_test(test_clients_max__lines__503_says_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
