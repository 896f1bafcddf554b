/* strview.h - a borrowed run of bytes. Not NUL-terminated; valid as long as its owner says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct strview {
    const char *ptr;
    size_t len;
};

#define SV(literal)        ((struct strview){"" literal, sizeof(literal) - 1})
#define SV_STATIC(literal) {"" literal, sizeof(literal) - 1} /* in tables, which want constants */
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

/* Members' names are mostly of four to sixteen bytes, each event compares dozens of them, and calling
 * memcmp costs more than comparing so few: two words that overlap. */
static inline bool sv_equal(struct strview a, struct strview b)
{
    if (a.len != b.len) {
        return false;
    }
    if (a.len >= 8 && a.len <= 16) {
        uint64_t a_first, b_first, a_last, b_last;
        memcpy(&a_first, a.ptr, 8);
        memcpy(&b_first, b.ptr, 8);
        memcpy(&a_last, a.ptr + a.len - 8, 8);
        memcpy(&b_last, b.ptr + a.len - 8, 8);
        return a_first == b_first && a_last == b_last;
    }
    if (a.len >= 4 && a.len < 8) {
        uint32_t a_first, b_first, a_last, b_last;
        memcpy(&a_first, a.ptr, 4);
        memcpy(&b_first, b.ptr, 4);
        memcpy(&a_last, a.ptr + a.len - 4, 4);
        memcpy(&b_last, b.ptr + a.len - 4, 4);
        return a_first == b_first && a_last == b_last;
    }
    return a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0;
}

static inline bool sv_starts_with(struct strview text, struct strview prefix)
{
    return text.len >= prefix.len && memcmp(text.ptr, prefix.ptr, prefix.len) == 0;
}
