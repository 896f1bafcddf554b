/* worker_topics.h - the topics of a pipeline: those that must be there, and those that it makes.
 *
 * WHAT     sources, outputs, dead-letter and late topics are others': a missing one is waited for,
 *          never created. Repartition and changelog topics are the pipeline's own: a missing one is
 *          created, with as many partitions as its stage has tasks.
 * RULES    1. The sources of a copartitioned stage have the same number of partitions.
 *          2. A repartition topic that is missing gets what rule 1 asks for, otherwise as many
 *             partitions as the widest of the sources that are not the pipeline's own. One that is
 *             there keeps what it has.
 *          3. Repartition topics keep their records for ever, as far as Kafka knows: a record that
 *             waits in one must not expire. What is committed as read is deleted by their reader
 *             (worker_purge).
 * THREADS  any; the calls block.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_config.h"
#include "worker/worker_plan.h"

/* Once all are there. *ret_is_fatal: waiting and trying again cannot help. */
MUST_CHECK enum err worker_topics_ready(const struct worker_plan *plan,
                                        const struct kafka_config *kafka, rd_kafka_t *client,
                                        bool *ret_is_fatal, struct err_info *info);
