/* query_metrics.h - what query-api counts. Any thread; once a batch, not once a record. */
#pragma once

#include "metrics/metrics.h"

enum query_end {
    QUERY_END_GONE,    /* the peer closed or died */
    QUERY_END_LAGGED,  /* fell out of the ring */
    QUERY_END_STALLED, /* took nothing for sse.stall.timeout */
    QUERY_END_LIMIT,   /* turned away, or too many catch-ups or snapshots */
    QUERY_END_FAILED,  /* its records could not be read from Kafka */
    QUERY_END_ROTATED, /* as old as sse.age.max lets it become */
    QUERY_END_EXPIRED, /* its token or key has */
    QUERY_END_REVOKED, /* its key, or the right to what it reads, was taken away */
    QUERY_END_TAKEN,   /* another stream has its name */
    QUERY_END_RESET,   /* its name was put elsewhere */
    QUERY_END_DELETED, /* its name is kept no more */
    QUERY_END_REFUSED, /* there are as many names as there may be */
    QUERY_END_SHUTDOWN,
    QUERY_END_COUNT
};

struct query_topic_metrics {
    struct metric_series *records, *lag, *ring_bytes, *keys, *history_rows, *history_bytes,
        *history_evicted;
};

void query_metrics_start(void);
struct query_topic_metrics query_metrics_topic(const char *topic);
void query_metrics_stream_begin(void);
void query_metrics_stream_end(enum query_end why);
void query_metrics_subscription_begin(void);
void query_metrics_subscription_end(void);
void query_metrics_turned_away(void); /* it has not begun */
void query_metrics_sent(int64_t frames, int64_t bytes);
void query_metrics_delivery(double seconds);
void query_metrics_catchup_begin(void);
void query_metrics_catchup_end(void);
void query_metrics_gap(void);
void query_metrics_wait(int change); /* +1, -1 */
void query_metrics_jobs(size_t records, int64_t left_out);
void query_metrics_consumer(int change); /* +1, -1 */
enum query_commit { QUERY_COMMIT_DONE, QUERY_COMMIT_FAILED, QUERY_COMMIT_LOST, QUERY_COMMIT_COUNT };
void query_metrics_consumer_commit(enum query_commit what);
void query_metrics_consumer_expired(void);
enum query_refusal {
    QUERY_REFUSAL_FULL,
    QUERY_REFUSAL_LATE,
    QUERY_REFUSAL_REPLAYS,
    QUERY_REFUSAL_COUNT
};
enum query_desk { QUERY_DESK_KAFKA, QUERY_DESK_HISTORY, QUERY_DESK_REGISTRY, QUERY_DESK_COUNT };
void query_metrics_desk_wait(enum query_desk desk, int change); /* +1, -1 */
void query_metrics_desk_waited(enum query_desk desk, double seconds);
void query_metrics_desk_refused(enum query_desk desk, enum query_refusal why);
void query_metrics_replay(int change); /* +1, -1 */
enum query_slow { QUERY_SLOW_CONFLATED, QUERY_SLOW_CAUGHT_UP, QUERY_SLOW_COUNT };
void query_metrics_slow(enum query_slow how);
