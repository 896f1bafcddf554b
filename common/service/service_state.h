/* service_state.h - what the files of this room share. Private to the room. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "service/service.h"

#define SERVICE_CHECKS_MAX  8
#define SERVICE_RELOADS_MAX 8

struct service {
    const struct service_params *params;
    struct config *config;
    struct service_config own;
    struct http_config http_config;
    struct log_config log_config;
    struct http_server *http;
    struct http_route_set route_sets[2]; /* the common ones first, then the service's own */
    struct service_check checks[SERVICE_CHECKS_MAX]; /* complete before HTTP starts */
    size_t check_count;
    struct service_reload reloads[SERVICE_RELOADS_MAX];
    size_t reload_count;
    int64_t started_ms;
    bool is_late;  /* HTTP was not drained in time */
    bool is_begun; /* configured and logging; before that the command line was answered on stderr */
    atomic_bool is_draining;
    _Atomic int64_t drain_deadline_us;
    int signal_fd;
    int fail_fd;               /* eventfd: service_fail or service_finish was called */
    pthread_mutex_t fail_lock; /* guards the two below */
    enum err fail_err;
    struct err_info fail_info;
};

extern const struct http_route service_routes[];
extern const size_t service_routes_count;
/* Asks the service with this configuration whether it is ready, for at most two seconds. */
MUST_CHECK enum err service_health_ask(const struct http_config *config, struct err_info *info);
void service_reload_all(const struct service *service);
/* process_* and millrace_build_info. */
void service_process_metrics_start(const char *name);
