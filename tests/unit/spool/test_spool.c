/* The spool by its promises. A "kill" is a copy of the folder, or a second process (see
 * test_spool_faults.c); here files are also cut and spoilt by hand. */
#include "spool_place.h"

#include <fcntl.h>

#include "log/log.h"

static void test_spool__what_is_committed__comes_back_in_order(void **state)
{
    struct place *place = *state;
    place_open(place);
    for (int n = 0; n < 50; n++) {
        assert_err(ERR_OK, append_n(place, n));
    }
    expect_none(place); /* nothing counts before the commit */
    assert_int_equal(0, stats_of(place).records);
    assert_err(ERR_OK, spool_commit(place->lane, &place->info));
    assert_int_equal(50, stats_of(place).records);
    assert_false(spool_is_caught_up(place->lane));
    replay_range(place, 0, 50);
    expect_none(place);
    assert_true(spool_is_caught_up(place->lane));
    assert_int_equal(0, stats_of(place).records);
    assert_int_equal(0, stats_of(place).oldest_ms);
    spool_clear(place->lane);
    char path[192];
    assert_int_equal(0, files_with(place, "", path));
    assert_int_equal(0, stats_of(place).bytes);
}

static void test_spool__binary_and_empty__are_kept_as_they_are(void **state)
{
    struct place *place = *state;
    place_open(place);
    const struct spool_record records[] = {
        {.topic = "t", .key = {"", 0}, .value = {"\0\xff", 2}},
        {.topic = "t", .key = {NULL, 0}, .value = {NULL, 0}},
        {.topic = "t", .key = {"\0k", 2}, .value = {"", 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        assert_err(ERR_OK, spool_append(place->lane, &records[i], &place->info));
    }
    assert_err(ERR_OK, spool_commit(place->lane, &place->info));
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        struct spool_record got;
        uint64_t ticket;
        assert_err(ERR_OK, spool_next(place->lane, &got, &ticket));
        assert_true(sv_equal(records[i].key, got.key) && sv_equal(records[i].value, got.value));
        assert_true(!records[i].key.ptr == !got.key.ptr && !records[i].value.ptr == !got.value.ptr);
    }
}

static void test_spool__a_new_process__goes_on_at_the_position(void **state)
{
    struct place *place = *state;
    place_open(place);
    commit_range(place, 0, 200); /* several segments */
    char path[192];
    assert_true(files_with(place, "", path) > 3);
    replay_range(place, 0, 77);
    place_reopen(place);
    assert_int_equal(123, stats_of(place).records);
    assert_true(spool_has_adopted(place->spool));
    commit_range(place, 200, 210); /* into the new lane's own log, behind the adopted one */
    replay_range(place, 77, 210);
    expect_none(place);
    assert_true(spool_is_caught_up(place->lane));
    spool_clear(place->lane);
    assert_int_equal(0, files_with(place, "", path));
}

static void test_spool__acks_out_of_order__position_waits_for_the_oldest(void **state)
{
    struct place *place = *state;
    place_open(place);
    commit_range(place, 0, 12);
    uint64_t tickets[8];
    for (int n = 0; n < 8; n++) {
        tickets[n] = expect_next(place, n);
    }
    expect_none(place); /* the window is full */
    for (int n = 7; n >= 1; n--) {
        spool_ack(place->lane, tickets[n]);
    }
    assert_int_equal(12, stats_of(place).records);
    expect_none(place);
    spool_ack(place->lane, tickets[0]);
    assert_int_equal(4, stats_of(place).records);
    replay_range(place, 8, 12);
}

static void test_spool_rewind__gives_out_again_what_is_not_done(void **state)
{
    struct place *place = *state;
    place_open(place);
    commit_range(place, 0, 100);
    for (int round = 0; round < 3; round++) {
        uint64_t tickets[8];
        for (int n = 0; n < 8; n++) {
            tickets[n] = expect_next(place, n);
        }
        assert_int_equal(8, spool_under_way(place->lane));
        spool_rewind(place->lane);
        assert_int_equal(0, spool_under_way(place->lane));
        assert_int_equal(tickets[0], expect_next(place, 0));
        spool_rewind(place->lane);
    }
    uint64_t tickets[8];
    for (int n = 0; n < 8; n++) {
        tickets[n] = expect_next(place, n);
    }
    spool_ack(place->lane, tickets[2]);
    spool_ack(place->lane, tickets[5]);
    spool_rewind(place->lane);
    for (int n = 0; n < 8; n++) {
        if (n != 2 && n != 5) {
            spool_ack(place->lane, expect_next(place, n));
        }
    }
    replay_range(place, 8, 100);
    expect_none(place);
}

static void test_spool_record_id__stays_the_same(void **state)
{
    struct place *place = *state;
    char first[SPOOL_ID_BYTES], again[SPOOL_ID_BYTES], other[SPOOL_ID_BYTES];
    place_open(place);
    commit_range(place, 0, 2);
    expect_next(place, 0);
    spool_record_id(place->lane, first);
    expect_next(place, 1);
    spool_record_id(place->lane, other);
    assert_string_not_equal(first, other);
    place_reopen(place);
    expect_next(place, 0);
    spool_record_id(place->lane, again);
    assert_string_equal(first, again);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void test_spool__full__refuses_and_takes_again_when_there_is_room(void **state)
{
    struct place *place = *state;
    place->config.bytes_max = 1 << 16;
    place_open(place);
    int count = 0;
    while (append_n(place, count) == ERR_OK) {
        assert_err(ERR_OK, spool_commit(place->lane, &place->info));
        count++;
    }
    assert_non_null(strstr(place->info.text, "spool.bytes.max"));
    assert_err(ERR_SPOOL_FULL, append_n(place, count));
    assert_true(stats_of(place).is_full);
    assert_true(stats_of(place).bytes <= place->config.bytes_max + 256);
    replay_range(place, 0, count);
    assert_false(stats_of(place).is_full);
    commit_range(place, count, count + 5);
    replay_range(place, count, count + 5);
}

static void test_spool__too_old__refuses(void **state)
{
    struct place *place = *state;
    place->config.age_max_ms = 1;
    place_open(place);
    commit_range(place, 0, 1);
    const int64_t until_ms = clock_now_ms() + 3;
    while (clock_now_ms() < until_ms) { /* the clock has to move on, not the machine */
    }
    assert_err(ERR_SPOOL_FULL, append_n(place, 1));
    assert_non_null(strstr(place->info.text, "spool.age.max"));
    assert_true(stats_of(place).is_full);
    replay_range(place, 0, 1);
    assert_false(stats_of(place).is_full);
    commit_range(place, 1, 2);
}

static void test_spool__one_process_a_folder(void **state)
{
    struct place *place = *state;
    struct spool *second;
    place_open(place);
    assert_err(ERR_STATE, spool_open(&place->config, &second, &place->info));
    assert_non_null(strstr(place->info.text, "another process"));
}

static void test_spool__record_too_large__is_refused(void **state)
{
    struct place *place = *state;
    place_open(place);
    char topic[300];
    memset(topic, 'a', sizeof topic);
    topic[299] = '\0';
    const struct spool_record record = {.topic = topic, .value = SV("{}")};
    assert_err(ERR_RECORD_TOO_LARGE, spool_append(place->lane, &record, &place->info));
    assert_int_equal(0, stats_of(place).bytes);
}

/* --- adoption --------------------------------------------------------------------------------- */

static void test_spool__logs_of_three_lanes__are_adopted_by_one(void **state)
{
    struct place *place = *state;
    place_open(place);
    struct spool_lane *lanes[3] = {place->lane, spool_lane_new(place->spool),
                                   spool_lane_new(place->spool)};
    for (int i = 0; i < 3; i++) {
        place->lane = lanes[i];
        commit_range(place, 100 * i, 100 * i + 30);
    }
    spool_lane_free(lanes[1]);
    spool_lane_free(lanes[2]);
    place->lane = lanes[0];
    place_reopen(place);
    assert_int_equal(90, stats_of(place).records);
    int next[3] = {0, 100, 200};
    for (int i = 0; i < 90; i++) { /* each log in its order; one log after the other */
        struct spool_record record;
        uint64_t ticket;
        assert_err(ERR_OK, spool_next(place->lane, &record, &ticket));
        int n = number_of(&record);
        assert_int_equal(next[n / 100]++, n);
        spool_ack(place->lane, ticket);
    }
    expect_none(place);
    assert_false(spool_has_adopted(place->spool));
    char path[192];
    assert_int_equal(0, files_with(place, "", path));
}

/* What a process spooled comes after all that the process before it did, whichever lane replays it;
 * what this one spools comes last. */
static void test_spool__processes__are_replayed_one_after_the_other(void **state)
{
    struct place *place = *state;
    struct spool_record record;
    uint64_t ticket;
    place_open(place);
    commit_range(place, 0, 5);
    place_reopen(place);
    commit_range(place, 100, 105);
    place_reopen(place);
    commit_range(place, 200, 205);
    struct spool_lane *first = place->lane, *second = spool_lane_new(place->spool);
    uint64_t oldest = expect_next(place, 0);
    replay_range(place, 1, 5);
    assert_err(ERR_NOT_FOUND, spool_next(second, &record, &ticket)); /* 0 is still under way */
    spool_ack(first, oldest);
    expect_next(place, 100);
    assert_err(ERR_NOT_FOUND, spool_next(second, &record, &ticket));
    spool_rewind(first);
    replay_range(place, 100, 105);
    replay_range(place, 200, 205);
    assert_true(spool_is_caught_up(second));
    spool_lane_free(second);
}

/* --- what Kafka will not take ----------------------------------------------------------------- */

static void test_spool_refuse__keeps_the_record_with_its_reason(void **state)
{
    struct place *place = *state;
    char path[192], name[192];
    place_open(place);
    commit_range(place, 0, 4);
    spool_ack(place->lane, expect_next(place, 0));
    assert_err(ERR_OK, spool_refuse(place->lane, expect_next(place, 1), "no such topic"));
    spool_ack(place->lane, expect_next(place, 2));
    spool_ack(place->lane, expect_next(place, 3));
    assert_int_equal(0, stats_of(place).records);
    assert_int_equal(1, files_with(place, "quarantine-", path));
    place_reopen(place); /* is not replayed by itself */
    expect_none(place);
    assert_true(stats_of(place).kept_bytes > 0);
    place_close(place);
    /* What a person does: once the cause is gone, the file's name without its prefix. */
    (void)snprintf(name, sizeof name, "%s/%s", place->folder, strstr(path, "quarantine-") + 11);
    assert_int_equal(0, rename(path, name));
    place_open(place);
    struct spool_record record;
    uint64_t ticket;
    assert_err(ERR_OK, spool_next(place->lane, &record, &ticket));
    assert_int_equal(1, number_of(&record));
    assert_int_equal(2, record.header_count);
    assert_true(sv_equal(SV("millrace-spool-reason"), record.headers[1].name));
    assert_sv("no such topic", record.headers[1].value);
}

/* --- torn and damaged files ------------------------------------------------------------------- */

static void only_segment(const struct place *place, char path[192])
{
    assert_int_equal(1, files_with(place, "", path));
}

/* The file cut at every byte: exactly the records that lie wholly before the cut come back. */
static void test_spool__cut_at_every_byte__whole_records_come_back(void **state)
{
    struct place *place = *state;
    char path[192];
    int64_t ends[6];
    struct stat status;
    place->config.segment_bytes = 1 << 20;
    place_open(place);
    for (int n = 0; n < 6; n++) {
        commit_range(place, n, n + 1);
        only_segment(place, path);
        assert_int_equal(0, stat(path, &status));
        ends[n] = status.st_size;
    }
    place_close(place);
    char *bytes = malloc((size_t)ends[5]);
    int fd = open(path, O_RDONLY);
    assert_int_equal(ends[5], read(fd, bytes, (size_t)ends[5]));
    close(fd);
    for (int64_t cut = 0; cut <= ends[5]; cut++) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        assert_int_equal(cut, write(fd, bytes, (size_t)cut));
        close(fd);
        place_open(place);
        int whole = 0;
        while (whole < 6 && ends[whole] <= cut) {
            expect_next(place, whole++);
        }
        expect_none(place);
        assert_int_equal(whole, stats_of(place).records);
        char aside[192];
        assert_int_equal(0, files_with(place, "damaged-", aside));
        place_close(place);
    }
    free(bytes);
}

static void flip(const char *path, int64_t at)
{
    char byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(1, pread(fd, &byte, 1, at));
    byte ^= 0x20;
    assert_int_equal(1, pwrite(fd, &byte, 1, at));
    close(fd);
}

/* One bit of one record spoilt, at each of its bytes: that record is told as damaged and its file
 * kept; all others come. */
static void test_spool__one_spoilt_byte__costs_one_record_and_is_told(void **state)
{
    struct place *place = *state;
    char path[192], aside[192];
    struct stat status;
    int64_t from = 0, to = 0;
    place->config.segment_bytes = 1 << 20;
    place_open(place);
    for (int n = 0; n < 6; n++) {
        commit_range(place, n, n + 1);
        only_segment(place, path);
        assert_int_equal(0, stat(path, &status));
        from = n == 2 ? status.st_size : from;
        to = n == 3 ? status.st_size : to;
    }
    place_close(place);
    for (int64_t at = from; at < to; at++) {
        only_segment(place, path);
        flip(path, at);
        place_open(place);
        assert_int_equal(5, stats_of(place).records);
        for (int n = 0; n < 6; n++) {
            if (n != 3) {
                expect_next(place, n);
            }
        }
        expect_none(place);
        place_close(place);
        flip(path, at);
    }
    flip(path, from + 20);
    place_open(place);
    for (int n = 0; n < 6; n++) {
        if (n != 3) {
            spool_ack(place->lane, expect_next(place, n));
        }
    }
    expect_none(place); /* the log is at its end: its file goes, or is put aside */
    assert_int_equal(1, files_with(place, "damaged-", aside));
    assert_int_equal(1, files_with(place, "", aside));
    assert_true(stats_of(place).kept_bytes > 0);
}

/* Anything wrong in the head costs the position (repeats), not the records. */
static void test_spool__spoilt_head__records_come_from_the_first(void **state)
{
    struct place *place = *state;
    char path[192];
    place_open(place);
    commit_range(place, 0, 10);
    replay_range(place, 0, 4);
    place_close(place);
    only_segment(place, path);
    for (int64_t at = 8; at < 128; at++) {
        flip(path, at);
        place_open(place);
        struct spool_record record;
        uint64_t ticket;
        assert_err(ERR_OK, spool_next(place->lane, &record, &ticket));
        int n = number_of(&record);
        assert_true(n <= 4);
        while (++n < 10) {
            if (stats_of(place).records > 8) {
                break; /* the window */
            }
            expect_next(place, n);
        }
        place_close(place);
        flip(path, at);
    }
    flip(path, 7); /* the version */
    struct spool *spool;
    assert_err(ERR_STATE, spool_open(&place->config, &spool, &place->info));
    assert_non_null(strstr(place->info.text, "does not know"));
}

static void test_spool__spoilt_tail_of_a_middle_segment__is_told(void **state)
{
    struct place *place = *state;
    char path[192], aside[192];
    place_open(place);
    commit_range(place, 0, 120);
    place_close(place);
    const int files = files_with(place, "", path);
    assert_true(files >= 3);
    /* The first segment's last bytes. */
    char *sequence = strrchr(path, '-') + 1;
    (void)snprintf(sequence, 16, "%08d.spool", 0);
    struct stat status;
    assert_int_equal(0, stat(path, &status));
    flip(path, status.st_size - 1);
    place_open(place);
    assert_int_equal(119, stats_of(place).records);
    int expected = 0, missing = 0;
    for (int i = 0; i < 119; i++) {
        struct spool_record record;
        uint64_t ticket;
        assert_err(ERR_OK, spool_next(place->lane, &record, &ticket));
        if (number_of(&record) != expected) {
            missing++;
            expected++;
        }
        assert_int_equal(expected++, number_of(&record));
        spool_ack(place->lane, ticket);
    }
    expect_none(place);
    assert_int_equal(1, missing);
    assert_int_equal(1, files_with(place, "damaged-", aside));
    assert_int_equal(1, files_with(place, "", aside));
}

static void test_spool__a_mark_in_a_value__is_not_taken_for_a_record(void **state)
{
    struct place *place = *state;
    char path[192];
    struct stat status;
    place->config.segment_bytes = 1 << 20;
    place_open(place);
    commit_range(place, 0, 1);
    only_segment(place, path);
    assert_int_equal(0, stat(path, &status));
    /* The first record's own bytes as the value of the second. */
    char bytes[512];
    int fd = open(path, O_RDONLY);
    ssize_t len = pread(fd, bytes, sizeof bytes, 128);
    close(fd);
    const struct spool_record record = {.topic = "t", .value = sv_of(bytes, (size_t)len)};
    assert_err(ERR_OK, spool_append(place->lane, &record, &place->info));
    assert_err(ERR_OK, spool_commit(place->lane, &place->info));
    commit_range(place, 1, 2);
    place_close(place);
    flip(path, status.st_size + 8); /* the second's checksum: the search goes through its value */
    place_open(place);
    expect_next(place, 0);
    expect_next(place, 1);
    expect_none(place);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_spool__what_is_committed__comes_back_in_order),
        TEST(test_spool__binary_and_empty__are_kept_as_they_are),
        TEST(test_spool__a_new_process__goes_on_at_the_position),
        TEST(test_spool__acks_out_of_order__position_waits_for_the_oldest),
        TEST(test_spool_rewind__gives_out_again_what_is_not_done),
        TEST(test_spool_record_id__stays_the_same),
        TEST(test_spool__full__refuses_and_takes_again_when_there_is_room),
        TEST(test_spool__too_old__refuses),
        TEST(test_spool__one_process_a_folder),
        TEST(test_spool__record_too_large__is_refused),
        TEST(test_spool__logs_of_three_lanes__are_adopted_by_one),
        TEST(test_spool__processes__are_replayed_one_after_the_other),
        TEST(test_spool_refuse__keeps_the_record_with_its_reason),
        TEST(test_spool__cut_at_every_byte__whole_records_come_back),
        TEST(test_spool__one_spoilt_byte__costs_one_record_and_is_told),
        TEST(test_spool__spoilt_head__records_come_from_the_first),
        TEST(test_spool__spoilt_tail_of_a_middle_segment__is_told),
        TEST(test_spool__a_mark_in_a_value__is_not_taken_for_a_record),
    };
    log_threshold = LOG_OFF;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
