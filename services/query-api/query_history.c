/* GET /history/{topic}: records by time. */
#include "rest_answer.h"

enum err rest_read_history(struct rest_call *call, struct rest_found *ret, struct err_info *info)
{
    struct history *history = call->query->history[call->topic];
    if (!history) {
        return err_set(info, ERR_TOPIC_UNKNOWN,
                       "no history is kept of \"%s\" (query.history.topics)",
                       call->query->topics[call->topic].ptr);
    }
    history_read(history, &call->request.rows, &ret->view);
    ret->has_windows = true;
    enum err e = rest_require_known(call, ret, info);
    if (e || ret->view.is_enough) {
        return e;
    }
    ret->is_elsewhere = !call->job;
    return call->job ? history_store_read(call->query->history_store, call->topic,
                                          &call->request.rows, call->job, &ret->view, info)
                     : ERR_OK;
}

static const struct rest_endpoint history = {.find = rest_read_history,
                                             .is_descending = true,
                                             .can_wait = true,
                                             .limit = REST_LIMIT_DEFAULT};

void query_handle_get_history(struct http_request *request)
{
    rest_handle(request, &history);
}
