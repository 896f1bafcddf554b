/* window_codec.h - a window's cell as a changelog record. Private to this room.
 *
 * KEY      key bytes | window start ms, 8 | sequence number, 4 (always 0): the layout of Kafka
 *          Streams' windowed store changelogs. All integers big-endian.
 * VALUE    version 2 | layout, 4 | next offset, 8 | the state's bytes (aggregate.h).
 *          `layout` is a hash of what is accumulated over which windows: state of another
 *          pipeline, or of this one before its aggregates were changed, is told apart.
 */
#pragma once

#include "core/buf.h"
#include "stream/aggregate.h"

/* Behind each other in out. */
MUST_CHECK enum err window_encode_key(struct strview key, int64_t start_ms, struct buf *out);
MUST_CHECK enum err window_encode_value(const struct aggregate *aggregate,
                                        const struct totals *totals, uint32_t layout,
                                        int64_t next_offset, struct buf *out);

MUST_CHECK enum err window_decode_key(struct strview record_key, struct strview *ret_key,
                                      int64_t *ret_start_ms);
/* *ret_state is borrowed from the record. ERR_STATE with info. */
MUST_CHECK enum err window_decode_value(struct strview record_value, uint32_t layout,
                                        struct strview *ret_state, int64_t *ret_next_offset,
                                        struct err_info *info);
