/* avro.h - Avro schemas compiled once; binary data written as JSON in one pass.
 *
 * WHAT     the writer's schema is all that is needed: a value is shown as it was written, nothing is
 *          resolved against another schema. Every type of Avro 1.11.
 * JSON     plain, as most consumers expect it: a union's value stands for itself, without a wrapper.
 *            null, boolean, int, long   as they are; a long has all of its digits
 *            float, double              the fewest digits that read back as the same; what is no
 *                                       number is the string "NaN", "Infinity" or "-Infinity"
 *            string, enum               strings
 *            bytes, fixed               base64 (RFC 4648 §4)
 *            decimal                    a number with every digit and as many behind the point as its
 *                                       scale says: 12.30
 *            dates and times            the number that was written: days, milliseconds, microseconds
 *            uuid                       the string that it is
 *            array; map, record         array; object, in the order of writing
 *          A logical type that is none of these, or not valid where it stands, is the type beneath.
 * BOUNDS   a schema: AVRO_TYPES_MAX types, nested AVRO_SCHEMA_DEPTH_MAX deep. A value: what `out` takes,
 *          and AVRO_DEPTH_MAX arrays, maps and records within each other. Every value writes at least
 *          one byte, so that what `out` takes also bounds the work, whatever the counts say that
 *          stand in the data.
 * OWNS     a compiled schema needs its text no longer.
 * THREADS  a compiled schema is immutable: any number of threads.
 * ERRORS   ERR_CONFIG for a schema; ERR_SCHEMA_MISMATCH and ERR_LIMIT for a value. Each with the place, a
 *          JSON Pointer into the one or the other, and the reason; never with what the value holds.
 * COST     decoding allocates nothing but room in `out`.
 * SOURCE   Apache Avro 1.11.1 Specification; docs/adr/0022-avro.md.
 */
#pragma once

#include <jansson.h>

#include "core/buf.h"
#include "core/err.h"

#define AVRO_DEPTH_MAX        256
#define AVRO_SCHEMA_DEPTH_MAX 64
#define AVRO_TYPES_MAX        65536

struct avro_schema;

void avro_schema_free(struct avro_schema *schema); /* NULL is a no-op */
/* name: for errors. */
MUST_CHECK enum err avro_schema_compile(const json_t *document, const char *name,
                                        struct avro_schema **ret, struct err_info *info);
/* Appends the JSON of the datum, which is all of `datum`; on an error `out` is as before. */
MUST_CHECK enum err avro_decode(const struct avro_schema *schema, struct strview datum,
                                struct buf *out, struct err_info *info);
