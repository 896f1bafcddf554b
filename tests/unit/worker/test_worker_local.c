/* The copy of a changelog on local disk: what is found again after an end, a kill, a full disk, and
 * after somebody has written into its files. */
#define _GNU_SOURCE /* mkdtemp, nftw */

#include "worker/worker_local.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "test.h"

#define CHANGELOG "p-store-changelog"
#define NOW_MS    1700000000000
#define HOUR_MS   3600000
#define ROWS      2000
#define EPOCH     7

static char dir[64];
static struct metric errors_family = {
    .name = "test_errors_total", .type = METRIC_COUNTER, .labels = "pipeline", .help = "h"};
static struct metric_series *errors;

static int dir_make(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/millrace-local-XXXXXX");
    errors = METRIC(errors_family, "p");
    return mkdtemp(dir) ? 0 : -1;
}

static int dir_remove(void **state)
{
    (void)state;
    return folder_remove(dir);
}

/* --- a copy and what is in it --------------------------------------------------------------------*/

static struct worker_local *local_open_with(uint64_t free_bytes_min)
{
    struct worker_local *local = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK,
               worker_local_open(&(struct worker_local_params){dir, "p", free_bytes_min, errors},
                                 &local, &info));
    return local;
}

static struct worker_local *local_open(void)
{
    return local_open_with(1);
}

static struct local_copy *copy_of(struct worker_local *local, int32_t partition)
{
    return local_copy_new(local, CHANGELOG, partition, EPOCH);
}

static void put(struct local_copy *copy, int number, const char *value)
{
    char key[16];
    (void)snprintf(key, sizeof key, "k%05d", number);
    local_copy_put(copy, sv(key), value ? sv(value) : (struct strview){NULL, 0});
}

/* ROWS rows, committed, with this place. */
static void fill(struct local_copy *copy, const char *value, int64_t next)
{
    for (int i = 0; i < ROWS; i++) {
        put(copy, i, value);
    }
    local_copy_settle(copy, true);
    local_copy_place(copy, next, NOW_MS);
}

struct seen {
    int rows, last;
    char value[64];
};

static enum err on_row(void *context, struct strview key, struct strview value,
                       struct err_info *info)
{
    struct seen *seen = context;
    (void)info;
    seen->rows++;
    seen->last = (int)strtol(key.ptr + 1, NULL, 10);
    (void)snprintf(seen->value, sizeof seen->value, "%.*s", SV_ARG(value));
    return ERR_OK;
}

/* Some at a time, as a restore does. */
static enum err read_all(struct local_copy *copy, struct seen *seen)
{
    const struct local_reader reader = {on_row, seen};
    struct err_info info = {0};
    bool is_end = false;
    enum err e = ERR_OK;
    *seen = (struct seen){0};
    while (!e && !is_end) {
        e = local_copy_read(copy, 300, &reader, &is_end, &info);
    }
    return e;
}

static void expect_rows(struct local_copy *copy, int rows, const char *value)
{
    struct seen seen;
    assert_err(ERR_OK, read_all(copy, &seen));
    assert_int_equal(rows, seen.rows);
    if (rows > 0) {
        assert_string_equal(value, seen.value);
    }
}

/* --- what is found again -------------------------------------------------------------------------*/

static void test_local__after_an_end__has_rows_and_place(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 3);
    assert_int_equal(-1, local_copy_find(copy, NOW_MS));
    fill(copy, "one", 100);
    put(copy, 0, NULL);
    put(copy, ROWS - 1, "two");
    local_copy_settle(copy, true);
    local_copy_place(copy, 102, NOW_MS);
    put(copy, 1, "aborted");
    local_copy_settle(copy, false);
    put(copy, 2, "not decided");
    local_copy_free(copy);
    worker_local_free(local);

    local = local_open();
    copy = copy_of(local, 3);
    assert_int_equal(102, local_copy_find(copy, NOW_MS));
    expect_rows(copy, ROWS - 1, "two");
    local_copy_clear(copy);
    assert_int_equal(-1, local_copy_find(copy, NOW_MS));
    expect_rows(copy, 0, NULL);
    local_copy_free(copy);
    worker_local_free(local);
}

static void test_local__other_partitions_and_changelogs__are_apart(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *first = copy_of(local, 0), *second = copy_of(local, 1);
    struct local_copy *other = local_copy_new(local, "p-other-changelog", 0, EPOCH);
    fill(first, "first", 10);
    fill(second, "second", 20);
    local_copy_clear(first);
    assert_int_equal(-1, local_copy_find(first, NOW_MS));
    assert_int_equal(-1, local_copy_find(other, NOW_MS));
    assert_int_equal(20, local_copy_find(second, NOW_MS));
    expect_rows(first, 0, NULL);
    expect_rows(other, 0, NULL);
    expect_rows(second, ROWS, "second");
    local_copy_free(first);
    local_copy_free(second);
    local_copy_free(other);
    worker_local_free(local);
}

static void test_local__topic_made_anew_or_copy_too_old__is_not_used(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    fill(copy, "one", 10);
    assert_int_equal(10, local_copy_find(copy, NOW_MS + 11 * HOUR_MS));
    assert_int_equal(-1, local_copy_find(copy, NOW_MS + 13 * HOUR_MS));
    assert_int_equal(-1, local_copy_find(copy, NOW_MS - 13 * HOUR_MS));
    local_copy_free(copy);
    copy = local_copy_new(local, CHANGELOG, 0, EPOCH + 1);
    assert_int_equal(-1, local_copy_find(copy, NOW_MS));
    local_copy_free(copy);
    worker_local_free(local);
}

static void test_local__place__is_wanted_after_rows_and_after_an_hour(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    fill(copy, "one", 10);
    assert_false(local_copy_wants_place(copy, NOW_MS + 1));
    assert_true(local_copy_wants_place(copy, NOW_MS + 2 * HOUR_MS));
    put(copy, 1, "two");
    assert_false(local_copy_wants_place(copy, NOW_MS + 1)); /* not decided */
    local_copy_settle(copy, true);
    assert_true(local_copy_wants_place(copy, NOW_MS + 1));
    local_copy_free(copy);
    worker_local_free(local);
}

/* One thread has a task parked, another has its partition meanwhile and reads half of the changelog
 * anew; then it is the first one's again. */
static void test_local__cleared_by_another_thread__has_no_place_any_more(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *parked = copy_of(local, 0);
    fill(parked, "one", 10);
    struct local_copy *other = copy_of(local, 0);
    local_copy_clear(other);
    put(other, 1, "two");
    local_copy_settle(other, true);
    put(parked, 2, "three");
    local_copy_settle(parked, true);
    local_copy_place(parked, 20, NOW_MS);
    assert_int_equal(-1, local_copy_find(parked, NOW_MS));
    local_copy_place(other, 15, NOW_MS);
    local_copy_place(parked, 30, NOW_MS);
    assert_int_equal(15, local_copy_find(parked, NOW_MS));
    local_copy_free(parked);
    local_copy_free(other);
    worker_local_free(local);
}

static void test_local__second_process__is_refused_with_the_folder(void **state)
{
    (void)state;
    struct worker_local *local = local_open(), *second = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, worker_local_open(&(struct worker_local_params){dir, "p", 1, errors},
                                             &second, &info));
    assert_non_null(strstr(info.text, "in use by another process"));
    assert_non_null(strstr(info.text, dir));
    worker_local_free(local);
    worker_local_free(local_open());
}

static void test_local__folder_that_cannot_be_made__is_refused(void **state)
{
    (void)state;
    struct worker_local *local = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG,
               worker_local_open(&(struct worker_local_params){"/dev/null/x", "p", 1, errors},
                                 &local, &info));
    assert_non_null(strstr(info.text, "/dev/null/x"));
}

/* --- kill, full disk -----------------------------------------------------------------------------*/

static void test_local__killed__has_what_was_settled(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct local_copy *copy = copy_of(local_open(), 0);
        fill(copy, "one", 10);
        put(copy, 0, "two");
        local_copy_settle(copy, true);
        put(copy, 0, "held");
        _exit(137);
    }
    int status;
    assert_int_equal(child, waitpid(child, &status, 0));
    assert_int_equal(137, WEXITSTATUS(status));
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    assert_int_equal(10, local_copy_find(copy, NOW_MS));
    expect_rows(copy, ROWS, "one");
    local_copy_free(copy);
    worker_local_free(local);
}

static void file_bytes_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(0, getrlimit(RLIMIT_FSIZE, &limit));
    limit.rlim_cur = bytes;
    assert_int_equal(0, setrlimit(RLIMIT_FSIZE, &limit));
}

/* No file may grow: RocksDB is told so as it is by a full disk. */
static void test_local__disk_full__goes_on_and_keeps_the_last_place(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    fill(copy, "one", 10);
    (void)signal(SIGXFSZ, SIG_IGN);
    file_bytes_limit(1);
    fill(copy, "lost", 20);
    file_bytes_limit(RLIM_INFINITY);
    fill(copy, "behind", 30); /* what is lost is not made good by what comes later */
    assert_false(local_copy_wants_place(copy, NOW_MS + 2 * HOUR_MS));
    local_copy_free(copy);
    worker_local_free(local);

    local = local_open();
    copy = copy_of(local, 0);
    assert_int_equal(10, local_copy_find(copy, NOW_MS));
    expect_rows(copy, ROWS, "one");
    local_copy_free(copy);
    worker_local_free(local);
}

/* --- files that somebody wrote into --------------------------------------------------------------*/

enum harm { HARM_FLIP, HARM_CUT, HARM_EMPTY, HARM_REMOVE };

static void file_harm(const char *path, enum harm harm)
{
    struct stat status;
    assert_int_equal(0, stat(path, &status));
    if (harm == HARM_REMOVE) {
        assert_int_equal(0, remove(path));
    } else if (harm != HARM_FLIP) {
        assert_int_equal(0, truncate(path, harm == HARM_CUT ? status.st_size / 2 : 0));
    } else {
        int file = open(path, O_RDWR);
        for (off_t at = 0; at < status.st_size; at += 97) {
            unsigned char byte = 0;
            assert_int_equal(1, pread(file, &byte, 1, at));
            byte ^= 0x55;
            assert_int_equal(1, pwrite(file, &byte, 1, at));
        }
        (void)close(file);
    }
}

/* Files of the database whose names hold this; how many. */
static int files_harm(const char *what, enum harm harm)
{
    char path[512];
    int count = 0;
    (void)snprintf(path, sizeof path, "%s/p", dir);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strstr(entry->d_name, what)) {
            (void)snprintf(path, sizeof path, "%s/p/%s", dir, entry->d_name);
            file_harm(path, harm);
            count++;
        }
    }
    (void)closedir(folder);
    return count;
}

/* Either nothing is found, or it is told that it cannot be read, or all that the place speaks of is
 * there; and then a new copy can be made and found again. */
static void expect_whole_or_nothing(void)
{
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    struct seen seen;
    int64_t next = local_copy_find(copy, NOW_MS);
    if (next >= 0) {
        enum err e = read_all(copy, &seen);
        assert_true(e == ERR_STATE || seen.rows == ROWS);
        assert_int_equal(10, next);
    }
    local_copy_clear(copy);
    fill(copy, "again", 11);
    local_copy_free(copy);
    worker_local_free(local);

    local = local_open();
    copy = copy_of(local, 0);
    assert_int_equal(11, local_copy_find(copy, NOW_MS));
    expect_rows(copy, ROWS, "again");
    local_copy_free(copy);
    worker_local_free(local);
}

static void test_local__harmed_files__are_told_and_made_anew(void **state)
{
    (void)state;
    static const char *const files[] = {".sst", ".log", "MANIFEST", "CURRENT", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        for (int harm = HARM_FLIP; harm <= HARM_REMOVE; harm++) {
            assert_int_equal(0, dir_make(NULL));
            struct worker_local *local = local_open();
            struct local_copy *copy = copy_of(local, 0);
            fill(copy, "one", 10);
            local_copy_free(copy);
            worker_local_free(local);
            if (strcmp(files[i], ".log") != 0) {
                worker_local_free(local_open()); /* what was in the log is in a table now */
            }
            assert_true(files_harm(files[i], (enum harm)harm) > 0);
            expect_whole_or_nothing();
            assert_int_equal(0, dir_remove(NULL));
        }
    }
    assert_int_equal(0, dir_make(NULL));
}

/* It may not even be opened then: it goes on without, and is there again at the next start. */
static void test_local__disk_full_at_the_start__goes_on_without(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    fill(copy, "one", 10);
    local_copy_free(copy);
    worker_local_free(local);
    local = local_open_with(UINT64_MAX);
    copy = copy_of(local, 0);
    assert_int_equal(-1, local_copy_find(copy, NOW_MS));
    local_copy_clear(copy);
    fill(copy, "two", 20);
    local_copy_free(copy);
    worker_local_free(local);
    expect_whole_or_nothing();
}

/* Found by one partition's restore, while another one is at work. */
static void test_local__made_anew_under_another_copy__that_one_has_no_place(void **state)
{
    (void)state;
    struct worker_local *local = local_open();
    struct local_copy *copy = copy_of(local, 0);
    fill(copy, "one", 10);
    local_copy_free(copy);
    worker_local_free(local);
    worker_local_free(local_open());
    local = local_open();
    struct local_copy *broken = copy_of(local, 0), *other = copy_of(local, 1);
    put(other, 1, "two");
    (void)files_harm(".sst", HARM_FLIP);
    struct seen seen;
    enum err e = local_copy_find(broken, NOW_MS) < 0 ? ERR_STATE : read_all(broken, &seen);
    assert_err(ERR_STATE, e);
    local_copy_settle(other, true);
    local_copy_place(other, 5, NOW_MS);
    assert_int_equal(-1, local_copy_find(other, NOW_MS)); /* rows of before are not there */
    local_copy_clear(other);
    fill(other, "three", 7);
    assert_int_equal(7, local_copy_find(other, NOW_MS));
    local_copy_free(broken);
    local_copy_free(other);
    worker_local_free(local);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dir_make, dir_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* The first: ThreadSanitizer lets no process fork that has threads, as RocksDB has. */
        TEST(test_local__killed__has_what_was_settled),
        TEST(test_local__after_an_end__has_rows_and_place),
        TEST(test_local__other_partitions_and_changelogs__are_apart),
        TEST(test_local__topic_made_anew_or_copy_too_old__is_not_used),
        TEST(test_local__place__is_wanted_after_rows_and_after_an_hour),
        TEST(test_local__cleared_by_another_thread__has_no_place_any_more),
        TEST(test_local__second_process__is_refused_with_the_folder),
        TEST(test_local__folder_that_cannot_be_made__is_refused),
        TEST(test_local__disk_full__goes_on_and_keeps_the_last_place),
        TEST(test_local__disk_full_at_the_start__goes_on_without),
        TEST(test_local__harmed_files__are_told_and_made_anew),
        TEST(test_local__made_anew_under_another_copy__that_one_has_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
