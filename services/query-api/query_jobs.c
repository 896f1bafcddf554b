/* GET /jobs and /jobs/{pipeline}. */
#include "http/http_negotiate.h"
#include "query_access.h"

#define BODY_BYTES_MAX ((size_t)256 << 20)

/* What workers tell is shown to whom that topic is. */
static enum err admit(struct http_request *request, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    return query_admit(request, SERVICE_ACCESS_FULL, sv(query->jobs_config.topic), info);
}

static void answer(struct http_request *request, struct buf *body, const char *etag)
{
    http_reply_header(request, "ETag", etag);
    http_reply_header(request, "Cache-Control", "no-cache");
    const char *known = http_request_header(request, "If-None-Match");
    if (known && http_etag_matches(known, etag)) {
        http_reply_bytes(request, 304, NULL, (struct strview){0});
    } else {
        http_reply_buf(request, 200, "application/json", body);
    }
}

void query_handle_get_jobs(struct http_request *request)
{
    const struct query *query = http_request_context(request);
    CLEANUP(buf_free) struct buf body;
    char etag[JOBS_ETAG_BYTES];
    struct err_info info = {0};
    buf_init(&body, BODY_BYTES_MAX);
    enum err e = admit(request, &info);
    e = e ? e : jobs_list(query->jobs, &body, etag, &info);
    if (e) {
        http_reply_err(request, e, &info);
    } else {
        answer(request, &body, etag);
    }
}

void query_handle_get_job(struct http_request *request)
{
    const struct query *query = http_request_context(request);
    CLEANUP(buf_free) struct buf body;
    char etag[JOBS_ETAG_BYTES];
    struct err_info info = {0};
    json_t *near = NULL;
    buf_init(&body, BODY_BYTES_MAX);
    const char *name = http_request_param(request, "pipeline");
    enum err e = admit(request, &info);
    e = e ? e : jobs_show(query->jobs, name, &body, etag, &near, &info);
    if (e) {
        http_reply_problem(request, &(struct http_problem){
                                        .err = e,
                                        .info = &info,
                                        .extra = near ? json_pack("{s:o}", "near", near) : NULL,
                                    });
    } else {
        answer(request, &body, etag);
    }
}
