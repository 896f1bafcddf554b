/* shard.h - one HTTP worker's part of the streams: its rings and its clients.
 *
 * WHAT     the reader appends frames to the shard's inbox and wakes the worker once a batch; the
 *          worker moves them into its rings and writes to its clients. Rings and clients belong to
 *          the worker's thread alone.
 * BOUNDS   the inbox holds inbox_bytes_max; past it the reader waits: a worker that is behind slows
 *          the reading of Kafka down, nothing is dropped.
 * THREADS  shard_publish, shard_busy_us and shard_release from any thread; the rest on the worker's.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "control.h"
#include "desk.h"
#include "http/http.h"
#include "query_metrics.h"
#include "stream.h"
#include "waits.h"
#include "ws_socket.h"

struct shard_config {
    struct stream_config streams;
    struct feed_config feeds;
    struct ws_config sockets;
    size_t topic_count;
    const struct query_topic_metrics *metrics; /* by topic */
    int64_t ring_bytes_max;                    /* a topic */
    struct waits_config *waits;
    struct access *access;
    struct desk *desk;          /* Kafka's */
    struct desk *history_desk;  /* PostgreSQL's; NULL: there is none */
    struct desk *registry_desk; /* the schema registry's; NULL: there is none */
    const struct kafka_config *kafka;
    const char *control_topic; /* NULL: nothing is told to workers */
};

struct shard {
    const struct shard_config *config;
    struct http_worker *worker;
    struct ring *rings;                 /* topic_count */
    struct selector_machine *selectors; /* of all its streams */
    struct websocket_codec *codec;      /* NULL: nothing is compressed */
    struct buf scratch;
    struct feed_site site;
    struct streams streams;
    struct ws_sockets sockets;
    struct waits waits;
    struct control *control; /* NULL: nothing is told to workers */
    struct desk_port *desk, *history_desk, *registry_desk;
    struct access_view *access;
    unsigned access_generation; /* that its clients were looked at by */
    int event_fd;
    struct http_watch *watch;
    _Atomic int64_t busy_us; /* which the last batch took to hand out */
    struct frame **taken;    /* the inbox' other half */
    size_t taken_capacity;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t has_room;
    struct frame **inbox;
    size_t inbox_count, inbox_capacity, inbox_bytes;
    bool is_released;
};

MUST_CHECK enum err shard_new(const struct shard_config *config, struct http_worker *worker,
                              struct shard **ret);
void shard_free(struct shard *shard); /* NULL is a no-op; closes its streams */
/* Tells every client to come back elsewhere, each at a moment of its own. */
void shard_drain(struct shard *shard);
/* Takes one reference of each frame over. */
void shard_publish(struct shard *shard, struct frame *const *frames, size_t count);
/* How long the worker took to hand its last batch to its clients. */
int64_t shard_busy_us(const struct shard *shard);
/* The reader waits no more: from now on what it publishes may be dropped. */
void shard_release(struct shard *shard);
