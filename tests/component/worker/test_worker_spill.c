/* Workers whose state is larger than the memory it may have (state.memory): counts of all keys are right,
 * through an end and a disk that spoils. At least once, as in test_worker_local.c; killed on real Kafka in
 * tests/e2e/test_state_spill.py. */
#define _GNU_SOURCE /* memmem, mkdtemp, nftw */

#include "folder.h"
#include "worker_fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS       2500
#define TEXT_BYTES 1200 /* so large is a key's state */

/* Counts of all keys, by window. */
#define COUNTS(WINDOW)                                                                             \
    "{\"sources\": {\"in\": " SOURCE(                                                              \
        "in") "}, \"flows\": {\"counts\": {\"from\": \"in\", \"steps\": ["                         \
              "{\"aggregate\": {\"by\": \"/id\", \"window\": {" WINDOW ", \"grace\": \"1h\"}, "    \
              "\"store\": {\"name\": \"windows\"}, \"emit\": [\"update\"], \"result\": {\"id\": "  \
              "\"key\", "                                                                          \
              "\"count\": \"count\", \"text\": {\"last\": {\"field\": \"/text\", \"bytes_max\": "  \
              "2000}}}}}], "                                                                       \
              "\"output\": {\"topic\": \"out\"}}}, " SIDES "}"
#define TUMBLING "\"tumbling\": \"1h\""
#define HOPPING  "\"hopping\": \"1h\", \"advance\": \"20m\""
#define SESSIONS "\"session\": \"1h\""

struct place {
    struct fixture f;
    char dir[64], other_dir[80];
    double seen;      /* records in, so far */
    int counts[KEYS]; /* put out last */
};

static int place_make(void **state)
{
    static struct place place;
    place = (struct place){0};
    fixture_start(&place.f, COUNTS(TUMBLING), "at_least_once");
    (void)snprintf(place.dir, sizeof place.dir, "/tmp/millrace-worker-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    place.f.config.state_dir = place.dir;
    place.f.config.state_memory = 4 << 20; /* 2 MiB of cells: about half of them */
    place.f.config.commit_records = 500;   /* each commit waits for Kafka */
    *state = &place;
    return 0;
}

static int place_leave(void **state)
{
    struct place *place = *state;
    fixture_stop(&place->f);
    return folder_remove(place->dir);
}

static void pipeline_take(struct place *place, const char *text)
{
    pipeline_free(place->f.pipeline);
    pipeline_make(&place->f, text);
}

/* One record of each key. */
static void feed_keys(struct place *place)
{
    for (int i = 0; i < KEYS; i++) {
        char key[16], value[TEXT_BYTES + 128];
        (void)snprintf(key, sizeof key, "key-%d", i);
        (void)snprintf(value, sizeof value, "{\"id\":\"%s\",\"t\":%lld,\"text\":\"%0*d\"}", key,
                       (long long)START_MS, TEXT_BYTES, i);
        feed(&place->f, "in", key, value);
    }
    assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
    place->seen += KEYS;
}

static void await_counted(struct place *place)
{
    await_metric(&place->f, "records_in_total", "", place->seen);
}

static void count_take(struct place *place, const rd_kafka_message_t *message)
{
    char text[64];
    int key, count;
    (void)snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    assert_int_equal(2, sscanf(text, "{\"id\":\"key-%d\",\"count\":%d,", &key, &count));
    assert_in_range(key, 0, KEYS - 1);
    place->counts[key] = count > place->counts[key] ? count : place->counts[key];
}

/* Until each key was put out with this count; with more none is. The deadline is the next key's: a sanitized worker
 * on a busy machine is slow, but goes on. */
static void expect_counts(struct place *place, int count)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    int right = 0;
    while (right < KEYS && clock_mono_us() < deadline_us) {
        int before = right;
        rd_kafka_message_t *messages[1000];
        size_t got = kafka_tail_poll(place->f.tail, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < got; i++) {
            count_take(place, messages[i]);
            rd_kafka_message_destroy(messages[i]);
        }
        right = 0;
        for (int i = 0; i < KEYS; i++) {
            assert_true(place->counts[i] <= count);
            right += place->counts[i] == count;
        }
        deadline_us = right > before ? clock_mono_us() + DEADLINE_US : deadline_us;
    }
    assert_int_equal(KEYS, right);
}

static double spilled(const struct place *place)
{
    double sum = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        char more[64];
        (void)snprintf(more, sizeof more, ",stage=\"0\",partition=\"%d\"", p);
        sum += metric_of(&place->f, "state_spilled", more);
    }
    return sum;
}

static void await_spilled(const struct place *place, double least)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    while (spilled(place) < least) {
        assert_true(clock_mono_us() < deadline_us);
        pause_ms(10);
    }
}

static void expect_all_counted(struct place *place, int copied)
{
    struct worker *worker = worker_of(&place->f, NULL);
    for (int round = 1; round <= 2; round++) {
        feed_keys(place);
        await_counted(place);
        expect_counts(place, round);
    }
    await_spilled(place, KEYS / 3.0);
    await_metric(&place->f, "spilled_read_total", "", KEYS / 3.0);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    worker = worker_of(&place->f, NULL);
    await_ready(worker, NULL);
    assert_int_equal(copied, (int)metric_of(&place->f, "local_state_rows_total", ""));
    await_spilled(place, KEYS / 3.0);
    feed_keys(place);
    await_counted(place);
    expect_counts(place, 3);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, place->f.fatal);
}

static void test_spill__more_keys_than_memory_has_room_for__are_all_counted(void **state)
{
    expect_all_counted(*state, KEYS);
}

/* Sessions come back whole, and their places in the order of time move; the changelog alone has them. */
static void test_spill__more_sessions_than_memory_has_room_for__are_all_counted(void **state)
{
    pipeline_take(*state, COUNTS(SESSIONS));
    expect_all_counted(*state, 0);
}

static double open_in(const struct place *place, int partition)
{
    char more[64];
    (void)snprintf(more, sizeof more, ",stage=\"0\",partition=\"%d\"", partition);
    return metric_of(&place->f, "windows_open", more);
}

/* What a standby followed is in memory, and leaves it once it is the worker's own. */
static void test_spill__standby_takes_over__counts_on_within_its_memory(void **state)
{
    struct place *place = *state;
    pipeline_take(place, COUNTS(SESSIONS));
    struct worker *first = worker_of(&place->f, NULL);
    feed_keys(place);
    await_counted(place);
    expect_counts(place, 1);
    await_spilled(place, KEYS / 3.0);
    double others = open_in(place, 0) + open_in(place, 1); /* will stay with the first of two */
    (void)snprintf(place->other_dir, sizeof place->other_dir, "%s/two", place->dir);
    assert_int_equal(0, mkdir(place->other_dir, 0700));
    place->f.config.state_dir = place->other_dir;
    place->f.config.state_standby = "on";
    place->f.config.state_standby_bytes = 1 << 30;
    struct worker *second = worker_of(&place->f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "2 source partitions");
    await_metric(&place->f, "standby_records_total", "", others);
    assert_err(ERR_OK, worker_stop(first, 20000));
    await_ready(second, "4 source partitions");
    assert_int_equal(2, (int)metric_of(&place->f, "standby_taken_total", ""));
    feed_keys(place);
    await_counted(place);
    expect_counts(place, 2);
    await_spilled(place, KEYS / 3.0);
    assert_err(ERR_OK, worker_stop(second, 20000));
    assert_err(ERR_OK, place->f.fatal);
}

static void files_spoil(const struct place *place)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s/spill", place->dir, place->f.name);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strstr(entry->d_name, ".sst")) {
            (void)snprintf(path, sizeof path, "%s/%s/spill/%s", place->dir, place->f.name,
                           entry->d_name);
            assert_int_equal(0, truncate(path, 10));
        }
    }
    (void)closedir(folder);
}

/* What is committed is in the changelog: the worker ends, and the next one has it from there. */
static void test_spill__disk_spoils__worker_ends_and_nothing_is_lost(void **state)
{
    struct place *place = *state;
    pipeline_take(place, COUNTS(HOPPING));
    struct worker *worker = worker_of(&place->f, NULL);
    feed_keys(place);
    await_counted(place);
    await_spilled(place, KEYS / 3.0);
    files_spoil(place);
    feed_keys(place);
    await_fatal(&place->f);
    assert_err(ERR_STATE, place->f.fatal);
    pause_ms(1500); /* longer than a position that moved waits to be committed */
    assert_err(ERR_OK, worker_stop(worker, 20000));
    place->f.fatal = ERR_OK;
    worker = worker_of(&place->f, NULL);
    expect_counts(place, 2);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_err(ERR_OK, place->f.fatal);
}

static void expect_refused(struct place *place, const char *why)
{
    struct worker *worker = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, worker_start(&(struct worker_params){.config = &place->f.config,
                                                                .kafka = &place->f.mock.config,
                                                                .pipeline = place->f.pipeline,
                                                                .on_fatal = on_fatal,
                                                                .context = &place->f},
                                        &worker, &info));
    assert_non_null(strstr(info.text, why));
}

static void test_spill__what_it_is_not_for__is_refused_with_the_place(void **state)
{
    struct place *place = *state;
    place->f.config.state_dir = "";
    expect_refused(place, "state.memory needs state.dir");
    place->f.config.state_dir = place->dir;
    place->f.config.state_memory = 1 << 20;
    expect_refused(place, "4 MiB at least");
    place->f.config.state_memory = 4 << 20;
    pipeline_take(place, COUNTS("\"sliding\": \"1h\""));
    expect_refused(place, "/flows/counts/steps/0/aggregate");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, place_make, place_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_spill__more_keys_than_memory_has_room_for__are_all_counted),
        TEST(test_spill__more_sessions_than_memory_has_room_for__are_all_counted),
        TEST(test_spill__standby_takes_over__counts_on_within_its_memory),
        TEST(test_spill__disk_spoils__worker_ends_and_nothing_is_lost),
        TEST(test_spill__what_it_is_not_for__is_refused_with_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
