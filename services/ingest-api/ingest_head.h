/* ingest_head.h - what a request says of all its events: key, partition, timestamp, record headers.
 *
 *   key        ?key=, else X-Kafka-Key; then the event's own (a CloudEvent's partitionkey), then the
 *              topic's rule
 *   partition  ?partition=, else by the key's hash
 *   timestamp  ?timestamp=, else X-Kafka-Timestamp; then the event's own (a CloudEvent's time)
 *   headers    X-Kafka-Header-<name> becomes the record header <name>, in lower case; ours beside them,
 *              where they tell what the record does not (events.headers.all: always). A header costs
 *              an allocation, its bytes and their parsing in each reader: three of them were 40 % of
 *              the CPU of an NDJSON event, and a third of its bytes in Kafka.
 *
 * BOUNDS   INGEST_HEADERS_GIVEN_MAX headers and INGEST_ATTRIBUTES_MAX ce-* fields, names in
 *          INGEST_NAMES_BYTES.
 * OWNS     borrows from the request; lives as long as it.
 */
#pragma once

#include <assert.h>

#include "http/http.h"
#include "ingest_format.h"

#define INGEST_HEADERS_GIVEN_MAX 16
#define INGEST_TRACE_FIELDS_MAX  2
#define INGEST_NAMES_BYTES       4096

static_assert(INGEST_HEADERS_GIVEN_MAX + INGEST_TRACE_FIELDS_MAX + 4 /* ours */ +
                      INGEST_ATTRIBUTES_MAX <=
                  INGEST_HEADERS_MAX,
              "all of them have room");

struct ingest_head {
    struct strview key;      /* ptr NULL: not said */
    bool is_hasty;           /* ?hasty, Prefer: respond-async */
    bool is_async;           /* Prefer: respond-async */
    bool is_minimal;         /* Prefer: return=minimal */
    int32_t partition;       /* INGEST_NO_PARTITION: not said */
    int64_t timestamp_ms;    /* 0: not said */
    bool writes_all_headers; /* of ours */
    size_t header_count;
    size_t trace_count;
    size_t field_count;
    size_t names_len;
    struct strview content_type; /* as sent, with its parameters */
    struct strview timestamp_field;
    struct strview once_key; /* Idempotency-Key as sent; ptr NULL: none */
    enum err err;            /* what is wrong with a field */
    struct err_info *info;
    int64_t now_ms;
    int64_t ingest_time_ms;           /* what headers[0] says; kept from one request to the next */
    char ingest_time[INT_TEXT_BYTES]; /* as text */
    struct kafka_header trace[INGEST_TRACE_FIELDS_MAX]; /* traceparent, tracestate */
    struct kafka_header headers[INGEST_HEADERS_MAX]; /* ingest_head_headers; an event's go behind */
    struct ingest_field fields[INGEST_ATTRIBUTES_MAX]; /* ce-* */
    char names[INGEST_NAMES_BYTES];                    /* in lower case, NUL behind each */
};

/* writes_all_headers is the caller's to set, once. */
MUST_CHECK enum err ingest_head_read(const struct http_request *request, struct ingest_head *ret,
                                     struct err_info *info);
/* Epoch milliseconds, or seconds when below 1e11, or ISO 8601 with or without quotes; positive. */
MUST_CHECK enum err ingest_timestamp_read(struct strview text, int64_t *ret_ms);
/* One more header of the records; name and value are borrowed. */
void ingest_head_add(struct ingest_head *head, struct strview name, struct strview value);
/* millrace-ingest-time: made when a record is to have it. */
const struct kafka_header *ingest_head_time(struct ingest_head *head);
/* The headers of a record, whose event has event_count behind those of the head; is_timed: its
 * timestamp does not tell when it was taken in. */
struct kafka_header *ingest_head_headers(struct ingest_head *head, bool is_timed,
                                         size_t event_count, size_t *ret_count);
/* The content-type of the records; NULL: that of the request. */
void ingest_head_type(struct ingest_head *head, const char *content_type);
