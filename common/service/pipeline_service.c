#include "service/pipeline_service.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/log.h"
#include "stream/explain.h"
#include "worker/savepoint_task.h"
#include "worker/worker_control.h"

static const struct config_option window_options[] = {
    CONFIG_ROW(struct pipeline_window_config, size_ms, "window.size", DURATION, "0", 0, 604800000,
               "Size of the windows; 0: as the pipeline file says."),
    CONFIG_ROW(struct pipeline_window_config, grace, "window.grace", STRING, "", 0, 0,
               "How late an event may come (a duration); empty: as the pipeline file says."),
};

static enum err overrides_of(const struct pipeline_service *self, struct pipeline_overrides *ret,
                             struct err_info *info)
{
    *ret = PIPELINE_OVERRIDES_NONE;
    ret->window_size_ms = self->window.size_ms;
    if (self->window.grace && self->window.grace[0] &&
        config_parse_duration(self->window.grace, &ret->window_grace_ms)) {
        return err_set(info, ERR_CONFIG, "window.grace: \"%s\" is not a duration (10s, 1m, …)",
                       self->window.grace);
    }
    return ERR_OK;
}

/* Every mistake of the file is logged; the first one is the error. */
static enum err pipeline_open(struct pipeline_service *self, struct err_info *info)
{
    struct pipeline_overrides overrides;
    enum err e = overrides_of(self, &overrides, info);
    if (e) {
        return e;
    }
    static struct pipeline_errors errors; /* 16 KiB: not for the stack; start is one thread */
    e = pipeline_load(self->worker_config.pipeline_file, overrides, &self->pipeline, &errors);
    for (size_t i = 1; e && i < errors.count && i < PIPELINE_ERRORS_MAX; i++) {
        log_event(LOG_ERROR, "pipeline_error", errors.items[i].text,
                  KV("file", self->worker_config.pipeline_file));
    }
    if (e && info) {
        *info = errors.items[0];
    }
    return e;
}

#define EXPLAIN_BYTES_MAX (16 * 1024 * 1024)

static enum err pipeline_print(const struct pipeline_service *self, enum explain_form form,
                               struct err_info *info)
{
    struct buf page;
    buf_init(&page, EXPLAIN_BYTES_MAX);
    enum err e = pipeline_explain(self->pipeline, form, &page);
    if (!e && (fwrite(page.data, 1, page.len, stdout) != page.len || fflush(stdout))) {
        e = err_set(info, ERR_IO, "--explain: the answer cannot be written");
    }
    buf_free(&page);
    return e;
}

/* --- orders ------------------------------------------------------------------------------------- */

static enum err control_check(const struct pipeline_service *self, struct err_info *info)
{
    return self->worker_config.control_topic[0]
               ? ERR_OK
               : err_set(info, ERR_CONFIG, "control.topic is empty: no worker would hear of it");
}

static enum err pause_set(const struct pipeline_service *self, bool is_paused,
                          struct err_info *info)
{
    const struct worker_control_params params = {.kafka = &self->kafka,
                                                 .topic = self->worker_config.control_topic,
                                                 .pipeline = pipeline_name(self->pipeline)};
    enum err e = control_check(self, info);
    e = e ? e : worker_control_wish(&params, &(struct control_wish){.is_paused = is_paused}, info);
    if (!e) {
        printf("%s is told to %s\n", params.pipeline, is_paused ? "stand still" : "go on");
    }
    return e;
}

static enum err order_pause(const struct pipeline_service *self, const char *ignored,
                            struct err_info *info)
{
    (void)ignored;
    return pause_set(self, true, info);
}

static enum err order_resume(const struct pipeline_service *self, const char *ignored,
                             struct err_info *info)
{
    (void)ignored;
    return pause_set(self, false, info);
}

static struct savepoint_params savepoint_params_of(const struct pipeline_service *self,
                                                   const char *dir)
{
    return (struct savepoint_params){.config = &self->worker_config,
                                     .kafka = &self->kafka,
                                     .pipeline = self->pipeline,
                                     .release = MILLRACE_VERSION,
                                     .dir = dir};
}

static enum err order_savepoint(const struct pipeline_service *self, const char *dir,
                                struct err_info *info)
{
    const struct savepoint_params params = savepoint_params_of(self, dir);
    struct savepoint_told told;
    enum err e = control_check(self, info);
    e = e ? e : savepoint_take(&params, &told, info);
    if (!e) {
        printf("%s: %" PRIu64 " records in %" PRIu64 " bytes; %s stood still for %" PRId64 " ms\n",
               dir, told.records, told.bytes, pipeline_name(self->pipeline), told.held_ms);
    }
    return e;
}

static enum err order_restore(const struct pipeline_service *self, const char *dir,
                              struct err_info *info)
{
    const struct savepoint_params params = savepoint_params_of(self, dir);
    struct savepoint_told told;
    enum err e = savepoint_restore(&params, &told, info);
    if (!e) {
        printf("%s goes on from %s: %" PRIu64 " records written\n", pipeline_name(self->pipeline),
               dir, told.records);
    }
    return e;
}

static enum err order_state(const struct pipeline_service *self, const char *what,
                            struct err_info *info)
{
    const struct savepoint_params params = savepoint_params_of(self, what);
    const struct savepoint_question question = {what, self->worker_config.state_store,
                                                self->worker_config.state_key};
    return savepoint_show(&params, &question, stdout, info);
}

static const struct config_order orders[] = {
    {"--pause", NULL, "let all workers of the pipeline stand still until --resume"},
    {"--resume", NULL, "let them go on"},
    {"--savepoint", "DIR", "save the pipeline's state and offsets while it runs"},
    {"--restore", "DIR", "bring a pipeline that does not run back to a savepoint"},
    {"--state", "DIR|live", "show the state in a savepoint, or in Kafka, as lines of JSON"},
    {0},
};

static enum err order_run(const struct pipeline_service *self, struct err_info *info)
{
    static enum err (*const runs[])(const struct pipeline_service *self, const char *argument,
                                    struct err_info *info) = {
        order_pause, order_resume, order_savepoint, order_restore, order_state};
    static_assert(ARRAY_LEN(runs) + 1 == ARRAY_LEN(orders), "every order is run by something");
    const char *argument;
    size_t order = service_order(self->service, &argument);
    return runs[order](self, argument, info);
}

enum err pipeline_service_begin(struct pipeline_service *self,
                                const struct pipeline_service_params *params, int argc, char **argv,
                                enum config_action *ret_action, struct err_info *info)
{
    self->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Pipeline", worker_options, worker_options_count, &self->worker_config},
        {"Kafka", kafka_options, kafka_options_count, &self->kafka},
        {"Windows", window_options, ARRAY_LEN(window_options), &self->window},
    };
    self->params = (struct service_params){
        .name = params->name,
        .summary = params->summary,
        .sections = sections,
        .section_count = ARRAY_LEN(sections) - (params->has_windows ? 0 : 1),
        .passthrough = &self->kafka.extra,
        .defaults = params->defaults,
        .is_explained = true,
        .orders = orders,
        .openapi = params->openapi,
    };
    enum err e = service_begin(&self->params, argc, argv, &self->service, ret_action);
    if (e || *ret_action == CONFIG_DONE) {
        return e;
    }
    e = pipeline_open(self, info);
    if (!e) {
        e = worker_check(&self->worker_config, &self->kafka, self->pipeline, info);
    }
    if (!e && (*ret_action == CONFIG_EXPLAIN || *ret_action == CONFIG_DRAW)) {
        e = pipeline_print(self, *ret_action == CONFIG_DRAW ? EXPLAIN_MERMAID : EXPLAIN_TEXT, info);
    }
    if (!e && *ret_action == CONFIG_ORDER) {
        e = order_run(self, info);
    }
    return e;
}

static void on_fatal(void *context, enum err err, const struct err_info *info)
{
    const struct pipeline_service *self = context;
    service_fail(self->service, err, info);
}

enum err pipeline_service_start(struct pipeline_service *self, struct err_info *info)
{
    const struct worker_params params = {
        .config = &self->worker_config,
        .kafka = &self->kafka,
        .pipeline = self->pipeline,
        .http_port = (uint16_t)service_http_config(self->service)->port,
        .release = MILLRACE_VERSION,
        .on_fatal = on_fatal,
        .context = self,
    };
    enum err e = worker_start(&params, &self->worker, info);
    if (e) {
        return e;
    }
    service_add_check(self->service,
                      &(struct service_check){"worker", worker_is_ready, self->worker});
    return service_listen(self->service, NULL, NULL, info);
}

enum err pipeline_service_stop(struct pipeline_service *self)
{
    enum err e = ERR_OK;
    if (self->worker) {
        e = worker_stop(TAKE(self->worker), service_drain_left_ms(self->service));
    }
    if (!e) { /* a thread that did not end may still use it */
        pipeline_free(TAKE(self->pipeline));
    }
    return e;
}
