/* strview.h - a borrowed run of bytes. Not NUL-terminated; valid as long as its owner says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct strview {
    const char *ptr;
    size_t len;
};

#define SV(literal) ((struct strview){"" literal, sizeof(literal) - 1})
/* For printf's "%.*s". */
#define SV_ARG(view) (int)(view).len, (view).ptr ? (view).ptr : ""

static inline struct strview sv(const char *text)
{
    return (struct strview){text, text ? strlen(text) : 0};
}

static inline struct strview sv_of(const void *bytes, size_t len)
{
    return (struct strview){(const char *)bytes, len};
}

static inline bool sv_equal(struct strview a, struct strview b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool sv_starts_with(struct strview text, struct strview prefix)
{
    return text.len >= prefix.len && memcmp(text.ptr, prefix.ptr, prefix.len) == 0;
}
