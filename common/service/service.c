#include "service/service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "metrics/metrics.h"
#include "service_state.h"

#define EXIT_FAILED    1
#define EXIT_USAGE     2
#define EXIT_UNDRAINED 3
#define SECTIONS_MAX   12
#define DOCS_BYTES_MAX ((size_t)1 << 20)

static const struct config_option service_options[] = {
    CONFIG_ROW(struct service_config, drain_delay_ms, "service.drain.delay", DURATION, "0", 0,
               600000,
               "From SIGTERM to the drain: not ready any more, but serving, until balancers know."),
    CONFIG_ROW(struct service_config, drain_timeout_ms, "service.drain.timeout", DURATION, "10s", 0,
               600000, "From the drain to the end: what is in flight must be done by then."),
};

/* --- begin ------------------------------------------------------------------------------------ */

/* Before any thread exists: every thread inherits the mask, so that only the signalfd gets them. */
static void signals_block(struct service *service)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    if (service->params->openapi) { /* a tool ends with its terminal */
        (void)sigaddset(&set, SIGHUP);
    }
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(signal(SIGPIPE, SIG_IGN) !=
          SIG_ERR); /* a vanished client is an error code, not a death */
    service->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    service->fail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(service->signal_fd >= 0 && service->fail_fd >= 0);
}

static size_t sections_collect(struct service *service, struct config_section *sections)
{
    const struct service_params *params = service->params;
    size_t count = 0;
    CHECK(params->section_count + 3 <= SECTIONS_MAX);
    for (size_t i = 0; i < params->section_count; i++) {
        sections[count++] = params->sections[i];
    }
    if (params->openapi) {
        sections[count++] = (struct config_section){"HTTP", http_options, http_options_count,
                                                    &service->http_config};
    }
    sections[count++] =
        (struct config_section){"Log", log_options, log_options_count, &service->log_config};
    sections[count++] = (struct config_section){"Process", service_options,
                                                ARRAY_LEN(service_options), &service->own};
    return count;
}

static void log_changed_option(void *context, const char *key, const char *value,
                               const char *origin)
{
    (void)context;
    log_event(LOG_INFO, "option", "not at its default", KV("key", key), KV("value", value),
              KV("from", origin));
}

/* For docs/metrics.md; answered here because the config room knows no metrics. */
static bool metrics_docs_answered(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "--print-metrics-docs") != 0) {
        return false;
    }
    struct buf text;
    buf_init(&text, DOCS_BYTES_MAX);
    if (metrics_describe(&text) == ERR_OK) {
        (void)fwrite(text.data, 1, text.len, stdout); /* a closed stdout is the caller's choice */
    }
    buf_free(&text);
    return true;
}

/* --health: what the running service says of itself is this process's outcome. */
static enum err health_answer(const struct service *service)
{
    struct err_info info = {0};
    enum err e = service_health_ask(&service->http_config, &info);
    if (e) {
        fprintf(stderr, "%s: not ready: %s\n", service->params->name, err_detail(e, &info));
    } else {
        puts("ready");
    }
    return e;
}

/* --check reads the certificates too. */
static enum err http_check(const struct service *service)
{
    struct err_info info = {0};
    const enum err e =
        service->params->openapi ? http_config_check(&service->http_config, &info) : ERR_OK;
    if (e) {
        log_event(LOG_ERROR, "config_error", err_detail(e, &info), KV("error", err_name(e)));
    }
    return e;
}

enum err service_begin(const struct service_params *params, int argc, char **argv,
                       struct service **ret, enum config_action *ret_action)
{
    struct service *service = must_alloc(sizeof *service);
    *ret = service;
    service->params = params;
    service->started_ms = clock_now_ms();
    CHECK(pthread_mutex_init(&service->fail_lock, NULL) == 0);
    signals_block(service);
    if (metrics_docs_answered(argc, argv)) {
        *ret_action = CONFIG_DONE;
        return ERR_OK;
    }

    struct config_section sections[SECTIONS_MAX];
    struct config_program program = {
        .name = params->name,
        .summary = params->summary,
        .version = MILLRACE_VERSION,
        .is_listening = params->openapi != NULL,
        .is_explained = params->is_explained,
        .orders = params->orders,
        .sections = sections,
        .section_count = sections_collect(service, sections),
        .passthrough = params->passthrough,
        .defaults = params->defaults,
    };
    enum err e = config_load(&program, argc, argv, &service->config, ret_action);
    if (e || *ret_action == CONFIG_DONE) {
        *ret_action = CONFIG_DONE;
        return e;
    }
    if (*ret_action == CONFIG_HEALTH) {
        *ret_action = CONFIG_DONE;
        return health_answer(service);
    }
    log_start(params->name, &service->log_config);
    service->is_begun = true;
    log_event(LOG_INFO, "start", "starting", KV("version", MILLRACE_VERSION), KV("pid", getpid()));
    config_each_changed(service->config, log_changed_option, NULL);
    service_process_metrics_start(params->name);
    return *ret_action == CONFIG_CHECK ? http_check(service) : ERR_OK;
}

size_t service_order(const struct service *service, const char **ret_argument)
{
    return config_order(service->config, ret_argument);
}

/* --- while it runs ---------------------------------------------------------------------------- */

const struct http_config *service_http_config(const struct service *service)
{
    return &service->http_config;
}

void service_add_check(struct service *service, const struct service_check *check)
{
    CHECK(service->check_count < SERVICE_CHECKS_MAX && !service->http);
    service->checks[service->check_count++] = *check;
}

static enum err reload_tls(void *context, struct err_info *info)
{
    const struct service *service = context;
    return http_server_reload_tls(service->http, info);
}

enum err service_listen(struct service *service, const struct http_route_set *routes,
                        const struct http_worker_hooks *hooks, struct err_info *info)
{
    service->route_sets[0] = (struct http_route_set){
        .routes = service_routes,
        .count = service_routes_count,
        .context = service,
        .is_unlimited = true,
    };
    service->route_sets[1] = routes ? *routes : (struct http_route_set){0};
    struct http_server_params params = {
        .config = &service->http_config,
        .sets = service->route_sets,
        .set_count = routes ? 2 : 1,
        .hooks = hooks ? *hooks : (struct http_worker_hooks){0},
    };
    enum err e = http_server_start(&params, &service->http, info);
    if (!e && *service->http_config.tls_cert_file) {
        service_add_reload(service, &(struct service_reload){"certificates", reload_tls, service});
    }
    if (!e) {
        log_event(LOG_INFO, "ready", "listening", KV("host", service->http_config.host),
                  KV("port", http_server_port(service->http)));
    }
    return e;
}

static void on_second_signal(int number)
{
    (void)number;
    _exit(EXIT_UNDRAINED);
}

/* From now on a signal ends the process whatever it is doing: who asks twice means it. */
static void second_signal_arm(void)
{
    struct sigaction action = {.sa_handler = on_second_signal};
    (void)sigemptyset(&action.sa_mask);
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    CHECK(sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}

/* Blocks until a signal (true), or service_fail or service_finish (false). */
static bool wait_for_signal(const struct service *service)
{
    struct pollfd fds[] = {{.fd = service->signal_fd, .events = POLLIN},
                           {.fd = service->fail_fd, .events = POLLIN}};
    for (;;) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0) {
            CHECK(errno == EINTR);
            continue;
        }
        struct signalfd_siginfo signal_info;
        if (fds[0].revents &&
            read(service->signal_fd, &signal_info, sizeof signal_info) == sizeof signal_info) {
            if (signal_info.ssi_signo == SIGHUP) {
                service_reload_all(service);
                continue;
            }
            log_event(LOG_INFO, "drain", "signal received: finishing what is in flight",
                      KV("signal", strsignal((int)signal_info.ssi_signo)),
                      KV("delay_ms", service->own.drain_delay_ms),
                      KV("timeout_ms", service->own.drain_timeout_ms));
            return true;
        }
        if (fds[1].revents) {
            return false;
        }
    }
}

/* Balancers learn of an end from readiness, or are told by who sent the signal; either way later than
 * we. A listener that refused at once would fail the requests that are sent here meanwhile. */
static void serve_until_known(const struct service *service)
{
    if (service->http && service->own.drain_delay_ms) {
        http_server_leave(service->http);
    }
    /* What fails now, or is finished, has no use for the rest of the delay. */
    struct pollfd failed = {.fd = service->fail_fd, .events = POLLIN};
    (void)poll(&failed, 1, (int)service->own.drain_delay_ms);
}

enum err service_run(struct service *service)
{
    bool is_signal = wait_for_signal(service);
    int64_t delay_ms = is_signal ? service->own.drain_delay_ms : 0;
    int64_t deadline_us = clock_mono_us() + (delay_ms + service->own.drain_timeout_ms) * 1000;
    atomic_store(&service->drain_deadline_us, deadline_us);
    atomic_store(&service->is_draining, true);
    second_signal_arm();
    if (is_signal) {
        serve_until_known(service);
    }
    (void)pthread_mutex_lock(&service->fail_lock);
    enum err e = service->fail_err;
    (void)pthread_mutex_unlock(&service->fail_lock);
    return e;
}

static void wake_run(struct service *service)
{
    ssize_t written = write(service->fail_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* an eventfd takes a 1 unless it is full, which wakes as well */
}

void service_finish(struct service *service)
{
    wake_run(service);
}

void service_fail(struct service *service, enum err err, const struct err_info *info)
{
    CHECK(err != ERR_OK);
    (void)pthread_mutex_lock(&service->fail_lock);
    bool is_first = service->fail_err == ERR_OK;
    if (is_first) {
        service->fail_err = err;
        service->fail_info = info ? *info : (struct err_info){0};
    }
    (void)pthread_mutex_unlock(&service->fail_lock);
    if (is_first) {
        log_event(LOG_ERROR, "failed", err_detail(err, info), KV("error", err_name(err)));
        wake_run(service);
    }
}

bool service_is_draining(const struct service *service)
{
    return atomic_load(&service->is_draining);
}

int64_t service_drain_left_ms(const struct service *service)
{
    if (!service_is_draining(service)) {
        return service->own.drain_timeout_ms;
    }
    int64_t left_us = atomic_load(&service->drain_deadline_us) - clock_mono_us();
    return left_us > 0 ? left_us / 1000 : 0;
}

struct http_server *service_http(const struct service *service)
{
    return service->http;
}

/* --- end -------------------------------------------------------------------------------------- */

static int exit_code(enum err err)
{
    switch (err) {
    case ERR_OK:
        return 0;
    case ERR_USAGE:
    case ERR_CONFIG:
        return EXIT_USAGE;
    case ERR_DRAIN_TIMEOUT:
        return EXIT_UNDRAINED;
    default:
        return EXIT_FAILED;
    }
}

void service_drain(struct service *service)
{
    if (service->http) {
        service->is_late = !http_server_drain(service->http, service_drain_left_ms(service));
        http_server_stop(TAKE(service->http));
    }
}

int service_end(struct service *service, enum err err, const struct err_info *info)
{
    service_drain(service);
    if (service->is_late && !err) {
        err = ERR_DRAIN_TIMEOUT;
    }
    /* What service_fail said was logged then; what main passes on has not been. */
    if (err && service->is_begun && service->fail_err == ERR_OK) {
        log_event(LOG_ERROR, "failed", err_detail(err, info), KV("error", err_name(err)));
    }
    if (service->is_begun) {
        log_event(LOG_INFO, "end", "stopped", KV("exit_code", exit_code(err)));
    }
    config_free(service->config);
    (void)close(service->signal_fd);
    (void)close(service->fail_fd);
    free(service);
    return exit_code(err);
}
