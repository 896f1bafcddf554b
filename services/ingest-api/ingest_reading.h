/* ingest_reading.h - one request while its events are being read.
 *
 * WHAT     a route says which formats a request may have and in which API's shape its answer is; a
 *          reading is a request of a route with what its head says, the format of its body, and the
 *          batch that its events go to.
 * OWNS     borrows from the request. A worker has one for requests whose body is collected; one whose
 *          body comes in pieces has its own.
 * THREADS  the worker's.
 */
#pragma once

#include "ingest_answer.h"
#include "ingest_head.h"
#include "ingest_worker.h"

struct ingest_media {
    struct strview type; /* of the Content-Type; a leading * stands for any beginning */
    const struct ingest_format *format;
};

struct ingest_route {
    const struct ingest_answer *answer;
    const struct ingest_media *media; /* the first that matches */
    size_t media_count;
    const struct ingest_format *binary; /* when the head has ce-* fields; or NULL */
    const char *wanted;                 /* what to send instead of an unknown type */
};

struct ingest_reading {
    struct ingest_worker *worker;
    struct http_request *request;
    const struct ingest_route *route;
    const struct ingest_format *format;
    struct access_principal *principal; /* who asks; a reference; NULL while access is off */
    const struct ingest_topic_state *request_topic; /* NULL: each event says its own */
    const struct ingest_topic_state *topic;         /* of the event; NULL: it may not have it */
    struct ingest_batch *batch;
    struct ingest_head head;
    struct ingest_reader reader;
    struct ingest_event event;
    uint32_t spent;       /* events of the batch that the principal has paid for */
    struct buf scratch;   /* reader.scratch */
    struct err_info info; /* reader.info: of the request, then of each event */
};

struct ingest_reading *ingest_reading_new(struct ingest_worker *worker);
void ingest_reading_free(struct ingest_reading *reading);

/* The format of a media type, or NULL. */
const struct ingest_format *ingest_route_format(const struct ingest_route *route,
                                                struct strview media_type);
/* Head, format and topic; the body is still to be read. */
MUST_CHECK enum err ingest_reading_begin(struct ingest_reading *reading,
                                         struct http_request *request,
                                         const struct ingest_route *route);
/* ERR_IDEMPOTENCY_KEY: the topic needs one, and the request has none. */
MUST_CHECK enum err ingest_reading_check_key(struct ingest_reading *reading,
                                             const struct ingest_topic_state *topic);
/* An empty batch for what is to be read. */
void ingest_reading_take_batch(struct ingest_reading *reading);
/* What the principal pays for: so many bytes more, and the events since the last time. */
void ingest_reading_spend(struct ingest_reading *reading, size_t bytes);
/* The request has an Idempotency-Key, and its claim: before its events are read. */
void ingest_reading_claimed(struct ingest_reading *reading, struct ingest_once_claim *once);
/* Every event of reader.text that has not been read yet goes on its way. */
void ingest_reading_run(struct ingest_reading *reading);
/* All has been read: the answer follows when the last report is in. */
void ingest_reading_end(struct ingest_reading *reading);
