/* Workers that keep a copy of their state on disk (state.dir), ended and started again. At least once:
 * the mock forgets offsets that are sent in transactions; exactly once is tried on real Kafka
 * (tests/e2e/test_pipeline_kills.py). */
#define _GNU_SOURCE /* memmem, mkdtemp, nftw */

#include "folder.h"
#include "worker_fixture.h"

#include <dirent.h>
#include <unistd.h>

#define KEYS         8
#define LIST_OFFSETS 2    /* whether a changelog goes on from the copy's place */
#define SLOW_MS      2000 /* below the time for which the answer is waited for */

static const char *const count_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {\"counts\": {\"from\": \"in\", \"steps\": [" COUNT
          "], \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

struct place {
    struct fixture f;
    char dir[64];
    double seen; /* records in, so far */
};

static int place_make(void **state)
{
    static struct place place;
    place = (struct place){0};
    fixture_start(&place.f, count_text, "at_least_once");
    (void)snprintf(place.dir, sizeof place.dir, "/tmp/millrace-worker-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    place.f.config.state_dir = place.dir;
    *state = &place;
    return 0;
}

static int place_leave(void **state)
{
    struct place *place = *state;
    fixture_stop(&place->f);
    return folder_remove(place->dir);
}

static double local_rows(const struct place *place)
{
    return metric_of(&place->f, "local_state_rows_total", "");
}

static double restored(const struct place *place)
{
    return metric_of(&place->f, "restored_records_total", "");
}

/* So many records of each key, taken in and committed. */
static void feed_counted(struct place *place, int each)
{
    feed_times(&place->f, "in", each * KEYS, 0, 1);
    place->seen += each * KEYS;
    await_metric(&place->f, "records_in_total", "", place->seen);
}

/* One more of a key: the worker knows of all that were before. */
static void expect_count(struct place *place, int count)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "{\"id\":\"a\",\"count\":%d}", count);
    feed_timed(&place->f, "in", "a", START_MS);
    assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
    place->seen++;
    await_metric(&place->f, "records_in_total", "", place->seen);
    await_output(&place->f, wanted);
}

static void test_local__started_again__reads_rows_and_no_changelog(void **state)
{
    struct place *place = *state;
    struct worker *worker = worker_of(&place->f, NULL);
    feed_counted(place, 10);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(KEYS, (int)local_rows(place));
    assert_int_equal(0, (int)restored(place));
    expect_count(place, 11);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, place->f.fatal);
}

/* A broker that is slow is no reason to read everything again, which would be slower yet. */
static void test_local__broker_answers_late__the_copy_counts(void **state)
{
    struct place *place = *state;
    struct worker *worker = worker_of(&place->f, NULL);
    feed_counted(place, 10);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    (void)rd_kafka_mock_broker_push_request_error_rtts(place->f.mock.cluster, 1, LIST_OFFSETS, 1,
                                                       RD_KAFKA_RESP_ERR_NO_ERROR, SLOW_MS);
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(KEYS, (int)local_rows(place));
    assert_int_equal(0, (int)restored(place));
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

/* Another has worked on meanwhile: what is new comes from the changelog. */
static void test_local__another_went_on_meanwhile__reads_what_is_new(void **state)
{
    struct place *place = *state;
    struct worker *worker = worker_of(&place->f, NULL);
    feed_counted(place, 10);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    place->f.config.state_dir = "";
    worker = worker_of(&place->f, NULL);
    feed_counted(place, 5);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(0, (int)local_rows(place));
    double before = restored(place);
    place->f.config.state_dir = place->dir;
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(KEYS, (int)local_rows(place));
    assert_true(restored(place) >= before + KEYS);
    expect_count(place, 16);
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

/* Every file but the lock, in the middle. */
static void files_spoil(const struct place *place)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", place->dir, place->f.name);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        (void)snprintf(path, sizeof path, "%s/%s/%s", place->dir, place->f.name, entry->d_name);
        if (entry->d_type == DT_REG && strcmp(entry->d_name, "in-use") != 0) {
            struct stat status;
            assert_int_equal(0, stat(path, &status));
            assert_int_equal(0, truncate(path, status.st_size / 2));
        }
    }
    (void)closedir(folder);
}

static void test_local__spoiled__comes_from_the_changelog_again(void **state)
{
    struct place *place = *state;
    struct worker *worker = worker_of(&place->f, NULL);
    feed_counted(place, 10);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    files_spoil(place);
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_true(restored(place) >= KEYS);
    expect_count(place, 11);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    double before = restored(place), rows = local_rows(place);
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(KEYS, (int)(local_rows(place) - rows)); /* and was made anew */
    assert_int_equal(0, (int)(restored(place) - before));
    expect_count(place, 12);
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

/* Their records say something else in another order. */
static void test_local__sessions__come_from_the_changelog(void **state)
{
    static const char *const text = "{\"sources\": {\"in\": " SOURCE(
        "in") "}, \"flows\": {\"sessions\": {\"from\": \"in\", \"steps\": [{\"aggregate\": {"
              "\"by\": \"/id\", \"window\": {\"session\": \"1h\", \"grace\": \"1h\"}, "
              "\"store\": {\"name\": \"windows\"}, \"emit\": [\"update\"], "
              "\"result\": {\"id\": \"key\", \"count\": \"count\"}}}], "
              "\"output\": {\"topic\": \"out\"}}}, " SIDES "}";
    struct place *place = *state;
    pipeline_free(place->f.pipeline);
    pipeline_make(&place->f, text);
    struct worker *worker = worker_of(&place->f, NULL);
    feed_counted(place, 10);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(0, (int)local_rows(place));
    assert_true(restored(place) >= KEYS);
    expect_count(place, 11);
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

static void test_local__folder_in_use__start_is_refused(void **state)
{
    struct place *place = *state;
    struct worker *worker = worker_of(&place->f, NULL), *second = NULL;
    struct worker_config config = place->f.config;
    struct err_info info = {0};
    config.instance_id = "two";
    assert_err(ERR_CONFIG, worker_start(&(struct worker_params){.config = &config,
                                                                .kafka = &place->f.mock.config,
                                                                .pipeline = place->f.pipeline,
                                                                .on_fatal = on_fatal,
                                                                .context = &place->f},
                                        &second, &info));
    assert_non_null(strstr(info.text, "in use by another process"));
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, place_make, place_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_local__started_again__reads_rows_and_no_changelog),
        TEST(test_local__broker_answers_late__the_copy_counts),
        TEST(test_local__another_went_on_meanwhile__reads_what_is_new),
        TEST(test_local__spoiled__comes_from_the_changelog_again),
        TEST(test_local__sessions__come_from_the_changelog),
        TEST(test_local__folder_in_use__start_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
