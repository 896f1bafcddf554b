#include "http/http_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/clock.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)
#define PEER_BYTES     2048 /* of a subject and names */

static struct metric families[] = {
    {.name = "millrace_http_tls_certificate_expiry_seconds",
     .type = METRIC_GAUGE,
     .help = "When the server's certificate ends, Unix time; less than a week ahead: renew it and "
             "send SIGHUP"},
};
METRICS_TABLE(families)

struct http_tls {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
    gnutls_certificate_request_t request; /* of the client's certificate */
    gnutls_datum_t
        ticket_key; /* of resumption; new with every reading, none with client certificates */
    _Atomic unsigned references;
};

bool http_tls_is_wanted(const struct http_config *config)
{
    return config->tls_cert_file && *config->tls_cert_file;
}

/* --- files ------------------------------------------------------------------------------------ */

static enum err file_read(const char *key, const char *path, struct buf *out, struct err_info *info)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    buf_init(out, FILE_BYTES_MAX);
    while (got > 0) {
        if (buf_reserve(out, 4096)) {
            close(fd);
            return err_set(info, ERR_CONFIG, "%s: %s: longer than 1 MiB", key, path);
        }
        got = read(fd, out->data + out->len, out->capacity - out->len);
        out->len += got > 0 ? (size_t)got : 0;
    }
    const int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return got < 0 ? err_set(info, ERR_CONFIG, "%s: %s: %s", key, path, strerror(error)) : ERR_OK;
}

/* A private key does not stay in memory that is given back. */
static void secret_free(struct buf *buf)
{
    if (buf->data) {
        gnutls_memset(buf->data, 0, buf->capacity);
    }
    buf_free(buf);
}

static gnutls_datum_t datum_of(const struct buf *buf)
{
    return (gnutls_datum_t){(unsigned char *)buf->data, (unsigned)buf->len};
}

static enum err identity_load(struct http_tls *tls, const struct http_config *config,
                              struct err_info *info)
{
    CLEANUP(buf_free) struct buf cert = {0};
    CLEANUP(secret_free) struct buf key = {0};
    enum err e = file_read("http.tls.cert.file", config->tls_cert_file, &cert, info);
    e = e ? e : file_read("http.tls.key.file", config->tls_key_file, &key, info);
    if (e) {
        return e;
    }
    const gnutls_datum_t cert_datum = datum_of(&cert), key_datum = datum_of(&key);
    const int result = gnutls_certificate_set_x509_key_mem2(
        tls->credentials, &cert_datum, &key_datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    return result < 0
               ? err_set(info, ERR_CONFIG, "http.tls.cert.file %s, http.tls.key.file %s: %s",
                         config->tls_cert_file, config->tls_key_file, gnutls_strerror(result))
               : ERR_OK;
}

static enum err client_ca_load(struct http_tls *tls, const struct http_config *config,
                               struct err_info *info)
{
    CLEANUP(buf_free) struct buf ca = {0};
    const enum err e = file_read("http.tls.client_ca.file", config->tls_client_ca_file, &ca, info);
    if (e) {
        return e;
    }
    const gnutls_datum_t datum = datum_of(&ca);
    const int count =
        gnutls_certificate_set_x509_trust_mem(tls->credentials, &datum, GNUTLS_X509_FMT_PEM);
    return count < 1 ? err_set(info, ERR_CONFIG, "http.tls.client_ca.file %s: %s",
                               config->tls_client_ca_file,
                               count < 0 ? gnutls_strerror(count) : "no certificate in it")
                     : ERR_OK;
}

/* --- making ----------------------------------------------------------------------------------- */

static void expiry_tell(const struct http_tls *tls, const struct http_config *config)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    if (gnutls_certificate_get_x509_crt(tls->credentials, 0, &chain, &count) < 0) {
        return; /* a certificate that was just put there */
    }
    const time_t ends = count ? gnutls_x509_crt_get_expiration_time(chain[0]) : 0;
    for (unsigned i = 0; i < count; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_free(chain);
    metric_set(METRIC(families[0], NULL), (double)ends);
    if ((int64_t)ends * 1000 < clock_now_ms()) {
        log_event(LOG_WARN, "certificate_expired", "clients will refuse the server's certificate",
                  KV("file", config->tls_cert_file));
    }
}

static enum err options_check(const struct http_config *config, struct err_info *info)
{
    if (!config->tls_key_file || !*config->tls_key_file) {
        return err_set(info, ERR_CONFIG, "http.tls.cert.file needs http.tls.key.file");
    }
    const bool has_ca = config->tls_client_ca_file && *config->tls_client_ca_file;
    if (has_ca == (strcmp(config->tls_client_auth, "none") == 0)) {
        return err_set(info, ERR_CONFIG, "http.tls.client_auth %s %s http.tls.client_ca.file",
                       config->tls_client_auth, has_ca ? "has no use for" : "needs");
    }
    return ERR_OK;
}

static gnutls_certificate_request_t request_of(const char *client_auth)
{
    return strcmp(client_auth, "required") == 0   ? GNUTLS_CERT_REQUIRE
           : strcmp(client_auth, "optional") == 0 ? GNUTLS_CERT_REQUEST
                                                  : GNUTLS_CERT_IGNORE;
}

enum err http_tls_new(const struct http_config *config, struct http_tls **ret,
                      struct err_info *info)
{
    enum err e = options_check(config, info);
    if (e) {
        return e;
    }
    struct http_tls *tls = must_alloc(sizeof *tls);
    tls->references = 1;
    tls->request = request_of(config->tls_client_auth);
    CHECK(gnutls_certificate_allocate_credentials(&tls->credentials) == GNUTLS_E_SUCCESS);
    CHECK(gnutls_priority_init(&tls->priorities, HTTP_TLS_PRIORITIES, NULL) == GNUTLS_E_SUCCESS);
    e = identity_load(tls, config, info);
    if (!e && tls->request != GNUTLS_CERT_IGNORE) {
        e = client_ca_load(tls, config, info);
    } else if (!e) {
        /* A resumed session shows a client's certificate without verifying it again. */
        CHECK(gnutls_session_ticket_key_generate(&tls->ticket_key) == GNUTLS_E_SUCCESS);
    }
    if (e) {
        http_tls_unref(tls);
        return e;
    }
    expiry_tell(tls, config);
    *ret = tls;
    return ERR_OK;
}

struct http_tls *http_tls_ref(struct http_tls *tls)
{
    tls->references++;
    return tls;
}

void http_tls_unref(struct http_tls *tls)
{
    if (!tls || --tls->references > 0) {
        return;
    }
    gnutls_certificate_free_credentials(tls->credentials);
    gnutls_priority_deinit(tls->priorities);
    if (tls->ticket_key.data) {
        gnutls_memset(tls->ticket_key.data, 0, tls->ticket_key.size);
        gnutls_free(tls->ticket_key.data);
    }
    free(tls);
}

/* --- sessions --------------------------------------------------------------------------------- */

/* That one is there is GNUTLS_CERT_REQUIRE's to see to. */
static int peer_verify(gnutls_session_t session)
{
    unsigned count = 0, status = 0;
    gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT, /* not written to */
    };
    if (!gnutls_certificate_get_peers(session, &count) || !count) {
        return 0;
    }
    const int result = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
    return result < 0 ? result : status ? GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR : 0;
}

gnutls_session_t http_tls_session(struct http_tls *tls, int fd)
{
    gnutls_session_t session;
    gnutls_datum_t protocol = {(unsigned char *)(uintptr_t)"http/1.1", 8}; /* not written to */
    if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL)) {
        return NULL;
    }
    /* Each fails only without memory. */
    CHECK(gnutls_priority_set(session, tls->priorities) == 0);
    CHECK(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials) == 0);
    CHECK(gnutls_alpn_set_protocols(session, &protocol, 1, 0) == 0);
    if (tls->ticket_key.data) {
        CHECK(gnutls_session_ticket_enable_server(session, &tls->ticket_key) == 0);
    }
    if (tls->request != GNUTLS_CERT_IGNORE) {
        gnutls_certificate_server_set_request(session, tls->request);
        gnutls_session_set_verify_function(session, peer_verify);
    }
    gnutls_transport_set_int(session, fd);
    return session;
}

/* What GnuTLS has of a record it finishes at the next call, whatever that call is given; the bytes
 * behind it have to be the same until then. */
static ssize_t record_send(gnutls_session_t session, const char *bytes, size_t len)
{
    ssize_t sent = 0;
    do {
        sent = gnutls_record_send(session, bytes, len);
    } while (sent == GNUTLS_E_INTERRUPTED);
    if (sent < 0) {
        errno = sent == GNUTLS_E_AGAIN ? EAGAIN : EPIPE;
        return -1;
    }
    return sent;
}

void http_tls_rest_free(struct http_stream_rest *rest)
{
    free(rest->bytes);
    *rest = (struct http_stream_rest){0};
}

static bool rest_send(gnutls_session_t session, struct http_stream_rest *rest)
{
    while (rest->sent < rest->len) {
        const ssize_t sent = record_send(session, rest->bytes + rest->sent, rest->len - rest->sent);
        if (sent < 0) {
            return false;
        }
        rest->sent += (size_t)sent;
    }
    http_tls_rest_free(rest);
    return true;
}

static size_t gather(char record[static HTTP_TLS_RECORD_BYTES], const struct iovec *parts,
                     size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count && len < HTTP_TLS_RECORD_BYTES; i++) {
        const size_t room = HTTP_TLS_RECORD_BYTES - len;
        const size_t bytes = parts[i].iov_len < room ? parts[i].iov_len : room;
        memcpy(record + len, parts[i].iov_base, bytes);
        len += bytes;
    }
    return len;
}

/* A record is made of the parts; one that the socket does not take is kept, and counts as sent: the
 * caller may have something else to say next. */
ssize_t http_tls_send(gnutls_session_t session, struct http_stream_rest *rest,
                      const struct iovec *parts, size_t count)
{
    char record[HTTP_TLS_RECORD_BYTES];
    if (!rest_send(session, rest)) {
        return -1;
    }
    const size_t len = gather(record, parts, count);
    for (size_t at = 0; at < len;) {
        const ssize_t sent = record_send(session, record + at, len - at);
        if (sent < 0 && errno != EAGAIN) {
            return -1;
        }
        if (sent < 0) {
            *rest = (struct http_stream_rest){.bytes = must_alloc(len - at), .len = len - at};
            memcpy(rest->bytes, record + at, len - at);
            break;
        }
        at += (size_t)sent;
    }
    return (ssize_t)len;
}

ssize_t http_tls_recv(gnutls_session_t session, void *bytes, size_t len)
{
    const ssize_t count = gnutls_record_recv(session, bytes, len);
    if (count >= 0) {
        return count;
    }
    const bool is_later = count == GNUTLS_E_AGAIN || count == GNUTLS_E_INTERRUPTED ||
                          (!gnutls_error_is_fatal((int)count) && count != GNUTLS_E_REHANDSHAKE);
    errno = is_later ? EAGAIN : ECONNRESET;
    return -1;
}

/* --- the client's certificate ----------------------------------------------------------------- */

static void peer_add(struct http_peer *peer, char **at, const char *kind, const char *value)
{
    const size_t room = (size_t)((char *)peer + sizeof *peer + PEER_BYTES - *at);
    const int len = snprintf(*at, room, "%s%s", kind, value);
    if (len > 0 && (size_t)len < room && peer->name_count < HTTP_PEER_NAMES_MAX) {
        peer->names[peer->name_count++] = *at;
        *at += len + 1;
    }
}

static void peer_add_name(struct http_peer *peer, char **at, int type, const char *bytes,
                          size_t len)
{
    char address[INET6_ADDRSTRLEN];
    if (type != GNUTLS_SAN_IPADDRESS && strlen(bytes) != len) {
        return; /* a NUL in it: a name that reads as another */
    }
    switch (type) {
    case GNUTLS_SAN_DNSNAME:
        peer_add(peer, at, "dns:", bytes);
        break;
    case GNUTLS_SAN_URI:
        peer_add(peer, at, "uri:", bytes);
        break;
    case GNUTLS_SAN_RFC822NAME:
        peer_add(peer, at, "email:", bytes);
        break;
    case GNUTLS_SAN_IPADDRESS:
        if (inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, address, sizeof address) &&
            (len == 4 || len == 16)) {
            peer_add(peer, at, "ip:", address);
        }
        break;
    default:
        break;
    }
}

static void peer_fill(struct http_peer *peer, gnutls_x509_crt_t crt)
{
    char *at = (char *)(peer + 1);
    gnutls_datum_t subject = {0};
    size_t bytes = PEER_BYTES / 4;
    if (gnutls_x509_crt_get_dn3(crt, &subject, 0) == 0 && subject.size < PEER_BYTES / 2) {
        memcpy(at, subject.data, subject.size);
        peer->subject = at;
        at += subject.size + 1;
    }
    gnutls_free(subject.data);
    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, at, &bytes) == 0 &&
        strlen(at) == bytes) {
        peer->common_name = at;
        at += bytes + 1;
    }
    for (unsigned i = 0; i < HTTP_PEER_NAMES_MAX; i++) {
        char name[512];
        bytes = sizeof name - 1;
        const int type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &bytes, NULL);
        if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            break;
        }
        if (type >= 0) {
            name[bytes] = '\0';
            peer_add_name(peer, &at, type, name, bytes);
        }
    }
}

struct http_peer *http_peer_new(gnutls_session_t session)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t crt;
    if (!chain || !count || gnutls_x509_crt_init(&crt)) {
        return NULL;
    }
    struct http_peer *peer = NULL;
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0) {
        peer = must_alloc(sizeof *peer + PEER_BYTES);
        peer->subject = peer->common_name = "";
        peer_fill(peer, crt);
    }
    gnutls_x509_crt_deinit(crt);
    return peer;
}
