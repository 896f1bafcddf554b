/* Long poll: requests that wait until there is something new. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static const char *const one_worker[] = {"--http.threads=1", "--query.history.topics=orders", NULL};

static char *answer_with(const struct site *site, const char *target, const char *wanted)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        char *text = site_get(site, target, NULL);
        if (strstr(text, wanted)) {
            return text;
        }
        assert_true(clock_mono_us() < deadline_us);
        free(text);
        (void)poll(NULL, 0, 10); /* state without an event to wait for */
    }
}

/* A site whose topic holds one record of the key "a", which every client of these tests knows. */
struct waiting {
    struct site *site;
    char etag[1200]; /* a header line */
    char cursor[256];
};

static void cut(const char *text, const char *before, char *out, size_t bytes)
{
    const char *at = strstr(text, before);
    assert_non_null(at);
    at += strlen(before);
    (void)snprintf(out, bytes, "%.*s", (int)strcspn(at, "\"\r"), at);
}

static struct waiting waiting_start(const char *const *options, const char *target)
{
    struct waiting waiting = {.site = site_start(options)};
    char etag[1024];
    site_produce(waiting.site, "orders", 0, "a", "{\"n\":1}");
    site_flush(waiting.site);
    free(answer_with(waiting.site, "/latest/orders", "orders~0=1,1=0,2=0"));
    free(answer_with(waiting.site, "/latest/orders", "\"complete\":true"));
    char *text = site_get(waiting.site, target, NULL);
    cut(text, "ETag: \"", etag, sizeof etag);
    cut(text, "\"cursor\":\"", waiting.cursor, sizeof waiting.cursor);
    (void)snprintf(waiting.etag, sizeof waiting.etag, "If-None-Match: \"%s\"\r\n", etag);
    free(text);
    return waiting;
}

static bool somebody_waits(void *context)
{
    (void)context;
    return site_metric("millrace_query_waits ") > 0;
}

static bool nobody_waits(void *context)
{
    (void)context;
    return site_metric("millrace_query_waits ") <= 0;
}

static struct client *wait_open(const struct waiting *waiting, const char *target)
{
    struct client *client = client_open(waiting->site, target, waiting->etag);
    site_await(somebody_waits, NULL, "the request to wait");
    assert_int_equal(0, client->raw.len);
    return client;
}

static void test_wait__until_it_changes(void **state)
{
    (void)state;
    static const struct {
        const char *target, *waits;
    } rows[] = {
        {"/latest/orders", "/latest/orders?wait=29s"},
        {"/latest/orders/a", "/latest/orders/a?wait=29s"},
        {"/history/orders?key=a", "/history/orders?key=a&wait=29s"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct waiting waiting = waiting_start(one_worker, rows[i].target);
        struct client *client = wait_open(&waiting, rows[i].waits);
        if (i > 0) { /* another key is nothing to them */
            site_produce(waiting.site, "orders", 1, "b", "{\"n\":2}");
            site_flush(waiting.site);
            free(answer_with(waiting.site, "/latest/orders", "orders~0=1,1=1,2=0"));
            assert_false(client_read(client, 0));
        }
        site_produce(waiting.site, "orders", 0, "a", "{\"n\":3}");
        site_flush(waiting.site);
        client_await_text(client, "\"n\":3}");
        expect_in(client->raw.data, "HTTP/1.1 200");
        assert_true(nobody_waits(NULL));
        client_close(client);
        site_stop(waiting.site);
    }
}

static void test_wait__after_a_position__what_is_new(void **state)
{
    (void)state;
    struct waiting waiting = waiting_start(one_worker, "/history/orders");
    char target[512];
    waiting.etag[0] = '\0';
    (void)snprintf(target, sizeof target, "/history/orders?wait=29s&key=b&after=%s",
                   waiting.cursor);
    struct client *client = wait_open(&waiting, target);
    site_produce(waiting.site, "orders", 1, "b", "{\"n\":2}");
    site_flush(waiting.site);
    client_await_text(client, "\"items\":[{\"key\":\"b\",\"value\":{\"n\":2}");
    client_close(client);
    site_stop(waiting.site);
}

/* News that do not pass are none; a page of them that others follow is, for it says from where. */
static void test_wait__with_a_filter__what_passes_is_new(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.history.topics=orders",
                                          "--query.filter.scan.max=3", NULL};
    struct waiting waiting = waiting_start(options, "/history/orders?filter=n%20%3C%205");
    char target[512];
    (void)snprintf(target, sizeof target,
                   "/history/orders?wait=29s&filter=n%%20%%3C%%205&order=asc&after=%s",
                   waiting.cursor);
    struct client *since_etag = wait_open(&waiting, "/history/orders?wait=29s&filter=n%20%3C%205");
    waiting.etag[0] = '\0';
    struct client *after = client_open(waiting.site, target, NULL);
    site_produce(waiting.site, "orders", 1, "b", "{\"n\":7}");
    site_flush(waiting.site);
    free(answer_with(waiting.site, "/latest/orders", "orders~0=1,1=1,2=0"));
    assert_false(client_read(since_etag, 0));
    assert_false(client_read(after, 0));
    site_produce(waiting.site, "orders", 1, "b", "{\"n\":3}");
    site_flush(waiting.site);
    client_await_text(since_etag, "\"items\":[{\"key\":\"b\",\"value\":{\"n\":3}");
    client_await_text(after, "\"items\":[{\"key\":\"b\",\"value\":{\"n\":3}");
    client_close(since_etag);
    client_close(after);
    /* Four records behind the position, three are looked at, none passes. */
    for (int i = 0; i < 2; i++) {
        site_produce(waiting.site, "orders", 1, "b", "{\"n\":8}");
    }
    site_flush(waiting.site);
    free(answer_with(waiting.site, "/latest/orders", "orders~0=1,1=4,2=0"));
    (void)snprintf(target, sizeof target,
                   "/history/orders?wait=29s&filter=n%%20%%3C%%200&order=asc&after=%s",
                   waiting.cursor);
    char *text = site_get(waiting.site, target, NULL);
    expect_in(text, "\"scanned\":3,\"next_cursor\":\"");
    expect_in(text, "\"items\":[]");
    free(text);
    site_stop(waiting.site);
}

static void test_wait__time_is_over__says_that_nothing_is_new(void **state)
{
    (void)state;
    struct waiting waiting = waiting_start(one_worker, "/latest/orders");
    struct client *client = client_open(waiting.site, "/latest/orders?wait=1ms", waiting.etag);
    client_await_text(client, "HTTP/1.1 304");
    client_close(client);
    char target[512];
    (void)snprintf(target, sizeof target, "/history/orders?wait=1ms&after=%s", waiting.cursor);
    char *text = site_get(waiting.site, target, NULL);
    expect_in(text, "HTTP/1.1 200");
    expect_in(text, "\"items\":[]");
    free(text);
    /* The server's own time-out is shorter than what was asked for, and is no error. */
    site_stop(waiting.site);
    static const char *const short_timeout[] = {"--http.threads=1", "--http.request.timeout=1s",
                                                NULL};
    waiting = waiting_start(short_timeout, "/latest/orders");
    client = client_open(waiting.site, "/latest/orders?wait=1h", waiting.etag);
    client_await_text(client, "HTTP/1.1 304");
    client_close(client);
    site_stop(waiting.site);
}

static void test_wait__without_something_to_compare__is_answered_at_once(void **state)
{
    (void)state;
    struct waiting waiting = waiting_start(one_worker, "/latest/orders");
    char *text =
        site_get(waiting.site, "/latest/orders?wait=29s", "If-None-Match: \"another\"\r\n");
    expect_in(text, "HTTP/1.1 200");
    free(text);
    text = site_get(waiting.site, "/latest/orders?wait=29s", NULL);
    expect_in(text, "HTTP/1.1 200");
    free(text);
    site_stop(waiting.site);
}

static void test_waits_max__further_ones_are_told_to_come_back(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.waits.max=1", NULL};
    struct waiting waiting = waiting_start(options, "/latest/orders");
    struct client *first = wait_open(&waiting, "/latest/orders?wait=29s");
    char *text = site_get(waiting.site, "/latest/orders?wait=29s", waiting.etag);
    expect_in(text, "HTTP/1.1 503");
    expect_in(text, "Retry-After: ");
    free(text);
    site_produce(waiting.site, "orders", 0, "a", "{\"n\":2}");
    site_flush(waiting.site);
    client_await_text(first, "HTTP/1.1 200");
    client_close(first);
    site_stop(waiting.site);
}

static void test_drain__those_that_wait_are_answered(void **state)
{
    (void)state;
    struct waiting waiting = waiting_start(one_worker, "/latest/orders");
    struct client *client = wait_open(&waiting, "/latest/orders?wait=29s");
    struct client *gone = wait_open(&waiting, "/latest/orders?wait=29s");
    client_close(gone); /* nobody notices before there is something to say */
    int64_t before_us = clock_mono_us();
    site_close(waiting.site);
    assert_true(clock_mono_us() - before_us < 20 * 1000000); /* not the wait's 29 s */
    client_await_text(client, "HTTP/1.1 304");
    client_close(client);
    rd_kafka_destroy(waiting.site->producer);
    mock_kafka_stop(&waiting.site->mock);
    free(waiting.site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait__until_it_changes),
        cmocka_unit_test(test_wait__after_a_position__what_is_new),
        cmocka_unit_test(test_wait__with_a_filter__what_passes_is_new),
        cmocka_unit_test(test_wait__time_is_over__says_that_nothing_is_new),
        cmocka_unit_test(test_wait__without_something_to_compare__is_answered_at_once),
        cmocka_unit_test(test_waits_max__further_ones_are_told_to_come_back),
        cmocka_unit_test(test_drain__those_that_wait_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
