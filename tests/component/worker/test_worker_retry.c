/* What is refused for a reason that may pass: into a topic, and back when it is due. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

#define JOIN "{\"join\": {\"table\": \"rows\", \"on\": \"/id\", \"set\": {\"name\": \"/name\"}}}"
#define RETRIED(steps, sides, delays)                                                              \
    "{\"source\": " SOURCE("in") ", \"tables\": {\"rows\": {\"topic\": \"rows\"}},"                \
                                 " \"steps\": [" JOIN steps                                        \
                                 "], \"output\": {\"topic\": \"out\"}, " sides ","                 \
                                 " \"retry\": {\"delays\": [" delays "]}}"
#define DEAD_LETTER "\"dead_letter\": {\"topic\": \"dlq\"}"
/* The first few come soon; the others are for a row that comes late because the machine is slow. */
#define EIGHT_TIMES "\"300ms\",\"300ms\",\"300ms\",\"300ms\",\"1s\",\"3s\",\"10s\",\"30s\""

#define IN_PLACE(waits)                                                                            \
    "{\"source\": " SOURCE("in") ", \"tables\": {\"rows\": {\"topic\": \"rows\"}},"                \
                                 " \"steps\": [" JOIN                                              \
                                 "], \"output\": {\"topic\": \"out\"}," DEAD_LETTER                \
                                 ", \"retry\": {\"in_place\": [" waits "]}}"
#define ERRORS(policies)                                                                           \
    "{\"source\": " SOURCE("in") ", \"tables\": {\"rows\": {\"topic\": \"rows\"}},"                \
                                 " \"steps\": [" JOIN                                              \
                                 "], \"output\": {\"topic\": \"out\"}," DEAD_LETTER                \
                                 ", \"errors\": {" policies "}}"

static const char *const patient_text = IN_PLACE(EIGHT_TIMES);
static const char *const brief_text = IN_PLACE("\"1ms\",\"5ms\"");
static const char *const patient_merge_text =
    "{\"sources\": " BOTH ", \"tables\": {\"rows\": {\"topic\": \"rows\"}}, \"flows\": {"
    "\"counts\": {\"from\": [\"left\", \"right\"], \"steps\": [" JOIN "," COUNT "],"
    " \"output\": {\"topic\": \"copy\"}}}, " SIDES ", \"retry\": {\"in_place\": [" EIGHT_TIMES
    "]}}";
static const char *const join_text = RETRIED("", DEAD_LETTER, EIGHT_TIMES);
static const char *const hopeless_text = RETRIED("", DEAD_LETTER, "\"1ms\",\"5ms\"");
static const char *const count_text = RETRIED("," COUNT, SIDES, EIGHT_TIMES);

static void feed_row(struct fixture *f, const char *key)
{
    feed(f, "rows", key, "{\"name\":\"Caesar\"}");
    assert_err(ERR_OK, kafka_producer_flush(f->feeder, 20000));
}

/* All records refused once, then the row comes. */
static void wait_and_expect(struct fixture *f, size_t outputs)
{
    struct worker *worker = lone_worker_of(f);
    await_metric(f, "records_out_total", ",target=\"retry\"", RECORDS / 2);
    feed_row(f, "a");
    read_output(f, outputs);
    await_metric(f, "joined_total", "", RECORDS);
    assert_int_equal(0, (int)metric_of(f, "records_out_total", ",target=\"dead_letter\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f->fatal);
}

static void test_retry__row_comes_later__each_record_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, join_text, "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, RECORDS);
    wait_and_expect(&f, RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "joined_total", ""));
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    fixture_stop(&f);
}

/* The stage has a store: its retries are read by the task that has it. */
static void test_retry__before_a_store__counts_all(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, count_text, "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, RECORDS);
    wait_and_expect(&f, 2);
    assert_int_equal(RECORDS, (int)metric_of(&f, "joined_total", ""));
    fixture_stop(&f);
}

/* What an aborted transaction had already sent stays in the mock's retry topic, and is read from it:
 * that each record comes out once is asserted on real Kafka. */
static void test_retry__commit_refused__is_done_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, join_text, "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, RECORDS);
    for (int i = 0; i < 3; i++) {
        inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    }
    wait_and_expect(&f, RECORDS);
    assert_true(metric_of(&f, "aborts_total", "") > 0);
    fixture_stop(&f);
}

/* Of two records, the one that has a row comes out. */
static void test_retry__tries_are_over__is_a_dead_letter(void **state)
{
    (void)state;
    const struct {
        const char *text, *guarantee, *tries, *labels;
    } rows[] = {
        {hopeless_text, "exactly_once", "records_out_total", ",target=\"retry\""},
        {brief_text, "at_least_once", "waits_total", ""}, /* in place */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        fixture_start(&f, rows[i].text, rows[i].guarantee);
        feed_row(&f, "b");
        feed(&f, "in", "k", "{\"id\":\"nobody\",\"t\":1700000000000}");
        feed(&f, "in", "k", "{\"id\":\"b\",\"t\":1700000000000}");
        assert_err(ERR_OK, kafka_producer_flush(f.feeder, 20000));
        struct worker *worker = lone_worker_of(&f);
        await_metric(&f, "dead_letters_total", ",reason=\"reference-missing\"", 1);
        assert_int_equal(2, (int)metric_of(&f, rows[i].tries, rows[i].labels));
        read_output(&f, 1);
        assert_err(ERR_OK, worker_stop(worker, 20000));
        assert_err(ERR_OK, f.fatal);
        fixture_stop(&f);
    }
}

/* What waits, waits in Kafka. */
static void test_retry__restart_meanwhile__goes_on_waiting(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, join_text, "at_least_once");
    feed(&f, "in", "k", "{\"id\":\"a\",\"t\":1700000000000}");
    assert_err(ERR_OK, kafka_producer_flush(f.feeder, 20000));
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_out_total", ",target=\"retry\"", 1);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    feed_row(&f, "a");
    worker = worker_of(&f, NULL);
    read_output(&f, 1);
    assert_non_null(strstr(f.last, "\"name\":\"Caesar\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* --- where it is ----------------------------------------------------------------------------------------- */

/* In each partition, numbers come for the first time in the order of the inputs. (What an aborted
 * transaction had sent stays in the mock's topic, and comes again.) */
static void order_check(const rd_kafka_message_t *message, bool seen[], int64_t last[],
                        size_t *count)
{
    CLEANUP(json_decrefp) json_t *row = json_loadb(message->payload, message->len, 0, NULL);
    int64_t number = json_integer_value(json_object_get(row, "n"));
    assert_in_range(number, 1, RECORDS);
    if (!seen[number]) {
        assert_true(number > last[message->partition]);
        last[message->partition] = number;
        seen[number] = true;
        (*count)++;
    }
}

static void expect_order(struct fixture *f)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US, last[PARTITIONS] = {0};
    bool seen[RECORDS + 1] = {false};
    size_t count = 0;
    while (count < RECORDS && clock_mono_us() < deadline_us) {
        rd_kafka_message_t *messages[100];
        size_t got = kafka_tail_poll(f->tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            order_check(messages[i], seen, last, &count);
            rd_kafka_message_destroy(messages[i]);
        }
    }
    assert_int_equal(RECORDS, count);
}

/* Each second record has no row: nothing behind one of them comes out before it. */
static void test_in_place__row_comes_later__order_is_kept(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, patient_text, "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, RECORDS);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "waits_total", "", 1);
    feed_row(&f, "a");
    expect_order(&f);
    await_metric(&f, "joined_total", "", RECORDS);
    assert_int_equal(0, (int)metric_of(&f, "records_out_total", ",target=\"dead_letter\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* Two topics whose records meet: the task reads them in order. */
static void test_in_place__of_an_ordered_task__all_its_inputs_wait(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, patient_merge_text, "exactly_once");
    feed_times(&f, "left", 20, 0, 10);
    feed_times(&f, "right", 20, 5, 10);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "waits_total", "", 1);
    assert_int_equal(0, (int)metric_of(&f, "records_in_total", ""));
    for (char key[] = "a"; key[0] <= 'h'; key[0]++) {
        feed_row(&f, key);
    }
    await_metric(&f, "joined_total", "", 40);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

/* --- what is said of it ------------------------------------------------------------------------------------ */

static void test_errors__skip__is_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, ERRORS("\"process\": \"skip\""), "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, RECORDS);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS / 2,
                     (int)metric_of(&f, "skipped_total", ",reason=\"reference-missing\""));
    assert_int_equal(0, (int)metric_of(&f, "records_out_total", ",target=\"dead_letter\""));
    assert_int_equal(RECORDS / 2, (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_errors__fail__the_worker_ends(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, ERRORS("\"process\": \"fail\""), "exactly_once");
    feed_row(&f, "b");
    feed_records(&f, 2);
    struct worker *worker = lone_worker_of(&f);
    await_fatal(&f);
    assert_err(ERR_RECORD_REFUSED, f.fatal);
    assert_int_equal(0, (int)metric_of(&f, "records_out_total", ",target=\"dead_letter\""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

static void test_retry__topic_has_too_few_partitions__is_fatal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, hopeless_text, "exactly_once");
    static const char *const topics[] = {"rows", "out", "dlq", "in.retry.1", "in.retry.2"};
    expect_partitions_refused(&f, topics, ARRAY_LEN(topics), "in");
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry__row_comes_later__each_record_once),
        cmocka_unit_test(test_retry__before_a_store__counts_all),
        cmocka_unit_test(test_retry__commit_refused__is_done_again),
        cmocka_unit_test(test_retry__tries_are_over__is_a_dead_letter),
        cmocka_unit_test(test_retry__restart_meanwhile__goes_on_waiting),
        cmocka_unit_test(test_in_place__row_comes_later__order_is_kept),
        cmocka_unit_test(test_in_place__of_an_ordered_task__all_its_inputs_wait),
        cmocka_unit_test(test_errors__skip__is_counted),
        cmocka_unit_test(test_errors__fail__the_worker_ends),
        cmocka_unit_test(test_retry__topic_has_too_few_partitions__is_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
