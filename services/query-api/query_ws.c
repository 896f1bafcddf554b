/* GET /ws, and GET /events/{topics} with "Upgrade: websocket". */
#include "query_ws.h"

#include "query_access.h"

/* Here a 503 is right: it ends no WebSocket for good, and has a Retry-After. */
enum err query_open_socket(struct http_request *request, struct access_principal *principal,
                           struct events_request *events, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    struct shard *shard = http_worker_state(http_request_worker(request));
    struct guest guest;
    enum err e = events && events->consumer[0]
                     ? query_allow_consumer(query, principal, ACCESS_WRITE, events->consumer, info)
                     : ERR_OK;
    e = e ? e : query_enter(request, principal, &guest, info);
    return e ? e : ws_open(&shard->sockets, request, query, events, &guest, info);
}

void query_handle_get_ws(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = query_identify(request, SERVICE_ACCESS_STREAM, &principal, &info);
    e = e ? e : query_open_socket(request, principal, NULL, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}
