/* stream_join.h - two streams joined within a time, compiled. Private to the files stream_join_*.c
 * and step_stream_join.c.
 *
 *     left   (the flow's own)   ──► key, half of a result ──┐
 *                                                           ├──► both halves: a result
 *     right  ("stream")         ──► key, half of a result ──┘
 *
 * A pair is two records of one key, left.time − before <= right.time <= left.time + after. What one
 * side gives to a result is its half: made when the record comes, kept until no partner can come any
 * more. So a stored record is never scanned again.
 */
#pragma once

#include "json/json_splice.h"
#include "stream/kept_state.h"
#include "stream/step_key.h"
#include "stream/steps.h"

enum join_side { JOIN_LEFT, JOIN_RIGHT };
#define JOIN_SIDES          2
#define STREAM_JOIN_SET_MAX 32

struct stream_join_side {
    struct step_key on;
    int64_t back_ms,
        ahead_ms;    /* a partner's time: from `back` before to `ahead` behind this one's */
    int64_t keep_ms; /* a partner may still come until event time is past this */
    bool is_outer;   /* it comes out, too, when it has no partner */
};

struct stream_join {
    struct stream_join_side sides[JOIN_SIDES];
    int64_t grace_ms;
    bool is_eager;  /* what has no partner comes out at once, not when none can come any more */
    bool is_nested; /* `as`: both events as members; else the right one's members in the left one */
    /* A result is opening, left half, middle, right half, closing. */
    struct strview opening, middle;
    struct strview nothing; /* half of a side that is not there */
    /* `set` */
    struct json_names *set_names; /* what the left event brings itself under these is dropped */
    size_t set_count;
    struct {
        struct strview prefix; /* `,"paid":` */
        uint16_t slot;         /* of the right side's segment */
    } set[STREAM_JOIN_SET_MAX];
    struct kept_config kept; /* both sides */
};

#define STREAM_JOIN_HALF_BYTES_MAX ((size_t)16 * 1024 * 1024)

/* A cell's value; the half follows. */
struct stream_join_kept {
    int64_t offset; /* of the record; -1: it was made of several */
    int64_t input;
    int64_t is_matched;
    int64_t unused;
};

extern const struct step_state_kind stream_join_state_kind;
extern const struct step_kind stream_join_right; /* the step of the other side's segment */

/* NULL when there were errors. */
void *stream_join_compile(struct program_builder *builder, const struct spec *spec);
void stream_join_free(void *compiled);
