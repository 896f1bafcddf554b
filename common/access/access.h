/* access.h - who asks, what they may do, how much of it.
 *
 * WHAT     three kinds of identity: an API key from a file that holds only hashes, a JSON Web Token
 *          (keys from a file or an address), a client certificate that TLS has verified. Rights are
 *          patterns of topics a principal; what nothing gives is refused. Rates are token buckets a
 *          principal. Knows nothing of HTTP: it takes texts of a header and gives a verdict;
 *          common/service makes the answer of it.
 * STATE    keys file and key set are read into an immutable state. A reload builds a new one wholly
 *          or not at all and makes it the current one; each worker's view notices at its next
 *          request, by one atomic load, and gives its reference to the old state back. The last
 *          reference frees it. No request waits for a reload, and no lock is taken for a request.
 * OWNS     a principal is borrowed until the next access_identify on the same view; who goes on with
 *          it longer (a stream, a body in pieces) takes a reference.
 * THREADS  a view has one owner; struct access is for all, reload for one thread at a time.
 * STREAMS  what lasts longer than a request looks at its principal's expires_ms, and asks
 *          access_renew when access_view_generation has changed.
 * BOUNDS   tokens kept a view, buckets, file entries, token bytes: see access_options.
 * COST     a key: one SHA-256, one lookup. A token seen before: one SHA-256. A token not seen
 *          before: one signature check. bench/micro/bench_access.c has the figures.
 * NEVER    logged or kept: keys, tokens, passwords. Only SHA-256 of them.
 */
#pragma once

#include "access/access_rights.h"
#include "access/credential.h"
#include "access/tickets.h"
#include "config/config.h"

struct access_config {
    const char *mode; /* off|on */
    const char *keys_file;
    const char *jwks_file;
    const char *jwks_url;
    const char *jwks_ca_file;
    int64_t jwks_refresh_ms;
    int64_t jwks_retry_ms;
    int64_t jwks_timeout_ms;
    const char *issuer;
    const char *audience;
    const char *algorithms;
    int64_t leeway_ms;
    const char *rights_claim;
    const char *rights_prefix;
    int64_t token_bytes_max;
    int64_t tokens_kept; /* a worker */
    double rate_events;  /* a second and principal; 0: no limit */
    int64_t rate_bytes;
    int64_t rate_burst_ms;
    double failures_rate; /* checks of a signature that fail, a second and client address */
    const struct tickets_config *tickets; /* not an option; NULL: none are given or taken */
};
extern const struct config_option access_options[];
extern const size_t access_options_count;

struct access;

/* Reads everything; an address is fetched in the background from here on. Mode off gives one that
 * lets everybody do everything. config outlives it. */
MUST_CHECK enum err access_new(const struct access_config *config, struct access **ret,
                               struct err_info *info);
void access_free(struct access *access); /* NULL is a no-op; after its views */
/* Reads the files again, all or nothing: on an error what was in force stays in force. */
MUST_CHECK enum err access_reload(struct access *access, struct err_info *info);
bool access_is_on(const struct access *access);
/* For /health: false while nobody could be known, as the only thing asked for is tokens and no key set
 * has been there yet. Never again false after that: the last good set stays. */
bool access_health(struct access *access, char *text, size_t text_bytes);

/* --- a worker's ------------------------------------------------------------------------------- */

struct access_view;

void access_view_free(struct access_view *view); /* NULL is a no-op */
bool access_view_is_on(const struct access_view *view);
DEALLOC(access_view_free) struct access_view *access_view_new(struct access *access);

struct access_verdict {
    struct access_principal *principal; /* NULL while access is off, and on error */
    char challenge[192];                /* for WWW-Authenticate, with an error; else "" */
    int64_t retry_after_ms;             /* with ERR_RATE_LIMITED and ERR_NOT_READY */
};

/* Who asks: ERR_UNAUTHENTICATED; ERR_RATE_LIMITED (one of its buckets is empty, or too many wrong
 * tokens from its address); ERR_NOT_READY (the key set has not been fetched yet). *verdict is
 * written on error too. */
MUST_CHECK enum err access_identify(struct access_view *view, const struct access_request *request,
                                    struct access_verdict *verdict, struct err_info *info);
/* ERR_FORBIDDEN unless it has the right. principal NULL (access is off): everybody may. */
MUST_CHECK enum err access_permit(const struct access_principal *principal, enum access_right right,
                                  struct strview topic, struct err_info *info);
/* Another number whenever keys, key set or roles have changed since the last call. */
unsigned access_view_generation(struct access_view *view);
/* Whom the principal stands for now; a new reference, or NULL: for nobody. What of a token's rights
 * cannot be told without it (its key or a role has changed) is nobody's. */
MUST_CHECK struct access_principal *access_renew(struct access_view *view,
                                                 struct access_principal *principal);
/* For lists: the same without a word, and without being counted. */
bool access_allows(const struct access_principal *principal, enum access_right right,
                   struct strview topic);
/* For WWW-Authenticate with ERR_FORBIDDEN, and with ERR_UNAUTHENTICATED of access_ticket_use. */
#define ACCESS_CHALLENGE_FORBIDDEN "Bearer realm=\"millrace\", error=\"insufficient_scope\""
#define ACCESS_CHALLENGE_USED      "Bearer realm=\"millrace\", error=\"invalid_token\""
/* What the request turned out to be; NULL is a no-op. */
void access_spend(struct access_view *view, const struct access_principal *principal,
                  int64_t events, int64_t bytes);

/* --- tickets ---------------------------------------------------------------------------------- */

/* One that lets who has it read these topics (a comma list, in which "write:x" stands for another right),
 * as long as the principal may; it may now, as the caller has looked. NULL: access is off, and nobody will
 * look at the ticket. ERR_LIMIT: too long. */
MUST_CHECK enum err access_ticket_make(struct access_view *view,
                                       const struct access_principal *principal,
                                       struct strview topics, char text[TICKET_TEXT_BYTES],
                                       int64_t *ret_expires_ms, struct err_info *info);
/* What the ticket was for is about to begin: it is good no more. For a principal without one, or NULL, a
 * no-op. ERR_UNAUTHENTICATED: it has been used; ERR_OVERLOADED. */
MUST_CHECK enum err access_ticket_use(struct access_view *view,
                                      const struct access_principal *principal,
                                      struct err_info *info);
