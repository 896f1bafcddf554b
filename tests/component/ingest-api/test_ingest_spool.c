/* ingest-api with a spool, against a mock broker that goes away and comes back: what was answered 202
 * or 201 is in Kafka in the end, in the order of the answers. One worker, so that all requests share
 * its order. */
#include "ingest_fixture.h"

#include <unistd.h>

#define EVENTS_MAX 1000

static char folder[64];
static char folder_flag[96];

static int start_with(void **state, const char *const *more)
{
    const char *flags[FIXTURE_ARGUMENTS_MAX] = {
        folder_flag, "--http.threads=1", "--spool.after=300ms",
        /* what was on the wire is not spooled, but refused */
        "--kafka.message.timeout.ms=5000"};
    size_t count = 4;
    for (; more && *more; more++) {
        flags[count++] = *more;
    }
    return fixture_start(state, NULL, flags);
}

static int folder_make(void)
{
    strcpy(folder, "/tmp/millrace-spool-XXXXXX");
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(folder_flag, sizeof folder_flag, "--spool.dir=%s", folder);
    return 0;
}

static int start(void **state)
{
    return folder_make() ? -1 : start_with(state, NULL);
}

static int start_small(void **state)
{
    return folder_make()
               ? -1
               : start_with(state, (const char *const[]){"--spool.bytes.max=64KiB",
                                                         "--spool.segment.bytes=8KiB", NULL});
}

static int stop(void **state)
{
    int code = fixture_stop(state);
    char command[96];
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) ? -1 : code;
}

static void broker_down(const struct fixture *fixture)
{
    assert_int_equal(0, rd_kafka_mock_broker_set_down(fixture->kafka.cluster, 1));
}

static void broker_up(const struct fixture *fixture)
{
    assert_int_equal(0, rd_kafka_mock_broker_set_up(fixture->kafka.cluster, 1));
}

/* Posts {"n":n}; the status. 503 may come for what was on the wire when the broker went. */
static long post_n(const struct fixture *fixture, int n)
{
    char body[64];
    (void)snprintf(body, sizeof body, "{\"n\":%d}", n);
    struct http_answer answer = post(fixture, "/events/clicks?key=k", body);
    const long status = answer.status;
    if (status == 202) {
        assert_string_equal("spooled", member(&answer, "status"));
        assert_string_equal("spool", member(&answer, "durable"));
        assert_true(json_is_true(json_object_get(answer.json, "synced")));
    } else if (status != 201 && status != 503) {
        fail_msg("%d: %ld %s", n, status, answer.body);
    }
    http_answer_free(&answer);
    return status;
}

/* Events by number, with those that were acknowledged, in the order of the answers. */
struct posted {
    int n; /* the next one's */
    int acknowledged[EVENTS_MAX];
    size_t count;
};

static long post_next(const struct fixture *fixture, struct posted *posted)
{
    assert_true(posted->n < EVENTS_MAX);
    const long status = post_n(fixture, posted->n);
    if (status != 503) {
        posted->acknowledged[posted->count++] = posted->n;
    }
    posted->n++;
    return status;
}

/* Posts until one is answered 201. Before it there may be 202s: on a slow machine an event waits for
 * spool.after, and with all of the spool replayed the worker leaves it only when it is sure. */
static void post_until_stored(const struct fixture *fixture, struct posted *posted)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (post_next(fixture, posted) != 201) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 50); /* the numbers are bounded */
    }
}

static char *metrics_text(const struct fixture *fixture)
{
    struct http_answer answer = http_call(fixture->port, "/metrics", NULL, 0, NULL);
    char *text = strdup(answer.body);
    http_answer_free(&answer);
    return text;
}

static double metric_of(const struct fixture *fixture, const char *name)
{
    char line[96];
    char *text = metrics_text(fixture);
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    const double value = at ? strtod(at + strlen(line), NULL) : -1;
    free(text);
    return value;
}

static void await_drained(const struct fixture *fixture)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (metric_of(fixture, "millrace_spool_records") != 0 ||
           metric_of(fixture, "millrace_spool_bytes") != 0) {
        if (clock_mono_us() > deadline_us) {
            char *text = metrics_text(fixture);
            fail_msg("not drained:\n%s", text);
        }
        (void)poll(NULL, 0, 10);
    }
}

/* Reads clicks until it has given `count` different events: their order, the repeats left out by
 * their spool id. */
static void read_events(const struct fixture *fixture, int *events, size_t count)
{
    static bool seen[EVENTS_MAX];
    memset(seen, 0, sizeof seen);
    size_t found = 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "clicks", 0)->offset = 0;
    assert_int_equal(0, rd_kafka_assign(fixture->reader, list));
    rd_kafka_topic_partition_list_destroy(list);
    while (found < count) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(fixture->reader, 20000);
        assert_non_null(record);
        assert_int_equal(0, record->err);
        int n = -1;
        (void)sscanf((const char *)record->payload, "{\"n\":%d}", &n);
        assert_true(n >= 0 && n < EVENTS_MAX);
        assert_true(sv_equal(SV("k"), record_key(record)));
        if (!seen[n]) {
            events[found++] = n;
        } else {
            assert_non_null(record_header(record, "millrace-spool-id").ptr);
        }
        seen[n] = true;
        rd_kafka_message_destroy(record);
    }
}

/* Every event that was acknowledged, in the order of the answers; the others may be there or not. */
static void assert_order(const struct fixture *fixture, const int *acknowledged, size_t count)
{
    int events[EVENTS_MAX];
    read_events(fixture, events, count);
    size_t next = 0;
    for (size_t i = 0; i < count && next < count; i++) {
        next += events[i] == acknowledged[next];
    }
    /* Unknown ones among the first `count` push the last ones out: read on for those. */
    if (next < count) {
        const size_t more = count + (count - next);
        read_events(fixture, events, more);
        next = 0;
        for (size_t i = 0; i < more && next < count; i++) {
            next += events[i] == acknowledged[next];
        }
    }
    assert_int_equal(count, next);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_kafka_away__spooled_then_replayed_in_order(void **state)
{
    const struct fixture *fixture = *state;
    struct posted posted = {0};
    post_until_stored(fixture, &posted);
    await_drained(fixture);
    broker_down(fixture);
    while (post_next(fixture, &posted) != 202) {
        /* one more may still be stored, and one be refused: it was on the wire */
        assert_true(posted.n < 100);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(202, post_next(fixture, &posted));
    }
    assert_int_equal(51, metric_of(fixture, "millrace_spool_records"));
    struct http_answer health = http_call(fixture->port, "/health", NULL, 0, NULL);
    assert_non_null(strstr(health.body, "51 events wait"));
    http_answer_free(&health);
    await_ready(fixture->port); /* Kafka is no reason to be unready */
    broker_up(fixture);
    await_drained(fixture);
    post_until_stored(fixture, &posted);
    assert_order(fixture, posted.acknowledged, posted.count);
}

/* The broker comes and goes while one client posts on and on. */
static void test_kafka_comes_and_goes__order_is_kept(void **state)
{
    const struct fixture *fixture = *state;
    struct posted posted = {0};
    int spooled = 0, stored = 0;
    for (int round = 0; round < 3; round++) {
        for (int phase = 0; phase < 2; phase++) {
            const int wanted = phase ? stored + 20 : spooled + 20;
            (phase ? broker_up : broker_down)(fixture);
            const int64_t deadline_us = clock_mono_us() + WAIT_US;
            while ((phase ? stored : spooled) < wanted) {
                const long status = post_next(fixture, &posted);
                spooled += status == 202;
                stored += status == 201;
                assert_true(clock_mono_us() < deadline_us);
                if (phase) {
                    (void)poll(NULL, 0, 10); /* as many events as the test has room for */
                }
            }
        }
    }
    await_drained(fixture);
    assert_order(fixture, posted.acknowledged, posted.count);
}

/* Events of one request that wait in the producer when Kafka goes keep the request's order. */
static void test_batch_in_the_queue__is_spooled_in_its_order(void **state)
{
    const struct fixture *fixture = *state;
    struct buf body;
    buf_init(&body, 1 << 16);
    assert_err(ERR_OK, buf_append(&body, "[", 1));
    for (int n = 0; n < 80; n++) {
        assert_err(ERR_OK, buf_printf(&body, "%s{\"n\":%d}", n ? "," : "", n));
    }
    assert_err(ERR_OK, buf_append(&body, "]", 2));
    broker_down(fixture);
    struct http_answer answer =
        post_as(fixture, "/events/clicks?key=k&timestamp=1795244970131&partition=0",
                JSON_TYPE "\nX-Request-Id: lines-80", body.data);
    buf_free(&body);
    if (answer.status != 202) {
        fail_msg("%ld %s", answer.status, answer.body);
    }
    assert_int_equal(80, number(answer.json, "spooled"));
    assert_int_equal(0, number(answer.json, "stored"));
    assert_int_equal(80, json_array_size(json_object_get(answer.json, "results")));
    http_answer_free(&answer);
    broker_up(fixture);
    await_drained(fixture);
    int events[80];
    read_events(fixture, events, 80);
    for (int n = 0; n < 80; n++) {
        assert_int_equal(n, events[n]);
    }
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, 79);
    rd_kafka_timestamp_type_t type;
    assert_int_equal(1795244970131, rd_kafka_message_timestamp(record, &type));
    assert_sv("lines-80", record_header(record, "millrace-request-id"));
    assert_non_null(record_header(record, "millrace-ingest-time").ptr);
    assert_true(record_header(record, "millrace-spool-id").len > 17);
    rd_kafka_message_destroy(record);
}

static void test_full__503_and_unready_until_there_is_room(void **state)
{
    const struct fixture *fixture = *state;
    char *body = malloc(4096);
    (void)snprintf(body, 4096, "{\"n\":0,\"fill\":\"%0*d\"}", 4000, 0);
    broker_down(fixture);
    struct http_answer answer = {0};
    int taken = 0;
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    do {
        http_answer_free(&answer);
        answer = post(fixture, "/events/clicks?key=k", body);
        taken += answer.status == 202;
        assert_true(clock_mono_us() < deadline_us);
    } while (strcmp(member(&answer, "code"), "spool-full") != 0);
    assert_int_equal(503, answer.status);
    assert_true(atoi(answer.retry_after) >= 1);
    http_answer_free(&answer);
    assert_true(taken >= 10);
    answer = http_call(fixture->port, "/health/ready", NULL, 0, NULL);
    assert_int_equal(503, answer.status);
    assert_non_null(strstr(answer.body, "full: "));
    http_answer_free(&answer);
    broker_up(fixture);
    await_drained(fixture);
    await_ready(fixture->port);
    answer = (struct http_answer){0};
    do { /* the worker leaves the spool only when it is sure */
        http_answer_free(&answer);
        answer = post(fixture, "/events/clicks?key=k", body);
        taken += answer.status == 202;
        await_drained(fixture);
    } while (answer.status == 202);
    assert_int_equal(201, answer.status);
    assert_true(number(answer.json, "offset") >= taken); /* all of them came before */
    http_answer_free(&answer);
    free(body);
}

/* A process ends with a spool that is not empty; the next one, with another Kafka, replays it before
 * anything new. */
static void test_restart__replays_what_was_left(void **state)
{
    struct fixture *fixture = *state;
    broker_down(fixture);
    for (int n = 0; n < 30; n++) {
        assert_int_equal(202, post_n(fixture, n));
    }
    assert_int_equal(0, fixture_stop(state));
    assert_int_equal(0, start_with(state, NULL));
    fixture = *state;
    for (int n = 30; n < 40; n++) {
        assert_int_not_equal(503, post_n(fixture, n));
    }
    await_drained(fixture);
    int events[40];
    read_events(fixture, events, 40);
    for (int n = 0; n < 40; n++) {
        assert_int_equal(n, events[n]);
    }
}

/* Kafka is away, and the worker has seen it. */
static void spool_on(const struct fixture *fixture, struct posted *posted)
{
    post_until_stored(fixture, posted);
    await_drained(fixture);
    broker_down(fixture);
    while (post_next(fixture, posted) != 202) {
        assert_true(posted->n < 100);
    }
}

static struct http_answer post_once(const struct fixture *fixture)
{
    return post_as(fixture, "/events/orders", JSON_TYPE "\nIdempotency-Key: kept", ORDER("k", "1"));
}

static int64_t orders_stored(const struct fixture *fixture)
{
    return partition_end(fixture, "orders", 0) + partition_end(fixture, "orders", 1) +
           partition_end(fixture, "orders", 2);
}

/* What was spooled is remembered as such: the same answer to the same request, before Kafka is back and
 * after, and one record. */
static void test_idempotency_key__spooled__told_again_and_stored_once(void **state)
{
    const struct fixture *fixture = *state;
    struct posted posted = {0};
    spool_on(fixture, &posted);
    const double before = metric_of(fixture, "millrace_spool_records");
    struct http_answer first = post_once(fixture);
    assert_answer("first", &first, 202, "spooled");
    assert_string_equal("", first.replayed);
    for (int round = 0; round < 2; round++) {
        struct http_answer again = post_once(fixture);
        assert_answer("again", &again, 202, "spooled");
        assert_string_equal("true", again.replayed);
        assert_string_equal(first.body, again.body);
        http_answer_free(&again);
        if (round == 0) {
            assert_true(before + 1 == metric_of(fixture, "millrace_spool_records"));
            broker_up(fixture);
            await_drained(fixture);
            post_until_stored(fixture, &posted);
        }
    }
    http_answer_free(&first);
    assert_int_equal(1, orders_stored(fixture));
}

/* Each API's way in: what is spooled is told in its own shape, and is in Kafka in the end. */
static void test_every_way_in__is_spooled(void **state)
{
    static const struct {
        const char *label, *path, *type, *body, *said, *value;
    } rows[] = {
        {"hasty", "/events/orders?hasty&partition=1", JSON_TYPE, ORDER("h", "1"),
         "\"status\":\"accepted\"", ORDER("h", "1")},
        {"lines", "/events/orders?partition=1", "Content-Type: application/x-ndjson",
         ORDER("l", "1"), "\"status\":\"spooled\"", ORDER("l", "1")},
        {"REST v2", "/topics/orders/partitions/1",
         "Content-Type: application/vnd.kafka.json.v2+json",
         "{\"records\":[{\"key\":\"k\",\"value\":" ORDER("r", "1") "}]}",
         "{\"offsets\":[{}],\"key_schema_id\":null,\"value_schema_id\":null}", ORDER("r", "1")},
    };
    const struct fixture *fixture = *state;
    struct posted posted = {0};
    spool_on(fixture, &posted);
    const double before = metric_of(fixture, "millrace_spool_records");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer answer = post_as(fixture, rows[i].path, rows[i].type, rows[i].body);
        if (answer.status != 202 || !strstr(answer.body, rows[i].said)) {
            fail_msg("%s: %ld %s", rows[i].label, answer.status, answer.body);
        }
        http_answer_free(&answer);
    }
    assert_true(before + ARRAY_LEN(rows) == metric_of(fixture, "millrace_spool_records"));
    broker_up(fixture);
    await_drained(fixture);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rd_kafka_message_t *record = record_at(fixture, "orders", 1, (int64_t)i);
        assert_sv(rows[i].value, record_value(record));
        assert_non_null(record_header(record, "millrace-spool-id").ptr);
        rd_kafka_message_destroy(record);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_kafka_away__spooled_then_replayed_in_order),
        TEST(test_kafka_comes_and_goes__order_is_kept),
        TEST(test_batch_in_the_queue__is_spooled_in_its_order),
        cmocka_unit_test_setup_teardown(test_full__503_and_unready_until_there_is_room, start_small,
                                        stop),
        TEST(test_restart__replays_what_was_left),
        TEST(test_idempotency_key__spooled__told_again_and_stored_once),
        TEST(test_every_way_in__is_spooled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
