#include "history_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "history_sql.h"
#include "history_writer.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define CHUNK_ROWS    1000
#define SESSIONS_MAX  64
#define CATCH_UP_US   5000000 /* how long an answer waits for the writer … */
#define CATCH_UP_MAX  1000    /* … that has at most so many records to write */
#define LOOK_AGAIN_NS 10000000
#define SQL_BYTES_MAX 8192

enum { READS, READ_SECONDS };
static struct metric families[] = {
    [READS] =
        {"millrace_query_history_stored_reads_total", METRIC_COUNTER,
         "Answers read from PostgreSQL, since memory did not hold what was asked for; failed: "
         "it could not be asked, and the answer was a 503.",
         "result"},
    [READ_SECONDS] = {"millrace_query_history_stored_read_seconds", METRIC_HISTOGRAM,
                      "How long PostgreSQL took for an answer, failed ones too; steadily near "
                      "query.history.postgres.timeout: it is overloaded, or something locks its "
                      "tables.",
                      NULL},
};
METRICS_TABLE(families)

const struct config_option history_store_options[] = {
    {.key = "query.history.postgres",
     .type = CONFIG_STRING,
     .offset = offsetof(struct history_store_config, conninfo),
     .value = "",
     .flags = CONFIG_SECRET,
     .help = "PostgreSQL database that keeps the histories, too, as far back as is wanted: "
             "postgresql://user:password@host/database?sslmode=verify-full, or name=value pairs; "
             "empty: none."},
    CONFIG_ROW(struct history_store_config, retention_ms, "query.history.postgres.retention",
               DURATION, "0", 0, 1000.0 * 365 * 86400000,
               "Age at which rows are deleted there; 0: never."),
    CONFIG_ROW(struct history_store_config, timeout_ms, "query.history.postgres.timeout", DURATION,
               "5s", 100, 600000,
               "Longest that a connection may take to begin, and a statement to end."),
    CONFIG_ROW(struct history_store_config, threads, "query.history.postgres.threads", INT, "2", 1,
               64, "Threads that ask it, each by a connection; one more writes."),
    CONFIG_ROW(struct history_store_config, jobs_max, "query.history.postgres.jobs.max", INT, "100",
               1, 1e6,
               "Most requests that wait for such a thread; further ones are told to come back "
               "later."),
};
const size_t history_store_options_count = ARRAY_LEN(history_store_options);

struct history_store {
    struct history_store_params params;
    struct history_shared shared;
    struct history_writer *writer;
    struct metric_series *found, *failed, *seconds; /* reads */
    pthread_mutex_t lock;                           /* guards what follows */
    struct pg *idle[SESSIONS_MAX];
    size_t idle_count;
};

/* --- sessions ------------------------------------------------------------------------------------------- */

static struct pg *idle_take(struct history_store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    struct pg *pg = store->idle_count ? store->idle[--store->idle_count] : NULL;
    (void)pthread_mutex_unlock(&store->lock);
    return pg;
}

static void idle_give(struct history_store *store, struct pg *pg)
{
    (void)pthread_mutex_lock(&store->lock);
    bool has_room = store->idle_count < SESSIONS_MAX;
    if (has_room) {
        store->idle[store->idle_count++] = pg;
    }
    (void)pthread_mutex_unlock(&store->lock);
    if (!has_room) {
        pg_close(pg);
    }
}

/* They are of a database that has been away since. */
static void idle_close(struct history_store *store)
{
    struct pg *pg;
    while ((pg = idle_take(store)) != NULL) {
        pg_close(pg);
    }
}

/* --- one answer ----------------------------------------------------------------------------------------- */

struct answer {
    const struct history_store *store;
    struct strview topic;
    struct rows_query query; /* resolved as it goes */
    const struct desk_job *job;
    struct cursor memory; /* where memory is */
    struct pg *pg;
    struct pg_params values;
    struct buf sql;
    struct frame_maker maker;
    struct cursor ends; /* where the database is */
    int64_t id, floor_ms, oldest_ms, behind;
    bool is_cut;
    struct rows rows;
};

static enum err ask(struct answer *answer, const char *sql, struct pg_result **ret,
                    struct err_info *info)
{
    int64_t left_ms = desk_job_left_ms(answer->job, answer->store->params.config->timeout_ms);
    pg_set_deadline(answer->pg, clock_mono_us() + left_ms * 1000);
    return pg_run(answer->pg, sql, &answer->values, ret, info);
}

static enum err command(struct answer *answer, const char *sql, struct err_info *info)
{
    pg_params_reset(&answer->values);
    return ask(answer, sql, NULL, info);
}

static enum err ends_read(struct answer *answer, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    pg_params_reset(&answer->values);
    pg_add_text(&answer->values, answer->topic);
    pg_add_int(&answer->values, answer->memory.epochs ? answer->memory.epochs[0] : 0);
    enum err e = ask(answer,
                     "SELECT id, floor_ms, is_cut, partition, \"next\" FROM millrace_history_topic"
                     " JOIN millrace_history_partition ON topic_id = id"
                     " WHERE topic = $1 AND epoch = $2 AND NOT is_gone ORDER BY partition",
                     &found, info);
    cursor_free(&answer->ends);
    answer->id = 0;
    for (int row = 0; !e && row < pg_rows(found); row++) {
        answer->id = pg_int(found, row, 0);
        answer->floor_ms = pg_int(found, row, 1);
        answer->is_cut = pg_bool(found, row, 2);
        cursor_add(&answer->ends,
                   &(struct cursor_position){.partition = (int32_t)pg_int(found, row, 3),
                                             .next = pg_int(found, row, 4)});
    }
    return e;
}

static int64_t behind(const struct answer *answer)
{
    int64_t behind = 0;
    for (size_t i = 0; i < answer->memory.count; i++) {
        const struct cursor_position *position = &answer->memory.positions[i];
        int64_t missing = position->next - rows_position_next(&answer->ends, position->partition);
        behind += missing > 0 ? missing : 0;
    }
    return behind;
}

/* One that is not older than what memory holds, if the writer is not long in coming. */
static enum err snapshot_begin(struct answer *answer, struct err_info *info)
{
    static const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
    int64_t until_us = clock_mono_us() + CATCH_UP_US;
    for (;;) {
        enum err e = command(answer, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", info);
        e = e ? e : ends_read(answer, info);
        answer->behind = behind(answer);
        bool is_worth_it = answer->id && answer->behind > 0 && answer->behind <= CATCH_UP_MAX &&
                           !atomic_load(&answer->store->shared.is_away);
        if (e || !is_worth_it || clock_mono_us() >= until_us || desk_job_is_over(answer->job)) {
            return e;
        }
        e = command(answer, "COMMIT", info);
        if (e) {
            return e;
        }
        (void)nanosleep(&pause, NULL);
    }
}

static enum err number_read(struct answer *answer, const char *sql, int64_t when_null, int64_t *ret,
                            struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    enum err e = ask(answer, sql, &found, info);
    if (!e) {
        *ret = pg_is_null(found, 0, 0) ? when_null : pg_int(found, 0, 0);
    }
    return e;
}

static enum err oldest_read(struct answer *answer, struct err_info *info)
{
    pg_params_reset(&answer->values);
    pg_add_int(&answer->values, answer->id);
    return number_read(answer, "SELECT min(time_ms) FROM millrace_history WHERE topic_id = $1",
                       INT64_MAX, &answer->oldest_ms, info);
}

/* The window asked for as a range, as history.c has it. */
static enum err window_resolve(struct answer *answer, struct err_info *info)
{
    struct rows_query *query = &answer->query;
    if (!query->is_window) {
        return ERR_OK;
    }
    if (query->window_ms == ROW_NEWEST) {
        pg_params_reset(&answer->values);
        pg_add_int(&answer->values, answer->id);
        pg_add_int(&answer->values, ROW_NO_WINDOW);
        enum err e = number_read(answer,
                                 "SELECT max(time_ms) FROM millrace_history"
                                 " WHERE topic_id = $1 AND end_ms <> $2",
                                 INT64_MIN, &query->window_ms, info);
        if (e) {
            return e;
        }
    }
    int64_t start_ms = query->window_ms;
    query->from_ms = start_ms > query->from_ms ? start_ms : query->from_ms;
    query->to_ms = start_ms < query->to_ms ? start_ms + 1 : query->to_ms;
    return ERR_OK;
}

static void row_take(struct answer *answer, const struct pg_result *found, int row)
{
    const struct frame_record record = {
        .topic_name = answer->topic,
        .partition = (int32_t)pg_int(found, row, HISTORY_PARTITION),
        .offset = pg_int(found, row, HISTORY_OFFSET),
        .timestamp_ms = pg_int(found, row, HISTORY_TIMESTAMP),
        .key = pg_bytes(found, row, HISTORY_KEY),
        .value = pg_bytes(found, row, HISTORY_VALUE),
    };
    struct frame *frame = frame_new(&answer->maker, &record);
    const struct row_mark mark = {.time_ms = pg_int(found, row, HISTORY_TIME),
                                  .end_ms = pg_int(found, row, HISTORY_END),
                                  .partition = record.partition,
                                  .offset = record.offset};
    rows_add(&answer->rows, &mark, frame); /* which gives it the frame's key */
    frame_unref(frame);
}

/* Up to a page and one row more. */
static enum err chunk_read(struct answer *answer, bool *ret_is_last, struct err_info *info)
{
    CLEANUP(pg_resultp_free) struct pg_result *found = NULL;
    struct rows *rows = &answer->rows;
    size_t limit = answer->query.limit, missing = limit < rows->count ? 1 : limit - rows->count + 1;
    size_t asked = missing < CHUNK_ROWS ? missing : CHUNK_ROWS;
    history_sql_select(&answer->query, answer->id, asked, &answer->ends, &answer->values,
                       &answer->sql);
    CHECK(buf_append(&answer->sql, "", 1) == ERR_OK);
    enum err e = ask(answer, answer->sql.data, &found, info);
    for (int row = 0; !e && row < pg_rows(found) && !*ret_is_last; row++) {
        *ret_is_last = rows_page_is_full(rows, rows->count, limit);
        row_take(answer, found, row);
    }
    *ret_is_last = *ret_is_last || e || (size_t)pg_rows(found) < asked;
    return e;
}

static enum err rows_read(struct answer *answer, struct err_info *info)
{
    struct row_mark past;
    bool is_last = false;
    enum err e = ERR_OK;
    while (!e && !is_last) {
        e = chunk_read(answer, &is_last, info);
        if (!is_last) {
            past = answer->rows.items[answer->rows.count - 1].mark;
            answer->query.past = &past;
        }
    }
    answer->query.past = NULL;
    return e;
}

static enum err answer_read(struct answer *answer, struct err_info *info)
{
    enum err e = snapshot_begin(answer, info);
    if (!e && answer->id) {
        e = oldest_read(answer, info);
        e = e ? e : window_resolve(answer, info);
        e = e ? e : rows_read(answer, info);
    }
    return e ? e : command(answer, "COMMIT", info);
}

/* --- answers ---------------------------------------------------------------------------------------------- */

static void answer_free(struct answer *answer)
{
    cursor_free(&answer->memory);
    cursor_free(&answer->ends);
    pg_params_free(&answer->values);
    buf_free(&answer->sql);
    frame_maker_free(&answer->maker);
    rows_free(&answer->rows);
}

static void cursor_write(const struct answer *answer, struct buf *out)
{
    size_t count = answer->ends.count;
    int64_t *next = must_alloc((count + 1) * sizeof *next);
    for (size_t p = 0; p < count; p++) {
        next[p] =
            answer->ends.positions[p].next; /* partitions have come in order, none is missing */
    }
    buf_reset(out);
    cursor_append(out, answer->topic, next, (int32_t)count,
                  answer->memory.epochs ? answer->memory.epochs[0] : 0);
    free(next);
}

static void view_take(struct answer *answer, const struct rows_query *query, struct rows_view *view)
{
    const struct rows_query *resolved = &answer->query;
    bool reaches = answer->floor_ms == INT64_MIN || resolved->from_ms > answer->floor_ms;
    rows_free(&view->rows);
    view->rows = answer->rows;
    answer->rows = (struct rows){0};
    view->has_more = rows_cut(&view->rows, query, row_compare_time);
    view->oldest_ms = answer->oldest_ms;
    view->behind = answer->behind;
    view->is_complete = view->is_live && !answer->is_cut && reaches && answer->behind == 0;
    view->is_enough = true;
    cursor_write(answer, &view->cursor);
}

/* A session that waited may have ended meanwhile: then one that has not is asked. One that was too slow is not
 * followed by another. */
static enum err session_ask(struct history_store *store, struct answer *answer,
                            const struct rows_query *query, struct err_info *info)
{
    bool is_last;
    enum err e;
    do {
        e = ERR_OK;
        answer->query = *query;
        rows_free(&answer->rows);
        answer->pg = idle_take(store);
        is_last = !answer->pg;
        if (is_last) {
            int64_t left_ms = desk_job_left_ms(answer->job, store->params.config->timeout_ms);
            e = pg_open(&store->shared.pg, clock_mono_us() + left_ms * 1000, &answer->pg, info);
        }
        e = e ? e : answer_read(answer, info);
        if (!e) {
            idle_give(store, answer->pg);
            return ERR_OK;
        }
        is_last = is_last || pg_is_slow(answer->pg);
        pg_close(TAKE(answer->pg));
    } while (!is_last);
    return e;
}

static enum err unavailable(const struct answer *answer, struct err_info *info)
{
    metric_add(answer->store->failed, 1);
    return err_set(info, ERR_HISTORY_UNAVAILABLE,
                   "what is asked for of \"%.*s\" reaches past what memory holds, and PostgreSQL "
                   "cannot be asked now",
                   SV_ARG(answer->topic));
}

enum err history_store_read(struct history_store *store, size_t topic,
                            const struct rows_query *query, const struct desk_job *job,
                            struct rows_view *view, struct err_info *info)
{
    struct err_info why = {0};
    struct answer answer = {.store = store, .topic = store->params.topics[topic], .job = job};
    if (atomic_load(&store->shared.is_away)) {
        idle_close(store);
        return unavailable(&answer, info);
    }
    pg_params_init(&answer.values);
    buf_init(&answer.sql, SQL_BYTES_MAX);
    frame_maker_init(&answer.maker, NULL);
    enum err e = cursor_parse(buf_view(&view->cursor), &answer.topic, 1, &answer.memory, &why);
    CHECK(!e); /* we wrote it */
    const int64_t begun_us = clock_mono_us();
    e = session_ask(store, &answer, query, &why);
    metric_observe(store->seconds, (double)(clock_mono_us() - begun_us) / 1e6);
    if (e) {
        log_event(LOG_WARN, "history_store_read", err_detail(e, &why), KV("topic", answer.topic));
        e = unavailable(&answer, info);
    } else if (!answer.id) {
        e = err_set(info, ERR_NOT_READY, "\"%.*s\" has not been written to PostgreSQL yet",
                    SV_ARG(answer.topic));
    } else {
        view_take(&answer, query, view);
        metric_add(store->found, 1);
    }
    answer_free(&answer);
    return e;
}

/* --- life ------------------------------------------------------------------------------------------------ */

bool history_store_check(void *context, char *text, size_t text_bytes)
{
    const struct history_store *store = context;
    (void)snprintf(text, text_bytes, "%s",
                   atomic_load(&store->shared.is_away)
                       ? "PostgreSQL is away: what memory does not hold cannot be answered"
                       : "PostgreSQL answers");
    return true;
}

void history_store_end(struct history_store *store)
{
    if (store) {
        atomic_store(&store->shared.is_ending, true);
    }
}

void history_store_free(struct history_store *store)
{
    if (!store) {
        return;
    }
    history_store_end(store);
    history_writer_free(store->writer);
    idle_close(store);
    CHECK(pthread_mutex_destroy(&store->lock) == 0);
    free(store);
}

enum err history_store_start(const struct history_store_params *params, struct history_store **ret,
                             struct err_info *info)
{
    enum err e = pg_start(params->config->conninfo, info);
    if (e) {
        return e;
    }
    struct history_store *store = must_alloc(sizeof *store);
    store->params = *params;
    store->found = METRIC(families[READS], "found");
    store->failed = METRIC(families[READS], "failed");
    store->seconds = METRIC(families[READ_SECONDS], NULL);
    store->shared.pg = (struct pg_config){.conninfo = params->config->conninfo,
                                          .timeout_ms = params->config->timeout_ms,
                                          .is_ending = &store->shared.is_ending};
    atomic_store(&store->shared.is_away, true); /* until the writer has a session */
    CHECK(pthread_mutex_init(&store->lock, NULL) == 0);
    e = history_writer_start(params, &store->shared, &store->writer, info);
    if (e) {
        history_store_free(store);
        return e;
    }
    *ret = store;
    return ERR_OK;
}
