/* floor.c - the bare floor: the least that an acknowledged POST costs with these libraries.
 *
 * It has the shape that ingest-api has (docs/architecture.md, decision D1) and nothing else: per
 * thread one SO_REUSEPORT listener, one MHD daemon without threads of its own, one producer, and
 * one epoll that holds MHD's epoll and an eventfd which librdkafka writes when delivery reports
 * wait. A request is suspended before it is produced and resumed by its own thread. No JSON, no
 * checks, no metrics, a constant answer. What ingest-api does for its users is to cost little
 * beside this. Records have no key unless --key-bytes cuts one out of the body: keys spread each
 * instant's records over all partitions, where without them they go out as one batch.
 *
 * It is honest where it counts: 201 is answered only for what Kafka has acknowledged with acks=all.
 * With --at-once nothing is produced and 202 is answered as soon as the body is there: what
 * libmicrohttpd gives when it waits for nobody.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    BODY_BYTES_MAX = 2048,
    CONNECTIONS_MAX = 4096,
    CONNECTION_POOL_BYTES = 16 * 1024,
    BACKLOG = 1024,
    THREADS_MAX = 64,
};

static const char STORED[] = "{\"status\":\"stored\",\"topic\":\"orders\",\"partition\":0,"
                             "\"offset\":0,\"timestamp\":0}";

static const char TAKEN[] = "{\"status\":\"accepted\",\"topic\":\"orders\"}";

enum request_state { REQUEST_READING, REQUEST_PRODUCED, REQUEST_STORED, REQUEST_FAILED };

/* Lives from a request's first call to its completion, then goes back to the worker's free list. */
struct request {
    struct MHD_Connection *connection;
    struct request *next_free;
    enum request_state state;
    size_t body_bytes;
    char body[BODY_BYTES_MAX];
};

/* Everything here is used by the worker's own thread only. */
struct worker {
    pthread_t thread;
    uint16_t port;
    int epoll_fd;
    int wake_fd; /* written by librdkafka when reports wait, and by main to stop */
    struct MHD_Daemon *daemon;
    struct MHD_Response *stored;
    struct MHD_Response *failed;
    struct MHD_Response *taken;
    bool is_at_once;
    rd_kafka_t *producer;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *reports;
    size_t key_at, key_bytes; /* of the body; 0 bytes: null key */
    struct request *free_list;
    int suspended;
};

static atomic_bool is_stopping;

static struct request *request_take(struct worker *worker, struct MHD_Connection *connection)
{
    struct request *request = worker->free_list;
    if (request) {
        worker->free_list = request->next_free;
    } else {
        request = malloc(sizeof *request);
        if (!request) {
            return NULL;
        }
    }
    request->connection = connection;
    request->state = REQUEST_READING;
    request->body_bytes = 0;
    return request;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    (void)code;
    struct worker *worker = context;
    struct request *request = *slot;
    if (request) {
        request->next_free = worker->free_list;
        worker->free_list = request;
        *slot = NULL;
    }
}

/* The report may be in before rd_kafka_produce() returns, so the connection is suspended first.
 * The body stays in the request until then: librdkafka sends from it without a copy. */
static void request_produce(struct worker *worker, struct request *request)
{
    MHD_suspend_connection(request->connection);
    request->state = REQUEST_PRODUCED;
    worker->suspended++;
    bool has_key = worker->key_bytes && worker->key_at + worker->key_bytes <= request->body_bytes;
    if (rd_kafka_produce(worker->topic, RD_KAFKA_PARTITION_UA, 0, request->body,
                         request->body_bytes, has_key ? request->body + worker->key_at : NULL,
                         has_key ? worker->key_bytes : 0, request)) {
        request->state = REQUEST_FAILED;
        worker->suspended--;
        MHD_resume_connection(request->connection);
    }
}

static enum MHD_Result request_answer(struct worker *worker, struct request *request)
{
    if (request->state == REQUEST_STORED) {
        return MHD_queue_response(request->connection, MHD_HTTP_CREATED, worker->stored);
    }
    return MHD_queue_response(request->connection, MHD_HTTP_SERVICE_UNAVAILABLE, worker->failed);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_bytes, void **slot)
{
    (void)url;
    (void)method;
    (void)version;
    struct worker *worker = context;
    struct request *request = *slot;
    if (!request) {
        /* An answer on the first call would cost the keep-alive. */
        *slot = request_take(worker, connection);
        return *slot ? MHD_YES : MHD_NO;
    }
    if (*data_bytes) {
        if (*data_bytes > BODY_BYTES_MAX - request->body_bytes) {
            return MHD_NO;
        }
        memcpy(request->body + request->body_bytes, data, *data_bytes);
        request->body_bytes += *data_bytes;
        *data_bytes = 0;
        return MHD_YES;
    }
    if (worker->is_at_once) {
        return MHD_queue_response(connection, MHD_HTTP_ACCEPTED, worker->taken);
    }
    if (request->state == REQUEST_READING) {
        request_produce(worker, request);
        return MHD_YES;
    }
    return request_answer(worker, request);
}

static void take_reports(struct worker *worker)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(worker->reports, 0))) {
        const rd_kafka_message_t *message;
        while ((message = rd_kafka_event_message_next(event))) {
            struct request *request = message->_private;
            request->state = message->err ? REQUEST_FAILED : REQUEST_STORED;
            worker->suspended--;
            MHD_resume_connection(request->connection);
        }
        rd_kafka_event_destroy(event);
    }
}

/* MHD may hold work that its epoll does not show: its own time-out has to be asked for. */
static int wait_ms(struct worker *worker)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(worker->daemon, &ms) == MHD_NO) {
        return -1;
    }
    return ms > 1000 ? 1000 : (int)ms;
}

static void turn(struct worker *worker)
{
    struct epoll_event ready[2];
    epoll_wait(worker->epoll_fd, ready, 2, wait_ms(worker));
    take_reports(worker);
    MHD_run(worker->daemon);
}

/* MHD must not be stopped while a connection is suspended: every report is awaited first. */
static void *worker_run(void *context)
{
    struct worker *worker = context;
    while (!atomic_load_explicit(&is_stopping, memory_order_relaxed)) {
        turn(worker);
    }
    int listener = MHD_quiesce_daemon(worker->daemon);
    while (worker->suspended > 0) {
        turn(worker);
    }
    MHD_stop_daemon(worker->daemon);
    close(listener);
    return NULL;
}

static void watch_fd(struct worker *worker, int fd, uint32_t events)
{
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events})) {
        bench_die("epoll_ctl: %s", strerror(errno));
    }
}

static struct MHD_Response *json_response(const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/json");
    return response;
}

static void start_http(struct worker *worker)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(worker->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    worker->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME, worker->port, NULL, NULL,
        on_request, worker, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
        MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_LISTEN_BACKLOG_SIZE, (unsigned)BACKLOG,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_POOL_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, worker,
        MHD_OPTION_END);
    if (!worker->daemon) {
        bench_die("cannot listen on 127.0.0.1:%u", (unsigned)worker->port);
    }
    worker->stored = json_response(STORED);
    worker->taken = json_response(TAKEN);
    worker->failed = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    watch_fd(worker, MHD_get_daemon_info(worker->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
             EPOLLIN);
}

static void start_producer(struct worker *worker, const struct bench_option *options)
{
    const struct bench_setting settings[] = {
        {"acks", "all"},
        {"partitioner", "murmur2_random"},
        {"linger.ms", bench_text(options, "linger-ms")},
        {"socket.nagle.disable", "true"},
        {"message.timeout.ms", "5000"},
        {"queue.buffering.max.messages", "1000000"},
        {0},
    };
    worker->producer = bench_client(RD_KAFKA_PRODUCER, bench_text(options, "bootstrap"), settings,
                                    RD_KAFKA_EVENT_DR);
    worker->topic = rd_kafka_topic_new(worker->producer, bench_text(options, "topic"), NULL);
    worker->reports = rd_kafka_queue_get_main(worker->producer);
    rd_kafka_queue_io_event_enable(worker->reports, worker->wake_fd, &(uint64_t){1}, 8);
}

static void worker_start(struct worker *worker, const struct bench_option *options)
{
    worker->port = (uint16_t)bench_number(options, "port");
    worker->key_at = (size_t)bench_number(options, "key-at");
    worker->key_bytes = (size_t)bench_number(options, "key-bytes");
    worker->is_at_once = bench_number(options, "at-once") != 0;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Edge-triggered, so that it need never be read: every write is news. */
    watch_fd(worker, worker->wake_fd, EPOLLIN | EPOLLET);
    start_producer(worker, options);
    start_http(worker);
    if (pthread_create(&worker->thread, NULL, worker_run, worker)) {
        bench_die("no thread");
    }
}

static void worker_stop(struct worker *worker)
{
    uint64_t one = 1;
    if (write(worker->wake_fd, &one, sizeof one) != sizeof one) {
        bench_die("eventfd: %s", strerror(errno));
    }
    pthread_join(worker->thread, NULL);
    MHD_destroy_response(worker->stored);
    MHD_destroy_response(worker->failed);
    MHD_destroy_response(worker->taken);
    rd_kafka_queue_destroy(worker->reports);
    rd_kafka_topic_destroy(worker->topic);
    rd_kafka_destroy(worker->producer);
    close(worker->wake_fd);
    close(worker->epoll_fd);
    while (worker->free_list) {
        struct request *request = worker->free_list;
        worker->free_list = request->next_free;
        free(request);
    }
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"bootstrap", "127.0.0.1:9092", "Kafka's address"},
        {"topic", "orders", "where every body goes"},
        {"port", NULL, "on 127.0.0.1"},
        {"threads", "1", "event loops"},
        {"linger-ms", "1", "the producers' linger.ms"},
        {"key-at", "0", "where in each body the record's key begins"},
        {"key-bytes", "0", "and how long it is; 0: records without a key"},
        {"at-once", "0", "1: produce nothing, answer 202 at once"},
        {0},
    };
    bench_parse(argc, argv, options);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    static struct worker workers[THREADS_MAX];
    int threads = (int)bench_number(options, "threads");
    if (threads < 1 || threads > THREADS_MAX) {
        bench_die("--threads: 1 to %d", THREADS_MAX);
    }
    for (int i = 0; i < threads; i++) {
        worker_start(&workers[i], options);
    }
    fprintf(stderr, "{\"event\":\"ready\",\"host\":\"127.0.0.1\",\"port\":%u}\n",
            (unsigned)workers[0].port);
    int signal;
    sigwait(&signals, &signal);
    atomic_store(&is_stopping, true);
    for (int i = 0; i < threads; i++) {
        worker_stop(&workers[i]);
    }
    return 0;
}
