/* GET /top/{topic}: the rows, or keys, with the largest number; GET /aggregates/{topic}: what the windows of a
 * history come to. */
#include <inttypes.h>

#include "rest_answer.h"

/* All that the request names: a page of it would rank, or add up, something else. */
static enum err read_all(struct rest_call *call, struct rest_found *ret, bool is_history,
                         struct err_info *info)
{
    int64_t rows_max = call->query->config.history_scan_max;
    struct rows_query *rows = &call->request.rows;
    rows->past = NULL;
    rows->limit = is_history ? (size_t)rows_max : SIZE_MAX;
    call->limit = rows->limit;
    enum err e =
        is_history ? rest_read_history(call, ret, info) : rest_read_latest(call, ret, info);
    if (!e && !ret->is_elsewhere && ret->view.has_more) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "more than %" PRId64 " records are of that time (query.history.scan.max)",
                       rows_max);
    }
    return e;
}

static void fold(const struct rest_call *call, const struct json_pointer *field, bool by_key,
                 struct rest_found *ret)
{
    const struct fold_params params = {.aggregate = call->request.aggregate,
                                       .field = field,
                                       .weight = call->request.weight,
                                       .by_key = by_key,
                                       .scanner = call->scanner};
    fold_rows(&ret->view.rows, &params, &ret->fold);
    ret->is_folded = true;
    ret->skipped = ret->fold.skipped;
}

/* --- GET /top ---------------------------------------------------------------------------------------- */

static enum err find_top(struct rest_call *call, struct rest_found *ret, struct err_info *info)
{
    const struct rest_request *request = &call->request;
    enum err e = rest_read_pointer("by", request->by, &call->by, info);
    return e ? e : read_all(call, ret, request->has_range || request->aggregate, info);
}

static void make_top(const struct rest_call *call, struct rest_found *found)
{
    const struct rest_request *request = &call->request;
    bool is_descending = request->rows.is_descending;
    if (request->aggregate) {
        fold(call, call->by, true, found);
        fold_top(&found->fold, request->n, is_descending);
    } else {
        found->skipped =
            fold_top_rows(&found->view.rows, call->by, call->scanner, request->n, is_descending);
    }
}

static const struct rest_endpoint top = {.find = find_top, .make = make_top, .is_descending = true};

void query_handle_get_top(struct http_request *request)
{
    rest_handle(request, &top);
}

/* --- GET /aggregates --------------------------------------------------------------------------------- */

static enum err find_aggregates(struct rest_call *call, struct rest_found *ret,
                                struct err_info *info)
{
    const struct rest_request *request = &call->request;
    if (!request->aggregate || !request->field) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "aggregate (sum, avg, min, max, count) and field are needed");
    }
    if (request->by && strcmp(request->by, "key") != 0) {
        return err_set(info, ERR_REQUEST_PARAM, "by=%.32s is not key", request->by);
    }
    return read_all(call, ret, true, info);
}

static void make_aggregates(const struct rest_call *call, struct rest_found *found)
{
    fold(call, call->request.field, call->request.by != NULL, found);
}

static const struct rest_endpoint aggregates = {.find = find_aggregates, .make = make_aggregates};

void query_handle_get_aggregates(struct http_request *request)
{
    rest_handle(request, &aggregates);
}
