/* ingest_worker.h - what one HTTP worker has for its requests: a producer, a scanner, the topics that
 * it has seen, and the batches under way.
 *
 * THREADS  everything here belongs to the worker's thread; delivery reports come back on it
 *          (decision D1).
 * BOUNDS   TOPICS_MAX topics in use a worker.
 */
#pragma once

#include "core/hash_map.h"
#include "ingest.h"
#include "ingest_batch.h"
#include "ingest_format.h"
#include "ingest_overflow.h"
#include "kafka/kafka_producer.h"
#include "metrics/metrics.h"

#define INGEST_SCHEMA_ERRORS_MAX 64

/* What a worker knows about a topic: made at its first event, kept as long as the worker. */
struct ingest_topic_state {
    char *name;
    char *accepted; /* the answer to a hasty event */
    uint16_t index; /* in ingest_worker_topic_at */
    struct ingest_topic rules;
    struct kafka_topic_facts facts; /* as of the last request; Kafka's own word goes before rules */
    bool is_open; /* to clients; else it is only where hot keys go, and rules says nothing */
    bool is_once_required; /* its requests need an Idempotency-Key */
    struct metric_series *outcomes[INGEST_OUTCOMES];
};

/* What became of a request as a whole: one outcome for all of its events, or several. */
enum ingest_whole { INGEST_PARTIAL = INGEST_OUTCOMES, INGEST_WHOLES };

#define INGEST_FORMATS_MAX 16

struct ingest_requests {
    const struct ingest_format *format;
    struct metric_series *wholes[INGEST_WHOLES];
};

struct ingest_worker {
    struct ingest *ingest;
    struct access_view *access;
    bool is_ready;                   /* counted in ingest->workers_ready */
    struct kafka_producer *producer; /* each record waited for */
    struct kafka_producer *hasty;    /* batches; NULL until it is first asked for */
    struct ingest_spool *spool;      /* NULL: none */
    struct http_watch *watch, *hasty_watch;
    struct http_worker *http;
    struct ingest_overflow *overflow; /* NULL: off */
    bool is_stopping;
    int64_t hasty_since_us; /* since when hasty records wait without a report; 0: none does */
    size_t inflight_bytes;  /* of events on their way to Kafka */
    size_t carried_bytes;   /* of lines that have begun to arrive (ingest_stream.c) */
    struct json_scanner *scanner;
    struct schema_checker *checker;
    struct schema_error *schema_errors; /* room for one event's; too large for the stack, which is
                                         * zeroed at each call */
    struct ingest_reading *reading;     /* of the request whose handler is running */
    const struct ingest_topics *rules;  /* what a reload replaces, on this thread */
    struct hash_map *topics;            /* name → struct ingest_topic_state * */
    struct {
        struct ingest_topic_state *topic; /* NULL: none yet */
        uint64_t generation;              /* of the producer's topics, when it was among them */
    } last; /* found: most requests have the topic of the one before */
    struct ingest_batches batches;
    struct ingest_once_port *once;
    struct metric_series *ack_seconds;
    struct metric_series *event_bytes;
    struct metric_series *hasty_stored, *hasty_failed;
    struct metric_series *clamped, *overflowed;
    struct ingest_requests requests[INGEST_FORMATS_MAX];
    struct metric_series *inflight, *waiting_seconds;
    struct metric_series *rejects_stored, *rejects_failed;
};

/* http_worker_hooks */
enum err ingest_worker_start(struct http_worker *worker, void *context, void **ret_state);
void ingest_worker_stop(void *state);
/* On the worker's thread: these from now on; nothing of the ones before is used any more. */
void ingest_worker_take_rules(struct ingest_worker *worker, const struct ingest_topics *rules);

/* ERR_OVERLOADED while more is on its way to Kafka than may be. */
MUST_CHECK enum err ingest_worker_admit(const struct ingest_worker *worker, struct err_info *info);
/* Makes worker->hasty, if there is none yet. */
MUST_CHECK enum err ingest_worker_need_hasty(struct ingest_worker *worker, struct err_info *info);
/* The topic's state, once the principal (NULL: access is off) may write to it, its rules allow it and
 * the cluster has it: in this order, so that a stranger does not learn which topics there are. */
MUST_CHECK enum err ingest_worker_topic(struct ingest_worker *worker,
                                        const struct access_principal *principal,
                                        struct strview name, const struct ingest_topic_state **ret,
                                        struct err_info *info);
/* The counters of a format's requests, made at its first. */
const struct ingest_requests *ingest_worker_requests(struct ingest_worker *worker,
                                                     const struct ingest_format *format);
/* The state of <topic>.overflow, or NULL when there is no such topic. */
const struct ingest_topic_state *ingest_worker_overflow(struct ingest_worker *worker,
                                                        const struct ingest_topic_state *topic);
const struct ingest_topic_state *ingest_worker_topic_at(const struct ingest_worker *worker,
                                                        uint16_t index);
