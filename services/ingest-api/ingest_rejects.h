/* ingest_rejects.h - events that were not taken, kept in a topic (rejects.topic; off by default).
 *
 * WHAT     the event's own bytes, with headers that say why: millrace-error-code and
 *          -error-pointers, __streams.errors.message and .topic (as dead letters have them), and the
 *          request's id. What is the event's fault goes there when it is refused; a hasty event when
 *          Kafka did not take it, for its client has gone. What a client is told to send again does
 *          not, nor what it had no right to send.
 * BOUNDS   the hasty producer's queue, past which a reject is counted as failed.
 * THREADS  the worker's.
 */
#pragma once

#include "ingest_reading.h"

/* bytes: of an event, or the whole body when no event can be made out in it. */
void ingest_reject(struct ingest_reading *reading, struct strview bytes, enum err err,
                   const struct schema_errors *errors);
/* A hasty event that Kafka did not take. */
void ingest_reject_lost(struct ingest_worker *worker, const struct kafka_report *report);
