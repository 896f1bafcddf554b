/* access_claims.h - a token's claims as a principal (access.jwt.rights.claim). */
#pragma once

#include <jansson.h>

#include "access/access_file.h"

struct access_claims_rules {
    const char *rights_claim;       /* a member's name, or a JSON Pointer */
    const char *rights_prefix;      /* "": every text counts */
    const struct access_file *file; /* whose roles are meant */
};

/* What is neither a rule nor a role is for others and gives nothing; so does what is past the
 * bounds. limits, rate_id, proof, roles and expires_ms are left to the caller. */
struct access_principal *access_claims_principal(const json_t *claims,
                                                 const struct access_claims_rules *rules);
