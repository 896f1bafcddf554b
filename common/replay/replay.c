#include "replay/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "replay/replay_marks.h"

#define BATCH_MAX  500
#define ASK_MS     10000
#define INIT_MS    30000
#define CALL_MS    9000 /* below transaction.timeout.ms: what comes later was aborted */
#define POLL_MS    500
#define MARK_TRIES 5

struct partition {
    struct replay_marks marks;
    bool is_wanted; /* else the filter takes nothing of it, and it is not read */
    int64_t seen;   /* just past the last record that was handed over */
    int64_t end;    /* of the run */
    bool is_changed;
};

struct target {
    char *name;
    int32_t partitions; /* 0: there is no such topic */
};

struct replay {
    struct replay_params params;
    char group[REPLAY_GROUP_BYTES];
    struct kafka_tail *tail;
    rd_kafka_t *producer; /* NULL: nothing is written */
    int32_t partition_count;
    struct partition *partitions;
    struct target targets[REPLAY_TARGETS_MAX];
    size_t target_count;
    struct replay_counts counts;
    bool is_open; /* a transaction is */
    size_t delivery_errors;
    rd_kafka_resp_err_t delivery_code;
    char refusing[256]; /* the topic of that */
    int64_t began_us;
};

/* --- clients ----------------------------------------------------------------------------------------*/

static void on_delivery_error(rd_kafka_t *client, const rd_kafka_message_t *message, void *context)
{
    (void)client;
    struct replay *replay = context;
    replay->delivery_errors += message->err != 0;
    replay->delivery_code = message->err;
    (void)snprintf(replay->refusing, sizeof replay->refusing, "%s",
                   rd_kafka_topic_name(message->rkt));
}

static enum err client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
                           struct err_info *info)
{
    char why[256];
    *ret = rd_kafka_new(type, conf, why, sizeof why);
    if (!*ret) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka client: %s", why);
    }
    return ERR_OK;
}

static enum err judge(rd_kafka_error_t *error, const char *what, struct err_info *info)
{
    if (!error) {
        return ERR_OK;
    }
    enum err e =
        rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__FENCED || rd_kafka_error_is_fatal(error)
            ? ERR_KAFKA_FATAL
            : kafka_err(rd_kafka_error_code(error));
    e = err_set(info, e, "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return e;
}

static enum err producer_open(struct replay *replay, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(replay->params.kafka, KAFKA_ROLE_PRODUCER_TXN, &conf, info);
    if (e) {
        return e;
    }
    rd_kafka_conf_set_opaque(conf, replay);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery_error);
    e = kafka_conf_set(conf, "delivery.report.only.error", "true", info);
    e = e ? e : kafka_conf_set(conf, "transactional.id", replay->group, info);
    if (e) {
        rd_kafka_conf_destroy(conf);
        return e;
    }
    e = client_new(RD_KAFKA_PRODUCER, conf, &replay->producer, info);
    if (!e) {
        (void)kafka_client_warm_up(replay->producer, ASK_MS); /* the next call tells */
    }
    return e ? e : judge(rd_kafka_init_transactions(replay->producer, INIT_MS), "a producer", info);
}

/* --- where to go on ---------------------------------------------------------------------------------*/

static rd_kafka_topic_partition_list_t *list_new(const struct replay *replay)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(replay->partition_count);
    for (int32_t p = 0; p < replay->partition_count; p++) {
        rd_kafka_topic_partition_list_add(list, replay->params.topic, p);
    }
    return list;
}

static enum err marks_take(struct replay *replay, const rd_kafka_topic_partition_list_t *list,
                           struct err_info *info)
{
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &list->elems[i];
        struct partition *partition = &replay->partitions[found->partition];
        char text[REPLAY_MARKS_BYTES] = "";
        if (found->err) {
            return err_set(info, kafka_err(found->err), "what group %s has committed: %s",
                           replay->group, rd_kafka_err2str(found->err));
        }
        if (found->metadata && found->metadata_size < sizeof text) {
            memcpy(text, found->metadata, found->metadata_size);
        }
        int64_t base = found->offset >= 0 ? found->offset : 0;
        if (found->metadata_size >= sizeof text ||
            !replay_marks_read(&partition->marks, base, text)) {
            return err_set(info, ERR_STATE,
                           "group %s is not a replay's: what is beside its offset of %s [%d] "
                           "cannot be read",
                           replay->group, found->topic, found->partition);
        }
    }
    return ERR_OK;
}

/* A client of the group, for this question alone: the tail's has another. */
static enum err committed_ask(struct replay *replay, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    rd_kafka_t *client = NULL;
    enum err e = kafka_conf_new(replay->params.kafka, KAFKA_ROLE_CONSUMER_TAIL, &conf, info);
    if (e) {
        return e;
    }
    e = kafka_conf_set(conf, "group.id", replay->group, info);
    if (e) {
        rd_kafka_conf_destroy(conf);
        return e;
    }
    e = client_new(RD_KAFKA_CONSUMER, conf, &client, info);
    if (e) {
        return e;
    }
    rd_kafka_topic_partition_list_t *list = list_new(replay);
    rd_kafka_resp_err_t code = rd_kafka_committed(client, list, ASK_MS);
    e = code ? err_set(info, kafka_err(code), "what group %s has committed: %s", replay->group,
                       rd_kafka_err2str(code))
             : marks_take(replay, list, info);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
    return e;
}

/* What retention has taken needs no dealing with. */
static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct replay *replay = context;
    (void)from;
    replay_marks_add(&replay->partitions[at->partition].marks, 0, to);
}

/* What the filter cannot take is not read. */
static enum err partition_add(struct replay *replay, int32_t p, struct err_info *info)
{
    const struct replay_filter *filter = &replay->params.filter;
    struct partition *partition = &replay->partitions[p];
    partition->is_wanted = filter->partition < 0 || filter->partition == p;
    partition->seen =
        filter->from_offset > partition->marks.base ? filter->from_offset : partition->marks.base;
    partition->end = partition->seen;
    const struct kafka_position at = {replay->params.topic, p,
                                      partition->seen > 0 ? partition->seen : KAFKA_EARLIEST};
    return partition->is_wanted ? kafka_tail_add(replay->tail, &at, 1, info) : ERR_OK;
}

static enum err partitions_open(struct replay *replay, struct err_info *info)
{
    const int64_t to = replay->params.filter.to_offset;
    enum err e = ERR_OK;
    for (int32_t p = 0; !e && p < replay->partition_count; p++) {
        e = partition_add(replay, p, info);
    }
    enum err marked = ERR_KAFKA_TIMEOUT; /* its first questions are impatient */
    for (int i = 0; !e && marked && i < MARK_TRIES; i++) {
        marked = kafka_tail_mark_end(replay->tail, ASK_MS, info);
    }
    e = e ? e : marked;
    for (int32_t p = 0; !e && p < replay->partition_count; p++) {
        int64_t next;
        struct partition *partition = &replay->partitions[p];
        if (!partition->is_wanted) {
            continue;
        }
        kafka_tail_position(replay->tail, replay->params.topic, p, &next, &partition->end);
        if (partition->marks.base > partition->end) { /* it would take new records for old ones */
            e = err_set(info, ERR_STATE,
                        "%s [%d] ends at offset %lld, group %s has dealt with all below %lld: the "
                        "topic was made anew; name another group",
                        replay->params.topic, p, (long long)partition->end, replay->group,
                        (long long)partition->marks.base);
        }
        partition->end = to > 0 && to < partition->end ? to : partition->end;
    }
    return e;
}

static enum err replay_open(struct replay *replay, struct err_info *info)
{
    const struct replay_params *params = &replay->params;
    const struct kafka_tail_params tail = {.config = params->kafka,
                                           .fetch_wait_ms = 100,
                                           .on_gap = on_gap,
                                           .context = replay,
                                           .label = "replay"};
    enum err e = kafka_tail_new(&tail, &replay->tail, info);
    e = e ? e
          : kafka_topic_partitions(kafka_tail_client(replay->tail), params->topic, ASK_MS,
                                   &replay->partition_count, info);
    if (e) {
        return e;
    }
    replay->partitions = must_alloc((size_t)replay->partition_count * sizeof *replay->partitions);
    if (params->action != REPLAY_SHOW) { /* first: it ends what an earlier run had open */
        e = producer_open(replay, info);
    }
    e = e ? e : committed_ask(replay, info);
    return e ? e : partitions_open(replay, info);
}

/* --- one letter -------------------------------------------------------------------------------------*/

/* NULL, and *ret_err ERR_OK: there is no such topic. */
static const struct target *target_find(struct replay *replay, struct strview name,
                                        enum err *ret_err, struct err_info *info)
{
    struct target *target = replay->targets;
    for (; target < replay->targets + replay->target_count; target++) {
        if (sv_equal(sv(target->name), name)) {
            return target->partitions > 0 ? target : NULL;
        }
    }
    if (replay->target_count == REPLAY_TARGETS_MAX) {
        *ret_err = err_set(info, ERR_LIMIT, "records of more than %d topics", REPLAY_TARGETS_MAX);
        return NULL;
    }
    target->name = must_alloc(name.len + 1);
    memcpy(target->name, name.ptr, name.len);
    target->partitions = 0;
    replay->target_count++;
    *ret_err = kafka_topic_partitions(kafka_tail_client(replay->tail), target->name, ASK_MS,
                                      &target->partitions, info);
    *ret_err = *ret_err == ERR_TOPIC_UNKNOWN ? ERR_OK : *ret_err;
    return target->partitions > 0 ? target : NULL;
}

static enum replay_outcome letter_judge(struct replay *replay, const struct replay_letter *letter,
                                        const struct target **ret, enum err *ret_err,
                                        struct err_info *info)
{
    const struct replay_params *params = &replay->params;
    const struct partition *partition = &replay->partitions[letter->message->partition];
    if (replay_marks_has(&partition->marks, letter->message->offset)) {
        return REPLAY_BEFORE;
    }
    if (!replay_filter_takes(&params->filter, letter)) {
        return REPLAY_UNWANTED;
    }
    if (params->action == REPLAY_DISCARD) {
        return REPLAY_SENT;
    }
    if (!replay_letter_is_complete(letter)) {
        return REPLAY_INCOMPLETE;
    }
    if (letter->replays >= params->replays_max) {
        return REPLAY_WORN;
    }
    struct strview name = *params->target ? sv(params->target) : letter->topic;
    bool is_place = name.len > 0 && !sv_equal(name, sv(params->topic));
    *ret = is_place ? target_find(replay, name, ret_err, info) : NULL;
    if (*ret && params->may_send && !params->may_send(params->context, (*ret)->name)) {
        *ret = NULL;
        return REPLAY_FORBIDDEN;
    }
    return *ret ? REPLAY_SENT : REPLAY_UNPLACED;
}

static enum err transaction_begin(struct replay *replay, struct err_info *info)
{
    if (replay->is_open) {
        return ERR_OK;
    }
    replay->is_open = true;
    return judge(rd_kafka_begin_transaction(replay->producer), "begin", info);
}

static enum err letter_send(struct replay *replay, const struct replay_letter *letter,
                            const struct target *target, struct err_info *info)
{
    const rd_kafka_message_t *message = letter->message;
    bool is_own = sv_equal(sv(target->name), letter->topic);
    bool is_placed =
        !message->key && is_own && letter->partition >= 0 && letter->partition < target->partitions;
    rd_kafka_headers_t *headers = replay_letter_headers(letter);
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_producev(
                replay->producer, RD_KAFKA_V_TOPIC(target->name),
                RD_KAFKA_V_PARTITION(is_placed ? letter->partition : RD_KAFKA_PARTITION_UA),
                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                RD_KAFKA_V_VALUE(message->payload, message->len),
                RD_KAFKA_V_KEY(message->key, message->key_len),
                RD_KAFKA_V_TIMESTAMP(letter->timestamp_ms > 0 ? letter->timestamp_ms : 0),
                RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        (void)rd_kafka_flush(replay->producer, 100); /* room is what is waited for */
    }
    if (code) {
        rd_kafka_headers_destroy(headers); /* taken over only on success */
        return err_set(info, kafka_err(code), "%s [%d] @ %lld to %s: %s", replay->params.topic,
                       message->partition, (long long)message->offset, target->name,
                       rd_kafka_err2str(code));
    }
    return ERR_OK;
}

/* From behind the record before it: there is none in between. */
static enum err letter_mark(struct replay *replay, const rd_kafka_message_t *message,
                            struct err_info *info)
{
    struct partition *partition = &replay->partitions[message->partition];
    char text[REPLAY_MARKS_BYTES];
    replay_marks_add(&partition->marks, partition->seen, message->offset + 1);
    if (!replay_marks_write(&partition->marks, text)) {
        replay_marks_take_back(&partition->marks, partition->seen, message->offset + 1);
        return err_set(info, ERR_LIMIT,
                       "%s [%d]: what was dealt with up to here lies too scattered to be noted "
                       "down: deal with the rest before offset %lld first, or name another group",
                       replay->params.topic, message->partition, (long long)message->offset);
    }
    partition->is_changed = true;
    return ERR_OK;
}

static enum err letter_take(struct replay *replay, const rd_kafka_message_t *message,
                            struct err_info *info)
{
    struct replay_letter letter;
    const struct target *target = NULL;
    enum err e = ERR_OK;
    bool is_written = replay->params.action != REPLAY_SHOW;
    replay_letter_read(&letter, message);
    enum replay_outcome outcome = letter_judge(replay, &letter, &target, &e, info);
    if (!e && outcome == REPLAY_SENT && is_written) {
        e = transaction_begin(replay, info);
        e = e ? e : letter_mark(replay, message, info);
        e = e || !target ? e : letter_send(replay, &letter, target, info);
    }
    if (e) {
        return e;
    }
    replay->partitions[message->partition].seen = message->offset + 1;
    replay->counts.read++;
    replay->counts.outcomes[outcome]++;
    if (outcome != REPLAY_BEFORE && outcome != REPLAY_UNWANTED) {
        replay->params.on_letter(replay->params.context, &letter, outcome,
                                 target ? target->name : NULL);
    }
    return ERR_OK;
}

/* --- a step -----------------------------------------------------------------------------------------*/

static enum err offsets_send(struct replay *replay, struct err_info *info)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (int32_t p = 0; p < replay->partition_count; p++) {
        struct partition *partition = &replay->partitions[p];
        char text[REPLAY_MARKS_BYTES];
        if (!partition->is_changed) {
            continue;
        }
        CHECK(replay_marks_write(&partition->marks, text)); /* letter_mark has tried */
        rd_kafka_topic_partition_t *element =
            rd_kafka_topic_partition_list_add(list, replay->params.topic, p);
        element->offset = partition->marks.base;
        element->metadata = must_strdup(text); /* the list frees it */
        element->metadata_size = strlen(text);
    }
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new(replay->group);
    enum err e = judge(rd_kafka_send_offsets_to_transaction(replay->producer, list, group, CALL_MS),
                       "noting down what is dealt with", info);
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

static enum err step_commit(struct replay *replay, struct err_info *info)
{
    if (!replay->is_open) {
        return ERR_OK;
    }
    replay->is_open = false;
    rd_kafka_resp_err_t code = rd_kafka_flush(replay->producer, CALL_MS);
    if (code || replay->delivery_errors > 0) {
        code = replay->delivery_errors > 0 ? replay->delivery_code : code;
        return err_set(info, kafka_err(code), "%zu records were not acknowledged by %s: %s",
                       replay->delivery_errors, replay->refusing, rd_kafka_err2str(code));
    }
    enum err e = offsets_send(replay, info);
    e = e ? e : judge(rd_kafka_commit_transaction(replay->producer, CALL_MS), "commit", info);
    for (int32_t p = 0; p < replay->partition_count; p++) {
        replay->partitions[p].is_changed = false;
    }
    return e;
}

static bool is_enough(const struct replay *replay)
{
    int64_t max = replay->params.count_max;
    return max > 0 && replay->counts.outcomes[REPLAY_SENT] >= max;
}

/* A range may end before the topic does. */
static bool is_read(const struct replay *replay)
{
    bool is_past = replay->params.filter.to_offset > 0;
    for (int32_t p = 0; is_past && p < replay->partition_count; p++) {
        int64_t next, ignored;
        kafka_tail_position(replay->tail, replay->params.topic, p, &next, &ignored);
        is_past = !replay->partitions[p].is_wanted || next >= replay->partitions[p].end;
    }
    return is_past || kafka_tail_is_caught_up(replay->tail);
}

static size_t batch_max(const struct replay *replay)
{
    double rate = replay->params.rate;
    size_t max = rate > 0 && rate < BATCH_MAX ? (size_t)rate + 1 : BATCH_MAX;
    int64_t left = replay->params.count_max - replay->counts.outcomes[REPLAY_SENT];
    return replay->params.count_max > 0 && (int64_t)max > left ? (size_t)left : max;
}

enum err replay_step(struct replay *replay, bool *ret_is_done, struct err_info *info)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    bool is_over = is_enough(replay) || is_read(replay);
    size_t count =
        is_over ? 0 : kafka_tail_poll(replay->tail, messages, batch_max(replay), POLL_MS);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        if (!e && messages[i]->offset < replay->partitions[messages[i]->partition].end) {
            e = letter_take(replay, messages[i], info);
        }
        rd_kafka_message_destroy(messages[i]);
    }
    bool is_limit = e == ERR_LIMIT; /* what was before it is well */
    if (!e || is_limit) {
        struct err_info why = {0};
        enum err committed = step_commit(replay, &why);
        *info = committed ? why : *info;
        e = committed ? committed : e;
    }
    if (e && !is_limit && replay->producer) { /* brokers would, in their time; sooner is better */
        rd_kafka_error_destroy(rd_kafka_abort_transaction(replay->producer, CALL_MS));
    }
    *ret_is_done = is_over;
    return e;
}

int64_t replay_wait_ms(const struct replay *replay)
{
    if (replay->params.rate <= 0) {
        return 0;
    }
    double due_us = (double)replay->counts.outcomes[REPLAY_SENT] / replay->params.rate * 1e6;
    double passed_us = (double)(clock_mono_us() - replay->began_us);
    return due_us > passed_us ? (int64_t)((due_us - passed_us) / 1000) + 1 : 0;
}

struct replay_counts replay_counts(const struct replay *replay)
{
    return replay->counts;
}

int64_t replay_left(const struct replay *replay)
{
    int64_t left = 0;
    for (int32_t p = 0; p < replay->partition_count; p++) {
        int64_t next, ignored;
        kafka_tail_position(replay->tail, replay->params.topic, p, &next, &ignored);
        if (next < replay->partitions[p].end) {
            left += replay->partitions[p].end - (next < 0 ? replay->partitions[p].seen : next);
        }
    }
    return left;
}

/* --- life -------------------------------------------------------------------------------------------*/

void replay_free(struct replay *replay)
{
    if (!replay) {
        return;
    }
    kafka_tail_free(replay->tail);
    if (replay->producer) {
        (void)rd_kafka_purge(replay->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(replay->producer);
    }
    for (int32_t p = 0; p < replay->partition_count && replay->partitions; p++) {
        replay_marks_free(&replay->partitions[p].marks);
    }
    for (size_t i = 0; i < replay->target_count; i++) {
        free(replay->targets[i].name);
    }
    free(replay->partitions);
    free(replay);
}

void replay_group_name(const char *topic, char group[REPLAY_GROUP_BYTES])
{
    (void)snprintf(group, REPLAY_GROUP_BYTES, "replay-%s", topic); /* a topic's name fits */
}

enum err replay_check(const struct replay_params *params, struct err_info *info)
{
    if (!*params->topic) {
        return err_set(info, ERR_CONFIG, "topic: which one is to be read is not said");
    }
    if (strcmp(params->topic, params->target) == 0) {
        return err_set(info, ERR_CONFIG, "target: topic %s into itself would never end",
                       params->topic);
    }
    return ERR_OK;
}

enum err replay_new(const struct replay_params *params, struct replay **ret, struct err_info *info)
{
    enum err checked = replay_check(params, info);
    if (checked) {
        return checked;
    }
    struct replay *replay = must_alloc(sizeof *replay);
    replay->params = *params;
    if (*params->group) {
        (void)snprintf(replay->group, sizeof replay->group, "%s", params->group);
    } else {
        replay_group_name(params->topic, replay->group);
    }
    enum err e = replay_open(replay, info);
    replay->began_us = clock_mono_us();
    if (e) {
        replay_free(replay);
        return e;
    }
    *ret = replay;
    return ERR_OK;
}
