/* service.h - the life of a program: configuration, log, signals, health, reload, drain, exit code.
 *
 * A service's main reads: service_begin, start what it has in order, service_run (ready, until a
 * signal), stop in reverse order, service_end. See any services/<name>/main.c.
 *
 * SIGNALS  blocked in every thread from service_begin on and read by service_run alone. The first
 *          SIGTERM or SIGINT starts the drain, a second one ends the process at once (exit 3).
 *          SIGHUP makes anew what service_add_reload named, between service_listen and the drain.
 * EXIT     0 done · 1 failed while running · 2 usage or configuration · 3 could not drain in time.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "core/embedded.h"
#include "http/http.h"
#include "log/log.h"

struct service_config {
    int64_t drain_delay_ms;
    int64_t drain_timeout_ms;
};

/* A named check behind /health and /health/ready; called on an HTTP thread, so it reads atomics. */
struct service_check {
    const char *name;
    /* Returns whether it is well; writes the reason (or a remark) into text. */
    bool (*is_ready)(void *context, char *text, size_t text_bytes);
    void *context;
};

/* What SIGHUP makes anew: read anew, checked, and only then put into use. Called on the main thread.
 * An error leaves the old state in use, and says why in the log; the others are made anew all the
 * same. Worker threads take the new state between two turns: http_server_on_workers. */
struct service_reload {
    const char *name; /* "certificates": in the log and the metric */
    enum err (*reload)(void *context, struct err_info *info);
    void *context;
};

struct service_params {
    const char *name;
    const char *summary;
    const struct config_section *sections; /* the service's own; http, log and service are added */
    size_t section_count;
    struct config_passthrough *passthrough;
    const struct config_default *defaults;
    bool is_explained;                   /* the service answers CONFIG_EXPLAIN and CONFIG_DRAW */
    const struct config_order *orders;   /* what else it can do; NULL: nothing */
    const struct embedded_file *openapi; /* served at /openapi.json; NULL for a tool, which does not
                                          * listen and has no http options */
};

/* The build makes it for every program that has an openapi/<program>.yaml. */
extern const struct embedded_file openapi_files[];

struct service;

/* Parses the command line and starts the log. *ret_action CONFIG_DONE: return service_end at once;
 * CONFIG_CHECK: load everything, then service_end without serving. */
MUST_CHECK enum err service_begin(const struct service_params *params, int argc, char **argv,
                                  struct service **ret, enum config_action *ret_action);
/* Of CONFIG_ORDER: which of the orders, and what was given with it. */
size_t service_order(const struct service *service, const char **ret_argument);
const struct http_config *service_http_config(const struct service *service);
void service_add_check(struct service *service, const struct service_check *check);
/* Before service_run; they run in the order they were added. */
void service_add_reload(struct service *service, const struct service_reload *reload);
/* Starts HTTP with the service's own routes and the common ones (health, metrics, docs, version,
 * problems). routes may be NULL. */
MUST_CHECK enum err service_listen(struct service *service, const struct http_route_set *routes,
                                   const struct http_worker_hooks *hooks, struct err_info *info);
/* Waits for a signal or service_fail; then readiness is off. After a signal it returns only when
 * service.drain.delay has passed: until then everything is served, for whoever has not heard yet. */
MUST_CHECK enum err service_run(struct service *service);
/* From any thread: the work is done; service_run returns ERR_OK as after a signal. */
void service_finish(struct service *service);
/* From any thread: the program cannot go on; service_run returns err. Logged once. */
void service_fail(struct service *service, enum err err, const struct err_info *info);
bool service_is_draining(const struct service *service);
/* What is left of the drain time (and of the delay before it), ≥ 0. */
int64_t service_drain_left_ms(const struct service *service);
struct http_server *service_http(const struct service *service);
/* Drains and stops HTTP, for who has something left to do between that and the end. */
void service_drain(struct service *service);
/* The same if it has not been done, logs the end, frees; the exit code. service may be NULL. */
int service_end(struct service *service, enum err err, const struct err_info *info);
