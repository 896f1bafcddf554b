/* shard.h - one HTTP worker's part of the streams: its rings and its clients.
 *
 * WHAT     the reader appends frames to the shard's inbox and wakes the worker once a batch; the
 *          worker moves them into its rings and writes to its clients. Rings and clients belong to
 *          the worker's thread alone.
 * BOUNDS   the inbox holds inbox_bytes_max; past it the reader waits: a worker that is behind slows
 *          the reading of Kafka down, nothing is dropped.
 * THREADS  shard_publish, shard_wake, shard_release from any thread; the rest on the worker's.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "catchup.h"
#include "http/http.h"
#include "query_metrics.h"
#include "reading.h"

struct shard_config {
    const struct strview *topics;
    size_t topic_count;
    const struct query_topic_metrics *metrics; /* by topic */
    int64_t ring_bytes_max;                    /* a topic */
    int64_t heartbeat_ms;
    int64_t stall_timeout_ms;
    int64_t send_buffer_bytes;
    int64_t clients_max; /* all shards together */
    int64_t retry_ms;
    struct catchup *catchup;
};

struct stream;

struct shard {
    const struct shard_config *config;
    struct http_worker *worker;
    struct reading_source source;
    struct ring *rings; /* topic_count */
    struct stream **streams;
    size_t stream_count, stream_capacity;
    atomic_size_t *stream_total; /* of all shards */
    bool is_draining;
    uint64_t random;
    int event_fd;
    struct http_watch *watch;
    int64_t sent_frames, sent_bytes; /* since they were added to the metrics */
    struct frame **taken;            /* the inbox' other half */
    size_t taken_capacity;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t has_room;
    struct frame **inbox;
    size_t inbox_count, inbox_capacity, inbox_bytes;
    bool is_released;
};

MUST_CHECK enum err shard_new(const struct shard_config *config, struct http_worker *worker,
                              atomic_size_t *stream_total, struct shard **ret);
void shard_free(struct shard *shard); /* NULL is a no-op; closes its streams */
/* Takes one reference of each frame over. */
void shard_publish(struct shard *shard, struct frame *const *frames, size_t count);
void shard_wake(struct shard *shard);
/* The reader waits no more: from now on what it publishes may be dropped. */
void shard_release(struct shard *shard);
/* Tells every client to come back elsewhere. */
void shard_drain(struct shard *shard);
/* Time to wait before reconnecting, different for each client. */
int64_t shard_retry_ms(struct shard *shard, int64_t base_ms);
