/* A connection becomes a stream: its descriptor and its TLS session are the taker's, so that a stream of
 * hours costs nothing here. */
#include "http/http_internal.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void http_request_take_stream(struct http_request *request, struct http_stream *ret)
{
    struct http_connection *connection = request->connection;
    struct http_worker *worker = connection->worker;
    CHECK(request->state == HTTP_REQUEST_RUNNING);
    *ret = (struct http_stream){.fd = connection->watch.fd,
                                .tls = TAKE(connection->session),
                                .credentials = TAKE(connection->tls),
                                .worker = worker};
    CHECK(epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, ret->fd, NULL) == 0);
    connection->watch.fd = -1;
    connection->watch.is_closed = true;
    request->status = 200;
    request->state = HTTP_REQUEST_TAKEN;
    worker->streams++;
}

ssize_t http_socket_send(int fd, const struct iovec *parts, size_t count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, /* not written to */
                                   .msg_iovlen = count};
    if (count == 1) { /* half the kernel's work before the first byte */
        return send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return count ? sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
}

ssize_t http_stream_send(struct http_stream *stream, const struct iovec *parts, size_t count)
{
    return stream->tls ? http_tls_send(stream->tls, &stream->rest, parts, count)
                       : http_socket_send(stream->fd, parts, count);
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

void http_stream_close(struct http_stream *stream)
{
    if (stream->worker) { /* not closed before */
        stream->worker->streams--;
    }
    if (stream->tls) { /* as far as the socket takes it */
        (void)http_tls_send(stream->tls, &stream->rest, NULL, 0);
        (void)gnutls_bye(stream->tls, GNUTLS_SHUT_WR);
        http_tls_rest_free(&stream->rest);
        gnutls_deinit(stream->tls);
    }
    http_tls_unref(stream->credentials);
    if (stream->fd >= 0) {
        close(stream->fd);
    }
    *stream = (struct http_stream){.fd = -1};
}
