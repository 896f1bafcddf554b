/* changelog.h - a store's cell as a record of its changelog topic. Private to this room.
 *
 * KEY      as Kafka Streams lays it out, integers big-endian:
 *              plain    key bytes
 *              window   key bytes | time ms, 8 | minor, 4       (start; sequence number)
 *              session  key bytes | time ms, 8 | minor ms, 8    (end; start)
 * VALUE    version 2 | layout, 4 | per input: next offset, 8 | the cell's value as it lies in memory.
 *          `layout` is a hash of what the bytes mean: state of another pipeline, or of this one
 *          before its step was changed, is told apart. Bytes in memory are little-endian on every
 *          machine that this runs on.
 */
#pragma once

#include "core/buf.h"

enum changelog_kind {
    CHANGELOG_PLAIN,
    CHANGELOG_WINDOW,
    CHANGELOG_SESSION,
};

struct changelog_format {
    enum changelog_kind kind;
    unsigned inputs; /* at most CHANGELOG_INPUTS_MAX */
    uint32_t layout;
};

#define CHANGELOG_INPUTS_MAX 16
#define CHANGELOG_TAIL_MAX   16 /* bytes of a record's key behind the cell's */

#define CHANGELOG_LAYOUT 2166136261U /* of nothing: to begin with */
/* The layout of what was hashed so far, and of this text (FNV-1a: the same in every release). */
uint32_t changelog_layout(uint32_t layout, const char *text);

/* Appended to out. ERR_LIMIT: out is full. */
MUST_CHECK enum err changelog_encode_key(enum changelog_kind kind, struct strview key,
                                         int64_t time_ms, int64_t minor, struct buf *out);
MUST_CHECK enum err changelog_encode_value(const struct changelog_format *format,
                                           const int64_t *next_offsets, struct strview bytes,
                                           struct buf *out);

/* ERR_STATE: it is none. Of a plain one time and minor are 0. */
MUST_CHECK enum err changelog_decode_key(enum changelog_kind kind, struct strview record_key,
                                         struct strview *ret_key, int64_t *ret_time_ms,
                                         int64_t *ret_minor);
/* next_offsets has room for format->inputs. ERR_STATE with info. */
MUST_CHECK enum err changelog_decode_value(const struct changelog_format *format,
                                           struct strview record_value, int64_t *next_offsets,
                                           struct strview *ret_bytes, struct err_info *info);
