/* history_topic.h - a topic's history as PostgreSQL has it, for the thread that writes it: history_writer.h.
 *
 * WHAT     registered once, claimed by one session, written in transactions that begin by looking whether the
 *          positions are those that were read from, and looked after now and then.
 * ERRORS   ERR_HISTORY_UNAVAILABLE: the session is over, whatever it was.
 * THREADS  one owner.
 */
#pragma once

#include "history.h"
#include "history_batch.h"
#include "metrics/metrics.h"
#include "pg.h"

struct history_session {
    struct pg *pg; /* NULL: away */
    struct pg_params values;
    int64_t timeout_ms;   /* of a statement */
    int64_t retention_ms; /* 0: for ever */
};

struct history_partition {
    int64_t low;    /* of the log, when it was found */
    int64_t next;   /* as the database has it */
    int64_t read;   /* the next to be read, all before is in the batch or written */
    int64_t cut_at; /* the log ended here, before what is written of it; -1: it did not */
};

struct history_topic {
    struct strview name;
    struct history *history;
    struct metric_series *written, *expired, *lag;
    /* As Kafka has it. */
    uint32_t epoch;
    struct history_partition *partitions;
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

/* Makes the tables where there are none. */
MUST_CHECK enum err history_tables_begin(struct history_session *session, struct err_info *info);
/* topic->id stays 0 when a later making of the topic is kept. */
MUST_CHECK enum err history_topic_register(struct history_session *session,
                                           struct history_topic *topic, struct err_info *info);
/* Whether it is this session's to write; from where, is in its partitions. */
MUST_CHECK enum err history_topic_claim(struct history_session *session,
                                        struct history_topic *topic, bool *ret_is_locked,
                                        struct err_info *info);
bool history_topic_has_news(const struct history_topic *topic);
MUST_CHECK enum err history_topic_write(struct history_session *session,
                                        struct history_topic *topic, struct err_info *info);
/* Deletes some of what is too old or of an earlier topic, and tells memory what is kept. *ret_has_more is set when
 * there is more to delete. */
MUST_CHECK enum err history_topic_review(struct history_session *session,
                                         struct history_topic *topic, bool *ret_has_more,
                                         struct err_info *info);
