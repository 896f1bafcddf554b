/* Two views of one directory, as two producers have them. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "kafka/kafka_directory.h"
#include "mock_kafka.h"
#include "test.h"

#define DEADLINE_US 60000000
#define LOOKERS     4
#define TOPICS      3

struct fixture {
    struct mock_kafka mock;
    struct kafka_directory *directory;
    struct kafka_directory_view *views[2];
};

static rd_kafka_t *client_new(const struct mock_kafka *mock)
{
    rd_kafka_conf_t *conf;
    char why[256];
    assert_err(ERR_OK, kafka_conf_new(&mock->config, KAFKA_ROLE_PRODUCER_ACKED, &conf, NULL));
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(client);
    return client;
}

static void await_known(const struct kafka_directory_view *view)
{
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (!kafka_directory_is_known(view)) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 1);
    }
}

static enum err find(struct kafka_directory_view *view, const char *topic)
{
    struct kafka_topic_facts facts;
    return kafka_directory_find(view, topic, &facts);
}

static void await_found(struct kafka_directory_view *view, const char *topic)
{
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (find(view, topic) == ERR_TOPIC_UNKNOWN) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 1);
    }
    assert_err(ERR_OK, find(view, topic));
}

/* Until the cluster has been asked again, and has answered. */
static void await_newer(struct kafka_directory_view *view)
{
    const int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    const uint64_t generation = kafka_directory_generation(view);
    while (kafka_directory_generation(view) == generation) {
        assert_err(ERR_TOPIC_UNKNOWN, find(view, "none-of-that-name"));
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 1);
    }
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->mock = mock_kafka_start(1);
    mock_kafka_topic(&f->mock, "orders", 4);
    f->directory = kafka_directory_new();
    for (size_t i = 0; i < ARRAY_LEN(f->views); i++) {
        f->views[i] = kafka_directory_join(f->directory, client_new(&f->mock));
    }
    for (size_t i = 0; i < ARRAY_LEN(f->views); i++) {
        await_known(f->views[i]);
    }
    *state = f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(f->views); i++) {
        kafka_directory_leave(f->views[i]);
    }
    kafka_directory_free(f->directory);
    mock_kafka_stop(&f->mock);
    free(f);
    return 0;
}

static void
test_topic__that_one_view_has_found__is_found_by_the_next_look_of_the_other(void **state)
{
    struct fixture *f = *state;
    assert_err(ERR_OK, find(f->views[1], "orders"));
    assert_err(ERR_TOPIC_UNKNOWN, find(f->views[0], "late"));
    assert_err(ERR_TOPIC_UNKNOWN, find(f->views[1], "late"));
    mock_kafka_topic(&f->mock, "late", 1);
    await_found(f->views[0], "late"); /* the other is not asked meanwhile */
    assert_err(ERR_OK, find(f->views[1], "late"));
}

/* The broker that is asked next may not have heard of it. */
static void test_topic__that_is_new__stays_whatever_the_next_answer_says(void **state)
{
    struct fixture *f = *state;
    const int64_t made_us = clock_mono_us();
    mock_kafka_topic(&f->mock, "late", 1);
    await_found(f->views[0], "late");
    rd_kafka_mock_topic_set_error(f->mock.cluster, "late", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    await_newer(f->views[0]);
    await_newer(f->views[0]); /* the first of them may have been asked for before */
    const enum err e = find(f->views[1], "late");
    if (clock_mono_us() - made_us < 4000000) { /* else it is new no longer */
        assert_err(ERR_OK, e);
    }
}

static void test_clients__that_leave_or_are_replaced__are_not_needed(void **state)
{
    struct fixture *f = *state;
    kafka_directory_leave(f->views[0]);
    f->views[0] = NULL; /* leave takes it */
    mock_kafka_topic(&f->mock, "late", 1);
    await_found(f->views[1], "late");
    kafka_directory_replace(f->views[1], client_new(&f->mock));
    mock_kafka_topic(&f->mock, "later", 1);
    await_found(f->views[1], "later");
    kafka_directory_leave(f->views[1]);
    f->views[1] = kafka_directory_join(f->directory, client_new(&f->mock)); /* nobody was there */
    assert_err(ERR_OK, find(f->views[1], "later"));
    await_known(f->views[1]);
}

struct looker {
    pthread_t thread;
    struct fixture *fixture;
};

/* A view of its own that comes, finds what is made meanwhile, and leaves. */
static void *looker_run(void *context)
{
    const struct looker *looker = context;
    struct kafka_directory_view *view =
        kafka_directory_join(looker->fixture->directory, client_new(&looker->fixture->mock));
    await_known(view);
    for (int i = 0; i < TOPICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "late-%d", i);
        await_found(view, name);
    }
    kafka_directory_leave(view);
    return NULL;
}

static void test_views__of_many_threads__each_finds_all(void **state)
{
    struct fixture *f = *state;
    struct looker lookers[LOOKERS];
    for (size_t i = 0; i < LOOKERS; i++) {
        lookers[i].fixture = f;
        assert_int_equal(0, pthread_create(&lookers[i].thread, NULL, looker_run, &lookers[i]));
    }
    for (int i = 0; i < TOPICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "late-%d", i);
        mock_kafka_topic(&f->mock, name, 1);
        await_found(f->views[0], name);
        assert_err(ERR_OK, find(f->views[1], name));
    }
    for (size_t i = 0; i < LOOKERS; i++) {
        assert_int_equal(0, pthread_join(lookers[i].thread, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_topic__that_one_view_has_found__is_found_by_the_next_look_of_the_other, start,
            stop),
        cmocka_unit_test_setup_teardown(
            test_topic__that_is_new__stays_whatever_the_next_answer_says, start, stop),
        cmocka_unit_test_setup_teardown(test_clients__that_leave_or_are_replaced__are_not_needed,
                                        start, stop),
        cmocka_unit_test_setup_teardown(test_views__of_many_threads__each_finds_all, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
