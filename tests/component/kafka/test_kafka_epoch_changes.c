/* What the pinned librdkafka sends again when its producer's epoch has changed: what a broker may have stored keeps
 * its epoch and sequence number, by which the broker knows it. It is the library that is tested, as scripts/deps
 * mends it (docs/adr/0002). The mock cluster stores what it is sent, and knows nothing again; so each answer is
 * replaced on its way in, and what goes out is read from the log. */
#include <pthread.h>

#include "batches_produce.h"
#include "core/clock.h"
#include "kafka/kafka_batches.h"
#include "kafka/kafka_config.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_MS 60000
#define ORDERS      1 /* the broker that leads orders */
#define OTHER       2 /* and the one that leads the other topic */

/* --- the producer, its requests and what they are answered --------------------------------------------------- */

static struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char requests
        [1024];   /* to orders: each one's first record, epoch and sequence number, as below */
    int answered; /* so many of them */
    bool is_held, is_bumping;
    int bumps;
    char stored[16], failed[16]; /* values, as they were reported */
    bool may_be_stored;          /* of all that failed */
    long batch; /* so many records are handed over as one; 0: one by one, librdkafka's own way */
    rd_kafka_resp_err_t (*answer)(int32_t broker, long record);
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* With the lock held. */
static void await_true(const bool *condition)
{
    struct timespec deadline = {.tv_sec = clock_now_ms() / 1000 + DEADLINE_MS / 1000};
    while (!*condition) {
        if (pthread_cond_timedwait(&seen.changed, &seen.lock, &deadline) != 0) {
            print_error("in vain: %s\n", seen.requests);
            return;
        }
    }
}

static void set(bool *condition, bool value)
{
    pthread_mutex_lock(&seen.lock);
    *condition = value;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static long each(void)
{
    return seen.batch ? seen.batch : 1;
}

/* "3@0:2" is the third value's, of epoch 0, with the sequence number that the third has where each is one record;
 * "+" stands between those of one request. With the lock held. */
static void request_note(const char *text)
{
    long count, first, sequence, epoch;
    if (sscanf(text,
               "orders [0]: Produce MessageSet with %ld message(s) (%*u bytes, ApiVersion %*d, "
               "MsgVersion %*d, "
               "MsgId %ld, BaseSeq %ld, PID{Id:%*d,Epoch:%ld}",
               &count, &first, &sequence, &epoch) != 4) {
        return;
    }
    for (long i = 0; i < count / each(); i++) {
        size_t end = strlen(seen.requests);
        (void)snprintf(seen.requests + end, sizeof seen.requests - end, "%s%ld@%ld:%ld",
                       i     ? "+"
                       : end ? " "
                             : "",
                       (first - 1) / each() + i + 1, epoch, sequence / each() + i);
    }
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    (void)level;
    (void)facility;
    pthread_mutex_lock(&seen.lock);
    const char *request = strstr(text, "orders [0]: Produce MessageSet");
    if (request) {
        request_note(request);
    }
    if (strstr(text, "epoch bump for")) {
        seen.is_bumping = true;
    }
    seen.bumps += strstr(text, "bumped epoch to") != NULL;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static rd_kafka_resp_err_t on_answer(rd_kafka_t *client, int32_t broker, uint64_t msgid,
                                     rd_kafka_resp_err_t code)
{
    (void)client;
    if (code) {
        return code;
    }
    pthread_mutex_lock(&seen.lock);
    code = seen.answer(broker, ((long)msgid - 1) / each() + 1);
    seen.answered += broker == ORDERS;
    pthread_mutex_unlock(&seen.lock);
    return code;
}

static void value_note(char *values, size_t size, char value)
{
    size_t end = strlen(values);
    assert_true(end + 1 < size);
    values[end] = value;
    values[end + 1] = '\0';
}

static void on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *context)
{
    (void)client;
    (void)context;
    const struct kafka_batch *batch = message->_private;
    char value = batch ? batches_value(batch) : *(const char *)message->payload;
    if (message->err) {
        value_note(seen.failed, sizeof seen.failed, value);
        seen.may_be_stored &=
            rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED;
    } else {
        value_note(seen.stored, sizeof seen.stored, value);
    }
}

struct producer {
    struct mock_kafka mock;
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    struct kafka_batches *batches;
};

static void seen_reset(long batch, rd_kafka_resp_err_t (*answer)(int32_t broker, long record))
{
    seen.requests[0] = seen.stored[0] = seen.failed[0] = '\0';
    seen.answered = seen.bumps = 0;
    seen.is_held = seen.is_bumping = false;
    seen.may_be_stored = true;
    seen.batch = batch;
    seen.answer = answer;
}

static void conf_answers(rd_kafka_conf_t *conf)
{
    union {
        rd_kafka_resp_err_t (*call)(rd_kafka_t *, int32_t, uint64_t, rd_kafka_resp_err_t);
        const char *value;
    } answers = {.call = on_answer};
    assert_int_equal(0,
                     rd_kafka_conf_set(conf, "ut_handle_ProduceResponse", answers.value, NULL, 0));
}

static struct producer producer_start(const char *batch_messages, const char *linger_ms,
                                      const char *timeout_ms)
{
    struct producer producer = {.mock = mock_kafka_start(2)};
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    char why[256];
    mock_kafka_topic(&producer.mock, "orders", 1);
    mock_kafka_topic(&producer.mock, "other", 1);
    assert_int_equal(
        0, rd_kafka_mock_partition_set_leader(producer.mock.cluster, "orders", 0, ORDERS));
    assert_int_equal(0,
                     rd_kafka_mock_partition_set_leader(producer.mock.cluster, "other", 0, OTHER));
    assert_err(ERR_OK,
               kafka_conf_new(&producer.mock.config, KAFKA_ROLE_PRODUCER_ACKED, &conf, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "debug", "eos,msg", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "batch.num.messages", batch_messages, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "message.timeout.ms", timeout_ms, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "socket.timeout.ms", "300000", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "linger.ms", linger_ms, &info)); /* but for flush() */
    conf_answers(conf);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    producer.client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
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
    mock_kafka_stop(&producer->mock);
}

static void produce_to(struct producer *producer, const char *topic, char *value)
{
    assert_int_equal(0, rd_kafka_producev(producer->client, RD_KAFKA_V_TOPIC(topic),
                                          RD_KAFKA_V_PARTITION(0),
                                          RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_END));
}

static void produce(struct producer *producer, char *value)
{
    if (seen.batch) {
        batches_produce(producer->client, producer->batches, value, (int)seen.batch);
    } else {
        produce_to(producer, "orders", value);
    }
}

static void flush(struct producer *producer)
{
    assert_int_equal(0, rd_kafka_flush(producer->client, DEADLINE_MS));
}

/* --- */

/* The answer to "2" is lost once; in between the other topic's broker refuses a record for good, which costs the
 * producer its epoch. */
static rd_kafka_resp_err_t answer_lost(int32_t broker, long record)
{
    if (broker == OTHER && seen.answered == 0) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (broker == OTHER) {
        await_true(&seen.is_held);
        return RD_KAFKA_RESP_ERR_INVALID_RECORD;
    }
    if (record != 2 || seen.is_bumping) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    seen.is_held = true;
    pthread_cond_broadcast(&seen.changed);
    await_true(&seen.is_bumping);
    return RD_KAFKA_RESP_ERR__TIMED_OUT;
}

static void test_epoch_changes__what_may_be_stored__keeps_its_number(void **state)
{
    seen_reset(*(const long *)*state, answer_lost);
    struct producer producer = producer_start("1000", "0", "300000");
    produce_to(&producer, "other", "w"); /* its broker is known before a thread is held */
    flush(&producer);
    produce(&producer, "1");
    flush(&producer);
    produce(&producer, "2");
    produce_to(&producer, "other", "x");
    flush(&producer);
    produce(&producer, "3");
    flush(&producer);
    assert_string_equal("1@0:0 2@0:1 2@0:1 3@1:0", seen.requests);
    assert_string_equal("w123", seen.stored);
    assert_string_equal("x", seen.failed);
    assert_int_equal(1, seen.bumps);
    producer_stop(&producer);
}

/* "2" and "3" are under way together, for "1" is answered once both are queued; "2" is refused for good, and the
 * answer to "3" is lost. */
static rd_kafka_resp_err_t answer_behind_a_gap(int32_t broker, long record)
{
    (void)broker;
    switch (record) {
    case 1:
        await_true(&seen.is_held);
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    case 2:
        return RD_KAFKA_RESP_ERR_INVALID_RECORD;
    default:
        return seen.answered == 2 ? RD_KAFKA_RESP_ERR__TIMED_OUT : RD_KAFKA_RESP_ERR_NO_ERROR;
    }
}

static rd_kafka_resp_err_t answer_finds_a_gap(int32_t broker, long record)
{
    return seen.answered == 3 ? RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
                              : answer_behind_a_gap(broker, record);
}

static void expect_behind_a_gap(void **state, rd_kafka_resp_err_t (*answer)(int32_t, long),
                                const char *requests)
{
    seen_reset(*(const long *)*state, answer);
    struct producer producer = producer_start(seen.batch ? "1000" : "1", "0", "300000");
    produce(&producer, "1");
    produce(&producer, "2");
    produce(&producer, "3");
    set(&seen.is_held, true);
    flush(&producer);
    produce(&producer, "4");
    flush(&producer);
    assert_string_equal(requests, seen.requests);
    assert_string_equal("134", seen.stored);
    assert_string_equal("2", seen.failed);
    assert_int_equal(1, seen.bumps);
    producer_stop(&producer);
}

static void test_gap__broker_has_what_follows__it_is_not_renumbered(void **state)
{
    expect_behind_a_gap(state, answer_behind_a_gap, "1@0:0 2@0:1 3@0:2 3@0:2 4@1:0");
}

static void test_gap__broker_has_not_what_follows__it_is_renumbered(void **state)
{
    expect_behind_a_gap(state, answer_finds_a_gap, "1@0:0 2@0:1 3@0:2 3@0:2 3@1:0 4@1:1");
}

/* --- */

#define LATER_MS 1500 /* longer than librdkafka takes to look for what has timed out */

/* No answer to the request that "2" and "3" are in ever arrives. */
static rd_kafka_resp_err_t answer_none(int32_t broker, long record)
{
    (void)broker;
    return record == 2 ? RD_KAFKA_RESP_ERR__TIMED_OUT : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* "2" times out, and "3" would a little later: what is left of their request cannot be told from another. (On a
 * machine that stands still they may time out together, or never get into one request: there is nothing to see.) */
static void test_request_torn_by_a_timeout__the_rest__is_not_sent(void **state)
{
    (void)state;
    seen_reset(0, answer_none);
    struct producer producer = producer_start("1000", "3000", "4000");
    produce(&producer, "1");
    flush(&producer);
    produce(&producer, "2");
    (void)poll(NULL, 0, LATER_MS);
    produce(&producer, "3");
    flush(&producer);
    print_message("%s\n", seen.requests);
    const char *torn = strstr(seen.requests, "2@0:1+3@0:2");
    if (torn) {
        assert_null(strstr(torn, " 3@"));
        assert_string_equal("1", seen.stored);
        assert_string_equal("23", seen.failed);
        assert_true(seen.may_be_stored);
    }
    producer_stop(&producer);
}

#define BOTH_WAYS(test)                                                                            \
    cmocka_unit_test_prestate(test, &one_by_one), cmocka_unit_test_prestate(test, &in_batches)

int main(void)
{
    static long one_by_one = 0, in_batches = 3;
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_epoch_changes__what_may_be_stored__keeps_its_number),
        BOTH_WAYS(test_gap__broker_has_what_follows__it_is_not_renumbered),
        BOTH_WAYS(test_gap__broker_has_not_what_follows__it_is_renumbered),
        cmocka_unit_test(test_request_torn_by_a_timeout__the_rest__is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
