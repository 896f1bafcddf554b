/* Refusing a request whose end we do not wait for.
 *
 * libmicrohttpd can answer only before a body or after it, and then closes at once; a close with
 * unread bytes in the socket makes the kernel send a reset, which destroys the answer on its way.
 * So the answer is written by us, and a duplicate of the descriptor lingers: nothing more is sent,
 * what still comes is dropped until the client closes or LINGER_MS have passed. */
#include "http/http_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"

#define LINGER_US           2000000
#define LINGER_MAX          256 /* a worker; more are closed at once */
#define LINGER_READ_BYTES   16384
#define LINGER_READS_A_TURN 16
#define SEND_BUFFER_BYTES   16384 /* what any socket takes at once */
#define SEND_ROOM_MAX       (1 << 20)

struct http_linger {
    struct http_linger *older, *newer;
    struct http_worker *worker;
    struct http_watch *watch;
    int64_t due_us;
    int fd;
};

static void linger_close(struct http_linger *linger)
{
    struct http_worker *worker = linger->worker;
    *(linger->older ? &linger->older->newer : &worker->linger_oldest) = linger->newer;
    *(linger->newer ? &linger->newer->older : &worker->linger_newest) = linger->older;
    worker->linger_count--;
    http_watch_close(linger->watch);
    close(linger->fd);
    free(linger);
}

static void on_linger_ready(void *context, uint32_t events)
{
    (void)events;
    struct http_linger *linger = context;
    char dropped[LINGER_READ_BYTES];
    for (int i = 0; i < LINGER_READS_A_TURN; i++) {
        const ssize_t count = recv(linger->fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (count <= 0) {
            linger_close(linger);
            return;
        }
    }
}

static void linger_start(struct http_worker *worker, int connection_fd)
{
    if (worker->linger_count >= LINGER_MAX || !worker->server->can_dup_streams) {
        return;
    }
    const int fd = fcntl(connection_fd, F_DUPFD_CLOEXEC, 0);
    struct http_linger *linger = fd < 0 ? NULL : must_alloc(sizeof *linger);
    if (!linger) {
        return;
    }
    shutdown(fd, SHUT_WR);
    *linger = (struct http_linger){.older = worker->linger_newest,
                                   .worker = worker,
                                   .due_us = worker->now_us + LINGER_US,
                                   .fd = fd};
    *(linger->older ? &linger->older->newer : &worker->linger_oldest) = linger;
    worker->linger_newest = linger;
    worker->linger_count++;
    linger->watch = http_worker_watch(worker, fd, EPOLLIN | EPOLLRDHUP, on_linger_ready, linger);
    if (!linger->watch) {
        linger_close(linger);
    }
}

void http_linger_expire(struct http_worker *worker)
{
    while (worker->linger_oldest && worker->linger_oldest->due_us <= worker->now_us) {
        linger_close(worker->linger_oldest);
    }
}

void http_linger_close_all(struct http_worker *worker)
{
    while (worker->linger_oldest) {
        linger_close(worker->linger_oldest);
    }
}

int64_t http_linger_due_us(const struct http_worker *worker)
{
    return worker->linger_oldest ? worker->linger_oldest->due_us : INT64_MAX;
}

/* A few kilobytes into a socket that nothing is being sent on, and that is told to take more; what
 * it does not take is lost with the connection. */
static void answer_send(struct http_connection *connection, struct strview head,
                        struct strview body)
{
    const int fd = connection->fd;
    const size_t bytes = head.len + body.len;
    if (bytes > SEND_BUFFER_BYTES) {
        const int room = (int)(bytes < SEND_ROOM_MAX ? bytes : SEND_ROOM_MAX);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* a hint */
    }
    const struct iovec parts[] = {{(void *)(uintptr_t)head.ptr, head.len},
                                  {(void *)(uintptr_t)body.ptr, body.len}};
    http_connection_send(connection, parts, ARRAY_LEN(parts));
}

void http_reject(struct http_request *request, struct strview head, struct strview body)
{
    const int fd = request->connection->fd;
    struct http_worker *worker = request->connection->worker;
    answer_send(request->connection, head, body);
    request->state = HTTP_REQUEST_TAKEN;
    http_wait_enter(request->connection, HTTP_WAIT_NONE);
    if (request->is_in_call) {
        linger_start(worker, fd); /* the call returns MHD_NO */
    } else if (request->is_suspended) {
        linger_start(worker, fd);
        request->is_suspended = false;
        MHD_resume_connection(request->mhd); /* the next call returns MHD_NO */
        worker->replied++;
    } else {
        shutdown(fd, SHUT_RDWR); /* an event: libmicrohttpd closes it */
    }
}
