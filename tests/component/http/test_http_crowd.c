/* Many at once: connections that do nothing, and clients that ask too much. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fixture.h"

#define IDLE        TEST_RUNS(10000)
#define HELLO       "GET /hello HTTP/1.1\r\n" H "\r\n"
#define AT_ONCE     100 /* that are asked before an answer is read: fewer turns between two processes */
#define FILES_SPARE 400

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

/* --- idle connections --------------------------------------------------------------------------- */

/* Their other ends are in a process of their own: one alone may not have descriptors for both. */
static struct {
    pid_t pid;
    int to, from; /* pipes */
} crowd;

static bool descriptors_raise(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur >= IDLE + FILES_SPARE;
}

/* Some of the connections, which the first round opens; false: one is not answered. */
static bool crowd_ask(int *fds, size_t count, bool is_first)
{
    bool is_answered = true;
    for (size_t i = 0; i < count; i++) {
        fds[i] = is_first ? client_open() : fds[i];
        client_say(fds[i], HELLO);
    }
    for (size_t i = 0; i < count; i++) {
        is_answered = is_answered && answer_read(fds[i]).status == 200;
    }
    return is_answered;
}

/* Opens its connections, asks once on each, then once more on each when told to. */
static int crowd_main(int from, int to)
{
    static int fds[IDLE];
    char go = 0;
    if (!descriptors_raise() || read(from, &fixture.port, sizeof fixture.port) < 0) {
        return 1;
    }
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(fds); i += AT_ONCE) {
            if (!crowd_ask(fds + i, AT_ONCE, round == 0)) {
                return 1;
            }
        }
        if (write(to, "k", 1) != 1 || read(from, &go, 1) != 1) {
            return 1;
        }
    }
    return 0;
}

static int crowd_start(void **state)
{
    (void)state;
    int to[2], from[2];
    CHECK(pipe(to) == 0 && pipe(from) == 0);
    crowd.pid = fork(); /* while there are no threads */
    CHECK(crowd.pid >= 0);
    if (crowd.pid == 0) {
        close(to[1]);
        close(from[0]);
        _exit(crowd_main(to[0], from[1]));
    }
    close(to[0]);
    close(from[1]);
    crowd.to = to[1];
    crowd.from = from[0];
    return 0;
}

static int crowd_end(void **state)
{
    (void)state;
    close(crowd.to);
    close(crowd.from);
    (void)kill(crowd.pid, SIGKILL);
    return waitpid(crowd.pid, NULL, 0) == crowd.pid ? 0 : 1;
}

static void crowd_await(void)
{
    char done = 0;
    assert_int_equal(1, read(crowd.from, &done, 1)); /* its end would be the end of file */
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(1, fscanf(file, "%*d %ld", &pages));
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_http__ten_thousand_idle_connections__leave_room_for_others(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.connections_max = IDLE + 100;
    if (!descriptors_raise()) {
        fail_msg("RLIMIT_NOFILE's hard limit is below %d: raise it (ulimit -Hn)",
                 IDLE + FILES_SPARE);
    }
    server_start(&config);
    assert_int_equal(200, ask(HELLO).status);
    const long before_kib = resident_kib();
    assert_int_equal(sizeof fixture.port, write(crowd.to, &fixture.port, sizeof fixture.port));
    crowd_await();
    const long kib = resident_kib() - before_kib;
    print_message("%d connections that have asked once: %ld MiB, %.1f KiB each\n", IDLE, kib / 1024,
                  (double)kib / IDLE);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(kib < (long)IDLE); /* 1 KiB each: what has been answered holds no buffers */
#endif
    for (int i = 0; i < 100; i++) {
        assert_int_equal(200, ask(HELLO).status);
    }
    assert_int_equal(1, write(crowd.to, "g", 1)); /* and none of them was lost */
    crowd_await();
    server_stop();
}

/* --- one client's requests ---------------------------------------------------------------------- */

static int start_limited(void **state)
{
    (void)state;
    struct http_config config = config_default();
    config.client_rate = 0.01; /* none comes back while a test runs */
    config.client_burst_ms = 500000;
    config.threads = 2; /* one limit for both */
    server_start(&config);
    return 0;
}

/* As many as the burst has; who comes at its very end may go into debt by one. */
static void assert_burst(void)
{
    int served = 0;
    while (ask(HELLO).status == 200) {
        served++;
    }
    assert_in_range(served, 5, 6);
}

static void test_http__client_that_asks_too_much__429_says_when(void **state)
{
    (void)state;
    const double before = metric_read("millrace_http_refused_total{reason=\"client-rate\"} ");
    assert_burst();
    const int fd = client_open(); /* another connection, perhaps another worker */
    static const char *const requests[] = {HELLO, "GET /nope HTTP/1.1\r\n" H "\r\n",
                                           "POST /echo/n HTTP/1.1\r\n" H
                                           "Content-Length: 3\r\n\r\nabc"};
    for (int i = 0; i < 6; i++) {
        client_say(fd, requests[i % 3]);
        const struct answer answer = answer_read(fd);
        assert_int_equal(429, answer.status);
        const long seconds = strtol(answer_field(&answer, "Retry-After"), NULL, 10);
        assert_true(seconds > 50 && seconds <= 100);
        assert_non_null(strstr(answer.body, "\"code\":\"rate-limited\""));
    }
    client_say(fd, "POST /echo/n HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(429, answer_read(fd).status); /* at once, and the last of the connection */
    assert_closed(fd);
    close(fd);
    assert_true(metric_read("millrace_http_refused_total{reason=\"client-rate\"} ") >= before + 7);
}

static void test_http__another_address__has_a_limit_of_its_own(void **state)
{
    (void)state;
    assert_burst();
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in own = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    const struct sockaddr_in server = {.sin_family = AF_INET,
                                       .sin_port = htons(fixture.port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(0, bind(fd, (const struct sockaddr *)&own, sizeof own));
    assert_int_equal(0, connect(fd, (const struct sockaddr *)&server, sizeof server));
    client_say(fd, HELLO);
    assert_int_equal(200, answer_read(fd).status);
    close(fd);
}

static int start_unlimited_routes(void **state)
{
    static const struct http_route health[] = {{HTTP_GET, "/health", handle_hello}};
    more_routes =
        (struct http_route_set){.routes = health, .count = ARRAY_LEN(health), .is_unlimited = true};
    return start_limited(state);
}

static void test_http__operators_routes__are_not_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(200, ask("GET /health HTTP/1.1\r\n" H "\r\n").status);
    }
    assert_burst();
    assert_int_equal(200, ask("GET /health HTTP/1.1\r\n" H "\r\n").status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_http__ten_thousand_idle_connections__leave_room_for_others, crowd_start,
            crowd_end),
        cmocka_unit_test_setup_teardown(test_http__client_that_asks_too_much__429_says_when,
                                        start_limited, stop),
        cmocka_unit_test_setup_teardown(test_http__another_address__has_a_limit_of_its_own,
                                        start_limited, stop),
        cmocka_unit_test_setup_teardown(test_http__operators_routes__are_not_counted,
                                        start_unlimited_routes, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
