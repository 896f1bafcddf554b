/* What the pinned librdkafka says of records while their partition's leader moves: an acknowledged one
 * is stored. It is the library that is tested, as scripts/deps mends it (docs/adr/0002): its producer is
 * driven directly, and stopped where it matters by what it writes to its log. */
#define _GNU_SOURCE /* memmem */

#include <pthread.h>

#include "batches_produce.h"
#include "core/clock.h"
#include "kafka/kafka_batches.h"
#include "kafka/kafka_config.h"
#include "kafka_read.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_MS 60000
#define NEVER_MS    600000 /* an answer that nobody waits for */
#define ROUND_MS    300    /* enough for a record to go out before an answer comes */

enum request { PRODUCE = 0, METADATA = 3 }; /* Kafka's API keys */

/* --- the producer, and what its log says -------------------------------------------------------------------- */

enum moment {
    JOINED_NEW_LEADER,
    FAILED,  /* the record's request, before the record is queued again */
    WAITING, /* the new leader's thread does, for requests to the old one */
    DELIVERED,
    NEXT_SENT, /* said by the test */
    MOMENTS,
};

static const char *const moment_texts[MOMENTS] = {
    [JOINED_NEW_LEADER] = "joining broker (",
    [FAILED] = "encountered error",
    [WAITING] = "in-flight request(s) to drain from queue",
    [DELIVERED] = ") delivered",
    [NEXT_SENT] = "(next sent)",
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int counts[MOMENTS];
    char stored[8]; /* the values acknowledged, as they were; of a batch's records one */
    int batch; /* so many records are handed over as one; 0: one by one, librdkafka's own way */
    bool holds_failure; /* its thread goes on once the next record waits or is through */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* With the lock held: until one of them was seen more often than so. */
static void await_more(enum moment either, int either_before, enum moment or, int or_before)
{
    struct timespec deadline = {.tv_sec = clock_now_ms() / 1000 + DEADLINE_MS / 1000};
    while (seen.counts[either] <= either_before && seen.counts[or] <= or_before) {
        if (pthread_cond_timedwait(&seen.changed, &seen.lock, &deadline) != 0) {
            print_error("never \"%s\"\n", moment_texts[either]);
            return;
        }
    }
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    (void)level;
    (void)facility;
    pthread_mutex_lock(&seen.lock);
    for (size_t i = 0; i < MOMENTS; i++) {
        seen.counts[i] += strstr(text, moment_texts[i]) != NULL;
    }
    pthread_cond_broadcast(&seen.changed);
    if (seen.holds_failure && strstr(text, moment_texts[FAILED])) {
        int delivered = seen.counts[DELIVERED];
        seen.holds_failure = false;
        await_more(NEXT_SENT, 0, NEXT_SENT, 0);
        await_more(WAITING, seen.counts[WAITING], DELIVERED, delivered);
    }
    pthread_mutex_unlock(&seen.lock);
}

static void on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *context)
{
    (void)client;
    (void)context;
    assert_int_equal(0, message->err);
    size_t end = strlen(seen.stored);
    assert_true(end + 1 < sizeof seen.stored);
    const struct kafka_batch *batch = message->_private;
    seen.stored[end] = batch ? batches_value(batch) : *(const char *)message->payload;
    seen.stored[end + 1] = '\0';
}

static void await_moment(enum moment moment, int before)
{
    pthread_mutex_lock(&seen.lock);
    await_more(moment, before, moment, before);
    pthread_mutex_unlock(&seen.lock);
}

static int times(enum moment moment)
{
    pthread_mutex_lock(&seen.lock);
    int count = seen.counts[moment];
    pthread_mutex_unlock(&seen.lock);
    return count;
}

struct producer {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    struct kafka_batches *batches;
};

static struct producer producer_start(const struct mock_kafka *mock, void **state)
{
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    char why[256];
    seen.stored[0] = '\0';
    seen.batch = *(const int *)*state;
    assert_err(ERR_OK, kafka_conf_new(&mock->config, KAFKA_ROLE_PRODUCER_ACKED, &conf, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "debug", "topic,msg,queue,broker", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "topic.metadata.refresh.interval.ms", "100", &info));
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    struct producer producer = {rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why)};
    assert_non_null(producer.client);
    producer.topic = rd_kafka_topic_new(producer.client, "orders", NULL);
    producer.batches = kafka_batches_new(producer.client);
    assert_int_equal(0, kafka_batches_topic(producer.batches, producer.topic));
    return producer;
}

static void producer_stop(struct producer *producer)
{
    rd_kafka_topic_destroy(producer->topic);
    rd_kafka_destroy(producer->client);
    kafka_batches_free(producer->batches);
}

static void produce(struct producer *producer, char *value)
{
    if (seen.batch) {
        batches_produce(producer->client, producer->batches, value, seen.batch);
        return;
    }
    assert_int_equal(0, rd_kafka_producev(producer->client, RD_KAFKA_V_TOPIC("orders"),
                                          RD_KAFKA_V_PARTITION(0),
                                          RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_END));
}

/* The partition's leader is broker 1, and has acknowledged "1". */
static struct producer producer_at_first_broker(struct mock_kafka *mock, void **state)
{
    mock_kafka_topic(mock, "orders", 1);
    assert_int_equal(0, rd_kafka_mock_partition_set_leader(mock->cluster, "orders", 0, 1));
    struct producer producer = producer_start(mock, state);
    produce(&producer, "1");
    assert_int_equal(0, rd_kafka_flush(producer.client, DEADLINE_MS));
    return producer;
}

/* What was acknowledged is what the partition holds, in the order in which it was sent. */
static void expect_stored(struct mock_kafka *mock, struct producer *producer, const char *values)
{
    const size_t each = seen.batch ? (size_t)seen.batch : 1;
    assert_int_equal(0, rd_kafka_flush(producer->client, DEADLINE_MS));
    assert_string_equal(values, seen.stored);
    struct kafka_read read = kafka_read_all(&mock->config, "orders", 1, KAFKA_READS_VERIFIED);
    assert_int_equal(strlen(values) * each, read.count);
    for (size_t i = 0; i < read.count; i++) {
        assert_int_equal(1, read.messages[i]->len);
        assert_int_equal(values[i / each], *(const char *)read.messages[i]->payload);
    }
    kafka_read_end(&read);
    producer_stop(producer);
}

static void await_requests(struct mock_kafka *mock, enum request request, size_t count)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    size_t found = 0;
    while (found < count && clock_mono_us() < deadline_us) {
        found = mock_kafka_requests(mock, (int16_t)request);
        (void)poll(NULL, 0, 1);
    }
    assert_true(found >= count);
}

/* --- */

/* A broker that knows nothing of a producer takes whatever it sends first: when it refuses the first
 * record, not being the leader yet, and takes the one behind it, the first must not be taken for stored. */
static void test_first_record__refused__is_not_passed_by_the_next(void **state)
{
    struct mock_kafka mock = mock_kafka_start(1);
    mock_kafka_topic(&mock, "orders", 1);
    struct producer producer = producer_start(&mock, state);
    rd_kafka_mock_start_request_tracking(mock.cluster);
    rd_kafka_mock_broker_push_request_error_rtts(
        mock.cluster, 1, PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, ROUND_MS);
    produce(&producer, "1");
    await_requests(&mock, PRODUCE, 1);
    produce(&producer, "2");
    expect_stored(&mock, &producer, "12");
    mock_kafka_stop(&mock);
}

/* The same of a leader that moves later: the new one refuses the first record that reaches it, not being the
 * leader yet. A broker refuses the one behind it, which then bumps the epoch; the mock takes it. */
static void test_new_leader__refuses_the_first__is_not_passed_by_the_next(void **state)
{
    struct mock_kafka mock = mock_kafka_start(2);
    struct producer producer = producer_at_first_broker(&mock, state);
    int joined = times(JOINED_NEW_LEADER);
    assert_int_equal(0, rd_kafka_mock_partition_set_leader(mock.cluster, "orders", 0, 2));
    await_moment(JOINED_NEW_LEADER, joined);

    rd_kafka_mock_start_request_tracking(mock.cluster);
    rd_kafka_mock_broker_push_request_error_rtts(
        mock.cluster, 2, PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, ROUND_MS);
    produce(&producer, "2");
    await_requests(&mock, PRODUCE, 1);
    produce(&producer, "3");
    expect_stored(&mock, &producer, "123");
    mock_kafka_stop(&mock);
}

/* The old leader's thread finds that a request has failed, and has not yet queued its record again when
 * the new leader's thread looks for what to send: what comes next has to wait for it. */
static void test_record_in_flight__leader_moved__is_not_passed_by_the_next(void **state)
{
    struct mock_kafka mock = mock_kafka_start(2);
    struct producer producer = producer_at_first_broker(&mock, state);

    /* The record goes to the old leader while the news of the new one is on its way. */
    int joined = times(JOINED_NEW_LEADER), failed = times(FAILED);
    assert_int_equal(0, rd_kafka_mock_broker_set_rtt(mock.cluster, -1, ROUND_MS));
    assert_int_equal(0, rd_kafka_mock_partition_set_leader(mock.cluster, "orders", 0, 2));
    rd_kafka_mock_start_request_tracking(mock.cluster);
    await_requests(&mock, METADATA, 1);
    rd_kafka_mock_broker_push_request_error_rtts(
        mock.cluster, 1, PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, NEVER_MS);
    produce(&producer, "2");
    await_requests(&mock, PRODUCE, 1);
    await_moment(JOINED_NEW_LEADER, joined);

    pthread_mutex_lock(&seen.lock);
    seen.holds_failure = true;
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(0, rd_kafka_mock_broker_set_down(mock.cluster, 1));
    await_moment(FAILED, failed);
    produce(&producer, "3");
    on_log(producer.client, 0, "", moment_texts[NEXT_SENT]);
    expect_stored(&mock, &producer, "123");
    mock_kafka_stop(&mock);
}

#define BOTH_WAYS(test)                                                                            \
    cmocka_unit_test_prestate(test, &one_by_one), cmocka_unit_test_prestate(test, &in_batches)

int main(void)
{
    static int one_by_one = 0, in_batches = 3;
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_first_record__refused__is_not_passed_by_the_next),
        BOTH_WAYS(test_new_leader__refuses_the_first__is_not_passed_by_the_next),
        BOTH_WAYS(test_record_in_flight__leader_moved__is_not_passed_by_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
