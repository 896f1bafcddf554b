/* kafka_producer.h - an idempotent producer whose delivery reports come back in batches on the
 * owner's thread.
 *
 * COST     a record is written into a batch here (kafka_batches.h), with no lock and no allocation, unless
 *          nothing is known of its topic yet.
 * THREADS  one owner; kafka_producer_fd becomes readable when reports wait, or batches have lingered,
 *          then call kafka_producer_serve. (librdkafka's own threads do the I/O.)
 * OWNS     send copies key, value and headers before it returns.
 * BOUNDS   queue.buffering.max.*: ERR_QUEUE_FULL at once, never blocks. A batch is also open for
 *          each partition that is written to, until linger.ms is over and none of it is under way, or it
 *          has 256 KiB.
 *          message.timeout.ms counts from when a batch was opened.
 * ERRORS   what can be known locally is answered locally: ERR_TOPIC_UNKNOWN, ERR_RECORD_TOO_LARGE,
 *          ERR_PARTITION_UNKNOWN. A fatal producer is replaced; its records are reported
 *          as failed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"
#include "kafka/kafka_config.h"
#include "kafka/kafka_directory.h"
#include "kafka/kafka_records.h"

struct kafka_producer;

struct kafka_report {
    void *opaque;
    /* Records that it speaks of: all of a batch's where they were stored and have the same opaque; their
     * keys and values are then not told, and the timestamp is the first's. Else 1. */
    size_t count;
    size_t value_bytes; /* of all their values */
    enum err err;       /* ERR_OK: acknowledged by all in-sync replicas */
    bool may_be_stored; /* with an error: the broker may have it all the same */
    int32_t partition;
    int64_t offset; /* the first's; the others follow it */
    int64_t timestamp_ms;
    struct strview key, value; /* as sent; until the callback returns */
    const char *reason;        /* the broker's or librdkafka's words when err, else empty */
    /* With an error, one of them: for kafka_report_record. */
    const void *message;
    const struct kafka_record *record;
};

/* The record that was not acknowledged, as it was given to send, but for the partition that its key
 * led to and the timestamp: 0 where nothing was known of its topic.
 * Borrowed for the time of the callback; headers has room for KAFKA_HEADERS_MAX. */
void kafka_report_record(const struct kafka_report *report, struct kafka_header *headers,
                         struct kafka_record *ret);

struct kafka_producer_params {
    const struct kafka_config *config;
    enum kafka_role role; /* ACKED, HASTY or BULK */
    void (*on_reports)(void *context, const struct kafka_report *reports, size_t count);
    void *context;
    const char *label; /* metric label `client`; copied */
    /* What topics there are, shared with other producers and outliving all of them; NULL: one of its
     * own. */
    struct kafka_directory *directory;
};

/* Purges; reports come first. The client itself may end later: no later than its directory. */
void kafka_producer_free(struct kafka_producer *producer);
MUST_CHECK enum err kafka_producer_new(const struct kafka_producer_params *params,
                                       struct kafka_producer **ret, struct err_info *info);
int kafka_producer_fd(const struct kafka_producer *producer);
void kafka_producer_serve(struct kafka_producer *producer); /* reports and events that wait */
MUST_CHECK enum err kafka_producer_send(struct kafka_producer *producer,
                                        const struct kafka_record *record, struct err_info *info);
/* ERR_OK once nothing is outstanding, serving reports meanwhile; ERR_DRAIN_TIMEOUT. */
MUST_CHECK enum err kafka_producer_flush(struct kafka_producer *producer, int64_t timeout_ms);
/* Gives up what is outstanding: each record is reported before this returns, and none of them will be
 * sent afterwards. What may_be_stored says is final. Costs a new client. */
void kafka_producer_recall(struct kafka_producer *producer);
size_t kafka_producer_outstanding(const struct kafka_producer *producer);
/* Whether the cluster's topics are known, and this producer has reached the cluster. */
bool kafka_producer_has_metadata(struct kafka_producer *producer);
/* Serves until the cluster's topics are known: for programs that start by producing. */
MUST_CHECK enum err kafka_producer_await_metadata(struct kafka_producer *producer,
                                                  int64_t timeout_ms, struct err_info *info);
/* Cached, refreshed in the background; never blocks, never creates a topic.
 * ERR_OK, ERR_TOPIC_UNKNOWN, ERR_KAFKA_UNAVAILABLE (no metadata yet). */
MUST_CHECK enum err kafka_producer_topic(struct kafka_producer *producer, const char *topic,
                                         struct kafka_topic_facts *ret);
/* Changes when kafka_producer_topic may tell something new. */
uint64_t kafka_producer_topics_generation(struct kafka_producer *producer);
/* Whether records are smaller on the wire than as they are given to send. */
bool kafka_producer_is_compressing(const struct kafka_producer *producer);
