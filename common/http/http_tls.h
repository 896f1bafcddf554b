/* http_tls.h - certificates, and what a TLS session needs of them.
 *
 * WHAT     an http_tls is one reading of the files that http.tls.* names: checked when it is made,
 *          never changed, shared by all workers. A connection keeps the one it began with; a reload
 *          makes another for the connections after it (ADR 0013).
 * PROTOCOL TLS 1.3 and 1.2, forward secrecy, AEAD ciphers. Client certificates: asked for, demanded,
 *          or not; one that is given is always verified, for use as a client's.
 * THREADS  made on the main thread, then read-only; the count of references is atomic.
 * ERRORS   ERR_CONFIG names the file and the reason.
 */
#pragma once

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <sys/types.h>

#include "http/http.h"

#define HTTP_TLS_PRIORITIES                                                                        \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"               \
    "-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

struct http_tls;

bool http_tls_is_wanted(const struct http_config *config);
MUST_CHECK enum err http_tls_new(const struct http_config *config, struct http_tls **ret,
                                 struct err_info *info);
struct http_tls *http_tls_ref(struct http_tls *tls);
void http_tls_unref(struct http_tls *tls); /* NULL is a no-op */
/* Of a connection whose handshake is to come; NULL: no memory. tls outlives it. */
gnutls_session_t http_tls_session(struct http_tls *tls, int fd);

#define HTTP_TLS_RECORD_BYTES 16384
/* As sendmsg, a record a call at most. What is taken and not in the socket yet is in *rest; until
 * that is out, nothing more is taken. Count 0 only sends the rest. */
ssize_t http_tls_send(gnutls_session_t session, struct http_stream_rest *rest,
                      const struct iovec *parts, size_t count);
/* As recv. */
ssize_t http_tls_recv(gnutls_session_t session, void *bytes, size_t len);
void http_tls_rest_free(struct http_stream_rest *rest); /* zeroed: a no-op */

/* The client's certificate, copied; NULL: none was given. free() it. */
struct http_peer *http_peer_new(gnutls_session_t session);
