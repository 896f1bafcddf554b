/* SIGHUP: what was added with service_add_reload is made anew, in that order. */
#include "core/clock.h"
#include "metrics/metrics.h"
#include "service_state.h"

enum { RELOADS, LAST_SUCCESS };

static struct metric families[] = {
    [RELOADS] = {"millrace_reload_total", METRIC_COUNTER,
                 "Reloads by SIGHUP; outcome failed: the old state is in use, the log says why",
                 "what,outcome"},
    [LAST_SUCCESS] = {"millrace_reload_success_timestamp_seconds", METRIC_GAUGE,
                      "When it was last made anew without an error, Unix time.", "what"},
};
METRICS_TABLE(families)

void service_add_reload(struct service *service, const struct service_reload *reload)
{
    CHECK(service->reload_count < SERVICE_RELOADS_MAX);
    service->reloads[service->reload_count++] = *reload;
    /* Both series are there from the start: a rate needs the 0. */
    metric_add(METRIC(families[RELOADS], reload->name, "ok"), 0);
    metric_add(METRIC(families[RELOADS], reload->name, "failed"), 0);
}

static void reload_one(const struct service_reload *reload)
{
    struct err_info info = {0};
    const int64_t began_us = clock_mono_us();
    const enum err e = reload->reload(reload->context, &info);
    const int64_t took_ms = (clock_mono_us() - began_us) / 1000;
    metric_add(METRIC(families[RELOADS], reload->name, e ? "failed" : "ok"), 1);
    if (e) {
        log_event(LOG_ERROR, "reload_failed", err_detail(e, &info), KV("what", reload->name),
                  KV("error", err_name(e)), KV("took_ms", took_ms));
        return;
    }
    metric_set(METRIC(families[LAST_SUCCESS], reload->name), (double)clock_now_ms() / 1000);
    log_event(LOG_INFO, "reload", "made anew", KV("what", reload->name), KV("took_ms", took_ms));
}

void service_reload_all(const struct service *service)
{
    if (!service->reload_count) {
        log_event(LOG_WARN, "reload", "nothing here can be made anew without a restart",
                  KV("service", service->params->name));
    }
    for (size_t i = 0; i < service->reload_count; i++) {
        reload_one(&service->reloads[i]);
    }
}
