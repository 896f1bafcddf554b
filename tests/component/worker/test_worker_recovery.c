/* A producer that is lost while the group takes partitions away; a consumer that is fenced. */
#define _GNU_SOURCE /* memmem */

#include "worker_fixture.h"

#define JOIN_GROUP       11
#define HEARTBEAT        12
#define INIT_PRODUCER_ID 22
#define REFUSALS         1000 /* more than are asked for before they are taken back */
#define FORBIDDEN_MS     500
#define LOSSES_MAX       5 /* in a row: then the service ends */

static const char *const copy_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"copy\": {\"from\": \"in\", \"output\": {\"topic\": \"out\"}}}, "
          "\"dead_letter\": {\"topic\": \"dlq\"}}";

#define LONG_SESSION_MS                                                                            \
    "6000" /* long enough for the mock to wait for a member that has not heard of a rebalance */

static void start_with_session(struct fixture *f, const char *session_ms)
{
    static struct config_pair pairs[ARRAY_LEN(quick_pairs)];
    fixture_start(f, copy_text, "exactly_once");
    memcpy(pairs, quick_pairs, sizeof pairs);
    pairs[0].value = session_ms;
    f->mock.config.extra.pairs = pairs;
}

/* --- other members of the group ---------------------------------------------------------------------------- */

static int members_in; /* that have got partitions, if only none of them */

static void on_member_rebalance(rd_kafka_t *member, rd_kafka_resp_err_t code,
                                rd_kafka_topic_partition_list_t *list, void *context)
{
    (void)context;
    bool is_in = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    members_in += is_in ? 1 : -1;
    (void)rd_kafka_assign(member, is_in ? list : NULL);
}

static void conf_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    assert_int_equal(RD_KAFKA_CONF_OK, rd_kafka_conf_set(conf, name, value, why, sizeof why));
}

/* A member that wants none of the worker's partitions. It gives its own back only when it is polled,
 * and until then no rebalance comes to its end. */
static rd_kafka_t *member_join(const struct fixture *f)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    conf_set(conf, "bootstrap.servers", f->mock.config.bootstrap_servers);
    conf_set(conf, "group.id", f->name);
    conf_set(conf, "partition.assignment.strategy", "range");
    conf_set(conf, "session.timeout.ms", LONG_SESSION_MS);
    conf_set(conf, "heartbeat.interval.ms", "200");
    rd_kafka_conf_set_rebalance_cb(conf, on_member_rebalance);
    rd_kafka_t *member = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    assert_non_null(member);
    (void)rd_kafka_poll_set_consumer(member);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, "rows", RD_KAFKA_PARTITION_UA);
    assert_int_equal(RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_subscribe(member, topics));
    rd_kafka_topic_partition_list_destroy(topics);
    return member;
}

static void member_poll(rd_kafka_t *member)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(member, 10);
    if (message) {
        rd_kafka_message_destroy(message);
    }
}

/* Both, in one generation: who comes later than the worker would make it join again at any moment. */
static void members_join(const struct fixture *f, rd_kafka_t *members[2])
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    members_in = 0;
    for (int i = 0; i < 2; i++) {
        members[i] = member_join(f);
    }
    while (members_in < 2) {
        member_poll(members[0]);
        member_poll(members[1]);
        assert_true(clock_mono_us() < deadline_us);
    }
}

static void member_leave(rd_kafka_t *member)
{
    (void)rd_kafka_consumer_close(member);
    rd_kafka_destroy(member);
}

/* Until the worker is ready with these words; the members take part in what rebalances there are. */
static void settle(struct worker *worker, const char *wanted, rd_kafka_t *const *members,
                   size_t count)
{
    char text[128] = "";
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (!worker_is_ready(worker, text, sizeof text) || strcmp(text, wanted) != 0) {
        for (size_t i = 0; i < count; i++) {
            member_poll(members[i]);
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("not ready: %s", text);
        }
    }
}

/* --- the test ------------------------------------------------------------------------------------------------ */

/* The producer is lost, and no other is to be had yet. */
static void producer_lose(struct fixture *f)
{
    rd_kafka_resp_err_t refusals[REFUSALS];
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        refusals[i] = RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; /* asked again after 0.5 s */
    }
    rd_kafka_mock_push_request_errors_array(f->mock.cluster, INIT_PRODUCER_ID, ARRAY_LEN(refusals),
                                            refusals);
    inject(f, END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    feed_records(f, RECORDS);
    await_metric(f, "producer_rebuilds_total", "", 1);
}

/* One of the other members leaves, the worker gives up its partitions and asks to join again; the one
 * that stays has not yet heard of it. */
static void partitions_revoke(const struct fixture *f, rd_kafka_t *leaver)
{
    rd_kafka_mock_start_request_tracking(f->mock.cluster);
    member_leave(leaver);
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (mock_kafka_requests(&f->mock, JOIN_GROUP) == 0) {
        assert_true(clock_mono_us() < deadline_us);
        pause_ms(10);
    }
    rd_kafka_mock_stop_request_tracking(f->mock.cluster);
}

/* wanted NULL: for whatever reason. */
static void await_unready(struct worker *worker, const char *wanted)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    char text[128] = "";
    while (worker_is_ready(worker, text, sizeof text) || (wanted && strcmp(text, wanted) != 0)) {
        if (clock_mono_us() > deadline_us) {
            fail_msg("says: %s", text);
        }
        pause_ms(10);
    }
}

/* While nothing is its own the worker recovers, and must not take up what it has parked: not even the
 * committed places were asked for. */
static void test_recovery__while_partitions_are_away__processes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    start_with_session(&f, LONG_SESSION_MS);
    rd_kafka_t *others[2];
    members_join(&f, others);
    struct worker *worker = worker_of(&f, NULL);
    settle(worker, "4 source partitions", others, ARRAY_LEN(others));
    producer_lose(&f);
    partitions_revoke(&f, others[1]);
    rd_kafka_mock_clear_request_errors(f.mock.cluster, INIT_PRODUCER_ID);
    await_unready(worker, "thread 0: joining the consumer group"); /* it has recovered */
    pause_ms(FORBIDDEN_MS); /* for what must not happen there is no event */
    assert_int_equal(0, (int)metric_of(&f, "records_in_total", ""));
    settle(worker, "4 source partitions", others, 1);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(RECORDS, (int)metric_of(&f, "records_in_total", ""));
    assert_err(ERR_OK, f.fatal);
    member_leave(others[0]);
    fixture_stop(&f);
}

static struct worker *worker_with_session(struct fixture *f, const char *session_ms)
{
    start_with_session(f, session_ms);
    struct worker *worker = worker_of(f, NULL);
    await_ready(worker, "4 source partitions");
    return worker;
}

/* The next heartbeat is answered so; until a new consumer has joined, or the service gives up. */
static void consumer_fence(struct fixture *f)
{
    double rebalances = metric_of(f, "rebalances_total", "");
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    inject(f, HEARTBEAT, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    while (metric_of(f, "rebalances_total", "") == rebalances &&
           !__atomic_load_n(&f->fatal, __ATOMIC_SEQ_CST)) {
        assert_true(clock_mono_us() < deadline_us);
        pause_ms(10);
    }
}

/* Two processes with one name take the place from each other, for ever. */
static void test_consumer_fenced__again_and_again__is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct worker *worker = worker_with_session(&f, "2000");
    int fences = 0; /* one that comes late, a session after the last, begins the row anew */
    while (!__atomic_load_n(&f.fatal, __ATOMIC_SEQ_CST)) {
        consumer_fence(&f);
        fences++;
        assert_true(fences < 10 * LOSSES_MAX);
    }
    assert_true(fences >= LOSSES_MAX);
    assert_err(ERR_KAFKA_FATAL, f.fatal);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

/* A broker that is away for longer than a session, again and again: each time the consumer may be
 * fenced by its own second request to join. */
static void test_consumer_fenced__after_lost_sessions__goes_on(void **state)
{
    (void)state;
    struct fixture f;
    struct worker *worker = worker_with_session(&f, "1000");
    for (int i = 0; i <= LOSSES_MAX; i++) {
        rd_kafka_mock_broker_set_down(f.mock.cluster, 1);
        await_unready(worker, NULL); /* its session is lost, and a commit may be with it */
        rd_kafka_mock_broker_set_up(f.mock.cluster, 1);
        await_ready(worker, "4 source partitions");
        consumer_fence(&f);
    }
    await_ready(worker, "4 source partitions");
    assert_err(ERR_OK, f.fatal);
    feed_records(&f, RECORDS);
    await_metric(&f, "records_in_total", "", RECORDS);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovery__while_partitions_are_away__processes_nothing),
        cmocka_unit_test(test_consumer_fenced__again_and_again__is_told),
        cmocka_unit_test(test_consumer_fenced__after_lost_sessions__goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
