/* Named consumers: what Kafka remembers for a stream. The mock cluster keeps offsets, but it neither lists nor
 * deletes groups: that is tests/e2e/test_consumers.py's. */
#define _GNU_SOURCE /* memmem */

#include <inttypes.h>

#include "consumers_under_test.h"

static const char *const rarely[] = {"--query.consumers=on",
                                     "--query.consumers.commit.interval=600s", NULL};

/* --- auto ----------------------------------------------------------------------------------------------- */

static void test_auto__goes_on_where_it_was__with_nothing_twice(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "");
    client_close(client);
    site_produce_orders(site, 33, 9, 10);
    /* The one before has gone: what it was sent is committed before this one begins. */
    client = read_named(site, "&from=earliest", "committed", 9);
    await_answer(site, "/consumers/c", "\"lag\":0,\"cursor\":\"orders~0=13,1=13,2=13");
    client_close(client);
    site_stop(site);
}

static void test_auto__across_a_restart__goes_on_where_it_was(void **state)
{
    (void)state;
    struct site *site = site_start(rarely);
    struct client *client = read_all_named(site, "");
    site_close(site); /* ends the stream, which commits */
    client_await_text(client, "event: shutdown");
    client_close(client);
    site_produce_orders(site, 33, 3, 10);
    site_open(site, rarely);
    client = read_named(site, "", "committed", 3);
    client_close(client);
    site_stop(site);
}

/* Who is told that the program has ended finds everything done. */
static void test_end__last_commits_are_made_before_it_is_told(void **state)
{
    (void)state;
    struct err_info info = {0};
    struct site *site = site_start(rarely);
    struct client *client = read_all_named(site, "");
    rd_kafka_mock_broker_push_request_error_rtts(site->mock.cluster, 1, 9 /* OffsetFetch */, 1,
                                                 RD_KAFKA_RESP_ERR_NO_ERROR, 300);
    query_stop(&site->query);
    service_drain(site->query.service);
    query_settle(&site->query);
    struct elsewhere elsewhere = elsewhere_open(site);
    assert_int_equal(10, elsewhere_look(&elsewhere)->next[0]);
    elsewhere_close(&elsewhere);
    assert_int_equal(0, service_end(site->query.service, ERR_OK, &info));
    query_free(&site->query);
    client_close(client);
    site_open(site, rarely);
    site_stop(site);
}

/* A name that has no position begins as the request says, and where it began is kept from then on. */
static void test_begin__is_committed_before_anything_came(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = open_named(site, "&commit=manual", "request");
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=0,1=0,2=0");
    client_close(client);
    site_produce_orders(site, 3, 3, 10);
    client = read_named(site, "", "committed", 3);
    client_close(client);
    site_stop(site);
}

/* A client that takes nothing was sent what its socket held: the next one gets the rest, and nothing is
 * passed over. */
static void test_auto__slow_client__what_has_not_gone_out_is_not_committed(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.consumers=on",
                                          "--query.consumers.commit.interval=50ms",
                                          "--sse.send.buffer=16KiB", "--sse.slow=catch-up", NULL};
    struct site *site = site_start(options);
    struct client *slow = client_open_with(
        site, "GET /events/orders?consumer=c&from=earliest HTTP/1.1\r\nHost: a\r\n\r\n", 8192);
    client_await_text(slow, "\"from\":\"request\"}");
    site_produce_orders(site, 3, 900, 2000);
    await_answer(site, "/consumers/c", "\"name\":\"c\"");
    struct client *next = open_named(site, "", "committed");
    client_await_text(slow, "\"state\":\"taken\"");
    client_await_end(slow);
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (next->last_n[0] != 900 || next->last_n[1] != 901 || next->last_n[2] != 902) {
        assert_true(clock_mono_us() < deadline_us);
        (void)client_read(next, 1000);
    }
    assert_true(slow->records < 900 && slow->records + next->records >= 900);
    client_close(slow);
    client_close(next);
    site_stop(site);
}

/* The last three numbers of a position in the text, of whole events only; 0 where there is none. */
static void last_position(const char *text, size_t len, int64_t next[3])
{
    const char *id = NULL, *end = text;
    for (const char *at; (at = memmem(end, len - (size_t)(end - text), "\n\n", 2)) != NULL;) {
        const char *found = memmem(end, (size_t)(at - end), "id: orders~", 11);
        id = found ? found : id;
        end = at + 2;
    }
    next[0] = next[1] = next[2] = 0;
    assert_true(!id || sscanf(id, "id: orders~0=%" SCNd64 ",1=%" SCNd64 ",2=%" SCNd64, &next[0],
                              &next[1], &next[2]) == 3);
}

static void committed(const struct site *site, int64_t next[3])
{
    char *answer = site_get(site, "/consumers/c", NULL);
    const char *cursor = strstr(answer, "\"cursor\":\"orders~");
    assert_true(cursor &&
                sscanf(cursor, "\"cursor\":\"orders~0=%" SCNd64 ",1=%" SCNd64 ",2=%" SCNd64,
                       &next[0], &next[1], &next[2]) == 3);
    free(answer);
}

/* What lies in the server's own socket may never arrive: it is looked for in what the client's kernel has. */
static void test_auto__what_the_client_has_not_acknowledged__is_not_committed(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.consumers=on",
                                          "--query.consumers.commit.interval=10ms",
                                          "--sse.send.buffer=256KiB", NULL};
    struct site *site = site_start(options);
    struct client *slow = client_open_with(
        site, "GET /events/orders?consumer=c&from=earliest HTTP/1.1\r\nHost: a\r\n\r\n", 100000);
    client_await_text(slow, "\"from\":\"request\"}");
    site_produce_orders(site, 3, 30, 500);
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=10,1=10,2=10");
    site_produce_orders(site, 33, 3000, 500);
    char *had = must_alloc(1 << 20);
    /* Far longer than it takes to commit; were it committed, it would be seen at some look. */
    for (int64_t end_us = clock_mono_us() + 1000000; clock_mono_us() < end_us;) {
        int64_t kept[3], got[3];
        committed(site, kept); /* before what the client has is looked at */
        const ssize_t len = recv(slow->fd, had, 1 << 20, MSG_PEEK | MSG_DONTWAIT);
        last_position(had, len > 0 ? (size_t)len : 0, got);
        for (int p = 0; p < 3; p++) {
            assert_true(kept[p] <= got[p]);
        }
    }
    free(had);
    client_close(slow);
    site_stop(site);
}

/* --- one at a time --------------------------------------------------------------------------------------- */

static void test_two_of_a_name__the_later_one_takes_over__nothing_twice(void **state)
{
    (void)state;
    struct site *site = site_start(rarely);
    struct client *first = read_all_named(site, "");
    struct client *second = open_named(site, "", "committed");
    client_await_text(first, "data: {\"state\":\"taken\"");
    client_await_end(first);
    site_produce_orders(site, 33, 6, 10);
    client_await_records(second, 6);
    /* Of other topics it is another position, and nobody's loss. */
    struct client *other = client_open(site, "/events/product-metrics?consumer=c", NULL);
    client_await_text(other, "\"from\":\"request\"}");
    site_produce_orders(site, 39, 6, 10);
    client_await_records(second, 12);
    client_close(first);
    client_close(second);
    client_close(other);
    site_stop(site);
}

static void test_taken_on_another_replica__is_noticed__and_not_written_over(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "");
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=10,1=10,2=10");
    claim_elsewhere(site, 7, false);
    client_await_text(client, "data: {\"state\":\"taken\"");
    client_await_end(client);
    await_answer(site, "/consumers/c", "\"claim\":7");
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=1,1=1,2=1");
    client_close(client);
    client = open_named(site, "", "committed");
    client_await_text(client, "\"claim\":8");
    client_await_records(client, 27);
    client_close(client);
    site_stop(site);
}

/* --- manual ------------------------------------------------------------------------------------------------ */

static void test_manual__only_what_is_committed_counts(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "&commit=manual");
    client_await_text(client, "\"commit\":\"manual\",\"claim\":1,");
    await_answer(site, "/consumers/c", "\"lag\":30,\"cursor\":\"orders~0=0,1=0,2=0");
    post_expecting(site, "/consumers/c/offsets", "{\"cursor\":\"orders~0=4,1=4,2=3\",\"claim\":1}",
                   "HTTP/1.1 200", "\"cursor\":\"orders~0=4,1=4,2=3");
    client_close(client);
    client = open_named(site, "&commit=manual", "committed");
    client_await_text(client, "\"claim\":2,");
    client_await_records(client, 19);
    client_close(client);
    site_stop(site);
}

/* Who reads uses the name, and what is used is not forgotten: nor is it moved. */
static void test_manual__read_but_not_committed__is_in_use(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.consumers=on",
                                          "--query.consumers.commit.interval=50ms",
                                          "--query.consumers.keep=1s", NULL};
    struct site *site = site_start(options);
    struct client *client = read_all_named(site, "&commit=manual");
    struct elsewhere elsewhere = elsewhere_open(site);
    const int64_t began_ms = elsewhere_look(&elsewhere)->oldest_ms;
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    while (elsewhere_look(&elsewhere)->oldest_ms < began_ms + 1000) {
        assert_true(clock_mono_us() < deadline_us);
    }
    elsewhere_close(&elsewhere);
    await_answer(site, "/consumers/c", "\"lag\":30,\"cursor\":\"orders~0=0,1=0,2=0");
    client_close(client);
    site_stop(site);
}

static void test_commit__that_cannot_be__is_a_problem_that_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *body, *status, *says;
    } rows[] = {
        {"{\"cursor\":\"orders~0=3\"}", "409", "orders-0: 3 is behind 4"},
        {"{\"cursor\":\"orders~1=5,2=11\"}", "409", "orders-2: 11 is past the end, which is 10"},
        {"{\"cursor\":\"orders~3=0\"}", "409", "orders has no partition 3"},
        {"{\"cursor\":\"orders~0=5,e=00000001\"}", "409", "of another making of orders"},
        {"{\"cursor\":\"orders~0=5\",\"claim\":7}", "409", "held by claim 1 and not by 7"},
        {"{\"cursor\":\"product-metrics~0=0\"}", "404", "consumer-unknown"},
        {"{\"cursor\":\"orders~0=5;elsewhere~0=1\"}", "404", "a topic is not served here"},
        {"{\"cursor\":\"orders\"}", "400", "not of the form"},
        {"{\"cursor\":\"[{\\\"topic\\\":\\\"orders\\\",\\\"partition\\\":0,\\\"offset\\\":-1}]\"}",
         "400", "orders-0 has no offset"},
        {"{}", "400", "/cursor: must be a position"},
        {"{\"cursor\":\"orders~0=5\",\"claim\":0}", "400", "/claim: must be"},
        {"{\"cursor\":\"orders~0=5\",\"offset\":9}", "400", "/offset: there is no such member"},
        {"[]", "400", "must be an object"},
    };
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    struct client *client = open_named(site, "&commit=manual&from=earliest", "request");
    await_answer(site, "/consumers/c", "\"name\":\"c\"");
    post_expecting(site, "/consumers/c/offsets", "{\"cursor\":\"orders~0=4\"}", "200",
                   "\"cursor\":");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char status[32];
        (void)snprintf(status, sizeof status, "HTTP/1.1 %s", rows[i].status);
        post_expecting(site, "/consumers/c/offsets", rows[i].body, status, rows[i].says);
    }
    post_expecting(site, "/consumers/d/offsets", "{\"cursor\":\"orders~0=5\"}", "HTTP/1.1 404",
                   "consumer-unknown");
    await_answer(site, "/consumers/c", "\"cursor\":\"orders~0=4,1=0,2=0");
    await_answer(site, "/consumers/d", "consumer-unknown");
    client_close(client);
    site_stop(site);
}

/* --- reset ------------------------------------------------------------------------------------------------- */

static void reset_and_expect(const struct site *site, const char *body, const char *cursor)
{
    char says[128];
    (void)snprintf(says, sizeof says, "\"cursor\":\"%s", cursor);
    post_expecting(site, "/consumers/c/reset", body, "HTTP/1.1 200", says);
    await_answer(site, "/consumers/c", says);
}

static void test_reset__every_way(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 30, 10);
    post_expecting(site, "/consumers/c/reset", "{\"to\":\"earliest\"}", "HTTP/1.1 404",
                   "consumer-unknown");
    struct client *client = read_named(site, "&from=earliest", "request", 30);
    await_answer(site, "/consumers/c", "\"lag\":0");
    client_close(client);
    reset_and_expect(site, "{\"to\":\"earliest\"}", "orders~0=0,1=0,2=0");
    reset_and_expect(site, "{\"to\":\"latest\"}", "orders~0=10,1=10,2=10");
    reset_and_expect(site, "{\"cursor\":\"orders~0=2,1=3,2=4\"}", "orders~0=2,1=3,2=4");
    reset_and_expect(site, "{\"to\":9999999999999,\"topics\":[\"orders\"]}",
                     "orders~0=10,1=10,2=10");
    post_expecting(site, "/consumers/c/reset", "{\"cursor\":\"orders~0=11\"}", "HTTP/1.1 409",
                   "orders-0: 11 is not in the log, which is 0 to 10");
    post_expecting(site, "/consumers/c/reset", "{\"to\":\"yesterday\"}", "HTTP/1.1 400", "/to: ");
    post_expecting(site, "/consumers/c/reset", "{\"to\":0,\"cursor\":\"orders~0=1\"}",
                   "HTTP/1.1 400", "no to, no topics");
    post_expecting(site, "/consumers/c/reset", "{\"to\":0,\"topics\":[\"elsewhere\"]}",
                   "HTTP/1.1 404", "topic-unknown");
    reset_and_expect(site, "{\"to\":\"earliest\"}", "orders~0=0,1=0,2=0");
    /* What was read before the reset is not where it is. */
    post_expecting(site, "/consumers/c/offsets", "{\"cursor\":\"orders~0=5\"}", "HTTP/1.1 409",
                   "was reset");
    client =
        client_open(site, "/events/orders?consumer=c", "Last-Event-ID: orders~0=9,1=9,2=9\r\n");
    client_await_text(client, "\"from\":\"committed\"}");
    client_await_records(client, 30);
    client_close(client);
    site_stop(site);
}

static void test_reset__open_streams_end__and_commit_no_more(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "");
    await_answer(site, "/consumers/c", "\"lag\":0");
    post_expecting(site, "/consumers/c/reset", "{\"to\":\"earliest\"}", "HTTP/1.1 200",
                   "\"cursor\":");
    client_await_text(client, "data: {\"state\":\"reset\"");
    client_await_end(client);
    client_close(client);
    await_answer(site, "/consumers/c", "\"reset\":true,\"lag\":30");
    client = read_named(site, "", "committed", 30);
    await_answer(site, "/consumers/c", "\"reset\":false,\"lag\":0");
    claim_elsewhere(site, 99, true); /* on another replica */
    client_await_text(client, "data: {\"state\":\"reset\"");
    client_close(client);
    site_stop(site);
}

/* The next OffsetCommit that comes is done at once, and answered late. */
#define LATE_MS 700

static void answer_late(const struct site *site)
{
    rd_kafka_mock_broker_push_request_error_rtts(site->mock.cluster, 1, 8 /* OffsetCommit */, 1,
                                                 RD_KAFKA_RESP_ERR_NO_ERROR, LATE_MS);
}

/* Waits for a reset of another owner than *owner, which was written after *since_us, and writes over it;
 * false: too late to be sure that the reset had not been looked at again. */
static bool undo_in_time(struct elsewhere *elsewhere, uint64_t *owner, int64_t *since_us)
{
    const struct consumer_note *note = &elsewhere->places.topics[0].note;
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        const int64_t look_us = clock_mono_us();
        assert_true(look_us < deadline_us);
        (void)elsewhere_look(elsewhere);
        if (note->is_reset && note->owner != *owner) {
            break;
        }
        *since_us = look_us;
    }
    const int64_t written_us = *since_us; /* or later */
    *owner = note->owner;
    *since_us = clock_mono_us();
    elsewhere_commit(elsewhere, 1, false);
    return clock_mono_us() - written_us < LATE_MS / 2 * 1000;
}

/* A reset, while streams of another replica that looked before it commit right behind it, so often. Whether
 * it came so: else it may have been answered before they did. */
static bool reset_and_undo(struct site *site, int times, const char *status, const char *says)
{
    struct elsewhere elsewhere = elsewhere_open(site);
    uint64_t owner = elsewhere_look(&elsewhere)->note.owner;
    int64_t since_us = clock_mono_us();
    bool is_so = true;
    answer_late(site);
    struct client *client = post_open(site, "/consumers/c/reset", "{\"to\":\"earliest\"}");
    for (int i = 0; i < times && is_so; i++) {
        if (i > 0) {
            answer_late(site); /* the reset is looked at before it is written again */
        }
        is_so = undo_in_time(&elsewhere, &owner, &since_us);
    }
    post_await(client, is_so ? status : "HTTP/1.1 ", is_so ? says : "HTTP/1.1 ");
    elsewhere_close(&elsewhere);
    return is_so;
}

static void test_reset__undone_at_the_same_moment__is_made_again_or_refused(void **state)
{
    (void)state;
    struct site *site = site_start(rarely);
    struct client *client = read_all_named(site, "");
    client_close(client);
    await_answer(site, "/consumers/c", "\"lag\":0");
    while (!reset_and_undo(site, 1, "HTTP/1.1 200", "\"cursor\":\"orders~0=0,1=0,2=0")) {
    }
    await_answer(site, "/consumers/c", "\"reset\":true,\"lag\":30");
    while (!reset_and_undo(site, 3, "HTTP/1.1 409", "\"code\":\"consumer-busy\"")) {
    }
    await_answer(site, "/consumers/c", "\"reset\":false,\"lag\":27");
    site_stop(site);
}

/* --- positions that come along -------------------------------------------------------------------------------- */

/* What the client says that it has seen is more exact than what it was sent. */
static void test_last_event_id__wins_over_what_is_committed(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "");
    await_answer(site, "/consumers/c", "\"lag\":0");
    client_close(client);
    client =
        client_open(site, "/events/orders?consumer=c", "Last-Event-ID: orders~0=9,1=9,2=9\r\n");
    client_await_text(client, "\"from\":\"position\"}");
    client_await_records(client, 3);
    client_close(client);
    site_stop(site);
}

static void test_manual__last_event_id__commits_nothing(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = read_all_named(site, "&commit=manual");
    client_close(client);
    client = client_open(site, "/events/orders?consumer=c&commit=manual",
                         "Last-Event-ID: orders~0=9,1=9,2=9\r\n");
    client_await_records(client, 3);
    client_close(client);
    await_answer(site, "/consumers/c", "\"lag\":30,\"cursor\":\"orders~0=0,1=0,2=0");
    site_stop(site);
}

static void test_lines__say_the_same(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    site_produce_orders(site, 3, 3, 10);
    struct client *client = client_open(site, "/events/orders?consumer=c&from=earliest",
                                        "Accept: application/x-ndjson\r\n");
    client_await_text(client,
                      "{\"event\":\"consumer\",\"data\":{\"name\":\"c\",\"state\":\"open\"");
    client_await_text(client, "\"value\":{\"n\":5,");
    await_answer(site, "/consumers/c", "\"lag\":0");
    client_close(client);
    site_stop(site);
}

/* --- what goes wrong --------------------------------------------------------------------------------------------- */

static bool has_failed(void *context)
{
    (void)context;
    return site_metric("millrace_query_consumer_commits_total{result=\"failed\"} ") > 0;
}

static void test_commit__that_kafka_refuses__is_made_again(void **state)
{
    (void)state;
    struct site *site = site_start(on);
    struct client *client = open_named(site, "&from=earliest", "request");
    await_answer(site, "/consumers/c", "\"lag\":0");
    rd_kafka_mock_push_request_errors(site->mock.cluster, 8 /* OffsetCommit */, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE);
    site_produce_orders(site, 3, 30, 10);
    client_await_records(client, 30);
    site_await(has_failed, site, "a commit to fail");
    await_answer(site, "/consumers/c", "\"lag\":0,\"cursor\":\"orders~0=10,1=10,2=10");
    client_close(client);
    site_stop(site);
}

static void test_names__past_the_bound__are_refused_and_told(void **state)
{
    (void)state;
    static const char *const options[] = {"--query.consumers=on", "--query.consumers.max=1", NULL};
    struct site *site = site_start(options);
    struct client *first = open_named(site, "", "request");
    struct client *second = client_open(site, "/events/orders?consumer=d", NULL);
    client_await_text(second, "data: {\"state\":\"refused\"");
    client_await_end(second);
    client_close(second);
    client_close(first);
    site_stop(site);
}

static void test_request__that_is_none__is_a_problem_that_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *target, *headers, *status, *says;
    } rows[] = {
        {"/events/orders?consumer=", NULL, "400", "is no consumer's name"},
        {"/events/orders?consumer=a%2Fb", NULL, "400", "is no consumer's name"},
        {"/events/orders?commit=manual", NULL, "400", "which is not named"},
        {"/events/orders?consumer=c&commit=never", NULL, "400", "neither auto nor manual"},
        {"/events/orders?consumer=c", "Sec-Fetch-Site: cross-site\r\n", "403", "another site"},
        {"/consumers/a%20b", NULL, "400", "is no consumer's name"},
        {"/consumers/nobody", NULL, "404", "consumer-unknown"},
    };
    struct site *site = site_start(on);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = site_get(site, rows[i].target, rows[i].headers);
        expect_in(text, rows[i].status);
        expect_in(text, rows[i].says);
        free(text);
    }
    site_stop(site);
}

static void test_off__nothing_is_kept(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    static const char *const targets[] = {"/events/orders?consumer=c", "/consumers",
                                          "/consumers/c"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char *text = site_get(site, targets[i], NULL);
        expect_in(text, "HTTP/1.1 403");
        expect_in(text, "query.consumers is off");
        free(text);
    }
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto__goes_on_where_it_was__with_nothing_twice),
        cmocka_unit_test(test_auto__across_a_restart__goes_on_where_it_was),
        cmocka_unit_test(test_end__last_commits_are_made_before_it_is_told),
        cmocka_unit_test(test_begin__is_committed_before_anything_came),
        cmocka_unit_test(test_auto__slow_client__what_has_not_gone_out_is_not_committed),
        cmocka_unit_test(test_auto__what_the_client_has_not_acknowledged__is_not_committed),
        cmocka_unit_test(test_two_of_a_name__the_later_one_takes_over__nothing_twice),
        cmocka_unit_test(test_taken_on_another_replica__is_noticed__and_not_written_over),
        cmocka_unit_test(test_manual__only_what_is_committed_counts),
        cmocka_unit_test(test_manual__read_but_not_committed__is_in_use),
        cmocka_unit_test(test_commit__that_cannot_be__is_a_problem_that_says_why),
        cmocka_unit_test(test_reset__every_way),
        cmocka_unit_test(test_reset__open_streams_end__and_commit_no_more),
        cmocka_unit_test(test_reset__undone_at_the_same_moment__is_made_again_or_refused),
        cmocka_unit_test(test_last_event_id__wins_over_what_is_committed),
        cmocka_unit_test(test_manual__last_event_id__commits_nothing),
        cmocka_unit_test(test_lines__say_the_same),
        cmocka_unit_test(test_commit__that_kafka_refuses__is_made_again),
        cmocka_unit_test(test_names__past_the_bound__are_refused_and_told),
        cmocka_unit_test(test_request__that_is_none__is_a_problem_that_says_why),
        cmocka_unit_test(test_off__nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
