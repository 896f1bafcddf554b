/* pg.h - a session with PostgreSQL whose every call ends by a deadline.
 *
 * WHAT     libpq, loaded when the first session is wanted and not before: it brings a dozen libraries
 *          that are for those who use it. Parameters go out and results come back in binary, so no
 *          value ever stands in a statement's text.
 * ERRORS   ERR_HISTORY_UNAVAILABLE, whatever it was: the session is broken then, and is to be closed. info
 *          is for the log: it may name hosts. ERR_CONFIG: there is no libpq, or the text that
 *          should name a database does not.
 * THREADS  one owner a session.
 */
#pragma once

#include <stdatomic.h>

#include "core/buf.h"

struct pg;
struct pg_result;

struct pg_config {
    const char *conninfo; /* as libpq reads it; what it does not say is in PG… variables */
    int64_t timeout_ms;   /* of a statement at the server, and of a connection that begins */
    const atomic_bool *is_ending; /* optional: no call goes on once it is set */
};

/* --- parameters (pure) -------------------------------------------------------------------------------- */

#define PG_PARAMS_MAX 16

struct pg_params {
    struct pg_param {
        uint32_t type;
        bool is_null;
        size_t at, len; /* in `bytes` */
    } items[PG_PARAMS_MAX];
    size_t count;
    struct buf bytes;
};

void pg_params_init(struct pg_params *params);
void pg_params_free(struct pg_params *params); /* a zeroed one is a no-op */
void pg_params_reset(struct pg_params *params);
void pg_add_int(struct pg_params *params, int64_t value);
void pg_add_text(struct pg_params *params, struct strview text);
void pg_add_bytes(struct pg_params *params, struct strview bytes); /* ptr NULL: null */
/* An array of `count` items, each added next. */
void pg_add_ints(struct pg_params *params, size_t count);
void pg_add_byteas(struct pg_params *params, size_t count);
void pg_item_int(struct pg_params *params, int64_t value);
void pg_item_bytes(struct pg_params *params, struct strview bytes); /* ptr NULL: null */

/* --- sessions ------------------------------------------------------------------------------------------- */

/* Loads libpq, by one thread before any other calls; looks at the text. */
MUST_CHECK enum err pg_start(const char *conninfo, struct err_info *info);
MUST_CHECK enum err pg_open(const struct pg_config *config, int64_t deadline_us, struct pg **ret,
                            struct err_info *info);
void pg_close(struct pg *pg); /* NULL is a no-op */
void pg_set_deadline(struct pg *pg, int64_t deadline_us);
/* Whether what failed took too long: the next session would not be quicker. */
bool pg_is_slow(const struct pg *pg);
/* Without parameters (NULL) there may be several statements. ret NULL: the rows are not wanted. */
MUST_CHECK enum err pg_run(struct pg *pg, const char *sql, const struct pg_params *params,
                           struct pg_result **ret, struct err_info *info);

void pg_result_free(struct pg_result *result);   /* NULL is a no-op */
void pg_resultp_free(struct pg_result **result); /* for CLEANUP */
int pg_rows(const struct pg_result *result);
bool pg_is_null(const struct pg_result *result, int row, int column);
int64_t pg_int(const struct pg_result *result, int row, int column); /* bigint; null: 0 */
bool pg_bool(const struct pg_result *result, int row, int column);
struct strview pg_bytes(const struct pg_result *result, int row, int column); /* ptr NULL: null */
