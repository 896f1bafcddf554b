/* once_record.h - a step of an idempotency key as bytes in the claim log.
 *
 *   key     who asks, method, path, Idempotency-Key: text, with a NUL between them
 *   value   version · kind · flags · 0 · fingerprint[16] · owner · number · after · claim · first_ms ·
 *           lease_ms (8 bytes each, little-endian) · outcome
 *
 * ERRORS   a version that is not known, or what is not a record: false; whoever reads goes on.
 */
#pragma once

#include "core/buf.h"
#include "once.h"

#define ONCE_RECORD_VERSION    1
#define ONCE_RECORD_HEAD_BYTES 68

MUST_CHECK enum err once_record_write(const struct once_record *record, struct buf *out);
/* *ret borrows from key and value. */
MUST_CHECK bool once_record_read(struct strview key, struct strview value, struct once_record *ret);
