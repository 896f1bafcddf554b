/* Everything in common/http that reads bytes from strangers without a socket: targets, paths,
 * heads, negotiation. The first line is the request target, each later one a header field. */
#include "fuzz.h"
#include "http/http_head.h"
#include "http/http_negotiate.h"
#include "http/http_route.h"

static void handle(struct http_request *request)
{
    (void)request;
}

static const struct http_route routes[] = {
    {HTTP_POST, "/events/{topic}", handle},
    {HTTP_GET, "/latest/{topic}/{key}", handle},
    {HTTP_GET, "/a/{b}/c/{d}/{e}/{f}", handle},
    {HTTP_GET, "/", handle},
};

static const struct http_route_table *table(void)
{
    static struct http_route_table *made;
    const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};
    if (!made) {
        CHECK(http_route_table_new(&set, 1, &made, NULL) == ERR_OK);
    }
    return made;
}

/* What a handler may rely on, whatever came in. */
static void check_match(struct strview path)
{
    struct http_match match;
    for (enum http_method m = HTTP_GET; m <= HTTP_METHOD_COUNT; m++) {
        const enum err e = http_route_match(table(), m, path, &match);
        CHECK((e == ERR_OK) == (match.target != NULL));
        for (unsigned i = 0; !e && i < match.param_count; i++) {
            const char *value = match.values[i];
            CHECK(value[0] != '\0' && strcmp(value, ".") != 0 && strcmp(value, "..") != 0);
            for (; *value; value++) {
                CHECK((unsigned char)*value >= 0x20 && *value != 0x7f);
            }
        }
    }
}

static void check_negotiation(const char *text)
{
    const double quality = http_accept_quality(text, "application/json");
    CHECK(quality >= 0 && quality <= 1);
    (void)http_accept_encoding(text, "gzip");
    (void)http_etag_matches(text, "\"v1\"");
    char type[32];
    CHECK(http_media_type(text, type, sizeof type).len < sizeof type);
}

static void check_field(struct http_head *head, const char *line)
{
    const char *colon = strchr(line, ':');
    if (colon) {
        http_head_field(head, sv_of(line, (size_t)(colon - line)), sv(colon + 1));
        check_negotiation(colon + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = must_alloc(size + 1); /* exactly as long as the input: one byte over is caught */
    memcpy(text, data, size);
    struct http_head head;
    http_head_begin(&head);
    char *rest = text;
    const char *target = strsep(&rest, "\n");
    for (const char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        check_field(&head, line);
    }
    const bool is_fine = http_head_end(&head, SV("HTTP/1.1"));
    CHECK(!is_fine || (head.host_count == 1 && head.length_count + head.coding_count <= 1));
    CHECK(head.request_id.len <= HTTP_REQUEST_ID_MAX);
    check_match(sv(target));
    const struct strview path = http_target_path(sv(target), head.host);
    CHECK(path.len == 0 || path.ptr[0] == '/');
    check_match(path);
    free(text);
    return 0;
}
