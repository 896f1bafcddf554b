/* The file against kills: a "kill" is sink_file_free without a commit, or a state put back by hand. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink_file.h"

struct place {
    char folder[64];
    char path[96];
    struct err_info info;
};

static int place_make(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->folder, "/tmp/millrace-sink-XXXXXX");
    if (!mkdtemp(place->folder)) {
        return -1;
    }
    (void)snprintf(place->path, sizeof place->path, "%s/deep/out.json", place->folder);
    *state = place;
    return 0;
}

static int place_remove(void **state)
{
    struct place *place = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", place->folder);
    int code = system(command);
    free(place);
    return code;
}

static struct sink_file *open_file(struct place *place, int64_t rotate_bytes)
{
    const struct sink_file_params params = {
        .path = place->path, .rotate_bytes = rotate_bytes, .pending_bytes_max = 1 << 16};
    struct sink_file *file = NULL;
    enum err e = sink_file_open(&params, &file, &place->info);
    if (e) {
        fail_msg("%s", err_detail(e, &place->info));
    }
    return file;
}

static void append(struct sink_file *file, int64_t offset)
{
    char line[32];
    int length = snprintf(line, sizeof line, "{\"n\":%lld}", (long long)offset);
    const struct sink_position position = {"t", 0, offset + 1};
    assert_err(ERR_OK, sink_file_append(file, &position, sv_of(line, (size_t)length)));
}

/* Appends what Kafka would give from the file's own position up to (not including) `end`. */
static void append_until(struct sink_file *file, int64_t end)
{
    int64_t next = sink_file_position(file, "t", 0);
    for (int64_t offset = next < 0 ? 0 : next; offset < end; offset++) {
        append(file, offset);
    }
}

static void commit(struct place *place, struct sink_file *file)
{
    assert_err(ERR_OK, sink_file_commit(file, &place->info));
}

/* The numbers in a file must go on from *next without a gap or a repeat. */
static void check_lines(const char *path, int64_t *next)
{
    FILE *file = fopen(path, "r");
    long long n;
    assert_non_null(file);
    while (fscanf(file, "{\"n\":%lld}\n", &n) == 1) {
        assert_int_equal(*next, n);
        (*next)++;
    }
    assert_true(feof(file));
    fclose(file);
}

static void test_sink_file__killed_before_commit__reads_again(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 0);
    assert_int_equal(-1, sink_file_position(file, "t", 0));
    append_until(file, 5);
    commit(place, file);
    append_until(file, 9); /* never committed */
    sink_file_free(file);

    FILE *torn = fopen(place->path, "a"); /* what a kill in the middle of the write leaves */
    fputs("{\"n\":5}\n{\"n\":", torn);
    fclose(torn);

    file = open_file(place, 0);
    assert_int_equal(5, sink_file_position(file, "t", 0));
    append_until(file, 12);
    commit(place, file);
    sink_file_free(file);
    int64_t next = 0;
    check_lines(place->path, &next);
    assert_int_equal(12, next);
}

static void test_sink_file__line_breaks_and_tombstones(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 0);
    const struct sink_position first = {"t", 0, 1}, second = {"t", 0, 2};
    assert_err(ERR_OK, sink_file_append(file, &first, SV("{\n \"a\":\r\n1}")));
    sink_file_skip(file, &second);
    commit(place, file);
    assert_int_equal(2, sink_file_position(file, "t", 0));
    sink_file_free(file);
    char text[64] = "";
    FILE *written = fopen(place->path, "r");
    assert_non_null(fgets(text, sizeof text, written));
    fclose(written);
    assert_string_equal("{  \"a\":  1}\n", text);
}

static void test_sink_file__rotation__each_line_once_over_all_files(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 40);
    for (int64_t end = 3; end <= 30; end += 3) {
        append_until(file, end);
        commit(place, file);
    }
    sink_file_free(file);
    int64_t next = 0;
    for (int generation = 0;; generation++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s.%d", place->path, generation);
        if (access(path, F_OK) != 0) {
            assert_true(generation >= 3);
            break;
        }
        check_lines(path, &next);
    }
    check_lines(place->path, &next);
    assert_int_equal(30, next);
}

/* The kill between the state that announces a rotation and the rename. */
static void test_sink_file__killed_in_rotation__is_finished_at_start(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 0);
    append_until(file, 4);
    commit(place, file);
    sink_file_free(file);
    char path[128];
    (void)snprintf(path, sizeof path, "%s.state", place->path);
    FILE *announced = fopen(path, "w");
    fputs(
        "{\"version\":1,\"generation\":1,\"length\":0,\"rotating\":true,\"positions\":{\"t:0\":4}}",
        announced);
    fclose(announced);

    file = open_file(place, 0);
    append_until(file, 6);
    commit(place, file);
    sink_file_free(file);
    int64_t next = 0;
    (void)snprintf(path, sizeof path, "%s.0", place->path);
    check_lines(path, &next);
    assert_int_equal(4, next);
    check_lines(place->path, &next);
    assert_int_equal(6, next);
}

static void test_sink_file__second_writer__is_refused(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 0), *second = NULL;
    const struct sink_file_params params = {.path = place->path, .pending_bytes_max = 100};
    assert_err(ERR_STATE, sink_file_open(&params, &second, &place->info));
    assert_non_null(strstr(place->info.text, "another sink"));
    sink_file_free(file);
}

static void test_sink_file__cut_by_somebody__is_refused(void **state)
{
    struct place *place = *state;
    struct sink_file *file = open_file(place, 0);
    append_until(file, 5);
    commit(place, file);
    sink_file_free(file);
    assert_int_equal(0, truncate(place->path, 3));
    const struct sink_file_params params = {.path = place->path, .pending_bytes_max = 100};
    assert_err(ERR_STATE, sink_file_open(&params, &file, &place->info));
}

static void test_sink_file__full_pending__says_so(void **state)
{
    struct place *place = *state;
    const struct sink_file_params params = {.path = place->path, .pending_bytes_max = 10};
    struct sink_file *file;
    assert_err(ERR_OK, sink_file_open(&params, &file, &place->info));
    append(file, 0);
    const struct sink_position position = {"t", 0, 2};
    assert_err(ERR_LIMIT, sink_file_append(file, &position, SV("{\"n\":1}")));
    assert_int_equal(1, sink_file_position(file, "t", 0));
    commit(place, file);
    assert_err(ERR_OK, sink_file_append(file, &position, SV("{\"n\":1}")));
    sink_file_free(file);
}

/* A pre-existing file without a state is kept and appended to. */
static void test_sink_file__file_of_before__is_kept(void **state)
{
    struct place *place = *state;
    (void)snprintf(place->path, sizeof place->path, "%s/out.json", place->folder);
    FILE *before = fopen(place->path, "w");
    fputs("{\"n\":0}\n", before);
    fclose(before);
    struct sink_file *file = open_file(place, 0);
    append(file, 1);
    commit(place, file);
    sink_file_free(file);
    int64_t next = 0;
    check_lines(place->path, &next);
    assert_int_equal(2, next);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sink_file__killed_before_commit__reads_again),
        TEST(test_sink_file__line_breaks_and_tombstones),
        TEST(test_sink_file__rotation__each_line_once_over_all_files),
        TEST(test_sink_file__killed_in_rotation__is_finished_at_start),
        TEST(test_sink_file__second_writer__is_refused),
        TEST(test_sink_file__cut_by_somebody__is_refused),
        TEST(test_sink_file__full_pending__says_so),
        TEST(test_sink_file__file_of_before__is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
