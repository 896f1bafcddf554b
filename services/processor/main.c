#include "service/pipeline_service.h"

static const struct config_default defaults[] = {
    {"http.port", "8082"},
    {"pipeline.file", "pipelines/orders.json"},
    {0},
};

int main(int argc, char **argv)
{
    const struct pipeline_service_params params = {
        .name = "processor",
        .summary = "Validates, enriches and routes events, record by record.",
        .defaults = defaults,
        .openapi = openapi_files,
    };
    struct pipeline_service processor = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = pipeline_service_begin(&processor, &params, argc, argv, &action, &info);
    if (!e && action == CONFIG_RUN) {
        e = pipeline_service_start(&processor, &info);
        if (!e) {
            e = service_run(processor.service);
        }
    }
    enum err stopped = pipeline_service_stop(&processor); /* the batch is finished and committed */
    return service_end(processor.service, e ? e : stopped, &info);
}
