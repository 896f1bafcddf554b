#include "http/http_negotiate.h"

#include <stdlib.h>
#include <strings.h>

static struct strview trim(struct strview text)
{
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* Takes what stands before the next `separator` outside quotes; false at the end. */
static bool next_part(struct strview *rest, char separator, struct strview *ret)
{
    if (!rest->ptr) {
        return false;
    }
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->ptr[i] != separator); i++) {
        if (rest->ptr[i] == '"') {
            quoted = !quoted;
        } else if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len) {
            i++;
        }
    }
    *ret = trim(sv_of(rest->ptr, i));
    *rest = i < rest->len ? sv_of(rest->ptr + i + 1, rest->len - i - 1) : (struct strview){0};
    return true;
}

/* qvalue = "0" [ "." up to 3 digits ] / "1" [ "." up to 3 zeros ]; anything else counts as 1. */
static double quality_of(struct strview text)
{
    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1')) {
        return 1;
    }
    double value = text.ptr[0] - '0';
    double scale = 0.1;
    for (size_t i = 2; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return 1;
        }
        value += scale * (text.ptr[i] - '0');
        scale /= 10;
    }
    return value > 1 ? 1 : value;
}

/* The part before parameters, and its q. Other parameters narrow a range to a variant that we do
 * not make, so they do not take part in the comparison. */
static struct strview range_read(struct strview part, double *ret_quality)
{
    struct strview name = {0};
    struct strview parameter;
    (void)next_part(&part, ';', &name); /* part is not NULL: there is a first piece */
    *ret_quality = 1;
    while (next_part(&part, ';', &parameter)) {
        if (parameter.len > 2 && (parameter.ptr[0] | 0x20) == 'q' && parameter.ptr[1] == '=') {
            *ret_quality = quality_of(sv_of(parameter.ptr + 2, parameter.len - 2));
        }
    }
    return name;
}

static bool equal_caseless(struct strview a, const char *b, size_t b_len)
{
    return a.len == b_len && strncasecmp(a.ptr, b, b_len) == 0;
}

double http_accept_quality(const char *accept, const char *media_type)
{
    if (!accept || !*accept) {
        return 1;
    }
    const char *slash = strchr(media_type, '/');
    const size_t type_len = slash ? (size_t)(slash - media_type) : 0;
    struct strview rest = sv(accept);
    struct strview part;
    double best = 0;
    int best_rank = 0;
    while (next_part(&rest, ',', &part)) {
        double quality;
        const struct strview range = range_read(part, &quality);
        int rank = 0;
        if (equal_caseless(range, media_type, strlen(media_type))) {
            rank = 3;
        } else if (type_len && range.len == type_len + 2 && range.ptr[type_len + 1] == '*' &&
                   strncasecmp(range.ptr, media_type, type_len + 1) == 0) {
            rank = 2;
        } else if (equal_caseless(range, "*/*", 3)) {
            rank = 1;
        }
        if (rank > best_rank) {
            best_rank = rank;
            best = quality;
        }
    }
    return best;
}

bool http_accept_encoding(const char *accept_encoding, const char *coding)
{
    struct strview rest = sv(accept_encoding);
    struct strview part;
    bool any = false;
    while (next_part(&rest, ',', &part)) {
        double quality;
        const struct strview name = range_read(part, &quality);
        if (equal_caseless(name, coding, strlen(coding))) {
            return quality > 0;
        }
        if (equal_caseless(name, "*", 1)) {
            any = quality > 0;
        }
    }
    return any;
}

bool http_etag_matches(const char *if_none_match, const char *etag)
{
    struct strview rest = sv(if_none_match);
    struct strview part;
    while (next_part(&rest, ',', &part)) {
        if (sv_equal(part, SV("*"))) {
            return true;
        }
        if (sv_starts_with(part, SV("W/"))) {
            part = sv_of(part.ptr + 2, part.len - 2);
        }
        if (sv_equal(part, sv(etag))) {
            return true;
        }
    }
    return false;
}

/* Nearly always it is a bare type in small letters: nothing to cut and nothing to change. */
static size_t bare_type(const char *content_type, char *out, size_t out_bytes)
{
    size_t len = 0;
    for (const char *at = content_type; len + 1 < out_bytes; at++) {
        const bool is_bare = (*at >= 'a' && *at <= 'z') || (*at >= '+' && *at <= '9' && *at != ',');
        if (!is_bare) {
            out[len] = '\0';
            return *at ? 0 : len;
        }
        out[len++] = *at;
    }
    return 0;
}

struct strview http_media_type(const char *content_type, char *out, size_t out_bytes)
{
    const size_t len = content_type ? bare_type(content_type, out, out_bytes) : 0;
    if (len) {
        return sv_of(out, len);
    }
    struct strview rest = sv(content_type);
    struct strview name = {0};
    if (!next_part(&rest, ';', &name) || name.len >= out_bytes) {
        name.len = 0;
    }
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    out[name.len] = '\0';
    return sv_of(out, name.len);
}
