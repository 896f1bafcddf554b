/* The loop. Each turn, in this order:
 *
 *   wait     epoll: connections, the listener, the command eventfd, the watches of others
 *   events   connections are read, requests handled; a producer's delivery reports come in and answer
 *            deferred requests …
 *   expire   … deadlines answer the rest, or close connections
 *   ticks    what the service asked to be called for
 *   again    … and those answers are sent; who had more to do than one turn gives goes on
 */
#include "http/http_internal.h"

#include <errno.h>
#include <linux/tcp.h> /* more of struct tcp_info than netinet/tcp.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"

#define EVENTS_MAX       128
#define LINGER_US        2000000
#define GAUGES_PERIOD_MS 250
#define STOP_FLUSH_US    500000 /* what answers get to leave after a stop */

/* --- waits
 * ------------------------------------------------------------------------------------------ */

static void wait_leave(struct http_connection *connection)
{
    struct http_wait_list *list = &connection->worker->waits[connection->wait];
    if (connection->wait == HTTP_WAIT_NONE) {
        return;
    }
    *(connection->older ? &connection->older->newer : &list->oldest) = connection->newer;
    *(connection->newer ? &connection->newer->older : &list->newest) = connection->older;
    connection->older = connection->newer = NULL;
    connection->wait = HTTP_WAIT_NONE;
}

void http_wait_enter(struct http_connection *connection, enum http_wait wait)
{
    wait_leave(connection);
    if (wait == HTTP_WAIT_NONE) {
        return;
    }
    struct http_wait_list *list = &connection->worker->waits[wait];
    connection->wait = wait;
    connection->since_us = connection->worker->now_us;
    connection->older = list->newest;
    *(list->newest ? &list->newest->newer : &list->oldest) = connection;
    list->newest = connection;
}

static void connection_cut(struct http_connection *connection, enum http_refusal why)
{
    http_metrics_refused(why);
    http_connection_close(connection);
}

/* A slow reader is one that took nothing for a whole time-out, not one with a long answer. */
static void send_expired(struct http_connection *connection)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    const bool known = getsockopt(connection->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0;
    if (known && info.tcpi_bytes_acked > connection->acked_bytes) {
        connection->acked_bytes = info.tcpi_bytes_acked;
        http_wait_enter(connection, HTTP_WAIT_SEND);
        return;
    }
    connection_cut(connection, HTTP_REFUSED_SLOW_READER);
}

static void body_expired(struct http_request *request)
{
    if (request->state == HTTP_REQUEST_BODY) {
        http_body_fail(request, ERR_BODY_TIMEOUT, NULL);
    } else {
        http_refuse(request, ERR_BODY_TIMEOUT, NULL);
    }
}

static void wait_expired(struct http_connection *connection)
{
    switch (connection->wait) {
    case HTTP_WAIT_HEAD:
        connection_cut(connection, HTTP_REFUSED_SLOW_HEAD);
        break;
    case HTTP_WAIT_IDLE:
    case HTTP_WAIT_LINGER:
        http_connection_close(connection);
        break;
    case HTTP_WAIT_BODY:
        http_metrics_refused(HTTP_REFUSED_SLOW_BODY);
        body_expired(connection->request);
        break;
    case HTTP_WAIT_REPLY:
        http_metrics_refused(HTTP_REFUSED_DEADLINE);
        http_request_abandon(connection->request, ERR_KAFKA_TIMEOUT);
        break;
    case HTTP_WAIT_SEND:
        send_expired(connection);
        break;
    case HTTP_WAIT_NONE:
    case HTTP_WAIT_COUNT:
        break;
    }
}

static void waits_expire(struct http_worker *worker)
{
    for (int wait = HTTP_WAIT_NONE + 1; wait < HTTP_WAIT_COUNT; wait++) {
        struct http_wait_list *list = &worker->waits[wait];
        while (list->oldest && list->oldest->since_us + list->timeout_us <= worker->now_us) {
            wait_expired(list->oldest); /* leaves the list, or enters it anew at its end */
        }
    }
}

/* --- watches and ticks
 * ------------------------------------------------------------------------------- */

bool http_watch_open(struct http_watch *watch, struct http_worker *worker, int fd,
                     uint32_t epoll_events, void (*on_ready)(void *context, uint32_t events),
                     void *context)
{
    *watch =
        (struct http_watch){.worker = worker, .on_ready = on_ready, .context = context, .fd = fd};
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

struct http_watch *http_worker_watch(struct http_worker *worker, int fd, uint32_t epoll_events,
                                     void (*on_ready)(void *context, uint32_t events),
                                     void *context)
{
    struct http_watch *watch = must_alloc(sizeof *watch);
    if (!http_watch_open(watch, worker, fd, epoll_events, on_ready, context)) {
        free(watch);
        return NULL;
    }
    return watch;
}

void http_watch_events(struct http_watch *watch, uint32_t epoll_events)
{
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
    CHECK(epoll_ctl(watch->worker->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0);
}

/* Freed at the end of the turn: the events being handled may still name it. */
void http_watch_close(struct http_watch *watch)
{
    if (!watch) {
        return;
    }
    CHECK(!watch->is_closed);
    struct http_worker *worker = watch->worker;
    /* Fails when the caller has closed fd already, which took it out of epoll as well. */
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->is_closed = true;
    watch->next_closed = worker->closed_watches;
    worker->closed_watches = watch;
}

static void closed_watches_free(struct http_worker *worker)
{
    while (worker->closed_watches) {
        struct http_watch *watch = worker->closed_watches;
        worker->closed_watches = watch->next_closed;
        free(watch);
    }
}

void http_worker_every(struct http_worker *worker, int64_t period_ms,
                       void (*on_tick)(void *context), void *context)
{
    CHECK(worker->tick_count < HTTP_TICKS_MAX);
    CHECK(period_ms > 0);
    worker->ticks[worker->tick_count++] =
        (struct http_tick){.on_tick = on_tick,
                           .context = context,
                           .period_us = period_ms * 1000,
                           .due_us = clock_mono_us() + period_ms * 1000};
}

static void ticks_run(struct http_worker *worker)
{
    for (unsigned i = 0; i < worker->tick_count; i++) {
        struct http_tick *tick = &worker->ticks[i];
        if (tick->due_us <= worker->now_us) {
            tick->due_us = worker->now_us + tick->period_us; /* a late one is not made up for */
            tick->on_tick(tick->context);
        }
    }
}

static void gauges_update(void *context)
{
    struct http_worker *worker = context;
    if (!worker->is_listening && worker->listen_fd >= 0) { /* some descriptor may be free */
        worker->is_listening = true;
        http_watch_events(&worker->listen_watch, EPOLLIN);
    }
    metric_set(worker->gauge_connections, (double)worker->connections);
    metric_set(worker->gauge_requests, (double)worker->requests);
}

/* --- the loop
 * ------------------------------------------------------------------------------------------ */

static int64_t next_due_us(const struct http_worker *worker)
{
    int64_t due = INT64_MAX;
    for (int wait = HTTP_WAIT_NONE + 1; wait < HTTP_WAIT_COUNT; wait++) {
        const struct http_wait_list *list = &worker->waits[wait];
        if (list->oldest && list->oldest->since_us + list->timeout_us < due) {
            due = list->oldest->since_us + list->timeout_us;
        }
    }
    for (unsigned i = 0; i < worker->tick_count; i++) {
        if (worker->ticks[i].due_us < due) {
            due = worker->ticks[i].due_us;
        }
    }
    return due;
}

static int wait_ms(const struct http_worker *worker)
{
    const int64_t left_us = next_due_us(worker) - worker->now_us;
    return left_us <= 0 ? 0 : left_us > 1000000 ? 1000 : (int)((left_us + 999) / 1000);
}

static void errand_run(struct http_worker *worker)
{
    struct http_errand *errand = &worker->server->errand;
    const unsigned serial = errand->serial;
    if (serial == worker->errand_seen) {
        return;
    }
    worker->errand_seen = serial;
    errand->run(worker, errand->context);
    if (--errand->left == 0) {
        const uint64_t one = 1;
        CHECK(write(errand->done_fd, &one, sizeof one) == sizeof one);
    }
}

static void on_command(void *context, uint32_t events)
{
    (void)events;
    struct http_worker *worker = context;
    uint64_t count;
    /* Only empties the counter: the phase says what to do. */
    (void)!read(worker->command_fd, &count, sizeof count);
    errand_run(worker);
    const struct http_worker_hooks *hooks = &worker->server->hooks;
    if (worker->server->phase < HTTP_DRAINING || worker->is_drain_seen) {
        return;
    }
    worker->is_drain_seen = true;
    while (worker->waits[HTTP_WAIT_IDLE].oldest) {
        wait_expired(worker->waits[HTTP_WAIT_IDLE].oldest);
    }
    if (hooks->drain) {
        hooks->drain(worker->state);
    }
}

static void clocks_read(struct http_worker *worker)
{
    worker->now_us = clock_mono_us();
    worker->wall_ahead_us = clock_now_us() - worker->now_us;
}

static void turn(struct http_worker *worker)
{
    struct epoll_event events[EVENTS_MAX];
    const int timeout_ms = worker->again_first ? 0 : wait_ms(worker);
    const int count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, timeout_ms);
    CHECK(count >= 0 || errno == EINTR);
    clocks_read(worker);
    for (int i = 0; i < count; i++) {
        const struct http_watch *watch = events[i].data.ptr;
        if (i + 1 < count) { /* the next connection is far away in memory */
            __builtin_prefetch(events[i + 1].data.ptr);
        }
        if (!watch->is_closed) {
            watch->on_ready(watch->context, events[i].events);
        }
    }
    waits_expire(worker);
    ticks_run(worker);
    http_connections_run(worker);
    http_connections_free(worker);
    closed_watches_free(worker);
}

/* Nothing new comes in; what is deferred is answered, and what was answered gets a moment to leave.
 */
static void worker_finish(struct http_worker *worker)
{
    close(worker->listen_fd);
    worker->listen_fd = -1;
    while (worker->waits[HTTP_WAIT_REPLY].oldest) {
        http_request_abandon(worker->waits[HTTP_WAIT_REPLY].oldest->request, ERR_DRAINING);
    }
    const int64_t until_us = clock_mono_us() + STOP_FLUSH_US;
    while ((worker->again_first || worker->waits[HTTP_WAIT_SEND].oldest) &&
           clock_mono_us() < until_us) {
        turn(worker);
    }
}

static void connections_close(struct http_worker *worker)
{
    for (struct http_connection *again = worker->again_first; again; again = again->next) {
        if (!again->is_closed) {
            http_connection_close(again);
        }
    }
    for (int wait = HTTP_WAIT_NONE + 1; wait < HTTP_WAIT_COUNT; wait++) {
        while (worker->waits[wait].oldest) {
            http_connection_close(worker->waits[wait].oldest);
        }
    }
    http_connections_run(worker); /* finds only closed ones */
    http_connections_free(worker);
}

void http_worker_run(struct http_worker *worker)
{
    http_worker_every(worker, GAUGES_PERIOD_MS, gauges_update, worker);
    clocks_read(worker);
    while (worker->server->phase != HTTP_STOPPING) {
        turn(worker);
    }
    on_command(worker, 0);
    worker_finish(worker);
    connections_close(worker); /* whose readers are told while there is somebody to tell */
    if (worker->server->hooks.stop) {
        worker->server->hooks.stop(worker->state);
    }
    closed_watches_free(worker);
    gauges_update(worker);
}

/* --- opening and closing
 * -------------------------------------------------------------------------------- */

static void waits_init(struct http_worker *worker, const struct http_config *config)
{
    worker->waits[HTTP_WAIT_HEAD].timeout_us = config->header_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_IDLE].timeout_us = config->idle_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_BODY].timeout_us = config->body_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_REPLY].timeout_us = config->request_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_SEND].timeout_us = config->request_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_LINGER].timeout_us = LINGER_US;
}

enum err http_worker_open(struct http_worker *worker, struct err_info *info)
{
    waits_init(worker, &worker->server->config);
    worker->id_state = (uint64_t)clock_now_ms() * 0x9E3779B97F4A7C15u + worker->index;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->tls = worker->server->tls ? http_tls_ref(worker->server->tls) : NULL;
    worker->input = http_connection_room();
    worker->is_listening = true;
    if (worker->epoll_fd < 0 || worker->command_fd < 0 ||
        !http_watch_open(&worker->listen_watch, worker, worker->listen_fd, EPOLLIN,
                         http_connections_accept, worker) ||
        !http_watch_open(&worker->command_watch, worker, worker->command_fd, EPOLLIN, on_command,
                         worker)) {
        return err_set(info, ERR_IO, "HTTP worker %u: %s", worker->index, strerror(errno));
    }
    http_metrics_worker(worker);
    return ERR_OK;
}

static void connections_free(struct http_worker *worker)
{
    while (worker->free_connections) {
        struct http_connection *connection = worker->free_connections;
        worker->free_connections = connection->next;
        free(connection);
    }
}

void http_worker_close(struct http_worker *worker)
{
    const int descriptors[] = {worker->listen_fd, worker->epoll_fd, worker->command_fd};
    for (size_t i = 0; i < ARRAY_LEN(descriptors); i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    connections_free(worker);
    closed_watches_free(worker);
    http_requests_free(worker);
    http_decoder_pool_free(&worker->decoders);
    http_tls_unref(worker->tls);
    free(worker->decoded);
    free(worker->input);
}

void http_worker_wake(struct http_worker *worker)
{
    const uint64_t one = 1;
    CHECK(write(worker->command_fd, &one, sizeof one) == sizeof one);
}

void *http_worker_state(const struct http_worker *worker)
{
    return worker->state;
}

unsigned http_worker_index(const struct http_worker *worker)
{
    return worker->index;
}

int64_t http_worker_now_us(const struct http_worker *worker)
{
    return worker->now_us;
}

int64_t http_worker_now_ms(const struct http_worker *worker)
{
    return (worker->now_us + worker->wall_ahead_us) / 1000;
}

bool http_worker_is_draining(const struct http_worker *worker)
{
    return worker->server->phase >= HTTP_DRAINING;
}
