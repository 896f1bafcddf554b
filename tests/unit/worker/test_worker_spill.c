#define _GNU_SOURCE /* mkdtemp, nftw */

#include "worker/worker_spill.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "test.h"

#define MEMORY ((size_t)16 << 20)

static char dir[64];
static struct metric errors_family = {
    .name = "test_errors_total", .type = METRIC_COUNTER, .labels = "pipeline", .help = "h"};
static struct metric_series *errors;

static int dir_make(void **state)
{
    char path[96];
    (void)state;
    errors = METRIC(errors_family, "p");
    (void)snprintf(dir, sizeof dir, "/tmp/millrace-spill-XXXXXX");
    if (!mkdtemp(dir)) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/p", dir);
    return mkdir(path, 0700);
}

static int dir_remove(void **state)
{
    (void)state;
    return folder_remove(dir);
}

static struct worker_spill *spill_open(uint64_t free_bytes_min)
{
    struct worker_spill *spill = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, worker_spill_open(
                           &(struct worker_spill_params){dir, "p", MEMORY, free_bytes_min, errors},
                           &spill, &info));
    return spill;
}

static void put(const struct store_disk *disk, const char *key, const char *value)
{
    disk->put(disk->context, sv(key), value ? sv(value) : (struct strview){NULL, 0});
}

static void expect_row(const struct store_disk *disk, struct strview key, const char *value)
{
    bool is_found = true;
    CLEANUP(buf_free) struct buf out;
    buf_init(&out, 1 << 20);
    assert_err(ERR_OK, disk->get(disk->context, key, &out, &is_found, NULL));
    assert_int_equal(value != NULL, is_found);
    if (value) {
        assert_sv(value, buf_view(&out));
    }
}

struct walk {
    char text[256];
    size_t len, left; /* rows until on_row says no */
};

static enum err on_row(void *context, struct strview key, struct strview value)
{
    struct walk *walk = context;
    if (walk->left-- == 0) {
        return ERR_QUEUE_FULL;
    }
    walk->len += (size_t)snprintf(walk->text + walk->len, sizeof walk->text - walk->len,
                                  "%.*s=%.*s ", SV_ARG(key), SV_ARG(value));
    return ERR_OK;
}

static void expect_rows(const struct store_disk *disk, struct strview from, struct strview to,
                        const char *rows)
{
    struct walk walk = {.left = 100};
    const struct store_disk_reader reader = {on_row, &walk};
    assert_err(ERR_OK, disk->read(disk->context, from, to, &reader, NULL));
    assert_string_equal(rows, walk.text);
}

static void test_rows__are_there_once_written_in_order_of_their_keys(void **state)
{
    (void)state;
    struct worker_spill *spill = spill_open(1);
    struct spill_rows *rows = spill_rows_new(spill);
    const struct store_disk disk = spill_rows_disk(rows);
    put(&disk, "b", "2");
    put(&disk, "a", "1");
    put(&disk, "ab", "12");
    put(&disk, "\xff", "9");
    put(&disk, "empty", "");
    expect_row(&disk, SV("a"), NULL);
    assert_err(ERR_OK, disk.write(disk.context, NULL));
    expect_row(&disk, SV("a"), "1");
    expect_row(&disk, SV("empty"), "");
    expect_row(&disk, SV("c"), NULL);
    expect_rows(&disk, SV(""), SV("\xff\xff"), "a=1 ab=12 b=2 empty= \xff=9 ");
    expect_rows(&disk, SV("a"), SV("b"), "a=1 ab=12 ");
    put(&disk, "a", NULL);
    put(&disk, "b", "22");
    assert_err(ERR_OK, disk.write(disk.context, NULL));
    expect_rows(&disk, SV(""), SV("\xff\xff"), "ab=12 b=22 empty= \xff=9 ");
    struct walk walk = {.left = 1};
    const struct store_disk_reader reader = {on_row, &walk};
    assert_err(ERR_QUEUE_FULL, disk.read(disk.context, SV(""), SV("\xff\xff"), &reader, NULL));
    assert_string_equal("ab=12 ", walk.text);
    spill_rows_free(rows);
    worker_spill_free(spill);
}

static void test_rows_clear__takes_what_begins_so(void **state)
{
    (void)state;
    struct worker_spill *spill = spill_open(1);
    struct spill_rows *rows = spill_rows_new(spill);
    const struct store_disk disk = spill_rows_disk(rows);
    static const char *const keys[] = {"a", "a\xff", "a\xff\xff", "a\xff\xff!", "b", "A"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        put(&disk, keys[i], "1");
    }
    assert_err(ERR_OK, disk.write(disk.context, NULL));
    disk.clear(disk.context, SV("a\xff\xff"));
    assert_err(ERR_OK, disk.write(disk.context, NULL));
    expect_rows(&disk, SV(""), SV("\xff\xff"), "A=1 a=1 a\xff=1 b=1 ");
    disk.clear(disk.context, SV("a"));
    put(&disk, "a", "again");
    assert_err(ERR_OK, disk.write(disk.context, NULL));
    expect_rows(&disk, SV(""), SV("\xff\xff"), "A=1 a=again b=1 ");
    spill_rows_free(rows);
    worker_spill_free(spill);
}

static void test_rows__of_other_stores_and_starts__are_apart(void **state)
{
    (void)state;
    struct worker_spill *spill = spill_open(1);
    struct spill_rows *first = spill_rows_new(spill), *second = spill_rows_new(spill);
    struct store_disk one = spill_rows_disk(first), two = spill_rows_disk(second);
    put(&one, "a", "1");
    put(&two, "a", "2");
    assert_err(ERR_OK, one.write(one.context, NULL));
    expect_row(&two, SV("a"), NULL);
    assert_err(ERR_OK, two.write(two.context, NULL));
    spill_rows_free(first);
    expect_rows(&two, SV(""), SV("\xff\xff"), "a=2 ");
    first = spill_rows_new(spill);
    one = spill_rows_disk(first);
    expect_rows(&one, SV(""), SV("\xff\xff"), "");
    spill_rows_free(first);
    spill_rows_free(second);
    worker_spill_free(spill);

    spill = spill_open(1); /* whose stores have the numbers of those that were */
    first = spill_rows_new(spill);
    second = spill_rows_new(spill);
    one = spill_rows_disk(first);
    two = spill_rows_disk(second);
    expect_rows(&one, SV(""), SV("\xff\xff"), "");
    expect_rows(&two, SV(""), SV("\xff\xff"), "");
    spill_rows_free(first);
    spill_rows_free(second);
    worker_spill_free(spill);
}

/* More than the buffers, so that it is in files, and read from there. */
static void test_rows__many__are_all_there(void **state)
{
    (void)state;
    struct worker_spill *spill = spill_open(1);
    struct spill_rows *rows = spill_rows_new(spill);
    const struct store_disk disk = spill_rows_disk(rows);
    char key[16], value[512];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        (void)snprintf(value, sizeof value, "%d%0400d", i, i);
        put(&disk, key, value);
        if (i % 1000 == 999) {
            assert_err(ERR_OK, disk.write(disk.context, NULL));
        }
    }
    for (int i = 0; i < 20000; i += 7) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        (void)snprintf(value, sizeof value, "%d%0400d", i, i);
        expect_row(&disk, sv(key), value);
        key[0] = 'n';
        expect_row(&disk, sv(key), NULL);
    }
    spill_rows_free(rows);
    worker_spill_free(spill);
}

static void test_spill__disk_full__refuses_a_start_and_a_write(void **state)
{
    (void)state;
    struct worker_spill *spill = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, worker_spill_open(
                               &(struct worker_spill_params){dir, "p", MEMORY, UINT64_MAX, errors},
                               &spill, &info));
    assert_non_null(strstr(info.text, "state.memory: the disk of"));
    assert_err(ERR_CONFIG, worker_spill_open(
                               &(struct worker_spill_params){"/dev/null/x", "p", MEMORY, 1, errors},
                               &spill, &info));
    assert_non_null(strstr(info.text, "/dev/null/x"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dir_make, dir_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows__are_there_once_written_in_order_of_their_keys),
        TEST(test_rows_clear__takes_what_begins_so),
        TEST(test_rows__of_other_stores_and_starts__are_apart),
        TEST(test_rows__many__are_all_there),
        TEST(test_spill__disk_full__refuses_a_start_and_a_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
