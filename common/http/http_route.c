#include "http/http_route.h"

#include <stdlib.h>
#include <string.h>

#include "http/http_wire.h"

struct segment {
    struct strview text; /* literal, or the name between the braces */
    bool is_param;
};

struct pattern {
    const char *path;
    size_t segment_count;
    struct segment segments[HTTP_SEGMENTS_MAX];
    struct http_target targets[HTTP_METHOD_COUNT]; /* route NULL: the path does not take it */
    unsigned allow;
};

struct http_route_table {
    size_t count;
    struct pattern *patterns;
};

static const struct strview method_names[HTTP_METHOD_COUNT] = {[HTTP_GET] = SV_STATIC("GET"),
                                                               [HTTP_POST] = SV_STATIC("POST"),
                                                               [HTTP_PUT] = SV_STATIC("PUT"),
                                                               [HTTP_DELETE] = SV_STATIC("DELETE")};

const char *http_method_name(enum http_method method)
{
    return method < HTTP_METHOD_COUNT ? method_names[method].ptr : "other";
}

enum http_method http_method_of(struct strview name)
{
    enum http_method method = HTTP_GET;
    while (method < HTTP_METHOD_COUNT && !sv_equal(method_names[method], name)) {
        method++;
    }
    return method;
}

/* --- segments ----------------------------------------------------------------------------------
 */

/* Cuts "/a/b" into "a" and "b"; "/" has none. False when there are too many, or no leading slash.
 */
static bool path_split(struct strview path, struct strview segments[HTTP_SEGMENTS_MAX],
                       size_t *ret_count)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        return false;
    }
    size_t count = 0;
    for (size_t at = 1; path.len > 1;) {
        const char *slash = memchr(path.ptr + at, '/', path.len - at);
        const size_t end = slash ? (size_t)(slash - path.ptr) : path.len;
        if (count == HTTP_SEGMENTS_MAX) {
            return false;
        }
        segments[count++] = sv_of(path.ptr + at, end - at);
        if (!slash) {
            break;
        }
        at = end + 1;
    }
    *ret_count = count;
    return true;
}

size_t http_percent_decode(char *text, size_t len)
{
    size_t out = 0;
    for (size_t in = 0; in < len; in++) {
        char c = text[in];
        if (c == '%') {
            const int high = in + 2 < len ? http_wire_digit(text[in + 1]) : -1;
            const int low = in + 2 < len ? http_wire_digit(text[in + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return SIZE_MAX;
            }
            c = (char)(high * 16 + low);
            in += 2;
        }
        text[out++] = c;
    }
    return out;
}

/* Every escape of the path is whole and none stands for a control character: what a proxy in front
 * or a file name behind could read differently. */
static bool path_is_clean(struct strview path)
{
    if (!path.len || (http_wire_is_plain(path) && !memchr(path.ptr, '%', path.len))) {
        return true; /* as nearly all are */
    }
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c == '%') {
            const int high = i + 2 < path.len ? http_wire_digit(path.ptr[i + 1]) : -1;
            const int low = i + 2 < path.len ? http_wire_digit(path.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* --- table -------------------------------------------------------------------------------------
 */

static enum err pattern_init(struct pattern *pattern, const char *path, struct err_info *info)
{
    *pattern = (struct pattern){.path = path};
    struct strview parts[HTTP_SEGMENTS_MAX];
    if (strlen(path) >= HTTP_PATH_BYTES || !path_split(sv(path), parts, &pattern->segment_count)) {
        return err_set(info, ERR_CONFIG, "route %s: not a path of at most %d segments", path,
                       HTTP_SEGMENTS_MAX);
    }
    unsigned params = 0;
    for (size_t i = 0; i < pattern->segment_count; i++) {
        struct strview text = parts[i];
        const bool is_param = text.len > 2 && text.ptr[0] == '{' && text.ptr[text.len - 1] == '}';
        if (is_param) {
            text = sv_of(text.ptr + 1, text.len - 2);
            params++;
        }
        pattern->segments[i] = (struct segment){text, is_param};
    }
    if (params > HTTP_PARAMS_MAX) {
        return err_set(info, ERR_CONFIG, "route %s: more than %d named segments", path,
                       HTTP_PARAMS_MAX);
    }
    return ERR_OK;
}

static struct pattern *table_find(struct http_route_table *table, const char *path)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->patterns[i].path, path) == 0) {
            return &table->patterns[i];
        }
    }
    return NULL;
}

static enum err table_add(struct http_route_table *table, const struct http_route *route,
                          const struct http_route_set *set, struct err_info *info)
{
    struct pattern *pattern = table_find(table, route->path);
    if (!pattern) {
        pattern = &table->patterns[table->count];
        enum err e = pattern_init(pattern, route->path, info);
        if (e) {
            return e;
        }
        table->count++;
    }
    if (!pattern->targets[route->method].route) { /* the first set that names it wins */
        pattern->targets[route->method] = (struct http_target){
            .route = route, .context = set->context, .is_unlimited = set->is_unlimited};
        pattern->allow |= 1u << route->method;
    }
    return ERR_OK;
}

void http_route_table_free(struct http_route_table *table)
{
    if (table) {
        free(table->patterns);
        free(table);
    }
}

enum err http_route_table_new(const struct http_route_set *sets, size_t set_count,
                              struct http_route_table **ret, struct err_info *info)
{
    size_t routes = 0;
    for (size_t i = 0; i < set_count; i++) {
        routes += sets[i].count;
    }
    struct http_route_table *table = must_alloc(sizeof *table);
    table->patterns = must_alloc((routes + 1) * sizeof *table->patterns);
    for (size_t i = 0; i < set_count; i++) {
        for (size_t r = 0; r < sets[i].count; r++) {
            enum err e = table_add(table, &sets[i].routes[r], &sets[i], info);
            if (e) {
                http_route_table_free(table);
                return e;
            }
        }
    }
    *ret = table;
    return ERR_OK;
}

/* --- matching ----------------------------------------------------------------------------------
 */

static bool pattern_fits(const struct pattern *pattern, const struct strview *parts, size_t count)
{
    if (pattern->segment_count != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct segment *segment = &pattern->segments[i];
        const bool fits = segment->is_param ? parts[i].len > 0 : sv_equal(segment->text, parts[i]);
        if (!fits) {
            return false;
        }
    }
    return true;
}

static bool is_dots(const char *text, size_t len)
{
    return (len == 1 && text[0] == '.') || (len == 2 && text[0] == '.' && text[1] == '.');
}

/* False when a decoded segment is "." or "..": no handler ever sees one. */
static bool match_decode(struct http_match *match, const struct pattern *pattern,
                         const struct strview *parts)
{
    char *out = match->text;
    match->param_count = 0;
    for (size_t i = 0; i < pattern->segment_count; i++) {
        const struct segment *segment = &pattern->segments[i];
        if (!segment->is_param) {
            continue;
        }
        /* Fits: the path is shorter than text, and each value gave up a slash for its NUL. */
        memcpy(out, parts[i].ptr, parts[i].len);
        const size_t len = http_percent_decode(out, parts[i].len);
        if (len == SIZE_MAX || is_dots(out, len)) {
            return false;
        }
        out[len] = '\0';
        match->names[match->param_count] = segment->text.ptr;
        match->name_bytes[match->param_count] = (uint8_t)segment->text.len;
        match->values[match->param_count++] = out;
        out += len + 1;
    }
    return true;
}

enum err http_route_match(const struct http_route_table *table, enum http_method method,
                          struct strview path, struct http_match *ret)
{
    ret->target = NULL;
    ret->allow = 0;
    ret->param_count = 0;
    if (path.len >= HTTP_PATH_BYTES) {
        return ERR_HEADERS_TOO_LARGE;
    }
    if (!path_is_clean(path)) {
        return ERR_REQUEST_AMBIGUOUS;
    }
    UNINITIALIZED struct strview parts[HTTP_SEGMENTS_MAX];
    size_t count;
    if (!path_split(path, parts, &count)) {
        return ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < table->count; i++) {
        struct pattern *pattern = &table->patterns[i];
        if (!pattern_fits(pattern, parts, count)) {
            continue;
        }
        ret->allow |= pattern->allow;
        if (method < HTTP_METHOD_COUNT && pattern->targets[method].route) {
            ret->target = match_decode(ret, pattern, parts) ? &pattern->targets[method] : NULL;
            return ret->target ? ERR_OK : ERR_NOT_FOUND;
        }
    }
    return ret->allow ? ERR_METHOD_NOT_ALLOWED : ERR_NOT_FOUND;
}

const char *http_match_param(const struct http_match *match, const char *name)
{
    const struct strview wanted = sv(name);
    for (unsigned i = 0; i < match->param_count; i++) {
        if (sv_equal(wanted, sv_of(match->names[i], match->name_bytes[i]))) {
            return match->values[i];
        }
    }
    return NULL;
}

void http_allow_text(unsigned allow, char text[HTTP_ALLOW_BYTES])
{
    char *out = text;
    for (enum http_method m = HTTP_GET; m < HTTP_METHOD_COUNT; m++) {
        if (allow & (1u << m)) {
            out = stpcpy(out, method_names[m].ptr);
            out = stpcpy(out, m == HTTP_GET ? ", HEAD, " : ", ");
        }
    }
    stpcpy(out, "OPTIONS");
}
