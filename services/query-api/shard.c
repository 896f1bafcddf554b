#include "shard.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"

#define TICK_MS           250
#define SCRATCH_BYTES_MAX ((size_t)1 << 30) /* 64 positions of CURSOR_BYTES_MAX, and a name */

/* --- the reader's side ------------------------------------------------------------------------------ */

static void shard_wake(void *context)
{
    struct shard *shard = context;
    ssize_t written = write(shard->event_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* an eventfd takes a 1 unless it is full, which wakes as well */
}

static void inbox_append(struct shard *shard, struct frame *frame)
{
    if (shard->inbox_count == shard->inbox_capacity) {
        shard->inbox_capacity = shard->inbox_capacity ? shard->inbox_capacity * 2 : 1024;
        shard->inbox = must_realloc(shard->inbox, shard->inbox_capacity * sizeof *shard->inbox);
    }
    shard->inbox[shard->inbox_count++] = frame;
    shard->inbox_bytes += frame->bytes;
}

void shard_publish(struct shard *shard, struct frame *const *frames, size_t count)
{
    (void)pthread_mutex_lock(&shard->lock);
    while (shard->inbox_bytes > (size_t)shard->config->ring_bytes_max && !shard->is_released) {
        (void)pthread_cond_wait(&shard->has_room, &shard->lock);
    }
    bool was_empty = shard->inbox_count == 0;
    for (size_t i = 0; i < count; i++) {
        inbox_append(shard, frames[i]);
    }
    (void)pthread_mutex_unlock(&shard->lock);
    if (was_empty) {
        shard_wake(shard);
    }
}

int64_t shard_busy_us(const struct shard *shard)
{
    return atomic_load_explicit(&shard->busy_us, memory_order_relaxed);
}

void shard_release(struct shard *shard)
{
    (void)pthread_mutex_lock(&shard->lock);
    shard->is_released = true;
    (void)pthread_cond_signal(&shard->has_room);
    (void)pthread_mutex_unlock(&shard->lock);
}

/* --- the worker's side -------------------------------------------------------------------------------- */

/* Swaps the inbox for the empty half. */
static size_t inbox_take(struct shard *shard)
{
    (void)pthread_mutex_lock(&shard->lock);
    struct frame **frames = shard->inbox;
    size_t count = shard->inbox_count, capacity = shard->inbox_capacity;
    shard->inbox = shard->taken;
    shard->inbox_capacity = shard->taken_capacity;
    shard->inbox_count = shard->inbox_bytes = 0;
    shard->taken = frames;
    shard->taken_capacity = capacity;
    (void)pthread_cond_signal(&shard->has_room);
    (void)pthread_mutex_unlock(&shard->lock);
    return count;
}

static void clients_pump(struct shard *shard, bool is_burst)
{
    ws_pump(&shard->sockets, is_burst);
    streams_pump(&shard->streams, is_burst); /* and counts what both have sent */
}

/* A burst larger than the ring must not pass clients by that had no chance to take it: they are
 * served each time a part of the ring's size has been added. */
static int64_t frames_take(struct shard *shard, size_t count)
{
    size_t part = (size_t)shard->config->ring_bytes_max / 4, added = 0;
    int64_t newest_us = 0;
    for (size_t i = 0; i < count; i++) {
        struct frame *frame = shard->taken[i];
        newest_us = frame->created_us > newest_us ? frame->created_us : newest_us;
        added += frame->bytes;
        waits_note(&shard->waits, frame->topic);
        ring_take(&shard->rings[frame->topic], frame);
        if (added >= part) {
            clients_pump(shard, true);
            added = 0;
        }
    }
    return newest_us;
}

static void on_wake(void *context, uint32_t events)
{
    (void)events;
    struct shard *shard = context;
    uint64_t ignored;
    (void)!read(shard->event_fd, &ignored, sizeof ignored); /* only empties the counter */
    const int64_t begin_us = clock_mono_us();
    int64_t newest_us = frames_take(shard, inbox_take(shard));
    clients_pump(shard, false);
    const int64_t now_us = clock_mono_us();
    waits_look(&shard->waits, now_us);
    if (newest_us) {
        atomic_store_explicit(&shard->busy_us, now_us - begin_us, memory_order_relaxed);
    }
    if (newest_us && shard->streams.count + shard->sockets.count) {
        query_metrics_delivery((double)(now_us - newest_us) / 1e6);
    }
}

/* Keys, roles or the key set for tokens have changed: some clients may not stay. */
static void clients_renew(struct shard *shard)
{
    const unsigned generation = access_view_generation(shard->access);
    if (generation != shard->access_generation) {
        shard->access_generation = generation;
        ws_renew(&shard->sockets, shard->access);
        streams_renew(&shard->streams, shard->access);
    }
}

static void on_tick(void *context)
{
    struct shard *shard = context;
    /* All shards hold the same frames: one speaks for them. */
    for (size_t i = 0; http_worker_index(shard->worker) == 0 && i < shard->config->topic_count;
         i++) {
        metric_set(shard->config->metrics[i].ring_bytes, (double)shard->rings[i].bytes);
    }
    clients_renew(shard);
    ws_tick(&shard->sockets, clock_mono_us());
    streams_tick(&shard->streams, clock_mono_us());
    waits_look(&shard->waits, clock_mono_us());
}

/* --- life ------------------------------------------------------------------------------------------------ */

enum err shard_new(const struct shard_config *config, struct http_worker *worker,
                   struct shard **ret)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return ERR_IO;
    }
    struct shard *shard = must_alloc(sizeof *shard);
    *shard = (struct shard){.config = config, .worker = worker, .event_fd = fd};
    CHECK(pthread_mutex_init(&shard->lock, NULL) == 0);
    CHECK(pthread_cond_init(&shard->has_room, NULL) == 0);
    shard->rings = must_alloc(config->topic_count * sizeof *shard->rings);
    for (size_t i = 0; i < config->topic_count; i++) {
        ring_init(&shard->rings[i], (size_t)config->ring_bytes_max);
    }
    shard->selectors = selector_machine_new();
    shard->waits.config = config->waits;
    shard->access = access_view_new(config->access);
    shard->control =
        config->control_topic
            ? control_new(&(struct control_params){config->kafka, config->control_topic, worker})
            : NULL;
    shard->access_generation = access_view_generation(shard->access);
    if (config->sockets.is_compressing || config->streams.is_compressing) {
        shard->codec = websocket_codec_new();
    }
    buf_init(&shard->scratch, SCRATCH_BYTES_MAX);
    shard->site = (struct feed_site){
        .config = &config->feeds,
        .source = {shard->rings, config->feeds.topics, shard->selectors, shard->codec,
                   &shard->scratch},
        .wake = shard_wake,
        .wake_context = shard,
    };
    shard->streams = (struct streams){.config = &config->streams,
                                      .worker = worker,
                                      .site = &shard->site,
                                      .random = (uint64_t)clock_mono_us() | 1};
    shard->sockets = (struct ws_sockets){.config = &config->sockets, .streams = &shard->streams};
    shard->watch = http_worker_watch(worker, fd, EPOLLIN, on_wake, shard);
    if (!shard->watch || desk_port_new(config->desk, worker, &shard->desk) ||
        desk_port_new(config->history_desk, worker, &shard->history_desk) ||
        desk_port_new(config->registry_desk, worker, &shard->registry_desk)) {
        shard_free(shard);
        return ERR_IO;
    }
    http_worker_every(worker, TICK_MS, on_tick, shard);
    *ret = shard;
    return ERR_OK;
}

void shard_free(struct shard *shard)
{
    if (!shard) {
        return;
    }
    ws_deinit(&shard->sockets);
    streams_deinit(&shard->streams);
    selector_machine_free(shard->selectors);
    websocket_codec_free(shard->codec);
    access_view_free(shard->access);
    control_free(shard->control);
    desk_port_free(shard->desk);
    desk_port_free(shard->history_desk);
    desk_port_free(shard->registry_desk);
    buf_free(&shard->scratch);
    if (shard->watch) {
        http_watch_close(shard->watch);
    }
    (void)close(shard->event_fd);
    for (size_t i = 0; i < shard->inbox_count; i++) {
        frame_unref(shard->inbox[i]);
    }
    for (size_t i = 0; i < shard->config->topic_count; i++) {
        ring_free(&shard->rings[i]);
    }
    CHECK(pthread_mutex_destroy(&shard->lock) == 0);
    CHECK(pthread_cond_destroy(&shard->has_room) == 0);
    free(shard->inbox);
    free(shard->taken);
    free(shard->rings);
    free(shard);
}

void shard_drain(struct shard *shard)
{
    streams_drain(&shard->streams);
    ws_drain(&shard->sockets);
}
