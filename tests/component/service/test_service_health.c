/* --health against a running service, and against everything else that may listen there. */
#include "test.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/service.h"

static atomic_bool is_well;
static const struct embedded_file openapi = {.name = "openapi.json"};

static bool check_is_well(void *context, char *text, size_t text_bytes)
{
    (void)context;
    (void)snprintf(text, text_bytes, "the dog ate it");
    return atomic_load(&is_well);
}

static enum err begin(const struct embedded_file *api, const char *a, const char *b, const char *c,
                      struct service **ret, enum config_action *ret_action)
{
    static struct service_params params;
    params = (struct service_params){.name = "sample", .summary = "A sample.", .openapi = api};
    const char *argv[] = {"sample", a, b, c, NULL};
    return service_begin(&params, c ? 4 : 3, (char **)(uintptr_t)argv, ret, ret_action);
}

/* The exit code of `sample --health --http.host=HOST --http.port=PORT`. */
static int health(const char *host, unsigned port)
{
    char host_flag[64], port_flag[64];
    (void)snprintf(host_flag, sizeof host_flag, "--http.host=%s", host);
    (void)snprintf(port_flag, sizeof port_flag, "--http.port=%u", port);
    struct service *asking;
    enum config_action action = CONFIG_RUN;
    enum err e = begin(&openapi, "--health", host_flag, port_flag, &asking, &action);
    assert_int_equal(CONFIG_DONE, action);
    return service_end(asking, e, NULL);
}

static void run_service(const char *host_flag, struct service **ret, unsigned *ret_port)
{
    enum config_action action;
    struct err_info info = {0};
    assert_err(ERR_OK,
               begin(&openapi, "--http.port=0", host_flag, "--log.level=off", ret, &action));
    assert_int_equal(CONFIG_RUN, action);
    service_add_check(*ret, &(struct service_check){"food", check_is_well, NULL});
    assert_err(ERR_OK, service_listen(*ret, NULL, NULL, &info));
    *ret_port = http_server_port(service_http(*ret));
}

static void test_health__of_a_running_service__is_its_readiness(void **state)
{
    (void)state;
    static const struct {
        const char *label, *flag, *host;
    } rows[] = {
        {"loopback", "--http.host=127.0.0.1", "127.0.0.1"},
        {"by name", "--http.host=localhost", "localhost"},
        {"every address", "--http.host=0.0.0.0", "0.0.0.0"},
        {"nothing said", "--http.host=", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct service *service;
        unsigned port;
        run_service(rows[i].flag, &service, &port);
        atomic_store(&is_well, true);
        int when_well = health(rows[i].host, port);
        atomic_store(&is_well, false);
        int when_not = health(rows[i].host, port);
        assert_int_equal(0, service_end(service, ERR_OK, NULL));
        if (when_well != 0 || when_not != 1) {
            fail_msg("%s: exit code %d when well, %d when not", rows[i].label, when_well, when_not);
        }
        assert_int_equal(1, health(rows[i].host, port)); /* now it has ended */
    }
}

/* A listener that accepts and, after the request, says `text`; NULL: it says nothing at all. */
struct stranger {
    int fd;
    unsigned port;
    const char *text;
    pthread_t thread;
};

static void *stranger_run(void *context)
{
    const struct stranger *stranger = context;
    int fd = accept(stranger->fd, NULL, NULL);
    char request[512];
    if (recv(fd, request, sizeof request, 0) > 0 && stranger->text) {
        assert_true(send(fd, stranger->text, strlen(stranger->text), MSG_NOSIGNAL) > 0);
    } else {
        (void)recv(fd, request, sizeof request, 0); /* until the asker has given up */
    }
    (void)close(fd);
    return NULL;
}

static void stranger_start(struct stranger *stranger)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    stranger->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(0, bind(stranger->fd, (struct sockaddr *)&address, sizeof address));
    assert_int_equal(0, listen(stranger->fd, 4));
    assert_int_equal(0, getsockname(stranger->fd, (struct sockaddr *)&address, &bytes));
    stranger->port = ntohs(address.sin_port);
    assert_int_equal(0, pthread_create(&stranger->thread, NULL, stranger_run, stranger));
}

static void test_health__what_is_no_ready_service__fails(void **state)
{
    (void)state;
    static const char *const texts[] = {
        NULL,
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 20",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"draining\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct stranger stranger = {.text = texts[i]};
        stranger_start(&stranger);
        assert_int_equal(1, health("127.0.0.1", stranger.port));
        assert_int_equal(0, pthread_join(stranger.thread, NULL));
        (void)close(stranger.fd);
    }
}

static void test_health__cannot_be_asked__wrong_configuration(void **state)
{
    (void)state;
    assert_int_equal(2, health("127.0.0.1", 0));
    assert_int_equal(2, health("not an address", 8080));
    struct service *tool;
    enum config_action action;
    enum err e = begin(NULL, "--health", "--log.level=off", NULL, &tool, &action);
    assert_err(ERR_CONFIG, e);
    assert_int_equal(2, service_end(tool, e, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health__of_a_running_service__is_its_readiness),
        cmocka_unit_test(test_health__what_is_no_ready_service__fails),
        cmocka_unit_test(test_health__cannot_be_asked__wrong_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
