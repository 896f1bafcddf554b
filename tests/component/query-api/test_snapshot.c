/* The latest values first, then live: with nothing missing between, and nothing twice after. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

/* A snapshot that ends at the position: all of it has been read then. */
static struct client *open_at(const struct site *site, const char *target, const char *headers,
                              const char *position)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        struct client *client = client_open(site, target, headers);
        client_await_text(client, "\"records\":");
        if (client_has_text(client, position)) {
            return client;
        }
        client_close(client);
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void test_snapshot__one_value_a_key__and_the_position_only_at_its_end(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce(site, "product-metrics", 0, "a", "{\"v\":\"a-old\"}");
    site_produce(site, "product-metrics", 0, "gone", "{\"v\":\"gone\"}");
    site_produce(site, "product-metrics", 0, "a", "{\"v\":\"a-new\"}");
    site_produce(site, "product-metrics", 0, "gone", NULL);
    site_produce(site, "product-metrics", 1, "b", "{\"v\":\"b-new\"}");
    site_flush(site);
    struct client *client = open_at(site, "/events/product-metrics?snapshot=1", NULL,
                                    "event: snapshot-end\nid: product-metrics~0=4,1=1\n");
    client_await_text(client, "\n\nevent: snapshot-end\nid: product-metrics~0=4,1=1\n"
                              "data: {\"records\":2}\n\n");
    assert_true(client_has_text(client, "\n\ndata: {\"v\":\"a-new\"}\n\n"));
    assert_true(client_has_text(client, "\n\ndata: {\"v\":\"b-new\"}\n\n"));
    assert_false(client_has_text(client, "a-old") || client_has_text(client, "gone"));
    assert_string_equal("product-metrics~0=4,1=1", client->id);
    site_produce(site, "product-metrics", 1, "b", "{\"v\":\"b-live\"}");
    site_flush(site);
    client_await_text(client, "id: product-metrics~0=4,1=2\ndata: {\"v\":\"b-live\"}\n\n");
    client_close(client);
    site_stop(site);
}

static void test_snapshot__by_filter_enveloped_of_two_topics(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce(site, "product-metrics", 0, "p", "{\"v\":1}");
    site_produce(site, "orders", 2, "o", "{\"v\":2}");
    site_produce(site, "orders", 2, "q", "{\"v\":3}");
    site_flush(site);
    struct client *client =
        open_at(site, "/events/orders,product-metrics?snapshot=1&filter=v%20%3C%203",
                "Accept: application/x-ndjson\r\n",
                "snapshot-end\",\"id\":\"orders~0=0,1=0,2=2;product-metrics~0=1,1=0\"");
    client_await_text(client, "\n{\"event\":\"snapshot-end\",\"id\":\"orders~0=0,1=0,2=2;"
                              "product-metrics~0=1,1=0\",\"data\":{\"records\":2}}\n");
    assert_true(client_has_text(client, "\n{\"topic\":\"orders\",\"partition\":2,\"offset\":0,"));
    assert_true(
        client_has_text(client, "\n{\"topic\":\"product-metrics\",\"partition\":0,\"offset\":0,"));
    assert_false(client_has_text(client, "\"value\":{\"v\":3}"));
    client_close(client);
    site_stop(site);
}

static void test_snapshot__a_position_wins(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 6, 1);
    site_await_read(site, "orders~0=2,1=2,2=2");
    struct client *client =
        client_open(site, "/events/orders?snapshot=1", "Last-Event-ID: orders~0=2,1=1,2=2\r\n");
    client_await_text(client, "\nid: orders~0=2,1=1,2=2\n\n");
    client_await_records(client, 1);
    assert_false(client_has_text(client, "snapshot-end"));
    client_close(client);
    site_stop(site);
}

static void test_snapshot__what_is_not_held_is_told(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.latest.keys.max=2", NULL};
    struct site *site = site_start(options);
    for (int i = 0; i < 5; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        site_produce(site, "orders", 0, key, "{}");
    }
    site_flush(site);
    site_await_read(site, "orders~0=5,1=0,2=0");
    struct client *client = client_open(site, "/events/orders?snapshot=1", NULL);
    client_await_text(client, "event: snapshot-end\nid: orders~0=5,1=0,2=0\n"
                              "data: {\"records\":2,\"left_out\":3}\n\n");
    client_close(client);
    site_stop(site);
}

#define KEYS   7
#define ROUNDS 40

/* Values {"k":…,"v":…} under KEYS keys, of which v only grows. */
static void produce_round(struct site *site, int round)
{
    for (int k = 0; k < KEYS; k++) {
        char key[8], value[48];
        (void)snprintf(key, sizeof key, "k%d", k);
        (void)snprintf(value, sizeof value, "{\"k\":%d,\"v\":%d}", k, round);
        site_produce(site, "orders", k % 3, key, value);
    }
    site_flush(site);
}

/* Each key's values one by one from that of the snapshot to the last. */
static void check_values(struct client *client)
{
    assert_err(ERR_OK, buf_append(&client->text, "", 1)); /* for sscanf */
    int last[KEYS];
    memset(last, -1, sizeof last);
    bool is_live = false;
    const char *end = client->text.data + client->text.len;
    for (const char *at = client->text.data; at < end; at++) {
        int k, v;
        is_live = is_live || strncmp(at, "event: snapshot-end", 19) == 0;
        if (strncmp(at, "data: {\"k\":", 11) != 0 || sscanf(at + 11, "%d,\"v\":%d}", &k, &v) != 2) {
            continue;
        }
        if (is_live ? v != last[k] + 1 : last[k] != -1) {
            fail_msg("key %d: %d after %d", k, v, last[k]);
        }
        last[k] = v;
    }
    for (int k = 0; k < KEYS; k++) {
        assert_int_equal(ROUNDS - 1, last[k]);
    }
}

static void test_snapshot__while_records_come__each_key_without_a_step_missing(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *clients[ROUNDS];
    produce_round(site, 0);
    for (int round = 1; round < ROUNDS; round++) {
        clients[round] = client_open(site, "/events/orders?snapshot=1", NULL);
        produce_round(site, round);
    }
    char done[64];
    (void)snprintf(done, sizeof done, "id: orders~0=%d,1=%d,2=%d\n", 3 * ROUNDS, 2 * ROUNDS,
                   2 * ROUNDS);
    for (int round = 1; round < ROUNDS; round++) {
        client_await_text(clients[round], done);
        client_await_text(clients[round], "event: snapshot-end\n");
        while (client_read(clients[round], 20)) {
        }
        check_values(clients[round]);
        client_close(clients[round]);
    }
    site_stop(site);
}

/* A client that takes nothing keeps its snapshot, and so its place. */
static void test_snapshots_max__further_ones_are_told_to_come_back(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--sse.snapshots.max=1",
                                          "--sse.send.buffer=8KiB", NULL};
    struct site *site = site_start(options);
    char value[2048];
    (void)snprintf(value, sizeof value, "{\"pad\":\"%01500d\"}", 0);
    for (int i = 0; i < 2000; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        site_produce(site, "orders", 0, key, value);
    }
    site_flush(site);
    site_await_read(site, "orders~0=2000,1=0,2=0");
    struct client *slow =
        client_open_with(site, "GET /events/orders?snapshot=1 HTTP/1.1\r\nHost: a\r\n\r\n", 4096);
    client_await_text(slow, "data: {\"pad\"");
    struct client *second = client_open(site, "/events/orders?snapshot=1", NULL);
    client_await_end(second);
    assert_string_equal("error", second->event);
    client_await_text(slow, "data: {\"records\":2000}");
    client_close(second);
    second = client_open(site, "/events/orders?snapshot=1", NULL);
    client_await_text(second, "data: {\"records\":2000}");
    client_close(second);
    client_close(slow);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot__one_value_a_key__and_the_position_only_at_its_end),
        cmocka_unit_test(test_snapshot__by_filter_enveloped_of_two_topics),
        cmocka_unit_test(test_snapshot__a_position_wins),
        cmocka_unit_test(test_snapshot__what_is_not_held_is_told),
        cmocka_unit_test(test_snapshot__while_records_come__each_key_without_a_step_missing),
        cmocka_unit_test(test_snapshots_max__further_ones_are_told_to_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
