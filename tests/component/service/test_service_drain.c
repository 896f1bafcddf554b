/* The delay before a drain: not ready, and all the same everything is served. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "http_call.h"
#include "service/service.h"

#define WAIT_US 60000000

static const struct embedded_file openapi = {.name = "openapi.json"};

/* What a client sees between the signal and the drain. */
struct witness {
    struct service *service;
    unsigned port;
    bool fails; /* ends the delay by service_fail instead of service_finish */
    long ready_status, live_status;
    char connection[16];
    int64_t left_ms;
};

static void *watch_the_delay(void *context)
{
    struct witness *witness = context;
    int64_t until_us = clock_mono_us() + WAIT_US;
    (void)kill(getpid(), SIGTERM); /* blocked in every thread: the signalfd has it */
    do {
        struct http_answer ready = http_call(witness->port, "/health/ready", NULL, 0, NULL);
        witness->ready_status = ready.status;
        http_answer_free(&ready);
    } while (witness->ready_status != 503 && clock_mono_us() < until_us);
    do { /* leaving comes a moment after that */
        struct http_answer live = http_call(witness->port, "/health/live", NULL, 0, NULL);
        witness->live_status = live.status;
        memcpy(witness->connection, live.connection, sizeof live.connection);
        http_answer_free(&live);
    } while (strcmp(witness->connection, "close") != 0 && clock_mono_us() < until_us);
    witness->left_ms = service_drain_left_ms(witness->service);
    if (witness->fails) {
        service_fail(witness->service, ERR_IO, NULL);
    } else {
        service_finish(witness->service); /* nobody waits for the ten minutes */
    }
    return NULL;
}

/* Runs a service whose delay is ten minutes; *ret_run is what service_run returned. */
static int run(struct witness *witness, enum err *ret_run)
{
    static const struct service_params params = {
        .name = "sample", .summary = "A sample.", .openapi = &openapi};
    const char *argv[] = {"sample", "--http.port=0", "--service.drain.delay=10m", "--log.level=off",
                          NULL};
    struct err_info info = {0};
    enum config_action action;
    assert_err(ERR_OK,
               service_begin(&params, 4, (char **)(uintptr_t)argv, &witness->service, &action));
    assert_err(ERR_OK, service_listen(witness->service, NULL, NULL, &info));
    witness->port = http_server_port(service_http(witness->service));
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, watch_the_delay, witness));
    *ret_run = service_run(witness->service);
    (void)pthread_join(thread, NULL);
    return service_end(witness->service, *ret_run, &info);
}

static void test_drain_delay__is_not_ready_and_serves(void **state)
{
    (void)state;
    struct witness witness = {0};
    enum err e;
    assert_int_equal(0, run(&witness, &e));
    assert_err(ERR_OK, e);
    assert_int_equal(503, witness.ready_status);
    assert_int_equal(200, witness.live_status);
    assert_string_equal("close", witness.connection);
    assert_true(witness.left_ms > 600000); /* the drain has its own time after the delay */
}

static void test_drain_delay__a_failure_ends_it_and_is_told(void **state)
{
    (void)state;
    struct witness witness = {.fails = true};
    enum err e;
    assert_int_equal(1, run(&witness, &e));
    assert_err(ERR_IO, e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drain_delay__is_not_ready_and_serves),
        cmocka_unit_test(test_drain_delay__a_failure_ends_it_and_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
