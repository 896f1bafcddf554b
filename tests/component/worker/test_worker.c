#define _GNU_SOURCE /* memmem */

#include <unistd.h>

#include "worker_fixture.h"

static const char *const enrich_text =
    "{\"source\": {\"topic\": \"in\"}, \"tables\": {\"rows\": {\"topic\": \"rows\"}},"
    " \"steps\": [{\"require\": {\"field\": \"/n\", \">\": 0}},"
    "  {\"join\": {\"table\": \"rows\", \"on\": \"/id\", \"set\": {\"name\": \"/name\"}}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/id\"}, \"dead_letter\": {\"topic\": \"dlq\"}}";

static const char *const count_text =
    "{\"source\": {\"topic\": \"in\","
    "   \"timestamp\": {\"field\": \"/t\", \"format\": \"epoch-ms\"}},"
    " \"steps\": [{\"aggregate\": {\"by\": \"/id\", \"window\": {\"tumbling\": \"1h\", \"grace\": "
    "\"1h\"},"
    "   \"store\": {\"name\": \"windows\"}, \"emit\": [\"update\"],"
    "   \"result\": {\"id\": \"key\", \"count\": \"count\"}}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/id\"}, \"dead_letter\": {\"topic\": \"dlq\"},"
    " \"late\": {\"topic\": \"late\"}}";

/* %s: a file. */
static const char *const scripted_text =
    "{\"source\": {\"topic\": \"in\"}, \"tables\": {\"rows\": {\"file\": \"%s\", \"key\": "
    "\"/id\"}},"
    " \"steps\": [{\"set\": {\"items\": {\"array\": [\"/n\", {\"expr\": \"n * 10\"}]}}},"
    "  {\"flat_map\": {\"each\": \"/items\", \"as\": \"item\", \"keep\": [\"id\"]}},"
    "  {\"join\": {\"table\": \"rows\", \"on\": \"/id\", \"set\": {\"name\": \"/name\"}}},"
    "  {\"lua\": {\"script\": \"function process(e) e.item = e.item + 1 return e end\"}}],"
    " \"output\": {\"topic\": \"out\", \"key\": \"/name\"}, \"dead_letter\": {\"topic\": \"dlq\"}}";

/* --- tests ----------------------------------------------------------------------------------------------- */

static void test_process__each_record_once__with_row_and_headers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    run_and_expect(&f, RECORDS, 0, 0);
    assert_non_null(strstr(f.last, "\"name\":"));
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    fixture_stop(&f);
}

static void test_process__bad_records__are_dead_letters_and_the_flow_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed(&f, "in", "x", "not json");
    feed(&f, "in", "x", "{\"id\":\"a\",\"n\":0}");
    feed(&f, "in", "x", "{\"id\":\"nobody\",\"n\":1}");
    feed_records(&f, RECORDS - 3);
    run_and_expect(&f, RECORDS - 3, 0, 0);
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"json-syntax\""));
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"condition\""));
    assert_int_equal(1, (int)metric_of(&f, "dead_letters_total", ",reason=\"reference-missing\""));
    fixture_stop(&f);
}

/* Not passed over: nobody would know what was in it. */
static void test_process__batch_that_cannot_be_read__ends_the_worker(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "records_in_total", "", RECORDS);
    feed_unreadable(&f, "in");
    await_fatal(&f);
    assert_err(ERR_STATE, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    read_output(&f, RECORDS); /* what came before it stays */
    fixture_stop(&f);
}

static void test_join__row_published_after_loading__is_found(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    struct worker *worker = lone_worker_of(&f);
    await_ready(worker, "4 source partitions");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "joined_total", ""));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* A pipeline whose only table is a file's has no topic to read before it is ready, and one whose steps
 * make more records than they are given puts them all out. */
static void test_process__table_of_a_file_and_scripts__no_topic_is_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/millrace-worker-XXXXXX", text[1024];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char rows[] =
        "{\"id\":\"a\",\"name\":\"Anton\"}\n{\"id\":\"b\",\"name\":\"Berta\"}\n";
    assert_int_equal(sizeof rows - 1, write(fd, rows, sizeof rows - 1));
    (void)close(fd);
    (void)snprintf(text, sizeof text, scripted_text, path);
    fixture_start(&f, text, "exactly_once");
    assert_int_equal(0, unlink(path)); /* it was read when the pipeline was */
    feed(&f, "in", "x", "{\"id\":\"nobody\",\"n\":1}");
    feed_records(&f, RECORDS - 1);
    run_and_expect(&f, 2 * (RECORDS - 1), 0, 0);
    assert_non_null(strstr(f.last, "\"name\":"));
    assert_int_equal(2 * (RECORDS - 1),
                     (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    assert_int_equal(2, (int)metric_of(&f, "dead_letters_total", ",reason=\"reference-missing\""));
    fixture_stop(&f);
}

/* An error that the broker calls final for this transaction: aborted, read again. */
static void test_commit__group_refuses_offsets__is_aborted_and_done_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
    run_and_expect(&f, RECORDS, 1, 0);
    fixture_stop(&f);
}

static void test_commit__coordinator_is_busy__is_called_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, ADD_OFFSETS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS);
    inject(&f, TXN_OFFSETS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    run_and_expect(&f, RECORDS, 0, 0);
    fixture_stop(&f);
}

static void test_commit__producer_fenced__is_rebuilt_without_a_restart(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    run_and_expect(&f, RECORDS, 1, 1);
    fixture_stop(&f);
}

static void test_commit__not_authorized__is_treated_as_fatal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, END_TXN, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    run_and_expect(&f, RECORDS, 1, 1);
    fixture_stop(&f);
}

static void test_least__records_refused__are_sent_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "at_least_once");
    feed_rows(&f);
    feed_records(&f, RECORDS);
    inject(&f, PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct worker *worker = lone_worker_of(&f);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_true(metric_of(&f, "aborts_total", "") >= 1);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    read_output(&f, RECORDS); /* and maybe some of them twice */
    fixture_stop(&f);
}

static void test_broker__down_and_up__work_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    feed_rows(&f);
    feed_records(&f, RECORDS / 2);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", RECORDS / 2);
    rd_kafka_mock_broker_set_down(f.mock.cluster, 1);
    pause_ms(500);
    rd_kafka_mock_broker_set_up(f.mock.cluster, 1);
    feed_records(&f, RECORDS / 2);
    await_metric(&f, "records_in_total", "", RECORDS);
    await_ready(worker, NULL);
    assert_err(ERR_OK, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

static void test_rebalance__second_member__shares_and_hands_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "at_least_once"); /* the mock keeps these offsets */
    feed_rows(&f);
    struct worker *first = worker_of(&f, NULL);
    await_ready(first, "4 source partitions");
    struct worker *second = worker_of(&f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "2 source partitions");
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_err(ERR_OK, worker_stop(second, 20000));
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_restart__state_comes_back_from_the_changelog(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, count_text, "at_least_once");
    feed_records(&f, RECORDS);
    struct worker *worker = worker_of(&f, NULL);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));

    worker = worker_of(&f, NULL);
    await_ready(worker, "4 source partitions");
    assert_true(metric_of(&f, "restored_records_total", "") >= PARTITIONS);
    double before = metric_of(&f, "records_out_total", ",target=\"output\"");
    feed(&f, "in", "k0", "{\"id\":\"a\",\"n\":1,\"t\":1700000000000}");
    assert_err(ERR_OK, kafka_producer_flush(f.feeder, 20000));
    await_metric(&f, "records_in_total", "", RECORDS + 1);
    assert_int_equal((int)before + 1,
                     (int)metric_of(&f, "records_out_total", ",target=\"output\""));
    read_output(&f, (size_t)before + 1);
    assert_null(strstr(f.last, "\"count\":1}")); /* counts on, not anew */
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, f.fatal);
    fixture_stop(&f);
}

static void test_topics__missing__are_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, enrich_text, "exactly_once");
    struct mock_kafka empty = mock_kafka_start(1);
    struct kafka_config config = f.mock.config;
    f.mock.config.bootstrap_servers = empty.config.bootstrap_servers;
    struct worker *worker = worker_of(&f, NULL);
    char text[128];
    assert_false(worker_is_ready(worker, text, sizeof text));
    const char *const topics[] = {"in", "out", "dlq", "rows"};
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        mock_kafka_topic(&empty, topics[i], 1);
    }
    await_ready(worker, "1 source partitions");
    assert_err(ERR_OK, worker_stop(worker, 20000));
    f.mock.config = config;
    mock_kafka_stop(&empty);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__each_record_once__with_row_and_headers),
        cmocka_unit_test(test_process__bad_records__are_dead_letters_and_the_flow_goes_on),
        cmocka_unit_test(test_process__batch_that_cannot_be_read__ends_the_worker),
        cmocka_unit_test(test_join__row_published_after_loading__is_found),
        cmocka_unit_test(test_process__table_of_a_file_and_scripts__no_topic_is_waited_for),
        cmocka_unit_test(test_commit__group_refuses_offsets__is_aborted_and_done_again),
        cmocka_unit_test(test_commit__coordinator_is_busy__is_called_again),
        cmocka_unit_test(test_commit__producer_fenced__is_rebuilt_without_a_restart),
        cmocka_unit_test(test_commit__not_authorized__is_treated_as_fatal),
        cmocka_unit_test(test_least__records_refused__are_sent_again),
        cmocka_unit_test(test_broker__down_and_up__work_goes_on),
        cmocka_unit_test(test_rebalance__second_member__shares_and_hands_back),
        cmocka_unit_test(test_restart__state_comes_back_from_the_changelog),
        cmocka_unit_test(test_topics__missing__are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
