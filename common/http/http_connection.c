/* A connection: what comes is fed to its requests, one after another, and what they answer is sent.
 *
 *   accept ──► (TLS' handshake) ──► head ──► body ──► answer ──► head …
 *                                    │                  │
 *                                    └── the end ◄──────┴──► linger
 *
 * epoll tells once when a socket has become readable or writable (EPOLLET), so that a request costs no
 * call to epoll_ctl: `is_readable` remembers it. What is read lands in a room that all connections of a
 * worker share; only what cannot be used at once, most of a head or a request that came too early, is
 * kept in the connection's own. While a request waits for its answer nothing is read: the socket's
 * buffers fill, and TCP slows the client down.
 *
 * A step does one thing and says whether there is another. After STEPS_MAX of them the next connection
 * has its turn, and this one goes on later (worker->again).
 *
 * Who closes a socket with unread bytes makes the kernel send a reset, which destroys the answer on its
 * way: after an answer that did not wait for the request's end the connection lingers. Nothing more is
 * sent, and what still comes is dropped, until the client closes or the time is up. */
#define _GNU_SOURCE /* accept4 */
#include "http/http_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"

#define INPUT_BYTES 65536
#define AHEAD_BYTES 16384 /* what may be read and not be wanted yet, a connection */
#define STEPS_MAX   16
#define ACCEPTS_MAX 64
#define LINGER_MAX  256 /* a worker; more are closed at once */

enum step {
    STEP_GO_ON, /* there is more to do */
    STEP_WAIT,  /* for an event, an answer, or a reader that pauses */
    STEP_OVER,  /* the connection is closed, or no longer ours */
};

/* --- beginning and end ------------------------------------------------------------------------ */

static void on_ready(void *context, uint32_t events);

static struct http_connection *connection_new(struct http_worker *worker)
{
    struct http_connection *connection = worker->free_connections;
    if (connection) {
        worker->free_connections = connection->next;
    } else {
        connection = must_alloc(sizeof *connection);
    }
    *connection = (struct http_connection){.worker = worker};
    buf_init(&connection->in, SIZE_MAX / 2); /* bounded by who fills it */
    http_counter_add(&worker->connections, 1);
    worker->server->connections++;
    return connection;
}

/* Of the descriptor's and the session's, which a stream has taken over or that end here. */
static void socket_close(struct http_connection *connection)
{
    if (connection->session) {
        gnutls_deinit(connection->session);
    }
    http_tls_rest_free(&connection->rest);
    http_tls_unref(connection->tls);
    if (connection->watch.fd >= 0) {
        close(connection->watch.fd); /* epoll forgets it */
    }
}

void http_connection_close(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    CHECK(!connection->is_closed);
    if (connection->request) {
        http_request_end(connection->request);
    }
    worker->linger_count -= connection->wait == HTTP_WAIT_LINGER ? 1 : 0;
    http_wait_enter(connection, HTTP_WAIT_NONE);
    socket_close(connection);
    free(TAKE(connection->peer));
    buf_free(&connection->in);
    http_counter_add(&worker->connections, -1);
    worker->server->connections--;
    connection->watch.is_closed = connection->is_closed = true;
    if (!connection->is_again) { /* else http_connections_run finds it */
        connection->next = worker->closed;
        worker->closed = connection;
    }
}

void http_connections_free(struct http_worker *worker)
{
    while (worker->closed) {
        struct http_connection *connection = worker->closed;
        worker->closed = connection->next;
        connection->next = worker->free_connections;
        worker->free_connections = connection;
    }
}

static bool session_begin(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    if (!worker->tls) {
        return true;
    }
    connection->session = http_tls_session(worker->tls, connection->watch.fd);
    connection->tls = connection->session ? http_tls_ref(worker->tls) : NULL;
    connection->is_greeting = true;
    return connection->session != NULL;
}

static void connection_begin(struct http_worker *worker, int fd, const struct sockaddr *address,
                             socklen_t bytes)
{
    struct http_connection *connection = connection_new(worker);
    const int on = 1;
    /* An answer leaves at once; failing to say so delays, it does not break. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    memcpy(&connection->address, address,
           bytes < sizeof connection->address ? bytes : sizeof connection->address);
    http_client_note(connection);
    connection->watch.fd = fd;
    http_wait_enter(connection, HTTP_WAIT_HEAD);
    if (!session_begin(connection) ||
        !http_watch_open(&connection->watch, worker, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                         on_ready, connection)) {
        http_connection_close(connection);
    }
}

/* No descriptor is left: the next look at the gauges tries again. */
static void accept_failed(struct http_worker *worker)
{
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_event(LOG_WARN, "http_accept_failed", "connections wait until descriptors are free",
                  KV("reason", (const char *)strerror(errno)));
        http_watch_events(&worker->listen_watch, 0);
        worker->is_listening = false;
    }
}

void http_connections_accept(void *context, uint32_t events)
{
    (void)events;
    struct http_worker *worker = context;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage address;
        socklen_t bytes = sizeof address;
        const int fd = accept4(worker->listen_fd, (struct sockaddr *)&address, &bytes,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == ECONNABORTED) {
            continue;
        }
        if (fd < 0) {
            accept_failed(worker);
            return;
        }
        if (worker->server->connections >= worker->server->connections_max) {
            http_metrics_refused(HTTP_REFUSED_CONNECTIONS);
            close(fd);
        } else {
            connection_begin(worker, fd, (struct sockaddr *)&address, bytes);
        }
    }
}

char *http_connection_room(void)
{
    return must_alloc(INPUT_BYTES);
}

/* --- reading ---------------------------------------------------------------------------------- */

static ssize_t plain_read(struct http_connection *connection, char *bytes, size_t len)
{
    const ssize_t count = recv(connection->watch.fd, bytes, len, 0);
    if (count < 0) {
        connection->is_readable = errno == EINTR;
    } else if ((size_t)count < len) {
        connection->is_readable = connection->is_ended; /* the end is still to be read */
    }
    return count;
}

/* A session that has nothing to give may have read something all the same, a key update or an alert,
 * and left what is behind it in the socket: whether that is empty only the socket knows. */
static ssize_t session_read(struct http_connection *connection, char *bytes, size_t len)
{
    const ssize_t count = http_tls_recv(connection->session, bytes, len);
    if (count < 0) {
        const int error = errno;
        char next;
        connection->is_readable = recv(connection->watch.fd, &next, 1, MSG_PEEK) >= 0;
        errno = error;
    }
    return count;
}

/* As recv. Remembers whether another may find something. */
static ssize_t input_read(struct http_connection *connection, char *bytes, size_t len)
{
    return connection->session ? session_read(connection, bytes, len)
                               : plain_read(connection, bytes, len);
}

/* What comes behind the request would have to be kept: not much of it is asked for. */
static size_t input_wanted(const struct http_connection *connection)
{
    const struct http_request *request = connection->request;
    if (!request || request->head.is_chunked || connection->session) {
        return AHEAD_BYTES;
    }
    return request->body_left < INPUT_BYTES ? (size_t)request->body_left : INPUT_BYTES;
}

/* Drops what comes. */
static enum step linger_step(struct http_connection *connection)
{
    if (!connection->is_readable) {
        return STEP_WAIT;
    }
    const ssize_t count =
        recv(connection->watch.fd, connection->worker->input, INPUT_BYTES, MSG_DONTWAIT);
    if (count > 0 || (count < 0 && errno == EINTR)) {
        return STEP_GO_ON;
    }
    if (count < 0 && errno == EAGAIN) {
        connection->is_readable = false;
        return STEP_WAIT;
    }
    http_connection_close(connection);
    return STEP_OVER;
}

static enum step greet_step(struct http_connection *connection)
{
    const int result = gnutls_handshake(connection->session);
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED) {
        return result == GNUTLS_E_AGAIN ? STEP_WAIT : STEP_GO_ON;
    }
    if (result < 0 && gnutls_error_is_fatal(result)) {
        (void)gnutls_alert_send_appropriate(connection->session, result); /* as far as it goes */
        http_connection_close(connection);
        return STEP_OVER;
    }
    connection->is_greeting = result < 0;
    return STEP_GO_ON;
}

/* --- feeding ---------------------------------------------------------------------------------- */

/* Blank lines before a request line are ignored (RFC 9112 §2.2). */
static struct strview blank_skip(struct strview in)
{
    while (in.len >= 2 && in.ptr[0] == '\r' && in.ptr[1] == '\n') {
        in = sv_of(in.ptr + 2, in.len - 2);
    }
    return in;
}

static void head_feed(struct http_connection *connection, struct strview *in)
{
    const size_t bytes_max = (size_t)connection->worker->server->config.head_bytes_max;
    const char *fault;
    if (!connection->looked) {
        *in = blank_skip(*in);
    }
    const size_t len = http_wire_head_end(*in, &connection->looked, &fault);
    if (fault) {
        http_request_refuse(connection, ERR_REQUEST_AMBIGUOUS, fault);
    } else if (len > bytes_max || (!len && in->len > bytes_max)) {
        http_request_refuse(connection, ERR_HEADERS_TOO_LARGE, NULL);
    } else if (!len) {
        connection->is_hungry = true;
        if (in->len && connection->wait == HTTP_WAIT_IDLE) { /* its time runs from the first byte */
            http_wait_enter(connection, HTTP_WAIT_HEAD);
        }
        return;
    } else {
        http_request_begin(connection, sv_of(in->ptr, len));
        *in = sv_of(in->ptr + len, in->len - len);
    }
    connection->looked = 0;
}

/* A client that asks first is told to go on, unless the body has already begun. */
static void continue_say(struct http_connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *request = connection->request;
    const struct iovec part = {(void *)(uintptr_t)text, sizeof text - 1};
    if (request->state != HTTP_REQUEST_BODY || request->is_body_in ||
        !request->head.expects_continue) {
        return;
    }
    /* Nothing else is on its way, so that the socket takes it. */
    (void)!(connection->session ? http_tls_send(connection->session, &connection->rest, &part, 1)
                                : http_socket_send(connection->watch.fd, &part, 1));
}

static void feed(struct http_connection *connection, struct strview *in)
{
    if (!connection->request) {
        head_feed(connection, in);
        if (connection->request && !in->len) {
            continue_say(connection);
        }
    }
    if (connection->request) {
        http_body_feed(connection->request, in);
    }
}

/* What was not used stays, in front of what comes next. */
static void rest_keep(struct http_connection *connection, struct strview rest)
{
    struct buf *in = &connection->in;
    if (!rest.len) {
        buf_free(in);
        return;
    }
    if (in->len) {
        memmove(in->data, rest.ptr, rest.len); /* it is the end of what is there */
        in->len = rest.len;
    } else {
        CHECK(buf_append(in, rest.ptr, rest.len) == ERR_OK);
    }
}

static enum step input_step(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    struct strview in = buf_view(&connection->in);
    if (connection->is_due) {
        connection->is_due = false;
    } else if (!in.len || connection->is_hungry) {
        if (!connection->is_readable) {
            return STEP_WAIT;
        }
        const ssize_t count = input_read(connection, worker->input, input_wanted(connection));
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return connection->is_readable ? STEP_GO_ON : STEP_WAIT;
        }
        if (count <= 0) { /* the end, or a reset */
            http_connection_close(connection);
            return STEP_OVER;
        }
        connection->is_hungry = false;
        if (in.len) {
            CHECK(buf_append(&connection->in, worker->input, (size_t)count) == ERR_OK);
            in = buf_view(&connection->in);
        } else {
            in = sv_of(worker->input, (size_t)count);
        }
    }
    feed(connection, &in);
    rest_keep(connection, in);
    return STEP_GO_ON;
}

/* --- answering -------------------------------------------------------------------------------- */

static enum step connection_finish(struct http_connection *connection, bool lingers)
{
    struct http_worker *worker = connection->worker;
    if (connection->session) {
        (void)gnutls_bye(connection->session, GNUTLS_SHUT_WR); /* as far as the socket takes it */
    }
    if (!lingers || worker->linger_count >= LINGER_MAX) {
        http_connection_close(connection);
        return STEP_OVER;
    }
    (void)shutdown(connection->watch.fd, SHUT_WR); /* fails when the connection is over: as good */
    http_wait_enter(connection, HTTP_WAIT_LINGER);
    worker->linger_count++;
    connection->is_readable = true;
    buf_free(&connection->in);
    return STEP_GO_ON;
}

static enum step answer_step(struct http_connection *connection)
{
    struct http_request *request = connection->request;
    const int sent = http_reply_send(request);
    if (sent == 0) {
        if (connection->wait != HTTP_WAIT_SEND) {
            http_wait_enter(connection, HTTP_WAIT_SEND);
        }
        return STEP_WAIT;
    }
    if (sent < 0) {
        http_connection_close(connection);
        return STEP_OVER;
    }
    const bool is_last = request->is_last;
    const bool has_more = !request->is_body_in || connection->in.len || connection->is_readable;
    http_request_end(request);
    if (is_last) {
        return connection_finish(connection, has_more);
    }
    http_wait_enter(connection, HTTP_WAIT_IDLE);
    return STEP_GO_ON;
}

/* --- the steps -------------------------------------------------------------------------------- */

static enum step request_step(struct http_connection *connection)
{
    const struct http_request *request = connection->request;
    switch (request->state) {
    case HTTP_REQUEST_REPLIED:
        return answer_step(connection);
    case HTTP_REQUEST_TAKEN: /* the stream has the descriptor and the session */
        http_connection_close(connection);
        return STEP_OVER;
    case HTTP_REQUEST_DEFERRED:
        return STEP_WAIT;
    case HTTP_REQUEST_BODY:
    case HTTP_REQUEST_DISCARD:
        return request->is_paused ? STEP_WAIT : input_step(connection);
    case HTTP_REQUEST_HEAD:
    case HTTP_REQUEST_OPENING:
    case HTTP_REQUEST_RUNNING:
        break;
    }
    CHECK(false); /* left only on the stack */
    return STEP_OVER;
}

static enum step connection_step(struct http_connection *connection)
{
    if (connection->wait == HTTP_WAIT_LINGER) {
        return linger_step(connection);
    }
    if (connection->is_greeting) {
        return greet_step(connection);
    }
    return connection->request ? request_step(connection) : input_step(connection);
}

static void connection_run(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    enum step step = STEP_GO_ON;
    worker->running = connection;
    for (int i = 0; i < STEPS_MAX && step == STEP_GO_ON; i++) {
        step = connection_step(connection);
    }
    worker->running = NULL;
    if (step == STEP_GO_ON) {
        http_connection_again(connection);
    }
}

static void on_ready(void *context, uint32_t events)
{
    struct http_connection *connection = context;
    connection->is_ended |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    connection->is_readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
    if (events & (EPOLLERR | EPOLLHUP)) { /* nobody is there to be answered */
        http_connection_close(connection);
    } else {
        connection_run(connection);
    }
}

void http_connection_again(struct http_connection *connection)
{
    struct http_worker *worker = connection->worker;
    if (connection->is_again || worker->running == connection) {
        return;
    }
    connection->is_again = true;
    connection->next = NULL;
    *(worker->again_last ? &worker->again_last->next : &worker->again_first) = connection;
    worker->again_last = connection;
}

/* Those that come in meanwhile have the next turn. */
void http_connections_run(struct http_worker *worker)
{
    struct http_connection *connection = worker->again_first;
    worker->again_first = worker->again_last = NULL;
    while (connection) {
        struct http_connection *next = connection->next;
        connection->is_again = false;
        if (connection->is_closed) {
            connection->next = worker->closed;
            worker->closed = connection;
        } else {
            connection_run(connection);
        }
        connection = next;
    }
}
