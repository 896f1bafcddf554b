/* A connection leaves libmicrohttpd, so that a stream of hours costs nothing there.
 *
 * (B) The descriptor is duplicated and libmicrohttpd is told to drop the connection. With
 *     MHD_USE_TURBO it closes its own descriptor without shutdown(), so the socket lives on in the
 *     duplicate. That is behaviour, not documentation: http_stream_self_test proves it at start.
 * (A) Otherwise the connection stays suspended inside libmicrohttpd while we write to its
 *     descriptor; to end, the socket is shut down and the connection resumed. So it is with TLS as
 *     well: the session is libmicrohttpd's, and ends with the connection. */
#include "http/http_internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum err http_request_take_stream(struct http_request *request, struct http_stream *ret)
{
    CHECK(request->state == HTTP_REQUEST_RUNNING);
    struct http_worker *worker = request->connection->worker;
    int fd = request->connection->fd;
    if (worker->server->can_dup_streams && !request->connection->tls) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            return ERR_OVERLOADED;
        }
    } else {
        request->is_suspended = true;
        MHD_suspend_connection(request->mhd);
    }
    const int on = 1, off = 0;
    /* libmicrohttpd may have corked it; failing to undo that delays, it does not break. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    request->status = 200;
    request->is_streaming = true;
    request->state = HTTP_REQUEST_TAKEN;
    worker->streams++;
    *ret = (struct http_stream){.fd = fd,
                                .connection = request->is_suspended ? request : NULL,
                                .tls = request->connection->session,
                                .worker = worker};
    return ERR_OK;
}

static ssize_t plain_send(int fd, const struct iovec *parts, size_t count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, /* not written to */
                                   .msg_iovlen = count};
    return count ? sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
}

ssize_t http_stream_send(struct http_stream *stream, const struct iovec *parts, size_t count)
{
    return stream->tls ? http_tls_send(stream->tls, &stream->rest, parts, count)
                       : plain_send(stream->fd, parts, count);
}

ssize_t http_stream_recv(struct http_stream *stream, void *bytes, size_t len)
{
    return stream->tls ? http_tls_recv(stream->tls, bytes, len)
                       : recv(stream->fd, bytes, len, MSG_DONTWAIT);
}

void http_stream_finish(struct http_stream *stream)
{
    if (stream->tls) {
        (void)gnutls_bye(stream->tls, GNUTLS_SHUT_WR); /* as far as the socket takes it */
    }
    (void)shutdown(stream->fd, SHUT_WR); /* fails when the connection is over: as good */
}

void http_connection_send(struct http_connection *connection, const struct iovec *parts,
                          size_t count)
{
    if (!connection->session) {
        (void)!plain_send(connection->fd, parts, count);
        return;
    }
    struct http_stream_rest rest = {0};
    for (size_t i = 0; i < count; i++) {
        struct iovec part = parts[i];
        while (part.iov_len && !rest.len) {
            const ssize_t sent = http_tls_send(connection->session, &rest, &part, 1);
            if (sent < 0) {
                return;
            }
            part.iov_base = (char *)part.iov_base + sent;
            part.iov_len -= (size_t)sent;
        }
    }
    http_tls_rest_free(&rest);
    (void)gnutls_bye(connection->session, GNUTLS_SHUT_WR); /* as far as the socket takes it */
}

void http_stream_close(struct http_stream *stream)
{
    struct http_request *request = stream->connection;
    if (stream->worker) { /* not closed before */
        stream->worker->streams--;
    }
    if (request) {
        if (stream->tls) { /* as far as the socket takes it */
            (void)http_tls_send(stream->tls, &stream->rest, NULL, 0);
            (void)gnutls_bye(stream->tls, GNUTLS_SHUT_WR);
            http_tls_rest_free(&stream->rest);
        }
        shutdown(stream->fd, SHUT_RDWR);
        request->is_suspended = false;
        MHD_resume_connection(request->mhd); /* the next call is answered with MHD_NO */
        stream->worker->replied++;
    } else if (stream->fd >= 0) {
        close(stream->fd);
    }
    *stream = (struct http_stream){.fd = -1};
}

/* --- self-test
 * ------------------------------------------------------------------------------------- */

struct self_test {
    int taken_fd;
    bool is_closed;
};

static enum MHD_Result self_test_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                            const char *method, const char *version,
                                            const char *upload, size_t *upload_bytes,
                                            void **context)
{
    (void)url, (void)method, (void)version, (void)upload, (void)upload_bytes;
    struct self_test *test = cls;
    if (!*context) {
        *context = test;
        return MHD_YES;
    }
    test->taken_fd =
        fcntl(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
              F_DUPFD_CLOEXEC, 0);
    return MHD_NO;
}

static void self_test_on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                                    enum MHD_ConnectionNotificationCode what)
{
    (void)mhd, (void)context;
    struct self_test *test = cls;
    test->is_closed = what == MHD_CONNECTION_NOTIFY_CLOSED;
}

static int self_test_connect(struct MHD_Daemon *daemon)
{
    const int listener = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd;
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = 1};
    static const char head[] = "GET / HTTP/1.1\r\nHost: self\r\n\r\n";
    if (fd < 0 || getsockname(listener, (struct sockaddr *)&address, &bytes) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) ||
        connect(fd, (struct sockaddr *)&address, bytes) ||
        send(fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* After libmicrohttpd has forgotten the connection, bytes still pass both ways and in order. */
static bool self_test_passes(struct MHD_Daemon *daemon, struct self_test *test, int client)
{
    for (int i = 0; i < 100 && !test->is_closed; i++) {
        MHD_run_wait(daemon, 10);
    }
    char got[4] = "";
    return test->is_closed && test->taken_fd >= 0 &&
           send(test->taken_fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(client, got, 4, 0) == 4 &&
           memcmp(got, "ping", 4) == 0 && send(client, "pong", 4, MSG_NOSIGNAL) == 4 &&
           recv(test->taken_fd, got, 4, 0) == 4 && memcmp(got, "pong", 4) == 0;
}

bool http_stream_self_test(void)
{
    struct self_test test = {.taken_fd = -1};
    const struct sockaddr_in loopback = {.sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        self_test_on_request, &test, MHD_OPTION_SOCK_ADDR, &loopback, MHD_OPTION_NOTIFY_CONNECTION,
        self_test_on_connection, &test, MHD_OPTION_END);
    if (!daemon) {
        return false;
    }
    const int client = self_test_connect(daemon);
    const bool passes = client >= 0 && self_test_passes(daemon, &test, client);
    if (client >= 0) {
        close(client);
    }
    if (test.taken_fd >= 0) {
        close(test.taken_fd);
    }
    MHD_stop_daemon(daemon);
    return passes;
}
