/* embedded.h - a file that the build put into the binary (cmake/Embed.cmake). */
#pragma once

#include <stddef.h>

struct embedded_file {
    const char *name;
    const char *content_type;
    const char *etag; /* quoted, strong */
    const unsigned char *plain;
    size_t plain_bytes;
    const unsigned char *gzip;
    size_t gzip_bytes;
};
