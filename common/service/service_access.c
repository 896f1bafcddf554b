#include "service/service_access.h"

#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool is_well(void *context, char *text, size_t text_bytes)
{
    return access_health(context, text, text_bytes);
}

static enum err reload(void *context, struct err_info *info)
{
    return access_reload(context, info);
}

/* Whether only this machine can reach the address. */
static bool is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1) {
        return ntohl(four.s_addr) >> 24 == 127;
    }
    return strcmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
}

enum err service_access_start(struct service *service, const struct access_config *config,
                              struct access **ret, struct err_info *info)
{
    const enum err e = access_new(config, ret, info);
    if (e) {
        return e;
    }
    const char *host = service_http_config(service)->host;
    service_add_check(service, &(struct service_check){"access", is_well, *ret});
    service_add_reload(service, &(struct service_reload){"access", reload, *ret});
    if (!access_is_on(*ret) && !is_loopback(host)) {
        log_event(LOG_WARN, "access_off",
                  "whoever reaches this address may do everything; access.mode=on asks who it is",
                  KV("host", host));
    }
    return ERR_OK;
}

/* What the client's certificate calls it: its subject first. */
static size_t peer_names(const struct http_request *request,
                         const char *names[1 + HTTP_PEER_NAMES_MAX])
{
    const struct http_peer *peer = http_request_peer(request);
    if (!peer) {
        return 0;
    }
    names[0] = peer->subject;
    memcpy(names + 1, peer->names, peer->name_count * sizeof *names);
    return 1 + peer->name_count;
}

/* With access on. Not inlined: its room would be cleared where nobody is asked. */
__attribute__((noinline)) static enum err
identify(struct http_request *request, struct access_view *view, enum service_access_moment moment,
         struct access_principal **ret, struct err_info *info)
{
    const char *names[1 + HTTP_PEER_NAMES_MAX];
    const struct access_request asked = {
        .authorization = http_request_header(request, "Authorization"),
        .api_key = http_request_header(request, "X-Api-Key"),
        .ticket = moment == SERVICE_ACCESS_STREAM ? http_request_query(request, "ticket") : NULL,
        .client = http_request_client(request),
        .names = names,
        .name_count = peer_names(request, names),
        .is_asked_again = moment == SERVICE_ACCESS_HEAD,
        .is_let_in = moment == SERVICE_ACCESS_AGAIN,
    };
    struct access_verdict verdict;
    const enum err e = access_identify(view, &asked, &verdict, info);
    if (verdict.challenge[0]) {
        http_reply_header(request, "WWW-Authenticate", verdict.challenge);
    }
    if (verdict.retry_after_ms) {
        char seconds[32];
        (void)snprintf(seconds, sizeof seconds, "%lld", /* fits */
                       ((long long)verdict.retry_after_ms + 999) / 1000);
        http_reply_header(request, "Retry-After", seconds);
    }
    *ret = verdict.principal;
    return e;
}

enum err service_access_identify(struct http_request *request, struct access_view *view,
                                 enum service_access_moment moment, struct access_principal **ret,
                                 struct err_info *info)
{
    *ret = NULL;
    /* Nothing is looked up for an answer that is known. */
    return access_view_is_on(view) ? identify(request, view, moment, ret, info) : ERR_OK;
}

enum err service_access_permit(struct http_request *request,
                               const struct access_principal *principal, enum access_right right,
                               struct strview topic, struct err_info *info)
{
    const enum err e = access_permit(principal, right, topic, info);
    if (e) {
        http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_FORBIDDEN);
    }
    return e;
}
