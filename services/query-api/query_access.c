#include "query_access.h"

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
