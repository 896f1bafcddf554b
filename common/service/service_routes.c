/* The addresses that every service has. */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "core/clock.h"
#include "http/http_negotiate.h"
#include "metrics/metrics.h"
#include "service_state.h"

#define METRICS_BYTES_MAX ((size_t)16 << 20)

/* docs.html and what it loads. */
extern const struct embedded_file service_files[];
extern const size_t service_files_count;

static const struct service *service_of(const struct http_request *request)
{
    return http_request_context(request);
}

/* --- health ----------------------------------------------------------------------------------- */

static json_t *check_json(const struct service_check *check, bool *is_all_ready)
{
    char reason[160] = "";
    bool is_ready = check->is_ready(check->context, reason, sizeof reason);
    *is_all_ready &= is_ready;
    return json_pack("{s:s, s:b, s:s}", "name", check->name, "ok", is_ready, "reason", reason);
}

static json_t *health_json(const struct service *service, bool *ret_ready)
{
    bool is_draining = service_is_draining(service), is_ready = !is_draining;
    json_t *checks = json_array();
    for (size_t i = 0; i < service->check_count; i++) {
        (void)json_array_append_new(checks, check_json(&service->checks[i], &is_ready));
    }
    *ret_ready = is_ready;
    return json_pack("{s:s, s:s, s:s, s:I, s:o}", "status",
                     is_draining ? "draining"
                     : is_ready  ? "ready"
                                 : "not ready",
                     "service", service->params->name, "version", MILLRACE_VERSION, "uptime_ms",
                     (json_int_t)(clock_now_ms() - service->started_ms), "checks", checks);
}

static void service_handle_get_live(struct http_request *request)
{
    http_reply_bytes(request, 200, "application/json", SV("{\"status\":\"live\"}"));
}

static void service_handle_get_ready(struct http_request *request)
{
    bool is_ready;
    json_t *health = health_json(service_of(request), &is_ready);
    if (!is_ready) {
        http_reply_header(request, "Retry-After", "1");
    }
    http_reply_json(request, is_ready ? 200 : 503, health);
}

static void service_handle_get_health(struct http_request *request)
{
    bool is_ready;
    http_reply_json(request, 200, health_json(service_of(request), &is_ready));
}

/* --- metrics, documents, version -------------------------------------------------------------- */

static const char *const metrics_types[] = {
    [METRICS_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
    [METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/* OpenMetrics for who likes it better than plain text, as Prometheus does; plain text for everybody else. */
static enum metrics_format metrics_format_of(const struct http_request *request)
{
    const char *accept = http_request_header(request, "Accept");
    return http_accept_quality(accept, "application/openmetrics-text") >
                   http_accept_quality(accept, "text/plain")
               ? METRICS_OPENMETRICS
               : METRICS_PROMETHEUS;
}

static void service_handle_get_metrics(struct http_request *request)
{
    enum metrics_format format = metrics_format_of(request);
    struct buf text;
    buf_init(&text, METRICS_BYTES_MAX);
    enum err e = metrics_render(&text, format);
    if (e) {
        http_reply_err(request, e, NULL);
    } else {
        http_reply_header(request, "Vary", "Accept");
        http_reply_buf(request, 200, metrics_types[format], &text);
    }
    buf_free(&text);
}

static void service_handle_get_openapi(struct http_request *request)
{
    http_reply_file(request, service_of(request)->params->openapi);
}

static void service_handle_get_docs(struct http_request *request)
{
    http_reply_file(request, &service_files[0]);
}

static void service_handle_get_docs_file(struct http_request *request)
{
    const char *name = http_request_param(request, "file");
    for (size_t i = 0; i < service_files_count; i++) {
        if (strcmp(service_files[i].name, name) == 0) {
            http_reply_file(request, &service_files[i]);
            return;
        }
    }
    http_reply_err(request, ERR_NOT_FOUND, NULL);
}

static void service_handle_get_version(struct http_request *request)
{
    http_reply_json(request, 200,
                    json_pack("{s:s, s:s, s:s, s:s}", "service", service_of(request)->params->name,
                              "version", MILLRACE_VERSION, "librdkafka", rd_kafka_version_str(),
                              "gnutls", gnutls_check_version(NULL)));
}

/* What a problem's `type` points at. */
static void service_handle_get_problem(struct http_request *request)
{
    const char *name = http_request_param(request, "name");
    for (int code = ERR_OK + 1; code < ERR_COUNT; code++) {
        enum err err = (enum err)code;
        if (strcmp(err_name(err), name) == 0) {
            http_reply_json(request, 200,
                            json_pack("{s:s, s:s, s:i, s:b}", "code", err_name(err), "title",
                                      err_title(err), "status", err_http_status(err), "retryable",
                                      err_is_retriable(err)));
            return;
        }
    }
    http_reply_err(request, ERR_NOT_FOUND, NULL);
}

const struct http_route service_routes[] = {
    {HTTP_GET, "/health/live", service_handle_get_live},
    {HTTP_GET, "/health/ready", service_handle_get_ready},
    {HTTP_GET, "/health", service_handle_get_health},
    {HTTP_GET, "/metrics", service_handle_get_metrics},
    {HTTP_GET, "/openapi.json", service_handle_get_openapi},
    {HTTP_GET, "/docs", service_handle_get_docs},
    {HTTP_GET, "/docs/{file}", service_handle_get_docs_file},
    {HTTP_GET, "/version", service_handle_get_version},
    {HTTP_GET, "/problems/{name}", service_handle_get_problem},
};
const size_t service_routes_count = ARRAY_LEN(service_routes);
