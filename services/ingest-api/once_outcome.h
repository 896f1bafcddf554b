/* once_outcome.h - the results of a request as bytes, and back: what a keyed request is told again.
 *
 *   version · is_single · count · kinds · kinds × (outcome, topic, error by name)
 *   · count × (kind, then when there is no error: partition, offset, timestamp;
 *              else: place of its fault + 1) · texts of faults
 *
 * Numbers are varints; offsets and timestamps are told as the difference to the last one, so that an
 * event takes about 6 bytes. Topics, errors and outcomes are names: another release may read it.
 *
 * BOUNDS   ONCE_OUTCOME_EVENTS_MAX events; faults past ONCE_OUTCOME_FAULTS_BYTES are told by their
 *          error alone. So a record of the log stays below a mebibyte.
 * THREADS  the worker's.
 */
#pragma once

#include "ingest_batch.h"

#define ONCE_OUTCOME_EVENTS_MAX   10000
#define ONCE_OUTCOME_FAULTS_BYTES ((size_t)64 << 10)
#define ONCE_OUTCOME_BYTES_MAX    ((size_t)900 << 10)

/* What was known of a request. */
struct once_outcome_known {
    struct ingest_result *results; /* malloc'd; topics are those of the reading worker */
    uint32_t count;
    bool is_single;
    struct strview faults; /* borrowed from the text; results say places in it */
};

MUST_CHECK enum err once_outcome_write(const struct ingest_batch *batch, struct buf *out);
/* ERR_STATE: not what once_outcome_write makes. Also the errors of a topic that is gone. */
MUST_CHECK enum err once_outcome_read(struct ingest_worker *worker, struct strview text,
                                      struct once_outcome_known *ret, struct err_info *info);
