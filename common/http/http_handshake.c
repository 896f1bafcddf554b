/* WebSocket's opening handshake (RFC 6455 §4.2): what a request has to say, and what is answered. */
#include "http/http_internal.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base64.h"
#include "http/http_websocket.h"

#define VERSION        "13"
#define GUID           "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* §1.3 */
#define NONCE_BYTES    16
#define SHA1_BYTES     20
#define LIST_BYTES_MAX 8192
#define ACCEPT_BYTES   BASE64_TEXT_BYTES(SHA1_BYTES)
#define NONCE_TEXT_MAX 64

/* --- fields ----------------------------------------------------------------------------------- */

struct list {
    const char *name;
    struct buf text; /* every value of the field, with commas between */
};

static void list_add(void *context, struct strview name, struct strview value)
{
    struct list *list = context;
    if (name.len == strlen(list->name) && strncasecmp(name.ptr, list->name, name.len) == 0) {
        /* What does not fit is left out: the head as a whole is bounded, too. */
        (void)!buf_printf(&list->text, "%s%.*s", list->text.len ? "," : "", SV_ARG(value));
    }
}

static void list_read(const struct http_request *request, const char *name, struct list *ret)
{
    *ret = (struct list){.name = name};
    buf_init(&ret->text, LIST_BYTES_MAX);
    http_request_each_header(request, list_add, ret);
}

static bool list_next(struct strview *rest, struct strview *ret)
{
    while (rest->len && strchr(", \t", rest->ptr[0])) {
        *rest = sv_of(rest->ptr + 1, rest->len - 1);
    }
    size_t len = 0;
    while (len < rest->len && !strchr(", \t", rest->ptr[len])) {
        len++;
    }
    *ret = sv_of(rest->ptr, len);
    *rest = sv_of(rest->ptr + len, rest->len - len);
    return len > 0;
}

static bool list_has(const struct http_request *request, const char *name, const char *wanted,
                     bool *ret_is_empty)
{
    struct list list;
    struct strview token;
    bool is_found = false;
    list_read(request, name, &list);
    struct strview rest = buf_view(&list.text);
    *ret_is_empty = rest.len == 0;
    while (!is_found && list_next(&rest, &token)) {
        is_found = token.len == strlen(wanted) && strncasecmp(token.ptr, wanted, token.len) == 0;
    }
    buf_free(&list.text);
    return is_found;
}

/* --- what is asked ---------------------------------------------------------------------------- */

bool http_websocket_is_asked(const struct http_request *request)
{
    bool is_empty;
    return list_has(request, "Upgrade", "websocket", &is_empty) &&
           list_has(request, "Connection", "upgrade", &is_empty);
}

static enum err check_request(struct http_request *request, struct err_info *info)
{
    const char *version = http_request_header(request, "Sec-WebSocket-Version");
    if (request->is_head || request->head.is_old || !http_websocket_is_asked(request)) {
        http_reply_header(request, "Upgrade", "websocket");
        return err_set(info, ERR_UPGRADE_REQUIRED,
                       "this address is for WebSocket: a GET in HTTP/1.1 with \"Upgrade: "
                       "websocket\" and \"Connection: Upgrade\"");
    }
    if (!version || strcmp(version, VERSION) != 0) {
        http_reply_header(request, "Upgrade", "websocket");
        http_reply_header(request, "Sec-WebSocket-Version", VERSION);
        return err_set(info, ERR_UPGRADE_REQUIRED, "the version of WebSocket spoken here is %s",
                       VERSION);
    }
    return ERR_OK;
}

/* A page of another site may open a WebSocket with the visitor's cookies and from inside the visitor's
 * network, and there is no preflight: so its origin is looked at here. */
static enum err check_origin(const struct http_request *request,
                             const struct http_websocket_config *config, struct err_info *info)
{
    const char *origin = request->head.origin;
    if (!origin || strcmp(config->origins, "*") == 0 ||
        http_origin_is_listed(config->origins, origin)) {
        return ERR_OK;
    }
    const char *host = strstr(origin, "://");
    struct strview own = request->head.host;
    if (host && strlen(host + 3) == own.len && strncasecmp(host + 3, own.ptr, own.len) == 0) {
        return ERR_OK;
    }
    return err_set(info, ERR_FORBIDDEN, "the origin \"%.100s\" is not allowed to open a WebSocket",
                   origin);
}

static enum err agree_protocol(struct http_request *request, const char *protocol,
                               struct err_info *info)
{
    bool is_empty = true;
    if (!protocol) {
        return ERR_OK;
    }
    if (list_has(request, "Sec-WebSocket-Protocol", protocol, &is_empty)) {
        http_reply_header(request, "Sec-WebSocket-Protocol", protocol);
        return ERR_OK;
    }
    return is_empty ? ERR_OK
                    : err_set(info, ERR_REQUEST_PARAM,
                              "none of the subprotocols offered is spoken here: %s is", protocol);
}

static enum err answer_key(struct http_request *request, struct err_info *info)
{
    char nonce[NONCE_BYTES], text[NONCE_TEXT_MAX + sizeof GUID], accept[ACCEPT_BYTES];
    unsigned char digest[SHA1_BYTES];
    size_t bytes = 0;
    const char *key = http_request_header(request, "Sec-WebSocket-Key");
    bool is_key = key && strlen(key) < NONCE_TEXT_MAX &&
                  base64_decode(BASE64_STANDARD, sv(key), nonce, sizeof nonce, &bytes) &&
                  bytes == sizeof nonce;
    if (!is_key) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "Sec-WebSocket-Key is not 16 bytes in base64, given once");
    }
    const int len = snprintf(text, sizeof text, "%s%s", key, GUID);
    CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA1, text, (size_t)len, digest) == 0);
    (void)base64_encode(BASE64_STANDARD, digest, sizeof digest, accept);
    http_reply_header(request, "Sec-WebSocket-Accept", accept);
    return ERR_OK;
}

static void agree_extension(struct http_request *request, int *ret_window_bits)
{
    struct list offers;
    char answer[WEBSOCKET_EXTENSION_BYTES];
    list_read(request, "Sec-WebSocket-Extensions", &offers);
    if (websocket_agree(buf_view(&offers.text), answer, ret_window_bits)) {
        http_reply_header(request, "Sec-WebSocket-Extensions", answer);
    }
    buf_free(&offers.text);
}

enum err http_websocket_greet(struct http_request *request,
                              const struct http_websocket_config *config, int *ret_window_bits,
                              struct err_info *info)
{
    enum err e = check_request(request, info);
    e = e ? e : check_origin(request, config, info);
    e = e ? e : agree_protocol(request, config->protocol, info);
    e = e ? e : answer_key(request, info);
    if (!e && ret_window_bits) {
        agree_extension(request, ret_window_bits);
    }
    return e;
}
