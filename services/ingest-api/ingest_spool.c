#include "ingest_spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"

#define REPLAYED         ((uint64_t)1 << 63) /* in an opaque: a ticket, not a result */
#define NOBODY           UINT64_MAX          /* in place of a result: hasty */
#define TICK_MS          50
#define REPLAY_FIRST     16   /* records under way at first; doubled with each round of acks */
#define PUMP_MAX         1000 /* records given to the producer in one turn of the loop */
#define BACKOFF_MS       200
#define BACKOFF_MAX_MS   5000
#define DRAIN_AFTER_MS   500
#define QUEUE_STALL_MS   1000 /* a full queue without an acknowledgement for as long: Kafka is away */
#define UNKNOWN_MS       30000 /* a topic may be late in a cluster that comes back */
#define UNKNOWN_MAX      1000
#define GATHER_BYTES_MAX ((size_t)256 << 20)

/* An event on its way from the producer into the spool. */
struct gathered {
    int64_t started_us; /* of its request */
    uint64_t opaque;
    size_t at, bytes; /* in gathered_bytes, as the spool writes records */
};

struct ingest_spool {
    struct ingest_worker *worker;
    struct http_worker *loop;
    struct spool *spool;
    struct spool_lane *lane;
    bool is_spooling;
    bool is_recall_due;
    bool is_recalling; /* reports of replayed records mean nothing: all are given out again */
    bool is_acked;     /* something was, since the last settle */
    bool has_acked;    /* something was, since the recall: that alone shows that Kafka is back */
    bool is_wake_sent;
    int64_t last_ack_us, recalled_us;
    uint64_t position; /* of the replay, and since when it is there */
    int64_t position_us;
    /* Events that the producer gave up, to be put into the order of their requests. */
    struct gathered *gathered;
    size_t gathered_count, gathered_capacity;
    struct buf gathered_bytes;
    /* Events that the next commit is for. */
    uint64_t *waiting;
    size_t waiting_count, waiting_capacity;
    /* Replay. */
    size_t replay_max; /* records under way */
    int64_t pause_until_us, pause_ms;
    double rate_credit;
    int64_t rate_at_us;
    struct hash_map *unknown; /* topic → int64_t, when it was first missed */
    int wake_fd;              /* the next turn has something to do */
    struct http_watch *wake;
};

static int64_t after_us(const struct ingest_spool *spool)
{
    const int64_t after_ms = spool->worker->ingest->spool_config.after_ms;
    const bool is_hurried = http_worker_is_draining(spool->loop) && after_ms > DRAIN_AFTER_MS;
    return (is_hurried ? DRAIN_AFTER_MS : after_ms) * 1000;
}

static void wake(struct ingest_spool *spool)
{
    if (!spool->is_wake_sent) {
        spool->is_wake_sent = true;
        (void)!write(spool->wake_fd, &(uint64_t){1}, sizeof(uint64_t)); /* never full */
    }
}

/* --- into the spool --------------------------------------------------------------------------- */

static struct spool_record spool_record_of(const struct kafka_record *record,
                                           struct spool_header headers[KAFKA_HEADERS_MAX])
{
    for (size_t i = 0; i < record->header_count; i++) {
        headers[i] = (struct spool_header){record->headers[i].name, record->headers[i].value};
    }
    return (struct spool_record){
        .topic = record->topic,
        .partition = record->partition,
        .key = record->key.len ? record->key : (struct strview){0}, /* as the producer has it */
        .value = record->value,
        .timestamp_ms = record->timestamp_ms ? record->timestamp_ms : clock_now_ms(),
        .headers = headers,
        .header_count = record->header_count,
    };
}
static_assert(KAFKA_HEADERS_MAX <= SPOOL_HEADERS_MAX, "headers of any record have room");

static void wait_for_commit(struct ingest_spool *spool, uint64_t opaque)
{
    wake(spool);
    if (opaque == NOBODY) {
        return;
    }
    if (spool->waiting_count == spool->waiting_capacity) {
        spool->waiting_capacity = spool->waiting_capacity ? 2 * spool->waiting_capacity : 64;
        spool->waiting =
            must_realloc(spool->waiting, spool->waiting_capacity * sizeof *spool->waiting);
    }
    spool->waiting[spool->waiting_count++] = opaque;
}

static enum err append(struct ingest_spool *spool, const struct kafka_record *record,
                       uint64_t opaque, struct err_info *info)
{
    struct spool_header headers[KAFKA_HEADERS_MAX];
    const struct spool_record kept = spool_record_of(record, headers);
    enum err e = spool_append(spool->lane, &kept, info);
    if (!e) {
        wait_for_commit(spool, opaque);
    }
    return e;
}

/* Answers all that the commit was for. */
static void commit(struct ingest_spool *spool)
{
    struct err_info info = {0};
    const enum err e = spool_commit(spool->lane, &info);
    const size_t count = spool->waiting_count;
    spool->waiting_count = 0; /* no answer brings another event */
    for (size_t i = 0; i < count; i++) {
        ingest_batch_spooled(spool->worker, spool->waiting[i], e, &info);
    }
}

/* --- from the producer into the spool --------------------------------------------------------- */

static enum err gather(struct ingest_spool *spool, const struct kafka_record *record,
                       uint64_t opaque)
{
    struct spool_header headers[KAFKA_HEADERS_MAX];
    const struct spool_record kept = spool_record_of(record, headers);
    const size_t at = spool->gathered_bytes.len;
    if (spool_record_encode(&kept, 0, &spool->gathered_bytes)) {
        return ERR_QUEUE_FULL;
    }
    if (spool->gathered_count == spool->gathered_capacity) {
        spool->gathered_capacity = spool->gathered_capacity ? 2 * spool->gathered_capacity : 64;
        spool->gathered =
            must_realloc(spool->gathered, spool->gathered_capacity * sizeof *spool->gathered);
    }
    spool->gathered[spool->gathered_count++] = (struct gathered){
        .started_us =
            opaque == NOBODY ? clock_mono_us() : ingest_batch_of(spool->worker, opaque)->started_us,
        .opaque = opaque,
        .at = at,
        .bytes = spool->gathered_bytes.len - at,
    };
    return ERR_OK;
}

/* By request, then by place in the request: slot and index are in the opaque. */
static int gathered_compare(const void *left, const void *right)
{
    const struct gathered *a = left, *b = right;
    if (a->started_us != b->started_us) {
        return a->started_us < b->started_us ? -1 : 1;
    }
    return a->opaque < b->opaque ? -1 : a->opaque > b->opaque;
}

static void gathered_append(struct ingest_spool *spool)
{
    struct spool_header headers[SPOOL_HEADERS_MAX];
    struct spool_record record;
    if (spool->gathered_count == 0) {
        return;
    }
    qsort(spool->gathered, spool->gathered_count, sizeof *spool->gathered, gathered_compare);
    for (size_t i = 0; i < spool->gathered_count; i++) {
        const struct gathered *event = &spool->gathered[i];
        struct err_info info = {0};
        const struct strview bytes = {spool->gathered_bytes.data + event->at, event->bytes};
        CHECK(spool_record_decode(bytes, 0, headers, &record));
        enum err e = spool_append(spool->lane, &record, &info);
        if (e && event->opaque != NOBODY) {
            ingest_batch_spooled(spool->worker, event->opaque, e, &info);
        } else if (!e) {
            wait_for_commit(spool, event->opaque);
        }
    }
    spool->gathered_count = 0;
    buf_free(&spool->gathered_bytes); /* rare, and may be large */
}

static void replay_pause(struct ingest_spool *spool)
{
    spool->pause_ms = spool->pause_ms ? 2 * spool->pause_ms : BACKOFF_MS;
    spool->pause_ms = spool->pause_ms < BACKOFF_MAX_MS ? spool->pause_ms : BACKOFF_MAX_MS;
    spool->pause_until_us = clock_mono_us() + spool->pause_ms * 1000;
}

/* From here on the worker spools; what Kafka surely does not have is in the spool. */
static void recall(struct ingest_spool *spool)
{
    if (kafka_producer_outstanding(spool->worker->producer) > 0) {
        spool->is_recalling = true;
        kafka_producer_recall(spool->worker->producer); /* gathers */
        spool->is_recalling = false;
    }
    if (!spool->is_spooling) {
        log_event(LOG_WARN, "spooling", "Kafka does not take events: they go to the disk",
                  KV("worker", http_worker_index(spool->loop)),
                  KV("given_up", (int64_t)spool->gathered_count));
    }
    spool->is_recall_due = false;
    spool->is_spooling = true;
    spool->has_acked = false;
    spool->recalled_us = clock_mono_us();
    spool->replay_max = REPLAY_FIRST;
    spool_rewind(spool->lane);
    gathered_append(spool);
}

bool ingest_spool_is_on(const struct ingest_spool *spool)
{
    return spool->is_spooling || spool->is_recall_due ||
           (!kafka_producer_has_metadata(spool->worker->producer) &&
            clock_mono_us() - spool->recalled_us > after_us(spool));
}

bool ingest_spool_relieves(struct ingest_spool *spool)
{
    const int64_t unheard_us = clock_mono_us() - spool->last_ack_us;
    spool->is_recall_due |= unheard_us > QUEUE_STALL_MS * (int64_t)1000;
    return spool->is_recall_due;
}

enum err ingest_spool_take(struct ingest_spool *spool, const struct kafka_record *record,
                           bool is_hasty, struct err_info *info)
{
    const uint64_t opaque = is_hasty ? NOBODY : (uintptr_t)record->opaque;
    if (spool->is_spooling) {
        return append(spool, record, opaque, info);
    }
    spool->is_recall_due = true; /* in the next turn: here others' answers may be in the making */
    wake(spool);
    return gather(spool, record, opaque);
}

/* --- reports ---------------------------------------------------------------------------------- */

static bool is_hopeless(const struct kafka_report *report)
{
    return report->err && !report->may_be_stored && !err_is_retriable(report->err) &&
           report->err != ERR_TOPIC_UNKNOWN; /* unknown has its time */
}

static void replay_report(struct ingest_spool *spool, const struct kafka_report *report)
{
    const uint64_t ticket = (uintptr_t)report->opaque & ~REPLAYED;
    if (!report->err) {
        spool_ack(spool->lane, ticket);
    } else if (!spool->is_recalling &&
               (!is_hopeless(report) ||
                spool_refuse(spool->lane, ticket, report->reason) != ERR_OK)) {
        spool->is_recall_due = true;
        replay_pause(spool);
    }
}

bool ingest_spool_takes_report(struct ingest_spool *spool, const struct kafka_report *report)
{
    if (!report->err) {
        spool->is_acked = true;
    }
    if ((uintptr_t)report->opaque & REPLAYED) {
        replay_report(spool, report);
        return true;
    }
    const uint64_t opaque = (uintptr_t)report->opaque;
    bool is_spoolable = report->err && !report->may_be_stored && err_is_retriable(report->err) &&
                        ingest_batch_of(spool->worker, opaque)->request;
    if (!is_spoolable) {
        return false;
    }
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    kafka_report_record(report, headers, &record);
    record.timestamp_ms = ingest_batch_timestamp_ms(spool->worker, opaque);
    if (gather(spool, &record, opaque)) {
        return false;
    }
    spool->is_recall_due = true; /* others of its key may be behind it in the queue */
    spool->worker->inflight_bytes -= report->value_bytes;
    return true;
}

bool ingest_spool_keeps_hasty(struct ingest_spool *spool, const struct kafka_report *report)
{
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    if (report->may_be_stored || !err_is_retriable(report->err)) {
        return false;
    }
    kafka_report_record(report, headers, &record);
    return ingest_spool_take(spool, &record, true, NULL) == ERR_OK;
}

/* --- replay ----------------------------------------------------------------------------------- */

/* Whether one more may be sent now, by spool.replay.rate. */
static bool rate_allows(struct ingest_spool *spool)
{
    const double rate = (double)spool->worker->ingest->spool_config.replay_rate;
    if (rate <= 0) {
        return true;
    }
    const int64_t now_us = clock_mono_us();
    spool->rate_credit += (double)(now_us - spool->rate_at_us) * rate / 1e6;
    spool->rate_at_us = now_us;
    const double burst = rate / 10 > 1 ? rate / 10 : 1;
    spool->rate_credit = spool->rate_credit < burst ? spool->rate_credit : burst;
    if (spool->rate_credit < 1) {
        return false;
    }
    spool->rate_credit -= 1;
    return true;
}

/* Whether the topic has been missing for so long that nobody will make it. */
static bool unknown_for_long(struct ingest_spool *spool, const char *topic)
{
    bool is_new;
    int64_t *since_us = hash_map_get_or_add(spool->unknown, sv(topic), &is_new);
    if (!since_us) {
        return true; /* more than UNKNOWN_MAX topics are missing */
    }
    *since_us = is_new ? clock_mono_us() : *since_us;
    return clock_mono_us() - *since_us > UNKNOWN_MS * (int64_t)1000;
}

static enum err replay_send(struct ingest_spool *spool, const struct spool_record *record,
                            uint64_t ticket, struct err_info *info)
{
    struct kafka_header headers[SPOOL_HEADERS_MAX + 1];
    char id[SPOOL_ID_BYTES];
    size_t count = 0;
    for (; count < record->header_count; count++) {
        headers[count] =
            (struct kafka_header){record->headers[count].name, record->headers[count].value};
    }
    spool_record_id(spool->lane, id);
    headers[count++] = (struct kafka_header){SV("millrace-spool-id"), sv(id)};
    const struct kafka_record sent = {
        .topic = record->topic,
        .partition = record->partition,
        .key = record->key,
        .value = record->value,
        .timestamp_ms = record->timestamp_ms,
        .headers = headers,
        .header_count = count,
        .opaque = (void *)(uintptr_t)(ticket | REPLAYED),
    };
    return kafka_producer_send(spool->worker->producer, &sent, info);
}
static_assert(INGEST_HEADERS_MAX < KAFKA_HEADERS_MAX, "a replayed record's headers have room");

/* One record; false when there is no more to do now. */
static bool replay_one(struct ingest_spool *spool)
{
    struct spool_record record;
    struct err_info info = {0};
    uint64_t ticket;
    enum err e = spool_next(spool->lane, &record, &ticket);
    if (e) {
        if (e != ERR_NOT_FOUND) {
            replay_pause(spool);
        }
        return false;
    }
    e = replay_send(spool, &record, ticket, &info);
    if (!e) {
        return true;
    }
    bool is_retriable =
        err_is_retriable(e) || (e == ERR_TOPIC_UNKNOWN && !unknown_for_long(spool, record.topic));
    if (is_retriable || spool_refuse(spool->lane, ticket, err_detail(e, &info)) != ERR_OK) {
        spool_put_back(spool->lane);
        if (e != ERR_QUEUE_FULL || spool_under_way(spool->lane) == 0) {
            replay_pause(spool); /* else acknowledgements make room, and call again */
        }
        return false;
    }
    return true;
}

static void replay_pump(struct ingest_spool *spool)
{
    if (!kafka_producer_has_metadata(spool->worker->producer) ||
        clock_mono_us() < spool->pause_until_us) {
        return;
    }
    for (int i = 0; spool_under_way(spool->lane) < spool->replay_max && rate_allows(spool); i++) {
        if (i == PUMP_MAX) {
            wake(spool); /* the rest in the next turn */
            return;
        }
        if (!replay_one(spool)) {
            return;
        }
    }
}

/* Back to direct: the log has been given out, and Kafka takes what it gets. While it has some under
 * way, and with a load that never pauses it always has, that takes as long as a failure needs to show:
 * a partition without a leader holds the position where it is. */
static bool is_over(struct ingest_spool *spool)
{
    if (!spool_is_caught_up(spool->lane) || spool->is_recall_due) {
        return false;
    }
    if (spool_under_way(spool->lane) == 0) {
        return spool->has_acked;
    }
    const int64_t now_us = clock_mono_us();
    return spool->has_acked && now_us - spool->recalled_us > after_us(spool) &&
           now_us - spool->position_us < after_us(spool) / 2;
}

static void acks_follow(struct ingest_spool *spool)
{
    const size_t most = (size_t)spool->worker->ingest->spool_config.replay_window;
    if (spool->is_acked) {
        spool->is_acked = false;
        spool->has_acked = true;
        spool->last_ack_us = clock_mono_us();
        spool->pause_ms = 0;
        spool->replay_max = 2 * spool->replay_max < most ? 2 * spool->replay_max : most;
    }
    if (spool_position(spool->lane) != spool->position) {
        spool->position = spool_position(spool->lane);
        spool->position_us = clock_mono_us();
    }
}

void ingest_spool_settle(struct ingest_spool *spool)
{
    acks_follow(spool);
    if (spool->is_recall_due) {
        recall(spool);
    }
    if (!spool->is_spooling) {
        return;
    }
    commit(spool);
    replay_pump(spool);
    spool_settle(spool->lane);
    if (is_over(spool)) {
        spool->is_spooling = false;
        hash_map_clear(spool->unknown);
        log_event(LOG_INFO, "spooling_over", "Kafka takes events again: they go to it directly",
                  KV("worker", http_worker_index(spool->loop)));
    }
}

/* --- from time to time ------------------------------------------------------------------------ */

static bool is_kept_waiting(const struct ingest_spool *spool)
{
    const int64_t started_us = ingest_batch_oldest_us(spool->worker, spool->last_ack_us);
    return started_us && clock_mono_us() - started_us > after_us(spool);
}

static void on_tick(void *context)
{
    struct ingest_spool *spool = context;
    if (!spool->is_spooling && is_kept_waiting(spool)) {
        struct spool_stats stats;
        spool_stats(spool->spool, &stats);
        spool->is_recall_due |= !stats.is_full; /* else they may wait for their deadline */
    }
    kafka_producer_serve(spool->worker->producer);
    ingest_spool_settle(spool);
    if (!spool->is_spooling) {
        spool_settle(spool->lane);
        spool_clear(spool->lane);
    }
}

static void on_wake(void *context, uint32_t events)
{
    (void)events;
    struct ingest_spool *spool = context;
    uint64_t count;
    (void)!read(spool->wake_fd, &count, sizeof count); /* only empties it */
    spool->is_wake_sent = false;
    ingest_spool_settle(spool);
}

/* --- life ------------------------------------------------------------------------------------- */

enum err ingest_spool_open(struct ingest *ingest, struct err_info *info)
{
    const struct spool_config *config = &ingest->spool_config;
    if (!config->dir[0]) {
        return ERR_OK;
    }
    const int64_t request_ms = service_http_config(ingest->service)->request_timeout_ms;
    if (config->after_ms >= request_ms) {
        return err_set(info, ERR_CONFIG,
                       "spool.after (%" PRId64 " ms) must be below http.request.timeout (%" PRId64
                       " ms): an event would never be spooled",
                       config->after_ms, request_ms);
    }
    return spool_open(config, &ingest->spool, info);
}

struct ingest_spool *ingest_spool_start(struct ingest_worker *worker, struct http_worker *loop)
{
    if (!worker->ingest->spool) {
        return NULL;
    }
    struct ingest_spool *spool = must_alloc(sizeof *spool);
    spool->worker = worker;
    spool->loop = loop;
    spool->spool = worker->ingest->spool;
    spool->lane = spool_lane_new(spool->spool);
    spool->is_spooling = spool_has_adopted(spool->spool); /* nothing new overtakes what is there */
    spool->has_acked = true;                              /* nothing has failed yet */
    spool->replay_max = REPLAY_FIRST;
    spool->recalled_us = spool->last_ack_us = spool->rate_at_us = clock_mono_us();
    spool->unknown = hash_map_new(sizeof(int64_t), UNKNOWN_MAX);
    buf_init(&spool->gathered_bytes, GATHER_BYTES_MAX);
    spool->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(spool->wake_fd >= 0);
    spool->wake = http_worker_watch(loop, spool->wake_fd, EPOLLIN, on_wake, spool);
    http_worker_every(loop, TICK_MS, on_tick, spool);
    return spool;
}

void ingest_spool_stop(struct ingest_spool *spool)
{
    if (!spool) {
        return;
    }
    http_watch_close(spool->wake);
    (void)close(spool->wake_fd);
    gathered_append(spool); /* what the hasty producer gave up at the end */
    commit(spool);
    spool_lane_free(spool->lane);
    hash_map_free(spool->unknown);
    buf_free(&spool->gathered_bytes);
    free(spool->gathered);
    free(spool->waiting);
    free(spool);
}
