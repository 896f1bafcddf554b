/* A worker that follows the state of what others have (state.standby), and goes on from there when it comes
 * to it. At least once: the mock forgets offsets that are sent in transactions; exactly once is tried on
 * real Kafka (tests/e2e/test_pipeline_kills.py). */
#define _GNU_SOURCE /* memmem, mkdtemp, nftw */

#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "worker/worker_restore.h"
#include "folder.h"
#include "worker_fixture.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEYS            8
#define PRIORITY_LOWEST 19
#define LATE_MS         2500 /* below the time for which the answer is waited for */

static const char *const count_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {\"counts\": {\"from\": \"in\", \"steps\": [" COUNT
          "], \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

/* As if topics had been made anew since, and Kafka took its time to tell: linked in place of
 * kafka_topic_epoch. */
static _Atomic uint32_t epochs_later;
static _Atomic int answer_ms;
enum err __real_kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                                  uint32_t *ret_epoch, struct err_info *info);
enum err __wrap_kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                                  uint32_t *ret_epoch, struct err_info *info);
enum err __wrap_kafka_topic_epoch(rd_kafka_t *client, const char *topic, int64_t timeout_ms,
                                  uint32_t *ret_epoch, struct err_info *info)
{
    const int late_ms = answer_ms;
    pause_ms(timeout_ms < late_ms ? (int)timeout_ms : late_ms);
    if (timeout_ms < late_ms) {
        return err_set(info, ERR_KAFKA_TIMEOUT, "no answer in time");
    }
    enum err e = __real_kafka_topic_epoch(client, topic, timeout_ms, ret_epoch, info);
    *ret_epoch += epochs_later;
    return e;
}

struct place {
    struct fixture f;
    char dir[64];
    double seen; /* records in, so far */
    struct worker *first, *second;
};

static int place_make(void **state)
{
    static struct place place;
    place = (struct place){0};
    answer_ms = 0;
    fixture_start(&place.f, count_text, "at_least_once");
    (void)snprintf(place.dir, sizeof place.dir, "/tmp/millrace-standby-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    *state = &place;
    return 0;
}

static int place_leave(void **state)
{
    struct place *place = *state;
    assert_err(ERR_OK, place->f.fatal);
    fixture_stop(&place->f);
    return folder_remove(place->dir);
}

/* So many records of each key, taken in and committed. */
static void feed_counted(struct place *place, int each)
{
    feed_times(&place->f, "in", each * KEYS, 0, 1);
    place->seen += each * KEYS;
    await_metric(&place->f, "records_in_total", "", place->seen);
}

/* One more of each key: the worker that has it knows of all that were before. */
static void expect_counts(struct place *place, int count)
{
    for (char key = 'a'; key < 'a' + KEYS; key++) {
        char wanted[64];
        const char name[] = {key, '\0'};
        (void)snprintf(wanted, sizeof wanted, "{\"id\":\"%c\",\"count\":%d}", key, count);
        feed_timed(&place->f, "in", name, START_MS);
        assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
        place->seen++;
        await_output(&place->f, wanted);
    }
}

/* The records of the changelog in the partitions that range gives to the first of two. */
static size_t changelog_count(const struct place *place)
{
    char topic[64];
    struct err_info info = {0};
    struct kafka_tail *tail;
    (void)snprintf(topic, sizeof topic, "%s-windows-changelog", place->f.name);
    assert_err(ERR_OK, kafka_tail_new(&(struct kafka_tail_params){.config = &place->f.mock.config,
                                                                  .label = "changelog"},
                                      &tail, &info));
    for (int p = 0; p < PARTITIONS / 2; p++) {
        struct kafka_position start = {topic, p, KAFKA_EARLIEST};
        assert_err(ERR_OK, kafka_tail_add(tail, &start, 1, &info));
    }
    size_t count = tail_count_left(tail);
    kafka_tail_free(tail);
    return count;
}

static double restored(const struct place *place)
{
    return metric_of(&place->f, "restored_records_total", "");
}

static double taken(const struct place *place)
{
    return metric_of(&place->f, "standby_taken_total", "");
}

/* Two of the four partitions each; the second one follows those of the first. */
static void pair_start(struct place *place, int64_t bytes_max)
{
    place->first = worker_of(&place->f, NULL);
    await_ready(place->first, "4 source partitions");
    feed_counted(place, 10);
    place->f.config.state_standby = "on";
    place->f.config.state_standby_bytes = bytes_max;
    place->second = worker_of(&place->f, "two");
    await_ready(place->second, "2 source partitions");
    await_ready(place->first, "2 source partitions");
}

static void test_standby__what_was_followed__is_not_read_again(void **state)
{
    struct place *place = *state;
    pair_start(place, 1 << 30);
    feed_counted(place, 10);
    await_metric(&place->f, "standby_records_total", "", (double)changelog_count(place));
    double before = restored(place);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 21);
    assert_int_equal(2, (int)taken(place));
    assert_int_equal((int)before, (int)restored(place));
    /* What goes to another is followed from its start again. */
    double followed = metric_of(&place->f, "standby_records_total", "");
    place->f.config.state_standby = "off";
    place->first = worker_of(&place->f, NULL);
    await_ready(place->second, "2 source partitions");
    await_metric(&place->f, "standby_records_total", "", followed + (double)changelog_count(place));
    expect_counts(place, 22);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 23);
    assert_int_equal(4, (int)taken(place));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
}

/* A broker that is slow is no reason to read everything, which would be slower yet. */
static void test_standby__broker_answers_late__what_was_followed_counts(void **state)
{
    struct place *place = *state;
    pair_start(place, 1 << 30);
    feed_counted(place, 10);
    await_metric(&place->f, "standby_records_total", "", (double)changelog_count(place));
    answer_ms = LATE_MS;
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    answer_ms = 0;
    expect_counts(place, 21);
    assert_int_equal(2, (int)taken(place));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
}

static void on_line(void *context, struct strview line)
{
    _Atomic int *left_out = context;
    *left_out += memmem(line.ptr, line.len, "\"standby_left_out\"", 18) != NULL;
}

static void test_standby__no_room__is_read_when_it_comes(void **state)
{
    struct place *place = *state;
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    _Atomic int left_out = 0;
    log_capture(on_line, &left_out);
    pair_start(place, 1);
    while (left_out < PARTITIONS / 2) { /* before a record was read, or behind some */
        assert_true(clock_mono_us() < deadline_us);
        pause_ms(10);
    }
    double before = restored(place);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 11);
    assert_int_equal(0, (int)taken(place));
    assert_true(restored(place) > before);
    assert_err(ERR_OK, worker_stop(place->second, 20000));
    log_capture(NULL, NULL);
}

/* The copy on disk is as new as what was followed, and goes with it. */
static void test_standby__copy_on_disk__comes_along(void **state)
{
    struct place *place = *state;
    place->first = worker_of(&place->f, NULL);
    await_ready(place->first, "4 source partitions");
    place->f.config.state_dir = place->dir;
    place->f.config.state_standby = "on";
    place->f.config.state_standby_bytes = 1 << 30;
    place->second = worker_of(&place->f, "two");
    await_ready(place->second, "2 source partitions");
    feed_counted(place, 10);
    await_metric(&place->f, "standby_records_total", "", (double)changelog_count(place));
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 11);
    assert_int_equal(2, (int)taken(place));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
    double before = restored(place), rows = metric_of(&place->f, "local_state_rows_total", "");
    place->second = worker_of(&place->f, "two");
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 12);
    assert_int_equal(KEYS, (int)(metric_of(&place->f, "local_state_rows_total", "") - rows));
    assert_int_equal((int)before, (int)restored(place));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
}

/* It is not what was followed before; what is followed of it from then on is as good as any. */
static void test_standby__changelog_made_anew__is_followed_from_its_start_and_taken(void **state)
{
    struct place *place = *state;
    pair_start(place, 1 << 30);
    feed_counted(place, 10);
    double count = (double)changelog_count(place);
    await_metric(&place->f, "standby_records_total", "", count);
    epochs_later++;
    await_metric(&place->f, "standby_records_total", "", 2 * count);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    await_ready(place->second, "4 source partitions");
    expect_counts(place, 21);
    assert_int_equal(2, (int)taken(place));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
}

/* Under load, both follow each other, and the first one comes and goes. */
static void test_standby__members_come_and_go_under_load__nothing_is_lost(void **state)
{
    struct place *place = *state;
    const int rounds = 3;
    place->f.config.state_standby = "on";
    place->f.config.state_standby_bytes = 1 << 30;
    place->first = worker_of(&place->f, NULL);
    await_ready(place->first, "4 source partitions");
    place->second = worker_of(&place->f, "two");
    for (int i = 0; i < rounds; i++) {
        feed_times(&place->f, "in", 20 * KEYS, 0, 1);
        await_ready(place->second, "2 source partitions");
        await_ready(place->first, "2 source partitions");
        feed_times(&place->f, "in", 20 * KEYS, 0, 1);
        assert_err(ERR_OK, worker_stop(place->first, 20000));
        feed_times(&place->f, "in", 20 * KEYS, 0, 1);
        place->first = worker_of(&place->f, NULL);
    }
    expect_counts(place, rounds * 60 + 1);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
    assert_err(ERR_OK, worker_stop(place->second, 20000));
}

/* The name of a thread of this process; "": it has ended. */
static void thread_name(const char *id, char name[32])
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", id);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(name, 32, file)) {
        name[0] = '\0';
    }
    if (file) {
        (void)fclose(file);
    }
}

/* Threads of this process by what they are, and whether they have a lower priority than it. */
struct threads {
    int fetching, others, standby; /* lower, lower, its own */
};

static struct threads threads_look(void)
{
    struct threads seen = {0};
    int own = getpriority(PRIO_PROCESS, (id_t)getpid());
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        char name[32];
        thread_name(entry->d_name, name);
        if (!name[0] || entry->d_name[0] == '.') {
            continue;
        }
        bool is_lower = getpriority(PRIO_PROCESS, (id_t)strtoll(entry->d_name, NULL, 10)) > own;
        bool is_fetching = strncmp(name, "rdk:broker", 10) == 0;
        seen.fetching += is_lower && is_fetching;
        seen.others += is_lower && !is_fetching;
        seen.standby += !is_lower && strcmp(name, "standby\n") == 0;
    }
    (void)closedir(threads);
    return seen;
}

/* Whoever takes a partition waits for the thread that follows, and for its client's main thread: only those
 * that fetch have the lowest priority. */
static void test_standby__priorities__what_is_waited_for_has_everybodys(void **state)
{
    struct place *place = *state;
    if (getpriority(PRIO_PROCESS, (id_t)getpid()) == PRIORITY_LOWEST) {
        skip(); /* nothing is lower than that */
    }
    place->f.config.state_standby = "on";
    place->f.config.state_standby_bytes = 1 << 30;
    place->first = worker_of(&place->f, NULL);
    await_ready(place->first, "4 source partitions");
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    struct threads seen = {0};
    while (seen.fetching == 0) {
        seen = threads_look();
        assert_true(clock_mono_us() < deadline_us);
        pause_ms(10);
    }
    assert_int_equal(1, seen.standby);
    assert_int_equal(0, seen.others);
    assert_err(ERR_OK, worker_stop(place->first, 20000));
}

static enum err on_record(void *context, unsigned store, int32_t partition, struct strview key,
                          struct strview value, struct err_info *info)
{
    size_t *count = context;
    (void)store, (void)partition, (void)key, (void)value, (void)info;
    (*count)++;
    return ERR_OK;
}

static void on_done(void *context, unsigned store, int32_t partition)
{
    (void)context, (void)store, (void)partition;
}

/* Where one stops following another goes on, if the log has the place: there, and nowhere before. */
static void test_restore__released__goes_on_at_its_place(void **state)
{
    struct place *place = *state;
    struct worker_restore *following, *restore;
    struct worker_restore_counts counts;
    struct err_info info = {0};
    size_t count = 0;
    const struct worker_restore_handlers handlers = {
        .on_record = on_record, .on_done = on_done, .context = &count};
    char topic[64];
    (void)snprintf(topic, sizeof topic, "%s-windows-changelog", place->f.name);
    for (int i = 0; i < 3; i++) {
        feed(&place->f, topic, "same", "x"); /* one key: one partition */
    }
    assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
    assert_err(ERR_OK, worker_restore_new(&place->f.mock.config, place->f.pipeline, "following",
                                          true, &following, &info));
    assert_err(ERR_OK, worker_restore_new(&place->f.mock.config, place->f.pipeline, "restore",
                                          false, &restore, &info));
    for (int p = 0; p < PARTITIONS; p++) {
        assert_err(ERR_OK, worker_restore_add(following, 0, p, NULL, -1, &info));
    }
    while (count < 3) {
        assert_err(ERR_OK, worker_restore_step(following, &handlers, &counts, &info));
        pause_ms(5);
    }
    int64_t found = -1;
    int32_t partition = 0;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        int64_t next = worker_restore_release(following, 0, p);
        partition = next == 3 ? p : partition;
        found = next == 3 ? next : found;
    }
    assert_int_equal(3, found);
    assert_int_equal(-1, worker_restore_release(following, 0, partition));
    assert_true(worker_restore_has(restore, 0, partition, 0, "local_state_stale"));
    assert_true(worker_restore_has(restore, 0, partition, 3, "standby_stale"));
    assert_false(worker_restore_has(restore, 0, partition, 4, "standby_stale"));
    feed(&place->f, topic, "same", "y");
    assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
    assert_err(ERR_OK, worker_restore_add(restore, 0, partition, NULL, 3, &info));
    while (count < 4) {
        assert_err(ERR_OK, worker_restore_step(restore, &handlers, &counts, &info));
        assert_true(counts.records <= 1);
        pause_ms(5);
    }
    assert_int_equal(4, count);
    worker_restore_free(following);
    worker_restore_free(restore);
}

#define PLACE_TEST(test) cmocka_unit_test_setup_teardown(test, place_make, place_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_restore__released__goes_on_at_its_place),
        PLACE_TEST(test_standby__priorities__what_is_waited_for_has_everybodys),
        PLACE_TEST(test_standby__what_was_followed__is_not_read_again),
        PLACE_TEST(test_standby__broker_answers_late__what_was_followed_counts),
        PLACE_TEST(test_standby__no_room__is_read_when_it_comes),
        PLACE_TEST(test_standby__copy_on_disk__comes_along),
        PLACE_TEST(test_standby__changelog_made_anew__is_followed_from_its_start_and_taken),
        PLACE_TEST(test_standby__members_come_and_go_under_load__nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
