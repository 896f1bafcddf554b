/* SIGHUP makes state anew while requests are served; a failure leaves the old one. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "http_call.h"
#include "metrics/metrics.h"
#include "service/service.h"

#define WAIT_US 60000000
#define RELOADS 20

static const struct embedded_file openapi = {.name = "openapi.json"};

/* What a worker has; taken over from `latest` on its own thread. */
struct state {
    unsigned version;
};

static struct {
    struct service *service;
    unsigned port;
    struct state *latest;
    struct state *of_worker[8];
    char order[64]; /* a letter a reload */
    _Atomic bool fails;
    _Atomic int reloads;
    _Atomic unsigned seen; /* the version in the last answer */
    _Atomic bool is_over;
} bench;

static void take_over(struct http_worker *worker, void *context)
{
    bench.of_worker[http_worker_index(worker)] = context;
}

static enum err reload_first(void *context, struct err_info *info)
{
    (void)context, (void)info;
    strcat(bench.order, "a");
    return ERR_OK;
}

static enum err reload_state(void *context, struct err_info *info)
{
    (void)context;
    strcat(bench.order, "b");
    if (bench.fails) {
        bench.reloads++;
        return err_set(info, ERR_CONFIG, "state.file: line 3: no");
    }
    struct state *made = must_alloc(sizeof *made);
    made->version = bench.latest->version + 1;
    http_server_on_workers(service_http(bench.service), take_over, made);
    free(bench.latest); /* a sanitizer would say if a worker still read it */
    bench.latest = made;
    bench.reloads++;
    return ERR_OK;
}

static enum err worker_start(struct http_worker *worker, void *context, void **ret_state)
{
    (void)context;
    take_over(worker, bench.latest);
    *ret_state = NULL;
    return ERR_OK;
}

static void handle_version(struct http_request *request)
{
    char text[16];
    const unsigned worker = http_worker_index(http_request_worker(request));
    snprintf(text, sizeof text, "%u", bench.of_worker[worker]->version);
    http_reply_bytes(request, 200, "text/plain", sv(text));
}

static const struct http_route routes[] = {{HTTP_GET, "/version-of-state", handle_version}};
static const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};

/* Asks all the time: versions never go back by more than the workers differ while one is made. */
static void *ask_all_the_time(void *context)
{
    (void)context;
    while (!bench.is_over) {
        struct http_answer answer = http_call(bench.port, "/version-of-state", NULL, 0, NULL);
        CHECK(answer.status == 200);
        bench.seen = (unsigned)strtoul(answer.body, NULL, 10);
        http_answer_free(&answer);
    }
    return NULL;
}

static void hang_up_and_await(int reloads)
{
    const int64_t until_us = clock_mono_us() + WAIT_US;
    (void)kill(getpid(), SIGHUP);
    while (bench.reloads != reloads) {
        CHECK(clock_mono_us() < until_us);
        sched_yield();
    }
}

static void *hang_up(void *context)
{
    (void)context;
    for (int i = 1; i <= RELOADS; i++) {
        hang_up_and_await(i);
    }
    bench.fails = true;
    hang_up_and_await(RELOADS + 1);
    const int64_t until_us = clock_mono_us() + WAIT_US;
    while (bench.seen != RELOADS) {
        CHECK(clock_mono_us() < until_us);
    }
    bench.is_over = true;
    service_finish(bench.service);
    return NULL;
}

static double metric_of(const char *series)
{
    CLEANUP(buf_free) struct buf text = {0};
    buf_init(&text, 4 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    const char *found = strstr(text.data, series);
    assert_non_null(found);
    return strtod(found + strlen(series), NULL);
}

static void test_reload__in_order_all_or_nothing_while_it_serves(void **state)
{
    (void)state;
    static const struct service_params params = {
        .name = "sample", .summary = "A sample.", .openapi = &openapi};
    const char *argv[] = {"sample", "--http.port=0", "--http.threads=3", "--log.level=off", NULL};
    struct err_info info = {0};
    enum config_action action;
    bench.latest = must_alloc(sizeof *bench.latest);
    assert_err(ERR_OK,
               service_begin(&params, 4, (char **)(uintptr_t)argv, &bench.service, &action));
    service_add_reload(bench.service, &(struct service_reload){"first", reload_first, NULL});
    service_add_reload(bench.service, &(struct service_reload){"state", reload_state, NULL});
    const struct http_worker_hooks hooks = {.start = worker_start};
    assert_err(ERR_OK, service_listen(bench.service, &set, &hooks, &info));
    bench.port = http_server_port(service_http(bench.service));
    pthread_t asking, hanging;
    assert_int_equal(0, pthread_create(&asking, NULL, ask_all_the_time, NULL));
    assert_int_equal(0, pthread_create(&hanging, NULL, hang_up, NULL));
    assert_err(ERR_OK, service_run(bench.service));
    (void)pthread_join(hanging, NULL);
    (void)pthread_join(asking, NULL);
    assert_int_equal(0, service_end(bench.service, ERR_OK, &info));
    assert_int_equal(2 * (RELOADS + 1), strlen(bench.order));
    for (int i = 0; i <= RELOADS; i++) {
        assert_memory_equal("ab", bench.order + (ptrdiff_t)2 * i, 2);
    }
    assert_int_equal(RELOADS, bench.latest->version);
    assert_int_equal(RELOADS, metric_of("millrace_reload_total{what=\"state\",outcome=\"ok\"} "));
    assert_int_equal(1, metric_of("millrace_reload_total{what=\"state\",outcome=\"failed\"} "));
    assert_true(metric_of("millrace_reload_success_timestamp_seconds{what=\"state\"} ") > 0);
    free(bench.latest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reload__in_order_all_or_nothing_while_it_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
