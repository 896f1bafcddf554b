#include "service/pipeline_service.h"

static const struct config_default defaults[] = {
    {"http.port", "8083"},
    {"pipeline.file", "pipelines/product-metrics.json"},
    {0},
};

int main(int argc, char **argv)
{
    const struct pipeline_service_params params = {
        .name = "analytics",
        .summary = "Counts and sums events in event-time windows.",
        .defaults = defaults,
        .openapi = openapi_files,
        .has_windows = true,
    };
    struct pipeline_service analytics = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = pipeline_service_begin(&analytics, &params, argc, argv, &action, &info);
    if (!e && action == CONFIG_RUN) {
        e = pipeline_service_start(&analytics, &info);
        if (!e) {
            e = service_run(analytics.service);
        }
    }
    enum err stopped = pipeline_service_stop(&analytics); /* the batch is finished and committed */
    return service_end(analytics.service, e ? e : stopped, &info);
}
