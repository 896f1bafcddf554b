/* tickets.h - a credential for an address: short-lived, for one stream, for some topics.
 *
 * WHY      a browser's EventSource and WebSocket send no header of ours, and what stands in an address
 *          is seen by proxies and kept in histories. So who can say who it is gets a ticket, and what
 *          is seen of that is soon good for nothing.
 * WHAT     base64url of whom it was given to, for which topics, until when, a random number, and
 *          HMAC-SHA256 of all that. Nothing is kept of a ticket that was given: any process with the same
 *          secret takes it. Kept are the numbers of those that were used, for as long as they are good:
 *          one is used once a process, so that behind a balancer with n processes it may be used n times.
 * FORM     mt_<base64url>: version, kind, length of the id, times, proof, roles, number; id; topics; HMAC.
 *          Numbers are little-endian. The first byte, 1, begins no token, whoever shares the secret.
 * BOUNDS   TICKET_TEXT_BYTES a ticket; used_max numbers in each span of twice a ticket's life, past
 *          which tickets are turned away.
 * THREADS  any; one lock, held for the secret and the numbers.
 * COST     1.7 µs to read one (bench/micro/bench_access.c); nothing is allocated but by OpenSSL.
 * SOURCE   docs/adr/0018-tickets.md.
 */
#pragma once

#include <stdint.h>

#include "access/access_rights.h"
#include "config/config.h"

#define TICKET_ID_BYTES_MAX     256
#define TICKET_TOPICS_BYTES_MAX 1024
#define TICKET_HEAD_BYTES       52
#define TICKET_MAC_BYTES        32
#define TICKET_BYTES_MAX                                                                           \
    (TICKET_HEAD_BYTES + TICKET_ID_BYTES_MAX + TICKET_TOPICS_BYTES_MAX + TICKET_MAC_BYTES)
#define TICKET_TEXT_BYTES (3 + (TICKET_BYTES_MAX + 2) / 3 * 4 + 1) /* with its NUL */

struct tickets_config {
    const char *secret_file;
    int64_t life_ms;
    int64_t used_max;
};
extern const struct config_option tickets_options[];
extern const size_t tickets_options_count;

struct ticket {
    enum access_kind kind; /* of whom it was given to; ACCESS_NOBODY: while access was off */
    struct strview id;
    struct strview topics; /* a comma list; "right:name" where it is not for reading */
    uint64_t proof, roles;
    int64_t expires_ms; /* wall clock: to be used before */
    int64_t until_ms;   /* wall clock: what was shown for it expires; 0: never */
    unsigned char number[ACCESS_TICKET_NUMBER_BYTES];
};

struct tickets;

void tickets_free(struct tickets *tickets); /* NULL is a no-op */
/* config outlives it. Without a file the secret is made anew, and known to this process alone. */
MUST_CHECK enum err tickets_new(const struct tickets_config *config, struct tickets **ret,
                                struct err_info *info);
/* Reads the secret again; on an error the old one stays. Tickets that are out are good no more if it
 * is another. */
MUST_CHECK enum err tickets_reload(struct tickets *tickets, struct err_info *info);

/* Its number and its time are made here. ERR_LIMIT: the topics, or the id, are longer than a ticket
 * holds. */
MUST_CHECK enum err tickets_write(struct tickets *tickets, struct ticket *ticket, int64_t now_ms,
                                  char text[TICKET_TEXT_BYTES], struct err_info *info);
/* NULL, or why it is not good: static text. The views are of scratch. */
MUST_CHECK const char *tickets_read(struct tickets *tickets, struct strview text, int64_t now_ms,
                                    char scratch[TICKET_BYTES_MAX], struct ticket *ret);
/* Whether this is its first use here: ERR_UNAUTHENTICATED when it is not, ERR_OVERLOADED when no more
 * numbers can be kept. */
MUST_CHECK enum err tickets_use(struct tickets *tickets,
                                const unsigned char number[ACCESS_TICKET_NUMBER_BYTES],
                                int64_t now_ms, struct err_info *info);
