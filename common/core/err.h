/* err.h - every error of the product, declared once: its reaction and its words.
 *
 * WHAT     ERR_MAP rows: code, stable name (problem `code`, log field, metric label), HTTP status,
 *          whether the same request may succeed later, title. docs/errors.md is made from it.
 * USE      fallible functions return enum err, MUST_CHECK; results through ret_*, written only on
 *          success; details through an optional last `struct err_info *info`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/attributes.h"

/* A table reads in columns. */
/* clang-format off */
/*    code                     name                    http retry title */
#define ERR_MAP(X)                                                                                 \
    X(ERR_OK,                  "ok",                    200, 0, "success")                         \
    /* the request as HTTP */                                                                      \
    X(ERR_REQUEST_AMBIGUOUS,   "request-ambiguous",     400, 0, "the request can be read in more than one way") \
    X(ERR_REQUEST_PARAM,       "request-param",         400, 0, "a request parameter is not valid") \
    X(ERR_IDEMPOTENCY_KEY,     "idempotency-key",       400, 0, "the Idempotency-Key is missing or not valid") \
    X(ERR_IDEMPOTENCY_BUSY,    "idempotency-in-progress", 409, 1, "a request with this Idempotency-Key is being worked on") \
    X(ERR_EVENT_BUSY,          "event-in-progress",     409, 1, "an event with the same source and id is on its way") \
    X(ERR_REPLAY_BUSY,         "replay-in-progress",    409, 1, "the topic's dead letters are being sent back") \
    X(ERR_IDEMPOTENCY_MISMATCH, "idempotency-mismatch", 422, 0, "the Idempotency-Key belongs to another request") \
    X(ERR_CURSOR,              "cursor",                400, 0, "the resume position is not valid") \
    X(ERR_UNAUTHENTICATED,     "unauthenticated",       401, 0, "who asks is not known")           \
    X(ERR_FORBIDDEN,           "forbidden",             403, 0, "who asks has not the right")      \
    X(ERR_NOT_FOUND,           "not-found",             404, 0, "there is nothing at this path")   \
    X(ERR_METHOD_NOT_ALLOWED,  "method-not-allowed",    405, 0, "the path does not take this method") \
    X(ERR_NOT_ACCEPTABLE,      "not-acceptable",        406, 0, "none of the accepted media types can be made") \
    X(ERR_BODY_TIMEOUT,        "body-timeout",          408, 1, "the body did not arrive in time") \
    X(ERR_BODY_TOO_LARGE,      "body-too-large",        413, 0, "the body exceeds the limit")      \
    X(ERR_BATCH_TOO_LARGE,     "batch-too-large",       413, 0, "the batch has too many events")   \
    X(ERR_MEDIA_TYPE,          "media-type",            415, 0, "the content type is not supported") \
    X(ERR_CODING,              "content-coding",        415, 0, "the content coding is not supported") \
    X(ERR_UPGRADE_REQUIRED,    "upgrade-required",      426, 0, "the address is for WebSocket")    \
    X(ERR_RATE_LIMITED,        "rate-limited",          429, 1, "more was asked for than the limit allows") \
    X(ERR_HEADERS_TOO_LARGE,   "headers-too-large",     431, 0, "the request head exceeds the limit") \
    /* an event as JSON and against its schema */                                                  \
    X(ERR_BODY_EMPTY,          "body-empty",            400, 0, "the body is empty")               \
    X(ERR_BODY_CODING,         "body-coding",           400, 0, "the body does not match its content coding") \
    X(ERR_JSON_SYNTAX,         "json-syntax",           400, 0, "the text is not valid JSON")      \
    X(ERR_JSON_ENCODING,       "json-encoding",         400, 0, "the text is not valid UTF-8")     \
    X(ERR_JSON_TOO_DEEP,       "json-too-deep",         400, 0, "the JSON is nested too deeply")   \
    X(ERR_JSON_SHAPE,          "json-shape",            400, 0, "the JSON is neither an object nor an array of objects") \
    X(ERR_CLOUDEVENT,          "cloudevent",            400, 0, "the CloudEvent is not valid")      \
    X(ERR_SCHEMA_MISMATCH,     "schema-mismatch",       422, 0, "the event does not match its schema") \
    X(ERR_SCHEMA_UNKNOWN,      "schema-unknown",        422, 0, "the schema that the event names is not known") \
    X(ERR_KEY_MISSING,         "key-missing",           422, 0, "the topic is compacted and the record has no key") \
    X(ERR_FIELD_MISSING,       "field-missing",         422, 0, "a field that is needed is missing") \
    X(ERR_FIELD_TYPE,          "field-type",            422, 0, "a field has the wrong type")      \
    X(ERR_NUMBER_RANGE,        "number-range",          422, 0, "a number is out of range")        \
    X(ERR_TIMESTAMP,           "timestamp",             422, 0, "a time cannot be read")           \
    X(ERR_CONDITION,           "condition",             422, 0, "the event does not meet a condition of the pipeline") \
    X(ERR_REFERENCE_MISSING,   "reference-missing",     422, 0, "the table has no row for the event") \
    X(ERR_SCRIPT,              "script",                422, 0, "the pipeline's script failed on the event") \
    X(ERR_SCRIPT_RETRY,        "script-retry",          422, 0, "the pipeline's script wants the event again later") \
    X(ERR_RECORD_WAITS,        "record-waits",          503, 1, "the record is to be tried again where it is") \
    X(ERR_RECORD_REFUSED,      "record-refused",        422, 0, "the pipeline ends at a record that it refuses") \
    X(ERR_LATE,                "late",                  422, 0, "the event came after its window had closed") \
    /* topics and Kafka */                                                                         \
    X(ERR_TOPIC_FORBIDDEN,     "topic-forbidden",       403, 0, "the topic is not open for this use") \
    X(ERR_TOPIC_UNKNOWN,       "topic-unknown",         404, 0, "the topic does not exist")        \
    X(ERR_PARTITION_UNKNOWN,   "partition-unknown",     404, 0, "the topic has no such partition") \
    X(ERR_KEY_UNKNOWN,         "key-unknown",           404, 0, "the topic has no value for the key") \
    X(ERR_CONSUMER_UNKNOWN,    "consumer-unknown",      404, 0, "nothing is kept under the consumer's name") \
    X(ERR_CONSUMER_STALE,      "consumer-stale",        409, 0, "the position is not where the consumer can be put") \
    X(ERR_CONSUMER_BUSY,       "consumer-busy",         409, 1, "others are at the consumer's group")   \
    X(ERR_JOB_UNKNOWN,         "job-unknown",           404, 0, "no worker has told of such a pipeline") \
    X(ERR_GROUP_UNKNOWN,       "group-unknown",         404, 0, "there is no such consumer group")     \
    X(ERR_SUBJECT_UNKNOWN,     "subject-unknown",       404, 0, "the schema registry has no such schema") \
    X(ERR_RECORD_TOO_LARGE,    "record-too-large",      413, 0, "the record exceeds what Kafka takes") \
    X(ERR_KAFKA_REJECTED,      "kafka-rejected",        502, 0, "Kafka refused the record")        \
    X(ERR_QUEUE_FULL,          "queue-full",            503, 1, "the producer queue is full")      \
    X(ERR_OVERLOADED,          "overloaded",            503, 1, "the service is overloaded")       \
    X(ERR_SPOOL_FULL,          "spool-full",            503, 1, "the spool takes no more events")   \
    X(ERR_SPOOL_FAILED,        "spool-failed",          503, 1, "the spool could not be written")   \
    X(ERR_DRAINING,            "draining",              503, 1, "the service is shutting down")    \
    X(ERR_NOT_READY,           "not-ready",             503, 1, "the service is not ready yet")    \
    X(ERR_HISTORY_UNAVAILABLE, "history-unavailable",   503, 1, "the database of the history cannot be asked") \
    X(ERR_REGISTRY_UNAVAILABLE, "registry-unavailable", 503, 1, "the schema registry cannot be asked") \
    X(ERR_KAFKA_TIMEOUT,       "kafka-timeout",         503, 1, "Kafka did not acknowledge in time") \
    X(ERR_KAFKA_UNAVAILABLE,   "kafka-unavailable",     503, 1, "Kafka cannot be reached")         \
    X(ERR_KAFKA_BATCH,         "kafka-batch-refused",   503, 1, "Kafka refused the batch that the record was sent in") \
    X(ERR_KAFKA_FATAL,         "kafka-fatal",           503, 1, "the Kafka client must be made anew") \
    X(ERR_TXN_ABORT,           "txn-abort",             503, 1, "the transaction must be aborted") \
    /* programs */                                                                                 \
    X(ERR_USAGE,               "usage",                 500, 0, "wrong usage")                     \
    X(ERR_CONFIG,              "config",                500, 0, "the configuration is not valid")  \
    X(ERR_IO,                  "io",                    500, 0, "reading or writing failed")       \
    X(ERR_LIMIT,               "limit",                 500, 0, "a limit was reached")             \
    X(ERR_STATE,               "state",                 500, 0, "stored state cannot be read")     \
    X(ERR_DRAIN_TIMEOUT,       "drain-timeout",         500, 0, "could not drain in time")         \
    X(ERR_INTERNAL,            "internal",              500, 0, "internal error")
/* clang-format on */

enum err {
#define ERR_ENUM_(code, name, http, retry, title) code,
    ERR_MAP(ERR_ENUM_)
#undef ERR_ENUM_
        ERR_COUNT
};

const char *err_name(enum err err);  /* "body-too-large" */
const char *err_title(enum err err); /* a sentence for people, without a full stop */
int err_http_status(enum err err);
bool err_is_retriable(enum err err); /* the same call may succeed later */

#define ERR_INFO_TEXT_BYTES    384
#define ERR_INFO_POINTER_BYTES 128

/* Where and why. Caller's memory, zeroed before use; text is cut to fit, never over-run. */
struct err_info {
    char text[ERR_INFO_TEXT_BYTES];       /* names the thing, the place and the reason; UTF-8 */
    char pointer[ERR_INFO_POINTER_BYTES]; /* JSON Pointer to the place in the input, or "" */
    size_t at; /* byte position in the input, where that means something */
};

/* The same as zeroed, for one that each event has. */
static inline void err_info_clear(struct err_info *info)
{
    info->text[0] = info->pointer[0] = '\0';
    info->at = 0;
}

/* Fills info (may be NULL) and returns err, so that a failing path reads
 * `return err_set(info, ERR_CONFIG, "%s: …", path);`. */
PRINTF_LIKE(3, 4) enum err err_set(struct err_info *info, enum err err, const char *format, ...);
/* info->text, or the title when there is none: never NULL, never empty. */
const char *err_detail(enum err err, const struct err_info *info);
