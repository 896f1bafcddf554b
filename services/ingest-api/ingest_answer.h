/* ingest_answer.h - from results to status and body, in the shape that the client's API has. */
#pragma once

#include "ingest_batch.h"

struct ingest_answer {
    /* ingest_batch's on_done: replies and gives the batch back. */
    void (*results)(struct ingest_batch *batch);
    /* The request was refused as a whole, before any event was taken. */
    void (*refusal)(struct http_request *request, enum err err, const struct err_info *info);
};

extern const struct ingest_answer ingest_answer_events; /* ours: /events/{topic} */

extern const struct ingest_answer ingest_answer_kafka_rest; /* /topics/{topic} */
extern const struct ingest_answer ingest_answer_eventgate;  /* /v1/events */

/* A refusal as a problem (RFC 9457), with the byte position where JSON breaks off. */
void ingest_answer_problem(struct http_request *request, enum err err, const struct err_info *info);
/* What every shape does first: counts the results by topic and outcome, and the request by format and
 * what became of it as a whole. */
void ingest_answer_tally(const struct ingest_batch *batch, struct ingest_tally *ret);
