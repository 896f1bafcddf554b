/* Records in Avro: what streams and answers show of them, what waits while the registry is away, and what
 * becomes of what cannot be decoded. The registry is our own HTTP server. */
#define _GNU_SOURCE /* memmem */

#include "http_peer.h"
#include "ws_client.h"

enum { ORDER = 1, PRICED, PROTOBUF, REFERRING, BROKEN, BARE, UNKNOWN = 99 };

static const char *const answers[] = {
    [ORDER] = "{\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"o\\\",\\\"fields\\\":["
              "{\\\"name\\\":\\\"n\\\",\\\"type\\\":\\\"int\\\"},"
              "{\\\"name\\\":\\\"who\\\",\\\"type\\\":[\\\"null\\\",\\\"string\\\"]}]}\"}",
    [PRICED] =
        "{\"schemaType\":\"AVRO\",\"references\":[],"
        "\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"o\\\",\\\"fields\\\":["
        "{\\\"name\\\":\\\"n\\\",\\\"type\\\":\\\"int\\\"},{\\\"name\\\":\\\"price\\\","
        "\\\"type\\\":"
        "{\\\"type\\\":\\\"bytes\\\",\\\"logicalType\\\":\\\"decimal\\\",\\\"precision\\\":9,"
        "\\\"scale\\\":2}}]}\"}",
    [PROTOBUF] = "{\"schemaType\":\"PROTOBUF\",\"schema\":\"message a {}\"}",
    [REFERRING] = "{\"schema\":\"\\\"a.B\\\"\",\"references\":[{\"name\":\"a.B\",\"subject\":\"b\","
                  "\"version\":1}]}",
    [BROKEN] = "{\"schema\":\"{\\\"type\\\":\\\"record\\\"}\"}",
    [BARE] = "{\"schema\":\"\\\"string\\\"\"}",
};

static struct registry_server {
    struct http_server *http;
    char option[128];
    pthread_mutex_t lock; /* guards what follows */
    bool is_away;
    int asked;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void handle_get_schema(struct http_request *request)
{
    const size_t id = strtoul(http_request_param(request, "id"), NULL, 10);
    (void)pthread_mutex_lock(&registry.lock);
    const bool is_away = registry.is_away;
    registry.asked++;
    (void)pthread_mutex_unlock(&registry.lock);
    if (is_away) {
        http_reply_bytes(request, 503, "application/json", SV("{}"));
    } else if (id < ARRAY_LEN(answers) && answers[id]) {
        http_reply_bytes(request, 200, "application/vnd.schemaregistry.v1+json", sv(answers[id]));
    } else {
        http_reply_bytes(request, 404, "application/json", SV("{\"error_code\":40403}"));
    }
}

static void registry_set(bool is_away)
{
    (void)pthread_mutex_lock(&registry.lock);
    registry.is_away = is_away;
    registry.asked = 0;
    (void)pthread_mutex_unlock(&registry.lock);
}

static bool registry_was_asked(void *context)
{
    (void)pthread_mutex_lock(&registry.lock);
    const bool was_asked = registry.asked >= *(int *)context;
    (void)pthread_mutex_unlock(&registry.lock);
    return was_asked;
}

static int setup(void **state)
{
    (void)state;
    static const struct http_route routes[] = {
        {HTTP_GET, "/api/schemas/ids/{id}", handle_get_schema}};
    static const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};
    registry.http = http_peer_start(&set);
    (void)snprintf(registry.option, sizeof registry.option,
                   "--schema.registry.url=http://127.0.0.1:%u/api/",
                   http_server_port(registry.http));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(registry.http);
    return 0;
}

/* A partition that is taken up again is fetched with the next request: soon, for a test. */
static struct site *avro_site(const char *const *more)
{
    const char *options[8] = {registry.option, "--query.avro.topics=ord*",
                              "--kafka.fetch.wait.max.ms=10"};
    for (size_t i = 0; more && more[i]; i++) {
        CHECK(4 + i < ARRAY_LEN(options));
        options[3 + i] = more[i];
    }
    registry_set(false);
    return site_start(options);
}

/* --- records ----------------------------------------------------------------------------------------------- */

static void produce_bytes(struct site *site, int32_t partition, const void *bytes, size_t len)
{
    assert_int_equal(0,
                     rd_kafka_producev(site->producer, RD_KAFKA_V_TOPIC("orders"),
                                       RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY("k", 1),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)bytes, len),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
    site_flush(site);
}

/* {"n":n,"who":"al"}, or {"n":n,"price":2.55}; n below 64 */
static void produce_order(struct site *site, int32_t partition, int schema, int n)
{
    uint8_t bytes[] = {0, 0, 0, 0, (uint8_t)schema, (uint8_t)(2 * n), 2, 4, 'a', 'l'};
    if (schema == PRICED) {
        bytes[6] = 4;
        bytes[7] = 0;
        bytes[8] = 255;
    }
    produce_bytes(site, partition, bytes, schema == PRICED ? 9 : 10);
}

/* --- tests ------------------------------------------------------------------------------------------------- */

static void test_decoded__every_form_shows_what_it_says(void **state)
{
    (void)state;
    struct site *site = avro_site(NULL);
    produce_order(site, 0, ORDER, 1);
    produce_order(site, 0, PRICED, 2); /* another schema, between two records */
    produce_order(site, 0, ORDER, 3);
    site_produce(site, "orders", 0, "k", NULL);
    site_produce(site, "orders", 0, "k", "{\"n\":4,\"is\":\"JSON\"}");
    site_flush(site);
    struct client *sse = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_text(sse, "id: orders~0=1,1=0,2=0\ndata: {\"n\":1,\"who\":\"al\"}\n\n");
    client_await_text(sse, "id: orders~0=2,1=0,2=0\ndata: {\"n\":2,\"price\":2.55}\n\n");
    client_await_text(sse, "id: orders~0=3,1=0,2=0\ndata: {\"n\":3,\"who\":\"al\"}\n\n");
    client_await_text(sse, "event: delete\nid: orders~0=4,1=0,2=0\n");
    client_await_text(sse, "data: {\"n\":4,\"is\":\"JSON\"}\n\n");
    struct client *lines =
        client_open(site, "/events/orders?from=earliest", "Accept: application/x-ndjson\r\n");
    client_await_text(lines, "\"headers\":{},\"value\":{\"n\":2,\"price\":2.55}}\n");
    struct client *filtered = client_open(
        site, "/events/orders?from=earliest&envelope=1&filter=price%20%3D%3D%202.55", NULL);
    client_await_text(filtered, "id: orders~0=2,1=0,2=0\ndata: {\"topic\":\"orders\"");
    client_await_text(filtered, "\"value\":{\"n\":2,\"price\":2.55}}\n\n");
    assert_false(client_has_text(filtered, "\"n\":1"));
    produce_order(site, 0, PRICED, 5); /* live, shared by all */
    client_await_text(sse, "data: {\"n\":5,\"price\":2.55}\n\n");
    client_await_text(lines, "\"value\":{\"n\":5,\"price\":2.55}}\n");
    client_await_text(filtered, "\"value\":{\"n\":5,\"price\":2.55}}\n\n");
    char *latest = site_get(site, "/latest/orders", NULL);
    assert_non_null(strstr(latest, "\"value\":{\"n\":5,\"price\":2.55}"));
    free(latest);
    client_close(sse);
    client_close(lines);
    client_close(filtered);
    site_stop(site);
}

#define RAW_1 "AAAAAAECAgRhbA=="

static void test_raw__as_it_was_written__filtered_by_what_it_says(void **state)
{
    (void)state;
    struct site *site = avro_site(NULL);
    struct client *sse = client_open(site, "/events/orders?from=earliest&avro=raw", NULL);
    struct client *enveloped = client_open(
        site, "/events/orders?from=earliest&avro=raw&envelope=1&filter=n%20%3D%3D%201", NULL);
    struct client *decoded = client_open(site, "/events/orders?from=earliest&avro=decoded", NULL);
    struct client *lines = client_open(site, "/events/orders?from=earliest&avro=raw",
                                       "Accept: application/x-ndjson\r\n");
    client_await_text(sse, "\nid: "); /* they are live */
    client_await_text(decoded, "\nid: ");
    produce_order(site, 1, PRICED, 2);
    produce_order(site, 1, ORDER, 1);
    client_await_text(sse, "id: orders~0=0,1=2,2=0\ndata: " RAW_1 "\n\n");
    client_await_text(decoded, "id: orders~0=0,1=2,2=0\ndata: {\"n\":1,\"who\":\"al\"}\n\n");
    client_await_text(enveloped,
                      "\"headers\":{},\"value_encoding\":\"base64\",\"value\":\"" RAW_1 "\"}\n\n");
    assert_false(client_has_text(enveloped, "\"offset\":0"));
    client_await_text(lines, "\"value_encoding\":\"base64\",\"value\":\"" RAW_1 "\"}\n");
    char *wrong = site_get(site, "/events/orders?avro=json", NULL);
    assert_non_null(strstr(wrong, "avro=json is neither decoded nor raw"));
    free(wrong);
    client_close(sse);
    client_close(enveloped);
    client_close(decoded);
    client_close(lines);
    site_stop(site);
}

static void test_websocket__decoded_and_raw(void **state)
{
    (void)state;
    struct site *site = avro_site(NULL);
    struct ws *ws = ws_connect(site);
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"d\",\"topics\":[\"orders\"],"
               "\"from\":\"earliest\"}");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"r\",\"topics\":[\"orders\"],"
               "\"from\":\"earliest\",\"avro\":\"raw\"}");
    produce_order(site, 2, ORDER, 1);
    ws_await_text(ws, "\"value\":{\"n\":1,\"who\":\"al\"}}");
    ws_await_text(ws, "\"value_encoding\":\"base64\",\"value\":\"" RAW_1 "\"}");
    ws_disconnect(ws);
    site_stop(site);
}

static void test_not_decoded__goes_out_as_it_is_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[12];
        size_t len;
        const char *error;
    } rows[] = {
        {{0, 0, 0, 0, ORDER, 2, 2, 4, 'a'},
         9,
         "schema 1: /who: 2 bytes are to follow where 1 are left"},
        {{0, 0, 0, 0, ORDER, 2, 0, 0}, 8, "schema 1: 1 bytes behind its end"},
        {{0, 0, 0, 0, UNKNOWN}, 5, "the registry has no schema 99"},
        {{0, 0, 0, 0, PROTOBUF}, 5, "schema 3 is no Avro but PROTOBUF"},
        {{0, 0, 0, 0, REFERRING}, 5, "schema 4 refers to schemas of other subjects"},
        {{0, 0, 0, 0, BROKEN}, 5, "schema 5#: \\\"name\\\" is missing"},
        {{0, 0, 0, 1}, 4, "it does not begin with a zero and a schema's id"},
        {{0xff, 0xfe}, 2, "it does not begin with a zero and a schema's id"},
        {{0, 0, 0, 0, BARE, 2, 0xff}, 7, "schema 6: byte 0 of a string is not UTF-8"},
    };
    struct site *site = avro_site(NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        produce_bytes(site, 0, rows[i].bytes, rows[i].len);
    }
    produce_order(site, 0, ORDER, 7);
    struct client *client = client_open(site, "/events/orders?from=earliest&envelope=1", NULL);
    client_await_text(client, "\"value\":{\"n\":7,\"who\":\"al\"}}\n\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char expected[256];
        (void)snprintf(expected, sizeof expected, "\"offset\":%zu,\"timestamp\":", i);
        assert_true(client_has_text(client, expected)); /* nothing is left out */
        (void)snprintf(expected, sizeof expected,
                       "\"value_encoding\":\"base64\",\"value_error\":\"%s", rows[i].error);
        assert_true(client_has_text(client, expected));
    }
    assert_true(client_has_text(client, "\"value\":\"//4=\"}"));
    struct client *bare = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_text(bare, "id: orders~0=8,1=0,2=0\ndata: //4=\n\n");
    int asked = 7; /* once an id */
    assert_false(registry_was_asked(&asked));
    char *latest = site_get(site, "/latest/orders", NULL);
    assert_non_null(strstr(latest, "\"value\":{\"n\":7,\"who\":\"al\"}"));
    free(latest);
    client_close(bare);
    client_close(client);
    site_stop(site);
}

static void test_registry_away__its_partition_waits_and_others_go_on(void **state)
{
    (void)state;
    struct site *site = avro_site((const char *const[]){"--schema.registry.wait=5m", NULL});
    struct client *client = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_text(client, "\nid: ");
    registry_set(true);
    produce_order(site, 0, ORDER, 1);
    produce_order(site, 0, PRICED, 2);
    produce_order(site, 0, ORDER, 3);
    int asked = 2;
    site_await(registry_was_asked, &asked, "the registry to be asked again");
    site_produce(site, "orders", 1, "k", "{\"is\":\"JSON\"}");
    site_produce(site, "product-metrics", 0, "k", "{\"n\":0}");
    site_flush(site);
    client_await_text(client, "id: orders~0=0,1=1,2=0\ndata: {\"is\":\"JSON\"}\n\n");
    struct client *other = client_open(site, "/events/product-metrics?from=earliest", NULL);
    client_await_text(other, "data: {\"n\":0}\n\n");
    assert_false(client_has_text(client, "\"n\":"));
    registry_set(false);
    client_await_text(client, "id: orders~0=3,1=1,2=0\n");
    static const char *const order[] = {
        "id: orders~0=1,1=1,2=0\ndata: {\"n\":1,\"who\":\"al\"}\n\n",
        "id: orders~0=2,1=1,2=0\ndata: {\"n\":2,\"price\":2.55}\n\n",
        "id: orders~0=3,1=1,2=0\ndata: {\"n\":3,\"who\":\"al\"}\n\n"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        client_await_text(client, order[i]);
    }
    client_close(other);
    client_close(client);
    site_stop(site);
}

static void test_registry_away__for_long__as_it_is_until_it_is_back(void **state)
{
    (void)state;
    struct site *site = avro_site(
        (const char *const[]){"--schema.registry.wait=0", "--schema.registry.retry=100ms", NULL});
    struct client *client = client_open(site, "/events/orders?from=earliest&envelope=1", NULL);
    client_await_text(client, "\nid: ");
    registry_set(true);
    produce_order(site, 0, ORDER, 1);
    client_await_text(client, "(status 503)\",\"value\":\"" RAW_1 "\"}");
    registry_set(false);
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    int n = 1;
    while (!client_has_text(client,
                            "\"value\":{\"n\":")) { /* those that want it make it be asked for */
        assert_true(clock_mono_us() < deadline_us);
        n = n % 60 + 1;
        produce_order(site, 0, ORDER, n);
        (void)client_read(client, 50);
    }
    /* Whoever reads from Kafka again gets what it says. */
    client_close(client);
    site_stop(site);
}

static void test_older_than_memory__catches_up_decoded(void **state)
{
    (void)state;
    struct site *site = avro_site((const char *const[]){
        "--query.ring.bytes=4096", "--query.load.records=1", "--http.threads=1", NULL});
    for (int i = 0; i < 300; i++) {
        produce_order(site, i % 3, i % 2 ? ORDER : PRICED, i % 60);
    }
    site_await_read(site, "orders~0=100,1=100,2=100");
    struct client *client = client_open(site, "/events/orders?from=earliest&envelope=1", NULL);
    for (int p = 0; p < 3; p++) {
        char last[128];
        (void)snprintf(last, sizeof last, "\"partition\":%d,\"offset\":99,", p);
        client_await_text(client, last);
    }
    size_t decoded = 0;
    client->text.data[client->text.len - 1] = '\0'; /* of the last line end */
    for (const char *at = client->text.data; (at = strstr(at, "\"value\":{\"n\":")) != NULL; at++) {
        decoded++;
    }
    assert_int_equal(300, decoded);
    assert_false(client_has_text(client, "value_error"));
    client_close(client);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoded__every_form_shows_what_it_says),
        cmocka_unit_test(test_raw__as_it_was_written__filtered_by_what_it_says),
        cmocka_unit_test(test_websocket__decoded_and_raw),
        cmocka_unit_test(test_not_decoded__goes_out_as_it_is_with_the_reason),
        cmocka_unit_test(test_registry_away__its_partition_waits_and_others_go_on),
        cmocka_unit_test(test_registry_away__for_long__as_it_is_until_it_is_back),
        cmocka_unit_test(test_older_than_memory__catches_up_decoded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
