/* once_log.h - the claim log: a Kafka topic by which the replicas of ingest-api agree on who works on
 * an idempotency key.
 *
 * WHAT     writes records and reads all of them back, its own too, in the order of their partition;
 *          at the start everything that the topic holds, then as it comes. Makes the topic when it
 *          does not exist. Partition by key, as every producer of the project does it.
 * BOUNDS   what waits to be written: one record a key that is being worked on.
 * THREADS  one of its own, which calls the callbacks; once_log_write by any.
 * ERRORS   Kafka away: records wait for message.timeout.ms, then on_unwritten.
 */
#pragma once

#include "kafka/kafka_config.h"
#include "kafka/kafka_directory.h"
#include "once.h"

struct once_log;

struct once_log_params {
    const struct kafka_config *kafka;
    struct kafka_directory *directory; /* kafka_producer_params */
    const char *topic;
    int64_t window_ms; /* retention of a topic that is made here */
    int64_t partitions;
    int64_t replication;
    void (*on_record)(void *context, const struct once_record *record, int64_t offset,
                      int64_t at_ms);
    /* The record was not written, or not for certain. */
    void (*on_unwritten)(void *context, const struct once_ticket *ticket, enum once_kind kind);
    void (*on_loaded)(void *context); /* once: what was there at the start has been read */
    void *context;
};

MUST_CHECK enum err once_log_start(const struct once_log_params *params, struct once_log **ret,
                                   struct err_info *info);
/* Waits flush_ms at most for what is still to be written. NULL is a no-op. */
void once_log_stop(struct once_log *log, int64_t flush_ms);
void once_log_write(struct once_log *log, const struct once_record *record,
                    const struct once_ticket *ticket);
