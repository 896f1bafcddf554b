/* pipeline_service.h - a service that runs one pipeline: processor and analytics, but for their names.
 *
 * begin → (--check and --explain end here: the pipeline was compiled) → start → service_run → stop → service_end.
 */
#pragma once

#include "service/service.h"
#include "worker/worker.h"

struct pipeline_service_params {
    const char *name;
    const char *summary;
    const struct config_default *defaults; /* pipeline.file, http.port */
    const struct embedded_file *openapi;
    bool has_windows; /* window.size and window.grace may be configured */
};

struct pipeline_service {
    struct service *service;
    struct service_params params;
    struct kafka_config kafka;
    struct worker_config worker_config;
    struct pipeline_window_config {
        int64_t size_ms;
        const char *grace; /* "": as the pipeline file says */
    } window;
    struct pipeline *pipeline;
    struct worker *worker;
};

MUST_CHECK enum err pipeline_service_begin(struct pipeline_service *self,
                                           const struct pipeline_service_params *params, int argc,
                                           char **argv, enum config_action *ret_action,
                                           struct err_info *info);
MUST_CHECK enum err pipeline_service_start(struct pipeline_service *self, struct err_info *info);
/* Accepts a zeroed object. */
MUST_CHECK enum err pipeline_service_stop(struct pipeline_service *self);
