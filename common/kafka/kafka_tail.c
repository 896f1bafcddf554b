/* A consumer without a group: partitions are assigned by hand and positions are kept here.
 *
 * The position of a partition is what its reader may rely on: the offset after the last record that
 * was handed out, moved on over transaction markers and compacted holes where librdkafka tells us so
 * (its own position once a batch is drained, or the end-of-partition event).
 */
#define _GNU_SOURCE /* gettid */

#include "kafka/kafka_tail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "kafka/kafka_stats.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"

#define GAP_QUERY_MS 5000
#define LEADERS_MS   1000
#define SHORT_MS     1200 /* more than the 500 ms after which librdkafka looks for a leader again */
#define REFRESH_MS   500
#define SHORT_TRIES  10
#define NICE         19

struct tail_partition {
    char *topic;
    int32_t partition;
    int64_t next;      /* offset to read next; -1: not known yet */
    int64_t end;       /* last known end, -1 */
    int64_t goal;      /* end at mark_end; -1: not asked */
    bool is_unsettled; /* handed out records since `next` was compared with librdkafka's position */
};

struct kafka_tail {
    struct kafka_tail_params params;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    int fd;
    struct tail_partition *partitions;
    size_t count, capacity;
    int end_failures;                   /* in a row, of asking for the ends */
    const rd_kafka_topic_t *memo_topic; /* the last message's place in partitions */
    size_t memo;
};

/* --- partitions ------------------------------------------------------------------------------------- */

static struct tail_partition *partition_find(const struct kafka_tail *tail, const char *topic,
                                             int32_t partition)
{
    for (size_t i = 0; i < tail->count; i++) {
        if (tail->partitions[i].partition == partition &&
            strcmp(tail->partitions[i].topic, topic) == 0) {
            return &tail->partitions[i];
        }
    }
    return NULL;
}

/* Messages come in runs of one partition: the memo makes this a compare. */
static struct tail_partition *partition_of(struct kafka_tail *tail,
                                           const rd_kafka_message_t *message)
{
    if (message->rkt == tail->memo_topic && tail->memo < tail->count &&
        tail->partitions[tail->memo].partition == message->partition) {
        return &tail->partitions[tail->memo];
    }
    struct tail_partition *found =
        message->rkt ? partition_find(tail, rd_kafka_topic_name(message->rkt), message->partition)
                     : NULL;
    if (found) {
        tail->memo_topic = message->rkt;
        tail->memo = (size_t)(found - tail->partitions);
    }
    return found;
}

static void partition_add(struct kafka_tail *tail, const struct kafka_position *position)
{
    if (tail->count == tail->capacity) {
        tail->capacity = tail->capacity ? tail->capacity * 2 : 8;
        tail->partitions =
            must_realloc(tail->partitions, tail->capacity * sizeof *tail->partitions);
    }
    tail->partitions[tail->count++] = (struct tail_partition){
        .topic = must_strdup(position->topic),
        .partition = position->partition,
        .next = position->offset >= 0 ? position->offset : -1,
        .end = -1,
        .goal = -1,
    };
}

static void partition_drop(struct kafka_tail *tail, struct tail_partition *partition)
{
    free(partition->topic);
    *partition = tail->partitions[--tail->count];
    tail->memo_topic = NULL;
}

static rd_kafka_topic_partition_list_t *list_of_one(const struct tail_partition *partition,
                                                    int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition)->offset =
        offset;
    return list;
}

static void listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    if (*list) {
        rd_kafka_topic_partition_list_destroy(*list);
    }
}

static enum err error_take(rd_kafka_error_t *error, const char *what, struct err_info *info)
{
    if (!error) {
        return ERR_OK;
    }
    enum err e = err_set(info, kafka_err(rd_kafka_error_code(error)), "%s: %s", what,
                         rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return e;
}

static int64_t offset_for_librdkafka(int64_t offset)
{
    return offset == KAFKA_EARLIEST ? RD_KAFKA_OFFSET_BEGINNING
           : offset == KAFKA_LATEST ? RD_KAFKA_OFFSET_END
                                    : offset;
}

static bool has_topic(const struct kafka_tail *tail, const char *topic)
{
    for (size_t i = 0; i < tail->count; i++) {
        if (strcmp(tail->partitions[i].topic, topic) == 0) {
            return true;
        }
    }
    return false;
}

static void leaders_learn(struct kafka_tail *tail, const struct kafka_position *positions,
                          size_t count)
{
    bool is_known = true;
    for (size_t i = 0; i < count; i++) {
        is_known = is_known && has_topic(tail, positions[i].topic);
    }
    if (!is_known) {
        (void)kafka_client_warm_up(tail->client, LEADERS_MS); /* without it, it only starts later */
    }
}

enum err kafka_tail_add(struct kafka_tail *tail, const struct kafka_position *positions,
                        size_t count, struct err_info *info)
{
    leaders_learn(tail, positions, count);
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        CHECK(!partition_find(tail, positions[i].topic, positions[i].partition));
        rd_kafka_topic_partition_list_add(list, positions[i].topic, positions[i].partition)
            ->offset = offset_for_librdkafka(positions[i].offset);
    }
    enum err e =
        error_take(rd_kafka_incremental_assign(tail->client, list), "assigning partitions", info);
    for (size_t i = 0; !e && i < count; i++) {
        partition_add(tail, &positions[i]);
    }
    return e;
}

void kafka_tail_remove(struct kafka_tail *tail, const char *topic, int32_t partition)
{
    struct tail_partition *found = partition_find(tail, topic, partition);
    if (!found) {
        return;
    }
    CLEANUP(listp_destroy) rd_kafka_topic_partition_list_t *list = list_of_one(found, 0);
    struct err_info info = {0};
    if (error_take(rd_kafka_incremental_unassign(tail->client, list), "unassigning", &info)) {
        log_event(LOG_WARN, "kafka_tail_unassign", info.text, KV("topic", topic),
                  KV("partition", partition));
    }
    partition_drop(tail, found);
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* The position is not in the log: retention has passed it, or the log was cut (an unclean leader).
 * Goes on at the nearest offset that exists and says what is missing. */
static void partition_gap(struct kafka_tail *tail, struct tail_partition *partition, int64_t asked)
{
    int64_t low, high;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        tail->client, partition->topic, partition->partition, &low, &high, GAP_QUERY_MS);
    bool is_behind = code || asked < low;
    int64_t from = is_behind ? asked : high, to = is_behind ? low : asked;
    /* When even that cannot be asked, the same offset is tried again and comes back here. */
    int64_t next = code ? asked : is_behind ? low : high;
    /* Not a seek: librdkafka has stopped the partition, and a stopped one cannot be sought. */
    CLEANUP(listp_destroy) rd_kafka_topic_partition_list_t *list = list_of_one(partition, next);
    struct err_info info = {0};
    if (error_take(rd_kafka_incremental_unassign(tail->client, list), "unassign", &info) ||
        error_take(rd_kafka_incremental_assign(tail->client, list), "assign", &info)) {
        log_event(LOG_ERROR, "kafka_tail_restart", info.text, KV("topic", partition->topic),
                  KV("partition", partition->partition), KV("offset", next));
    }
    if (code) {
        return;
    }
    partition->next = next;
    log_event(LOG_WARN, "kafka_gap", "records are not in the log any more",
              KV("topic", partition->topic), KV("partition", partition->partition),
              KV("from", from), KV("to", to));
    if (tail->params.on_gap) {
        struct kafka_position at = {partition->topic, partition->partition, next};
        tail->params.on_gap(tail->params.context, &at, from, to);
    }
}

static void error_message_take(struct kafka_tail *tail, const rd_kafka_message_t *message)
{
    struct tail_partition *partition = partition_of(tail, message);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (partition) {
            partition->end = message->offset;
            if (partition->next < message->offset) {
                partition->next = message->offset;
            }
        }
        return;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && partition) {
        partition_gap(tail, partition, message->offset);
        return;
    }
    log_event(LOG_WARN, "kafka_error", rd_kafka_message_errstr(message),
              KV("client", tail->params.label), KV("code", rd_kafka_err2name(message->err)),
              KV("topic", message->rkt ? rd_kafka_topic_name(message->rkt) : ""),
              KV("partition", message->partition));
}

/* Everything fetched has been handed out: librdkafka's position also covers what is not a record.
 * Asked for only where it may tell something: after records, and while a goal is not reached (the
 * last thing before it may be a marker, which comes without a record). */
static void positions_settle(struct kafka_tail *tail)
{
    for (size_t i = 0; i < tail->count; i++) {
        struct tail_partition *partition = &tail->partitions[i];
        if (!partition->is_unsettled && partition->next >= partition->goal) {
            continue;
        }
        partition->is_unsettled = false;
        CLEANUP(listp_destroy) rd_kafka_topic_partition_list_t *list = list_of_one(partition, 0);
        if (!rd_kafka_position(tail->client, list) && list->elems[0].offset > partition->next) {
            partition->next = list->elems[0].offset;
        }
    }
}

size_t kafka_tail_poll(struct kafka_tail *tail, rd_kafka_message_t **messages, size_t max,
                       int64_t timeout_ms)
{
    uint64_t ignored;
    (void)!read(tail->fd, &ignored, sizeof ignored); /* armed again before the queue is read */
    ssize_t taken = rd_kafka_consume_batch_queue(tail->queue, (int)timeout_ms, messages, max);
    size_t kept = 0;
    for (ssize_t i = 0; i < taken; i++) {
        struct tail_partition *partition =
            messages[i]->err ? NULL : partition_of(tail, messages[i]);
        if (!partition) { /* an event, or a record of a partition removed meanwhile */
            if (messages[i]->err) {
                error_message_take(tail, messages[i]);
            }
            rd_kafka_message_destroy(messages[i]);
            continue;
        }
        partition->next = messages[i]->offset + 1;
        partition->is_unsettled = true;
        messages[kept++] = messages[i];
    }
    if (taken > 0) {
        static const uint64_t one = 1;
        (void)!write(tail->fd, &one, sizeof one); /* more may wait than was asked for */
    }
    if ((size_t)(taken < 0 ? 0 : taken) < max) {
        positions_settle(tail);
    }
    return kept;
}

/* --- where the end is ----------------------------------------------------------------------------------- */

static void end_set(struct kafka_tail *tail, const char *topic, int32_t partition, int64_t end)
{
    struct tail_partition *found = partition_find(tail, topic, partition);
    if (found) {
        found->end = end;
        found->goal = end;
    }
}

#if RD_KAFKA_VERSION >= 0x02030000
/* A leader that did not answer leaves its partitions without an offset and, up to librdkafka 2.15.1,
 * without an error. */
static enum err end_take(struct kafka_tail *tail, const rd_kafka_topic_partition_t *end,
                         struct err_info *info)
{
    rd_kafka_resp_err_t code = end->err;
    if (!code && end->offset < 0) {
        code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (code) {
        return err_set(info, kafka_err(code), "asking for the end of %s-%d: %s", end->topic,
                       end->partition, rd_kafka_err2str(code));
    }
    end_set(tail, end->topic, end->partition, end->offset);
    return ERR_OK;
}

/* The log's end whatever is committed: a transaction may be decided before its marker has reached
 * this partition, and a reader of committed records must then wait for it. */
static enum err ends_query(struct kafka_tail *tail, int64_t timeout_ms, struct err_info *info)
{
    CLEANUP(listp_destroy)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)tail->count);
    for (size_t i = 0; i < tail->count; i++) {
        rd_kafka_topic_partition_list_add(list, tail->partitions[i].topic,
                                          tail->partitions[i].partition)
            ->offset = RD_KAFKA_OFFSET_SPEC_LATEST;
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(tail->client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(tail->client, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    char why[128];
    (void)rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, why, sizeof why);
    rd_kafka_error_destroy(rd_kafka_AdminOptions_set_isolation_level(
        options, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED));
    rd_kafka_ListOffsets(tail->client, list, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)timeout_ms + 500);
    enum err e = ERR_OK;
    size_t count = 0;
    const rd_kafka_ListOffsetsResultInfo_t **ends = NULL;
    if (!event) {
        e = err_set(info, ERR_KAFKA_TIMEOUT, "asking for the ends of partitions: no answer");
    } else if (rd_kafka_event_error(event)) {
        e = err_set(info, kafka_err(rd_kafka_event_error(event)),
                    "asking for the ends of partitions: %s", rd_kafka_event_error_string(event));
    } else {
        ends = rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event), &count);
    }
    for (size_t i = 0; !e && i < count; i++) {
        e = end_take(tail, rd_kafka_ListOffsetsResultInfo_topic_partition(ends[i]), info);
    }
    if (event) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return e;
}
#else
/* Older libraries can only be asked one by one and tell the end of what is committed. */
static enum err ends_query(struct kafka_tail *tail, int64_t timeout_ms, struct err_info *info)
{
    for (size_t i = 0; i < tail->count; i++) {
        struct tail_partition *partition = &tail->partitions[i];
        int64_t low, high;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            tail->client, partition->topic, partition->partition, &low, &high, (int)timeout_ms);
        if (code) {
            return err_set(info, kafka_err(code), "asking for the end of %s-%d: %s",
                           partition->topic, partition->partition, rd_kafka_err2str(code));
        }
        end_set(tail, partition->topic, partition->partition, high);
    }
    return ERR_OK;
}
#endif

/* Who leads now: librdkafka asks the leader that it remembers, be it dead, for as long as that is not
 * refreshed (10 s). */
static void leaders_refresh(struct kafka_tail *tail)
{
    const struct rd_kafka_metadata *metadata;
    if (!rd_kafka_metadata(tail->client, 0, NULL, &metadata, REFRESH_MS)) {
        rd_kafka_metadata_destroy(metadata);
    }
}

enum err kafka_tail_mark_end(struct kafka_tail *tail, int64_t timeout_ms, struct err_info *info)
{
    if (tail->count == 0) {
        return ERR_OK;
    }
    /* The first tries are short: an answer takes milliseconds where there is a leader, and a broker that
     * died has a successor within seconds, which should not be waited out by an old question. */
    bool is_short = tail->end_failures < SHORT_TRIES && timeout_ms > SHORT_MS;
    enum err e = ends_query(tail, is_short ? SHORT_MS : timeout_ms, info);
    tail->end_failures = e ? tail->end_failures + 1 : 0;
    if (e) {
        leaders_refresh(tail);
    }
    return e;
}

static bool partition_is_caught_up(const struct tail_partition *partition)
{
    return partition->goal == 0 || (partition->goal > 0 && partition->next >= partition->goal);
}

bool kafka_tail_is_caught_up(const struct kafka_tail *tail)
{
    for (size_t i = 0; i < tail->count; i++) {
        if (!partition_is_caught_up(&tail->partitions[i])) {
            return false;
        }
    }
    return true;
}

bool kafka_tail_partition_is_caught_up(const struct kafka_tail *tail, const char *topic,
                                       int32_t partition)
{
    const struct tail_partition *found = partition_find(tail, topic, partition);
    return found && partition_is_caught_up(found);
}

void kafka_tail_position(const struct kafka_tail *tail, const char *topic, int32_t partition,
                         int64_t *ret_next, int64_t *ret_end)
{
    const struct tail_partition *found = partition_find(tail, topic, partition);
    *ret_next = found ? found->next : -1;
    *ret_end = found ? found->end : -1;
    if (!found) {
        return;
    }
    int64_t low, high;
    if (!rd_kafka_get_watermark_offsets(tail->client, topic, partition, &low, &high) &&
        high > found->end) {
        *ret_end = high; /* as of the last fetch */
    }
}

/* --- life --------------------------------------------------------------------------------------------------- */

static int on_stats(rd_kafka_t *client, char *json, size_t bytes, void *context)
{
    (void)client;
    const struct kafka_tail *tail = context;
    kafka_stats_take(tail->params.label, sv_of(json, bytes));
    return 0;
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *context)
{
    (void)client;
    const struct kafka_tail *tail = context;
    log_event(LOG_WARN, "kafka_error", reason, KV("client", tail->params.label),
              KV("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)));
}

/* In the thread that starts. */
static rd_kafka_resp_err_t on_thread_start(rd_kafka_t *client, rd_kafka_thread_type_t type,
                                           const char *name, void *context)
{
    (void)client, (void)name, (void)context;
    if (type == RD_KAFKA_THREAD_BROKER) {
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(),
                          NICE); /* to ask for less is always granted */
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *client, const rd_kafka_conf_t *conf, void *context,
                                  char *why, size_t why_bytes)
{
    (void)conf, (void)why, (void)why_bytes;
    return rd_kafka_interceptor_add_on_thread_start(client, "background", on_thread_start, context);
}

static enum err client_new(struct kafka_tail *tail, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(tail->params.config, KAFKA_ROLE_CONSUMER_TAIL, &conf, info);
    if (e) {
        return e;
    }
    char wait_ms[16];
    (void)snprintf(wait_ms, sizeof wait_ms, "%u", tail->params.fetch_wait_ms);
    e = kafka_conf_set(conf, "isolation.level",
                       tail->params.read_uncommitted ? "read_uncommitted" : "read_committed", info);
    if (!e && tail->params.fetch_wait_ms > 0) {
        e = kafka_conf_set(conf, "fetch.wait.max.ms", wait_ms, info);
    }
    if (e) {
        rd_kafka_conf_destroy(conf);
        return e;
    }
    if (tail->params.is_background) {
        (void)rd_kafka_conf_interceptor_add_on_new(conf, "background", on_new,
                                                   tail); /* the first */
    }
    rd_kafka_conf_set_opaque(conf, tail);
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    rd_kafka_conf_set_error_cb(conf, on_error);
    char why[256];
    tail->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!tail->client) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka consumer: %s", why);
    }
    return ERR_OK;
}

enum err kafka_tail_new(const struct kafka_tail_params *params, struct kafka_tail **ret,
                        struct err_info *info)
{
    struct kafka_tail *tail = must_alloc(sizeof *tail);
    tail->params = *params;
    tail->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err e = tail->fd < 0 ? err_set(info, ERR_IO, "eventfd: %s", strerror(errno))
                              : client_new(tail, info);
    if (e) {
        if (tail->fd >= 0) {
            (void)close(tail->fd);
        }
        free(tail);
        return e;
    }
    (void)rd_kafka_poll_set_consumer(tail->client); /* fails only without a group.id */
    tail->queue = rd_kafka_queue_get_consumer(tail->client);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(tail->queue, tail->fd, &one, sizeof one);
    *ret = tail;
    return ERR_OK;
}

rd_kafka_t *kafka_tail_client(struct kafka_tail *tail)
{
    return tail->client;
}

int kafka_tail_fd(const struct kafka_tail *tail)
{
    return tail->fd;
}

void kafka_tail_free(struct kafka_tail *tail)
{
    if (!tail) {
        return;
    }
    rd_kafka_queue_io_event_enable(tail->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(tail->queue);
    (void)rd_kafka_consumer_close(tail->client); /* no group: leaves nothing behind */
    rd_kafka_destroy(tail->client);
    while (tail->count > 0) {
        partition_drop(tail, &tail->partitions[tail->count - 1]);
    }
    free(tail->partitions);
    (void)close(tail->fd);
    free(tail);
}
