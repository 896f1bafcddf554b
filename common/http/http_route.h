/* http_route.h - which handler a path and a method belong to.
 *
 * WHAT     compiles route sets once; a match walks the patterns in the order they were declared and
 *          percent-decodes the segments that a pattern names. Pure: no I/O.
 * BOUNDS   HTTP_SEGMENTS_MAX segments, HTTP_PARAMS_MAX of them named, HTTP_PATH_BYTES of path.
 * SAFETY   an empty segment ("//"), "." and ".." match nothing, encoded or not; a NUL or another
 *          control character, encoded or not, and a broken escape are ERR_REQUEST_AMBIGUOUS.
 * THREADS  the table is read-only once made; a match belongs to its caller.
 * COST     no allocation; a comparison a segment.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"
#include "http/http.h"
#include "metrics/metrics.h"

#define HTTP_SEGMENTS_MAX 16
#define HTTP_PARAMS_MAX   4
#define HTTP_PATH_BYTES   1024

/* A route as compiled: one method of one pattern. */
struct http_target {
    const struct http_route *route;
    void *context;
    bool is_unlimited;
    struct metric_series *requests[6]; /* by the status' first digit; made on first use */
    struct metric_series *seconds;
};

struct http_match {
    struct http_target *target; /* NULL unless ERR_OK */
    unsigned allow;             /* bit per enum http_method that the path takes */
    unsigned param_count;
    const char *names[HTTP_PARAMS_MAX]; /* of the pattern, not terminated: see name_bytes */
    uint8_t name_bytes[HTTP_PARAMS_MAX];
    const char *values[HTTP_PARAMS_MAX]; /* in text */
    char text[HTTP_PATH_BYTES];          /* decoded values, each with its NUL */
};

struct http_route_table;

void http_route_table_free(struct http_route_table *table); /* NULL is a no-op */
/* The sets' routes must outlive the table. ERR_CONFIG names a pattern that is out of bounds. */
MUST_CHECK enum err http_route_table_new(const struct http_route_set *sets, size_t set_count,
                                         struct http_route_table **ret, struct err_info *info);

/* ERR_OK, ERR_NOT_FOUND, ERR_METHOD_NOT_ALLOWED (ret->allow says what is), ERR_REQUEST_AMBIGUOUS,
 * ERR_HEADERS_TOO_LARGE (path longer than the bound). method HTTP_METHOD_COUNT: only ret->allow. */
enum err http_route_match(const struct http_route_table *table, enum http_method method,
                          struct strview path, struct http_match *ret);
/* NULL when the pattern has no such segment. */
const char *http_match_param(const struct http_match *match, const char *name);

/* "GET, HEAD, POST, OPTIONS" */
#define HTTP_ALLOW_BYTES 64
void http_allow_text(unsigned allow, char text[HTTP_ALLOW_BYTES]);
const char *http_method_name(enum http_method method);
enum http_method http_method_of(struct strview name); /* HTTP_METHOD_COUNT: none of ours */

/* Decodes %XX in place; the new length, or SIZE_MAX for a broken escape or an encoded NUL. */
size_t http_percent_decode(char *text, size_t len);
