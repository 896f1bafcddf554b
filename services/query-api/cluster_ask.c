/* A picture of the cluster, asked for in a few rounds: topics, their bounds and settings, groups, who is in
 * them, what they have committed. A round that fails leaves its part unknown and says so. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/clock.h"

#define ROUND_MS       5000 /* an answer takes milliseconds */
#define EVENT_GRACE_MS 500  /* librdkafka tells of its own time-out a little later */
#define DESCRIBE_US    60000000
#define UNSUPPORTED    "the brokers do not tell (an old Kafka, or a mock one)"

struct asking {
    rd_kafka_t *client;
    const struct cluster_config *config;
    const struct cluster *before;
    struct cluster *cluster;
    int64_t deadline_us;
    int32_t broker; /* that answers */
    int64_t room;   /* offsets of groups that may still be held */
};

static void *take(struct asking *asking, size_t count, size_t size)
{
    void *taken = arena_alloc(&asking->cluster->arena, count * size);
    CHECK(taken); /* has no bound of its own: counts are bounded */
    memset(taken, 0, count * size);
    return taken;
}

static const char *copy(struct asking *asking, const char *text)
{
    return text ? arena_copy(&asking->cluster->arena, sv(text)).ptr : NULL;
}

static const char *why(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ? UNSUPPORTED : rd_kafka_err2str(code);
}

/* --- one round ------------------------------------------------------------------------------------------ */

static int round_ms(const struct asking *asking)
{
    int64_t left_ms = (asking->deadline_us - clock_mono_us()) / 1000;
    left_ms = left_ms < ROUND_MS ? left_ms : ROUND_MS;
    return left_ms > 1 ? (int)left_ms : 1;
}

static rd_kafka_AdminOptions_t *options_new(const struct asking *asking, rd_kafka_admin_op_t op)
{
    char text[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(asking->client, op);
    CHECK(rd_kafka_AdminOptions_set_request_timeout(options, round_ms(asking), text, sizeof text) ==
          0);
    return options;
}

/* Calls `read` with each of `count` answers; that one does not come, or fails, is a reason. */
static void answers_read(struct asking *asking, rd_kafka_queue_t *queue, size_t count,
                         const char *what,
                         void (*read)(struct asking *asking, rd_kafka_event_t *event))
{
    for (size_t i = 0; i < count; i++) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, round_ms(asking) + EVENT_GRACE_MS);
        if (!event) {
            cluster_reason(asking->cluster, "%s: no answer in time", what);
            return;
        }
        if (rd_kafka_event_error(event)) {
            cluster_reason(asking->cluster, "%s: %s", what, why(rd_kafka_event_error(event)));
        } else {
            read(asking, event);
        }
        rd_kafka_event_destroy(event);
    }
}

/* --- topics --------------------------------------------------------------------------------------------- */

static int topic_compare(const void *left, const void *right)
{
    return strcmp(((const struct cluster_topic *)left)->name,
                  ((const struct cluster_topic *)right)->name);
}

static void topic_take(struct asking *asking, const rd_kafka_metadata_topic_t *found)
{
    struct cluster_topic *topic = &asking->cluster->topics[asking->cluster->topic_count++];
    *topic = (struct cluster_topic){.name = copy(asking, found->topic),
                                    .is_internal = strncmp(found->topic, "__", 2) == 0,
                                    .partition_count = found->partition_cnt};
    topic->partitions = take(asking, (size_t)found->partition_cnt, sizeof *topic->partitions);
    for (int i = 0; i < found->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *from = &found->partitions[i];
        if (from->id >= 0 && from->id < found->partition_cnt) {
            topic->partitions[from->id] = (struct cluster_partition){.first = CLUSTER_UNKNOWN,
                                                                     .next = CLUSTER_UNKNOWN,
                                                                     .rate = CLUSTER_UNKNOWN,
                                                                     .leader = from->leader,
                                                                     .replicas = from->replica_cnt,
                                                                     .in_sync = from->isr_cnt};
        }
    }
}

static enum err topics_ask(struct asking *asking, struct err_info *info)
{
    const struct rd_kafka_metadata *metadata;
    struct cluster *cluster = asking->cluster;
    const rd_kafka_resp_err_t code =
        rd_kafka_metadata(asking->client, 1, NULL, &metadata, round_ms(asking));
    if (code) {
        return err_set(info, ERR_KAFKA_UNAVAILABLE, "no broker answered for the list of topics: %s",
                       rd_kafka_err2str(code));
    }
    int64_t room = asking->config->partitions_max;
    asking->broker = metadata->orig_broker_id;
    cluster->topics = take(asking, (size_t)metadata->topic_cnt + 1, sizeof *cluster->topics);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        room -= metadata->topics[i].partition_cnt;
        if (room < 0) {
            cluster_reason(cluster, "topics were left out (query.operators.partitions.max)");
            break;
        }
        if (metadata->topics[i].partition_cnt > 0) {
            topic_take(asking, &metadata->topics[i]);
        }
    }
    rd_kafka_metadata_destroy(metadata);
    qsort(cluster->topics, cluster->topic_count, sizeof *cluster->topics, topic_compare);
    return ERR_OK;
}

static struct cluster_partition *partition_find(const struct cluster *cluster, const char *name,
                                                int32_t partition)
{
    const struct cluster_topic *topic = cluster_topic_find(cluster, name);
    return topic && partition >= 0 && partition < topic->partition_count
               ? &topic->partitions[partition]
               : NULL;
}

/* --- bounds --------------------------------------------------------------------------------------------- */

#if RD_KAFKA_VERSION >= 0x02030000
static void bounds_read(struct asking *asking, rd_kafka_event_t *event, bool is_first)
{
    size_t count = 0;
    const rd_kafka_ListOffsetsResultInfo_t **found =
        rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *from =
            rd_kafka_ListOffsetsResultInfo_topic_partition(found[i]);
        struct cluster_partition *to =
            partition_find(asking->cluster, from->topic, from->partition);
        if (from->err || from->offset < 0) {
            cluster_reason(asking->cluster, "the bounds of %s [%d] are not known: %s", from->topic,
                           from->partition,
                           from->err ? why(from->err) : "its leader did not answer");
        } else if (to) {
            *(is_first ? &to->first : &to->next) = from->offset;
        }
    }
}

static void firsts_read(struct asking *asking, rd_kafka_event_t *event)
{
    bounds_read(asking, event, true);
}

static void nexts_read(struct asking *asking, rd_kafka_event_t *event)
{
    bounds_read(asking, event, false);
}

/* Of what has a leader: one that has none keeps the others waiting. */
static rd_kafka_topic_partition_list_t *led_new(const struct cluster *cluster, int64_t spec)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    for (size_t i = 0; i < cluster->topic_count; i++) {
        for (int32_t p = 0; p < cluster->topics[i].partition_count; p++) {
            if (cluster->topics[i].partitions[p].leader >= 0) {
                rd_kafka_topic_partition_list_add(list, cluster->topics[i].name, p)->offset = spec;
            }
        }
    }
    return list;
}

static void bounds_ask_of(struct asking *asking, int64_t spec,
                          void (*read)(struct asking *asking, rd_kafka_event_t *event))
{
    rd_kafka_topic_partition_list_t *list = led_new(asking->cluster, spec);
    if (list->cnt > 0) {
        rd_kafka_AdminOptions_t *options = options_new(asking, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        rd_kafka_queue_t *queue = rd_kafka_queue_new(asking->client);
        rd_kafka_ListOffsets(asking->client, list, options, queue);
        answers_read(asking, queue, 1, "the bounds of partitions", read);
        rd_kafka_queue_destroy(queue);
        rd_kafka_AdminOptions_destroy(options);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void bounds_ask(struct asking *asking)
{
    bounds_ask_of(asking, RD_KAFKA_OFFSET_SPEC_EARLIEST, firsts_read);
    bounds_ask_of(asking, RD_KAFKA_OFFSET_SPEC_LATEST, nexts_read);
}
#else
/* Older libraries can only be asked one by one. */
static void bounds_ask(struct asking *asking)
{
    for (size_t i = 0; i < asking->cluster->topic_count; i++) {
        const struct cluster_topic *topic = &asking->cluster->topics[i];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            int64_t low, high;
            rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
                asking->client, topic->name, p, &low, &high, round_ms(asking));
            if (code) {
                cluster_reason(asking->cluster, "the bounds of %s [%d] are not known: %s",
                               topic->name, p, why(code));
            } else {
                topic->partitions[p].first = low;
                topic->partitions[p].next = high;
            }
        }
    }
}
#endif

/* --- settings ------------------------------------------------------------------------------------------- */

static void setting_take(struct asking *asking, struct cluster_topic *topic, const char *name,
                         const char *value)
{
    if (strcmp(name, "cleanup.policy") == 0) {
        topic->cleanup = copy(asking, value);
    } else if (strcmp(name, "retention.ms") == 0) {
        topic->retention_ms = strtoll(value, NULL, 10);
    } else if (strcmp(name, "retention.bytes") == 0) {
        topic->retention_bytes = strtoll(value, NULL, 10);
    } else if (strcmp(name, "min.insync.replicas") == 0) {
        topic->in_sync_min = strtoll(value, NULL, 10);
    }
}

static void settings_read(struct asking *asking, rd_kafka_event_t *event)
{
    size_t count = 0, entry_count = 0;
    const rd_kafka_ConfigResource_t **found = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        struct cluster_topic *topic =
            cluster_topic_find(asking->cluster, rd_kafka_ConfigResource_name(found[i]));
        rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(found[i]);
        if (!topic || code) {
            cluster_reason(asking->cluster, "the settings of %s: %s",
                           rd_kafka_ConfigResource_name(found[i]), why(code));
            continue;
        }
        const rd_kafka_ConfigEntry_t **entries =
            rd_kafka_ConfigResource_configs(found[i], &entry_count);
        for (size_t n = 0; n < entry_count; n++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[n]);
            if (value) {
                setting_take(asking, topic, rd_kafka_ConfigEntry_name(entries[n]), value);
            }
        }
        topic->described_us = asking->cluster->made_us;
    }
}

/* Settings change rarely: what was told a moment ago is not asked again. */
static bool settings_are_known(struct asking *asking, struct cluster_topic *topic)
{
    const struct cluster_topic *was =
        asking->before ? cluster_topic_find(asking->before, topic->name) : NULL;
    if (!was || !was->described_us || asking->cluster->made_us - was->described_us > DESCRIBE_US) {
        return false;
    }
    topic->described_us = was->described_us;
    topic->cleanup = copy(asking, was->cleanup);
    topic->retention_ms = was->retention_ms;
    topic->retention_bytes = was->retention_bytes;
    topic->in_sync_min = was->in_sync_min;
    return true;
}

static void settings_ask(struct asking *asking)
{
    struct cluster *cluster = asking->cluster;
    rd_kafka_ConfigResource_t **wanted =
        must_alloc((cluster->topic_count + 1) * sizeof(rd_kafka_ConfigResource_t *));
    size_t count = 0;
    for (size_t i = 0; i < cluster->topic_count; i++) {
        if (!settings_are_known(asking, &cluster->topics[i])) {
            wanted[count++] =
                rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, cluster->topics[i].name);
        }
    }
    if (count > 0) {
        char text[128];
        rd_kafka_AdminOptions_t *options = options_new(asking, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
        /* Of itself, librdkafka would wait for the controller, which has nothing to do with it. */
        CHECK(asking->broker < 0 ||
              !rd_kafka_AdminOptions_set_broker(options, asking->broker, text, sizeof text));
        rd_kafka_queue_t *queue = rd_kafka_queue_new(asking->client);
        rd_kafka_DescribeConfigs(asking->client, wanted, count, options, queue);
        answers_read(asking, queue, 1, "the settings of topics", settings_read);
        rd_kafka_queue_destroy(queue);
        rd_kafka_AdminOptions_destroy(options);
    }
    rd_kafka_ConfigResource_destroy_array(wanted, count);
    free(wanted);
}

/* --- groups ------------------------------------------------------------------------------------------- */

static int group_compare(const void *left, const void *right)
{
    return strcmp(((const struct cluster_group *)left)->name,
                  ((const struct cluster_group *)right)->name);
}

static void groups_read(struct asking *asking, rd_kafka_event_t *event)
{
    struct cluster *cluster = asking->cluster;
    const rd_kafka_ListConsumerGroups_result_t *result =
        rd_kafka_event_ListConsumerGroups_result(event);
    size_t count = 0, error_count = 0;
    const rd_kafka_ConsumerGroupListing_t **found =
        rd_kafka_ListConsumerGroups_result_valid(result, &count);
    const rd_kafka_error_t **errors =
        rd_kafka_ListConsumerGroups_result_errors(result, &error_count);
    for (size_t i = 0; i < error_count; i++) {
        cluster_reason(cluster, "the list of groups: %s", why(rd_kafka_error_code(errors[i])));
    }
    if (count > (size_t)asking->config->groups_max) {
        cluster_reason(cluster, "groups were left out (query.operators.groups.max)");
        count = (size_t)asking->config->groups_max;
    }
    cluster->groups = take(asking, count + 1, sizeof *cluster->groups);
    cluster->group_count = count;
    for (size_t i = 0; i < count; i++) {
        cluster->groups[i] = (struct cluster_group){
            .name = copy(asking, rd_kafka_ConsumerGroupListing_group_id(found[i])),
            .state =
                rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupListing_state(found[i])),
            .type = "",
            .assignor = "",
            .coordinator = CLUSTER_UNKNOWN,
        };
    }
    qsort(cluster->groups, count, sizeof *cluster->groups, group_compare);
}

static struct cluster_offset *offsets_more(struct asking *asking, struct cluster_group *group,
                                           size_t more)
{
    if ((int64_t)more > asking->room) {
        cluster_reason(asking->cluster,
                       "offsets of groups were left out (query.operators.partitions.max)");
        return NULL;
    }
    asking->room -= (int64_t)more;
    struct cluster_offset *all = take(asking, group->offset_count + more, sizeof *group->offsets);
    if (group->offset_count) {
        memcpy(all, group->offsets, group->offset_count * sizeof *all);
    }
    group->offsets = all;
    return all + group->offset_count;
}

static struct cluster_offset offset_of(struct asking *asking,
                                       const rd_kafka_topic_partition_t *from)
{
    const struct cluster_topic *topic = cluster_topic_find(asking->cluster, from->topic);
    return (struct cluster_offset){
        .topic = topic,
        .name = topic ? topic->name : copy(asking, from->topic),
        .partition = from->partition,
        .member = CLUSTER_UNKNOWN,
        .committed = CLUSTER_UNKNOWN,
        .moved_ms = asking->cluster->as_of_ms,
        .rate = CLUSTER_UNKNOWN,
    };
}

static void member_take(struct asking *asking, struct cluster_group *group,
                        const rd_kafka_MemberDescription_t *from)
{
    struct cluster_member *member = &group->members[group->member_count];
    const rd_kafka_MemberAssignment_t *assignment = rd_kafka_MemberDescription_assignment(from);
    const rd_kafka_topic_partition_list_t *list =
        assignment ? rd_kafka_MemberAssignment_partitions(assignment) : NULL;
    *member = (struct cluster_member){
        .id = copy(asking, rd_kafka_MemberDescription_consumer_id(from)),
        .client_id = copy(asking, rd_kafka_MemberDescription_client_id(from)),
        .host = copy(asking, rd_kafka_MemberDescription_host(from)),
        .instance_id = copy(asking, rd_kafka_MemberDescription_group_instance_id(from)),
        .assigned = list ? (size_t)list->cnt : 0,
    };
    struct cluster_offset *to =
        member->assigned ? offsets_more(asking, group, member->assigned) : NULL;
    for (size_t i = 0; to && i < member->assigned; i++) {
        to[i] = offset_of(asking, &list->elems[i]);
        to[i].member = (int32_t)group->member_count;
        group->offset_count++;
    }
    group->member_count++;
}

static void description_read(struct asking *asking, const rd_kafka_ConsumerGroupDescription_t *from)
{
    struct cluster_group *group =
        cluster_group_find(asking->cluster, rd_kafka_ConsumerGroupDescription_group_id(from));
    const rd_kafka_error_t *error = rd_kafka_ConsumerGroupDescription_error(from);
    if (!group || error) {
        cluster_reason(asking->cluster, "who is in group %s: %s",
                       rd_kafka_ConsumerGroupDescription_group_id(from),
                       why(rd_kafka_error_code(error)));
        return;
    }
    const rd_kafka_Node_t *coordinator = rd_kafka_ConsumerGroupDescription_coordinator(from);
    size_t count = rd_kafka_ConsumerGroupDescription_member_count(from);
    group->state =
        rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(from));
    group->assignor = copy(asking, rd_kafka_ConsumerGroupDescription_partition_assignor(from));
    group->assignor = group->assignor ? group->assignor : "";
    group->coordinator = coordinator ? rd_kafka_Node_id(coordinator) : CLUSTER_UNKNOWN;
#if RD_KAFKA_VERSION >= 0x020c0000
    group->type = rd_kafka_consumer_group_type_name(rd_kafka_ConsumerGroupDescription_type(from));
#endif
    group->members = take(asking, count + 1, sizeof *group->members);
    for (size_t i = 0; i < count; i++) {
        member_take(asking, group, rd_kafka_ConsumerGroupDescription_member(from, i));
    }
}

static void descriptions_read(struct asking *asking, rd_kafka_event_t *event)
{
    size_t count = 0;
    const rd_kafka_ConsumerGroupDescription_t **found =
        rd_kafka_DescribeConsumerGroups_result_groups(
            rd_kafka_event_DescribeConsumerGroups_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        description_read(asking, found[i]);
    }
}

static void groups_ask(struct asking *asking)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(asking->client);
    rd_kafka_AdminOptions_t *options = options_new(asking, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_ListConsumerGroups(asking->client, options, queue);
    answers_read(asking, queue, 1, "the list of groups", groups_read);
    rd_kafka_AdminOptions_destroy(options);
    const size_t count = asking->cluster->group_count;
    if (count > 0) {
        const char **names = take(asking, count, sizeof *names);
        for (size_t i = 0; i < count; i++) {
            names[i] = asking->cluster->groups[i].name;
        }
        options = options_new(asking, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
        rd_kafka_DescribeConsumerGroups(asking->client, names, count, options, queue);
        answers_read(asking, queue, 1, "who is in the groups", descriptions_read);
        rd_kafka_AdminOptions_destroy(options);
    }
    rd_kafka_queue_destroy(queue);
}

/* --- what they have committed -------------------------------------------------------------------------- */

/* What is committed and who reads it come apart: a partition once. */
static void offsets_merge(struct cluster_group *group)
{
    size_t kept = 0;
    for (size_t i = 0; i < group->offset_count; i++) {
        struct cluster_offset *last = kept ? &group->offsets[kept - 1] : NULL;
        const struct cluster_offset *offset = &group->offsets[i];
        if (last && cluster_offset_compare(last, offset) == 0) {
            last->committed =
                offset->committed > last->committed ? offset->committed : last->committed;
            last->member = offset->member > last->member ? offset->member : last->member;
        } else {
            group->offsets[kept++] = *offset;
        }
    }
    group->offset_count = kept;
}

static void committed_read(struct asking *asking, rd_kafka_event_t *event)
{
    size_t count = 0;
    const rd_kafka_group_result_t **found = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        struct cluster_group *group =
            cluster_group_find(asking->cluster, rd_kafka_group_result_name(found[i]));
        const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(found[i]);
        const rd_kafka_error_t *error = rd_kafka_group_result_error(found[i]);
        if (!group || !list || error) {
            cluster_reason(asking->cluster, "what group %s has committed: %s",
                           rd_kafka_group_result_name(found[i]), why(rd_kafka_error_code(error)));
            continue;
        }
        struct cluster_offset *to =
            list->cnt ? offsets_more(asking, group, (size_t)list->cnt) : NULL;
        for (int n = 0; to && n < list->cnt; n++) {
            if (list->elems[n].offset >= 0) {
                *to = offset_of(asking, &list->elems[n]);
                (to++)->committed = list->elems[n].offset;
                group->offset_count++;
            }
        }
    }
}

/* One question a group, as librdkafka has it, all at once. */
static void committed_ask(struct asking *asking)
{
    struct cluster *cluster = asking->cluster;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(asking->client);
    rd_kafka_AdminOptions_t *options =
        options_new(asking, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    for (size_t i = 0; i < cluster->group_count; i++) {
        rd_kafka_ListConsumerGroupOffsets_t *question =
            rd_kafka_ListConsumerGroupOffsets_new(cluster->groups[i].name, NULL);
        rd_kafka_ListConsumerGroupOffsets(asking->client, &question, 1, options, queue);
        rd_kafka_ListConsumerGroupOffsets_destroy(question);
    }
    answers_read(asking, queue, cluster->group_count, "what groups have committed", committed_read);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    for (size_t i = 0; i < cluster->group_count; i++) {
        struct cluster_group *group = &cluster->groups[i];
        if (group->offset_count) {
            qsort(group->offsets, group->offset_count, sizeof *group->offsets,
                  cluster_offset_compare);
            offsets_merge(group);
        }
    }
}

/* Groups first: what they have committed lies then below the ends that are told. */
enum err cluster_ask(rd_kafka_t *client, const struct cluster_config *config,
                     const struct cluster *before, int64_t timeout_ms, struct cluster **ret,
                     struct err_info *info)
{
    struct asking asking = {.client = client,
                            .config = config,
                            .before = before,
                            .cluster = cluster_new(),
                            .deadline_us = clock_mono_us() + timeout_ms * 1000,
                            .room = config->partitions_max};
    enum err e = topics_ask(&asking, info);
    if (e) {
        cluster_free(asking.cluster);
        return e;
    }
    groups_ask(&asking);
    committed_ask(&asking);
    settings_ask(&asking);
    bounds_ask(&asking);
    cluster_compare(asking.cluster, before);
    *ret = asking.cluster;
    return ERR_OK;
}
