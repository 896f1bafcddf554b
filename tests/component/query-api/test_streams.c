#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

#include <sys/resource.h>

/* --- the answer's head and first bytes -------------------------------------------------------------------- */

static void test_head__is_what_browsers_and_proxies_need(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *client = client_open(site, "/events/orders", "Accept: text/event-stream\r\n");
    client_await_text(client, ":ok\n\nretry: ");
    client_await_text(client, "id: orders~0=0,1=0,2=0\n\n");
    static const char *const lines[] = {
        "HTTP/1.1 200 OK\r\n",
        "\r\nContent-Type: text/event-stream; charset=utf-8\r\n",
        "\r\nCache-Control: no-cache, no-store\r\n",
        "\r\nX-Accel-Buffering: no\r\n",
        "\r\nTransfer-Encoding: chunked\r\n",
        "\r\nConnection: keep-alive\r\n",
        "\r\nVary: Accept-Encoding, Origin\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        client_await_text(client, lines[i]);
    }
    assert_null(memmem(client->text.data, client->head_len, "Content-Length", 14));
    client_close(client);
    site_stop(site);
}

static void test_http_1_0__gets_events_without_chunks(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *client = client_open_with(site, "GET /events/orders HTTP/1.0\r\n\r\n", 0);
    client_await_text(client, "\r\n\r\n:ok\n\nretry: ");
    site_produce_orders(site, 3, 6, 1);
    client_await_records(client, 6);
    assert_false(client->is_chunked);
    client_close(client);
    site_stop(site);
}

static void test_request__that_cannot_be_served__is_a_problem(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    static const struct {
        const char *target, *headers, *status, *code;
    } rows[] = {
        {"/events/none", NULL, "HTTP/1.1 404", "\"topic-unknown\""},
        {"/events/orders,none", NULL, "HTTP/1.1 404", "\"topic-unknown\""},
        {"/events/late", NULL, "HTTP/1.1 404", "\"topic-unknown\""},
        {"/events/orders", "Last-Event-ID: nonsense\r\n", "HTTP/1.1 400", "\"cursor\""},
        {"/events/orders?last_event_id=%5B%7B%7D%5D", NULL, "HTTP/1.1 400", "\"cursor\""},
        {"/events/orders?from=yesterday", NULL, "HTTP/1.1 400", "\"request-param\""},
        {"/events/orders?envelope=2", NULL, "HTTP/1.1 400", "\"request-param\""},
        {"/events/orders", "Accept: text/html\r\n", "HTTP/1.1 406", "\"not-acceptable\""},
        {"/latest/none", NULL, "HTTP/1.1 404", "\"topic-unknown\""},
        {"/latest/orders/none", NULL, "HTTP/1.1 404", "\"key-unknown\""},
        {"/assets/none.js", NULL, "HTTP/1.1 404", "\"not-found\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = site_get(site, rows[i].target, rows[i].headers);
        expect_in(text, rows[i].status);
        expect_in(text, "application/problem+json");
        expect_in(text, rows[i].code);
        free(text);
    }
    site_stop(site);
}

/* --- resume ------------------------------------------------------------------------------------------------- */

static int count_before(const char *id)
{
    int p[3];
    assert_int_equal(3, sscanf(id, "orders~0=%d,1=%d,2=%d", &p[0], &p[1], &p[2]));
    return p[0] + p[1] + p[2];
}

#define RESUMED 60

static void test_resume__at_every_position__the_rest_and_nothing_else(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, RESUMED, 10);
    struct client *all = client_open(site, "/events/orders?from=earliest", NULL);
    char ids[RESUMED + 1][512];
    client_await_text(all, "id: ");
    client_await_records(all, RESUMED);
    size_t count = 0;
    for (const char *at = all->text.data; count <= RESUMED; count++) {
        at = strstr(at, "id: ") + 4;
        (void)snprintf(ids[count], sizeof ids[count], "%.*s", (int)strcspn(at, "\n"), at);
    }
    client_close(all);
    for (size_t i = 0; i <= RESUMED; i++) {
        char header[640];
        (void)snprintf(header, sizeof header, "Last-Event-ID: %.511s\r\n", ids[i]);
        struct client *client = client_open(site, "/events/orders", header);
        client_await_text(client, ids[i]);
        client_await_records(client, RESUMED - count_before(ids[i]));
        assert_string_equal(ids[RESUMED], client->id);
        client_close(client);
    }
    site_stop(site);
}

static void test_resume__several_topics_in_an_envelope(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, 6, 1);
    site_produce(site, "product-metrics", 1, "prod-1", "{\"order_count\":1}");
    site_flush(site);
    struct client *client =
        client_open(site, "/events/orders,product-metrics?envelope=1&from=earliest", NULL);
    client_await_text(client, "\"topic\":\"product-metrics\",\"partition\":1,\"offset\":0");
    client_await_text(client, "\"key\":\"prod-1\",\"headers\":{},\"value\":{\"order_count\":1}}\n");
    client_await_text(client, "id: orders~0=2,1=2,2=2;product-metrics~0=0,1=1\n");
    client_close(client);

    client = client_open(site, "/events/orders,product-metrics?envelope=1",
                         "Last-Event-ID: orders~0=2,1=1,2=2;product-metrics~0=0,1=1\r\n");
    client_await_text(client, "\"topic\":\"orders\",\"partition\":1,\"offset\":1");
    site_produce(site, "product-metrics", 0, "prod-2", NULL);
    site_flush(site);
    client_await_text(client, "event: delete\nid: orders~0=2,1=2,2=2;product-metrics~0=1,1=1\n"
                              "data: {\"topic\":\"product-metrics\",\"partition\":0");
    assert_null(memmem(client->text.data, client->text.len, "order_count", 11));
    client_close(client);
    site_stop(site);
}

static void test_resume__kafkasse_position_in_the_query(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 9, 1);
    site_await_read(site, "orders~0=3,1=3,2=3");
    struct client *client = client_open(
        site,
        "/events/orders?last_event_id=%5B%7B%22topic%22%3A%22orders%22%2C%22partition%22%3A0%2C"
        "%22offset%22%3A2%7D%2C%7B%22topic%22%3A%22orders%22%2C%22partition%22%3A1%2C%22offset%22"
        "%3A3%7D%2C%7B%22topic%22%3A%22orders%22%2C%22partition%22%3A2%2C%22offset%22%3A-1%7D%5D",
        NULL);
    client_await_text(client, "id: orders~0=2,1=3,2=3\n\n");
    client_await_records(client, 1);
    assert_int_equal(9, client->last_n[0]);
    client_close(client);
    site_stop(site);
}

static void test_resume__past_the_end__is_told_as_a_gap(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    site_produce_orders(site, 3, 3, 1);
    struct client *client =
        client_open(site, "/events/orders", "Last-Event-ID: orders~0=500,1=1,2=1\r\n");
    /* The gap first: who is cut before it has not passed it. */
    client_await_text(client, "event: gap\ndata: {\"topic\":\"orders\",\"partition\":0,\"from\":1,"
                              "\"to\":500}\n\nid: orders~0=1,1=1,2=1\n\n");
    site_produce_orders(site, 6, 3, 1);
    client_await_records(client, 3); /* and goes on */
    client_close(client);
    site_stop(site);
}

/* --- catching up --------------------------------------------------------------------------------------------- */

#define OLD 3000
#define NEW 1500

static const char *const tiny_ring[] = {"--query.ring.bytes=128KiB", "--sse.catchup.bytes=16KiB",
                                        "--http.threads=1", NULL};

static void test_catchup__older_than_the_ring__joins_live(void **state)
{
    (void)state;
    struct site *site = site_start(tiny_ring);
    site_produce_orders(site, 3, OLD, 100);
    site_await_read(site, "orders~0=1000,1=1000,2=1000");
    struct client *clients[6];
    /* More than there are threads; on a starved machine some are lapped. */
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = client_open(site, "/events/orders?from=earliest&slow=catch-up", NULL);
    }
    client_await_records(clients[0], OLD);
    for (int n = 3 + OLD; n < 3 + OLD + NEW; n += 30) {
        site_produce_orders(site, n, 30, 100);
        for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
            (void)client_read(clients[i], 0);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_await_records(clients[i], OLD + NEW);
        client_close(clients[i]);
    }
    site_stop(site);
}

static void test_catchup__client_that_does_not_read__holds_nobody_up(void **state)
{
    (void)state;
    struct site *site = site_start(tiny_ring);
    site_produce_orders(site, 3, OLD, 1000);
    site_await_read(site, "orders~0=1000,1=1000,2=1000");
    struct client *slow[4];
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = client_open_with(
            site, "GET /events/orders?from=earliest HTTP/1.1\r\nHost: a\r\n\r\n", 4096);
    }
    struct client *quick = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_records(quick, OLD);
    client_close(quick);
    client_await_records(slow[0], OLD); /* it has only waited */
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        client_close(slow[i]);
    }
    site_stop(site);
}

/* --- slow clients ---------------------------------------------------------------------------------------------- */

static void test_slow_client__is_told_and_closed__others_are_served(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.ring.bytes=64KiB", "--sse.send.buffer=8KiB",
                                          NULL};
    struct site *site = site_start(options);
    double lagged = site_metric("millrace_query_stream_ends_total{reason=\"lagged\"}");
    struct client *slow =
        client_open_with(site, "GET /events/orders HTTP/1.1\r\nHost: a\r\n\r\n", 4096);
    struct client *quick = client_open(site, "/events/orders", NULL);
    client_await_text(quick, "id: ");
    client_await_text(slow, "id: ");
    int total = 0;
    while (site_metric("millrace_query_stream_ends_total{reason=\"lagged\"}") == lagged) {
        site_produce_orders(site, 3 + total, 30, 1000);
        total += 30;
        client_await_records(quick, total);
        assert_true(total < 60000);
    }
    client_await_end(slow);
    assert_true(slow->records < total);
    /* What it had is whole, and it goes on from there. */
    char header[640];
    (void)snprintf(header, sizeof header, "Last-Event-ID: %s\r\n", slow->id);
    struct client *again = client_open(site, "/events/orders", header);
    client_await_records(again, total - slow->records);
    client_close(again);
    client_close(slow);
    client_close(quick);
    site_stop(site);
}

/* The kernel may give the connection up first (TCP_USER_TIMEOUT, set a little later than our own
 * check): then the client counts as gone. */
static double given_up(void)
{
    return site_metric("millrace_query_stream_ends_total{reason=\"stalled\"}") +
           site_metric("millrace_query_stream_ends_total{reason=\"gone\"}");
}

static bool is_given_up(void *context)
{
    return given_up() > *(const double *)context;
}

static void test_stalled_client__is_closed_though_the_ring_has_its_records(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.stall.timeout=300ms", "--sse.send.buffer=8KiB",
                                          NULL};
    struct site *site = site_start(options);
    double before = given_up();
    struct client *slow =
        client_open_with(site, "GET /events/orders HTTP/1.1\r\nHost: a\r\n\r\n", 4096);
    client_await_text(slow, "id: ");
    site_produce_orders(site, 3, 3000, 1000);
    site_await(is_given_up, &before, "the client to be given up");
    client_close(slow);
    site_stop(site);
}

static bool has_no_streams(void *context)
{
    (void)context;
    return site_metric("millrace_query_streams") <= 0;
}

static void test_client_that_leaves__is_noticed_at_once(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *client = client_open(site, "/events/orders", NULL);
    client_await_text(client, "id: ");
    assert_true(site_metric("millrace_query_streams") == 1);
    client_close(client);
    site_await(has_no_streams, NULL, "the stream to be gone");
    site_stop(site);
}

static void test_clients_max__further_ones_are_told_to_come_back(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.clients.max=1", NULL};
    struct site *site = site_start(options);
    struct client *first = client_open(site, "/events/orders", NULL);
    client_await_text(first, "id: ");
    char *text = site_get(site, "/events/orders", NULL);
    expect_in(text, "HTTP/1.1 200"); /* a 503 would end an EventSource for good */
    expect_in(text, "text/event-stream");
    expect_in(text, "retry: 1");
    free(text);
    client_close(first);
    site_stop(site);
}

/* --- many clients, the end --------------------------------------------------------------------------------------- */

#define MANY 500

static void test_many_clients__all_get_all__and_are_told_of_the_end(void **state)
{
    (void)state;
    struct rlimit limit = {4096, 4096};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    struct site *site = site_start(NULL);
    struct client **clients = must_alloc(MANY * sizeof(struct client *));
    for (size_t i = 0; i < MANY; i++) {
        clients[i] = client_open(site, "/events/orders", NULL);
    }
    for (size_t i = 0; i < MANY; i++) {
        client_await_text(clients[i], "id: ");
    }
    site_produce_orders(site, 3, 30, 100);
    for (size_t i = 0; i < MANY; i++) {
        client_await_records(clients[i], 30);
    }
    site_close(site);
    for (size_t i = 0; i < MANY; i++) {
        client_await_end(clients[i]);
        assert_string_equal("shutdown", clients[i]->event);
        assert_string_equal("orders~0=10,1=10,2=10", clients[i]->id);
        assert_true(clients[i]->is_ended); /* a whole answer, not a torn one */
        client_close(clients[i]);
    }
    free(clients);
    /* The next process serves them from where they were. */
    site_produce_orders(site, 33, 3, 1);
    site_open(site, NULL);
    struct client *again =
        client_open(site, "/events/orders", "Last-Event-ID: orders~0=10,1=10,2=10\r\n");
    client_await_records(again, 3);
    client_close(again);
    site_stop(site);
}

static void test_clients_of_an_address__further_ones_are_told_to_come_back(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.clients.address.max=2", NULL};
    struct site *site = site_start(options);
    struct client *first = client_open(site, "/events/orders", NULL);
    struct client *second = client_open(site, "/events/orders", NULL);
    client_await_text(first, "id: ");
    client_await_text(second, "id: ");
    char *text = site_get(site, "/events/orders", NULL);
    expect_in(text, "HTTP/1.1 200");
    expect_in(text, ":busy\n\nretry: 1");
    free(text);
    text = site_get(site, "/events/orders", "Accept: application/json\r\n");
    expect_in(text, "HTTP/1.1 503");
    free(text);
    assert_true(site_metric("millrace_query_streams") == 2);
    client_close(first); /* makes room */
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (site_metric("millrace_query_streams") > 1) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 2);
    }
    first = client_open(site, "/events/orders", NULL);
    client_await_text(first, "id: ");
    client_close(first);
    client_close(second);
    site_stop(site);
}

#define SPREAD 40

static void test_drain__spread__all_are_told_but_not_at_once(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.drain.spread=1500ms", NULL};
    struct site *site = site_start(options);
    struct client *clients[SPREAD];
    for (size_t i = 0; i < SPREAD; i++) {
        clients[i] = client_open(site, "/events/orders", NULL);
        client_await_text(clients[i], "id: ");
    }
    int64_t begin_us = clock_mono_us();
    site_close(site); /* with exit code 0: it has waited for them */
    assert_true(clock_mono_us() - begin_us >
                500000); /* 40 moments of 1.5 s, all in the first third: no */
    for (size_t i = 0; i < SPREAD; i++) {
        client_await_end(clients[i]);
        assert_string_equal("shutdown", clients[i]->event);
        assert_true(clients[i]->is_ended);
        client_close(clients[i]);
    }
    site_open(site, options);
    site_stop(site);
}

static void test_age__ends_a_stream_that_goes_on_where_it_was(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.age.max=500ms", NULL};
    struct site *site = site_start(options);
    double before = site_metric("millrace_query_stream_ends_total{reason=\"rotated\"}");
    site_produce_orders(site, 3, 6, 1);
    struct client *client = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_end(client);
    assert_string_equal("shutdown", client->event);
    assert_true(client->is_ended);
    assert_true(site_metric("millrace_query_stream_ends_total{reason=\"rotated\"}") > before);
    /* Each has as long: one may not be enough for the rest. */
    int records = client->records;
    while (records < 6) {
        char header[640];
        (void)snprintf(header, sizeof header, "Last-Event-ID: %s\r\n", client->id);
        client_close(client);
        client = client_open(site, "/events/orders", header);
        client_await_end(client);
        records += client->records;
    }
    assert_int_equal(6, records);
    client_close(client);
    site_stop(site);
}

static void test_heartbeat__carries_the_position(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.heartbeat=50ms", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 3, 3, 1);
    struct client *client = client_open(site, "/events/orders", NULL);
    client_await_text(client, ":hb\nid: orders~0=1,1=1,2=1\n\n");
    client_close(client);
    site_stop(site);
}

static bool is_late_live(void *context)
{
    const struct site *site = context;
    return reader_topic_state(site->query.reader, 2) == READER_LIVE;
}

static void test_topic__made_later__is_served_without_a_restart(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    mock_kafka_topic(&site->mock, "late", 1);
    site_await(is_late_live, site, "the new topic");
    struct client *client = client_open(site, "/events/late?from=earliest", NULL);
    client_await_text(client, "id: late~0=0\n");
    site_produce(site, "late", 0, "k", "hello\nworld");
    site_flush(site);
    client_await_text(client, "id: late~0=1\ndata: hello\ndata: world\n\n");
    client_close(client);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head__is_what_browsers_and_proxies_need),
        cmocka_unit_test(test_http_1_0__gets_events_without_chunks),
        cmocka_unit_test(test_request__that_cannot_be_served__is_a_problem),
        cmocka_unit_test(test_resume__at_every_position__the_rest_and_nothing_else),
        cmocka_unit_test(test_resume__several_topics_in_an_envelope),
        cmocka_unit_test(test_resume__kafkasse_position_in_the_query),
        cmocka_unit_test(test_resume__past_the_end__is_told_as_a_gap),
        cmocka_unit_test(test_catchup__older_than_the_ring__joins_live),
        cmocka_unit_test(test_catchup__client_that_does_not_read__holds_nobody_up),
        cmocka_unit_test(test_slow_client__is_told_and_closed__others_are_served),
        cmocka_unit_test(test_stalled_client__is_closed_though_the_ring_has_its_records),
        cmocka_unit_test(test_client_that_leaves__is_noticed_at_once),
        cmocka_unit_test(test_clients_max__further_ones_are_told_to_come_back),
        cmocka_unit_test(test_many_clients__all_get_all__and_are_told_of_the_end),
        cmocka_unit_test(test_clients_of_an_address__further_ones_are_told_to_come_back),
        cmocka_unit_test(test_drain__spread__all_are_told_but_not_at_once),
        cmocka_unit_test(test_age__ends_a_stream_that_goes_on_where_it_was),
        cmocka_unit_test(test_heartbeat__carries_the_position),
        cmocka_unit_test(test_topic__made_later__is_served_without_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
