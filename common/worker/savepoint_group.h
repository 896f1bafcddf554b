/* savepoint_group.h - a pipeline's consumer group from outside: where it is, and whether somebody is in it.
 * Inside common/worker only, as is what takes and restores savepoints.
 *
 * THREADS  one owner; every call blocks for an answer of Kafka, ten seconds at most.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_tail.h"
#include "worker/savepoint_task.h"

struct savepoint_group {
    rd_kafka_t *client; /* a consumer that never joins */
    size_t source_count;
    int32_t *partitions; /* by source */
};

void savepoint_group_close(struct savepoint_group *group); /* a zeroed one is a no-op */
MUST_CHECK enum err savepoint_group_open(const struct savepoint_params *params,
                                         struct savepoint_group *ret, struct err_info *info);
/* Asks for the partitions of all sources: all are there. */
MUST_CHECK enum err savepoint_group_count(struct savepoint_group *group,
                                          const struct pipeline *pipeline, struct err_info *info);
/* What is committed, into the places of the inputs; a transaction under way is waited for. */
MUST_CHECK enum err savepoint_group_places(struct savepoint_group *group,
                                           struct savepoint *savepoint, struct err_info *info);
/* ERR_STATE: somebody is in it. */
MUST_CHECK enum err savepoint_group_empty(struct savepoint_group *group, const char *name,
                                          struct err_info *info);

/* Reads what there is up to the ends marked. */
struct savepoint_taker {
    enum err (*take)(void *context, const rd_kafka_message_t *message, struct err_info *info);
    enum err (*turn)(void *context, struct err_info *info); /* now and then; NULL: not asked */
    void *context;
};
MUST_CHECK enum err savepoint_tail_read(struct kafka_tail *tail,
                                        const struct savepoint_taker *taker, struct err_info *info);
/* The partition of the changelog that the record is of: index of the store, or the count of stores. */
size_t savepoint_store_of(const struct pipeline *pipeline, const rd_kafka_message_t *message);
/* A tail over all changelogs from their start: nothing where there are no stores. `partitions`: by
 * source. ERR_STATE: a changelog has other partitions than its source. */
MUST_CHECK enum err savepoint_changelogs_open(const struct savepoint_params *params,
                                              const struct savepoint_group *group,
                                              struct kafka_tail **ret, struct err_info *info);
/* Partitions of a store's changelog: those of the first source of its stage. */
int32_t savepoint_store_partitions(const struct pipeline *pipeline,
                                   const struct savepoint_group *group, size_t store);
