#define _GNU_SOURCE /* program_invocation_short_name */

#include "kafka/kafka_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/log.h"

const struct config_option kafka_options[] = {
    CONFIG_ROW(struct kafka_config, bootstrap_servers, "kafka.bootstrap.servers", STRING,
               "127.0.0.1:9092", 0, 0,
               "Brokers to start from: host:port, comma separated. Any other librdkafka property "
               "passes under kafka. too."),
};
const size_t kafka_options_count = ARRAY_LEN(kafka_options);

/* --- what each role sets, and why --------------------------------------------------------------- */

enum property_flags {
    PROMISE = 1, /* the product's promises rest on it: the user's value is refused */
};

struct property {
    const char *name;
    const char *value;
    unsigned flags;
    const char *reason; /* told when a user's value is refused */
};

static const struct property common_properties[] = {
    {"socket.nagle.disable", "true", 0, "a request must not wait for the answer to the last one"},
    {"socket.keepalive.enable", "true", 0, "a broker behind a dead router is noticed"},
    {"socket.connection.setup.timeout.ms", "5000", 0, "another broker is tried after 5 s, not 30"},
    {"reconnect.backoff.ms", "20", 0, "half of it also spaces first connections: 10 ms, not 50"},
    {"reconnect.backoff.max.ms", "1000", 0, "a broker that comes back is used within a second"},
    {"retry.backoff.ms", "20", 0,
     "the coordinator's 'not yet' after a commit costs 20 ms, not 100"},
    /* Also the longest pause between looks for the new leaders of a broker that was lost. */
    {"retry.backoff.max.ms", "250", 0, "a new leader is found 250 ms after there is one, not 1 s"},
    {"topic.metadata.refresh.interval.ms", "10000", 0, "new partitions and leaders are seen soon"},
    {"allow.auto.create.topics", "false", PROMISE, "a mistyped name must not make a topic"},
    {"statistics.interval.ms", "5000", 0, "the rdkafka_ metrics"},
    {"enable.metrics.push", "false", 0, "the brokers are not told about us; /metrics is"},
    {"log.connection.close", "false", 0, "brokers close idle connections; that is no news"},
};

/* The three producers share these. */
static const struct property producer_properties[] = {
    {"enable.idempotence", "true", PROMISE, "a retry must neither double nor reorder records"},
    {"acks", "all", PROMISE, "acknowledged means stored by all in-sync replicas"},
    {"partitioner", "murmur2_random", PROMISE,
     "keys must land where Java clients, Connect and Kafka Streams put them"},
    /* An idempotent producer moves a partition to its new leader only when the old one's requests are
     * over. At librdkafka's 60 s a record to a broker that hangs would never be tried again before it
     * times out; below 10 s a live leader that waits for the cluster to drop a dead replica (9 s)
     * would be given up. */
    {"socket.timeout.ms", "15000", 0, "a broker that hangs is left well before records time out"},
};

static const struct property acked_properties[] = {
    /* Batches also form behind the one under way. 0 costs the broker 40 % more a record, and a tenth
     * of the rate (256 connections on two cores); 2 and 3 are within the noise. */
    {"linger.ms", "1", 0, "someone waits for each record"},
    /* Not shorter than a failover: a record that times out costs the producer its epoch, and all that it
     * has under way, to every broker, is waited for. The client does not wait that long; it has its 503 at
     * the HTTP request's deadline. */
    {"message.timeout.ms", "60000", 0, "rides out a failover"},
    {"queue.buffering.max.messages", "500000", 0, "the bound is in bytes"},
    {"queue.buffering.max.kbytes", "65536", 0, "64 MiB a producer; past it callers get queue-full"},
};

static const struct property hasty_properties[] = {
    {"linger.ms", "100", 0, "nobody waits; at 50 the broker works half as much again"},
    {"compression.codec", "lz4", 0, "cheaper than the bytes it saves the broker"},
    {"message.timeout.ms", "120000", 0, "nobody sends it again: rides out more than a failover"},
    {"queue.buffering.max.messages", "1000000", 0, "the bound is in bytes"},
    {"queue.buffering.max.kbytes", "131072", 0, "128 MiB"},
};

static const struct property bulk_properties[] = {
    {"linger.ms", "5", 0, "full batches: throughput"},
    {"compression.codec", "lz4", 0, "cheaper than the bytes it saves the broker"},
    {"message.timeout.ms", "60000", 0, "rides out a failover"},
    {"queue.buffering.max.messages", "1000000", 0, "the bound is in bytes"},
    {"queue.buffering.max.kbytes", "131072", 0, "128 MiB"},
};

static const struct property txn_properties[] = {
    {"transaction.timeout.ms", "10000", 0,
     "a dead worker's open transaction holds up readers and its successor this long"},
    {"message.timeout.ms", "9000", 0, "must end before the transaction does"},
    {"socket.timeout.ms", "9000", 0, "must end before the transaction does"},
    /* Looks for a group coordinator that has left the cluster are woken by nothing but another
     * connection's change, and have no deadline (librdkafka #5511, #5456): idle ones must change. Ours
     * is mended (scripts/deps); with a system's that is up to 2 of the seconds a killed broker costs. */
    {"connections.max.idle.ms", "2000", 0, "a coordinator that has gone must not hold up a commit"},
    {"linger.ms", "50", 0, "full batches; a commit flushes at once, so nobody waits for it"},
    {"compression.codec", "lz4", 0, "cheaper than the bytes it saves the broker"},
    {"queue.buffering.max.messages", "1000000", 0, "the bound is in bytes"},
    {"queue.buffering.max.kbytes", "131072", 0, "128 MiB; more than a transaction's batches"},
};

/* Both consumers share these. */
static const struct property consumer_properties[] = {
    {"enable.auto.commit", "false", PROMISE, "offsets are committed with the results, by us"},
    {"enable.auto.offset.store", "false", PROMISE, "offsets are committed with the results, by us"},
    {"auto.offset.reset", "error", PROMISE,
     "where to start is decided and told by us; records lost to retention are never skipped "
     "silently"},
    {"enable.partition.eof", "true", PROMISE,
     "the end of a partition drives restores and idleness"},
    {"fetch.error.backoff.ms", "100", 0, "a moved leader costs 100 ms, not 500"},
    {"fetch.message.max.bytes", "2097152", 0, "fewer, larger fetches while catching up"},
    {"queued.min.messages", "100000", 0, "the fetcher works ahead, as far as bytes allow"},
    {"fetch.queue.backoff.ms", "5", 0, "a full queue must not stall the reader for a second"},
};

static const struct property worker_properties[] = {
    {"isolation.level", "read_committed", PROMISE, "aborted input must not be processed"},
    {"max.poll.interval.ms", "60000", 0, "a stuck worker loses its partitions within a minute"},
    {"queued.max.messages.kbytes", "16384", 0, "16 MiB a client, of batches as bytes"},
};

/* Where the members agree among themselves who reads what. */
static const struct property member_properties[] = {
    /* Longer than a cluster takes to replace a dead coordinator (docs/operators.md says what it is to
     * be set to): a session that ends first costs a join, and a static member may fence itself. Timed
     * from the last heartbeat's answer, so that the interval has to fit in as well. */
    {"session.timeout.ms", "8000", 0, "a dead worker's partitions move within 10 s"},
    {"heartbeat.interval.ms", "500", 0, "what of a session it takes is not left for that failover"},
};

static const struct property range_properties[] = {
    {"partition.assignment.strategy", "range", 0, "equal partitions of joined topics meet"},
};

static const struct property cooperative_properties[] = {
    {"partition.assignment.strategy", "cooperative-sticky", 0, "only what moves stops"},
};

/* Session and heartbeats are the brokers' (group.consumer.session.timeout.ms); librdkafka refuses ours. */
static const struct property broker_properties[] = {
    {"group.protocol", "consumer", 0, "brokers say who reads what"},
    {"group.remote.assignor", "range", 0, "equal partitions of joined topics meet"},
};

static const struct property tail_properties[] = {
    {"group.id", "millrace-tail", PROMISE, "needed by the API; never joined, never committed to"},
    {"queued.max.messages.kbytes", "65536", 0, "64 MiB a client"},
};

/* Keys that we set at run time, and other names of the rows above. */
static const struct property reserved_properties[] = {
    {"group.id", NULL, PROMISE, "it is the pipeline's name"},
    {"group.protocol", NULL, PROMISE, "pipeline.rebalance chooses it"},
    {"group.remote.assignor", NULL, PROMISE, "pipeline.rebalance chooses it"},
    {"partition.assignment.strategy", NULL, PROMISE, "pipeline.rebalance chooses it"},
    {"group.instance.id", NULL, PROMISE, "it is made of instance.id and the thread"},
    {"transactional.id", NULL, PROMISE, "it is made of the pipeline, instance.id and the thread"},
    {"request.required.acks", NULL, PROMISE, "acknowledged means stored by all in-sync replicas"},
    {"retries", NULL, PROMISE, "an idempotent producer retries until message.timeout.ms"},
    {"message.send.max.retries", NULL, PROMISE,
     "an idempotent producer retries until message.timeout.ms"},
    {"isolation.level", NULL, PROMISE, "each reader says itself what it reads"},
    {"delivery.report.only.error", NULL, PROMISE, "reports are what answers are made from"},
};

struct property_table {
    const struct property *rows;
    size_t count;
};
#define TABLE(rows) {(rows), ARRAY_LEN(rows)}

#define ROLE_TABLES_MAX 5
static const struct property_table role_tables[][ROLE_TABLES_MAX] = {
    [KAFKA_ROLE_PRODUCER_ACKED] = {TABLE(common_properties), TABLE(producer_properties),
                                   TABLE(acked_properties)},
    [KAFKA_ROLE_PRODUCER_HASTY] = {TABLE(common_properties), TABLE(producer_properties),
                                   TABLE(hasty_properties)},
    [KAFKA_ROLE_PRODUCER_BULK] = {TABLE(common_properties), TABLE(producer_properties),
                                  TABLE(bulk_properties)},
    [KAFKA_ROLE_PRODUCER_TXN] = {TABLE(common_properties), TABLE(producer_properties),
                                 TABLE(txn_properties)},
    [KAFKA_ROLE_CONSUMER_WORKER] = {TABLE(common_properties), TABLE(consumer_properties),
                                    TABLE(worker_properties), TABLE(member_properties),
                                    TABLE(range_properties)},
    [KAFKA_ROLE_COOPERATIVE_WORKER] = {TABLE(common_properties), TABLE(consumer_properties),
                                       TABLE(worker_properties), TABLE(member_properties),
                                       TABLE(cooperative_properties)},
    [KAFKA_ROLE_BROKER_WORKER] = {TABLE(common_properties), TABLE(consumer_properties),
                                  TABLE(worker_properties), TABLE(broker_properties)},
    [KAFKA_ROLE_CONSUMER_TAIL] = {TABLE(common_properties), TABLE(consumer_properties),
                                  TABLE(tail_properties)},
    [KAFKA_ROLE_ADMIN] = {TABLE(common_properties)},
};

static enum err property_table_apply(rd_kafka_conf_t *conf, const struct property_table *table,
                                     struct err_info *info)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct property *row = &table->rows[i];
        char why[256];
        if (rd_kafka_conf_set(conf, row->name, row->value, why, sizeof why)) {
            return err_set(info, ERR_INTERNAL, "librdkafka refused %s=%s: %s", row->name,
                           row->value, why);
        }
    }
    return ERR_OK;
}

static enum err role_properties_apply(rd_kafka_conf_t *conf, enum kafka_role role,
                                      struct err_info *info)
{
    for (size_t i = 0; i < ROLE_TABLES_MAX; i++) {
        enum err e = property_table_apply(conf, &role_tables[role][i], info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* --- the user's properties ----------------------------------------------------------------------- */

static const struct property *table_find_promise(const struct property_table *table,
                                                 const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].flags & PROMISE && strcmp(table->rows[i].name, name) == 0) {
            return &table->rows[i];
        }
    }
    return NULL;
}

/* A promise of any role is refused for all: one configuration serves every client of a program. */
static const struct property *promise_find(const char *name)
{
    static const struct property_table tables[] = {
        TABLE(reserved_properties), TABLE(common_properties), TABLE(producer_properties),
        TABLE(consumer_properties), TABLE(worker_properties),
    };
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        const struct property *row = table_find_promise(&tables[i], name);
        if (row) {
            return row;
        }
    }
    return NULL;
}

#define PROPERTY_NAMES_MAX 512

/* Takes the names (the even entries) out of a librdkafka dump; they live as long as the dump. */
static size_t dump_names(const char **dump, size_t entries, const char **names, size_t names_max)
{
    size_t count = 0;
    for (size_t i = 0; i + 1 < entries && count < names_max; i += 2) {
        names[count++] = dump[i];
    }
    return count;
}

static enum err unknown_property(rd_kafka_conf_t *conf, const char *name, struct err_info *info)
{
    const char *names[PROPERTY_NAMES_MAX];
    size_t entries = 0, topic_entries = 0;
    rd_kafka_topic_conf_t *topic_conf = rd_kafka_topic_conf_new();
    const char **dump = rd_kafka_conf_dump(conf, &entries);
    const char **topic_dump = rd_kafka_topic_conf_dump(topic_conf, &topic_entries);
    size_t count = dump_names(dump, entries, names, PROPERTY_NAMES_MAX);
    count += dump_names(topic_dump, topic_entries, names + count, PROPERTY_NAMES_MAX - count);

    const char *nearest = config_nearest(name, names, count);
    enum err e = nearest
                     ? err_set(info, ERR_CONFIG,
                               "kafka.%s: librdkafka %s does not know it; did you mean kafka.%s?",
                               name, rd_kafka_version_str(), nearest)
                     : err_set(info, ERR_CONFIG, "kafka.%s: librdkafka %s does not know it", name,
                               rd_kafka_version_str());
    rd_kafka_conf_dump_free(topic_dump, topic_entries);
    rd_kafka_conf_dump_free(dump, entries);
    rd_kafka_topic_conf_destroy(topic_conf);
    return e;
}

static enum err user_property_apply(rd_kafka_conf_t *conf, const struct config_pair *pair,
                                    struct err_info *info)
{
    const struct property *promise = promise_find(pair->name);
    if (promise) {
        return err_set(info, ERR_CONFIG, "kafka.%s cannot be set: %s", pair->name, promise->reason);
    }
    char why[256];
    switch (rd_kafka_conf_set(conf, pair->name, pair->value, why, sizeof why)) {
    case RD_KAFKA_CONF_UNKNOWN:
        return unknown_property(conf, pair->name, info);
    case RD_KAFKA_CONF_INVALID:
        return err_set(info, ERR_CONFIG, "kafka.%s: %s", pair->name, why);
    case RD_KAFKA_CONF_OK:
        break;
    }
    return ERR_OK;
}

/* --- librdkafka's own log lines -------------------------------------------------------------------- */

/* Lines about connections come and go with brokers and are never fatal: librdkafka retries, and what
 * cannot be retried comes back to us as an error. */
static enum log_level log_level_of(int syslog_level, const char *facility)
{
    if (strcmp(facility, "CONFWARN") == 0) {
        return LOG_DEBUG; /* a consumer's property on a producer: one configuration serves both */
    }
    return syslog_level <= 4 ? LOG_WARN : syslog_level <= 6 ? LOG_INFO : LOG_DEBUG;
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *line)
{
    log_event(log_level_of(level, facility), "librdkafka", line, KV("facility", facility),
              KV("client", client ? rd_kafka_name(client) : ""));
}

/* --- interface ------------------------------------------------------------------------------------ */

static void conf_freep(rd_kafka_conf_t **conf)
{
    if (*conf) {
        rd_kafka_conf_destroy(*conf);
    }
}

enum err kafka_conf_new(const struct kafka_config *config, enum kafka_role role,
                        rd_kafka_conf_t **ret, struct err_info *info)
{
    CHECK(config->bootstrap_servers != NULL);
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, on_log);
    enum err e = role_properties_apply(conf, role, info);
    if (!e) {
        e = kafka_conf_set(conf, "client.id", program_invocation_short_name, info);
    }
    if (!e) {
        e = kafka_conf_set(conf, "bootstrap.servers", config->bootstrap_servers, info);
    }
    for (size_t i = 0; !e && i < config->extra.count; i++) {
        e = user_property_apply(conf, &config->extra.pairs[i], info);
    }
    if (e) {
        return e;
    }
    *ret = TAKE(conf);
    return ERR_OK;
}

enum err kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                        struct err_info *info)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        return err_set(info, ERR_CONFIG, "Kafka client: %s=%s: %s", name, value, why);
    }
    return ERR_OK;
}

int64_t kafka_conf_number(const rd_kafka_conf_t *conf, const char *name)
{
    char text[32];
    size_t bytes = sizeof text;
    rd_kafka_conf_res_t found = rd_kafka_conf_get(conf, name, text, &bytes);
    CHECK(found == RD_KAFKA_CONF_OK);
    return strtoll(text, NULL, 10);
}

enum err kafka_err(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return ERR_OK;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return ERR_QUEUE_FULL;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return ERR_KAFKA_TIMEOUT;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
        return ERR_KAFKA_UNAVAILABLE;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return ERR_TOPIC_UNKNOWN;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return ERR_TOPIC_FORBIDDEN;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return ERR_RECORD_TOO_LARGE;
    case RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD:
        return ERR_KAFKA_BATCH;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return ERR_KAFKA_FATAL;
    default:
        return ERR_KAFKA_REJECTED;
    }
}
