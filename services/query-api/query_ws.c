/* GET /ws, and GET /events/{topics} with "Upgrade: websocket". */
#include "query_ws.h"

/* Here a 503 is right: it ends no WebSocket for good, and has a Retry-After. */
enum err query_open_socket(struct http_request *request, struct events_request *events,
                           struct err_info *info)
{
    const struct query *query = http_request_context(request);
    struct shard *shard = http_worker_state(http_request_worker(request));
    struct crowd_client *client;
    if (atomic_load(&query->stream_total) >= (size_t)query->config.clients_max ||
        !crowd_enter(query->crowd, http_request_client(request), &client)) {
        query_metrics_turned_away();
        return err_set(info, ERR_OVERLOADED,
                       "there are as many streams as there may be, here or of this client");
    }
    return ws_open(&shard->sockets, request, query, events, client, info);
}

void query_handle_get_ws(struct http_request *request)
{
    struct err_info info = {0};
    enum err e = query_open_socket(request, NULL, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}
