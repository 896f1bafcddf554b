/* GET /jobs over a real status topic: workers that live, die, end, and a topic that is not there. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"
#include "stream/pipeline.h"
#include "worker/worker.h"

#define STATUS  "millrace.status"
#define CONTROL "millrace.control"

static const char *const copying = "{\"name\":\"copying\",\"source\":{\"topic\":\"orders\"},"
                                   "\"output\":{\"topic\":\"product-metrics\"}}";

static void on_fatal(void *context, enum err err, const struct err_info *info)
{
    (void)context, (void)err;
    print_error("fatal: %s\n", info->text);
}

/* Two workers on the site's Kafka. */
struct crew {
    struct pipeline *pipeline;
    struct worker_config configs[2];
    struct worker *workers[2];
};

static void worker_begin(struct crew *crew, const struct site *site, size_t index,
                         const char *instance)
{
    crew->configs[index] = (struct worker_config){.guarantee = "at_least_once",
                                                  .threads = 1,
                                                  .commit_interval_ms = 50,
                                                  .commit_bytes = 1 << 20,
                                                  .instance_id = instance,
                                                  .purge_interval_ms = 30000,
                                                  .offsets_lost = "fail",
                                                  .state_lost = "fail",
                                                  .rebalance = "eager",
                                                  .status_topic = STATUS,
                                                  .control_topic = CONTROL,
                                                  .status_interval_ms = 100};
    struct err_info info = {0};
    assert_err(ERR_OK, worker_start(&(struct worker_params){.config = &crew->configs[index],
                                                            .kafka = &site->mock.config,
                                                            .pipeline = crew->pipeline,
                                                            .on_fatal = on_fatal},
                                    &crew->workers[index], &info));
}

static void crew_begin(struct crew *crew, const struct site *site)
{
    static struct pipeline_errors errors;
    json_t *document = json_loads(copying, 0, NULL);
    assert_err(ERR_OK, pipeline_compile(document, "copying.json", PIPELINE_OVERRIDES_NONE,
                                        &crew->pipeline, &errors));
    json_decref(document);
    worker_begin(crew, site, 0, "one");
    worker_begin(crew, site, 1, "two");
}

/* Asks until the answer has the text; it is the caller's. */
static char *await_answer(const struct site *site, const char *target, const char *text)
{
    int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        char *answer = site_get(site, target, NULL);
        if (strstr(answer, text)) {
            return answer;
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("no \"%s\" in:\n%s", text, answer);
        }
        free(answer);
        (void)poll(NULL, 0, 20);
    }
}

static void await_and_drop(const struct site *site, const char *target, const char *text)
{
    free(await_answer(site, target, text));
}

static struct site *status_site(bool has_topic)
{
    struct site *site = must_alloc(sizeof *site);
    site->mock = mock_kafka_start(1);
    mock_kafka_topic(&site->mock, "orders", 2);
    mock_kafka_topic(&site->mock, "product-metrics", 2);
    mock_kafka_topic(&site->mock, "orders.dlq", 1);
    if (has_topic) {
        mock_kafka_topic(&site->mock, STATUS, 1);
    }
    mock_kafka_topic(&site->mock, CONTROL, 1);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    CHECK(rd_kafka_conf_set(conf, "bootstrap.servers", site->mock.config.bootstrap_servers, why,
                            sizeof why) == RD_KAFKA_CONF_OK);
    site->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    CHECK(site->producer);
    site_open(site, (const char *const[]){"--query.topics=orders", "--query.control=on", NULL});
    return site;
}

/* Two workers share the partitions; one ends, and is no more; one is killed, and is lost. */
static void test_jobs__two_workers__one_ends_and_one_dies(void **state)
{
    (void)state;
    struct site *site = status_site(true);
    struct crew crew;
    for (int n = 0; n < 30; n++) {
        site_produce(site, "orders", n % 2, "k", "{\"n\":1}");
    }
    site_flush(site);
    crew_begin(&crew, site);
    await_and_drop(site, "/jobs", "\"instance_count\":{\"live\":2,\"lost\":0,\"failed\":0}");
    await_and_drop(site, "/jobs/copying", "\"task_count\":{\"running\":2,");
    char *job = await_answer(site, "/jobs/copying", "\"state\":\"ok\"");
    expect_in(job, "\"topology\":{\"sources\":[{\"topic\":\"orders\"");
    expect_in(job, "\"instance\":\"one\"");
    expect_in(job, "\"thread\":0");
    free(job);
    assert_err(ERR_OK, worker_stop(crew.workers[0], 20000)); /* a clean end: nothing is left */
    await_and_drop(site, "/jobs/copying", "\"instance_count\":{\"live\":1,\"lost\":0,");
    /* A process that was killed tells nothing any more, which is what a record of long ago is. */
    char value[512];
    (void)snprintf(value, sizeof value,
                   "{\"v\":1,\"pipeline\":\"copying\",\"instance\":\"killed\",\"run\":7,"
                   "\"interval_ms\":100,\"thread\":0,\"state\":\"running\",\"tasks\":[{\"stage\":0,"
                   "\"partition\":9,\"state\":\"running\"}]}");
    site_produce(site, STATUS, 0, "copying/killed/0", value);
    site_flush(site);
    await_and_drop(site, "/jobs/copying", "killed is lost: nobody has its tasks");
    await_and_drop(site, "/jobs", "\"state\":\"degraded\"");
    assert_err(ERR_OK, worker_stop(crew.workers[1], 20000));
    await_and_drop(site, "/jobs", "\"state\":\"down\"");
    pipeline_free(crew.pipeline);
    site_stop(site);
}

/* The answer; it is the caller's. */
static char *post(const struct site *site, const char *target, const char *media_type)
{
    char request[512];
    (void)snprintf(request, sizeof request,
                   "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: %s\r\n"
                   "Content-Length: 2\r\n\r\n{}",
                   target, media_type);
    struct client *client = client_open_with(site, request, 0);
    client_await_end(client);
    char *answer = must_alloc(client->text.len + 1);
    memcpy(answer, client->text.data, client->text.len);
    client_close(client);
    return answer;
}

static void post_expecting(const struct site *site, const char *target, const char *media_type,
                           const char *wanted)
{
    char *answer = post(site, target, media_type);
    expect_in(answer, wanted);
    free(answer);
}

static void test_jobs__paused_and_resumed__over_http(void **state)
{
    (void)state;
    static const char json[] = "application/json";
    struct site *site = status_site(true);
    struct crew crew;
    crew_begin(&crew, site);
    await_and_drop(site, "/jobs/copying", "\"state\":\"ok\"");
    await_and_drop(site, "/jobs/copying", "\r\nMillrace-Actions: pause, resume, savepoint\r\n");
    post_expecting(site, "/jobs/copying/pause", json, "202");
    await_and_drop(site, "/jobs/copying", "\"state\":\"paused\"");
    await_and_drop(site, "/jobs/copying", "one stands still: it was paused");
    post_expecting(site, "/jobs/copying/resume", json,
                   "{\"pipeline\":\"copying\",\"wanted\":\"running\"}");
    await_and_drop(site, "/jobs/copying", "\"state\":\"ok\"");
    post_expecting(site, "/jobs/nothing/pause", json, "job-unknown");
    post_expecting(site, "/jobs/copying/pause", "text/plain", "415");
    for (size_t i = 0; i < ARRAY_LEN(crew.workers); i++) {
        assert_err(ERR_OK, worker_stop(crew.workers[i], 20000));
    }
    pipeline_free(crew.pipeline);
    site_stop(site);
}

/* What the worker says of it: it has no folder, so that it fails, and the reason is told. That one is
 * taken is tried in tests/component/worker and tests/e2e. */
static void test_jobs__savepoint__over_http(void **state)
{
    (void)state;
    static const char json[] = "application/json";
    struct site *site = status_site(true);
    struct crew crew;
    crew_begin(&crew, site);
    await_and_drop(site, "/jobs/copying", "\"state\":\"ok\"");
    await_and_drop(site, "/jobs/copying", "\"savepoints\":[]");
    post_expecting(site, "/jobs/nothing/savepoint", json, "job-unknown");
    post_expecting(site, "/jobs/copying/savepoint", "text/plain", "415");
    post_expecting(site, "/jobs/copying/savepoint", json,
                   "{\"pipeline\":\"copying\",\"savepoint\":\"20");
    char *job = await_answer(site, "/jobs/copying", "savepoint.dir is not set on ");
    expect_in(job, "\"state\":\"failed\"");
    free(job);
    for (size_t i = 0; i < ARRAY_LEN(crew.workers); i++) {
        assert_err(ERR_OK, worker_stop(crew.workers[i], 20000));
    }
    pipeline_free(crew.pipeline);
    site_stop(site);
}

static const char *after(const char *text, const char *mark)
{
    const char *found = strstr(text, mark);
    assert_non_null(found);
    return found + strlen(mark);
}

/* The answer has a tag, and what has not changed is not sent again. */
static void test_jobs__etag__saves_the_body(void **state)
{
    (void)state;
    struct site *site = status_site(true);
    site_produce(site, STATUS, 0, "p/i/0",
                 "{\"v\":1,\"pipeline\":\"p\",\"instance\":\"i\",\"run\":7,\"interval_ms\":60000,"
                 "\"thread\":0,\"state\":\"running\",\"tasks\":[]}");
    site_flush(site);
    char *first = await_answer(site, "/jobs", "\"pipeline\":\"p\"");
    char header[128];
    (void)snprintf(header, sizeof header, "If-None-Match: %.18s\r\n", after(first, "ETag: "));
    char *second = site_get(site, "/jobs", header);
    expect_in(second, "304");
    char *unknown = site_get(site, "/jobs/q", NULL);
    expect_in(unknown, "404");
    expect_in(unknown, "\"code\":\"job-unknown\"");
    expect_in(unknown, "\"near\":[\"p\"]");
    free(first);
    free(second);
    free(unknown);
    site_stop(site);
}

static void test_jobs__no_topic__nobody_has_told(void **state)
{
    (void)state;
    struct site *site = status_site(false);
    await_and_drop(site, "/jobs", "\"items\":[]");
    char *unknown = site_get(site, "/jobs/p", NULL);
    expect_in(unknown, "job-unknown");
    free(unknown);
    mock_kafka_topic(&site->mock, STATUS, 1); /* a worker that starts later makes it */
    site_produce(site, STATUS, 0, "p/i/0",
                 "{\"v\":1,\"pipeline\":\"p\",\"instance\":\"i\",\"run\":7,\"interval_ms\":60000,"
                 "\"thread\":0,\"state\":\"running\",\"tasks\":[]}");
    site_flush(site);
    await_and_drop(site, "/jobs/p", "\"state\":\"ok\"");
    site_stop(site);
}

static void test_jobs__switched_off__is_not_there(void **state)
{
    (void)state;
    struct site *site = must_alloc(sizeof *site);
    site->mock = mock_kafka_start(1);
    mock_kafka_topic(&site->mock, "orders", 1);
    site_open(site, (const char *const[]){"--query.topics=orders", "--query.status.topic=", NULL});
    char *answer = site_get(site, "/jobs", NULL);
    expect_in(answer, "404");
    expect_in(answer, "query.status.topic");
    free(answer);
    site_close(site);
    mock_kafka_stop(&site->mock);
    free(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs__paused_and_resumed__over_http),
        cmocka_unit_test(test_jobs__savepoint__over_http),
        cmocka_unit_test(test_jobs__two_workers__one_ends_and_one_dies),
        cmocka_unit_test(test_jobs__etag__saves_the_body),
        cmocka_unit_test(test_jobs__no_topic__nobody_has_told),
        cmocka_unit_test(test_jobs__switched_off__is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
