/* What the pinned librdkafka does when the coordinator of the group whose offsets a transaction commits has
 * left the cluster: it looks for another one. It is the library that is tested, as scripts/deps mends it
 * (docs/adr/0002): its producer is driven directly, and none of its connections comes or goes meanwhile. */
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_config.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_MS 60000
#define LOOKS_MS    8000 /* forty looks; else it is found after 11 s, or never */
#define HELD_MS     500  /* long enough to send a request to who has left */
#define ASKED_MS    100  /* for metadata; whoever is asked may be the one that has left */
#define GROUP       "enrich"
#define ID          "enrich-one-0"

enum broker { FIRST = 1, OTHER };

static atomic_int brokers_dropped; /* no member of the cluster any more, as its metadata says */
static atomic_int held_until;      /* so many are: the next connection's end goes unnoticed */

/* Of the broker's thread, which believes itself connected until it returns. */
static int on_close(int fd, void *opaque)
{
    (void)opaque;
    int dropped = atomic_exchange(&held_until, 0);
    int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    while (brokers_dropped < dropped && clock_mono_us() < deadline_us) {
        (void)poll(NULL, 0, 1);
    }
    if (dropped) {
        /* Where the machine needs more, there is nothing to be seen. */
        (void)poll(NULL, 0, HELD_MS);
    }
    return close(fd);
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    (void)level;
    (void)facility;
    brokers_dropped += strstr(text, "Sending TERMINATE to") != NULL;
}

/* Fails with what the client says. */
static void assert_no_error(rd_kafka_error_t *error)
{
    if (error) {
        fail_msg("%s: %s", rd_kafka_error_name(error), rd_kafka_error_string(error));
    }
}

static rd_kafka_t *producer_start(const struct mock_kafka *mock)
{
    rd_kafka_conf_t *conf = NULL;
    struct err_info info = {0};
    char why[256];
    assert_err(ERR_OK, kafka_conf_new(&mock->config, KAFKA_ROLE_PRODUCER_TXN, &conf, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "transactional.id", ID, &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "transaction.timeout.ms", "60000", &info));
    /* One that is closed for idleness would wake whoever waits for a coordinator. */
    assert_err(ERR_OK, kafka_conf_set(conf, "connections.max.idle.ms", "0", &info));
    assert_err(ERR_OK, kafka_conf_set(conf, "debug", "broker", &info));
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_closesocket_cb(conf, on_close);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(producer);
    assert_no_error(rd_kafka_init_transactions(producer, DEADLINE_MS));
    return producer;
}

/* A transaction of nothing but the group's place. */
static void offsets_commit(rd_kafka_t *producer, int timeout_ms)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new(GROUP);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "orders", 0)->offset = 1;
    assert_no_error(rd_kafka_begin_transaction(producer));
    assert_no_error(rd_kafka_send_offsets_to_transaction(producer, list, group, timeout_ms));
    assert_no_error(rd_kafka_commit_transaction(producer, DEADLINE_MS));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_group_metadata_destroy(group);
}

/* Until the producer knows that a broker has left. */
static void await_dropped(rd_kafka_t *producer, int before)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_MS * 1000;
    while (brokers_dropped == before && clock_mono_us() < deadline_us) {
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(producer, 1, NULL, &metadata, ASKED_MS) == 0) {
            rd_kafka_metadata_destroy(metadata);
        }
    }
    assert_true(brokers_dropped > before);
}

/* To the partition's leader, whom metadata can be asked of from then on. */
static void connect_to_leader(rd_kafka_t *producer)
{
    int64_t first;
    int64_t end;
    assert_int_equal(
        0, rd_kafka_query_watermark_offsets(producer, "orders", 0, &first, &end, DEADLINE_MS));
}

static void coordinator_leaves(bool is_held)
{
    struct mock_kafka mock = mock_kafka_start(2);
    mock_kafka_topic(&mock, "orders", 1);
    assert_int_equal(0, rd_kafka_mock_partition_set_leader(mock.cluster, "orders", 0, OTHER));
    assert_int_equal(0, rd_kafka_mock_coordinator_set(mock.cluster, "transaction", ID, OTHER));
    assert_int_equal(0, rd_kafka_mock_coordinator_set(mock.cluster, "group", GROUP, FIRST));
    rd_kafka_t *producer = producer_start(&mock);
    offsets_commit(producer, DEADLINE_MS);
    connect_to_leader(producer);

    int dropped = brokers_dropped;
    held_until = is_held ? dropped + 1 : 0;
    assert_int_equal(0, rd_kafka_mock_coordinator_set(mock.cluster, "group", GROUP, OTHER));
    assert_int_equal(0, rd_kafka_mock_broker_set_down(mock.cluster, FIRST));
    await_dropped(producer, dropped);
    offsets_commit(producer, LOOKS_MS);
    rd_kafka_destroy(producer);
    mock_kafka_stop(&mock);
}

static void test_coordinator_left_the_cluster__another_one__is_found(void **state)
{
    (void)state;
    coordinator_leaves(false);
}

static void test_offsets_sent_to_a_coordinator_that_has_left__are_sent_to_the_next(void **state)
{
    (void)state;
    coordinator_leaves(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coordinator_left_the_cluster__another_one__is_found),
        cmocka_unit_test(test_offsets_sent_to_a_coordinator_that_has_left__are_sent_to_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
