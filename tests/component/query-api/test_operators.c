/* GET /topics and /groups on a mock Kafka: which lists no groups, as it should be told. On a real one:
 * tests/e2e/test_operators.py. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static void expect_answer(const struct site *site, const char *target, const char *const *wanted)
{
    char *answer = site_get(site, target, NULL);
    for (; *wanted; wanted++) {
        expect_in(answer, *wanted);
    }
    free(answer);
}

static void test_topics__what_kafka_has__served_or_not(void **state)
{
    (void)state;
    struct site *site = site_start((const char *const[]){"--query.topics=orders", NULL});
    site_produce_orders(site, 0, 12, 10);
    site_produce(site, "product-metrics", 1, "k", "{}");
    site_flush(site);
    expect_answer(site, "/topics",
                  (const char *const[]){"200", "Cache-Control: no-cache", "\"topic\":\"orders\"",
                                        "\"partition_count\":3", "\"records\":12",
                                        "\"topic\":\"product-metrics\"", "\"records\":1", NULL});
    expect_answer(site, "/topics/product-metrics",
                  (const char *const[]){"\"first\":0,\"next\":1,\"records\":1",
                                        "\"first\":0,\"next\":0,\"records\":0", NULL});
    expect_answer(site, "/topics/none",
                  (const char *const[]){"404", "\"code\":\"topic-unknown\"", NULL});
    site_stop(site);
}

static void test_groups__of_brokers_that_list_none__says_why(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    expect_answer(site, "/groups",
                  (const char *const[]){"200", "\"complete\":false",
                                        "the list of groups: the brokers do not tell",
                                        "\"items\":[]", NULL});
    expect_answer(site, "/groups/orders",
                  (const char *const[]){"404", "\"code\":\"group-unknown\"",
                                        "Kafka has no group \\\"orders\\\"", NULL});
    site_stop(site);
}

/* The next picture may be long in coming: it waits for a few times what the last one took. */
static void await_stale(const struct site *site)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (bool is_told = false; !is_told;) {
        char *text = site_get(site, "/topics", NULL);
        is_told = strstr(text, "no broker answered") != NULL;
        free(text);
        assert_true(clock_mono_us() < deadline_us);
    }
}

/* What was told is told again, with its time, when Kafka is away; and a service that has never heard of it
 * says so. */
static void test_topics__kafka_is_away__the_last_picture_or_an_error(void **state)
{
    (void)state;
    struct site *site = site_start(
        (const char *const[]){"--query.operators.fresh=100ms", "--http.request.timeout=4s", NULL});
    expect_answer(site, "/topics", (const char *const[]){"\"topic\":\"orders\"", NULL});
    assert_int_equal(0, rd_kafka_mock_broker_set_down(site->mock.cluster, 1));
    await_stale(site);
    expect_answer(site, "/topics",
                  (const char *const[]){"200", "\"complete\":false", "\"topic\":\"orders\"", NULL});
    assert_int_equal(0, rd_kafka_mock_broker_set_up(site->mock.cluster, 1));
    site_stop(site);
}

/* More at once than there are threads: each gets its answer, and past the bound is told so. */
static void test_desk__many_at_once__all_are_answered(void **state)
{
    (void)state;
    struct site *site = site_start(
        (const char *const[]){"--query.operators.threads=1", "--query.operators.jobs.max=4", NULL});
    struct client *clients[40];
    int answered = 0, refused = 0;
    const double told =
        site_metric("millrace_query_desk_refused_total{desk=\"kafka\",reason=\"full\"} ");
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = client_open(site, "/topics", "Connection: close\r\n");
    }
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_await_end(clients[i]);
        bool is_answer = memmem(clients[i]->text.data, clients[i]->text.len, "\"items\"", 7);
        answered += is_answer;
        refused += !is_answer && memmem(clients[i]->text.data, clients[i]->text.len,
                                        "query.operators.jobs.max", 24);
        client_close(clients[i]);
    }
    assert_int_equal(ARRAY_LEN(clients), answered + refused);
    assert_true(answered > 0);
    assert_true(told + refused ==
                site_metric("millrace_query_desk_refused_total{desk=\"kafka\",reason=\"full\"} "));
    assert_true(site_metric("millrace_query_desk_waiting{desk=\"kafka\"} ") == 0);
    site_stop(site);
}

/* Who does not wait is not answered, and nobody else is the worse for it. */
static void test_desk__clients_that_go__leave_nothing_behind(void **state)
{
    (void)state;
    struct site *site = site_start((const char *const[]){"--query.operators.threads=1",
                                                         "--query.operators.fresh=100ms", NULL});
    for (int i = 0; i < 30; i++) {
        client_close(client_open(site, "/groups", NULL));
    }
    expect_answer(site, "/topics", (const char *const[]){"\"topic\":\"orders\"", NULL});
    for (int i = 0; i < 10; i++) { /* jobs that wait when the service ends */
        client_close(client_open(site, "/topics", NULL));
    }
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topics__what_kafka_has__served_or_not),
        cmocka_unit_test(test_groups__of_brokers_that_list_none__says_why),
        cmocka_unit_test(test_topics__kafka_is_away__the_last_picture_or_an_error),
        cmocka_unit_test(test_desk__many_at_once__all_are_answered),
        cmocka_unit_test(test_desk__clients_that_go__leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
