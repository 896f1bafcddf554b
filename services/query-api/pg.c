#include "pg.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <libpq-fe.h>

#include "core/clock.h"

#define LIBPQ            "libpq.so.5"
#define PARAMS_BYTES_MAX ((size_t)1 << 30) /* what PostgreSQL takes in one message */
#define SLICE_MS         50                /* between looks at is_ending */

/* --- the library --------------------------------------------------------------------------------------- */

/* What is used of it: X(name without PQ). */
#define LIBPQ_CALLS(X)                                                                             \
    X(conninfoParse)                                                                               \
    X(conninfoFree)                                                                                \
    X(freemem)                                                                                     \
    X(connectStartParams)                                                                          \
    X(connectPoll)                                                                                 \
    X(status)                                                                                      \
    X(socket)                                                                                      \
    X(finish)                                                                                      \
    X(errorMessage)                                                                                \
    X(setnonblocking)                                                                              \
    X(sendQuery)                                                                                   \
    X(sendQueryParams)                                                                             \
    X(flush)                                                                                       \
    X(consumeInput)                                                                                \
    X(isBusy)                                                                                      \
    X(getResult)                                                                                   \
    X(resultStatus)                                                                                \
    X(resultErrorField)                                                                            \
    X(clear)                                                                                       \
    X(ntuples)                                                                                     \
    X(getisnull)                                                                                   \
    X(getvalue)                                                                                    \
    X(getlength)

/* Written by pg_start, before other threads. */
static struct {
#define LIBPQ_MEMBER_(name) __typeof__(PQ##name) *name;
    LIBPQ_CALLS(LIBPQ_MEMBER_)
#undef LIBPQ_MEMBER_
} pq;

static enum err library_load(struct err_info *info)
{
    if (pq.getlength) {
        return ERR_OK;
    }
    void *handle = dlopen(LIBPQ, RTLD_NOW | RTLD_LOCAL); /* for good */
    if (!handle) {
        return err_set(info, ERR_CONFIG, "query.history.postgres needs libpq: %s", dlerror());
    }
#define LIBPQ_FIND_(name)                                                                          \
    *(void **)&pq.name = dlsym(handle, "PQ" #name);                                                \
    if (!pq.name) {                                                                                \
        return err_set(info, ERR_CONFIG, "%s", dlerror());                                         \
    }
    LIBPQ_CALLS(LIBPQ_FIND_)
#undef LIBPQ_FIND_
    return ERR_OK;
}

enum err pg_start(const char *conninfo, struct err_info *info)
{
    enum err e = library_load(info);
    if (e) {
        return e;
    }
    char *why = NULL;
    PQconninfoOption *options = pq.conninfoParse(conninfo, &why);
    if (!options) {
        /* Not libpq's words: they may repeat what is secret. */
        e = err_set(info, ERR_CONFIG,
                    "query.history.postgres: neither a URI (postgresql://…) nor name=value pairs");
        pq.freemem(why);
        return e;
    }
    pq.conninfoFree(options);
    return ERR_OK;
}

/* --- parameters ---------------------------------------------------------------------------------------- */

enum {
    TYPE_BYTEA = 17,
    TYPE_INT8 = 20,
    TYPE_TEXT = 25,
    TYPE_BYTEA_ARRAY = 1001,
    TYPE_INT8_ARRAY = 1016
};

void pg_params_init(struct pg_params *params)
{
    *params = (struct pg_params){0};
    buf_init(&params->bytes, PARAMS_BYTES_MAX);
}

void pg_params_free(struct pg_params *params)
{
    buf_free(&params->bytes);
}

void pg_params_reset(struct pg_params *params)
{
    params->count = 0;
    buf_reset(&params->bytes);
}

static void put(struct pg_params *params, const void *bytes, size_t len)
{
    CHECK(len == 0 || buf_append(&params->bytes, bytes, len) == ERR_OK);
    params->items[params->count - 1].len += len;
}

static void put_number(struct pg_params *params, uint64_t value, size_t bytes)
{
    char text[8];
    for (size_t i = 0; i < bytes; i++) {
        text[i] = (char)(unsigned char)(value >> (8 * (bytes - 1 - i)));
    }
    put(params, text, bytes);
}

static void begin(struct pg_params *params, uint32_t type, bool is_null)
{
    CHECK(params->count < PG_PARAMS_MAX);
    params->items[params->count++] =
        (struct pg_param){.type = type, .is_null = is_null, .at = params->bytes.len};
}

void pg_add_int(struct pg_params *params, int64_t value)
{
    begin(params, TYPE_INT8, false);
    put_number(params, (uint64_t)value, 8);
}

void pg_add_text(struct pg_params *params, struct strview text)
{
    begin(params, TYPE_TEXT, false);
    put(params, text.ptr, text.len);
}

void pg_add_bytes(struct pg_params *params, struct strview bytes)
{
    begin(params, TYPE_BYTEA, !bytes.ptr);
    put(params, bytes.ptr, bytes.len);
}

/* One dimension, or none when it is empty; whether there may be nulls; the items' type; how many, from 1. */
static void array_begin(struct pg_params *params, uint32_t type, uint32_t item, size_t count)
{
    begin(params, type, false);
    put_number(params, count > 0, 4);
    put_number(params, item == TYPE_BYTEA, 4);
    put_number(params, item, 4);
    if (count) {
        put_number(params, count, 4);
        put_number(params, 1, 4);
    }
}

void pg_add_ints(struct pg_params *params, size_t count)
{
    array_begin(params, TYPE_INT8_ARRAY, TYPE_INT8, count);
}

void pg_add_byteas(struct pg_params *params, size_t count)
{
    array_begin(params, TYPE_BYTEA_ARRAY, TYPE_BYTEA, count);
}

void pg_item_int(struct pg_params *params, int64_t value)
{
    put_number(params, 8, 4);
    put_number(params, (uint64_t)value, 8);
}

void pg_item_bytes(struct pg_params *params, struct strview bytes)
{
    put_number(params, bytes.ptr ? bytes.len : UINT32_MAX, 4);
    put(params, bytes.ptr, bytes.len);
}

/* --- sessions ------------------------------------------------------------------------------------------- */

struct pg {
    PGconn *connection;
    const atomic_bool *is_ending;
    int64_t deadline_us;
    bool is_slow;
};

static enum err broken(const struct pg *pg, const char *what, struct err_info *info)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%s", pq.errorMessage(pg->connection));
    text[strcspn(text, "\n")] = '\0';
    return err_set(info, ERR_HISTORY_UNAVAILABLE, "%s: %s", what, text[0] ? text : "it ended");
}

/* Until the socket can be read, or written; by the deadline. */
static enum err socket_wait(struct pg *pg, short events, struct err_info *info)
{
    for (;;) {
        int64_t left_ms = (pg->deadline_us - clock_mono_us()) / 1000;
        pg->is_slow = left_ms <= 0;
        if (pg->is_slow || (pg->is_ending && atomic_load(pg->is_ending))) {
            return err_set(info, ERR_HISTORY_UNAVAILABLE, "PostgreSQL has not answered in time");
        }
        struct pollfd socket = {.fd = pq.socket(pg->connection), .events = events};
        int ready = poll(&socket, 1, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR)) {
            return ERR_OK; /* libpq finds out what it is */
        }
    }
}

static enum err connect_finish(struct pg *pg, struct err_info *info)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        enum err e = socket_wait(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, info);
        if (e) {
            return e;
        }
        status = pq.connectPoll(pg->connection);
        if (status == PGRES_POLLING_FAILED) {
            return broken(pg, "connecting to PostgreSQL", info);
        }
    }
    return ERR_OK;
}

/* What a session is given whatever the text says. A server must find out by itself that a client's
 * machine is gone: the session may hold a lock. */
static enum err session_begin(struct pg *pg, int64_t timeout_ms, struct err_info *info)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "SET client_min_messages = warning; SET statement_timeout = %d; "
                   "SET lock_timeout = %d; SET idle_in_transaction_session_timeout = %d; "
                   "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; "
                   "SET tcp_keepalives_count = 3",
                   (int)timeout_ms, (int)timeout_ms, (int)timeout_ms);
    CHECK(pq.setnonblocking(pg->connection, 1) == 0);
    return pg_run(pg, sql, NULL, NULL, info);
}

enum err pg_open(const struct pg_config *config, int64_t deadline_us, struct pg **ret,
                 struct err_info *info)
{
    /* What stands before dbname the text may say otherwise. */
    static const char *const names[] = {"application_name", "tcp_user_timeout", "dbname", NULL};
    const char *const values[] = {"millrace query-api", "10000", config->conninfo, NULL};
    struct pg *pg = must_alloc(sizeof *pg);
    *pg = (struct pg){.connection = pq.connectStartParams(names, values, 1),
                      .is_ending = config->is_ending,
                      .deadline_us = deadline_us};
    CHECK(pg->connection);
    enum err e = pq.status(pg->connection) == CONNECTION_BAD
                     ? broken(pg, "connecting to PostgreSQL", info)
                     : connect_finish(pg, info);
    e = e ? e : session_begin(pg, config->timeout_ms, info);
    if (e) {
        pg_close(pg);
        return e;
    }
    *ret = pg;
    return ERR_OK;
}

void pg_close(struct pg *pg)
{
    if (pg) {
        pq.finish(pg->connection);
        free(pg);
    }
}

void pg_set_deadline(struct pg *pg, int64_t deadline_us)
{
    pg->deadline_us = deadline_us;
}

bool pg_is_slow(const struct pg *pg)
{
    return pg->is_slow;
}

static enum err statement_send(struct pg *pg, const char *sql, const struct pg_params *params,
                               struct err_info *info)
{
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    for (size_t i = 0; params && i < params->count; i++) {
        const struct pg_param *param = &params->items[i];
        types[i] = param->type;
        values[i] = param->is_null       ? NULL
                    : params->bytes.data ? params->bytes.data + param->at
                                         : "";
        lengths[i] = (int)param->len;
        formats[i] = 1;
    }
    int sent = params ? pq.sendQueryParams(pg->connection, sql, (int)params->count, types, values,
                                           lengths, formats, 1)
                      : pq.sendQuery(pg->connection, sql);
    if (!sent) {
        return broken(pg, "asking PostgreSQL", info);
    }
    int left;
    while ((left = pq.flush(pg->connection)) > 0) {
        enum err e = socket_wait(pg, POLLIN | POLLOUT, info); /* it may want to be read first */
        if (e) {
            return e;
        }
        if (!pq.consumeInput(pg->connection)) {
            return broken(pg, "asking PostgreSQL", info);
        }
    }
    return left < 0 ? broken(pg, "asking PostgreSQL", info) : ERR_OK;
}

/* NULL: there are no more of the statement. */
static enum err result_next(struct pg *pg, PGresult **ret, struct err_info *info)
{
    while (pq.isBusy(pg->connection)) {
        enum err e = socket_wait(pg, POLLIN, info);
        if (e) {
            return e;
        }
        if (!pq.consumeInput(pg->connection)) {
            return broken(pg, "PostgreSQL's answer", info);
        }
    }
    *ret = pq.getResult(pg->connection);
    return ERR_OK;
}

/* statement_timeout or lock_timeout has passed at the server. */
static bool is_timeout(const PGresult *result)
{
    const char *state = pq.resultErrorField(result, PG_DIAG_SQLSTATE);
    return state && (strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0);
}

enum err pg_run(struct pg *pg, const char *sql, const struct pg_params *params,
                struct pg_result **ret, struct err_info *info)
{
    PGresult *kept = NULL, *result = NULL;
    enum err e = statement_send(pg, sql, params, info);
    while (!e && !(e = result_next(pg, &result, info)) && result) {
        ExecStatusType status = pq.resultStatus(result);
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            e = broken(pg, "PostgreSQL refused", info);
            pg->is_slow = is_timeout(result);
        }
        pq.clear(kept);
        kept = result;
    }
    if (e || !ret) {
        pq.clear(kept);
        return e;
    }
    CHECK(kept);
    *ret = (struct pg_result *)kept;
    return ERR_OK;
}

/* --- results ---------------------------------------------------------------------------------------------- */

void pg_result_free(struct pg_result *result)
{
    if (result) {
        pq.clear((PGresult *)result);
    }
}

void pg_resultp_free(struct pg_result **result)
{
    pg_result_free(*result);
}

int pg_rows(const struct pg_result *result)
{
    return pq.ntuples((const PGresult *)result);
}

bool pg_is_null(const struct pg_result *result, int row, int column)
{
    return pq.getisnull((const PGresult *)result, row, column) != 0;
}

struct strview pg_bytes(const struct pg_result *result, int row, int column)
{
    const PGresult *from = (const PGresult *)result;
    return pq.getisnull(from, row, column)
               ? (struct strview){0}
               : sv_of(pq.getvalue(from, row, column), (size_t)pq.getlength(from, row, column));
}

int64_t pg_int(const struct pg_result *result, int row, int column)
{
    struct strview bytes = pg_bytes(result, row, column);
    CHECK(!bytes.ptr || bytes.len == 8);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        value = value << 8 | (unsigned char)bytes.ptr[i];
    }
    return (int64_t)value;
}

bool pg_bool(const struct pg_result *result, int row, int column)
{
    struct strview bytes = pg_bytes(result, row, column);
    return bytes.ptr && bytes.len == 1 && bytes.ptr[0];
}
