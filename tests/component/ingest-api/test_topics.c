/* What topics there are is known by all HTTP workers, or by none. Each request comes on a connection of its
 * own, which the kernel gives to any of the workers. */
#include "ingest_fixture.h"

#define ROUNDS      6
#define CALLS       40 /* that one of four workers takes none of them: one chance in 100,000 */
#define DEADLINE_US 60000000

static long status_of(const struct fixture *fixture, const char *path)
{
    struct http_answer answer = post(fixture, path, "{}");
    const long status = answer.status;
    http_answer_free(&answer);
    return status;
}

static void assert_all(const struct fixture *fixture, const char *path, long status)
{
    for (int i = 0; i < CALLS; i++) {
        struct http_answer answer = post(fixture, path, "{}");
        assert_answer(path, &answer, status, status == 201 ? "stored" : "topic-unknown");
        http_answer_free(&answer);
    }
}

static void test_topic__made_while_all_ask_for_it__is_known_by_all_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (int round = 0; round < ROUNDS; round++) {
        char name[16], path[32];
        (void)snprintf(name, sizeof name, "late-%d", round);
        (void)snprintf(path, sizeof path, "/events/%s", name);
        assert_all(fixture, path, 404);
        mock_kafka_topic(&fixture->kafka, name, 1);
        const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
        long status;
        while ((status = status_of(fixture, path)) == 404) {
            assert_true(clock_mono_us() < deadline_us);
        }
        assert_int_equal(201, status);
        assert_all(fixture, path, 201);
    }
}

static int start(void **state)
{
    static const char *const more[] = {"--topics.allow=*", "--http.threads=4", NULL};
    return fixture_start(state, NULL, more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic__made_while_all_ask_for_it__is_known_by_all_at_once),
    };
    return cmocka_run_group_tests(tests, start, fixture_stop);
}
