/* What is sent back, and with what, on librdkafka's mock. It forgets the offsets of a transaction: that
 * no run repeats another is asserted on real Kafka. */
#include "replay/replay.h"

#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_tail.h"
#include "mock_kafka.h"
#include "test.h"

#define READ_MS 20000

struct fixture {
    struct mock_kafka mock;
    struct kafka_producer *feeder;
    struct kafka_tail *tail;
    struct replay_params params;
    size_t told[REPLAY_OUTCOMES];
};

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        assert_err(ERR_OK, reports[i].err);
    }
}

static void on_letter(void *context, const struct replay_letter *letter,
                      enum replay_outcome outcome, const char *target)
{
    struct fixture *f = context;
    assert_true(letter->message != NULL);
    assert_int_equal(outcome == REPLAY_SENT && f->params.action != REPLAY_DISCARD, target != NULL);
    f->told[outcome]++;
}

static void fixture_start(struct fixture *f)
{
    *f = (struct fixture){.mock = mock_kafka_start(1)};
    struct err_info info = {0};
    mock_kafka_topic(&f->mock, "orders", 4);
    mock_kafka_topic(&f->mock, "others", 1);
    mock_kafka_topic(&f->mock, "dlq", 2);
    const struct kafka_producer_params feeder = {.config = &f->mock.config,
                                                 .role = KAFKA_ROLE_PRODUCER_ACKED,
                                                 .on_reports = on_reports,
                                                 .label = "feeder"};
    assert_err(ERR_OK, kafka_producer_new(&feeder, &f->feeder, &info));
    assert_err(ERR_OK, kafka_producer_await_metadata(f->feeder, READ_MS, &info));
    const struct kafka_tail_params tail = {
        .config = &f->mock.config, .read_uncommitted = true, .fetch_wait_ms = 20, .label = "check"};
    assert_err(ERR_OK, kafka_tail_new(&tail, &f->tail, &info));
    for (int32_t p = 0; p < 4; p++) {
        const struct kafka_position at = {"orders", p, KAFKA_EARLIEST};
        assert_err(ERR_OK, kafka_tail_add(f->tail, &at, 1, &info));
    }
    f->params = (struct replay_params){.kafka = &f->mock.config,
                                       .topic = "dlq",
                                       .target = "",
                                       .group = "",
                                       .filter = {.partition = -1},
                                       .replays_max = 3,
                                       .on_letter = on_letter,
                                       .context = f};
}

static void fixture_stop(struct fixture *f)
{
    kafka_tail_free(f->tail);
    kafka_producer_free(f->feeder);
    mock_kafka_stop(&f->mock);
}

struct letter {
    const char *key, *value, *topic, *code, *replays;
};

static void feed(struct fixture *f, const struct letter *letter)
{
    struct err_info info = {0};
    const struct kafka_header headers[] = {
        {SV("traceparent"), SV("t-1")},
        {SV("__streams.errors.exception"), sv(letter->code)},
        {SV("millrace-error-code"), sv(letter->code)},
        {SV("millrace-error-class"), SV("process")},
        {SV("millrace-reason-1"), SV("x")},
        {SV("__streams.errors.partition"), SV("2")},
        {SV("__streams.errors.topic"), sv(letter->topic ? letter->topic : "")},
        {SV("millrace-replay"), sv(letter->replays ? letter->replays : "")},
    };
    struct kafka_record record = {.topic = "dlq",
                                  .partition = -1,
                                  .key = letter->key ? sv(letter->key) : (struct strview){0},
                                  .value = letter->value ? sv(letter->value) : (struct strview){0},
                                  .headers = headers,
                                  .header_count = letter->replays ? 8
                                                  : letter->topic ? 7
                                                                  : 6};
    assert_err(ERR_OK, kafka_producer_send(f->feeder, &record, &info));
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, READ_MS));
}

static enum err run(struct fixture *f, struct replay_counts *ret)
{
    struct replay *replay = NULL;
    struct err_info info = {0};
    bool is_done = false;
    enum err e = replay_new(&f->params, &replay, &info);
    while (!e && !is_done) {
        e = replay_step(replay, &is_done, &info);
    }
    if (e) {
        print_message("%s\n", info.text);
    } else {
        *ret = replay_counts(replay);
        assert_int_equal(0, replay_left(replay));
    }
    replay_free(replay);
    return e;
}

/* The next record of `orders`; the caller's. */
static rd_kafka_message_t *read_one(struct fixture *f)
{
    rd_kafka_message_t *message = NULL;
    int64_t deadline_us = clock_mono_us() + READ_MS * 1000;
    while (kafka_tail_poll(f->tail, &message, 1, 100) == 0) { /* events end a poll, too */
        assert_true(clock_mono_us() < deadline_us);
    }
    return message;
}

static struct strview header_of(const rd_kafka_message_t *message, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t bytes;
    if (rd_kafka_message_headers(message, &headers) ||
        rd_kafka_header_get_last(headers, name, &value, &bytes)) {
        return (struct strview){NULL, 0};
    }
    return sv_of(value, bytes);
}

static void test_replay__letter__goes_back_as_it_was(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts;
    fixture_start(&f);
    feed(&f, &(struct letter){"k", "{\"a\":1}", "orders", "script", "1"});
    assert_err(ERR_OK, run(&f, &counts));
    assert_int_equal(1, counts.outcomes[REPLAY_SENT]);
    rd_kafka_message_t *message = read_one(&f);
    assert_true(sv_equal(SV("k"), sv_of(message->key, message->key_len)));
    assert_true(sv_equal(SV("{\"a\":1}"), sv_of(message->payload, message->len)));
    assert_true(sv_equal(SV("t-1"), header_of(message, "traceparent")));
    assert_true(sv_equal(SV("2"), header_of(message, "millrace-replay")));
    rd_kafka_headers_t *headers;
    assert_int_equal(0, rd_kafka_message_headers(message, &headers));
    assert_int_equal(2, rd_kafka_header_cnt(headers));
    rd_kafka_message_destroy(message);
    fixture_stop(&f);
}

static void test_replay__no_key__goes_to_its_partition(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts;
    fixture_start(&f);
    for (int i = 0; i < 5; i++) {
        feed(&f, &(struct letter){NULL, "{}", "orders", "script", NULL});
    }
    assert_err(ERR_OK, run(&f, &counts));
    for (int i = 0; i < 5; i++) {
        rd_kafka_message_t *message = read_one(&f);
        assert_int_equal(2, message->partition);
        assert_null(message->key);
        rd_kafka_message_destroy(message);
    }
    fixture_stop(&f);
}

static void test_replay__what_cannot_go_back__is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts;
    fixture_start(&f);
    feed(&f, &(struct letter){"worn", "{}", "orders", "script", "3"});
    feed(&f, &(struct letter){"odd", "{}", "orders", "script", "many"});
    feed(&f, &(struct letter){"nowhere", "{}", NULL, "script", NULL});
    feed(&f, &(struct letter){"gone", "{}", "no-such-topic", "script", NULL});
    feed(&f, &(struct letter){"itself", "{}", "dlq", "script", NULL});
    feed(&f, &(struct letter){"cut", NULL, "orders", "record-too-large", NULL});
    feed(&f, &(struct letter){"deletion", NULL, "orders", "body-empty", NULL});
    assert_err(ERR_OK, run(&f, &counts));
    assert_int_equal(2, counts.outcomes[REPLAY_WORN]);
    assert_int_equal(3, counts.outcomes[REPLAY_UNPLACED]);
    assert_int_equal(1, counts.outcomes[REPLAY_INCOMPLETE]);
    assert_int_equal(1, counts.outcomes[REPLAY_SENT]);
    assert_int_equal(7, counts.read);
    for (int i = 0; i < REPLAY_OUTCOMES; i++) {
        assert_int_equal(counts.outcomes[i], f.told[i]);
    }
    rd_kafka_message_t *message = read_one(&f);
    assert_null(message->payload); /* it was a deletion */
    rd_kafka_message_destroy(message);
    fixture_stop(&f);
}

static void test_replay__filters__each_counts(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f);
    feed(&f, &(struct letter){"a", "{}", "orders", "script", NULL});
    feed(&f, &(struct letter){"b", "{}", "orders", "condition", NULL});
    f.params.action = REPLAY_SHOW;
    const struct {
        struct replay_filter filter;
        int sent;
    } rows[] = {
        {{.partition = -1}, 2},
        {{.partition = -1, .code = "script"}, 1},
        {{.partition = -1, .class = "process"}, 2},
        {{.partition = -1, .class = "validate"}, 0},
        {{.partition = -1, .key = "b"}, 1},
        {{.partition = -1, .key = "b", .code = "script"}, 0},
        {{.partition = -1, .step = "/steps/0"}, 0},
        {{.partition = -1, .header = "traceparent"}, 2},
        {{.partition = -1, .header = "traceparent=t-1"}, 2},
        {{.partition = -1, .header = "traceparent=t-2"}, 0},
        {{.partition = -1, .header = "tracestate"}, 0},
        {{.partition = -1, .topic = "orders"}, 2},
        {{.partition = -1, .topic = "others"}, 0},
        {{.partition = -1, .pipeline = "copying"}, 0},
        {{.partition = -1, .text = "{}"}, 2},
        {{.partition = -1, .text = "a"}, 1},
        {{.partition = -1, .text = "nowhere"}, 0},
        {{.partition = -1, .from_ms = 1000}, 2},
        {{.partition = -1, .to_ms = 1000}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct replay_counts counts = {0};
        f.params.filter = rows[i].filter;
        assert_err(ERR_OK, run(&f, &counts));
        assert_int_equal(rows[i].sent, counts.outcomes[REPLAY_SENT]);
        assert_int_equal(2 - rows[i].sent, counts.outcomes[REPLAY_UNWANTED]);
    }
    fixture_stop(&f);
}

static void test_replay__to_a_target__count_and_discard(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts = {0};
    fixture_start(&f);
    for (int i = 0; i < 5; i++) {
        feed(&f, &(struct letter){"k", "{}", NULL, "script", NULL});
    }
    f.params.target = "orders";
    f.params.count_max = 2;
    f.params.rate = 1000;
    struct replay *replay = NULL;
    struct err_info info = {0};
    bool is_done = false;
    assert_err(ERR_OK, replay_new(&f.params, &replay, &info));
    while (!is_done) {
        assert_err(ERR_OK, replay_step(replay, &is_done, &info));
        assert_in_range(replay_wait_ms(replay), 0, 3);
    }
    assert_int_equal(2, replay_counts(replay).outcomes[REPLAY_SENT]);
    replay_free(replay);
    rd_kafka_message_destroy(read_one(&f));
    rd_kafka_message_destroy(read_one(&f));
    f.params.count_max = 0;
    f.params.action = REPLAY_DISCARD;
    assert_err(ERR_OK, run(&f, &counts));
    rd_kafka_message_t *message;
    assert_int_equal(0, kafka_tail_poll(f.tail, &message, 1, 100));
    fixture_stop(&f);
}

/* As an earlier run would have left it, of partition 0. */
static void commit(struct fixture *f, int64_t offset, const char *metadata)
{
    rd_kafka_conf_t *conf;
    struct err_info info = {0};
    char why[256];
    assert_err(ERR_OK, kafka_conf_new(&f->mock.config, KAFKA_ROLE_CONSUMER_TAIL, &conf, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "group.id", "replay-dlq", &info));
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    assert_non_null(client);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *element = rd_kafka_topic_partition_list_add(list, "dlq", 0);
    element->offset = offset;
    element->metadata = strdup(metadata);
    element->metadata_size = strlen(metadata);
    assert_int_equal(0, rd_kafka_commit(client, list, 0));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
}

static void test_replay__what_an_earlier_run_noted_down__counts(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts;
    fixture_start(&f);
    for (int i = 0; i < 6; i++) { /* all in partition 0 */
        feed(&f, &(struct letter){"a", "{}", "orders", "script", NULL});
    }
    f.params.action = REPLAY_SHOW;
    assert_err(ERR_OK, run(&f, &counts));
    assert_int_equal(6, counts.outcomes[REPLAY_SENT]);
    commit(&f, 1, "rAQI="); /* below 1 all, then 1 is not dealt with, 2 and 3 are */
    assert_err(ERR_OK, run(&f, &counts));
    assert_int_equal(3, counts.outcomes[REPLAY_SENT]);
    assert_int_equal(2, counts.outcomes[REPLAY_BEFORE]);
    commit(&f, 1, "not ours");
    assert_err(ERR_STATE, run(&f, &counts));
    commit(&f, 100, ""); /* the topic was made anew since */
    assert_err(ERR_STATE, run(&f, &counts));
    fixture_stop(&f);
}

static void test_replay__into_itself__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct replay_counts counts;
    fixture_start(&f);
    f.params.target = "dlq";
    assert_err(ERR_CONFIG, run(&f, &counts));
    f.params.target = "";
    f.params.topic = "";
    assert_err(ERR_CONFIG, run(&f, &counts));
    f.params.topic = "no-such-topic";
    assert_err(ERR_TOPIC_UNKNOWN, run(&f, &counts));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__letter__goes_back_as_it_was),
        cmocka_unit_test(test_replay__no_key__goes_to_its_partition),
        cmocka_unit_test(test_replay__what_cannot_go_back__is_told),
        cmocka_unit_test(test_replay__filters__each_counts),
        cmocka_unit_test(test_replay__to_a_target__count_and_discard),
        cmocka_unit_test(test_replay__what_an_earlier_run_noted_down__counts),
        cmocka_unit_test(test_replay__into_itself__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
