#include "query_metrics.h"

#include <stdatomic.h>

enum {
    STREAMS,
    SUBSCRIPTIONS,
    FRAMES,
    BYTES,
    ENDS,
    CATCHUPS,
    CATCHUPS_NOW,
    GAPS,
    JOBS,
    JOBS_LEFT_OUT,
    SLOW,
    DELIVERY,
    RECORDS,
    LAG,
    RING_BYTES,
    KEYS,
    HISTORY_ROWS,
    HISTORY_BYTES,
    HISTORY_EVICTED,
    WAITS,
    CONSUMERS,
    COMMITS,
    EXPIRED,
    DESK_WAITING,
    DESK_WAIT,
    DESK_REFUSED,
    REPLAYS,
};

static struct metric families[] = {
    [STREAMS] = {"millrace_query_streams", METRIC_GAUGE,
                 "Event streams and WebSockets that are open.", NULL},
    [SUBSCRIPTIONS] = {"millrace_query_subscriptions", METRIC_GAUGE,
                       "Subscriptions of the WebSockets that are open.", NULL},
    [FRAMES] = {"millrace_query_frames_total", METRIC_COUNTER, "Events written to streams.", NULL},
    [BYTES] = {"millrace_query_bytes_total", METRIC_COUNTER, "Bytes written to streams.", NULL},
    [ENDS] =
        {"millrace_query_stream_ends_total", METRIC_COUNTER,
         "Streams that ended; a rise of lagged or stalled: clients or the network are too slow, "
         "of limit: raise sse.clients.max or add replicas; of revoked: keys or rights were "
         "changed.",
         "reason"},
    [CATCHUPS] =
        {"millrace_query_catchups_total", METRIC_COUNTER,
         "Streams that began with records which are not in memory any more; a steady rise: "
         "raise query.ring.bytes.",
         NULL},
    [CATCHUPS_NOW] = {"millrace_query_catching_up", METRIC_GAUGE, "Streams that are catching up.",
                      NULL},
    [GAPS] =
        {"millrace_query_gaps_total", METRIC_COUNTER,
         "Gaps told to clients: they asked for records that Kafka has no more; raise the topic's "
         "retention.",
         NULL},
    [JOBS] = {"millrace_query_status_records", METRIC_GAUGE,
              "Worker threads, and workers, whose status is held.", NULL},
    [JOBS_LEFT_OUT] = {"millrace_query_status_left_out_total", METRIC_COUNTER,
                       "Status records that were left out; rising: raise query.status.records.max "
                       "or query.status.bytes.",
                       NULL},
    [SLOW] =
        {"millrace_query_slow_total", METRIC_COUNTER,
         "Times that a client was too slow and was brought up to date as it had asked; a steady "
         "rise: clients or the network are too slow.",
         "how"},
    [DELIVERY] =
        {"millrace_query_delivery_seconds", METRIC_HISTOGRAM,
         "From a record's arrival here to the sockets of a worker's clients; the newest of "
         "each batch.",
         NULL},
    [RECORDS] = {"millrace_query_records_total", METRIC_COUNTER, "Records read from Kafka.",
                 "topic"},
    [LAG] = {"millrace_query_lag_records", METRIC_GAUGE,
             "Records in Kafka that have not been read yet; steady growth: more replicas will not "
             "help, look at the machine's load.",
             "topic"},
    [RING_BYTES] = {"millrace_query_ring_bytes", METRIC_GAUGE,
                    "Records held in memory for streams.", "topic"},
    [KEYS] = {"millrace_query_latest_keys", METRIC_GAUGE,
              "Keys whose latest value is held; at query.latest.keys.max new keys are left out.",
              "topic"},
    [HISTORY_ROWS] = {"millrace_query_history_records", METRIC_GAUGE,
                      "Records and windows that the history holds.", "topic"},
    [HISTORY_BYTES] = {"millrace_query_history_bytes", METRIC_GAUGE,
                       "Memory that the history holds.", "topic"},
    [HISTORY_EVICTED] =
        {"millrace_query_history_evicted_total", METRIC_COUNTER,
         "Records that left the history, or were older than it when they came: it reaches less far "
         "back than the topic; raise query.history.bytes or query.history.age if that is too "
         "short.",
         "topic"},
    [WAITS] = {"millrace_query_waits", METRIC_GAUGE,
               "Requests that wait for something new; at query.waits.max further ones get a 503.",
               NULL},
    [CONSUMERS] = {"millrace_query_consumers", METRIC_GAUGE, "Streams that are open under a name.",
                   NULL},
    [COMMITS] =
        {"millrace_query_consumer_commits_total", METRIC_COUNTER,
         "Positions committed for named streams; failed: Kafka did not take it, what was sent "
         "since would come again; lost: another stream has the name, once or twice is a "
         "takeover, steadily are two clients that use one name.",
         "result"},
    [EXPIRED] = {"millrace_query_consumers_expired_total", METRIC_COUNTER,
                 "Names that nobody had used for query.consumers.keep, and that are kept no more.",
                 NULL},
    [DESK_WAITING] =
        {"millrace_query_desk_waiting", METRIC_GAUGE,
         "Questions that wait for a thread: to Kafka (topics, groups, dead letters, named "
         "consumers), to PostgreSQL (history), or to the schema registry; at "
         "query.operators.jobs.max, query.history.postgres.jobs.max, or query.schemas.jobs.max, "
         "further ones get a 503.",
         "desk"},
    [DESK_WAIT] =
        {"millrace_query_desk_wait_seconds", METRIC_HISTOGRAM,
         "How long a question has waited for a thread; a steady rise: raise "
         "query.operators.threads (query.history.postgres.threads, query.schemas.threads), "
         "or ask less often.",
         "desk"},
    [DESK_REFUSED] =
        {"millrace_query_desk_refused_total", METRIC_COUNTER,
         "Questions that were told to come back later; full: as many waited already as may; "
         "late: no thread had time for it; replays: query.dead_letters.replays.max were under way.",
         "desk,reason"},
    [REPLAYS] = {"millrace_query_replays", METRIC_GAUGE,
                 "Replays of dead letters that are under way; each holds a thread of "
                 "query.operators.threads.",
                 NULL},
};
METRICS_TABLE(families)

static const char *const end_names[QUERY_END_COUNT] = {
    [QUERY_END_GONE] = "gone",         [QUERY_END_LAGGED] = "lagged",
    [QUERY_END_STALLED] = "stalled",   [QUERY_END_LIMIT] = "limit",
    [QUERY_END_FAILED] = "failed",     [QUERY_END_ROTATED] = "rotated",
    [QUERY_END_EXPIRED] = "expired",   [QUERY_END_REVOKED] = "revoked",
    [QUERY_END_TAKEN] = "taken",       [QUERY_END_RESET] = "reset",
    [QUERY_END_DELETED] = "deleted",   [QUERY_END_REFUSED] = "refused",
    [QUERY_END_SHUTDOWN] = "shutdown",
};

static const char *const slow_names[QUERY_SLOW_COUNT] = {
    [QUERY_SLOW_CONFLATED] = "conflated",
    [QUERY_SLOW_CAUGHT_UP] = "caught-up",
};

static const char *const commit_names[QUERY_COMMIT_COUNT] = {
    [QUERY_COMMIT_DONE] = "done",
    [QUERY_COMMIT_FAILED] = "failed",
    [QUERY_COMMIT_LOST] = "lost",
};

static const char *const refusal_names[QUERY_REFUSAL_COUNT] = {
    [QUERY_REFUSAL_FULL] = "full",
    [QUERY_REFUSAL_LATE] = "late",
    [QUERY_REFUSAL_REPLAYS] = "replays",
};

static const char *const desk_names[QUERY_DESK_COUNT] = {
    [QUERY_DESK_KAFKA] = "kafka",
    [QUERY_DESK_HISTORY] = "history",
    [QUERY_DESK_REGISTRY] = "registry",
};

static struct {
    struct metric_series *streams, *subscriptions, *frames, *bytes, *ends[QUERY_END_COUNT],
        *catchups, *catchups_now, *gaps, *jobs, *jobs_left_out, *slow[QUERY_SLOW_COUNT], *delivery,
        *waits, *consumers, *commits[QUERY_COMMIT_COUNT], *expired, *desk_waiting[QUERY_DESK_COUNT],
        *desk_wait[QUERY_DESK_COUNT], *desk_refused[QUERY_DESK_COUNT][QUERY_REFUSAL_COUNT],
        *replays;
} series;

static _Atomic int64_t streams_open, subscriptions_open, catchups_open, waits_open, consumers_open,
    desk_waiting[QUERY_DESK_COUNT], replays_open;

static void on_collect(void *context)
{
    (void)context;
    metric_set(series.streams, (double)atomic_load(&streams_open));
    metric_set(series.subscriptions, (double)atomic_load(&subscriptions_open));
    metric_set(series.catchups_now, (double)atomic_load(&catchups_open));
    metric_set(series.waits, (double)atomic_load(&waits_open));
    metric_set(series.consumers, (double)atomic_load(&consumers_open));
    for (size_t i = 0; i < QUERY_DESK_COUNT; i++) {
        metric_set(series.desk_waiting[i], (double)atomic_load(&desk_waiting[i]));
    }
    metric_set(series.replays, (double)atomic_load(&replays_open));
}

static void desks_start(void)
{
    for (size_t i = 0; i < QUERY_DESK_COUNT; i++) {
        series.desk_waiting[i] = METRIC(families[DESK_WAITING], desk_names[i]);
        series.desk_wait[i] = METRIC(families[DESK_WAIT], desk_names[i]);
        for (size_t why = 0; why < QUERY_REFUSAL_COUNT; why++) {
            series.desk_refused[i][why] =
                METRIC(families[DESK_REFUSED], desk_names[i], refusal_names[why]);
        }
    }
}

void query_metrics_start(void)
{
    series.streams = METRIC(families[STREAMS], NULL);
    series.subscriptions = METRIC(families[SUBSCRIPTIONS], NULL);
    series.frames = METRIC(families[FRAMES], NULL);
    series.bytes = METRIC(families[BYTES], NULL);
    series.catchups = METRIC(families[CATCHUPS], NULL);
    series.catchups_now = METRIC(families[CATCHUPS_NOW], NULL);
    series.gaps = METRIC(families[GAPS], NULL);
    series.jobs = METRIC(families[JOBS], NULL);
    series.jobs_left_out = METRIC(families[JOBS_LEFT_OUT], NULL);
    series.delivery = METRIC(families[DELIVERY], NULL);
    series.waits = METRIC(families[WAITS], NULL);
    series.consumers = METRIC(families[CONSUMERS], NULL);
    series.expired = METRIC(families[EXPIRED], NULL);
    series.replays = METRIC(families[REPLAYS], NULL);
    desks_start();
    for (size_t i = 0; i < QUERY_COMMIT_COUNT; i++) {
        series.commits[i] = METRIC(families[COMMITS], commit_names[i]);
    }
    for (size_t i = 0; i < QUERY_END_COUNT; i++) {
        series.ends[i] = METRIC(families[ENDS], end_names[i]);
    }
    for (size_t i = 0; i < QUERY_SLOW_COUNT; i++) {
        series.slow[i] = METRIC(families[SLOW], slow_names[i]);
    }
    metrics_on_collect(on_collect, NULL);
}

struct query_topic_metrics query_metrics_topic(const char *topic)
{
    return (struct query_topic_metrics){
        .records = METRIC(families[RECORDS], topic),
        .lag = METRIC(families[LAG], topic),
        .ring_bytes = METRIC(families[RING_BYTES], topic),
        .keys = METRIC(families[KEYS], topic),
        .history_rows = METRIC(families[HISTORY_ROWS], topic),
        .history_bytes = METRIC(families[HISTORY_BYTES], topic),
        .history_evicted = METRIC(families[HISTORY_EVICTED], topic),
    };
}

void query_metrics_stream_begin(void)
{
    atomic_fetch_add(&streams_open, 1);
}

void query_metrics_stream_end(enum query_end why)
{
    atomic_fetch_sub(&streams_open, 1);
    metric_add(series.ends[why], 1);
}

void query_metrics_subscription_begin(void)
{
    atomic_fetch_add(&subscriptions_open, 1);
}

void query_metrics_subscription_end(void)
{
    atomic_fetch_sub(&subscriptions_open, 1);
}

void query_metrics_turned_away(void)
{
    metric_add(series.ends[QUERY_END_LIMIT], 1);
}

void query_metrics_sent(int64_t frames, int64_t bytes)
{
    metric_add(series.frames, frames);
    metric_add(series.bytes, bytes);
}

void query_metrics_delivery(double seconds)
{
    metric_observe(series.delivery, seconds);
}

void query_metrics_catchup_begin(void)
{
    atomic_fetch_add(&catchups_open, 1);
    metric_add(series.catchups, 1);
}

void query_metrics_catchup_end(void)
{
    atomic_fetch_sub(&catchups_open, 1);
}

void query_metrics_slow(enum query_slow how)
{
    metric_add(series.slow[how], 1);
}

void query_metrics_gap(void)
{
    metric_add(series.gaps, 1);
}

void query_metrics_wait(int change)
{
    atomic_fetch_add(&waits_open, change);
}

void query_metrics_consumer(int change)
{
    atomic_fetch_add(&consumers_open, change);
}

void query_metrics_consumer_commit(enum query_commit what)
{
    metric_add(series.commits[what], 1);
}

void query_metrics_consumer_expired(void)
{
    metric_add(series.expired, 1);
}

void query_metrics_desk_wait(enum query_desk desk, int change)
{
    atomic_fetch_add(&desk_waiting[desk], change);
}

void query_metrics_desk_waited(enum query_desk desk, double seconds)
{
    metric_observe(series.desk_wait[desk], seconds);
}

void query_metrics_desk_refused(enum query_desk desk, enum query_refusal why)
{
    metric_add(series.desk_refused[desk][why], 1);
}

void query_metrics_replay(int change)
{
    atomic_fetch_add(&replays_open, change);
}

void query_metrics_jobs(size_t records, int64_t left_out)
{
    metric_set(series.jobs, (double)records);
    metric_set(series.jobs_left_out, (double)left_out);
}
