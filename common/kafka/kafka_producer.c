/* One librdkafka producer behind one owner thread.
 *
 * Records are batches before librdkafka has them: an object of each, and its report, were half of what
 * an event cost. librdkafka knows what is under way, and in which order; what is open, and for how long,
 * is known here. A batch goes when it has lingered and its partition has none under way; until then it
 * grows. So batches are as large as the brokers are slow, and an idle one is asked at once.
 *
 * The owner waits for one descriptor: an epoll stands before the eventfd that tells of reports and the
 * timer of what is open.
 *
 * What topics exist, and who destroys a producer that was replaced: kafka_directory.h. There is no lock
 * of this file's.
 */
#include "kafka/kafka_producer.h"

#include <errno.h>
#include <librdkafka/rdkafka_records.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/hash_map.h"
#include "kafka/kafka_batches.h"
#include "kafka/kafka_stats.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define TOPICS_MAX       100000
#define SERVE_EVENTS_MAX 1000
#define FREE_WAIT_MS     5000
#define FLUSH_STEP_MS    10 /* then reports are served: those that wait count as not sent */
#define METADATA_POLL_MS 10
#define RECORD_OVERHEAD  100 /* of a batch and a record, about */
#define QUEUE_RETRY_US   10000

static struct metric producer_metrics[] = {
    {.name = "millrace_kafka_produced_total",
     .type = METRIC_COUNTER,
     .labels = "client,outcome",
     .help = "Records by their final outcome; failed: see the broker and message.timeout.ms"},
    {.name = "millrace_kafka_ack_seconds",
     .type = METRIC_HISTOGRAM,
     .labels = "client",
     .help =
         "Time from send to acknowledgement, one sample a batch; rising: brokers or disks slow"},
    {.name = "millrace_kafka_producer_rebuilds_total",
     .type = METRIC_COUNTER,
     .labels = "client",
     .help = "Producers replaced after a fatal error or a recall; more than a few a day asks for a "
             "look"},
};
enum { METRIC_PRODUCED, METRIC_ACK_SECONDS, METRIC_REBUILDS };
METRICS_TABLE(producer_metrics)

struct handle {
    rd_kafka_topic_t *topic;
    size_t index; /* in batches */
};

struct kafka_producer {
    struct kafka_producer_params params;
    char label[64]; /* params.label */
    rd_kafka_t *client;
    rd_kafka_queue_t *events;
    int fd;      /* wake_fd, or what tells of it and timer_fd */
    int wake_fd; /* events wait */
    size_t outstanding;
    size_t outstanding_max; /* queue.buffering.max.messages: librdkafka counts batches */
    struct kafka_batches *batches;
    int64_t linger_us;
    int timer_fd; /* batches have lingered */
    bool is_timer_set;
    bool is_compressing;
    int64_t batch_bytes_max;  /* the client's batch.size */
    struct hash_map *handles; /* topic name → struct handle, of this client */
    struct {
        struct handle handle; /* one of handles; topic NULL: none */
        int32_t partitions;
        uint64_t generation; /* of the directory that it was found in */
    } last; /* the topic of the last record: most go where the one before them went */
    struct kafka_directory *own_directory; /* NULL: params.directory */
    struct kafka_directory_view *view;
    struct {
        struct metric_series *stored, *failed, *ack_seconds, *rebuilds;
    } metrics;
};

/* --- topics ----------------------------------------------------------------------------------- */

enum err kafka_producer_topic(struct kafka_producer *producer, const char *topic,
                              struct kafka_topic_facts *ret)
{
    return kafka_directory_find(producer->view, topic, ret);
}

uint64_t kafka_producer_topics_generation(struct kafka_producer *producer)
{
    return kafka_directory_generation(producer->view);
}

bool kafka_producer_has_metadata(struct kafka_producer *producer)
{
    return kafka_directory_is_known(producer->view);
}

enum err kafka_producer_await_metadata(struct kafka_producer *producer, int64_t timeout_ms,
                                       struct err_info *info)
{
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    while (!kafka_producer_has_metadata(producer)) {
        if (clock_mono_us() >= deadline_us) {
            return err_set(info, ERR_KAFKA_UNAVAILABLE, "no metadata from %s within %lld ms",
                           producer->params.config->bootstrap_servers, (long long)timeout_ms);
        }
        kafka_producer_serve(producer);
        (void)poll(NULL, 0, METADATA_POLL_MS); /* the topics thread has no descriptor to wait on */
    }
    return ERR_OK;
}

/* --- the client: made, emptied, replaced ---------------------------------------------------------------- */

struct conf_value {
    char text[32];
};

static struct conf_value conf_get(const rd_kafka_conf_t *conf, const char *name)
{
    struct conf_value value = {""};
    size_t bytes = sizeof value.text;
    (void)rd_kafka_conf_get(conf, name, value.text,
                            &bytes); /* cut or unknown: not what is looked for */
    return value;
}

/* No larger than what any topic that is used takes: Kafka refuses a batch as a whole, and librdkafka
 * knows one size for all topics. */
static enum err batch_bytes_set(struct kafka_producer *producer, rd_kafka_conf_t *conf,
                                struct err_info *info)
{
    const int64_t configured = strtoll(conf_get(conf, "batch.size").text, NULL, 10);
    const int64_t least = producer->view ? kafka_directory_record_bytes_min(producer->view) : 0;
    const bool is_less = least && least < configured;
    struct conf_value value;
    (void)snprintf(value.text, sizeof value.text, "%lld", (long long)least);
    producer->batch_bytes_max = is_less ? least : configured;
    return is_less ? kafka_conf_set(conf, "batch.size", value.text, info) : ERR_OK;
}

/* What comes out of a batch that has lingered here does not linger again. */
static enum err linger_take(struct kafka_producer *producer, rd_kafka_conf_t *conf,
                            struct err_info *info)
{
    producer->linger_us = (int64_t)(strtod(conf_get(conf, "linger.ms").text, NULL) * 1000);
    return kafka_conf_set(conf, "linger.ms", "0", info);
}

static enum err client_start(struct kafka_producer *producer, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(producer->params.config, producer->params.role, &conf, info);
    if (e) {
        return e;
    }
    e = batch_bytes_set(producer, conf, info);
    if (!e) {
        e = linger_take(producer, conf, info);
    }
    if (e) {
        rd_kafka_conf_destroy(conf);
        return e;
    }
    producer->is_compressing = strcmp(conf_get(conf, "compression.codec").text, "none") != 0;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_ERROR);
    char why[256];
    producer->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer->client) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka producer: %s", why);
    }
    producer->outstanding_max =
        (size_t)kafka_conf_number(rd_kafka_conf(producer->client), "queue.buffering.max.messages");
    producer->batches = kafka_batches_new(producer->client);
    producer->handles = hash_map_new(sizeof(struct handle), TOPICS_MAX);
    producer->events = rd_kafka_queue_get_main(producer->client);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(producer->events, producer->wake_fd, &one, sizeof one);
    return ERR_OK;
}

/* Lets go of everything but the client itself, which the directory destroys: that may block. */
static void client_release(struct kafka_producer *producer)
{
    kafka_batches_free(TAKE(producer->batches));
    for (size_t i = 0; i < hash_map_count(producer->handles); i++) {
        const struct handle *handle = hash_map_value_at(producer->handles, i);
        rd_kafka_topic_destroy(handle->topic);
    }
    hash_map_free(TAKE(producer->handles));
    producer->last.handle.topic = NULL;
    rd_kafka_queue_io_event_enable(producer->events, -1, NULL, 0);
    rd_kafka_queue_destroy(TAKE(producer->events));
    producer->client = NULL;
}

/* --- reports ------------------------------------------------------------------------------------------ */

static void report_from(const rd_kafka_message_t *message, struct kafka_report *report)
{
    rd_kafka_timestamp_type_t type;
    *report = (struct kafka_report){
        .opaque = message->_private,
        .count = 1,
        .value_bytes = message->len,
        .err = kafka_err(message->err),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = {message->key, message->key_len},
        .value = {message->payload, message->len},
        .reason = "",
    };
    if (message->err) {
        report->may_be_stored =
            rd_kafka_message_status(message) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        report->reason = rd_kafka_err2str(message->err);
        report->message = message;
    }
}

void kafka_report_record(const struct kafka_report *report, struct kafka_header *headers,
                         struct kafka_record *ret)
{
    const rd_kafka_message_t *message = report->message;
    rd_kafka_headers_t *list;
    const char *name;
    const void *value;
    size_t bytes;
    if (report->record) {
        *ret = *report->record;
        ret->headers = headers;
        for (size_t i = 0; i < ret->header_count; i++) {
            headers[i] = report->record->headers[i];
        }
        return;
    }
    CHECK(message != NULL);
    *ret = (struct kafka_record){
        .topic = rd_kafka_topic_name(message->rkt),
        .partition = message->partition,
        .key = {message->key, message->key_len},
        .value = {message->payload, message->len},
        .headers = headers,
        .opaque = report->opaque,
    };
    if (rd_kafka_message_headers(message, &list)) {
        return; /* it has none */
    }
    while (ret->header_count < KAFKA_HEADERS_MAX &&
           rd_kafka_header_get_all(list, ret->header_count, &name, &value, &bytes) ==
               RD_KAFKA_RESP_ERR_NO_ERROR) {
        headers[ret->header_count++] = (struct kafka_header){sv(name), sv_of(value, bytes)};
    }
}

static size_t record_bytes(const struct kafka_record *record)
{
    size_t bytes = RECORD_OVERHEAD + record->key.len + record->value.len;
    for (size_t i = 0; i < record->header_count; i++) {
        bytes += record->headers[i].name.len + record->headers[i].value.len;
    }
    return bytes;
}

/* Somebody waits for each report, and may send again what failed. */
static bool tells_of_reports(const struct kafka_producer *producer)
{
    return producer->params.role == KAFKA_ROLE_PRODUCER_ACKED;
}

/* Refused for its size: the record's fault, or only that of the batch that it was in. */
static void size_judge(struct kafka_producer *producer, struct kafka_report *report)
{
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    struct kafka_topic_facts facts;
    kafka_report_record(report, headers, &record);
    if (kafka_producer_topic(producer, record.topic, &facts)) {
        return;
    }
    const bool fits = facts.is_described && record_bytes(&record) <= (size_t)facts.record_bytes_max;
    if (fits || (facts.is_pending && tells_of_reports(producer))) {
        report->err = ERR_KAFKA_BATCH;
        report->reason = fits ? "Broker: Message size too large; smaller batches follow"
                              : "Broker: Message size too large; how much the topic takes is asked";
    }
}

static void report_deliver(struct kafka_producer *producer, const struct kafka_report *report)
{
    CHECK(producer->outstanding >= report->count);
    producer->outstanding -= report->count;
    metric_add(report->err ? producer->metrics.failed : producer->metrics.stored,
               (int64_t)report->count);
    producer->params.on_reports(producer->params.context, report, 1);
}

/* What a batch's records have in common. */
struct outcome {
    rd_kafka_resp_err_t code;
    bool may_be_stored;
    int64_t offset;      /* the first's */
    int64_t appended_ms; /* when the broker has stored them, where its topics say that; else -1 */
    rd_kafka_event_t *event; /* names those that the batch was refused for; else NULL */
    int named;               /* of them: told */
};

/* Of the record at an index, the one after that which was told before. */
static struct kafka_report report_of(const struct kafka_batch *batch, size_t index,
                                     const struct outcome *outcome,
                                     const struct kafka_record *record)
{
    return (struct kafka_report){
        .opaque = record->opaque,
        .count = 1,
        .value_bytes = record->value.len,
        .err = kafka_err(outcome->code),
        .may_be_stored = outcome->may_be_stored,
        .partition = batch->partition,
        .offset = outcome->code ? RD_KAFKA_OFFSET_INVALID : outcome->offset + (int64_t)index,
        .timestamp_ms = outcome->appended_ms >= 0 ? outcome->appended_ms : record->timestamp_ms,
        .key = record->key,
        .value = record->value,
        .reason = outcome->code ? rd_kafka_err2str(outcome->code) : "",
        .record = record,
    };
}

/* Where the broker names some records, the others only were in a batch with them. */
static void name_judge(struct outcome *outcome, size_t index, struct kafka_report *report)
{
    int32_t named = -1;
    const char *words = rd_kafka_event_record_error(outcome->event, outcome->named, &named);
    const bool is_named = words && named == (int32_t)index;
    const rd_kafka_resp_err_t code = is_named ? rd_kafka_event_error(outcome->event)
                                              : RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD;
    outcome->named += is_named;
    report->err = kafka_err(code);
    report->reason = is_named && words[0] ? words : rd_kafka_err2str(code);
}

/* Tells of each record, and takes the batch back. */
static void batch_report(struct kafka_producer *producer, struct kafka_batch *batch,
                         struct outcome outcome)
{
    struct strview left = kafka_records_all(&batch->records);
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    for (size_t i = 0; kafka_records_read(&batch->records, &left, headers, &record); i++) {
        record.topic = kafka_batches_topic_name(producer->batches, batch);
        record.partition = batch->partition;
        record.opaque = kafka_batch_opaque(batch, i);
        struct kafka_report report = report_of(batch, i, &outcome, &record);
        if (outcome.event) {
            name_judge(&outcome, i, &report);
        } else if (report.err == ERR_RECORD_TOO_LARGE) {
            size_judge(producer, &report);
        }
        report_deliver(producer, &report);
    }
    kafka_batches_take_back(producer->batches, batch);
}

static void batch_fail(struct kafka_producer *producer, struct kafka_batch *batch,
                       rd_kafka_resp_err_t code)
{
    batch_report(producer, batch, (struct outcome){.code = code, .appended_ms = -1});
}

/* All have the same opaque: one report is all. */
static void batch_stored(struct kafka_producer *producer, struct kafka_batch *batch,
                         const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    const struct kafka_report report = {
        .opaque = batch->opaque,
        .count = (size_t)batch->records.count,
        .value_bytes = batch->value_bytes,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .reason = "",
    };
    kafka_batches_take_back(producer->batches, batch);
    report_deliver(producer, &report);
}

static struct outcome outcome_of(rd_kafka_event_t *event, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    const int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    struct outcome outcome = {.offset = message->offset, .appended_ms = -1};
    int32_t named;
    if (message->err) {
        outcome.code = message->err;
        outcome.may_be_stored =
            rd_kafka_message_status(message) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        outcome.event = rd_kafka_event_record_error(event, 0, &named) ? event : NULL;
    } else if (type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME) {
        outcome.appended_ms = timestamp_ms;
    }
    return outcome;
}

/* One that was in no batch: its topic was not known. */
static void lone_deliver(struct kafka_producer *producer, struct kafka_batch *lone,
                         const rd_kafka_message_t *message)
{
    struct kafka_report report;
    report_from(message, &report);
    report.opaque = lone->opaque;
    free(lone);
    if (report.err == ERR_RECORD_TOO_LARGE) {
        size_judge(producer, &report);
    }
    report_deliver(producer, &report);
}

static void latency_observe(struct kafka_producer *producer, int64_t latency_us)
{
    if (latency_us >= 0) { /* -1: never sent */
        metric_observe(producer->metrics.ack_seconds, (double)latency_us / 1e6);
    }
}

static void reports_deliver(struct kafka_producer *producer, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event))) {
        struct kafka_batch *batch = message->_private;
        latency_observe(producer, rd_kafka_message_latency(message));
        if (!batch->records.bytes) {
            lone_deliver(producer, batch, message);
        } else if (message->err || batch->is_mixed) {
            batch_report(producer, batch, outcome_of(event, message));
        } else {
            batch_stored(producer, batch, message);
        }
    }
}

/* --- events ------------------------------------------------------------------------------------------- */

static void event_take(struct kafka_producer *producer, rd_kafka_event_t *event)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR:
        reports_deliver(producer, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        kafka_stats_take(producer->params.label, sv(rd_kafka_event_stats(event)));
        break;
    case RD_KAFKA_EVENT_ERROR:
        log_event(LOG_WARN, "kafka_error", rd_kafka_event_error_string(event),
                  KV("client", producer->params.label),
                  KV("code", rd_kafka_err2name(rd_kafka_event_error(event))));
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

/* Up to SERVE_EVENTS_MAX events that are there; whether that was all. */
static bool events_take(struct kafka_producer *producer)
{
    for (int i = 0; i < SERVE_EVENTS_MAX; i++) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(producer->events, 0);
        if (!event) {
            return true;
        }
        event_take(producer, event);
    }
    return false;
}

/* Waits for reports; false at the deadline. */
static bool wait_for_reports(struct kafka_producer *producer, int64_t deadline_us)
{
    int64_t left_ms = (deadline_us - clock_mono_us() + 999) / 1000;
    if (left_ms <= 0) {
        return false;
    }
    struct pollfd wait = {.fd = producer->fd, .events = POLLIN};
    (void)poll(&wait, 1, left_ms > 1000 ? 1000 : (int)left_ms);
    return true;
}

/* What librdkafka was never given. */
static void open_fail(struct kafka_producer *producer)
{
    struct kafka_batch *batch;
    while ((batch = kafka_batches_oldest(producer->batches))) {
        kafka_batches_withdraw(producer->batches, batch);
        batch_fail(producer, batch, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
    }
}

/* Fails whatever has not been stored and hands out the reports, the oldest first. */
static void outstanding_fail(struct kafka_producer *producer)
{
    (void)rd_kafka_purge(producer->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    int64_t deadline_us = clock_mono_us() + FREE_WAIT_MS * 1000;
    for (;;) {
        (void)events_take(producer);
        if (producer->outstanding == kafka_batches_open_records(producer->batches)) {
            open_fail(producer);
            return;
        }
        if (!wait_for_reports(producer, deadline_us)) {
            break;
        }
    }
    open_fail(producer);
    log_event(LOG_ERROR, "kafka_reports_missing", "purged records were not reported",
              KV("client", producer->params.label), KV("count", (int64_t)producer->outstanding));
    producer->outstanding = 0;
    producer->batches = NULL; /* left behind: librdkafka may still be reading them */
}

/* A new client; the old one goes to the helper, because destroying it may block. */
static void client_replace(struct kafka_producer *producer)
{
    outstanding_fail(producer);
    client_release(producer);
    struct err_info info = {0};
    enum err e = client_start(producer, &info);
    CHECK(e == ERR_OK); /* the same configuration made the last one */
    kafka_directory_replace(producer->view, producer->client);
    metric_add(producer->metrics.rebuilds, 1);
}

/* A fatal error (a sequence that cannot be continued) ends an idempotent producer for good. */
static void client_replace_fatal(struct kafka_producer *producer)
{
    char why[256] = "";
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(producer->client, why, sizeof why);
    log_event(LOG_ERROR, "kafka_producer_rebuilt", why, KV("client", producer->params.label),
              KV("code", rd_kafka_err2name(code)),
              KV("outstanding", (int64_t)producer->outstanding));
    client_replace(producer);
}

/* A topic takes smaller batches than are made. */
static void batches_fit(struct kafka_producer *producer)
{
    const int64_t least = kafka_directory_record_bytes_min(producer->view);
    if (!least || least >= producer->batch_bytes_max) {
        return;
    }
    log_event(LOG_INFO, "kafka_batches_smaller",
              "a topic takes less at once than batch.size: all batches are smaller from now on",
              KV("client", producer->params.label), KV("batch.size", producer->batch_bytes_max),
              KV("max.message.bytes", least));
    producer->batch_bytes_max = least;
    kafka_batches_limit(
        producer->batches, least > RECORD_OVERHEAD ? least - RECORD_OVERHEAD : 1,
        (int32_t)kafka_conf_number(rd_kafka_conf(producer->client), "batch.num.messages"));
}

void kafka_producer_recall(struct kafka_producer *producer)
{
    log_event(LOG_WARN, "kafka_producer_recalled", "what Kafka did not acknowledge is given up",
              KV("client", producer->params.label),
              KV("outstanding", (int64_t)producer->outstanding));
    client_replace(producer);
}

/* --- what is open ----------------------------------------------------------------------------------------- */

/* Sends what is open since before then, where its partition has none under way; false: the queue is full.
 * What cannot be sent ever has failed. */
static bool open_send(struct kafka_producer *producer, int64_t than_us)
{
    rd_kafka_resp_err_t code;
    struct kafka_batch *unsent;
    while ((code = kafka_batches_send_ready(producer->batches, than_us, &unsent)) &&
           code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        kafka_batches_withdraw(producer->batches, unsent);
        batch_fail(producer, unsent, code);
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* For the oldest that is open and does not wait for a report, no sooner than in so many microseconds. */
static void timer_set(struct kafka_producer *producer, int64_t least_us)
{
    const struct kafka_batch *oldest = kafka_batches_oldest_ready(producer->batches);
    if (producer->is_timer_set || !oldest) {
        return;
    }
    const int64_t left_us = oldest->opened_us + producer->linger_us - clock_mono_us();
    const int64_t wait_us = left_us > least_us ? left_us : least_us;
    const struct itimerspec when = {
        .it_value = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000}};
    CHECK(timerfd_settime(producer->timer_fd, 0, &when, NULL) == 0);
    producer->is_timer_set = true;
}

static void lingered_send(struct kafka_producer *producer)
{
    uint64_t count;
    if (read(producer->timer_fd, &count, sizeof count) > 0) {
        producer->is_timer_set = false;
        kafka_batches_look_again(producer->batches);
    }
    const bool is_sent = open_send(producer, clock_mono_us() - producer->linger_us + 1);
    timer_set(producer, is_sent ? 1 : QUEUE_RETRY_US); /* a report may come sooner */
}

void kafka_producer_serve(struct kafka_producer *producer)
{
    uint64_t count;
    (void)!read(producer->wake_fd, &count, sizeof count); /* armed again before the queue is read */
    if (!events_take(producer)) {
        static const uint64_t one = 1;
        (void)!write(producer->wake_fd, &one, sizeof one); /* the rest in the next turn */
    }
    if (rd_kafka_fatal_error(producer->client, NULL, 0)) {
        client_replace_fatal(producer);
    }
    batches_fit(producer);
    lingered_send(producer);
}

/* --- sending ---------------------------------------------------------------------------------------------- */

/* The handle of a topic that is known to exist, or of any while nothing is known yet: then
 * *ret_partitions is INT32_MAX. */
static enum err handle_look_up(struct kafka_producer *producer, const struct kafka_record *record,
                               struct handle *ret, int32_t *ret_partitions, struct err_info *info)
{
    struct kafka_topic_facts facts;
    enum err e = kafka_producer_topic(producer, record->topic, &facts);
    if (e == ERR_TOPIC_UNKNOWN) {
        return err_set(info, e, "topic %s does not exist", record->topic);
    }
    *ret_partitions = e ? INT32_MAX : facts.partitions;
    struct handle *handle = hash_map_get_or_add(producer->handles, sv(record->topic), NULL);
    if (!handle) {
        return err_set(info, ERR_LIMIT, "more than %d topics", TOPICS_MAX);
    }
    if (!handle->topic) {
        handle->topic = rd_kafka_topic_new(producer->client, record->topic, NULL);
        if (!handle->topic) {
            (void)hash_map_remove(producer->handles, sv(record->topic));
            return err_set(info, ERR_TOPIC_UNKNOWN, "topic %s: %s", record->topic,
                           rd_kafka_err2str(rd_kafka_last_error()));
        }
        handle->index = kafka_batches_topic(producer->batches, handle->topic);
    }
    *ret = *handle;
    return ERR_OK;
}

static enum err handle_find(struct kafka_producer *producer, const struct kafka_record *record,
                            struct handle *ret, struct err_info *info)
{
    /* A newer one may have more partitions, or the topic no longer. */
    const uint64_t generation = kafka_directory_generation(producer->view);
    struct handle handle = producer->last.handle;
    int32_t partitions = producer->last.partitions;
    if (!handle.topic || generation != producer->last.generation ||
        strcmp(rd_kafka_topic_name(handle.topic), record->topic) != 0) {
        const enum err e = handle_look_up(producer, record, &handle, &partitions, info);
        if (e) {
            return e;
        }
        producer->last.handle = handle;
        producer->last.partitions = partitions;
        producer->last.generation = generation;
    }
    if (record->partition >= partitions) {
        return err_set(info, ERR_PARTITION_UNKNOWN,
                       "topic %s has %d partitions: there is no partition %d", record->topic,
                       partitions, record->partition);
    }
    *ret = handle;
    return ERR_OK;
}

/* librdkafka takes void * for what it only reads. */
static void *unconst(const void *pointer)
{
    return (void *)(uintptr_t)pointer;
}

static rd_kafka_headers_t *headers_new(const struct kafka_record *record)
{
    rd_kafka_headers_t *headers =
        record->header_count ? rd_kafka_headers_new(record->header_count) : NULL;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct kafka_header *header = &record->headers[i];
        (void)rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len,
                                  header->value.ptr,
                                  (ssize_t)header->value.len); /* fails only when read-only */
    }
    return headers;
}

/* An empty key would be hashed to one partition: null means "no key". */
static struct strview key_of(const struct kafka_record *record)
{
    return record->key.len > 0 ? record->key : (struct strview){NULL, 0};
}

static enum err produce(const struct kafka_producer *producer, rd_kafka_topic_t *topic,
                        const struct kafka_record *record, struct err_info *info)
{
    const struct strview key = key_of(record);
    rd_kafka_headers_t *headers = headers_new(record);
    rd_kafka_vu_t arguments[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = record->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {unconst(record->value.ptr), record->value.len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {unconst(key.ptr), key.len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = record->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = record->opaque},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    size_t count = ARRAY_LEN(arguments) - (headers ? 0 : 1);
    rd_kafka_error_t *error = rd_kafka_produceva(producer->client, arguments, count);
    if (!error) {
        return ERR_OK;
    }
    enum err e = err_set(info, kafka_err(rd_kafka_error_code(error)), "topic %s: %s", record->topic,
                         rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    if (headers) {
        rd_kafka_headers_destroy(headers); /* taken over only on success */
    }
    return e;
}

/* The topic's partitions are not known yet. librdkafka keeps its records until they are, and gives them
 * out before it says so: none is overtaken by what is then added to a batch, and none overtakes what is
 * open. */
static enum err lone_produce(struct kafka_producer *producer, const struct handle *handle,
                             const struct kafka_record *record, struct err_info *info)
{
    rd_kafka_resp_err_t code = kafka_batches_send_topic(producer->batches, handle->index);
    if (code) {
        return err_set(info, kafka_err(code), "topic %s: %s", record->topic,
                       rd_kafka_err2str(code));
    }
    struct kafka_batch *lone = must_alloc(sizeof *lone); /* what reports have in common */
    struct kafka_record its = *record;
    lone->opaque = record->opaque;
    its.opaque = lone;
    enum err e = produce(producer, handle->topic, &its, info);
    if (e) {
        free(lone);
    }
    return e;
}

static enum err batch_add(struct kafka_producer *producer, const struct handle *handle,
                          const struct kafka_record *record, struct err_info *info)
{
    struct kafka_record its = *record;
    its.key = key_of(record);
    its.timestamp_ms = record->timestamp_ms ? record->timestamp_ms : clock_now_ms();
    const uint64_t opened = kafka_batches_opened(producer->batches);
    rd_kafka_resp_err_t code = kafka_batches_add(producer->batches, handle->index, &its, 0);
    if (code == RD_KAFKA_RESP_ERR__WAIT_CACHE) {
        return lone_produce(producer, handle, record, info);
    }
    if (code) {
        return err_set(info, kafka_err(code), "topic %s: %s", record->topic,
                       rd_kafka_err2str(code));
    }
    if (!producer->is_timer_set && kafka_batches_opened(producer->batches) != opened) {
        timer_set(producer, 1);
    }
    return ERR_OK;
}

enum err kafka_producer_send(struct kafka_producer *producer, const struct kafka_record *record,
                             struct err_info *info)
{
    struct handle handle = {0};
    enum err e = handle_find(producer, record, &handle, info);
    if (!e && record->header_count > KAFKA_HEADERS_MAX) {
        e = err_set(info, ERR_LIMIT, "a record has more than %d headers", KAFKA_HEADERS_MAX);
    }
    if (!e && producer->outstanding >= producer->outstanding_max) {
        e = err_set(info, ERR_QUEUE_FULL, "topic %s: %zu records are outstanding", record->topic,
                    producer->outstanding);
    }
    if (!e) {
        e = batch_add(producer, &handle, record, info);
    }
    if (!e) {
        producer->outstanding++;
    }
    return e;
}

/* --- life ------------------------------------------------------------------------------------------------- */

enum err kafka_producer_flush(struct kafka_producer *producer, int64_t timeout_ms)
{
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    for (;;) {
        kafka_producer_serve(producer);
        (void)open_send(producer, INT64_MAX); /* the rest in the next round */
        if (producer->outstanding == 0) {
            return ERR_OK;
        }
        int64_t left_ms = (deadline_us - clock_mono_us() + 999) / 1000;
        if (left_ms <= 0) {
            return ERR_DRAIN_TIMEOUT;
        }
        /* Only while it is in there does librdkafka not wait for linger.ms. */
        (void)rd_kafka_flush(producer->client,
                             left_ms < FLUSH_STEP_MS ? (int)left_ms : FLUSH_STEP_MS);
    }
}

size_t kafka_producer_outstanding(const struct kafka_producer *producer)
{
    return producer->outstanding;
}

bool kafka_producer_is_compressing(const struct kafka_producer *producer)
{
    return producer->is_compressing;
}

int kafka_producer_fd(const struct kafka_producer *producer)
{
    return producer->fd;
}

static void metrics_open(struct kafka_producer *producer)
{
    const char *label = producer->params.label;
    producer->metrics.stored = METRIC(producer_metrics[METRIC_PRODUCED], label, "stored");
    producer->metrics.failed = METRIC(producer_metrics[METRIC_PRODUCED], label, "failed");
    producer->metrics.ack_seconds = METRIC(producer_metrics[METRIC_ACK_SECONDS], label);
    producer->metrics.rebuilds = METRIC(producer_metrics[METRIC_REBUILDS], label);
}

static void descriptors_close(struct kafka_producer *producer)
{
    const int descriptors[] = {producer->fd, producer->timer_fd, producer->wake_fd};
    for (size_t i = 0; i < ARRAY_LEN(descriptors); i++) {
        if (descriptors[i] >= 0) {
            (void)close(descriptors[i]);
        }
    }
}

static enum err descriptors_open(struct kafka_producer *producer, struct err_info *info)
{
    producer->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    producer->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    producer->fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event readable = {.events = EPOLLIN};
    if (producer->wake_fd < 0 || producer->timer_fd < 0 || producer->fd < 0 ||
        epoll_ctl(producer->fd, EPOLL_CTL_ADD, producer->wake_fd, &readable) ||
        epoll_ctl(producer->fd, EPOLL_CTL_ADD, producer->timer_fd, &readable)) {
        return err_set(info, ERR_IO, "descriptors of a producer: %s", strerror(errno));
    }
    return ERR_OK;
}

enum err kafka_producer_new(const struct kafka_producer_params *params, struct kafka_producer **ret,
                            struct err_info *info)
{
    CHECK(params->role == KAFKA_ROLE_PRODUCER_ACKED || params->role == KAFKA_ROLE_PRODUCER_HASTY ||
          params->role == KAFKA_ROLE_PRODUCER_BULK);
    CHECK(params->on_reports != NULL);
    struct kafka_producer *producer = must_alloc(sizeof *producer);
    producer->params = *params;
    (void)snprintf(producer->label, sizeof producer->label, "%s", params->label);
    producer->params.label = producer->label;
    enum err e = descriptors_open(producer, info);
    if (!e) {
        e = client_start(producer, info);
    }
    if (e) {
        descriptors_close(producer);
        free(producer);
        return e;
    }
    metrics_open(producer);
    if (!params->directory) {
        producer->own_directory = kafka_directory_new();
    }
    producer->view = kafka_directory_join(
        params->directory ? params->directory : producer->own_directory, producer->client);
    *ret = producer;
    return ERR_OK;
}

void kafka_producer_free(struct kafka_producer *producer)
{
    if (!producer) {
        return;
    }
    outstanding_fail(producer);
    client_release(producer);
    kafka_directory_leave(producer->view);
    kafka_directory_free(producer->own_directory);
    descriptors_close(producer);
    free(producer);
}
