/* finder.h - looks for topics and their partitions, with a Kafka client and a thread of its own.
 *
 * WHY      a question on the reader's connections waits behind its long polls (half a second each),
 *          and a broker that is away must not stop the reading from others.
 * THREADS  finder_take from one thread; start and stop by the main thread.
 */
#pragma once

#include "core/strview.h"
#include "kafka/kafka_config.h"

struct finder;

#define FINDER_MISSING (-1)
#define FINDER_REMADE  (-2)

struct finder_found {
    size_t topic;
    /* FINDER_MISSING: Kafka has no such topic (told once). FINDER_REMADE: it was deleted and created
     * again; its partitions follow anew. */
    int32_t partition;
    uint32_t epoch; /* kafka_topic_epoch */
    int32_t partition_count;
    int64_t low, high; /* of the log, when it was looked at */
};

/* topics (each ends with a NUL) live as long as the finder does. */
MUST_CHECK enum err finder_start(const struct kafka_config *config, const struct strview *topics,
                                 size_t topic_count, struct finder **ret, struct err_info *info);
void finder_stop(struct finder *finder); /* NULL is a no-op */
/* What was found since, each partition once and a topic's partitions in order; false: nothing. */
bool finder_take(struct finder *finder, struct finder_found *ret);
