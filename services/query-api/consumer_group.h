/* consumer_group.h - what Kafka keeps under a consumer group's id, read and written from outside it.
 *
 * WHAT     offsets and notes (consumer_note.h) of topics; no membership: nobody joins, so nothing
 *          rebalances, and any process may go on where another one was.
 * THREADS  every call blocks for an answer of Kafka, CONSUMER_ASK_MS at most: never on an HTTP loop.
 *          Any number of threads may share the client.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "consumer_note.h"
#include "core/err.h"

#define CONSUMER_ASK_MS 5000

/* A topic's part of a position. */
struct consumer_topic {
    char *name;
    uint32_t epoch; /* 0: not known */
    int32_t partition_count;
    int64_t *next;             /* by partition; -1: none is committed */
    struct consumer_note note; /* of the latest claim; at_ms is of whatever was written last */
    int64_t oldest_ms;         /* when that was written which was written first; as fetched */
};

struct consumer_places {
    struct consumer_topic *topics;
    size_t count;
};

void consumer_places_free(struct consumer_places *places); /* a zeroed one is a no-op */
/* Room for a topic more: nothing committed. */
struct consumer_topic *consumer_places_add(struct consumer_places *places, const char *name,
                                           int32_t partition_count, uint32_t epoch);
void consumer_places_copy(const struct consumer_places *from, struct consumer_places *ret);
bool consumer_places_is_empty(const struct consumer_places *places); /* nothing is committed */
bool consumer_topic_is_empty(const struct consumer_topic *topic);

/* Fills in what is committed of these topics. */
MUST_CHECK enum err consumer_group_fetch(rd_kafka_t *client, const char *group,
                                         struct consumer_places *places, struct err_info *info);
/* Writes what is ≥ 0, each with its topic's note. */
MUST_CHECK enum err consumer_group_commit(rd_kafka_t *client, const char *group,
                                          const struct consumer_places *places,
                                          struct err_info *info);
/* ERR_CONSUMER_UNKNOWN; ERR_CONSUMER_BUSY: somebody is a member. */
MUST_CHECK enum err consumer_group_delete(rd_kafka_t *client, const char *group,
                                          struct err_info *info);
/* Calls on_group for each that begins so. ERR_NOT_FOUND: the brokers cannot list (dev-broker). */
MUST_CHECK enum err consumer_group_list(rd_kafka_t *client, const char *prefix,
                                        void (*on_group)(void *context, const char *group),
                                        void *context, struct err_info *info);
/* Calls on_offset for all that is committed under the group, whatever the topic. */
MUST_CHECK enum err consumer_group_each(rd_kafka_t *client, const char *group,
                                        void (*on_offset)(void *context,
                                                          const rd_kafka_topic_partition_t *offset),
                                        void *context, struct err_info *info);

/* The partition's log: [low, high). */
MUST_CHECK enum err consumer_bounds(rd_kafka_t *client, const char *topic, int32_t partition,
                                    int64_t *ret_low, int64_t *ret_high, struct err_info *info);
/* Each partition's first record of that time or later; the end where there is none. */
MUST_CHECK enum err consumer_times(rd_kafka_t *client, struct consumer_places *places,
                                   int64_t time_ms, struct err_info *info);
