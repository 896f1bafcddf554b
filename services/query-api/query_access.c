#include "query_access.h"

#include <string.h>

static struct shard *shard_of(const struct http_request *request)
{
    return http_worker_state(http_request_worker(request));
}

enum err query_identify(struct http_request *request, enum service_access_moment moment,
                        struct access_principal **ret, struct err_info *info)
{
    return service_access_identify(request, shard_of(request)->access, moment, ret, info);
}

enum err query_admit(struct http_request *request, enum service_access_moment moment,
                     struct strview topic, struct err_info *info)
{
    struct access_principal *principal;
    enum err e = query_identify(request, moment, &principal, info);
    e = e ? e : service_access_permit(request, principal, ACCESS_READ, topic, info);
    if (!e && moment != SERVICE_ACCESS_AGAIN) {
        access_spend(shard_of(request)->access, principal, 1, 0);
    }
    return e;
}

enum err query_permit_reader(struct http_request *request, const struct access_principal *principal,
                             struct err_info *info)
{
    bool reads = !principal;
    for (size_t i = 0; principal && i < principal->rights.count; i++) {
        reads = reads || principal->rights.rules[i].right == ACCESS_READ;
    }
    if (reads) {
        return ERR_OK;
    }
    http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_FORBIDDEN);
    return err_set(info, ERR_FORBIDDEN, "there is nothing that \"%s\" may read", principal->name);
}

/* A browser sends what any page makes it send; one that is asked for in the address alone must not move a
 * position. */
static bool is_of_another_site(const struct http_request *request)
{
    const struct query *query = http_request_context(request);
    const char *site = http_request_header(request, "Sec-Fetch-Site");
    return site && strcmp(site, "cross-site") == 0 &&
           !service_http_config(query->service)->cors_origins[0];
}

enum err query_allow_consumer(const struct query *query, const struct access_principal *principal,
                              enum access_right right, const char *name, struct err_info *info)
{
    char group[CONSUMER_GROUP_BYTES];
    if (!query->consumers) {
        return err_set(info, ERR_FORBIDDEN,
                       "positions are not kept under names: query.consumers is off");
    }
    if (!name) {
        return ERR_OK;
    }
    enum err e = consumer_name_check(name, info);
    if (e) {
        return e;
    }
    consumer_group_name(query->consumers, name, group);
    return access_permit(principal, right, sv(group), info);
}

enum err query_permit_consumer(struct http_request *request,
                               const struct access_principal *principal, enum access_right right,
                               const char *name, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    const enum err e = query_allow_consumer(query, principal, right, name, info);
    if (e == ERR_FORBIDDEN && query->consumers) {
        http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_FORBIDDEN);
    }
    return !e && is_of_another_site(request)
               ? err_set(info, ERR_FORBIDDEN, "a page of another site asks (http.cors.origins)")
               : e;
}

void query_tell_actions(struct http_request *request, const struct query_actions *actions)
{
    struct access_principal *principal = NULL;
    struct err_info info = {0};
    enum err e = query_identify(request, SERVICE_ACCESS_AGAIN, &principal, &info);
    bool may = !e && !actions->off && access_allows(principal, actions->right, actions->of);
    http_reply_header(request, may ? "Millrace-Actions" : "Millrace-Actions-Refused",
                      may            ? actions->names
                      : actions->off ? actions->off
                                     : actions->lack);
}

void query_tell_consumer_actions(struct http_request *request, const char *group)
{
    const struct query *query = http_request_context(request);
    const char *prefix = query->consumers ? consumers_config_of(query->consumers)->prefix : NULL;
    if (prefix && sv_starts_with(sv(group), sv(prefix))) {
        query_tell_actions(request, &(struct query_actions){
                                        .names = "reset, delete",
                                        .right = ACCESS_ADMIN,
                                        .of = sv(group),
                                        .lack = "needs the right admin of the consumer's group",
                                    });
    }
}

enum err query_enter(struct http_request *request, struct access_principal *principal,
                     struct guest *ret, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    enum err e = atomic_load(&query->stream_total) >= (size_t)query->config.clients_max
                     ? err_set(info, ERR_OVERLOADED, "there are as many streams as there may be")
                     : guest_enter(&query->crowds, shard_of(request)->access,
                                   http_request_client(request), principal, ret, info);
    if (e == ERR_OVERLOADED) {
        query_metrics_turned_away();
    } else if (e == ERR_UNAUTHENTICATED) {
        http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_USED);
    }
    return e;
}
