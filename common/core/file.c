#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum err file_error(struct err_info *info, const char *what, const char *path)
{
    return err_set(info, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

enum err file_write_at(int fd, const void *bytes, size_t len, int64_t at)
{
    const char *next = bytes;
    while (len) {
        ssize_t written = pwrite(fd, next, len, at);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? ENOSPC : errno; /* no progress without an error */
            return ERR_IO;
        }
        next += written;
        len -= (size_t)written;
        at += written;
    }
    return ERR_OK;
}

enum err file_read_at(int fd, void *bytes, size_t len, int64_t at, size_t *ret_read)
{
    size_t done = 0;
    while (done < len) {
        ssize_t count = pread(fd, (char *)bytes + done, len - done, at + (int64_t)done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return ERR_IO;
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    *ret_read = done;
    return ERR_OK;
}

/* --- folders ---------------------------------------------------------------------------------- */

/* The path's folder part into `copy`: "." for a bare name, "/" for what lies in the root. */
static void parent_of(const char *path, char copy[FILE_PATH_BYTES_MAX])
{
    (void)snprintf(copy, FILE_PATH_BYTES_MAX, "%s", path);
    char *slash = strrchr(copy, '/');
    if (!slash) {
        (void)snprintf(copy, FILE_PATH_BYTES_MAX, ".");
    } else {
        slash[slash == copy] = '\0';
    }
}

static enum err folder_make_one(const char *path, struct err_info *info)
{
    return mkdir(path, 0755) == 0 || errno == EEXIST ? ERR_OK
                                                     : file_error(info, "make the folder", path);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* only read from */
    }
}

#define READ_BYTES 65536

enum err file_read(const char *path, struct buf *out, struct err_info *info)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return file_error(info, "open", path);
    }
    for (;;) {
        char bytes[READ_BYTES];
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got == 0) {
            return ERR_OK;
        }
        if (got < 0 && errno != EINTR) {
            return file_error(info, "read", path);
        }
        if (got > 0 && buf_append(out, bytes, (size_t)got)) {
            return err_set(info, ERR_IO, "%s: larger than %zu MiB", path, out->bytes_max >> 20);
        }
    }
}

enum err file_folder_make(const char *path, struct err_info *info)
{
    char copy[FILE_PATH_BYTES_MAX];
    if ((size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy - 32) {
        return err_set(info, ERR_IO, "%s: the path is too long", path);
    }
    enum err e = copy[0] ? ERR_OK : err_set(info, ERR_IO, "the path is empty");
    for (char *slash = strchr(copy + (copy[0] != '\0'), '/'); slash && !e;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        e = folder_make_one(copy, info);
        *slash = '/';
    }
    return e ? e : folder_make_one(copy, info);
}

enum err file_parent_make(const char *path, struct err_info *info)
{
    if (strlen(path) >= FILE_PATH_BYTES_MAX - 32) {
        return err_set(info, ERR_IO, "%s: the path is too long", path);
    }
    char folder[FILE_PATH_BYTES_MAX];
    parent_of(path, folder);
    return file_folder_make(folder, info);
}

enum err file_folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_IO;
    }
    int result = fsync(fd), why = errno;
    (void)close(fd); /* only synced through */
    errno = why;
    return result == 0 ? ERR_OK : ERR_IO;
}

enum err file_parent_sync(const char *path)
{
    char folder[FILE_PATH_BYTES_MAX];
    parent_of(path, folder);
    return file_folder_sync(folder);
}

/* --- one owner -------------------------------------------------------------------------------- */

enum err file_lock(const char *path, const char *who, int *ret_fd, struct err_info *info)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return file_error(info, "open", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return err_set(info, ERR_STATE, "%s: %s holds the lock", path, who);
    }
    *ret_fd = fd;
    return ERR_OK;
}
