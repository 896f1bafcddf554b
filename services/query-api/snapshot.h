/* snapshot.h - the latest value of each key of a client's topics, handed to it piece by piece.
 *
 * WHAT     taken at one moment of each topic, whose position it is then told: the stream goes on
 *          exactly there, so nothing is missing between.
 * BOUNDS   snapshots_max at a time; each holds references to at most the keys that `latest` holds.
 * THREADS  a snapshot has one owner; snapshots are shared by all workers.
 */
#pragma once

#include <stdatomic.h>

#include "latest.h"
#include "reading.h"

struct snapshots {
    struct latest *const *latest; /* by topic */
    int64_t snapshots_max;
    atomic_llong count;
};

struct snapshot {
    struct snapshots *owner;
    struct frame **frames; /* references; at … count-1 are still to be handed out */
    size_t at, count;
    int64_t left_out; /* keys that `latest` does not hold */
};

void snapshot_free(struct snapshot *snapshot); /* NULL is a no-op */
/* Moves the reading to where the snapshot stands. NULL: there are as many as there can be. */
DEALLOC(snapshot_free)
struct snapshot *snapshot_take(struct snapshots *snapshots, struct reading *reading,
                               const struct reading_source *source);
/* Keys of its topics: what a snapshot would hold. */
size_t snapshot_size(const struct snapshots *snapshots, const struct reading *reading);
/* Borrowed; NULL: all have been handed out. */
const struct frame *snapshot_next(struct snapshot *snapshot);
