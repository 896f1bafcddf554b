/* file.h - the few things that files need beyond POSIX: whole writes, folders, one owner.
 *
 * ERRORS   ERR_IO, the reason in errno's words with the path before it; ERR_STATE for a lock that
 *          somebody else holds. EINTR is never seen by the caller.
 * THREADS  any; errno is the caller's own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

#define FILE_PATH_BYTES_MAX 4096

/* "<path>: cannot <what>: <errno's words>". */
enum err file_error(struct err_info *info, const char *what, const char *path);
/* All of it at its place, or ERR_IO with errno: then any part may have been written. */
MUST_CHECK enum err file_write_at(int fd, const void *bytes, size_t len, int64_t at);
/* Up to len bytes; fewer only at the file's end. ERR_IO with errno. */
MUST_CHECK enum err file_read_at(int fd, void *bytes, size_t len, int64_t at, size_t *ret_read);
/* All of a file, appended to out: what is more than it may hold is ERR_IO, too. */
MUST_CHECK enum err file_read(const char *path, struct buf *out, struct err_info *info);
/* Makes the folder and those above it. */
MUST_CHECK enum err file_folder_make(const char *path, struct err_info *info);
/* Makes the folders above a file. */
MUST_CHECK enum err file_parent_make(const char *path, struct err_info *info);
/* Makes what was created, renamed or removed in a folder last through a loss of power. */
MUST_CHECK enum err file_folder_sync(const char *path);
MUST_CHECK enum err file_parent_sync(const char *path);
/* The file's descriptor, locked for this process until it is closed. `who` for the message:
 * "another sink". */
MUST_CHECK enum err file_lock(const char *path, const char *who, int *ret_fd,
                              struct err_info *info);
