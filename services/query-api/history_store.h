/* history_store.h - the histories in PostgreSQL: written there as far back as they may reach, and asked for what
 * memory does not hold.
 *
 * WHAT     one thread reads the topics of its own accord from where the database says that they have been
 *          written to, and writes rows and positions in one transaction, which begins by looking whether the
 *          positions are still those that it read from: whatever comes twice, and whoever else writes, each
 *          record counts once and in order. No queue lies between the reader and this thread, so nothing
 *          can be full or lost: while the database is away Kafka is not read, and afterwards from where it
 *          ended. Of several replicas one writes a topic, who holds its lock; the others take over when
 *          its session ends.
 * BOUNDS   what is prefetched (4 MiB) and a batch of it; a session a desk thread and one of the writer's;
 *          history_store_config.timeout_ms a statement, and what its job may take an answer.
 * READS    in one snapshot, positions and rows. An answer is not older than what memory holds: one waits
 *          a little for the writer, and says what is missing then (rows_view.behind, is_complete).
 * ERRORS   ERR_HISTORY_UNAVAILABLE: the database is away, and nobody waits to find that out again;
 *          ERR_NOT_READY: the topic has not been written to it yet.
 * THREADS  start and free by the main thread; history_store_read by desk threads; the check by any.
 */
#pragma once

#include "desk.h"
#include "history.h"
#include "kafka/kafka_config.h"

struct history_store;

struct history_store_config {
    const char *conninfo; /* "": none */
    int64_t retention_ms; /* 0: for ever */
    int64_t timeout_ms;
    int64_t threads;
    int64_t jobs_max;
};
extern const struct config_option history_store_options[];
extern const size_t history_store_options_count;

struct history_store_params {
    const struct history_store_config *config;
    const struct kafka_config *kafka;
    const char *window_start, *window_end;
    const struct strview *topics;   /* all that are served, each ends with a NUL */
    struct history *const *history; /* by topic; NULL where none is kept */
    size_t topic_count;
};

void history_store_free(struct history_store *store); /* NULL is a no-op; ends the thread first */
void history_store_end(struct history_store *store); /* nobody waits for answers; NULL is a no-op */
/* The database need not be there; libpq, and a text that names a database, must be. */
MUST_CHECK enum err history_store_start(const struct history_store_params *params,
                                        struct history_store **ret, struct err_info *info);
/* What memory said of the same question (cursor, is_live) is in *view, which the answer takes the place of. */
MUST_CHECK enum err history_store_read(struct history_store *store, size_t topic,
                                       const struct rows_query *query, const struct desk_job *job,
                                       struct rows_view *view, struct err_info *info);
/* For /health: never a reason not to be ready. */
bool history_store_check(void *store, char *text, size_t text_bytes);
