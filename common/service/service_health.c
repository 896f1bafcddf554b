/* The other end of /health/ready: `--health` asks the service that runs with this configuration.
 * For health checks in containers that have neither a shell nor curl. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "service_state.h"

#define ASK_TIMEOUT_MS   2000
#define ANSWER_BYTES_MAX 4096

struct question {
    int fd;
    int64_t deadline_us;
    gnutls_session_t session; /* NULL: plain */
    gnutls_certificate_credentials_t credentials;
    int tls_error;                     /* of GnuTLS */
    char answer[ANSWER_BYTES_MAX + 1]; /* the rest of a longer one is not read */
    size_t answer_bytes;
};

/* Who listens on every address is asked on loopback. */
static void wildcard_to_loopback(struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)address;
        if (v4->sin_addr.s_addr == htonl(INADDR_ANY)) {
            v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        }
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)address;
        if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) {
            v6->sin6_addr = in6addr_loopback;
        }
    }
}

static bool await(const struct question *question, short events)
{
    struct pollfd wait = {.fd = question->fd, .events = events};
    for (;;) {
        int64_t left_us = question->deadline_us - clock_mono_us();
        int got = poll(&wait, 1, left_us > 0 ? (int)(left_us / 1000) + 1 : 0);
        if (got >= 0 || errno != EINTR) {
            return got > 0;
        }
    }
}

/* 0, or an errno. */
static int connect_in_time(struct question *question, const struct addrinfo *address)
{
    question->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (question->fd < 0) {
        return errno;
    }
    if (connect(question->fd, address->ai_addr, address->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    if (!await(question, POLLOUT)) {
        return ETIMEDOUT;
    }
    int failed = 0;
    socklen_t bytes = sizeof failed;
    return getsockopt(question->fd, SOL_SOCKET, SO_ERROR, &failed, &bytes) ? errno : failed;
}

/* Whose certificate it is does not matter: it is this configuration's own address. Where clients
 * need one, the service's own has to do, which works when it is good for a client too. */
static int tls_open(struct question *question, const struct http_config *config)
{
    if (!*config->tls_cert_file) {
        return 0;
    }
    if (gnutls_init(&question->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                                            GNUTLS_FORCE_CLIENT_CERT) ||
        gnutls_set_default_priority(question->session) ||
        gnutls_certificate_allocate_credentials(&question->credentials)) {
        return ENOMEM;
    }
    /* A file that cannot be read is the service's to tell. */
    (void)gnutls_certificate_set_x509_key_file(question->credentials, config->tls_cert_file,
                                               config->tls_key_file, GNUTLS_X509_FMT_PEM);
    (void)gnutls_credentials_set(question->session, GNUTLS_CRD_CERTIFICATE, question->credentials);
    gnutls_transport_set_int(question->session, question->fd);
    while ((question->tls_error = gnutls_handshake(question->session)) < 0) {
        if (gnutls_error_is_fatal(question->tls_error)) {
            return EPROTO;
        }
        if (!await(question, gnutls_record_get_direction(question->session) ? POLLOUT : POLLIN)) {
            return ETIMEDOUT;
        }
    }
    return 0;
}

static void question_close(struct question *question)
{
    if (question->session) {
        gnutls_deinit(question->session);
    }
    if (question->credentials) {
        gnutls_certificate_free_credentials(question->credentials);
    }
    if (question->fd >= 0) {
        (void)close(question->fd); /* the answer has been read */
    }
}

static ssize_t bytes_send(struct question *question, const char *bytes, size_t count)
{
    if (!question->session) {
        return send(question->fd, bytes, count, MSG_NOSIGNAL);
    }
    return gnutls_record_send(question->session, bytes, count);
}

/* As recv; EAGAIN when a record is not complete. A session that is refused ends here. */
static ssize_t bytes_recv(struct question *question, char *bytes, size_t count)
{
    if (!question->session) {
        return recv(question->fd, bytes, count, 0);
    }
    ssize_t got = gnutls_record_recv(question->session, bytes, count);
    if (got == GNUTLS_E_PREMATURE_TERMINATION) {
        return 0;
    }
    if (got < 0) {
        question->tls_error = (int)got;
        errno = gnutls_error_is_fatal((int)got) ? EPROTO : EAGAIN;
        return -1;
    }
    return got;
}

/* Reads to the end of the answer, which is the end of the connection. 0, or an errno. */
static int exchange(struct question *question)
{
    static const char request[] =
        "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    /* An empty socket buffer takes it whole. */
    if (bytes_send(question, request, sizeof request - 1) != (ssize_t)sizeof request - 1) {
        return question->session ? EPROTO : errno;
    }
    while (question->answer_bytes < ANSWER_BYTES_MAX) {
        bool is_waiting = question->session && gnutls_record_check_pending(question->session);
        if (!is_waiting && !await(question, POLLIN)) {
            return ETIMEDOUT;
        }
        ssize_t got = bytes_recv(question, question->answer + question->answer_bytes,
                                 ANSWER_BYTES_MAX - question->answer_bytes);
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return errno;
        }
        question->answer_bytes += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static enum err judge(struct question *question, struct err_info *info)
{
    static const char version[] = "HTTP/1.1 ";
    char *answer = question->answer;
    answer[question->answer_bytes] = '\0';
    if (strncmp(answer, version, sizeof version - 1) != 0) {
        return err_set(info, ERR_NOT_READY, "what listens there does not answer in HTTP");
    }
    const char *status = answer + sizeof version - 1;
    if (strncmp(status, "200 ", 4) == 0) {
        return ERR_OK;
    }
    const char *body = strstr(answer, "\r\n\r\n");
    return err_set(info, ERR_NOT_READY, "%.3s %s", status, body ? body + 4 : "");
}

enum err service_health_ask(const struct http_config *config, struct err_info *info)
{
    if (config->port == 0) {
        return err_set(info, ERR_CONFIG, "http.port is 0: only the service knows its port");
    }
    /* As the listener resolves it, so that both come to the same address. */
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM};
    char port[16];
    (void)snprintf(port, sizeof port, "%d", (int)config->port);
    struct addrinfo *found = NULL;
    int unknown = getaddrinfo(*config->host ? config->host : NULL, port, &hints, &found);
    if (unknown) {
        return err_set(info, ERR_CONFIG, "http.host \"%s\": %s", config->host,
                       gai_strerror(unknown));
    }
    wildcard_to_loopback(found->ai_addr);
    struct question question = {.fd = -1,
                                .deadline_us = clock_mono_us() + ASK_TIMEOUT_MS * INT64_C(1000)};
    int failed = connect_in_time(&question, found);
    freeaddrinfo(found);
    failed = failed ? failed : tls_open(&question, config);
    failed = failed ? failed : exchange(&question);
    question_close(&question);
    if (failed == EPROTO) {
        return err_set(info, ERR_NOT_READY, "http.host \"%s\", http.port %s: TLS: %s", config->host,
                       port, gnutls_strerror(question.tls_error));
    }
    if (failed) {
        return err_set(info, ERR_NOT_READY, "http.host \"%s\", http.port %s: %s", config->host,
                       port, strerror(failed));
    }
    return judge(&question, info);
}
