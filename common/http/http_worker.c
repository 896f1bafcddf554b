/* The loop. Each turn, in this order:
 *
 *   wait     epoll: libmicrohttpd's own epoll descriptor, the command eventfd, the watches
 *   watches  a producer's delivery reports come in and answer deferred requests …
 *   expire   … deadlines answer the rest, or cut connections
 *   ticks    what the service asked to be called for
 *   pump     … so that one run of libmicrohttpd sends those answers and reads new requests
 *
 * libmicrohttpd with an external loop does one step a connection and run, and says with a time-out
 * of 0 that it has more to do: it is run again until it has not (bounded, so that watches and
 * deadlines get their turn under load). */
#include "http/http_internal.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <linux/tcp.h> /* more of struct tcp_info than netinet/tcp.h */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"

#define EVENTS_MAX       128
#define PUMP_RUNS_MAX    8
#define QUIET_RUNS_MAX   2
#define ACCEPT_SLACK     64
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

/* libmicrohttpd learns of it through the socket: a hang-up is an event. */
static void connection_cut(struct http_connection *connection, enum http_refusal why)
{
    http_metrics_refused(why);
    http_wait_enter(connection, HTTP_WAIT_NONE);
    shutdown(connection->fd, SHUT_RDWR);
}

/* A slow reader is one that took nothing for a whole time-out, not one with a long answer. */
static void send_expired(struct http_connection *connection)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    const bool known = getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0;
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
        http_wait_enter(connection, HTTP_WAIT_NONE);
        shutdown(connection->fd, SHUT_RDWR);
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
    http_linger_expire(worker);
}

/* --- watches and ticks
 * ------------------------------------------------------------------------------- */

struct http_watch *http_worker_watch(struct http_worker *worker, int fd, uint32_t epoll_events,
                                     void (*on_ready)(void *context, uint32_t events),
                                     void *context)
{
    struct http_watch *watch = must_alloc(sizeof *watch);
    *watch =
        (struct http_watch){.worker = worker, .on_ready = on_ready, .context = context, .fd = fd};
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
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
    metric_set(worker->gauge_connections, (double)worker->connections);
    metric_set(worker->gauge_requests, (double)worker->requests);
}

/* --- pumping libmicrohttpd
 * ---------------------------------------------------------------------------- */

/* Exact as long as no deferred request waits open: those always make it say yes. */
static bool daemon_has_more(struct http_worker *worker)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    return MHD_get_timeout(worker->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0;
}

/* With open waits what libmicrohttpd has to do shows by what it did: a run that called us back is
 * followed by another. An answer takes a run or two without a call before it is out. */
static void daemon_pump(struct http_worker *worker)
{
    worker->replied = 0;
    int quiet_runs = 0;
    for (int i = 0; i < PUMP_RUNS_MAX; i++) {
        worker->activity = 0;
        MHD_run(worker->daemon);
        if (worker->activity) {
            quiet_runs = 0;
        } else if (!worker->open_waits
                       ? !daemon_has_more(worker)
                       : !worker->waits[HTTP_WAIT_SEND].oldest || ++quiet_runs == QUIET_RUNS_MAX) {
            return;
        }
    }
}

/* How long libmicrohttpd can do without a run though no event comes: 0, or 1 ms where it may have
 * more to do than it showed, or -1 for as long as it takes. */
static int daemon_patience_ms(struct http_worker *worker)
{
    if (worker->replied || worker->activity) {
        return 0;
    }
    if (worker->open_waits) {
        return 1;
    }
    return daemon_has_more(worker) ? 0 : -1;
}

/* --- the loop
 * ------------------------------------------------------------------------------------------ */

static int64_t next_due_us(const struct http_worker *worker)
{
    int64_t due = http_linger_due_us(worker);
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

static void phase_follow(struct http_worker *worker)
{
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

/* Returns whether libmicrohttpd has to run. */
static bool events_handle(struct http_worker *worker, const struct epoll_event *events, int count)
{
    bool is_daemon_ready = false;
    for (int i = 0; i < count; i++) {
        void *source = events[i].data.ptr;
        if (source == worker) {
            is_daemon_ready = true;
        } else if (source == &worker->command_fd) {
            phase_follow(worker);
        } else {
            struct http_watch *watch = source;
            if (!watch->is_closed) {
                watch->on_ready(watch->context, events[i].events);
            }
        }
    }
    return is_daemon_ready;
}

static void turn(struct http_worker *worker)
{
    struct epoll_event events[EVENTS_MAX];
    const int patience_ms = daemon_patience_ms(worker);
    const int timeout_ms = patience_ms >= 0 ? patience_ms : wait_ms(worker);
    const int count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, timeout_ms);
    CHECK(count >= 0 || errno == EINTR);
    worker->now_us = clock_mono_us();
    const bool is_daemon_ready = events_handle(worker, events, count);
    waits_expire(worker);
    ticks_run(worker);
    if (is_daemon_ready || worker->replied || patience_ms >= 0) {
        daemon_pump(worker);
    }
    closed_watches_free(worker);
}

/* Nothing new comes in; what is deferred is answered, and what was answered gets a moment to leave.
 */
static void worker_finish(struct http_worker *worker)
{
    (void)MHD_quiesce_daemon(worker->daemon); /* the descriptor is worker->listen_fd */
    close(worker->listen_fd);
    worker->listen_fd = -1;
    while (worker->waits[HTTP_WAIT_REPLY].oldest) {
        http_request_abandon(worker->waits[HTTP_WAIT_REPLY].oldest->request, ERR_DRAINING);
    }
    const int64_t until_us = clock_mono_us() + STOP_FLUSH_US;
    while ((worker->replied || worker->waits[HTTP_WAIT_SEND].oldest) &&
           clock_mono_us() < until_us) {
        turn(worker);
    }
}

void http_worker_run(struct http_worker *worker)
{
    http_worker_every(worker, GAUGES_PERIOD_MS, gauges_update, worker);
    worker->now_us = clock_mono_us();
    MHD_run(worker->daemon); /* puts the listener into libmicrohttpd's epoll set */
    while (worker->server->phase != HTTP_STOPPING) {
        turn(worker);
    }
    phase_follow(worker);
    worker_finish(worker);
    if (worker->server->hooks.stop) {
        worker->server->hooks.stop(worker->state);
    }
    daemon_pump(worker); /* what stop closed is resumed, as MHD_stop_daemon asks */
    closed_watches_free(worker);
    gauges_update(worker);
}

/* --- opening and closing
 * -------------------------------------------------------------------------------- */

PRINTF_LIKE(2, 0) static void on_daemon_log(void *cls, const char *format, va_list args)
{
    (void)cls;
    if (LOG_DEBUG < log_threshold) {
        return;
    }
    char text[256];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_DEBUG, "http_library", "libmicrohttpd says", KV("text", (const char *)text));
}

/* Every session gets credentials of ours before its handshake (http_tls_begin): libmicrohttpd's own,
 * which it wants to have, are never asked. */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *ca_names, int ca_count,
                          const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                          gnutls_pcert_st **certificates, unsigned *count, gnutls_privkey_t *key)
{
    (void)session, (void)ca_names, (void)ca_count, (void)algorithms, (void)algorithm_count;
    (void)certificates, (void)count, (void)key;
    return -1;
}

static struct MHD_Daemon *daemon_start(struct http_worker *worker)
{
    static char priorities[] = HTTP_TLS_PRIORITIES;
    const unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME |
                           MHD_USE_ERROR_LOG | (worker->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, priorities},
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)no_certificate},
        {MHD_OPTION_END, 0, NULL}};
    const struct http_server *server = worker->server;
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, worker->listen_fd, NULL},
        /* Past ours, so that http_on_accept closes what is too much instead of leaving it
           unaccepted. */
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(server->connections_max + ACCEPT_SLACK), NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)server->config.pool_bytes, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, 0, NULL}, /* the waits are ours */
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_on_request_line, worker},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_on_completed, worker},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)http_on_connection, worker},
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_daemon_log, NULL},
#if HTTP_HAS_DISCIPLINE_LEVEL
        {MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL},
#else
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
#endif
        {worker->tls ? MHD_OPTION_ARRAY : MHD_OPTION_END, 0, tls_options},
        {MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(flags, 0, http_on_accept, worker, http_on_request, worker,
                            MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static void waits_init(struct http_worker *worker, const struct http_config *config)
{
    worker->waits[HTTP_WAIT_HEAD].timeout_us = config->header_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_IDLE].timeout_us = config->idle_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_BODY].timeout_us = config->body_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_REPLY].timeout_us = config->request_timeout_ms * 1000;
    worker->waits[HTTP_WAIT_SEND].timeout_us = config->request_timeout_ms * 1000;
}

static bool epoll_add(const struct http_worker *worker, int fd, void *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum err http_worker_open(struct http_worker *worker, struct err_info *info)
{
    waits_init(worker, &worker->server->config);
    worker->id_state = (uint64_t)clock_now_ms() * 0x9E3779B97F4A7C15u + worker->index;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->tls = worker->server->tls ? http_tls_ref(worker->server->tls) : NULL;
    worker->daemon = daemon_start(worker);
    if (worker->epoll_fd < 0 || worker->command_fd < 0 || !worker->daemon) {
        return err_set(info, ERR_IO, "HTTP worker %u: %s", worker->index, strerror(errno));
    }
    worker->mhd_fd = MHD_get_daemon_info(worker->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (!epoll_add(worker, worker->mhd_fd, worker) ||
        !epoll_add(worker, worker->command_fd, &worker->command_fd)) {
        return err_set(info, ERR_IO, "HTTP worker %u: epoll: %s", worker->index, strerror(errno));
    }
    http_metrics_worker(worker);
    return ERR_OK;
}

void http_worker_close(struct http_worker *worker)
{
    if (worker->daemon) {
        MHD_stop_daemon(worker->daemon);
        worker->daemon = NULL;
    } else if (worker->listen_fd >= 0) {
        close(worker->listen_fd);
    }
    http_linger_close_all(worker);
    closed_watches_free(worker);
    http_requests_free(worker);
    http_decoder_pool_free(&worker->decoders);
    http_tls_unref(worker->tls);
    free(worker->decoded);
    if (worker->epoll_fd >= 0) {
        close(worker->epoll_fd);
    }
    if (worker->command_fd >= 0) {
        close(worker->command_fd);
    }
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

bool http_worker_is_draining(const struct http_worker *worker)
{
    return worker->server->phase >= HTTP_DRAINING;
}
