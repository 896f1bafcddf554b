/* ingest_once.h - Idempotency-Key: a request that comes again is not done again.
 *
 *   header ──► admit ──► GO ──► events: what is known is recalled, the rest produced ──► settle
 *                │ ▲                                                        (answer, outcome kept)
 *                │ └─ the claim has come back from the log
 *                └──► 409, 422, 400, 503 at once
 *
 * WHAT     remembers what became of each event, not the text of an answer: a retry goes the usual way,
 *          only that events which are decided keep their results. When all are, nothing is produced,
 *          the answer is the same and says Idempotent-Replayed: true. When a retry was asked for
 *          (some failed, or Kafka was late), it continues: what was stored is not stored again.
 *          What an earlier try may have stored without anybody left who knows (its process died, or
 *          Kafka never said) is looked for in the topic itself first (once_search.h).
 *          A key is bound to its request once something of it may be stored; until then it is free.
 * BOUNDS   ONCE_OUTCOME_EVENTS_MAX events; the table's entries and bytes (once.h).
 * THREADS  one table for all workers, since a retry may come to another one: a short lock, taken
 *          twice for a keyed request and never for any other. A request waits for its claim
 *          without one and goes on on its own worker.
 */
#pragma once

#include "core/err.h"
#include "http/http.h"
#include "once.h"
#include "once_outcome.h"
#include "once_search.h"

#define INGEST_ONCE_EVENT_HEADER "millrace-idempotency-key"
#define INGEST_ONCE_EVENT_BYTES  41 /* 32 hexadecimal digits, a dash, 8 of the event's place */

struct ingest;
struct ingest_once; /* the process's */

struct ingest_once_config {
    int64_t window_ms;
    int64_t entries_max;
    int64_t bytes_max;
    const char *topic; /* "": this process only */
    int64_t partitions;
    int64_t replication;
    const char *required; /* patterns of topics whose requests need a key */
};
extern const struct config_option ingest_once_options[];
extern const size_t ingest_once_options_count;

void ingest_once_free(struct ingest_once *once); /* after the workers; NULL is a no-op */
MUST_CHECK enum err ingest_once_new(const struct ingest *ingest, struct ingest_once **ret,
                                    struct err_info *info);
/* With a log: reads it from here on. */
MUST_CHECK enum err ingest_once_start(struct ingest_once *once, struct ingest *ingest,
                                      struct err_info *info);
bool ingest_once_is_loaded(const struct ingest_once *once);
bool ingest_once_is_required(const struct ingest_once *once, const char *topic);

/* --- a worker's --------------------------------------------------------------------------------- */

/* Where the log tells a worker of its claims. */
struct ingest_once_port;
void ingest_once_port_close(struct ingest_once_port *port); /* NULL is a no-op */
struct ingest_once_port *ingest_once_port_open(struct ingest_once *once,
                                               struct ingest_worker *worker,
                                               struct http_worker *http_worker);

/* A keyed request between its claim and its outcome. */
struct ingest_once_claim {
    struct ingest_once_port *port;
    struct http_request *request; /* while it waits; NULL: it has ended */
    void (*go)(struct http_request *request, const void *route, struct ingest_once_claim *claim);
    const void *route;
    struct once_ticket ticket;
    bool is_won;
    bool is_unwritten; /* waiting ended because the log could not be written */
    bool is_replay;    /* no claim: everything is known, nothing may be produced */
    bool is_doubtful;  /* Kafka may have stored what is told as failed */
    struct once_outcome_known known;
    uint32_t recalled;
    char *outcome; /* its text, of outcome_bytes */
    size_t outcome_bytes;
    uint8_t fingerprint[ONCE_FINGERPRINT_BYTES];
    uint16_t topic;                 /* of all its events, or INGEST_NO_TOPIC */
    struct once_search_job job;     /* when it is doubtful */
    struct ingest_once_claim *next; /* told */
    char event_id[INGEST_ONCE_EVENT_BYTES + 1];
};

/* A request with the header. ERR_OK and *ret: go on with it. ERR_OK and NULL: it waits (deferred);
 * go(request, route, claim) follows, claim NULL when it has to ask again. An error: refuse it. */
struct ingest_once_ask {
    struct http_request *request;
    const struct access_principal *principal; /* NULL while access is off */
    const struct ingest_topic_state *topic;   /* NULL: each event names its own */
    struct strview key;                       /* the header as sent */
    const void *route;
    void (*go)(struct http_request *request, const void *route, struct ingest_once_claim *claim);
};
MUST_CHECK enum err ingest_once_admit(struct ingest_once_port *port,
                                      const struct ingest_once_ask *ask,
                                      struct ingest_once_claim **ret, struct err_info *info);
/* The request is refused as a whole: nothing of it was produced. */
void ingest_once_drop(struct ingest_once_claim *claim);
/* The batch is the claim's from here on. */
void ingest_once_attach(struct ingest_once_claim *claim, struct ingest_batch *batch);
/* The event of this place is decided already: its result is set. */
bool ingest_once_recall(struct ingest_batch *batch, uint32_t index);
/* claim->event_id becomes what the record of this place carries as INGEST_ONCE_EVENT_HEADER. */
void ingest_once_event_id(struct ingest_once_claim *claim, uint32_t index);
/* Every result of the batch is final; before its answer. */
void ingest_once_settle(struct ingest_batch *batch);
