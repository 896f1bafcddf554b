#include "schema/schema_uri.h"

/* A part that is absent has ptr NULL: "a?" has an empty query, "a" has none. */
struct uri_parts {
    struct strview scheme, authority, path, query, fragment;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_scheme(char c)
{
    return is_alpha(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

/* Moves the bytes up to `end` out of *rest. */
static struct strview take(struct strview *rest, size_t end)
{
    struct strview taken = {rest->ptr, end};
    *rest = (struct strview){rest->ptr + end, rest->len - end};
    return taken;
}

static size_t find_any(struct strview text, const char *stops)
{
    size_t at = 0;
    while (at < text.len && !(text.ptr[at] && strchr(stops, text.ptr[at]))) {
        at++;
    }
    return at;
}

static struct uri_parts uri_split(struct strview text)
{
    struct uri_parts parts = {0};
    struct strview rest = {text.ptr ? text.ptr : "", text.len};
    size_t end = 0;
    while (end < rest.len && is_scheme(rest.ptr[end])) {
        end++;
    }
    if (end > 0 && end < rest.len && rest.ptr[end] == ':' && is_alpha(rest.ptr[0])) {
        parts.scheme = take(&rest, end);
        (void)take(&rest, 1); /* the colon */
    }
    if (sv_starts_with(rest, SV("//"))) {
        (void)take(&rest, 2); /* the slashes */
        parts.authority = take(&rest, find_any(rest, "/?#"));
    }
    parts.path = take(&rest, find_any(rest, "?#"));
    if (rest.len > 0 && rest.ptr[0] == '?') {
        (void)take(&rest, 1); /* the question mark */
        parts.query = take(&rest, find_any(rest, "#"));
    }
    if (rest.len > 0) {
        parts.fragment = (struct strview){rest.ptr + 1, rest.len - 1};
    }
    return parts;
}

static bool text_add(struct uri_text *text, struct strview part)
{
    if (part.len > sizeof text->text - text->len) {
        return false;
    }
    if (part.len) {
        memcpy(text->text + text->len, part.ptr, part.len);
    }
    text->len += part.len;
    return true;
}

/* Whether the path at `at` starts with "/./" or "/../" (or ends with the dots). */
static bool has_dots(const struct uri_text *text, size_t at, size_t dots)
{
    size_t end = at + 1 + dots;
    return end <= text->len && memcmp(text->text + at, "/..", 1 + dots) == 0 &&
           (end == text->len || text->text[end] == '/');
}

/* Takes "." and ".." out of the path that starts at `from` (§5.2.4); a leading one has no slash
 * before it and stays: such a path cannot come out of a merge with an absolute base. */
static void path_remove_dots(struct uri_text *text, size_t from)
{
    size_t out = from;
    size_t at = from;
    while (at < text->len) {
        size_t dots = has_dots(text, at, 2) ? 2 : has_dots(text, at, 1) ? 1 : 0;
        if (dots == 0) {
            text->text[out++] = text->text[at++];
            continue;
        }
        at += 1 + dots;
        while (dots == 2 && out > from && text->text[--out] != '/') {
        }
        if (at == text->len) {
            text->text[out++] = '/';
        }
    }
    text->len = out;
}

/* The base's path up to and with its last slash. */
static struct strview path_folder(struct uri_parts base)
{
    if (base.authority.ptr && base.path.len == 0) {
        return SV("/");
    }
    size_t len = base.path.len;
    while (len > 0 && base.path.ptr[len - 1] != '/') {
        len--;
    }
    return (struct strview){base.path.ptr, len};
}

static bool add_path(struct uri_text *ret, struct uri_parts base, struct uri_parts reference)
{
    size_t from = ret->len;
    bool is_whole = reference.scheme.ptr || reference.authority.ptr ||
                    (reference.path.len > 0 && reference.path.ptr[0] == '/');
    if (!is_whole && reference.path.len == 0) {
        return text_add(ret, base.path);
    }
    if (!(is_whole || text_add(ret, path_folder(base))) || !text_add(ret, reference.path)) {
        return false;
    }
    path_remove_dots(ret, from);
    return true;
}

bool uri_resolve(struct strview base_text, struct strview text, struct uri_text *ret)
{
    const struct uri_parts base = uri_split(base_text);
    const struct uri_parts reference = uri_split(text);
    const bool has_scheme = reference.scheme.ptr, has_authority = reference.authority.ptr;
    const struct strview scheme = has_scheme ? reference.scheme : base.scheme;
    const struct strview authority =
        has_scheme || has_authority ? reference.authority : base.authority;
    const bool is_same = !has_scheme && !has_authority && reference.path.len == 0;
    const struct strview query = is_same && !reference.query.ptr ? base.query : reference.query;
    ret->len = 0;
    return (!scheme.ptr || (text_add(ret, scheme) && text_add(ret, SV(":")))) &&
           (!authority.ptr || (text_add(ret, SV("//")) && text_add(ret, authority))) &&
           add_path(ret, base, reference) &&
           (!query.ptr || (text_add(ret, SV("?")) && text_add(ret, query))) &&
           (!reference.fragment.ptr ||
            (text_add(ret, SV("#")) && text_add(ret, reference.fragment)));
}

struct strview uri_without_fragment(struct strview uri)
{
    return (struct strview){uri.ptr, find_any(uri, "#")};
}

struct strview uri_fragment(struct strview uri)
{
    size_t at = find_any(uri, "#");
    return at < uri.len ? (struct strview){uri.ptr + at + 1, uri.len - at - 1}
                        : (struct strview){uri.ptr + uri.len, 0};
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t uri_decode(struct strview text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int high = text.ptr[i] == '%' && i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text.ptr[i + 2]) : -1;
        if (low >= 0) {
            out[len++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[len++] = text.ptr[i];
        }
    }
    return len;
}
