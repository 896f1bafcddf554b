/* Dead letters over HTTP, on a mock Kafka: which ones, in which order, page by page, as they are. */
#define _GNU_SOURCE /* memmem */

#include <jansson.h>

#include "dead_letters.h"

#define DLQ "orders.dlq"

/* n of each partition, in turn; the value says which. */
static void produce_some(const struct site *site, int first, int count, size_t pad)
{
    char *value = must_alloc(pad + 64);
    for (int n = first; n < first + count; n++) {
        int len = snprintf(value, 64, "{\"n\":%d,\"pad\":\"", n);
        memset(value + len, 'x', pad);
        (void)snprintf(value + (size_t)len + pad, 8, "\"}");
        letter_produce(
            site, DLQ,
            &(struct letter){
                .partition = n % 3, .key = "k", .value = value, .timestamp_ms = 1700000000000 + n});
    }
    free(value);
    assert_int_equal(0, rd_kafka_flush(site->producer, SITE_DEADLINE_MS));
}

static struct site *letters_site(const char *const *options)
{
    const char *all[16] = {"--query.topics=orders,product-metrics"};
    for (size_t i = 0; options && options[i]; i++) {
        all[i + 1] = options[i];
    }
    struct site *site = site_start(all);
    mock_kafka_topic(&site->mock, DLQ, 3);
    return site;
}

/* The answer's body; a new reference. */
static json_t *get_json(const struct site *site, const char *target)
{
    char *answer = site_get(site, target, NULL);
    json_error_t error;
    expect_in(answer, "HTTP/1.1 200");
    json_t *body = json_loads(strstr(answer, "\r\n\r\n") + 4, 0, &error);
    if (!body) {
        fail_msg("%s in:\n%s", error.text, answer);
    }
    free(answer);
    return body;
}

static void expect_error(const struct site *site, const char *target, const char *status,
                         const char *text)
{
    char *answer = site_get(site, target, NULL);
    expect_in(answer, status);
    expect_in(answer, text);
    free(answer);
}

static int64_t number_at(const json_t *object, const char *name)
{
    assert_true(json_is_integer(json_object_get(object, name)));
    return json_integer_value(json_object_get(object, name));
}

static const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* --- pages ---------------------------------------------------------------------------------------------- */

struct seen {
    int count;
    int64_t lowest[3]; /* offset that was shown */
    int64_t newest_ms;
    bool is_sorted; /* over all partitions by time */
};

static void seen_take(struct seen *seen, const json_t *page)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        int64_t p = number_at(item, "partition"), offset = number_at(item, "offset");
        int64_t at_ms = number_at(item, "timestamp");
        if (seen->lowest[p] >= 0 && offset >= seen->lowest[p]) {
            fail_msg("offset %lld came after %lld", (long long)offset, (long long)seen->lowest[p]);
        }
        seen->is_sorted = seen->is_sorted && at_ms <= seen->newest_ms;
        seen->newest_ms = at_ms;
        seen->lowest[p] = offset;
        seen->count++;
    }
}

/* All pages; between two of them more letters come. */
static struct seen read_pages(const struct site *site, const char *target, int more)
{
    struct seen seen = {.lowest = {-1, -1, -1}, .newest_ms = INT64_MAX, .is_sorted = true};
    char next[2048];
    (void)snprintf(next, sizeof next, "%s", target);
    for (int page = 0; next[0]; page++) {
        assert_true(page < 200);
        json_t *body = get_json(site, next);
        seen_take(&seen, body);
        const char *cursor = text_at(body, "next_cursor");
        (void)snprintf(next, sizeof next, cursor[0] ? "%s&cursor=%s" : "", target, cursor);
        json_decref(body);
        if (more > 0) {
            produce_some(site, 100000 + 3 * page, more, 4);
        }
    }
    return seen;
}

static void test_pages__newest_first__each_letter_once_whatever_comes_meanwhile(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    produce_some(site, 0, 900, 4);
    struct seen seen = read_pages(site, "/dead-letters/" DLQ "?limit=70", 3);
    assert_int_equal(900, seen.count);
    assert_true(seen.is_sorted);
    for (int p = 0; p < 3; p++) {
        assert_int_equal(0, seen.lowest[p]);
    }
    site_stop(site);
}

/* What is looked for lies far back: a page ends where it has looked at enough, and the next goes on. */
static void test_pages__few_are_wanted__short_pages_lead_there(void **state)
{
    (void)state;
    struct site *site =
        letters_site((const char *const[]){"--query.dead_letters.scan.max=300", NULL});
    letter_produce(site, DLQ, &(struct letter){.key = "k", .value = "{\"needle\":1}"});
    produce_some(site, 0, 3000, 4);
    json_t *first = get_json(site, "/dead-letters/" DLQ "?text=needle");
    assert_int_equal(0, json_array_size(json_object_get(first, "items")));
    assert_true(text_at(first, "next_cursor")[0] != '\0');
    assert_true(number_at(first, "scanned") >= 300 && number_at(first, "scanned") < 3000);
    json_decref(first);
    assert_int_equal(1, read_pages(site, "/dead-letters/" DLQ "?text=needle", 0).count);
    site_stop(site);
}

/* Values that are much larger than what may be held: still every one of them. */
static void test_pages__large_values__are_read_in_smaller_runs(void **state)
{
    (void)state;
    struct site *site = letters_site((const char *const[]){
        "--query.dead_letters.bytes=64KiB", "--query.dead_letters.value.bytes.max=1KiB", NULL});
    produce_some(site, 0, 90, 20000);
    assert_int_equal(90, read_pages(site, "/dead-letters/" DLQ "?limit=20", 0).count);
    json_t *page = get_json(site, "/dead-letters/" DLQ "?limit=1");
    const json_t *item = json_array_get(json_object_get(page, "items"), 0);
    assert_int_equal(1024, strlen(text_at(item, "value")));
    assert_true(json_is_true(json_object_get(item, "value_cut")));
    assert_true(number_at(item, "value_bytes") > 20000);
    json_decref(page);
    site_stop(site);
}

/* --- which ---------------------------------------------------------------------------------------------- */

static void test_filter__each_way_to_choose(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    static const struct letter letters[] = {
        {0, "a", "{\"n\":1}", .source = "orders", .code = "condition", .class = "process",
         .pipeline = "orders", .message = "amount is 0", .timestamp_ms = 1700000000000},
        {1, "b", "{\"n\":2}", .source = "payments", .code = "json-syntax", .class = "deserialize",
         .pipeline = "payments", .message = "not JSON", .timestamp_ms = 1700000060000},
        {1, "c", "{\"n\":3,\"word\":\"needle\"}", .source = "orders", .code = "condition",
         .class = "process", .pipeline = "other", .message = "x", .timestamp_ms = 1700000120000},
    };
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        letter_produce(site, DLQ, &letters[i]);
    }
    site_flush(site);
    static const struct {
        const char *query;
        size_t count;
    } rows[] = {
        {"", 3},
        {"class=process", 2},
        {"code=json-syntax", 1},
        {"source=orders", 2},
        {"pipeline=other", 1},
        {"step=/steps/1/require", 3},
        {"step=/steps/2", 0},
        {"key=b", 1},
        {"header=traceparent=t-1", 3},
        {"header=nothing", 0},
        {"text=needle", 1},
        {"text=not%20JSON", 1},
        {"text=zzz", 0},
        {"from=1700000060000", 2},
        {"to=1700000060000", 1},
        {"from=2023-11-14T22:14:20Z&to=2023-11-14T22:14:21Z", 1},
        {"partition=1", 2},
        {"source=orders&class=process&text=needle", 1},
        {"source=orders&pipeline=payments", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char target[256];
        (void)snprintf(target, sizeof target, "/dead-letters/" DLQ "?%s", rows[i].query);
        json_t *page = get_json(site, target);
        if (json_array_size(json_object_get(page, "items")) != rows[i].count) {
            fail_msg("%s: %zu, not %zu", rows[i].query,
                     json_array_size(json_object_get(page, "items")), rows[i].count);
        }
        json_decref(page);
    }
    site_stop(site);
}

static void test_requests__that_make_no_sense__say_what_is_wrong(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    produce_some(site, 0, 3, 4);
    static const struct {
        const char *target, *status, *text;
    } rows[] = {
        {"/dead-letters/orders", "403", "is no topic of dead letters (query.dead_letters.topics)"},
        {"/dead-letters/none.dlq", "404", "topic-unknown"},
        {"/dead-letters/" DLQ "?limit=0", "400", "limit=0 is no number from 1 to 500"},
        {"/dead-letters/" DLQ "?from=yesterday", "400", "from=yesterday"},
        {"/dead-letters/" DLQ "?partition=-1", "400", "partition=-1"},
        {"/dead-letters/" DLQ "?offset=3", "400", "offset is of a partition"},
        {"/dead-letters/" DLQ "?waiting=yes", "400", "waiting=yes is neither 0 nor 1"},
        {"/dead-letters/" DLQ "?cursor=nonsense", "400", "\"code\":\"cursor\""},
        {"/dead-letters/" DLQ "?cursor=orders.dlq~0=1,e=12345678", "400", "an earlier making"},
        {"/dead-letters/" DLQ "/0/99", "404", "has no record at offset 99"},
        {"/dead-letters/" DLQ "/9/0", "404", "has no record at offset 0"},
        {"/dead-letters/" DLQ "/x/0", "400", "partition=x"},
        {"/dead-letters/" DLQ "/0/0?format=xml", "400", "format=xml is none of json, raw"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].target);
        expect_error(site, rows[i].target, rows[i].status, rows[i].text);
    }
    site_stop(site);
}

/* --- as it is ------------------------------------------------------------------------------------------- */

static void test_letter__is_shown_with_all_that_it_is(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    static const char bytes[] = {'a', 0, (char)0xff, 'z'};
    letter_produce(
        site, DLQ,
        &(struct letter){.key = "order-1", .value = "{\"amount\":0}", .timestamp_ms = 17});
    letter_produce(site, DLQ, &(struct letter){.value = bytes, .value_bytes = sizeof bytes});
    site_flush(site);
    json_t *letter = get_json(site, "/dead-letters/" DLQ "/0/0");
    assert_string_equal("order-1", text_at(letter, "key"));
    assert_string_equal("{\"amount\":0}", text_at(letter, "value"));
    assert_string_equal("orders", text_at(letter, "source"));
    assert_int_equal(2, number_at(letter, "source_partition"));
    assert_int_equal(77, number_at(letter, "source_offset"));
    assert_string_equal("condition", text_at(letter, "code"));
    assert_string_equal("process", text_at(letter, "class"));
    assert_string_equal("amount is 0", text_at(letter, "message"));
    assert_string_equal("/steps/1/require", text_at(letter, "step"));
    assert_int_equal(0, number_at(letter, "replays"));
    assert_int_equal(17, number_at(letter, "timestamp"));
    assert_true(json_is_false(json_object_get(letter, "dealt_with")));
    const json_t *headers = json_object_get(letter, "headers");
    assert_int_equal(9, json_array_size(headers));
    assert_string_equal("traceparent", text_at(json_array_get(headers, 0), "name"));
    json_decref(letter);
    letter = get_json(site, "/dead-letters/" DLQ "/0/1");
    assert_true(json_is_null(json_object_get(letter, "key")));
    assert_string_equal("YQD/eg==", text_at(letter, "value"));
    assert_string_equal("base64", text_at(letter, "value_encoding"));
    json_decref(letter);
    struct client *raw =
        client_open(site, "/dead-letters/" DLQ "/0/1?format=raw", "Connection: close\r\n");
    client_await_end(raw);
    assert_non_null(memmem(raw->text.data, raw->text.len, "application/octet-stream", 24));
    assert_non_null(memmem(raw->text.data, raw->text.len, "nosniff", 7));
    assert_memory_equal(bytes, raw->text.data + raw->text.len - sizeof bytes, sizeof bytes);
    client_close(raw);
    site_stop(site);
}

/* One of the topics that Kafka has, with what it holds. */
static void test_topics__of_dead_letters__are_those_that_are_named_so(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    produce_some(site, 0, 5, 4);
    json_t *answer = get_json(site, "/dead-letters");
    const json_t *items = json_object_get(answer, "items");
    assert_int_equal(1, json_array_size(items));
    assert_string_equal(DLQ, text_at(json_array_get(items, 0), "topic"));
    assert_int_equal(5, number_at(json_array_get(items, 0), "records"));
    json_decref(answer);
    site_stop(site);
}

/* --- sent back ------------------------------------------------------------------------------------------ */

/* The answer; it is the caller's. */
static char *post(const struct site *site, const char *topic, const char *media_type,
                  const char *body)
{
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "POST /dead-letters/%s/replay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                   "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                   topic, media_type, strlen(body), body);
    struct client *client = client_open_with(site, request, 0);
    client_await_end(client);
    char *answer = must_alloc(client->text.len + 1);
    memcpy(answer, client->text.data, client->text.len);
    client_close(client);
    return answer;
}

static void expect_post(const struct site *site, const char *body, const char *const *wanted)
{
    char *answer = post(site, DLQ, "application/json", body);
    for (; *wanted; wanted++) {
        expect_in(answer, *wanted);
    }
    free(answer);
}

static int64_t records_of(const struct site *site, const char *topic)
{
    char target[64];
    (void)snprintf(target, sizeof target, "/topics/%s", topic);
    json_t *shown = get_json(site, target);
    int64_t records = number_at(shown, "records");
    json_decref(shown);
    return records;
}

/* Until the topic has a record of the key. */
static void await_key(const struct site *site, const char *topic, const char *key)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    char target[64];
    (void)snprintf(target, sizeof target, "/latest/%s/%s", topic, key);
    for (bool is_there = false; !is_there;) {
        char *answer = site_get(site, target, NULL);
        is_there = strstr(answer, "HTTP/1.1 200") != NULL;
        free(answer);
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void test_replay__off_unless_it_is_allowed(void **state)
{
    (void)state;
    struct site *site = letters_site(NULL);
    expect_post(site, "{}", (const char *const[]){"403", "query.control is off", NULL});
    site_stop(site);
}

/* That no letter goes twice is asserted on real Kafka: the mock forgets the offsets of a transaction. */
static void test_replay__sends_what_was_asked_for__and_says_what_not(void **state)
{
    (void)state;
    struct site *site = letters_site(
        (const char *const[]){"--query.control=on", "--query.operators.fresh=100ms", NULL});
    letter_produce(site, DLQ, &(struct letter){0, "a", "{\"n\":1}", .code = "condition"});
    letter_produce(site, DLQ, &(struct letter){1, "b", "{\"n\":2}", .code = "late"});
    letter_produce(site, DLQ, &(struct letter){1, "c", "{\"n\":3}", .source = "gone"});
    site_flush(site);
    expect_post(site, "{\"action\":\"show\"}",
                (const char *const[]){"200", "\"action\":\"show\"", "\"done\":true", "\"sent\":2",
                                      "\"unplaced\":1", "\"left\":0",
                                      "\"outcome\":\"unplaced\",\"target\":null", NULL});
    assert_int_equal(0, records_of(site, "orders"));
    expect_post(site, "{\"partition\":1,\"offset\":0}",
                (const char *const[]){"200", "\"read\":1", "\"sent\":1", "\"left\":0",
                                      "{\"partition\":1,\"offset\":0,\"outcome\":\"sent\","
                                      "\"target\":\"orders\"}",
                                      NULL});
    await_key(site, "orders", "b");
    expect_post(site, "{\"code\":\"condition\",\"target\":\"product-metrics\"}",
                (const char *const[]){"200", "\"sent\":2", "\"unwanted\":1", NULL});
    await_key(site, "product-metrics", "a");
    await_key(site, "product-metrics", "c");
    expect_error(site, "/latest/orders/a", "404", "key-unknown");
    site_stop(site);
}

static void test_replay__bodies_that_make_no_sense__send_nothing(void **state)
{
    (void)state;
    struct site *site = letters_site((const char *const[]){"--query.control=on", NULL});
    produce_some(site, 0, 3, 4);
    static const struct {
        const char *topic, *media_type, *body, *status, *text;
    } rows[] = {
        {DLQ, "text/plain", "{}", "415", "application/json"},
        {DLQ, "application/json", "[]", "400", "must be an object"},
        {DLQ, "application/json", "{", "400", "json-syntax"},
        {DLQ, "application/json", "{\"cdoe\":\"x\"}", "400", "/cdoe: there is no such member"},
        {DLQ, "application/json", "{\"limit\":1}", "400", "/limit: there is no such member"},
        {DLQ, "application/json", "{\"code\":[1]}", "400", "/code is neither a text nor a number"},
        {DLQ, "application/json", "{\"action\":\"burn\"}", "400", "none of send, discard, show"},
        {DLQ, "application/json", "{\"count\":0}", "400", "count=0"},
        {DLQ, "application/json", "{\"target\":\"" DLQ "\"}", "400", "into itself"},
        {"orders", "application/json", "{}", "403", "topic-forbidden"},
        {"none.dlq", "application/json", "{}", "404", "topic-unknown"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *answer = post(site, rows[i].topic, rows[i].media_type, rows[i].body);
        print_message("%s\n", rows[i].body);
        expect_in(answer, rows[i].status);
        expect_in(answer, rows[i].text);
        free(answer);
    }
    assert_int_equal(0, records_of(site, "orders"));
    site_stop(site);
}

static const char REPLAY_ALL[] = "POST /dead-letters/" DLQ "/replay HTTP/1.1\r\nHost: a\r\n"
                                 "Connection: close\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 2\r\n\r\n{}";

/* Of two at a time one is done, and the other is told. */
static void test_replay__two_of_a_topic_at_once__one_is_turned_away(void **state)
{
    (void)state;
    struct site *site = letters_site((const char *const[]){"--query.control=on", NULL});
    produce_some(site, 0, 9, 4);
    assert_int_equal(0, rd_kafka_mock_broker_set_rtt(site->mock.cluster, 1, 300));
    struct client *clients[] = {client_open_with(site, REPLAY_ALL, 0),
                                client_open_with(site, REPLAY_ALL, 0)};
    int done = 0, busy = 0;
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_await_end(clients[i]);
        const struct strview text = buf_view(&clients[i]->text);
        done += memmem(text.ptr, text.len, "\"sent\":9", 8) != NULL;
        busy += memmem(text.ptr, text.len, "replay-in-progress", 18) != NULL;
        client_close(clients[i]);
    }
    assert_int_equal(1, done);
    assert_int_equal(1, busy);
    site_stop(site);
}

#define INIT_PRODUCER_ID 22

static bool one_replay_runs(void *context)
{
    (void)context;
    return site_metric("millrace_query_replays ") == 1;
}

/* A long replay holds a thread; another one is not let in, what else is asked is answered. */
static void test_replays_max__further_ones_come_back__other_questions_are_answered(void **state)
{
    (void)state;
    static const char other[] = "other.dlq";
    struct site *site = letters_site(
        (const char *const[]){"--query.control=on", "--query.operators.threads=2", NULL});
    mock_kafka_topic(&site->mock, other, 1);
    produce_some(site, 0, 9, 4);
    for (int i = 0; i < 1000; i++) { /* it goes on asking, until they are taken away */
        rd_kafka_mock_push_request_errors(site->mock.cluster, INIT_PRODUCER_ID, 1,
                                          RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    }
    struct client *first = client_open_with(site, REPLAY_ALL, 0);
    site_await(one_replay_runs, NULL, "the replay to begin");
    char *answer = post(site, other, "application/json", "{}");
    expect_in(answer, "HTTP/1.1 503");
    expect_in(answer, "Retry-After: ");
    expect_in(answer, "query.dead_letters.replays.max");
    free(answer);
    answer = post(site, DLQ, "application/json", "{}");
    expect_in(answer, "HTTP/1.1 409");
    free(answer);
    json_decref(get_json(site, "/dead-letters/" DLQ));
    assert_true(one_replay_runs(NULL)); /* all the while */
    assert_true(
        site_metric("millrace_query_desk_refused_total{desk=\"kafka\",reason=\"replays\"} ") == 1);
    assert_true(site_metric("millrace_query_desk_wait_seconds_count{desk=\"kafka\"} ") >= 4);
    assert_true(site_metric("millrace_query_desk_waiting{desk=\"kafka\"} ") == 0);
    rd_kafka_mock_clear_request_errors(site->mock.cluster, INIT_PRODUCER_ID);
    client_await_end(first);
    expect_in(first->text.data, "\"sent\":9");
    client_close(first);
    answer = post(site, other, "application/json", "{}");
    expect_in(answer, "HTTP/1.1 200");
    free(answer);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages__newest_first__each_letter_once_whatever_comes_meanwhile),
        cmocka_unit_test(test_pages__few_are_wanted__short_pages_lead_there),
        cmocka_unit_test(test_pages__large_values__are_read_in_smaller_runs),
        cmocka_unit_test(test_filter__each_way_to_choose),
        cmocka_unit_test(test_requests__that_make_no_sense__say_what_is_wrong),
        cmocka_unit_test(test_letter__is_shown_with_all_that_it_is),
        cmocka_unit_test(test_topics__of_dead_letters__are_those_that_are_named_so),
        cmocka_unit_test(test_replay__off_unless_it_is_allowed),
        cmocka_unit_test(test_replay__sends_what_was_asked_for__and_says_what_not),
        cmocka_unit_test(test_replay__bodies_that_make_no_sense__send_nothing),
        cmocka_unit_test(test_replay__two_of_a_topic_at_once__one_is_turned_away),
        cmocka_unit_test(test_replays_max__further_ones_come_back__other_questions_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
