#include "json/json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define READ_BYTES     65536

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* only read from */
    }
}

static enum err read_all(int fd, const char *path, struct buf *out, struct err_info *info)
{
    for (;;) {
        if (buf_reserve(out, READ_BYTES)) {
            return err_set(info, ERR_IO, "%s: larger than 16 MiB", path);
        }
        ssize_t got = read(fd, out->data + out->len, READ_BYTES);
        if (got == 0) {
            return ERR_OK;
        }
        if (got < 0 && errno != EINTR) {
            return err_set(info, ERR_IO, "%s: cannot read: %s", path, strerror(errno));
        }
        out->len += got > 0 ? (size_t)got : 0;
    }
}

enum err json_file_load(const char *path, json_t **ret, struct err_info *info)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(info, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, FILE_BYTES_MAX + READ_BYTES);
    enum err e = read_all(fd, path, &text, info);
    return e ? e : json_text_load(buf_view(&text), path, ret, info);
}

enum err json_text_load(struct strview text, const char *name, json_t **ret, struct err_info *info)
{
    json_error_t error;
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value) {
        if (info) {
            info->at = error.position > 0 ? (size_t)error.position : 0;
        }
        return err_set(info, ERR_JSON_SYNTAX, "%s:%d:%d: %s", name, error.line, error.column,
                       error.text);
    }
    *ret = value;
    return ERR_OK;
}
