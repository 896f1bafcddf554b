/* access_rights.h - who somebody is and what they may do with which topics.
 *
 * WHAT     a rule is a pattern of topic names and the rights it gives; rights are a list of rules,
 *          and what no rule gives is refused.
 * BOUNDS   ACCESS_RULES_MAX rules a principal, ACCESS_PATTERN_BYTES_MAX bytes a pattern.
 * OWNS     copies of the patterns.
 * COST     a check is one glob_match a rule.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/rate_limiter.h"
#include "core/err.h"
#include "core/strview.h"

#define ACCESS_RULES_MAX         256
#define ACCESS_PATTERN_BYTES_MAX 249 /* a topic name's own bound */

enum access_right {
    ACCESS_WRITE, /* put events into a topic */
    ACCESS_READ,  /* read a topic's events, streams and latest values */
    ACCESS_ADMIN, /* change how it is read or kept: replay, reset, delete */
    ACCESS_RIGHTS
};
const char *access_right_name(enum access_right right); /* "write", "read", "admin" */

struct access_rights {
    struct access_rule {
        char *pattern;
        size_t pattern_bytes;
        enum access_right right;
    } *rules;
    size_t count;
};

void access_rights_free(struct access_rights *rights); /* zeroed is a no-op */
/* ERR_LIMIT past the bounds, ERR_CONFIG for a pattern that no topic's name can match. */
MUST_CHECK enum err access_rights_add(struct access_rights *rights, enum access_right right,
                                      struct strview pattern, struct err_info *info);
MUST_CHECK enum err access_rights_add_all(struct access_rights *rights,
                                          const struct access_rights *more, struct err_info *info);
/* "write:orders.*" as a rule; false when the text has not that form. */
bool access_rule_parse(struct strview text, enum access_right *ret_right,
                       struct strview *ret_pattern);
bool access_rights_give(const struct access_rights *rights, enum access_right right,
                        struct strview topic);

enum access_kind {
    ACCESS_NOBODY,
    ACCESS_KEY,
    ACCESS_TOKEN,
    ACCESS_CERTIFICATE,
    ACCESS_TICKET, /* of a credential: who comes with it is one of the kinds before */
    ACCESS_KINDS
};

#define ACCESS_TICKET_NUMBER_BYTES 16

/* Immutable once made, and counted: who goes on with one after its request takes a reference. */
struct access_principal {
    atomic_uint refs;
    enum access_kind kind;
    char *name; /* for logs: a key's name, a token's subject, a certificate's */
    char *id;   /* what finds it again: a key's id, a token's subject, a certificate's name */
    /* What it was known by. A key of the same id that is another one has another proof; a token has that
     * of the key it was signed with, and of all roles that its rights may have come from. */
    uint64_t proof, roles;
    struct access_rights rights;
    struct rate_limits limits;
    uint64_t rate_id;   /* its bucket */
    int64_t expires_ms; /* wall clock, the leeway included; 0: never */
    bool is_by_ticket;  /* then it may do what the ticket is for, and no more */
    unsigned char ticket[ACCESS_TICKET_NUMBER_BYTES];
};

struct access_principal *access_principal_new(enum access_kind kind, const char *id,
                                              const char *name);
struct access_principal *access_principal_ref(struct access_principal *principal); /* or NULL */
void access_principal_unref(struct access_principal *principal); /* NULL is a no-op */
