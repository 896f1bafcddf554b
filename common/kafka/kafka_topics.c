#define _DEFAULT_SOURCE /* usleep */

#include "kafka/kafka_topics.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

#define BROKER_ASK_PAUSE_US  20000
#define CLUSTER_ASK_PAUSE_US 100000
#define EVENT_GRACE_MS       500

static void clientp_destroy(rd_kafka_t **client)
{
    if (*client) {
        rd_kafka_destroy(*client);
    }
}

static void metadatap_destroy(const struct rd_kafka_metadata **metadata)
{
    if (*metadata) {
        rd_kafka_metadata_destroy(*metadata);
    }
}

/* servers NULL: the configured ones. */
static enum err admin_client_new(const struct kafka_config *config, const char *servers,
                                 rd_kafka_t **ret, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(config, KAFKA_ROLE_ADMIN, &conf, info);
    if (e) {
        return e;
    }
    if (servers) {
        e = kafka_conf_set(conf, "bootstrap.servers", servers, info);
        if (e) {
            rd_kafka_conf_destroy(conf);
            return e;
        }
    }
    char why[256];
    *ret = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!*ret) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka client: %s", why);
    }
    return ERR_OK;
}

static int until(int64_t deadline_us)
{
    int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;
    return left_ms < 1 ? 1 : left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
}

/* --- what exists ----------------------------------------------------------------------------------- */

static const rd_kafka_metadata_topic_t *metadata_find(const struct rd_kafka_metadata *metadata,
                                                      const char *topic)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        if (strcmp(metadata->topics[i].topic, topic) == 0) {
            return &metadata->topics[i];
        }
    }
    return NULL;
}

/* A connection that goes under the question is not the end of it: the first one always goes, for the
 * broker's own. (Without any, librdkafka waits for one.) */
static rd_kafka_resp_err_t metadata_ask(rd_kafka_t *client, bool is_all, int64_t timeout_ms,
                                        const struct rd_kafka_metadata **ret)
{
    const int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    rd_kafka_resp_err_t code;
    do {
        code = rd_kafka_metadata(client, is_all, NULL, ret, until(deadline_us));
    } while (code == RD_KAFKA_RESP_ERR__TRANSPORT && clock_mono_us() < deadline_us);
    return code;
}

/* All topics are asked for, not one: a request that names a missing topic may create it. */
static enum err metadata_of_all(rd_kafka_t *client, int64_t timeout_ms,
                                const struct rd_kafka_metadata **ret, struct err_info *info)
{
    rd_kafka_resp_err_t code = metadata_ask(client, true, timeout_ms, ret);
    if (code) {
        *ret = NULL;
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "no broker answered for the list of topics: %s",
                       rd_kafka_err2str(code));
    }
    return ERR_OK;
}

enum err kafka_topic_partitions(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                                int32_t *ret_count, struct err_info *info)
{
    CLEANUP(metadatap_destroy) const struct rd_kafka_metadata *metadata = NULL;
    enum err e = metadata_of_all(client, timeout_ms, &metadata, info);
    if (e) {
        return e;
    }
    const rd_kafka_metadata_topic_t *found = metadata_find(metadata, topic);
    if (!found || found->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        return err_set(info, ERR_TOPIC_UNKNOWN, "topic %s does not exist", topic);
    }
    if (found->err || found->partition_cnt == 0) {
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "topic %s: %s", topic,
                       rd_kafka_err2str(found->err));
    }
    *ret_count = found->partition_cnt;
    return ERR_OK;
}

#if RD_KAFKA_VERSION >= 0x02040000
static enum err epoch_of(rd_kafka_event_t *event, const char *topic, uint32_t *ret_epoch,
                         struct err_info *info)
{
    const rd_kafka_DescribeTopics_result_t *result = rd_kafka_event_DescribeTopics_result(event);
    size_t count = 0;
    const rd_kafka_TopicDescription_t **found =
        result ? rd_kafka_DescribeTopics_result_topics(result, &count) : NULL;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (!code && count == 1) {
        code = rd_kafka_error_code(rd_kafka_TopicDescription_error(found[0]));
    }
    if (code || count != 1) {
        return err_set(info, kafka_err(code), "describing topic %s: %s", topic,
                       rd_kafka_err2str(code));
    }
    const rd_kafka_Uuid_t *id = rd_kafka_TopicDescription_topic_id(found[0]);
    uint64_t bits = (uint64_t)rd_kafka_Uuid_most_significant_bits(id) ^
                    (uint64_t)rd_kafka_Uuid_least_significant_bits(id);
    *ret_epoch = (uint32_t)(bits ^ bits >> 32);
    return ERR_OK;
}

static enum err describe(rd_kafka_t *client, const char *topic,
                         const rd_kafka_AdminOptions_t *options, int timeout_ms,
                         uint32_t *ret_epoch, struct err_info *info)
{
    rd_kafka_TopicCollection_t *topics =
        rd_kafka_TopicCollection_of_topic_names((const char *[]){topic}, 1);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DescribeTopics(client, topics, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    enum err e =
        event ? epoch_of(event, topic, ret_epoch, info)
              : err_set(info, ERR_KAFKA_TIMEOUT, "describing topic %s: no answer in time", topic);
    if (event) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_TopicCollection_destroy(topics);
    return e;
}

/* Of the broker that has just answered: of itself, librdkafka would wait for the controller, which has
 * nothing to do with it. */
enum err kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                           uint32_t *ret_epoch, struct err_info *info)
{
    CLEANUP(metadatap_destroy) const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = metadata_ask(client, false, timeout_ms, &metadata);
    if (code || metadata->broker_cnt == 0) {
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "describing topic %s: no broker answered: %s",
                       topic, rd_kafka_err2str(code));
    }
    int32_t broker =
        metadata->orig_broker_id >= 0 ? metadata->orig_broker_id : metadata->brokers[0].id;
    char why[256];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    /* Both are within librdkafka's bounds. */
    CHECK(rd_kafka_AdminOptions_set_broker(options, broker, why, sizeof why) == 0);
    CHECK(rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, why, sizeof why) ==
          0);
    enum err e =
        describe(client, topic, options, (int)timeout_ms + EVENT_GRACE_MS, ret_epoch, info);
    rd_kafka_AdminOptions_destroy(options);
    return e;
}
#else
enum err kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                           uint32_t *ret_epoch, struct err_info *info)
{
    (void)client, (void)topic, (void)timeout_ms, (void)info;
    *ret_epoch = 0;
    return ERR_OK;
}
#endif

bool kafka_client_warm_up(rd_kafka_t *client, int64_t timeout_ms)
{
    /* The first answer may come through the bootstrap connection, which is then dropped for the
     * broker's own: asked twice. */
    for (int i = 0; i < 2; i++) {
        const struct rd_kafka_metadata *metadata;
        if (metadata_ask(client, true, timeout_ms, &metadata)) {
            return false;
        }
        rd_kafka_metadata_destroy(metadata);
    }
    return true;
}

enum err kafka_brokers_await(const struct kafka_config *config, int64_t count, int64_t timeout_ms,
                             struct err_info *info)
{
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    CLEANUP(clientp_destroy) rd_kafka_t *client = NULL;
    enum err e = admin_client_new(config, NULL, &client, info);
    int seen = 0;
    while (!e) {
        CLEANUP(metadatap_destroy) const struct rd_kafka_metadata *metadata = NULL;
        e = metadata_of_all(client, until(deadline_us), &metadata, info);
        seen = e ? seen : metadata->broker_cnt;
        if (!e && seen >= count) {
            return ERR_OK;
        }
        /* The last question may get too little time; what was answered before it counts. */
        if (seen && (e || clock_mono_us() >= deadline_us)) {
            return err_set(info, ERR_KAFKA_TIMEOUT, "%d of at least %lld brokers are there", seen,
                           (long long)count);
        }
        if (!e) {
            (void)usleep(CLUSTER_ASK_PAUSE_US); /* a cluster cannot be asked to call back */
        }
    }
    return e;
}

/* --- making what is missing -------------------------------------------------------------------------- */

/* Waits for the one result of an admin request and turns it into an error. */
static enum err create_result(rd_kafka_queue_t *queue, const char *topic, int timeout_ms,
                              struct err_info *info)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    const rd_kafka_CreateTopics_result_t *result =
        event ? rd_kafka_event_CreateTopics_result(event) : NULL;
    enum err e = ERR_OK;
    if (!result) {
        e = err_set(info, ERR_KAFKA_TIMEOUT, "creating topic %s: no answer in time", topic);
    } else if (rd_kafka_event_error(event)) {
        e = err_set(info, kafka_err(rd_kafka_event_error(event)), "creating topic %s: %s", topic,
                    rd_kafka_event_error_string(event));
    } else {
        size_t count = 0;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(result, &count);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[0]);
        if (code && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) { /* another one was faster */
            e = err_set(info, kafka_err(code), "creating topic %s: %s", topic,
                        rd_kafka_topic_result_error_string(results[0]));
        }
    }
    if (event) {
        rd_kafka_event_destroy(event);
    }
    return e;
}

static enum err topic_create(rd_kafka_t *client, const struct kafka_topic_spec *spec,
                             int32_t replication, int timeout_ms, struct err_info *info)
{
    char why[256];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(spec->name, spec->partitions, replication, why, sizeof why);
    if (!topic) {
        return err_set(info, ERR_CONFIG, "topic %s: %s", spec->name, why);
    }
    for (size_t i = 0; i < spec->config_count; i++) {
        (void)rd_kafka_NewTopic_set_config(topic, spec->config[i].name,
                                           spec->config[i].value); /* the broker judges it */
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, why, sizeof why);
    rd_kafka_CreateTopics(client, &topic, 1, options, queue);
    enum err e = create_result(queue, spec->name, timeout_ms + 1000, info);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
    return e;
}

static bool topic_is_led(const struct rd_kafka_metadata *metadata, const char *topic)
{
    const rd_kafka_metadata_topic_t *found = metadata_find(metadata, topic);
    if (!found || found->err || found->partition_cnt == 0) {
        return false;
    }
    for (int i = 0; i < found->partition_cnt; i++) {
        if (found->partitions[i].leader < 0) {
            return false;
        }
    }
    return true;
}

/* A fresh client that knows only this broker asks this broker. */
static enum err broker_wait_for_topic(const struct kafka_config *config,
                                      const rd_kafka_metadata_broker_t *broker, const char *topic,
                                      int64_t deadline_us, struct err_info *info)
{
    char address[280];
    (void)snprintf(address, sizeof address, "%s:%d", broker->host, broker->port);
    CLEANUP(clientp_destroy) rd_kafka_t *client = NULL;
    enum err e = admin_client_new(config, address, &client, info);
    while (!e) {
        CLEANUP(metadatap_destroy) const struct rd_kafka_metadata *metadata = NULL;
        e = metadata_of_all(client, until(deadline_us), &metadata, info);
        if (!e && topic_is_led(metadata, topic)) {
            return ERR_OK;
        }
        if (!e && clock_mono_us() >= deadline_us) {
            return err_set(info, ERR_KAFKA_TIMEOUT,
                           "topic %s was created, but broker %s does not know it yet", topic,
                           address);
        }
        if (!e) {
            (void)usleep(BROKER_ASK_PAUSE_US); /* brokers cannot be asked to call back */
        }
    }
    return e;
}

static enum err topic_create_everywhere(rd_kafka_t *client, const struct kafka_config *config,
                                        const struct kafka_topic_spec *spec, int64_t deadline_us,
                                        struct err_info *info)
{
    CLEANUP(metadatap_destroy) const struct rd_kafka_metadata *metadata = NULL;
    enum err e = metadata_of_all(client, until(deadline_us), &metadata, info);
    if (e) {
        return e;
    }
    int32_t replication =
        spec->replication < metadata->broker_cnt ? spec->replication : metadata->broker_cnt;
    e = topic_create(client, spec, replication, until(deadline_us), info);
    for (int i = 0; !e && i < metadata->broker_cnt; i++) {
        e = broker_wait_for_topic(config, &metadata->brokers[i], spec->name, deadline_us, info);
    }
    return e;
}

enum err kafka_topic_ensure(const struct kafka_config *config, const struct kafka_topic_spec *spec,
                            int64_t timeout_ms, enum kafka_topic_state *ret_state,
                            struct err_info *info)
{
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    CLEANUP(clientp_destroy) rd_kafka_t *client = NULL;
    enum err e = admin_client_new(config, NULL, &client, info);
    if (e) {
        return e;
    }
    int32_t partitions = 0;
    e = kafka_topic_partitions(client, spec->name, until(deadline_us), &partitions, info);
    if (e == ERR_TOPIC_UNKNOWN) {
        e = topic_create_everywhere(client, config, spec, deadline_us, info);
        if (!e) {
            *ret_state = KAFKA_TOPIC_CREATED;
        }
        return e;
    }
    if (e) {
        return e;
    }
    *ret_state = partitions == spec->partitions ? KAFKA_TOPIC_EXISTS : KAFKA_TOPIC_DIFFERS;
    if (partitions != spec->partitions) {
        (void)err_set(info, ERR_OK, "topic %s has %d partitions, not %d", spec->name, partitions,
                      spec->partitions);
    }
    return ERR_OK;
}
