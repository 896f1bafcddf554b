/* ingest_batch.h - the events of one request on their way to Kafka, and what became of each.
 *
 * WHAT     one result an event, in the order of the request. A batch is done when its request has
 *          been read to the end and the last delivery report is in: then on_done is called, once. It
 *          outlives the request when that ends first (deadline, client gone): then nobody is told.
 * OPAQUE   a record carries slot and index of its result, not a pointer: the array may grow while
 *          records are under way.
 * OWNS     results and the texts of faults; both kept for reuse while small.
 * THREADS  the worker's.
 * COST     24 bytes an event; no allocation after warm-up for requests of RESULTS_KEPT events.
 */
#pragma once

#include <assert.h>

#include "core/buf.h"
#include "core/err.h"
#include "http/http.h"
#include "kafka/kafka_producer.h"
#include "schema/schema.h"

struct ingest_once_claim;
struct once_ticket;

enum ingest_outcome {
    INGEST_STORED,
    INGEST_DUPLICATE, /* stored, spooled or accepted before: where that was */
    INGEST_SPOOLED,   /* on the disk, until Kafka takes it */
    INGEST_ACCEPTED,  /* hasty: on its way, its end is not told to the client */
    INGEST_INVALID,   /* the event's fault: sending it again cannot help */
    INGEST_FAILED,    /* ours or Kafka's */
    INGEST_OUTCOMES
};
const char *ingest_outcome_name(enum ingest_outcome outcome); /* "stored" */

#define INGEST_NO_TOPIC UINT16_MAX /* the event named one that it may not have */

struct ingest_result {
    union {
        int64_t offset; /* stored */
        int64_t fault;  /* else: its place in batch->faults, or -1 */
    };
    int64_t timestamp_ms;
    int32_t partition;
    uint16_t topic; /* ingest_worker_topic_at, or INGEST_NO_TOPIC */
    uint8_t err;    /* enum err */
    uint8_t outcome;
};
static_assert(sizeof(struct ingest_result) == 24, "a request may have a million");
static_assert(ERR_COUNT <= UINT8_MAX, "an error fits");

struct ingest_format;

struct ingest_batch {
    struct ingest_worker *worker;
    struct http_request *request;                /* NULL once the request has ended without us */
    void (*on_done)(struct ingest_batch *batch); /* every result is final; gives the batch back */
    bool is_hasty;                               /* answered before Kafka has the events */
    bool is_async;                               /* and the client said so by a preference */
    bool is_minimal;                             /* results of what was not stored only */
    struct ingest_once_claim *once;              /* of a request with an Idempotency-Key; or NULL */
    bool is_single;  /* the request was one event, not several: another shape of answer */
    bool is_reading; /* more events may come */
    uint32_t slot;
    uint32_t count;
    uint32_t outstanding; /* records without a report */
    uint32_t resume_at;   /* the body is paused until so few are outstanding; 0: it is not */
    uint32_t capacity;
    struct ingest_result *results;
    struct once_ticket *tickets; /* by index, of events that others are compared with; or NULL */
    uint32_t ticket_capacity;
    struct buf faults;
    enum err broken;      /* the request ended before its end: these are not all of its events */
    int64_t broken_fault; /* place in faults */
    int64_t fault_last;   /* the last one written, which the next may be equal to */
    int64_t started_us;
    int64_t waiting_us; /* since when records are outstanding without a break */
    const struct ingest_format *format;
    struct ingest_batch *next_free;
};

/* A worker's batches: those under way by slot, and spare ones. */
struct ingest_batches {
    struct ingest_batch **slots;
    uint32_t slot_count;
    struct ingest_batch *spare;
};

void ingest_batches_free(struct ingest_batches *batches);
/* An empty batch, being read. */
struct ingest_batch *ingest_batch_take(struct ingest_worker *worker, struct http_request *request,
                                       void (*on_done)(struct ingest_batch *batch));
void ingest_batch_give(struct ingest_batch *batch);

/* The next event's result, not final yet. */
uint32_t ingest_batch_add(struct ingest_batch *batch, uint16_t topic);
/* A final result that is not "stored"; errors (may be NULL): what the schema said. */
void ingest_batch_refuse(struct ingest_batch *batch, uint32_t index, enum err err,
                         const struct err_info *info, const struct schema_errors *errors);
/* The ticket of an event, to be filled: ingest_dedup_end is called with its final result. */
struct once_ticket *ingest_batch_ticket(struct ingest_batch *batch, uint32_t index);
/* A final result: on its way, and nobody waits for it. */
void ingest_batch_accept(struct ingest_batch *batch, uint32_t index);
/* What the record of a result carries. Once it is sent: ingest_batch_wait. */
void *ingest_batch_opaque(const struct ingest_batch *batch, uint32_t index);
/* More events would have come but for this. */
void ingest_batch_break(struct ingest_batch *batch, enum err err, const struct err_info *info);
/* The request has been read to its end: done at once, or when the last report is in. */
void ingest_batch_read(struct ingest_batch *batch);
/* kafka_producer_params.on_reports; context is the worker. */
void ingest_batch_on_reports(void *context, const struct kafka_report *reports, size_t count);

/* What a record carries, seen from the other side. */
struct ingest_batch *ingest_batch_of(const struct ingest_worker *worker, uint64_t opaque);
/* The event is in the spool (ERR_OK), or neither there nor in Kafka: in place of a report. */
void ingest_batch_spooled(struct ingest_worker *worker, uint64_t opaque, enum err err,
                          const struct err_info *info);
/* The timestamp that the event was to have: what was said for it, or when its request came. */
int64_t ingest_batch_timestamp_ms(const struct ingest_worker *worker, uint64_t opaque);
/* One more record of it is on its way. */
void ingest_batch_wait(struct ingest_batch *batch);
/* Since when the request that waits longest has waited for reports (clock_mono_us); 0: none does. One
 * that is still arriving waits from the last acknowledgement on: reports come while others are sent. */
int64_t ingest_batch_oldest_us(const struct ingest_worker *worker, int64_t last_ack_us);

/* How many results there are of each outcome. */
struct ingest_tally {
    size_t of[INGEST_OUTCOMES];
};

/* --- what was wrong with an event --------------------------------------------------------------- */

struct ingest_fault {
    const char *detail;
    unsigned error_count; /* still to be read by ingest_fault_next */
    const char *rest;
};
struct ingest_fault ingest_batch_fault(const struct ingest_batch *batch,
                                       const struct ingest_result *result);
const char *ingest_batch_broken_detail(const struct ingest_batch *batch);
/* The next of the schema's errors; false after the last. */
bool ingest_fault_next(struct ingest_fault *fault, const char **ret_pointer,
                       const char **ret_message);
/* ,"errors":[{"<pointer_name>":…,"message":…},…] */
MUST_CHECK enum err ingest_fault_errors_append(struct ingest_fault fault, const char *pointer_name,
                                               struct buf *out);
/* {"type":…,"title":…,"status":…,"detail":…,"code":…,"retryable":…,"errors":[…]} */
MUST_CHECK enum err ingest_fault_append(const struct ingest_batch *batch,
                                        const struct ingest_result *result, struct buf *out);
