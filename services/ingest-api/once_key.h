/* once_key.h - the header Idempotency-Key: a string as RFC 8941 writes it, or a bare token.
 *
 *   Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"     as the IETF draft has it
 *   Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324       as most clients send it: the same key
 *
 * BOUNDS   ONCE_KEY_BYTES_MAX characters, printable ASCII.
 * SOURCE   draft-ietf-httpapi-idempotency-key-header-07 §2.1; RFC 8941 §3.3.3.
 */
#pragma once

#include "core/err.h"
#include "core/strview.h"

#define ONCE_KEY_BYTES_MAX 255

/* The key without its quotes; *ret borrows from text or from scratch. */
MUST_CHECK enum err once_key_parse(struct strview text, char scratch[ONCE_KEY_BYTES_MAX],
                                   struct strview *ret, struct err_info *info);
