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
 *          4. A changelog that is missing is made only where nothing is committed of what fills its
 *             store; otherwise the state is lost, which is told (pipeline.state.lost=empty goes on).
 * THREADS  any; the calls block.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "worker/worker.h"
#include "worker/worker_plan.h"

/* Once all are there. *ret_is_fatal: waiting and trying again cannot help. */
MUST_CHECK enum err worker_topics_ready(const struct worker_plan *plan,
                                        const struct worker_params *params, rd_kafka_t *client,
                                        bool *ret_is_fatal, struct err_info *info);
/* Whether all changelogs are still there; ERR_TOPIC_UNKNOWN: one is not. */
MUST_CHECK enum err worker_topics_changelogs(const struct worker_plan *plan, rd_kafka_t *client,
                                             struct err_info *info);
/* The same of outputs, dead letters and late events. */
MUST_CHECK enum err worker_topics_outputs(const struct worker_plan *plan, rd_kafka_t *client,
                                          struct err_info *info);
