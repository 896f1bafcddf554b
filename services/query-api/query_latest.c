/* GET /latest/{topic} and /latest/{topic}/{key}. */
#include "rest_answer.h"

enum err rest_read_latest(struct rest_call *call, struct rest_found *ret, struct err_info *info)
{
    latest_rows(call->query->latest[call->topic], &call->request.rows, &ret->view);
    return rest_require_known(call, ret, info);
}

static bool is_whole(const struct rest_request *request)
{
    const struct rows_query *rows = &request->rows;
    return !request->filter && rows->key_count == 0 && !rows->prefix.len && !request->has_range &&
           !request->has_limit && !rows->past && !rows->after;
}

static enum err find_latest(struct rest_call *call, struct rest_found *ret, struct err_info *info)
{
    enum err e = rest_read_latest(call, ret, info);
    const char *key = http_request_param(call->http, "key");
    if (!e && key && ret->view.rows.count == 0 && !call->request.rows.after) {
        return err_set(info, ERR_KEY_UNKNOWN, "\"%s\" has no value for the key \"%s\"",
                       call->query->topics[call->topic].ptr, key);
    }
    ret->is_whole = is_whole(&call->request);
    return e;
}

static const struct rest_endpoint latest = {
    .find = find_latest, .can_wait = true, .limit = SIZE_MAX};

void query_handle_get_latest(struct http_request *request)
{
    rest_handle(request, &latest);
}
