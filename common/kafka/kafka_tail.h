/* kafka_tail.h - reads whole topics without a group: tables, changelog restores, live streams.
 *
 * WHAT     assigns partitions of topics by hand, from given positions, earliest or latest, and
 *          hands records over in batches; knows when each partition has reached the end that was
 *          there when asked (by position, never by "saw the last offset": the tail may be
 *          transaction markers or compacted holes).
 * THREADS  one owner. kafka_tail_fd becomes readable when records wait.
 * ERRORS   a position that retention has passed comes back as on_gap, never silently.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_config.h"

struct kafka_tail;

struct kafka_position {
    const char *topic;
    int32_t partition;
    int64_t offset; /* next to read; KAFKA_EARLIEST, KAFKA_LATEST */
};
#define KAFKA_EARLIEST (-2)
#define KAFKA_LATEST   (-1)

struct kafka_tail_params {
    const struct kafka_config *config;
    bool read_uncommitted; /* default: committed records only */
    /* How long a broker holds back its answer when nothing is new; partitions that come meanwhile wait
     * as long. 0: librdkafka's, 500 ms: for one that follows topics for good. */
    unsigned fetch_wait_ms;
    /* It has no hurry: the threads that fetch have the scheduler's lowest priority. Not the client's main
     * thread, which callers wait for. */
    bool is_background;
    /* Optional: offsets [from, to) of a partition are not to be had any more. */
    void (*on_gap)(void *context, const struct kafka_position *at, int64_t from, int64_t to);
    void *context;
    const char *label;
};

void kafka_tail_free(struct kafka_tail *tail);
MUST_CHECK enum err kafka_tail_new(const struct kafka_tail_params *params, struct kafka_tail **ret,
                                   struct err_info *info);
int kafka_tail_fd(const struct kafka_tail *tail);
rd_kafka_t *kafka_tail_client(struct kafka_tail *tail); /* for kafka_topic_partitions */
/* Adds partitions; a topic's partition count comes from kafka_topic_partitions. Blocks for one round
 * trip, a second at most, when a topic is new to the tail. */
MUST_CHECK enum err kafka_tail_add(struct kafka_tail *tail, const struct kafka_position *positions,
                                   size_t count, struct err_info *info);
void kafka_tail_remove(struct kafka_tail *tail, const char *topic, int32_t partition);
/* Up to `max` records; they are the caller's (rd_kafka_message_destroy). 0 after timeout_ms. */
size_t kafka_tail_poll(struct kafka_tail *tail, rd_kafka_message_t **messages, size_t max,
                       int64_t timeout_ms);
/* Fixes each assigned partition's present end as the goal of kafka_tail_is_caught_up. Blocks for
 * one round trip at most timeout_ms. */
MUST_CHECK enum err kafka_tail_mark_end(struct kafka_tail *tail, int64_t timeout_ms,
                                        struct err_info *info);
bool kafka_tail_is_caught_up(const struct kafka_tail *tail);
bool kafka_tail_partition_is_caught_up(const struct kafka_tail *tail, const char *topic,
                                       int32_t partition);
/* Next offset to read, past control records; the partition's known end; both -1 when unknown. */
void kafka_tail_position(const struct kafka_tail *tail, const char *topic, int32_t partition,
                         int64_t *ret_next, int64_t *ret_end);
