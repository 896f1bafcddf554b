#include "consumer_group.h"

#include <stdlib.h>
#include <string.h>

#include "kafka/kafka_config.h"

#define GRACE_MS 500 /* for the answer, past what Kafka is given for it */

/* --- places -------------------------------------------------------------------------------------------- */

void consumer_places_free(struct consumer_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        free(places->topics[i].name);
        free(places->topics[i].next);
    }
    free(places->topics);
    *places = (struct consumer_places){0};
}

struct consumer_topic *consumer_places_add(struct consumer_places *places, const char *name,
                                           int32_t partition_count, uint32_t epoch)
{
    places->topics = must_realloc(places->topics, (places->count + 1) * sizeof *places->topics);
    struct consumer_topic *topic = &places->topics[places->count++];
    *topic = (struct consumer_topic){
        .name = must_strdup(name), .epoch = epoch, .partition_count = partition_count};
    topic->next = must_alloc(((size_t)partition_count + 1) * sizeof *topic->next);
    for (int32_t p = 0; p < partition_count; p++) {
        topic->next[p] = -1;
    }
    return topic;
}

void consumer_places_copy(const struct consumer_places *from, struct consumer_places *ret)
{
    *ret = (struct consumer_places){0};
    for (size_t i = 0; i < from->count; i++) {
        const struct consumer_topic *topic = &from->topics[i];
        struct consumer_topic *copy =
            consumer_places_add(ret, topic->name, topic->partition_count, topic->epoch);
        memcpy(copy->next, topic->next, (size_t)topic->partition_count * sizeof *topic->next);
        copy->note = topic->note;
    }
}

bool consumer_topic_is_empty(const struct consumer_topic *topic)
{
    for (int32_t p = 0; p < topic->partition_count; p++) {
        if (topic->next[p] >= 0) {
            return false;
        }
    }
    return true;
}

bool consumer_places_is_empty(const struct consumer_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        if (!consumer_topic_is_empty(&places->topics[i])) {
            return false;
        }
    }
    return true;
}

static struct consumer_topic *topic_find(struct consumer_places *places, const char *name)
{
    for (size_t i = 0; i < places->count; i++) {
        if (strcmp(places->topics[i].name, name) == 0) {
            return &places->topics[i];
        }
    }
    return NULL;
}

static void listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    if (*list) {
        rd_kafka_topic_partition_list_destroy(*list);
    }
}

/* --- a question of the admin API ------------------------------------------------------------------------- */

struct question {
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event; /* the answer */
};

static void question_end(struct question *question)
{
    if (question->event) {
        rd_kafka_event_destroy(question->event);
    }
    rd_kafka_AdminOptions_destroy(question->options);
    rd_kafka_queue_destroy(question->queue);
}

static void question_begin(struct question *question, rd_kafka_t *client, rd_kafka_admin_op_t what)
{
    char why[256];
    *question = (struct question){.queue = rd_kafka_queue_new(client),
                                  .options = rd_kafka_AdminOptions_new(client, what)};
    CHECK(rd_kafka_AdminOptions_set_request_timeout(question->options, CONSUMER_ASK_MS, why,
                                                    sizeof why) == 0); /* within its bounds */
}

static enum err question_await(struct question *question, const char *what, const char *group,
                               struct err_info *info)
{
    question->event = rd_kafka_queue_poll(question->queue, CONSUMER_ASK_MS + GRACE_MS);
    if (!question->event) {
        return err_set(info, ERR_KAFKA_TIMEOUT, "%s of group %s: no answer in time", what, group);
    }
    rd_kafka_resp_err_t code = rd_kafka_event_error(question->event);
    return code ? err_set(info, kafka_err(code), "%s of group %s: %s", what, group,
                          rd_kafka_event_error_string(question->event))
                : ERR_OK;
}

/* Kafka's word on the one group that was asked about. */
static rd_kafka_resp_err_t group_code(const rd_kafka_group_result_t *const *groups, size_t count)
{
    const rd_kafka_error_t *error = count == 1 ? rd_kafka_group_result_error(groups[0]) : NULL;
    return error        ? rd_kafka_error_code(error)
           : count == 1 ? RD_KAFKA_RESP_ERR_NO_ERROR
                        : RD_KAFKA_RESP_ERR__BAD_MSG;
}

/* --- reading --------------------------------------------------------------------------------------------- */

static enum err offsets_take(const rd_kafka_event_t *event, const char *group,
                             void (*on_offset)(void *context,
                                               const rd_kafka_topic_partition_t *offset),
                             void *context, struct err_info *info)
{
    size_t count = 0;
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result((rd_kafka_event_t *)(uintptr_t)event),
        &count);
    rd_kafka_resp_err_t code = group_code(groups, count);
    const rd_kafka_topic_partition_list_t *list =
        code ? NULL : rd_kafka_group_result_partitions(groups[0]);
    for (int i = 0; !code && list && i < list->cnt; i++) {
        code = list->elems[i].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                   ? RD_KAFKA_RESP_ERR_NO_ERROR /* nothing is committed there */
                   : list->elems[i].err;
        if (!code && list->elems[i].offset >= 0) {
            on_offset(context, &list->elems[i]);
        }
    }
    return code ? err_set(info, kafka_err(code), "the committed offsets of group %s: %s", group,
                          rd_kafka_err2str(code))
                : ERR_OK;
}

static enum err
offsets_ask(rd_kafka_t *client, const char *group, const rd_kafka_topic_partition_list_t *list,
            void (*on_offset)(void *context, const rd_kafka_topic_partition_t *offset),
            void *context, struct err_info *info)
{
    CLEANUP(question_end) struct question question;
    question_begin(&question, client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets_t *ask = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_ListConsumerGroupOffsets(client, &ask, 1, question.options, question.queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    enum err e = question_await(&question, "the committed offsets", group, info);
    return e ? e : offsets_take(question.event, group, on_offset, context, info);
}

enum err consumer_group_each(rd_kafka_t *client, const char *group,
                             void (*on_offset)(void *context,
                                               const rd_kafka_topic_partition_t *offset),
                             void *context, struct err_info *info)
{
    return offsets_ask(client, group, NULL, on_offset, context, info);
}

static void note_take(struct consumer_topic *topic, const rd_kafka_topic_partition_t *offset)
{
    struct consumer_note *known = &topic->note;
    struct consumer_note note =
        consumer_note_parse(sv_of(offset->metadata, offset->metadata ? offset->metadata_size : 0));
    const int64_t at_ms = known->at_ms > note.at_ms ? known->at_ms : note.at_ms;
    topic->oldest_ms = topic->oldest_ms < note.at_ms ? topic->oldest_ms : note.at_ms;
    if (consumer_note_is_before(known, &note)) {
        *known = note;
    }
    known->at_ms = at_ms;
}

static void on_place(void *context, const rd_kafka_topic_partition_t *offset)
{
    struct consumer_topic *topic = topic_find(context, offset->topic);
    if (topic && offset->partition < topic->partition_count) {
        topic->next[offset->partition] = offset->offset;
        note_take(topic, offset);
    }
}

enum err consumer_group_fetch(rd_kafka_t *client, const char *group, struct consumer_places *places,
                              struct err_info *info)
{
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < places->count; i++) {
        struct consumer_topic *topic = &places->topics[i];
        topic->note = (struct consumer_note){0};
        topic->oldest_ms = INT64_MAX;
        for (int32_t p = 0; p < topic->partition_count; p++) {
            topic->next[p] = -1;
            rd_kafka_topic_partition_list_add(list, topic->name, p);
        }
    }
    return list->cnt ? offsets_ask(client, group, list, on_place, places, info) : ERR_OK;
}

/* --- writing --------------------------------------------------------------------------------------------- */

static void places_list(const struct consumer_places *places, rd_kafka_topic_partition_list_t *list)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct consumer_topic *topic = &places->topics[i];
        char text[CONSUMER_NOTE_BYTES];
        consumer_note_format(&topic->note, text);
        for (int32_t p = 0; p < topic->partition_count; p++) {
            if (topic->next[p] >= 0) {
                rd_kafka_topic_partition_t *to =
                    rd_kafka_topic_partition_list_add(list, topic->name, p);
                to->offset = topic->next[p];
                to->metadata_size = strlen(text);
                to->metadata = must_strdup(text); /* librdkafka frees it */
            }
        }
    }
}

static enum err commit_judge(const rd_kafka_event_t *event, const char *group,
                             struct err_info *info)
{
    size_t count = 0;
    const rd_kafka_group_result_t **groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
        rd_kafka_event_AlterConsumerGroupOffsets_result((rd_kafka_event_t *)(uintptr_t)event),
        &count);
    rd_kafka_resp_err_t code = group_code(groups, count);
    const rd_kafka_topic_partition_list_t *list =
        code ? NULL : rd_kafka_group_result_partitions(groups[0]);
    for (int i = 0; !code && list && i < list->cnt; i++) {
        code = list->elems[i].err;
    }
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
        code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
        code == RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH) {
        return err_set(info, ERR_CONSUMER_BUSY, "group %s has members", group);
    }
    return code ? err_set(info, kafka_err(code), "committing offsets of group %s: %s", group,
                          rd_kafka_err2str(code))
                : ERR_OK;
}

enum err consumer_group_commit(rd_kafka_t *client, const char *group,
                               const struct consumer_places *places, struct err_info *info)
{
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    places_list(places, list);
    if (list->cnt == 0) {
        return ERR_OK;
    }
    CLEANUP(question_end) struct question question;
    question_begin(&question, client, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    rd_kafka_AlterConsumerGroupOffsets_t *ask = rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_AlterConsumerGroupOffsets(client, &ask, 1, question.options, question.queue);
    rd_kafka_AlterConsumerGroupOffsets_destroy(ask);
    enum err e = question_await(&question, "committing offsets", group, info);
    return e ? e : commit_judge(question.event, group, info);
}

enum err consumer_group_delete(rd_kafka_t *client, const char *group, struct err_info *info)
{
    CLEANUP(question_end) struct question question;
    question_begin(&question, client, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_DeleteGroup_t *ask = rd_kafka_DeleteGroup_new(group);
    rd_kafka_DeleteGroups(client, &ask, 1, question.options, question.queue);
    rd_kafka_DeleteGroup_destroy(ask);
    enum err e = question_await(&question, "the deletion", group, info);
    if (e) {
        return e;
    }
    size_t count = 0;
    const rd_kafka_group_result_t **groups = rd_kafka_DeleteGroups_result_groups(
        rd_kafka_event_DeleteGroups_result(question.event), &count);
    rd_kafka_resp_err_t code = group_code(groups, count);
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return ERR_OK;
    case RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND:
        return err_set(info, ERR_CONSUMER_UNKNOWN, "Kafka has no group %s", group);
    case RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP:
        return err_set(info, ERR_CONSUMER_BUSY, "group %s has members", group);
    default:
        return err_set(info, kafka_err(code), "deleting group %s: %s", group,
                       rd_kafka_err2str(code));
    }
}

/* --- which there are --------------------------------------------------------------------------------------- */

enum err consumer_group_list(rd_kafka_t *client, const char *prefix,
                             void (*on_group)(void *context, const char *group), void *context,
                             struct err_info *info)
{
    CLEANUP(question_end) struct question question;
    question_begin(&question, client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_ListConsumerGroups(client, question.options, question.queue);
    enum err e = question_await(&question, "listing", prefix, info);
    if (e) {
        return e;
    }
    const rd_kafka_ListConsumerGroups_result_t *result =
        rd_kafka_event_ListConsumerGroups_result(question.event);
    size_t failed = 0; /* brokers whose groups are not among those listed */
    const rd_kafka_error_t **errors = rd_kafka_ListConsumerGroups_result_errors(result, &failed);
    if (failed > 0) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(errors[0]);
        return err_set(info,
                       code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ? ERR_NOT_FOUND
                                                                      : ERR_KAFKA_UNAVAILABLE,
                       "listing groups: %s", rd_kafka_error_string(errors[0]));
    }
    size_t count = 0;
    const rd_kafka_ConsumerGroupListing_t **groups =
        rd_kafka_ListConsumerGroups_result_valid(result, &count);
    for (size_t i = 0; i < count; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(groups[i]);
        if (strncmp(group, prefix, strlen(prefix)) == 0) {
            on_group(context, group);
        }
    }
    return ERR_OK;
}

/* --- the logs -------------------------------------------------------------------------------------------- */

enum err consumer_bounds(rd_kafka_t *client, const char *topic, int32_t partition, int64_t *ret_low,
                         int64_t *ret_high, struct err_info *info)
{
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(client, topic, partition, ret_low,
                                                                ret_high, CONSUMER_ASK_MS);
    return code ? err_set(info, kafka_err(code), "asking for the bounds of %s-%d: %s", topic,
                          partition, rd_kafka_err2str(code))
                : ERR_OK;
}

/* The ends first: what comes meanwhile is then not passed over where no record is as late. */
static enum err ends_take(rd_kafka_t *client, struct consumer_places *places, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < places->count; i++) {
        struct consumer_topic *topic = &places->topics[i];
        for (int32_t p = 0; p < topic->partition_count && !e; p++) {
            int64_t low;
            e = consumer_bounds(client, topic->name, p, &low, &topic->next[p], info);
        }
    }
    return e;
}

static enum err times_take(struct consumer_places *places,
                           const rd_kafka_topic_partition_list_t *list, struct err_info *info)
{
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &list->elems[i];
        if (found->err) {
            return err_set(info, kafka_err(found->err), "asking for a time in %s-%d: %s",
                           found->topic, found->partition, rd_kafka_err2str(found->err));
        }
        if (found->offset >= 0) {
            topic_find(places, found->topic)->next[found->partition] = found->offset;
        }
    }
    return ERR_OK;
}

enum err consumer_times(rd_kafka_t *client, struct consumer_places *places, int64_t time_ms,
                        struct err_info *info)
{
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < places->count; i++) {
        for (int32_t p = 0; p < places->topics[i].partition_count; p++) {
            rd_kafka_topic_partition_list_add(list, places->topics[i].name, p)->offset = time_ms;
        }
    }
    enum err e = ends_take(client, places, info);
    if (e || list->cnt == 0) {
        return e;
    }
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, CONSUMER_ASK_MS);
    return code ? err_set(info, kafka_err(code), "asking for a time in the logs: %s",
                          rd_kafka_err2str(code))
                : times_take(places, list, info);
}
