/* Where a stream begins: times, so many records back, positions in every form that is taken. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

#define FIRST_MS 1700000000000
#define STEP_MS  1000

static void produce_at(struct site *site, int n, int64_t timestamp_ms)
{
    char value[32];
    int len = snprintf(value, sizeof value, "{\"n\":%d}", n);
    assert_int_equal(0, rd_kafka_producev(
                            site->producer, RD_KAFKA_V_TOPIC("orders"), RD_KAFKA_V_PARTITION(n % 3),
                            RD_KAFKA_V_KEY("k", 1), RD_KAFKA_V_VALUE(value, (size_t)len),
                            RD_KAFKA_V_TIMESTAMP(timestamp_ms),
                            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
}

/* {"n":3} … {"n":14}, a second apart, in turn over three partitions: four each. */
static struct site *site_with_times(void)
{
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    for (int n = 3; n < 15; n++) {
        produce_at(site, n, FIRST_MS + (n - 3) * STEP_MS);
    }
    site_flush(site);
    site_await_read(site, "orders~0=4,1=4,2=4");
    return site;
}

static void expect_start(struct site *site, const char *target, const char *headers, const char *id,
                         int records)
{
    struct client *client = client_open(site, target, headers);
    char line[256];
    (void)snprintf(line, sizeof line, "\nid: %s\n\n", id);
    client_await_text(client, line);
    client_await_records(client, records);
    assert_string_equal("orders~0=4,1=4,2=4", client->id);
    client_close(client);
}

static void test_start__every_way__first_says_where(void **state)
{
    (void)state;
    struct site *site = site_with_times();
    static const struct {
        const char *target, *headers, *id;
        int records;
    } rows[] = {
        {"/events/orders?from=latest", NULL, "orders~0=4,1=4,2=4", 0},
        {"/events/orders?from=earliest", NULL, "orders~0=0,1=0,2=0", 12},
        /* 5 s after the first: of n = 8 and later */
        {"/events/orders?since=1700000005000", NULL, "orders~0=2,1=2,2=1", 7},
        {"/events/orders?since=1700000004001", NULL, "orders~0=2,1=2,2=1", 7},
        {"/events/orders?since=2023-11-14T22:13:25Z", NULL, "orders~0=2,1=2,2=1", 7},
        {"/events/orders?since=2023-11-14T23:13:25%2B01:00", NULL, "orders~0=2,1=2,2=1", 7},
        {"/events/orders?since=0", NULL, "orders~0=0,1=0,2=0", 12},
        {"/events/orders?since=9999999999999", NULL, "orders~0=4,1=4,2=4", 0},
        {"/events/orders?rewind=0", NULL, "orders~0=4,1=4,2=4", 0},
        {"/events/orders?rewind=4", NULL, "orders~0=3,1=3,2=2", 4},
        {"/events/orders?rewind=10000", NULL, "orders~0=0,1=0,2=0", 12},
        /* a position wins over all of them */
        {"/events/orders?from=earliest", "Last-Event-ID: orders~0=4,1=4,2=3\r\n",
         "orders~0=4,1=4,2=3", 1},
        {"/events/orders?rewind=9&last_event_id=orders~0=4,1=3,2=4", NULL, "orders~0=4,1=3,2=4", 1},
        {"/events/orders?since=0&lastEventId=orders~0=3,1=4,2=4", NULL, "orders~0=3,1=4,2=4", 1},
        {"/events/orders?Last-Event-ID=orders~0=4,1=4,2=2", NULL, "orders~0=4,1=4,2=2", 2},
        {"/events/orders?last_event_id=orders~0=0,1=0,2=0", "Last-Event-ID: orders~0=4,1=4,2=3\r\n",
         "orders~0=4,1=4,2=3", 1},
        /* KafkaSSE's, with times; where there is an offset as well, it counts */
        {"/events/orders",
         "Last-Event-ID: [{\"topic\":\"orders\",\"partition\":0,\"timestamp\":1700000005000},"
         "{\"topic\":\"orders\",\"partition\":1,\"offset\":-1},"
         "{\"topic\":\"orders\",\"partition\":2,\"offset\":3,\"timestamp\":0}]\r\n",
         "orders~0=2,1=4,2=3", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_start(site, rows[i].target, rows[i].headers, rows[i].id, rows[i].records);
    }
    site_stop(site);
}

/* Timestamps are the producers' own: what counts is the first record at or after the time, not that
 * all before it are older. */
static void test_since__times_out_of_order__from_the_first_that_is_late_enough(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start(options);
    static const int64_t seconds[] = {0, 9, 3, 7};
    for (int i = 0; i < 4; i++) {
        produce_at(site, 3 + 3 * i, FIRST_MS + seconds[i] * 1000); /* all in partition 0 */
    }
    site_flush(site);
    site_await_read(site, "orders~0=4,1=0,2=0");
    struct client *client = client_open(site, "/events/orders?since=1700000005000", NULL);
    client_await_text(client, "\nid: orders~0=1,1=0,2=0\n\n");
    client_await_records(client, 3);
    client_close(client);
    site_stop(site);
}

static void test_start__that_is_none__is_a_problem_that_says_why(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    static const struct {
        const char *target, *code, *says;
    } rows[] = {
        {"/events/orders?from=yesterday", "\"request-param\"", "neither latest nor earliest"},
        {"/events/orders?since=yesterday", "\"request-param\"", "neither epoch milliseconds nor"},
        {"/events/orders?since=", "\"request-param\"", "neither epoch milliseconds nor"},
        {"/events/orders?since=-1", "\"request-param\"", "neither epoch milliseconds nor"},
        {"/events/orders?since=1969-12-31T00:00:00Z", "\"request-param\"", "neither epoch"},
        {"/events/orders?since=99999999999999999999", "\"request-param\"", "neither epoch"},
        {"/events/orders?rewind=", "\"request-param\"", "no number up to 10000"},
        {"/events/orders?rewind=10001", "\"request-param\"", "no number up to 10000"},
        {"/events/orders?rewind=2&from=latest", "\"request-param\"", "from and rewind"},
        {"/events/orders?since=2&rewind=1", "\"request-param\"", "since and rewind"},
        {"/events/orders?lastEventId=7", "\"cursor\"", "not of the form"},
        {"/events/orders?last_event_id=%5B%7B%22topic%22%3A%22orders%22%2C%22partition%22%3A0%2C"
         "%22timestamp%22%3A-1%7D%5D",
         "\"cursor\"", "or with a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = site_get(site, rows[i].target, NULL);
        expect_in(text, "HTTP/1.1 400");
        expect_in(text, "application/problem+json");
        expect_in(text, rows[i].code);
        expect_in(text, rows[i].says);
        free(text);
    }
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start__every_way__first_says_where),
        cmocka_unit_test(test_since__times_out_of_order__from_the_first_that_is_late_enough),
        cmocka_unit_test(test_start__that_is_none__is_a_problem_that_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
