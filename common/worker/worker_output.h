/* worker_output.h - where a worker thread writes: one producer, made anew as often as needed.
 *
 * WHAT     a cycle is begin → emit* → commit or abort. Exactly once, a cycle is a Kafka transaction;
 *          at least once, commit waits for all acknowledgements and then commits the offsets.
 * ERRORS   of begin, emit, commit:
 *            ERR_TXN_ABORT    the cycle failed, the producer lives: call worker_output_abort;
 *            ERR_KAFKA_FATAL  the producer is gone, and what became of the cycle is not known: call
 *                             worker_output_step until ready, then compare committed offsets.
 *          librdkafka's four classes end here: retriable is called again, abortable and fatal are
 *          told as above, and anything else is fatal. A commit or abort that timed out is fatal too:
 *          librdkafka has no KIP-890, so its late EndTxn could end the *next* transaction of the same
 *          producer (librdkafka #5423); a new producer's epoch fences it.
 *            ERR_RECORD_TOO_LARGE, ERR_KAFKA_REJECTED  of emit: the client or the topic takes no such
 *                             record; the cycle goes on.
 *          A record that a broker refuses fails its cycle, once or a few times: worker_refused.h.
 * BOUNDS   emit waits while the producer's queue is full, until the cycle's time is over.
 * OWNS     the cycle's records as bytes, until the next begins: whoever ends cycles bounds them.
 * THREADS  one owner.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_config.h"
#include "stream/task.h"

struct worker_output;

struct worker_output_params {
    const struct kafka_config *kafka;
    const struct pipeline *pipeline;
    const char *transactional_id; /* NULL: at least once */
    const char *label;            /* metric label `client` */
    int64_t cycle_ms_max; /* longest cycle; 0: 9 s. Nor more than 9/10 of the transaction's */
};

/* Sent since begin. */
struct worker_output_counts {
    int64_t records[STREAM_TARGETS]; /* by stream_target */
    int64_t bytes;
};

void worker_output_free(struct worker_output *output);
struct worker_output *worker_output_new(const struct worker_output_params *params);
bool worker_output_is_ready(const struct worker_output *output);
/* Goes a step towards ready; blocks a second at most. */
void worker_output_step(struct worker_output *output);
/* Statistics and errors that wait; sends what has lingered. */
void worker_output_serve(struct worker_output *output);

MUST_CHECK enum err worker_output_begin(struct worker_output *output);
MUST_CHECK enum err worker_output_emit(struct worker_output *output, const struct stream_out *out,
                                       struct err_info *info);
MUST_CHECK enum err worker_output_commit(struct worker_output *output, rd_kafka_t *consumer,
                                         const rd_kafka_topic_partition_list_t *offsets,
                                         struct err_info *info);
MUST_CHECK enum err worker_output_abort(struct worker_output *output);
const struct worker_output_counts *worker_output_counts(const struct worker_output *output);
/* Whether the cycle should end before its time: what was refused is looked for. */
bool worker_output_is_full(const struct worker_output *output);
/* Whether the last cycle failed for want of a right. */
bool worker_output_is_forbidden(const struct worker_output *output, struct err_info *info);
/* How often a producer was lost so far. */
int64_t worker_output_rebuilds(const struct worker_output *output);
