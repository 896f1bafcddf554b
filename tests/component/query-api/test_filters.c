/* Which records a stream is of: by key, by fields; and that its position moves past the others. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static void test_key__only_its_records_and_deletions(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *client = client_open(site, "/events/orders?key=b%2F1&from=earliest", NULL);
    site_produce(site, "orders", 0, "a", "{\"is\":\"a\"}");
    site_produce(site, "orders", 0, "b/1", "{\"is\":\"b1\"}");
    site_produce(site, "orders", 0, "b/12", "{\"is\":\"b12\"}");
    site_produce(site, "orders", 0, NULL, "{\"is\":\"nobody\"}");
    site_produce(site, "orders", 0, "a", NULL);
    site_produce(site, "orders", 0, "b/1", NULL);
    site_flush(site);
    client_await_text(client, "id: orders~0=2,1=0,2=0\ndata: {\"is\":\"b1\"}\n\n");
    client_await_text(client, "event: delete\nid: orders~0=6,1=0,2=0\n");
    assert_false(client_has_text(client, "\"a\"") || client_has_text(client, "b12") ||
                 client_has_text(client, "nobody"));
    client_close(client);
    site_stop(site);
}

static void test_filter__only_events_of_which_it_is_true__and_all_deletions(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    /* amount > 10 and address.city in ('Bonn', 'Oslo') */
    struct client *client = client_open(
        site,
        "/events/orders?from=earliest&filter=amount%20%3E%2010%20and%20address.city%20in"
        "%20('Bonn',%20'Oslo')",
        NULL);
    static const char *const values[] = {
        "{\"n\":0,\"amount\":11,\"address\":{\"city\":\"Bonn\"}}",
        "{\"n\":0,\"amount\":10,\"address\":{\"city\":\"Bonn\"}}",
        "{\"n\":0,\"amount\":99,\"address\":{\"city\":\"Rome\"}}",
        "{\"n\":0,\"amount\":\"much\"}",
        "no JSON at all",
        "{\"n\":0,\"amount\":1e3,\"address\":{\"city\":\"Oslo\"}}",
        NULL,
        "{\"n\":0,\"amount\":10.01,\"address\":{\"city\":\"Oslo\"}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        site_produce(site, "orders", 1, "k", values[i]);
    }
    site_flush(site);
    client_await_text(client, "id: orders~0=0,1=8,2=0\ndata: {\"n\":0,\"amount\":10.01");
    assert_int_equal(3, client->records);
    assert_true(client_has_text(client, "event: delete\nid: orders~0=0,1=7,2=0\n"));
    client_close(client);
    site_stop(site);
}

static void test_filter__that_nothing_passes__moves_on_by_heartbeats(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.heartbeat=50ms", NULL};
    struct site *site = site_start(options);
    struct client *client = client_open(site, "/events/orders?filter=n%20%3C%200&key=k", NULL);
    client_await_text(client, "id: orders~0=0,1=0,2=0\n\n");
    site_produce_orders(site, 3, 9, 10);
    client_await_text(client, ":hb\nid: orders~0=3,1=3,2=3\n\n");
    assert_int_equal(0, client->records);
    client_close(client);
    site_stop(site);
}

/* Past what is in memory, and back in it: the same records come from both. */
static void test_filter__catching_up__joins_live(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.ring.bytes=64KiB", "--sse.catchup.bytes=16KiB",
                                          "--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 3000, 100);
    site_await_read(site, "orders~0=1000,1=1000,2=1000");
    /* Of partition 0 only, so that the client's own order check holds. */
    struct client *client =
        client_open(site, "/events/orders?from=earliest&filter=n%20%25%203%20%3D%3D%200", NULL);
    client_await_records(client, 1000);
    site_produce_orders(site, 3003, 300, 100);
    client_await_records(client, 1100);
    client_close(client);
    site_stop(site);
}

static void test_rewind__counts_what_the_filter_passes(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 30, 10);
    site_await_read(site, "orders~0=10,1=10,2=10");
    struct client *client =
        client_open(site, "/events/orders?rewind=2&filter=n%20in%20(6,%2027,%2030)", NULL);
    client_await_records(client, 2);
    assert_int_equal(30, client->last_n[0]);
    assert_true(client_has_text(client, "{\"n\":27,"));
    client_close(client);
    site_stop(site);
}

static void test_filter__that_is_none__is_a_problem_that_says_where(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    static const struct {
        const char *target, *says;
    } rows[] = {
        {"/events/orders?filter=", "filter: column 1"},
        {"/events/orders?filter=amount%20%3E", "filter: column 9"},
        {"/events/orders?filter=lenght(a)", "did you mean"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = site_get(site, rows[i].target, NULL);
        expect_in(text, "HTTP/1.1 400");
        expect_in(text, "\"request-param\"");
        expect_in(text, rows[i].says);
        free(text);
    }
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key__only_its_records_and_deletions),
        cmocka_unit_test(test_filter__only_events_of_which_it_is_true__and_all_deletions),
        cmocka_unit_test(test_filter__that_nothing_passes__moves_on_by_heartbeats),
        cmocka_unit_test(test_filter__catching_up__joins_live),
        cmocka_unit_test(test_rewind__counts_what_the_filter_passes),
        cmocka_unit_test(test_filter__that_is_none__is_a_problem_that_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
