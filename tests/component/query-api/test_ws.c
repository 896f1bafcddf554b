/* WebSocket: the subprotocol, the same log as GET /events has, bounds and ends. */
#define _GNU_SOURCE /* memmem */

#include "ws_client.h"

#define SUBSCRIBE(more) "{\"action\":\"subscribe\",\"subscription\":\"s\"" more "}"
#define ORDERS          ",\"topics\":[\"orders\"]"

/* --- the protocol ----------------------------------------------------------------------------- */

static void test_subscribe__records_deletions_and_positions(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.heartbeat=50ms", NULL};
    struct site *site = site_start(options);
    struct ws *ws = ws_connect(site);
    ws_say(ws, SUBSCRIBE(",\"topics\":\"product-metrics\""));
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"subscribed\"}\n"
                      "{\"subscription\":\"s\",\"event\":\"position\","
                      "\"id\":\"product-metrics~0=0,1=0\"}\n");
    site_produce(site, "product-metrics", 1, "prod-1", "{\"a\":\r\n1}");
    site_flush(site);
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"id\":\"product-metrics~0=0,1=1\","
                      "\"topic\":\"product-metrics\",\"partition\":1,\"offset\":0,\"timestamp\":1");
    ws_await_text(ws, ",\"key\":\"prod-1\",\"headers\":{},\"value\":{\"a\":  1}}\n");
    site_produce(site, "product-metrics", 0, "prod-1", NULL);
    site_flush(site);
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"delete\","
                      "\"id\":\"product-metrics~0=1,1=1\",\"topic\":");
    ws_await_text(ws, "\"value\":null}\n");
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"position\"," /* a heartbeat */
                      "\"id\":\"product-metrics~0=1,1=1\"}\n");
    ws_say(ws, "{\"action\":\"unsubscribe\",\"subscription\":\"s\"}");
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"unsubscribed\","
                      "\"id\":\"product-metrics~0=1,1=1\"}\n");
    site_produce(site, "product-metrics", 0, "prod-1", "{\"missed\":1}");
    site_flush(site);
    ws_say(ws, "{\"action\":\"resume\",\"subscription\":\"s\",\"topics\":[\"product-metrics\"],"
               "\"last_event_id\":\"product-metrics~0=1,1=1\"}");
    ws_await_text(ws, "\"value\":{\"missed\":1}}\n");
    ws_say_frame(ws, WS_CLOSE, "\x03\xE8");
    ws_await_close(ws, 1000);
    ws_disconnect(ws);
    site_stop(site);
}

static void test_subscriptions__several_on_a_socket__each_its_own(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct ws *ws = ws_connect(site);
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"of \\\"k\\\"\",\"topics\":["
               "\"orders\",\"product-metrics\"],\"key\":\"k\"}");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"big\",\"topics\":[\"orders\"],"
               "\"filter\":\"n > 5\"}");
    ws_say(ws, SUBSCRIBE(ORDERS ",\"from\":\"earliest\""));
    ws_await_text(ws, "{\"subscription\":\"of \\\"k\\\"\",\"event\":\"position\","
                      "\"id\":\"orders~0=0,1=0,2=0;product-metrics~0=0,1=0\"}\n");
    ws_await_text(ws, "{\"subscription\":\"big\",\"event\":\"position\"");
    ws_await_text(ws, "{\"subscription\":\"s\",\"event\":\"position\"");
    site_produce(site, "product-metrics", 0, "j", "{\"n\":1}");
    site_produce(site, "product-metrics", 0, "k", "{\"n\":2}");
    site_produce_orders(site, 3, 6, 1); /* n 3 … 8, key k */
    ws_await_records(ws, 6);
    ws_await_text(ws, "{\"subscription\":\"big\",\"id\":\"orders~0=2,1=2,2=2\"");
    /* Which of its two topics is read first is not said. */
    ws_await_text(
        ws, "{\"subscription\":\"of \\\"k\\\"\",\"id\":\"orders~0=2,1=2,2=2;product-metrics~0=");
    ws_await_text(ws, "\"topic\":\"product-metrics\",\"partition\":0,\"offset\":1,");
    assert_false(ws_has(ws, "\"key\":\"j\""));
    static const char record[] = "{\"subscription\":\"big\",\"id";
    int big = 0;
    const char *at = ws->text.data, *end = ws->text.data + ws->text.len;
    while ((at = memmem(at, (size_t)(end - at), record, sizeof record - 1)) != NULL) {
        at++;
        big++;
    }
    assert_int_equal(3, big); /* 6, 7, 8 */
    assert_true(site_metric("millrace_query_subscriptions") == 3);
    ws_disconnect(ws);
    site_stop(site);
}

static void test_messages_that_are_wrong__are_told_and_do_not_end_it(void **state)
{
    (void)state;
    static const struct {
        const char *message, *code, *says;
    } rows[] = {
        {"", "json-syntax", ""},
        {"{", "json-syntax", "message"},
        {"[1]", "json-shape", "one JSON object"},
        {"{\"action\":\"subscribe\"}", "request-param",
         "\\\"subscription\\\" is no string of 1 to"},
        {"{\"action\":\"subscribe\",\"subscription\":\"\"}", "request-param", "no string of 1"},
        {"{\"action\":\"shout\",\"subscription\":\"x\"}", "request-param", "is none of subscribe"},
        {"{\"subscription\":\"x\"}", "request-param", "is none of subscribe"},
        {SUBSCRIBE(""), "request-param", "\\\"topics\\\" is no list"},
        {SUBSCRIBE(",\"topics\":[]"), "request-param", "\\\"topics\\\" is no list"},
        {SUBSCRIBE(",\"topics\":[1]"), "request-param", "\\\"topics\\\" is no list"},
        {SUBSCRIBE(",\"topics\":[\"nope\"]"), "topic-unknown", "is not served here"},
        {SUBSCRIBE(",\"topics\":[\"late\"]"), "topic-unknown", "Kafka has no topic"},
        {SUBSCRIBE(ORDERS ",\"frm\":\"latest\""), "request-param",
         "\\\"frm\\\" is no member of \\\"subscribe\\\""},
        {SUBSCRIBE(ORDERS ",\"records\":1"), "request-param", "is no member of"},
        {SUBSCRIBE(ORDERS ",\"from\":\"middle\""), "request-param", "from=middle is neither"},
        {SUBSCRIBE(ORDERS ",\"from\":\"latest\",\"rewind\":1"), "request-param", "in one place"},
        {SUBSCRIBE(ORDERS ",\"since\":{}"), "request-param", "\\\"since\\\" is no string, number"},
        {SUBSCRIBE(ORDERS ",\"rewind\":-1"), "request-param", "rewind=-1 is no number"},
        {SUBSCRIBE(ORDERS ",\"filter\":\"n >\""), "request-param", "filter: "},
        {SUBSCRIBE(ORDERS ",\"slow\":\"down\""), "request-param", "slow=down is none of"},
        {SUBSCRIBE(ORDERS ",\"unacked_max\":0"), "request-param",
         "\\\"unacked_max\\\" is no number"},
        {SUBSCRIBE(ORDERS ",\"last_event_id\":\"orders~x\""), "cursor", ""},
        {"{\"action\":\"resume\",\"subscription\":\"s\"" ORDERS "}", "request-param",
         "a resume says where"},
        {"{\"action\":\"ack\",\"subscription\":\"s\"}", "request-param", "how many"},
        {"{\"action\":\"ack\",\"subscription\":\"s\",\"records\":1}", "not-found",
         "there is no subscription \\\"s\\\""},
        {"{\"action\":\"unsubscribe\",\"subscription\":\"s\"}", "not-found", "no subscription"},
    };
    struct site *site = site_start(NULL);
    struct ws *ws = ws_connect(site);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char code[64];
        (void)snprintf(code, sizeof code, "\"code\":\"%s\"", rows[i].code);
        ws_forget(ws);
        ws_say(ws, rows[i].message);
        ws_await_text(ws, "}}\n");
        if (!ws_has(ws, "\"event\":\"error\",\"problem\":{\"type\":\"/problems/") ||
            !ws_has(ws, code) || !ws_has(ws, rows[i].says) ||
            (strstr(rows[i].message, "\"subscription\":\"s\"") &&
             !ws_has(ws, "\n{\"subscription\":\"s\","))) {
            fail_msg("%s: %.*s", rows[i].message, SV_ARG(buf_view(&ws->text)));
        }
    }
    ws_say(ws, SUBSCRIBE(ORDERS));
    ws_await_text(ws, "\"event\":\"position\"");
    ws_say(ws, SUBSCRIBE(ORDERS));
    ws_await_text(ws, "there is a subscription \\\"s\\\" already");
    ws_say_frame(ws, FRAME_FINAL | 2, "binary");
    ws_await_close(ws, 1003);
    ws_disconnect(ws);
    site_stop(site);
}

static void test_events_address__upgraded__is_subscribed_already(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, 3, 1);
    struct ws *ws = ws_open_as(site, "/events/orders?from=earliest&filter=n%20%3E%203", NULL, 0);
    ws_await_text(ws, "\n{\"subscription\":\"0\",\"event\":\"position\"");
    ws_await_text(ws, "\"value\":{\"n\":4");
    ws_await_text(ws, "\"value\":{\"n\":5");
    assert_false(ws_has(ws, "\"value\":{\"n\":3"));
    ws_say(ws, SUBSCRIBE(ORDERS));
    ws_await_text(ws, "\n{\"subscription\":\"s\",\"event\":\"subscribed\"");
    ws_disconnect(ws);
    static const struct {
        const char *target, *headers, *status;
    } rows[] = {
        {"/events/orders?from=middle", NULL, "HTTP/1.1 400 "},
        {"/events/nope", NULL, "HTTP/1.1 404 "},
        {"/ws", "Origin: https://evil.example\r\n", "HTTP/1.1 403 "},
        {"/ws", "Sec-WebSocket-Protocol: other\r\n", "HTTP/1.1 400 "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ws = ws_open_as(site, rows[i].target, rows[i].headers, 0);
        if (strncmp(ws->client->raw.data, rows[i].status, strlen(rows[i].status)) != 0) {
            fail_msg("%s: %.30s", rows[i].target, ws->client->raw.data);
        }
        ws_disconnect(ws);
    }
    char *text = site_get(site, "/ws", NULL);
    expect_in(text, "HTTP/1.1 426 ");
    expect_in(text, "Upgrade: websocket\r\n");
    free(text);
    site_stop(site);
}

/* --- where it begins, and goes on ------------------------------------------------------------- */

static void test_subscribe__every_way_to_begin(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    static const struct {
        const char *more, *says;
    } rows[] = {
        {",\"from\":\"latest\"", "\"event\":\"position\",\"id\":\"orders~0=4,1=4,2=4\""},
        {",\"from\":\"earliest\"", "\"event\":\"position\",\"id\":\"orders~0=0,1=0,2=0\""},
        {",\"since\":0", "\"event\":\"position\",\"id\":\"orders~0=0,1=0,2=0\""},
        {",\"since\":\"2100-01-01T00:00:00Z\"",
         "\"event\":\"position\",\"id\":\"orders~0=4,1=4,2=4\""},
        {",\"rewind\":12", "\"event\":\"position\",\"id\":\"orders~0=0,1=0,2=0\""},
        {",\"snapshot\":true",
         "\"event\":\"snapshot-end\",\"id\":\"orders~0=4,1=4,2=4\",\"data\":{\"records\":1}"},
        {",\"last_event_id\":\"orders~0=50,1=4,2=4\"",
         "\"event\":\"gap\",\"data\":{\"topic\":\"orders\",\"partition\":0,\"from\":4,\"to\":50}"},
    };
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 12, 1);
    site_await_read(site, "orders~0=4,1=4,2=4");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ws *ws = ws_connect(site);
        char message[256];
        (void)snprintf(message, sizeof message, SUBSCRIBE(ORDERS "%s"), rows[i].more);
        ws_say(ws, message);
        ws_await_text(ws, rows[i].says);
        ws_disconnect(ws);
    }
    site_stop(site);
}

static int resume_everywhere(struct ws *told, struct ws *again, int records)
{
    const char *at = told->text.data, *end = told->text.data + told->text.len;
    int count = 0;
    while ((at = memmem(at, (size_t)(end - at), ",\"id\":\"", 7)) != NULL) {
        char message[256];
        at += 7;
        (void)snprintf(message, sizeof message,
                       "{\"action\":\"resume\",\"subscription\":\"s\"" ORDERS
                       ",\"last_event_id\":\"%.*s\"}",
                       (int)strcspn(at, "\""), at);
        again->client->records = 0;
        memset(again->client->last_n, 0, sizeof again->client->last_n);
        ws_forget(again);
        ws_say(again, message);
        ws_await_records(again, records - count++);
        ws_await_text(again, "\"event\":\"position\"");
        ws_say(again, "{\"action\":\"unsubscribe\",\"subscription\":\"s\"}");
        ws_await_text(again, "\"event\":\"unsubscribed\"");
        assert_true(ws_has(again, "\"id\":\"orders~0=10,1=10,2=10\"}\n"));
    }
    return count;
}

/* At every position that was told, to one that was there and to one that came later. */
static void test_resume__at_every_position__the_rest_and_nothing_else(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    struct ws *live = ws_connect(site), *later = ws_connect(site), *again = ws_connect(site);
    ws_say(live, SUBSCRIBE(ORDERS));
    ws_await_text(live, "\"event\":\"position\"");
    site_produce_orders(site, 3, 30, 1);
    site_await_read(site, "orders~0=10,1=10,2=10");
    ws_say(later, SUBSCRIBE(ORDERS ",\"from\":\"earliest\""));
    ws_await_records(live, 30);
    ws_await_records(later, 30);
    assert_int_equal(31, resume_everywhere(live, again, 30)); /* before the first, after each */
    assert_int_equal(31, resume_everywhere(later, again, 30));
    ws_disconnect(live);
    ws_disconnect(later);
    ws_disconnect(again);
    site_stop(site);
}

/* --- compression ------------------------------------------------------------------------------ */

static void test_compression__once_for_all__says_the_same(void **state)
{
    (void)state;
    static const char *const options[] = {"--ws.compression=on", NULL};
    static const char deflate[] = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 30, 1000); /* some come from the rings, some live */
    struct ws *packed[3], *plain = ws_connect(site);
    for (size_t i = 0; i < ARRAY_LEN(packed); i++) {
        packed[i] = ws_open_as(site, "/ws", deflate, 0);
        expect_in(packed[i]->client->raw.data, "Sec-WebSocket-Extensions: permessage-deflate; "
                                               "server_no_context_takeover; "
                                               "client_no_context_takeover\r\n");
        ws_say(packed[i], i == 2 ? SUBSCRIBE(ORDERS ",\"from\":\"earliest\",\"filter\":\"n > 0\"")
                                 : SUBSCRIBE(ORDERS ",\"from\":\"earliest\""));
    }
    ws_say(plain, SUBSCRIBE(ORDERS ",\"from\":\"earliest\""));
    ws_await_records(plain, 30);
    site_produce_orders(site, 33, 270, 1000);
    site_produce(site, "orders", 0, "k", "{\"n\":303}"); /* too short */
    site_flush(site);
    ws_await_records(plain, 301);
    assert_int_equal(0, plain->packed);
    for (size_t i = 0; i < ARRAY_LEN(packed); i++) {
        ws_await_records(packed[i], 301);
        assert_int_equal(300, packed[i]->packed);
        assert_true(packed[i]->client->raw.len < plain->client->raw.len / 2);
        ws_disconnect(packed[i]);
    }
    ws_disconnect(plain);
    site_stop(site);
}

/* --- who is slow ------------------------------------------------------------------------------ */

static void test_acks__no_more_than_was_agreed_on(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, 9, 1);
    struct ws *ws = ws_connect(site);
    ws_say(ws, SUBSCRIBE(ORDERS ",\"from\":\"earliest\",\"unacked_max\":4"));
    ws_await_records(ws, 4);
    ws_say(ws, "{\"action\":\"ack\",\"subscription\":\"s\",\"records\":5}");
    ws_await_text(ws, "more records are acknowledged than were sent");
    ws_say(ws, "{\"action\":\"ack\",\"subscription\":\"s\",\"records\":3}");
    ws_await_records(ws, 7);
    /* An answer comes, and nothing before it. */
    ws_say(ws, "{\"action\":\"unsubscribe\",\"subscription\":\"t\"}");
    ws_await_text(ws, "there is no subscription");
    assert_int_equal(7, ws->client->records);
    ws_say(ws, "{\"action\":\"ack\",\"subscription\":\"s\",\"records\":4}");
    ws_await_records(ws, 9);
    ws_disconnect(ws);
    site_stop(site);
}

#define RECORDS 3000

static const char *const small[] = {"--query.ring.bytes=128KiB", "--sse.send.buffer=8KiB",
                                    "--http.threads=1", NULL};

static void test_slow__each_policy(void **state)
{
    (void)state;
    static const struct {
        const char *slow, *says;
        int records; /* 0: not all of them */
    } rows[] = {
        {"catch-up", "\"event\":\"lagged\",\"data\":{\"policy\":\"catch-up\"", RECORDS},
        {"conflate", "\"event\":\"snapshot-end\",\"id\":\"orders~0=1000,1=1000,2=1000\"", 0},
        {"disconnect", "\"event\":\"unsubscribed\"", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct site *site = site_start(small);
        struct ws *ws = ws_open_as(site, "/ws", NULL, 4096);
        char message[256];
        /* The order of "s" is checked; a snapshot leaves some out. */
        (void)snprintf(message, sizeof message,
                       "{\"action\":\"subscribe\",\"subscription\":\"%s\"" ORDERS
                       ",\"slow\":\"%s\"}",
                       rows[i].records ? "s" : "other", rows[i].slow);
        ws_say(ws, message);
        ws_await_text(ws, "\"event\":\"position\"");
        site_produce_orders(site, 3, RECORDS, 1000); /* 3 MB that it does not take */
        site_await_read(site, "orders~0=1000,1=1000,2=1000");
        if (rows[i].records) {
            ws_await_records(ws, RECORDS); /* in order, none twice, none missing */
        }
        ws_await_text(ws, rows[i].says);
        assert_true(ws_has(ws, "\"event\":\"lagged\",\"data\":{\"policy\":\"") ||
                    ws_has(ws, "\"event\":\"lagged\",\"id\":\"orders~"));
        ws_disconnect(ws);
        site_stop(site);
    }
}

/* Who does not acknowledge falls behind like one whose socket is full. */
static void test_slow__without_acks__catches_up_from_kafka(void **state)
{
    (void)state;
    struct site *site = site_start(small);
    struct ws *ws = ws_connect(site);
    ws_say(ws, SUBSCRIBE(ORDERS ",\"slow\":\"catch-up\",\"unacked_max\":10"));
    ws_await_text(ws, "\"event\":\"position\"");
    site_produce_orders(site, 3, RECORDS, 1000);
    ws_await_records(ws, 10);
    site_await_read(site, "orders~0=1000,1=1000,2=1000");
    for (int taken = 10; taken < RECORDS; taken += 10) {
        ws_say(ws, "{\"action\":\"ack\",\"subscription\":\"s\",\"records\":10}");
        ws_await_records(ws, taken + 10);
    }
    assert_true(ws_has(ws, "\"policy\":\"catch-up\""));
    ws_disconnect(ws);
    site_stop(site);
}

/* --- bounds and ends -------------------------------------------------------------------------- */

static void test_bounds__are_told(void **state)
{
    (void)state;
    static const char *const options[] = {"--ws.subscriptions.max=1", "--sse.clients.max=2",
                                          "--http.threads=1", NULL};
    struct site *site = site_start(options);
    struct ws *ws = ws_connect(site), *second = ws_connect(site);
    struct ws *third = ws_open_as(site, "/ws", NULL, 0);
    assert_memory_equal("HTTP/1.1 503 ", third->client->raw.data, 13);
    expect_in(third->client->raw.data, "Retry-After: ");
    ws_disconnect(third);
    ws_say(ws, SUBSCRIBE(ORDERS));
    ws_await_text(ws, "\"event\":\"position\"");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"more\"" ORDERS "}");
    ws_await_text(ws, "\n{\"subscription\":\"more\",\"event\":\"error\"");
    ws_await_text(ws, "at most 1 subscriptions");
    ws_disconnect(ws);
    ws_disconnect(second);
    site_stop(site);
}

static void test_many_sockets__all_get_all__and_are_told_of_the_end(void **state)
{
    (void)state;
    enum { SOCKETS = 100 };
    struct site *site = site_start(NULL);
    struct ws *sockets[SOCKETS];
    for (int i = 0; i < SOCKETS; i++) {
        sockets[i] = ws_connect(site);
        ws_say(sockets[i], SUBSCRIBE(ORDERS));
        ws_await_text(sockets[i], "\"event\":\"position\"");
    }
    site_produce_orders(site, 3, 300, 20);
    for (int i = 0; i < SOCKETS; i++) {
        ws_await_records(sockets[i], 300);
    }
    /* A thread of its own: it waits for the closes that are answered here. */
    site_close(site);
    for (int i = 0; i < SOCKETS; i++) {
        ws_await_close(sockets[i], 1001);
        ws_await_text(sockets[i], "\"event\":\"shutdown\",\"id\":\"orders~0=100,1=100,2=100\"");
        ws_disconnect(sockets[i]);
    }
    site_open(site, NULL);
    site_stop(site);
}

static void test_age__ends_a_socket_that_can_go_on_elsewhere(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.age.max=600ms", NULL};
    struct site *site = site_start(options);
    struct ws *ws = ws_connect(site);
    ws_say(ws, SUBSCRIBE(ORDERS));
    ws_await_close(ws, 1001);
    ws_await_text(ws, "\"event\":\"shutdown\",\"id\":\"orders~0=0,1=0,2=0\"");
    ws_disconnect(ws);
    site_stop(site);
}

static void test_half_open_peer__is_gone_without_a_pong(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.heartbeat=50ms", "--ws.pong.timeout=3s", NULL};
    struct site *site = site_start(options);
    struct ws *silent = ws_connect(site), *ws = ws_connect(site);
    silent->answers_pings = false;
    ws_say(ws, SUBSCRIBE(ORDERS));
    while (!silent->client->is_closed) {
        (void)ws_read(silent, 10);
        (void)ws_read(ws, 10);
    }
    assert_false(ws->client->is_closed);
    assert_true(site_metric("millrace_query_streams") == 1);
    ws_disconnect(silent);
    ws_disconnect(ws);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscribe__records_deletions_and_positions),
        cmocka_unit_test(test_subscriptions__several_on_a_socket__each_its_own),
        cmocka_unit_test(test_messages_that_are_wrong__are_told_and_do_not_end_it),
        cmocka_unit_test(test_events_address__upgraded__is_subscribed_already),
        cmocka_unit_test(test_subscribe__every_way_to_begin),
        cmocka_unit_test(test_resume__at_every_position__the_rest_and_nothing_else),
        cmocka_unit_test(test_compression__once_for_all__says_the_same),
        cmocka_unit_test(test_acks__no_more_than_was_agreed_on),
        cmocka_unit_test(test_slow__each_policy),
        cmocka_unit_test(test_slow__without_acks__catches_up_from_kafka),
        cmocka_unit_test(test_bounds__are_told),
        cmocka_unit_test(test_many_sockets__all_get_all__and_are_told_of_the_end),
        cmocka_unit_test(test_age__ends_a_socket_that_can_go_on_elsewhere),
        cmocka_unit_test(test_half_open_peer__is_gone_without_a_pong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
