/* changelog_writer.h - a store's changes to its changelog, and back. Private to this room.
 *
 * WHAT     for a step whose cells are written as they are: at a commit one record per changed cell,
 *          its value or a tombstone. Values go first, so that what is cut off by a crash (at least
 *          once) may be there twice but is not gone.
 * OWNS     buffers for one record.
 */
#pragma once

#include "stream/changelog.h"
#include "stream/program.h"
#include "stream/store.h"

struct changelog_writer {
    struct changelog_format format;
    /* Bits that are set in the minor of every record, not of the cell: where two stores share a
     * changelog, they tell them apart. */
    int64_t mark;
    struct buf key, value;
};

void changelog_writer_init(struct changelog_writer *writer, const struct changelog_format *format);
void changelog_writer_deinit(struct changelog_writer *writer);

MUST_CHECK enum err changelog_put(struct changelog_writer *writer, const struct step_commit *commit,
                                  struct store_cell *cell);
/* A tombstone for what is stored under this time and minor. */
MUST_CHECK enum err changelog_delete(struct changelog_writer *writer,
                                     const struct step_commit *commit, struct strview key,
                                     int64_t time_ms, int64_t minor);
/* All changes of the cycle. */
MUST_CHECK enum err changelog_write(struct changelog_writer *writer,
                                    const struct step_commit *commit, struct store *store);

/* What a step's cells can be. */
struct changelog_bounds {
    size_t key_bytes_max;
    size_t bytes_min, bytes_max;
};
/* One record into the store, value ptr NULL: a tombstone. `minor`: without the mark. ERR_STATE with
 * info: it cannot be of this store. */
MUST_CHECK enum err changelog_restore(const struct changelog_format *format,
                                      const struct changelog_bounds *bounds, struct store *store,
                                      struct strview key, int64_t time_ms, int64_t minor,
                                      struct strview value, struct err_info *info);
