#include <stdio.h>

#include "core/clock.h"
#include "http/http_internal.h"

static struct metric http_metrics[] = {
    {.name = "millrace_http_requests_total",
     .type = METRIC_COUNTER,
     .labels = "route,method,status",
     .help = "Requests answered, by route pattern and status class; a rise of 5xx: see the log and "
             "/health"},
    {.name = "millrace_http_request_seconds",
     .type = METRIC_HISTOGRAM,
     .labels = "route",
     .help = "From when a request was there to be read to the end of its answer; a rising p99 on "
             "/events: look at Kafka's latency"},
    {.name = "millrace_http_refused_total",
     .type = METRIC_COUNTER,
     .labels = "reason",
     .help = "Requests and connections refused before a handler, or cut; connections or overload "
             "rising: add replicas or raise http.connections.max / http.inflight.bytes.max; "
             "client-rate: one address asks more than http.client.rate"},
    {.name = "millrace_http_connections",
     .type = METRIC_GAUGE,
     .labels = "worker",
     .help = "Connections open; near http.connections.max: add replicas"},
    {.name = "millrace_http_requests_inflight",
     .type = METRIC_GAUGE,
     .labels = "worker",
     .help =
         "Requests begun and not yet answered; growing without end: Kafka does not acknowledge"},
};
METRICS_TABLE(http_metrics)
enum { REQUESTS, SECONDS, REFUSED, CONNECTIONS, INFLIGHT };

static const char *const refusal_names[HTTP_REFUSED_COUNT] = {
    [HTTP_REFUSED_CONNECTIONS] = "connections", [HTTP_REFUSED_AMBIGUOUS] = "ambiguous",
    [HTTP_REFUSED_OVERLOAD] = "overload",       [HTTP_REFUSED_RATE] = "client-rate",
    [HTTP_REFUSED_BODY] = "body-too-large",     [HTTP_REFUSED_SLOW_HEAD] = "slow-head",
    [HTTP_REFUSED_SLOW_BODY] = "slow-body",     [HTTP_REFUSED_SLOW_READER] = "slow-reader",
    [HTTP_REFUSED_DEADLINE] = "deadline"};
static struct metric_series *refused[HTTP_REFUSED_COUNT];

void http_metrics_start(void)
{
    for (size_t i = 0; i < HTTP_REFUSED_COUNT; i++) {
        refused[i] = METRIC(http_metrics[REFUSED], refusal_names[i]);
    }
}

void http_metrics_worker(struct http_worker *worker)
{
    char name[16];
    snprintf(name, sizeof name, "%u", worker->index);
    worker->gauge_connections = METRIC(http_metrics[CONNECTIONS], name);
    worker->gauge_requests = METRIC(http_metrics[INFLIGHT], name);
}

void http_metrics_refused(enum http_refusal why)
{
    metric_add(refused[why], 1);
}

static const char *status_class(int digit)
{
    static const char *const names[6] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    return names[digit];
}

/* Series are looked up once for a matched route; every thread finds the same one, so that a lost
 * race costs a second look-up and nothing else. */
static struct metric_series *series_once(struct metric_series **slot, struct metric *metric,
                                         const char *const labels[METRIC_LABELS_MAX])
{
    struct metric_series *series = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (!series) {
        series = metric_series(metric, labels);
        __atomic_store_n(slot, series, __ATOMIC_RELEASE);
    }
    return series;
}

void http_metrics_request(const struct http_request *request)
{
    const int digit = request->status >= 100 && request->status < 600 ? request->status / 100 : 0;
    struct http_target *target = request->match.target;
    const char *method = http_method_name(request->method);
    if (!target) { /* whatever clients ask for in vain is one series a method */
        metric_add(METRIC(http_metrics[REQUESTS], "none", method, status_class(digit)), 1);
        return;
    }
    const char *path = target->route->path;
    const char *const labels[METRIC_LABELS_MAX] = {path, method, status_class(digit)};
    const char *const route[METRIC_LABELS_MAX] = {path};
    metric_add(series_once(&target->requests[digit], &http_metrics[REQUESTS], labels), 1);
    metric_observe(series_once(&target->seconds, &http_metrics[SECONDS], route),
                   (double)(request->connection->worker->now_us - request->started_us) / 1e6);
}
