/* Named consumers over WebSocket: the same claims, commits and rights as over server-sent events. */
#define _GNU_SOURCE /* memmem */

#include "consumers_under_test.h"
#include "ws_client.h"

#define SUBSCRIBE(more)                                                                            \
    "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"],"                    \
    "\"consumer\":\"c\"" more "}"
#define COMMIT(cursor) "{\"action\":\"commit\",\"subscription\":\"s\",\"cursor\":\"" cursor "\"}"
#define ACK(records)   "{\"action\":\"ack\",\"subscription\":\"s\",\"records\":" #records "}"
#define EARLIEST       ",\"from\":\"earliest\""
#define MANUAL         ",\"commit\":\"manual\""

/* A WebSocket whose subscription "s" has the name, and has read so many records. */
static struct ws *ws_named(const struct site *site, const char *subscribe, const char *from,
                           int records)
{
    char says[64];
    struct ws *ws = ws_connect(site);
    ws_say(ws, subscribe);
    (void)snprintf(says, sizeof says, "\"from\":\"%s\"}", from);
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"consumer\",");
    ws_await_text(ws, says);
    ws_await_records(ws, records);
    return ws;
}

static void test_auto__goes_on_where_it_was__over_either(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST), "request", 30);
    await_answer(site, "/consumers/c", "\"lag\":0,\"cursor\":\"orders~0=10,1=10,2=10");
    site_produce_orders(site, 33, 3, 10);
    ws_await_records(ws, 33);
    ws_say(ws, "{\"action\":\"unsubscribe\",\"subscription\":\"s\"}");
    ws_await_text(ws, "\"event\":\"unsubscribed\"");
    site_produce_orders(site, 36, 9, 10);
    struct client *client = read_named(site, "&from=earliest", "committed", 9);
    ws_disconnect(ws);
    client_close(client);
    site_stop(site);
}

/* One that a socket has from its address, and one that is cut. */
static void test_auto__address_upgraded__what_arrived_is_committed_when_it_is_cut(void **state)
{
    (void)state;
    static const char *const rarely[] = {"--query.consumers=on",
                                         "--query.consumers.commit.interval=600s", NULL};
    struct site *site = site_start(rarely);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_open_as(site, "/events/orders?consumer=c&from=earliest", NULL, 0);
    ws_await_text(ws, "\n{\"subscription\":\"0\",\"event\":\"consumer\",");
    ws_await_text(ws, "\"value\":{\"n\":30,");
    ws_await_text(ws, "\"value\":{\"n\":31,");
    ws_await_text(ws, "\"value\":{\"n\":32,");
    ws_disconnect(ws);
    await_answer(site, "/consumers/c", "\"lag\":0,\"cursor\":\"orders~0=10,1=10,2=10");
    site_stop(site);
}

/* What the client says that it has taken is more than what its kernel has. */
static void test_acks__what_is_acknowledged_is_committed__and_no_more(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST ",\"unacked_max\":30"), "request", 30);
    await_answer(site, "/consumers/c", "\"lag\":30,\"cursor\":\"orders~0=0,1=0,2=0");
    ws_say(ws, ACK(29));
    site_produce_orders(site, 33, 3, 10);
    ws_await_records(ws, 33);
    await_answer(site, "/consumers/c", "\"lag\":33,");
    ws_say(ws, ACK(1));
    await_answer(site, "/consumers/c", "\"lag\":3,\"cursor\":\"orders~0=10,1=10,2=10");
    ws_disconnect(ws);
    struct client *client = read_named(site, "", "committed", 3);
    client_close(client);
    site_stop(site);
}

static void test_manual__commits_what_it_says__and_is_told(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST MANUAL), "request", 30);
    await_answer(site, "/consumers/c", "\"lag\":30,\"cursor\":\"orders~0=0,1=0,2=0");
    ws_say(ws, COMMIT("orders~0=4,1=4,2=3"));
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"committed\"}\n");
    await_answer(site, "/consumers/c", "\"lag\":19,\"cursor\":\"orders~0=4,1=4,2=3");
    ws_say(ws, COMMIT("orders~0=5"));
    ws_say(ws, "{\"action\":\"unsubscribe\",\"subscription\":\"s\"}"); /* it is made all the same */
    ws_await_text(ws, "\"event\":\"unsubscribed\"");
    await_answer(site, "/consumers/c", "\"lag\":18,\"cursor\":\"orders~0=5,1=4,2=3");
    ws_disconnect(ws);
    site_stop(site);
}

static void test_commit__that_cannot_be__is_told_why(void **state)
{
    (void)state;
    static const struct {
        const char *message, *code, *says;
    } rows[] = {
        {COMMIT("orders~0=3"), "consumer-stale", "orders-0: 3 is behind 4"},
        {COMMIT("orders~1=5,2=11"), "consumer-stale", "orders-2: 11 is past what was sent"},
        {COMMIT("orders~3=0"), "consumer-stale", "orders-3: 0 is past what was sent"},
        {COMMIT("orders~0=5,e=00000001"), "consumer-stale", "of another making of orders"},
        {COMMIT("product-metrics~0=0"), "topic-unknown", "not of the subscription's topics"},
        {COMMIT("orders"), "cursor", ""},
        {"{\"action\":\"commit\",\"subscription\":\"s\"}", "request-param", "a commit says where"},
        {"{\"action\":\"commit\",\"subscription\":\"t\",\"cursor\":\"orders~0=5\"}",
         "request-param", "it was opened under no consumer's name"},
        {"{\"action\":\"commit\",\"subscription\":\"a\",\"cursor\":\"orders~0=5\"}",
         "request-param", "is committed by itself"},
        {"{\"action\":\"subscribe\",\"subscription\":\"u\",\"topics\":\"orders\","
         "\"consumer\":\"a b\"}",
         "request-param", "is no consumer's name"},
        {"{\"action\":\"subscribe\",\"subscription\":\"u\",\"topics\":\"orders\","
         "\"commit\":\"auto\"}",
         "request-param", "which is not named"},
    };
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST MANUAL), "request", 30);
    ws_say(ws, COMMIT("orders~0=4"));
    ws_await_text(ws, "\"event\":\"committed\"}\n");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"t\",\"topics\":\"orders\"}");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"a\",\"topics\":\"orders\","
               "\"consumer\":\"another\"}");
    ws_await_text(ws, "\n{\"subscription\":\"a\",\"event\":\"consumer\",");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char code[64];
        (void)snprintf(code, sizeof code, "\"code\":\"%s\"", rows[i].code);
        ws_forget(ws);
        ws_say(ws, rows[i].message);
        ws_await_text(ws, "\"event\":\"error\",\"problem\":");
        ws_await_text(ws, "}}\n");
        if (!ws_has(ws, code) || !ws_has(ws, rows[i].says)) {
            fail_msg("%s: %.*s", rows[i].message, SV_ARG(buf_view(&ws->text)));
        }
    }
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=4,1=0,2=0");
    ws_disconnect(ws);
    site_stop(site);
}

/* The other one goes on: only the subscription has lost its name. */
static void test_taken_and_reset__end_the_subscription__not_the_socket(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST), "request", 30);
    struct client *client = open_named(site, "", "committed");
    ws_await_text(ws, "\"data\":{\"state\":\"taken\"");
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"unsubscribed\"");
    ws_forget(ws);
    ws_say(ws, SUBSCRIBE(""));
    client_await_text(client, "data: {\"state\":\"taken\"");
    client_close(client);
    ws_await_text(ws, "\"from\":\"committed\"}");
    post_expecting(site, "/consumers/c/reset", "{\"to\":\"earliest\"}", "HTTP/1.1 200",
                   "\"cursor\":");
    ws_await_text(ws, "\"data\":{\"state\":\"reset\"");
    ws_disconnect(ws);
    site_stop(site);
}

static void test_end_of_the_program__what_was_sent_is_committed(void **state)
{
    (void)state;
    static const char *const rarely[] = {"--query.consumers=on",
                                         "--query.consumers.commit.interval=600s", NULL};
    struct site *site = site_start(rarely);
    site_produce_orders(site, 3, 30, 10);
    struct ws *ws = ws_named(site, SUBSCRIBE(EARLIEST), "request", 30);
    site_close(site);
    ws_disconnect(ws);
    site_open(site, rarely);
    await_answer(site, "/consumers/c", "\"lag\":0,");
    site_stop(site);
}

static void test_off__is_refused(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct ws *ws = ws_connect(site);
    ws_say(ws, SUBSCRIBE(""));
    ws_await_text(ws, "\"code\":\"forbidden\"");
    ws_await_text(ws, "query.consumers is off");
    ws_disconnect(ws);
    ws = ws_open_as(site, "/events/orders?consumer=c", NULL, 0);
    assert_memory_equal("HTTP/1.1 403 ", ws->client->raw.data, 13);
    ws_disconnect(ws);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto__goes_on_where_it_was__over_either),
        cmocka_unit_test(test_auto__address_upgraded__what_arrived_is_committed_when_it_is_cut),
        cmocka_unit_test(test_acks__what_is_acknowledged_is_committed__and_no_more),
        cmocka_unit_test(test_manual__commits_what_it_says__and_is_told),
        cmocka_unit_test(test_commit__that_cannot_be__is_told_why),
        cmocka_unit_test(test_taken_and_reset__end_the_subscription__not_the_socket),
        cmocka_unit_test(test_end_of_the_program__what_was_sent_is_committed),
        cmocka_unit_test(test_off__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
