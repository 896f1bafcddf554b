/* A topic that is deleted and created again: its ids say which making of it they are of, clients are
 * told, and get the new one from its beginning. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static bool has_raw(const struct client *client, const char *text)
{
    return memmem(client->raw.data, client->raw.len, text, strlen(text)) != NULL;
}

/* The last id as it was sent, with its epochs. */
static void last_id(const struct client *client, char *id, size_t id_bytes)
{
    const char *found = NULL;
    for (const char *at = client->raw.data;
         (at = memmem(at, (size_t)(client->raw.data + client->raw.len - at), "id: ", 4)) != NULL;
         at++) {
        found = at + 4;
    }
    assert_non_null(found);
    (void)snprintf(id, id_bytes, "%.*s", (int)strcspn(found, "\n"), found);
}

/* With another producer: one that knew the topic may think of its old partitions. */
static void remake(struct site *site, const char *topic, int partitions)
{
    assert_int_equal(0, rd_kafka_mock_topic_delete(site->mock.cluster, topic));
    mock_kafka_topic(&site->mock, topic, partitions);
    rd_kafka_destroy(site->producer);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    CHECK(rd_kafka_conf_set(conf, "bootstrap.servers", site->mock.config.bootstrap_servers, why,
                            sizeof why) == RD_KAFKA_CONF_OK);
    site->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    CHECK(site->producer);
}

#define GAP_OF_ORDERS                                                                              \
    "event: gap\ndata: {\"topic\":\"orders\",\"detail\":\"the topic was deleted and created "      \
    "again; "                                                                                      \
    "it follows from its beginning\"}\n\n"

static void test_id__of_an_earlier_making__is_told_and_the_new_one_follows(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 6, 1);
    site_await_read(site, "orders~0=2,1=2,2=2");
    struct client *client = client_open(site, "/events/orders,product-metrics", NULL);
    client_await_text(client, "id: orders~0=2,1=2,2=2;product-metrics~0=0,1=0\n\n");
    char id[256], header[320];
    last_id(client, id, sizeof id);
    assert_non_null(strstr(id, ",e="));
    client_close(client);
    site_close(site);
    remake(site, "orders", 3);
    site_produce_orders(site, 3, 9, 1); /* more than there was: offsets alone tell nothing */
    site_open(site, options);
    (void)snprintf(header, sizeof header, "Last-Event-ID: %s\r\n", id);
    client = client_open(site, "/events/orders,product-metrics", header);
    client_await_text(client, GAP_OF_ORDERS "id: orders~0=0,1=0,2=0;product-metrics~0=0,1=0\n\n");
    client_await_records(client, 9);
    char again[256];
    last_id(client, again, sizeof again);
    assert_string_not_equal(strstr(id, ",e="), strstr(again, ",e="));
    assert_string_equal(strrchr(id, 'e'), strrchr(again, 'e')); /* the other topic is the same */
    client_close(client);
    /* With the new epoch it is a position like any other. */
    (void)snprintf(header, sizeof header, "Last-Event-ID: %s\r\n", again);
    client = client_open(site, "/events/orders,product-metrics", header);
    client_await_text(client, "\nid: orders~0=3,1=3,2=3;product-metrics~0=0,1=0\n\n");
    assert_false(has_raw(client, "gap"));
    client_close(client);
    site_stop(site);
}

static void test_remade__while_streams_are_open__each_is_told_and_goes_on(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, 30, 1);
    site_produce(site, "product-metrics", 0, "p", "{\"v\":1}");
    site_flush(site);
    struct client *plain = client_open(site, "/events/orders?from=earliest", NULL);
    struct client *several =
        client_open(site, "/events/product-metrics,orders?from=earliest", NULL);
    struct client *filtered = client_open(site, "/events/orders?key=k&from=earliest", NULL);
    struct client *lines = client_open(site, "/events/orders", "Accept: application/x-ndjson\r\n");
    client_await_records(plain, 30);
    client_await_records(several, 30);
    client_await_records(filtered, 30);
    client_await_text(several, "{\"v\":1}");
    client_await_text(lines, "\"position\"");
    struct client *const all[] = {plain, several, filtered};
    remake(site, "orders", 2);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        memset(all[i]->last_n, 0, sizeof all[i]->last_n); /* the numbers begin anew */
        all[i]->records = 0;
    }
    for (int n = 3; n < 90; n++) {
        char value[32];
        (void)snprintf(value, sizeof value, "{\"n\":%d}", n);
        if (n % 3 < 2) {
            site_produce(site, "orders", n % 3, "k", value);
        }
    }
    site_flush(site);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        client_await_text(all[i], GAP_OF_ORDERS);
        client_await_records(all[i], 58);
        assert_non_null(strstr(all[i]->id, "orders~0=29,1=29"));
    }
    client_await_text(lines, "\n{\"event\":\"gap\",\"data\":{\"topic\":\"orders\",\"detail\":");
    client_await_text(lines, "\"id\":\"orders~0=29,1=29\"");
    /* The other topic was not touched. */
    assert_non_null(strstr(several->id, "product-metrics~0=1,1=0;"));
    site_produce(site, "product-metrics", 0, "p", "{\"v\":2}");
    site_flush(site);
    client_await_text(several, "{\"v\":2}");
    /* Nor is anything of the old one left among the latest values. */
    char *text = site_get(site, "/latest/orders", NULL);
    expect_in(text, "\"orders~0=29,1=29,e=");
    /* The key is in both partitions, which are read in any order: the last of either may be newest. */
    assert_true(strstr(text, "\"value\":{\"n\":87}") || strstr(text, "\"value\":{\"n\":88}"));
    free(text);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        client_close(all[i]);
    }
    client_close(lines);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id__of_an_earlier_making__is_told_and_the_new_one_follows),
        cmocka_unit_test(test_remade__while_streams_are_open__each_is_told_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
