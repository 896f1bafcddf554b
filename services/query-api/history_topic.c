#include "history_topic.h"

#include <stdlib.h>

#include "core/clock.h"
#include "history_sql.h"
#include "log/log.h"

#define SWEEP_ROWS     5000 /* deleted at a time */
#define PARTITIONS_MAX 10000
/* Of our advisory locks: with a topic's id, who writes it; alone, who makes the tables. */
#define LOCK_CLASS 1836018547

/* --- statements ---------------------------------------------------------------------------------------- */

static int64_t deadline_us(const struct history_session *session)
{
    return clock_mono_us() + session->timeout_ms * 1000;
}

/* With what is in session->values. */
static enum err ask(struct history_session *session, const char *sql, struct pg_result **ret,
                    struct err_info *info)
{
    pg_set_deadline(session->pg, deadline_us(session));
    return pg_run(session->pg, sql, &session->values, ret, info);
}

static enum err run(struct history_session *session, const char *sql, struct err_info *info)
{
    return ask(session, sql, NULL, info);
}

/* Without any. */
static enum err command(struct history_session *session, const char *sql, struct err_info *info)
{
    pg_set_deadline(session->pg, deadline_us(session));
    return pg_run(session->pg, sql, NULL, NULL, info);
}

static void values_of_topic(struct history_session *session, const struct history_topic *topic)
{
    pg_params_reset(&session->values);
    pg_add_int(&session->values, topic->id);
}

/* The numbers of all partitions. */
static void values_of_partitions(struct history_session *session, size_t count)
{
    pg_add_ints(&session->values, count);
    for (size_t p = 0; p < count; p++) {
        pg_item_int(&session->values, (int64_t)p);
    }
}

/* --- tables -------------------------------------------------------------------------------------------- */

static enum err tables_make(struct history_session *session, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e =
        ask(session, "SELECT to_regclass('millrace_history_schema') IS NOT NULL", &found, info);
    return e || pg_bool(found, 0, 0) ? e : command(session, history_sql_create, info);
}

static enum err version_check(struct history_session *session, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = ask(session, "SELECT version FROM millrace_history_schema", &found, info);
    if (!e && (pg_rows(found) != 1 || pg_int(found, 0, 0) != HISTORY_SQL_VERSION)) {
        e = err_set(info, ERR_HISTORY_UNAVAILABLE,
                    "the tables millrace_history are of another release than this (version %d)",
                    HISTORY_SQL_VERSION);
    }
    return e;
}

/* One process makes the tables, others wait for it. */
enum err history_tables_begin(struct history_session *session, struct err_info *info)
{
    enum err e = command(session, "BEGIN", info);
    pg_params_reset(&session->values);
    pg_add_int(&session->values, LOCK_CLASS);
    e = e ? e : run(session, "SELECT pg_advisory_xact_lock($1)", info);
    pg_params_reset(&session->values);
    e = e ? e : tables_make(session, info);
    e = e ? e : version_check(session, info);
    return e ? e : command(session, "COMMIT", info);
}

/* --- a topic and its positions ------------------------------------------------------------------------- */

static enum err topic_insert(struct history_session *session, const struct history_topic *topic,
                             struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *made = NULL;
    pg_params_reset(&session->values);
    pg_add_text(&session->values, topic->name);
    pg_add_int(&session->values, topic->epoch);
    enum err e = ask(session,
                     "INSERT INTO millrace_history_topic (topic, epoch) VALUES ($1, $2)"
                     " ON CONFLICT DO NOTHING RETURNING id",
                     &made, info);
    if (e || pg_rows(made) == 0) {
        return e;
    }
    return run(session,
               "UPDATE millrace_history_topic SET is_gone = true WHERE topic = $1 AND epoch <> $2",
               info);
}

/* topic->id stays 0 when another making of the topic has come since. */
static enum err topic_find(struct history_session *session, struct history_topic *topic,
                           struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = ask(
        session, "SELECT id, is_gone FROM millrace_history_topic WHERE topic = $1 AND epoch = $2",
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

static enum err partitions_insert(struct history_session *session,
                                  const struct history_topic *topic, struct err_info *info)
{
    values_of_topic(session, topic);
    values_of_partitions(session, topic->count);
    pg_add_ints(&session->values, topic->count);
    for (size_t p = 0; p < topic->count; p++) {
        pg_item_int(&session->values, topic->partitions[p].low);
    }
    return run(session,
               "INSERT INTO millrace_history_partition (topic_id, partition, \"next\")"
               " SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING",
               info);
}

enum err history_topic_register(struct history_session *session, struct history_topic *topic,
                                struct err_info *info)
{
    enum err e = command(session, "BEGIN", info);
    e = e ? e : topic_insert(session, topic, info);
    e = e ? e : topic_find(session, topic, info);
    e = e || !topic->id ? e : partitions_insert(session, topic, info);
    return e ? e : command(session, "COMMIT", info);
}

/* Where the database is; with a lock on that, to write: nobody else does, nor is the topic told to be gone,
 * before this transaction has ended. Others may know of more partitions. */
static enum err positions_ask(struct history_session *session, const struct history_topic *topic,
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
    values_of_topic(session, topic);
    return ask(session, to_write ? sql_to_write : sql, ret, info);
}

static enum err positions_load(struct history_session *session, struct history_topic *topic,
                               struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = positions_ask(session, topic, false, &found, info);
    for (int row = 0; !e && row < pg_rows(found); row++) {
        int64_t p = pg_int(found, row, 0);
        if (p >= 0 && (size_t)p < topic->count) {
            topic->partitions[p].next = pg_int(found, row, 1);
        }
    }
    return e;
}

/* The lock lasts as long as the session; that nobody else writes is seen to by the positions. */
enum err history_topic_claim(struct history_session *session, struct history_topic *topic,
                             bool *ret_is_locked, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *locked = NULL;
    pg_params_reset(&session->values);
    pg_add_int(&session->values, LOCK_CLASS);
    pg_add_int(&session->values, topic->id);
    enum err e =
        ask(session, "SELECT pg_try_advisory_lock($1::integer, $2::integer)", &locked, info);
    e = e ? e : positions_load(session, topic, info);
    *ret_is_locked = !e && pg_bool(locked, 0, 0);
    return e;
}

/* --- writing --------------------------------------------------------------------------------------------- */

bool history_topic_has_news(const struct history_topic *topic)
{
    bool has = topic->is_torn || !history_batch_is_empty(&topic->batch);
    for (size_t p = 0; p < topic->count; p++) {
        const struct history_partition *partition = &topic->partitions[p];
        has = has || partition->read != partition->next || partition->cut_at >= 0;
    }
    return has;
}

/* That the database is where what was read began. */
static enum err positions_check(struct history_session *session, const struct history_topic *topic,
                                struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = positions_ask(session, topic, true, &found, info);
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
static enum err ends_cut(struct history_session *session, const struct history_topic *topic,
                         struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t p = 0; p < topic->count && !e; p++) {
        if (topic->partitions[p].cut_at >= 0) {
            values_of_topic(session, topic);
            pg_add_int(&session->values, (int64_t)p);
            pg_add_int(&session->values, topic->partitions[p].cut_at);
            e = run(session,
                    "DELETE FROM millrace_history WHERE topic_id = $1 AND partition = $2"
                    " AND \"offset\" >= $3",
                    info);
        }
    }
    return e;
}

static enum err torn_write(struct history_session *session, const struct history_topic *topic,
                           struct err_info *info)
{
    if (!topic->is_torn) {
        return ERR_OK;
    }
    values_of_topic(session, topic);
    enum err e =
        run(session, "UPDATE millrace_history_topic SET is_cut = true WHERE id = $1", info);
    return e ? e : ends_cut(session, topic, info);
}

static enum err rows_write(struct history_session *session, const struct history_topic *topic,
                           struct err_info *info)
{
    enum err e = ERR_OK;
    if (topic->batch.deleted.count) {
        history_sql_delete_params(&topic->batch, topic->id, &session->values);
        e = run(session, history_sql_delete, info);
    }
    if (!e &&
        history_sql_insert_params(&topic->batch, topic->id, topic->floor_ms, &session->values)) {
        e = run(session, history_sql_insert, info);
    }
    return e;
}

static enum err positions_write(struct history_session *session, const struct history_topic *topic,
                                struct err_info *info)
{
    values_of_topic(session, topic);
    values_of_partitions(session, topic->count);
    pg_add_ints(&session->values, topic->count);
    for (size_t p = 0; p < topic->count; p++) {
        pg_item_int(&session->values, topic->partitions[p].read);
    }
    return run(session,
               "UPDATE millrace_history_partition AS p SET \"next\" = a.\"next\""
               " FROM unnest($2::bigint[], $3::bigint[]) AS a (partition, \"next\")"
               " WHERE p.topic_id = $1 AND p.partition = a.partition",
               info);
}

static void topic_is_written(struct history_topic *topic)
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

enum err history_topic_write(struct history_session *session, struct history_topic *topic,
                             struct err_info *info)
{
    enum err e = command(session, "BEGIN", info);
    e = e ? e : positions_check(session, topic, info);
    e = e ? e : torn_write(session, topic, info);
    e = e ? e : rows_write(session, topic, info);
    e = e ? e : positions_write(session, topic, info);
    e = e ? e : command(session, "COMMIT", info);
    if (!e) {
        topic_is_written(topic);
    }
    return e;
}

/* --- now and then ------------------------------------------------------------------------------------------- */

/* Rows that the statement deletes; how many, and up to which time. */
static enum err sweep(struct history_session *session, const struct history_topic *topic,
                      const char *sql, int64_t *ret_count, int64_t *ret_last_ms,
                      struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *gone = NULL;
    enum err e = ask(session, sql, &gone, info);
    if (e) {
        return e;
    }
    *ret_count = pg_int(gone, 0, 0);
    *ret_last_ms = pg_int(gone, 0, 1);
    metric_add(topic->expired, *ret_count);
    return ERR_OK;
}

static enum err old_delete(struct history_session *session, struct history_topic *topic,
                           int64_t before_ms, int64_t *ret_count, struct err_info *info)
{
    int64_t last_ms = 0;
    values_of_topic(session, topic);
    pg_add_int(&session->values, before_ms);
    pg_add_int(&session->values, SWEEP_ROWS);
    enum err e = sweep(session, topic,
                       "WITH gone AS (DELETE FROM millrace_history WHERE ctid = ANY (ARRAY("
                       "SELECT ctid FROM millrace_history WHERE topic_id = $1 AND time_ms < $2"
                       " ORDER BY time_ms LIMIT $3)) RETURNING time_ms)"
                       " SELECT count(*), max(time_ms) FROM gone",
                       ret_count, &last_ms, info);
    if (e || *ret_count == 0) {
        return e;
    }
    values_of_topic(session, topic);
    pg_add_int(&session->values, last_ms);
    return run(session,
               "UPDATE millrace_history_topic SET floor_ms = greatest(floor_ms, $2) WHERE id = $1",
               info);
}

/* In one transaction with the floor: no answer is without both. */
static enum err old_sweep(struct history_session *session, struct history_topic *topic,
                          bool *ret_has_more, struct err_info *info)
{
    int64_t retention_ms = session->retention_ms, count = 0;
    if (retention_ms == 0) {
        return ERR_OK;
    }
    enum err e = command(session, "BEGIN", info);
    e = e ? e : old_delete(session, topic, clock_now_ms() - retention_ms, &count, info);
    e = e ? e : command(session, "COMMIT", info);
    *ret_has_more = *ret_has_more || count == SWEEP_ROWS;
    return e;
}

/* What is kept of an earlier topic of the same name, if there is one: nobody writes it any more. */
static enum err gone_sweep(struct history_session *session, const struct history_topic *topic,
                           bool *ret_has_more, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *gone = NULL;
    pg_params_reset(&session->values);
    pg_add_text(&session->values, topic->name);
    enum err e = ask(session,
                     "SELECT min(id) FROM millrace_history_topic"
                     " WHERE topic = $1 AND is_gone AND NOT is_swept",
                     &gone, info);
    if (e || pg_is_null(gone, 0, 0)) {
        return e;
    }
    int64_t count = 0, last_ms = 0;
    pg_params_reset(&session->values);
    pg_add_int(&session->values, pg_int(gone, 0, 0));
    pg_add_int(&session->values, SWEEP_ROWS);
    e = sweep(session, topic,
              "WITH gone AS (DELETE FROM millrace_history WHERE ctid = ANY (ARRAY("
              "SELECT ctid FROM millrace_history WHERE topic_id = $1 ORDER BY time_ms LIMIT $2))"
              " RETURNING time_ms) SELECT count(*), max(time_ms) FROM gone",
              &count, &last_ms, info);
    *ret_has_more = true;
    if (e || count == SWEEP_ROWS) {
        return e;
    }
    pg_params_reset(&session->values);
    pg_add_int(&session->values, pg_int(gone, 0, 0));
    return run(session, "UPDATE millrace_history_topic SET is_swept = true WHERE id = $1", info);
}

/* The latest row of what lies before where the reader began, once that has been written. */
static enum err before_find(struct history_session *session, struct history_topic *topic,
                            struct err_info *info)
{
    uint32_t epoch = 0;
    int64_t *starts = must_alloc(PARTITIONS_MAX * sizeof *starts);
    size_t count = history_starts(topic->history, &epoch, starts, PARTITIONS_MAX);
    bool is_there = count == topic->count && count <= PARTITIONS_MAX && epoch == topic->epoch;
    values_of_topic(session, topic);
    values_of_partitions(session, is_there ? count : 0);
    pg_add_ints(&session->values, is_there ? count : 0);
    for (size_t p = 0; is_there && p < count; p++) {
        pg_item_int(&session->values, starts[p]);
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
        ask(session,
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
static enum err kept_tell(struct history_session *session, struct history_topic *topic,
                          struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    values_of_topic(session, topic);
    enum err e = ask(session,
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

enum err history_topic_review(struct history_session *session, struct history_topic *topic,
                              bool *ret_has_more, struct err_info *info)
{
    enum err e = ERR_OK;
    if (topic->is_mine) {
        e = old_sweep(session, topic, ret_has_more, info);
        e = e ? e : gone_sweep(session, topic, ret_has_more, info);
    }
    if (!e && !topic->is_begun) {
        e = before_find(session, topic, info);
    }
    return e ? e : kept_tell(session, topic, info);
}
