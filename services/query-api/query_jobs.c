/* GET /jobs and /jobs/{pipeline}; POST /jobs/{pipeline}/pause, /resume and /savepoint. */
#include "http/http_negotiate.h"
#include "log/log.h"
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

static void actions_tell(struct http_request *request)
{
    const struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    query_tell_actions(request, &(struct query_actions){
                                    .names = "pause, resume, savepoint",
                                    .right = ACCESS_WRITE,
                                    .of = sv(query->config.control_topic),
                                    .lack = "needs the right write of query.control.topic",
                                    .off = shard->control ? NULL : "query.control is off",
                                });
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
        actions_tell(request);
        answer(request, &body, etag);
    }
}

/* --- what is wanted ---------------------------------------------------------------------------- */

/* Who may write to the topic that workers listen to may stop pipelines: here, too. */
static enum err control_admit(struct http_request *request, enum service_access_moment moment,
                              struct err_info *info)
{
    const struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    struct access_principal *principal;
    enum err e = query_identify(request, moment, &principal, info);
    e = e ? e
          : service_access_permit(request, principal, ACCESS_WRITE, sv(query->config.control_topic),
                                  info);
    if (!e && !shard->control) {
        return err_set(info, ERR_FORBIDDEN,
                       "pipelines are not told anything from here: query.control is off");
    }
    if (!e && moment == SERVICE_ACCESS_FULL) {
        access_spend(shard->access, principal, 1, 0);
    }
    return e;
}

/* Before the body. */
void query_open_post_job(struct http_request *request)
{
    struct err_info info = {0};
    enum err e = control_admit(request, SERVICE_ACCESS_HEAD, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}

/* A page of another origin can make a browser send a request, but not one of this type unasked. */
static enum err control_check(struct http_request *request, const char *pipeline,
                              struct err_info *info)
{
    const struct query *query = http_request_context(request);
    CLEANUP(buf_free) struct buf ignored;
    CLEANUP(json_decrefp) json_t *near = NULL;
    char etag[JOBS_ETAG_BYTES];
    buf_init(&ignored, BODY_BYTES_MAX);
    if (!sv_equal(http_request_media_type(request), SV("application/json"))) {
        return err_set(info, ERR_MEDIA_TYPE, "the body must be application/json: {}");
    }
    return jobs_show(query->jobs, pipeline, &ignored, etag, &near, info);
}

/* The pipeline that may be told something, and that it is told; NULL: it was answered. */
static const char *control_begin(struct http_request *request, const char *event)
{
    const char *pipeline = http_request_param(request, "pipeline");
    struct err_info info = {0};
    enum err e = control_admit(request, SERVICE_ACCESS_FULL, &info);
    e = e ? e : control_check(request, pipeline, &info);
    if (e) {
        http_reply_err(request, e, &info);
        return NULL;
    }
    log_event(LOG_INFO, event, "workers are told so", KV("pipeline", pipeline),
              KV("client", http_request_client(request)),
              KV("request_id", http_request_id(request)));
    return pipeline;
}

static struct control *control_of(struct http_request *request)
{
    const struct shard *shard = http_worker_state(http_request_worker(request));
    return shard->control;
}

void query_handle_post_pause(struct http_request *request)
{
    const char *pipeline = control_begin(request, "job_pause");
    if (pipeline) {
        control_pause(control_of(request), request, pipeline, true);
    }
}

void query_handle_post_resume(struct http_request *request)
{
    const char *pipeline = control_begin(request, "job_resume");
    if (pipeline) {
        control_pause(control_of(request), request, pipeline, false);
    }
}

void query_handle_post_savepoint(struct http_request *request)
{
    const char *pipeline = control_begin(request, "job_savepoint");
    if (pipeline) {
        control_save(control_of(request), request, pipeline);
    }
}
