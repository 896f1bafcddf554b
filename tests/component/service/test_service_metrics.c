/* GET /metrics: which of its two formats somebody gets. */
#include "test.h"

#include <string.h>

#include "http_call.h"
#include "service/service.h"

#define PROMETHEUS  "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

static const struct embedded_file openapi = {.name = "openapi.json"};

static void test_metrics__as_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *label, *accept, *type;
    } rows[] = {
        {"nothing said", "Accept:", PROMETHEUS},
        {"anything", "Accept: */*", PROMETHEUS},
        {"a browser", "Accept: text/html,application/xhtml+xml,*/*;q=0.8", PROMETHEUS},
        {"Prometheus",
         "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
         "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         OPENMETRICS},
        {"OpenMetrics alone", "Accept: application/openmetrics-text", OPENMETRICS},
        {"text rather", "Accept: application/openmetrics-text;q=0.3,text/plain", PROMETHEUS},
    };
    static struct service_params params = {
        .name = "sample", .summary = "A sample.", .openapi = &openapi};
    const char *argv[] = {"sample", "--http.port=0", "--http.host=127.0.0.1", "--log.level=off",
                          NULL};
    struct service *service;
    enum config_action action;
    struct err_info info = {0};
    assert_err(ERR_OK, service_begin(&params, 4, (char **)(uintptr_t)argv, &service, &action));
    assert_err(ERR_OK, service_listen(service, NULL, NULL, &info));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer answer =
            http_call(http_server_port(service_http(service)), "/metrics", NULL, 0, rows[i].accept);
        bool ends = answer.body && strstr(answer.body, "\n# EOF\n");
        if (answer.status != 200 || strncmp(answer.content_type, rows[i].type, 40) != 0 ||
            ends != (strcmp(rows[i].type, OPENMETRICS) == 0)) {
            fail_msg("%s: %ld, %s", rows[i].label, answer.status, answer.content_type);
        }
        assert_non_null(strstr(answer.body, "\nprocess_cpu_seconds_total "));
        http_answer_free(&answer);
    }
    assert_int_equal(0, service_end(service, ERR_OK, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__as_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
