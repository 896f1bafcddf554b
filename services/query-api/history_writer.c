#include "history_writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "finder.h"
#include "history_batch.h"
#include "history_sql.h"
#include "kafka/kafka_tail.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "row_marker.h"

#define BATCH_MAX        1000
#define POLL_MS          50
#define FETCH_WAIT_MS    100
#define REVIEW_PERIOD_US 1000000
#define RETRY_US_MIN     250000
#define RETRY_US_MAX     10000000
#define SWEEP_ROWS       5000 /* deleted at a time */
#define PARTITIONS_MAX   10000
/* Of our advisory locks: with a topic's id, who writes it; alone, who makes the tables. */
#define LOCK_CLASS 1836018547

enum { WRITTEN, EXPIRED, LAG, UP, ERRORS };
static struct metric families[] = {
    [WRITTEN] = {"millrace_query_history_stored_total", METRIC_COUNTER,
                 "Records written to PostgreSQL, tombstones too.", "topic"},
    [EXPIRED] = {"millrace_query_history_stored_expired_total", METRIC_COUNTER,
                 "Rows deleted in PostgreSQL as older than query.history.postgres.retention, or of "
                 "a topic made anew.",
                 "topic"},
    [LAG] = {"millrace_query_history_stored_lag_records", METRIC_GAUGE,
             "Records in Kafka that are not in PostgreSQL yet, at the replica that writes the "
             "topic; steady growth: the database is too slow, or away.",
             "topic"},
    [UP] = {"millrace_query_history_store_up", METRIC_GAUGE,
            "1 while there is a session with PostgreSQL, else 0: what only it holds is not "
            "answered; see the log for history_store_away.",
            NULL},
    [ERRORS] = {"millrace_query_history_store_errors_total", METRIC_COUNTER,
                "Sessions with PostgreSQL that failed or could not begin.", NULL},
};
METRICS_TABLE(families)

struct partition {
    int64_t low;    /* of the log, when it was found */
    int64_t next;   /* as the database has it */
    int64_t read;   /* the next to be read, all before is in the batch or written */
    int64_t cut_at; /* the log ended here, before what is written of it; -1: it did not */
};

struct topic {
    struct strview name;
    struct history *history;
    struct metric_series *written, *expired, *lag;
    /* As Kafka has it. */
    uint32_t epoch;
    struct partition *partitions;
    size_t count, whole; /* found, and to be found */
    /* As the database has it. */
    int64_t id;    /* 0: not looked for in this session */
    bool is_mine;  /* its lock is ours, and its partitions are read */
    bool is_begun; /* before_ms is known */
    bool is_told;  /* that it is not the topic of today */
    bool is_torn;  /* records are missing that were to be written; not written down yet */
    int64_t floor_ms, before_ms;
    struct history_batch batch;
    int64_t batch_records;
};

struct history_writer {
    struct history_store_params params;
    struct history_shared *shared;
    struct topic *topics;
    struct strview *names; /* the finder's */
    size_t topic_count;
    struct finder *finder;
    struct kafka_tail *tail;
    struct frame_maker maker;
    struct row_marker *marker;
    struct pg *pg; /* NULL: away */
    struct pg_params values;
    int64_t review_due_us, retry_due_us, retry_us;
    struct metric_series *up, *errors;
    bool is_running;
    pthread_t thread;
};

/* --- statements ---------------------------------------------------------------------------------------- */

static int64_t deadline_us(const struct history_writer *writer)
{
    return clock_mono_us() + writer->params.config->timeout_ms * 1000;
}

/* With what is in writer->values. */
static enum err ask(struct history_writer *writer, const char *sql, struct pg_result **ret,
                    struct err_info *info)
{
    pg_set_deadline(writer->pg, deadline_us(writer));
    return pg_run(writer->pg, sql, &writer->values, ret, info);
}

static enum err run(struct history_writer *writer, const char *sql, struct err_info *info)
{
    return ask(writer, sql, NULL, info);
}

/* Without any. */
static enum err command(struct history_writer *writer, const char *sql, struct err_info *info)
{
    pg_set_deadline(writer->pg, deadline_us(writer));
    return pg_run(writer->pg, sql, NULL, NULL, info);
}

static void values_of_topic(struct history_writer *writer, const struct topic *topic)
{
    pg_params_reset(&writer->values);
    pg_add_int(&writer->values, topic->id);
}

/* The numbers of all partitions. */
static void values_of_partitions(struct history_writer *writer, size_t count)
{
    pg_add_ints(&writer->values, count);
    for (size_t p = 0; p < count; p++) {
        pg_item_int(&writer->values, (int64_t)p);
    }
}

/* --- a session ----------------------------------------------------------------------------------------- */

static enum err tables_make(struct history_writer *writer, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e =
        ask(writer, "SELECT to_regclass('millrace_history_schema') IS NOT NULL", &found, info);
    return e || pg_bool(found, 0, 0) ? e : command(writer, history_sql_create, info);
}

static enum err version_check(struct history_writer *writer, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = ask(writer, "SELECT version FROM millrace_history_schema", &found, info);
    if (!e && (pg_rows(found) != 1 || pg_int(found, 0, 0) != HISTORY_SQL_VERSION)) {
        e = err_set(info, ERR_HISTORY_UNAVAILABLE,
                    "the tables millrace_history are of another release than this (version %d)",
                    HISTORY_SQL_VERSION);
    }
    return e;
}

/* One process makes the tables, others wait for it. */
static enum err tables_begin(struct history_writer *writer, struct err_info *info)
{
    enum err e = command(writer, "BEGIN", info);
    pg_params_reset(&writer->values);
    pg_add_int(&writer->values, LOCK_CLASS);
    e = e ? e : run(writer, "SELECT pg_advisory_xact_lock($1)", info);
    pg_params_reset(&writer->values);
    e = e ? e : tables_make(writer, info);
    e = e ? e : version_check(writer, info);
    return e ? e : command(writer, "COMMIT", info);
}

static void topic_release(struct history_writer *writer, struct topic *topic)
{
    for (size_t p = 0; topic->is_mine && p < topic->count; p++) {
        kafka_tail_remove(writer->tail, topic->name.ptr, (int32_t)p);
    }
    history_batch_reset(&topic->batch);
    topic->batch_records = 0;
    topic->is_mine = false;
    topic->id = 0;
}

/* What is under way is undone, or done: the next session finds out by the positions. */
static void session_end(struct history_writer *writer, enum err err, const struct err_info *info)
{
    if (!atomic_load(&writer->shared->is_ending)) {
        log_event(LOG_WARN, "history_store_away", err_detail(err, info),
                  KV("retry_ms", writer->retry_us / 1000));
        metric_add(writer->errors, 1);
    }
    atomic_store(&writer->shared->is_away, true);
    metric_set(writer->up, 0);
    pg_close(TAKE(writer->pg));
    for (size_t i = 0; i < writer->topic_count; i++) {
        topic_release(writer, &writer->topics[i]);
    }
    writer->retry_due_us = clock_mono_us() + writer->retry_us;
    writer->retry_us = writer->retry_us * 2 < RETRY_US_MAX ? writer->retry_us * 2 : RETRY_US_MAX;
}

static void session_try(struct history_writer *writer)
{
    struct err_info info = {0};
    enum err e = pg_open(&writer->shared->pg, deadline_us(writer), &writer->pg, &info);
    e = e ? e : tables_begin(writer, &info);
    if (e) {
        session_end(writer, e, &info);
        return;
    }
    log_event(LOG_INFO, "history_store_here", "PostgreSQL keeps the histories",
              KV("topics", writer->topic_count));
    atomic_store(&writer->shared->is_away, false);
    metric_set(writer->up, 1);
    writer->review_due_us = 0;
}

/* --- topics ---------------------------------------------------------------------------------------------- */

static void topic_remade(struct history_writer *writer, struct topic *topic, uint32_t epoch)
{
    topic_release(writer, topic);
    topic->count = topic->whole = 0;
    topic->epoch = epoch;
    topic->is_begun = topic->is_told = topic->is_torn = false;
}

static void partition_found(struct history_writer *writer, struct topic *topic,
                            const struct finder_found *found)
{
    CHECK((size_t)found->partition == topic->count);
    topic_release(writer, topic); /* it is taken up again with all of its partitions */
    topic->partitions =
        must_realloc(topic->partitions, (topic->count + 1) * sizeof *topic->partitions);
    topic->partitions[topic->count++] =
        (struct partition){.low = found->low, .next = -1, .read = -1, .cut_at = -1};
    topic->whole = (size_t)found->partition_count;
    topic->epoch = found->epoch;
    topic->is_begun = false;
}

static void found_take(struct history_writer *writer)
{
    struct finder_found found;
    while (finder_take(writer->finder, &found)) {
        struct topic *topic = &writer->topics[found.topic];
        if (found.partition == FINDER_REMADE) {
            topic_remade(writer, topic, found.epoch);
        } else if (found.partition != FINDER_MISSING) {
            partition_found(writer, topic, &found);
        }
        writer->review_due_us = 0;
    }
}

static enum err topic_insert(struct history_writer *writer, const struct topic *topic,
                             struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *made = NULL;
    pg_params_reset(&writer->values);
    pg_add_text(&writer->values, topic->name);
    pg_add_int(&writer->values, topic->epoch);
    enum err e = ask(writer,
                     "INSERT INTO millrace_history_topic (topic, epoch) VALUES ($1, $2)"
                     " ON CONFLICT DO NOTHING RETURNING id",
                     &made, info);
    if (e || pg_rows(made) == 0) {
        return e;
    }
    return run(writer,
               "UPDATE millrace_history_topic SET is_gone = true WHERE topic = $1 AND epoch <> $2",
               info);
}

/* topic->id stays 0 when another making of the topic has come since. */
static enum err topic_find(struct history_writer *writer, struct topic *topic,
                           struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = ask(
        writer, "SELECT id, is_gone FROM millrace_history_topic WHERE topic = $1 AND epoch = $2",
        &found, info);
    if (e || pg_rows(found) != 1) {
        return e ? e
                 : err_set(info, ERR_HISTORY_UNAVAILABLE, "a row that was written is not there");
    }
    if (!pg_bool(found, 0, 1)) {
        topic->id = pg_int(found, 0, 0);
    } else if (!topic->is_told) {
        topic->is_told = true;
        log_event(LOG_WARN, "history_store_topic_gone",
                  "a later topic of the same name is kept: this one is not written",
                  KV("topic", topic->name));
    }
    return ERR_OK;
}

static enum err partitions_insert(struct history_writer *writer, const struct topic *topic,
                                  struct err_info *info)
{
    values_of_topic(writer, topic);
    values_of_partitions(writer, topic->count);
    pg_add_ints(&writer->values, topic->count);
    for (size_t p = 0; p < topic->count; p++) {
        pg_item_int(&writer->values, topic->partitions[p].low);
    }
    return run(writer,
               "INSERT INTO millrace_history_partition (topic_id, partition, \"next\")"
               " SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING",
               info);
}

static enum err topic_register(struct history_writer *writer, struct topic *topic,
                               struct err_info *info)
{
    enum err e = command(writer, "BEGIN", info);
    e = e ? e : topic_insert(writer, topic, info);
    e = e ? e : topic_find(writer, topic, info);
    e = e || !topic->id ? e : partitions_insert(writer, topic, info);
    return e ? e : command(writer, "COMMIT", info);
}

/* Where the database is; with a lock on that, to write: nobody else does, nor is the topic told to be gone,
 * before this transaction has ended. Others may know of more partitions. */
static enum err positions_ask(struct history_writer *writer, const struct topic *topic,
                              bool to_write, struct pg_result **ret, struct err_info *info)
{
    static const char sql[] =
        "SELECT partition, \"next\" FROM millrace_history_partition JOIN millrace_history_topic"
        " ON id = topic_id WHERE topic_id = $1 AND NOT is_gone ORDER BY partition";
    static const char sql_to_write[] =
        "SELECT p.partition, p.\"next\" FROM millrace_history_partition AS p"
        " JOIN millrace_history_topic AS t ON t.id = p.topic_id"
        " WHERE p.topic_id = $1 AND NOT t.is_gone ORDER BY p.partition FOR UPDATE OF p FOR SHARE "
        "OF t";
    values_of_topic(writer, topic);
    return ask(writer, to_write ? sql_to_write : sql, ret, info);
}

static enum err positions_load(struct history_writer *writer, struct topic *topic,
                               struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = positions_ask(writer, topic, false, &found, info);
    for (int row = 0; !e && row < pg_rows(found); row++) {
        int64_t p = pg_int(found, row, 0);
        if (p >= 0 && (size_t)p < topic->count) {
            topic->partitions[p].next = pg_int(found, row, 1);
        }
    }
    return e;
}

static enum err topic_read(struct history_writer *writer, struct topic *topic,
                           struct err_info *info)
{
    struct kafka_position *positions = must_alloc(topic->count * sizeof *positions);
    for (size_t p = 0; p < topic->count; p++) {
        struct partition *partition = &topic->partitions[p];
        partition->read = partition->next;
        positions[p] = (struct kafka_position){topic->name.ptr, (int32_t)p, partition->next};
    }
    enum err e = kafka_tail_add(writer->tail, positions, topic->count, info);
    free(positions);
    topic->is_mine = !e;
    return e;
}

/* The lock lasts as long as the session; that nobody else writes is seen to by the positions. */
static enum err topic_claim(struct history_writer *writer, struct topic *topic,
                            struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *locked = NULL;
    pg_params_reset(&writer->values);
    pg_add_int(&writer->values, LOCK_CLASS);
    pg_add_int(&writer->values, topic->id);
    enum err e =
        ask(writer, "SELECT pg_try_advisory_lock($1::integer, $2::integer)", &locked, info);
    e = e ? e : positions_load(writer, topic, info);
    if (e || !pg_bool(locked, 0, 0)) {
        return e;
    }
    log_event(LOG_INFO, "history_store_writes", "this replica writes the topic's history",
              KV("topic", topic->name), KV("partitions", topic->count));
    return topic_read(writer, topic, info);
}

/* --- writing --------------------------------------------------------------------------------------------- */

static bool has_news(const struct topic *topic)
{
    bool has = topic->is_torn || !history_batch_is_empty(&topic->batch);
    for (size_t p = 0; p < topic->count; p++) {
        const struct partition *partition = &topic->partitions[p];
        has = has || partition->read != partition->next || partition->cut_at >= 0;
    }
    return has;
}

/* That the database is where what was read began. */
static enum err positions_check(struct history_writer *writer, const struct topic *topic,
                                struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = positions_ask(writer, topic, true, &found, info);
    size_t same = 0;
    for (int row = 0; !e && row < pg_rows(found); row++) {
        int64_t p = pg_int(found, row, 0);
        same += p >= 0 && (size_t)p < topic->count &&
                topic->partitions[p].next == pg_int(found, row, 1);
    }
    return e || same == topic->count
               ? e
               : err_set(info, ERR_HISTORY_UNAVAILABLE,
                         "%s: another process has written it, or a later topic of its name is kept",
                         topic->name.ptr);
}

/* The log lost its end: what was written of that is of no record, and what stood in its place before is not
 * known. */
static enum err ends_cut(struct history_writer *writer, const struct topic *topic,
                         struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t p = 0; p < topic->count && !e; p++) {
        if (topic->partitions[p].cut_at >= 0) {
            values_of_topic(writer, topic);
            pg_add_int(&writer->values, (int64_t)p);
            pg_add_int(&writer->values, topic->partitions[p].cut_at);
            e = run(writer,
                    "DELETE FROM millrace_history WHERE topic_id = $1 AND partition = $2"
                    " AND \"offset\" >= $3",
                    info);
        }
    }
    return e;
}

static enum err torn_write(struct history_writer *writer, const struct topic *topic,
                           struct err_info *info)
{
    if (!topic->is_torn) {
        return ERR_OK;
    }
    values_of_topic(writer, topic);
    enum err e = run(writer, "UPDATE millrace_history_topic SET is_cut = true WHERE id = $1", info);
    return e ? e : ends_cut(writer, topic, info);
}

static enum err rows_write(struct history_writer *writer, const struct topic *topic,
                           struct err_info *info)
{
    enum err e = ERR_OK;
    if (topic->batch.deleted.count) {
        history_sql_delete_params(&topic->batch, topic->id, &writer->values);
        e = run(writer, history_sql_delete, info);
    }
    if (!e &&
        history_sql_insert_params(&topic->batch, topic->id, topic->floor_ms, &writer->values)) {
        e = run(writer, history_sql_insert, info);
    }
    return e;
}

static enum err positions_write(struct history_writer *writer, const struct topic *topic,
                                struct err_info *info)
{
    values_of_topic(writer, topic);
    values_of_partitions(writer, topic->count);
    pg_add_ints(&writer->values, topic->count);
    for (size_t p = 0; p < topic->count; p++) {
        pg_item_int(&writer->values, topic->partitions[p].read);
    }
    return run(writer,
               "UPDATE millrace_history_partition AS p SET \"next\" = a.\"next\""
               " FROM unnest($2::bigint[], $3::bigint[]) AS a (partition, \"next\")"
               " WHERE p.topic_id = $1 AND p.partition = a.partition",
               info);
}

static void topic_is_written(struct topic *topic)
{
    metric_add(topic->written, topic->batch_records);
    history_batch_reset(&topic->batch);
    topic->batch_records = 0;
    topic->is_torn = false;
    for (size_t p = 0; p < topic->count; p++) {
        topic->partitions[p].next = topic->partitions[p].read;
        topic->partitions[p].cut_at = -1;
    }
}

static enum err topic_write(struct history_writer *writer, struct topic *topic,
                            struct err_info *info)
{
    enum err e = command(writer, "BEGIN", info);
    e = e ? e : positions_check(writer, topic, info);
    e = e ? e : torn_write(writer, topic, info);
    e = e ? e : rows_write(writer, topic, info);
    e = e ? e : positions_write(writer, topic, info);
    e = e ? e : command(writer, "COMMIT", info);
    if (!e) {
        topic_is_written(topic);
    }
    return e;
}

/* --- reading Kafka ---------------------------------------------------------------------------------------- */

static struct topic *topic_named(struct history_writer *writer, const char *name)
{
    for (size_t i = 0; i < writer->topic_count; i++) {
        if (strcmp(writer->topics[i].name.ptr, name) == 0) {
            return &writer->topics[i];
        }
    }
    return NULL;
}

/* Retention has passed what was to be read, or the log is shorter than what is written of it. */
static void on_gap(void *context, const struct kafka_position *at, int64_t from, int64_t to)
{
    struct topic *topic = topic_named(context, at->topic);
    if (!topic || !topic->is_mine || (size_t)at->partition >= topic->count) {
        return;
    }
    struct partition *partition = &topic->partitions[at->partition];
    log_event(LOG_WARN, "history_store_gap", "the history in PostgreSQL is missing records",
              KV("topic", topic->name), KV("partition", at->partition), KV("from", from),
              KV("to", to));
    topic->is_torn = true;
    partition->read = at->offset;
    if (at->offset < to) {
        partition->cut_at = at->offset;
    }
}

static void message_take(struct history_writer *writer, const rd_kafka_message_t *message)
{
    struct topic *topic = topic_named(writer, rd_kafka_topic_name(message->rkt));
    CHECK(topic && topic->is_mine && (size_t)message->partition < topic->count);
    struct partition *partition = &topic->partitions[message->partition];
    if (message->offset < partition->read) {
        return; /* fetched before it was assigned anew */
    }
    partition->read = message->offset + 1;
    struct frame *frame = frame_of_message(&writer->maker, message, 0, (struct strview){0}, 0);
    struct row_mark mark = {0};
    if (frame->kind == FRAME_RECORD) {
        mark = row_marker_mark(writer->marker, frame);
    }
    history_batch_add(&topic->batch, &mark, frame);
    frame_unref(frame);
    topic->batch_records++;
}

/* Past transaction markers and holes, too. */
static void positions_settle(struct history_writer *writer, struct topic *topic)
{
    int64_t lag = 0;
    for (size_t p = 0; p < topic->count; p++) {
        int64_t next, end;
        struct partition *partition = &topic->partitions[p];
        kafka_tail_position(writer->tail, topic->name.ptr, (int32_t)p, &next, &end);
        partition->read = next > partition->read ? next : partition->read;
        lag += end > partition->read ? end - partition->read : 0;
    }
    metric_set(topic->lag, (double)lag);
}

static enum err records_write(struct history_writer *writer, struct err_info *info)
{
    rd_kafka_message_t *messages[BATCH_MAX];
    /* The batch call waits until it has all it may take: it is not to be asked before there is something. */
    struct pollfd records = {.fd = kafka_tail_fd(writer->tail), .events = POLLIN};
    (void)poll(&records, 1, POLL_MS);
    size_t count = kafka_tail_poll(writer->tail, messages, BATCH_MAX, 0);
    for (size_t i = 0; i < count; i++) {
        message_take(writer, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < writer->topic_count && !e && writer->pg; i++) {
        struct topic *topic = &writer->topics[i];
        if (topic->is_mine) {
            positions_settle(writer, topic);
            e = has_news(topic) ? topic_write(writer, topic, info) : ERR_OK;
        }
    }
    return e;
}

/* --- now and then ------------------------------------------------------------------------------------------- */

/* Rows that the statement deletes; how many, and up to which time. */
static enum err sweep(struct history_writer *writer, const struct topic *topic, const char *sql,
                      int64_t *ret_count, int64_t *ret_last_ms, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *gone = NULL;
    enum err e = ask(writer, sql, &gone, info);
    if (e) {
        return e;
    }
    *ret_count = pg_int(gone, 0, 0);
    *ret_last_ms = pg_int(gone, 0, 1);
    metric_add(topic->expired, *ret_count);
    return ERR_OK;
}

static enum err old_delete(struct history_writer *writer, struct topic *topic, int64_t before_ms,
                           int64_t *ret_count, struct err_info *info)
{
    int64_t last_ms = 0;
    values_of_topic(writer, topic);
    pg_add_int(&writer->values, before_ms);
    pg_add_int(&writer->values, SWEEP_ROWS);
    enum err e = sweep(writer, topic,
                       "WITH gone AS (DELETE FROM millrace_history WHERE ctid = ANY (ARRAY("
                       "SELECT ctid FROM millrace_history WHERE topic_id = $1 AND time_ms < $2"
                       " ORDER BY time_ms LIMIT $3)) RETURNING time_ms)"
                       " SELECT count(*), max(time_ms) FROM gone",
                       ret_count, &last_ms, info);
    if (e || *ret_count == 0) {
        return e;
    }
    values_of_topic(writer, topic);
    pg_add_int(&writer->values, last_ms);
    return run(writer,
               "UPDATE millrace_history_topic SET floor_ms = greatest(floor_ms, $2) WHERE id = $1",
               info);
}

/* In one transaction with the floor: no answer is without both. */
static enum err old_sweep(struct history_writer *writer, struct topic *topic, bool *ret_has_more,
                          struct err_info *info)
{
    int64_t retention_ms = writer->params.config->retention_ms, count = 0;
    if (retention_ms == 0) {
        return ERR_OK;
    }
    enum err e = command(writer, "BEGIN", info);
    e = e ? e : old_delete(writer, topic, clock_now_ms() - retention_ms, &count, info);
    e = e ? e : command(writer, "COMMIT", info);
    *ret_has_more = *ret_has_more || count == SWEEP_ROWS;
    return e;
}

/* What is kept of an earlier topic of the same name, if there is one: nobody writes it any more. */
static enum err gone_sweep(struct history_writer *writer, const struct topic *topic,
                           bool *ret_has_more, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *gone = NULL;
    pg_params_reset(&writer->values);
    pg_add_text(&writer->values, topic->name);
    enum err e = ask(writer,
                     "SELECT min(id) FROM millrace_history_topic"
                     " WHERE topic = $1 AND is_gone AND NOT is_swept",
                     &gone, info);
    if (e || pg_is_null(gone, 0, 0)) {
        return e;
    }
    int64_t count = 0, last_ms = 0;
    pg_params_reset(&writer->values);
    pg_add_int(&writer->values, pg_int(gone, 0, 0));
    pg_add_int(&writer->values, SWEEP_ROWS);
    e = sweep(writer, topic,
              "WITH gone AS (DELETE FROM millrace_history WHERE ctid = ANY (ARRAY("
              "SELECT ctid FROM millrace_history WHERE topic_id = $1 ORDER BY time_ms LIMIT $2))"
              " RETURNING time_ms) SELECT count(*), max(time_ms) FROM gone",
              &count, &last_ms, info);
    *ret_has_more = true;
    if (e || count == SWEEP_ROWS) {
        return e;
    }
    pg_params_reset(&writer->values);
    pg_add_int(&writer->values, pg_int(gone, 0, 0));
    return run(writer, "UPDATE millrace_history_topic SET is_swept = true WHERE id = $1", info);
}

/* The latest row of what lies before where the reader began, once that has been written. */
static enum err before_find(struct history_writer *writer, struct topic *topic,
                            struct err_info *info)
{
    uint32_t epoch = 0;
    int64_t *starts = must_alloc(PARTITIONS_MAX * sizeof *starts);
    size_t count = history_starts(topic->history, &epoch, starts, PARTITIONS_MAX);
    bool is_there = count == topic->count && count <= PARTITIONS_MAX && epoch == topic->epoch;
    values_of_topic(writer, topic);
    values_of_partitions(writer, is_there ? count : 0);
    pg_add_ints(&writer->values, is_there ? count : 0);
    for (size_t p = 0; is_there && p < count; p++) {
        pg_item_int(&writer->values, starts[p]);
    }
    for (size_t p = 0; is_there && p < count; p++) {
        is_there = topic->partitions[p].next >= starts[p];
    }
    free(starts);
    if (!is_there) {
        return ERR_OK;
    }
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e =
        ask(writer,
            /* No row is passed but those that memory holds: from the newest on, in order. */
            "SELECT time_ms FROM millrace_history WHERE topic_id = $1 AND \"offset\" < "
            "(SELECT start FROM unnest($2::bigint[], $3::bigint[]) AS a (p, start)"
            " WHERE p = partition) ORDER BY time_ms DESC LIMIT 1",
            &found, info);
    if (!e) {
        topic->before_ms = pg_rows(found) ? pg_int(found, 0, 0) : INT64_MIN;
        topic->is_begun = true;
    }
    return e;
}

/* What memory answers with. */
static enum err kept_tell(struct history_writer *writer, struct topic *topic, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    values_of_topic(writer, topic);
    enum err e = ask(writer,
                     "SELECT floor_ms, is_cut, (SELECT min(time_ms) FROM millrace_history"
                     " WHERE topic_id = $1) FROM millrace_history_topic WHERE id = $1",
                     &found, info);
    if (e || pg_rows(found) != 1) {
        return e;
    }
    topic->floor_ms = pg_int(found, 0, 0);
    const struct history_kept kept = {
        .epoch = topic->epoch,
        .partition_count = topic->count,
        .before_ms = topic->is_begun ? topic->before_ms : INT64_MAX,
        .floor_ms = topic->floor_ms,
        .is_cut = pg_bool(found, 0, 1),
        .oldest_ms = pg_is_null(found, 0, 2) ? INT64_MAX : pg_int(found, 0, 2),
    };
    history_note_kept(topic->history, &kept);
    return ERR_OK;
}

static enum err topic_review(struct history_writer *writer, struct topic *topic, bool *ret_has_more,
                             struct err_info *info)
{
    enum err e = ERR_OK;
    if (topic->id == 0) {
        e = topic_register(writer, topic, info);
    }
    if (e || topic->id == 0) {
        return e;
    }
    if (!topic->is_mine) {
        e = topic_claim(writer, topic, info);
    }
    if (!e && topic->is_mine) {
        e = old_sweep(writer, topic, ret_has_more, info);
        e = e ? e : gone_sweep(writer, topic, ret_has_more, info);
    }
    if (!e && !topic->is_begun) {
        e = before_find(writer, topic, info);
    }
    return e ? e : kept_tell(writer, topic, info);
}

static enum err topics_review(struct history_writer *writer, struct err_info *info)
{
    bool has_more = false;
    enum err e = ERR_OK;
    for (size_t i = 0; i < writer->topic_count && !e; i++) {
        struct topic *topic = &writer->topics[i];
        if (topic->whole && topic->count == topic->whole) {
            e = topic_review(writer, topic, &has_more, info);
        }
    }
    writer->retry_us = e ? writer->retry_us : RETRY_US_MIN;
    writer->review_due_us = has_more ? 0 : clock_mono_us() + REVIEW_PERIOD_US;
    return e;
}

static void *writer_run(void *context)
{
    struct history_writer *writer = context;
    while (!atomic_load(&writer->shared->is_ending)) {
        struct err_info info = {0};
        found_take(writer);
        if (!writer->pg && clock_mono_us() >= writer->retry_due_us) {
            session_try(writer);
        }
        enum err e = records_write(writer, &info);
        if (!e && writer->pg && clock_mono_us() >= writer->review_due_us) {
            e = topics_review(writer, &info);
        }
        if (e) {
            session_end(writer, e, &info);
        }
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------- */

void history_writer_free(struct history_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->is_running) {
        CHECK(pthread_join(writer->thread, NULL) == 0);
    }
    finder_stop(writer->finder);
    for (size_t i = 0; i < writer->topic_count; i++) {
        history_batch_reset(&writer->topics[i].batch);
        free(writer->topics[i].partitions);
    }
    pg_close(writer->pg);
    kafka_tail_free(writer->tail);
    frame_maker_free(&writer->maker);
    row_marker_free(writer->marker);
    pg_params_free(&writer->values);
    free(writer->topics);
    free(writer->names);
    free(writer);
}

static void topics_take(struct history_writer *writer)
{
    const struct history_store_params *params = &writer->params;
    writer->topics = must_alloc((params->topic_count + 1) * sizeof *writer->topics);
    writer->names = must_alloc((params->topic_count + 1) * sizeof *writer->names);
    for (size_t i = 0; i < params->topic_count; i++) {
        if (params->history[i]) {
            struct topic *topic = &writer->topics[writer->topic_count];
            const char *name = params->topics[i].ptr;
            *topic = (struct topic){.name = params->topics[i],
                                    .history = params->history[i],
                                    .written = METRIC(families[WRITTEN], name),
                                    .expired = METRIC(families[EXPIRED], name),
                                    .lag = METRIC(families[LAG], name),
                                    .floor_ms = INT64_MIN};
            history_batch_init(&topic->batch);
            writer->names[writer->topic_count++] = params->topics[i];
        }
    }
}

enum err history_writer_start(const struct history_store_params *params,
                              struct history_shared *shared, struct history_writer **ret,
                              struct err_info *info)
{
    struct history_writer *writer = must_alloc(sizeof *writer);
    writer->params = *params;
    writer->shared = shared;
    writer->retry_us = RETRY_US_MIN;
    writer->up = METRIC(families[UP], NULL);
    writer->errors = METRIC(families[ERRORS], NULL);
    pg_params_init(&writer->values);
    frame_maker_init(&writer->maker, NULL);
    topics_take(writer);
    const struct kafka_tail_params tail = {.config = params->kafka,
                                           .fetch_wait_ms = FETCH_WAIT_MS,
                                           .on_gap = on_gap,
                                           .context = writer,
                                           .label = "history"};
    enum err e = row_marker_new(params->window_start, params->window_end, &writer->marker, info);
    e = e ? e : kafka_tail_new(&tail, &writer->tail, info);
    e = e ? e
          : finder_start(params->kafka, writer->names, writer->topic_count, &writer->finder, info);
    if (e) {
        history_writer_free(writer);
        return e;
    }
    CHECK(pthread_create(&writer->thread, NULL, writer_run, writer) == 0);
    writer->is_running = true;
    *ret = writer;
    return ERR_OK;
}
