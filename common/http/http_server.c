#include "http/http_internal.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"

#define THREADS_MAX          64
#define BACKLOG              4096
#define DESCRIPTORS_RESERVED 256 /* files, Kafka's sockets, listeners */

#define ROW(field, key, kind, value, min, max, help)                                               \
    CONFIG_ROW(struct http_config, field, "http." key, kind, value, min, max, help)
const struct config_option http_options[] = {
    ROW(host, "host", STRING, "127.0.0.1", 0, 0, "Address to listen on."),
    ROW(port, "port", INT, "8080", 0, 65535, "Port to listen on; 0 takes any free one."),
    ROW(threads, "threads", INT, "0", 0, THREADS_MAX, "Worker threads; 0 is one a core."),
    ROW(connections_max, "connections.max", INT, "10000", 1, 1e6,
        "Connections open at once; more are closed as they come."),
    ROW(body_bytes_max, "body.bytes.max", SIZE, "1MiB", 1024, 256.0 * (1 << 20),
        "Largest request body, its content coding undone; larger ones get 413."),
    ROW(streamed_bytes_max, "body.streamed.bytes.max", SIZE, "1GiB", 1024, 1e15,
        "Largest body of a request that is worked on as it arrives; larger ones get 413."),
    ROW(streamed_timeout_ms, "body.streamed.timeout", DURATION, "10m", 10, 86400e3,
        "How long such a body may take in all; http.body.timeout is how long it may stall."),
    ROW(inflight_bytes_max, "inflight.bytes.max", SIZE, "64MiB", 1024, 1e12,
        "Bytes of request bodies, and of what decodes them, held at once; past it 503."),
    ROW(header_timeout_ms, "header.timeout", DURATION, "10s", 10, 3600e3,
        "From a connection, or a request line, to a complete request head."),
    ROW(body_timeout_ms, "body.timeout", DURATION, "30s", 10, 3600e3,
        "From a complete head to a complete body; then 408."),
    ROW(idle_timeout_ms, "idle.timeout", DURATION, "60s", 10, 86400e3,
        "How long a connection may stay open between requests."),
    ROW(request_timeout_ms, "request.timeout", DURATION, "30s", 10, 3600e3,
        "From a complete request to its answer; then 503. Also how long a client may take nothing "
        "of its answer."),
    ROW(head_bytes_max, "head.bytes.max", SIZE, "16KiB", 1024, 1 << 20,
        "Largest request head, request line and fields; larger ones get 431."),
    ROW(client_rate, "client.rate", FLOAT, "0", 0, 1e6,
        "Requests a second that one client address (IPv6: /64) may make, health and metrics not "
        "counted; past it 429. 0 is no limit."),
    ROW(client_burst_ms, "client.burst", DURATION, "5s", 1, 3600e3,
        "How much of that rate may come at once after a pause."),
    ROW(cors_origins, "cors.origins", STRING, "", 0, 0,
        "Origins that browsers may call from: a comma list, * for any, nothing for none."),
    ROW(tls_cert_file, "tls.cert.file", STRING, "", 0, 0,
        "Certificate chain (PEM), the server's first: TLS 1.2 and 1.3 instead of plain HTTP. Read "
        "anew on SIGHUP."),
    ROW(tls_key_file, "tls.key.file", STRING, "", 0, 0, "Its private key (PEM)."),
    ROW(tls_client_ca_file, "tls.client_ca.file", STRING, "", 0, 0,
        "Certificates (PEM) that client certificates have to lead to."),
    CONFIG_CHOICE_ROW(struct http_config, tls_client_auth, "http.tls.client_auth", "none",
                      "none|optional|required",
                      "Whether clients are asked for a certificate, and whether they need one."),
};
const size_t http_options_count = ARRAY_LEN(http_options);
#undef ROW

struct threads {
    unsigned started;
    pthread_t ids[THREADS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ready; /* workers whose start hook has returned; under lock */
    enum err failed;
    struct err_info info;
};

/* --- listeners
 * ------------------------------------------------------------------------------------- */

struct address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

static enum err address_resolve(const struct http_config *config, struct address *ret,
                                struct err_info *info)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM};
    char port[16];
    snprintf(port, sizeof port, "%d", (int)config->port);
    struct addrinfo *found = NULL;
    const char *host = *config->host ? config->host : NULL;
    const int failed = getaddrinfo(host, port, &hints, &found);
    if (failed) {
        return err_set(info, ERR_CONFIG, "http.host \"%s\": %s", config->host,
                       gai_strerror(failed));
    }
    memcpy(&ret->storage, found->ai_addr, found->ai_addrlen);
    ret->bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return ERR_OK;
}

static int socket_bind(const struct address *address, bool is_shared)
{
    const int on = 1;
    const int fd =
        socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
        bind(fd, (const struct sockaddr *)&address->storage, address->bytes)) {
        const int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static in_port_t *address_port(struct address *address)
{
    return address->storage.ss_family == AF_INET6
               ? &((struct sockaddr_in6 *)&address->storage)->sin6_port
               : &((struct sockaddr_in *)&address->storage)->sin_port;
}

static enum err listen_failed(const struct http_server *server, struct err_info *info)
{
    return err_set(info, ERR_IO, "cannot listen on %s port %d: %s", server->config.host,
                   (int)server->config.port, strerror(errno));
}

/* SO_REUSEPORT would let a second process share the port in silence, and take half of our clients.
 * Binding once without it first finds out. */
static bool port_is_free(const struct address *address)
{
    const int fd = socket_bind(address, false);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static enum err listeners_open(struct http_server *server, struct err_info *info)
{
    struct address address = {0};
    enum err e = address_resolve(&server->config, &address, info);
    if (e) {
        return e;
    }
    const bool is_shared = server->worker_count > 1;
    if (is_shared && server->config.port && !port_is_free(&address)) {
        return listen_failed(server, info);
    }
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct http_worker *worker = &server->workers[i];
        worker->listen_fd = socket_bind(&address, is_shared);
        if (worker->listen_fd < 0 || listen(worker->listen_fd, BACKLOG) ||
            getsockname(worker->listen_fd, (struct sockaddr *)&address.storage, &address.bytes)) {
            return listen_failed(server, info);
        }
    }
    server->port = ntohs(*address_port(&address));
    return ERR_OK;
}

/* --- limits
 * ---------------------------------------------------------------------------------------- */

/* Raises the soft limit to the hard one; connections_max is what fits under it. */
static int64_t descriptors_for_connections(int64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) {
        return wanted;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* read back below */
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    const int64_t room =
        limit.rlim_cur == RLIM_INFINITY ? wanted : (int64_t)limit.rlim_cur - DESCRIPTORS_RESERVED;
    if (room >= wanted) {
        return wanted;
    }
    log_event(LOG_WARN, "http_connections_limited",
              "RLIMIT_NOFILE allows fewer connections than http.connections.max",
              KV("wanted", wanted), KV("allowed", room));
    return room > 16 ? room : 16;
}

static unsigned threads_wanted(const struct http_config *config)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int64_t wanted = config->threads ? config->threads : cores;
    return (unsigned)(wanted < 1 ? 1 : wanted > THREADS_MAX ? THREADS_MAX : wanted);
}

/* --- threads
 * --------------------------------------------------------------------------------------- */

static enum err worker_start_hook(struct http_worker *worker)
{
    const struct http_worker_hooks *hooks = &worker->server->hooks;
    return hooks->start ? hooks->start(worker, hooks->context, &worker->state) : ERR_OK;
}

static void *worker_main(void *cls)
{
    struct http_worker *worker = cls;
    struct threads *threads = worker->server->threads;
    const enum err e = worker_start_hook(worker);
    pthread_mutex_lock(&threads->lock);
    threads->ready++;
    if (e && !threads->failed) {
        threads->failed = e;
        (void)err_set(&threads->info, e, "HTTP worker %u could not start", worker->index);
    }
    pthread_cond_broadcast(&threads->changed);
    while (threads->ready < worker->server->worker_count && !threads->failed) {
        pthread_cond_wait(&threads->changed, &threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
    if (!e) {
        http_worker_run(worker); /* ends at once when another worker failed: the server stops */
    }
    return NULL;
}

/* Signals are for the main thread. */
static enum err threads_start(struct http_server *server, struct err_info *info)
{
    struct threads *threads = server->threads;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (unsigned i = 0; i < server->worker_count && !failed; i++) {
        failed = pthread_create(&threads->ids[i], NULL, worker_main, &server->workers[i]);
        threads->started += failed ? 0 : 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_lock(&threads->lock);
    if (failed) {
        threads->failed = err_set(&threads->info, ERR_IO, "thread: %s", strerror(failed));
        pthread_cond_broadcast(&threads->changed);
    }
    while (threads->ready < server->worker_count && !threads->failed) {
        pthread_cond_wait(&threads->changed, &threads->lock);
    }
    const enum err e = threads->failed;
    if (e && info) {
        *info = threads->info;
    }
    pthread_mutex_unlock(&threads->lock);
    return e;
}

/* --- the server
 * -------------------------------------------------------------------------------------- */

static struct http_server *server_new(const struct http_server_params *params)
{
    struct http_server *server = must_alloc(sizeof *server);
    struct threads *threads = must_alloc(sizeof *threads);
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->changed, NULL);
    server->threads = threads;
    server->config = *params->config;
    server->hooks = params->hooks;
    server->worker_count = threads_wanted(params->config);
    server->errand.done_fd = eventfd(0, EFD_CLOEXEC);
    CHECK(server->errand.done_fd >= 0);
    server->workers = must_alloc(server->worker_count * sizeof *server->workers);
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct http_worker *worker = &server->workers[i];
        worker->server = server;
        worker->index = i;
        worker->epoll_fd = worker->command_fd = worker->listen_fd = -1;
    }
    return server;
}

static enum err server_open(struct http_server *server, const struct http_server_params *params,
                            struct err_info *info)
{
    enum err e = http_route_table_new(params->sets, params->set_count, &server->routes, info);
    if (!e && http_tls_is_wanted(&server->config)) {
        e = http_tls_new(&server->config, &server->tls, info);
    }
    if (!e) {
        e = listeners_open(server, info);
    }
    server->connections_max = descriptors_for_connections(server->config.connections_max);
    http_metrics_start();
    http_client_start(server);
    for (unsigned i = 0; i < server->worker_count && !e; i++) {
        e = http_worker_open(&server->workers[i], info);
    }
    return e;
}

enum err http_server_start(const struct http_server_params *params, struct http_server **ret,
                           struct err_info *info)
{
    struct http_server *server = server_new(params);
    enum err e = server_open(server, params, info);
    if (!e) {
        e = threads_start(server, info);
    }
    if (e) {
        http_server_stop(server);
        return e;
    }
    log_event(LOG_DEBUG, "http_started", "the HTTP server listens", KV("host", server->config.host),
              KV("port", (int)server->port), KV("threads", (int)server->worker_count));
    *ret = server;
    return ERR_OK;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

static void phase_set(struct http_server *server, enum http_phase phase)
{
    server->phase = phase;
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (server->workers[i].command_fd >= 0) {
            http_worker_wake(&server->workers[i]);
        }
    }
}

void http_server_on_workers(struct http_server *server,
                            void (*run)(struct http_worker *worker, void *context), void *context)
{
    struct http_errand *errand = &server->errand;
    CHECK(server->phase == HTTP_SERVING);
    errand->run = run;
    errand->context = context;
    errand->left = server->worker_count;
    errand->serial++;
    for (unsigned i = 0; i < server->worker_count; i++) {
        http_worker_wake(&server->workers[i]);
    }
    uint64_t done;
    ssize_t got;
    do {
        got = read(errand->done_fd, &done, sizeof done);
    } while (got < 0 && errno == EINTR);
    CHECK(got == sizeof done);
}

static void worker_take_tls(struct http_worker *worker, void *context)
{
    http_tls_unref(worker->tls);
    worker->tls = http_tls_ref(context);
}

enum err http_server_reload_tls(struct http_server *server, struct err_info *info)
{
    struct http_tls *tls = NULL;
    const enum err e = http_tls_new(&server->config, &tls, info);
    if (!e) {
        http_server_on_workers(server, worker_take_tls, tls);
        http_tls_unref(server->tls);
        server->tls = tls;
    }
    return e;
}

enum err http_config_check(const struct http_config *config, struct err_info *info)
{
    struct http_tls *tls = NULL;
    const enum err e = http_tls_is_wanted(config) ? http_tls_new(config, &tls, info) : ERR_OK;
    http_tls_unref(tls);
    return e;
}

/* Requests and streams. */
static int64_t all_inflight(const struct http_server *server)
{
    int64_t count = 0;
    for (unsigned i = 0; i < server->worker_count; i++) {
        count += server->workers[i].requests + server->workers[i].streams;
    }
    return count;
}

void http_server_leave(struct http_server *server)
{
    phase_set(server, HTTP_LEAVING);
}

bool http_server_drain(struct http_server *server, int64_t timeout_ms)
{
    const int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    phase_set(server, HTTP_DRAINING);
    /* A look every 5 ms, once in a process's life: not worth a way to be woken. */
    while (all_inflight(server) > 0) {
        if (clock_mono_us() >= until_us) {
            return false;
        }
        usleep(5000);
    }
    return true;
}

void http_server_stop(struct http_server *server)
{
    if (!server) {
        return;
    }
    struct threads *threads = server->threads;
    phase_set(server, HTTP_STOPPING);
    for (unsigned i = 0; i < threads->started; i++) {
        pthread_join(threads->ids[i], NULL);
    }
    for (unsigned i = 0; i < server->worker_count; i++) {
        http_worker_close(&server->workers[i]);
    }
    pthread_cond_destroy(&threads->changed);
    pthread_mutex_destroy(&threads->lock);
    http_route_table_free(server->routes);
    http_tls_unref(server->tls);
    rate_limiter_free(server->client_rate);
    close(server->errand.done_fd);
    free(threads);
    free(server->workers);
    free(server);
}
