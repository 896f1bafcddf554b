/* sink_file.h - a JSON Lines file that holds each record once, whatever ends the process.
 *
 * METHOD   bytes go behind the last committed length; then the file is synced; then a small state
 *          file (positions in Kafka, committed length, generation) is replaced by rename. A crash
 *          before the rename leaves bytes past the committed length: the next start cuts them off
 *          and reads the same records again. A crash after it leaves nothing to do.
 *              invariant: file[0 … length) holds exactly the records below `positions`
 *          Rotation commits {generation + 1, length 0, rotating}, renames the full file to
 *          <path>.<generation>, commits again without `rotating`; a start goes on where it stopped.
 * BOUNDS   one process a file (flock on <path>.lock).
 * THREADS  one owner.
 * ERRORS   ERR_IO names the file and the reason; the committed part is never harmed, so that the
 *          caller may call commit again (disk full, say). ERR_STATE: the state file is not ours.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

struct sink_file;

struct sink_position {
    const char *topic;
    int32_t partition;
    int64_t next; /* next offset to read */
};

struct sink_file_params {
    const char *path;
    bool is_synced;       /* fdatasync before the state is replaced */
    int64_t rotate_bytes; /* 0: never */
    size_t pending_bytes_max;
};

void sink_file_free(struct sink_file *file); /* does not commit */
MUST_CHECK enum err sink_file_open(const struct sink_file_params *params, struct sink_file **ret,
                                   struct err_info *info);
/* The next offset of a partition as committed, or -1 when the file has never seen it. */
int64_t sink_file_position(const struct sink_file *file, const char *topic, int32_t partition);
/* One record, pending until the commit: its line (line breaks inside become spaces) and that the
 * partition has been read up to `position`. ERR_LIMIT: commit first. */
MUST_CHECK enum err sink_file_append(struct sink_file *file, const struct sink_position *position,
                                     struct strview line);
/* Records without a line (tombstones) move the position alone. */
void sink_file_skip(struct sink_file *file, const struct sink_position *position);
size_t sink_file_pending_bytes(const struct sink_file *file);
bool sink_file_is_dirty(const struct sink_file *file);
MUST_CHECK enum err sink_file_commit(struct sink_file *file, struct err_info *info);
