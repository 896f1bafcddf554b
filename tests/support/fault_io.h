/* fault_io.h - makes the n-th call on files fail, or ends the process in it.
 *
 * USE      Included by one source of a test that is linked with the wraps of FAULT_IO (see
 *          tests/CMakeLists.txt). fault_io.countdown = n: the n-th call from now is hit; is_lasting:
 *          and every one after it. A write that is hit has first written half of its bytes.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

static struct {
    int countdown; /* 0: nothing is hit */
    int error;     /* errno of the call that is hit; 0: the process ends in it, as by a kill */
    bool is_lasting;
    int calls; /* all so far */
} fault_io;

static bool fault_io_hits(void)
{
    fault_io.calls++;
    if (fault_io.countdown == 0 || --fault_io.countdown > 0) {
        return false;
    }
    fault_io.countdown = fault_io.is_lasting ? 1 : 0;
    return true;
}

static int fault_io_fail(void)
{
    if (!fault_io.error) {
        _exit(0);
    }
    errno = fault_io.error;
    return -1;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fault_io_hits() ? fault_io_fail() : __real_open(path, flags, mode);
}

ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    if (!fault_io_hits()) {
        return __real_pwrite(fd, bytes, len, at);
    }
    (void)!__real_pwrite(fd, bytes, len / 2, at);
    return fault_io_fail();
}

#define FAULT_IO_WRAP(name, parameters, arguments)                                                 \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return fault_io_hits() ? fault_io_fail() : __real_##name arguments;                        \
    }
FAULT_IO_WRAP(fsync, (int fd), (fd))
FAULT_IO_WRAP(fdatasync, (int fd), (fd))
FAULT_IO_WRAP(ftruncate, (int fd, off_t len), (fd, len))
FAULT_IO_WRAP(unlink, (const char *path), (path))
FAULT_IO_WRAP(rename, (const char *from, const char *to), (from, to))
FAULT_IO_WRAP(mkdir, (const char *path, mode_t mode), (path, mode))
