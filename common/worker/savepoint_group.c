#include "worker/savepoint_group.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_topics.h"
#include "worker/worker_check.h"

#define ASK_MS        10000
#define MARK_MS       5000
#define RECORDS_BATCH 2000
#define POLL_MS       100
#define STALLED_MS    30000

/* --- life -----------------------------------------------------------------------------------------------*/

void savepoint_group_close(struct savepoint_group *group)
{
    if (group->client) {
        rd_kafka_destroy(TAKE(group->client));
    }
    free(TAKE(group->partitions));
}

enum err savepoint_group_open(const struct savepoint_params *params, struct savepoint_group *ret,
                              struct err_info *info)
{
    rd_kafka_conf_t *conf = NULL;
    char why[256];
    enum err e = kafka_conf_new(params->kafka, KAFKA_ROLE_CONSUMER_WORKER, &conf, info);
    e = e ? e : kafka_conf_set(conf, "group.id", pipeline_name(params->pipeline), info);
    if (e) {
        if (conf) {
            rd_kafka_conf_destroy(conf);
        }
        return e;
    }
    ret->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!ret->client) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka client: %s", why);
    }
    ret->source_count = pipeline_source_count(params->pipeline);
    ret->partitions = must_alloc((ret->source_count + 1) * sizeof *ret->partitions);
    return ERR_OK;
}

enum err savepoint_group_count(struct savepoint_group *group, const struct pipeline *pipeline,
                               struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < group->source_count; i++) {
        e = kafka_topic_partitions(group->client, pipeline_source_topic(pipeline, i), ASK_MS,
                                   &group->partitions[i], info);
    }
    return e;
}

/* --- where it is --------------------------------------------------------------------------------------------*/

static void listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    rd_kafka_topic_partition_list_destroy(*list);
}

static void place_set(struct savepoint_place *place, const rd_kafka_topic_partition_t *found)
{
    place->offset = found->offset >= 0 ? found->offset : -1;
    free(place->metadata);
    place->metadata = must_alloc(found->metadata_size + 1);
    if (found->metadata && found->metadata_size > 0) {
        memcpy(place->metadata, found->metadata, found->metadata_size);
    }
}

enum err savepoint_group_places(struct savepoint_group *group, struct savepoint *savepoint,
                                struct err_info *info)
{
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < savepoint->input_count; i++) {
        for (int32_t p = 0; p < savepoint->inputs[i].partition_count; p++) {
            rd_kafka_topic_partition_list_add(list, savepoint->inputs[i].topic, p);
        }
    }
    rd_kafka_resp_err_t code = rd_kafka_committed(group->client, list, ASK_MS);
    for (int i = 0; !code && i < list->cnt; i++) {
        code = list->elems[i].err;
    }
    if (code) {
        return err_set(info, kafka_err(code), "the committed offsets of group %s: %s",
                       savepoint->pipeline, rd_kafka_err2str(code));
    }
    int next = 0; /* the list keeps its order */
    for (size_t i = 0; i < savepoint->input_count; i++) {
        for (int32_t p = 0; p < savepoint->inputs[i].partition_count; p++) {
            place_set(&savepoint->inputs[i].places[p], &list->elems[next++]);
        }
    }
    return ERR_OK;
}

/* All groups are listed, since a group of the brokers' own protocol cannot be described as others are. */
static bool is_in_use(const rd_kafka_ListConsumerGroups_result_t *result, const char *name)
{
    size_t count = 0;
    const rd_kafka_ConsumerGroupListing_t **groups =
        rd_kafka_ListConsumerGroups_result_valid(result, &count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_consumer_group_state_t state = rd_kafka_ConsumerGroupListing_state(groups[i]);
        if (strcmp(rd_kafka_ConsumerGroupListing_group_id(groups[i]), name) == 0) {
            return state != RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY &&
                   state != RD_KAFKA_CONSUMER_GROUP_STATE_DEAD;
        }
    }
    return false;
}

static enum err listing_judge(rd_kafka_event_t *event, const char *name, struct err_info *info)
{
    const rd_kafka_ListConsumerGroups_result_t *result =
        event ? rd_kafka_event_ListConsumerGroups_result(event) : NULL;
    if (!result || rd_kafka_event_error(event)) {
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "who is in group %s: %s", name,
                       event ? rd_kafka_event_error_string(event) : "no answer");
    }
    size_t failed = 0; /* brokers that did not answer: the group may be one of theirs */
    const rd_kafka_error_t **errors = rd_kafka_ListConsumerGroups_result_errors(result, &failed);
    if (failed > 0) {
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "who is in group %s: %s", name,
                       rd_kafka_error_string(errors[0]));
    }
    return is_in_use(result, name)
               ? err_set(info, ERR_STATE,
                         "workers of %s are running, or ended less than their session.timeout.ms "
                         "ago: stop them, or wait",
                         name)
               : ERR_OK;
}

enum err savepoint_group_empty(struct savepoint_group *group, const char *name,
                               struct err_info *info)
{
    char why[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(group->client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(group->client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    CHECK(rd_kafka_AdminOptions_set_request_timeout(options, ASK_MS, why, sizeof why) == 0);
    rd_kafka_ListConsumerGroups(group->client, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ASK_MS + POLL_MS);
    enum err e = listing_judge(event, name, info);
    if (event) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return e;
}

/* --- its topics ---------------------------------------------------------------------------------------------*/

enum err savepoint_tail_read(struct kafka_tail *tail, const struct savepoint_taker *taker,
                             struct err_info *info)
{
    rd_kafka_message_t *messages[RECORDS_BATCH];
    enum err e = kafka_tail_mark_end(tail, MARK_MS, info);
    int64_t progress_us = clock_mono_us();
    while (!e && !kafka_tail_is_caught_up(tail)) {
        size_t count = kafka_tail_poll(tail, messages, RECORDS_BATCH, POLL_MS);
        for (size_t i = 0; i < count; i++) {
            e = e ? e : taker->take(taker->context, messages[i], info);
            rd_kafka_message_destroy(messages[i]);
        }
        e = e || !taker->turn ? e : taker->turn(taker->context, info);
        progress_us = count > 0 ? clock_mono_us() : progress_us;
        if (!e && clock_mono_us() - progress_us > STALLED_MS * 1000) {
            e = err_set(info, ERR_KAFKA_TIMEOUT,
                        "nothing more was read for %d s, and the logs' "
                        "ends were not reached",
                        STALLED_MS / 1000);
        }
    }
    return e;
}

size_t savepoint_store_of(const struct pipeline *pipeline, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    size_t count = pipeline_store_count(pipeline), store = 0;
    while (store < count && strcmp(pipeline_store_changelog(pipeline, store), topic) != 0) {
        store++;
    }
    return store;
}

int32_t savepoint_store_partitions(const struct pipeline *pipeline,
                                   const struct savepoint_group *group, size_t store)
{
    unsigned stage = pipeline_store_stage(pipeline, store);
    size_t source = 0;
    while (pipeline_source_stage(pipeline, source) != stage) {
        source++;
    }
    return group->partitions[source];
}

static enum err changelog_add(const struct savepoint_params *params,
                              const struct savepoint_group *group, size_t store,
                              struct kafka_tail *tail, struct err_info *info)
{
    const char *topic = pipeline_store_changelog(params->pipeline, store);
    int32_t here = 0, wanted = savepoint_store_partitions(params->pipeline, group, store);
    enum err e = kafka_topic_partitions(group->client, topic, ASK_MS, &here, info);
    if (!e && here != wanted) {
        return err_set(info, ERR_STATE, "changelog %s has %d partitions, what fills it has %d",
                       topic, here, wanted);
    }
    for (int32_t p = 0; !e && p < here; p++) {
        e = kafka_tail_add(tail, &(struct kafka_position){topic, p, KAFKA_EARLIEST}, 1, info);
    }
    return e;
}

enum err savepoint_changelogs_open(const struct savepoint_params *params,
                                   const struct savepoint_group *group, struct kafka_tail **ret,
                                   struct err_info *info)
{
    enum err e = kafka_tail_new(&(struct kafka_tail_params){.config = params->kafka,
                                                            .fetch_wait_ms = 5,
                                                            .label = "savepoint"},
                                ret, info);
    for (size_t i = 0; !e && i < pipeline_store_count(params->pipeline); i++) {
        e = changelog_add(params, group, i, *ret, info);
    }
    return e;
}
