#include "kafka/kafka_stats.h"

#include <jansson.h>
#include <string.h>

#include "core/attributes.h"
#include "json/json_file.h"
#include "log/log.h"

/* Our names of librdkafka's figures (its STATISTICS.md). Counters restart with their client. */
enum {
    REPLYQ,
    QUEUE_MESSAGES,
    QUEUE_BYTES,
    QUEUE_MESSAGES_MAX,
    QUEUE_BYTES_MAX,
    SENT,
    RECEIVED,
    BROKER_UP,
    BROKER_REQUESTS,
    BROKER_ERRORS,
    BROKER_RETRIES,
    BROKER_TIMEOUTS,
    BROKER_DISCONNECTS,
    BROKER_RTT,
    BROKER_INT_LATENCY,
    BROKER_OUTBUF_LATENCY,
    BROKER_THROTTLE,
    TOPIC_BATCH_MESSAGES,
    TOPIC_BATCH_BYTES,
    CONSUMER_LAG,
    GROUP_UP,
    GROUP_REBALANCES,
    GROUP_PARTITIONS,
    TXN_OPEN,
    TXN_STATE_AGE,
    PRODUCER_EPOCH,
    PRODUCER_IDS,
    FAMILIES
};

#define FAMILY(index, name_, type_, labels_, help_)                                                \
    [index] = {                                                                                    \
        .name = "rdkafka_" name_, .type = METRIC_##type_, .labels = (labels_), .help = (help_)}
static struct metric families[FAMILIES] = {
    FAMILY(REPLYQ, "replyq_ops", GAUGE, "client",
           "Operations that wait for the program; rising: its thread is stuck"),
    FAMILY(QUEUE_MESSAGES, "producer_queue_messages", GAUGE, "client",
           "Records that wait for an acknowledgement; near the maximum: brokers too slow"),
    FAMILY(QUEUE_BYTES, "producer_queue_bytes", GAUGE, "client", "Their bytes"),
    FAMILY(QUEUE_MESSAGES_MAX, "producer_queue_messages_max", GAUGE, "client",
           "queue.buffering.max.messages"),
    FAMILY(QUEUE_BYTES_MAX, "producer_queue_bytes_max", GAUGE, "client",
           "queue.buffering.max.kbytes in bytes"),
    FAMILY(SENT, "sent_messages_total", COUNTER, "client", "Records sent to brokers"),
    FAMILY(RECEIVED, "received_messages_total", COUNTER, "client", "Records received from brokers"),
    FAMILY(BROKER_UP, "broker_state", GAUGE, "client,broker",
           "1 while connected; 0: see the broker (idle connections are 0 too)"),
    FAMILY(BROKER_REQUESTS, "broker_requests_total", COUNTER, "client,broker", "Requests sent"),
    FAMILY(BROKER_ERRORS, "broker_errors_total", COUNTER, "client,broker",
           "Transmission errors; rising: network"),
    FAMILY(BROKER_RETRIES, "broker_retries_total", COUNTER, "client,broker", "Requests sent again"),
    FAMILY(BROKER_TIMEOUTS, "broker_timeouts_total", COUNTER, "client,broker",
           "Requests without an answer in time; rising: broker overloaded or frozen"),
    FAMILY(BROKER_DISCONNECTS, "broker_disconnects_total", COUNTER, "client,broker",
           "Connections lost or closed"),
    FAMILY(BROKER_RTT, "broker_rtt_seconds", GAUGE, "client,broker,quantile",
           "Round trip of requests (fetches wait for data)"),
    FAMILY(BROKER_INT_LATENCY, "broker_int_latency_seconds", GAUGE, "client,broker,quantile",
           "Time of a record in the producer's queues; rising: linger or a slow broker"),
    FAMILY(BROKER_OUTBUF_LATENCY, "broker_outbuf_latency_seconds", GAUGE, "client,broker,quantile",
           "Time of a request before it is sent; rising: socket full"),
    FAMILY(BROKER_THROTTLE, "broker_throttle_seconds", GAUGE, "client,broker,quantile",
           "Throttling told by the broker; above 0: a quota is met"),
    FAMILY(TOPIC_BATCH_MESSAGES, "topic_batch_messages", GAUGE, "client,topic",
           "Records in a produced batch, mean"),
    FAMILY(TOPIC_BATCH_BYTES, "topic_batch_bytes", GAUGE, "client,topic",
           "Bytes of a produced batch, mean"),
    FAMILY(CONSUMER_LAG, "consumer_lag", GAUGE, "client,topic,partition",
           "Offsets between what the program has taken and the partition's stable end"),
    FAMILY(GROUP_UP, "cgrp_state", GAUGE, "client", "1 while the consumer group's handler is up"),
    FAMILY(GROUP_REBALANCES, "cgrp_rebalances_total", COUNTER, "client",
           "Rebalances; more than 3 in 10 minutes: members come and go"),
    FAMILY(GROUP_PARTITIONS, "cgrp_assignment_size", GAUGE, "client", "Partitions assigned"),
    FAMILY(TXN_OPEN, "eos_txn_state", GAUGE, "client", "1 while a transaction is open"),
    FAMILY(TXN_STATE_AGE, "eos_txn_state_age_seconds", GAUGE, "client",
           "Time in the present transaction state; near transaction.timeout.ms: stuck"),
    FAMILY(PRODUCER_EPOCH, "eos_producer_epoch", GAUGE, "client", "The producer's epoch"),
    FAMILY(PRODUCER_IDS, "eos_pid_assignments_total", COUNTER, "client",
           "Producer ids and epochs taken; rising: fenced or timed out"),
};

METRICS_TABLE(families)

enum scope { CLIENT, BROKER, TOPIC };

/* Where in the JSON a figure is, and how it becomes ours. */
static const struct stat {
    int family;
    enum scope scope;
    const char *group; /* object inside the scope, or NULL */
    const char *name;
    double scale;         /* to seconds, bytes, one */
    const char *is_text;  /* set: 1 when the text is this, else 0 */
    const char *quantile; /* third label */
} stats[] = {
    {REPLYQ, CLIENT, NULL, "replyq", 1, NULL, NULL},
    {QUEUE_MESSAGES, CLIENT, NULL, "msg_cnt", 1, NULL, NULL},
    {QUEUE_BYTES, CLIENT, NULL, "msg_size", 1, NULL, NULL},
    {QUEUE_MESSAGES_MAX, CLIENT, NULL, "msg_max", 1, NULL, NULL},
    {QUEUE_BYTES_MAX, CLIENT, NULL, "msg_size_max", 1, NULL, NULL},
    {SENT, CLIENT, NULL, "txmsgs", 1, NULL, NULL},
    {RECEIVED, CLIENT, NULL, "rxmsgs", 1, NULL, NULL},
    {GROUP_UP, CLIENT, "cgrp", "state", 1, "up", NULL},
    {GROUP_REBALANCES, CLIENT, "cgrp", "rebalance_cnt", 1, NULL, NULL},
    {GROUP_PARTITIONS, CLIENT, "cgrp", "assignment_size", 1, NULL, NULL},
    {TXN_OPEN, CLIENT, "eos", "txn_state", 1, "InTransaction", NULL},
    {TXN_STATE_AGE, CLIENT, "eos", "txn_stateage", 1e-3, NULL, NULL},
    {PRODUCER_EPOCH, CLIENT, "eos", "producer_epoch", 1, NULL, NULL},
    {PRODUCER_IDS, CLIENT, "eos", "epoch_cnt", 1, NULL, NULL},
    {BROKER_UP, BROKER, NULL, "state", 1, "UP", NULL},
    {BROKER_REQUESTS, BROKER, NULL, "tx", 1, NULL, NULL},
    {BROKER_ERRORS, BROKER, NULL, "txerrs", 1, NULL, NULL},
    {BROKER_RETRIES, BROKER, NULL, "txretries", 1, NULL, NULL},
    {BROKER_TIMEOUTS, BROKER, NULL, "req_timeouts", 1, NULL, NULL},
    {BROKER_DISCONNECTS, BROKER, NULL, "disconnects", 1, NULL, NULL},
    {BROKER_RTT, BROKER, "rtt", "p50", 1e-6, NULL, "0.5"},
    {BROKER_RTT, BROKER, "rtt", "p99", 1e-6, NULL, "0.99"},
    {BROKER_INT_LATENCY, BROKER, "int_latency", "p50", 1e-6, NULL, "0.5"},
    {BROKER_INT_LATENCY, BROKER, "int_latency", "p99", 1e-6, NULL, "0.99"},
    {BROKER_OUTBUF_LATENCY, BROKER, "outbuf_latency", "p99", 1e-6, NULL, "0.99"},
    {BROKER_THROTTLE, BROKER, "throttle", "p99", 1e-3, NULL, "0.99"}, /* ms, unlike the others */
    {TOPIC_BATCH_MESSAGES, TOPIC, "batchcnt", "avg", 1, NULL, NULL},
    {TOPIC_BATCH_BYTES, TOPIC, "batchsize", "avg", 1, NULL, NULL},
};

static void stats_take_scope(enum scope scope, const char *client, const char *label,
                             const json_t *object)
{
    for (size_t i = 0; i < ARRAY_LEN(stats); i++) {
        const struct stat *row = &stats[i];
        if (row->scope != scope) {
            continue;
        }
        const json_t *group = row->group ? json_object_get(object, row->group) : object;
        const json_t *value = json_object_get(group, row->name);
        if (!value) {
            continue; /* a producer has no group, a consumer no transactions */
        }
        double figure = row->is_text ? (json_is_string(value) &&
                                        strcmp(json_string_value(value), row->is_text) == 0)
                                     : json_number_value(value) * row->scale;
        metric_set(METRIC(families[row->family], client, label, row->quantile), figure);
    }
}

/* Not consumer_lag: that counts from offsets committed by the consumer, and ours are not. */
static void stats_take_lag(const char *client, const char *topic, json_t *partitions)
{
    const char *partition;
    json_t *object;
    json_object_foreach(partitions, partition, object)
    {
        json_int_t taken = json_integer_value(json_object_get(object, "app_offset"));
        json_int_t end = json_integer_value(json_object_get(object, "ls_offset"));
        if (taken >= 0 && end >= 0 && strcmp(partition, "-1") != 0) {
            metric_set(METRIC(families[CONSUMER_LAG], client, topic, partition),
                       end > taken ? (double)(end - taken) : 0);
        }
    }
}

void kafka_stats_take(const char *label, struct strview json)
{
    json_error_t error;
    CLEANUP(json_decrefp) json_t *root = json_loadb(json.ptr, json.len, 0, &error);
    if (!root) {
        log_event(LOG_DEBUG, "kafka_stats_unreadable", error.text, KV("client", label));
        return;
    }
    const char *name;
    json_t *object;
    bool is_consumer = json_object_get(root, "cgrp") != NULL;
    stats_take_scope(CLIENT, label, NULL, root);
    json_object_foreach(json_object_get(root, "brokers"), name, object)
    {
        /* Learned brokers have an id; the bootstrap entries and the coordinator stand-in do not. */
        if (json_integer_value(json_object_get(object, "nodeid")) >= 0) {
            stats_take_scope(BROKER, label, name, object);
        }
    }
    json_object_foreach(json_object_get(root, "topics"), name, object)
    {
        if (is_consumer) {
            stats_take_lag(label, name, json_object_get(object, "partitions"));
        } else {
            stats_take_scope(TOPIC, label, name, object);
        }
    }
}
