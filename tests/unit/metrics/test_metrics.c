#define _GNU_SOURCE /* memmem */
#include "test.h"

#include <pthread.h>
#include <stdio.h>

#include "metrics/metrics.h"

static const double bounds[] = {0.1, 1, 0};
static struct metric metrics[] = {
    {"test_events_total", METRIC_COUNTER, "Events.", "topic,outcome"},
    {"test_depth", METRIC_GAUGE, "Depth.", NULL},
    {"test_seconds", METRIC_HISTOGRAM, "Time.", NULL, bounds},
    {"test_cpu_seconds_total", METRIC_COUNTER, "Kept elsewhere.", NULL},
    {"test_many_total", METRIC_COUNTER, "Many.", "name"},
};

static void assert_contains(const struct buf *text, const char *line)
{
    if (!memmem(text->data, text->len, line, strlen(line))) {
        fail_msg("missing: %s in\n%.*s", line, (int)text->len, text->data);
    }
}

static void test_metrics_render__text_format(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    metrics_register(metrics, ARRAY_LEN(metrics)); /* again: no effect */
    metric_add(METRIC(metrics[0], "a\"b\\c\nd", "ok"), 3);
    metric_set(METRIC(metrics[1], NULL), 2.5);
    metric_set(METRIC(metrics[3], NULL), 1.25);
    metric_observe(METRIC(metrics[2], NULL), 0.05);
    metric_observe(METRIC(metrics[2], NULL), 0.5);
    metric_observe(METRIC(metrics[2], NULL), 5);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
    assert_contains(&text, "# TYPE test_events_total counter\n");
    assert_contains(&text, "test_events_total{topic=\"a\\\"b\\\\c\\nd\",outcome=\"ok\"} 3\n");
    assert_contains(&text, "test_depth 2.5\n");
    assert_contains(&text, "test_cpu_seconds_total 1.25\n");
    assert_contains(&text, "test_seconds_bucket{le=\"0.1\"} 1\n");
    assert_contains(&text, "test_seconds_bucket{le=\"1\"} 2\n");
    assert_contains(&text, "test_seconds_bucket{le=\"+Inf\"} 3\n");
    assert_contains(&text, "test_seconds_sum 5.55\ntest_seconds_count 3\n");
    buf_free(&text);
}

static void test_metrics_render__openmetrics(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    metric_add(METRIC(metrics[0], "a", "ok"), 3);
    metric_observe(METRIC(metrics[2], NULL), 0.05);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_err(ERR_OK, metrics_render(&text, METRICS_OPENMETRICS));
    assert_contains(&text, "# HELP test_events Events.\n# TYPE test_events counter\n");
    assert_contains(&text, "test_events_total{topic=\"a\",outcome=\"ok\"} 3\n");
    assert_contains(&text, "# TYPE test_depth gauge\n");
    assert_contains(&text, "# TYPE test_seconds histogram\n");
    assert_contains(&text, "test_seconds_bucket{le=\"0.1\"} ");
    assert_contains(&text, "test_seconds_bucket{le=\"1.0\"} ");
    assert_contains(&text, "test_seconds_bucket{le=\"+Inf\"} ");
    static const char end[] = "\n# EOF\n";
    assert_true(text.len > strlen(end));
    assert_memory_equal(end, text.data + text.len - strlen(end), strlen(end));
    buf_free(&text);
}

static void test_metric_series__too_many__share_one(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    char name[32];
    for (int i = 0; i < METRIC_SERIES_MAX; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        metric_add(METRIC(metrics[4], name), 1);
    }
    struct metric_series *other = METRIC(metrics[4], "one more");
    assert_ptr_equal(other, METRIC(metrics[4], "and another"));
    assert_ptr_not_equal(other, METRIC(metrics[4], "n0"));
}

static void *add_many(void *series)
{
    for (int i = 0; i < 100000; i++) {
        metric_add(series, 1);
        metric_observe(METRIC(metrics[2], NULL), 0.25);
    }
    return NULL;
}

static void test_metric_add__two_threads__no_count_is_lost(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    struct metric_series *series = METRIC(metrics[0], "threads", "ok");
    double before = metric_value(METRIC(metrics[2], NULL));
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(0, pthread_create(&threads[i], NULL, add_many, series));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(0, pthread_join(threads[i], NULL));
    }
    assert_true(metric_value(series) == 200000);
    assert_true(metric_value(METRIC(metrics[2], NULL)) == before + 200000);
}

static void *observe_once(void *series)
{
    metric_observe(series, 0.25);
    return NULL;
}

/* One thread after the other, while series are added that the first had no room for. */
static void test_metric_value__threads_have_ended__their_counts_stay(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    struct metric_series *first = METRIC(metrics[2], NULL);
    const double before = metric_value(first);
    for (int i = 0; i < 300; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "ended%d", i);
        struct metric_series *series = METRIC(metrics[0], name, "ok");
        metric_add(series, 2);
        pthread_t thread;
        assert_int_equal(0, pthread_create(&thread, NULL, observe_once, first));
        assert_int_equal(0, pthread_join(thread, NULL));
        assert_true(metric_value(series) == 2);
    }
    assert_true(metric_value(first) == before + 300);
}

static void *count_until_told(void *stop)
{
    struct metric_series *series = METRIC(metrics[0], "reading", "ok");
    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
        metric_add(series, 1);
    }
    return NULL;
}

static void test_metrics_render__while_threads_count__never_less_than_before(void **state)
{
    (void)state;
    metrics_register(metrics, ARRAY_LEN(metrics));
    struct metric_series *series = METRIC(metrics[0], "reading", "ok");
    bool stop = false;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(0, pthread_create(&threads[i], NULL, count_until_told, &stop));
    }
    double last = 0;
    for (int i = 0; i < 200; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "beside%d", i);
        metric_add(METRIC(metrics[0], name, "ok"), 1); /* this thread's room grows meanwhile */
        struct buf text;
        buf_init(&text, 1 << 20);
        assert_err(ERR_OK, metrics_render(&text, METRICS_PROMETHEUS));
        buf_free(&text);
        const double now = metric_value(series);
        assert_true(now >= last);
        last = now;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(0, pthread_join(threads[i], NULL));
    }
    assert_true(metric_value(series) >= last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_render__text_format),
        cmocka_unit_test(test_metrics_render__openmetrics),
        cmocka_unit_test(test_metric_series__too_many__share_one),
        cmocka_unit_test(test_metric_add__two_threads__no_count_is_lost),
        cmocka_unit_test(test_metric_value__threads_have_ended__their_counts_stay),
        cmocka_unit_test(test_metrics_render__while_threads_count__never_less_than_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
