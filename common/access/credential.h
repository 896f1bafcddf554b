/* credential.h - what a request says of who asks, found in the texts of its header.
 *
 * WHAT     Authorization: Bearer (an API key or a token), Authorization: Basic (an API key as the
 *          user, as SDKs with a write key send it; the password is not looked at), X-Api-Key, or the
 *          names of a client certificate that TLS has verified; or a ticket. What the request says goes
 *          before a certificate; two that both say something are refused.
 * OWNS     the text is borrowed from the request, or from scratch.
 */
#pragma once

#include <stdbool.h>

#include "access/access_rights.h"

#define CREDENTIAL_SCRATCH_BYTES 512

struct access_request {
    const char *authorization; /* the field's value, or NULL */
    const char *api_key;       /* X-Api-Key, or NULL */
    const char *ticket;        /* of the query, where one is taken, or NULL */
    const char *client;        /* address */
    /* What a client certificate that TLS has verified calls its owner: its subject and its
     * alternative names ("CN=till,O=Shop", "dns:till.shop"). */
    const char *const *names;
    size_t name_count;
    bool is_asked_again; /* the same request will be: only a refusal is counted now */
    bool is_let_in;      /* it was before: its rate is not looked at again, nor is it counted */
};

struct credential {
    enum access_kind kind; /* ACCESS_NOBODY: the request says nothing */
    struct strview text;   /* of a certificate: none */
};

/* NULL, or why it cannot be read: static text. */
MUST_CHECK const char *credential_read(const struct access_request *request,
                                       char scratch[CREDENTIAL_SCRATCH_BYTES],
                                       struct credential *ret);
